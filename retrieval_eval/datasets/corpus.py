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
        table = _usable(taken.attributes, len(ids))
        if table is not None:
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
    """What is kept of the documents as they pass."""

    chunks: list[pl.Series] = field(default_factory=list)
    latest: list[str] = field(default_factory=list)
    attributes: dict[str, dict[int, Any]] = field(default_factory=dict)
    hasher: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    n: int = 0

    def texts(self, documents: Iterable[Document]) -> Iterator[str]:
        for document in documents:
            for part in (document.id, document.text):
                data = part.encode("utf-8", "surrogatepass")
                self.hasher.update(len(data).to_bytes(8, "little"))
                self.hasher.update(data)
            self.latest.append(document.id)
            if len(self.latest) == _CHUNK:
                self._pack()
            for name, value in document.attributes.items():
                if value is not None:
                    self.attributes.setdefault(name, {})[self.n] = value
            self.n += 1
            yield document.text

    def _pack(self) -> None:
        if self.latest:
            self.chunks.append(Ids.of(self.latest, "document id").column)
            self.latest = []

    def ids(self) -> Ids:
        self._pack()
        return Ids.of(pl.concat(self.chunks)) if self.chunks else Ids.of([])


def _name_repeated(twice: str, documents: Iterable[Document], what: str) -> None:
    places = [one.place for one in documents if one.id == twice]
    where = f"{places[1]}: " if len(places) > 1 and places[1] else f"{what}: "
    first = f", first at {places[0]}" if places and places[0] else ""
    raise InputError(f"{where}the document id {twice!r} occurs twice{first}: ids must be unique")


def _usable(found: Mapping[str, Mapping[int, Any]], n: int) -> pl.DataFrame | None:
    """Return the attributes whose values are of one type that filters know, null where none is."""
    columns = {}
    for name, values in found.items():
        kinds = {type(value) for value in values.values()}
        one_kind = kinds <= {int, float} or (len(kinds) == 1 and kinds <= {bool, str})
        if name.isidentifier() and one_kind:
            columns[name] = pl.Series(name, [values.get(row) for row in range(n)], strict=False)
    return pl.DataFrame(columns) if columns else None
