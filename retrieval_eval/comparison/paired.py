"""Scores of several series on the same queries, and the pairs of them that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.resampling import ROUNDING, Array, Grid, Pairs

__all__ = ["CONSTANT", "PairedScores"]

CONSTANT = 2.0**-48  # spread of equal differences, relative to the largest score: their rounding


@dataclass(frozen=True, eq=False)
class PairedScores:
    """Series of scores on the same n queries, and r pairs of series; no NaN.

    Parameters
    ----------
    values : ndarray of float64, shape (s, n)
        Score of each series on each query.
    pairs : ndarray of intp, shape (r, 2)
        Rows of `values`; differences are first minus second.
    groups : ndarray of intp, shape (s,), optional
        What each series measures, as a number: only series of one group are paired. By default
        all are of one group.

    Examples
    --------
    >>> two = PairedScores(np.array([[0.3, 0.5], [0.1 + 0.2, 0.25]]), np.array([[0, 1]]))
    >>> two.differences.tolist()
    [[0.0, 0.25]]
    """

    values: Array
    pairs: Pairs
    groups: NDArray[np.intp] | None = None

    @classmethod
    def of_rows(cls, values: Array) -> PairedScores:
        """Pair each series with one of zeros, so that differences are its own scores."""
        count, n = values.shape
        numbers = np.arange(count + 1)
        pairs = np.stack([numbers[:-1], np.full(count, count)], axis=1)
        return cls(np.concatenate([values, np.zeros((1, n))]), pairs, numbers)  # 0 in any unit

    @property
    def n(self) -> int:
        """Number of queries."""
        return int(self.values.shape[1])

    @cached_property
    def grid(self) -> Grid:
        """The scores as integers."""
        return Grid.of(self.values, self.groups)

    @cached_property
    def integers(self) -> Array:
        """Differences in units of the grid, shape (r, n); 0 where two scores are equal."""
        left, right = self.pairs.T
        found: Array = self.grid.integers[left] - self.grid.integers[right]
        found[np.abs(found) <= ROUNDING] = 0
        return found

    @cached_property
    def differences(self) -> Array:
        """First minus second, shape (r, n); exactly 0 where they are equal but for rounding."""
        left, right = self.pairs.T
        return np.where(self.integers == 0, 0.0, self.values[left] - self.values[right])

    @cached_property
    def means(self) -> Array:
        """Mean differences, shape (r,)."""
        constant = np.ptp(self.differences, axis=1) == 0
        return np.where(constant, self.differences[:, 0], self.differences.mean(axis=1))

    @cached_property
    def spreads(self) -> Array:
        """Standard deviations of the differences (n - 1), shape (r,); NaN for one query.

        0 where all differences are equal but for rounding.
        """
        if self.n < 2:
            return np.full(len(self.pairs), np.nan)
        constant = np.ptp(self.differences, axis=1) <= CONSTANT * self.largest
        return np.where(constant, 0.0, self.scaled.std(axis=1, ddof=1) * self.scale)

    @cached_property
    def largest(self) -> Array:
        """Largest score of each pair, without its sign, shape (r,)."""
        found: Array = np.abs(self.values).max(axis=1, initial=0.0)[self.pairs].max(axis=1)
        return found

    @cached_property
    def scale(self) -> Array:
        """Power of two near the largest difference of each pair, shape (r,); 1 if all are 0."""
        largest = np.abs(self.differences).max(axis=1, initial=0.0)
        return np.where(largest > 0, np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)

    @property
    def scaled(self) -> Array:
        """Differences over their scale, shape (r, n): squares neither vanish nor overflow."""
        return self.differences / self.scale[:, None]
