"""How different documents of a list are, and draws that keep to quotas of clusters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.neighbours.scores import Floats, blocks, norms_of

__all__ = ["cluster_documents", "draw_by_quota", "intra_list_distance", "quotas"]

_LIST_BYTES = 2**26


def intra_list_distance(
    documents: Floats, ids: NDArray[np.int64], k: int | None = None
) -> NDArray[np.float64]:
    """Mean cosine distance of all pairs of documents in each list.

    Parameters
    ----------
    documents : ndarray of float, shape (n, d)
        Vectors; may be memory-mapped. One of zeros has no direction: it is passed over.
    ids : ndarray of int64, shape (q, m)
        Lists of rows; -1 is padding.
    k : int, optional
        Only the first so many of each list, at least 2.

    Returns
    -------
    ndarray of float64, shape (q,)
        From 0, exactly, for copies of one vector, to ``k / (k - 1)``; NaN for lists of fewer than
        two documents.

    Raises
    ------
    InputError
        If k is below 2.

    Notes
    -----
    For unit vectors ``1 - cos`` is half the squared distance, and the mean of those over pairs is
    the variance of the list around its own mean. It is taken from the list's first vector, so that
    copies cancel out.

    References
    ----------
    Ziegler, McNee, Konstan & Lausen 2005, Improving recommendation lists through topic
    diversification (intra-list similarity).

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    >>> intra_list_distance(x, np.array([[0, 1, -1], [0, 2, -1], [0, 1, 2]])).round(3).tolist()
    [1.0, 0.0, 0.667]
    """
    if k is not None and k < 2:
        raise InputError(f"k is {k}: a distance takes two documents")
    ids = ids[:, :k]
    result = np.full(len(ids), np.nan)
    for rows in blocks(len(ids), 24 * ids.shape[1] * documents.shape[1], _LIST_BYTES):
        listed = ids[rows]
        there = listed >= 0
        vectors = np.asarray(documents[np.maximum(listed, 0)], dtype=np.float64)
        norms = np.linalg.norm(vectors, axis=2)
        there &= norms > 0
        unit = vectors / np.where(norms > 0, norms, 1)[:, :, None]
        first = np.take_along_axis(unit, there.argmax(axis=1)[:, None, None], axis=1)
        moved = np.where(there[:, :, None], unit - first, 0.0)
        counts = there.sum(axis=1)
        squares = np.einsum("qkd,qkd->q", moved, moved)
        sums = moved.sum(axis=1)
        enough = counts >= 2
        pairs = counts * (counts - 1.0)
        spread = counts * squares - np.einsum("qd,qd->q", sums, sums)
        np.divide(np.maximum(spread, 0), pairs, out=result[rows], where=enough)
    return result


def cluster_documents(documents: Floats, clusters: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Sort documents into clusters by k-means of their directions.

    Parameters
    ----------
    documents : ndarray of float, shape (n, d)
        Vectors; zero vectors stay at the origin.
    clusters : int
        From 1 to n.
    seed : int
        Of the first centres.

    Returns
    -------
    ndarray of int64, shape (n,)
        Labels, from 0.

    Raises
    ------
    InputError
        If there are more clusters than documents, or fewer than one.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> labels = cluster_documents(x, 2)
    >>> bool(labels[0] == labels[1] != labels[2])
    True
    """
    if not 1 <= clusters <= len(documents):
        raise InputError(f"{clusters} clusters of {len(documents)} documents: give 1 to as many")
    from sklearn.cluster import KMeans

    norms = norms_of(documents)
    unit = np.asarray(documents, dtype=np.float64) / np.where(norms > 0, norms, 1)[:, None]
    made = KMeans(clusters, n_init=1, random_state=seed).fit(unit)
    labels: NDArray[np.int64] = made.labels_.astype(np.int64)
    return labels


def quotas(
    sizes: Mapping[Any, int],
    total: int,
    *,
    shares: Mapping[Any, float] | None = None,
    power: float = 1.0,
) -> dict[Any, int]:
    """Deal a number of draws among clusters.

    A cluster with less than its share gives all it has, and the others take what is left, in
    proportion. Fractions go to the largest remainders, of equal ones to the first.

    Parameters
    ----------
    sizes : mapping of label to int
        How many there are in each cluster.
    total : int
        Draws, from 0 to the number there are.
    shares : mapping of label to float, optional
        A mixture: weights of the clusters, not below 0. Those without one get none.
    power : float
        Without `shares`, a cluster weighs its size to this power: 1 as in the corpus, 0 all alike,
        0.5 between.

    Returns
    -------
    dict of label to int
        Draws of each cluster, in the order of `sizes`.

    Raises
    ------
    InputError
        If a weight is below 0, a label is unknown, or there are not enough to draw.

    Examples
    --------
    >>> quotas({"a": 90, "b": 9, "c": 1}, 10)
    {'a': 9, 'b': 1, 'c': 0}
    >>> quotas({"a": 90, "b": 9, "c": 1}, 10, power=0)
    {'a': 5, 'b': 4, 'c': 1}
    >>> quotas({"a": 90, "b": 9, "c": 1}, 10, shares={"a": 1, "b": 1})
    {'a': 5, 'b': 5, 'c': 0}
    """
    unknown = next((one for one in shares or {} if one not in sizes), None)
    if unknown is not None:
        raise InputError(f"no cluster has the label {unknown!r}, which a share is given for")
    weights = {
        label: (float(size) ** power if size else 0.0) if shares is None else shares.get(label, 0.0)
        for label, size in sizes.items()
    }
    if not all(0 <= one < math.inf for one in weights.values()):
        raise InputError("a share is below 0 or not finite: weights of clusters are 0 or more")
    open_ = [label for label in sizes if weights[label] > 0 and sizes[label] > 0]
    there = sum(sizes[label] for label in open_)
    if not 0 <= total <= there:
        raise InputError(f"{total} draws of {there}, the members of clusters with a share")
    dealt = dict.fromkeys(sizes, 0)
    left = total
    while open_:
        rate = left / sum(weights[label] for label in open_)
        full = [label for label in open_ if sizes[label] <= rate * weights[label]]
        if not full:
            break
        for label in full:
            dealt[label] = sizes[label]
            left -= sizes[label]
        open_ = [label for label in open_ if label not in full]
    if open_:
        rate = left / sum(weights[label] for label in open_)
        wanted = {label: rate * weights[label] for label in open_}
        dealt |= {label: math.floor(one + 1e-9) for label, one in wanted.items()}
        rest = left - sum(dealt[label] for label in open_)
        by_rest = sorted(open_, key=lambda label: dealt[label] - wanted[label])
        for label in by_rest[:rest]:
            dealt[label] += 1
    return dealt


def draw_by_quota(
    labels: Sequence[Any] | NDArray[Any],
    total: int,
    *,
    shares: Mapping[Any, float] | None = None,
    power: float = 1.0,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Draw rows, without replacement, so many of each cluster as its quota says.

    Parameters
    ----------
    labels : sequence, length n
        The cluster of each row: of a document, or of a query.
    total, shares, power
        As for :func:`quotas`.
    seed : int
        Of the draw, at least 0.

    Returns
    -------
    ndarray of int64, shape (total,)
        Rows, ascending.

    Raises
    ------
    InputError
        As :func:`quotas` does.

    Examples
    --------
    >>> draw_by_quota(["a", "a", "a", "b"], 2, power=0, seed=1).tolist()
    [0, 3]
    """
    names, codes, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    sizes = dict(zip(names.tolist(), counts.tolist(), strict=True))
    dealt = quotas(sizes, total, shares=shares, power=power)
    rng = np.random.default_rng(seed)
    drawn = [
        rng.permutation(np.flatnonzero(codes == code))[: dealt[name]]
        for code, name in enumerate(names.tolist())
    ]
    rows: NDArray[np.int64] = np.sort(np.concatenate(drawn)).astype(np.int64)
    return rows
