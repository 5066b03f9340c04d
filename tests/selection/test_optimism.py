"""Choices played through: known answers, a choice by hand, and intervals that cover."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.selection.optimism import noise_choices, optimism, simulate_choices
from retrieval_eval.selection.spaces import even_grids, grid_orders, score_tables

Array = NDArray[np.float64]


def scores_like_ndcg(seed: int, m: int, n: int, spread: float = 0.0) -> Array:
    """Skewed, tied scores, many of them zero; configurations share the queries' difficulty."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    raw = np.where(rng.random((m, n)) < hard, rng.choice([0.4, 0.5, 0.6, 1.0], (m, n)), 0.0)
    return raw + spread * np.linspace(-1, 1, m)[:, None]


def mean_and_error(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


# -- known answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("tuning", [20, 200])
def test_pure_noise_has_a_gap_and_no_held_out_gain(tuning: int) -> None:
    found = noise_choices(scores_like_ndcg(0, 1, 500)[0], 30, tuning, 2000, draws=3000, seed=1)
    gap, error = mean_and_error(found.gap[:, -1])
    assert gap > 20 * error
    gain, error = mean_and_error(found.gain[:, -1])
    assert abs(gain) < 4 * error
    assert gap > 20 * abs(gain)


def test_the_gap_of_noise_grows_with_tries_and_falls_with_queries() -> None:
    values = scores_like_ndcg(0, 1, 500)[0]
    few = noise_choices(values, 40, 50, 1000, draws=500).gap.mean(axis=0)
    many = noise_choices(values, 40, 800, 1000, draws=500).gap.mean(axis=0)
    assert (np.diff(few) > -1e-12).all()
    # The largest of normal means: in proportion to one over the root of the queries.
    assert few[-1] / many[-1] == pytest.approx(4, rel=0.15)


def test_one_configuration_has_no_gap_and_no_gain() -> None:
    alone = scores_like_ndcg(2, 1, 300)
    found = simulate_choices(alone, 60, splits=50)
    np.testing.assert_allclose(found.gap, 0, atol=1e-12)
    np.testing.assert_allclose(found.gain, 0, atol=1e-12)
    first = simulate_choices(scores_like_ndcg(2, 12, 300, 0.1), 60, splits=4000)
    for values in (first.gap[:, 0], first.gain[:, 0]):
        mean, error = mean_and_error(values)
        assert abs(mean) < 4 * error
    plain, error = mean_and_error(first.tuning[:, 0] - first.held_out[:, 0])
    assert abs(plain) < 4 * error


def test_a_configuration_that_is_best_by_far_is_found_and_not_flattered() -> None:
    table = scores_like_ndcg(3, 8, 400)
    table[5] += 2
    found = simulate_choices(table, 50, splits=300)
    assert (found.winner[:, -1] == 5).all()
    gap, error = mean_and_error(found.gap[:, -1])
    assert abs(gap) < 4 * error
    assert found.gain[:, -1].mean() == pytest.approx(2 * 7 / 8, abs=0.1)


# -- by hand ------------------------------------------------------------------------------------


def test_a_choice_by_hand() -> None:
    table = scores_like_ndcg(4, 5, 40, 0.2)
    table[3] = table[1]
    order = np.array([[3, 0, 1, 4, 2]] * 20)
    found = simulate_choices(table, 15, splits=20, seed=7, orders=order)
    keys = np.random.default_rng([7, 1]).random((20, 40))
    for deal in range(20):
        chosen = np.isin(np.arange(40), np.argsort(keys[deal])[:15])
        tuning, held_out = table[:, chosen].mean(axis=1), table[:, ~chosen].mean(axis=1)
        best = 3
        for place, tried in enumerate(order[deal]):
            if tuning[tried] > tuning[best] + 1e-9:  # of equal ones the first tried
                best = tried
            assert found.winner[deal, place] == best
            assert found.tuning[deal, place] == pytest.approx(tuning[best])
            assert found.held_out[deal, place] == pytest.approx(held_out[best])
            difficulty = tuning.mean() - held_out.mean()
            gap = tuning[best] - held_out[best] - difficulty
            assert found.gap[deal, place] == pytest.approx(gap)
            assert found.gain[deal, place] == pytest.approx(held_out[best] - held_out.mean())


def test_all_ways_through_a_grid_end_at_the_same_choice() -> None:
    grid = [{"M": m, "ef": ef} for m in (4, 8, 16) for ef in (10, 20, 40, 80)]
    table = scores_like_ndcg(5, 12, 200, 0.1)
    orders = grid_orders(grid, splits=100, seed=3)
    loops = simulate_choices(table, 80, splits=100, seed=3, orders=orders)
    random = simulate_choices(table, 80, splits=100, seed=3)
    np.testing.assert_allclose(loops.tuning[:, -1], random.tuning[:, -1], rtol=1e-12)
    assert not np.array_equal(loops.winner[:, 3], random.winner[:, 3])
    assert (np.diff(random.tuning, axis=1) >= 0).all()


def test_a_seed_decides_and_the_caller_keeps_his_scores() -> None:
    table = scores_like_ndcg(6, 6, 100)
    before = table.copy()
    one, again, other = (optimism(table, 30, [1, 6], splits=60, seed=s) for s in (1, 1, 2))
    assert one == again
    assert one != other
    np.testing.assert_array_equal(table, before)


def test_estimates_are_those_of_the_simulation() -> None:
    table = scores_like_ndcg(8, 7, 120, 0.1)
    found = simulate_choices(table, 40, splits=90, seed=5)
    for one in optimism(table, 40, [2, 7], splits=90, seed=5):
        assert one.gap[0] == pytest.approx(found.gap[:, one.tried - 1].mean())
        assert one.gain[0] == pytest.approx(found.gain[:, one.tried - 1].mean())
        for mean, low, high in (one.gap, one.gain):
            assert low < mean < high


def test_intervals_cover_the_mean_over_other_queries() -> None:
    """95 % intended; 50 data sets of one kind, whose mean gap is known from many more."""
    draws = [
        simulate_choices(scores_like_ndcg(1000 + seed, 6, 200, 0.03), 50, splits=50, seed=seed)
        for seed in range(400)
    ]
    gap = float(np.mean([one.gap[:, -1].mean() for one in draws]))
    gain = float(np.mean([one.gain[:, -1].mean() for one in draws]))
    covered = np.zeros(2)
    for seed in range(50):
        table = scores_like_ndcg(5000 + seed, 6, 200, 0.03)
        (one,) = optimism(table, 50, [6], splits=50, seed=seed)
        covered += [one.gap[1] <= gap <= one.gap[2], one.gain[1] <= gain <= one.gain[2]]
    assert (covered >= 44).all()  # 44 of 50 or fewer happen with a chance of 0.4 % at 95 %


# -- grids --------------------------------------------------------------------------------------


def test_grid_orders_are_nested_loops() -> None:
    grid = [{"M": m, "ef": ef} for m in (4, 8, 16) for ef in (10, 20)]
    orders = grid_orders(grid, splits=200, seed=0)
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    for order in orders:
        ms, efs = [grid[one]["M"] for one in order], [grid[one]["ef"] for one in order]
        outer_m = ms[0] == ms[1]
        outer, inner = (ms, efs) if outer_m else (efs, ms)
        changes = sum(a != b for a, b in pairwise(outer))
        assert changes == len(set(outer)) - 1
        assert inner[: len(set(inner))] in (
            sorted(set(inner)),
            sorted(set(inner), reverse=True),
        )
    assert len({tuple(one) for one in orders.tolist()}) == 8  # 2 nestings, 2 x 2 directions


def test_even_grids_have_the_ends_and_are_each_there_once() -> None:
    grid = [{"k1": k, "b": b} for k in (0.3, 0.9, 1.2, 2.0, 3.0) for b in (0.0, 0.5, 1.0)]
    sizes = [len(one) for one in even_grids(grid)]
    assert sizes == [1, 4, 9, 12, 15]
    corners = [grid[one] for one in even_grids(grid)[1]]
    assert corners == [{"k1": k, "b": b} for k in (0.3, 3.0) for b in (0.0, 1.0)]


def test_words_are_ordered_by_their_first_place_and_true_is_no_number_less() -> None:
    grid: list[dict[str, Any]] = [{"kind": kind} for kind in ("sq8", "pq", None, "fp16")]
    assert {tuple(one) for one in grid_orders(grid, splits=20).tolist()} == {
        (0, 1, 2, 3),
        (3, 2, 1, 0),
    }
    with pytest.raises(InputError, match="must have the parameters kind"):
        grid_orders([{"kind": "pq"}, {"m": 8}], splits=1)
    with pytest.raises(InputError, match="a parameter that they differ in"):
        even_grids([])


# -- sweeps -------------------------------------------------------------------------------------


def sweep_of(rows: list[dict[str, Any]]) -> Any:
    defaults = {"dataset": "d", "filter": None, "status": "ok", "build_params": "{}"}
    filled = [
        {"row_id": str(place), "configuration": "c", **defaults, **row}
        for place, row in enumerate(rows)
    ]
    per_query = pl.DataFrame(
        [
            {"row_id": row["row_id"], "query_id": f"q{query}", "nDCG@10": place + query / 10}
            for place, row in enumerate(filled)
            for query in range(3)
        ]
    )
    return SimpleNamespace(rows=pl.DataFrame(filled), per_query=per_query, manifest={})


def test_a_sweep_is_cut_into_the_spaces_that_were_searched() -> None:
    hnsw = [
        {"encoder": "lsa", "index": "hnsw", "search_params": f'{{"ef": {ef}}}'} for ef in (10, 20)
    ]
    bm25 = [
        {"encoder": f"bm25 k1={k1} b=0.4", "index": "sparse", "search_params": "{}"}
        for k1 in (0.9, 1.2)
    ]
    alone = {"encoder": "lsa", "index": "flat", "search_params": "{}"}
    failed = {"encoder": "lsa", "index": "hnsw", "search_params": '{"ef": 5}', "status": "failed"}
    first, second = score_tables(sweep_of([*hnsw, alone, *bm25, failed]), "nDCG@10")
    assert (first.name, second.name) == ("lsa, hnsw", "bm25, sparse")
    assert first.parameters == ({"ef": 10}, {"ef": 20})
    assert second.parameters == ({"k1": 0.9}, {"k1": 1.2})
    np.testing.assert_allclose(second.scores, [[3.0, 3.1, 3.2], [4.0, 4.1, 4.2]])
    with pytest.raises(InputError, match="Did you mean 'nDCG@10'"):
        score_tables(sweep_of([*hnsw]), "nDCG@20")
    with pytest.raises(InputError, match="no encoder and index"):
        score_tables(sweep_of([alone]), "nDCG@10")


# -- what cannot be -----------------------------------------------------------------------------


def test_what_cannot_be_is_named() -> None:
    table = scores_like_ndcg(0, 3, 40)
    for wrong, message in (
        (lambda: simulate_choices(table, 40), "40 tuning queries of 40"),
        (lambda: simulate_choices(table, 0), "0 tuning queries"),
        (lambda: simulate_choices(table[0], 2), "expected"),
        (lambda: simulate_choices(np.full((2, 9), np.nan), 2), "not finite"),
        (lambda: simulate_choices(table, 9, splits=0), "0 draws"),
        (lambda: simulate_choices(table, 9, splits=1, orders=np.array([[0, 0, 1]])), "once"),
        (lambda: optimism(table, 39, [1]), "at most 37"),
        (lambda: optimism(table, 9, [4]), "from 1 to 3"),
        (lambda: noise_choices([], 2, 3, 4), "not 0"),
        (lambda: noise_choices([1.0], 0, 3, 4), "configurations is 0"),
    ):
        with pytest.raises(InputError, match=message):
            wrong()
