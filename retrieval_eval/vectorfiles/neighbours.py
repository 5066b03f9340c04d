"""Files of true neighbours, as benchmarks of nearest-neighbour search publish them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.vectorfiles.checks import file_size, map_array
from retrieval_eval.vectorfiles.hdf5 import read_hdf5
from retrieval_eval.vectorfiles.npy import read_npy
from retrieval_eval.vectorfiles.raw import bin_header, map_vecs

__all__ = ["Neighbours", "neighbours_of"]

Neighbours = tuple[NDArray[np.int64], NDArray[np.float32] | None]

_NONE = 2**32 - 1  # -1 in 32 bits without a sign


def neighbours_of(path: Path, name: str | None, layout: str | None) -> Neighbours:
    """Read true neighbours; see :func:`retrieval_eval.vectorfiles.read_neighbours`."""
    if layout == "hdf5":
        return _from_hdf5(path, name or "neighbors")
    if name is not None:
        raise InputError(f"{path}: has no names in it: drop {name!r}")
    if layout == "ivecs":
        return _checked(path, map_vecs(path, "ivecs")), None
    if layout == "npy":
        return _checked(path, read_npy(path, None)), None
    if layout in (None, "ibin"):
        return _from_bin(path)
    raise InputError(
        f"{path}: a .{layout} file holds no neighbours: they come as .ivecs, .ibin, .npy, .hdf5, "
        "or as big-ann-benchmarks' ids and distances"
    )


def _checked(where: object, rows: NDArray[Any]) -> NDArray[np.int64]:
    if rows.dtype.kind not in "iu" or rows.ndim != 2 or 0 in rows.shape:
        raise InputError(
            f"{where}: expected row numbers of shape (q, k), found {rows.dtype} {rows.shape}"
        )
    return np.ascontiguousarray(rows, dtype=np.int64)


def _from_hdf5(path: Path, name: str) -> Neighbours:
    rows = _checked(f"{path}#{name}", read_hdf5(path, name))
    beside = f"{name.rpartition('/')[0]}/distances".strip("/")
    try:
        distances = read_hdf5(path, beside)
    except InputError:  # the file has none
        return rows, None
    if distances.shape != rows.shape:
        raise InputError(
            f"{path}: distances of shape {distances.shape} for neighbours of shape {rows.shape}"
        )
    return rows, np.ascontiguousarray(distances, dtype=np.float32)


def _from_bin(path: Path) -> Neighbours:
    size = file_size(path)
    q, k = bin_header(path, size)
    n_bytes = 4 * q * k
    if size not in (8 + n_bytes, 8 + 2 * n_bytes):
        raise InputError(
            f"{path}: bytes 0 to 8 state {q} queries with {k} neighbours: the file should end at "
            f"byte {8 + n_bytes} (ids) or {8 + 2 * n_bytes} (ids and distances), but ends at byte "
            f"{size}: it is cut off, or of another format"
        )
    rows = map_array(path, np.dtype("<u4"), (q, k), 8).astype(np.int64)
    rows[rows == _NONE] = -1
    if size == 8 + n_bytes:
        return rows, None
    distances = map_array(path, np.dtype("<f4"), (q, k), 8 + n_bytes)
    return rows, np.array(distances, dtype=np.float32)
