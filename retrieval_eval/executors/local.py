"""Jobs on this machine: in child processes that may die of them, or in this process."""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any

from retrieval_eval.errors import RetrievalEvalError
from retrieval_eval.executors.base import Executor, News
from retrieval_eval.indexes import Index
from retrieval_eval.isolation import ChildError, Returned, Worker, machine_memory, tell
from retrieval_eval.pipeline.jobs import Bench, Job
from retrieval_eval.store import Artefact, Store
from retrieval_eval.timing import machine

__all__ = ["LocalExecutor", "failure_of", "work"]

_EVERY_S = 0.2


class LocalExecutor(Executor):
    """Does jobs in child processes of this one.

    Timed jobs are done one by one, with nothing beside them. A crash, a hang or a flood of memory
    ends a child, and costs its job alone.

    Parameters
    ----------
    store : Store
        Where results are kept.
    jobs : int
        How many jobs that are not timed may be under way at once.
    processes : bool
        Whether there are child processes; without, everything is done in this one, one by one.
    seconds : float or None
        Limit of time for a job that is `limited`.
    memory_bytes : int or None
        Anonymous memory that one child may take. None: nine tenths of the machine's. If all
        together take more than that, the largest is ended.

    Examples
    --------
    >>> from retrieval_eval.timing import machine
    >>> import tempfile
    >>> from pathlib import Path
    >>> with LocalExecutor(Store(Path(tempfile.mkdtemp()))) as executor:
    ...     executor.machine == machine()
    True
    """

    def __init__(
        self,
        store: Store,
        *,
        jobs: int = 1,
        processes: bool = True,
        seconds: float | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self.machine = machine()
        self._store = store
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._jobs = jobs
        self._workers = [Worker() for _ in range(jobs + 1 if processes else 0)]
        self._encoding = False  # whether the first worker, which is for encoding, has a model open
        self._busy: dict[int, Job] = {}  # by worker
        self._bench = Bench()
        self._said: list[News] = []

    def has_room(self, job: Job) -> bool:
        """Whether nothing is under way that it would disturb, or that would disturb it."""
        if _alone(job):
            return not self._busy
        if any(_alone(one) for one in self._busy.values()):
            return False
        return job.here or len(self._busy) < self._jobs

    def start(self, job: Job, inputs: Mapping[str, Artefact]) -> None:
        """Begin a job in a free child; one that cannot be sent is done here and now."""
        if not self._workers or _interactive(job):
            self._do_here(job, inputs)
            return
        encodes = job.kind == "encode"
        if self._encoding and not encodes:
            with contextlib.suppress(ChildError):  # a model's memory is in nobody's way then
                self._workers[0].run(let_go)
        self._encoding = encodes
        free = (number for number in range(1, len(self._workers)) if number not in self._busy)
        number = 0 if encodes else next(free)
        worker = self._workers[number]
        worker.seconds = self._seconds if job.limited else None
        worker.memory_bytes = self._memory_bytes or machine_memory()
        try:
            worker.start(work, (job, self._store, dict(inputs)))
        except ChildError as error:
            self._said.append(News(job, failure=str(error)))
        except (pickle.PicklingError, AttributeError, TypeError):  # a class inside a function
            self._do_here(job, inputs)
        else:
            self._busy[number] = job

    def _end(self, number: int, news: News) -> None:
        del self._busy[number]
        self._said.append(news)

    def _do_here(self, job: Job, inputs: Mapping[str, Artefact]) -> None:
        def told(units: int) -> None:
            self._said.append(News(job, units=units))

        try:
            artefact = job.run(self._store, inputs, self._bench, told)
        except Exception as error:  # noqa: BLE001 (a library's failure costs its rows alone)
            self._said.append(failure_of(job, error))
        else:
            self._said.append(News(job, artefact=artefact))

    def news(self, seconds: float) -> Sequence[News]:
        """Wait for the children."""
        until = time.monotonic() + seconds
        while self._busy and not self._said:
            answers = [self._workers[number].answers for number in self._busy]
            left = max(0.0, min(_EVERY_S, until - time.monotonic()))
            wait([one for one in answers if one is not None], left)
            for number in tuple(self._busy):
                self._ask(number)
            self._relieve()
            if time.monotonic() >= until:
                break
        said, self._said = self._said, []
        return said

    def _ask(self, number: int) -> None:
        """Read what a child has to say, and look after its limits."""
        job = self._busy[number]
        try:
            for told in self._workers[number].poll():
                if isinstance(told, Returned):
                    self._end(number, News(job, artefact=told.value))
                elif isinstance(told, str):
                    self._said.append(News(job, damage=told))
                else:
                    self._said.append(News(job, units=told))
        except (RetrievalEvalError, ChildError) as error:
            self._encoding = self._encoding and number != 0
            self._end(number, failure_of(job, error))

    def _relieve(self) -> None:
        """End the largest child if all together take more memory than the machine can spare."""
        used = {number: self._workers[number].used_bytes() for number in self._busy}
        if len(used) > 1 and sum(used.values()) > machine_memory():
            number = max(used, key=lambda one: used[one])
            self._workers[number].kill()
            failure = (
                f"was stopped with {used[number] / 1e9:.3g} GB of memory, the most of {len(used)} "
                f"jobs at once that had {sum(used.values()) / 1e9:.3g} GB: try fewer (--jobs 1)"
            )
            self._end(number, News(self._busy[number], failure=failure))

    def close(self, *, kill: bool) -> None:
        """End the children."""
        for worker in self._workers:
            worker.kill() if kill else worker.close()
        self._bench.clear()


_open = Bench()  # in a child: what it keeps from one job to the next


def let_go() -> None:
    """Close, in a child process, what it keeps from one job to the next."""
    _open.clear()


def work(job: Job, store: Store, inputs: Mapping[str, Artefact]) -> Artefact:
    """Do a job in a child process; it tells its parent of units that are done, and of damage."""
    store.report = tell
    pending = [0, 0.0]  # the first news is told at once: now it works

    def told(units: int) -> None:
        pending[0] += units
        if time.monotonic() - pending[1] >= _EVERY_S:
            tell(pending[0])
            pending[:] = [0, time.monotonic()]

    return job.run(store, inputs, _open, told)


def failure_of(job: Job, error: Exception) -> News:
    """Say what an exception of a job means: bad data stops everything, a library costs its job."""
    if isinstance(error, RetrievalEvalError):
        return News(job, error=error)
    if isinstance(error, ChildError):
        return News(job, failure=str(error))
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f" ({last.tb_frame.f_code.co_name}, line {last.tb_lineno})" if last else ""
    return News(job, failure=" ".join(f"{type(error).__name__}: {error}{where}".split()))


def _interactive(job: Job) -> bool:
    """Whether the job is made of what an interactive session defines: no child can import that."""
    kinds: list[type[Any]] = []
    for value in vars(job).values():
        kinds.append(value if isinstance(value, type) else type(value))
        if isinstance(value, Index):
            kinds += value.classes()
    return any(base.__module__ == "__main__" for cls in kinds for base in cls.__mro__)


def _alone(job: Job) -> bool:
    """Whether a job has the machine to itself; a model takes all cores by itself."""
    return job.timed or job.kind == "encode"
