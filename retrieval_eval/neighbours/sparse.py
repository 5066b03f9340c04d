"""Exact search over sparse vectors, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.neighbours.scores import blocks
from retrieval_eval.neighbours.search import BUDGET_BYTES

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["exact_sparse_neighbours"]

_QUERIES = 256  # scored together


def exact_sparse_neighbours(
    documents: csr_array,
    queries: csr_array,
    k: int,
    metric: Literal["ip"] | str = "ip",
    *,
    allowed: NDArray[np.bool_] | None = None,
    budget_bytes: int = BUDGET_BYTES,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the k documents of largest inner product with each query, among those above zero.

    Parameters
    ----------
    documents, queries : csr_array, shapes (n, v) and (q, v)
        Finite.
    k : int
        At least 1 and at most n.
    metric : {'ip'}
        Sparse vectors know the inner product only.
    allowed : ndarray of bool, shape (n,), optional
        Which documents may be neighbours; by default all.
    budget_bytes : int, default 512 MiB
        Memory for the scores of a block of documents with up to 256 queries; at least those of one
        document.

    Returns
    -------
    ids : ndarray of int64, shape (q, k)
        Best first; equal scores by ascending row number. -1 where no document is left whose score
        is above zero: one that shares no term is no neighbour.
    scores : ndarray of float64, shape (q, k)
        Their inner products; ``-inf`` where the id is -1.

    Raises
    ------
    InputError
        If k is out of range, or the metric is another.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> documents = csr_array(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]))
    >>> exact_sparse_neighbours(documents, documents[:1], 3)[0].tolist()
    [[2, 0, -1]]
    """
    n = documents.shape[0]
    if metric != "ip":
        raise InputError(f"metric is {metric!r}: sparse vectors are compared by 'ip' only")
    if not 1 <= k <= n:
        raise InputError(f"k is {k}: it must be between 1 and the number of documents, {n}")
    asked = queries.astype(np.float64)
    ids = np.full((queries.shape[0], k), -1, dtype=np.int64)
    scores = np.full(ids.shape, -np.inf)
    for rows in blocks(queries.shape[0], 1, _QUERIES):
        per_document = 24 * (rows.stop - rows.start)
        for part in blocks(n, per_document, budget_bytes):
            # A block at a time in float64: the corpus itself is never copied.
            found = (asked[rows] @ documents[part].astype(np.float64).T).toarray()
            found[found <= 0] = -np.inf
            if allowed is not None:
                found[:, ~allowed[part]] = -np.inf
            for place, row in enumerate(range(rows.start, rows.stop)):
                better = np.flatnonzero(found[place] > scores[row, -1])
                if len(better) > k:
                    kth = np.partition(found[place, better], len(better) - k)[len(better) - k]
                    better = better[found[place, better] >= kth]
                every = np.concatenate([scores[row], found[place, better]])
                names = np.concatenate([ids[row], part.start + better])
                best = np.argsort(-every, kind="stable")[:k]  # on a tie the lower row stays first
                scores[row], ids[row] = every[best], names[best]
    return ids, scores
