"""Search with a filter for each query, in several ways, against an exact scan of what passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import mean_intervals
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluator
from retrieval_eval.filtered.masks import Mask
from retrieval_eval.hits import Hits
from retrieval_eval.neighbours import Metric, kth_scores, neighbour_recall, true_scores
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run
from retrieval_eval.timing import ThreadLimit

if TYPE_CHECKING:
    from retrieval_eval.indexes.base import Index, Where

__all__ = [
    "EachSearched",
    "FilteredWay",
    "compare_ways",
    "fastest_way",
    "filtered_recall",
    "filtered_scores",
    "search_each",
]


@dataclass(frozen=True, eq=False)
class EachSearched:
    """What one index found, query by query, each with a filter of its own.

    Parameters
    ----------
    hits : Hits
        A row for each query.
    seconds : ndarray of float64, shape (q,)
        The quickest of the repeats of each query.
    """

    hits: Hits
    seconds: NDArray[np.float64]


def search_each(
    indexes: Mapping[str, Index],
    queries: NDArray[np.floating],
    where: Sequence[Where | None],
    k: int,
    *,
    search: Mapping[str, Mapping[str, Any]] | None = None,
    repeats: int = 3,
    threads: int = 1,
) -> dict[str, EachSearched]:
    """Search several indexes, each query with its own filter, one query at a time.

    All indexes answer a query before the next one comes, in turns, so that what disturbs the
    machine for a while disturbs all of them: ratios of their times are sounder than the times.

    Parameters
    ----------
    indexes : mapping of str to Index
        Built, of the same vectors.
    queries : ndarray of float, shape (q, d)
        The queries.
    where : sequence of Filter, mapping, mask or None, length q
        The filter of each query; None for none.
    k : int
        Hits a query.
    search : mapping of str to mapping, optional
        Search settings of indexes by name.
    repeats : int
        How often each search is timed, after one that is not.
    threads : int
        Threads of all that is timed.

    Returns
    -------
    dict of str to EachSearched
        Of each index. Timed is the bound search: neither checking nor making a filter ready.

    Raises
    ------
    InputError
        If there are not as many filters as queries, repeats is below 1, or an index refuses.

    Examples
    --------
    >>> from retrieval_eval import get_index
    >>> x = np.eye(3, dtype=np.float32)
    >>> masks = [np.array([True, True, False]), np.array([False, False, True])]
    >>> found = search_each({"flat": get_index("flat").build(x)}, x[:2], masks, 1)
    >>> found["flat"].hits.ids.tolist()
    [[0], [2]]
    """
    if len(where) != len(queries):
        raise InputError(f"{len(where)} filters for {len(queries)} queries")
    if repeats < 1:
        raise InputError(f"repeats is {repeats}: it must be at least 1")
    settings = {name: dict((search or {}).get(name, {})) for name in indexes}
    names = list(indexes)
    found: dict[str, list[Hits]] = {name: [] for name in names}
    seconds = {name: np.full(len(queries), np.inf) for name in names}
    with ThreadLimit(threads):
        for row, allowed in enumerate(where):
            one = queries[row : row + 1]
            calls = {}
            for name, index in indexes.items():
                found[name].append(index.search(one, k, where=allowed, **settings[name]))
                bound = index.bind(k, where=allowed, **settings[name])
                calls[name] = bound, index.prepare(one)
            for repeat in range(repeats):
                turn = (row + repeat) % len(names)
                for name in (*names[turn:], *names[:turn]):
                    call, prepared = calls[name]
                    start = perf_counter()
                    call(prepared)
                    seconds[name][row] = min(seconds[name][row], perf_counter() - start)
    return {
        name: EachSearched(
            Hits(
                np.concatenate([one.ids for one in found[name]]),
                np.concatenate([one.scores for one in found[name]]),
            ),
            seconds[name],
        )
        for name in names
    }


def filtered_recall(
    hits: Hits,
    exact: Hits,
    documents: NDArray[np.floating],
    queries: NDArray[np.floating],
    k: int,
    metric: Metric,
) -> NDArray[np.float64]:
    """Share of the nearest passing documents that were found, where each query has its filter.

    Parameters
    ----------
    hits : Hits
        What an index found.
    exact : Hits
        What an exact scan found with the same filters, at least k hits a query, padded where fewer
        pass.
    documents, queries : ndarray of float, shape (n, d) and (q, d)
        The vectors.
    k : int
        The denominator is k, or the number of documents that pass if that is smaller.
    metric : {'cosine', 'ip', 'l2'}
        See :func:`retrieval_eval.neighbours.neighbour_recall`, which counts.

    Returns
    -------
    ndarray of float64, shape (q,)
        NaN where no document passes.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> exact = Hits(np.array([[1, 2, -1]]), np.array([[0.8, 0.0, -np.inf]], dtype=np.float32))
    >>> hits = Hits(np.array([[1, -1, -1]]), np.array([[0.8] + 2 * [-np.inf]], dtype=np.float32))
    >>> filtered_recall(hits, exact, x, x[:1], 3, "cosine").tolist()
    [0.5]
    """
    best = true_scores(documents, queries, exact.ids[:, :k], metric)
    return neighbour_recall(
        hits,
        kth_scores(best, k),
        documents,
        queries,
        k,
        metric,
        neighbours=np.count_nonzero(exact.ids[:, :k] >= 0, axis=1),
    )


def filtered_scores(
    hits: Hits,
    qrels: Qrels,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    masks: Sequence[Mask],
    measure: str,
) -> NDArray[np.float64]:
    """Score each query by the judgments of documents that pass its filter.

    Parameters
    ----------
    hits : Hits
        A row for each query.
    qrels : Qrels
        Of all documents.
    query_ids, document_ids : sequence of str, length q and n
        What rows of the hits and of the corpus stand for.
    masks : sequence of ndarray of bool, length q
        The filter of each query, shape (n,).
    measure : str
        Such as ``nDCG@10``.

    Returns
    -------
    ndarray of float64, shape (q,)
        NaN for a query none of whose judged documents passes.

    Raises
    ------
    InputError
        If there are not as many filters as queries.

    Examples
    --------
    >>> hits = Hits(np.array([[1], [1]]), np.array([[0.5], [0.5]], dtype=np.float32))
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1, "b": 1}, "q2": {"a": 1}})
    >>> masks = [np.array([False, True])] * 2
    >>> filtered_scores(hits, qrels, ["q1", "q2"], ["a", "b"], masks, "R@1").tolist()
    [1.0, nan]
    """
    if len(query_ids) != len(masks):
        raise InputError(f"{len(masks)} filters for {len(query_ids)} queries")
    row_of, judged = {name: row for row, name in enumerate(document_ids)}, qrels.mapping
    passing = {
        query: {
            name: grade
            for name, grade in judged.get(query, {}).items()
            if name in row_of and mask[row_of[name]]
        }
        for query, mask in zip(query_ids, masks, strict=True)
    }
    if not any(passing.values()):
        return np.full(len(query_ids), np.nan)
    evaluator = Evaluator(Qrels.from_mapping(passing), [measure])
    found = evaluator.evaluate(Run.from_hits(hits, query_ids, document_ids))
    values = dict(zip(found.query_ids, found.values[0].tolist(), strict=True))
    return np.array([values.get(query, np.nan) for query in query_ids])


@dataclass(frozen=True)
class FilteredWay:
    """One way of filtered search against an exact scan, over queries.

    Each figure comes as its mean and the ends of its 95 % interval (Student's t); NaN where there
    is no query.

    Parameters
    ----------
    name : str
        Of the way.
    n : int
        Queries with a passing neighbour.
    recall : (float, float, float)
        Neighbour recall, of at most k or as many as pass.
    n_judged : int
        Queries with a judged document that passes.
    difference : (float, float, float)
        Of the measure: this way minus the exact scan.
    speed : (float, float, float)
        How many times as fast as the exact scan: geometric mean of the ratios of single queries.
    """

    name: str
    n: int
    recall: tuple[float, float, float]
    n_judged: int
    difference: tuple[float, float, float]
    speed: tuple[float, float, float]


def compare_ways(
    indexes: Mapping[str, Index],
    exact: str,
    documents: NDArray[np.floating],
    queries: NDArray[np.floating],
    masks: Sequence[Mask],
    *,
    qrels: Qrels,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    k: int = 10,
    measure: str = "nDCG@10",
    search: Mapping[str, Mapping[str, Any]] | None = None,
    repeats: int = 3,
) -> list[FilteredWay]:
    """Search in several ways with the same filters, and compare each with an exact scan.

    Parameters
    ----------
    indexes : mapping of str to Index
        Built of `documents`, by one metric; see :func:`search_each`.
    exact : str
        Which of them is the exact scan.
    documents, queries : ndarray of float, shape (n, d) and (q, d)
        The vectors.
    masks : sequence of ndarray of bool, length q
        The filter of each query, shape (n,).
    qrels, query_ids, document_ids, measure
        As of :func:`filtered_scores`.
    k, search, repeats
        As of :func:`search_each`.

    Returns
    -------
    list of FilteredWay
        Of each index but the exact one, in their order.

    Raises
    ------
    InputError
        As :func:`search_each` does, or if `exact` is none of the
        indexes.

    Examples
    --------
    >>> from retrieval_eval import get_index
    >>> x = np.eye(3, dtype=np.float32)
    >>> both = {"exact": get_index("flat").build(x), "graph": get_index("faiss-hnsw").build(x)}
    >>> masks = [np.array([True, False, True])] * 2
    >>> judged = {"query_ids": ["p", "q"], "document_ids": ["a", "b", "c"]}
    >>> qrels = Qrels.from_mapping({"p": {"a": 1}, "q": {"b": 1}})
    >>> (way,) = compare_ways(both, "exact", x, x[:2], masks, qrels=qrels, k=1, **judged)
    >>> way.name, way.n, way.recall, way.n_judged, way.difference[0]
    ('graph', 2, (1.0, 1.0, 1.0), 1, 0.0)
    """
    if exact not in indexes:
        raise unknown_name("exact scan", exact, indexes)
    found = search_each(indexes, queries, masks, k, search=search, repeats=repeats)
    judged = qrels, query_ids, document_ids, masks, measure
    best, reference = found[exact], filtered_scores(found[exact].hits, *judged)
    metric, ways = indexes[exact].metric, []
    for name, one in found.items():
        if name == exact:
            continue
        recall = filtered_recall(one.hits, best.hits, documents, queries, k, metric)
        difference = filtered_scores(one.hits, *judged) - reference
        mean, low, high = _summary(np.log2(best.seconds / one.seconds))
        ways.append(
            FilteredWay(
                name,
                int(np.count_nonzero(~np.isnan(recall))),
                _summary(recall, (0.0, 1.0)),
                int(np.count_nonzero(~np.isnan(difference))),
                _summary(difference),
                (2.0**mean, 2.0**low, 2.0**high),
            )
        )
    return ways


def _summary(
    values: NDArray[np.float64], limits: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return (float("nan"),) * 3
    low, high = mean_intervals(known[None], limits=[limits])[0].tolist()
    return float(known.mean()), low, high


def fastest_way(ways: Sequence[FilteredWay], *, recall: float = 0.95) -> FilteredWay | None:
    """Return the fastest way that is shown to be faster than the exact scan, and good enough.

    Parameters
    ----------
    ways : sequence of FilteredWay
        As :func:`compare_ways` returns them.
    recall : float
        The least neighbour recall. It is enough, and a way is faster, if the lower end of the
        interval says so.

    Returns
    -------
    FilteredWay or None
        None if an exact scan is not shown to be beaten.

    Examples
    --------
    >>> rough = FilteredWay("rough", 9, (0.8, 0.7, 0.9), 9, (0.0, 0.0, 0.0), (9.0, 8.0, 10.0))
    >>> fine = FilteredWay("fine", 9, (0.99, 0.98, 1.0), 9, (0.0, 0.0, 0.0), (2.0, 1.5, 2.5))
    >>> fastest_way([rough, fine]).name, fastest_way([rough])
    ('fine', None)
    """
    good = [one for one in ways if one.recall[1] >= recall and one.speed[1] > 1]
    return max(good, key=lambda one: one.speed[0], default=None)
