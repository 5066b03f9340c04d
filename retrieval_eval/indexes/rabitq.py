"""One bit a dimension (or a few), with an unbiased estimate of the distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le

from retrieval_eval.indexes._faiss import (
    FaissIndex,
    check_centroids,
    few_points_note,
    from_factory,
    set_training,
)

__all__ = ["RabitqBuild", "RabitqIndex", "RabitqSearch"]


@dataclass(frozen=True)
class RabitqBuild:
    """Build parameters of :class:`RabitqIndex`.

    Parameters
    ----------
    nlist : int or None
        Number of lists (k-means centroids); None scans all codes.
    bits : int
        Bits a dimension.
    """

    nlist: Annotated[int, Ge(1)] | None = None
    bits: Annotated[int, Ge(1), Le(9)] = 1


@dataclass(frozen=True)
class RabitqSearch:
    """Search parameters of :class:`RabitqIndex`.

    Parameters
    ----------
    nprobe : int
        Lists visited for each query; without lists it has no effect.
    query_bits : int
        Bits a dimension of the query; 0 leaves it in float32.
    """

    nprobe: Annotated[int, Ge(1)] = 8
    query_bits: Annotated[int, Ge(0), Le(8)] = 0


class RabitqIndex(FaissIndex):
    """Codes of a few bits a dimension after a random rotation (Gao & Long 2024).

    faiss ``IndexRaBitQ`` or ``IndexIVFRaBitQ`` behind a ``RandomRotationMatrix``.
    """

    name: ClassVar[str] = "rabitq"
    Build: ClassVar[type[Any]] = RabitqBuild
    Search: ClassVar[type[Any]] = RabitqSearch
    stored: str = "RaBitQ codes"

    def check(self, n: int, d: int | None) -> None:
        """Refuse more lists than vectors."""
        if self.parameters.nlist is not None:
            check_centroids(self.name, "nlist", self.parameters.nlist, self.parameters.nlist, n)

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where training had too few points."""
        nlist = self.parameters.nlist
        return None if nlist is None else few_points_note(nlist, n)

    def _empty(self, d: int, metric: int) -> Any:
        import faiss

        own = self.parameters
        lists = "" if own.nlist is None else f"IVF{own.nlist},"
        bits = "" if own.bits == 1 else str(own.bits)
        codes = from_factory(self.name, d, f"{lists}RaBitQ{bits}", metric)
        rotation = faiss.RandomRotationMatrix(d, d)
        rotation.init(self.seed + 1)
        index = faiss.IndexPreTransform(rotation, codes)
        set_training(codes, self.seed)
        return index

    def _wanted(self, search: Any, k: int) -> dict[str, Any]:
        lists = {} if self.parameters.nlist is None else {"nprobe": search.nprobe}
        return {"query_bits": search.query_bits, **lists}
