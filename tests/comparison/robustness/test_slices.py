"""Differences by slices: they part the queries, and are corrected as one family."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval_eval.comparison import CompareOptions, Comparison, compare, correct
from retrieval_eval.comparison.robustness import NO_LABEL, Slices, compare_slices
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

MEASURES = ("AP", "RR")
IDS = tuple(f"q{place}" for place in range(30))
LABELS = {query: "long" if place % 3 else "short" for place, query in enumerate(IDS)}


def scored(seed: int = 0, runs: str = "abc", ids: tuple[str, ...] = IDS) -> list[Evaluation]:
    rng = np.random.default_rng(seed)
    values = rng.random((len(runs), len(MEASURES), len(ids)))
    values[0] += 0.4  # some of its differences are significant
    return [
        Evaluation(name, MEASURES, ids, row, missing=0)
        for name, row in zip(runs, values, strict=True)
    ]


def subset(one: Evaluation, label: str) -> Evaluation:
    places = [place for place, query in enumerate(one.query_ids) if LABELS[query] == label]
    ids = tuple(one.query_ids[place] for place in places)
    return Evaluation(one.run_name, one.measures, ids, one.values[:, places], missing=0)


@pytest.mark.parametrize("correction", ["none", "bonferroni", "holm", "bh", "by"])
@pytest.mark.parametrize("family", ["all", "measure"])
def test_all_slices_are_one_family(correction: str, family: str) -> None:
    options = CompareOptions(test="t", correction=correction, family=family)  # type: ignore[arg-type]
    found = compare_slices(scored(), LABELS, pairs="all", options=options)
    assert [(one.label, one.n) for one in found.slices] == [("short", 10), ("long", 20)]
    alone = [
        compare([subset(one, label) for one in scored()], pairs="all", test="t", correction="none")
        for label in ("short", "long")
    ]
    p = np.array([[one.p for one in each.differences] for each in alone]).reshape(-1, 2)
    if family == "all":
        expected = correct(p.ravel(), correction)
    else:
        expected = np.stack([correct(column, correction) for column in p.T], axis=1).ravel()
    mine = [one for each in found.slices for one in each.comparison.differences]
    assert [one.p_adjusted for one in mine] == expected.tolist()
    assert [one.significant for one in mine] == (expected <= 0.05).tolist()
    for one, other in zip(mine, (d for each in alone for d in each.differences), strict=True):
        assert (one.a, one.b, one.measure, one.n) == (other.a, other.b, other.measure, other.n)
        assert (one.mean_diff, one.p, one.ci95) == (other.mean_diff, other.p, other.ci95)


def test_the_case_above_has_both_kinds_of_answers() -> None:
    options = CompareOptions(test="t")
    found = compare_slices(scored(), LABELS, pairs="all", options=options)
    mine = [one for each in found.slices for one in each.comparison.differences]
    assert {one.significant for one in mine} == {True, False}
    # Corrected on its own, some slice would show more than as part of the family.
    alone = [
        one.significant
        for label in ("short", "long")
        for one in compare(
            [subset(each, label) for each in scored()], pairs="all", options=options
        ).differences
    ]
    assert sum(alone) > sum(one.significant for one in mine)


def test_one_slice_of_all_queries_is_the_comparison() -> None:
    options = CompareOptions(draws=500)
    whole = compare(scored(), options=options)
    [only] = compare_slices(scored(), dict.fromkeys(IDS, "all"), options=options).slices
    assert only.comparison.differences == whole.differences
    assert only.comparison.means == whole.means
    assert isinstance(only.comparison, Comparison)


@given(st.dictionaries(st.sampled_from(IDS), st.sampled_from(["a", "b", "c", NO_LABEL])))
@settings(max_examples=25, deadline=None)
def test_slices_part_the_queries(labels: dict[str, str]) -> None:
    evaluations = scored(runs="ab")
    if not labels:
        with pytest.raises(InputError, match="no query that was evaluated has a label"):
            compare_slices(evaluations, labels)
        return
    found = compare_slices(evaluations, labels, options=CompareOptions(test="sign")).slices
    assert sum(one.n for one in found) == len(IDS)
    first = list(dict.fromkeys([*labels.values(), NO_LABEL]))
    expected = {one: [labels.get(query, NO_LABEL) for query in IDS].count(one) for one in first}
    assert [(one.label, one.n) for one in found] == [
        (label, count) for label, count in expected.items() if count
    ]
    difference = evaluations[1].values[0] - evaluations[0].values[0]
    total = sum(one.n * one.comparison.differences[0].mean_diff for one in found)
    assert total == pytest.approx(difference.sum())


def test_queries_are_matched_by_id() -> None:
    one, other = scored(runs="ab")
    turned = Evaluation("b", MEASURES, IDS[::-1], other.values[:, ::-1], missing=0)
    options = CompareOptions(test="t")
    expected = compare_slices([one, other], LABELS, options=options)
    assert compare_slices([one, turned], LABELS, options=options).as_dict() == expected.as_dict()


def test_margins_are_corrected_over_all_slices() -> None:
    options = CompareOptions(test="t", margins={"AP": 0.7}, correction="bonferroni")
    found = compare_slices(scored(), LABELS, options=options)
    raw = CompareOptions(test="t", margins={"AP": 0.7}, correction="none")
    for each in found.slices:
        alone = compare([subset(one, each.label) for one in scored()], options=raw)
        for mine, other in zip(each.comparison.differences, alone.differences, strict=True):
            if mine.measure == "RR":
                assert mine.p_noninferior is None
                continue
            assert other.p_noninferior is not None
            assert other.p_equivalent is not None
            # 2 pairs x 2 slices
            assert mine.p_noninferior == min(1, 4 * other.p_noninferior)
            assert mine.p_equivalent == min(1, 4 * other.p_equivalent)
            assert mine.noninferior == (mine.p_noninferior <= 0.05)
            assert mine.equivalent == (mine.p_equivalent <= 0.05)


@pytest.mark.parametrize(
    ("family", "correction", "times"),
    [("all", "holm", 4), ("measure", "holm", 2), ("all", "none", 1), ("measure", "none", 1)],
)
def test_tukey_is_multiplied_by_slices(family: str, correction: str, times: int) -> None:
    options = CompareOptions(test="tukey", family=family, correction=correction, draws=200)  # type: ignore[arg-type]
    found = compare_slices(scored(), LABELS, pairs="all", options=options)
    for each in found.slices:
        for one in each.comparison.differences:
            assert one.p_adjusted == min(1, times * one.p)


def test_scores_that_are_nan_count_in_no_family() -> None:
    runs = scored(runs="ab")
    for place, query in enumerate(IDS):
        if LABELS[query] == "short":
            runs[0].values[0, place] = np.nan
    found = compare_slices(runs, LABELS, options=CompareOptions(test="t", correction="bonferroni"))
    differences = [one for each in found.slices for one in each.comparison.differences]
    assert math.isnan(differences[0].p_adjusted)
    assert not differences[0].significant
    assert [one.p_adjusted for one in differences[1:]] == [
        min(1, 3 * one.p) for one in differences[1:]
    ]


@pytest.mark.parametrize(
    ("options", "pairs", "family"),
    [
        (CompareOptions(), "reference", "8 comparisons: 2 slices x 2 pairs of runs x 2 measures"),
        (CompareOptions(), [(0, 1)], "4 comparisons: 2 slices x 1 pair of runs x 2 measures"),
        (
            CompareOptions(family="measure"),
            "all",
            "2 slices x 3 pairs of runs, for each measure on its own",
        ),
        (
            CompareOptions(test="tukey", draws=100),
            "all",
            (
                "12 comparisons: 2 slices x all pairs of 3 runs, the pairs by the test itself x "
                "2 measures"
            ),
        ),
    ],
)
def test_the_family_in_words(options: CompareOptions, pairs: object, family: str) -> None:
    found = compare_slices(scored(), LABELS, pairs=pairs, options=options)  # type: ignore[arg-type]
    assert found.family == family
    assert all(one.comparison.family == family for one in found.slices)
    assert all(one.comparison.options == options for one in found.slices)


@pytest.mark.parametrize(
    ("settings_", "least"),
    [
        ({}, "0.119"),  # 12 comparisons / 101
        ({"family": "measure"}, "0.0594"),  # 6 / 101
        ({"test": "tukey"}, None),  # 4 / 101 is below 0.05
        ({"test": "tukey", "alpha": 0.03}, "0.0396"),
        ({"correction": "none"}, None),
    ],
)
def test_notes_speak_of_the_whole_family(settings_: dict[str, object], least: str | None) -> None:
    options = CompareOptions(draws=100, **settings_)  # type: ignore[arg-type]
    notes = compare_slices(scored(), LABELS, pairs="all", options=options).notes
    assert len(notes) == (least is not None)
    for note in notes:  # once, though it holds for each slice
        assert f"can come below {least}: raise draws" in note
        assert note.startswith("with 100 draws and ")


def test_notes_of_one_slice_name_it() -> None:
    labels = dict.fromkeys(IDS, "many") | {IDS[0]: "one"}
    found = compare_slices(scored(runs="ab"), labels, options=CompareOptions(test="sign"))
    notes = [note for note in found.notes if "so few queries" in note]
    assert len(notes) == 1
    assert notes[0].startswith("one: 2 of 2 comparisons differ on so few queries")


def test_json_and_unchanged_inputs() -> None:
    runs, labels = scored(), dict(LABELS)
    before = [one.values.copy() for one in runs]
    found: Slices = compare_slices(runs, labels, options=CompareOptions(test="t"))
    shown = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert [(one["label"], one["n"], len(one["differences"])) for one in shown["slices"]] == [
        ("short", 10, 4),
        ("long", 20, 4),
    ]
    assert shown["options"]["correction"] == "holm"
    assert shown["family"] == found.family
    assert labels == LABELS
    assert all(np.array_equal(a, b.values) for a, b in zip(before, runs, strict=True))
    assert found.as_dict() == compare_slices(runs, labels, options=found.options).as_dict()


def fewer(values: NDArray[np.float64]) -> Evaluation:
    return Evaluation("b", MEASURES, IDS[1:], values[:, 1:], missing=0)


def test_what_is_refused() -> None:
    one, other = scored(runs="ab")
    with pytest.raises(InputError, match="there is no evaluation"):
        compare_slices([], LABELS)
    with pytest.raises(InputError, match=r"evaluated are 'q0', 'q1', 'q2', \.\.\.; labelled are"):
        compare_slices([one, other], {"Q0": "long"})
    with pytest.raises(InputError, match="labelled are none"):
        compare_slices([one, other], {})
    with pytest.raises(InputError, match="Did you mean 'b'"):
        compare_slices([one, other], LABELS, references=["B"])
    with pytest.raises(InputError, match="scored on different queries"):
        compare_slices([one, fewer(other.values)], LABELS)
