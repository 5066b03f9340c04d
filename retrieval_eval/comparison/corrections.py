"""Adjusting p values for the number of comparisons that are shown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name

__all__ = ["CORRECTIONS", "correct", "correct_families"]

CORRECTIONS: Mapping[str, str] = {
    "none": "p values as they are: each test alone holds its level",
    "bonferroni": "family-wise error rate",
    "holm": "family-wise error rate, uniformly more powerful than bonferroni",
    "bh": "false discovery rate of independent or positively dependent tests",
    "by": "false discovery rate under any dependence",
}


def correct(p: NDArray[np.float64], method: str) -> NDArray[np.float64]:
    """Adjust p values for the number of comparisons in their family.

    Parameters
    ----------
    p : ndarray of float64, shape (f,)
        All p values of the family; NaN is not allowed in.
    method : {'none', 'bonferroni', 'holm', 'bh', 'by'}
        Bonferroni; Holm 1979; Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001.

    Returns
    -------
    ndarray of float64, shape (f,)
        Adjusted p values, at most 1.

    Raises
    ------
    InputError
        If the method is unknown, or a p value is NaN.

    Examples
    --------
    >>> correct(np.array([0.01, 0.04, 0.03]), "holm").round(3).tolist()
    [0.03, 0.06, 0.06]
    >>> correct(np.array([0.01, 0.04, 0.03]), "bh").round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    if method not in CORRECTIONS:
        raise unknown_name("correction", method, CORRECTIONS)
    p = np.asarray(p, dtype=np.float64)
    if np.isnan(p).any():
        raise InputError("a p value is NaN: a family must hold defined p values only")
    count = len(p)
    if method == "none":
        return p.copy()
    if method == "bonferroni":
        return np.minimum(p * count, 1.0)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(count)
    if method == "holm":
        scaled = p[order] * np.arange(count, 0, -1)
        adjusted[order] = np.maximum.accumulate(scaled)
    else:
        ranks = np.arange(1, count + 1)
        factor = (1 / ranks).sum() if method == "by" else 1.0
        scaled = p[order] * (count * factor / ranks)
        adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(adjusted, 1.0)


def correct_families(
    p: NDArray[np.float64], family: NDArray[np.intp], method: str
) -> NDArray[np.float64]:
    """Adjust the p values of several families, each on its own.

    Parameters
    ----------
    p : ndarray of float64, shape (f,)
        NaN where nothing could be told: stays NaN, and counts in no family.
    family : ndarray of intp, shape (f,)
        Number of the family of each.
    method : str
        As for :func:`correct`.

    Returns
    -------
    ndarray of float64, shape (f,)

    Examples
    --------
    >>> p = np.array([0.01, 0.04, np.nan, 0.5])
    >>> correct_families(p, np.array([0, 0, 0, 1]), "bonferroni").tolist()
    [0.02, 0.08, nan, 0.5]
    """
    adjusted = np.full(len(p), np.nan)
    for one in np.unique(family):
        mine = (family == one) & ~np.isnan(p)
        adjusted[mine] = correct(p[mine], method)
    return adjusted
