"""Further tables of a comparison: what its data can resolve, and what its conclusions stand on."""

from __future__ import annotations

import math

from retrieval_eval.comparison import Comparison, queries_needed
from retrieval_eval.report.comparisons import Section

__all__ = ["needed_section"]


def needed_section(comparison: Comparison, difference: float) -> Section:
    """Tell how many queries would show a difference of some size, at the spread that was seen.

    Parameters
    ----------
    comparison : Comparison
        Pairs of runs, whose standard deviations are taken.
    difference : float
        True mean difference, not 0, in the unit of the measures.
    """
    records = [
        {
            "a": one.a,
            "b": one.b,
            "measure": one.measure,
            "difference": difference,
            "sd": None if math.isnan(one.sd) else one.sd,
            "n": None
            if math.isnan(one.sd)
            else queries_needed(difference, one.sd, alpha=comparison.options.alpha),
        }
        for one in comparison.differences
    ]
    columns = [("a", False), ("b", False), ("measure", False), ("sd", True), ("queries", True)]
    cells = [
        [
            str(one["a"]),
            str(one["b"]),
            str(one["measure"]),
            "" if one["sd"] is None else f"{one['sd']:.4f}",
            "" if one["n"] is None else str(one["n"]),
        ]
        for one in records
    ]
    title = (
        f"queries that show a true difference of {difference:g} with a chance of 0.8, by a t test "
        f"at level {comparison.options.alpha:g}, uncorrected"
    )
    return Section("queries_needed", title, (columns, cells), records)
