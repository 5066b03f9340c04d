"""Sparse vectors made elsewhere, in SciPy's files or in JSON lines as Anserini reads them."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.store import file_digest, fold_digests
from retrieval_eval.textfiles import bad_line, read_jsonl, unpacked_name

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["PrecomputedSparseEncoder", "PrecomputedSparseParameters"]

_BLOCK_ROWS = 8192
_JSON = (".jsonl", ".json")
_FORMATS = ("csr", "csc", "coo")
_UNREADABLE = (  # what zipfile, numpy and scipy raise for files that are cut or no archive
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class PrecomputedSparseParameters:
    """Parameters of :class:`PrecomputedSparseEncoder`.

    Parameters
    ----------
    documents, queries : str
        Two ``.npz`` files that ``scipy.sparse.save_npz`` wrote (CSR, CSC or COO), row i for text i,
        queries being the judged ones in their order. Or two JSON-lines files, plain or packed
        (``.gz``, ``.zst``), or folders of such files, with one ``{"id": ..., "vector": {term:
        weight, ...}}`` a line, in any order; ids that the dataset does not have are passed over.
    """

    documents: str
    queries: str


class PrecomputedSparseEncoder(Encoder):
    """Reads sparse vectors, such as those of SPLADE or uniCOIL, instead of computing them.

    The columns of ``.npz`` files are taken as they are. In JSON lines the vocabulary is that of
    the whole documents file, in order of first occurrence; a term of a query that no document has
    could not change any score, and is dropped. Entries that stand twice in one row of an ``.npz``
    file are added up. A file is read into memory, at about eight bytes an entry.

    Attributes
    ----------
    unknown_terms : int or None
        How many entries of the queries were dropped; None before queries are read.

    Examples
    --------
    >>> import json, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> documents = [{"id": "7", "vector": {"plum": 2, "red": 0.5}}, {"id": "8", "vector": {}}]
    >>> for name, records in {"documents": documents, "queries": documents[:1]}.items():
    ...     lines = (json.dumps(record) for record in records)
    ...     _ = (folder / f"{name}.jsonl").write_text(chr(10).join(lines))
    >>> encoder = PrecomputedSparseEncoder(
    ...     documents=str(folder / "documents.jsonl"), queries=str(folder / "queries.jsonl")
    ... )
    >>> next(encoder.stream(["", ""], "document", ids=["8", "7"])).toarray().tolist()
    [[0.0, 0.0], [2.0, 0.5]]
    """

    name: ClassVar[str] = "precomputed-sparse"
    Parameters: ClassVar[type[Any]] = PrecomputedSparseParameters
    sparse: ClassVar[bool] = True
    zero_means_no_match: ClassVar[bool] = True

    _vocabulary: dict[str, int] | None = None
    unknown_terms: int | None = None

    def identity(self) -> dict[str, Any]:
        """Return the digests of all files: their content counts, not their place."""
        return {
            "encoder": self.name,
            "documents": fold_digests(map(file_digest, self._files("document"))),
            "queries": fold_digests(map(file_digest, self._files("query"))),
        }

    def _path(self, kind: Kind) -> Path:
        own = self.parameters
        return Path(own.documents if kind == "document" else own.queries)

    def _files(self, kind: Kind) -> list[Path]:
        """List the files of a kind: one ``.npz``, or one or more of JSON lines."""
        path = self._path(kind)
        if path.is_dir():
            files = sorted(one for one in path.iterdir() if unpacked_name(one).endswith(_JSON))
            if not files:
                raise InputError(f"encoder {self.name!r}: {path}: the folder has no .jsonl file")
            return files
        if not path.is_file():
            raise InputError(f"encoder {self.name!r}: {path}: there is no such file")
        if not unpacked_name(path).endswith((".npz", *_JSON)):
            raise InputError(
                f"encoder {self.name!r}: {path}: expected .npz, .jsonl, .jsonl.gz or .jsonl.zst"
            )
        return [path]

    def _in_json(self, kind: Kind) -> bool:
        return unpacked_name(self._files(kind)[0]).endswith(_JSON)

    def origin(self, kind: Kind) -> str:
        """Return the file or folder."""
        return str(self._path(kind))

    def dimension(self) -> int | None:
        """Return the number of columns; of JSON lines it is known once documents are read."""
        if self._in_json("document"):
            return None if self._vocabulary is None else len(self._vocabulary)
        return _npz_shape(self._path("document"))[1]

    def check(self, n_documents: int, n_queries: int) -> None:
        """Compare ``.npz`` files with the sizes of the dataset, and with each other."""
        documents, queries = self._path("document"), self._path("query")
        if self._in_json("document") != self._in_json("query"):
            raise InputError(
                f"{queries}: not of one kind with {documents}: only two .npz files share columns, "
                "and only two of JSON lines share terms"
            )
        if self._in_json("document"):
            return
        columns = []
        for path, n, noun in (
            (documents, n_documents, "documents"),
            (queries, n_queries, "judged queries"),
        ):
            shape = _npz_shape(path)
            if shape[0] != n:
                raise InputError(
                    f"{path}: {shape[0]} vectors for {n} {noun} of the dataset: give one row for "
                    "each of these, in the order of their file"
                )
            columns.append(shape[1])
        if columns[0] != columns[1]:
            raise InputError(
                f"{queries}: {columns[1]} columns, but {documents} has {columns[0]}: both must "
                "have the same terms"
            )

    def encode(self, texts: Sequence[str], kind: Kind) -> csr_array:
        """Return a whole ``.npz`` file, if it has a row for each text."""
        return self._rows(len(texts), kind, None)

    def stream(
        self,
        texts: Sequence[str],
        kind: Kind,
        *,
        ids: Sequence[str] | None = None,
        start: int = 0,
    ) -> Iterator[csr_array]:
        """Yield the vectors of the texts, some at a time; those in JSON lines are found by `ids`.

        Raises
        ------
        InputError
            Naming file, and line or row, if a file is cut or damaged, a weight is not finite, an
            id stands twice or is missing, or the number of rows is wrong.
        """
        rows = self._rows(len(texts), kind, ids)
        for first in range(start, len(texts), _BLOCK_ROWS):
            yield rows[first : first + _BLOCK_ROWS]

    def _rows(self, n: int, kind: Kind, ids: Sequence[str] | None) -> csr_array:
        if self._in_json(kind):
            if ids is None:
                raise InputError(
                    f"{self._path(kind)}: vectors in JSON lines are found by id: use "
                    "stream(texts, kind, ids=...)"
                )
            return self._from_json(kind, ids)
        rows = _read_npz(self._path(kind))
        if rows.shape[0] != n:
            raise InputError(f"{self._path(kind)}: {rows.shape[0]} vectors for {n} texts")
        return rows

    def _from_json(self, kind: Kind, ids: Sequence[str]) -> csr_array:
        """Read vectors in the order of the dataset, dropping terms that no document has."""
        from scipy.sparse import csr_array

        vocabulary: dict[str, int] = {}
        if kind == "query":
            if self._vocabulary is None:
                for _, _, _, vector in _json_vectors(self._files("document")):
                    for term in vector:
                        vocabulary.setdefault(term, len(vocabulary))
                self._vocabulary = vocabulary
            vocabulary = self._vocabulary
        found: list[str] = []
        places: list[tuple[Path, int]] = []
        terms, weights, ends = array("i"), array("f"), array("q", [0])
        dropped = array("i")
        for path, line, key, vector in _json_vectors(self._files(kind)):
            found.append(key)
            places.append((path, line))
            values = _weights(path, line, vector)
            if kind == "document":
                terms.extend([vocabulary.setdefault(term, len(vocabulary)) for term in vector])
            else:
                known = [term in vocabulary for term in vector]
                terms.extend([vocabulary[term] for term in vector if term in vocabulary])
                values = values[known]
            dropped.append(len(vector) - len(values))
            weights.frombytes(values.tobytes())
            ends.append(len(terms))
        rows = csr_array(
            (np.frombuffer(weights, np.float32), np.frombuffer(terms, np.int32), np.array(ends)),
            shape=(len(found), len(vocabulary)),
        )
        chosen = self._places(kind, Ids.of(found), Ids.of(ids), places)
        rows = rows[chosen]  # a copy, so that what follows may sort and shrink it in place
        rows.sort_indices()
        rows.eliminate_zeros()
        if kind == "document":
            self._vocabulary = vocabulary
        else:
            self.unknown_terms = int(np.array(dropped)[chosen].sum())
        return rows

    def _places(
        self, kind: Kind, found: Ids, wanted: Ids, places: list[tuple[Path, int]]
    ) -> NDArray[np.int64]:
        """Return the row of each wanted id, every id standing once."""
        twice = found.repeated
        if twice is not None:
            (first, line), (again, other) = places[twice[0]], places[twice[1]]
            raise InputError(
                f"{again}:{other}: the id {found[twice[1]]!r} stands in {first.name}:{line} already"
            )
        table = pl.DataFrame({"id": found.column}).with_row_index("row")
        joined = pl.DataFrame({"id": wanted.column}).join(
            table, on="id", how="left", maintain_order="left"
        )
        rows = joined["row"]
        if rows.null_count():
            missing = int(rows.is_null().arg_true()[0])
            raise InputError(
                f"{self._path(kind)}: no vector for the {kind} {wanted[missing]!r}; "
                f"{rows.null_count()} of {len(wanted)} have none"
            )
        return rows.to_numpy().astype(np.int64)


def _json_vectors(files: Sequence[Path]) -> Iterator[tuple[Path, int, str, dict[str, Any]]]:
    """Yield file, line, id and vector of each line."""
    for path in files:
        for line, record in read_jsonl(path, ("id",)):
            vector = record.get("vector")
            if not isinstance(vector, dict):
                bad_line(
                    path, line, str(record), "the key 'vector' must hold an object {term: weight}"
                )
            yield path, line, record["id"], vector


def _weights(path: Path, line: int, vector: dict[str, Any]) -> NDArray[np.float32]:
    """Return the weights of a line, if they are numbers that float32 can hold."""
    if not {type(value) for value in vector.values()} <= {int, float}:
        term = next(term for term, value in vector.items() if type(value) not in (int, float))
        raise InputError(
            f"{path}:{line}: the weight of {term!r} is {vector[term]!r}: it must be a number"
        )
    with np.errstate(over="ignore"):  # what overflows to infinity is refused below
        try:
            values = np.array(list(vector.values()), dtype=np.float64).astype(np.float32)
        except OverflowError:
            values = np.array([np.inf], dtype=np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}:{line}: a weight is NaN, infinite or beyond float32")
    return values


def _npz_shape(path: Path) -> tuple[int, int]:
    """Read no more of a file than the shape it states."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            n, d = archive["shape"].tolist()
            return int(n), int(d)
    except _UNREADABLE as error:
        raise _no_archive(path, error) from None


def _read_npz(path: Path) -> csr_array:
    """Read a file of scipy.sparse.save_npz as rows of float32, sorted and summed."""
    from scipy.sparse import csr_array, load_npz

    try:
        with path.open("rb") as stream:  # given a path, NumPy leaves damaged files open
            matrix: Any = load_npz(stream)  # never unpickles
        if matrix.format in ("csr", "csc"):  # a damaged one would crash what follows
            matrix.check_format(full_check=True)
    except _UNREADABLE as error:
        raise _no_archive(path, error) from None
    if matrix.format not in _FORMATS or matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: expected numbers of shape (n, d) as {', '.join(_FORMATS)}, found "
            f"{matrix.dtype} {matrix.shape} as {matrix.format}"
        )
    with np.errstate(over="ignore"):  # what overflows to infinity is refused below
        result = csr_array(matrix.astype(np.float32))
    result.sum_duplicates()
    wrong = np.flatnonzero(~np.isfinite(result.data))
    if len(wrong):
        row = int(np.searchsorted(result.indptr, wrong[0], side="right")) - 1
        raise InputError(f"{path}: row {row} holds NaN, infinity or a number beyond float32")
    result.eliminate_zeros()
    return result


def _no_archive(path: Path, error: BaseException) -> InputError:
    return InputError(f"{path}: not a readable file of scipy.sparse.save_npz: {error}")
