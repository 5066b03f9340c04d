"""TREC's white-space separated columns (and BEIR's TSV), read in blocks.

A block goes one of two ways. If its bytes are proven regular, every line the right number of
columns with one space between them, polars parses it. Otherwise it is read line by line, which
either accepts it or raises the error for the first bad line. Both ways accept the same files with
the same result, so the first is speed alone.
"""

from __future__ import annotations

import codecs
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.formats.columns import QRELS, Columns, Kind, bad_row, read_number
from retrieval_eval.ids import Ids
from retrieval_eval.textfiles import open_bytes

__all__ = ["read_trec"]

_BEIR_HEADER = [b"query-id", b"corpus-id", b"score"]
_BEIR = ("query-id", "corpus-id", "score")
_BLOCK_BYTES = 8 << 20
_SLICE_BYTES = 1 << 17
_SPACE, _NEWLINE, _HASH = 32, 10, 35
_TO_SPACE = bytes.maketrans(b"\t\v\f\r", b"    ")


@dataclass(frozen=True)
class _Layout:
    """Which columns there are, and which of them are read."""

    kind: Kind
    columns: tuple[str, ...]
    query: int
    document: int
    value: int
    comments: bool

    @property
    def schema(self) -> dict[str, type[pl.DataType]]:
        value = pl.Int64 if self.kind.whole else pl.Float64
        return {
            str(place): value if place == self.value else pl.String
            for place in range(len(self.columns))
        }


@dataclass(frozen=True, eq=False)
class _Block:
    """The rows of one block; queries as the heads of stretches of equal ids."""

    heads: pl.Series
    lengths: NDArray[np.int64]
    document: pl.Series
    value: NDArray[np.float64] | NDArray[np.int64]
    line: int  # number of the first line
    lines: NDArray[np.int64] | None  # of each row, if not one after another


def read_trec(path: Path, kind: Kind) -> Columns:
    """Read a TREC run or qrels, or BEIR's TSV of qrels, plain or packed.

    Columns are separated by white space of ASCII; blank lines, and lines that start with ``#``, are
    passed over (BEIR's form, known by its header, has no comments).

    Parameters
    ----------
    path : Path
        The file, read once, so that it may be a pipe.
    kind : Kind
        `RUN` or `QRELS`.

    Raises
    ------
    InputError
        Naming file, line number, the line and the rule.
    """
    layout = _Layout(kind, kind.columns, 0, 2, 4 if kind.name == "run" else 3, comments=True)
    blocks: list[_Block] = []
    source = _whole_lines(path)
    data = next(source, b"").removeprefix(codecs.BOM_UTF8)
    line = 1
    first, _, rest = data.partition(b"\n")
    if kind is QRELS and first.split() == _BEIR_HEADER:
        layout, data, line = _Layout(kind, _BEIR, 0, 1, 2, comments=False), rest, 2
    work = partial(_regular, layout=layout)
    for block_bytes, regular in _in_parallel(work, data, source):
        if regular is not None:
            block = replace(regular, line=line)
            line += len(block.document)
        else:
            block = _by_line(path, block_bytes, line, layout)
            line += block_bytes.count(b"\n")
        if len(block.document):
            blocks.append(block)
    if not blocks:
        what = "the run holds no line" if kind.name == "run" else "the qrels hold no judgment"
        raise InputError(f"{path}: {what}")
    return _join(path, blocks)


def _in_parallel(
    work: Callable[[bytes], _Block | None], first: bytes, rest: Iterator[bytes]
) -> Iterator[tuple[bytes, _Block | None]]:
    """Yield each block and what became of it, in order, a few of them at a time."""
    workers = min(4, os.cpu_count() or 1)
    waiting: deque[tuple[bytes, Future[_Block | None]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for data in chain([first], rest):
            waiting.append((data, pool.submit(work, data)))
            if len(waiting) > workers:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield blocks that end with a line end."""
    with open_bytes(path) as stream:
        rest: list[bytes] = []
        while data := stream.read(_BLOCK_BYTES):
            cut = data.rfind(b"\n") + 1
            if not cut:
                rest.append(data)
                continue
            yield b"".join([*rest, memoryview(data)[:cut]])
            rest = [data[cut:]]
        last = b"".join(rest)
        if last:
            yield last + b"\n"


def _regular(data: bytes, layout: _Layout) -> _Block | None:
    """Parse a block by polars if it is proven that every line has its columns, else None."""
    if not data.isascii() and not _is_text(data):
        return None
    if not _columns_proven(data, layout):
        # White space of other kinds keeps the number of lines; only then is this block still
        # what it was, line by line.
        data = re.sub(rb" +", b" ", data.translate(_TO_SPACE)).replace(b" \n", b"\n")
        data = data.replace(b"\n ", b"\n").removeprefix(b" ")
        if not _columns_proven(data, layout):
            return None
    if data.startswith(codecs.BOM_UTF8):  # polars would drop it; here it is part of an id
        return None
    picked = [layout.query, layout.document, layout.value]
    try:
        table = pl.read_csv(
            data,
            has_header=False,
            separator=" ",
            quote_char=None,
            schema=layout.schema,
            columns=picked,
        )
    except pl.exceptions.PolarsError:
        return None
    query, document, value = (table[str(place)] for place in picked)
    if any(column.null_count() for column in (query, document, value)) or not (
        layout.kind.whole or value.is_finite().all()
    ):
        return None
    heads, lengths = _stretches(query)
    return _Block(heads, lengths, document, value.to_numpy(), 0, None)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _columns_proven(data: bytes, layout: _Layout) -> bool:
    """Whether every line has its columns, with one space between them, and is no comment."""
    width = len(layout.columns)
    if not data or (layout.comments and data.startswith(b"#")):
        return False
    comments = layout.comments and b"#" in data
    start = 0
    while start < len(data):  # in slices that fit into the processor's cache
        stop = data.rfind(b"\n", start, start + _SLICE_BYTES) + 1 or len(data)
        table = np.frombuffer(data, dtype=np.uint8, count=stop - start, offset=start)
        blank = table <= _SPACE
        breaks = np.flatnonzero(blank)
        ends = breaks[width - 1 :: width]
        if len(breaks) != width * len(ends) or blank[0] or (blank[1:] & blank[:-1]).any():
            return False
        if (table[ends] != _NEWLINE).any() or np.count_nonzero(table < _SPACE) != len(ends):
            return False  # other control characters are left to the other way
        if comments and (table[ends[:-1] + 1] == _HASH).any():
            return False
        if comments and data[start] == _HASH:
            return False
        start = stop
    return True


def _by_line(path: Path, data: bytes, line: int, layout: _Layout) -> _Block:
    queries: list[str] = []
    documents: list[str] = []
    values: list[float] = []
    lines: list[int] = []
    for number, raw in enumerate(data.split(b"\n"), start=line):
        fields = raw.split()
        if not fields or (layout.comments and fields[0].startswith(b"#")):
            continue
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            _bad_line(path, number, raw, f"not UTF-8 text ({error.reason})")
        if len(fields) != len(layout.columns):
            names = ", ".join(layout.columns)
            rule = f"expected {len(layout.columns)} columns ({names}), found {len(fields)}"
            _bad_line(path, number, raw, rule)
        value = read_number(fields[layout.value], layout.kind)
        if value is None:
            what = "a whole number of 64 bits" if layout.kind.whole else "a finite number"
            shown = fields[layout.value][:80].decode("utf-8", "replace")
            _bad_line(path, number, raw, f"the {layout.kind.value} {shown!r} is not {what}")
        queries.append(fields[layout.query].decode())
        documents.append(fields[layout.document].decode())
        values.append(value)
        lines.append(number)
    heads, lengths = _stretches(pl.Series(queries, dtype=pl.String))
    return _Block(
        heads,
        lengths,
        pl.Series(documents, dtype=pl.String),
        np.array(values, np.int64) if layout.kind.whole else np.array(values, np.float64),
        line,
        np.array(lines, dtype=np.int64),
    )


def _bad_line(path: Path, number: int, raw: bytes, rule: str) -> NoReturn:
    text = raw.removesuffix(b"\r").decode("utf-8", "backslashreplace")
    raise bad_row(f"{path}:{number}", text, rule)


def _stretches(query: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """Return the first id of each stretch of equal ids, and how long it is."""
    starts = np.flatnonzero((query != query.shift(1)).fill_null(value=True).to_numpy())
    return query.gather(starts), np.diff(np.append(starts, len(query)))


def _join(path: Path, blocks: list[_Block]) -> Columns:
    heads = pl.concat([block.heads for block in blocks])
    names = heads.unique(maintain_order=True)
    codes = heads.cast(pl.Enum(names)).to_physical().cast(pl.Int32).to_numpy()
    first_rows = np.cumsum([0, *(len(block.document) for block in blocks)])
    places = [(block.line, block.lines) for block in blocks]

    def where(row: int) -> tuple[str, str | None]:
        place = int(np.searchsorted(first_rows, row, side="right")) - 1
        line, lines = places[place]
        offset = row - int(first_rows[place])
        number = line + offset if lines is None else int(lines[offset])
        text = None
        if path.is_file():  # a pipe cannot be read again
            with open_bytes(path) as stream:  # by bytes: other lines need not be text
                raw = next(islice(stream, number - 1, None), b"")
            raw = raw.removesuffix(b"\n").removesuffix(b"\r")
            text = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).decode()
        return f"{path}:{number}", text

    query = np.repeat(codes, np.concatenate([block.lengths for block in blocks]))
    value = np.concatenate([block.value for block in blocks])
    document = pl.concat([block.document for block in blocks], rechunk=False)
    return Columns(str(path), tuple(names), query, Ids(document), value, where)
