"""Vectors, queries and true neighbours in three files: big-ann-benchmarks, TEXMEX, your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.neighbours import dataset_of_neighbours
from retrieval_eval.neighbours import Metric
from retrieval_eval.plugins import require
from retrieval_eval.store import Store
from retrieval_eval.vectorfiles import (
    REQUIRES,
    format_of,
    open_vectors,
    read_neighbours,
    split_name,
)

__all__ = ["BigAnn", "BigAnnParameters"]


@dataclass(frozen=True)
class BigAnnParameters:
    """Parameters of :class:`BigAnn`.

    Parameters
    ----------
    documents : str
        The base vectors, for instance ``base.10M.fbin`` or ``sift_base.fvecs``; or ``FILE#NAME``.
    queries : str
        The query vectors, likewise.
    neighbours : str
        The true neighbours: ids and distances as big-ann-benchmarks publishes them, ``.ivecs``,
        ``.ibin``, ``.npy``, or ``FILE#NAME`` in an HDF5 file.
    metric : {'cosine', 'ip', 'l2'}
        By which they are nearest; the files do not say.
    relevant : int
        How many true neighbours of each query count as relevant.
    max_queries : int or None
        Only so many queries, from the first; all by default.
    """

    documents: str
    queries: str
    neighbours: str
    metric: Metric
    relevant: Annotated[int, Ge(1)] = 10
    max_queries: Annotated[int, Ge(1)] | None = None


class BigAnn(DatasetSource):
    """Files as big-ann-benchmarks (Simhadri et al. 2022) and TEXMEX publish them.

    Vectors and neighbours may be in any format that :mod:`retrieval_eval.vectorfiles` reads. There
    are no texts: encode it with ``precomputed``. Ids are row numbers.

    The judgments are true neighbours, so R@10 with ``relevant: 10`` is neighbour recall, up to
    ties: a document as near as the tenth neighbour that the file does not list counts as wrong.
    A part of the documents cannot be taken, since its neighbours would be others.
    """

    name: ClassVar[str] = "big-ann"
    Parameters: ClassVar[type[Any]] = BigAnnParameters

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if a format needs a library that is not installed."""
        own = self.parameters
        for text in (own.documents, own.queries, own.neighbours):
            needed = REQUIRES.get(format_of(split_name(text)[0]) or "", {})
            require(f"dataset {self.name!r}", needed)

    def load(self, name: str, store: Store) -> Dataset:
        """Open the files; vectors are read when they are needed."""
        own = self.parameters
        neighbours, _ = read_neighbours(own.neighbours)
        return dataset_of_neighbours(
            name,
            open_vectors(own.documents),
            open_vectors(own.queries),
            neighbours,
            where=own.neighbours,
            relevant=own.relevant,
            max_queries=own.max_queries,
            metric=own.metric,
            facts={},
        )
