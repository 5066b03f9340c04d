"""Power, detectable differences and needed queries: statsmodels, integration, and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.stats.power import TTestPower

from retrieval_eval.comparison import (
    detectable_difference,
    paired_test,
    queries_needed,
    smallest_p,
)
from retrieval_eval.comparison.power import power_of_t
from retrieval_eval.errors import InputError

THEIRS = TTestPower()
SIDES = {1: "larger", 2: "two-sided"}


def power_by_integration(shift: float, n: int, alpha: float = 0.05, sides: int = 2) -> float:
    """Integrate the chance of rejection over the standard deviation that a sample shows."""
    df, centre = n - 1, shift * np.sqrt(n)
    bound = stats.t.isf(alpha / sides, df)

    def rejected(share: float) -> float:
        spread = stats.chi.ppf(share, df) / np.sqrt(df)
        low = stats.norm.cdf(-bound * spread - centre) if sides == 2 else 0.0
        return float(stats.norm.cdf(centre - bound * spread) + low)

    points = [10.0**-k for k in range(1, 9)]
    return float(integrate.quad(rejected, 0, 1, points=points, limit=500, epsabs=1e-11)[0])


# -- power ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("n", [3, 5, 10, 50, 1000])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_power_is_what_statsmodels_says(sides: int, n: int, alpha: float) -> None:
    for centre in (0.0, 0.5, 1.0, 2.5, 4.0):
        shift = centre / np.sqrt(n)
        theirs = THEIRS.power(shift, n, alpha, alternative=SIDES[sides])
        assert power_of_t(shift, n, alpha, sides=sides) == pytest.approx(
            theirs, rel=1e-9, abs=1e-12
        )


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("n", [2, 3, 5, 50])
def test_power_is_what_integration_says(sides: int, n: int) -> None:
    for alpha, centre in itertools.product((0.01, 0.05), (0.0, 1.0, 3.0)):
        shift = centre / np.sqrt(n)
        expected = power_by_integration(shift, n, alpha, sides)
        assert power_of_t(shift, n, alpha, sides=sides) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.05), (3, 0.01), (10, 0.05), (50, 1e-6)])
def test_power_of_a_large_difference_is_defined(n: int, alpha: float) -> None:
    shifts = np.linspace(4, 40, 200) / np.sqrt(n)
    power = power_of_t(shifts, n, alpha)
    assert not np.isnan(power).any()
    for place in (0, 50, 199):
        expected = power_by_integration(shifts[place], n, alpha)
        assert power[place] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [5, 50])
def test_power_is_the_share_of_simulated_rejections(n: int) -> None:
    count, shift = 20_000, 2.5 / np.sqrt(n)
    samples = np.random.default_rng(n).normal(shift, 1.0, size=(count, n))
    rejected = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue <= 0.05)
    power = float(power_of_t(shift, n))
    assert rejected == pytest.approx(power, abs=4.5 * np.sqrt(power * (1 - power) / count))


def test_power_without_a_difference_is_the_level() -> None:
    for sides, n, alpha in itertools.product(SIDES, (2, 10, 1000), (0.001, 0.05, 0.5)):
        assert power_of_t(0.0, n, alpha, sides=sides) == pytest.approx(alpha, rel=1e-9)


def test_power_does_not_depend_on_the_sign_and_takes_arrays() -> None:
    shifts = np.array([[-0.5, 0.5], [0.2, -0.2]])
    found = power_of_t(shifts, 20)
    assert found.shape == (2, 2)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])


# -- detectable differences -------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 10, 50, 1000, 100_000])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_detectable_difference_has_the_power_asked_for(
    n: int, power: float, alpha: float
) -> None:
    shift = float(detectable_difference(1.0, n, alpha=alpha, power=power))
    assert power_of_t(shift, n, alpha) == pytest.approx(power, rel=1e-10)
    assert THEIRS.power(shift, n, alpha) == pytest.approx(power, rel=1e-8)


@pytest.mark.parametrize("n", [10, 50, 1000])
def test_the_detectable_difference_is_what_statsmodels_solves_for(n: int) -> None:
    theirs = THEIRS.solve_power(nobs=n, alpha=0.05, power=0.8)
    assert detectable_difference(0.3, n) == pytest.approx(0.3 * theirs, rel=1e-4)


@pytest.mark.parametrize(
    ("n", "alpha", "power"),
    [(2, 0.05, 0.8), (2, 0.01, 0.5), (3, 0.01, 0.8), (3, 0.05, 0.99), (5, 0.01, 0.999),
     (50, 1e-6, 0.8), (1000, 1e-6, 0.8)],
)  # fmt: skip
def test_the_detectable_difference_of_few_queries_or_a_strict_level_is_found(
    n: int, alpha: float, power: float
) -> None:
    shift = float(detectable_difference(1.0, n, alpha=alpha, power=power))
    assert power_by_integration(shift, n, alpha) == pytest.approx(power, abs=1e-5)


def test_the_detectable_difference_is_in_the_unit_of_the_scores() -> None:
    one = float(detectable_difference(1.0, 50))
    found = detectable_difference(np.array([[0.0, 0.25], [1e-9, 3.0]]), 50)
    np.testing.assert_allclose(found, np.array([[0.0, 0.25], [1e-9, 3.0]]) * one, rtol=1e-14)
    assert detectable_difference(0.2, 50) == pytest.approx(0.2 * one)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_queries_detect_nothing_that_could_be_told(n: int) -> None:
    assert np.isnan(detectable_difference(np.array([0.1, 0.2]), n)).tolist() == [True, True]


def test_more_queries_detect_smaller_differences() -> None:
    found = [float(detectable_difference(1.0, n)) for n in (3, 4, 5, 10, 50, 51, 1000)]
    assert (np.diff(found) < 0).all()


# -- needed queries ---------------------------------------------------------------------------


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("difference", [0.01, 0.02, -0.05, 0.1, 0.2])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_needed_queries_are_the_fewest_with_that_power(
    sides: int, difference: float, power: float
) -> None:
    n = queries_needed(difference, 0.1, power=power, sides=sides)
    shift, kind = abs(difference) / 0.1, SIDES[sides]
    assert THEIRS.power(shift, n, 0.05, alternative=kind) >= power
    assert n == 2 or THEIRS.power(shift, n - 1, 0.05, alternative=kind) < power


@pytest.mark.parametrize("difference", [0.01, 0.02, 0.05])
def test_needed_queries_are_what_statsmodels_solves_for(difference: float) -> None:
    theirs = THEIRS.solve_power(effect_size=difference / 0.1, alpha=0.05, power=0.8)
    assert queries_needed(difference, 0.1) == np.ceil(theirs)


def test_needed_queries_and_detectable_differences_are_each_others_inverse() -> None:
    for n in (5, 6, 20, 51, 400):
        difference = float(detectable_difference(0.2, n))
        assert queries_needed(difference * (1 + 1e-9), 0.2) == n
        assert queries_needed(difference * (1 - 1e-6), 0.2) == n + 1


def test_differences_without_spread_need_two_queries() -> None:
    assert queries_needed(0.1, 0.0) == 2


@pytest.mark.parametrize("sd", [1e-12, 0.002, 0.1 / 12])
def test_differences_of_many_standard_deviations_need_two_queries(sd: float) -> None:
    assert power_by_integration(min(0.1 / sd, 50.0), 2) > 0.8
    assert queries_needed(0.1, sd) == 2


@pytest.mark.parametrize("difference", [1e-3, 3e-4])
def test_needed_queries_of_a_small_difference_are_those_of_the_normal_distribution(
    difference: float,
) -> None:
    normal = ((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / difference) ** 2
    assert queries_needed(difference, 1.0) == pytest.approx(normal + 1.92, rel=1e-5)


def test_needs_up_to_a_billion_queries_are_told() -> None:
    assert queries_needed(1e-4, 1.0) == pytest.approx(784_888_000, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"difference": 0.0}, "the difference is 0.0: no number of queries shows that"),
        ({"difference": float("nan")}, "the difference is nan"),
        ({"difference": float("inf")}, "the difference is inf"),
        ({"sd": -0.1}, "the standard deviation is -0.1"),
        ({"sd": float("nan")}, "the standard deviation is nan"),
        ({"sd": float("inf")}, "the standard deviation is inf"),
        ({"alpha": 0.0}, "alpha is 0.0: it must lie between 0 and 1"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"power": 1.0}, "power is 1.0: it must lie between 0 and 1"),
        ({"power": 0.05}, "power is 0.05: it must be above alpha, 0.05"),
        ({"difference": 1e-9}, "needs more than 1000000000 queries"),
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        queries_needed(**({"difference": 0.1, "sd": 0.2} | arguments))  # type: ignore[arg-type]


# -- smallest p -------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["randomization", "wilcoxon", "sign"])
@pytest.mark.parametrize("n", range(1, 25))
def test_no_p_of_differences_in_one_direction_is_below_the_smallest(test: str, n: int) -> None:
    first = np.linspace(1, 2, n)
    least = smallest_p(test, n, draws=1000)
    found = [paired_test(first, np.zeros(n), test, draws=1000, seed=seed).p for seed in range(3)]
    assert min(found) >= least * (1 - 1e-12)


@pytest.mark.parametrize("test", ["randomization", "sign", "wilcoxon"])
@pytest.mark.parametrize("n", range(1, 10))
def test_the_smallest_p_of_few_queries_is_reached(test: str, n: int) -> None:
    first = np.linspace(1, 2, n)
    assert paired_test(first, np.zeros(n), test).p == pytest.approx(smallest_p(test, n), rel=1e-12)


@pytest.mark.parametrize(
    ("test", "n", "draws", "least"),
    [
        ("randomization", 0, 999, 1.0),
        ("t", 0, 999, 1.0),
        ("tukey", 0, 999, 1.0),
        ("sign", 1, 999, 1.0),
        ("randomization", 9, 999, 2 / 2**9),
        ("randomization", 40, 999, 1 / 1000),
        ("bootstrap", 40, 999, None),
        ("tukey", 40, 999, None),
        ("t", 5, 999, None),
        ("sign", 40, 999, 2 / 2**40),
    ],
)
def test_the_smallest_p_follows_from_queries_and_draws(
    test: str, n: int, draws: int, least: float | None
) -> None:
    assert smallest_p(test, n, draws) == least


def test_no_drawn_p_is_below_the_smallest() -> None:
    first = np.arange(1.0, 15.0)
    found = [paired_test(first, np.zeros(14), seed=seed).p for seed in range(40)]
    assert min(found) >= smallest_p("randomization", 14)


def test_the_smallest_p_of_an_unknown_test_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="Did you mean 'wilcoxon'"):
        smallest_p("wilcoxn", 5)
