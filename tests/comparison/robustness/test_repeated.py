"""Many reductions at once, completed pools, and the known answers of both."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval_eval.comparison import CompareOptions
from retrieval_eval.comparison.robustness import (
    STATEMENTS,
    complete_pool,
    discriminativeness,
    label_noise,
    reduced_judgments,
    statements_kept,
)
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation, Evaluator
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

OPTIONS = CompareOptions(test="t")
MEASURE = "nDCG@10"


@pytest.fixture(scope="module")
def systems() -> tuple[Qrels, list[Run]]:
    """Make five runs over 60 queries of 40 documents, from good to poor."""
    rng = np.random.default_rng(7)
    relevant = rng.random((60, 40)) < 0.1
    relevant[:, 0] = True
    judged = relevant | (rng.random(relevant.shape) < 0.3)
    qrels = {
        f"q{row}": {f"d{place}": int(relevant[row, place]) for place in np.flatnonzero(judged[row])}
        for row in range(60)
    }
    runs = []
    for number, skill in enumerate((2.0, 1.9, 1.0, 0.5, 0.45)):
        scores = skill * relevant + rng.normal(size=relevant.shape)
        answers = {
            f"q{row}": {f"d{place}": float(one) for place, one in enumerate(line)}
            for row, line in enumerate(scores)
        }
        runs.append(Run.from_mapping(answers, f"run{number}"))
    return Qrels.from_mapping(qrels), runs


def scored(qrels: Qrels, runs: list[Run]) -> list[Evaluation]:
    return [Evaluator(qrels, [MEASURE]).evaluate(run) for run in runs]


def test_all_judgments_keep_all_statements_and_counts_sum_to_the_pairs(
    systems: tuple[Qrels, list[Run]],
) -> None:
    qrels, runs = systems
    ways = reduced_judgments(qrels, runs, depths=[3], shares=[0.5, 0.1], samples=4)
    assert list(ways) == [
        "all",
        "a pool of depth 3",
        "50 % of the judgments",
        "10 % of the judgments",
    ]
    found = statements_kept(qrels, ways, runs, MEASURE, OPTIONS)
    for one in found:
        assert sum(one.counts) == pytest.approx(5 * 4 / 2)
    counts = dict(zip(STATEMENTS, found[0].counts, strict=True))
    assert {name for name, count in counts.items() if count} == {
        "active_agreement",
        "passive_agreement",
    }
    assert found[0].precision == found[0].recall == found[0].kendall_tau == (1.0, 1.0, 1.0)
    assert (found[0].judgments, found[0].queries) == (len(qrels), 60)
    assert found[3].recall[0] < found[2].recall[0] < 1


def test_means_are_over_samples(systems: tuple[Qrels, list[Run]]) -> None:
    qrels, runs = systems
    ways = reduced_judgments(qrels, runs, shares=[0.3], samples=3, seed=5)
    one = statements_kept(qrels, ways, runs, MEASURE, OPTIONS)[1]
    full = scored(qrels, runs)
    single = [
        discriminativeness(full, scored(less, runs), MEASURE, OPTIONS)
        for less in ways["30 % of the judgments"]
    ]
    for name, count in zip(STATEMENTS, one.counts, strict=True):
        assert count == pytest.approx(np.mean([getattr(each, name) for each in single]))
    taus = [each.kendall_tau for each in single]
    assert one.kendall_tau == pytest.approx((np.mean(taus), min(taus), max(taus)))
    assert one.samples == 3
    assert (
        len({tuple(map(tuple, less.to_frame().rows())) for less in ways["30 % of the judgments"]})
        == 3
    )
    same = reduced_judgments(qrels, runs, shares=[0.3], samples=3, seed=5)
    for mine, other in zip(*(made["30 % of the judgments"] for made in (ways, same)), strict=True):
        assert mine.fingerprint == other.fingerprint


def test_where_nothing_is_shown_precision_is_unknown(systems: tuple[Qrels, list[Run]]) -> None:
    qrels, runs = systems
    few = {"few": [qrels.only_queries(["q0", "q1"])]}
    (one,) = statements_kept(qrels, few, runs, MEASURE, OPTIONS)
    assert np.isnan(one.precision).all()
    assert one.recall == (0.0, 0.0, 0.0)


def test_a_completed_pool_scores_as_before_and_holds_the_pool(
    systems: tuple[Qrels, list[Run]],
) -> None:
    qrels, runs = systems
    whole = complete_pool(qrels, runs, 5)
    for before, after in zip(scored(qrels, runs), scored(whole, runs), strict=True):
        np.testing.assert_array_equal(after.per_query(MEASURE), before.per_query(MEASURE))
        assert after.query_ids == before.query_ids
    for query, grades in qrels.mapping.items():
        assert grades.items() <= whole.mapping[query].items()
        pool = {name for run in runs for name in list(run.to_mapping()[query])[:5]}
        assert set(whole.mapping[query]) == pool | set(grades)
    assert complete_pool(whole, runs, 5).fingerprint == whole.fingerprint
    with pytest.raises(InputError, match="at least one run"):
        complete_pool(qrels, [], 5)


def test_without_wrong_labels_every_order_survives(systems: tuple[Qrels, list[Run]]) -> None:
    qrels, runs = systems
    for judged in (qrels, complete_pool(qrels, runs, 5)):
        noise = label_noise(judged, runs, MEASURE, fractions=[0, 0.5], replicates=10)
        assert (noise.survival[0] == 1).all()
        assert noise.winner[0] == noise.kendall_tau[0] == 1
        assert noise.survival[1].mean() < 1
        low, high = noise.winner_ci95[0]
        assert high == 1
        assert low == pytest.approx(0.025 ** (1 / 10))  # Clopper and Pearson, all of 10


def test_unusable_requests_are_refused(systems: tuple[Qrels, list[Run]]) -> None:
    qrels, runs = systems
    with pytest.raises(InputError, match="samples is 0"):
        reduced_judgments(qrels, runs, samples=0)
    with pytest.raises(InputError, match="the fraction is 2"):
        reduced_judgments(qrels, runs, shares=[2])
