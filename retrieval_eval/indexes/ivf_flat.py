"""Inverted file with uncompressed vectors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from retrieval_eval.indexes._faiss import (
    FaissIndex,
    check_centroids,
    few_points_note,
    from_factory,
    set_training,
)

__all__ = ["IvfFlatBuild", "IvfFlatIndex", "IvfSearch"]


@dataclass(frozen=True)
class IvfFlatBuild:
    """Build parameters of :class:`IvfFlatIndex`.

    Parameters
    ----------
    nlist : int
        Number of lists (k-means centroids).
    """

    nlist: Annotated[int, Ge(1)] = 64


@dataclass(frozen=True)
class IvfSearch:
    """Search parameters of inverted files.

    Parameters
    ----------
    nprobe : int
        Lists visited for each query; nlist visits all.
    """

    nprobe: Annotated[int, Ge(1)] = 8


class IvfFlatIndex(FaissIndex):
    """Visits the nprobe nearest of nlist lists (faiss ``IndexIVFFlat``); vectors stay float32."""

    name: ClassVar[str] = "ivf-flat"
    Build: ClassVar[type[Any]] = IvfFlatBuild
    Search: ClassVar[type[Any]] = IvfSearch

    def check(self, n: int, d: int | None) -> None:
        """Refuse more lists than vectors."""
        nlist = self.parameters.nlist
        check_centroids(self.name, "nlist", nlist, nlist, n)

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where training had too few points."""
        return few_points_note(self.parameters.nlist, n)

    def _empty(self, d: int, metric: int) -> Any:

        return set_training(
            from_factory(self.name, d, f"IVF{self.parameters.nlist},Flat", metric), self.seed
        )

    def _wanted(self, search: Any, k: int) -> dict[str, Any]:
        return asdict(search)
