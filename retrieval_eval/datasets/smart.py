"""Collections in the form of the SMART system: records that begin with .I, fields with .T, .W."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from retrieval_eval.datasets.assemble import Query, UnknownDocuments, assemble
from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.corpus import Document, keep_corpus
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store, file_digest
from retrieval_eval.textfiles import bad_line, open_bytes, whole_number

__all__ = ["SmartFiles", "SmartParameters"]

_COLUMNS = ("query", "document", "grade", "ignored")
_FIELDS = "TWABKNXC"


@dataclass(frozen=True)
class SmartParameters:
    """Parameters of :class:`SmartFiles`.

    Parameters
    ----------
    documents, queries, judgments : str
        The files, each plain, ``.gz`` or ``.zst``.
    columns : str
        What the columns of the judgments are, in order: of ``query``, ``document``, ``grade`` and
        ``ignored``. Without a grade every line is a relevant document, of grade 1.
    grades : mapping of str to int
        The grade that a distributed one stands for, where the scale is another or runs backwards,
        as Cranfield's. Without an entry, a grade stays as it is.
    query_ids : {'file', 'order'}
        Whether judgments name queries as their file does, or by their place in it, from 1.
    document_fields, query_fields : str
        Which fields are the text, by their letters; in Cranfield, .W begins with the title again.
    encoding : str
        Of the files.
    unknown_documents : {'error', 'keep'}
        What to do with judgments of documents that are not in the corpus. Kept ones count as
        relevant documents that no run can find.
    """

    documents: str
    queries: str
    judgments: str
    columns: str = "query document"
    grades: dict[str | int, int] = field(default_factory=dict)
    query_ids: Literal["file", "order"] = "file"
    document_fields: str = "TW"
    query_fields: str = "TW"
    encoding: str = "latin-1"
    unknown_documents: UnknownDocuments = "error"


class SmartFiles(DatasetSource):
    """Three files as the SMART system has them: Cranfield, CISI, MED, CACM.

    Leading zeros of numbers are dropped from ids, since the files do not agree about them. A pair
    that is judged twice keeps its highest grade.
    """

    name: ClassVar[str] = "smart"
    Parameters: ClassVar[type[Any]] = SmartParameters

    def load(self, name: str, store: Store) -> Dataset:
        """Read the files; every error names file and line."""
        own = self.parameters
        documents, queries = Path(own.documents), Path(own.queries)
        for text in (own.document_fields, own.query_fields):
            if not text or set(text) - set(_FIELDS):
                raise InputError(
                    f"dataset 'smart': fields are {text!r}: they must be letters of {_FIELDS!r}"
                )
        if not documents.is_file():
            raise InputError(f"{documents}: there is no such file")
        corpus = keep_corpus(
            store,
            {
                "source": self.name,
                "corpus": file_digest(documents),
                "fields": own.document_fields,
                "encoding": own.encoding,
            },
            lambda: (
                Document(key, text, {}, f"{documents}:{line}")
                for key, text, line in _records(documents, own.document_fields, own.encoding)
            ),
            what=str(documents),
        )
        asked: dict[str, Query] = {}
        records = _records(queries, own.query_fields, own.encoding)
        for place, (key, text, line) in enumerate(records, start=1):
            used = key if own.query_ids == "file" else str(place)
            if used in asked:
                raise InputError(f"{queries}:{line}: the query id {used!r} occurs twice")
            asked[used] = Query(text, f"{queries}:{line}")
        path = Path(own.judgments)
        lines: dict[tuple[int, str], tuple[int, str]] = {}

        def refuse(column: int, key: str, rule: str) -> None:
            bad_line(path, *lines[column, key], rule)

        return assemble(
            name,
            corpus,
            asked,
            self._qrels(path, lines),
            origins=(str(documents), str(queries), str(path)),
            unknown_documents=own.unknown_documents,
            refuse=refuse,
        )

    def _qrels(self, path: Path, lines: dict[tuple[int, str], tuple[int, str]]) -> Qrels:
        """Read the judgments; `lines` takes the first place of each id, for messages."""
        columns = self.parameters.columns.split()
        for column in columns:
            if column not in _COLUMNS:
                raise unknown_name("column", column, _COLUMNS, "dataset 'smart', columns")
        if not {"query", "document"} <= {*columns}:
            raise InputError(
                f"dataset 'smart': columns is {self.parameters.columns!r}: it must name query and "
                "document"
            )
        meant = {str(key): grade for key, grade in self.parameters.grades.items()}
        found: dict[str, dict[str, int]] = {}
        for number, line in _lines(path, self.parameters.encoding):
            values = line.split()
            if not values:
                continue
            if len(values) < len(columns):
                bad_line(path, number, line, f"expected columns {' '.join(columns)}")
            record = dict(zip(columns, values, strict=False))
            query, document = _plain(record["query"]), _plain(record["document"])
            lines.setdefault((0, query), (number, line))
            lines.setdefault((1, document), (number, line))
            text = record.get("grade", "1")
            try:
                grade = meant[text] if text in meant else whole_number(text)
            except ValueError:
                bad_line(path, number, line, f"the grade {text!r} is no whole number")
            grades = found.setdefault(query, {})
            grades[document] = max(grade, grades.get(document, grade))
        if not found:
            raise InputError(f"{path}: there are no judgments")
        return Qrels.from_mapping(found)


def _plain(key: str) -> str:
    return key.lstrip("0") or "0" if key.isdigit() else key


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    with open_bytes(path) as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                yield number, raw.decode(encoding).rstrip("\r\n\x1a")
            except UnicodeDecodeError as error:
                bad_line(path, number, repr(raw), f"not {encoding} text ({error.reason})")
            except LookupError:
                raise InputError(f"dataset 'smart': unknown encoding {encoding!r}") from None


def _records(path: Path, fields: str, encoding: str) -> Iterator[tuple[str, str, int]]:
    """Yield (id, text, line) of each record; texts of the fields in the order that is asked for."""
    key, line = "", 0
    parts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for number, text in _lines(path, encoding):
        start = re.match(r"\.I\s+(\S+)\s*$", text)
        mark = re.match(rf"\.([{_FIELDS}])\s*$", text)
        if start:
            if key:
                yield key, _joined(parts, fields), line
            key, line, parts, current = _plain(start.group(1)), number, {}, None
        elif mark and key:
            current = parts.setdefault(mark.group(1), [])
        elif not key:
            if text.strip():
                bad_line(path, number, text, "expected a record, which begins with '.I ID'")
        elif current is not None:
            current.append(text)
        elif text.strip():
            bad_line(path, number, text, "expected a field, such as '.W'")
    if not key:
        raise InputError(f"{path}: there is no record; each begins with a line '.I ID'")
    yield key, _joined(parts, fields), line


def _joined(parts: dict[str, list[str]], fields: str) -> str:
    return " ".join(" ".join(line.split()) for one in fields for line in parts.get(one, [])).strip()
