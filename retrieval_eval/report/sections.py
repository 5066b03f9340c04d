"""Further tables of a comparison: what its data can resolve, and what its conclusions stand on."""

from __future__ import annotations

import math

from retrieval_eval.comparison import Comparison, Explanation, MovedDocument, queries_needed
from retrieval_eval.errors import InputError
from retrieval_eval.report.comparisons import Section

__all__ = ["explanation_section", "needed_section"]

_POWER = 0.8


def needed_section(comparison: Comparison, difference: float) -> Section:
    """Tell how many queries would show a difference of some size, at the spread that was seen.

    Parameters
    ----------
    comparison : Comparison
        Pairs of runs, whose standard deviations are taken.
    difference : float
        True mean difference, not 0, in the unit of the measures.
    """
    if not 0 < difference < math.inf:
        raise InputError(f"the difference is {difference}: it must be above 0")
    if comparison.options.alpha >= _POWER:
        raise InputError(f"at level {comparison.options.alpha:g} no test has a power of {_POWER:g}")
    records = [
        {
            "a": one.a,
            "b": one.b,
            "measure": one.measure,
            "difference": difference,
            "sd": None if math.isnan(one.sd) else one.sd,
            "n": _needed(difference, one.sd, comparison.options.alpha),
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


def _needed(difference: float, sd: float, alpha: float) -> int | None:
    if math.isnan(sd) or sd == 0:  # nothing is known of how differences would spread
        return None
    try:
        return queries_needed(difference, sd, alpha=alpha)
    except InputError:  # more than anybody could have
        return None


def explanation_section(found: Explanation) -> Section:
    """Show the queries that moved most, and what moved them.

    Parameters
    ----------
    found : Explanation
        Of one pair of runs by one measure.
    """
    sides = ""
    if found.by_index is not None and found.by_encoder is not None:
        told = (found.lost_by_index or 0) + (found.lost_by_encoder or 0)
        unknown = f", {found.lost - told} not to be told" if told < found.lost else ""
        sides = (
            f" ({found.lost_by_index} by the index, {found.lost_by_encoder} by the encoder"
            f"{unknown}); of the difference, {found.by_index:+.4f} is the index's and "
            f"{found.by_encoder:+.4f} the encoder's"
        )
        if found.missing_exact:
            sides += f", with {found.missing_exact} queries that {found.exact} does not answer as 0"
    title = (
        f"{found.a} - {found.b} by {found.measure}, {found.difference:+.4f}: "
        f"{found.n_differing} of {found.n_queries} queries differ; relevant documents in the first "
        f"{found.k}: {found.gained} gained, {found.lost} lost{sides}"
    )
    columns = [
        ("query", False),
        ("a\u00a0-\u00a0b", True),
        ("a", True),
        ("b", True),
        ("documents:\u00a0rank\u00a0in\u00a0b\u00a0>\u00a0in\u00a0a", False),
    ]
    cells = [
        [
            one.query_id,
            f"{one.difference:+.4f}",
            f"{one.score_a:.4f}",
            f"{one.score_b:.4f}",
            "; ".join(_moved(document) for document in one.documents),
        ]
        for one in found.queries
    ]
    return Section("explanations", title, (columns, cells), [found.as_dict()])


def _moved(document: MovedDocument) -> str:
    places = ["none" if rank is None else str(rank) for rank in (document.rank_b, document.rank_a)]
    cause = "" if document.cause is None else f", {document.cause}"
    return f"{document.change} {document.document_id} ({' > '.join(places)}{cause})"
