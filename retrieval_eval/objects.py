"""Objects at a URL, by any protocol of fsspec: read, written and removed, with a few tries each."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from retrieval_eval.errors import InputError, MissingExtraError, RetrievalEvalError, unknown_name

__all__ = ["Objects", "is_url", "without_password"]

T = TypeVar("T")

_WAITS_S = (0.2, 1.0, 4.0)  # before each further try; object stores' own clients try, too
_FINAL = (ImportError, NotImplementedError, PermissionError, TypeError, ValueError)
_ANSWERS = (FileNotFoundError, FileExistsError)


def is_url(place: str) -> bool:
    """Whether a text names a URL rather than a path: ``s3://bucket/prefix``, ``memory://x``."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)", place) is not None


def without_password(url: str) -> str:
    """Return a URL as messages may show it.

    Examples
    --------
    >>> without_password("ftp://me:secret@host/cache")
    'ftp://me@host/cache'
    """
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", url)


class Objects:
    """What lies below a URL. Names are relative to it; another process can be given this.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/prefix``.
    options : mapping
        For the file system of fsspec.

    Examples
    --------
    >>> objects = Objects("memory://example", {})
    >>> objects.write("a/b.txt", b"text")
    >>> objects.read("a/b.txt"), objects.sizes()
    (b'text', {'a/b.txt': 4})
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = url
        self.options = dict(options)

    def __str__(self) -> str:
        return without_password(self.url)

    def open(self) -> tuple[Any, str]:
        """Return the file system and the path in it; fsspec keeps one for each process.

        Raises
        ------
        InputError
            If the protocol is unknown, its package is not installed, or no folder is named.
        MissingExtraError
            If fsspec is not installed.
        """
        if importlib.util.find_spec("fsspec") is None:
            raise MissingExtraError(f"the cache at {self}", "fsspec", "remote")
        import fsspec

        protocol, _, rest = self.url.partition("://")
        if "::" in protocol:
            raise InputError(f"{self}: chained URLs cannot be used; give one protocol")
        try:
            fsspec.get_filesystem_class(protocol)
        except ValueError:
            known = fsspec.available_protocols()
            raise unknown_name("protocol", protocol, known, str(self)) from None
        except ImportError as error:
            raise InputError(
                f"{self}: a package for {protocol}:// is not installed: {error}"
            ) from error
        fs, path = self._attempt("opened", lambda: fsspec.core.url_to_fs(self.url, **self.options))
        if not path.strip("/") or (protocol in ("file", "local") and not rest.startswith("/")):
            raise InputError(
                f"{self}: must name a bucket or a folder, such as s3://bucket/prefix or "
                "file:///folder"
            )
        return fs, str(path).rstrip("/")

    def sizes(self) -> dict[str, int]:
        """Return the names of all objects, and how many bytes each has."""
        fs, base = self.open()
        fs.invalidate_cache()
        try:
            found = self._attempt("listed", lambda: fs.find(base, detail=True))
        except FileNotFoundError:
            return {}
        return {path[len(base) + 1 :]: int(facts["size"] or 0) for path, facts in found.items()}

    def read(self, name: str) -> bytes:
        """Return an object's bytes; FileNotFoundError if it is not there."""
        fs, base = self.open()
        data: bytes = self._attempt("read", lambda: fs.cat_file(f"{base}/{name}"))
        return data

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return the bytes of all objects that can be read."""
        fs, base = self.open()
        paths = [f"{base}/{name}" for name in names]
        found = self._attempt("read", lambda: fs.cat(paths, on_error="return")) if paths else {}
        return {
            path[len(base) + 1 :]: data for path, data in found.items() if isinstance(data, bytes)
        }

    def fetch(self, source: str, names: Sequence[str], folder: Path) -> None:
        """Copy objects below `source` into a folder; FileNotFoundError if one is not there."""
        fs, base = self.open()
        paths = [f"{base}/{source}/{name}" for name in names]
        self._attempt("read", lambda: fs.get(paths, [str(folder / name) for name in names]))

    def send(self, folder: Path, names: Sequence[str], target: str) -> None:
        """Copy files of a folder below `target`."""
        fs, base = self.open()
        paths = [f"{base}/{target}/{name}" for name in names]

        def put() -> None:
            self._make_folders(fs, paths)
            fs.put([str(folder / name) for name in names], paths)

        self._attempt("written to", put, answers=())

    def write(self, name: str, data: bytes) -> None:
        """Write an object, whether or not there is one."""
        fs, base = self.open()

        def put() -> None:
            self._make_folders(fs, [f"{base}/{name}"])
            fs.pipe_file(f"{base}/{name}", data)

        self._attempt("written to", put, answers=())

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one, as surely as the protocol can; False if there is.

        After a try that seemed to fail, that may be what was written then.
        """
        fs, base = self.open()
        try:
            self._attempt("written to", lambda: fs.pipe_file(f"{base}/{name}", data, mode="create"))
        except FileExistsError:
            return False
        except (FileNotFoundError, RetrievalEvalError):  # a file system that has no such mode
            self.write(name, data)
        return True

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        fs, base = self.open()
        with contextlib.suppress(FileNotFoundError):
            self._attempt("removed from", lambda: fs.rm(f"{base}/{name}"))

    def remove_below(self, name: str) -> None:
        """Remove all objects below a name, and the folders that are empty then."""
        fs, base = self.open()
        fs.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            self._attempt("removed from", lambda: fs.rm(f"{base}/{name}", recursive=True))
        if not fs.async_impl:
            with contextlib.suppress(OSError, NotImplementedError):
                fs.rmdir(str(PurePosixPath(f"{base}/{name}").parent))

    def _make_folders(self, fs: Any, paths: Sequence[str]) -> None:
        if not fs.async_impl:  # the others are object stores, which have none
            for parent in sorted({str(PurePosixPath(path).parent) for path in paths}):
                fs.makedirs(parent, exist_ok=True)

    def _attempt(
        self,
        done: str,
        call: Callable[[], T],
        *,
        answers: tuple[type[Exception], ...] = _ANSWERS,
    ) -> T:
        """Call something that may fail for a moment; `answers` are errors that say what is so."""
        for wait in (*_WAITS_S, None):
            try:
                return call()
            except Exception as error:
                if isinstance(error, answers):
                    raise
                if wait is None or isinstance(error, _FINAL):
                    text = " ".join(str(error).split()).replace(self.url, str(self))
                    raise RetrievalEvalError(
                        f"{self}: cannot be {done}: {type(error).__name__}: {text}; what "
                        "is finished is kept on this machine, and goes there with the next run"
                    ) from error
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")
