"""A backend that crashes, hangs or floods memory costs its own rows, and the sweep goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval import Results, Sweep, run_sweep
from retrieval_eval.store import Store

BAD = """
import ctypes
import time

from retrieval_eval.indexes.flat import FlatIndex


class CrashIndex(FlatIndex):
    name = "crash"

    def _build(self, vectors):
        ctypes.string_at(0)


class HangIndex(FlatIndex):
    name = "hang"

    def _bind(self, k, search):
        time.sleep(600)


class FloodIndex(FlatIndex):
    name = "flood"

    def _build(self, vectors):
        held = []
        while True:
            held.append(bytearray(20_000_000))
            time.sleep(0.001)


class RaiseIndex(FlatIndex):
    name = "raise"

    def _build(self, vectors):
        raise RuntimeError("no such luck")
"""


@pytest.fixture
def results(tiny: Path, settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Results:
    (tmp_path / "bad_backends.py").write_text(BAD)
    names = ["CrashIndex", "HangIndex", "FloodIndex", "RaiseIndex"]
    changes = {
        "indexes": ["flat", *(f"bad_backends:{name}" for name in names), {"sq8": {}}],
        "limits": {"seconds": 5.0, "memory_gb": 0.8},
    }
    sweep = Sweep(**settings(tiny, **changes))
    return run_sweep(sweep, out=tmp_path / "out", store=Store(tmp_path / "store"), progress=False)


def test_each_costs_its_row_and_says_how_it_ended(results: Results) -> None:
    rows = results.rows.select("configuration", "status", "message").rows()
    found = {name.partition(":")[2] or name: (status, text) for name, status, text in rows}
    assert {name: status for name, (status, _) in found.items()} == {
        "flat": "ok",
        "CrashIndex": "failed",
        "HangIndex": "failed",
        "FloodIndex": "failed",
        "RaiseIndex": "failed",
        "sq8": "ok",
    }
    assert found["CrashIndex"][1].startswith("was ended by SIGSEGV; its last words: Fatal Python")
    assert found["HangIndex"][1] == "was stopped after 5 s, its limit of time"
    assert found["FloodIndex"][1].startswith("was stopped with 0.")
    assert found["RaiseIndex"][1].startswith("RuntimeError: no such luck")
    assert results.failed == 4


def test_a_child_finds_what_this_process_would_and_the_same_figures(
    tiny: Path, settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    indexes = ["flat", {"ivf-flat": {"nlist": 4, "search": {"nprobe": [1, 2]}}}]
    found = [
        run_sweep(
            Sweep(**settings(tiny, indexes=indexes, limits={"processes": processes})),
            out=tmp_path / f"out-{processes}",
            store=Store(tmp_path / f"store-{processes}"),
            progress=False,
        ).rows
        for processes in (True, False)
    ]
    kept = ["row_id", "configuration", "nDCG@10", "RR@10", "R@20", "neighbour_recall@10"]
    assert found[0].select(kept).equals(found[1].select(kept))
    assert found[0]["latency_p50_s"].null_count() == 0
