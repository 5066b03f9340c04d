"""The part of the page that sets sweeps side by side: what changed from one to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from retrieval_eval.report.changes.rows import (
    COSTS,
    Changes,
    CostChange,
    LoneRow,
    QualityChange,
    RecallChange,
    RowChange,
)
from retrieval_eval.report.changes.tables import where_done
from retrieval_eval.report.changes.text import changes_summary, conditions, signed, times
from retrieval_eval.report.page.document import Section
from retrieval_eval.report.terminal import number, shown_p

__all__ = ["changes_section"]

_TONES = {
    **dict.fromkeys(("better", "faster", "smaller"), "good"),
    **dict.fromkeys(("worse", "slower", "larger"), "bad"),
}
_WORDS = {"undecided": "not significant", "same measurement": "from the cache"}

Cell = dict[str, Any]


def changes_section(changes: Changes | Sequence[Changes]) -> Section | None:
    """Return the section, or None if there is nothing to set side by side.

    Parameters
    ----------
    changes : Changes or sequence of Changes
        From :func:`retrieval_eval.report.changes.changes` or ``side_by_side``.
    """
    several = [changes] if isinstance(changes, Changes) else list(changes)
    if not several:
        return None
    return Section(
        "changes",
        "What changed",
        {
            "pairs": [
                {
                    "a": one.a,
                    "b": one.b,
                    "summary": changes_summary(one),
                    "circumstances": one.circumstances,
                    "conditions": conditions(one),
                }
                for one in several
            ]
        },
        {str(place): _table(one) for place, one in enumerate(several)},
    )


def _table(changes: Changes) -> dict[str, Any]:
    names = [one.name for one in changes.rows]
    names += [one.name for one in (*changes.only_a, *changes.only_b)]
    recall = next((row.recall.column for row in changes.rows if row.recall), None)
    costs = [
        name
        for name in COSTS
        if any(
            one.column == name and one.old and one.new for row in changes.rows for one in row.costs
        )
    ]
    a, b = changes.a.letter, changes.b.letter
    headers = [f"{name}, {b} minus {a}" for name in changes.measures]
    headers += [] if recall is None else [f"{recall.replace('_', ' ')}, {b} minus {a}"]
    headers += [f"{COSTS[name].header}, {b} over {a}" for name in costs]
    # Where all rows have other inputs, the sentences say so; a tag in each would hide the others.
    telling = any(one.same_inputs for one in changes.rows)
    rows = [_row(changes, one, recall, costs, telling=telling) for one in changes.rows]
    for letter, lone_rows in ((a, changes.only_a), (b, changes.only_b)):
        rows += [_lone(changes, one, letter, len(headers)) for one in lone_rows]
    return {
        "title": f"{b} beside {a}",
        "headers": headers,
        "datasets": len({one.dataset for one in names}) > 1,
        "filters": any(one.filter is not None for one in names),
        "rows": rows,
    }


def _row(
    changes: Changes,
    row: RowChange,
    recall: str | None,
    costs: Sequence[str],
    *,
    telling: bool,
) -> dict[str, Any]:
    quality = {one.measure: one for one in row.quality}
    timed = {one.column: one for one in row.costs}
    cells = [_quality(quality.get(name)) for name in changes.measures]
    cells += [] if recall is None else [_recall(row.recall)]
    cells += [_cost(timed.get(name)) for name in costs]
    where = where_done(row, changes.a.letter, changes.b.letter)
    tags = [] if row.done else [{"text": where, "tone": "bad", "title": row.message}]
    if telling and not row.same_inputs:
        causes = ", ".join(row.causes) or "what differs is not recorded"
        tags.append({"text": "other inputs", "tone": "plain", "title": causes})
    return {**_named(row), "tags": tags, "changed": row.changed, "cells": cells}


def _lone(changes: Changes, row: LoneRow, letter: str, width: int) -> dict[str, Any]:
    cells: list[Cell | None] = [
        None
        if (mean := row.means.get(name)) is None
        else {"value": None, "text": "", "lines": [f"{number(mean, 4)} in {letter}"]}
        for name in changes.measures
    ]
    tag = {"text": f"only in {letter}", "tone": "plain", "title": row.note}
    padded = [*cells, *[None] * (width - len(cells))]
    return {**_named(row), "tags": [tag], "changed": True, "cells": padded}


def _named(row: RowChange | LoneRow) -> dict[str, Any]:
    name = row.name
    return {
        "dataset": name.dataset,
        "filter": name.filter or "none",
        "name": f"{name.encoder} | {name.configuration}",
    }


def _quality(change: QualityChange | None) -> Cell | None:
    if change is None or (change.old is None and change.new is None):
        return None
    old, new = number(change.old, 4), number(change.new, 4)
    lines = [new if change.verdict == "identical" else _moved(old, new)]
    if change.low is not None and change.high is not None:
        lines.append(f"[{change.low:+.4f}, {change.high:+.4f}]")
    if change.p_adjusted is not None:
        lines.append(f"adjusted p {shown_p(change.p_adjusted)}; {change.n_differing} differ")
    title = change.reason
    if change.margin is not None and change.noninferior is not None:
        held = "is" if change.noninferior else "is not"
        title += f"{'; ' if title else ''}a loss below {change.margin:g} {held} shown"
    return _cell(change.difference, signed(change.difference), lines, change.verdict, title)


def _recall(change: RecallChange | None) -> Cell | None:
    if change is None or change.difference is None:
        return None
    verdict = "" if change.changed else "identical"
    old, new = number(change.old, 4), number(change.new, 4)
    lines = [new if not change.changed else _moved(old, new)]
    return _cell(change.difference, signed(change.difference), lines, verdict, "")


def _cost(change: CostChange | None) -> Cell | None:
    if change is None or change.verdict == "unmeasured":
        return None
    cost = COSTS[change.column]
    shown = [
        "" if one is None else number(one * cost.factor, cost.digits)
        for one in (change.old, change.new)
    ]
    verdict = "" if change.verdict == "alike" else change.verdict
    return _cell(change.ratio, times(change.ratio), [_moved(*shown)], verdict, change.reason)


def _moved(old: str, new: str) -> str:
    return f"{old} \N{RIGHTWARDS ARROW} {new}"


def _cell(value: float | None, text: str, lines: Sequence[str], verdict: str, title: str) -> Cell:
    known = value is not None and math.isfinite(value)
    cell: Cell = {"value": value if known else None, "text": text, "lines": list(lines)}
    if verdict:
        tone = _TONES.get(verdict, "plain")
        cell["tag"] = {"text": _WORDS.get(verdict, verdict), "tone": tone, "title": title}
    return cell
