"""Orders of systems over several datasets: mean of means, Borda and exact Kemeny."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "AGGREGATIONS",
    "MOST_KEMENY_SYSTEMS",
    "RankAggregation",
    "aggregate_ranks",
    "average_ranks",
    "borda",
    "kemeny",
]

AGGREGATIONS = ("mean", "borda", "kemeny")
MOST_KEMENY_SYSTEMS = 12  # every system more doubles memory and time
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class RankAggregation:
    """One order of systems over several datasets, and how sure it is.

    Parameters
    ----------
    method : {'mean', 'borda', 'kemeny'}
        How the datasets were put together.
    measure : str
        The measure.
    systems : tuple of str, length s
        Names of the runs, in the order of the first dataset.
    datasets : tuple of str, length d
        Names of the datasets.
    n_queries : tuple of int, length d
        Queries of each dataset that count.
    score : tuple of float, length s
        Mean of the datasets' means (higher is better), Borda's sum of ranks, or Kemeny's position
        (lower is better).
    position : tuple of float, length s
        Place in the order, 1 is best. Equal scores share the average of their places.
    low, high : tuple of float, length s
        95 % percentile bootstrap interval of the position.
    first : tuple of float, length s
        Share of the draws in which the system is first; systems that share the first place in a
        draw share the draw. The sum is 1.
    draws, seed : int
        Of the bootstrap.
    """

    method: str
    measure: str
    systems: tuple[str, ...]
    datasets: tuple[str, ...]
    n_queries: tuple[int, ...]
    score: tuple[float, ...]
    position: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    first: tuple[float, ...]
    draws: int
    seed: int


def average_ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """Rank scores from 1, the highest; equal scores share the average of their ranks.

    Parameters
    ----------
    scores : array_like of float64, shape (..., s)
        Scores of s systems; higher is better.

    Returns
    -------
    ndarray of float64, shape (..., s)
        Their ranks; each row sums to ``s (s + 1) / 2``.

    Raises
    ------
    InputError
        If a score is NaN, or there is no system.

    Examples
    --------
    >>> average_ranks([0.2, 0.5, 0.5, 0.9]).tolist()
    [4.0, 2.5, 2.5, 1.0]
    """
    scores = _checked(scores, 1)
    ranks = np.full(scores.shape, 0.5)  # with its own tie, the best gets 1
    for column in range(scores.shape[-1]):
        other = scores[..., column, None]
        ranks += other > scores
        ranks += 0.5 * (other == scores)
    return ranks


def borda(means: ArrayLike) -> NDArray[np.float64]:
    """Sum each system's ranks over datasets, after Borda; lower is better.

    Parameters
    ----------
    means : array_like of float64, shape (..., d, s)
        Scores of s systems on d datasets; higher is better.

    Returns
    -------
    ndarray of float64, shape (..., s)
        Sums of ranks, between d and ``d s``. Systems that tie on a dataset share the average of
        their ranks there.

    Raises
    ------
    InputError
        If a score is NaN, or there is no dataset or no system.

    References
    ----------
    Dwork, Kumar, Naor & Sivakumar 2001, Rank aggregation methods for the web.

    Examples
    --------
    >>> borda([[0.9, 0.5, 0.1], [0.3, 0.4, 0.3]]).tolist()
    [3.5, 3.0, 5.5]
    """
    result: NDArray[np.float64] = average_ranks(_checked(means, 2)).sum(axis=-2)
    return result


def kemeny(means: ArrayLike) -> NDArray[np.int64]:
    """Order systems so that datasets disagree with as few pairs as possible: Kemeny's order.

    A disagreement is a pair of systems and a dataset that has the pair the other way round. A pair
    that ties on a dataset costs half a disagreement whichever way it is ordered, so it decides
    nothing. The order is exact, by dynamic programming over the ``2**s`` sets of systems. Where
    several orders are best, the result is the one that, place by place from the first, puts the
    system given first.

    Parameters
    ----------
    means : array_like of float64, shape (..., d, s)
        Scores of s systems on d datasets; higher is better. At most 12 systems.

    Returns
    -------
    ndarray of int64, shape (..., s)
        Position of each system, from 1; no two share one.

    Raises
    ------
    InputError
        If there are more than 12 systems, a score is NaN, or there is no dataset or no system.

    References
    ----------
    Kemeny 1959, Mathematics without numbers. Betzler, Fellows, Guo, Niedermeier & Rosamond 2009,
    Fixed-parameter algorithms for Kemeny rankings, for the dynamic programme.

    Examples
    --------
    Two of three datasets put the second system first:

    >>> kemeny([[0.9, 0.5, 0.1], [0.3, 0.4, 0.2], [0.6, 0.7, 0.1]]).tolist()
    [2, 1, 3]
    """
    means = _checked(means, 2)
    *leading, datasets, systems = means.shape
    if systems > MOST_KEMENY_SYSTEMS:
        raise InputError(
            f"Kemeny's order is exact for at most {MOST_KEMENY_SYSTEMS} systems, and there are "
            f"{systems}: use borda"
        )
    flat = means.reshape(-1, datasets, systems)
    positions = np.empty((len(flat), systems), dtype=np.int64)
    step = max(1, _BLOCK_BYTES // (4 * 2**systems * (systems + 3)))
    for start in range(0, len(flat), step):
        block = slice(start, start + step)
        positions[block] = _kemeny_positions(_costs(flat[block]))
    return positions.reshape(*leading, systems)


def _checked(scores: ArrayLike, dimensions: int) -> NDArray[np.float64]:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim < dimensions or 0 in array.shape[-dimensions:]:
        wanted = "(..., s)" if dimensions == 1 else "(..., d, s)"
        raise InputError(f"scores of shape {array.shape}: they must have the shape {wanted}, not 0")
    if np.isnan(array).any():
        raise InputError("a score is NaN: systems without a score cannot be ordered")
    return array


def _costs(means: NDArray[np.float64]) -> NDArray[np.int32]:
    """Count the datasets that disagree with system a above system b; shape (s, s, draws).

    The half that a tie costs is left out: it is the same for both ways, and so for all orders.
    """
    draws, _, systems = means.shape
    costs = np.empty((systems, systems, draws), dtype=np.int32)
    for above in range(systems):
        costs[above] = (means > means[..., above, None]).sum(axis=1).T
    return costs


def _kemeny_positions(costs: NDArray[np.int32]) -> NDArray[np.int64]:
    """Best order for each draw; costs of shape (s, s, draws) become positions (draws, s)."""
    systems, _, draws = costs.shape
    sets = np.arange(2**systems)  # a set's members are its bits
    # What it costs to put a system above all of a set. Whether the set holds the system itself
    # makes no difference.
    above = np.zeros((systems, len(sets), draws), dtype=np.int32)
    for member in range(systems):
        half = 1 << member
        above[:, half : 2 * half] = above[:, :half] + costs[:, member, None, :]
    # What the best order of each set alone costs, small sets first.
    most = np.iinfo(np.int32).max
    best = np.full((len(sets), draws), most, dtype=np.int32)
    best[0] = 0
    sizes = (sets[:, None] >> np.arange(systems) & 1).sum(axis=1)
    for size in range(1, systems + 1):
        for top in range(systems):
            chosen = sets[(sizes == size) & (sets >> top & 1 == 1)]
            cost = above[top, chosen] + best[chosen ^ (1 << top)]
            best[chosen] = np.minimum(best[chosen], cost)
    # From the first place down, the system given first among those that begin a best order.
    positions = np.empty((draws, systems), dtype=np.int64)
    left = np.full(draws, len(sets) - 1)
    each = np.arange(draws)
    for place in range(1, systems + 1):
        options = np.full((systems, draws), most, dtype=np.int32)
        for top in range(systems):
            cost = above[top, left, each] + best[left ^ (1 << top), each]
            options[top] = np.where(left >> top & 1, cost, most)
        taken = options.argmin(axis=0)
        positions[each, taken] = place
        left = left ^ (1 << taken)
    return positions


def aggregate_ranks(
    evaluations: Mapping[str, Sequence[Evaluation]],
    measure: str,
    *,
    method: str = "borda",
    draws: int = 1000,
    seed: int = 0,
) -> RankAggregation:
    """Order the same runs over several datasets, with bootstrap intervals of their positions.

    In each draw the queries of every dataset are resampled, the same ones for all its runs, and
    the runs are ordered anew. Draws are noisier than the data, so intervals lean towards the
    middle positions; with few datasets they say nothing about other datasets, as datasets are not
    resampled. Means that agree but for the rounding of float64 count as ties.

    Parameters
    ----------
    evaluations : mapping of str to sequence of Evaluation
        Dataset name to one evaluation of each run. Runs are matched by name, queries within a
        dataset by id. A query on which any run of the dataset has NaN is left out for that
        dataset. The number of a dataset in the mapping is part of the seed of its resamples.
    measure : str
        A measure that is a mean over queries and for which higher is better.
    method : {'mean', 'borda', 'kemeny'}
        Mean of the datasets' means; sum of ranks, with average ranks on ties (:func:`borda`); or
        fewest pairwise disagreements, for at most 12 runs (:func:`kemeny`, which breaks ties by
        the order in which runs are given).
    draws : int
        Resamples, at least 100.
    seed : int
        Of the resamples, at least 0.

    Returns
    -------
    RankAggregation

    Raises
    ------
    InputError
        If a run is missing from a dataset or listed twice, or lacks the measure; if runs of one
        dataset were scored on different queries, or no query is left; if the measure is no mean
        over queries; or if method, draws or seed cannot be used.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Examples
    --------
    >>> from retrieval_eval import evaluate
    >>> qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    >>> good = evaluate(qrels, {"q1": {"a": 1.0}, "q2": {"a": 1.0}}, ["RR"])
    >>> bad = evaluate(qrels, {"q1": {"b": 1.0}}, ["RR"])
    >>> from dataclasses import replace
    >>> runs = [replace(bad, run_name="bad"), replace(good, run_name="good")]
    >>> result = aggregate_ranks({"news": runs, "web": runs}, "RR")
    >>> result.systems, result.score, result.position
    (('bad', 'good'), (4.0, 2.0), (2.0, 1.0))
    >>> result.low, result.high, result.first
    ((2.0, 1.0), (2.0, 1.0), (0.0, 1.0))
    """
    if method not in AGGREGATIONS:
        raise unknown_name("aggregation", method, AGGREGATIONS)
    check_draws(draws, seed)
    if not evaluations:
        raise InputError("there is no dataset to aggregate over")
    require_means([measure])
    systems, tables = _tables(evaluations, measure)
    means = np.stack([without_rounding(table.mean(axis=1), table) for table in tables])
    score, position = _order(means, method)
    if method == "mean":  # shown as it is; only the order needs rounding
        score = np.mean([table.mean(axis=1) for table in tables], axis=0)
    resampled = [resampled_means(table, draws, seed, k) for k, table in enumerate(tables)]
    _, positions = _order(np.stack(resampled, axis=1), method)
    low, high = percentile_bounds(positions)
    is_first = positions == positions.min(axis=1, keepdims=True)
    first = (is_first / is_first.sum(axis=1, keepdims=True)).mean(axis=0)
    return RankAggregation(
        method=method,
        measure=measure,
        systems=systems,
        datasets=tuple(evaluations),
        n_queries=tuple(table.shape[1] for table in tables),
        score=tuple(score.tolist()),
        position=tuple(position.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        first=tuple(first.tolist()),
        draws=draws,
        seed=seed,
    )


def _order(
    means: NDArray[np.float64], method: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores and positions, each of shape (..., s), for means of shape (..., d, s)."""
    if method == "kemeny":
        position = kemeny(means).astype(np.float64)
        return position, position
    if method == "borda":
        score = borda(means)
        return score, average_ranks(-score)
    score = means.mean(axis=-2)
    return score, average_ranks(score)


def _tables(
    evaluations: Mapping[str, Sequence[Evaluation]], measure: str
) -> tuple[tuple[str, ...], list[NDArray[np.float64]]]:
    """Names of the runs, and each dataset's scores in that order; queries with NaN are out."""
    systems: tuple[str, ...] | None = None
    tables = []
    origin = f"dataset {next(iter(evaluations))!r}"
    for dataset, runs in evaluations.items():
        where = f"dataset {dataset!r}"
        systems, _, values = scores_by_run(runs, measure, where, systems, origin)
        tables.append(values[:, ~np.isnan(values).any(axis=0)])
        if not tables[-1].shape[1]:
            raise InputError(f"{where}: no query is left on which every run has a score")
    return systems or (), tables
