"""Active, mixed and passive pairs: hand-made answers, brute force, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, kendalltau

from retrieval_eval.comparison import CompareOptions
from retrieval_eval.comparison.robustness import discriminativeness, pool_depth
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation, EvaluationOptions, Evaluator
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

SIX = (
    "active_agreement",
    "active_disagreement",
    "mixed_agreement",
    "mixed_disagreement",
    "passive_agreement",
    "passive_disagreement",
)
BY_T = CompareOptions(test="t", correction="none")

# Differences between two runs on 12 queries.
BETTER = np.tile([0.4, 0.6], 6)
WORSE = -BETTER
RATHER_BETTER = np.tile([0.5, -0.4], 6)  # not significant
RATHER_WORSE = -RATHER_BETTER
EVEN = np.tile([0.5, -0.5], 6)
ROUNDED = np.tile([0.1, 0.2, -0.3], 4)  # its sum in float64 is not 0
EQUAL = np.zeros(12)


def side(values: ArrayLike, names: Sequence[str] = "abcdefgh") -> list[Evaluation]:
    """Evaluations of some runs by one measure."""
    rows = np.asarray(values, dtype=np.float64)
    ids = tuple(f"q{column}" for column in range(rows.shape[1]))
    return [
        Evaluation(name, ("AP",), ids, row[None], missing=0)
        for name, row in zip(names, rows, strict=False)
    ]


def two_runs(difference: NDArray[np.float64]) -> list[Evaluation]:
    return side([np.maximum(difference, 0), np.maximum(-difference, 0)])


@pytest.mark.parametrize(
    ("full", "reduced", "category", "precision", "recall"),
    [
        (BETTER, BETTER, "active_agreement", 1.0, 1.0),
        (BETTER, WORSE, "active_disagreement", 0.0, 0.0),
        (BETTER, RATHER_BETTER, "mixed_agreement", math.nan, 0.0),
        (RATHER_BETTER, BETTER, "mixed_agreement", 0.0, math.nan),
        (RATHER_WORSE, BETTER, "mixed_disagreement", 0.0, math.nan),
        (BETTER, EVEN, "mixed_disagreement", math.nan, 0.0),
        (RATHER_BETTER, RATHER_BETTER, "passive_agreement", math.nan, math.nan),
        (RATHER_BETTER, RATHER_WORSE, "passive_disagreement", math.nan, math.nan),
        (EVEN, EQUAL, "passive_agreement", math.nan, math.nan),
        (EQUAL, RATHER_BETTER, "passive_disagreement", math.nan, math.nan),
        (ROUNDED, EQUAL, "passive_agreement", math.nan, math.nan),
    ],
)
def test_each_category(
    full: NDArray[np.float64],
    reduced: NDArray[np.float64],
    category: str,
    precision: float,
    recall: float,
) -> None:
    found = discriminativeness(two_runs(full), two_runs(reduced), "AP", BY_T)
    assert [getattr(found, name) for name in SIX] == [int(name == category) for name in SIX]
    assert found.precision == pytest.approx(precision, nan_ok=True)
    assert found.recall == pytest.approx(recall, nan_ok=True)


def test_rounding_is_no_order() -> None:
    assert ROUNDED.mean() != 0  # which the last case above is about
    reduced = two_runs(ROUNDED[:3])
    a, b = (one.values.mean() for one in reduced)
    assert a != b
    found = discriminativeness(two_runs(BETTER), reduced, "AP", BY_T)
    assert found.mixed_disagreement == 1
    assert math.isnan(found.kendall_tau)  # all tied on one side


def test_precision_and_recall_of_several_pairs() -> None:
    scale = np.tile([0.9, 1.1], 6)
    full = side(np.array([0.0, 0.2, 0.4])[:, None] * scale)  # all 3 pairs differ
    # Of the pairs a-b, a-c, b-c one turns round, one becomes even, and one stays.
    reduced = side(np.array([0.2, 0.0, 0.2])[:, None] * scale)
    found = discriminativeness(full, reduced, "AP", BY_T)
    assert (found.active_agreement, found.active_disagreement, found.mixed_disagreement) == (
        1,
        1,
        1,
    )
    assert (found.precision, found.recall) == (1 / 2, 1 / 3)
    assert (found.significant_full, found.significant_reduced) == (3, 2)


def test_the_correction_is_over_all_pairs() -> None:
    # Six wins in six queries: p is 1/32 for the one pair that differs, of three pairs.
    values = np.array([[0.5] * 6, [0.0] * 6, [0.0] * 6])
    values[1] = values[0] - np.array([0.1, 0.2, 0.3, 0.15, 0.25, 0.35])
    values[2] = values[0]
    alone = discriminativeness(side(values[:2]), side(values[:2]), "AP")
    among = discriminativeness(side(values), side(values), "AP")
    assert alone.active_agreement == 1
    assert (among.active_agreement, among.passive_agreement) == (0, 3)


quarters = st.integers(0, 4).map(lambda k: k / 4)


@given(
    arrays(np.float64, (4, 8), elements=quarters),
    arrays(np.float64, (4, 8), elements=quarters),
    st.integers(1, 8),
    st.permutations(range(4)),
)
@settings(max_examples=60, deadline=None)
def test_agrees_with_brute_force(
    full: NDArray[np.float64], reduced: NDArray[np.float64], n: int, order: list[int]
) -> None:
    reduced = reduced[:, :n]
    options = CompareOptions(test="sign", correction="bonferroni", alpha=0.7)
    shuffled = [side(reduced)[place] for place in order]
    found = discriminativeness(side(full), shuffled, "AP", options)

    def facts(values: NDArray[np.float64], a: int, b: int) -> tuple[bool, float]:
        wins = int((values[a] > values[b]).sum())
        losses = int((values[a] < values[b]).sum())
        p = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        return bool(min(1.0, 6 * p) <= 0.7), float(np.sign(values[a].sum() - values[b].sum()))

    expected = dict.fromkeys(SIX, 0)
    for a, b in combinations(range(4), 2):
        (before, sign), (after, other) = facts(full, a, b), facts(reduced, a, b)
        kind = {2: "active", 1: "mixed", 0: "passive"}[before + after]
        expected[f"{kind}_{'agreement' if sign == other else 'disagreement'}"] += 1
    assert {name: getattr(found, name) for name in SIX} == expected
    assert sum(expected.values()) == 6
    assert (found.n_full, found.n_reduced) == (8, n)
    sums = full.sum(axis=1), reduced.sum(axis=1)
    tau = math.nan
    if all(np.ptp(one) > 0 for one in sums):
        tau = kendalltau(*sums).statistic
    assert found.kendall_tau == pytest.approx(tau, nan_ok=True)


@given(arrays(np.float64, (5, 9), elements=st.integers(0, 999).map(lambda k: k / 999)))
@settings(max_examples=30, deadline=None)
def test_the_same_judgments_agree_everywhere(values: NDArray[np.float64]) -> None:
    found = discriminativeness(side(values), side(values), "AP", BY_T)
    assert found.active_agreement + found.passive_agreement == 10
    assert found.significant_full == found.significant_reduced == found.active_agreement


def test_queries_are_matched_by_id_and_those_with_nan_left_out() -> None:
    values = np.array([BETTER + 1, np.ones(12)])
    turned = [
        replace(one, query_ids=one.query_ids[::-1], values=one.values[:, ::-1].copy())
        for one in side(values)
    ]
    assert discriminativeness(side(values), turned, "AP", BY_T).active_agreement == 1
    values[0, 0] = np.nan
    found = discriminativeness(side(values), turned, "AP", BY_T)
    assert (found.n_full, found.n_reduced, found.active_agreement) == (11, 12, 1)


def test_json_has_no_nan_and_inputs_stay() -> None:
    full, reduced = two_runs(EQUAL), two_runs(EQUAL)
    before = [one.values.copy() for one in full]
    shown = discriminativeness(full, reduced, "AP", CompareOptions(margins={"AP": 0.1})).as_dict()
    assert json.loads(json.dumps(shown, allow_nan=False))["precision"] is None
    assert shown["kendall_tau"] is None
    assert shown["options"]["margins"] == {}
    assert all(np.array_equal(a, b.values) for a, b in zip(before, full, strict=True))


def test_one_run_has_no_pairs() -> None:
    found = discriminativeness(side(BETTER[None]), side(BETTER[None]), "AP")
    assert sum(getattr(found, name) for name in SIX) == 0
    assert math.isnan(found.kendall_tau)


@pytest.mark.parametrize(
    ("full", "reduced", "measure", "message"),
    [
        (side(np.eye(2)), side(np.eye(2)), "APP", "unknown measure 'APP'. Did you mean 'AP'"),
        (side(np.eye(2)), side(np.eye(2)), "AP@5", "unknown measure 'AP@5'. Did you mean 'AP'"),
        (
            side(np.eye(2), ["bm25", "lsa"]),
            side(np.eye(2), ["bm26", "lsa"]),
            "AP",
            "the reduced judgments: unknown run 'bm26'. Did you mean 'bm25'",
        ),
        (side(np.eye(2)), side(np.eye(2)[:1]), "AP", "the reduced judgments lacks run 'b'"),
        (side(np.eye(2)), side(np.eye(2), "aa"), "AP", "run 'a' is listed twice"),
        ([], [], "AP", "the full judgments: there is no run"),
        (side(np.eye(2)), side(np.eye(3)[:2]), "AP", "have query 'q2'"),
        (side(np.eye(2)), side([[math.nan, 1], [1, math.nan]]), "AP", "every run has a score"),
        (side(np.eye(2)), side(np.eye(2)), "GMAP", "no mean over queries"),
        (
            side(np.eye(2)),
            [replace(one, options=EvaluationOptions(depth=5)) for one in side(np.eye(2))],
            "AP",
            "different options",
        ),
    ],
)
def test_what_is_refused(
    full: list[Evaluation], reduced: list[Evaluation], measure: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        discriminativeness(full, reduced, measure)
    assert message in str(caught.value)


def test_on_real_runs(collections: Path) -> None:
    folder = collections / "runs" / "dl-hard-passage"
    qrels = Qrels.from_file(folder / "qrels.txt")
    runs = [Run.from_file(path) for path in sorted(folder.glob("*.run.gz"))]
    options = CompareOptions(draws=1000)

    def scores(some: Qrels) -> list[Evaluation]:
        evaluator = Evaluator(some, ["AP"])
        return [evaluator.evaluate(run) for run in runs]

    full, pooled = scores(qrels), scores(pool_depth(qrels, runs, 5))
    same = discriminativeness(full, full, "AP", options)
    assert same.mixed_agreement + same.mixed_disagreement == 0
    assert same.kendall_tau == 1
    found = discriminativeness(full, pooled, "AP", options)
    assert sum(getattr(found, name) for name in SIX) == 15
    assert found.n_reduced < found.n_full == 50
    assert found.kendall_tau < 1
