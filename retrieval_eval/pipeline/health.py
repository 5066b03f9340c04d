"""Embeddings to what can be said of them without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from retrieval_eval import __version__
from retrieval_eval.health import embedding_health
from retrieval_eval.pipeline.embedding import Embeddings
from retrieval_eval.pipeline.jobs import Bench, Job, Told
from retrieval_eval.store import Artefact

__all__ = ["HealthJob"]


@dataclass(frozen=True, eq=False, kw_only=True)
class HealthJob(Job):
    """Look at dense embeddings; it needs ``documents`` and ``queries``.

    What is recorded under ``health`` is as
    :meth:`retrieval_eval.health.EmbeddingHealth.as_dict` has it.

    Parameters
    ----------
    seed : int
        Of the samples.
    """

    kind: ClassVar[str] = "health"
    folder: ClassVar[str] = "health"

    seed: int

    def decides(self) -> Mapping[str, Any]:
        """Return all that decides what is seen."""
        return {
            "documents": self.needs["documents"].key,
            "queries": self.needs["queries"].key,
            "seed": self.seed,
            "retrieval_eval": __version__,
        }

    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        """Look."""
        embeddings = Embeddings.of(inputs["documents"], inputs["queries"])
        found = embedding_health(embeddings.documents, embeddings.queries, seed=self.seed)
        return {"health": found.as_dict()}
