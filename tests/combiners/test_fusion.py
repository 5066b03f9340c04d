"""Fused runs against a plain loop over the formulas, the tie rule, and queries that are missing."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from retrieval_eval import Hits, Ids, InputError, Qrels, Run
from retrieval_eval.combiners import (
    COMBINERS,
    CombineContext,
    fuse_comb,
    fuse_reciprocal_rank,
    fuse_weighted,
    get_combiner,
    normalise,
)

Scores = dict[str, dict[str, float]]
Evidence = dict[str, dict[str, list[float]]]

COMBINE: Mapping[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "mnz": lambda scores: sum(scores) * len(scores),
    "anz": statistics.fmean,
    "max": max,
    "min": min,
    "med": statistics.median,
}


def gathered(runs: Sequence[Scores]) -> Evidence:
    """Return what the runs say of each document of each query."""
    evidence: Evidence = {}
    for run in runs:
        for query, documents in run.items():
            lists = evidence.setdefault(query, {})
            for document, score in documents.items():
                lists.setdefault(document, []).append(score)
    return evidence


def by_loop(runs: Sequence[Scores], combine: Callable[[list[float]], float]) -> Scores:
    return {
        query: {document: combine(scores) for document, scores in documents.items()}
        for query, documents in gathered(runs).items()
    }


def reciprocal(run: Run, k: float) -> Scores:
    return {
        query: {document: 1 / (k + rank) for rank, document in enumerate(documents, start=1)}
        for query, documents in run.to_mapping().items()
    }


def assert_same(fused: Run, expected: Scores, rel: float = 1e-12) -> None:
    found = fused.to_mapping()
    assert found.keys() == expected.keys()
    for query, documents in expected.items():
        assert found[query] == pytest.approx(documents, rel=rel, abs=1e-12)
        ranked = sorted(found[query].items(), key=lambda one: one[0].encode(), reverse=True)
        assert list(found[query]) == [d for d, _ in sorted(ranked, key=lambda one: -one[1])]


@pytest.fixture
def three(random_run: Callable[..., Run]) -> list[Run]:
    return [random_run(seed, name) for seed, name in enumerate(("bm25", "dense", "sparse"))]


@pytest.mark.parametrize("k", [0, 0.5, 60])
def test_reciprocal_rank_fusion_is_its_formula(three: list[Run], k: float) -> None:
    expected = by_loop([reciprocal(run, k) for run in three], sum)
    assert_same(fuse_reciprocal_rank(three, k=k), expected)


@pytest.mark.parametrize("normalisation", ["min-max", "max", "sum", "zmuv", "rank", "none"])
@pytest.mark.parametrize("method", COMBINE)
def test_each_combination_is_its_formula(three: list[Run], method: Any, normalisation: Any) -> None:
    runs = [normalise(run, normalisation).to_mapping() for run in three]
    assert_same(fuse_comb(three, method, normalisation), by_loop(runs, COMBINE[method]))


def test_borda_shares_the_points_that_are_left(three: list[Run]) -> None:
    expected: Scores = {}
    for query, documents in gathered([run.to_mapping() for run in three]).items():
        c = len(documents)
        expected[query] = dict.fromkeys(documents, 0.0)
        for run in three:
            ranked = list(run.to_mapping().get(query, {}))
            for document in documents:
                n = len(ranked)
                points = c - ranked.index(document) if document in ranked else (c - n + 1) / 2
                expected[query][document] += points
    assert_same(fuse_comb(three, "sum", "borda"), expected)


def test_borda_hands_out_all_points_of_every_run(three: list[Run]) -> None:
    for documents in fuse_comb(three, "sum", "borda").to_mapping().values():
        c = len(documents)
        assert sum(documents.values()) == 3 * c * (c + 1) / 2


def test_a_weighted_sum_is_its_formula(three: list[Run]) -> None:
    weights = [0.2, 0.0, 3.0]
    parts = [
        {
            query: {document: weight * score for document, score in documents.items()}
            for query, documents in normalise(run, "min-max").to_mapping().items()
        }
        for run, weight in zip(three, weights, strict=True)
    ]
    assert_same(fuse_weighted(three, weights), by_loop(parts, sum))


def test_equal_weights_are_combsum(three: list[Run]) -> None:
    for normalisation in ("min-max", "borda"):
        weighted = fuse_weighted(three, [1, 1, 1], normalisation)  # type: ignore[arg-type]
        np.testing.assert_array_equal(
            weighted.score,
            fuse_comb(three, "sum", normalisation).score,  # type: ignore[arg-type]
        )


def test_weights_of_reciprocal_ranks_multiply_them(three: list[Run]) -> None:
    parts = [
        {
            query: {document: weight * score for document, score in documents.items()}
            for query, documents in reciprocal(run, 60).items()
        }
        for run, weight in zip(three, (2, 0.5, 1), strict=True)
    ]
    assert_same(fuse_reciprocal_rank(three, weights=[2, 0.5, 1]), by_loop(parts, sum))


def test_depth_cuts_each_run_before_anything_is_computed(three: list[Run]) -> None:
    cut = [run.top(4) for run in three]
    for fuse in (
        fuse_reciprocal_rank,
        fuse_comb,
        lambda runs, **more: fuse_weighted(runs, [1, 2, 3], **more),
    ):
        found = fuse(three, depth=4)  # type: ignore[operator]
        assert found.to_mapping() == fuse(cut).to_mapping()  # type: ignore[operator]
        assert len(found) < len(fuse(three))  # type: ignore[operator]


@pytest.mark.parametrize("normalisation", ["min-max", "sum", "zmuv", "rank", "borda"])
def test_the_order_of_the_runs_changes_no_bit(three: list[Run], normalisation: Any) -> None:
    orders = list(itertools.permutations(range(3)))
    for fuse in (
        fuse_reciprocal_rank,
        lambda runs: fuse_comb(runs, "mnz", normalisation),
        lambda runs: fuse_comb(runs, "med", normalisation),
    ):
        expected = fuse(three).to_mapping()  # type: ignore[operator]
        for order in orders:
            assert fuse([three[row] for row in order]).to_mapping() == expected  # type: ignore[operator]


def test_sums_that_the_formula_ties_are_tied() -> None:
    ranks = list(itertools.permutations((1.0, 2.0, 3.0)))  # every document has ranks 1, 2 and 3
    names = ("x", "y", "z")
    for order in ranks:
        content = [
            {"q": {names[row]: order[(row + shift) % 3] for row in range(3)}} for shift in range(3)
        ]
        fused = fuse_reciprocal_rank([Run.from_mapping(one) for one in content], k=60)
        assert len(set(fused.score.tolist())) == 1
        assert list(fused.to_mapping()["q"]) == ["z", "y", "x"]


def test_a_query_that_some_runs_miss_is_fused_from_the_others() -> None:
    first = Run.from_mapping({"q1": {"a": 1.0}, "q2": {"a": 2.0, "b": 1.0}})
    second = Run.from_mapping({"q3": {"c": 1.0}, "q2": {"b": 1.0}})
    fused = fuse_reciprocal_rank([first, second], k=0)
    assert fused.query_ids == ("q1", "q2", "q3")
    assert fused.to_mapping() == {"q1": {"a": 1.0}, "q2": {"b": 1.5, "a": 1.0}, "q3": {"c": 1.0}}


def test_one_run_alone_keeps_its_order(three: list[Run]) -> None:
    expected = {query: list(documents) for query, documents in three[0].to_mapping().items()}
    for fused in (fuse_reciprocal_rank(three[:1]), fuse_comb(three[:1], "mnz")):
        assert {q: list(documents) for q, documents in fused.to_mapping().items()} == expected


def test_ids_that_two_runs_share_and_ids_of_their_own_give_the_same() -> None:
    rng = np.random.default_rng(0)
    corpus = Ids.of([f"d{row}" for row in range(30)])
    runs = []
    for _ in range(3):
        ids = np.array([rng.permutation(30)[:9] for _ in range(4)])
        scores = np.sort(rng.normal(size=ids.shape).astype(np.float32))[:, ::-1]
        hits = Hits(ids, np.ascontiguousarray(scores))
        runs.append(Run.from_hits(hits, list("wxyz"), corpus))
    own = [Run.from_mapping(run.to_mapping()) for run in runs]
    mixed = [runs[0], own[1], runs[2]]
    expected = fuse_comb(runs)
    assert expected.document_ids is corpus
    for other in (own, mixed):
        assert fuse_comb(other).to_mapping() == expected.to_mapping()


def test_an_id_that_stands_twice_in_a_shared_column_is_one_document() -> None:
    ids = Ids.of(["a", "b", "a"])
    one = Run.from_mapping({"q": {"a": 1.0}})
    runs = [
        Run(name, ("q",), ids, one.query, np.array([row], dtype=np.int32), one.score)
        for name, row in (("first", 0), ("second", 2))
    ]
    assert fuse_comb(runs).to_mapping() == {"q": {"a": 2.0}}


def test_inputs_are_never_changed(three: list[Run]) -> None:
    before = [(run.score.copy(), run.document.copy(), run.query.copy()) for run in three]
    fuse_reciprocal_rank(three, depth=3)
    for method in COMBINE:
        fuse_comb(three, method, "zmuv")  # type: ignore[arg-type]
    for run, (score, document, query) in zip(three, before, strict=True):
        np.testing.assert_array_equal(run.score, score)
        np.testing.assert_array_equal(run.document, document)
        np.testing.assert_array_equal(run.query, query)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: fuse_reciprocal_rank([]), "at least one run in a list"),
        (lambda runs: fuse_reciprocal_rank(runs[0]), "at least one run in a list"),
        (lambda runs: fuse_reciprocal_rank(runs, k=-1), "k is -1: it must be from 0 to 1e9"),
        (lambda runs: fuse_reciprocal_rank(runs, k=float("nan")), "k is nan"),
        (lambda runs: fuse_reciprocal_rank(runs, depth=0), "depth 0 leaves no document"),
        (lambda runs: fuse_comb(runs, "summ"), "unknown method 'summ'. Did you mean 'sum'"),
        (lambda runs: fuse_comb(runs, "sum", "zscore"), "unknown normalisation 'zscore'"),
        (lambda runs: fuse_weighted(runs, [1, 2]), "2 weights for 3 runs"),
        (lambda runs: fuse_weighted(runs, [0, 0, 0]), "not all 0"),
        (lambda runs: fuse_weighted(runs, [1, -1, 1]), "at least 0"),
        (lambda runs: fuse_weighted(runs, [1, float("inf"), 1]), "must be finite"),
        (lambda runs: fuse_weighted(runs, [1e308, 1e308, 1e308], "borda"), "is out of range"),
    ],
)
def test_what_makes_no_sense_is_refused(
    three: list[Run], call: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        call(three)


def test_scores_that_add_up_to_no_number_are_refused_by_name() -> None:
    runs = [Run.from_mapping({"q7": {"d3": 1.5e308}}) for _ in range(2)]
    with pytest.raises(InputError, match=r"query 'q7' and document 'd3' is out of range: normal"):
        fuse_comb(runs, "sum", "none")
    assert fuse_comb(runs, "med", "none").score.tolist() == [1.5e308]


# -- combiners ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters", "function"),
    [
        ("rrf", {"k": 10, "depth": 7}, lambda r: fuse_reciprocal_rank(r, k=10, depth=7)),
        (
            "rrf",
            {"weights": {"sparse": 3, "1": 1, "dense": 2}},
            lambda r: fuse_reciprocal_rank(r, weights=[1, 2, 3]),
        ),
        ("combsum", {}, fuse_comb),
        ("combmnz", {"normalisation": "sum"}, lambda r: fuse_comb(r, "mnz", "sum")),
        ("comb", {"method": "med", "depth": 7}, lambda r: fuse_comb(r, "med", depth=7)),
        ("weighted", {"weights": "1, 2,0.5"}, lambda r: fuse_weighted(r, [1, 2, 0.5])),
        ("weighted", {"weights": {3: 0.5, 1: 1, 2: 2}}, lambda r: fuse_weighted(r, [1, 2, 0.5])),
    ],
)
def test_a_combiner_is_its_function_cut_at_k(
    three: list[Run], name: str, parameters: dict[str, Any], function: Callable[[Any], Run]
) -> None:
    combined = get_combiner(name, **parameters).combine(three, CombineContext(k=5, name="mine"))
    assert combined.run.name == "mine"
    assert combined.run.to_mapping() == function(three).top(5).to_mapping()


@pytest.mark.parametrize("name", ["rrf", "combsum", "combmnz", "comb", "weighted"])
def test_a_combiner_refuses_a_single_run(name: str, three: list[Run]) -> None:
    combiner = get_combiner(name)
    with pytest.raises(InputError, match=f"combiner '{name}' takes 2 or more runs, got 1"):
        combiner.check(1)
    with pytest.raises(InputError, match="got 1"):
        combiner.combine(three[:1], CombineContext())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("rrf", {"k": 61}),
        ("rrf", {"weights": "1, 2"}),
        ("rrf", {"depth": 100}),
        ("combsum", {"normalisation": "zmuv"}),
        ("comb", {"method": "max"}),
        ("weighted", {"weights": "1, 2"}),
        ("weighted", {"measure": "AP"}),
        ("weighted", {"folds": 3}),
    ],
)
def test_what_changes_the_run_is_part_of_the_identity(
    name: str, parameters: dict[str, Any]
) -> None:
    identity = get_combiner(name, **parameters).identity()
    assert identity != get_combiner(name).identity()
    assert json.loads(json.dumps(identity, sort_keys=True)) == identity


def test_one_choice_written_in_two_ways_has_one_identity() -> None:
    for first, second in [
        ({"weights": "1,2.50"}, {"weights": " 1.0, 2.5"}),
        ({"weights": {1: 1, 2: 2}}, {"weights": {"2": 2.0, "1": 1.0}}),
    ]:
        for name in ("rrf", "weighted"):
            one, other = (get_combiner(name, **given).identity() for given in (first, second))
            assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert get_combiner("rrf", k=60).identity() == get_combiner("rrf", k=60.0).identity()
    tuned = get_combiner("weighted", measure="NDCG@10").identity()
    assert tuned == get_combiner("weighted").identity()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"weights": "0.5; 0.5"}, "expected numbers with commas between them"),
        ({"weights": "tuned "}, "expected numbers with commas"),
        ({"weights": "0, 0"}, "not all 0"),
        ({"weights": "nan, 1"}, "must be finite"),
        ({"weights": {"a": -1.0, "b": 1.0}}, "at least 0"),
        ({"weights": {1: 1.0, "1": 2.0}}, "name one run twice"),
        ({"weights": [0.5, 0.5]}, "parameter 'weights'"),
        ({"weights": "1, 1", "folds": 3}, "'folds' is for weights: tuned, and these are fixed"),
        ({"measure": "nDGC@10"}, "Did you mean 'nDCG'"),
        ({"measure": "GMAP"}, "is no mean over queries"),
        ({"folds": 1}, "parameter 'folds' is 1"),
        ({"normalisation": "minmax"}, "parameter 'normalisation' is 'minmax'"),
    ],
)
def test_parameters_out_of_their_rules_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"combiner 'weighted'.*{message}"):
        get_combiner("weighted", **parameters)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("1, 1", "2 weights for 3 runs"),
        ({"bm25": 1.0, "dense": 1.0, "spares": 1.0}, "unknown run 'spares'. Did you mean 'sparse'"),
        ({"bm25": 1.0, "dense": 1.0, "4": 1.0}, "unknown run '4'"),
        ({"bm25": 1.0, "1": 1.0, "3": 1.0}, "run 'bm25' has two weights"),
    ],
)
def test_weights_that_do_not_fit_the_runs_are_refused(
    three: list[Run], weights: Any, message: str
) -> None:
    for name in ("rrf", "weighted"):
        with pytest.raises(InputError, match=f"combiner '{name}': .*{message}"):
            get_combiner(name, weights=weights).combine(three, CombineContext())
    namesakes = [replace(run, name="bm25") for run in three]
    with pytest.raises(InputError, match="3 runs have the name 'bm25': weigh them by their numb"):
        get_combiner("rrf", weights={"bm25": 1.0, "2": 1.0, "3": 1.0}).combine(
            namesakes, CombineContext()
        )


def test_another_number_of_weights_is_known_before_any_run_is_there() -> None:
    for name in ("rrf", "weighted"):
        get_combiner(name, weights="1, 2, 3").check(3)
        with pytest.raises(InputError, match="3 weights for 2 runs"):
            get_combiner(name, weights="1, 2, 3").check(2)


def test_all_names_load_and_an_unknown_one_is_suggested() -> None:
    for name in COMBINERS.names():
        assert COMBINERS.load(name).name == name
    with pytest.raises(InputError, match=r"unknown combiner 'rrff'. Did you mean 'rrf'"):
        get_combiner("rrff")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"query_ids": ["q1"]}, "0 texts for 1 ids of queries"),
        ({"document_ids": ["d"], "documents": ["a", "b"]}, "2 texts for 1 ids of documents"),
        ({"k": 0}, "k is 0"),
        ({"seed": -1}, "the seed is -1"),
    ],
)
def test_a_context_that_does_not_fit_together_is_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        CombineContext(**values)


# -- real runs ----------------------------------------------------------------------------------


def test_real_runs_fuse_as_the_formulas_say(hard: tuple[list[Run], Qrels]) -> None:
    runs, _ = hard
    assert_same(fuse_reciprocal_rank(runs), by_loop([reciprocal(r, 60) for r in runs], sum))
    scaled = [normalise(run, "min-max").to_mapping() for run in runs]
    for method in ("sum", "mnz"):
        assert_same(fuse_comb(runs, method), by_loop(scaled, COMBINE[method]))
