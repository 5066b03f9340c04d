"""What the contract costs: searches through it beside the same calls of the library.

Prints a table: batch as a ratio, a single query as microseconds more. Both are measured in turn,
in one process, with one thread; medians of repeats, because machines are noisy.

    python benchmarks/overhead.py [--small]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval_eval import get_index
from retrieval_eval.timing import ThreadLimit

Vectors = NDArray[np.float32]
K = 10


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(calls: list[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Time each call once a turn, so that a slow moment of the machine meets them all."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats):
        order = list(range(len(calls)))
        for place in order if turn % 2 else order[::-1]:
            times[place].append(seconds(calls[place]))
    return times


def direct(name: str, index: Any) -> Callable[[Vectors], object]:
    """Return the library's own call, with the settings that our search uses."""
    if name == "hnswlib":
        graph = index._hnswlib
        graph.set_ef(64)
        return lambda asked: graph.knn_query(asked, K, num_threads=1)
    settings = faiss.SearchParametersHNSW(efSearch=64) if name == "faiss HNSW" else None
    return lambda asked: index._faiss.search(asked, K, params=settings)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="10,000 vectors instead of 100,000")
    n = 10_000 if parser.parse_args().small else 100_000
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 384))
    vectors = (centres[rng.integers(200, size=n)] + rng.normal(size=(n, 384))).astype(np.float32)
    queries = (centres[rng.integers(200, size=1000)] + rng.normal(size=(1000, 384))).astype(
        np.float32
    )
    print(f"{n:,} x 384, ip, k = {K}, one thread; batch of 1,000 queries, and one query\n")
    print("| library | batch direct, ms | search() | bound | query direct, µs | search() | bound |")
    print("|---|---|---|---|---|---|---|")
    for name, backend, options, settings in (
        ("faiss flat", "flat", {}, {}),
        ("faiss HNSW", "faiss-hnsw", {"M": 16, "ef_construction": 80}, {"ef": 64}),
        ("hnswlib", "hnsw", {"M": 16, "ef_construction": 80}, {"ef": 64}),
    ):
        index = get_index(backend, metric="ip", threads=2, **options).build(vectors)
        index.threads = 1
        index._load_libraries()
        searches = [direct(name, index), partial(index.search, k=K, **settings)]
        searches.append(index.bind(K, **settings))
        batch = in_turn([partial(one, queries) for one in searches], 15)
        ratios = [median(a / b for a, b in zip(one, batch[0], strict=True)) for one in batch[1:]]
        # One query after another, each asked in all three ways in turn.
        middles = [
            [median(times) for times in in_turn([partial(one, query) for one in searches], 9)]
            for query in (row[None, :].copy() for row in queries[:300])
        ]
        extra = [1e6 * median(times[way] - times[0] for times in middles) for way in (1, 2)]
        print(
            f"| {name} | {1e3 * median(batch[0]):.1f} | {ratios[0]:.3f} x | {ratios[1]:.3f} x | "
            f"{1e6 * median(times[0] for times in middles):.1f} | {extra[0]:+.1f} | "
            f"{extra[1]:+.1f} |"
        )


if __name__ == "__main__":
    # Who calls a library directly sets its threads once; our own limit holds for each call.
    with ThreadLimit(1):
        main()
