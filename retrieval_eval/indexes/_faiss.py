"""What the backends on faiss share. Importing this module does not import faiss."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes.base import BoundSearch, Filtering, Index
from retrieval_eval.indexes.selection import Selection

__all__ = [
    "FaissIndex",
    "check_centroids",
    "check_divides",
    "check_rotation",
    "few_points_note",
    "from_factory",
    "set_training",
]

_FILE = "index.faiss"
_POINTS_PER_CENTROID = 39
"""What faiss asks for at least (``ClusteringParameters.min_points_per_centroid``)."""


class FaissIndex(Index):
    """An index whose library is faiss; a subclass makes the faiss object and its settings.

    Settings and filters travel with each call as faiss' own search parameters, made for whatever
    chain of transforms, lists and refinements the object is.
    """

    filtering: Filtering = "native"
    memory_maps: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("faiss",)
    distributions: ClassVar[tuple[str, ...]] = ("faiss-cpu",)
    _faiss: Any = None

    @abstractmethod
    def _empty(self, d: int, metric: int) -> Any:
        """Make the untrained faiss index, seeds and build parameters set."""

    def _wanted(self, search: Any, k: int) -> dict[str, Any]:
        """Return the search parameters by the names that :func:`_search_parameters` knows."""
        return {}

    def _metric_type(self) -> int:
        import faiss

        return int(faiss.METRIC_L2 if self.metric == "l2" else faiss.METRIC_INNER_PRODUCT)

    def _train(self, vectors: NDArray[np.float32], queries: NDArray[np.float32] | None) -> bool:
        self._faiss = self._empty(vectors.shape[1], self._metric_type())
        if self._faiss.is_trained:
            return False
        self._faiss.train(vectors)
        return True

    def _build(self, vectors: NDArray[np.float32]) -> None:
        self._faiss.add(vectors)

    def _bind(self, k: int, search: Any) -> BoundSearch:
        return self._bound(k, search, None)

    def _bind_filtered(self, k: int, search: Any, selection: Selection) -> BoundSearch:
        import faiss

        bits = np.packbits(selection.mask, bitorder="little")
        return self._bound(k, search, faiss.IDSelectorBitmap(bits))

    def _bound(self, k: int, search: Any, selector: Any) -> BoundSearch:
        index = self._faiss
        settings = self._parameters_for(index, search, k, selector)

        def call(queries: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
            distances, labels = index.search(queries, k, params=settings)
            return labels, distances

        return call

    def _parameters_for(self, index: Any, search: Any, k: int, selector: Any) -> Any:
        """Make faiss' search parameters; refuse a setting that nothing in the chain uses."""
        wanted, settings = self._wanted(search, k), None
        if selector is not None or wanted:
            settings = _search_parameters(index, wanted, selector)
        if wanted:
            raise InputError(
                f"index {self.name!r}, search: {', '.join(wanted)} has no meaning for "
                f"{describe(index)}: leave it out"
            )
        return settings

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        return f"faiss {describe(self._faiss)}"

    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = -raw if self.metric == "l2" else raw
        return scores

    def _save(self, folder: Path) -> None:
        import faiss

        faiss.write_index(self._faiss, str(folder / _FILE))

    def _load(self, folder: Path) -> None:
        import faiss

        flags = faiss.IO_FLAG_MMAP_IFC if self.memory_mapped else 0
        self._faiss = faiss.read_index(str(folder / _FILE), flags)
        if (self._faiss.ntotal, self._faiss.d) != (self.n, self.d):
            raise InputError(
                f"{folder / _FILE}: holds {self._faiss.ntotal} x {self._faiss.d} vectors, "
                f"its manifest says {self.n} x {self.d}"
            )


def from_factory(name: str, d: int, text: str, metric: int) -> Any:
    """Make an index by faiss' factory, which kills the process where usearch was loaded first.

    Seen with faiss-cpu 1.15.1 and usearch 2.26.6, in either's C++ runtime; the other order is fine.

    Raises
    ------
    InputError
        Where usearch was imported before faiss, naming the way out.
    """
    import faiss

    loaded = list(sys.modules)
    if "usearch" in sys.modules and loaded.index("usearch") < loaded.index("faiss"):
        raise InputError(
            f"index {name!r}: usearch was imported before faiss, and faiss' factory would end the "
            "process: import faiss before usearch"
        )
    return faiss.index_factory(d, text, metric)


def describe(index: Any) -> str:
    """Name the classes of a chain of faiss indexes: ``IndexPreTransform(IndexIVFPQ)``."""
    import faiss

    index = faiss.downcast_index(index)
    inner = {"IndexPreTransform": "index", "IndexRefine": "base_index"}
    name = type(index).__name__
    attribute = inner.get(name.removesuffix("Flat"))
    return f"{name}({describe(getattr(index, attribute))})" if attribute else name


def _search_parameters(index: Any, wanted: dict[str, Any], selector: Any) -> Any:
    """Make faiss search parameters for a chain of indexes; what they use leaves `wanted`."""
    import faiss

    index = faiss.downcast_index(index)
    shared = {} if selector is None else {"sel": selector}

    def take(names: Mapping[str, str]) -> dict[str, Any]:
        return {theirs: wanted.pop(ours) for ours, theirs in names.items() if ours in wanted}

    if isinstance(index, faiss.IndexPreTransform):
        inner = _search_parameters(index.index, wanted, selector)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        own = take({"k_factor": "k_factor"})
        inner = _search_parameters(index.base_index, wanted, selector)
        return faiss.IndexRefineSearchParameters(**own, base_index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        codes = isinstance(index, faiss.IndexIVFRaBitQ | faiss.IndexIVFRaBitQFastScan)
        own = take({"nprobe": "nprobe", "query_bits": "qb"} if codes else {"nprobe": "nprobe"})
        if "quantizer_ef" in wanted and isinstance(index.quantizer, faiss.IndexHNSW):
            own["quantizer_params"] = faiss.SearchParametersHNSW(
                efSearch=wanted.pop("quantizer_ef")
            )
        made = faiss.IVFRaBitQSearchParameters if codes else faiss.SearchParametersIVF
        return made(**own, **shared)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(**take({"ef": "efSearch"}), **shared)
    if isinstance(index, faiss.IndexRaBitQ | faiss.IndexRaBitQFastScan):
        return faiss.RaBitQSearchParameters(**take({"query_bits": "qb"}), **shared)
    return faiss.SearchParameters(**shared) if shared else None


def check_centroids(name: str, parameter: str, value: int, centroids: int, n: int) -> None:
    """Refuse more centroids than vectors: k-means needs a point for each.

    faiss raises on fewer points than centroids, in words that name no parameter.
    """
    if centroids > n:
        needs = "" if centroids == value else f", which needs at least {centroids} vectors"
        raise InputError(
            f"index {name!r}: {parameter} is {value}{needs}, but there are only {n} vectors to "
            f"train on: lower {parameter}; faiss asks for {_POINTS_PER_CENTROID} vectors a centroid"
        )


def check_divides(name: str, m: int, d: int | None) -> None:
    """Refuse an m that does not divide the dimension, naming those that do."""
    if d is not None and d % m:
        divisors = [str(divisor) for divisor in range(1, d + 1) if d % divisor == 0]
        raise InputError(
            f"index {name!r}: m is {m}, which does not divide the dimension {d}: choose one of "
            f"{', '.join(divisors)}"
        )


def check_rotation(name: str, n: int, d: int | None) -> None:
    """Refuse to learn a rotation (OPQ) from fewer vectors than dimensions: faiss would abort."""
    if d is not None and n < d:
        raise InputError(
            f"index {name!r}: a rotation of {d} dimensions needs at least as many vectors to learn "
            f"from, and there are {n}: use an index without OPQ"
        )


def few_points_note(centroids: int, n: int) -> str | None:
    """Say that k-means had fewer points a centroid than faiss asks for."""
    if n >= centroids * _POINTS_PER_CENTROID:
        return None
    return (
        f"{n} vectors train {centroids} centroids: "
        f"faiss asks for {centroids * _POINTS_PER_CENTROID}"
    )


def set_training(owner: Any, seed: int) -> Any:
    """Seed every clustering of a chain of indexes, and its random levels; return what was given.

    faiss takes a clustering seed of 0 to be unset. Below 39 points a centroid it warns on stderr;
    the row's note says so instead. Its factory turns on an ordering of centroids for polysemous
    search, which takes ten times as long as the rest and serves no setting here: it is turned off.
    """
    import faiss

    index = faiss.downcast_index(owner)  # does not own what it points to
    if isinstance(index, faiss.IndexPreTransform):
        for place in range(index.chain.size()):
            step = faiss.downcast_VectorTransform(index.chain.at(place))
            if isinstance(step, faiss.OPQMatrix):
                quantiser = faiss.ProductQuantizer(step.d_out, step.M, 8)
                _seed_clustering(quantiser.cp, seed)
                step.pq = quantiser
        set_training(index.index, seed)
    elif isinstance(index, faiss.IndexRefine):
        set_training(index.base_index, seed)
        set_training(index.refine_index, seed)
    elif isinstance(index, faiss.IndexIVF):
        _seed_clustering(index.cp, seed)
        set_training(index.quantizer, seed)
    elif isinstance(index, faiss.IndexHNSW):
        index.hnsw.rng = faiss.RandomGenerator(seed)
        if not isinstance(index, faiss.IndexHNSWFlat):
            set_training(index.storage, seed)
    if hasattr(index, "pq"):
        _seed_clustering(index.pq.cp, seed)
    if hasattr(index, "do_polysemous_training"):
        index.do_polysemous_training = False
    return owner


def _seed_clustering(parameters: Any, seed: int) -> None:
    parameters.seed = seed + 1
    parameters.min_points_per_centroid = 1
