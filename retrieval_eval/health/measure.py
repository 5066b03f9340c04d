"""Measuring the health of embeddings, in bounded memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.health.figures import QUERY_FIGURES, EmbeddingHealth
from retrieval_eval.health.scan import Scan, scan
from retrieval_eval.health.searches import (
    SUBCORPUS_ROWS,
    Drawn,
    Figures,
    document_hubs,
    neighbourhoods,
    query_figures,
)
from retrieval_eval.health.spectrum import spectrum, spectrum_entropy_rank
from retrieval_eval.neighbours.scores import Floats

__all__ = ["SPECTRUM_ROWS", "SUBCORPUS_ROWS", "embedding_health"]

SPECTRUM_ROWS = 25_600
"""Documents drawn for singular values, at most: as many as RankMe's paper takes."""

_UNIT = 0.001  # float16 keeps a length of 1 to about 0.0005
_DEAD = 1e-6  # rounding of float32 can leave as much of what was one value
_BUDGET_BYTES = 256 * 2**20


def embedding_health(
    documents: Floats,
    queries: Floats | None = None,
    *,
    seed: int = 0,
    sample: int = 2_000,
    k: int = 10,
    duplicate_cosine: float = 0.999,
    budget_bytes: int = _BUDGET_BYTES,
    names: tuple[str, str] = ("documents", "queries"),
) -> EmbeddingHealth:
    """Describe a set of embeddings without any labels.

    Three kinds of figures, as :data:`retrieval_eval.health.FIGURES` says of each:

    - of all documents, exact: norms, dead dimensions, exact duplicates, the mean cosine of pairs;
    - of rows drawn at random and searched among *all* documents, so that shares are estimates
      without bias: near duplicates, local intrinsic dimensionality;
    - of a random sub-corpus by itself, because it takes all documents on both sides: hubs, from
      10,000, and the singular values of 25,600. They depend on its size: compare what was drawn
      alike. Hubs grow with the corpus.

    Neighbours are exact, by cosine, and never the document itself.

    Parameters
    ----------
    documents : ndarray of float, shape (n, d)
        Finite vectors, of any length; may be memory-mapped, in any precision.
    queries : ndarray of float, shape (q, d), optional
        Finite vectors by the same encoder.
    seed : int, default 0
        Not below 0. What is drawn; the samples of one seed lie within each other.
    sample : int, default 2000
        Documents, and queries, that are searched among all; at least 1. Time is mostly theirs:
        ``2 * sample * n * d`` operations.
    k : int, default 10
        Neighbours in a list, for hubs; at least 1.
    duplicate_cosine : float, default 0.999
        Cosine from which another document is a near duplicate, up to rounding; above 0, at most 1.
    budget_bytes : int, default 256 MiB
        Memory of a search, at least 1; see :func:`retrieval_eval.neighbours.exact_neighbours`. On
        top come 24 bytes for each document, some 100 MiB of blocks, and the vectors that are
        searched for.
    names : tuple of two str
        What errors call documents and queries, for instance their files.

    Returns
    -------
    EmbeddingHealth
        Nothing in it is rounded. A seed gives the same figures with any number of threads; another
        processor may change the last digits of those from singular values.

    Raises
    ------
    InputError
        If a vector holds NaN or infinity, naming the row; if shapes do not fit, there is no vector,
        or an option is out of range.

    Notes
    -----
    Local intrinsic dimensionality is that of
    :func:`retrieval_eval.geometry.local_intrinsic_dimensionality` under cosine, from 100
    neighbours, or from all others if these are fewer, but at least 10. Its mean and median are over
    documents for which it is finite: neither copies nor documents equally far from all others.

    The mean cosine of all pairs needs no pairs: it is ``(|s|**2 - n) / (n * (n - 1))`` for the sum
    s of the n normalised documents.

    Equal cosines are ordered by row, so that of many copies the first are hubs.

    References
    ----------
    .. [1] Q. Garrido, R. Balestriero, L. Najman and Y. LeCun, RankMe: assessing the downstream
       performance of pretrained self-supervised representations by their rank, ICML 2023.
    .. [2] M. Radovanovic, A. Nanopoulos and M. Ivanovic, Hubs in space: popular nearest neighbors
       in high-dimensional data, JMLR 11, 2010.
    .. [3] K. Ethayarajh, How contextual are contextualized word representations?, EMNLP 2019.
    .. [4] W. Liang, Y. Zhang, Y. Kwon, S. Yeung and J. Zou, Mind the gap: understanding the
       modality gap in multi-modal contrastive representation learning, NeurIPS 2022.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(500, 16))
    >>> health = embedding_health(np.vstack([x, x[:25]]))
    >>> round(health.exact_duplicate_share, 4), round(health.rankme, 1)
    (0.0952, 15.9)
    >>> health.notes()[1]
    '9.52 % of the documents have an exact duplicate'
    """
    _check(documents, queries, names)
    _check_options(seed, sample, k, duplicate_cosine, budget_bytes)
    found = scan(documents, names[0])
    asked = None if queries is None else scan(queries, names[1])
    drawn = Drawn.of(documents, found.norms, SPECTRUM_ROWS, seed)
    reasons: dict[str, str] = {}
    figures: Figures = {
        "n_documents": len(documents),
        "n_dimensions": documents.shape[1],
        "k": k,
        "duplicate_cosine": float(duplicate_cosine),
        "sample": sample,
        "seed": seed,
        **_norms(found, reasons),
        **_cone(found, drawn.count, reasons),
        **_spread(documents, drawn.first(SPECTRUM_ROWS), reasons),
        **neighbourhoods(drawn, sample, duplicate_cosine, budget_bytes, reasons),
        **document_hubs(drawn, k, budget_bytes, reasons),
    }
    if queries is None or asked is None:
        figures |= dict.fromkeys(QUERY_FIGURES)
        reasons |= dict.fromkeys(QUERY_FIGURES, "no queries were given")
    else:
        lists = Drawn.of(queries, asked.norms, SUBCORPUS_ROWS, seed)
        figures |= _gap(found, drawn.count, asked, reasons)
        figures |= query_figures(drawn, lists, sample, k, budget_bytes, reasons)
    return EmbeddingHealth(**figures, reasons=reasons)


def _check(documents: Floats, queries: Floats | None, names: tuple[str, str]) -> None:
    for name, vectors in zip(names, (documents, queries), strict=True):
        if vectors is None:
            continue
        if vectors.ndim != 2 or vectors.dtype.kind != "f" or vectors.size == 0:
            raise InputError(
                f"{name}: expected floats of shape (n, d), at least one vector, found "
                f"{vectors.dtype} {vectors.shape}"
            )
    if queries is not None and queries.shape[1] != documents.shape[1]:
        raise InputError(
            f"{names[1]}: dimension {queries.shape[1]}, but {names[0]} has {documents.shape[1]}: "
            "both must come from one encoder"
        )


def _check_options(
    seed: int, sample: int, k: int, duplicate_cosine: float, budget_bytes: int
) -> None:
    for name, value, least in (
        ("seed", seed, 0),
        ("sample", sample, 1),
        ("k", k, 1),
        ("budget_bytes", budget_bytes, 1),
    ):
        if value < least:
            raise InputError(f"{name} is {value}: it must be at least {least}")
    if not 0 < duplicate_cosine <= 1:
        raise InputError(
            f"duplicate_cosine is {duplicate_cosine}: it must be above 0 and at most 1"
        )


def _norms(found: Scan, reasons: dict[str, str]) -> Figures:
    norms = found.norms
    n, mean = len(norms), norms.mean()
    low, p01, median, p99, high = np.percentile(norms, [0, 1, 50, 99, 100]).tolist()
    if n == 1:
        reasons |= dict.fromkeys(("dead_dimensions", "exact_duplicate_share"), "one document alone")
    if mean == 0:
        reasons["norm_cv"] = "all documents have norm 0"
    return {
        "n_zero": int(np.count_nonzero(norms == 0)),
        "norm_min": low,
        "norm_p01": p01,
        "norm_median": median,
        "norm_p99": p99,
        "norm_max": high,
        "norm_cv": float(norms.std() / mean) if mean > 0 else None,
        "unit_length_share": float(np.mean(np.abs(norms - 1) <= _UNIT)),
        "dead_dimensions": _dead(found.ranges) if n > 1 else None,
        "exact_duplicate_share": found.n_repeated / n if n > 1 else None,
    }


def _dead(ranges: NDArray[np.float64]) -> int:
    return int(np.count_nonzero(ranges <= _DEAD * ranges.max()))


def _cone(found: Scan, count: int, reasons: dict[str, str]) -> Figures:
    if count == 0:
        reasons["mean_vector_length"] = "all documents have norm 0"
    if count < 2:
        reasons["mean_cosine"] = f"a pair takes two documents of a norm above 0, not {count}"
    square = float(found.unit_sum @ found.unit_sum)
    return {
        "mean_cosine": (square - count) / (count * (count - 1)) if count > 1 else None,
        "mean_vector_length": float(np.sqrt(square)) / count if count else None,
    }


def _spread(documents: Floats, rows: NDArray[np.int64], reasons: dict[str, str]) -> Figures:
    figures: Figures = dict.fromkeys(
        ("rankme", "first_component_share", "components_99", "top_dimension_share")
    )
    figures["n_spectrum"] = len(rows)
    if len(rows) == 0:
        reasons |= dict.fromkeys(figures.keys() - {"n_spectrum"}, "all documents have norm 0")
        return figures
    found = spectrum(documents, rows)
    figures["rankme"] = spectrum_entropy_rank(found.singular_values)
    total = found.components.sum()
    # Equal vectors differ from their mean by rounding alone.
    noise = (documents.shape[1] * 2.0**-52 * found.singular_values[0]) ** 2
    if total <= noise:
        reasons |= dict.fromkeys(
            ("first_component_share", "components_99", "top_dimension_share"),
            "the documents do not vary",
        )
        return figures
    held = np.cumsum(found.components) / total
    return figures | {
        "first_component_share": float(held[0]),
        "components_99": int(np.searchsorted(held, 0.99) + 1),
        "top_dimension_share": float(found.dimensions.max() / found.dimensions.sum()),
    }


def _gap(found: Scan, count: int, asked: Scan, reasons: dict[str, str]) -> Figures:
    n_asked = int(np.count_nonzero(asked.norms))
    figures: Figures = {
        "n_queries": len(asked.norms),
        "n_zero_queries": len(asked.norms) - n_asked,
        "centroid_cosine": None,
        "centroid_distance": None,
    }
    if not count or not n_asked:
        reasons |= dict.fromkeys(
            ("centroid_cosine", "centroid_distance"),
            f"all {'queries' if count else 'documents'} have norm 0",
        )
        return figures
    ours, theirs = found.unit_sum / count, asked.unit_sum / n_asked
    figures["centroid_distance"] = float(np.linalg.norm(ours - theirs))
    lengths = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    if lengths == 0:
        reasons["centroid_cosine"] = "a mean is zero"
    else:
        figures["centroid_cosine"] = float(ours @ theirs) / lengths
    return figures
