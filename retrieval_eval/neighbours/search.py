"""Exact search: float32 proposes, float64 decides, a rounding bound proves nothing is missed.

Under every metric the order of the documents is that of their inner products or distances with
one query, and neither a common shift of the documents nor a common scale changes it. So what
float32 sees is shifted to the documents' mean and scaled to a length near 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.neighbours.scores import Floats, Metric, blocks, true_scores

__all__ = ["BUDGET_BYTES", "exact_neighbours"]

BUDGET_BYTES = 256 * 2**20
_SPARE = 16  # candidates beyond k: most queries of real vectors are proven by fewer
_SURVIVOR_BLOCK_BYTES = 8 * 2**20

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

    Candidates come from a float32 search of centred vectors, with some to spare, and are scored
    again in float64. Where the float32 rounding bound, ``(d + 8) * 2**-24`` of the product of
    norms, does not prove that no other document can belong to the k best, every document that the
    bound cannot rule out is scored in float64. So the result is exact, far from the origin too.

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
    budget_bytes : int, default 256 MiB
        Memory for blocks of documents and of candidates, at least 1. The result comes on top, 16
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
    faiss uses as many threads as it was set to; nothing changes that setting.

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
    searched = _Documents.of(documents, members, metric)
    take = min(k, count)
    bytes_per_query = 12 * d + 64 * (take + _SPARE)
    for rows in blocks(len(queries), bytes_per_query, budget_bytes // 2):
        ids[rows, :take], scores[rows, :take] = _nearest(
            searched, queries[rows], take, budget_bytes // 2
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


@dataclass(frozen=True, eq=False)
class _Asked:
    """Queries as float32 sees them; a true score s is ``s * factors - offsets`` there."""

    vectors: NDArray[np.float32]
    norms: NDArray[np.float64]
    factors: NDArray[np.float64]
    offsets: NDArray[np.float64]
    scale: float

    def __getitem__(self, rows: NDArray[np.intp]) -> _Asked:
        return _Asked(
            self.vectors[rows],
            self.norms[rows],
            self.factors[rows],
            self.offsets[rows],
            self.scale,
        )


@dataclass(frozen=True, eq=False)
class _Documents:
    """The documents that may be found; `centre` and `reach` are their mean and greatest distance.

    Under cosine these are of the normalised documents, whose inner products are the scores.
    """

    vectors: Floats
    members: NDArray[np.int64] | None
    metric: Metric
    centre: NDArray[np.float64]
    reach: float

    @classmethod
    def of(cls, vectors: Floats, members: NDArray[np.int64] | None, metric: Metric) -> _Documents:
        """Measure the documents, in two passes."""
        origin = cls(vectors, members, metric, np.zeros(vectors.shape[1]), 0.0)
        total = np.zeros(vectors.shape[1])
        for _, chunk in origin.chunks(slice(0, origin.count)):
            total += chunk.sum(axis=0)
        centred = cls(vectors, members, metric, total / origin.count, 0.0)
        farthest = 0.0
        for _, chunk in centred.chunks(slice(0, centred.count)):
            farthest = max(farthest, float(np.einsum("nd,nd->n", chunk, chunk).max()))
        return cls(vectors, members, metric, centred.centre, float(np.sqrt(farthest)))

    @property
    def count(self) -> int:
        return len(self.vectors) if self.members is None else len(self.members)

    def ids_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the collection that stand at these places among the members."""
        return places if self.members is None else self.members[places]

    def chunks(self, rows: slice) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield places within `rows` and their vectors, (normalised and) centred, in float64."""
        for part in blocks(rows.stop - rows.start, 16 * self.vectors.shape[1]):
            places = slice(rows.start + part.start, rows.start + part.stop)
            picked = self.vectors[places if self.members is None else self.members[places]]
            chunk = picked.astype(np.float64)
            if self.metric == "cosine":
                norms = np.sqrt(np.einsum("nd,nd->n", chunk, chunk))[:, None]
                np.divide(chunk, norms, out=chunk, where=norms > 0)
            chunk -= self.centre
            yield part, chunk

    def write(self, rows: slice, scale: float, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write centred and scaled vectors into a buffer, and return the part of it in use."""
        for part, chunk in self.chunks(rows):
            np.multiply(chunk, scale, out=out[part], casting="same_kind")
        return out[: rows.stop - rows.start]

    def ask(self, queries: Floats) -> _Asked:
        """Shift and scale queries as the documents are."""
        asked = queries.astype(np.float64)
        if self.metric == "l2":  # one scale for both sides keeps squares within float32
            asked -= self.centre
            norms = np.linalg.norm(asked, axis=1)
            scale = _power_of_two_below(max(self.reach, norms.max(initial=0.0)))
            asked *= scale
            factors, offsets = np.full(len(asked), scale**2), np.zeros(len(asked))
        else:  # a query's own length changes none of its order
            scale = _power_of_two_below(self.reach)
            norms = np.linalg.norm(asked, axis=1)
            lengths = np.where(norms > 0, norms, 1.0)
            asked /= lengths[:, None]
            factors = scale / (lengths if self.metric == "ip" else np.ones(len(asked)))
            offsets = (asked @ self.centre) * scale
        vectors = np.ascontiguousarray(asked, dtype=np.float32)
        return _Asked(vectors, np.linalg.norm(asked, axis=1), factors, offsets, scale)

    def bound(self, asked: _Asked, reach: float) -> NDArray[np.float64]:
        """Bound the error of a float32 score of any document whose scaled norm is `reach`.

        A sum of d rounded products is off by d units of ``2**-24``, in whatever order; rounding
        both vectors, and for distances adding three terms, takes a few more. Underflow adds what
        no norm accounts for. By inner product the true score has been shifted, too, so that the
        float64 rounding of a far centre counts.
        """
        units = self.vectors.shape[1] + 8
        if self.metric == "l2":
            error = 2.0**-24 * (asked.norms + reach) ** 2
        else:
            shift = reach + float(np.linalg.norm(self.centre)) * asked.scale
            error = asked.norms * (2.0**-24 * reach + 2.0**-52 * shift)
        bound: NDArray[np.float64] = units * (error + 2.0**-148)
        return bound


def _power_of_two_below(value: float) -> float:
    """Return a power of two that scales `value` to between 1 and 2, without rounding anything."""
    return float(2.0 ** -np.floor(np.log2(value))) if value > 0 else 1.0


def _best(ids: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> Found:
    """Order by score descending, then by row number; keep k."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def _nearest(searched: _Documents, queries: Floats, k: int, budget_bytes: int) -> Found:
    """Search a batch of queries for k of the documents, of which there are as many."""
    asked = searched.ask(queries)
    wanted = min(searched.count, k + _SPARE)
    places, last = _candidates(searched, asked, wanted, budget_bytes)
    ids = searched.ids_at(places)
    found = true_scores(searched.vectors, queries, ids, searched.metric)
    ids, scores = _best(ids, found, k)
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
    searched: _Documents, asked: _Asked, k: int, budget_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the places of k candidates in float32, and the score of the last of them."""
    import faiss

    by_distance = searched.metric == "l2"
    measure = faiss.METRIC_L2 if by_distance else faiss.METRIC_INNER_PRODUCT
    d = searched.vectors.shape[1]
    step = min(searched.count, max(1, budget_bytes // (4 * d)))
    buffer = np.empty((step, d), dtype=np.float32)
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
    searched: _Documents,
    queries: Floats,
    asked: _Asked,
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
    step = max(1, min(pairs // len(queries), _SURVIVOR_BLOCK_BYTES // (4 * d), searched.count))
    buffer = np.empty((step, d), dtype=np.float32)
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
        for part in blocks(len(ids), 32 * d, _SURVIVOR_BLOCK_BYTES):
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
