"""Folders in BEIR's layout: what is read, and one clear error for each thing that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.datasets import Dataset, load_dataset
from retrieval_eval.errors import InputError
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store
from retrieval_eval.textfiles import pack_bytes
from retrieval_eval.texts import Texts

CORPUS = [
    {"_id": "d1", "title": "Wings", "text": "lift of a wing"},
    {"_id": "d2", "title": "", "text": "no title"},
    {"_id": "007", "text": "a number as id", "metadata": {"year": 1962}},
    {"_id": "d4", "title": None, "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "what lifts"},
    {"_id": "q2", "text": "nobody judged this"},
    {"_id": "q3", "text": "what else"},
]
HEADER = "query-id\tcorpus-id\tscore"
QRELS = [HEADER, "q1\td1\t2", "q1\td2\t0", "q3\t007\t1"]


def jsonl(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a folder in which all is well."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(jsonl(CORPUS), encoding="utf-8")
    (folder / "queries.jsonl").write_text(jsonl(QUERIES), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("\n".join(QRELS) + "\n", encoding="utf-8")
    return folder


def load(folder: Path, **parameters: Any) -> Dataset:
    return load_dataset(str(folder), store=Store(folder.parent / "store"), **parameters)


def refused(folder: Path, **parameters: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, **parameters)
    message = str(caught.value)
    assert "\n" not in message
    return message


def append(path: Path, line: str) -> int:
    """Append a line, and return its number."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    return len(path.read_text(encoding="utf-8").splitlines())


# what is read


def test_a_folder_is_read_in_the_order_of_its_files(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.name == "tiny"
    assert dataset.document_ids == ("d1", "d2", "007", "d4")
    assert dataset.query_ids == ("q1", "q3")
    assert list(dataset.queries) == ["what lifts", "what else"]
    assert dataset.qrels.mapping == {"q1": {"d1": 2, "d2": 0}, "q3": {"007": 1}}


def test_title_and_text_are_joined_and_an_empty_title_leaves_no_trace(folder: Path) -> None:
    assert list(load(folder).documents) == [
        "Wings lift of a wing",
        "no title",
        "a number as id",
        "",
    ]


def test_a_document_with_a_title_alone_is_that_title(folder: Path) -> None:
    append(folder / "corpus.jsonl", json.dumps({"_id": "d5", "title": "Alone", "text": ""}))
    assert load(folder).documents[-1] == "Alone"


def test_queries_without_judgments_are_left_out_and_counted(folder: Path) -> None:
    dataset = load(folder)
    assert "q2" not in dataset.query_ids
    assert dataset.facts == {"split": "test", "queries_without_judgments": 1}


def test_a_query_without_judgments_may_be_empty(folder: Path) -> None:
    append(folder / "queries.jsonl", json.dumps({"_id": "q4", "text": ""}))
    assert load(folder).facts["queries_without_judgments"] == 2


def test_the_summary_is_plain_and_complete(folder: Path) -> None:
    dataset = load(folder)
    summary = dataset.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["documents"], summary["queries"], summary["judgments"]) == (4, 2, 3)
    assert summary["qrels"] == dataset.qrels.fingerprint
    assert summary == load(folder).summary()


def test_the_checksum_of_the_corpus_changes_with_id_text_and_order(folder: Path) -> None:
    seen = {load(folder).corpus_fingerprint}
    changed = [
        [CORPUS[1], CORPUS[0], *CORPUS[2:]],
        [{**CORPUS[0], "text": "lift of a wind"}, *CORPUS[1:]],
        [*CORPUS[:3], {**CORPUS[3], "_id": "d5"}],
        CORPUS[:3],
    ]
    for corpus in changed:
        (folder / "corpus.jsonl").write_text(jsonl(corpus), encoding="utf-8")
        seen.add(load(folder).corpus_fingerprint)
    assert len(seen) == 5


def test_the_checksum_of_the_queries_changes_with_their_text(folder: Path) -> None:
    before = load(folder)
    changed = [{**QUERIES[0], "text": "what sinks"}, *QUERIES[1:]]
    (folder / "queries.jsonl").write_text(jsonl(changed), encoding="utf-8")
    after = load(folder)
    assert after.queries_fingerprint != before.queries_fingerprint
    assert after.corpus_fingerprint == before.corpus_fingerprint


def test_blank_lines_and_windows_line_ends_are_read(folder: Path) -> None:
    plain = load(folder).summary()
    for path in (folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv"):
        text = path.read_text(encoding="utf-8")
        path.write_bytes((text.replace("\n", "\r\n") + "\r\n").encode())
    assert load(folder).summary() == plain


def test_a_line_separator_inside_a_text_does_not_end_its_line(folder: Path) -> None:
    line = json.dumps({"_id": "d5", "text": "one\u2028two\u0085three"}, ensure_ascii=False)
    append(folder / "corpus.jsonl", line)
    assert load(folder).documents[-1] == "one\u2028two\u0085three"


def test_qrels_of_four_columns_are_read_too(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q1 0 d1 2\nq1 0 d2 0\nq3 0 007 1\n")
    assert load(folder).qrels.mapping == {"q1": {"d1": 2, "d2": 0}, "q3": {"007": 1}}


def test_another_split_is_read_when_asked_for(folder: Path) -> None:
    (folder / "qrels" / "dev.tsv").write_text(f"{HEADER}\nq2\td1\t1\n")
    dataset = load(folder, split="dev")
    assert dataset.query_ids == ("q2",)
    assert dataset.facts == {"split": "dev", "queries_without_judgments": 2}


def test_reading_a_folder_writes_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    load(folder)
    assert sorted(folder.rglob("*")) == before


def test_the_source_can_be_named_with_the_folder_as_its_parameter(folder: Path) -> None:
    dataset = load_dataset("beir", path=str(folder), split="test")
    assert dataset.summary() == load(folder).summary()


def test_a_dataset_is_never_nameless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert load_dataset(".").name == "tiny"
    assert load_dataset("beir", path=".").name


def test_a_card_names_a_folder_and_parameters_override_its_own(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "qrels" / "dev.tsv").write_text(f"{HEADER}\nq2\td1\t1\n")
    card = tmp_path / "my-card.yaml"
    card.write_text(f"source: beir\nparameters: {{path: '{folder}', split: dev}}\n")
    assert load_dataset(str(card)).name == "my-card"
    assert load_dataset(str(card)).query_ids == ("q2",)
    assert load_dataset(str(card), split="test").query_ids == ("q1", "q3")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files_give_the_same_dataset(folder: Path, suffix: str) -> None:
    plain = load(folder).summary()
    for path in (folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv"):
        path.with_name(path.name + suffix).write_bytes(pack_bytes(path.read_bytes(), suffix))
        path.unlink()
    assert load(folder).summary() == plain
    assert "Did you mean 'test'?" in refused(folder, split="tests")


def test_texts_stay_on_the_disk_and_are_read_as_asked_for(folder: Path) -> None:
    documents = load(folder).documents
    assert isinstance(documents, Texts)
    assert documents[1:3] == ["no title", "a number as id"]
    assert (documents[0], documents[-1]) == ("Wings lift of a wing", "")
    assert list(documents) == documents[:]
    with pytest.raises(IndexError):
        documents[4]


def test_a_folder_at_hand_is_meant_before_a_card_of_the_same_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rename(folder.parent / "cisi")
    monkeypatch.chdir(folder.parent)
    assert len(load_dataset("cisi", store=Store(folder.parent / "store")).document_ids) == 4


# what is refused


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_is_named_together_with_the_layout(folder: Path, name: str) -> None:
    (folder / name).unlink()
    message = refused(folder)
    assert message.startswith(f"{folder / name}: there is no such file")
    assert "qrels/SPLIT.tsv" in message


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_dataset("beir", path=str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_an_unknown_split_suggests_the_nearest(folder: Path) -> None:
    (folder / "qrels" / "train.tsv").write_text(f"{HEADER}\nq1\td1\t1\n")
    assert refused(folder, split="tset") == (
        f"{folder / 'qrels'}: unknown split 'tset'. Did you mean 'test'? Available: test, train"
    )


def test_a_folder_without_qrels_says_that_no_split_is_available(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").unlink()
    (folder / "qrels").rmdir()
    assert refused(folder) == f"{folder / 'qrels'}: unknown split 'test'. Available: none"


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('{"_id": "x", "text": "cut', "not valid JSON"),
        ("{'_id': 'x', 'text': 'y'}", "not valid JSON"),
        ("x\ty", "not valid JSON"),
        ('["x", "y"]', "expected a JSON object"),
        ('"x"', "expected a JSON object"),
        ("null", "expected a JSON object"),
        ('{"text": "y"}', "the key '_id' must hold a string"),
        ('{"_id": 7, "text": "y"}', "the key '_id' must hold a string"),
        ('{"_id": null, "text": "y"}', "the key '_id' must hold a string"),
        ('{"_id": "x"}', "the key 'text' must hold a string"),
        ('{"_id": "x", "text": ["y"]}', "the key 'text' must hold a string"),
        ('{"_id": "x", "text": null}', "the key 'text' must hold a string"),
    ],
)
def test_a_bad_line_of_a_text_file_names_file_line_and_rule(
    folder: Path, name: str, line: str, rule: str
) -> None:
    number = append(folder / name, line)
    message = refused(folder)
    assert message.startswith(f"{folder / name}:{number}: {rule}")
    assert repr(line) in message


@pytest.mark.parametrize(("name", "key"), [("corpus.jsonl", "007"), ("queries.jsonl", "q2")])
def test_an_id_that_occurs_twice_names_file_and_line(folder: Path, name: str, key: str) -> None:
    number = append(folder / name, json.dumps({"_id": key, "text": "again"}))
    message = refused(folder)
    noun = "document" if name == "corpus.jsonl" else "query"
    assert message.startswith(f"{folder / name}:{number}: the {noun} id {key!r} occurs twice")


def test_ids_that_differ_only_as_text_are_no_duplicates(folder: Path) -> None:
    append(folder / "corpus.jsonl", json.dumps({"_id": "7", "text": "another"}))
    assert load(folder).document_ids[-2:] == ("d4", "7")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_corpus_is_refused(folder: Path, text: str) -> None:
    (folder / "corpus.jsonl").write_text(text)
    assert refused(folder) == f"{folder / 'corpus.jsonl'}: the corpus is empty"


def test_a_file_without_queries_names_the_first_judgment_that_lacks_its_own(folder: Path) -> None:
    (folder / "queries.jsonl").write_text("")
    message = refused(folder)
    assert message.startswith(f"{folder / 'qrels' / 'test.tsv'}:2: 'q1': query is not in ")


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_a_judged_query_without_text_names_file_and_line(folder: Path, text: str) -> None:
    queries = [*QUERIES[:2], {**QUERIES[2], "text": text}]
    (folder / "queries.jsonl").write_text(jsonl(queries))
    message = refused(folder)
    assert message.startswith(f"{folder / 'queries.jsonl'}:3: ")
    assert "'q3'" in message
    assert "no text" in message


def test_a_judgment_of_an_unknown_document_names_its_line_and_the_way_out(folder: Path) -> None:
    number = append(folder / "qrels" / "test.tsv", "q3\td99\t1")
    message = refused(folder)
    assert message.startswith(f"{folder / 'qrels' / 'test.tsv'}:{number}: 'd99': document is not")
    assert str(folder / "corpus.jsonl") in message
    assert "unknown_documents: keep" in message
    assert "'q3\\td99\\t1'" in message


def test_several_unknown_documents_are_counted_and_the_first_is_named(folder: Path) -> None:
    number = append(folder / "qrels" / "test.tsv", "q3\td99\t1")
    append(folder / "qrels" / "test.tsv", "q3\td98\t1")
    append(folder / "qrels" / "test.tsv", "q1\td99\t0")
    message = refused(folder)
    assert message.startswith(f"{folder / 'qrels' / 'test.tsv'}:{number}: 'd99'")
    assert "2 ids in all" in message


def test_judgments_of_unknown_documents_can_be_kept(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q3\td99\t1")
    dataset = load(folder, unknown_documents="keep")
    assert dataset.qrels.mapping["q3"] == {"007": 1, "d99": 1}
    assert "d99" not in dataset.document_ids


def test_an_id_that_differs_by_leading_zeros_is_unknown(folder: Path) -> None:
    append(folder / "qrels" / "test.tsv", "q3\t7\t1")
    assert "'7': document is not in" in refused(folder)


def test_a_judgment_of_an_unknown_query_names_its_line(folder: Path) -> None:
    number = append(folder / "qrels" / "test.tsv", "q99\td1\t1")
    for parameters in ({}, {"unknown_documents": "keep"}):
        message = refused(folder, **parameters)
        assert message.startswith(f"{folder / 'qrels' / 'test.tsv'}:{number}: 'q99': query is not")
        assert str(folder / "queries.jsonl") in message


@pytest.mark.parametrize("grade", ["0.5", "yes", "nan"])
def test_a_grade_that_is_no_whole_number_names_its_line(folder: Path, grade: str) -> None:
    number = append(folder / "qrels" / "test.tsv", f"q3\td1\t{grade}")
    message = refused(folder)
    assert message.startswith(
        f"{folder / 'qrels' / 'test.tsv'}:{number}: the grade {grade!r} is not a whole number"
    )


def test_a_pair_judged_twice_names_both_lines(folder: Path) -> None:
    number = append(folder / "qrels" / "test.tsv", "q1\td1\t2")
    message = refused(folder)
    assert message.startswith(f"{folder / 'qrels' / 'test.tsv'}:{number}: ")
    assert "test.tsv:2: " in message


def test_bytes_that_are_not_utf8_name_file_and_line(folder: Path) -> None:
    path = folder / "corpus.jsonl"
    path.write_bytes(path.read_bytes() + '{"_id": "x", "text": "é"}\n'.encode("latin-1"))
    assert refused(folder).startswith(f"{path}:5: not UTF-8 text")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
@pytest.mark.parametrize("key", ["", "a b", "a\tb", " a"])
def test_an_id_that_no_run_file_can_carry_is_refused(folder: Path, name: str, key: str) -> None:
    append(folder / name, json.dumps({"_id": key, "text": "something"}))
    if name == "queries.jsonl":  # only judged queries matter, and no qrels line can name this one
        load(folder)
    else:
        assert repr(key) in refused(folder)


def test_a_judged_query_whose_id_starts_with_a_hash_is_not_lost(folder: Path) -> None:
    append(folder / "queries.jsonl", json.dumps({"_id": "#4", "text": "a channel"}))
    append(folder / "qrels" / "test.tsv", "#4\td1\t1")
    try:
        dataset = load(folder)
    except InputError:
        return
    assert "#4" in dataset.query_ids


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"splitt": "test"}, "unknown parameter 'splitt'. Did you mean 'split'?"),
        ({"split": 7}, "parameter 'split' is 7"),
        ({"unknown_documents": "drop"}, "parameter 'unknown_documents' is 'drop'"),
    ],
)
def test_parameters_are_checked_strictly(
    folder: Path, parameters: dict[str, Any], rule: str
) -> None:
    message = refused(folder, **parameters)
    assert message.startswith("dataset 'beir': ")
    assert rule in message


def test_the_path_is_required() -> None:
    with pytest.raises(InputError, match="dataset 'beir': parameter 'path' is required"):
        load_dataset("beir")


def test_an_unknown_dataset_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'stdlib'") as caught:
        load_dataset("stdlibb")
    assert "beir" in str(caught.value)


# the checks that every source shares


def parts(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "name": "made",
        "document_ids": ("a", "b"),
        "documents": ["x", ""],
        "query_ids": ("q",),
        "queries": ["what"],
        "qrels": Qrels.from_mapping({"q": {"a": 1}}),
    }
    return {**whole, **changes}


def test_a_dataset_in_which_all_is_well_is_accepted() -> None:
    assert Dataset(**parts()).summary()["documents"] == 2


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"document_ids": (), "documents": []}, "the corpus is empty"),
        ({"query_ids": (), "queries": []}, "no query has a judgment"),
        ({"documents": ["x"]}, "2 document ids, 1 texts"),
        ({"queries": ["what", "else"]}, "1 query ids, 2 texts"),
        ({"document_ids": ("a", "a")}, "document id 'a' occurs twice"),
        ({"document_ids": ("a", "b c")}, "document id 'b c'"),
        ({"document_ids": ("a", "b\n")}, "document id 'b\\n'"),
        ({"document_ids": ("a", "")}, "document id ''"),
        ({"queries": ["  "]}, "query 'q' has no text"),
        ({"query_ids": ("other",)}, "qrels and queries name different queries"),
        ({"query_ids": ("q", "r"), "queries": ["what", "else"]}, "name different queries"),
    ],
)
def test_a_dataset_that_breaks_its_contract_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError) as caught:
        Dataset(**parts(**changes))
    assert str(caught.value).startswith("dataset 'made': ")
    assert rule in str(caught.value)


# real collections


@pytest.mark.parametrize(
    ("name", "documents", "queries", "unjudged"),
    [("cranfield", 1400, 225, 0), ("cisi", 1460, 76, 36), ("scifact", 5183, 300, None)],
)
def test_real_collections_load_whole(
    collections: Path, name: str, documents: int, queries: int, unjudged: int | None
) -> None:
    dataset = load_dataset(str(collections / name))
    assert dataset.name == name
    assert len(dataset.document_ids) == len(dataset.documents) == documents
    assert len(dataset.query_ids) == len(dataset.qrels.query_ids) == queries
    if unjudged is not None:
        assert dataset.facts["queries_without_judgments"] == unjudged
    in_file = (collections / name / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(in_file) == queries + dataset.facts["queries_without_judgments"]


def test_the_original_grades_of_cranfield_load_with_their_negative_ones(collections: Path) -> None:
    dataset = load_dataset(str(collections / "cranfield"), split="original")
    assert len(dataset.query_ids) == 225
    assert int(dataset.qrels.grade.min()) == -1
    assert dataset.facts["split"] == "original"


def test_the_two_empty_documents_of_cranfield_are_kept(collections: Path) -> None:
    dataset = load_dataset(str(collections / "cranfield"))
    assert sum(not text.strip() for text in dataset.documents) == 2
