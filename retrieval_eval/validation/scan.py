"""Tolerant reading: what is wrong with a line is noted, and the next line is read."""

from __future__ import annotations

import codecs
import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.datasets import Dataset
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.formats.columns import QRELS, read_number
from retrieval_eval.textfiles import PACKED, fits_column, open_bytes, unpacked_name
from retrieval_eval.validation.findings import Notes
from retrieval_eval.validation.near_duplicates import Shingles
from retrieval_eval.validation.wording import text_key, wording

__all__ = ["Folder", "Judged", "Texts", "Which", "find_folder", "scan_dataset", "scan_folder"]

Which = Literal["document", "query"]

_HEADER = [b"query-id", b"corpus-id", b"score"]
_SHOWN = 80
_CHUNK = 65536


@dataclass(frozen=True, eq=False)
class Texts:
    """Documents or queries: ids, keys of their texts and their lengths; no text itself.

    Parameters
    ----------
    which : {'document', 'query'}
        What they are.
    path : str
        Their file; empty if they came from elsewhere.
    ids : polars.Series of String
        One for each record that can be read; they may repeat.
    lines : ndarray of int64, shape (n,)
        Where each stands; 0 without a file.
    exact, wording, body : ndarray of uint64, shape (n,)
        Keys of the text as it is, of its words, and of its words without the title; 0 for nothing.
    characters : ndarray of int64, shape (n,)
        Length of the text without white space around it.
    words : polars.Series of String or None
        The words of each query; those of documents are not kept.
    bad_lines : frozenset of int
        Lines that cannot be read.
    complete : bool
        Whether the file could be read to its end.
    """

    which: Which
    path: str
    ids: pl.Series
    lines: NDArray[np.int64]
    exact: NDArray[np.uint64]
    wording: NDArray[np.uint64]
    body: NDArray[np.uint64]
    characters: NDArray[np.int64]
    words: pl.Series | None = None
    bad_lines: frozenset[int] = frozenset()
    complete: bool = True

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """Where a record stands."""
        if self.path:
            return f"{self.path}:{self.lines[row]}"
        return f"{self.which} {self.ids[row]!r}"


@dataclass(frozen=True, eq=False)
class Judged:
    """The judgments of one split.

    Parameters
    ----------
    split : str
        Its name.
    path : str
        Its file; empty if it came from elsewhere.
    table : polars.DataFrame
        Columns ``query``, ``document``, ``grade`` and ``line``, for each line that can be read.
    bad_lines : frozenset of int
        Lines that cannot be read.
    """

    split: str
    path: str
    table: pl.DataFrame
    bad_lines: frozenset[int] = frozenset()

    def place(self, row: Mapping[str, Any]) -> str:
        """Where a judgment stands, given its row of the table."""
        if self.path:
            return f"{self.path}:{row['line']}"
        return f"query {row['query']!r}, document {row['document']!r}"


class Folder(NamedTuple):
    """The files of a folder in BEIR's layout.

    Parameters
    ----------
    corpus, queries : Path
        Plain or packed.
    splits : mapping of str to Path
        Judgments by the name of their split.
    """

    corpus: Path
    queries: Path
    splits: dict[str, Path]


def find_folder(path: str | Path, splits: list[str] | None = None) -> Folder:
    """Find the files of a folder in BEIR's layout.

    Parameters
    ----------
    path : str or Path
        The folder.
    splits : list of str, optional
        Only these; all by default.

    Raises
    ------
    InputError
        If it is no such folder, or has no such split (with a suggestion).
    """
    folder = Path(path)
    found = {}
    for name in ("corpus", "queries"):
        candidates = [folder / f"{name}.jsonl{suffix}" for suffix in ("", *PACKED)]
        found[name] = next((one for one in candidates if one.is_file()), candidates[0])
        if not found[name].is_file():
            raise InputError(
                f"{found[name]}: there is no such file; BEIR's layout is corpus.jsonl, "
                "queries.jsonl and qrels/SPLIT.tsv in one folder, each plain, .gz or .zst"
            )
    known: dict[str, Path] = {}
    for suffix in ("", *PACKED):  # the order in which loading looks for them
        for one in sorted((folder / "qrels").glob(f"*.tsv{suffix}")):
            if one.is_file():
                known.setdefault(unpacked_name(one).removesuffix(".tsv"), one)
    for name in splits or ():
        if name not in known:
            raise unknown_name("split", name, known, str(folder / "qrels"))
    if not known:
        raise InputError(f"{folder / 'qrels'}: there is no file of judgments, such as test.tsv")
    chosen = {name: known[name] for name in sorted(known) if not splits or name in splits}
    return Folder(found["corpus"], found["queries"], chosen)


def scan_folder(
    folder: Folder, notes: Notes, shingles: Shingles | None = None
) -> tuple[Texts, Texts, list[Judged]]:
    """Read a folder whatever is wrong with it.

    Parameters
    ----------
    folder : Folder
        From :func:`find_folder`.
    notes : Notes
        Receives what is wrong with lines.
    shingles : Shingles, optional
        Receives the words of each document that can be read.
    """
    documents = _scan_texts("document", folder.corpus, notes, shingles)
    queries = _scan_texts("query", folder.queries, notes, None)
    return documents, queries, [_scan_qrels(*one, notes) for one in folder.splits.items()]


def scan_dataset(
    dataset: Dataset, split: str, notes: Notes, shingles: Shingles | None = None
) -> tuple[Texts, Texts, list[Judged]]:
    """Take what can be checked of a dataset that is loaded already.

    Parameters
    ----------
    dataset : Dataset
        Its documents are read once.
    split : str
        What its judgments are called.
    notes : Notes
        Receives what is wrong with texts.
    shingles : Shingles, optional
        Receives the words of each document.

    Notes
    -----
    A dataset of vectors alone has empty texts; who reads the result leaves out what is said of
    texts.
    """
    scanned = []
    sides: tuple[tuple[Which, Any, Any], ...] = (
        ("document", dataset.document_ids, dataset.documents),
        ("query", dataset.query_ids, dataset.queries),
    )
    for which, ids, texts in sides:
        taken = _Taken(which, "", notes, shingles if which == "document" else None)
        for key, text in zip(ids, texts, strict=True):
            taken.take(0, key, "", text)
        scanned.append(taken.texts())
    table = dataset.qrels.to_frame().rename(
        {"query_id": "query", "doc_id": "document", "relevance": "grade"}
    )
    table = table.with_columns(line=pl.lit(0, dtype=pl.Int64))
    return scanned[0], scanned[1], [Judged(split, "", table)]


class _Taken:
    """What is kept of records as they pass."""

    def __init__(self, which: Which, path: str, notes: Notes, shingles: Shingles | None) -> None:
        self.which, self.path, self.notes, self.shingles = which, path, notes, shingles
        self.packed: list[pl.Series] = []
        self.latest: list[str] = []
        self.lines, self.characters = array("q"), array("q")
        self.exact, self.wording, self.body = array("Q"), array("Q"), array("Q")
        self.words: list[str] = []

    def take(self, line: int, key: str, title: str, body: str) -> None:
        text = f"{title} {body}".strip() if title else body
        words = wording(text)
        self.latest.append(key)
        if len(self.latest) == _CHUNK:
            self._pack()
        self.lines.append(line)
        self.exact.append(text_key(text))
        self.wording.append(text_key(words))
        self.body.append(text_key(wording(body)) if title else self.wording[-1])
        self.characters.append(len(text.strip()))
        if self.which == "query":
            self.words.append(words)
        if self.shingles is not None:
            self.shingles.add(words)
        if "\ufffd" in text or not _encodes(text):
            place = f"{self.path}:{line}" if self.path else f"{self.which} {key!r}"
            self.notes.add("broken-text", place, shown(text))

    def _pack(self) -> None:
        self.packed.append(pl.Series(self.latest, dtype=pl.String))
        self.latest = []

    def texts(self, bad: frozenset[int] = frozenset(), *, complete: bool = True) -> Texts:
        self._pack()
        keys = [np.array(one, dtype=np.uint64) for one in (self.exact, self.wording, self.body)]
        return Texts(
            which=self.which,
            path=self.path,
            ids=pl.concat(self.packed, rechunk=True),
            lines=np.array(self.lines, dtype=np.int64),
            exact=keys[0],
            wording=keys[1],
            body=keys[2],
            characters=np.array(self.characters, dtype=np.int64),
            words=_column(self.words) if self.which == "query" else None,
            bad_lines=bad,
            complete=complete,
        )


def _column(words: list[str]) -> pl.Series:
    whole = (text.encode("utf-8", "replace").decode() for text in words)
    return pl.Series(list(whole), dtype=pl.String)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str) -> str:
    """Return a text as messages show it: cut, and printable."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return repr(cut)


class _Lines:
    """The lines of a file; if it is cut off, that is noted."""

    def __init__(self, path: Path, notes: Notes) -> None:
        self.path, self.notes, self.complete = path, notes, True

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        try:
            with open_bytes(self.path) as stream:
                for number, raw in enumerate(stream, start=1):
                    yield number, raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
        except InputError as error:
            self.complete = False
            reason = str(error).removeprefix(f"{self.path}: ")
            self.notes.add("cut-off-file", f"{self.path}:{number + 1}", reason)


def _scan_texts(which: Which, path: Path, notes: Notes, shingles: Shingles | None) -> Texts:
    taken = _Taken(which, str(path), notes, shingles)
    lines = _Lines(path, notes)
    bad: list[int] = []
    for number, raw in lines:
        place = f"{path}:{number}"
        rule, record = _record(raw)
        if record is None:
            if rule:
                bad.append(number)
                notes.add(rule, place, shown(raw.decode("utf-8", "backslashreplace").rstrip()))
            continue
        key, title = record["_id"], record.get("title")
        if not fits_column(key):
            notes.add(f"bad-{which}-id", place, shown(key))
            if which == "document":
                bad.append(number)
                continue
            key = key.encode("utf-8", "backslashreplace").decode()  # columns hold no surrogate
        # Loading joins any title to a document's text, and none to a query's.
        heading = str(title) if title and which == "document" else ""
        taken.take(number, key, heading, record["text"])
    return taken.texts(frozenset(bad), complete=lines.complete)


def _record(raw: bytes) -> tuple[str, dict[str, Any] | None]:
    """Return the rule that a line breaks, or what it holds; neither for a blank line."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "not-utf8", None
    if not text.strip():
        return "", None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return "not-json", None
    if not isinstance(record, dict):
        return "not-json", None
    if not all(isinstance(record.get(name), str) for name in ("_id", "text")):
        return "incomplete-record", None
    return "", record


def _scan_qrels(split: str, path: Path, notes: Notes) -> Judged:
    queries: list[str] = []
    documents: list[str] = []
    grades: list[int] = []
    lines: list[int] = []
    bad: list[int] = []
    width, comments = 4, True
    for number, raw in _Lines(path, notes):
        fields = raw.split()
        if number == 1 and fields == _HEADER:
            width, comments = 3, False
            continue
        if not fields or (comments and fields[0].startswith(b"#")):
            continue
        rule, grade = _grade(raw, fields, width)
        if grade is None:
            bad.append(number)
            text = raw.decode("utf-8", "backslashreplace").rstrip()
            notes.add(rule, f"{path}:{number}", shown(text))
            continue
        queries.append(fields[0].decode())
        documents.append(fields[width - 2].decode())
        grades.append(grade)
        lines.append(number)
    table = pl.DataFrame(
        {"query": queries, "document": documents, "grade": grades, "line": lines},
        schema={"query": pl.String, "document": pl.String, "grade": pl.Int64, "line": pl.Int64},
    )
    return Judged(split, str(path), table, frozenset(bad))


def _grade(raw: bytes, fields: list[bytes], width: int) -> tuple[str, int | None]:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return "not-utf8", None
    if len(fields) != width:
        return "bad-judgment", None
    grade = read_number(fields[-1], QRELS)
    return "bad-grade", None if grade is None else int(grade)
