"""Sign flips and bootstrap resamples of many paired comparisons at once, the same on any machine.

Comparisons are given as scores and pairs of their rows: resampling 20 systems gives all their 190
differences, at a tenth of the cost. Three things make a seed give the same p everywhere. Random
bits come from the raw output of Philox, which NumPy promises never to change, and a draw's place
in that stream is its number, so that blocks and threads do not matter. Scores are rounded to
integer multiples of a power of two so small that all sums are exact in float64, in any order. And
sums that agree but for that rounding count as equal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from retrieval_eval.errors import InputError

__all__ = [
    "DEFAULT_DRAWS",
    "ROUNDING",
    "Grid",
    "blocks_of_draws",
    "bootstrap_sums",
    "check_draws",
    "count_flips",
    "default_threads",
    "flip_p",
    "stream_key",
]

DEFAULT_DRAWS = 10_000
_BLOCK_BYTES = 2 * 2**20
_WORDS = 4  # that Philox makes of one count
_BYTE = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.float64)
_EXACT_BITS = 51
ROUNDING = 1.0  # in units of a grid: what equal differences may be apart

Array = NDArray[np.float64]
Pairs = NDArray[np.intp]


def default_threads() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_draws(draws: int, seed: int) -> None:
    """Refuse too few draws, or a seed that is none.

    Raises
    ------
    InputError
        If there are fewer than 100 draws, the seed is below 0, or one of them is not whole.
    """
    for name, value in (("draws", draws), ("the seed", seed)):
        if not isinstance(value, (int, np.integer)):
            raise InputError(f"{name} is {value!r}: it must be a whole number")
    if draws < 100:
        raise InputError(f"draws is {draws}: it must be at least 100")
    if seed < 0:
        raise InputError(f"the seed is {seed}: it must be at least 0")


@dataclass(frozen=True, eq=False)
class Grid:
    """Scores as integers, in float64, whose sums over all queries are exact in any order.

    Parameters
    ----------
    integers : ndarray of float64, shape (s, n)
        Whole numbers.
    unit : ndarray of float64, shape (s,)
        What 1 stands for, a power of two; the same for all rows that are paired.
    """

    integers: Array
    unit: Array

    @classmethod
    def of(cls, values: Array, groups: NDArray[np.intp] | None = None) -> Grid:
        """Round scores to multiples of the largest power of two that keeps their sums exact.

        Parameters
        ----------
        values : ndarray of float64, shape (s, n)
            The scores.
        groups : ndarray of intp, shape (s,), optional
            Rows of one group share a unit; by default all rows do.
        """
        groups = np.zeros(len(values), dtype=np.intp) if groups is None else groups
        largest = np.zeros(groups.max(initial=0) + 1)
        np.maximum.at(largest, groups, np.abs(values).max(axis=1, initial=0.0))
        exponent = np.frexp(largest)[1] + int(values.shape[1]).bit_length()
        unit = np.maximum(np.ldexp(1.0, exponent - _EXACT_BITS), np.finfo(np.float64).tiny)[groups]
        return cls(np.rint(values / unit[:, None]), unit)


def _raw(key: NDArray[np.uint64], first: int, rows: int, words: int) -> NDArray[np.uint64]:
    """Rows `first` to `first + rows` of the stream's table with that many words a row."""
    bits = np.random.Philox(key=key, counter=first * (words // _WORDS))
    raw: NDArray[np.uint64] = bits.random_raw(rows * words)
    return raw.reshape(rows, words)


def _blocks(draws: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK_BYTES // row_bytes)
    for first in range(0, draws, step):
        yield first, min(step, draws - first)


def blocks_of_draws(
    work: Callable[[int, int], None], draws: int, row_bytes: int, threads: int | None
) -> None:
    """Call ``work(first, rows)`` for blocks of draws that stay in a processor's cache, in threads.

    Meanwhile BLAS keeps to one thread: its own would wait for each other on such small blocks.
    """
    blocks = list(_blocks(draws, row_bytes))
    if len(blocks) == 1:
        work(*blocks[0])
        return
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(threads or default_threads()) as pool,
    ):
        for done in [pool.submit(work, *block) for block in blocks]:
            done.result()


def stream_key(*numbers: int) -> NDArray[np.uint64]:
    """Return the key of the stream of random bits for a seed and a purpose."""
    return np.random.SeedSequence(numbers).generate_state(2, np.uint64).astype(np.uint64)


def _padded(words: int) -> int:
    return -(-words // _WORDS) * _WORDS


def count_flips(
    grid: Grid,
    pairs: Pairs,
    reached: Callable[[Array], NDArray[np.bool_]],
    *,
    draws: int,
    seed: int,
    threads: int | None = None,
) -> NDArray[np.int64]:
    """Count, for each pair, the random sign patterns whose sum of differences reaches something.

    Parameters
    ----------
    grid : Grid
        Scores of s series on n queries.
    pairs : ndarray of intp, shape (r, 2)
        Rows whose difference, first minus second, is flipped.
    reached : callable
        From sums in units of the grid, shape (b, r), to booleans of that shape.
    draws, seed : int
        Number and seed of the patterns, which all pairs share.
    threads : int, optional
        By default one for each processor; of no effect on the result.

    Returns
    -------
    ndarray of int64, shape (r,)
        Counts out of `draws`.
    """
    n = grid.integers.shape[1]
    words = _padded(-(-n // 64))
    scores = np.ascontiguousarray(grid.integers.T)
    total = grid.integers.sum(axis=1)
    left, right = pairs.T
    key = stream_key(seed, 1)
    counts: dict[int, NDArray[np.int64]] = {}

    def work(first: int, rows: int) -> None:
        octets = _raw(key, first, rows, words).astype("<u8", copy=False).view(np.uint8)
        octets = octets[:, : -(-n // 8)]
        spread = np.empty((*octets.shape, 8))
        np.take(_BYTE, octets, axis=0, out=spread, mode="clip")
        bits = spread.reshape(rows, -1)[:, :n]
        sums = 2 * (bits @ scores) - total
        counts[first] = np.count_nonzero(reached(sums[:, left] - sums[:, right]), axis=0)

    blocks_of_draws(work, draws, 8 * (n + 8 + len(pairs)), threads)
    total_counts: NDArray[np.int64] = np.sum(list(counts.values()), axis=0, dtype=np.int64)
    return total_counts


def bootstrap_sums(
    grid: Grid,
    pairs: Pairs,
    *,
    draws: int,
    seed: int,
    stream: int = 0,
    threads: int | None = None,
) -> Array:
    """Add up differences over queries drawn with replacement.

    Parameters
    ----------
    grid, pairs, draws, seed, threads
        As for :func:`count_flips`.
    stream : int
        Streams of one seed are independent.

    Returns
    -------
    ndarray of float64, shape (draws, r)
        Whole numbers, in units of the grid. Takes ``8 * draws * r`` bytes.
    """
    n = grid.integers.shape[1]
    words = _padded(-(-n // 2))
    scores = np.ascontiguousarray(grid.integers.T)
    left, right = pairs.T
    key = stream_key(seed, 2, stream)
    result = np.empty((draws, len(pairs)))

    def work(first: int, rows: int) -> None:
        halves = _raw(key, first, rows, words).astype("<u8", copy=False).view("<u4")[:, :n]
        picks = (halves.astype(np.uint64) * np.uint64(n) >> np.uint64(32)).astype(np.intp)
        picks += np.arange(rows)[:, None] * n
        weights = np.bincount(picks.ravel(), minlength=rows * n).reshape(rows, n)
        sums = weights.astype(np.float64) @ scores
        result[first : first + rows] = sums[:, left] - sums[:, right]

    blocks_of_draws(work, draws, 8 * (3 * n + len(pairs)), threads)
    return result


def flip_p(
    grid: Grid,
    pairs: Pairs,
    *,
    alternative: str = "two-sided",
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    threads: int | None = None,
) -> Array:
    """P values of sign-flip tests that the differences are symmetric around 0.

    Exact, over all ``2**d`` sign patterns of the d queries that differ, where that is at most
    `draws`. Otherwise by Monte Carlo, ``p = (1 + b) / (1 + draws)``, never 0.

    Parameters
    ----------
    grid, pairs, draws, seed, threads
        As for :func:`count_flips`.
    alternative : {'two-sided', 'greater'}
        Whether sums count that lie as far from 0, or those that are as large.

    Returns
    -------
    ndarray of float64, shape (r,)
        1 where no query differs.
    """
    result = np.ones(len(pairs))
    observed, slack = np.zeros(len(pairs)), np.zeros(len(pairs))
    sign = np.abs if alternative == "two-sided" else np.positive
    by_chance = []
    for row, (left, right) in enumerate(pairs):
        difference = grid.integers[left] - grid.integers[right]
        moved = difference[np.abs(difference) > ROUNDING]
        # Two sums that are equal in truth may each be off by 1 for each query.
        slack[row] = 2 * np.count_nonzero(difference)
        observed[row] = sign(difference.sum())
        if len(moved) > np.log2(draws):
            by_chance.append(row)
        elif len(moved):
            reached = _count_all_flips(moved, sign, observed[row] - slack[row])
            result[row] = reached / 2.0 ** len(moved)
    if by_chance:
        bound = (observed - slack)[by_chance]
        counts = count_flips(
            grid,
            pairs[by_chance],
            lambda sums: sign(sums) >= bound,
            draws=draws,
            seed=seed,
            threads=threads,
        )
        result[by_chance] = (1 + counts) / (1 + draws)
    return result


def _count_all_flips(moved: Array, sign: Callable[[Array], Array], bound: float) -> int:
    """Count the sign patterns whose sum reaches a bound; sums of both halves are put together."""
    half = len(moved) // 2
    few, many = (_signed_sums(part) for part in (moved[:half], moved[half:]))
    return sum(int(np.count_nonzero(sign(many + one) >= bound)) for one in few.tolist())


def _signed_sums(values: Array) -> Array:
    sums = np.zeros(1)
    for one in values.tolist():
        sums = np.concatenate([sums + one, sums - one])
    return sums
