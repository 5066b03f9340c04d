"""Documents on their way into the store: streamed, packed, and found again."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.datasets import corpus as module
from retrieval_eval.datasets.corpus import Document, keep_corpus
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store
from retrieval_eval.texts import Texts, write_texts


def attributes_of(tmp_path: Path, values: list[dict[str, Any]]) -> dict[str, list[Any]]:
    documents = [Document(f"d{row}", "text", found) for row, found in enumerate(values)]
    kept = keep_corpus(Store(tmp_path), {"n": repr(values)}, lambda: documents, what="here")
    return {name: list(column) for name, column in kept.attributes.items()}


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_attributes_are_kept_whole_however_they_are_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    values: list[dict[str, Any]] = [
        {"year": 1962, "flag": True, "mixed": 1, "bad name": 1},
        {"late": "x", "flag": None, "mixed": "one", "list": [1]},
        {"year": 2.5, "flag": False},
        {},
        {"year": None, "late": "y", "mixed": 3},
    ]
    assert attributes_of(tmp_path, values) == {
        "year": [1962.0, None, 2.5, None, None],
        "flag": [True, None, False, None, None],
        "late": [None, "x", None, None, "y"],
    }


def test_a_number_beyond_64_bits_is_missing_rather_than_wrong(tmp_path: Path) -> None:
    assert attributes_of(tmp_path, [{"a": 7}, {"a": 2**70}]) == {"a": [7, None]}


def test_a_corpus_is_read_once(tmp_path: Path) -> None:
    read = 0

    def documents() -> Iterator[Document]:
        nonlocal read
        read += 1
        yield Document("a", "one")
        yield Document("b", "")

    first = keep_corpus(Store(tmp_path), {"n": 1}, documents, what="here")
    again = keep_corpus(Store(tmp_path), {"n": 1}, documents, what="here")
    assert read == 1
    assert first.fingerprint == again.fingerprint
    assert (list(again.ids), again.texts[:]) == (["a", "b"], ["one", ""])


def test_an_empty_corpus_and_a_repeated_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="here: the corpus is empty"):
        keep_corpus(Store(tmp_path), {"n": 1}, list, what="here")
    twice = [Document("a", "x", {}, f"file:{line}") for line in (1, 2)]
    with pytest.raises(InputError, match="file:2: the document id 'a' occurs twice, first at file"):
        keep_corpus(Store(tmp_path), {"n": 2}, lambda: twice, what="here")
    assert not any((tmp_path / "tmp").iterdir())


def test_texts_never_stand_in_memory_together(tmp_path: Path) -> None:
    n, text = 2000, "x" * 20_000  # 40 MB
    documents = (Document(f"d{row}", text + str(row)) for row in range(n))
    tracemalloc.start()
    try:
        kept = keep_corpus(Store(tmp_path), {"n": 1}, lambda: documents, what="here")
        lengths = sum(len(one) for one in kept.texts[:100])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lengths > 2_000_000
    assert peak < 10_000_000


def test_texts_that_do_not_fit_their_table_are_refused(tmp_path: Path) -> None:
    write_texts(tmp_path, ["one", "two"])
    with (tmp_path / "texts.bin").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match="7 bytes, but the texts take 6"):
        Texts(tmp_path)
    (tmp_path / "texts.npy").unlink()
    with pytest.raises(InputError, match="holds no texts"):
        Texts(tmp_path)


def test_texts_are_a_sequence_as_any_other(tmp_path: Path) -> None:
    values = ["", "a", "zwei \u00e4", "\ud800", "x\ny", ""]
    write_texts(tmp_path, iter(values))
    texts = Texts(tmp_path)
    assert list(texts) == values
    assert len(texts) == len(values)
    for key in (slice(None), slice(1, 4), slice(4, 1), slice(None, None, 2), slice(-2, None)):
        assert texts[key] == values[key]
    assert [texts[row] for row in range(-6, 6)] == values + values
    for row in (6, -7):
        with pytest.raises(IndexError):
            texts[row]
    write_texts(tmp_path, [])
    assert list(Texts(tmp_path)) == []
