"""How long the rest of a sweep will take, from how long its jobs took so far.

The rule, for the jobs of each kind:

1. A job that runs and counts its texts goes on at the pace it has had since its first count. (What
   was there by then may have been there before: an interrupted encoding goes on where it was.)
2. A job that waits takes its estimate, times what the kind's jobs took for a second of theirs; if
   it has no estimate, or none of those had, what they took for each unit. Only jobs done just now
   count, no cached and no failed ones; from three on, the slowest and the quickest for their size
   are left out, since the first often pays for imports.
3. Before any job of its kind is done, a job takes its estimate times what jobs of all kinds took
   for a second of theirs, or its estimate alone.
4. Otherwise its time is unknown, and so is its kind's; what is known of it is a lower bound.
5. Any other job that runs takes what is left of that time, or another tenth of what it took already
   if it is overdue.
6. The seconds of a kind are divided by how many jobs ran at once while its own did, on average; of
   a kind that never ran, by that of the sweep. No kind takes less than its longest job.
7. The whole takes the sum over kinds, and no less than the longest job.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Forecast", "Left", "RunningJob", "Size"]

_OVERDUE = 0.1
_TRIMMED_FROM = 3


@dataclass(frozen=True)
class Size:
    """What is known of a job beforehand.

    Parameters
    ----------
    kind : str
        For instance 'build'.
    units : float
        How much there is to do, above 0.
    estimate_s : float or None
        Seconds expected before anything was measured, above 0.
    """

    kind: str
    units: float
    estimate_s: float | None


@dataclass(frozen=True)
class RunningJob:
    """A job that runs.

    Parameters
    ----------
    size : Size
        What is known of it beforehand.
    elapsed_s : float
        Seconds since it began.
    counted_s, counted : float
        How many units were done in how many seconds, from its first count to its last; 0 if there
        was no second one.
    remaining : float
        Units that are left.
    since_s : float
        Seconds since the last count.
    """

    size: Size
    elapsed_s: float
    counted_s: float = 0.0
    counted: float = 0.0
    remaining: float = 1.0
    since_s: float = 0.0


@dataclass(frozen=True)
class Left:
    """Time left.

    Parameters
    ----------
    seconds : float
        What is known of it.
    complete : bool
        Whether that is all.
    longest_s : float
        The longest single job's.

    Examples
    --------
    >>> Left(5.0, True, 5.0).known, Left(5.0, False, 5.0).known
    (5.0, None)
    """

    seconds: float
    complete: bool
    longest_s: float

    @property
    def known(self) -> float | None:
        """The seconds, or None if they are not all."""
        return self.seconds if self.complete else None


class _Pace:
    """Seconds for each unit of size, over the jobs that were done."""

    def __init__(self) -> None:
        self._jobs: list[tuple[float, float, float]] = []  # (pace, seconds, size), ascending
        self._seconds = self._size = 0.0

    def add(self, seconds: float, size: float) -> None:
        bisect.insort(self._jobs, (seconds / size, seconds, size))
        self._seconds += seconds
        self._size += size

    @property
    def value(self) -> float | None:
        if not self._jobs:
            return None
        seconds, size = self._seconds, self._size
        if len(self._jobs) >= _TRIMMED_FROM:
            for _, its_seconds, its_size in (self._jobs[0], self._jobs[-1]):
                seconds, size = seconds - its_seconds, size - its_size
        return max(0.0, seconds) / size  # a difference of floats may end below 0


class Forecast:
    """Keeps what was measured, and says what is left; the rule stands at the top of this module.

    Examples
    --------
    >>> forecast = Forecast()
    >>> forecast.passed(8.0, ["build", "build"])  # two builds at once
    >>> build = Size("build", 1, estimate_s=2.0)
    >>> for _ in range(2):
    ...     forecast.done(build, 8.0)
    >>> forecast.left({build: 5}, []).seconds  # 5 of 8 s, two at once
    20.0
    """

    def __init__(self) -> None:
        self._by_estimate: defaultdict[str, _Pace] = defaultdict(_Pace)
        self._by_unit: defaultdict[str, _Pace] = defaultdict(_Pace)
        self._all = _Pace()
        self._worked: defaultdict[str, float] = defaultdict(float)  # seconds of jobs
        # Seconds of the clock, divided among the jobs that ran.
        self._shared: defaultdict[str, float] = defaultdict(float)

    def passed(self, seconds: float, running: Iterable[str]) -> None:
        """Note that time passed while jobs of these kinds ran; one entry a job."""
        kinds = list(running)
        for kind in kinds:
            self._worked[kind] += seconds
            self._shared[kind] += seconds / len(kinds)

    def done(self, size: Size, seconds: float, share: float = 1.0) -> None:
        """Note a job that was done just now, or a share of it, and the seconds it took."""
        self._by_unit[size.kind].add(seconds, size.units * share)
        if size.estimate_s is not None:
            self._by_estimate[size.kind].add(seconds, size.estimate_s * share)
            self._all.add(seconds, size.estimate_s * share)

    def expected(self, size: Size) -> float | None:
        """Return the seconds that a job will take from its beginning; None if unknown."""
        return _expected(size, *self._paces(size.kind))

    def _paces(self, kind: str) -> tuple[float | None, float | None]:
        """Return the seconds a kind's jobs take for an estimated second, and for a unit."""
        by_estimate, by_unit = self._by_estimate[kind].value, self._by_unit[kind].value
        if by_unit is None:  # nothing of this kind was done
            by_estimate = self._all.value or 1.0
        return by_estimate, by_unit

    def left_of(self, job: RunningJob) -> float | None:
        """Return the seconds until a job that runs is done; None if unknown."""
        if job.counted_s > 0 and job.counted > 0:
            return max(0.0, job.remaining * job.counted_s / job.counted - job.since_s)
        expected = self.expected(job.size)
        if expected is None:
            return None
        return max(expected - job.elapsed_s, _OVERDUE * job.elapsed_s)

    def left(self, waiting: Mapping[Size, int], running: Iterable[RunningJob]) -> Left:
        """Return the seconds until jobs of one kind are done.

        Parameters
        ----------
        waiting : mapping of Size to int
            How many jobs of each size wait.
        running : iterable of RunningJob
            Those that run.
        """
        kind, work, longest, complete = "", 0.0, 0.0, True
        paces = self._paces(next(iter(waiting)).kind) if waiting else (None, None)
        for size, count in waiting.items():
            kind, seconds = size.kind, _expected(size, *paces)
            complete &= seconds is not None
            work += count * (seconds or 0.0)
            longest = max(longest, seconds or 0.0)
        for job in running:
            kind, seconds = job.size.kind, self.left_of(job)
            complete &= seconds is not None
            work += seconds or 0.0
            longest = max(longest, seconds or 0.0)
        return Left(max(work / self._at_once(kind), longest), complete, longest)

    def _at_once(self, kind: str) -> float:
        """Return how many jobs ran at once while this kind's did, on average."""
        worked, shared = self._worked[kind], self._shared[kind]
        if not shared:
            worked, shared = sum(self._worked.values()), sum(self._shared.values())
        return max(1.0, worked / shared) if shared else 1.0


def _expected(size: Size, by_estimate: float | None, by_unit: float | None) -> float | None:
    if size.estimate_s is not None and by_estimate is not None:
        return size.estimate_s * by_estimate
    return None if by_unit is None else size.units * by_unit
