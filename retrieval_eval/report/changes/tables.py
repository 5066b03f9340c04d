"""What changed between sweeps as tables, for a paper, a pull request or another program."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.report.changes.rows import (
    COSTS,
    Changes,
    CostChange,
    LoneRow,
    RowChange,
    RowName,
    Side,
)
from retrieval_eval.report.changes.text import changes_summary, conditions, signed, times
from retrieval_eval.report.exports import FORMS
from retrieval_eval.report.forms import markdown_table, markdown_text
from retrieval_eval.report.latex import PrintedCell, PrintedTable, paper_table
from retrieval_eval.report.terminal import number

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "changes_frame",
    "changes_table",
    "export_changes",
    "export_changes_file",
    "where_done",
]

_VERDICTS = {"better": "+", "worse": "-", "identical": "=", "not compared": "?"}
_MARKED = ("slower", "faster", "larger", "smaller")


def changes_table(changes: Changes, *, every: bool = False) -> PrintedTable:
    """Return the rows as people see them.

    Parameters
    ----------
    changes : Changes
        From :func:`retrieval_eval.report.changes.changes`.
    every : bool
        Whether rows without a change are in it, too.
    """
    a, b = changes.a.letter, changes.b.letter
    names = [one.name for one in changes.rows]
    names += [one.name for one in (*changes.only_a, *changes.only_b)]
    several = len({one.dataset for one in names}) > 1
    filtered = any(one.filter is not None for one in names)
    recall = next((row.recall.column for row in changes.rows if row.recall), None)
    costs = [name for name in COSTS if any(_measured(row, name) for row in changes.rows)]
    columns = [*([("dataset", False)] if several else []), ("encoder", False), ("index", False)]
    columns += [("filter", False)] if filtered else []
    columns += [("in", False)]
    for name in changes.measures:
        columns += [(f"{name} {a}", True), (f"{name} {b}", True), (f"{name} {b}-{a}", True)]
    if recall is not None:
        words = recall.replace("_", " ")
        columns += [(f"{words} {a}", True), (f"{words} {b}", True)]
    columns += [(f"{COSTS[name].ratio} {b}/{a}", True) for name in costs]

    def named(row: RowChange | LoneRow, where: str) -> list[PrintedCell]:
        name = row.name
        line = [name.dataset] if several else []
        line += [name.encoder, name.configuration]
        line += [name.filter or "none"] if filtered else []
        return [PrintedCell(text) for text in (*line, where)]

    lines: list[tuple[RowName, list[PrintedCell]]] = []
    for row in changes.rows:
        if every or row.changed:
            cells = named(row, where_done(row, a, b))
            cells += _quality_cells(row, changes.measures)
            if recall is not None:
                known = row.recall
                cells.append(PrintedCell(number(known.old if known else None, 4)))
                cells.append(PrintedCell(number(known.new if known else None, 4)))
            cells += [_cost_cell(_cost(row, name)) for name in costs]
            lines.append((row.name, cells))
    for letter, rows in ((a, changes.only_a), (b, changes.only_b)):
        for lone in rows:
            cells = named(lone, f"only {letter}")
            cells += _lone_cells(lone, changes.measures, first=letter == a)
            cells += [PrintedCell("")] * (len(columns) - len(cells))
            lines.append((lone.name, cells))
    places = [(name.dataset, name.filter) for name, _ in lines]
    starts = [one for one, place in enumerate(places) if not one or place != places[one - 1]]
    return PrintedTable(columns, [cells for _, cells in lines], frozenset(starts), _legend(changes))


def _legend(changes: Changes) -> list[str]:
    marks = (
        "+, -: significantly better or worse; =: identical on every query; ?: not compared. "
        "*: beyond the threshold; ~: not judged; 'same': one measurement, from the cache."
    )
    return [*conditions(changes), marks]


def where_done(row: RowChange, a: str, b: str) -> str:
    """Say in which of the two sweeps a row was done: ``both``, or where it was not."""
    if row.done:
        return "both"
    if row.old_status == row.new_status:
        return f"{row.new_status} in both"
    return ", ".join(
        f"{status} in {letter}"
        for letter, status in ((a, row.old_status), (b, row.new_status))
        if status != "ok"
    )


def _measured(row: RowChange, column: str) -> bool:
    found = _cost(row, column)
    return found is not None and found.verdict != "unmeasured"


def _cost(row: RowChange, column: str) -> CostChange | None:
    return next((one for one in row.costs if one.column == column), None)


def _quality_cells(row: RowChange, measures: Sequence[str]) -> Iterator[PrintedCell]:
    found = {one.measure: one for one in row.quality}
    for name in measures:
        one = found.get(name)
        if one is None:
            yield from [PrintedCell("")] * 3
            continue
        yield PrintedCell(number(one.old, 4))
        yield PrintedCell(number(one.new, 4))
        mark = _VERDICTS.get(one.verdict, "")
        known = one.low is not None and one.high is not None
        bounds = (f"{one.low:+.4f}", f"{one.high:+.4f}") if known else None
        text = "" if one.verdict == "identical" else signed(one.difference)
        yield PrintedCell(text, mark, bounds=bounds)


def _lone_cells(row: LoneRow, measures: Sequence[str], *, first: bool) -> Iterator[PrintedCell]:
    for name in measures:
        mean = PrintedCell(number(row.means.get(name), 4))
        yield from ((mean, PrintedCell("")) if first else (PrintedCell(""), mean))
        yield PrintedCell("")


def _cost_cell(change: CostChange | None) -> PrintedCell:
    if change is None or change.verdict == "unmeasured":
        return PrintedCell("")
    if change.verdict == "same measurement":
        return PrintedCell("same")
    mark = "*" if change.verdict in _MARKED else "~" if change.verdict == "not judged" else ""
    return PrintedCell(times(change.ratio), mark)


def changes_frame(changes: Changes | Sequence[Changes]) -> pl.DataFrame:
    """Return all rows with all figures, unrounded: one row a configuration and pair of sweeps.

    Columns are ``a`` and ``b``, the sweeps; ``where`` (``both``, or a letter); what the row is;
    ``row_id`` and ``status`` of both; ``causes``; and ``_a`` and ``_b`` of each figure with its
    difference or ratio, interval, p values and verdict. What is unknown is empty.

    Parameters
    ----------
    changes : Changes or sequence of Changes
        From :func:`retrieval_eval.report.changes.changes` or ``side_by_side``.
    """
    import polars as pl

    several = [changes] if isinstance(changes, Changes) else list(changes)
    records = [record for one in several for record in _records(one)]
    names = list(dict.fromkeys(name for record in records for name in record))
    whole = {name: pl.Int64 for name in names if name == "k" or name.endswith(("_n", "_differing"))}
    texts = ("_verdict", "_reason")
    words = {name: pl.String for name in names if name in _WORDS or name.endswith(texts)}
    flags = {name: pl.Boolean for name in names if name.endswith("_noninferior")}
    schema = {name: {**whole, **words, **flags}.get(name, pl.Float64) for name in names}
    return pl.DataFrame(
        [{name: record.get(name) for name in names} for record in records], schema=schema
    )


_WORDS = (
    *("a", "b", "where", "dataset", "filter", "encoder", "index", "configuration"),
    *("row_id_a", "row_id_b", "status_a", "status_b", "message", "causes", "note"),
)


def _records(changes: Changes) -> Iterator[dict[str, Any]]:
    for row in changes.rows:
        record = _named(changes, row, "both")
        record |= {"row_id_a": row.old_id, "row_id_b": row.new_id}
        record |= {"status_a": row.old_status, "status_b": row.new_status}
        record |= {"message": row.message, "causes": ", ".join(row.causes), "note": ""}
        for one in row.quality:
            facts: dict[str, Any] = {
                "a": one.old,
                "b": one.new,
                "difference": one.difference,
                "lo": one.low,
            }
            facts |= {"hi": one.high, "n": one.n, "n_differing": one.n_differing, "p": one.p}
            facts |= {"p_adjusted": one.p_adjusted, "verdict": one.verdict, "reason": one.reason}
            facts |= {} if one.margin is None else {"noninferior": one.noninferior}
            record |= {f"{one.measure}_{name}": value for name, value in facts.items()}
        if row.recall is not None:
            both = {"a": row.recall.old, "b": row.recall.new, "difference": row.recall.difference}
            record |= {f"{row.recall.column}_{name}": value for name, value in both.items()}
        for cost in row.costs:
            facts = {"a": cost.old, "b": cost.new, "ratio": cost.ratio}
            facts |= {"verdict": cost.verdict, "reason": cost.reason}
            record |= {f"{cost.column}_{name}": value for name, value in facts.items()}
        yield record
    for side, end, rows in ((changes.a, "a", changes.only_a), (changes.b, "b", changes.only_b)):
        for lone in rows:
            record = _named(changes, lone, side.letter)
            record |= {f"row_id_{end}": lone.row_id, f"status_{end}": lone.status}
            record |= {"note": lone.note}
            yield record | {f"{name}_{end}": mean for name, mean in lone.means.items()}


def _named(changes: Changes, row: RowChange | LoneRow, where: str) -> dict[str, Any]:
    name = row.name
    return {
        "a": changes.a.title,
        "b": changes.b.title,
        "where": where,
        "dataset": name.dataset,
        "filter": name.filter,
        "encoder": name.encoder,
        "index": name.index,
        "configuration": name.configuration,
        "k": name.k,
    }


def export_changes(
    changes: Changes | Sequence[Changes],
    form: str,
    *,
    every: bool = True,
    intervals: str = "brackets",
    caption: str | None = None,
    label: str | None = None,
    long: bool = False,
) -> str | bytes:
    """Write what changed as a table.

    Parameters
    ----------
    changes : Changes or sequence of Changes
        From :func:`retrieval_eval.report.changes.changes` or ``side_by_side``.
    form : {'csv', 'json', 'parquet', 'markdown', 'latex'}
        The first three hold :func:`changes_frame`, JSON with the summary and circumstances beside
        it; the others are rounded, one table for each pair of sweeps.
    every : bool
        Whether Markdown and LaTeX have rows without a change, too.
    intervals : {'brackets', 'subscript', 'none'}
        Where they stand in Markdown and LaTeX; subscripts in LaTeX only.
    caption : str, optional
        Of a table in Markdown or LaTeX.
    label : str, optional
        Of a table in LaTeX.
    long : bool
        Whether a table in LaTeX may run over several pages.

    Returns
    -------
    str or bytes
        Bytes for parquet. Text ends with a line end.

    Raises
    ------
    InputError
        For an unknown name, or an option without effect.
    """
    if form not in FORMS:
        raise unknown_name("form", form, FORMS)
    if intervals not in ("brackets", "subscript", "none"):
        raise unknown_name("place of intervals", intervals, ("brackets", "subscript", "none"))
    for name, given, forms in (
        ("every", not every, ("markdown", "latex")),
        ("intervals", intervals == "none", ("markdown", "latex")),
        ("intervals", intervals == "subscript", ("latex",)),
        ("caption", caption is not None, ("markdown", "latex")),
        ("label", label is not None, ("latex",)),
        ("long", long, ("latex",)),
    ):
        if given and form not in forms:
            raise InputError(f"option {name}: has no effect on changes as {form}")
    several = [changes] if isinstance(changes, Changes) else list(changes)
    if form == "markdown":
        return "\n\n".join(_markdown(one, every, intervals, caption) for one in several) + "\n"
    if form == "latex":
        return (
            "\n\n".join(
                paper_table(
                    changes_table(one, every=every),
                    intervals=intervals,
                    caption=caption,
                    label=label,
                    long=long,
                )
                for one in several
            )
            + "\n"
        )
    frame = changes_frame(several)
    if form == "csv":
        return frame.write_csv()
    if form == "parquet":
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        return buffer.getvalue()
    return _json(several, frame)


def export_changes_file(
    changes: Changes | Sequence[Changes],
    path: str | Path,
    *,
    form: str | None = None,
    **options: Any,
) -> Path:
    """Write what changed into a file; one that is there is replaced.

    Parameters
    ----------
    changes, **options
        As for :func:`export_changes`.
    path : str or Path
        Where to.
    form : str, optional
        By default what the suffix says.

    Raises
    ------
    InputError
        For an unknown form or suffix, or a path that cannot be written.
    """
    path = Path(path)
    found = form or next((one for one, end in FORMS.items() if end == path.suffix.lower()), None)
    if found is None:
        raise InputError(
            f"{path}: the suffix must be one of {', '.join(FORMS.values())}, or name the form"
        )
    content = export_changes(changes, found, **options)
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}") from None
    return path


def _markdown(changes: Changes, every: bool, intervals: str, caption: str | None) -> str:
    table = changes_table(changes, every=every)
    bounded = intervals == "brackets"
    cells = [
        [
            f"{one.text}{one.mark}"
            + (f" [{', '.join(one.bounds)}]" if one.bounds and bounded else "")
            for one in line
        ]
        for line in table.rows
    ]
    lines = [markdown_text(side.title) for side in (changes.a, changes.b)]
    parts = [] if caption is None else [f"**{markdown_text(caption)}**"]
    parts += ["  \n".join(lines), _bullets(changes_summary(changes))]
    if changes.circumstances:
        columns = [
            ("", False),
            ("what", False),
            (changes.a.letter, False),
            (changes.b.letter, False),
        ]
        facts = [(one.kind, one.what, one.old, one.new) for one in changes.circumstances]
        parts.append(markdown_table((columns, facts)))
    if cells:
        parts.append(markdown_table((table.columns, cells)))
    return "\n\n".join([*parts, _bullets(table.legend)])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def _json(several: Sequence[Changes], frame: pl.DataFrame) -> str:
    content = {
        "table": "changes",
        "pairs": [
            {
                "a": _side(one.a),
                "b": _side(one.b),
                "summary": list(changes_summary(one)),
                "conditions": list(conditions(one)),
                "circumstances": [
                    {"kind": fact.kind, "what": fact.what, "a": fact.old, "b": fact.new}
                    for fact in one.circumstances
                ],
            }
            for one in several
        ],
        "rows": [
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in record.items()
            }
            for record in frame.iter_rows(named=True)
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _side(side: Side) -> dict[str, str | int]:
    return {
        "letter": side.letter,
        "name": side.name,
        "created": side.created,
        "folder": side.folder,
        "rows": side.rows,
    }
