"""An index repaired by what was learnt from judged queries: a map of queries, and new centroids."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._combinator import Combinator, CombinatorBuild
from retrieval_eval.indexes.base import BoundSearch, Index
from retrieval_eval.indexes.selection import RawHits, Selection
from retrieval_eval.neighbours import Metric

__all__ = ["ProductCodes", "Repair", "RepairedBuild", "RepairedIndex"]

_FILE = "repair.npz"


@dataclass(frozen=True, eq=False)
class ProductCodes:
    """The codes of an index of product quantisation, and what they stand for.

    The score of document i for a query q is the sum over sub-vectors j of the inner product of
    part j of ``rotation @ q + bias`` with ``centroids[j, codes[i, j]]``.

    Parameters
    ----------
    rotation : ndarray of float64, shape (p, d)
        What comes before the codes; the identity where nothing does.
    bias : ndarray of float64, shape (p,)
        What is added to it.
    centroids : ndarray of float32, shape (m, c, p / m)
        Of each sub-vector.
    codes : ndarray of uint16, shape (n, m)
        Of each document.
    """

    rotation: NDArray[np.float64]
    bias: NDArray[np.float64]
    centroids: NDArray[np.float32]
    codes: NDArray[np.uint16]

    @property
    def digest(self) -> str:
        """A key of the codes."""
        return hashlib.sha256(self.codes.tobytes()).hexdigest()

    @classmethod
    def of(cls, index: Index) -> ProductCodes:
        """Read them from a built index.

        Parameters
        ----------
        index : Index
            ``pq``, or ``faiss`` with a factory of linear maps before PQ, such as
            ``OPQ16_256,PQ16x8``.

        Raises
        ------
        InputError
            For any other index.
        """
        import faiss

        steps, quantised = _chain(index)
        quantiser = quantised.pq
        rotation, bias = np.eye(index.d), np.zeros(index.d)
        for step in steps:
            matrix = faiss.vector_to_array(step.A).reshape(step.d_out, step.d_in).astype(float)
            rotation, bias = matrix @ rotation, matrix @ bias
            if step.have_bias:
                bias = bias + faiss.vector_to_array(step.b)
        m, c = quantiser.M, quantiser.ksub
        packed = faiss.vector_to_array(quantised.codes).reshape(index.n, quantiser.code_size)
        return cls(
            rotation,
            bias,
            faiss.vector_to_array(quantiser.centroids).reshape(m, c, -1).copy(),
            faiss.unpack_bitstrings(packed, m, quantiser.nbits).astype(np.uint16),
        )


def _chain(index: Index) -> tuple[list[Any], Any]:
    """Return the linear maps of a faiss index, and the codes after them."""
    import faiss

    steps: list[Any] = []
    found = faiss.downcast_index(getattr(index, "_faiss", None))
    if isinstance(found, faiss.IndexPreTransform):
        steps = [
            faiss.downcast_VectorTransform(found.chain.at(place))
            for place in range(found.chain.size())
        ]
        found = faiss.downcast_index(found.index)
    if not isinstance(found, faiss.IndexPQ) or not all(
        isinstance(step, faiss.LinearTransform) for step in steps
    ):
        raise InputError(
            f"index {index.name!r}: centroids can be learnt for index 'pq', or for 'faiss' with a "
            "factory of linear maps before PQ, such as OPQ16_256,PQ16x8"
        )
    return steps, found


@dataclass(frozen=True, eq=False)
class Repair:
    """What was learnt from judged queries; see :func:`retrieval_eval.repair.learn_repair`.

    Parameters
    ----------
    query_map : ndarray of float32, shape (d, d)
        A query q is asked as ``query_map @ q``.
    centroids : ndarray of float32, shape (m, c, s), or None
        Of product quantisation; None leaves those of the index.
    codes_digest : str
        Key of the codes that the centroids belong to; empty without centroids.
    facts : mapping
        How it was learnt, as plain values.
    """

    query_map: NDArray[np.float32]
    centroids: NDArray[np.float32] | None = None
    codes_digest: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A key of what is changed, whatever the facts."""
        key = hashlib.sha256(self.query_map.tobytes())
        if self.centroids is not None:
            key.update(self.codes_digest.encode() + self.centroids.tobytes())
        return key.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write it as an ``.npz`` file."""
        text = json.dumps({"codes_digest": self.codes_digest, "facts": dict(self.facts)})
        parts: dict[str, Any] = {"query_map": self.query_map, "text": np.array(text)}
        if self.centroids is not None:
            parts["centroids"] = self.centroids
        with Path(path).open("wb") as stream:
            np.savez(stream, **parts)

    @classmethod
    def load(cls, path: str | Path) -> Repair:
        """Read what :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing, or is none of these.
        """
        try:
            with np.load(path, allow_pickle=False) as parts:
                text = json.loads(str(parts["text"]))
                named = dict(parts)  # a lazy mapping, and reading twice costs twice
                return cls(
                    named["query_map"],
                    named.get("centroids"),
                    text["codes_digest"],
                    text["facts"],
                )
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such file") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: is no file of a repair: {error}") from None


@dataclass(frozen=True)
class RepairedBuild(CombinatorBuild):
    """Build parameters of :class:`RepairedIndex`.

    Parameters
    ----------
    index : str or mapping
        The inner index. Centroids belong to its codes, so it must be the one that they were learnt
        for: the same documents, parameters and seed.
    file : str or None
        What :meth:`Repair.save` wrote; None where :meth:`RepairedIndex.around` is given it.
    """

    file: str | None = None


class RepairedIndex(Combinator):
    """Asks mapped queries of an inner index, whose centroids may have been learnt again.

    Documents keep their codes, so nothing is encoded anew (Zhan et al. 2021). A map alone goes
    around any index. Scores are inner products with the mapped query, which is not brought to unit
    length.
    """

    name: ClassVar[str] = "repaired"
    Build: ClassVar[type[Any]] = RepairedBuild
    metrics: ClassVar[tuple[Metric, ...]] = ("cosine", "ip")
    _repair: Repair | None = None
    _to_queries: Any = None

    @classmethod
    def around(cls, index: Index, repair: Repair) -> RepairedIndex:
        """Repair an index that is built already; it stays as it is.

        Parameters
        ----------
        index : Index
            Built, for cosine or inner products.
        repair : Repair
            Learnt for it.

        Raises
        ------
        InputError
            If the two do not fit.
        """
        entry = {index.name: asdict(index.parameters)}
        made = cls(metric=index.metric, seed=index.seed, threads=index.threads, index=entry)
        with tempfile.TemporaryDirectory(prefix="retrieval-eval-") as scratch:
            facts = index.write_files(Path(scratch))
            made.inner = type(index).restore(Path(scratch), facts, threads=index.threads)
        made.n, made.d, made.attributes = index.n, index.d, index.attributes
        made.filtering = made.inner.filtering
        made._load_libraries()
        made.put(repair)
        return made

    def put(self, repair: Repair) -> None:
        """Put a repair in place of the one before; without centroids, those there stay.

        Raises
        ------
        InputError
            If it does not fit the index.
        """
        self._check_shape(repair, self.d)
        if repair.centroids is not None:
            self._put_centroids(repair)
        self._repair, self._last = repair, None
        self._to_queries = np.ascontiguousarray(repair.query_map.T)

    def _put_centroids(self, repair: Repair) -> None:
        import faiss

        _, quantised = _chain(self.inner)
        known = self._repair is not None and self._repair.codes_digest == repair.codes_digest
        if not known and ProductCodes.of(self.inner).digest != repair.codes_digest:
            raise InputError(
                f"index {self.name!r}: the centroids were learnt for other codes: build the inner "
                "index from the same documents, with the same parameters, seed and library"
            )
        centroids = np.ascontiguousarray(repair.centroids, dtype=np.float32)
        if centroids.size != quantised.pq.centroids.size():
            raise InputError(
                f"index {self.name!r}: centroids of shape {centroids.shape} do not fit"
            )
        faiss.copy_array_to_vector(centroids.ravel(), quantised.pq.centroids)

    def _check_shape(self, repair: Repair, d: int) -> None:
        if repair.query_map.shape != (d, d):
            raise InputError(
                f"index {self.name!r}: the map of queries has shape {repair.query_map.shape}, "
                f"for dimension {d} it must be {(d, d)}"
            )

    def _read(self) -> Repair:
        if self.parameters.file is None:
            raise InputError(
                f"index {self.name!r}: names no file: learn a repair, save it, and set file"
            )
        return Repair.load(self.parameters.file)

    def identity(self) -> dict[str, Any]:
        """Return what decides the index, the content of the repair included."""
        repair = self._repair or self._read()
        return {**super().identity(), "file": None, "repair": repair.digest}

    def check(self, n: int, d: int | None) -> None:
        """Refuse a map of another dimension."""
        super().check(n, d)
        if d is not None:
            self._check_shape(self._read(), d)

    def check_sweep(self, search: Any, n: int, d: int) -> None:
        """Refuse an unreadable file, and what the inner index refuses."""
        self._check_shape(self._read(), d)
        super().check_sweep(search, n, d)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        self.inner.build(vectors, attributes=self.attributes, queries=self._examples)
        self._repair = None  # of the build before
        self.put(self._read())

    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        call, to_queries = self._bind_inner(self.inner, k, search, selection), self._to_queries

        def mapped(queries: NDArray[np.float32]) -> RawHits:
            return call(queries @ to_queries)

        return mapped

    def _save(self, folder: Path) -> None:
        super()._save(folder)
        (self._repair or self._read()).save(folder / _FILE)

    def _load(self, folder: Path) -> None:
        super()._load(folder)
        self._repair = Repair.load(folder / _FILE)
        self._to_queries = np.ascontiguousarray(self._repair.query_map.T)

    def size_bytes(self) -> int:
        """Size of the inner index and of the map, in bytes."""
        return int(self.inner.size_bytes() + self._to_queries.nbytes)
