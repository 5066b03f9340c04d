"""LanceDB: a table on disk, and the index over its column of vectors."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._expressions import Dialect
from retrieval_eval.indexes._faiss import check_divides
from retrieval_eval.indexes.base import BoundSearch, Filtering, Index
from retrieval_eval.indexes.selection import RawHits, Selection, finds_nothing, post_filtered

__all__ = ["LanceDbBuild", "LanceDbIndex", "LanceDbSearch"]

_TABLE = "docs"
_INDEX = "vector_idx"
_POINTS_PER_PARTITION = 256
"""What the library asks for (its ``sample_rate``)."""
_LONGEST_LIST = 5000
"""Row numbers in a condition; each thousand adds some milliseconds to a query."""
_THREADS = "LANCE_CPU_THREADS"
_STORED = {
    "ivf-pq": "product-quantised codes",
    "ivf-flat": "float32",
    "ivf-hnsw-sq": "8-bit integers",
    "none": "float32",
}


@dataclass(frozen=True)
class LanceDbBuild:
    """Build parameters of :class:`LanceDbIndex`.

    Parameters
    ----------
    kind : {'ivf-pq', 'ivf-flat', 'ivf-hnsw-sq', 'none'}
        Lists of product-quantised codes; lists of whole vectors; an HNSW graph of 8-bit integers in
        each list; or no index, so that each query reads the whole table.
    nlist : int
        Number of lists (the library's partitions); the kind 'none' has no use for it.
    m : int
        Sub-vectors of a code, of the kind 'ivf-pq' alone; must divide the dimension.
    nbits : {4, 8}
        Bits a sub-vector, of the kind 'ivf-pq' alone; 4 needs an even m.
    M, ef_construction : int
        Links of a vector, and length of the candidate list while building, of the kind
        'ivf-hnsw-sq' alone.
    """

    kind: Literal["ivf-pq", "ivf-flat", "ivf-hnsw-sq", "none"] = "ivf-pq"
    nlist: Annotated[int, Ge(1)] = 64
    m: Annotated[int, Ge(1)] = 32
    nbits: Literal[4, 8] = 8
    M: Annotated[int, Ge(2)] = 20
    ef_construction: Annotated[int, Ge(1)] = 300


@dataclass(frozen=True)
class LanceDbSearch:
    """Search parameters of :class:`LanceDbIndex`.

    Parameters
    ----------
    nprobe : int
        Lists visited.
    refine_factor : int or None
        Read the whole vectors of this many times k candidates, and order them by their true
        scores; None returns the scores of what the index keeps.
    ef : int or None
        Length of the candidate list in each graph visited, of the kind 'ivf-hnsw-sq' alone; None
        leaves the library's choice, half as many again as are asked of it.
    """

    nprobe: Annotated[int, Ge(1)] = 20
    refine_factor: Annotated[int, Ge(1)] | None = None
    ef: Annotated[int, Ge(1)] | None = None


class LanceDbIndex(Index):
    """A LanceDB table and its index, both on disk; searched in this process, without a server.

    No seed reaches the library: two builds of a quantised kind differ. Neither does the number of
    threads: it uses every core, or as many as ``LANCE_CPU_THREADS`` says when it is first used. It
    would make fewer lists than asked for where vectors are few, and leave codes untrained below
    ``2**nbits`` vectors, scanning instead; here the sample for training shrinks so that every list
    is there, and the second case is refused. Under cosine the kind 'ivf-pq' never finds a zero
    vector. It returns ``1 - ip``, so inner products far below 1 lose digits: scale such vectors up.

    A filter on attributes becomes an SQL condition that is applied before the search, and so does a
    mask that lets up to 5000 documents pass, or all but 5000; other masks are applied to what a
    search returns. What passes but lies in no visited list is not found.

    The table lies in a temporary folder until it is saved. A loaded one is read where it lies, and
    nothing is written there.
    """

    name: ClassVar[str] = "lancedb"
    Build: ClassVar[type[Any]] = LanceDbBuild
    Search: ClassVar[type[Any]] = LanceDbSearch
    filtering: Filtering = "native"
    requires: ClassVar[dict[str, str]] = {"lancedb": "lancedb"}
    distributions: ClassVar[tuple[str, ...]] = ("lancedb",)

    _table: Any = None
    _place: Path | None = None
    _cleanup: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        kind = self.parameters.kind
        self.stored = _STORED[kind]
        self.seeded = kind != "none"
        # Vectors come in with unit length for cosine. The library's own cosine is NaN for zero
        # vectors, and from codes and graphs, unless refined, it is twice what it should be; its dot
        # product has worse codes, because only the other two keep those of residuals.
        self._by_length = self.metric == "cosine" and kind == "ivf-pq"
        self._distance = "l2" if self.metric == "l2" or self._by_length else "dot"

    def check(self, n: int, d: int | None) -> None:
        """Refuse more lists than vectors, too few to train codes, and an m that does not fit."""
        own = self.parameters
        if own.kind == "none":
            return
        if own.nlist > n:
            raise InputError(
                f"index {self.name!r}: nlist is {own.nlist}, but there are only {n} vectors: lower "
                "nlist, or use kind 'none'"
            )
        if own.kind != "ivf-pq":
            return
        if 2**own.nbits > n:
            raise InputError(
                f"index {self.name!r}: nbits is {own.nbits}, which needs at least {2**own.nbits} "
                f"vectors, but there are only {n}, and the library would scan them: use kind "
                "'ivf-flat' or 'none'" + (", or nbits 4" if own.nbits == 8 and n >= 16 else "")
            )
        check_divides(self.name, own.m, d)
        if own.nbits == 4 and own.m % 2:
            raise InputError(f"index {self.name!r}: m is {own.m}: with nbits 4 it must be even")

    def settings(self, search: Mapping[str, Any]) -> Any:
        """Check search parameters; refuse those that the kind of index has no meaning for."""
        found = super().settings(search)
        kind = self.parameters.kind
        for parameter, meant in (("ef", kind == "ivf-hnsw-sq"), ("refine_factor", kind != "none")):
            if not meant and getattr(found, parameter) is not None:
                raise InputError(
                    f"index {self.name!r}, search: {parameter} has no meaning for kind {kind!r}: "
                    "leave it out"
                )
        return found

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say where a value has no effect, lists were trained on few vectors, or threads differ."""
        own = self.parameters
        notes = []
        candidates = k * (search.refine_factor or 1)
        if own.kind == "none":
            notes.append("nprobe has no effect: without an index every vector is read")
        elif search.nprobe > own.nlist:
            notes.append(f"nprobe={search.nprobe} is above nlist={own.nlist}: all lists are read")
        if search.ef is not None and search.ef < candidates:
            notes.append(
                f"ef={search.ef} is below the {candidates} candidates: ef={candidates} is used"
            )
        if own.kind != "none" and n < own.nlist * _POINTS_PER_PARTITION:
            notes.append(
                f"{n} vectors train {own.nlist} lists: lancedb asks for {_POINTS_PER_PARTITION} "
                "a list"
            )
        if self.threads is not None and os.environ.get(_THREADS) != str(self.threads):
            notes.append(
                f"threads={self.threads} does not reach lancedb: set {_THREADS} before it starts"
            )
        return "; ".join(notes) or None

    def _build(self, vectors: NDArray[np.float32]) -> None:
        import lancedb
        import pyarrow as pa

        self._let_go()
        place = tempfile.mkdtemp(prefix="retrieval_eval-lancedb-")
        self._cleanup = weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
        ids = np.arange(self.n, dtype=np.int64)
        if self._by_length and not vectors.any(axis=1).all():
            # A zero vector has no cosine that a distance could tell: it is left out of the table.
            ids = np.flatnonzero(vectors.any(axis=1))
            vectors = vectors[ids]
            self.check(len(ids), self.d)
        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.d)
        columns = {"id": pa.array(ids), "vector": values}
        if self.attributes is not None:  # numbered, so that no name can clash or need quotes
            for position, column in enumerate(self.attributes.get_columns()):
                columns[f"a{position}"] = column.gather(ids).to_arrow()
        self._place = Path(place)
        self._table = lancedb.connect(place).create_table(_TABLE, pa.table(columns))
        config = self._config()
        if config is None:
            return
        self._table.create_index("vector", config=config, name=_INDEX)
        # An index that was left untrained is listed like any other, and every query scans.
        if not self._table.index_stats(_INDEX).num_indexed_rows:
            raise InputError(
                f"index {self.name!r}: the library has built no index of kind "
                f"{self.parameters.kind!r} from these {len(ids)} vectors: use kind 'none'"
            )

    def _config(self) -> Any:
        from lancedb.index import HnswSq, IvfFlat, IvfPq

        own = self.parameters
        lists = {
            "distance_type": self._distance,
            "num_partitions": own.nlist,
            # The library makes n // sample_rate lists at most; fewer samples keep them all.
            "sample_rate": max(2, min(_POINTS_PER_PARTITION, self.n // own.nlist)),
        }
        if own.kind == "ivf-pq":
            return IvfPq(num_sub_vectors=own.m, num_bits=own.nbits, **lists)
        if own.kind == "ivf-flat":
            return IvfFlat(**lists)
        if own.kind == "ivf-hnsw-sq":
            return HnswSq(m=own.M, ef_construction=own.ef_construction, **lists)
        return None

    def _query(self, queries: Any, k: int, search: Any, condition: str | None) -> Any:
        found = self._table.search(queries, vector_column_name="vector")
        found = found.distance_type(self._distance).limit(k).select(["id", "_distance"])
        if self.parameters.kind != "none":
            found = found.nprobes(search.nprobe)
        if search.refine_factor is not None:
            found = found.refine_factor(search.refine_factor)
        if search.ef is not None:  # the library refuses less than the candidates it needs
            found = found.ef(max(search.ef, k * (search.refine_factor or 1)))
        return found if condition is None else found.where(condition, prefilter=True)

    def _bind(self, k: int, search: Any) -> BoundSearch:
        return self._bound(k, search, None)

    def _bind_filtered(self, k: int, search: Any, selection: Selection) -> BoundSearch:
        condition = self._condition(selection)
        if condition is None:
            return post_filtered(lambda wanted: self._bind(wanted, search), selection, k)
        return self._bound(k, search, condition)

    def _bound(self, k: int, search: Any, condition: str | None) -> BoundSearch:
        def call(queries: NDArray[np.float32]) -> RawHits:
            self._require_built("searching")  # it may have been closed since
            if not len(queries):
                return finds_nothing(queries)
            # Many queries in one call share their plan, and without an index the table's scan.
            several = len(queries) > 1
            found = self._query(queries if several else queries[0], k, search, condition)
            table = found.to_arrow()
            rows = table["query_index"].to_numpy() if several else np.zeros(len(table), dtype=int)
            return _as_hits(
                rows, table["id"].to_numpy(), table["_distance"].to_numpy(), len(queries), k
            )

        return call

    def _condition(self, selection: Selection) -> str | None:
        """Write what passes in SQL; None where that would be too long."""
        if selection.filter is not None and self.attributes is not None:
            condition = _SQL.write(
                selection.filter, self.attributes.columns, self.attributes.dtypes
            )
            if condition is not None:
                return condition
        n = len(selection.mask)
        if selection.matches <= _LONGEST_LIST:
            return f"id IN ({', '.join(map(str, np.flatnonzero(selection.mask)))})"
        if selection.matches == n:
            return "true"
        if n - selection.matches <= _LONGEST_LIST:
            return f"id NOT IN ({', '.join(map(str, np.flatnonzero(~selection.mask)))})"
        return None

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        condition = None if selection is None else self._condition(selection)
        after = ", filtered after it" if selection is not None and condition is None else ""
        k = min(k, self.n)
        plan = self._query(np.ones(self.d, dtype=np.float32), k, search, condition).explain_plan()
        if "ANNSubIndex" not in plan and "ANNIvf" not in plan:
            return "lancedb exhaustive scan" + after
        facts = self._table.index_stats(_INDEX)
        rest = ""
        if facts.num_unindexed_rows:
            rest = f", exhaustive scan of {facts.num_unindexed_rows} rows outside it"
        return f"lancedb {facts.index_type}{rest}{after}"

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        if self.metric == "l2":
            return (-raw).astype(np.float32)
        return (1 - (raw / 2 if self._by_length else raw)).astype(np.float32)

    def _save(self, folder: Path) -> None:
        if self._place is None:
            raise InputError(f"index {self.name!r}: is closed")
        shutil.copytree(self._place / f"{_TABLE}.lance", folder / f"{_TABLE}.lance")

    def _load(self, folder: Path) -> None:
        import lancedb

        self._let_go()
        self._place = folder
        self._table = lancedb.connect(str(folder)).open_table(_TABLE)

    def close(self) -> None:
        """Let go of the table, and remove its folder if that is a temporary one."""
        super().close()
        self._let_go()

    def _let_go(self) -> None:
        self._table, self._place = None, None
        if self._cleanup is not None:
            self._cleanup()
            self._cleanup = None


def _as_hits(
    rows: NDArray[Any], ids: NDArray[Any], distances: NDArray[Any], n_queries: int, k: int
) -> RawHits:
    """Bring one table of all queries' hits into arrays of shape (n_queries, k), padded."""
    order = np.lexsort((distances, rows))  # stable: ties stay in the library's order
    rows, ids, distances = rows[order], ids[order], distances[order]
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    labels = np.full((n_queries, k), -1, dtype=np.int64)
    far = np.full((n_queries, k), np.inf, dtype=np.float32)
    labels[rows, places], far[rows, places] = ids, distances
    return labels, far


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_SQL = Dialect(equals="=", one_of="IN", both=" AND ", brackets=("(", ")"), text=_quoted)
