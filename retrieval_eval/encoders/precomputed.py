"""Vectors made elsewhere, in NumPy files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError
from retrieval_eval.store import file_digest
from retrieval_eval.vectorfiles import read_vectors

__all__ = ["PrecomputedEncoder", "PrecomputedParameters"]

_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class PrecomputedParameters:
    """Parameters of :class:`PrecomputedEncoder`.

    Parameters
    ----------
    documents, queries : str
        ``.npy`` files of floats, shape (n, d), in the order of the dataset's documents, and of its
        judged queries.
    """

    documents: str
    queries: str


class PrecomputedEncoder(Encoder):
    """Reads vectors instead of computing them; row i belongs to text i."""

    name: ClassVar[str] = "precomputed"
    Parameters: ClassVar[type[Any]] = PrecomputedParameters

    def identity(self) -> dict[str, Any]:
        """Return the digests of both files: their content counts, not their place."""
        return {
            "encoder": self.name,
            "documents": file_digest(self._path("document")),
            "queries": file_digest(self._path("query")),
        }

    def _path(self, kind: Kind) -> Path:
        own = self.parameters
        path = Path(own.documents if kind == "document" else own.queries)
        if not path.is_file():
            raise InputError(f"encoder 'precomputed': {path}: there is no such file")
        return path

    def origin(self, kind: Kind) -> str:
        """Return the file."""
        return str(self._path(kind))

    def _open(self, kind: Kind) -> NDArray[Any]:
        return read_vectors(self._path(kind))

    def dimension(self) -> int | None:
        """Return the dimension that the document file states."""
        return int(self._open("document").shape[1])

    def check(self, n_documents: int, n_queries: int) -> None:
        """Compare both files with the sizes of the dataset, and with each other."""
        documents, queries = self._open("document"), self._open("query")
        own = self.parameters
        for path, vectors, n, noun in (
            (own.documents, documents, n_documents, "documents"),
            (own.queries, queries, n_queries, "judged queries"),
        ):
            if len(vectors) != n:
                raise InputError(
                    f"{path}: {len(vectors)} vectors for {n} {noun} of the dataset: give one row "
                    "for each of these, in the order of their file"
                )
        if documents.shape[1] != queries.shape[1]:
            raise InputError(
                f"{own.queries}: dimension {queries.shape[1]}, but {own.documents} has "
                f"{documents.shape[1]}: both must come from one model"
            )

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Return the whole file as float32, if it has a row for each text."""
        return np.concatenate(list(self.stream(texts, kind)))

    def stream(self, texts: Sequence[str], kind: Kind) -> Iterator[NDArray[np.float32]]:
        """Yield the rows of the file, some at a time."""
        vectors = self._open(kind)
        if len(vectors) != len(texts):
            raise InputError(f"{self._path(kind)}: {len(vectors)} vectors for {len(texts)} texts")
        for start in range(0, len(vectors), _BLOCK_ROWS):
            yield np.asarray(vectors[start : start + _BLOCK_ROWS], dtype=np.float32)
