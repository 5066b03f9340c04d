"""What was searched and with which vectors: datasets, the health of embeddings, what they cost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from retrieval_eval.health import FIGURES, EmbeddingHealth
from retrieval_eval.report.leaderboard import Column
from retrieval_eval.report.page.document import Section

if TYPE_CHECKING:
    import polars as pl

    from retrieval_eval.sweep import Results

__all__ = ["health_section"]

_OPTIONS = ("k", "duplicate_cosine", "sample", "seed")
_SIZES = ("documents", "queries", "judgments")
_CHECKSUMS = {"corpus": "documents", "queries_checksum": "queries", "qrels": "judgments"}


def health_section(results: Results) -> Section:
    """Return the section of data and embeddings.

    Parameters
    ----------
    results : Results
        A finished sweep.
    """
    rows, manifest = results.rows, results.manifest
    health = results.health if (results.folder / "health.parquet").is_file() else None
    return Section(
        "health",
        "Data and embeddings",
        {
            "datasets": [
                _dataset(name, facts, rows.filter(rows["dataset"] == name))
                for name, facts in manifest.get("datasets", {}).items()
            ],
            "asked": bool(manifest["sweep"].get("health")),
            "health": [] if health is None else list(_health(health)),
            "encodings": list(_encodings(rows)),
        },
    )


def _dataset(name: str, facts: Mapping[str, Any], rows: pl.DataFrame) -> dict[str, Any]:
    """Return what the source recorded of a dataset, and how much of what was found is judged."""
    known = {"name", *_SIZES, *_CHECKSUMS}
    return {
        "name": name,
        "sizes": [(one, facts.get(one)) for one in _SIZES],
        "per_query": _per_query(facts),
        "judged": list(_judged(rows)),
        "checksums": [(word, facts[one]) for one, word in _CHECKSUMS.items() if one in facts],
        "others": [
            (one.replace("_", " "), value if isinstance(value, str) else json.dumps(value))
            for one, value in facts.items()
            if one not in known
        ],
    }


def _per_query(facts: Mapping[str, Any]) -> tuple[float, str] | None:
    judgments, queries = facts.get("judgments"), facts.get("queries")
    if judgments is None or not queries:
        return None
    return judgments / queries, f"{judgments / queries:.3g}"


def _judged(rows: pl.DataFrame) -> Iterator[tuple[str, list[tuple[float, str]]]]:
    """Yield each measure of the judged share, with the least and the largest of its rows."""
    for name in rows.columns:
        # Its bounds begin alike, too.
        if name.startswith("Judged@") and name.removeprefix("Judged@").isdigit():
            shares = [one for one in rows[name] if one is not None and math.isfinite(one)]
            if shares:
                yield name, [(one, f"{one:.4f}") for one in (min(shares), max(shares))]


def _health(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the figures of each dataset: a line for each, a column for each encoder."""
    for (dataset,), mine in frame.partition_by(
        "dataset", as_dict=True, maintain_order=True
    ).items():
        records = mine.to_dicts()
        shown = [
            name
            for name in FIGURES
            if name in mine.columns
            and name not in _OPTIONS
            and any(one[name] is not None for one in records)
        ]
        yield {
            "dataset": dataset,
            "encoders": [one["encoder"] for one in records],
            "lines": [
                (name, FIGURES[name], [_figure(name, one[name]) for one in records])
                for name in shown
            ],
            "notes": [(one["encoder"], note) for one in records for note in _notes(one)],
            "options": ", ".join(
                f"{name.replace('_', ' ')} {records[0][name]}"
                for name in _OPTIONS
                if name in mine.columns
            ),
        }


def _figure(name: str, value: float | int | None) -> tuple[float | int | None, str]:
    if value is None or not math.isfinite(value):
        return None, ""
    return value, Column(name, name, "figure", significant=5).shown(value)


def _notes(record: Mapping[str, Any]) -> list[str]:
    """Say what is worth a look; nothing of tables that lack a figure."""
    if not all(name in record for name in FIGURES):
        return []
    return EmbeddingHealth(**{name: record[name] for name in FIGURES}).notes()


_COSTS = ("encode_documents_s", "encode_queries_s", "encoder_usage")


def _encodings(rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield what encoding took, once for each dataset and encoder."""
    names = [name for name in _COSTS if name in rows.columns]
    costs = rows.select("dataset", "encoder", *names).unique(maintain_order=True)
    for one in costs.iter_rows(named=True):
        found = [one.get(name) for name in _COSTS]
        if all(value is None for value in found):
            continue
        yield {
            "dataset": one["dataset"],
            "encoder": one["encoder"],
            "seconds": [(value, "" if value is None else f"{value:.3g}") for value in found[:2]],
            "usage": "" if found[2] is None else _usage(found[2]),
        }


def _usage(text: str) -> str:
    facts = json.loads(text)
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in facts.items())
