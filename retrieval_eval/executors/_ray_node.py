"""What runs on the machines of a Ray cluster: in Ray's own processes, and in children of these.

A job is done in a child of the process that Ray has started, under the same limits as on one
machine. The child lives on with that process, which Ray uses again for the next job.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from retrieval_eval import __version__
from retrieval_eval.errors import DISTRIBUTION, RetrievalEvalError
from retrieval_eval.executors.local import let_go, work
from retrieval_eval.isolation import ChildError, Returned, Worker, machine_memory
from retrieval_eval.store import Artefact, Store
from retrieval_eval.timing import library_versions, machine

__all__ = ["Limits", "await_folder", "do", "is_shared", "libraries", "probe", "see"]

_EVERY_S = 0.2
_TELL_S = 1.0
_AWAIT_S = 65.0  # NFS may believe for a minute that a folder is not there
_LOOK_S = 5.0
_THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Limits:
    """What a job may take.

    Parameters
    ----------
    memory_bytes : int
        Anonymous memory of the child.
    seconds : float or None
        Time; None for as long as it takes.
    """

    memory_bytes: int
    seconds: float | None


# In a process of Ray: its children, by whether they have the machine to themselves, and the one
# that was used last, with what it did.
_children: dict[bool, Worker] = {}
_last: dict[Worker, str] = {}


def do(
    sent: bytes,
    kind: str,
    store: Store,
    inputs: Mapping[str, Artefact],
    limits: Limits,
    folder: str,
    whole: bool,
) -> Iterator[tuple[str, Any]]:
    """Do a job in a child, and yield what there is to tell; a stream of Ray brings it to the sweep.

    Yields
    ------
    what : {'units', 'damage', 'artefact', 'failure', 'error'}
        As a :class:`retrieval_eval.executors.News` names them; one of the last three ends it.
    told : object
        Its value.
    """
    for one in inputs.values():
        await_folder(one.folder, store)
    with contextlib.suppress(OSError):
        os.chdir(folder)  # paths in a sweep, and a user's own modules, are relative to its folder
    worker = _child(kind, limits, whole)
    ended = False
    try:
        with _threads_of_ray(left=not whole):
            worker.start(_work, (sent, store, dict(inputs)))
        units, told_at = 0, time.monotonic()
        while not ended:
            for told in worker.poll(_EVERY_S):
                if isinstance(told, Returned):
                    ended = True
                    yield "units", units
                    yield "artefact", told.value
                elif isinstance(told, str):
                    yield "damage", told
                elif told:
                    units += told
                else:  # it has begun to work
                    yield "units", 0
            if units and time.monotonic() - told_at >= _TELL_S:
                yield "units", units
                units, told_at = 0, time.monotonic()
    except RetrievalEvalError as error:
        ended = True
        yield "error", error
    except ChildError as error:
        ended = True
        yield "failure", str(error)
    finally:
        if not ended:  # Ray stops this task
            worker.kill()


def _work(sent: bytes, store: Store, inputs: Mapping[str, Artefact]) -> Artefact:
    """Do a job in the child; nobody before could have needed what it is made of."""
    return work(pickle.loads(sent), store, inputs)  # noqa: S301 (sent by our own sweep)


def _child(kind: str, limits: Limits, whole: bool) -> Worker:
    """Return the child of this process for such jobs; what it or the other had open is closed.

    There are two, since a child takes its number of threads when it starts.
    """
    worker = _children.setdefault(whole, Worker())
    for last, did in tuple(_last.items()):
        if last is not worker or (did == "encode" and kind != "encode"):
            if last.answers is not None:
                with contextlib.suppress(ChildError):
                    last.run(let_go)
            del _last[last]
    worker.memory_bytes, worker.seconds = limits.memory_bytes, limits.seconds
    _last[worker] = kind
    return worker


@contextlib.contextmanager
def _threads_of_ray(*, left: bool) -> Iterator[None]:
    """Start a child with the threads that Ray sets for its share of the machine, or without.

    A job that has the machine to itself runs as it would without Ray. A value that somebody
    has chosen is another than Ray's, and stays.
    """
    import ray

    given = os.environ.get(_THREADS)
    share = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    if left or given != str(max(1, math.floor(share))):
        yield
        return
    del os.environ[_THREADS]
    try:
        yield
    finally:
        os.environ[_THREADS] = given


def await_folder(folder: Path, store: Store) -> None:
    """Wait until this machine sees what another one has made in the folder that they share.

    A network's file system may go on for a while saying that something is not there. Whatever is
    not there after that is found to be missing by who needs it.
    """
    until = time.monotonic() + _AWAIT_S
    while (
        folder.is_relative_to(store.root)
        and is_shared(store)
        and not folder.is_dir()
        and time.monotonic() < until
    ):
        with contextlib.suppress(OSError):
            next(folder.parent.iterdir(), None)  # has it ask again
        time.sleep(_EVERY_S)


def is_shared(store: Store) -> bool:
    """Whether a store is one folder for all machines, not a mirror of each."""
    return type(store) is Store


def libraries() -> dict[str, str]:
    """Return the versions of what this package needs, or can use, and of Python."""
    from packaging.requirements import Requirement

    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        lines = []
    needed = [Requirement(line) for line in lines]
    names = {
        one.name
        for one in needed
        if not any(f'extra == "{extra}"' in str(one.marker) for extra in ("test", "dev"))
    }
    found = library_versions(*names)
    own = {"retrieval_eval": __version__, "python": found["python"].rpartition(".")[0]}
    return {**found, **own}


def probe() -> Callable[[tuple[bytes, str], Mapping[str, str]], Mapping[str, Any]]:
    """Return a function that looks at a machine, made so that it can be sent to any.

    It must not need this package until it knows that it is there; so it is no function of a module.
    """

    def look(question: tuple[bytes, str], versions: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            from retrieval_eval.executors import _ray_node as there  # noqa: PLW0406 (it is sent)

            found = there.libraries()
        except (ImportError, AttributeError) as error:
            return {"fault": f"has not this version of retrieval_eval: {error}"}
        odd = [
            f"{name} {found.get(name, 'not installed')} (here {wanted})"
            for name, wanted in sorted(versions.items())
            if found.get(name) != wanted
        ]
        if odd:
            return {"fault": f"has other versions: {', '.join(odd)}"}
        return there.see(*question)

    return look


def see(store_sent: bytes, marker: str) -> Mapping[str, Any]:
    """Look from a machine at the store, and at the machine.

    Returns
    -------
    mapping
        ``fault``, None or what keeps the machine from taking jobs; ``machine``, what timings depend
        on; ``memory_bytes``, what its children may take together.
    """
    fault = None
    try:
        store: Store = pickle.loads(store_sent)  # noqa: S301 (sent by our own sweep)
        fault = _sees_folder(store, marker) if is_shared(store) else _sees_url(store)
    except (RetrievalEvalError, OSError, ImportError) as error:
        fault = f"cannot use the cache: {error}"
    return {"fault": fault, "machine": machine(), "memory_bytes": machine_memory()}


def _sees_folder(store: Store, marker: str) -> str | None:
    folder = store.root / "tmp"
    until = time.monotonic() + _LOOK_S
    while not (folder / marker).exists():
        if time.monotonic() > until:
            return (
                f"does not see the cache {store.place} of the machine that runs the sweep: all "
                "must have that folder, under this path, on a file system that they share; or "
                "keep the cache at a URL"
            )
        time.sleep(_EVERY_S)
    with tempfile.TemporaryFile(dir=folder):
        return None


def _sees_url(store: Store) -> str | None:
    """Read what the first machine to ask has written."""
    store.get_or_make("machines", {"about": "whether machines can use this"}, lambda _folder: {})
    return None
