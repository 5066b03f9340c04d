"""Fewer judgments: pools of smaller depth, and samples of judgments or of queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.comparison.resampling import stream_key
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation.pairing import Judgments
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = [
    "complete_pool",
    "content_order",
    "pool_depth",
    "raw_draws",
    "sample_judgments",
    "sample_queries",
]

_JUDGMENTS, _QUERIES = 101, 102  # streams of random numbers, one for each purpose


def pool_depth(qrels: Qrels, runs: Sequence[Run], depth: int) -> Qrels:
    """Keep the judgments that a pool of some depth over some runs would have asked for.

    Parameters
    ----------
    qrels : Qrels
        The judgments; not changed.
    runs : sequence of Run
        The runs that the pool is made of, at least one.
    depth : int
        A judgment stays if one of the runs has its document among the first `depth` of its query,
        in trec_eval's order.

    Returns
    -------
    Qrels
        A query without any judgment left is no longer in it: compare the lengths of ``query_ids``.
        A query that is left with documents which are not relevant stays, and scores 0.

    Raises
    ------
    InputError
        If there is no run, the depth is below 1, or no judgment is left.

    References
    ----------
    Zobel 1998, How reliable are the results of large-scale information retrieval experiments?

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1, "b": 0, "c": 1}, "q2": {"a": 1}})
    >>> run = Run.from_mapping({"q1": {"a": 3.0, "x": 2.0, "b": 1.0}})
    >>> pool_depth(qrels, [run], 3).mapping
    {'q1': {'a': 1, 'b': 0}}
    """
    if not runs:
        raise InputError("a pool needs at least one run")
    judgments = Judgments(qrels)
    kept = np.zeros(len(qrels), dtype=bool)
    for run in runs:
        kept[judgments.meet(run.top(depth), expected_ties=False).document] = True
    return _only(qrels, kept, f"a pool of depth {depth} leaves no judgment")


def complete_pool(qrels: Qrels, runs: Sequence[Run], depth: int) -> Qrels:
    """Judge all that a pool holds: what nobody judged is not relevant.

    That is what means over runs assume anyway. Said in so many words, these judgments can be wrong,
    too, in :func:`~retrieval_eval.comparison.robustness.label_noise`, as those of a pool that
    people judged.

    Parameters
    ----------
    qrels : Qrels
        The judgments; not changed.
    runs : sequence of Run
        The runs that the pool is made of, at least one.
    depth : int
        Documents of each run and judged query that are in the pool, in trec_eval's order.

    Returns
    -------
    Qrels
        The judgments, and a grade of 0 for each other document of the pool.

    Raises
    ------
    InputError
        If there is no run, or the depth is below 1.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1, "b": 0}})
    >>> run = Run.from_mapping({"q1": {"x": 2.0, "a": 1.0, "y": 0.5}, "q2": {"a": 1.0}})
    >>> complete_pool(qrels, [run], 2).mapping
    {'q1': {'a': 1, 'b': 0, 'x': 0}}
    """
    if not runs:
        raise InputError("a pool needs at least one run")
    known, pair = qrels.to_frame(), ["query_id", "doc_id"]
    pool = pl.concat([run.top(depth).to_frame().select(pair) for run in runs]).unique()
    queries = pl.Series(qrels.query_ids, dtype=pl.String).implode()
    new = pool.filter(pl.col("query_id").is_in(queries)).join(known, on=pair, how="anti")
    grade = pl.lit(0, dtype=known.schema["relevance"]).alias("relevance")
    return Qrels.from_frame(pl.concat([known, new.sort(pair).with_columns(grade)]))


def sample_judgments(qrels: Qrels, fraction: float, seed: int) -> Qrels:
    """Keep a random sample of the judgments, each equally likely, whatever its query or grade.

    The sample of a smaller fraction is part of that of a larger one with the same seed. It depends
    on the content of the qrels, not on the order of their lines.

    Parameters
    ----------
    qrels : Qrels
        The judgments; not changed.
    fraction : float
        Share that stays, above 0 and at most 1: as many as come closest to it, halves rounded up,
        and at least one.
    seed : int
        At least 0.

    Returns
    -------
    Qrels
        A query without any judgment left is no longer in it: compare the lengths of ``query_ids``.
        A query that is left with documents which are not relevant stays, and scores 0.

    Raises
    ------
    InputError
        If fraction or seed cannot be used, or there is no judgment.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1, "b": 0, "c": 1, "d": 0}})
    >>> len(sample_judgments(qrels, 0.5, seed=1))
    2
    """
    count = _size(len(qrels), fraction)
    draws = raw_draws(len(qrels), seed, _JUDGMENTS)
    kept = np.zeros(len(qrels), dtype=bool)
    kept[content_order(qrels)[np.argsort(draws, kind="stable")[:count]]] = True
    return _only(qrels, kept, "the qrels hold no judgment")


def sample_queries(qrels: Qrels, fraction: float, seed: int) -> Qrels:
    """Keep all judgments of a random sample of the queries, each query equally likely.

    The sample of a smaller fraction is part of that of a larger one with the same seed. It depends
    on the ids of the queries, not on their order.

    Parameters
    ----------
    qrels : Qrels
        The judgments; not changed.
    fraction : float
        Share of the queries that stays, above 0 and at most 1: as many as come closest to it,
        halves rounded up, and at least one.
    seed : int
        At least 0.

    Returns
    -------
    Qrels

    Raises
    ------
    InputError
        If fraction or seed cannot be used, or there is no judgment.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}})
    >>> len(sample_queries(qrels, 0.6, seed=0).query_ids)
    2
    """
    total = len(qrels.query_ids)
    count = _size(total, fraction)
    draws = raw_draws(total, seed, _QUERIES)
    order = np.array(sorted(range(total), key=qrels.query_ids.__getitem__), dtype=np.intp)
    places = order[np.argsort(draws, kind="stable")[:count]]
    return qrels.only_queries(qrels.query_ids[place] for place in places)


def raw_draws(count: int, seed: int, purpose: int, replicate: int = 0) -> NDArray[np.uint64]:
    """Return raw numbers of the Philox generator, which NumPy keeps as they are.

    Parameters
    ----------
    count : int
        How many.
    seed : int
        At least 0.
    purpose, replicate : int
        Each pair of them has a stream of its own.

    Returns
    -------
    ndarray of uint64, shape (count,)

    Raises
    ------
    InputError
        If the seed is below 0.

    Examples
    --------
    >>> raw_draws(2, seed=0, purpose=7).tolist() == raw_draws(3, seed=0, purpose=7)[:2].tolist()
    True
    """
    if seed < 0:
        raise InputError(f"seed is {seed}: it must be at least 0")
    # Replicates count in the second word: none reaches the next one's numbers.
    generator = np.random.Philox(key=stream_key(seed, purpose), counter=[0, replicate, 0, 0])
    raw: NDArray[np.uint64] = generator.random_raw(count)
    return raw


def content_order(qrels: Qrels) -> NDArray[np.int64]:
    """Return the rows of the judgments by query id, then document id, both bytewise; shape (n,).

    What is drawn in this order does not depend on the order of a file's lines.

    Examples
    --------
    >>> content_order(Qrels.from_mapping({"q2": {"b": 1, "a": 1}, "q1": {"c": 0}})).tolist()
    [2, 1, 0]
    """
    frame = qrels.to_frame()
    order: NDArray[Any] = frame.select(pl.arg_sort_by("query_id", "doc_id")).to_series().to_numpy()
    return order.astype(np.int64)


def _size(total: int, fraction: float) -> int:
    if not 0 < fraction <= 1:
        raise InputError(f"the fraction is {fraction}: it must be above 0 and at most 1")
    return max(1, math.floor(fraction * total + 0.5))


def _only(qrels: Qrels, kept: NDArray[np.bool_], complaint: str) -> Qrels:
    """Return some judgments, without the queries that then have none."""
    rows = np.flatnonzero(kept)
    if not len(rows):
        raise InputError(complaint)
    present, codes = np.unique(qrels.query[rows], return_inverse=True)
    return Qrels(
        tuple(qrels.query_ids[row] for row in present.tolist()),
        qrels.document_ids,
        codes.astype(np.int32),
        qrels.document[rows],
        qrels.grade[rows],
    )
