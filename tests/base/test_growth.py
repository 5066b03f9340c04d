"""Growth of costs, and points of a known intrinsic dimension."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from retrieval_eval import InputError
from retrieval_eval.geometry import local_intrinsic_dimensionality
from retrieval_eval.growth import fit_power_law, uniform_ball

SIZES = [1e4, 3e4, 1e5, 3e5, 1e6]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.3])
def test_an_exact_law_is_found(exponent: float) -> None:
    law = fit_power_law(SIZES, [3e-6 * n**exponent for n in SIZES])
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.coefficient == pytest.approx(3e-6, rel=1e-9)
    assert law.low == pytest.approx(exponent, abs=1e-9)
    assert law.at(1e9)[0] == pytest.approx(3e-6 * 1e9**exponent, rel=1e-9)


def test_its_slope_and_interval_are_those_of_linear_regression() -> None:
    rng = np.random.default_rng(0)
    costs = 2e-5 * np.array(SIZES) ** 1.1 * np.exp(rng.normal(0, 0.2, len(SIZES)))
    law = fit_power_law(SIZES, costs, level=0.9)
    other = stats.linregress(np.log(SIZES), np.log(costs))
    half = stats.t.ppf(0.95, 3) * other.stderr
    assert law.exponent == pytest.approx(other.slope, rel=1e-12)
    assert (law.low, law.high) == pytest.approx((other.slope - half, other.slope + half))


def test_intervals_cover_what_they_promise() -> None:
    rng = np.random.default_rng(1)
    slopes = predictions = 0
    for _ in range(2000):
        costs = 1e-6 * np.array(SIZES) ** 1.2 * np.exp(rng.normal(0, 0.15, len(SIZES)))
        law = fit_power_law(SIZES, costs)
        slopes += law.low <= 1.2 <= law.high
        _, low, high = law.at(1e7)
        predictions += low <= 1e-6 * 1e7**1.2 * np.exp(rng.normal(0, 0.15)) <= high
    assert 0.935 <= slopes / 2000 <= 0.965
    assert 0.935 <= predictions / 2000 <= 0.965


def test_two_sizes_have_a_slope_and_no_interval() -> None:
    law = fit_power_law([10, 1000], [1, 100])
    assert law.exponent == pytest.approx(1)
    assert np.isnan(law.low)
    assert np.isnan(law.at(1e5)[1])


@pytest.mark.parametrize(
    ("sizes", "costs", "said"),
    [
        ([1, 1], [1, 2], "two different sizes"),
        ([1, 2], [0, 1], "above 0"),
        ([1, 2], [1], "one for each"),
    ],
)
def test_what_has_no_law_is_refused(sizes: list[float], costs: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit_power_law(sizes, costs)


@pytest.mark.parametrize(("m", "expected"), [(2, 1.95), (4, 4.08)])
def test_balls_have_the_dimension_that_was_asked_for(m: int, expected: float) -> None:
    points = uniform_ball(4000, m, 16, seed=0)
    lid = local_intrinsic_dimensionality(points, k=100)
    assert float(np.mean(lid)) == pytest.approx(expected, rel=0.08)


def test_a_larger_ball_begins_with_the_smaller_one() -> None:
    few, many = uniform_ball(10, 3, 8, seed=5), uniform_ball(100, 3, 8, seed=5)
    assert np.array_equal(few, many[:10])
    assert not np.array_equal(few, uniform_ball(10, 3, 8, seed=6))
