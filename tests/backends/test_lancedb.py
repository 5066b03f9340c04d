"""LanceDB: the suite for each kind of index, and the traps of the library."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.filters import Filter
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.neighbours import true_scores
from retrieval_eval.testing import IndexConformance

pytest.importorskip("lancedb", reason="lancedb is not installed: extra 'lancedb'")

Make = Callable[..., Index]
N, D = 600, 16


def maker(**parameters: Any) -> Make:
    return lambda **options: get_index("lancedb", **{**parameters, **options})


class TestIvfPq(IndexConformance):
    narrow, wide, lossless, recall = {"nprobe": 1}, {"nprobe": 4}, False, 0.5
    repeatable = False  # the library draws without a seed

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"m": d // 2}

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(nlist=4, m=12)


class TestIvfPqRefined(TestIvfPq):
    wide: ClassVar[dict[str, Any]] = {"nprobe": 4, "refine_factor": 30}
    lossless, recall = True, 0.98

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(nlist=4, m=12, nbits=4)

    def parameters_for(self, d: int) -> dict[str, Any]:
        return {"m": 2 * (d // 4) if d % 4 == 0 else 10}


class TestIvfFlat(IndexConformance):
    narrow, wide = {"nprobe": 1}, {"nprobe": 8}
    repeatable = False

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(kind="ivf-flat", nlist=8)


class TestIvfHnswSq(IndexConformance):
    narrow, wide = {"nprobe": 1, "ef": 10}, {"nprobe": 2, "ef": 600}
    tolerance, recall, repeatable = 0.03, 0.85, False

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(kind="ivf-hnsw-sq", nlist=2)


class TestNoIndex(IndexConformance):
    @pytest.fixture
    def make_index(self) -> Make:
        return maker(kind="none")


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(size=(N, D)).astype(np.float32)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in (folder, *folder.rglob("*"))
    }


def test_served_by_says_what_the_table_does(vectors: NDArray[np.float32]) -> None:
    for kind, expected in (
        ("ivf-pq", "lancedb IVF_PQ"),
        ("ivf-flat", "lancedb IVF_FLAT"),
        ("ivf-hnsw-sq", "lancedb IVF_HNSW_SQ"),
        ("none", "lancedb exhaustive scan"),
    ):
        index = get_index("lancedb", kind=kind, nlist=2, m=8).build(vectors)
        assert index.served_by(5) == expected
        index.close()
    index = get_index("lancedb", kind="ivf-flat", nlist=2).build(vectors)
    index._table.drop_index("vector_idx")
    assert index.served_by(5) == "lancedb exhaustive scan"
    index.close()


def test_codes_that_the_library_would_leave_untrained_are_refused(
    vectors: NDArray[np.float32],
) -> None:
    import lancedb
    import pyarrow as pa
    from lancedb.index import IvfPq

    with pytest.raises(InputError, match="nbits is 8, which needs at least 256 vectors"):
        get_index("lancedb", nlist=1, m=8).build(vectors[:255])
    with pytest.raises(InputError, match=r"'ivf-flat' or 'none'$"):
        get_index("lancedb", nlist=1, m=8, nbits=4).build(vectors[:15])
    index = get_index("lancedb", nlist=1, m=8, nbits=4).build(vectors[:16])
    assert index.served_by(5) == "lancedb IVF_PQ"
    index.close()

    # Why: below that the library lists an index, and scans.
    database = lancedb.connect("memory://")
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors[:255].ravel()), D)
    table = database.create_table("t", pa.table({"vector": values}))
    table.create_index("vector", config=IvfPq(num_partitions=1, num_sub_vectors=8))
    assert [one.index_type for one in table.list_indices()] == ["IvfPq"]
    assert table.index_stats("vector_idx").num_indexed_rows == 0


def test_an_untrained_index_is_refused_even_if_check_lets_it_pass(
    vectors: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = get_index("lancedb", nlist=1, m=8)
    monkeypatch.setattr(type(index), "check", lambda *_: None)
    with pytest.raises(InputError, match="has built no index of kind 'ivf-pq'"):
        index.build(vectors[:100])
    index.close()


@pytest.mark.parametrize("kind", ["ivf-pq", "ivf-flat", "ivf-hnsw-sq"])
def test_every_list_asked_for_is_there_and_nothing_is_printed(
    vectors: NDArray[np.float32], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    index = get_index("lancedb", kind=kind, nlist=8, m=8, metric="l2").build(vectors)
    ef = {"ef": N} if kind == "ivf-hnsw-sq" else {}
    found = [int(index.search(vectors[:1], N, nprobe=p, **ef).found[0]) for p in range(1, 9)]
    assert found == sorted(set(found)), "another list adds documents"
    assert found[-1] == N
    index.close()
    assert capfd.readouterr() == ("", "")


def test_what_cannot_work_is_refused(vectors: NDArray[np.float32]) -> None:
    for parameters, rule in (
        ({"nlist": N + 1, "kind": "ivf-flat"}, "nlist is 601, but there are only 600"),
        ({"m": 5}, "m is 5, which does not divide the dimension 16: choose one of 1, 2, 4, 8, 16"),
        ({"m": 1, "nbits": 4}, "with nbits 4 it must be even"),
    ):
        with pytest.raises(InputError, match=rule):
            get_index("lancedb", **{"nlist": 2, **parameters}).build(vectors)
    with pytest.raises(InputError, match="'nbits' is 6"):
        get_index("lancedb", nbits=6)
    for kind, search in (("ivf-pq", {"ef": 10}), ("none", {"refine_factor": 2})):
        with pytest.raises(InputError, match="has no meaning for kind"):
            get_index("lancedb", kind=kind).settings(search)


def test_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    def note(n: int, k: int, search: dict[str, Any], **parameters: Any) -> str | None:
        index = get_index("lancedb", **parameters)
        return index.note(index.settings(search), n, k)

    assert note(100_000, 10, {}) is None
    assert note(600, 10, {"nprobe": 1}, nlist=4) == (
        "600 vectors train 4 lists: lancedb asks for 256 a list"
    )
    assert note(600, 10, {}, nlist=2) == "nprobe=20 is above nlist=2: all lists are read"
    assert "nprobe has no effect" in str(note(600, 10, {}, kind="none"))
    assert "ef=20 is below the 30 candidates" in str(
        note(100_000, 10, {"ef": 20, "refine_factor": 3}, kind="ivf-hnsw-sq")
    )
    monkeypatch.delenv("LANCE_CPU_THREADS", raising=False)
    assert "threads=1 does not reach lancedb" in str(note(100_000, 10, {}, threads=1))
    monkeypatch.setenv("LANCE_CPU_THREADS", "1")
    assert note(100_000, 10, {}, threads=1) is None


def test_refining_returns_true_scores_and_an_ef_below_the_candidates_works(
    vectors: NDArray[np.float32],
) -> None:
    exact = get_index("flat", metric="l2").build(vectors).search(vectors[:20], 5)
    index = get_index("lancedb", kind="ivf-hnsw-sq", nlist=2, metric="l2").build(vectors)
    hits = index.search(vectors[:20], 5, nprobe=2, ef=1, refine_factor=8)
    same = hits.ids == exact.ids
    assert same.mean() > 0.95
    np.testing.assert_allclose(hits.scores[same], exact.scores[same], rtol=1e-5, atol=1e-5)
    index.close()


@pytest.mark.parametrize("kind", ["ivf-pq", "ivf-flat", "ivf-hnsw-sq", "none"])
def test_scores_of_cosine_are_cosines_also_without_refining(
    vectors: NDArray[np.float32], kind: str
) -> None:
    index = get_index("lancedb", kind=kind, nlist=2, m=16).build(vectors * 3)
    refined = {"refine_factor": 2} if kind != "none" else {}
    for search in ({"nprobe": 2}, {"nprobe": 2, **refined}):
        hits = index.search(vectors[:10] * 7, N // 2, **search)
        true = true_scores(vectors, vectors[:10], hits.ids, "cosine")
        assert np.abs(hits.scores - true).max() < 0.15
        assert abs(np.polyfit(true.ravel(), hits.scores.ravel(), 1)[0] - 1) < 0.1
    index.close()


def test_codes_leave_out_zero_vectors_under_cosine_and_nothing_else_does(
    vectors: NDArray[np.float32],
) -> None:
    vectors[[3, 500]] = 0
    for kind, metric, found in (
        ("ivf-pq", "cosine", N - 2),
        ("ivf-pq", "l2", N),
        ("ivf-flat", "cosine", N),
        ("ivf-hnsw-sq", "cosine", N),
    ):
        index = get_index("lancedb", kind=kind, metric=metric, nlist=2, m=16)
        index.build(vectors, attributes={"row": range(N)})
        ef = {"ef": N} if kind == "ivf-hnsw-sq" else {}
        hits = index.search(vectors[[0, 599]], N, nprobe=2, **ef)
        assert hits.found.tolist() == [found, found]
        assert hits.ids[:, 0].tolist() == [0, 599]
        same = index.search(vectors[[599]], 1, where=Filter.parse({"row": 599}), nprobe=2)
        assert same.ids.tolist() == [[599]]
        if metric == "cosine" and found == N:
            np.testing.assert_allclose(hits.scores[hits.ids == 3], 0.0, atol=0.01)
        index.close()
    vectors[:400] = 0
    with pytest.raises(InputError, match="but there are only 199"):
        get_index("lancedb", nlist=1, m=8).build(vectors)


def test_one_query_and_a_batch_give_the_same_hits(vectors: NDArray[np.float32]) -> None:
    for kind in ("ivf-pq", "none"):
        index = get_index("lancedb", kind=kind, nlist=2, m=8).build(vectors)
        batch = index.search(vectors[:20], 7, nprobe=1)
        for row in range(20):
            one = index.search(vectors[row : row + 1], 7, nprobe=1)
            np.testing.assert_array_equal(one.ids[0], batch.ids[row])
            np.testing.assert_allclose(one.scores[0], batch.scores[row], rtol=1e-6)
        index.close()


ODD = [
    "a'b",
    "''",
    "' OR 1=1 --",
    "\\'",
    "back\\slash",
    "a\nb",
    "nul\0",
    "ü🙂",
    '"q"',
    "`b`",
    "%",
    "",
]
ATTRIBUTES = {
    "Year": [row % 7 for row in range(N)],
    "id": [ODD[row % len(ODD)] for row in range(N)],  # names that the table has itself
    "vector": [row % 2 == 0 for row in range(N)],
    "select": [None if row % 5 == 0 else row / 3 for row in range(N)],
    "big": [[2**63 - 1, -(2**63), 0][row % 3] for row in range(N)],
}
FILTERS: list[dict[str, Any]] = [
    *({"id": text} for text in ODD),
    {"id": ["a'b", "''", "x'); DROP TABLE docs"]},
    {"id": {"min": "' OR 1=1 --", "max": "b"}},
    {"Year": {"min": 2, "max": 3}, "vector": True},
    {"vector": [False]},
    {"select": 5 / 3},
    {"select": {"max": 7}},
    {"select": {"min": -1e300, "max": 1e-300}},
    {"big": 2**63 - 1},
    {"big": {"max": -(2**63)}},
]


@pytest.mark.parametrize("wanted", FILTERS, ids=repr)
def test_no_value_escapes_its_condition(wanted: dict[str, Any], odd_index: Index) -> None:
    where = Filter.parse(wanted)
    assert odd_index.attributes is not None
    mask = where.mask(odd_index.attributes)
    hits = odd_index.search(np.ones((2, D), dtype=np.float32), N, where=where)
    for ids in hits.ids:
        assert sorted(ids[ids >= 0].tolist()) == np.flatnonzero(mask).tolist()


@pytest.fixture(scope="module")
def odd_index() -> Any:
    vectors = np.random.default_rng(2).normal(size=(N, D)).astype(np.float32)
    index = get_index("lancedb", kind="ivf-flat", nlist=2)
    yield index.build(vectors, attributes=ATTRIBUTES)
    index.close()


def test_filters_are_applied_before_the_search_by_the_library(odd_index: Index) -> None:
    where = Filter.parse({"Year": 3})
    query = odd_index._query(np.ones(D, dtype=np.float32), 5, odd_index.settings({}), "a0 = 3")
    plan = query.explain_plan()
    assert re.search(r"ANN.*\n.*LanceRead.*full_filter=a0 = Int64\(3\)", plan, re.DOTALL)
    assert odd_index.served_by(5, where=where) == "lancedb IVF_FLAT"
    assert odd_index.filtering == "native"


def test_long_masks_are_applied_after_the_search_and_it_says_so() -> None:
    n = 12_000
    vectors = np.random.default_rng(3).normal(size=(n, 8)).astype(np.float32)
    index = get_index("lancedb", kind="ivf-flat", nlist=4).build(vectors)
    rows = np.arange(n)
    for mask, after in (
        (rows < 5000, False),
        (rows >= 5000, False),  # all but 5000
        (rows > 5000, True),
        (rows % 2 == 0, True),
        (rows % 4 > 0, False),
        (rows >= 0, False),
    ):
        hits = index.search(vectors[:3] + 1, 20, where=mask, nprobe=4)
        assert (hits.found == 20).all()
        assert mask[hits.ids].all()
        expected = "lancedb IVF_FLAT" + (", filtered after it" if after else "")
        assert index.served_by(20, where=mask, nprobe=4) == expected
    index.close()


def test_a_search_writes_nothing_beside_a_saved_index(
    vectors: NDArray[np.float32], tmp_path: Path
) -> None:
    built = get_index("lancedb", nlist=2, m=8).build(vectors, attributes=ATTRIBUTES)
    place = built._place
    assert place.is_dir()
    built.save(tmp_path / "index")
    expected = built.search(vectors[:5], 5, nprobe=1, refine_factor=2)
    built.close()
    assert not place.exists()
    before = tree(tmp_path)
    loaded = type(built).load(tmp_path / "index", threads=1)
    assert loaded.served_by(5) == "lancedb IVF_PQ"
    found = loaded.search(vectors[:5], 5, nprobe=1, refine_factor=2)
    loaded.search(vectors[:5], 5, where=Filter.parse({"Year": 3}))
    np.testing.assert_array_equal(found.ids, expected.ids)
    loaded.save(tmp_path / "copy")
    loaded.close()
    assert {path: facts for path, facts in tree(tmp_path).items() if path in before} == {
        **before,
        str(tmp_path): tree(tmp_path)[str(tmp_path)],  # the copy was written into it
    }
    type(built).load(tmp_path / "index").close()
    type(built).load(tmp_path / "copy").close()


def test_a_forgotten_index_leaves_no_folder(vectors: NDArray[np.float32]) -> None:
    index = get_index("lancedb", kind="none").build(vectors)
    first = index._place
    index.build(vectors)
    second = index._place
    assert second.is_dir()
    assert not first.exists()
    del index
    gc.collect()
    assert not second.exists()


def test_the_stored_type_is_stated() -> None:
    stored = {kind: get_index("lancedb", kind=kind).stored for kind in ("ivf-pq", "ivf-hnsw-sq")}
    assert stored == {"ivf-pq": "product-quantised codes", "ivf-hnsw-sq": "8-bit integers"}
    assert get_index("lancedb", kind="none").seeded is False
    assert get_index("lancedb").seeded is True


def test_a_bound_search_of_a_closed_index_is_refused(vectors: NDArray[np.float32]) -> None:
    index = get_index("lancedb", kind="none").build(vectors)
    call = index.bind(3)
    index.search(vectors[:1], 3)
    index.close()
    for search in (lambda: call(vectors[:1]), lambda: index.search(vectors[:1], 3)):
        with pytest.raises(InputError, match="build or load it before searching"):
            search()
