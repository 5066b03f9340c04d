"""Tables of a finished sweep, for a page, a paper, a pull request or another program."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.report.comparisons import margin_answer
from retrieval_eval.report.forms import markdown_text
from retrieval_eval.report.groups import FinishedSweep, significance_groups
from retrieval_eval.report.latex import PrintedCell, PrintedTable, paper_table
from retrieval_eval.report.leaderboard import Leaderboard, leaderboard_table
from retrieval_eval.report.terminal import number, shown_p

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "FORMS",
    "TABLES",
    "ExportOptions",
    "export",
    "export_file",
]

FORMS: Mapping[str, str] = {
    "csv": ".csv",
    "json": ".json",
    "parquet": ".parquet",
    "markdown": ".md",
    "latex": ".tex",
}
"""Forms of an export, and the suffix of their files."""

TABLES = ("leaderboard", "per_query", "comparisons")


@dataclass(frozen=True)
class ExportOptions:
    """How a table is written.

    Parameters
    ----------
    columns : sequence of str or None
        Of the leaderboard, by their names in ``results.parquet``. None: in Markdown and LaTeX those
        of the terminal, otherwise all.
    groups : bool
        Whether rows of the leaderboard that cannot be told apart share letters.
    across_encoders : bool
        Whether letters are for all rows of a dataset and filter, rather than of each encoder.
    intervals : {'brackets', 'subscript', 'none'}
        Where 95 % intervals stand in Markdown and LaTeX; subscripts in LaTeX only.
    bold : bool
        Whether the best means are bold, in Markdown and LaTeX.
    caption : str or None
        Of a table in Markdown or LaTeX.
    label : str or None
        Of a table in LaTeX.
    long : bool
        Whether a table in LaTeX may run over several pages.
    """

    columns: Sequence[str] | None = None
    groups: bool = False
    across_encoders: bool = False
    intervals: Literal["brackets", "subscript", "none"] = "brackets"
    bold: bool = True
    caption: str | None = None
    label: str | None = None
    long: bool = False

    def check(self, form: str, table: str) -> None:
        """Refuse a value that is none, or that would have no effect.

        Raises
        ------
        InputError
            Naming the option.
        """
        if form not in FORMS:
            raise unknown_name("form", form, FORMS)
        if table not in TABLES:
            raise unknown_name("table", table, TABLES)
        if self.intervals not in ("brackets", "subscript", "none"):
            raise unknown_name("place of intervals", self.intervals, _PLACES)
        applying = {"caption"} if form == "markdown" else set()
        applying |= {"caption", "label", "long"} if form == "latex" else set()
        applying |= {"intervals"} if form in _PRINTED and table != "per_query" else set()
        if table == "leaderboard":
            applying |= {"columns", "groups", "across_encoders"}
            applying |= {"bold"} if form in _PRINTED else set()
        for one in fields(self):
            if one.name not in applying and getattr(self, one.name) != one.default:
                raise InputError(
                    f"option {one.name}: has no effect on the table {table!r} as {form}"
                )
        if self.intervals == "subscript" and form != "latex":
            raise InputError("intervals as subscripts: only LaTeX has them; use brackets")
        if self.across_encoders and not self.groups:
            raise InputError("option across_encoders: has no effect without groups")


_PLACES = ("brackets", "subscript", "none")
_PRINTED = ("markdown", "latex")


def export(
    results: FinishedSweep,
    form: str,
    table: str = "leaderboard",
    options: ExportOptions | None = None,
    **settings: Any,
) -> str | bytes:
    """Write a table of a finished sweep.

    CSV, JSON and parquet hold the figures as ``results/NAME`` has them, unrounded; the leaderboard
    has columns beside them: ``MEASURE_mark`` and ``MEASURE_best``, ``MEASURE_group`` if groups are
    asked for, and ``MEASURE_noninferior`` if it has a margin. Markdown and LaTeX round as the
    terminal does.

    Parameters
    ----------
    results : Results
        A finished sweep.
    form : {'csv', 'json', 'parquet', 'markdown', 'latex'}
        In CSV an empty field is unknown, empty text is ``""``, and a score that is undefined is
        ``NaN``; JSON has null for both.
    table : {'leaderboard', 'per_query', 'comparisons'}
        Which.
    options : ExportOptions
        How.
    **settings
        Single options, such as ``groups=True``, instead of, or over, `options`.

    Returns
    -------
    str or bytes
        Bytes for parquet. Text ends with a line end.

    Raises
    ------
    InputError
        For an unknown name, or an option without effect.

    """
    chosen = _options(options, settings)
    chosen.check(form, table)
    if form in _PRINTED:
        printed = _PRINTERS[table](results, chosen)
        if form == "markdown":
            return _markdown(printed, chosen) + "\n"
        return (
            paper_table(
                printed,
                intervals=chosen.intervals,
                caption=chosen.caption,
                label=chosen.label,
                long=chosen.long,
            )
            + "\n"
        )
    frame, legend = _frame(results, table, chosen)
    if form == "csv":
        return frame.write_csv()
    if form == "json":
        return _json(results, table, frame, legend)
    return _parquet(frame)


def export_file(
    results: FinishedSweep,
    path: str | Path,
    table: str = "leaderboard",
    options: ExportOptions | None = None,
    *,
    form: str | None = None,
    **settings: Any,
) -> Path:
    """Write a table of a finished sweep into a file; one that is there is replaced.

    Parameters
    ----------
    results, table, options, **settings
        As for :func:`export`.
    path : str or Path
        Where to. Its folder must be there.
    form : str, optional
        By default what the suffix says: .csv, .json, .parquet, .md or .tex.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        As :func:`export`; and for an unknown suffix, or a path that cannot be written.
    """
    path = Path(path)
    if form is None:
        form = next((one for one, end in FORMS.items() if end == path.suffix.lower()), None)
        if form is None:
            raise InputError(
                f"{path}: the suffix must be one of {', '.join(FORMS.values())}, or name the form"
            )
    content = export(results, form, table, options, **settings)
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}") from None
    return path


def _options(options: ExportOptions | None, settings: Mapping[str, Any]) -> ExportOptions:
    known = [one.name for one in fields(ExportOptions)]
    for name in settings:
        if name not in known:
            raise unknown_name("option", name, known)
    return replace(options or ExportOptions(), **settings)


def _board(results: FinishedSweep, options: ExportOptions) -> Leaderboard:
    groups = (
        significance_groups(results, across_encoders=options.across_encoders)
        if options.groups
        else []
    )
    return leaderboard_table(results, groups=groups)


def _frame(
    results: FinishedSweep, table: str, options: ExportOptions
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    import polars as pl

    if table != "leaderboard":
        return (results.per_query if table == "per_query" else results.comparisons), ()
    board = _board(results, options)
    added: list[pl.Series] = []
    for column in board.columns:
        cells = [row.cells[column.name] for row in board.rows]
        if column.kind == "margin":
            added.append(pl.Series(column.name, [one.value for one in cells], pl.Boolean))
        if column.kind == "measure":
            name = column.name
            added.append(pl.Series(f"{name}_mark", [one.mark for one in cells], pl.String))
            added.append(pl.Series(f"{name}_best", [one.best for one in cells], pl.Boolean))
            if options.groups:
                added.append(pl.Series(f"{name}_group", [one.group for one in cells], pl.String))
    frame = results.rows.with_columns(added)
    if options.columns is not None:
        wanted = ["row_id", *(one.name for one in board.chosen(options.columns))]
        ends = ("", "_lo", "_hi", "_mark", "_best", "_group")
        names = [f"{name}{end}" for name in dict.fromkeys(wanted) for end in ends]
        frame = frame.select([name for name in names if name in frame.columns])
    return frame, board.legend


def _json(results: FinishedSweep, table: str, frame: pl.DataFrame, legend: Sequence[str]) -> str:
    manifest = results.manifest
    content = {
        "sweep": {name: manifest.get(name) for name in ("name", "sweep_key", "created")},
        "table": table,
        "legend": list(legend),
        "rows": [
            {key: None if _no_number(value) else value for key, value in record.items()}
            for record in frame.iter_rows(named=True)
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _parquet(frame: pl.DataFrame) -> bytes:
    import io

    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _print_leaderboard(results: FinishedSweep, options: ExportOptions) -> PrintedTable:
    return _board(results, options).printed(options.columns, bold=options.bold)


def _print_per_query(results: FinishedSweep, _options: ExportOptions) -> PrintedTable:
    names = results.rows.select("row_id", "dataset", "encoder", "configuration", "filter")
    named = {row_id: facts for row_id, *facts in names.iter_rows()}
    frame = results.per_query
    measures = frame.columns[2:]
    columns = [("dataset", False), ("encoder", False), ("index", False), ("filter", False)]
    columns += [("query", False), *((name, True) for name in measures)]
    rows, starts, before = [], set(), None
    for place, (row_id, query, *values) in enumerate(frame.iter_rows()):
        if row_id != before:
            starts.add(place)
            before = row_id
        words = [*(one or "none" for one in named[row_id]), query]
        scores = ["" if one is None or math.isnan(one) else number(one, 4) for one in values]
        rows.append([PrintedCell(one) for one in (*words, *scores)])
    return PrintedTable(columns, rows, frozenset(starts))


def _print_comparisons(results: FinishedSweep, _options: ExportOptions) -> PrintedTable:
    margins = results.manifest["sweep"]["compare"]["margin"]
    columns = [("dataset", False), ("candidate", False), ("reference", False), ("measure", False)]
    columns += [("difference", True), ("win/tie/loss", True), ("effect", True), ("p", True)]
    columns += [("adjusted p", True), ("detectable", True)]
    columns += [("not worse by", False), ("equal up to", False)] if margins else []
    rows, starts, before = [], set(), None
    for place, one in enumerate(results.comparisons.iter_rows(named=True)):
        if (one["dataset"], one["question"]) != before:
            starts.add(place)
            before = one["dataset"], one["question"]
        low, high = one["difference_lo"], one["difference_hi"]
        line = [PrintedCell(one[name]) for name in ("dataset", "candidate", "reference", "measure")]
        difference = one["difference"]
        line.append(
            PrintedCell(
                "" if difference is None else f"{difference:+.4f}",
                mark="*" if one["significant"] else "",
                bounds=None if low is None or high is None else (f"{low:+.3f}", f"{high:+.3f}"),
            )
        )
        texts = [
            f"{one['wins']}/{one['ties']}/{one['losses']}",
            number(one["effect"], 2),
            *("" if one[name] is None else shown_p(one[name]) for name in ("p", "p_adjusted")),
            number(one["detectable"], 4),
        ]
        if margins:
            texts += [
                margin_answer(one["margin"], one[held], one[f"p_{held}"])
                for held in ("noninferior", "equivalent")
            ]
        rows.append([*line, *map(PrintedCell, texts)])
    families = dict(results.manifest["families"])
    legend = [
        "differences are candidate minus reference; *: significant after correction",
        *(f"family of {name}: {text}" for name, text in families.items()),
    ]
    return PrintedTable(columns, rows, frozenset(starts), legend)


_PRINTERS: Mapping[str, Callable[[FinishedSweep, ExportOptions], PrintedTable]] = {
    "leaderboard": _print_leaderboard,
    "per_query": _print_per_query,
    "comparisons": _print_comparisons,
}


def _markdown(table: PrintedTable, options: ExportOptions) -> str:
    columns = [(markdown_text(name), is_number) for name, is_number in table.columns]
    lines = [
        [name for name, _ in columns],
        ["--:" if is_number else ":--" for _, is_number in columns],
        *([_markdown_cell(one, options.intervals) for one in line] for line in table.rows),
    ]
    parts = [] if options.caption is None else [f"**{markdown_text(options.caption)}**"]
    parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts += (
        ["\n".join(f"- {markdown_text(line)}" for line in table.legend)] if table.legend else []
    )
    return "\n\n".join(parts)


def _markdown_cell(one: PrintedCell, intervals: str) -> str:
    text = f"{one.text}{one.mark}"
    shown = f"**{markdown_text(text)}**" if one.bold else markdown_text(text)
    if one.letters:
        shown += f" {one.letters}"
    return shown + (f" [{', '.join(one.bounds)}]" if one.bounds and intervals == "brackets" else "")
