"""The arithmetic of a certificate: tests of candidates, their order, the fixed sequence.

Queries are dealt into two parts. Given the tuning part, everything that decides which hypotheses
are tested, and in which order, is fixed; the held-out part then tests them in that order, each at
the whole level, and stops at the first that fails. Let H be the first true hypothesis of that
order: a false certificate needs H to be rejected, which happens with a chance of at most the
level, however many candidates there are and however their scores depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import PairedScores, noninferiority_p

__all__ = ["PartFigures", "measure_part", "order_candidates", "passed_in_sequence", "rare_loss_p"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PartFigures:
    """m candidates beside the reference on one part of the queries; arrays of shape (m,)."""

    n: NDArray[np.intp]
    n_differing: NDArray[np.intp]
    score: Array
    reference: Array
    difference: Array
    p: Array
    spread: Array


def measure_part(
    scores: Array, reference: Array, margin: float, rare_loss: float | None
) -> PartFigures:
    """Test each candidate against the margin on some queries.

    Parameters
    ----------
    scores : ndarray of float64, shape (m, n)
        Of the candidates; NaN where a measure is undefined. Such a query is left out of the pair.
    reference : ndarray of float64, shape (n,)
        Of the reference.
    margin : float
        What may be lost.
    rare_loss : float, optional
        As in :func:`rare_loss_p`; p is the larger one.

    Returns
    -------
    PartFigures
    """
    count = len(scores)
    score, mean, difference, p, spread = np.full((5, count), np.nan)
    n, n_differing = np.zeros((2, count), dtype=np.intp)
    defined = ~(np.isnan(scores) | np.isnan(reference))
    patterns, which = np.unique(defined, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        mine = np.flatnonzero(which.reshape(-1) == number)
        values = np.concatenate([scores[mine][:, pattern], reference[None, pattern]])
        pairs = np.stack([np.arange(len(mine)), np.full(len(mine), len(mine))], axis=1)
        paired = PairedScores(values, pairs)
        p[mine] = noninferiority_p(paired, np.full(len(mine), margin))
        if rare_loss is not None and paired.n > 1:
            p[mine] = np.maximum(p[mine], rare_loss_p(paired.differences, margin, rare_loss))
        score[mine], mean[mine] = values[:-1].mean(axis=1), values[-1].mean()
        difference[mine], spread[mine] = paired.means, paired.spreads
        n[mine] = paired.n
        n_differing[mine] = np.count_nonzero(paired.integers, axis=1)
    return PartFigures(n, n_differing, score, mean, difference, p, spread)


def rare_loss_p(differences: Array, margin: float, loss: float) -> Array:
    """P of the hypothesis that few queries lose much, so that the margin or more is lost.

    Under it a query loses `loss` with a chance of ``margin / loss``, and nothing otherwise: p is
    the chance that so many queries lose as little, together, as these do. A sample in which nothing
    is lost has a p of 0 by any test that estimates a spread; here it is
    ``(1 - margin / loss) ** n``.

    Parameters
    ----------
    differences : ndarray of float64, shape (m, n)
        Candidate minus reference.
    margin : float
        What may be lost.
    loss : float
        Largest loss on one query; 1 for a measure from 0 to 1.

    Returns
    -------
    ndarray of float64, shape (m,)
        0 where the margin is beyond the loss. Sums between multiples of the loss count by the
        incomplete beta function.

    Examples
    --------
    >>> rare_loss_p(np.zeros((1, 298)), 0.01, 1.0).round(4).tolist()
    [0.05]
    """
    from scipy.special import betainc

    n = differences.shape[1]
    share = margin / loss
    if share >= 1:
        return np.zeros(len(differences))
    lost = np.maximum(-differences.sum(axis=1), 0.0) / loss
    inside = lost < n
    p: Array = betainc(np.where(inside, n - lost, 1.0), lost + 1, 1 - share)
    return np.where(inside, p, 1.0)


def order_candidates(p: Array, cost: Array) -> NDArray[np.intp]:
    """Order candidates from the surest to the cheapest, each cheaper than all before it.

    A candidate is left out if another one costs no more and is no less sure: to certify it would be
    of no use.

    Parameters
    ----------
    p : ndarray of float64, shape (m,)
        On tuning queries.
    cost : ndarray of float64, shape (m,)
        Less is better.

    Returns
    -------
    ndarray of intp
        Places of the candidates in the sequence.

    Examples
    --------
    >>> order_candidates(np.array([0.01, 0.2, 0.0, 0.3]), np.array([5.0, 2.0, 7.0, 3.0])).tolist()
    [2, 0, 1]
    """
    order = np.lexsort((cost, p))
    cheapest_before = np.minimum.accumulate(np.concatenate([[np.inf], cost[order][:-1]]))
    return order[cost[order] < cheapest_before]


def passed_in_sequence(p: Sequence[float] | Array, level: float) -> int:
    """Count the tests before the first that fails; NaN fails.

    Examples
    --------
    >>> passed_in_sequence([0.01, 0.04, 0.06, 0.001], 0.05)
    2
    """
    failed = np.flatnonzero(~(np.asarray(p) <= level))
    return int(failed[0]) if len(failed) else len(p)
