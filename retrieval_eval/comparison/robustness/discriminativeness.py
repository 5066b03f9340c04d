"""How many significant differences between systems survive when there are fewer judgments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.differences import compare
from retrieval_eval.comparison.orders.correlation import kendall_tau
from retrieval_eval.comparison.orders.scores import scores_by_run, without_rounding
from retrieval_eval.comparison.results import CompareOptions
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluation, require_means

__all__ = ["Discriminativeness", "discriminativeness"]

_FULL, _REDUCED = "the full judgments", "the reduced judgments"


@dataclass(frozen=True)
class Discriminativeness:
    """What becomes of all pairs of systems when judgments are reduced.

    A pair is active if it differs significantly under both judgments, mixed if under one of them,
    passive if under neither. It agrees if the mean difference has the same sign under both.

    Parameters
    ----------
    measure : str
        The measure.
    runs : tuple of str, length s
        The systems.
    n_full, n_reduced : int
        Queries that count under the full judgments, and under the reduced ones.
    active_agreement, active_disagreement : int
        Pairs that differ significantly under both: in the same direction, or not.
    mixed_agreement, mixed_disagreement : int
        Pairs that differ significantly under exactly one.
    passive_agreement, passive_disagreement : int
        Pairs that differ significantly under neither. The six sum to ``s * (s - 1) / 2``.
    significant_full, significant_reduced : int
        Pairs that differ significantly under each.
    precision : float
        `active_agreement` over `significant_reduced`: how far what the reduced judgments show can
        be believed. NaN if they show nothing.
    recall : float
        `active_agreement` over `significant_full`: how much of what the full judgments show is
        still found. NaN if they show nothing.
    kendall_tau : float
        Tau-b of the two orders of means. NaN for fewer than two systems, and where all means of one
        side are equal.
    options : CompareOptions
        How pairs were tested, on each side a family of its own.
    """

    measure: str
    runs: tuple[str, ...]
    n_full: int
    n_reduced: int
    active_agreement: int
    active_disagreement: int
    mixed_agreement: int
    mixed_disagreement: int
    passive_agreement: int
    passive_disagreement: int
    significant_full: int
    significant_reduced: int
    precision: float
    recall: float
    kendall_tau: float
    options: CompareOptions

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows; what is not known as None."""
        shown = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("precision", "recall", "kendall_tau"):
            shown[name] = None if np.isnan(shown[name]) else shown[name]
        return shown | {"runs": list(self.runs), "options": self.options.as_dict()}


def discriminativeness(
    full: Sequence[Evaluation],
    reduced: Sequence[Evaluation],
    measure: str,
    options: CompareOptions | None = None,
    threads: int | None = None,
) -> Discriminativeness:
    """Compare which pairs of systems differ significantly under full and under reduced judgments.

    Parameters
    ----------
    full, reduced : sequence of Evaluation
        One evaluation of each run under each of the judgments, matched by name. All evaluations of
        a side have the same queries. Those of the reduced side may be fewer; each side is tested on
        its own. A query on which any run of a side has NaN does not count on that side.
    measure : str
        A measure of all of them that is a mean over queries.
    options : CompareOptions, optional
        Paired test, correction over all pairs, and level; margins have no effect here.
    threads : int, optional
        By default one for each processor; of no effect on the result.

    Returns
    -------
    Discriminativeness
        A mean difference of 0, up to the rounding of float64, agrees with 0 only. Thus the same
        judgments on both sides give agreement only, and no mixed pair.

    Raises
    ------
    InputError
        If a run is on one side only or listed twice, or lacks the measure; if the options of the
        evaluations differ, or the queries within a side; if the reduced side has a query that the
        full side has not; or if no query is left.

    References
    ----------
    Otero, Parapar & Ferro 2023, How discriminative are your qrels? How to study the statistical
    significance of document adjudication methods. There, too, a pair that is significant on both
    sides but in opposite directions counts against precision and against recall.

    Examples
    --------
    >>> from retrieval_eval import evaluate
    >>> qrels = {f"q{i}": {"a": 1} for i in range(8)}
    >>> good = evaluate(qrels, {query: {"a": 1.0} for query in qrels}, ["RR"])
    >>> bad = replace(evaluate(qrels, {}, ["RR"]), run_name="bad")
    >>> fewer = {f"q{i}": {"a": 1} for i in range(3)}
    >>> less = [evaluate(fewer, {query: {"a": 1.0} for query in qrels}, ["RR"])]
    >>> less.append(replace(evaluate(fewer, {}, ["RR"]), run_name="bad"))
    >>> found = discriminativeness([good, bad], less, "RR")
    >>> found.mixed_agreement, found.recall, found.kendall_tau
    (1, 0.0, 1.0)
    """
    options = replace(options or CompareOptions(), margins={})
    require_means([measure])
    names, full_ids, full_values = _side(full, measure, _FULL)
    for one in reduced:
        if one.run_name not in names:
            raise unknown_name("run", one.run_name, names, _REDUCED)
    _, reduced_ids, reduced_values = _side(reduced, measure, _REDUCED, names)
    known = {query_id for one in full[:1] for query_id in one.query_ids}
    extra = next((one for one in reduced_ids if one not in known), None)
    if extra is not None:
        raise InputError(f"{_REDUCED} have query {extra!r}, which the full ones have not")
    if any(one.options != full[0].options for one in (*full, *reduced)):
        raise InputError(
            "the evaluations have different options: score all runs in the same way, so that "
            "judgments alone differ"
        )
    before, sign_before = _tested(names, measure, full_ids, full_values, options, threads)
    after, sign_after = _tested(names, measure, reduced_ids, reduced_values, options, threads)
    same = sign_before == sign_after
    active, passive = before & after, ~before & ~after
    kept = int(np.count_nonzero(active & same))
    counts = [int(np.count_nonzero(one)) for one in (before, after)]
    tau = kendall_tau(_means(full_values), _means(reduced_values))
    return Discriminativeness(
        measure=measure,
        runs=names,
        n_full=len(full_ids),
        n_reduced=len(reduced_ids),
        active_agreement=kept,
        active_disagreement=int(np.count_nonzero(active & ~same)),
        mixed_agreement=int(np.count_nonzero((before ^ after) & same)),
        mixed_disagreement=int(np.count_nonzero((before ^ after) & ~same)),
        passive_agreement=int(np.count_nonzero(passive & same)),
        passive_disagreement=int(np.count_nonzero(passive & ~same)),
        significant_full=counts[0],
        significant_reduced=counts[1],
        precision=kept / counts[1] if counts[1] else float("nan"),
        recall=kept / counts[0] if counts[0] else float("nan"),
        kendall_tau=float(tau),
        options=options,
    )


def _side(
    runs: Sequence[Evaluation], measure: str, where: str, wanted: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.float64]]:
    """Names, queries and scores, shape (s, n), of what counts on one side."""
    names, ids, values = scores_by_run(runs, measure, where, wanted, _FULL)
    columns = np.flatnonzero(~np.isnan(values).any(axis=0))
    if not len(columns):
        raise InputError(f"{where}: there is no query on which every run has a score")
    return names, tuple(ids[column] for column in columns.tolist()), values[:, columns]


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return without_rounding(values.mean(axis=1), values)


def _tested(
    names: tuple[str, ...],
    measure: str,
    query_ids: tuple[str, ...],
    values: NDArray[np.float64],
    options: CompareOptions,
    threads: int | None,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each pair differs significantly, and the sign of its mean difference."""
    runs = [
        Evaluation(name, (measure,), query_ids, row[None, :], missing=0)
        for name, row in zip(names, values, strict=True)
    ]
    found = compare(runs, pairs="all", options=options, threads=threads).differences
    significant = np.array([one.significant for one in found], dtype=bool)
    # Of the differences themselves, as of the means: their rounding is no sign.
    means = np.array([one.mean_diff for one in found], dtype=np.float64)
    return significant, np.sign(without_rounding(means, values))
