"""Scores of runs: equal to trec_eval's, over every judged query."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval

from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluator, evaluate, measure_depth, parse_measure
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

TREC_NAMES = {
    "nDCG@10": "ndcg_cut_10",
    "R@100": "recall_100",
    "AP": "map",
    "RR": "recip_rank",
    "P@5": "P_5",
}

# -- against trec_eval ------------------------------------------------------------------------


def random_collection(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return qrels and a run of few distinct scores, so that most documents are tied."""
    rng = np.random.default_rng(seed)
    documents = [f"d{number}" for number in rng.permutation(200)]
    qrels: dict[str, Any] = {}
    run: dict[str, Any] = {}
    for number in range(30):
        judged = rng.choice(documents, size=rng.integers(1, 40), replace=False)
        grades = rng.choice([0, 0, 1, 2, 3], size=len(judged))
        qrels[f"q{number}"] = dict(zip(map(str, judged), map(int, grades), strict=True))
        found = rng.choice(documents, size=rng.integers(1, 180), replace=False)
        scores = rng.integers(0, 6, size=len(found)) / 4
        run[f"q{number}"] = dict(zip(map(str, found), map(float, scores), strict=True))
    return qrels, run


@pytest.mark.parametrize("seed", range(6))
def test_every_query_scores_as_by_trec_eval_under_heavy_ties(seed: int) -> None:
    qrels, run = random_collection(seed)
    expected = pytrec_eval.RelevanceEvaluator(
        qrels, {"ndcg_cut.10", "recall.100", "map", "recip_rank", "P.5"}
    ).evaluate(run)
    ours = evaluate(Qrels.from_mapping(qrels), Run.from_mapping(run), list(TREC_NAMES))
    assert set(ours.query_ids) == set(expected)
    for measure, name in TREC_NAMES.items():
        theirs = [expected[query_id][name] for query_id in ours.query_ids]
        np.testing.assert_allclose(ours.per_query(measure), theirs, rtol=0, atol=1e-12)
        assert len(set(theirs)) > 1, "the comparison would hold for a constant too"


# A run tied throughout lists documents by descending id: b before a.
@pytest.mark.parametrize(("relevant", "expected"), [("a", 0.5), ("b", 1.0)])
def test_measures_with_and_without_a_cut_break_a_tie_alike(relevant: str, expected: float) -> None:
    qrels = Qrels.from_mapping({"q": {relevant: 1}})
    run = Run.from_mapping({"q": {"a": 1.0, "b": 1.0}})
    scored = evaluate(qrels, run, ["RR", "RR@10", "P@1", "R@1", "Success@1", "AP"])
    first = 1.0 if relevant == "b" else 0.0
    assert scored.means == {
        "RR": expected,
        "RR@10": expected,
        "P@1": first,
        "R@1": first,
        "Success@1": first,
        "AP": expected,
    }


def test_scores_that_differ_by_less_than_float32_holds_are_no_tie() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 1}})
    run = Run.from_mapping({"q": {"a": 1 + 1e-9, "b": 1.0}})
    assert evaluate(qrels, run, ["RR", "RR@10"]).means == {"RR": 1.0, "RR@10": 1.0}


def test_a_constant_scorer_gains_nothing_from_ties() -> None:
    documents = [f"d{number:02}" for number in range(20)]
    qrels = Qrels.from_mapping({f"q{document}": {document: 1} for document in documents})
    run = Run.from_mapping(
        {f"q{document}": dict.fromkeys(documents, 0.0) for document in documents}
    )
    scored = evaluate(qrels, run, ["RR", "RR@10"])
    ranks = np.arange(20, 0, -1)
    np.testing.assert_allclose(scored.per_query("RR"), 1 / ranks, rtol=1e-12)
    np.testing.assert_allclose(
        scored.per_query("RR@10"), np.where(ranks <= 10, 1 / ranks, 0), rtol=1e-12
    )


@pytest.fixture(scope="module")
def passages(collections: Path) -> Path:
    return collections / "runs" / "dl-hard-passage"


# trec_eval was run with -l 2: all of its measures but nDCG count grades from 2 as relevant.
PUBLISHED = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG": "ndcg",
    "RR(rel=2)": "recip_rank",
    "R(rel=2)@100": "recall_100",
    "AP(rel=2)": "map",
    "AP(rel=2)@100": "map_cut_100",
    "P(rel=2)@5": "P_5",
    "Rprec(rel=2)": "Rprec",
    "Bpref(rel=2)": "bpref",
    "Success(rel=2)@5": "success_5",
}


def test_real_runs_score_as_trec_eval_printed(passages: Path) -> None:
    evaluator = Evaluator(Qrels.from_file(passages / "qrels.txt"), list(PUBLISHED))
    paths = sorted(passages.glob("*.run.gz"))
    assert len(paths) == 6
    for path in paths:
        printed: dict[str, dict[str, str]] = {}
        output = path.with_name(path.name.replace(".run.gz", ".trec_eval.gz"))
        with gzip.open(output, "rt", encoding="utf-8") as lines:
            for line in lines:
                name, query_id, value = line.split()
                printed.setdefault(name, {})[query_id] = value
        scored = evaluator.evaluate(Run.from_file(path))
        assert (len(scored.query_ids), scored.missing) == (50, 0)
        for measure, name in PUBLISHED.items():
            theirs = [float(printed[name][query_id]) for query_id in scored.query_ids]
            np.testing.assert_allclose(
                scored.per_query(measure), theirs, rtol=0, atol=5.001e-5, err_msg=measure
            )
            assert scored.means[measure] == pytest.approx(float(printed[name]["all"]), abs=5.001e-5)


# -- which queries count ----------------------------------------------------------------------


def test_a_judged_query_without_answer_scores_0_and_is_counted() -> None:
    qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}})
    scored = evaluate(qrels, Run.from_mapping({"q2": {"b": 1.0}}), ["RR", "nDCG@10", "R@100"])
    assert scored.query_ids == ("q1", "q2", "q3")
    np.testing.assert_array_equal(scored.values, [[0.0, 1.0, 0.0]] * 3)
    assert scored.missing == 2
    assert scored.means["RR"] == pytest.approx(1 / 3)


def test_a_query_with_an_empty_answer_counts_as_unanswered() -> None:
    qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"b": 1}})
    scored = evaluate(qrels, Run.from_mapping({"q1": {"a": 1.0}, "q2": {}}), ["RR"])
    assert (scored.missing, scored.means["RR"]) == (1, 0.5)


def test_a_run_that_answers_nothing_scores_0_everywhere() -> None:
    qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"b": 1}})
    scored = evaluate(qrels, Run.from_mapping({"other": {"a": 1.0}}), ["RR", "nDCG@10"])
    assert scored.missing == 2
    assert not scored.values.any()


def test_a_query_with_no_relevant_document_counts_0() -> None:
    qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"a": 0, "b": 0}})
    run = Run.from_mapping({"q1": {"a": 1.0}, "q2": {"a": 1.0, "b": 0.5}})
    measures = ["nDCG@10", "RR", "RR@10", "R@100", "AP", "P@5", "Rprec", "Success@1"]
    scored = evaluate(qrels, run, measures)
    np.testing.assert_array_equal(scored.values[:, 1], np.zeros(len(measures)))
    assert scored.missing == 0
    assert scored.means["RR"] == 0.5


def test_answers_to_unjudged_queries_are_ignored() -> None:
    qrels = Qrels.from_mapping({"q1": {"a": 1}})
    alone = Run.from_mapping({"q1": {"b": 2.0, "a": 1.0}})
    more = Run.from_mapping({"q0": {"a": 1.0}, "q1": {"b": 2.0, "a": 1.0}, "q9": {"a": 3.0}})
    one, other = (evaluate(qrels, run, ["RR", "nDCG@10"]) for run in (alone, more))
    assert one.query_ids == other.query_ids == ("q1",)
    np.testing.assert_array_equal(one.values, other.values)
    assert other.missing == 0


# -- definitions ------------------------------------------------------------------------------


def test_ndcg_takes_grades_as_linear_gains() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 3, "b": 1, "c": 2}})
    run = Run.from_mapping({"q": {"b": 4.0, "a": 3.0, "x": 2.0, "c": 1.0}})
    gained = 1 / np.log2(2) + 3 / np.log2(3) + 2 / np.log2(5)
    ideal = 3 / np.log2(2) + 2 / np.log2(3) + 1 / np.log2(4)
    assert evaluate(qrels, run, ["nDCG@10"]).means["nDCG@10"] == pytest.approx(gained / ideal)


def test_the_ideal_order_of_ndcg_is_over_all_judged_documents() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 1, "b": 3}})
    scored = evaluate(qrels, Run.from_mapping({"q": {"a": 1.0}}), ["nDCG@1", "nDCG@10"])
    assert scored.means["nDCG@1"] == pytest.approx(1 / 3)
    assert scored.means["nDCG@10"] == pytest.approx(1 / (3 + 1 / np.log2(3)))


def test_a_negative_grade_gains_nothing_and_is_not_relevant() -> None:
    qrels = Qrels.from_mapping({"q": {"a": -1, "b": 1}})
    run = Run.from_mapping({"q": {"a": 2.0, "b": 1.0}})
    measures = ["nDCG@10", "RR", "RR@10", "P@5", "R@100", "AP"]
    scored = evaluate(qrels, run, measures)
    np.testing.assert_allclose(scored.values[:, 0], [1 / np.log2(3), 0.5, 0.5, 0.2, 1.0, 0.5])


def test_a_list_shorter_than_k_is_divided_by_k_for_precision_alone() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 1, "b": 1, "c": 1, "e": 1}})
    run = Run.from_mapping({"q": {"a": 2.0, "x": 1.0}})
    scored = evaluate(qrels, run, ["P@5", "R@100", "RR@100", "AP@50"])
    np.testing.assert_allclose(scored.values[:, 0], [0.2, 0.25, 1.0, 0.25])


def test_recall_divides_by_all_relevant_documents_even_beyond_k() -> None:
    qrels = Qrels.from_mapping({"q": {f"d{number}": 1 for number in range(10)}})
    run = Run.from_mapping({"q": {f"d{number}": float(number) for number in range(10)}})
    assert evaluate(qrels, run, ["R@5"]).means["R@5"] == 0.5


def test_reciprocal_rank_is_0_beyond_its_cut() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 1}})
    run = Run.from_mapping({"q": {"x": 3.0, "y": 2.0, "a": 1.0}})
    scored = evaluate(qrels, run, ["RR@2", "RR@3", "RR"])
    np.testing.assert_allclose(scored.values[:, 0], [0, 1 / 3, 1 / 3])


def test_relevance_from_a_grade_up_is_part_of_the_measure() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 1, "b": 2}})
    run = Run.from_mapping({"q": {"a": 2.0, "b": 1.0}})
    scored = evaluate(qrels, run, ["AP", "AP(rel=2)", "AP(rel=2)@1"])
    np.testing.assert_allclose(scored.values[:, 0], [1.0, 0.5, 0.0])


# -- inputs -----------------------------------------------------------------------------------


def test_evaluating_changes_neither_run_nor_qrels() -> None:
    qrels_mapping, run_mapping = random_collection(1)
    qrels, run = Qrels.from_mapping(qrels_mapping), Run.from_mapping(run_mapping)
    before = [column.copy() for column in (run.query, run.document, run.score, qrels.grade)]
    judged = {query_id: dict(grades) for query_id, grades in qrels.mapping.items()}
    evaluate(qrels, run, list(TREC_NAMES))
    for column, copy in zip((run.query, run.document, run.score, qrels.grade), before, strict=True):
        np.testing.assert_array_equal(column, copy)
    assert qrels.mapping == judged


def test_one_evaluator_scores_many_runs_independently() -> None:
    qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"b": 1}})
    evaluator = Evaluator(qrels, ["RR"])
    full = evaluator.evaluate(Run.from_mapping({"q1": {"a": 1.0}, "q2": {"b": 1.0}}, "full"))
    half = evaluator.evaluate(Run.from_mapping({"q1": {"a": 1.0}}, "half"))
    assert (full.run_name, full.means["RR"], full.missing) == ("full", 1.0, 0)
    assert (half.run_name, half.means["RR"], half.missing) == ("half", 0.5, 1)


def test_per_query_refuses_a_measure_that_was_not_computed() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 1}})
    scored = evaluate(qrels, Run.from_mapping({"q": {"a": 1.0}}), ["nDCG@10"])
    with pytest.raises(InputError, match=r"unknown measure 'ndcg@10'. Did you mean 'nDCG@10'\?"):
        scored.per_query("ndcg@10")


def test_no_measure_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="name at least one measure"):
        Evaluator(Qrels.from_mapping({"q": {"a": 1}}), [])


def test_a_measure_named_twice_is_computed_once() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 1}})
    assert Evaluator(qrels, ["RR@10", "nDCG@10", "RR@10"]).measures == ("RR@10", "nDCG@10")


@pytest.mark.parametrize(
    "text",
    ["nDCG@10", "AP(rel=2)@100", "RR", "RR@10", "P@5", "R(rel=2)@100", "Bpref", "Rprec"],
)
def test_the_canonical_name_of_a_measure_round_trips(text: str) -> None:
    assert parse_measure(text) == text
    assert parse_measure(parse_measure(text)) == text


@pytest.mark.parametrize(("text", "canonical"), [("MRR@10", "RR@10"), ("nDCG@ 10", "nDCG@10")])
def test_other_spellings_of_a_measure_are_canonical_afterwards(text: str, canonical: str) -> None:
    assert parse_measure(text) == canonical
    qrels = Qrels.from_mapping({"q": {"a": 1}})
    assert evaluate(qrels, Run.from_mapping({"q": {"a": 1.0}}), [text]).measures == (canonical,)


def test_the_depth_of_a_measure_is_its_cut() -> None:
    assert [measure_depth(name) for name in ("nDCG@10", "AP(rel=2)@100", "AP", "RR")] == [
        10,
        100,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("text", "meant"), [("ndcg@10", "nDCG"), ("nDGC@10", "nDCG"), ("Rpec", "Rprec")]
)
def test_an_unknown_measure_names_the_one_that_was_meant(text: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"unknown measure .* Did you mean '{meant}'"):
        parse_measure(text)


@pytest.mark.parametrize(
    "text",
    [
        "nDCG@ten",
        "nDCG@-1",
        "nDCG@0",
        "nDCG@1.5",
        "nDCG@10@5",
        "P",
        "R",
        "Rprec@10",
        "AP(rel=",
        "AP(relevant=2)",
        "AP(rel='high')",
        "AP; RR",
        "",
    ],
)
def test_a_measure_with_unusable_parameters_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_measure(text, "sweep.yaml:7")
    assert str(caught.value).startswith("sweep.yaml:7: ")
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


NEGATIVE = """
import json
from retrieval_eval import Qrels, Run, evaluate

qrels, run = {}, {}
for number in range(40):
    qrels[f"q{number}"] = {f"d{i}": (i * number) % 13 - 10 for i in range(30)}
    run[f"q{number}"] = {f"d{i}": float(i % 7) for i in range(30)}
no_negatives = {
    query_id: {document: max(grade, 0) for document, grade in judged.items()}
    for query_id, judged in qrels.items()
}
measures = ["nDCG@10", "AP", "P@5", "R@10", "RR", "RR@10", "Rprec"]
found = []
for judgments in (qrels, no_negatives):
    scored = evaluate(Qrels.from_mapping(judgments), Run.from_mapping(run), measures)
    found.append(scored.values.tolist())
print(json.dumps(found))
"""


def test_grades_far_below_zero_score_as_grade_0_does() -> None:
    # In a process of its own: trec_eval's code writes outside its arrays for grades below -1.
    done = subprocess.run(
        [sys.executable, "-c", NEGATIVE], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with_negatives, without = json.loads(done.stdout)
    assert with_negatives == without


def listed_measures() -> list[str]:
    """Read the names of `list measures`, with 10 for k."""
    from retrieval_eval.listing import listing

    _, rows = listing("measures")
    names = [name for row in rows for name in row[0].split(", ") if name]
    shown = {"SampledRR": "SampledRR(distractors=1)", "IPrec@recall": "IPrec@0.1"}
    return [shown.get(name, name.replace("@k", "@10")) for name in names]


@pytest.mark.parametrize("measure", listed_measures())
def test_every_listed_measure_can_be_computed(measure: str) -> None:
    qrels = {"q1": {"a": 1, "b": 0}, "q2": {"a": 1}}
    scored = evaluate(qrels, {"q1": {"a": 2.0, "b": 1.0}, "q2": {"a": 1.0}}, [measure])
    assert 0 < scored.values[0, 0] <= 2
    assert np.isfinite(scored.values).all()
