"""Paired tests: what scipy and statsmodels say, known answers, and every degenerate input."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.descriptivestats import sign_test

from retrieval_eval.comparison import INTERVALS, TESTS, PairedScores, paired_test, resampling
from retrieval_eval.comparison.effects import common_language, standardised, wins_ties_losses
from retrieval_eval.comparison.resampling import Grid
from retrieval_eval.comparison.significance import Draws
from retrieval_eval.errors import InputError

Values = NDArray[np.float64]
KINDS = ("normal", "skewed", "tied", "zero-inflated")
RESAMPLING = ("randomization", "bootstrap")
PAIR = np.array([[0, 1]])


def scores(kind: str, n: int, seed: int = 0, series: int = 2) -> Values:
    """Return scores that are multiples of a power of two: their differences are exact."""
    rng = np.random.default_rng([KINDS.index(kind), n, seed])
    ease = rng.random(n)
    if kind == "normal":
        found, parts = rng.normal(ease, 0.2, size=(series, n)), 2**30
    elif kind == "skewed":
        found, parts = ease * rng.beta(0.3, 2.0, size=(series, n)), 2**30
    elif kind == "tied":
        found, parts = rng.binomial(10, ease, size=(series, n)) / 16, 16
    else:
        found, parts = rng.beta(0.5, 1.5, size=(series, n)), 128
        found[1:] = np.where(rng.random((series - 1, n)) < 0.6, found[0], found[1:])
    found[0] += seed % 2 / 16
    rounded: Values = np.rint(found * parts) / parts
    return rounded


def in_tenths(n: int) -> Values:
    """Return scores such as precision at 10, whose equal differences floats tell apart."""
    return np.rint(scores("tied", n) * 16) / 10


def clean(values: Values) -> Values:
    """Return differences without the rounding of floats, zeros left out."""
    difference: Values = (values[0] - values[1]).round(9)
    return difference[difference != 0]


def pairs_of_systems(collections: Path, name: str, count: int = 60) -> list[Values]:
    table = np.loadtxt(
        collections / "scores" / "sigir2019" / name, delimiter=",", skiprows=1
    ).T  # systems, topics
    rng = np.random.default_rng(0)
    near = [(place, place + 1) for place in range(0, len(table) - 1, 4)]
    far = rng.choice(len(table), size=(count - len(near), 2)) if count > len(near) else []
    return [table[list(pair)] for pair in [*near, *far]]


FILES = ("adhoc8_ap.csv", "adhoc8_p10.csv", "adhoc8_rr.csv", "web2013_ndcg20.csv")
AGREE = {"rel": 1e-10, "abs": 1e-14}


# -- the same p as scipy and statsmodels ------------------------------------------------------


def clean_places(values: Values) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.abs(values[0] - values[1]) > 1e-9
    return found


def wilcoxon_of_scipy(values: Values) -> float:
    moved = clean(values)
    return float(stats.wilcoxon(moved).pvalue) if len(moved) else 1.0


def sign_of_scipy(values: Values) -> float:
    moved = clean(values)
    return float(stats.binomtest(int((moved > 0).sum()), len(moved)).pvalue) if len(moved) else 1.0


def t_of_scipy(values: Values) -> float:
    if np.ptp(values[0] - values[1]) > 1e-12:
        return float(stats.ttest_rel(*values).pvalue)
    return 0.0 if len(clean(values)) else 1.0  # where scipy warns


OTHERS = {"t": t_of_scipy, "wilcoxon": wilcoxon_of_scipy, "sign": sign_of_scipy}


@pytest.mark.parametrize("test", OTHERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 5, 9, 13, 14, 25, 50, 51, 52, 120, 1000])
def test_p_is_what_scipy_says(test: str, kind: str, n: int) -> None:
    for seed in range(2):
        values = scores(kind, n, seed)
        assert paired_test(*values, test).p == pytest.approx(OTHERS[test](values), **AGREE)


@pytest.mark.parametrize("test", ["t", "sign", "wilcoxon"])
@pytest.mark.parametrize("name", FILES)
def test_p_of_real_systems_is_what_scipy_says(test: str, name: str, collections: Path) -> None:
    for values in pairs_of_systems(collections, name):
        expected = OTHERS[test](values)
        raw = (values[0] - values[1])[clean_places(values)]
        if test == "wilcoxon" and len(raw) and len(np.unique(np.abs(raw))) == len(raw):
            expected = float(stats.wilcoxon(raw).pvalue)  # no ties as floats: as they are
        assert paired_test(*values, test).p == pytest.approx(expected, **AGREE)


@pytest.mark.parametrize("kind", KINDS)
def test_sign_is_what_statsmodels_says(kind: str) -> None:
    for seed, n in itertools.product(range(4), (5, 30, 200)):
        values = scores(kind, n, seed)
        _, p = sign_test(clean(values))
        assert paired_test(*values, "sign").p == pytest.approx(min(1.0, float(p)), **AGREE)


@pytest.mark.parametrize("kind", ["normal", "skewed"])
@pytest.mark.parametrize("n", [2, 3, 6, 9])
def test_enumerated_randomization_is_what_scipy_says(kind: str, n: int) -> None:
    for seed in range(3):
        values = scores(kind, n, seed)
        theirs = stats.permutation_test(
            tuple(values),
            lambda a, b, axis: np.mean(a - b, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        ).pvalue
        assert paired_test(*values).p == pytest.approx(theirs, abs=1e-12)


def test_drawn_randomization_is_what_scipy_says_up_to_the_error_of_both() -> None:
    values, draws = scores("skewed", 40, seed=1), 20_000
    theirs = stats.permutation_test(
        ((values[0] - values[1]),),
        lambda a, axis: np.mean(a, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=draws,
        rng=np.random.default_rng(1),
    ).pvalue
    ours = paired_test(*values, draws=draws).p
    assert 0.005 < ours < 0.5
    assert ours == pytest.approx(theirs, abs=4 * np.sqrt(2 * theirs * (1 - theirs) / draws))


# -- known answers ----------------------------------------------------------------------------


@pytest.fixture
def urbano(collections: Path) -> Values:
    """Columns 125 and 126, counted from 1, of the AP of TREC-8 ad hoc systems."""
    path = collections / "scores" / "sigir2019" / "adhoc8_ap.csv"
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    assert table.shape == (50, 129)
    return table[:, [124, 125]].T


@pytest.mark.parametrize(
    ("test", "p"), [("t", 0.001319), ("sign", 0.015347), ("wilcoxon", 0.002896)]
)
def test_the_published_p_of_two_trec_systems_is_found(test: str, p: float, urbano: Values) -> None:
    assert paired_test(*urbano, test).p == pytest.approx(p, abs=5e-7)


@pytest.mark.parametrize(("test", "p"), [("randomization", 0.001188), ("bootstrap", 0.000586)])
def test_the_published_p_by_chance_is_found_within_the_error_of_both(
    test: str, p: float, urbano: Values
) -> None:
    draws = 400_000
    error = np.sqrt(p * (1 - p) * (1 / draws + 1 / 100_000))
    assert paired_test(*urbano, test, draws=draws).p == pytest.approx(p, abs=4 * error)
    assert 4 * error < 0.6 * p, "a bound that can fail"


# -- one seed, one p --------------------------------------------------------------------------


PINNED = {
    ("randomization", "normal"): 1280,
    ("randomization", "skewed"): 4,
    ("randomization", "tied"): 7,
    ("randomization", "zero-inflated"): 7611,
    ("bootstrap", "normal"): 1194,
    ("bootstrap", "skewed"): 5,
    ("bootstrap", "tied"): 4,
    ("bootstrap", "zero-inflated"): 7488,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("test", RESAMPLING)
def test_p_of_a_seed_never_changes(test: str, kind: str) -> None:
    p = paired_test(*scores(kind, 60, seed=1), test, draws=9999, seed=42).p
    assert round(p * 10_000) == PINNED[test, kind]
    assert p == round(p * 10_000) / 10_000


@pytest.mark.parametrize("test", RESAMPLING)
def test_threads_and_blocks_change_no_p(test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = scores("tied", 70)
    found = {paired_test(*values, test, draws=3001, threads=threads).p for threads in (1, 2, 3)}
    for block_bytes in (1, 50_000, 2**28):
        monkeypatch.setattr(resampling, "_BLOCK_BYTES", block_bytes)
        found |= {paired_test(*values, test, draws=301, threads=threads).p for threads in (1, 2, 3)}
    assert len(found) == 2, "one of 3001 draws, one of 301"


@pytest.mark.parametrize("test", RESAMPLING)
def test_another_seed_gives_another_p_of_the_same_size(test: str) -> None:
    values = scores("normal", 60)
    found = {paired_test(*values, test, seed=seed).p for seed in range(5)}
    assert len(found) > 1
    p = np.mean(list(found))
    assert np.ptp(list(found)) < 8 * np.sqrt(p * (1 - p) / 10_000)


@pytest.mark.parametrize("test", TESTS)
def test_p_of_a_pair_knows_nothing_of_the_other_pairs_or_their_order(test: str) -> None:
    values = scores("tied", 40, series=5)
    values[0, 0] = 1.0
    pairs = np.array(list(itertools.combinations(range(5), 2)))
    draws = Draws(500, 3)
    together = TESTS[test].p(PairedScores(values, pairs), draws)
    turned = TESTS[test].p(PairedScores(values, pairs[::-1]), draws)
    alone = [TESTS[test].p(PairedScores(values[pair], PAIR), draws)[0] for pair in pairs]
    np.testing.assert_array_equal(turned[::-1], together)
    assert together.tolist() == alone


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("n", [9, 60])
def test_swapping_the_runs_changes_the_sign_of_the_difference_alone(test: str, n: int) -> None:
    values = scores("zero-inflated", n)
    one, other = paired_test(*values, test), paired_test(*values[::-1], test)
    assert (one.p, one.mean_diff, one.effect) == (other.p, -other.mean_diff, -other.effect)
    assert one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]), abs=1e-15)


@pytest.mark.parametrize("test", ["sign", "wilcoxon"])
@pytest.mark.parametrize("kind", KINDS)
def test_queries_on_which_both_are_equal_change_nothing_where_ties_are_dropped(
    test: str, kind: str
) -> None:
    values = scores(kind, 30)
    same = np.tile(np.random.default_rng(0).random(100), (2, 1))
    padded = np.hstack([same, values, same])
    assert paired_test(*padded, test).p == pytest.approx(paired_test(*values, test).p, rel=1e-12)
    assert paired_test(*padded, test).n_differing == paired_test(*values, test).n_differing


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("scale", [2.0**-100, 0.25, 2.0**100])
@pytest.mark.parametrize("kind", KINDS)
def test_scaling_by_a_power_of_two_changes_no_bit(test: str, scale: float, kind: str) -> None:
    values = scores(kind, 50)
    plain, scaled = paired_test(*values, test), paired_test(*(values * scale), test)
    assert (scaled.p, scaled.effect) == (plain.p, plain.effect)
    assert (scaled.mean_diff, *scaled.ci95) == tuple(
        one * scale for one in (plain.mean_diff, *plain.ci95)
    )


@pytest.mark.parametrize("test", ["randomization", "t", "sign", "bootstrap", "wilcoxon"])
@pytest.mark.parametrize("scale", [1 / 3, 0.7])
def test_scaling_tied_scores_by_any_number_changes_no_p(test: str, scale: float) -> None:
    values = scores("tied", 50)
    plain, scaled = paired_test(*values, test), paired_test(*(values * scale), test)
    assert scaled.p == pytest.approx(plain.p, rel=1e-9)
    assert scaled.n_differing == plain.n_differing
    if test in RESAMPLING:
        assert scaled.p == plain.p


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 32, 33, 63, 64, 65])
def test_p_lies_above_0_and_not_above_1_and_resampling_never_goes_below_its_least(
    test: str, n: int
) -> None:
    for kind in KINDS:
        p = paired_test(*scores(kind, n), test, draws=100).p
        assert 0 < p <= 1
        assert test not in RESAMPLING or p >= min(1 / 101, 2 / 2**n)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("scale", [0.1, 1 / 3, 100, 1e-7, 1e12])
def test_scaling_untied_scores_by_any_number_changes_no_p(test: str, scale: float) -> None:
    values = np.random.default_rng(0).random((2, 50))
    plain, scaled = paired_test(*values, test).p, paired_test(*(values * scale), test).p
    assert scaled == (pytest.approx(plain, rel=1e-9) if test == "t" else plain)


# -- differences that are equal but for rounding ----------------------------------------------


def test_scores_that_agree_but_for_rounding_are_equal() -> None:
    found = paired_test([0.1 + 0.2, 0.7, 0.1 * 3], [0.3, 0.7, 0.3])
    assert (found.n_differing, found.mean_diff, found.p, found.effect) == (0, 0.0, 1.0, 0.0)


def test_wilcoxon_ranks_differences_that_are_equal_but_for_rounding_alike() -> None:
    first = np.array([0.3, 0.8, 0.4, 0.9, 0.5, 1.0, 0.6])
    second = np.array([0.2, 0.7, 0.5, 0.8, 0.4, 0.7, 0.8])
    raw = first - second
    assert 7 > len(np.unique(np.abs(raw))) > len(np.unique(np.abs(raw.round(9)))) == 3
    expected = float(stats.wilcoxon(raw.round(9)).pvalue)
    assert expected != float(stats.wilcoxon(raw).pvalue), "where scipy ranks floats raw"
    assert paired_test(first, second, "wilcoxon").p == pytest.approx(expected, rel=1e-12)


def test_wilcoxon_takes_floats_as_they_are_where_no_two_differences_are_equal() -> None:
    first, second = np.array([[0.3, 0.8, 0.9, 0.75, 0.6], [0.2, 0.7, 0.4, 0.3, 0.9]])
    assert len(np.unique(np.abs(first - second))) == 5
    assert paired_test(first, second, "wilcoxon").p == float(stats.wilcoxon(first - second).pvalue)


@pytest.mark.parametrize("test", ["randomization", "t", "sign", "bootstrap", "wilcoxon"])
@pytest.mark.parametrize("n", [40, 200])
def test_noise_of_rounding_changes_no_p(test: str, n: int) -> None:
    values = in_tenths(n)
    blurred = (values + 0.1) * 3 / 3 - 0.1
    assert not np.array_equal(values, blurred)
    plain, noisy = paired_test(*values, test), paired_test(*blurred, test)
    assert noisy.n_differing == plain.n_differing
    assert noisy.p == pytest.approx(plain.p, rel=1e-9)


def astride(n: int) -> tuple[float, float]:
    """Return neighbouring floats that a grid for n scores up to 1 rounds to two sides."""
    unit = float(Grid.of(np.ones((1, n))).unit[0])
    middle = (np.floor(0.3 / unit) + 0.5) * unit
    below, above = np.nextafter(middle, 0), np.nextafter(middle, 1)
    assert np.ptp(Grid.of(np.array([[1.0] * n, [below] * n, [above] * n])).integers[1:, 0]) == 1
    return float(below), float(above)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("n", [5, 50])
def test_equal_scores_that_round_to_two_sides_are_equal(test: str, n: int) -> None:
    below, above = astride(n)
    found = paired_test([1.0] + [below] * (n - 1), [1.0] + [above] * (n - 1), test)
    assert (found.n_differing, found.mean_diff, found.ci95) == (0, 0.0, (0.0, 0.0))
    assert (found.p, found.effect) == (1.0, 0.0)


def test_equal_scores_that_round_to_two_sides_are_not_enumerated() -> None:
    below, above = astride(40)
    first = np.concatenate([np.linspace(0.5, 1, 9), np.full(31, below)])
    second = np.concatenate([np.zeros(9), np.full(31, above)])
    found = paired_test(first, second, draws=1000)
    assert (found.n_differing, found.p) == (9, 2 / 2**9)


# -- every outcome is defined, and none warns -------------------------------------------------


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("n", [2, 3, 14, 50])
def test_identical_scores_have_no_difference_and_p_1(test: str, interval: str, n: int) -> None:
    same = np.random.default_rng(n).random(n)
    found = paired_test(same, same.copy(), test, interval=interval, draws=100)
    assert (found.mean_diff, found.ci95, found.p, found.effect) == (0.0, (0.0, 0.0), 1.0, 0.0)
    assert (found.n, found.n_differing) == (n, 0)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("interval", INTERVALS)
def test_all_scores_0_have_no_difference_and_p_1(test: str, interval: str) -> None:
    found = paired_test(np.zeros(20), np.zeros(20), test, interval=interval, draws=100)
    assert (found.mean_diff, found.ci95, found.p, found.effect) == (0.0, (0.0, 0.0), 1.0, 0.0)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("interval", INTERVALS)
def test_one_query_makes_no_claim(test: str, interval: str) -> None:
    found = paired_test([0.75], [0.25], test, interval=interval, draws=100)
    assert (found.n, found.mean_diff, found.p) == (1, 0.5, 1.0)
    assert np.isnan([*found.ci95, found.effect]).all()


@pytest.mark.parametrize("test", TESTS)
def test_one_query_with_equal_scores_has_p_1(test: str) -> None:
    assert paired_test([0.5], [0.5], test).p == 1.0


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize(
    ("test", "p"), [("randomization", 0.5), ("wilcoxon", 0.5), ("sign", 0.5), ("t", None)]
)
def test_two_queries_are_tested_as_far_as_they_go(
    test: str, p: float | None, interval: str
) -> None:
    found = paired_test([0.9, 0.5], [0.1, 0.4], test, interval=interval)
    assert found.p == pytest.approx(p or stats.ttest_1samp([0.8, 0.1], 0).pvalue, rel=1e-9)
    assert found.ci95[0] < found.mean_diff < found.ci95[1]


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("n", [2, 6, 50])
@pytest.mark.parametrize("shift", [0.1, 0.25, -1 / 3, 1e3])
def test_a_constant_difference_has_no_spread_however_rounding_blurs_it(
    interval: str, n: int, shift: float
) -> None:
    base = np.random.default_rng(n).random(n)
    found = paired_test(base + shift, base, "t", interval=interval)
    assert found.mean_diff == pytest.approx(shift, rel=1e-12)
    assert found.ci95 == (found.mean_diff, found.mean_diff)
    assert found.p == 0.0, "as scipy: an infinite t"
    assert np.isnan(found.effect)


@pytest.mark.parametrize("shift", [1e-5, 1e-8])
def test_a_small_constant_difference_has_no_spread_either(shift: float) -> None:
    base = np.random.default_rng(0).random(50)
    assert np.isnan(paired_test(base + shift, base, "t").effect)


@pytest.mark.parametrize("n", [6, 13, 14, 50, 60])
def test_a_constant_difference_is_tested_by_its_signs_alone(n: int) -> None:
    base = np.random.default_rng(n).random(n)
    found = {test: paired_test(base + 0.1, base, test).p for test in TESTS}
    assert found["sign"] == pytest.approx(2 / 2**n, rel=1e-12)
    assert found["randomization"] == pytest.approx(max(2 / 2**n, 1 / 10_001), rel=2)
    assert found["bootstrap"] == 1 / 10_001


@pytest.mark.parametrize("n", [2, 14, 50])
def test_a_single_differing_query_shows_nothing(n: int) -> None:
    first, second = np.full((2, n), 0.5)
    first[n // 2] = 0.75
    found = {test: paired_test(first, second, test) for test in TESTS}
    assert {test: found[test].p for test in ("randomization", "wilcoxon", "sign")} == {
        "randomization": 1.0,
        "wilcoxon": 1.0,
        "sign": 1.0,
    }
    assert found["t"].p == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-10)
    untouched = (1 - 1 / n) ** n  # share of resamples without it; one with just one is the mean
    single = (1 - 1 / n) ** (n - 1)
    assert found["bootstrap"].p == pytest.approx(1 - single, abs=0.025), untouched
    assert {one.n_differing for one in found.values()} == {1}


@pytest.mark.parametrize("test", TESTS)
def test_as_many_wins_as_losses_of_one_size_have_p_1(test: str) -> None:
    first = np.array([0.3, 0.5] * 10)
    found = paired_test(first, first[::-1], test)
    assert (found.mean_diff, found.effect) == (0.0, 0.0)
    assert found.p == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("test", TESTS)
def test_queries_without_a_score_are_left_out(test: str) -> None:
    values = scores("skewed", 30)
    holed = np.hstack([values, [[np.nan, 0.5, np.nan], [0.5, np.nan, np.nan]]])
    assert paired_test(*holed, test) == paired_test(*values, test)
    spread = np.random.default_rng(0).permutation(33)
    assert paired_test(*holed[:, spread], test).n == 30


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("hole", [[], [np.nan], [np.nan, np.nan]])
def test_no_query_left_is_no_answer(test: str, hole: list[float]) -> None:
    found = paired_test(hole, [0.5] * len(hole), test)
    assert (found.n, found.n_differing) == (0, 0)
    assert np.isnan([found.mean_diff, *found.ci95, found.p, found.effect]).all()


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scores_of_any_common_size_are_compared(test: str, scale: float) -> None:
    values = scores("normal", 30)
    plain, scaled = paired_test(*values, test), paired_test(*(values * scale), test)
    assert (scaled.p, scaled.effect) == pytest.approx((plain.p, plain.effect), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e160, 1e300])
def test_scores_of_extreme_size_are_compared_or_refused(scale: float) -> None:
    values = scores("normal", 30)
    plain = paired_test(*values, "t").p
    try:
        found = paired_test(*(values * scale), "t").p
    except InputError:
        return
    assert found == pytest.approx(plain, rel=1e-9)


# -- inputs -----------------------------------------------------------------------------------


AS_GIVEN: dict[str, Callable[[Values], object]] = {
    "list": lambda row: row.tolist(),
    "tuple": lambda row: tuple(row.tolist()),
    "float32": lambda row: row.astype(np.float32),
    "integers": lambda row: row.astype(np.int64),
    "small integers": lambda row: row.astype(np.int8),
    "unsigned": lambda row: row.astype(np.uint8),
    "strided": lambda row: np.repeat(row, 3)[::3],
    "backwards in memory": lambda row: row[::-1].copy()[::-1],
    "big endian": lambda row: row.astype(">f8"),
}


@pytest.mark.parametrize("form", AS_GIVEN)
@pytest.mark.parametrize("test", TESTS)
def test_scores_may_come_in_any_form(form: str, test: str) -> None:
    whole = np.random.default_rng(0).integers(0, 9, size=(2, 20)).astype(np.float64)
    first, second = (AS_GIVEN[form](row) for row in whole)
    assert paired_test(first, second, test) == paired_test(*whole, test)  # type: ignore[arg-type]


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("interval", INTERVALS)
def test_scores_are_only_read(test: str, interval: str) -> None:
    values = scores("zero-inflated", 30)
    values[0, 3] = np.nan
    copy = values.copy()
    values.flags.writeable = False
    paired_test(*values, test, interval=interval, draws=100)
    np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize(
    ("first", "second"),
    [([1.0, 2.0], [1.0]), ([[1.0, 2.0]], [[1.0, 3.0]]), (1.0, 2.0), ([1.0], [[1.0]])],
)
def test_scores_of_other_shapes_are_refused(first: object, second: object) -> None:
    with pytest.raises(InputError, match="expected two arrays of one length"):
        paired_test(first, second)  # type: ignore[arg-type]


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_an_infinite_score_is_refused(infinite: float) -> None:
    for first, second in (([infinite, 1.0], [0.5, 0.5]), ([1.0, 0.5], [0.5, infinite])):
        with pytest.raises(InputError, match="infinite"):
            paired_test(first, second)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"test": "randomisation"},
            r"unknown test 'randomisation'. Did you mean 'randomization'\?",
        ),
        ({"test": "Wilcoxon"}, r"unknown test 'Wilcoxon'. Did you mean 'wilcoxon'\?"),
        ({"test": "zzz"}, r"unknown test 'zzz'. Available: bootstrap, random"),
        ({"interval": "BCa"}, r"unknown interval 'BCa'. Did you mean 'bca'\?"),
        ({"draws": 99}, "draws is 99: it must be at least 100"),
        ({"draws": 0}, "draws is 0"),
        ({"draws": -5}, "draws is -5"),
        ({"seed": -1}, "the seed is -1: it must be at least 0"),
    ],
)
@pytest.mark.parametrize("test", TESTS)
def test_unusable_settings_are_refused_by_name(
    settings: dict[str, object], message: str, test: str
) -> None:
    with pytest.raises(InputError, match=message):
        paired_test([0.1, 0.2, 0.4], [0.2, 0.5, 0.1], **({"test": test} | settings))  # type: ignore[arg-type]


def test_an_unknown_interval_is_refused_even_where_no_query_is_left() -> None:
    with pytest.raises(InputError, match="unknown interval"):
        paired_test([np.nan], [0.5], interval="bcaa")


@pytest.mark.parametrize("settings", [{"draws": 1e4}, {"seed": 1.5}])
def test_a_number_of_draws_or_seed_that_is_not_whole_is_refused(
    settings: dict[str, float],
) -> None:
    values = scores("normal", 40)
    with pytest.raises(InputError, match="must be"):
        paired_test(*values, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("test", TESTS)
def test_no_pair_and_a_pair_of_one_series_are_tested_too(test: str) -> None:
    none = PairedScores(scores("normal", 40), np.empty((0, 2), dtype=np.intp))
    itself = PairedScores(scores("normal", 40)[:1], np.array([[0, 0]]))
    assert TESTS[test].p(none, Draws(100)).shape == (0,)
    assert TESTS[test].p(itself, Draws(100)).tolist() == [1.0]


# -- sizes of effects -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_effects_follow_their_definitions(kind: str) -> None:
    values = scores(kind, 40)
    paired, difference = PairedScores(values, PAIR), values[0] - values[1]
    won, tied, lost = (int((np.sign(difference) == sign).sum()) for sign in (1, 0, -1))
    assert wins_ties_losses(paired).tolist() == [[won, tied, lost]]
    assert common_language(paired)[0] == (won + tied / 2) / 40
    expected = difference.mean() / difference.std(ddof=1)
    assert standardised(paired)[0] == pytest.approx(expected, rel=1e-12)
    found = paired_test(*values)
    assert (found.n, found.n_differing) == (40, won + lost)
    assert found.mean_diff == pytest.approx(difference.mean(), rel=1e-12)
    assert found.effect == pytest.approx(expected, rel=1e-12)


def test_common_language_of_both_directions_adds_up_to_1() -> None:
    paired = PairedScores(scores("tied", 40), np.array([[0, 1], [1, 0]]))
    assert common_language(paired).sum() == 1


# -- rates of false alarms --------------------------------------------------------------------


PAIRS, ALPHA = 1000, 0.05


def null_pairs(kind: str, n: int = 60) -> PairedScores:
    """Return pairs whose differences are symmetric around 0: which run is first is a coin."""
    rng = np.random.default_rng([KINDS.index(kind), 99])
    differences = np.array([np.subtract(*scores(kind, n, 2 * row)) for row in range(PAIRS)])
    return PairedScores.of_rows(differences * rng.choice([-1.0, 1.0], size=(PAIRS, n)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("test", ["randomization", "t", "wilcoxon"])
def test_true_null_hypotheses_are_rejected_as_often_as_the_level_says(test: str, kind: str) -> None:
    draws = 9999
    rejected = np.count_nonzero(TESTS[test].p(null_pairs(kind), Draws(draws)) <= ALPHA)
    # Pairs share the draws, whose own level varies by sqrt(alpha * (1 - alpha) / draws).
    error = np.sqrt(ALPHA * (1 - ALPHA) * (PAIRS + PAIRS**2 / draws))
    assert 4 * error < PAIRS * ALPHA
    assert abs(rejected - PAIRS * ALPHA) <= 4 * error


@pytest.mark.parametrize("kind", KINDS)
def test_the_sign_test_rejects_true_null_hypotheses_no_more_often_than_its_level(kind: str) -> None:
    rejected = np.count_nonzero(TESTS["sign"].p(null_pairs(kind), Draws()) <= ALPHA)
    assert 0 < rejected <= stats.binom.ppf(1 - 1e-5, PAIRS, ALPHA)


@pytest.mark.parametrize("test", ["randomization", "wilcoxon", "sign"])
@pytest.mark.parametrize("differing", [1, 3, 5, 6, 8])
def test_few_differing_queries_hold_the_level(test: str, differing: int) -> None:
    paired = null_pairs("skewed", differing)
    same = np.zeros((len(paired.values), 40))
    padded = PairedScores(np.hstack([paired.values, same]), paired.pairs, paired.groups)
    p = TESTS[test].p(padded, Draws())
    rejected = np.count_nonzero(p <= ALPHA)
    assert p.min() == pytest.approx(2 / 2**differing) or differing == 8
    assert (
        rejected == 0 if differing <= 5 else 0 < rejected <= stats.binom.ppf(1 - 1e-5, PAIRS, ALPHA)
    )


@pytest.mark.parametrize("test", TESTS)
def test_a_real_difference_is_found(test: str) -> None:
    paired = null_pairs("normal")
    shifted = paired.values.copy()
    shifted[:-1] += 0.3
    moved = PairedScores(shifted, paired.pairs, paired.groups)
    assert np.mean(TESTS[test].p(moved, Draws(999)) <= ALPHA) > 0.9
