"""A lock ends with the process that took it, and nothing depends on there being locks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval import store as store_module
from retrieval_eval.store import Store, _this_machine, digest, in_use, locked, seal

FIELDS = {"question": "life"}


def make(folder: Path) -> Mapping[str, Any]:
    (folder / "answer.txt").write_text("forty-two")
    return {}


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


FORKING = """
import os, sys, time
from pathlib import Path
from retrieval_eval.store import Store

root, sign = Path(sys.argv[1]), Path(sys.argv[2])

def make(folder):
    child = os.fork()
    if child == 0:  # a helper of the maker that outlives it, as pools of processes do
        time.sleep(0.1)
        (sign / "child").write_text(str(os.getpid()))
        time.sleep(600)
    (sign / "parent").touch()
    if sys.argv[3] == "leaves":
        (folder / "answer.txt").write_text("forty-two")
        return {}
    time.sleep(600)

Store(root).get_or_make("answers", {"question": "life"}, make)
"""


@pytest.mark.parametrize("how", ["is killed", "leaves"])
def test_a_fork_that_outlives_the_holder_does_not_hold_the_lock(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path / "root"), str(tmp_path), how]
    with subprocess.Popen(command) as parent:
        wait_for(tmp_path / "child")
        if how == "is killed":
            parent.kill()
    child = int((tmp_path / "child").read_text())
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(
                Store(tmp_path / "root").get_or_make,
                "answers",
                FIELDS,
                make,
                usable=lambda *_: False,
            )
            assert asked.result(timeout=20).fresh
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_fork_that_ends_the_block_does_not_give_up_its_parents_lock(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from retrieval_eval.store import in_use, locked
path = Path(sys.argv[1])
with locked(path) as held:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        assert held and path.exists() and in_use(path)
assert path.exists() is not bool(child)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_locks_exclude_threads_and_say_whether_they_are_held(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", []
    assert not in_use(path)
    with locked(path) as held:
        assert held
        assert in_use(path)

        def other() -> None:
            with locked(path):
                order.append("other")

        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(timeout=20)
    assert order == ["first", "other"]
    assert not in_use(path)
    assert not path.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_file_systems_say_in_several_ways_that_they_have_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path / "lock") as held:
        assert not held
        assert not in_use(tmp_path / "lock")
    assert Store(tmp_path).get_or_make("answers", FIELDS, make).fresh
    assert not Store(tmp_path).get_or_make("answers", FIELDS, make).fresh


def test_a_lock_file_that_another_machine_took_away_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a network file system, an open file that was removed elsewhere is stale, not missing.
    import fcntl

    real, left = fcntl.flock, [1, 2]

    def stale(*arguments: Any) -> None:
        if left:
            left.pop()
            raise OSError(errno.ESTALE, "stale file handle")
        real(*arguments)

    monkeypatch.setattr("fcntl.flock", stale)
    with locked(tmp_path / "lock") as held:
        assert held
    assert left == []


def test_another_trouble_with_locks_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("fcntl.flock", broken)
    with pytest.raises(OSError, match="input/output"), locked(tmp_path / "lock"):
        pass


def test_a_maker_may_ask_for_another_kind_with_the_same_fields(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def outer(folder: Path) -> Mapping[str, Any]:
        store.get_or_make("inner", FIELDS, make)
        return make(folder)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(store.get_or_make, "outer", FIELDS, outer).result(timeout=20).fresh


def test_what_was_finished_when_its_process_was_killed_is_used(tmp_path: Path) -> None:
    store, said = Store(tmp_path), []
    scratch = tmp_path / "tmp" / f"answers-{digest(FIELDS)}-{_this_machine()}"
    for text, mend in (("whole", True), ("damaged", False)):
        scratch.mkdir(parents=True)
        (scratch / "answer.txt").write_text(text)
        seal(scratch, {"fields": FIELDS})
        if not mend:
            (scratch / "answer.txt").write_text("dAmaged")
        found = store.reporting(said.append).get_or_make("answers", FIELDS, make)
        assert found.fresh is not mend
        assert (found.folder / "answer.txt").read_text() == ("whole" if mend else "forty-two")
        store.remove(found.folder)
        assert list((tmp_path / "tmp").iterdir()) == []
    assert said == []


def test_machines_whose_locks_do_not_see_each_other_do_not_mix_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A network file system can be mounted so that a lock holds on one machine alone.
    store, began, go_on = Store(tmp_path), threading.Event(), threading.Event()

    def slow(folder: Path) -> Mapping[str, Any]:
        (folder / "mine.txt").write_text("one's")
        began.set()
        assert go_on.wait(20)
        return make(folder)

    def other(folder: Path) -> Mapping[str, Any]:
        assert list(folder.iterdir()) == []
        return {"who": "other"}

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(store.get_or_make, "answers", FIELDS, slow, resumable=True)
        assert began.wait(20)
        monkeypatch.setattr(store_module, "_this_machine", lambda: "0123abcd")
        monkeypatch.setattr("fcntl.flock", lambda *_: None)
        made = store.get_or_make("answers", FIELDS, other, resumable=True)
        go_on.set()
        assert asked.result(timeout=20).meta == made.meta
    assert made.fresh
    assert [path.name for path in made.folder.iterdir()] == ["artefact.json"]
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(("age", "resumed"), [(0, False), (120, True)])
def test_another_machines_work_is_resumed_once_nothing_is_written_there(
    tmp_path: Path, age: float, resumed: bool
) -> None:
    half = tmp_path / "tmp" / f"answers-{digest(FIELDS)}-0123abcd"
    half.mkdir(parents=True)
    (half / "part").touch()
    for path in (half / "part", half):
        os.utime(path, (time.time() - age, time.time() - age))
    seen: list[bool] = []

    def go_on(folder: Path) -> Mapping[str, Any]:
        seen.append((folder / "part").exists())
        return {}

    Store(tmp_path).get_or_make("answers", FIELDS, go_on, resumable=True)
    assert seen == [resumed]
    assert half.exists() is not resumed


def test_an_artefact_is_removed_at_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    made = store.get_or_make("answers", FIELDS, make)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        store.remove(made.folder)
    assert not made.folder.exists()
    monkeypatch.undo()
    said: list[str] = []
    assert store.reporting(said.append).get_or_make("answers", FIELDS, make).fresh
    assert said == []  # it is not damaged, but gone
