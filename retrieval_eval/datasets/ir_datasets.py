"""Collections of the library ir_datasets, under the ids of its catalogue."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from retrieval_eval.datasets.assemble import (
    Query,
    RepeatedJudgments,
    UnknownDocuments,
    assemble,
    judgments,
)
from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.corpus import Document, keep_corpus
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store, fold_digests

__all__ = ["IrDatasets", "IrDatasetsParameters"]

_PARTS = {"docs": "documents", "queries": "queries", "qrels": "judgments"}
_BATCH = 64
_SHOWN = 300
_NO_ADVICE = ("[", "If you have a local copy")  # stages, and what the error says by itself


@dataclass(frozen=True)
class IrDatasetsParameters:
    """Parameters of :class:`IrDatasets`.

    Parameters
    ----------
    id : str
        As in the library's catalogue: ``cranfield``, ``beir/scifact/test``,
        ``msmarco-passage/trec-dl-2019/judged``.
    document_fields, query_fields : str
        Fields to join by a space, as ``title, abstract``; empty for the text that the library
        itself takes (its ``default_text()``).
    attributes : str
        Fields of the documents to filter on, as ``year, lang``: numbers, text, true and false.
    repeated_judgments : {'error', 'highest'}
        What to do with a document judged more than once for a query, as where judgments are of
        subtopics or passages: refuse it, or take its highest grade.
    unknown_documents : {'error', 'keep'}
        What to do with judgments of documents that are not in the corpus. Kept ones count as
        relevant documents that no run can find.
    """

    id: str
    document_fields: str = ""
    query_fields: str = ""
    attributes: str = ""
    repeated_judgments: RepeatedJudgments = "error"
    unknown_documents: UnknownDocuments = "error"


class IrDatasets(DatasetSource):
    """Any collection of ir_datasets (MacAvaney et al. 2021) with documents, queries and judgments.

    The library downloads what it needs into ``$IR_DATASETS_HOME`` (``~/.ir_datasets`` by default)
    and checks it there; where it cannot, the error names the files and where to put them.

    The corpus is kept in the store under the id that the library gives its documents (splits of a
    collection share it), the library's version, the fields that make up the text, and names, sizes
    and times of change of the files that the library reads its documents from; so a collection that
    was replaced on the disk is read again. A few collections (C4, TREC CAsT, TREC ToT 2025) do not
    tell where their documents lie, and are known by id and version alone.
    """

    name: ClassVar[str] = "ir-datasets"
    Parameters: ClassVar[type[Any]] = IrDatasetsParameters
    requires: ClassVar[Mapping[str, str]] = {"ir_datasets": "ir-datasets"}

    def load(self, name: str, store: Store) -> Dataset:
        """Read the collection; every error names it, and the part that is wrong.

        Raises
        ------
        InputError
            If the id is unknown, or has no documents, queries or judgments; if a file can be
            neither found nor downloaded; or if the parts do not fit together.
        """
        own = self.parameters
        with _guarded(f"ir_datasets: {own.id!r}"):
            import ir_datasets

            found = _look_up(own.id)
        document = _Fields.of(found, own.id, "docs", own.document_fields, own.attributes)
        query = _Fields.of(found, own.id, "queries", own.query_fields)
        origins = tuple(f"ir_datasets {own.id!r}, {part}" for part in _PARTS.values())
        documents_of, queries_of, qrels_of = origins
        # The small parts come first: what is wrong with them shows before hours of downloading.
        qrels = _qrels(found, own.repeated_judgments, qrels_of)
        queries = _queries(found, query, queries_of)
        with _guarded(documents_of, found):
            parent, files = ir_datasets.docs_parent_id(own.id), _state_of_documents(found)
        corpus = keep_corpus(
            store,
            {
                "source": self.name,
                "documents": parent,
                "library": ir_datasets.__version__,
                "fields": list(document.names),
                "attributes": list(document.attributes),
                "files": files,
            },
            lambda: _documents(found, document, documents_of),
            what=documents_of,
        )
        return assemble(
            name,
            corpus,
            queries,
            qrels,
            origins=(documents_of, queries_of, qrels_of),
            unknown_documents=own.unknown_documents,
            facts={"collection": own.id, "ir_datasets": ir_datasets.__version__},
        )


@contextlib.contextmanager
def _guarded(what: str, found: Any = None) -> Iterator[None]:
    """Call the library: what it prints, logs and raises becomes one error, or nothing."""
    messages: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        messages.append(" ".join(record.getMessage().split()))
        return False

    logger = logging.getLogger("ir_datasets")
    logger.addFilter(keep)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  the library raises whatever its many readers raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        said = "; ".join(m for m in messages if not m.startswith(_NO_ADVICE))
        missing = _missing_files(found)
        parts = (f"{what}: cannot be read: {_cut(reason)}", _cut(said), missing)
        raise InputError("; ".join(filter(None, parts))) from None
    finally:
        logger.removeFilter(keep)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _missing_files(found: Any) -> str:
    """Say which downloads of a collection are not on the disk, and where the library wants them."""
    parts = [getattr(found, f"{part}_handler", None) for part in _PARTS]
    wanted = []
    for one in _downloads([part() for part in parts if part], set()):
        local = (mirror._path for mirror in one.mirrors if hasattr(mirror, "_path"))
        place, md5 = one._cache_path or next(local, None), one.expected_md5
        condition = ""
        if not place and md5:  # small files are looked for only if that is asked for
            from ir_datasets.util import home_path

            place = home_path() / "downloads" / md5
            condition = " with IR_DATASETS_SMALL_FILE_SIZE=0 in the environment"
        if place and not Path(place).exists():
            urls = [mirror.url for mirror in one.mirrors if hasattr(mirror, "url")]
            checksum = f" (md5 {md5})" if md5 else ""
            file = urls[0] if urls else "what it names"
            wanted.append(f"{file}{checksum} as {place}{condition}")
    return f"put {', and '.join(dict.fromkeys(wanted))}" if wanted else ""


def _downloads(thing: Any, seen: set[int]) -> Iterator[Any]:
    """Find the downloads that a handler reads from, through whatever unpacks or caches them."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, (list, tuple)):
        for one in thing:
            yield from _downloads(one, seen)
    elif hasattr(thing, "__dict__") and type(thing).__module__.startswith("ir_datasets."):
        kept = vars(thing).get("_path")
        if kept and "_streamer" in vars(thing) and Path(kept).is_file():
            return  # was downloaded and unpacked before
        if "mirrors" in vars(thing):
            yield thing
        for one in list(vars(thing).values()):
            yield from _downloads(one, seen)


def _look_up(wanted: str) -> Any:
    import ir_datasets

    try:
        found = ir_datasets.load(wanted)
    except KeyError:
        raise _unknown_id(wanted, list(ir_datasets.registry)) from None
    missing = [part for part in _PARTS if not getattr(found, f"has_{part}")()]
    if missing:
        has = [_PARTS[part] for part in _PARTS if part not in missing] or ["none of the three"]
        below = [
            one
            for one in ir_datasets.registry
            if one.startswith(f"{wanted}/")
            and all(getattr(ir_datasets.registry[one], f"has_{part}")() for part in _PARTS)
        ]
        hint = f"; complete are {', '.join(below[:20])}" if below else ""
        lacks = " and no ".join(_PARTS[part] for part in missing)
        raise InputError(
            f"ir_datasets: {wanted!r} has no {lacks} (it has {' and '.join(has)}), and a dataset "
            f"needs documents, queries and judgments{hint}"
        )
    return found


def _unknown_id(wanted: str, ids: Sequence[str]) -> InputError:
    """Name what comes close, out of hundreds of ids: those of the same family, or alike."""
    parts = wanted.split("/")
    for n in range(len(parts) - 1, 0, -1):
        family = "/".join(parts[:n])
        near = [one for one in ids if one == family or one.startswith(f"{family}/")]
        if near:
            return unknown_name(f"id below {family!r}", wanted, near, "ir_datasets")
    alike = difflib.get_close_matches(wanted, ids, n=5)
    names = alike or sorted({one.partition("/")[0] for one in ids})
    return unknown_name("id", wanted, names, "ir_datasets")


@dataclass(frozen=True)
class _Fields:
    """What is taken of each record: the text of some fields, or the library's own choice."""

    names: tuple[str, ...]
    attributes: tuple[str, ...]

    @classmethod
    def of(cls, found: Any, wanted: str, part: str, names: str, attributes: str = "") -> _Fields:
        kind = getattr(found, f"{part}_cls")()
        known = list(kind._fields)
        chosen = tuple(one.strip() for one in names.split(",") if one.strip())
        filtered = tuple(one.strip() for one in attributes.split(",") if one.strip())
        where = f"ir_datasets {wanted!r}, {_PARTS[part]}"
        for one in (*chosen, *filtered):
            if one not in known:
                raise unknown_name("field", one, known, where)
        if not chosen and not hasattr(kind, "default_text"):
            if "text" not in known:
                parameter = "document_fields" if part == "docs" else "query_fields"
                raise InputError(
                    f"{where}: the library names no field as the text: set {parameter} to some of "
                    f"{', '.join(known)}"
                )
            chosen = ("text",)
        return cls(chosen, filtered)

    def text(self, record: Any, place: str) -> str:
        if not self.names:
            text = record.default_text()
            return str(text).strip() if text is not None else ""
        parts = []
        for name in self.names:
            value = getattr(record, name)
            if value is not None and not isinstance(value, str):
                raise InputError(
                    f"{place}: the field {name!r} holds {type(value).__name__}, and no text"
                )
            parts.append((value or "").strip())
        return " ".join(filter(None, parts))

    def filters(self, record: Any, place: str) -> dict[str, Any]:
        values = {name: getattr(record, name) for name in self.attributes}
        for name, value in values.items():
            if value is not None and not isinstance(value, (bool, int, float, str)):
                raise InputError(
                    f"{place}: the field {name!r} holds {type(value).__name__}: attributes are "
                    "numbers, text, true and false"
                )
        return values


def _state_of_documents(found: Any) -> str:
    """Return a key of the files that the documents are read from, which are fetched if need be."""
    if hasattr(found, "docs_path"):
        path = found.docs_path()
    else:
        try:
            kept = found.docs_store()
        except AttributeError:  # TREC CAsT's has none, although its documents can be read
            return ""
        if hasattr(kept, "build"):  # what reading the documents would do first
            kept.build()
        path = getattr(kept, "path", "")
    roots = [Path(one) for one in ([path] if isinstance(path, (str, os.PathLike)) else path)]
    return fold_digests(part for root in roots if root != Path() for part in _stamps(root))


def _stamps(root: Path) -> Iterator[str]:
    if root.is_file():
        files: Iterable[Path] = [root]
    else:
        walk = os.walk(root, followlinks=True)  # collections on other disks are linked in
        files = sorted(Path(folder, name) for folder, _, names in walk for name in names)
    for file in files:
        facts = file.stat()
        yield f"{file.relative_to(root).as_posix()} {facts.st_size} {facts.st_mtime_ns}"


def _records(read: Callable[[], Iterable[Any]], what: str, found: Any) -> Iterator[Any]:
    """Iterate over what the library reads, a batch at a time: nobody else runs guarded."""
    with _guarded(what, found):
        records = iter(read())
    while True:
        with _guarded(what, found):
            batch = list(itertools.islice(records, _BATCH))
        if not batch:
            return
        yield from batch


def _documents(found: Any, fields: _Fields, what: str) -> Iterator[Document]:
    for record in _records(found.docs_iter, what, found):
        place = f"{what}, {record.doc_id!r}"
        yield Document(
            record.doc_id, fields.text(record, place), fields.filters(record, place), place
        )


def _queries(found: Any, fields: _Fields, what: str) -> dict[str, Query]:
    queries: dict[str, Query] = {}
    for record in _records(found.queries_iter, what, found):
        place = f"{what}, {record.query_id!r}"
        if record.query_id in queries:
            raise InputError(f"{place}: the query id occurs twice")
        queries[record.query_id] = Query(fields.text(record, place), place)
    return queries


def _qrels(found: Any, repeated: RepeatedJudgments, what: str) -> Qrels:
    rows = [
        (record.query_id, record.doc_id, _grade(record.relevance, what))
        for record in _records(found.qrels_iter, what, found)
    ]
    schema = {"query_id": pl.String, "doc_id": pl.String, "relevance": pl.Int64}
    return judgments(pl.DataFrame(rows, schema=schema, orient="row"), repeated, what)


def _grade(value: Any, what: str) -> int:
    try:
        return int(value)  # one collection has its grades as text
    except (TypeError, ValueError):
        raise InputError(f"{what}: the grade {value!r} is not a whole number") from None
