"""What the queries of a sweep can show at all: the smallest differences they can resolve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median, median_low
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_eval.comparison import correct, detectable_difference, queries_needed
from retrieval_eval.errors import InputError
from retrieval_eval.report.groups import compare_options

if TYPE_CHECKING:
    import polars as pl

__all__ = ["POWER", "Resolution", "lone_level", "resolutions"]

POWER = 0.8
"""Chance with which a difference is to be found."""


@dataclass(frozen=True)
class Resolution:
    """How small a difference between rows can be, and still be found.

    What cannot be told is NaN.

    Parameters
    ----------
    dataset : str
        As in ``comparisons.parquet``: with the filter, if there is one.
    question : {'index', 'encoder', 'combination'}
        What differs between the rows of a pair: their spread depends on it.
    measure : str
        The measure.
    n_queries : int
        Queries of a pair; the lower median where these differ.
    pairs, without_spread : int
        Pairs of rows whose differences have a spread; and those without, since they differ by the
        same on all queries, most often by nothing, or have fewer than two.
    sd : float
        Median standard deviation of the paired differences, in the unit of the measure.
    alpha, level : float
        Level of a test on its own, and the one that is left for a single difference in the family
        that the sweep corrects over: see :func:`lone_level`.
    alone, corrected : float
        True difference that a two-sided paired t test finds with a chance of 0.8 at these levels,
        in the unit of the measure; median over the pairs.
    unseen : float
        The same with a chance of 0.5, at `level`: most differences below it are missed.
    margin : float or None
        Loss that the sweep accepts, if it names one.
    queries_for_margin : int or None
        How many queries a difference as large as the margin needs, to be found with a chance of 0.8
        at `level`, if the spread is `sd`; None without a margin, a spread or such a number.
    """

    dataset: str
    question: str
    measure: str
    n_queries: int
    pairs: int
    without_spread: int
    sd: float
    alpha: float
    level: float
    alone: float
    corrected: float
    unseen: float
    margin: float | None = None
    queries_for_margin: int | None = None

    @property
    def sentence(self) -> str:
        """What it means, in a sentence."""
        if not self.pairs:
            return "no pair differs by more on one query than on another: there is no spread"
        if math.isnan(self.corrected):
            return f"a level of {self.level:g} leaves nothing to find"
        return (
            f"with {self.n_queries} queries, differences below {self.unseen:.2g} {self.measure} "
            f"will mostly go unseen; one of {self.corrected:.2g} is found four times in five"
        )


def lone_level(alpha: float, correction: str, size: int) -> float:
    """Return the level that a single true difference must reach in a family without any other.

    Parameters
    ----------
    alpha : float
        Level of the family.
    correction : {'none', 'bonferroni', 'holm', 'bh', 'by'}
        As in :func:`retrieval_eval.comparison.correct`.
    size : int
        Comparisons of the family, at least 1.

    Returns
    -------
    float
        Its p value must be at most this, while all others are 1. Where more differ, holm, bh and
        by ask for less.

    Examples
    --------
    >>> [round(lone_level(0.05, name, 10), 6) for name in ("none", "holm", "bh", "by")]
    [0.05, 0.005, 0.005, 0.001707]
    """
    tiny = 1e-12  # so small that no adjusted value is cut at 1
    p = np.ones(size)
    p[0] = tiny
    return alpha * tiny / float(correct(p, correction)[0])


def resolutions(comparisons: pl.DataFrame, manifest: Mapping[str, Any]) -> list[Resolution]:
    """Tell how small differences can be to be found, for each dataset, question and measure.

    The spread is that of the pairs that the sweep compared, as in ``detectable``; the family is
    theirs. Power is that of the paired t test, from the noncentral t distribution; that of the
    randomization test is nearly the same.

    Parameters
    ----------
    comparisons : polars.DataFrame
        As in ``comparisons.parquet``.
    manifest : mapping
        As in ``manifest.json``.

    Returns
    -------
    list of Resolution
        In the order of the table; none if nothing was compared.

    References
    ----------
    Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, chapter 2: with sd the
    standard deviation of the n paired differences and t' of the noncentral t distribution with
    n - 1 degrees of freedom and noncentrality difference / sd * sqrt(n), the power is
    P(abs(t') > t(1 - level / 2)).
    """
    options = compare_options(manifest)
    margins = manifest.get("sweep", {}).get("compare", {}).get("margin", {})
    records: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for one in comparisons.iter_rows(named=True):
        records.setdefault((one["dataset"], one["question"], one["measure"]), []).append(one)
        if _is_number(one["p_adjusted"]):
            family = one["dataset"], one["measure"] if options.family == "measure" else ""
            sizes[family] = sizes.get(family, 0) + 1
    found = []
    for (dataset, question, measure), mine in records.items():
        size = sizes.get((dataset, measure if options.family == "measure" else ""), 0)
        level = lone_level(options.alpha, options.correction, max(1, size))
        margin = next((one["margin"] for one in mine if one.get("margin") is not None), None)
        margin = margins.get(measure) if margin is None else margin
        found.append(
            _resolution((dataset, question, measure), mine, (options.alpha, level), margin)
        )
    return found


def _resolution(
    place: tuple[str, str, str],
    records: list[dict[str, Any]],
    levels: tuple[float, float],
    margin: float | None,
) -> Resolution:
    alpha, level = levels
    spread = [one for one in records if _is_number(one["detectable"])]
    factors = {
        n: tuple(_factor(n, *one) for one in ((alpha, POWER), (level, POWER), (level, 0.5)))
        for n in {one["n"] for one in spread}
    }
    # What is detectable is proportional to the spread, which the table does not have.
    sds = [one["detectable"] / factors[one["n"]][0] for one in spread]
    sd, alone, corrected, unseen = math.nan, math.nan, math.nan, math.nan
    if spread:
        sd = median(sds)
        alone, corrected, unseen = (
            median(one * factors[record["n"]][k] for one, record in zip(sds, spread, strict=True))
            for k in range(3)
        )
    return Resolution(
        *place,
        n_queries=median_low(one["n"] for one in records),
        pairs=len(spread),
        without_spread=len(records) - len(spread),
        sd=sd,
        alpha=alpha,
        level=level,
        alone=alone,
        corrected=corrected,
        unseen=unseen,
        margin=margin,
        queries_for_margin=_queries(margin, sd, level),
    )


def _factor(n: int, level: float, power: float) -> float:
    """Return the detectable difference in standard deviations; NaN where no power is left."""
    if level >= power:
        return math.nan
    return float(detectable_difference(1.0, n, alpha=level, power=power))


def _queries(margin: float | None, sd: float, level: float) -> int | None:
    if margin is None or not sd > 0 or level >= POWER:
        return None
    try:
        return queries_needed(margin, sd, alpha=level, power=POWER)
    except InputError:  # more than a billion
        return None


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
