"""Costs and quality of indexes over the first n of many documents, for several n."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation, evaluate
from retrieval_eval.growth import uniform_ball
from retrieval_eval.ids import Ids
from retrieval_eval.indexes import get_index
from retrieval_eval.neighbours import Metric, exact_neighbours, neighbour_recall_by_id
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run
from retrieval_eval.timing import OtherWork, ThreadLimit, noise, time_search

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["AtSize", "JudgedVectors", "Setting", "measure_at_sizes"]

_CROWD = 0.05

Setting = tuple[str, Mapping[str, Any], Mapping[str, Any]]
"""An index: its name, the parameters it is built with, and those it is searched with."""


@dataclass(frozen=True, eq=False)
class JudgedVectors:
    """Vectors of documents and queries, with judgments.

    Parameters
    ----------
    vectors : ndarray of float32, shape (N, d)
        Of all documents; may be memory-mapped.
    document_ids : sequence of str, length N
        Their ids.
    queries : ndarray of float32, shape (q, d)
        Of the queries.
    query_ids : sequence of str, length q
        Their ids.
    judged : polars.DataFrame
        Columns ``query_id``, ``doc_id`` and ``relevance``.
    """

    vectors: NDArray[Any]
    document_ids: Sequence[str]
    queries: NDArray[Any]
    query_ids: Sequence[str]
    judged: pl.DataFrame

    @classmethod
    def in_ball(
        cls, m: int, n: int, *, d: int = 32, queries: int = 1000, near: int = 10_000, seed: int = 0
    ) -> JudgedVectors:
        """Fill a ball of m dimensions; a query is a document that was moved, and should find it.

        Parameters
        ----------
        m, n, d, seed : int
            As of :func:`retrieval_eval.growth.uniform_ball`.
        queries : int
            How many, at most `near`.
        near : int
            They come from the first so many documents.

        Notes
        -----
        A query is moved as far as there are 0.05 of `near` evenly spread documents within:
        ``(0.05 / near) ** (1 / m)``. So about 0.05 * n / near others stand nearer among n, whatever
        m is, and quality falls as the collection grows, for exact search, too.
        """
        import polars as pl

        points = uniform_ball(n + queries, m, d, seed)
        asked = np.random.default_rng(seed).choice(min(near, n), queries, replace=False)
        far = points[n:] / np.linalg.norm(points[n:], axis=1, keepdims=True)
        moved = points[asked] + np.float32((_CROWD / near) ** (1 / m)) * far
        names = [str(one) for one in asked]
        judged = pl.DataFrame({"query_id": names, "doc_id": names, "relevance": 1})
        return cls(points[:n], [str(one) for one in range(n)], moved, names, judged)


@dataclass(frozen=True)
class AtSize:
    """An index over n documents.

    Parameters
    ----------
    n : int
        Documents.
    index : str
        Its name.
    build, search : mapping
        Its parameters.
    build_s, latency_p95_s : float
        Seconds to build it, and of single queries, with one thread in both cases.
    size_bytes : int
        On disk.
    neighbour_recall : float
        Mean share of the true k nearest neighbours, by their ids.
    evaluation : Evaluation
        Of the queries that have a relevant document among the n.
    noise : str
        What may have spoiled the times; empty if nothing did.
    """

    n: int
    index: str
    build: Mapping[str, Any]
    search: Mapping[str, Any]
    build_s: float
    latency_p95_s: float
    size_bytes: int
    neighbour_recall: float
    evaluation: Evaluation
    noise: str


def measure_at_sizes(
    data: JudgedVectors,
    sizes: Sequence[int],
    indexes: Callable[[int], Iterable[Setting]],
    *,
    k: int = 10,
    metric: Metric = "l2",
    measures: Sequence[str] = ("nDCG@10",),
    threads: int = 1,
) -> Iterator[AtSize]:
    """Build and search indexes over the first n documents, for each n.

    Parameters
    ----------
    data : JudgedVectors
        Judgments of documents beyond the n are left out, and with them queries that have none left.
    sizes : sequence of int
        From 1 to N.
    indexes : callable
        What to build over n documents; the name of an index is that of a backend or specification.
    k : int
        Depth of the search, and of neighbour recall.
    metric : {'cosine', 'ip', 'l2'}
        Of the vectors.
    measures : sequence of str
        Of quality.
    threads : int
        For building and searching.

    Yields
    ------
    AtSize
        One index at one size.

    Raises
    ------
    InputError
        For a size out of range, or if no query has a judged document among so few.
    """
    import polars as pl

    ids = pl.Series("doc_id", list(data.document_ids), dtype=pl.String)
    for n in sizes:
        if not 1 <= n <= len(data.vectors):
            raise InputError(f"scaling: a size of {n}: there are {len(data.vectors)} documents")
        kept = data.judged.join(ids[:n].to_frame(), on="doc_id", how="semi")
        asked = set(kept["query_id"].to_list())
        places = [place for place, name in enumerate(data.query_ids) if name in asked]
        if not places:
            raise InputError(f"scaling: no query is judged among the first {n} documents")
        some, names = data.queries[places], [data.query_ids[place] for place in places]
        known, documents = Ids.of(ids[:n].to_list()), data.vectors[:n]
        qrels = Qrels.from_frame(kept.filter(kept["query_id"].is_in(names)))
        truth, _ = exact_neighbours(documents, some, k, metric)
        for name, build, search in indexes(n):
            index = get_index(name, metric=metric, threads=threads, **build)
            with ThreadLimit(threads), OtherWork() as others:
                start = time.perf_counter()
                index.build(documents)
                build_s = time.perf_counter() - start
                bound = index.bind(k, **search)
                times = time_search(
                    bound, some, repeats=3, latency_queries=200, batch_queries=200, seed=0
                )
            hits = index.search(some, k, **search)
            run = Run.from_hits(hits, names, known, f"{name} {n}")
            yield AtSize(
                n,
                name,
                build,
                search,
                build_s,
                times.latency_p95_s,
                index.size_bytes(),
                float(neighbour_recall_by_id(hits, truth, k).mean()),
                evaluate(qrels, run, list(measures)),
                noise(others.cores, times.spread),
            )
