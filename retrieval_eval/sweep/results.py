"""Results on disk: a folder that is there whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval_eval.comparison import Comparison
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.plugins import require
from retrieval_eval.runs import Run
from retrieval_eval.sweep.compare import RowPair
from retrieval_eval.sweep.execute import Outcome
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.records import (
    COMPARISON_COLUMNS,
    comparison_records,
    per_query_frames,
    results_schema,
    row_record,
)

if TYPE_CHECKING:
    import polars as pl

    from retrieval_eval.store import Store

__all__ = [
    "PAGE",
    "Results",
    "check_target",
    "is_finished",
    "open_results",
    "read_manifest",
    "write_results",
]

PAGE = "report.html"
"""The page for people, in the folder of the results."""

_MANIFEST = "manifest.json"
_WRITERS = 4  # of run files, each with one ranking of all queries in memory
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Results:
    """A finished sweep.

    Parameters
    ----------
    folder : Path
        Where it lies.
    manifest : dict
        Configuration, data, hardware, versions, seeds.
    fresh : bool
        Whether this call ran it, rather than found it finished.
    """

    folder: Path
    manifest: Mapping[str, Any]
    fresh: bool

    def _read(self, name: str) -> pl.DataFrame:
        import polars as pl

        path = self.folder / name
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from None

    @property
    def rows(self) -> pl.DataFrame:
        """One row a configuration: quality, faithfulness, cost."""
        return self._read("results.parquet")

    @property
    def per_query(self) -> pl.DataFrame:
        """One row a configuration and query."""
        return self._read("per_query.parquet")

    @property
    def comparisons(self) -> pl.DataFrame:
        """One row a comparison."""
        return self._read("comparisons.parquet")

    @property
    def health(self) -> pl.DataFrame:
        """One row a dataset and encoder, if the sweep asked for it."""
        return self._read("health.parquet")

    def runs(self) -> list[Run]:
        """Read the runs of all rows that were run, in the order of :attr:`rows`.

        Returns
        -------
        list of Run
            Named by encoder and configuration; by dataset and filter, too, if there are several.

        Raises
        ------
        InputError
            If a file of a run is missing or cannot be read.
        """
        rows = self.rows.filter(self.rows["status"] == "ok")
        shown = [name for name in ("dataset", "filter") if rows[name].n_unique() > 1]
        read = []
        for row in rows.iter_rows(named=True):
            found = sorted((self.folder / "runs").glob(f"*.{row['row_id'][:8]}.trec.gz"))
            if len(found) != 1:
                raise InputError(f"{self.folder / 'runs'}: has no run of the row {row['row_id']}")
            words = (row[name] or "" for name in (*shown, "encoder", "configuration"))
            read.append(replace(Run.from_file(found[0]), name=" ".join(filter(None, words))))
        return read

    def to_pandas(self, table: str = "rows") -> Any:
        """Return a table as a pandas DataFrame.

        Parameters
        ----------
        table : {'rows', 'per_query', 'comparisons', 'health'}
            Which.

        Returns
        -------
        pandas.DataFrame
            With the same columns.

        Raises
        ------
        InputError
            For an unknown table, or one that the sweep did not write.
        MissingExtraError
            If pandas is not installed.
        """
        tables = ("rows", "per_query", "comparisons", "health")
        if table not in tables:
            raise unknown_name("table", table, tables)
        require("results as pandas frames", {"pandas": "pandas"})
        import pandas as pd

        frame: pl.DataFrame = getattr(self, table)
        return pd.DataFrame(frame.to_dict(as_series=False))

    @property
    def failed(self) -> int:
        """How many rows failed."""
        return int(self.manifest["rows"]["failed"])

    def show(self) -> None:
        """Print the leaderboard to standard output."""
        from retrieval_eval.report.terminal import print_leaderboard

        print_leaderboard(self.rows, self.comparisons, self.manifest, self.folder)

    def write_page(
        self,
        path: str | Path | None = None,
        *,
        store: Store | None = None,
        margin: float | None = None,
    ) -> Path:
        """Write the page: the answer, all rows, figures, queries, in one HTML file.

        Parameters
        ----------
        path : str or Path, optional
            By default ``report.html`` in the folder of the results.
        store : Store, optional
            Where the data sets were kept, for the texts of queries and documents; by default the
            user's cache. A data set that cannot be loaded again, or has changed, is shown without.
        margin : float, optional
            Accepted loss, for the answer; by default the sweep's.

        Returns
        -------
        Path
            Where it lies. It needs nothing beside it.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        from retrieval_eval.report.page import write_page

        return write_page(self, path, store=store, margin=margin)


def open_results(folder: str | Path) -> Results:
    """Open the folder of a finished sweep.

    Parameters
    ----------
    folder : str or Path
        Where it lies.

    Raises
    ------
    InputError
        If there is none.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder}: holds no results of a finished sweep: name such a folder")
    return Results(folder, manifest, fresh=False)


def is_finished(folder: Path, key: str) -> bool:
    """Whether a folder holds the whole results of the sweep with this key, no row failed."""
    manifest = read_manifest(folder)
    tables = ("results.parquet", "per_query.parquet", "comparisons.parquet")
    return (
        manifest is not None
        and manifest["sweep_key"] == key
        and not manifest["rows"]["failed"]
        and all((folder / name).is_file() for name in tables)
    )


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return a results folder's manifest, or None if there is none that can be read."""
    try:
        content = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


def check_target(folder: Path) -> None:
    """Refuse a folder for results that holds something else.

    Raises
    ------
    InputError
        If it is a file, or a folder that is neither empty nor one of results.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the results")
    if folder.is_dir() and any(folder.iterdir()) and read_manifest(folder) is None:
        raise InputError(
            f"{folder}: holds something else than results of a sweep, and nothing of it will be "
            "touched: choose another folder with --out"
        )


def write_results(
    folder: Path,
    plan: Plan,
    outcomes: Sequence[Outcome],
    comparisons: Sequence[tuple[str, list[RowPair], Comparison]],
    manifest: Mapping[str, Any],
    health: Sequence[tuple[str, str, Mapping[str, Any]]] = (),
) -> Path | None:
    """Write the folder under a temporary name, and rename it.

    Parameters
    ----------
    folder : Path
        Where the results shall lie.
    plan : Plan
        What was run.
    outcomes : sequence of Outcome
        What became of each row.
    comparisons : sequence
        From :func:`retrieval_eval.sweep.compare.compare_rows`.
    manifest : mapping
        Written as it is.
    health : sequence of (str, str, mapping)
        Dataset, encoder and figures of its embeddings.

    Returns
    -------
    Path or None
        Where results of another configuration were moved that lay in `folder` before.
    """
    import polars as pl

    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}-{'[0-9a-f]' * 8}*"):
        shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
    scratch = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        (scratch / "runs").mkdir(parents=True)
        rows = [row_record(plan, outcome) for outcome in outcomes]
        pl.DataFrame(
            rows, infer_schema_length=None, schema_overrides=results_schema(plan)
        ).write_parquet(scratch / "results.parquet")
        frames = [frame for outcome in outcomes for frame in per_query_frames(outcome)]
        empty = {"row_id": pl.String, "query_id": pl.String}
        per_query = pl.concat(frames) if frames else pl.DataFrame(schema=empty)
        per_query.write_parquet(scratch / "per_query.parquet")
        records = [record for one in comparisons for record in comparison_records(*one)]
        pl.DataFrame(
            records, infer_schema_length=None, schema=None if records else COMPARISON_COLUMNS
        ).write_parquet(scratch / "comparisons.parquet")
        if health:
            figures = [{"dataset": name, "encoder": label, **all_} for name, label, all_ in health]
            frame = pl.DataFrame(figures, infer_schema_length=None)
            frame.write_parquet(scratch / "health.parquet")
        _write_runs([one for one in outcomes if one.made is not None], scratch / "runs")
        (scratch / _MANIFEST).write_text(
            json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )
        kept = _make_room(folder, manifest)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return kept


def _write_runs(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write run files, a few at a time: packing them lets other threads work."""

    def write(outcome: Outcome) -> None:
        run = outcome.run()
        run.to_file(folder / f"{run.name}.trec.gz")

    with ThreadPoolExecutor(min(_WRITERS, os.cpu_count() or 1)) as pool:
        list(pool.map(write, outcomes))


def _make_room(folder: Path, manifest: Mapping[str, Any]) -> Path | None:
    """Move earlier results away: for good if they are of the same sweep, aside if not."""
    if not folder.is_dir():
        return None
    earlier = read_manifest(folder)
    if earlier is None:  # empty, as check_target made sure
        folder.rmdir()
        return None
    if earlier["sweep_key"] == manifest["sweep_key"]:
        stale = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}-stale"
        folder.rename(stale)
        shutil.rmtree(stale, ignore_errors=True)
        return None
    stamp = datetime.fromisoformat(earlier["created"]).strftime("%Y%m%dT%H%M%S")
    aside = folder.with_name(f"{folder.name}-{stamp}")
    copies = 1
    while aside.exists():
        copies += 1
        aside = folder.with_name(f"{folder.name}-{stamp}-{copies}")
    folder.rename(aside)
    return aside


def now() -> str:
    """Return the time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
