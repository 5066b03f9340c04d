"""Labels of queries: quantile bins, files of queries and their faults, near and far queries."""

from __future__ import annotations

import gzip
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from retrieval_eval import nearness
from retrieval_eval.comparison.robustness import (
    near_far_labels,
    read_query_column,
    read_query_texts,
    slice_labels_by_length,
)
from retrieval_eval.errors import InputError


def of_lengths(lengths: list[int]) -> dict[str, str]:
    return {f"q{place}": " ".join(["word"] * length) for place, length in enumerate(lengths)}


@pytest.mark.parametrize(
    ("lengths", "bins", "labels"),
    [
        ([3, 1, 2, 6, 5, 4], 3, ["3-4", "1-2", "1-2", "5-6", "5-6", "3-4"]),
        ([9, 1, 7], 3, ["9", "1 word", "7"]),
        ([1, 2, 2, 2, 2, 2], 3, ["1 word", "2", "2", "2", "2", "2"]),
        ([1, 1, 1, 1, 1, 2], 3, ["1 word"] * 5 + ["2"]),
        ([4, 4, 4], 3, ["4", "4", "4"]),
        ([0, 1], 1, ["0-1", "0-1"]),
        ([0, 0, 8], 2, ["0", "0", "8"]),
        ([5], 10, ["5"]),
    ],
)
def test_bins_of_lengths(lengths: list[int], bins: int, labels: list[str]) -> None:
    expected = [one if "word" in one else f"{one} words" for one in labels]
    found = slice_labels_by_length(of_lengths(lengths), bins)
    assert [found[f"q{place}"] for place in range(len(lengths))] == expected
    assert [lengths[int(query[1:])] for query in found] == sorted(lengths)


def test_words_stand_between_any_white_space() -> None:
    texts = {"q1": " one\ttwo\n three ", "q2": "one-two"}
    assert slice_labels_by_length(texts, 2) == {"q1": "3 words", "q2": "1 word"}


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(1, 6))
@settings(deadline=None)
def test_bins_part_the_queries_by_length(lengths: list[int], bins: int) -> None:
    found = slice_labels_by_length(of_lengths(lengths), bins)
    assert len(found) == len(lengths)
    assert len(set(found.values())) <= bins
    reach: dict[str, set[int]] = {}
    for query, label in found.items():
        reach.setdefault(label, set()).add(lengths[int(query[1:])])
    for label, inside in reach.items():
        low, *rest = re.findall(r"\d+", label)
        assert (min(inside), max(inside)) == (int(low), int(rest[0] if rest else low))
    spans = sorted((min(inside), max(inside)) for inside in reach.values())
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    if len(set(lengths)) == len(lengths):
        sizes = [list(found.values()).count(label) for label in reach]
        assert len(sizes) == min(bins, len(lengths))
        assert max(sizes) - min(sizes) <= 1


def test_no_texts_and_no_bins_are_refused() -> None:
    with pytest.raises(InputError, match="no query to label"):
        slice_labels_by_length({})
    with pytest.raises(InputError, match="bins is 0"):
        slice_labels_by_length({"q1": "one"}, 0)


JSONL = """\
{"_id": "1", "text": "one two", "kind": "how", "hops": 2, "open": true}
{"id": "007", "query": "three", "kind": "", "hops": 1.5}

{"query_id": "3", "title": "four", "kind": null, "open": false}
"""
TSV = 'qid\ttext\tkind\n1\t"say" one\thow\n2\ttwo\t\n\n'
CSV = 'kind,query_id,query\nhow,1,"one, two\nthree"\n"why, who",2,four\n'


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text", "column", "expected"),
    [
        ("q.jsonl", JSONL, "kind", {"1": "how"}),
        ("q.jsonl.gz", JSONL, "hops", {"1": "2", "007": "1.5"}),
        ("q.jsonl", JSONL, "open", {"1": "true", "3": "false"}),
        ("q.tsv", TSV, "kind", {"1": "how"}),
        ("q.tsv.gz", TSV, "text", {"1": '"say" one', "2": "two"}),
        ("q.csv", "\ufeff" + CSV, "kind", {"1": "how", "2": "why, who"}),
        ("Q.CSV", CSV, "query", {"1": "one, two\nthree", "2": "four"}),
        ("q.csv", "_id,length\n1,5\n", "length", {"1": "5"}),
    ],
)
def test_columns_are_read(
    tmp_path: Path, name: str, text: str, column: str, expected: dict[str, str]
) -> None:
    found = read_query_column(written(tmp_path, name, text), column)
    assert list(found.items()) == list(expected.items())


def test_texts_are_read(tmp_path: Path) -> None:
    assert read_query_texts(written(tmp_path, "q.jsonl", JSONL)) == {
        "1": "one two",
        "007": "three",
        "3": "four",
    }
    assert read_query_texts(written(tmp_path, "q.tsv", TSV)) == {"1": '"say" one', "2": "two"}
    assert read_query_texts(str(written(tmp_path, "q.csv", CSV)))["1"] == "one, two\nthree"


@pytest.mark.parametrize(
    ("name", "text", "column", "message"),
    [
        ("q.jsonl", JSONL, "knd", "q.jsonl: unknown column 'knd'. Did you mean 'kind'?"),
        ("q.csv", CSV, "Kind", "q.csv: unknown column 'Kind'. Did you mean 'kind'?"),
        ("q.tsv", TSV, "qid", "q.tsv: unknown column 'qid'"),
        ("q.jsonl", '{"_id": "1"}\n{"text": "a"}\n', "text", "q.jsonl:2: no id of the query"),
        ("q.jsonl", '{"_id": 7, "text": "a"}\n', "text", "q.jsonl:1: no id of the query"),
        ("q.csv", "id,kind\n,how\n", "kind", "q.csv:2: no id of the query"),
        (
            "q.jsonl",
            '{"_id": "1"}\n\n{"_id": "1"}\n',
            "text",
            "q.jsonl:3: query '1' stood in line 1 already",
        ),
        ("q.jsonl", '{"_id": "1", "k": ["a"]}', "k", "q.jsonl:1: 'k' holds a JSON list"),
        ("q.jsonl", '{"_id": "1", "k": {"a": 1}}', "k", "q.jsonl:1: 'k' holds a JSON object"),
        ("q.jsonl", "{", "k", "q.jsonl:1: not valid JSON"),
        ("q.jsonl", "", "k", "q.jsonl: there is no query"),
        ("q.csv", "id,kind\n", "kind", "q.csv: there is no query"),
        ("q.tsv", "1048\twhat is it\n", "kind", "q.tsv:1: the first line must name the columns"),
        ("q.tsv", "id\ta\ta\n1\t2\t3\n", "a", "q.tsv:1: two columns named 'a'"),
        ("q.csv", "id,kind\n1,how\n2\n", "kind", "q.csv:3: expected 2 columns as in the header"),
        ("q.csv", 'id,kind\n1,"how\n', "kind", "q.csv:2: cannot be read as a table"),
        ("q.txt", "id kind\n", "kind", "is .jsonl, .csv or .tsv"),
    ],
)
def test_faults_of_files_are_named(
    tmp_path: Path, name: str, text: str, column: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_query_column(written(tmp_path, name, text), column)
    assert message in str(caught.value)


def test_other_faults_of_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_query_column(tmp_path / "no.jsonl", "kind")
    path = written(tmp_path, "q.jsonl", '{"_id": "1", "text": "a"}\n{"_id": "2", "text": 5}\n')
    with pytest.raises(InputError, match=r"q.jsonl:2: no text of the query"):
        read_query_texts(path)
    with pytest.raises(InputError, match=r"q.csv:2: no text of the query"):
        read_query_texts(written(tmp_path, "q.csv", "id,txt\n1,a\n"))


def towards(cosines: list[float]) -> NDArray[np.float64]:
    """Vectors with these cosines to the first axis, of several lengths."""
    angle = np.arccos(np.array(cosines))
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return vectors * np.arange(1, len(cosines) + 1)[:, None]


ONE_AXIS = np.array([[2.0, 0.0], [-1.0, 0.0], [0.0, -3.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("cosines", "bins", "labels"),
    [
        ([0.9, 0.3], 2, ["near (cosine > 0.30)", "far (cosine <= 0.30)"]),
        ([0.314159, 0.9], 2, ["far (cosine <= 0.32)", "near (cosine > 0.32)"]),
        ([0.623, 0.625], 2, ["far (cosine <= 0.623)", "near (cosine > 0.623)"]),
        ([0.623, 0.63], 2, ["far (cosine <= 0.623)", "near (cosine > 0.623)"]),
        ([0.500001, 0.500002], 2, ["far (cosine <= 0.500001)", "near (cosine > 0.500001)"]),
        ([0.5, 0.5, 0.5], 2, ["all"] * 3),
        ([0.1, 0.9], 1, ["all"] * 2),
        (
            [0.2, 0.4, 0.6],
            3,
            ["far (cosine <= 0.20)", "middle (0.20 < cosine <= 0.40)", "near (cosine > 0.40)"],
        ),
        (
            [0.8, 0.6, 0.4, 0.2],
            4,
            [
                "near (cosine > 0.60)",
                "3 of 4 (0.40 < cosine <= 0.60)",
                "2 of 4 (0.20 < cosine <= 0.40)",
                "far (cosine <= 0.20)",
            ],
        ),
    ],
)
def test_strata(cosines: list[float], bins: int, labels: list[str]) -> None:
    ids = [f"q{place}" for place in range(len(cosines))]
    found = near_far_labels(ids, towards(cosines), ONE_AXIS, bins)
    assert [found[one] for one in ids] == labels
    assert [cosines[ids.index(one)] for one in found] == sorted(cosines)


def test_a_vector_of_zeros_is_far_from_those_near() -> None:
    found = near_far_labels(["q1", "q2"], np.array([[1.0, 1.0], [0.0, 0.0]]), np.eye(2))
    assert found == {"q2": "far (cosine <= 0.00)", "q1": "near (cosine > 0.00)"}


def within(label: str, cosine: float) -> bool:
    bounds = [float(one) for one in re.findall(r"-?\d+\.\d+", label)]
    if label.startswith("far"):
        return cosine <= bounds[0]
    if label.startswith("near"):
        return cosine > bounds[0]
    return not bounds or bounds[0] < cosine <= bounds[1]


vectors = arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(-2, 2))


@given(vectors, vectors, st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_strata_part_the_queries(
    test: NDArray[np.float32], train: NDArray[np.float32], bins: int
) -> None:
    ids = [f"q{row}" for row in range(len(test))]
    before = test.copy(), train.copy()
    found = near_far_labels(ids, test, train, bins)
    assert np.array_equal(test, before[0])
    assert np.array_equal(train, before[1])
    assert sorted(found) == sorted(ids)
    assert len(set(found.values())) <= bins
    for row, query in enumerate(ids):
        cosines = []
        for other in train.astype(float):
            lengths = np.linalg.norm(test[row].astype(float)) * np.linalg.norm(other)
            cosines.append(float(test[row].astype(float) @ other / lengths) if lengths else 0.0)
        nearest = round(max(cosines), 6) if test[row].any() else 0.0
        assert [label for label in set(found.values()) if within(label, nearest)] == [found[query]]


@pytest.mark.parametrize(
    ("ids", "test", "train", "bins", "message"),
    [
        (["a"], np.eye(2), np.eye(2), 2, "1 ids for 2 vectors"),
        (["a", "a"], np.eye(2), np.eye(2), 2, "'a' stands for two"),
        (["a", "b"], np.eye(2), np.eye(3), 2, "dimension 2, training vectors 3"),
        (["a", "b"], np.eye(2), np.zeros((0, 2)), 2, "the training vectors have the shape (0, 2)"),
        ([], np.zeros((0, 2)), np.eye(2), 2, "the test vectors have the shape (0, 2)"),
        (["a", "b"], np.ones(2), np.eye(2), 2, "the test vectors have the shape (2,)"),
        (["a", "b"], np.eye(2) / 0.5 + [0, np.inf], np.eye(2), 2, "row 0 of the test vectors"),
        (["a", "b"], np.eye(2), np.eye(2), 0, "bins is 0"),
    ],
)
def test_vectors_that_are_refused(
    ids: list[str],
    test: NDArray[np.float64],
    train: NDArray[np.float64],
    bins: int,
    message: str,
) -> None:
    with pytest.raises(InputError) as caught:
        near_far_labels(ids, test, train, bins)
    assert message in str(caught.value)


def test_every_block_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearness, "_BLOCK_BYTES", 2 * 8 * 2)  # two rows
    train = np.tile(np.eye(2), (5, 1))
    train[7, 1] = np.nan
    with pytest.raises(InputError, match="row 7 of the training vectors is not finite"):
        near_far_labels(["a", "b"], np.eye(2), train)


def test_on_real_embeddings(collections: Path) -> None:
    queries = np.load(collections / "embeddings" / "cranfield-minilm" / "queries.npy")
    test, train = queries[:75], queries[75:]
    ids = [str(row) for row in range(75)]
    found = near_far_labels(ids, test, train)
    exact = test.astype(np.float64), train.astype(np.float64)
    first, second = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in exact)
    nearest = (first @ second.T).max(axis=1)
    far = [row for row in range(75) if found[ids[row]].startswith("far")]
    assert len(far) in (37, 38)
    assert all(within(found[ids[row]], round(float(nearest[row]), 6)) for row in range(75))
    lengths = slice_labels_by_length(
        read_query_texts(collections / "cranfield" / "queries.jsonl"), bins=3
    )
    assert len(set(lengths.values())) == 3
    assert len(lengths) == len(queries)
