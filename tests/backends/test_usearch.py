"""usearch: the suite in each element type, and the traps of the library."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.testing import IndexConformance

pytest.importorskip("usearch", reason="usearch is not installed: extra 'usearch'")

Make = Callable[..., Index]


def maker(**parameters: Any) -> Make:
    return lambda **options: get_index("usearch", **{**parameters, **options})


class TestUsearch(IndexConformance):
    narrow, wide, recall = {"ef": 5}, {"ef": 4000}, 0.98  # inner products leave some unreachable

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(M=32)


class TestUsearchF16(TestUsearch):
    tolerance, recall = 1e-3, 0.95

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(M=32, dtype="f16")


class TestUsearchBf16(TestUsearch):
    tolerance, recall = 1e-2, 0.9

    @pytest.fixture
    def make_index(self) -> Make:
        return maker(M=32, dtype="bf16")


class TestUsearchI8(TestUsearch):
    tolerance, recall = 2e-2, 0.85

    @pytest.fixture
    def make_index(self) -> Make:
        def make(**options: Any) -> Index:
            if options.get("metric", "cosine") != "cosine":
                pytest.skip("i8 keeps no lengths: see test_i8_serves_cosine_alone")
            return get_index("usearch", **{"M": 32, "dtype": "i8", **options})

        return make


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(size=(500, 16)).astype(np.float32)


def test_the_stored_type_is_the_one_it_says(vectors: NDArray[np.float32]) -> None:
    from usearch.index import Index as Graph

    expected = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8"}
    sizes = {}
    for dtype, stored in expected.items():
        index = get_index("usearch", dtype=dtype, threads=1).build(vectors)
        assert index.stored == stored
        assert index._usearch.dtype.name.lower() == dtype
        sizes[dtype] = index.size_bytes()
    assert get_index("usearch").stored == "float32"
    assert sizes["f32"] - sizes["f16"] == sizes["f32"] - sizes["bf16"] == vectors.size * 2
    assert sizes["f32"] - sizes["i8"] == vectors.size * 3
    if Graph(ndim=16).dtype.name == "F32":
        pytest.skip("this processor has no arithmetic for the library's own default, bfloat16")
    assert Graph(ndim=16).dtype.name in ("BF16", "F16")


def test_i8_serves_cosine_alone(vectors: NDArray[np.float32]) -> None:
    for metric in ("ip", "l2"):
        with pytest.raises(InputError, match="forgets the length of a vector"):
            get_index("usearch", metric=metric, dtype="i8")
    hits = get_index("usearch", dtype="i8", threads=1).build(vectors).search(vectors[:5], 3)
    assert hits.ids[:, 0].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(hits.scores[:, 0], 1.0, atol=0.01)


def test_what_float16_cannot_hold_is_refused(vectors: NDArray[np.float32]) -> None:
    index = get_index("usearch", metric="ip", dtype="f16", threads=1)
    with pytest.raises(InputError, match="float16 ends at 65504"):
        index.build(vectors * 1e6)
    index.build(vectors)
    with pytest.raises(InputError, match="the queries hold"):
        index.search(vectors[:1] * 1e6, 3)
    wide = get_index("usearch", metric="ip", dtype="bf16", threads=1).build(vectors * 1e6)
    assert (wide.search(vectors[:3] * 1e6, 3).found == 3).all()


def test_short_results_are_padded_and_never_become_document_zero() -> None:
    # Documents on a sphere around one in the middle: all link to it, and many are cut off.
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(600, 24))
    sphere /= np.linalg.norm(sphere, axis=1)[:, None]
    sphere[5] = 0
    index = get_index("usearch", metric="l2", threads=1).build(sphere)
    raw, _ = index.bind(600)(index.prepare(sphere[:4]))
    assert (raw == -1).any(), "the library found all: this no longer tests short results"
    for queries in (sphere[:4], sphere[:1]):  # one query takes another path
        hits = index.search(queries, 600)
        assert (hits.ids == 0).sum(axis=1).max() <= 1
        assert ((hits.ids == -1) == np.isneginf(hits.scores)).all()
        for ids, found in zip(hits.ids, hits.found, strict=True):
            assert (ids[:found] >= 0).all()
            assert (ids[found:] == -1).all()


def test_one_query_and_a_batch_give_the_same_hits(vectors: NDArray[np.float32]) -> None:
    index = get_index("usearch", threads=1).build(vectors)
    batch = index.search(vectors[:20], 7)
    for row in range(20):
        one = index.search(vectors[row : row + 1], 7)
        np.testing.assert_array_equal(one.ids[0], batch.ids[row])
        np.testing.assert_array_equal(one.scores[0], batch.scores[row])


def test_settings_do_not_mix_between_threads() -> None:
    vectors = np.random.default_rng(4).normal(size=(3000, 32)).astype(np.float32)
    index = get_index("usearch", M=4, ef_construction=10, threads=1).build(vectors)
    queries = vectors[:50] + 0.5
    expected = {ef: index.search(queries, 5, ef=ef).ids for ef in (5, 400)}
    assert (expected[5] != expected[400]).any()

    def search(ef: int) -> bool:
        return bool((index.search(queries, 5, ef=ef).ids == expected[ef]).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(search, [5, 400] * 40))


def test_an_ef_below_k_has_no_effect_and_is_noted(vectors: NDArray[np.float32]) -> None:
    index = get_index("usearch", M=4, threads=1).build(vectors)
    low, same = (index.search(vectors[:50], 20, ef=ef) for ef in (1, 20))
    np.testing.assert_array_equal(low.ids, same.ids)
    assert index.note(index.settings({"ef": 1}), 500, 20) is not None
    assert index.note(index.settings({"ef": 20}), 500, 20) is None


def test_a_mapped_index_stays_in_its_file(tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).normal(size=(20_000, 64)).astype(np.float32)
    built = get_index("usearch", M=4, ef_construction=8, threads=2).build(vectors)
    built.save(tmp_path / "index")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()}
    mapped, read = (
        type(built).load(tmp_path / "index", threads=1, memory_map=mapped)
        for mapped in (True, False)
    )
    held = {index: index._usearch.memory_usage for index in (mapped, read)}
    assert held[mapped] < held[read] - vectors.nbytes / 2
    expected = read.search(vectors[:20], 5)
    found = mapped.search(vectors[:20], 5)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir()} == before
    if Path("/proc/self/maps").is_file():
        name = os.fspath(tmp_path / "index" / "index.usearch")
        assert name in Path("/proc/self/maps").read_text(encoding="utf-8")
        mapped.close()
        assert name not in Path("/proc/self/maps").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="build or load it before searching"):
        mapped.search(vectors[:1], 1)


def test_one_thread_builds_the_same_file_and_no_seed_changes_it(
    vectors: NDArray[np.float32], tmp_path: Path
) -> None:
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        get_index("usearch", seed=seed, threads=1).build(vectors).save(tmp_path / place)
    first = (tmp_path / "a" / "index.usearch").read_bytes()
    assert first == (tmp_path / "b" / "index.usearch").read_bytes()
    assert first == (tmp_path / "c" / "index.usearch").read_bytes()


def test_a_single_link_a_vector_is_refused() -> None:
    with pytest.raises(InputError, match="'M' is 1"):
        get_index("usearch", M=1)


def test_a_bound_search_of_a_closed_index_is_refused(vectors: NDArray[np.float32]) -> None:
    index = get_index("usearch", threads=1).build(vectors)
    call = index.bind(3)
    index.search(vectors[:1], 3)
    index.close()
    for search in (lambda: call(vectors[:1]), lambda: index.search(vectors[:1], 3)):
        with pytest.raises(InputError, match="build or load it before searching"):
            search()


def in_a_fresh_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=100
    )


def test_faiss_is_loaded_before_usearch() -> None:
    done = in_a_fresh_process(
        "import numpy as np\n"
        "from retrieval_eval import get_index\n"
        "vectors = np.eye(16, dtype=np.float32)\n"
        "get_index('usearch').build(vectors)\n"
        "get_index('ivf-flat', nlist=2).build(vectors)\n"
        "print('alive')"
    )
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr


def test_usearch_loaded_before_faiss_is_an_error_not_a_crash() -> None:
    done = in_a_fresh_process(
        "import usearch.index\n"
        "import numpy as np\n"
        "from retrieval_eval import InputError, get_index\n"
        "vectors = np.eye(16, dtype=np.float32)\n"
        "get_index('flat').build(vectors)\n"
        "try:\n"
        "    get_index('ivf-flat', nlist=2).build(vectors)\n"
        "except InputError as error:\n"
        "    print(error)"
    )
    assert done.returncode == 0, done.stderr
    assert "import faiss before usearch" in done.stdout
