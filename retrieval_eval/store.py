"""A content-addressed store of artefacts: whole and checksummed, or not there at all.

An artefact is a folder of files under a key made from everything that decides its content. It
is written under a temporary name and renamed, so that a kill at any moment leaves either the
whole artefact or none. Its checksums are verified when it is read: a damaged one is made again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from retrieval_eval.errors import InputError, RetrievalEvalError

__all__ = [
    "MANIFEST",
    "NOT_ARTEFACTS",
    "Artefact",
    "Store",
    "digest",
    "file_digest",
    "fold_digests",
    "locked",
    "seal",
    "unseal",
]

MANIFEST = "artefact.json"
"""Name of the file that seals a folder."""

NOT_ARTEFACTS = frozenset({"downloads", "locks", "tmp"})
"""Folders of a store that hold something else than artefacts."""


def digest(fields: Mapping[str, Any]) -> str:
    """Return a 32-digit key of plain values, equal for equal values in any order of keys.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(fields, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fold_digests(parts: Iterable[str | bytes]) -> str:
    """Return a 32-digit key of a sequence; ``["ab", "c"]`` and ``["a", "bc"]`` differ."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


def file_digest(path: Path) -> str:
    """Return the 32-digit key of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _files(folder: Path) -> list[str]:
    """List the files below a folder, but for its manifest, as relative paths."""
    found = (path for path in folder.rglob("*") if not path.is_dir())
    return sorted({path.relative_to(folder).as_posix() for path in found} - {MANIFEST})


def seal(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write the manifest of a finished folder: `meta`, and the size and digest of each file."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "blake2b": file_digest(folder / name)}
        for name in _files(folder)
    }
    body = {"meta": dict(meta), "files": files}
    text = json.dumps({**body, "blake2b": digest(body)}, indent=1, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def unseal(folder: Path) -> tuple[dict[str, Any], int]:
    """Check a sealed folder against its manifest.

    Returns
    -------
    meta : dict
        What :func:`seal` was given.
    n_bytes : int
        Total size of the files, without the manifest.

    Raises
    ------
    InputError
        If the manifest is missing or unreadable, or a file is missing, extra or changed.
    """
    manifest = folder / MANIFEST
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        meta, files = content["meta"], content["files"]
        intact = digest({"meta": meta, "files": files}) == content["blake2b"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{manifest}: no readable manifest: {error}") from None
    if not intact:
        raise InputError(f"{manifest}: was changed since it was written")
    odd = sorted({*_files(folder)} ^ {*files})
    if odd:
        raise InputError(f"{folder}: files differ from its manifest: {', '.join(odd)}")
    total = 0
    for name, facts in files.items():
        path = folder / name
        try:
            same = path.stat().st_size == facts["bytes"] and file_digest(path) == facts["blake2b"]
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if not same:
            raise InputError(f"{path}: content differs from the checksum in {MANIFEST}")
        total += int(facts["bytes"])
    return meta, total


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock of a path; wait for whoever holds it.

    Parameters
    ----------
    path : Path
        A file that is made, and removed when the lock is given up.

    Yields
    ------
    bool
        Whether the lock is held: False where the system has none.
    """
    stream = _lock(path)
    try:
        yield stream is not None
    finally:
        if stream is not None:
            path.unlink(missing_ok=True)
            stream.close()


def _lock(path: Path) -> IO[bytes] | None:
    """Hold the lock of a path until the stream is closed; None where the system has no locks."""
    while True:
        stream = path.open("ab")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                return stream
        except FileNotFoundError:
            pass  # who held it is done, and took the file away: somebody else may have a new one
        except OSError as error:
            stream.close()
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                return None
            raise
        stream.close()


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


def _say_nothing(_text: str) -> None:
    """Stand for a report; it has a name, so that a store can be given to another process."""


class Store:
    """Artefacts below one folder, as ``KIND/KEY/``.

    Several processes and threads may use one store: who asks for an artefact that another is
    making waits for it, and uses it. A lock is the system's, so it ends with whoever holds it; on a
    file system without locks, both do the work, and the first to finish is used.

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

    def __init__(self, root: Path, report: Callable[[str], None] = _say_nothing) -> None:
        self.root = root
        self.report = report

    @classmethod
    def default(cls) -> Store:
        """Open the user's store: ``$RETRIEVAL_EVAL_CACHE``, or the platform's cache folder."""
        given = os.environ.get("RETRIEVAL_EVAL_CACHE")
        if given:
            return cls(Path(given))
        from platformdirs import user_cache_path

        return cls(user_cache_path("retrieval-eval"))

    def find(self, kind: str, fields: Mapping[str, Any]) -> Artefact | None:
        """Return the artefact with this key if it is there and undamaged."""
        key = digest(fields)
        folder = self.root / kind / key
        if not folder.is_dir():
            return None
        try:
            meta, n_bytes = unseal(folder)
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
        found = self.find(kind, fields)
        if found is not None and usable(found.folder, found.meta):
            return found
        key = digest(fields)
        target = self.root / kind / key
        with self._claimed(key, target.parent) as alone:
            found = self.find(kind, fields)  # somebody may have made it while this waited
            if found is not None and usable(found.folder, found.meta):
                return found
            if found is not None:
                shutil.rmtree(found.folder, ignore_errors=True)
            elif target.is_dir():
                self.report(f"{target}: was damaged since it was made, and is made again")
            scratch = self.root / "tmp" / (key if alone else f"{key}-{uuid.uuid4().hex[:8]}")
            if not resumable:
                shutil.rmtree(scratch, ignore_errors=True)  # left by a process that was killed
            scratch.mkdir(exist_ok=True)
            return self._make(kind, fields, make, scratch, target, keep=resumable and alone)

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

    @contextlib.contextmanager
    def _claimed(self, key: str, parent: Path) -> Iterator[bool]:
        """Wait until nobody else makes this artefact; yield whether that can be known here."""
        path = self.root / "locks" / key
        try:
            for folder in (path.parent, self.root / "tmp", parent):
                folder.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise RetrievalEvalError(
                f"{self.root}: the cache cannot be written to: {error}; "
                "set RETRIEVAL_EVAL_CACHE to a folder of yours"
            ) from error
        with locked(path) as alone:
            yield alone

    def _make(
        self,
        kind: str,
        fields: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any]],
        scratch: Path,
        target: Path,
        *,
        keep: bool,
    ) -> Artefact:
        done = False
        try:
            meta = {**make(scratch), "fields": dict(fields)}
            seal(scratch, meta)
            other = self._move_in(scratch, target, kind, fields)
            done = True
        finally:
            if done or not keep:
                shutil.rmtree(scratch, ignore_errors=True)
        if other is not None:
            return other
        n_bytes = sum((target / name).stat().st_size for name in _files(target))
        return Artefact(digest(fields), target, dict(meta), n_bytes, fresh=True)

    def _move_in(
        self, scratch: Path, target: Path, kind: str, fields: Mapping[str, Any]
    ) -> Artefact | None:
        """Rename a finished folder; return another process's artefact if that was faster."""
        while True:
            try:
                scratch.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
            else:
                return None
            found = self.find(kind, fields)
            if found is not None:
                return found
            stale = scratch.with_name(f"{scratch.name}-stale")  # what lies there is damaged
            with contextlib.suppress(FileNotFoundError):
                target.rename(stale)
            shutil.rmtree(stale, ignore_errors=True)
