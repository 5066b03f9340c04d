"""A repaired copy loads, lacks what was asked for, and has the rest byte for byte."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval.datasets import load_dataset
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store
from retrieval_eval.textfiles import pack_bytes
from retrieval_eval.validation import Validation, repair, validate

Make = Callable[..., Path]


def found(validation: Validation) -> dict[str, int]:
    return {one.rule: one.count for one in validation.findings}


def loads(folder: Path) -> bool:
    return bool(load_dataset(str(folder), store=Store(folder.parent / "store")))


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_what_loses_nothing_is_repaired_and_the_rest_stays_byte_for_byte(make: Make) -> None:
    odd = '{"_id":"odd",   "text": "sp\\u0061cing"}\r'
    folder = make(
        corpus=[odd, {"_id": "d1", "title": "Wings", "text": "lift of a swept wing at low speed"}],
        queries=[{"_id": "q1", "text": "what lifts a wing"}],
        qrels=["q1\tnone\t1", "q9\td1\t1", "q1\td1\t2", "q2  d1  0"],
    )
    copy = folder.parent / "copy"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = repair(folder, copy)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert loads(copy)
    assert validate(copy).passed
    assert lines_of(copy / "corpus.jsonl") == lines_of(folder / "corpus.jsonl")[:4]
    assert lines_of(copy / "queries.jsonl") == lines_of(folder / "queries.jsonl")[:2]
    kept = lines_of(folder / "qrels" / "test.tsv")
    assert lines_of(copy / "qrels" / "test.tsv") == [*kept[:4], kept[7]]
    written = json.loads((copy / "repairs.json").read_text())
    assert written["dropped"] == [vars(one) for one in done.lines]
    assert [(one.file, one.line) for one in done.lines] == [
        ("corpus.jsonl", 5),
        ("queries.jsonl", 3),
        ("qrels/test.tsv", 5),
        ("qrels/test.tsv", 6),
        ("qrels/test.tsv", 7),
    ]


def test_a_folder_in_which_all_is_well_is_copied_as_it_is(make: Make) -> None:
    folder = make(splits={"dev": ["q1\td1\t1"]})
    copy = folder.parent / "copy"
    copy.mkdir()
    assert repair(folder, copy).lines == ()
    for path in folder.rglob("*"):
        if path.is_file():
            assert (copy / path.relative_to(folder)).read_bytes() == path.read_bytes()


DECISIONS: list[tuple[dict[str, list[Any]], dict[str, Any], str]] = [
    ({"corpus": [{"_id": "d1", "text": "other"}]}, {"keep": "first"}, "--keep first"),
    ({"queries": [{"_id": "q1", "text": "other"}]}, {"keep": "first"}, "--keep first"),
    ({"qrels": ["q1\td1\t1"]}, {"keep": "first"}, "--keep first"),
    ({"corpus": ["cut"]}, {"drop": ["bad-lines"]}, "--drop bad-lines"),
    ({"corpus": [b"\xff"]}, {"drop": ["bad-lines"]}, "--drop bad-lines"),
    ({"corpus": [{"_id": "a b", "text": "x"}]}, {"drop": ["bad-lines"]}, "--drop bad-lines"),
    ({"qrels": ["q1 d1"]}, {"drop": ["bad-lines"]}, "--drop bad-lines"),
    (
        {"queries": [{"_id": "#1", "text": "x"}], "qrels": ["#1\td1\t1"]},
        {"drop": ["bad-lines"]},
        "--drop bad-lines",
    ),
    (
        {"queries": [{"_id": "q3", "text": ""}], "qrels": ["q3\td1\t1"]},
        {"drop": ["empty-queries"]},
        "--drop empty-queries",
    ),
]


@pytest.mark.parametrize(("spoilt", "decision", "way"), DECISIONS)
def test_what_loses_something_needs_a_decision(
    make: Make, spoilt: dict[str, list[Any]], decision: dict[str, Any], way: str
) -> None:
    folder = make(**spoilt)
    copy = folder.parent / "copy"
    with pytest.raises(InputError, match=f"1 needs {way} "):
        repair(folder, copy)
    assert not copy.exists()
    repair(folder, copy, **decision)
    assert loads(copy)
    fine = make("fine")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert (copy / name).read_bytes() == (fine / name).read_bytes()


def test_empty_documents_and_queries_without_relevant_ones_go_if_asked(make: Make) -> None:
    folder = make(
        corpus=[{"_id": "e", "text": ""}],
        queries=[{"_id": "q3", "text": "x"}, {"_id": "q4", "text": "y"}],
        qrels=["q3\te\t1", "q3\td1\t0", "q4\td1\t0"],
    )
    copy = folder.parent / "copy"
    assert repair(folder, copy).lines == ()  # none of it is an error
    both = folder.parent / "both"
    done = repair(folder, both, drop=["empty-documents", "queries-without-relevant"])
    assert done.counts() == {
        ("corpus.jsonl", "has no text"): 1,
        ("qrels/test.tsv", "names a document that is not there"): 1,
        ("qrels/test.tsv", "its query has no relevant document"): 2,
    }
    assert found(validate(both)) == {"query-without-judgments": 2}


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files_stay_packed(make: Make, suffix: str) -> None:
    folder = make(
        corpus=[{"_id": f"x{n}", "text": f"text {n}"} for n in range(20_000)], qrels=["q9\td1\t1"]
    )
    for name in ("corpus.jsonl", "qrels/test.tsv"):
        path = folder / name
        path.with_name(path.name + suffix).write_bytes(pack_bytes(path.read_bytes(), suffix))
        path.unlink()
    copy = folder.parent / "copy"
    assert len(repair(folder, copy).lines) == 1
    assert sorted(one.name for one in copy.iterdir()) == [
        f"corpus.jsonl{suffix}",
        "qrels",
        "queries.jsonl",
        "repairs.json",
    ]
    assert loads(copy)
    assert validate(copy, near_duplicates=None).sizes["documents"] == 20_003


def test_of_a_file_that_is_cut_off_there_is_what_could_be_read(make: Make) -> None:
    folder = make()
    rng = np.random.default_rng(0)
    data = b"".join(
        b'{"_id": "x%d", "text": "%s"}\n' % (n, rng.bytes(40).hex().encode()) for n in range(5000)
    )
    whole = (folder / "corpus.jsonl").read_bytes() + data
    (folder / "corpus.jsonl").unlink()
    packed = gzip.compress(whole)
    (folder / "corpus.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    copy = folder.parent / "copy"
    with pytest.raises(InputError, match="--drop bad-lines"):
        repair(folder, copy)
    repair(folder, copy, drop=["bad-lines"])
    assert loads(copy)
    left = gzip.decompress((copy / "corpus.jsonl.gz").read_bytes())
    assert whole.startswith(left)
    assert len(left) > len(whole) // 4


def test_the_target_must_be_empty_and_something_must_be_left(make: Make) -> None:
    folder = make(splits={"dev": ["q9\td1\t1"]})
    with pytest.raises(InputError, match="new or empty folder"):
        repair(folder, folder)
    copy = folder.parent / "copy"
    with pytest.raises(InputError, match=r"dev\.tsv: nothing would be left"):
        repair(folder, copy)
    assert not copy.exists()
    repair(folder, copy, splits=["test"])
    assert [one.name for one in (copy / "qrels").iterdir()] == ["test.tsv"]
