"""Plain binary files: TEXMEX' ``.fvecs`` and kin, and ``.fbin`` and kin of big-ann-benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.vectorfiles.base import MappedVectors
from retrieval_eval.vectorfiles.checks import MAX_DIMENSION, check_fits, file_size, map_array

__all__ = ["BIN_TYPES", "VECS_TYPES", "bin_header", "map_bin", "map_vecs", "open_bin", "open_vecs"]

VECS_TYPES = {"fvecs": "<f4", "bvecs": "u1", "ivecs": "<i4"}
"""Value types of files whose every row is a dimension (int32) and so many values."""

BIN_TYPES = {"fbin": "<f4", "u8bin": "u1", "i8bin": "i1", "ibin": "<i4"}
"""Value types of files that are n and d (uint32), then n * d values."""

_ROWS_AT_A_TIME = 1 << 20


def map_vecs(path: Path, layout: str) -> NDArray[Any]:
    """Map the values of a file of rows that each state their dimension.

    Returns
    -------
    ndarray, shape (n, d)
        A view of the file.

    Raises
    ------
    InputError
        If a row states another dimension than the first, or the file ends within a row; with row
        and byte.
    """
    size = file_size(path)
    dtype = np.dtype(VECS_TYPES[layout])
    with path.open("rb") as stream:
        first = stream.read(4)
    if len(first) < 4:
        raise InputError(
            f"{path}: row 0 starts with its dimension in bytes 0 to 4, but the file ends at byte "
            f"{size}: it is {'cut off' if size else 'empty'}"
        )
    d = int.from_bytes(first, "little", signed=True)
    if not 1 <= d <= MAX_DIMENSION:
        raise InputError(
            f"{path}: row 0 at byte 0 states dimension {d}: expected 1 to {MAX_DIMENSION}; is this "
            f"a .{layout} file?"
        )
    row_bytes = 4 + d * dtype.itemsize
    n = size // row_bytes
    if n:
        row = np.dtype([("d", "<i4"), ("values", dtype, (d,))])
        mapped = map_array(path, row, (n,), 0)
        for start in range(0, n, _ROWS_AT_A_TIME):
            stated = mapped["d"][start : start + _ROWS_AT_A_TIME]
            other = np.flatnonzero(stated != d)
            if len(other):
                odd = start + int(other[0])
                raise InputError(
                    f"{path}: row {odd} at byte {odd * row_bytes} states dimension "
                    f"{stated[other[0]]}, the rows before it {d}: all rows must have one dimension"
                )
    if size % row_bytes:
        raise InputError(
            f"{path}: row {n} should lie in bytes {n * row_bytes} to {(n + 1) * row_bytes} "
            f"(dimension {d}), but the file ends at byte {size}: it is cut off"
        )
    values: NDArray[Any] = mapped["values"]
    return values


def map_bin(path: Path, layout: str) -> NDArray[Any]:
    """Map the values of a file that starts with n and d.

    Returns
    -------
    ndarray, shape (n, d)
        A view of the file.

    Raises
    ------
    InputError
        If the file does not end where n and d say.
    """
    size = file_size(path)
    dtype = np.dtype(BIN_TYPES[layout])
    n, d = bin_header(path, size)
    what = f"{n} x {d} values of {dtype.name}"
    check_fits(str(path), what, 8, n * d * dtype.itemsize, size)
    return map_array(path, dtype, (n, d), 8)


def bin_header(path: Path, size: int) -> tuple[int, int]:
    """Read n and d from the first 8 bytes."""
    with path.open("rb") as stream:
        head = stream.read(8)
    if len(head) < 8:
        raise InputError(
            f"{path}: n and d should lie in bytes 0 to 8, but the file ends at byte {size}: it is "
            f"{'cut off' if size else 'empty'}"
        )
    n, d = (int.from_bytes(head[place : place + 4], "little") for place in (0, 4))
    if n < 1 or not 1 <= d <= MAX_DIMENSION:
        raise InputError(
            f"{path}: bytes 0 to 8 state {n} rows of {d} values: expected at least 1 row of 1 to "
            f"{MAX_DIMENSION}"
        )
    return n, d


def _open(
    path: Path,
    name: str | None,
    layout: str,
    map_file: Callable[[Path, str], NDArray[Any]],
) -> MappedVectors:
    if name is not None:
        raise InputError(f"{path}: a .{layout} file has no names in it: drop {name!r}")
    if layout in ("ivecs", "ibin"):
        raise InputError(
            f"{path}: a .{layout} file holds whole numbers (row numbers of true neighbours), not "
            "vectors: read_neighbours reads it"
        )
    stored = map_file(path, layout)
    n, d = stored.shape
    return MappedVectors(path, layout, None, n, d, stored.dtype.name, stored=stored)


def open_vecs(path: Path, name: str | None, layout: str) -> MappedVectors:
    """Open a ``.fvecs`` or ``.bvecs`` file of vectors."""
    return _open(path, name, layout, map_vecs)


def open_bin(path: Path, name: str | None, layout: str) -> MappedVectors:
    """Open a ``.fbin``, ``.u8bin`` or ``.i8bin`` file of vectors."""
    return _open(path, name, layout, map_bin)
