"""Collections in SMART's form: read as distributed, with their traps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.datasets import Dataset
from retrieval_eval.datasets.smart import SmartFiles
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store

DOCUMENTS = """.I 1
.T
Wings
in flow
.A
Somebody
.W
lift of
a wing
.I 2
.W
no title
.X
1 5 2
.I 003
.T
.W
"""
QUERIES = """.I 001
.W
what lifts
.I 004
.W
what drags
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "d.all").write_text(DOCUMENTS)
    (tmp_path / "q.qry").write_text(QUERIES)
    (tmp_path / "rel").write_text("1 1 2\n1 02 -1\n2 3 4\n\n")
    return tmp_path


def load(folder: Path, **changes: Any) -> Dataset:
    parameters = {
        "documents": str(folder / "d.all"),
        "queries": str(folder / "q.qry"),
        "judgments": str(folder / "rel"),
        "columns": "query document grade",
        "query_ids": "order",
    }
    return SmartFiles(**parameters | changes).load("tiny", Store(folder / "store"))


def test_records_are_read_with_the_fields_that_are_asked_for(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.document_ids == ("1", "2", "3")
    assert dataset.documents[:] == ["Wings in flow lift of a wing", "no title", ""]
    assert load(folder, document_fields="AW").documents[0] == "Somebody lift of a wing"


def test_queries_are_named_by_their_order_where_judgments_name_them_so(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.query_ids == ("1", "2")
    assert dataset.queries == ("what lifts", "what drags")
    (folder / "rel").write_text("1 1 2\n4 3 4\n")
    assert load(folder, query_ids="file").query_ids == ("1", "4")


def test_grades_that_run_backwards_are_turned(folder: Path) -> None:
    turned = load(folder, grades={"1": 4, "2": 3, 3: 2, "4": 1, "-1": 4})
    assert turned.qrels.mapping == {"1": {"1": 3, "2": 4}, "2": {"3": 1}}
    assert load(folder).qrels.mapping["1"] == {"1": 2, "2": -1}


def test_without_a_grade_each_line_is_relevant_and_further_columns_are_ignored(
    folder: Path,
) -> None:
    (folder / "rel").write_text("     1     1\t0\t0.000000\n2 0003 0 0.0\n2 3 0 0.0\n")
    assert load(folder, columns="query document").qrels.mapping == {"1": {"1": 1}, "2": {"3": 1}}
    (folder / "rel").write_text("1 0 2 1\n")
    medline = load(folder, columns="query ignored document grade")
    assert medline.qrels.mapping == {"1": {"2": 1}}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("d.all", "", "there is no record"),
        ("d.all", "noise\n.I 1\n", r"d.all:1: expected a record"),
        ("d.all", ".I 1\nnoise\n", r"d.all:2: expected a field"),
        ("d.all", ".I 1\n.W\na\n.I 01\n.W\nb\n", r"d.all:4: the document id '1' occurs twice"),
        ("q.qry", ".I 1\n.W\na\n.I 2\n.W\n", r"q.qry:4: the judged query '2' has no text"),
        ("rel", "1 1 1\n1 9 1\n", r"rel:2: '9': document is not in .*unknown_documents"),
        ("rel", "1 1 1\n7 1 1\n", r"rel:2: '7': query is not in"),
        ("rel", "1 1\n", r"rel:1: expected columns query document grade"),
        ("rel", "1 1 x\n", r"rel:1: the grade 'x' is no whole number"),
        ("rel", "\n", "there are no judgments"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(
    folder: Path, file: str, text: str, message: str
) -> None:
    (folder / file).write_text(text)
    with pytest.raises(InputError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": "query docment grade"}, "Did you mean 'document'"),
        ({"columns": "query grade"}, "must name query and document"),
        ({"document_fields": "TZ"}, "must be letters of"),
        ({"encoding": "latin-99"}, "unknown encoding 'latin-99'"),
        ({"documents": "nowhere.all"}, "nowhere.all: there is no such file"),
    ],
)
def test_bad_parameters_are_refused(folder: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(folder, **changes)


def test_cranfield_written_in_smarts_form_is_the_collection(
    collections: Path, tmp_path: Path
) -> None:
    source = collections / "cranfield"
    texts, asked = (
        [json.loads(line) for line in (source / name).read_text("utf-8").splitlines()]
        for name in ("corpus.jsonl", "queries.jsonl")
    )
    (tmp_path / "cran.all").write_text(
        "".join(
            f".I {one['_id']}\n.T\n{one.get('title', '')}\n.W\n{one['text']}\n" for one in texts
        )
    )
    (tmp_path / "cran.qry").write_text(
        "".join(f".I {3 * n:03}\n.W\n{one['text']}\n" for n, one in enumerate(asked, start=1))
    )
    lines = (source / "qrels" / "test.tsv").read_text().splitlines()[1:]
    rows = {one["_id"]: n for n, one in enumerate(asked, start=1)}
    backwards = {"4": 1, "3": 2, "2": 3, "1": 4, "0": 5}
    judged = [line.split() for line in lines]
    (tmp_path / "cranqrel").write_text(
        "".join(f"{rows[q]} {d} {backwards[grade]}\n" for q, d, grade in judged)
    )
    found = load(
        tmp_path,
        documents=str(tmp_path / "cran.all"),
        queries=str(tmp_path / "cran.qry"),
        judgments=str(tmp_path / "cranqrel"),
        grades={str(value): int(key) for key, value in backwards.items()},
    )
    assert len(found.document_ids) == 1400
    assert len(found.query_ids) == 225
    expected = {(str(rows[q]), d): int(grade) for q, d, grade in judged}
    grades = {(q, d): g for q, some in found.qrels.mapping.items() for d, g in some.items()}
    assert grades == expected
