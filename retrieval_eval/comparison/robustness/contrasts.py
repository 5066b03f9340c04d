"""Whether a difference between two runs is another one on another slice of the queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retrieval_eval.comparison.corrections import correct_families
from retrieval_eval.comparison.results import Difference, families_of
from retrieval_eval.comparison.robustness.slices import Slices
from retrieval_eval.errors import InputError, unknown_name

__all__ = ["SliceContrast", "slice_contrasts"]


@dataclass(frozen=True)
class SliceContrast:
    """The difference a minus b on one slice, minus that on another.

    What cannot be told is NaN.

    Parameters
    ----------
    a, b : str
        Names of the runs.
    measure : str
        The measure.
    slice, other : str
        Labels of the slices.
    difference, other_difference : Difference
        The difference on each.
    contrast : float
        Difference on `slice` minus difference on `other`.
    ci95 : (float, float)
        Its 95 % interval.
    p, p_adjusted : float
        Of the hypothesis that the differences are equal, two-sided, before and after correction
        over all contrasts.
    significant : bool
        Whether `p_adjusted` is at most alpha.
    """

    a: str
    b: str
    measure: str
    slice: str
    other: str
    difference: Difference
    other_difference: Difference
    contrast: float
    ci95: tuple[float, float]
    p: float
    p_adjusted: float
    significant: bool


def slice_contrasts(slices: Slices, other: str) -> list[SliceContrast]:
    """Compare the differences on each slice with those on one of them.

    That a difference is significant on one slice and not on another does not say that it differs
    between them; this does. Slices share no query, so the test is Welch's, for two samples of
    paired differences.

    Parameters
    ----------
    slices : Slices
        From :func:`~retrieval_eval.comparison.robustness.compare_slices`.
    other : str
        Label of the slice that the others are compared with.

    Returns
    -------
    list of SliceContrast
        Slice by slice, in their order, then as the differences stand; corrected together, by the
        method of the slices (Tukey's has no counterpart here: then by Holm's).

    Raises
    ------
    InputError
        If no slice has this label, or there is no other one.

    References
    ----------
    Welch 1947, The generalization of Student's problem when several different population variances
    are involved.

    Examples
    --------
    >>> from retrieval_eval import evaluate
    >>> from retrieval_eval.comparison.robustness import compare_slices
    >>> qrels = {f"q{i}": {"a": 1} for i in range(8)}
    >>> ranks = {f"q{i}": {"a": 1.0, "b": 2.0 if i in (1, 5, 6, 7) else 0.0} for i in range(8)}
    >>> perfect = {query: {"a": 1.0} for query in qrels}
    >>> runs = [evaluate(qrels, run, ["RR"]) for run in (perfect, ranks)]
    >>> found = compare_slices(runs, {q: "near" if q < "q4" else "far" for q in qrels})
    >>> (one,) = slice_contrasts(found, "far")
    >>> one.slice, one.contrast, [round(end, 2) for end in one.ci95]
    ('near', 0.25, [-0.18, 0.68])
    """
    from scipy.special import stdtr, stdtrit

    known = {one.label: one for one in slices.slices}
    if other not in known:
        raise unknown_name("slice", other, known)
    if len(known) < 2:
        raise InputError(f"there is no slice beside {other!r} to compare it with")
    base = known.pop(other).comparison.differences
    options, found = slices.options, []
    for label, one in known.items():
        for mine, its in zip(one.comparison.differences, base, strict=True):
            contrast = mine.mean_diff - its.mean_diff
            parts = [(d.sd**2 / d.n, d.n - 1) for d in (mine, its) if d.n > 1]
            variance = sum(part for part, _ in parts)
            low = high = p = float("nan")
            if len(parts) == 2 and variance > 0:
                free = variance**2 / sum(part**2 / count for part, count in parts)
                error = variance**0.5
                reach = float(stdtrit(free, 0.975)) * error
                low, high = contrast - reach, contrast + reach
                p = 2 * float(stdtr(free, -abs(contrast) / error))
            elif len(parts) == 2:  # without any spread
                low, high, p = contrast, contrast, float(contrast == 0)
            names = mine.a, mine.b, mine.measure, label, other
            found.append((*names, mine, its, contrast, (low, high), p))
    method = "holm" if options.test == "tukey" else options.correction
    values = np.array([one[-1] for one in found], dtype=np.float64)
    families = families_of(len(found), len(slices.slices[0].comparison.measures), options)
    adjusted = correct_families(values, families, method).tolist()
    return [
        SliceContrast(*one, p_adjusted=value, significant=bool(value <= options.alpha))
        for one, value in zip(found, adjusted, strict=True)
    ]
