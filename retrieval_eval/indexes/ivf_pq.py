"""Inverted file with product quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._faiss import FaissIndex, check_nlist, train_seeded
from retrieval_eval.indexes.ivf_flat import IvfSearch, few_points_note, quantiser

__all__ = ["IvfPqBuild", "IvfPqIndex"]


@dataclass(frozen=True)
class IvfPqBuild:
    """Build parameters of :class:`IvfPqIndex`.

    Parameters
    ----------
    nlist : int
        Number of lists (k-means centroids).
    m : int
        Number of sub-vectors; must divide the dimension. A code takes ``m * nbits / 8`` bytes.
    nbits : int
        Bits a sub-vector: ``2**nbits`` centroids each.
    """

    nlist: Annotated[int, Ge(1)] = 64
    m: Annotated[int, Ge(1)] = 32
    nbits: Annotated[int, Ge(4), Le(12)] = 8


class IvfPqIndex(FaissIndex):
    """Inverted file of product-quantised residuals (Jégou et al. 2011), faiss ``IndexIVFPQ``."""

    name: ClassVar[str] = "ivf-pq"
    Build: ClassVar[type[Any]] = IvfPqBuild
    Search: ClassVar[type[Any]] = IvfSearch

    @classmethod
    def check(cls, parameters: Any, n: int, d: int | None) -> None:
        """Refuse too few training points, and a dimension that m does not divide."""
        check_nlist(cls.name, parameters.nlist, n)
        if n < 2**parameters.nbits:
            raise InputError(
                f"index {cls.name!r}: nbits is {parameters.nbits}, which needs at least "
                f"{2**parameters.nbits} vectors to train on, and there are {n}: lower nbits"
            )
        if d is not None and d % parameters.m:
            divisors = [str(m) for m in range(1, d + 1) if d % m == 0]
            raise InputError(
                f"index {cls.name!r}: m is {parameters.m}, which does not divide the dimension "
                f"{d}: choose one of {', '.join(divisors)}"
            )

    @classmethod
    def note(cls, parameters: Any, search: Any, n: int, k: int) -> str | None:
        """Say where training had too few points."""
        return few_points_note(max(parameters.nlist, 2**parameters.nbits), n)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        import faiss

        d, metric, own = vectors.shape[1], self._metric_type(), self.parameters
        index = faiss.IndexIVFPQ(quantiser(d, metric), d, own.nlist, own.m, own.nbits, metric)
        index.pq.cp.seed = self.seed + 1
        index.pq.cp.min_points_per_centroid = 1
        self._faiss = index
        train_seeded(index, vectors, self.seed)

    def _settings(self, search: Any, k: int) -> Any:
        import faiss

        return faiss.SearchParametersIVF(nprobe=search.nprobe)
