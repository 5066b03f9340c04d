"""The leaderboard of the page: every row and column, for the reader to sort, filter and choose."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retrieval_eval.report.figures.curves import parameters_of
from retrieval_eval.report.groups import FinishedSweep, SignificanceGroup
from retrieval_eval.report.leaderboard import Column, Leaderboard, LeaderboardRow, leaderboard_table
from retrieval_eval.report.page.document import Section
from retrieval_eval.report.terminal import number

__all__ = ["leaderboard_section"]

_VALUES = 40
"""Settings with more distinct values than these are found by their text, not by a list."""


def leaderboard_section(
    results: FinishedSweep, groups: Sequence[SignificanceGroup] = ()
) -> Section:
    """Return the section with all rows.

    Parameters
    ----------
    results : Results
        A finished sweep.
    groups : sequence of SignificanceGroup
        Letters, from :func:`retrieval_eval.report.groups.significance_groups`.
    """
    board = leaderboard_table(results, groups=groups)
    columns = [one for one in board.columns if _filled(board, one) or one.default]
    failed = sum(row.status == "failed" for row in board.rows)
    return Section(
        "leaderboard",
        "Leaderboard",
        {"legend": board.legend, "rows": len(board.rows), "failed": failed},
        {
            "table": {
                "columns": [
                    {
                        "name": one.name,
                        "header": one.header,
                        "kind": one.kind,
                        "better": one.better,
                        "default": one.default,
                        **_content(board.rows, one),
                    }
                    for one in columns
                ],
                "row_id": [row.row_id for row in board.rows],
                "status": [row.status for row in board.rows],
                "reference": [int(row.is_reference) for row in board.rows],
                "settings": _settings(results.rows.to_dicts()),
            }
        },
    )


def _filled(board: Leaderboard, column: Column) -> bool:
    return any(row.cells[column.name].value is not None for row in board.rows)


def _content(rows: Iterable[LeaderboardRow], column: Column) -> dict[str, list[Any]]:
    """Return the cells of a column: values as the parquet has them, and how they are shown.

    What is nowhere there is left out.
    """
    cells = [row.cells[column.name] for row in rows]
    content: dict[str, list[Any]] = {"values": [_json(cell.value) for cell in cells]}
    shown = [column.shown(cell.value) for cell in cells]
    if shown != content["values"]:
        content["shown"] = shown
    if column.kind == "measure":
        content["low"] = [_json(cell.low) for cell in cells]
        content["high"] = [_json(cell.high) for cell in cells]
        content["interval"] = [
            f"[{number(cell.low, 3)}, {number(cell.high, 3)}]"
            if cell.low is not None and cell.high is not None
            else ""
            for cell in cells
        ]
        content["best"] = [int(cell.best) for cell in cells]
    for name in ("mark", "group"):
        texts = [getattr(cell, name) for cell in cells]
        if any(texts):
            content[name] = texts
    return content


def _json(value: float | int | str | bool | None) -> float | int | str | bool | None:
    """Return a value as JSON has it, which knows no NaN: the text that is shown says so."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _settings(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return, for each parameter that has several values, that of each row as text."""
    found: dict[str, list[str]] = {}
    for place, row in enumerate(rows):
        for name, value in parameters_of(row).items():
            if isinstance(value, dict | list):
                continue
            texts = found.setdefault(name, [""] * len(rows))
            texts[place] = value if isinstance(value, str) else json.dumps(value)
    return {
        name: texts
        for name, texts in sorted(found.items())
        if 2 <= len({text for text in texts if text}) <= _VALUES
    }
