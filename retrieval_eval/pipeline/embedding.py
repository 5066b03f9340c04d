"""Texts to embeddings."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from retrieval_eval.datasets import Dataset
from retrieval_eval.encoders.base import Encoder, Kind, check_embeddings
from retrieval_eval.errors import InputError
from retrieval_eval.pipeline.jobs import Bench, Effort, Job, Size, Told, silent
from retrieval_eval.pipeline.shards import Growing, Stored, read_embeddings
from retrieval_eval.plugins import own_code
from retrieval_eval.store import Artefact, Store, digest
from retrieval_eval.timing import library_versions

__all__ = ["Embeddings", "EncodeJob", "Stored", "check_texts", "embed", "encode_jobs"]

_RECIPE = 2
"""Raised whenever something else is recorded."""

_JOIN_ROWS = 8192
_JOIN_COMMIT_S = 60.0  # nothing is lost that cannot be copied again


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
    documents_s, queries_s : float or None
        Seconds that encoding took, when it was done; all parts together if it was interrupted.
        None if something else ran beside it.
    facts : mapping
        What else it cost, such as tokens that were paid for.
    """

    documents: Any
    queries: Any
    documents_key: str
    queries_key: str
    documents_s: float | None
    queries_s: float | None
    facts: Mapping[str, float]

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
            documents.meta["seconds"] if documents.meta["timed"] else None,
            queries.meta["seconds"] if queries.meta["timed"] else None,
            {name: sum(usage.get(name, 0) for usage in used) for name in names},
        )

    @property
    def sparse(self) -> bool:
        """Whether the vectors are sparse."""
        return not hasattr(self.documents, "__array__")


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodeJob(Job):
    """Documents or queries to vectors.

    An interrupted job leaves what it has made, and the next one goes on from there, to the same
    bytes.

    Parameters
    ----------
    encoder : Encoder
        Not fitted; it is fitted here if it needs that and anything has to be computed.
    identity : mapping
        What ``encoder.identity()`` returned: it may take a while.
    side : {'document', 'query'}
        Which of them.
    ids, texts : sequence of str
        All of them.
    fingerprint : str
        Key of ids, texts and their order.
    corpus : sequence of str
        What to fit on; empty if nothing is fitted.
    corpus_fingerprint : str or None
        Its key.
    stored : {'float32', 'float16'}
        Element type in which the vectors are kept.
    rows : (int, int) or None
        Only these rows of them, the first included, the second not; None for all.
    queries : EncodeJob or None
        The job of the queries, to be done with the encoder that was fitted for the documents.
    """

    kind: ClassVar[str] = "encode"
    folder: ClassVar[str] = "embeddings"
    resumable: ClassVar[bool] = True

    encoder: Encoder
    identity: Mapping[str, Any]
    side: Kind
    ids: Sequence[str]
    texts: Sequence[str]
    fingerprint: str
    corpus: Sequence[str] = ()
    corpus_fingerprint: str | None = None
    stored: Stored = "float32"
    rows: tuple[int, int] | None = None
    queries: EncodeJob | None = None

    def decides(self) -> Mapping[str, Any]:
        """Return all that decides the vectors."""
        fields = {
            "texts": self.fingerprint,
            "kind": self.side,
            "encoder": dict(self.identity),
            "code": own_code(type(self.encoder)),
            "recipe": [self.encoder.recipe, _RECIPE],
            "versions": _versions(self.encoder),
            "fitted_on": self.corpus_fingerprint,
            "stored": self.stored,
        }
        return fields if self.rows is None else {**fields, "rows": list(self.rows)}

    @property
    def units(self) -> int:
        """How many texts there are."""
        return len(self.texts)

    def effort(self) -> Effort:
        """Return what decides how long this takes: the encoder, and how much text."""
        name = self.encoder.name
        exactly = f"encode {name} {digest({'encoder': dict(self.identity)})} {self.side}"
        n = len(self.texts) or self.size.documents
        width = 2 if self.stored == "float16" else 4
        disk = n * (self.size.dimension or 384) * width
        return Effort((exactly, f"encode {name}", "encode"), n, disk)

    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        """Encode, or put parts together that were encoded elsewhere."""
        if inputs:
            return _joined(folder, self.stored, inputs)
        key = digest({**self.fields, "texts": None, "kind": None, "rows": None, "stored": None})

        def ready() -> Encoder:
            fitted: Encoder = bench.keep("encoder", key, lambda: self.encoder.fit(self.corpus))
            return fitted

        for name in self.encoder.libraries:
            importlib.import_module(name)
        if self.side == "query":
            ready()  # fitting is part of encoding the documents
        rows = Growing(folder, len(self.texts), self.stored, self.encoder.commit_s)
        return {**_write(rows, ready(), self, told), "timed": self.timed}

    def in_one_go(self, store: Store, bench: Bench) -> None:
        """Encode the queries too, if that takes the fitted encoder: fitting may take long."""
        if self.queries is not None:
            self.queries.run(store, {}, bench)

    def portable(self) -> EncodeJob:
        """Return the same job with its texts in memory; vectors in files stay files."""
        queries = None if self.queries is None else self.queries.portable()
        texts, corpus = list(self.texts), list(self.corpus)
        return replace(self, texts=texts, corpus=corpus, queries=queries)

    def in_parts(self, parts: int) -> EncodeJob:
        """Return the same job, in so many parts that can be done on different machines.

        Cuts lie where the encoder begins anew anyhow, so the vectors are the same. An encoder that
        is fitted, or reads its vectors, or pays for each text, is not cut.
        """
        step = self.encoder.batch_texts
        blocks = -(-len(self.texts) // step)
        parts = min(parts, blocks)
        alone = self.encoder.needs_fit or self.encoder.reads_vectors or not self.encoder.commit_s
        if parts < 2 or alone:
            return self
        ends = [min(len(self.texts), step * (blocks * n // parts)) for n in range(parts + 1)]
        needs = {
            f"{number:06d}": replace(
                self,
                label=f"{self.label}, part {number + 1} of {parts}",
                ids=self.ids[start:stop],
                texts=self.texts[start:stop],
                rows=(start, stop),
            )
            for number, (start, stop) in enumerate(itertools.pairwise(ends))
        }
        return replace(self, needs=needs, ids=(), texts=(), timed=False)


def encode_jobs(
    dataset: Dataset,
    encoder: Encoder,
    *,
    stored: Stored = "float32",
    identity: Mapping[str, Any] | None = None,
    label: str = "",
    timed: bool = False,
) -> tuple[EncodeJob, EncodeJob]:
    """Return the jobs that encode a dataset's documents and its queries.

    Parameters
    ----------
    dataset : Dataset
        The texts, or vectors that came with it.
    encoder : Encoder
        Not fitted.
    stored : {'float32', 'float16'}
        Element type in which dense vectors of documents are kept.
    identity : mapping, optional
        What ``encoder.identity()`` returned, if that was asked for already.
    label : str
        What is being done, for people.
    timed : bool
        Whether the seconds are reported.

    Raises
    ------
    InputError
        If the dataset has no texts and the encoder needs some.
    """
    check_texts(dataset, encoder)
    if dataset.vectors is not None:
        encoder = encoder.with_vectors(dataset.vectors.documents, dataset.vectors.queries)
        identity = None
    fits = encoder.needs_fit
    n, q, d = len(dataset.document_ids), len(dataset.query_ids), encoder.dimension()
    documents = EncodeJob(
        label=label or f"{dataset.name}, {encoder.name}",
        timed=timed,
        size=Size(documents=n, dimension=d),
        encoder=encoder,
        identity=encoder.identity() if identity is None else identity,
        side="document",
        ids=dataset.document_ids,
        texts=dataset.documents,
        fingerprint=dataset.corpus_fingerprint,
        corpus=dataset.documents if fits else (),
        corpus_fingerprint=dataset.corpus_fingerprint if fits else None,
        stored="float32" if encoder.sparse else stored,
    )
    queries = replace(
        documents,
        label=f"{documents.label}, queries",
        size=Size(documents=q, dimension=d),
        side="query",
        ids=dataset.query_ids,
        texts=dataset.queries,
        fingerprint=dataset.queries_fingerprint,
        stored="float32",
    )
    return replace(documents, queries=queries if fits else None), queries


def embed(
    store: Store,
    dataset: Dataset,
    encoder: Encoder,
    advance: Told = silent,
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
    bench = Bench()
    try:
        found = []
        for job in encode_jobs(dataset, encoder, stored=stored, timed=True):
            artefact = job.run(store, {}, bench, advance)
            if not artefact.fresh:
                advance(job.units)
            found.append(artefact)
    finally:
        bench.clear()
    return Embeddings.of(*found)


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


def _write(rows: Growing, encoder: Encoder, job: EncodeJob, told: Told) -> Mapping[str, Any]:
    where = f"{encoder.origin(job.side)}: {job.side}"
    told(rows.done)
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
            for block in encoder.stream(job.texts, job.side, ids=job.ids, start=rows.done):
                stop = rows.done + block.shape[0]
                check_embeddings(
                    block,
                    job.ids[rows.done : stop],
                    what=where,
                    zero_allowed=encoder.zero_means_no_match or encoder.sparse,
                    first_row=rows.done + (job.rows[0] if job.rows else 0),
                )
                try:
                    rows.append(block)
                except InputError as error:
                    raise InputError(f"{where}: {error}") from None
                told(block.shape[0])
        finally:
            rows.commit(cost())
    except BaseException:
        rows.close()
        raise
    if rows.done != len(job.texts):
        rows.close()
        raise InputError(f"{where}: {rows.done} vectors for {len(job.texts)} texts")
    facts = dict(rows.finish())
    shape, values, seconds = facts.pop("shape"), facts.pop("values"), facts.pop("seconds")
    return {"shape": shape, "values": values, "seconds": seconds, "usage": facts}


def _joined(folder: Path, stored: Stored, parts: Mapping[str, Artefact]) -> Mapping[str, Any]:
    """Put the rows of several artefacts into one, some at a time."""
    metas = [parts[name].meta for name in sorted(parts)]
    rows = Growing(folder, sum(meta["shape"][0] for meta in metas), stored, _JOIN_COMMIT_S)
    for name in sorted(parts):
        part = read_embeddings(parts[name].folder, parts[name].meta)
        for first in range(0, part.shape[0], _JOIN_ROWS):
            rows.append(part[first : first + _JOIN_ROWS])
    facts = rows.finish()
    names = sorted({name for meta in metas for name in meta["usage"]})
    return {
        "shape": facts["shape"],
        "values": facts["values"],
        "seconds": sum(meta["seconds"] for meta in metas),
        "usage": {name: sum(meta["usage"].get(name, 0) for meta in metas) for name in names},
        "timed": all(meta["timed"] for meta in metas),
    }
