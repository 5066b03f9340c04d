"""Product quantisation without lists: every code is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le

from retrieval_eval.indexes._faiss import (
    FaissIndex,
    check_centroids,
    check_divides,
    few_points_note,
    set_training,
)
from retrieval_eval.indexes.base import Filtering

__all__ = ["PqBuild", "PqIndex"]


@dataclass(frozen=True)
class PqBuild:
    """Build parameters of product quantisation.

    Parameters
    ----------
    m : int
        Number of sub-vectors; must divide the dimension. A code takes ``m * nbits / 8`` bytes.
    nbits : int
        Bits a sub-vector: ``2**nbits`` centroids each.
    """

    m: Annotated[int, Ge(1)] = 32
    nbits: Annotated[int, Ge(4), Le(12)] = 8


class PqIndex(FaissIndex):
    """Scans product-quantised codes (Jegou et al. 2011; faiss ``IndexPQ``).

    The library takes no filter here: what a search returns is filtered after it.
    """

    name: ClassVar[str] = "pq"
    Build: ClassVar[type[Any]] = PqBuild
    filtering: Filtering = "post"
    stored: str = "product-quantised codes"

    def check(self, n: int, d: int | None) -> None:
        """Refuse too few training points, and a dimension that m does not divide."""
        own = self.parameters
        check_centroids(self.name, "nbits", own.nbits, 2**own.nbits, n)
        check_divides(self.name, own.m, d)

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where training had too few points."""
        return few_points_note(2**self.parameters.nbits, n)

    def _empty(self, d: int, metric: int) -> Any:
        import faiss

        own = self.parameters
        return set_training(faiss.IndexPQ(d, own.m, own.nbits, metric), self.seed)
