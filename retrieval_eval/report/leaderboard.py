"""The leaderboard of a finished sweep as data: what all exports and the page show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from retrieval_eval.errors import unknown_name
from retrieval_eval.report.groups import FinishedSweep, SignificanceGroup, groups_legend
from retrieval_eval.report.latex import PrintedCell, PrintedTable
from retrieval_eval.report.terminal import difference_marks, legend_lines, number

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Cell", "Column", "Leaderboard", "LeaderboardRow", "leaderboard_table"]

_EQUAL = 1e-9  # means of the same scores, summed in another order, are as good as each other
_MARGIN = "_noninferior"


@dataclass(frozen=True)
class Cell:
    """A value of the leaderboard, as the parquet file has it: unrounded, in its unit.

    Parameters
    ----------
    value : float, int, str, bool or None
        None: not measured.
    low, high : float or None
        95 % interval of a mean.
    mark : str
        Of a measure: ``+`` or ``-`` if the row differs significantly from the reference of its
        encoder. Of a timing: ``~`` if the machine was noisy.
    group : str
        Letters of :func:`retrieval_eval.report.groups.significance_groups`.
    best : bool
        Whether no row of the dataset and filter has a better mean of this measure.
    """

    value: float | int | str | bool | None
    low: float | None = None
    high: float | None = None
    mark: str = ""
    group: str = ""
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard.

    Parameters
    ----------
    name : str
        As in ``results.parquet``; ``MEASURE_noninferior`` for a margin.
    header : str
        As people see it, with its unit.
    kind : {'text', 'measure', 'margin', 'figure'}
        What it holds.
    factor : float
        By which figures are multiplied to be shown in the header's unit.
    digits : int or None
        To which they are rounded then, behind the point; None: to significant ones.
    better : {'higher', 'lower', ''}
        Which figures are better.
    default : bool
        Whether it is shown if nobody chooses columns: those of the terminal.
    significant : int
        Significant digits of figures without `digits`; whole numbers have all of theirs.
    """

    name: str
    header: str
    kind: Literal["text", "measure", "margin", "figure"]
    factor: float = 1
    digits: int | None = None
    better: Literal["higher", "lower", ""] = ""
    default: bool = False
    significant: int = 6

    def shown(self, value: float | int | str | bool | None) -> str:
        """Round for printing; unmeasured is empty."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return value
        if self.digits is None:
            shown = value * self.factor
            return str(shown) if isinstance(shown, int) else f"{shown:.{self.significant}g}"
        return number(value * self.factor, self.digits)


@dataclass(frozen=True, eq=False)
class LeaderboardRow:
    """A configuration.

    Parameters
    ----------
    row_id, dataset, filter, status : str; filter may be None
        As in ``results.parquet``.
    is_reference : bool
        Whether the others of its encoder are compared with it.
    cells : mapping of str to Cell
        By the names of the columns.
    """

    row_id: str
    dataset: str
    filter: str | None
    status: str
    is_reference: bool
    cells: Mapping[str, Cell]


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """All rows of a sweep, with marks, letters, and what these mean.

    Parameters
    ----------
    name : str
        Of the sweep.
    columns : tuple of Column
        First those of the terminal, then all others of ``results.parquet``.
    rows : tuple of LeaderboardRow
        In the order of the sweep.
    legend : tuple of str
        What was done, and what marks mean, in sentences.
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[LeaderboardRow, ...]
    legend: tuple[str, ...]

    def chosen(self, names: Sequence[str] | None = None) -> tuple[Column, ...]:
        """Return the columns of these names, in their order; without names, the default ones.

        Raises
        ------
        InputError
            For an unknown name.
        """
        if names is None:
            return tuple(one for one in self.columns if one.default)
        known = {one.name: one for one in self.columns}
        for name in names:
            if name not in known:
                raise unknown_name("column", name, known)
        return tuple(known[name] for name in names)

    def printed(self, names: Sequence[str] | None = None, *, bold: bool = True) -> PrintedTable:
        """Return what people see: rounded as on a terminal, datasets and filters one by one.

        Parameters
        ----------
        names : sequence of str, optional
            Columns; by default those of the terminal.
        bold : bool
            Whether the best means are marked.
        """
        columns = self.chosen(names)
        parts: dict[tuple[str, str | None], list[LeaderboardRow]] = {}
        for row in self.rows:
            parts.setdefault((row.dataset, row.filter), []).append(row)
        first = next((one for one in columns if one.kind == "measure"), None)
        rows: list[list[PrintedCell]] = []
        starts = set()
        for part in parts.values():
            starts.add(len(rows))
            rows += [
                [_printed(row, one, bold=bold, first=one is first) for one in columns]
                for row in part
            ]
        headers = [(one.header, one.kind in ("measure", "figure")) for one in columns]
        legend = list(self.legend)
        if bold and any(one.bold for line in rows for one in line):
            legend.append("bold: the best mean of its dataset and filter")
        return PrintedTable(headers, rows, frozenset(starts), legend)


def _printed(row: LeaderboardRow, column: Column, *, bold: bool, first: bool) -> PrintedCell:
    cell = row.cells[column.name]
    if row.status != "ok" and column.kind != "text":
        return PrintedCell(row.status if first else "")
    if column.kind == "margin":
        return PrintedCell("reference" if row.is_reference else column.shown(cell.value))
    if column.name == "filter" and cell.value is None:
        return PrintedCell("none")
    text = column.shown(cell.value)
    if not text:
        return PrintedCell("")
    known = cell.low is not None and cell.high is not None
    bounds = (number(cell.low, 3), number(cell.high, 3)) if known else None
    return PrintedCell(text, cell.mark, cell.group, bounds, bold and cell.best)


_FIGURES: Mapping[str, tuple[str, float, int, Literal["higher", "lower", ""]]] = {
    "latency_p50_s": ("p50 ms", 1e3, 3, "lower"),
    "latency_p95_s": ("p95 ms", 1e3, 3, "lower"),
    "latency_p99_s": ("p99 ms", 1e3, 3, "lower"),
    "qps": ("queries /s", 1, 0, "higher"),
    "size_bytes": ("index MB", 1e-6, 2, "lower"),
    "peak_rss_bytes": ("peak MB", 1e-6, 2, "lower"),
    "build_s": ("build s", 1, 2, "lower"),
    "train_s": ("train s", 1, 2, "lower"),
    "encode_documents_s": ("encode documents s", 1, 2, "lower"),
    "encode_queries_s": ("encode queries s", 1, 2, "lower"),
    "combine_s": ("combine s", 1, 2, "lower"),
}
_DEFAULTS = ("latency_p50_s", "latency_p95_s", "qps", "size_bytes", "build_s")
_WORDS = {"configuration": "index", "index": "kind of index"}
_TIMED = {"latency_p50_s", "latency_p95_s", "latency_p99_s", "qps"}


def leaderboard_table(
    results: FinishedSweep,
    *,
    groups: Sequence[SignificanceGroup] = (),
    datasets: Sequence[str] = (),
) -> Leaderboard:
    """Put the rows of a sweep together with their marks, letters and intervals.

    Parameters
    ----------
    results : Results
        A finished sweep.
    groups : sequence of SignificanceGroup
        From :func:`retrieval_eval.report.groups.significance_groups`; without, no letters.
    datasets : sequence of str
        Only these; by default all.

    Raises
    ------
    InputError
        For an unknown dataset.
    """
    rows, comparisons, manifest = results.rows, results.comparisons, results.manifest
    known = rows["dataset"].unique(maintain_order=True).to_list()
    for name in datasets:
        if name not in known:
            raise unknown_name("dataset", name, known)
    if datasets:
        rows = rows.filter(rows["dataset"].is_in(list(datasets)))
    sweep = manifest["sweep"]
    measures = tuple(sweep["measures"])
    columns = tuple(_columns(rows, sweep, measures))
    marks = difference_marks(comparisons)
    letters = {
        (row_id, measure): mine
        for group in groups
        for row_id, measure, mine in group.by_row()
        if mine
    }
    records = rows.to_dicts()
    best = _best(records, measures)
    made = []
    for record in records:
        cells = {}
        for column in columns:
            key = record["row_id"], column.name
            value = record.get(column.name)
            if column.kind == "measure":
                cells[column.name] = Cell(
                    value,
                    record[f"{column.name}_lo"],
                    record[f"{column.name}_hi"],
                    marks.get(key, ("", None))[0].strip(),
                    letters.get(key, ""),
                    key in best,
                )
            elif column.kind == "margin":
                of_measure = record["row_id"], column.name.removesuffix(_MARGIN)
                cells[column.name] = Cell(marks.get(of_measure, ("", None))[1])
            else:
                noise = record.get("noise") or ""
                noisy = ("searching" in noise and column.name in _TIMED) or (
                    "building" in noise and column.name in ("build_s", "train_s")
                )
                cells[column.name] = Cell(value, mark="~" if noisy and value is not None else "")
        made.append(
            LeaderboardRow(
                record["row_id"],
                record["dataset"],
                record["filter"],
                record["status"],
                bool(record["is_reference"]),
                cells,
            )
        )
    legend = [*legend_lines(_with_noise(rows), comparisons, manifest), *groups_legend(groups)]
    return Leaderboard(str(manifest.get("name", "")), columns, tuple(made), tuple(legend))


def _with_noise(rows: pl.DataFrame) -> pl.DataFrame:
    """Complete a table that was written before noise was looked for."""
    import polars as pl

    if "noise" in rows.columns:
        return rows
    return rows.with_columns(pl.lit(None, pl.String).alias("noise"))


def _columns(
    rows: pl.DataFrame, sweep: Mapping[str, Any], measures: Sequence[str]
) -> Iterator[Column]:
    """Describe the columns: those of the terminal in its order, then the others."""
    several = rows["dataset"].n_unique() > 1
    filtered = rows["filter"].is_not_null().any()
    recall = f"neighbour_recall@{sweep['neighbour_recall']}"
    margins = {
        f"{of}{_MARGIN}": f"worse by <{margin:g} {of}"
        for of, margin in sweep["compare"]["margin"].items()
    }
    first = [*(["dataset"] if several else []), "encoder", "configuration"]
    first += ["filter", "selectivity", "filtering"] if filtered else []
    first += [*measures, *margins, recall, *_DEFAULTS]
    bounds = {f"{name}{end}" for name in measures for end in ("_lo", "_hi")}
    others = [name for name in rows.columns if name not in first and name not in bounds]
    for name in [*first, *others]:
        default = name in first
        plain = name.replace("_", " ")
        if name in measures:
            yield Column(name, name, "measure", 1, 4, "higher", default)
        elif name in margins:
            yield Column(name, margins[name], "margin", default=True)
        elif name == recall:
            yield Column(name, plain, "figure", 1, 4, "higher", default)
        elif name in _FIGURES:
            header, factor, digits, better = _FIGURES[name]
            yield Column(name, header, "figure", factor, digits, better, default)
        elif name == "selectivity":
            yield Column(name, "passes %", "figure", 100, default=default, significant=3)
        elif rows.schema[name].is_numeric():
            yield Column(name, plain, "figure", default=default)
        else:
            yield Column(name, _WORDS.get(name, plain), "text", default=default)


def _best(records: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> set[tuple[str, str]]:
    """Find the rows and measures that no other of the dataset and filter exceeds."""
    highest: dict[tuple[str, str | None, str], float] = {}
    for record in records:
        for name in measures:
            if record[name] is not None:
                place = record["dataset"], record["filter"], name
                highest[place] = max(highest.get(place, -math.inf), record[name])
    return {
        (record["row_id"], name)
        for record in records
        for name in measures
        if record[name] is not None
        and record[name] >= highest[record["dataset"], record["filter"], name] - _EQUAL
    }
