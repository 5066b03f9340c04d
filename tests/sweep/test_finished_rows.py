"""Rows that are finished are written down beside the status while a sweep runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval import Sweep, run_sweep
from retrieval_eval.report.live import RowsSoFar, read_rows
from retrieval_eval.sweep import perform, run, status
from retrieval_eval.sweep.status import rows_path, status_path

MakeSettings = Callable[..., dict[str, Any]]

LISTS = {"ivf-flat": {"nlist": 2, "search": {"nprobe": [1, 2]}}}
BROKEN = """
from retrieval_eval.indexes.flat import FlatIndex

class Broken(FlatIndex):
    name = "broken"

    def _build(self, vectors):
        raise RuntimeError("no luck")
"""


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], RowsSoFar]:
    """Keep the file at a sweep's end, and return a function that reads it."""
    monkeypatch.setattr(status, "remove", lambda _: None)

    def read() -> RowsSoFar:
        rows = read_rows(rows_path(status_path(tmp_path / "out")))
        assert rows is not None
        return rows

    return read


def test_every_row_is_written_as_the_results_have_it_but_for_intervals(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    kept: Callable[[], RowsSoFar],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "broken_index.py").write_text(BROKEN)
    sweep = Sweep(
        **settings(
            tiny,
            encoders=[{"hashing": {"dim": [16, 32], "label": "hashing"}}],
            indexes=["flat", LISTS, "broken_index:Broken"],
            combine=[{"rrf": {"of": ["hashing dim=16", "hashing dim=32"]}}],
            compare={"draws": 200, "interval": "percentile"},
            build_seeds=2,
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    results = run_sweep(sweep, out=tmp_path / "out", progress=False)
    rows = kept()
    assert (rows.total, len(rows.records)) == (len(results.rows), len(results.rows))
    assert (rows.name, rows.measures) == ("tiny-sweep", ("nDCG@10", "RR@10", "R@20"))
    expected = {one["row_id"]: one for one in results.rows.to_dicts()}
    for record in rows.records:
        wanted = expected.pop(record["row_id"])
        assert record == {name: wanted[name] for name in record}
        assert set(wanted) - set(record) == {
            f"{name}_{end}" for name in rows.measures for end in ("lo", "hi")
        }
    assert not expected
    found = [one["status"] for one in rows.records]
    assert (found.count("failed"), found.count("ok")) == (2, len(found) - 2)
    assert any("+" in one["encoder"] for one in rows.records)


def test_rows_that_are_skipped_are_written_at_once(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    kept: Callable[[], RowsSoFar],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "hnswlib" else real(name)
    )
    sweep = Sweep(**settings(tiny, indexes=["flat", "hnsw"]))
    run_sweep(sweep, out=tmp_path / "out", progress=False, skip_unavailable=True)
    assert [one["status"] for one in kept().records] == ["skipped", "ok"]


def test_rows_are_there_before_the_sweep_ends_and_gone_after_it(
    tiny: Path, tmp_path: Path, settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    settle = perform._FinishedRows.settle

    def look(self: Any, *given: Any) -> None:
        settle(self, *given)
        rows = read_rows(rows_path(status_path(tmp_path / "out")))
        assert rows is not None
        seen.append(len(rows.records))

    monkeypatch.setattr(perform._FinishedRows, "settle", look)
    indexes = ["flat", {"ivf-flat": {"nlist": 2}}]
    run_sweep(Sweep(**settings(tiny, indexes=indexes)), out=tmp_path / "out", progress=False)
    assert seen[0] == 0
    assert 1 in seen
    assert seen[-1] == 2
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_trials_of_a_search_are_kept_and_their_number_is_unknown(
    tiny: Path, tmp_path: Path, settings: MakeSettings, kept: Callable[[], RowsSoFar]
) -> None:
    ranged = {"ivf-flat": {"nlist": {"int": [2, 5]}}}
    goal = "largest neighbour_recall@10"
    tune = {"goal": goal, "sampler": "random", "trials": 3}
    sweep = Sweep(**settings(tiny, indexes=["flat", ranged], tune=tune))
    results = run_sweep(sweep, out=tmp_path / "out", progress=False)
    rows = kept()
    assert rows.total is None
    assert len(rows.records) == 4  # the winner was a trial, and is written once
    assert set(results.rows["row_id"]) < {one["row_id"] for one in rows.records}


def test_another_run_begins_anew(
    tiny: Path, tmp_path: Path, settings: MakeSettings, kept: Callable[[], RowsSoFar]
) -> None:
    run_sweep(Sweep(**settings(tiny)), out=tmp_path / "out", progress=False)
    first = kept()
    run_sweep(Sweep(**settings(tiny, seed=4)), out=tmp_path / "out", progress=False)
    assert kept().run != first.run
    assert len(kept().records) == 1


def test_a_place_that_cannot_be_written_does_not_stop_a_sweep(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    rows_path(status_path(tmp_path / "out")).mkdir()
    results = run_sweep(Sweep(**settings(tiny)), out=tmp_path / "out", progress=False)
    assert results.rows["status"].to_list() == ["ok"]


def test_numbers_that_json_does_not_know_are_left_empty(tmp_path: Path) -> None:
    assert [perform._plain(one) for one in (float("nan"), float("inf"), 0.5, "a", None)] == [
        None,
        None,
        0.5,
        "a",
        None,
    ]
    json.dumps(perform._plain(float("nan")), allow_nan=False)


def test_the_files_are_told_apart_from_those_of_other_sweeps() -> None:
    assert run.status.rows_path(status_path("a/b.c")).name == ".b.c.rows.jsonl"
