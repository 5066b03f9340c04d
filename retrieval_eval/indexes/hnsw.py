"""HNSW as hnswlib, its authors' library, implements it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.indexes.base import BoundSearch, Filtering, Index
from retrieval_eval.indexes.selection import Selection

__all__ = ["HnswBuild", "HnswIndex", "HnswSearch", "ef_note"]

_FILE = "index.hnswlib"


@dataclass(frozen=True)
class HnswBuild:
    """Build parameters of :class:`HnswIndex`.

    Parameters
    ----------
    M : int
        Links a vector keeps on each layer above the lowest, which keeps twice as many.
    ef_construction : int
        Length of the candidate list while building.
    """

    M: Annotated[int, Ge(2)] = 16
    ef_construction: Annotated[int, Ge(1)] = 200


@dataclass(frozen=True)
class HnswSearch:
    """Search parameters of HNSW.

    Parameters
    ----------
    ef : int
        Length of the candidate list while searching; below k both libraries use k.
    """

    ef: Annotated[int, Ge(1)] = 128


def ef_note(ef: int, k: int) -> str | None:
    """Say that ef below k has no effect."""
    return f"ef={ef} is below k={k}: the library searches with ef={k}" if ef < k else None


class HnswIndex(Index):
    """Hierarchical navigable small world graph (Malkov & Yashunin 2018), by hnswlib.

    With one thread a build is the same every time, with more it is not. hnswlib keeps ef on the
    index; here it is set under a lock for each call, so that calls with different settings never
    mix. It returns ``1 - ip``, so inner products far below 1 (vectors shorter than about 0.01) lose
    digits: scale such vectors up, or use another backend. A filter is a callback into Python for
    every document met, which is slow, and searches with one thread.
    """

    name: ClassVar[str] = "hnsw"
    Build: ClassVar[type[Any]] = HnswBuild
    Search: ClassVar[type[Any]] = HnswSearch
    filtering: Filtering = "native"
    requires: ClassVar[dict[str, str]] = {"hnswlib": "hnsw"}
    distributions: ClassVar[tuple[str, ...]] = ("hnswlib",)

    _hnswlib: Any = None

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where ef has no effect."""
        return ef_note(search.ef, k)

    def _empty(self) -> Any:
        import hnswlib

        self._lock = threading.Lock()
        # Vectors come in with unit length for cosine, so that its own normalisation is not needed.
        return hnswlib.Index(space="l2" if self.metric == "l2" else "ip", dim=self.d)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        own = self.parameters
        self._hnswlib = self._empty()
        self._hnswlib.init_index(
            max_elements=self.n,
            M=own.M,
            ef_construction=own.ef_construction,
            random_seed=self.seed + 1,  # its generator takes 0 and 1 for the same
        )
        self._hnswlib.add_items(vectors, num_threads=self.threads or -1)

    def _bind(self, k: int, search: Any) -> BoundSearch:
        return self._bound(k, search, {"num_threads": self.threads or -1})

    def _bind_filtered(self, k: int, search: Any, selection: Selection) -> BoundSearch:
        # It calls back for each document it meets, under the interpreter's lock: one thread.
        passes = selection.mask.tolist().__getitem__
        return self._bound(k, search, {"num_threads": 1, "filter": passes})

    def _bound(self, k: int, search: Any, options: dict[str, Any]) -> BoundSearch:
        index, lock = self._hnswlib, self._lock
        ef = max(search.ef, k)

        def call(queries: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
            with lock:
                index.set_ef(ef)
                try:
                    labels, distances = index.knn_query(queries, k, **options)
                except RuntimeError:  # a query found fewer than k: it refuses the whole batch
                    return _one_by_one(index, queries, k, {**options, "num_threads": 1})
            return labels, distances

        return call

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        return "hnswlib HNSW graph"

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = -raw if self.metric == "l2" else np.float32(1.0) - raw
        return scores

    def _save(self, folder: Path) -> None:
        self._hnswlib.save_index(str(folder / _FILE))

    def _load(self, folder: Path) -> None:
        self._hnswlib = self._empty()
        self._hnswlib.load_index(str(folder / _FILE), max_elements=self.n)


def _one_by_one(
    index: Any, queries: NDArray[np.float32], k: int, options: dict[str, Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ask for as many hits as each query has, padding the rest; parts of a graph can be cut off."""
    labels = np.full((len(queries), k), -1, dtype=np.int64)
    distances = np.full((len(queries), k), np.inf, dtype=np.float32)
    for row in range(len(queries)):
        low, high = 0, k  # `low` hits were returned, `high + 1` were refused
        while low < high:
            wanted = (low + high + 1) // 2
            try:
                found, far = index.knn_query(queries[row : row + 1], wanted, **options)
            except RuntimeError:
                high = wanted - 1
                continue
            low = wanted
            labels[row, :low], distances[row, :low] = found[0], far[0]
    return labels, distances
