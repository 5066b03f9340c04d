"""Milvus: embedded (milvus-lite) or a server, through its own client."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.indexes._expressions import Dialect
from retrieval_eval.indexes._faiss import check_divides
from retrieval_eval.indexes.base import BoundSearch, Filtering, Index
from retrieval_eval.indexes.selection import RawHits, Selection, post_filtered

__all__ = ["MilvusBuild", "MilvusIndex", "MilvusSearch"]

_URI = "RETRIEVAL_EVAL_MILVUS_URI"
_TOKEN = "RETRIEVAL_EVAL_MILVUS_TOKEN"  # noqa: S105 (the name of a variable)
_DATABASE = "milvus.db"
_POINTER = "milvus.json"
_VECTOR = "vector"
_SCANS = ("FLAT", "BRUTE_FORCE")
_POINTS_PER_CENTROID = 39
_LARGEST_K = 16_384
"""What a server returns for a query at most, and takes of queries at once."""
_LONGEST_LIST = 5000
_LONGEST_TEXT = 65_535
_MESSAGE_BYTES = 16 * 2**20
_SCRATCH_FLOATS = 2**26
_PATIENCE_S = 3600.0


@dataclass(frozen=True)
class MilvusBuild:
    """Build parameters of :class:`MilvusIndex`.

    Parameters
    ----------
    kind : {'HNSW', 'IVF_FLAT', 'IVF_SQ8', 'IVF_PQ', 'FLAT', 'AUTOINDEX'}
        The library's index type. milvus-lite has no IVF_PQ; its AUTOINDEX is HNSW.
    M, ef_construction : int
        Links of a vector, and length of the candidate list while building, of HNSW alone.
    nlist : int
        Number of lists, of the IVF kinds alone.
    m, nbits : int
        Sub-vectors of a code, which must divide the dimension, and bits of each, of IVF_PQ alone.
    """

    kind: Literal["HNSW", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "FLAT", "AUTOINDEX"] = "HNSW"
    M: Annotated[int, Ge(2), Le(2048)] = 16
    ef_construction: Annotated[int, Ge(1)] = 200
    nlist: Annotated[int, Ge(1), Le(65536)] = 64
    m: Annotated[int, Ge(1)] = 32
    nbits: Annotated[int, Ge(1), Le(16)] = 8


@dataclass(frozen=True)
class MilvusSearch:
    """Search parameters of :class:`MilvusIndex`.

    Parameters
    ----------
    ef : int
        Length of the candidate list of HNSW; below k, k is used.
    nprobe : int
        Lists visited, of the IVF kinds.
    """

    ef: Annotated[int, Ge(1)] = 64
    nprobe: Annotated[int, Ge(1)] = 10


class MilvusIndex(Index):
    """A collection of Milvus, embedded in this process or on a server.

    Without more, milvus-lite runs inside this process and keeps its files in a temporary folder.
    ``RETRIEVAL_EVAL_MILVUS_URI`` names a server instead, and ``RETRIEVAL_EVAL_MILVUS_TOKEN`` what
    it asks for; neither is ever written to a file. A collection on a server is dropped by
    :meth:`close` unless it was saved; saving writes a pointer to it, so that the size is that of
    the pointer: a server tells no other.

    Every vector is flushed, indexed and loaded before the build ends, because Milvus scans what is
    not. milvus-lite builds a faiss index for each segment of a hundred thousand vectors or so, and
    goes through all documents in Python for each call, so that a query alone is slow and a batch is
    not. It sets ef and nprobe on the index that all calls share, so that calls wait for each other
    here. `threads` does not reach its worker threads, nor does a seed reach the library. It prints
    a warning of faiss where vectors are few for the lists.

    A filter on attributes, or a mask that lets up to 5000 documents pass, becomes an expression
    that the library applies while it searches; other masks are applied to what a search returns.
    """

    name: ClassVar[str] = "milvus"
    Build: ClassVar[type[Any]] = MilvusBuild
    Search: ClassVar[type[Any]] = MilvusSearch
    filtering: Filtering = "native"
    requires: ClassVar[dict[str, str]] = {"pymilvus": "milvus", "milvus_lite": "milvus"}
    distributions: ClassVar[tuple[str, ...]] = ("pymilvus", "milvus-lite", "faiss-cpu")

    _client: Any = None
    _collection: str = ""
    _place: Path | None = None  # of the embedded database; None for a server
    _cleanup: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lock = threading.Lock()
        kind = self.parameters.kind
        self.seeded = kind != "FLAT"
        special = {"IVF_SQ8": "8-bit integers", "IVF_PQ": "product-quantised codes"}
        self.stored = special.get(kind, "float32")

    def identity(self) -> dict[str, Any]:
        """Return, as plain values, all that decides the index beside the vectors."""
        return {**super().identity(), "server": bool(os.environ.get(_URI))}

    def check(self, n: int, d: int | None) -> None:
        """Refuse more lists than vectors, and what milvus-lite does not have."""
        own = self.parameters
        if own.kind.startswith("IVF") and own.nlist > n:
            raise InputError(
                f"index {self.name!r}: nlist is {own.nlist}, but there are only {n} vectors: lower "
                "nlist, or use kind 'FLAT'"
            )
        if own.kind != "IVF_PQ":
            return
        if not os.environ.get(_URI):
            raise InputError(
                f"index {self.name!r}: kind is 'IVF_PQ', which milvus-lite does not have: use "
                f"IVF_SQ8, or name a server in {_URI}"
            )
        check_divides(self.name, own.m, d)

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where a value has no effect, lists were trained on few vectors, or threads differ."""
        own = self.parameters
        notes = []
        if own.kind in ("HNSW", "AUTOINDEX") and search.ef < k:
            notes.append(f"ef={search.ef} is below k={k}: ef={k} is used")
        if own.kind.startswith("IVF"):
            if search.nprobe > own.nlist:
                notes.append(f"nprobe={search.nprobe} is above nlist={own.nlist}: all are read")
            if n < own.nlist * _POINTS_PER_CENTROID:
                notes.append(
                    f"{n} vectors train {own.nlist} lists: "
                    f"faiss asks for {own.nlist * _POINTS_PER_CENTROID}"
                )
        if self.threads is not None and os.environ.get("OMP_NUM_THREADS") != str(self.threads):
            notes.append(f"threads={self.threads} does not reach the threads of milvus")
        return "; ".join(notes) or None

    # -- building --------------------------------------------------------------------------------

    def _build(self, vectors: NDArray[np.float32]) -> None:
        self.close_collection()
        self._collection = f"retrieval_eval_{uuid.uuid4().hex}"
        self._open(None)
        self._create()
        columns = self._columns()
        rows = max(1, _MESSAGE_BYTES // (4 * self.d + 200))
        for start in range(0, self.n, rows):
            batch = vectors[start : start + rows]
            entities: list[dict[str, Any]] = [
                {"id": start + offset, _VECTOR: vector} for offset, vector in enumerate(batch)
            ]
            for name, values in columns.items():
                for entity, value in zip(entities, values[start : start + rows], strict=True):
                    entity[name] = value
            self._client.insert(self._collection, entities)
        # What is not flushed is scanned, whatever index the collection has.
        self._client.flush(self._collection)
        own = self.parameters
        wanted: dict[str, Any] = {}
        if own.kind == "HNSW":
            wanted = {"M": own.M, "efConstruction": own.ef_construction}
        elif own.kind.startswith("IVF"):
            wanted = {"nlist": own.nlist}
        if own.kind == "IVF_PQ":
            wanted |= {"m": own.m, "nbits": own.nbits}
        index = self._client.prepare_index_params()
        index.add_index(
            _VECTOR,
            index_type=own.kind,
            index_name=_VECTOR,
            metric_type=self._metric_type(),
            # One mapping under this key: milvus-lite ignores parameters that stand beside it.
            params={"params": wanted},
        )
        # The client would look after the index each half second, which the build would last.
        self._client.create_index(self._collection, index, sync=False)
        self._ready()

    def _metric_type(self) -> str:
        return "L2" if self.metric == "l2" else "IP"  # of unit vectors, for cosine

    def _create(self) -> None:
        from pymilvus import DataType

        kinds = {"Boolean": "BOOL", "Int64": "INT64", "Float64": "DOUBLE", "String": "VARCHAR"}
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=self.d)
        types = [] if self.attributes is None else self.attributes.dtypes
        for position in self._filterable():
            kind = kinds[str(types[position])]
            longest = {"max_length": _LONGEST_TEXT} if kind == "VARCHAR" else {}
            schema.add_field(f"a{position}", getattr(DataType, kind), nullable=True, **longest)
        self._client.create_collection(self._collection, schema=schema)

    def _filterable(self) -> list[int]:
        """Positions of the attributes that Milvus can hold; the others are filtered by number."""
        if self.attributes is None:
            return []
        found = []
        for position, column in enumerate(self.attributes.get_columns()):
            if str(column.dtype) == "String":
                longest = column.str.len_bytes().max()
                fits = longest is None or int(str(longest)) <= _LONGEST_TEXT
            else:
                fits = str(column.dtype) != "Float64" or column.is_finite().all()
            if fits:
                found.append(position)
        return found

    def _columns(self) -> dict[str, list[Any]]:
        if self.attributes is None:
            return {}
        columns = self.attributes.get_columns()
        return {f"a{position}": columns[position].to_list() for position in self._filterable()}

    def _ready(self) -> None:
        """Load the collection, and wait until every vector is in the index."""
        self._client.load_collection(self._collection)
        deadline = time.monotonic() + _PATIENCE_S
        while (indexed := sum(self._indexed().values())) < self.n:
            if time.monotonic() > deadline:
                raise RetrievalEvalError(
                    f"index {self.name!r}: after {_PATIENCE_S:g} s {self.n - indexed} vectors "
                    "still wait for the index"
                )
            time.sleep(0.02)

    def _indexed(self) -> dict[str, int]:
        """Return the types of index that serve, and the number of vectors in each.

        A server is asked. milvus-lite answers that all is indexed whether it is or not, so that
        there the segments themselves are looked at.
        """
        if self._place is None:
            facts = self._client.describe_index(self._collection, _VECTOR)
            rows = int(facts.get("indexed_rows", 0)) - int(facts.get("pending_index_rows", 0))
            return {str(facts["index_type"]): rows}
        found: dict[str, int] = {}
        try:
            servers = _lite()._servers
            database = servers[os.path.abspath(self._place / _DATABASE)][1]  # noqa: PTH100 (its key)
            for segment in database.get_collection(self._collection)._segment_cache.values():
                index = segment.indexes.get(_VECTOR)
                if index is not None:
                    kind = str(index.index_type)
                    found[kind] = found.get(kind, 0) + int(index.num_vectors)
        except (AttributeError, KeyError, TypeError):
            return {"(it does not tell which index)": self.n}  # a version that is made otherwise
        return found

    # -- searching -------------------------------------------------------------------------------

    def _bind(self, k: int, search: Any) -> BoundSearch:
        return self._bound(k, search, "")

    def _bind_filtered(self, k: int, search: Any, selection: Selection) -> BoundSearch:
        expression = self._expression(selection)
        if expression is None:
            return post_filtered(lambda wanted: self._bind(wanted, search), selection, k)
        return self._bound(k, search, expression)

    def _bound(self, k: int, search: Any, expression: str) -> BoundSearch:
        if k > _LARGEST_K:
            raise InputError(
                f"index {self.name!r}: {k} hits are wanted, Milvus returns {_LARGEST_K} at most"
            )
        settings = {"ef": max(search.ef, k), "nprobe": search.nprobe}
        options: dict[str, Any] = {
            "limit": k,
            "filter": expression,
            "anns_field": _VECTOR,
            "search_params": {"metric_type": self._metric_type(), "params": settings},
        }
        # milvus-lite sets ef and nprobe on the index that all calls share.
        guard: Any = contextlib.nullcontext() if self._place is None else self._lock
        at_once = 1000
        if self._place is not None and self.metric == "l2" and self.parameters.kind == "FLAT":
            # There it makes an array of all differences.
            at_once = max(1, min(at_once, _SCRATCH_FLOATS // (self.n * self.d)))

        def call(queries: NDArray[np.float32]) -> RawHits:
            self._require_built("searching")  # it may have been closed since
            labels = np.full((len(queries), k), -1, dtype=np.int64)
            scores = np.zeros((len(queries), k), dtype=np.float32)
            for start in range(0, len(queries), at_once):
                data = list(queries[start : start + at_once])
                with guard:
                    found = self._client.search(self._collection, data=data, **options)
                for row, hits in enumerate(found, start=start):
                    labels[row, : len(hits)] = [hit["id"] for hit in hits]
                    scores[row, : len(hits)] = [hit["distance"] for hit in hits]
            return labels, scores

        return call

    def _expression(self, selection: Selection) -> str | None:
        """Write what passes as an expression; None where that would be too long."""
        if selection.filter is not None and self.attributes is not None:
            names, usable = self.attributes.columns, self._filterable()
            if all(names.index(one.column) in usable for one in selection.filter.conditions):
                expression = _EXPRESSION.write(selection.filter, names, self.attributes.dtypes)
                if expression is not None:
                    return expression
        if selection.matches == len(selection.mask):
            return ""
        if selection.matches <= _LONGEST_LIST:
            return f"id in [{', '.join(map(str, np.flatnonzero(selection.mask)))}]"
        return None

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        where = "milvus-lite" if self._place is not None else "milvus server"
        indexed = self._indexed()
        kinds = ("exhaustive scan" if kind in _SCANS else kind for kind in sorted(indexed))
        served = f"{where} {' and '.join(kinds)}".rstrip()
        if sum(indexed.values()) < self.n:
            served += f", exhaustive scan of {self.n - sum(indexed.values())} rows in no index"
        if selection is not None and self._expression(selection) is None:
            served += ", filtered after it"
        return served

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = -raw if self.metric == "l2" else raw
        return scores

    # -- saving and loading ------------------------------------------------------------------------

    def _save(self, folder: Path) -> None:
        if self._place is None:
            pointer = {"collection": self._collection, "n": self.n}
            (folder / _POINTER).write_text(json.dumps(pointer), encoding="utf-8")
            return
        # The files are whole while no server has them open.
        source = self._place / _DATABASE
        _stop(self._client, source)
        try:
            shutil.copytree(source, folder / _DATABASE, ignore=shutil.ignore_patterns("LOCK"))
        finally:
            self._client = _connect(str(source))
            self._watch()
            self._client.load_collection(self._collection)
        (folder / _POINTER).write_text(
            json.dumps({"collection": self._collection, "n": self.n}), encoding="utf-8"
        )

    def write_files(self, folder: Path) -> dict[str, Any]:
        """Write the files, and keep a server's collection beyond :meth:`close`."""
        facts = super().write_files(folder)
        if self._place is None:
            self._watch(keep=True)
        return facts

    def _load(self, folder: Path) -> None:
        self._collection = json.loads((folder / _POINTER).read_text(encoding="utf-8"))["collection"]
        saved = folder / _DATABASE
        self._open(saved if saved.is_dir() else None, pointed=not saved.is_dir())
        self._ready()

    @classmethod
    def intact(cls, folder: Path, facts: Mapping[str, Any]) -> bool:
        """Whether the server still has the collection that a pointer names, with all its rows."""
        if (folder / _DATABASE).is_dir():
            return True
        uri = os.environ.get(_URI)
        if not uri:
            return False
        pointer = json.loads((folder / _POINTER).read_text(encoding="utf-8"))
        from pymilvus.exceptions import MilvusException

        name = pointer["collection"]
        try:
            client = _connect(uri)
        except MilvusException:
            return False
        try:
            if not client.has_collection(name):
                return False
            # The name is drawn at random for each build, so that it is a fingerprint already.
            return int(client.get_collection_stats(name)["row_count"]) == int(facts["n"])
        except MilvusException:
            return False
        finally:
            client.close()

    def close(self) -> None:
        """Stop the embedded server and remove its files, or drop a collection not saved."""
        super().close()
        self.close_collection()

    def close_collection(self) -> None:
        """Let go of the client and of what it has made; :meth:`build` begins with it too."""
        if self._cleanup is not None:
            self._cleanup()
        self._client, self._place, self._cleanup = None, None, None

    def _open(self, saved: Path | None, *, pointed: bool = False) -> None:
        uri = os.environ.get(_URI)
        if pointed and not uri:
            raise InputError(f"index {self.name!r}: lies on a server: name it in {_URI}")
        if uri and saved is None:
            self._client = _connect(uri)
            self._watch(keep=pointed)
            return
        self._place = Path(tempfile.mkdtemp(prefix="retrieval_eval-milvus-"))
        try:
            if saved is not None:  # it writes into the folder it opens, so never into a saved one
                shutil.copytree(saved, self._place / _DATABASE)
            self._client = _connect(str(self._place / _DATABASE))
        except BaseException:
            shutil.rmtree(self._place, ignore_errors=True)
            raise
        self._watch()

    def _watch(self, *, keep: bool = False) -> None:
        """Arrange that nothing is left behind, also when the object is only forgotten."""
        if self._cleanup is not None:
            self._cleanup.detach()
        if self._place is not None:
            arguments: tuple[Any, ...] = (_remove, self._client, self._place)
        else:
            arguments = (_leave, self._client, None if keep else self._collection)
        self._cleanup = weakref.finalize(self, *arguments)


def _connect(uri: str) -> Any:
    from pymilvus import MilvusClient

    token = "" if uri.endswith(".db") else os.environ.get(_TOKEN, "")
    return MilvusClient(uri=uri, token=token)


def _stop(client: Any, database: Path) -> None:
    """Close a client and the server inside this process that it speaks to."""
    client.close()
    _lite().release_server(str(database))


def _lite() -> Any:
    """Return what holds the servers of milvus-lite that run inside this process."""
    return importlib.import_module("milvus_lite.server_manager").server_manager_instance


def _remove(client: Any, place: Path) -> None:
    _stop(client, place / _DATABASE)
    shutil.rmtree(place, ignore_errors=True)


def _leave(client: Any, collection: str | None) -> None:
    from pymilvus.exceptions import MilvusException

    with contextlib.suppress(MilvusException):  # the server may be gone before us
        if collection:
            client.drop_collection(collection)
        client.close()


def _quoted(text: str) -> str | None:
    if not text.isprintable():  # line ends and the like have no escape that all versions know
        return None
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_EXPRESSION = Dialect(equals="==", one_of="in", both=" and ", brackets=("[", "]"), text=_quoted)
