"""A tiny collection, and sweeps over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
    "harbour",
    "ship",
    "sail",
    "cotton",
    "loom",
    "wool",
    "thread",
    "needle",
    "star",
    "planet",
    "comet",
    "orbit",
    "moon",
    "violin",
    "flute",
    "drum",
    "organ",
    "choir",
]

WriteCollection = Callable[..., Path]


def _collection(
    folder: Path, *, seed: int = 0, documents: int = 60, odd_query: str | None = None
) -> Path:
    """Write a folder in BEIR's layout with 12 judged queries, each for a few documents."""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, size=9)) for _ in range(documents)]
    queries, judgments = [], []
    for number in range(12):
        source = int(rng.integers(documents))
        queries.append(" ".join(rng.choice(texts[source].split(), size=3)))
        judgments.append((f"q{number}", f"d{source}", 2))
        judgments += [
            (f"q{number}", f"d{other}", int(other % 2))
            for other in rng.choice(documents, size=4, replace=False)
            if other != source
        ]
    if odd_query is not None:
        queries[5] = odd_query
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts))
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{i}", "text": text}) + "\n" for i, text in enumerate(queries))
    )
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, one)) for one in judgments)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def write_collection() -> WriteCollection:
    """Return a function that writes a tiny collection into a new folder."""
    return _collection


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep each test's cache, and its relative paths, to itself."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a folder with a tiny collection."""
    return _collection(tmp_path / "tiny")


@pytest.fixture(scope="session")
def settings() -> Callable[..., dict[str, Any]]:
    """Return a function that makes the keys of a tiny sweep."""

    def make(dataset: Path | str, **changes: Any) -> dict[str, Any]:
        return {
            "name": "tiny-sweep",
            "datasets": [str(dataset)],
            "encoders": [{"lsa": {"dim": 8}}],
            "indexes": ["flat"],
            "k": 20,
            "measures": ["nDCG@10", "RR@10", "R@20"],
            "compare": {"draws": 200},
            "timing": {"repeats": 1, "latency_queries": 4, "batch_queries": 4, "memory": False},
            "limits": {"processes": False},  # some tests look at what this process does
            "seed": 3,
            **changes,
        }

    return make
