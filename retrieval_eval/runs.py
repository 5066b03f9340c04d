"""Runs: for each query, documents with scores. The tie rule of the whole project stands here."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits
from retrieval_eval.textfiles import bad_line, fits_column, read_columns

__all__ = ["Run"]


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
    document_ids : sequence of str
        The documents it may name.
    query : ndarray of int32, shape (n,)
        Row of `query_ids`, ascending.
    document : ndarray of int64, shape (n,)
        Row of `document_ids`; within a query best first.
    score : ndarray of float64, shape (n,)
        Higher is better.

    Examples
    --------
    >>> run = Run.from_mapping({"q1": {"a": 1.0, "b": 1.0, "c": 2.0}}, name="mine")
    >>> [run.document_ids[row] for row in run.document]
    ['c', 'b', 'a']
    """

    name: str
    query_ids: tuple[str, ...]
    document_ids: Sequence[str]
    query: NDArray[np.int32]
    document: NDArray[np.int64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def _ranked(
        cls,
        name: str,
        query_ids: tuple[str, ...],
        document_ids: Sequence[str],
        query: NDArray[np.int32],
        document: NDArray[np.int64],
        score: NDArray[np.float64],
    ) -> Run:
        # Python compares strings by code point, which orders them as their UTF-8 bytes do.
        place = np.empty(len(document_ids), dtype=np.int64)
        place[sorted(range(len(document_ids)), key=document_ids.__getitem__)] = np.arange(
            len(document_ids)
        )
        order = np.lexsort((-place[document], -score, query))
        return cls(name, query_ids, document_ids, query[order], document[order], score[order])

    @classmethod
    def from_hits(
        cls, hits: Hits, query_ids: Sequence[str], document_ids: Sequence[str], name: str = "run"
    ) -> Run:
        """Turn an index's hits into a run; padding never reaches it.

        Parameters
        ----------
        hits : Hits
            One row for each query.
        query_ids : sequence of str
            Id of each row of `hits`.
        document_ids : sequence of str
            Id of each row of the corpus.
        name : str
            What the run is called.
        """
        if len(hits.ids) != len(query_ids):
            raise InputError(f"{len(hits.ids)} rows of hits for {len(query_ids)} queries")
        if hits.ids.size and int(hits.ids.max()) >= len(document_ids):
            raise InputError(
                f"hits name row {int(hits.ids.max())} of a corpus of {len(document_ids)} documents"
            )
        rows, columns = np.nonzero(hits.ids >= 0)
        if not np.isfinite(hits.scores[rows, columns]).all():
            raise InputError("hits hold a score that is not a finite number")
        return cls._ranked(
            name,
            tuple(query_ids),
            document_ids,
            rows.astype(np.int32),
            hits.ids[rows, columns],
            hits.scores[rows, columns].astype(np.float64),
        )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Mapping[str, float]], name: str = "run") -> Run:
        """Build from ``{query id: {document id: score}}``."""
        documents: dict[str, int] = {}
        query: list[int] = []
        document: list[int] = []
        score: list[float] = []
        for row, (query_id, scored) in enumerate(mapping.items()):
            for document_id, value in scored.items():
                if not math.isfinite(value):
                    raise InputError(
                        f"query {query_id!r}: document {document_id!r} scores {value}, "
                        "which is not a finite number"
                    )
                query.append(row)
                document.append(documents.setdefault(document_id, len(documents)))
                score.append(float(value))
        return cls._ranked(
            name,
            tuple(mapping),
            tuple(documents),
            np.array(query, dtype=np.int32),
            np.array(document, dtype=np.int64),
            np.array(score, dtype=np.float64),
        )

    @classmethod
    def from_file(cls, path: str | Path) -> Run:
        """Read a TREC run: query, Q0, document, rank (ignored), score, tag.

        Parameters
        ----------
        path : str or Path
            The file, plain or ``.gz``; its name without suffixes names the run.

        Raises
        ------
        InputError
            Naming file, line number, text and rule: a wrong number of columns, a score that is
            no finite number, a document listed twice for a query.
        """
        path = Path(path)
        mapping: dict[str, dict[str, float]] = {}
        lines: dict[tuple[str, str], int] = {}
        for number, line, fields in read_columns(path, 6, "query, Q0, document, rank, score, tag"):
            query_id, _, document_id, _, text, _ = fields
            try:
                value = float(text.replace("_", "?"))  # Python reads 1_0 as 10
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                bad_line(path, number, line, f"the score {text!r} is not a finite number")
            scored = mapping.setdefault(query_id, {})
            earlier = lines.setdefault((query_id, document_id), number)
            if earlier != number:
                rule = (
                    f"document {document_id!r} is listed twice for query {query_id!r}, first on "
                    f"line {earlier}: keep one of the two"
                )
                bad_line(path, number, line, rule)
            scored[document_id] = value
        if not mapping:
            raise InputError(f"{path}: the run holds no line")
        name = path.name.removesuffix(".gz")
        for suffix in (".trec", ".run", ".txt"):
            name = name.removesuffix(suffix)
        return cls.from_mapping(mapping, name)

    @property
    def rank(self) -> NDArray[np.int64]:
        """Rank of each row within its query, from 1; shape (n,)."""
        starts = np.searchsorted(self.query, np.arange(len(self.query_ids)))
        return np.arange(len(self.query), dtype=np.int64) - starts[self.query] + 1

    def to_file(self, path: Path) -> None:
        """Write as a TREC run; compressed, without a time stamp, if the name ends in ``.gz``.

        Raises
        ------
        InputError
            If an id cannot stand in a column: empty, with white space, not UTF-8, or a query's id
            that starts with ``#``, the mark of a comment.
        """
        import polars as pl

        used = [self.query_ids[row] for row in np.unique(self.query)]
        for what, ids in (
            ("query", used),
            ("document", [self.document_ids[row] for row in np.unique(self.document)]),
        ):
            for one in ids:
                if not fits_column(one) or (what == "query" and one.startswith("#")):
                    raise InputError(f"{path}: {what} id {one!r} cannot stand in a run file")
        tag = "_".join(self.name.split()) or "run"
        # Scores of an index are float32: their shortest decimal form keeps order and ties.
        with np.errstate(over="ignore"):
            single = self.score.astype(np.float32)
        score = single if np.array_equal(single, self.score) else self.score
        frame = pl.DataFrame(
            {
                "query": pl.Series(self.query_ids, dtype=pl.String).gather(self.query),
                "q0": pl.repeat("Q0", len(self), eager=True),
                "document": pl.Series(list(self.document_ids), dtype=pl.String).gather(
                    self.document
                ),
                "rank": self.rank,
                "score": score,
                "tag": pl.repeat(tag, len(self), eager=True),
            }
        )
        text = frame.write_csv(include_header=False, separator=" ", quote_style="never")
        data = text.encode()
        if path.suffix == ".gz":
            data = gzip.compress(data, compresslevel=1, mtime=0)
        path.write_bytes(data)
