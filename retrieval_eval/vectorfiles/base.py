"""What a file of vectors is: rows of float32, read as they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.vectorfiles.checks import as_float32

if TYPE_CHECKING:
    from retrieval_eval.ids import Ids

__all__ = ["IdSource", "MappedVectors", "VectorFile", "VectorRows"]

_BLOCK_BYTES = 1 << 25


class VectorRows(Protocol):
    """Vectors that are read some rows at a time, from a file or from anywhere else."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def d(self) -> int:
        """Dimension."""

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows start to stop (exclusive), shape (stop - start, d)."""


@dataclass(frozen=True)
class IdSource:
    """Where the ids of a file's rows are.

    Parameters
    ----------
    path : Path
        The file that holds them.
    name : str or None
        Array or column in it; None for a text file.
    read : callable
        Reads them.
    """

    path: Path
    name: str | None
    read: Callable[[], Ids]

    def __str__(self) -> str:
        return f"{self.path}#{self.name}" if self.name is not None else str(self.path)


@dataclass(frozen=True, eq=False)
class VectorFile(ABC):
    """Vectors in a file, read as they are needed.

    Its rows are numbered from 0. Nothing here checks for NaN or infinity.

    Parameters
    ----------
    path : Path
        The file.
    format : str
        One of ``FORMATS``.
    name : str or None
        Array or column in the file; None where the format has no such names.
    n, d : int
        Vectors, and dimensions of each; at least 1.
    dtype : str
        Type of the values as stored: ``float16``, ``bfloat16``, ``float32``, ``float64``,
        ``uint8`` or ``int8``.
    id_source : IdSource or None
        Where the ids of the rows are.
    """

    path: Path
    format: str
    name: str | None
    n: int
    d: int
    dtype: str
    id_source: IdSource | None = None

    seekable: ClassVar[bool] = True
    """Whether reading may start at any row at little cost."""

    def __str__(self) -> str:
        return f"{self.path}#{self.name}" if self.name is not None else str(self.path)

    def __len__(self) -> int:
        return self.n

    def head(self, n: int) -> VectorFile:
        """Return the first `n` vectors, without ids; all if there are fewer."""
        return replace(self, n=min(n, self.n), id_source=None)

    @property
    def chosen(self) -> tuple[Path | str | None, ...]:
        """What decides the vectors and ids: for :func:`retrieval_eval.vectorfiles.fingerprints`."""
        if self.format == "npy" and self.id_source is None:
            return (self.path,)
        ids = () if self.id_source is None else (self.id_source.path, self.id_source.name)
        return (self.path, self.format, self.name, *ids)

    @cached_property
    def ids(self) -> Ids | None:
        """The id of each row, or None if the file has none.

        Raises
        ------
        InputError
            If there are not as many ids as rows, or one occurs twice.
        """
        if self.id_source is None:
            return None
        ids = self.id_source.read()
        if len(ids) != self.n:
            raise InputError(
                f"{self.id_source}: {len(ids)} ids for the {self.n} vectors of {self}: give one "
                "for each row"
            )
        if ids.repeated is not None:
            first, second = ids.repeated
            raise InputError(
                f"{self.id_source}: the id {ids[first]!r} stands in rows {first} and {second} "
                "(counted from 0): each vector needs an id of its own"
            )
        return ids

    @property
    def block_rows(self) -> int:
        """How many rows :meth:`blocks` yields at a time: about 32 MiB of float32."""
        return max(1, _BLOCK_BYTES // (4 * self.d))

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.n:
            raise InputError(f"{self}: rows {start} to {stop} were asked for; it has {self.n}")

    @abstractmethod
    def _stored(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """Yield rows start to stop as stored, in order, some at a time."""

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield rows in order, some at a time.

        Parameters
        ----------
        start, stop : int
            The first row, and the row after the last; all rows by default.

        Yields
        ------
        ndarray of float32, shape (m, d)
            In C order. May be a read-only view of the file.

        Raises
        ------
        InputError
            If the file cannot be read, or ends before `stop`.
        """
        stop = self.n if stop is None else stop
        self._check_range(start, stop)
        done = start
        for block in self._stored(start, stop) if start < stop else ():
            yield as_float32(block, self.dtype)
            done += len(block)
        if done != stop:
            raise InputError(f"{self}: it should have {self.n} vectors, but ends after {done}")

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows start to stop (exclusive).

        Returns
        -------
        ndarray of float32, shape (stop - start, d)
            In C order. May be a read-only view of the file.
        """
        found = list(self.blocks(start, stop))
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.empty((0, self.d), dtype=np.float32)

    def take(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return some rows, in the order asked for; the file is read from front to back.

        Parameters
        ----------
        rows : ndarray of int, shape (m,)
            From 0 to n - 1; repeats are allowed.

        Returns
        -------
        ndarray of float32, shape (m, d)

        Raises
        ------
        InputError
            For a row that is not there.
        """
        wanted = np.asarray(rows).astype(np.int64)
        if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) < self.n:
            odd = int(wanted[(wanted < 0) | (wanted >= self.n)][0])
            raise InputError(f"{self}: row {odd} was asked for; rows are 0 to {self.n - 1}")
        order = np.argsort(wanted, kind="stable")
        found = np.empty((len(wanted), self.d), dtype=np.float32)
        self._gather(wanted[order], order, found)
        return found

    def _gather(
        self, wanted: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.float32]
    ) -> None:
        """Copy the rows `wanted`, ascending, to the rows `places` of `out`."""
        # Between wanted rows that lie far apart, a file that allows it is skipped.
        far = np.diff(wanted) > (self.block_rows if self.seekable else self.n)
        cuts = [0, *(np.flatnonzero(far) + 1).tolist(), len(wanted)]
        for low, high in pairwise(cuts):
            if low == high:
                continue
            start = int(wanted[low])
            for block in self.blocks(start, int(wanted[high - 1]) + 1):
                upto = low + int(np.searchsorted(wanted[low:high], start + len(block)))
                out[places[low:upto]] = block[wanted[low:upto] - start]
                start += len(block)
                low = upto  # noqa: PLW2901  # what is left of this run


@dataclass(frozen=True, eq=False)
class MappedVectors(VectorFile):
    """Vectors whose bytes lie in the file as they are, mapped into memory.

    Parameters
    ----------
    stored : ndarray, shape (n, d)
        A view of the mapped file; uint16 for bfloat16.
    """

    stored: NDArray[Any] = None  # type: ignore[assignment]  # after fields with defaults

    def _stored(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        for first in range(start, stop, self.block_rows):
            yield self.stored[first : min(first + self.block_rows, stop)]

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows start to stop (exclusive); see :meth:`VectorFile.read`."""
        self._check_range(start, stop)
        return as_float32(self.stored[start:stop], self.dtype)

    def _gather(
        self, wanted: NDArray[np.int64], places: NDArray[np.int64], out: NDArray[np.float32]
    ) -> None:
        for first in range(0, len(wanted), self.block_rows):
            some = slice(first, first + self.block_rows)
            out[places[some]] = as_float32(self.stored[wanted[some]], self.dtype)
