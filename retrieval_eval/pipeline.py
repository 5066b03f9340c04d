"""The jobs of a sweep, each a function that looks into the store before it works.

Text to embeddings, embeddings to true neighbours and to an index, index to hits with their cost,
hits to scores. A job's key covers all that decides its result, so equal jobs are done once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval import __version__
from retrieval_eval.datasets import Dataset
from retrieval_eval.encoders.base import Encoder, Kind, check_embeddings
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation, Evaluator
from retrieval_eval.hits import Hits
from retrieval_eval.indexes import Index
from retrieval_eval.neighbours import Metric, exact_neighbours, neighbour_recall
from retrieval_eval.plugins import own_code
from retrieval_eval.runs import Run
from retrieval_eval.store import Artefact, Store
from retrieval_eval.timing import (
    SearchTimes,
    ThreadLimit,
    TimingOptions,
    hardware,
    library_versions,
    time_search,
)

__all__ = [
    "Built",
    "Embeddings",
    "Searched",
    "Truth",
    "build",
    "embed",
    "find_truth",
    "score",
    "search",
]

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


def find_truth(store: Store, embeddings: Embeddings, metric: Metric, k: int) -> Truth:
    """Search exactly, or find the result in the store."""
    fields = {
        "documents": embeddings.documents_key,
        "queries": embeddings.queries_key,
        "metric": metric,
        "k": k,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        ids, scores = exact_neighbours(embeddings.documents, embeddings.queries, k, metric)
        np.save(folder / "ids.npy", ids)
        np.save(folder / "scores.npy", scores)
        return {}

    found = store.get_or_make("neighbours", fields, make)
    return Truth(np.load(found.folder / "ids.npy"), np.load(found.folder / "scores.npy"))


@dataclass(frozen=True, eq=False)
class Built:
    """An index in the store.

    Parameters
    ----------
    artefact : Artefact
        Its files.
    index_class : type
        The backend.
    threads : int
        For searching.
    """

    artefact: Artefact
    index_class: type[Index]
    threads: int

    @property
    def build_s(self) -> float:
        """Seconds that building took, when it was built."""
        return float(self.artefact.meta["build_s"])

    @property
    def size_bytes(self) -> int:
        """Size of the index's files."""
        return self.artefact.n_bytes

    @cached_property
    def index(self) -> Index:
        """The index, read from its files when first needed."""
        return self.index_class.restore(
            self.artefact.folder, self.artefact.meta, threads=self.threads
        )


def build(store: Store, embeddings: Embeddings, index: Index) -> Built:
    """Build an index, timed, or find it in the store.

    Parameters
    ----------
    store : Store
        Where built indexes are kept.
    embeddings : Embeddings
        What to index.
    index : Index
        Not built yet; stays so.
    """
    fields = {
        "documents": embeddings.documents_key,
        "index": index.identity(),
        "class": f"{type(index).__module__}:{type(index).__qualname__}",
        "code": own_code(type(index)),
        "threads": index.threads,
        "versions": index.versions(),
        "machine": _machine(),
        "retrieval_eval": __version__,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        fresh = type(index)(
            metric=index.metric, seed=index.seed, threads=index.threads, **asdict(index.parameters)
        )
        vectors = np.array(embeddings.documents)  # in memory, so that no disk is timed
        began = perf_counter()
        fresh.build(vectors)
        seconds = perf_counter() - began
        return {**fresh.write_files(folder), "build_s": seconds}

    return Built(store.get_or_make("indexes", fields, make), type(index), index.threads or 1)


@dataclass(frozen=True, eq=False)
class Searched:
    """Hits of one configuration, and what they cost.

    Parameters
    ----------
    key : str
        Key in the store.
    hits : Hits
        For every query.
    neighbour_recall : float or None
        Mean share of the true neighbours found; None if no query has any.
    times : SearchTimes
        Latency and throughput.
    """

    key: str
    hits: Hits
    neighbour_recall: float | None
    times: SearchTimes


def search(
    store: Store,
    embeddings: Embeddings,
    built: Built,
    truth: Truth,
    *,
    k: int,
    settings: Mapping[str, Any],
    timing: TimingOptions,
    neighbours: int,
    seed: int,
) -> Searched:
    """Search all queries, and time a sample of them; or find both in the store.

    Parameters
    ----------
    store : Store
        Where results are kept.
    embeddings : Embeddings
        The queries.
    built : Built
        The index.
    truth : Truth
        At least `neighbours` true neighbours.
    k : int
        Hits a query.
    settings : mapping
        The backend's search parameters.
    timing : TimingOptions
        How to measure.
    neighbours : int
        The k of neighbour recall.
    seed : int
        Of the sample that is timed.
    """
    fields = {
        "index": built.artefact.key,
        "queries": embeddings.queries_key,
        "k": k,
        "settings": dict(settings),
        "timing": asdict(timing),
        "neighbours": neighbours,
        "seed": seed,
        "machine": _machine(),
        "retrieval_eval": __version__,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        index = built.index
        metric = index.metric
        hits = index.search(embeddings.queries, k, **settings)
        recall = neighbour_recall(
            hits,
            truth.scores[:, neighbours - 1],
            embeddings.documents,
            embeddings.queries,
            neighbours,
            metric,
        )
        with ThreadLimit(timing.threads):
            times = time_search(
                index.bind(k, **settings),
                index.prepare(embeddings.queries),
                repeats=timing.repeats,
                latency_queries=timing.latency_queries,
                batch_queries=timing.batch_queries,
                seed=seed,
            )
        np.save(folder / "ids.npy", hits.ids)
        np.save(folder / "scores.npy", hits.scores)
        measured = recall[~np.isnan(recall)]
        return {
            "neighbour_recall": float(measured.mean()) if len(measured) else None,
            "times": asdict(times),
            "load_average": hardware()["load_average"],
        }

    found = store.get_or_make("searches", fields, make)
    times = found.meta["times"]
    return Searched(
        found.key,
        Hits(np.load(found.folder / "ids.npy"), np.load(found.folder / "scores.npy")),
        found.meta["neighbour_recall"],
        SearchTimes(**{**times, "batch_s": tuple(times["batch_s"])}),
    )


def score(
    store: Store, dataset: Dataset, searched: Searched, evaluator: Evaluator, run_name: str
) -> tuple[Run, Evaluation]:
    """Turn hits into a run and score it, or find the scores in the store."""
    run = Run.from_hits(searched.hits, dataset.query_ids, dataset.document_ids, run_name)
    fields = {
        "search": searched.key,
        "documents": dataset.corpus_fingerprint,
        "qrels": dataset.qrels.fingerprint,
        "measures": list(evaluator.measures),
        "versions": library_versions("ir-measures", "pytrec_eval-terrier"),
        "retrieval_eval": __version__,
    }
    made: list[Evaluation] = []

    def make(folder: Path) -> Mapping[str, Any]:
        made.append(evaluator.evaluate(run))
        np.save(folder / "values.npy", made[0].values)
        return {"missing": made[0].missing, "query_ids": list(made[0].query_ids)}

    found = store.get_or_make("evaluations", fields, make)
    if made:
        return run, made[0]
    values = np.load(found.folder / "values.npy")
    query_ids = tuple(found.meta["query_ids"])
    return run, Evaluation(run_name, evaluator.measures, query_ids, values, found.meta["missing"])


def _machine() -> dict[str, Any]:
    """Return what a timing depends on and a cache must not confuse."""
    facts = hardware()
    return {"processor": facts["processor"], "cores": facts["cores"]}
