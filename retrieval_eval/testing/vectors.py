"""Vectors to test an index with: made ones, and real ones with their true neighbours."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.neighbours import Metric, exact_neighbours

__all__ = ["Sample", "collections_folder", "made_sample", "real_sample"]

_VARIABLE = "RETRIEVAL_EVAL_COLLECTIONS"


@dataclass(frozen=True, eq=False)
class Sample:
    """Documents, queries, and the true neighbours of the queries.

    Parameters
    ----------
    documents, queries : ndarray of float32, shapes (n, d) and (q, d)
        The vectors.
    ids : ndarray of int64, shape (q, k)
        True neighbours, best first.
    scores : ndarray of float64, shape (q, k)
        Their true similarities.
    """

    documents: NDArray[np.float32]
    queries: NDArray[np.float32]
    ids: NDArray[np.int64]
    scores: NDArray[np.float64]


def made_sample(metric: Metric, n: int = 600, d: int = 24, q: int = 20, k: int = 50) -> Sample:
    """Draw vectors of few true dimensions, as embeddings are, whose lengths differ.

    So the metrics disagree, and a quantiser has something to find.
    """
    rng = np.random.default_rng(7)
    basis = rng.normal(size=(6, d)) / np.sqrt(6)
    every = rng.normal(size=(n + q, 6)) @ basis + 0.1 * rng.normal(size=(n + q, d))
    documents = (every[:n] * rng.uniform(0.5, 2.0, size=(n, 1))).astype(np.float32)
    queries = every[n:].astype(np.float32)
    return Sample(documents, queries, *exact_neighbours(documents, queries, k, metric))


def collections_folder() -> Path | None:
    """Return the folder of real collections, or None where there is none on this machine."""
    folder = os.environ.get(_VARIABLE)
    return Path(folder) if folder else None


def real_sample(folder: Path, name: str, metric: Metric, n: int, q: int) -> Sample | None:
    """Read real vectors, cut to n documents in such a way that the true neighbours stay true.

    Parameters
    ----------
    folder : Path
        What :func:`collections_folder` returns.
    name : str
        A folder of ``vectors/`` (neighbours in float64 lie beside the vectors) or of
        ``embeddings/`` (they are computed here).
    metric : {'cosine', 'ip', 'l2'}
        Similarity.
    n, q : int
        Documents and queries at most. The documents are all true neighbours of the queries, and
        others drawn by a fixed seed.

    Returns
    -------
    Sample or None
        None where the truth of this metric is not there.
    """
    place = folder / "vectors" / name
    if not place.is_dir():
        place = folder / "embeddings" / name
        documents = np.load(place / "docs.npy")[:n].astype(np.float32)
        queries = np.load(place / "queries.npy")[:q].astype(np.float32)
        return Sample(documents, queries, *exact_neighbours(documents, queries, 100, metric))
    if not (place / f"gt_{metric}.npy").is_file():
        return None
    base = np.load(place / "base.npy")
    queries = np.load(place / "queries.npy")[:q]
    truth = np.load(place / f"gt_{metric}.npy")[:q].astype(np.int64)
    values = np.load(place / f"gtdist_{metric}.npy")[:q]
    kept = np.unique(truth)
    others = np.setdiff1d(np.arange(len(base)), kept)
    drawn = np.random.default_rng(3).permutation(others)[: max(0, n - len(kept))]
    kept = np.sort(np.concatenate([kept, drawn]))
    sign = -1.0 if metric == "l2" else 1.0
    return Sample(base[kept], queries, np.searchsorted(kept, truth), sign * values)
