"""Splits of queries: a partition, reproducible, in proportion; and near and far strata."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrieval_eval.cli.split  # noqa: F401  # the verb
from retrieval_eval.comparison.robustness import near_far_labels, read_query_column
from retrieval_eval.datasets import load_dataset
from retrieval_eval.errors import InputError
from retrieval_eval.nearness import near_and_far
from retrieval_eval.qrels import Qrels
from retrieval_eval.splits import (
    combine_strata,
    split_qrels,
    split_queries,
    strata_by_relevant,
    write_query_labels,
    write_split,
)
from retrieval_eval.store import Store

Cli = Callable[..., tuple[int, str, str]]
IDS = [f"q{number}" for number in range(101)]


# the partition


@given(
    st.lists(st.tuples(st.text(max_size=4), st.sampled_from("abcdefgh")), unique_by=lambda x: x[0]),
    st.sampled_from([(0.5, 0.5), (0.1, 0.9), (0.3, 0.3, 0.4), (0.2, 0.2, 0.2, 0.2, 0.2)]),
    st.integers(0, 5),
)
def test_every_query_is_in_one_part_and_every_stratum_in_proportion(
    labelled: list[tuple[str, str]], shares: tuple[float, ...], seed: int
) -> None:
    strata = dict(labelled)
    names = [f"part{number}" for number in range(len(shares))]
    try:
        parts = split_queries(list(strata), seed=seed, parts=names, shares=shares, strata=strata)
    except InputError as error:
        assert "gets none of the" in str(error)  # noqa: PT017  # only small sets may fail
        assert len(strata) < 2 / min(shares)
        return
    assert sorted(one for part in parts.values() for one in part) == sorted(strata)
    sizes = Counter(strata.values())
    for name, share in zip(names, shares, strict=True):
        assert abs(len(parts[name]) - share * len(strata)) < 1
        counts = Counter(strata[one] for one in parts[name])
        for label, size in sizes.items():
            assert abs(counts[label] - share * size) <= (1 if len(shares) == 2 else 2)


def test_the_order_of_the_queries_does_not_matter() -> None:
    assert split_queries(reversed(IDS), seed=3) == split_queries(IDS, seed=3)


def test_another_seed_gives_another_split() -> None:
    one, other = (set(split_queries(IDS, seed=seed)["tune"]) for seed in (0, 1))
    assert 10 < len(one & other) < 45


def test_the_split_is_the_same_in_another_process() -> None:
    program = (
        "from retrieval_eval.splits import split_queries;"
        "print(split_queries([f'q{n}' for n in range(101)], seed=7)['tune'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "12345"},
    )
    assert result.stdout.strip() == repr(split_queries(IDS, seed=7)["tune"])


def test_known_split() -> None:
    """A change of this is a change of every split that anybody has made."""
    tune = split_queries([f"q{n}" for n in range(10)], seed=0)["tune"]
    assert tune == ("q1", "q2", "q4", "q5", "q6")


def test_an_added_query_moves_at_most_one_other() -> None:
    before = split_queries(IDS, seed=0)
    for added in ("new", "q101", "zebra", "another"):
        after = split_queries([*IDS, added], seed=0)
        assert len(set(before["tune"]) - set(after["tune"])) <= 1
        assert len(set(before["held-out"]) - set(after["held-out"])) <= 1


def test_many_strata_of_one_query_each_are_split_in_proportion_too() -> None:
    parts = split_queries(IDS, seed=0, strata={one: one for one in IDS})
    assert sorted(map(len, parts.values())) == [50, 51]
    others = split_queries(IDS, seed=1, strata={one: one for one in IDS})
    assert parts != others


@pytest.mark.parametrize(
    ("ids", "given", "message"),
    [
        (["a", "b", "a"], {}, "query 'a' comes twice"),
        (["a", "b"], {"shares": (0.5, 0.6)}, "1 together, got 0.5, 0.6"),
        (["a", "b"], {"shares": (0.0, 1.0)}, "above 0"),
        (["a", "b"], {"shares": (1.0,)}, "2 parts and 1 shares"),
        (["a", "b"], {"parts": ("x", "x")}, "different names"),
        (["a", "b"], {"strata": {"a": "x"}}, "query 'b' has no label"),
        (["a"], {}, "gets none of the 1 queries"),
        ([], {}, "gets none of the 0 queries"),
    ],
)
def test_what_cannot_be_split_is_refused(ids: list[str], given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_queries(ids, seed=0, **given)


# strata


def test_numbers_of_relevant_documents_fall_into_doubling_bins() -> None:
    judged = {f"q{count}": {f"d{n}": int(n < count) for n in range(20)} for count in range(19)}
    labels = strata_by_relevant(Qrels.from_mapping(judged))
    assert [labels[f"q{count}"] for count in (0, 1, 2, 3, 4, 5, 8, 9, 16, 17)] == [
        "0 relevant",
        "1 relevant",
        "2 relevant",
        "3-4 relevant",
        "3-4 relevant",
        "5-8 relevant",
        "5-8 relevant",
        "9-16 relevant",
        "9-16 relevant",
        "17-32 relevant",
    ]


def test_the_level_of_relevance_counts() -> None:
    qrels = Qrels.from_mapping({"q": {"a": 1, "b": 2}})
    assert strata_by_relevant(qrels, relevance_level=2) == {"q": "1 relevant"}


def test_strata_combine_where_both_know_the_query() -> None:
    assert combine_strata({"a": "x", "b": "y"}, {"b": "z"}) == {"b": "y, z"}


# near and far


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 8)).astype(np.float32), rng.normal(size=(200, 8)).astype(np.float32)


@pytest.mark.parametrize("bins", [1, 2, 3, 5])
def test_nearness_is_the_largest_cosine_and_strata_partition_the_queries(
    vectors: tuple[np.ndarray, np.ndarray], bins: int
) -> None:
    queries, training = vectors
    ids = [f"q{number}" for number in range(len(queries))]
    found = near_and_far(ids, queries, training, bins=bins)
    a, b = (one.astype(float) for one in vectors)
    cosines = a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    assert found.similarity == pytest.approx(cosines.max(axis=1))
    assert set(found.labels) == set(ids)
    assert np.ptp(np.bincount(found.stratum, minlength=bins)) <= 1
    for code in range(bins - 1):
        low, high = (found.similarity[found.stratum == one] for one in (code, code + 1))
        assert low.max() < high.min()


@pytest.mark.parametrize("bins", [1, 2, 3])
def test_the_strata_are_those_that_a_comparison_by_slices_has(
    vectors: tuple[np.ndarray, np.ndarray], bins: int
) -> None:
    ids = [f"q{number}" for number in range(50)]
    assert near_and_far(ids, *vectors, bins=bins).labels == near_far_labels(ids, *vectors, bins)


def test_thresholds_put_a_border_on_the_far_side_and_leave_out_empty_strata() -> None:
    training = np.array([[1.0, 0.0]])
    queries = np.array([[0.6, 0.8], [0.8, 0.6], [0.0, 0.0], [1.0, 0.0]])
    found = near_and_far(list("abcd"), queries, training, thresholds=[-0.5, 0.6, 0.9])
    assert found.stratum.tolist() == [0, 1, 0, 2]
    assert found.names == (
        "2 of 4 (-0.5 < cosine <= 0.6)",
        "3 of 4 (0.6 < cosine <= 0.9)",
        "near (cosine > 0.9)",
    )
    assert found.similarity[2] == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_vectors": np.ones((3, 2))}, "2 ids for 3 vectors of test queries"),
        ({"query_ids": ["a", "a"]}, "'a' stands for two"),
        ({"training_vectors": np.ones((3, 5))}, "one encoder must have made both"),
        ({"training_vectors": np.ones((0, 2))}, r"the training vectors have the shape \(0, 2\)"),
        ({"query_vectors": np.array([[1, 1], [np.nan, 0]])}, "row 1 of the test vectors"),
        ({"bins": 0}, "bins is 0"),
        ({"thresholds": []}, "thresholds must ascend"),
        ({"thresholds": [0.5, 0.2]}, "thresholds must ascend"),
        ({"thresholds": [2.0]}, "thresholds must ascend"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(changed: dict, message: str) -> None:
    fine = {
        "query_ids": ["a", "b"],
        "query_vectors": np.ones((2, 2)),
        "training_vectors": np.ones((3, 2)),
    }
    with pytest.raises(InputError, match=message):
        near_and_far(**{**fine, **changed})


# files


def test_labels_are_read_as_slices(tmp_path: Path, vectors: tuple[np.ndarray, np.ndarray]) -> None:
    ids = [f"q{number}" for number in range(50)]
    found = near_and_far(ids, *vectors)
    path = tmp_path / "labels.jsonl"
    write_query_labels(path, found.attributes())
    assert read_query_column(path, "nearness") == found.labels
    with pytest.raises(InputError, match="is there already"):
        write_query_labels(path, {})


def test_judgments_of_the_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    qrels = Qrels.from_mapping({one: {"d1": 1, "d2": n} for n, one in enumerate(IDS)})
    made = split_qrels(qrels, split_queries(qrels.query_ids, seed=0))
    paths = write_split(tmp_path / "qrels", made)
    read = {name: Qrels.from_file(path) for name, path in paths.items()}
    assert {**read["tune"].mapping, **read["held-out"].mapping} == qrels.mapping
    assert {name: one.fingerprint for name, one in read.items()} == {
        name: one.fingerprint for name, one in made.items()
    }


@pytest.mark.parametrize("there", ["tune.tsv", "held-out.tsv.gz"])
def test_nothing_is_replaced(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    qrels = Qrels.from_mapping({one: {"d": 1} for one in IDS})
    made = split_qrels(qrels, split_queries(qrels.query_ids, seed=0))
    with pytest.raises(InputError, match=f"{there}: is there already"):
        write_split(tmp_path, made)
    assert [one.name for one in tmp_path.iterdir()] == [there]


@pytest.mark.parametrize("name", ["../x", "", ".."])
def test_a_part_is_named_as_a_file_can_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a file"):
        write_split(tmp_path, {name: Qrels.from_mapping({"q": {"d": 1}})})


# the verb


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a folder of 20 queries with vectors, and work beside it."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d", "text": "x"}\n{"_id": "e", "text": "y"}\n')
    queries = [{"_id": f"q{n}", "text": "t", "kind": "odd" if n % 2 else "even"} for n in range(21)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    lines = [f"q{n}\td\t1\n" for n in range(20)] + [f"q{n}\te\t1\n" for n in range(10)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    rng = np.random.default_rng(0)
    np.save(tmp_path / "all.npy", rng.normal(size=(21, 4)))
    np.save(tmp_path / "judged.npy", np.load(tmp_path / "all.npy")[:20])
    np.save(tmp_path / "training.npy", rng.normal(size=(30, 4)))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_parts_are_splits_of_the_folder(folder: Path, cli: Cli) -> None:
    words = ["split", "tiny", "--out", "tiny/qrels", "--tune", "0.25", "--stratify", "relevant"]
    code, out, err = cli(*words, "--seed", "4", "--format", "json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["seed"] == 4
    store = Store(folder.parent / "store")
    loaded = {one: load_dataset("tiny", store=store, split=one) for one in ("tune", "held-out")}
    assert len(loaded["tune"].query_ids) == 5
    assert not set(loaded["tune"].query_ids) & set(loaded["held-out"].query_ids)
    for name, dataset in loaded.items():
        part = content["parts"][name]
        assert part["queries"] == len(dataset.query_ids)
        assert part["judgments"] == len(dataset.qrels)
        assert part["qrels"] == dataset.qrels.fingerprint
    counts = content["parts"]["held-out"]["strata"]["relevant"]
    assert sorted(counts) == ["1 relevant", "2 relevant"]
    assert sorted(counts.values()) == [7, 8]
    code, _, err = cli(*words)
    assert code == 2
    assert "is there already" in err


@pytest.mark.parametrize("name", ["all.npy", "judged.npy"])
def test_strata_of_nearness_and_of_a_column_are_written_as_labels(
    folder: Path, cli: Cli, name: str
) -> None:
    vectors = ["--stratify", "near-far", "--vectors", name, "--training-vectors", "training.npy"]
    words = ["split", "tiny", "--out", "out", *vectors, "--column", "kind", "--labels", "l.jsonl"]
    code, out, err = cli(*words)
    assert code == 0, err
    assert "even" in out
    assert "near (cosine" in out
    labels = [json.loads(line) for line in Path("l.jsonl").read_text().splitlines()]
    expected = near_and_far(
        [f"q{n}" for n in range(20)], np.load("judged.npy"), np.load("training.npy")
    ).labels
    assert {one["_id"]: one["nearness"] for one in labels} == expected
    assert {one["kind"] for one in labels} == {"odd", "even"}
    held_out = Qrels.from_file("out/held-out.tsv").query_ids
    assert {one["_id"] for one in labels if one["part"] == "held-out"} == set(held_out)
    counts = Counter((one["part"], one["nearness"], one["kind"]) for one in labels)
    assert max(counts.values()) - min(counts.values()) <= 3


def test_a_file_of_judgments_is_split_too(folder: Path, cli: Cli) -> None:
    code, out, err = cli("split", "tiny/qrels/test.tsv", "--out", "parts")
    assert code == 0
    assert "held-out" in out
    assert "seed 0" in err
    assert sorted(one.name for one in Path("parts").iterdir()) == ["held-out.tsv", "tune.tsv"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny", "--tune", "1"], "--tune is 1"),
        (["tiny", "--split", "tset"], "Did you mean 'test'?"),
        (["tiny/qrels/test.tsv", "--split", "test"], "--split says nothing of it"),
        (["tiny", "--stratify", "near-far"], "needs --vectors and --training-vectors"),
        (["tiny", "--vectors", "a", "--training-vectors", "b"], "needs --vectors and"),
        (["tiny", "--column", "kin"], "Did you mean 'kind'?"),
        (["tiny/qrels/test.tsv", "--column", "kind"], "name it by --queries"),
        (["tiny", "--labels", "all.npy"], "all.npy: is there already"),
        (["nowhere"], "unknown dataset"),
        (
            [
                "tiny",
                "--stratify",
                "near-far",
                "--vectors",
                "training.npy",
                "--training-vectors",
                "training.npy",
            ],
            "has 30 rows",
        ),
        (
            [
                "tiny/qrels/test.tsv",
                "--stratify",
                "near-far",
                "--vectors",
                "all.npy",
                "--training-vectors",
                "training.npy",
            ],
            "has no ids",
        ),
    ],
)
def test_bad_words_are_one_line_and_nothing_is_written(
    folder: Path, cli: Cli, words: list[str], message: str
) -> None:
    code, out, err = cli("split", *words, "--out", "parts")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not Path("parts").exists()
