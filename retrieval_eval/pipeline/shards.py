"""Embeddings written as they are made, so that what an interruption costs is little.

A file only grows. Now and then what was written is forced to the disk, and then its length noted;
who goes on later cuts the file at that length. So the bytes do not depend on interruptions.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Vectors
from retrieval_eval.errors import InputError

__all__ = ["Growing", "Stored", "read_embeddings"]

Stored = Literal["float32", "float16"]
"""Element type in which embeddings are kept."""

_PROGRESS = "progress.json"
_DENSE, _DATA, _INDICES, _ENDS = "vectors.npy", "data.f4", "indices.i4", "ends.i8"


class Growing:
    """Rows of a matrix on their way into a folder.

    Parameters
    ----------
    folder : Path
        Empty, or what an earlier, interrupted one left.
    rows : int
        How many there will be.
    stored : {'float32', 'float16'}
        For dense vectors; values of sparse ones are float32.
    commit_s : float
        Seconds of work that an interruption may cost.

    Attributes
    ----------
    done : int
        Rows that are there.
    """

    def __init__(self, folder: Path, rows: int, stored: Stored, commit_s: float) -> None:
        self._folder = folder
        self._rows = rows
        self._stored = stored
        self._commit_s = commit_s
        self._files: dict[str, Any] = {}
        self._lengths: dict[str, int] = {}  # of whole blocks: an interrupted write does not count
        self._n_values = 0
        self.done = 0
        self.shape_1: int | None = None
        self.facts: dict[str, Any] = {"seconds": 0.0}
        self._since = perf_counter()
        self._resume()

    def _resume(self) -> None:
        try:
            state = json.loads((self._folder / _PROGRESS).read_text(encoding="utf-8"))
            lengths = {name: int(length) for name, length in state["files"].items()}
            whole = all(
                (self._folder / name).stat().st_size >= length for name, length in lengths.items()
            )
        except (OSError, ValueError, KeyError, AttributeError):
            whole, state, lengths = False, {}, {}
        if not whole:
            for path in self._folder.iterdir():
                path.unlink()
            return
        for name, length in lengths.items():
            os.truncate(self._folder / name, length)
            self._files[name] = (self._folder / name).open("ab", buffering=0)
        self._lengths = lengths
        self.done, self.shape_1 = state["rows"], state["dimension"]
        self._n_values, self.facts = state["values"], state["facts"]

    def append(self, block: Vectors) -> None:
        """Add rows.

        Raises
        ------
        InputError
            If their dimension differs from that of the rows before, there are too many, or a value
            is beyond the range of float16.
        """
        if self.shape_1 is None:
            self.shape_1 = int(block.shape[1])
            if isinstance(block, np.ndarray):
                self._start(block.shape[1])
        if block.shape[1] != self.shape_1 or self.done + block.shape[0] > self._rows:
            raise InputError(
                f"expected {self._rows} vectors of dimension {self.shape_1}, got "
                f"{block.shape[0]} of dimension {block.shape[1]} after {self.done}"
            )
        n_values = 0
        if isinstance(block, np.ndarray):
            self._write(_DENSE, self._dense(block))
        else:
            n_values = int(block.indptr[-1])
            self._write(_DATA, block.data.astype(np.float32))
            self._write(_INDICES, block.indices.astype(np.int32))
            self._write(_ENDS, self._n_values + block.indptr[1:].astype(np.int64))
        lengths = {name: stream.tell() for name, stream in self._files.items()}
        whole = self.done + block.shape[0], self._n_values + n_values, lengths
        self.done, self._n_values, self._lengths = whole
        if perf_counter() - self._since >= self._commit_s:
            self.commit()

    def _dense(self, block: NDArray[np.float32]) -> NDArray[np.floating]:
        if self._stored == "float32":
            return np.ascontiguousarray(block, dtype=np.float32)
        with np.errstate(over="ignore", under="ignore"):
            small = np.ascontiguousarray(block, dtype=np.float16)
        lost = block.any(axis=1) & ~small.any(axis=1)
        if lost.any():
            row = self.done + int(np.flatnonzero(lost)[0])
            raise InputError(
                f"row {row}: every value is below the range of float16 (6e-8): keep float32"
            )
        if not np.isfinite(small).all():
            row = self.done + int(np.flatnonzero(~np.isfinite(small).all(axis=1))[0])
            raise InputError(
                f"row {row}: a value is beyond the range of float16 (65,504): keep float32"
            )
        return small

    def _start(self, d: int) -> None:
        """Write the header of a file whose rows are still to come."""
        stream = self._open(_DENSE)
        dtype = np.dtype(self._stored)
        header = {"descr": dtype.str, "fortran_order": False, "shape": (self._rows, d)}
        np.lib.format.write_array_header_1_0(stream, header)

    def _open(self, name: str) -> Any:
        if name not in self._files:
            self._files[name] = (self._folder / name).open("ab", buffering=0)
        return self._files[name]

    def _write(self, name: str, values: NDArray[Any]) -> None:
        left = values.reshape(-1).view(np.uint8).data if values.size else memoryview(b"")
        while len(left):  # a write may take less than it is given
            left = left[self._open(name).write(left) :]
        self._open(name)

    def commit(self, facts: Mapping[str, float] | None = None) -> None:
        """Force what is there to the disk, then note its length, and what it has cost."""
        now = perf_counter()
        self.facts["seconds"] += now - self._since
        for name, value in (facts or {}).items():
            self.facts[name] = self.facts.get(name, 0) + value
        for stream in self._files.values():
            os.fsync(stream.fileno())
        state = {
            "rows": self.done,
            "dimension": self.shape_1,
            "values": self._n_values,
            "facts": self.facts,
            "files": self._lengths,
        }
        scratch = self._folder / f"{_PROGRESS}.new"
        with scratch.open("wb") as notes:
            notes.write(json.dumps(state).encode())
            notes.flush()
            os.fsync(notes.fileno())
        scratch.rename(self._folder / _PROGRESS)
        self._since = perf_counter()

    def close(self) -> None:
        """Close the files."""
        for stream in self._files.values():
            with contextlib.suppress(OSError):  # a full disk was reported where it was written to
                stream.close()

    def finish(self) -> Mapping[str, Any]:
        """Take the notes away that only an interrupted one needs; return what to record."""
        self.close()
        for name, length in self._lengths.items():
            if (self._folder / name).stat().st_size != length:
                raise OSError(f"{self._folder / name}: was changed while it was written")
        (self._folder / _PROGRESS).unlink(missing_ok=True)
        return {"shape": [self.done, self.shape_1], "values": self._n_values, **self.facts}


def read_embeddings(folder: Path, meta: Mapping[str, Any]) -> Any:
    """Map finished embeddings into memory.

    Parameters
    ----------
    folder : Path
        What :class:`Growing` filled.
    meta : mapping
        What :meth:`Growing.finish` returned.

    Returns
    -------
    ndarray of float32 or float16, or csr_array of float32
        Read-only, and read from the disk as it is used.
    """
    if (folder / _DENSE).is_file():
        return np.load(folder / _DENSE, mmap_mode="r", allow_pickle=False)
    from scipy.sparse import csr_array

    n, n_values = meta["shape"][0], meta["values"]
    wide = n_values >= 2**31  # scipy wants both kinds of index in one type
    indices = _map(folder / _INDICES, np.int32, n_values)
    ends = np.concatenate([[0], _map(folder / _ENDS, np.int64, n)])
    return csr_array(
        (
            _map(folder / _DATA, np.float32, n_values),
            indices.astype(np.int64) if wide else indices,
            ends if wide else ends.astype(np.int32),
        ),
        shape=tuple(meta["shape"]),
    )


def _map(path: Path, dtype: type[np.generic], size: int) -> NDArray[Any]:
    if not size:  # an empty file cannot be mapped
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", shape=(size,))
