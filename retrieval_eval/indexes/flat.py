"""Exact search over all vectors."""

from __future__ import annotations

from typing import Any, ClassVar

from retrieval_eval.indexes._faiss import FaissIndex
from retrieval_eval.indexes.base import Filtering

__all__ = ["FlatIndex"]


class FlatIndex(FaissIndex):
    """Exact search by brute force (faiss ``IndexFlat``): the reference, and often fast enough.

    Scores are computed in float32; the truth that neighbour recall is measured against comes
    from :func:`retrieval_eval.neighbours.exact_neighbours`, in float64. A filter is applied first,
    so that only what passes is scanned.
    """

    name: ClassVar[str] = "flat"
    exact: ClassVar[bool] = True
    seeded: bool = False
    filtering: Filtering = "pre"

    def _empty(self, d: int, metric: int) -> Any:
        import faiss

        return faiss.IndexFlat(d, metric)
