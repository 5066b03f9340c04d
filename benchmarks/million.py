"""A million documents through the whole path, in bounded memory.

Texts are read from a made-up corpus file into the store, encoded (by drawing vectors, so that the
path is measured and no model), written, read back and searched exactly, in one fresh process for
each metric. RssAnon is that process' anonymous memory, libraries included, at its greatest; pages
of files, which the system can drop at any time, do not count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.datasets import load_dataset
from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.neighbours import METRICS
from retrieval_eval.pipeline import embed, find_truth
from retrieval_eval.store import Store

_D = 384
_CLUSTERS = 1000
_QUERIES = 1000


class DrawnEncoder(Encoder):
    """Draws the vector of each text from a seeded mixture of Gaussians; texts begin with a row."""

    name: ClassVar[str] = "drawn"
    batch_texts = 8192

    _centres: NDArray[np.float32] | None = None

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Draw."""
        if self._centres is None:
            rng = np.random.default_rng(0)
            self._centres = rng.normal(size=(_CLUSTERS, _D)).astype(np.float32)
        first = int(texts[0].split(maxsplit=1)[0])
        rng = np.random.default_rng([1, kind == "query", first])
        owners = rng.integers(0, _CLUSTERS, len(texts))
        noise = rng.standard_normal((len(texts), _D), dtype=np.float32)
        return self._centres[owners] + 0.7 * noise


def anonymous_bytes() -> int:
    """Read this process' anonymous resident memory; Linux alone tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("the benchmark needs RssAnon in /proc/self/status")


class Peaks:
    """Greatest anonymous memory and seconds of each step, sampled a hundred times a second."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, float]] = {}
        self._name = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def step(self, name: str) -> None:
        """Begin a step; an empty name ends the last."""
        now = time.perf_counter()
        if self._name:
            self.steps[self._name]["seconds"] = now - self._since
        if name:
            self.steps[name] = {"bytes": anonymous_bytes(), "seconds": 0.0}
        else:
            self._over.set()
            self._thread.join()
        self._name, self._since = name, now

    def _sample(self) -> None:
        while not self._over.wait(0.01):
            if self._name:
                step = self.steps[self._name]
                step["bytes"] = max(step["bytes"], anonymous_bytes())


def work(folder: Path, metric: Any, stored: Any) -> None:
    """Do all of it once, in a process of its own, and print what it took."""
    store = Store(folder / "store")
    peaks = Peaks()
    try:
        peaks.step("read the corpus")
        dataset = load_dataset(str(folder / "corpus"), store=store)
        peaks.step("encode and write")
        embeddings = embed(store, dataset, DrawnEncoder(), stored=stored)
        peaks.step("find it again, checked")
        embeddings = embed(store, dataset, DrawnEncoder(), stored=stored)
        peaks.step("search exactly")
        find_truth(store, embeddings, metric, 10)
    finally:
        peaks.step("")
    print(json.dumps(peaks.steps))


def write_corpus(folder: Path, n: int) -> None:
    """Write a folder in BEIR's layout; a document has about 500 characters."""
    (folder / "qrels").mkdir(parents=True)
    words = [f"word{i}" for i in range(5000)]
    rng = np.random.default_rng(2)
    with (folder / "corpus.jsonl").open("w") as stream:
        for row in range(n):
            text = " ".join(words[i] for i in rng.integers(0, len(words), 60))
            stream.write(f'{{"_id": "document-{row}", "text": "{row} {text}"}}\n')
    with (folder / "queries.jsonl").open("w") as stream:
        for row in range(_QUERIES):
            stream.write(f'{{"_id": "q{row}", "text": "{row} query"}}\n')
    lines = [f"q{row}\tdocument-{row}\t1\n" for row in range(_QUERIES)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


def main() -> None:
    """Print a table: step by step, for each metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--stored", default="float32", choices=["float32", "float16"])
    parser.add_argument("--metric", action="append", choices=METRICS)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(Path(given.work[0]), given.work[1], given.stored)
        return
    print(f"{given.documents:,} x {_D}, {given.stored}, {_QUERIES:,} queries\n")
    print("| metric | step | seconds | RssAnon, peak MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_corpus(folder / "corpus", given.documents)
        for metric in given.metric or METRICS:
            command = [sys.executable, __file__, "--work", str(folder), metric]
            done = subprocess.run(
                [*command, "--stored", given.stored], check=True, capture_output=True, text=True
            )
            for name, step in json.loads(done.stdout).items():
                print(f"| {metric} | {name} | {step['seconds']:.1f} | {step['bytes'] / 1e6:.0f} |")


if __name__ == "__main__":
    main()
