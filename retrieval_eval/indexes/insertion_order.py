"""The order in which documents enter another index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.indexes._combinator import Combinator, CombinatorBuild
from retrieval_eval.indexes.base import BoundSearch
from retrieval_eval.indexes.selection import RawHits, Selection, finds_nothing

__all__ = ["InsertionOrderBuild", "InsertionOrderIndex"]

_FILE = "order.npy"


@dataclass(frozen=True)
class InsertionOrderBuild(CombinatorBuild):
    """Build parameters of :class:`InsertionOrderIndex`.

    Parameters
    ----------
    index : str or mapping
        The inner index.
    order : {'random', 'lid-ascending', 'lid-descending', 'category'}
        By the seed; by local intrinsic dimensionality, documents without an estimate last; or
        grouped by an attribute.
    category : str or None
        The attribute to group by; documents without a value come first.
    neighbours : int
        Neighbours from which local intrinsic dimensionality is estimated.
    """

    order: Literal["random", "lid-ascending", "lid-descending", "category"] = "random"
    category: str | None = None
    neighbours: Annotated[int, Ge(2)] = 100


class InsertionOrderIndex(Combinator):
    """Adds documents to an inner index in an order of choice (Elliott & Clark 2024).

    Graphs depend on the order of insertion. Finding the order by local intrinsic dimensionality
    takes an exact search of every document, which counts as training. The seed is that of the inner
    index, too: of the levels of a graph. ``faiss-hnsw`` shuffles the documents of each level, so
    that no order matters to it; :meth:`note` says so.

    Examples
    --------
    >>> vectors = np.random.default_rng(0).normal(size=(300, 8))
    >>> index = InsertionOrderIndex(index="flat", order="lid-ascending").build(vectors)
    >>> index.search(vectors[:3], 1).ids.ravel().tolist()
    [0, 1, 2]
    """

    name: ClassVar[str] = "insertion-order"
    Build: ClassVar[type[Any]] = InsertionOrderBuild
    _order: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        own = self.parameters
        self.seeded = self.inner.seeded or own.order == "random"
        if (own.order == "category") != (own.category is not None):
            raise InputError(
                f"index {self.name!r}: order 'category' and the parameter 'category' (an attribute "
                "to group by) go together"
            )

    def check(self, n: int, d: int | None) -> None:
        """Refuse too few documents for the estimate."""
        own = self.parameters
        if own.order.startswith("lid") and n <= own.neighbours:
            raise InputError(
                f"index {self.name!r}: neighbours is {own.neighbours}, but there are only {n} "
                "vectors: choose less than their number"
            )
        super().check(n, d)

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where the order has no effect."""
        found = super().note(search, n, k)
        if all(one.name != "faiss-hnsw" for one in self.classes()):
            return found
        own = "the order has no effect: faiss shuffles what it adds to a graph; hnsw does not"
        return own if found is None else f"{own}; {found}"

    def attribute_columns(self) -> list[str]:
        """Name the attribute to group by, and those that the inner index needs."""
        own = [] if self.parameters.category is None else [self.parameters.category]
        return [*own, *super().attribute_columns()]

    def _train(self, vectors: NDArray[np.float32], queries: NDArray[np.float32] | None) -> bool:
        super()._train(vectors, queries)
        own = self.parameters
        if own.order == "random":
            self._order = np.random.default_rng(self.seed).permutation(self.n)
            return False
        if own.order == "category":
            self._order = self._by_category(own.category)
            return False
        from retrieval_eval.geometry import local_intrinsic_dimensionality

        dimensions = local_intrinsic_dimensionality(vectors, own.neighbours)
        sign = 1.0 if own.order == "lid-ascending" else -1.0
        self._order = np.argsort(sign * dimensions, kind="stable")
        return True

    def _by_category(self, column: str) -> NDArray[np.int64]:
        if self.attributes is None:
            raise InputError(
                f"index {self.name!r}: order 'category' needs attributes: give them to build()"
            )
        if column not in self.attributes.columns:
            raise unknown_name("attribute", column, self.attributes.columns, f"index {self.name!r}")
        ranks = self.attributes[column].rank("dense").fill_null(0).to_numpy()
        return np.argsort(ranks, kind="stable")

    def _build(self, vectors: NDArray[np.float32]) -> None:
        rows = None if self.attributes is None else self.attributes[self._order]
        self.inner.build(vectors[self._order], attributes=rows, queries=self._examples)

    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        order = self._order
        if selection is not None:
            selection = Selection(selection.mask[order], selection.matches, selection.filter)
        call = self._bind_inner(self.inner, k, search, selection)
        if call is finds_nothing:
            return finds_nothing

        def renamed(queries: NDArray[np.float32]) -> RawHits:
            labels, scores = call(queries)
            return np.where(labels < 0, -1, order[labels]), scores

        return renamed

    def _save(self, folder: Path) -> None:
        super()._save(folder)
        np.save(folder / _FILE, self._order)

    def _load(self, folder: Path) -> None:
        super()._load(folder)
        self._order = np.load(folder / _FILE, allow_pickle=False)

    def size_bytes(self) -> int:
        """Size of the inner index and of the order, in bytes."""
        return int(self.inner.size_bytes() + self._order.nbytes)
