"""Filtering after the search, whatever the library could do itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.indexes._combinator import Combinator, CombinatorSearch
from retrieval_eval.indexes.base import BoundSearch, Filtering, Vectors
from retrieval_eval.indexes.selection import Selection, finds_nothing, post_filtered

__all__ = ["PostFilterIndex", "PostFilterSearch"]


@dataclass(frozen=True)
class PostFilterSearch(CombinatorSearch):
    """Search parameters of :class:`PostFilterIndex`.

    Parameters
    ----------
    depth : int or None
        Hits that the inner index is asked for where there is a filter, once; below k, k. None: as
        many as hold k passing ones on average, and more until enough pass.
    index : mapping
        Search parameters of the inner index.
    """

    depth: Annotated[int, Ge(1)] | None = None


class PostFilterIndex(Combinator):
    """Searches an inner index without the filter, and drops what does not pass.

    So filtering after the search can be set against the library's own, and, with ``depth``,
    against what systems do that ask for a fixed number of hits. Without a filter it is the inner
    index. The counterpart, an exact scan of what passes, is ``flat``.

    Examples
    --------
    >>> vectors = np.random.default_rng(0).normal(size=(300, 8))
    >>> index = PostFilterIndex(index="faiss-hnsw", threads=1).build(vectors)
    >>> even = np.arange(300) % 2 == 0
    >>> index.filtering, index.search(vectors[:2], 1, where=even).ids[0].tolist()
    ('post', [0])
    """

    name: ClassVar[str] = "post-filter"
    Search: ClassVar[type[Any]] = PostFilterSearch
    filtering: Filtering = "post"

    def build(self, vectors: Vectors, **options: Any) -> Self:
        """Build the inner index; see :meth:`Index.build`."""
        super().build(vectors, **options)
        self.filtering = "post"
        return self

    def _build(self, vectors: NDArray[np.float32]) -> None:
        self.inner.build(vectors, attributes=self.attributes, queries=self._examples)

    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        if selection is None:
            return self._bind_inner(self.inner, k, search, None)
        if not selection.matches:
            return finds_nothing
        return post_filtered(
            lambda wanted: self._bind_inner(self.inner, wanted, search, None),
            selection,
            min(k, selection.matches),
            search.depth,
        )

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        return super()._served_by(k, search, None)

    def _load(self, folder: Path) -> None:
        super()._load(folder)
        self.filtering = "post"

    def size_bytes(self) -> int:
        """Size of the inner index, in bytes."""
        return self.inner.size_bytes()
