"""Milvus: the suite for the embedded kinds, and the traps of the library."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.filters import Filter
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.indexes import milvus as backend
from retrieval_eval.testing import IndexConformance

pytest.importorskip("pymilvus", reason="pymilvus is not installed: extra 'milvus'")
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: extra 'milvus'")

Make = Callable[..., Index]
N, D = 400, 8
URI, TOKEN = "RETRIEVAL_EVAL_MILVUS_URI", "RETRIEVAL_EVAL_MILVUS_TOKEN"


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI, raising=False)
    monkeypatch.delenv(TOKEN, raising=False)


def maker(**parameters: Any) -> Make:
    return lambda **options: get_index("milvus", **{**parameters, **options})


class TestHnsw(IndexConformance):
    narrow, wide, recall = {"ef": 5}, {"ef": 4000}, 0.98  # inner products leave some unreachable
    repeatable = False  # its worker threads build together

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(M=32)


class TestIvfFlat(IndexConformance):
    narrow, wide = {"nprobe": 1}, {"nprobe": 8}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(kind="IVF_FLAT", nlist=8)


class TestFlat(IndexConformance):
    @pytest.fixture
    def make_index(self) -> Make:
        return maker(kind="FLAT")


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(size=(N, D)).astype(np.float32)


@pytest.fixture
def close() -> Iterator[Callable[[Index], Index]]:
    opened: list[Index] = []

    def remember(index: Index) -> Index:
        opened.append(index)
        return index

    yield remember
    for index in opened:
        index.close()


def segments_of(index: Any) -> list[Any]:
    """Look behind the library's own words, into the server that runs in this process."""
    from milvus_lite.server_manager import server_manager_instance

    _, database, _ = server_manager_instance._servers[str(index._place / "milvus.db")]
    return list(database.get_collection(index._collection)._segment_cache.values())


@pytest.mark.parametrize(
    ("kind", "really", "words"),
    [
        ("HNSW", "FaissHnswIndex", "milvus-lite HNSW"),
        ("AUTOINDEX", "FaissHnswIndex", "milvus-lite HNSW"),
        ("IVF_FLAT", "FaissIvfFlatIndex", "milvus-lite IVF_FLAT"),
        ("IVF_SQ8", "FaissIvfSq8Index", "milvus-lite IVF_SQ8"),
        ("FLAT", "BruteForceIndex", "milvus-lite exhaustive scan"),
    ],
)
def test_what_serves_is_what_it_says_with_the_parameters_given(
    vectors: NDArray[np.float32],
    kind: str,
    really: str,
    words: str,
    close: Callable[[Index], Index],
    tmp_path: Path,
) -> None:
    index = close(get_index("milvus", kind=kind, M=6, ef_construction=33, nlist=7, metric="l2"))
    index.build(vectors)
    assert index.served_by(5) == words
    index.save(tmp_path / "index")
    loaded = close(type(index).load(tmp_path / "index"))
    for one in (index, loaded):
        held = [segment.indexes["vector"] for segment in segments_of(one)]
        assert [type(each).__name__ for each in held] == [really]
        assert sum(each.num_vectors for each in held) == N
        if kind == "HNSW":
            assert held[0]._index.hnsw.nb_neighbors(1) == 6
            assert one is loaded or held[0]._index.hnsw.efConstruction == 33
        elif kind.startswith("IVF"):
            assert held[0]._index.nlist == 7


def test_what_is_not_flushed_is_never_taken_for_indexed(
    vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, close: Callable[[Index], Index]
) -> None:
    from pymilvus import MilvusClient

    monkeypatch.setattr(MilvusClient, "flush", lambda *_, **__: None)
    monkeypatch.setattr(backend, "_PATIENCE_S", 0.3)
    index: Any = close(get_index("milvus"))
    with pytest.raises(RetrievalEvalError, match="still wait for the index"):
        index.build(vectors)
    index.n = N  # a build that failed must not be asked, but here it is
    assert index.served_by(5) == f"milvus-lite, exhaustive scan of {N} rows in no index"
    # Why it looks at the segments: the library's own answer.
    facts = index._client.describe_index(index._collection, "vector")
    assert (facts["index_type"], facts["indexed_rows"]) == ("HNSW", N)


def test_another_version_of_the_embedded_server_is_not_vouched_for(
    vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, close: Callable[[Index], Index]
) -> None:
    index = close(get_index("milvus")).build(vectors)
    with monkeypatch.context() as patch:
        patch.setattr(backend, "_lite", object)
        assert index.served_by(5) == "milvus-lite (it does not tell which index)"


def test_nothing_is_printed_and_nothing_left_behind(
    vectors: NDArray[np.float32], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    threads = threading.active_count()
    index: Any = get_index("milvus", kind="HNSW").build(vectors)
    place = index._place
    index.search(vectors[:3], 5)
    index.save(tmp_path / "index")
    index.search(vectors[:3], 5)
    assert place.is_dir()
    index.close()
    forgotten: Any = get_index("milvus", kind="FLAT").build(vectors)
    other = forgotten._place
    del forgotten
    gc.collect()
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= threads
    assert not place.exists()
    assert not other.exists()
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match="build or load it before searching"):
        index.search(vectors[:3], 5)


def test_settings_do_not_mix_between_threads(close: Callable[[Index], Index]) -> None:
    vectors = np.random.default_rng(4).normal(size=(2000, 16)).astype(np.float32)
    index = close(get_index("milvus", M=2, ef_construction=4)).build(vectors)
    queries = vectors[:30] + 0.5
    expected = {ef: index.search(queries, 5, ef=ef).ids for ef in (5, 400)}
    assert (expected[5] != expected[400]).any()

    def search(ef: int) -> bool:
        return bool((index.search(queries, 5, ef=ef).ids == expected[ef]).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(search, [5, 400] * 15))


def test_a_search_writes_nothing_beside_a_saved_index(
    vectors: NDArray[np.float32], tmp_path: Path, close: Callable[[Index], Index]
) -> None:
    built = close(get_index("milvus", kind="IVF_FLAT", nlist=4))
    built.build(vectors, attributes={"row": range(N)}).save(tmp_path / "index")

    def tree() -> dict[str, tuple[int, int]]:
        places = (tmp_path, *tmp_path.rglob("*"))
        return {str(one): (one.stat().st_mtime_ns, one.stat().st_size) for one in places}

    before = tree()
    loaded = close(type(built).load(tmp_path / "index"))
    found = loaded.search(vectors[:3], 3, where=Filter.parse({"row": {"min": 200}}))
    assert (found.ids >= 200).all()
    loaded.close()
    assert tree() == before


def test_refused_and_noted(vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="milvus-lite does not have"):
        get_index("milvus", kind="IVF_PQ").build(vectors)
    with pytest.raises(InputError, match="nlist is 401, but there are only 400"):
        get_index("milvus", kind="IVF_FLAT", nlist=401).build(vectors)
    with pytest.raises(InputError, match="'kind' is 'DISKANN'"):
        get_index("milvus", kind="DISKANN")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert get_index("milvus").note(backend.MilvusSearch(ef=10), N, 10) is None
    for parameters, search, words in (
        ({}, {"ef": 5}, "ef=5 is below k=10"),
        ({"kind": "IVF_FLAT", "nlist": 4}, {"nprobe": 5}, "nprobe=5 is above nlist=4"),
        ({"kind": "IVF_FLAT", "nlist": 40}, {}, "400 vectors train 40 lists"),
        ({"threads": 1}, {}, "threads=1 does not reach"),
    ):
        index = get_index("milvus", **parameters)
        assert words in str(index.note(index.settings(search), N, 10))


def test_more_hits_than_milvus_returns_are_refused(
    vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, close: Callable[[Index], Index]
) -> None:
    index = close(get_index("milvus", kind="FLAT")).build(vectors)
    monkeypatch.setattr(backend, "_LARGEST_K", 20)
    assert index.search(vectors[:1], 20).found.tolist() == [20]
    with pytest.raises(InputError, match="21 hits are wanted, Milvus returns 20 at most"):
        index.search(vectors[:1], 21)


def test_a_batch_is_cut_where_the_library_would_fill_the_memory(
    vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, close: Callable[[Index], Index]
) -> None:
    from pymilvus import MilvusClient

    sizes = []
    inner = MilvusClient.search

    def search(self: Any, name: str, data: Any, **options: Any) -> Any:
        sizes.append(len(data))
        return inner(self, name, data=data, **options)

    monkeypatch.setattr(MilvusClient, "search", search)
    monkeypatch.setattr(backend, "_SCRATCH_FLOATS", 7 * N * D)
    for metric, expected in (("l2", [7, 7, 6]), ("ip", [20])):
        index = close(get_index("milvus", kind="FLAT", metric=metric)).build(vectors)
        exact = get_index("flat", metric=metric).build(vectors).search(vectors[:20], 5)
        sizes.clear()
        np.testing.assert_array_equal(index.search(vectors[:20], 5).ids, exact.ids)
        assert sizes == expected


ODD = [
    "a'b",
    '"',
    '" or id >= 0 or a1 == "',
    "\\",
    '\\" or 1==1',
    "a\nb",
    "\0",
    "ü🙂",
    "%",
    "",
    "{x}",
]
ATTRIBUTES: dict[str, list[Any]] = {
    "id": [ODD[row % len(ODD)] for row in range(N)],  # names that the collection has itself
    "vector": [row % 2 == 0 for row in range(N)],
    "in": [None if row % 5 == 0 else row / 3 - 9 for row in range(N)],
    "big": [[2**63 - 1, -(2**63), 0, -5][row % 4] for row in range(N)],
    "long": ["x" * 70_000 if row == 3 else "y" for row in range(N)],
    "odd": [[float("nan"), float("inf"), 1.5, None][row % 4] for row in range(N)],
}
FILTERS: list[dict[str, Any]] = [
    *({"id": text} for text in ODD),
    {"id": [ODD[1], ODD[4], 'x"]']},
    {"id": {"min": '"', "max": "b"}},
    {"vector": True, "in": {"min": -1.5}},
    {"vector": [False]},
    {"in": 5 / 3 - 9},
    {"in": {"max": -8}},
    {"in": {"min": -1e300, "max": 1e-300}},
    {"big": 2**63 - 1},
    {"big": -(2**63)},
    {"big": [-5, 0]},
    {"big": {"max": -1}},
    {"long": "x" * 70_000},
    {"odd": {"min": 1.0}},
]


@pytest.fixture(scope="module")
def odd_index() -> Iterator[Index]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(URI, raising=False)
        vectors = np.random.default_rng(2).normal(size=(N, D)).astype(np.float32)
        index = get_index("milvus", kind="FLAT").build(vectors, attributes=ATTRIBUTES)
        yield index
        index.close()


@pytest.mark.parametrize("wanted", FILTERS, ids=lambda wanted: repr(wanted)[:60])
def test_no_value_escapes_its_condition(wanted: dict[str, Any], odd_index: Index) -> None:
    where = Filter.parse(wanted)
    assert odd_index.attributes is not None
    mask = where.mask(odd_index.attributes)
    hits = odd_index.search(np.ones((2, D), dtype=np.float32), N, where=where)
    for ids in hits.ids:
        assert sorted(ids[ids >= 0].tolist()) == np.flatnonzero(mask).tolist()


def test_long_masks_are_applied_after_the_search_and_it_says_so(
    vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, close: Callable[[Index], Index]
) -> None:
    index = close(get_index("milvus", kind="IVF_FLAT", nlist=4)).build(vectors)
    monkeypatch.setattr(backend, "_LONGEST_LIST", 50)
    rows = np.arange(N)
    for mask, after in ((rows < 50, False), (rows < 51, True), (rows >= 0, False)):
        hits = index.search(vectors[:3], 20, where=mask, nprobe=4)
        assert (hits.found == 20).all()
        assert mask[hits.ids].all()
        words = index.served_by(20, where=mask)
        assert words == "milvus-lite IVF_FLAT" + (", filtered after it" if after else "")


# -- a server: milvus-lite's own, spoken to over the network -----------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    running, database, port = start_server_in_thread(data_dir=str(tmp_path / "server"))
    monkeypatch.setenv(URI, f"http://127.0.0.1:{port}")
    monkeypatch.setenv(TOKEN, "root:very-secret-token")
    yield database
    running.stop(grace=0).wait()
    database.close()


def test_a_server_holds_what_is_saved_and_loses_what_is_not(
    server: Any, vectors: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "index"
    index: Any = get_index("milvus", kind="IVF_FLAT", nlist=4)
    assert index.identity()["server"] is True
    index.build(vectors, attributes={"row": range(N)})
    assert index.served_by(3) == "milvus server IVF_FLAT"
    assert index.size_bytes() > 0  # asking for it is not saving
    name = index._collection
    assert server.list_collections() == [name]
    index.close()
    assert server.list_collections() == []

    index.build(vectors, attributes={"row": range(N)})
    index.save(folder)
    name = index._collection
    where = Filter.parse({"row": {"min": 300}})
    expected = index.search(vectors[:5], 4, where=where, nprobe=4)
    index.close()
    assert server.list_collections() == [name]
    facts = {"n": N}
    assert index.intact(folder, facts)
    assert not index.intact(folder, {"n": N + 1})
    for path in folder.rglob("*"):
        content = path.read_bytes()
        assert b"secret" not in content
        assert b"127.0.0.1" not in content
    assert "secret" not in json.dumps(index.identity())

    loaded = type(index).load(folder)
    np.testing.assert_array_equal(
        loaded.search(vectors[:5], 4, where=where, nprobe=4).ids, expected.ids
    )
    loaded.close()
    assert server.list_collections() == [name]
    server.drop_collection(name)
    assert not index.intact(folder, facts)
    monkeypatch.delenv(URI)
    assert not index.intact(folder, facts)
    with pytest.raises(InputError, match="lies on a server: name it in RETRIEVAL_EVAL_MILVUS_URI"):
        type(index).load(folder)
    assert get_index("milvus").identity()["server"] is False


def test_the_token_reaches_the_client(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import pymilvus

    given: list[dict[str, Any]] = []

    def client(**options: Any) -> None:
        given.append(options)

    monkeypatch.setattr(pymilvus, "MilvusClient", client)
    backend._connect("http://somewhere:1")
    backend._connect(str(tmp_path / "milvus.db"))
    assert [one["token"] for one in given] == ["root:very-secret-token", ""]
