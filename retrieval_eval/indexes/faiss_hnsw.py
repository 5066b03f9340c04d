"""HNSW as faiss implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.indexes._faiss import FaissIndex
from retrieval_eval.indexes.hnsw import HnswBuild, HnswSearch, ef_note

__all__ = ["FaissHnswBuild", "FaissHnswIndex"]


@dataclass(frozen=True)
class FaissHnswBuild(HnswBuild):
    """Build parameters of :class:`FaissHnswIndex`: those of HNSW, with faiss' own default of M."""

    M: Annotated[int, Ge(2)] = 32


class FaissHnswIndex(FaissIndex):
    """Hierarchical navigable small world graph (Malkov & Yashunin 2018), faiss ``IndexHNSWFlat``.

    With one thread a build is the same every time.
    """

    name: ClassVar[str] = "faiss-hnsw"
    Build: ClassVar[type[Any]] = FaissHnswBuild
    Search: ClassVar[type[Any]] = HnswSearch

    @classmethod
    def note(cls, parameters: Any, search: Any, n: int, k: int) -> str | None:
        """Say where ef has no effect."""
        return ef_note(search.ef, k)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        import faiss

        own = self.parameters
        self._faiss = faiss.IndexHNSWFlat(vectors.shape[1], own.M, self._metric_type())
        self._faiss.hnsw.efConstruction = own.ef_construction
        self._faiss.hnsw.rng = faiss.RandomGenerator(self.seed)
        self._faiss.add(vectors)

    def _settings(self, search: Any, k: int) -> Any:
        import faiss

        return faiss.SearchParametersHNSW(efSearch=max(search.ef, k))
