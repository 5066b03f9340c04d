"""Intervals: scipy's from the same resamples, and what holds for every interval."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from retrieval_eval.comparison import (
    INTERVALS,
    PairedScores,
    difference_intervals,
    mean_intervals,
    resampling,
)
from retrieval_eval.comparison.resampling import bootstrap_sums
from retrieval_eval.errors import InputError

Values = NDArray[np.float64]
PAIR = np.array([[0, 1]])
KINDS = ("normal", "skewed", "tied", "zero-inflated")
RESAMPLING = {"percentile": "percentile", "bca": "BCa"}  # our name, scipy's name


def scores(kind: str, n: int, seed: int = 0) -> Values:
    """Return scores that are multiples of a power of two: their sums are exact for scipy too."""
    rng = np.random.default_rng([KINDS.index(kind), n, seed])
    ease = rng.random(n)
    if kind == "normal":
        found, parts = rng.normal(ease, 0.2, size=(2, n)), 2**30
    elif kind == "skewed":
        found, parts = ease * rng.beta(0.3, 2.0, size=(2, n)), 2**30
    elif kind == "tied":
        found, parts = rng.binomial(10, ease, size=(2, n)) / 16, 16
    else:
        found, parts = rng.beta(0.5, 1.5, size=(2, n)), 128
        found[1] = np.where(rng.random(n) < 0.6, found[0], found[1])
    rounded: Values = np.rint(found * parts) / parts
    return rounded


def by_scipy(paired: PairedScores, method: str, confidence: float, draws: int) -> list[float]:
    """Return scipy's interval of the first pair, from our resamples."""
    unit = paired.grid.unit[paired.pairs[0, 0]]
    sums = bootstrap_sums(paired.grid, paired.pairs, draws=draws, seed=0)[:, 0]
    low, high = stats.bootstrap(
        (paired.differences[0],),
        np.mean,
        method=RESAMPLING[method],
        confidence_level=confidence,
        n_resamples=0,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=sums * unit / paired.n),
    ).confidence_interval
    return [float(low), float(high)]


# -- the same bounds as scipy -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 3, 10, 50, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_t_bounds_are_what_scipy_says(kind: str, n: int, confidence: float) -> None:
    values = scores(kind, n, seed=3)
    theirs = stats.ttest_rel(*values).confidence_interval(confidence)
    ours = difference_intervals(PairedScores(values, PAIR), confidence=confidence)
    assert ours[0].tolist() == pytest.approx(list(theirs), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("method", RESAMPLING)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [3, 10, 50, 300])
def test_bootstrap_bounds_are_what_scipy_makes_of_the_same_resamples(
    method: str, kind: str, n: int
) -> None:
    for confidence, draws in ((0.95, 1000), (0.8, 501)):
        paired = PairedScores(scores(kind, n, seed=1), PAIR)
        ours = difference_intervals(paired, method, confidence=confidence, draws=draws)[0]
        theirs = by_scipy(paired, method, confidence, draws)
        assert ours.tolist() == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("method", ["t", *RESAMPLING])
@pytest.mark.parametrize("name", ["adhoc8_ap.csv", "web2013_ndcg20.csv"])
def test_bounds_of_real_systems_are_what_scipy_says(
    method: str, name: str, collections: Path
) -> None:
    path = collections / "scores" / "sigir2019" / name
    table = np.loadtxt(path, delimiter=",", skiprows=1).T
    for first in range(0, 33, 4):
        paired = PairedScores(table[[first, first + 1]], PAIR)
        ours = difference_intervals(paired, method, draws=999)[0].tolist()
        theirs = stats.ttest_rel(*table[[first, first + 1]]).confidence_interval(0.95)
        if method != "t":
            theirs = by_scipy(paired, method, 0.95, 999)
        assert ours == pytest.approx(list(theirs), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("method", INTERVALS)
def test_intervals_of_means_are_those_of_differences_from_0(method: str) -> None:
    values = scores("skewed", 40)
    ours = mean_intervals(values, method, draws=500)
    zero = np.zeros(40)
    for row, bounds in zip(values, ours, strict=True):
        paired = PairedScores(np.stack([row, zero]), PAIR)
        expected = difference_intervals(paired, method, draws=500)[0]
        assert bounds.tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_the_t_interval_of_means_is_scipys() -> None:
    values = scores("normal", 40)
    theirs = stats.ttest_1samp(values, 0, axis=1).confidence_interval(0.95)
    np.testing.assert_allclose(mean_intervals(values), np.stack(theirs, axis=1), rtol=1e-10)


# -- degenerate data --------------------------------------------------------------------------


@pytest.mark.parametrize("method", INTERVALS)
@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, -2.5])
@pytest.mark.parametrize("n", [2, 3, 47])
def test_a_constant_series_has_its_constant_as_interval(
    method: str, constant: float, n: int
) -> None:
    values = np.stack([np.full(n, constant), np.linspace(0, 1, n)])
    bounds = mean_intervals(values, method, draws=200)
    assert bounds[0].tolist() == [constant, constant]
    assert bounds[1, 0] < bounds[1, 1]


@pytest.mark.parametrize("method", INTERVALS)
def test_equal_series_have_0_twice(method: str) -> None:
    same = np.random.default_rng(0).random(30)
    paired = PairedScores(np.stack([same, same + 0.1 - 0.1]), PAIR)
    assert difference_intervals(paired, method, draws=200).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("method", INTERVALS)
@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_queries_have_no_interval(method: str, n: int) -> None:
    found = difference_intervals(PairedScores(np.full((2, n), 0.5), PAIR), method, draws=200)
    assert found.shape == (1, 2)
    assert np.isnan(found).all()


@pytest.mark.parametrize("method", INTERVALS)
def test_no_pair_has_no_interval(method: str) -> None:
    none = PairedScores(np.random.default_rng(0).random((2, 9)), np.empty((0, 2), dtype=np.intp))
    assert difference_intervals(none, method, draws=200).shape == (0, 2)
    assert mean_intervals(np.empty((0, 9)), method, draws=200).shape == (0, 2)


@pytest.mark.parametrize("method", INTERVALS)
@pytest.mark.parametrize("n", [2, 10, 400])
def test_a_single_differing_query_has_a_finite_interval(method: str, n: int) -> None:
    values = np.zeros((2, n))
    values[0, 0] = 1.0
    low, high = difference_intervals(PairedScores(values, PAIR), method)[0]
    assert low <= 1 / n <= high
    if method != "t":
        assert 0 <= low <= high <= 1


@pytest.mark.parametrize("confidence", [1e-6, 0.9999999])
@pytest.mark.parametrize("method", INTERVALS)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_finite_at_any_confidence(method: str, confidence: float, kind: str) -> None:
    paired = PairedScores(scores(kind, 12, seed=2), PAIR)
    low, high = difference_intervals(paired, method, confidence=confidence, draws=100)[0]
    assert -np.inf < low <= high < np.inf


def test_an_unknown_interval_is_refused_by_name() -> None:
    values = np.random.default_rng(0).random((2, 9))
    with pytest.raises(
        InputError, match=r"unknown interval 'percentil'. Did you mean 'percentile'"
    ):
        difference_intervals(PairedScores(values, PAIR), "percentil")
    with pytest.raises(InputError, match=r"unknown interval 'T'. Did you mean 't'\?"):
        mean_intervals(values, "T")


@pytest.mark.parametrize(
    "settings", [{"confidence": 95}, {"confidence": 0}, {"confidence": -0.5}, {"draws": 0}]
)
@pytest.mark.parametrize("method", RESAMPLING)
def test_a_confidence_or_number_of_draws_out_of_range_is_refused(
    method: str, settings: dict[str, int]
) -> None:
    values = np.random.default_rng(0).random((2, 9))
    with pytest.raises(InputError):
        mean_intervals(values, method, **settings)  # type: ignore[arg-type]


# -- what holds for every interval ------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [4, 10, 64])
def test_a_t_interval_is_centred_on_the_mean(kind: str, n: int) -> None:
    paired = PairedScores(scores(kind, n, seed=1), PAIR)
    low, high = difference_intervals(paired)[0]
    assert low < paired.means[0] < high
    assert (low + high) / 2 == pytest.approx(paired.means[0], abs=1e-14)


@pytest.mark.parametrize("method", INTERVALS)
@pytest.mark.parametrize("kind", KINDS)
def test_more_confidence_never_makes_an_interval_narrower(method: str, kind: str) -> None:
    paired = PairedScores(scores(kind, 30), PAIR)
    levels = (0.1, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
    bounds = np.array(
        [difference_intervals(paired, method, confidence=one, draws=2000)[0] for one in levels]
    )
    assert (np.diff(bounds[:, 0]) <= 0).all()
    assert (np.diff(bounds[:, 1]) >= 0).all()
    assert np.ptp(bounds[-1]) > 3 * np.ptp(bounds[0])


def test_bca_is_percentile_where_differences_are_symmetric() -> None:
    half = np.random.default_rng(1).normal(size=100)
    values = np.concatenate([half, -half])[None]
    bca, percentile = (mean_intervals(values, one, draws=40_000) for one in ("bca", "percentile"))
    np.testing.assert_allclose(bca, percentile, atol=0.03 * np.ptp(percentile))


@pytest.mark.parametrize("sign", [1, -1])
def test_bca_leans_to_the_long_tail(sign: int) -> None:
    values = sign * np.random.default_rng(1).lognormal(sigma=1.0, size=(1, 60))
    bca, percentile = (mean_intervals(values, one)[0] for one in ("bca", "percentile"))
    assert (sign * (bca - percentile) > 0.05 * np.ptp(percentile)).any()
    assert (sign * (bca - percentile) > 0).all()


@pytest.mark.parametrize("method", INTERVALS)
def test_swapping_a_pair_mirrors_its_interval(method: str) -> None:
    values = scores("skewed", 40)
    paired = PairedScores(values, np.array([[0, 1], [1, 0]]))
    there, back = difference_intervals(paired, method)
    np.testing.assert_allclose(there, -back[::-1], rtol=1e-9)


@pytest.mark.parametrize("method", INTERVALS)
@given(shift=st.floats(-5, 5), scale=st.floats(0.01, 100))
@settings(max_examples=15, deadline=None)
def test_intervals_move_and_stretch_with_the_scores(
    method: str, shift: float, scale: float
) -> None:
    values = scores("skewed", 40)[:1]
    plain = mean_intervals(values, method, draws=300)
    moved = mean_intervals(scale * values + shift, method, draws=300)
    np.testing.assert_allclose(moved, scale * plain + shift, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", INTERVALS)
def test_an_interval_knows_nothing_of_other_series_threads_or_blocks(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(1).random((4, 65))
    pairs = np.array([[0, 1], [2, 3], [3, 1]])
    together = difference_intervals(PairedScores(values, pairs), method, draws=501, threads=1)
    monkeypatch.setattr(resampling, "_BLOCK_BYTES", 10_000)
    for row, pair in enumerate(pairs):
        for threads in (1, 2, 3):
            paired = PairedScores(values[pair], PAIR)
            alone = difference_intervals(paired, method, draws=501, threads=threads)[0]
            np.testing.assert_allclose(alone, together[row], rtol=0, atol=1e-14)


@pytest.mark.parametrize("method", RESAMPLING)
def test_a_seed_fixes_a_bootstrap_interval(method: str) -> None:
    paired = PairedScores(scores("skewed", 40), PAIR)
    found = [difference_intervals(paired, method, seed=seed)[0].tolist() for seed in (5, 5, 6)]
    assert found[0] == found[1] != found[2]
    assert found[0] == pytest.approx(found[2], abs=0.1 * (found[0][1] - found[0][0]))


@pytest.mark.parametrize("method", INTERVALS)
def test_scores_are_only_read(method: str) -> None:
    values = scores("skewed", 40)
    copy = values.copy()
    values.flags.writeable = False
    mean_intervals(values, method, draws=100)
    np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("method", INTERVALS)
@pytest.mark.parametrize("form", ["float32", "int64", "F", "strided"])
def test_scores_may_lie_in_memory_in_any_form(method: str, form: str) -> None:
    values = np.random.default_rng(0).integers(0, 9, size=(3, 20)).astype(np.float64)
    given = {
        "float32": values.astype(np.float32),
        "int64": values.astype(np.int64),
        "F": np.asfortranarray(values),
        "strided": np.repeat(values, 2, axis=1)[:, ::2],
    }[form]
    expected = mean_intervals(values, method, draws=100)
    np.testing.assert_array_equal(mean_intervals(given, method, draws=100), expected)  # type: ignore[arg-type]


# -- coverage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 10, 50])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_the_t_interval_covers_the_mean_of_normal_scores_as_often_as_it_says(
    n: int, confidence: float
) -> None:
    count = 4000
    samples = np.random.default_rng(n).normal(0.3, 1.0, size=(count, n))
    low, high = mean_intervals(samples, confidence=confidence).T
    covered = np.count_nonzero((low <= 0.3) & (high >= 0.3))
    bounds = stats.binom.ppf([1e-5, 1 - 1e-5], count, confidence)
    assert bounds[0] <= covered <= bounds[1]


@pytest.mark.parametrize("method", RESAMPLING)
def test_bootstrap_intervals_cover_the_mean_a_little_less_often_than_they_say(method: str) -> None:
    count, n = 1000, 60
    samples = np.random.default_rng(21).normal(0.3, 1.0, size=(count, n))
    low, high = mean_intervals(samples, method, draws=1000).T
    covered = np.count_nonzero((low <= 0.3) & (high >= 0.3))
    nominal = 1 - 2 * stats.t.sf(stats.norm.ppf(0.975) * np.sqrt((n - 1) / n), n - 1)
    assert covered == pytest.approx(count * nominal, abs=4.5 * np.sqrt(count * 0.95 * 0.05 * 2))
