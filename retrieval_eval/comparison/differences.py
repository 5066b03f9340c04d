"""Pairs of runs, measure by measure: the family of comparisons that a table shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.corrections import correct
from retrieval_eval.comparison.margins import not_inferior_p
from retrieval_eval.comparison.resampling import (
    DEFAULT_DRAWS,
    bootstrap_intervals,
    randomization_p,
)
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluation, require_means

__all__ = ["TESTS", "Comparison", "Difference", "compare"]

TESTS = ("randomization",)


@dataclass(frozen=True)
class Difference:
    """One candidate against one reference on one measure.

    Parameters
    ----------
    reference, candidate : str
        Names of the two runs.
    measure : str
        The measure.
    n_queries : int
        Queries compared.
    mean : float
        Mean of candidate minus reference.
    low, high : float
        Bootstrap interval of that mean, at confidence ``1 - alpha``.
    wins, ties, losses : int
        Queries on which the candidate scores higher, equal, lower.
    p, p_adjusted : float
        Of the test, before and after correction over the family.
    significant : bool
        Whether ``p_adjusted`` is at most alpha.
    margin : float or None
        What may be lost, if one was asked for.
    p_margin : float or None
        Of the test that the candidate is worse by the margin or more; None without a margin, or
        with a single query.
    """

    reference: str
    candidate: str
    measure: str
    n_queries: int
    mean: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int
    p: float
    p_adjusted: float
    significant: bool
    margin: float | None
    p_margin: float | None

    def not_inferior(self, alpha: float) -> bool | None:
        """Whether the candidate is shown to lose less than the margin; None without a margin."""
        return None if self.p_margin is None else self.p_margin <= alpha


@dataclass(frozen=True)
class Comparison:
    """All differences of one family, and how they were tested.

    Parameters
    ----------
    differences : tuple of Difference
        Pair by pair, measure by measure.
    test, correction : str
        How they were tested.
    alpha : float
        Level of the tests; intervals have confidence ``1 - alpha``.
    draws, seed : int
        Of bootstrap and randomization.
    """

    differences: tuple[Difference, ...]
    test: str
    correction: str
    alpha: float
    draws: int
    seed: int

    @property
    def family(self) -> str:
        """What the correction is over, in words."""
        measures = {difference.measure for difference in self.differences}
        pairs = len(self.differences) // max(1, len(measures))
        plural = "" if pairs == 1 else "s"
        return (
            f"{len(self.differences)} comparisons: {pairs} pair{plural} of runs x "
            f"{len(measures)} measure{'' if len(measures) == 1 else 's'}"
        )

    def unreachable(self) -> str | None:
        """Say so if the number of draws alone keeps every corrected p above alpha."""
        smallest = 1 / (1 + self.draws)
        if self.correction != "none":
            smallest *= len(self.differences)
        if not self.differences or smallest <= self.alpha:
            return None
        return (
            f"with {self.draws} draws and {self.family}, no Monte Carlo p can come below "
            f"{smallest:.3g}: raise draws"
        )


def compare(
    pairs: Sequence[tuple[Evaluation, Evaluation]],
    *,
    test: str = "randomization",
    correction: str = "holm",
    alpha: float = 0.05,
    margins: Mapping[str, float] | None = None,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare pairs of evaluations on every measure; all of it is one family.

    Parameters
    ----------
    pairs : sequence of (Evaluation, Evaluation)
        Reference and candidate, of the same qrels and measures. Queries are matched by id.
    test : {'randomization'}
        Paired test of a zero mean difference.
    correction : {'holm', 'none'}
        Over all pairs and measures.
    alpha : float
        Level, between 0 and 1.
    margins : mapping of str to float, optional
        For some measures, the loss that is accepted: adds a test of non-inferiority.
    draws : int
        Of bootstrap and Monte Carlo, at least 100.
    seed : int
        Of both.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If a pair's queries or measures differ, or a margin names a measure not compared.

    Examples
    --------
    >>> from retrieval_eval import Qrels, Run, evaluate
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"a": 1}})
    >>> run = evaluate(qrels, Run.from_mapping({"q1": {"a": 1.0}}), ["RR"])
    >>> same = compare([(run, run)]).differences[0]
    >>> same.mean, same.p
    (0.0, 1.0)
    """
    if test not in TESTS:
        raise unknown_name("test", test, TESTS)
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}: it must lie between 0 and 1")
    if draws < 100:
        raise InputError(f"draws is {draws}: it must be at least 100")
    margins = margins or {}
    if not pairs:
        return Comparison((), test, correction, alpha, draws, seed)
    measures = pairs[0][0].measures
    require_means(measures)
    for name, margin in margins.items():
        if name not in measures:
            raise unknown_name("measure (of a margin)", name, measures)
        if not 0 < margin < np.inf:
            raise InputError(f"the margin of {name} is {margin}: it must be above 0")
    rows = [_differences(*pair, measures) for pair in pairs]
    for pair, values in zip(pairs, rows, strict=True):
        if values.shape != rows[0].shape:
            raise InputError(
                f"run {pair[1].run_name!r} was scored on {values.shape[1]} queries, others on "
                f"{rows[0].shape[1]}: compare runs of one qrels"
            )
    stacked = np.concatenate(rows)
    intervals = bootstrap_intervals(stacked, draws=draws, seed=seed, confidence=1 - alpha)
    p_values = randomization_p(stacked, draws=draws, seed=seed)
    adjusted = correct(p_values, correction)
    differences = []
    keys = ((pair, measure) for pair in pairs for measure in measures)
    for row, ((reference, candidate), measure) in enumerate(keys):
        values = stacked[row]
        accepted = margins.get(measure)
        p_margin = None if accepted is None else not_inferior_p(values, accepted)
        differences.append(
            Difference(
                reference=reference.run_name,
                candidate=candidate.run_name,
                measure=measure,
                n_queries=len(values),
                mean=float(values.mean()),
                low=float(intervals[row, 0]),
                high=float(intervals[row, 1]),
                wins=int(np.count_nonzero(values > 0)),
                ties=int(np.count_nonzero(values == 0)),
                losses=int(np.count_nonzero(values < 0)),
                p=float(p_values[row]),
                p_adjusted=float(adjusted[row]),
                significant=bool(adjusted[row] <= alpha),
                margin=accepted,
                p_margin=None if p_margin is None or np.isnan(p_margin) else p_margin,
            )
        )
    return Comparison(tuple(differences), test, correction, alpha, draws, seed)


def _differences(
    reference: Evaluation, candidate: Evaluation, measures: tuple[str, ...]
) -> NDArray[np.float64]:
    for one in (reference, candidate):
        if np.isnan(one.values).any():
            raise InputError(f"run {one.run_name!r} has a score that is not a number")
        if one.measures != measures:
            raise InputError(
                f"run {one.run_name!r} was scored by {', '.join(one.measures)}, "
                f"others by {', '.join(measures)}"
            )
    if set(reference.query_ids) != set(candidate.query_ids):
        raise InputError(
            f"runs {reference.run_name!r} and {candidate.run_name!r} were scored on different "
            "queries: evaluate both against the same qrels"
        )
    row_of = {query_id: row for row, query_id in enumerate(candidate.query_ids)}
    order = [row_of[query_id] for query_id in reference.query_ids]
    result: NDArray[np.float64] = candidate.values[:, order] - reference.values
    return result
