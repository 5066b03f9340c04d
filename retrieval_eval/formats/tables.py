"""Tables: CSV and parquet files, and the data frames of polars and pandas."""

from __future__ import annotations

import csv
import io
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from retrieval_eval.errors import InputError
from retrieval_eval.formats.columns import Columns, Kind, bad_row
from retrieval_eval.formats.records import pick_names
from retrieval_eval.textfiles import open_bytes, read_lines

__all__ = ["from_frame", "read_csv", "read_parquet"]

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def read_csv(path: Path, kind: Kind) -> Columns:
    """Read comma-separated columns with a header; every id is text, quoted or not."""
    with open_bytes(path) as stream:
        data = stream.read()
    header = next(csv.reader([line for _, line in islice(read_lines(path), 1)]), [])
    names = pick_names(header, kind, f"{path}:1")
    try:
        table = pl.read_csv(io.BytesIO(data), infer_schema=False)
        picked = [table[name] for name in names]
    except pl.exceptions.PolarsError as error:
        raise _csv_error(path, error) from None

    def where(row: int) -> tuple[str, str | None]:
        reader = csv.reader(line + "\n" for _, line in read_lines(path))
        fields = next(islice((one for one in reader if one), row + 1, None), [])
        return f"{path}:{reader.line_num}", ",".join(fields)

    for column in picked:
        if column.null_count():
            row = int(column.is_null().arg_true()[0])
            place, text = where(row)
            raise bad_row(place, text or "", f"the column {column.name!r} is empty")
    query, document, value = picked
    wrong = ~value.str.contains(_NUMBER)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        place, text = where(row)
        rule = f"the {kind.value} {value[row]!r} is not a {'whole' if kind.whole else 'finite'}"
        raise bad_row(place, text or "", f"{rule} number")
    if kind.whole and value.str.contains(r"^[+-]?[0-9]{1,18}$").all():
        numbers = value.cast(pl.Int64)
    else:
        numbers = value.cast(pl.Float64)
    if table.is_empty():
        raise InputError(f"{path}: there is a header, and no row")
    return Columns.from_table(kind, str(path), query, document, numbers, where)


def _csv_error(path: Path, error: Exception) -> InputError:
    """Find the line that the fast reader stumbled over."""
    reader = csv.reader((line + "\n" for _, line in read_lines(path)), strict=True)
    try:
        width = len(next(reader))
        for fields in reader:
            if fields and len(fields) > width:
                rule = f"expected {width} columns as in the header, found {len(fields)}"
                return bad_row(f"{path}:{reader.line_num}", ",".join(fields), rule)
    except csv.Error as wrong:
        return InputError(f"{path}:{reader.line_num}: not valid CSV: {wrong}")
    return InputError(f"{path}: not valid CSV: {str(error).splitlines()[0]}")


def read_parquet(path: Path, kind: Kind) -> Columns:
    """Read a parquet file by its columns' names."""
    try:
        names = pick_names(list(pl.read_parquet_schema(path)), kind, str(path))
        table = pl.read_parquet(path, columns=names)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file: {error}") from None
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
        if values.dtype == object:
            listed = values.tolist()
            wrong = next((i for i, value in enumerate(listed) if not isinstance(value, str)), None)
            if wrong is not None:
                raise InputError(
                    f"data frame, row {wrong}: {name} {listed[wrong]!r} is no text, and ids are "
                    "strings, since '007' is not '7'"
                )
            values = listed
        columns.append(pl.Series(name, values))
    return _from_series(columns, kind, "data frame")


def _from_series(columns: list[pl.Series], kind: Kind, source: str) -> Columns:
    query, document, value = columns
    if query.is_empty():
        raise InputError(f"{source}: there is no row")

    def where(row: int) -> tuple[str, str | None]:
        return f"{source}, row {row}", f"{query[row]} {document[row]} {value[row]}"

    return Columns.from_table(kind, source, query, document, value, where)
