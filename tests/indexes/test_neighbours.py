"""The true neighbours against a plain float64 reference, and recall against hand counts."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits
from retrieval_eval.indexes import get_index
from retrieval_eval.neighbours import (
    METRICS,
    Metric,
    exact_neighbours,
    kth_scores,
    neighbour_recall,
    neighbour_recall_by_id,
    search,
    space,
    true_scores,
)

Array = NDArray[np.floating]


def reference_scores(documents: Array, queries: Array, metric: Metric) -> NDArray[np.float64]:
    """Score every pair by itself in float64, so that equal vectors have equal scores."""
    scores = np.empty((len(queries), len(documents)))
    for i, query in enumerate(queries.astype(np.float64)):
        for j, document in enumerate(documents.astype(np.float64)):
            if metric == "l2":
                scores[i, j] = -np.sum((query - document) ** 2)
            else:
                scores[i, j] = np.dot(query, document)
            if metric == "cosine" and scores[i, j] != 0:
                scores[i, j] /= np.sqrt(np.dot(query, query)) * np.sqrt(np.dot(document, document))
    return scores


def reference_ids(scores: Array, k: int) -> NDArray[np.int64]:
    """Order by score descending; a stable sort leaves equal ones by ascending row."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def assert_exact(documents: Array, queries: Array, k: int, metric: Metric) -> None:
    ids, scores = exact_neighbours(documents, queries, k, metric)
    expected = reference_scores(documents, queries, metric)
    wanted = reference_ids(expected, k)
    np.testing.assert_array_equal(ids, wanted)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, wanted, 1), rtol=1e-9)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float64


@pytest.fixture
def gaussian() -> tuple[Array, Array]:
    """Vectors of very different norms, so that the three metrics disagree."""
    rng = np.random.default_rng(11)
    documents = rng.normal(size=(900, 24)) * rng.uniform(0.2, 4.0, size=(900, 1))
    return documents.astype(np.float32), rng.normal(size=(12, 24)).astype(np.float32)


# -- the true neighbours ----------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 100])
def test_neighbours_equal_the_float64_reference(
    gaussian: tuple[Array, Array], k: int, metric: Metric
) -> None:
    assert_exact(*gaussian, k, metric)


def test_the_metrics_disagree_on_unnormalised_vectors(gaussian: tuple[Array, Array]) -> None:
    found = [exact_neighbours(*gaussian, 10, metric)[0] for metric in METRICS]
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])
    assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize("metric", METRICS)
def test_all_documents_come_in_order_when_k_is_their_number(
    gaussian: tuple[Array, Array], metric: Metric
) -> None:
    documents, queries = gaussian
    assert_exact(documents, queries[:4], len(documents), metric)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_true_far_from_the_origin(metric: Metric) -> None:
    rng = np.random.default_rng(5)
    offset = 1000.0
    documents = (offset + rng.normal(size=(1200, 64))).astype(np.float32)
    queries = (offset + rng.normal(size=(10, 64))).astype(np.float32)
    if metric == "ip":  # only differences as small as the rounding make a matrix product fail
        documents = (offset + 0.02 * rng.normal(size=(1200, 64))).astype(np.float32)
        queries = rng.normal(size=(10, 64)).astype(np.float32)
    if metric == "l2":
        naive = 2 * queries @ documents.T - (documents * documents).sum(axis=1)
    elif metric == "cosine":
        naive = queries @ (documents / np.linalg.norm(documents, axis=1)[:, None]).T
    else:
        naive = queries @ documents.T
    assert naive.dtype == np.float32
    truth = reference_ids(reference_scores(documents, queries, metric), 10)
    assert not np.array_equal(reference_ids(naive, 10), truth), "the data no longer show the trap"
    assert_exact(documents, queries, 10, metric)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_ties_on_an_integer_grid_go_to_the_lower_row(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    documents = rng.integers(0, 3, size=(1500, 4)).astype(np.float32)  # 81 distinct vectors
    queries = rng.integers(0, 3, size=(12, 4)).astype(np.float32)
    expected = reference_scores(documents, queries, metric)
    counts = [np.count_nonzero(row == np.sort(row)[-20]) for row in expected]
    assert max(counts) > 100, "more ties at the k-th place than candidates to spare"
    assert_exact(documents, queries, 20, metric)


def test_copies_of_a_vector_go_to_the_lower_row_under_cosine() -> None:
    rng = np.random.default_rng(4)
    distinct = rng.normal(size=(8, 16)).astype(np.float32)
    documents = distinct[rng.integers(0, 8, size=1200)]
    assert_exact(documents, rng.normal(size=(6, 16)).astype(np.float32), 30, "cosine")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), metric=st.sampled_from(["ip", "l2"]))
def test_neighbours_of_any_small_grid_equal_the_reference(
    data: st.DataObject, metric: Metric
) -> None:
    n, d = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    k = data.draw(st.integers(1, n))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    documents = rng.integers(-2, 3, size=(n, d)).astype(np.float32)
    assert_exact(documents, rng.integers(-2, 3, size=(3, d)).astype(np.float32), k, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("budget_bytes", [1, 40_000])
def test_blocks_change_nothing(
    gaussian: tuple[Array, Array], metric: Metric, budget_bytes: int
) -> None:
    documents, queries = gaussian[0][:300], gaussian[1]
    whole = exact_neighbours(documents, queries, 10, metric)
    in_blocks = exact_neighbours(documents, queries, 10, metric, budget_bytes=budget_bytes)
    np.testing.assert_array_equal(whole[0], in_blocks[0])
    np.testing.assert_allclose(whole[1], in_blocks[1], rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("filtered", [False, True])
def test_threads_change_nothing(
    gaussian: tuple[Array, Array],
    metric: Metric,
    threads: int,
    filtered: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import faiss

    documents, queries = gaussian
    allowed = np.arange(len(documents)) % 3 > 0 if filtered else None
    expected = exact_neighbours(documents, queries, 10, metric, allowed=allowed)
    monkeypatch.setattr(space, "TASK_BYTES", 20_000)
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(threads)
        found = exact_neighbours(documents, queries, 10, metric, allowed=allowed)
    finally:
        faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lower_row_across_blocks(metric: Metric) -> None:
    documents = np.ones((1000, 8), dtype=np.float32)
    ids, _ = exact_neighbours(documents, documents[:2], 7, metric, budget_bytes=5_000)
    assert ids.tolist() == [list(range(7))] * 2


@pytest.mark.parametrize("metric", METRICS)
def test_memory_mapped_documents_give_the_same_neighbours(
    gaussian: tuple[Array, Array], metric: Metric, tmp_path: Path
) -> None:
    documents, queries = gaussian
    np.save(tmp_path / "documents.npy", documents)
    mapped = np.load(tmp_path / "documents.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    ids, scores = exact_neighbours(mapped, queries, 10, metric)
    expected = exact_neighbours(documents, queries, 10, metric)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_taken_at_their_own_precision(
    gaussian: tuple[Array, Array], metric: Metric, dtype: type[np.floating]
) -> None:
    documents, queries = (part.astype(dtype) for part in gaussian)
    if dtype is np.float64:  # differences that float32 cannot hold
        documents = queries[0] + 1e-9 * documents
    assert_exact(documents, queries[1:5], 10, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("exponent", [-100, -70, -20, 20, 64, 100])
def test_the_scale_of_the_vectors_changes_no_neighbour(
    gaussian: tuple[Array, Array], metric: Metric, exponent: int
) -> None:
    documents, queries = gaussian
    scaled = [np.ldexp(part, exponent) for part in gaussian]
    np.testing.assert_array_equal(
        exact_neighbours(scaled[0], scaled[1], 10, metric)[0],
        exact_neighbours(documents, queries, 10, metric)[0],
    )


@pytest.mark.parametrize("length", [1e-4, 1.0, 1e4])
def test_short_documents_with_near_ties_are_exact_under_cosine(length: float) -> None:
    rng = np.random.default_rng(0)
    direction = rng.normal(size=32)
    direction /= np.linalg.norm(direction)
    documents = (direction + 1e-8 * rng.normal(size=(2000, 32))) * length
    assert_exact(documents, direction + 0.02 * rng.normal(size=(8, 32)), 10, "cosine")


def test_a_zero_query_has_no_neighbours_under_cosine_alone() -> None:
    documents = np.array([[1, 0], [0, 2], [-1, -1]], dtype=np.float32)
    queries = np.array([[0, 0], [1, 0]], dtype=np.float32)
    ids, scores = exact_neighbours(documents, queries, 2, "cosine")
    assert ids.tolist() == [[-1, -1], [0, 1]]
    assert np.isneginf(scores[0]).all()
    assert exact_neighbours(documents, queries, 2, "ip")[0].tolist() == [[0, 1], [0, 1]]
    assert exact_neighbours(documents, queries, 2, "l2")[0].tolist() == [[0, 2], [0, 1]]


def test_a_zero_document_has_cosine_zero() -> None:
    documents = np.array([[-1, 0], [0, 0], [1, 1]], dtype=np.float32)
    ids, scores = exact_neighbours(documents, np.array([[1, 0]], dtype=np.float32), 3, "cosine")
    assert ids.tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(scores, [[np.sqrt(0.5), 0, -1]], rtol=1e-12)


def test_no_queries_have_no_neighbours() -> None:
    ids, scores = exact_neighbours(np.eye(4), np.empty((0, 4)), 2, "ip")
    assert ids.shape == scores.shape == (0, 2)


@pytest.mark.parametrize("metric", METRICS)
def test_inputs_are_never_changed(gaussian: tuple[Array, Array], metric: Metric) -> None:
    before = [part.copy() for part in gaussian]
    exact_neighbours(*gaussian, 5, metric)
    for part, copy in zip(gaussian, before, strict=True):
        np.testing.assert_array_equal(part, copy)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"k is {k}: it must be between 1 and .* 3"):
        exact_neighbours(np.eye(3), np.eye(3), k, "ip")


def test_different_dimensions_are_refused() -> None:
    with pytest.raises(InputError, match="queries have dimension 2, documents 3"):
        exact_neighbours(np.eye(3), np.eye(2), 1, "ip")


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("digits-64", "cosine"),
        ("digits-64", "l2"),
        ("glove-100k-50", "cosine"),
        ("glove-100k-50", "ip"),
        ("glove-100k-50", "l2"),
    ],
)
def test_neighbours_of_real_vectors_equal_those_published(
    collections: Path, name: str, metric: Metric
) -> None:
    folder = collections / "vectors" / name
    published = np.load(folder / f"gt_{metric}.npy")
    documents, queries = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
    ids, scores = exact_neighbours(documents, queries, published.shape[1], metric)
    np.testing.assert_array_equal(ids, published)
    distances = np.load(folder / f"gtdist_{metric}.npy")
    np.testing.assert_allclose(-scores, distances, rtol=1e-12)


# -- what float32 proves, and what it does not --------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("long", [False, True])
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    d=st.integers(1, 200),
    offset=st.sampled_from([0.0, 3.0, 1e4, 1e12]),
    exponent=st.integers(-60, 60),
    data_type=st.sampled_from([np.float32, np.float64]),
)
def test_no_float32_score_is_farther_from_the_truth_than_the_bound(
    metric: Metric,
    long: bool,
    seed: int,
    d: int,
    offset: float,
    exponent: int,
    data_type: type[np.floating],
) -> None:
    import faiss

    rng = np.random.default_rng(seed)
    documents, queries = offset + rng.normal(size=(60, d)), offset + rng.normal(size=(25, d))
    documents, queries = np.ldexp(documents, exponent), np.ldexp(queries, exponent)
    if data_type is np.float32:  # such documents may be searched as they are
        documents = documents.astype(np.float32)
    if long:
        documents[7] *= 1e6
        queries[3] *= 1e6
    searched = space.Documents.of(documents, None, metric, queries)
    asked = searched.ask(queries)
    block = searched.write(slice(0, 60), asked.scale, searched.buffer(60))
    measure = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    rough, ids = faiss.knn(asked.vectors, block, 60, metric=measure)
    found = true_scores(documents, queries, ids, metric)
    truth = found * asked.factors[:, None] - asked.offsets[:, None]
    error = np.abs((-rough if metric == "l2" else rough) - truth)
    bound = searched.bound(asked, searched.reach * asked.scale)
    assert (error <= bound[:, None]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_the_mean_of_the_documents_costs_no_proof(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(21)
    documents = (100 + rng.normal(size=(3000, 32))).astype(np.float32)
    queries = (100 + rng.normal(size=(5, 32))).astype(np.float32)
    expected = reference_ids(reference_scores(documents, queries, metric), 10)

    def refuse(*_: object) -> None:
        raise AssertionError("float64 had to search")

    monkeypatch.setattr(search, "_all_that_may_belong", refuse)
    np.testing.assert_array_equal(exact_neighbours(documents, queries, 10, metric)[0], expected)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_vectors_that_lie_well_are_searched_as_they_are(metric: Metric, tmp_path: Path) -> None:
    rng = np.random.default_rng(27)
    vectors = (0.1 + rng.normal(size=(2000, 16))).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    queries = rng.normal(size=(8, 16)).astype(np.float32)

    def as_stored(documents: Array, asked: Array = queries, **other: object) -> bool:
        given = {"members": None, "metric": metric, **other}
        assert_exact(documents, asked[:2], 10, metric)
        return space.Documents.of(documents, queries=asked, **given).as_stored  # type: ignore[arg-type]

    assert as_stored(vectors)
    assert as_stored(mapped)
    stored = space.Documents.of(mapped, None, metric, queries)
    assert np.shares_memory(stored.write(slice(5, 9), 1.0, stored.buffer(4)), mapped)
    assert not as_stored(vectors, members=np.arange(50))
    assert not as_stored(vectors, metric="cosine")
    assert not as_stored(vectors.astype(np.float64))
    assert not as_stored(np.asfortranarray(vectors))
    assert not as_stored(vectors[:, ::2], queries[:, ::2])
    assert not as_stored(vectors + np.float32(1))
    assert not as_stored(np.ldexp(vectors, 40))
    assert not as_stored(np.ldexp(vectors, -40))
    assert as_stored(vectors, np.ldexp(queries, 40)) == (metric == "ip")  # of unit length there


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_one_long_document_makes_work_in_its_own_block_alone(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(22)
    documents = rng.normal(size=(6000, 16)).astype(np.float32)
    documents[4000] *= 1e6
    queries = rng.normal(size=(5, 16)).astype(np.float32)
    scored: list[int] = []

    def count(*arguments: object) -> NDArray[np.float64]:
        scored.append(arguments[2].size)  # type: ignore[attr-defined]
        return true_scores(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(search, "true_scores", count)
    ids, _ = exact_neighbours(documents, queries, 10, metric, budget_bytes=2 * 5 * 128 * 100)
    expected = reference_ids(reference_scores(documents, queries, metric), 10)
    np.testing.assert_array_equal(ids, expected)
    assert 5 * 26 < sum(scored) < 5 * (26 + 40 + 2 * 100), "all were scored, or none again"


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("budget_bytes", [1, 3_000, 100_000])
def test_more_ties_than_candidates_go_to_the_lower_row_whatever_the_budget(
    metric: Metric, budget_bytes: int
) -> None:
    rng = np.random.default_rng(23)
    documents = rng.integers(0, 3, size=(700, 3)).astype(np.float32)  # 27 distinct vectors
    queries = rng.integers(1, 3, size=(6, 3)).astype(np.float32)
    expected = reference_ids(reference_scores(documents, queries, metric), 40)
    ids, _ = exact_neighbours(documents, queries, 40, metric, budget_bytes=budget_bytes)
    np.testing.assert_array_equal(ids, expected)


def test_a_query_of_another_size_costs_the_others_nothing() -> None:
    rng = np.random.default_rng(24)
    documents = rng.normal(size=(400, 8))
    queries = rng.normal(size=(4, 8))
    queries[1] *= 2.0**90
    assert_exact(documents, queries[[0, 2, 3]], 5, "l2")
    with_it = exact_neighbours(documents, queries, 5, "l2")[0]
    without = exact_neighbours(documents, queries[[0, 2, 3]], 5, "l2")[0]
    np.testing.assert_array_equal(with_it[[0, 2, 3]], without)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("filtered", [False, True])
def test_memory_stays_within_the_budget(metric: Metric, filtered: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(25)
    np.save(tmp_path / "documents.npy", rng.normal(size=(40_000, 64)).astype(np.float32))
    documents = np.load(tmp_path / "documents.npy", mmap_mode="r")
    queries = rng.normal(size=(3000, 64)).astype(np.float32)
    allowed = rng.random(40_000) < 0.9 if filtered else None
    exact_neighbours(documents[:100], queries, 10, metric)  # what is imported now stays
    budget = 2**20
    tracemalloc.start()
    exact_neighbours(documents, queries, 10, metric, allowed=allowed, budget_bytes=budget)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    result, members = 16 * 3000 * 10, 8 * 40_000 * filtered
    cached = 3 * 2**20  # what stays in a processor's cache: a mebibyte, and what NumPy makes of it
    assert documents.nbytes > 2 * (budget + cached)
    assert peak < budget + result + members + cached


def test_the_settings_for_threads_stay() -> None:
    import faiss
    from threadpoolctl import threadpool_info

    def counts() -> list[object]:
        return [faiss.omp_get_max_threads(), *(pool["num_threads"] for pool in threadpool_info())]

    rng = np.random.default_rng(26)
    documents = rng.integers(0, 2, size=(500, 4)).astype(np.float32)
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 3):
            faiss.omp_set_num_threads(threads)
            expected = counts()
            exact_neighbours(documents, documents[:30], 5, "l2")
            assert counts() == expected
    finally:
        faiss.omp_set_num_threads(before)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="budget_bytes is 0: it must be at least 1"):
        exact_neighbours(np.eye(3), np.eye(3), 1, "ip", budget_bytes=0)


# -- filtered search ----------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0.9, 0.3, 0.04])
@pytest.mark.parametrize("budget_bytes", [20_000, 2**28])
def test_filtered_neighbours_equal_the_reference_among_the_allowed(
    gaussian: tuple[Array, Array], metric: Metric, share: float, budget_bytes: int
) -> None:
    documents, queries = gaussian
    allowed = np.random.default_rng(31).random(len(documents)) < share
    rows = np.flatnonzero(allowed)
    expected = reference_scores(documents[rows], queries, metric)
    wanted = reference_ids(expected, 20)
    ids, scores = exact_neighbours(
        documents, queries, 20, metric, allowed=allowed, budget_bytes=budget_bytes
    )
    np.testing.assert_array_equal(ids, rows[wanted])
    np.testing.assert_allclose(scores, np.take_along_axis(expected, wanted, 1), rtol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_filtered_ties_go_to_the_lower_row(metric: Metric) -> None:
    documents = np.ones((1000, 8), dtype=np.float32)
    allowed = np.arange(1000) % 3 == 2
    ids, _ = exact_neighbours(documents, documents[:2], 7, metric, allowed=allowed)
    assert ids.tolist() == [list(range(2, 23, 3))] * 2


@pytest.mark.parametrize("metric", METRICS)
def test_a_filter_that_passes_all_changes_nothing(
    gaussian: tuple[Array, Array], metric: Metric
) -> None:
    everything = np.ones(len(gaussian[0]), dtype=bool)
    ids, scores = exact_neighbours(*gaussian, 10, metric, allowed=everything)
    expected = exact_neighbours(*gaussian, 10, metric)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rows", [[], [899], [3, 500, 501]])
def test_fewer_matches_than_k_are_followed_by_padding(
    gaussian: tuple[Array, Array], metric: Metric, rows: list[int]
) -> None:
    documents, queries = gaussian
    allowed = np.zeros(len(documents), dtype=bool)
    allowed[rows] = True
    ids, scores = exact_neighbours(documents, queries, 5, metric, allowed=allowed)
    assert ids.shape == scores.shape == (len(queries), 5)
    assert (np.sort(ids[:, : len(rows)], axis=1) == rows).all()
    assert (np.diff(scores[:, : len(rows)], axis=1) <= 0).all()
    assert np.isfinite(scores[:, : len(rows)]).all()
    assert (ids[:, len(rows) :] == -1).all()
    assert np.isneginf(scores[:, len(rows) :]).all()


@pytest.mark.parametrize(
    "allowed", [np.ones(3), np.ones(2, dtype=bool), np.ones((3, 1), dtype=bool), np.array([0, 1])]
)
def test_what_is_no_mask_is_refused(allowed: NDArray[np.bool_]) -> None:
    with pytest.raises(InputError, match=r"allowed must be a mask of booleans, .* 3 documents"):
        exact_neighbours(np.eye(3), np.eye(3), 1, "ip", allowed=allowed)
    with pytest.raises(InputError, match=r"allowed must be a mask of booleans, .* 3 documents"):
        neighbour_recall(
            hits_of([0], [1], [2]), np.ones(3), np.eye(3), np.eye(3), 1, "ip", allowed=allowed
        )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0.5, 0.001])
def test_filtered_neighbours_of_real_vectors_equal_brute_force(
    collections: Path, metric: Metric, share: float
) -> None:
    folder = collections / "vectors" / "glove-100k-50"
    documents = np.load(folder / "base.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy")[:100]
    allowed = np.random.default_rng(33).random(len(documents)) < share
    rows = np.flatnonzero(allowed)
    among, asked = documents[rows].astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        among /= np.linalg.norm(among, axis=1)[:, None]
    scores = asked @ among.T
    if metric == "l2":
        scores = 2 * scores - (among**2).sum(axis=1)
    take = min(100, len(rows))
    ids, _ = exact_neighbours(documents, queries, 100, metric, allowed=allowed)
    np.testing.assert_array_equal(ids[:, :take], rows[reference_ids(scores, take)])
    assert (ids[:, take:] == -1).all()


# -- neighbour recall -------------------------------------------------------------------------

LINE = np.array([[0.0], [1.0], [2.0], [3.0], [-3.0], [4.0]], dtype=np.float32)
ORIGIN = np.zeros((1, 1), dtype=np.float32)


def hits_of(*rows: list[int]) -> Hits:
    ids = np.array(rows, dtype=np.int64)
    return Hits(ids, np.where(ids < 0, -np.inf, 0.0).astype(np.float32))


def recall_on_the_line(row: list[int], k: int) -> float:
    """Recall of hits for the query 0 among the points 0, 1, 2, 3, -3, 4 by distance."""
    threshold = exact_neighbours(LINE, ORIGIN, k, "l2")[1][:, -1]
    return float(neighbour_recall(hits_of(row), threshold, LINE, ORIGIN, k, "l2")[0])


@pytest.mark.parametrize(
    ("row", "k", "expected"),
    [
        ([0, 1, 2], 3, 1.0),
        ([2, 0, 1], 3, 1.0),
        ([0, 1, 5], 3, 2 / 3),
        ([5, 4, 3], 3, 0.0),
        ([0, 5, 1], 1, 1.0),
        ([5, 0, 1], 1, 0.0),
        ([0, 5, 1], 2, 0.5),
    ],
)
def test_recall_is_the_share_of_true_neighbours_among_the_first_k(
    row: list[int], k: int, expected: float
) -> None:
    assert recall_on_the_line(row, k) == pytest.approx(expected)


def test_a_document_tied_with_the_kth_neighbour_counts() -> None:
    assert exact_neighbours(LINE, ORIGIN, 4, "l2")[0].tolist() == [[0, 1, 2, 3]]
    assert recall_on_the_line([0, 1, 2, 4], 4) == 1.0  # -3 is as near as 3
    assert recall_on_the_line([0, 1, 2, 5], 4) == 0.75


def test_a_document_listed_twice_counts_once() -> None:
    assert recall_on_the_line([0, 0, 0], 3) == pytest.approx(1 / 3)
    assert recall_on_the_line([1, 0, 1], 3) == pytest.approx(2 / 3)


def test_padding_never_counts() -> None:
    assert recall_on_the_line([0, -1, -1], 3) == pytest.approx(1 / 3)
    assert recall_on_the_line([-1, -1, -1], 3) == 0.0
    # The last row is what a -1 would pick, were it taken for a position.
    documents = LINE[[5, 4, 3, 2, 1, 0]]
    threshold = exact_neighbours(documents, ORIGIN, 2, "l2")[1][:, -1]
    recall = neighbour_recall(hits_of([-1, -1]), threshold, documents, ORIGIN, 2, "l2")
    assert recall.tolist() == [0.0]


def test_a_query_without_neighbours_has_no_recall() -> None:
    documents = np.array([[1, 0], [0, 1]], dtype=np.float32)
    queries = np.array([[0, 0], [1, 0]], dtype=np.float32)
    threshold = exact_neighbours(documents, queries, 1, "cosine")[1][:, -1]
    for row in ([-1], [0]):
        recall = neighbour_recall(hits_of(row, [0]), threshold, documents, queries, 1, "cosine")
        assert np.isnan(recall[0])
        assert recall[1] == 1.0


def test_fewer_hits_than_k_are_refused() -> None:
    with pytest.raises(InputError, match="recall@3 needs 3 hits a query, there are 2"):
        neighbour_recall(hits_of([0, 1]), np.zeros(1), LINE, ORIGIN, 3, "l2")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_the_true_neighbours_have_recall_one_and_the_next_ones_zero(
    metric: Metric, offset: float
) -> None:
    rng = np.random.default_rng(8)
    documents = (offset + rng.normal(size=(400, 32))).astype(np.float32)
    queries = (offset + rng.normal(size=(10, 32))).astype(np.float32)
    ids, scores = exact_neighbours(documents, queries, 20, metric)
    threshold = scores[:, 9]
    best, next_best = hits_of(*ids[:, :10].tolist()), hits_of(*ids[:, 10:].tolist())
    assert neighbour_recall(best, threshold, documents, queries, 10, metric).tolist() == [1.0] * 10
    assert not neighbour_recall(next_best, threshold, documents, queries, 10, metric).any()


def test_a_distance_tolerance_does_not_pass_everything_on_small_distances() -> None:
    documents = 1e-4 * np.arange(100, dtype=np.float32)[:, None]
    threshold = exact_neighbours(documents, ORIGIN, 10, "l2")[1][:, -1]
    far = hits_of(list(range(90, 100)))
    assert neighbour_recall(far, threshold, documents, ORIGIN, 10, "l2").tolist() == [0.0]


def test_exact_search_of_real_vectors_has_recall_one(collections: Path) -> None:
    folder = collections / "vectors" / "digits-64"
    documents, queries = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
    hits = get_index("flat", metric="l2").build(documents).search(queries, 100)
    threshold = exact_neighbours(documents, queries, 100, "l2")[1][:, -1]
    recall = neighbour_recall(hits, threshold, documents, queries, 100, "l2")
    assert recall.tolist() == [1.0] * len(queries)


def test_tied_neighbours_of_real_vectors_are_as_good_as_each_other(collections: Path) -> None:
    folder = collections / "vectors" / "digits-64"
    documents, queries = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
    ids, scores = exact_neighbours(documents, queries, 100, "l2")
    asked, places = np.nonzero(scores[:, 1:] == scores[:, :-1])
    assert len(asked) > 100, "the vectors hold no ties, so this shows nothing"
    for query, place in zip(asked[:50], places[:50], strict=True):
        k = int(place) + 1
        other = hits_of([*ids[query, : k - 1].tolist(), int(ids[query, k])])
        recall = neighbour_recall(
            other, scores[query, k - 1 : k], documents, queries[query : query + 1], k, "l2"
        )
        assert recall.tolist() == [1.0]


# -- neighbour recall: filters and tolerances ---------------------------------------------------


def filtered_recall_on_the_line(row: list[int], k: int, rows: list[int]) -> float:
    """Recall as above, where only some points may be found."""
    allowed = np.isin(np.arange(len(LINE)), rows)
    truth = exact_neighbours(LINE, ORIGIN, k, "l2", allowed=allowed)
    recall = neighbour_recall(
        hits_of(row), kth_scores(truth[1], k), LINE, ORIGIN, k, "l2", allowed=allowed
    )
    by_id = neighbour_recall_by_id(hits_of(row), truth[0], k)
    np.testing.assert_array_equal(by_id, recall)  # none of these filters leaves a tie
    return float(recall[0])


@pytest.mark.parametrize(
    ("row", "k", "rows", "expected"),
    [
        ([1, 3, -1], 3, [1, 3], 1.0),
        ([3, -1, -1], 3, [1, 3], 0.5),
        ([-1, -1, -1], 3, [1, 3], 0.0),
        ([0, 1, 2], 3, [1, 3], 0.5),  # 0 and 2 are near, but not allowed
        ([0, 2, 5], 3, [1, 3], 0.0),
        ([1, 1, 3], 3, [1, 3], 1.0),
        ([1, 3], 2, [1, 3, 5], 1.0),
        ([1, 5], 2, [1, 3, 5], 0.5),
    ],
)
def test_filtered_recall_is_out_of_what_there_is_to_find(
    row: list[int], k: int, rows: list[int], expected: float
) -> None:
    assert filtered_recall_on_the_line(row, k, rows) == expected


def test_a_filter_that_passes_nothing_leaves_no_recall() -> None:
    assert np.isnan(filtered_recall_on_the_line([-1, -1], 2, []))
    assert np.isnan(filtered_recall_on_the_line([0, 1], 2, []))


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_tolerance_is_relative(factor: float, metric: Metric) -> None:
    # Squared distances 1, 1.0004 and 1.44 from the first; products 1, 0.9996 and 0.5 of 1 at most.
    if metric == "l2":
        documents, queries = factor * np.array([[1.0], [1.0002], [1.2]]), np.zeros((1, 1))
    else:
        documents = factor * np.array([[1.0, 0.0], [0.9996, 0.0], [0.5, 0.0]])
        queries = np.array([[factor, 0.0]])
    threshold = exact_neighbours(documents, queries, 1, metric)[1][:, 0]

    def recall(row: int, tolerance: float) -> float:
        found = neighbour_recall(
            hits_of([row]), threshold, documents, queries, 1, metric, tolerance=tolerance
        )
        return float(found[0])

    assert [recall(row, 1e-3) for row in range(3)] == [1.0, 1.0, 0.0]
    assert [recall(row, 1e-4) for row in range(3)] == [1.0, 0.0, 0.0]
    assert [recall(row, 0.0) for row in range(3)] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("tolerance", [-1e-9, np.nan, np.inf])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    with pytest.raises(InputError, match="it must be a finite number, at least 0"):
        neighbour_recall(hits_of([0]), np.ones(1), LINE, ORIGIN, 1, "l2", tolerance=tolerance)


def test_thresholds_hits_and_queries_must_be_as_many() -> None:
    with pytest.raises(InputError, match="2 rows of hits, 1 queries and 1 thresholds"):
        neighbour_recall(hits_of([0], [1]), np.zeros(1), LINE, ORIGIN, 1, "l2")


def test_the_kth_score_is_the_last_there_is() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [-1.0, -4.0, -np.inf], [-np.inf] * 3])
    assert kth_scores(scores, 1).tolist() == [3.0, -1.0, -np.inf]
    assert kth_scores(scores, 2).tolist() == [2.0, -4.0, -np.inf]
    assert kth_scores(scores, 3).tolist() == [1.0, -4.0, -np.inf]
    for k in (0, 4):
        with pytest.raises(InputError, match=f"k is {k}: it must be between 1 and 3"):
            kth_scores(scores, k)


# -- neighbour recall by id ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "true", "k", "expected"),
    [
        ([0, 1, 2], [2, 1, 0], 3, 1.0),
        ([0, 1, 5], [0, 1, 2], 3, 2 / 3),
        ([5, 0, 1], [0, 1, 2], 2, 0.5),
        ([2, 1, 0], [0, 1, 2], 1, 0.0),
        ([0, 0, 0], [0, 1, 2], 3, 1 / 3),
        ([0, 1, 4], [0, 1, 3], 3, 2 / 3),
        ([-1, -1, -1], [0, 1, -1], 3, 0.0),
        ([1, -1, -1], [0, 1, -1], 3, 0.5),
        ([1, 0, 7], [0, 1, -1], 3, 1.0),
        ([-1, -1, -1], [-1, -1, -1], 3, np.nan),
        ([4, 5, 6], [-1, -1, -1], 3, np.nan),
    ],
)
def test_recall_by_id_of_hand_cases(
    row: list[int], true: list[int], k: int, expected: float
) -> None:
    recall = neighbour_recall_by_id(hits_of(row), np.array([true]), k)
    np.testing.assert_allclose(recall, [expected], rtol=1e-15)


def test_by_id_a_document_merely_tied_does_not_count() -> None:
    true = exact_neighbours(LINE, ORIGIN, 4, "l2")[0]
    assert recall_on_the_line([0, 1, 2, 4], 4) == 1.0
    assert neighbour_recall_by_id(hits_of([0, 1, 2, 4]), true, 4).tolist() == [0.75]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_recall_by_id_equals_that_of_sets(data: st.DataObject) -> None:
    queries, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    k = data.draw(st.integers(1, width))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = rng.integers(-1, 9, size=(queries, width))
    true = np.array([rng.permutation(9)[:width] for _ in range(queries)])
    true[np.arange(width) >= rng.integers(0, width + 1, size=(queries, 1))] = -1
    recall = neighbour_recall_by_id(hits_of(*rows.tolist()), true, k)
    for row, listed, found in zip(rows.tolist(), true.tolist(), recall.tolist(), strict=True):
        wanted = set(listed[:k]) - {-1}
        if wanted:
            assert found == len(wanted & set(row[:k])) / len(wanted)
        else:
            assert np.isnan(found)


@pytest.mark.parametrize(
    ("true", "k", "message"),
    [
        ([[0, 1]], 0, "k is 0: it must be at least 1"),
        ([[0, 1]], 3, "recall@3 needs 3 hits a query, there are 2"),
        ([[0]], 2, r"recall@2 of 1 queries needs true ids of shape \(1, at least 2\), got"),
        ([[0, 1], [0, 1]], 2, r"got \(2, 2\)"),
        ([[3, 3]], 2, "the true neighbours of query 0 hold a document twice"),
    ],
)
def test_recall_by_id_refuses_what_it_cannot_count(
    true: list[list[int]], k: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        neighbour_recall_by_id(hits_of([0, 1]), np.array(true), k)


def test_recall_of_real_vectors_by_score_and_by_published_ids(collections: Path) -> None:
    folder = collections / "vectors" / "digits-64"
    documents, queries = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
    hits = get_index("flat", metric="l2").build(documents).search(queries, 100)
    published = np.load(folder / "gt_l2.npy").astype(np.int64)
    threshold = -np.load(folder / "gtdist_l2.npy")[:, 9].astype(np.float64)
    by_score = neighbour_recall(hits, threshold, documents, queries, 10, "l2")
    by_id = neighbour_recall_by_id(hits, published, 10)
    assert by_score.tolist() == [1.0] * len(queries)
    expected = [
        len(set(row) & set(true)) / 10
        for row, true in zip(hits.ids[:, :10].tolist(), published[:, :10].tolist(), strict=True)
    ]
    assert by_id.tolist() == expected


# -- scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "expected"), [("cosine", [0.6, 1.0]), ("ip", [9.0, 30.0]), ("l2", [-16.0, -49.0])]
)
def test_scores_of_a_hand_case(metric: Metric, expected: list[float]) -> None:
    documents = np.array([[3.0, 4.0], [10.0, 0.0]], dtype=np.float32)
    query = np.array([[3.0, 0.0]], dtype=np.float32)
    scores = true_scores(documents, query, np.array([[0, 1, -1]]), metric)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores[0, :2], expected, rtol=1e-15)
    assert np.isneginf(scores[0, 2])


def test_sparse_neighbours_are_those_above_zero_and_finding_all_is_recall_1() -> None:
    from scipy.sparse import csr_array

    from retrieval_eval.neighbours import exact_sparse_neighbours

    documents = csr_array(np.array([[1.0, 0, 2], [0, 0, 1], [0, 3, 0], [-1, 0, 0]]))
    queries = csr_array(np.array([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]]))
    ids, scores = exact_sparse_neighbours(documents, queries, 3)
    assert ids.tolist() == [[0, 1, -1], [-1, -1, -1], [2, -1, -1]]
    hits = Hits(ids, scores.astype(np.float32))
    counts = np.isfinite(scores).sum(axis=1)
    threshold = kth_scores(scores, 3)
    recall = neighbour_recall(hits, threshold, documents, queries, 3, "ip", neighbours=counts)
    np.testing.assert_array_equal(recall, [1.0, np.nan, 1.0])
    few = np.array([[1, -1, -1], [-1] * 3, [-1] * 3])
    half = Hits(few, np.where(few < 0, -np.inf, 1.0).astype(np.float32))
    found = neighbour_recall(half, threshold, documents, queries, 3, "ip", neighbours=counts)
    np.testing.assert_array_equal(found, [0.5, np.nan, 0.0])
    allowed = np.array([False, True, True, True])
    ids, _ = exact_sparse_neighbours(documents, queries, 3, allowed=allowed)
    assert ids.tolist() == [[1, -1, -1], [-1, -1, -1], [2, -1, -1]]


def test_sparse_neighbours_do_not_depend_on_the_budget() -> None:
    from scipy.sparse import csr_array, random_array

    from retrieval_eval.neighbours import exact_sparse_neighbours

    rng = np.random.default_rng(4)
    documents, queries = (
        csr_array(np.round(random_array(shape, density=0.2, rng=rng).toarray(), 1))
        for shape in ((300, 40), (270, 40))
    )
    dense = queries.toarray() @ documents.toarray().T
    for k in (1, 7, 300):
        ids, scores = exact_sparse_neighbours(documents, queries, k)
        for budget in (1, 50_000):
            again = exact_sparse_neighbours(documents, queries, k, budget_bytes=budget)
            np.testing.assert_array_equal(again[0], ids)
            np.testing.assert_array_equal(again[1], scores)
        best = np.sort(np.where(dense > 0, dense, -np.inf), axis=1)[:, ::-1][:, :k]
        np.testing.assert_allclose(scores, best, rtol=1e-12)
