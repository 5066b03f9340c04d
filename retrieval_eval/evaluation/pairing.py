"""Where a run's documents meet the judgments: all that measures need to know of both.

Only judged documents of a run carry information for a measure besides their ranks, and they are
few. So a run of millions of rows shrinks to some thousand before anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.evaluation.measures import Measure
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["Judgments", "Pairing", "Ties"]

_BLOCK = 1 << 15


@dataclass(frozen=True, eq=False)
class Ties:
    """The stretch of equal scores that each judged document stands in.

    Parameters
    ----------
    before : ndarray of int64, shape (n,)
        Documents of the query with a higher score.
    size : ndarray of int64, shape (n,)
        Documents with this score, itself among them.
    """

    before: NDArray[np.int64]
    size: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pairing:
    """The judged documents that a run returned, in rank order within each query.

    Parameters
    ----------
    n_queries : int
        Judged queries.
    returned : ndarray of int64, shape (n_queries,)
        How many documents the run returned for each.
    query : ndarray of int64, shape (n,)
        Row of the judged query; ascending.
    rank : ndarray of int64, shape (n,)
        From 1.
    grade : ndarray of int64, shape (n,)
        As judged.
    document : ndarray of int64, shape (n,)
        Row of the judgment in the qrels.
    row : ndarray of int64, shape (n,)
        Row of the run.
    ties : Ties or None
        Of scores, if expected values over tied orders are asked for.
    """

    n_queries: int
    returned: NDArray[np.int64]
    query: NDArray[np.int64]
    rank: NDArray[np.int64]
    grade: NDArray[np.int64]
    document: NDArray[np.int64]
    row: NDArray[np.int64]
    ties: Ties | None

    @cached_property
    def condensed(self) -> Pairing:
        """The same with unjudged documents removed from the lists, and negative grades with them.

        trec_eval's code (its -J) holds a negative grade for no judgment.
        """
        kept = self._pick(self.grade >= 0)
        counts = np.bincount(kept.query, minlength=self.n_queries)
        starts = np.cumsum(counts) - counts
        rank = np.arange(1, len(kept.query) + 1) - starts[kept.query]
        ties = None
        if kept.ties is not None:
            # A stretch of equal scores keeps its judged members only.
            fresh = np.ones(len(rank), dtype=bool)
            fresh[1:] = (np.diff(kept.query) > 0) | (np.diff(kept.ties.before) > 0)
            firsts = np.flatnonzero(fresh)
            sizes = np.diff(np.append(firsts, len(rank)))
            ties = Ties(np.repeat(rank[firsts] - 1, sizes), np.repeat(sizes, sizes))
        return replace(kept, returned=counts, rank=rank, ties=ties)

    def relevant(self, level: int) -> Pairing:
        """Return the documents of a grade of at least `level`."""
        return self._pick(self.grade >= level)

    def _pick(self, keep: NDArray[np.bool_]) -> Pairing:
        ties = self.ties and Ties(self.ties.before[keep], self.ties.size[keep])
        return replace(
            self,
            query=self.query[keep],
            rank=self.rank[keep],
            grade=self.grade[keep],
            document=self.document[keep],
            row=self.row[keep],
            ties=ties,
        )

    def sums(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Add up weights, or count documents, for each query; shape (n_queries,)."""
        total = np.bincount(self.query, weights=weights, minlength=self.n_queries)
        return total.astype(np.float64)

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """Number of each document among those here of its query, from 1; shape (n,)."""
        counts = np.bincount(self.query, minlength=self.n_queries)
        starts = np.cumsum(counts) - counts
        return np.arange(1, len(self.query) + 1) - starts[self.query]


class Judgments:
    """Qrels made ready to be met by many runs.

    Parameters
    ----------
    qrels : Qrels
        The judgments.
    """

    def __init__(self, qrels: Qrels) -> None:
        self.qrels = qrels
        self.n_queries = len(qrels.query_ids)
        self.ideals: dict[Measure, NDArray[np.float64]] = {}
        self._row_of = {query_id: row for row, query_id in enumerate(qrels.query_ids)}
        self._names = qrels.document_ids.take(qrels.document)
        # Which documents may be judged: a table of bits, looked up by an id's hash.
        bits = max(12, len(qrels).bit_length() + 6)
        self._shift = np.uint64(64 - min(bits, 26))
        self._maybe = np.zeros(1 << min(bits, 26), dtype=bool)
        self._maybe[self._names.hashes >> self._shift] = True
        self.frame = pl.DataFrame(
            {
                "query": qrels.query,
                "name": self._names.column,
                "judgment": np.arange(len(qrels), dtype=np.int64),
            }
        )

    def relevant_counts(self, level: int) -> NDArray[np.int64]:
        """R of each query; shape (n_queries,)."""
        return np.bincount(self.qrels.query[self.qrels.grade >= level], minlength=self.n_queries)

    def non_relevant_counts(self, level: int) -> NDArray[np.int64]:
        """Judged non-relevant documents of each query; negative grades are none of them."""
        grade = self.qrels.grade
        return np.bincount(
            self.qrels.query[(grade >= 0) & (grade < level)], minlength=self.n_queries
        )

    def rows_of(self, run: Run) -> NDArray[np.int64]:
        """Row of the judged query of each of a run's, -1 for queries that are not judged."""
        row_of = self._row_of
        return np.array([row_of.get(name, -1) for name in run.query_ids], dtype=np.int64)

    def candidates(self, run: Run) -> NDArray[np.int64]:
        """Rows of a run that hold a document judged for some query, and a few that do not."""
        hashes = run.document_ids.hashes
        if len(run) < len(hashes) // 4:
            return np.flatnonzero(self._maybe[hashes[run.document] >> self._shift])
        maybe = np.empty(len(hashes), dtype=bool)
        for start in range(0, len(hashes), _BLOCK):  # so that what lies between stays in the cache
            block = slice(start, start + _BLOCK)
            maybe[block] = self._maybe[hashes[block] >> self._shift]
        return np.flatnonzero(maybe[run.document])

    def meet(self, run: Run, *, expected_ties: bool) -> Pairing:
        """Find the judged documents of a run.

        Parameters
        ----------
        run : Run
            In rank order.
        expected_ties : bool
            Whether stretches of equal scores are needed.
        """
        rows_of = self.rows_of(run)
        returned = np.zeros(self.n_queries, dtype=np.int64)
        known = rows_of >= 0
        returned[rows_of[known]] = np.diff(run.edges)[known]
        rows = self.candidates(run)
        met = pl.DataFrame(
            {
                "query": rows_of[run.query[rows]].astype(np.int32),
                "name": run.document_ids.column.gather(run.document[rows]),
                "row": rows,
            }
        ).join(self.frame, on=["query", "name"], how="inner")
        met = met.sort("query", "row")
        query, row, judgment = (met[name].to_numpy() for name in ("query", "row", "judgment"))
        ties = _ties(run, row) if expected_ties else None
        return Pairing(
            self.n_queries,
            returned,
            query.astype(np.int64),
            row - run.edges[run.query[row]] + 1,
            self.qrels.grade[judgment],
            judgment,
            row,
            ties,
        )


def _ties(run: Run, row: NDArray[np.int64]) -> Ties:
    fresh = np.ones(len(run) + 1, dtype=bool)
    fresh[1:-1] = (run.query[1:] != run.query[:-1]) | (run.score[1:] != run.score[:-1])
    firsts = np.flatnonzero(fresh)
    place = np.searchsorted(firsts, row, side="right") - 1
    before = firsts[place] - run.edges[run.query[row]]
    return Ties(before, firsts[place + 1] - firsts[place])
