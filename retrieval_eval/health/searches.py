"""Figures from exact neighbours, by cosine, of what is drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.geometry import chords, lid_estimates
from retrieval_eval.health.hubs import hubness
from retrieval_eval.neighbours import exact_neighbours
from retrieval_eval.neighbours.scores import Floats

__all__ = [
    "SUBCORPUS_ROWS",
    "Drawn",
    "Figures",
    "document_hubs",
    "neighbourhoods",
    "query_figures",
]

SUBCORPUS_ROWS = 10_000
"""Documents drawn to be searched among themselves, at most; and queries to search them with."""

_LID_NEIGHBOURS, _FEWEST_LID_NEIGHBOURS = 100, 10

Figures = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Vectors of norm above 0, and some of them in random order, of which a sample takes the first.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        All vectors.
    allowed : ndarray of bool, shape (n,), or None
        Which have a norm above 0; None if all have.
    count : int
        How many these are.
    rows : ndarray of int64
        Those drawn.
    """

    vectors: Floats
    allowed: NDArray[np.bool_] | None
    count: int
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, vectors: Floats, norms: NDArray[np.float64], size: int, seed: int) -> Drawn:
        """Draw so many rows, or all there are, without replacement."""
        members = None if norms.all() else np.flatnonzero(norms)
        count = len(norms) if members is None else len(members)
        rows = np.random.default_rng(seed).choice(count, min(count, size), replace=False)
        if members is None:
            return cls(vectors, None, count, rows)
        return cls(vectors, norms > 0, count, members[rows])

    def first(self, size: int) -> NDArray[np.int64]:
        """Return the first rows drawn, ascending: files are read from front to back."""
        return np.sort(self.rows[:size])


def neighbourhoods(
    drawn: Drawn,
    sample: int,
    duplicate_cosine: float,
    budget_bytes: int,
    reasons: dict[str, str],
) -> Figures:
    """Search a sample of documents among all: near duplicates and local dimensionality.

    Parameters
    ----------
    drawn : Drawn
        The documents.
    sample : int
        How many of them to search for.
    duplicate_cosine : float
        Cosine of a near duplicate.
    budget_bytes : int
        Memory of the search.
    reasons : dict
        Gets why a figure is None.

    Returns
    -------
    dict
        Figures by name.
    """
    rows = drawn.first(sample)
    figures: Figures = dict.fromkeys(
        ("nearest_cosine_median", "near_duplicate_share", "lid_median", "lid_mean", "lid_k")
    )
    figures |= {"n_searched": len(rows), "n_lid": 0}
    if drawn.count < 2:
        few = f"a neighbour takes two documents of a norm above 0, not {drawn.count}"
        reasons |= dict.fromkeys((name for name in figures if figures[name] is None), few)
        return figures
    d = drawn.vectors.shape[1]
    k = min(_LID_NEIGHBOURS, drawn.count - 1)
    asked = np.asarray(drawn.vectors[rows])
    ids, cosines = exact_neighbours(
        drawn.vectors, asked, k + 1, "cosine", allowed=drawn.allowed, budget_bytes=budget_bytes
    )
    others = _others(ids, rows)
    nearest = cosines[others].reshape(len(rows), k)[:, 0]
    rounding = (d + 4) * 2.0**-53
    figures["nearest_cosine_median"] = float(np.median(nearest))
    figures["near_duplicate_share"] = float(np.mean(nearest >= duplicate_cosine - rounding))
    if k < _FEWEST_LID_NEIGHBOURS:
        reasons |= dict.fromkeys(
            ("lid_median", "lid_mean", "lid_k"),
            f"an estimate takes at least {_FEWEST_LID_NEIGHBOURS} neighbours, and there are {k}",
        )
        return figures
    figures["lid_k"] = k
    distances = chords(drawn.vectors, asked, ids[others].reshape(len(rows), k))
    estimates = lid_estimates(distances)
    # Distances that differ by their rounding alone are equal: their estimate is infinite.
    known = estimates[estimates * rounding < 1]
    figures["n_lid"] = len(known)
    if len(known) == 0:
        reasons |= dict.fromkeys(
            ("lid_median", "lid_mean"),
            f"the {k} nearest of each document searched are copies of it, or all equally far",
        )
        return figures
    return figures | {"lid_median": float(np.median(known)), "lid_mean": float(known.mean())}


def document_hubs(drawn: Drawn, k: int, budget_bytes: int, reasons: dict[str, str]) -> Figures:
    """Search a sub-corpus among itself: hubs.

    Parameters
    ----------
    drawn : Drawn
        The documents.
    k : int
        Neighbours in a list.
    budget_bytes : int
        Memory of the search.
    reasons : dict
        Gets why a figure is None.

    Returns
    -------
    dict
        Figures by name.
    """
    names = ("hubness_skewness", "antihub_share", "top_hub_share")
    rows = drawn.first(SUBCORPUS_ROWS)
    n = len(rows)
    if n < k + 1:
        few = f"lists of {k} others take {k + 1} documents of a norm above 0, not {n}"
        reasons |= dict.fromkeys(names, few)
        return {"n_subcorpus": n, **dict.fromkeys(names)}
    corpus = np.asarray(drawn.vectors[rows])
    ids, _ = exact_neighbours(corpus, corpus, k + 1, "cosine", budget_bytes=budget_bytes)
    lists = ids[_others(ids, np.arange(n))].reshape(n, k)
    return {"n_subcorpus": n, **_hub_figures(lists, n, names, reasons, own_lists=True)}


def query_figures(
    drawn: Drawn,
    queries: Drawn,
    sample: int,
    k: int,
    budget_bytes: int,
    reasons: dict[str, str],
) -> Figures:
    """Search queries among all documents, and among the sub-corpus.

    Parameters
    ----------
    drawn, queries : Drawn
        Documents and queries.
    sample : int
        How many queries to search among all documents.
    k : int
        Documents in a list.
    budget_bytes : int
        Memory of a search.
    reasons : dict
        Gets why a figure is None.

    Returns
    -------
    dict
        Figures by name.
    """
    names = ("query_hubness_skewness", "query_antihub_share", "query_top_hub_share")
    searched, listed = queries.first(sample), queries.first(SUBCORPUS_ROWS)
    rows = drawn.first(SUBCORPUS_ROWS)
    figures: Figures = dict.fromkeys(("query_nearest_cosine_median", *names))
    figures |= {"n_queries_searched": len(searched), "n_query_lists": len(listed)}
    if len(listed) == 0 or len(rows) == 0:
        why = f"all {'queries' if len(rows) else 'documents'} have norm 0"
        reasons |= dict.fromkeys((name for name in figures if figures[name] is None), why)
        return figures
    _, cosines = exact_neighbours(
        drawn.vectors,
        np.asarray(queries.vectors[searched]),
        1,
        "cosine",
        allowed=drawn.allowed,
        budget_bytes=budget_bytes,
    )
    figures["query_nearest_cosine_median"] = float(np.median(cosines))
    if len(rows) <= k:
        few = f"lists of {k} take more than {k} documents of a norm above 0, not {len(rows)}"
        reasons |= dict.fromkeys(names, few)
        return figures
    ids, _ = exact_neighbours(
        np.asarray(drawn.vectors[rows]),
        np.asarray(queries.vectors[listed]),
        k,
        "cosine",
        budget_bytes=budget_bytes,
    )
    return figures | _hub_figures(ids, len(rows), names, reasons, own_lists=False)


def _others(ids: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark all neighbours in a list but the document itself."""
    own: NDArray[np.bool_] = ids == rows[:, None]
    # More copies than the list is long may stand before the document: then any of them can go.
    own[~own.any(axis=1), -1] = True
    return ~own


def _hub_figures(
    lists: NDArray[np.int64],
    n: int,
    names: tuple[str, str, str],
    reasons: dict[str, str],
    *,
    own_lists: bool,
) -> Figures:
    found = hubness(lists, n, own_lists=own_lists)
    if found.skewness is None:
        reasons[names[0]] = "all documents are in equally many lists"
    return dict(zip(names, (found.skewness, found.antihub_share, found.top_hub_share), strict=True))
