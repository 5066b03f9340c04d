"""Embeddings to their true neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.neighbours import Metric, exact_neighbours, exact_sparse_neighbours
from retrieval_eval.pipeline.embedding import Embeddings
from retrieval_eval.store import Store, fold_digests

__all__ = ["Truth", "find_truth"]

_RECIPE = 1
"""Raised whenever the search finds something else."""


@dataclass(frozen=True, eq=False)
class Truth:
    """True nearest neighbours, from float64.

    Parameters
    ----------
    ids : ndarray of int64, shape (q, k)
        Row numbers of the corpus.
    scores : ndarray of float64, shape (q, k)
        Their similarities.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]


def find_truth(
    store: Store,
    embeddings: Embeddings,
    metric: Metric,
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Truth:
    """Search exactly, or find the result in the store.

    Parameters
    ----------
    store : Store
        Where results are kept.
    embeddings : Embeddings
        Documents and queries.
    metric : {'cosine', 'ip', 'l2'}
        Similarity.
    k : int
        Neighbours wanted.
    allowed : ndarray of bool, shape (n,), optional
        Which documents pass a filter.
    """
    fields = {
        "allowed": None if allowed is None else fold_digests([np.packbits(allowed).tobytes()]),
        "documents": embeddings.documents_key,
        "queries": embeddings.queries_key,
        "metric": metric,
        "k": k,
        "recipe": _RECIPE,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        find = exact_sparse_neighbours if embeddings.sparse else exact_neighbours
        ids, scores = find(embeddings.documents, embeddings.queries, k, metric, allowed=allowed)
        np.save(folder / "ids.npy", ids)
        np.save(folder / "scores.npy", scores)
        return {}

    found = store.get_or_make("neighbours", fields, make)
    return Truth(np.load(found.folder / "ids.npy"), np.load(found.folder / "scores.npy"))
