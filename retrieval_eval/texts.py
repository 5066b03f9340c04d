"""Texts in a file, read as they are asked for: a corpus may be larger than memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError

__all__ = ["Texts", "write_texts"]

_BYTES, _ENDS = "texts.bin", "texts.npy"
_BLOCK = 4096


class Texts(Sequence[str]):
    """A sequence of texts in a folder; only what is asked for is read from the disk.

    Parameters
    ----------
    folder : Path
        What :func:`write_texts` wrote.

    Raises
    ------
    InputError
        If the files are missing or do not fit together.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_texts(folder, ["one", "", "drei"])
    >>> texts = Texts(folder)
    >>> len(texts), texts[2], texts[:2]
    (3, 'drei', ['one', ''])
    """

    def __init__(self, folder: Path) -> None:
        self._bytes = folder / _BYTES
        try:
            self._ends: NDArray[np.int64] = np.load(
                folder / _ENDS, mmap_mode="r", allow_pickle=False
            )
            size = self._bytes.stat().st_size
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: holds no texts: {error}") from None
        last = int(self._ends[-1]) if len(self._ends) else 0
        if size != last:
            raise InputError(f"{self._bytes}: {size} bytes, but the texts take {last}")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            rows = range(*key.indices(len(self)))
            if rows.step == 1:
                return self._read(rows.start, rows.stop)
            return [self[row] for row in rows]
        row = range(len(self))[int(key)]  # IndexError past the end, as for any sequence
        return self._read(row, row + 1)[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from self._read(start, min(start + _BLOCK, len(self)))

    def _read(self, start: int, stop: int) -> list[str]:
        if stop <= start:
            return []
        first = int(self._ends[start - 1]) if start else 0
        ends = (np.asarray(self._ends[start:stop]) - first).tolist()
        with self._bytes.open("rb") as stream:
            stream.seek(first)
            data = stream.read(ends[-1])
        return [
            data[begin:end].decode("utf-8", "surrogatepass")
            for begin, end in zip([0, *ends], ends, strict=False)
        ]


def write_texts(folder: Path, texts: Iterable[str]) -> None:
    """Write texts into a folder as they come; memory holds one of them, and 8 bytes for each.

    Parameters
    ----------
    folder : Path
        Must exist.
    texts : iterable of str
        Read once.
    """
    ends = array("q")
    end = 0
    with (folder / _BYTES).open("wb") as stream:
        for text in texts:
            end += stream.write(text.encode("utf-8", "surrogatepass"))
            ends.append(end)
    np.save(folder / _ENDS, np.array(ends, dtype=np.int64))
