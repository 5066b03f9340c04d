"""How a cost grows with the number of documents, and what that says of a larger collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError

__all__ = ["PowerLaw", "fit_power_law", "uniform_ball"]


@dataclass(frozen=True)
class PowerLaw:
    """A cost that grows as ``coefficient * n ** exponent``.

    Parameters
    ----------
    exponent : float
        1 is proportional, 0 constant.
    low, high : float
        Interval of the exponent; NaN with fewer than three sizes.
    coefficient : float
        In the unit of the cost.
    level : float
        Of the intervals.
    sizes : int
        How many different sizes it was fitted to.
    spread : float
        Residual standard deviation of the natural logarithm of the cost.
    centre, weight, df : float, float, int
        Mean of the logarithms of n, their sum of squares around it, and degrees of freedom.
    """

    exponent: float
    low: float
    high: float
    coefficient: float
    level: float
    sizes: int
    spread: float
    centre: float
    weight: float
    df: int

    def at(self, n: float) -> tuple[float, float, float]:
        """Return the cost at `n` documents, and the prediction interval of one measurement there.

        Beyond the sizes of the fit this supposes that the law goes on: the interval knows nothing
        of caches that overflow, or of machines that are added.
        """
        from scipy import stats

        mean = float(np.log(self.coefficient) + self.exponent * np.log(n))
        if not self.df:
            return float(np.exp(mean)), float("nan"), float("nan")
        points = self.df + 2
        leverage = 1 + 1 / points + (np.log(n) - self.centre) ** 2 / self.weight
        half = stats.t.ppf(0.5 + self.level / 2, self.df) * self.spread * np.sqrt(leverage)
        return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


def fit_power_law(
    sizes: Sequence[float], costs: Sequence[float], *, level: float = 0.95
) -> PowerLaw:
    """Fit a power law by least squares on logarithms.

    Parameters
    ----------
    sizes : sequence of float
        Numbers of documents, above 0, at least two different ones; a size may be repeated.
    costs : sequence of float
        One for each, above 0.
    level : float
        Of the intervals (Student's t, of the slope), between 0 and 1.

    Returns
    -------
    PowerLaw
        With its intervals, which suppose that errors are multiplicative, independent and alike.

    Raises
    ------
    InputError
        For values that are not above 0, fewer than two sizes, or a level out of range.

    Examples
    --------
    >>> law = fit_power_law([1e4, 1e5, 1e6], [2.0, 20.0, 200.0])
    >>> round(law.exponent, 9), [round(one, 6) for one in law.at(1e9)]
    (1.0, [200000.0, 200000.0, 200000.0])
    """
    from scipy import stats

    x, y = np.asarray(sizes, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"growth: {x.size} sizes and {y.size} costs: there must be one for each")
    if not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all():
        raise InputError("growth: sizes and costs must be finite and above 0")
    distinct = len(np.unique(x))
    if distinct < 2:
        raise InputError("growth: a law of growth needs two different sizes")
    if not 0 < level < 1:
        raise InputError(f"growth: level is {level}: it must be between 0 and 1")
    x, y = np.log(x), np.log(y)
    centre = float(x.mean())
    weight = float(((x - centre) ** 2).sum())
    exponent = float(((x - centre) * y).sum() / weight)
    intercept = float(y.mean() - exponent * centre)
    df = len(x) - 2
    residuals = y - intercept - exponent * x
    spread = float(np.sqrt((residuals**2).sum() / df)) if df else float("nan")
    half = float(stats.t.ppf(0.5 + level / 2, df) * spread / np.sqrt(weight)) if df else np.nan
    return PowerLaw(
        exponent,
        exponent - half,
        exponent + half,
        float(np.exp(intercept)),
        level,
        distinct,
        spread,
        centre,
        weight,
        df,
    )


def uniform_ball(n: int, m: int, d: int, seed: int) -> NDArray[np.float32]:
    """Draw points that fill an m-dimensional ball, turned into d dimensions.

    Parameters
    ----------
    n : int
        Points.
    m : int
        Dimensions of the ball of radius 1: the intrinsic dimension of the points, but for its edge.
    d : int
        Dimensions of the vectors, at least m.
    seed : int
        Of points and direction. A larger set begins with a smaller one of the same seed.

    Returns
    -------
    ndarray of float32, shape (n, d)

    Raises
    ------
    InputError
        If the ball does not fit.

    Examples
    --------
    >>> points = uniform_ball(1000, 2, 8, seed=0)
    >>> points.shape, bool((np.linalg.norm(points, axis=1) <= 1.000001).all())
    ((1000, 8), True)
    >>> int(np.linalg.matrix_rank(points, tol=1e-4))
    2
    """
    if not 1 <= m <= d:
        raise InputError(f"a ball of {m} dimensions does not fit into {d}")
    turn = np.linalg.qr(np.random.default_rng((seed, 1)).normal(size=(d, m)))[0]
    rng = np.random.default_rng(seed)
    # m + 2 normal numbers on a sphere, the last two dropped, fill the ball evenly (Voelker 2017).
    drawn = rng.standard_normal((n, m + 2), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.ascontiguousarray(drawn[:, :m] @ turn.T.astype(np.float32))
