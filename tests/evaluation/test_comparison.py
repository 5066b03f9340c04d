"""Differences between runs: known answers, brute force, and error rates that hold."""

from __future__ import annotations

import csv
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from retrieval_eval.comparison import (
    bootstrap_intervals,
    compare,
    correct,
    not_inferior_p,
    randomization_p,
)
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

Values = NDArray[np.float64]


def evaluation(
    name: str,
    values: Sequence[Sequence[float]] | Values,
    measures: tuple[str, ...] = ("nDCG@10",),
    query_ids: Sequence[str] | None = None,
) -> Evaluation:
    table = np.array(values, dtype=np.float64)
    ids = query_ids or [f"q{number}" for number in range(table.shape[1])]
    return Evaluation(name, measures, tuple(ids), table, 0)


def brute_force_p(differences: Values) -> float:
    observed = abs(sum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    reached = 0
    for signs in patterns:
        total = abs(sum(sign * one for sign, one in zip(signs, differences, strict=True)))
        reached += total >= observed - 1e-12
    return reached / len(patterns)


def skewed_differences(rng: np.random.Generator, series: int, n: int) -> Values:
    """Return null differences of skewed scores with many zeros: both runs from one source."""
    easy = rng.beta(0.5, 1.5, size=(series, 1, n))
    scores = np.round(np.clip(easy + rng.normal(0, 0.2, size=(series, 2, n)), 0, 1), 2)
    scores *= rng.random((series, 1, n)) < 0.6
    result: Values = scores[:, 0] - scores[:, 1]
    return result


# -- the randomization test -------------------------------------------------------------------


def test_the_published_p_of_two_trec_systems_is_found(collections: Path) -> None:
    path = collections / "scores" / "sigir2019" / "adhoc8_ap.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    scores = np.array(rows, dtype=np.float64)
    assert scores.shape == (50, 129)
    differences = (scores[:, 124] - scores[:, 125])[None, :]
    draws, published = 100_000, 0.001188
    (p,) = randomization_p(differences, draws=draws, seed=1)
    assert p == pytest.approx(published, abs=4 * np.sqrt(published * (1 - published) / draws))


@pytest.mark.parametrize("seed", range(5))
def test_ten_queries_are_enumerated_exactly(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.2, 0.5, size=10)
    (p,) = randomization_p(differences[None, :], draws=10_000, seed=0)
    assert p == pytest.approx(brute_force_p(differences), abs=1e-15)


@pytest.mark.parametrize("seed", range(8))
def test_enumeration_is_exact_with_zeros_and_tied_differences(seed: int) -> None:
    differences = np.random.default_rng(seed).choice([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3], size=10)
    (p,) = randomization_p(differences[None, :], draws=10_000, seed=0)
    assert p == pytest.approx(brute_force_p(differences), abs=1e-15)


def test_enumeration_counts_only_the_queries_that_differ() -> None:
    moved = np.array([0.3, 0.1, -0.2, 0.4])
    padded = np.concatenate([moved, np.zeros(500)])
    (p,) = randomization_p(padded[None, :], draws=100, seed=0)
    assert p == brute_force_p(moved)


def test_exact_p_equals_scipys_permutation_test() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random((2, 9))
    theirs = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    (p,) = randomization_p((first - second)[None, :], draws=10_000, seed=0)
    assert p == pytest.approx(theirs, abs=1e-12)


def test_monte_carlo_p_equals_scipys_up_to_sampling_error() -> None:
    differences = np.random.default_rng(8).normal(0.12, 0.3, size=40)
    draws = 20_000
    theirs = stats.permutation_test(
        (differences,),
        lambda a, axis: np.mean(a, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=draws,
        rng=np.random.default_rng(1),
    ).pvalue
    (p,) = randomization_p(differences[None, :], draws=draws, seed=2)
    assert 0.01 < p < 0.5
    assert p == pytest.approx(theirs, abs=4 * np.sqrt(2 * p * (1 - p) / draws))


def test_one_seed_gives_one_p_with_any_number_of_threads() -> None:
    differences = np.random.default_rng(4).normal(0.02, 0.2, size=(7, 301))
    found = []
    for threads in (1, 2, 1):
        with threadpool_limits(limits=threads):
            found.append(
                (
                    randomization_p(differences, draws=3000, seed=5).tolist(),
                    bootstrap_intervals(differences, draws=3000, seed=5).tolist(),
                )
            )
    assert [p for p, _ in found] == [found[0][0]] * 3
    for _, bounds in found[1:]:
        np.testing.assert_allclose(bounds, found[0][1], rtol=0, atol=1e-12)
    assert found[0][0] != randomization_p(differences, draws=3000, seed=6).tolist()


def test_p_is_never_0() -> None:
    large = np.full((1, 200), 5.0)
    assert randomization_p(large, draws=999, seed=0).tolist() == [1 / 1000]
    assert randomization_p(large[:, :9], draws=999, seed=0).tolist() == [2 / 2**9]


def test_p_does_not_change_with_sign_or_scale() -> None:
    differences = np.random.default_rng(1).choice([-0.1, 0.0, 0.1, -0.2, 0.2], size=(1, 60))
    (p,) = randomization_p(differences, draws=2000, seed=0)
    assert 1 / 2001 < p < 1
    assert randomization_p(-differences, draws=2000, seed=0).tolist() == [p]
    assert randomization_p(differences * 1e-9, draws=2000, seed=0).tolist() == [p]
    assert randomization_p(differences * 1e6, draws=2000, seed=0).tolist() == [p]


@pytest.mark.parametrize("n", [8, 40])
def test_another_pair_in_the_family_changes_no_raw_p(n: int) -> None:
    rng = np.random.default_rng(6)
    base, one, other = (evaluation(name, rng.random((1, n))) for name in "abc")
    alone = compare([(base, one)], draws=500, seed=3).differences[0]
    first, second = compare([(base, one), (base, other)], draws=500, seed=3).differences
    assert first.p == alone.p
    assert (first.low, first.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert compare([(base, other)], draws=500, seed=3).differences[0].p == second.p


def test_the_rate_of_false_alarms_holds_on_skewed_scores_with_many_zeros() -> None:
    differences = skewed_differences(np.random.default_rng(11), 400, 40)
    assert np.mean(differences == 0) > 0.3, "the scores should be tied on many queries"
    rejected = np.mean(randomization_p(differences, draws=999, seed=7) <= 0.05)
    assert 0.01 < rejected < 0.085


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(12)
    differences = skewed_differences(rng, 100, 60) + 0.15
    assert np.mean(randomization_p(differences, draws=999, seed=7) <= 0.05) > 0.9


# -- bootstrap intervals ----------------------------------------------------------------------


def test_bootstrap_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    samples = np.random.default_rng(21).normal(0.3, 1.0, size=(400, 60))
    bounds = bootstrap_intervals(samples, draws=1000, seed=2)
    covered = np.mean((bounds[:, 0] <= 0.3) & (bounds[:, 1] >= 0.3))
    assert 0.90 < covered < 0.985


def test_bootstrap_intervals_widen_with_confidence_and_hold_the_mean() -> None:
    samples = np.random.default_rng(22).random((3, 50))
    wide, narrow = (
        bootstrap_intervals(samples, draws=2000, seed=2, confidence=confidence)
        for confidence in (0.99, 0.8)
    )
    means = samples.mean(axis=1)
    assert (wide[:, 0] < narrow[:, 0]).all()
    assert (narrow[:, 0] < means).all()
    assert (means < narrow[:, 1]).all()
    assert (narrow[:, 1] < wide[:, 1]).all()
    width = 2 * stats.norm.ppf(0.9) * samples.std(axis=1) / np.sqrt(50)
    np.testing.assert_allclose(narrow[:, 1] - narrow[:, 0], width, rtol=0.1)


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.3, 1 / 3, 1.0])
def test_a_constant_series_has_its_constant_as_interval(constant: float) -> None:
    series = np.vstack([np.full(47, constant), np.linspace(0, 1, 47)])
    bounds = bootstrap_intervals(series, draws=200, seed=1)
    assert bounds[0].tolist() == [constant, constant]
    assert bounds[1, 0] < bounds[1, 1]


# -- correction -------------------------------------------------------------------------------


def holm_by_definition(p: Sequence[float]) -> list[float]:
    """Return for each hypothesis the smallest level at which Holm's procedure rejects it."""
    ranked = sorted(range(len(p)), key=lambda place: p[place])
    adjusted = [0.0] * len(p)
    for rank, place in enumerate(ranked):
        needed = [(len(p) - step) * p[ranked[step]] for step in range(rank + 1)]
        adjusted[place] = min(1.0, max(needed))
    return adjusted


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.5, 0.9, 1.0], [1.0, 1.0, 1.0]),
        ([0.2], [0.2]),
        ([], []),
    ],
)
def test_holm_gives_the_hand_computed_values(raw: list[float], adjusted: list[float]) -> None:
    np.testing.assert_allclose(correct(np.array(raw), "holm"), adjusted, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_holm_follows_its_definition(seed: int) -> None:
    raw = np.round(np.random.default_rng(seed).beta(0.4, 2, size=17), 2)
    np.testing.assert_allclose(correct(raw, "holm"), holm_by_definition(raw.tolist()), rtol=1e-12)


def test_correction_leaves_its_input_alone() -> None:
    raw = np.array([0.03, 0.01, 0.2])
    for method in ("holm", "none"):
        adjusted = correct(raw, method)
        adjusted[:] = 9.0
        assert raw.tolist() == [0.03, 0.01, 0.2]


def test_nan_never_enters_a_correction() -> None:
    for method in ("holm", "none"):
        with pytest.raises(InputError, match="a p value is NaN"):
            correct(np.array([0.1, np.nan]), method)


def test_an_unknown_correction_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"unknown correction 'hlom'. Did you mean 'holm'\?"):
        correct(np.array([0.1]), "hlom")


def test_the_family_is_all_pairs_and_all_measures() -> None:
    rng = np.random.default_rng(9)
    runs = [evaluation(name, rng.random((2, 30)), ("AP", "RR")) for name in "abc"]
    result = compare([(runs[0], runs[1]), (runs[0], runs[2])], draws=300)
    assert result.family == "4 comparisons: 2 pairs of runs x 2 measures"
    raw = [one.p for one in result.differences]
    adjusted = [one.p_adjusted for one in result.differences]
    np.testing.assert_allclose(adjusted, holm_by_definition(raw), rtol=1e-12)
    plain = compare([(runs[0], runs[1]), (runs[0], runs[2])], draws=300, correction="none")
    assert [one.p_adjusted for one in plain.differences] == raw


# -- non-inferiority --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("margin", [0.01, 0.1])
def test_the_margin_is_tested_by_a_one_sided_paired_t_test(seed: int, margin: float) -> None:
    reference, candidate = np.random.default_rng(seed).random((2, 35))
    candidate = 0.8 * reference + 0.2 * candidate
    p = not_inferior_p(candidate - reference, margin)
    by_pairs = stats.ttest_rel(candidate + margin, reference, alternative="greater").pvalue
    by_differences = stats.ttest_1samp(
        candidate - reference, popmean=-margin, alternative="greater"
    ).pvalue
    assert p == pytest.approx(by_pairs, rel=1e-9)
    assert p == pytest.approx(by_differences, rel=1e-9)


def test_constant_differences_are_on_one_side_of_the_margin_for_certain() -> None:
    assert not_inferior_p(np.zeros(5), 0.01) == 0.0
    assert not_inferior_p(np.full(5, -0.25), 0.5) == 0.0
    assert not_inferior_p(np.full(5, -0.5), 0.5) == 1.0
    assert not_inferior_p(np.full(5, -0.75), 0.5) == 1.0


def test_a_loss_of_exactly_the_margin_is_rarely_accepted() -> None:
    rng = np.random.default_rng(31)
    losses = rng.normal(-0.02, 0.1, size=(1000, 50))
    accepted = np.mean([not_inferior_p(one, 0.02) <= 0.05 for one in losses])
    assert 0.03 < accepted < 0.07


def test_a_margin_speaks_of_its_own_measure_alone() -> None:
    rng = np.random.default_rng(32)
    base = evaluation("base", rng.random((2, 40)), ("AP", "RR"))
    close = evaluation("close", base.values - 0.001 * rng.random((2, 40)), ("AP", "RR"))
    far = evaluation("far", base.values - 0.2 * rng.random((2, 40)), ("AP", "RR"))
    result = compare([(base, close), (base, far)], margins={"RR": 0.05}, draws=300)
    held = {(one.candidate, one.measure): one.not_inferior(0.05) for one in result.differences}
    assert held == {
        ("close", "AP"): None,
        ("close", "RR"): True,
        ("far", "AP"): None,
        ("far", "RR"): False,
    }
    assert [one.margin for one in result.differences] == [None, 0.05, None, 0.05]


def test_a_margin_of_a_measure_not_compared_is_refused() -> None:
    one = evaluation("one", [[0.1, 0.2]])
    with pytest.raises(InputError, match=r"unknown measure .*'nDCG@5'. Did you mean 'nDCG@10'\?"):
        compare([(one, one)], margins={"nDCG@5": 0.01})


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan")])
def test_a_margin_that_is_not_above_0_is_refused(margin: float) -> None:
    one = evaluation("one", [[0.1, 0.2]])
    with pytest.raises(InputError, match="must be above 0"):
        compare([(one, one)], margins={"nDCG@10": margin})


# -- pairs of runs ----------------------------------------------------------------------------


def test_identical_runs_have_no_difference_and_p_1_without_a_warning() -> None:
    one = evaluation("one", [np.random.default_rng(1).random(25)])
    two = evaluation("two", one.values.copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare([(one, two)], margins={"nDCG@10": 0.01}, draws=200).differences[0]
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.p, found.p_adjusted, found.significant) == (1.0, 1.0, False)
    assert (found.wins, found.ties, found.losses) == (0, 25, 0)
    assert found.not_inferior(0.05) is True


def test_the_difference_is_candidate_minus_reference() -> None:
    reference = evaluation("reference", [[0.5, 0.5, 0.5, 0.5]])
    candidate = evaluation("candidate", [[0.75, 0.5, 0.25, 1.0]])
    found = compare([(reference, candidate)]).differences[0]
    assert (found.reference, found.candidate) == ("reference", "candidate")
    assert found.mean == pytest.approx(0.125)
    assert (found.wins, found.ties, found.losses, found.n_queries) == (2, 1, 1, 4)
    assert found.low <= found.mean <= found.high


def test_queries_are_matched_by_id_and_never_by_position() -> None:
    rng = np.random.default_rng(5)
    reference = evaluation("reference", rng.random((2, 30)), ("AP", "RR"))
    candidate = evaluation("candidate", rng.random((2, 30)), ("AP", "RR"))
    order = rng.permutation(30)
    shuffled = evaluation(
        "candidate",
        candidate.values[:, order],
        ("AP", "RR"),
        [candidate.query_ids[place] for place in order],
    )
    assert not np.array_equal(shuffled.values, candidate.values)
    straight = compare([(reference, candidate)], draws=300).differences
    matched = compare([(reference, shuffled)], draws=300).differences
    assert matched == straight


def test_pairs_whose_references_list_queries_in_other_orders_agree_with_each_alone() -> None:
    rng = np.random.default_rng(15)
    first, second = (evaluation(name, rng.random((1, 40))) for name in ("first", "second"))
    turned = evaluation("turned", first.values[:, ::-1], query_ids=first.query_ids[::-1])
    family = compare([(first, second), (turned, second)], draws=300, seed=2).differences
    assert family[1].mean == pytest.approx(family[0].mean, abs=1e-15)
    assert family[1].p == pytest.approx(family[0].p, abs=0.1)


def test_comparing_changes_no_evaluation() -> None:
    rng = np.random.default_rng(5)
    one, two = (evaluation(name, rng.random((1, 20))) for name in ("one", "two"))
    copies = one.values.copy(), two.values.copy()
    compare([(one, two)], draws=200)
    np.testing.assert_array_equal(one.values, copies[0])
    np.testing.assert_array_equal(two.values, copies[1])


def test_a_single_query_is_compared_without_a_claim() -> None:
    reference, candidate = evaluation("a", [[0.25]]), evaluation("b", [[0.75]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare([(reference, candidate)], margins={"nDCG@10": 0.01}).differences[0]
    assert found.mean == 0.5
    assert (found.p, found.significant) == (1.0, False)
    assert found.p_margin is None
    assert found.not_inferior(0.05) is None


def test_runs_scored_on_other_queries_are_refused() -> None:
    one = evaluation("one", [[0.1, 0.2]])
    other = evaluation("other", [[0.1, 0.2]], query_ids=["q0", "q7"])
    with pytest.raises(InputError, match="'one' and 'other' were scored on different queries"):
        compare([(one, other)])


def test_pairs_over_different_numbers_of_queries_are_refused() -> None:
    short = [evaluation(name, [[0.1, 0.2]]) for name in ("a", "b")]
    long = [evaluation(name, [[0.1, 0.2, 0.3]]) for name in ("c", "d")]
    with pytest.raises(InputError, match="queries"):
        compare([(short[0], short[1]), (long[0], long[1])])


@pytest.mark.parametrize("n", [6, 60])
def test_a_score_that_is_not_a_number_is_refused(n: int) -> None:
    values = np.random.default_rng(3).random((1, n))
    broken = values.copy()
    broken[0, 2] = np.nan
    with pytest.raises(InputError, match="broken"):
        compare([(evaluation("whole", values), evaluation("broken", broken))], draws=100)


def test_runs_scored_by_other_measures_are_refused() -> None:
    one, other = evaluation("one", [[0.1, 0.2]]), evaluation("other", [[0.1, 0.2]], ("AP",))
    with pytest.raises(InputError, match=r"'other' was scored by AP, others by nDCG@10"):
        compare([(one, other)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"draws": 99}, "draws is 99"),
        ({"test": "t"}, "unknown test 't'"),
        ({"correction": "bonferoni"}, "unknown correction 'bonferoni'"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    one = evaluation("one", [[0.1, 0.2]])
    with pytest.raises(InputError, match=message):
        compare([(one, one)], **options)  # type: ignore[arg-type]


def test_no_pair_makes_an_empty_comparison() -> None:
    result = compare([])
    assert result.differences == ()
    assert result.unreachable() is None


def test_few_draws_for_a_large_family_are_said_to_reach_no_significance() -> None:
    rng = np.random.default_rng(2)
    base = evaluation("base", rng.random((1, 50)))
    others = [evaluation(f"run{place}", rng.random((1, 50)) + 3) for place in range(10)]
    pairs = [(base, other) for other in others]
    few = compare(pairs, draws=100)
    note = few.unreachable()
    assert note is not None
    assert "100 draws" in note
    assert "10 comparisons" in note
    assert not any(one.significant for one in few.differences)
    for reachable in (compare(pairs, draws=1000), compare(pairs, draws=100, correction="none")):
        assert reachable.unreachable() is None
        assert all(one.significant for one in reachable.differences)
