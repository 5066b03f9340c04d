"""Validation: every flaw is found where it stands, and errors are what loading refuses."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval_eval.datasets import Dataset, load_dataset
from retrieval_eval.datasets.base import DatasetVectors
from retrieval_eval.errors import InputError
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store
from retrieval_eval.textfiles import pack_bytes
from retrieval_eval.validation import RULES, Validation, validate

Make = Callable[..., Path]
LONG = " ".join(f"word{number}" for number in range(40))


def look(folder: Path, **options: Any) -> Validation:
    return validate(folder, store=Store(folder.parent / "store"), **options)


def found(validation: Validation) -> dict[str, int]:
    return {one.rule: one.count for one in validation.findings}


def places(validation: Validation, rule: str) -> list[str]:
    return [one.place for one in validation[rule].examples]


def test_a_folder_in_which_all_is_well_has_no_finding(make: Make) -> None:
    validation = look(make())
    assert found(validation) == {}
    assert validation.passed
    assert validation.sizes["documents"] == 3
    assert validation.sizes["judgments"] == {"test": 3}
    assert validation.sizes["judged_queries"] == {"test": 2}
    assert validation.sizes["query_characters"] == {
        "shortest": 17,
        "median": 17,
        "p99": 28,
        "longest": 28,
    }


# each flaw; the line numbers are those of what is appended: 4 in corpus and queries' 3, qrels' 5

FLAWS: list[tuple[str, dict[str, list[Any]], str, str]] = [
    ("not-utf8", {"corpus": [b'{"_id": "x", "text": "\xff"}']}, "corpus.jsonl:4", r"\\xff"),
    ("not-utf8", {"qrels": [b"q1\t\xff\t1"]}, "test.tsv:5", ""),
    ("not-json", {"corpus": ['{"_id": "x", "text": "cut']}, "corpus.jsonl:4", "cut"),
    ("not-json", {"queries": ["[1]"]}, "queries.jsonl:3", ""),
    ("not-json", {"corpus": ["[" * 100_000]}, "corpus.jsonl:4", ""),
    ("incomplete-record", {"corpus": [{"_id": 7, "text": "x"}]}, "corpus.jsonl:4", ""),
    ("incomplete-record", {"queries": [{"_id": "q9"}]}, "queries.jsonl:3", ""),
    ("bad-document-id", {"corpus": [{"_id": "a b", "text": "x"}]}, "corpus.jsonl:4", "'a b'"),
    ("bad-document-id", {"corpus": ['{"_id": "\\ud800", "text": "x"}']}, "corpus.jsonl:4", ""),
    ("bad-document-id", {"corpus": [{"_id": "", "text": "x"}]}, "corpus.jsonl:4", "''"),
    (
        "repeated-document",
        {"corpus": [{"_id": "d2", "text": "drag of a slender body in supersonic flow"}]},
        "corpus.jsonl:4",
        "'d2', first at line 2",
    ),
    (
        "conflicting-document",
        {"corpus": [{"_id": "d2", "text": "other"}]},
        "corpus.jsonl:4",
        "first at line 2",
    ),
    (
        "repeated-query",
        {"queries": [{"_id": "q1", "text": "what lifts a wing"}]},
        "queries.jsonl:3",
        "",
    ),
    ("conflicting-query", {"queries": [{"_id": "q1", "text": "other"}]}, "queries.jsonl:3", ""),
    ("bad-query-id", {"queries": [{"_id": "a b", "text": "x"}]}, "queries.jsonl:3", "'a b'"),
    ("bad-query-id", {"queries": ['{"_id": "\\ud800", "text": "x"}']}, "queries.jsonl:3", ""),
    (
        "commented-query-id",
        {"queries": [{"_id": "#1", "text": "x"}], "qrels": ["#1\td1\t1"]},
        "queries.jsonl:3",
        "'#1'",
    ),
    ("commented-document-id", {"corpus": [{"_id": "#1", "text": "x"}]}, "corpus.jsonl:4", "'#1'"),
    ("bad-judgment", {"qrels": ["q1 d3"]}, "test.tsv:5", "q1 d3"),
    ("bad-judgment", {"qrels": ["q1 0 d3 1"]}, "test.tsv:5", ""),
    ("bad-grade", {"qrels": ["q1\td3\t0.5"]}, "test.tsv:5", "0.5"),
    ("bad-grade", {"qrels": ["q1\td3\trelevant"]}, "test.tsv:5", ""),
    ("unknown-query", {"qrels": ["q7\td3\t1"]}, "test.tsv:5", "query 'q7'"),
    ("unknown-document", {"qrels": ["q1\td7\t1"]}, "test.tsv:5", "document 'd7'"),
    ("repeated-judgment", {"qrels": ["q1\td1\t2"]}, "test.tsv:5", "at line 2, grade 2"),
    ("conflicting-judgment", {"qrels": ["q1\td1\t1"]}, "test.tsv:5", "grade 1; at line 2, grade 2"),
    ("negative-grade", {"qrels": ["q1\td3\t-1"]}, "test.tsv:5", "grade -1"),
    (
        "query-without-relevant",
        {"queries": [{"_id": "q3", "text": "x"}], "qrels": ["q3\td3\t0"]},
        "test.tsv:5",
        "'q3'",
    ),
    (
        "query-without-judgments",
        {"queries": [{"_id": "q3", "text": "x"}]},
        "queries.jsonl:3",
        "'q3'",
    ),
    (
        "judged-query-without-text",
        {"queries": [{"_id": "q3", "text": " \n"}], "qrels": ["q3\td3\t1"]},
        "queries.jsonl:3",
        "",
    ),
    ("query-without-text", {"queries": [{"_id": "q3", "text": ""}]}, "queries.jsonl:3", ""),
    ("query-without-words", {"queries": [{"_id": "q3", "text": "?!"}]}, "queries.jsonl:3", ""),
    ("document-without-text", {"corpus": [{"_id": "x", "text": " \t"}]}, "corpus.jsonl:4", "'x'"),
    ("document-without-words", {"corpus": [{"_id": "x", "text": "---"}]}, "corpus.jsonl:4", "'x'"),
    ("broken-text", {"corpus": [{"_id": "x", "text": "caf\ufffd"}]}, "corpus.jsonl:4", ""),
    ("broken-text", {"queries": ['{"_id": "q3", "text": "a \\udc00"}']}, "queries.jsonl:3", ""),
    (
        "duplicate-document",
        {"corpus": [{"_id": "x", "title": "WINGS:", "text": "lift of a swept wing, at low speed"}]},
        "corpus.jsonl:4",
        "'x' as 'd1' (line 1)",
    ),
    (
        "near-duplicate-document",
        {"corpus": [{"_id": "x", "text": LONG}, {"_id": "y", "text": LONG + " more"}]},
        "corpus.jsonl:5",
        "'y' as 'x' (line 4), Jaccard 0.974",
    ),
    (
        "unjudged-copy",
        {"corpus": [{"_id": "x", "text": "Wings lift of a swept wing at low speed"}]},
        "test.tsv",
        "'x' as 'd1', relevant to query 'q1'",
    ),
    (
        "duplicate-query",
        {"queries": [{"_id": "q3", "text": "What lifts a wing?"}], "qrels": ["q3\td3\t1"]},
        "queries.jsonl:3",
        "'q3' as 'q1' (line 1), split 'test'",
    ),
    ("query-id-in-corpus", {"corpus": [{"_id": "q1", "text": "x"}]}, "queries.jsonl:1", "'q1'"),
    (
        "query-in-corpus",
        {"corpus": [{"_id": "x", "text": "What lifts a wing?"}]},
        "queries.jsonl:1",
        "query 'q1' is document 'x'",
    ),
    (
        "query-in-corpus",
        {"corpus": [{"_id": "x", "title": "T", "text": "What lifts a wing?"}]},
        "queries.jsonl:1",
        "'x'",
    ),
]


@pytest.mark.parametrize(("rule", "spoilt", "place", "text"), FLAWS)
def test_a_flaw_is_found_where_it_stands(
    make: Make, rule: str, spoilt: dict[str, list[Any]], place: str, text: str
) -> None:
    validation = look(make(**spoilt))
    (example,) = validation[rule].examples
    assert example.place.endswith(place)
    assert text in example.text
    assert validation[rule].count == 1
    assert validation.passed == all(RULES[one].severity != "error" for one in found(validation))


@pytest.mark.parametrize(
    ("rule", "spoilt"),
    [(rule, spoilt) for rule, spoilt, _, _ in FLAWS if len(str(spoilt)) < 50_000],
)
def test_an_error_is_what_loading_refuses(
    make: Make, rule: str, spoilt: dict[str, list[Any]]
) -> None:
    folder = make(**spoilt)
    assert loads(folder) == look(folder).passed == (RULES[rule].severity != "error")


def loads(folder: Path, split: str = "test") -> bool:
    try:
        load_dataset(str(folder), store=Store(folder.parent / "store"), split=split)
    except InputError:
        return False
    return True


LINES = st.sampled_from(
    [
        "",
        " ",
        "\u2028",
        "{}",
        "[]",
        "x",
        "q1\td1\t1",
        "q1\td1\t1.0",
        "q1\td9\t1",
        "#q\td1\t1",
        "q2\td1\t1e3",
        "q2 d2 +1",
        "q3\td1\t-0",
        "q1 0 d1 1",
        "# comment",
        "q2\td2\t9999999999999999999",
        '{"_id": "q3", "text": ""}',
        '{"_id": "d1", "text": "a"}',
        '{"_id": "#q", "text": "a"}',
        '{"_id": "d9", "text": ""}',
        '{"_id": "q3", "text": "b", "title": 7}',
        "\ufeffq2\td2\t0",
        '{"_id": "q3\u00a0", "text": "c"}',
        '\ufeff{"_id": "q4", "text": "c"}',
    ]
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_errors_and_refusals_agree_whatever_the_files_hold(
    tmp_path: Path, data: st.DataObject
) -> None:
    """The loader is the judge; what it refuses first must be among the errors."""
    fine = {
        "corpus.jsonl": ['{"_id": "d1", "text": "a"}', '{"_id": "d2", "text": "b"}'],
        "queries.jsonl": ['{"_id": "q1", "text": "a"}', '{"_id": "q2", "text": "b"}'],
        "qrels/test.tsv": ["query-id corpus-id score", "q1\td2\t1"],
    }
    folder = tmp_path / "folder"
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, lines in fine.items():
        listed = list(lines)
        for line in data.draw(st.lists(LINES, max_size=2)):
            listed.insert(data.draw(st.integers(0, len(listed))), line)
        if data.draw(st.booleans()):
            listed = listed[data.draw(st.integers(0, 1)) :]
        (folder / name).write_text("\n".join(listed), encoding="utf-8")
    try:
        load_dataset(str(folder), store=Store(tmp_path / "store"))
        refusal = ""
    except InputError as error:
        refusal = str(error)
    validation = validate(folder, limit=None)
    assert validation.passed == (not refusal), refusal
    place = refusal.partition(": ")[0]
    if place.rpartition(":")[2].isdigit():
        errors = [one for one in validation.findings if one.severity == "error"]
        assert place in [example.place for one in errors for example in one.examples], refusal


# the whole


def test_all_is_reported_and_not_the_first_alone(make: Make) -> None:
    folder = make(
        corpus=["cut", {"_id": "d1", "text": "again"}, {"_id": "e", "text": ""}],
        queries=[{"_id": "q1", "text": "other"}, b"\xff"],
        qrels=["q1\tnone\t1", "q9\td1\t1", "q1 d1"],
    )
    validation = look(folder)
    assert found(validation) == {
        "not-utf8": 1,
        "not-json": 1,
        "bad-judgment": 1,
        "conflicting-document": 1,
        "conflicting-query": 1,
        "unknown-query": 1,
        "unknown-document": 1,
        "document-without-text": 1,
    }
    assert not validation.passed
    severities = [one.severity for one in validation.findings]
    assert severities == sorted(severities, key=["error", "warning", "fact"].index)


def test_examples_are_limited_and_counts_are_not(make: Make) -> None:
    folder = make(qrels=[f"q1\tunknown{number}\t1" for number in range(50)])
    few, all_ = look(folder, limit=3)["unknown-document"], look(folder, limit=None)
    assert (few.count, len(few.examples)) == (50, 3)
    assert places(all_, "unknown-document")[-1].endswith("test.tsv:54")
    assert len(places(all_, "unknown-document")) == 50


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files_are_read_and_a_cut_off_one_is_an_error(make: Make, suffix: str) -> None:
    folder = make(corpus=[{"_id": f"x{n}", "text": f"{n} {LONG}"} for n in range(3000)])
    plain = look(folder)
    path = folder / "corpus.jsonl"
    packed = path.with_name(path.name + suffix)
    data = pack_bytes(path.read_bytes(), suffix)
    path.unlink()
    packed.write_bytes(data)
    assert found(look(folder)) == found(plain)
    packed.write_bytes(data[: len(data) // 2])
    validation = look(folder)
    (example,) = validation["cut-off-file"].examples
    assert example.place.startswith(f"{packed}:")


def test_of_a_corpus_that_is_cut_off_no_document_is_called_unknown(make: Make) -> None:
    documents = [{"_id": f"x{n}", "text": f"{n} {LONG}"} for n in range(3000)]
    folder = make(corpus=documents, qrels=["q1\tx2999\t1"])
    path = folder / "corpus.jsonl"
    data = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_name("corpus.jsonl.gz").write_bytes(data[: len(data) // 2])
    validation = look(folder, near_duplicates=None)
    assert validation["cut-off-file"].count == 1
    assert validation["unknown-document"].count == 0


def test_a_byte_order_mark_is_no_part_of_a_line(make: Make) -> None:
    folder = make()
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert loads(folder)
    assert found(look(folder)) == {}


def test_the_title_of_a_query_is_no_part_of_it(make: Make) -> None:
    query = {"_id": "q3", "title": "a title", "text": ""}
    folder = make(queries=[query], qrels=["q3\td3\t1"])
    assert not loads(folder)
    assert found(look(folder)) == {"judged-query-without-text": 1}


def test_an_empty_corpus_and_an_empty_split_are_errors(make: Make) -> None:
    folder = make(splits={"dev": []})
    (folder / "corpus.jsonl").write_text("\n")
    validation = look(folder)
    assert validation["no-document"].count == 1
    assert places(validation, "no-judgment") == [str(folder / "qrels" / "dev.tsv")]


def test_only_the_splits_that_were_asked_for_count(make: Make) -> None:
    folder = make(splits={"train": ["q1\tnone\t1"]})
    assert not look(folder).passed
    assert look(folder, splits=["test"]).passed
    with pytest.raises(InputError, match=r"unknown split 'trian'. Did you mean 'train'"):
        look(folder, splits=["trian"])


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_an_error_of_its_own(make: Make, name: str) -> None:
    folder = make()
    (folder / name).unlink()
    with pytest.raises(InputError, match=r"there is no (such )?file"):
        look(folder)


def test_unusual_lengths_are_facts(make: Make) -> None:
    corpus = [{"_id": f"x{n}", "text": f"text number {n} of some length"} for n in range(30)]
    odd = [{"_id": "long", "text": LONG * 20}, {"_id": "short", "text": "a"}]
    validation = look(make(corpus=corpus + odd))
    assert [one.text for one in validation["unusually-long"].examples] == [
        f"document 'long', {len(LONG) * 20} characters"
    ]
    assert [one.text for one in validation["unusually-short"].examples] == [
        "document 'short', 1 characters"
    ]


def test_near_duplicates_are_sought_only_if_wanted(make: Make) -> None:
    folder = make(corpus=[{"_id": "x", "text": LONG}, {"_id": "y", "text": LONG + " more"}])
    assert found(look(folder)) == {"near-duplicate-document": 1}
    assert found(look(folder, near_duplicates=None)) == {}
    assert found(look(folder, near_duplicates=0.99)) == {}


def test_judgments_of_four_columns_have_comments(make: Make) -> None:
    folder = make()
    (folder / "qrels" / "test.tsv").write_text("# by hand\nq1 0 d1 2\n\nq2 0 d9 1\nq2 0 d3\n")
    validation = look(folder)
    assert found(validation) == {"bad-judgment": 1, "unknown-document": 1, "all-judged-relevant": 1}
    assert places(validation, "unknown-document")[0].endswith(":4")


def test_relevant_copies_that_are_judged_are_no_finding(make: Make) -> None:
    copy = {"_id": "x", "text": "Wings lift of a swept wing at low speed"}
    assert look(make(corpus=[copy], qrels=["q1\tx\t0"]))["unjudged-copy"].count == 0


def test_a_gzip_file_without_suffix_is_read_as_loading_reads_it(make: Make) -> None:
    folder = make()
    path = folder / "queries.jsonl"
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert found(look(folder)) == {}


# other sources


def test_a_card_of_a_folder_is_checked_line_by_line(make: Make, tmp_path: Path) -> None:
    folder = make(qrels=["q1\tnone\t1"], splits={"dev": ["q9\td1\t1"]})
    card = tmp_path / "mine.yaml"
    card.write_text(f"source: beir\nparameters: {{path: '{folder}', split: test}}\n")
    validation = validate(str(card), store=Store(tmp_path / "store"))
    assert places(validation, "unknown-document") == [f"{folder / 'qrels' / 'test.tsv'}:5"]
    assert validation["unknown-query"].count == 0


def test_a_loaded_dataset_is_checked_without_lines(make: Make) -> None:
    copy = {"_id": "x", "text": "Wings lift of a swept wing at low speed"}
    folder = make(corpus=[copy], qrels=["q1\td3\t-1"])
    dataset = load_dataset(str(folder), store=Store(folder.parent / "store"))
    validation = validate(dataset)
    assert found(validation) == {"negative-grade": 1, "duplicate-document": 1, "unjudged-copy": 1}
    assert places(validation, "negative-grade") == ["query 'q1', document 'd3'"]
    assert places(validation, "duplicate-document") == ["document 'x'"]
    with pytest.raises(InputError, match="loaded already"):
        validate(dataset, splits=["test"])


SOURCE = """
from retrieval_eval.datasets import Dataset, DatasetSource
from retrieval_eval.qrels import Qrels

class Tiny(DatasetSource):
    name = "tiny"

    def load(self, name, store):
        qrels = Qrels.from_mapping({"q": {"a": 1}})
        return Dataset(name, ["a", "b"], ["the text", "The text."], ("q",), ["?"], qrels)
"""


def test_a_source_by_name_is_loaded_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny_source_of_tests.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    name = "tiny_source_of_tests:Tiny"
    assert found(validate(name, store=Store(tmp_path / "store"))) == {
        "query-without-words": 1,
        "duplicate-document": 1,
        "unjudged-copy": 1,
        "all-judged-relevant": 1,
    }
    with pytest.raises(InputError, match="2 splits at once"):
        validate(name, splits=["test", "dev"])


def test_of_vectors_without_texts_no_text_is_missed() -> None:
    rows = np.ones((3, 2), dtype=np.float32)
    vectors = DatasetVectors(_Rows(rows), _Rows(rows[:1]), "documents", "queries")
    qrels = Qrels.from_mapping({"q": {"a": 1, "b": -1}})
    dataset = Dataset("v", ["a", "b", "c"], [""] * 3, ("q",), [""], qrels, vectors=vectors)
    validation = validate(dataset)
    assert found(validation) == {"negative-grade": 1}
    assert "document_characters" not in validation.sizes


class _Rows:
    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.n, self.d = rows.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.rows[start:stop]


def test_the_result_is_plain(make: Make) -> None:
    content = look(make(qrels=["q1\tnone\t1"])).as_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["passed"] is False


def test_an_unknown_rule_is_no_empty_finding(make: Make) -> None:
    with pytest.raises(KeyError):
        look(make())["no-such-rule"]


# real data


def test_real_collections_load_and_their_known_flaws_are_found(
    collections: Path, tmp_path: Path
) -> None:
    cranfield = validate(collections / "cranfield", splits=["test"], store=Store(tmp_path))
    assert cranfield.passed
    assert cranfield["document-without-text"].count == 2
    cisi = validate(collections / "cisi", store=Store(tmp_path))
    assert cisi.passed
    assert cisi["duplicate-document"].count == 2
    assert cisi["near-duplicate-document"].count == 3
    assert cisi["query-without-judgments"].count == 36
