"""Scores of different retrievers brought to one scale, query by query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import unknown_name
from retrieval_eval.runs import Run, ranked

__all__ = ["NORMALISATIONS", "Normalisation", "normalise", "normalised_scores"]

Normalisation = Literal["none", "min-max", "max", "sum", "zmuv", "rank", "borda"]

NORMALISATIONS: tuple[str, ...] = get_args(Normalisation)
"""Ways to normalise."""

Floats = NDArray[np.float64]

_LARGE = 2.0**1000  # differences and sums of scores below it are finite


def normalise(run: Run, how: Normalisation) -> Run:
    """Normalise the scores of each query.

    Parameters
    ----------
    run : Run
        Of n documents for a query, with scores s; r is the rank, from 1.
    how : {'none', 'min-max', 'max', 'sum', 'zmuv', 'rank', 'borda'}
        ==========  ==============================  ==================  =========================
        name        new score                       range               if all scores are equal
        ==========  ==============================  ==================  =========================
        none        s                                                   s
        min-max     (s - min) / (max - min)         0 to 1              1
        max         s / max                         0 to 1              1
        sum         (s - min) / sum of (s - min)    0 to 1, sums to 1   1 / n
        zmuv        (s - mean) / standard           mean 0, variance 1  0
                    deviation (divisor n)
        rank        1 - (r - 1) / n                 1/n to 1            by rank all the same
        borda       c - r + 1, of c candidates      1 to c              by rank all the same
        ==========  ==============================  ==================  =========================

        A single document is the case of equal scores. 'max' divides by the largest magnitude where
        scores are negative, which keeps their order, in -1 to 1; zeros stay 0. The candidates of
        'borda' are all documents of the fused runs for the query; of a run alone its own, c = n.

    Returns
    -------
    Run
        The same documents. Scores are finite, and in the same order; where rounding makes two
        equal, the tie rule orders them.

    Raises
    ------
    InputError
        If there is no such normalisation.

    Notes
    -----
    'min-max' is Lee's [1]_; 'sum' and 'zmuv' are those of Montague and Aslam [2]_ ('min-max' is
    their "standard"); 'rank' is that of Renda and Straccia [3]_; 'borda' are the points of Aslam
    and Montague [4]_, in which equal sums of points are equal numbers. Where scores are all equal
    the formulas of the first three have no value; a list without differences is taken as a list of
    best documents.

    References
    ----------
    .. [1] J. H. Lee, Analyses of multiple evidence combination, SIGIR 1997.
    .. [2] M. Montague and J. A. Aslam, Relevance score normalization for metasearch, CIKM 2001.
    .. [3] M. E. Renda and U. Straccia, Web metasearch: rank vs. score based rank aggregation
       methods, SAC 2003.
    .. [4] J. A. Aslam and M. Montague, Models for metasearch, SIGIR 2001.

    Examples
    --------
    >>> run = Run.from_mapping({"q1": {"a": 9.0, "b": 6.0, "c": 5.0}, "q2": {"a": 3.0}})
    >>> normalise(run, "min-max").score.tolist()
    [1.0, 0.25, 0.0, 1.0]
    >>> normalise(run, "borda").score.tolist()
    [3.0, 2.0, 1.0, 1.0]
    """
    if how == "none":
        return run
    return ranked(replace(run, score=normalised_scores(run, how, np.diff(run.edges))))


def normalised_scores(run: Run, how: Normalisation, candidates: NDArray[np.int64]) -> Floats:
    """Return the new score of each row; see :func:`normalise`.

    Parameters
    ----------
    run : Run
        In rank order.
    how : str
        One of ``NORMALISATIONS``.
    candidates : ndarray of int64, shape (queries,)
        How many documents each query of the run has to choose from, for 'borda'.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    if how not in NORMALISATIONS:
        raise unknown_name("normalisation", how, NORMALISATIONS)
    if how == "borda":
        points: Floats = (candidates[run.query] - run.rank + 1).astype(np.float64)
        return points
    return _BY_NAME[how](run)


def _per_row(run: Run, values: NDArray[np.generic], answered: NDArray[np.bool_]) -> Floats:
    """Repeat one value of each answered query for its rows."""
    return np.repeat(values, np.diff(run.edges)[answered]).astype(np.float64, copy=False)


def _bounds(run: Run) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Highest and lowest score of each answered query, and which queries are answered."""
    answered = np.diff(run.edges) > 0
    high: Floats = run.score[run.edges[:-1][answered]]
    low: Floats = run.score[run.edges[1:][answered] - 1]
    return high, low, answered


def _position(run: Run) -> tuple[Floats, NDArray[np.bool_]]:
    """Place of each row between its query's bounds, 0 to 1, and which rows have equal bounds."""
    high, low, answered = _bounds(run)
    # A power of two changes no digit, and the difference of huge scores is no infinity.
    scale = np.where(np.maximum(np.abs(high), np.abs(low)) > _LARGE, 2.0**-100, 1.0)
    size = high * scale - low * scale
    flat = _per_row(run, size == 0, answered) > 0
    scale_row = _per_row(run, scale, answered)
    above = run.score * scale_row - _per_row(run, low * scale, answered)
    place: Floats = np.ones(len(run))
    np.divide(above, _per_row(run, size, answered), out=place, where=~flat)
    return place, flat


def _max(run: Run) -> Floats:
    high, low, answered = _bounds(run)
    size = _per_row(run, np.maximum(np.abs(high), np.abs(low)), answered)
    share: Floats = np.zeros(len(run))
    np.divide(run.score, size, out=share, where=size > 0)
    return share


def _totals(run: Run, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Sum of the values of each answered query, and which queries are answered."""
    answered = np.diff(run.edges) > 0
    if not answered.any():
        return np.empty(0), answered
    totals: Floats = np.add.reduceat(values, run.edges[:-1][answered])
    return totals, answered


def _sum(run: Run) -> Floats:
    # The sum is at least 1, since the best document's place is.
    place, _ = _position(run)
    totals, answered = _totals(run, place)
    return place / _per_row(run, totals, answered)


def _zmuv(run: Run) -> Floats:
    # Of places between the bounds, where nothing overflows or vanishes.
    place, flat = _position(run)
    totals, answered = _totals(run, place)
    counts = np.diff(run.edges)[answered]
    centred = place - _per_row(run, totals / counts, answered)
    squares, _ = _totals(run, centred**2)
    deviation = _per_row(run, np.sqrt(squares / counts), answered)
    scores: Floats = np.zeros(len(run))
    np.divide(centred, deviation, out=scores, where=~flat)
    return scores


def _rank(run: Run) -> Floats:
    counts = np.diff(run.edges)[run.query]
    share: Floats = (counts - run.rank + 1) / counts
    return share


_BY_NAME: dict[str, Callable[[Run], Floats]] = {
    "none": lambda run: run.score,
    "min-max": lambda run: _position(run)[0],
    "max": _max,
    "sum": _sum,
    "zmuv": _zmuv,
    "rank": _rank,
}
