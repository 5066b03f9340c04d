"""The leaderboard of a sweep, and tables of measures and differences, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import polars as pl

__all__ = ["number", "print_leaderboard", "print_table", "shown_p", "with_interval"]

_WIDE = 10_000


def _console() -> Console:
    # A pipe or a file has no width to fit into; cells must not be cut there.
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def number(value: float | None, digits: int) -> str:
    """Round for printing; unmeasured is empty."""
    return "" if value is None else f"{value:.{digits}f}"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Print a mean with its interval; empty if unmeasured."""
    if value is None or low is None or high is None:
        return number(value, 4)
    return f"{value:.4f} [{low:.3f}, {high:.3f}]"


def shown_p(p: float) -> str:
    """Print a p value without pretending to digits it has not."""
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"


def print_table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns are (header, whether its cells are numbers)."""
    console = _console()
    console.print(_table(columns, rows))


def _table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for header, is_number in columns:
        # Words keep together while there is room, and break at spaces where there is none.
        table.add_column(header, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_leaderboard(
    rows: pl.DataFrame, comparisons: pl.DataFrame, manifest: Mapping[str, Any], folder: Path
) -> None:
    """Print one row a configuration, the comparison of encoders, the legend, and the folder.

    Parameters
    ----------
    rows, comparisons : polars.DataFrame
        As in ``results.parquet`` and ``comparisons.parquet``.
    manifest : mapping
        As in ``manifest.json``.
    folder : Path
        Where they lie.
    """
    sweep = manifest["sweep"]
    measures: list[str] = sweep["measures"]
    recall = f"neighbour_recall@{sweep['neighbour_recall']}"
    margins: dict[str, float] = sweep["compare"]["margin"]
    several = rows["dataset"].n_unique() > 1
    marks = _marks(comparisons)
    columns = [*([("dataset", False)] if several else []), ("encoder", False), ("index", False)]
    columns += [(measure, True) for measure in measures]
    columns += [(f"not worse by {margin:g} {name}", False) for name, margin in margins.items()]
    columns += [
        (f"recall@{sweep['neighbour_recall']} vs exact", True),
        ("p50 ms", True),
        ("p95 ms", True),
        ("queries/s", True),
        ("index MB", True),
        ("build s", True),
    ]
    cells = []
    for row in rows.iter_rows(named=True):
        line = [row["dataset"]] if several else []
        line += [row["encoder"], row["configuration"]]
        if row["status"] != "ok":
            line += [row["status"], *[""] * (len(columns) - len(line) - 1)]
            cells.append(line)
            continue
        for measure in measures:
            value = with_interval(row[measure], row[f"{measure}_lo"], row[f"{measure}_hi"])
            mark = marks.get((row["row_id"], measure), (" ", None))[0]
            line.append(f"{value} {mark}")
        for name in margins:
            held = marks.get((row["row_id"], name), ("", None))[1]
            shown = "reference" if row["is_reference"] else {True: "yes", False: "no", None: ""}
            line.append(shown if isinstance(shown, str) else shown[held])
        line += [
            number(row[recall], 4),
            number(_scaled(row["latency_p50_s"], 1e3), 3),
            number(_scaled(row["latency_p95_s"], 1e3), 3),
            number(row["qps"], 0),
            number(_scaled(row["size_bytes"], 1e-6), 2),
            number(row["build_s"], 2),
        ]
        cells.append(line)
    console = _console()
    console.print(_table(columns, cells))
    for line in _footer(rows, comparisons, manifest):
        console.print(Text(line))
    console.print(Text(f"results: {folder}"))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _marks(comparisons: pl.DataFrame) -> dict[tuple[str, str], tuple[str, bool | None]]:
    """For each row and measure: the mark of its difference, and whether a margin holds."""
    marks: dict[tuple[str, str], tuple[str, bool | None]] = {}
    for one in comparisons.iter_rows(named=True):
        if one["question"] == "index":
            mark = " "
            if one["significant"]:
                mark = "+" if one["difference"] > 0 else "-"
            held = one.get("not_inferior")
            marks[one["candidate_row_id"], one["measure"]] = (mark, held)
    return marks


def _footer(
    rows: pl.DataFrame, comparisons: pl.DataFrame, manifest: Mapping[str, Any]
) -> list[str]:
    sweep = manifest["sweep"]
    compare = sweep["compare"]
    level = f"{100 * (1 - compare['alpha']):g} %"
    lines = []
    for one in comparisons.iter_rows(named=True):
        if one["question"] == "encoder":
            lines.append(
                f"{one['candidate']} minus {one['reference']}, {one['measure']}: "
                f"{one['difference']:+.4f} [{one['difference_lo']:+.4f}, "
                f"{one['difference_hi']:+.4f}], adjusted p {shown_p(one['p_adjusted'])}"
                f"{'' if one['significant'] else ' (not significant)'}"
            )
    if manifest["reference"] is None:
        lines.append("No reference among the indexes, so no comparison: set compare.reference.")
    else:
        families = "; ".join(f"{name}: {text}" for name, text in manifest["families"].items())
        lines.append(
            f"[low, high]: {level} bootstrap interval. '+' or '-': differs from "
            f"{manifest['reference']!r} of the same encoder by a two-sided paired "
            f"{compare['test']} test, {compare['draws']} draws, correction {compare['correction']} "
            f"over {families}."
        )
        if compare["margin"]:
            lines.append(
                "'not worse by': one-sided paired t test of non-inferiority at "
                f"level {compare['alpha']:g}, not corrected."
            )
    timing = sweep["timing"]
    lines.append(
        f"k={sweep['k']}, {sweep['metric']}. p50, p95: single queries; queries/s: one batch; "
        f"{timing['threads']} thread{'' if timing['threads'] == 1 else 's'}, "
        f"{timing['repeats']} repeats, {manifest['machine']['processor']}."
    )
    lines += [f"note: {note}" for note in manifest["notes"]]
    messages = rows.filter(rows["status"] != "ok").select("status", "message").unique()
    lines += [f"{status}: {message}" for status, message in sorted(messages.iter_rows())]
    return lines
