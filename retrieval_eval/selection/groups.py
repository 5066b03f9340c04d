"""Candidates beside the reference they are compared with, on dealt queries."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.selection.certify import PartFigures, measure_part
from retrieval_eval.selection.goals import Goal
from retrieval_eval.selection.results import Candidate, Place, SelectOptions
from retrieval_eval.selection.tables import SweepTables
from retrieval_eval.splits import split_queries

__all__ = ["Barrier", "Group", "Parts", "deal_queries", "find_groups"]

Array = NDArray[np.float64]
Barrier = tuple[str, str]
"""An outcome, and the reason in a sentence."""
Parts = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""Tuning and held-out queries of each dataset."""


@dataclass(frozen=True, eq=False)
class Group:
    """The m candidates that are compared with one reference in one place.

    Parameters
    ----------
    place : Place
        Dataset and filter.
    encoder : str or None
        Their encoder; None if they are of several.
    reference : mapping
        Its row of the results.
    reference_cost : float
        NaN if not measured.
    reference_fits : bool
        Whether it meets all goals.
    rows : tuple of mapping
        Theirs.
    costs : ndarray of float64, shape (m,)
        NaN where not measured.
    barriers : tuple
        What keeps a row from being a candidate; None for nothing.
    tuning : PartFigures
        On tuning queries.
    tuning_self : PartFigures
        The reference beside itself, on tuning queries.
    held_out, held_out_reference : ndarray of float64, shapes (m, n) and (n,)
        Scores on held-out queries.
    tuning_queries : int
        How many there are.
    """

    place: Place
    encoder: str | None
    reference: Mapping[str, Any]
    reference_cost: float
    reference_fits: bool
    rows: tuple[Mapping[str, Any], ...]
    costs: Array
    barriers: tuple[Barrier | None, ...]
    tuning: PartFigures
    tuning_self: PartFigures
    held_out: Array
    held_out_reference: Array
    tuning_queries: int


def deal_queries(
    tables: SweepTables,
    datasets: Sequence[str],
    tune: float,
    seed: int,
    tuning_queries: Mapping[str, Collection[str]] | None,
) -> Parts:
    """Deal the queries of each dataset into tuning and held-out ones.

    All filters of a dataset share its deal, and so do datasets with the same query ids.

    Raises
    ------
    InputError
        If a part would have fewer than two queries.
    """
    import polars as pl

    parts = {}
    owners = tables.rows.select("row_id", "dataset")
    found = tables.per_query.select("row_id", "query_id").join(owners, on="row_id")
    by_dataset = found.group_by("dataset").agg(pl.col("query_id").unique().sort())
    queries: dict[str, list[str]] = dict(by_dataset.iter_rows())
    for name in tuning_queries or {}:
        if name not in queries:
            raise unknown_name("dataset (of tuning queries)", name, queries)
    for name in datasets or sorted(queries):
        ids = queries.get(name, [])
        if tuning_queries is not None:
            given = set(tuning_queries.get(name, ()))
            dealt = (
                tuple(one for one in ids if one in given),
                tuple(one for one in ids if one not in given),
            )
        elif len(ids) > 3:
            made = split_queries(
                ids, seed=seed, parts=("tune", "held-out"), shares=(tune, 1 - tune)
            )
            dealt = (made["tune"], made["held-out"])
        else:
            dealt = ((), ())
        if ids and min(map(len, dealt)) < 2:
            raise InputError(
                f"dataset {name!r}: {len(ids)} queries, {len(dealt[0])} to choose by and "
                f"{len(dealt[1])} to test on: each part needs two at least"
            )
        parts[name] = dealt
    return parts


def find_groups(
    tables: SweepTables, options: SelectOptions, datasets: Sequence[str], parts: Parts
) -> tuple[list[Group], list[Candidate]]:
    """Find candidates and references of each place; and rows that have no reference.

    Raises
    ------
    InputError
        If a reference, or a column of a goal or cost, is unknown, or nothing has a reference.
    """
    for name in options.cost.columns:
        if name not in tables.rows.columns:
            raise InputError(f"cost {name}: the results have no such column")
    groups: list[Group] = []
    left_out: list[Candidate] = []
    kind = _kind_of_reference(tables, options.reference)
    for (dataset, filter_), frame in tables.cells(datasets):
        place = Place(dataset, filter_)
        rows = frame.to_dicts()
        run = [row for row in rows if row["status"] == "ok"]
        scored = _scores(tables, run, options, parts[dataset]) if run else None
        for encoder, mine, reference in _by_reference(rows, options.reference, kind, place):
            if reference is None or scored is None or reference["status"] != "ok":
                why = (
                    "no reference to compare it with: name one for all, 'ENCODER | CONFIGURATION'"
                    if reference is None
                    else f"its reference, {_label(reference)}, was not run"
                )
                left_out += [_left_out(row, why) for row in mine]
                continue
            groups.append(_group(place, encoder, mine, reference, scored, options))
    if not groups:
        raise InputError(
            "nothing can be compared: no row of a reference was run; name one with the option "
            "reference"
        )
    return groups, left_out


@dataclass(frozen=True, eq=False)
class _Scored:
    """Scores of the rows of a place by part, and the means of goals' measures on tuning queries."""

    tuning: Mapping[str, Array]
    held_out: Mapping[str, Array]
    goals: Mapping[str, Mapping[str, float]]


def _scores(
    tables: SweepTables,
    run: Sequence[Mapping[str, Any]],
    options: SelectOptions,
    parts: tuple[tuple[str, ...], tuple[str, ...]],
) -> _Scored:
    row_ids = [row["row_id"] for row in run]
    wanted = {options.measure: None}
    wanted.update(dict.fromkeys(g.column for g in options.goals if g.column in tables.measures))
    queries, values = tables.scores(row_ids, list(wanted))
    first, second = (np.isin(queries, part) for part in parts)
    goals = {
        name: {
            row_id: float(np.nanmean(one)) if not np.isnan(one).all() else math.nan
            for row_id, one in zip(row_ids, scores[:, first], strict=True)
        }
        for name, scores in zip(wanted, values, strict=True)
    }
    return _Scored(
        dict(zip(row_ids, values[0][:, first], strict=True)),
        dict(zip(row_ids, values[0][:, second], strict=True)),
        goals,
    )


def _kind_of_reference(tables: SweepTables, text: str | None) -> str:
    """Tell what a text names: 'sweep', 'row' (encoder and configuration), 'configuration'."""
    rows = tables.rows
    if text is None:
        if not rows["is_reference"].any():
            raise InputError("the sweep has no reference: name one with the option reference")
        return "sweep"
    labels = (rows["encoder"] + " | " + rows["configuration"]).unique().sort().to_list()
    configurations = rows["configuration"].unique().sort().to_list()
    if text in labels or text in rows["row_id"]:
        return "row"
    if text in configurations:
        return "configuration"
    if "index" in rows.columns and text in rows["index"]:
        raise InputError(
            f"reference {text!r} is an index with several settings: name one of them, such as "
            f"{rows.filter(rows['index'] == text)['configuration'][0]!r}"
        )
    raise unknown_name("reference", text, [*configurations, *labels])


def _by_reference(
    rows: Sequence[Mapping[str, Any]], text: str | None, kind: str, place: Place
) -> Iterator[tuple[str | None, list[Mapping[str, Any]], Mapping[str, Any] | None]]:
    """Yield encoder, candidates and reference of each group of a place."""
    across = kind == "row"
    for encoder in [None] if across else dict.fromkeys(row["encoder"] for row in rows):
        mine = [row for row in rows if across or row["encoder"] == encoder]
        named = [row for row in mine if _is_reference(row, text, kind)]
        if len(named) > 1:
            raise InputError(
                f"{place}: {len(named)} rows are the reference of {encoder or 'all'}, such as "
                f"{_label(named[0])!r} and {_label(named[1])!r}: name one with the option reference"
            )
        reference = named[0] if named else None
        yield encoder, [row for row in mine if row is not reference], reference


def _is_reference(row: Mapping[str, Any], text: str | None, kind: str) -> bool:
    if kind == "sweep":
        return bool(row["is_reference"])
    if kind == "row":
        return text in (_label(row), row["row_id"])
    return bool(row["configuration"] == text)


def _group(
    place: Place,
    encoder: str | None,
    rows: Sequence[Mapping[str, Any]],
    reference: Mapping[str, Any],
    scored: _Scored,
    options: SelectOptions,
) -> Group:
    costs = np.array([options.cost.of(row, reference) for row in rows], dtype=np.float64)
    barriers = [_barrier(row, cost, scored, options) for row, cost in zip(rows, costs, strict=True)]
    own = scored.tuning[reference["row_id"]], scored.held_out[reference["row_id"]]
    parts = [
        np.stack([part.get(row["row_id"], np.full(len(like), np.nan)) for row in rows])
        if rows
        else np.zeros((0, len(like)))
        for part, like in zip((scored.tuning, scored.held_out), own, strict=True)
    ]
    reference_cost = options.cost.of(reference, reference)
    return Group(
        place=place,
        encoder=encoder,
        reference=reference,
        reference_cost=reference_cost,
        reference_fits=_barrier(reference, reference_cost, scored, options) is None,
        rows=tuple(rows),
        costs=costs,
        barriers=tuple(barriers),
        tuning=measure_part(parts[0], own[0], options.margin, options.rare_loss),
        tuning_self=measure_part(own[0][None], own[0], options.margin, None),
        held_out=parts[1],
        held_out_reference=own[1],
        tuning_queries=len(own[0]),
    )


def _barrier(
    row: Mapping[str, Any], cost: float, scored: _Scored, options: SelectOptions
) -> Barrier | None:
    if row["status"] != "ok":
        message = f": {row['message']}" if row["message"] else ""
        return "not run", f"{row['status']}{message}"
    for goal in options.goals:
        value = _goal_value(row, goal, scored)
        if math.isnan(value):
            return "unmeasured", f"{goal.column} was not measured"
        if not goal.met(value):
            where = " on tuning queries" if goal.column in scored.goals else ""
            return "goal", f"{goal.column} is {value:.4g}{where}, not {goal.sign} {goal.bound:g}"
    if math.isnan(cost):
        lacking = [name for name in options.cost.columns if row.get(name) is None]
        if lacking:
            return "unmeasured", f"{', '.join(lacking)} was not measured"
        return "unmeasured", f"{options.cost} cannot be told beside the reference's"
    return None


def _goal_value(row: Mapping[str, Any], goal: Goal, scored: _Scored) -> float:
    if goal.column in scored.goals:  # held-out queries must not decide who is a candidate
        return scored.goals[goal.column][row["row_id"]]
    value = row[goal.column]
    return math.nan if value is None else float(value)


def _label(row: Mapping[str, Any]) -> str:
    return f"{row['encoder']} | {row['configuration']}"


def _left_out(row: Mapping[str, Any], why: str) -> Candidate:
    return Candidate((row["row_id"],), row["encoder"], row["configuration"], None, "not run", why)
