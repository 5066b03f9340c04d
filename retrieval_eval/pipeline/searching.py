"""An index to hits and their cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval import __version__
from retrieval_eval.filters import Filter
from retrieval_eval.indexes import Index
from retrieval_eval.neighbours import kth_scores, neighbour_recall
from retrieval_eval.pipeline.embedding import Embeddings
from retrieval_eval.pipeline.jobs import Bench, Effort, Job, Told
from retrieval_eval.pipeline.truth import Truth
from retrieval_eval.store import Artefact, digest
from retrieval_eval.timing import (
    OtherWork,
    SearchTimes,
    ThreadLimit,
    TimingOptions,
    hardware,
    noise,
    time_search,
)

__all__ = ["SearchJob", "Searched"]

_RECIPE = 3
"""Raised whenever something else is recorded."""


@dataclass(frozen=True, eq=False)
class Searched:
    """What searching has found and cost, without its hits.

    Parameters
    ----------
    neighbour_recall : float or None
        Mean share of the true neighbours found; None if no query has any.
    times : SearchTimes or None
        Latency and throughput; None if not asked for.
    served_by : str
        What served the queries, in the library's words.
    filtering : str or None
        Who filtered; None without a filter.
    measured : str or None
        When it was timed, in ISO 8601.
    load_average : float or None
        Of the machine's last minute before that.
    other_cores : float or None
        How many cores others kept busy meanwhile; None where that is unknown.
    noise : str or None
        What may have spoiled the timing; None if nothing was timed.
    """

    neighbour_recall: float | None
    times: SearchTimes | None
    served_by: str
    filtering: str | None
    measured: str | None
    load_average: float | None
    other_cores: float | None
    noise: str | None

    @classmethod
    def of(cls, artefact: Artefact) -> Searched:
        """Read what a job has found."""
        meta, times = artefact.meta, artefact.meta["times"]
        return cls(
            meta["neighbour_recall"],
            None if times is None else SearchTimes(**{**times, "batch_s": tuple(times["batch_s"])}),
            meta["served_by"],
            meta["filtering"],
            meta["measured"],
            meta["load_average"],
            meta["other_cores"],
            meta["noise"],
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class SearchJob(Job):
    """Search all queries, and time a sample of them.

    It needs ``documents`` and ``queries``, the ``index``, and the true ``neighbours``: at least as
    many as `neighbours`, among the documents that pass the filter.

    Parameters
    ----------
    index_class : type
        The backend.
    threads : int or None
        For searching.
    machine : mapping
        That does it, as :func:`retrieval_eval.timing.machine` describes it.
    k : int
        Hits a query.
    settings : mapping
        The backend's search parameters.
    timing : TimingOptions or None
        How to measure; None measures no time.
    neighbours : int
        The k of neighbour recall.
    seed : int
        Of the sample that is timed.
    where : Filter or None
        Which documents may be found.
    allowed : ndarray of bool, shape (n,), or None
        The same as a mask.
    """

    kind: ClassVar[str] = "search"
    folder: ClassVar[str] = "searches"
    limited: ClassVar[bool] = True

    index_class: type[Index]
    threads: int | None
    machine: Mapping[str, Any]
    k: int
    settings: Mapping[str, Any]
    timing: TimingOptions | None
    neighbours: int
    seed: int
    where: Filter | None = None
    allowed: NDArray[np.bool_] | None = None

    def decides(self) -> Mapping[str, Any]:
        """Return all that decides the hits, and what they cost."""
        return {
            "index": self.needs["index"].key,
            "queries": self.needs["queries"].key,
            "k": self.k,
            "settings": dict(self.settings),
            "timing": None if self.timing is None else asdict(self.timing),
            "where": None if self.where is None else self.where.as_mapping(),
            "neighbours": self.neighbours,
            "seed": None if self.timing is None else self.seed,
            "machine": None if self.timing is None else dict(self.machine),
            "recipe": _RECIPE,
            "retrieval_eval": __version__,
        }

    def effort(self) -> Effort:
        """Return what decides how long this takes: the backend, its settings, how many queries."""
        size, timing = self.size, self.timing
        asked = size.queries
        if timing is not None:
            singles = min(size.queries, timing.latency_queries)
            batch = min(size.queries, timing.batch_queries)
            asked += (timing.repeats + 1) * (singles + batch)
        name = self.index_class.name
        settings = digest({"settings": dict(self.settings), "k": self.k})
        alike = (f"search {name} {settings}", f"search {name}", "search")
        return Effort(alike, asked * size.cells, 12 * size.queries * self.k, 8 * size.cells)

    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        """Search, then measure."""
        built = inputs["index"]
        index: Index = bench.keep(
            "index",
            built.key,
            lambda: self.index_class.restore(built.folder, built.meta, threads=self.threads or 1),
        )
        embeddings = Embeddings.of(inputs["documents"], inputs["queries"])
        truth = Truth.of(inputs["neighbours"])
        k, where = self.k, self.where
        hits = index.search(embeddings.queries, k, where=where, **self.settings)
        recall = neighbour_recall(
            hits,
            kth_scores(truth.scores, self.neighbours),
            embeddings.documents,
            embeddings.queries,
            self.neighbours,
            index.metric,
            allowed=self.allowed,
            neighbours=np.isfinite(truth.scores[:, : self.neighbours]).sum(axis=1),
        )
        times, others, timing = None, OtherWork(), self.timing
        load = hardware()["load_average"]
        if timing is not None:
            call = index.bind(k, where=where, **self.settings)
            with ThreadLimit(timing.threads), others:
                times = time_search(
                    call,
                    index.prepare(embeddings.queries),
                    repeats=timing.repeats,
                    latency_queries=timing.latency_queries,
                    batch_queries=timing.batch_queries,
                    seed=self.seed,
                )
        np.save(folder / "ids.npy", hits.ids)
        np.save(folder / "scores.npy", hits.scores)
        known = recall[~np.isnan(recall)]
        # A server's own work would count as that of others.
        seen = others.cores if index.in_process else None
        return {
            "neighbour_recall": float(known.mean()) if len(known) else None,
            "times": None if times is None else asdict(times),
            "served_by": index.served_by(k, where=where, **self.settings),
            "filtering": None if where is None else index.filtering,
            "measured": None if times is None else datetime.now(UTC).isoformat(timespec="seconds"),
            "load_average": load[0] if load and times is not None else None,
            "other_cores": seen,
            "noise": None if times is None else noise(seen, times.spread),
        }
