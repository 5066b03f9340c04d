"""Quality against cost, neighbour recall against quality, and what parameters do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from retrieval_eval.report.figures import Figure, recall_against_quality, tradeoff
from retrieval_eval.report.figures.frames import finite
from retrieval_eval.report.figures.looks import cost_quantity, plain_text
from retrieval_eval.report.figures.standard import COSTS, drawable_curves
from retrieval_eval.report.groups import FinishedSweep
from retrieval_eval.report.page.document import Section

if TYPE_CHECKING:
    import polars as pl

__all__ = ["tradeoffs_section"]

_MOST = 72
"""Figures of a page: each takes a tenth of a second to make, and 5 to 30 KB."""


def tradeoffs_section(results: FinishedSweep) -> Section | None:
    """Return the section of figures; None if nothing was measured that they could show.

    Parameters
    ----------
    results : Results
        A finished sweep.
    """
    rows = results.rows
    measures = list(results.manifest["sweep"]["measures"])
    recall = f"neighbour_recall@{results.manifest['sweep']['neighbour_recall']}"
    ran = rows.filter(rows["status"] == "ok")
    places = ran.select("dataset", "filter").unique(maintain_order=True).rows()
    parts: dict[str, Any] = {}
    listed: list[dict[str, Any]] = []
    left_out = 0
    made = 0
    # The first measure of every place comes first, so that a limit takes the rarer wishes.
    for measure in measures:
        for number, (dataset, filter_) in enumerate(places):
            if made >= _MOST:
                left_out += 1
                continue
            mine = rows.filter(
                (rows["dataset"] == dataset) & rows["filter"].eq_missing(_text(filter_))
            )
            figures = dict(_figures(mine, measure, recall))
            if figures:
                key = f"{number}-{measure}"
                parts[key] = {name: spec for name, (_, _, spec) in figures.items()}
                where = dataset if filter_ is None else f"{dataset}, {filter_}"
                listed.append(
                    {
                        "part": key,
                        "place": number,
                        "where": plain_text(where),
                        "measure": measure,
                        "figures": [
                            {"name": name, "kind": kind, "words": words}
                            for name, (kind, words, _) in figures.items()
                        ],
                    }
                )
            made += len(figures)
    if not listed:
        return None
    parts["list"] = listed
    return Section("tradeoffs", "Trade-offs", {"left_out": left_out}, parts)


def _text(value: str | None) -> Any:
    import polars as pl

    return pl.lit(value, pl.String)


def _figures(
    rows: pl.DataFrame, measure: str, recall: str
) -> Iterator[tuple[str, tuple[str, str, Figure]]]:
    """Yield name, and kind, words and specification, of what was measured."""
    ran = [row for row in rows.to_dicts() if row["status"] == "ok" and finite(row[measure])]
    if not ran:
        return
    measured = [name for name in COSTS if any(finite(row[name]) for row in ran)]
    for cost in measured:
        yield f"cost-{cost}", ("cost", cost_quantity(cost).words, tradeoff(rows, measure, cost))
    if any(finite(row[recall]) for row in ran):
        words = f"{measure} against neighbour recall"
        yield "recall", ("recall", words, recall_against_quality(rows, measure))
    columns = [measure, *(name for name in ("latency_p95_s",) if name in measured)]
    for parameter, column, spec in drawable_curves(rows, columns):
        words = f"{parameter}: {measure if column == measure else cost_quantity(column).words}"
        yield f"curve-{parameter}-{column}", ("curve", words, spec)
