"""Measures that see more than one query at a time, or documents judged for other queries."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.evaluation.measures import Measure
from retrieval_eval.evaluation.pairing import Judgments, Pairing
from retrieval_eval.runs import Run

__all__ = ["micro_average_precision", "sampled_reciprocal_rank"]


def micro_average_precision(
    measure: Measure, judgments: Judgments, pairing: Pairing, run: Run
) -> NDArray[np.float64]:
    """Return each query's part of GAP, times the number of queries; shape (n_queries,).

    All documents of judged queries are put in one list: score descending, then document id, then
    query id, both descending and bytewise.
    """
    relevant = pairing.relevant(measure["rel"])
    total = int(judgments.relevant_counts(measure["rel"]).sum())
    values = np.zeros(judgments.n_queries)
    if not len(relevant.row):
        return values
    answered = np.flatnonzero(judgments.rows_of(run)[run.query] >= 0)
    score = run.score[answered]
    ascending = np.sort(score)
    own = run.score[relevant.row]
    position = len(ascending) - np.searchsorted(ascending, own, side="right")
    # Documents with the score of a relevant one: their order within that score.
    alike = answered[np.isin(score, own)]
    ties = pl.DataFrame(
        {
            "row": alike,
            "score": run.score[alike],
            "document": run.document_ids.column.gather(run.document[alike]),
            "query": pl.Series(run.query_ids, dtype=pl.String).gather(run.query[alike]),
        }
    ).sort("score", "document", "query", descending=True)
    order, tied_score = ties["row"].to_numpy(), ties["score"].to_numpy()
    fresh = np.append(True, tied_score[1:] != tied_score[:-1])
    start = np.flatnonzero(fresh)[np.cumsum(fresh) - 1]
    within = np.empty(len(run), dtype=np.int64)
    within[order] = np.arange(1, len(order) + 1) - start
    position = position + within[relevant.row]
    best = np.argsort(position)
    precision = np.empty(len(best))
    precision[best] = np.arange(1, len(best) + 1) / position[best]
    parts = np.bincount(relevant.query, weights=precision, minlength=judgments.n_queries)
    result: NDArray[np.float64] = parts * judgments.n_queries / total
    return result


def sampled_reciprocal_rank(
    measure: Measure, judgments: Judgments, pairing: Pairing, run: Run
) -> NDArray[np.float64]:
    """Return 1 / rank among the relevant documents of a batch of queries; shape (n_queries,).

    The rank is the number of those documents with a score of at least the right one's, so that
    equal scores count against it. NaN for queries of the incomplete batch; 0 where the run does not
    return the right document. A run that was cut at a depth gives the rank that the whole ranking
    would, as long as the right document is in it: what it lacks scores lower.

    Raises
    ------
    InputError
        If a query has not exactly one relevant document, or there are too few for one batch.
    """
    counts = judgments.relevant_counts(1)
    if (counts != 1).any():
        row = int(np.flatnonzero(counts != 1)[0])
        raise InputError(
            f"{measure}: query {judgments.qrels.query_ids[row]!r} has {counts[row]} relevant "
            "documents; this measure needs exactly one for each query"
        )
    size = measure["distractors"] + 1
    n = judgments.n_queries
    if n < size:
        raise InputError(
            f"{measure}: one batch needs {size} queries, and {n} are judged; lower distractors, "
            f"such as SampledRR(distractors={max(1, n - 1)})"
        )
    batch = np.full(n, -1, dtype=np.int64)
    shuffled = np.random.default_rng(measure["seed"]).permutation(n)
    used = shuffled[: n // size * size]
    batch[used] = np.arange(len(used)) // size
    relevant = pairing.relevant(1)
    right = np.full(n, np.inf)
    right[relevant.query] = run.score[relevant.row]
    targets = judgments.frame.filter(
        pl.Series(judgments.qrels.grade[judgments.frame["judgment"].to_numpy()] >= 1)
    )
    targets = targets.select("name", batch=pl.Series(batch[targets["query"].to_numpy()]))
    rows = judgments.candidates(run)
    query = judgments.rows_of(run)[run.query[rows]]
    rows = rows[query >= 0]
    query = query[query >= 0]
    rows, query = rows[run.score[rows] >= right[query]], query[run.score[rows] >= right[query]]
    rivals = pl.DataFrame(
        {
            "query": query,
            "batch": batch[query],
            "name": run.document_ids.column.gather(run.document[rows]),
        }
    ).join(targets, on=["name", "batch"], how="inner")
    rank = np.bincount(rivals["query"].to_numpy(), minlength=n)
    values = np.divide(1.0, rank, out=np.zeros(n), where=(rank > 0) & np.isfinite(right))
    values[batch < 0] = np.nan
    return values
