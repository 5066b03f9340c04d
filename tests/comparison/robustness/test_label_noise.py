"""Wrong labels: which ones, how nested, and what they do to the order of runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from retrieval_eval.comparison.robustness import flip_labels, label_noise
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import EvaluationOptions, evaluate
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

MANY = Qrels.from_mapping(
    {f"q{q}": {f"d{d}": (q * 7 + d) % 4 for d in range(40)} for q in range(50)}
)
BINARY = Qrels.from_mapping({f"q{q}": {f"d{d}": int(d < 3) for d in range(8)} for q in range(6)})

scores = st.dictionaries(st.sampled_from([f"d{d}" for d in range(10)]), st.sampled_from([1.0, 2.0]))
rankings = st.dictionaries(st.sampled_from([f"q{q}" for q in range(6)]), scores)


def named(*mappings: dict[str, dict[str, float]]) -> list[Run]:
    return [Run.from_mapping(one, name) for one, name in zip(mappings, "abcdef", strict=False)]


def test_two_grades_change_into_each_other() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 3, "b": 0, "c": 3}})
    [wrong] = flip_labels(qrels, [1.0], seed=5)
    assert wrong.mapping == {"q": {"a": 0, "b": 3, "c": 0}}
    assert qrels.mapping == {"q": {"a": 3, "b": 0, "c": 3}}


def test_relevant_documents_alone_become_zero() -> None:
    [wrong] = flip_labels(Qrels.from_mapping({"q": {"a": 1, "b": 1}}), [1.0], seed=0)
    assert wrong.mapping == {"q": {"a": 0, "b": 0}}
    two = Qrels.from_mapping({f"q{i}": {"a": 1, "b": 2} for i in range(50)})
    [wrong] = flip_labels(two, [1.0], seed=0)
    assert set(wrong.grade[two.grade == 1].tolist()) == {0, 2}
    assert set(wrong.grade[two.grade == 2].tolist()) == {0, 1}


def test_every_other_grade_is_equally_likely() -> None:
    [wrong] = flip_labels(MANY, [1.0], seed=0)
    for grade in range(4):
        counts = np.bincount(wrong.grade[MANY.grade == grade], minlength=4)
        assert counts[grade] == 0
        assert all(120 < count < 215 for count in np.delete(counts, grade))  # 167 expected
    [again] = flip_labels(MANY, [1.0], seed=0)
    assert again.grade.tolist() == wrong.grade.tolist()
    for other in (flip_labels(MANY, [1.0], seed=1), flip_labels(MANY, [1.0], seed=0, replicate=1)):
        assert other[0].grade.tolist() != wrong.grade.tolist()


def test_negative_grades_are_labels_too() -> None:
    [wrong] = flip_labels(Qrels.from_mapping({"q": {"a": -1, "b": 2}}), [1.0], seed=0)
    assert wrong.mapping == {"q": {"a": 2, "b": -1}}


def test_shares_are_nested() -> None:
    shares = (0.0, 0.05, 0.1, 0.5, 1.0)
    wrong = [one.grade != MANY.grade for one in flip_labels(MANY, shares, seed=3)]
    assert [one.mean() for one in wrong] == pytest.approx(shares, abs=0.02)
    assert wrong[0].sum() == 0
    assert wrong[-1].all()
    grades = [one.grade for one in flip_labels(MANY, shares, seed=3)]
    for less in range(len(shares) - 1):
        assert (wrong[less] <= wrong[less + 1]).all()
        same_way = grades[less][wrong[less]] == grades[less + 1][wrong[less]]
        assert same_way.all()


@given(st.permutations(list(BINARY.to_frame().iter_rows())))
@settings(max_examples=20, deadline=None)
def test_the_order_of_lines_does_not_matter(lines: list[tuple[str, str, int]]) -> None:
    [wrong] = flip_labels(BINARY, [0.3], seed=1)
    [shuffled] = flip_labels(Qrels.from_records(lines), [0.3], seed=1)
    assert shuffled.fingerprint == wrong.fingerprint


def test_labels_never_change() -> None:
    wrong = [one.grade != BINARY.grade for one in flip_labels(BINARY, [0.1], seed=11)]
    assert np.flatnonzero(wrong[0]).tolist() == [6, 11, 12, 33]


@given(st.lists(rankings, min_size=3, max_size=3), st.integers(0, 10), st.booleans())
@settings(max_examples=25, deadline=None)
def test_agrees_with_brute_force(
    scored: list[dict[str, dict[str, float]]], seed: int, expected_ties: bool
) -> None:
    runs = named(*scored)
    shares = (0.3, 0.0, 0.1)  # in any order
    options = EvaluationOptions(ties="expected" if expected_ties else "trec")
    found = label_noise(
        BINARY, runs, "P@2", fractions=shares, replicates=3, seed=seed, options=options
    )

    def means(qrels: Qrels) -> list[float]:
        return [round(evaluate(qrels, run, ["P@2"], options).means["P@2"], 9) for run in runs]

    def order(values: list[float]) -> list[int]:
        return [(a > b) - (a < b) for a, b in combinations(values, 2)]

    truth = means(BINARY)
    for row, share in enumerate(shares):
        kept, won, taus = [], [], []
        for replicate in range(3):
            [wrong] = flip_labels(BINARY, [share], seed=seed, replicate=replicate)
            noisy = means(wrong)
            kept.append([a == b for a, b in zip(order(noisy), order(truth), strict=True)])
            best = [value == max(noisy) for value in noisy]
            won.append(best == [value == max(truth) for value in truth])
            if len(set(noisy)) > 1 and len(set(truth)) > 1:
                taus.append(kendalltau(truth, noisy).statistic)
        assert found.survival[row].tolist() == pytest.approx(np.mean(kept, axis=0).tolist())
        assert found.winner[row] == pytest.approx(np.mean(won))
        expected = np.mean(taus) if taus else math.nan
        assert found.kendall_tau[row] == pytest.approx(expected, nan_ok=True)
    assert found.survival[1].tolist() == [1, 1, 1]  # nothing is wrong
    assert found.winner[1] == 1
    assert found.pairs == (("a", "b"), ("a", "c"), ("b", "c"))


def test_a_tie_survives_as_a_tie() -> None:
    same = {"q0": {"d0": 2.0, "d5": 1.0}}
    other = {"q0": {"d0": 1.0, "d5": 2.0}}
    tied = label_noise(BINARY, named(same, same), "P@1", fractions=[0.5], replicates=5)
    assert (tied.survival[0, 0], tied.winner[0], tied.smallest_change) == (1, 1, None)
    assert math.isnan(tied.kendall_tau[0])
    # Both have a relevant document first: a wrong label makes one of them the only winner.
    parted = Qrels.from_mapping({"q0": {"d0": 1, "d5": 1, "d6": 0}})
    found = label_noise(parted, named(same, other), "P@1", fractions=[0, 0.5], replicates=40)
    assert found.survival[0].tolist() == [1]
    assert 0.2 < found.winner[1] == found.survival[1, 0] < 0.8


def test_rounding_is_no_order() -> None:
    qrels = Qrels.from_mapping({f"q{q}": {"d0": 1, "d1": 1, "d2": 1} for q in range(3)})
    runs = named(
        {"q0": {"d0": 1.0}, "q1": {"d0": 1.0, "d1": 1.0}},  # 0.1 + 0.2
        {"q2": {"d0": 1.0, "d1": 1.0, "d2": 1.0}},  # 0.3
    )
    a, b = (evaluate(qrels, run, ["P@10"]).means["P@10"] for run in runs)
    assert a != b == pytest.approx(a)
    assert math.isnan(label_noise(qrels, runs, "P@10", fractions=[0]).kendall_tau[0])  # tied


def test_the_smallest_change_is_the_first_of_half() -> None:
    one = label_noise(BINARY, named({}, {"q0": {"d0": 1.0}}), "P@1", replicates=1)
    changed = replace(one, winner=np.array([1.0, 0.55, 0.5, 0.6, 0.2]))
    assert changed.smallest_change == 0.05
    backwards = replace(
        changed, fractions=changed.fractions[::-1], winner=np.array([0.2, 0.6, 0.5, 0.55, 1.0])
    )
    assert backwards.smallest_change == 0.05
    assert replace(one, winner=np.full(5, 0.51)).smallest_change is None


def test_inputs_stay_and_a_seed_gives_the_same() -> None:
    runs = named({"q0": {"d0": 1.0, "d5": 1.0}}, {"q1": {"d6": 1.0}}, {"q2": {"d7": 1.0}})
    before = BINARY.fingerprint, [run.to_mapping() for run in runs]
    first, again, other = (
        label_noise(BINARY, runs, "AP", fractions=[0.2], replicates=8, seed=s) for s in (4, 4, 5)
    )
    assert first.as_dict() == again.as_dict() != other.as_dict()
    fresh = replace(BINARY)  # without what is cached
    assert (fresh.fingerprint, [run.to_mapping() for run in runs]) == before
    longer = label_noise(BINARY, runs, "AP", fractions=[0.1, 0.2], replicates=8, seed=4)
    assert longer.survival[1].tolist() == first.survival[0].tolist()


def test_json_has_no_nan_and_names_the_measure() -> None:
    shown = label_noise(BINARY, named({}, {}), "MAP", fractions=[0.1], replicates=1).as_dict()
    assert json.loads(json.dumps(shown, allow_nan=False)) == {
        "measure": "AP",
        "runs": ["a", "b"],
        "replicates": 1,
        "seed": 0,
        "smallest_change": None,
        "fractions": [
            {
                "fraction": 0.1,
                "winner": 1.0,
                "kendall_tau": None,
                "pairs": [{"a": "a", "b": "b", "survival": 1.0}],
            }
        ],
    }


def test_options_reach_the_scores() -> None:
    graded = Qrels.from_mapping({"q": {"a": 1, "b": 2}})
    runs = named({"q": {"a": 1.0}}, {"q": {"b": 1.0}})
    assert math.isnan(label_noise(graded, runs, "P@1", fractions=[0]).kendall_tau[0])  # tied
    strict = EvaluationOptions(relevance_level=2)
    found = label_noise(graded, runs, "P@1", fractions=[0], options=strict)
    assert (found.measure, found.kendall_tau[0]) == ("P(rel=2)@1", 1)


TWO = named({}, {"q0": {"d0": 1.0}})


@pytest.mark.parametrize(
    ("runs", "measure", "settings_", "message"),
    [
        (TWO[:1], "AP", {}, "at least two"),
        ([TWO[0], TWO[0]], "AP", {}, "2 runs are named 'a'"),
        (TWO, "nDGC@10", {}, "Did you mean 'nDCG'"),
        (TWO, "AP", {"fractions": []}, "at least one fraction"),
        (TWO, "AP", {"replicates": 0}, "one replicate"),
        (TWO, "AP", {"fractions": [1.5]}, "the fraction is 1.5"),
        (TWO, "AP", {"fractions": [math.nan]}, "the fraction is nan"),
        (TWO, "AP", {"seed": -1}, "seed is -1"),
    ],
)
def test_what_is_refused(
    runs: list[Run], measure: str, settings_: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        label_noise(BINARY, runs, measure, **settings_)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_qrels_without_relevant_documents_are_refused() -> None:
    with pytest.raises(InputError, match="no document is relevant"):
        label_noise(Qrels.from_mapping({"q": {"a": 0, "b": -1}}), TWO, "AP")


def test_on_real_runs(collections: Path) -> None:
    folder = collections / "runs" / "dl-hard-passage"
    qrels = Qrels.from_file(folder / "qrels.txt")
    runs = [Run.from_file(path) for path in sorted(folder.glob("*.run.gz"))]
    found = label_noise(qrels, runs, "nDCG@10", fractions=[0, 0.01, 0.2], replicates=10)
    assert found.survival.shape == (3, 15)
    assert found.winner[0] == found.kendall_tau[0] == found.survival[0].min() == 1
    assert found.kendall_tau[2] < found.kendall_tau[1] < 1
    # bm25+rm3 is 0.12 behind the rerankers: noise of 1 % does not reach that.
    far = found.pairs.index(("bm25+bertzs", "bm25+rm3"))
    assert found.survival[1, far] == 1
    assert found.survival[2].min() < 0.9
