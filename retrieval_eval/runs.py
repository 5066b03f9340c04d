"""Runs: for each query, documents with scores. The tie rule of the whole project stands here."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.formats.columns import RUN, Columns, Duplicates
from retrieval_eval.formats.files import SUFFIXES, read_file
from retrieval_eval.formats.records import from_mapping, from_records
from retrieval_eval.formats.tables import from_frame
from retrieval_eval.hits import Hits
from retrieval_eval.ids import Ids, repeated_keys
from retrieval_eval.textfiles import fits_column, pack_bytes, unpacked_name

__all__ = ["Run", "ranked"]


@dataclass(frozen=True, eq=False)
class Run:
    """Scored documents in columns, ordered by query and then by rank.

    Ranks follow trec_eval's rule: score descending, then document id **descending, bytewise**.
    The rank column of a file is ignored, and ties are broken before any cut.

    Parameters
    ----------
    name : str
        What the run is called in tables and in the tag column of a file.
    query_ids : tuple of str
        The queries the run may answer.
    document_ids : Ids
        A column of document ids; an id may stand there more than once.
    query : ndarray of int32, shape (n,)
        Row of `query_ids`, ascending.
    document : ndarray of int32 or int64, shape (n,)
        Row of `document_ids`; within a query best first, and never the same id twice.
    score : ndarray of float64, shape (n,)
        Finite; higher is better.

    Examples
    --------
    >>> run = Run.from_mapping({"q1": {"a": 1.0, "b": 1.0, "c": 2.0}}, name="mine")
    >>> [run.document_ids[row] for row in run.document]
    ['c', 'b', 'a']
    """

    name: str
    query_ids: tuple[str, ...]
    document_ids: Ids
    query: NDArray[np.int32]
    document: NDArray[np.signedinteger]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def from_hits(
        cls,
        hits: Hits,
        query_ids: Sequence[str],
        document_ids: Sequence[str] | pl.Series | Ids,
        name: str = "run",
    ) -> Run:
        """Turn an index's hits into a run; padding never reaches it.

        Parameters
        ----------
        hits : Hits
            One row for each query.
        query_ids : sequence of str
            Id of each row of `hits`.
        document_ids : sequence of str, or Ids
            Id of each row of the corpus. For several runs over one corpus make an
            :class:`~retrieval_eval.ids.Ids` of them once: ``Ids.of(document_ids)``.
        name : str
            What the run is called.

        Raises
        ------
        InputError
            If the shapes do not fit, an id stands twice in `query_ids` or `document_ids`, a row
            holds a document twice, or a score is not finite.
        """
        documents = Ids.of(document_ids, "document id")
        queries = tuple(Ids.of(list(query_ids), "query id"))
        if len(hits.ids) != len(queries):
            raise InputError(f"{len(hits.ids)} rows of hits for {len(queries)} queries")
        if hits.ids.size and int(hits.ids.max()) >= len(documents):
            raise InputError(
                f"hits name row {int(hits.ids.max())} of a corpus of {len(documents)} documents"
            )
        if documents.repeated:
            first, second = documents.repeated
            raise InputError(
                f"rows {first} and {second} of the corpus have one id, {documents[first]!r}"
            )
        if len(set(queries)) != len(queries):
            again = next(one for place, one in enumerate(queries) if one in queries[:place])
            raise InputError(f"the query id {again!r} stands for two rows of hits")
        found = hits.ids >= 0
        counts = np.count_nonzero(found, axis=1)
        full = int(counts.sum()) == hits.ids.size
        document: NDArray[np.signedinteger] = hits.ids.ravel() if full else hits.ids[found]
        if len(documents) < 2**31:
            document = document.astype(np.int32)
        elif full:
            document = document.copy()  # of a view of the caller's
        score = (hits.scores.ravel() if full else hits.scores[found]).astype(np.float64)
        query = np.repeat(np.arange(len(queries), dtype=np.int32), counts)
        if not np.isfinite(score).all():
            raise InputError("hits hold a score that is not a finite number")
        again_rows = repeated_keys(query, document.astype(np.uint64) << np.uint64(16))
        if len(again_rows):
            row = int(again_rows[0])
            raise InputError(
                f"query {queries[query[row]]!r} has document {documents[document[row]]!r} twice"
            )
        return ranked(cls(name, queries, documents, query, document, score))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Mapping[str, float]], name: str = "run") -> Run:
        """Build from ``{query id: {document id: score}}``."""
        return cls._from_columns(from_mapping(mapping, RUN), name, "error")

    @classmethod
    def from_records(
        cls, records: Iterable[Any], name: str = "run", *, duplicates: Duplicates = "error"
    ) -> Run:
        """Build from records with ``query_id``, ``doc_id`` and ``score``, or such triples.

        Parameters
        ----------
        records : iterable
            For instance the ``scoreddocs_iter()`` of ir-datasets.
        name : str
            What the run is called.
        duplicates : {'error', 'first', 'max'}
            For a document that comes twice for a query.

        Examples
        --------
        >>> len(Run.from_records([("q1", "d1", 0.5), ("q1", "d2", 0.25)]))
        2
        """
        return cls._from_columns(from_records(records, RUN), name, duplicates)

    @classmethod
    def from_frame(cls, frame: Any, name: str = "run", *, duplicates: Duplicates = "error") -> Run:
        """Build from a data frame of polars or pandas.

        Parameters
        ----------
        frame : polars.DataFrame, polars.LazyFrame or pandas.DataFrame
            With text columns such as ``query_id`` and ``doc_id``, and a column ``score``.
        name : str
            What the run is called.
        duplicates : {'error', 'first', 'max'}
            For a document that comes twice for a query.
        """
        return cls._from_columns(from_frame(frame, RUN), name, duplicates)

    @classmethod
    def from_file(cls, path: str | Path, *, duplicates: Duplicates = "error") -> Run:
        """Read a run.

        Parameters
        ----------
        path : str or Path
            TREC's six columns (query, Q0, document, rank, score, tag; the rank is ignored),
            ``.json``, ``.jsonl``, ``.csv`` or ``.parquet``; all but the last may be packed as
            ``.gz`` or ``.zst``. The file's name without suffixes names the run.
        duplicates : {'error', 'first', 'max'}
            For a document listed twice for a query: refuse, take the first, or the higher score.

        Raises
        ------
        InputError
            Naming file, line number, text and rule: a wrong number of columns, a score that is
            no finite number, a document listed twice for a query.
        """
        path = Path(path)
        name = unpacked_name(path)
        while any(name.endswith(suffix) and name != suffix for suffix in SUFFIXES):
            name = name.rpartition(".")[0]
        return cls._from_columns(read_file(path, RUN), name, duplicates)

    @classmethod
    def _from_columns(cls, columns: Columns, name: str, duplicates: Duplicates) -> Run:
        once = columns.without_repeats(duplicates)
        document: NDArray[np.signedinteger] = np.arange(len(once))
        if len(once) < 2**31:
            document = document.astype(np.int32)
        score = np.asarray(once.value, dtype=np.float64)
        return ranked(cls(name, once.query_ids, once.document, once.query, document, score))

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """First row of each query, and the number of rows; shape (queries + 1,)."""
        edges: NDArray[np.int64] = np.searchsorted(
            self.query, np.arange(len(self.query_ids) + 1)
        ).astype(np.int64)
        return edges

    @property
    def rank(self) -> NDArray[np.int64]:
        """Rank of each row within its query, from 1; shape (n,)."""
        return np.arange(1, len(self.query) + 1, dtype=np.int64) - self.edges[self.query]

    def top(self, depth: int) -> Run:
        """Return the first `depth` documents of each query.

        Examples
        --------
        >>> len(Run.from_mapping({"q1": {"a": 1.0, "b": 2.0}}).top(1))
        1
        """
        if depth < 1:
            raise InputError(f"the depth {depth} leaves no document: it must be at least 1")
        return self._rows(np.flatnonzero(self.rank <= depth))

    def without_self(self) -> Run:
        """Return the run without documents whose id is the query's own (as in ArguAna, Quora)."""
        queries = Ids.of(list(self.query_ids))
        same = self.document_ids.hashes[self.document] == queries.hashes[self.query]
        rows = np.flatnonzero(same)
        own = self.document_ids.column.gather(self.document[rows]) == queries.column.gather(
            self.query[rows]
        )
        same[rows] = own.to_numpy()
        return self._rows(np.flatnonzero(~same)) if same.any() else self

    def single_precision(self) -> Run:
        """Return the run with scores rounded to float32, which may tie them (trec_eval 9)."""
        with np.errstate(over="ignore"):
            score = self.score.astype(np.float32).astype(np.float64)
        return ranked(replace(self, score=score))

    def _rows(self, rows: NDArray[np.int64]) -> Run:
        return replace(
            self, query=self.query[rows], document=self.document[rows], score=self.score[rows]
        )

    def to_mapping(self) -> dict[str, dict[str, float]]:
        """Return ``{query id: {document id: score}}``, best first; unanswered queries are empty."""
        documents = self.document_ids.column.gather(self.document).to_list()
        scores = self.score.tolist()
        return {
            query: dict(zip(documents[start:stop], scores[start:stop], strict=True))
            for query, start, stop in zip(
                self.query_ids, self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True
            )
        }

    def to_frame(self) -> pl.DataFrame:
        """Return columns ``query_id``, ``doc_id``, ``score`` and ``rank``, in rank order."""
        queries = pl.Series("query_id", self.query_ids, dtype=pl.String)
        return pl.DataFrame(
            {
                "query_id": queries.gather(self.query),
                "doc_id": self.document_ids.column.gather(self.document),
                "score": self.score,
                "rank": self.rank,
            }
        )

    def to_file(self, path: str | Path) -> None:
        """Write as parquet if the name ends in ``.parquet``, else as a TREC run.

        A TREC run is packed, without a time stamp, if the name ends in ``.gz`` or ``.zst``.

        Raises
        ------
        InputError
            If the name ends as a file of another form, or an id cannot stand in a TREC column:
            empty, with white space, or a query's id that starts with ``#``, the mark of a comment,
            or with a byte order mark.
        """
        path = Path(path)
        if path.suffix == ".parquet":
            self.to_frame().write_parquet(path)
            return
        if any(suffix in {".json", ".jsonl", ".csv"} for suffix in path.suffixes):
            raise InputError(
                f"{path}: runs are written as parquet or as TREC runs: choose another suffix"
            )
        used = [self.query_ids[row] for row in np.unique(self.query)]
        for one in used:
            if not fits_column(one) or one.startswith(("#", "\ufeff")):
                raise InputError(f"{path}: query id {one!r} cannot stand in a run file")
        frame = self.to_frame()
        unfit = (frame["doc_id"] == "") | frame["doc_id"].str.contains("[\t\n\v\f\r ]")
        if unfit.any():
            one = frame["doc_id"].filter(unfit)[0]
            raise InputError(f"{path}: document id {one!r} cannot stand in a run file")
        # Scores of an index are float32: their shortest decimal form keeps order and ties.
        with np.errstate(over="ignore"):
            single = self.score.astype(np.float32)
        if np.array_equal(single, self.score):
            frame = frame.with_columns(score=pl.Series(single))
        tag = "_".join(self.name.split()) or "run"
        text = io.BytesIO()
        frame.select(
            "query_id", pl.lit("Q0").alias("q0"), "doc_id", "rank", "score", pl.lit(tag)
        ).write_csv(text, include_header=False, separator=" ", quote_style="never")
        path.write_bytes(pack_bytes(text.getvalue(), path.suffix))


def ranked(run: Run) -> Run:
    """Return a run in rank order: score, then document id bytewise, both descending.

    Parameters
    ----------
    run : Run
        Its rows must be in order of their queries; documents of a query may be in any order.
    """
    query, score = run.query, run.score
    same_query = query[1:] == query[:-1]
    document = run.document
    if ((score[1:] > score[:-1]) & same_query).any():
        by_score = pl.DataFrame({"query": query, "score": score})
        order = by_score.select(
            pl.arg_sort_by(["query", "score"], descending=[False, True])
        ).to_series()
        score, document = score[order.to_numpy()], document[order.to_numpy()]
    tied = (score[1:] == score[:-1]) & same_query
    if tied.any():
        # Only rows of a tie are put in order of their ids, which leaves the scores in place.
        first = np.append(False, tied)
        rows = np.flatnonzero(first | np.append(tied, False))
        ties = pl.DataFrame(
            {
                "tie": np.cumsum(~first[rows], dtype=np.int64),
                "document": run.document_ids.column.gather(document[rows]),
            }
        )
        # Strings are compared by their bytes.
        within = ties.select(
            pl.arg_sort_by(["tie", "document"], descending=[False, True])
        ).to_series()
        source = document[rows[within.to_numpy()]]
        document = document.copy()
        document[rows] = source
    return replace(run, document=document, score=score)
