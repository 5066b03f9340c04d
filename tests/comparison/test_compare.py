"""Families of comparisons: who is compared with whom, matched how, and corrected over what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from retrieval_eval.comparison import CompareOptions, compare, correct, paired_test
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation, EvaluationOptions

Make = Callable[..., Evaluation]
RNG = np.random.default_rng


def pairs_of(*arguments: object, **settings: object) -> list[tuple[str, str]]:
    found = compare(*arguments, draws=100, **settings)  # type: ignore[arg-type]
    return [(one.a, one.b) for one in found.differences]


@pytest.fixture
def four(evaluation: Make) -> list[Evaluation]:
    scores = RNG(1).random((4, 2, 30))
    return [evaluation(name, one, ("AP", "RR")) for name, one in zip("abcd", scores, strict=True)]


# -- who is compared ------------------------------------------------------------------------------


def test_every_run_is_compared_with_the_first_unless_said_otherwise(evaluation: Make) -> None:
    runs = [evaluation(name, [[0.1, 0.2]]) for name in "abc"]
    assert pairs_of(runs) == [("b", "a"), ("c", "a")]
    assert pairs_of(*runs) == pairs_of(runs) == pairs_of(iter(runs))


def test_a_reference_is_named(four: list[Evaluation]) -> None:
    found = compare(four, references=["c"], draws=100)
    assert [(d.a, d.b) for d in found.differences[::2]] == [("a", "c"), ("b", "c"), ("d", "c")]
    assert [d.measure for d in found.differences[:2]] == ["AP", "RR"]


def test_several_references_are_compared_with_each_other_once(four: list[Evaluation]) -> None:
    found = pairs_of([replace(one, measures=("AP",), values=one.values[:1]) for one in four],
                     references=["d", "b"])  # fmt: skip
    assert found == [("a", "d"), ("b", "d"), ("c", "d"), ("a", "b"), ("c", "b")]


def test_all_pairs_are_every_pair_once(evaluation: Make) -> None:
    runs = [evaluation(name, [[0.1, 0.2]]) for name in "abc"]
    assert pairs_of(runs, pairs="all") == [("a", "b"), ("a", "c"), ("b", "c")]


def test_pairs_may_be_given_by_place(evaluation: Make) -> None:
    runs = [evaluation(name, [[0.1, 0.2]]) for name in "abc"]
    assert pairs_of(runs, pairs=[(2, 1), (0, 2)]) == [("c", "b"), ("a", "c")]
    assert pairs_of(runs, pairs=[]) == []


def test_no_runs_make_an_empty_comparison() -> None:
    found = compare([])
    assert found.differences == ()
    assert found.notes == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"references": ["z"]}, "unknown run .as a reference. 'z'"),
        ({"pairs": "refrence"}, "unknown choice of pairs 'refrence'. Did you mean 'reference'"),
        ({"tests": "t"}, "unknown option 'tests'. Did you mean 'test'"),
        ({"test": "tukee"}, "unknown test 'tukee'. Did you mean 'tukey'"),
        ({"correction": "hulm"}, "unknown correction 'hulm'. Did you mean 'holm'"),
        ({"family": "mesure"}, "unknown family 'mesure'. Did you mean 'measure'"),
        ({"margin_test": "randomisation"}, "Did you mean 'randomization'"),
        ({"interval": "bcca"}, "unknown interval 'bcca'. Did you mean 'bca'"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"draws": 99}, "draws is 99"),
        ({"seed": -1}, "seed is -1"),
        ({"margins": {"nDCG@5": 0.1}}, "unknown measure .of a margin. 'nDCG@5'"),
        ({"margins": {"nDCG@10": 0.0}}, "must be above 0"),
        ({"margins": {"nDCG@10": float("nan")}}, "must be above 0"),
    ],
)
def test_an_unusable_setting_is_refused_by_name(
    evaluation: Make, settings: dict[str, object], message: str
) -> None:
    runs = [evaluation(name, [[0.1, 0.2]]) for name in "abc"]
    with pytest.raises(InputError, match=message):
        compare(runs, **settings)  # type: ignore[arg-type]


def test_a_reference_whose_name_two_runs_bear_is_refused(evaluation: Make) -> None:
    twice = evaluation("twice", [[0.1, 0.2]])
    with pytest.raises(InputError, match="2 runs are named 'twice'"):
        compare([twice, twice], references=["twice"])


# -- matching -------------------------------------------------------------------------------------


def test_differences_are_a_minus_b(evaluation: Make) -> None:
    reference = evaluation("reference", [[0.5, 0.5, 0.5, 0.5]])
    candidate = evaluation("candidate", [[0.75, 0.5, 0.25, 1.0]])
    found = compare(reference, candidate).differences[0]
    assert (found.a, found.b) == ("candidate", "reference")
    assert found.mean_diff == 0.125
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert (found.n, found.n_differing) == (4, 3)
    assert found.common_language == 2.5 / 4
    assert found.effect == pytest.approx(0.125 / np.std([0.25, 0, -0.25, 0.5], ddof=1))


@pytest.mark.parametrize("test", ["randomization", "t", "wilcoxon", "sign", "bootstrap"])
def test_compare_and_paired_test_give_the_same(four: list[Evaluation], test: str) -> None:
    found = compare(four[:2], test=test, draws=500, seed=3).differences
    for row, one in enumerate(found):
        alone = paired_test(four[1].values[row], four[0].values[row], test, draws=500, seed=3)
        assert (one.p, one.mean_diff, one.ci95) == (alone.p, alone.mean_diff, alone.ci95)
        assert (one.n, one.n_differing, one.effect) == (alone.n, alone.n_differing, alone.effect)


def test_queries_are_matched_by_id_and_never_by_position(four: list[Evaluation]) -> None:
    reference, candidate = four[:2]
    order = RNG(5).permutation(30)
    shuffled = replace(
        candidate,
        values=candidate.values[:, order],
        query_ids=tuple(candidate.query_ids[place] for place in order),
    )
    assert not np.array_equal(shuffled.values, candidate.values)
    straight = compare(reference, candidate, draws=300)
    assert compare(reference, shuffled, draws=300) == straight


def test_comparing_changes_no_evaluation(four: list[Evaluation]) -> None:
    copies = [one.values.copy() for one in four]
    for one in four:
        one.values.flags.writeable = False
    compare(four, pairs="all", draws=200, margins={"AP": 0.1}, interval="bca")
    for one, copy in zip(four, copies, strict=True):
        np.testing.assert_array_equal(one.values, copy)


def test_another_run_in_the_family_changes_no_raw_p(four: list[Evaluation]) -> None:
    alone = compare(four[0], four[1], draws=500, seed=3)
    family = compare(four, pairs="all", draws=500, seed=3)
    mine = [one for one in family.differences if (one.a, one.b) == ("a", "b")]
    for one, other in zip(alone.differences, mine, strict=True):
        assert (one.p, -one.mean_diff) == (other.p, other.mean_diff)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(four: list[Evaluation], threads: int) -> None:
    settings = {"draws": 3000, "interval": "bca", "margins": {"AP": 0.1}, "pairs": "all"}
    for test in ("randomization", "bootstrap", "tukey"):
        one = compare(four, test=test, threads=threads, **settings)  # type: ignore[arg-type]
        assert one == compare(four, test=test, threads=None, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_ids": ("q0", "q7")}, "'one' and 'other' were scored on different queries"),
        ({"measures": ("AP",)}, "'other' was scored by AP, others by nDCG@10"),
        ({"options": EvaluationOptions(judged_only=True)}, "scored with other options"),
        ({"values": np.array([[0.1, np.inf]])}, "'other' has a score that is infinite"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    evaluation: Make, change: dict[str, object], message: str
) -> None:
    one = evaluation("one", [[0.1, 0.2]])
    other = replace(evaluation("other", [[0.1, 0.2]]), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        compare(one, other)


@pytest.mark.parametrize("measure", ["GAP", "GMAP"])
def test_measures_that_are_no_means_over_queries_are_refused(
    evaluation: Make, measure: str
) -> None:
    from retrieval_eval.evaluation.trec_names import parse_measures

    try:
        (name,) = map(str, parse_measures([measure]))
    except InputError:
        (name,) = map(str, parse_measures(["gm_map"]))
    one = evaluation("one", [[0.1, 0.2]], (name,))
    with pytest.raises(InputError, match="mean"):
        compare(one, one)


# -- families -------------------------------------------------------------------------------------


@pytest.mark.parametrize("correction", ["none", "bonferroni", "holm", "bh", "by"])
def test_the_family_is_all_pairs_and_all_measures_or_those_of_a_measure(
    four: list[Evaluation], correction: str
) -> None:
    whole = compare(four, pairs="all", correction=correction, draws=300)
    raw = np.array([one.p for one in whole.differences])
    np.testing.assert_array_equal(
        [one.p_adjusted for one in whole.differences], correct(raw, correction)
    )
    assert whole.family == "12 comparisons: 6 pairs of runs x 2 measures"
    each = compare(four, pairs="all", correction=correction, family="measure", draws=300)
    for row in (0, 1):
        np.testing.assert_array_equal(
            [one.p_adjusted for one in each.differences[row::2]], correct(raw[row::2], correction)
        )
    assert each.family == "6 pairs of runs, for each measure on its own"


def test_significant_is_an_adjusted_p_up_to_alpha(four: list[Evaluation]) -> None:
    better = replace(four[1], values=four[0].values + 0.2 + 0.1 * four[1].values)
    found = compare(four[0], better, four[2], draws=2000)
    for one in found.differences:
        assert one.significant == (one.p_adjusted <= 0.05)
    assert [one.significant for one in found.differences] == [True, True, False, False]
    strict = compare(four[0], better, four[2], draws=2000, alpha=1e-9)
    assert not any(one.significant for one in strict.differences)


def test_tukey_is_corrected_by_itself_within_a_measure(four: list[Evaluation]) -> None:
    found = compare(four, pairs="all", test="tukey", draws=500)
    for one in found.differences:
        assert one.p_adjusted == min(1.0, 2 * one.p), "two measures are shown"
    for settings in ({"family": "measure"}, {"correction": "none"}):
        each = compare(four, pairs="all", test="tukey", draws=500, **settings)  # type: ignore[arg-type]
        assert all(one.p_adjusted == one.p for one in each.differences)
    assert found.family == "12 comparisons: all pairs of 4 runs, by the test itself x 2 measures"


def test_margins_are_a_family_of_their_own(evaluation: Make) -> None:
    rng = RNG(32)
    base = evaluation("base", rng.random((2, 40)), ("AP", "RR"))
    close = evaluation("close", base.values - 0.001 * rng.random((2, 40)), ("AP", "RR"))
    far = evaluation("far", base.values - 0.2 * rng.random((2, 40)), ("AP", "RR"))
    found = compare(base, close, far, margins={"RR": 0.05}, draws=300)
    held = {(one.a, one.measure): (one.noninferior, one.equivalent) for one in found.differences}
    assert held == {
        ("close", "AP"): (None, None),
        ("close", "RR"): (True, True),
        ("far", "AP"): (None, None),
        ("far", "RR"): (False, False),
    }
    assert [one.margin for one in found.differences] == [None, 0.05, None, 0.05]
    raw = compare(base, close, far, margins={"RR": 0.05}, draws=300, correction="none")
    expected = correct(np.array([raw.differences[place].p_noninferior for place in (1, 3)]), "holm")
    got = [found.differences[place].p_noninferior for place in (1, 3)]
    np.testing.assert_array_equal(got, expected)


def test_a_better_run_is_not_inferior_yet_not_equivalent(evaluation: Make) -> None:
    rng = RNG(33)
    base = evaluation("base", rng.random((1, 40)))
    better = evaluation("better", base.values + 0.3 + 0.01 * rng.random((1, 40)))
    found = compare(base, better, margins={"nDCG@10": 0.05}).differences[0]
    assert (found.noninferior, found.equivalent) == (True, False)


# -- what cannot be told --------------------------------------------------------------------------


def test_identical_runs_have_no_difference_and_p_1(four: list[Evaluation]) -> None:
    same = replace(four[0], run_name="same", values=four[0].values.copy())
    for test in ("randomization", "t", "wilcoxon", "sign", "bootstrap", "tukey"):
        for margin_test in ("hall", "t", "randomization", "bootstrap"):
            found = compare(
                four[0], same, test=test, margins={"AP": 0.01, "RR": 0.5}, margin_test=margin_test
            )
            for one in found.differences:
                assert (one.mean_diff, one.ci95, one.p, one.p_adjusted) == (0, (0, 0), 1, 1)
                assert (one.wins, one.ties, one.losses, one.effect) == (0, 30, 0, 0)
                assert (one.significant, one.noninferior, one.equivalent) == (False, True, True)


@pytest.mark.parametrize("test", ["randomization", "t", "wilcoxon", "sign", "bootstrap", "tukey"])
def test_a_single_query_shows_nothing(evaluation: Make, test: str) -> None:
    one, other = evaluation("a", [[0.25]]), evaluation("b", [[0.75]])
    found = compare(one, other, test=test, margins={"nDCG@10": 0.01}, draws=1000).differences[0]
    assert (found.mean_diff, found.n) == (0.5, 1)
    assert np.isnan(found.ci95).all()
    assert np.isnan(found.detectable)
    assert (found.noninferior, found.equivalent, found.p_noninferior) == (None, None, None)
    assert not found.significant
    assert found.as_dict(test)["ci95"] == [None, None]


def test_queries_without_a_score_are_left_out_pair_by_pair(evaluation: Make) -> None:
    rng = RNG(3)
    scores = rng.random((3, 2, 20))
    scores[1, 0, 4] = np.nan
    scores[2, 1, [5, 6]] = np.nan
    runs = [evaluation(name, one, ("AP", "RR")) for name, one in zip("abc", scores, strict=True)]
    found = compare(runs, pairs="all", draws=300, margins={"AP": 0.1})
    sizes = {(one.a, one.b, one.measure): one.n for one in found.differences}
    assert sizes == {
        ("a", "b", "AP"): 19,
        ("a", "b", "RR"): 20,
        ("a", "c", "AP"): 20,
        ("a", "c", "RR"): 18,
        ("b", "c", "AP"): 19,
        ("b", "c", "RR"): 18,
    }
    for one in found.differences:
        row = ("AP", "RR").index(one.measure)
        left, right = (scores["abc".index(name), row] for name in (one.a, one.b))
        alone = paired_test(left, right, draws=300)
        assert (one.n, one.mean_diff, one.p) == (alone.n, alone.mean_diff, alone.p)
    assert found.means[2][1] == pytest.approx(np.nanmean(scores[2, 1]))
    assert found.notes == [
        "AP is not defined on up to 1 of 20 queries: they are left out of its comparisons",
        "RR is not defined on up to 2 of 20 queries: they are left out of its comparisons",
    ]


def test_a_measure_without_any_score_stays_out_of_the_family(evaluation: Make) -> None:
    scores = RNG(3).random((3, 2, 20))
    scores[2, 1] = np.nan
    runs = [evaluation(name, one, ("AP", "RR")) for name, one in zip("abc", scores, strict=True)]
    found = compare(runs, draws=300)
    *told, unknown = found.differences
    assert (unknown.a, unknown.measure, unknown.n) == ("c", "RR", 0)
    assert np.isnan([unknown.p, unknown.p_adjusted, unknown.mean_diff]).all()
    assert (unknown.significant, unknown.noninferior) == (False, None)
    np.testing.assert_array_equal(
        [one.p_adjusted for one in told], correct(np.array([one.p for one in told]), "holm")
    )
    assert unknown.as_dict("t")["p"] is None
    for test in ("t", "wilcoxon", "sign", "bootstrap", "tukey"):
        assert np.isnan(compare(runs, test=test, draws=300).differences[-1].p)


def test_few_draws_for_a_large_family_are_said_to_show_nothing(evaluation: Make) -> None:
    rng = RNG(2)
    base = evaluation("base", rng.random((1, 50)))
    others = [evaluation(f"run{place}", rng.random((1, 50)) + 3) for place in range(10)]
    few = compare(base, others, draws=100)
    (note,) = few.notes
    assert "100 draws" in note
    assert "10 comparisons" in note
    assert not any(one.significant for one in few.differences)
    for enough in ({"draws": 1000}, {"draws": 100, "correction": "none"}, {"test": "t"}):
        found = compare(base, others, **enough)  # type: ignore[arg-type]
        assert found.notes == []
        assert all(one.significant for one in found.differences)


def test_few_differing_queries_are_said_to_show_nothing(evaluation: Make) -> None:
    scores = RNG(2).random((1, 50))
    moved = scores.copy()
    moved[0, :5] += 0.5
    found = compare(evaluation("base", scores), evaluation("moved", moved))
    (note,) = found.notes
    assert "'moved'" in note or "moved and base on 5" in note
    assert "no p below 0.0625" in note
    assert found.differences[0].p == found.differences[0].smallest_p == 0.0625
    moved[0, :6] += 0.5
    assert compare(evaluation("base", scores), evaluation("moved", moved)).notes == []


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"test": "bootstrap"}, "too often"),
        ({"test": "wilcoxon"}, "skewed"),
        ({"test": "sign"}, "more or fewer"),
        ({"margins": {"nDCG@10": 0.1}, "margin_test": "t"}, "too often"),
    ],
)
def test_tests_whose_error_rates_do_not_hold_say_so(
    evaluation: Make, settings: dict[str, object], word: str
) -> None:
    one, other = (evaluation(name, RNG(seed).random((1, 50))) for seed, name in enumerate("ab"))
    (note,) = compare(one, other, **settings).notes  # type: ignore[arg-type]
    assert word in note
    assert compare(one, other, margins={"nDCG@10": 0.1}).notes == []


def test_options_are_one_object_or_single_settings(four: list[Evaluation]) -> None:
    options = CompareOptions(test="t", correction="by", draws=200)
    assert compare(four, options=options) == compare(four, test="t", correction="by", draws=200)
    assert options.as_dict()["correction"] == "by"


def test_a_level_above_the_power_leaves_no_difference_to_detect(four: list[Evaluation]) -> None:
    found = compare(four, alpha=0.9, test="t")
    assert all(np.isnan(one.detectable) for one in found.differences)
    assert found.differences[0].as_dict("t")["detectable"] is None


def test_draws_grow_with_the_family_unless_they_are_given(four: list[Evaluation]) -> None:
    assert compare(four[:2]).draws == 10_000
    rng = RNG(4)
    runs = [replace(four[0], run_name=str(n), values=rng.random((2, 30))) for n in range(12)]
    runs[0] = replace(runs[0], values=runs[0].values + 1)
    found = compare(runs, pairs="all")
    assert found.draws == 10 * 132 / 0.05 == 26_400
    assert found.notes == []
    assert sum(one.significant or False for one in found.differences) == 22
    assert compare(runs, pairs="all", family="measure").draws == 13_200
    assert compare(runs, pairs="all", correction="none").draws == 10_000
    assert compare(runs, pairs="all", draws=300).draws == 300


@pytest.mark.parametrize(("correction", "hopeless"), [("holm", False), ("bonferroni", True)])
def test_few_differing_queries_may_be_enough_where_others_are_significant(
    evaluation: Make, correction: str, hopeless: bool
) -> None:
    rng = RNG(2)
    base = evaluation("base", rng.random((1, 50)))
    strong = [evaluation(f"s{n}", base.values + 0.5 + rng.random((1, 50))) for n in range(5)]
    moved = base.values.copy()
    moved[0, :7] += 0.5
    found = compare(base, *strong, evaluation("few", moved), correction=correction)
    few = found.differences[-1]
    assert few.p == 2 / 2**7
    assert few.significant is not hopeless
    assert bool(found.notes) is hopeless


def test_the_order_of_queries_changes_nothing_that_is_drawn(four: list[Evaluation]) -> None:
    turned = [
        replace(one, query_ids=one.query_ids[::-1], values=one.values[:, ::-1]) for one in four
    ]
    settings = {"pairs": "all", "interval": "bca", "draws": 500}
    assert compare(four, **settings) == compare(turned, **settings)  # type: ignore[arg-type]
