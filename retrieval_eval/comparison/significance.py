"""Paired tests that two runs do not differ, on scores query by query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.effects import standardised
from retrieval_eval.comparison.intervals import INTERVALS, difference_intervals
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.resampling import (
    DEFAULT_DRAWS,
    ROUNDING,
    Array,
    Grid,
    bootstrap_sums,
    check_draws,
    flip_p,
)
from retrieval_eval.errors import InputError, unknown_name

__all__ = ["TESTS", "PairedTest", "TestSpec", "paired_test"]


@dataclass(frozen=True)
class Draws:
    """How resampling tests draw.

    Parameters
    ----------
    count, seed : int
        Number of draws, and their seed.
    threads : int, optional
        Of no effect on the result.
    """

    count: int = DEFAULT_DRAWS
    seed: int = 0
    threads: int | None = None


def _randomization(paired: PairedScores, draws: Draws) -> Array:
    return flip_p(
        paired.grid, paired.pairs, draws=draws.count, seed=draws.seed, threads=draws.threads
    )


def _t(paired: PairedScores, draws: Draws) -> Array:
    from scipy.special import stdtr

    if paired.n < 2:
        return np.ones(len(paired.pairs))
    error = paired.spreads / np.sqrt(paired.n)
    with np.errstate(divide="ignore", invalid="ignore"):
        p: Array = 2 * stdtr(paired.n - 1, -np.abs(paired.means / error))
    return np.where(error > 0, p, np.where(paired.means == 0, 1.0, 0.0))


def _wilcoxon(paired: PairedScores, draws: Draws) -> Array:
    return np.array(
        [_signed_rank_p(*rows) for rows in zip(paired.differences, paired.integers, strict=True)]
    )


def _signed_rank_p(differences: Array, integers: Array) -> float:
    from scipy.stats import rankdata, wilcoxon

    # scipy drops zeros too, but gives up its exact distribution for them: with five queries that
    # differ, all in one direction, its approximation would say 0.043 where 0.0625 is the least.
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    if len(np.unique(np.abs(moved))) == len(moved):
        return float(wilcoxon(moved).pvalue)
    # Where some differences are equal, as those of P@10 are, others are equal but for rounding,
    # which must not decide their ranks.
    whole = integers[integers != 0]
    sizes = np.sort(np.abs(whole))
    starts = sizes[np.concatenate([[True], np.diff(sizes) > 2 * ROUNDING])]
    ranks = np.sign(whole) * rankdata(np.searchsorted(starts, np.abs(whole), side="right"))
    if len(ranks) <= _EXACT_WITH_TIES:  # as scipy does, a hundred times as fast
        signed = np.stack([ranks, np.zeros_like(ranks)])
        return float(flip_p(Grid.of(signed), np.array([[0, 1]]), draws=2**_EXACT_WITH_TIES)[0])
    return float(wilcoxon(ranks).pvalue)


_EXACT_WITH_TIES = 13


def _sign(paired: PairedScores, draws: Draws) -> Array:
    from scipy.special import bdtr

    wins = np.count_nonzero(paired.integers > 0, axis=1)
    differing = np.count_nonzero(paired.integers, axis=1)
    fewer = np.minimum(wins, differing - wins)
    p: Array = np.minimum(1.0, 2 * bdtr(fewer, differing, 0.5))
    return p


def _bootstrap(paired: PairedScores, draws: Draws) -> Array:
    if paired.n < 2:  # resamples of one query are all alike
        return np.ones(len(paired.pairs))
    total = paired.grid.integers.sum(axis=1)
    observed = total[paired.pairs[:, 0]] - total[paired.pairs[:, 1]]
    slack = 2 * np.count_nonzero(paired.integers, axis=1)
    reached = [np.zeros(0, dtype=np.int64)]
    step = max(1, _SUMS_BYTES // (8 * draws.count))  # the sums of so many pairs at once
    for first in range(0, len(paired.pairs), step):
        some = slice(first, first + step)
        sums = bootstrap_sums(
            paired.grid,
            paired.pairs[some],
            draws=draws.count,
            seed=draws.seed,
            threads=draws.threads,
        )
        far = np.abs(sums - observed[some]) >= np.abs(observed[some]) - slack[some]
        reached.append(np.count_nonzero(far, axis=0))
    p: Array = (1 + np.concatenate(reached)) / (1 + draws.count)
    return np.where(paired.integers.any(axis=1), p, 1.0)


_SUMS_BYTES = 128 * 2**20


@dataclass(frozen=True)
class TestSpec:
    """What a test does.

    Parameters
    ----------
    describe : str
        In a few words.
    caution : str
        What its measured error rates warn of; empty if they hold.
    p : callable
        From pairs and draws to p values, shape (r,).
    """

    __test__ = False  # for pytest: not a class of tests

    describe: str
    caution: str
    p: Callable[[PairedScores, Draws], Array]


TESTS: Mapping[str, TestSpec] = {
    "randomization": TestSpec(
        "sign flips of the differences; exact for few differing queries, else p = (1+b)/(1+B)",
        "",
        _randomization,
    ),
    "t": TestSpec("Student's paired t test of the mean difference", "", _t),
    "wilcoxon": TestSpec(
        "signed ranks, zeros dropped, ties at their mean rank; exact up to 50 differing queries "
        "(13 with ties), else by the normal approximation. Its null hypothesis is that differences "
        "are symmetric around 0, not that their mean is 0",
        "also rejects where means are equal but differences are skewed",
        _wilcoxon,
    ),
    "sign": TestSpec(
        "exact binomial test of wins against losses, ties dropped; says nothing of their sizes",
        "also rejects where means are equal but wins are more or fewer than losses",
        _sign,
    ),
    "bootstrap": TestSpec(
        "mean of resampled differences, shifted to a mean of 0; p = (1+b)/(1+B)",
        "rejects true null hypotheses too often with few queries",
        _bootstrap,
    ),
}


@dataclass(frozen=True)
class PairedTest:
    """Outcome of a paired test.

    Parameters
    ----------
    test : str
        Which test.
    n, n_differing : int
        Queries compared, and those whose scores differ.
    mean_diff : float
        Mean of first minus second; NaN without a query.
    ci95 : (float, float)
        95 % interval of `mean_diff`; NaN for fewer than two queries.
    p : float
        Two-sided; 1 for identical scores and for a single query, NaN without a query.
    effect : float
        Mean over standard deviation of the differences; 0 for identical scores, NaN where all
        differ by the same or there are fewer than two queries.
    """

    test: str
    n: int
    n_differing: int
    mean_diff: float
    ci95: tuple[float, float]
    p: float
    effect: float


def paired_test(
    a: NDArray[np.float64] | Sequence[float],
    b: NDArray[np.float64] | Sequence[float],
    test: str = "randomization",
    *,
    interval: str = "t",
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    threads: int | None = None,
) -> PairedTest:
    """Test whether two runs differ, from their scores on the same queries.

    Scores that agree but for rounding count as equal. Queries on which either score is NaN are
    left out.

    Parameters
    ----------
    a, b : array of float, shape (n,)
        Scores, aligned: place i of both is the same query.
    test : {'randomization', 't', 'wilcoxon', 'sign', 'bootstrap'}
        As ``retrieval-eval list tests`` describes them.
    interval : {'t', 'percentile', 'bca'}
        Of the mean difference.
    draws, seed : int
        Of randomization and bootstrap, at least 100 draws. A seed gives the same p on every
        machine.
    threads : int, optional
        By default one for each processor; of no effect on the result.

    Returns
    -------
    PairedTest

    Raises
    ------
    InputError
        If the shapes differ, a score is infinite, or a name or number is not usable.

    References
    ----------
    Smucker, Allan & Carterette 2007, A comparison of statistical significance tests for
    information retrieval evaluation.

    Examples
    --------
    >>> found = paired_test([0.5, 0.7, 0.9, 0.4], [0.4, 0.5, 0.6, 0.4])
    >>> round(found.mean_diff, 3), found.p, found.n, found.n_differing
    (0.15, 0.25, 4, 3)
    """
    if test not in TESTS:
        raise unknown_name("test", test, TESTS)
    if interval not in INTERVALS:
        raise unknown_name("interval", interval, INTERVALS)
    check_draws(draws, seed)
    scores = [np.asarray(one, dtype=np.float64) for one in (a, b)]
    if scores[0].ndim != 1 or scores[0].shape != scores[1].shape:
        raise InputError(
            f"the scores have shapes {scores[0].shape} and {scores[1].shape}: expected two arrays "
            "of one length, in the same order of queries"
        )
    values = np.stack(scores)
    if np.isinf(values).any():
        raise InputError("a score is infinite")
    paired = PairedScores(values[:, ~np.isnan(values).any(axis=0)], np.array([[0, 1]]))
    if not paired.n:
        nan = float("nan")
        return PairedTest(test, 0, 0, nan, (nan, nan), nan, nan)
    p = TESTS[test].p(paired, Draws(draws, seed, threads))
    bounds = difference_intervals(paired, interval, draws=draws, seed=seed, threads=threads)
    return PairedTest(
        test=test,
        n=paired.n,
        n_differing=int(np.count_nonzero(paired.integers)),
        mean_diff=float(paired.means[0]),
        ci95=(float(bounds[0, 0]), float(bounds[0, 1])),
        p=float(p[0]),
        effect=float(standardised(paired)[0]),
    )
