"""Exact search over all vectors."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.indexes._faiss import FaissIndex

__all__ = ["FlatIndex"]


class FlatIndex(FaissIndex):
    """Exact search by brute force (faiss ``IndexFlat``): the reference, and often fast enough.

    Scores are computed in float32; the truth that neighbour recall is measured against comes
    from :func:`retrieval_eval.neighbours.exact_neighbours`, in float64.
    """

    name: ClassVar[str] = "flat"
    exact: ClassVar[bool] = True

    def _build(self, vectors: NDArray[np.float32]) -> None:
        import faiss

        self._faiss = faiss.IndexFlat(vectors.shape[1], self._metric_type())
        self._faiss.add(vectors)
