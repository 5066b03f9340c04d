"""Data sets of finished results: loaded again, or a reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.datasets import Dataset, load_dataset
from retrieval_eval.errors import InputError
from retrieval_eval.filters import Filter
from retrieval_eval.qrels import Qrels
from retrieval_eval.report.queries.sources import Source, first_texts, load_sources
from retrieval_eval.store import Store
from retrieval_eval.sweep import Results


@pytest.fixture
def copied(tiny: Results, tmp_path: Path) -> tuple[Results, Path]:
    """Results whose data lie in a folder of the test's own."""
    folder = tmp_path / "tiny"
    shutil.copytree(tiny.manifest["sweep"]["datasets"][0], folder)
    sweep = {**tiny.manifest["sweep"], "datasets": [str(folder)]}
    return replace(tiny, manifest={**tiny.manifest, "sweep": sweep}), folder


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    records = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


def test_unchanged_data_are_loaded_with_their_texts(
    copied: tuple[Results, Path], tmp_path: Path
) -> None:
    results, folder = copied
    source = load_sources(results, Store(tmp_path / "store"))["tiny"]
    assert isinstance(source, Source)
    assert source.changed == ""
    texts = {
        one["_id"]: " ".join(filter(None, [one.get("title"), one["text"]]))
        for one in map(json.loads, (folder / "corpus.jsonl").read_text().splitlines())
    }
    assert source.document_texts(["d7", "nobody", "d0"]) == [texts["d7"], None, texts["d0"]]
    assert source.query_texts(["q99"]) == [None]
    assert len(source.judgments) == results.manifest["datasets"]["tiny"]["judgments"]


def test_a_data_set_that_was_moved_away_is_a_reason(
    copied: tuple[Results, Path], tmp_path: Path
) -> None:
    results, folder = copied
    folder.rename(tmp_path / "elsewhere")
    found = load_sources(results, Store(tmp_path / "store"))["tiny"]
    assert isinstance(found, str)
    assert found.startswith("The data set 'tiny' cannot be loaded again: ")
    assert str(folder) in found


@pytest.mark.parametrize(
    ("name", "what"), [("corpus.jsonl", "documents"), ("queries.jsonl", "queries")]
)
def test_changed_texts_are_not_handed_out(
    copied: tuple[Results, Path], tmp_path: Path, name: str, what: str
) -> None:
    results, folder = copied
    rewrite(folder / name, lambda one: {**one, "text": f"{one['text']} more"})
    source = load_sources(results, Store(tmp_path / "store"))["tiny"]
    assert isinstance(source, Source)
    assert f"The {what} of the data set 'tiny' are others" in source.changed
    assert source.query_texts(["q1"]) == source.document_texts(["d1"]) == [None]


def test_changed_judgments_are_a_reason(copied: tuple[Results, Path], tmp_path: Path) -> None:
    results, folder = copied
    path = folder / "qrels" / "test.tsv"
    path.write_text(path.read_text() + "q0\td49\t1\n")
    found = load_sources(results, Store(tmp_path / "store"))["tiny"]
    assert found == "The judgments of the data set 'tiny' are others than when the sweep was run."


def test_a_data_set_at_hand_is_checked_but_not_loaded(
    copied: tuple[Results, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, folder = copied
    dataset = load_dataset(str(folder), store=Store(tmp_path / "store"))
    monkeypatch.setattr("retrieval_eval.sweep.choices.dataset_choices", None)  # not to be called
    source = load_sources(results, loaded={"tiny": dataset})["tiny"]
    assert isinstance(source, Source)
    assert source.dataset is dataset
    other = replace(dataset, qrels=Qrels.from_mapping({q: {"d0": 1} for q in dataset.query_ids}))
    assert isinstance(load_sources(results, loaded={"tiny": other})["tiny"], str)


def test_reports_fetch_nothing(tiny: Results, tmp_path: Path) -> None:
    sweep = {**tiny.manifest["sweep"], "datasets": [{"beir-scifact": {"label": "tiny"}}]}
    results = replace(tiny, manifest={**tiny.manifest, "sweep": sweep})
    found = load_sources(results, Store(tmp_path / "store"))["tiny"]
    assert isinstance(found, str)
    assert "reports fetch nothing" in found
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("entry", ["no-such-set", {"gone_module:Source": {}}, {"stdlib": {"x": 1}}])
def test_whatever_fails_is_a_reason(tiny: Results, tmp_path: Path, entry: Any) -> None:
    sweep = {**tiny.manifest["sweep"], "datasets": [entry]}
    results = replace(tiny, manifest={**tiny.manifest, "sweep": sweep})
    found = load_sources(results, Store(tmp_path / "store"))["tiny"]
    assert isinstance(found, str)
    assert "cannot be loaded again: " in found
    assert "\n" not in found


def test_filters_are_applied_by_the_text_that_tables_show() -> None:
    qrels = Qrels.from_mapping({"q": {"b": 1}})
    attributes = {"lang": ["de", "en"]}
    dataset = Dataset("d", ["a", "b"], ["one", "two"], ("q",), ["what?"], qrels, attributes)
    source = Source(dataset, {"lang = en": Filter.parse({"lang": "en"})})
    assert source.where("lang = en", ["b", "a", "c"]).tolist() == [1, 0, -1]
    assert source.where(None, ["b", "a", "c"]).tolist() == [1, 1, -1]
    with pytest.raises(InputError, match="none of the sweep's"):
        source.where("lang = fr", ["a"])


def test_what_is_no_text_can_still_be_shown() -> None:
    found, _ = first_texts(lambda ids: ["a\ud800b" for _ in ids], ["x"], 10, 10)
    assert found == {"x": ("a\ufffdb", False)}


def test_texts_stop_where_there_is_no_room() -> None:
    ids = [f"d{number}" for number in range(600)]
    asked: list[str] = []

    def read(some: Any) -> list[str]:
        asked.extend(some)
        return ["xx"] * len(some)

    found, left = first_texts(read, ids, 5, 10)
    assert (list(found), left) == (ids[:5], 595)
    assert len(asked) == 256
