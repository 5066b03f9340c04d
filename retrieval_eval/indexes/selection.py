"""Which documents a filtered search may return, and filtering after the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.filters import Filter

__all__ = ["BoundSearch", "RawHits", "Selection", "finds_nothing", "post_filtered"]

RawHits = tuple[NDArray[Any], NDArray[Any]]
"""What a library returns: labels and scores or distances, each of shape (q, k)."""

BoundSearch = Callable[[Any], RawHits]
"""A search with all its settings bound; takes prepared queries, returns the library's arrays."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The documents that pass a filter.

    Parameters
    ----------
    mask : ndarray of bool, shape (n,)
        Whether each document passes.
    matches : int
        How many do.
    filter : Filter or None
        The filter, where it is one on attributes; None for a mask that was given as such.
    """

    mask: NDArray[np.bool_]
    matches: int
    filter: Filter | None


def finds_nothing(queries: Any) -> RawHits:
    """Search among no documents."""
    shape = (queries.shape[0], 0)
    return np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)


def post_filtered(
    bind: Callable[[int], BoundSearch], selection: Selection, k: int, depth: int | None = None
) -> BoundSearch:
    """Filter what an unfiltered search returns, asking for more hits until enough pass.

    Starts with as many hits as hold k passing ones on average, half as many again to spare, and
    asks for four times as many while a query has too few and the index still has more to give.

    Parameters
    ----------
    bind : callable
        Binds an unfiltered search for a number of hits.
    selection : Selection
        What passes; at least one document.
    k : int
        Hits wanted; at most the number of documents that pass.
    depth : int, optional
        Ask for so many hits (or k, if that is more) once, and be content with what passes.
    """
    n = len(selection.mask)
    first = min(n, max(depth, k) if depth else -(-3 * k * n // (2 * selection.matches)))

    def call(queries: NDArray[np.float32]) -> RawHits:
        wanted = first
        while True:
            labels, raw = bind(wanted)(queries)
            passes = selection.mask[np.maximum(labels, 0).astype(np.int64)] & (labels >= 0)
            enough = np.count_nonzero(passes, axis=1) >= k
            exhausted = (labels < 0).any(axis=1)
            if depth or wanted == n or (enough | exhausted).all():
                break
            wanted = min(n, 4 * wanted)
        order = np.argsort(~passes, axis=1, kind="stable")[:, :k]  # what passes first, in order
        kept = np.take_along_axis(labels.astype(np.int64), order, axis=1)
        kept[~np.take_along_axis(passes, order, axis=1)] = -1
        return kept, np.take_along_axis(raw, order, axis=1)

    return call
