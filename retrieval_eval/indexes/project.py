"""Fewer dimensions before another index: principal components, the first ones, or by queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes._combinator import Combinator, CombinatorBuild
from retrieval_eval.indexes.base import BoundSearch, Vectors
from retrieval_eval.indexes.selection import RawHits, Selection
from retrieval_eval.neighbours import Metric
from retrieval_eval.store import file_digest

__all__ = [
    "ProjectBuild",
    "ProjectIndex",
    "learn_projections",
    "projection_bound",
    "projection_loss",
]

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
    method : {'pca', 'leanvec', 'truncate'}
        Principal components of the documents; the pair of projections that keeps inner products
        with queries best; or the first dimensions as they are, for encoders that put most into them
        (Matryoshka representations, Kusupati et al. 2022). Under cosine, what is truncated is
        brought to unit length again.
    queries : str or None
        A ``.npy`` file of example queries, shape (q, dimension), by the same encoder; not those
        that are evaluated. 'leanvec' needs them, here or in :meth:`ProjectIndex.build`.
    """

    d: Annotated[int, Ge(1)] = 128
    method: Literal["pca", "leanvec", "truncate"] = "pca"
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
    gram = _gram(documents, documents.mean(axis=0, dtype=np.float64) if centred else 0.0)
    if queries is None:
        top = np.linalg.eigh(gram)[1][:, ::-1][:, :d].T
        return top, top
    values, vectors = np.linalg.eigh(_gram(queries))
    roots = np.sqrt(np.maximum(values, 0.0))
    roots[roots < roots.max() * 1e-7] = 0.0  # directions that no example query has
    inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
    root = (vectors * roots) @ vectors.T
    top = np.linalg.eigh(root @ gram @ root)[1][:, ::-1][:, :d].T
    return top @ ((vectors * inverse) @ vectors.T), top @ root


def projection_loss(
    documents: NDArray[np.float32], queries: NDArray[np.float32], to_queries: Array, to_docs: Array
) -> float:
    """Return the share of ``|Q X^T|_F^2`` that projections lose.

    Parameters
    ----------
    documents : ndarray of float32, shape (n, D)
        X.
    queries : ndarray of float32, shape (q, D)
        Q. For queries that the projections were not learnt from, it may exceed 1.
    to_queries, to_docs : ndarray of float64, shape (d, D)
        A and B of :func:`learn_projections`.

    Returns
    -------
    float
        ``|Q (A^T B - I) X^T|_F^2 / |Q X^T|_F^2``; NaN if all inner products are 0.
    """
    left, right = _gram(queries), _gram(documents)
    error = to_queries.T @ to_docs - np.eye(len(left))
    lost = np.sum((left @ error @ right) * error)  # the trace of E^T Q^T Q E X^T X
    return _share(max(lost, np.float64(0.0)), np.sum(left * right))


def projection_bound(documents: NDArray[np.float32], queries: NDArray[np.float32], d: int) -> float:
    """Return the least share of ``|Q X^T|_F^2`` that any projections to d dimensions lose.

    It is what the singular values of ``(Q^T Q)^(1/2) (X^T X)^(1/2)`` beyond the d-th hold
    (Eckart & Young 1936). 'leanvec' attains it on the queries that it learns from.

    Parameters
    ----------
    documents : ndarray of float32, shape (n, D)
        X.
    queries : ndarray of float32, shape (q, D)
        Q.
    d : int
        Dimensions that are kept.

    Returns
    -------
    float
        From 0 to 1; NaN if all inner products are 0.

    Examples
    --------
    >>> both = np.diag([2.0, 1.0]).astype(np.float32)
    >>> round(projection_bound(both, both, 1), 4)  # 1 / (16 + 1)
    0.0588
    """
    values = np.linalg.svd(_root(_gram(queries)) @ _root(_gram(documents)), compute_uv=False) ** 2
    return _share(np.sum(values[d:]), np.sum(values))


def _gram(vectors: NDArray[np.float32], mean: Array | float = 0.0) -> Array:
    gram = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), 2**14):  # float64, in blocks
        block = vectors[start : start + 2**14].astype(np.float64) - mean
        gram += block.T @ block
    return gram


def _root(gram: Array) -> Array:
    values, vectors = np.linalg.eigh(gram)
    root: Array = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root


def _share(lost: np.floating[Any], whole: np.floating[Any]) -> float:
    return float(lost / whole) if whole > 0 else float("nan")


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
        if own.method == "truncate":
            self._to_queries = self._to_documents = np.eye(self.d, own.d, dtype=np.float32)
            return False
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

    def loss(self, documents: Vectors, queries: Vectors) -> float:
        """Return the share of inner products that the projections lose.

        Parameters
        ----------
        documents : ndarray of float, shape (n, D)
            Those that the index was built from, say.
        queries : ndarray of float, shape (q, D)
            Those to be asked, say.

        Returns
        -------
        float
            As :func:`projection_loss` has it; for cosine, of vectors of unit length.

        Raises
        ------
        InputError
            If the index is not built, or vectors do not fit.
        """
        self._require_built("asking for its loss")
        prepared = [self._prepare_queries(one)[0] for one in (documents, queries)]
        maps = (one.T.astype(np.float64) for one in (self._to_queries, self._to_documents))
        return projection_loss(*prepared, *maps)

    def _build(self, vectors: NDArray[np.float32]) -> None:
        examples = self._examples
        self.inner.build(
            self._cut(vectors, self._to_documents),
            attributes=self.attributes,
            queries=None if examples is None else self._cut(examples, self._to_queries),
        )

    def _cut(self, vectors: NDArray[np.float32], projection: Any) -> NDArray[np.float32]:
        cut: NDArray[np.float32] = vectors @ projection
        if self.parameters.method == "truncate" and self.metric == "cosine":
            norms = np.linalg.norm(cut, axis=1, keepdims=True)
            cut /= np.where(norms == 0, np.float32(1), norms)
        return cut

    def _bind_selected(self, k: int, search: Any, selection: Selection | None) -> BoundSearch:
        call, projection = self._bind_inner(self.inner, k, search, selection), self._to_queries

        def projected(queries: NDArray[np.float32]) -> RawHits:
            return call(self._cut(queries, projection))

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
