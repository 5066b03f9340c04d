"""Scores of the same runs in one matrix, and their means over resampled queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.resampling import bootstrap_sums
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluation

__all__ = ["percentile_bounds", "resampled_means", "scores_by_run", "without_rounding"]


def scores_by_run(
    runs: Sequence[Evaluation],
    measure: str,
    where: str,
    wanted: tuple[str, ...] | None = None,
    origin: str = "",
) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.float64]]:
    """Put the scores of several runs on the same queries into one matrix.

    Parameters
    ----------
    runs : sequence of Evaluation
        One evaluation of each run.
    measure : str
        The measure.
    where : str
        What the runs are of, for messages.
    wanted : tuple of str, optional
        The runs there must be, in the order of the rows; without it, those there are.
    origin : str
        Where the wanted runs come from, for messages.

    Returns
    -------
    names : tuple of str, length s
        The runs, in the order of the rows.
    query_ids : tuple of str, length n
        The queries, in the order of the columns: that of the run listed first.
    values : ndarray of float64, shape (s, n)
        Scores; NaN stays.

    Raises
    ------
    InputError
        If there is no run, one is listed twice, missing or not wanted, lacks the measure, has an
        infinite score, or was scored on other queries.
    """
    by_name: dict[str, NDArray[np.float64]] = {}
    for one in runs:
        if one.run_name in by_name:
            raise InputError(f"{where}: run {one.run_name!r} is listed twice")
        if measure not in one.measures:
            raise unknown_name("measure", measure, one.measures, f"{where}: run {one.run_name!r}")
        row = one.per_query(measure)
        if one.query_ids != runs[0].query_ids:
            column_of = {query_id: column for column, query_id in enumerate(one.query_ids)}
            if column_of.keys() != set(runs[0].query_ids):
                raise InputError(
                    f"{where}: runs {runs[0].run_name!r} and {one.run_name!r} were scored on "
                    "different queries: evaluate all runs against the same qrels"
                )
            row = row[[column_of[query_id] for query_id in runs[0].query_ids]]
        if np.isinf(row).any():
            raise InputError(f"{where}: run {one.run_name!r} has an infinite score")
        by_name[one.run_name] = row
    if not by_name:
        raise InputError(f"{where}: there is no run")
    names = tuple(by_name) if wanted is None else wanted
    for name in names:
        if name not in by_name:
            raise InputError(f"{where} lacks run {name!r}, which {origin} has")
    for name in by_name:
        if name not in names:
            raise InputError(f"{origin} lacks run {name!r}, which {where} has")
    return names, runs[0].query_ids, np.array([by_name[name] for name in names])


def resampled_means(
    values: NDArray[np.float64], draws: int, seed: int, stream: int = 0
) -> NDArray[np.float64]:
    """Means of several runs over the same resampled queries, by :func:`without_rounding`.

    Parameters
    ----------
    values : ndarray of float64, shape (s, n)
        Scores of s runs on n queries, no NaN.
    draws, seed : int
        Number and seed of the resamples.
    stream : int
        Streams of one seed are independent.

    Returns
    -------
    ndarray of float64, shape (draws, s)
    """
    rows = PairedScores.of_rows(values)
    sums = bootstrap_sums(rows.grid, rows.pairs, draws=draws, seed=seed, stream=stream)
    return without_rounding(sums * rows.grid.unit[:-1] / rows.n, values)


def without_rounding(
    means: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Round means to 36 bits of the largest value's scale, so that equal means tie.

    Sums of float64 depend, in their last digits, on the order of the summands and on the machine;
    systems with the same scores on other queries would else be ranked by that.

    Parameters
    ----------
    means : ndarray of float64
        Means of some of the values.
    values : ndarray of float64, not empty
        The values, which set the scale.

    Returns
    -------
    ndarray of float64, shape of means
    """
    exponent = int(np.frexp(np.abs(values).max())[1]) - 36
    unit = max(np.ldexp(1.0, exponent), np.finfo(np.float64).tiny)
    rounded: NDArray[np.float64] = np.rint(means / unit) * unit
    return rounded


def percentile_bounds(
    draws: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % bounds over the first axis: values that occur, the outer ones of two candidates."""
    low = np.quantile(draws, 0.025, axis=0, method="lower")
    high = np.quantile(draws, 0.975, axis=0, method="higher")
    return low, high
