"""What changed between sweeps, in sentences and on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from retrieval_eval.comparison import MARGIN_TESTS
from retrieval_eval.report.changes.rows import (
    COSTS,
    Changes,
    CostChange,
    QualityChange,
    RowChange,
)
from retrieval_eval.report.terminal import print_table, print_text

__all__ = ["changes_summary", "conditions", "print_changes", "signed", "times"]

_DONE = {"ok": "done"}
_NAMED = 3  # rows that a sentence names; the table has all
_SHORT = 60  # characters of a circumstance; of longer ones the table alone has the values
_KINDS = {
    "version": "Versions",
    "machine": "Machine",
    "data": "Data",
    "setting": "Settings",
}


def changes_summary(changes: Changes) -> tuple[str, ...]:
    """Return what changed, in sentences.

    Parameters
    ----------
    changes : Changes
        From :func:`retrieval_eval.report.changes.changes`.
    """
    return tuple(_sentences(changes))


def conditions(changes: Changes) -> tuple[str, ...]:
    """Return how it was tested and judged, in sentences."""
    a, b, options = changes.a.letter, changes.b.letter, changes.options
    drawn = f", {changes.draws} draws" if options.test in ("randomization", "bootstrap") else ""
    tested = (
        f"Differences are {b} minus {a}, with 95 % intervals; better and worse: by a two-sided "
        f"paired {options.test} test at level {options.alpha:g}{drawn}, correction holm over "
        f"{changes.family}. Identical: equal to 1e-9 on every query."
    )
    judged = (
        f"Ratios are {b} over {a}. They are single measurements, not tested: slower or faster from "
        f"a factor of {changes.slower:g} on, index sizes larger or smaller from 1 % on, peak "
        "memory from 10 % on. Timings are judged if both were measured on the same machine with "
        "as many threads, neither while other work ran, and builds took 0.1 s."
    )
    lines = [tested, judged]
    if options.margins:
        names = ", ".join(f"{value:g} {name}" for name, value in options.margins.items())
        lines.append(
            f"Accepted loss: {names}; tested by a {MARGIN_TESTS[options.margin_test]}, corrected "
            "over the margins alike."
        )
    return (*lines, *changes.notes)


def signed(value: float | None) -> str:
    """Print a difference; a tiny one as such, rather than as 0."""
    if value is None:
        return ""
    if value and abs(value) < 0.00005:
        return f"{value:+.1e}"
    return f"{value:+.4f}" if value else "0"


def times(ratio: float | None) -> str:
    """Print a ratio."""
    if ratio is None:
        return ""
    return f"{ratio:.0f}x" if ratio >= 9.95 else f"{ratio:.2f}x"


def _sentences(changes: Changes) -> Iterator[str]:
    a, b = changes.a.letter, changes.b.letter
    yield (
        f"{_rows(len(changes.rows))} in both, {len(changes.only_a)} only in {a}, "
        f"{len(changes.only_b)} only in {b}."
    )
    yield from _not_matched(changes)
    yield from _inputs(changes)
    yield from _statuses(changes)
    yield from _quality(changes)
    yield from _grounds(changes)
    yield from _margin(changes)
    yield from _recall(changes)
    for column in COSTS:
        yield from _costs(changes, column)
    for kind, words in _KINDS.items():
        found = [
            one.text if len(one.text) <= _SHORT else one.what
            for one in changes.circumstances
            if one.kind == kind
        ]
        if found:
            yield f"{words}: {'; '.join(found)}."
        elif kind == "version":
            yield "Versions: no recorded one changed."


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _not_matched(changes: Changes) -> Iterator[str]:
    if not changes.rows:
        yield "No row of one is a row of the other: labels, parameters or k are other ones."
    noted = Counter(one.note for one in changes.only_a if one.note)
    for note, count in noted.items():
        first = next(one for one in changes.only_a if one.note == note)
        more = f" (and {_rows(count - 1)} more)" if count > 1 else ""
        yield f"Not matched: {first.name.short}{more}: {note}."


def _inputs(changes: Changes) -> Iterator[str]:
    other = [one for one in changes.rows if not one.same_inputs]
    if not other:
        if changes.rows:
            yield "Data, models and parameters of these rows are the very same."
        return
    for causes, count in Counter(one.causes for one in other).items():
        known = (
            f"known to differ: {', '.join(causes)}"
            if causes
            else "files of the model, filtered documents, code of your own, or this package's"
        )
        yield (
            f"{count} of them {'has' if count == 1 else 'have'} other inputs under the same name "
            f"({known})."
        )


def _statuses(changes: Changes) -> Iterator[str]:
    a, b = changes.a.letter, changes.b.letter
    found: dict[str, list[RowChange]] = {}
    for row in changes.rows:
        if not row.done:
            old, new = (_DONE.get(one, one) for one in (row.old_status, row.new_status))
            told = f"{old} in both" if old == new else f"{old} in {a}, {new} in {b}"
            found.setdefault(told, []).append(row)
    for told, rows in found.items():
        message = rows[0].message
        why = f" ({message})" if message else ""
        yield f"{_rows(len(rows))} {told}: {_listed(one.name.short for one in rows)}{why}."


def _quality(changes: Changes) -> Iterator[str]:
    done = [row for row in changes.rows if row.done]
    if not done:
        return
    if not changes.measures:
        yield "Quality: the two have no measure in common."
        return
    parts = []
    by_verdict: dict[str, list[RowChange]] = {}
    for row in done:
        by_verdict.setdefault(row.verdict, []).append(row)
    same = len(by_verdict.get("identical", ()))
    if same == len(done):
        by = ", ".join(changes.measures)
        yield f"Quality: every score of every query is identical ({_rows(same)}, {by})."
        return
    if same:
        parts.append(f"identical on every query in {same}")
    parts += [
        f"significantly {verdict} in {len(rows)} ({_largest(rows, verdict)})"
        for verdict in ("worse", "better")
        if (rows := by_verdict.get(verdict))
    ]
    if mixed := by_verdict.get("mixed"):
        parts.append(f"better by one measure and worse by another in {len(mixed)}")
    if undecided := by_verdict.get("undecided"):
        parts.append(
            f"different in {len(undecided)}, but not significantly, which does not show them equal"
        )
    if not_compared := by_verdict.get("not compared"):
        reasons = Counter(row.quality[0].reason for row in not_compared if row.quality)
        told = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
        parts.append(f"not compared in {len(not_compared)} ({told})")
    yield f"Quality of {_rows(len(done))} by {', '.join(changes.measures)}: {'; '.join(parts)}."


def _grounds(changes: Changes) -> Iterator[str]:
    """Say which rows rest on less than a fresh search of all queries."""
    done = [row for row in changes.rows if row.done]
    if reused := sum(row.reused for row in done):
        yield (
            f"{reused} of these {'was' if reused == 1 else 'were'} not searched again: "
            f"{changes.b.letter} took the very hits of {changes.a.letter} from the cache."
        )
    partly = Counter(
        one.reason
        for row in done
        for one in row.quality[:1]
        if one.reason and one.verdict != "not compared"
    )
    for reason, count in partly.items():
        yield f"{_rows(count)}: {reason}."


def _largest(rows: Sequence[RowChange], verdict: str) -> str:
    row, change = max(
        ((row, one) for row in rows for one in row.quality if one.verdict == verdict),
        key=lambda pair: abs(pair[1].difference or 0),
    )
    return f"largest: {row.name.short}, {change.measure} {with_bounds(change)}"


def with_bounds(change: QualityChange) -> str:
    """Print a difference and its interval."""
    if change.low is None or change.high is None:
        return signed(change.difference)
    return f"{signed(change.difference)} [{change.low:+.4f}, {change.high:+.4f}]"


def _margin(changes: Changes) -> Iterator[str]:
    for name, margin in changes.options.margins.items():
        asked = [
            (row, one)
            for row in changes.rows
            for one in row.quality
            if one.measure == name and one.noninferior is not None and one.verdict != "identical"
        ]
        if asked:
            lacking = [row for row, one in asked if not one.noninferior]
            told = f"; not of {_listed(row.name.short for row in lacking)}" if lacking else ""
            yield (
                f"A loss of less than {margin:g} {name} is shown of {len(asked) - len(lacking)} of "
                f"the {_rows(len(asked))} that differ by it{told}."
            )


def _recall(changes: Changes) -> Iterator[str]:
    known = [
        (row, one) for row in changes.rows if (one := row.recall) and one.difference is not None
    ]
    moved = [(row, one) for row, one in known if one.changed]
    if moved:
        row, largest = max(moved, key=lambda pair: abs(pair[1].difference or 0))
        yield (
            f"Neighbour recall changed in {len(moved)} of {_rows(len(known))} (largest: "
            f"{row.name.short}, {signed(largest.difference)} to {largest.new:.4f})."
        )
    elif known:
        yield f"Neighbour recall is the same in all {_rows(len(known))}."


def _costs(changes: Changes, column: str) -> Iterator[str]:
    known = [
        (row, one)
        for row in changes.rows
        for one in row.costs
        if one.column == column and one.verdict != "unmeasured"
    ]
    found: dict[str, list[tuple[RowChange, CostChange]]] = {}
    for pair in known:
        found.setdefault(pair[1].verdict, []).append(pair)
    parts = []
    for verdict in ("slower", "larger", "faster", "smaller"):
        if pairs := found.get(verdict):
            ratios = [one.ratio for _, one in pairs if one.ratio]
            many = f"median ratio {times(median(ratios))}; most: " if len(ratios) > 1 else ""
            parts.append(f"{verdict} in {len(pairs)} ({many}{_farthest(pairs)})")
    if alike := found.get("alike"):
        parts.append(f"alike in {len(alike)}")
    if cached := found.get("same measurement"):
        parts.append(f"the same measurement, from the cache, in {len(cached)}")
    if refused := found.get("not judged"):
        reasons = Counter(one.reason for _, one in refused)
        told = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
        parts.append(f"not judged in {len(refused)} ({told})")
    if parts:
        words = COSTS[column].words
        yield f"{words[0].upper()}{words[1:]}: {', '.join(parts)}."


def _farthest(pairs: Sequence[tuple[RowChange, CostChange]]) -> str:
    def distance(pair: tuple[RowChange, CostChange]) -> float:
        ratio = pair[1].ratio or 1.0
        return max(ratio, 1 / ratio)

    row, change = max(pairs, key=distance)
    cost = COSTS[change.column]
    figures = [
        f"{value * cost.factor:.{cost.digits}f}"
        for value in (change.old, change.new)
        if value is not None
    ]
    unit = cost.header.split(" ", 1)[1]
    return f"{row.name.short}, {' -> '.join(figures)} {unit}, {times(change.ratio)}"


def print_changes(changes: Changes, *, every: bool = False) -> None:
    """Print what changed: sentences, circumstances, and the rows that changed.

    Parameters
    ----------
    changes : Changes
        From :func:`retrieval_eval.report.changes.changes`.
    every : bool
        Whether rows without a change are shown, too.
    """
    from retrieval_eval.report.changes.tables import changes_table

    print_text(f"{changes.a.title}\n{changes.b.title}")
    print_text("\n".join(changes_summary(changes)))
    if changes.circumstances:
        print_text("What else differs")
        letters = changes.a.letter, changes.b.letter
        print_table(
            [("", False), ("what", False), *((letter, False) for letter in letters)],
            [(one.kind, one.what, one.old, one.new) for one in changes.circumstances],
        )
    table = changes_table(changes, every=every)
    if table.rows:
        print_text("Rows" if every else "Rows that changed")
        print_table(
            table.columns,
            [
                [
                    f"{cell.text}{cell.mark}"
                    + (f" [{', '.join(cell.bounds)}]" if cell.bounds else "")
                    for cell in line
                ]
                for line in table.rows
            ],
        )
    left_out = 0 if every else sum(not row.changed for row in changes.rows)
    if left_out:
        print_text(f"{_rows(left_out)} without a change not shown.")
    print_text("\n".join(table.legend))
