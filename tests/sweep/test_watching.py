"""Watching a sweep: time left, the picture, the log, and when the status file is written."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from retrieval_eval.sweep.forecast import Forecast, RunningJob, Size
from retrieval_eval.sweep.glance import Picture
from retrieval_eval.sweep.status import Status, read_status, status_path
from retrieval_eval.sweep.watching import Task, Watch

BUILDS = [Task("build", f"stdlib, lsa | hnsw M={m}") for m in (4, 8, 16, 32)]
SEARCHES = [Task("search", task.label) for task in BUILDS]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stream(io.StringIO):
    """Keeps what was written, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


class Scene:
    """A watch with a clock and a console of its own."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.stream = Clock(), Stream()
        self.path = status_path(folder / "results" / "first")

    def watch(
        self, tasks: Sequence[Task], *, terminal: bool = False, wanted: bool = True, width: int = 80
    ) -> AbstractContextManager[Watch]:
        console = Console(
            file=self.stream,
            force_terminal=terminal,
            width=width,
            color_system=None,
            _environ={"TERM": "xterm"},
        )
        return Watch.show(tasks, wanted=wanted, status=self.path, clock=self.clock, console=console)

    def run(self, watch: Watch, number: int, seconds: float, outcome: Any = "done") -> None:
        watch.started(number)
        self.clock.now += seconds
        watch.finished(number, outcome)

    @property
    def status(self) -> Status:
        status = read_status(self.path)
        assert status is not None
        return status

    def written(self, watch: Watch) -> Status:
        """Return the status after as long as it takes for the next one to be written."""
        self.clock.now += 5
        watch.tick()
        return self.status


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


# -- time left --------------------------------------------------------------------------------


def size(estimate: float | None = None, units: float = 1, kind: str = "build") -> Size:
    return Size(kind, units, estimate)


def test_unknown_stays_unknown_and_is_never_nothing() -> None:
    left = Forecast().left({size(): 3}, [RunningJob(size(), 100.0)])
    assert left.known is None


def test_nothing_left_is_known() -> None:
    assert Forecast().left({}, []).known == 0


def test_before_anything_is_measured_estimates_count() -> None:
    assert Forecast().left({size(2.0): 2, size(5.0): 1}, []).known == 9


def test_estimates_are_scaled_by_how_wrong_other_kinds_were() -> None:
    forecast = Forecast()
    forecast.done(size(2.0, kind="encode"), 6.0)
    assert forecast.left({size(5.0): 1}, []).known == 15


def test_a_kinds_own_jobs_count_more_than_other_kinds() -> None:
    forecast = Forecast()
    forecast.done(size(1.0, kind="encode"), 100.0)
    forecast.done(size(2.0), 1.0)
    assert forecast.left({size(8.0): 1}, []).known == 4


def test_without_estimates_the_mean_of_the_kind_counts() -> None:
    forecast = Forecast()
    for seconds in (1.0, 3.0):
        forecast.done(size(), seconds)
    assert forecast.left({size(): 5}, []).known == 10


def test_texts_make_a_job_longer() -> None:
    forecast = Forecast()
    forecast.done(size(units=100), 10.0)
    assert forecast.left({size(units=250): 1}, []).known == 25


def test_from_three_jobs_on_the_first_one_that_paid_for_imports_is_left_out() -> None:
    forecast = Forecast()
    for seconds in (60.0, 2.0, 1.0, 3.0):
        forecast.done(size(), seconds)
    assert forecast.left({size(): 2}, []).known == 5


def test_one_unknown_job_leaves_a_lower_bound() -> None:
    left = Forecast().left({size(4.0): 1, size(): 1}, [])
    assert (left.known, left.seconds) == (None, 4)


def test_a_running_job_takes_the_rest_of_what_is_expected() -> None:
    forecast = Forecast()
    assert forecast.left_of(RunningJob(size(10.0), 4.0)) == 6
    assert forecast.left_of(RunningJob(size(10.0), 50.0)) == 5  # overdue, and not done


def test_a_running_job_that_counts_goes_on_at_its_pace() -> None:
    job = RunningJob(size(1000.0, 500), 40.0, counted_s=20, counted=100, remaining=300, since_s=5)
    assert Forecast().left_of(job) == 55


def test_jobs_at_once_share_the_time() -> None:
    forecast = Forecast()
    forecast.passed(10.0, ["build", "build"])
    forecast.passed(10.0, ["search"])
    assert forecast.left({size(4.0): 10}, []).known == 20
    assert forecast.left({size(4.0, kind="search"): 10}, []).known == 40
    assert forecast.left({size(4.0, kind="new"): 10}, []).known == pytest.approx(40 / 1.5)


def test_no_kind_takes_less_than_its_longest_job() -> None:
    forecast = Forecast()
    forecast.passed(1.0, ["build"] * 10)
    assert forecast.left({size(4.0): 2}, []).known == 4


def test_the_whole_is_the_sum_over_kinds(scene: Scene) -> None:
    tasks = [Task("build", "a", estimate_s=4), Task("search", "a", estimate_s=3)]
    with scene.watch(tasks):
        assert [one.left_s for one in scene.status.kinds] == [4, 3]
        assert scene.status.left_s == 7


def test_cached_jobs_take_nothing(scene: Scene) -> None:
    with scene.watch(BUILDS) as watch:
        scene.run(watch, 0, 0.01, "cached")
        watch.finished(1, "cached")
        assert scene.written(watch).left_s is None
        scene.run(watch, 2, 10)
        assert scene.written(watch).left_s == 10


def test_failed_jobs_tell_nothing_about_others(scene: Scene) -> None:
    with scene.watch(BUILDS) as watch:
        scene.run(watch, 0, 1, "failed")
        assert scene.written(watch).left_s is None


def test_a_resumed_encoding_is_measured_by_what_it_does_now(scene: Scene) -> None:
    with scene.watch([Task("encode", "a", units=1000), Task("encode", "b", units=1000)]) as watch:
        watch.started(0)
        scene.clock.now += 30  # loading a model
        watch.advanced(0, 800)  # what was there
        scene.clock.now += 10
        watch.advanced(0, 100)
        (job,) = scene.status.running
        assert (job.units_done, job.left_s, job.fraction) == (900, 10, 0.9)
        scene.clock.now += 10
        watch.finished(0, "done")
        assert scene.written(watch).left_s == 100  # 200 texts in 20 s


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0, 500, 500], 90),  # 10 s for each: the start counts if it is known what was there then
        ([500, 500], 40),  # 20 s for the second half
        ([1000], 70),  # one count tells nothing
        ([], 60),
    ],
)
def test_an_encoding_is_measured_however_it_counts(
    scene: Scene, counts: list[int], expected: float
) -> None:
    with scene.watch([Task("encode", "a", units=1000), Task("encode", "b", units=1000)]) as watch:
        watch.started(0)
        scene.clock.now += 50
        for units in counts:
            scene.clock.now += 10
            watch.advanced(0, units)
        scene.clock.now += 10
        watch.finished(0, "done")
        assert scene.written(watch).left_s == expected


# -- what cannot stop a sweep -----------------------------------------------------------------


def test_odd_calls_change_nothing(scene: Scene) -> None:
    with scene.watch(BUILDS[:1]) as watch:
        watch.advanced(0, 5)
        watch.finished(0, "done")
        watch.finished(0, "failed", "again")
        watch.started(0)
        (kind,) = scene.written(watch).kinds
        assert (kind.done, kind.failed, kind.settled, kind.total) == (1, 0, 1, 1)
        assert not scene.status.running


def test_a_sweep_without_jobs_can_be_watched(scene: Scene) -> None:
    with scene.watch([], terminal=True) as watch:
        scene.written(watch)
    assert scene.status.state == "finished"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_status_file_that_cannot_be_written_is_mentioned_once(scene: Scene, wanted: bool) -> None:
    scene.path.parent.parent.joinpath("results").write_text("a file")
    with scene.watch(BUILDS, wanted=wanted) as watch:
        for number in range(4):
            scene.run(watch, number, 1)
    lines = scene.stream.getvalue().splitlines()
    assert len(lines) == int(wanted)
    assert all("no status for others to read" in line for line in lines)


# -- the log ----------------------------------------------------------------------------------


def test_a_short_sweep_logs_nothing(scene: Scene) -> None:
    with scene.watch(BUILDS) as watch:
        for number in range(4):
            scene.run(watch, number, 2.4)
    assert scene.stream.writes == []


def test_the_log_has_a_line_every_ten_seconds_in_one_write_each(scene: Scene) -> None:
    with scene.watch([*BUILDS, *SEARCHES]) as watch:
        for number in range(4):
            scene.run(watch, number, 3)
        watch.started(4)
        for _ in range(40):
            scene.clock.now += 0.25
            watch.tick()
        watch.finished(4, "done")
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in scene.stream.writes]
    assert lines == [
        "build 4/4, search 0/4; ? left\n",
        "search 0/4; ? left; now: stdlib, lsa | hnsw M=4\n",
        "search 1/4; 30 s left; took 22 s\n",
    ]


def test_a_long_job_is_logged_every_five_minutes(scene: Scene) -> None:
    with scene.watch(BUILDS) as watch:
        watch.started(0)
        for _ in range(700):
            scene.clock.now += 1
            watch.tick()
        assert len(scene.stream.writes) == 3  # after 10, 310 and 610 s
    assert scene.stream.writes[0][9:] == "build 0/4; ? left; now: stdlib, lsa | hnsw M=4\n"


def test_a_failure_is_logged_at_once_on_one_line(scene: Scene) -> None:
    with scene.watch([Task("build", "a\x1b[31m\nb")]) as watch:
        watch.started(0)
        watch.finished(0, "failed", "lost\r\n  \x1b[2Jit")
        (line,) = scene.stream.writes
        assert line[9:] == "failed: build a[31m b: lost [2Jit\n"


def test_nothing_is_shown_where_nothing_is_wanted(scene: Scene) -> None:
    with scene.watch(BUILDS, wanted=False, terminal=True) as watch:
        for number in range(4):
            scene.run(watch, number, 30, "failed")
    assert scene.stream.writes == []


def test_a_reader_that_went_away_does_not_stop_a_sweep(scene: Scene) -> None:
    with scene.watch(BUILDS) as watch:
        scene.stream.close()
        scene.run(watch, 0, 30, "failed")


# -- the picture ------------------------------------------------------------------------------


def picture(status: Status, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(Picture(status))
    return capture.get().splitlines()


@pytest.fixture
def busy(scene: Scene) -> Status:
    tasks = [
        Task("encode", "stdlib, a model with a very long name indeed, truncated to dim=256", 5000),
        *BUILDS,
        *SEARCHES,
    ]
    with scene.watch(tasks) as watch:
        scene.run(watch, 1, 90)
        scene.run(watch, 2, 1, "failed")
        watch.finished(3, "cached")
        watch.finished(6, "skipped")
        watch.started(0)
        watch.advanced(0, 0)
        scene.clock.now += 10
        watch.advanced(0, 1000)
        watch.started(4)
        return scene.written(watch)


def test_the_picture_has_a_bar_for_each_kind_and_what_runs(busy: Status) -> None:
    text = "\n".join(picture(busy, 100))
    assert re.search(r"encode +━* +0/1 .* 35 s\n", text)
    assert re.search(r"build +━+╸? +3/4 +1 +1 +1 min 36 s", text)
    assert re.search(r"search +━+╸? +1/4 +1 +\?\n", text)
    assert re.search(r"in all +4/9 +1 +1 +1 ", text)
    assert "encode: stdlib, a model with a very long name indeed, truncated to dim=256\n" in text
    assert "1,000/5,000 texts, 15 s, 35 s left" in text
    assert "build: stdlib, lsa | hnsw M=32  5 s, 1 min 25 s left" in text


@pytest.mark.parametrize("width", [100, 80, 60, 50, 40])
def test_the_picture_fits_narrow_terminals(busy: Status, width: int) -> None:
    lines = picture(busy, width)
    assert max(map(len, lines)) <= width
    assert len(lines) == len(picture(busy, 100))  # nothing is wrapped
    for kind in ("encode", "build", "search", "in all"):
        assert any(line.startswith(kind) for line in lines)
    assert any("35 s" in line for line in lines)
    assert "…" not in "".join(lines)


def test_times_that_have_passed_make_room_for_bars_and_bars_for_counts(busy: Status) -> None:
    shown = ["\n".join(picture(busy, width)[:4]) for width in range(100, 30, -1)]
    kept = [("elapsed" in text, "━" in text, "cached" in text) for text in shown]
    assert list(dict.fromkeys(kept)) == [
        (True, True, True),
        (False, True, True),
        (False, False, True),
        (False, False, False),
    ]


def test_many_running_jobs_are_counted(scene: Scene) -> None:
    tasks = [Task("build", f"build {number}") for number in range(9)]
    with scene.watch(tasks) as watch:
        for number in range(9):
            watch.started(number)
        assert picture(scene.written(watch), 80)[-1] == "and 5 more"


def test_on_a_terminal_the_picture_goes_and_failures_stay(scene: Scene) -> None:
    with scene.watch(BUILDS, terminal=True) as watch:
        scene.run(watch, 0, 30)
        assert "in all" in scene.stream.getvalue()
        watch.finished(1, "failed", "it [bold]broke[/bold]")
        assert "failed: build stdlib, lsa | hnsw M=8: it [bold]broke[/bold]\n" in (
            scene.stream.getvalue()
        )
    assert scene.stream.getvalue().endswith("\x1b[2K")  # the last lines are cleared
    assert "\x1b[?25h" in scene.stream.getvalue()  # and the cursor is back


def test_the_picture_is_drawn_twice_a_second_at_most(scene: Scene) -> None:
    with scene.watch(BUILDS, terminal=True) as watch:
        for _ in range(100):
            scene.clock.now += 0.0625
            watch.tick()
        assert scene.stream.getvalue().count("in all") == 13


# -- the status file --------------------------------------------------------------------------


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[Status]:
    """Return the list of all that is written."""
    from retrieval_eval.sweep import watching

    real: Callable[[Path, Status], None] = watching.write_status
    written: list[Status] = []

    def write(path: Path, status: Status) -> None:
        written.append(status)
        real(path, status)

    monkeypatch.setattr(watching, "write_status", write)
    return written


def test_the_file_is_written_once_a_second_and_less_while_nothing_happens(
    scene: Scene, writes: list[Status]
) -> None:
    with scene.watch([Task("encode", "a", units=1000)], wanted=False) as watch:
        assert len(writes) == 1
        watch.started(0)
        for _ in range(16):
            scene.clock.now += 0.25
            watch.advanced(0, 10)
        assert len(writes) == 5
        for _ in range(40):
            scene.clock.now += 0.25
            watch.tick()
        assert len(writes) == 7
    assert [one.state for one in writes] == ["running"] * 7 + ["finished"]


def test_a_failure_is_written_at_once_and_the_first_twenty_are_kept(
    scene: Scene, writes: list[Status]
) -> None:
    tasks = [Task("build", f"build {number}") for number in range(30)]
    with scene.watch(tasks, wanted=False) as watch:
        for number in range(30):
            watch.finished(number, "failed", f"lost {number}")
            assert scene.status.failed == number + 1
    assert [one.message for one in scene.status.failures] == [f"lost {n}" for n in range(20)]


def test_the_file_says_all_there_is(scene: Scene, busy: Status) -> None:
    content = json.loads(json.dumps(busy.as_dict()))
    assert content["kinds"][1] == {
        "kind": "build",
        "total": 4,
        "done": 1,
        "cached": 1,
        "failed": 1,
        "skipped": 0,
        "elapsed_s": 96.0,
        "left_s": 85.0,
        "at_least_s": 85.0,
    }
    assert content["running"][0]["fraction"] == 0.2
    assert content["failures"][0]["label"] == BUILDS[1].label
    assert content["left_s"] is None
    assert content["at_least_s"] > 0
    assert {"format", "process", "started", "updated", "state"} <= content.keys()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KeyboardInterrupt(), "interrupted"), (ValueError("two\nlines"), "two lines")],
)
def test_what_ends_a_sweep_is_noted(scene: Scene, error: BaseException, reason: str) -> None:
    with pytest.raises(type(error)), scene.watch(BUILDS):
        raise error
    assert (scene.status.state, scene.status.reason) == ("stopped", reason)
    assert [path.name for path in scene.path.parent.iterdir()] == [".first.status.json"]
