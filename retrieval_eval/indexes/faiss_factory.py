"""Any index that faiss' factory can make from a text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._faiss import (
    FaissIndex,
    check_rotation,
    describe,
    from_factory,
    set_training,
)

__all__ = ["FaissFactoryBuild", "FaissFactoryIndex", "FaissFactorySearch"]


@dataclass(frozen=True)
class FaissFactoryBuild:
    """Build parameters of :class:`FaissFactoryIndex`.

    Parameters
    ----------
    factory : str
        What faiss' ``index_factory`` takes, such as ``OPQ16_64,IVF256,PQ16x4fsr,RFlat``.
    ef_construction : int or None
        Length of the candidate list while building, where the factory names an HNSW graph; None
        keeps faiss' default of 40.
    """

    factory: str
    ef_construction: Annotated[int, Ge(1)] | None = None


@dataclass(frozen=True)
class FaissFactorySearch:
    """Search parameters of :class:`FaissFactoryIndex`; None keeps faiss' default.

    Parameters
    ----------
    nprobe : int or None
        Lists visited, for an inverted file.
    ef : int or None
        Length of the candidate list, for an HNSW graph.
    quantizer_ef : int or None
        The same, for an HNSW graph over the centroids of an inverted file.
    k_factor : float or None
        Candidates for each hit wanted, for a refined index.
    query_bits : int or None
        Bits a dimension of the query, for RaBitQ.
    """

    nprobe: Annotated[int, Ge(1)] | None = None
    ef: Annotated[int, Ge(1)] | None = None
    quantizer_ef: Annotated[int, Ge(1)] | None = None
    k_factor: Annotated[float, Ge(1)] | None = None
    query_bits: Annotated[int, Ge(0)] | None = None


class FaissFactoryIndex(FaissIndex):
    """Any faiss index, by the text that its ``index_factory`` reads.

    Settings that the index has no use for are refused. Where faiss takes no filter for an index,
    hits are filtered after the search.
    """

    name: ClassVar[str] = "faiss"
    Build: ClassVar[type[Any]] = FaissFactoryBuild
    Search: ClassVar[type[Any]] = FaissFactorySearch
    stored: str = "as the factory says"

    def check(self, n: int, d: int | None) -> None:
        """Refuse a text that faiss cannot read for this dimension."""
        if "OPQ" in self.parameters.factory:
            check_rotation(self.name, n, d)
        if d is not None:
            self._empty(d, self._metric_type())

    def check_sweep(self, search: Any, n: int, d: int) -> None:
        """Refuse settings that the index has no use for."""
        self._parameters_for(self._empty(d, self._metric_type()), search, 1, None)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            reason = str(error).splitlines()[0].rpartition("Error: ")[2]
            raise InputError(
                f"index {self.name!r}: factory {self.parameters.factory!r}: faiss says: {reason}"
            ) from None

    def _empty(self, d: int, metric: int) -> Any:
        import faiss

        with self._explained():
            index = from_factory(self.name, d, self.parameters.factory, metric)
        wanted = self.parameters.ef_construction
        if wanted is not None:
            graph = index
            while not isinstance(graph, faiss.IndexHNSW):
                inner = getattr(graph, "base_index", None) or getattr(graph, "index", None)
                if inner is None:
                    raise InputError(
                        f"index {self.name!r}: ef_construction is for an HNSW graph, and "
                        f"{self.parameters.factory!r} makes {describe(index)}: leave it out"
                    )
                graph = faiss.downcast_index(inner)
            graph.hnsw.efConstruction = wanted
        return set_training(index, self.seed)

    def _train(self, vectors: NDArray[np.float32], queries: NDArray[np.float32] | None) -> bool:
        with self._explained():
            return super()._train(vectors, queries)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        with self._explained():
            super()._build(vectors)
        self._find_filtering()

    def _load(self, folder: Any) -> None:
        super()._load(folder)
        self._find_filtering()

    def _find_filtering(self) -> None:
        """Ask faiss whether this index takes a filter: a refusal is the only sign of it."""
        import faiss

        none = faiss.IDSelectorBitmap(np.zeros((self.n + 7) // 8, dtype=np.uint8))
        self.filtering = "native"
        try:
            self._bound(1, self.Search(), none)(np.zeros((1, self.d), dtype=np.float32))
        except RuntimeError:
            self.filtering = "post"

    def _wanted(self, search: Any, k: int) -> dict[str, Any]:
        wanted = {key: value for key, value in asdict(search).items() if value is not None}
        if "ef" in wanted:
            wanted["ef"] = max(wanted["ef"], k)
        return wanted
