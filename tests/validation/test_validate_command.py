"""``retrieval-eval validate``: its forms, its exit codes, and the repaired copy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import retrieval_eval.cli.validate  # noqa: F401  # the verb
from retrieval_eval.validation import validate

Make = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]

WRONG: dict[str, list[Any]] = {
    "corpus": [{"_id": "e", "text": ""}],
    "qrels": ["q1\tnone\t1", "q1\tlost\t1"],
}


def test_a_folder_that_loads_passes(make: Make, cli: Cli) -> None:
    folder = make()
    code, out, err = cli("validate", folder)
    assert (code, out) == (0, "")
    assert "3 documents, 2 queries; test: 3 judgments of 2 queries" in err
    assert "0 errors, 0 warnings, 0 facts; it loads" in err


def test_an_error_is_exit_code_1_and_a_warning_is_none(make: Make, cli: Cli) -> None:
    code, out, err = cli("validate", make(**WRONG))
    assert code == 1
    assert "unknown-document" in out
    assert "document 'lost'" in out
    assert "2 errors, 1 warning, 0 facts; it does not load" in err
    assert cli("validate", make("other", corpus=WRONG["corpus"]))[0] == 0


def test_json_has_what_the_function_returns(make: Make, cli: Cli) -> None:
    folder = make(**WRONG)
    options = ["--limit", "1", "--near-duplicates", "0", "--split", "test", "--seed", "3"]
    code, out, err = cli("validate", folder, "--format", "json", *options)
    assert (code, err) == (1, "")
    expected = validate(str(folder), splits=["test"], near_duplicates=None, limit=1, seed=3)
    assert json.loads(out) == expected.as_dict()


def test_csv_has_a_row_for_each_place(make: Make, cli: Cli) -> None:
    folder = make(**WRONG)
    _, out, _ = cli("validate", folder, "--format", "csv", "--limit", "0")
    rows = list(csv.DictReader(io.StringIO(out)))
    qrels = folder / "qrels" / "test.tsv"
    assert [(row["severity"], row["finding"], row["place"]) for row in rows] == [
        ("error", "unknown-document", f"{qrels}:5"),
        ("error", "unknown-document", f"{qrels}:6"),
        ("warning", "document-without-text", f"{folder / 'corpus.jsonl'}:4"),
    ]


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_other_forms_hold_the_findings_and_the_verdict(make: Make, cli: Cli, form: str) -> None:
    code, out, err = cli("validate", make(**WRONG), "--format", form)
    assert (code, err) == (1, "")
    assert "unknown-document" in out
    assert "does not load" in out


def test_a_limit_is_told(make: Make, cli: Cli) -> None:
    _, out, _ = cli("validate", make(**WRONG), "--limit", "1")
    assert "error: unknown-document, 1 of 2" in out
    assert "'lost'" not in out


def test_training_data_is_compared(make: Make, cli: Cli) -> None:
    folder, training = make(), make("training")
    _, out, _ = cli("validate", folder, "--training", training, "--format", "json")
    rules = {one["rule"] for one in json.loads(out)["findings"]}
    assert {"query-in-training", "judgment-in-training", "relevant-in-training"} <= rules


def test_a_repaired_copy_is_written_and_told_of(make: Make, cli: Cli) -> None:
    folder = make(**WRONG)
    copy = folder.parent / "copy"
    code, _, err = cli("validate", folder, "--repair", copy, "--drop", "empty-documents")
    assert code == 0
    assert "qrels/test.tsv: dropped 2 lines: names a document that is not there" in err
    assert "corpus.jsonl: dropped 1 line: has no text" in err
    assert cli("validate", copy)[0] == 0
    assert len(json.loads((copy / "repairs.json").read_text())["dropped"]) == 3


def test_a_copy_of_what_is_whole_says_so(make: Make, cli: Cli) -> None:
    folder = make()
    code, _, err = cli("validate", folder, "--repair", folder.parent / "copy")
    assert code == 0
    assert "nothing had to be repaired" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "unknown dataset"),
        (["{folder}/qrels"], "there is no such file; BEIR's layout is"),
        (["{folder}", "--split", "tset"], "Did you mean 'test'?"),
        (["{folder}", "--keep", "first"], "say where by --repair DIR"),
        (["{folder}", "--drop", "bad-lines"], "say where by --repair DIR"),
        (["{folder}", "--training", "nowhere"], "unknown dataset"),
        (["{folder}", "--repair", "{folder}"], "new or empty folder"),
    ],
)
def test_bad_words_are_one_line(make: Make, cli: Cli, words: list[str], message: str) -> None:
    folder = make()
    code, _, err = cli("validate", *(word.format(folder=folder) for word in words))
    assert code == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_what_is_not_decided_is_refused(make: Make, cli: Cli) -> None:
    folder = make(corpus=["cut", {"_id": "d1", "text": "other"}])
    copy = folder.parent / "copy"
    code, _, err = cli("validate", folder, "--repair", copy)
    assert code == 2
    assert "1 needs --drop bad-lines" in err
    assert "1 needs --keep first" in err
    assert not copy.exists()
    words = ["--keep", "first", "--drop", "bad-lines"]
    assert cli("validate", folder, "--repair", copy, *words)[0] == 0
