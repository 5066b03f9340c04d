"""Differences of things that were made several times: known answers, and coverage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from retrieval_eval.comparison.replicates import change_and_spread, compare_replicates, rank_swaps
from retrieval_eval.errors import InputError

Scores = NDArray[np.float64]


def crossed(
    rng: np.random.Generator, replicates: int, queries: Scores, spreads: tuple[float, float]
) -> Scores:
    """Draw scores of a query, a replicate, and what they do together."""
    made = rng.normal(scale=spreads[0], size=(replicates, 1))
    both = rng.normal(scale=spreads[1], size=(replicates, len(queries)))
    return queries + made + both


def test_intervals_are_those_of_paired_and_of_welchs_t() -> None:
    rng = np.random.default_rng(1)
    queries = rng.random(50)
    a, b = crossed(rng, 6, queries, (0.1, 0.2)), crossed(rng, 9, queries, (0.05, 0.2))
    found = compare_replicates(a, b, confidence=0.9)
    paired = stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).confidence_interval(0.9)
    welch = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False)
    assert found.mean_diff == pytest.approx(a.mean() - b.mean())
    assert found.over_queries == pytest.approx(tuple(paired))
    assert found.over_replicates == pytest.approx(tuple(welch.confidence_interval(0.9)))
    assert found.spread_a == pytest.approx(a.mean(axis=1).std(ddof=1))
    wide = found.over_both[1] - found.over_both[0]
    assert wide > max(np.ptp(found.over_queries), np.ptp(found.over_replicates))
    assert compare_replicates(b, a).p == pytest.approx(compare_replicates(a, b).p)


def test_only_the_interval_over_both_covers_new_queries_and_new_replicates() -> None:
    rng = np.random.default_rng(2)
    draws, covered = 1000, np.zeros(3)
    for _ in range(draws):
        queries = rng.normal(size=40)
        moved = queries + rng.normal(scale=0.3, size=40)  # what a does to a query, 0 on average
        a, b = (crossed(rng, 8, one, (0.1, 0.3)) for one in (moved, queries))
        found = compare_replicates(a, b)
        intervals = (found.over_queries, found.over_replicates, found.over_both)
        covered += [low <= 0 <= high for low, high in intervals]
    over_queries, over_replicates, over_both = covered / draws
    assert over_both >= 0.94
    assert over_queries < 0.9
    assert over_replicates < 0.9


def test_p_is_level_where_nothing_differs_and_small_where_much_does() -> None:
    rng = np.random.default_rng(3)
    queries = rng.random(30)
    small = 0
    for _ in range(300):
        a, b = (crossed(rng, 5, queries, (0.1, 0.05)) for _ in range(2))
        small += compare_replicates(a, b).p <= 0.05
    assert small / 300 <= 0.08
    assert compare_replicates(a + 1, b).p < 1e-4


def test_one_replicate_tells_no_spread() -> None:
    rng = np.random.default_rng(4)
    found = compare_replicates(rng.random((1, 20)), rng.random((5, 20)))
    assert np.isfinite(found.over_queries).all()
    assert np.isnan([*found.over_replicates, *found.over_both, found.p, found.spread_a]).all()
    assert np.isfinite(found.spread_b)


def test_equal_scores_differ_by_nothing() -> None:
    scores = np.tile(np.random.default_rng(5).random(10), (3, 1))
    found = compare_replicates(scores, scores)
    assert (found.mean_diff, found.over_both, found.p) == (0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize(
    ("a", "b", "rule"),
    [
        (np.zeros(3), np.zeros((2, 3)), "scores of a have the shape"),
        (np.zeros((2, 3)), np.zeros((2, 4)), "3 queries and 4"),
        (np.zeros((2, 1)), np.zeros((2, 1)), "at least two"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), "a score of b is not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: Scores, b: Scores, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        compare_replicates(a, b)


def test_a_confidence_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="the confidence is 1"):
        compare_replicates(np.zeros((2, 3)), np.zeros((2, 3)), confidence=1)


def test_swaps_are_pairs_that_stand_in_another_order() -> None:
    queries = np.random.default_rng(6).random(20)
    before = {"c": queries[None] - 0.3, "a": queries[None], "b": queries[None] - 0.1}
    shifts = {"a": (-0.2, 0.0, -0.2, 0.1), "b": (-0.1,) * 4, "c": (-0.3, -0.3, -0.05, -0.3)}
    after = {name: queries + np.array(moved)[:, None] for name, moved in shifts.items()}
    found = rank_swaps(before, after)
    assert [(one.ahead, one.behind, one.share) for one in found] == [
        ("a", "b", 0.5),
        ("a", "c", 0.25),
        ("b", "c", 0.25),
    ]
    assert found[0].before.mean_diff == pytest.approx(0.1)
    assert found[0].after == compare_replicates(after["a"], after["b"])
    assert rank_swaps(before, before) == []


def test_systems_that_do_not_match_are_refused() -> None:
    one = np.zeros((2, 3))
    with pytest.raises(InputError, match="ranked before: a; after: b"):
        rank_swaps({"a": one}, {"b": one})
    with pytest.raises(InputError, match="other numbers of replicates"):
        rank_swaps({"a": one, "b": one}, {"a": one, "b": one[:1]})


def told_apart(rng: np.random.Generator, spreads: tuple[float, float]) -> float:
    """Return how often a replicate is told from others that were made as it was."""
    queries = rng.random(200)
    alike = {str(one): crossed(rng, 10, queries, spreads) for one in range(30)}
    found = change_and_spread({name: [scores] for name, scores in alike.items()}, alike)
    assert (found.change, found.beyond) == (0.0, 0)
    assert found.replicates == 300
    return found.told_apart / found.replicates


def test_an_interval_over_queries_takes_luck_of_a_replicate_for_a_difference() -> None:
    rng = np.random.default_rng(7)
    assert 0.02 <= told_apart(rng, (0.0, 0.2)) <= 0.09
    assert told_apart(rng, (0.05, 0.2)) > 0.4


def test_changes_are_counted_that_lead_beyond_all_replicates() -> None:
    queries = np.linspace(0, 1, 20)
    alike = {name: queries + np.array([[0.0], [0.1], [0.2]]) for name in ("a", "b")}
    changed = {"a": [alike["a"] + 0.05, alike["a"] - 0.5], "b": [alike["b"] + 0.2, alike["b"]]}
    found = change_and_spread(changed, alike)
    assert (found.beyond, found.changes, found.replicates) == (2, 4, 6)
    assert found.change == pytest.approx((0.05 + 0.5 + 0.2) / 4)
    assert found.sd == pytest.approx(0.1)
    assert found.ratio == pytest.approx(1.875)


def test_a_difference_reads_as_text() -> None:
    a, b = np.array([[0.5, 0.7], [0.5, 0.7]]), np.array([[0.25, 0.45], [0.25, 0.45]])
    assert str(compare_replicates(a, b)) == "+0.2500 [+0.2500, +0.2500]"
    alone = compare_replicates(a[:1] - np.array([[0.0, 0.1]]), b)
    assert str(alone) == "+0.2000 [-0.4353, +0.8353]"
