"""One bit a dimension, by sign, with re-ranking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.indexes.base import BoundSearch, Filtering, Index
from retrieval_eval.indexes.selection import Selection
from retrieval_eval.neighbours import Metric

__all__ = ["BinaryIndex", "BinarySearch"]

_FILE = "index.faiss"


@dataclass(frozen=True)
class BinarySearch:
    """Search parameters of :class:`BinaryIndex`.

    Parameters
    ----------
    oversample : int
        Candidates by Hamming distance for each hit wanted; they are ranked again by the query in
        full precision. 1 keeps the order of Hamming distances.
    """

    oversample: Annotated[int, Ge(1)] = 4


class BinaryIndex(Index):
    """Keeps the sign of each dimension, and compares signs (faiss ``IndexBinaryFlat``).

    Candidates by Hamming distance are ranked again by the inner product of the query, in full
    precision, with the document's signs, at no further memory (the asymmetric re-ranking of
    Yamada et al. 2021). Around it, ``refine`` ranks by full vectors.

    Scores estimate a cosine: the inner product with the signs over the query's length and the root
    of d. Lengths of documents are lost, so inner products of vectors of very different length are
    poorly served.
    """

    name: ClassVar[str] = "binary"
    Search: ClassVar[type[Any]] = BinarySearch
    metrics: ClassVar[tuple[Metric, ...]] = ("cosine", "ip")
    seeded: bool = False
    filtering: Filtering = "pre"
    stored: str = "1-bit signs"
    libraries: ClassVar[tuple[str, ...]] = ("faiss",)
    distributions: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    _codes: Any = None
    _faiss: Any = None

    def _build(self, vectors: NDArray[np.float32]) -> None:
        import faiss

        codes = np.packbits(vectors > 0, axis=1)
        self._faiss = faiss.IndexBinaryFlat(8 * codes.shape[1])
        self._faiss.add(codes)
        self._read_codes()

    def _read_codes(self) -> None:
        """View the library's own codes: no second copy."""
        import faiss

        flat = faiss.vector_to_array(self._faiss.xb)
        self._codes = flat.reshape(self.n, -1)

    def _bind(self, k: int, search: Any) -> BoundSearch:
        return self._bound(k, search, None, self.n)

    def _bind_filtered(self, k: int, search: Any, selection: Selection) -> BoundSearch:
        import faiss

        bits = np.packbits(selection.mask, bitorder="little")
        settings = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        return self._bound(k, search, settings, selection.matches)

    def _bound(self, k: int, search: Any, settings: Any, available: int) -> BoundSearch:
        index, codes, d = self._faiss, self._codes, self.d
        wanted = min(available, k * search.oversample)

        def call(queries: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
            distances, labels = index.search(
                np.packbits(queries > 0, axis=1), wanted, params=settings
            )
            if wanted == k and search.oversample == 1:
                return labels, ((d - 2 * distances) / d).astype(np.float32)
            scores = np.empty(labels.shape, dtype=np.float32)
            scale = np.linalg.norm(queries, axis=1) * np.sqrt(d)
            scale[scale == 0] = 1
            for row, query in enumerate(queries / scale[:, None].astype(np.float32)):
                signs = np.unpackbits(codes[labels[row]], axis=1, count=d)
                # A bit stands for +1 or -1, and sum(q * sign) = 2 * sum(q * bit) - sum(q).
                scores[row] = 2 * (signs.astype(np.float32) @ query) - query.sum()
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            return np.take_along_axis(labels, order, 1), np.take_along_axis(scores, order, 1)

        return call

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        return raw

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        return "faiss IndexBinaryFlat"

    def _save(self, folder: Path) -> None:
        import faiss

        faiss.write_index_binary(self._faiss, str(folder / _FILE))

    def _load(self, folder: Path) -> None:
        import faiss

        self._faiss = faiss.read_index_binary(str(folder / _FILE))
        self._read_codes()
