"""Differences of single queries between many pairs of rows: counted in bins, and the largest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.paired import PairedScores

__all__ = ["Differences", "query_differences"]

_BINS, _FEW_BINS, _FEW_QUERIES = 20, 10, 100  # each side of no difference
_ROUNDING = 1e-9
_VALUES_AT_ONCE = 2**22

Array = NDArray[np.float64]
Pairs = NDArray[np.intp]


@dataclass(frozen=True)
class Differences:
    """How the scores of single queries differ by one measure, candidate minus reference.

    Parameters
    ----------
    wins, ties, losses : int
        Queries on which the candidate is better, equal but for rounding, and worse.
    undefined : int
        Queries on which one of both has no score.
    mean : float
        Mean difference; NaN if no query has both scores.
    counts : tuple of int
        Queries that differ, in bins of the cell's `step`: half of them below no difference. A bin
        holds its end that is farther from 0, and ties are in none.
    queries : tuple of str
        Those that moved most: first worse ones, the worst first, then better ones, the best first.
    reference, candidate : tuple of float
        Their scores.
    """

    wins: int
    ties: int
    losses: int
    undefined: int
    mean: float
    counts: tuple[int, ...]
    queries: tuple[str, ...]
    reference: tuple[float, ...]
    candidate: tuple[float, ...]


def query_differences(
    scores: Array, pairs: Pairs, ids: NDArray[np.object_], listed: tuple[int, int]
) -> tuple[float, list[Differences]]:
    """Compare pairs of rows by one measure.

    Parameters
    ----------
    scores : ndarray of float64, shape (s, n)
        Score of each row on each query; NaN where it has none.
    pairs : ndarray of intp, shape (r, 2)
        Rows of `scores`: candidate and reference.
    ids : ndarray of str objects, shape (n,)
        The queries, ascending: of those that moved alike, the first come first.
    listed : (int, int)
        How many queries that got worse and better are listed at the most.

    Returns
    -------
    step : float
        Width of the bins, the same for all pairs: 1, 2 or 5 times a power of ten, so that all
        differences fit into 20 bins a side, or 10 for fewer than 100 queries. 0 if none differs.
    differences : list of Differences, length r

    Examples
    --------
    >>> scores = np.array([[0.5, 1.0, 0.2], [0.5, 0.5, 1.0]])
    >>> queries = np.array(["q1", "q2", "q3"], dtype=object)
    >>> step, (found,) = query_differences(scores, np.array([[1, 0]]), queries, (1, 1))
    >>> step, found.wins, found.ties, found.losses, found.queries, found.candidate
    (0.1, 1, 1, 1, ('q2', 'q3'), (0.5, 1.0))
    """
    step = _step(scores, pairs)
    return step, list(_differences(scores, pairs, ids, step, listed))


def _blocks(scores: Array, pairs: Pairs) -> Iterator[Pairs]:
    size = max(1, _VALUES_AT_ONCE // max(1, scores.shape[1]))
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _half(queries: int) -> int:
    return _BINS if queries >= _FEW_QUERIES else _FEW_BINS


def _step(scores: Array, pairs: Pairs) -> float:
    """Return a width of 1, 2 or 5 times a power of ten by which all differences fit the bins."""
    largest = 0.0
    for some in _blocks(scores, pairs):
        sizes = np.abs(scores[some[:, 0]] - scores[some[:, 1]])
        largest = max(largest, float(np.nan_to_num(sizes, nan=0.0).max(initial=0.0)))
    if largest == 0:
        return 0.0
    rough = largest / _half(scores.shape[1])
    power = 10.0 ** math.floor(math.log10(rough))
    return next(
        float(f"{size:.12g}")
        for digit in (1, 2, 5, 10)
        if (size := digit * power) >= rough * (1 - _ROUNDING)
    )


def _differences(
    scores: Array, pairs: Pairs, ids: NDArray[np.object_], step: float, listed: tuple[int, int]
) -> Iterator[Differences]:
    """Compare pairs of rows by one measure, many at once."""
    half = _half(scores.shape[1])
    filled = np.nan_to_num(scores, nan=0.0)
    for some in _blocks(scores, pairs):
        paired = PairedScores(filled, some)
        gone = np.isnan(scores[some])
        defined = ~(gone[:, 0] | gone[:, 1])
        sign = np.where(defined, paired.integers, 0.0)
        wins, losses = (sign > 0).sum(axis=1), (sign < 0).sum(axis=1)
        undefined = (~defined).sum(axis=1)
        means = paired.means.copy()
        for row in np.flatnonzero(undefined).tolist():
            known = defined[row]
            means[row] = paired.differences[row, known].mean() if known.any() else math.nan
        counts = _counts(np.where(sign == 0, 0.0, paired.differences), step, half)
        down = np.argsort(sign, axis=1, kind="stable")[:, : listed[0]]
        up = np.argsort(-sign, axis=1, kind="stable")[:, : listed[1]]
        for row, (mine, theirs) in enumerate(some.tolist()):
            at = np.concatenate([down[row, : losses[row]], up[row, : wins[row]]])
            yield Differences(
                int(wins[row]),
                int(scores.shape[1] - wins[row] - losses[row] - undefined[row]),
                int(losses[row]),
                int(undefined[row]),
                float(means[row]),
                tuple(counts[row].tolist()),
                tuple(ids[at]),
                tuple(scores[theirs, at].tolist()),
                tuple(scores[mine, at].tolist()),
            )


def _counts(differences: Array, step: float, half: int) -> NDArray[np.int64]:
    """Count differences in bins of (k step, (k + 1) step], mirrored below 0; shape (r, 2 half)."""
    if step == 0:
        return np.zeros((len(differences), 2 * half), dtype=np.int64)
    row, column = np.nonzero(differences)
    moved = differences[row, column]
    away = np.clip(np.ceil(np.abs(moved) / step - _ROUNDING), 1, half).astype(np.int64)
    bins = row * 2 * half + np.where(moved > 0, half + away - 1, half - away)
    return np.bincount(bins, minlength=len(differences) * 2 * half).reshape(-1, 2 * half)
