"""Costs of a row in two sweeps, and whether their ratio may be judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from retrieval_eval.report.changes.circumstances import machine_of
from retrieval_eval.report.changes.rows import COSTS, CostChange

__all__ = ["cost_changes"]

_LARGER = {"size_bytes": 1.01, "peak_rss_bytes": 1.1}  # the second as in a replay: it is measured
_SHORT_S = 0.1  # a build is timed once, so one that is over sooner says little

Record = Mapping[str, Any]


def cost_changes(
    manifests: tuple[Record, Record], rows: tuple[Record, Record], slower: float
) -> Iterator[CostChange]:
    """Yield each cost of a row that was done in both sweeps.

    Parameters
    ----------
    manifests, rows : (mapping, mapping)
        Of the earlier and the later sweep; columns that one lacks are unmeasured.
    slower : float
        By which factor timings have to differ to be called slower or faster.
    """
    old, new = rows
    for column, cost in COSTS.items():
        before, after = old.get(column), new.get(column)
        change = CostChange(column, before, after, "unmeasured")
        if before is None or after is None:
            yield change
        elif cost.phase and before == after and _taken_over(cost.phase, old, new):
            yield replace(change, verdict="same measurement")
        elif reason := next(_reasons(column, manifests, rows), ""):
            yield replace(change, verdict="not judged", reason=reason)
        else:
            yield _judged(change, before, after, slower)


def _judged(change: CostChange, before: float, after: float, slower: float) -> CostChange:
    timed = bool(COSTS[change.column].phase)
    threshold = slower if timed else _LARGER[change.column]
    one, other = (before, after) if change.column == "qps" else (after, before)
    # Exactly the threshold counts, in both directions, whatever multiplying rounds.
    threshold *= 1 - 1e-12
    if one > other and one >= other * threshold:
        return replace(change, verdict="slower" if timed else "larger")
    if other > one and other >= one * threshold:
        return replace(change, verdict="faster" if timed else "smaller")
    return replace(change, verdict="alike")


def _taken_over(phase: str, old: Record, new: Record) -> bool:
    """Whether equal timings are one measurement, from the cache."""
    dates = old.get("measured"), new.get("measured")
    return phase == "building" or None in dates or dates[0] == dates[1]


def _reasons(
    column: str, manifests: tuple[Record, Record], rows: tuple[Record, Record]
) -> Iterator[str]:
    """Yield why a ratio must not be judged."""
    if column == "size_bytes":
        return
    machines = [machine_of(one) for one in manifests]
    if not all(machines):
        yield "the machine is not recorded"
    elif machines[0] != machines[1]:
        names = [name for name in machines[1] if machines[0].get(name) != machines[1][name]]
        yield f"other {', '.join(names) or 'machine'}"
    phase = COSTS[column].phase
    if not phase:
        return
    values = [row[column] for row in rows]
    if column == "build_s" and max(values) < _SHORT_S:
        yield f"builds of less than {_SHORT_S:g} s"
    timings = [(one.get("sweep") or {}).get("timing") or {} for one in manifests]
    if column == "qps" and timings[0].get("batch_queries") != timings[1].get("batch_queries"):
        yield "batches of other sizes"
    noises = [row.get("noise") for row in rows]
    if None in noises:
        yield "noise was not watched"
    elif any(phase in one for one in noises if one):
        yield "timed while other work ran"
