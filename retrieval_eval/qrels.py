"""Relevance judgments (qrels): which document has which grade for which query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.store import fold_digests
from retrieval_eval.textfiles import bad_line, read_columns, read_lines, whole_number

__all__ = ["Qrels"]

_BEIR_HEADER = ("query-id", "corpus-id", "score")


@dataclass(frozen=True, eq=False)
class Qrels:
    """Judgments in columns.

    Parameters
    ----------
    query_ids : tuple of str
        The judged queries, in order of their first judgment. Ids are strings, kept as they are.
    document_ids : tuple of str
        The judged documents, likewise.
    query : ndarray of int32, shape (n,)
        For each judgment, the row of its query in `query_ids`.
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
    document_ids: tuple[str, ...]
    query: NDArray[np.int32]
    document: NDArray[np.int32]
    grade: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.grade)

    @classmethod
    def from_triples(cls, triples: Iterable[tuple[str, str, int]]) -> Qrels:
        """Build from (query id, document id, grade); a pair must not come twice.

        Raises
        ------
        InputError
            If a pair is judged twice, or there is no judgment at all.
        """
        queries: dict[str, int] = {}
        documents: dict[str, int] = {}
        rows: list[tuple[int, int, int]] = []
        seen: set[tuple[int, int]] = set()
        for query_id, document_id, grade in triples:
            pair = (
                queries.setdefault(query_id, len(queries)),
                documents.setdefault(document_id, len(documents)),
            )
            if pair in seen:
                raise InputError(
                    f"query {query_id!r} judges document {document_id!r} twice: keep one line"
                )
            seen.add(pair)
            rows.append((*pair, grade))
        if not rows:
            raise InputError("the qrels hold no judgment")
        table = np.array(rows, dtype=np.int64)
        return cls(
            tuple(queries),
            tuple(documents),
            table[:, 0].astype(np.int32),
            table[:, 1].astype(np.int32),
            table[:, 2].copy(),
        )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Mapping[str, int]]) -> Qrels:
        """Build from ``{query id: {document id: grade}}``."""
        return cls.from_triples(
            (query, document, _grade(grade))
            for query, judged in mapping.items()
            for document, grade in judged.items()
        )

    @classmethod
    def from_file(cls, path: str | Path) -> Qrels:
        """Read TREC qrels (query, iteration, document, grade) or BEIR's TSV with a header.

        Parameters
        ----------
        path : str or Path
            The file, plain or ``.gz``. A first line ``query-id corpus-id score`` marks BEIR's form.

        Raises
        ------
        InputError
            Naming file, line number, text and rule.
        """
        path = Path(path)
        first = next(iter(read_lines(path)), (0, ""))[1]
        if tuple(first.split()) == _BEIR_HEADER:
            return cls._read(path, 3, "query-id, corpus-id, score", beir=True)
        return cls._read(path, 4, "query, iteration, document, grade", beir=False)

    @classmethod
    def _read(cls, path: Path, columns: int, what: str, *, beir: bool) -> Qrels:
        triples: list[tuple[str, str, int]] = []
        seen: dict[tuple[str, str], int] = {}
        for number, line, fields in read_columns(path, columns, what, comments=not beir):
            if beir and number == 1:
                continue
            query_id, document_id = fields[0], fields[columns - 2]
            try:
                grade = _grade(whole_number(fields[-1]))
            except ValueError:
                rule = f"the grade {fields[-1]!r} is not a whole number of 64 bits"
                bad_line(path, number, line, rule)
            earlier = seen.setdefault((query_id, document_id), number)
            if earlier != number:
                rule = (
                    f"query {query_id!r} and document {document_id!r} were judged on line "
                    f"{earlier} already: keep one of the two"
                )
                bad_line(path, number, line, rule)
            triples.append((query_id, document_id, grade))
        if not triples:
            raise InputError(f"{path}: the qrels hold no judgment")
        return cls.from_triples(triples)

    def only_queries(self, keep: Iterable[str]) -> Qrels:
        """Return the judgments of some queries only."""
        wanted = set(keep)
        return Qrels.from_mapping({q: d for q, d in self.mapping.items() if q in wanted})

    @cached_property
    def mapping(self) -> dict[str, dict[str, int]]:
        """The judgments as ``{query id: {document id: grade}}``; do not change it."""
        result: dict[str, dict[str, int]] = {query_id: {} for query_id in self.query_ids}
        columns = (self.query.tolist(), self.document.tolist(), self.grade.tolist())
        for query, document, grade in zip(*columns, strict=True):
            result[self.query_ids[query]][self.document_ids[document]] = grade
        return result

    @cached_property
    def fingerprint(self) -> str:
        """A key of the content, whatever the order of the lines."""
        lines = sorted(
            f"{query}\t{document}\t{grade}"
            for query, judged in self.mapping.items()
            for document, grade in judged.items()
        )
        return fold_digests(lines)


def _grade(value: float) -> int:
    if not -(2**63) <= value < 2**63 or int(value) != value:  # NaN fails the first
        raise InputError(f"the grade {value!r} is not a whole number of 64 bits")
    return int(value)
