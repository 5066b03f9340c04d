"""How far a sweep has come: a small file beside its results, which another process may read.

The file is there while a sweep runs. If the sweep's process is gone and the file is not, the sweep
was stopped. Whether it is gone is asked of the system where that can be done: by process id and
start time, so that another process with the same id is not taken for it. The rows that are finished
so far have a file of their own beside it (:mod:`retrieval_eval.sweep.perform`).
"""

from __future__ import annotations

import contextlib
import glob
import os
import socket
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError

from retrieval_eval.errors import InputError

__all__ = [
    "FORMAT",
    "SILENT_S",
    "Failure",
    "KindStatus",
    "Process",
    "RunningStatus",
    "Status",
    "is_alive",
    "mark_stopped",
    "one_line",
    "read_status",
    "remove",
    "rows_path",
    "status_path",
    "this_process",
    "write_status",
]

FORMAT: Literal[1] = 1
"""Version of the file's form."""

SILENT_S = 60.0
"""Age of the last news, in seconds, from which a process on another machine counts as gone."""


def one_line(text: str) -> str:
    r"""Return a text on one line, without control characters.

    Examples
    --------
    >>> one_line("a\n  b\x1b[31m")
    'a b[31m'
    """
    return "".join(mark for mark in " ".join(text.split()) if mark.isprintable())


_Line = Annotated[str, AfterValidator(one_line)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class KindStatus:
    """How far the jobs of one kind have come.

    Parameters
    ----------
    kind : str
        For instance 'build'.
    total : int
        How many there are.
    done, cached, failed, skipped : int
        How many were done just now, were found in the cache, failed, or could not be tried. The
        others wait or run.
    elapsed_s : float
        Seconds in which at least one of them ran.
    left_s : float or None
        Seconds until all are done; None if that is unknown.
    at_least_s : float
        The part of it that is known.
    """

    kind: _Line
    total: _Count
    done: _Count
    cached: _Count
    failed: _Count
    skipped: _Count
    elapsed_s: _Seconds
    left_s: _Seconds | None
    at_least_s: _Seconds

    @property
    def settled(self) -> int:
        """How many neither wait nor run."""
        return self.done + self.cached + self.failed + self.skipped


@dataclass(frozen=True)
class RunningStatus:
    """A job that runs.

    Parameters
    ----------
    kind, label : str
        What is being done.
    elapsed_s : float
        For how many seconds.
    units, units_done : int
        Texts, for an encoding, and how many of them are done.
    left_s : float or None
        Seconds until it is done; None if that is unknown.
    """

    kind: _Line
    label: _Line
    elapsed_s: _Seconds
    units: _Count
    units_done: _Count
    left_s: _Seconds | None

    @property
    def fraction(self) -> float | None:
        """Share of the texts that are done, 0 to 1; None where there is nothing to count."""
        return min(1.0, self.units_done / self.units) if self.units > 1 else None


@dataclass(frozen=True)
class Failure:
    """A job that failed, and how."""

    kind: _Line
    label: _Line
    message: _Line


@dataclass(frozen=True)
class Process:
    """A process, told from every other one.

    Parameters
    ----------
    pid : int
        Its id.
    host : str
        Name of the machine.
    space : str
        Which set of process ids the id belongs to: a container has its own. Empty if unknown.
    begun : str
        When the machine and the process were started, in the system's terms. Empty if unknown.
    """

    pid: Annotated[int, Field(gt=0)]
    host: _Line
    space: _Line
    begun: _Line


@dataclass(frozen=True)
class Status:
    """How far a sweep has come.

    Parameters
    ----------
    format : int
        Version of the file's form.
    process : Process
        The sweep's.
    started, updated : datetime
        When the sweep was started, and when this was written.
    state : {'running', 'finished', 'stopped'}
        Finished: all jobs are, and the results are being written.
    reason : str
        Why it stopped.
    elapsed_s : float
        Seconds since the jobs began.
    left_s : float or None
        Seconds until all jobs are done; None if that is unknown.
    at_least_s : float
        The part of it that is known.
    kinds : tuple of KindStatus
        One for each kind that has jobs.
    running : tuple of RunningStatus
        What runs now.
    failures : tuple of Failure
        The first ones; the kinds say how many there are.
    """

    format: Literal[1]
    process: Process
    started: AwareDatetime
    updated: AwareDatetime
    state: Literal["running", "finished", "stopped"]
    reason: _Line
    elapsed_s: _Seconds
    left_s: _Seconds | None
    at_least_s: _Seconds
    kinds: tuple[KindStatus, ...] = ()
    running: tuple[RunningStatus, ...] = ()
    failures: tuple[Failure, ...] = field(default=())

    @property
    def settled(self) -> int:
        """How many jobs neither wait nor run."""
        return sum(one.settled for one in self.kinds)

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return sum(one.total for one in self.kinds)

    @property
    def failed(self) -> int:
        """How many jobs failed."""
        return sum(one.failed for one in self.kinds)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain: dict[str, Any] = _adapter().dump_python(self, mode="json")
        running = zip(plain["running"], self.running, strict=True)
        return {**plain, "running": [{**one, "fraction": of.fraction} for one, of in running]}


def _adapter() -> TypeAdapter[Status]:
    return TypeAdapter(Status)


def status_path(folder: str | Path) -> Path:
    """Return where the status of a sweep lies whose results are, or will be, in a folder.

    Examples
    --------
    >>> status_path("/data/results/first").as_posix()
    '/data/results/.first.status.json'
    """
    whole = Path(folder).resolve()
    return whole.with_name(f".{whole.name}.status.json")


def rows_path(status: Path) -> Path:
    """Return where the rows that are finished so far lie, beside a status file.

    Examples
    --------
    >>> rows_path(status_path("/data/results/first")).as_posix()
    '/data/results/.first.rows.jsonl'
    """
    return status.with_name(f"{status.name.removesuffix('.status.json')}.rows.jsonl")


def write_status(path: Path, status: Status) -> None:
    """Write the file whole, or leave what was there.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        scratch.write_bytes(_adapter().dump_json(status, indent=1) + b"\n")
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def read_status(path: Path) -> Status | None:
    """Read the file; None if there is none.

    Raises
    ------
    InputError
        If it cannot be read, or is none that this version writes.
    """
    try:
        return _adapter().validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            reason = one_line(f"{place}: {first['msg']}" if place else first["msg"])
        else:
            reason = str(error.strerror)
        raise InputError(
            f"{path}: is no status of a sweep that this version can read ({reason}); it matters "
            "to this command alone: remove it if no sweep is running there"
        ) from None


def mark_stopped(path: Path, reason: str) -> None:
    """Note in the file that the sweep was stopped; without a file, or a place for it, do nothing.

    For the last moments of a process: it takes milliseconds, and raises nothing.
    """
    with contextlib.suppress(OSError, InputError):
        status = read_status(path)
        if status is not None:
            now = datetime.now(UTC)
            write_status(
                path, replace(status, state="stopped", reason=one_line(reason), updated=now)
            )


def remove(path: Path) -> None:
    """Remove the file, and what a process left that was killed while it wrote it; if it can be.

    The rows that were finished go with it: whoever still sees a status sees its rows, too.
    """
    with contextlib.suppress(OSError):
        left = path.parent.glob(f"{glob.escape(path.name)}-????????")
        for one in [path, rows_path(path), *left]:
            one.unlink(missing_ok=True)


def this_process() -> Process:
    """Describe the process that asks."""
    pid = os.getpid()
    return Process(pid, socket.gethostname(), _space(), _begun(pid))


def is_alive(process: Process, silent_s: float) -> bool:
    """Whether a process still runs.

    Parameters
    ----------
    process : Process
        Which one.
    silent_s : float
        Seconds since the last news of it: what decides where the system cannot be asked, since it
        runs on another machine or in a container.
    """
    if (process.host, process.space) != (socket.gethostname(), _space()):
        return silent_s < SILENT_S
    if process.begun:
        return _begun(process.pid) == process.begun
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is somebody else's
    return True


def _space() -> str:
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _begun(pid: int) -> str:
    """Return boot and start time of a process; empty if it is gone or the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()  # a program's name may hold anything, brackets too
    return "" if fields[0] in "ZX" else f"{boot} {fields[19]}"
