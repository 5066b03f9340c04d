"""The vectors as a float32 search sees them, and how far it can be off.

Under every metric the order of the documents is that of their inner products or distances with
one query, and neither a common shift of the documents nor a common scale changes it. So what
float32 sees is shifted to the documents' mean and scaled to a length near 1, unless they lie well
as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.neighbours.scores import Floats, Metric, blocks, norms_of

__all__ = ["TASK_BYTES", "Asked", "Documents", "in_threads"]

TASK_BYTES = 8 * 2**20
_CENTRE_CHUNKS = 64
_SHORT, _LONG = 2.0**-30, 2.0**30  # squares of norms between these stay far within float32

T = TypeVar("T")


def in_threads(work: Callable[[slice], T], n_rows: int, bytes_per_row: int) -> list[T]:
    """Call work on runs of rows, in as many threads as faiss may use."""
    import faiss

    parts = list(blocks(n_rows, bytes_per_row, TASK_BYTES))
    threads = min(len(parts), faiss.omp_get_max_threads())
    if threads <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries as float32 sees them; a true score s is ``s * factors - offsets`` there."""

    vectors: NDArray[np.float32]
    norms: NDArray[np.float64]
    factors: NDArray[np.float64]
    offsets: NDArray[np.float64]
    scale: float

    def __getitem__(self, rows: NDArray[np.intp]) -> Asked:
        return Asked(
            self.vectors[rows],
            self.norms[rows],
            self.factors[rows],
            self.offsets[rows],
            self.scale,
        )


@dataclass(frozen=True, eq=False)
class Documents:
    """The documents that may be found, and where they lie.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        All documents.
    members : ndarray of int64, optional
        Those that may be found, ascending; None for all. A *place* is a position among them.
    metric : {'cosine', 'ip', 'l2'}
        Under cosine, what follows is of the normalised documents, whose inner products are the
        scores.
    centre : ndarray of float64, shape (d,)
        What float32 sees them from: about their mean.
    reach : float
        Their greatest distance from the centre.
    as_stored : bool, default False
        Whether float32 sees the vectors themselves, from the origin: no copy is made.
    """

    vectors: Floats
    members: NDArray[np.int64] | None
    metric: Metric
    centre: NDArray[np.float64]
    reach: float
    as_stored: bool = False

    @classmethod
    def of(
        cls,
        vectors: Floats,
        members: NDArray[np.int64] | None,
        metric: Metric,
        queries: Floats,
    ) -> Documents:
        """Measure the documents: any centre will do, so that a part of them decides on it."""
        d = vectors.shape[1]
        origin = cls(vectors, members, metric, np.zeros(d), 0.0)
        parts = list(blocks(origin.count, 16 * d))
        parts = parts[:: -(-len(parts) // _CENTRE_CHUNKS)]
        total, squares, seen = np.zeros(d), 0.0, 0
        for part in parts:
            for _, chunk in origin.chunks(part):
                total += chunk.sum(axis=0)
                squares += float(np.einsum("nd,nd->", chunk, chunk))
                seen += len(chunk)
        centre = total / seen
        plain = vectors.dtype == np.float32 and vectors.flags.c_contiguous
        # A short mean costs few digits: less than a copy of all vectors costs in time.
        if (
            plain
            and members is None
            and metric != "cosine"
            and 16 * centre @ centre <= squares / seen
        ):
            reach = origin.farthest()
            longest = norms_of(queries).max(initial=0.0) if metric == "l2" else 0.0
            if _SHORT <= reach <= _LONG and longest <= _LONG:
                return cls(vectors, members, metric, origin.centre, reach, as_stored=True)
        centred = cls(vectors, members, metric, centre, 0.0)
        return cls(vectors, members, metric, centre, centred.farthest())

    def farthest(self) -> float:
        """Compute the greatest distance from the centre."""

        def farthest(rows: slice) -> float:
            chunks = (chunk for _, chunk in self.chunks(rows))
            return max(float(np.einsum("nd,nd->n", chunk, chunk).max()) for chunk in chunks)

        return float(np.sqrt(max(in_threads(farthest, self.count, 16 * self.vectors.shape[1]))))

    @property
    def count(self) -> int:
        """Number of documents that may be found."""
        return len(self.vectors) if self.members is None else len(self.members)

    def ids_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the collection that stand at these places."""
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

    def buffer(self, rows: int) -> NDArray[np.float32]:
        """Return what :meth:`write` needs for so many rows."""
        return np.empty((0 if self.as_stored else rows, self.vectors.shape[1]), dtype=np.float32)

    def write(self, rows: slice, scale: float, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write centred and scaled vectors into a buffer, and return the part of it in use."""
        if self.as_stored:
            stored: NDArray[np.float32] = self.vectors[rows].astype(np.float32, copy=False)
            return stored

        def write(run: slice) -> None:
            into = out[run]
            for part, chunk in self.chunks(slice(rows.start + run.start, rows.start + run.stop)):
                np.multiply(chunk, scale, out=into[part], casting="same_kind")

        in_threads(write, rows.stop - rows.start, 16 * self.vectors.shape[1])
        return out[: rows.stop - rows.start]

    def ask(self, queries: Floats) -> Asked:
        """Shift and scale queries as the documents are."""
        asked = queries.astype(np.float64)
        if self.metric == "l2":  # one scale for both sides keeps squares within float32
            asked -= self.centre
            norms = np.linalg.norm(asked, axis=1)
            scale = self._scale(max(self.reach, norms.max(initial=0.0)))
            asked *= scale
            factors, offsets = np.full(len(asked), scale**2), np.zeros(len(asked))
        else:  # a query's own length changes none of its order
            scale = self._scale(self.reach)
            norms = np.linalg.norm(asked, axis=1)
            lengths = np.where(norms > 0, norms, 1.0)
            asked /= lengths[:, None]
            factors = scale / (lengths if self.metric == "ip" else np.ones(len(asked)))
            offsets = (asked @ self.centre) * scale
        vectors = np.ascontiguousarray(asked, dtype=np.float32)
        return Asked(vectors, np.linalg.norm(asked, axis=1), factors, offsets, scale)

    def bound(self, asked: Asked, reach: float) -> NDArray[np.float64]:
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

    def _scale(self, longest: float) -> float:
        """Return a power of two that scales to between 1 and 2, without rounding anything."""
        return 1.0 if self.as_stored or longest == 0 else float(2.0 ** -np.floor(np.log2(longest)))
