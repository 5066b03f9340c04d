"""ties='expected' against the mean over every order of the tied documents."""

from __future__ import annotations

from itertools import groupby, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_eval import EvaluationOptions, evaluate
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import MEASURES

MEASURES_WITH_CUTS = [
    *("nDCG", "nDCG@1", "nDCG@3", "nDCG(dcg='exp-log2')@2", "DCG", "DCG@2", "RR", "RR@1", "RR@3"),
    *("R@1", "R@3", "CappedR@2", "P@1", "P@4", "AP", "AP@1", "AP@3", "AP(rel=2)", "CappedAP@2"),
    *("Success@1", "Success@3", "Sufficiency@1", "Sufficiency@2", "Sufficiency@4", "Rprec"),
    *("Bpref", "RBP", "RBP(p=0.5)@2", "Judged", "Judged@2", "NumRet", "NumRel", "SetP", "SetR"),
    *("SetF", "SetAP", "nDCG(judged_only=True)@2", "AP(judged_only=True)@2"),
    *("RR(judged_only=True)@2", "RBP(judged_only=True)", "Rprec(judged_only=True)"),
    *("Sufficiency(judged_only=True)@2", "P(judged_only=True)@2", "DCG(judged_only=True)@2"),
    *("R(judged_only=True)@2", "CappedR(judged_only=True)@2", "CappedAP(judged_only=True)@3"),
    *("Success(judged_only=True)@2", "SetP(relative=True)", "SetF(beta=2,judged_only=True)"),
    *("Bpref(rel=2)", "Rprec(rel=2)", "RR(rel=2)@2", "NumRet(rel=2)", "nDCG(gains={0:1,1:3})@2"),
]

GRADES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-1, 3), min_size=1, max_size=6)
SCORES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2), min_size=1, max_size=6)


def orders(scored: dict[str, int]) -> list[list[str]]:
    """Every ranking that the scores allow."""
    by_score = sorted(scored, key=lambda document: -scored[document])
    groups = [list(group) for _, group in groupby(by_score, key=scored.__getitem__)]
    return [
        [document for part in parts for document in part]
        for parts in product(*(permutations(group) for group in groups))
    ]


@settings(max_examples=200, deadline=None)
@given(grades=GRADES, scored=SCORES)
def test_it_is_the_mean_over_all_orders(grades: dict[str, int], scored: dict[str, int]) -> None:
    # Every order is a query of its own, so that one evaluation sees them all.
    every = orders(scored)
    qrels = {str(number): grades for number in range(len(every))}
    run = {
        str(number): {document: -float(place) for place, document in enumerate(order)}
        for number, order in enumerate(every)
    }
    means = evaluate(qrels, run, MEASURES_WITH_CUTS).means
    expected = EvaluationOptions(ties="expected")
    floats = {document: float(score) for document, score in scored.items()}
    ours = evaluate({"q": grades}, {"q": floats}, MEASURES_WITH_CUTS, expected)
    assert dict(ours.means) == pytest.approx(dict(means), rel=0, abs=1e-12)


def test_every_measure_with_an_expected_value_is_tried_above() -> None:
    tried = {measure.split("@")[0].split("(")[0] for measure in MEASURES_WITH_CUTS}
    assert tried == {name for name, spec in MEASURES.items() if spec.expected_ties}


def test_without_ties_it_changes_nothing() -> None:
    qrels = {"q": {"a": 2, "b": 0, "c": 1}, "r": {"a": 1}}
    run = {"q": {"a": 0.5, "b": 0.75, "x": 0.25, "c": 0.125}, "r": {"b": 1.0, "a": 0.5}}
    options = EvaluationOptions(ties="expected")
    plain, expected = (
        evaluate(qrels, run, MEASURES_WITH_CUTS, one) for one in (EvaluationOptions(), options)
    )
    assert expected.values == pytest.approx(plain.values, rel=0, abs=1e-12)


def test_a_constant_scorer_gets_what_chance_would_give_it() -> None:
    documents = [f"d{number}" for number in range(1000)]
    run = {"q": dict.fromkeys(documents, 0.0)}
    options = EvaluationOptions(ties="expected")
    for relevant in ("d0", "d999"):  # wherever its id puts it
        means = evaluate({"q": {relevant: 1}}, run, ["RR", "P@10", "Success@10"], options).means
        harmonic = sum(1 / rank for rank in range(1, 1001))
        assert means["RR"] == pytest.approx(harmonic / 1000)
        assert means["P@10"] == pytest.approx(0.001)
        assert means["Success@10"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "measure",
    ["infAP", "IPrec@0.1", "ERR", "GAP", "SampledRR(distractors=1)", "Compat"],
)
def test_a_measure_without_a_closed_form_is_refused_by_name(measure: str) -> None:
    with pytest.raises(InputError, match="has no closed form here") as caught:
        evaluate({"q": {"a": 1}}, {"q": {"a": 1.0}}, [measure], EvaluationOptions(ties="expected"))
    assert measure.split("@", maxsplit=1)[0].split("(", maxsplit=1)[0] in str(caught.value)
