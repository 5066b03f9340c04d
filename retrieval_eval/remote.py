"""A store that several machines share: kept at a URL, and mirrored in a folder of each machine.

Object stores have neither locks nor a rename. So every upload goes below a name of its own, and a
small pointer, written last, names the one that counts:

    URL/KIND/KEY.json                the pointer, signed; names an upload and its manifest's digest
    URL/KIND/KEY/UPLOAD/...          the files of an upload, with their manifest; never changed

A kill at any moment leaves the old pointer or the new one. Whoever reads checks every byte.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.objects import Objects, is_url, without_password
from retrieval_eval.sealing import MANIFEST, digest, file_digest, read_signed, signed, unseal
from retrieval_eval.store import VARIABLE, Artefact, Request, Store, say_nothing

__all__ = ["RemoteStore", "Upload", "open_store"]

_TORN_S = (0.1, 0.5)  # some file systems show a file while it is being written
_REFRESH_S = 24 * 3600  # how exactly it is known when an artefact was used


def open_store(place: str | Path | None = None) -> Store:
    """Open the store in a folder or at a URL.

    Parameters
    ----------
    place : str or Path, optional
        A folder, or a text such as ``s3://bucket/prefix`` or ``file:///mnt/shared/cache``: any
        protocol of fsspec. By default ``$RETRIEVAL_EVAL_CACHE``, which may be either, or the
        platform's cache folder.

    Raises
    ------
    InputError
        If the URL has an unknown protocol, or one whose package is not installed.
    MissingExtraError
        If fsspec is not installed.

    Examples
    --------
    >>> open_store("results/cache").place
    'results/cache'
    """
    place = place or os.environ.get(VARIABLE) or None
    if place is None:
        return Store.default()
    if isinstance(place, Path) or not is_url(place):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(place)):
            raise InputError(f"{place}: is neither a folder nor a URL, which has '://' and is text")
        return Store(Path(place))
    store = RemoteStore(place)
    store.objects.open()  # an unknown protocol shows now, not after an hour's work
    return store


@dataclass(frozen=True)
class _Pointer:
    """What a pointer says; of one that cannot be read, nothing but its own digest."""

    upload: str
    manifest: str = ""
    n_bytes: int = 0
    folders: tuple[str, ...] = field(default=(), compare=False)
    used: float = field(default=0.0, compare=False)

    @classmethod
    def read(cls, data: bytes) -> _Pointer:
        try:
            body = read_signed(data.decode())
            return cls(**{**body, "folders": tuple(body["folders"])})
        except (ValueError, KeyError, TypeError, RecursionError):
            return cls(f"unreadable {hashlib.blake2b(data, digest_size=8).hexdigest()}")

    @property
    def readable(self) -> bool:
        return self.manifest != ""

    def data(self) -> bytes:
        return signed({**vars(self), "folders": list(self.folders)}).encode()


@dataclass(frozen=True)
class Upload:
    """What lies at a URL for one key: an artefact, or what an interrupted upload left.

    Parameters
    ----------
    kind, key : str
        The artefact's.
    name : str
        Name of the upload, which begins with its time; empty for a pointer without one.
    n_bytes : int
        What it takes.
    used : float
        When it was last used, to within a day, in seconds since 1970; for one that no pointer
        names, when it began.
    current : bool
        Whether the pointer names it.
    fault : str or None
        What names and sizes alone show to be wrong.
    """

    kind: str
    key: str
    name: str
    n_bytes: int
    used: float
    current: bool
    fault: str | None


class RemoteStore(Store):
    """A store at a URL, with a folder of this machine in front.

    What is found in the folder is used. Otherwise it is fetched, with every checksum verified; a
    damaged one counts as absent. What is made, or is only here, is uploaded before
    :meth:`get_or_make` returns. If two machines make the same artefact at once, the first to
    finish its upload is used by both. Resuming, :meth:`alone` and locks are the folder's.

    A pickled store carries URL and options. On another machine it has that machine's own folder.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/prefix``.
    root : Path, optional
        The folder in front; by default one for each URL, below ``$RETRIEVAL_EVAL_CACHE`` if that is
        a folder, or below the platform's cache folder.
    report : callable, optional
        Told, in a sentence, of each artefact that is damaged and made again.
    options : mapping, optional
        For the file system of fsspec; its own settings and environment variables by default.

    Examples
    --------
    >>> import tempfile
    >>> machines = [RemoteStore("memory://doc", Path(tempfile.mkdtemp())) for _ in range(2)]
    >>> made = machines[0].get_or_make("answers", {"question": "life"}, lambda folder: {"is": 42})
    >>> machines[1].find("answers", {"question": "life"}).meta["is"]
    42
    """

    def __init__(
        self,
        url: str,
        root: Path | None = None,
        report: Callable[[str], None] = say_nothing,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(root or _mirror(url), report)
        self.objects = Objects(url, options or {})
        self._node = platform.node()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._node != platform.node():
            self.root, self._node = _mirror(self.objects.url), platform.node()

    @property
    def place(self) -> str:
        """The URL, without a password, for messages."""
        return str(self.objects)

    def find(self, kind: str, fields: Mapping[str, Any]) -> Artefact | None:
        """Return the artefact with this key if it is undamaged in the folder or at the URL."""
        key = digest(fields)
        found = self._here(kind, key)
        pointer = self._pointer(kind, key) if found is None else None
        if pointer is None:
            return found
        with self._claimed(kind, key):
            found = self._here(kind, key)  # somebody may have fetched it while this waited
            if found is not None:
                return found
            try:
                folder = self._fetch(kind, key, pointer)
            except InputError:
                return None
            target = self.root / kind / key
            if target.is_dir():
                self.report(f"{target}: was damaged since it was made, and is fetched again")
            return self._move_in(kind, key, folder, fresh=False)

    def uploads(self) -> Iterator[Upload]:
        """Yield what is at the URL, kind by kind, by names and sizes alone."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for path, size in sorted(self.objects.sizes().items()):
            parts = _PATH.fullmatch(path)
            if parts is None:
                continue  # somebody else's
            sizes = found.setdefault((parts["kind"], parts["key"]), {})
            if parts["upload"]:
                n_bytes = size if parts["file"] != MANIFEST else 0
                sizes[parts["upload"]] = sizes.get(parts["upload"], 0) + n_bytes
        pointers = self.objects.read_all([f"{kind}/{key}.json" for kind, key in found])
        for (kind, key), sizes in found.items():
            data = pointers.get(f"{kind}/{key}.json")
            pointer = None if data is None else _Pointer.read(data)
            if pointer is not None:
                there = sizes.get(pointer.upload)
                fault = None
                if not pointer.readable:
                    fault = "its pointer cannot be read"
                elif there is None:
                    fault = "its files are gone"
                elif there != pointer.n_bytes:
                    fault = "its files are not of the size that its pointer says"
                name = "" if there is None else pointer.upload
                yield Upload(kind, key, name, there or 0, pointer.used, current=True, fault=fault)
            for name, n_bytes in sizes.items():
                if pointer is None or name != pointer.upload:
                    began = _began(name)
                    yield Upload(kind, key, name, n_bytes, began, current=False, fault=None)

    def fault(self, upload: Upload) -> str | None:
        """Read every byte of an artefact at the URL; return what is wrong with it, if anything."""
        pointer = self._pointer(upload.kind, upload.key)
        if upload.fault is not None or pointer is None or pointer.upload != upload.name:
            return upload.fault  # or somebody has replaced it meanwhile
        (self.root / "tmp").mkdir(parents=True, exist_ok=True)
        try:
            folder = self._fetch(upload.kind, upload.key, pointer)
        except InputError as error:
            return str(error)
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def withdraw(self, upload: Upload) -> None:
        """Remove an upload at the URL, its pointer first."""
        path = f"{upload.kind}/{upload.key}"
        if upload.current:
            pointer = self._pointer(upload.kind, upload.key)
            if pointer is not None and upload.name in ("", pointer.upload):
                self.objects.remove(f"{path}.json")
        if upload.name:
            self.objects.remove_below(f"{path}/{upload.name}")

    def share(self, kind: str, found: Artefact) -> None:
        """Upload what was found here, if it is not at the URL."""
        pointer = self._pointer(kind, found.key)
        if pointer is None or not pointer.readable:
            with self._claimed(kind, found.key):
                self._publish(kind, found.key, found.folder, pointer)
        else:
            self._touch(kind, found.key, pointer)

    def _obtain(self, request: Request) -> Artefact:
        seen = self._pointer(request.kind, request.key)
        theirs = None if seen is None else self._accept(request, seen)
        if theirs is None:
            return self._make(request, partial(self._settle, request, seen))
        target = self.root / request.kind / request.key
        if target.is_dir():
            self.report(f"{target}: was damaged since it was made, and is fetched again")
        return self._move_in(request.kind, request.key, theirs, fresh=False)

    def _settle(self, request: Request, seen: _Pointer | None, scratch: Path) -> Path:
        """Upload what was made, unless another machine was faster: then use what that made."""
        try:
            while True:
                rival = self._publish(request.kind, request.key, scratch, seen)
                if rival is None or rival.manifest == file_digest(scratch / MANIFEST):
                    return scratch
                theirs = self._accept(request, rival)
                if theirs is not None:
                    return theirs
                seen = rival
        except BaseException:  # what took hours is kept here; the next call uploads it
            self._move_in(request.kind, request.key, scratch, fresh=True)
            raise

    def _accept(self, request: Request, pointer: _Pointer) -> Path | None:
        """Fetch what a pointer names, if it is whole and still serves."""
        try:
            folder = self._fetch(request.kind, request.key, pointer)
        except InputError as error:
            where = f"{self.place}/{request.kind}/{request.key}"
            self.report(f"{where}: is damaged, and is made again: {error}")
            return None
        if request.usable(folder, unseal(folder)[0]):
            self._touch(request.kind, request.key, pointer)
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def _fetch(self, kind: str, key: str, pointer: _Pointer) -> Path:
        """Return a folder with what a pointer names, every byte checked; InputError if damaged."""
        if not pointer.readable:
            raise InputError("its pointer cannot be read")
        source = f"{kind}/{key}/{pointer.upload}"
        folder = self.root / "tmp" / f"{kind}-{key}-from-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        try:
            data = self.objects.read(f"{source}/{MANIFEST}")
            (folder / MANIFEST).write_bytes(data)
            if file_digest(folder / MANIFEST) != pointer.manifest:
                raise InputError(f"{MANIFEST} differs from the checksum in its pointer")
            names = [*read_signed(data.decode())["files"]]
            for name in (*names, *pointer.folders):
                if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
                    raise InputError(f"names a file outside of itself: {name}")
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            for name in pointer.folders:
                (folder / name).mkdir(exist_ok=True)
            if names:
                self.objects.fetch(source, names, folder)
            unseal(folder, key)
        except FileNotFoundError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError("files that it names are gone") from error
        except (ValueError, KeyError, TypeError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(str(error).replace(f"{folder}/", "")) from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder

    def _publish(self, kind: str, key: str, folder: Path, seen: _Pointer | None) -> _Pointer | None:
        """Upload a sealed folder, unless there is another pointer than was seen: return that."""
        path = f"{kind}/{key}"
        while True:
            there = self._pointer(kind, key)
            if there is not None and there != seen:
                return there
            mine = _describe(folder)
            names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()]
            self.objects.send(folder, names, f"{path}/{mine.upload}")
            if self._point(kind, key, mine, there):
                return None
            self.objects.remove_below(f"{path}/{mine.upload}")  # and look again who was faster

    def _point(self, kind: str, key: str, mine: _Pointer, seen: _Pointer | None) -> bool:
        """Write a pointer in place of the one that was seen; False if another is there by now."""
        if self._pointer(kind, key) != seen:
            return False
        if seen is None:
            created = self.objects.create(f"{kind}/{key}.json", mine.data())
            return created or self._pointer(kind, key) == mine
        self.objects.write(f"{kind}/{key}.json", mine.data())
        return True

    def _touch(self, kind: str, key: str, pointer: _Pointer) -> None:
        """Note that an artefact is used, if that was not noted today."""
        if time.time() - pointer.used < _REFRESH_S:
            return
        fresh = _Pointer(**{**vars(pointer), "used": time.time()})
        with contextlib.suppress(RetrievalEvalError):  # one who may only read can do without
            self.objects.write(f"{kind}/{key}.json", fresh.data())

    def _pointer(self, kind: str, key: str) -> _Pointer | None:
        """Read a pointer; None if there is none."""
        for wait in (*_TORN_S, None):
            try:
                pointer = _Pointer.read(self.objects.read(f"{kind}/{key}.json"))
            except FileNotFoundError:
                return None
            if pointer.readable or wait is None:
                return pointer
            time.sleep(wait)
        raise AssertionError("the last look returns")


_PATH = re.compile(
    r"(?P<kind>[^/]+)/(?P<key>[0-9a-f]{32})"
    r"(?:\.json|/(?P<upload>[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8})/(?P<file>.+))"
)


def _describe(folder: Path) -> _Pointer:
    """Return the pointer to a new upload of a sealed folder."""
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:8]}"
    files = read_signed((folder / MANIFEST).read_bytes().decode())["files"]
    empty = (p for p in sorted(folder.rglob("*")) if p.is_dir() and not any(p.iterdir()))
    return _Pointer(
        name,
        file_digest(folder / MANIFEST),
        sum(facts["bytes"] for facts in files.values()),
        tuple(path.relative_to(folder).as_posix() for path in empty),
        time.time(),
    )


def _began(upload: str) -> float:
    return float(calendar.timegm(time.strptime(upload.partition("-")[0], "%Y%m%dT%H%M%SZ")))


def _mirror(url: str) -> Path:
    """Return this machine's folder for a URL."""
    shown = without_password(url.rstrip("/"))
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", shown).strip("-")[:60]
    return Store.default().root / "remote" / f"{name}-{digest({'url': shown})[:8]}"
