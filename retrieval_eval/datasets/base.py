"""What a dataset is: documents, queries, judgments; and the checks that every source shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.filters import as_attributes
from retrieval_eval.ids import Ids
from retrieval_eval.neighbours import Metric
from retrieval_eval.parameters import NoParameters, make_parameters
from retrieval_eval.plugins import require
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store, fold_digests
from retrieval_eval.vectorfiles import VectorRows

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Dataset", "DatasetSource", "DatasetVectors"]

_SEED = 20_240_229  # of the attribute `random`; any number, but always the same


@dataclass(frozen=True, eq=False)
class DatasetVectors:
    """Vectors that came with a dataset.

    Parameters
    ----------
    documents, queries : VectorRows
        One row for each document, and for each judged query.
    documents_key, queries_key : str
        Keys of their content.
    metric : {'cosine', 'ip', 'l2'} or None
        The metric that the judgments were made by, if they are true neighbours.
    """

    documents: VectorRows
    queries: VectorRows
    documents_key: str
    queries_key: str
    metric: Metric | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Texts and judgments.

    Parameters
    ----------
    name : str
        What it is called in tables.
    document_ids : sequence of str, length n
        Unique ids, kept as :class:`~retrieval_eval.ids.Ids`; row i of every matrix of document
        vectors belongs to ``document_ids[i]``.
    documents : sequence of str, length n
        Their texts; may be empty, and may lie on the disk (:class:`~retrieval_eval.texts.Texts`).
    query_ids : tuple of str, length q
        Unique ids of the judged queries.
    queries : sequence of str, length q
        Their texts; never empty, unless the dataset has vectors of its own.
    qrels : Qrels
        Judgments of exactly these queries.
    attributes : mapping of str to sequence of length n
        Values of each document to filter on, beside the two that every dataset has (see
        :meth:`attribute_table`); None where a document has none.
    facts : mapping
        What the source recorded: versions, checksums, what was left out. Goes into the manifest.
    vectors : DatasetVectors or None
        Vectors that came with the dataset; those of ann-benchmarks have no texts.
    corpus_key : str or None
        A key of ids, texts and their order, if the source knows one; else it is computed.
    """

    name: str
    document_ids: Sequence[str]
    documents: Sequence[str]
    query_ids: tuple[str, ...]
    queries: Sequence[str]
    qrels: Qrels
    attributes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    vectors: DatasetVectors | None = None
    corpus_key: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "document_ids", Ids.of(self.document_ids, "document id"))
        if not len(self.document_ids):
            raise InputError(f"dataset {self.name!r}: the corpus is empty")
        if not self.query_ids:
            raise InputError(f"dataset {self.name!r}: no query has a judgment")
        for what, ids, texts in (
            ("document", self.document_ids, self.documents),
            ("query", self.query_ids, self.queries),
        ):
            if len(ids) != len(texts):
                raise InputError(
                    f"dataset {self.name!r}: {len(ids)} {what} ids, {len(texts)} texts"
                )
            column = Ids.of(ids, f"{what} id")
            if column.repeated:
                raise InputError(
                    f"dataset {self.name!r}: {what} id {column[column.repeated[0]]!r} occurs twice"
                )
            odd = column.column.filter(column.column.str.contains(r"^$|[ \t\n\r\x0b\x0c]"))
            if len(odd):
                raise InputError(
                    f"dataset {self.name!r}: {what} id {odd[0]!r} is empty or holds white space, "
                    "which no run file can carry"
                )
        comment = next((i for i in self.query_ids if i.startswith("#")), None)
        if comment is not None:
            raise InputError(
                f"dataset {self.name!r}: query id {comment!r} starts with '#', which run files and "
                "qrels take for a comment"
            )
        for query_id, text in zip(self.query_ids, self.queries, strict=True):
            if not text.strip() and self.vectors is None:
                raise InputError(f"dataset {self.name!r}: query {query_id!r} has no text")
        if set(self.qrels.query_ids) != set(self.query_ids):
            raise InputError(f"dataset {self.name!r}: qrels and queries name different queries")

    @cached_property
    def corpus_fingerprint(self) -> str:
        """A key of the documents: ids, texts and their order; vectors, if there are any."""
        key = self.corpus_key or fold_digests(
            part for pair in zip(self.document_ids, self.documents, strict=True) for part in pair
        )
        return key if self.vectors is None else fold_digests([key, self.vectors.documents_key])

    @cached_property
    def queries_fingerprint(self) -> str:
        """A key of the queries: ids, texts and their order; vectors, if there are any."""
        key = fold_digests(
            part for pair in zip(self.query_ids, self.queries, strict=True) for part in pair
        )
        return key if self.vectors is None else fold_digests([key, self.vectors.queries_key])

    def attribute_table(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return attributes of the documents, as filters take them.

        Parameters
        ----------
        columns : sequence of str, optional
            Only these; all by default. Every dataset has ``characters`` (length of the text) and
            ``random`` (drawn evenly from 0 to 1 with a fixed seed, so that a range of it selects a
            share of the documents that has nothing to do with them).

        Raises
        ------
        InputError
            For an attribute that is not there (with a suggestion).
        """
        n = len(self.document_ids)
        made: dict[str, Callable[[], Any]] = {
            "characters": lambda: [len(text) for text in self.documents],
            "random": lambda: np.random.default_rng(_SEED).random(n),
        }
        known = [*made, *(name for name in self.attributes if name not in made)]
        for column in columns or ():
            if column not in known:
                raise unknown_name("attribute", column, known, f"dataset {self.name!r}")
        chosen = known if columns is None else columns
        found = {
            name: self.attributes[name] if name in self.attributes else made[name]()
            for name in chosen
        }
        return as_attributes(found, n)

    def summary(self) -> dict[str, Any]:
        """Return sizes and checksums, as plain values."""
        return {
            "name": self.name,
            "documents": len(self.document_ids),
            "queries": len(self.query_ids),
            "judgments": len(self.qrels),
            "corpus": self.corpus_fingerprint,
            "queries_checksum": self.queries_fingerprint,
            "qrels": self.qrels.fingerprint,
            **self.facts,
        }


class DatasetSource(ABC):
    """Loads a dataset.

    Parameters
    ----------
    **parameters
        Fields of the class's ``Parameters``; checked strictly.

    Attributes
    ----------
    name : str
        What the source is called in a sweep file or a card.
    Parameters : type
        Frozen dataclass of its parameters.
    requires : mapping of str to str
        Import name of each optional library, and the extra that installs it.
    """

    name: ClassVar[str]
    Parameters: ClassVar[type[Any]] = NoParameters
    requires: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **parameters: Any) -> None:
        self.parameters: Any = make_parameters(
            self.Parameters, parameters, f"dataset {type(self).name!r}"
        )

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if a library it needs is not installed."""
        require(f"dataset {self.name!r}", self.requires)

    @abstractmethod
    def load(self, name: str, store: Store) -> Dataset:
        """Load the dataset under the name that tables will show.

        Parameters
        ----------
        name : str
            What to call it.
        store : Store
            Where a source that has to make or fetch its data keeps it.
        """
