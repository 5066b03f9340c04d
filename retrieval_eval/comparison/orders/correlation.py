"""Agreement of two orders of the same systems: Kendall's tau-b, tau-AP and rank-biased overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval_eval.comparison.orders.scores import (
    percentile_bounds,
    resampled_means,
    scores_by_run,
    without_rounding,
)
from retrieval_eval.comparison.resampling import check_draws
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluation, require_means

__all__ = [
    "CORRELATIONS",
    "RankCorrelation",
    "kendall_tau",
    "rank_correlation",
    "rbo",
    "tau_ap",
]

CORRELATIONS = ("tau", "tau-ap", "rbo")


@dataclass(frozen=True)
class RankCorrelation:
    """Agreement of two orders of the same systems, and how sure it is.

    Parameters
    ----------
    method : {'tau', 'tau-ap', 'rbo'}
        The coefficient.
    measures : tuple of two str
        Measure of the first order, and of the second.
    value : float
        The coefficient; NaN where it is not defined.
    ci95 : tuple of two float
        95 % percentile bootstrap interval, over the draws in which the coefficient is defined;
        NaN without any.
    systems : tuple of str
        Names of the runs, in the order of the first side.
    n : int
        Queries that count on both sides.
    undefined : int
        Draws in which the coefficient is not defined; they are left out of the interval.
    draws, seed : int
        Of the bootstrap.
    p : float or None
        Persistence of rank-biased overlap; None for the others.
    """

    method: str
    measures: tuple[str, str]
    value: float
    ci95: tuple[float, float]
    systems: tuple[str, ...]
    n: int
    undefined: int
    draws: int
    seed: int
    p: float | None


def kendall_tau(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Kendall's tau-b of two orders; symmetric, and 1 for orders with the same ties.

    Parameters
    ----------
    x, y : array_like of float64, shape (..., s)
        Scores of the same s systems; higher is better. Leading axes are broadcast.

    Returns
    -------
    ndarray of float64, shape (...)
        Between -1 and 1; of shape () for two vectors. NaN with fewer than 2 systems, where all
        scores of one side are equal, and where a score is NaN.

    Raises
    ------
    InputError
        If x and y are not of the same systems.

    References
    ----------
    Kendall 1945, The treatment of ties in ranking problems: pairs tied on either side count for
    neither agreement nor disagreement, and tau-b divides by the geometric mean of the numbers of
    pairs that are not tied on the one side and on the other.

    Examples
    --------
    >>> float(kendall_tau([3.0, 2.0, 1.0], [0.3, 0.1, 0.2]).round(3))
    0.333
    >>> kendall_tau([3.0, 2.0, 1.0], [[0.3, 0.2, 0.1], [0.1, 0.2, 0.3], [0.1, 0.1, 0.1]]).tolist()
    [1.0, -1.0, nan]
    """
    x, y = _same_systems(x, y)
    agreement = np.zeros(x.shape[:-1])
    untied_x, untied_y = np.zeros_like(agreement), np.zeros_like(agreement)
    for column in range(x.shape[-1] - 1):
        order_x = _signs(x[..., column, None], x[..., column + 1 :])
        order_y = _signs(y[..., column, None], y[..., column + 1 :])
        agreement += (order_x * order_y).sum(axis=-1)
        untied_x += (order_x != 0).sum(axis=-1)
        untied_y += (order_y != 0).sum(axis=-1)
    result = np.full(agreement.shape, np.nan)
    pairs = untied_x * untied_y  # whole numbers, so that equal orders give exactly 1
    np.divide(agreement, np.sqrt(pairs), out=result, where=(pairs > 0) & _known(x, y))
    return result


def tau_ap(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Judge the order y against the order x as the truth; errors near the top of y weigh more.

    Not symmetric: ``tau_ap(y, x)`` takes y as the truth. Ties, on either side, give the expected
    value over all orders of the tied systems, each equally likely: the result does not depend on
    the order in which systems are given, and is 1 only if neither side has ties. With ties in y
    alone it is the tau_AP,a of Urbano & Marrero.

    Parameters
    ----------
    x : array_like of float64, shape (..., s)
        Scores of the s systems that are taken as true; higher is better.
    y : array_like of float64, shape (..., s)
        Scores of the same systems that are judged. Leading axes are broadcast.

    Returns
    -------
    ndarray of float64, shape (...)
        Between -1 and 1; of shape () for two vectors. 0 where all scores of one side are equal.
        NaN with fewer than 2 systems, and where a score is NaN.

    Raises
    ------
    InputError
        If x and y are not of the same systems.

    References
    ----------
    Yilmaz, Aslam & Robertson 2008, A new rank correlation coefficient for information retrieval.
    Urbano & Marrero 2017, The treatment of ties in AP correlation.

    Examples
    --------
    The same error, of two systems next to each other, at the end and at the top:

    >>> truth = [4.0, 3.0, 2.0, 1.0]
    >>> tau_ap(truth, [[4.0, 3.0, 1.0, 2.0], [3.0, 4.0, 2.0, 1.0]]).round(3).tolist()
    [0.778, 0.333]
    """
    x, y = _same_systems(x, y)
    systems = x.shape[-1]
    agreement = np.zeros(x.shape)
    above, tied = np.zeros(x.shape, dtype=np.int64), np.zeros(x.shape, dtype=np.int64)
    for column in range(systems):
        higher = y[..., column, None] > y
        above += higher
        tied += y[..., column, None] == y
        agreement += higher * _signs(x[..., column, None], x)
    # A system's weight is 1 over the number above it. Within t tied systems that number is any of
    # t equally likely ones. Pairs tied on one side agree as often as not, and cancel out.
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, systems + 1))])
    spread = harmonic[np.maximum(above + tied - 1, 0)] - harmonic[np.maximum(above - 1, 0)]
    has_above = above > 0
    terms = np.zeros(x.shape)
    np.divide(agreement, above, out=terms, where=has_above & (tied == 1))
    np.divide(agreement * spread, tied, out=terms, where=has_above & (tied > 1))
    result = np.full(x.shape[:-1], np.nan)
    defined = _known(x, y) & (systems > 1)
    np.divide(terms.sum(axis=-1), systems - 1, out=result, where=defined)
    return result


def rbo(x: ArrayLike, y: ArrayLike, p: float = 0.9) -> NDArray[np.float64]:
    """Rank-biased overlap of two full orders, extrapolated (RBO_ext); symmetric, top-weighted.

    Ties, on either side, give the expected value over all orders of the tied systems, each equally
    likely: the result is 1 only if neither side has ties. Two orders of the same few systems have
    much overlap by chance, and everything beyond rank s counts as overlap, so that 0 is out of
    reach: compare values for the same s and p only.

    Parameters
    ----------
    x, y : array_like of float64, shape (..., s)
        Scores of the same s systems; higher is better. Leading axes are broadcast.
    p : float
        Persistence, between 0 and 1: the weight of depth d is ``(1 - p) p**(d - 1)``.

    Returns
    -------
    ndarray of float64, shape (...)
        At most 1; of shape () for two vectors. NaN without systems, and where a score is NaN.

    Raises
    ------
    InputError
        If x and y are not of the same systems, or p does not lie between 0 and 1.

    References
    ----------
    Webber, Moffat & Zobel 2010, A similarity measure for indefinite rankings. As both orders hold
    the same systems, RBO_ext is ``1 - (1 - p) sum_d (1 - A_d) p**(d - 1)``, where A_d is the share
    of systems that both have among their first d.

    Examples
    --------
    >>> float(rbo([5, 4, 3, 2, 1], [2, 5, 4, 3, 1], p=0.9).round(3))
    0.828
    """
    if not 0 < p < 1:
        raise InputError(f"p is {p}: it must lie between 0 and 1")
    x, y = _same_systems(x, y)
    systems = x.shape[-1]
    (above_x, tied_x), (above_y, tied_y) = _places(x), _places(y)
    apart = np.zeros(x.shape[:-1])
    for depth in range(1, systems + 1):
        # Chances that each system is among the first: the two orders break ties independently.
        in_x = np.clip((depth - above_x) / tied_x, 0, 1)
        in_y = np.clip((depth - above_y) / tied_y, 0, 1)
        apart += (1 - (in_x * in_y).sum(axis=-1) / depth) * p ** (depth - 1)
    return np.where(_known(x, y) & (systems > 0), 1 - (1 - p) * apart, np.nan)


def _same_systems(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    message = f"scores of shapes {first.shape} and {second.shape} are not of the same systems"
    if not first.ndim or first.shape[-1:] != second.shape[-1:]:
        raise InputError(message)
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        raise InputError(message) from None
    return np.broadcast_to(first, shape), np.broadcast_to(second, shape)


def _known(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell where no score is NaN; shape (...)."""
    return np.asarray(~(np.isnan(x) | np.isnan(y)).any(axis=-1))


def _signs(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.int8]:
    """1 where one is higher, -1 where it is lower; comparing keeps infinities out of sums."""
    return (one > others).astype(np.int8) - (one < others).astype(np.int8)


def _places(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many systems score higher than each, and how many as high, itself included."""
    above, tied = np.zeros(scores.shape), np.zeros(scores.shape)
    for column in range(scores.shape[-1]):
        above += scores[..., column, None] > scores
        tied += scores[..., column, None] == scores
    return above, np.maximum(tied, 1)  # NaN does not equal itself


def rank_correlation(
    first: Sequence[Evaluation],
    second: Sequence[Evaluation],
    measure: str | tuple[str, str] | None = None,
    *,
    method: str = "tau",
    draws: int = 1000,
    seed: int = 0,
    p: float = 0.9,
) -> RankCorrelation:
    """Correlate the orders that two sets of evaluations give to the same runs.

    For instance of the same runs under two qrels, or by two measures. In each draw both sides
    share the resampled queries. Draws are noisier than the data, so the interval leans towards
    less agreement, and can lie wholly below a value near 1. Means that agree but for the rounding
    of float64 count as ties.

    Parameters
    ----------
    first, second : sequence of Evaluation
        One evaluation of each run, matched by name; for tau-ap, the first order is the truth. All
        evaluations of a side have the same queries. Where the two sides have different ones, those
        in both count; a query on which any run has NaN, on either side, does not.
    measure : str or tuple of two str, optional
        Measure of both sides, or of the first and of the second: pass the same evaluations twice
        to compare two measures. Without it, the only measure of each side. Means over queries, for
        which higher is better.
    method : {'tau', 'tau-ap', 'rbo'}
        :func:`kendall_tau`, :func:`tau_ap` or :func:`rbo`.
    draws : int
        Resamples, at least 100.
    seed : int
        Of the resamples, at least 0.
    p : float
        Persistence of rbo; the others do not use it.

    Returns
    -------
    RankCorrelation

    Raises
    ------
    InputError
        If a run is missing from one side or listed twice, or lacks the measure; if runs of one side
        were scored on different queries, or no query is left; if a measure is no mean over queries;
        or if method, draws, seed or p cannot be used.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from retrieval_eval import evaluate
    >>> qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    >>> good = evaluate(qrels, {"q1": {"a": 2.0, "b": 1.0}, "q2": {"a": 1.0}}, ["RR", "P@1"])
    >>> bad = evaluate(qrels, {"q1": {"b": 2.0, "a": 1.0}}, ["RR", "P@1"])
    >>> runs = [replace(bad, run_name="bad"), replace(good, run_name="good")]
    >>> result = rank_correlation(runs, runs, ("RR", "P@1"))
    >>> result.value, result.ci95, result.n
    (1.0, (1.0, 1.0), 2)
    """
    if method not in CORRELATIONS:
        raise unknown_name("rank correlation", method, CORRELATIONS)
    check_draws(draws, seed)
    measures = _two_measures(measure, first, second)
    require_means(measures)
    systems, ids, left = scores_by_run(first, measures[0], "the first side")
    _, other_ids, right = scores_by_run(
        second, measures[1], "the second side", systems, "the first side"
    )
    column_of = {query_id: column for column, query_id in enumerate(other_ids)}
    shared = [column for column, query_id in enumerate(ids) if query_id in column_of]
    matched = [column_of[ids[column]] for column in shared]
    values = np.concatenate([left[:, shared], right[:, matched]])
    values = values[:, ~np.isnan(values).any(axis=0)]
    n = values.shape[1]
    if not n:
        raise InputError("the two sides share no query on which every run has a score")
    # Each side is rounded on its own scale: one may be in shares, the other in documents.
    sides = values[: len(systems)], values[len(systems) :]
    means = [without_rounding(side.mean(axis=1), side) for side in sides]
    resampled = [resampled_means(side, draws, seed) for side in sides]

    def coefficient(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        if method == "rbo":
            return rbo(x, y, p)
        return tau_ap(x, y) if method == "tau-ap" else kendall_tau(x, y)

    value = coefficient(means[0], means[1])
    drawn = coefficient(resampled[0], resampled[1])
    defined = drawn[~np.isnan(drawn)]
    low, high = percentile_bounds(defined) if len(defined) else (np.nan, np.nan)
    return RankCorrelation(
        method=method,
        measures=measures,
        value=float(value),
        ci95=(float(low), float(high)),
        systems=systems,
        n=n,
        undefined=draws - len(defined),
        draws=draws,
        seed=seed,
        p=p if method == "rbo" else None,
    )


def _two_measures(
    measure: str | tuple[str, str] | None,
    first: Sequence[Evaluation],
    second: Sequence[Evaluation],
) -> tuple[str, str]:
    if isinstance(measure, str):
        return measure, measure
    if measure is not None:
        if len(measure) != 2:
            raise InputError(f"measure {measure!r}: give one measure, or a pair of two")
        return measure[0], measure[1]
    found = []
    for where, side in (("first", first), ("second", second)):
        known = sorted({name for one in side for name in one.measures})
        if len(known) != 1:
            listed = ", ".join(known) if known else "none"
            raise InputError(f"the {where} side has the measures {listed}: say which one to use")
        found.append(known[0])
    return found[0], found[1]
