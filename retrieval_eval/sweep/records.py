"""Rows of the tables of results: what was measured, None for what was not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_eval.comparison import Comparison
from retrieval_eval.pipeline import Built, Searched
from retrieval_eval.sweep.compare import RowPair
from retrieval_eval.sweep.execute import Outcome
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.rows import Row

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "COMPARISON_COLUMNS",
    "comparison_records",
    "per_query_frames",
    "results_schema",
    "row_record",
]


def results_schema(plan: Plan) -> dict[str, Any]:
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


def per_query_frames(outcome: Outcome) -> Iterator[pl.DataFrame]:
    """Yield a row's part of ``per_query.parquet``; nothing for one without scores."""
    import polars as pl

    if outcome.evaluation is not None:
        evaluation = outcome.evaluation
        columns = dict(zip(evaluation.measures, evaluation.values, strict=True))
        ids = list(evaluation.query_ids)
        row_id = pl.repeat(outcome.row.row_id, len(ids), eager=True)
        yield pl.DataFrame({"row_id": row_id, "query_id": ids, **columns})


COMPARISON_COLUMNS = [
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
"""Columns that the table has even where nothing was compared."""

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


def comparison_records(
    dataset: str, pairs: Sequence[RowPair], comparison: Comparison
) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``comparisons.parquet`` of one dataset and filter."""
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
