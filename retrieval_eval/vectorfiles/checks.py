"""What all formats share: checks of what a file says of itself, choices, and conversions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name

if TYPE_CHECKING:
    from retrieval_eval.ids import Ids

__all__ = [
    "MAX_DIMENSION",
    "as_float32",
    "check_array",
    "check_fits",
    "choose",
    "file_size",
    "holds_vectors",
    "ids_of_array",
    "ids_of_named",
    "map_array",
]

MAX_DIMENSION = 1 << 20
"""Dimensions beyond this are taken for damage."""

_IDS_AT_A_TIME = 1 << 16


def as_float32(block: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """Return values of a stored type as float32, in C order; a copy only if need be.

    What is too large for float32 becomes infinite.

    Examples
    --------
    >>> as_float32(np.array([[0x3F80]], dtype=np.uint16), "bfloat16").tolist()
    [[1.0]]
    """
    if dtype == "bfloat16":  # the upper half of a float32
        block = (block.astype(np.uint32) << np.uint32(16)).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.require(np.asarray(block), np.float32, ["C_CONTIGUOUS", "ALIGNED"])


def file_size(path: Path) -> int:
    """Return a file's size in bytes; raise :class:`InputError` if it is no file, or is empty."""
    try:
        found = path.stat()
        if path.is_dir():
            raise InputError(f"{path}: is a folder: name a file")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return found.st_size


def holds_vectors(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether an array is rows of floats, or of int8 or uint8."""
    numbers = dtype.kind == "f" or dtype in (np.dtype(np.int8), np.dtype(np.uint8))
    return numbers and len(shape) == 2


def check_array(where: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse an array that is no rows of floats, or has no row, or no or too many dimensions."""
    if not holds_vectors(dtype, shape):
        raise InputError(
            f"{where}: expected floats of shape (n, d), or int8 or uint8, found {dtype} {shape}"
        )
    n, d = shape
    if n < 1 or not 1 <= d <= MAX_DIMENSION:
        raise InputError(
            f"{where}: states {n} vectors of dimension {d}: expected at least 1 vector, and a "
            f"dimension from 1 to {MAX_DIMENSION}"
        )


def check_fits(where: str, what: str, start: int, n_bytes: int, size: int) -> None:
    """Refuse a file that does not end where its header says that its values end."""
    stop = start + n_bytes
    if stop > size:
        raise InputError(
            f"{where}: {what} should lie in bytes {start} to {stop}, but the file ends at byte "
            f"{size}: it is cut off, or its header is damaged"
        )
    if stop < size:
        raise InputError(
            f"{where}: {what} should end at byte {stop}, but the file goes on to byte {size}: "
            "its header is damaged, or something was appended"
        )


def map_array(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, *, fortran: bool = False
) -> NDArray[Any]:
    """Map an array that is known to lie within a file."""
    try:
        mapped: NDArray[Any] = np.memmap(
            path, dtype=dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
        )
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: cannot be mapped into memory: {error}") from None
    return mapped


def choose(path: Path, candidates: Mapping[str, str], name: str | None, what: str) -> str:
    """Return the name asked for, or the only one there is.

    Parameters
    ----------
    path : Path
        The file.
    candidates : mapping of str to str
        What in the file holds vectors, and a description of each.
    name : str, optional
        The name asked for; known to be no other thing in the file.
    what : str
        What is named: ``"array"``, ``"column"``.

    Raises
    ------
    InputError
        If there is no such one, or no name was given and there are several, or none.
    """
    if name is not None:
        if name not in candidates:
            raise unknown_name(what, name, candidates, str(path))
        return name
    if len(candidates) == 1:
        return next(iter(candidates))
    if not candidates:
        raise InputError(f"{path}: holds no {what} of vectors: floats of shape (n, d)")
    listed = ", ".join(f"{key} ({text})" for key, text in sorted(candidates.items()))
    raise InputError(
        f"{path}: holds several {what}s of vectors: {listed}. Say which, for instance "
        f"{path}#{min(candidates)}"
    )


def ids_of_named(name: str | None) -> tuple[str, ...]:
    """Return the names under which the ids of an array's rows are looked for."""
    return ("ids",) if name is None else (f"{name}_ids", "ids")


def ids_of_array(values: NDArray[Any], where: str) -> Ids:
    """Turn an array of strings, of UTF-8 bytes or of whole numbers into ids.

    Examples
    --------
    >>> ids_of_array(np.array([7, 12]), "v.npz#ids")
    Ids(['7', '12'], n=2)
    """
    import polars as pl

    from retrieval_eval.ids import Ids

    if values.ndim != 1 or values.dtype.kind not in "USiuO":
        raise InputError(
            f"{where}: expected one id for each row, as text or whole numbers, found "
            f"{values.dtype} {values.shape}"
        )
    if values.dtype.kind in "iu":
        native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        return Ids.of(pl.Series(native).cast(pl.String))
    parts = []
    try:
        for start in range(0, len(values), _IDS_AT_A_TIME):
            some = values[start : start + _IDS_AT_A_TIME]
            listed = np.char.decode(some, "utf-8") if some.dtype.kind == "S" else some
            parts.append(Ids.of(listed.tolist(), f"{where}: id").column)
    except ValueError as error:  # not UTF-8, or no character
        raise InputError(f"{where}: an id is no text: {error}") from None
    return Ids.of(pl.concat(parts) if parts else pl.Series(dtype=pl.String))
