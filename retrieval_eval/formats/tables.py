"""Tables: CSV and parquet files, and the data frames of polars and pandas."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import polars as pl

from retrieval_eval.errors import InputError
from retrieval_eval.formats.columns import Columns, Kind, bad_row, read_number
from retrieval_eval.formats.records import numbers, pick_names
from retrieval_eval.textfiles import read_lines

__all__ = ["from_frame", "read_csv", "read_parquet"]


def read_csv(path: Path, kind: Kind) -> Columns:
    """Read comma-separated columns with a header; every id is text, quoted or not."""
    reader = csv.reader((line for _, line in read_lines(path, keep_ends=True)), strict=True)
    queries: list[str] = []
    documents: list[str] = []
    values: list[float] = []
    lines: list[int] = []
    try:
        header = next((fields for fields in reader if fields), [])
        names = pick_names(header, kind, f"{path}:{max(1, reader.line_num)}")
        places = [header.index(name) for name in names]
        for fields in reader:
            if not fields:
                continue
            at = f"{path}:{reader.line_num}"
            if len(fields) != len(header):
                rule = f"expected {len(header)} columns as in the header, found {len(fields)}"
                raise bad_row(at, ",".join(fields), rule)
            query, document, text = (fields[place] for place in places)
            for name, one in zip(names, (query, document, text), strict=True):
                if not one:
                    raise bad_row(at, ",".join(fields), f"the column {name!r} is empty")
            value = read_number(text.encode(), kind)
            if value is None:
                what = "a whole number of 64 bits" if kind.whole else "a finite number"
                rule = f"the {kind.value} {text[:80]!r} is not {what}"
                raise bad_row(at, ",".join(fields), rule)
            queries.append(query)
            documents.append(document)
            values.append(value)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV: {error}") from None
    if not values:
        raise InputError(f"{path}: there is a header, and no row")

    def where(row: int) -> tuple[str, str | None]:
        return f"{path}:{lines[row]}", f"{queries[row]},{documents[row]},{values[row]}"

    return Columns.from_table(
        kind,
        str(path),
        pl.Series(queries, dtype=pl.String),
        pl.Series(documents, dtype=pl.String),
        pl.Series(kind.value, values, dtype=pl.Int64 if kind.whole else pl.Float64),
        where,
    )


def read_parquet(path: Path, kind: Kind) -> Columns:
    """Read a parquet file by its columns' names."""
    try:
        names = pick_names(list(pl.read_parquet_schema(path)), kind, str(path))
        table = pl.read_parquet(path, columns=names)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a readable parquet file: {reason}") from None
    return _from_series([table[name] for name in names], kind, str(path))


def from_frame(frame: Any, kind: Kind) -> Columns:
    """Read a data frame of polars or pandas; ids must be text.

    Parameters
    ----------
    frame : polars.DataFrame, polars.LazyFrame or pandas.DataFrame
        With columns for query id, document id and value, under any of their usual names.
    kind : Kind
        `RUN` or `QRELS`.
    """
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    names = pick_names(list(frame.columns), kind, "data frame")
    if isinstance(frame, pl.DataFrame):
        return _from_series([frame[name] for name in names], kind, "data frame")
    # pandas, and whatever looks like it: by arrays, so that nothing but numpy is needed
    columns = []
    for name in names:
        values = frame[name].to_numpy()
        if values.dtype != object:
            columns.append(pl.Series(name, values))
            continue
        listed = values.tolist()
        if name == names[2]:
            columns.append(numbers(listed, kind, lambda row: (f"data frame, row {row}", None)))
            continue
        wrong = next((i for i, value in enumerate(listed) if not isinstance(value, str)), None)
        if wrong is not None:
            raise InputError(
                f"data frame, row {wrong}: {name} {listed[wrong]!r} is no text, and ids are "
                "strings, since '007' is not '7'"
            )
        columns.append(pl.Series(name, listed))
    return _from_series(columns, kind, "data frame")


def _from_series(columns: list[pl.Series], kind: Kind, source: str) -> Columns:
    query, document, value = columns
    if query.is_empty():
        raise InputError(f"{source}: there is no row")

    def where(row: int) -> tuple[str, str | None]:
        return f"{source}, row {row}", f"{query[row]} {document[row]} {value[row]}"

    return Columns.from_table(kind, source, query, document, value, where)
