"""Columns of ids: strings side by side in memory, without a Python object for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.errors import InputError

__all__ = ["Ids", "repeated_keys"]

_BLOCK = 1 << 16
_SHIFT = np.uint64(16)
_HIGH = np.uint64(48)


@dataclass(frozen=True, eq=False)
class Ids(Sequence[str]):
    """An immutable sequence of id strings, kept byte for byte.

    Parameters
    ----------
    column : polars.Series of String
        The ids, none of them null.

    Examples
    --------
    >>> ids = Ids.of(["007", "7"])
    >>> ids[0], len(ids), "07" in ids
    ('007', 2, False)
    """

    column: pl.Series

    @classmethod
    def of(cls, values: Iterable[str] | pl.Series | Ids, what: str = "id") -> Ids:
        """Make a column of strings.

        Parameters
        ----------
        values : iterable of str, or polars.Series of String
            The ids.
        what : str
            What they are called in the message of an error.

        Raises
        ------
        InputError
            If one of them is no string.

        Examples
        --------
        >>> Ids.of([7], what="document id")
        Traceback (most recent call last):
        ...
        retrieval_eval.errors.InputError: document id 7 is int: ids are strings, since '007' is \
not '7'
        """
        if isinstance(values, Ids):
            return values
        if not isinstance(values, pl.Series):
            listed = values if isinstance(values, list) else list(values)
            try:
                values = pl.Series(listed, dtype=pl.String, strict=True)
            except (TypeError, pl.exceptions.PolarsError):
                values = pl.Series(dtype=pl.String)
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{what} {error.object!r} holds a lone surrogate, which no file can hold"
                ) from None
            if len(values) != len(listed) or values.null_count():
                wrong = next(one for one in listed if not isinstance(one, str))
                raise InputError(
                    f"{what} {wrong!r} is {type(wrong).__name__}: ids are strings, "
                    "since '007' is not '7'"
                )
        if isinstance(values.dtype, (pl.Categorical, pl.Enum)):
            values = values.cast(pl.String)
        if values.dtype != pl.String:
            raise InputError(
                f"the column of {what}s holds {values.dtype}: ids are strings, "
                "since '007' is not '7'; read it as text"
            )
        if values.null_count():
            row = int(values.is_null().arg_true()[0])
            raise InputError(f"the {what} of row {row} is missing")
        return cls(values.rechunk())

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """A hash of each id; equal ids have equal hashes within this process. Shape (n,)."""
        hashes: NDArray[np.uint64] = self.column.hash().to_numpy()
        return hashes

    @cached_property
    def repeated(self) -> tuple[int, int] | None:
        """Two rows that hold the same id, or None if all differ."""
        rows = repeated_keys(np.zeros(len(self), dtype=np.int32), self.hashes)
        first: dict[str, int] = {}
        for row in rows.tolist():
            earlier = first.setdefault(self[row], row)
            if earlier != row:
                return earlier, row
        return None

    def take(self, rows: NDArray[np.integer]) -> Ids:
        """Return the ids of some rows."""
        return Ids(self.column.gather(rows))

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> Ids: ...
    def __getitem__(self, key: int | slice) -> str | Ids:
        if isinstance(key, slice):
            return Ids(self.column[key])
        text: str = self.column[int(key)]
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self.column)

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and bool((self.column == value).any())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return self.column.equals(other.column)
        if isinstance(other, (tuple, list)):
            return self.column.to_list() == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compared by content, and long

    def __repr__(self) -> str:
        head = ", ".join(map(repr, self.column.head(3)))
        return f"Ids([{head}{', ...' if len(self) > 3 else ''}], n={len(self)})"


def repeated_keys(group: NDArray[np.int32], keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows whose key comes more than once in their group, as far as 48 bits of it can tell.

    Parameters
    ----------
    group : ndarray of int32, shape (n,)
        Not negative, and ascending.
    keys : ndarray of uint64, shape (n,)
        The upper 48 bits are compared.

    Returns
    -------
    ndarray of int64
        Ascending rows: all that are repeated, and with a chance of about 2**-48 for each pair some
        that are not, so a caller compares what the keys stand for.

    Examples
    --------
    >>> keys = np.array([5, 6, 5, 5], dtype=np.uint64) << np.uint64(16)
    >>> repeated_keys(np.array([0, 0, 0, 1], dtype=np.int32), keys).tolist()
    [0, 2]
    """
    # Blocks of whole groups, small enough for their sorting to stay in the processor's cache.
    edges = np.flatnonzero(group[1:] != group[:-1]) + 1
    edges = np.concatenate([[0], edges, [len(group)]])
    found = []
    start = 0
    while start < len(group):
        place = int(np.searchsorted(edges, start + _BLOCK, side="right")) - 1
        stop = int(edges[place])
        if stop <= start:  # one group longer than a block
            stop = int(edges[place + 1])
        local = (group[start:stop] - group[start]).astype(np.uint64)
        if local[-1] >= _BLOCK:  # numbers with gaps: count the groups instead
            local = np.cumsum(np.diff(group[start:stop], prepend=group[start]) > 0, dtype=np.uint64)
        block = (local << _HIGH) | (keys[start:stop] >> _SHIFT)
        ordered = np.sort(block)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            found.append(start + np.flatnonzero(np.isin(block, twice)))
        start = stop
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)
