"""Exact search: float32 proposes, float64 decides, a rounding bound proves nothing is missed.

What float32 sees of the vectors is decided in :mod:`retrieval_eval.neighbours.space`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.neighbours.scores import Floats, Metric, blocks, true_scores
from retrieval_eval.neighbours.space import TASK_BYTES, Asked, Documents, in_threads

__all__ = ["BUDGET_BYTES", "exact_neighbours"]

BUDGET_BYTES = 512 * 2**20
_SPARE = 8  # candidates beyond k: real vectors are proven by fewer, and each costs time

Found = tuple[NDArray[np.int64], NDArray[np.float64]]


def exact_neighbours(
    documents: Floats,
    queries: Floats,
    k: int,
    metric: Metric,
    *,
    allowed: NDArray[np.bool_] | None = None,
    budget_bytes: int = BUDGET_BYTES,
) -> Found:
    """Find the true k nearest documents of each query.

    Candidates come from a float32 search, of centred vectors unless they lie around the origin
    already, with some to spare, and are scored again in float64. Where the float32 rounding bound,
    ``(d + 8) * 2**-24`` of the product of norms, does not prove that no other document can belong
    to the k best, every document that the bound cannot rule out is scored in float64. So the
    result is exact, far from the origin too.

    Parameters
    ----------
    documents : ndarray, shape (n, d)
        Finite vectors; may be memory-mapped: they are read in blocks and never copied as a whole.
    queries : ndarray, shape (q, d)
        Finite vectors.
    k : int
        Neighbours wanted, at least 1 and at most n.
    metric : {'cosine', 'ip', 'l2'}
        See :func:`true_scores`.
    allowed : ndarray of bool, shape (n,), optional
        Which documents may be neighbours, as in filtered search; by default all. If they are fewer
        than k, padding fills the rest of each row.
    budget_bytes : int, default 512 MiB
        Memory for blocks of documents and of candidates, at least 1. What is not needed is not
        taken. The result comes on top, 16
        bytes for each neighbour; so do the row numbers of allowed documents, 8 bytes each, and
        some tens of megabytes inside faiss. Less is slower, never less exact.

    Returns
    -------
    ids : ndarray of int64, shape (q, k)
        Best first; equal scores by ascending row number. A zero query has no neighbours under
        cosine: its row is -1. So is what follows the last allowed document.
    scores : ndarray of float64, shape (q, k)
        Their true scores; ``-inf`` where the id is -1.

    Raises
    ------
    InputError
        If k or the budget is out of range, the dimensions differ, or ``allowed`` is no such mask.

    Notes
    -----
    Search uses as many threads as faiss is set to; nothing changes that setting.

    Examples
    --------
    >>> x = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    >>> query = np.array([[2, 1]], dtype=np.float32)
    >>> exact_neighbours(x, query, 2, "cosine")[0].tolist()
    [[2, 0]]
    >>> exact_neighbours(x, query, 2, "cosine", allowed=np.array([True, False, False]))[0].tolist()
    [[0, -1]]
    """
    n, d = documents.shape
    if not 1 <= k <= n:
        raise InputError(f"k is {k}: it must be between 1 and the number of documents, {n}")
    if queries.shape[1] != d:
        raise InputError(f"queries have dimension {queries.shape[1]}, documents {d}")
    if budget_bytes < 1:
        raise InputError(f"budget_bytes is {budget_bytes}: it must be at least 1")
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full(ids.shape, -np.inf)
    members = None if allowed is None else _members(allowed, n)
    count = n if members is None else len(members)
    if count == 0 or len(queries) == 0:
        return ids, scores
    searched = Documents.of(documents, members, metric, queries)
    take = min(k, count)
    bytes_per_query = 12 * d + 64 * (take + _SPARE)
    # Most of the memory goes to the documents: faiss starts anew, without the k best so far, in
    # each of their blocks.
    for rows in blocks(len(queries), bytes_per_query, budget_bytes // 4):
        ids[rows, :take], scores[rows, :take] = _nearest(
            searched, queries[rows], take, budget_bytes * 3 // 4
        )
    return ids, scores


def _members(allowed: NDArray[np.bool_], n: int) -> NDArray[np.int64] | None:
    """Return the rows that a mask allows; None if it allows all."""
    if allowed.dtype != np.bool_ or allowed.shape != (n,):
        raise InputError(
            f"allowed must be a mask of booleans, one for each of {n} documents, got "
            f"{allowed.dtype} {allowed.shape}"
        )
    return None if allowed.all() else np.flatnonzero(allowed)


def _best(ids: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> Found:
    """Order by score descending, then by row number; keep k."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def _nearest(searched: Documents, queries: Floats, k: int, budget_bytes: int) -> Found:
    """Search a batch of queries for k of the documents, of which there are as many."""
    asked = searched.ask(queries)
    wanted = min(searched.count, k + _SPARE)
    places, last = _candidates(searched, asked, wanted, budget_bytes)
    rough = searched.ids_at(places)
    ids, scores = np.empty((len(rough), k), dtype=np.int64), np.empty((len(rough), k))

    def score(rows: slice) -> None:
        found = true_scores(searched.vectors, queries[rows], rough[rows], searched.metric)
        ids[rows], scores[rows] = _best(rough[rows], found, k)

    in_threads(score, len(ids), 16 * wanted * searched.vectors.shape[1])
    none = asked.norms == 0 if searched.metric == "cosine" else np.zeros(len(ids), dtype=bool)
    if wanted < searched.count:
        proven = scores[:, -1] * asked.factors - asked.offsets
        reach = searched.reach * asked.scale
        unproven = np.flatnonzero((proven <= last + searched.bound(asked, reach)) & ~none)
        if len(unproven):
            ids[unproven], scores[unproven] = _all_that_may_belong(
                searched, queries[unproven], asked[unproven], proven[unproven], k, budget_bytes
            )
    ids[none], scores[none] = -1, -np.inf
    return ids, scores


def _candidates(
    searched: Documents, asked: Asked, k: int, budget_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the places of k candidates in float32, and the score of the last of them."""
    import faiss

    by_distance = searched.metric == "l2"
    measure = faiss.METRIC_L2 if by_distance else faiss.METRIC_INNER_PRODUCT
    d = searched.vectors.shape[1]
    step = min(searched.count, max(1, budget_bytes // (4 * d)))
    buffer = searched.buffer(step)
    heap = faiss.ResultHeap(len(asked.vectors), k, keep_max=not by_distance)
    for rows in blocks(searched.count, 1, step):
        block = searched.write(rows, asked.scale, buffer)
        values, labels = faiss.knn(asked.vectors, block, min(k, len(block)), metric=measure)
        labels += rows.start
        heap.add_result(values, labels)
    heap.finalize()
    places: NDArray[np.int64] = heap.I
    last = heap.D[:, -1].astype(np.float64)
    return places, -last if by_distance else last


def _all_that_may_belong(
    searched: Documents,
    queries: Floats,
    asked: Asked,
    proven: NDArray[np.float64],
    k: int,
    budget_bytes: int,
) -> Found:
    """Score in float64 each document whose float32 score is not provably below k that are known.

    ``proven`` is the k-th best score among those known, so at least k documents are found for
    each query, and none that belongs to the k best is left out. Each block of documents has its
    own bound: a single long vector makes work in its own block alone.
    """
    d = searched.vectors.shape[1]
    pairs = max(len(queries), budget_bytes // 128)
    step = max(1, min(pairs // len(queries), TASK_BYTES // (4 * d), searched.count))
    buffer = searched.buffer(step)
    best = _Best(len(queries), k, pairs)
    for rows in blocks(searched.count, 1, step):
        block = searched.write(rows, asked.scale, buffer)
        squares = np.einsum("nd,nd->n", block, block)
        limits = proven - searched.bound(asked, float(np.sqrt(squares.max())))
        rough = block @ asked.vectors.T
        if searched.metric == "l2":
            rough *= 2
            rough -= squares[:, None]
            limits += asked.norms**2
        places, owners = np.nonzero(rough >= limits.astype(np.float32))
        ids = searched.ids_at(places + rows.start)
        for part in blocks(len(ids), 32 * d, TASK_BYTES):
            scores = true_scores(
                searched.vectors, queries[owners[part]], ids[part, None], searched.metric
            )
            best.add(owners[part], ids[part], scores[:, 0])
    return best.result()


class _Best:
    """The k best documents of each query, out of pairs that arrive by ascending row number."""

    def __init__(self, queries: int, k: int, pairs: int) -> None:
        self.ids = np.full((queries, k), -1, dtype=np.int64)
        self.scores = np.full((queries, k), -np.inf)
        self.pairs = pairs
        self.waiting: list[tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float64]]] = []
        self.n_waiting = 0

    def add(
        self, owners: NDArray[np.intp], ids: NDArray[np.int64], scores: NDArray[np.float64]
    ) -> None:
        """Take pairs of a query and a document."""
        keep = scores > self.scores[owners, -1]  # on a tie with the k-th, the lower row stays
        self.waiting.append((owners[keep], ids[keep], scores[keep]))
        self.n_waiting += int(np.count_nonzero(keep))
        if self.n_waiting >= self.pairs:
            self._merge()

    def _merge(self) -> None:
        """Sort what waits in with the best so far."""
        known = np.nonzero(self.ids >= 0)
        self.waiting.append((known[0], self.ids[known], self.scores[known]))
        owners, ids, scores = (np.concatenate(column) for column in zip(*self.waiting, strict=True))
        order = np.lexsort((ids, -scores, owners))
        owners, ids, scores = owners[order], ids[order], scores[order]
        places = np.arange(len(owners)) - np.searchsorted(owners, owners)
        keep = places < self.ids.shape[1]
        self.ids[owners[keep], places[keep]] = ids[keep]
        self.scores[owners[keep], places[keep]] = scores[keep]
        self.waiting, self.n_waiting = [], 0

    def result(self) -> Found:
        """Return ids and scores, best first."""
        self._merge()
        return self.ids, self.scores
