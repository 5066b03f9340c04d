"""Whether a candidate may replace a baseline: non-inferiority as a decision."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from retrieval_eval.comparison.differences import compare
from retrieval_eval.comparison.margins import lower_bounds, noninferiority_p
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.power import queries_needed
from retrieval_eval.comparison.results import CompareOptions
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

__all__ = ["GateVerdict", "gate"]

_POWER = 0.8


@dataclass(frozen=True)
class GateVerdict:
    """What is known of a candidate by one measure.

    Parameters
    ----------
    measure : str
        The measure.
    baseline, candidate : float
        Means over the queries on which both are defined.
    mean_diff : float
        Candidate minus baseline.
    lower_bound : float or None
        One-sided lower confidence bound of that difference, at confidence ``1 - alpha``: the
        candidate passes if it lies above minus the margin. None for fewer than two queries.
    margin : float
        What may be lost.
    p : float or None
        Of the hypothesis that the margin or more is lost.
    n, n_differing : int
        Queries compared, and those whose scores differ.
    verdict : {'passed', 'worse', 'undecided'}
        Shown to lose less than the margin; shown to lose more; neither.
    unseen : float
        Share of all queries on which the candidate may differ although, by chance, few or none of
        these show it: ``1 - alpha**(1 / n)``, where none does.
    queries_needed : int or None
        How many queries like these would let a candidate as good as the baseline pass with a
        chance of 0.8; None if that cannot be told.
    """

    measure: str
    baseline: float
    candidate: float
    mean_diff: float
    lower_bound: float | None
    margin: float
    p: float | None
    n: int
    n_differing: int
    verdict: Literal["passed", "worse", "undecided"]
    unseen: float
    queries_needed: int | None


def gate(
    baseline: Evaluation,
    candidate: Evaluation,
    margins: Mapping[str, float],
    *,
    alpha: float = 0.05,
) -> tuple[GateVerdict, ...]:
    """Judge a candidate by one-sided tests of non-inferiority, measure by measure.

    A candidate has to pass by every measure, so that no correction for their number is needed (an
    intersection-union test). One that differs on no query passes: a sample without any difference
    has no spread to judge by. Losses so rare that a sample may hold none of them, of `unseen` of
    all queries or less, are thereby let through more often than alpha says.

    Parameters
    ----------
    baseline, candidate : Evaluation
        Of the same qrels and measures.
    margins : mapping of str to float
        For every measure, the loss that is accepted; above 0.
    alpha : float
        Level, between 0 and 1.

    Returns
    -------
    tuple of GateVerdict
        In the order of the measures.

    Raises
    ------
    InputError
        If a measure has no margin, or the two cannot be compared.

    References
    ----------
    Berger 1982, Multiparameter hypothesis testing and acceptance sampling.

    Examples
    --------
    >>> from retrieval_eval import evaluate
    >>> qrels = {str(q): {"a": 1} for q in range(9)}
    >>> run = evaluate(qrels, {str(q): {"a": 1.0} for q in range(9)}, ["RR"])
    >>> [one.verdict for one in gate(run, run, {"RR": 0.01})]
    ['passed']
    """
    for name in baseline.measures:
        if name not in margins:
            raise InputError(f"measure {name!r} has no margin: say how much of it may be lost")
    options = CompareOptions(test="t", correction="none", alpha=alpha, margins=margins)
    found = compare(baseline, candidate, options=options).differences
    column = {query: place for place, query in enumerate(candidate.query_ids)}
    order = [column[query] for query in baseline.query_ids]
    verdicts = []
    for row, one in enumerate(found):
        both = np.stack([candidate.values[row, order], baseline.values[row]])
        paired = PairedScores(both[:, ~np.isnan(both).any(axis=0)], np.array([[0, 1]]))
        verdicts.append(
            _verdict(one.measure, paired, margins[one.measure], one.p_noninferior, alpha)
        )
    return tuple(verdicts)


def _verdict(
    measure: str, paired: PairedScores, margin: float, p: float | None, alpha: float
) -> GateVerdict:
    if not paired.n:
        nan = float("nan")
        return GateVerdict(measure, nan, nan, nan, None, margin, None, 0, 0, "undecided", 1.0, None)
    mean, spread = float(paired.means[0]), float(paired.spreads[0])
    means = paired.values.mean(axis=1).tolist()
    differing = int(np.count_nonzero(paired.integers))
    bound, needed = None, None
    verdict: Literal["passed", "worse", "undecided"] = "undecided"
    if p is not None:
        bound = float(lower_bounds(paired, alpha)[0])
        if alpha < _POWER and spread > 0:
            with contextlib.suppress(InputError):  # more than anybody could have
                needed = queries_needed(margin, spread, alpha=alpha, power=_POWER, sides=1)
        # To be worse beyond the margin is what the baseline is that is better beyond it.
        other = PairedScores(paired.values[::-1], paired.pairs)
        p_worse = float(noninferiority_p(other, np.array([-margin]))[0])
        verdict = "passed" if p <= alpha else "worse" if p_worse <= alpha else "undecided"
    return GateVerdict(
        measure=measure,
        baseline=means[1],
        candidate=means[0],
        mean_diff=mean,
        lower_bound=bound,
        margin=margin,
        p=p,
        n=paired.n,
        n_differing=differing,
        verdict=verdict,
        unseen=1 - alpha ** (1 / paired.n),
        queries_needed=needed,
    )
