"""Fewer judgments: pools against brute force, samples that are nested and never change."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_eval.comparison.robustness import pool_depth, sample_judgments, sample_queries
from retrieval_eval.errors import InputError
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

TWELVE = Qrels.from_mapping({f"q{q}": {f"d{d}": (q + d) % 3 for d in range(4)} for q in range(3)})

documents = st.sampled_from("abcdefgh")
judgments = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]),
    st.dictionaries(documents, st.integers(-1, 3), min_size=1),
    min_size=1,
)
rankings = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3", "q4"]),
    st.dictionaries(documents, st.sampled_from([1.0, 2.0, 3.0])),  # with ties
)
fractions = st.floats(0.001, 1)


def pairs(qrels: Qrels) -> set[tuple[str, str, int]]:
    return set(qrels.to_frame().iter_rows())


@given(judgments, st.lists(rankings, min_size=1, max_size=3), st.integers(1, 5))
@settings(deadline=None)
def test_a_pool_is_what_the_runs_return_first(
    judged: dict[str, dict[str, int]], scored: list[dict[str, dict[str, float]]], depth: int
) -> None:
    qrels = Qrels.from_mapping(judged)
    before = qrels.fingerprint
    pool = set()
    for run in scored:
        for query, scores in run.items():
            # Score descending, then document id descending.
            ranked = sorted(scores, key=lambda one: (scores[one], one), reverse=True)
            pool |= {(query, document) for document in ranked[:depth]}
    expected = {
        query: {one: grade for one, grade in grades.items() if (query, one) in pool}
        for query, grades in judged.items()
    }
    expected = {query: grades for query, grades in expected.items() if grades}
    runs = [Run.from_mapping(one) for one in scored]
    if not expected:
        with pytest.raises(InputError, match=f"depth {depth} leaves no judgment"):
            pool_depth(qrels, runs, depth)
        return
    reduced = pool_depth(qrels, runs, depth)
    assert reduced.mapping == expected
    assert reduced.query_ids == tuple(expected)  # in their order, those without judgments gone
    again = Qrels.from_mapping(judged)
    assert qrels.fingerprint == before == again.fingerprint
    assert qrels.query.tolist() == again.query.tolist()


def test_a_query_without_relevant_documents_stays() -> None:
    qrels = Qrels.from_mapping({"q1": {"a": 0, "b": 1}, "q2": {"b": 1}})
    reduced = pool_depth(qrels, [Run.from_mapping({"q1": {"a": 2.0, "b": 1.0}})], 1)
    assert reduced.mapping == {"q1": {"a": 0}}


@given(judgments, fractions, fractions, st.integers(0, 2**64))
@settings(deadline=None)
def test_samples_of_judgments_are_nested(
    judged: dict[str, dict[str, int]], one: float, other: float, seed: int
) -> None:
    qrels = Qrels.from_mapping(judged)
    small, large = sorted([one, other])
    less, more = (sample_judgments(qrels, fraction, seed) for fraction in (small, large))
    assert pairs(less) <= pairs(more) <= pairs(qrels)
    assert len(less) == max(1, math.floor(small * len(qrels) + 0.5))
    assert all(less.mapping.values())  # no query without judgments
    assert qrels.mapping == judged
    assert sample_judgments(qrels, 1, seed).mapping == judged


@given(judgments, fractions, fractions, st.integers(0, 100))
@settings(deadline=None)
def test_samples_of_queries_are_nested_and_whole(
    judged: dict[str, dict[str, int]], one: float, other: float, seed: int
) -> None:
    qrels = Qrels.from_mapping(judged)
    small, large = sorted([one, other])
    less, more = (sample_queries(qrels, fraction, seed) for fraction in (small, large))
    assert set(less.query_ids) <= set(more.query_ids)
    assert len(less.query_ids) == max(1, math.floor(small * len(judged) + 0.5))
    assert all(less.mapping[query] == judged[query] for query in less.query_ids)
    assert sample_queries(qrels, 1, seed).mapping == judged


@given(st.permutations(list(TWELVE.to_frame().iter_rows())), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_the_order_of_lines_does_not_matter(lines: list[tuple[str, str, int]], seed: int) -> None:
    shuffled = Qrels.from_records(lines)
    assert pairs(sample_judgments(shuffled, 0.4, seed)) == pairs(
        sample_judgments(TWELVE, 0.4, seed)
    )
    assert pairs(sample_queries(shuffled, 0.4, seed)) == pairs(sample_queries(TWELVE, 0.4, seed))


def test_samples_never_change() -> None:
    expected = {"q0": {"d2": 2, "d3": 0}, "q2": {"d3": 2}}
    assert sample_judgments(TWELVE, 0.25, seed=7).mapping == expected
    queries = [sample_queries(TWELVE, 0.3, seed).query_ids[0] for seed in range(8)]
    assert queries == ["q0", "q2", "q1", "q0", "q1", "q1", "q0", "q0"]


def test_each_is_equally_likely() -> None:
    judged = Counter(
        next(iter(pairs(sample_judgments(TWELVE, 1 / 12, seed)))) for seed in range(1200)
    )
    assert len(judged) == 12
    assert max(judged.values()) < 140  # 100 expected, deviation 10
    assert min(judged.values()) > 60
    queries = Counter(sample_queries(TWELVE, 1 / 3, seed).query_ids[0] for seed in range(600))
    assert len(queries) == 3
    assert all(140 < count < 260 for count in queries.values())


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, math.nan])
def test_fractions_that_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1"):
        sample_judgments(TWELVE, fraction, 0)
    with pytest.raises(InputError, match="above 0 and at most 1"):
        sample_queries(TWELVE, fraction, 0)


def test_other_values_that_are_refused() -> None:
    run = Run.from_mapping({"q0": {"d0": 1.0}})
    with pytest.raises(InputError, match="at least one run"):
        pool_depth(TWELVE, [], 10)
    with pytest.raises(InputError, match="the depth 0"):
        pool_depth(TWELVE, [run], 0)
    with pytest.raises(InputError, match="seed is -1"):
        sample_judgments(TWELVE, 0.5, -1)
    with pytest.raises(InputError, match="seed is -1"):
        sample_queries(TWELVE, 0.5, -1)
