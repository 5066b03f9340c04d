"""What the data can resolve: smallest p, detectable differences, queries that are needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from retrieval_eval.comparison.resampling import DEFAULT_DRAWS, Array
from retrieval_eval.errors import InputError, unknown_name

__all__ = ["detectable_difference", "power_of_t", "queries_needed", "smallest_p"]

_MOST_QUERIES = 10**9


def smallest_p(test: str, n_differing: int, draws: int = DEFAULT_DRAWS) -> float | None:
    """Return the smallest two-sided p that so many differing queries can give at all.

    Parameters
    ----------
    test : {'randomization', 't', 'wilcoxon', 'sign', 'bootstrap', 'tukey'}
        The test.
    n_differing : int
        Queries on which the two runs differ.
    draws : int
        Of resampling tests.

    Returns
    -------
    float or None
        ``2 / 2**n_differing`` for tests on signs or ranks; ``1 / (1 + draws)`` where randomization
        draws; None for t, bootstrap and tukey, of which no such bound is known; 1 where nothing
        differs.

    Raises
    ------
    InputError
        If the test is unknown.

    Examples
    --------
    >>> smallest_p("sign", 5), smallest_p("randomization", 40, draws=999)
    (0.0625, 0.001)
    """
    known = ("randomization", "t", "wilcoxon", "sign", "bootstrap", "tukey")
    if test not in known:
        raise unknown_name("test", test, known)
    if n_differing == 0:
        return 1.0
    if test in ("t", "bootstrap", "tukey"):
        return None
    if test == "randomization" and n_differing > np.log2(draws):
        return 1 / (1 + draws)
    return min(1.0, 2.0 * 0.5**n_differing)


def power_of_t(shift: ArrayLike, n: int, alpha: float = 0.05, *, sides: int = 2) -> Array:
    """Power of the paired t test.

    Parameters
    ----------
    shift : array of float
        True mean difference over the standard deviation of the differences.
    n : int
        Number of queries, at least 2.
    alpha : float
        Level.
    sides : {1, 2}
        One for a test against a margin, where `shift` is the distance from it.

    Returns
    -------
    ndarray of float64
        Chance of rejection, from the noncentral t distribution.

    Examples
    --------
    >>> float(power_of_t(0.5, 34).round(4))
    0.8078
    """
    from scipy.special import nctdtr, stdtrit

    bound = stdtrit(n - 1, 1 - alpha / sides)
    centre = np.abs(np.asarray(shift, dtype=np.float64)) * np.sqrt(n)
    # scipy gives NaN at places of the far lower tail, where the distribution has nothing left.
    lost = np.nan_to_num(nctdtr(n - 1, centre, bound))
    beyond = np.nan_to_num(nctdtr(n - 1, centre, -bound)) if sides == 2 else 0.0
    result: Array = 1 - lost + beyond
    return result


def detectable_difference(
    sd: ArrayLike, n: int, *, alpha: float = 0.05, power: float = 0.8
) -> Array:
    """Return the smallest true difference that a paired t test finds with a given power.

    Parameters
    ----------
    sd : array of float
        Standard deviation of the paired differences, in the unit of the measure.
    n : int
        Number of queries.
    alpha, power : float
        Level of the two-sided test, and its chance to reject.

    Returns
    -------
    ndarray of float64
        In the unit of the measure; NaN for fewer than two queries.

    Examples
    --------
    >>> float(detectable_difference(0.2, 50).round(4))
    0.0808
    """
    _check_levels(alpha, power)
    spread = np.asarray(sd, dtype=np.float64)
    if n < 2:
        return np.full(spread.shape, np.nan)
    low, high = 0.0, 1.0
    while power_of_t(high, n, alpha) < power:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if power_of_t(middle, n, alpha) < power else (low, middle)
    result: Array = spread * high
    return result


def queries_needed(
    difference: float, sd: float, *, alpha: float = 0.05, power: float = 0.8, sides: int = 2
) -> int:
    """Return how many queries a paired t test needs to find a true difference.

    Parameters
    ----------
    difference : float
        True mean difference, not 0, in the unit of the measure.
    sd : float
        Standard deviation of the paired differences, in that unit.
    alpha, power : float
        Level of the test, and its chance to reject.
    sides : {1, 2}
        One for showing that nothing is lost beyond a margin, which `difference` then is.

    Returns
    -------
    int
        At least 2.

    Raises
    ------
    InputError
        If the difference is 0, a level is not between 0 and 1, or a billion queries are too few.

    Examples
    --------
    >>> queries_needed(0.01, 0.1)
    787
    """
    _check_levels(alpha, power)
    if not abs(difference) > 0 or not np.isfinite(difference):
        raise InputError(f"the difference is {difference}: no number of queries shows that")
    if not sd >= 0 or not np.isfinite(sd):
        raise InputError(f"the standard deviation is {sd}: it must be a number from 0")
    shift = abs(difference) / sd if sd else np.inf

    def enough(n: int) -> bool:
        return bool(np.isinf(shift) or power_of_t(shift, n, alpha, sides=sides) >= power)

    high = 2
    while not enough(high):
        if high >= _MOST_QUERIES:
            raise InputError(
                f"a difference of {difference:g} at a standard deviation of {sd:g} needs more "
                f"than {_MOST_QUERIES} queries"
            )
        high = min(2 * high, _MOST_QUERIES)
    low = max(1, high // 2)
    while high - low > 1 and high > 2:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check_levels(alpha: float, power: float) -> None:
    for name, value in (("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise InputError(f"{name} is {value}: it must lie between 0 and 1")
    if power <= alpha:
        raise InputError(f"power is {power}: it must be above alpha, {alpha}")
