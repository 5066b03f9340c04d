"""Which rows of a sweep are compared with which."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from retrieval_eval.comparison import Comparison, compare
from retrieval_eval.sweep.execute import Outcome, by_view
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.rows import AnyRow, CombinedRow, Row

__all__ = ["RowPair", "compare_rows"]


@dataclass(frozen=True, eq=False)
class RowPair:
    """Two outcomes to compare, and why.

    Parameters
    ----------
    reference, candidate : Outcome
        Both ok.
    question : {'index', 'encoder', 'combination'}
        What differs between them.
    """

    reference: Outcome
    candidate: Outcome
    question: str


def _same_encoder(one: AnyRow, other: AnyRow) -> bool:
    return isinstance(one, Row) and isinstance(other, Row) and one.encoder is other.encoder


def compare_rows(
    plan: Plan, outcomes: Iterable[Outcome]
) -> list[tuple[str, list[RowPair], Comparison]]:
    """Compare, within each dataset, all that a reader will compare.

    Every index with the reference, the encoders under it, and each combination with its parts.

    Returns
    -------
    list of (str, list of RowPair, Comparison)
        Dataset (and filter), pairs, and their differences: pair by pair, measure by measure. All
        comparisons of a dataset under one filter are one family.
    """
    options = plan.sweep.compare.options(plan.sweep.seed)
    results = []
    for view, mine in by_view(outcomes):
        name = mine[0].row.dataset.name + (f", {view.shown}" if view.shown else "")
        references = [outcome for outcome in mine if outcome.row.is_reference]
        pairs = [
            RowPair(reference, candidate, "index")
            for reference in references
            for candidate in mine
            if candidate is not reference and _same_encoder(candidate.row, reference.row)
        ]
        pairs += [
            RowPair(one, other, "encoder") for one, other in itertools.combinations(references, 2)
        ]
        by_row = {id(outcome.row): outcome for outcome in mine}
        pairs += [
            RowPair(by_row[id(part)], outcome, "combination")
            for outcome in mine
            if isinstance(outcome.row, CombinedRow)
            for part in outcome.row.parts
        ]
        place = {id(outcome): number for number, outcome in enumerate(mine)}
        comparison = compare(
            [outcome.evaluation for outcome in mine if outcome.evaluation is not None],
            pairs=[(place[id(pair.candidate)], place[id(pair.reference)]) for pair in pairs],
            options=options,
        )
        results.append((name, pairs, comparison))
    return results
