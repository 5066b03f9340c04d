"""Reading column files line by line, so that every error can name file, line and text."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from retrieval_eval.errors import InputError

__all__ = ["bad_line", "fits_column", "read_columns", "read_jsonl", "read_lines", "whole_number"]

_SHOWN = 80
_SURROGATE = re.compile("[\ud800-\udfff]")  # no text: what is left of bytes that were not UTF-8


def bad_line(path: Path, number: int, line: str, rule: str) -> NoReturn:
    """Raise the error for one line of a file: its place, the rule, and its text, cut."""
    shown = line if len(line) <= _SHOWN else line[:_SHOWN] + "..."
    raise InputError(f"{path}:{number}: {rule}; the line is {shown!r}")


def fits_column(text: str) -> bool:
    """Whether a text can stand in a column between white space, and be read back as it is."""
    return text.split() == [text] and not _SURROGATE.search(text)


def whole_number(text: str) -> int:
    """Read digits with a sign; ``1_0`` and other liberties of Python are no number in a file."""
    if not re.fullmatch("[+-]?[0-9]+", text):
        raise ValueError(text)
    return int(text)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text without line end) of a UTF-8 file, ``.gz`` or plain.

    Raises
    ------
    InputError
        If the file cannot be opened, is cut off, or a line is not UTF-8.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    text = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    bad_line(path, number, repr(raw), f"not UTF-8 text ({error.reason})")
                if number == 1:
                    text = text.removeprefix("\ufeff")  # a byte order mark
                yield number, text.removesuffix("\n").removesuffix("\r")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read after line {number}: {error}") from None


def read_columns(
    path: Path, columns: int, what: str, *, comments: bool = True
) -> Iterator[tuple[int, str, list[str]]]:
    """Yield (line number, text, fields) of lines with white space between columns.

    Blank lines are passed over, and lines that start with ``#`` if the format has comments.

    Parameters
    ----------
    path : Path
        The file.
    columns : int
        How many columns every line must have.
    what : str
        What the columns are, for the message of a line with another number.
    comments : bool
        Whether ``#`` starts a comment.
    """
    for number, line in read_lines(path):
        fields = line.split()
        if not fields or (comments and line.startswith("#")):
            continue
        if len(fields) != columns:
            rule = f"expected {columns} columns ({what}), found {len(fields)}"
            bad_line(path, number, line, rule)
        yield number, line, fields


def read_jsonl(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON-lines file; `required` keys must hold strings."""
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            bad_line(path, number, line, f"not valid JSON ({error})")
        if not isinstance(record, dict):
            bad_line(path, number, line, "expected a JSON object")
        for key in required:
            if not isinstance(record.get(key), str):
                bad_line(path, number, line, f"the key {key!r} must hold a string")
        yield number, record
