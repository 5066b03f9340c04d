"""Measures that trec_eval has not, worked out by hand; and the grammar of all of them."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_eval import EvaluationOptions, Measure, evaluate
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import MEASURES, require_means

QRELS = {"q": {"a": 3, "b": 0, "c": 1, "d": 2, "e": -1}}
RUN = {"q": {"b": 9.0, "a": 8.0, "x": 7.0, "c": 6.0, "e": 5.0}}  # ranks: b a x c e


def value(measure: str, qrels: Any = None, run: Any = None) -> float:
    return float(evaluate(qrels or QRELS, run or RUN, [measure]).values[0, 0])


LOG = math.log2


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("DCG", 3 / LOG(3) + 1 / LOG(5)),
        ("DCG@2", 3 / LOG(3)),
        ("DCG(dcg='exp-log2')", 7 / LOG(3) + 1 / LOG(5)),
        ("DCG(gains={1:10})", 3 / LOG(3) + 10 / LOG(5)),
        ("DCG(gains={0:5})@1", 5.0),
        ("nDCG@3", (3 / LOG(3)) / (3 + 2 / LOG(3) + 1 / 2)),
        ("nDCG(dcg='exp-log2')@3", (7 / LOG(3)) / (7 + 3 / LOG(3) + 1 / 2)),
        ("nDCG(gains={3:1,2:1})", (1 / LOG(3) + 1 / LOG(5)) / (1 + 1 / LOG(3) + 1 / 2)),
        ("CappedR@2", 1 / 2),
        ("CappedR@4", 2 / 3),
        ("R@2", 1 / 3),
        ("CappedAP@2", (1 / 2) / 2),
        ("CappedAP@100", (1 / 2 + 2 / 4) / 3),
        ("RBP(p=0.5)", 0.5 * (0.5 + 0.125)),
        ("RBP(p=0.5,rel=2)", 0.5 * 0.5),
        ("RBP@2", 0.2 * 0.8),
        ("ERR", (7 / 16) / 2 + (9 / 16) * (1 / 16) / 4),
        ("ERR@3", (7 / 16) / 2),
        ("ERR(max_rel=3)", (7 / 8) / 2 + (1 / 8) * (1 / 8) / 4),
        ("Judged", 4 / 5),
        ("Judged@3", 2 / 3),
        ("Judged@100", 4 / 5),
        ("Sufficiency@100", 0.0),
        ("Sufficiency(rel=3)@2", 1.0),
        ("Sufficiency(rel=3)@1", 0.0),
        ("AP(judged_only=True)", (1 / 2 + 2 / 3) / 3),
        ("nDCG(judged_only=True)@2", (3 / LOG(3)) / (3 + 2 / LOG(3))),
        ("RR(rel=2)@1", 0.0),
        ("NumRet", 5.0),
        ("NumRet(rel=1)", 2.0),
        ("NumRel(rel=2)", 2.0),
    ],
)
def test_a_value_is_the_one_worked_out_by_hand(measure: str, expected: float) -> None:
    assert value(measure) == pytest.approx(expected, rel=1e-12)


def test_an_empty_ranking_has_no_judged_share_and_no_division_by_zero() -> None:
    ours = evaluate({"q": {"a": 1}, "r": {"a": 1}}, {"q": {"a": 1.0}, "r": {}}, ["Judged@10"])
    assert ours.values.tolist() == [[1.0, 0.0]]


def test_map_at_100_divides_by_at_most_100_relevant_documents() -> None:
    qrels = {"q": {f"d{number:03}": 1 for number in range(250)}}
    run = {"q": {f"d{number:03}": -float(number) for number in range(150)}}
    assert value("CappedAP@100", qrels, run) == pytest.approx(1.0)
    assert value("AP@100", qrels, run) == pytest.approx(100 / 250)


@settings(max_examples=100, deadline=None)
@given(
    grades=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1), min_size=1),
    scored=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), min_size=1),
    k=st.integers(1, 8),
)
def test_sufficiency_is_never_above_recall(
    grades: dict[str, int], scored: dict[str, int], k: int
) -> None:
    measures = [f"Sufficiency@{k}", f"R@{k}"]
    ours = evaluate({"q": grades}, {"q": {d: float(s) for d, s in scored.items()}}, measures)
    assert ours.values[0, 0] <= ours.values[1, 0]
    assert (ours.values[0, 0] == 1) == (ours.values[1, 0] == 1)


# -- over several queries ------------------------------------------------------------------------


def test_gap_is_the_average_precision_of_one_list_of_all_queries() -> None:
    qrels = {"q": {"a": 1, "b": 1}, "r": {"c": 1, "d": 0}}
    run = {"q": {"a": 9.0, "x": 5.0, "b": 1.0}, "r": {"d": 8.0, "c": 5.0}, "unjudged": {"a": 10.0}}
    # a+ 9, d 8, then x and c+ at 5: x before c by its id, then b+ at 1
    assert evaluate(qrels, run, ["GAP"]).means["GAP"] == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)


@settings(max_examples=100, deadline=None)
@given(
    run=st.dictionaries(
        st.sampled_from("qrs"),
        st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2), min_size=1),
        min_size=1,
    )
)
def test_gap_orders_ties_by_document_then_query_descending(run: dict[str, dict[str, int]]) -> None:
    qrels = {"q": {"a": 1, "b": 0}, "r": {"a": 1, "c": 2}, "s": {"d": 1}}
    pooled = sorted(
        (
            (score, document, query)
            for query, scored in run.items()
            for document, score in scored.items()
        ),
        reverse=True,
    )
    hits, total = 0, 0.0
    for position, (_, document, query) in enumerate(pooled, start=1):
        if qrels[query].get(document, 0) > 0:
            hits += 1
            total += hits / position
    floats = {q: {d: float(s) for d, s in scored.items()} for q, scored in run.items()}
    assert evaluate(qrels, floats, ["GAP"]).means["GAP"] == pytest.approx(total / 4)


def paired(n: int, seed: int) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    rng = np.random.default_rng(seed)
    qrels = {f"q{row}": {f"d{row}": 1, f"d{(row + 1) % n}": 0} for row in range(n)}
    run = {
        f"q{row}": {f"d{column}": float(rng.integers(0, 6)) for column in range(n)}
        for row in range(n)
    }
    return qrels, run


@pytest.mark.parametrize(("n", "distractors", "seed"), list(product([7, 12], [1, 3, 5], [0, 4])))
def test_sampled_rr_ranks_within_batches_of_shuffled_queries(
    n: int, distractors: int, seed: int
) -> None:
    qrels, run = paired(n, seed)
    ours = evaluate(qrels, run, [f"SampledRR(distractors={distractors},seed={seed})"])
    size = distractors + 1
    order = np.random.default_rng(seed).permutation(n)
    expected = np.full(n, np.nan)
    for start in range(0, n // size * size, size):
        batch = order[start : start + size]
        for row in batch:
            scores = [run[f"q{row}"][f"d{other}"] for other in batch]
            expected[row] = 1 / sum(score >= run[f"q{row}"][f"d{row}"] for score in scores)
    np.testing.assert_allclose(ours.values[0], expected)
    assert ours.means[ours.measures[0]] == pytest.approx(np.nanmean(expected))


def test_sampled_rr_of_a_run_that_was_cut_is_that_of_the_whole_run() -> None:
    qrels, run = paired(12, 1)
    whole = evaluate(qrels, run, ["SampledRR(distractors=3)"]).values[0]
    cut = {query: {d: s for d, s in scored.items() if s >= 3.0} for query, scored in run.items()}
    values = evaluate(qrels, cut, ["SampledRR(distractors=3)"]).values[0]
    kept = np.array([f"d{row}" in cut[f"q{row}"] for row in range(12)])
    assert 0 < kept.sum() < 12
    np.testing.assert_allclose(values[kept], whole[kept])
    assert (values[~kept] == 0).all()


def test_sampled_rr_says_what_it_needs() -> None:
    qrels, run = paired(12, 1)
    with pytest.raises(InputError, match=r"needs 1000 queries, and 12 are judged"):
        evaluate(qrels, run, ["SampledRR"])
    qrels["q3"]["d0"] = 1
    with pytest.raises(InputError, match=r"query 'q3' has 2 relevant documents"):
        evaluate(qrels, run, ["SampledRR(distractors=3)"])


def test_the_geometric_mean_raises_small_values_as_gm_map_does() -> None:
    qrels = {"q": {"a": 1}, "r": {"a": 1}, "s": {"a": 1}}
    run = {"q": {"a": 1.0}, "r": {"b": 2.0, "a": 1.0}, "s": {"b": 1.0}}
    ours = evaluate(qrels, run, ["GMAP", "AP"])
    assert ours.measures == ("AP(mean='geometric')", "AP")
    assert ours.means["AP(mean='geometric')"] == pytest.approx((1 * 0.5 * 0.00001) ** (1 / 3))
    assert ours.values[0].tolist() == ours.values[1].tolist() == [1.0, 0.5, 0.0]


def test_only_means_can_be_compared_query_by_query() -> None:
    require_means(["AP", "nDCG@10", "NumRet"])
    for name in ("GAP", "GMAP", "nDCG(mean='geometric')@10", "SampledRR"):
        with pytest.raises(InputError, match="no mean over queries"):
            require_means([name])


def test_a_grade_above_the_scale_of_err_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"hold the grade 5: write ERR\(max_rel=5\)"):
        evaluate({"q": {"a": 5}}, {"q": {"a": 1.0}}, ["ERR@10"])


# -- the grammar ---------------------------------------------------------------------------------

_VALUES = {
    "rel": st.integers(1, 9),
    "judged_only": st.booleans(),
    "mean": st.sampled_from(["arithmetic", "geometric"]),
    "dcg": st.sampled_from(["log2", "exp-log2"]),
    "gains": st.dictionaries(st.integers(-2, 5), st.integers(0, 9) | st.floats(0, 9), max_size=4),
    "beta": st.floats(0.01, 100) | st.integers(1, 5),
    "p": st.floats(0.01, 0.99),
    "max_rel": st.integers(1, 50),
    "relative": st.booleans(),
    "distractors": st.integers(1, 5000),
    "seed": st.integers(0, 99),
    "normalize": st.booleans(),
}


@st.composite
def texts(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(MEASURES)))
    spec = MEASURES[name]
    chosen = (
        draw(st.lists(st.sampled_from(sorted(spec.parameters)), unique=True))
        if spec.parameters
        else []
    )
    inside = ", ".join(f"{key}={draw(_VALUES[key])!r}" for key in chosen)
    cut = {
        "none": "",
        "optional": draw(st.sampled_from(["", "@7"])),
        "required": f"@{draw(st.integers(1, 5000))}",
        "recall": f"@{draw(st.floats(0, 1))}",
    }[spec.cutoff]
    return f"{name}({inside}){cut}"


@settings(max_examples=300, deadline=None)
@given(text=texts())
def test_every_measure_round_trips_through_its_string(text: str) -> None:
    measure = Measure.parse(text)
    assert Measure.parse(str(measure)) == measure
    assert str(Measure.parse(str(measure))) == str(measure)
    assert len({measure, Measure.parse(str(measure))}) == 1


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("AP(rel=0)", "rel=0 is not a grade from 1"),
        ("AP(rel=True)", "rel=True is not a grade from 1"),
        ("AP(level=2)", "unknown parameter of AP 'level'"),
        ("AP(rel=__import__('os').getcwd())", "cannot be read"),
        ("AP(**{'rel': 2})", "cannot be read"),
        ("AP(2)", "cannot be read"),
        ("AP(rel=2", "cannot be read"),
        ("P", "needs a cut-off, such as P@10"),
        ("P@0", "not a whole number from 1"),
        ("P@-1", "not a whole number from 1"),
        ("IPrec", "needs a recall level"),
        ("IPrec@1.5", "no recall level between 0 and 1"),
        ("IPrec@nan", "no recall level between 0 and 1"),
        ("Rprec@5", "has no cut-off"),
        ("RBP(p=1.0)", "p=1.0 is not persistence"),
        ("nDCG(gains={1:-1})", "gains"),
        ("nDCG(gains={1:1e999})", "gains"),
        ("nDCG(dcg='log')", "'exp-log2'"),
        ("", "cannot be read"),
        ("nDCG@10@10", "cannot be read"),
    ],
)
def test_a_parameter_that_breaks_its_rule_is_refused_with_the_rule(text: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        Measure.parse(text)
    assert part in str(caught.value)


def test_an_explicit_level_is_kept_against_the_option() -> None:
    options = EvaluationOptions(relevance_level=2)
    ours = evaluate(QRELS, RUN, ["P(rel=1)@4", "P@4", "NumRet"], options)
    assert ours.measures == ("P@4", "P(rel=2)@4", "NumRet")
    assert ours.values[:, 0].tolist() == [0.5, 0.25, 5.0]


@pytest.mark.parametrize("call", ["open({!r}, 'w')", "[open({!r}, 'w')][0]", "(lambda: {!r})()"])
def test_reading_a_measure_evaluates_nothing(tmp_path: Path, call: str) -> None:
    target = tmp_path / "made"
    with pytest.raises(InputError, match="cannot be read"):
        Measure.parse(f"AP(rel={call.format(target.as_posix())})")
    assert not target.exists()
