"""Coarse candidates by another index, ranked again by the full vectors."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.indexes._combinator import Combinator, CombinatorSearch
from retrieval_eval.indexes.base import BoundSearch
from retrieval_eval.indexes.selection import RawHits, Selection

__all__ = ["RefineIndex", "RefineSearch"]

_FILE = "vectors.npy"
_GATHERED = 32 * 2**20  # bytes of candidate vectors in memory at a time


@dataclass(frozen=True)
class RefineSearch(CombinatorSearch):
    """Search parameters of :class:`RefineIndex`.

    Parameters
    ----------
    depth : int
        Candidates of the inner index that are ranked again; below k, k are.
    index : mapping
        Search parameters of the inner index.
    """

    depth: Annotated[int, Ge(1)] = 1000


class RefineIndex(Combinator):
    """Takes candidates of an inner index and ranks them by the full vectors.

    The vectors stay in a memory-mapped file, so only those of candidates are read (Xiao et al.
    2022, who take 1,000 candidates of OPQ codes). With as many candidates as documents it equals
    exact search. Scores are the true ones.
    """

    name: ClassVar[str] = "refine"
    Search: ClassVar[type[Any]] = RefineSearch
    _vectors: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.stored = f"{self.inner.stored}; float32 in a file"
        self._clean_up: Callable[[], object] = lambda: None

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where depth has no effect."""
        if search.depth < k:
            return f"depth={search.depth} is below k={k}: {k} candidates are ranked again"
        return super().note(search, n, min(n, search.depth))

    def _build(self, vectors: NDArray[np.float32]) -> None:
        self._clean_up()
        folder = tempfile.mkdtemp(prefix="retrieval-eval-")
        self._clean_up = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = Path(folder) / _FILE
        np.save(path, vectors)
        self._vectors = np.load(path, mmap_mode="r")
        self.inner.build(vectors, attributes=self.attributes, queries=self._examples)

    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        available = self.n if selection is None else selection.matches
        k = min(k, available)
        depth = min(max(search.depth, k), available)
        candidates = self._bind_inner(self.inner, depth, search, selection)
        vectors = self._vectors
        step = max(1, _GATHERED // max(1, depth * self.d * 4))

        def call(queries: NDArray[np.float32]) -> RawHits:
            labels, _ = candidates(queries)
            scores = np.empty(labels.shape, dtype=np.float32)
            for start in range(0, len(queries), step):
                rows = slice(start, start + step)
                scores[rows] = self._score(vectors, labels[rows], queries[rows])
            scores[labels < 0] = -np.inf
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            return np.take_along_axis(labels, order, 1), np.take_along_axis(scores, order, 1)

        return call

    def _score(
        self, vectors: NDArray[np.float32], labels: NDArray[np.int64], queries: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        found = vectors[np.maximum(labels, 0)]
        if self.metric == "l2":
            found -= queries[:, None, :]
            distances: NDArray[np.float32] = np.einsum("qcd,qcd->qc", found, found)
            return -distances
        scores: NDArray[np.float32] = np.matmul(found, queries[:, :, None])[:, :, 0]
        return scores

    def _save(self, folder: Path) -> None:
        super()._save(folder)
        np.save(folder / _FILE, self._vectors)

    def _load(self, folder: Path) -> None:
        super()._load(folder)
        self._vectors = np.load(folder / _FILE, mmap_mode="r", allow_pickle=False)

    def size_bytes(self) -> int:
        """Size of the inner index and of the file of vectors, in bytes."""
        return self.inner.size_bytes() + 4 * self.n * self.d

    def close(self) -> None:
        """Close the inner index, and remove the file that :meth:`build` made."""
        super().close()
        self._vectors = None
        self._clean_up()
