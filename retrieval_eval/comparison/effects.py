"""Sizes of differences, in units that do not depend on the number of queries."""

from __future__ import annotations

import numpy as np

from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.resampling import Array

__all__ = ["common_language", "standardised", "wins_ties_losses"]


def standardised(paired: PairedScores) -> Array:
    """Mean over standard deviation (n - 1) of the differences; Cohen's d_z.

    Returns
    -------
    ndarray of float64, shape (r,)
        0 where nothing differs; NaN where all queries differ by the same, or for one query.

    Examples
    --------
    >>> scores = np.array([[0.5, 0.6, 0.9, 0.4], [0.3, 0.6, 0.5, 0.2]])
    >>> standardised(PairedScores(scores, np.array([[0, 1]]))).round(3).tolist()
    [1.225]
    """
    spread = paired.spreads
    unknown = np.where(paired.means == 0, spread * 0.0, np.nan)
    return np.divide(paired.means, spread, out=unknown, where=spread > 0)


def wins_ties_losses(paired: PairedScores) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Count the queries on which the first of each pair is better, equal, worse; shape (r, 3).

    Examples
    --------
    >>> scores = np.array([[0.5, 0.6, 0.9, 0.1], [0.3, 0.6, 0.5, 0.2]])
    >>> wins_ties_losses(PairedScores(scores, np.array([[0, 1]]))).tolist()
    [[2, 1, 1]]
    """
    signs = paired.integers
    return np.stack(
        [np.count_nonzero(found, axis=1) for found in (signs > 0, signs == 0, signs < 0)], axis=1
    )


def common_language(paired: PairedScores) -> Array:
    """Share of queries on which the first is better, ties counted half; shape (r,).

    The chance that the first beats the second on a query drawn at random (McGraw & Wong 1992,
    A common language effect size statistic, for paired observations).

    Examples
    --------
    >>> scores = np.array([[0.5, 0.6, 0.9, 0.1], [0.3, 0.6, 0.5, 0.2]])
    >>> common_language(PairedScores(scores, np.array([[0, 1]]))).tolist()
    [0.625]
    """
    wins, ties, _ = wins_ties_losses(paired).T
    result: Array = (wins + ties / 2) / paired.n
    return result
