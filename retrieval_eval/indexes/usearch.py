"""HNSW as usearch implements it, in four element types."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes.base import BoundSearch, Index
from retrieval_eval.indexes.hnsw import ef_note
from retrieval_eval.indexes.selection import Selection

__all__ = ["UsearchBuild", "UsearchIndex", "UsearchSearch"]

_FILE = "index.usearch"
_STORED = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8"}
_LARGEST_F16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class UsearchBuild:
    """Build parameters of :class:`UsearchIndex`.

    Parameters
    ----------
    M : int
        Links a vector keeps on each layer above the lowest, which keeps twice as many; the library
        calls it connectivity.
    ef_construction : int
        Length of the candidate list while building; the library calls it expansion_add.
    dtype : {'f32', 'f16', 'bf16', 'i8'}
        Element type in which vectors are kept and compared. The library's own default is bf16,
        two to three decimal digits, wherever the processor has it; here it is f32.
    """

    M: Annotated[int, Ge(2)] = 16
    ef_construction: Annotated[int, Ge(1)] = 128
    dtype: Literal["f32", "f16", "bf16", "i8"] = "f32"


@dataclass(frozen=True)
class UsearchSearch:
    """Search parameters of :class:`UsearchIndex`.

    Parameters
    ----------
    ef : int
        Length of the candidate list while searching; below k the library uses k.
    """

    ef: Annotated[int, Ge(1)] = 64


class UsearchIndex(Index):
    """Hierarchical navigable small world graph (Malkov & Yashunin 2018), by usearch.

    With one thread a build is the same every time, with more it is not; no seed reaches its
    generator. usearch keeps ef on the index; here it is set under a lock for each call, so that
    calls with different settings never mix. It returns ``1 - ip``, so inner products far below 1
    (vectors shorter than about 0.01) lose digits: scale such vectors up. Its Python interface takes
    no filter. The type i8 keeps directions alone (it scales every vector to the same length), so
    that it serves cosine and nothing else; f16 ends at 65504.
    """

    name: ClassVar[str] = "usearch"
    Build: ClassVar[type[Any]] = UsearchBuild
    Search: ClassVar[type[Any]] = UsearchSearch
    seeded: bool = False
    memory_maps: ClassVar[bool] = True
    requires: ClassVar[dict[str, str]] = {"usearch": "usearch"}
    libraries: ClassVar[tuple[str, ...]] = ("faiss",)  # which must be loaded before usearch
    distributions: ClassVar[tuple[str, ...]] = ("usearch", "numkong")

    _usearch: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        dtype = self.parameters.dtype
        if dtype == "i8" and self.metric != "cosine":
            raise InputError(
                f"index {self.name!r}: dtype is 'i8', which forgets the length of a vector, so "
                f"that metric {self.metric!r} cannot be served: use cosine, or another dtype"
            )
        self.stored = _STORED[dtype]

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where ef has no effect."""
        return ef_note(search.ef, k)

    def _empty(self) -> Any:
        from usearch.index import Index as Graph

        self._lock = threading.Lock()
        own = self.parameters
        # Vectors come in with unit length for cosine. The coarse i8 does not keep it, so that there
        # the library has to divide by the lengths it finds.
        metric = "l2sq" if self.metric == "l2" else "cos" if own.dtype == "i8" else "ip"
        return Graph(
            ndim=self.d,
            metric=metric,
            dtype=own.dtype,
            connectivity=own.M,
            expansion_add=own.ef_construction,
        )

    def _build(self, vectors: NDArray[np.float32]) -> None:
        self._check_range(vectors, "vectors")
        self._usearch = self._empty()
        keys = np.arange(self.n, dtype=np.uint64)
        self._usearch.add(keys, vectors, threads=self.threads or 0)

    def _check_range(self, vectors: NDArray[np.float32], what: str) -> None:
        if self.parameters.dtype != "f16" or not len(vectors):
            return
        largest = float(np.abs(vectors).max())
        if largest > _LARGEST_F16:  # the library would keep infinity, and return NaN
            raise InputError(
                f"index {self.name!r}: the {what} hold {largest:g}, float16 ends at "
                f"{_LARGEST_F16:g}: scale them down, or build with dtype bf16"
            )

    def _bind(self, k: int, search: Any) -> BoundSearch:
        graph, lock, threads = self._usearch, self._lock, self.threads or 0
        ef = max(search.ef, k)

        def call(queries: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
            self._require_built("searching")  # it may have been closed since
            self._check_range(queries, "queries")
            with lock:
                graph.expansion_search = ef
                found = graph.search(queries, k, threads=threads)
            if len(queries) == 1:  # here it returns vectors, cut to what was found
                return _padded(found.keys, found.distances, k)
            labels = found.keys.astype(np.int64)
            short = found.counts < k
            if short.any():  # the rest holds key 0 and NaN
                labels[np.arange(k) >= found.counts[:, None].astype(np.int64)] = -1
            return labels, found.distances

        return call

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        return "usearch HNSW graph"

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = -raw if self.metric == "l2" else np.float32(1.0) - raw
        return scores

    def _save(self, folder: Path) -> None:
        self._usearch.save(str(folder / _FILE))

    def _load(self, folder: Path) -> None:
        self._usearch = self._empty()
        file = str(folder / _FILE)
        if self.memory_mapped:
            self._usearch.view(file)
        else:
            self._usearch.load(file)

    def close(self) -> None:
        """Let go of the graph, and of the file it may be mapped from."""
        super().close()
        if self._usearch is not None:
            self._usearch.reset()
        self._usearch, self.n = None, 0


def _padded(
    keys: NDArray[Any], distances: NDArray[Any], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Widen the hits of one query to k."""
    labels = np.full((1, k), -1, dtype=np.int64)
    far = np.full((1, k), np.inf, dtype=np.float32)
    labels[0, : len(keys)], far[0, : len(keys)] = keys, distances
    return labels, far
