"""Where a difference comes from: every change and cause by hand, and all of it by brute force."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_eval.comparison.causes import Explanation, MovedQuery, explain
from retrieval_eval.comparison.moves import MovedDocument
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import EvaluationOptions, evaluate
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

Scores = dict[str, dict[str, float]]
Grades = dict[str, dict[str, int]]


def ranked(documents: Sequence[str]) -> dict[str, float]:
    return {name: float(-place) for place, name in enumerate(documents)}


def with_x_at(rank: int | None, length: int = 8) -> dict[str, float]:
    """Return a list of documents nobody judged, with x at a rank, or nowhere."""
    names = [f"n{place}" for place in range(length)]
    if rank is not None:
        names[rank - 1] = "x"
    return ranked(names)


def one_query(measure: str, *ranks: int | None, length: int = 8) -> Explanation:
    """Explain runs of one query whose only relevant document, x, stands at these ranks."""
    a, b, *exact = (Run.from_mapping({"q": with_x_at(rank, length)}) for rank in ranks)
    judged = Qrels.from_mapping({"q": {"x": 1}})
    return explain(judged, a, b, measure, exact=exact[0] if exact else None)


# -- documents ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank_a", "rank_b", "rank_exact", "change", "cause"),
    [
        (None, 2, 4, "lost", "index"),
        (None, 2, 6, "lost", "encoder"),
        (None, 2, None, "lost", "encoder"),
        (7, 5, 5, "lost", "index"),
        (7, 5, 6, "lost", "encoder"),
        (5, None, 5, "gained", "encoder"),
        (5, 6, 6, "gained", "index"),
        (5, 6, None, "gained", "index"),
        (4, 2, 1, "fell", "index"),
        (4, 2, 2, "fell", "index"),
        (4, 2, 3, "fell", None),
        (4, 2, 4, "fell", "encoder"),
        (4, 2, None, "fell", "encoder"),
        (2, 4, 1, "rose", "encoder"),
        (2, 4, 2, "rose", "encoder"),
        (2, 4, 3, "rose", None),
        (2, 4, 4, "rose", "index"),
        (2, 4, None, "rose", "index"),
        (4, 5, 5, "rose", "index"),
        (5, 4, 5, "fell", "encoder"),
    ],
)
def test_each_change_and_its_cause(
    rank_a: int | None, rank_b: int | None, rank_exact: int | None, change: Any, cause: Any
) -> None:
    found = one_query("nDCG@5", rank_a, rank_b, rank_exact)
    expected = MovedDocument("x", 1, rank_a, rank_b, change, cause, rank_exact)
    assert [one.documents for one in found.queries] == [(expected,)]
    counts = (found.gained, found.lost, found.lost_by_index, found.lost_by_encoder)
    lost = change == "lost"
    assert counts == (
        change == "gained",
        lost,
        lost and cause == "index",
        lost and cause != "index",
    )
    without = one_query("nDCG@5", rank_a, rank_b)
    assert without.queries[0].documents == (
        MovedDocument("x", 1, rank_a, rank_b, change, None, None),
    )
    assert (without.lost, without.lost_by_index, without.lost_by_encoder) == (lost, None, None)


@pytest.mark.parametrize(("rank_a", "rank_b"), [(3, 3), (6, 7), (None, 6), (None, None)])
def test_a_document_that_keeps_its_place_or_stays_beyond_k_has_not_moved(
    rank_a: int | None, rank_b: int | None
) -> None:
    found = one_query("nDCG@5", rank_a, rank_b, 1)
    assert (found.queries, found.gained, found.lost) == ((), 0, 0)


def test_documents_come_by_their_better_rank_and_only_relevant_ones() -> None:
    judged = Qrels.from_mapping({"q": {"w": 1, "x": 2, "y": 1, "z": 3, "v": 0, "u": -1}})
    a = Run.from_mapping({"q": ranked(["v", "y", "z", "u", "w"])})
    b = Run.from_mapping({"q": ranked(["x", "w", "z", "v", "y", "u"])})
    (query,) = explain(judged, a, b, "nDCG@4").queries
    assert query.documents == (
        MovedDocument("x", 2, None, 1, "lost", None),
        MovedDocument("w", 1, 5, 2, "lost", None),
        MovedDocument("y", 1, 2, 5, "gained", None),
    )


@pytest.mark.parametrize(
    ("measure", "level", "used", "moved"),
    [
        ("nDCG@5", 1, 1, ["x", "y", "z"]),
        ("nDCG@5", 2, 2, ["y", "z"]),
        ("AP@5", 2, 2, ["y", "z"]),
        ("AP(rel=3)@5", 2, 3, ["z"]),
    ],
)
def test_documents_are_relevant_from_the_level_of_the_measure_else_of_the_options(
    measure: str, level: int, used: int, moved: list[str]
) -> None:
    judged = Qrels.from_mapping({"q": {"x": 1, "y": 2, "z": 3}})
    a = Run.from_mapping({"q": ranked(["x", "y", "z"])})
    b = Run.from_mapping({"q": ranked(["n", "x", "y", "z"])})
    found = explain(judged, a, b, measure, options=EvaluationOptions(relevance_level=level))
    assert found.relevance_level == used
    assert [one.document_id for one in found.queries[0].documents] == moved


def test_ranks_of_condensed_lists_leave_out_unjudged_documents() -> None:
    judged = Qrels.from_mapping({"q": {"x": 1, "v": 0}})
    a = Run.from_mapping({"q": ranked(["n1", "v", "n2", "x"])})
    b = Run.from_mapping({"q": ranked(["n1", "n2", "n3", "x"])})
    found = explain(judged, a, b, "RR(judged_only=True)@5", exact=b)
    assert found.queries == (
        MovedQuery("q", 0.5, 1.0, -0.5, (MovedDocument("x", 1, 2, 1, "fell", "index", 1),), 1.0),
    )


@pytest.mark.parametrize(
    ("options", "rank_a", "rank_b", "rank_exact"),
    [
        (EvaluationOptions(), 3, 4, 2),
        (EvaluationOptions(drop_self=True), 2, 3, 1),
        (EvaluationOptions(score_precision="float32"), 2, 4, 2),
        (EvaluationOptions(depth=3), 3, None, 2),
    ],
)
def test_ranks_are_those_that_the_options_leave(
    options: EvaluationOptions, rank_a: int, rank_b: int | None, rank_exact: int
) -> None:
    judged = Qrels.from_mapping({"q": {"x": 1}})
    a = Run.from_mapping({"q": {"q": 3.0, "m": 1.0 + 1e-9, "x": 1.0}})
    b = Run.from_mapping({"q": ranked(["q", "n1", "n2", "x"])})
    exact = Run.from_mapping({"q": ranked(["q", "x", "n1"])})
    (query,) = explain(judged, a, b, "RR", exact=exact, options=options).queries
    (moved,) = query.documents
    assert (moved.rank_a, moved.rank_b, moved.rank_exact) == (rank_a, rank_b, rank_exact)
    assert (query.score_a, query.score_b) == (1 / rank_a, 1 / rank_b if rank_b else 0.0)


# -- what an exact run can tell ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "returned", "cause"),
    [
        ("R@5", 8, "encoder"),
        ("R@5", 5, "encoder"),  # as many as the measure sees
        ("R@5", 4, None),
        ("R@100", 8, "encoder"),  # as many as the candidate returns
        ("R@100", 7, None),
        ("R(judged_only=True)@5", 8, "encoder"),
        ("R(judged_only=True)@5", 7, None),  # those looked at may stand anywhere in the list
    ],
)
def test_a_short_exact_run_says_nothing_of_what_it_does_not_return(
    measure: str, returned: int, cause: str | None
) -> None:
    judged = Qrels.from_mapping({"q": {"x": 1}})
    a, b = (Run.from_mapping({"q": with_x_at(rank)}) for rank in (None, 2))
    exact = Run.from_mapping({"q": with_x_at(None, returned)})
    found = explain(judged, a, b, measure, exact=exact)
    assert found.queries[0].documents[0].cause == cause
    assert (found.lost, found.lost_by_index) == (1, 0)
    assert found.lost_by_encoder == (cause == "encoder")


def test_a_short_exact_run_still_tells_of_what_it_returns() -> None:
    judged = Qrels.from_mapping({"q": {"x": 1}})
    a, b, exact = (
        Run.from_mapping({"q": with_x_at(rank, n)}) for rank, n in ((None, 8), (2, 8), (3, 3))
    )
    found = explain(judged, a, b, "R@5", exact=exact)
    assert found.queries[0].documents[0].cause == "index"


def test_a_query_that_the_exact_run_lacks_scores_0_and_has_no_cause() -> None:
    judged = Qrels.from_mapping({"q1": {"x": 1}, "q2": {"x": 1}, "q3": {"x": 1}})
    a = Run.from_mapping({"q1": with_x_at(None), "q2": with_x_at(None)}, "a")
    b = Run.from_mapping({name: with_x_at(1) for name in ("q1", "q2", "q3")}, "b")
    exact = Run.from_mapping({"q2": with_x_at(2), "q3": {}}, "e")
    found = explain(judged, a, b, "RR@5", exact=exact)
    causes = {one.query_id: one.documents[0].cause for one in found.queries}
    assert causes == {"q1": None, "q2": "index", "q3": None}
    assert (found.lost, found.lost_by_index, found.lost_by_encoder) == (3, 1, 0)
    assert (found.missing_a, found.missing_b, found.missing_exact) == (1, 0, 2)
    assert found.mean_exact == pytest.approx(0.5 / 3)
    assert found.by_index == pytest.approx(-0.5 / 3)
    assert found.by_encoder == pytest.approx(-2.5 / 3)


# -- queries -----------------------------------------------------------------------------------


def test_queries_are_matched_by_id_in_any_order() -> None:
    judged = Qrels.from_mapping({"q1": {"x": 1}, "q2": {"y": 1}, "q3": {"x": 1}})
    a = {"q3": ranked(["x"]), "q0": ranked(["x"]), "q1": ranked(["n", "x"]), "q2": ranked(["y"])}
    b = {"q2": ranked(["y"]), "q1": ranked(["x"]), "q9": ranked(["y"]), "q3": ranked(["m", "x"])}
    found = explain(judged, Run.from_mapping(a, "a"), Run.from_mapping(b, "b"), "RR@10")
    assert (found.a, found.b, found.n_queries, found.n_differing) == ("a", "b", 3, 2)
    assert found.queries == (
        MovedQuery("q1", 0.5, 1.0, -0.5, (MovedDocument("x", 1, 2, 1, "fell", None),)),
        MovedQuery("q3", 1.0, 0.5, 0.5, (MovedDocument("x", 1, 1, 2, "rose", None),)),
    )


def test_a_query_that_a_run_does_not_answer_scores_0_and_loses_its_documents() -> None:
    judged = Qrels.from_mapping({"q1": {"x": 1}, "q2": {"x": 1}})
    a, b = Run.from_mapping({"q2": {"x": 1.0}}), Run.from_mapping({"q1": {"x": 1.0}, "q2": {}})
    found = explain(judged, a, b, "RR@10")
    assert [(one.query_id, one.difference) for one in found.queries] == [("q1", -1.0), ("q2", 1.0)]
    assert [one.documents[0].change for one in found.queries] == ["lost", "gained"]
    assert (found.gained, found.lost, found.missing_a, found.missing_b) == (1, 1, 1, 1)


def test_the_largest_differences_come_first_and_equal_ones_by_id() -> None:
    # As floats 0.3 - 0.2 is less than 0.2 - 0.1; qb must come before qc all the same.
    counts = {"qd": (0, 4), "qc": (2, 1), "qb": (3, 2), "qa": (5, 5), "qe": (1, 2), "qf": (9, 0)}
    names = [f"d{place}" for place in range(10)]
    judged = Qrels.from_mapping({query: dict.fromkeys(names, 1) for query in counts})
    a, b = (
        Run.from_mapping({query: ranked(["n", *names[: n[side]]]) for query, n in counts.items()})
        for side in (0, 1)
    )
    found = explain(judged, a, b, "P@10")
    assert [one.query_id for one in found.queries] == ["qf", "qd", "qb", "qc", "qe"]
    assert found.n_differing == 5
    few = explain(judged, a, b, "P@10", top=3)
    assert few.queries == found.queries[:3]
    none = explain(judged, a, b, "P@10", top=0)
    assert (none.queries, none.gained, none.lost) == ((), found.gained, found.lost)
    assert (found.gained, found.lost) == (9 + 1 + 1, 4 + 1)


def test_scores_that_are_equal_but_for_rounding_do_not_differ() -> None:
    judged = Qrels.from_mapping({"q": {"x": 1, "y": 1, "z": 1}})
    runs = []
    for places in ((1, 8, 12), (2, 3, 9)):  # 1 + 2/8 + 3/12 is 1/2 + 2/3 + 3/9
        names = [f"n{place}" for place in range(12)]
        for name, rank in zip("xyz", places, strict=True):
            names[rank - 1] = name
        runs.append(Run.from_mapping({"q": ranked(names)}))
    scores = [evaluate(judged, run, ["AP"]).means["AP"] for run in runs]
    assert scores[0] != scores[1]  # or this test shows nothing
    found = explain(judged, runs[0], runs[1], "AP")
    assert (found.queries, found.n_differing) == ((), 0)


def test_a_query_may_move_without_a_relevant_document_that_does() -> None:
    judged = Qrels.from_mapping({"q": {"x": 1, "v": 0}})
    a, b = (Run.from_mapping({"q": ranked(names)}) for names in (["x", "v"], ["x", "n"]))
    assert explain(judged, a, b, "Judged@2").queries == (MovedQuery("q", 1.0, 0.5, 0.5, ()),)


# -- k -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "depth", "cut", "k"),
    [
        ("AP@7", None, None, 7),
        ("AP@7", 20, None, 7),
        ("AP", None, None, 100),
        ("AP", 20, None, 20),
        ("AP", None, 30, 30),
        ("AP", 20, 30, 20),
        ("IPrec@1", None, None, 100),
        ("IPrec@0.1", 3, None, 3),
    ],
)
def test_k_is_the_cutoff_of_the_measure_or_the_depth(
    measure: str, depth: int | None, cut: int | None, k: int
) -> None:
    names = [f"n{place:03}" for place in range(150)]
    judged = Qrels.from_mapping({"q": dict.fromkeys(names, 1)})
    a = Run.from_mapping({"q": ranked(names)})
    b = Run.from_mapping({"q": ranked(["m", *names])})
    found = explain(judged, a, b, measure, depth=depth, options=EvaluationOptions(depth=cut))
    assert (found.k, found.gained, found.lost) == (k, 1, 0)


# -- numbers -----------------------------------------------------------------------------------


def test_the_difference_splits_into_index_and_encoder() -> None:
    judged = Qrels.from_mapping({"q1": {"x": 1}, "q2": {"x": 1}})
    a, b, exact = (
        Run.from_mapping({"q1": with_x_at(one), "q2": with_x_at(two)})
        for one, two in ((None, 4), (1, 2), (2, 1))
    )
    found = explain(judged, a, b, "RR", exact=exact)
    assert (found.mean_a, found.mean_b, found.mean_exact) == (0.125, 0.75, 0.75)
    assert (found.difference, found.by_index, found.by_encoder) == (-0.625, -0.625, 0.0)
    assert [one.score_exact for one in found.queries] == [0.5, 1.0]
    alone = explain(judged, a, b, "RR")
    assert (alone.mean_exact, alone.by_index, alone.by_encoder) == (None, None, None)
    assert [one.score_exact for one in alone.queries] == [None, None]


def test_as_dict_is_what_json_can_hold() -> None:
    judged = Qrels.from_mapping({"q1": {"x": 1}, "q2": {"x": 1}})
    a = Run.from_mapping({"q1": with_x_at(None), "q2": with_x_at(1)}, "hnsw")
    b = Run.from_mapping({"q1": with_x_at(2), "q2": with_x_at(1)}, "old")
    exact = Run.from_mapping({"q1": with_x_at(4), "q2": with_x_at(1)}, "flat")
    shown = explain(judged, a, b, "RR@5", exact=exact).as_dict()
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown == {
        "a": "hnsw",
        "b": "old",
        "exact": "flat",
        "measure": "RR@5",
        "k": 5,
        "relevance_level": 1,
        "n_queries": 2,
        "n_differing": 1,
        "mean_a": 0.5,
        "mean_b": 0.75,
        "mean_exact": 0.625,
        "missing_a": 0,
        "missing_b": 0,
        "missing_exact": 0,
        "difference": -0.25,
        "by_index": -0.125,
        "by_encoder": -0.125,
        "gained": 0,
        "lost": 1,
        "lost_by_index": 1,
        "lost_by_encoder": 0,
        "queries": [
            {
                "query_id": "q1",
                "score_a": 0.0,
                "score_b": 0.5,
                "score_exact": 0.25,
                "difference": -0.5,
                "documents": [
                    {
                        "document_id": "x",
                        "grade": 1,
                        "rank_a": None,
                        "rank_b": 2,
                        "rank_exact": 4,
                        "change": "lost",
                        "cause": "index",
                    }
                ],
            }
        ],
    }
    alone = explain(judged, a, b, "RR@5").as_dict()
    unknown = {name for name, value in alone.items() if value is None}
    assert unknown == {
        *("exact", "mean_exact", "missing_exact", "by_index", "by_encoder"),
        *("lost_by_index", "lost_by_encoder"),
    }


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("nDGC@10", "Did you mean 'nDCG'"),
        ("GAP", "no mean over queries"),
        ("AP(mean='geometric')", "no mean over queries"),
        ("GMAP", "no mean over queries"),
        ("SampledRR", "no mean over queries"),
        ("DCG(gains={1:1e308})@10", "not finite"),
    ],
)
def test_a_measure_that_is_none_or_no_finite_mean_is_refused(measure: str, message: str) -> None:
    judged = Qrels.from_mapping({"q": {"x": 1, "y": 1, "z": 1}})
    run = Run.from_mapping({"q": ranked(["x", "y", "z"])})
    with pytest.raises(InputError, match=message):
        explain(judged, run, run, measure)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top": -1}, "top=-1 must be at least 0"),
        ({"depth": 0}, "depth=0 at least 1"),
        ({"options": EvaluationOptions(ties="expected")}, "ties='expected'"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    run = Run.from_mapping({"q": {"x": 1.0}})
    with pytest.raises(InputError, match=message):
        explain(Qrels.from_mapping({"q": {"x": 1}}), run, run, "AP", **settings)


def test_queries_are_left_out_only_where_all_runs_leave_out_the_same() -> None:
    judged = Qrels.from_mapping({"q1": {"x": 1}, "q2": {"x": 1}, "q3": {"x": 1}})
    a = Run.from_mapping({"q3": with_x_at(2), "q2": with_x_at(1)}, "a")
    b = Run.from_mapping({"q2": with_x_at(1), "q3": with_x_at(1)}, "b")
    skip = EvaluationOptions(missing="skip")
    found = explain(judged, a, b, "RR", options=skip)
    assert (found.n_queries, found.difference) == (2, -0.25)
    assert [(one.query_id, one.documents[0].rank_a) for one in found.queries] == [("q3", 2)]
    more = Run.from_mapping({"q1": with_x_at(2), "q2": with_x_at(1)}, "more")
    with pytest.raises(InputError, match="'a' and 'more' answer different queries"):
        explain(judged, a, more, "RR", options=skip)
    with pytest.raises(InputError, match="'a' and 'more' answer different queries"):
        explain(judged, a, b, "RR", exact=more, options=skip)


# -- brute force -------------------------------------------------------------------------------


def seen(scores: Scores, grades: Grades, options: EvaluationOptions, condensed: bool) -> Any:
    """Return, query by query, the ranked ids that a measure sees, and how many were returned."""
    lists, returned = {}, {}
    for query in grades:
        rows = list(scores.get(query, {}).items())
        if options.drop_self:
            rows = [(name, score) for name, score in rows if name != query]
        if options.score_precision == "float32":
            rows = [(name, float(np.float32(score))) for name, score in rows]
        names = [name for _, name in sorted([(score, name) for name, score in rows], reverse=True)]
        names = names[: options.depth]
        returned[query] = len(names)
        if condensed:
            names = [name for name in names if grades[query].get(name, -1) >= 0]
        lists[query] = names
    return lists, returned


def brute_cause(change: str, ranks: Sequence[int | None], told: bool, k: int) -> str | None:
    a, b, exact = (10**6 if one is None else one for one in ranks)
    if ranks[2] is None and not told:
        return None
    if change in ("lost", "gained"):
        return "index" if (exact <= k) == (change == "lost") else "encoder"
    # Measured from b towards a: how far exact search alone would have moved it.
    part, whole = (exact - b, a - b) if change == "fell" else (b - exact, b - a)
    return "index" if part <= 0 else "encoder" if part >= whole else None


def brute_force(
    grades: Grades,
    runs: Sequence[Scores],
    k: int,
    level: int,
    options: EvaluationOptions,
    condensed: bool,
) -> dict[str, tuple[MovedDocument, ...]]:
    """Return the moved documents of every query."""
    views = [seen(run, grades, options, condensed) for run in runs]
    result = {}
    for query, judged in grades.items():
        moved = []
        for name, grade in judged.items():
            if grade < level or (options.drop_self and name == query):
                continue
            ranks = [
                lists[query].index(name) + 1 if name in lists[query] else None for lists, _ in views
            ]
            in_a, in_b = (rank is not None and rank <= k for rank in ranks[:2])
            if not (in_a or in_b) or ranks[0] == ranks[1]:
                continue
            change: Any = "gained" if not in_b else "lost" if not in_a else None
            change = change or ("rose" if ranks[0] < ranks[1] else "fell")  # type: ignore[operator]
            cause: Any = None
            if len(views) == 3:
                wanted = views[0][1][query] if condensed else min(views[0][1][query], k)
                told = views[2][1][query] >= max(wanted, 1)
                cause = brute_cause(change, ranks, told, k)
            best = min(rank for rank in ranks[:2] if rank is not None)
            exact = ranks[2] if len(views) == 3 else None
            one = MovedDocument(name, grade, ranks[0], ranks[1], change, cause, exact)
            moved.append((best, name, one))
        result[query] = tuple(one for *_, one in sorted(moved, key=lambda one: one[:2]))
    return result


def assert_as_by_brute_force(
    found: Explanation,
    grades: Grades,
    runs: Sequence[Run],
    k: int,
    level: int,
    options: EvaluationOptions,
    condensed: bool = False,
) -> None:
    scored = [evaluate(grades, run, [found.measure], options) for run in runs]
    documents = brute_force(
        grades, [run.to_mapping() for run in runs], k, level, options, condensed
    )
    everything = [one for moved in documents.values() for one in moved]
    values = np.array([one.values[0] for one in scored])
    order = sorted(
        (-round(abs(mine - theirs), 12), query, scores)
        for query, (mine, theirs, *_), scores in zip(
            scored[0].query_ids, values.T.tolist(), values.T.tolist(), strict=True
        )
        if abs(mine - theirs) > 1e-12
    )
    assert found.queries == tuple(
        MovedQuery(
            query,
            scores[0],
            scores[1],
            scores[0] - scores[1],
            documents[query],
            scores[2] if len(runs) == 3 else None,
        )
        for _, query, scores in order
    )
    assert (found.n_queries, found.n_differing) == (len(grades), len(order))
    assert found.gained == sum(one.change == "gained" for one in everything)
    lost = [one.cause for one in everything if one.change == "lost"]
    assert found.lost == len(lost)
    if len(runs) == 3:
        assert (found.lost_by_index, found.lost_by_encoder) == (
            lost.count("index"),
            lost.count("encoder"),
        )
        assert found.by_index is not None
        assert found.by_encoder is not None
        assert found.by_index + found.by_encoder == pytest.approx(found.difference, abs=1e-12)
        assert found.by_index == pytest.approx(float((values[0] - values[2]).mean()), abs=1e-12)
    assert found.difference == pytest.approx(float((values[0] - values[1]).mean()), abs=1e-12)


NAMES = ["a", "b", "c", "d", "é", "f", "g"]  # some are ids of queries too
QUERIES = ["a", "b", "q", "r"]
GRADES = st.dictionaries(
    st.sampled_from(QUERIES),
    st.dictionaries(st.sampled_from(NAMES), st.integers(-1, 3), min_size=1),
    min_size=1,
)
SCORES = st.dictionaries(
    st.sampled_from([*QUERIES, "unjudged"]),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([0.0, 1.0, 1.0 + 1e-9, 2.0, 3.0])),
)
MEASURES = ["nDCG@2", "R@3", "AP", "RR(rel=2)@4", "P(judged_only=True)@2", "Judged@3"]


@settings(max_examples=250, deadline=None)
@given(
    grades=GRADES,
    scores=st.lists(SCORES, min_size=2, max_size=3),
    measure=st.sampled_from(MEASURES),
    options=st.builds(
        EvaluationOptions,
        relevance_level=st.integers(1, 2),
        drop_self=st.booleans(),
        score_precision=st.sampled_from(["float64", "float32"]),
        depth=st.sampled_from([None, 1, 3, 5]),
    ),
    depth=st.sampled_from([None, 2]),
)
def test_all_of_it_is_what_a_loop_over_dictionaries_finds(
    grades: Grades,
    scores: list[Scores],
    measure: str,
    options: EvaluationOptions,
    depth: int | None,
) -> None:
    runs = [Run.from_mapping(one, f"run {place}") for place, one in enumerate(scores)]
    k = int(measure.partition("@")[2] or depth or options.depth or 100)
    level = 2 if "rel=2" in measure else options.relevance_level
    exact = runs[2] if len(runs) == 3 else None
    judged = Qrels.from_mapping(grades)
    found = explain(judged, runs[0], runs[1], measure, exact=exact, depth=depth, options=options)
    assert_as_by_brute_force(found, grades, runs, k, level, options, "judged_only" in measure)


def columns(one: Run | Qrels) -> Mapping[str, Any]:
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value
        for name, value in vars(one).items()
        if name in ("name", "query_ids", "document_ids", "query", "document", "score", "grade")
    }


def test_neither_runs_nor_judgments_are_changed() -> None:
    judged = Qrels.from_mapping({"a": {"a": 1, "x": 1, "y": 0}, "b": {"x": 1}})
    texts: list[Scores] = [
        {"b": {"x": 1.0, "y": 1.0 + 1e-9}, "a": {"a": 3.0, "y": 2.0, "x": 1.0}},
        {"a": {"x": 1.0}, "c": {"x": 1.0}},
        {"a": {"y": 1.0, "x": 1.0}},
    ]
    a, b, exact = (Run.from_mapping(text) for text in texts)
    inputs: list[Run | Qrels] = [judged, a, b, exact]
    before = [columns(one) for one in inputs]
    options = EvaluationOptions(drop_self=True, score_precision="float32", depth=2)
    for measure in ("nDCG@2", "P(judged_only=True)@1"):
        assert explain(judged, a, b, measure, exact=exact, options=options).queries
    for one, kept in zip(inputs, before, strict=True):
        for name, value in columns(one).items():
            assert np.array_equal(value, kept[name]), name


@pytest.mark.parametrize(("measure", "level"), [("nDCG@10", 2), ("AP(rel=2)", 1)])
def test_real_runs_are_explained_as_by_brute_force(
    collections: Path, measure: str, level: int
) -> None:
    folder = collections / "runs" / "dl-hard-passage"
    judged = Qrels.from_file(folder / "qrels.txt")
    names = ("bm25+rm3", "bm25", "bm25+bertzs")
    a, b, other = (Run.from_file(folder / f"{name}.run.gz") for name in names)
    options = EvaluationOptions(relevance_level=level)
    found = explain(judged, a, b, measure, exact=other, top=50, options=options)
    assert (found.a, found.b, found.exact) == names
    assert found.gained > 10
    assert found.lost > 10
    k = 10 if "@" in measure else 100
    assert_as_by_brute_force(found, dict(judged.mapping), [a, b, other], k, 2, options)
