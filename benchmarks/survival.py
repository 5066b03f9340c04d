"""Whether a sweep survives anything: killed at random moments, it goes on to the same results.

Each trial starts with an empty cache, kills the verb ``run`` with SIGKILL one to three times, each
at a random moment, and lets it end. Every other trial kills the whole process group, and every
other one the parent alone, so that its children are orphans. Then all that is no measured time has
to be as an uninterrupted run has it, each artefact of the cache has to be whole, and no process and
no temporary folder may be left.

    python benchmarks/survival.py [--trials 100] [--seed 0] [--jobs 2] [--memory] [--folder FOLDER]

The exit code is 1 if anything is not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from retrieval_eval.errors import InputError
from retrieval_eval.store import NOT_ARTEFACTS, unseal

TIMING = frozenset(
    {
        "latency_p50_s",
        "latency_p95_s",
        "latency_p99_s",
        "qps",
        "build_s",
        "build_s_seeds_lowest",
        "build_s_seeds_highest",
        "train_s",
        "encode_documents_s",
        "encode_queries_s",
        "combine_s",
        "peak_rss_bytes",
        "measured",
        "load_average",
        "other_cores",
        "timing_spread",
        "noise",
    }
)
"""Columns of ``results.parquet`` that are measured, or tell of measuring: they differ by run."""

TABLES = ("results", "per_query", "comparisons", "health")

WORDS = [
    "apple",
    "plum",
    "cherry",
    "pear",
    "quince",
    "engine",
    "steam",
    "boiler",
    "piston",
    "rail",
    "bridge",
    "river",
]

# What a background process starts ignores SIGINT, unless it says otherwise.
_ATTENTIVE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("retrieval_eval", run_name="__main__", alter_sys=True)
"""

COUNTER = """
import time
import zlib

import numpy as np

from retrieval_eval.encoders.base import Encoder
from retrieval_eval.encoders.hashing import HashingParameters


class Counter(Encoder):
    name = "counter"
    Parameters = HashingParameters
    needs_fit = True
    zero_means_no_match = True
    batch_texts = 4
    commit_s = 0.0  # every four texts are kept

    def fit(self, documents):
        fitted = type(self)(**vars(self.parameters))
        fitted.weights = 1 / (1 + fitted._count(documents).sum(axis=0))
        return fitted

    def encode(self, texts, kind):
        time.sleep(0.005)
        return (self._count(texts) * self.weights).astype(np.float32)

    def _count(self, texts):
        counts = np.zeros((len(texts), self.parameters.dim))
        for row, text in enumerate(texts):
            for word in text.split():
                counts[row, zlib.crc32(word.encode()) % counts.shape[1]] += 1
        return counts
"""
"""A fitted encoder that loads fast and keeps what it has in small steps: kills fall between."""

QUICK_TIMING = {"repeats": 1, "latency_queries": 2, "batch_queries": 4, "memory": False}

SWEEP: dict[str, Any] = {
    "name": "survivor",
    "encoders": [
        {"lsa": {"dim": 8, "label": "lsa"}},
        {"counter:Counter": {"dim": 32, "label": "counts"}},
    ],
    "indexes": [
        "flat",
        {"faiss-hnsw": {"M": 4, "search": {"ef": [20, 40]}}},
        {"ivf-pq": {"nlist": 4, "m": 4, "nbits": 4, "search": {"nprobe": [1, 4]}}},
    ],
    "filters": ["none", {"even": True}],
    "combine": [{"rrf": {"of": ["lsa", "counts"]}}],
    "build_seeds": 2,
    "health": True,
    "k": 20,
    "measures": ["nDCG@10", "RR@10", "R@20"],
    "compare": {"draws": 200},
    "timing": QUICK_TIMING,
    "seed": 3,
}
_MARK = "RETRIEVAL_EVAL_MARK"
_END_S = 5.0  # what an orphan has to end by itself


def write_sweep(folder: Path, **changes: Any) -> Path:
    """Write a collection of 60 documents and 12 queries, and a sweep over it; return the sweep."""
    rng = random.Random(0)  # noqa: S311 (nothing secret is drawn)
    texts = [" ".join(rng.choices(WORDS, k=9)) for _ in range(60)]
    documents, queries, lines = [], [], ["query-id\tcorpus-id\tscore"]
    for number, text in enumerate(texts):
        record = {"_id": f"d{number}", "text": text, "metadata": {"even": number % 2 == 0}}
        documents.append(json.dumps(record))
    for number in range(12):
        source, *others = rng.sample(range(len(texts)), 5)
        asked = " ".join(rng.sample(texts[source].split(), 3))
        queries.append(json.dumps({"_id": f"q{number}", "text": asked}))
        lines.append(f"q{number}\td{source}\t2")
        lines += [f"q{number}\td{other}\t{other % 2}" for other in others]
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("\n".join(documents) + "\n", encoding="utf-8")
    (data / "queries.jsonl").write_text("\n".join(queries) + "\n", encoding="utf-8")
    (data / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "counter.py").write_text(COUNTER, encoding="utf-8")
    sweep = folder / "sweep.yaml"
    values = {"datasets": [str(data)], **SWEEP, **changes}
    sweep.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return sweep


@dataclass(eq=False)
class Launched:
    """The verb ``run`` in a session of its own, and all processes that it starts.

    Parameters
    ----------
    sweep, out, cache : Path
        The sweep file, the folder of results, and the cache.
    environment : mapping of str to str
        Set beside what this process has.
    """

    sweep: Path
    out: Path
    cache: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex  # every descendant inherits it
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()
        options = ("--out", str(self.out), "--cache", str(self.cache), "--no-page")
        with tempfile.TemporaryFile() as stderr:  # orphans would hold a pipe open
            self._stderr = os.dup(stderr.fileno())
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ATTENTIVE, "run", str(self.sweep), *options],
            cwd=self.sweep.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            env={**os.environ, **self.environment, _MARK: self.mark},
            start_new_session=True,
        )

    @property
    def stderr(self) -> str:
        """What it has said on standard error."""
        return os.pread(self._stderr, 1_000_000, 0).decode("utf-8", "replace")

    @property
    def scratch(self) -> list[str]:
        """What lies beside the results; they need a parent folder of their own."""
        return sorted(path.name for path in self.out.parent.iterdir() if path != self.out)

    def running(self) -> bool:
        """Whether the process that was started is still there."""
        return self.process.poll() is None

    def wait(self, seconds: float = 120.0) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(timeout=seconds)

    def signal(self, number: int, *, group: bool) -> None:
        """Send a signal to the process, or to its whole group as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.process.pid, number)
            elif self.running():
                os.kill(self.process.pid, number)

    def alive(self) -> list[int]:
        """List the processes that this run started, itself included, that have not ended."""
        wanted = f"{_MARK}={self.mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has just ended, or is another user's
                if wanted in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def left(self, seconds: float = _END_S) -> list[int]:
        """Wait for all processes of this run to end; list and kill those that do not."""
        until = time.monotonic() + seconds
        while self.alive() and time.monotonic() < until:
            time.sleep(0.05)
        left = self.alive()
        for number in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        return left

    def close(self) -> None:
        """Let nothing of this run outlive the caller."""
        self.left(0)
        self.process.wait()
        os.close(self._stderr)


@contextlib.contextmanager
def launched(
    sweep: Path, out: Path, cache: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Launched]:
    """Start the verb ``run``; at the end nothing of it is left."""
    run = Launched(sweep, out, cache, environment or {})
    try:
        yield run
    finally:
        run.close()


def finish(
    sweep: Path, out: Path, cache: Path, environment: Mapping[str, str] | None = None
) -> float:
    """Run to the end, and return the seconds that took.

    Raises
    ------
    RuntimeError
        If the exit code is not 0.
    """
    with launched(sweep, out, cache, environment) as run:
        code = run.wait()
        took = time.monotonic() - run.began
        if code:
            raise RuntimeError(f"exit code {code}: {run.stderr.strip()[-1000:]}")
        return took


def artefacts(cache: Path) -> set[str]:
    """List the artefacts of a cache as ``KIND/KEY``."""
    kinds = [path for path in cache.glob("*") if path.is_dir() and path.name not in NOT_ARTEFACTS]
    return {f"{kind.name}/{path.name}" for kind in kinds for path in kind.iterdir()}


def half_written(cache: Path) -> list[str]:
    """List the artefacts of a cache that are not whole."""
    broken = []
    for name in sorted(artefacts(cache)):
        try:
            unseal(cache / name)
        except InputError as error:
            broken.append(f"{name}: {error}")
    return broken


def _runs(folder: Path) -> dict[str, bytes]:
    return {path.name: gzip.decompress(path.read_bytes()) for path in (folder / "runs").iterdir()}


def differences(reference: Path, found: Path, *, timing: Iterable[str] = TIMING) -> list[str]:
    """Name what two folders of results do not have in common, columns of times left out."""
    import polars as pl

    differing = []
    for table in TABLES:
        paths = [folder / f"{table}.parquet" for folder in (reference, found)]
        if not any(path.is_file() for path in paths):
            continue
        first, second = (pl.read_parquet(path) for path in paths)
        if first.columns != second.columns or first.height != second.height:
            differing.append(f"{table}: shape {second.shape} instead of {first.shape}")
            continue
        differing += [
            f"{table}: {name}"
            for name in first.columns
            if name not in timing and not first[name].equals(second[name], null_equal=True)
        ]
    ours, theirs = _runs(reference), _runs(found)
    differing += [f"runs: {name}" for name in sorted({*ours} ^ {*theirs})]
    differing += [
        f"runs: {name}" for name in sorted({*ours} & {*theirs}) if ours[name] != theirs[name]
    ]
    for name in ("rows", "sweep_key", "notes"):
        one, other = (
            json.loads((folder / "manifest.json").read_text(encoding="utf-8"))[name]
            for folder in (reference, found)
        )
        if one != other:
            differing.append(f"manifest: {name}")
    return differing


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run.

    Parameters
    ----------
    sweep : Path
        The sweep file.
    out : Path
        Its results.
    seconds : float
        What it took.
    begins : float
        Seconds until it touched its cache: what loading the program takes.
    artefacts : frozenset of str
        What it left in its cache.
    """

    sweep: Path
    out: Path
    seconds: float
    begins: float
    artefacts: frozenset[str]

    @classmethod
    def of(cls, sweep: Path, environment: Mapping[str, str] | None = None) -> Reference:
        """Run a sweep in an empty cache beside it."""
        out, cache = sweep.parent / "reference" / "out", sweep.parent / "reference-cache"
        with launched(sweep, out, cache, environment) as run:
            while run.running() and not cache.exists():
                time.sleep(0.01)
            begins = time.monotonic() - run.began
            code = run.wait()
            seconds = time.monotonic() - run.began
            if code:
                raise RuntimeError(f"exit code {code}: {run.stderr.strip()[-1000:]}")
        return cls(sweep, out, seconds, begins, frozenset(artefacts(cache)))

    def after(self, out: Path, cache: Path) -> list[str]:
        """Name what is wrong after a finished run that was interrupted before."""
        problems = [f"differs: {one}" for one in differences(self.out, out)]
        problems += [f"half-written: {one}" for one in half_written(cache)]
        others = self.artefacts ^ artefacts(cache)
        problems += [f"artefact made in one run alone: {one}" for one in sorted(others)]
        problems += [f"left in tmp: {path.name}" for path in (cache / "tmp").glob("*")]
        beside = sorted(path.name for path in out.parent.iterdir() if path != out)
        return problems + [f"left beside the results: {name}" for name in beside]


@dataclass
class Trial:
    """What became of one trial: progress at each kill from 0 to 1, and what went wrong."""

    group: bool
    progress: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _wait_a_while(run: Launched, reference: Reference, rng: random.Random) -> None:
    """Wait for a random time, or until a random part of the artefacts is there.

    A clock alone would mostly hit the loading of libraries, the more so on a busy machine.
    """
    by_clock = rng.random() < 0.3
    until = run.began + reference.seconds * (rng.random() if by_clock else 20)
    there = len(artefacts(run.cache))
    wanted = rng.randint(min(there, len(reference.artefacts)), len(reference.artefacts))
    while run.running() and time.monotonic() < until:
        if not by_clock and len(artefacts(run.cache)) >= max(wanted, there + 1):
            time.sleep(rng.uniform(0, 0.05))
            return
        time.sleep(0.002)


def kill_trial(reference: Reference, folder: Path, *, seed: int, number: int) -> Trial:
    """Kill a run one to three times at random moments, let it end, and compare.

    Parameters
    ----------
    reference : Reference
        What it has to come to.
    folder : Path
        For cache and results; must not exist, and is left for whoever looks into a failure.
    seed, number : int
        Decide the moments; trials with an even number kill the process group.
    """
    rng = random.Random(f"{seed} {number}")  # noqa: S311 (nothing secret is drawn)
    out, cache = folder / "results" / "out", folder / "cache"
    trial = Trial(group=number % 2 == 0)
    with contextlib.ExitStack() as stack:
        killed = []
        for _ in range(rng.choice([1, 1, 2, 3])):
            run = stack.enter_context(launched(reference.sweep, out, cache))
            _wait_a_while(run, reference, rng)
            if run.running():
                run.signal(signal.SIGKILL, group=trial.group)
                run.wait()
                killed.append(run)
                trial.progress.append(len(artefacts(cache)) / len(reference.artefacts))
                trial.problems += [f"half-written: {one}" for one in half_written(cache)]
            else:  # it was faster this time
                if run.wait():
                    trial.problems.append(f"exit code {run.wait()}: {run.stderr.strip()[-300:]}")
                break
        try:
            finish(reference.sweep, out, cache)
        except RuntimeError as error:
            return Trial(trial.group, trial.progress, [*trial.problems, str(error)])
        for run in killed:
            trial.problems += [f"still alive: process {one}" for one in run.left()]
    trial.problems += reference.after(out, cache)
    return trial


def kill_trials(
    reference: Reference, folder: Path, *, trials: int, seed: int, jobs: int = 2
) -> list[Trial]:
    """Do several trials, some at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [
            pool.submit(kill_trial, reference, folder / str(number), seed=seed, number=number)
            for number in range(trials)
        ]
        return [one.result() for one in waiting]


@dataclass(frozen=True)
class Stopped:
    """How a run took SIGINT.

    Parameters
    ----------
    seconds : float
        From the signal to the end of the process; infinity if it had to be killed.
    code : int
        Its exit code.
    stderr : str
        What it had said by then.
    left : tuple of int
        Processes of it that were still there two seconds later.
    """

    seconds: float
    code: int
    stderr: str
    left: tuple[int, ...]


def interrupt(run: Launched, *, group: bool, patience: float = 10.0) -> Stopped:
    """Send SIGINT to a run as Ctrl-C does, and watch how it ends.

    Parameters
    ----------
    run : Launched
        What is going on.
    group : bool
        To all its processes, as a terminal does, rather than to the first alone.
    patience : float
        Seconds after which it is killed.
    """
    sent = time.monotonic()
    run.signal(signal.SIGINT, group=group)
    try:
        code = run.wait(patience)
        seconds = time.monotonic() - sent
    except subprocess.TimeoutExpired:
        run.signal(signal.SIGKILL, group=True)
        code, seconds = run.wait(), float("inf")
    return Stopped(seconds, code, run.stderr, tuple(run.left(2.0)))


def interrupt_trials(
    reference: Reference, folder: Path, *, trials: int, seed: int
) -> list[Stopped]:
    """Stop runs in empty caches at random moments after they have loaded."""
    stopped = []
    for number in range(trials):
        rng = random.Random(f"{seed} {number}")  # noqa: S311 (nothing secret is drawn)
        place = folder / str(number)
        with launched(reference.sweep, place / "results" / "out", place / "cache") as run:
            while run.running() and not run.cache.exists():
                time.sleep(0.005)
            time.sleep(rng.uniform(0, reference.seconds - reference.begins))
            if run.running():
                stopped.append(interrupt(run, group=number % 2 == 0))
    return stopped


def _row(name: str, trials: list[Trial]) -> str:
    progress = [share for trial in trials for share in trial.progress]
    problems = [problem for trial in trials for problem in trial.problems]
    counts = [
        sum(problem.startswith(start) for problem in problems)
        for start in ("differs", "half-written", "left", "still alive")
    ]
    other = len(problems) - sum(counts)
    shown = f"{mean(progress):.0%}" if progress else ""
    cells = [name, len(trials), len(progress), shown, *counts, other]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """Do the trials and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time")
    parser.add_argument("--interrupts", type=int, default=0, help="runs stopped with SIGINT, too")
    parser.add_argument("--memory", action="store_true", help="measure peak memory, too: slower")
    parser.add_argument("--folder", type=Path, help="keep everything here instead of removing it")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="survival-"))
    began = time.monotonic()
    try:
        timing = {**QUICK_TIMING, "memory": given.memory}
        reference = Reference.of(write_sweep(folder / "sweep", timing=timing))
        print(
            f"an uninterrupted run takes {reference.seconds:.1f} s, {reference.begins:.1f} s of "
            f"them until it has loaded, and makes {len(reference.artefacts)} artefacts\n"
        )
        trials = kill_trials(
            reference, folder / "trials", trials=given.trials, seed=given.seed, jobs=given.jobs
        )
        stopped = interrupt_trials(
            reference, folder / "interrupts", trials=given.interrupts, seed=given.seed
        )
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(
        "| SIGKILL to | trials | kills | mean progress at a kill | mismatches | half-written | "
        "left behind | orphans | other |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print(_row("the process group", [trial for trial in trials if trial.group]))
    print(_row("the parent alone", [trial for trial in trials if not trial.group]))
    print(f"\n{given.trials} trials took {time.monotonic() - began:.0f} s")
    failed = False
    for number, trial in enumerate(trials):
        for problem in trial.problems:
            failed = True
            print(f"trial {number}: {problem}")
    if stopped:
        seconds = [one.seconds for one in stopped]
        print(
            f"\n{len(stopped)} runs ended {median(seconds):.2f} s after SIGINT in the median, ",
            end="",
        )
        print(f"{max(seconds):.2f} s at most")
    for one in stopped:
        if one.code != 130 or "Traceback" in one.stderr or one.left:
            failed = True
            print(f"SIGINT: exit code {one.code}, left {one.left}: {one.stderr[-300:]}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
