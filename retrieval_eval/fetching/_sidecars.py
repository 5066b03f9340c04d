"""What lies beside a fetched file: its lock, and small records that are whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retrieval_eval.errors import RetrievalEvalError

__all__ = ["exclusive", "read_record", "sidecar", "write_record"]


def sidecar(path: Path, suffix: str) -> Path:
    """Return ``scifact.zip.part`` for ``scifact.zip`` and ``.part``."""
    return path.with_name(path.name + suffix)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of `path` against other processes and threads; wait for it if need be.

    The lock ends with its process, however that ends. Its empty file stays: were it removed, a
    third process could lock a new one while a second still waits for the old one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = sidecar(path, ".lock").open("ab")
    except OSError as error:
        raise RetrievalEvalError(
            f"{path.parent}: cannot be written to: {error}; "
            "set RETRIEVAL_EVAL_CACHE to a folder of yours"
        ) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems know no locks
            raise RetrievalEvalError(
                f"{path}: cannot be locked: {error}; "
                "set RETRIEVAL_EVAL_CACHE to a folder on a local disk"
            ) from None
        yield


def read_record(path: Path) -> dict[str, Any]:
    """Read a record; an empty one if there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_record(path: Path, values: Mapping[str, Any]) -> None:
    """Write a record under a temporary name and rename it. The caller holds the lock."""
    scratch = sidecar(path, ".new")
    scratch.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    scratch.replace(path)
