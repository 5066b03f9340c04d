"""Tests over all systems at once: Friedman, two-way ANOVA, and randomised Tukey HSD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retrieval_eval.comparison.resampling import (
    DEFAULT_DRAWS,
    ROUNDING,
    Array,
    Grid,
    Pairs,
    blocks_of_draws,
    stream_key,
)
from retrieval_eval.errors import InputError, unknown_name

__all__ = ["OMNIBUS_TESTS", "OmnibusTest", "omnibus_test", "tukey_p"]

OMNIBUS_TESTS: Mapping[str, str] = {
    "friedman": "Friedman's test on ranks within queries, corrected for ties",
    "anova": "two-way analysis of variance, systems and queries, without replication",
}


@dataclass(frozen=True)
class OmnibusTest:
    """Outcome of a test of the hypothesis that all systems are alike.

    Parameters
    ----------
    test : str
        Which test.
    statistic : float
        Chi square (friedman) or F (anova).
    df : tuple of int
        Degrees of freedom: of chi square, or of numerator and denominator of F.
    p : float
        1 where no query tells any systems apart.
    n, n_systems : int
        Queries and systems.
    """

    test: str
    statistic: float
    df: tuple[int, ...]
    p: float
    n: int
    n_systems: int


def omnibus_test(scores: Array, test: str = "friedman") -> OmnibusTest:
    """Test whether any of several systems differs from the others.

    Parameters
    ----------
    scores : ndarray of float64, shape (s, n)
        At least three systems on the same n >= 2 queries. Queries with a NaN are left out.
    test : {'friedman', 'anova'}
        Which test.

    Returns
    -------
    OmnibusTest

    Raises
    ------
    InputError
        If the test is unknown, or there are fewer than three systems or two queries.

    References
    ----------
    Friedman 1937. Two-way ANOVA as in Tague-Sutcliffe & Blustein 1995, A statistical analysis of
    the TREC-3 data.

    Examples
    --------
    >>> found = omnibus_test(np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 4.0], [3.0, 6.0, 7.0]]))
    >>> found.statistic, found.df, round(found.p, 4)
    (6.0, (2,), 0.0498)
    """
    if test not in OMNIBUS_TESTS:
        raise unknown_name("omnibus test", test, OMNIBUS_TESTS)
    scores = scores[:, ~np.isnan(scores).any(axis=0)]
    _refuse_infinite(scores)
    systems, n = scores.shape
    if systems < 3 or n < 2:
        raise InputError(
            f"{systems} systems on {n} queries: an omnibus test needs three and two at least"
        )
    integers = Grid.of(scores).integers
    if test == "friedman":
        statistic, df, p = _friedman(integers)
    else:
        statistic, df, p = _anova(integers)
    return OmnibusTest(test, statistic, df, p, n, systems)


def _refuse_infinite(scores: Array) -> None:
    if np.isinf(scores).any():
        raise InputError("a score is infinite")


def _friedman(integers: Array) -> tuple[float, tuple[int, ...], float]:
    from scipy.stats import friedmanchisquare

    # Scores that are equal but for rounding must share a rank: number the distinct ones.
    order = np.argsort(integers, axis=0, kind="stable")
    steps = np.diff(np.take_along_axis(integers, order, axis=0), axis=0) > ROUNDING
    numbers = np.zeros(integers.shape)
    np.put_along_axis(numbers, order[1:], np.cumsum(steps, axis=0, dtype=np.float64), axis=0)
    if not numbers.any():
        return 0.0, (len(integers) - 1,), 1.0
    found = friedmanchisquare(*numbers)
    return float(found.statistic), (len(integers) - 1,), float(found.pvalue)


def _anova(integers: Array) -> tuple[float, tuple[int, ...], float]:
    from scipy.special import fdtrc

    systems, n = integers.shape
    df = systems - 1, (systems - 1) * (n - 1)
    # Of sums, which are exact, only differences are taken: equal ones must not differ by rounding.
    sums = integers.sum(axis=1)
    effects = (sums - sums[0] - (sums - sums[0]).mean()) / n
    rows = integers - integers[0]
    left = rows - rows.mean(axis=0) - effects[:, None]
    between, within = n * (effects**2).sum() / df[0], (left**2).sum() / df[1]
    if within <= _TINY:
        return (0.0, df, 1.0) if between <= _TINY * n else (float("inf"), df, 0.0)
    return float(between / within), df, float(fdtrc(*df, between / within))


_TINY = (4 * ROUNDING) ** 2  # a mean square of what rounding to the grid alone may leave


def tukey_p(
    scores: Array,
    pairs: Pairs,
    *,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    threads: int | None = None,
) -> Array:
    """Randomised Tukey HSD: p values that hold for all pairs of systems together.

    In each draw, the scores of each query are dealt anew to the systems; the largest difference of
    two means is then what chance alone gives. Tukey's HSD for independent samples would be wrong
    for scores on the same queries.

    Parameters
    ----------
    scores : ndarray of float64, shape (s, n)
        Systems on the same n queries; no NaN.
    pairs : ndarray of intp, shape (r, 2)
        The pairs to report.
    draws, seed : int
        Number and seed of the permutations.
    threads : int, optional
        Of no effect on the result.

    Returns
    -------
    ndarray of float64, shape (r,)
        ``(1 + b) / (1 + draws)``, adjusted already for all pairs of the s systems; 1 for systems
        that do not differ.

    References
    ----------
    Carterette 2012, Multiple testing in statistical analysis of systems-based information
    retrieval experiments.

    Examples
    --------
    >>> scores = np.array([[0.1, 0.2, 0.1, 0.3] * 5, [0.1, 0.3, 0.1, 0.2] * 5, [0.6] * 20])
    >>> tukey_p(scores, np.array([[0, 1], [0, 2]]), draws=999).tolist()
    [1.0, 0.001]
    """
    _refuse_infinite(scores)
    integers = Grid.of(scores).integers
    sums = integers.sum(axis=1)
    observed = np.abs(sums[pairs[:, 0]] - sums[pairs[:, 1]])
    ranges = np.empty(draws)
    key = stream_key(seed, 3)
    dealt = np.ascontiguousarray(integers.T)

    def work(first: int, rows: int) -> None:
        for draw in range(first, first + rows):
            rng = np.random.Generator(np.random.Philox(key=key, counter=[0, draw, 0, 0]))
            ranges[draw] = np.ptp(rng.permuted(dealt, axis=1).sum(axis=0))

    blocks_of_draws(work, draws, 8 * scores.size, threads)
    slack = 2 * scores.shape[1]
    reached = len(ranges) - np.searchsorted(np.sort(ranges), observed - slack)
    differing = (integers[pairs[:, 0]] != integers[pairs[:, 1]]).any(axis=1)
    return np.where(differing, (1 + reached) / (1 + draws), 1.0)
