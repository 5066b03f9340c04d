"""The page of a sweep that runs: its frame, and what it asks for every two seconds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from retrieval_eval.report.leaderboard import Column
from retrieval_eval.report.live import RowsSoFar, Sight
from retrieval_eval.report.page.document import Section, assemble
from retrieval_eval.sweep.glance import lasting
from retrieval_eval.sweep.status import Status

__all__ = ["LiveState", "live_columns", "live_page", "live_section", "live_state"]

_GO_ON = "What is finished is kept: run it again to go on."
_FIGURES = (
    Column("latency_p50_s", "p50 ms", "figure", 1e3, 3, "lower"),
    Column("latency_p95_s", "p95 ms", "figure", 1e3, 3, "lower"),
    Column("qps", "queries /s", "figure", 1, 0, "higher"),
    Column("size_bytes", "index MB", "figure", 1e-6, 2, "lower"),
    Column("build_s", "build s", "figure", 1, 2, "lower"),
)
_TEXTS = {"configuration": "index"}


def live_section(folder: Path) -> Section:
    """Return the frame, which a script fills.

    Parameters
    ----------
    folder : Path
        Where the results will be.
    """
    return Section("live", "Progress", {"folder": str(folder)})


def live_page(folder: Path) -> str:
    """Return the page of a sweep that runs, as HTML; it asks ``/state`` how far that is.

    Parameters
    ----------
    folder : Path
        Where the results will be.
    """
    section = live_section(folder)
    return assemble(folder.name, [section], subtitle=str(folder), figures=False, connect=True)


def live_columns(rows: RowsSoFar) -> list[Column]:
    """Describe the columns of finished rows, as the leaderboard has them at the end.

    What tests and intervals say is not among them.
    """
    figures = {one.name: one for one in _FIGURES}
    columns = []
    for name in rows.column_names():
        if name in rows.measures:
            columns.append(Column(name, name, "measure", 1, 4, "higher"))
        elif name.startswith("neighbour_recall@"):
            plain = name.replace("_", " ")
            columns.append(Column(name, plain, "figure", 1, 4, "higher"))
        elif name == "selectivity":
            columns.append(Column(name, "passes %", "figure", 100, significant=3))
        elif name in figures:
            columns.append(figures[name])
        else:
            columns.append(Column(name, _TEXTS.get(name, name), "text"))
    return columns


@dataclass(frozen=True, eq=False)
class LiveState:
    """What the page shows, as JSON; it is made once, and sent to whoever asks.

    Parameters
    ----------
    head : bytes
        All but the rows: an object, its last bracket left out.
    table : str
        What tells its table of rows from others: of another run, or with other columns.
    rows : list of bytes
        Each row; those of an earlier state of the same table come first, unchanged.
    """

    head: bytes
    table: str = ""
    rows: Sequence[bytes] = field(default=())

    def json(self, table: str = "", known: int = 0) -> bytes:
        """Return the state without the rows that a page knows.

        Parameters
        ----------
        table : str
            The table that it shows.
        known : int
            How many rows of it.

        Examples
        --------
        >>> LiveState(b'{"state":"running"', "t", [b"[1]", b"[2]"]).json("t", 1)
        b'{"state":"running","known":1,"rows":[[2]]}'
        """
        known = known if table == self.table and 0 <= known <= len(self.rows) else 0
        return b'%b,"known":%d,"rows":[%b]}' % (self.head, known, b",".join(self.rows[known:]))


def live_state(sight: Sight, before: LiveState | None = None) -> LiveState:
    """Return what the page shows of a sweep.

    Parameters
    ----------
    sight : Sight
        What is there.
    before : LiveState, optional
        The state before: its rows are not made again.
    """
    head: dict[str, Any] = {"state": sight.state, **_said(sight)}
    status, rows = sight.status, sight.rows
    if status is not None:
        head |= _progress(status, running=sight.state == "running")
    made: list[bytes] = []
    table = ""
    if rows is not None:
        columns = live_columns(rows)
        table = "|".join([rows.run, *(one.name for one in columns)])
        if before is not None and before.table == table:
            made = list(before.rows)
        made += [_packed(_row(one, columns)) for one in rows.records[len(made) :]]
        head["columns"] = [
            {"name": one.name, "header": one.header, "kind": one.kind, "better": one.better}
            for one in columns
        ]
        head["count"] = _count(rows)
        head["noisy"] = any(one.get("noise") for one in rows.records)
    head["table"] = table
    return LiveState(_packed(head)[:-1], table, made)


def _packed(content: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _said(sight: Sight) -> dict[str, Any]:
    """Say in words what the state is."""
    status, lines = sight.status, []
    if status is None:
        if sight.state == "finished":
            lines.append(f"Finished {_clock(str(sight.created))}. The report is being made.")
        else:
            lines.append(
                f"Nothing runs yet with its results in {sight.folder}. Start it in another "
                "terminal: retrieval-eval run SWEEP, with --out if the folder is not the sweep's "
                "own. This page shows it as soon as it runs."
            )
    else:
        process = f"process {status.process.pid} on {status.process.host}"
        when = _clock(status.updated)
        if sight.state == "running":
            lines.append(f"Started {_clock(status.started)}; {process}.")
            if status.state == "finished":
                lines = ["All jobs are done; the results are being written."]
        elif sight.state == "interrupted":
            lines.append(f"Interrupted {when}. {_GO_ON}")
        elif sight.state == "failed":
            lines.append(f"Ended by an error {when}: {status.reason}")
        else:
            lines.append(f"Stopped: {process} is gone, last heard of {when}. {_GO_ON}")
        if sight.created is not None:
            lines.append(
                f"The folder holds the results of an earlier run, of {_clock(sight.created)}, "
                "until this one is finished."
            )
    if sight.problem:
        lines.append(sight.problem)
    return {"said": lines}


def _clock(when: datetime | str) -> str:
    """Print a time of day where this is run, with its date."""
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _progress(status: Status, *, running: bool) -> dict[str, Any]:
    """Return what is settled, what runs, and what failed."""
    at_work = Counter(one.kind for one in status.running) if running else Counter()
    kinds = []
    for one in status.kinds:
        waiting = one.total - one.settled - at_work[one.kind]
        counts = [one.done, one.cached, at_work[one.kind], one.failed, one.skipped, waiting]
        took = lasting(one.elapsed_s) if one.elapsed_s else ""
        left = _left(one.left_s, one.at_least_s) if running and one.settled < one.total else ""
        cells = [*(str(count or "") for count in counts), took, left]
        kinds.append({"kind": one.kind, "settled": one.settled, "total": one.total, "cells": cells})
    times = [f"{lasting(status.elapsed_s)} so far"] if status.elapsed_s else []
    if running and status.settled < status.total:
        times.append(_time_left(status))
    return {
        "settled": status.settled,
        "total": status.total,
        "times": times,
        "kinds": kinds,
        "running": list(_running(status)) if running else [],
        "failures": [
            {"what": f"{one.kind} {one.label}", "message": one.message} for one in status.failures
        ],
        "more_failures": max(0, status.failed - len(status.failures)),
    }


def _left(left_s: float | None, at_least_s: float) -> str:
    """Print a time left: '?' if nothing of it is known."""
    if left_s is not None:
        return lasting(left_s) if left_s else ""
    return f"> {lasting(at_least_s)}" if at_least_s else "?"


def _time_left(status: Status) -> str:
    """Say how long it will take, and how much of that is known."""
    if status.left_s is not None:
        return f"about {lasting(status.left_s)} left"
    if not status.at_least_s:
        return "time left unknown until the first jobs are done"
    open_kinds = [one for one in status.kinds if one.left_s is None and one.settled < one.total]
    unknown = " and ".join([one.kind for one in open_kinds][:3])
    known = f"more than {lasting(status.at_least_s)} left"
    return f"{known} ({unknown} unknown until the first is done)" if unknown else known


def _running(status: Status) -> Iterator[dict[str, Any]]:
    for one in status.running:
        counted = one.fraction is not None
        yield {
            "kind": one.kind,
            "label": one.label,
            "texts": f"{one.units_done:,} of {one.units:,} texts" if counted else "",
            "done": one.units_done,
            "units": one.units if counted else 0,
            "took": lasting(one.elapsed_s),
            "left": "?" if one.left_s is None else lasting(one.left_s),
        }


def _count(rows: RowsSoFar) -> str:
    """Say how many rows are finished."""
    counts = Counter(str(one["status"]) for one in rows.records)
    of = f" of {rows.total}" if rows.total is not None else ""
    text = f"{len(rows.records)}{of} rows"
    lost = [f"{counts[name]} {name}" for name in ("failed", "skipped") if counts[name]]
    if lost:
        text += f", {', '.join(lost)}"
    return text if rows.total is not None else f"{text}, trials of a search among them"


def _row(record: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    """Return a row's cells: text, or a number with how it is shown and whether it is noisy."""
    noise = record.get("noise") or ""
    ok = record["status"] == "ok"
    cells: list[Any] = []
    for column in columns:
        value = record.get(column.name)
        if column.kind == "text":
            cells.append("none" if column.name == "filter" and value is None else value or "")
            continue
        part = "building" if column.name == "build_s" else "searching"
        timed = column.name in ("latency_p50_s", "latency_p95_s", "qps", "build_s")
        noisy = ok and value is not None and timed and part in noise
        cells.append([value, column.shown(value) + ("~" if noisy else "")])
    return {
        "id": record["row_id"],
        "cells": cells,
        "message": "" if ok else f"{record['status']}: {record['message']}",
        "noise": noise,
    }
