"""The tables of a finished sweep: read, checked, and cut into datasets and filters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SweepTables", "Tables", "is_figure", "read_tables"]

_NEEDED = ("row_id", "dataset", "encoder", "configuration")
_FORMAT = 1
Array = NDArray[np.float64]


class Tables(Protocol):
    """Anything with the tables of a sweep, such as :class:`retrieval_eval.sweep.Results`."""

    @property
    def rows(self) -> pl.DataFrame:
        """One row a configuration."""

    @property
    def per_query(self) -> pl.DataFrame:
        """One row a configuration and query."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What was run."""


@dataclass(frozen=True, eq=False)
class SweepTables:
    """The tables of a sweep.

    Parameters
    ----------
    rows : polars.DataFrame
        One row a configuration: ``row_id``, ``dataset``, ``encoder``, ``configuration``, figures;
        also ``filter``, ``status``, ``message`` and ``is_reference``.
    per_query : polars.DataFrame
        ``row_id``, ``query_id`` and measures; queries without a row count nowhere.
    manifest : mapping
        As in ``manifest.json``; may be empty.
    """

    rows: pl.DataFrame
    per_query: pl.DataFrame
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measures(self) -> list[str]:
        """The measures that are known query by query."""
        return [name for name in self.per_query.columns if name not in ("row_id", "query_id")]

    def cells(
        self, datasets: Sequence[str] = ()
    ) -> Iterator[tuple[tuple[str, str | None], pl.DataFrame]]:
        """Yield each dataset and filter, in the order of the rows, with its rows."""
        known = self.rows["dataset"].unique(maintain_order=True).to_list()
        for name in datasets:
            if name not in known:
                raise unknown_name("dataset", name, known)
        parts = self.rows.partition_by("dataset", "filter", as_dict=True, maintain_order=True)
        for (dataset, filter_), frame in parts.items():
            if not datasets or dataset in datasets:
                yield (dataset, filter_), frame

    def scores(self, row_ids: Sequence[str], measures: Sequence[str]) -> tuple[list[str], Array]:
        """Return query ids, ascending, and scores of shape (measures, rows, queries).

        Raises
        ------
        InputError
            If the rows were not scored on the same queries, or a score is infinite.
        """
        import polars as pl

        place = {one: number for number, one in enumerate(row_ids)}
        found = (
            self.per_query.lazy()
            .filter(pl.col("row_id").is_in(list(row_ids)))
            .select("row_id", "query_id", *(pl.col(name).cast(pl.Float64) for name in measures))
            .with_columns(
                pl.col("row_id").replace_strict(place, return_dtype=pl.Int64).alias("place")
            )
            .sort("place", "query_id")
            .collect()
        )
        queries: list[str] = found["query_id"].unique().sort().to_list()
        counted = len(queries)
        if (
            len(found) != counted * len(row_ids)
            or not (
                found["query_id"].to_numpy().reshape(len(row_ids), -1) == np.array(queries, object)
            ).all()
        ):
            raise InputError(
                f"the rows {row_ids[0]}, ... are not scored on the same queries, each once: "
                "per_query needs a score of each query for each of them"
            )
        values = np.stack([found[name].fill_null(np.nan).to_numpy() for name in measures])
        if np.isinf(values).any():
            raise InputError("a score of per_query is infinite")
        return queries, values.reshape(len(measures), len(row_ids), counted)


def is_figure(rows: pl.DataFrame, name: str) -> bool:
    """Whether a column holds figures, no bound of an interval and no flag."""
    return rows.schema[name].is_numeric() and not name.endswith(("_lo", "_hi"))


def read_tables(
    results: str | Path | SweepTables | Tables | pl.DataFrame,
    per_query: pl.DataFrame | None,
    *,
    per_query_needed: bool = True,
) -> SweepTables:
    """Read the tables of a folder, or take those of an object, and complete their columns.

    Raises
    ------
    InputError
        If the folder holds no results, or a table lacks a column.
    """
    import polars as pl

    manifest: Mapping[str, Any] = {}
    if isinstance(results, str | Path):
        manifest, rows, per_query = _read_folder(Path(results))
    elif isinstance(results, pl.DataFrame):
        rows = results
        if per_query is None and per_query_needed:
            raise InputError("scores query by query are needed: give per_query beside the rows")
    else:
        rows, manifest = results.rows, results.manifest
        per_query = results.per_query if per_query_needed else None
    if per_query is None:
        per_query = pl.DataFrame(schema={"row_id": pl.String, "query_id": pl.String})
    for frame, what, needed in (
        (rows, "rows", _NEEDED),
        (per_query, "per_query", ("row_id", "query_id")),
    ):
        lacking = [name for name in needed if name not in frame.columns]
        if lacking:
            raise InputError(f"the table of {what} has no column {', '.join(lacking)}")
    if rows["row_id"].is_duplicated().any():
        raise InputError("two rows have the same row_id")
    defaults = {
        "filter": pl.lit(None, pl.String),
        "status": pl.lit("ok"),
        "message": pl.lit(""),
        "is_reference": pl.lit(value=False),
    }
    lacking_columns = [
        value.alias(name) for name, value in defaults.items() if name not in rows.columns
    ]
    return SweepTables(rows.with_columns(lacking_columns), per_query, manifest)


def _read_folder(folder: Path) -> tuple[Mapping[str, Any], pl.DataFrame, pl.DataFrame]:
    import polars as pl

    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no results of a sweep here (no manifest.json): name the folder that "
            "`retrieval-eval run` wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise InputError(f"{path}: is no manifest of format {_FORMAT}")
    frames = []
    for name in ("results.parquet", "per_query.parquet"):
        try:
            frames.append(pl.read_parquet(folder / name))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(f"{folder / name}: cannot be read: {error}") from None
    return manifest, frames[0], frames[1]
