"""Results on disk: a folder that is there whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_eval.comparison import Comparison
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.pipeline import Built, Searched
from retrieval_eval.plugins import require
from retrieval_eval.sweep.compare import RowPair
from retrieval_eval.sweep.execute import Outcome
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.rows import Row

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Results",
    "check_target",
    "is_finished",
    "open_results",
    "read_manifest",
    "row_record",
    "write_results",
]

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
        pl.DataFrame(rows, infer_schema_length=None, schema_overrides=_schema(plan)).write_parquet(
            scratch / "results.parquet"
        )
        frames = [frame for outcome in outcomes for frame in _per_query(outcome)]
        empty = {"row_id": pl.String, "query_id": pl.String}
        per_query = pl.concat(frames) if frames else pl.DataFrame(schema=empty)
        per_query.write_parquet(scratch / "per_query.parquet")
        records = [record for one in comparisons for record in _comparison_records(*one)]
        pl.DataFrame(
            records, infer_schema_length=None, schema=None if records else _COMPARISON_COLUMNS
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


def _schema(plan: Plan) -> dict[str, Any]:
    """Types of the columns that may be empty throughout."""
    import polars as pl

    floats = [f"{name}{end}" for name in plan.sweep.measures for end in ("", "_lo", "_hi")]
    floats += ["latency_p50_s", "latency_p95_s", "latency_p99_s", "qps", "build_s", "train_s"]
    floats += ["encode_documents_s", "encode_queries_s", "combine_s"]
    floats += ["load_average", "other_cores", "timing_spread"]
    floats += [
        f"{name}_seeds_{end}" for name in _spread_columns(plan) for end in ("lowest", "highest")
    ]
    floats.append(f"neighbour_recall@{plan.sweep.neighbour_recall}")
    texts = ["filter", "filtering", "served_by", "stored", "encoder_usage", "combine_facts"]
    texts += ["measured", "noise"]
    whole = ["size_bytes", "peak_rss_bytes", "n_queries", "queries_without_hits"]
    return {
        **dict.fromkeys(floats, pl.Float64),
        **dict.fromkeys(whole, pl.Int64),
        **dict.fromkeys(texts, pl.String),
    }


def _spread_columns(plan: Plan) -> list[str]:
    """Name the columns whose spread over build seeds is kept."""
    if plan.sweep.build_seeds == 1:
        return []
    recall = f"neighbour_recall@{plan.sweep.neighbour_recall}"
    return [*plan.sweep.measures, recall, "build_s"]


def row_record(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """Return a row of ``results.parquet``: what was measured, None for what was not."""
    row = outcome.row
    build_params, search_params = row.parameters
    index = row.index.index if isinstance(row, Row) else None
    record: dict[str, Any] = {
        "row_id": row.row_id,
        "dataset": row.dataset.name,
        "encoder": row.encoder_label,
        "index": row.index_name,
        "configuration": row.shown,
        "build_params": json.dumps(build_params),
        "search_params": json.dumps(search_params),
        "filter": row.view.shown or None,
        "selectivity": row.view.selectivity,
        "status": outcome.status,
        "message": outcome.message or (outcome.built.message if outcome.built else ""),
        "is_reference": row.is_reference,
    }
    evaluation, intervals = outcome.evaluation, outcome.intervals
    for place, name in enumerate(plan.sweep.measures):
        record[name] = evaluation.means[name] if evaluation else None
        for end, bound in (("lo", 0), ("hi", 1)):
            value = np.nan if intervals is None else float(intervals[place, bound])
            record[f"{name}_{end}"] = None if np.isnan(value) else value  # one query has none
    searched = outcome.searched
    times = searched.times if searched else None
    recall = searched.neighbour_recall if searched else None
    record[f"neighbour_recall@{plan.sweep.neighbour_recall}"] = recall
    record["latency_p50_s"] = times.latency_p50_s if times else None
    record["latency_p95_s"] = times.latency_p95_s if times else None
    record["latency_p99_s"] = times.latency_p99_s if times else None
    record["qps"] = times.qps if times else None
    record["measured"] = searched.measured if searched else None
    record["load_average"] = searched.load_average if searched else None
    record["other_cores"] = searched.other_cores if searched else None
    record["timing_spread"] = times.spread if times else None
    built = outcome.built
    record["noise"] = _noise(searched, built) if times and searched and built else None
    record["build_s"] = built.build_s if built else None
    record["train_s"] = built.train_s if built else None
    record["size_bytes"] = built.size_bytes if built else None
    record["peak_rss_bytes"] = built.peak_rss_bytes if built else None
    record["stored"] = index.stored if built and index else None
    record["served_by"] = searched.served_by if searched else None
    record["filtering"] = searched.filtering if searched else None
    embeddings, combined = outcome.embeddings, outcome.combined
    record["encode_documents_s"] = embeddings.documents_s if embeddings else None
    record["encode_queries_s"] = embeddings.queries_s if embeddings else None
    record["encoder_usage"] = (
        json.dumps(embeddings.facts) if embeddings and embeddings.facts else None
    )
    record["combine_s"] = combined.seconds if combined else None
    record["combine_facts"] = json.dumps(combined.facts) if combined and combined.facts else None
    for name in _spread_columns(plan):
        lowest, highest = outcome.spread.get(name, (None, None))
        record[f"{name}_seeds_lowest"], record[f"{name}_seeds_highest"] = lowest, highest
    record["n_queries"] = len(evaluation.query_ids) if evaluation else None
    record["queries_without_hits"] = evaluation.missing if evaluation else None
    return record


def _noise(searched: Searched, built: Built) -> str:
    """Say what may have spoiled a row's timings; nothing if nothing is known to have."""
    parts = {"searching": searched.noise, "building": built.noise}
    return "; ".join(f"{what}: {text}" for what, text in parts.items() if text)


def _per_query(outcome: Outcome) -> Iterator[pl.DataFrame]:
    import polars as pl

    if outcome.evaluation is not None:
        evaluation = outcome.evaluation
        columns = dict(zip(evaluation.measures, evaluation.values, strict=True))
        ids = list(evaluation.query_ids)
        row_id = pl.repeat(outcome.row.row_id, len(ids), eager=True)
        yield pl.DataFrame({"row_id": row_id, "query_id": ids, **columns})


_COMPARISON_COLUMNS = [
    "dataset",
    "question",
    "reference_row_id",
    "candidate_row_id",
    "reference",
    "candidate",
    "measure",
    "difference",
    "significant",
]


_KEPT = (
    "measure",
    "n",
    "n_differing",
    "wins",
    "ties",
    "losses",
    "effect",
    "common_language",
    "p",
    "p_adjusted",
    "significant",
    "smallest_p",
    "detectable",
    "margin",
    "p_noninferior",
    "noninferior",
    "p_equivalent",
    "equivalent",
)


def _comparison_records(
    dataset: str, pairs: Sequence[RowPair], comparison: Comparison
) -> Iterator[dict[str, Any]]:
    per_pair = len(comparison.differences) // max(1, len(pairs))
    for place, difference in enumerate(comparison.differences):
        pair = pairs[place // per_pair]
        facts = difference.as_dict(comparison.options.test)
        yield {
            "dataset": dataset,
            "question": pair.question,
            "reference_row_id": pair.reference.row.row_id,
            "candidate_row_id": pair.candidate.row.row_id,
            "reference": f"{pair.reference.row.encoder_label} | {pair.reference.row.shown}",
            "candidate": f"{pair.candidate.row.encoder_label} | {pair.candidate.row.shown}",
            "difference": facts["mean_diff"],
            "difference_lo": facts["ci95"][0],
            "difference_hi": facts["ci95"][1],
            **{name: facts[name] for name in _KEPT},
            **{
                name: value
                for name, value in comparison.options.as_dict().items()
                if name not in ("margins", "family")
            },
            "draws": comparison.draws,
            "family": f"dataset {dataset}: {comparison.family}",
        }
