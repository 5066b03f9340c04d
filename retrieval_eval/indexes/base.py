"""The contract of an index: vectors in, hits out, search settings with every call."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits
from retrieval_eval.neighbours import METRICS, Metric
from retrieval_eval.parameters import NoParameters, make_parameters
from retrieval_eval.plugins import require
from retrieval_eval.store import seal, unseal
from retrieval_eval.timing import library_versions, thread_limit

__all__ = ["BoundSearch", "Index", "RawHits"]

RawHits = tuple[NDArray[Any], NDArray[Any]]
"""What a library returns: labels and scores or distances, each of shape (q, k)."""

BoundSearch = Callable[[NDArray[np.float32]], RawHits]
"""A search with all its settings bound; takes prepared queries, returns the library's arrays."""


_LARGEST_SEED = 2**31 - 2  # libraries hold it, or one more, in 32 bits with a sign
_LONGEST = float(np.finfo(np.float32).max)


class Index(ABC):
    """An index over vectors.

    A subclass sets the class attributes and implements the five methods with an underscore; this
    class checks input, normalises for cosine, pads results and guards saved files.

    Parameters
    ----------
    metric : {'cosine', 'ip', 'l2'}
        Cosine similarity, inner product, or Euclidean distance.
    seed : int
        Seed of whatever the library draws while building.
    threads : int or None
        Threads for building and searching; None leaves the libraries' own choice.
    **parameters
        Fields of the class's ``Build``; checked strictly.

    Attributes
    ----------
    name : str
        What the backend is called in a sweep file.
    Build, Search : type
        Frozen dataclasses of the parameters of building and of searching.
    metrics : tuple of str
        The metrics it serves.
    exact : bool
        Whether it returns the true neighbours, up to float32 rounding.
    requires : mapping of str to str
        Import name of each optional library, and the extra that installs it.
    distributions : tuple of str
        Distributions whose versions can change the result.
    """

    name: ClassVar[str]
    Build: ClassVar[type[Any]] = NoParameters
    Search: ClassVar[type[Any]] = NoParameters
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    exact: ClassVar[bool] = False
    requires: ClassVar[Mapping[str, str]] = {}
    distributions: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        metric: Metric = "cosine",
        seed: int = 0,
        threads: int | None = None,
        **parameters: Any,
    ) -> None:
        where = f"index {type(self).name!r}"
        if metric not in self.metrics:
            raise InputError(
                f"{where}: metric is {metric!r}: it must be one of {', '.join(self.metrics)}"
            )
        if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:
            raise InputError(
                f"{where}: seed is {seed!r}: it must be a whole number from 0 to {_LARGEST_SEED}"
            )
        self.metric: Metric = metric
        self.seed = seed
        self.threads = threads
        self.parameters: Any = make_parameters(self.Build, parameters, where)
        self.n = 0
        self.d = 0

    # -- what a backend implements -------------------------------------------------------------

    @abstractmethod
    def _build(self, vectors: NDArray[np.float32]) -> None:
        """Build from prepared vectors (C-contiguous, of unit length for cosine)."""

    @abstractmethod
    def _bind(self, k: int, search: Any) -> BoundSearch:
        """Return the library's search call with everything bound; k is at most n."""

    @abstractmethod
    def _similarities(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Turn the library's scores or distances into similarities: higher is better."""

    @abstractmethod
    def _save(self, folder: Path) -> None:
        """Write the index into an empty folder."""

    @abstractmethod
    def _load(self, folder: Path) -> None:
        """Read what :meth:`_save` wrote; ``n``, ``d`` and parameters are set already."""

    # -- what a user calls ---------------------------------------------------------------------

    @classmethod
    def check(cls, parameters: Any, n: int, d: int | None) -> None:
        """Refuse build parameters that cannot work for n vectors of dimension d.

        Called before any work; d is None where it is not known yet.

        Raises
        ------
        InputError
            Naming parameter, value, rule and way out.
        """

    @classmethod
    def note(cls, parameters: Any, search: Any, n: int, k: int) -> str | None:
        """Return what a reader must know of these settings, such as a value without effect."""
        return None

    def identity(self) -> dict[str, Any]:
        """Return, as plain values, all that decides the index beside the vectors."""
        return {
            "index": self.name,
            "metric": self.metric,
            "seed": self.seed,
            **asdict(self.parameters),
        }

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if a library it needs is not installed."""
        require(f"index {self.name!r}", self.requires)

    def build(self, vectors: NDArray[np.floating]) -> Self:
        """Build the index.

        Parameters
        ----------
        vectors : ndarray of float, shape (n, d)
            One row a document; converted to float32, never changed.

        Returns
        -------
        Index
            Itself, built.

        Raises
        ------
        InputError
            For an empty corpus, a wrong shape, NaN or infinity (naming the row), or parameters
            that cannot work for this shape.
        MissingExtraError
            If the library is not installed.
        """
        self.require()
        prepared, _ = self._prepare(vectors, "vectors")
        if not len(prepared):
            raise InputError(f"index {self.name!r}: there are no vectors to build from")
        n, d = prepared.shape
        self.check(self.parameters, n, d)
        self.n, self.d = n, d
        with thread_limit(self.threads):
            self._build(prepared)
        return self

    def prepare(self, queries: NDArray[np.floating]) -> NDArray[np.float32]:
        """Bring queries into the form that a bound search takes, outside any timed section."""
        return self._prepare_queries(queries)[0]

    def bind(self, k: int, **search: Any) -> BoundSearch:
        """Bind a search for timing: the call does nothing but the library's own work.

        Parameters
        ----------
        k : int
            Hits wanted; at most n are asked of the library.
        **search
            Fields of the class's ``Search``.

        Returns
        -------
        callable
            Takes what :meth:`prepare` returns.
        """
        self._require_built("searching")
        if k < 1:
            raise InputError(f"index {self.name!r}: k is {k}: it must be at least 1")
        settings = make_parameters(self.Search, search, f"index {self.name!r}, search")
        return self._bind(min(k, self.n), settings)

    def search(self, queries: NDArray[np.floating], k: int, **search: Any) -> Hits:
        """Find the k best documents of each query.

        Parameters
        ----------
        queries : ndarray of float, shape (q, d)
            Never changed.
        k : int
            Hits a query, at least 1; where fewer exist or are found, the rest is padding.
        **search
            Fields of the class's ``Search``; they hold for this call alone.

        Returns
        -------
        Hits
            Scores are cosines, inner products, or negative squared Euclidean distances. Documents
            of equal score come in the library's order. A zero query finds nothing under cosine.

        Raises
        ------
        InputError
            For an unbuilt index, a wrong shape, NaN or infinity, or an unknown setting.
        """
        call = self.bind(k, **search)
        prepared, zero = self._prepare_queries(queries)
        with thread_limit(self.threads):
            labels, raw = call(prepared)
        ids = np.full((len(prepared), k), -1, dtype=np.int64)
        scores = np.full((len(prepared), k), -np.inf, dtype=np.float32)
        width = labels.shape[1]
        ids[:, :width] = labels
        scores[:, :width] = self._similarities(raw)
        if zero is not None:
            ids[zero] = -1
        scores[ids < 0] = -np.inf
        return Hits(ids, scores)

    def save(self, folder: str | Path) -> None:
        """Write the built index, and the checksums that :meth:`load` verifies.

        Parameters
        ----------
        folder : str or Path
            Made if missing; must be empty.
        """
        self._require_built("saving")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder}: is not empty; save an index into a folder of its own")
        self._save(folder)
        seal(folder, self._facts())

    @classmethod
    def load(cls, folder: str | Path, *, threads: int | None = None) -> Self:
        """Read a saved index after checking every file against its checksum.

        Raises
        ------
        InputError
            If a file is missing or changed, or the folder holds another backend's index.
        """
        folder = Path(folder)
        facts, _ = unseal(folder)
        if facts.get("backend") != cls.name:
            raise InputError(f"{folder}: holds a {facts.get('backend')!r} index, not {cls.name!r}")
        return cls.restore(folder, facts, threads=threads)

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any], *, threads: int | None) -> Self:
        """Read an index from a folder whose files were verified already."""
        index = cls(
            metric=facts["metric"], seed=facts["seed"], threads=threads, **facts["parameters"]
        )
        index.require()
        index.n, index.d = int(facts["n"]), int(facts["d"])
        index._load(folder)
        return index

    def write_files(self, folder: Path) -> dict[str, Any]:
        """Write the files without checksums, for a store that seals them; return the facts."""
        self._save(folder)
        return self._facts()

    def size_bytes(self) -> int:
        """Size of the index as written to disk, in bytes."""
        self._require_built("asking for its size")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            self._save(folder)
            return sum(path.stat().st_size for path in folder.iterdir())

    # -- shared ground -------------------------------------------------------------------------

    def _require_built(self, doing: str) -> None:
        if self.n == 0:
            raise InputError(f"index {self.name!r}: build or load it before {doing}")

    def _facts(self) -> dict[str, Any]:
        return {
            "backend": self.name,
            "metric": self.metric,
            "seed": self.seed,
            "n": self.n,
            "d": self.d,
            "parameters": asdict(self.parameters),
            "versions": library_versions(*self.distributions),
        }

    def _prepare_queries(
        self, queries: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        prepared, zero = self._prepare(queries, "queries")
        if prepared.shape[1] != self.d:
            raise InputError(
                f"index {self.name!r}: queries have dimension {prepared.shape[1]}, "
                f"the index has {self.d}"
            )
        return prepared, zero

    def _prepare(
        self, vectors: NDArray[np.floating], what: str
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Convert and check; normalise for cosine. Also return which rows are zero, if any."""
        if vectors.ndim != 2:
            raise InputError(
                f"index {self.name!r}: {what} must have shape (n, d), got {vectors.shape}"
            )
        with np.errstate(over="ignore"):  # what overflows to infinity is refused below
            prepared = np.ascontiguousarray(vectors, dtype=np.float32)
        # One pass serves all checks: a square is NaN or infinite if any entry is.
        squares = np.einsum("nd,nd->n", prepared, prepared, dtype=np.float64)
        if not (squares <= _LONGEST).all():
            row = int(np.flatnonzero(~(squares <= _LONGEST))[0])
            rule = "is too long for float32: scale the vectors down"
            if not np.isfinite(vectors[row]).all():
                rule = "holds NaN or infinity"
            raise InputError(f"index {self.name!r}: row {row} of the {what} {rule}")
        if self.metric != "cosine":
            return prepared, None
        norms = np.sqrt(squares)
        zero = norms == 0
        any_zero = bool(zero.any())
        if any_zero:
            norms[zero] = 1.0
        return prepared / norms[:, None].astype(np.float32), zero if any_zero else None
