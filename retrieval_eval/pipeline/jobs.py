"""What a job is: a piece of work whose result is one artefact of the store.

A job knows its key before any work is done, since the key is made of what decides the result and of
the keys of the jobs it needs. So equal jobs are found before they are run, and one that is in the
store is not run at all.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from retrieval_eval.errors import RetrievalEvalError
from retrieval_eval.store import Artefact, Store, digest

__all__ = ["Bench", "Effort", "Job", "Size", "Told", "silent"]

Told = Callable[[int], None]
"""Called with the number of units done since the last call."""


def silent(_units: int) -> None:
    """Tell nobody."""


class Bench:
    """What one process keeps open from one job to the next: a fitted encoder, an index.

    Examples
    --------
    >>> bench = Bench()
    >>> bench.keep("greeting", "en", lambda: "hello"), bench.keep("greeting", "en", lambda: "bye")
    ('hello', 'hello')
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Any]] = {}

    def keep(self, what: str, key: str, make: Callable[[], Any]) -> Any:
        """Return the thing with this key; what was there of its sort before is closed."""
        kept = self._kept.get(what)
        if kept is not None and kept[0] == key:
            return kept[1]
        self.clear(what)
        made = make()
        self._kept[what] = key, made
        return made

    def clear(self, *sorts: str) -> None:
        """Close what is kept: of these sorts, or of all."""
        for what in sorts or tuple(self._kept):
            _, thing = self._kept.pop(what, ("", None))
            with contextlib.suppress(AttributeError):
                thing.close()


@dataclass(frozen=True)
class Size:
    """What a job works on, as far as it is known before any work.

    Parameters
    ----------
    documents, queries : int
        How many.
    dimension : int or None
        Of their vectors; None where only encoding shows it.
    """

    documents: int = 0
    queries: int = 0
    dimension: int | None = None

    @property
    def cells(self) -> int:
        """Numbers in the documents' vectors; 384 dimensions are assumed where it is unknown."""
        return self.documents * (self.dimension or 384)


@dataclass(frozen=True)
class Effort:
    """What decides how long a job takes, to learn from jobs that were done before.

    Parameters
    ----------
    alike : tuple of str
        What jobs must have in common to be compared, the closest likeness first.
    work : float
        A measure of the work, to which the time is about proportional between jobs that are alike.
    disk_bytes : int
        What the result takes on disk, about.
    memory_bytes : int
        What doing it takes in memory, about, beside the interpreter and its libraries.
    """

    alike: tuple[str, ...]
    work: float
    disk_bytes: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Job(ABC):
    """A piece of work with one artefact as its result.

    A job can be pickled and done elsewhere: it carries what it works on, but not the jobs it needs;
    whoever runs it hands their artefacts over.

    Parameters
    ----------
    label : str
        What is being done, for people.
    needs : mapping of str to Job
        Whose results it works on.
    timed : bool
        Whether seconds that it measures are reported: then nothing else may run beside it.
    size : Size
        What it works on.

    Attributes
    ----------
    kind : str
        What is done: ``encode``, ``neighbours``, ``build``, ``search``, ``evaluate``...
    folder : str
        Where such artefacts are in the store.
    here : bool
        Whether it is done in the process that runs the sweep, since it is short beside what would
        have to be sent.
    limited : bool
        Whether the sweep's limit of time applies.
    resumable : bool
        Whether an interrupted job goes on where it was.
    units : int
        What it counts while it works, such as texts.
    """

    kind: ClassVar[str]
    folder: ClassVar[str]
    here: ClassVar[bool] = False
    limited: ClassVar[bool] = False
    resumable: ClassVar[bool] = False

    label: str
    needs: Mapping[str, Job] = field(default_factory=dict)
    timed: bool = False
    size: Size = Size()

    @abstractmethod
    def decides(self) -> Mapping[str, Any]:
        """Return all that decides the result, as plain values."""

    @abstractmethod
    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        """Do the work: write files into an empty folder, return figures to record with them."""

    def in_one_go(self, store: Store, bench: Bench) -> None:
        """Do what another process, that waits for this result, would else begin anew for."""

    def effort(self) -> Effort:
        """Return what decides how long this takes."""
        return Effort((self.kind,), max(1, self.size.documents + self.size.queries))

    def portable(self) -> Job:
        """Return the same job without anything that lies on this machine's disk alone."""
        return self

    def usable(self, folder: Path, facts: Mapping[str, Any]) -> bool:
        """Whether an undamaged artefact still serves."""
        return True

    @property
    def units(self) -> int:
        """What `told` counts up to."""
        return 1

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """What the key is made of."""
        return self.decides()

    @cached_property
    def key(self) -> str:
        """The key of the result in the store."""
        return digest(self.fields)

    def find(self, store: Store) -> Artefact | None:
        """Return the result if it is in the store, undamaged and usable."""
        found = store.find(self.folder, self.fields)
        if found is None or not self.usable(found.folder, found.meta):
            return None
        store.share(self.folder, found)
        return found

    def run(
        self,
        store: Store,
        inputs: Mapping[str, Artefact] | None = None,
        bench: Bench | None = None,
        told: Told = silent,
    ) -> Artefact:
        """Do the work, or find its result.

        Parameters
        ----------
        store : Store
            Where the result is kept.
        inputs : mapping of str to Artefact, optional
            Results of what it `needs`, under the same names; without, these jobs are run first.
        bench : Bench, optional
            What this process has open.
        told : callable, optional
            Called as units are done.
        """
        own = Bench() if bench is None else bench
        given = (
            {name: job.run(store, None, own) for name, job in self.needs.items()}
            if inputs is None
            else inputs
        )

        def make(folder: Path) -> Mapping[str, Any]:
            began = perf_counter()
            facts = self.make(folder, _reached(store, given), own, told)
            self.in_one_go(store, own)
            effort = self.effort()
            took = {"seconds": perf_counter() - began, "work": effort.work}
            return {**facts, "job": {**took, "alike": list(effort.alike)}}

        try:
            return store.get_or_make(
                self.folder,
                self.fields,
                make,
                usable=self.usable,
                resumable=self.resumable,
            )
        finally:
            if bench is None:
                own.clear()

    def __getstate__(self) -> dict[str, Any]:
        _ = self.key  # so that nobody who is sent this has to ask for versions again
        return {**vars(self), "needs": {}}


def _reached(store: Store, inputs: Mapping[str, Artefact]) -> dict[str, Artefact]:
    """Return artefacts as this machine sees them: another one may keep its store elsewhere."""
    found = {}
    for name, artefact in inputs.items():
        folder, fields = artefact.folder, artefact.meta["fields"]
        near = folder.is_relative_to(store.root) and folder.is_dir()
        one = artefact if near else store.find(folder.parent.name, fields)
        if one is None:
            raise RetrievalEvalError(f"{folder}: is no longer in the cache: run it again")
        found[name] = one
    return found
