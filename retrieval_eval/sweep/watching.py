"""Watching a sweep: a picture on a terminal, or a log, and a file for another process.

What is shown, and when:

- On a terminal, a picture that is drawn anew twice a second, and goes away at the end. Failures
  stay above it.
- Elsewhere, such as in a file or a build server's log, one line at most every 10 s while something
  happens, every 5 min while one job takes long, and one for each failure at once. A sweep that
  takes less than 10 s, and in which nothing fails, shows nothing.
- The status file is written at the start, at each failure, at the end, and between them at most
  once a second, or every 5 s while nothing happens.

How the time left is found: :mod:`retrieval_eval.sweep.forecast`.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retrieval_eval.sweep.forecast import Forecast, Left, RunningJob, Size
from retrieval_eval.sweep.glance import Display, LogDisplay, PictureDisplay
from retrieval_eval.sweep.status import (
    FORMAT,
    Failure,
    KindStatus,
    RunningStatus,
    Status,
    one_line,
    this_process,
    write_status,
)

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Outcome", "Task", "Watch"]

Outcome = Literal["done", "cached", "failed", "skipped"]
"""What may become of a job: made now, found in the cache, failed, or not tried."""

_WRITE_S, _QUIET_WRITE_S = 1.0, 5.0
_FAILURES_KEPT = 20


@dataclass(frozen=True)
class Task:
    """A job of a sweep, as far as watching goes.

    Parameters
    ----------
    kind : str
        'encode', 'neighbours', 'build', 'search', 'evaluate', 'combine' or 'health'; kinds are
        shown in the order in which they first come.
    label : str
        What is being done, such as "stdlib, lsa dim=64 | hnsw M=16 ef=50".
    units : int
        What :meth:`Watch.advanced` counts: texts for an encoding; 1 otherwise.
    estimate_s : float or None
        Seconds expected before anything was measured; None if unknown.
    """

    kind: str
    label: str
    units: int = 1
    estimate_s: float | None = None


class _Job:
    """A task, and what became of it."""

    def __init__(self, task: Task) -> None:
        self.label = one_line(task.label)
        estimate = task.estimate_s if task.estimate_s and task.estimate_s > 0 else None
        self.size = Size(one_line(task.kind), max(1, task.units), estimate)
        self.state: Literal["waiting", "running"] | Outcome = "waiting"
        self.reset(0.0)

    def reset(self, now: float) -> None:
        self.begun = now
        self.units = 0
        self.first: tuple[float, int] | None = None  # time and units of the first count
        self.last = now

    def running(self, now: float) -> RunningJob:
        since, before = self.first or (now, 0)
        return RunningJob(
            self.size,
            now - self.begun,
            self.last - since if self.first else 0.0,
            self.units - before,
            max(0.0, self.size.units - self.units),
            now - self.last,
        )


class Watch:
    """Is told what a sweep's jobs do, and shows it; made by :meth:`show`.

    To be called from one thread. None of its methods raises for a task that was never started, or
    settled before: watching must not stop what is watched.

    Parameters
    ----------
    tasks : sequence of Task
        All of the sweep's.
    display : object
        Where it is shown.
    status : Path or None
        The status file, if there shall be one.
    clock : callable
        Monotonic, in seconds.
    settled : callable or None
        Told number, outcome and message of each task that is settled.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        display: Display,
        status: Path | None,
        clock: Callable[[], float],
        settled: Callable[[int, Outcome, str], None] | None = None,
    ) -> None:
        self._jobs = [_Job(task) for task in tasks]
        self._waiting: dict[str, Counter[Size]] = {}
        for job in self._jobs:
            self._waiting.setdefault(job.size.kind, Counter())[job.size] += 1
        self._totals = Counter(job.size.kind for job in self._jobs)
        self._settled: Counter[tuple[str, Outcome]] = Counter()
        self._elapsed: dict[str, float] = dict.fromkeys(self._waiting, 0.0)
        self._running: dict[int, _Job] = {}  # in the order of their starts
        self._failures: list[Failure] = []
        self._forecast = Forecast()
        self._display, self._path, self._clock = display, status, clock
        self._tell = settled
        self._process, self._started = this_process(), datetime.now(UTC)
        self._begun = self._seen = self._written = clock()
        self._to_show = self._to_write = False

    @classmethod
    @contextmanager
    def show(
        cls,
        tasks: Sequence[Task],
        *,
        wanted: bool,
        status: Path | None,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
        settled: Callable[[int, Outcome, str], None] | None = None,
    ) -> Iterator[Watch]:
        """Watch until the block ends.

        Parameters
        ----------
        tasks : sequence of Task
            All jobs of the sweep, in the order in which they will mostly run.
        wanted : bool
            Whether anything is shown on standard error; the status file is written anyhow.
        status : Path or None
            From :func:`retrieval_eval.sweep.status.status_path`; None for no such file. It is left
            in the state 'finished', or 'stopped' if the block raised something: to remove it once
            the results are there is the caller's part. If it cannot be written, that is said once.
        clock : callable, optional
            Monotonic, in seconds.
        console : rich.console.Console, optional
            Standard error by default.
        settled : callable, optional
            Told number, outcome and message of each task as soon as it is settled.
        """
        from rich.console import Console

        console = console or Console(stderr=True, highlight=False)
        now = clock()
        display = Display()
        if wanted and console.is_terminal and not console.is_dumb_terminal:
            display = PictureDisplay(console, now)
        elif wanted:
            display = LogDisplay(sys.stderr if console.stderr else console.file, now)
        watch = cls(tasks, display, status, clock, settled)
        with display:
            watch._write(watch._status(now))
            try:
                watch.tick()
                yield watch
            except BaseException as error:
                text = one_line(str(error)) or type(error).__name__
                interrupted = isinstance(error, KeyboardInterrupt)
                watch._end("stopped", "interrupted" if interrupted else text)
                raise
            watch._end("finished", "")

    def started(self, number: int) -> None:
        """Note that a job begins.

        Parameters
        ----------
        number : int
            Its position in the tasks, from 0.
        """
        job, now = self._jobs[number], self._pass()
        if job.state == "waiting":
            self._forget(job)
        elif job.state != "running":
            return
        job.state = "running"
        job.reset(now)
        self._running[number] = job
        self._changed()

    def advanced(self, number: int, units: int) -> None:
        """Note that so many more units of a job are done.

        The first call may tell what was there when the job began: the pace is measured from then.
        """
        job = self._jobs[number]
        if job.state != "running":
            return
        now = self._pass()
        job.units += units
        job.last = now
        job.first = job.first or (now, job.units)
        self._changed()

    def finished(self, number: int, outcome: Outcome, message: str = "") -> None:
        """Note what became of a job; one that was never started may be cached or skipped, too.

        Parameters
        ----------
        number : int
            Its position in the tasks, from 0.
        outcome : {'done', 'cached', 'failed', 'skipped'}
            Made now, found in the cache, failed, or not tried since something it needs failed.
        message : str
            How it failed; shown at once.
        """
        job, now = self._jobs[number], self._pass()
        if job.state not in ("waiting", "running"):
            return
        if job.state == "waiting":
            self._forget(job)
        else:
            del self._running[number]
            since, before = job.first or (job.begun, 0)
            if not before or job.units == before:
                since, before = job.begun, 0
            share = 1.0 - before / job.size.units
            if outcome == "done" and share > 0:
                self._forecast.done(job.size, now - since, share)
        job.state = outcome
        self._settled[job.size.kind, outcome] += 1
        if outcome == "failed":
            failure = Failure(job.size.kind, job.label, one_line(message))
            self._failures.append(failure)
            words = f"failed: {failure.kind} {failure.label}: {failure.message}"
            self._display.say(words.removesuffix(": "), style="red")
            self._write(self._status(now))
        if self._tell is not None:
            self._tell(number, outcome, message)
        self._changed()

    def tick(self) -> None:
        """Show and write what is due; to be called a few times a second, whatever happens."""
        now = self._pass()
        show = self._display.due(now, changed=self._to_show)
        wait = _WRITE_S if self._to_write else _QUIET_WRITE_S
        write = self._path is not None and now - self._written >= wait
        if not show and not write:
            return
        status = self._status(now)
        if show:
            self._to_show = False
            self._display.show(now, status)
        if write:
            self._write(status)

    def _changed(self) -> None:
        self._to_show = self._to_write = True
        self.tick()

    def _forget(self, job: _Job) -> None:
        waiting = self._waiting[job.size.kind]
        waiting[job.size] -= 1
        if not waiting[job.size]:
            del waiting[job.size]

    def _pass(self) -> float:
        """Account for the time since the last call; return the time."""
        now = self._clock()
        kinds = [job.size.kind for job in self._running.values()]
        if kinds:
            self._forecast.passed(now - self._seen, kinds)
            for kind in set(kinds):
                self._elapsed[kind] += now - self._seen
        self._seen = now
        return now

    def _end(self, state: Literal["finished", "stopped"], reason: str) -> None:
        status = self._status(self._pass(), state, reason)
        self._write(status)
        if state == "finished":
            self._display.end(status)

    def _write(self, status: Status) -> None:
        if self._path is None:
            return
        try:
            write_status(self._path, status)
        except OSError as error:
            self._display.say(f"no status for others to read: {self._path}: {error.strerror}")
            self._path = None
        self._written, self._to_write = self._seen, False

    def _status(
        self,
        now: float,
        state: Literal["running", "finished", "stopped"] = "running",
        reason: str = "",
    ) -> Status:
        running = {job: job.running(now) for job in self._running.values()}
        kinds, lefts = [], []
        for kind, total in self._totals.items():
            its = [one for one in running.values() if one.size.kind == kind]
            left = self._forecast.left(self._waiting[kind], its)
            lefts.append(left)
            left_s, at_least_s = _rounded(left)
            kinds.append(
                KindStatus(
                    kind,
                    total,
                    self._settled[kind, "done"],
                    self._settled[kind, "cached"],
                    self._settled[kind, "failed"],
                    self._settled[kind, "skipped"],
                    round(self._elapsed[kind], 1),
                    left_s,
                    at_least_s,
                )
            )
        longest = max((left.longest_s for left in lefts), default=0.0)
        seconds = max(sum(left.seconds for left in lefts), longest)
        whole = Left(seconds, all(left.complete for left in lefts), longest)
        return Status(
            FORMAT,
            self._process,
            self._started,
            datetime.now(UTC),
            state,
            reason,
            round(now - self._begun, 1),
            *_rounded(whole),
            tuple(kinds),
            tuple(self._shown(job, one) for job, one in running.items()),
            tuple(self._failures[:_FAILURES_KEPT]),
        )

    def _shown(self, job: _Job, running: RunningJob) -> RunningStatus:
        left = self._forecast.left_of(running)
        return RunningStatus(
            job.size.kind,
            job.label,
            round(running.elapsed_s, 1),
            int(job.size.units),
            min(job.units, int(job.size.units)),
            None if left is None else round(left, 1),
        )


def _rounded(left: Left) -> tuple[float | None, float]:
    """Return the time left if it is known, and what is known of it; little is not nothing."""
    seconds = max(0.1, round(left.seconds, 1)) if left.seconds else 0.0
    return (seconds if left.complete else None), seconds
