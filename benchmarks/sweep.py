"""What a sweep costs beside its work: against a loop over its rows, and the sum of its jobs.

The sweep is three encoders x six indexes x five search settings: 90 rows, but 3 encodings and exact
searches, 18 builds, and 90 searches, evaluations and run files. It is timed with an empty cache,
and beside it

- the loop that a script would be: for each row encode, search exactly, build, search and time,
  evaluate, write the run; bar: the sweep takes at most 0.25 of it;
- the sum of the distinct jobs, each alone; bar: the sweep takes at most 1.05 of it. It is printed
  without the writing of run files, too, which a reader may not call a job.

Both call the same functions of the package with the same settings, in this process, on data that
are loaded already, and keep nothing. So what the sweep pays on top is its cache, its child
processes, its tables and intervals. Ratios are medians of repeats, each repeat of all
three in turn; processor time is printed beside wall time, since machines are noisy. The same
sweep with everything in its cache shows what is fixed.

    python benchmarks/sweep.py [--quick] [--repeats 3] [--no-loop] [--profile]

The data are the standard library's functions and, where RETRIEVAL_EVAL_COLLECTIONS names a folder
of collections, SciFact.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib.util
import os
import pstats
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from retrieval_eval import (
    Dataset,
    Evaluator,
    Index,
    Run,
    Store,
    Sweep,
    exact_neighbours,
    get_encoder,
    get_index,
    load_dataset,
    neighbour_recall,
    run_sweep,
)
from retrieval_eval.neighbours import kth_scores
from retrieval_eval.timing import ThreadLimit, TimingOptions, time_search

Named = tuple[str, dict[str, Any]]
Figures = dict[str, "Cost"]

K, NEIGHBOURS, SEED = 100, 10, 13
WRITE = "write a run file"
MEASURES = ["nDCG@10", "RR@10", "R@100"]
DEPTHS = [100, 150, 200, 300, 400]
PROBES = [1, 2, 4, 8, 16]
INDEXES: list[tuple[Named, str, list[int]]] = [
    (("hnsw", {"M": 16}), "ef", DEPTHS),
    (("hnsw", {"M": 32}), "ef", DEPTHS),
    (("faiss-hnsw", {"M": 16}), "ef", DEPTHS),
    (("ivf-flat", {"nlist": 32}), "nprobe", PROBES),
    (("ivf-flat", {"nlist": 64}), "nprobe", PROBES),
    (("ivf-pq", {"nlist": 32, "m": 16}), "nprobe", PROBES),
]
ENCODERS: list[Named] = [
    ("lsa", {"dim": 128}),
    ("hashing", {"dim": 256}),
    ("wordllama", {"dim": 256}),
]
TIMING = TimingOptions(repeats=3, latency_queries=100, batch_queries=300, memory=False)


class Cost:
    """Wall time and processor time, in seconds."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.calls = 0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add what happens inside, ended child processes included."""
        cpu, began = _processor(), time.perf_counter()
        yield
        self.wall += time.perf_counter() - began
        self.cpu += _processor() - cpu
        self.calls += 1


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Jobs:
    """The jobs of a sweep, each a few calls of the package's building blocks."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset = dataset
        self.folder = folder
        self.costs: dict[str, Cost] = {
            name: Cost()
            for name in ("encode", "exact search", "build", "search", "evaluate", WRITE)
        }

    def encode(self, encoder: Named) -> tuple[Any, Any]:
        """Fit, and encode documents and queries."""
        with self.costs["encode"].measured():
            name, parameters = encoder
            fitted = get_encoder(name, **parameters).fit(self.dataset.documents)
            documents = np.concatenate(list(fitted.stream(self.dataset.documents, "document")))
            queries = np.concatenate(list(fitted.stream(self.dataset.queries, "query")))
            fitted.close()
        return documents, queries

    def truth(self, documents: Any, queries: Any) -> Any:
        """Find the true neighbours' scores."""
        with self.costs["exact search"].measured():
            return exact_neighbours(documents, queries, NEIGHBOURS, "cosine")[1]

    def build(self, index: Named, documents: Any) -> Index:
        """Build an index."""
        with self.costs["build"].measured():
            name, parameters = index
            made = get_index(name, metric="cosine", seed=SEED, threads=1, **parameters)
            return made.build(documents)

    def search(
        self, index: Index, documents: Any, queries: Any, truth: Any, setting: Mapping[str, Any]
    ) -> Any:
        """Search all queries, find out neighbour recall, and time a sample."""
        with self.costs["search"].measured():
            hits = index.search(queries, K, **setting)
            neighbour_recall(
                hits, kth_scores(truth, NEIGHBOURS), documents, queries, NEIGHBOURS, "cosine"
            )
            with ThreadLimit(TIMING.threads):
                time_search(
                    index.bind(K, **setting),
                    index.prepare(queries),
                    repeats=TIMING.repeats,
                    latency_queries=TIMING.latency_queries,
                    batch_queries=TIMING.batch_queries,
                    seed=SEED,
                )
        return hits

    def evaluate(self, hits: Any) -> None:
        """Make a run, score it, write it."""
        with self.costs["evaluate"].measured():
            data = self.dataset
            run = Run.from_hits(hits, data.query_ids, data.document_ids, "run")
            Evaluator(data.qrels, MEASURES).evaluate(run)
        with self.costs[WRITE].measured():
            run.to_file(self.folder / "run.trec.gz")


def each_once(dataset: Dataset, encoders: list[Named], settings: int, folder: Path) -> Figures:
    """Do every distinct job once, each timed alone."""
    jobs = Jobs(dataset, folder)
    for encoder in encoders:
        documents, queries = jobs.encode(encoder)
        truth = jobs.truth(documents, queries)
        for named, parameter, values in INDEXES:
            index = jobs.build(named, documents)
            for value in values[:settings]:
                hits = jobs.search(index, documents, queries, truth, {parameter: value})
                jobs.evaluate(hits)
            index.close()
    return jobs.costs


def row_by_row(dataset: Dataset, encoders: list[Named], settings: int, folder: Path) -> Figures:
    """Do every job of every row, as a loop that keeps nothing does."""
    jobs = Jobs(dataset, folder)
    for encoder in encoders:
        for named, parameter, values in INDEXES:
            for value in values[:settings]:
                documents, queries = jobs.encode(encoder)
                truth = jobs.truth(documents, queries)
                index = jobs.build(named, documents)
                hits = jobs.search(index, documents, queries, truth, {parameter: value})
                jobs.evaluate(hits)
                index.close()
    return jobs.costs


def make_sweep(dataset: str, encoders: list[Named], settings: int) -> Sweep:
    """Return the sweep with the same jobs."""
    indexes = [
        {name: {**parameters, "search": {parameter: values[:settings]}}}
        for (name, parameters), parameter, values in INDEXES
    ]
    return Sweep(
        name="cost",
        datasets=[dataset],
        encoders=[{name: dict(parameters)} for name, parameters in encoders],
        indexes=indexes,
        k=K,
        measures=MEASURES,
        neighbour_recall=NEIGHBOURS,
        compare={"test": "t"},  # what a test draws is no job of the sweep
        timing=TIMING,
        seed=SEED,
    )


def timed_sweep(sweep: Sweep, store: Store, out: Path) -> Cost:
    """Run a sweep."""
    cost = Cost()
    with cost.measured():
        results = run_sweep(sweep, out=out, store=store, progress=False)
    if results.failed:
        raise RuntimeError(f"rows failed: {results.rows['message'].unique().to_list()}")
    return cost


def total(figures: Figures, kind: str) -> float:
    """Add up wall or processor time."""
    return sum(getattr(cost, kind) for cost in figures.values())


def measure(
    name: str, encoders: list[Named], *, settings: int, repeats: int, loop: bool, profile: bool
) -> None:
    """Time all three on one dataset and print what came out."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = Store(folder / "data")
        dataset = load_dataset(name, store=data)
        rows = len(encoders) * len(INDEXES) * settings
        print(
            f"\n## {dataset.name}: {len(dataset.document_ids):,} documents, "
            f"{len(dataset.query_ids):,} queries; {len(encoders)} encoders x {len(INDEXES)} "
            f"indexes x {settings} settings = {rows} rows\n"
        )
        sweep = make_sweep(name, encoders, settings)

        def fresh(number: object) -> Store:
            """Return a cache that has the dataset and nothing else."""
            store = Store(folder / f"cache-{number}")
            load_dataset(name, store=store)
            return store

        once: list[Figures] = []
        looped: list[Figures] = []
        swept: list[Cost] = []
        again: list[Cost] = []
        each_once(dataset, encoders[:1], 1, folder)  # loads the libraries
        for number in range(repeats):
            store = fresh(number)
            if number % 2:
                once.append(each_once(dataset, encoders, settings, folder))
            swept.append(timed_sweep(sweep, store, folder / f"out-{number}"))
            if not number % 2:
                once.append(each_once(dataset, encoders, settings, folder))
            again.append(timed_sweep(sweep, store, folder / f"again-{number}"))
            if loop:
                looped.append(row_by_row(dataset, encoders, settings, folder))

        print("| seconds, medians | wall | processor |")
        print("|---|---|---|")
        print(_row("sweep, empty cache", [vars(one) for one in swept]))
        print(_row("same sweep, full cache", [vars(one) for one in again]))
        for job in once[0]:
            label = f"{once[0][job].calls} x {job}, each once"
            print(_row(label, [vars(one[job]) for one in once]))
        sums = [{kind: total(one, kind) for kind in ("wall", "cpu")} for one in once]
        print(_row("sum of the distinct jobs", sums))
        bare = [
            {
                kind: total({k: v for k, v in one.items() if k != WRITE}, kind)
                for kind in ("wall", "cpu")
            }
            for one in once
        ]
        print(_row("the same without writing", bare))
        loops = [{kind: total(one, kind) for kind in ("wall", "cpu")} for one in looped]
        if loops:
            print(_row("loop over the rows", loops))
        print()
        ratios = (
            ("loop", loops, 0.25),
            ("sum of its jobs", sums, 1.05),
            ("sum without writing", bare, None),
        )
        for what, others, bar in ratios:
            if others:
                pairs = list(zip(swept, others, strict=True))
                shares = [
                    median(vars(one)[kind] / other[kind] for one, other in pairs)
                    for kind in ("wall", "cpu")
                ]
                print(
                    f"sweep / {what}: {shares[0]:.3f} of wall time, {shares[1]:.3f} of processor "
                    f"time{'' if bar is None else f' (bar: {bar})'}"
                )
        if profile:
            _profile(sweep, fresh("profile"), folder / "out-profile")


def _row(name: str, costs: list[dict[str, float]]) -> str:
    wall, cpu = (median(one[kind] for one in costs) for kind in ("wall", "cpu"))
    return f"| {name} | {wall:.2f} | {cpu:.2f} |"


def _profile(sweep: Sweep, store: Store, out: Path) -> None:
    """Print where a sweep in one process spends its time, by the package's own functions."""
    alone = sweep.model_copy(update={"limits": type(sweep.limits)(processes=False)})
    profiler = cProfile.Profile()
    profiler.runcall(run_sweep, alone, out=out, store=store, progress=False)
    print()
    statistics = pstats.Stats(profiler)
    statistics.strip_dirs().sort_stats("tottime").print_stats(40)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two encoders, two settings, stdlib")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-loop", action="store_true", help="leave the loop out: minutes")
    parser.add_argument("--profile", action="store_true", help="show where one process spends time")
    given = parser.parse_args()
    encoders = [
        one for one in ENCODERS if one[0] != "wordllama" or importlib.util.find_spec(one[0])
    ]
    names = ["stdlib"]
    collections = os.environ.get("RETRIEVAL_EVAL_COLLECTIONS")
    if collections and not given.quick:
        names.append(str(Path(collections) / "scifact"))
    for name in names:
        measure(
            name,
            encoders[:2] if given.quick else encoders,
            settings=2 if given.quick else 5,
            repeats=given.repeats,
            loop=not given.no_loop,
            profile=given.profile,
        )


if __name__ == "__main__":
    main()
