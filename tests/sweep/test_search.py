"""Ranges of a sweep are searched, and the winners run like any other rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval import Sweep, run_sweep
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store

MakeSettings = Callable[..., dict[str, Any]]
RANGED = {"ivf-flat": {"nlist": {"int": [2, 100]}, "search": {"nprobe": {"int": [1, 4]}}}}
TUNE = {
    "goal": "smallest size_bytes with neighbour_recall@10 >= 0.5",
    "sampler": "random",
    "trials": 8,
}


@pytest.fixture
def sweep_of(tiny: Path, settings: MakeSettings) -> Callable[..., Sweep]:
    def make(**changes: Any) -> Sweep:
        parts = {"indexes": ["flat", RANGED], "tune": TUNE}
        return Sweep(**settings(tiny, **parts | changes))

    return make


def test_the_winner_is_a_row_and_every_trial_is_written_down(
    sweep_of: Callable[..., Sweep], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    results = run_sweep(sweep_of(), out=tmp_path / "out", store=store, progress=False)
    (record,) = results.manifest["tuning"]
    assert record["encoder"] == "lsa"
    trials = record["trials"]
    assert [one["number"] for one in trials] == list(range(8))
    # 60 documents cannot train 100 lists: such points fail, and are never chosen.
    failed = [one for one in trials if one["parameters"]["nlist"] > 60]
    assert failed
    assert {one["status"] for one in failed} == {"failed"}
    assert all(one["values"] == {} for one in failed)
    good = [one for one in trials if one["status"] == "ok"]
    assert all(one["values"]["neighbour_recall@10"] >= 0.5 for one in good)
    best = min(good, key=lambda one: one["values"]["size_bytes"])
    assert record["best"] == best["number"]
    nlist, nprobe = best["parameters"]["nlist"], best["parameters"]["search.nprobe"]
    shown = f"ivf-flat nlist={nlist} nprobe={nprobe}"
    assert results.rows["configuration"].to_list() == ["flat", shown]
    assert results.rows["size_bytes"][1] == best["values"]["size_bytes"]
    again = run_sweep(sweep_of(), out=tmp_path / "out", store=store, progress=False)
    assert not again.fresh


def test_nothing_that_keeps_the_bounds_leaves_the_other_indexes(
    sweep_of: Callable[..., Sweep], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    tune = {**TUNE, "goal": "smallest size_bytes with neighbour_recall@10 >= 1.5", "trials": 2}
    results = run_sweep(sweep_of(tune=tune), out=tmp_path / "out", store=store, progress=False)
    assert results.rows["configuration"].to_list() == ["flat"]
    assert results.manifest["tuning"][0]["best"] is None
    assert [note for note in results.manifest["notes"] if "kept the goal's bounds" in note]
    with pytest.raises(InputError, match="no trial keeps the bounds of the goal"):
        run_sweep(
            sweep_of(tune=tune, indexes=[RANGED]),
            out=tmp_path / "alone",
            store=store,
            progress=False,
        )
    assert not (tmp_path / "alone").exists()


def test_what_is_wrong_elsewhere_is_refused_before_any_trial(
    sweep_of: Callable[..., Sweep], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(InputError, match="dim is 80"):
        run_sweep(
            sweep_of(encoders=[{"lsa": {"dim": 80}}]),
            out=tmp_path / "out",
            store=store,
            progress=False,
        )
    assert not (store.root / "indexes").exists()


def test_a_grid_of_encoders_is_refused_with_the_way_out(
    sweep_of: Callable[..., Sweep], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="write datasets and encoders without lists"):
        run_sweep(
            sweep_of(encoders=[{"lsa": {"dim": [4, 8]}}]),
            out=tmp_path / "out",
            store=Store(tmp_path / "store"),
            progress=False,
        )
