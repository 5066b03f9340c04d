"""Tuned weights: they find the better run, never see their own judgments, and promise nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from retrieval_eval import InputError, Qrels, Run, evaluate
from retrieval_eval.combiners import (
    CombineContext,
    CrossFit,
    cross_fit,
    fuse_weighted,
    get_combiner,
)
from retrieval_eval.combiners.tuning import simplex_points

DEPTH = 30
Planted = tuple[list[Run], Qrels]


def planted(signals: list[float], *, queries: int = 60, seed: int = 0) -> Planted:
    """Return runs that raise relevant documents by a signal over noise, and judgments."""
    rng = np.random.default_rng(seed)
    relevant = rng.random((queries, DEPTH)) < 0.2
    relevant[:, 0] = True
    runs = []
    for number, signal in enumerate(signals):
        scores = rng.normal(size=relevant.shape) + signal * relevant
        content = {
            f"q{query}": {f"d{row}": float(score) for row, score in enumerate(scores[query])}
            for query in range(queries)
        }
        runs.append(Run.from_mapping(content, name=f"run{number}"))
    judged = {
        f"q{query}": {f"d{row}": int(relevant[query, row]) for row in range(DEPTH)}
        for query in range(queries)
    }
    return runs, Qrels.from_mapping(judged)


def mean(run: Run, qrels: Qrels) -> float:
    return evaluate(qrels, run, ["nDCG@10"]).means["nDCG@10"]


def test_a_run_of_pure_noise_gets_next_to_no_weight() -> None:
    runs, qrels = planted([3.0, 0.0], queries=200)
    fitted = cross_fit(runs, qrels)
    assert (fitted.weights[:, 1] <= 0.2).all()
    other = cross_fit(runs[::-1], qrels)
    np.testing.assert_allclose(other.weights[:, ::-1], fitted.weights, atol=0.1)
    assert fitted.value > mean(fuse_weighted(runs, [1, 1]), qrels) + 0.02


def test_two_runs_with_independent_signals_are_both_used() -> None:
    runs, qrels = planted([1.5, 1.5], queries=200)
    fitted = cross_fit(runs, qrels)
    assert ((fitted.weights > 0.2) & (fitted.weights < 0.8)).all()
    assert fitted.value > max(mean(run, qrels) for run in runs) + 0.05


def test_tuning_on_noise_shows_no_gain() -> None:
    gains, optimism = [], []
    for seed in range(20):
        runs, qrels = planted([0.0, 0.0, 0.0], queries=20, seed=seed)
        fitted = cross_fit(runs, qrels, steps=5, seed=seed)
        fixed = mean(runs[0], qrels)  # as good as any weights are
        gains.append(fitted.value - fixed)
        optimism.append(fitted.training.mean() - fixed)
    error = np.std(gains, ddof=1) / np.sqrt(len(gains))
    assert np.mean(gains) < 2.5 * error
    # What the weights reach on the queries that chose them does promise a gain: the test can fail.
    assert np.mean(optimism) > 2.5 * np.std(optimism, ddof=1) / np.sqrt(len(optimism))


def scores_of(fitted: CrossFit, query: str) -> dict[str, float]:
    return fitted.run.to_mapping()[query]


def test_no_judgment_has_a_part_in_the_fusion_of_its_own_query() -> None:
    runs, qrels = planted([0.7, 0.5], queries=12)
    before = cross_fit(runs, qrels, "AP", folds=4)
    moved = set()
    for query in qrels.query_ids:
        turned = {
            one: {d: 1 - grade for d, grade in grades.items()} if one == query else grades
            for one, grades in qrels.mapping.items()
        }
        for changed in (turned, {one: g for one, g in turned.items() if one != query}):
            after = cross_fit(runs, Qrels.from_mapping(changed), "AP", folds=4)
            assert scores_of(after, query) == scores_of(before, query)
            moved |= {q for q in qrels.query_ids if scores_of(after, q) != scores_of(before, q)}
    assert moved  # of other folds: judgments do matter there


def test_each_query_is_fused_with_the_weights_of_its_fold() -> None:
    runs, qrels = planted([0.3, 0.3, 0.3], queries=23)
    fitted = cross_fit(runs, qrels, "AP", folds=4)
    counts = np.bincount(fitted.fold)
    assert counts.max() - counts.min() == 1
    assert len(np.unique(fitted.weights, axis=0)) > 1
    for fold, weights in enumerate(fitted.weights):
        expected = fuse_weighted(runs, weights.tolist())
        for row in np.flatnonzero(fitted.fold == fold):
            query = fitted.run.query_ids[row]
            assert scores_of(fitted, query) == expected.to_mapping()[query]


def test_the_weights_of_a_fold_are_the_best_ones_on_the_others() -> None:
    runs, qrels = planted([0.7, 0.5], queries=20)
    fitted = cross_fit(runs, qrels, "AP", folds=3)
    for fold in range(3):
        others = [fitted.run.query_ids[row] for row in np.flatnonzero(fitted.fold != fold)]
        known = qrels.only_queries(others)
        means = [
            evaluate(known, fuse_weighted(runs, point.tolist()), ["AP"]).means["AP"]
            for point in fitted.points
        ]
        assert fitted.training[fold] == pytest.approx(max(means), rel=1e-12)
        place = int(np.argmax(np.round(means, 12)))
        np.testing.assert_array_equal(fitted.points[place], fitted.weights[fold])


def test_weights_that_do_equally_well_are_equal_weights() -> None:
    content = {f"q{query}": {"a": 2.0, "b": 1.0} for query in range(10)}
    runs = [Run.from_mapping(content) for _ in range(3)]
    qrels = Qrels.from_mapping({query: {"a": 1} for query in content})
    fitted = cross_fit(runs, qrels)
    np.testing.assert_allclose(fitted.weights, 1 / 3)


def test_the_order_of_queries_and_seeds_decide_as_documented() -> None:
    runs, qrels = planted([0.7, 0.5], queries=20)
    first = cross_fit(runs, qrels, "AP", seed=3)
    turned = [Run.from_mapping(dict(reversed(run.to_mapping().items()))) for run in runs]
    again = cross_fit(turned, qrels, "AP", seed=3)
    assert again.run.query_ids == first.run.query_ids[::-1]
    np.testing.assert_array_equal(again.fold, first.fold[::-1])
    np.testing.assert_array_equal(again.weights, first.weights)
    other = cross_fit(runs, qrels, "AP", seed=4)
    assert (other.fold != first.fold).any()


def test_queries_without_judgments_are_fused_too() -> None:
    runs, qrels = planted([3.0, 0.0], queries=40)
    some = qrels.only_queries([f"q{query}" for query in range(20)])
    fitted = cross_fit(runs, some)
    assert len(fitted.run.query_ids) == 40
    assert np.bincount(fitted.fold).tolist() == [8] * 5
    assert (fitted.weights[:, 0] >= 0.5).all()
    assert fitted.value == pytest.approx(mean(fitted.run, some))


def test_the_combiner_returns_run_and_weights() -> None:
    runs, qrels = planted([3.0, 0.0], queries=30)
    combiner = get_combiner("weighted", folds=3, measure="P@5", normalisation="zmuv", steps=4)
    assert combiner.uses_judgments
    assert not get_combiner("weighted", weights="1, 1").uses_judgments
    context = CombineContext(qrels=qrels, k=7, seed=5, name="tuned")
    combined = combiner.combine(runs, context)
    fitted = cross_fit(runs, qrels, "P@5", "zmuv", folds=3, steps=4, seed=5)
    assert combined.run.to_mapping() == fitted.run.top(7).to_mapping()
    assert combined.facts == {
        "runs": ["run0", "run1"],
        "measure": "P@5",
        "held_out": fitted.value,
        "points": 5,
        "folds": [
            {"queries": 10, "weights": weights, "training": training}
            for weights, training in zip(
                fitted.weights.tolist(), fitted.training.tolist(), strict=True
            )
        ],
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, q: cross_fit(r, q, folds=1), "folds is 1: at least 2"),
        (lambda r, q: cross_fit(r, q, folds=13), "folds is 13, but the runs have only 12 queries"),
        (lambda r, q: cross_fit(r, q.only_queries(["q3"])), "1 judged queries, and no others"),
        (lambda r, _: cross_fit(r, Qrels.from_mapping({"z": {"a": 1}})), "0 judged queries"),
        (lambda r, q: cross_fit(r, q, "GMAP"), "no mean over queries"),
        (lambda _, q: cross_fit([], q), "at least one run"),
        (lambda r, q: cross_fit(r, q, points=2), "points is 2: for 2 runs at least 3"),
        (lambda r, q: cross_fit(r, q, steps=0), "0 steps"),
        (
            lambda r, _: get_combiner("weighted").combine(r, CombineContext()),
            "combiner 'weighted': weights are to be tuned, and there are no judgments",
        ),
        (
            lambda _, __: get_combiner("weighted", points=4).check(4),
            "points is 4, too few to try each of 4 runs",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(call: Callable[[Any, Any], Any], message: str) -> None:
    runs, qrels = planted([1.0, 0.0], queries=12)
    with pytest.raises(InputError, match=message):
        call(runs, qrels)


@pytest.mark.parametrize("n_runs", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("points", [13, 100])
def test_points_lie_on_the_simplex_and_hold_each_run_alone_and_all(
    n_runs: int, points: int
) -> None:
    found = simplex_points(n_runs, points=points)
    assert len(found) <= points
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found >= 0).all()
    np.testing.assert_allclose(found[0], 1 / n_runs)
    assert len(np.unique(np.round(found, 9), axis=0)) == len(found)
    distance = np.linalg.norm(found - 1 / n_runs, axis=1)
    assert (np.diff(distance) > -1e-8).all()
    for alone in np.eye(n_runs):
        assert (found == alone).all(axis=1).any()


def test_two_and_three_runs_have_the_whole_grid() -> None:
    two = simplex_points(2)
    assert sorted(two[:, 0].tolist()) == pytest.approx(np.linspace(0, 1, 11).tolist())
    three = simplex_points(3)
    grid = {tuple(row) for row in np.round(three[1:] * 10, 9).tolist()}
    assert grid == {(a, b, 10 - a - b) for a in range(11) for b in range(11 - a)}
    assert len(simplex_points(2, steps=98)) == 99


def test_random_points_come_with_the_seed_and_fill_the_number() -> None:
    first, again, other = (simplex_points(5, points=90, seed=seed) for seed in (1, 1, 2))
    assert len(first) == 90
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_real_runs_are_tuned_without_loss(hard: tuple[list[Run], Qrels]) -> None:
    runs, qrels = hard
    fitted = cross_fit(runs, qrels, depth=100)
    assert fitted.value > mean(runs[0], qrels)
    assert fitted.value == pytest.approx(mean(fitted.run, qrels))
    assert fitted.training.mean() > fitted.value - 0.02
