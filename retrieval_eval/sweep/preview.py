"""What a sweep would do, and what that would take, before anything is done.

How long a job takes is learnt from jobs like it that were done before, on this machine and kept in
the same store. For want of those, constants stand in that are right within a factor of ten or so;
such an estimate is marked.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrieval_eval.pipeline import Job
from retrieval_eval.store import MANIFEST, NOT_ARTEFACTS, Store
from retrieval_eval.sweep.graph import Graph

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Estimate", "Preview", "estimates", "preview"]

_LATEST = 2000  # manifests that are read: enough to learn from, and a fraction of a second

_SECONDS_OF_WORK = {
    "encode sentence-transformers": 5e-2,  # a text, by a small model on two cores
    "encode sentence-transformers-sparse": 1e-1,
    "encode openai": 1e-2,
    "encode": 5e-4,
    "neighbours": 5e-11,  # a query, a document and a dimension
    "build hnsw": 1e-6,  # a document and a dimension
    "build hnsw-faiss": 1e-6,
    "build": 1e-7,
    "search flat": 1e-10,  # a query, a document and a dimension
    "search": 2e-11,
    "evaluate": 1e-4,  # a query
    "combine": 1e-3,
    "health": 1e-5,  # a text
}
"""Of one unit of the work of jobs that are alike, where none was done before."""


@dataclass(frozen=True)
class Estimate:
    """What a job would take.

    Parameters
    ----------
    seconds : float
        About; nothing if its result is in the store.
    disk_bytes, memory_bytes : int
        About; nothing if its result is in the store.
    cached : bool
        Whether the store holds the result. Whether it is sound is looked at when it is used.
    learnt : bool
        Whether the seconds come from such jobs done before, rather than from constants.
    """

    seconds: float
    disk_bytes: int
    memory_bytes: int
    cached: bool
    learnt: bool


@dataclass(frozen=True, eq=False)
class Preview:
    """What a sweep would do.

    Parameters
    ----------
    graph : Graph
        Its rows and distinct jobs.
    estimates : mapping of Job to Estimate
        What each job would take.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from retrieval_eval import Store, Sweep
    >>> sweep = Sweep(name="s", datasets=["stdlib"], encoders=["hashing"], indexes=["flat"])
    >>> found = sweep.plan(Store(Path(tempfile.mkdtemp())))
    >>> found.jobs["kind"].to_list()
    ['encode', 'encode', 'neighbours', 'build', 'search', 'evaluate']
    """

    graph: Graph
    estimates: Mapping[Job, Estimate]

    @property
    def seconds(self) -> float:
        """What everything would take, one job after the other."""
        return sum(one.seconds for one in self.estimates.values())

    @property
    def rows(self) -> pl.DataFrame:
        """One row a configuration: what would be run, and why something would not."""
        import polars as pl

        found = [
            {
                "row_id": row.row_id,
                "dataset": row.dataset.name,
                "encoder": row.encoder_label,
                "configuration": row.shown,
                "filter": row.view.shown or None,
                "skipped": row.missing,
            }
            for row in self.graph.plan.rows
        ]
        texts = dict.fromkeys(("filter", "skipped"), pl.String)
        return pl.DataFrame(found, infer_schema_length=None, schema_overrides=texts)

    @property
    def jobs(self) -> pl.DataFrame:
        """One row a distinct job."""
        import polars as pl

        return pl.DataFrame(
            [
                {
                    "kind": job.kind,
                    "label": job.label,
                    "key": job.key,
                    "cached": one.cached,
                    "timed": job.timed,
                    "seconds": one.seconds,
                    "learnt": one.learnt,
                    "disk_bytes": one.disk_bytes,
                    "memory_bytes": one.memory_bytes,
                }
                for job, one in self.estimates.items()
            ]
        )


def preview(graph: Graph, store: Store) -> Preview:
    """Look at every job of a graph, and do none.

    Parameters
    ----------
    graph : Graph
        The jobs.
    store : Store
        Where results of earlier ones are.
    """
    return Preview(graph, estimates(graph.jobs, store))


def estimates(jobs: Iterable[Job], store: Store) -> dict[Job, Estimate]:
    """Return what each job would take."""
    paces = _paces(store)
    found = {}
    for job in jobs:
        if store.holds(job.folder, job.fields):
            found[job] = Estimate(0.0, 0, 0, cached=True, learnt=False)
            continue
        effort = job.effort()
        pace = next((paces[name] for name in effort.alike if name in paces), None)
        rough = next(_SECONDS_OF_WORK[name] for name in effort.alike if name in _SECONDS_OF_WORK)
        seconds = effort.work * (rough if pace is None else pace)
        found[job] = Estimate(
            seconds, effort.disk_bytes, effort.memory_bytes, cached=False, learnt=pace is not None
        )
    return found


def _paces(store: Store) -> dict[str, float]:
    """Return the seconds that a unit of work took, by what jobs had in common."""
    manifests = [
        (path.stat().st_mtime, path)
        for path in store.root.glob(f"*/*/{MANIFEST}")
        if path.parent.parent.name not in NOT_ARTEFACTS
    ]
    found: dict[str, list[float]] = {}
    for _, path in sorted(manifests, reverse=True)[:_LATEST]:
        try:
            done = json.loads(path.read_text(encoding="utf-8"))["meta"]["job"]
            pace = float(done["seconds"]) / float(done["work"])
            alike = [str(name) for name in done["alike"]]
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            continue  # of another version, or just being removed
        for name in alike:
            found.setdefault(name, []).append(pace)
    return {name: statistics.median(paces) for name, paces in found.items()}
