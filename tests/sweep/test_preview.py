"""Before a sweep runs: its jobs, what is in the store already, and what the rest would take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from retrieval_eval import Store, Sweep
from retrieval_eval.cli import app
from retrieval_eval.errors import InputError
from retrieval_eval.report.plan import shown_bytes, shown_seconds
from retrieval_eval.store import MANIFEST

MakeSettings = Callable[..., dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_nothing_is_made_and_everything_is_counted(
    tiny: Path, settings: MakeSettings, store: Store
) -> None:
    lists = {"ivf-flat": {"nlist": 4, "search": {"nprobe": [1, 2]}}}
    found = Sweep(**settings(tiny, indexes=["flat", lists])).plan(store)
    jobs = found.jobs
    assert jobs["kind"].to_list().count("build") == 2
    assert len(jobs) == 2 + 1 + 2 + 3 + 3
    assert found.rows["configuration"].to_list() == [
        "flat",
        "ivf-flat nlist=4 nprobe=1",
        "ivf-flat nlist=4 nprobe=2",
    ]
    assert not jobs["cached"].any()
    assert not jobs["learnt"].any()
    assert (jobs["seconds"] > 0).all()
    assert jobs.filter(jobs["kind"] == "build")["memory_bytes"].min() >= 3 * 60 * 8 * 4
    assert not (store.root / "embeddings").exists()


def test_what_was_done_is_cached_and_teaches_how_long_the_rest_takes(
    tiny: Path, settings: MakeSettings, store: Store, tmp_path: Path
) -> None:
    Sweep(**settings(tiny)).run(store=store, out=tmp_path / "out", progress=False)
    again = Sweep(**settings(tiny)).plan(store)
    assert again.jobs["cached"].all()
    assert again.seconds == 0
    # Ten times slower than it was: the estimate follows.
    for manifest in (store.root / "embeddings").glob(f"*/{MANIFEST}"):
        content = json.loads(manifest.read_text(encoding="utf-8"))
        work = content["meta"]["job"]["work"]
        content["meta"]["job"]["seconds"] = 10.0 * work
        manifest.write_text(json.dumps(content), encoding="utf-8")
    other = Sweep(**settings(tiny, encoders=[{"lsa": {"dim": 4}}])).plan(store).jobs
    encoding = other.filter(other["kind"] == "encode")
    assert encoding["learnt"].all()
    assert encoding["seconds"].to_list() == pytest.approx([600.0, 120.0])


def test_a_closer_likeness_counts_more(tiny: Path, settings: MakeSettings, store: Store) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", {"ivf-flat": {"nlist": 4}}]))
    for number, (alike, seconds) in enumerate(
        [(["build flat", "build"], 1.0), (["build"], 100.0), (["build"], 100.0)]
    ):
        store.get_or_make(
            "indexes",
            {"number": number},
            lambda _, alike=alike, seconds=seconds: {
                "job": {"alike": alike, "work": 480, "seconds": seconds}
            },
        )
    jobs = sweep.plan(store).jobs
    flat, lists = jobs.filter(jobs["kind"] == "build")["seconds"].to_list()
    assert flat == pytest.approx(1.0)
    assert lists == pytest.approx(100.0)


def test_impossible_combinations_are_found_before_any_work(
    tiny: Path, settings: MakeSettings, store: Store
) -> None:
    for change, words in (
        ({"indexes": [{"ivf-pq": {"nlist": 4, "m": 3, "nbits": 4}}]}, "m is 3"),
        ({"indexes": [{"ivf-flat": {"nlist": 61}}]}, "nlist is 61"),
        ({"k": 61}, "k is 61"),
    ):
        with pytest.raises(InputError, match=words):
            Sweep(**settings(tiny, **change)).plan(store)
    assert not (store.root / "embeddings").exists()


def test_the_command_prints_jobs_and_what_they_take(
    tiny: Path, settings: MakeSettings, tmp_path: Path
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps(settings(tiny, indexes=["flat"])))
    done = CliRunner().invoke(app, ["run", str(path), "--dry-run"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["tiny", "lsa", "dim=8", "flat", "run"] in lines
    assert lines[[line[:1] for line in lines].index(["encode"])][:4] == ["encode", "2", "0", "2"]
    assert "nothing like it was done with this cache before" in done.stdout
    assert not (tmp_path / "results").exists()
    assert CliRunner().invoke(app, ["run", str(path)]).exit_code == 0
    again = CliRunner().invoke(app, ["run", str(path), "--dry-run"]).stdout
    assert "Everything is in the cache." in again


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (shown_seconds(0.0), "<1 s"),
        (shown_seconds(119), "119 s"),
        (shown_seconds(121), "2 min"),
        (shown_seconds(7199), "120 min"),
        (shown_seconds(7201), "2.0 h"),
        (shown_bytes(0), "0 MB"),
        (shown_bytes(1), "<1 MB"),
        (shown_bytes(999_999_999), "1000 MB"),
        (shown_bytes(10**12), "1000.0 GB"),
    ],
)
def test_figures_are_as_rough_as_they_are(shown: str, text: str) -> None:
    assert shown == text
