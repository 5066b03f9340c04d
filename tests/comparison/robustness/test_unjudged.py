"""Unjudged documents: known answers, condensed lists against the evaluator's own, changes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from retrieval_eval.comparison import CompareOptions, compare
from retrieval_eval.comparison.robustness import unjudged
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import EvaluationOptions, Evaluator, evaluate
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

QUERIES = [f"q{i}" for i in range(10)]
QRELS = Qrels.from_mapping({query: {"r": 1, "n": 0} for query in QUERIES})


def ranked(name: str, *documents: str, queries: int = 10) -> Run:
    """The same documents, best first, for the first queries, and the relevant one for others."""
    return Run.from_mapping(
        {
            query: {one: float(-rank) for rank, one in enumerate(documents)}
            if place < queries
            else {"r": 1.0}
            for place, query in enumerate(QUERIES)
        },
        name,
    )


def test_known_answers() -> None:
    pooled, fresh = ranked("pooled", "n", "r"), ranked("fresh", "x", "y", "z", "r")
    [rr, ap] = unjudged(QRELS, [pooled, fresh], ["RR@2", "MAP"])
    assert (rr.a, rr.b, rr.measure, rr.depth) == ("fresh", "pooled", "RR@2", 2)
    assert (rr.judged_a, rr.judged_b) == (0, 1)
    assert (rr.mean_diff, rr.condensed_diff) == (-0.5, 0.5)
    assert rr.changes  # significant both ways, with opposite signs
    assert max(rr.p_adjusted, rr.condensed_p_adjusted) <= 0.05
    assert (ap.measure, ap.depth, ap.judged_a) == ("AP", 10, 0.25)
    assert (ap.mean_diff, ap.condensed_diff) == (-0.25, 0.5)


@pytest.mark.parametrize(
    ("runs", "full", "condensed", "changes"),
    [
        # Behind on 10 queries because of an unjudged document, and even without it.
        ([ranked("a", "r"), ranked("b", "x", "r")], -0.5, 0.0, True),
        # The same on 2 queries: not significant either way.
        ([ranked("a", "r"), ranked("b", "x", "r", queries=2)], -0.1, 0.0, False),
        # Behind because of a judged document: the same either way.
        ([ranked("a", "r"), ranked("b", "n", "r")], -0.5, -0.5, False),
        # Even because both are kept from the first rank, one by an unjudged document.
        ([ranked("a", "n", "r"), ranked("b", "x", "r")], 0.0, 0.5, True),
        # Opposite signs, but neither is significant.
        (
            [ranked("a", "n", "r", queries=2), ranked("b", "x", "y", "r", queries=2)],
            -1 / 30,
            0.1,
            0,
        ),
    ],
)
def test_changes(runs: list[Run], full: float, condensed: float, changes: bool) -> None:
    [found] = unjudged(QRELS, runs, ["RR"])
    assert (found.mean_diff, found.condensed_diff) == pytest.approx((full, condensed))
    # Exact sign flips: 2 of 1,024 patterns if all queries differ in the same direction.
    assert (found.p_adjusted == 2 / 1024) == (abs(full) == 0.5)
    assert (found.condensed_p_adjusted == 2 / 1024) == (abs(condensed) == 0.5)
    assert found.changes == changes


def test_a_measure_is_taken_both_ways_whatever_it_says() -> None:
    runs = [ranked("a", "n", "r"), ranked("b", "x", "y", "r")]
    plain = unjudged(QRELS, runs, ["AP"])
    assert unjudged(QRELS, runs, ["AP(judged_only=True)", "AP"]) == plain
    assert unjudged(QRELS, runs, ["AP(judged_only=False)"]) == plain
    options = EvaluationOptions(judged_only=True)
    assert unjudged(QRELS, runs, ["AP"], evaluation=options) == plain
    assert plain[0].mean_diff != plain[0].condensed_diff


def test_other_parameters_stay() -> None:
    qrels = Qrels.from_mapping({"q": {"r": 1, "s": 2}})
    runs = [Run.from_mapping({"q": {"r": 2.0, "s": 1.0}}, "a"), Run.from_mapping({"q": {}}, "b")]
    strict = EvaluationOptions(relevance_level=2)
    found = unjudged(qrels, runs, ["RR", "RR(rel=1)"], evaluation=strict)
    assert [(one.measure, one.mean_diff, one.condensed_diff) for one in found] == [
        ("RR(rel=2)", -0.5, -0.5),
        ("RR", -1, -1),
    ]


def test_a_measure_without_a_condensed_form() -> None:
    runs = [ranked("a", "n", "r"), ranked("b", "x", "y", "r")]
    bpref, _ = unjudged(QRELS, runs, ["Bpref", "AP"])
    assert bpref.mean_diff == 1
    assert math.isnan(bpref.condensed_diff)
    assert not bpref.changes
    shown = json.loads(json.dumps(bpref.as_dict(), allow_nan=False))
    assert shown["condensed_diff"] is shown["condensed_p_adjusted"] is None
    assert shown["measure"] == "Bpref"


def test_a_recall_level_is_no_depth() -> None:
    runs = [ranked("a", *"xyzuvw", "r"), ranked("b", "r")]
    [found] = unjudged(QRELS, runs, ["IPrec@0.5"])
    assert found.depth == 10
    assert found.judged_b == pytest.approx(1 / 7)


def test_both_families_have_one_size() -> None:
    """What changes must not change because a measure has no condensed form."""
    runs = [ranked("a", "r"), ranked("b", "n", "r", queries=6)]
    [alone] = unjudged(QRELS, runs, ["AP"])
    with_bpref, _ = unjudged(QRELS, runs, ["AP", "Bpref"])
    assert alone.p_adjusted == alone.condensed_p_adjusted == 1 / 32
    assert with_bpref.p_adjusted == with_bpref.condensed_p_adjusted == 2 / 32
    assert not with_bpref.changes


def test_pairs_and_references_are_those_of_compare() -> None:
    runs = [ranked(name, "r") for name in "abc"]

    def pairs(**settings: object) -> list[tuple[str, str]]:
        return [(one.a, one.b) for one in unjudged(QRELS, runs, ["AP"], **settings)]  # type: ignore[arg-type]

    assert pairs() == [("b", "a"), ("c", "a")]
    assert pairs(references=["c"]) == [("a", "c"), ("b", "c")]
    assert pairs(pairs="all") == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs(pairs=[(2, 1)]) == [("c", "b")]


def test_margins_have_no_effect() -> None:
    runs = [ranked("a", "r"), ranked("b", "x", "r")]
    options = CompareOptions(margins={"AP": 0.1})
    assert unjudged(QRELS, runs, ["AP"], options=options) == unjudged(QRELS, runs, ["AP"])


@pytest.mark.parametrize(
    ("names", "measures", "settings", "message"),
    [
        ("a", ["AP"], {}, "at least two runs"),
        ("aa", ["AP"], {}, "2 runs are named 'a'"),
        ("ab", ["APP"], {}, "Did you mean 'AP'"),
        ("ab", ["GMAP"], {}, "no mean over queries"),
        ("ab", [], {}, "at least one measure"),
        ("ab", ["AP"], {"references": ["A"]}, "Did you mean 'a'"),
    ],
)
def test_what_is_refused(
    names: str, measures: list[str], settings: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        unjudged(QRELS, [ranked(name, "r") for name in names], measures, **settings)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_on_real_runs(collections: Path) -> None:
    folder = collections / "runs" / "dl-hard-passage"
    qrels = Qrels.from_file(folder / "qrels.txt")
    runs = [Run.from_file(path) for path in sorted(folder.glob("*.run.gz"))[:3]]
    options = CompareOptions(test="t")
    found = unjudged(qrels, runs, ["nDCG@10", "AP"], pairs="all", options=options)
    judged = {run.name: evaluate(qrels, run, ["Judged@10"]).means["Judged@10"] for run in runs}
    for only, difference, p in (
        (False, "mean_diff", "p_adjusted"),
        (True, "condensed_diff", "condensed_p_adjusted"),
    ):
        evaluator = Evaluator(qrels, ["nDCG@10", "AP"], EvaluationOptions(judged_only=only))
        expected = compare(map(evaluator.evaluate, runs), pairs="all", options=options).differences
        assert len(expected) == len(found) == 6
        for mine, theirs in zip(found, expected, strict=True):
            assert (mine.a, mine.b) == (theirs.a, theirs.b)
            assert getattr(mine, difference) == theirs.mean_diff
            assert getattr(mine, p) == theirs.p_adjusted
            assert (mine.judged_a, mine.judged_b) == (judged[mine.a], judged[mine.b])
