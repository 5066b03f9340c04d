"""Pareto fronts: the configurations that no other one beats in every respect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.selection.goals import COSTS, find_column
from retrieval_eval.selection.tables import SweepTables, Tables, is_figure, read_tables

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CRITERIA", "Front", "find_fronts", "pareto_front"]

CRITERIA: Mapping[str, bool] = {name: name == "qps" for name in COSTS}
"""Columns of cost, and whether higher is better; of all other columns higher is better."""

_PAIRS_AT_ONCE = 2**22


def pareto_front(values: ArrayLike, higher: Sequence[bool]) -> NDArray[np.bool_]:
    """Mark the points that no other point dominates.

    One point dominates another if it is at least as good by every criterion and better by one.
    Equal points do not dominate each other: all of them are on the front, or none.

    Parameters
    ----------
    values : array of float, shape (n, d)
        One row a point. A row with a NaN was not measured: it is not on the front, and dominates
        none.
    higher : sequence of bool, length d
        Whether more is better, for each criterion.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    InputError
        If the shapes do not fit, or there is no criterion.

    Examples
    --------
    >>> quality_and_seconds = [[0.9, 3.0], [0.8, 1.0], [0.7, 2.0], [0.8, 1.0]]
    >>> pareto_front(quality_and_seconds, [True, False]).tolist()
    [True, True, False, True]
    """
    dominators = _dominators(values, higher)
    measured = ~np.isnan(np.asarray(values, dtype=np.float64)).any(axis=1)
    return measured & (dominators < 0)


def _dominators(values: ArrayLike, higher: Sequence[bool]) -> NDArray[np.intp]:
    """For each point a point of the front that dominates it; -1 where there is none."""
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(higher) or not len(higher):
        raise InputError(
            f"values of shape {points.shape} and {len(higher)} criteria: expected one column for "
            "each criterion, and one at least"
        )
    found = np.full(len(points), -1, dtype=np.intp)
    measured = np.flatnonzero(~np.isnan(points).any(axis=1))
    signed = np.where(higher, -points[measured], points[measured])  # less is better
    # In lexicographic order a point is dominated by earlier ones only, and by one of the front.
    order = np.lexsort(signed.T[::-1])
    signed = signed[order]
    step = max(1, _PAIRS_AT_ONCE // max(1, len(signed)))
    front = np.zeros(0, dtype=np.intp)
    for first in range(0, len(signed), step):
        block = np.arange(first, min(first + step, len(signed)))
        rivals = np.concatenate([front, block])
        left, right = signed[rivals][:, None, :], signed[block][None, :, :]
        dominates = (left <= right).all(axis=2) & (left < right).any(axis=2)
        beaten = dominates.any(axis=0)
        on_front = np.concatenate([np.ones(len(front), dtype=bool), ~beaten])
        winner = rivals[(dominates & on_front[:, None]).argmax(axis=0)]
        found[measured[order[block[beaten]]]] = measured[order[winner[beaten]]]
        front = np.concatenate([front, block[~beaten]])
    return found


@dataclass(frozen=True, eq=False)
class Front:
    """The front of one dataset under one filter.

    Parameters
    ----------
    dataset : str
        Name of the dataset.
    filter : str or None
        The filter, as tables show it.
    criteria : tuple of (str, bool)
        Columns, and whether higher is better.
    rows : tuple of dict
        The rows on the front, with all columns of the results; the best by the first criterion
        first.
    dominated : mapping of str to str
        For every other measured row, a row of the front that dominates it, by row_id.
    unmeasured : mapping of str to tuple of str
        Which criteria a row lacks: it is neither on the front nor dominated.
    """

    dataset: str
    filter: str | None
    criteria: tuple[tuple[str, bool], ...]
    rows: tuple[Mapping[str, Any], ...]
    dominated: Mapping[str, str]
    unmeasured: Mapping[str, tuple[str, ...]]


def find_fronts(
    results: str | Path | SweepTables | Tables | pl.DataFrame,
    criteria: Sequence[str],
    *,
    datasets: Sequence[str] = (),
) -> tuple[Front, ...]:
    """Find the front of each dataset (and filter) of a sweep, over all its encoders.

    Quality is that of all queries, as in ``results.parquet``: a front describes, it does not prove.

    Parameters
    ----------
    results : path, results of a sweep, or polars.DataFrame
        As for :func:`retrieval_eval.selection.select`; a frame is ``results.parquet``.
    criteria : sequence of str
        Columns; less is better of those in :data:`CRITERIA` but for ``qps``, more of all others.
    datasets : sequence of str
        Only these; by default all.

    Returns
    -------
    tuple of Front

    Raises
    ------
    InputError
        If a column or dataset is unknown, or a column comes twice.
    """
    tables = read_tables(results, None, per_query_needed=False)
    known = [name for name in tables.rows.columns if is_figure(tables.rows, name)]
    columns = [find_column(name, known, "criterion", "") for name in criteria]
    if len(set(columns)) != len(columns):
        raise InputError(f"criteria {', '.join(criteria)}: one of them comes twice")
    signs = [CRITERIA.get(name, True) for name in columns]
    fronts = []
    for (dataset, filter_), frame in tables.cells(datasets):
        values = frame.select(columns).cast(dict.fromkeys(columns, float)).to_numpy()
        dominators = _dominators(values, signs)
        missing = np.isnan(values)
        rows = frame.to_dicts()
        on_front = np.flatnonzero((dominators < 0) & ~missing.any(axis=1))
        order = np.argsort(values[on_front, 0] * (-1 if signs[0] else 1), kind="stable")
        fronts.append(
            Front(
                dataset,
                filter_,
                tuple(zip(columns, signs, strict=True)),
                tuple(rows[place] for place in on_front[order]),
                {
                    rows[place]["row_id"]: rows[dominators[place]]["row_id"]
                    for place in np.flatnonzero(dominators >= 0)
                },
                {
                    rows[place]["row_id"]: tuple(
                        name for name, gone in zip(columns, missing[place], strict=True) if gone
                    )
                    for place in np.flatnonzero(missing.any(axis=1))
                },
            )
        )
    return tuple(fronts)
