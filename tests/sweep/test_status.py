"""The status file, and the verb that reads it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.cli import status as verb
from retrieval_eval.errors import InputError
from retrieval_eval.sweep.glance import lasting
from retrieval_eval.sweep.results import FORMAT
from retrieval_eval.sweep.status import (
    Failure,
    KindStatus,
    Process,
    RunningStatus,
    Status,
    is_alive,
    mark_stopped,
    read_status,
    remove,
    status_path,
    this_process,
    write_status,
)

Cli = Callable[..., tuple[int, str, str]]

GONE = Process(2**22 - 1, socket.gethostname(), this_process().space, "some boot 1")
ELSEWHERE = replace(GONE, host="another-machine")


def make(**changes: Any) -> Status:
    now = datetime.now(UTC)
    status = Status(
        format=1,
        process=this_process(),
        started=now - timedelta(minutes=5),
        updated=now,
        state="running",
        reason="",
        elapsed_s=290.0,
        left_s=130.0,
        at_least_s=130.0,
        kinds=(
            KindStatus("encode", 2, 1, 0, 0, 0, 200.0, 100.0, 100.0),
            KindStatus("build", 18, 2, 1, 1, 0, 90.0, 30.0, 30.0),
        ),
        running=(RunningStatus("encode", "stdlib, lsa dim=64", 12.0, 5000, 1250, 100.0),),
        failures=(Failure("build", "stdlib, lsa | hnsw M=99", "was ended by SIGKILL"),),
    )
    return replace(status, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / "first"


def put(folder: Path, **changes: Any) -> Status:
    status = make(**changes)
    write_status(status_path(folder), status)
    return status


def finish(folder: Path, *, failed: int = 0, created: datetime | None = None) -> None:
    """Write results by hand, as a sweep's."""
    import polars as pl

    folder.mkdir(parents=True)
    row = {
        "row_id": "r1",
        "dataset": "stdlib",
        "encoder": "lsa",
        "configuration": "hnsw M=99",
        "filter": None,
        "status": "failed" if failed else "ok",
        "message": "it\nbroke" if failed else "",
    }
    pl.DataFrame([row]).write_parquet(folder / "results.parquet")
    manifest = {
        "format": FORMAT,
        "name": "first",
        "created": (created or datetime.now(UTC)).isoformat(),
        "seconds": 75.0,
        "rows": {"ok": 1 - failed, "skipped": 0, "failed": failed},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


# -- the file ---------------------------------------------------------------------------------


def test_what_is_written_is_read(folder: Path) -> None:
    assert read_status(status_path(folder)) is None
    status = put(folder)
    assert read_status(status_path(folder)) == status
    status_path(folder).with_name(f"{status_path(folder).name}-12345678").touch()  # was killed
    remove(status_path(folder))
    remove(status_path(folder))
    assert not any(folder.parent.iterdir())


def test_the_file_is_a_hidden_neighbour_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_path("a") == tmp_path / ".a.status.json"
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert status_path(".") == tmp_path / ".a.status.json"


def test_a_write_that_fails_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = put(folder)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError):  # noqa: PT011 (the one above)
        put(folder, state="finished")
    assert read_status(status_path(folder)) == status
    assert len(list(folder.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("{", ["Invalid JSON"]),
        ("{}", ["format", "Field required"]),
        ('{"format": 2}', ["format", "should be 1"]),
    ],
)
def test_a_file_of_another_kind_is_refused(folder: Path, text: str, parts: list[str]) -> None:
    folder.parent.mkdir()
    status_path(folder).write_text(text)
    with pytest.raises(InputError) as caught:
        read_status(status_path(folder))
    for part in [str(status_path(folder)), "remove it", *parts]:
        assert part in str(caught.value)


def test_what_is_read_is_safe_to_print(folder: Path) -> None:
    put(folder, failures=(Failure("build", "a\x1b[2J", "two\nlines"),))
    status = read_status(status_path(folder))
    assert status is not None
    assert status.failures == (Failure("build", "a[2J", "two lines"),)
    assert status_path(folder).read_text().isascii()


def test_the_last_moments_can_be_noted(folder: Path) -> None:
    mark_stopped(status_path(folder), "interrupted")  # nothing there: nothing happens
    put(folder)
    mark_stopped(status_path(folder), "interrupted\n")
    status = read_status(status_path(folder))
    assert status is not None
    assert (status.state, status.reason) == ("stopped", "interrupted")
    assert status.running  # what was under way


# -- whether the process lives ----------------------------------------------------------------


def test_this_process_lives() -> None:
    assert is_alive(this_process(), silent_s=1e9)


def test_another_process_with_the_same_id_is_not_taken_for_it() -> None:
    here = this_process()
    if not here.begun:
        pytest.skip("this system does not tell when a process began")
    assert not is_alive(replace(here, begun=f"{here.begun}0"), silent_s=0)


def test_a_process_that_ended_is_gone_even_before_anybody_waited_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        from retrieval_eval.sweep.status import _begun

        process = replace(this_process(), pid=child.pid, begun=_begun(child.pid))
        assert is_alive(process, silent_s=1e9)
        child.send_signal(signal.SIGKILL)
        end = time.monotonic() + 20
        while is_alive(process, silent_s=0) and time.monotonic() < end:
            time.sleep(0.01)
        assert not is_alive(process, silent_s=0)


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"space": "pid:[1]"}])
def test_on_another_machine_or_in_a_container_the_age_of_the_news_decides(
    other: dict[str, str],
) -> None:
    process = replace(this_process(), **other)
    assert is_alive(process, silent_s=30)
    assert not is_alive(process, silent_s=90)


def test_where_the_system_tells_no_start_times_the_id_decides() -> None:
    assert is_alive(replace(this_process(), begun=""), silent_s=1e9)
    assert not is_alive(replace(GONE, begun=""), silent_s=0)


# -- the verb ---------------------------------------------------------------------------------


def test_a_running_sweep_is_shown(cli: Cli, folder: Path) -> None:
    put(folder)
    code, out, err = cli("status", folder)
    assert (code, err) == (0, "")
    assert out.startswith(f"{folder}: running; process {os.getpid()} lives\n")
    assert "updated 1 s ago" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "encode 1/2 3 min 20 s 1 min 40 s" in lines
    assert "build 4/18 1 1 1 min 30 s 30 s" in lines
    assert "in all 5/20 1 1 4 min 50 s 2 min 10 s" in lines
    assert "encode stdlib, lsa dim=64 1,250/5,000 12 s 1 min 40 s" in lines
    assert "failed: build stdlib, lsa | hnsw M=99: was ended by SIGKILL\n" in out


def test_a_sweep_on_another_machine_is_judged_by_its_news(cli: Cli, folder: Path) -> None:
    put(folder, process=ELSEWHERE)
    code, out, _ = cli("status", folder)
    assert code == 0
    assert "process 4194303 on another-machine cannot be asked from here" in out


def test_a_running_sweep_as_json(cli: Cli, folder: Path) -> None:
    status = put(folder)
    code, out, _ = cli("status", folder, "--format", "json")
    content = json.loads(out)
    assert code == 0
    assert content["state"] == "running"
    assert content["results"] is None
    assert content["status"] == json.loads(json.dumps(status.as_dict()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"process": GONE}, "process 4194303 on "),
        ({"state": "stopped", "reason": "interrupted"}, "interrupted"),
        ({"process": GONE, "state": "finished"}, "is gone"),
        (
            {"process": ELSEWHERE, "updated": datetime.now(UTC) - timedelta(minutes=5)},
            "another-machine",
        ),
    ],
)
def test_a_stopped_sweep_is_shown(
    cli: Cli, folder: Path, changes: dict[str, Any], reason: str
) -> None:
    put(folder, **changes)
    code, out, err = cli("status", folder)
    assert (code, err) == (3, "")
    first = out.splitlines()[0]
    assert first.startswith(f"{folder}: stopped: ")
    assert reason in first
    assert re.search(r"^in all +5/20 ", out, re.MULTILINE)
    assert "running now" not in out
    assert out.endswith("run it again to go on\n")


def test_a_sweep_that_writes_its_results_is_running(cli: Cli, folder: Path) -> None:
    put(folder, state="finished", running=())
    code, out, _ = cli("status", folder)
    assert code == 0
    assert "the results are being written" in out


@pytest.mark.parametrize(("failed", "expected"), [(0, 0), (1, 3)])
def test_a_finished_sweep_is_shown(cli: Cli, folder: Path, failed: int, expected: int) -> None:
    finish(folder, failed=failed)
    code, out, err = cli("status", folder)
    assert (code, err) == (expected, "")
    assert out.startswith(f"{folder}: finished ")
    assert "in 1 min 15 s; rows: " in out
    assert ("failed: stdlib, lsa | hnsw M=99: it broke\n" in out) == bool(failed)


def test_a_running_sweep_comes_before_earlier_results(cli: Cli, folder: Path) -> None:
    finish(folder, created=datetime.now(UTC) - timedelta(days=1))
    put(folder)
    code, out, _ = cli("status", folder)
    assert code == 0
    assert out.index("running;") < out.index("of an earlier run") < out.index(": finished")
    content = json.loads(cli("status", folder, "--format", "json")[1])
    assert content["status"]["state"] == "running"
    assert content["results"]["rows"]["ok"] == 1


def test_a_sweep_killed_after_its_results_were_written_is_finished(cli: Cli, folder: Path) -> None:
    put(folder, process=GONE)
    finish(folder)
    code, out, _ = cli("status", folder)
    assert code == 0
    assert out.startswith(f"{folder}: finished ")


def test_where_there_is_nothing_neighbours_are_named(cli: Cli, folder: Path) -> None:
    put(folder)
    finish(folder.with_name("second"))
    code, out, err = cli("status", folder.with_name("secnd"))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"Did you mean '{folder.with_name('second')}'?" in err
    assert "first, second" in err
    code, _, err = cli("status", folder.parent)
    assert code == 2
    assert f"{folder.parent / 'first'}, {folder.parent / 'second'}" in err
    code, _, err = cli("status", "nowhere/at/all")
    assert code == 2
    assert "results/NAME" in err


def test_following_goes_on_until_the_end(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = put(folder)
    steps = [
        lambda: put(folder, updated=status.updated),  # no news
        lambda: put(folder, left_s=60.0),
        lambda: (remove(status_path(folder)), finish(folder)),
    ]
    monkeypatch.setattr(verb.time, "sleep", lambda _: steps.pop(0)())
    code, out, _ = cli("status", folder, "--follow")
    lines = out.splitlines()
    assert code == 0
    assert [line[9:] for line in lines[:2]] == [
        "encode 1/2, build 4/18; 2 min 10 s left; now: stdlib, lsa dim=64 (1,250/5,000)",
        "encode 1/2, build 4/18; 1 min 00 s left; now: stdlib, lsa dim=64 (1,250/5,000)",
    ]
    assert lines[2].startswith(f"{folder}: finished ")


def test_following_as_json_is_one_object_a_line(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder)
    monkeypatch.setattr(verb.time, "sleep", lambda _: put(folder, process=GONE))
    code, out, _ = cli("status", folder, "--follow", "--format", "json")
    assert code == 3
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["running", "stopped"]


def test_ctrl_c_ends_following_quietly(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    put(folder)
    monkeypatch.setattr(verb.time, "sleep", interrupt)
    code, out, err = cli("status", folder, "--follow")
    assert (code, err) == (130, "")
    assert len(out.splitlines()) == 1


def test_the_results_of_a_real_sweep_are_found(
    cli: Cli, tiny: Path, settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(json.dumps(settings(tiny)))
    assert cli("run", "--no-page", sweep)[0] == 0
    code, out, err = cli("status", Path("results") / "tiny-sweep")
    assert (code, err) == (0, "")
    assert "rows: 1 ok\n" in out
    assert not status_path(Path("results") / "tiny-sweep").exists()


def test_a_sweep_of_which_no_row_could_be_run_says_why_it_stopped(
    cli: Cli, tiny: Path, settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "no_luck.py").write_text(
        "from retrieval_eval.indexes.flat import FlatIndex\n"
        "class Bad(FlatIndex):\n    name = 'bad'\n"
        "    def _build(self, vectors):\n        raise RuntimeError('no luck')\n"
    )
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(json.dumps(settings(tiny, indexes=["no_luck:Bad"])))
    assert cli("run", "--no-page", sweep)[0] == 2
    code, out, _ = cli("status", Path("results") / "tiny-sweep")
    assert code == 3
    assert "stopped" in out
    assert "no luck" in out


def test_durations_are_rounded_up() -> None:
    assert [lasting(s) for s in (59.2, 60, 3599.5, 86399)] == [
        "1 min 00 s",
        "1 min 00 s",
        "1 h 00 min",
        "1 d 0 h",
    ]


def test_others_may_read_the_file(folder: Path) -> None:
    put(folder)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(status_path(folder).stat().st_mode) == 0o666 & ~mask
