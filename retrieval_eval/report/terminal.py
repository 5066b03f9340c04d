"""The leaderboard of a sweep, and tables of measures and differences, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from retrieval_eval.comparison import INTERVALS, MARGIN_TESTS

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "difference_marks",
    "legend_lines",
    "number",
    "print_leaderboard",
    "print_table",
    "print_text",
    "shown_p",
    "with_interval",
]

_UNBOUNDED = 10_000
_LATENCIES = ("latency_p50_s", "latency_p95_s")


def _console() -> Console:
    # A pipe or a file has no width to fit into; cells must not be cut there.
    return Console(width=None if sys.stdout.isatty() else _UNBOUNDED, highlight=False)


def number(value: float | None, digits: int) -> str:
    """Round for printing; unmeasured is empty."""
    return "" if value is None else f"{value:.{digits}f}"


def with_interval(
    value: float | None, low: float | None, high: float | None, mark: str = ""
) -> str:
    """Print a mean, a mark behind it, and its interval; empty if unmeasured."""
    if value is None or low is None or high is None:
        return number(value, 4)
    return f"{value:.4f}{mark} [{low:.3f}, {high:.3f}]"


def shown_p(p: float) -> str:
    """Print a p value without pretending to digits it has not."""
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"


def print_text(text: str) -> None:
    """Print a sentence, wrapped to the terminal, with an empty line before it."""
    _console().print(Text(f"\n{text}"))


def print_table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns are (header, whether its cells are numbers).

    Where the terminal is too narrow, headers and intervals go on lines of their own, and columns
    that still do not fit go into further tables below, each with the first columns of words.
    """
    console = _console()
    width = console.width
    table = _table(columns, rows)
    if _natural_width(console, table) > width:
        columns = [(header.replace(" ", "\n"), is_number) for header, is_number in columns]
        rows = [[cell.replace(" [", "\n[") for cell in row] for row in rows]
    words = next((i for i, (_, is_number) in enumerate(columns) if is_number), len(columns))
    keys = list(range(words))
    rest = list(range(words, len(columns)))
    while True:
        shown = list(rest)
        table = _pick(columns, rows, keys + shown)
        while len(shown) > 1 and _natural_width(console, table) > width:
            shown.pop()
            table = _pick(columns, rows, keys + shown)
        console.print(table)
        rest = rest[len(shown) :]
        if not rest:
            return


def _natural_width(console: Console, table: Table) -> int:
    return console.measure(table, options=console.options.update(max_width=_UNBOUNDED)).maximum


def _pick(
    columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]], places: Sequence[int]
) -> Table:
    return _table([columns[i] for i in places], [[row[i] for i in places] for row in rows])


def _table(columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for header, is_number in columns:
        table.add_column(header, justify="right" if is_number else "left", overflow="fold")
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
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
    marks = difference_marks(comparisons)
    filtered = rows["filter"].is_not_null().any()
    columns = [*([("dataset", False)] if several else []), ("encoder", False), ("index", False)]
    columns += [("filter", False), ("passes", True), ("filtering", False)] if filtered else []
    columns += [(measure, True) for measure in measures]
    columns += [(f"worse by <{margin:g} {name}", True) for name, margin in margins.items()]
    columns += [
        (f"neighbour recall@{sweep['neighbour_recall']}", True),
        ("p50 ms", True),
        ("p95 ms", True),
        ("queries /s", True),
        ("index MB", True),
        ("build s", True),
    ]
    cells = []
    for row in rows.iter_rows(named=True):
        line = [row["dataset"]] if several else []
        line += [row["encoder"], row["configuration"]]
        if filtered:
            passes = f"{100 * row['selectivity']:.3g} %"
            line += [row["filter"] or "none", passes, row["filtering"] or ""]
        if row["status"] != "ok":
            line += [row["status"], *[""] * (len(columns) - len(line) - 1)]
            cells.append(line)
            continue
        for measure in measures:
            mark = marks.get((row["row_id"], measure), (" ", None))[0]
            bounds = row[f"{measure}_lo"], row[f"{measure}_hi"]
            line.append(with_interval(row[measure], *bounds, mark))
        for name in margins:
            held = marks.get((row["row_id"], name), ("", None))[1]
            answer = {True: "yes", False: "no", None: ""}[held]
            line.append("reference" if row["is_reference"] else answer)
        noise = row["noise"] or ""
        noisy = "searching" in noise
        line += [
            number(row[recall], 4),
            *(_marked(number(_scaled(row[one], 1e3), 3), noisy) for one in _LATENCIES),
            _marked(number(row["qps"], 0), noisy),
            number(_scaled(row["size_bytes"], 1e-6), 2),
            _marked(number(row["build_s"], 2), "building" in noise),
        ]
        cells.append(line)
    print_table(columns, cells)
    console = _console()
    differences = _differences(comparisons, measures, several=several)
    if differences[1]:
        console.print()
        print_table(*differences)
    for sentence in legend_lines(rows, comparisons, manifest):
        console.print(Text(sentence))
    console.print(Text(f"results: {folder}"), soft_wrap=True)  # a path stays on one line


def _marked(text: str, noisy: bool) -> str:
    """Mark a timing; the others leave room for the mark, so that digits stand below digits."""
    return f"{text}{'~' if noisy else ' '}" if text else text


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def difference_marks(comparisons: pl.DataFrame) -> dict[tuple[str, str], tuple[str, bool | None]]:
    """For each row and measure: the mark of its difference, and whether a margin holds."""
    marks: dict[tuple[str, str], tuple[str, bool | None]] = {}
    for one in comparisons.iter_rows(named=True):
        if one["question"] == "index":
            mark = " "
            if one["significant"]:
                mark = "+" if one["difference"] > 0 else "-"
            held = one.get("noninferior")
            marks[one["candidate_row_id"], one["measure"]] = (mark, held)
    return marks


def _differences(
    comparisons: pl.DataFrame, measures: Sequence[str], *, several: bool
) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """Lay out the differences between encoders, and of combinations from their parts."""
    columns = [
        *([("dataset", False)] if several else []),
        ("difference of", False),
        ("from", False),
    ]
    columns += [(measure, True) for measure in measures]
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in comparisons.iter_rows(named=True):
        if one["question"] in ("encoder", "combination"):
            low, high = one["difference_lo"], one["difference_hi"]
            mark = "*" if one["significant"] else " "
            interval = "" if low is None or np.isnan(low) else f" [{low:+.3f}, {high:+.3f}]"
            shown = f"{one['difference']:+.4f}{mark}{interval} p {shown_p(one['p_adjusted'])}"
            pair = one["dataset"], one["candidate"], one["reference"]
            cells.setdefault(pair, {})[one["measure"]] = shown
    lines = [
        [*([name] if several else []), candidate, reference, *(found[one] for one in measures)]
        for (name, candidate, reference), found in cells.items()
    ]
    return columns, lines


def _drawn(compare: Mapping[str, Any], drawn: int) -> str:
    draws = compare["test"] in ("randomization", "bootstrap")
    return f", {drawn} draws" if draws else ""


def legend_lines(
    rows: pl.DataFrame, comparisons: pl.DataFrame, manifest: Mapping[str, Any]
) -> list[str]:
    """Return what marks and columns of a leaderboard mean, and what a reader must know."""
    sweep = manifest["sweep"]
    compare = sweep["compare"]
    lines: list[str] = []
    drawn = max(comparisons["draws"].to_list(), default=0) if len(comparisons) else 0
    if manifest["reference"] is None:
        lines.append("No reference among the indexes, so no comparison: set compare.reference.")
    else:
        families = "; ".join(f"{name}: {text}" for name, text in manifest["families"].items())
        lines.append(
            f"[low, high]: 95 % interval ({INTERVALS[compare['interval']]}). '+' or '-': differs "
            f"from {manifest['reference']!r} of the same encoder by a two-sided paired "
            f"{compare['test']} test at level {compare['alpha']:g}{_drawn(compare, drawn)}, "
            f"correction {compare['correction']} "
            f"over {families}; '*' and p between rows likewise."
        )
        if compare["margin"]:
            lines.append(
                "'worse by <': yes where the loss is shown to be smaller, by a "
                f"{MARGIN_TESTS[compare['margin_test']]}, corrected over the margins alike."
            )
    timing = sweep["timing"]
    lines.append(
        f"k={sweep['k']}, {sweep['metric']}. No time was measured (timing: none)."
        if timing is None
        else f"k={sweep['k']}, {sweep['metric']}. p50, p95: single queries; queries/s: one batch; "
        f"{timing['threads']} thread{'' if timing['threads'] == 1 else 's'}, "
        f"{timing['repeats']} repeats, {manifest['machine']['processor']}."
    )
    noisy = rows.filter(rows["noise"] != "")["noise"]
    if len(noisy):
        lines.append(
            f"~: timed on a noisy machine ({len(noisy)} of {len(rows)} rows; column 'noise'), such "
            f"as: {noisy[0]}."
        )
    lines += [f"note: {note}" for note in manifest["notes"]]
    messages = rows.filter(rows["status"] != "ok").select("status", "message").unique()
    lines += [f"{status}: {message}" for status, message in sorted(messages.iter_rows())]
    return lines
