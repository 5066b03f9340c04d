"""Groups of runs that a comparison of all pairs cannot tell apart."""

from __future__ import annotations

from itertools import combinations
from string import ascii_lowercase, ascii_uppercase

import numpy as np
from numpy.typing import NDArray

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
        Letters of each run, in their order; ``a`` is among those of the best mean. After ``z``
        come ``A`` to ``Z``, then ``a1``, ``b1`` and so on.

    Raises
    ------
    InputError
        If pairs are missing, or the measure was not compared.

    References
    ----------
    Piepho 2004, An algorithm for a letter-based representation of all-pairwise comparisons; found
    here as a greedy clique cover (Gramm et al. 2006, Algorithms for compact letter displays).

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
    places = list(combinations(range(len(runs)), 2))
    wanted = [frozenset((runs[i], runs[j])) for i, j in places]
    if len(set(runs)) == len(runs):  # then pairs may stand in any order
        by_names = {frozenset((one.a, one.b)): one for one in mine}
        mine = [by_names[pair] for pair in wanted if pair in by_names and len(mine) == len(wanted)]
    if [frozenset((one.a, one.b)) for one in mine] != wanted:
        raise InputError("groups need all pairs of runs: compare them with pairs='all'")
    alike = np.eye(len(runs), dtype=bool)
    for (i, j), difference in zip(places, mine, strict=True):
        alike[i, j] = alike[j, i] = not difference.significant
    means = np.array([row[column] for row in comparison.means])
    order = np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable")
    letters = [""] * len(runs)
    for number, group in enumerate(_cover(alike[np.ix_(order, order)])):
        letter = _LETTERS[number % len(_LETTERS)] + str(number // len(_LETTERS) or "")
        for rank in group:
            letters[order[rank]] += letter
    return tuple(letters)


_LETTERS = ascii_lowercase + ascii_uppercase


def _cover(alike: NDArray[np.bool_]) -> list[list[int]]:
    """Form groups in which all are alike, such that every two that are alike share one.

    Grown from the best run on and from the farthest that is alike, so that runs next to each other
    come together. All groups that there are could be exponentially many.
    """
    missing = np.triu(alike)
    groups = []
    for first in range(len(alike)):
        for last in range(len(alike) - 1, first - 1, -1):
            if not missing[first, last]:
                continue
            group = [first, last] if last > first else [first]
            together = alike[first] & alike[last]
            for other in range(len(alike)):
                if together[other] and other not in group:
                    group.append(other)
                    together = together & alike[other]
            missing[np.ix_(group, group)] = False
            groups.append(sorted(group))
    together = np.zeros(alike.shape, dtype=np.int64)
    for group in groups:
        together[np.ix_(group, group)] += 1
    needed = []
    for group in reversed(groups):
        if (together[np.ix_(group, group)] > 1).all():  # others tell all that this one tells
            together[np.ix_(group, group)] -= 1
        else:
            needed.append(group)
    return sorted(needed)  # so that the first is one of the best run
