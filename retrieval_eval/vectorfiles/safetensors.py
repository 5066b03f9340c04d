"""``.safetensors``: named tensors, mapped into memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, MissingExtraError, unknown_name
from retrieval_eval.vectorfiles.base import IdSource, MappedVectors
from retrieval_eval.vectorfiles.checks import (
    check_array,
    choose,
    file_size,
    ids_of_array,
    ids_of_named,
    map_array,
)

__all__ = ["open_safetensors", "read_safetensors"]

_TYPES = {
    "F16": "<f2",
    "BF16": "<u2",  # NumPy has no such type: widened when read
    "F32": "<f4",
    "F64": "<f8",
    "U8": "u1",
    "I8": "i1",
    "I32": "<i4",
    "I64": "<i8",
    "U32": "<u4",
    "U64": "<u8",
}
_VALUES = ("F16", "BF16", "F32", "F64", "U8", "I8")

_Header = dict[str, dict[str, Any]]


def _read_header(path: Path) -> tuple[_Header, int]:
    """Return the checked entries of a file's header, and the byte at which values start."""
    size = file_size(path)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise MissingExtraError(f"{path}", "safetensors", "safetensors") from None
    try:
        # The library checks it all: lengths, shapes against offsets, no gap and no overlap.
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable .safetensors file ({size} bytes): {error}: it is cut off or "
            "damaged"
        ) from None
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _map(path: Path, header: _Header, name: str, start: int) -> NDArray[Any]:
    entry = header[name]
    if entry["dtype"] not in _TYPES:
        raise InputError(f"{path}#{name}: values of {entry['dtype']}, which NumPy does not have")
    dtype, shape = np.dtype(_TYPES[entry["dtype"]]), tuple(entry["shape"])
    if 0 in shape:
        return np.empty(shape, dtype)
    return map_array(path, dtype, shape, start + entry["data_offsets"][0])


def open_safetensors(path: Path, name: str | None) -> MappedVectors:
    """Open a tensor of vectors."""
    header, start = _read_header(path)
    candidates = {
        key: " x ".join(map(str, entry["shape"])) + f", {entry['dtype']}"
        for key, entry in header.items()
        if entry["dtype"] in _VALUES and len(entry["shape"]) == 2
    }
    if name in header and name not in candidates:
        raise InputError(
            f"{path}#{name}: expected floats of shape (n, d), or int8 or uint8, found "
            f"{header[name]['dtype']} {tuple(header[name]['shape'])}"
        )
    chosen = choose(path, candidates, name, "tensor")
    stored = _map(path, header, chosen, start)
    bfloat = header[chosen]["dtype"] == "BF16"
    check_array(f"{path}#{chosen}", np.dtype("f4") if bfloat else stored.dtype, stored.shape)
    n, d = stored.shape
    ids = next((key for key in ids_of_named(chosen) if _one_each(header.get(key), n)), None)
    source = None
    if ids is not None:
        where = ids
        source = IdSource(
            path, where, lambda: ids_of_array(read_safetensors(path, where), f"{path}#{where}")
        )
    text = "bfloat16" if bfloat else stored.dtype.name
    return MappedVectors(path, "safetensors", chosen, n, d, text, source, stored=stored)


def _one_each(entry: dict[str, Any] | None, n: int) -> bool:
    return entry is not None and entry["shape"] == [n]


def read_safetensors(path: Path, name: str | None) -> NDArray[Any]:
    """Map a tensor, whatever it holds."""
    header, start = _read_header(path)
    if name not in header:
        raise unknown_name("tensor", name, header, str(path))
    return _map(path, header, name, start)
