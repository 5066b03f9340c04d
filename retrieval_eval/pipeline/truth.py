"""Embeddings to their true neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.neighbours import Metric, exact_neighbours, exact_sparse_neighbours
from retrieval_eval.pipeline.embedding import Embeddings
from retrieval_eval.pipeline.jobs import Bench, Effort, Job, Told
from retrieval_eval.store import Artefact, fold_digests

__all__ = ["NeighboursJob", "Truth"]

_RECIPE = 1
"""Raised whenever the search finds something else."""


@dataclass(frozen=True, eq=False)
class Truth:
    """True nearest neighbours, from float64.

    Parameters
    ----------
    ids : ndarray of int64, shape (q, k)
        Row numbers of the corpus.
    scores : ndarray of float64, shape (q, k)
        Their similarities.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, artefact: Artefact) -> Truth:
        """Read what a job has found."""
        folder = artefact.folder
        return cls(np.load(folder / "ids.npy"), np.load(folder / "scores.npy"))


@dataclass(frozen=True, eq=False, kw_only=True)
class NeighboursJob(Job):
    """Exact search, in float64; it needs ``documents`` and ``queries``.

    Parameters
    ----------
    metric : {'cosine', 'ip', 'l2'}
        Similarity.
    k : int
        Neighbours wanted.
    allowed : ndarray of bool, shape (n,), or None
        Which documents pass a filter.
    """

    kind: ClassVar[str] = "neighbours"
    folder: ClassVar[str] = "neighbours"

    metric: Metric
    k: int
    allowed: NDArray[np.bool_] | None = None

    def decides(self) -> Mapping[str, Any]:
        """Return all that decides the neighbours."""
        allowed = self.allowed
        return {
            "allowed": None if allowed is None else fold_digests([np.packbits(allowed).tobytes()]),
            "documents": self.needs["documents"].key,
            "queries": self.needs["queries"].key,
            "metric": self.metric,
            "k": self.k,
            "recipe": _RECIPE,
        }

    def effort(self) -> Effort:
        """Return what decides how long this takes: every query meets every document."""
        size = self.size
        block = 8 * (size.documents + size.queries) * (size.dimension or 384)
        disk = 16 * size.queries * self.k
        return Effort(("neighbours",), size.cells * size.queries, disk, block)

    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        """Search."""
        embeddings = Embeddings.of(inputs["documents"], inputs["queries"])
        find = exact_sparse_neighbours if embeddings.sparse else exact_neighbours
        ids, scores = find(
            embeddings.documents, embeddings.queries, self.k, self.metric, allowed=self.allowed
        )
        np.save(folder / "ids.npy", ids)
        np.save(folder / "scores.npy", scores)
        return {}
