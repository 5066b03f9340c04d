"""Queries near to and far from those that an encoder was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.neighbours import exact_neighbours

__all__ = ["NearFar", "near_and_far", "quantile_bins"]

_MILLION = 10**6
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class NearFar:
    """How near queries are to training queries, and the strata that follow.

    Parameters
    ----------
    query_ids : tuple of str, length q
        The queries.
    similarity : ndarray of float64, shape (q,)
        The largest cosine with any training query; 0 for a vector of zeros.
    stratum : ndarray of int64, shape (q,)
        0 for the farthest.
    names : tuple of str
        Of each stratum, such as ``"far (cosine <= 0.62)"``.
    """

    query_ids: tuple[str, ...]
    similarity: NDArray[np.float64]
    stratum: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def labels(self) -> dict[str, str]:
        """The name of each query's stratum; every query is in exactly one."""
        return {
            query: self.names[code]
            for query, code in zip(self.query_ids, self.stratum.tolist(), strict=True)
        }

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return nearness and cosine of each query, to be written into a file.

        See :func:`retrieval_eval.splits.write_query_labels`.
        """
        return {
            query: {"nearness": self.names[code], "cosine": round(cosine, 6)}
            for query, code, cosine in zip(
                self.query_ids, self.stratum.tolist(), self.similarity.tolist(), strict=True
            )
        }


def near_and_far(
    query_ids: Sequence[str],
    query_vectors: NDArray[np.floating],
    training_vectors: NDArray[np.floating],
    *,
    bins: int = 2,
    thresholds: Sequence[float] | None = None,
) -> NearFar:
    """Sort queries into strata by their nearness to training queries.

    What an encoder gains near its training queries it may lose far from them; the mean over both
    hides it [1]_.

    Parameters
    ----------
    query_ids : sequence of str, length q
        All different.
    query_vectors : ndarray of float, shape (q, d)
        Their embeddings.
    training_vectors : ndarray of float, shape (n, d)
        Embeddings of the training queries by the same encoder; may be memory-mapped.
    bins : int
        How many strata of about as many queries each. Queries whose cosines agree in 6 decimals are
        in one stratum, so there may be fewer, of other sizes.
    thresholds : sequence of float, optional
        Borders between the strata instead: ascending, between -1 and 1. A query whose cosine is a
        border belongs to the farther side.

    Returns
    -------
    NearFar
        Strata without queries are left out.

    Raises
    ------
    InputError
        If shapes do not fit, an id comes twice, a vector is not finite, there is no query on one of
        the sides, bins is below 1, or thresholds are not ascending.

    References
    ----------
    .. [1] J. Zhan et al., Evaluating interpolation and extrapolation performance of neural
       retrieval models, CIKM 2022.

    Examples
    --------
    >>> train = np.array([[1.0, 0.0]])
    >>> found = near_and_far(["q1", "q2"], np.array([[2.0, 0.0], [3.0, 4.0]]), train)
    >>> found.labels
    {'q1': 'near (cosine > 0.60)', 'q2': 'far (cosine <= 0.60)'}
    >>> near_and_far(["q1"], np.array([[3.0, 4.0]]), train, thresholds=[0.5, 0.7]).labels
    {'q1': 'middle (0.5 < cosine <= 0.7)'}
    """
    ids = tuple(query_ids)
    _check_vectors(ids, query_vectors, training_vectors)
    found = exact_neighbours(training_vectors, query_vectors, 1, "cosine")[1][:, 0]
    found[np.isneginf(found)] = 0.0  # of a query of zeros
    millionths = np.rint(found * _MILLION).astype(np.int64)
    if thresholds is None:
        codes = quantile_bins(millionths, bins)
        borders = _borders(millionths, codes)
    else:
        limits = [float(one) for one in thresholds]
        if not limits or sorted(set(limits)) != limits or not -1 <= limits[0] <= limits[-1] <= 1:
            raise InputError(
                f"thresholds must ascend from -1 to 1 at most, got {', '.join(map(str, limits))}"
            )
        whole = np.rint(np.array(limits) * _MILLION).astype(np.int64)
        codes = np.searchsorted(whole, millionths, side="left")
        borders = [f"{one:g}" for one in limits]
    names = _names(borders)
    kept, stratum = np.unique(codes, return_inverse=True)
    return NearFar(ids, found, stratum.astype(np.int64), tuple(names[code] for code in kept))


def quantile_bins(values: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Sort values into bins of about as many each; equal values are in one bin.

    The middle of a stretch of equal values decides, in whole numbers, so that rounding does not.

    Parameters
    ----------
    values : ndarray of int64, shape (n,)
        At least one.
    bins : int
        How many, at least 1; where values are equal there may be fewer, of other sizes.

    Returns
    -------
    ndarray of int64, shape (n,)
        The number of each value's bin, from 0 without gaps.

    Raises
    ------
    InputError
        If bins is below 1.

    Examples
    --------
    >>> quantile_bins(np.array([7, 1, 5, 5]), 2).tolist()
    [1, 0, 1, 1]
    """
    if bins < 1:
        raise InputError(f"bins is {bins}: it must be at least 1")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    number = (2 * below + counts) * bins // (2 * len(values))
    codes: NDArray[np.int64] = np.unique(number, return_inverse=True)[1][inverse]
    return codes


def _borders(millionths: NDArray[np.int64], codes: NDArray[np.int64]) -> list[str]:
    """Return the shortest decimal, of two digits or more, between each two strata."""
    borders = []
    for code in range(int(codes.max())):
        low, high = int(millionths[codes == code].max()), int(millionths[codes == code + 1].min())
        digits = next(d for d in range(2, 7) if -(-low // 10 ** (6 - d)) * 10 ** (6 - d) < high)
        step = 10 ** (6 - digits)
        borders.append(f"{-(-low // step) * step / _MILLION:.{digits}f}")
    return borders


def _names(borders: Sequence[str]) -> list[str]:
    """Name each stratum; a query is in it exactly if its cosine is within the borders."""
    if not borders:
        return ["all"]
    count = len(borders) + 1
    middle = [
        f"{'middle' if count == 3 else f'{code} of {count}'} ({low} < cosine <= {high})"
        for code, (low, high) in enumerate(pairwise(borders), start=2)
    ]
    return [f"far (cosine <= {borders[0]})", *middle, f"near (cosine > {borders[-1]})"]


def _check_vectors(
    ids: Sequence[str], queries: NDArray[np.floating], training: NDArray[np.floating]
) -> None:
    for kind, vectors in (("test", queries), ("training", training)):
        if vectors.ndim != 2 or not len(vectors):
            raise InputError(
                f"the {kind} vectors have the shape {vectors.shape}: expected one row for each "
                "query"
            )
        step = max(1, _BLOCK_BYTES // max(1, 8 * vectors.shape[1]))
        for start in range(0, len(vectors), step):
            finite = np.isfinite(vectors[start : start + step]).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                raise InputError(f"row {row} of the {kind} vectors is not finite")
    if len(ids) != len(queries):
        raise InputError(f"{len(ids)} ids for {len(queries)} vectors of test queries")
    if len(set(ids)) != len(ids):
        again = next(one for place, one in enumerate(ids) if one in ids[:place])
        raise InputError(f"the query id {again!r} stands for two test vectors")
    if queries.shape[1] != training.shape[1]:
        raise InputError(
            f"test vectors have dimension {queries.shape[1]}, training vectors "
            f"{training.shape[1]}: one encoder must have made both"
        )
