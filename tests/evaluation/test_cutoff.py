"""Cuts of rankings into sets: what must hold for any, and what separable scores allow."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval import Evaluator, Qrels, Run
from retrieval_eval.cutoff import (
    JudgedScores,
    ScoreMap,
    choose_rank,
    choose_threshold,
    cut_run,
    depths_by_threshold,
    fit_score_map,
    judged_scores,
    oracle_depths,
)
from retrieval_eval.errors import InputError

SETS = ["SetP", "SetR", "SetF", "NumRet"]
Scores = NDArray[np.float64]


def collection(scores: Scores, relevant: NDArray[np.bool_]) -> tuple[Run, Qrels]:
    """Make a run of these scores, and judgments of every document."""
    answers = {
        f"q{row}": {f"d{place:03}": float(score) for place, score in enumerate(line)}
        for row, line in enumerate(scores)
    }
    grades = {
        f"q{row}": {f"d{place:03}": int(one) for place, one in enumerate(line)}
        for row, line in enumerate(relevant)
    }
    return Run.from_mapping(answers), Qrels.from_mapping(grades)


@pytest.fixture(scope="module")
def noisy() -> tuple[Run, Qrels]:
    rng = np.random.default_rng(5)
    relevant = rng.random((80, 30)) < 0.1
    relevant[:, 0] |= ~relevant.any(axis=1)
    scores = np.round(rng.normal(size=(80, 30)) + relevant, 1)  # with many ties
    return collection(scores, relevant)


def quality(run: Run, qrels: Qrels, judged: JudgedScores, depths: object) -> NDArray[np.float64]:
    cut = cut_run(run, judged.query_ids, depths)  # type: ignore[arg-type]
    return Evaluator(qrels, SETS).evaluate(cut).values


def test_a_global_threshold_is_perfect_where_one_score_separates_all() -> None:
    rng = np.random.default_rng(0)
    relevant = rng.random((60, 12)) < 0.3
    relevant[:, 0] = True
    scores = np.where(relevant, rng.uniform(0.6, 1.0, relevant.shape), rng.uniform(0, 0.4))
    run, qrels = collection(scores, relevant)
    judged = judged_scores(run, qrels)
    threshold = choose_threshold(judged, judged.scores)
    assert 0.4 < threshold < 0.6
    found = quality(run, qrels, judged, depths_by_threshold(judged.scores, threshold))
    np.testing.assert_array_equal(found[:3], 1.0)
    values = fit_score_map(judged, strength=1e-4).apply(judged.scores)
    depths = depths_by_threshold(values, choose_threshold(judged, values))
    np.testing.assert_array_equal(quality(run, qrels, judged, depths)[:3], 1.0)


def test_a_learned_map_is_perfect_where_each_query_has_its_own_threshold() -> None:
    rng = np.random.default_rng(1)
    relevant = rng.random((200, 10)) < 0.3
    relevant[:, 0] = True
    level = rng.uniform(-5, 5, size=(200, 1))
    below = rng.uniform(0.5, 1.0, relevant.shape)
    scores = level - np.where(relevant, 0.2 * rng.random(relevant.shape), below)
    run, qrels = collection(scores, relevant)
    train = judged_scores(run, qrels.only_queries(f"q{row}" for row in range(100)))
    held_out = qrels.only_queries(f"q{row}" for row in range(100, 200))
    test = judged_scores(run, held_out)
    learned = fit_score_map(train, strength=1e-4)
    threshold = choose_threshold(train, learned.apply(train.scores))
    depths = depths_by_threshold(learned.apply(test.scores), threshold)
    np.testing.assert_array_equal(quality(run, held_out, test, depths)[:3], 1.0)
    plain = depths_by_threshold(test.scores, choose_threshold(train, train.scores))
    assert quality(run, held_out, test, plain)[2].mean() < 0.8


def test_no_cut_beats_the_oracle_on_any_query(noisy: tuple[Run, Qrels]) -> None:
    run, qrels = noisy
    judged = judged_scores(run, qrels)
    best = quality(run, qrels, judged, oracle_depths(judged))[2]
    backwards = ScoreMap((-1.0, 0.5, 2.0, 0.0), 0.0).apply(judged.scores)
    values = [judged.scores, backwards, fit_score_map(judged).apply(judged.scores)]
    cuts = [
        depths_by_threshold(one, t) for one in values for t in np.quantile(one, [0.2, 0.5, 0.9])
    ]
    for depths in [*cuts, *range(1, 31)]:
        assert (quality(run, qrels, judged, depths)[2] <= best + 1e-12).all()
    assert best.mean() > 0.3


def test_a_fixed_depth_equals_the_run_cut_there(noisy: tuple[Run, Qrels]) -> None:
    run, qrels = noisy
    for k in (1, 7, 30, 99):
        cut, top = cut_run(run, qrels.query_ids, k), run.top(k)
        assert cut.to_mapping() == top.to_mapping()
    depths = np.full(len(qrels.query_ids), 7, dtype=np.int64)
    assert cut_run(run, qrels.query_ids, depths).to_mapping() == run.top(7).to_mapping()
    assert cut_run(run, qrels.query_ids[1:], 7).to_mapping()[qrels.query_ids[0]] == {}


def test_a_ranking_ends_before_the_first_document_below_the_threshold() -> None:
    values = np.array([[0.9, 0.1, 0.8], [0.5, 0.5, 0.4], [0.4, 0.9, -np.inf]])
    assert depths_by_threshold(values, 0.5).tolist() == [1, 2, 0]


def test_f1_and_recall_are_those_of_the_evaluator(noisy: tuple[Run, Qrels]) -> None:
    run, qrels = noisy
    judged = judged_scores(run, qrels)
    for k in (0, 3, 30):
        values = quality(run, qrels, judged, k)
        np.testing.assert_allclose(judged.f1()[:, k], values[2], rtol=1e-12)
        np.testing.assert_allclose(judged.recall()[:, k], values[1], rtol=1e-12)


def test_what_is_chosen_is_the_best_of_all_that_could_be(noisy: tuple[Run, Qrels]) -> None:
    run, qrels = noisy
    judged = judged_scores(run, qrels)
    values = fit_score_map(judged).apply(judged.scores)
    curve = judged.f1()

    def mean_f1(depths: NDArray[np.int64]) -> float:
        return float(curve[np.arange(len(depths)), depths].mean())

    for one in (judged.scores, values):
        chosen = mean_f1(depths_by_threshold(one, choose_threshold(judged, one)))
        tried = [mean_f1(depths_by_threshold(one, t)) for t in np.unique(one)]
        assert chosen == pytest.approx(max(tried), abs=1e-12)
    best = curve[:, 1:].mean(axis=0).max()
    assert curve[:, choose_rank(judged)].mean() == pytest.approx(best, abs=1e-12)


def test_a_share_of_recall_is_reached_and_not_by_more_than_is_needed(
    noisy: tuple[Run, Qrels],
) -> None:
    run, qrels = noisy
    judged = judged_scores(run, qrels, depth=20)
    whole = judged.recall()[:, -1].mean()
    k = choose_rank(judged, recall=0.8)
    means = judged.recall().mean(axis=0)
    assert means[k] >= 0.8 * whole > means[k - 1]
    threshold = choose_threshold(judged, judged.scores, recall=0.8)

    def recall(at: float) -> float:
        depths = depths_by_threshold(judged.scores, at)
        return float(judged.recall()[np.arange(len(depths)), depths].mean())

    above = judged.scores[judged.scores > threshold].min()
    assert recall(threshold) >= 0.8 * whole > recall(np.nextafter(above, np.inf))


def test_queries_without_an_answer_or_with_few_documents_count() -> None:
    run = Run.from_mapping({"q1": {"a": 0.9}, "q2": {"a": 0.3, "b": 0.2}, "other": {"a": 1.0}})
    qrels = Qrels.from_mapping({"q0": {"a": 1}, "q1": {"a": 1}, "q2": {"b": 2, "c": 1}})
    judged = judged_scores(run, qrels, level=2)
    assert judged.total.tolist() == [0, 0, 1]
    judged = judged_scores(run, qrels)
    assert judged.found.sum(axis=1).tolist() == [0, 1, 2]
    assert judged.relevant.tolist() == [[False, False], [True, False], [False, True]]
    assert judged.f1().tolist() == [[0, 0, 0], [0, 1, 1], [0, 0, 0.5]]
    values = ScoreMap((1.0, 0.0, 0.0, 0.0), 0.0).apply(judged.scores)
    assert depths_by_threshold(values, -1.0).tolist() == [0, 1, 2]
    assert depths_by_threshold(values, float("inf")).tolist() == [0, 0, 0]


def test_where_nothing_relevant_was_found_nothing_is_returned() -> None:
    run = Run.from_mapping({"q1": {"a": 0.9, "b": 0.1}})
    judged = judged_scores(run, Qrels.from_mapping({"q1": {"c": 1}}))
    assert choose_threshold(judged, judged.scores) == float("inf")
    assert oracle_depths(judged).tolist() == [0]


def test_unusable_requests_are_refused() -> None:
    run = Run.from_mapping({"q1": {"a": 0.9, "b": 0.1}})
    qrels = Qrels.from_mapping({"q1": {"c": 1}})
    judged = judged_scores(run, qrels)
    with pytest.raises(InputError, match="answers none of the 1 queries"):
        judged_scores(run, Qrels.from_mapping({"q9": {"a": 1}}))
    with pytest.raises(InputError, match=r"0 of 2 documents .* needs some of both kinds"):
        fit_score_map(judged)
    with pytest.raises(InputError, match="strength is 0"):
        fit_score_map(judged, strength=0)
    with pytest.raises(InputError, match=r"share of recall is 1\.5"):
        choose_rank(judged, recall=1.5)
    with pytest.raises(InputError, match="needs a depth of at least 0 for each"):
        cut_run(run, ["q1"], np.array([-1]))
