"""Embeddings to an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_eval import __version__
from retrieval_eval.indexes import Index
from retrieval_eval.pipeline.embedding import Embeddings
from retrieval_eval.pipeline.memory import peak_memory
from retrieval_eval.plugins import own_code
from retrieval_eval.store import Artefact, Store, fold_digests
from retrieval_eval.timing import machine

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Attributes", "Built", "build"]


@dataclass(frozen=True, eq=False)
class Built:
    """An index in the store.

    Parameters
    ----------
    artefact : Artefact
        Its files.
    index_class : type
        The backend.
    threads : int
        For searching.
    """

    artefact: Artefact
    index_class: type[Index]
    threads: int

    @property
    def build_s(self) -> float:
        """Seconds that building took, when it was built."""
        return float(self.artefact.meta["build_s"])

    @property
    def train_s(self) -> float | None:
        """Seconds of these that were training; None where nothing is trained."""
        seconds: float | None = self.artefact.meta["train_s"]
        return seconds

    @property
    def size_bytes(self) -> int:
        """Size of the index, in bytes."""
        return int(self.artefact.meta["size_bytes"])

    @property
    def peak_rss_bytes(self) -> int | None:
        """Peak memory of a fresh process that searches it; None where that says nothing."""
        peak: int | None = self.artefact.meta["peak_rss_bytes"]
        return peak

    @property
    def message(self) -> str:
        """What could not be measured, and why; else empty."""
        return str(self.artefact.meta["message"])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "index"}

    def close(self) -> None:
        """Close the index, if it was needed."""
        if "index" in self.__dict__:
            self.index.close()

    @cached_property
    def index(self) -> Index:
        """The index, read from its files when first needed."""
        return self.index_class.restore(
            self.artefact.folder, self.artefact.meta, threads=self.threads
        )


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


def build(
    store: Store,
    embeddings: Embeddings,
    index: Index,
    attributes: Attributes | None = None,
    *,
    memory: bool = True,
) -> Built:
    """Build an index, timed, or find it in the store.

    Parameters
    ----------
    store : Store
        Where built indexes are kept.
    embeddings : Embeddings
        What to index.
    index : Index
        Not built yet; stays so.
    attributes : Attributes, optional
        To filter on.
    memory : bool
        Measure the peak memory of a fresh process that loads the index and searches it.
    """
    fields = {
        "documents": embeddings.documents_key,
        "index": index.identity(),
        "class": f"{type(index).__module__}:{type(index).__qualname__}",
        "code": own_code(type(index)),
        "threads": index.threads,
        "attributes": None if attributes is None else attributes.fingerprint,
        "memory": memory,
        "versions": index.versions(),
        "machine": machine(),
        "retrieval_eval": __version__,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        fresh = type(index)(
            metric=index.metric, seed=index.seed, threads=index.threads, **asdict(index.parameters)
        )
        # In memory, so that no disk is timed.
        vectors = (
            embeddings.documents.copy()
            if embeddings.sparse
            else np.array(embeddings.documents, dtype=np.float32)
        )
        try:
            fresh.build(vectors, attributes=None if attributes is None else attributes.table)
            facts = fresh.write_files(folder)
            size = fresh.size_bytes()
        finally:
            fresh.close()
        peak, reason = None, ""
        if memory and fresh.in_process:
            peak, reason = peak_memory(
                type(index), folder, facts, embeddings.queries, index.threads
            )
        return {
            **facts,
            "build_s": fresh.build_s,
            "train_s": fresh.train_s,
            "size_bytes": size,
            "peak_rss_bytes": peak,
            "message": reason,
        }

    found = store.get_or_make("indexes", fields, make, usable=type(index).intact)
    return Built(found, type(index), index.threads or 1)
