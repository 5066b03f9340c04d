"""The geometry of a collection's vectors, from exact distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.neighbours import BUDGET_BYTES, METRICS, Metric, exact_neighbours
from retrieval_eval.neighbours.scores import Floats, blocks, norms_of

__all__ = ["chords", "lid_estimates", "local_intrinsic_dimensionality"]


def local_intrinsic_dimensionality(
    documents: Floats, k: int = 100, metric: Metric = "l2", *, budget_bytes: int = BUDGET_BYTES
) -> NDArray[np.float64]:
    """Estimate how many dimensions the vectors fill around each document.

    The maximum likelihood estimate from the distances r_1 <= ... <= r_k to the k nearest other
    documents is ``-1 / mean(ln(r_i / r_k))`` [1]_ [2]_: in m dimensions the number of documents
    within a distance r grows as r**m. The order of insertion by this value moves the recall of
    HNSW indexes [3]_.

    Parameters
    ----------
    documents : ndarray, shape (n, d)
        Finite vectors; may be memory-mapped. There are n * n distances to compute.
    k : int, default 100
        Neighbours of each document, itself not counted; at least 2 and at most n - 1. More make
        the estimate steadier and less local.
    metric : {'l2', 'cosine'}
        Distances are Euclidean, under 'cosine' between the normalised vectors.
    budget_bytes : int, default 512 MiB
        Memory for blocks, at least 1; see :func:`retrieval_eval.neighbours.exact_neighbours`.

    Returns
    -------
    ndarray of float64, shape (n,)
        Greater than 0. Neighbours at distance 0 are copies of the document and say nothing about
        how space fills: the mean is over the others of the k. NaN where fewer than two others
        are left; ``inf`` (under 'cosine', by rounding, perhaps a huge number) where these are all
        equally far.

    Raises
    ------
    InputError
        If k or the budget is out of range, the metric is no distance, or a document is zero under
        'cosine'.

    Notes
    -----
    The mean includes the k-th term, which is 0, as in [2]_ and [3]_; [1]_ divides by k - 1. Far
    from the edges of an m-dimensional set the estimate is ``m * k / (k - 2)`` on average. Above 8
    dimensions edges are near everywhere, and it is too low.

    References
    ----------
    .. [1] E. Levina and P. J. Bickel, Maximum likelihood estimation of intrinsic dimension,
       NIPS 17, 2004.
    .. [2] L. Amsaleg et al., Estimating local intrinsic dimensionality, KDD 2015.
    .. [3] O. P. Elliott and J. Clark, The impacts of data, ordering, and intrinsic dimensionality
       on recall in hierarchical navigable small worlds, ICTIR 2024.

    Examples
    --------
    >>> line = np.array([[0.0], [1.0], [3.0], [7.0]])
    >>> local_intrinsic_dimensionality(line, k=2).round(3).tolist()  # 2 / ln 3 first
    [1.82, 2.885, 4.933, 4.933]
    """
    n, d = documents.shape
    if metric not in METRICS or metric == "ip":
        raise InputError(f"metric is {metric!r}: it must be 'l2' or 'cosine', which are distances")
    if not 2 <= k <= n - 1:
        raise InputError(
            f"k is {k}: it must be between 2 and {n - 1}, the number of other documents"
        )
    if budget_bytes < 1:
        raise InputError(f"budget_bytes is {budget_bytes}: it must be at least 1")
    if metric == "cosine":
        zero = np.flatnonzero(norms_of(documents) == 0)
        if len(zero):
            raise InputError(f"document {zero[0]} is a zero vector, which has no cosine")
    estimates = np.empty(n)
    bytes_per_row = 12 * d + 64 * (k + 1)
    for rows in blocks(n, bytes_per_row, budget_bytes // 2):
        asked = documents[rows]
        ids, scores = exact_neighbours(
            documents, asked, k + 1, metric, budget_bytes=max(1, budget_bytes // 2)
        )
        own = ids == np.arange(rows.start, rows.stop)[:, None]
        # More than k copies may stand before the document itself: then any of them can go.
        own[~own.any(axis=1), -1] = True
        distances = np.sqrt(-scores) if metric == "l2" else chords(documents, asked, ids)
        estimates[rows] = lid_estimates(distances[~own].reshape(len(asked), k))
    return estimates


def chords(documents: Floats, asked: Floats, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute distances between normalised vectors; 1 - cosine would cancel where it is small.

    Parameters
    ----------
    documents : ndarray, shape (n, d)
        Without zero vectors among those that are asked for.
    asked : ndarray, shape (q, d)
        Without zero vectors.
    ids : ndarray of int64, shape (q, k)
        Rows of `documents`.

    Returns
    -------
    ndarray of float64, shape (q, k)
        From 0 to 2.
    """
    distances = np.empty(ids.shape)
    for rows in blocks(len(ids), 16 * ids.shape[1] * documents.shape[1]):
        found = _normalised(documents[ids[rows]])
        found -= _normalised(asked[rows])[:, None, :]
        distances[rows] = np.sqrt(np.einsum("qkd,qkd->qk", found, found))
    distances[distances <= (documents.shape[1] + 4) * 2.0**-53] = 0.0  # rounding of the norms
    return distances


def _normalised(vectors: Floats) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide


def lid_estimates(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the local intrinsic dimensionality from each row of distances.

    Parameters
    ----------
    distances : ndarray of float64, shape (q, k)
        To the k nearest neighbours; zeros are left out.

    Returns
    -------
    ndarray of float64, shape (q,)
        NaN where fewer than two are above zero, infinity where all are equal.
    """
    positive = distances > 0
    count = np.count_nonzero(positive, axis=1)
    farthest = distances.max(axis=1, keepdims=True)
    logs = np.zeros(distances.shape)
    np.divide(distances, farthest, out=logs, where=positive)
    np.log(logs, out=logs, where=positive)
    total = -logs.sum(axis=1)
    estimates = np.where(count < 2, np.nan, np.inf)
    np.divide(count, total, out=estimates, where=(count >= 2) & (total > 0))
    return estimates
