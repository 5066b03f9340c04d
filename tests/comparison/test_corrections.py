"""Corrections for many comparisons: statsmodels' answers, and what their definitions promise."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests

from retrieval_eval.comparison import CORRECTIONS, correct
from retrieval_eval.errors import InputError

Values = NDArray[np.float64]
OF_STATSMODELS = {"bonferroni": "bonferroni", "holm": "holm", "bh": "fdr_bh", "by": "fdr_by"}
REAL = [name for name in CORRECTIONS if name != "none"]
families = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-300, 0.01, 0.05, 1.0])),
    min_size=1,
    max_size=12,
).map(np.array)


def random_family(size: int, seed: int) -> Values:
    """Return p values of which some are tied, some tiny, and some 1."""
    rng = np.random.default_rng([size, seed])
    p = rng.beta(0.4, 2, size=size)
    p = np.where(rng.random(size) < 0.3, p.round(2), p)
    return np.where(rng.random(size) < 0.1, rng.choice([1.0, 1e-12, 1e-4], size=size), p)


@pytest.mark.parametrize("method", REAL)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_adjusted_p_are_what_statsmodels_says(method: str, size: int) -> None:
    for seed in range(2):
        p = random_family(size, seed)
        _, theirs, _, _ = multipletests(p, method=OF_STATSMODELS[method])
        np.testing.assert_allclose(correct(p, method), theirs, rtol=1e-12, atol=0)


def holm_by_definition(p: list[Fraction]) -> list[Fraction]:
    """For each hypothesis, the smallest level at which Holm's steps reach and reject it."""
    ranked = sorted(range(len(p)), key=lambda place: p[place])
    adjusted = [Fraction(0)] * len(p)
    for rank, place in enumerate(ranked):
        needed = [(len(p) - step) * p[ranked[step]] for step in range(rank + 1)]
        adjusted[place] = min(Fraction(1), max(needed))
    return adjusted


def closed_bonferroni(p: list[Fraction]) -> list[Fraction]:
    """For each hypothesis, the largest Bonferroni p of all sets that hold it: Holm once more."""
    sets = [
        some
        for size in range(1, len(p) + 1)
        for some in itertools.combinations(range(len(p)), size)
    ]
    tested = {some: min(Fraction(1), len(some) * min(p[one] for one in some)) for some in sets}
    return [max(value for some, value in tested.items() if one in some) for one in range(len(p))]


def step_up_by_definition(p: list[Fraction], factor: Fraction) -> list[Fraction]:
    """For each hypothesis, the smallest level at which the step-up procedure rejects it."""
    ranked = sorted(p)
    levels = [one * len(p) * factor / (rank + 1) for rank, one in enumerate(ranked)]
    reached = [
        [level for level, one in zip(levels, ranked, strict=True) if one >= mine] for mine in p
    ]
    return [min(Fraction(1), *some) for some in reached]


BY_DEFINITION: dict[str, Callable[[list[Fraction]], list[Fraction]]] = {
    "bonferroni": lambda p: [min(Fraction(1), one * len(p)) for one in p],
    "holm": holm_by_definition,
    "bh": lambda p: step_up_by_definition(p, Fraction(1)),
    "by": lambda p: step_up_by_definition(p, sum(Fraction(1, k + 1) for k in range(len(p)))),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("method", REAL)
@given(p=families)
@settings(max_examples=60, deadline=None)
def test_adjusted_p_follow_the_definition_of_the_procedure(method: str, p: Values) -> None:
    exact = [float(one) for one in BY_DEFINITION[method]([Fraction(one) for one in p.tolist()])]
    np.testing.assert_allclose(correct(p, method), exact, rtol=1e-13, atol=0)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=6).map(np.array))
@settings(max_examples=40, deadline=None)
def test_holm_is_the_closure_of_bonferroni(p: Values) -> None:
    exact = [float(one) for one in closed_bonferroni([Fraction(one) for one in p.tolist()])]
    np.testing.assert_allclose(correct(p, "holm"), exact, rtol=1e-13, atol=0)


@pytest.mark.parametrize("method", REAL)
@given(p=families, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_order_of_a_family_does_not_matter(method: str, p: Values, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(p))
    np.testing.assert_array_equal(correct(p[order], method), correct(p, method)[order])


@pytest.mark.parametrize("method", CORRECTIONS)
@given(p=families)
@settings(max_examples=60, deadline=None)
def test_adjusted_p_keep_the_order_and_lie_between_p_and_1(method: str, p: Values) -> None:
    adjusted = correct(p, method)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    for same in np.unique(p):
        assert len(np.unique(adjusted[p == same])) == 1, "equal p stay equal"


@given(p=families)
@settings(max_examples=60, deadline=None)
def test_more_careful_corrections_never_give_smaller_p(p: Values) -> None:
    none, bh, by, holm, bonferroni = (
        correct(p, method) for method in ("none", "bh", "by", "holm", "bonferroni")
    )
    tolerance = 1 + 1e-12
    assert (none <= bh * tolerance).all()
    assert (bh <= holm * tolerance).all()
    assert (holm <= bonferroni * tolerance).all()
    assert (bh <= by * tolerance).all()


@pytest.mark.parametrize("method", CORRECTIONS)
@given(p=families, which=st.integers(0, 11), less=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_smaller_p_makes_no_adjusted_p_larger(
    method: str, p: Values, which: int, less: float
) -> None:
    smaller = p.copy()
    smaller[which % len(p)] *= less
    assert (correct(smaller, method) <= correct(p, method)).all()


@pytest.mark.parametrize("method", REAL)
def test_another_p_of_1_makes_no_adjusted_p_smaller(method: str) -> None:
    p = random_family(20, 0)
    assert (correct(np.append(p, 1.0), method)[:-1] >= correct(p, method)).all()


@pytest.mark.parametrize("method", CORRECTIONS)
def test_a_family_of_one_is_left_as_it_is(method: str) -> None:
    for p in (0.0, 1e-300, 0.2, 1.0):
        assert correct(np.array([p]), method).tolist() == [p]


@pytest.mark.parametrize("method", CORRECTIONS)
def test_an_empty_family_is_empty(method: str) -> None:
    assert correct(np.array([]), method).tolist() == []


@pytest.mark.parametrize("method", CORRECTIONS)
def test_the_input_stays_as_it_was_and_the_answer_is_a_copy(method: str) -> None:
    p = np.array([0.03, 0.01, 0.2])
    p.flags.writeable = False
    adjusted = correct(p, method)
    adjusted[:] = 9.0
    assert p.tolist() == [0.03, 0.01, 0.2]


@pytest.mark.parametrize("method", CORRECTIONS)
def test_nan_never_enters_a_correction(method: str) -> None:
    with pytest.raises(InputError, match="a p value is NaN"):
        correct(np.array([0.1, np.nan]), method)


@pytest.mark.parametrize("method", CORRECTIONS)
@pytest.mark.parametrize("view", [np.s_[::2], np.s_[::-1]])
def test_p_values_may_be_strided(method: str, view: slice) -> None:
    p = random_family(20, 1)
    np.testing.assert_array_equal(correct(p[view], method), correct(p[view].copy(), method))


@pytest.mark.parametrize("method", ["none", "bonferroni", "holm", "bh"])
def test_p_values_may_come_as_a_list(method: str) -> None:
    found = correct([0.01, 0.02, 0.5], method)  # type: ignore[arg-type]
    assert isinstance(found, np.ndarray)
    assert found.tolist() == correct(np.array([0.01, 0.02, 0.5]), method).tolist()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hlom", r"unknown correction 'hlom'. Did you mean 'holm'\?"),
        ("Bonferroni", r"Did you mean 'bonferroni'\?"),
        ("fdr_bh", "unknown correction 'fdr_bh'.*Available: bh, bonferroni, by, holm, none"),
        ("", "unknown correction ''"),
    ],
)
def test_an_unknown_correction_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        correct(np.array([0.1]), name)


@pytest.mark.parametrize("method", ["bonferroni", "holm"])
def test_the_family_wise_error_rate_holds(method: str) -> None:
    rng = np.random.default_rng(1)
    families = rng.random((2000, 10))
    families[:, :3] *= 1e-6  # three hypotheses are false
    wrong = sum(bool((correct(p, method)[3:] <= 0.05).any()) for p in families)
    assert wrong <= 2000 * 0.05 + 4.5 * np.sqrt(2000 * 0.05 * 0.95)
    assert wrong > 2000 * 0.02, "and not by refusing everything"


@pytest.mark.parametrize(("method", "rate"), [("bh", 0.05 * 7 / 10), ("by", 0.05 * 7 / 10 / 2.93)])
def test_the_false_discovery_rate_holds(method: str, rate: float) -> None:
    rng = np.random.default_rng(1)
    families = rng.random((2000, 10))
    families[:, :3] *= 1e-6
    found = np.array([correct(p, method) <= 0.05 for p in families])
    shares = found[:, 3:].sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    assert shares.mean() == pytest.approx(rate, abs=4.5 * shares.std() / np.sqrt(2000))
