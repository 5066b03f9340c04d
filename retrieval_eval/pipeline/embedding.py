"""Texts to embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval_eval.datasets import Dataset
from retrieval_eval.encoders.base import Encoder, Kind, check_embeddings
from retrieval_eval.errors import InputError
from retrieval_eval.pipeline.shards import Growing, Stored, read_embeddings
from retrieval_eval.plugins import own_code
from retrieval_eval.store import Artefact, Store
from retrieval_eval.timing import library_versions

__all__ = ["Embeddings", "Stored", "check_texts", "embed"]

Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Memory-mapped vectors of one dataset by one encoder.

    Parameters
    ----------
    documents : ndarray of float32 or float16, or csr_array of float32, shape (n, d)
        Read-only.
    queries : ndarray of float32, or csr_array of float32, shape (q, d)
        Read-only.
    documents_key, queries_key : str
        Their keys in the store.
    documents_s, queries_s : float
        Seconds that encoding took, when it was done; all parts together if it was interrupted.
    facts : mapping
        What else it cost, such as tokens that were paid for.
    artefacts : tuple of Artefact
        Documents and queries in the store. Another process gets these, not the vectors.
    """

    documents: Any
    queries: Any
    documents_key: str
    queries_key: str
    documents_s: float
    queries_s: float
    facts: Mapping[str, float]
    artefacts: tuple[Artefact, Artefact]

    @classmethod
    def of(cls, documents: Artefact, queries: Artefact) -> Embeddings:
        """Map two artefacts into memory."""
        used = [documents.meta["usage"], queries.meta["usage"]]
        names = sorted({name for usage in used for name in usage})
        return cls(
            read_embeddings(documents.folder, documents.meta),
            read_embeddings(queries.folder, queries.meta),
            documents.key,
            queries.key,
            documents.meta["seconds"],
            queries.meta["seconds"],
            {name: sum(usage.get(name, 0) for usage in used) for name in names},
            (documents, queries),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Embeddings.of, self.artefacts

    @property
    def sparse(self) -> bool:
        """Whether the vectors are sparse."""
        return not hasattr(self.documents, "__array__")


def embed(
    store: Store,
    dataset: Dataset,
    encoder: Encoder,
    advance: Advance = lambda _: None,
    *,
    stored: Stored = "float32",
) -> Embeddings:
    """Encode a dataset's documents and queries, or find them in the store.

    An interrupted call leaves what it has made, and the next one goes on from there, to the same
    bytes. Who asks for vectors that another process is making waits for them.

    Parameters
    ----------
    store : Store
        Where embeddings are kept.
    dataset : Dataset
        The texts, or vectors that came with it.
    encoder : Encoder
        Not fitted; it is fitted here if it needs that and anything has to be computed.
    advance : callable, optional
        Called with the number of texts done since the last call.
    stored : {'float32', 'float16'}
        Element type in which dense vectors of documents are kept.

    Raises
    ------
    InputError
        If a vector holds NaN or infinity, or is zero where that says nothing, or the dataset has
        no texts and the encoder needs some.
    """
    check_texts(dataset, encoder)
    if dataset.vectors is not None:
        encoder = encoder.with_vectors(dataset.vectors.documents, dataset.vectors.queries)
    fitted: list[Encoder] = []
    identity = encoder.identity()

    def ready() -> Encoder:
        if not fitted:
            fitted.append(encoder.fit(dataset.documents))
        return fitted[0]

    def part(kind: Kind, ids: Sequence[str], texts: Sequence[str], fingerprint: str) -> Artefact:
        kept: Stored = stored if kind == "document" and not encoder.sparse else "float32"
        fields = {
            "texts": fingerprint,
            "kind": kind,
            "encoder": identity,
            "code": own_code(type(encoder)),
            "recipe": encoder.recipe,
            "versions": _versions(encoder),
            "fitted_on": dataset.corpus_fingerprint if encoder.needs_fit else None,
            "stored": kept,
        }

        def make(folder: Path) -> Mapping[str, Any]:
            if kind == "query":
                ready()  # fitting is part of encoding the documents
            rows = Growing(folder, len(texts), kept, encoder.commit_s)
            return _write(rows, ready(), kind, ids, texts, advance)

        found = store.get_or_make("embeddings", fields, make, resumable=True)
        if not found.fresh:
            advance(len(texts))
        return found

    try:
        documents = part(
            "document", dataset.document_ids, dataset.documents, dataset.corpus_fingerprint
        )
        queries = part("query", dataset.query_ids, dataset.queries, dataset.queries_fingerprint)
    finally:
        for one in fitted:
            one.close()
    return Embeddings.of(documents, queries)


def check_texts(dataset: Dataset, encoder: Encoder) -> None:
    """Refuse an encoder of texts for a dataset that has vectors alone.

    Raises
    ------
    InputError
        Naming both, and the way out.
    """
    if dataset.vectors is not None and not encoder.reads_vectors:
        raise InputError(
            f"dataset {dataset.name!r} has vectors and no texts, so encoder {encoder.name!r} has "
            "nothing to encode: use the encoder 'precomputed', which takes the dataset's own"
        )


def _versions(encoder: Encoder) -> dict[str, str]:
    """Return the versions that can change vectors; Python's own can not."""
    found = library_versions(*encoder.distributions)
    return {name: text for name, text in found.items() if name != "python"}


def _write(
    rows: Growing,
    encoder: Encoder,
    kind: Kind,
    ids: Sequence[str],
    texts: Sequence[str],
    advance: Advance,
) -> Mapping[str, Any]:
    where = f"{encoder.origin(kind)}: {kind}"
    advance(rows.done)
    counted: dict[str, float] = {}

    def cost() -> dict[str, float]:
        """Return what was used since the last call."""
        usage = dict(encoder.usage())
        grown = {name: value - counted.get(name, 0) for name, value in usage.items()}
        counted.update(usage)
        return grown

    cost()
    try:
        try:
            for block in encoder.stream(texts, kind, ids=ids, start=rows.done):
                stop = rows.done + block.shape[0]
                check_embeddings(
                    block,
                    ids[rows.done : stop],
                    what=where,
                    zero_allowed=encoder.zero_means_no_match or encoder.sparse,
                    first_row=rows.done,
                )
                try:
                    rows.append(block)
                except InputError as error:
                    raise InputError(f"{where}: {error}") from None
                advance(block.shape[0])
        finally:
            rows.commit(cost())
    except BaseException:
        rows.close()
        raise
    if rows.done != len(texts):
        rows.close()
        raise InputError(f"{where}: {rows.done} vectors for {len(texts)} texts")
    facts = dict(rows.finish())
    shape, values, seconds = facts.pop("shape"), facts.pop("values"), facts.pop("seconds")
    return {"shape": shape, "values": values, "seconds": seconds, "usage": facts}
