"""Index backends: one file each; ``module:Class`` of your own works wherever a name does."""

from __future__ import annotations

from typing import Any

from retrieval_eval.catalogue import catalogue_file, catalogue_names, read_specification
from retrieval_eval.errors import unknown_name
from retrieval_eval.indexes.base import Index
from retrieval_eval.plugins import PluginTable

__all__ = ["INDEXES", "Index", "get_index", "index_specification"]

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
        "insertion-order": f"{_HERE}.insertion_order:InsertionOrderIndex",
        "lancedb": f"{_HERE}.lancedb:LanceDbIndex",
        "milvus": f"{_HERE}.milvus:MilvusIndex",
        "opq-ivf-pq": f"{_HERE}.opq_ivf_pq:OpqIvfPqIndex",
        "pgvector": f"{_HERE}.pgvector:PgvectorIndex",
        "pq": f"{_HERE}.pq:PqIndex",
        "post-filter": f"{_HERE}.post_filter:PostFilterIndex",
        "project": f"{_HERE}.project:ProjectIndex",
        "rabitq": f"{_HERE}.rabitq:RabitqIndex",
        "refine": f"{_HERE}.refine:RefineIndex",
        "repaired": f"{_HERE}.repaired:RepairedIndex",
        "sharded": f"{_HERE}.sharded:ShardedIndex",
        "sparse": f"{_HERE}.sparse:SparseIndex",
        "sq8": f"{_HERE}.sq8:Sq8Index",
        "usearch": f"{_HERE}.usearch:UsearchIndex",
    },
)


def index_specification(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Look up a named specification.

    Parameters
    ----------
    name : str
        A file of the folder ``indexes/`` by its name, the path of one of your own, a backend, or
        "module:Class".

    Returns
    -------
    backend : str
        What :data:`INDEXES` loads.
    parameters, search : dict
        Build and search parameters that the specification sets; empty for a bare backend.

    Raises
    ------
    InputError
        If nothing answers to the name (with a suggestion), or the file is not usable.

    Examples
    --------
    >>> index_specification("qdrant-defaults")
    ('faiss-hnsw', {'M': 16, 'ef_construction': 100}, {'ef': 100})
    """
    path = catalogue_file("indexes", name)
    if path is None:
        if name not in INDEXES.names() and ":" not in name:
            raise unknown_name("index", name, {*catalogue_names("indexes"), *INDEXES.names()})
        return name, {}, {}
    content = read_specification(path, "backend", ("source",), ("parameters", "search"))
    return content["backend"], content["parameters"], content["search"]


def get_index(name: str, **options: Any) -> Index:
    """Construct an index by name.

    Parameters
    ----------
    name : str
        A backend or a named specification, as in a sweep file, or "module:Class". Search settings
        of a specification hold where a search names no others.
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
    backend, parameters, search = index_specification(name)
    index = INDEXES.load(backend)(**{**parameters, **options})
    index.search_defaults = search
    return index
