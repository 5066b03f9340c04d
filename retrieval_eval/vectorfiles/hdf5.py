"""HDF5 files, among them those of ann-benchmarks: named datasets, read in slices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, MissingExtraError, unknown_name
from retrieval_eval.vectorfiles.base import IdSource, VectorFile
from retrieval_eval.vectorfiles.checks import (
    check_array,
    choose,
    file_size,
    holds_vectors,
    ids_of_array,
    ids_of_named,
)

__all__ = ["Hdf5Vectors", "open_hdf5", "read_hdf5", "read_hdf5_attribute"]

_LARGEST_CHUNK = 1 << 29
_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError, OverflowError)


@dataclass(frozen=True, eq=False)
class Hdf5Vectors(VectorFile):
    """Vectors of a dataset in an HDF5 file.

    Parameters
    ----------
    chunk_rows : int
        Rows that are unpacked together; 1 if the dataset is not stored in chunks.
    """

    chunk_rows: int = 1

    @property
    def block_rows(self) -> int:
        """How many rows are read at a time: whole chunks, of about 32 MiB of float32."""
        rows = VectorFile.block_rows.fget(self)  # type: ignore[attr-defined]  # a property
        return int(max(1, rows // self.chunk_rows) * self.chunk_rows)

    def _stored(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        with _opened(self.path) as file:
            values = file[self.name]
            first = start
            while first < stop:  # each block ends where a chunk does
                last = min((first // self.block_rows + 1) * self.block_rows, stop)
                yield values[first:last]
                first = last


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    size = file_size(path)
    try:
        import h5py
    except ImportError:
        raise MissingExtraError(f"{path}", "h5py", "hdf5") from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except _ERRORS as error:
        raise InputError(
            f"{path}: not a readable HDF5 file ({size} bytes): {error}: it is cut off or damaged"
        ) from None


def _datasets(file: Any) -> dict[str, Any]:
    """List the datasets of a file that are reached without another file."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)  # follows no link to another file
    return found


def _check_stored(where: str, values: Any, size: int) -> None:
    """Refuse values that are not all in this file, and in chunks that memory can hold."""
    import h5py

    if values.is_virtual or values.external:
        raise InputError(
            f"{where}: its values lie in other files: copy them into one (h5repack, h5copy)"
        )
    n_bytes = math.prod(values.shape) * values.id.get_type().get_size()  # as stored
    if values.chunks is None and values.dtype.kind != "O":  # text lies in a heap of its own
        start = values.id.get_offset()
        stored = values.id.get_storage_size()
        if stored != n_bytes or (start is not None and start + n_bytes > size):
            raise InputError(
                f"{where}: {n_bytes} bytes of values should lie at byte {start}, but {stored} are "
                f"stored in a file of {size} bytes: it is cut off, or was never filled"
            )
    if values.chunks is None:
        return
    if math.prod(values.chunks) * values.id.get_type().get_size() > _LARGEST_CHUNK:
        raise InputError(
            f"{where}: chunks of shape {values.chunks} take more than {_LARGEST_CHUNK >> 20} MiB: "
            "store it in smaller ones (h5repack -l)"
        )
    needed = math.prod(
        -(-length // chunk) for length, chunk in zip(values.shape, values.chunks, strict=True)
    )
    written = values.id.get_num_chunks()
    if written != needed:
        raise InputError(
            f"{where}: {written} of {needed} chunks are in the file: it was not written to the end"
        )
    filters = values.id.get_create_plist()
    for place in range(filters.get_nfilters()):
        code, _, _, label = filters.get_filter(place)
        if not h5py.h5z.filter_avail(code):
            raise InputError(
                f"{where}: is packed with a filter that this installation does not have: "
                f"{label.decode(errors='replace') or code}; pack it anew (h5repack -f GZIP=1)"
            )


def open_hdf5(path: Path, name: str | None) -> Hdf5Vectors:
    """Open a dataset of vectors; ``group/name`` reaches into groups."""
    with _opened(path) as file:
        datasets = _datasets(file)
        candidates = {
            key: f"{values.shape[0]} x {values.shape[1]}, {values.dtype}"
            for key, values in datasets.items()
            if _is_plain(values) and holds_vectors(values.dtype, values.shape)
        }
        asked = None if name is None else name.strip("/")
        if asked in datasets and asked not in candidates:
            values = datasets[asked]
            check_array(f"{path}#{asked}", values.dtype, values.shape)
        chosen = choose(path, candidates, asked, "dataset")
        values, where = datasets[chosen], f"{path}#{chosen}"
        check_array(where, values.dtype, values.shape)
        _check_stored(where, values, path.stat().st_size)
        n, d = values.shape
        ids = _find_ids(datasets, chosen, n)
        source = None
        if ids is not None:
            source = IdSource(
                path, ids, lambda: ids_of_array(read_hdf5(path, ids), f"{path}#{ids}")
            )
        rows = values.chunks[0] if values.chunks else 1
        return Hdf5Vectors(path, "hdf5", chosen, n, d, values.dtype.name, source, rows)


def _is_plain(values: Any) -> bool:
    try:
        return values.shape is not None and values.dtype is not None
    except _ERRORS:  # a type that NumPy does not have
        return False


def _find_ids(datasets: dict[str, Any], chosen: str, n: int) -> str | None:
    """Find the ids of a dataset beside it, or at the root."""
    group = chosen.rpartition("/")[0]
    for name in ids_of_named(chosen.rpartition("/")[2]):
        for key in (f"{group}/{name}".strip("/"), name):
            if key in datasets and datasets[key].shape == (n,):
                return key
    return None


def read_hdf5(path: Path, name: str | None) -> NDArray[Any]:
    """Read a whole dataset, whatever it holds; text becomes an array of str."""
    with _opened(path) as file:
        datasets = _datasets(file)
        key = (name or "").strip("/")
        if key not in datasets:
            raise unknown_name("dataset", key, datasets, str(path))
        values = datasets[key]
        _check_stored(f"{path}#{key}", values, path.stat().st_size)
        found = values.asstr("utf-8")[()] if values.dtype.kind in "OS" else values[()]
    array: NDArray[Any] = np.asarray(found)
    return array


def read_hdf5_attribute(path: Path, name: str) -> str | None:
    """Read an attribute of the file as text; None if it has none of that name."""
    with _opened(path) as file:
        value = file.attrs.get(name)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return None if value is None else str(value)
