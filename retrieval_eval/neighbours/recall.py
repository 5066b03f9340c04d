"""How much of the true neighbours an index found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits
from retrieval_eval.neighbours.scores import Metric, Vectors, norms_of, true_scores

__all__ = ["kth_scores", "neighbour_recall", "neighbour_recall_by_id"]


def kth_scores(scores: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Find the score of the last of the true k nearest neighbours, for each query.

    Parameters
    ----------
    scores : ndarray of float64, shape (q, at least k)
        From :func:`exact_neighbours`: best first, then ``-inf`` for padding.
    k : int
        At least 1.

    Returns
    -------
    ndarray of float64, shape (q,)
        The threshold that :func:`neighbour_recall` takes: the k-th score, or the m-th if a filter
        left only m documents; ``-inf`` for a query without neighbours.

    Raises
    ------
    InputError
        If there are fewer than k scores a query.

    Examples
    --------
    >>> kth_scores(np.array([[0.9, 0.5, 0.1], [0.8, -np.inf, -np.inf]]), 2).tolist()
    [0.5, 0.8]
    """
    if not 1 <= k <= scores.shape[1]:
        raise InputError(f"k is {k}: it must be between 1 and {scores.shape[1]}, the scores known")
    first = scores[:, :k]
    last = np.where(np.isneginf(first), np.inf, first).min(axis=1)
    return np.where(np.isposinf(last), -np.inf, last)


def neighbour_recall(
    hits: Hits,
    threshold: NDArray[np.float64],
    documents: Vectors,
    queries: Vectors,
    k: int,
    metric: Metric,
    *,
    allowed: NDArray[np.bool_] | None = None,
    neighbours: NDArray[np.int64] | None = None,
    tolerance: float | None = None,
) -> NDArray[np.float64]:
    """Share of the true k nearest neighbours among the first k hits, for each query, by score.

    A hit counts if its true score reaches the true k-th best, so that documents tied with the
    k-th neighbour are as good as it is. A document listed twice counts once; padding, and a
    document that the filter does not allow, never. :func:`neighbour_recall_by_id` counts the
    documents of one true list instead.

    Parameters
    ----------
    hits : Hits
        What an index returned.
    threshold : ndarray of float64, shape (q,)
        True score of each query's k-th neighbour, or of the last one if a filter allows fewer:
        see :func:`kth_scores`; ``-inf`` for a query that has none.
    documents, queries : ndarray or csr_array, shape (n, d) and (q, d)
        The vectors.
    k : int
        At least 1, at most ``hits.k``.
    metric : {'cosine', 'ip', 'l2'}
        See :func:`true_scores`.
    allowed : ndarray of bool, shape (n,), optional
        The filter that all these queries were searched with; by default none. The denominator is
        k, or the number of allowed documents if that is smaller, so that 1 can be reached.
    neighbours : ndarray of int64, shape (q,), optional
        How many true neighbours each query has, where some have fewer than that: sparse vectors
        that share no term are no neighbours.
    tolerance : float, optional
        How far below the threshold a score may lie, *relative* to a scale: the threshold itself
        under 'l2' (a squared distance), 1 under 'cosine', the product of the query's norm and the
        longest document's under 'ip'. By default ``4 * d * 2**-53``, the rounding of float64.

    Returns
    -------
    ndarray of float64, shape (q,)
        Between 0 and 1; NaN for a query without neighbours.

    Raises
    ------
    InputError
        If there are fewer than k hits a query, the shapes disagree, or the tolerance is negative.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [-1.0], [5.0]])
    >>> hits = Hits(np.array([[0, 2]]), np.array([[0, -1]], dtype=np.float32))
    >>> threshold = np.array([-1.0])  # of documents 0 and 1; document 2 is as near as 1
    >>> neighbour_recall(hits, threshold, x, x[:1], 2, "l2").tolist()
    [1.0]
    """
    ids = _first(hits, k)
    if len(threshold) != len(ids) or queries.shape[0] != len(ids):
        raise InputError(
            f"{len(ids)} rows of hits, {queries.shape[0]} queries and {len(threshold)} thresholds "
            "must be as many"
        )
    if tolerance is None:
        tolerance = 4 * documents.shape[1] * 2.0**-53
    if not 0 <= tolerance < np.inf:
        raise InputError(f"tolerance is {tolerance}: it must be a finite number, at least 0")
    good = _distinct(ids)
    most = k
    if allowed is not None:
        if allowed.dtype != np.bool_ or allowed.shape != (documents.shape[0],):
            raise InputError(
                f"allowed must be a mask of booleans, one for each of {documents.shape[0]} "
                "documents, "
                f"got {allowed.dtype} {allowed.shape}"
            )
        most = min(k, int(np.count_nonzero(allowed)))
        good &= allowed[np.maximum(ids, 0)]
    if metric == "l2":
        slack = tolerance * np.abs(threshold)
    else:
        slack = np.full(len(ids), tolerance)
        if metric == "ip":
            slack *= norms_of(queries) * float(norms_of(documents).max())
    none = np.isneginf(threshold)
    least = np.where(none, np.inf, threshold) - np.where(none, 0.0, slack)
    good &= true_scores(documents, queries, ids, metric) >= least[:, None]
    counts = np.full(len(ids), most) if neighbours is None else np.minimum(neighbours, most)
    return _share(good, np.where(none, 0, counts))


def neighbour_recall_by_id(hits: Hits, true_ids: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Share of the true k nearest neighbours' ids among the first k hits, for each query.

    Only the listed documents count: one that is merely tied with the k-th does not, see
    :func:`neighbour_recall`. A document that is hit twice counts once, padding never.

    Parameters
    ----------
    hits : Hits
        What an index returned.
    true_ids : ndarray of int64, shape (q, at least k)
        The true neighbours, best first, then -1 for padding: from :func:`exact_neighbours`, or
        published with a collection.
    k : int
        At least 1, at most ``hits.k``.

    Returns
    -------
    ndarray of float64, shape (q,)
        Between 0 and 1, out of k or of the true neighbours among the first k, if they are fewer;
        NaN for a query without any.

    Raises
    ------
    InputError
        If there are fewer than k columns, the rows are not as many, or a true neighbour is listed
        twice.

    Examples
    --------
    >>> hits = Hits(np.array([[4, 7], [1, -1]]), np.array([[2, 1], [3, -np.inf]], np.float32))
    >>> neighbour_recall_by_id(hits, np.array([[7, 5], [1, -1]]), 2).tolist()
    [0.5, 1.0]
    """
    ids = _first(hits, k)
    if len(true_ids) != len(ids) or true_ids.shape[1] < k:
        raise InputError(
            f"neighbour recall@{k} of {len(ids)} queries needs true ids of shape "
            f"({len(ids)}, at least {k}), got {true_ids.shape}"
        )
    true = true_ids[:, :k]
    listed = _distinct(true)
    if np.any(~listed & (true >= 0)):
        row = int(np.flatnonzero((~listed & (true >= 0)).any(axis=1))[0])
        raise InputError(f"the true neighbours of query {row} hold a document twice")
    # Query and document as one number, so that one search covers all queries.
    width = max(int(ids.max(initial=0)), int(true.max(initial=0))) + 1
    own = width * np.arange(len(ids))[:, None]
    found = np.isin(ids + own, (true + own)[listed])
    return _share(found & _distinct(ids), np.count_nonzero(listed, axis=1))


def _first(hits: Hits, k: int) -> NDArray[np.int64]:
    """Return the ids of the first k hits."""
    if k < 1:
        raise InputError(f"k is {k}: it must be at least 1")
    if hits.k < k:
        raise InputError(f"neighbour recall@{k} needs {k} hits a query, there are {hits.k}")
    return hits.ids[:, :k]


def _distinct(ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark each row's documents at the first place they stand; padding is not marked."""
    order = np.argsort(ids, axis=1, kind="stable")
    in_order = np.take_along_axis(ids, order, 1)
    first = np.ones(ids.shape, dtype=bool)
    first[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    distinct = np.empty(ids.shape, dtype=bool)
    np.put_along_axis(distinct, order, first, 1)
    return distinct & (ids >= 0)


def _share(good: NDArray[np.bool_], neighbours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide what counts by what there is to find; NaN where there is nothing."""
    recall = np.full(len(good), np.nan)
    np.divide(np.count_nonzero(good, axis=1), neighbours, out=recall, where=neighbours > 0)
    return recall
