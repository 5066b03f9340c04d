"""The contract of an index: vectors in, hits out, search settings with every call."""

from __future__ import annotations

import importlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.filters import Filter, as_attributes
from retrieval_eval.hits import Hits
from retrieval_eval.indexes.selection import (
    BoundSearch,
    RawHits,
    Selection,
    finds_nothing,
    post_filtered,
)
from retrieval_eval.neighbours import METRICS, Metric
from retrieval_eval.parameters import NoParameters, make_parameters
from retrieval_eval.plugins import require
from retrieval_eval.store import seal, unseal
from retrieval_eval.timing import ThreadLimit, library_versions

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array

__all__ = ["BoundSearch", "Filtering", "Index", "RawHits", "Selection", "Vectors", "Where"]

Filtering = Literal["native", "pre", "post"]
"""Who filters: the library as it searches, an exact scan of what passes, or we after it."""

Where = Filter | Mapping[str, Any] | NDArray[np.bool_]
"""A filter on attributes, as an object or as in a sweep file, or a mask of rows."""

Vectors: TypeAlias = "NDArray[np.floating] | csr_array"
"""What an index is built from and asked with: dense rows, or sparse ones where it takes these."""

_ATTRIBUTES = "attributes.parquet"
_LARGEST_SEED = 2**31 - 2  # libraries hold it, or one more, in 32 bits with a sign
_LONGEST = float(np.finfo(np.float32).max)


class Index(ABC):
    """An index over vectors.

    A subclass sets the class attributes and implements the five abstract methods; this class checks
    input, normalises for cosine, filters where the library cannot, pads results, limits threads
    and guards saved files.

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
    takes : {'dense', 'sparse'}
        Whether vectors are arrays, or rows of a ``scipy.sparse.csr_array``.
    exact : bool
        Whether it returns the true neighbours, up to float32 rounding.
    filtering : {'native', 'pre', 'post'}
        Who applies a filter: the library while it searches, an exact scan of what passes, or this
        class, which asks the library for more hits until enough of them pass.
    seeded : bool
        Whether another seed (or, with more than one thread, another run) builds another index.
    memory_maps : bool
        Whether :meth:`load` can leave the vectors in the file.
    in_process : bool
        Whether the index lies in this process, so that its memory says something.
    stored : str
        Element type in which vectors are kept.
    requires : mapping of str to str
        Import name of each optional library, and the extra that installs it.
    libraries : tuple of str
        Import names of further libraries that do the work, so that they are loaded before threads
        are limited.
    distributions : tuple of str
        Distributions whose versions can change the result.
    train_s, build_s : float or None
        Seconds that the last :meth:`build` took for training, and altogether; None where nothing
        was trained, or the index was loaded.
    """

    name: ClassVar[str]
    Build: ClassVar[type[Any]] = NoParameters
    Search: ClassVar[type[Any]] = NoParameters
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    takes: ClassVar[Literal["dense", "sparse"]] = "dense"
    exact: ClassVar[bool] = False
    filtering: Filtering = "post"
    seeded: bool = True
    memory_maps: ClassVar[bool] = False
    in_process: bool = True
    stored: str = "float32"
    requires: ClassVar[Mapping[str, str]] = {}
    libraries: ClassVar[tuple[str, ...]] = ()
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
        if threads is not None and type(threads) is not int:
            raise InputError(f"{where}: threads is {threads!r}: it must be a whole number or None")
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
        self.attributes: pl.DataFrame | None = None
        self.memory_mapped = False
        self.train_s: float | None = None
        self.build_s: float | None = None
        self.search_defaults: Mapping[str, Any] = {}
        self._limit = ThreadLimit(None)
        self._last: tuple[str, BoundSearch] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.n:
            raise TypeError(
                "a built index cannot be pickled: save it, and load it where it is used"
            )
        settings = {"metric": self.metric, "seed": self.seed, "threads": self.threads}
        return _made, (type(self), {**settings, **asdict(self.parameters)})

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

    # -- what a backend may implement ------------------------------------------------------------

    def _train(self, vectors: NDArray[np.float32], queries: NDArray[np.float32] | None) -> bool:
        """Learn from prepared vectors, before :meth:`_build`; return whether anything was learnt.

        `queries` are examples to learn from, where the caller has some; never those it evaluates.
        """
        return False

    def _bind_filtered(self, k: int, search: Any, selection: Selection) -> BoundSearch:
        """Return a search of which every hit passes; for a class whose `filtering` is not 'post'.

        k is at most the number of documents that pass, and there is at least one.
        """
        raise NotImplementedError(
            f"{type(self).__name__}.filtering is {self.filtering!r}, so it must have _bind_filtered"
        )

    def _served_by(self, k: int, search: Any, selection: Selection | None) -> str:
        """Say what serves a query: ask the library where it may choose."""
        return type(self).__name__

    # -- what a user calls ---------------------------------------------------------------------

    def check(self, n: int, d: int | None) -> None:
        """Refuse build parameters that cannot work for n vectors of dimension d.

        Called before any work; d is None where it is not known yet.

        Raises
        ------
        InputError
            Naming parameter, value, rule and way out.
        """

    def settings(self, search: Mapping[str, Any]) -> Any:
        """Check search parameters, and fill in the defaults.

        Returns
        -------
        object
            An instance of the class's ``Search``.

        Raises
        ------
        InputError
            For an unknown parameter (with a suggestion), a wrong type, or a value out of range.
        """
        given = {**self.search_defaults, **search}
        return make_parameters(self.Search, given, f"index {self.name!r}, search")

    def check_sweep(self, search: Any, n: int, d: int) -> None:
        """Refuse what cannot work in a sweep, before any index of it is built.

        Raises
        ------
        InputError
            For settings without meaning for these build parameters, or something that only
            :meth:`build` could be given.
        """

    def attribute_columns(self) -> list[str]:
        """Name the attributes of documents that building needs."""
        return []

    def note(self, search: Any, n: int, k: int) -> str | None:
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

    def classes(self) -> tuple[type[Index], ...]:
        """Return its class, and those of indexes inside it."""
        return (type(self),)

    def versions(self) -> dict[str, str]:
        """Return the versions of the libraries that can change the result."""
        return library_versions(*self.distributions)

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if a library it needs is not installed."""
        require(f"index {self.name!r}", self.requires)

    def build(
        self,
        vectors: Vectors,
        *,
        attributes: Mapping[str, Any] | pl.DataFrame | None = None,
        queries: Vectors | None = None,
    ) -> Self:
        """Build the index.

        Parameters
        ----------
        vectors : ndarray of float or csr_array, shape (n, d)
            One row a document, in the form that it `takes`; converted to float32, never changed.
        attributes : mapping of str to sequence, or polars.DataFrame, optional
            Values of n documents to filter on; see :func:`retrieval_eval.filters.as_attributes`.
        queries : ndarray of float or csr_array, shape (q, d), optional
            Examples of queries, for an index that learns from them. Not those that are evaluated.

        Returns
        -------
        Index
            Itself, built.

        Raises
        ------
        InputError
            For an empty corpus, a wrong form or shape, NaN or infinity (naming the row), or
            parameters that cannot work for this shape.
        MissingExtraError
            If the library is not installed.
        """
        self.require()
        prepared, _ = self._prepare(vectors, "vectors")
        if not prepared.shape[0]:
            raise InputError(f"index {self.name!r}: there are no vectors to build from")
        n, d = prepared.shape
        self.check(n, d)
        examples = None
        if queries is not None:
            examples, _ = self._prepare(queries, "example queries")
            if examples.shape[1] != d:
                raise InputError(
                    f"index {self.name!r}: example queries have dimension {examples.shape[1]}, "
                    f"the vectors {d}"
                )
        self.attributes = None if attributes is None else as_attributes(attributes, n)
        self.n, self.d = n, d
        self._last = None
        self._load_libraries()
        try:
            with self._limit:
                start = perf_counter()
                learnt = self._train(prepared, examples)
                trained = perf_counter()
                self._build(prepared)
                done = perf_counter()
        except BaseException:
            self.n = 0  # half of an index must not answer
            raise
        self.train_s = trained - start if learnt else None
        self.build_s = done - start
        return self

    def prepare(self, queries: Vectors) -> Any:
        """Bring queries into the form that a bound search takes, outside any timed section."""
        return self._prepare_queries(queries)[0]

    def bind(self, k: int, *, where: Where | None = None, **search: Any) -> BoundSearch:
        """Bind a search for timing: the call does nothing but the library's own work.

        Parameters
        ----------
        k : int
            Hits wanted; at most n, or as many as pass the filter, are asked of the library.
        where : Filter, mapping, or ndarray of bool of shape (n,), optional
            Which documents may be found.
        **search
            Fields of the class's ``Search``.

        Returns
        -------
        callable
            Takes what :meth:`prepare` returns.
        """
        selection = self._check_search(k, where)
        return self._bind_selected(int(k), self.settings(search), selection)

    def search(
        self, queries: Vectors, k: int, *, where: Where | None = None, **search: Any
    ) -> Hits:
        """Find the k best documents of each query.

        Parameters
        ----------
        queries : ndarray of float or csr_array, shape (q, d)
            In the form that the index `takes`; never changed.
        k : int
            Hits a query, at least 1; where fewer exist or are found, the rest is padding.
        where : Filter, mapping, or ndarray of bool of shape (n,), optional
            Which documents may be found; one that lets nothing pass finds nothing.
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
            For an unbuilt index, a wrong form or shape, NaN or infinity, an unknown setting, or a
            filter on attributes that the index does not have.
        """
        if where is None:
            call = self._bound_before(k, search)
        else:
            call = self.bind(k, where=where, **search)
        prepared, zero = self._prepare_queries(queries)
        with self._limit:
            labels, raw = call(prepared)
        ids = labels.astype(np.int64, copy=False)
        scores = self._similarities(raw).astype(np.float32, copy=False)
        if ids.shape[1] < k:
            missing = ((0, 0), (0, k - ids.shape[1]))
            ids = np.pad(ids, missing, constant_values=-1)
            scores = np.pad(scores, missing, constant_values=-np.inf)
        if zero is not None:
            ids = np.where(zero[:, None], -1, ids)
        padding = ids < 0
        if padding.any():
            scores = np.where(padding, np.float32(-np.inf), scores)
        return Hits(ids, scores)

    def _bound_before(self, k: int, search: Mapping[str, Any]) -> BoundSearch:
        """Return the search last bound if this is the same one: checking settings takes a while."""
        # As text: a caller may change a mapping inside, and 1 equals 1.0 but is another type.
        key = f"{k!r} {search!r}"
        if self._last is None or self._last[0] != key:
            self._last = (key, self.bind(k, **search))
        return self._last[1]

    def served_by(self, k: int, *, where: Where | None = None, **search: Any) -> str:
        """Say what serves such a query, in the library's own words where it can choose.

        A database may answer by its index or by a scan; this asks it. The words tell an exact scan
        from an approximate index.
        """
        selection = self._check_search(k, where)
        return self._served_by(k, self.settings(search), selection)

    def close(self) -> None:
        """Let go of connections and files; build the index again to search it after that."""
        self._last = None
        self.n = 0

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
        seal(folder, self.write_files(folder))

    @classmethod
    def load(
        cls, folder: str | Path, *, threads: int | None = None, memory_map: bool = False
    ) -> Self:
        """Read a saved index after checking every file against its checksum.

        Parameters
        ----------
        folder : str or Path
            What :meth:`save` wrote.
        threads : int, optional
            Threads for searching.
        memory_map : bool
            Leave the vectors in the file, and let the system read what a search touches.

        Raises
        ------
        InputError
            If a file is missing or changed, the folder holds another backend's index, or this
            backend cannot map its file.
        """
        folder = Path(folder)
        facts, _ = unseal(folder)
        if facts.get("backend") != cls.name:
            raise InputError(f"{folder}: holds a {facts.get('backend')!r} index, not {cls.name!r}")
        return cls.restore(folder, facts, threads=threads, memory_map=memory_map)

    @classmethod
    def restore(
        cls,
        folder: Path,
        facts: Mapping[str, Any],
        *,
        threads: int | None,
        memory_map: bool = False,
    ) -> Self:
        """Read an index from a folder whose files were verified already."""
        index = cls(
            metric=facts["metric"], seed=facts["seed"], threads=threads, **facts["parameters"]
        )
        index.require()
        if memory_map and not index.memory_maps:
            raise InputError(
                f"index {cls.name!r} cannot be memory-mapped: its library reads the whole file"
            )
        index.memory_mapped = memory_map
        index.search_defaults = facts.get("search_defaults", {})
        index.n, index.d = int(facts["n"]), int(facts["d"])
        if (folder / _ATTRIBUTES).is_file():
            import polars as pl

            index.attributes = pl.read_parquet(folder / _ATTRIBUTES)
        index._load_libraries()
        index._load(folder)
        return index

    @classmethod
    def intact(cls, folder: Path, facts: Mapping[str, Any]) -> bool:
        """Whether what verified files point to, such as a table of a server, is still there."""
        return True

    def write_files(self, folder: Path) -> dict[str, Any]:
        """Write the files without checksums, for a store that seals them; return the facts."""
        self._require_built("saving")
        self._save(folder)
        if self.attributes is not None:
            self.attributes.write_parquet(folder / _ATTRIBUTES)
        return self._facts()

    def size_bytes(self) -> int:
        """Size of the index in bytes: as written to disk, or as its server says."""
        self._require_built("asking for its size")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            self._save(folder)
            return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    # -- shared ground -------------------------------------------------------------------------

    def _load_libraries(self) -> None:
        """Load the libraries first: a limit reaches only the thread pools that are there."""
        for library in (*self.libraries, *self.requires):
            importlib.import_module(library)
        self._limit = ThreadLimit(self.threads)

    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        """Bind a search for at most k of the documents that may be found."""
        if selection is None:
            return self._bind(min(k, self.n), search)
        if not selection.matches:
            return finds_nothing
        k = min(k, selection.matches)
        if self.filtering == "post":
            return post_filtered(lambda wanted: self._bind(wanted, search), selection, k)
        return self._bind_filtered(k, search, selection)

    def _check_search(self, k: int, where: Where | None) -> Selection | None:
        self._require_built("searching")
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(
                f"index {self.name!r}: k is {k!r}: it must be a whole number, at least 1"
            )
        if where is None:
            return None
        if isinstance(where, Mapping):
            where = Filter.parse(where)
        if isinstance(where, Filter):
            if self.attributes is None:
                raise InputError(
                    f"index {self.name!r}: filter '{where}' needs attributes: give them to build()"
                )
            mask = where.mask(self.attributes)
            return Selection(mask, int(mask.sum()), where)
        where = np.asarray(where)
        if where.dtype != np.bool_ or where.shape != (self.n,):
            raise InputError(
                f"index {self.name!r}: a mask must be bool of shape ({self.n},), got "
                f"{where.dtype} of shape {where.shape}"
            )
        return Selection(where, int(where.sum()), None)

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
            "stored": self.stored,
            "parameters": asdict(self.parameters),
            "search_defaults": dict(self.search_defaults),
            "versions": self.versions(),
        }

    def _prepare_queries(self, queries: Vectors) -> tuple[Any, NDArray[np.bool_] | None]:
        prepared, zero = self._prepare(queries, "queries")
        if prepared.shape[1] != self.d:
            raise InputError(
                f"index {self.name!r}: queries have dimension {prepared.shape[1]}, "
                f"the index has {self.d}"
            )
        return prepared, zero

    def _prepare(self, given: Vectors, what: str) -> tuple[Any, NDArray[np.bool_] | None]:
        """Convert and check; normalise for cosine. Also return which rows are zero, if any."""
        if hasattr(given, "tocsr"):  # what all of scipy's sparse forms have, and no array
            raise InputError(
                f"index {self.name!r} takes dense vectors, but the {what} are sparse, of shape "
                f"{given.shape}: use an index for sparse vectors, such as 'sparse'"
            )
        vectors = np.asarray(given)
        if vectors.dtype.kind not in "fiu":
            raise InputError(f"index {self.name!r}: {what} must be numbers, got {vectors.dtype}")
        if vectors.ndim != 2:
            raise InputError(
                f"index {self.name!r}: {what} must have shape (n, d), got {vectors.shape}"
            )
        if vectors.dtype == np.float32:
            prepared = np.ascontiguousarray(vectors)
        else:
            with np.errstate(over="ignore"):  # what overflows to infinity is refused below
                prepared = np.ascontiguousarray(vectors, dtype=np.float32)
        # The sum of squares is NaN or infinite if any entry is, and finite if nothing is wrong.
        if self.metric != "cosine" and np.isfinite(np.vdot(prepared, prepared)):
            return prepared, None
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


def _made(cls: type[Index], settings: Mapping[str, Any]) -> Index:
    """Construct an index again, in another process."""
    return cls(**settings)
