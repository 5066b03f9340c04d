"""Friedman, two-way ANOVA, and randomised Tukey HSD: others' answers and full enumeration."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.anova import AnovaRM

from retrieval_eval.comparison import OMNIBUS_TESTS, omnibus_test, resampling, tukey_p
from retrieval_eval.comparison.resampling import Grid, flip_p
from retrieval_eval.errors import InputError

Values = NDArray[np.float64]
KINDS = ("normal", "skewed", "tied", "zero-inflated")


def scores(kind: str, systems: int, n: int, seed: int = 0) -> Values:
    """Return scores that are multiples of a power of two."""
    rng = np.random.default_rng([KINDS.index(kind), systems, n, seed])
    ease = rng.random(n)
    if kind == "normal":
        found, parts = rng.normal(ease, 0.2, size=(systems, n)), 2**30
    elif kind == "skewed":
        found, parts = ease * rng.beta(0.3, 2.0, size=(systems, n)), 2**30
    elif kind == "tied":
        found, parts = rng.binomial(5, ease, size=(systems, n)) / 8, 8
    else:
        found, parts = rng.beta(0.5, 1.5, size=(systems, n)), 128
        found[1:] = np.where(rng.random((systems - 1, n)) < 0.6, found[0], found[1:])
    found[0] += seed % 2 / 16
    rounded: Values = np.rint(found * parts) / parts
    return rounded


def all_pairs(systems: int) -> NDArray[np.intp]:
    return np.array(list(itertools.combinations(range(systems), 2)), dtype=np.intp)


# -- Friedman and ANOVA -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("systems", [3, 4, 12])
@pytest.mark.parametrize("n", [2, 3, 50, 500])
def test_friedman_is_what_scipy_says(kind: str, systems: int, n: int) -> None:
    for seed in range(3):
        values = scores(kind, systems, n, seed)
        if not np.ptp(values, axis=0).any():
            continue
        theirs, found = stats.friedmanchisquare(*values), omnibus_test(values)
        assert found.statistic == pytest.approx(theirs.statistic, rel=1e-10, abs=1e-12)
        assert found.p == pytest.approx(theirs.pvalue, rel=1e-10)
        assert (found.df, found.n, found.n_systems) == ((systems - 1,), n, systems)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("systems", "n"), [(3, 2), (3, 30), (8, 20)])
def test_anova_is_what_statsmodels_says(kind: str, systems: int, n: int) -> None:
    values = scores(kind, systems, n, seed=1)
    table = pd.DataFrame(
        [(system, query, values[system, query]) for system, query in np.ndindex(values.shape)],
        columns=["system", "query", "score"],
    )
    theirs = AnovaRM(table, "score", "query", within=["system"]).fit().anova_table.iloc[0]
    found = omnibus_test(values, "anova")
    assert found.statistic == pytest.approx(theirs["F Value"], rel=1e-9)
    assert found.p == pytest.approx(theirs["Pr > F"], rel=1e-9)
    assert found.df == (theirs["Num DF"], theirs["Den DF"])


@pytest.mark.parametrize("kind", KINDS)
def test_anova_of_two_of_the_same_and_one_other_grows_from_the_paired_t(kind: str) -> None:
    one, other = scores(kind, 2, 40, seed=1)
    t = stats.ttest_rel(one, other).statistic
    middle = (one + other) / 2
    found = omnibus_test(np.stack([one, middle, other]), "anova")
    assert found.statistic == pytest.approx(t**2, rel=1e-9), "F is all in the contrast of the two"


@pytest.mark.parametrize("name", ["adhoc8_ap.csv", "adhoc8_p10.csv"])
def test_real_systems_are_tested_as_others_do(name: str, collections: Path) -> None:
    table = np.loadtxt(collections / "scores/sigir2019" / name, delimiter=",", skiprows=1).T
    for first in range(0, 120, 10):
        values = table[first : first + 7]
        assert omnibus_test(values).p == pytest.approx(
            stats.friedmanchisquare(*values).pvalue, rel=1e-10
        )
        residuals = (
            values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
        )
        f = 50 * values.mean(axis=1).var(ddof=1) / ((residuals**2).sum() / (6 * 49))
        assert omnibus_test(values, "anova").p == pytest.approx(stats.f.sf(f, 6, 6 * 49), rel=1e-9)


@pytest.mark.parametrize("test", OMNIBUS_TESTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_systems_and_queries_does_not_matter(test: str, kind: str) -> None:
    values = scores(kind, 5, 30)
    rng = np.random.default_rng(0)
    moved = values[rng.permutation(5)][:, rng.permutation(30)]
    assert omnibus_test(moved, test).p == pytest.approx(omnibus_test(values, test).p, rel=1e-9)


@pytest.mark.parametrize("test", OMNIBUS_TESTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [2.0**-60, 1 / 8, 2.0**60])
def test_scaling_changes_no_p(test: str, kind: str, scale: float) -> None:
    values = scores(kind, 5, 30)
    assert omnibus_test(values * scale, test).p == pytest.approx(
        omnibus_test(values, test).p, rel=1e-12
    )


def test_how_hard_a_query_is_does_not_matter() -> None:
    values, ease = scores("normal", 5, 30), np.arange(30.0)
    for test in OMNIBUS_TESTS:
        assert omnibus_test(values + ease, test).p == pytest.approx(
            omnibus_test(values, test).p, rel=1e-9
        )


@pytest.mark.parametrize("test", OMNIBUS_TESTS)
def test_queries_without_a_score_are_left_out(test: str) -> None:
    values = scores("tied", 4, 30)
    holed = np.hstack([values, np.ones((4, 2))])
    holed[1, 30] = holed[:, 31] = np.nan
    assert omnibus_test(holed, test) == omnibus_test(values, test)


@pytest.mark.parametrize("test", OMNIBUS_TESTS)
@pytest.mark.parametrize("n", [2, 3, 40])
def test_systems_that_no_query_tells_apart_have_p_1(test: str, n: int) -> None:
    for row in (np.zeros(n), np.full(n, 0.1), np.arange(n) / 8):
        found = omnibus_test(np.tile(row, (4, 1)), test)
        assert (found.statistic, found.p) == (0.0, 1.0)


def test_identical_systems_have_p_1_by_anova() -> None:
    rows = [np.random.default_rng(seed).random(300) for seed in range(30)]
    assert {omnibus_test(np.tile(row, (3, 1)), "anova").p for row in rows} == {1.0}


@pytest.mark.parametrize("n", [3, 50])
def test_systems_equal_but_for_rounding_have_p_1_by_anova(n: int) -> None:
    assert blurred_p("anova", n) == {1.0}


def test_systems_equal_but_for_rounding_have_p_1_by_friedman() -> None:
    assert blurred_p("friedman", 3) == {1.0}


def blurred_p(test: str, n: int) -> set[float]:
    """Return the p of systems that compute the same decimals in three ways."""
    found = set()
    for seed in range(300):
        row = np.random.default_rng(seed).random(n).round(3)
        found.add(omnibus_test(np.stack([row, row * 3 / 3, row + 0.1 - 0.1]), test).p)
    return found


def test_constant_shifts_of_all_queries_have_p_0_by_anova() -> None:
    ease = np.arange(40) / 64
    found = omnibus_test(np.stack([ease, ease + 0.25, ease + 0.5]), "anova")
    assert (found.statistic, found.p) == (np.inf, 0.0)


def test_constant_shifts_but_for_rounding_have_an_infinite_f() -> None:
    ease = np.random.default_rng(0).random(40)
    found = omnibus_test(np.stack([ease, ease + 0.1, ease + 0.2]), "anova")
    assert found.statistic == np.inf


@pytest.mark.parametrize("test", OMNIBUS_TESTS)
@pytest.mark.parametrize(
    "values",
    [np.ones((2, 9)), np.ones((3, 1)), np.ones((0, 9)), np.ones((3, 0)), np.full((3, 9), np.nan)],
)
def test_fewer_than_three_systems_or_two_queries_are_refused(test: str, values: Values) -> None:
    with pytest.raises(InputError, match="an omnibus test needs three and two at least"):
        omnibus_test(values, test)


def test_an_unknown_test_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"omnibus test 'Fridman'. Did you mean 'friedman'\?"):
        omnibus_test(np.ones((3, 3)), "Fridman")


@pytest.mark.parametrize("test", [*OMNIBUS_TESTS, "tukey"])
def test_an_infinite_score_is_refused(test: str) -> None:
    values = scores("normal", 3, 9)
    values[1, 2] = np.inf
    call = (
        partial(tukey_p, pairs=all_pairs(3))
        if test == "tukey"
        else partial(omnibus_test, test=test)
    )
    with pytest.raises(InputError, match="infinite"):
        call(values)


@pytest.mark.parametrize("test", OMNIBUS_TESTS)
@pytest.mark.parametrize("kind", ["normal", "tied"])
def test_true_null_hypotheses_are_rejected_as_often_as_the_level_says(test: str, kind: str) -> None:
    count = 600
    found = []
    for seed in range(0, 2 * count, 2):
        values = scores(kind, 4, 25, seed)
        found.append(omnibus_test(np.random.default_rng(seed).permuted(values, axis=0), test).p)
    low, high = stats.binom.ppf([1e-5, 1 - 1e-5], count, 0.05)
    assert low <= np.count_nonzero(np.array(found) <= 0.05) <= high


# -- randomised Tukey HSD ---------------------------------------------------------------------


def tukey_by_enumeration(values: Values) -> Values:
    """Deal the scores of each query in every way there is."""
    systems, n = values.shape
    ways = [np.array(list(itertools.permutations(column))) for column in values.T]
    ranges = [
        np.ptp(sum(way[place] for way, place in zip(ways, places, strict=True)))
        for places in itertools.product(range(len(ways[0])), repeat=n)
    ]
    sums = values.sum(axis=1)
    observed = np.array([abs(sums[i] - sums[j]) for i, j in all_pairs(systems)])
    return np.mean(np.array(ranges)[:, None] >= observed - 1e-9, axis=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("systems", "n"), [(2, 7), (3, 2), (3, 4), (4, 2)])
def test_tukey_agrees_with_enumeration_up_to_its_error(kind: str, systems: int, n: int) -> None:
    draws = 4000
    for seed in range(2):
        values = scores(kind, systems, n, seed)
        exact = tukey_by_enumeration(values)
        found = tukey_p(values, all_pairs(systems), draws=draws, seed=seed)
        same = [(values[i] == values[j]).all() for i, j in all_pairs(systems)]
        error = 4.5 * np.sqrt(exact * (1 - exact) / draws) + 1 / draws
        assert (np.abs(found - np.where(same, 1.0, exact)) <= error).all()


@pytest.mark.parametrize("n", [20, 65])
def test_tukey_of_two_systems_is_the_randomization_test(n: int) -> None:
    values, draws = scores("skewed", 2, n), 10_000
    by_flips = flip_p(Grid.of(values), all_pairs(2), draws=draws)[0]
    by_dealing = tukey_p(values, all_pairs(2), draws=draws)[0]
    assert 0.001 < by_flips < 0.9
    assert by_dealing == pytest.approx(
        by_flips, abs=4.5 * np.sqrt(2 * by_flips * (1 - by_flips) / draws)
    )


def test_tukey_gives_a_larger_difference_no_larger_p() -> None:
    values, pairs = scores("normal", 7, 40, seed=1), all_pairs(7)
    p = tukey_p(values, pairs, draws=500)
    apart = np.abs(values.mean(axis=1)[pairs[:, 0]] - values.mean(axis=1)[pairs[:, 1]])
    assert (np.diff(p[np.argsort(apart)]) <= 0).all()


def test_tukey_is_never_below_the_same_deals_seen_for_one_pair() -> None:
    values, pairs, draws = scores("tied", 5, 12, seed=1), all_pairs(5), 2000
    rng = np.random.default_rng(0)
    dealt = np.array([rng.permuted(values, axis=0).sum(axis=1) for _ in range(draws)])
    apart = np.abs(dealt[:, pairs[:, 0]] - dealt[:, pairs[:, 1]])
    sums = values.sum(axis=1)
    alone = np.mean(apart >= np.abs(sums[pairs[:, 0]] - sums[pairs[:, 1]]), axis=0)
    p = tukey_p(values, pairs, draws=draws)
    assert (p >= alone - 4.5 * np.sqrt(2 * alone * (1 - alone) / draws)).all()
    assert p.mean() > alone.mean() + 0.1, "it pays for all the pairs"


def test_tukey_holds_its_level_for_all_pairs_together() -> None:
    count, pairs, wrong = 300, all_pairs(4), 0
    for seed in range(count):
        dealt = np.random.default_rng(seed).permuted(scores("zero-inflated", 4, 15, seed), axis=0)
        wrong += bool(tukey_p(dealt, pairs, draws=199, seed=seed).min() <= 0.05)
    low, high = stats.binom.ppf([1e-5, 1 - 1e-5], count, 0.05)
    assert 0 < low <= wrong <= high


def test_tukey_finds_the_one_system_that_differs() -> None:
    values = scores("normal", 5, 60)
    values[3] += 0.5
    p = tukey_p(values, all_pairs(5), draws=999)
    differs = (all_pairs(5) == 3).any(axis=1)
    assert (p[differs] == 1 / 1000).all()
    assert (p[~differs] > 0.05).all()


def test_tukey_of_identical_systems_is_1_and_of_others_never_0() -> None:
    row = np.random.default_rng(0).random(30)
    values = np.stack([row, row, row + 0.1 - 0.1, row + 5])
    p = tukey_p(values, all_pairs(4), draws=999)
    assert p.tolist() == [1.0, 1.0, 1 / 1000, 1.0, 1 / 1000, 1 / 1000]


@pytest.mark.parametrize("draws", [100, 101, 999])
def test_tukey_gives_one_p_for_any_threads_and_blocks(
    draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, pairs = scores("tied", 4, 20), all_pairs(4)
    first = tukey_p(values, pairs, draws=draws, seed=3, threads=1).tolist()
    for block_bytes in (1, 3000, 2**30):
        monkeypatch.setattr(resampling, "_BLOCK_BYTES", block_bytes)
        for threads in (1, 2, 3):
            assert tukey_p(values, pairs, draws=draws, seed=3, threads=threads).tolist() == first
    assert tukey_p(values, pairs, draws=draws, seed=4).tolist() != first


def test_tukey_of_a_seed_never_changes() -> None:
    p = tukey_p(scores("tied", 4, 20), all_pairs(4), draws=999, seed=42)
    assert np.rint(p * 1000).tolist() == PINNED
    assert (p == np.rint(p * 1000) / 1000).all()


PINNED = [973.0, 973.0, 885.0, 781.0, 568.0, 993.0]


def test_a_pair_of_tukey_knows_nothing_of_the_other_pairs_asked_for() -> None:
    values, pairs = scores("tied", 5, 20), all_pairs(5)
    together = tukey_p(values, pairs, draws=300)
    for row in range(len(pairs)):
        assert tukey_p(values, pairs[[row]][:, ::-1], draws=300)[0] == together[row]
    np.testing.assert_array_equal(tukey_p(values, pairs[::-1], draws=300), together[::-1])


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60, 1 / 3, 100])
def test_scaling_changes_no_p_of_tukey(scale: float) -> None:
    values, pairs = scores("normal", 4, 20), all_pairs(4)
    plain = tukey_p(values, pairs, draws=300)
    np.testing.assert_array_equal(tukey_p(values * scale, pairs, draws=300), plain)


def test_noise_of_rounding_changes_no_p_of_tukey() -> None:
    values, pairs = np.rint(scores("tied", 4, 20) * 8) / 10, all_pairs(4)
    blurred = (values + 0.1) * 3 / 3 - 0.1
    assert not np.array_equal(values, blurred)
    plain = tukey_p(values, pairs, draws=300)
    np.testing.assert_array_equal(tukey_p(blurred, pairs, draws=300), plain)


@pytest.mark.parametrize("n", [3, 50])
def test_equal_scores_that_round_to_two_sides_of_the_grid_are_equal(n: int) -> None:
    unit = float(Grid.of(np.ones((3, n))).unit[0])
    middle = (np.floor(0.3 / unit) + 0.5) * unit
    values = np.ones((3, n))
    values[:, 1:] = middle
    values[1, 1:], values[2, 1:] = np.nextafter(middle, 0), np.nextafter(middle, 1)
    assert np.ptp(Grid.of(values).integers, axis=0).any(), "the grid tells them apart"
    assert tukey_p(values, all_pairs(3), draws=100).tolist() == [1.0] * 3
    assert [omnibus_test(values, test).p for test in OMNIBUS_TESTS] == [1.0, 1.0]


def test_tukey_of_no_pair_or_one_query_is_defined() -> None:
    values = scores("normal", 3, 9)
    assert tukey_p(values, np.empty((0, 2), dtype=np.intp), draws=100).shape == (0,)
    one = tukey_p(values[:, :1], all_pairs(3), draws=999)
    assert one.max() == 1.0, "of one query the range is always the same"
    assert (one >= 1 / 1000).all()


@pytest.mark.parametrize("function", ["tukey", *OMNIBUS_TESTS])
def test_scores_are_only_read(function: str) -> None:
    values = scores("tied", 4, 20)
    copy = values.copy()
    values.flags.writeable = False
    if function == "tukey":
        tukey_p(values, all_pairs(4), draws=100)
    else:
        omnibus_test(values, function)
    np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("form", ["float32", "int64", "F", "strided"])
def test_scores_may_lie_in_memory_in_any_form(form: str) -> None:
    values = np.random.default_rng(0).integers(0, 9, size=(4, 20)).astype(np.float64)
    given = {
        "float32": values.astype(np.float32),
        "int64": values.astype(np.int64),
        "F": np.asfortranarray(values),
        "strided": np.repeat(values, 2, axis=1)[:, ::2],
    }[form]
    for test in OMNIBUS_TESTS:
        assert omnibus_test(given, test) == omnibus_test(values, test)  # type: ignore[arg-type]
    expected = tukey_p(values, all_pairs(4), draws=100)
    np.testing.assert_array_equal(tukey_p(given, all_pairs(4), draws=100), expected)  # type: ignore[arg-type]
