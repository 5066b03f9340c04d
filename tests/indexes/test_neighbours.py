"""The true neighbours against a plain float64 reference, and recall against hand counts."""

from __future__ import annotations

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
    neighbour_recall,
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
@pytest.mark.parametrize("block_bytes", [1, 40_000])
def test_blocks_change_nothing(
    gaussian: tuple[Array, Array],
    metric: Metric,
    block_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents, queries = gaussian[0][:300], gaussian[1]
    whole = exact_neighbours(documents, queries, 10, metric)
    monkeypatch.setattr("retrieval_eval.neighbours._BLOCK_BYTES", block_bytes)
    in_blocks = exact_neighbours(documents, queries, 10, metric)
    np.testing.assert_array_equal(whole[0], in_blocks[0])
    np.testing.assert_allclose(whole[1], in_blocks[1], rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lower_row_across_blocks(
    metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval_eval.neighbours._BLOCK_BYTES", 5_000)
    documents = np.ones((1000, 8), dtype=np.float32)
    ids, _ = exact_neighbours(documents, documents[:2], 7, metric)
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
    ids, _ = exact_neighbours(documents, queries, published.shape[1], metric)
    np.testing.assert_array_equal(ids, published)


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
