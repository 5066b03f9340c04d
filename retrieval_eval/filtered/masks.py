"""Filters of a given share, near a query or far from it, and filters that a document passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.filters import Filter

__all__ = [
    "Mask",
    "filter_correlation",
    "filters_by_similarity",
    "filters_of_document",
    "mask_of_share",
]

Mask = NDArray[np.bool_]
"""Whether each document passes."""


def mask_of_share(order: NDArray[np.floating], share: float, *, always: Sequence[int] = ()) -> Mask:
    """Let a share of the documents pass, those with the highest values.

    Parameters
    ----------
    order : ndarray of float, shape (n,)
        Of each document: random numbers for a random filter; similarities with something for one
        that lets its neighbourhood pass, or their negatives for what is far. Equal values pass in
        order of rows.
    share : float
        0 to 1; as many documents as come closest, halves rounded up.
    always : sequence of int
        Rows that pass in any case, in place of the lowest of the others.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    InputError
        If the share is out of range.

    Examples
    --------
    >>> mask_of_share(np.array([0.1, 0.9, 0.5, 0.3]), 0.5).tolist()
    [False, True, True, False]
    >>> mask_of_share(np.array([0.1, 0.9, 0.5, 0.3]), 0.5, always=[0]).tolist()
    [True, True, False, False]
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share is {share}: it must be between 0 and 1")
    wanted = np.array(order, dtype=np.float64)
    wanted[list(always)] = np.inf
    count = max(int(share * len(wanted) + 0.5), len({*always}))
    mask = np.zeros(len(wanted), dtype=bool)
    mask[np.argsort(-wanted, kind="stable")[:count]] = True
    return mask


def filters_by_similarity(
    similarities: NDArray[np.floating],
    shares: Sequence[float],
    *,
    always: Sequence[int] = (),
    seed: int = 0,
) -> dict[str, Mask]:
    """Make filters that pass what is similar, what is not, and what chance decides.

    Parameters
    ----------
    similarities : ndarray of float, shape (n,)
        Of each document with a query, or with a document that answers it.
    shares : sequence of float
        Of the documents that pass, each 0 to 1.
    always : sequence of int
        Rows that pass in any case, such as documents that are relevant.
    seed : int
        Of the random filters; that of a smaller share is part of that of a larger one.

    Returns
    -------
    dict of str to ndarray of bool, shape (n,)
        ``random S``, ``near S`` and ``far S`` for each share S; see :func:`mask_of_share`.

    Examples
    --------
    >>> made = filters_by_similarity(np.array([0.9, 0.1, 0.5, 0.2]), [0.5])
    >>> [(name, mask.nonzero()[0].tolist()) for name, mask in made.items()]
    [('random 0.5', [0, 1]), ('near 0.5', [0, 2]), ('far 0.5', [1, 3])]
    """
    drawn = np.random.default_rng(seed).random(len(similarities))
    orders = {"random": drawn, "near": similarities, "far": -np.asarray(similarities)}
    return {
        f"{name} {share:g}": mask_of_share(order, share, always=always)
        for name, order in orders.items()
        for share in shares
    }


def filters_of_document(
    attributes: pl.DataFrame, row: int, *, share: float = 0.1, members: int = 10, seed: int = 0
) -> dict[str, Filter]:
    """Make a filter of each kind that one document passes: ranges, exact match, membership.

    Parameters
    ----------
    attributes : polars.DataFrame, n rows
        As :meth:`retrieval_eval.datasets.Dataset.attribute_table` returns them.
    row : int
        The document.
    share : float
        About how many of the documents a range lets pass, above 0 and at most 1; more where values
        are equal.
    members : int
        Values of a set, at least 1; that of the document, and others drawn at random.
    seed : int
        Of what is drawn.

    Returns
    -------
    dict of str to Filter
        ``range of X`` for each numeric attribute, ``one X`` and ``N of X`` for each of text, where
        the document has a value.

    Raises
    ------
    InputError
        If share or members is out of range.

    Examples
    --------
    >>> table = pl.DataFrame({"year": [1999, 2001, 2002, 2009], "lang": ["en", "fr", "en", "de"]})
    >>> for kind, one in filters_of_document(table, 1, share=0.5, members=2).items():
    ...     print(f"{kind}: {one}")
    range of year: 1999 <= year <= 2001
    one lang: lang = fr
    2 of lang: lang in (fr, de)
    """
    if not 0 < share <= 1 or members < 1:
        raise InputError(
            f"share is {share}, members is {members}: the first must be above 0 and at most 1, the "
            "second at least 1"
        )
    rng = np.random.default_rng([seed, row])
    made: dict[str, dict[str, Any]] = {}
    for column in attributes.iter_columns():
        name, value = column.name, column[row]
        if value is None:
            continue
        if column.dtype == pl.String:
            others = column.drop_nulls().unique(maintain_order=True).to_list()
            others.remove(value)
            drawn = rng.permutation(len(others))[: members - 1].tolist()
            made[f"one {name}"] = {name: value}
            made[f"{members} of {name}"] = {name: [value, *(others[place] for place in drawn)]}
        elif column.dtype.is_numeric():
            # A window of ranks that holds the document's, wherever in it that is.
            ordered = column.drop_nulls().sort()
            width = max(1, round(share * len(ordered)))
            start = int(ordered.search_sorted(value, "left")) - int(rng.integers(width))
            start = min(max(start, 0), len(ordered) - width)
            ends = {"min": ordered[start], "max": ordered[start + width - 1]}
            made[f"range of {name}"] = {name: ends}
    return {kind: Filter.parse(one) for kind, one in made.items()}


def filter_correlation(similarities: NDArray[np.floating], mask: Mask) -> float:
    """Correlate passing a filter with similarity to a query.

    Parameters
    ----------
    similarities : ndarray of float, shape (n,)
        Of each document with the query; higher is more similar.
    mask : ndarray of bool, shape (n,)
        Whether each passes.

    Returns
    -------
    float
        Pearson's correlation, -1 to 1: above 0 if what passes is nearer than the rest. NaN where
        all documents pass, or none, or all are equally similar.

    Examples
    --------
    >>> filter_correlation(np.array([0.9, 0.1]), np.array([True, False]))
    1.0
    """
    centred = np.asarray(similarities, dtype=np.float64) - np.mean(similarities, dtype=np.float64)
    passing = mask - np.mean(mask)
    norm = float(np.sqrt(np.dot(centred, centred) * np.dot(passing, passing)))
    return float(np.dot(centred, passing)) / norm if norm else float("nan")
