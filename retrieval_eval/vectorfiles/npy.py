"""NumPy's ``.npy``: one array."""

from __future__ import annotations

import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.vectorfiles.base import MappedVectors
from retrieval_eval.vectorfiles.checks import check_array, check_fits, file_size, map_array

__all__ = ["NpyHeader", "open_npy", "read_npy", "read_npy_header"]

_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class NpyHeader:
    """What the head of a ``.npy`` file says.

    Parameters
    ----------
    dtype : dtype
        Type of the values; never one that needs pickling.
    shape : tuple of int
        Not negative.
    fortran : bool
        Whether columns, not rows, lie side by side.
    offset : int
        The byte at which the values start.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def n_bytes(self) -> int:
        """Bytes of all values; exact, however large the numbers in the header are."""
        total = self.dtype.itemsize
        for length in self.shape:
            total *= length
        return total


def read_npy_header(stream: IO[bytes], where: str) -> NpyHeader:
    """Read the head of a ``.npy`` file, as NumPy writes it.

    Parameters
    ----------
    stream : binary file
        At its start; afterwards at the first value.
    where : str
        What it is called in messages.

    Raises
    ------
    InputError
        If it is no such file, or holds pickled objects.
    """
    magic = stream.read(len(_MAGIC))
    if magic != _MAGIC:
        raise InputError(f"{where}: not a .npy file: it starts with {magic!r}, not {_MAGIC!r}")
    stream.seek(0)
    try:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
            (3, 0): np.lib.format.read_array_header_2_0,  # 2.0 with UTF-8 names of fields
        }
        if version not in readers:
            raise ValueError(f"unknown version {version[0]}.{version[1]} of the format")
        with warnings.catch_warnings():  # a file of Python 2 is as good
            warnings.simplefilter("ignore", UserWarning)
            shape, fortran, dtype = readers[version](stream)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise InputError(f"{where}: not a readable .npy file: {error}") from None
    except (MemoryError, RecursionError):  # of the parser, for brackets within brackets
        raise InputError(f"{where}: not a readable .npy file: its header is damaged") from None
    if dtype.hasobject:
        raise InputError(
            f"{where}: not a readable .npy file: it holds pickled objects, which can run code: "
            "save the array with a plain dtype"
        )
    if any(length < 0 for length in shape):
        raise InputError(f"{where}: not a readable .npy file: its header states shape {shape}")
    return NpyHeader(dtype, shape, fortran, stream.tell())


def _map(path: Path) -> NDArray[Any]:
    size = file_size(path)
    with path.open("rb") as stream:
        header = read_npy_header(stream, str(path))
    if header.n_bytes == 0:
        return np.empty(header.shape, header.dtype)
    where = f"{path}: not a readable .npy file"
    what = f"values of {header.dtype} {header.shape}"
    check_fits(where, what, header.offset, header.n_bytes, size)
    return map_array(path, header.dtype, header.shape, header.offset, fortran=header.fortran)


def _refuse_name(path: Path, name: str | None) -> None:
    if name is not None:
        raise InputError(f"{path}: a .npy file holds one array, without a name: drop {name!r}")


def open_npy(path: Path, name: str | None) -> MappedVectors:
    """Open a ``.npy`` file of vectors, in any byte order, C or Fortran order."""
    _refuse_name(path, name)
    stored = _map(path)
    check_array(str(path), stored.dtype, stored.shape)
    n, d = stored.shape
    return MappedVectors(path, "npy", None, n, d, stored.dtype.name, stored=stored)


def read_npy(path: Path, name: str | None) -> NDArray[Any]:
    """Map the array of a ``.npy`` file, whatever it holds."""
    _refuse_name(path, name)
    return _map(path)
