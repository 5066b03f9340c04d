"""What the backends on faiss share. Importing this module does not import faiss."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes.base import BoundSearch, Index

__all__ = ["FaissIndex", "check_nlist", "train_seeded"]

_FILE = "index.faiss"


class FaissIndex(Index):
    """An index whose library is faiss; a subclass makes the faiss object and its settings."""

    distributions: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    _faiss: Any = None

    def _metric_type(self) -> int:
        import faiss

        return int(faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT)

    def _settings(self, search: Any, k: int) -> Any:
        """Return faiss search parameters for one call, or None."""
        return None

    def _bind(self, k: int, search: Any) -> BoundSearch:
        index, settings = self._faiss, self._settings(search, k)

        def call(queries: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
            distances, labels = index.search(queries, k, params=settings)
            return labels, distances

        return call

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = -raw if self.metric == "l2" else raw
        return scores

    def _save(self, folder: Path) -> None:
        import faiss

        faiss.write_index(self._faiss, str(folder / _FILE))

    def _load(self, folder: Path) -> None:
        import faiss

        self._faiss = faiss.read_index(str(folder / _FILE))
        if (self._faiss.ntotal, self._faiss.d) != (self.n, self.d):
            raise InputError(
                f"{folder / _FILE}: holds {self._faiss.ntotal} x {self._faiss.d} vectors, "
                f"its manifest says {self.n} x {self.d}"
            )


def check_nlist(name: str, nlist: int, n: int) -> None:
    """Refuse more lists than vectors: k-means needs a point for each centroid."""
    if nlist > n:
        raise InputError(
            f"index {name!r}: nlist is {nlist}, but there are only {n} vectors to train on: "
            "choose nlist of at most their number, better a thirty-ninth of it"
        )


def train_seeded(index: Any, vectors: NDArray[np.float32], seed: int) -> None:
    """Train the coarse quantiser from a seed, and add all vectors.

    faiss warns on stderr below 39 points a centroid; the sweep says so in the row's note instead.
    """
    index.cp.seed = seed + 1  # faiss takes 0 to be unset
    index.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
