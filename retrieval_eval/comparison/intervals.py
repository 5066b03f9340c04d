"""Intervals of means and of paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.resampling import (
    DEFAULT_DRAWS,
    Array,
    bootstrap_sums,
    check_draws,
)
from retrieval_eval.errors import InputError, unknown_name

__all__ = ["INTERVALS", "difference_intervals", "mean_intervals"]

INTERVALS: Mapping[str, str] = {
    "t": "Student's t",
    "percentile": "percentile bootstrap",
    "bca": "BCa bootstrap",
}


def difference_intervals(
    paired: PairedScores,
    method: str = "t",
    *,
    confidence: float = 0.95,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    threads: int | None = None,
) -> Array:
    """Intervals of mean differences.

    Parameters
    ----------
    paired : PairedScores
        r pairs of series on n queries.
    method : {'t', 'percentile', 'bca'}
        The t interval is the default because it covers best; docs/validity.md has the figures.
    confidence : float
        Between 0 and 1.
    draws, seed : int
        Of the bootstrap; t needs neither.
    threads : int, optional
        Of no effect on the result.

    Raises
    ------
    InputError
        If the method is unknown, or a number is out of range.

    Returns
    -------
    ndarray of float64, shape (r, 2)
        In the unit of the scores. The mean twice where all differences are equal; NaN for fewer
        than two queries, from which no spread can be told.

    References
    ----------
    Efron 1987, Better bootstrap confidence intervals (BCa); its acceleration is the skewness of
    the differences over ``6 * sqrt(n)``, as the jackknife gives it for a mean.

    Examples
    --------
    >>> scores = np.array([[0.5, 0.6, 0.9, 0.4], [0.3, 0.6, 0.5, 0.2]])
    >>> difference_intervals(PairedScores(scores, np.array([[0, 1]]))).round(3).tolist()
    [[-0.06, 0.46]]
    """
    if method not in INTERVALS:
        raise unknown_name("interval", method, INTERVALS)
    if not 0 < confidence < 1:
        raise InputError(f"the confidence is {confidence}: it must lie between 0 and 1")
    check_draws(draws, seed)
    count = len(paired.pairs)
    if paired.n < 2:
        return np.full((count, 2), np.nan)
    tail = (1 - confidence) / 2
    if method == "t":
        from scipy.special import stdtrit

        reach = stdtrit(paired.n - 1, 1 - tail) * paired.spreads / np.sqrt(paired.n)
        return np.stack([paired.means - reach, paired.means + reach], axis=1)
    sums = bootstrap_sums(paired.grid, paired.pairs, draws=draws, seed=seed, threads=threads)
    sums.sort(axis=0)
    levels = np.tile([tail, 1 - tail], (count, 1))
    if method == "bca":
        levels = _bca_levels(paired, sums, levels)
    place = levels * (draws - 1)
    below = np.floor(place).astype(np.intp)
    rows = np.arange(count)[:, None]
    low, high = sums[below, rows], sums[np.minimum(below + 1, draws - 1), rows]
    left = paired.pairs[:, 0]
    found = (low + (place - below) * (high - low)) * paired.grid.unit[left, None] / paired.n
    return np.where((paired.spreads == 0)[:, None], paired.means[:, None], found)


def _bca_levels(paired: PairedScores, sums: Array, levels: Array) -> Array:
    from scipy.special import ndtr, ndtri

    draws = len(sums)
    observed = np.diff(paired.grid.integers.sum(axis=1)[paired.pairs[:, ::-1]], axis=1)[:, 0]
    share = (np.mean(sums < observed, axis=0) + np.mean(sums <= observed, axis=0)) / 2
    bias = ndtri(np.clip(share, 0.5 / draws, 1 - 0.5 / draws))
    centred = paired.scaled - paired.scaled.mean(axis=1, keepdims=True)
    squares = (centred**2).sum(axis=1)
    skewed = np.divide(
        (centred**3).sum(axis=1), 6 * squares**1.5, out=np.zeros_like(squares), where=squares > 0
    )
    moved = bias[:, None] + ndtri(levels)
    adjusted: Array = ndtr(bias[:, None] + moved / (1 - skewed[:, None] * moved))
    return adjusted


def mean_intervals(
    values: Array,
    method: str = "t",
    *,
    confidence: float = 0.95,
    limits: Sequence[tuple[float, float]] | None = None,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
) -> Array:
    """Intervals of means over queries.

    Parameters
    ----------
    values : ndarray of float64, shape (s, n)
        s series of scores on the same n queries.
    method, confidence, draws, seed
        As for :func:`difference_intervals`.
    limits : sequence of (float, float), length s, optional
        Smallest and largest mean that there can be; bounds beyond them are moved there.

    Returns
    -------
    ndarray of float64, shape (s, 2)
        Lower and upper bounds; a constant series gives its constant, one query NaN.

    Examples
    --------
    >>> mean_intervals(np.array([[0.5, 0.5, 0.5]])).tolist()
    [[0.5, 0.5]]
    """
    bounds = difference_intervals(
        PairedScores.of_rows(values), method, confidence=confidence, draws=draws, seed=seed
    )
    return bounds if limits is None else np.clip(bounds, *np.transpose(limits)[:, :, None])
