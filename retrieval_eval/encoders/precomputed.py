"""Vectors made elsewhere, in files of any common format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError
from retrieval_eval.plugins import require
from retrieval_eval.vectorfiles import (
    REQUIRES,
    VectorFile,
    VectorRows,
    file_size,
    fingerprints,
    format_of,
    open_vectors,
    split_name,
)

__all__ = ["PrecomputedEncoder", "PrecomputedParameters"]

_BLOCK_ROWS = 8192
_GATHER_BYTES = 1 << 28


@dataclass(frozen=True)
class PrecomputedParameters:
    """Parameters of :class:`PrecomputedEncoder`.

    Parameters
    ----------
    documents, queries : str or None
        Files of vectors, or ``FILE#NAME`` for an array, dataset, tensor or column in a file that
        holds several: ``.npy``, ``.npz``, ``.parquet``, ``.safetensors``, ``.h5``, ``.fvecs``,
        ``.bvecs``, ``.fbin``, ``.u8bin``, ``.i8bin``. Both or neither: without them, the dataset
        must have vectors of its own.
    document_ids, query_ids : str or None
        Ids of the rows: a text file with one on each line, a JSON list, or ``FILE#NAME``. By
        default those that the file of vectors has itself, if any.
    match : {'auto', 'ids', 'rows'}
        How a text finds its vector. ``ids``: by its id; the file may hold more, in any order.
        ``rows``: row i belongs to text i, whatever ids there are. ``auto``: by ids where there
        are some, else by rows.
    format : str or None
        Format of both files, where neither suffix nor first bytes tell.
    """

    documents: str | None = None
    queries: str | None = None
    document_ids: str | None = None
    query_ids: str | None = None
    match: Literal["auto", "ids", "rows"] = "auto"
    format: (
        Literal[
            "npy",
            "npz",
            "parquet",
            "safetensors",
            "hdf5",
            "fvecs",
            "bvecs",
            "fbin",
            "u8bin",
            "i8bin",
        ]
        | None
    ) = None


class PrecomputedEncoder(Encoder):
    """Reads vectors instead of computing them.

    A text's vector is found by its id where the file has ids, else by its row.
    """

    name: ClassVar[str] = "precomputed"
    Parameters: ClassVar[type[Any]] = PrecomputedParameters
    reads_vectors: ClassVar[bool] = True

    _given: tuple[VectorRows, VectorRows] | None = None

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        own = self.parameters
        named = {"documents": own.documents, "queries": own.queries}
        missing = [key for key, path in named.items() if path is None]
        if len(missing) == 1:
            raise InputError(f"encoder {self.name!r}: parameter {missing[0]!r} is required")
        if missing and (own.document_ids or own.query_ids):
            raise InputError(
                f"encoder {self.name!r}: document_ids and query_ids belong to files: name these "
                "as documents and queries"
            )

    def with_vectors(self, documents: VectorRows, queries: VectorRows) -> PrecomputedEncoder:
        """Return an encoder that reads a dataset's own vectors; this one, if it names files.

        Parameters
        ----------
        documents, queries : object
            With ``n``, ``d`` and ``read(start, stop)``; row i belongs to text i.
        """
        if self.parameters.documents is not None:
            return self
        given = type(self)(**vars(self.parameters))
        given._given = (documents, queries)
        return given

    @cached_property
    def _rows(self) -> tuple[VectorRows, VectorRows]:
        """The opened vectors of documents and of queries."""
        if self._given is not None:
            return self._given
        own = self.parameters
        if own.documents is None:
            raise InputError(
                f"encoder {self.name!r}: the dataset has no vectors of its own: name files, as "
                "documents and queries"
            )
        documents = open_vectors(own.documents, format=own.format, ids=own.document_ids)
        return documents, open_vectors(own.queries, format=own.format, ids=own.query_ids)

    def _of(self, kind: Kind) -> VectorRows:
        return self._rows[0 if kind == "document" else 1]

    def _by_ids(self, rows: VectorRows) -> bool:
        """Whether texts find their vectors by id."""
        match = self.parameters.match
        has_ids = isinstance(rows, VectorFile) and rows.id_source is not None
        if match == "ids" and not has_ids:
            raise InputError(
                f"{rows}: has no ids, and match is 'ids': give them as document_ids or query_ids"
            )
        return match != "rows" and has_ids and self._given is None

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if a format needs a library that is not installed."""
        own = self.parameters
        for text in (own.documents, own.queries):
            if text is not None:
                layout = own.format or format_of(split_name(text)[0])
                require(f"encoder {self.name!r}", REQUIRES.get(layout or "", {}))

    def identity(self) -> dict[str, Any]:
        """Return the digests of both files: their content counts, not their place.

        A dataset's own vectors are part of the keys of its texts.
        """
        own = self.parameters
        if own.documents is None:
            return {"encoder": self.name, "documents": None, "queries": None}
        chosen = [
            _chosen(own.documents, own.format, own.document_ids),
            _chosen(own.queries, own.format, own.query_ids),
        ]
        if own.match == "rows":
            chosen = [[*parts, "rows"] for parts in chosen]
        documents, queries = fingerprints(*chosen)
        return {"encoder": self.name, "documents": documents, "queries": queries}

    def origin(self, kind: Kind) -> str:
        """Return the file, and the name in it."""
        if self._given is not None:
            return "the dataset's own vectors"
        return str(self._of(kind))

    def dimension(self) -> int | None:
        """Return the dimension of the document vectors."""
        return self._of("document").d

    def check(self, n_documents: int, n_queries: int) -> None:
        """Compare both files with the sizes of the dataset, and with each other."""
        documents, queries = self._rows
        for where, rows, n, noun in (
            (self.origin("document"), documents, n_documents, "documents"),
            (self.origin("query"), queries, n_queries, "judged queries"),
        ):
            if self._by_ids(rows):
                if rows.n < n:
                    raise InputError(
                        f"{where}: {rows.n} vectors for {n} {noun} of the dataset: each needs one"
                    )
            elif rows.n != n:
                raise InputError(
                    f"{where}: {rows.n} vectors for {n} {noun} of the dataset: give one row for "
                    "each of these, in the order of their file, or the ids of the rows"
                )
        if documents.d != queries.d:
            raise InputError(
                f"{self.origin('query')}: dimension {queries.d}, but {self.origin('document')} has "
                f"{documents.d}: both must come from one model"
            )

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Return the whole file as float32, if it has a row for each text and no ids."""
        found = list(self.stream(texts, kind))
        return np.concatenate(found) if found else np.empty((0, self._of(kind).d), np.float32)

    def stream(
        self,
        texts: Sequence[str],
        kind: Kind,
        *,
        ids: Sequence[str] | None = None,
        start: int = 0,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of all texts in order, some rows at a time.

        Where they are found by id, up to 256 MiB of them are held at a time.

        Raises
        ------
        InputError
            If a text has no vector, with its id; or if the file goes by ids and none are given.
        """
        source = self._of(kind)
        if not (isinstance(source, VectorFile) and self._by_ids(source)):
            if source.n != len(texts):
                raise InputError(f"{self.origin(kind)}: {source.n} vectors for {len(texts)} texts")
            yield from _pieces(_blocks(source, start))
            return
        if ids is None:
            raise InputError(
                f"{source}: its vectors belong to the ids of {source.id_source}: give the ids of "
                "the texts, or set match: rows"
            )
        rows = _rows_of(source, ids, kind)[start:]
        gathered = max(1, _GATHER_BYTES // (4 * source.d))
        yield from _pieces(
            source.take(rows[first : first + gathered]) for first in range(0, len(rows), gathered)
        )

    def close(self) -> None:
        """Let go of the files."""
        self.__dict__.pop("_rows", None)


def _blocks(source: VectorRows, start: int) -> Iterator[NDArray[np.float32]]:
    if isinstance(source, VectorFile):
        yield from source.blocks(start)
        return
    for first in range(start, source.n, _BLOCK_ROWS):
        yield source.read(first, min(first + _BLOCK_ROWS, source.n))


def _chosen(text: str, layout: str | None, ids: str | None) -> list[Path | str | None]:
    """Return what decides the vectors of a file that need not be opened for it."""
    path, name = split_name(text)
    file_size(path)
    layout = layout or format_of(path) or "npy"
    if layout == "npy" and name is None and ids is None:
        return [path]
    return [path, layout, name, *(split_name(ids) if ids is not None else ())]


def _pieces(blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Cut large blocks into pieces between which progress can be shown."""
    for block in blocks:
        for first in range(0, len(block), _BLOCK_ROWS):
            yield block[first : first + _BLOCK_ROWS]


def _rows_of(file: VectorFile, ids: Sequence[str], kind: Kind) -> NDArray[np.int64]:
    """Find the row of each id in a file."""
    import polars as pl

    from retrieval_eval.ids import Ids

    known, wanted = file.ids, Ids.of(ids, f"{kind} id")
    if known is None or known == wanted:
        return np.arange(len(wanted))
    stored = pl.DataFrame({"id": known.column}).with_row_index("row")
    asked = pl.DataFrame({"id": wanted.column})
    rows = asked.join(stored, on="id", how="left", maintain_order="left")["row"]
    missing = rows.is_null()
    if missing.any():
        row = int(missing.arg_true()[0])
        raise InputError(
            f"{file.id_source}: has no {kind} {wanted[row]!r}; {int(missing.sum())} of "
            f"{len(wanted)} {kind}s have no vector among the {file.n} of {file}, whose ids are "
            f"like {known[0]!r}. If row i belongs to {kind} i, set match: rows"
        )
    return rows.to_numpy().astype(np.int64)
