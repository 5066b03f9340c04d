"""From a corpus, queries and judgments to a dataset: what every source of texts has to check."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import polars as pl

from retrieval_eval.datasets.base import Dataset
from retrieval_eval.datasets.corpus import Corpus
from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.qrels import Qrels

__all__ = ["Query", "RepeatedJudgments", "UnknownDocuments", "assemble", "judgments"]

UnknownDocuments = Literal["error", "keep"]
"""What to do with judgments of documents that are not in the corpus."""

RepeatedJudgments = Literal["error", "highest"]
"""What to do with a document judged more than once for a query."""

Refuse = Callable[[int, str, str], None]
"""Takes a column of the judgments (0: query, 1: document), an id and a rule that it breaks; raises
an :class:`InputError` that names the line, if it can."""


class Query(NamedTuple):
    """One query as a source reads it.

    Parameters
    ----------
    text : str
        Never empty if it is judged.
    place : str
        Where it stands, as ``FILE:LINE``, for messages; may be empty.
    """

    text: str
    place: str = ""


def assemble(
    name: str,
    corpus: Corpus,
    queries: Mapping[str, Query],
    qrels: Qrels,
    *,
    origins: tuple[str, str, str],
    unknown_documents: UnknownDocuments = "error",
    refuse: Refuse = lambda _column, _id, _rule: None,
    facts: Mapping[str, Any] | None = None,
) -> Dataset:
    """Make a dataset of the judged queries.

    Parameters
    ----------
    name : str
        What tables call it.
    corpus : Corpus
        From :func:`retrieval_eval.datasets.corpus.keep_corpus`.
    queries : mapping of str to Query
        In the order of their file; those without judgments are left out, and counted.
    qrels : Qrels
        The judgments.
    origins : tuple of str
        What corpus, queries and judgments are called in messages: their files, mostly.
    unknown_documents : {'error', 'keep'}
        Kept ones count as relevant documents that no run can find.
    refuse : callable, optional
        Names the line of a judgment that breaks a rule.
    facts : mapping, optional
        What the source recorded.

    Raises
    ------
    InputError
        If a judgment names a query or document that is not there, or a judged query has no text.
    """
    corpus_name, queries_name, qrels_name = origins
    _refuse_unknown(
        qrels_name,
        [query for query in qrels.query_ids if query not in queries],
        f"query is not in {queries_name}",
        "",
        lambda one, rule: refuse(0, one, rule),
    )
    if unknown_documents == "error":
        judged_documents = Ids.of(qrels.document_ids).column.unique(maintain_order=True)
        unknown = judged_documents.filter(~judged_documents.is_in(corpus.ids.column.implode()))
        _refuse_unknown(
            qrels_name,
            unknown.to_list(),
            f"document is not in {corpus_name}",
            ": remove the line, or set unknown_documents: keep to count such documents as relevant "
            "but never found",
            lambda one, rule: refuse(1, one, rule),
        )
    asked = set(qrels.query_ids)
    judged = {query: found for query, found in queries.items() if query in asked}
    for query, found in judged.items():
        if not found.text.strip():
            where = found.place or queries_name
            raise InputError(f"{where}: the judged query {query!r} has no text")
    return Dataset(
        name=name,
        document_ids=corpus.ids,
        documents=corpus.texts,
        query_ids=tuple(judged),
        queries=tuple(found.text for found in judged.values()),
        qrels=qrels,
        attributes=corpus.attributes,
        facts={**(facts or {}), "queries_without_judgments": len(queries) - len(judged)},
        corpus_key=corpus.fingerprint,
    )


def judgments(frame: pl.DataFrame, repeated: RepeatedJudgments, what: str) -> Qrels:
    """Make qrels of a table in which a document may be judged more than once for a query.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns ``query_id``, ``doc_id`` and ``relevance``.
    repeated : {'error', 'highest'}
        Refuse such a document, or take its highest grade.
    what : str
        What the table is called in messages.

    Raises
    ------
    InputError
        If there is no judgment, or one is repeated or not as it should be.
    """
    if frame.is_empty():
        raise InputError(f"{what}: there is no judgment")
    pair = ["query_id", "doc_id"]
    if repeated == "highest":
        frame = frame.group_by(pair, maintain_order=True).agg(pl.col("relevance").max())
    again = frame.filter(~pl.struct(pair).is_first_distinct())
    if len(again):
        query, document, _ = again.row(0)
        raise InputError(
            f"{what}: query {query!r} judged document {document!r} more than once ({len(again)} "
            "judgments too many): set repeated_judgments: highest to take the highest grade"
        )
    try:
        return Qrels.from_frame(frame)
    except InputError as error:
        reason = re.sub("^data frame[,:] ", "", str(error))
        raise InputError(f"{what}: {reason}") from None


def _refuse_unknown(
    origin: str, unknown: list[str], rule: str, way_out: str, refuse: Callable[[str, str], None]
) -> None:
    if unknown:
        more = f" ({len(unknown)} ids in all)" if len(unknown) > 1 else ""
        message = f"{unknown[0]!r}: {rule}{more}{way_out}"
        refuse(unknown[0], message)
        raise InputError(f"{origin}: {message}")
