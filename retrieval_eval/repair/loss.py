"""The loss of a repair, and its gradients by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.indexes.repaired import ProductCodes

__all__ = ["candidates_of", "pairwise_loss"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

_PAIRS = 2**20  # scored at a time


def pairwise_loss(
    codes: ProductCodes,
    query_map: Array,
    centroids: Array,
    queries: Array,
    candidates: Rows,
    relevant: NDArray[np.bool_],
    *,
    scale: float = 1.0,
) -> tuple[float, dict[str, Array]]:
    """Compute the loss of some queries, and its gradients.

    Parameters
    ----------
    codes : ProductCodes
        Of the documents; its centroids are not used.
    query_map : ndarray of float64, shape (d, d)
        As of :class:`~retrieval_eval.indexes.repaired.Repair`.
    centroids : ndarray of float64, shape (m, c, s)
        Likewise.
    queries : ndarray of float64, shape (b, d)
        As the index takes them: of unit length for cosine.
    candidates : ndarray of int64, shape (b, l)
        Documents in the order of their ranks, -1 where there is none.
    relevant : ndarray of bool, shape (b, l)
        Which of them are relevant; the others are negatives.
    scale : float
        What scores are multiplied by.

    Returns
    -------
    loss : float
        Mean over the queries; a query without a pair has 0.
    gradients : dict of str to ndarray
        By ``map`` and ``centroids``.
    """
    b = len(queries)
    m, c, s = centroids.shape
    turned = queries @ query_map.T @ codes.rotation.T + codes.bias
    parts = turned.reshape(b, m, s).transpose(1, 0, 2)
    table = parts @ centroids.transpose(0, 2, 1)  # (m, b, c): a part's product with each centroid
    places = codes.codes[candidates].astype(np.int64)
    places += np.arange(b)[:, None, None] * c + np.arange(m) * (b * c)
    scores = table.ravel()[places].sum(axis=2)
    loss, slopes = _rank_loss(scores, candidates >= 0, relevant, scale)
    weights = np.broadcast_to(slopes[:, :, None], places.shape).ravel()
    pulled = np.bincount(places.ravel(), weights, minlength=m * b * c).reshape(m, b, c)
    back = (pulled @ centroids).transpose(1, 0, 2).reshape(b, m * s)
    return loss, {
        "map": (back @ codes.rotation).T @ queries,
        "centroids": pulled.transpose(0, 2, 1) @ parts,
    }


def _rank_loss(
    scores: Array, there: NDArray[np.bool_], relevant: NDArray[np.bool_], scale: float
) -> tuple[float, Array]:
    """Return the mean loss of ranked candidates, and its derivative by each score."""
    b, length = scores.shape
    inverse = 1.0 / np.arange(1, length + 1)
    negative = there & ~relevant
    rows, columns = np.nonzero(relevant & there)
    pairs = np.bincount(rows, minlength=b) * negative.sum(axis=1)
    shares = 1.0 / (b * np.maximum(pairs, 1))
    total, slopes = 0.0, np.zeros_like(scores)
    step = max(1, _PAIRS // length)
    for start in range(0, len(rows), step):
        row, column = rows[start : start + step], columns[start : start + step]
        ahead = scale * (scores[row] - scores[row, column][:, None])
        weight = np.abs(inverse - inverse[column][:, None]) * negative[row] * shares[row][:, None]
        total += float(np.sum(weight * np.logaddexp(0.0, ahead)))
        slope = scale * weight * np.exp(-np.logaddexp(0.0, -ahead))  # the logistic function
        np.add.at(slopes, row, slope)
        np.add.at(slopes, (row, column), -slope.sum(axis=1))
    return total, slopes


def candidates_of(ranked: Rows, relevant: Sequence[Rows]) -> tuple[Rows, NDArray[np.bool_]]:
    """Put relevant documents that were not ranked behind those that were.

    Parameters
    ----------
    ranked : ndarray of int64, shape (b, depth)
        Hits of the live index, -1 where there are fewer.
    relevant : sequence of ndarray of int64
        Relevant documents of each query.

    Returns
    -------
    candidates : ndarray of int64, shape (b, l)
        Documents by rank; -1 where there is none.
    is_relevant : ndarray of bool, shape (b, l)
        Which of them are relevant.

    Examples
    --------
    >>> found = candidates_of(np.array([[4, 2], [0, 1]]), [np.array([2, 7]), np.array([0])])
    >>> found[0].tolist(), found[1].tolist()
    ([[4, 2, 7], [0, 1, -1]], [[False, True, True], [True, False, False]])
    """
    missing = [one[~np.isin(one, row)] for row, one in zip(ranked, relevant, strict=True)]
    longest = max((len(one) for one in missing), default=0)
    candidates = np.pad(ranked, ((0, 0), (0, longest)), constant_values=-1)
    for row, one in enumerate(missing):
        candidates[row, ranked.shape[1] : ranked.shape[1] + len(one)] = one
    known = [np.isin(row, one) for row, one in zip(candidates, relevant, strict=True)]
    return candidates, np.array(known).reshape(candidates.shape)
