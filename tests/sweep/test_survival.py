"""A sweep that is killed, stopped, or run twice at once comes to the same results, once."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").is_file(), reason="finds descendants by what /proc tells of them"
)

Check = Callable[..., None]

TRIALS, KILLS = 6, 10
STOPS_WITHIN_S = 5.0  # two seconds, and three for a machine that has other things to do

PARTS = """
import ctypes
import os
import time

from counter import Counter
from retrieval_eval.indexes.faiss_hnsw import FaissHnswIndex
from retrieval_eval.indexes.flat import FlatIndex



def note(*words):
    path = os.environ.get("PARTS_LOG")
    if path:
        with open(path, "a") as stream:  # one write, so that lines of processes do not mix
            stream.write(" ".join(map(str, words)) + "\\n")


def hang(where):
    # A lock that never comes: native code, and unlike sleep() no signal gets it out of there.
    if os.environ.get("PARTS_HANG") == where:
        note("hangs")
        library = ctypes.CDLL(None)
        mutex, until = ctypes.create_string_buffer(64), (ctypes.c_long * 2)(int(time.time()) + 60)
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_timedlock(mutex, until)


class Noted(Counter):
    name = "noted"

    def fit(self, documents):
        note("fit", self.parameters.dim)
        return super().fit(documents)

    def encode(self, texts, kind):
        note("encode", self.parameters.dim, kind, texts[0])
        if kind == "query":
            hang("encoding")
        return super().encode(texts, kind)


class Watched:
    def _build(self, vectors):
        note("build", self.name, vectors.shape, self.parameters, self.seed)
        hang("building")
        super()._build(vectors)

    def search(self, queries, k, *, where=None, **search):
        note("search", self.name, queries.shape, self.parameters, self.seed, k, where, search)
        hang("searching")
        return super().search(queries, k, where=where, **search)


class Exact(Watched, FlatIndex):
    name = "exact"


class Graph(Watched, FaissHnswIndex):
    name = "graph"
"""


@pytest.fixture(scope="session")
def survival() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "survival.py"
    spec = importlib.util.spec_from_file_location("survival", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["survival"] = module
    spec.loader.exec_module(module)
    return module


def encoders(name: str) -> dict[str, Any]:
    """Return the keys of a sweep with two encoders that load fast, and a combination of both."""
    return {
        "encoders": [{name: {"dim": dim, "label": f"dim{dim}"}} for dim in (16, 32)],
        "combine": [{"rrf": {"of": ["dim16", "dim32"]}}],
    }


@pytest.fixture(scope="module")
def reference(survival: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted run of what is killed: all kinds of jobs."""
    folder = tmp_path_factory.mktemp("survival") / "sweep"
    changes = {"filters": [{"even": True}], **encoders("counter:Counter")}
    return survival.Reference.of(survival.write_sweep(folder, **changes))


@pytest.fixture(scope="module")
def noted(survival: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted run of encoders and indexes that note what they do, and hang if told to."""
    folder = tmp_path_factory.mktemp("noted") / "sweep"
    indexes = ["parts:Exact", {"parts:Graph": {"M": 4, "search": {"ef": [20, 40]}}}]
    changes = {"filters": ["none"], "health": False, **encoders("parts:Noted")}
    compare = {"draws": 200, "reference": "parts:Exact"}
    sweep = survival.write_sweep(folder, indexes=indexes, compare=compare, **changes)
    (folder / "parts.py").write_text(PARTS, encoding="utf-8")
    return survival.Reference.of(sweep, {"PARTS_LOG": str(folder / "log")})


@contextlib.contextmanager
def hanging(survival: ModuleType, noted: Any, folder: Path, where: str) -> Iterator[Any]:
    """Start a run that hangs in native code, and wait until it does."""
    log = folder / "log"
    environment = {"PARTS_LOG": str(log), "PARTS_HANG": where}
    places = folder / "results" / "out", folder / "cache"
    with survival.launched(noted.sweep, *places, environment) as run:
        until = time.monotonic() + 60
        while not (log.is_file() and "hangs\n" in log.read_text(encoding="utf-8")):
            assert run.running(), run.stderr
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(0.2)  # until it has reached the lock
        yield run


# -- killed ------------------------------------------------------------------------------------


def test_only_measured_times_may_differ(survival: ModuleType, reference: Any) -> None:
    columns = set(pl.read_parquet(reference.out / "results.parquet").columns)
    assert {
        *("latency_p50_s", "latency_p95_s", "latency_p99_s", "qps", "build_s", "train_s"),
        *("build_s_seeds_lowest", "build_s_seeds_highest", "peak_rss_bytes"),
        *("encode_documents_s", "encode_queries_s", "combine_s"),
        *("measured", "load_average", "other_cores", "timing_spread", "noise"),
    } == survival.TIMING
    assert columns >= survival.TIMING
    assert {"nDCG@10", "neighbour_recall@10", "size_bytes", "combine_facts"} <= columns


def test_a_sweep_killed_at_random_moments_goes_on_to_the_same_results(
    survival: ModuleType, reference: Any, tmp_path: Path
) -> None:
    trials = survival.kill_trials(reference, tmp_path, trials=TRIALS, seed=7)
    problems = [
        f"trial {number}, killed {'as a group' if trial.group else 'alone'}: {problem}"
        for number, trial in enumerate(trials)
        for problem in trial.problems
    ]
    assert not problems, "\n".join(problems)
    assert sum(len(trial.progress) for trial in trials) >= KILLS, "too few were killed"


@pytest.mark.parametrize("group", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_killed_while_it_writes_its_results_it_leaves_nothing_beside_them(
    survival: ModuleType, noted: Any, tmp_path: Path, group: bool
) -> None:
    out, cache = tmp_path / "results" / "out", tmp_path / "cache"
    with survival.launched(noted.sweep, out, cache) as run:
        while run.running() and not run.scratch:
            time.sleep(0.001)
        run.signal(signal.SIGKILL, group=group)
        run.wait()
        if out.exists():
            pytest.skip("it was faster than this test")
        assert run.scratch
    survival.finish(noted.sweep, out, cache)
    assert noted.after(out, cache) == []


@pytest.mark.parametrize(
    "where", ["building", pytest.param("searching", marks=pytest.mark.slow), "encoding"]
)
def test_what_a_killed_sweep_had_started_ends_by_itself(
    survival: ModuleType, noted: Any, tmp_path: Path, where: str
) -> None:
    with hanging(survival, noted, tmp_path, where) as run:
        run.signal(signal.SIGKILL, group=False)
        run.wait()
        assert run.left() == []
        assert survival.half_written(run.cache) == []


# -- stopped -----------------------------------------------------------------------------------


@pytest.fixture
def check_stopped(survival: ModuleType, noted: Any) -> Check:
    """Return a function that looks at how a run ended, and lets it go on to its end."""

    def check(run: Any, stopped: Any, *, says: bool = True) -> None:
        assert stopped.seconds < STOPS_WITHIN_S
        # Python itself sends the signal again at its end where that fell into an import.
        assert stopped.code in (130, -signal.SIGINT)
        assert "Traceback" not in stopped.stderr
        assert not stopped.left
        assert survival.half_written(run.cache) == []
        survival.finish(noted.sweep, run.out, run.cache)
        assert noted.after(run.out, run.cache) == []
        assert stopped.stderr.startswith("stopped") or not says, "it ended without a word"

    return check


@pytest.mark.parametrize(
    ("where", "group"),
    [
        ("encoding", False),
        pytest.param("building", True, marks=pytest.mark.slow),
        pytest.param("building", False, marks=pytest.mark.slow),
        pytest.param("encoding", True, marks=pytest.mark.slow),
    ],
)
def test_stopped_while_native_code_hangs(
    survival: ModuleType, noted: Any, tmp_path: Path, check_stopped: Check, where: str, group: bool
) -> None:
    with hanging(survival, noted, tmp_path, where) as run:
        check_stopped(run, survival.interrupt(run, group=group))


def test_stopped_while_it_loads(
    survival: ModuleType, noted: Any, tmp_path: Path, check_stopped: Check
) -> None:
    with survival.launched(noted.sweep, tmp_path / "results" / "out", tmp_path / "cache") as run:
        time.sleep(0.6 * noted.begins)
        check_stopped(run, survival.interrupt(run, group=True), says=False)  # it has not begun


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_stopped_at_a_random_moment(
    survival: ModuleType, noted: Any, tmp_path: Path, check_stopped: Check, seed: int
) -> None:
    with survival.launched(noted.sweep, tmp_path / "results" / "out", tmp_path / "cache") as run:
        while run.running() and not run.cache.exists():
            time.sleep(0.005)
        time.sleep(random.Random(seed).uniform(0, 0.7 * (noted.seconds - noted.begins)))
        check_stopped(run, survival.interrupt(run, group=seed % 2 == 0))


# -- at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_sweeps_started_together_share_the_work_and_the_figures(
    survival: ModuleType, noted: Any, tmp_path: Path, count: int
) -> None:
    cache, environment = tmp_path / "cache", {"PARTS_LOG": str(tmp_path / "log")}
    folders = [tmp_path / str(number) / "out" for number in range(count)]
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(survival.launched(noted.sweep, folder, cache, environment))
            for folder in folders
        ]
        assert [run.wait() for run in runs] == [0] * count, runs[0].stderr
    done, expected = (
        sorted(path.read_text(encoding="utf-8").splitlines())
        for path in (tmp_path / "log", noted.sweep.parent / "log")
    )
    assert len(expected) == len(set(expected)) > 20  # a sweep alone does no job twice
    for folder in folders:
        assert noted.after(folder, cache) == []
        # Not even times: what one has measured, the others have read.
        assert survival.differences(folders[0], folder, timing=()) == []
    assert not Counter(expected) - Counter(done)
    again = Counter(done) - Counter(expected)
    assert not [line for line in again if not line.startswith("fit")]
    assert not again, "an encoder was fitted by one sweep, and once more by another"
