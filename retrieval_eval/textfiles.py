"""Reading text files, packed or plain, so that every error can name file, line and text."""

from __future__ import annotations

import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from retrieval_eval.errors import InputError

__all__ = [
    "PACKED",
    "bad_line",
    "fits_column",
    "open_bytes",
    "pack_bytes",
    "read_jsonl",
    "read_lines",
    "unpacked_name",
    "whole_number",
]

PACKED = (".gz", ".zst")
"""Suffixes of packed files."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SHOWN = 80
_SURROGATE = re.compile("[\ud800-\udfff]")  # no text: what is left of bytes that were not UTF-8


def bad_line(path: Path, number: int, line: str, rule: str) -> NoReturn:
    """Raise the error for one line of a file: its place, the rule, and its text, cut."""
    shown = line if len(line) <= _SHOWN else line[:_SHOWN] + "..."
    raise InputError(f"{path}:{number}: {rule}; the line is {shown!r}")


def fits_column(text: str) -> bool:
    """Whether a text can stand in a column between white space, and be read back as it is.

    White space is ASCII's, as for trec_eval: a no-break space is part of an id.

    Examples
    --------
    >>> fits_column("caf\u00e9\u00a01"), fits_column("a b"), fits_column("")
    (True, False, False)
    """
    if _SURROGATE.search(text):
        return False
    data = text.encode()
    return data.split() == [data]


def whole_number(text: str) -> int:
    """Read digits with a sign; ``1_0`` and other liberties of Python are no number in a file."""
    if not re.fullmatch("[+-]?[0-9]+", text):
        raise ValueError(text)
    return int(text)


def unpacked_name(path: Path) -> str:
    """Return a file's name without the suffix of its packing."""
    return path.name.removesuffix(path.suffix) if path.suffix in PACKED else path.name


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacking what its suffix or its first bytes call gzip or zstd.

    Raises
    ------
    InputError
        If the file cannot be opened or unpacked, is a folder, or is cut off.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.peek(4)[:4]
            unpacked: IO[bytes] = stream
            if path.suffix == ".gz" or magic[:2] == _GZIP:
                unpacked = cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
            elif path.suffix == ".zst" or magic == _ZSTD:
                unpacked = _zstd().ZstdFile(stream)
            yield unpacked
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except _unpacking_errors() as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def pack_bytes(data: bytes, suffix: str) -> bytes:
    """Pack data as a suffix says, the same data always to the same bytes."""
    if suffix == ".gz":
        from isal import igzip  # as small as zlib's quickest, in a fifth of the time

        small: bytes = igzip.compress(data, 1, mtime=0)
        return small
    if suffix == ".zst":
        packed: bytes = _zstd().compress(data)
        return packed
    return data


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _unpacking_errors() -> tuple[type[BaseException], ...]:
    """Return what reading and unpacking may raise; a library's, if it was imported at all."""
    module = sys.modules.get(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    )
    return (OSError, EOFError, zlib.error, *((module.ZstdError,) if module else ()))


def read_lines(path: Path, *, keep_ends: bool = False) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text without line end) of a UTF-8 file, packed or plain.

    Parameters
    ----------
    path : Path
        The file.
    keep_ends : bool
        Whether the text keeps its line end.

    Raises
    ------
    InputError
        If the file cannot be opened, is cut off, or a line is not UTF-8.
    """
    with open_bytes(path) as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                bad_line(path, number, repr(raw), f"not UTF-8 text ({error.reason})")
            if number == 1:
                text = text.removeprefix("\ufeff")  # a byte order mark
            yield number, text if keep_ends else text.removesuffix("\n").removesuffix("\r")


def read_jsonl(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON-lines file; `required` keys must hold strings."""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # the latter if brackets nest too deeply
            bad_line(path, number, line, f"not valid JSON ({error})")
        if not isinstance(record, dict):
            bad_line(path, number, line, "expected a JSON object")
        for key in required:
            if not isinstance(record.get(key), str):
                bad_line(path, number, line, f"the key {key!r} must hold a string")
        yield number, record
