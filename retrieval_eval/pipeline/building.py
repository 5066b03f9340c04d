"""Embeddings to an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from retrieval_eval import __version__
from retrieval_eval.indexes import Index
from retrieval_eval.pipeline.jobs import Bench, Effort, Job, Told
from retrieval_eval.pipeline.memory import peak_memory
from retrieval_eval.pipeline.shards import read_embeddings
from retrieval_eval.plugins import own_code
from retrieval_eval.store import Artefact, digest, fold_digests
from retrieval_eval.timing import OtherWork, noise

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Attributes", "BuildJob", "Built"]

_RECIPE = 1
"""Raised whenever something else is recorded."""


@dataclass(frozen=True, eq=False)
class Built:
    """What building an index has cost.

    Parameters
    ----------
    build_s : float or None
        Seconds that building took, when it was built; None if something else ran beside it.
    train_s : float or None
        Seconds of these that were training; None where nothing is trained.
    size_bytes : int
        Size of the index.
    peak_rss_bytes : int or None
        Peak memory of a fresh process that searches it; None where that says nothing.
    message : str
        What could not be measured, and why; else empty.
    noise : str or None
        What may have spoiled the timing; None if nothing was timed.
    """

    build_s: float | None
    train_s: float | None
    size_bytes: int
    peak_rss_bytes: int | None
    message: str
    noise: str | None

    @classmethod
    def of(cls, artefact: Artefact) -> Built:
        """Read what a job has recorded."""
        return cls(**{one.name: artefact.meta[one.name] for one in fields(cls)})


@dataclass(frozen=True, eq=False)
class Attributes:
    """Attributes of the documents, for filters.

    Parameters
    ----------
    table : polars.DataFrame, n rows
        Only the columns that filters use: a database stores each.
    fingerprint : str
        A key of their content.
    """

    table: pl.DataFrame
    fingerprint: str

    @classmethod
    def of(cls, table: pl.DataFrame) -> Attributes:
        """Wrap a table; names, types and values make the key, a missing value told from text."""
        parts = (
            str(part)
            for name, kind in table.schema.items()
            for part in (name, kind, *map(repr, table[name]))
        )
        return cls(table, fold_digests(parts))


@dataclass(frozen=True, eq=False, kw_only=True)
class BuildJob(Job):
    """Vectors to an index; it needs ``documents`` and ``queries``.

    Parameters
    ----------
    index : Index
        Not built yet; stays so.
    machine : mapping
        That does it, as :func:`retrieval_eval.timing.machine` describes it.
    attributes : Attributes or None
        To filter on.
    memory : bool
        Measure the peak memory of a fresh process that loads the index and searches it.
    """

    kind: ClassVar[str] = "build"
    folder: ClassVar[str] = "indexes"
    limited: ClassVar[bool] = True

    index: Index
    machine: Mapping[str, Any]
    attributes: Attributes | None = None
    memory: bool = True

    def decides(self) -> Mapping[str, Any]:
        """Return all that decides the index, and what it costs."""
        index = self.index
        return {
            "documents": self.needs["documents"].key,
            "index": index.identity(),
            "class": f"{type(index).__module__}:{type(index).__qualname__}",
            "code": own_code(*index.classes()),
            "threads": index.threads,
            "attributes": None if self.attributes is None else self.attributes.fingerprint,
            "memory": self.memory,
            "versions": index.versions(),
            "recipe": _RECIPE,
            "machine": dict(self.machine) if self.timed else None,
            "retrieval_eval": __version__,
        }

    def effort(self) -> Effort:
        """Return what decides how long this takes: the backend, its parameters, the vectors."""
        index, size = self.index, self.size
        exactly = digest({"index": index.identity() | {"seed": 0}, "threads": index.threads})
        alike = (f"build {index.name} {exactly}", f"build {index.name}", "build")
        vectors = 4 * size.cells
        return Effort(alike, size.cells, vectors, 3 * vectors)  # given, prepared, in the index

    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        """Build, save and measure."""
        index = self.index
        fresh = type(index)(
            metric=index.metric, seed=index.seed, threads=index.threads, **asdict(index.parameters)
        )
        documents, queries = (
            read_embeddings(inputs[side].folder, inputs[side].meta)
            for side in ("documents", "queries")
        )
        # In memory, so that no disk is timed.
        sparse = not hasattr(documents, "__array__")
        vectors = documents.copy() if sparse else np.array(documents, dtype=np.float32)
        attributes = None if self.attributes is None else self.attributes.table
        bench.clear("index")  # it would take memory beside the new one
        try:
            with OtherWork() as others:
                fresh.build(vectors, attributes=attributes)
            facts = fresh.write_files(folder)
            size = fresh.size_bytes()
        finally:
            fresh.close()
        peak, reason = None, ""
        if self.memory and fresh.in_process:
            peak, reason = peak_memory(type(index), folder, facts, queries, index.threads)
        return {
            **facts,
            "build_s": fresh.build_s if self.timed else None,
            "train_s": fresh.train_s if self.timed else None,
            "size_bytes": size,
            "peak_rss_bytes": peak,
            "message": reason,
            "noise": noise(others.cores if fresh.in_process else None) if self.timed else None,
        }

    def usable(self, folder: Path, facts: Mapping[str, Any]) -> bool:
        """Whether what an index outside the store points at is still there."""
        return type(self.index).intact(folder, facts)
