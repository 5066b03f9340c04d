"""Documents from a source's files into the store: read once, streamed, never all in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.store import Store
from retrieval_eval.texts import Texts, write_texts

__all__ = ["Corpus", "Document", "keep_corpus"]

_IDS, _ATTRIBUTES = "ids.parquet", "attributes.parquet"
_CHUNK = 65536
_KINDS = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64, str: pl.String}
_RECIPE = 1
"""Raised whenever the form of what is kept changes."""


class Document(NamedTuple):
    """One document as a source reads it.

    Parameters
    ----------
    id : str
        Its id.
    text : str
        Title and text; may be empty.
    attributes : mapping
        Plain values to filter on.
    place : str
        Where it stands, as ``FILE:LINE``, for messages; may be empty.
    """

    id: str
    text: str
    attributes: Mapping[str, Any] = {}
    place: str = ""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents in the store.

    Parameters
    ----------
    ids : Ids
        Ids of n documents, in memory without an object each.
    texts : Texts
        Their texts, on disk.
    attributes : mapping of str to polars.Series of length n
        Those attributes whose values are all of one type that filters know.
    fingerprint : str
        A key of ids, texts and their order.
    """

    ids: Ids
    texts: Texts
    attributes: Mapping[str, Any]
    fingerprint: str


def keep_corpus(
    store: Store,
    fields: Mapping[str, Any],
    read: Callable[[], Iterable[Document]],
    *,
    what: str,
) -> Corpus:
    """Read a corpus into the store, or find it there.

    Memory holds the ids and the attributes, and one text at a time.

    Parameters
    ----------
    store : Store
        Where it is kept.
    fields : mapping
        All that decides the content: digests of files, and parameters. Plain JSON values.
    read : callable
        Yields the documents; called only if they are not there yet, and once more to find the
        place of an id that occurs twice.
    what : str
        What the source is called in messages: the path of its file, mostly.

    Raises
    ------
    InputError
        If there is no document, or an id occurs twice.
    """

    def make(folder: Path) -> Mapping[str, Any]:
        taken = _Taken()
        write_texts(folder, taken.texts(read()))
        ids = taken.ids()
        if not len(ids):
            raise InputError(f"{what}: the corpus is empty")
        if ids.repeated:
            _name_repeated(ids[ids.repeated[1]], read(), what)
        ids.column.to_frame("id").write_parquet(folder / _IDS)
        table = taken.table()
        if table.width:
            table.write_parquet(folder / _ATTRIBUTES)
        return {"fingerprint": taken.hasher.hexdigest()}

    found = store.get_or_make("corpora", {**fields, "recipe": _RECIPE}, make)
    table_path = found.folder / _ATTRIBUTES
    table = pl.read_parquet(table_path) if table_path.is_file() else pl.DataFrame()
    return Corpus(
        Ids.of(pl.read_parquet(found.folder / _IDS)["id"]),
        Texts(found.folder),
        {name: table[name] for name in table.columns},
        found.meta["fingerprint"],
    )


@dataclass
class _Taken:
    """What is kept of the documents as they pass: ids and attributes, packed now and then."""

    hasher: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    n: int = 0
    _ids: list[pl.Series] = field(default_factory=list)
    _latest: list[str] = field(default_factory=list)
    _columns: dict[str, _Column] = field(default_factory=dict)

    def texts(self, documents: Iterable[Document]) -> Iterator[str]:
        for document in documents:
            for part in (document.id, document.text):
                data = part.encode("utf-8", "surrogatepass")
                self.hasher.update(len(data).to_bytes(8, "little"))
                self.hasher.update(data)
            self._latest.append(document.id)
            for name, value in document.attributes.items():
                if value is not None:
                    self._columns.setdefault(name, _Column()).latest[self.n % _CHUNK] = value
            self.n += 1
            if self.n % _CHUNK == 0:
                self._pack()
            yield document.text

    def _pack(self) -> None:
        rows = len(self._latest)
        if rows:
            self._ids.append(Ids.of(self._latest, "document id").column)
            self._latest = []
            for column in self._columns.values():
                column.pack(self.n - rows, rows)

    def ids(self) -> Ids:
        self._pack()
        return Ids.of(pl.concat(self._ids)) if self._ids else Ids.of([])

    def table(self) -> pl.DataFrame:
        """Return the attributes whose values are of one type that filters know."""
        return pl.DataFrame(
            {
                name: pl.concat(column.packed)
                for name, column in self._columns.items()
                if name.isidentifier() and column.kind is not None
            }
        )


@dataclass
class _Column:
    """Values of one attribute; `kind` is None once they are not of one type."""

    latest: dict[int, Any] = field(default_factory=dict)
    packed: list[pl.Series] = field(default_factory=list)
    kind: Any = pl.Null

    def pack(self, before: int, rows: int) -> None:
        kinds = {_KINDS.get(type(value)) for value in self.latest.values()} | {self.kind}
        kinds -= {pl.Null} if len(kinds) > 1 else set()
        if kinds == {pl.Int64, pl.Float64}:
            kinds = {pl.Float64}
        self.kind = kinds.pop() if len(kinds) == 1 else None
        values = [self.latest.get(row) for row in range(rows)]
        self.latest = {}
        if self.kind is None:
            self.packed = []
            return
        if not self.packed and before:
            self.packed = [pl.repeat(None, before, dtype=self.kind, eager=True)]
        self.packed = [part.cast(self.kind) for part in self.packed]
        self.packed.append(pl.Series(values, dtype=self.kind, strict=False))


def _name_repeated(twice: str, documents: Iterable[Document], what: str) -> None:
    places = [one.place for one in documents if one.id == twice]
    where = f"{places[1]}: " if len(places) > 1 and places[1] else f"{what}: "
    first = f", first at {places[0]}" if places and places[0] else ""
    raise InputError(f"{where}the document id {twice!r} occurs twice{first}: ids must be unique")
