"""Folders in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from retrieval_eval.datasets.assemble import Query, UnknownDocuments, assemble
from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.corpus import Document, keep_corpus
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store, file_digest
from retrieval_eval.textfiles import (
    PACKED,
    bad_line,
    fits_column,
    read_jsonl,
    read_lines,
    unpacked_name,
)

__all__ = ["BeirFolder", "BeirParameters", "refuse_judgment"]


@dataclass(frozen=True)
class BeirParameters:
    """Parameters of :class:`BeirFolder`.

    Parameters
    ----------
    path : str
        The folder.
    split : str
        Which file of ``qrels/`` to use.
    unknown_documents : {'error', 'keep'}
        What to do with judgments of documents that are not in the corpus. Kept ones count as
        relevant documents that no run can find.
    """

    path: str
    split: str = "test"
    unknown_documents: UnknownDocuments = "error"


class BeirFolder(DatasetSource):
    """A folder in BEIR's layout (Thakur et al. 2021), each file plain, ``.gz`` or ``.zst``.

    A document's text is its title and its text, joined by a space. Numbers, text, true and false
    below ``metadata`` are its attributes. Queries without judgments are left out, and counted in
    the facts.
    """

    name: ClassVar[str] = "beir"
    Parameters: ClassVar[type[Any]] = BeirParameters

    def load(self, name: str, store: Store) -> Dataset:
        """Read the folder; every error names file and line."""
        own = self.parameters
        folder = Path(own.path)
        corpus_path, queries_path = _file(folder, "corpus"), _file(folder, "queries")
        qrels_path = _packed_or_not(folder / "qrels" / f"{own.split}.tsv")
        if not qrels_path.is_file():
            splits = {
                unpacked_name(path).removesuffix(".tsv") for path in (folder / "qrels").glob("*")
            }
            raise unknown_name("split", own.split, splits, str(folder / "qrels"))
        corpus = keep_corpus(
            store,
            {"source": self.name, "corpus": file_digest(corpus_path)},
            lambda: _documents(corpus_path),
            what=str(corpus_path),
        )
        return assemble(
            name,
            corpus,
            _queries(queries_path),
            Qrels.from_file(qrels_path),
            origins=(str(corpus_path), str(queries_path), str(qrels_path)),
            unknown_documents=own.unknown_documents,
            refuse=lambda column, key, rule: refuse_judgment(qrels_path, column, key, rule),
            facts={"split": own.split},
        )


def _packed_or_not(path: Path) -> Path:
    found = (path.with_name(path.name + suffix) for suffix in ("", *PACKED))
    return next((one for one in found if one.is_file()), path)


def _file(folder: Path, what: str) -> Path:
    path = _packed_or_not(folder / f"{what}.jsonl")
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such file; BEIR's layout is corpus.jsonl, queries.jsonl and "
            "qrels/SPLIT.tsv in one folder, each plain, .gz or .zst"
        )
    return path


def _documents(path: Path) -> Iterator[Document]:
    for number, record in read_jsonl(path, required=("_id", "text")):
        key, title = record["_id"], record.get("title")
        if not fits_column(key):
            bad_line(path, number, str(record), f"the id {key!r} is empty or holds white space")
        text = f"{title} {record['text']}".strip() if title else record["text"]
        found = record.get("metadata")
        yield Document(key, text, found if isinstance(found, dict) else {}, f"{path}:{number}")


def _queries(path: Path) -> dict[str, Query]:
    queries: dict[str, Query] = {}
    for number, record in read_jsonl(path, required=("_id", "text")):
        key = record["_id"]
        if key in queries:
            bad_line(path, number, str(record), f"the query id {key!r} occurs twice")
        queries[key] = Query(record["text"], f"{path}:{number}")
    return queries


def refuse_judgment(path: Path, column: int, key: str, rule: str) -> None:
    """Raise the error for the first line that names an id, in a file of three columns or four."""
    position = 0 if column == 0 else -2
    for number, line in read_lines(path):
        fields = line.split()
        if len(fields) > 2 and fields[position] == key:
            bad_line(path, number, line, rule)
