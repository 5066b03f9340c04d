"""Indexes around an index: what each adds, against what it must equal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.filters import Filter
from retrieval_eval.geometry import local_intrinsic_dimensionality
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.indexes.project import learn_projections, projection_loss
from retrieval_eval.neighbours import METRICS, Metric, exact_neighbours

Vectors = NDArray[np.float32]
N, D, Q = 500, 32, 25
PQ = {"pq": {"m": 4, "nbits": 4}}


@pytest.fixture(scope="module")
def documents() -> Vectors:
    rng = np.random.default_rng(1)
    return (rng.normal(size=(N, D)) * rng.uniform(0.5, 2, size=(N, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return np.random.default_rng(2).normal(size=(Q, D)).astype(np.float32)


def make(name: str, documents: Vectors, metric: Metric = "cosine", **options: Any) -> Index:
    return get_index(name, metric=metric, threads=1, **options).build(documents)


# -- refine -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_refine_at_full_depth_equals_flat(
    metric: Metric, documents: Vectors, queries: Vectors
) -> None:
    refined = make("refine", documents, metric, index=PQ).search(queries, 20, depth=N)
    flat = make("flat", documents, metric).search(queries, 20)
    np.testing.assert_array_equal(refined.ids, flat.ids)
    np.testing.assert_allclose(refined.scores, flat.scores, rtol=1e-5, atol=1e-5)


def test_refine_ranks_the_candidates_of_its_inner_index(
    documents: Vectors, queries: Vectors
) -> None:
    index = make("refine", documents, "l2", index=PQ)
    candidates = make("pq", documents, "l2", m=4, nbits=4).search(queries, 40)
    hits = index.search(queries, 10, depth=40)
    found = 0
    for row in range(Q):
        assert set(hits.ids[row]) <= set(candidates.ids[row])
        found += len(set(hits.ids[row]) & set(candidates.ids[row, :10]))
    assert found < 10 * Q, "the order of the codes was kept"
    truth = exact_neighbours(documents, queries, 10, "l2")[0]

    def shared(ids: NDArray[np.int64]) -> int:
        return sum(len(set(a) & set(b)) for a, b in zip(ids, truth, strict=True))

    assert shared(index.search(queries, 10, depth=N).ids) == 10 * Q
    assert shared(hits.ids) > shared(candidates.ids[:, :10])


def test_refine_says_where_depth_has_no_effect(documents: Vectors, queries: Vectors) -> None:
    index = make("refine", documents, index="flat")
    assert index.note(index.settings({"depth": 5}), N, 10) == (
        "depth=5 is below k=10: 10 candidates are ranked again"
    )
    assert index.note(index.settings({"depth": 50}), N, 10) is None
    assert (index.search(queries, 10, depth=1).found == 10).all()


def test_refine_keeps_its_vectors_in_a_file(documents: Vectors, tmp_path: Path) -> None:
    index = make("refine", documents, "ip", index=PQ)
    assert index.size_bytes() > documents.nbytes
    index.save(tmp_path)
    loaded = type(index).load(tmp_path)
    assert isinstance(loaded._vectors, np.memmap)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(loaded._vectors, documents)  # type: ignore[attr-defined]


# -- project ----------------------------------------------------------------------------------


def out_of_distribution(seed: int = 0) -> tuple[Vectors, Vectors, Vectors]:
    """Draw documents, and queries (to learn from, to ask) that vary in other directions."""
    rng = np.random.default_rng(seed)
    spread = 0.85 ** np.arange(64)
    turn, _ = np.linalg.qr(rng.normal(size=(64, 64)))
    documents = rng.normal(size=(3000, 64)) * spread
    asked = (rng.normal(size=(1200, 64)) * spread) @ turn
    return (
        documents.astype(np.float32),
        asked[:1000].astype(np.float32),
        asked[1000:].astype(np.float32),
    )


@pytest.mark.parametrize("d", [4, 16, 40])
def test_leanvec_attains_its_bound_and_beats_pca_out_of_distribution(d: int) -> None:
    documents, examples, _ = out_of_distribution()
    x, q = documents.astype(np.float64), examples.astype(np.float64)

    def root(gram: NDArray[np.float64]) -> NDArray[np.float64]:
        values, vectors = np.linalg.eigh(gram)
        return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    singular = np.linalg.svd(root(q.T @ q) @ root(x.T @ x), compute_uv=False)
    bound = float((singular[d:] ** 2).sum() / (singular**2).sum())
    lean = learn_projections(documents, examples, d, centred=False)
    pca = learn_projections(documents, None, d, centred=False)
    assert projection_loss(documents, examples, *lean) == pytest.approx(bound, rel=1e-4)
    assert projection_loss(documents, examples, *pca) > 1.2 * bound


def test_pca_is_the_best_where_queries_are_like_documents() -> None:
    documents, _, _ = out_of_distribution()
    pca = learn_projections(documents, None, 16, centred=False)
    lean = learn_projections(documents, documents, 16, centred=False)
    loss = projection_loss(documents, documents, *pca)
    assert projection_loss(documents, documents, *lean) == pytest.approx(loss, rel=1e-4)


def test_leanvec_finds_more_neighbours_of_queries_it_has_not_seen() -> None:
    documents, examples, asked = out_of_distribution()
    truth = exact_neighbours(documents, asked, 10, "ip")[0]

    def recall(method: str) -> float:
        index = get_index("project", metric="ip", index="flat", d=16, method=method)
        hits = index.build(documents, queries=examples).search(asked, 10)
        shared = [len(set(a) & set(b)) for a, b in zip(hits.ids, truth, strict=True)]
        return float(np.mean(shared)) / 10

    assert recall("leanvec") > recall("pca") + 0.05


@pytest.mark.parametrize("metric", METRICS)
def test_a_projection_to_all_dimensions_loses_nothing(
    metric: Metric, documents: Vectors, queries: Vectors
) -> None:
    hits = make("project", documents, metric, index="flat", d=D).search(queries, 10)
    np.testing.assert_array_equal(hits.ids, exact_neighbours(documents, queries, 10, metric)[0])


def test_examples_come_from_a_file_and_are_part_of_the_identity(
    documents: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    path = tmp_path / "examples.npy"
    np.save(path, queries)
    options = {"index": "flat", "d": 8, "method": "leanvec"}
    by_file = make("project", documents, queries=str(path), **options)
    given = get_index("project", threads=1, **options).build(documents, queries=queries)
    np.testing.assert_array_equal(by_file.search(queries, 5).ids, given.search(queries, 5).ids)
    before = by_file.identity()
    np.save(path, queries[::-1])
    assert by_file.identity() != before
    nested = make("refine", documents, index={"project": {**options, "queries": str(path)}})
    assert (nested.search(queries, 5).found == 5).all()


def test_a_projection_that_cannot_work_is_refused(documents: Vectors, tmp_path: Path) -> None:
    np.save(tmp_path / "narrow.npy", documents[:, :3])
    for options, rule in (
        ({"d": D + 1}, "the vectors have 32 dimensions"),
        ({"method": "leanvec"}, "learns from example queries"),
        ({"method": "leanvec", "metric": "l2"}, "keeps inner products"),
        ({"method": "leanvec", "queries": str(tmp_path / "narrow.npy")}, r"shape \(q, 32\)"),
        ({"method": "leanvec", "queries": str(tmp_path / "none.npy")}, "not a .npy file"),
    ):
        with pytest.raises(InputError, match=rule):
            make("project", documents, **{"index": "flat", "d": 8, **options})


# -- sharded ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3, 7])
@pytest.mark.parametrize("metric", METRICS)
def test_shards_of_flat_equal_flat(
    metric: Metric, shards: int, documents: Vectors, queries: Vectors
) -> None:
    flat = make("flat", documents, metric)
    index = make("sharded", documents, metric, index="flat", shards=shards)
    attributes = {"row": list(range(N))}
    filtered = get_index("sharded", metric=metric, index="flat", shards=shards)
    filtered.build(documents, attributes=attributes)
    mask = np.arange(N) <= 40  # nothing passes in the later shards
    where = Filter.parse({"row": {"max": 40}})
    for hits, expected in (
        (index.search(queries, 30), flat.search(queries, 30)),
        (index.search(queries, 60, where=mask), flat.search(queries, 60, where=mask)),
        (filtered.search(queries, 9, where=where), flat.search(queries, 9, where=mask)),
    ):
        np.testing.assert_array_equal(hits.ids, expected.ids)
        np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-5, atol=1e-5)


def test_more_shards_than_documents_are_refused(documents: Vectors) -> None:
    with pytest.raises(InputError, match="shards is 501, but there are only 500 vectors"):
        make("sharded", documents, index="flat", shards=501)


# -- insertion order --------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["random", "lid-ascending", "lid-descending"])
def test_an_order_of_insertion_changes_no_exact_hit(
    order: str, documents: Vectors, queries: Vectors
) -> None:
    index = make("insertion-order", documents, index="flat", order=order, neighbours=20)
    hits, flat = index.search(queries, 10), make("flat", documents).search(queries, 10)
    np.testing.assert_array_equal(hits.ids, flat.ids)
    placed = index._order  # type: ignore[attr-defined]
    assert sorted(placed) == list(range(N))
    assert list(placed) != list(range(N))


def test_lid_orders_ascend_and_descend(documents: Vectors) -> None:
    unit = documents / np.linalg.norm(documents, axis=1, keepdims=True)
    dimensions = local_intrinsic_dimensionality(unit, 20)
    for order, sign in (("lid-ascending", 1), ("lid-descending", -1)):
        index = make("insertion-order", documents, index="flat", order=order, neighbours=20)
        assert (np.diff(sign * dimensions[index._order]) >= 0).all()  # type: ignore[attr-defined]


def test_the_category_groups_documents_and_filters_still_fit(
    documents: Vectors, queries: Vectors
) -> None:
    kinds = [("b", None, "a")[row % 3] for row in range(N)]
    index = get_index("insertion-order", index="flat", order="category", category="kind")
    index.build(documents, attributes={"kind": kinds})
    placed = [kinds[row] for row in index._order]  # type: ignore[attr-defined]
    assert placed == sorted(kinds, key=lambda kind: kind or "")
    hits = index.search(queries, 10, where=Filter.parse({"kind": "a"}))
    assert {kinds[row] for row in hits.ids.ravel()} == {"a"}


def test_an_order_that_cannot_work_is_refused(documents: Vectors) -> None:
    for options, rule in (
        ({"order": "category"}, "go together"),
        ({"category": "kind"}, "go together"),
        ({"order": "category", "category": "kind"}, "needs attributes"),
        ({"order": "lid-ascending", "neighbours": N}, "choose less than their number"),
    ):
        with pytest.raises(InputError, match=rule):
            make("insertion-order", documents, index="flat", **options)
    index = get_index("insertion-order", index="flat", order="category", category="knid")
    with pytest.raises(InputError, match="Did you mean 'kind'"):
        index.build(documents, attributes={"kind": ["a"] * N})


# -- all of them ------------------------------------------------------------------------------

COMBINATORS: dict[str, dict[str, Any]] = {
    "refine": {},
    "project": {"d": 8},
    "sharded": {"shards": 2},
    "insertion-order": {},
    "post-filter": {},
}


@pytest.mark.parametrize("name", COMBINATORS)
def test_inner_names_and_parameters_are_checked(name: str) -> None:
    own = COMBINATORS[name]
    for inner, rule in (
        ("hsnw", "unknown index 'hsnw'. Did you mean 'hnsw'"),
        ({"faiss-hnsw": {"m": 4}}, "index 'faiss-hnsw': unknown parameter 'm'. Did you mean 'M'"),
        ({"faiss-hnsw": {"search": {"ef": 4}}}, "go below search: {index: ...}"),
        ({"faiss-hnsw": {}, "flat": {}}, "an entry must have one name"),
    ):
        with pytest.raises(InputError, match=rule):
            get_index(name, index=inner, **own)
    index = get_index(name, index={"faiss-hnsw": {"M": 4}}, **own)
    with pytest.raises(InputError, match="'faiss-hnsw', search: unknown parameter 'nprobe'"):
        index.settings({"index": {"nprobe": 4}})
    assert index.settings({"index": {"ef": 7}}).index == {"ef": 7}


@pytest.mark.parametrize("name", COMBINATORS)
def test_inner_settings_take_effect_and_inner_parameters_are_in_the_identity(
    name: str, documents: Vectors, queries: Vectors
) -> None:
    own = COMBINATORS[name]
    inner: dict[str, Any] = {"ivf-flat": {"nlist": 16}}
    index = make(name, documents, index=inner, **own)
    assert not np.array_equal(
        index.search(queries, 10, index={"nprobe": 1}).ids,
        index.search(queries, 10, index={"nprobe": 16}).ids,
    )
    other = get_index(name, threads=1, index={"ivf-flat": {"nlist": 8}}, **own)
    assert index.identity() != other.identity()
    assert json.loads(json.dumps(index.identity())) == index.identity()
    assert name in index.served_by(10)
    assert "IndexIVFFlat" in index.served_by(10)


def test_a_named_specification_stands_inside_another(
    documents: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("backend: ivf-flat\nparameters: {nlist: 4}\nsearch: {nprobe: 4}\n")
    index = make("refine", documents, index=str(path))
    assert index.settings({}).index == {"nprobe": 4}
    index.save(tmp_path / "saved")
    path.unlink()  # what was saved stands alone
    loaded = type(index).load(tmp_path / "saved", threads=1)
    expected = index.search(queries, 5, index={"nprobe": 4})
    np.testing.assert_array_equal(loaded.search(queries, 5, index={"nprobe": 4}).ids, expected.ids)


@pytest.mark.parametrize("name", COMBINATORS)
def test_what_the_inner_index_is_shows_outside(name: str) -> None:
    own = COMBINATORS[name]
    codes = get_index(name, index={"pq": {}}, **own)
    assert "codes" in codes.stored
    assert codes.seeded
    assert get_index(name, index="flat", **own).seeded == (name == "insertion-order")


def test_settings_of_a_named_specification_hold_inside_and_after_loading(
    documents: Vectors, tmp_path: Path
) -> None:
    alone = get_index("qdrant-defaults")
    assert alone.settings({}).ef == 100
    assert alone.settings({"ef": 7}).ef == 7
    index = make("refine", documents, index="qdrant-defaults")
    assert index.settings({}).index == {"ef": 100}
    index.save(tmp_path)
    assert type(index).load(tmp_path).settings({}).index == {"ef": 100}


def test_threads_are_limited_inside_an_inner_index(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from retrieval_eval import get_index\n"
        "index = get_index('refine', index='flat', threads=1)\n"
        "index.build(np.eye(8, dtype=np.float32))\n"
        "import faiss\n"
        "faiss.omp_set_num_threads(2)\n"
        "inner = index.inner._bind_selected\n"
        "def watched(*arguments):\n"
        "    call = inner(*arguments)\n"
        "    return lambda queries: (print(faiss.omp_get_max_threads()), call(queries))[1]\n"
        "index.inner._bind_selected = watched\n"
        "index.search(np.eye(8, dtype=np.float32), 2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=100
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_a_build_that_fails_leaves_nothing_to_search(documents: Vectors, queries: Vectors) -> None:
    index = get_index("project", index="flat", d=8, method="leanvec", threads=1)
    index.build(documents, queries=queries)
    with pytest.raises(InputError, match="learns from example queries"):
        index.build(documents[:100])
    with pytest.raises(InputError, match="build or load it before searching"):
        index.search(queries, 3)
    with pytest.raises(InputError, match="every example query is zero"):
        index.build(documents, queries=0 * queries)
