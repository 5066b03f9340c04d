"""Adjusting p values for the number of comparisons that are shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name

__all__ = ["CORRECTIONS", "correct"]

CORRECTIONS = ("holm", "none")


def correct(p: NDArray[np.float64], method: str) -> NDArray[np.float64]:
    """Adjust p values for the number of comparisons in their family.

    Parameters
    ----------
    p : ndarray of float64, shape (f,)
        All p values of the family; NaN is not allowed in.
    method : {'holm', 'none'}
        Holm 1979 holds the family-wise error rate under any dependence.

    Returns
    -------
    ndarray of float64, shape (f,)
        Adjusted p values, at most 1.

    Examples
    --------
    >>> correct(np.array([0.01, 0.04, 0.03]), "holm").round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    if method not in CORRECTIONS:
        raise unknown_name("correction", method, CORRECTIONS)
    if np.isnan(p).any():
        raise InputError("a p value is NaN: a family must hold defined p values only")
    if method == "none":
        return p.copy()
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
