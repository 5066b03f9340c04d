"""NumPy's ``.npz``: a zip archive of arrays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.vectorfiles.base import IdSource, MappedVectors, VectorFile
from retrieval_eval.vectorfiles.checks import (
    check_array,
    choose,
    file_size,
    holds_vectors,
    ids_of_array,
    ids_of_named,
    map_array,
)
from retrieval_eval.vectorfiles.npy import NpyHeader, read_npy_header

__all__ = ["CompressedVectors", "open_npz", "read_npz"]

_LOCAL_HEADER = 30  # bytes before the name in a zip's local file header
_BEST_RATIO = 1032  # deflate cannot pack better
_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,  # an unknown way of packing
    RuntimeError,  # encrypted
    zlib.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True, eq=False)
class CompressedVectors(VectorFile):
    """Vectors of a compressed archive: they can only be unpacked from the first row on.

    Parameters
    ----------
    header : NpyHeader
        Of the array.
    """

    header: NpyHeader = None  # type: ignore[assignment]  # after fields with defaults

    seekable: ClassVar[bool] = False

    def _stored(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        dtype, item = self.header.dtype, self.header.dtype.itemsize
        with _member(self.path, f"{self.name}.npy") as stream:
            for first in range(start, stop, self.block_rows):
                rows = min(first + self.block_rows, stop) - first
                if self.header.fortran:
                    block = np.empty((rows, self.d), dtype=dtype)
                    for column in range(self.d):
                        stream.seek(
                            self.header.offset + (column * self.header.shape[0] + first) * item
                        )
                        block[:, column] = np.frombuffer(_exactly(stream, rows * item), dtype)
                else:
                    stream.seek(self.header.offset + first * self.d * item)
                    data = _exactly(stream, rows * self.d * item)
                    block = np.frombuffer(data, dtype).reshape(rows, self.d)
                yield block


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError("the array ends before its last row")
    return data


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    size = file_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except _ERRORS as error:
        raise InputError(
            f"{path}: not a readable .npz file ({size} bytes): {error}: it is cut off or damaged"
        ) from None


@contextmanager
def _member(path: Path, member: str) -> Iterator[IO[bytes]]:
    with _archive(path) as archive, archive.open(member) as stream:
        yield stream


def _headers(archive: zipfile.ZipFile, path: Path) -> dict[str, NpyHeader]:
    """Read the header of each array, without its values."""
    found = {}
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        name = info.filename.removesuffix(".npy")
        where = f"{path}#{name}"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{where}: packed in a way that NumPy does not write: save it anew")
        with archive.open(info) as stream:
            header = read_npy_header(stream, where)
        n_bytes = header.offset + header.n_bytes
        if n_bytes != info.file_size or info.file_size > _BEST_RATIO * (info.compress_size + 1):
            raise InputError(
                f"{where}: values of {header.dtype} {header.shape} and their header take "
                f"{n_bytes} bytes, but the archive states {info.file_size} bytes, packed into "
                f"{info.compress_size} at byte {info.header_offset} of the file: it is damaged"
            )
        found[name] = header
    return found


def _named(headers: dict[str, NpyHeader], name: str | None, path: Path) -> str | None:
    """Return a name as the archive has it; refuse one that is there and holds no vectors."""
    name = None if name is None else name.removesuffix(".npy")
    if name in headers:
        check_array(f"{path}#{name}", headers[name].dtype, headers[name].shape)
    return name


def open_npz(path: Path, name: str | None) -> VectorFile:
    """Open an array of an archive: mapped if it is not compressed, else unpacked in passing."""
    with _archive(path) as archive:
        headers = _headers(archive, path)
        candidates = {
            key: f"{header.shape[0]} x {header.shape[1]}, {header.dtype}"
            for key, header in headers.items()
            if holds_vectors(header.dtype, header.shape)
        }
        chosen = choose(path, candidates, _named(headers, name, path), "array")
        info = archive.getinfo(f"{chosen}.npy")
        header = headers[chosen]
        check_array(f"{path}#{chosen}", header.dtype, header.shape)
        start = None if info.compress_type == zipfile.ZIP_DEFLATED else _start(path, info)
    n, d = header.shape
    ids = next(
        (key for key in ids_of_named(chosen) if key in headers and headers[key].shape == (n,)), None
    )
    source = None
    if ids is not None:
        where = ids
        source = IdSource(
            path, where, lambda: ids_of_array(read_npz(path, where), f"{path}#{where}")
        )
    dtype = header.dtype.name
    if start is None:
        return CompressedVectors(path, "npz", chosen, n, d, dtype, source, header=header)
    stored = map_array(
        path, header.dtype, header.shape, start + header.offset, fortran=header.fortran
    )
    return MappedVectors(path, "npz", chosen, n, d, dtype, source, stored=stored)


def _start(path: Path, info: zipfile.ZipInfo) -> int:
    """Return the byte at which the data of an uncompressed member start."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        head = stream.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(head[place : place + 2], "little") for place in (26, 28))
    start = info.header_offset + _LOCAL_HEADER + name + extra
    if start + info.file_size > path.stat().st_size:
        raise InputError(
            f"{path}: {info.filename} should lie in bytes {start} to {start + info.file_size}, "
            f"but the file ends at byte {path.stat().st_size}: it is cut off or damaged"
        )
    return start


def read_npz(path: Path, name: str | None) -> NDArray[Any]:
    """Read a whole array of an archive into memory: ids, which are one-dimensional."""
    with _archive(path) as archive:
        headers = _headers(archive, path)
        key = (name or "").removesuffix(".npy")
        if key not in headers:
            raise unknown_name("array", key, headers, str(path))
        header = headers[key]
        with archive.open(f"{key}.npy") as stream:
            stream.seek(header.offset)
            values = np.frombuffer(_exactly(stream, header.n_bytes), header.dtype)
    return values.reshape(header.shape)
