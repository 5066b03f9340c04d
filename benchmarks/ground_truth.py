"""What the true neighbours cost, against faiss' flat index alone.

Both search the same made-up vectors with the same threads, in turn, each in a fresh process: faiss
has them in memory (adding is not counted, nor is normalising for cosine), exact_neighbours only
maps their file. Figures are medians of the pairs; other work on the machine moves both sides, so
the ratio of each side's fastest search, which was disturbed the least, stands beside them.
RssAnon is the process' anonymous memory, libraries included, while exact_neighbours runs: pages
of the file, which the system can drop at any time, do not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.neighbours import METRICS, exact_neighbours

_CLUSTERS = 100


def write_vectors(folder: Path, n: int, d: int, queries: int) -> None:
    """Write a seeded mixture of Gaussians, in pieces."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(_CLUSTERS, d))

    def draw(count: int) -> NDArray[np.float32]:
        owner = rng.integers(0, _CLUSTERS, count)
        return (centres[owner] + 0.5 * rng.normal(size=(count, d))).astype(np.float32)

    documents = np.lib.format.open_memmap(
        folder / "documents.npy", mode="w+", dtype=np.float32, shape=(n, d)
    )
    for start in range(0, n, 50_000):
        documents[start : start + 50_000] = draw(min(50_000, n - start))
    documents.flush()
    np.save(folder / "queries.npy", draw(queries))


def anonymous_bytes() -> int:
    """Read this process' anonymous resident memory; Linux alone tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("the benchmark needs RssAnon in /proc/self/status")


class Peak:
    """The greatest anonymous memory while a block runs, sampled a hundred times a second."""

    def __enter__(self) -> Peak:
        self.bytes = anonymous_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.01):
            self.bytes = max(self.bytes, anonymous_bytes())


def work(side: str, folder: Path, metric: str, k: int, threads: int) -> dict[str, float]:
    """Search once, in a process of its own."""
    import faiss

    faiss.omp_set_num_threads(threads)
    documents = np.load(folder / "documents.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy")
    if side == "ours":
        with Peak() as peak:
            start = time.perf_counter()
            exact_neighbours(documents, queries, k, metric)
            seconds = time.perf_counter() - start
        return {"seconds": seconds, "peak_bytes": peak.bytes}
    kind = faiss.IndexFlatL2 if metric == "l2" else faiss.IndexFlatIP
    index = kind(documents.shape[1])
    stored = np.array(documents)
    if metric == "cosine":
        faiss.normalize_L2(stored)
        faiss.normalize_L2(queries)
    index.add(stored)
    del stored
    start = time.perf_counter()
    index.search(queries, k)
    return {"seconds": time.perf_counter() - start}


def measure(given: argparse.Namespace, side: str, folder: Path, metric: str) -> dict[str, float]:
    """Start a process that searches once."""
    arguments = ["--worker", side, "--folder", folder, "--metric", metric]
    options = ["--k", given.k, "--threads", given.threads]
    command = [sys.executable, __file__, *map(str, arguments + options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="50,000 documents, 1,000 queries")
    parser.add_argument("--metric", choices=METRICS, help="one alone; by default all")
    parser.add_argument("--worker", choices=["raw", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(work(given.worker, given.folder, given.metric, given.k, given.threads)))
        return
    if given.small:
        given.documents, given.queries = 50_000, 1_000
    print(
        f"{given.documents} x {given.dimension} float32 documents, {given.queries} queries, "
        f"k = {given.k}, {given.threads} threads; medians of {given.pairs} pairs\n"
    )
    print("| metric | raw faiss s | ours s | ratio (least to most) | fastest | peak RssAnon MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_vectors(folder, given.documents, given.dimension, given.queries)
        for metric in [given.metric] if given.metric else METRICS:
            raw, ours, peaks = [], [], []
            for _ in range(given.pairs):
                raw.append(measure(given, "raw", folder, metric)["seconds"])
                mine = measure(given, "ours", folder, metric)
                ours.append(mine["seconds"])
                peaks.append(mine["peak_bytes"])
            ratios = [mine / theirs for mine, theirs in zip(ours, raw, strict=True)]
            print(
                f"| {metric} | {statistics.median(raw):.2f} | {statistics.median(ours):.2f} | "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
                f"{min(ours) / min(raw):.2f} | {max(peaks) / 1e6:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
