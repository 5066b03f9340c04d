"""Texts to embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.datasets import Dataset
from retrieval_eval.encoders.base import Encoder, Kind, check_embeddings
from retrieval_eval.errors import InputError
from retrieval_eval.plugins import own_code
from retrieval_eval.store import Artefact, Store
from retrieval_eval.timing import library_versions

__all__ = ["Embeddings", "embed"]

Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Memory-mapped vectors of one dataset by one encoder.

    Parameters
    ----------
    documents, queries : ndarray of float32, shapes (n, d) and (q, d)
        Read-only.
    documents_key, queries_key : str
        Their keys in the store.
    """

    documents: NDArray[np.float32]
    queries: NDArray[np.float32]
    documents_key: str
    queries_key: str


def embed(
    store: Store, dataset: Dataset, encoder: Encoder, advance: Advance = lambda _: None
) -> Embeddings:
    """Encode a dataset's documents and queries, or find them in the store.

    Parameters
    ----------
    store : Store
        Where embeddings are kept.
    dataset : Dataset
        The texts.
    encoder : Encoder
        Not fitted; it is fitted here if it needs that and anything has to be computed.
    advance : callable, optional
        Called with the number of texts done since the last call.

    Raises
    ------
    InputError
        If a vector holds NaN or infinity, or is zero where that says nothing.
    """
    fitted: list[Encoder] = []
    identity = encoder.identity()

    def ready() -> Encoder:
        if not fitted:
            fitted.append(encoder.fit(dataset.documents))
        return fitted[0]

    def part(kind: Kind, ids: Sequence[str], texts: Sequence[str], fingerprint: str) -> Artefact:
        fields = {
            "texts": fingerprint,
            "kind": kind,
            "encoder": identity,
            "code": own_code(type(encoder)),
            "versions": library_versions(*encoder.distributions),
            "fitted_on": dataset.corpus_fingerprint if encoder.needs_fit else None,
        }

        def make(folder: Path) -> Mapping[str, Any]:
            return _write_vectors(folder / "vectors.npy", ready(), kind, ids, texts, advance)

        found = store.get_or_make("embeddings", fields, make)
        if not found.fresh:
            advance(len(texts))
        return found

    documents = part(
        "document", dataset.document_ids, dataset.documents, dataset.corpus_fingerprint
    )
    queries = part("query", dataset.query_ids, dataset.queries, dataset.queries_fingerprint)
    return Embeddings(
        np.load(documents.folder / "vectors.npy", mmap_mode="r"),
        np.load(queries.folder / "vectors.npy", mmap_mode="r"),
        documents.key,
        queries.key,
    )


def _write_vectors(
    path: Path,
    encoder: Encoder,
    kind: Kind,
    ids: Sequence[str],
    texts: Sequence[str],
    advance: Advance,
) -> Mapping[str, Any]:
    start, out = 0, None
    began = perf_counter()
    for vectors in encoder.stream(texts, kind):
        stop = start + len(vectors)
        check_embeddings(
            vectors,
            ids[start:stop],
            what=f"{encoder.origin(kind)}: {kind}",
            zero_allowed=encoder.zero_means_no_match,
        )
        if out is None:
            shape = (len(texts), vectors.shape[1])
            out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        out[start:stop] = vectors
        advance(len(vectors))
        start = stop
    if out is None or start != len(texts):
        raise InputError(f"encoder {encoder.name!r}: {start} vectors for {len(texts)} {kind} texts")
    out.flush()
    return {"seconds": perf_counter() - began}
