"""Orders of insertion: what must not change by them, and what does.

That the local intrinsic dimensionality of balls is found stands in test_geometry.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.comparison.replicates import ReplicateDifference, compare_replicates
from retrieval_eval.geometry import local_intrinsic_dimensionality
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.neighbours import exact_neighbours

Vectors = NDArray[np.float32]
ORDERS: list[dict[str, Any]] = [
    {"order": "random"},
    {"order": "lid-ascending", "neighbours": 50},
    {"order": "lid-descending", "neighbours": 50},
    {"order": "category", "category": "kind"},
]


@pytest.fixture(scope="module")
def mixture() -> tuple[Vectors, NDArray[np.int64]]:
    """Draw clusters of other widths, and the cluster of each document."""
    rng = np.random.default_rng(3)
    centres, widths = 3 * rng.normal(size=(20, 24)), rng.uniform(0.05, 1.5, size=20)
    kind = rng.integers(20, size=2500)
    vectors = centres[kind] + widths[kind, None] * rng.normal(size=(2500, 24))
    return vectors.astype(np.float32), kind


def placed(
    vectors: Vectors, kind: NDArray[np.int64], order: dict[str, Any], **options: Any
) -> Index:
    chosen = {"index": "flat", "metric": "l2", "threads": 1, **order, **options}
    return get_index("insertion-order", **chosen).build(vectors, attributes={"kind": kind.tolist()})


def order_of(index: Index) -> NDArray[np.int64]:
    found: NDArray[np.int64] = index._order  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_exact_search_returns_the_same_bits_whatever_the_order(
    metric: str, mixture: tuple[Vectors, NDArray[np.int64]]
) -> None:
    vectors, kind = mixture
    asked = vectors[::50] + np.float32(0.05)
    flat = get_index("flat", metric=metric, threads=1).build(vectors).search(asked, 10)  # type: ignore[arg-type]
    for order in ORDERS:
        hits = placed(vectors, kind, order, metric=metric).search(asked, 10)
        np.testing.assert_array_equal(hits.ids, flat.ids)
        assert hits.scores.tobytes() == flat.scores.tobytes()


def test_every_order_is_a_permutation_and_none_is_another(
    mixture: tuple[Vectors, NDArray[np.int64]],
) -> None:
    vectors, kind = mixture
    orders = [order_of(placed(vectors, kind, order)) for order in ORDERS]
    orders.append(order_of(placed(vectors, kind, ORDERS[0], seed=1)))
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(len(vectors)))
    assert len({order.tobytes() for order in orders}) == len(orders)


def test_ascending_is_descending_backwards_up_to_ties() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(400, 6)).astype(np.float32)
    vectors[200:] = vectors[:200]  # each twice, so that estimates tie
    ascending, descending = (
        order_of(placed(vectors, np.zeros(400, np.int64), {"order": f"lid-{way}"}))
        for way in ("ascending", "descending")
    )
    dimensions = local_intrinsic_dimensionality(vectors, 100)
    np.testing.assert_array_equal(dimensions[ascending], dimensions[descending][::-1])
    assert (ascending != descending[::-1]).any(), "nothing tied"
    once, back = (
        order_of(placed(vectors[:200], np.zeros(200, np.int64), {"order": f"lid-{way}"}))
        for way in ("ascending", "descending")
    )
    np.testing.assert_array_equal(once, back[::-1])


def test_the_estimates_as_an_attribute_give_the_same_order(
    mixture: tuple[Vectors, NDArray[np.int64]],
) -> None:
    vectors, kind = mixture
    own = order_of(placed(vectors, kind, {"order": "lid-descending", "neighbours": 50}))
    attributes = {"lid": -local_intrinsic_dimensionality(vectors, 50)}
    given = get_index("insertion-order", index="flat", order="category", category="lid")
    np.testing.assert_array_equal(order_of(given.build(vectors, attributes=attributes)), own)


def against_random(backend: str, order: str) -> ReplicateDifference:
    """Compare the recall of 5 graphs of an order with that of 5 random ones.

    Documents fill subspaces of 2 to 64 dimensions, one inside the other.
    """
    rng = np.random.default_rng(3)
    widths = np.linspace(2, 64, 5).astype(int)[rng.integers(5, size=2500)][:, None]
    wide = rng.normal(size=(2500, 64)) * (np.arange(64) < widths) / np.sqrt(widths)
    vectors = wide.astype(np.float32)
    asked = vectors[::10] + np.float32(0.01)
    truth = exact_neighbours(vectors, asked, 10, "l2")[0]

    def recalls(order: str) -> NDArray[np.float64]:
        found = []
        for seed in range(5):
            graph = {backend: {"M": 8, "ef_construction": 32}}
            own = {"order": order, "neighbours": 50, "index": graph, "seed": seed}
            index = get_index("insertion-order", metric="l2", threads=1, **own).build(vectors)
            ids = index.search(asked, 10, index={"ef": 200}).ids
            found.append([len(set(a) & set(b)) / 10 for a, b in zip(ids, truth, strict=True)])
        return np.array(found)

    return compare_replicates(recalls(order), recalls("random"))


def test_an_order_moves_the_recall_of_a_graph_that_keeps_it() -> None:
    pytest.importorskip("hnswlib")
    found = against_random("hnsw", "lid-descending")
    assert found.p < 0.001
    assert found.mean_diff > 3 * found.spread_b


def test_faiss_shuffles_and_a_note_says_so() -> None:
    assert against_random("faiss-hnsw", "lid-descending").p > 0.05
    around = get_index("insertion-order", index={"refine": {"index": "faiss-hnsw"}})
    note = around.note(around.settings({"index": {"index": {"ef": 5}}}), 2500, 10)
    assert note is not None
    assert note.startswith("the order has no effect: faiss shuffles")
    inner = get_index("insertion-order", index={"hnsw": {}})
    assert inner.note(inner.settings({"index": {"ef": 50}}), 2500, 10) is None
