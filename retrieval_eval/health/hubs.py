"""Documents that stand in too many lists of neighbours, and those in none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError

__all__ = ["Hubness", "hubness"]


@dataclass(frozen=True)
class Hubness:
    """How unevenly documents occur in lists of neighbours.

    Parameters
    ----------
    skewness : float or None
        Of the number of lists that a document is in; None if all documents are in equally many.
    antihub_share : float
        Share of documents that are in no list, between 0 and 1.
    top_hub_share : float
        Share of the lists that the most frequent document is in, between 0 and 1.
    """

    skewness: float | None
    antihub_share: float
    top_hub_share: float


def hubness(ids: NDArray[np.int64], n_documents: int, *, own_lists: bool = False) -> Hubness:
    """Measure how unevenly documents occur in lists of k neighbours.

    Parameters
    ----------
    ids : ndarray of int64, shape (lists, k)
        Neighbours of each query, from 0 to ``n_documents - 1``, different within a row; -1 is
        padding.
    n_documents : int
        How many documents could have been in a list, at least 1.
    own_lists : bool, default False
        Whether row i is the list of document i, in which it cannot be itself.

    Returns
    -------
    Hubness
        The skewness is E(N - mean)^3 / sd^3 of the k-occurrence N of all documents [1]_.

    Raises
    ------
    InputError
        If there are no lists, or an id is out of range.

    Notes
    -----
    k and the numbers of documents and of lists decide what is normal: random lists have about
    ``1 / sqrt(k * lists / n_documents)``. Compare what agrees in them.

    References
    ----------
    .. [1] M. Radovanovic, A. Nanopoulos and M. Ivanovic, Hubs in space: popular nearest neighbors
       in high-dimensional data, JMLR 11, 2010.

    Examples
    --------
    >>> hubness(np.array([[1], [0], [0], [0]]), 4, own_lists=True)
    Hubness(skewness=0.816496580927726, antihub_share=0.5, top_hub_share=1.0)
    """
    lists = len(ids) - 1 if own_lists else len(ids)
    if lists < 1 or n_documents < 1:
        raise InputError(f"there are {lists} lists and {n_documents} documents: hubs need both")
    found = ids[ids != -1]
    if len(found) and not 0 <= found.min() <= found.max() < n_documents:
        raise InputError(
            f"ids are from {found.min()} to {found.max()}: they must be from 0 to {n_documents - 1}"
        )
    counts = np.bincount(found, minlength=n_documents)
    even = counts.min() == counts.max()
    apart = counts - counts.mean()
    skewness = None if even else float(np.mean(apart**3) / np.mean(apart**2) ** 1.5)
    return Hubness(skewness, float(np.mean(counts == 0)), float(counts.max() / lists))
