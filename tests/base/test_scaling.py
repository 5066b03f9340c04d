"""Indexes over the first n documents, and passages of documents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from retrieval_eval import Dataset, InputError, Qrels
from retrieval_eval.passages import split_into_passages
from retrieval_eval.scaling import JudgedVectors, Setting, measure_at_sizes


def exact(n: int) -> Iterator[Setting]:
    yield "flat", {}, {}


@pytest.fixture(scope="module")
def data() -> JudgedVectors:
    return JudgedVectors.in_ball(4, 600, d=8, queries=50, near=100, seed=1)


def test_exact_search_finds_all_neighbours_and_quality_falls_with_the_crowd(
    data: JudgedVectors,
) -> None:
    rows = list(measure_at_sizes(data, [100, 600], exact))
    assert [row.n for row in rows] == [100, 600]
    assert [row.neighbour_recall for row in rows] == [1.0, 1.0]
    few, many = (row.evaluation.means["nDCG@10"] for row in rows)
    assert many < few <= 1
    assert rows[1].size_bytes > rows[0].size_bytes
    assert all(row.build_s > 0 and row.latency_p95_s > 0 for row in rows)


def test_judgments_beyond_the_first_n_are_left_out_with_their_queries(
    data: JudgedVectors,
) -> None:
    (row,) = measure_at_sizes(data, [40], exact)
    kept = {name for name in data.query_ids if int(name) < 40}
    assert set(row.evaluation.query_ids) == kept
    assert 0 < len(kept) < len(data.query_ids)


def test_a_size_out_of_range_is_refused(data: JudgedVectors) -> None:
    with pytest.raises(InputError, match="there are 600 documents"):
        list(measure_at_sizes(data, [601], exact))
    judged = pl.DataFrame({"query_id": ["q"], "doc_id": ["599"], "relevance": [1]})
    late = JudgedVectors(data.vectors, data.document_ids, data.queries[:1], ["q"], judged)
    with pytest.raises(InputError, match="no query is judged"):
        list(measure_at_sizes(late, [10], exact))


def test_a_collection_is_the_same_twice() -> None:
    one, other = (JudgedVectors.in_ball(3, 50, queries=5, near=20, seed=2) for _ in range(2))
    assert np.array_equal(one.queries, other.queries)
    assert one.judged.equals(other.judged)


@pytest.mark.parametrize(("lines", "step"), [(1, 1), (2, 1), (2, 2), (3, 2), (5, 4), (50, 7)])
def test_passages_hold_every_line_and_inherit_grades(lines: int, step: int) -> None:
    texts = ["\n".join(f"{name}{line}" for line in range(7)) for name in "ab"]
    qrels = Qrels.from_mapping({"q": {"b": 3}})
    cut = split_into_passages(
        Dataset("made", ["a", "b"], [*texts], ("q",), ["?"], qrels), lines=lines, step=step
    )
    for name, text in zip("ab", texts, strict=True):
        mine = [
            passage
            for one, passage in zip(cut.document_ids, cut.documents, strict=True)
            if one.startswith(name)
        ]
        assert all(passage in text for passage in mine)
        seen = {line for passage in mine for line in passage.splitlines()}
        if step <= lines:
            assert seen == set(text.splitlines())
        assert all(len(passage.splitlines()) <= lines for passage in mine)
    assert [one.partition(":")[0] for one in cut.document_ids[:2]] == ["a", "b"]
    grades = cut.qrels.to_frame()
    assert set(grades["doc_id"]) == {one for one in cut.document_ids if one.startswith("b")}
    assert set(grades["relevance"]) == {3}


def test_passages_of_no_lines_are_refused() -> None:
    data = Dataset("made", ["a"], ["x"], ("q",), ["?"], Qrels.from_mapping({"q": {"a": 1}}))
    with pytest.raises(InputError, match="at least 1"):
        split_into_passages(data, lines=0, step=1)
