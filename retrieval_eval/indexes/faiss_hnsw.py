"""HNSW as faiss implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from retrieval_eval.indexes._faiss import FaissIndex, set_training
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

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where ef has no effect."""
        return ef_note(search.ef, k)

    def _empty(self, d: int, metric: int) -> Any:
        import faiss

        own = self.parameters
        index = faiss.IndexHNSWFlat(d, own.M, metric)
        index.hnsw.efConstruction = own.ef_construction
        return set_training(index, self.seed)

    def _wanted(self, search: Any, k: int) -> dict[str, Any]:
        return {"ef": max(search.ef, k)}
