"""Files of ann-benchmarks: vectors, queries and true neighbours in one HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.neighbours import dataset_of_neighbours
from retrieval_eval.errors import InputError
from retrieval_eval.neighbours import Metric
from retrieval_eval.store import Store
from retrieval_eval.vectorfiles import open_vectors, read_neighbours
from retrieval_eval.vectorfiles.hdf5 import read_hdf5_attribute

__all__ = ["AnnBenchmarks", "AnnBenchmarksParameters"]

_METRICS: dict[str, Metric] = {
    "euclidean": "l2",
    "angular": "cosine",
    "cosine": "cosine",
    "dot": "ip",
    "ip": "ip",
}


@dataclass(frozen=True)
class AnnBenchmarksParameters:
    """Parameters of :class:`AnnBenchmarks`.

    Parameters
    ----------
    path : str
        The file, for instance ``glove-100-angular.hdf5``.
    relevant : int
        How many true neighbours of each query count as relevant.
    max_queries : int or None
        Only so many queries, from the first; all by default.
    metric : {'cosine', 'ip', 'l2'} or None
        By which the neighbours are nearest; needed only if the file does not say.
    """

    path: str
    relevant: Annotated[int, Ge(1)] = 10
    max_queries: Annotated[int, Ge(1)] | None = None
    metric: Metric | None = None


class AnnBenchmarks(DatasetSource):
    """A file in the layout of ann-benchmarks (Aumüller, Bernhardsson and Faithfull 2020).

    It holds ``train`` (the documents), ``test`` (the queries), ``neighbors`` (rows of ``train``)
    and the attribute ``distance``. There are no texts: encode it with ``precomputed``. Ids are row
    numbers.

    The judgments are true neighbours, so R@10 with ``relevant: 10`` is the neighbour recall that
    ann-benchmarks reports, except that it also accepts a document as near as the tenth neighbour.
    """

    name: ClassVar[str] = "ann-benchmarks"
    Parameters: ClassVar[type[Any]] = AnnBenchmarksParameters
    requires: ClassVar[Mapping[str, str]] = {"h5py": "hdf5"}

    def load(self, name: str, store: Store) -> Dataset:
        """Open the file; vectors are read when they are needed."""
        own = self.parameters
        path = Path(own.path)
        documents = open_vectors(path, name="train", format="hdf5")
        queries = open_vectors(path, name="test", format="hdf5")
        neighbours, _ = read_neighbours(path, format="hdf5")
        stated = read_hdf5_attribute(path, "distance")
        return dataset_of_neighbours(
            name,
            documents,
            queries,
            neighbours,
            where=f"{path}#neighbors",
            relevant=own.relevant,
            max_queries=own.max_queries,
            metric=_metric(path, stated, own.metric),
            facts={"distance": stated},
        )


def _metric(path: Path, stated: str | None, given: Metric | None) -> Metric:
    if stated is None:
        if given is None:
            raise InputError(
                f"{path}: has no attribute 'distance', so nothing says by which metric its "
                "neighbours are nearest: set metric to cosine, ip or l2"
            )
        return given
    if stated not in _METRICS:
        raise InputError(
            f"{path}: its neighbours are nearest by {stated!r}, which is no metric here; known are "
            f"{', '.join(sorted(_METRICS))}"
        )
    metric = _METRICS[stated]
    if given not in (None, metric):
        raise InputError(
            f"{path}: its neighbours are nearest by {stated!r}, which is {metric!r} here, but "
            f"metric is {given!r}: leave it out"
        )
    return metric
