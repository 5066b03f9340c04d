"""The cheapest configuration that is shown to lose less than a margin."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Measure, require_means
from retrieval_eval.selection.answers import answer_plan, joint_plans, plan_of
from retrieval_eval.selection.goals import COSTS, Cost, Goal, find_column
from retrieval_eval.selection.groups import deal_queries, find_groups
from retrieval_eval.selection.results import Selection, SelectOptions
from retrieval_eval.selection.tables import SweepTables, Tables, is_figure, read_tables

if TYPE_CHECKING:
    import polars as pl

__all__ = ["select"]

DEFAULT_MARGIN = 0.01
_DEFAULT_MEASURE = "nDCG@10"


def select(
    results: str | Path | SweepTables | Tables | pl.DataFrame,
    per_query: pl.DataFrame | None = None,
    *,
    measure: str | None = None,
    margin: float | None = None,
    cost: str | Cost = "latency_p95_s",
    where: Sequence[str | Goal] = (),
    reference: str | None = None,
    datasets: Sequence[str] = (),
    tune: float = 0.5,
    tuning_queries: Mapping[str, Collection[str]] | None = None,
    seed: int = 0,
    alpha: float = 0.05,
    family: Literal["all", "each"] = "all",
    rare_loss: float | None = None,
) -> Selection:
    """Choose the cheapest configuration that is not inferior to the reference.

    Queries are dealt into two parts. On the tuning part candidates are screened and ordered, from
    the surest to the cheapest; on the held-out part they are tested in that order, each at the
    whole level, until one fails. The last that passed is chosen. The chance that it loses the
    margin or more is at most the level, however many candidates there were (docs/selection.md).

    Parameters
    ----------
    results : path, results of a sweep, or polars.DataFrame
        The folder of a finished sweep; anything with ``rows``, ``per_query`` and ``manifest``, such
        as what :func:`retrieval_eval.run_sweep` returns; or a frame like ``results.parquet``.
    per_query : polars.DataFrame, optional
        Like ``per_query.parquet``, beside a frame.
    measure : str, optional
        Higher is better, a mean over queries. By default the first that the sweep sets a margin
        for, or nDCG@10, or the first.
    margin : float, optional
        How much of it may be lost. By default the sweep's, or 0.01.
    cost : str or Cost
        What is to be small: a column of :data:`COSTS`, or a sum of several with weights, each
        relative to the reference's.
    where : sequence of str or Goal
        What else a candidate has to reach, such as ``"size_bytes <= 1e9"``. Measures are taken on
        tuning queries, all other columns as they stand in the results.
    reference : str, optional
        A configuration, compared with the others of its encoder; or 'ENCODER | CONFIGURATION', or a
        row_id, compared with those of all encoders. By default the sweep's, within each encoder.
    datasets : sequence of str
        Only these; by default all.
    tune : float
        Share of the queries to choose by, between 0 and 1.
    tuning_queries : mapping of str to collection of str, optional
        The queries to choose by, for each dataset, instead of a share: those that something was
        tuned on before. All others are held out.
    seed : int
        Of dealing the queries.
    alpha : float
        Chance of a false certificate that is accepted, between 0 and 1.
    family : {'all', 'each'}
        Whether alpha holds for all answers together (each gets an equal share; answers that speak
        of several datasets at once are a family of their own), or for each alone.
    rare_loss : float, optional
        Guard against configurations that lose so much on few queries that a sample may hold none
        of them: the largest loss on one query, 1 for a measure from 0 to 1. By default the sample
        is trusted to show what there is, as :func:`retrieval_eval.comparison.gate` does.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        If a table cannot be read, a name is unknown, a number is out of range, there is no
        reference, or there are too few queries.

    References
    ----------
    Maurer, Hothorn & Lehmacher 1995, Multiple comparisons in drug clinical trials and preclinical
    assays: a-priori ordered hypotheses. Berger 1982, Multiparameter hypothesis testing and
    acceptance sampling (several datasets). Eimer, Lindauer & Raileanu 2023, Hyperparameters in
    reinforcement learning and how to tune them (choosing and reporting on different data).
    """
    tables = read_tables(results, per_query)
    given = _margins(tables)
    name = _measure(tables, measure, given)
    found_margin = margin if margin is not None else given.get(name, DEFAULT_MARGIN)
    options = SelectOptions(
        measure=name,
        margin=float(found_margin),
        cost=Cost.parse(cost) if isinstance(cost, str) else cost,
        goals=tuple(_goal(tables, one) for one in where),
        reference=reference,
        tune=None if tuning_queries is not None else tune,
        seed=seed,
        alpha=alpha,
        family=family,
        rare_loss=rare_loss,
    )
    _check(options)
    list(tables.cells(datasets))  # an unknown dataset is told before its queries are missed
    parts = deal_queries(tables, datasets, tune, seed, tuning_queries)
    groups, left_out = find_groups(tables, options, datasets, parts)
    singles = [plan_of([group], options) for group in groups]
    answers = []
    for plans in (singles, joint_plans(groups, options)):
        # How many have something to test was settled by tuning queries.
        tested = sum(len(plan.sequence) > 0 for plan in plans)
        level = alpha / max(1, tested) if family == "all" else alpha
        answers += [answer_plan(plan, options, level) for plan in plans]
    used = {group.place.dataset for group in groups}
    return Selection(
        options,
        tuple(answers),
        {dataset: both for dataset, both in parts.items() if dataset in used},
        tuple(left_out),
        tuple(_notes(tables, options, margin, given)),
    )


def _margins(tables: SweepTables) -> dict[str, float]:
    sweep = tables.manifest.get("sweep", {})
    margins = sweep.get("compare", {}).get("margin") or {}
    return {name: float(value) for name, value in margins.items()}


def _measure(tables: SweepTables, measure: str | None, margins: Mapping[str, float]) -> str:
    known = tables.measures
    if measure is None:
        if not known:
            raise InputError("per_query has no column of a measure")
        preferred = [*margins, _DEFAULT_MEASURE]
        name = next((one for one in preferred if one in known), known[0])
    else:
        name = find_column(measure, known, "measure", "")
    require_means([name])
    return name


def _goal(tables: SweepTables, goal: str | Goal) -> Goal:
    parsed = Goal.parse(goal) if isinstance(goal, str) else goal
    known = [name for name in tables.rows.columns if is_figure(tables.rows, name)]
    known += [name for name in tables.measures if name not in known]
    column = find_column(parsed.column, known, "column", f"goal {str(parsed)!r}")
    return Goal(column, parsed.sign, parsed.bound)


def _check(options: SelectOptions) -> None:
    margin, loss = options.margin, options.rare_loss
    if not 0 < margin < math.inf:
        raise InputError(f"the margin is {margin}: it must be above 0")
    if margin >= 1 and Measure.parse(options.measure).spec.range == "0 to 1":
        raise InputError(
            f"the margin is {margin:g}: {options.measure} lies between 0 and 1, so that such a "
            "loss is no margin"
        )
    if not 0 < options.alpha < 1:
        raise InputError(f"alpha is {options.alpha}: it must lie between 0 and 1")
    if options.tune is not None and not 0 < options.tune < 1:
        raise InputError(
            f"the share of tuning queries is {options.tune}: it must lie between 0 and 1"
        )
    if options.family not in ("all", "each"):
        raise unknown_name("family", options.family, ("all", "each"))
    if loss is not None and not margin < loss < math.inf:
        raise InputError(
            f"the rare loss is {loss}: it must be above the margin, {margin:g}; for a measure from "
            "0 to 1 it is 1"
        )


def _notes(
    tables: SweepTables,
    options: SelectOptions,
    margin: float | None,
    given: Mapping[str, float],
) -> list[str]:
    notes = []
    if margin is None:
        source = "the sweep's" if options.measure in given else "a default, as the sweep sets none"
        notes.append(f"the margin, {options.margin:g} {options.measure}, is {source}")
    everywhere = [
        goal.column
        for goal in options.goals
        if goal.column not in tables.measures and goal.column not in COSTS
    ]
    if everywhere:
        notes.append(
            f"{', '.join(dict.fromkeys(everywhere))}: measured on all queries, the held-out ones "
            "among them"
        )
    return notes
