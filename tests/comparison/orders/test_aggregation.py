"""Orders over several datasets: known answers, brute force, and bootstraps rebuilt by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from retrieval_eval.comparison.orders import aggregation
from retrieval_eval.comparison.orders.aggregation import (
    RankAggregation,
    aggregate_ranks,
    average_ranks,
    borda,
    kemeny,
)
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

Values = NDArray[np.float64]
METHODS = ["mean", "borda", "kemeny"]


def runs(
    table: Any, names: str = "ABCDEFGH", query_ids: Sequence[str] | None = None
) -> list[Evaluation]:
    """One evaluation for each row of scores."""
    values = np.array(table, dtype=np.float64)
    ids = tuple(query_ids or [f"q{number}" for number in range(values.shape[1])])
    rows = zip(names, values, strict=False)
    return [Evaluation(name, ("AP",), ids, row[None, :].copy(), 0) for name, row in rows]


def noisy(seed: int, systems: int = 4, queries: int = 30) -> Values:
    rng = np.random.default_rng(seed)
    return rng.random((systems, queries)) + 0.05 * np.arange(systems)[:, None]


@st.composite
def stacked_means(draw: st.DrawFn) -> Values:
    """Return scores of shape (draws, d, s), with many ties."""
    shape = (2, draw(st.integers(1, 4)), draw(st.integers(1, 6)))
    size = shape[1] * shape[2] * 2
    grades = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return np.array(grades, dtype=np.float64).reshape(shape)


# -- ranks and Borda --------------------------------------------------------------------------


@given(stacked_means())
def test_average_ranks_agree_with_scipy_over_leading_axes(means: Values) -> None:
    np.testing.assert_array_equal(average_ranks(means), rankdata(-means, axis=-1))


def test_borda_by_hand_ties_share_their_ranks() -> None:
    means = [[0.9, 0.5, 0.5, 0.1], [0.2, 0.2, 0.2, 0.8]]
    assert borda(means).tolist() == [1 + 3, 2.5 + 3, 2.5 + 3, 4 + 1]
    assert borda([means, means[::-1]]).tolist() == [[4, 5.5, 5.5, 5]] * 2


def test_infinite_scores_are_ranked() -> None:
    assert average_ranks([np.inf, 0.0, -np.inf, np.inf]).tolist() == [1.5, 3, 4, 1.5]


def test_one_dataset_decides_the_mean_and_counts_once_for_borda() -> None:
    """Far ahead on one dataset, slightly behind on two."""
    data = {name: runs([[a], [b]]) for name, a, b in [("x", 0.9, 0.2), ("y", 0.1, 0.2)]}
    data["z"] = data["y"]
    by_mean = aggregate_ranks(data, "AP", method="mean")
    assert by_mean.position == (1.0, 2.0)
    np.testing.assert_allclose(by_mean.score, [1.1 / 3, 0.2], rtol=1e-15)
    by_borda = aggregate_ranks(data, "AP", method="borda")
    assert by_borda.position == (2.0, 1.0)
    assert by_borda.score == (5.0, 4.0)


def test_a_condorcet_winner_is_first_for_kemeny_and_not_for_borda() -> None:
    """A beats both others on 3 of 5 datasets, and is last on the other 2."""
    means = np.array([[3, 2, 1]] * 3 + [[1, 3, 2]] * 2, dtype=np.float64)
    assert borda(means).tolist() == [9.0, 8.0, 13.0]
    assert kemeny(means).tolist() == [1, 2, 3]
    data = {f"d{k}": runs(row[:, None]) for k, row in enumerate(means)}
    assert aggregate_ranks(data, "AP", method="borda").position == (2.0, 1.0, 3.0)
    assert aggregate_ranks(data, "AP", method="kemeny").position == (1.0, 2.0, 3.0)


# -- Kemeny -----------------------------------------------------------------------------------


def brute_force_kemeny(means: Values) -> list[int]:
    """First best order in the order of permutations: ties by the system given first."""
    systems = range(means.shape[1])

    def disagreements(order: tuple[int, ...]) -> float:
        cost = 0.0
        for high, low in itertools.combinations(order, 2):
            cost += (means[:, low] > means[:, high]).sum()
            cost += 0.5 * (means[:, low] == means[:, high]).sum()
        return cost

    best = min(itertools.permutations(systems), key=disagreements)
    return [best.index(system) + 1 for system in systems]


@settings(deadline=None, max_examples=40)
@given(stacked_means())
def test_kemeny_is_the_best_of_all_permutations(means: Values) -> None:
    before = means.copy()
    assert kemeny(means).tolist() == [brute_force_kemeny(one) for one in means]
    np.testing.assert_array_equal(means, before)


def test_in_a_condorcet_cycle_the_system_given_first_is_first() -> None:
    cycle = np.array([[3, 2, 1], [1, 3, 2], [2, 1, 3]], dtype=np.float64)
    assert kemeny(cycle).tolist() == [1, 2, 3]
    assert kemeny(cycle[:, ::-1]).tolist() == [1, 3, 2]  # C, A, B


def test_twelve_systems_are_ordered_and_thirteen_refused() -> None:
    truth = np.array([7, 2, 12, 1, 9, 4, 11, 3, 8, 6, 10, 5])
    means = np.stack([-truth, -truth, truth]).astype(np.float64)
    assert kemeny(means).tolist() == truth.tolist()
    with pytest.raises(InputError, match="at most 12 systems, and there are 13: use borda"):
        kemeny(np.zeros((1, 13)))


def test_kemeny_in_blocks_is_kemeny_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    means = np.random.default_rng(0).random((3, 7, 4, 5))
    at_once = kemeny(means)
    assert at_once.shape == (3, 7, 5)
    monkeypatch.setattr(aggregation, "_BLOCK_BYTES", 4000)
    np.testing.assert_array_equal(kemeny(means), at_once)
    assert at_once[1, 2].tolist() == brute_force_kemeny(means[1, 2])


@pytest.mark.parametrize("order", [borda, kemeny])
def test_scores_that_cannot_be_ordered_are_refused(order: Callable[[Any], Any]) -> None:
    with pytest.raises(InputError, match="a score is NaN"):
        order([[0.5, np.nan]])
    for shape in [(3,), (0, 2), (2, 0)]:
        with pytest.raises(InputError, match=r"must have the shape \(\.\.\., d, s\)"):
            order(np.zeros(shape))


# -- the bootstrap ----------------------------------------------------------------------------


def naive_positions(means: Values, method: str) -> Values:
    if method == "mean":
        return np.asarray(rankdata(-means.mean(axis=0)))
    if method == "borda":
        return np.asarray(rankdata(rankdata(-means, axis=1).sum(axis=0)))
    return np.array(brute_force_kemeny(means), dtype=np.float64)


def naive_draws(table: Values, draws: int, seed: int, dataset: int) -> list[Values]:
    """Means of resampled queries, with Python's whole numbers, one query after the other."""
    n = table.shape[1]
    words = -(-n // 8) * 4  # two picks a word, rows padded to what Philox makes at once
    key = np.random.SeedSequence([seed, 2, dataset]).generate_state(2, np.uint64)
    raw = np.random.Philox(key=key).random_raw(draws * words).tolist()
    means = []
    for draw in range(draws):
        row = raw[draw * words : (draw + 1) * words]
        halves = [half for word in row for half in (word & 0xFFFFFFFF, word >> 32)]
        means.append(table[:, [half * n >> 32 for half in halves[:n]]].mean(axis=1))
    return means


@pytest.mark.parametrize("method", METHODS)
def test_intervals_and_shares_are_those_of_a_bootstrap_by_hand(method: str) -> None:
    tables = {"x": noisy(0), "y": noisy(1, queries=17), "z": noisy(2, queries=41)}
    draws = 200
    result = aggregate_ranks(
        {name: runs(table) for name, table in tables.items()},
        "AP",
        method=method,
        draws=draws,
        seed=5,
    )
    by_dataset = [naive_draws(table, draws, 5, k) for k, table in enumerate(tables.values())]
    positions = np.array(
        [naive_positions(np.array(one), method) for one in zip(*by_dataset, strict=True)]
    )
    ordered = np.sort(positions, axis=0)  # 199 * 0.025 = 4.975, and 194.025
    assert result.low == tuple(ordered[4])
    assert result.high == tuple(ordered[195])
    winners = positions == positions.min(axis=1, keepdims=True)
    np.testing.assert_allclose(
        result.first, (winners / winners.sum(axis=1, keepdims=True)).mean(axis=0), rtol=1e-12
    )
    means = np.array([table.mean(axis=1) for table in tables.values()])
    assert result.position == tuple(naive_positions(means, method))
    assert result.n_queries == (30, 17, 41)
    assert result.datasets == ("x", "y", "z")
    assert any(low < high for low, high in zip(result.low, result.high, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_systems_share_the_resampled_queries(method: str) -> None:
    """A system behind by a hair on every query is behind in every draw."""
    rng = np.random.default_rng(0)
    data = {}
    for name in "xyz":
        best = rng.random(20)
        data[name] = runs([best - 2e-6, best, best - 1e-6])
    result = aggregate_ranks(data, "AP", method=method)
    assert result.position == result.low == result.high == (3.0, 1.0, 2.0)
    assert result.first == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("method", ["mean", "borda"])
def test_scores_that_are_equal_but_for_rounding_tie(method: str) -> None:
    rng = np.random.default_rng(0)
    data = {}
    for name in "stuvwxyz":
        scores = rng.choice([0.1, 0.2, 0.3, 0.7], 1001)
        other = rng.permutation(np.where(scores == 0.3, 0.1 + 0.2, scores))
        data[name] = runs([scores, other, scores - 2])
    result = aggregate_ranks(data, "AP", method=method, draws=100)
    assert result.position == (1.5, 1.5, 3.0)
    if method == "borda":
        assert result.score == (12.0, 12.0, 24.0)


@pytest.mark.parametrize("method", ["mean", "borda"])
def test_equal_runs_share_their_places_in_every_draw(method: str) -> None:
    scores = np.random.default_rng(1).choice([0.1, 0.2, 0.3, 0.7], 1001)
    other = np.where(scores == 0.3, 0.1 + 0.2, scores)
    result = aggregate_ranks({"x": runs([scores, other, scores - 1])}, "AP", method=method)
    assert result.position == result.low == result.high == (1.5, 1.5, 3.0)
    assert result.first == (0.5, 0.5, 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_plain_and_the_seeds_alone(method: str) -> None:
    data = {"x": runs(noisy(3)), "y": runs(noisy(4))}

    def result(seed: int) -> RankAggregation:
        return aggregate_ranks(data, "AP", method=method, draws=100, seed=seed)

    state = np.random.get_state()[1].tolist()  # noqa: NPY002 (the global state is the subject)
    assert result(1) == result(1)
    assert result(1).first != result(2).first
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    assert sum(result(1).first) == pytest.approx(1)
    assert all(type(one) is float for one in (*result(1).low, *result(1).score))


# -- evaluations ------------------------------------------------------------------------------


def test_runs_are_matched_by_name_and_queries_by_id() -> None:
    x, y = noisy(5), noisy(6)
    expected = aggregate_ranks({"x": runs(x), "y": runs(y)}, "AP", draws=100)
    ids = [f"q{number}" for number in range(30)]
    shuffled = [
        *runs(y[:1], "A", ids),
        *runs(y[1:, ::-1], "BCD", ids[::-1]),
    ]
    again = {"x": runs(x), "y": [shuffled[k] for k in (0, 3, 1, 2)]}
    assert aggregate_ranks(again, "AP", draws=100) == expected
    assert expected.systems == ("A", "B", "C", "D")


def test_a_query_without_a_score_for_one_run_is_left_out_for_all() -> None:
    table = noisy(7)
    table[0, 3] = table[2, 11] = np.nan
    kept = np.delete(table, [3, 11], axis=1)
    data = {"x": runs(table), "y": runs(noisy(8))}
    without = {"x": runs(kept), "y": runs(noisy(8))}
    result = aggregate_ranks(data, "AP", method="mean", draws=100)
    assert result == aggregate_ranks(without, "AP", method="mean", draws=100)
    assert result.n_queries == (28, 30)
    assert np.isnan(data["x"][0].values[0, 3])


def refused(data: Any, message: str, measure: str = "AP", **options: Any) -> None:
    with pytest.raises(InputError, match=message):
        aggregate_ranks(data, measure, **options)


def test_runs_that_do_not_match_are_named() -> None:
    x = runs(noisy(0))
    refused({"x": x, "y": x[:3]}, "dataset 'y' lacks run 'D', which dataset 'x' has")
    refused({"x": x[:3], "y": x}, "dataset 'x' lacks run 'D', which dataset 'y' has")
    refused({"x": x, "y": [*x, x[1]]}, "dataset 'y': run 'B' is listed twice")
    refused({"x": x, "y": []}, "dataset 'y': there is no run")
    refused({}, "no dataset")


def test_a_measure_that_is_missing_or_no_mean_is_named() -> None:
    other = Evaluation("B", ("P@5",), ("q0",), np.ones((1, 1)), 0)
    refused({"x": [*runs([[1.0]]), other]}, "dataset 'x': run 'B': unknown measure 'AP'")
    refused({"x": runs([[1.0]])}, "no mean over queries", measure="GMAP")


def test_queries_that_do_not_match_or_are_none_are_named() -> None:
    other = runs([[0.5, 0.5]], "B", ["q0", "q9"])
    refused({"x": [*runs([[1.0, 1.0]]), *other]}, "dataset 'x': runs 'A' and 'B' were scored on")
    refused({"x": runs([[np.nan, 1.0], [1.0, np.nan]])}, "dataset 'x': no query is left")
    refused({"x": runs([[np.inf], [1.0]])}, "dataset 'x': run 'A' has an infinite score")


def test_options_that_cannot_be_used_are_named() -> None:
    data = {"x": runs(noisy(0))}
    refused(data, "unknown aggregation 'bordo'. Did you mean 'borda'", method="bordo")
    refused(data, "draws is 99", draws=99)
    refused(data, "seed is -1", seed=-1)
    many = {"x": runs(noisy(0, systems=13), "ABCDEFGHIJKLM")}
    refused(many, "use borda", method="kemeny")


def test_the_callers_scores_are_not_changed() -> None:
    data = {"x": runs(noisy(0)), "y": runs(noisy(1))}
    before = [one.values.copy() for one in data["x"] + data["y"]]
    aggregate_ranks(data, "AP", draws=100)
    for one, other in zip(before, data["x"] + data["y"], strict=True):
        np.testing.assert_array_equal(one, other.values)
