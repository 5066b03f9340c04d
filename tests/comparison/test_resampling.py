"""Sign flips and resamples: exact sums, one stream of bits, and p values that follow from them."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval_eval.comparison import resampling
from retrieval_eval.comparison.resampling import (
    Grid,
    bootstrap_sums,
    count_flips,
    flip_p,
    stream_key,
)

Values = NDArray[np.float64]
PAIR = np.array([[0, 1]])
AROUND_BOUNDARIES = (1, 2, 7, 8, 9, 31, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300)
WORDS_PER_ROW = 4  # the table of random words is a multiple of these wide


def words(seed: int, purpose: int, draws: int, needed: int) -> list[list[int]]:
    """Return the table of random words, in one piece."""
    width = math.ceil(needed / WORDS_PER_ROW) * WORDS_PER_ROW
    key = np.random.SeedSequence([seed, purpose]).generate_state(2, np.uint64)
    table = np.random.Philox(key=key).random_raw(draws * width)
    return [[int(one) for one in row] for row in table.reshape(draws, width)]


def flipped_sums(differences: Sequence[int], draws: int, seed: int) -> list[int]:
    """Add up flipped whole numbers in Python, bit by bit."""
    n = len(differences)
    rows = words(seed, 1, draws, math.ceil(n / 64))
    return [
        sum(one if row[q // 64] >> (q % 64) & 1 else -one for q, one in enumerate(differences))
        for row in rows
    ]


def resampled_sums(differences: Sequence[int], draws: int, seed: int) -> list[int]:
    """Add up resampled whole numbers in Python, half word by half word."""
    n = len(differences)
    rows = words(seed, 2, draws, math.ceil(n / 2))
    halves = ([row[q // 2] >> (32 * (q % 2)) & 0xFFFFFFFF for q in range(n)] for row in rows)
    return [sum(differences[half * n >> 32] for half in row) for row in halves]


def sums_of_flips(grid: Grid, pairs: NDArray[np.intp], draws: int, seed: int) -> Values:
    """Return the sums that are handed to `reached`, from one block."""
    seen: list[Values] = []

    def reached(sums: Values) -> NDArray[np.bool_]:
        seen.append(sums.copy())
        return sums > 0

    count_flips(grid, pairs, reached, draws=draws, seed=seed, threads=1)
    return np.concatenate(seen)


def exact_p(differences: Sequence[Fraction], alternative: str = "two-sided") -> Fraction:
    """Enumerate all sign patterns with fractions."""
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in patterns]
    observed = sum(differences)
    if alternative == "two-sided":
        return Fraction(sum(abs(one) >= abs(observed) for one in sums), len(patterns))
    return Fraction(sum(one >= observed for one in sums), len(patterns))


def fractions(first: Values, second: Values, digits: int) -> list[Fraction]:
    """Return differences of scores that were meant to have so many digits."""
    return [
        Fraction(round(a * 10**digits) - round(b * 10**digits), 10**digits)
        for a, b in zip(first.tolist(), second.tolist(), strict=True)
    ]


# -- the grid ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 50, 1023, 1024, 1025, 100_000])
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1 / 3, 1e100])
def test_a_score_moves_by_half_a_unit_at_most_and_all_sums_are_exact(n: int, scale: float) -> None:
    values = np.random.default_rng(n).random((2, n)) * scale
    grid = Grid.of(values)
    assert np.all(np.frexp(grid.unit)[0] == 0.5), "units are powers of two"
    assert (grid.integers == np.rint(grid.integers)).all()
    assert (np.abs(grid.integers * grid.unit[:, None] - values) <= grid.unit[:, None] / 2).all()
    assert np.abs(grid.integers).max() * n < 2**52
    for row in grid.integers:
        whole = sum(int(one) for one in row)
        assert int(row.sum()) == int(row[::-1].sum()) == int(np.sort(row).cumsum()[-1]) == whole


def test_the_unit_is_as_fine_as_exact_sums_allow() -> None:
    for n in (1, 2, 50, 1000):
        grid = Grid.of(np.full((1, n), 0.9))
        assert 2**49 <= grid.integers.sum() < 2**51


def test_rows_of_one_group_share_a_unit_that_other_groups_do_not_move() -> None:
    values = np.array([[0.5, 0.25], [1e-6, 1e-7], [0.1, 0.2], [1e-6, 1e-5]])
    grid = Grid.of(values, np.array([0, 1, 0, 1]))
    assert grid.unit[0] == grid.unit[2] == Grid.of(values[[0, 2]]).unit[0]
    assert grid.unit[1] == grid.unit[3] == Grid.of(values[[1, 3]]).unit[0]
    np.testing.assert_array_equal(grid.integers[[1, 3]], Grid.of(values[[1, 3]]).integers)


@pytest.mark.parametrize("power", [-300, -3, 1, 60, 300])
def test_scaling_by_a_power_of_two_changes_the_unit_and_no_integer(power: int) -> None:
    values = np.random.default_rng(1).random((3, 20))
    plain, scaled = Grid.of(values), Grid.of(np.ldexp(values, power))
    np.testing.assert_array_equal(scaled.integers, plain.integers)
    np.testing.assert_array_equal(scaled.unit, np.ldexp(plain.unit, power))


def test_a_grid_of_zeros_is_zeros() -> None:
    assert not Grid.of(np.zeros((2, 5))).integers.any()


def test_rounding_to_the_grid_leaves_the_scores_alone() -> None:
    values = np.random.default_rng(1).random((2, 9))
    copy = values.copy()
    values.flags.writeable = False
    Grid.of(values)
    np.testing.assert_array_equal(values, copy)


# -- the stream of bits -----------------------------------------------------------------------


@pytest.mark.parametrize("n", AROUND_BOUNDARIES)
def test_each_bit_of_the_stream_gives_the_sign_of_one_query(n: int) -> None:
    whole = np.random.default_rng(n).integers(-1000, 1000, size=(2, n))
    grid = Grid(whole.astype(np.float64), np.ones(2))
    found = sums_of_flips(grid, PAIR, 40, seed=7)[:, 0]
    assert found.tolist() == flipped_sums((whole[0] - whole[1]).tolist(), 40, seed=7)


@pytest.mark.parametrize("n", AROUND_BOUNDARIES)
def test_each_half_word_of_the_stream_draws_one_query(n: int) -> None:
    whole = np.random.default_rng(n).integers(-1000, 1000, size=(2, n))
    grid = Grid(whole.astype(np.float64), np.ones(2))
    found = bootstrap_sums(grid, PAIR, draws=40, seed=7)[:, 0]
    assert found.tolist() == resampled_sums((whole[0] - whole[1]).tolist(), 40, seed=7)


def test_sums_of_real_numbers_are_exact() -> None:
    values = np.random.default_rng(3).random((2, 77))
    grid = Grid.of(values)
    whole = [int(a) - int(b) for a, b in grid.integers.T]
    flips, resamples = (
        sums_of_flips(grid, PAIR, 60, 1),
        bootstrap_sums(grid, PAIR, draws=60, seed=1),
    )
    assert [int(one) for one in flips[:, 0]] == flipped_sums(whole, 60, 1)
    assert [int(one) for one in resamples[:, 0]] == resampled_sums(whole, 60, 1)


@pytest.mark.parametrize("n", [3, 64, 65, 200])
def test_signs_are_fair_and_independent(n: int) -> None:
    draws = 4000
    grid = Grid(np.vstack([np.eye(n), np.zeros(n)]), np.ones(n + 1))
    pairs = np.stack([np.arange(n), np.full(n, n)], axis=1)
    signs = sums_of_flips(grid, pairs, draws, seed=0)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    together = signs.T @ signs / np.sqrt(draws)
    np.fill_diagonal(together, 0.0)
    assert np.abs(together).max() < 5.5
    assert np.abs(signs.sum(axis=0)).max() / np.sqrt(draws) < 5


@pytest.mark.parametrize("n", [1, 3, 50])
def test_a_resample_holds_n_queries_and_favours_none(n: int) -> None:
    draws = 4000
    grid = Grid(np.vstack([np.eye(n), np.zeros(n)]), np.ones(n + 1))
    pairs = np.stack([np.arange(n), np.full(n, n)], axis=1)
    weights = bootstrap_sums(grid, pairs, draws=draws, seed=0)
    assert (weights.sum(axis=1) == n).all()
    error = np.sqrt(draws * (1 - 1 / n))
    assert (np.abs(weights.sum(axis=0) - draws) <= 5 * error).all()


def test_flips_and_resamples_of_one_seed_have_streams_of_their_own() -> None:
    keys = {tuple(stream_key(seed, purpose)) for seed in range(50) for purpose in (1, 2, 3)}
    assert len(keys) == 150


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**63, 2**100])
def test_any_seed_from_0_has_a_stream(seed: int) -> None:
    grid = Grid.of(np.random.default_rng(0).random((2, 30)))
    assert 0 < flip_p(grid, PAIR, draws=100, seed=seed)[0] <= 1


def test_the_stream_of_one_seed_never_changes() -> None:
    assert [hex(one) for one in stream_key(0, 1).tolist()] == KEY_OF_FLIPS
    differences = np.arange(1.0, 41.0)
    grid = Grid(np.stack([differences, np.zeros(40)]), np.ones(2))
    assert sums_of_flips(grid, PAIR, 6, seed=0)[:, 0].tolist() == FLIPS
    assert bootstrap_sums(grid, PAIR, draws=6, seed=0)[:, 0].tolist() == RESAMPLES


KEY_OF_FLIPS = ["0x50ff846cec53f444", "0x7a4918dbe8278562"]
FLIPS = [-22.0, -72.0, -14.0, 98.0, -36.0, 156.0]
RESAMPLES = [808.0, 856.0, 773.0, 798.0, 927.0, 907.0]


# -- blocks and threads -----------------------------------------------------------------------


@pytest.mark.parametrize("block_bytes", [1, 3000, 12_345, 100_000, 2**30])
@pytest.mark.parametrize("draws", [100, 101, 997])
def test_blocks_of_any_size_give_the_same_draws(
    block_bytes: int, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid.of(np.random.default_rng(2).random((3, 65)))
    pairs = np.array([[0, 1], [2, 1]])
    flips = flip_p(grid, pairs, draws=draws, seed=4)
    resamples = bootstrap_sums(grid, pairs, draws=draws, seed=4)
    monkeypatch.setattr(resampling, "_BLOCK_BYTES", block_bytes)
    np.testing.assert_array_equal(flip_p(grid, pairs, draws=draws, seed=4), flips)
    np.testing.assert_array_equal(bootstrap_sums(grid, pairs, draws=draws, seed=4), resamples)


@pytest.mark.parametrize("threads", [2, 3, 8, None])
def test_any_number_of_threads_gives_the_same_draws(
    threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "_BLOCK_BYTES", 20_000)
    grid = Grid.of(np.random.default_rng(2).random((3, 130)))
    pairs = np.array([[0, 1], [2, 1]])
    found = [
        (
            flip_p(grid, pairs, draws=1001, seed=4, threads=count).tolist(),
            bootstrap_sums(grid, pairs, draws=1001, seed=4, threads=count).tolist(),
        )
        for count in (1, threads)
    ]
    assert found[0] == found[1]


def test_more_draws_go_on_where_fewer_stopped() -> None:
    grid = Grid.of(np.random.default_rng(2).random((2, 70)))
    more = bootstrap_sums(grid, PAIR, draws=500, seed=1)
    np.testing.assert_array_equal(bootstrap_sums(grid, PAIR, draws=120, seed=1), more[:120])


def test_an_error_in_a_thread_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_BLOCK_BYTES", 1000)

    def reached(sums: Values) -> NDArray[np.bool_]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        count_flips(Grid.of(np.ones((2, 9))), PAIR, reached, draws=200, seed=0)


# -- p of sign flips --------------------------------------------------------------------------


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("digits", [1, 3])
def test_few_differing_queries_are_enumerated_without_any_rounding(
    alternative: str, n: int, digits: int
) -> None:
    for seed in range(12):
        scores = np.random.default_rng([seed, n]).random((2, n)).round(digits)
        p = flip_p(Grid.of(scores), PAIR, alternative=alternative, draws=1000)[0]
        assert p == float(exact_p(fractions(*scores, digits), alternative))


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=7), st.sampled_from([10, 3, 7, 100]))
@settings(max_examples=120, deadline=None)
def test_tied_sums_of_decimals_count_as_equal(tenths: list[int], parts: int) -> None:
    base = np.random.default_rng(len(tenths)).integers(0, parts, size=len(tenths))
    scores = np.stack([(base + np.array(tenths)) / parts, base / parts])
    whole = [Fraction(one) for one in tenths]
    for alternative in ("two-sided", "greater"):
        p = flip_p(Grid.of(scores), PAIR, alternative=alternative, draws=1000)[0]
        assert p == float(exact_p(whole, alternative))


def test_enumeration_ends_where_patterns_outnumber_draws() -> None:
    grid = Grid.of(np.stack([np.arange(1.0, 11.0), np.zeros(10)]))
    assert flip_p(grid, PAIR, draws=1024)[0] == 2 / 1024
    by_chance = flip_p(grid, PAIR, draws=1023)[0] * 1024
    assert by_chance == round(by_chance), "(1 + b) / (1 + 1023)"
    assert len({float(flip_p(grid, PAIR, draws=1023, seed=seed)[0]) for seed in range(9)}) > 1
    assert len({float(flip_p(grid, PAIR, draws=1024, seed=seed)[0]) for seed in range(9)}) == 1


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
@pytest.mark.parametrize("seed", range(6))
def test_chance_agrees_with_enumeration_up_to_its_error(alternative: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid.of(np.stack([rng.random(15) + 0.1 * seed, rng.random(15)]).round(1))
    true = flip_p(grid, PAIR, alternative=alternative, draws=2**15)[0]
    draws = 2**14 - 1 if np.ptp(grid.integers, axis=0).all() else 2**11
    found = flip_p(grid, PAIR, alternative=alternative, draws=draws, seed=seed)[0]
    assert found == pytest.approx(true, abs=4.5 * np.sqrt(true * (1 - true) / draws) + 1 / draws)


@pytest.mark.parametrize("n", [1, 5, 14, 64, 257])
@pytest.mark.parametrize("shift", [0.0, 0.5, 100.0])
def test_p_lies_above_0_and_not_above_1(n: int, shift: float) -> None:
    scores = np.random.default_rng(n).random((2, n))
    scores[0] += shift
    for alternative in ("two-sided", "greater"):
        for draws in (100, 999):
            p = flip_p(Grid.of(scores), PAIR, alternative=alternative, draws=draws)[0]
            assert 1 / (1 + draws) <= p <= 1


def test_a_difference_beyond_all_flips_has_the_smallest_p() -> None:
    grid = Grid.of(np.stack([np.full(200, 5.0), np.zeros(200)]))
    assert flip_p(grid, PAIR, draws=999).tolist() == [1 / 1000]
    assert flip_p(grid, PAIR[:, ::-1], draws=999).tolist() == [1 / 1000]
    assert flip_p(grid, PAIR[:, ::-1], draws=999, alternative="greater").tolist() == [1.0]


def test_the_two_one_sided_p_of_untied_scores_add_up() -> None:
    grid = Grid.of(np.random.default_rng(5).random((2, 9)))
    first, second = (flip_p(grid, pair, alternative="greater")[0] for pair in (PAIR, PAIR[:, ::-1]))
    assert first + second == 1 + 1 / 2**9, "the observed pattern counts on both sides"


def test_swapping_a_pair_changes_no_two_sided_p() -> None:
    for n in (9, 60):
        grid = Grid.of(np.random.default_rng(n).random((2, n)))
        np.testing.assert_array_equal(flip_p(grid, PAIR), flip_p(grid, PAIR[:, ::-1]))


@pytest.mark.parametrize("n", [8, 70])
def test_p_of_a_pair_knows_nothing_of_the_other_pairs(n: int) -> None:
    grid = Grid.of(np.random.default_rng(1).random((5, n)))
    pairs = np.array(list(itertools.combinations(range(5), 2)))
    together = flip_p(grid, pairs, draws=500, seed=3)
    alone = [flip_p(grid, pairs[[row]], draws=500, seed=3)[0] for row in range(len(pairs))]
    assert together.tolist() == alone
    np.testing.assert_array_equal(flip_p(grid, pairs[::-1], draws=500, seed=3), together[::-1])
    sums = bootstrap_sums(grid, pairs, draws=200, seed=3)
    np.testing.assert_array_equal(
        bootstrap_sums(grid, pairs[[4]], draws=200, seed=3)[:, 0], sums[:, 4]
    )


@pytest.mark.parametrize("n", [8, 70])
def test_p_of_a_pair_knows_nothing_of_other_systems_with_scores_of_its_size(n: int) -> None:
    scores = np.random.default_rng(1).random((5, n))
    scores[0, 0] = 1.0
    alone = flip_p(Grid.of(scores[:2]), PAIR, draws=500, seed=3)
    np.testing.assert_array_equal(flip_p(Grid.of(scores), PAIR, draws=500, seed=3), alone)


def test_queries_on_which_both_are_equal_change_no_enumerated_p() -> None:
    moved = np.random.default_rng(1).random((2, 8)).round(1)
    alone = flip_p(Grid.of(moved), PAIR)
    same = np.tile(np.random.default_rng(2).random(500), (2, 1))
    for padded in (np.hstack([moved, same]), np.hstack([same, moved])):
        np.testing.assert_array_equal(flip_p(Grid.of(padded), PAIR), alone)


def test_queries_on_which_both_are_equal_change_a_drawn_p_within_its_error_only() -> None:
    moved = np.random.default_rng(1).random((2, 30))
    moved[0] += 0.1
    same = np.tile(np.random.default_rng(2).random(500), (2, 1))
    draws = 20_000
    alone, padded = (
        flip_p(Grid.of(one), PAIR, draws=draws)[0] for one in (moved, np.hstack([same, moved]))
    )
    assert 0.01 < alone < 0.9
    assert padded == pytest.approx(alone, abs=4 * np.sqrt(2 * alone * (1 - alone) / draws))


@pytest.mark.parametrize("scale", [2.0**-200, 0.125, 2.0**200, 0.1, 1 / 3, 7.0, 1e-9, 1e9, -1.0])
@pytest.mark.parametrize("n", [9, 60])
def test_scaling_untied_scores_changes_no_p(scale: float, n: int) -> None:
    scores = np.random.default_rng(n).random((2, n))
    plain = flip_p(Grid.of(scores), PAIR, draws=2000, seed=1)
    np.testing.assert_array_equal(flip_p(Grid.of(scores * scale), PAIR, draws=2000, seed=1), plain)


@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1e-9, 7.0])
@pytest.mark.parametrize("n", [9, 60])
def test_scaling_tied_scores_changes_no_p_either(scale: float, n: int) -> None:
    scores = np.random.default_rng(n).integers(0, 6, size=(2, n)) / 10
    plain = flip_p(Grid.of(scores), PAIR, draws=2000, seed=1)
    np.testing.assert_array_equal(flip_p(Grid.of(scores * scale), PAIR, draws=2000, seed=1), plain)


def test_no_pair_gives_no_p() -> None:
    grid, none = Grid.of(np.random.default_rng(0).random((2, 40))), np.empty((0, 2), dtype=np.intp)
    assert flip_p(grid, none).shape == (0,)
    assert bootstrap_sums(grid, none, draws=100, seed=0).shape == (100, 0)
    assert count_flips(grid, none, lambda sums: sums > 0, draws=100, seed=0).shape == (0,)


def test_a_series_does_not_differ_from_itself() -> None:
    grid = Grid.of(np.random.default_rng(0).random((1, 40)))
    itself = np.array([[0, 0]])
    assert flip_p(grid, itself).tolist() == [1.0]
    assert not bootstrap_sums(grid, itself, draws=100, seed=0).any()


def rounded_apart() -> Values:
    """Return scores of which two threes of differences add up to 0, but not on their grid."""
    largest = 2.0**47
    unit = float(Grid.of(np.full((1, 7), largest)).unit[0])
    first, second = [], []
    for one, two in ((1000, 2100), (13007, 27013)):
        for difference, part in (
            (one + 5 / 16, 6 / 16),
            (two + 5 / 16, 6 / 16),
            (6 / 16 - one - two - 1, 5 / 16),
        ):
            second.append((100_000 + part) * unit)
            first.append(second[-1] + difference * unit)
    return np.array([[*first, largest], [*second, 0.0]])


def test_sums_that_rounding_moves_in_opposite_directions_count_as_equal() -> None:
    scores = rounded_apart()
    whole = [Fraction(a) - Fraction(b) for a, b in scores.T.tolist()]
    assert flip_p(Grid.of(scores), PAIR)[0] == float(exact_p(whole)) == 17 / 32


def test_enumeration_takes_no_more_memory_than_its_sums_need() -> None:
    grid = Grid.of(np.stack([np.arange(1.0, 19.0), np.zeros(18)]))
    assert peak_of_flips(grid, draws=2**18) < 5 * 8 * 2**18


def test_draws_by_chance_take_little_memory_however_many_there_are() -> None:
    grid = Grid.of(np.random.default_rng(0).random((2, 500)))
    assert peak_of_flips(grid, draws=20_000) < 40 * 2**20 < 8 * 500 * 20_000


def peak_of_flips(grid: Grid, draws: int) -> int:
    """Return the most bytes that a sign-flip test holds at a time."""
    tracemalloc.start()
    try:
        flip_p(grid, PAIR, draws=draws, threads=1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
