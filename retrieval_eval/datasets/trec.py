"""Files of TREC and of what followed it: documents, topics and judgments."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from retrieval_eval.datasets.assemble import Query, UnknownDocuments, assemble
from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.beir import refuse_judgment
from retrieval_eval.datasets.corpus import Document, keep_corpus
from retrieval_eval.datasets.sgml import (
    Block,
    check_encoding,
    decode,
    field_texts,
    read_blocks,
    read_topics,
)
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store, file_digest
from retrieval_eval.textfiles import (
    bad_line,
    fits_column,
    open_bytes,
    read_jsonl,
    unpacked_name,
)

__all__ = ["TrecFiles", "TrecParameters"]

_CONTENT = ("text", "title", "headline", "head", "hl", "ttl", "lp", "leadpara")
_WEB = frozenset({"dochdr", "html", "body"})
_DOCNO = re.compile(r"<docno\s*>(.*?)</docno\s*>", re.IGNORECASE | re.DOTALL)
_NO_TEXT = ("docno", "docid", "docoldno", "dochdr", "script", "style")
_JSON_IDS = ("_id", "id", "docno", "docid", "doc_id")
_JSON_TEXTS = ("text", "contents", "body", "abstract")
_TOPIC_IDS = ("_id", "id", "query_id", "qid", "number", "num", "topic")
_TOPIC_FIELDS = (  # under all the names that they go by
    ("title", "query", "text"),
    ("desc", "description", "question"),
    ("narr", "narrative"),
)
_TABLES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
_LINES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class TrecParameters:
    """Parameters of :class:`TrecFiles`.

    Parameters
    ----------
    documents : str
        A file, or a folder of them.
    topics : str
        The file of queries.
    qrels : str
        The judgments, in TREC's four columns or any other form that qrels have.
    topic_fields : str
        Which fields of a topic make the query, joined in this order: ``title desc``.
    document_fields : str
        Which fields make a document's text, as ``head, text``; for a table, numbers of columns from
        1. Empty for the usual ones.
    document_id : str
        The key of the id in JSON lines; empty for ``_id``, ``id``, ``docno``, ``docid`` or
        ``doc_id``, whichever is there.
    pattern : str
        Which files of a folder are documents, as ``*.gz``; subfolders are walked through.
    encoding : str
        What documents and topics are written in; ``latin-1`` for older collections.
    unknown_documents : {'error', 'keep'}
        What to do with judgments of documents that are not in the corpus. Kept ones count as
        relevant documents that no run can find.
    """

    documents: str
    topics: str
    qrels: str
    topic_fields: str = "title"
    document_fields: str = ""
    document_id: str = ""
    pattern: str = "*"
    encoding: str = "utf-8"
    unknown_documents: UnknownDocuments = "error"


class TrecFiles(DatasetSource):
    """Documents, topics and judgments in TREC's forms; each file plain, ``.gz`` or ``.zst``.

    **Documents** stand between ``<DOC>`` and ``</DOC>`` with a ``<DOCNO>``. Their text is that of
    the fields TEXT, TITLE, HEADLINE, HEAD, HL, TTL, LP and LEADPARA in the order of the file, or of
    all but ids, headers and scripts where a document has none of them or is a web page; tags go,
    entities of HTML are replaced, white space becomes single spaces. A file ``.jsonl`` has objects
    instead (title, and text, contents, body or abstract), a ``.tsv`` an id and then text in each
    line, as MS MARCO's ``collection.tsv``.

    **Topics** are TREC's, with fields closed or not (``<num> Number: 301 <title> ... <desc>``) or
    in XML (``<topic number="1"><query>``); JSON lines; or a table of id and text. A field is found
    under its other names too: title, query or text; desc, description or question; narr or
    narrative. Ids stay as they are written: 051 is not 51.
    """

    name: ClassVar[str] = "trec"
    Parameters: ClassVar[type[Any]] = TrecParameters

    def load(self, name: str, store: Store) -> Dataset:
        """Read the files; every error names file and line."""
        own = self.parameters
        encoding = check_encoding(own.encoding, f"dataset {self.name!r}")
        topics_path, qrels_path = Path(own.topics), Path(own.qrels)
        qrels = Qrels.from_file(qrels_path)
        topics = _topics(topics_path, _names(own.topic_fields, "topic_fields"), encoding)
        files = _files(Path(own.documents), own.pattern)
        wanted = _names(own.document_fields) if own.document_fields.strip() else ()
        corpus = keep_corpus(
            store,
            {
                "source": self.name,
                "files": [[_form(path), file_digest(path)] for path in files],
                "fields": list(wanted),
                "document_id": own.document_id,
                "encoding": encoding,
            },
            lambda: _documents(files, wanted, own.document_id, encoding),
            what=own.documents,
        )
        return assemble(
            name,
            corpus,
            topics,
            qrels,
            origins=(own.documents, own.topics, own.qrels),
            unknown_documents=own.unknown_documents,
            refuse=lambda column, key, rule: _refuse(qrels_path, topics, column, key, rule),
            facts={"files": len(files), "topic_fields": own.topic_fields, "encoding": encoding},
        )


def _names(text: str, parameter: str = "document_fields") -> tuple[str, ...]:
    names = tuple(one for one in re.split(r"[,\s]+", text) if one)
    if not names:
        raise InputError(f"dataset 'trec': {parameter} is empty: name at least one field")
    return names


def _files(path: Path, pattern: str) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: there is no such file or folder")
        return [path]
    found = {one.relative_to(path).as_posix(): one for one in path.rglob(pattern) if one.is_file()}
    shown = [found[name] for name in sorted(found) if not name.startswith(".") and "/." not in name]
    if not shown:
        raise InputError(f"{path}: no file of the folder answers to the pattern {pattern!r}")
    return shown


def _form(path: Path) -> str:
    suffix = Path(unpacked_name(path)).suffix.lower()
    return "jsonl" if suffix in _LINES else "tsv" if suffix == ".tsv" else "sgml"


# documents


def _documents(
    files: list[Path], wanted: tuple[str, ...], document_id: str, encoding: str
) -> Iterator[Document]:
    seen: set[str] = set()  # fields that some document has
    for path in files:
        form = _form(path)
        if form == "sgml":
            yield from _marked_up(path, wanted, encoding, seen)
        elif form == "tsv":
            yield from _table(path, wanted, encoding)
            seen.update(wanted)
        else:
            yield from _json(path, wanted, document_id, seen)
    for name in wanted:
        if name not in seen:
            raise unknown_name("field (no document has it)", name, seen, str(files[0].parent))


def _marked_up(
    path: Path, wanted: tuple[str, ...], encoding: str, seen: set[str]
) -> Iterator[Document]:
    fields = frozenset(name.lower() for name in wanted) or frozenset(_CONTENT)
    for block in read_blocks(path):
        markup = decode(path, block, encoding)
        place = f"{path}:{block.line}"
        number = _DOCNO.search(markup)
        key = html.unescape(number[1]).strip() if number else ""
        if not fits_column(key):
            rule = "the document has no <DOCNO>"
            if key:
                rule = f"the id {key!r} holds white space"
            raise InputError(f"{place}: {rule}")
        text, tags = field_texts(markup, fields)
        seen.update(tags, (name for name in wanted if name.lower() in tags))
        if not wanted and (tags.isdisjoint(_CONTENT) or tags & _WEB):
            text = _all_but_headers(markup)
        yield Document(key, text, {}, place)


def _all_but_headers(markup: str) -> str:
    for name in _NO_TEXT:
        markup = re.sub(rf"(?is)<{name}\b[^<>]*>.*?</{name}\s*>", " ", markup)
    return field_texts(f"<whole-document>{markup}", ("whole-document",))[0]


def _table(path: Path, wanted: tuple[str, ...], encoding: str) -> Iterator[Document]:
    if not all(name.isdecimal() and int(name) for name in wanted):
        raise InputError(
            f"{path}: document_fields of a table are numbers of columns from 1, not "
            f"{', '.join(wanted)}"
        )
    chosen = [int(name) - 1 for name in wanted]
    for number, line in _lines(path, encoding):
        key, *rest = line.split("\t")
        if not rest:
            bad_line(path, number, line, "expected an id, a tab and text")
        if not fits_column(key):
            bad_line(path, number, line, f"the id {key!r} is empty or holds white space")
        columns = [key, *rest]
        if chosen and max(chosen) >= len(columns):
            bad_line(path, number, line, f"there is no column {max(chosen) + 1}")
        parts = [columns[one] for one in chosen] or rest
        text = " ".join(filter(None, (part.strip() for part in parts)))
        yield Document(key, text, {}, f"{path}:{number}")


def _json(
    path: Path, wanted: tuple[str, ...], document_id: str, seen: set[str]
) -> Iterator[Document]:
    for number, record in read_jsonl(path, required=(document_id,) if document_id else ()):
        seen.update(record)
        key = _value(path, number, record, (document_id,) if document_id else _JSON_IDS, "id")
        if not fits_column(key):
            bad_line(path, number, str(record), f"the id {key!r} is empty or holds white space")
        if wanted:
            parts = [_text(path, number, record, name) for name in wanted]
        else:
            body = _value(path, number, record, _JSON_TEXTS, "text, set document_fields")
            parts = [_text(path, number, record, "title"), body]
        yield Document(key, " ".join(filter(None, parts)), {}, f"{path}:{number}")


def _value(
    path: Path, number: int, record: dict[str, Any], names: tuple[str, ...], what: str
) -> str:
    name = next((name for name in names if name in record), None)
    if name is None:
        keys = ", ".join(map(repr, names))
        bad_line(path, number, str(record), f"there is no key for the {what}: none of {keys}")
    value = record[name]
    if not isinstance(value, str):
        bad_line(path, number, str(record), f"the key {name!r} must hold a string")
    return value


def _text(path: Path, number: int, record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        bad_line(path, number, str(record), f"the key {name!r} must hold a string")
    return value or ""


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    offset = 0
    with open_bytes(path) as stream:
        for number, raw in enumerate(stream, start=1):
            text = decode(path, Block(number, offset, raw), encoding)
            offset += len(raw)
            if number == 1:
                text = text.removeprefix("\ufeff")
            if text.strip():
                yield number, text.removesuffix("\n").removesuffix("\r")


# topics


def _topics(path: Path, wanted: tuple[str, ...], encoding: str) -> dict[str, Query]:
    queries: dict[str, Query] = {}
    seen: set[str] = set()
    filled: set[str] = set()
    for number, key, fields in _topic_reader(path)(path, encoding):
        place = f"{path}:{number}"
        if key in queries:
            raise InputError(
                f"{place}: the topic {key!r} occurs twice, first at {queries[key].place}"
            )
        if not fits_column(key):
            raise InputError(f"{place}: the topic's id {key!r} is empty or holds white space")
        seen.update(fields)
        parts = []
        for name in wanted:
            others = next((names for names in _TOPIC_FIELDS if name.lower() in names), ())
            known = next((one for one in (name, name.lower(), *others) if one in fields), None)
            if known is not None:
                filled.add(name)
                parts.append(fields[known])
        queries[key] = Query(" ".join(filter(None, parts)), place)
    if not queries:
        raise InputError(f"{path}: there is no topic")
    for name in wanted:
        if name not in filled:
            raise unknown_name("field (no topic has it)", name, seen, str(path))
    return queries


_Reader = Callable[[Path, str], Iterator[tuple[int, str, dict[str, str]]]]


def _topic_reader(path: Path) -> _Reader:
    if _form(path) == "jsonl":
        return _json_topics
    with open_bytes(path) as stream:
        start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return read_topics if start.startswith(b"<") else _table_topics


def _json_topics(path: Path, encoding: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    del encoding  # JSON is UTF-8
    for number, record in read_jsonl(path, required=()):
        key = _value(path, number, record, _TOPIC_IDS, "id")
        yield number, key, {name: one for name, one in record.items() if isinstance(one, str)}


def _table_topics(path: Path, encoding: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    for number, line in _lines(path, encoding):
        key, tab, text = line.partition("\t")
        if not tab:
            bad_line(path, number, line, "expected a topic between tags, or an id, a tab and text")
        yield number, key.strip(), {"text": text.strip()}


def _refuse(path: Path, topics: dict[str, Query], column: int, key: str, rule: str) -> None:
    if column == 0:
        bare = {topic.lstrip("0"): topic for topic in topics}
        other = bare.get(key.lstrip("0"))
        if other is not None:
            rule += f"; there it is {other!r}, and ids are compared as text: write both alike"
        elif topics:
            rule += f"; the first there is {next(iter(topics))!r}"
    if Path(unpacked_name(path)).suffix.lower() not in _TABLES:
        refuse_judgment(path, column, key, rule)
    raise InputError(f"{path}: {rule}")
