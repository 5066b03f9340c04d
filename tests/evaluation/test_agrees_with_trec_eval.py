"""Every measure that trec_eval has, query by query, against its own code."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_eval import EvaluationOptions, Qrels, Run, evaluate

# our name: (what pytrec_eval is asked for, the key of its answer)
SHARED = {
    "nDCG": ("ndcg", "ndcg"),
    "nDCG@3": ("ndcg_cut.3", "ndcg_cut_3"),
    "nDCG@100": ("ndcg_cut.100", "ndcg_cut_100"),
    "AP": ("map", "map"),
    "AP@4": ("map_cut.4", "map_cut_4"),
    "RR": ("recip_rank", "recip_rank"),
    "P@1": ("P.1", "P_1"),
    "P@5": ("P.5", "P_5"),
    "R@2": ("recall.2", "recall_2"),
    "R@100": ("recall.100", "recall_100"),
    "Success@2": ("success.2", "success_2"),
    "Rprec": ("Rprec", "Rprec"),
    "Bpref": ("bpref", "bpref"),
    "infAP": ("infAP", "infAP"),
    "IPrec@0.0": ("iprec_at_recall.0.0", "iprec_at_recall_0.00"),
    "IPrec@0.3": ("iprec_at_recall.0.3", "iprec_at_recall_0.30"),
    "IPrec@1.0": ("iprec_at_recall.1.0", "iprec_at_recall_1.00"),
    "SetP": ("set_P", "set_P"),
    "SetP(relative=True)": ("set_relative_P", "set_relative_P"),
    "SetR": ("set_recall", "set_recall"),
    "SetF": ("set_F", "set_F"),
    "SetF(beta=2)": ("set_F.2.0", "set_F"),
    "SetAP": ("set_map", "set_map"),
    "NumRet": ("num_ret", "num_ret"),
    "NumRel": ("num_rel", "num_rel"),
    "NumRet(rel=1)": ("num_rel_ret", "num_rel_ret"),
}
CONDENSED = [
    *("nDCG", "nDCG@3", "AP", "AP@4", "RR", "P@5", "R@2", "Success@2", "Rprec"),
    *("IPrec@0.3", "SetP", "SetP(relative=True)", "SetF", "SetAP"),
]

Judged = dict[str, dict[str, int]]
Scored = dict[str, dict[str, float]]


def theirs(
    qrels: Judged, run: Scored, name: str, *, level: int = 1, judged_only: bool = False
) -> dict[str, float]:
    """What trec_eval's code says, for queries that have an answer."""
    asked, key = SHARED[name]
    # It writes out of bounds for grades below -1, which mean the same as -1.
    bounded = {q: {d: max(grade, -1) for d, grade in judged.items()} for q, judged in qrels.items()}
    answered = {query: scored for query, scored in run.items() if scored}
    if asked.startswith("ndcg"):
        # Where all judgments of a query are negative, its loop over the ideal order reads memory
        # that nobody set, and may never end. The value there is 0.
        bounded = {q: judged for q, judged in bounded.items() if max(judged.values()) >= 0}
        answered = {query: scored for query, scored in answered.items() if query in bounded}
        if not answered:
            return {}
    evaluator = pytrec_eval.RelevanceEvaluator(
        bounded, {asked}, relevance_level=level, judged_docs_only_flag=judged_only
    )
    return {query: values[key] for query, values in evaluator.evaluate(answered).items()}


def assert_equal(
    qrels: Judged, run: Scored, name: str, *, level: int = 1, judged_only: bool = False
) -> None:
    measure = f"NumRet(rel={level})" if name == "NumRet(rel=1)" else name
    options = EvaluationOptions(relevance_level=level, judged_only=judged_only)
    ours = evaluate(qrels, run, [measure], options)
    expected = theirs(qrels, run, name, level=level, judged_only=judged_only)
    for query, value in zip(ours.query_ids, ours.values[0].tolist(), strict=True):
        if name == "NumRel" and query not in expected:
            continue  # R is known for queries without an answer too
        assert value == pytest.approx(expected.get(query, 0.0), rel=0, abs=1e-9), (name, query)


# Few documents and few scores, so that ties, unjudged and missing documents are everywhere; the
# scores are exact in float32, in which trec_eval 9's code compares them.
DOCUMENTS = st.sampled_from([f"d{number}" for number in range(12)] + ["é", "D1", "d10 "[:3]])
GRADES = st.integers(-3, 4)
SCORES = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 1.5])
QUERIES = st.sampled_from(["q1", "q2", "q3"])
QRELS = st.dictionaries(
    QUERIES, st.dictionaries(DOCUMENTS, GRADES, min_size=1, max_size=10), min_size=1, max_size=3
)
RUNS = st.dictionaries(QUERIES, st.dictionaries(DOCUMENTS, SCORES, max_size=12), max_size=3)


@pytest.mark.parametrize("name", SHARED)
def test_200_random_cases_agree(name: str) -> None:
    @settings(max_examples=200, deadline=None)
    @given(qrels=QRELS, run=RUNS, level=st.integers(1, 3))
    def agrees(qrels: Judged, run: Scored, level: int) -> None:
        # Its num_rel takes no notice of the level, by way of this binding.
        assert_equal(qrels, run, name, level=1 if name == "NumRel" else level)

    agrees()


@pytest.mark.parametrize("name", CONDENSED)
def test_random_condensed_lists_agree(name: str) -> None:
    @settings(max_examples=200, deadline=None)
    @given(qrels=QRELS, run=RUNS, level=st.integers(1, 3))
    def agrees(qrels: Judged, run: Scored, level: int) -> None:
        # Where nothing is left of a list, its code divides by zero or never returns.
        kept = {
            query: {d: s for d, s in scored.items() if d in qrels.get(query, {})}
            for query, scored in run.items()
            if any(qrels.get(query, {}).get(d, -1) >= 0 for d in scored)
        }
        whole = {query: run[query] for query in kept}
        assert_equal(qrels, whole, name, level=level, judged_only=True)

    agrees()


def test_long_lists_with_heavy_ties_agree() -> None:
    rng = np.random.default_rng(5)
    qrels: Judged = {}
    run: Scored = {}
    for number in range(40):
        names = [str(name) for name in rng.permutation(2000)[:1300]]
        qrels[f"q{number}"] = {
            name: int(grade)
            for name, grade in zip(names[:150], rng.integers(-1, 4, 150), strict=True)
        }
        chosen = rng.permutation(names)[:1000]
        scores = rng.integers(0, 40, 1000) / 8
        run[f"q{number}"] = {
            str(d): float(s) for d, s in zip(chosen.tolist(), scores.tolist(), strict=True)
        }
    for name in SHARED:
        assert_equal(qrels, run, name, level=1 if name == "NumRel" else 2)


@settings(max_examples=200, deadline=None)
@given(qrels=QRELS, k=st.integers(1, 20), data=st.data())
def test_judged_and_compat_are_those_of_ir_measures(
    qrels: Judged, k: int, data: st.DataObject
) -> None:
    # Its providers break ties in different ways, so there are none here. Its Compat takes what a
    # run lacks for a score of 0, so that all scores are above that.
    rankings = data.draw(
        st.dictionaries(QUERIES, st.lists(DOCUMENTS, unique=True, min_size=1, max_size=12))
    )
    run = {q: {d: 99.0 - place for place, d in enumerate(one)} for q, one in rankings.items()}
    names = [f"Judged@{k}", "Compat", "Compat(p=0.8)", "Compat(normalize=False)"]
    ours = evaluate(qrels, run, names)
    wanted = [ir_measures.parse_measure(name) for name in names]
    expected = {
        (metric.query_id, str(metric.measure)): metric.value
        for metric in ir_measures.iter_calc(wanted, qrels, run)
    }
    for name, one, values in zip(names, wanted, ours.values.tolist(), strict=True):
        for query, value in zip(ours.query_ids, values, strict=True):
            theirs_here = expected.get((query, str(one)), 0.0) if query in run else 0.0
            assert value == pytest.approx(theirs_here, rel=0, abs=1e-9), (name, query)


@pytest.mark.parametrize("score", [-5.0, 0.0, 5.0])
def test_compat_depends_on_the_order_of_scores_alone(score: float) -> None:
    qrels = {"q": {"d0": 0, "d1": 0, "d2": 1, "d10": 1}}
    p = 0.95
    # The closest ideal order starts with the one that was returned, whatever its score.
    expected = (1 + p / 2) / (1 + p)
    ours = evaluate(qrels, {"q": {"d10": score}}, ["Compat"])
    assert ours.values[0, 0] == pytest.approx(expected, rel=1e-12)


@settings(max_examples=200, deadline=None)
@given(qrels=QRELS, run=RUNS, k=st.integers(1, 20))
def test_exponential_ndcg_and_err_are_their_formulas(qrels: Judged, run: Scored, k: int) -> None:
    def gained(grades: list[int]) -> float:
        return sum(
            (2 ** max(grade, 0) - 1) / math.log2(rank + 1)
            for rank, grade in enumerate(grades[:k], start=1)
        )

    ours = evaluate(qrels, run, [f"nDCG(dcg='exp-log2')@{k}", f"ERR@{k}"])
    for query, ndcg, err in zip(ours.query_ids, *ours.values.tolist(), strict=True):
        judged, scored = qrels[query], run.get(query, {})
        order = sorted(scored, key=lambda d: (scored[d], d.encode()), reverse=True)
        grades = [judged.get(document, 0) for document in order]
        ideal = gained(sorted(judged.values(), reverse=True))
        assert ndcg == pytest.approx(gained(grades) / ideal if ideal else 0.0, abs=1e-12)
        left, total = 1.0, 0.0
        for rank, grade in enumerate(grades[:k], start=1):
            stops = (2 ** max(grade, 0) - 1) / 2**4
            total += left * stops / rank
            left *= 1 - stops
        assert err == pytest.approx(total, abs=1e-12)


RUN_NAMES = ["bm25", "bm25+bertzs", "bm25+rm3", "bm25+rm3+bertzs", "bm25+rm3+t5zs", "bm25+t5zs"]


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("run_name", RUN_NAMES)
def test_real_runs_agree(collections: Path, run_name: str, level: int) -> None:
    folder = collections / "runs" / "dl-hard-passage"
    qrels = Qrels.from_file(folder / "qrels.txt")
    run = Run.from_file(folder / f"{run_name}.run.gz")
    mapping = run.to_mapping()
    # Its 32-bit scores make more ties than the file has; both see the same ones here.
    options = EvaluationOptions(relevance_level=level, score_precision="float32")
    names = [f"NumRet(rel={level})" if name == "NumRet(rel=1)" else name for name in SHARED]
    ours = evaluate(qrels, run, names, options)
    for row, name in enumerate(SHARED):
        expected = theirs(qrels.mapping, mapping, name, level=1 if name == "NumRel" else level)
        if name == "NumRel" and level == 2:
            continue
        values = [expected[query] for query in ours.query_ids]
        np.testing.assert_allclose(ours.values[row], values, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("run_name", RUN_NAMES)
def test_real_runs_score_as_trec_eval_printed_them(collections: Path, run_name: str) -> None:
    folder = collections / "runs" / "dl-hard-passage"
    printed: dict[str, dict[str, Any]] = {}
    text = gzip.decompress((folder / f"{run_name}.trec_eval.gz").read_bytes()).decode()
    for line in text.splitlines():
        name, query, value = line.split()
        printed.setdefault(name, {})[query] = value
    keys = {name: key for name, (_, key) in SHARED.items() if key in printed and name != "NumRel"}
    assert len(keys) > 12
    # It was called with -l 2, of which nDCG takes no notice.
    options = EvaluationOptions(relevance_level=2)
    names = ["NumRet(rel=2)" if name == "NumRet(rel=1)" else name for name in keys]
    ours = evaluate(folder / "qrels.txt", folder / f"{run_name}.run.gz", names, options)
    for row, key in enumerate(keys.values()):
        if names[row].startswith("SetF(beta"):
            continue
        for query, value in zip(ours.query_ids, ours.values[row].tolist(), strict=True):
            assert float(printed[key][query]) == pytest.approx(value, abs=0.500001e-4), (key, query)
