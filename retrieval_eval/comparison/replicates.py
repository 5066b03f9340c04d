"""Differences between things that were made several times, each with another seed.

An index that is built anew answers the same queries a little differently. An interval over queries
alone takes such a difference of two builds for one of what they were built by.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError

__all__ = [
    "RankSwap",
    "ReplicateDifference",
    "Spread",
    "change_and_spread",
    "compare_replicates",
    "rank_swaps",
]

Scores = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class ReplicateDifference:
    """Mean of a minus mean of b, over queries and replicates.

    Parameters
    ----------
    mean_diff : float
        In the unit of the scores.
    over_queries : (float, float)
        Interval for these replicates and other queries of the kind.
    over_replicates : (float, float)
        Interval for these queries and other replicates; NaN if a side has only one.
    over_both : (float, float)
        Interval for other queries and other replicates; NaN if a side has only one.
    p : float
        Of the hypothesis of no difference over both, two-sided; NaN if a side has only one.
    spread_a, spread_b : float
        Standard deviation of the means of replicates; NaN for one.

    As text it is the difference, and its interval over both, or over queries if that is all.
    """

    mean_diff: float
    over_queries: Interval
    over_replicates: Interval
    over_both: Interval
    p: float
    spread_a: float
    spread_b: float

    def __str__(self) -> str:
        unknown = math.isnan(self.over_both[0])
        low, high = self.over_queries if unknown else self.over_both
        return f"{self.mean_diff:+.4f} [{low:+.4f}, {high:+.4f}]"


def compare_replicates(a: Scores, b: Scores, *, confidence: float = 0.95) -> ReplicateDifference:
    """Compare two groups of replicates on the same queries.

    Queries are paired: the difference of a query is that of its means over the replicates of each
    side. Replicates are not. Queries and replicates are crossed, each replicate having answered
    every query, so the variance of the mean difference has a part of each, and one of both
    together. Interval and test over both add the variance estimated over queries to that estimated
    over replicates, each of which holds the third part: it counts twice, so that they err on the
    side of caution, as the bootstrap of rows and columns does [1]_. Degrees of freedom are
    Satterthwaite's.

    Parameters
    ----------
    a, b : ndarray of float64, shape (r, n) and (s, n)
        Scores of r and s replicates on n queries, in one order, at least two; finite.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    ReplicateDifference

    Raises
    ------
    InputError
        If shapes do not fit, a score is not finite, or the confidence is out of range.

    References
    ----------
    .. [1] A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007.

    Examples
    --------
    >>> a = np.array([[0.5, 0.7, 0.9], [0.6, 0.7, 0.8]])
    >>> b = np.array([[0.4, 0.7, 0.7], [0.4, 0.6, 0.7]])
    >>> found = compare_replicates(a, b)
    >>> round(found.mean_diff, 4), tuple(round(one, 3) for one in found.over_queries)
    (0.1167, (-0.027, 0.26))
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (a, b)]
    for name, side in zip("ab", sides, strict=True):
        if side.ndim != 2 or not len(side):
            raise InputError(
                f"scores of {name} have the shape {side.shape}: expected (replicates, queries)"
            )
        if not np.isfinite(side).all():
            raise InputError(f"a score of {name} is not finite: leave such queries out")
    n = sides[0].shape[1]
    if sides[1].shape[1] != n or n < 2:
        raise InputError(
            f"{n} queries and {sides[1].shape[1]}: both sides must have scores of the same "
            "queries, at least two"
        )
    if not 0 < confidence < 1:
        raise InputError(f"the confidence is {confidence}: it must lie between 0 and 1")
    differences = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    mean = float(differences.mean())
    queries = [(float(differences.var(ddof=1)) / n, n - 1)]
    means = [side.mean(axis=1) for side in sides]
    replicates = [
        (float(one.var(ddof=1)) / len(one) if len(one) > 1 else math.nan, len(one) - 1)
        for one in means
    ]
    spreads = [math.sqrt(variance * (free + 1)) for variance, free in replicates]
    over_both, p = _interval(mean, [*queries, *replicates], confidence)
    return ReplicateDifference(
        mean,
        _interval(mean, queries, confidence)[0],
        _interval(mean, replicates, confidence)[0],
        over_both,
        p,
        *spreads,
    )


@dataclass(frozen=True)
class Spread:
    """How large changes are, against what is left to chance.

    Parameters
    ----------
    change : float
        Mean size of the changes.
    sd : float
        Standard deviation of the means of replicates without a change, averaged.
    beyond : int
        How many changes lead beyond all of these means.
    changes : int
        How many there are.
    told_apart : int
        How many replicates without a change an interval over queries tells from the mean of the
        others. They were made alike, so whatever is above a twentieth takes luck for a difference.
    replicates : int
        How many there are.
    """

    change: float
    sd: float
    beyond: int
    changes: int
    told_apart: int
    replicates: int

    @property
    def ratio(self) -> float:
        """Mean change over standard deviation."""
        return self.change / self.sd if self.sd else math.nan


def change_and_spread(
    changed: Mapping[str, Sequence[Scores]], unchanged: Mapping[str, Scores]
) -> Spread:
    """Set changes of systems beside the spread of replicates.

    Parameters
    ----------
    changed : mapping of str to sequence of ndarray of float64, shape (r, n)
        For each system its changes, each with the scores of replicates.
    unchanged : mapping of str to ndarray of float64, shape (r, n)
        For each system the scores of two replicates or more.

    Raises
    ------
    InputError
        As :func:`compare_replicates` does.

    Examples
    --------
    >>> alike = np.array([[0.5, 0.7, 0.8], [0.6, 0.7, 0.7], [0.5, 0.8, 0.9]])
    >>> found = change_and_spread({"lsa": [alike - 0.3, alike]}, {"lsa": alike})
    >>> round(found.change, 3), found.beyond, found.changes
    (0.15, 1, 2)
    """
    sizes, spreads, beyond, told = [], [], 0, 0
    for name, scores in unchanged.items():
        means = scores.mean(axis=1)
        spreads.append(float(means.std(ddof=1)))
        for one in changed[name]:
            sizes.append(abs(compare_replicates(one, scores).mean_diff))
            beyond += not means.min() <= one.mean() <= means.max()
        for place in range(len(scores)):
            others = np.delete(scores, place, axis=0)
            low, high = compare_replicates(scores[[place]], others).over_queries
            told += not low <= 0 <= high
    replicates = sum(map(len, unchanged.values()))
    mean_sd = float(np.mean(spreads))
    return Spread(float(np.mean(sizes)), mean_sd, beyond, len(sizes), told, replicates)


@dataclass(frozen=True)
class RankSwap:
    """Two systems that change places.

    Parameters
    ----------
    ahead, behind : str
        By their means before.
    before, after : ReplicateDifference
        Of `ahead` minus `behind`.
    share : float
        Of the replicates after, how many put `behind` first.
    """

    ahead: str
    behind: str
    before: ReplicateDifference
    after: ReplicateDifference
    share: float


def rank_swaps(
    before: Mapping[str, Scores], after: Mapping[str, Scores], *, confidence: float = 0.95
) -> list[RankSwap]:
    """Find the systems that change places, in the mean or in single replicates.

    Parameters
    ----------
    before, after : mapping of str to ndarray of float64, shape (r, n)
        Scores of each system's replicates on n queries. The i-th replicates of all systems after
        are ranked together.
    confidence : float
        Of the intervals; see :func:`compare_replicates`.

    Returns
    -------
    list of RankSwap
        Pairs with `share` above 0, in the order of their places before; equal means there are in
        the order of `before`, and are no swap after.

    Raises
    ------
    InputError
        If both do not name the same systems, or numbers of replicates after differ; and as
        :func:`compare_replicates` does.

    Examples
    --------
    >>> before = {"one": np.array([[0.9, 0.7]]), "other": np.array([[0.6, 0.6]])}
    >>> after = {"one": np.array([[0.5, 0.4], [0.6, 0.5]]), "other": np.array([[0.5, 0.5]] * 2)}
    >>> [(swap.ahead, swap.behind, swap.share) for swap in rank_swaps(before, after)]
    [('one', 'other', 0.5)]
    """
    if set(before) != set(after):
        raise InputError(
            f"ranked before: {', '.join(before)}; after: {', '.join(after)}: both must name the "
            "same systems"
        )
    if len({len(one) for one in after.values()}) > 1:
        raise InputError("systems have other numbers of replicates: give each as many")
    places = sorted(before, key=lambda name: -float(np.mean(before[name])))
    swaps = []
    for ahead, behind in itertools.combinations(places, 2):
        share = float(np.mean(after[ahead].mean(axis=1) < after[behind].mean(axis=1)))
        if share:
            pairs = ((side[ahead], side[behind]) for side in (before, after))
            first, then = (compare_replicates(*pair, confidence=confidence) for pair in pairs)
            swaps.append(RankSwap(ahead, behind, first, then, share))
    return swaps


def _interval(
    mean: float, parts: list[tuple[float, int]], confidence: float
) -> tuple[Interval, float]:
    """Return Student's interval and p value for a sum of variances, each with its freedom."""
    from scipy.special import stdtr, stdtrit

    variance = sum(part for part, _ in parts)
    if math.isnan(variance):
        return (math.nan, math.nan), math.nan
    if variance == 0:
        return (mean, mean), 1.0 if mean == 0 else 0.0
    free = variance**2 / sum(part**2 / count for part, count in parts if part)
    error = math.sqrt(variance)
    reach = float(stdtrit(free, 0.5 + confidence / 2)) * error
    return (mean - reach, mean + reach), 2 * float(stdtr(free, -abs(mean) / error))
