"""Systems over several datasets as a page: their means, and the orders that these add up to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_eval.comparison import aggregate_ranks
from retrieval_eval.comparison.intervals import mean_intervals
from retrieval_eval.comparison.orders import AGGREGATIONS, RankAggregation
from retrieval_eval.comparison.orders.aggregation import average_ranks
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation
from retrieval_eval.report.page.document import Section, assemble

__all__ = ["aggregate_all", "changed_pairs", "ranks_section", "write_ranks_page"]

_WORDS = {"mean": "mean", "borda": "Borda", "kemeny": "Kemeny"}


def aggregate_all(
    evaluations: Mapping[str, Sequence[Evaluation]],
    measure: str,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> list[RankAggregation]:
    """Order the same runs over several datasets in every way there is.

    Parameters
    ----------
    evaluations, measure, draws, seed
        As for :func:`retrieval_eval.comparison.aggregate_ranks`.

    Returns
    -------
    list of RankAggregation
        By mean, Borda, and Kemeny if there are 12 runs or fewer.

    Raises
    ------
    InputError
        As :func:`retrieval_eval.comparison.aggregate_ranks` does.
    """
    from retrieval_eval.comparison.orders.aggregation import MOST_KEMENY_SYSTEMS

    many = max((len(runs) for runs in evaluations.values()), default=0) > MOST_KEMENY_SYSTEMS
    return [
        aggregate_ranks(evaluations, measure, method=method, draws=draws, seed=seed)
        for method in AGGREGATIONS
        if not (many and method == "kemeny")
    ]


def ranks_section(
    evaluations: Mapping[str, Sequence[Evaluation]],
    measure: str,
    orders: Sequence[RankAggregation],
    notes: Sequence[str] = (),
) -> Section:
    """Return the section with means by dataset, and places by each way to put them together.

    Parameters
    ----------
    evaluations : mapping of str to sequence of Evaluation
        Dataset name to one evaluation of each run.
    measure : str
        The measure.
    orders : sequence of RankAggregation
        From :func:`aggregate_all`, of the same evaluations; systems are listed by the first.
    notes : sequence of str
        What the datasets are, in sentences.

    Raises
    ------
    InputError
        If there is no order.
    """
    if not orders:
        raise InputError("a page of ranks needs an order: give at least one aggregation")
    first = orders[0]
    listed = sorted(range(len(first.systems)), key=lambda row: first.position[row])
    by_name = {
        dataset: {one.run_name: one for one in runs} for dataset, runs in evaluations.items()
    }
    columns = [
        _column(name, [runs[system] for system in first.systems], measure)
        for name, runs in by_name.items()
    ]
    return Section(
        "ranks",
        "Places and means",
        {
            "measure": measure,
            "notes": list(notes),
            "draws": first.draws,
            "seed": first.seed,
            "orders": [{"method": one.method, "words": _WORDS[one.method]} for one in orders],
            "systems": [
                {
                    "name": first.systems[row],
                    "places": [_place(one, row) for one in orders],
                    "cells": [column["cells"][row] for column in columns],
                }
                for row in listed
            ],
            "datasets": [
                {"name": name, "queries": count}
                for name, count in zip(first.datasets, first.n_queries, strict=True)
            ],
            "swaps": [
                f"{ahead} is ahead of {behind} by {first.method}, not by {method}"
                for ahead, behind, method in changed_pairs(orders)
            ],
        },
    )


def _column(name: str, runs: Sequence[Evaluation], measure: str) -> dict[str, Any]:
    """Return mean, interval and rank of each system on one dataset."""
    ids = runs[0].query_ids
    values = np.array([one.per_query(measure)[_order(one.query_ids, ids)] for one in runs])
    values = values[:, ~np.isnan(values).any(axis=0)]
    means, bounds = values.mean(axis=1), mean_intervals(values)
    ranks = average_ranks(means)
    cells = [
        {
            "value": float(mean),
            "shown": f"{mean:.4f}",
            "interval": "" if np.isnan(low) else f"[{low:.3f}, {high:.3f}]",
            "rank": f"{rank:g}",
            "best": rank == ranks.min(),
        }
        for mean, (low, high), rank in zip(means, bounds, ranks, strict=True)
    ]
    return {"name": name, "cells": cells}


def _order(mine: Sequence[str], wanted: Sequence[str]) -> list[int]:
    place = {query: number for number, query in enumerate(mine)}
    return [place[query] for query in wanted]


def _place(order: RankAggregation, row: int) -> dict[str, Any]:
    """Return a system's place, as text and as parts of the width of a bar."""
    last = max(len(order.systems) - 1, 1)
    place, low, high = order.position[row], order.low[row], order.high[row]
    return {
        "value": place,
        "shown": f"{place:g}",
        "interval": f"{low:g} to {high:g}",
        "first": f"{100 * order.first[row]:.0f} %",
        "left": f"{100 * (low - 1) / last:.2f}",
        "width": f"{100 * (high - low) / last:.2f}",
        "dot": f"{100 * (place - 1) / last:.2f}",
    }


def changed_pairs(orders: Sequence[RankAggregation]) -> list[tuple[str, str, str]]:
    """Find the pairs of systems that the first order and another one put in opposite ways.

    Parameters
    ----------
    orders : sequence of RankAggregation
        Of the same systems.

    Returns
    -------
    list of (str, str, str)
        The one ahead by the first order, the other, and the method that has them the other way.
    """
    first, *others = orders
    listed = sorted(range(len(first.systems)), key=lambda row: first.position[row])
    return [
        (first.systems[a], first.systems[b], one.method)
        for one in others
        for a, b in itertools.combinations(listed, 2)
        if first.position[a] < first.position[b] and one.position[a] > one.position[b]
    ]


def write_ranks_page(
    path: str | Path,
    evaluations: Mapping[str, Sequence[Evaluation]],
    measure: str,
    orders: Sequence[RankAggregation],
    *,
    title: str = "Systems over several datasets",
    notes: Sequence[str] = (),
) -> Path:
    """Write the page: one file that needs no other, and no script.

    Parameters
    ----------
    path : str or Path
        Where to; a file that is there is replaced.
    evaluations, measure, orders, notes
        As for :func:`ranks_section`.
    title : str
        Of the page.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    target = Path(path)
    subtitle = f"{measure}, {len(evaluations)} datasets, {len(orders[0].systems)} systems"
    section = ranks_section(evaluations, measure, orders, notes)
    text = assemble(title, [section], subtitle=subtitle, figures=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target
