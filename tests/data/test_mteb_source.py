"""Folders in the layout of MTEB: what is read, and one clear error for each thing that is wrong."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retrieval_eval.datasets.base import Dataset
from retrieval_eval.datasets.beir import BeirFolder
from retrieval_eval.datasets.mteb import MtebFolder
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store

DOCUMENTS = [
    {"_id": "d1", "title": "Wings", "text": "lift of a wing", "lang": "en"},
    {"_id": "d2", "title": "", "text": "no title", "lang": "de"},
    {"_id": "007", "title": None, "text": "a number as id", "lang": None},
]
QUERIES = [
    {"_id": "q1", "text": "what lifts"},
    {"_id": "q2", "text": "nobody judged this"},
    {"_id": "q3", "text": "what else"},
]
QRELS = [
    {"query-id": "q1", "corpus-id": "d1", "score": 2.0},
    {"query-id": "q1", "corpus-id": "d2", "score": 0.0},
    {"query-id": "q3", "corpus-id": "007", "score": 1.0},
]
README = """\
---
language:
- eng
configs:
- config_name: corpus
  data_files:
  - split: corpus
    path: corpus/corpus-*
- config_name: default
  data_files:
  - split: train
    path: [default/train-*]
  - split: test
    path: default/test-*
- config_name: queries
  data_files: queries/*.parquet
dataset_info:
- config_name: corpus
---
# A dataset
"""


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a folder in which all is well."""
    folder = tmp_path / "tiny"
    parquet(folder / "corpus" / "corpus-00000-of-00002.parquet", DOCUMENTS[:2])
    parquet(folder / "corpus" / "corpus-00001-of-00002.parquet", DOCUMENTS[2:])
    parquet(folder / "queries" / "queries-00000-of-00001.parquet", QUERIES)
    parquet(folder / "default" / "test-00000-of-00001.parquet", QRELS)
    parquet(folder / "default" / "train-00000-of-00001.parquet", QRELS[:1])
    return folder


def load(folder: Path, **parameters: Any) -> Dataset:
    return MtebFolder(path=str(folder), **parameters).load("tiny", Store(folder.parent / "store"))


def refused(folder: Path, **parameters: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, **parameters)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is read


@pytest.mark.parametrize(
    "readme", [None, README, "# No front matter\n", "---\nlicense: mit\n---\n"]
)
def test_shards_are_read_in_order_with_and_without_a_readme(
    folder: Path, readme: str | None
) -> None:
    if readme is not None:
        (folder / "README.md").write_text(readme)
    dataset = load(folder)
    assert dataset.document_ids == ("d1", "d2", "007")
    assert list(dataset.documents) == ["Wings lift of a wing", "no title", "a number as id"]
    assert dataset.query_ids == ("q1", "q3")
    assert dataset.queries == ("what lifts", "what else")
    assert dataset.qrels.mapping == {"q1": {"d1": 2, "d2": 0}, "q3": {"007": 1}}
    assert dataset.facts == {"split": "test", "subset": "", "queries_without_judgments": 1}
    assert load(folder, split="train").qrels.mapping == {"q1": {"d1": 2}}


def test_files_that_the_readme_does_not_name_are_left_out(folder: Path) -> None:
    readme = README.replace("corpus/corpus-*", "corpus/corpus-00000*")
    (folder / "README.md").write_text(readme)
    assert "'007': document is not in" in refused(folder)
    assert load(folder, unknown_documents="keep").document_ids == ("d1", "d2")


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz", "corpus/corpus.jsonl"])
def test_json_lines_are_read_too(folder: Path, name: str) -> None:
    whole = load(folder).summary()
    for inner in ("corpus", "queries", "default"):
        shutil.rmtree(folder / inner)
    jsonl(folder / name, DOCUMENTS)
    jsonl(folder / "queries.jsonl", QUERIES)
    jsonl(folder / "qrels" / "test.jsonl", QRELS)
    assert load(folder).summary() == whole
    (folder / "qrels" / "test.jsonl").unlink()
    lines = ["\t".join(map(str, one.values())) for one in QRELS]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    assert load(folder).summary() == whole
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td9\t1\n")
    assert refused(folder).startswith(f"{folder / 'qrels' / 'test.tsv'}:2: 'd9': document is not")


def test_ids_that_are_integers_become_their_digits(folder: Path) -> None:
    parquet(folder / "corpus" / "corpus-00000-of-00002.parquet", [{"id": 7, "text": "x"}])
    parquet(folder / "corpus" / "corpus-00001-of-00002.parquet", [{"id": 8, "text": "y"}])
    parquet(folder / "queries" / "queries-00000-of-00001.parquet", [{"_id": 1, "text": "z"}])
    judged = [{"query-id": 1, "corpus-id": 8, "score": 1}]
    parquet(folder / "default" / "test-00000-of-00001.parquet", judged)
    dataset = load(folder)
    assert dataset.document_ids == ("7", "8")
    assert dataset.qrels.mapping == {"1": {"8": 1}}
    (folder / "default" / "test-00000-of-00001.parquet").unlink()
    jsonl(folder / "default" / "test.jsonl", judged)
    assert load(folder).qrels.mapping == {"1": {"8": 1}}


def test_a_subset_is_read_by_the_names_of_its_configs(folder: Path) -> None:
    for role, source in (("corpus", "corpus"), ("queries", "queries"), ("qrels", "default")):
        (folder / source).rename(folder / f"de-{role}")
    parquet(folder / "en-qrels" / "test.parquet", QRELS[:1])
    assert load(folder, subset="de").qrels.mapping["q3"] == {"007": 1}
    message = refused(folder)
    assert "there is no config default or qrels or data" in message
    assert "set subset to one of de, en" in message
    assert "unknown subset 'dee'. Did you mean 'de'? Available: de, en" in refused(
        folder, subset="dee"
    )
    assert "unknown subset 'en'" in refused(folder, subset="en")


def test_a_subset_may_share_corpus_and_queries(folder: Path) -> None:
    (folder / "default").rename(folder / "de")
    parquet(folder / "corpus" / "en-00000-of-00001.parquet", DOCUMENTS)
    parquet(folder / "corpus" / "de.parquet", [{**one, "text": "deutsch"} for one in DOCUMENTS])
    assert load(folder, subset="de").documents[1] == "deutsch"
    (folder / "corpus" / "de.parquet").unlink()
    assert load(folder, subset="de").documents[1] == "no title"


def test_columns_can_be_kept_to_filter_on(folder: Path) -> None:
    table = load(folder, attributes="lang").attribute_table(["lang"])
    assert table["lang"].to_list() == ["en", "de", None]


def test_a_document_judged_twice_is_refused_or_taken_at_its_highest_grade(folder: Path) -> None:
    path = folder / "default" / "test-00000-of-00001.parquet"
    parquet(path, [{**QRELS[0], "score": 1.0}, *QRELS])
    message = refused(folder)
    assert message.startswith(f"{path}: query 'q1' judged document 'd1' more than once")
    assert load(folder, repeated_judgments="highest").qrels.mapping["q1"] == {"d1": 2, "d2": 0}


def test_rows_are_read_a_few_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "corpus" / "corpus-00001-of-00002.parquet"
    rows = [{"_id": f"x{n}", "title": None, "text": f"text {n}"} for n in range(25)]
    parquet(path, [*rows, DOCUMENTS[2]])
    whole = load(folder).documents[:]
    monkeypatch.setattr("retrieval_eval.datasets.mteb._ROWS", 4)
    again = MtebFolder(path=str(folder)).load("tiny", Store(folder.parent / "other"))
    assert again.documents[:] == whole
    assert whole[2:4] == ["text 0", "text 1"]


def test_a_changed_corpus_is_read_again_and_the_same_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(folder).corpus_fingerprint
    changed = [{**DOCUMENTS[2], "text": "changed"}]
    parquet(folder / "corpus" / "corpus-00001-of-00002.parquet", changed)
    assert load(folder).corpus_fingerprint != before
    monkeypatch.setattr("retrieval_eval.datasets.mteb._documents", None)
    load(folder)


# what is refused


def test_an_unknown_split_suggests_the_nearest(folder: Path) -> None:
    assert refused(folder, split="tset") == (
        f"{folder}, config 'default': unknown split 'tset'. Did you mean 'test'? "
        "Available: test, train"
    )


@pytest.mark.parametrize(("name", "part"), [("corpus", "corpus"), ("default", "default or qrels")])
def test_a_missing_config_names_the_layout(folder: Path, name: str, part: str) -> None:
    shutil.rmtree(folder / name)
    message = refused(folder)
    assert message.startswith(f"{folder}: there is no config {part}")
    assert "the layout is corpus/, queries/ and qrels/" in message


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: there is no such folder"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("corpus/corpus-*", "corpus/part-*", "config 'corpus': no file answers to 'corpus/part-*'"),
        ("corpus/corpus-*", "../corpus-*", "'../corpus-*' lies outside of the folder"),
        ("corpus/corpus-*", "/etc/*", "'/etc/*' lies outside of the folder"),
        ("corpus/corpus-*", "[1]", "data_files must be paths, found 1"),
        ("config_name: corpus\n  data", "name: corpus\n  data", "entry 1 has no config_name"),
        ("configs:", "configs: x\nother:", "configs must be a list of config_name and data_files"),
        ("configs:", "configs: [", "what stands above is not valid YAML"),
    ],
)
def test_a_bad_readme_is_one_clear_error(folder: Path, old: str, new: str, rule: str) -> None:
    (folder / "README.md").write_text(README.replace(old, new, 1))
    message = refused(folder)
    assert message.startswith(f"{folder / 'README.md'}: ")
    assert rule in message


def test_a_parquet_file_that_is_cut_off_is_named(folder: Path) -> None:
    for inner, name in (
        ("corpus", "corpus-00001-of-00002"),
        ("queries", "queries-00000-of-00001"),
        ("default", "test-00000-of-00001"),
    ):
        path = folder / inner / f"{name}.parquet"
        data = path.read_bytes()
        for cut in (data[:-30], data[: len(data) // 2], b""):
            path.write_bytes(cut)
            assert refused(folder).startswith(f"{path}: not a readable parquet file: ")
        path.write_bytes(data)
    load(folder)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"_id": "x", "text": None}, ", row 1: 'text' holds NoneType, and no text"),
        ({"_id": None, "text": "x"}, ", row 1: the id None is no id"),
        ({"_id": "a b", "text": "x"}, ", row 1: the id 'a b' is no id"),
        ({"_id": "", "text": "x"}, ", row 1: the id '' is no id"),
    ],
)
def test_a_bad_row_is_named(folder: Path, row: dict[str, Any], rule: str) -> None:
    for inner, name, good in (
        ("corpus", "corpus-00001-of-00002", DOCUMENTS[2]),
        ("queries", "queries-00000-of-00001", QUERIES[0]),
    ):
        path = folder / inner / f"{name}.parquet"
        data = path.read_bytes()
        parquet(path, [{"_id": good["_id"], "text": "x"}, row])
        assert refused(folder).startswith(f"{path}{rule}")
        path.write_bytes(data)


def test_other_types_and_columns_are_refused(folder: Path) -> None:
    path = folder / "corpus" / "corpus-00001-of-00002.parquet"
    parquet(path, [{"_id": 1.5, "text": "x"}])
    assert refused(folder).startswith(f"{path}, row 0: the id 1.5 is no id")
    parquet(path, [{"_id": "007", "text": ["x"]}])
    assert refused(folder).startswith(f"{path}, row 0: 'text' holds list, and no text")
    parquet(path, [{"_id": "007", "contents": "x", "txt": "x"}])
    assert refused(folder).startswith(f"{path}: unknown column 'text'. Did you mean 'txt'?")
    parquet(path, [{"_id": "007", "text": "x", "tags": ["x"]}])
    assert "row 0: 'tags' holds list: attributes are numbers" in refused(folder, attributes="tags")


def test_bad_json_lines_name_file_and_line(folder: Path) -> None:
    path = folder / "corpus" / "corpus.jsonl"
    path.write_text('{"_id": "d9", "text": "x"}\n{"_id": "d8"}\n')
    assert refused(folder).startswith(f"{path}:2: there is no 'text'")
    jsonl(folder / "default" / "dev.jsonl", [{"query": "q1", "corpus-id": "d1"}])
    assert refused(folder, split="dev").startswith(
        f"{folder / 'default' / 'dev.jsonl'}:1: no column for the grade among query, corpus-id"
    )
    jsonl(folder / "default" / "dev.jsonl", [])
    assert "no column for the query id among none" in refused(folder, split="dev")


@pytest.mark.parametrize("grade", [0.5, None, float("nan")])
def test_a_grade_that_is_no_whole_number_is_refused(folder: Path, grade: float | None) -> None:
    path = folder / "default" / "test-00000-of-00001.parquet"
    parquet(path, [QRELS[0], {**QRELS[1], "score": grade}])
    assert refused(folder).startswith(f"{path}: row 1: the grade ")


def test_an_id_that_occurs_twice_names_both_places(folder: Path) -> None:
    path = folder / "corpus" / "corpus-00001-of-00002.parquet"
    parquet(path, [DOCUMENTS[2], DOCUMENTS[0]])
    message = refused(folder)
    assert message.startswith(f"{path}, row 1: the document id 'd1' occurs twice")
    assert "corpus-00000-of-00002.parquet, row 0" in message
    queries = folder / "queries" / "queries-00000-of-00001.parquet"
    parquet(queries, [*QUERIES, QUERIES[0]])
    assert refused(folder).startswith(f"{queries}, row 3: the query id 'q1' occurs twice")


def test_empty_files_are_refused(folder: Path) -> None:
    path = folder / "default" / "test-00000-of-00001.parquet"
    pl.DataFrame(QRELS).clear().write_parquet(path)
    assert refused(folder) == f"{path}: there is no judgment"
    parquet(path, QRELS)
    for name in ("0", "1"):
        part = folder / "corpus" / f"corpus-0000{name}-of-00002.parquet"
        pl.DataFrame(DOCUMENTS).clear().write_parquet(part)
    assert refused(folder).endswith("corpus-00000-of-00002.parquet and 1 more: the corpus is empty")


# real collections


def test_scifact_in_this_layout_is_the_same_collection(tmp_path: Path, collections: Path) -> None:
    source, folder = collections / "scifact", tmp_path / "scifact"
    for name in ("corpus", "queries"):
        (folder / name).mkdir(parents=True)
        table = pl.read_ndjson(source / f"{name}.jsonl")
        table.write_parquet(folder / name / f"{name}-00000-of-00001.parquet", row_group_size=1000)
    (folder / "default").mkdir()
    judged = pl.read_csv(
        source / "qrels" / "test.tsv",
        separator="\t",
        schema_overrides={"query-id": pl.String, "corpus-id": pl.String},
    )
    judged.write_parquet(folder / "default" / "test-00000-of-00001.parquet")
    plain = BeirFolder(path=str(source)).load("x", Store(tmp_path / "store")).summary()
    found = load(folder).summary()
    for key in ("documents", "queries", "judgments", "corpus", "queries_checksum", "qrels"):
        assert found[key] == plain[key]
