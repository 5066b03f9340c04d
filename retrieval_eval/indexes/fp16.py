"""Vectors of two bytes a dimension."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._faiss import FaissIndex
from retrieval_eval.indexes.base import Filtering

__all__ = ["Fp16Index"]

_LARGEST = float(np.finfo(np.float16).max)


class Fp16Index(FaissIndex):
    """Scans vectors in half precision: half of the memory, three decimal digits.

    faiss ``IndexScalarQuantizer``, type ``QT_fp16``.
    """

    name: ClassVar[str] = "fp16"
    seeded: bool = False
    filtering: Filtering = "pre"
    stored: str = "float16"

    def _empty(self, d: int, metric: int) -> Any:
        import faiss

        return faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, metric)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        largest = float(np.abs(vectors).max())
        if largest > _LARGEST:  # the library would store infinity
            raise InputError(
                f"index {self.name!r}: the vectors hold {largest:g}, float16 ends at {_LARGEST:g}: "
                "scale them down"
            )
        super()._build(vectors)
