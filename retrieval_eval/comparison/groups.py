"""Groups of runs that a comparison of all pairs cannot tell apart."""

from __future__ import annotations

from itertools import count, product
from string import ascii_lowercase

import numpy as np

from retrieval_eval.comparison.results import Comparison
from retrieval_eval.errors import InputError, unknown_name

__all__ = ["indistinguishable_groups"]


def indistinguishable_groups(comparison: Comparison, measure: str) -> tuple[str, ...]:
    """Give runs letters such that two share one exactly if they do not differ significantly.

    Parameters
    ----------
    comparison : Comparison
        Of all pairs.
    measure : str
        One of its measures.

    Returns
    -------
    tuple of str
        Letters of each run, in their order; ``a`` is among those of the best mean.

    Raises
    ------
    InputError
        If pairs are missing, or the measure was not compared.

    References
    ----------
    Piepho 2004, An algorithm for a letter-based representation of all-pairwise comparisons.

    Examples
    --------
    >>> from retrieval_eval import compare, evaluate
    >>> qrels = {str(q): {"a": 1} for q in range(8)}
    >>> good = {str(q): {"a": 1.0} for q in range(8)}
    >>> poor = {str(q): {"b": 1.0} for q in range(8)}
    >>> runs = [evaluate(qrels, run, ["RR"]) for run in (poor, good, good)]
    >>> indistinguishable_groups(compare(runs, pairs="all"), "RR")
    ('b', 'a', 'a')
    """
    if measure not in comparison.measures:
        raise unknown_name("measure", measure, comparison.measures)
    runs, column = comparison.runs, comparison.measures.index(measure)
    mine = [one for one in comparison.differences if one.measure == measure]
    if len(mine) != len(runs) * (len(runs) - 1) // 2:
        raise InputError("groups need all pairs of runs: compare them with pairs='all'")
    groups = [frozenset(range(len(runs)))]
    places = [(i, j) for i in range(len(runs)) for j in range(i + 1, len(runs))]
    for (i, j), difference in zip(places, mine, strict=True):
        if difference.significant:
            groups = _split(groups, i, j)
    means = np.array([row[column] for row in comparison.means])
    order = np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable").tolist()
    rank = {run: place for place, run in enumerate(order)}
    groups.sort(key=lambda group: sorted(rank[run] for run in group))
    letters = dict(zip(groups, _letters(), strict=False))
    return tuple(
        "".join(letter for group, letter in letters.items() if run in group)
        for run in range(len(runs))
    )


def _split(groups: list[frozenset[int]], i: int, j: int) -> list[frozenset[int]]:
    """Part two runs wherever they are together; keep no group that lies within another."""
    parts: list[frozenset[int]] = []
    for group in groups:
        parts += [group - {i}, group - {j}] if {i, j} <= group else [group]
    unique = list(dict.fromkeys(parts))
    return [one for one in unique if not any(one < other for other in unique)]


def _letters() -> map[str]:
    lengths = (length for length in count(1))
    return map(
        "".join, (word for length in lengths for word in product(ascii_lowercase, repeat=length))
    )
