"""What choosing flatters: a winner's score on the queries it won by, and on queries held out.

From one table of scores, configurations by queries, any number of choices can be played through:
deal the queries, try configurations in some order, keep the best on the tuning part, and see how it
does on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval_eval.errors import InputError

__all__ = [
    "Choices",
    "Optimism",
    "noise_choices",
    "optimism",
    "simulate_choices",
]

Array = NDArray[np.float64]
Estimate = tuple[float, float, float]

_BLOCK_BYTES = 64 * 2**20
_GROUPS = 20  # of queries, each left out once: what the spread of an estimate is told from


@dataclass(frozen=True, eq=False)
class Choices:
    """Choices among the first b of m configurations, b = 1..m, in s deals of the queries.

    Parameters
    ----------
    winner : ndarray of int64, shape (s, m)
        Which configuration is best on tuning queries after b tries; of equal ones the first tried.
    tuning, held_out : ndarray of float64, shape (s, m)
        Its mean score on tuning queries and on held-out ones.
    all_tuning, all_held_out : ndarray of float64, shape (s,)
        Mean over all m configurations: how easy each part is.
    """

    winner: NDArray[np.int64]
    tuning: Array
    held_out: Array
    all_tuning: Array
    all_held_out: Array

    @property
    def gap(self) -> Array:
        """Tuning score minus held-out score of the winner, shape (s, m).

        Beyond what all configurations differ by between the parts, which is luck of the deal: on
        average it is 0, so the mean gap is that of the plain scores.
        """
        return self.tuning - self.held_out - (self.all_tuning - self.all_held_out)[:, None]

    @property
    def gain(self) -> Array:
        """Held-out score of the winner minus that of a configuration picked blindly, (s, m)."""
        return self.held_out - self.all_held_out[:, None]

    @property
    def held_out_alike(self) -> Array:
        """Held-out scores as if all deals held out equally easy queries, shape (s, m)."""
        level: Array = self.gain + float(self.all_held_out.mean())
        return level


@dataclass(frozen=True)
class Optimism:
    """How far a choice among b configurations flatters, and what it gains.

    Parameters
    ----------
    tried : int
        b.
    gap : (float, float, float)
        Mean of :attr:`Choices.gap`, and its 95 % interval.
    gain : (float, float, float)
        Mean of :attr:`Choices.gain`, and its 95 % interval.
    """

    tried: int
    gap: Estimate
    gain: Estimate


def simulate_choices(
    scores: ArrayLike,
    tuning: int,
    *,
    splits: int = 1000,
    seed: int = 0,
    orders: NDArray[np.int64] | None = None,
) -> Choices:
    """Choose on some queries and look at the others, over many deals of the queries.

    Parameters
    ----------
    scores : array_like of float64, shape (m, n)
        Scores of m configurations on n queries, higher is better, finite.
    tuning : int
        How many queries a choice looks at, from 1 to n - 1; all others are held out.
    splits : int
        Deals, each with its own order of configurations.
    seed : int
        Of deals and orders, at least 0. Deals depend on it and on n alone, so that two tables of
        the same queries, and two orders, meet the same deals.
    orders : ndarray of int64, shape (splits, m), optional
        In which order each deal's configurations are tried; by default at random.

    Returns
    -------
    Choices

    Raises
    ------
    InputError
        If shapes do not fit, a score is not finite, or a number is out of range.

    References
    ----------
    Eimer, Lindauer & Raileanu 2023, Hyperparameters in reinforcement learning and how to tune them,
    ICML (choosing on some seeds, reporting on others; here seeds are queries).

    Examples
    --------
    >>> table = np.random.default_rng(0).random((8, 60))  # pure noise
    >>> found = simulate_choices(table, 20, splits=200)
    >>> found.gap.shape, bool(found.gap[:, -1].mean() > 0.05)
    ((200, 8), True)
    """
    table = _table(scores)
    m, n = table.shape
    if not 1 <= tuning < n:
        raise InputError(
            f"{tuning} tuning queries of {n}: at least 1, and at least 1 must be held out"
        )
    _check_draws(splits, seed)
    if orders is None:
        orders = _shuffles(splits, m, seed)
    if orders.shape != (splits, m) or not (np.sort(orders, axis=1) == np.arange(m)).all():
        raise InputError(f"orders must hold each of {m} configurations once, in {splits} rows")
    deals = np.random.default_rng([seed, 1])
    total = table.sum(axis=1)
    sums = np.empty((splits, m))
    step = max(1, _BLOCK_BYTES // (24 * n))
    for start in range(0, splits, step):
        keys = deals.random((min(step, splits - start), n))
        chosen = keys <= np.partition(keys, tuning - 1, axis=1)[:, tuning - 1, None]
        sums[start : start + step] = chosen.astype(np.float64) @ table.T
    return _choose(sums / tuning, (total - sums) / (n - tuning), orders)


def noise_choices(
    values: ArrayLike,
    configurations: int,
    tuning: int,
    held_out: int,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Choices:
    """Choose among configurations that are all equally good, and differ by chance alone.

    The control of :func:`simulate_choices`: each configuration's score of each query is drawn, with
    replacement, from the same values, anew in each draw.

    Parameters
    ----------
    values : array_like of float64, shape (n,)
        What scores look like, for instance those of one real configuration; finite.
    configurations, tuning, held_out : int
        How many configurations, and queries of each part; at least 1.
    draws : int
        How often.
    seed : int
        At least 0.

    Returns
    -------
    Choices

    Raises
    ------
    InputError
        If there is no value, one is not finite, or a number is out of range.

    Examples
    --------
    >>> found = noise_choices([0.0, 0.5, 1.0], 20, 50, 500, draws=500)
    >>> bool(found.gap[:, -1].mean() > 0.05), bool(abs(found.gain[:, -1].mean()) < 0.005)
    (True, True)
    """
    pool = _table(np.reshape(np.asarray(values, dtype=np.float64), (1, -1)))[0]
    for name, number in (
        ("configurations", configurations),
        ("tuning", tuning),
        ("held_out", held_out),
    ):
        if number < 1:
            raise InputError(f"{name} is {number}: it must be at least 1")
    _check_draws(draws, seed)
    distinct, counts = np.unique(pool, return_counts=True)
    rng = np.random.default_rng([seed, 2])
    shares = counts / len(pool)
    # How often each value is drawn is all that a mean takes.
    first, second = (
        rng.multinomial(size, shares, size=(draws, configurations)) @ distinct / size
        for size in (tuning, held_out)
    )
    return _choose(first, second, _shuffles(draws, configurations, seed))


def optimism(
    scores: ArrayLike,
    tuning: int,
    tried: Sequence[int],
    *,
    splits: int = 1000,
    seed: int = 0,
) -> list[Optimism]:
    """Estimate the optimism of choosing, with intervals over queries.

    Intervals speak of other queries of the kind: the whole simulation is done again without each
    twentieth of the queries, with the same deals of the others (delete-a-group jackknife [1]_). To
    the variance of these results that of the mean over deals is added; the interval is Student's t.

    Parameters
    ----------
    scores, tuning, splits, seed
        As for :func:`simulate_choices`.
    tried : sequence of int
        Numbers of configurations among which is chosen, each from 1 to m.

    Returns
    -------
    list of Optimism
        In the order of `tried`.

    Raises
    ------
    InputError
        As :func:`simulate_choices` does; or if fewer than 20 queries are there, or held out.

    References
    ----------
    .. [1] P. S. Kott, The delete-a-group jackknife, Journal of Official Statistics 17(4), 2001.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> good = rng.random((6, 400)) + 0.3 * np.arange(6)[:, None]  # the last one is best by far
    >>> one, six = optimism(good, 100, [1, 6], splits=300)
    >>> one.gap[1] < 0 < one.gap[2], round(six.gain[0], 1)
    (True, 0.7)
    """
    table = _table(scores)
    m, n = table.shape
    for count in tried:
        if not 1 <= count <= m:
            raise InputError(f"tried is {count}: it must be from 1 to {m}, all there are")
    kept = n - -(-n // _GROUPS)
    if n < _GROUPS or tuning >= kept:
        raise InputError(
            f"{tuning} tuning queries of {n}: an interval takes {_GROUPS} queries, of which one in "
            f"{_GROUPS} can be left out and some are still held out; give at most {kept - 1}"
        )
    _check_draws(splits, seed)
    groups = np.random.default_rng([seed, 3]).permutation(n) % _GROUPS
    columns = [count - 1 for count in tried]
    parts = [groups >= 0, *(groups != one for one in range(_GROUPS))]
    (found, *without), of_deals = _mean_choices(table, tuning, columns, splits, seed, parts)
    spread = np.array(without) - np.mean(without, axis=0)
    errors = np.sqrt((_GROUPS - 1) / _GROUPS * (spread**2).sum(axis=0) + of_deals / splits)
    from scipy.special import stdtrit

    reach = float(stdtrit(_GROUPS - 1, 0.975)) * errors
    return [
        Optimism(
            count,
            *(
                (float(value), float(value - half), float(value + half))
                for value, half in zip(found[:, place], reach[:, place], strict=True)
            ),
        )
        for place, count in enumerate(tried)
    ]


def _mean_choices(
    table: Array,
    tuning: int,
    columns: list[int],
    splits: int,
    seed: int,
    kept: Sequence[NDArray[np.bool_]],
) -> tuple[Array, Array]:
    """Mean gap and gain of some of the queries, and their variance over deals for the first.

    Shapes are (len(kept), 2, len(columns)) and (2, len(columns)). A deal is one random key for each
    query, of which the smallest are tuning queries: so deals of fewer queries are those of all, but
    for what is left out.
    """
    m, n = table.shape
    orders = _shuffles(splits, m, seed)
    keys_of = np.random.default_rng([seed, 1])
    sums = np.zeros((len(kept), 2, len(columns)))
    squares = np.zeros((2, len(columns)))
    step = max(1, _BLOCK_BYTES // (24 * n))
    for start in range(0, splits, step):
        block = slice(start, min(start + step, splits))
        keys = keys_of.random((block.stop - start, n))
        for place, members in enumerate(kept):
            mine, part = keys[:, members], table[:, members]
            chosen = mine <= np.partition(mine, tuning - 1, axis=1)[:, tuning - 1, None]
            of_tuning = chosen.astype(np.float64) @ part.T
            others = part.shape[1] - tuning
            held_out = (part.sum(axis=1) - of_tuning) / others
            choices = _choose(of_tuning / tuning, held_out, orders[block])
            both = np.stack([choices.gap[:, columns], choices.gain[:, columns]])
            sums[place] += both.sum(axis=1)
            if place == 0:
                squares += (both**2).sum(axis=1)
    means = sums / splits
    variance: Array = np.maximum(squares / splits - means[0] ** 2, 0.0)
    return means, variance


def _choose(tuning: Array, held_out: Array, orders: NDArray[np.int64]) -> Choices:
    """Follow the best of those tried so far, for means of shape (s, m)."""
    in_order = np.take_along_axis(tuning, orders, axis=1)
    best = np.maximum.accumulate(in_order, axis=1)
    better = np.ones(in_order.shape, dtype=bool)
    better[:, 1:] = in_order[:, 1:] > best[:, :-1]
    place = np.maximum.accumulate(np.where(better, np.arange(in_order.shape[1]), 0), axis=1)
    winner = np.take_along_axis(orders, place, axis=1)
    return Choices(
        winner,
        best,
        np.take_along_axis(held_out, winner, axis=1),
        tuning.mean(axis=1),
        held_out.mean(axis=1),
    )


def _shuffles(splits: int, m: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([seed, 0])
    return rng.permuted(np.tile(np.arange(m), (splits, 1)), axis=1)


def _table(scores: ArrayLike) -> Array:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise InputError(
            f"scores have the shape {table.shape}: expected (configurations, queries), not 0"
        )
    if not np.isfinite(table).all():
        raise InputError("a score is not finite: leave such queries out")
    return table


def _check_draws(splits: int, seed: int) -> None:
    if splits < 1 or seed < 0:
        raise InputError(f"{splits} draws, seed {seed}: at least 1, and a seed of at least 0")
