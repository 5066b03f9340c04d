"""Several runs side by side: every pair of a query and a document that any of them returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.combiners.normalise import Normalisation, normalised_scores
from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.runs import Run, ranked

__all__ = ["Evidence", "Pool"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pool:
    """The union of runs as a sparse matrix of pairs x runs.

    Arrays are as long as the runs together, whatever their number and overlap.

    Parameters
    ----------
    runs : tuple of Run, length m
        The runs.
    query_ids : tuple of str
        All their queries, in order of first appearance.
    document_ids : Ids
        Of the documents.
    query : ndarray of int32, shape (n,)
        Row of `query_ids` of each pair; ascending.
    document : ndarray of int32 or int64, shape (n,)
        Row of `document_ids` of each pair.
    pair : ndarray of int64, shape (e,)
        For each entry, which is a row of a run, its pair; ascending.
    source : ndarray of int64, shape (e,)
        The run it comes from; ascending within a pair.
    entry : ndarray of int64, shape (e,)
        Its place among the rows of all runs, one run after another.
    query_rows : tuple of ndarray of int64
        For each run, the row in `query_ids` of each of its queries.
    """

    runs: tuple[Run, ...]
    query_ids: tuple[str, ...]
    document_ids: Ids
    query: NDArray[np.int32]
    document: NDArray[np.signedinteger]
    pair: NDArray[np.int64]
    source: NDArray[np.int64]
    entry: NDArray[np.int64]
    query_rows: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def of(cls, runs: Sequence[Run], depth: int | None = None) -> Pool:
        """Lay runs side by side.

        Parameters
        ----------
        runs : sequence of Run
            At least one.
        depth : int or None
            Take the first so many documents of each query only.

        Raises
        ------
        InputError
            If there is no run, or the depth is below 1.
        """
        if isinstance(runs, Run) or not runs:
            raise InputError("name at least one run in a list: there is nothing to fuse")
        kept = tuple(runs) if depth is None else tuple(run.top(depth) for run in runs)
        rows: dict[str, int] = {}
        query_rows = tuple(
            np.array([rows.setdefault(name, len(rows)) for name in run.query_ids], dtype=np.int64)
            for run in kept
        )
        document_ids, document = _common_documents(kept)
        width = max(1, len(document_ids))
        key = np.concatenate(
            [numbers[run.query] * width for numbers, run in zip(query_rows, kept, strict=True)]
        )
        key += document
        entry = np.argsort(key, kind="stable")
        key = key[entry]
        first = np.ones(len(key), dtype=bool)
        first[1:] = key[1:] != key[:-1]
        heads = key[first]
        source = np.repeat(np.arange(len(kept)), [len(run) for run in kept])[entry]
        return cls(
            kept,
            tuple(rows),
            document_ids,
            (heads // width).astype(np.int32),
            (heads % width).astype(np.int32 if width < 2**31 else np.int64),
            np.cumsum(first) - 1,
            source,
            entry,
            query_rows,
        )

    @cached_property
    def count(self) -> NDArray[np.int64]:
        """How many runs returned each pair; shape (n,)."""
        return np.bincount(self.pair, minlength=len(self))

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First entry of each pair; shape (n,)."""
        return np.cumsum(self.count) - self.count

    @cached_property
    def _crowded(self) -> NDArray[np.int64]:
        """Entries of pairs with three or more, whose sum depends on its order in the last bit."""
        return np.flatnonzero(self.count[self.pair] > 2)

    def gather(self, columns: Sequence[NDArray[np.generic]]) -> Floats:
        """Bring a column of each run, one value a row, into the order of entries; shape (e,)."""
        values: Floats = np.concatenate(columns)[self.entry].astype(np.float64, copy=False)
        return values

    def total(self, values: Floats) -> Floats:
        """Add up the entries of each pair; shape (n,).

        The same values give the same sum, to the last bit, whichever runs they come from: pairs
        that are tied by the formula are tied.
        """
        crowded = self._crowded
        if not len(crowded):
            return self._sums(self.pair, values)
        ordered = crowded[np.argsort(values[crowded], kind="stable")]
        alone = values.copy()
        alone[crowded] = 0.0
        return self._sums(self.pair, alone) + self._sums(self.pair[ordered], values[ordered])

    def _sums(self, pair: NDArray[np.int64], values: Floats) -> Floats:
        sums = np.bincount(pair, weights=values, minlength=len(self))
        return sums.astype(np.float64, copy=False)

    def run(self, scores: Floats, name: str) -> Run:
        """Rank the pairs by their scores.

        Raises
        ------
        InputError
            If a score is not finite.
        """
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise InputError(
                f"run {name!r}: the fused score of query {self.query_ids[self.query[row]]!r} and "
                f"document {self.document_ids[self.document[row]]!r} is out of range: "
                "normalise the scores, or use smaller weights"
            )
        return ranked(
            Run(name, self.query_ids, self.document_ids, self.query, self.document, scores)
        )


@dataclass(frozen=True, eq=False)
class Evidence:
    """Normalised scores of a pool.

    Parameters
    ----------
    pool : Pool
        The runs.
    score : ndarray of float64, shape (e,)
        Of each entry.
    absent : ndarray of float64, shape (queries, m), or None
        What a run gives documents that it did not return, if that is not 0.
    """

    pool: Pool
    score: Floats
    absent: Floats | None

    @classmethod
    def of(cls, pool: Pool, how: Normalisation) -> Evidence:
        """Normalise the runs of a pool; see :func:`~retrieval_eval.combiners.normalise`."""
        candidates = np.bincount(pool.query, minlength=len(pool.query_ids))
        columns = [
            normalised_scores(run, how, candidates[rows])
            for run, rows in zip(pool.runs, pool.query_rows, strict=True)
        ]
        absent = None
        if how == "borda":  # the points that a run has left are shared by all that it left out
            returned = np.zeros((len(pool.query_ids), len(pool.runs)))
            for place, (run, rows) in enumerate(zip(pool.runs, pool.query_rows, strict=True)):
                returned[rows, place] = np.diff(run.edges)
            absent = (candidates[:, None] - returned + 1) / 2
        return cls(pool, pool.gather(columns), absent)

    def total(self, weights: Floats) -> Floats:
        """Add up the weighted scores of each pair.

        Parameters
        ----------
        weights : ndarray of float64, shape (m,) or (queries, m)
            Of each run, for all queries or for each.

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        pool = self.pool
        if weights.ndim == 1:
            own = weights[pool.source]
        else:
            own = weights[pool.query[pool.pair], pool.source]
        if self.absent is None:
            return pool.total(own * self.score)
        query = pool.query[pool.pair]
        more = pool.total(own * (self.score - self.absent[query, pool.source]))
        # In order of size, so that the order of the runs changes no bit here either.
        shares: Floats = np.sort(weights * self.absent, axis=1).sum(axis=1)
        total: Floats = more + shares[pool.query]
        return total

    def run(self, scores: Floats, name: str) -> Run:
        """Rank the pairs by their scores; see :meth:`Pool.run`."""
        return self.pool.run(scores, name)


def _common_documents(runs: tuple[Run, ...]) -> tuple[Ids, NDArray[np.int64]]:
    """Return one column of ids, and the row in it of every row of the runs."""
    ids = runs[0].document_ids
    if all(run.document_ids is ids for run in runs) and ids.repeated is None:
        return ids, np.concatenate([run.document for run in runs]).astype(np.int64)
    names = pl.concat([run.document_ids.column.gather(run.document) for run in runs])
    known = names.unique(maintain_order=True)
    table = pl.DataFrame({"name": known, "row": np.arange(len(known), dtype=np.int64)})
    found = names.to_frame("name").join(table, on="name", how="left", maintain_order="left")
    return Ids(known.rechunk()), found["row"].to_numpy()
