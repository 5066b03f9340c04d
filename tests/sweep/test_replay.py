"""A row that is done again says whether its figures still hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retrieval_eval import InputError, Results, Store, Sweep
from retrieval_eval.sweep.replay import Replay, replay
from retrieval_eval.sweep.results import open_results

MakeSettings = Callable[..., dict[str, Any]]
INDEXES = ["flat", {"ivf-flat": {"nlist": 4, "search": {"nprobe": [1, 2]}}}]


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory,
    write_collection: Callable[..., Path],
    settings: MakeSettings,
) -> Path:
    """A folder with a collection, a store, and the results of a sweep, for all tests."""
    folder = tmp_path_factory.mktemp("replay")
    sweep = Sweep(
        **settings(
            write_collection(folder / "tiny"),
            encoders=[{"lsa": {"dim": 8}}, "hashing"],
            indexes=INDEXES,
            combine=[{"rrf": {"of": ["lsa dim=8", "hashing"]}}],
        )
    )
    sweep.run(out=folder / "out", store=Store(folder / "store"), progress=False)
    return folder


@pytest.fixture
def store(done: Path) -> Store:
    return Store(done / "store")


@pytest.fixture
def finished(done: Path, tmp_path: Path) -> Results:
    """The results, to be changed as a test likes."""
    shutil.copytree(done / "out", tmp_path / "out")
    return open_results(tmp_path / "out")


def again(results: Results, row: str, store: Store, **options: Any) -> Replay:
    return replay(results, row, store=store, progress=False, **options)


def verdicts(found: Replay) -> dict[str, str]:
    return {one.name: one.verdict for one in found.figures}


def change(results: Results, table: str, column: str, value: pl.Expr) -> None:
    path = results.folder / f"{table}.parquet"
    pl.read_parquet(path).with_columns(value.alias(column)).write_parquet(path)


def test_a_row_that_nothing_has_changed_holds(finished: Results, store: Store) -> None:
    found = again(finished, "lsa dim=8 | ivf-flat nlist=4 nprobe=2", store)
    assert found.holds
    assert not found.changes
    by_name = verdicts(found)
    scores = ["nDCG@10", "RR@10", "R@20_lo", "neighbour_recall@10", "n_queries", "per_query"]
    assert [by_name[name] for name in scores] == ["holds"] * 6
    assert {"build_s", "size_bytes"} <= set(by_name)
    assert "encode_documents_s" not in by_name  # it was not encoded again


@pytest.mark.parametrize(
    ("start", "column", "there"),
    [
        ("search", "build_s", False),
        ("search", "latency_p50_s", True),
        ("build", "build_s", True),
        ("encode", "encode_documents_s", True),
    ],
)
def test_only_what_is_done_again_is_judged(
    start: Any, column: str, finished: Results, store: Store, *, there: bool
) -> None:
    found = again(finished, "hashing | flat", store, start=start)
    assert (column in verdicts(found)) is there


def test_a_combined_row_is_done_again_with_its_parts(finished: Results, store: Store) -> None:
    found = again(finished, "lsa dim=8 + hashing | rrf", store, start="encode")
    assert found.holds
    assert verdicts(found)["nDCG@10"] == "holds"


def test_a_score_that_is_another_one_is_found(finished: Results, store: Store) -> None:
    change(finished, "results", "RR@10", pl.col("RR@10") + 1e-6)
    found = again(finished, "hashing | flat", store)
    assert not found.holds
    assert [one.name for one in found.figures if one.verdict == "differs"] == ["RR@10"]


def test_scores_of_single_queries_are_compared_too(finished: Results, store: Store) -> None:
    first = finished.per_query["query_id"][0]
    changed = pl.when(pl.col("query_id") == first).then(0.123).otherwise(pl.col("R@20"))
    change(finished, "per_query", "R@20", changed)
    found = again(finished, "hashing | flat", store)
    assert {one.name: one.now for one in found.figures if one.verdict == "differs"} == {
        "per_query": 1
    }


def test_timings_of_a_noisy_or_another_machine_are_not_judged(
    finished: Results, store: Store
) -> None:
    change(finished, "results", "noise", pl.lit("searching: others kept 1.5 cores busy"))
    assert verdicts(again(finished, "hashing | flat", store))["qps"] == "not judged"
    change(finished, "results", "noise", pl.lit(""))
    manifest = {**finished.manifest, "machine": {"processor": "another", "cores": 3}}
    elsewhere = Results(finished.folder, manifest, fresh=False)
    assert verdicts(again(elsewhere, "hashing | flat", store))["qps"] == "not judged"


def test_a_timing_beyond_the_factor_differs(
    finished: Results, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval_eval.pipeline.searching.noise", lambda *_: "")
    monkeypatch.setattr("retrieval_eval.pipeline.building.noise", lambda *_: "")
    change(finished, "results", "noise", pl.lit(""))
    change(finished, "results", "qps", pl.col("qps") * 100)
    assert verdicts(again(finished, "hashing | flat", store))["qps"] == "differs"


def test_what_changed_is_named(
    finished: Results, store: Store, done: Path, request: pytest.FixtureRequest
) -> None:
    path = done / "tiny" / "corpus.jsonl"
    text = path.read_text()
    request.addfinalizer(lambda: path.write_text(text))
    path.write_text(text.replace('"text": "', '"text": "moon ', 1))
    versions = {**finished.manifest["versions"], "numpy": "1.0"}
    results = Results(finished.folder, {**finished.manifest, "versions": versions}, fresh=False)
    found = again(results, "hashing | flat", store)
    assert any(text.startswith("dataset tiny: corpus was ") for text in found.changes)
    assert any(text.startswith("numpy was 1.0, is ") for text in found.changes)
    assert any("what decides the row" in text for text in found.changes)


def test_a_row_is_found_by_its_id_and_an_unknown_one_gets_a_suggestion(
    finished: Results, store: Store
) -> None:
    row_id = finished.rows["row_id"][0]
    assert again(finished, row_id[:10], store).row_id == row_id
    with pytest.raises(InputError, match=r"Did you mean 'hashing \| flat'"):
        again(finished, "hashing | flt", store)


def test_the_command_says_so_by_its_exit_code(
    finished: Results, store: Store, cli: Callable[..., tuple[int, str, str]]
) -> None:
    words = ("replay", finished.folder, "hashing | flat", "--cache", store.root)
    # A timing may differ on a busy machine: that is another question.
    change(finished, "results", "noise", pl.lit("searching: others kept 1.5 cores busy"))
    code, out, err = cli(*words, "--format", "json")
    assert code == 0, err
    (content,) = json.loads(out)
    assert content["holds"] is True
    assert content["shown"] == "tiny, hashing | flat"
    change(finished, "results", "RR@10", pl.col("RR@10") + 0.25)
    code, _, err = cli(*words)
    assert code == 1
    assert "differs: RR@10" in err


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no results"):
        open_results(tmp_path)
