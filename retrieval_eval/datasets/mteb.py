"""Folders as retrieval datasets lie on Hugging Face, those of MTEB above all: parquet by config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NoReturn

import polars as pl

from retrieval_eval.datasets.assemble import (
    Query,
    RepeatedJudgments,
    UnknownDocuments,
    assemble,
    judgments,
)
from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.beir import refuse_judgment
from retrieval_eval.datasets.corpus import Document, keep_corpus
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.formats.columns import QRELS
from retrieval_eval.formats.records import pick_names
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store, file_digest
from retrieval_eval.textfiles import bad_line, fits_column, read_jsonl, read_lines, unpacked_name

__all__ = ["MtebFolder", "MtebParameters"]

_IDS = ("_id", "id")
_ROWS = 8192
_SHARD = re.compile(r"(?P<split>.+?)(-\d+-of-\d+)?\.(parquet|jsonl|tsv)(\.gz|\.zst)?")
_JUDGED = ("default", "qrels", "data")

Configs = dict[str, dict[str, list[Path]]]


@dataclass(frozen=True)
class MtebParameters:
    """Parameters of :class:`MtebFolder`.

    Parameters
    ----------
    path : str
        The folder, as it was downloaded.
    split : str
        Which split of the judgments to use.
    subset : str
        Which language or part, where the configs are called ``de-corpus``, ``de-queries`` and
        ``de-qrels``, or ``corpus``, ``queries`` and ``de``; empty where there is one.
    attributes : str
        Columns of the corpus to filter on, as ``lang, year``: numbers, text, true and false.
    repeated_judgments : {'error', 'highest'}
        What to do with a document judged more than once for a query.
    unknown_documents : {'error', 'keep'}
        What to do with judgments of documents that are not in the corpus. Kept ones count as
        relevant documents that no run can find.
    """

    path: str
    split: str = "test"
    subset: str = ""
    attributes: str = ""
    repeated_judgments: RepeatedJudgments = "error"
    unknown_documents: UnknownDocuments = "error"


class MtebFolder(DatasetSource):
    """A retrieval dataset in the layout that MTEB uses on Hugging Face, from the disk.

    Three configs: ``corpus`` (columns ``_id`` or ``id``, ``text``, and ``title`` if there is one),
    ``queries`` (``_id`` or ``id``, ``text``) and ``default``, ``qrels`` or ``data`` (``query-id``,
    ``corpus-id``, ``score``). Which files belong to a config is what ``configs:`` at the head of
    README.md says; without it, those in the folder of its name, such as
    ``corpus/corpus-00000-of-00002.parquet`` or ``qrels/test.jsonl``, and ``corpus.jsonl`` beside
    them. Parquet and JSON lines are read, shards in the order of their names, and judgments from
    TSV too; parquet by rows, of which memory holds one group. Of several splits of the corpus or
    the queries, that of the judgments' name is taken.

    A document's text is its title and its text, joined by a space. Ids that are integers become
    their digits. Queries without judgments are left out, and counted in the facts.
    """

    name: ClassVar[str] = "mteb"
    Parameters: ClassVar[type[Any]] = MtebParameters

    def load(self, name: str, store: Store) -> Dataset:
        """Read the folder; every error names file, and line or row (from 0)."""
        own = self.parameters
        folder = Path(own.path)
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder")
        configs = _configs(folder)
        subset = own.subset
        judged = _pick(folder, configs, _candidates("qrels", subset), subset)
        if own.split not in configs[judged]:
            raise unknown_name("split", own.split, configs[judged], f"{folder}, config {judged!r}")
        qrels_files = configs[judged][own.split]
        corpus_files, query_files = (
            _split(folder, configs, _pick(folder, configs, _candidates(role, subset), subset), own)
            for role in ("corpus", "queries")
        )
        qrels = _qrels(qrels_files, own.repeated_judgments)
        queries = _queries(query_files)
        attributes = tuple(one.strip() for one in own.attributes.split(",") if one.strip())
        corpus = keep_corpus(
            store,
            {
                "source": self.name,
                "files": [[_form(path), file_digest(path)] for path in corpus_files],
                "attributes": list(attributes),
            },
            lambda: _documents(corpus_files, attributes),
            what=_named(corpus_files),
        )
        return assemble(
            name,
            corpus,
            queries,
            qrels,
            origins=(_named(corpus_files), _named(query_files), _named(qrels_files)),
            unknown_documents=own.unknown_documents,
            refuse=lambda column, key, rule: _refuse(qrels_files, column, key, rule),
            facts={"split": own.split, "subset": subset},
        )


# which files


def _configs(folder: Path) -> Configs:
    """List the files of each config and split, as the README says, or else as they lie there."""
    readme = folder / "README.md"
    declared = _declared(readme) if readme.is_file() else None
    if not declared:
        return _as_they_lie(folder)
    configs: Configs = {}
    for position, one in enumerate(declared):
        if not isinstance(one, dict) or not isinstance(one.get("config_name"), str):
            raise InputError(f"{readme}: configs: entry {position + 1} has no config_name")
        where = f"{readme}: config {one['config_name']!r}"
        splits = configs.setdefault(one["config_name"], {})
        for split, pattern in _patterns(one.get("data_files"), where):
            files = _matching(folder, one.get("data_dir") or "", pattern, where)
            splits.setdefault(split or _split_of(files), []).extend(files)
    return configs


def _declared(readme: Path) -> Any:
    import yaml

    lines = (line for _, line in read_lines(readme))
    if next(lines, "").strip() != "---":
        return None
    head = []
    for line in lines:
        if line.strip() == "---":
            break
        head.append(line)
    try:
        found = yaml.safe_load("\n".join(head))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{readme}: what stands above is not valid YAML: {reason}") from None
    configs = found.get("configs") if isinstance(found, dict) else None
    if configs is not None and not isinstance(configs, list):
        raise InputError(f"{readme}: configs must be a list of config_name and data_files")
    return configs


def _patterns(data_files: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield (split or nothing, pattern) in each of the forms that the field may have."""
    entries = data_files if isinstance(data_files, list) else [data_files]
    for entry in entries:
        pairs: list[tuple[Any, Any]]
        if isinstance(entry, Mapping) and "path" in entry:
            pairs = [(entry.get("split") or "", entry["path"])]
        elif isinstance(entry, Mapping):
            pairs = list(entry.items())
        else:
            pairs = [("", entry)]
        for split, paths in pairs:
            for path in paths if isinstance(paths, list) else [paths]:
                if not isinstance(path, str) or not path:
                    raise InputError(f"{where}: data_files must be paths, found {path!r}")
                yield str(split), path


def _matching(folder: Path, data_dir: str, pattern: str, where: str) -> list[Path]:
    parts = PurePosixPath(data_dir, pattern)
    if parts.is_absolute() or ".." in parts.parts or "://" in pattern:
        raise InputError(f"{where}: {pattern!r} lies outside of the folder")
    found = sorted(path for path in folder.glob(str(parts)) if path.is_file())
    if not found:
        raise InputError(f"{where}: no file answers to {str(parts)!r}: was all of it downloaded?")
    for path in found:
        if not _SHARD.fullmatch(path.name):
            raise InputError(f"{path}: is neither .parquet nor .jsonl (plain, .gz or .zst)")
    return found


def _split_of(files: list[Path]) -> str:
    match = _SHARD.fullmatch(files[0].name)
    return match["split"] if match else files[0].stem


def _as_they_lie(folder: Path) -> Configs:
    configs: Configs = {}
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))):
        match = _SHARD.fullmatch(path.name)
        if match and path.is_file():
            config = match["split"] if path.parent == folder else path.parent.name
            configs.setdefault(config, {}).setdefault(match["split"], []).append(path)
    return configs


def _candidates(role: str, subset: str) -> list[str]:
    if not subset:
        return list(_JUDGED) if role == "qrels" else [role]
    # A corpus and queries may serve all subsets; judgments are of one.
    alone = subset if role == "qrels" else role
    return [f"{subset}-{role}", f"{role}-{subset}", alone]


def _pick(folder: Path, configs: Configs, names: list[str], subset: str) -> str:
    found = next((name for name in names if configs.get(name)), None)
    if found is not None:
        return found
    subsets = {name.removesuffix("-qrels") for name in configs if name.endswith("-qrels")}
    if subset:
        known = subsets or {*configs} - {"corpus", "queries", *_JUDGED}
        raise unknown_name("subset", subset, known, str(folder))
    hint = f"; set subset to one of {', '.join(sorted(subsets))}" if subsets else ""
    shown = ", ".join(sorted(configs)) or "none"
    raise InputError(
        f"{folder}: there is no config {' or '.join(names)} (found: {shown}){hint}; the layout is "
        "corpus/, queries/ and qrels/ (or default/) with .parquet or .jsonl files"
    )


def _split(folder: Path, configs: Configs, config: str, own: MtebParameters) -> list[Path]:
    splits = configs[config]
    for name in (own.split, own.subset, config):
        if name in splits:
            return splits[name]
    if len(splits) == 1:
        return next(iter(splits.values()))
    raise unknown_name("split", own.split, splits, f"{folder}, config {config!r}")


# what is in them


def _form(path: Path) -> str:
    return Path(unpacked_name(path)).suffix.removeprefix(".")


def _named(files: list[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _rows(
    path: Path, need: tuple[str, ...], maybe: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield (place, values) of each row: an id, then what is needed, then what may be there."""
    if _form(path) == "jsonl":
        for number, record in read_jsonl(path, required=()):
            key = next((name for name in _IDS if name in record), "_id")
            for name in (key, *need):
                if record.get(name) is None:
                    bad_line(path, number, str(record), f"there is no {name!r}")
            yield f"{path}:{number}", tuple(record.get(name) for name in (key, *need, *maybe))
        return
    if _form(path) != "parquet":
        raise InputError(f"{path}: is neither .parquet nor .jsonl (plain, .gz or .zst)")
    try:
        columns = list(pl.read_parquet_schema(path))
        key = next((name for name in _IDS if name in columns), "_id")
        for name in (key, *need):
            if name not in columns:
                raise unknown_name("column", name, columns, str(path))
        wanted = [key, *need, *(name for name in maybe if name in columns)]
        places = [wanted.index(name) if name in wanted else -1 for name in (key, *need, *maybe)]
        table = pl.scan_parquet(path, glob=False).select(wanted)
        n = int(table.select(pl.len()).collect().item())
        for start in range(0, n, _ROWS):
            batch = table.slice(start, _ROWS).collect()
            for row, values in enumerate(batch.iter_rows(), start=start):
                yield f"{path}, row {row}", tuple((*values, None)[place] for place in places)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        _unreadable(path, error)


def _unreadable(path: Path, error: BaseException) -> NoReturn:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise InputError(f"{path}: not a readable parquet file: {reason}") from None


def _id(place: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not fits_column(value):
        raise InputError(f"{place}: the id {value!r} is no id: text without white space, or digits")
    return value


def _text(place: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{place}: {name!r} holds {type(value).__name__}, and no text")
    return value


def _documents(files: list[Path], attributes: tuple[str, ...]) -> Iterator[Document]:
    for path in files:
        for place, (key, text, title, *values) in _rows(path, ("text",), ("title", *attributes)):
            body = _text(place, "text", text)
            if title:
                body = f"{_text(place, 'title', title)} {body}".strip()
            found = dict(zip(attributes, values, strict=True))
            for name, value in found.items():
                if value is not None and not isinstance(value, (bool, int, float, str)):
                    raise InputError(
                        f"{place}: {name!r} holds {type(value).__name__}: attributes are numbers, "
                        "text, true and false"
                    )
            yield Document(_id(place, key), body, found, place)


def _queries(files: list[Path]) -> dict[str, Query]:
    queries: dict[str, Query] = {}
    for path in files:
        for place, (key, text) in _rows(path, ("text",)):
            query = _id(place, key)
            if query in queries:
                raise InputError(
                    f"{place}: the query id {query!r} occurs twice, first at {queries[query].place}"
                )
            queries[query] = Query(_text(place, "text", text), place)
    return queries


def _qrels(files: list[Path], repeated: RepeatedJudgments) -> Qrels:
    parts = [_judgments(path) for path in files]
    return judgments(pl.concat(parts), repeated, _named(files))


def _judgments(path: Path) -> pl.DataFrame:
    """Read one file of judgments; ids that are integers become text."""
    if _form(path) == "parquet":
        try:
            names = pick_names(list(pl.read_parquet_schema(path)), QRELS, str(path))
            table = pl.read_parquet(path, columns=names, glob=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            _unreadable(path, error)
    elif _form(path) == "jsonl":
        records = [record for _, record in read_jsonl(path, required=())]
        names = pick_names(list(records[0]) if records else [], QRELS, f"{path}:1")
        columns = {name: [one.get(name) for one in records] for name in names}
        try:
            table = pl.DataFrame(columns, strict=True)
        except (TypeError, pl.exceptions.PolarsError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: values of more than one type: {reason}") from None
    else:
        return Qrels.from_file(path).to_frame()
    query, document, grade = (table[name] for name in names)
    texts = [
        column.cast(pl.String) if column.dtype.is_integer() else column
        for column in (query, document)
    ]
    return pl.DataFrame(
        [
            texts[0].alias("query_id"),
            texts[1].alias("doc_id"),
            grade.alias("relevance"),
        ]
    )


def _refuse(files: list[Path], column: int, key: str, rule: str) -> None:
    for path in files:
        if _form(path) == "tsv":
            refuse_judgment(path, column, key, rule)
