"""Rank correlations: published and hand-made answers, brute force over ties, and the bootstrap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau

from retrieval_eval.comparison import resampling
from retrieval_eval.comparison.orders.correlation import (
    kendall_tau,
    rank_correlation,
    rbo,
    tau_ap,
)
from retrieval_eval.comparison.orders.scores import resampled_means, without_rounding
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

Values = NDArray[np.float64]
Coefficient = Callable[[Any, Any], Values]
ALL: list[Coefficient] = [kendall_tau, tau_ap, rbo]


@st.composite
def two_orders(draw: st.DrawFn, most: int = 8) -> tuple[list[int], list[int]]:
    """Return two lists of scores of the same systems, with ties."""
    systems = draw(st.integers(2, most))
    scores = st.lists(st.integers(0, systems), min_size=systems, max_size=systems)
    return draw(scores), draw(scores)


def orders_of(scores: Sequence[float]) -> Iterator[list[int]]:
    """All orders of the systems, best first, that agree with the scores."""
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            yield list(order)


def expected(
    one_order: Callable[[list[int], list[int]], float], x: Sequence[float], y: Sequence[float]
) -> float:
    """Mean of a coefficient of two orders without ties over all the orders that ties allow."""
    pairs = itertools.product(orders_of(x), orders_of(y))
    return float(np.mean([one_order(first, second) for first, second in pairs]))


def untied_tau_ap(truth: list[int], judged: list[int]) -> float:
    """The sum of the paper, over ranks 2 to n of the judged order."""
    n = len(truth)
    total = 0.0
    for rank in range(2, n + 1):
        one = judged[rank - 1]
        right = sum(truth.index(above) < truth.index(one) for above in judged[: rank - 1])
        total += right / (rank - 1)
    return 2 / (n - 1) * total - 1


def untied_rbo(first: list[int], second: list[int], p: float = 0.9) -> float:
    """RBO_ext of the paper: agreement at each depth, and at the last for all depths below."""
    k = len(first)
    overlap = [len(set(first[:d]) & set(second[:d])) for d in range(1, k + 1)]
    seen = sum(found / d * p**d for d, found in enumerate(overlap, 1))
    return overlap[-1] / k * p**k + (1 - p) / p * seen


# -- the three coefficients -------------------------------------------------------------------


@given(two_orders())
def test_tau_agrees_with_scipy_ties_included(orders: tuple[list[int], list[int]]) -> None:
    ours, scipys = float(kendall_tau(*orders)), float(kendalltau(*orders).statistic)
    assert ours == pytest.approx(scipys, abs=1e-12, nan_ok=True)


def test_tau_by_hand() -> None:
    assert kendall_tau([4, 3, 2, 1], [4, 3, 1, 2]) == pytest.approx(4 / 6)
    # Tied in x: one pair of six, so 5 - 0 over sqrt(5 * 6).
    assert kendall_tau([4, 3, 1, 1], [4, 3, 2, 1]) == pytest.approx(5 / math.sqrt(30))


@settings(deadline=None)
@given(two_orders(most=4))
def test_tau_ap_of_ties_is_the_mean_over_their_orders(orders: tuple[list[int], list[int]]) -> None:
    assert tau_ap(*orders) == pytest.approx(expected(untied_tau_ap, *orders), abs=1e-12)


@settings(deadline=None)
@given(two_orders(most=4))
def test_rbo_of_ties_is_the_mean_over_their_orders(orders: tuple[list[int], list[int]]) -> None:
    assert rbo(*orders) == pytest.approx(expected(untied_rbo, *orders), abs=1e-12)


@given(st.permutations(range(8)), st.permutations(range(8)))
def test_longer_orders_without_ties(x: list[int], y: list[int]) -> None:
    (first,), (second,) = orders_by_sorting(x), orders_by_sorting(y)
    assert tau_ap(x, y) == pytest.approx(untied_tau_ap(first, second), abs=1e-12)
    assert rbo(x, y, 0.7) == pytest.approx(untied_rbo(first, second, 0.7), abs=1e-12)


def orders_by_sorting(scores: Sequence[float]) -> list[list[int]]:
    return [sorted(range(len(scores)), key=lambda one: -scores[one])]


README = (
    [0.06, 0.2, 0.27, 0.37, 0.57, 0.63, 0.66, 0.9, 0.91, 0.94],
    [0.37, 0.06, 0.2, 0.27, 0.57, 0.66, 0.63, 0.91, 0.9, 0.94],
)
README_TIES = [0.4, 0, 0.2, 0.2, 0.6, 0.6, 0.6, 1, 0.8, 1]
MANUAL = (
    [0.67, 0.45, 0.29, 0.12, 0.57, 0.24, 0.94, 0.75, 0.08, 0.54],
    [0.48, 0.68, 0.32, 0.09, 0.06, 0.61, 0.87, 0.22, 0.44, 0.84],
)


@pytest.mark.parametrize(
    ("x", "y", "published"),
    [
        (*README, 0.7491181657848325),
        (README[0], README_TIES, 0.6074514991181656),
        (*MANUAL, 0.3928571),
        (MANUAL[0], np.round(MANUAL[1], 1), 0.39903),
    ],
)
def test_tau_ap_gives_the_numbers_of_its_authors_package(
    x: list[float], y: list[float], published: float
) -> None:
    """README and manual of the R package ircor, by the author of tau_AP,a."""
    assert tau_ap(x, y) == pytest.approx(published, abs=6e-8)


def test_tau_ap_takes_the_first_order_as_the_truth() -> None:
    truth, judged = [4, 3, 2, 1], [3, 2, 1, 4]  # the last is judged to be the first
    # Down the judged order: 0 of 1, 1 of 2 and 2 of 3 are rightly above.
    assert tau_ap(truth, judged) == pytest.approx(2 / 3 * (0 + 1 / 2 + 2 / 3) - 1)
    assert tau_ap(judged, truth) == pytest.approx(2 / 3 * (1 + 1 + 0) - 1)


def test_rbo_by_hand() -> None:
    # 0, 1, 2, 4 and 5 systems are shared by depth.
    known = 0.9**5 + 0.1 / 0.9 * (0.9**2 / 2 + 0.9**3 * 2 / 3 + 0.9**4 + 0.9**5)
    assert rbo([5, 4, 3, 2, 1], [2, 5, 4, 3, 1]) == pytest.approx(known, abs=1e-15)
    assert rbo([2, 1], [1, 2], 0.3) == pytest.approx(0.3)
    assert rbo([3, 2, 1], [1, 2, 3], 0.5) == pytest.approx(1 - 0.5 * (1 + 0.5 / 2))
    assert rbo([7], [3]) == 1


@pytest.mark.parametrize("systems", [2, 3, 7, 50])
def test_equal_and_reversed_orders(systems: int) -> None:
    x = np.random.default_rng(systems).permutation(systems).astype(np.float64)
    assert [float(one(x, 2 * x)) for one in ALL] == [1, 1, 1]
    assert [float(one(x, -x)) for one in (kendall_tau, tau_ap)] == [-1, -1]
    assert 0 < float(rbo(x, -x)) < 1


@given(two_orders())
def test_no_coefficient_depends_on_the_order_in_which_systems_are_given(
    orders: tuple[list[int], list[int]],
) -> None:
    turned = [one[::-1] for one in orders]
    for one in ALL:
        assert one(*orders) == pytest.approx(float(one(*turned)), abs=1e-12, nan_ok=True)
    for one in (kendall_tau, rbo):
        assert one(*orders) == pytest.approx(float(one(*orders[::-1])), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("one", ALL)
def test_leading_axes_are_broadcast_and_inputs_left_alone(one: Coefficient) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 4, (3, 1, 5)) * 1.0, rng.integers(0, 4, (6, 5)) * 1.0
    before = x.copy(), y.copy()
    together = one(x, y)
    assert together.shape == (3, 6)
    for row, column in itertools.product(range(3), range(6)):
        single = float(one(x[row, 0], y[column]))
        assert together[row, column] == pytest.approx(single, abs=1e-12, nan_ok=True)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_what_is_not_defined_is_nan_and_warns_of_nothing() -> None:
    assert np.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))
    assert np.isnan(kendall_tau([1, 2, 3], [1, 1, 1]))
    assert tau_ap([1, 1, 1], [1, 2, 3]) == 0
    assert tau_ap([1, 2, 3], [1, 1, 1]) == 0
    assert np.isnan([float(one([1], [2])) for one in (kendall_tau, tau_ap)]).all()
    assert np.isnan([float(one([], [])) for one in ALL]).all()
    for one in ALL:
        assert np.isnan(one([[1, 2, np.nan], [1, 2, 3]], [1, 2, 3])).tolist() == [True, False]
        assert np.isnan(one([1, 2, 3], [np.nan, np.nan, np.nan]))


@pytest.mark.parametrize("one", ALL)
def test_infinite_scores_are_the_first_and_the_last(one: Coefficient) -> None:
    assert one([np.inf, 0, -np.inf], [3, 2, 1]) == 1
    tied = [np.inf, np.inf, 0], [2, 2, 1]
    assert one(*tied) == one(tied[1], tied[1])


@pytest.mark.parametrize("one", ALL)
def test_scores_of_different_systems_are_refused(one: Coefficient) -> None:
    for x, y in [([1, 2], [1, 2, 3]), (1, 1), ([1, 2], [1]), (np.ones((2, 3)), np.ones((4, 3)))]:
        with pytest.raises(InputError, match="are not of the same systems"):
            one(x, y)


@pytest.mark.parametrize("p", [0, 1, -0.1, math.nan])
def test_persistence_lies_between_0_and_1(p: float) -> None:
    with pytest.raises(InputError, match=f"p is {p}"):
        rbo([1, 2], [1, 2], p)


# -- resamples --------------------------------------------------------------------------------


def naive_draws(values: Values, draws: int, seed: int) -> Values:
    """With Python's whole numbers, one query after the other."""
    n = values.shape[1]
    words = -(-n // 8) * 4  # two picks a word, rows padded to what Philox makes at once
    key = np.random.SeedSequence([seed, 2, 0]).generate_state(2, np.uint64)
    raw = np.random.Philox(key=key).random_raw(draws * words).tolist()
    picks = []
    for draw in range(draws):
        row = raw[draw * words : (draw + 1) * words]
        halves = [half for word in row for half in (word & 0xFFFFFFFF, word >> 32)]
        picks.append([half * n >> 32 for half in halves[:n]])
    return np.array([values[:, chosen].mean(axis=1) for chosen in picks])


def test_resamples_are_those_of_the_recipe_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((3, 37))
    at_once = resampled_means(values, 150, 4)
    np.testing.assert_allclose(at_once, naive_draws(values, 150, 4), atol=1e-10)
    monkeypatch.setattr(resampling, "_BLOCK_BYTES", 24 * 37 * 7)
    np.testing.assert_array_equal(resampled_means(values, 150, 4), at_once)


def test_streams_of_a_seed_differ_and_stay_what_they_are() -> None:
    found = [resampled_means(np.arange(8.0)[None], 4, 7, stream)[:, 0] for stream in (0, 1)]
    assert [one.tolist() for one in found] == [[2.75, 3.75, 2.75, 3.5], [4.625, 3.75, 4.5, 3.625]]


def test_resamples_spread_as_the_mean_does() -> None:
    values = np.random.default_rng(0).random((1, 50))
    means = resampled_means(values, 20_000, 0)[:, 0]
    assert means.mean() == pytest.approx(values.mean(), abs=0.001)
    assert means.std() == pytest.approx(values.std() / math.sqrt(50), rel=0.02)


def test_rounding_ties_what_is_equal_and_keeps_what_is_not() -> None:
    one = np.array([0.1 + 0.2, 0.3, 0.3 + 1e-9])
    first, second, third = without_rounding(one, one).tolist()
    assert first == second < third
    assert without_rounding(np.zeros(2), np.zeros(2)).tolist() == [0, 0]
    assert without_rounding(1e9 * one, 1e9 * one) == pytest.approx(1e9 * one, rel=1e-10)


# -- evaluations ------------------------------------------------------------------------------


def runs(
    table: Any,
    names: str = "ABCDEF",
    query_ids: Sequence[str] | None = None,
    measures: tuple[str, ...] = ("AP",),
) -> list[Evaluation]:
    """One evaluation for each row of scores, shape (s, n) or (s, m, n)."""
    values = np.array(table, dtype=np.float64)
    values = values.reshape(len(values), len(measures), -1)
    ids = tuple(query_ids or [f"q{number}" for number in range(values.shape[2])])
    rows = zip(names, values, strict=False)
    return [Evaluation(name, measures, ids, row.copy(), 0) for name, row in rows]


def noisy(seed: int, systems: int = 6, queries: int = 40) -> Values:
    rng = np.random.default_rng(seed)
    return rng.random((systems, queries)) + 0.1 * np.arange(systems)[:, None]


@pytest.mark.parametrize(
    ("method", "one"), [("tau", kendall_tau), ("tau-ap", tau_ap), ("rbo", rbo)]
)
def test_value_and_interval_are_those_of_a_bootstrap_by_hand(method: str, one: Coefficient) -> None:
    x, y = noisy(0), noisy(1)
    result = rank_correlation(runs(x), runs(y), method=method, draws=200, seed=3)
    assert result.value == pytest.approx(float(one(x.mean(axis=1), y.mean(axis=1))), abs=1e-12)
    drawn = np.sort(one(naive_draws(x, 200, 3), naive_draws(y, 200, 3)))
    assert result.ci95 == pytest.approx((drawn[4], drawn[195]), abs=1e-12)
    assert result.ci95[0] < result.ci95[1]
    assert (result.n, result.undefined, result.draws, result.seed) == (40, 0, 200, 3)
    assert result.measures == ("AP", "AP")
    assert result.p == (0.9 if method == "rbo" else None)
    assert result == rank_correlation(runs(x), runs(y), method=method, draws=200, seed=3)


def test_persistence_reaches_the_coefficient() -> None:
    x, y = noisy(0), noisy(1)
    result = rank_correlation(runs(x), runs(y), method="rbo", p=0.5)
    assert result.value == pytest.approx(float(rbo(x.mean(axis=1), y.mean(axis=1), 0.5)))
    assert result.p == 0.5


@pytest.mark.parametrize("method", ["tau", "tau-ap", "rbo"])
def test_both_sides_share_the_resampled_queries(method: str) -> None:
    scores = noisy(2) - 0.1 * np.arange(6)[:, None]  # no system is better: draws reorder them
    result = rank_correlation(runs(scores), runs(1000 * scores), method=method)
    assert (result.value, result.ci95) == (1, (1, 1))


def test_runs_are_matched_by_name_and_queries_by_id() -> None:
    x, y = noisy(3), noisy(4)
    ids = [f"q{number}" for number in range(40)]
    other = runs(y[::-1, ::-1], "FEDCBA", ids[::-1])
    assert rank_correlation(runs(x), other) == rank_correlation(runs(x), runs(y))


def test_queries_of_one_side_alone_do_not_count() -> None:
    x, y = noisy(5), noisy(6)
    ids = [f"q{number}" for number in range(40)]
    result = rank_correlation(
        runs(x[:, :30], query_ids=ids[:30]), runs(y[:, 10:], "ABCDEF", ids[10:])
    )
    assert result.n == 20
    assert result == rank_correlation(runs(x[:, 10:30]), runs(y[:, 10:30]))
    with pytest.raises(InputError, match="share no query"):
        rank_correlation(runs(x, query_ids=ids), runs(y, query_ids=[f"p{one}" for one in ids]))


def test_a_query_without_a_score_on_either_side_is_left_out_of_both() -> None:
    x, y = noisy(7), noisy(8)
    gaps_x, gaps_y = x.copy(), y.copy()
    gaps_x[1, 4], gaps_y[0, 9] = np.nan, np.nan
    x, y = np.delete(x, [4, 9], axis=1), np.delete(y, [4, 9], axis=1)
    result = rank_correlation(runs(gaps_x), runs(gaps_y))
    assert result == rank_correlation(runs(x), runs(y))
    assert result.n == 38


def test_two_measures_of_the_same_evaluations() -> None:
    both = np.stack([noisy(0), noisy(1)], axis=1)
    evaluations = runs(both, measures=("nDCG@10", "AP"))
    result = rank_correlation(evaluations, evaluations, ("nDCG@10", "AP"), method="tau-ap")
    alone = rank_correlation(runs(noisy(0)), runs(noisy(1)), method="tau-ap")
    assert (result.value, result.ci95) == (alone.value, alone.ci95)
    assert result.measures == ("nDCG@10", "AP")
    assert rank_correlation(evaluations, evaluations, "AP").value == 1
    with pytest.raises(InputError, match="the first side has the measures AP, nDCG@10"):
        rank_correlation(evaluations, evaluations)


def test_draws_without_a_coefficient_are_counted_and_left_out() -> None:
    """Two systems differ on one query of four: without it, a draw has nothing to order."""
    table = [[1.0, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5]]
    result = rank_correlation(runs(table), runs(table), draws=4000)
    assert result.undefined / 4000 == pytest.approx(0.75**4, abs=0.03)
    assert (result.value, result.ci95) == (1, (1, 1))
    constant = rank_correlation(runs(np.ones((3, 5))), runs(noisy(0, 3, 5)), draws=100)
    assert np.isnan([constant.value, *constant.ci95]).all()
    assert constant.undefined == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second": runs(noisy(0))[:5]}, "the second side lacks run 'F', which the first side has"),
        ({"first": runs(noisy(0))[:5]}, "the first side lacks run 'F', which the second side has"),
        ({"first": runs(noisy(0)) + runs(noisy(0))[:1]}, "the first side: run 'A' is listed twice"),
        ({"first": [], "measure": "AP"}, "the first side: there is no run"),
        ({"first": []}, "the first side has the measures none"),
        ({"measure": "P@5"}, "the first side: run 'A': unknown measure 'P@5'"),
        ({"measure": ("AP", "P@5")}, "the second side: run 'A': unknown measure 'P@5'"),
        ({"measure": ("AP",)}, "a pair of two"),
        ({"measure": "GMAP"}, "no mean over queries"),
        ({"method": "kendall"}, "unknown rank correlation 'kendall'"),
        ({"draws": 10}, "draws is 10"),
        ({"seed": -3}, "seed is -3"),
        ({"method": "rbo", "p": 2.0}, "p is 2.0"),
        (
            {"first": [*runs(noisy(0))[:5], *runs(noisy(0, 1, 3), "F")]},
            "the first side: runs 'A' and 'F' were scored on different queries",
        ),
    ],
)
def test_what_cannot_be_compared_is_named(change: dict[str, Any], message: str) -> None:
    given_ = {"first": runs(noisy(0)), "second": runs(noisy(1)), **change}
    with pytest.raises(InputError, match=message):
        rank_correlation(**given_)
