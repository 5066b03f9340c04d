"""Pairs of query and document: what is read, and one clear error for each thing that is wrong."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.datasets.base import Dataset
from retrieval_eval.datasets.pairs import PairsFile
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store
from retrieval_eval.textfiles import pack_bytes

CSV = '''\
id,query,document,grade
1,what lifts,"lift of a wing, and
its ""drag""",2
2, what lifts ,another answer,1

3,what else,another answer,1
4,what lifts,another answer ,1
'''
DOCUMENTS = ['lift of a wing, and\nits "drag"', "another answer"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a file in which all is well."""
    path = tmp_path / "pairs.csv"
    path.write_text(CSV)
    return path


def load(path: Path, **parameters: Any) -> Dataset:
    return PairsFile(path=str(path), **parameters).load("mine", Store(path.parent / "store"))


def refused(path: Path, **parameters: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(path, **parameters)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is read


def test_each_distinct_text_is_one_query_or_one_document(path: Path) -> None:
    dataset = load(path)
    assert dataset.query_ids == ("q00000001", "q00000002")
    assert dataset.queries == ("what lifts", "what else")
    assert dataset.document_ids == ("d00000001", "d00000002")
    assert list(dataset.documents) == DOCUMENTS
    assert dataset.qrels.mapping == {
        "q00000001": {"d00000001": 1, "d00000002": 1},
        "q00000002": {"d00000002": 1},
    }


def test_what_was_merged_is_counted(path: Path) -> None:
    assert load(path).facts == {
        "pairs": 4,
        "pairs_repeated": 1,
        "documents_without_query": 0,
        "queries_without_judgments": 0,
    }


def test_grades_are_read_from_a_column(path: Path) -> None:
    assert load(path, score="grade").qrels.mapping["q00000001"] == {
        "d00000001": 2,
        "d00000002": 1,
    }


def test_other_columns_can_be_named(path: Path) -> None:
    path.write_text(CSV.replace("query,document", "question , answer"))
    dataset = load(path, query="question", document="answer")
    assert dataset.queries == ("what lifts", "what else")


def test_columns_are_numbers_without_a_header(path: Path) -> None:
    path.write_text("a,b,c\nd,e,f\n")
    dataset = load(path, header=False)
    assert (dataset.queries, list(dataset.documents)) == (("a", "d"), ["b", "e"])
    dataset = load(path, header=False, query="3", document="1")
    assert (dataset.queries, list(dataset.documents)) == (("c", "f"), ["a", "d"])


def test_another_delimiter_can_be_given(path: Path) -> None:
    path.write_text('query;document\nwhat, lifts;"a; wing"\n')
    assert list(load(path, delimiter=";").documents) == ["a; wing"]
    assert "unknown column 'query'" in refused(path)


def test_quotes_are_text_in_a_table_with_tabs(path: Path) -> None:
    path = path.with_suffix(".tsv")
    path.write_bytes(b'\xef\xbb\xbfquery\tdocument\r\nwhat\t"quoted" is not\r\n"else\tx, y\r\n')
    dataset = load(path)
    assert dataset.queries == ("what", '"else')
    assert list(dataset.documents) == ['"quoted" is not', "x, y"]


def test_json_lines_may_have_several_documents_for_a_query(path: Path) -> None:
    path = path.with_suffix(".jsonl")
    records = [{"query": "a", "pos": ["x", "y"], "s": 2}, {"query": "b", "pos": "y", "s": "1"}]
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    dataset = load(path, document="pos", score="s")
    assert dataset.qrels.mapping == {
        "q00000001": {"d00000001": 2, "d00000002": 2},
        "q00000002": {"d00000002": 1},
    }


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files_give_the_same_dataset(path: Path, suffix: str) -> None:
    plain = load(path).summary()
    packed = path.with_name(path.name + suffix)
    packed.write_bytes(pack_bytes(path.read_bytes(), suffix))
    assert load(packed).summary() == plain


@pytest.mark.parametrize(
    ("name", "text", "parameters"),
    [
        ("more.txt", "another answer\n\n nobody asked \n", {}),
        ("more.csv", "document\nanother answer\nnobody asked\n", {}),
        ("more.tsv", "body\tid\nanother answer\t1\nnobody asked\t2\n", {"corpus_column": "body"}),
        ("more.jsonl", '{"document": "another answer"}\n{"document": "nobody asked"}\n', {}),
    ],
)
def test_more_documents_come_after_those_of_the_pairs(
    path: Path, name: str, text: str, parameters: dict[str, str]
) -> None:
    more = path.with_name(name)
    more.write_text(text)
    dataset = load(path, corpus=str(more), **parameters)
    assert list(dataset.documents) == [*DOCUMENTS, "nobody asked"]
    assert dataset.facts["documents_without_query"] == 1
    assert dataset.qrels.mapping == load(path).qrels.mapping


def test_documents_longer_than_the_limit_of_the_csv_module_are_read(path: Path) -> None:
    limit = csv.field_size_limit()
    path.write_text(f"query,document\nq,{'x' * (limit + 1)}\n")
    assert len(load(path).documents[0]) == limit + 1
    assert csv.field_size_limit() == limit


def test_a_changed_file_is_read_again_and_the_same_one_is_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(path).corpus_fingerprint
    path.write_text(CSV.replace("wing", "wind"))
    assert load(path).corpus_fingerprint != before
    monkeypatch.setattr("retrieval_eval.datasets.pairs._documents", None)
    load(path)


def test_texts_of_documents_do_not_stay_in_memory(path: Path) -> None:
    with path.open("w") as stream:
        stream.write("query,document\n")
        stream.writelines(f"q,{number} {'word ' * 2000}\n" for number in range(2000))
    tracemalloc.start()
    dataset = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(dataset.documents) == 2000
    assert peak < 10_000_000 < path.stat().st_size


# what is refused


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"query": "qurey"}, "unknown column 'qurey'. Did you mean 'query'?"),
        ({"document": "text"}, "unknown column 'text'. Available: document, grade, id, query"),
        ({"score": "grades"}, "unknown column 'grades'. Did you mean 'grade'?"),
        ({"header": False, "query": "query"}, "'query' is no column: without a header, columns"),
        ({"header": False, "query": "5"}, "'5' is no column: without a header, columns are"),
        ({"header": False, "query": "0"}, "'0' is no column"),
    ],
)
def test_an_unknown_column_names_the_header(
    path: Path, parameters: dict[str, Any], rule: str
) -> None:
    assert refused(path, **parameters).startswith(f"{path}:1: {rule}")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("5,,x,1", "'query' is empty"),
        ("5,x,  ,1", "'document' is empty"),
        ("5,x", "expected 4 columns as in the first row, found 2; the line is '5,x'"),
        ("5,x,y,1,z", "expected 4 columns as in the first row, found 5"),
        ("5,x,y,good", "'grade' is 'good', no whole number"),
        ("5,x,y,0.5", "'grade' is '0.5', no whole number"),
        ("5,x,y,99999999999999999999", "'grade' is 99999999999999999999, beyond 64 bits"),
        ("5,what lifts,another answer,0", "the pair came before with grade 1, and here with 0"),
        ('5,x,"y,1', "not valid CSV: unexpected end of data"),
        ('5,x,"y"z,1', "not valid CSV: ',' expected after '\"'"),
    ],
)
def test_a_bad_row_names_the_line_it_starts_in(path: Path, row: str, rule: str) -> None:
    path.write_text(f"{CSV}{row}\n")
    assert refused(path, score="grade").startswith(f"{path}:8: {rule}")


def test_lines_are_counted_through_texts_of_several_lines(path: Path) -> None:
    path.write_text(f'{CSV}5,"a\n\nb","c\nd",1\n6,,x,1\n')
    assert refused(path).startswith(f"{path}:12: 'query' is empty")
    path.write_text(f'{CSV}5,"a\n\nb","",1\n')
    assert refused(path).startswith(f"{path}:8: 'document' is empty")


def test_lines_are_right_beyond_the_first_batch(path: Path) -> None:
    rows = "".join(f'{n},q,"a\nb{n}",1\n' for n in range(300))
    path.write_text(f"id,query,document,grade\n{rows}9,,x,1\n")
    assert refused(path).startswith(f"{path}:602: 'query' is empty")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('{"query": "x"}', "unknown key 'document'. Available: query"),
        ('{"query": "x", "document": []}', "'document' is empty"),
        ('{"query": "x", "document": ["y", " "]}', "'document' is empty"),
        ('{"query": "x", "document": [1]}', "'document' must hold text, and holds int"),
        ('{"query": null, "document": "y"}', "'query' must hold text, and holds NoneType"),
        ('{"query": ["x", "z"], "document": "y"}', "'query' holds several queries"),
        ('{"query"', "not valid JSON"),
    ],
)
def test_a_bad_object_names_its_line(path: Path, line: str, rule: str) -> None:
    path = path.with_suffix(".jsonl")
    path.write_text(f'{{"query": "a", "document": "b"}}\n\n{line}\n')
    assert refused(path).startswith(f"{path}:3: {rule}")


@pytest.mark.parametrize("text", ["", "\n\n", "query,document\n", "query,document\n\n"])
def test_a_file_without_pairs_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    assert refused(path) == f"{path}: there is no pair"


def test_a_column_that_is_there_twice_is_refused(path: Path) -> None:
    path.write_text("query,document,query\na,b,c\n")
    assert refused(path) == f"{path}:1: the column 'query' is there twice"


def test_files_of_other_forms_are_refused(path: Path) -> None:
    other = path.with_suffix(".xlsx")
    assert refused(other).startswith(f"{other}: the suffix says how it is read, and '.xlsx' is")
    other = path.with_suffix(".txt")
    assert refused(other).startswith(f"{other}: pairs are .csv, .tsv or .jsonl")
    assert "no separator" in refused(path, delimiter=",,")


def test_missing_damaged_and_wrongly_encoded_files_are_named(path: Path) -> None:
    missing = path.with_name("nowhere.csv")
    assert refused(missing) == f"{missing}: there is no such file"
    assert refused(path, corpus=str(missing)) == f"{missing}: there is no such file"
    packed = path.with_name("cut.csv.gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-12])
    assert refused(packed).startswith(f"{packed}: cannot be read: ")
    path.write_bytes(CSV.encode() + "5,é,x,1\n".encode("latin-1"))
    assert refused(path).startswith(f"{path}:8: not UTF-8 text")


def test_an_empty_cell_of_the_corpus_is_refused(path: Path) -> None:
    more = path.with_name("more.csv")
    more.write_text('document,id\nx,1\n"",2\n')
    assert refused(path, corpus=str(more)) == f"{more}:3: 'document' is empty"


# real collections


def test_scifact_as_pairs_judges_the_same_texts(tmp_path: Path, collections: Path) -> None:
    source = collections / "scifact"
    texts = {}
    for name in ("corpus", "queries"):
        lines = (source / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        texts[name] = {one["_id"]: one["text"].strip() for one in map(json.loads, lines)}
    judged = (source / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    pairs = {
        (texts["queries"][query], texts["corpus"][document])
        for query, document, _ in (line.split("\t") for line in judged)
    }
    path, more = tmp_path / "pairs.csv", tmp_path / "corpus.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("query", "document"), *sorted(pairs)])
    with more.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("document",), *((t,) for t in texts["corpus"].values())])
    dataset = load(path, corpus=str(more))
    query_of = dict(zip(dataset.query_ids, dataset.queries, strict=True))
    text_of = dict(zip(dataset.document_ids, dataset.documents, strict=True))
    assert {
        (query_of[query], text_of[document])
        for query, grades in dataset.qrels.mapping.items()
        for document in grades
    } == pairs
    assert set(dataset.documents) == set(texts["corpus"].values())
