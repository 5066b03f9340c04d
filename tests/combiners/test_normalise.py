"""Normalised scores: formulas by a plain loop, and lists in which the formulas have no value."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_eval import InputError, Run
from retrieval_eval.combiners import NORMALISATIONS, normalise

FORMULAS: Mapping[str, Callable[[list[float], int], float]] = {
    "none": lambda s, i: s[i],
    "min-max": lambda s, i: (s[i] - min(s)) / (max(s) - min(s)),
    "max": lambda s, i: s[i] / max(map(abs, s)),
    "sum": lambda s, i: (s[i] - min(s)) / sum(x - min(s) for x in s),
    "zmuv": lambda s, i: (s[i] - statistics.fmean(s)) / statistics.pstdev(s),
    "rank": lambda s, i: 1 - i / len(s),
    "borda": lambda s, i: len(s) - i,
}


def test_every_normalisation_has_a_formula_here() -> None:
    assert set(FORMULAS) == set(NORMALISATIONS)


@pytest.mark.parametrize("how", NORMALISATIONS)
def test_scores_follow_the_formula_query_by_query(how: str, random_run: Callable[..., Run]) -> None:
    run = random_run(3)
    found = normalise(run, how).to_mapping()
    compared = 0
    for query, documents in run.to_mapping().items():
        scores = list(documents.values())
        assert found[query].keys() == documents.keys()
        if len(set(scores)) < 2:
            continue
        for place, document in enumerate(documents):
            expected = FORMULAS[how](scores, place)
            assert found[query][document] == pytest.approx(expected, abs=1e-12)
            compared += 1
    assert compared > 50


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("none", [2.5, 2.5, 2.5, 2.5]),
        ("min-max", [1, 1, 1, 1]),
        ("max", [1, 1, 1, 1]),
        ("sum", [1 / 3, 1 / 3, 1 / 3, 1]),
        ("zmuv", [0, 0, 0, 0]),
        ("rank", [1, 2 / 3, 1 / 3, 1]),
        ("borda", [3, 2, 1, 1]),
    ],
)
def test_equal_scores_and_single_documents_have_the_documented_value(
    how: str, expected: list[float]
) -> None:
    run = Run.from_mapping({"q1": {"a": 2.5, "b": 2.5, "c": 2.5}, "q2": {"a": 2.5}})
    found = normalise(run, how)
    assert found.score.tolist() == pytest.approx(expected)
    assert [found.document_ids[row] for row in found.document] == ["c", "b", "a", "a"]


def test_zeros_and_negative_scores_keep_their_order_under_max() -> None:
    run = Run.from_mapping({"q1": {"a": -4.0, "b": -1.0}, "q2": {"a": 0.0, "b": 0.0}})
    assert normalise(run, "max").to_mapping() == {
        "q1": {"b": -0.25, "a": -1.0},
        "q2": {"b": 0.0, "a": 0.0},
    }


@pytest.mark.parametrize("how", NORMALISATIONS)
def test_an_empty_run_stays_empty(how: str) -> None:
    empty = Run.from_mapping({"q1": {"a": 1.0}})._rows(np.empty(0, dtype=np.int64))
    assert len(normalise(empty, how)) == 0


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=8), st.sampled_from(NORMALISATIONS))
def test_any_finite_scores_stay_finite_and_in_order(scores: list[float], how: str) -> None:
    run = Run.from_mapping({"q1": {f"d{row}": score for row, score in enumerate(scores)}})
    before = run.score.copy()
    found = normalise(run, how)
    assert np.isfinite(found.score).all()
    assert (np.diff(found.score) <= 0).all()
    new = found.to_mapping()["q1"]
    old = run.to_mapping()["q1"]
    for first, second in zip(old, list(old)[1:], strict=False):
        assert new[first] >= new[second]
    np.testing.assert_array_equal(run.score, before)
    if how == "min-max":
        assert found.score[0] == 1
        assert found.score[-1] in {0, 1}


@pytest.mark.parametrize("size", [1.7e308, 5e-324])
@pytest.mark.parametrize("how", ["min-max", "max", "sum", "zmuv"])
def test_the_largest_and_smallest_numbers_are_like_others(how: str, size: float) -> None:
    huge = Run.from_mapping({"q1": {"a": size, "b": -size, "c": 0.0}})
    plain = Run.from_mapping({"q1": {"a": 1.0, "b": -1.0, "c": 0.0}})
    assert normalise(huge, how).score.tolist() == normalise(plain, how).score.tolist()


def test_scores_that_rounding_makes_equal_follow_the_tie_rule() -> None:
    high, step = 1e300, 5e-324
    run = Run.from_mapping({"q1": {"top": high, "a": 2 * step, "b": step, "low": 0.0}})
    found = normalise(run, "min-max").to_mapping()["q1"]
    assert found["a"] == found["b"] == found["low"] == 0
    assert list(found) == ["top", "low", "b", "a"]


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown normalisation 'minmax'. Did you mean 'min-max'"):
        normalise(Run.from_mapping({"q": {"a": 1.0}}), "minmax")  # type: ignore[arg-type]
