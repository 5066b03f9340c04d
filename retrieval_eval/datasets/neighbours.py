"""Datasets of vectors without texts, whose judgments are true neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.datasets.base import Dataset, DatasetVectors
from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.neighbours import Metric
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import fold_digests
from retrieval_eval.vectorfiles import VectorFile, fingerprints

__all__ = ["dataset_of_neighbours"]


def dataset_of_neighbours(
    name: str,
    documents: VectorFile,
    queries: VectorFile,
    neighbours: NDArray[np.int64],
    *,
    where: str,
    relevant: int,
    max_queries: int | None,
    metric: Metric | None,
    facts: Mapping[str, Any],
) -> Dataset:
    """Make a dataset whose relevant documents are each query's true neighbours.

    Ids are row numbers, as text. Texts are empty.

    Parameters
    ----------
    name : str
        What tables call it.
    documents, queries : VectorFile
        The vectors.
    neighbours : ndarray of int64, shape (q, k)
        Rows of the documents, nearest first.
    where : str
        What the neighbours are called in messages: their file.
    relevant : int
        How many of them count as relevant, each with grade 1.
    max_queries : int or None
        Only so many queries, from the first.
    metric : {'cosine', 'ip', 'l2'} or None
        The metric by which they are nearest, if it is known.
    facts : mapping
        What the source recorded.

    Raises
    ------
    InputError
        If the three do not fit together, with the query.
    """
    if documents.d != queries.d:
        raise InputError(
            f"{queries}: dimension {queries.d}, but {documents} has {documents.d}: they do not "
            "belong together"
        )
    q, k = neighbours.shape
    if q != queries.n:
        raise InputError(
            f"{where}: neighbours of {q} queries, but {queries} has {queries.n} vectors: they do "
            "not belong together"
        )
    if relevant > k:
        raise InputError(
            f"{where}: {k} neighbours of each query, but relevant is {relevant}: set relevant to "
            f"{k} or less"
        )
    asked = queries if max_queries is None else queries.head(max_queries)
    nearest = neighbours[: asked.n, :relevant]
    _check_rows(nearest, documents, where)
    rows, places = np.unique(nearest, return_inverse=True)
    query_ids = tuple(map(str, range(asked.n)))
    documents_key, queries_key = fingerprints(documents.chosen, queries.chosen)
    return Dataset(
        name=name,
        document_ids=Ids.of(pl.int_range(documents.n, eager=True).cast(pl.String)),
        documents=("",) * documents.n,
        query_ids=query_ids,
        queries=("",) * asked.n,
        qrels=Qrels(
            query_ids=query_ids,
            document_ids=Ids.of(pl.Series(rows).cast(pl.String)),
            query=np.repeat(np.arange(asked.n, dtype=np.int32), relevant),
            document=places.ravel().astype(np.int32),
            grade=np.ones(nearest.size, dtype=np.int64),
        ),
        facts={**facts, "relevant": relevant, "neighbours": k, "queries_left_out": q - asked.n},
        vectors=DatasetVectors(
            documents=documents,
            queries=asked,
            documents_key=documents_key,
            queries_key=fold_digests([queries_key, str(asked.n)]),
            metric=metric,
        ),
        corpus_key=fold_digests(["row numbers", str(documents.n)]),
    )


def _check_rows(nearest: NDArray[np.int64], documents: VectorFile, where: str) -> None:
    """Refuse neighbours that are no rows of the documents, or come twice for a query."""
    wrong = (nearest < 0) | (nearest >= documents.n)
    if wrong.any():
        query, rank = np.argwhere(wrong)[0]
        row = nearest[query, rank]
        rule = (
            f"has only {rank} neighbours: set relevant to that or less"
            if row < 0
            else f"has the neighbour {row} at rank {rank + 1}, but {documents} has {documents.n} "
            "vectors: the neighbours are of another, larger set"
        )
        raise InputError(f"{where}: query {query} (counted from 0) {rule}")
    ordered = np.sort(nearest, axis=1)
    twice = ordered[:, 1:] == ordered[:, :-1]
    if twice.any():
        query, place = np.argwhere(twice)[0]
        raise InputError(
            f"{where}: query {query} (counted from 0) has the neighbour {ordered[query, place]} "
            "twice: the file is damaged"
        )
