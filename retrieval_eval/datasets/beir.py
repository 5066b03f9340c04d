"""Folders in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store
from retrieval_eval.textfiles import bad_line, read_jsonl, read_lines

__all__ = ["BeirFolder", "BeirParameters"]


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
    unknown_documents: Literal["error", "keep"] = "error"


class BeirFolder(DatasetSource):
    """A folder in BEIR's layout (Thakur et al. 2021).

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
        qrels_path = folder / "qrels" / f"{own.split}.tsv"
        corpus_path, queries_path = folder / "corpus.jsonl", folder / "queries.jsonl"
        for path in (corpus_path, queries_path):
            if not path.is_file():
                raise InputError(
                    f"{path}: there is no such file; BEIR's layout is corpus.jsonl, "
                    "queries.jsonl and qrels/SPLIT.tsv in one folder"
                )
        if not qrels_path.is_file():
            splits = [path.stem for path in (folder / "qrels").glob("*.tsv")]
            raise unknown_name("split", own.split, splits, str(folder / "qrels"))
        qrels = Qrels.from_file(qrels_path)
        metadata: dict[str, dict[str, Any]] = {}
        documents = _read_texts(corpus_path, metadata)
        if not documents:
            raise InputError(f"{corpus_path}: the corpus is empty")
        queries = _read_texts(queries_path)
        judged = [query_id for query_id in queries if query_id in qrels.mapping]
        _refuse_unknown(qrels_path, qrels, 0, queries, f"query is not in {queries_path}", "")
        if own.unknown_documents == "error":
            way_out = (
                ": remove the line, or set unknown_documents: keep to count such documents as "
                "relevant but never found"
            )
            _refuse_unknown(
                qrels_path, qrels, 1, documents, f"document is not in {corpus_path}", way_out
            )
        for query_id in judged:
            if not queries[query_id].strip():
                _empty_query(queries_path, query_id)
        return Dataset(
            name=name,
            document_ids=tuple(documents),
            documents=tuple(documents.values()),
            query_ids=tuple(judged),
            queries=tuple(queries[query_id] for query_id in judged),
            qrels=qrels,
            attributes=_attributes(metadata, documents),
            facts={"split": own.split, "queries_without_judgments": len(queries) - len(judged)},
        )


def _read_texts(path: Path, metadata: dict[str, dict[str, Any]] | None = None) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, record in read_jsonl(path, required=("_id", "text")):
        key = record["_id"]
        if key in texts:
            bad_line(path, number, str(record), f"the id {key!r} occurs twice")
        title = record.get("title")
        texts[key] = f"{title} {record['text']}".strip() if title else record["text"]
        found = record.get("metadata")
        if metadata is not None and isinstance(found, dict) and found:
            metadata[key] = found
    return texts


def _attributes(
    metadata: dict[str, dict[str, Any]], documents: Iterable[str]
) -> dict[str, list[Any]]:
    """Return the keys whose values are of one type that filters know, None where there is none."""
    kinds: dict[str, set[type]] = {}
    for values in metadata.values():
        for name, value in values.items():
            if value is not None:
                kinds.setdefault(name, set()).add(type(value))
    usable = [name for name, found in kinds.items() if name.isidentifier() and _one_kind(found)]
    return {name: [metadata.get(key, {}).get(name) for key in documents] for name in usable}


def _one_kind(found: set[type]) -> bool:
    return found <= {int, float} or (len(found) == 1 and found <= {bool, str})


def _refuse_unknown(
    path: Path, qrels: Qrels, column: int, known: dict[str, str], rule: str, way_out: str
) -> None:
    ids = qrels.query_ids if column == 0 else qrels.document_ids
    unknown = {i for i in ids if i not in known}
    if not unknown:
        return
    position = 0 if column == 0 else -2
    for number, line in read_lines(path):
        fields = line.split()
        if len(fields) > 2 and fields[position] in unknown:
            more = f" ({len(unknown)} ids in all)" if len(unknown) > 1 else ""
            bad_line(path, number, line, f"{fields[position]!r}: {rule}{more}{way_out}")


def _empty_query(path: Path, query_id: str) -> None:
    for number, record in read_jsonl(path, required=("_id", "text")):
        if record["_id"] == query_id:
            bad_line(path, number, str(record), f"the judged query {query_id!r} has no text")
