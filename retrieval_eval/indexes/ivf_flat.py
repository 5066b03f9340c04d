"""Inverted file with uncompressed vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.indexes._faiss import FaissIndex, check_nlist, train_seeded

__all__ = ["IvfFlatBuild", "IvfFlatIndex", "IvfSearch", "few_points_note", "quantiser"]

_POINTS_PER_CENTROID = 39
"""What faiss asks for at least (``ClusteringParameters.min_points_per_centroid``)."""


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


def quantiser(d: int, metric: int) -> Any:
    """Make the coarse quantiser; exact, since nlist is small beside n."""
    import faiss

    return faiss.IndexFlat(d, metric)


def few_points_note(centroids: int, n: int) -> str | None:
    """Say that k-means had fewer points a centroid than faiss asks for."""
    if n >= centroids * _POINTS_PER_CENTROID:
        return None
    return (
        f"{n} vectors train {centroids} centroids: "
        f"faiss asks for {centroids * _POINTS_PER_CENTROID}"
    )


class IvfFlatIndex(FaissIndex):
    """Visits the nprobe nearest of nlist lists (faiss ``IndexIVFFlat``); vectors stay float32."""

    name: ClassVar[str] = "ivf-flat"
    Build: ClassVar[type[Any]] = IvfFlatBuild
    Search: ClassVar[type[Any]] = IvfSearch

    @classmethod
    def check(cls, parameters: Any, n: int, d: int | None) -> None:
        """Refuse more lists than vectors."""
        check_nlist(cls.name, parameters.nlist, n)

    @classmethod
    def note(cls, parameters: Any, search: Any, n: int, k: int) -> str | None:
        """Say where training had too few points."""
        return few_points_note(parameters.nlist, n)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        import faiss

        d, metric = vectors.shape[1], self._metric_type()
        self._faiss = faiss.IndexIVFFlat(quantiser(d, metric), d, self.parameters.nlist, metric)
        train_seeded(self._faiss, vectors, self.seed)

    def _settings(self, search: Any, k: int) -> Any:
        import faiss

        return faiss.SearchParametersIVF(nprobe=search.nprobe)
