"""Vectors of one byte a dimension."""

from __future__ import annotations

from typing import Any, ClassVar

from retrieval_eval.indexes._faiss import FaissIndex
from retrieval_eval.indexes.base import Filtering

__all__ = ["Sq8Index"]


class Sq8Index(FaissIndex):
    """Scans vectors of one byte a dimension, spread over each dimension's range.

    faiss ``IndexScalarQuantizer``, type ``QT_8bit``: a quarter of the memory.
    """

    name: ClassVar[str] = "sq8"
    seeded: bool = False
    filtering: Filtering = "pre"
    stored: str = "8-bit integers"

    def _empty(self, d: int, metric: int) -> Any:
        import faiss

        return faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit, metric)
