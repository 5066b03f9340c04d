"""The true nearest neighbours, by float64, and how much of them an index found.

Neighbour recall is measured against *exact search*. It is not recall against qrels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits

__all__ = ["METRICS", "Metric", "exact_neighbours", "neighbour_recall", "true_scores"]

Metric = Literal["cosine", "ip", "l2"]
METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")

Floats = NDArray[np.floating]
_BLOCK_BYTES = 64 * 2**20
_SPARE = 64


def _blocks(n_rows: int, bytes_per_row: int) -> Iterator[slice]:
    step = max(1, _BLOCK_BYTES // max(1, bytes_per_row))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def _norms(vectors: Floats, centre: NDArray[np.float64] | float = 0.0) -> NDArray[np.float64]:
    norms = np.empty(len(vectors))
    for rows in _blocks(len(vectors), 8 * vectors.shape[1]):
        norms[rows] = np.linalg.norm(vectors[rows].astype(np.float64) - centre, axis=1)
    return norms


def true_scores(
    documents: Floats, queries: Floats, ids: NDArray[np.int64], metric: Metric
) -> NDArray[np.float64]:
    """Score given documents for each query in float64.

    Parameters
    ----------
    documents : ndarray, shape (n, d)
        All vectors.
    queries : ndarray, shape (q, d)
        The queries.
    ids : ndarray of int64, shape (q, k)
        Which documents to score; -1 scores ``-inf``.
    metric : {'cosine', 'ip', 'l2'}
        Cosine, inner product, or negative squared Euclidean distance. The cosine with a zero
        vector is 0.

    Returns
    -------
    ndarray of float64, shape (q, k)
        Higher is better.

    Examples
    --------
    >>> x = np.array([[3.0, 4.0], [0.0, 2.0]], dtype=np.float32)
    >>> true_scores(x, x[:1], np.array([[0, 1, -1]]), "cosine").round(3).tolist()
    [[1.0, 0.8, -inf]]
    """
    scores = np.empty(ids.shape)
    for rows in _blocks(len(ids), 16 * ids.shape[1] * documents.shape[1]):
        found = documents[np.maximum(ids[rows], 0)].astype(np.float64)
        asked = queries[rows].astype(np.float64)
        if metric == "l2":
            difference = found - asked[:, None, :]
            part = -np.einsum("qkd,qkd->qk", difference, difference)
        else:
            part = np.einsum("qkd,qd->qk", found, asked)
        if metric == "cosine":
            scale = np.linalg.norm(found, axis=2) * np.linalg.norm(asked, axis=1)[:, None]
            part = np.divide(part, scale, out=np.zeros_like(part), where=scale > 0)
        scores[rows] = part
    scores[ids < 0] = -np.inf
    return scores


def _best(
    ids: NDArray[np.int64], scores: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order by score descending, then by row number; keep k."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def _candidates(
    documents: Floats,
    queries: NDArray[np.float64],
    k: int,
    metric: Metric,
    centre: NDArray[np.float64],
    scale: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find k candidates in float32 among centred and scaled (or normalised) documents."""
    import faiss

    measure = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    sign = -1.0 if metric == "l2" else 1.0
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    best_ids = np.empty((len(queries), 0), dtype=np.int64)
    best_scores = np.empty((len(queries), 0))
    for rows in _blocks(len(documents), 12 * documents.shape[1]):
        block = (documents[rows].astype(np.float64) - centre) * scale
        if metric == "cosine":
            norms = np.linalg.norm(block, axis=1, keepdims=True)
            np.divide(block, norms, out=block, where=norms > 0)
        take = min(k, len(block))
        distances, labels = faiss.knn(asked, block.astype(np.float32), take, metric=measure)
        merged_ids = np.hstack([best_ids, labels + rows.start])
        merged_scores = np.hstack([best_scores, sign * distances.astype(np.float64)])
        best_ids, best_scores = _best(merged_ids, merged_scores, k)
    return best_ids, best_scores


def _power_of_two_below(value: float) -> float:
    """Return a power of two that scales `value` to between 1 and 2, without rounding anything."""
    return float(2.0 ** -np.floor(np.log2(value))) if value > 0 else 1.0


def _by_float64(
    documents: Floats, queries: Floats, k: int, metric: Metric
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Search a few queries with every score in float64, without a detour over float32."""
    best_ids = np.empty((len(queries), 0), dtype=np.int64)
    best_scores = np.empty((len(queries), 0))
    for rows in _blocks(len(documents), 24 * documents.shape[1]):
        ids = np.arange(rows.start, rows.stop, dtype=np.int64)
        for row in range(len(queries)):
            scores = true_scores(documents, queries[row : row + 1], ids[None, :], metric)
            top_ids, top_scores = _best(ids[None, :], scores, k)
            if row == 0:
                block_ids = np.empty((len(queries), top_ids.shape[1]), dtype=np.int64)
                block_scores = np.empty(block_ids.shape)
            block_ids[row], block_scores[row] = top_ids[0], top_scores[0]
        merged = np.hstack([best_ids, block_ids]), np.hstack([best_scores, block_scores])
        best_ids, best_scores = _best(*merged, k)
    return best_ids, best_scores


def exact_neighbours(
    documents: Floats, queries: Floats, k: int, metric: Metric
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the true k nearest documents of each query.

    Candidates come from a float32 search of centred (or normalised) vectors, with some to spare,
    and are scored again in float64. Where the float32 rounding bound, ``(d + 4) * 2**-24`` of the
    product of norms, does not prove that no other document can belong to the k best, the query is
    searched again wholly in float64. So the result is exact, far from the origin too.

    Parameters
    ----------
    documents : ndarray, shape (n, d)
        Finite vectors; may be memory-mapped. Memory stays bounded by blocks of 64 MiB.
    queries : ndarray, shape (q, d)
        Finite vectors.
    k : int
        Neighbours wanted, at least 1 and at most n.
    metric : {'cosine', 'ip', 'l2'}
        See :func:`true_scores`.

    Returns
    -------
    ids : ndarray of int64, shape (q, k)
        Best first; equal scores by ascending row number. A zero query has no neighbours under
        cosine: its row is -1.
    scores : ndarray of float64, shape (q, k)
        Their true scores; ``-inf`` where the id is -1.

    Raises
    ------
    InputError
        If k is out of range or the dimensions differ.

    Examples
    --------
    >>> x = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    >>> exact_neighbours(x, np.array([[2, 1]], dtype=np.float32), 2, "cosine")[0].tolist()
    [[2, 0]]
    """
    n, d = documents.shape
    if not 1 <= k <= n:
        raise InputError(f"k is {k}: it must be between 1 and the number of documents, {n}")
    if queries.shape[1] != d:
        raise InputError(f"queries have dimension {queries.shape[1]}, documents {d}")
    query_norms = _norms(queries)
    asked = queries.astype(np.float64)
    centre, scale, reach = np.zeros(d), 1.0, 1.0
    if metric != "cosine":  # a shift changes no order by ip (per query) or l2, but saves digits
        centre = np.mean(documents, axis=0, dtype=np.float64)
        reach = _norms(documents, centre).max()
    if metric == "l2":  # nor does one scale for all, and it keeps squares within float32
        asked -= centre
        scale = _power_of_two_below(max(reach, np.linalg.norm(asked, axis=1).max(initial=0.0)))
        asked *= scale
    else:
        np.divide(asked, query_norms[:, None], out=asked, where=query_norms[:, None] > 0)
        scale = _power_of_two_below(reach)
    wanted = min(n, k + _SPARE)
    ids, rough_scores = _candidates(documents, asked, wanted, metric, centre, scale)
    ids, scores = _best(ids, true_scores(documents, queries, ids, metric), k)
    if wanted < n:
        unit = (d + 4) * 2.0**-24
        if metric == "l2":
            proven = scores[:, -1] * scale**2
            bound = unit * (np.linalg.norm(asked, axis=1) + reach * scale) ** 2
        elif metric == "ip":
            lengths = np.where(query_norms > 0, query_norms, 1.0)
            proven = (scores[:, -1] / lengths - asked @ centre) * scale
            bound = unit * reach * scale
        else:
            proven, bound = scores[:, -1], unit
        unproven = np.flatnonzero(proven <= rough_scores[:, -1] + bound)
        if len(unproven):
            ids[unproven], scores[unproven] = _by_float64(documents, queries[unproven], k, metric)
    if metric == "cosine":
        ids[query_norms == 0] = -1
        scores[query_norms == 0] = -np.inf
    return ids, scores


def neighbour_recall(
    hits: Hits,
    threshold: NDArray[np.float64],
    documents: Floats,
    queries: Floats,
    k: int,
    metric: Metric,
) -> NDArray[np.float64]:
    """Share of the true k nearest neighbours among the first k hits, for each query.

    A hit counts if its true score reaches the true k-th best, so that documents tied with the
    k-th neighbour are as good as it is; the only tolerance is the rounding of float64. A document
    listed twice counts once, padding never.

    Parameters
    ----------
    hits : Hits
        What an index returned.
    threshold : ndarray of float64, shape (q,)
        True score of each query's k-th neighbour; ``-inf`` for a query that has none.
    documents, queries : ndarray, shape (n, d) and (q, d)
        The vectors.
    k : int
        At most ``hits.k``.
    metric : {'cosine', 'ip', 'l2'}
        See :func:`true_scores`.

    Returns
    -------
    ndarray of float64, shape (q,)
        Between 0 and 1; NaN for a query without neighbours.
    """
    ids = hits.ids[:, :k]
    if ids.shape[1] < k:
        raise InputError(f"neighbour recall@{k} needs {k} hits a query, there are {hits.k}")
    scores = true_scores(documents, queries, ids, metric)
    tolerance = 4 * documents.shape[1] * 2.0**-53
    if metric == "l2":
        slack = tolerance * np.abs(threshold)
    else:
        slack = np.full(len(ids), tolerance)
        if metric == "ip":
            slack *= _norms(queries) * float(_norms(documents).max())
    order = np.argsort(ids, axis=1, kind="stable")
    in_order = np.take_along_axis(ids, order, 1)
    repeated = np.zeros(ids.shape, dtype=bool)
    again = np.hstack([np.zeros((len(ids), 1), dtype=bool), in_order[:, 1:] == in_order[:, :-1]])
    np.put_along_axis(repeated, order, again, 1)
    good = (ids >= 0) & ~repeated & (scores >= (threshold - slack)[:, None])
    recall: NDArray[np.float64] = np.count_nonzero(good, axis=1) / k
    recall[np.isneginf(threshold)] = np.nan
    return recall
