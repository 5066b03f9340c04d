"""What is known of a sweep by looking at its folder from outside, while it runs or afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from retrieval_eval.errors import InputError
from retrieval_eval.sweep.perform import ROWS_FORMAT
from retrieval_eval.sweep.results import read_manifest
from retrieval_eval.sweep.status import Status, is_alive, read_status, rows_path, status_path

__all__ = ["RowsSoFar", "Sight", "State", "Watcher", "read_rows"]

State = Literal["waiting", "running", "stopped", "interrupted", "failed", "finished"]
"""Waiting: nothing runs or ran there. Stopped: the process is gone and left no word. Interrupted:
by Ctrl-C or SIGTERM. Failed: by an error that ended it."""

_LONGEST_LINE = 10_000_000  # a file of another kind may have no lines at all


@dataclass(frozen=True, eq=False)
class RowsSoFar:
    """The rows of a sweep that are finished.

    Parameters
    ----------
    run : str
        Of which run; another run starts anew.
    name : str
        Of the sweep.
    measures : tuple of str
        Those of the sweep.
    neighbour_recall : int
        The depth of the column ``neighbour_recall@N``.
    datasets : tuple of str
        All of the sweep, those without a finished row included.
    filtered : bool
        Whether the sweep has filters.
    total : int or None
        How many rows there will be; None if that is unknown, as in a search.
    records : tuple of dict
        As in ``results.parquet``, without intervals, in the order in which they were finished. A
        tuple of the same run begins with all those that were there before.
    """

    run: str
    name: str
    measures: tuple[str, ...]
    neighbour_recall: int
    datasets: tuple[str, ...]
    filtered: bool
    total: int | None
    records: tuple[Mapping[str, Any], ...] = ()

    def column_names(self) -> list[str]:
        """Name the columns that are shown: those of a leaderboard that are known by now."""
        names = ["dataset"] if len(self.datasets) > 1 else []
        names += ["encoder", "configuration"]
        names += ["filter", "selectivity", "filtering"] if self.filtered else []
        names += [*self.measures, f"neighbour_recall@{self.neighbour_recall}"]
        return [*names, "latency_p50_s", "latency_p95_s", "qps", "size_bytes", "build_s"]


@dataclass(frozen=True, eq=False)
class Sight:
    """What is there at one moment.

    Parameters
    ----------
    folder : Path
        Where the results are, or will be.
    state : State
        In a word.
    status : Status or None
        How far it has come; None if none runs or was stopped.
    rows : RowsSoFar or None
        What is finished; None if that is unknown.
    created : str or None
        When finished results in the folder were made, in ISO 8601: earlier ones, unless the state
        is 'finished'.
    problem : str
        What could not be read, and what to do about it; else empty.
    """

    folder: Path
    state: State
    status: Status | None = None
    rows: RowsSoFar | None = None
    created: str | None = None
    problem: str = ""


@dataclass
class _Reader:
    """Reads a file of rows that is added to: each byte once."""

    path: Path
    head: bytes = b""
    offset: int = 0
    rows: RowsSoFar | None = None
    seen: set[str] = field(default_factory=set)

    def read(self) -> RowsSoFar | None:
        """Return all that is there by now; None if nothing is, or nothing that can be read."""
        try:
            with self.path.open("rb") as stream:
                head = stream.readline(_LONGEST_LINE)
                if head != self.head or os.fstat(stream.fileno()).st_size < self.offset:
                    self.head, self.offset, self.rows, self.seen = head, 0, None, set()
                stream.seek(self.offset)
                whole, end, _ = stream.read().rpartition(b"\n")  # the last line may be half there
        except OSError:
            self.head, self.offset, self.rows, self.seen = b"", 0, None, set()
            return None
        if end:
            self.offset += len(whole) + 1
            self._add(whole.split(b"\n"))
        return self.rows

    def _add(self, lines: list[bytes]) -> None:
        rows, records = self.rows, []
        for line in lines:
            try:
                content = json.loads(line)
                if "plan" in content and (rows or content["format"] == ROWS_FORMAT):
                    rows = _joined(rows, content)
                elif "row" in content and content["row"]["row_id"] not in self.seen:
                    self.seen.add(content["row"]["row_id"])
                    records.append(content["row"])
            except (ValueError, KeyError, TypeError):
                continue  # by another version, or cut by a full disk
        if rows is not None:
            self.rows = replace(rows, records=(*rows.records, *records))


def _joined(rows: RowsSoFar | None, content: Mapping[str, Any]) -> RowsSoFar:
    """Begin with a plan, or go on with another of the same run."""
    plan = content["plan"]
    before = rows.datasets if rows else ()
    return RowsSoFar(
        rows.run if rows else str(content["run"]),
        str(plan["name"]),
        tuple(map(str, plan["measures"])),
        int(plan["neighbour_recall"]),
        tuple(dict.fromkeys([*before, *plan["datasets"]])),
        bool(plan["filtered"]) or bool(rows and rows.filtered),
        None if rows else int(plan["rows"]),
        rows.records if rows else (),
    )


def read_rows(path: Path) -> RowsSoFar | None:
    """Read the rows that are finished so far.

    Parameters
    ----------
    path : Path
        From :func:`retrieval_eval.sweep.status.rows_path`.

    Returns
    -------
    RowsSoFar or None
        None if there are none.
    """
    return _Reader(path).read()


class Watcher:
    """Looks at a sweep again and again, and reads what has changed; to be used by one thread.

    Nothing is ever written.

    Parameters
    ----------
    folder : str or Path
        Where the results are, or will be.

    Examples
    --------
    >>> Watcher("results/of-no-sweep").look().state
    'waiting'
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        self._status = status_path(self.folder)
        self._rows = _Reader(rows_path(self._status))
        self._seen: tuple[Any, ...] | None = None
        self._sight = Sight(self.folder, "waiting")

    def finished(self) -> tuple[int, ...] | None:
        """Return what is another for each folder of results; None if there are none."""
        return _stamp(self.folder / "manifest.json")

    def look(self) -> Sight:
        """Return what is there: the same object as before if nothing has changed."""
        files = self._status, self._rows.path, self.folder / "manifest.json"
        stamps = [_stamp(path) for path in files]
        status, alive = self._sight.status, False
        if status is not None:
            alive = _lives(status)
        seen = (*stamps, alive)
        if self._seen is None or seen != self._seen:
            self._sight = self._looked()
            status = self._sight.status
            # What was replaced meanwhile has another stamp, and is read the next time.
            self._seen = (*stamps, status is not None and _lives(status))
        return self._sight

    def _looked(self) -> Sight:
        problem, status = "", None
        try:
            status = read_status(self._status)
        except InputError as error:
            problem = str(error)
        # Results are written before the status goes away: whoever misses this one finds those.
        manifest = read_manifest(self.folder)
        created = None if manifest is None else str(manifest["created"])
        if status is not None and created is not None and not _lives(status):
            whole = datetime.fromisoformat(created) >= status.started
            status = None if whole else status  # it was killed before it took the status away
        if status is None:
            state: State = "waiting" if created is None else "finished"
            return Sight(self.folder, state, created=created, problem=problem)
        return Sight(self.folder, _state(status), status, self._rows.read(), created)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _lives(status: Status) -> bool:
    silent_s = (datetime.now(UTC) - status.updated).total_seconds()
    return status.state != "stopped" and is_alive(status.process, silent_s)


def _state(status: Status) -> State:
    if _lives(status):
        return "running"
    if status.state != "stopped":
        return "stopped"
    return "interrupted" if status.reason == "interrupted" else "failed"
