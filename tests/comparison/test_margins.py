"""Non-inferiority and equivalence: scipy, statsmodels, Hall's formula, and its inverse."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from retrieval_eval.comparison import MARGIN_TESTS, PairedScores, equivalence_p, noninferiority_p
from retrieval_eval.comparison.margins import lower_bounds
from retrieval_eval.comparison.resampling import bootstrap_sums
from retrieval_eval.errors import InputError

Values = NDArray[np.float64]
PAIR = np.array([[0, 1]])
KINDS = ("normal", "left-skewed", "right-skewed", "tied", "zero-inflated")


def differences(kind: str, n: int, seed: int = 0) -> Values:
    """Return differences that are multiples of a power of two."""
    rng = np.random.default_rng([KINDS.index(kind), n, seed])
    if kind == "normal":
        found, parts = rng.normal(0, 0.1, size=n), 2**30
    elif kind == "left-skewed":
        found, parts = 0.05 - rng.exponential(0.05, size=n), 2**30
    elif kind == "right-skewed":
        found, parts = rng.exponential(0.05, size=n) - 0.05, 2**30
    elif kind == "tied":
        found, parts = rng.integers(-3, 4, size=n) / 16, 16
    else:
        found, parts = rng.integers(-8, 9, size=n) / 64 * (rng.random(n) < 0.5), 64
    rounded: Values = np.rint(found * parts) / parts
    return rounded


def paired(row: Values) -> PairedScores:
    """Return a candidate and a reference with these differences."""
    reference = np.random.default_rng(7).integers(0, 2**20, size=len(row)) / 2**20
    return PairedScores(np.stack([reference + row, reference]), PAIR)


def p_of(row: Values, margin: float, test: str = "hall", **draws: int) -> float:
    return float(noninferiority_p(paired(row), np.array([margin]), test, **draws)[0])


def equivalence_of(row: Values, margin: float, test: str = "hall", **draws: int) -> float:
    return float(equivalence_p(paired(row), np.array([margin]), test, **draws)[0])


def hall_p(row: Values, margin: float) -> float:
    """P after the transformation of Hall 1992, written with t and scipy's skewness.

    From a quarter of its slope at 0 on, the transformation goes on as a straight line.
    """
    n = len(row)
    shift = (row.mean() + margin) / row.std(ddof=1)
    skewness = stats.skew(row, bias=False) if n > 2 else 0.0
    bend = -1.5 / skewness if skewness else np.inf
    t = np.sqrt(n) * (shift if 1 + skewness * shift / 3 >= 0.5 else bend)
    moved = t + skewness * (2 * t**2 + 1) / (6 * np.sqrt(n)) + skewness**2 * t**3 / (27 * n)
    return float(stats.t.sf(moved + (np.sqrt(n) * shift - t) / 4, n - 1))


# -- the same p as others ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 5, 20, 200])
@pytest.mark.parametrize("margin", [1 / 64, 1 / 8])
def test_t_is_scipys_one_sided_paired_t_test(kind: str, n: int, margin: float) -> None:
    for seed in range(3):
        pair = paired(differences(kind, n, seed))
        if not pair.spreads[0]:
            continue
        candidate, reference = pair.values
        theirs = stats.ttest_rel(candidate + margin, reference, alternative="greater").pvalue
        ours = noninferiority_p(pair, np.array([margin]), "t")[0]
        assert ours == pytest.approx(theirs, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [5, 20, 200])
def test_equivalence_by_t_is_the_tost_of_statsmodels(kind: str, n: int) -> None:
    for seed, margin in itertools.product(range(3), (1 / 64, 1 / 8)):
        pair = paired(differences(kind, n, seed))
        theirs, _, _ = ttost_paired(*pair.values, -margin, margin)
        ours = equivalence_p(pair, np.array([margin]), "t")[0]
        assert ours == pytest.approx(theirs, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 5, 20, 200])
@pytest.mark.parametrize("margin", [1 / 64, 1 / 8])
def test_hall_is_the_larger_of_t_and_of_t_without_skewness(
    kind: str, n: int, margin: float
) -> None:
    for seed in range(3):
        row = differences(kind, n, seed)
        if not np.ptp(row):
            continue
        expected = max(p_of(row, margin, "t"), hall_p(row, margin))
        assert p_of(row, margin) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("name", ["adhoc8_ap.csv", "adhoc8_p10.csv"])
def test_margins_of_real_systems_are_tested_as_others_do(name: str, collections: Path) -> None:
    table = np.loadtxt(collections / "scores/sigir2019" / name, delimiter=",", skiprows=1).T
    margin = 0.0213
    for first in range(0, 120, 6):
        pair = PairedScores(table[[first, first + 1]], PAIR)
        row = table[first] - table[first + 1]
        one = stats.ttest_1samp(row, -margin, alternative="greater").pvalue
        other = stats.ttest_1samp(row, margin, alternative="less").pvalue
        found = {
            test: (
                float(noninferiority_p(pair, np.array([margin]), test)[0]),
                float(equivalence_p(pair, np.array([margin]), test)[0]),
            )
            for test in ("t", "hall")
        }
        hall = max(one, hall_p(row, margin)), max(other, hall_p(-row, margin))
        assert found["t"] == pytest.approx((one, max(one, other)), rel=1e-9, abs=1e-14)
        assert found["hall"] == pytest.approx((hall[0], max(hall)), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_few_queries_are_enumerated_on_one_side(kind: str, n: int) -> None:
    row, margin = differences(kind, n), 1 / 64
    moved = row + margin
    signs = np.array(list(itertools.product((1, -1), repeat=n)))
    expected = float(np.mean(signs @ moved >= moved.sum()))
    assert p_of(row, margin, "randomization") == expected


@pytest.mark.parametrize("kind", KINDS)
def test_bootstrap_counts_resampled_means_as_far_above_theirs(kind: str) -> None:
    row, margin, draws = differences(kind, 25), 1 / 32, 2000
    moved = PairedScores.of_rows((row + margin)[None])
    sums = bootstrap_sums(moved.grid, moved.pairs, draws=draws, seed=5)[:, 0] * moved.grid.unit[0]
    total = (row + margin).sum()
    expected = (1 + np.count_nonzero(sums - total >= total)) / (1 + draws)
    assert p_of(row, margin, "bootstrap", draws=draws, seed=5) == expected


# -- what holds for every test of a margin ----------------------------------------------------


@pytest.mark.parametrize("test", MARGIN_TESTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [3, 10, 50])
def test_a_larger_margin_never_gives_a_larger_p(test: str, kind: str, n: int) -> None:
    pair = paired(differences(kind, n, seed=1))
    margins = np.array([1e-6, 1 / 256, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0, 100.0])
    for function in (noninferiority_p, equivalence_p):
        p = np.array([function(pair, np.array([one]), test, draws=999)[0] for one in margins])
        assert (np.diff(p) <= 1e-15).all()
        assert p[0] > p[-1] or n == 3


@pytest.mark.parametrize("test", MARGIN_TESTS)
@pytest.mark.parametrize("kind", KINDS)
def test_equivalence_is_the_larger_of_both_sides(test: str, kind: str) -> None:
    for n, margin in itertools.product((3, 9, 40), (1 / 64, 1 / 8)):
        row = differences(kind, n, seed=2)
        sides = [p_of(one, margin, test, draws=500) for one in (row, -row)]
        assert equivalence_of(row, margin, test, draws=500) == pytest.approx(max(sides), rel=1e-12)
        both = equivalence_of(-row, margin, test, draws=500)
        assert both == pytest.approx(max(sides), rel=1e-12), "whichever is first"


@pytest.mark.parametrize("kind", KINDS)
def test_hall_is_never_less_careful_than_t(kind: str) -> None:
    for n, margin in itertools.product((2, 3, 9, 40), (1 / 64, 1 / 8)):
        row = differences(kind, n, seed=2)
        assert p_of(row, margin) >= p_of(row, margin, "t")
        assert equivalence_of(row, margin) >= equivalence_of(row, margin, "t")


@pytest.mark.parametrize("test", ["randomization", "bootstrap"])
@pytest.mark.parametrize("n", [1, 2, 20, 300])
def test_p_by_chance_is_never_0(test: str, n: int) -> None:
    if n == 1 and test == "bootstrap":
        return
    for function in (p_of, equivalence_of):
        assert 1 / 1000 <= function(np.zeros(n), 5.0, test, draws=999) <= 1


@pytest.mark.parametrize("test", MARGIN_TESTS)
def test_a_pair_knows_nothing_of_the_others_their_margins_or_threads(test: str) -> None:
    values = np.random.default_rng(3).integers(0, 64, size=(4, 33)) / 64
    pairs, margins = np.array([[0, 1], [2, 1], [3, 0]]), np.array([0.125, 0.5, 0.25])
    together = noninferiority_p(
        PairedScores(values, pairs), margins, test, draws=500, seed=3, threads=1
    )
    for row, pair in enumerate(pairs):
        alone = PairedScores(values[pair], PAIR)
        for threads in (1, 2, 3):
            p = noninferiority_p(alone, margins[[row]], test, draws=500, seed=3, threads=threads)
            assert p[0] == together[row]


@pytest.mark.parametrize("test", MARGIN_TESTS)
@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40, 1 / 3, 100.0])
def test_scaling_scores_and_margin_together_changes_no_p(test: str, scale: float) -> None:
    values = np.random.default_rng(3).random((2, 33))
    plain, scaled = (
        noninferiority_p(PairedScores(values * by, PAIR), np.array([0.1 * by]), test, draws=500)
        for by in (1.0, scale)
    )
    np.testing.assert_allclose(scaled, plain, rtol=1e-9)


@pytest.mark.parametrize("test", MARGIN_TESTS)
def test_scores_and_margins_are_only_read(test: str) -> None:
    pair, margin = paired(differences("tied", 20)), np.array([0.125])
    copies = pair.values.copy(), margin.copy()
    pair.values.flags.writeable = margin.flags.writeable = False
    equivalence_p(pair, margin, test, draws=100)
    np.testing.assert_array_equal(pair.values, copies[0])
    np.testing.assert_array_equal(margin, copies[1])


# -- defined outcomes -------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 10, 300])
def test_identical_scores_are_not_inferior_and_equivalent(n: int) -> None:
    for test, p in (("hall", 0), ("t", 0), ("randomization", 2.0**-n), ("bootstrap", 0)):
        least = 0.0 if test in ("hall", "t") else 1 / 10_001
        for found in (p_of(np.zeros(n), 0.01, test), equivalence_of(np.zeros(n), 0.01, test)):
            assert found == pytest.approx(max(p, least), abs=2e-4)


@pytest.mark.parametrize("test", MARGIN_TESTS)
@pytest.mark.parametrize("n", [2, 10, 60])
@pytest.mark.parametrize("loss", [0.5, 0.75])
def test_a_constant_loss_of_the_margin_or_more_is_never_accepted(
    test: str, n: int, loss: float
) -> None:
    assert p_of(np.full(n, -loss), 0.5, test) == pytest.approx(1, abs=1e-3)
    assert equivalence_of(np.full(n, -loss), 0.5, test) == pytest.approx(1, abs=1e-3)
    assert equivalence_of(np.full(n, loss), 0.5, test) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("test", MARGIN_TESTS)
@pytest.mark.parametrize("n", [10, 60])
def test_a_constant_loss_below_the_margin_is_accepted(test: str, n: int) -> None:
    assert p_of(np.full(n, -0.25), 0.5, test) <= 0.001
    assert equivalence_of(np.full(n, -0.25), 0.5, test) <= 0.001


@pytest.mark.parametrize("test", MARGIN_TESTS)
@pytest.mark.parametrize("function", [noninferiority_p, equivalence_p])
def test_a_constant_loss_of_the_margin_but_for_rounding_is_not_accepted(
    test: str, function: type
) -> None:
    pair = PairedScores(np.array([[0.2] * 10, [0.3] * 10]), PAIR)
    assert function(pair, np.array([0.1]), test)[0] == pytest.approx(1)


@pytest.mark.parametrize("test", MARGIN_TESTS)
def test_a_constant_loss_of_a_small_margin_but_for_rounding_is_not_accepted_either(
    test: str,
) -> None:
    for seed in range(20):
        reference = np.random.default_rng(seed).random(10)
        pair = PairedScores(np.stack([reference - 1e-5, reference]), PAIR)
        assert noninferiority_p(pair, np.array([1e-5]), test)[0] > 0.05


@pytest.mark.parametrize("test", MARGIN_TESTS)
def test_one_query_tells_nothing_but_by_signs(test: str) -> None:
    found = p_of(np.array([0.25]), 0.01, test), equivalence_of(np.array([0.25]), 0.01, test)
    if test == "randomization":
        assert found == (0.5, 1.0)
    else:
        assert np.isnan(found).all()


@pytest.mark.parametrize("test", MARGIN_TESTS)
@pytest.mark.parametrize("function", [noninferiority_p, equivalence_p])
def test_no_pair_gives_no_p(test: str, function: type) -> None:
    none = PairedScores(np.random.default_rng(0).random((2, 9)), np.empty((0, 2), dtype=np.intp))
    assert function(none, np.empty(0), test).shape == (0,)
    assert lower_bounds(none, 0.05).shape == (0,)


@pytest.mark.parametrize("function", [noninferiority_p, equivalence_p])
def test_an_unknown_test_is_refused_by_name(function: type) -> None:
    with pytest.raises(InputError, match=r"test of a margin 'Hal'. Did you mean 'hall'\?"):
        function(paired(np.zeros(9)), np.array([0.1]), "Hal")


# -- lower bounds -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.4])
@pytest.mark.parametrize("n", [6, 10, 200])
def test_p_at_the_margin_of_a_bound_is_alpha(kind: str, alpha: float, n: int) -> None:
    pair = paired(differences(kind, n, seed=4))
    bound = lower_bounds(pair, alpha)
    p = noninferiority_p(pair, -bound)
    assert p[0] == pytest.approx(alpha, rel=1e-8)
    nudge = pair.spreads * 1e-4
    assert (
        noninferiority_p(pair, -bound + nudge)[0]
        < alpha
        < noninferiority_p(pair, -bound - nudge)[0]
    )


@given(
    row=st.lists(st.integers(-1000, 1000), min_size=3, max_size=30).filter(
        lambda r: len(set(r)) > 1
    ),
    alpha=st.floats(0.001, 0.5),
)
@settings(max_examples=150, deadline=None)
def test_p_at_the_margin_of_any_bound_is_alpha(row: list[int], alpha: float) -> None:
    pair = PairedScores.of_rows(np.array([row], dtype=np.float64) / 1024)
    p = noninferiority_p(pair, -lower_bounds(pair, alpha))
    assert p[0] == pytest.approx(alpha, rel=1e-6)


def nearly_symmetric(skew: float) -> PairedScores:
    half = np.random.default_rng(1).normal(size=40)
    row = np.concatenate([half, -half])
    return PairedScores.of_rows((row + 0.2 * skew * row**2 + 0.3)[None])


@pytest.mark.parametrize("skew", [1e-3, 1e-5, 1e-6, 0.0])
def test_a_bound_of_nearly_symmetric_differences_is_as_exact(skew: float) -> None:
    pair = nearly_symmetric(skew)
    assert noninferiority_p(pair, -lower_bounds(pair, 0.05))[0] == pytest.approx(0.05, abs=1e-10)


def test_a_bound_of_almost_symmetric_differences_is_as_exact() -> None:
    errors = []
    for skew in np.geomspace(1.5e-9, 1e-7, 20):
        pair = nearly_symmetric(skew)
        errors.append(abs(noninferiority_p(pair, -lower_bounds(pair, 0.05))[0] - 0.05))
    assert max(errors) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_bound_is_never_above_that_of_t(kind: str) -> None:
    for n in (2, 3, 20):
        row = differences(kind, n, seed=4)
        reach = stats.t.ppf(0.95, n - 1) * row.std(ddof=1) / np.sqrt(n)
        assert lower_bounds(paired(row), 0.05)[0] <= row.mean() - reach + 1e-12


def test_a_smaller_alpha_gives_a_lower_bound() -> None:
    pair = paired(differences("left-skewed", 20))
    bounds = [lower_bounds(pair, alpha)[0] for alpha in (0.2, 0.1, 0.05, 0.01, 0.001, 1e-6)]
    assert (np.diff(bounds) < 0).all()


@pytest.mark.parametrize("constant", [0.0, -0.25, 0.1])
def test_the_bound_of_a_constant_difference_is_the_difference(constant: float) -> None:
    assert lower_bounds(paired(np.full(9, constant)), 0.05)[0] == pytest.approx(constant)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_queries_have_no_bound(n: int) -> None:
    assert np.isnan(lower_bounds(PairedScores(np.ones((2, n)), PAIR), 0.05)).all()


# -- rates of false alarms --------------------------------------------------------------------


COUNT, ALPHA = 4000, 0.05
UP_TO = stats.binom.ppf(1 - 1e-5, COUNT, ALPHA) / COUNT


def accepted(rows: Values, test: str) -> float:
    p = noninferiority_p(PairedScores.of_rows(rows), np.full(len(rows), 0.02), test)
    return float(np.mean(p <= ALPHA))


@pytest.mark.parametrize("n", [10, 50])
def test_a_loss_of_exactly_the_margin_is_rarely_accepted(n: int) -> None:
    rows = np.random.default_rng(31).normal(-0.02, 0.1, size=(COUNT, n))
    low = stats.binom.ppf(1e-5, COUNT, ALPHA) / COUNT
    assert low <= accepted(rows, "t") <= UP_TO
    assert low / 2 <= accepted(rows, "hall") <= UP_TO


def test_hall_mends_what_skewness_does_to_t() -> None:
    rows = 0.08 - np.random.default_rng(31).exponential(0.1, size=(COUNT, 30))
    assert accepted(rows, "t") > UP_TO > accepted(rows, "hall") > ALPHA / 2
    assert accepted(-0.04 - rows, "hall") <= UP_TO, "skewed the other way t is careful enough"
