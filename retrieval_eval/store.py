"""A content-addressed store of artefacts: whole and checksummed, or not there at all.

An artefact is a folder of files under a key made from everything that decides its content. It
is written under a temporary name and renamed, so that a kill at any moment leaves either the
whole artefact or none. Its checksums are verified when it is read: a damaged one is made again.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.locks import in_use, locked
from retrieval_eval.objects import is_url
from retrieval_eval.sealing import MANIFEST, digest, file_digest, fold_digests, seal, unseal

__all__ = [
    "MANIFEST",
    "NOT_ARTEFACTS",
    "VARIABLE",
    "Artefact",
    "Request",
    "Store",
    "digest",
    "file_digest",
    "fold_digests",
    "in_use",
    "locked",
    "seal",
    "unseal",
]

NOT_ARTEFACTS = frozenset({"downloads", "locks", "remote", "tmp"})
"""Folders of a store that hold something else than artefacts."""

VARIABLE = "RETRIEVAL_EVAL_CACHE"
"""Environment variable that names the user's store: a folder, or a URL."""

_SILENT_S = 60  # resumable work is written down every second or so

S = TypeVar("S", bound="Store")


@dataclass(frozen=True)
class Artefact:
    """A verified artefact of a store.

    Parameters
    ----------
    key : str
        Its key.
    folder : Path
        Where its files are. Read-only by convention.
    meta : dict
        What its maker recorded (figures, versions), and the ``fields`` of its key.
    n_bytes : int
        Total size of its files.
    fresh : bool
        Whether it was made by this call rather than found.
    """

    key: str
    folder: Path
    meta: dict[str, Any]
    n_bytes: int
    fresh: bool


@dataclass(frozen=True)
class Request:
    """What :meth:`Store.get_or_make` was asked for, while its lock is held.

    Parameters
    ----------
    kind, key : str
        Where the artefact belongs.
    fields, make, usable, resumable
        As given.
    alone : bool
        Whether nobody else on this machine can be at it.
    """

    kind: str
    key: str
    fields: Mapping[str, Any]
    make: Callable[[Path], Mapping[str, Any]]
    usable: Callable[[Path, Mapping[str, Any]], bool]
    resumable: bool
    alone: bool


def say_nothing(_text: str) -> None:
    """Stand for a report."""


class Store:
    """Artefacts below one folder, as ``KIND/KEY/``.

    Several processes and threads may use one store: who asks for an artefact that another is
    making waits for it, and uses it. A lock is the system's, so it ends with whoever holds it; on a
    file system without locks, both do the work, and the first to finish is used.

    A store can be pickled, to be used by another process; `report` stays behind.

    Parameters
    ----------
    root : Path
        The folder; made when first written to.
    report : callable, optional
        Told, in a sentence, of each artefact that is damaged and made again.

    Examples
    --------
    >>> import tempfile
    >>> store = Store(Path(tempfile.mkdtemp()))
    >>> def make(folder):
    ...     _ = (folder / "answer.txt").write_text("42")
    ...     return {"took": 7}
    >>> first = store.get_or_make("answers", {"question": "life"}, make)
    >>> again = store.get_or_make("answers", {"question": "life"}, make)
    >>> first.fresh, again.fresh, again.meta["took"]
    (True, False, 7)
    """

    def __init__(self, root: Path, report: Callable[[str], None] = say_nothing) -> None:
        self.root = root
        self.report = report

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "report": say_nothing}

    @classmethod
    def default(cls) -> Store:
        """Open the user's store on this machine: ``$RETRIEVAL_EVAL_CACHE`` if that is a folder.

        If it is not set, or a URL, this is the platform's cache folder;
        :func:`retrieval_eval.remote.open_store` opens the URL.
        """
        given = os.environ.get(VARIABLE)
        if given and not is_url(given):
            return Store(Path(given))
        from platformdirs import user_cache_path

        return Store(user_cache_path("retrieval-eval"))

    @property
    def place(self) -> str:
        """Where the store is, for messages."""
        return str(self.root)

    def reporting(self: S, report: Callable[[str], None]) -> S:
        """Return this store with another `report`."""
        other = copy.copy(self)
        other.report = report
        return other

    def find(self, kind: str, fields: Mapping[str, Any]) -> Artefact | None:
        """Return the artefact with this key if it is there and undamaged."""
        return self._here(kind, digest(fields))

    def holds(self, kind: str, fields: Mapping[str, Any]) -> bool:
        """Whether there is an artefact with this key; whether it is sound is not looked at."""
        return (self.root / kind / digest(fields) / MANIFEST).is_file()

    def _here(self, kind: str, key: str) -> Artefact | None:
        folder = self.root / kind / key
        if not folder.is_dir():
            return None
        try:
            meta, n_bytes = unseal(folder, key)
        except InputError:
            return None
        with contextlib.suppress(OSError):
            os.utime(folder / MANIFEST)  # says when it was last used
        return Artefact(key, folder, meta, n_bytes, fresh=False)

    def get_or_make(
        self,
        kind: str,
        fields: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        usable: Callable[[Path, Mapping[str, Any]], bool] = lambda _folder, _meta: True,
        resumable: bool = False,
    ) -> Artefact:
        """Return the artefact with this key, making it first if need be.

        Parameters
        ----------
        kind : str
            Folder name that groups artefacts of a kind.
        fields : mapping
            Everything that decides the content, as plain JSON values.
        make : callable
            Gets an empty folder, writes the files, returns figures to record with them. If it
            raises, or its process ends, nothing is kept.
        usable : callable, optional
            Gets an undamaged artefact's folder and what its maker recorded, and says whether it
            still serves; one that points at something gone is made again.
        resumable : bool
            What was written before an interruption is kept, and given to the next `make` for this
            key, which has to check it and go on from there.

        Raises
        ------
        RetrievalEvalError
            If the store cannot be written to.
        """
        key = digest(fields)
        found = self._here(kind, key)
        if found is None or not usable(found.folder, found.meta):
            with self._claimed(kind, key) as alone:
                found = self._here(kind, key)  # somebody may have made it while this waited
                if found is None or not usable(found.folder, found.meta):
                    if found is not None:
                        self.remove(found.folder)
                    return self._obtain(Request(kind, key, fields, make, usable, resumable, alone))
        self.share(kind, found)
        return found

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Wait for whoever else uses this name; a store that cannot be written to has no locks."""
        path = self.root / "locks" / name
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                stack.enter_context(locked(path))
            yield

    def remove(self, folder: Path) -> None:
        """Remove a folder of the store: all of it, or, if this is interrupted, none."""
        stale = self.root / "tmp" / f"{folder.name}-{uuid.uuid4().hex[:8]}-stale"
        stale.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(stale)
            shutil.rmtree(stale, ignore_errors=True)

    @contextlib.contextmanager
    def _claimed(self, kind: str, key: str) -> Iterator[bool]:
        """Wait until nobody else makes this artefact; yield whether that can be known here."""
        path = self.root / "locks" / f"{kind}-{key}"
        try:
            for folder in (path.parent, self.root / "tmp", self.root / kind):
                folder.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise RetrievalEvalError(
                f"{self.root}: the cache cannot be written to: {error}; "
                f"set {VARIABLE} to a folder of yours"
            ) from error
        with locked(path) as alone:
            yield alone

    def share(self, kind: str, found: Artefact) -> None:
        """Let others find what was found here; here, they do."""

    def _obtain(self, request: Request) -> Artefact:
        """Make an artefact, or get it from elsewhere; the lock is held, none here is usable."""
        return self._make(request, lambda scratch: scratch)

    def _make(self, request: Request, settle: Callable[[Path], Path]) -> Artefact:
        """Make an artefact; `settle` gets it sealed, and says which folder is to be used."""
        target = self.root / request.kind / request.key
        if target.is_dir():
            self.report(f"{target}: was damaged since it was made, and is made again")
        scratch = self._scratch(request)
        kept = request.resumable and request.alone
        try:
            fresh = not _finished(request, scratch)
            if fresh:
                if not request.resumable:
                    shutil.rmtree(scratch, ignore_errors=True)  # left by a killed process
                scratch.mkdir(exist_ok=True)
                seal(scratch, {**request.make(scratch), "fields": dict(request.fields)})
            settled = settle(scratch)
            kept = False
            return self._move_in(
                request.kind, request.key, settled, fresh=fresh and settled == scratch
            )
        finally:
            if not kept:
                shutil.rmtree(scratch, ignore_errors=True)

    def _scratch(self, request: Request) -> Path:
        """Return where to work, and move there what may be resumed.

        A lock may exclude the processes of one machine alone, as some mounts of network file
        systems have it. So every machine works in a folder of its own, and goes on with another's
        work only if nothing was written there for a while.
        """
        name = self.root / "tmp" / f"{request.kind}-{request.key}"
        if not request.alone:
            return name.with_name(f"{name.name}-{uuid.uuid4().hex[:8]}")
        scratch = name.with_name(f"{name.name}-{_this_machine()}")
        if request.resumable and not scratch.exists():
            for other in name.parent.glob(f"{name.name}-{'[0-9a-f]' * 8}"):
                if time.time() - _last_written(other) > _SILENT_S:
                    with contextlib.suppress(OSError):
                        other.rename(scratch)
        return scratch

    def _move_in(self, kind: str, key: str, folder: Path, *, fresh: bool) -> Artefact:
        """Make a sealed folder the artefact; another process's is used if that was faster."""
        target = self.root / kind / key
        meta, n_bytes = _facts(folder)
        while True:
            try:
                folder.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
            else:
                return Artefact(key, target, meta, n_bytes, fresh=fresh)
            found = self._here(kind, key)
            if found is not None:
                shutil.rmtree(folder, ignore_errors=True)
                return found
            self.remove(target)  # what lies there is damaged


def _finished(request: Request, scratch: Path) -> bool:
    """Whether a process was killed after it had made this, and before it could move it in."""
    try:
        meta, _ = unseal(scratch, request.key)
    except InputError:
        return False
    return request.usable(scratch, meta)


@functools.cache
def _this_machine() -> str:
    """Return 8 digits that the processes of a running system share, and no others."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        name = platform.node()
    return digest({"machine": name})[:8]


def _last_written(folder: Path) -> float:
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _facts(folder: Path) -> tuple[dict[str, Any], int]:
    """Return what :func:`unseal` does of a folder that was sealed or checked just now."""
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return content["meta"], sum(facts["bytes"] for facts in content["files"].values())
