"""Jobs on this machine: timed ones alone, the others side by side, each in a child process."""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.executors import LocalExecutor, News, open_executor
from retrieval_eval.store import Store
from retrieval_eval.sweep.schedule import Done, run_jobs
from retrieval_eval.sweep.watching import Task, Watch

JOBS = """
import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from retrieval_eval.errors import InputError
from retrieval_eval.pipeline import Job


@dataclass(frozen=True, eq=False, kw_only=True)
class Work(Job):
    kind: ClassVar[str] = "work"
    folder: ClassVar[str] = "work"
    limited: ClassVar[bool] = True

    does: str = "sleep"
    log: str = ""
    memory: int = 0

    def decides(self):
        return {"label": self.label}

    def note(self, what):
        with open(self.log, "a") as stream:
            stream.write(f"{what} {self.label} {time.monotonic()} {os.getpid()}\\n")

    def make(self, folder, inputs, bench, told):
        self.note("begin")
        held = bytearray(b"1") * self.memory
        if self.does == "crash":
            ctypes.string_at(0)
        if self.does == "raise":
            raise KeyError("x")
        if self.does == "refuse":
            raise InputError("a.txt:3: wrong")
        if self.does == "hang":
            time.sleep(600)
        while self.does.startswith("meet") and self.does[5:] not in Path(self.log).read_text():
            time.sleep(0.01)
        for _ in range(4):
            time.sleep(0.1)
            told(25)
        (folder / "inputs.txt").write_text(" ".join(sorted(inputs)))
        self.note("end")
        return {"needs": sorted(one.meta["fields"]["label"] for one in inputs.values())}


class Here(Work):
    here: ClassVar[bool] = True
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "jobs_for_executors.py").write_text(JOBS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("jobs_for_executors")
    sys.modules.pop("jobs_for_executors")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def perform(work: list[Any], store: Store, **options: Any) -> list[Done]:
    tasks = [Task(job.kind, job.label) for job in work]
    with (
        LocalExecutor(store, **options) as executor,
        Watch.show(tasks, wanted=False, status=None) as watch,
    ):
        done = run_jobs(work, store, executor, watch, check=lambda *_: None)
    return [done[job] for job in work]


def intervals(log: Path) -> dict[str, tuple[float, float]]:
    found: dict[str, list[float]] = {}
    for line in log.read_text().splitlines():
        _, label, when, _ = line.split()
        found.setdefault(label, []).append(float(when))
    return {label: (times[0], times[-1]) for label, times in found.items()}


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_untimed_jobs_run_side_by_side_and_timed_ones_alone(
    jobs: ModuleType, store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    # Each ends when it has seen the other begin.
    first = [jobs.Work(label=f"u{n}", log=str(log), does=f"meet begin u{1 - n}") for n in range(2)]
    timed = [jobs.Work(label=f"t{n}", log=str(log), timed=True) for n in range(2)]
    here = [jobs.Here(label="here", log=str(log), needs={"a": timed[0]})]
    last = [jobs.Work(label=f"v{n}", log=str(log), needs={"a": timed[0]}) for n in range(2)]
    everything = [*first, *timed, *here, *last]
    done = perform(everything, store, jobs=2, seconds=60)
    assert [one.failure for one in done] == [""] * len(done)
    times = intervals(log)
    assert overlap(times["u0"], times["u1"])
    for label in ("t0", "t1"):
        others = [times[name] for name in times if name != label]
        assert not any(overlap(times[label], other) for other in others), label


def test_a_job_begins_when_its_needs_are_done_and_gets_their_results(
    jobs: ModuleType, store: Store, tmp_path: Path
) -> None:
    log = str(tmp_path / "log")
    a, b = (jobs.Work(label=name, log=log) for name in "ab")
    c = jobs.Work(label="c", log=log, needs={"x": a, "y": b})
    done = perform([a, b, c], store, jobs=2)
    times = intervals(tmp_path / "log")
    assert times["c"][0] >= max(times["a"][1], times["b"][1])
    assert done[2].artefact is not None
    assert done[2].artefact.meta["needs"] == ["a", "b"]
    assert (done[2].artefact.folder / "inputs.txt").read_text() == "x y"


def test_what_the_store_has_is_not_done_again(
    jobs: ModuleType, store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    work = [jobs.Work(label=name, log=str(log)) for name in "ab"]
    perform(work, store)
    again = [jobs.Work(label=name, log=str(log)) for name in "abc"]
    done = perform(again, store)
    assert [one.artefact is not None and one.artefact.fresh for one in done] == [False, False, True]
    assert log.read_text().count("begin") == 3


def test_a_failure_costs_the_jobs_that_need_it_and_says_why(
    jobs: ModuleType, store: Store, tmp_path: Path
) -> None:
    log = str(tmp_path / "log")
    crash = jobs.Work(label="crash", log=log, does="crash")
    after = jobs.Work(label="after", log=log, needs={"a": crash})
    later = jobs.Here(label="later", log=log, needs={"a": after})
    hang = jobs.Work(label="hang", log=log, does="hang")
    fail = jobs.Work(label="raise", log=log, does="raise")
    fine = jobs.Work(label="fine", log=log)
    done = perform([crash, after, later, hang, fail, fine], store, jobs=2, seconds=2.0)
    assert done[0].failure.startswith("was ended by SIGSEGV")
    assert done[1].failure == done[2].failure == done[0].failure
    assert done[3].failure == "was stopped after 2 s, its limit of time"
    assert done[4].failure.startswith("KeyError: 'x' (make, line")
    assert done[5].artefact is not None
    assert "after" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("processes", [True, False])
@pytest.mark.parametrize("kind", ["Work", "Here"])
def test_bad_data_ends_everything_with_its_message(
    kind: str, jobs: ModuleType, store: Store, tmp_path: Path, *, processes: bool
) -> None:
    bad = getattr(jobs, kind)(label="bad", log=str(tmp_path / "log"), does="refuse")
    with pytest.raises(InputError, match=r"^a\.txt:3: wrong$"):
        perform([bad], store, processes=processes)


def test_units_are_told_while_a_job_works(jobs: ModuleType, store: Store, tmp_path: Path) -> None:
    job = jobs.Work(label="a", log=str(tmp_path / "log"))
    news: list[News] = []
    with LocalExecutor(store) as executor:
        executor.start(job, {})
        while not any(one.ended for one in news):
            news += executor.news(1.0)
    assert 0 < sum(one.units or 0 for one in news) <= 100
    assert len([one for one in news if one.units]) >= 2


def test_ending_in_the_middle_leaves_no_child(
    jobs: ModuleType, store: Store, tmp_path: Path
) -> None:
    job = jobs.Work(label="hang", log=str(tmp_path / "log"), does="hang")
    executor = LocalExecutor(store)
    executor.start(job, {})
    while not (tmp_path / "log").exists():
        executor.news(0.1)
    child = int((tmp_path / "log").read_text().split()[3])
    assert child != os.getpid()
    began = time.monotonic()
    executor.__exit__(KeyboardInterrupt, None, None)
    assert time.monotonic() - began < 2  # it would work for ten minutes
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_class_of_an_interactive_session_works_in_this_process(
    jobs: ModuleType, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.Work, "__module__", "__main__")

    class Own(str):
        __slots__ = ()

    Own.__module__ = "__main__"
    job = jobs.Work(label="a", log=str(tmp_path / "log"), does=Own("sleep"))
    (done,) = perform([job], store)
    assert done.artefact is not None
    assert int((tmp_path / "log").read_text().split()[3]) == os.getpid()


def test_a_damaged_artefact_is_made_again_in_the_child_and_said_once(
    jobs: ModuleType, store: Store, tmp_path: Path
) -> None:
    said: list[str] = []
    reporting = store.reporting(said.append)
    log = str(tmp_path / "log")
    (done,) = perform([jobs.Work(label="a", log=log)], reporting)
    assert done.artefact is not None
    (done.artefact.folder / "inputs.txt").write_text("changed")
    (done,) = perform([jobs.Work(label="a", log=log)], reporting)
    assert done.artefact is not None
    assert done.artefact.fresh
    assert len(said) == 1
    assert done.artefact.key in said[0]


def test_an_unknown_executor_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="Did you mean 'local'"):
        open_executor("locla", store)


def test_of_several_jobs_that_take_too_much_memory_together_the_largest_is_ended(
    jobs: ModuleType, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval_eval.executors.local.machine_memory", lambda: 500_000_000)
    log = tmp_path / "log"
    hungry = [
        jobs.Work(label=label, log=str(log), does="meet end", memory=size)
        for label, size in (("small", 100_000_000), ("large", 450_000_000))
    ]
    other = jobs.Work(label="other", log=str(log), needs={"a": hungry[1]})
    ends = jobs.Work(label="ends", log=str(log))
    done = perform([*hungry, other, ends], store, jobs=3, memory_bytes=10**10)
    # The one that only ends may be over by then.
    assert re.search(r"GB of memory, the most of [23] jobs at once that had 0\.", done[1].failure)
    assert "--jobs 1" in done[1].failure
    assert done[2].outcome == "skipped"
    assert done[0].artefact is not None
    assert done[3].artefact is not None
