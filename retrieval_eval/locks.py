"""Locks between processes, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["in_use", "locked"]

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # as file systems say it


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
            _held().discard(stream)
            if not stream.closed:  # closed: this is a fork of the process that holds it
                path.unlink(missing_ok=True)
                stream.close()


def in_use(path: Path) -> bool:
    """Whether somebody holds the lock of a path now."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or no locks
        return False
    return False


@functools.cache
def _held() -> set[IO[bytes]]:
    """Return the locks that this process holds.

    A fork shares its parent's locks and may outlive it; it gives them up at once, so that a lock
    ends with the process that took it.
    """
    held: set[IO[bytes]] = set()

    def give_up() -> None:
        for stream in held:
            stream.close()
        held.clear()

    os.register_at_fork(after_in_child=give_up)
    return held


def _lock(path: Path) -> IO[bytes] | None:
    """Hold the lock of a path until the stream is closed; None where the system has no locks."""
    while True:
        stream = path.open("ab")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                _held().add(stream)
                return stream
        except OSError as error:
            # Who held it is done, and took the file away: somebody else may have a new one.
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                stream.close()
                if error.errno in _NO_LOCKS:
                    return None
                raise
        stream.close()
