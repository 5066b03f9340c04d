"""Parts of a dataset, by an attribute of its documents, as datasets of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from retrieval_eval.datasets.base import Dataset
from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.store import fold_digests

__all__ = ["split_dataset"]


def split_dataset(
    dataset: Dataset,
    attribute: str,
    parts: Mapping[str, Collection[Any]],
    *,
    rest: str | None = None,
    relevance_level: int = 1,
) -> list[Dataset]:
    """Cut a dataset into disjoint ones: documents by the value of an attribute.

    A query goes to the part that holds all its relevant documents; one whose relevant documents lie
    in several parts, or in none, is left out, so that no part knows a query of another. Judgments
    of documents of other parts are left out, too.

    Parameters
    ----------
    dataset : Dataset
        The whole; with texts.
    attribute : str
        Of its documents, see :meth:`Dataset.attribute_table`.
    parts : mapping of str to collection
        Name of each part, and the values of the attribute that belong to it.
    rest : str, optional
        Name of a last part, with all other values; without it such documents are left out.
    relevance_level : int
        Grade from which a document is relevant.

    Returns
    -------
    list of Dataset
        In the order of `parts`; those without a query are left out. Their facts say how many
        queries were left out of the whole.

    Raises
    ------
    InputError
        If the dataset has no such attribute, or vectors of its own; if a value is listed for two
        parts; or if no part has a query.

    Examples
    --------
    >>> from retrieval_eval.qrels import Qrels
    >>> whole = Dataset(
    ...     "code", ["a", "b", "c"], ["x", "y", "z"], ("q1", "q2", "q3"), ["1", "2", "3"],
    ...     Qrels.from_mapping({"q1": {"a": 1}, "q2": {"b": 1, "c": 1}, "q3": {"c": 1}}),
    ...     attributes={"package": ["net", "net", "text"]},
    ... )
    >>> one, other = split_dataset(whole, "package", {"network": ["net"]}, rest="others")
    >>> one.name, list(one.document_ids), one.query_ids, other.query_ids
    ('code: network', ['a', 'b'], ('q1',), ('q3',))
    """
    if dataset.vectors is not None:
        raise InputError(f"dataset {dataset.name!r} has vectors of its own: cut it before")
    values = dataset.attribute_table([attribute])[attribute].to_list()
    owners: dict[Any, str] = {}
    for name, members in parts.items():
        for value in members:
            if value in owners:
                raise InputError(
                    f"{attribute} {value!r} is listed for {owners[value]!r} and for {name!r}: a "
                    "document belongs to one part"
                )
            owners[value] = name
    names = [*parts, *([] if rest is None else [rest])]
    place = {name: code for code, name in enumerate(names)}
    other = -1 if rest is None else place[rest]
    of_document = np.array([place[owners[one]] if one in owners else other for one in values])
    of_query = _parts_of_queries(dataset, of_document, relevance_level)
    left_out = sum(of_query.get(one, -1) < 0 for one in dataset.query_ids)
    made = []
    for name, code in place.items():
        rows = np.flatnonzero(of_document == code)
        asked = [n for n, one in enumerate(dataset.query_ids) if of_query.get(one, -1) == code]
        if asked:
            made.append(_part(dataset, f"{dataset.name}: {name}", rows.tolist(), asked, left_out))
    if not made:
        raise InputError(f"dataset {dataset.name!r}: no part by {attribute} has a query of its own")
    return made


def _parts_of_queries(dataset: Dataset, of_document: Any, level: int) -> dict[str, int]:
    """Return the part of each query whose relevant documents are all in one."""
    corpus = pl.DataFrame({"doc_id": Ids.of(dataset.document_ids).column, "part": of_document})
    relevant = dataset.qrels.to_frame().filter(pl.col("relevance") >= level)
    found = (
        relevant.join(corpus, on="doc_id", how="left")
        .with_columns(pl.col("part").fill_null(-1))
        .group_by("query_id")
        .agg(pl.col("part").min().alias("low"), pl.col("part").max().alias("high"))
        .filter(pl.col("low") == pl.col("high"))
    )
    return dict(zip(found["query_id"].to_list(), found["low"].to_list(), strict=True))


def _part(dataset: Dataset, name: str, rows: list[int], asked: list[int], left_out: int) -> Dataset:
    ids = [dataset.document_ids[row] for row in rows]
    queries = tuple(dataset.query_ids[row] for row in asked)
    texts = [dataset.documents[row] for row in rows]
    return replace(
        dataset,
        name=name,
        document_ids=ids,
        documents=texts,
        query_ids=queries,
        queries=tuple(dataset.queries[row] for row in asked),
        qrels=dataset.qrels.only_queries(queries).only_documents(ids),
        attributes={
            key: [column[row] for row in rows] for key, column in dataset.attributes.items()
        },
        facts={**dataset.facts, "part_of": dataset.name, "queries_between_parts": left_out},
        corpus_key=fold_digests(text for pair in zip(ids, texts, strict=True) for text in pair),
    )
