"""Inverted file with product quantisation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from retrieval_eval.indexes._faiss import (
    FaissIndex,
    check_centroids,
    check_divides,
    few_points_note,
    from_factory,
    set_training,
)
from retrieval_eval.indexes.ivf_flat import IvfSearch
from retrieval_eval.indexes.pq import PqBuild

__all__ = ["IvfPqBuild", "IvfPqIndex"]


@dataclass(frozen=True)
class IvfPqBuild(PqBuild):
    """Build parameters of :class:`IvfPqIndex`: those of product quantisation, and the lists.

    Parameters
    ----------
    nlist : int
        Number of lists (k-means centroids).
    """

    nlist: Annotated[int, Ge(1)] = 64


class IvfPqIndex(FaissIndex):
    """Visits the nprobe nearest of nlist lists of product-quantised residuals.

    Jegou et al. 2011; faiss ``IndexIVFPQ``.
    """

    name: ClassVar[str] = "ivf-pq"
    Build: ClassVar[type[Any]] = IvfPqBuild
    Search: ClassVar[type[Any]] = IvfSearch
    stored: str = "product-quantised codes"

    def check(self, n: int, d: int | None) -> None:
        """Refuse too few training points, and a dimension that m does not divide."""
        own = self.parameters
        check_centroids(self.name, "nlist", own.nlist, own.nlist, n)
        check_centroids(self.name, "nbits", own.nbits, 2**own.nbits, n)
        check_divides(self.name, own.m, d)

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where training had too few points."""
        return few_points_note(max(self.parameters.nlist, 2**self.parameters.nbits), n)

    def _empty(self, d: int, metric: int) -> Any:

        own = self.parameters
        factory = f"IVF{own.nlist},PQ{own.m}x{own.nbits}"
        return set_training(from_factory(self.name, d, factory, metric), self.seed)

    def _wanted(self, search: Any, k: int) -> dict[str, Any]:
        return asdict(search)
