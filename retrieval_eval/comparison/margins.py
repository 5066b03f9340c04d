"""Non-inferiority and equivalence: whether a difference is shown to be smaller than a margin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from retrieval_eval.comparison.paired import CONSTANT, PairedScores
from retrieval_eval.comparison.resampling import (
    DEFAULT_DRAWS,
    Array,
    bootstrap_sums,
    flip_p,
)
from retrieval_eval.errors import unknown_name

__all__ = ["MARGIN_TESTS", "equivalence_p", "lower_bounds", "noninferiority_p"]

MARGIN_TESTS: Mapping[str, str] = {
    "hall": "one-sided paired t test, corrected for skewness where that is more careful",
    "t": "one-sided paired t test",
    "randomization": "one-sided sign flips of the differences plus the margin",
    "bootstrap": "one-sided shifted bootstrap",
}


def noninferiority_p(
    paired: PairedScores,
    margin: Array,
    test: str = "hall",
    *,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    threads: int | None = None,
) -> Array:
    """Test the hypothesis that the first is worse than the second by the margin or more.

    Parameters
    ----------
    paired : PairedScores
        r pairs; the first of each is the candidate, the second the reference.
    margin : ndarray of float64, shape (r,)
        What may be lost, in the unit of the scores; above 0.
    test : {'hall', 't', 'randomization', 'bootstrap'}
        Of the mean of difference plus margin, against a mean of 0 or below. 'hall' is the larger p
        of t and of t after Hall's transformation, which removes skewness: differences of a worse
        system are often skewed so that plain t accepts it too often (docs/validity.md).
    draws, seed, threads
        Of randomization and bootstrap.

    Returns
    -------
    ndarray of float64, shape (r,)
        A small p says: not worse by the margin or more. NaN for one query, unless the test is
        'randomization'.

    References
    ----------
    Hall 1992, On the removal of skewness by transformation.

    Examples
    --------
    >>> same = PairedScores(np.full((2, 10), 0.5), np.array([[0, 1]]))
    >>> noninferiority_p(same, np.array([0.01])).tolist()
    [0.0]
    """
    return _one_sided(paired, margin, +1, test, draws, seed, threads)


def equivalence_p(
    paired: PairedScores,
    margin: Array,
    test: str = "hall",
    *,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
    threads: int | None = None,
) -> Array:
    """Test the hypothesis that the two differ by the margin or more, in either direction.

    Two one-sided tests (Schuirmann 1987); p is the larger of theirs.

    Parameters
    ----------
    paired, margin, test, draws, seed, threads
        As for :func:`noninferiority_p`.

    Returns
    -------
    ndarray of float64, shape (r,)
        A small p says: equivalent up to the margin. NaN for one query, unless the test is
        'randomization'.

    Examples
    --------
    >>> same = PairedScores(np.full((2, 10), 0.5), np.array([[0, 1]]))
    >>> equivalence_p(same, np.array([0.01]), "randomization").round(6).tolist()
    [0.000977]
    """
    sides = [_one_sided(paired, margin, side, test, draws, seed, threads) for side in (+1, -1)]
    result: Array = np.maximum(*sides)
    return result


def _one_sided(
    paired: PairedScores,
    margin: Array,
    side: int,
    test: str,
    draws: int,
    seed: int,
    threads: int | None,
) -> Array:
    """P of the hypothesis that ``side * mean + margin`` is 0 or below."""
    if test not in MARGIN_TESTS:
        raise unknown_name("test of a margin", test, MARGIN_TESTS)
    if paired.n < 2 and test != "randomization":
        return np.full(len(paired.pairs), np.nan)
    if test in ("hall", "t"):
        from scipy.special import stdtr

        above, spread = _above(paired, side * paired.means, margin), paired.spreads
        shift = np.divide(above, spread, out=np.zeros_like(above), where=spread > 0)
        p: Array = stdtr(paired.n - 1, -np.sqrt(paired.n) * shift)
        if test == "hall":
            skew = side * _skewness(paired)
            straight = _straightened(shift, skew) + skew / (6 * paired.n)
            p = np.maximum(p, stdtr(paired.n - 1, -np.sqrt(paired.n) * straight))
        return np.where(spread > 0, p, np.where(above > 0, 0.0, 1.0))
    shifted = _above(paired, side * paired.differences.T, margin).T
    moved = PairedScores.of_rows(shifted)
    if test == "randomization":
        return flip_p(
            moved.grid,
            moved.pairs,
            alternative="greater",
            draws=draws,
            seed=seed,
            threads=threads,
        )
    sums = bootstrap_sums(moved.grid, moved.pairs, draws=draws, seed=seed, threads=threads)
    observed = moved.grid.integers[: len(shifted)].sum(axis=1)
    reached = np.count_nonzero(sums - observed >= observed - 2 * paired.n, axis=0)
    result: Array = (1 + reached) / (1 + draws)
    return result


def lower_bounds(paired: PairedScores, alpha: float) -> Array:
    """One-sided lower confidence bounds of mean differences, at confidence ``1 - alpha``.

    A margin has a p of at most alpha by the test 'hall' exactly if it is at least minus the bound.

    Returns
    -------
    ndarray of float64, shape (r,)
        NaN for fewer than two queries.

    Examples
    --------
    >>> scores = np.array([[0.5, 0.6, 0.9, 0.4], [0.3, 0.6, 0.5, 0.2]])
    >>> lower_bounds(PairedScores(scores, np.array([[0, 1]])), 0.05).round(3).tolist()
    [0.008]
    """
    from scipy.special import stdtrit

    n = paired.n
    if n < 2:
        return np.full(len(paired.pairs), np.nan)
    reach = float(stdtrit(n - 1, 1 - alpha)) / np.sqrt(n)
    skew = _skewness(paired)
    straight = _bent(reach - skew / (6 * n), skew)
    result: Array = paired.means - paired.spreads * np.maximum(straight, reach)
    return result


def _above(paired: PairedScores, differences: Array, margin: Array) -> Array:
    """Differences, of shape (..., r), plus margin; exactly 0 where that is but rounding."""
    found: Array = differences + margin
    return np.where(np.abs(found) <= CONSTANT * (paired.largest + np.abs(margin)), 0.0, found)


# Hall's cubic is flat where 1 + skew * shift / 3 is 0, which strongly skewed differences, such as
# those of an index that fails on few queries, come near to: no margin, however wide, would then
# have a small p. From half of the way there, its tangent takes over.
_HALF = 0.5


def _straightened(shift: Array, skew: Array) -> Array:
    """Transform mean over standard deviation so that skewness has no first-order effect."""
    cubic = shift + skew * shift**2 / 3 + skew**2 * shift**3 / 27
    inner = 1 + skew * shift / 3
    with np.errstate(divide="ignore", invalid="ignore"):
        tangent = (_HALF**3 - 1 + 3 * _HALF**2 * (inner - _HALF)) / skew
    return np.where(inner >= _HALF, cubic, tangent)


def _bent(straight: Array, skew: Array) -> Array:
    """Undo :func:`_straightened`."""
    moved = skew * straight  # the transformed shift is ((1 + skew * shift / 3)**3 - 1) / skew
    with np.errstate(divide="ignore", invalid="ignore"):
        cubic = 3 * np.expm1(np.log1p(np.maximum(moved, _HALF**3 - 1)) / 3) / skew
        tangent = 3 * (_HALF - 1 + (moved + 1 - _HALF**3) / (3 * _HALF**2)) / skew
    found = np.where(1 + moved >= _HALF**3, cubic, tangent)
    return np.where(skew == 0, straight, found)


def _skewness(paired: PairedScores) -> Array:
    """Skewness of the differences, unbiased third moment; 0 where there is no spread."""
    n = paired.n
    centred = paired.scaled - paired.scaled.mean(axis=1, keepdims=True)
    cubes = (centred**3).sum(axis=1) * (n / ((n - 1) * (n - 2)) if n > 2 else 0.0)
    spread = paired.spreads / paired.scale
    skew: Array = np.divide(cubes, spread**3, out=np.zeros_like(cubes), where=spread > 0)
    return skew
