"""Relevance judgments (qrels): which document has which grade for which query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.formats.columns import QRELS, Columns, Duplicates
from retrieval_eval.formats.files import read_file
from retrieval_eval.formats.records import from_mapping, from_records
from retrieval_eval.formats.tables import from_frame
from retrieval_eval.ids import Ids
from retrieval_eval.store import fold_digests

__all__ = ["Qrels"]


@dataclass(frozen=True, eq=False)
class Qrels:
    """Judgments in columns, those of one query side by side.

    Parameters
    ----------
    query_ids : tuple of str
        The judged queries, in order of their first judgment. Ids are strings, kept as they are.
    document_ids : Ids
        Column of ids of judged documents; an id may stand there more than once.
    query : ndarray of int32, shape (n,)
        For each judgment, the row of its query in `query_ids`; ascending.
    document : ndarray of int32, shape (n,)
        For each judgment, the row of its document in `document_ids`.
    grade : ndarray of int64, shape (n,)
        Its grade; above 0 is relevant.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"d1": 1, "d2": 0}})
    >>> len(qrels), qrels.query_ids
    (2, ('q1',))
    """

    query_ids: tuple[str, ...]
    document_ids: Ids
    query: NDArray[np.int32]
    document: NDArray[np.int32]
    grade: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.grade)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Mapping[str, int]]) -> Qrels:
        """Build from ``{query id: {document id: grade}}``; a query without judgments is none."""
        judged = {query: grades for query, grades in mapping.items() if grades}
        return cls._from_columns(from_mapping(judged, QRELS), "error")

    @classmethod
    def from_records(cls, records: Iterable[Any], *, duplicates: Duplicates = "error") -> Qrels:
        """Build from records with ``query_id``, ``doc_id`` and ``relevance``, or such triples.

        Parameters
        ----------
        records : iterable
            For instance the ``qrels_iter()`` of ir-datasets.
        duplicates : {'error', 'first', 'max'}
            For a judgment that comes twice with one grade; two grades are always an error.

        Examples
        --------
        >>> len(Qrels.from_records([("q1", "d1", 1), ("q1", "d2", 0)]))
        2
        """
        return cls._from_columns(from_records(records, QRELS), duplicates)

    @classmethod
    def from_frame(cls, frame: Any, *, duplicates: Duplicates = "error") -> Qrels:
        """Build from a data frame of polars or pandas.

        Parameters
        ----------
        frame : polars.DataFrame, polars.LazyFrame or pandas.DataFrame
            With text columns such as ``query_id`` and ``doc_id``, and a column ``relevance``.
        duplicates : {'error', 'first', 'max'}
            For a judgment that comes twice with one grade; two grades are always an error.
        """
        return cls._from_columns(from_frame(frame, QRELS), duplicates)

    @classmethod
    def from_file(cls, path: str | Path, *, duplicates: Duplicates = "error") -> Qrels:
        """Read judgments.

        Parameters
        ----------
        path : str or Path
            TREC's four columns (query, iteration, document, grade), BEIR's TSV with the header
            ``query-id corpus-id score``, ``.json``, ``.jsonl``, ``.csv`` or ``.parquet``; all but
            the last may be packed as ``.gz`` or ``.zst``.
        duplicates : {'error', 'first', 'max'}
            For a judgment that comes twice with one grade; two grades are always an error.

        Raises
        ------
        InputError
            Naming file, line number, text and rule.
        """
        return cls._from_columns(read_file(path, QRELS), duplicates)

    @classmethod
    def _from_columns(cls, columns: Columns, duplicates: Duplicates) -> Qrels:
        if not len(columns):
            raise InputError("the qrels hold no judgment")
        once = columns.without_repeats(duplicates)
        if len(once) < len(columns):
            _refuse_two_grades(columns)
        rows = np.arange(len(once), dtype=np.int32)
        grade = np.asarray(once.value, dtype=np.int64)
        return cls(once.query_ids, once.document, once.query, rows, grade)

    def only_queries(self, keep: Iterable[str]) -> Qrels:
        """Return the judgments of some queries only."""
        wanted = set(keep)
        kept = [query in wanted for query in self.query_ids]
        codes = np.cumsum(kept, dtype=np.int32) - 1
        rows = np.flatnonzero(np.array(kept, dtype=bool)[self.query])
        if not len(rows):
            raise InputError("the qrels hold no judgment")
        return Qrels(
            tuple(query for query in self.query_ids if query in wanted),
            self.document_ids,
            codes[self.query[rows]],
            self.document[rows],
            self.grade[rows],
        )

    def only_documents(self, keep: Iterable[str]) -> Qrels:
        """Return the judgments of some documents only, and of the queries that still have one.

        Raises
        ------
        InputError
            If none is left.
        """
        known = pl.Series(list(keep), dtype=pl.String)
        rows = self.document_ids.column.is_in(known.implode()).to_numpy()[self.document]
        kept = Qrels(
            self.query_ids,
            self.document_ids,
            self.query[rows],
            self.document[rows],
            self.grade[rows],
        )
        return kept.only_queries(self.query_ids[query] for query in np.unique(kept.query))

    def without_self(self) -> Qrels:
        """Return the judgments without those of a document whose id is the query's own."""
        queries = pl.Series(self.query_ids, dtype=pl.String).gather(self.query)
        keep = (queries != self.document_ids.column.gather(self.document)).to_numpy()
        return Qrels(
            self.query_ids,
            self.document_ids,
            self.query[keep],
            self.document[keep],
            self.grade[keep],
        )

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """First row of each query, and the number of rows; shape (queries + 1,)."""
        edges: NDArray[np.int64] = np.searchsorted(
            self.query, np.arange(len(self.query_ids) + 1)
        ).astype(np.int64)
        return edges

    @cached_property
    def mapping(self) -> dict[str, dict[str, int]]:
        """The judgments as ``{query id: {document id: grade}}``; not to be changed."""
        documents = self.document_ids.column.gather(self.document).to_list()
        grades = self.grade.tolist()
        return {
            query: dict(zip(documents[start:stop], grades[start:stop], strict=True))
            for query, start, stop in zip(
                self.query_ids, self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True
            )
        }

    def to_frame(self) -> pl.DataFrame:
        """Return columns ``query_id``, ``doc_id`` and ``relevance``."""
        queries = pl.Series("query_id", self.query_ids, dtype=pl.String)
        return pl.DataFrame(
            {
                "query_id": queries.gather(self.query),
                "doc_id": self.document_ids.column.gather(self.document),
                "relevance": self.grade,
            }
        )

    @cached_property
    def fingerprint(self) -> str:
        """A key of the content, whatever the order of the lines."""
        frame = self.to_frame().sort("query_id", "doc_id")
        return fold_digests(
            f"{query}\t{document}\t{grade}" for query, document, grade in frame.iter_rows()
        )


def _refuse_two_grades(columns: Columns) -> None:
    """Raise if a pair that came twice had two grades; then no choice would be right."""
    pair = ["query", "document"]
    judged = pl.DataFrame(
        {"query": columns.query, "document": columns.document.column, "grade": columns.value}
    ).with_row_index("row")
    wrong = judged.with_columns(first=pl.col("grade").first().over(pair)).filter(
        pl.col("grade") != pl.col("first")
    )
    if len(wrong):
        row = int(wrong["row"][0])
        columns.fail(
            row,
            f"query {columns.query_ids[columns.query[row]]!r} judged document "
            f"{columns.document[row]!r} before, with grade {wrong['first'][0]}: keep "
            "one of the two",
        )
