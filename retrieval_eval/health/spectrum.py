"""Singular values of many vectors, without their Gram matrix, which would lose the small ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.neighbours.scores import Floats, blocks
from retrieval_eval.timing import ThreadLimit

__all__ = ["Spectrum", "effective_rank", "spectrum", "spectrum_entropy_rank"]

_EPSILON = 1e-7  # added to every p_k by RankMe's definition
_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class Spectrum:
    """How some vectors spread over their space.

    Parameters
    ----------
    singular_values : ndarray of float64, shape (min(n, d),)
        Of the vectors as they are, descending.
    components : ndarray of float64, shape (min(n, d),)
        Sums of squares along the principal components of the centred vectors, descending.
    dimensions : ndarray of float64, shape (d,)
        Sums of squares of the centred vectors along each dimension.
    """

    singular_values: NDArray[np.float64]
    components: NDArray[np.float64]
    dimensions: NDArray[np.float64]


def spectrum(vectors: Floats, rows: NDArray[np.int64]) -> Spectrum:
    """Compute the singular values of some rows, as they are and centred.

    The triangular factor of the centred rows grows block by block by QR decompositions in float64,
    so that small singular values are as exact as from one decomposition of the whole. The factor
    of the rows as they are is this one with one row more, sqrt(n) times the mean.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        May be memory-mapped. Memory is for three blocks of 32 MiB or d * d float64 numbers,
        whichever is more.
    rows : ndarray of int64, at least one
        Which of them, ascending.

    Returns
    -------
    Spectrum
        The values.
    """
    n, d = len(rows), vectors.shape[1]
    total = np.zeros(d)
    for part in blocks(n, 8 * d, _BLOCK_BYTES):
        total += vectors[rows[part]].astype(np.float64).sum(axis=0)
    mean = total / n
    factor = np.empty((0, d))
    # One thread gives the same digits everywhere on a machine; on a busy one it is faster, too.
    with ThreadLimit(1):
        for part in blocks(n, 8 * d, max(8 * d * d, _BLOCK_BYTES)):
            centred = vectors[rows[part]].astype(np.float64)
            centred -= mean
            factor = np.asarray(np.linalg.qr(np.vstack([factor, centred]), mode="r"))
        size = min(n, d)
        as_stored = np.vstack([factor, np.sqrt(n) * mean])
        values, components = (
            np.asarray(np.linalg.svd(one, compute_uv=False)[:size], dtype=np.float64)
            for one in (as_stored, factor)
        )
    return Spectrum(values, components**2, np.einsum("kd,kd->d", factor, factor))


def spectrum_entropy_rank(singular_values: NDArray[np.float64]) -> float:
    """Compute RankMe from singular values; see :func:`effective_rank`."""
    shares = singular_values / singular_values.sum() + _EPSILON
    return float(np.exp(-np.sum(shares * np.log(shares))))


def effective_rank(vectors: Floats) -> float:
    """Compute the effective rank of vectors: RankMe.

    The exponential of the entropy of the singular values, ``exp(-sum(p * log(p)))`` with
    ``p_k = sigma_k / sum(sigma) + 1e-7`` [1]_. The constant adds about ``16e-7`` for each singular
    value that is 0, so that a matrix of rank 1 is a little above 1.

    Parameters
    ----------
    vectors : ndarray of float, shape (n, d)
        Finite and not all zero; neither centred nor normalised here. All rows are used: the paper
        takes 25,600, as :func:`retrieval_eval.health.embedding_health` does at most.

    Returns
    -------
    float
        Between about 1 and about min(n, d).

    Raises
    ------
    InputError
        If there is no vector, or all are zero or one is not finite.

    References
    ----------
    .. [1] Q. Garrido, R. Balestriero, L. Najman and Y. LeCun, RankMe: assessing the downstream
       performance of pretrained self-supervised representations by their rank, ICML 2023.

    Examples
    --------
    >>> round(effective_rank(np.diag([3.0, 1.0])), 4)
    1.7548
    """
    if vectors.ndim != 2 or vectors.size == 0:
        raise InputError(f"expected vectors of shape (n, d), got {vectors.shape}")
    values = spectrum(_finite(vectors), np.arange(len(vectors))).singular_values
    if values[0] == 0:
        raise InputError("all vectors are zero: they have no effective rank")
    return spectrum_entropy_rank(values)


def _finite(vectors: Floats) -> Floats:
    for rows in blocks(len(vectors), 8 * vectors.shape[1]):
        wrong = np.flatnonzero(~np.isfinite(vectors[rows]).all(axis=1))
        if len(wrong):
            raise InputError(f"row {rows.start + wrong[0]} is not finite")
    return vectors
