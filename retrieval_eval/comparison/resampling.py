"""Bootstrap intervals and the paired randomization test, vectorised over comparisons."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULT_DRAWS", "bootstrap_intervals", "randomization_p"]

DEFAULT_DRAWS = 10_000
_BLOCK_BYTES = 64 * 2**20


def _draw_blocks(n: int, draws: int) -> Iterator[int]:
    """Split draws into blocks whose float64 matrix of n columns stays within the budget."""
    step = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, draws, step):
        yield min(step, draws - start)


def bootstrap_intervals(
    values: NDArray[np.float64], *, draws: int = DEFAULT_DRAWS, seed: int, confidence: float = 0.95
) -> NDArray[np.float64]:
    """Bootstrap intervals of means over queries, by the percentile method.

    Parameters
    ----------
    values : ndarray of float64, shape (s, n)
        s series of scores, or of paired differences, over the same n queries.
    draws : int
        Number of resamples.
    seed : int
        Seed of the resamples, which all series share.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    ndarray of float64, shape (s, 2)
        Lower and upper bounds, in the unit of the values. Constant series give their constant.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Examples
    --------
    >>> bootstrap_intervals(np.array([[0.5, 0.5, 0.5]]), seed=0).tolist()
    [[0.5, 0.5]]
    """
    series, n = values.shape
    # Resampling deviations from the mean keeps a constant series free of rounding noise.
    mean = values.mean(axis=1, keepdims=True)
    centred = np.where(np.ptp(values, axis=1, keepdims=True) == 0, 0.0, values - mean)
    mean = np.where(np.ptp(values, axis=1, keepdims=True) == 0, values[:, :1], mean)
    rng = np.random.default_rng(seed)
    parts = []
    for block in _draw_blocks(n, draws):
        picks = rng.integers(0, n, size=(block, n), dtype=np.int32)
        flat = (picks + np.arange(block, dtype=np.int64)[:, None] * n).ravel()
        weights = np.bincount(flat, minlength=block * n).reshape(block, n)
        parts.append(weights.astype(np.float64) @ centred.T / n)
    means = np.concatenate(parts) if parts else np.zeros((1, series))
    tail = (1 - confidence) / 2
    bounds: NDArray[np.float64] = np.quantile(means, [tail, 1 - tail], axis=0).T + mean
    return bounds


def randomization_p(
    differences: NDArray[np.float64], *, draws: int = DEFAULT_DRAWS, seed: int
) -> NDArray[np.float64]:
    """Two-sided paired randomization (sign-flip) test of a mean difference of zero.

    Exact, over all ``2**n`` sign patterns of the n differences that are not zero, where that is at
    most `draws`. Otherwise by Monte Carlo, ``p = (1 + b) / (1 + draws)``, never 0. Sums that agree
    but for the rounding of float64 count as ties, so that p is the same on every machine.

    Parameters
    ----------
    differences : ndarray of float64, shape (s, n)
        Paired differences of s comparisons over the same n queries.
    draws : int
        Number of random sign patterns, which all comparisons share.
    seed : int
        Seed of the patterns.

    Returns
    -------
    ndarray of float64, shape (s,)
        p values; 1 where no query differs.

    References
    ----------
    Smucker, Allan & Carterette 2007, A comparison of statistical significance tests for
    information retrieval evaluation.

    Examples
    --------
    >>> randomization_p(np.array([[1.0, 1.0, 1.0, 0.0]]), seed=0).tolist()
    [0.25]
    """
    n = differences.shape[1]
    observed = np.abs(differences.sum(axis=1))
    threshold = observed - n * 2.0**-50 * np.abs(differences).sum(axis=1)
    result = np.ones(len(differences))
    by_chance = []
    for row, one in enumerate(differences):
        moved = one[one != 0]
        if len(moved) > np.log2(draws):
            by_chance.append(row)
        elif len(moved):
            patterns = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
            sums = (1.0 - 2.0 * patterns) @ moved
            result[row] = np.mean(np.abs(sums) >= threshold[row])
    if by_chance:
        rng = np.random.default_rng(seed)
        chosen = np.ascontiguousarray(differences[by_chance].T)
        reached = np.zeros(len(by_chance), dtype=np.int64)
        width = -(-n // 8)
        for block in _draw_blocks(n, draws):
            raw = np.frombuffer(rng.bytes(block * width), dtype=np.uint8).reshape(block, width)
            signs = 1.0 - 2.0 * np.unpackbits(raw, axis=1, count=n)
            reached += np.count_nonzero(np.abs(signs @ chosen) >= threshold[by_chance], axis=0)
        result[by_chance] = (1 + reached) / (1 + draws)
    return result
