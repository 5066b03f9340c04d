"""Repairs: gradients, what zero steps leave, what must be recovered, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.datasets import Dataset
from retrieval_eval.errors import InputError
from retrieval_eval.indexes import Index, get_index
from retrieval_eval.indexes.repaired import ProductCodes, Repair, RepairedIndex
from retrieval_eval.qrels import Qrels
from retrieval_eval.repair import (
    LearntRepair,
    candidates_of,
    held_out_gains,
    learn_repair,
    pairwise_loss,
)

Vectors = NDArray[np.float32]
N, D, Q = 300, 16, 420
PARTS = {
    "training": [f"q{row}" for row in range(200)],
    "validation": [f"q{row}" for row in range(200, 260)],
    "held-out": [f"q{row}" for row in range(260, Q)],
}


def made(change: Callable[[NDArray[Any]], NDArray[Any]], wrong: bool = False) -> Any:
    """Make documents, and queries that are changed copies of some; or of others than judged."""
    rng = np.random.default_rng(3)
    documents = rng.normal(size=(N, D)).astype(np.float32)
    targets = rng.integers(0, N, Q)
    queries = change(documents[targets] + 0.1 * rng.normal(size=(Q, D))).astype(np.float32)
    if wrong:
        targets = rng.integers(0, N, Q)
    qrels = Qrels.from_mapping({f"q{row}": {f"d{one}": 1} for row, one in enumerate(targets)})
    data = Dataset(
        "made",
        [f"d{row}" for row in range(N)],
        [""] * N,
        tuple(f"q{row}" for row in range(Q)),
        ["text"] * Q,
        qrels,
    )
    return documents, queries, data


def turned(vectors: NDArray[Any]) -> NDArray[Any]:
    """Rotate and scale."""
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(D, D)))
    return 3.0 * vectors @ turn


def pq(documents: Vectors, metric: Any = "cosine") -> Index:
    return get_index("pq", m=4, nbits=6, metric=metric, threads=1, seed=1).build(documents)


def learn(index: Index, data: Dataset, queries: Vectors, **settings: Any) -> LearntRepair:
    parts = {name: PARTS[name] for name in ("training", "validation")}
    return learn_repair(index, data, queries, **parts, **settings)  # type: ignore[arg-type]


# -- the loss ---------------------------------------------------------------------------------


def loss_case(factory: str) -> Any:
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(300, 12)).astype(np.float32)
    index = get_index("faiss", factory=factory, metric="ip", threads=1).build(documents)
    codes = ProductCodes.of(index)
    candidates = rng.permuted(np.tile(np.arange(300), (5, 1)), axis=1)[:, :9]
    candidates[1, 6:] = -1
    relevant = np.zeros(candidates.shape, dtype=bool)
    relevant[[0, 0, 1, 2], [0, 5, 3, 8]] = True
    relevant[4] = True  # a query without a negative
    return {
        "codes": codes,
        "query_map": np.eye(12) + 0.1 * rng.normal(size=(12, 12)),
        "centroids": codes.centroids.astype(np.float64),
        "queries": rng.normal(size=(5, 12)),
        "candidates": candidates,
        "relevant": relevant,
        "scale": 2.0,
    }


@pytest.mark.parametrize("factory", ["PQ3x4", "OPQ3_12,PQ3x4", "PCA9,PQ3x4"])
@pytest.mark.parametrize(("name", "key"), [("map", "query_map"), ("centroids", "centroids")])
def test_gradients_are_those_of_finite_differences(factory: str, name: str, key: str) -> None:
    case = loss_case(factory)
    _, slopes = pairwise_loss(**case)
    assert slopes[name].shape == case[key].shape
    rng = np.random.default_rng(1)
    step = 1e-5
    for _ in range(5):
        direction = rng.normal(size=case[key].shape)
        ends = [
            pairwise_loss(**{**case, key: case[key] + sign * step * direction})[0]
            for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert np.sum(slopes[name] * direction) == pytest.approx(slope, rel=1e-6, abs=1e-10)


def test_the_loss_is_the_sum_over_pairs_that_the_formula_says() -> None:
    case = loss_case("PCA9,PQ3x4")
    codes, centroids = case["codes"], case["centroids"]
    decoded = np.concatenate([centroids[j][codes.codes[:, j]] for j in range(3)], axis=1)
    asked = case["queries"] @ case["query_map"].T @ codes.rotation.T + codes.bias
    total = 0.0
    for query in range(5):
        found = case["candidates"][query]
        scores = decoded[found] @ asked[query]
        known = case["relevant"][query]
        pairs = [
            abs(1 / (a + 1) - 1 / (b + 1)) * np.log1p(np.exp(2.0 * (scores[b] - scores[a])))
            for a in np.flatnonzero(known)
            for b in np.flatnonzero(~known & (found >= 0))
        ]
        total += float(np.mean(pairs)) / 5 if pairs else 0.0
    assert pairwise_loss(**case)[0] == pytest.approx(total, rel=1e-12)


def test_a_relevant_document_is_never_a_negative_and_never_missing() -> None:
    rng = np.random.default_rng(2)
    ranked = rng.permuted(np.tile(np.arange(50), (20, 1)), axis=1)[:, :8]
    relevant = [rng.choice(50, size, replace=False) for size in rng.integers(1, 12, 20)]
    candidates, known = candidates_of(ranked, relevant)
    np.testing.assert_array_equal(candidates[:, :8], ranked)
    for row, mask, one in zip(candidates, known, relevant, strict=True):
        assert sorted(row[mask]) == sorted(one)
        assert not set(row[~mask]) & set(one)
        assert len(set(row[row >= 0])) == np.count_nonzero(row >= 0)


# -- learning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["map", "centroids", "both"])
@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_zero_steps_equal_the_index_as_it_was(what: str, metric: str) -> None:
    documents, queries, data = made(turned)
    index = pq(documents, metric)
    found = learn(index, data, queries, learn=what, epochs=0)
    assert (found.best, len(found.epochs)) == (0, 1)
    repaired = RepairedIndex.around(index, found.repair).search(queries, 20)
    plain = index.search(queries, 20)
    np.testing.assert_array_equal(repaired.ids, plain.ids)
    np.testing.assert_array_equal(repaired.scores, plain.scores)


def test_a_rotation_of_the_queries_is_undone_on_held_out_queries() -> None:
    documents, queries, data = made(turned)
    index = pq(documents)
    exact = get_index("flat", threads=1).build(documents)
    options = {"learn": ["map"], "map_rate": 0.02, "scale": 20.0, "epochs": 15}
    gain, of_exact = held_out_gains({"pq": index}, exact, data, queries, PARTS, **options)
    assert gain.before < 0.05
    assert gain.after > 0.4
    assert gain.difference.significant
    assert gain.difference.mean_diff == pytest.approx(gain.after - gain.before)
    assert (gain.name, of_exact.name) == ("pq, map", "exact search, map of pq")
    # A better embedding of queries, which exact search gains at least as much by.
    assert of_exact.after > gain.after
    assert gain.beyond_exact is not None
    moved = of_exact.difference.mean_diff
    assert gain.beyond_exact.mean_diff == pytest.approx(gain.difference.mean_diff - moved)


def test_bad_centroids_are_learnt_again() -> None:
    documents, queries, data = made(lambda vectors: vectors)
    index = pq(documents)
    codes = ProductCodes.of(index)
    rng = np.random.default_rng(5)
    spoiled = codes.centroids + rng.normal(size=codes.centroids.shape).astype(np.float32)
    broken = RepairedIndex.around(index, Repair(np.eye(D, dtype=np.float32)))
    broken.put(Repair(np.eye(D, dtype=np.float32), spoiled, codes.digest))
    exact = get_index("flat", threads=1).build(documents)
    options: dict[str, Any] = {
        "learn": ["centroids"],
        "centroid_rate": 0.03,
        "scale": 10.0,
        "epochs": 10,
    }
    (gain,) = held_out_gains({"pq": broken.inner}, exact, data, queries, PARTS, **options)
    assert gain.difference.ci95[0] > 0.05
    assert gain.beyond_exact is None
    del options["learn"]
    repair = learn(broken.inner, data, queries, learn="centroids", **options).repair
    np.testing.assert_array_equal(repair.query_map, np.eye(D))
    assert repair.centroids is not None
    assert not np.array_equal(repair.centroids, spoiled)
    assert repair.codes_digest == codes.digest


def test_where_judgments_say_nothing_no_gain_is_reported() -> None:
    documents, queries, data = made(turned, wrong=True)
    exact = get_index("flat", threads=1).build(documents)
    options = {"epochs": 2, "map_rate": 0.02}
    for gain in held_out_gains({"pq": pq(documents)}, exact, data, queries, PARTS, **options):
        assert gain.after < 0.05
        assert not gain.difference.significant


def test_nothing_is_learnt_from_held_out_queries() -> None:
    documents, queries, data = made(turned)
    judged = data.qrels.mapping
    others = iter(np.random.default_rng(6).integers(0, N, Q))
    misled = {
        query: {f"d{next(others)}": 1} if query in PARTS["training"] else grades
        for query, grades in judged.items()
    }
    fooled = Dataset(
        "misled",
        data.document_ids,
        data.documents,
        data.query_ids,
        data.queries,
        Qrels.from_mapping(misled),
    )
    exact = get_index("flat", threads=1).build(documents)
    options = {"learn": ["map"], "map_rate": 0.02, "epochs": 5}
    gain, _ = held_out_gains({"pq": pq(documents)}, exact, fooled, queries, PARTS, **options)
    assert gain.after < 0.1


def test_the_best_epoch_on_validation_queries_is_kept() -> None:
    documents, queries, data = made(turned)
    index = pq(documents)
    found = learn(index, data, queries, learn="map", map_rate=0.02, epochs=5, patience=9)
    scores = [one.score for one in found.epochs]
    assert found.best == int(np.argmax(scores)) > 0
    assert scores[found.best] > scores[0]
    assert found.repair.centroids is None
    # What is kept scores on the validation queries what its epoch says.
    again = learn_repair(
        RepairedIndex.around(index, found.repair).inner,
        data,
        (queries / np.linalg.norm(queries, axis=1)[:, None]) @ found.repair.query_map.T,
        training=PARTS["training"],
        validation=PARTS["validation"],
        epochs=0,
    )
    assert again.epochs[0].score == pytest.approx(scores[found.best], abs=1e-9)


def test_learning_ends_when_patience_does() -> None:
    documents, queries, data = made(turned, wrong=True)
    found = learn(pq(documents), data, queries, epochs=50, patience=2)
    assert len(found.epochs) - 1 == found.best + 2


@pytest.mark.parametrize("what", ["map", "centroids", "both"])
def test_one_seed_learns_one_repair_and_changes_nothing_given(what: str) -> None:
    documents, queries, data = made(turned)
    index = pq(documents)
    before, asked = index.search(queries, 5), queries.copy()
    first, second, other = (
        learn(index, data, queries, learn=what, epochs=2, map_rate=0.02, seed=seed)
        for seed in (7, 7, 8)
    )
    assert first.repair.digest == second.repair.digest
    assert [one.score for one in first.epochs] == [one.score for one in second.epochs]
    assert [one.loss for one in first.epochs[1:]] != [one.loss for one in other.epochs[1:]]
    np.testing.assert_array_equal(queries, asked)
    np.testing.assert_array_equal(index.search(queries, 5).scores, before.scores)


def test_what_cannot_be_learnt_is_refused() -> None:
    documents, queries, data = made(turned)
    index = pq(documents)
    short = pq(documents[:280])
    flat = get_index("flat", threads=1).build(documents)
    unjudged = Qrels.from_mapping({f"q{row}": {"d0": int(row >= 200)} for row in range(Q)})
    silent = Dataset(
        "silent", data.document_ids, data.documents, data.query_ids, data.queries, unjudged
    )
    own = {"training": ["q1"], "validation": ["q2"]}
    refused: list[tuple[Index, Dataset, Any, dict[str, Any], str]] = [
        (short, data, queries, own, "holds 280 documents"),
        (index, data, queries[:, :3], own, r"it must be \(420, 16\)"),
        (index, data, queries, {**own, "training": ["q1", "no"]}, "no query 'no'"),
        (index, data, queries, {**own, "validation": ["q1"]}, "'q1' is in both parts"),
        (index, data, queries, {**own, "validation": []}, "no validation query"),
        (index, data, queries, {**own, "lern": "map"}, "Did you mean 'learn'"),
        (index, data, queries, {**own, "learn": "maps"}, "learn"),
        (index, data, queries, {**own, "map_rate": 0.0}, "map_rate is 0.0"),
        (index, data, queries, {**own, "batch": 0}, "batch is 0"),
        (flat, data, queries, own, "centroids can be learnt for index 'pq'"),
        (index, silent, queries, own, "no training query has a relevant document"),
    ]
    for one, dataset, vectors, given, rule in refused:
        with pytest.raises(InputError, match=rule):
            learn_repair(one, dataset, vectors, **given)
