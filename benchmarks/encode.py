"""What encoding through the pipeline costs, beside the same texts given to the library directly.

Prints a table: seconds, and the ratio of each turn's times, by the clock and by the processor;
medians, because machines are noisy. With OMP_NUM_THREADS=1 the processor's time is the calmer one.
Both load the model anew. The pipeline also checks every vector and writes it to a store.

    RETRIEVAL_EVAL_COLLECTIONS=FOLDER python benchmarks/encode.py --model FOLDER_OR_NAME

Texts are the first documents of SciFact in the folder of collections, or else of the standard
library's documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from retrieval_eval import get_encoder, load_dataset
from retrieval_eval.datasets import Dataset
from retrieval_eval.pipeline import embed
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store


def documents(n: int) -> tuple[str, list[str]]:
    """Return where texts are from, and the first `n` of them."""
    folder = os.environ.get("RETRIEVAL_EVAL_COLLECTIONS")
    if folder is None:
        return "stdlib", list(load_dataset("stdlib").documents[:n])
    with (Path(folder) / "scifact" / "corpus.jsonl").open(encoding="utf-8") as stream:
        records = [json.loads(line) for line in islice(stream, n)]
    return "SciFact", [f"{record['title']} {record['text']}".strip() for record in records]


def direct(model: str, device: str | None, texts: list[str]) -> NDArray[Any]:
    """Call the library as its users do: batches of 32, all texts sorted by length."""
    loaded = SentenceTransformer(model, device=device)
    return loaded.encode_document(texts, normalize_embeddings=True, show_progress_bar=False)


def piped(texts: list[str], **parameters: Any) -> NDArray[Any]:
    """Encode through the pipeline into a fresh store; a dataset needs a query, so one is more."""
    ids = [str(row) for row in range(len(texts))]
    qrels = Qrels.from_mapping({"q": {"0": 1}})
    dataset = Dataset("texts", ids, texts, ("q",), ("a query",), qrels)
    encoder = get_encoder("sentence-transformers", **parameters)
    with tempfile.TemporaryDirectory() as folder:
        return np.array(embed(Store(Path(folder)), dataset, encoder).documents)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=os.environ.get("RETRIEVAL_EVAL_TEST_MODEL"))
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    given = parser.parse_args()
    if given.model is None:
        parser.error("give --model, or set RETRIEVAL_EVAL_TEST_MODEL")
    source, texts = documents(given.documents)
    calls: dict[str, Callable[[list[str]], NDArray[Any]]] = {
        "sentence-transformers": partial(direct, given.model, given.device),
        "embed(), batch_size 32": partial(
            piped, model=given.model, device=given.device, batch_size=32
        ),
        "embed()": partial(piped, model=given.model, device=given.device),
    }
    vectors = {name: call(texts[:64]) for name, call in calls.items()}  # everything is imported
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(given.repeats):
        for name in list(calls) if turn % 2 else list(calls)[::-1]:
            start, used = time.perf_counter(), time.process_time()
            vectors[name] = calls[name](texts)
            times[name].append((time.perf_counter() - start, time.process_time() - used))
    (first, reference), *_ = vectors.items()
    print(f"{len(texts):,} documents of {source}, {reference.shape[1]} dimensions\n")
    print("| | seconds | ratio, median (min to max) | ratio of processor time | differs by |")
    print("|---|---|---|---|---|")
    for name, spent in times.items():
        clock, processor = zip(
            *(
                (one[0] / other[0], one[1] / other[1])
                for one, other in zip(spent, times[first], strict=True)
            ),
            strict=True,
        )
        print(
            f"| {name} | {median(one for one, _ in spent):.1f} | {median(clock):.3f} "
            f"({min(clock):.3f} to {max(clock):.3f}) | {median(processor):.3f} | "
            f"{np.abs(vectors[name] - reference).max():.1e} |"
        )


if __name__ == "__main__":
    main()
