"""Parquet tables: a column of lists or arrays of numbers, or one column for each dimension."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.vectorfiles.base import IdSource, VectorFile
from retrieval_eval.vectorfiles.checks import MAX_DIMENSION, choose, file_size

if TYPE_CHECKING:
    import polars as pl

    from retrieval_eval.ids import Ids

__all__ = ["ID_COLUMNS", "ParquetVectors", "open_parquet", "read_parquet_ids"]

ID_COLUMNS = ("id", "_id", "ids", "docid", "doc_id", "document_id", "qid", "query_id")
"""Names under which the ids of the rows are looked for, in this order."""

_MAGIC = b"PAR1"


@dataclass(frozen=True, eq=False)
class ParquetVectors(VectorFile):
    """Vectors of a Parquet table.

    Reading any rows unpacks the pages that hold them, so the memory taken depends on how the file
    was written: about one row group, beside the rows themselves.

    Parameters
    ----------
    columns : tuple of str
        The column of lists; or the columns that are the dimensions.
    listed : bool
        Which of the two.
    """

    columns: tuple[str, ...] = ()
    listed: bool = True

    def _stored(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        for first in range(start, stop, self.block_rows):
            rows = min(first + self.block_rows, stop) - first
            with _reading(self.path):
                frame = _scan(self.path).select(self.columns).slice(first, rows).collect()
            yield self._values(frame, first)

    def _values(self, frame: pl.DataFrame, first: int) -> NDArray[Any]:
        import polars as pl

        for column in frame.get_columns():
            if column.null_count():
                self._refuse(column.is_null(), first, f"column {column.name!r} is null")
        if not self.listed:
            return frame.to_numpy()
        column = frame.to_series()
        if isinstance(column.dtype, pl.List):
            lengths = column.list.len()
            if not (lengths == self.d).all():
                odd = lengths != self.d
                found = lengths.filter(odd)[0]
                rule = f"column {column.name!r} has {found} values, row 0 has {self.d}"
                self._refuse(odd, first, rule)
        values = column.explode()
        if values.null_count():
            place = int(values.is_null().arg_true()[0])
            raise InputError(
                f"{self}: row {first + place // self.d}: value {place % self.d} is null: every "
                "vector needs all its values"
            )
        return values.to_numpy().reshape(-1, self.d)

    def _refuse(self, wrong: pl.Series, first: int, rule: str) -> None:
        row = first + int(wrong.arg_true()[0])
        raise InputError(f"{self}: row {row} (counted from 0): {rule}")


def _scan(path: Path) -> pl.LazyFrame:
    import polars as pl

    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {error}") from None


def _check_ends(path: Path) -> None:
    size = file_size(path)
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(max(0, size - 8))
        tail = stream.read(8)
    if head != _MAGIC:
        raise InputError(f"{path}: not a Parquet file: it starts with {head!r}, not {_MAGIC!r}")
    if len(tail) < 8 or tail[4:] != _MAGIC:
        raise InputError(
            f"{path}: not a readable Parquet file: it ends at byte {size} with {tail[4:]!r}, not "
            f"{_MAGIC!r}: it is cut off or damaged"
        )
    footer = int.from_bytes(tail[:4], "little")
    if footer + 12 > size:
        raise InputError(
            f"{path}: not a readable Parquet file: byte {size - 8} states a footer of {footer} "
            f"bytes in a file of {size}"
        )


def _is_number(dtype: Any) -> bool:
    import polars as pl

    return dtype.is_float() or dtype in (pl.Int8, pl.UInt8)


def _is_vector(dtype: Any) -> bool:
    import polars as pl

    return isinstance(dtype, (pl.List, pl.Array)) and _is_number(dtype.inner)


def open_parquet(path: Path, name: str | None) -> ParquetVectors:
    """Open a column of vectors.

    Without a column of lists, all columns but that of the ids must be numbers: they are the
    dimensions, in the order of the table.
    """
    import polars as pl

    _check_ends(path)
    with _reading(path):
        schema = dict(_scan(path).collect_schema())
        n = int(_scan(path).select(pl.len()).collect().item())
    if n < 1:
        raise InputError(f"{path}: the table has no rows")
    ids = next((key for key in ID_COLUMNS if key in schema and not _is_vector(schema[key])), None)
    source = None if ids is None else _id_source(path, ids)
    vectors = {key: str(dtype) for key, dtype in schema.items() if _is_vector(dtype)}
    others = [key for key in schema if key != ids]
    if not vectors and name is None and others and all(_is_number(schema[key]) for key in others):
        types = {schema[key] for key in others}
        text = _type_name(types.pop()) if len(types) == 1 else "float64"
        _check_dimension(path, len(others))
        return ParquetVectors(
            path, "parquet", None, n, len(others), text, source, tuple(others), listed=False
        )
    if name in schema and name not in vectors:
        raise InputError(
            f"{path}: the column {name!r} holds {schema[name]}: expected lists or arrays of "
            "floats, or of int8 or uint8"
        )
    chosen = choose(path, vectors, name, "column")
    dtype: Any = schema[chosen]
    if isinstance(dtype, pl.Array):
        d = int(dtype.size)
    else:
        with _reading(path):
            head = _scan(path).select(pl.col(chosen).list.len()).head(1).collect()
        d = int(head.item() or 0)
    _check_dimension(path, d)
    return ParquetVectors(
        path, "parquet", chosen, n, d, _type_name(dtype.inner), source, (chosen,), listed=True
    )


def _check_dimension(path: Path, d: int) -> None:
    if not 1 <= d <= MAX_DIMENSION:
        raise InputError(
            f"{path}: row 0 has {d} values: expected a dimension from 1 to {MAX_DIMENSION}"
        )


def _type_name(dtype: Any) -> str:
    return str(dtype).lower()


def _id_source(path: Path, column: str) -> IdSource:
    return IdSource(path, column, lambda: read_parquet_ids(path, column))


def read_parquet_ids(path: Path, column: str) -> Ids:
    """Read a column of ids: text, or whole numbers as their digits."""
    import polars as pl

    from retrieval_eval.ids import Ids

    _check_ends(path)
    with _reading(path):
        schema = _scan(path).collect_schema()
        if column not in schema:
            raise unknown_name("column", column, schema, str(path))
        found = _scan(path).select(column).collect().to_series()
    if found.dtype.is_integer():
        found = found.cast(pl.String)
    return Ids.of(found, f"{path}#{column}: id")
