"""Where a difference between two runs comes from: which queries moved, by which documents, and why.

With a run of exact search by the candidate's own encoder, a difference splits in two: from the
candidate to exact search, which is its index's doing, and from there to the reference, which is
its encoder's.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.moves import MovedDocument, Moves
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import (
    Evaluation,
    EvaluationOptions,
    Evaluator,
    Measure,
    require_means,
)
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["Explanation", "MovedQuery", "explain"]


_DEPTH = 100
_DEFAULTS = EvaluationOptions()
_SAME = 2.0**-40  # what equal differences may be apart by rounding, relative to the largest


@dataclass(frozen=True)
class MovedQuery:
    """A query whose score differs between two runs.

    Parameters
    ----------
    query_id : str
        The query.
    score_a, score_b, difference : float
        Scores of the candidate and of the reference, and the first minus the second.
    documents : tuple of MovedDocument
        Those of its relevant documents that moved, by the better of their two ranks, then by id.
        Empty where the measure sees something else, such as a document judged not relevant.
    score_exact : float or None
        Score of the exact run, if there is one.

    Examples
    --------
    >>> MovedQuery("q1", 0.25, 0.5, -0.25, ()).as_dict()["difference"]
    -0.25
    """

    query_id: str
    score_a: float
    score_b: float
    difference: float
    documents: tuple[MovedDocument, ...]
    score_exact: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows; what is not known as None."""
        return {**asdict(self), "documents": [asdict(one) for one in self.documents]}


@dataclass(frozen=True)
class Explanation:
    """Where the difference of a candidate `a` from a reference `b` comes from.

    Parameters
    ----------
    a, b : str
        Names of the runs.
    measure : str
        The measure, canonical.
    k : int
        Documents are looked at up to this rank.
    relevance_level : int
        Grade from which documents are relevant.
    n_queries, n_differing : int
        Queries that count, and those on which a and b have different scores.
    mean_a, mean_b : float
        Means of the measure.
    missing_a, missing_b : int
        How many judged queries each run does not answer.
    gained, lost : int
        Relevant documents in the first k of a but not of b, and the reverse, over all queries.
    queries : tuple of MovedQuery
        Those that moved most, largest difference first.
    exact, mean_exact, missing_exact : str, float, int
        The same of the exact run; None without one, as all that only it can tell.
    lost_by_index, lost_by_encoder : int or None
        How many of the lost documents are the index's, and the encoder's. Together they are fewer
        than `lost` where the exact run is too short to tell.

    Examples
    --------
    >>> found = Explanation("hnsw", "old", "RR@10", 10, 1, 4, 1, 0.5, 0.75, 0, 0, 0, 1, (),
    ...                     "flat", mean_exact=0.875, lost_by_index=1, lost_by_encoder=0)
    >>> found.difference, found.by_index, found.by_encoder
    (-0.25, -0.375, 0.125)
    """

    a: str
    b: str
    measure: str
    k: int
    relevance_level: int
    n_queries: int
    n_differing: int
    mean_a: float
    mean_b: float
    missing_a: int
    missing_b: int
    gained: int
    lost: int
    queries: tuple[MovedQuery, ...]
    exact: str | None = None
    mean_exact: float | None = None
    missing_exact: int | None = None
    lost_by_index: int | None = None
    lost_by_encoder: int | None = None

    @property
    def difference(self) -> float:
        """Mean of a minus mean of b; `by_index` plus `by_encoder`, but for rounding."""
        return self.mean_a - self.mean_b

    @property
    def by_index(self) -> float | None:
        """Mean of a minus mean of the exact run: what approximate search changes."""
        return None if self.mean_exact is None else self.mean_a - self.mean_exact

    @property
    def by_encoder(self) -> float | None:
        """Mean of the exact run minus mean of b: what is left if nothing is missed."""
        return None if self.mean_exact is None else self.mean_exact - self.mean_b

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows, properties too; what is not known as None."""
        shown = {one.name: getattr(self, one.name) for one in fields(self)}
        names = ("difference", "by_index", "by_encoder")
        shown |= {name: getattr(self, name) for name in names}
        return shown | {"queries": [one.as_dict() for one in self.queries]}


def explain(
    qrels: Qrels,
    a: Run,
    b: Run,
    measure: str | Measure,
    *,
    exact: Run | None = None,
    top: int = 10,
    depth: int | None = None,
    options: EvaluationOptions = _DEFAULTS,
) -> Explanation:
    """Find the queries on which two runs differ most, the documents behind it, and the cause.

    k is the measure's cut-off. Documents are relevant from the measure's own ``rel=``, else from
    the relevance level of `options`, and ranks are those that the measure sees: `options` are
    applied to runs and judgments first, and unjudged documents do not count for a measure with
    ``judged_only=True``. Queries and documents are matched by id. Queries of a run that are not
    judged count for nothing; judged queries that a run does not answer score 0.

    A document **gained or lost** is decided by the first k of the exact run. Lost: the *index*'s if
    it stands there, so that approximate search missed it, else the *encoder*'s. Gained: the
    *encoder*'s if it stands there, else the *index*'s, which missed better ones. A document that
    **rose or fell** is decided by its exact rank: the *index*'s if exact search places it where b
    does or still farther from its place in a; the *encoder*'s if exact search places it where a
    does or beyond; None if its exact rank lies between, where both took part. What the exact run
    does not return stands behind all that it returns.

    Of a document that the exact run does not return, nothing is known, and the cause is None, if
    for its query it returns fewer than k documents and fewer than a (with ``judged_only=True``,
    simply fewer than a), or none.

    Parameters
    ----------
    qrels : Qrels
        The judgments.
    a, b : Run
        The candidate and the reference; differences are a minus b.
    measure : str or Measure
        One whose aggregate is a mean over queries.
    exact : Run, optional
        Exact search with the encoder of a, over the same documents.
    top : int
        List at most so many queries, by absolute difference, then by id. Queries that do not
        differ, but for rounding, are never listed; counts and means are over all.
    depth : int, optional
        k of a measure without a rank as its cut-off; of no effect on others. By default the depth
        of `options`, or 100.
    options : EvaluationOptions
        What else decides scores. Beyond its depth no rank is known.

    Returns
    -------
    Explanation

    Raises
    ------
    InputError
        If the measure is unknown, is no mean over queries or is not finite, `top` is below 0 or
        `depth` below 1, ``ties='expected'``, where a document has no one rank, or
        ``missing='skip'`` and the runs do not answer the same queries.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"x": 1, "y": 1}, "q2": {"z": 1}})
    >>> old = Run.from_mapping({"q1": {"x": 3, "y": 2, "v": 1}, "q2": {"z": 1}}, "old")
    >>> flat = Run.from_mapping({"q1": {"x": 3, "v": 2, "y": 1}, "q2": {"z": 1}}, "flat")
    >>> hnsw = Run.from_mapping({"q1": {"v": 2, "w": 1}, "q2": {"z": 1}}, "hnsw")
    >>> found = explain(qrels, hnsw, old, "R@2", exact=flat)
    >>> found.difference, found.by_index, found.by_encoder
    (-0.5, -0.25, -0.25)
    >>> for one in found.queries[0].documents:
    ...     print(one.document_id, one.rank_a, one.rank_b, one.rank_exact, one.change, one.cause)
    x None 1 1 lost index
    y None 2 3 lost encoder
    """
    parsed = (
        Measure.parse(measure, defaults=options.defaults) if isinstance(measure, str) else measure
    )
    require_means([str(parsed)])
    if options.ties == "expected":
        raise InputError(
            "ties='expected': a document among equal scores has no one rank to explain a "
            "difference by; use ties='trec'"
        )
    if top < 0 or (depth is not None and depth < 1):
        raise InputError(f"top={top} must be at least 0, and depth={depth} at least 1")
    cutoff = parsed.cutoff if isinstance(parsed.cutoff, int) else None  # no recall level
    k = cutoff or depth or options.depth or _DEPTH
    evaluator = Evaluator(qrels, [parsed], options)
    runs = [a, b] if exact is None else [a, b, exact]
    scored = [evaluator.evaluate(run) for run in runs]
    _check(scored)
    moves = Moves.of(evaluator.qrels, runs, parsed, k, options)

    query_ids = scored[0].query_ids
    values = np.concatenate([one.values for one in scored])
    differences = PairedScores(values[:2], np.array([[0, 1]])).differences[0]
    row_of = {query_id: row for row, query_id in enumerate(evaluator.qrels.query_ids)}
    queries = []
    for column in _most_moved(differences, query_ids, top):
        mine, theirs, *exactly = values[:, column].tolist()
        documents = moves.documents(row_of[query_ids[column]])
        queries.append(
            MovedQuery(query_ids[column], mine, theirs, mine - theirs, documents, *exactly)
        )
    means = [one.means[str(parsed)] for one in scored]
    found = Explanation(
        a=a.name,
        b=b.name,
        measure=str(parsed),
        k=k,
        relevance_level=moves.level,
        n_queries=len(query_ids),
        n_differing=int(np.count_nonzero(differences)),
        mean_a=means[0],
        mean_b=means[1],
        missing_a=scored[0].missing,
        missing_b=scored[1].missing,
        gained=moves.count("gained"),
        lost=moves.count("lost"),
        queries=tuple(queries),
    )
    if exact is None:
        return found
    return replace(
        found,
        exact=exact.name,
        mean_exact=means[2],
        missing_exact=scored[2].missing,
        lost_by_index=moves.count("lost", "index"),
        lost_by_encoder=moves.count("lost", "encoder"),
    )


def _check(scored: Sequence[Evaluation]) -> None:
    for one in scored:
        if not np.isfinite(one.values).all():
            raise InputError(f"run {one.run_name!r} has a score that is not finite")
        if one.query_ids != scored[0].query_ids:
            raise InputError(
                f"runs {scored[0].run_name!r} and {one.run_name!r} answer different queries: "
                "score those that they do not answer as 0, with missing='zero'"
            )


def _most_moved(differences: NDArray[np.float64], query_ids: Sequence[str], top: int) -> list[int]:
    """Columns of the largest absolute differences but 0; those equal but for rounding by id."""
    size = np.abs(differences)
    order = np.argsort(-size)
    order = order[: np.count_nonzero(size)]
    steps = -np.diff(size[order], prepend=size.max(initial=0.0))
    group = np.cumsum(steps > _SAME * size.max(initial=0.0)).tolist()
    chosen = heapq.nsmallest(
        top, zip(group, order.tolist(), strict=True), key=lambda one: (one[0], query_ids[one[1]])
    )
    return [column for _, column in chosen]
