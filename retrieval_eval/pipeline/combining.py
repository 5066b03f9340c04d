"""Runs to a combined run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from retrieval_eval import __version__
from retrieval_eval.combiners import CombineContext, Combiner
from retrieval_eval.datasets import Dataset
from retrieval_eval.pipeline.jobs import Bench, Job, Told
from retrieval_eval.pipeline.runs import RUN_FILE, run_of
from retrieval_eval.plugins import own_code
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Artefact
from retrieval_eval.timing import library_versions

__all__ = ["CombineJob", "CombinedRun"]


@dataclass(frozen=True, eq=False)
class CombinedRun:
    """What combining has found and cost.

    Parameters
    ----------
    facts : mapping
        What the combiner chose or measured, such as tuned weights.
    seconds : float or None
        What combining all queries took, when it was done; None if other jobs may have run beside.
    """

    facts: Mapping[str, Any]
    seconds: float | None

    @classmethod
    def of(cls, artefact: Artefact) -> CombinedRun:
        """Read what a job has recorded."""
        return cls(artefact.meta["facts"], artefact.meta["seconds"])


@dataclass(frozen=True, eq=False, kw_only=True)
class CombineJob(Job):
    """Runs to one run; it needs the jobs that made its parts, under ``0``, ``1`` and so on.

    Parameters
    ----------
    dataset : Dataset
        The texts, for a combiner that reads them.
    combiner : Combiner
        How.
    identity : mapping
        What ``combiner.identity()`` returned: it may take a while.
    names : tuple of str
        What the parts are called.
    qrels : Qrels
        The judgments, for a combiner that tunes itself.
    k : int
        Documents a query.
    seed : int
        Of whatever is drawn.
    """

    kind: ClassVar[str] = "combine"
    folder: ClassVar[str] = "combinations"
    here: ClassVar[bool] = True

    dataset: Dataset
    combiner: Combiner
    identity: Mapping[str, Any]
    names: tuple[str, ...]
    qrels: Qrels
    k: int
    seed: int

    def decides(self) -> Mapping[str, Any]:
        """Return all that decides the run."""
        tuned = self.combiner.uses_judgments
        return {
            "parts": [[name, self.needs[str(n)].key] for n, name in enumerate(self.names)],
            "combiner": dict(self.identity),
            "code": own_code(type(self.combiner)),
            "versions": library_versions(*self.combiner.distributions),
            # Hits are rows of the corpus: their ids belong to what is kept.
            "documents": self.dataset.corpus_fingerprint,
            "queries": self.dataset.queries_fingerprint,
            "qrels": self.qrels.fingerprint if tuned else None,
            "seed": self.seed if tuned else None,
            "k": self.k,
            "retrieval_eval": __version__,
        }

    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        """Combine."""
        dataset = self.dataset
        context = CombineContext(
            query_ids=dataset.query_ids,
            queries=dataset.queries,
            document_ids=dataset.document_ids,
            documents=dataset.documents,
            qrels=self.qrels,
            k=self.k,
            seed=self.seed,
            name="combined",
        )
        runs = [
            run_of(inputs[str(number)], name, dataset.query_ids, dataset.document_ids)
            for number, name in enumerate(self.names)
        ]
        began = perf_counter()
        combined = self.combiner.combine(runs, context)
        seconds = perf_counter() - began
        combined.run.to_file(folder / RUN_FILE)
        return {"facts": combined.facts, "seconds": seconds if self.timed else None}
