"""Non-inferiority: whether a candidate is shown to lose less than an accepted margin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["not_inferior_p"]


def not_inferior_p(differences: NDArray[np.float64], margin: float) -> float:
    """One-sided paired t test of the hypothesis that the mean difference is at most ``-margin``.

    Parameters
    ----------
    differences : ndarray of float64, shape (n,)
        Candidate minus reference, for each query.
    margin : float
        What may be lost, in the unit of the measure; above 0.

    Returns
    -------
    float
        A small p says: not worse than the reference by the margin or more. NaN for one query.

    Examples
    --------
    >>> not_inferior_p(np.zeros(10), 0.01)
    0.0
    """
    from scipy.special import stdtr

    n = len(differences)
    if n < 2:
        return float("nan")
    mean, spread = differences.mean(), differences.std(ddof=1)
    if spread == 0:
        return 0.0 if mean > -margin else 1.0
    return float(stdtr(n - 1, -(mean + margin) / (spread / np.sqrt(n))))
