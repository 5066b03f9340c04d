"""Where tools that say they compute trec_eval's numbers part from it, point by point."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import pytrec_eval
from typer.testing import CliRunner

from retrieval_eval import EvaluationOptions, Qrels, Run, evaluate
from retrieval_eval.cli import app


def score(measure: str, qrels: Any, run: Any, **options: Any) -> float:
    return evaluate(qrels, run, [measure], EvaluationOptions(**options)).means[measure]


def test_ties_go_by_document_id_descending_bytewise_and_the_rank_column_is_ignored(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.txt"
    path.write_text("q Q0 d10 1 1.0 t\nq Q0 d9 2 1.0 t\nq Q0 Z 3 1.0 t\nq Q0 é 4 1.0 t\n")
    order = ["é", "d9", "d10", "Z"]
    assert list(Run.from_file(path).to_mapping()["q"]) == order
    for place, document in enumerate(order, start=1):
        assert score("RR", {"q": {document: 1}}, path) == 1 / place


def test_ties_are_broken_before_the_cut() -> None:
    run = {"q": {"a": 1.0, "b": 1.0, "c": 1.0}}
    assert score("P@1", {"q": {"c": 1}}, run) == 1.0
    assert score("P@1", {"q": {"a": 1}}, run) == 0.0


def test_one_tie_gives_one_reciprocal_rank_with_and_without_a_cut() -> None:
    run = {"q": {"a": 1.0, "b": 1.0}}
    for relevant, expected in (("a", 0.5), ("b", 1.0)):
        assert score("RR", {"q": {relevant: 1}}, run) == expected
        assert score("RR@10", {"q": {relevant: 1}}, run) == expected


def test_scores_are_doubles_as_in_10_or_floats_as_in_9() -> None:
    qrels = {"q": {"a": 1}}
    run = {"q": {"a": 1.0 + 1e-9, "b": 1.0}}
    assert score("RR", qrels, run) == 1.0
    assert score("RR", qrels, run, score_precision="float32") == 0.5
    other = {"q": {"a": 1.0, "b": 1.0 + 1e-9}}
    assert score("RR", qrels, other) == score("RR", qrels, other, score_precision="float32") == 0.5


def test_a_judged_query_missing_from_the_run_scores_0_or_is_left_out() -> None:
    qrels = {"q": {"a": 1}, "r": {"a": 1}}
    run = {"q": {"a": 1.0}, "r": {}}
    whole = evaluate(qrels, run, ["RR", "P@1"])
    assert (whole.missing, whole.query_ids) == (1, ("q", "r"))
    assert dict(whole.means) == {"RR": 0.5, "P@1": 0.5}
    part = evaluate(qrels, run, ["RR", "P@1", "GAP"], EvaluationOptions(missing="skip"))
    assert (part.missing, part.query_ids) == (1, ("q",))
    assert dict(part.means) == {"RR": 1.0, "P@1": 1.0, "GAP": 1.0}


def test_a_query_judged_without_a_relevant_document_counts_as_0() -> None:
    assert score("AP", {"q": {"a": 1}, "r": {"a": 0}}, {"q": {"a": 1.0}, "r": {"a": 1.0}}) == 0.5


def test_ndcg_has_linear_gains_an_ideal_of_all_judged_documents_and_no_relevance_level() -> None:
    qrels = {"q": {"a": 1, "b": 3}}
    run = {"q": {"a": 1.0}}
    ideal = 3 + 1 / math.log2(3)
    for level in (1, 2, 3):
        assert score("nDCG", qrels, run, relevance_level=level) == pytest.approx(1 / ideal)
        asked = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg"}, relevance_level=level)
        assert asked.evaluate(run)["q"]["ndcg"] == pytest.approx(1 / ideal)


def test_exponential_gain_is_another_measure_with_another_name() -> None:
    ours = evaluate({"q": {"a": 1, "b": 3}}, {"q": {"a": 1.0}}, ["nDCG", "nDCG(dcg='exp-log2')"])
    assert ours.measures == ("nDCG", "nDCG(dcg='exp-log2')")
    assert ours.values[1, 0] == pytest.approx(1 / (7 + 1 / math.log2(3)))


def test_recall_precision_and_average_precision_divide_by_what_trec_eval_divides_by() -> None:
    qrels = {"q": {"a": 1, "b": 1, "c": 1, "d": 1}}
    run = {"q": {"a": 3.0, "x": 2.0, "b": 1.0}}
    assert score("R@2", qrels, run) == 1 / 4
    assert score("CappedR@2", qrels, run) == 1 / 2
    assert score("P@10", qrels, run) == 2 / 10
    assert score("AP@2", qrels, run) == 1 / 4
    assert score("CappedAP@2", qrels, run) == 1 / 2


def test_reciprocal_rank_is_0_past_its_cut_and_has_none_by_itself() -> None:
    run = {"q": {"x": 3.0, "y": 2.0, "a": 1.0}}
    assert score("RR", {"q": {"a": 1}}, run) == 1 / 3
    assert score("RR@3", {"q": {"a": 1}}, run) == 1 / 3
    assert score("RR@2", {"q": {"a": 1}}, run) == 0.0


def test_negative_grades_have_no_gain_are_not_relevant_and_bpref_passes_them_over() -> None:
    run = {"q": {"n": 3.0, "a": 2.0, "z": 1.0}}
    with_negative = {"q": {"n": -2, "a": 1, "z": 0}}
    assert score("DCG", with_negative, run) == pytest.approx(1 / math.log2(3))
    assert score("P@1", with_negative, run) == 0.0
    assert score("Bpref", with_negative, run) == 1.0
    assert score("Bpref", {"q": {"n": 0, "a": 1, "z": 0}}, run) == 0.0


def test_bpref_without_a_judged_non_relevant_document_is_1_when_all_are_found() -> None:
    assert score("Bpref", {"q": {"a": 1, "b": 2}}, {"q": {"x": 3.0, "a": 2.0, "b": 1.0}}) == 1.0


def test_judged_is_over_what_was_returned_up_to_k_and_0_for_an_empty_ranking() -> None:
    qrels = {"q": {"a": 1, "b": 0}, "r": {"a": 1}}
    ours = evaluate(
        qrels, {"q": {"a": 3.0, "x": 2.0, "b": 1.0}, "r": {}}, ["Judged@2", "Judged@10"]
    )
    assert ours.values.tolist() == [[1 / 2, 0.0], [2 / 3, 0.0]]


def test_ids_that_look_like_numbers_stay_strings_in_run_and_qrels(tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("07 Q0 007 1 2 t\n07 Q0 7 2 1 t\n")
    (tmp_path / "qrels.txt").write_text("07 0 7 1\n7 0 007 1\n")
    ours = evaluate(tmp_path / "qrels.txt", tmp_path / "run.txt", ["RR"])
    assert dict(zip(ours.query_ids, ours.values[0].tolist(), strict=True)) == {"07": 0.5, "7": 0.0}


def test_self_retrieval_is_dropped_on_demand_and_never_by_changing_the_caller_s_data() -> None:
    qrels = Qrels.from_mapping({"a": {"b": 1, "a": 1}, "b": {"c": 1}})
    run = Run.from_mapping({"a": {"a": 9.0, "b": 1.0}, "b": {"b": 5.0, "a": 4.0, "c": 3.0}})
    before = qrels.mapping, run.to_mapping()
    assert evaluate(qrels, run, ["RR"]).means["RR"] == pytest.approx((1 + 1 / 3) / 2)
    dropped = evaluate(qrels, run, ["RR", "R@9"], EvaluationOptions(drop_self=True))
    assert dropped.means["RR"] == pytest.approx((1 + 1 / 2) / 2)
    assert dropped.means["R@9"] == 1.0
    assert (Qrels.from_mapping(before[0]).mapping, run.to_mapping()) == before
    assert qrels.mapping == {"a": {"b": 1, "a": 1}, "b": {"c": 1}}


def test_a_query_judged_for_itself_alone_scores_0_once_that_is_dropped() -> None:
    options = EvaluationOptions(drop_self=True)
    measures = ["nDCG", "AP", "infAP", "Compat", "GAP", "Bpref", "IPrec@0.5", "Judged"]
    for qrels in ({"a": {"a": 1}}, {"a": {"a": 1}, "b": {"c": 0}}):
        ours = evaluate(qrels, {"a": {"a": 2.0, "c": 1.0}}, measures, options)
        assert not ours.values[:, 0].any()


def test_aggregates_are_rounded_when_they_are_printed_only(tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text(
        "".join(f"q{n} Q0 a 1 {n % 3} t\nq{n} Q0 b 1 1 t\n" for n in range(7))
    )
    (tmp_path / "qrels.txt").write_text("".join(f"q{n} 0 a 1\n" for n in range(7)))
    words = ["evaluate", str(tmp_path / "qrels.txt"), str(tmp_path / "run.txt"), "-m", "RR"]
    whole = json.loads(CliRunner().invoke(app, [*words, "--format", "json", "-q"]).stdout)["runs"][
        0
    ]
    mean = sum(whole["per_query"]["RR"].values()) / 7
    assert whole["measures"]["RR"]["mean"] == pytest.approx(mean, rel=1e-15)
    assert round(mean, 4) != mean
    assert f"{mean:.4f}" in CliRunner().invoke(app, words).stdout


def test_a_constant_scorer_gets_no_reciprocal_rank_of_1_by_luck() -> None:
    run = {"q": {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}}
    expected = (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    for relevant in "abcd":
        assert score("RR", {"q": {relevant: 1}}, run, ties="expected") == pytest.approx(expected)
    assert score("RR", {"q": {"a": 1}}, run) == 1 / 4
