"""Where the jobs of a sweep are done: the contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from retrieval_eval.pipeline.jobs import Job
from retrieval_eval.store import Artefact

__all__ = ["Executor", "News"]


@dataclass(frozen=True, eq=False)
class News:
    """Something that happened to a job.

    Parameters
    ----------
    job : Job
        Which.
    units : int or None
        So many more of its units are done; 0 when it has begun to work.
    artefact : Artefact or None
        Its result, if it is done.
    failure : str or None
        One line that says how it failed, if a library did.
    error : Exception or None
        What stops the whole sweep, such as bad data; from the job itself, with its message.
    damage : str or None
        An artefact that was damaged, and is made again.
    """

    job: Job
    units: int | None = None
    artefact: Artefact | None = None
    failure: str | None = None
    error: Exception | None = None
    damage: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the job is no longer under way."""
        return bool(self.artefact or self.failure or self.error)


class Executor(ABC):
    """Does jobs, several at a time where that is allowed; used in a ``with`` block.

    A job that is timed has a machine to itself: nothing else of the sweep runs beside it.

    Attributes
    ----------
    machine : mapping
        Of the machine, or the kind of machines, that does the timed jobs: what
        :func:`retrieval_eval.timing.machine` returns there.
    shards : int
        Into how many parts an encoding is worth cutting; 1 for none.
    """

    machine: Mapping[str, Any]
    shards: int = 1

    @abstractmethod
    def has_room(self, job: Job) -> bool:
        """Whether `start` may be called with this job now.

        Also asked for a job that is done ``here``, in the process that runs the sweep: False while
        a timed job is under way beside it.
        """

    @abstractmethod
    def start(self, job: Job, inputs: Mapping[str, Artefact]) -> None:
        """Begin a job; its needs are done, and these are their results."""

    @abstractmethod
    def news(self, seconds: float) -> Sequence[News]:
        """Wait for news, but no longer than so many seconds; return at once if nothing runs."""

    @abstractmethod
    def close(self, *, kill: bool) -> None:
        """Let go of processes: after their work, or in the middle of it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self.close(kill=kind is not None)
