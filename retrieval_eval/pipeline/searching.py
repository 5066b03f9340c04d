"""An index to hits and their cost, and hits to scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval import __version__
from retrieval_eval.datasets import Dataset
from retrieval_eval.evaluation import Evaluation, Evaluator
from retrieval_eval.filters import Filter
from retrieval_eval.hits import Hits
from retrieval_eval.neighbours import kth_scores, neighbour_recall
from retrieval_eval.pipeline.building import Built
from retrieval_eval.pipeline.embedding import Embeddings
from retrieval_eval.pipeline.truth import Truth
from retrieval_eval.runs import Run
from retrieval_eval.store import Store
from retrieval_eval.timing import (
    SearchTimes,
    ThreadLimit,
    TimingOptions,
    hardware,
    library_versions,
    machine,
    time_search,
)

__all__ = ["Searched", "score", "search"]


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
    times : SearchTimes or None
        Latency and throughput; None if not asked for.
    served_by : str
        What served the queries, in the library's words.
    filtering : str or None
        Who filtered; None without a filter.
    """

    key: str
    hits: Hits
    neighbour_recall: float | None
    times: SearchTimes | None
    served_by: str
    filtering: str | None


def search(
    store: Store,
    embeddings: Embeddings,
    built: Built,
    truth: Truth,
    *,
    k: int,
    settings: Mapping[str, Any],
    timing: TimingOptions | None,
    neighbours: int,
    seed: int,
    where: Filter | None = None,
    allowed: NDArray[np.bool_] | None = None,
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
        At least `neighbours` true neighbours, among the documents that pass the filter.
    k : int
        Hits a query.
    settings : mapping
        The backend's search parameters.
    timing : TimingOptions or None
        How to measure; None measures no time.
    neighbours : int
        The k of neighbour recall.
    seed : int
        Of the sample that is timed.
    where : Filter, optional
        Which documents may be found.
    allowed : ndarray of bool, shape (n,), optional
        The same as a mask.
    """
    fields = {
        "index": built.artefact.key,
        "queries": embeddings.queries_key,
        "k": k,
        "settings": dict(settings),
        "timing": None if timing is None else asdict(timing),
        "where": None if where is None else where.as_mapping(),
        "neighbours": neighbours,
        "seed": seed,
        "machine": machine(),
        "retrieval_eval": __version__,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        index = built.index
        hits = index.search(embeddings.queries, k, where=where, **settings)
        recall = neighbour_recall(
            hits,
            kth_scores(truth.scores, neighbours),
            embeddings.documents,
            embeddings.queries,
            neighbours,
            index.metric,
            allowed=allowed,
            neighbours=np.isfinite(truth.scores[:, :neighbours]).sum(axis=1),
        )
        times = None
        if timing is not None:
            call = index.bind(k, where=where, **settings)
            with ThreadLimit(timing.threads):
                times = time_search(
                    call,
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
            "times": None if times is None else asdict(times),
            "served_by": index.served_by(k, where=where, **settings),
            "filtering": None if where is None else index.filtering,
            "load_average": hardware()["load_average"],
        }

    found = store.get_or_make("searches", fields, make)
    times = found.meta["times"]
    return Searched(
        found.key,
        Hits(np.load(found.folder / "ids.npy"), np.load(found.folder / "scores.npy")),
        found.meta["neighbour_recall"],
        None if times is None else SearchTimes(**{**times, "batch_s": tuple(times["batch_s"])}),
        found.meta["served_by"],
        found.meta["filtering"],
    )


def score(
    store: Store, dataset: Dataset, run: Run, run_key: str, evaluator: Evaluator
) -> Evaluation:
    """Score a run, or find its scores in the store.

    Parameters
    ----------
    store : Store
        Where results are kept.
    dataset : Dataset
        Whose documents the run names.
    run : Run
        The run.
    run_key : str
        Key in the store of the search or combination that made it.
    evaluator : Evaluator
        Judgments and measures.
    """
    fields = {
        "search": run_key,
        "documents": dataset.corpus_fingerprint,
        "qrels": evaluator.qrels.fingerprint,
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
        return made[0]
    values = np.load(found.folder / "values.npy")
    query_ids = tuple(found.meta["query_ids"])
    return Evaluation(run.name, evaluator.measures, query_ids, values, found.meta["missing"])
