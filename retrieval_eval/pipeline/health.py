"""Embeddings to what can be said of them without labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval_eval import __version__
from retrieval_eval.health import embedding_health
from retrieval_eval.pipeline.embedding import Embeddings
from retrieval_eval.store import Store

__all__ = ["find_health"]


def find_health(store: Store, embeddings: Embeddings, seed: int) -> dict[str, Any]:
    """Look at dense embeddings, or find what was seen in the store.

    Parameters
    ----------
    store : Store
        Where results are kept.
    embeddings : Embeddings
        Dense.
    seed : int
        Of the samples.

    Returns
    -------
    dict
        As :meth:`retrieval_eval.health.EmbeddingHealth.as_dict` has it.
    """
    fields = {
        "documents": embeddings.documents_key,
        "queries": embeddings.queries_key,
        "seed": seed,
        "retrieval_eval": __version__,
    }

    def make(_folder: Path) -> Mapping[str, Any]:
        found = embedding_health(embeddings.documents, embeddings.queries, seed=seed)
        return {"health": found.as_dict()}

    health: dict[str, Any] = store.get_or_make("health", fields, make).meta["health"]
    return health
