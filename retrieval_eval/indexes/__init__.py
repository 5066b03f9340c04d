"""Index backends: one file each; ``module:Class`` of your own works wherever a name does."""

from __future__ import annotations

from typing import Any

from retrieval_eval.indexes.base import Index
from retrieval_eval.plugins import PluginTable

__all__ = ["INDEXES", "Index", "get_index"]

_HERE = "retrieval_eval.indexes"

INDEXES: PluginTable[Index] = PluginTable(
    kind="index",
    group="retrieval_eval.indexes",
    base=Index,  # type: ignore[type-abstract]  # a table of its subclasses
    targets={
        "binary": f"{_HERE}.binary:BinaryIndex",
        "faiss": f"{_HERE}.faiss_factory:FaissFactoryIndex",
        "faiss-hnsw": f"{_HERE}.faiss_hnsw:FaissHnswIndex",
        "flat": f"{_HERE}.flat:FlatIndex",
        "fp16": f"{_HERE}.fp16:Fp16Index",
        "hnsw": f"{_HERE}.hnsw:HnswIndex",
        "ivf-flat": f"{_HERE}.ivf_flat:IvfFlatIndex",
        "ivf-pq": f"{_HERE}.ivf_pq:IvfPqIndex",
        "lancedb": f"{_HERE}.lancedb:LanceDbIndex",
        "milvus": f"{_HERE}.milvus:MilvusIndex",
        "opq-ivf-pq": f"{_HERE}.opq_ivf_pq:OpqIvfPqIndex",
        "pgvector": f"{_HERE}.pgvector:PgvectorIndex",
        "pq": f"{_HERE}.pq:PqIndex",
        "rabitq": f"{_HERE}.rabitq:RabitqIndex",
        "sq8": f"{_HERE}.sq8:Sq8Index",
        "usearch": f"{_HERE}.usearch:UsearchIndex",
    },
)


def get_index(name: str, **options: Any) -> Index:
    """Construct an index backend by name.

    Parameters
    ----------
    name : str
        One of ``INDEXES.names()``, or "module:Class".
    **options
        ``metric``, ``seed``, ``threads``, and the backend's build parameters;
        ``retrieval-eval list indexes`` prints them.

    Raises
    ------
    InputError
        For an unknown name or parameter, or a value out of range.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.eye(3, dtype=np.float32)
    >>> get_index("flat").build(x).search(x, k=1).ids.tolist()
    [[0], [1], [2]]
    """
    return INDEXES.load(name)(**options)
