"""A crash, a hang or a flood of memory in a child process costs that work alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.isolation import ChildError, Worker

JOBS = """
import ctypes
import os
import sys
import time

from retrieval_eval.errors import InputError


def crash():
    ctypes.string_at(0)


def hang():
    time.sleep(600)


def flood():
    held = []
    while True:
        held.append(bytearray(20_000_000))
        time.sleep(0.002)


def fail():
    raise KeyError("x")


def refuse():
    raise InputError("a.txt:3: wrong")


def leave():
    print("a last word", file=sys.stderr, flush=True)
    os._exit(3)


def talk():
    print("noise on stdout", flush=True)
    return os.getpid()
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    import importlib

    (tmp_path / "jobs_of_test.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return importlib.import_module("jobs_of_test")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crash", r"was ended by SIGSEGV; its last words: Fatal Python error: Segmentation fault"),
        ("hang", r"was stopped after 1 s, its limit of time"),
        ("flood", r"was stopped with 0\.\d+ GB of memory: its limit is 0\.4 GB"),
        ("fail", r"KeyError: 'x' \(fail, line \d+\)"),
        ("leave", r"ended its process with code 3; its last words: a last word"),
    ],
)
def test_work_that_ends_badly_is_reported_and_the_next_is_done(
    jobs: object, name: str, message: str
) -> None:
    limit = 1 if name == "hang" else 60
    with Worker(memory_bytes=400_000_000, seconds=limit) as worker:
        with pytest.raises(ChildError, match=message):
            worker.run(getattr(jobs, name))
        assert worker.run(abs, -9) == 9


def test_bad_input_is_raised_as_it_was(jobs: object) -> None:
    with Worker() as worker, pytest.raises(InputError, match=r"a.txt:3: wrong"):
        worker.run(jobs.refuse)  # type: ignore[attr-defined]


def test_one_child_does_all_work_and_is_gone_afterwards(jobs: object) -> None:
    with Worker() as worker:
        first, second = (worker.run(jobs.talk) for _ in range(2))  # type: ignore[attr-defined]
    assert first == second != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_closing_a_worker_that_never_worked_does_nothing() -> None:
    Worker().close()


def test_a_child_finds_what_its_parent_finds_and_the_working_folder_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, working = tmp_path / "beside", tmp_path / "working"
    for folder in (beside, working):
        folder.mkdir()
        (folder / "own_of_test.py").write_text(f"def where(): return {folder.name!r}")
    (working / "only_of_test.py").write_text("def where(): return 'only'")
    (working / "numpy.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(beside)
    monkeypatch.chdir(working)
    asked = "import numpy.linalg, only_of_test, own_of_test"
    with Worker() as worker:
        worker.run(exec, f"{asked}; assert own_of_test.where() == 'beside'")
        worker.run(exec, f"{asked}; assert only_of_test.where() == 'only'")
        with pytest.raises(ChildError, match="AssertionError"):
            worker.run(exec, f"{asked}; assert own_of_test.where() == 'working'")


def test_a_child_that_cannot_be_started_is_a_failure_of_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", "/there/is/no/such/python")
    with Worker() as worker, pytest.raises(ChildError, match="no child process could be started"):
        worker.run(abs, -1)


def test_a_child_that_dies_between_two_looks_is_noticed(jobs: object) -> None:
    with Worker() as worker:
        worker.start(jobs.crash)  # type: ignore[attr-defined] (made by the fixture)
        worker._process.wait(30)  # type: ignore[union-attr] (it has just been started)
        with pytest.raises(ChildError, match="SIGSEGV"):
            worker.poll(10.0)
