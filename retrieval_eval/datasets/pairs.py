"""Pairs of a query and a document that answers it: all that many people have."""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import polars as pl

from retrieval_eval.datasets.assemble import Query, assemble
from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.corpus import Document, keep_corpus
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store, file_digest
from retrieval_eval.textfiles import bad_line, read_jsonl, read_lines, unpacked_name, whole_number

__all__ = ["PairsFile", "PairsParameters"]

_FORMS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "txt"}
_ROWS = 256


@dataclass(frozen=True)
class PairsParameters:
    """Parameters of :class:`PairsFile`.

    Parameters
    ----------
    path : str
        The pairs: ``.csv``, ``.tsv`` or ``.jsonl``.
    query, document : str
        Names of the columns or keys; without a header, their numbers from 1. Empty for ``query``
        and ``document``, or 1 and 2.
    score : str
        Column of the grade, a whole number; empty where every pair has grade 1.
    header : bool
        Whether the first row of a table names its columns.
    delimiter : str
        One character between the columns; empty for a comma, or a tab in ``.tsv``.
    corpus : str
        A file of more documents, which may be those of the pairs or others: a table or JSON lines
        again, or ``.txt`` with one in each line. Empty for none.
    corpus_column : str
        Column or key of a document there; empty for that of the pairs, or 1 without a header.
    """

    path: str
    query: str = ""
    document: str = ""
    score: str = ""
    header: bool = True
    delimiter: str = ""
    corpus: str = ""
    corpus_column: str = ""


class PairsFile(DatasetSource):
    """Pairs of a query and a document that is relevant for it; plain, ``.gz`` or ``.zst``.

    Each distinct text of a query is one query, each distinct text of a document one document,
    compared after white space at both ends is gone. Their ids count them in the order in which they
    come first, those of the pairs before those of `corpus`: ``q00000001``, ``d00000001``. In JSON
    lines, the key of the document may hold a list of texts.

    In a ``.csv`` a text in quotes may hold commas and line ends; in a ``.tsv`` quotes are text like
    any other. The facts count pairs, those that were repeated, and documents that nobody asked for.

    Without `corpus`, every document is the answer to some query. A corpus that also holds documents
    nobody asked for is harder to search, and closer to the corpus in use.
    """

    name: ClassVar[str] = "pairs"
    Parameters: ClassVar[type[Any]] = PairsParameters

    def load(self, name: str, store: Store) -> Dataset:
        """Read the file; every error names file and line."""
        own = self.parameters
        if len(own.delimiter) > 1 or own.delimiter in ('"', "\n", "\r"):
            raise InputError(f"dataset 'pairs': the delimiter {own.delimiter!r} is no separator")
        path = Path(own.path)
        pairs = _Table(path, own.header, own.delimiter)
        if pairs.form == "txt":
            raise InputError(f"{path}: pairs are .csv, .tsv or .jsonl (plain, .gz or .zst)")
        columns = [
            own.query or ("query" if pairs.named else "1"),
            own.document or ("document" if pairs.named else "2"),
        ]
        sources = [(pairs, columns[1])]
        if own.corpus:
            more = _Table(Path(own.corpus), own.header, own.delimiter)
            column = own.corpus_column or (columns[1] if more.named else "1")
            sources.append((more, column))
        for table, _ in sources:
            if not table.path.is_file():
                raise InputError(f"{table.path}: there is no such file")
        judged = _judge(pairs, [*columns, *filter(None, [own.score])])
        corpus = keep_corpus(
            store,
            {
                "source": self.name,
                "files": [
                    [file_digest(table.path), table.form, table.named, column, table.separator]
                    for table, column in sources
                ],
            },
            lambda: _documents(sources),
            what=own.path,
        )
        return assemble(
            name,
            corpus,
            judged.queries,
            judged.qrels(),
            origins=(own.path, own.path, own.path),
            facts={
                "pairs": judged.pairs,
                "pairs_repeated": judged.pairs - len(judged.grades),
                "documents_without_query": len(corpus.ids) - judged.documents,
            },
        )


class _Row(NamedTuple):
    line: int
    values: list[Any]


@dataclass(frozen=True)
class _Table:
    """A file of rows in one of the forms, and how to read some columns of it."""

    path: Path
    header: bool
    delimiter: str

    @property
    def form(self) -> str:
        suffix = Path(unpacked_name(self.path)).suffix.lower()
        if suffix not in _FORMS:
            raise InputError(
                f"{self.path}: the suffix says how it is read, and {suffix!r} is none of "
                f"{', '.join(_FORMS)} (plain, .gz or .zst)"
            )
        return _FORMS[suffix]

    @property
    def named(self) -> bool:
        return self.form == "jsonl" or (self.header and self.form != "txt")

    @property
    def separator(self) -> str:
        return self.delimiter or ("\t" if self.form == "tsv" else ",")

    def rows(self, columns: list[str]) -> Iterator[_Row]:
        """Yield line and values of each row."""
        if self.form == "jsonl":
            yield from self._objects(columns)
        elif self.form == "txt":
            lines = ((number, line) for number, line in read_lines(self.path) if line.strip())
            yield from (_Row(number, [line]) for number, line in lines)
        else:
            yield from self._cells(columns)

    def _objects(self, columns: list[str]) -> Iterator[_Row]:
        for number, record in read_jsonl(self.path, required=()):
            for name in columns:
                if name not in record:
                    raise unknown_name("key", name, record, f"{self.path}:{number}")
            yield _Row(number, [record[name] for name in columns])

    def _cells(self, columns: list[str]) -> Iterator[_Row]:
        rows = _separated(self.path, self.separator, quoted=self.form == "csv")
        first = next(rows, None)
        if first is None:
            return
        width = len(first.values)
        places = [self._place(name, first) for name in columns]
        if not self.named:
            yield _Row(first.line, [first.values[place] for place in places])
        for row in rows:
            if len(row.values) != width:
                rule = f"expected {width} columns as in the first row, found {len(row.values)}"
                bad_line(self.path, row.line, self.separator.join(row.values), rule)
            yield _Row(row.line, [row.values[place] for place in places])

    def _place(self, name: str, first: _Row) -> int:
        where = f"{self.path}:{first.line}"
        if self.named:
            header = [one.strip() for one in first.values]
            if header.count(name) > 1:
                raise InputError(f"{where}: the column {name!r} is there twice")
            if name not in header:
                raise unknown_name("column", name, header, where)
            return header.index(name)
        if not (name.isdecimal() and 0 < int(name) <= len(first.values)):
            raise InputError(
                f"{where}: {name!r} is no column: without a header, columns are numbers from 1 to "
                f"{len(first.values)}"
            )
        return int(name) - 1


def _separated(path: Path, separator: str, *, quoted: bool) -> Iterator[_Row]:
    """Yield the rows of a table, each with the line it starts in."""
    lines = (line for _, line in read_lines(path, keep_ends=True))
    if quoted:
        reader = csv.reader(lines, delimiter=separator, strict=True)
    else:
        reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    ended = False
    while not ended:
        batch: list[_Row] = []
        # The limit of 131,072 characters a field is the module's own, so it is lifted only while
        # nobody else can run.
        limit = csv.field_size_limit(sys.maxsize)
        try:
            while len(batch) < _ROWS and not ended:
                line = reader.line_num + 1
                values = next(reader, None)
                ended = values is None
                if values:
                    batch.append(_Row(line, values))
        except csv.Error as error:
            raise InputError(f"{path}:{line}: not valid CSV: {error}") from None
        finally:
            csv.field_size_limit(limit)
        yield from batch


def _texts(path: Path, line: int, name: str, value: Any) -> list[str]:
    """Return the texts of a cell; JSON may have several in a list."""
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise InputError(
                f"{path}:{line}: {name!r} must hold text, and holds {type(text).__name__}"
            )
    found = [text.strip() for text in texts]
    if not found or not all(found):
        raise InputError(f"{path}:{line}: {name!r} is empty")
    return found


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass
class _Judged:
    """Queries, and who judged which document; of the documents, their number alone."""

    queries: dict[str, Query] = field(default_factory=dict)
    grades: dict[tuple[int, int], int] = field(default_factory=dict)
    pairs: int = 0
    documents: int = 0

    def qrels(self) -> Qrels:
        columns = {
            "query_id": [_query_id(query) for query, _ in self.grades],
            "doc_id": [_document_id(document) for _, document in self.grades],
            "relevance": list(self.grades.values()),
        }
        return Qrels.from_frame(pl.DataFrame(columns))


def _query_id(number: int) -> str:
    return f"q{number:08d}"


def _document_id(number: int) -> str:
    return f"d{number:08d}"


def _judge(table: _Table, columns: list[str]) -> _Judged:
    judged = _Judged()
    path = table.path
    numbers: dict[str, int] = {}
    documents: dict[bytes, int] = {}
    for line, values in table.rows(columns):
        query, *more = _texts(path, line, columns[0], values[0])
        if more:
            raise InputError(f"{path}:{line}: {columns[0]!r} holds several queries: one for a pair")
        number = numbers.setdefault(query, len(numbers) + 1)
        if number > len(judged.queries):
            judged.queries[_query_id(number)] = Query(query, f"{path}:{line}")
        grade = _grade(path, line, columns[2], values[2]) if len(columns) > 2 else 1
        for text in _texts(path, line, columns[1], values[1]):
            document = documents.setdefault(_key(text), len(documents) + 1)
            earlier = judged.grades.setdefault((number, document), grade)
            if earlier != grade:
                raise InputError(
                    f"{path}:{line}: the pair came before with grade {earlier}, and here with "
                    f"{grade}: keep one of the two; the query is {query[:80]!r}"
                )
            judged.pairs += 1
    if not judged.pairs:
        raise InputError(f"{path}: there is no pair")
    judged.documents = len(documents)
    return judged


def _grade(path: Path, line: int, name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        grade = value
    else:
        try:
            grade = whole_number(value.strip())
        except (ValueError, AttributeError):
            raise InputError(f"{path}:{line}: {name!r} is {value!r}, no whole number") from None
    if not -(2**63) <= grade < 2**63:
        raise InputError(f"{path}:{line}: {name!r} is {value}, beyond 64 bits")
    return grade


def _documents(sources: list[tuple[_Table, str]]) -> Iterator[Document]:
    seen: set[bytes] = set()
    for table, column in sources:
        for line, (value,) in table.rows([column]):
            for text in _texts(table.path, line, column, value):
                key = _key(text)
                if key not in seen:
                    seen.add(key)
                    yield Document(_document_id(len(seen)), text, {}, f"{table.path}:{line}")
