"""Whether a difference differs between slices: Welch's test, and what cannot be told."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from retrieval_eval.comparison import CompareOptions, correct
from retrieval_eval.comparison.robustness import Slices, compare_slices, slice_contrasts
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

SIZES = {"far": 30, "near": 50, "middle": 20}
LABELS = [label for label, size in SIZES.items() for _ in range(size)]
IDS = tuple(f"q{row}" for row in range(len(LABELS)))


def sliced(values: NDArray[np.float64], **options: str) -> Slices:
    """Compare runs, whose scores are given, with the first on each slice."""
    runs = [
        Evaluation(f"run{row}", ("AP", "RR"), IDS, scores, missing=0)
        for row, scores in enumerate(values)
    ]
    return compare_slices(
        runs,
        dict(zip(IDS, LABELS, strict=True)),
        options=CompareOptions(**{"test": "t", **options}),
    )


@pytest.fixture
def values() -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    values = rng.random((3, 2, len(LABELS)))
    values[1, 0, np.array(LABELS) == "near"] += 0.5
    return values


def test_contrasts_are_those_of_welch(values: NDArray[np.float64]) -> None:
    found = slice_contrasts(sliced(values), "far")
    assert [(one.slice, one.a, one.measure) for one in found] == [
        (label, run, measure)
        for label in ("near", "middle")
        for run in ("run1", "run2")
        for measure in ("AP", "RR")
    ]
    for one in found:
        row, measure = int(one.a[-1]), ("AP", "RR").index(one.measure)
        differences = values[row, measure] - values[0, measure]
        mine, other = (differences[np.array(LABELS) == name] for name in (one.slice, one.other))
        expected = ttest_ind(mine, other, equal_var=False)
        assert one.contrast == pytest.approx(mine.mean() - other.mean())
        assert one.difference.mean_diff == pytest.approx(mine.mean())
        assert one.other_difference.mean_diff == pytest.approx(other.mean())
        assert one.p == pytest.approx(expected.pvalue)
        assert one.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found[0].significant
    assert sum(one.significant for one in found) == 1


@pytest.mark.parametrize(
    ("options", "families", "method"),
    [
        ({}, 1, "holm"),
        ({"correction": "bonferroni"}, 1, "bonferroni"),
        ({"correction": "none"}, 1, "none"),
        ({"family": "measure"}, 2, "holm"),
        ({"test": "tukey"}, 1, "holm"),
    ],
)
def test_all_contrasts_of_a_family_are_corrected_together(
    options: dict[str, str], families: int, method: str, values: NDArray[np.float64]
) -> None:
    found = slice_contrasts(sliced(values, **options), "far")
    p = np.array([one.p for one in found])
    adjusted = np.array([one.p_adjusted for one in found])
    for place in range(families):
        expected = correct(p[place::families], method)
        np.testing.assert_allclose(adjusted[place::families], expected)


def test_equal_runs_do_not_differ_anywhere(values: NDArray[np.float64]) -> None:
    for one in slice_contrasts(sliced(values[[0, 0]]), "near"):
        assert (one.contrast, one.ci95, one.p, one.significant) == (0, (0, 0), 1, False)


def test_what_cannot_be_told_is_nan_and_what_cannot_be_asked_is_refused() -> None:
    ids = ("q1", "q2", "q3")
    runs = [
        Evaluation(name, ("AP",), ids, np.array([row]), missing=0)
        for name, row in (("a", [0.1, 0.5, 0.2]), ("b", [0.3, 0.2, 0.2]))
    ]
    labels = {"q1": "far", "q2": "near", "q3": "near"}
    (one,) = slice_contrasts(compare_slices(runs, labels), "far")
    assert np.isnan([one.p, one.p_adjusted, *one.ci95]).all()
    assert not one.significant
    with pytest.raises(InputError, match="Did you mean 'near'"):
        slice_contrasts(compare_slices(runs, labels), "neer")
    with pytest.raises(InputError, match="no slice beside 'far'"):
        slice_contrasts(compare_slices(runs, dict.fromkeys(ids, "far")), "far")
