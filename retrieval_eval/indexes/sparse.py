"""Exact search over sparse vectors, by inverted lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes.base import BoundSearch, Filtering, Index
from retrieval_eval.indexes.selection import RawHits, Selection
from retrieval_eval.neighbours import Metric

__all__ = ["SparseIndex"]

_PARTS = {"weights": np.float32, "rows": np.int32, "starts": np.int64}
_MOST_ROWS = 2**31 - 1
_LARGEST = float(np.finfo(np.float32).max)


class SparseIndex(Index):
    """Exact inner products of sparse vectors, term at a time over inverted lists.

    For BM25, and for learned sparse vectors such as those of SPLADE. Each term (column) has the
    list of the documents that hold it; a query walks through the lists of its own terms.

    A document is found only if its score, rounded, is above zero. So one that shares no term with
    the query is never a hit, nor is one that negative weights bring to zero or below; where fewer
    than k documents are found, the rest is padding. A query without terms finds nothing.

    Products are exact and are summed in float64, by ascending term, then rounded once to float32:
    the score of a document is the same alone and in a batch, filtered or not. Documents of equal
    score come in ascending order of their rows. A filter is applied before the best k are chosen.

    Searches with one thread, whatever `threads` says, and needs some forty bytes a document beside
    the index, however many queries there are.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> documents = csr_array(np.array([[1, 0, 2], [0, 0, 1], [0, 3, 0]], dtype=np.float32))
    >>> hits = SparseIndex().build(documents).search(csr_array([[1.0, 0.0, 1.0]]), k=3)
    >>> hits.ids.tolist(), hits.scores.tolist()
    ([[0, 1, -1]], [[3.0, 1.0, -inf]])
    """

    name: ClassVar[str] = "sparse"
    metrics: ClassVar[tuple[Metric, ...]] = ("ip",)
    takes: ClassVar[Literal["dense", "sparse"]] = "sparse"
    exact: ClassVar[bool] = True
    filtering: Filtering = "pre"
    seeded: bool = False
    memory_maps: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("scipy.sparse",)
    distributions: ClassVar[tuple[str, ...]] = ("numpy", "scipy")

    _lists: dict[str, NDArray[Any]]

    def __init__(
        self,
        *,
        metric: Metric = "ip",
        seed: int = 0,
        threads: int | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__(metric=metric, seed=seed, threads=threads, **parameters)

    def check(self, n: int, d: int | None) -> None:
        """Refuse more documents than a row number of 32 bits can count."""
        if n > _MOST_ROWS:
            raise InputError(f"index 'sparse': {n} documents: it holds {_MOST_ROWS} at most")

    def _prepare(self, given: Any, what: str) -> tuple[Any, None]:
        """Make a checked csr_array of float32 with sorted terms, sharing memory where it can."""
        from scipy.sparse import csr_array

        if not hasattr(given, "tocsr"):
            raise InputError(
                f"index 'sparse' takes sparse vectors, rows of a scipy.sparse.csr_array, but the "
                f"{what} are {type(given).__name__}: use an index for dense vectors, such as 'flat'"
            )
        if given.ndim != 2:
            raise InputError(f"index 'sparse': {what} must have shape (n, d), got {given.shape}")
        if given.dtype.kind not in "fiu":
            raise InputError(f"index 'sparse': {what} must be numbers, got {given.dtype}")
        if given.format in ("csr", "csc"):  # other forms check themselves as they are made
            try:
                # A view of our own: checking may exchange arrays of what it checks.
                given = type(given)((given.data, given.indices, given.indptr), shape=given.shape)
                given.check_format(full_check=True)
            except (ValueError, IndexError) as error:
                raise InputError(f"index 'sparse': the {what} are damaged: {error}") from None
        rows = given.tocsr()
        with np.errstate(over="ignore"):  # what overflows to infinity is refused below
            weights = rows.data.astype(np.float32, copy=False)
        prepared = csr_array((weights, rows.indices, rows.indptr), shape=rows.shape)
        if not prepared.has_canonical_format:
            prepared = prepared.copy()
            prepared.sum_duplicates()
        # The sum of squares is NaN or infinite if any entry is, and finite if nothing is wrong.
        if not np.isfinite(np.vdot(prepared.data, prepared.data)):
            self._refuse_rows(prepared, what)
        return prepared, None

    @staticmethod
    def _refuse_rows(prepared: Any, what: str) -> None:
        """Name the first row that is no vector, or whose scores could exceed float32."""
        of_entry = np.repeat(np.arange(prepared.shape[0]), np.diff(prepared.indptr))
        squares = np.bincount(
            of_entry, weights=prepared.data.astype(np.float64) ** 2, minlength=prepared.shape[0]
        )
        wrong = np.flatnonzero(~(squares <= _LARGEST))
        if len(wrong):
            row = int(wrong[0])
            rule = "is too long for float32: scale the vectors down"
            if not np.isfinite(squares[row]):
                rule = "holds NaN or infinity, or a number beyond float32"
            raise InputError(f"index 'sparse': row {row} of the {what} {rule}")

    def _build(self, vectors: Any) -> None:
        columns = vectors.tocsc()  # rows come out ascending in each list
        columns.eliminate_zeros()
        parts = (columns.data, columns.indices, columns.indptr)
        self._lists = {
            name: part.astype(dtype, copy=False)
            for (name, dtype), part in zip(_PARTS.items(), parts, strict=True)
        }

    def _bind(self, k: int, search: Any) -> BoundSearch:
        return self._bound(k, None)

    def _bind_filtered(self, k: int, search: Any, selection: Selection) -> BoundSearch:
        return self._bound(k, selection.mask)

    def _bound(self, k: int, mask: NDArray[np.bool_] | None) -> BoundSearch:
        weights, rows, starts = self._lists.values()
        n = self.n

        def call(queries: Any) -> RawHits:
            q = queries.shape[0]
            labels = np.full((q, k), -1, dtype=np.int64)
            scores = np.full((q, k), -np.inf, dtype=np.float32)
            edges = queries.indptr.tolist()
            total = np.empty(n)
            for query in range(q):
                own = slice(edges[query], edges[query + 1])
                terms = queries.indices[own]
                total.fill(0.0)
                for start, stop, weight in zip(
                    starts[terms].tolist(),
                    starts[terms + 1].tolist(),
                    queries.data[own].tolist(),
                    strict=True,
                ):
                    products = np.multiply(weights[start:stop], weight, dtype=np.float64)
                    np.add.at(total, rows[start:stop], products)
                rounded = total.astype(np.float32)
                above = rounded > 0
                found = np.flatnonzero(above if mask is None else above & mask)
                best = rounded[found]
                if len(found) > k:
                    least = np.partition(best, len(found) - k)[len(found) - k]
                    kept = best >= least  # all that tie with the last, so that rows decide
                    found, best = found[kept], best[kept]
                order = np.argsort(-best, kind="stable")[:k]
                labels[query, : len(order)] = found[order]
                scores[query, : len(order)] = best[order]
            return labels, scores

        return call

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        return raw

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        return "inverted lists, exact"

    def _save(self, folder: Path) -> None:
        for name, part in self._lists.items():
            np.save(folder / f"{name}.npy", part)

    def _load(self, folder: Path) -> None:
        mode: Literal["r"] | None = "r" if self.memory_mapped else None
        parts = {}
        for name, dtype in _PARTS.items():
            path = folder / f"{name}.npy"
            try:
                part = np.load(path, mmap_mode=mode, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise InputError(f"{path}: not a readable .npy file: {error}") from None
            if part.ndim != 1 or part.dtype != dtype:
                raise InputError(f"{path}: expected {np.dtype(dtype)} of one axis")
            parts[name] = part
        weights, rows, starts = parts.values()
        if len(starts) != self.d + 1 or not len(weights) == len(rows) == starts[-1]:
            raise InputError(f"{folder}: the inverted lists do not fit together")
        self._lists = parts
