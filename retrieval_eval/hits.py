"""What an index returns: the row numbers and scores of each query's nearest documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError

__all__ = ["Hits"]


@dataclass(frozen=True, eq=False)
class Hits:
    """The k best documents of each query, as row numbers of the corpus.

    Parameters
    ----------
    ids : ndarray of int64, shape (n_queries, k)
        Row numbers of the corpus, best first; -1 where fewer than k were found. A row never
        holds the same document twice.
    scores : ndarray of float32, shape (n_queries, k)
        Higher is better, whatever the library's own sign; ``-inf`` where ``ids`` is -1.

    Raises
    ------
    InputError
        If shapes or dtypes differ from the above, or padding and scores disagree.

    Examples
    --------
    >>> hits = Hits(np.array([[4, -1]]), np.array([[0.5, -np.inf]], dtype=np.float32))
    >>> hits.k, hits.found.tolist()
    (2, [1])
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.shape != self.scores.shape:
            raise InputError(
                f"hits need ids and scores of one shape (queries, k), got {self.ids.shape} "
                f"and {self.scores.shape}"
            )
        if self.ids.dtype != np.int64 or self.scores.dtype != np.float32:
            raise InputError(
                f"hits need int64 ids and float32 scores, got {self.ids.dtype} "
                f"and {self.scores.dtype}"
            )
        if not ((self.ids < 0) == (self.scores == -np.inf)).all():
            raise InputError("hits need the score -inf exactly where the id is -1")

    @property
    def k(self) -> int:
        """Number of columns."""
        return int(self.ids.shape[1])

    @property
    def found(self) -> NDArray[np.int64]:
        """Number of documents found, for each query; shape (n_queries,)."""
        found: NDArray[np.int64] = np.count_nonzero(self.ids >= 0, axis=1).astype(np.int64)
        return found
