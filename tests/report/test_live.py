"""What is known of a sweep by looking at its folder, and what its page shows of it."""

from __future__ import annotations

import html
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.report import live
from retrieval_eval.report.leaderboard import leaderboard_table
from retrieval_eval.report.live import RowsSoFar, Watcher, _Reader, read_rows
from retrieval_eval.sweep import Results
from retrieval_eval.sweep.results import FORMAT
from retrieval_eval.sweep.status import (
    Failure,
    KindStatus,
    Process,
    RunningStatus,
    Status,
    remove,
    rows_path,
    status_path,
    this_process,
    write_status,
)

pytest.importorskip("jinja2")
from retrieval_eval.report.page.live import live_columns, live_page, live_state

GONE = Process(2**22 - 1, socket.gethostname(), this_process().space, "some boot 1")
NOW = datetime.now(UTC)
PLAN = {
    "name": "first",
    "measures": ["nDCG@10"],
    "neighbour_recall": 10,
    "datasets": ["news"],
    "filtered": False,
    "rows": 3,
}


def make(**changes: Any) -> Status:
    status = Status(
        format=1,
        process=this_process(),
        started=NOW - timedelta(minutes=5),
        updated=NOW,
        state="running",
        reason="",
        elapsed_s=290.0,
        left_s=130.0,
        at_least_s=130.0,
        kinds=(
            KindStatus("encode", 2, 1, 0, 0, 0, 200.0, 100.0, 100.0),
            KindStatus("build", 18, 2, 1, 1, 3, 90.0, 30.0, 30.0),
        ),
        running=(RunningStatus("encode", "stdlib, lsa dim=64", 12.0, 5000, 1250, 100.0),),
        failures=(Failure("build", "stdlib, lsa | hnsw M=99", "was ended by SIGKILL"),),
    )
    return replace(status, **changes)


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "row_id": name,
        "dataset": "news",
        "encoder": "lsa",
        "configuration": f"flat {name}",
        "filter": None,
        "status": "ok",
        "message": "",
        "nDCG@10": 0.123456789,
        "neighbour_recall@10": 1.0,
        "latency_p50_s": 0.0012345,
        "latency_p95_s": 0.002,
        "qps": 1234.5,
        "size_bytes": 2_345_678,
        "build_s": None,
        "noise": "",
        **changes,
    }


def lines(*contents: object) -> str:
    return "".join(json.dumps(one) + "\n" for one in contents)


def begun(run: str = "one", **changes: Any) -> dict[str, Any]:
    return {"format": 1, "run": run, "plan": {**PLAN, **changes}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results" / "first"


def put(folder: Path, **changes: Any) -> Status:
    status = make(**changes)
    write_status(status_path(folder), status)
    return status


def finish(folder: Path, created: datetime = NOW) -> None:
    folder.mkdir()
    manifest = {"format": FORMAT, "name": "first", "created": created.isoformat()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def shown(folder: Path) -> dict[str, Any]:
    found = json.loads(live_state(Watcher(folder).look()).json())
    assert isinstance(found, dict)
    return found


# -- the file of rows -------------------------------------------------------------------------


def test_rows_are_read_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    assert read_rows(path) is None
    whole = lines(begun(), {"row": row("a")}, {"row": row("b", encoder="شريط 🚀")})
    reader, seen = _Reader(path), set()
    for end in [*range(1, len(whole), 7), len(whole)]:
        path.write_text(whole[:end])
        rows = reader.read()
        seen.add(None if rows is None else len(rows.records))
    assert seen == {None, 0, 1, 2}
    rows = reader.read()
    assert rows is not None
    assert [one["encoder"] for one in rows.records] == ["lsa", "شريط 🚀"]


def test_another_run_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    reader = _Reader(tmp_path / "rows")
    reader.path.write_text(lines(begun("one"), {"row": row("a")}, {"row": row("b")}))
    reader.read()
    reader.path.write_text(lines(begun("two"), {"row": row("c")}))
    rows = reader.read()
    assert rows is not None
    assert (rows.run, [one["row_id"] for one in rows.records]) == ("two", ["c"])
    reader.path.unlink()
    assert reader.read() is None


def test_what_cannot_be_understood_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text(lines(begun(), [], {"row": 3}, {"row": row("a")}) + '{"row": {\n' + "7\n")
    rows = read_rows(path)
    assert rows is not None
    assert len(rows.records) == 1
    path.write_text(lines({**begun(), "format": 2}, {"row": row("a")}))
    assert read_rows(path) is None


def test_several_plans_of_a_run_are_one_table(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    more = {"plan": {**PLAN, "datasets": ["news", "wiki"], "filtered": True}}
    path.write_text(lines(begun(), {"row": row("a")}, more, {"row": row("a")}, {"row": row("b")}))
    rows = read_rows(path)
    assert rows is not None
    assert (rows.total, rows.datasets, rows.filtered) == (None, ("news", "wiki"), True)
    assert [one["row_id"] for one in rows.records] == ["a", "b"]


# -- looking ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({}, "running", "Started "),
        ({"state": "finished", "running": ()}, "running", "results are being written"),
        ({"process": GONE}, "stopped", "process 4194303 on "),
        ({"process": GONE, "state": "finished"}, "stopped", "run it again to go on"),
        ({"state": "stopped", "reason": "interrupted"}, "interrupted", "run it again to go on"),
        ({"state": "stopped", "reason": "k is <7>"}, "failed", "k is <7>"),
    ],
)
def test_a_state_is_told_in_words(
    folder: Path, changes: dict[str, Any], state: str, words: str
) -> None:
    put(folder, **changes)
    found = shown(folder)
    assert found["state"] == state
    assert words in " ".join(found["said"])
    assert bool(found["running"]) == (state == "running" and not changes)


def test_where_nothing_runs_it_waits_and_where_results_are_it_is_finished(folder: Path) -> None:
    assert shown(folder)["state"] == "waiting"
    assert "retrieval-eval run" in shown(folder)["said"][0]
    finish(folder)
    assert shown(folder)["state"] == "finished"


def test_a_running_sweep_comes_before_earlier_results(folder: Path) -> None:
    finish(folder, NOW - timedelta(days=1))
    put(folder)
    found = shown(folder)
    assert found["state"] == "running"
    assert "results of an earlier run" in found["said"][-1]


def test_a_sweep_killed_after_its_results_were_written_is_finished(folder: Path) -> None:
    put(folder, process=GONE)
    finish(folder)
    assert shown(folder)["state"] == "finished"


def test_a_status_that_cannot_be_read_is_said(folder: Path) -> None:
    status_path(folder).write_text("{")
    found = shown(folder)
    assert found["state"] == "waiting"
    assert str(status_path(folder)) in found["said"][-1]


def test_what_has_not_changed_is_not_read_again(folder: Path) -> None:
    watcher = Watcher(folder)
    put(folder)
    rows_path(status_path(folder)).write_text(lines(begun()))
    first = watcher.look()
    assert watcher.look() is first
    with rows_path(status_path(folder)).open("a") as stream:
        stream.write(lines({"row": row("a")}))
    second = watcher.look()
    assert second.rows is not None
    assert len(second.rows.records) == 1
    put(folder, left_s=60.0)
    third = watcher.look()
    assert third.status is not None
    assert third.status.left_s == 60
    remove(status_path(folder))
    assert watcher.look().state == "waiting"
    finish(folder)
    assert watcher.look().state == "finished"


def test_a_process_that_goes_away_is_noticed_without_a_change_of_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder)
    watcher = Watcher(folder)
    assert watcher.look().state == "running"
    monkeypatch.setattr(live, "is_alive", lambda *_: False)
    assert watcher.look().state == "stopped"
    monkeypatch.undo()
    assert watcher.look().state == "running"  # such as one on another machine that was silent


# -- what is shown ----------------------------------------------------------------------------


def test_jobs_are_counted_by_kind(folder: Path) -> None:
    put(folder)
    found = shown(folder)
    assert (found["settled"], found["total"]) == (8, 20)
    assert found["times"] == ["4 min 50 s so far", "about 2 min 10 s left"]
    assert found["kinds"] == [
        {
            "kind": "encode",
            "settled": 1,
            "total": 2,
            "cells": ["1", "", "1", "", "", "", "3 min 20 s", "1 min 40 s"],
        },
        {
            "kind": "build",
            "settled": 7,
            "total": 18,
            "cells": ["2", "1", "", "1", "3", "11", "1 min 30 s", "30 s"],
        },
    ]
    (job,) = found["running"]
    assert job["texts"] == "1,250 of 5,000 texts"
    assert (job["took"], job["left"]) == ("12 s", "1 min 40 s")
    assert found["failures"][0]["message"] == "was ended by SIGKILL"
    assert found["more_failures"] == 0


@pytest.mark.parametrize(
    ("left_s", "at_least_s", "kind_left_s", "words"),
    [
        (None, 0.0, None, "time left unknown until the first jobs are done"),
        (None, 90.0, None, "more than 1 min 30 s left (build unknown until the first is done)"),
        (90.0, 90.0, 90.0, "about 1 min 30 s left"),
    ],
)
def test_time_left_says_how_much_of_it_is_known(
    folder: Path, left_s: float | None, at_least_s: float, kind_left_s: float | None, words: str
) -> None:
    build = KindStatus("build", 18, 2, 1, 1, 3, 90.0, kind_left_s, 0.0)
    put(folder, left_s=left_s, at_least_s=at_least_s, kinds=(build,))
    assert shown(folder)["times"][1] == words


def test_rows_have_their_numbers_and_how_they_are_shown(folder: Path) -> None:
    put(folder)
    noise = "searching: 2.0 other cores were busy"
    rows_path(status_path(folder)).write_text(
        lines(
            begun(),
            {"row": row("a", noise=noise)},
            {"row": row("b", status="failed", message="out of <memory>")},
        )
    )
    found = shown(folder)
    assert found["count"] == "2 of 3 rows, 1 failed"
    first, second = found["rows"]
    assert first["cells"][:4] == ["lsa", "flat a", [0.123456789, "0.1235"], [1.0, "1.0000"]]
    assert first["cells"][4:6] == [[0.0012345, "1.234~"], [0.002, "2.000~"]]
    assert first["cells"][-2:] == [[2345678, "2.35"], [None, ""]]
    assert first["noise"] == noise
    assert found["noisy"]
    assert second["message"] == "failed: out of <memory>"


def test_nothing_of_tests_and_intervals_is_shown(folder: Path) -> None:
    put(folder)
    rows_path(status_path(folder)).write_text(
        lines(begun(), {"row": row("a", **{"nDCG@10_lo": 0.987654, "is_reference": True})})
    )
    text = json.dumps(shown(folder))
    assert "0.9876" not in text
    assert "signific" not in text
    assert "signific" in live_page(folder)  # and why that is


def test_rows_are_sent_once(folder: Path) -> None:
    put(folder)
    path = rows_path(status_path(folder))
    path.write_text(lines(begun(), {"row": row("a")}))
    watcher = Watcher(folder)
    first = live_state(watcher.look())
    with path.open("a") as stream:
        stream.write(lines({"row": row("b")}))
    second = live_state(watcher.look(), first)
    assert second.table == first.table
    assert second.rows[0] is first.rows[0]
    for table, known, ids in [
        (second.table, 0, ["a", "b"]),
        (second.table, 1, ["b"]),
        (second.table, 2, []),
        (second.table, 3, ["a", "b"]),
        ("another", 1, ["a", "b"]),
    ]:
        found = json.loads(second.json(table, known))
        assert [one["id"] for one in found["rows"]] == ids
        assert found["known"] == 2 - len(ids)


def test_a_sweep_that_gets_more_columns_has_another_table(tmp_path: Path) -> None:
    rows = RowsSoFar("one", "first", ("nDCG@10",), 10, ("news",), filtered=False, total=1)
    several = replace(rows, datasets=("news", "wiki"))
    assert live_columns(rows)[0].name == "encoder"
    assert live_columns(several)[0].name == "dataset"


def test_columns_and_cells_are_those_of_the_leaderboard_at_the_end(
    tiny: Results, made: Callable[..., Any]
) -> None:
    for results in (tiny, _filtered(made({}))):
        sweep, frame = results.manifest["sweep"], results.rows
        rows = RowsSoFar(
            "one",
            "tiny",
            tuple(sweep["measures"]),
            sweep["neighbour_recall"],
            tuple(frame["dataset"].unique()),
            bool(frame["filter"].is_not_null().any()),
            len(frame),
        )
        wanted = [one for one in leaderboard_table(results).chosen() if one.kind != "margin"]
        wanted = [replace(one, default=False) for one in wanted]
        assert live_columns(rows) == wanted


def _filtered(sweep: Any) -> Any:
    import polars as pl

    filtered = sweep.rows.with_columns(pl.lit("even = true").alias("filter"))
    return replace(sweep, rows=filtered)


def test_the_page_asks_its_own_server_alone(folder: Path) -> None:
    page = live_page(folder)
    assert "connect-src 'self'" in html.unescape(page)
    assert str(folder) in page
    assert len(page) < 100_000  # without what draws figures
