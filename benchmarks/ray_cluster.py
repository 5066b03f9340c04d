"""What a second machine is worth: jobs on a Ray cluster of one node with one CPU, and of two.

Both nodes are on this machine, so it needs two cores that have nothing else to do. Two kinds of
jobs are timed apart: parts of one encoding (feature hashing of words and runs of letters), and
builds of HNSW graphs with one thread, each with another seed. Every turn does all jobs on one node
and on two, in changing order, in a cache of its own; processes and children are warm. Bar: the
median of the ratios of wall times is at least 1.7.

Nodes of one machine share its memory, its caches and whatever else it does, so two figures beside
tell what limits the ratio: `busy` is the share of the nodes' time that jobs measured as their own
work (what is left is this package, Ray, and reading and writing); and at the end stands what two
plain processes are worth, at once against one after the other.

    python benchmarks/ray_cluster.py [--small] [--repeats 5]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # read by Ray: it stays on loopback
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the nodes, whose share is one CPU

import ray
from ray.cluster_utils import Cluster

from retrieval_eval import Dataset, Qrels, Store, get_encoder, get_index
from retrieval_eval.executors.ray import RayExecutor
from retrieval_eval.pipeline import BuildJob, Job, encode_jobs
from retrieval_eval.store import Artefact

_NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1"}
_PARTS = 8


class Nodes(RayExecutor):
    """Uses so many of the nodes."""

    def keep(self, number: int) -> Nodes:
        """Forget the others."""
        for other in sorted(self._nodes)[number:]:
            del self._nodes[other]
        return self


def dataset(n: int) -> Dataset:
    """Return random texts of 150 words."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(20_000)])
    texts = [" ".join(words[rng.integers(20_000, size=150)]) for _ in range(n)]
    ids = [f"d{number}" for number in range(n)]
    return Dataset("random", ids, texts, ("q",), texts[:1], Qrels.from_mapping({"q": {"d0": 1}}))


def seconds(
    executor: RayExecutor, jobs: Sequence[Job], inputs: Mapping[str, Artefact] | None = None
) -> tuple[float, float]:
    """Do jobs; return the wall time, and the seconds that the jobs measured."""
    begun, todo, left, measured = time.perf_counter(), list(jobs), len(jobs), 0.0
    while left:
        while todo and executor.has_room(todo[0]):
            executor.start(todo.pop(0), inputs or {})
        for news in executor.news(0.25):
            if news.failure or news.error:
                raise SystemExit(str(news.failure or news.error))
            if news.artefact is not None:
                left -= 1
                measured += news.artefact.meta["job"]["seconds"]
    return time.perf_counter() - begun, measured


def spin(number: int) -> float:
    """Keep one core busy."""
    end, total = number, 0
    while end:
        end, total = end - 1, total + end * end % 7
    return float(total)


def plain(repeats: int, size: int) -> list[float]:
    """Return how much faster two plain processes do twice the work than one does."""
    ratios = []
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(spin, [1000] * 4))
        for _ in range(repeats):
            begun = time.perf_counter()
            for _ in range(2):
                pool.submit(spin, size).result()
            one = time.perf_counter() - begun
            begun = time.perf_counter()
            list(pool.map(spin, [size] * 2))
            ratios.append(one / (time.perf_counter() - begun))
    return ratios


def compare(
    what: str, repeats: int, do: Callable[[RayExecutor, Path], tuple[float, float]]
) -> tuple[str, list[tuple[float, float]], list[tuple[float, float]]]:
    """Time the same on one node and on two, in turn."""
    times: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for turn in range(repeats + 1):
        for number in (1, 2) if turn % 2 else (2, 1):
            with tempfile.TemporaryDirectory() as folder:
                store = Store(Path(folder))
                with Nodes(store).keep(number) as executor:
                    took = do(executor, Path(folder))
            if turn:  # the first one warms up
                times[number].append(took)
    return what, times[1], times[2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a fifth of the data")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n = 10_000 if options.small else 40_000
    texts = dataset(n)
    print(f"{n:,} texts, {n // 2:,} vectors; {options.repeats} repeats; 1 CPU a node\n")
    seeds = iter(range(10**6))

    def encode(executor: RayExecutor, _folder: Path) -> tuple[float, float]:
        # Another width each time, so that nothing is found in the cache.
        encoder = get_encoder("hashing", dim=256 + next(seeds) % 64, char_ngrams=4)
        documents, _ = encode_jobs(texts, encoder)
        return seconds(executor, list(documents.in_parts(_PARTS).needs.values()))

    few = dataset(n // 2)

    def build(executor: RayExecutor, folder: Path) -> tuple[float, float]:
        sides = encode_jobs(few, get_encoder("hashing", dim=64))
        needs = dict(zip(("documents", "queries"), sides, strict=True))
        inputs = {side: job.run(Store(folder)) for side, job in needs.items()}
        jobs = [
            BuildJob(
                label="build",
                needs=needs,
                index=get_index("hnsw", metric="ip", seed=next(seeds), threads=1),
                machine={},
                memory=False,
            )
            for _ in range(_PARTS)
        ]
        return seconds(executor, jobs, inputs)

    cluster = Cluster(initialize_head=True, head_node_args={**_NODE, "num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(**_NODE)
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        results = [
            compare("encode, parts", options.repeats, encode),
            compare("hnsw, builds", options.repeats, build),
        ]
    finally:
        ray.shutdown()
        cluster.shutdown()
    print("| jobs | one node, s | busy | two nodes, s | busy | ratio | of repeats |")
    print("|---|---|---|---|---|---|---|")
    for what, one, two in results:
        ratios = [a / b for (a, _), (b, _) in zip(one, two, strict=True)]
        listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        shown = [
            f"{median(wall for wall, _ in turns):.1f} | "
            f"{median(work / wall / nodes for wall, work in turns):.2f}"
            for nodes, turns in ((1, one), (2, two))
        ]
        print(f"| {_PARTS} x {what} | {' | '.join(shown)} | {median(ratios):.2f} x | {listed} |")
    ratios = plain(options.repeats, n * 500)
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"| two plain processes | | | | | {median(ratios):.2f} x | {listed} |")


if __name__ == "__main__":
    main()
