"""Runs that several files of tests fuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval_eval import Qrels, Run


def _random_run(seed: int, name: str = "run") -> Run:
    rng = np.random.default_rng(seed)
    content = {}
    for query in rng.permutation(12)[:10]:
        found = rng.permutation(40)[: int(rng.integers(0, 26))]
        scores = np.round(rng.normal(size=len(found)), 1)
        content[f"q{query}"] = {f"d{row}": float(s) for row, s in zip(found, scores, strict=True)}
    return Run.from_mapping(content, name=name)


@pytest.fixture(scope="session")
def random_run() -> Callable[..., Run]:
    """Return a function that makes lists of 0 to 25 documents with ties, of 10 of 12 queries."""
    return _random_run


@pytest.fixture(scope="session")
def hard(collections: Path) -> tuple[list[Run], Qrels]:
    """Return three real runs with their judgments."""
    folder = collections / "runs" / "dl-hard-passage"
    names = ("bm25", "bm25+rm3+t5zs", "bm25+bertzs")
    runs = [Run.from_file(folder / f"{name}.run.gz") for name in names]
    return runs, Qrels.from_file(folder / "qrels.txt")
