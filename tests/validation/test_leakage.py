"""Leakage: one planted overlap is found, and nothing where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.store import Store
from retrieval_eval.validation import Validation, validate

Make = Callable[..., Path]


def look(folder: Path, **options: Any) -> Validation:
    return validate(folder, store=Store(folder.parent / "store"), **options)


def found(validation: Validation) -> dict[str, int]:
    return {one.rule: one.count for one in validation.findings}


TRAIN = [
    {"_id": "t1", "text": "where does a wing stall first"},
    {"_id": "t2", "text": "what is the drag of a body"},
    {"_id": "t3", "text": "how is heat carried from the nose"},
]


def test_splits_with_nothing_in_common_leak_nothing(make: Make) -> None:
    folder = make(queries=TRAIN, splits={"train": ["t1\td2\t1", "t2\td2\t1", "t2\td1\t0"]})
    assert found(look(folder)) == {"query-without-judgments": 1}


@pytest.mark.parametrize(
    ("query", "judgment", "expected"),
    [
        (None, "q1\td3\t0", {"query-in-two-splits"}),
        (
            None,
            "q1\td1\t1",
            {"query-in-two-splits", "judgment-in-two-splits", "relevant-in-two-splits"},
        ),
        ("What lifts a wing?", "t9\td3\t0", {"same-query-in-two-splits"}),
        (
            "WHAT lifts a wing",
            "t9\td1\t2",
            {"same-query-in-two-splits", "judgment-in-two-splits", "relevant-in-two-splits"},
        ),
        ("a wing lifts what?", "t9\td3\t0", {"near-query-in-two-splits"}),
        ("something else", "t9\td3\t1", {"relevant-in-two-splits"}),
        ("something else", "t9\td2\t1", set()),
    ],
)
def test_one_planted_overlap_between_splits_is_found(
    make: Make, query: str | None, judgment: str, expected: set[str]
) -> None:
    planted = [] if query is None else [{"_id": "t9", "text": query}]
    folder = make(
        queries=[*TRAIN, *planted],
        splits={"train": ["t1\td2\t1", "t2\td2\t1", "t3\td2\t1", judgment]},
    )
    validation = look(folder)
    leaks = {one.rule for one in validation.findings if "two-splits" in one.rule}
    assert leaks == expected
    assert all(validation[rule].count == 1 for rule in leaks)
    for rule in leaks & {"query-in-two-splits", "same-query-in-two-splits"}:
        (example,) = validation[rule].examples
        assert example.place.endswith("queries.jsonl:1")
        assert "'q1' of 'test'" in example.text  # it is the test query that is spoilt


def test_two_versions_of_one_set_of_judgments_are_one_warning(make: Make) -> None:
    validation = look(make(splits={"binary": ["q1\td1\t1", "q2\td3\t1"]}))
    assert validation["splits-of-the-same-queries"].count == 1
    assert validation["query-in-two-splits"].count == 0


@pytest.mark.parametrize(
    ("query", "document", "grade", "expected"),
    [
        ("What lifts a wing?", "another text", 1, {"query-in-training"}),
        ("a wing lifts what", "another text", 1, {"near-query-in-training"}),
        (
            "another query",
            "WINGS lift of a swept wing; at low speed",
            1,
            {"relevant-in-training", "document-in-training"},
        ),
        ("another query", "WINGS lift of a swept wing; at low speed", 0, {"document-in-training"}),
        (
            "what lifts a wing",
            "Drag of a slender body in supersonic flow.",
            0,
            {"query-in-training", "judgment-in-training", "document-in-training"},
        ),
        ("another query", "another text", 1, set()),
    ],
)
def test_one_planted_overlap_with_training_data_is_found(
    make: Make, query: str, document: str, grade: int, expected: set[str]
) -> None:
    folder, training = make(), make("training")
    (training / "qrels" / "test.tsv").unlink()
    records = {
        "corpus": [{"_id": "q1", "text": document}, {"_id": "d1", "text": "filler"}],
        "queries": [{"_id": "d1", "text": query}],
    }  # ids that mean nothing
    for name, lines in records.items():
        text = "".join(json.dumps(one) + "\n" for one in lines)
        (training / f"{name}.jsonl").write_text(text)
    (training / "qrels" / "train.tsv").write_text(f"d1 0 q1 {grade}\n")
    validation = look(folder, training=training)
    assert found(validation) == dict.fromkeys(expected, 1)


def test_of_training_data_the_split_train_counts(make: Make) -> None:
    folder = make()
    training = make("training", queries=TRAIN, splits={"train": ["t1\td2\t1"]})
    assert look(folder, training=training)["query-in-training"].count == 0
    (training / "qrels" / "train.tsv").unlink()
    assert look(folder, training=training)["query-in-training"].count == 2


def test_texts_without_words_are_not_the_same_text(make: Make) -> None:
    empty = {"corpus": [{"_id": "e", "text": "..."}], "queries": [{"_id": "q3", "text": "?"}]}
    folder = make(**empty, qrels=["q3\te\t1"])
    training = make("training")
    (training / "corpus.jsonl").write_text('{"_id": "x", "text": "--"}\n')
    (training / "queries.jsonl").write_text('{"_id": "y", "text": "!"}\n')
    (training / "qrels" / "test.tsv").write_text("y 0 x 1\n")
    validation = look(folder, training=training)
    assert not [one for one in validation.findings if "training" in one.rule]
