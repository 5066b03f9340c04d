"""Fewer dimensions before another index: by principal components, or with a view to the queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._combinator import Combinator, CombinatorBuild
from retrieval_eval.indexes.base import BoundSearch
from retrieval_eval.indexes.selection import RawHits, Selection
from retrieval_eval.neighbours import Metric
from retrieval_eval.store import file_digest

__all__ = ["ProjectBuild", "ProjectIndex", "learn_projections", "projection_loss"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ProjectBuild(CombinatorBuild):
    """Build parameters of :class:`ProjectIndex`.

    Parameters
    ----------
    index : str or mapping
        The inner index.
    d : int
        Dimensions to keep; at most those of the vectors.
    method : {'pca', 'leanvec'}
        Principal components of the documents, or the pair of projections that keeps inner products
        with queries best.
    queries : str or None
        A ``.npy`` file of example queries, shape (q, dimension), by the same encoder; not those
        that are evaluated. 'leanvec' needs them, here or in :meth:`ProjectIndex.build`.
    """

    d: Annotated[int, Ge(1)] = 128
    method: Literal["pca", "leanvec"] = "pca"
    queries: str | None = None


def learn_projections(
    documents: NDArray[np.float32], queries: NDArray[np.float32] | None, d: int, *, centred: bool
) -> tuple[Array, Array]:
    """Find projections A of queries and B of documents that keep inner products.

    They minimise ``|Q (A^T B - I) X^T|_F`` (the loss of LeanVec, Tepper et al. 2023) in closed
    form: with ``W = (Q^T Q)^(1/2)`` and P the first d left singular vectors of ``W X^T``,
    ``A = P^T W^-1`` and ``B = P^T W``. Without queries, W is the identity: principal components.

    Parameters
    ----------
    documents : ndarray of float32, shape (n, D)
        X.
    queries : ndarray of float32, shape (q, D), or None
        Q.
    d : int
        Dimensions to keep, at most D.
    centred : bool
        Take the documents' mean off first, which changes no distance.

    Returns
    -------
    A, B : ndarray of float64, shape (d, D)
        The projections.
    """
    gram = np.zeros((documents.shape[1],) * 2)
    mean = documents.mean(axis=0, dtype=np.float64) if centred else 0.0
    for start in range(0, len(documents), 2**14):  # float64, in blocks
        block = documents[start : start + 2**14].astype(np.float64) - mean
        gram += block.T @ block
    if queries is None:
        top = np.linalg.eigh(gram)[1][:, ::-1][:, :d].T
        return top, top
    asked = queries.astype(np.float64)
    values, vectors = np.linalg.eigh(asked.T @ asked)
    roots = np.sqrt(np.maximum(values, 0.0))
    roots[roots < roots.max() * 1e-7] = 0.0  # directions that no example query has
    inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
    root = (vectors * roots) @ vectors.T
    top = np.linalg.eigh(root @ gram @ root)[1][:, ::-1][:, :d].T
    return top @ ((vectors * inverse) @ vectors.T), top @ root


def projection_loss(
    documents: NDArray[np.float32], queries: NDArray[np.float32], to_queries: Array, to_docs: Array
) -> float:
    """Return the share of ``|Q X^T|_F^2`` that projections lose, from 0 to 1."""
    exact = queries.astype(np.float64) @ documents.astype(np.float64).T
    kept = (queries @ to_queries.T) @ (documents @ to_docs.T).T
    return float(np.sum((kept - exact) ** 2) / np.sum(exact**2))


class ProjectIndex(Combinator):
    """Searches an inner index of vectors cut to fewer dimensions.

    Scores are those of the cut vectors; around it, ``refine`` ranks by the whole ones. 'leanvec'
    keeps inner products, so it serves cosine and ip.
    """

    name: ClassVar[str] = "project"
    Build: ClassVar[type[Any]] = ProjectBuild
    _to_queries: Any = None
    _to_documents: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.stored = f"{self.inner.stored}, {self.parameters.d} dimensions"
        if self.parameters.method == "leanvec" and self.metric == "l2":
            raise InputError(
                f"index {self.name!r}: method 'leanvec' keeps inner products, not distances: "
                "choose metric cosine or ip, or method 'pca'"
            )

    def identity(self) -> dict[str, Any]:
        """Return what decides the index, the content of the example queries included."""
        path = self.parameters.queries
        if path is None:
            return super().identity()
        if not Path(path).is_file():
            raise InputError(f"index {self.name!r}: queries: there is no file {path}")
        return {**super().identity(), "queries_digest": file_digest(Path(path))}

    def check(self, n: int, d: int | None) -> None:
        """Refuse more dimensions than there are."""
        if d is not None and self.parameters.d > d:
            raise InputError(
                f"index {self.name!r}: d is {self.parameters.d}, the vectors have {d} dimensions: "
                "choose at most as many"
            )
        self.inner.check(n, self.parameters.d)

    def check_sweep(self, search: Any, n: int, d: int) -> None:
        """Refuse 'leanvec' without a file of example queries, and what the inner index refuses."""
        if self.parameters.method == "leanvec":
            self._read_queries(d)
        self.inner.check_sweep(self.inner.settings(search.index), n, self.parameters.d)

    def _inner_metric(self) -> Metric:
        return "l2" if self.metric == "l2" else "ip"

    def _train(self, vectors: NDArray[np.float32], queries: NDArray[np.float32] | None) -> bool:
        super()._train(vectors, queries)
        own = self.parameters
        if own.method == "leanvec" and queries is None:
            queries = self._read_queries(self.d)
        elif own.method == "pca":
            queries = None
        if queries is not None and not queries.any():
            raise InputError(f"index {self.name!r}: every example query is zero: nothing to learn")
        found = learn_projections(vectors, queries, own.d, centred=self.metric == "l2")
        self._to_queries, self._to_documents = (
            np.ascontiguousarray(part.T, dtype=np.float32) for part in found
        )
        return True

    def _read_queries(self, d: int) -> NDArray[np.float32]:
        path = self.parameters.queries
        if path is None:
            raise InputError(
                f"index {self.name!r}: method 'leanvec' learns from example queries: name a file "
                "of them (queries: examples.npy), or give them to build(); not those that are "
                "evaluated"
            )
        try:
            loaded = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: not a .npy file of vectors: {error}") from None
        if not isinstance(loaded, np.ndarray):
            raise InputError(f"{path}: holds several arrays: save one with numpy.save")
        if loaded.ndim != 2 or loaded.shape[1] != d or not len(loaded):
            raise InputError(f"{path}: expected shape (q, {d}), got {loaded.shape}")
        prepared: NDArray[np.float32] = self._prepare(loaded, f"example queries of {path}")[0]
        return prepared

    def _build(self, vectors: NDArray[np.float32]) -> None:
        examples = self._examples
        self.inner.build(
            vectors @ self._to_documents,
            attributes=self.attributes,
            queries=None if examples is None else examples @ self._to_queries,
        )

    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        call, project = self._bind_inner(self.inner, k, search, selection), self._to_queries

        def projected(queries: NDArray[np.float32]) -> RawHits:
            return call(queries @ project)

        return projected

    def _save(self, folder: Path) -> None:
        super()._save(folder)
        np.save(folder / "to_queries.npy", self._to_queries)
        np.save(folder / "to_documents.npy", self._to_documents)

    def _load(self, folder: Path) -> None:
        super()._load(folder)
        self._to_queries = np.load(folder / "to_queries.npy", allow_pickle=False)
        self._to_documents = np.load(folder / "to_documents.npy", allow_pickle=False)

    def size_bytes(self) -> int:
        """Size of the inner index and of the two projections, in bytes."""
        return int(self.inner.size_bytes() + self._to_queries.nbytes + self._to_documents.nbytes)
