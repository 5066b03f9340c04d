"""Differences between runs by groups of queries, all in one family of comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from retrieval_eval.comparison.corrections import correct_families
from retrieval_eval.comparison.differences import compare
from retrieval_eval.comparison.results import (
    CompareOptions,
    Comparison,
    Difference,
    enough_draws,
    families_of,
)
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

__all__ = ["NO_LABEL", "QuerySlice", "SliceComparison", "Slices", "compare_slices"]

NO_LABEL = "(no label)"
"""Slice of the queries that have no label."""


@dataclass(frozen=True)
class SliceComparison(Comparison):
    """The differences on one slice, whose p values are adjusted over all slices.

    Parameters
    ----------
    runs, measures, differences, options, ...
        As of :class:`~retrieval_eval.comparison.Comparison`.
    whole_family : str
        What the correction is over, in words: all slices.
    whole_family_size : int
        What the smallest p value is multiplied by, at most.
    """

    whole_family: str = ""
    whole_family_size: int = 1

    @property
    def family(self) -> str:
        """What the correction is over, in words."""
        return self.whole_family

    @property
    def family_size(self) -> int:
        """That of all slices together."""
        return self.whole_family_size


class QuerySlice(NamedTuple):
    """The differences on some of the queries.

    Parameters
    ----------
    label : str
        What these queries have in common.
    n : int
        How many they are.
    comparison : SliceComparison
        The differences on them.
    """

    label: str
    n: int
    comparison: SliceComparison


@dataclass(frozen=True)
class Slices:
    """Differences slice by slice; the slices share no query, and together hold all.

    Parameters
    ----------
    slices : tuple of QuerySlice
        In the order in which labels come first in the mapping of labels; queries without a label
        last.
    family : str
        What the correction is over, in words.
    options : CompareOptions
        How runs were compared.
    """

    slices: tuple[QuerySlice, ...]
    family: str
    options: CompareOptions

    @property
    def notes(self) -> list[str]:
        """What limits these answers, in sentences; empty if nothing does.

        One that does not hold for all slices starts with the label of its slice.
        """
        by_slice = [one.comparison.notes for one in self.slices]
        common = [note for note in by_slice[0] if all(note in notes for notes in by_slice)]
        return common + [
            f"{one.label}: {note}"
            for one, notes in zip(self.slices, by_slice, strict=True)
            for note in notes
            if note not in common
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows."""
        return {
            "family": self.family,
            "options": self.options.as_dict(),
            "slices": [
                {
                    "label": one.label,
                    "n": one.n,
                    "differences": [
                        difference.as_dict(self.options.test)
                        for difference in one.comparison.differences
                    ],
                }
                for one in self.slices
            ],
        }


def compare_slices(
    evaluations: Sequence[Evaluation],
    labels: Mapping[str, str],
    *,
    pairs: Literal["reference", "all"] | Sequence[tuple[int, int]] = "reference",
    references: Sequence[str] = (),
    options: CompareOptions | None = None,
    threads: int | None = None,
) -> Slices:
    """Compare runs on each slice of the queries.

    Who looks at many slices finds a difference in one of them by chance. Therefore all slices x
    pairs x measures are corrected together, as one family; with ``family="measure"``, all slices x
    pairs of each measure. The p values of tukey, which hold for all pairs of a slice and measure
    together, are multiplied by the number of slices (and, with ``family="all"``, of measures).

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Of the same qrels, measures and options.
    labels : mapping of str to str
        Label of each query id. Queries without one form the slice ``(no label)``; ids that were not
        evaluated do not matter.
    pairs, references, options, threads
        As for :func:`~retrieval_eval.comparison.compare`.

    Returns
    -------
    Slices

    Raises
    ------
    InputError
        If there is no evaluation, no evaluated query has a label, or :func:`compare` refuses.

    Examples
    --------
    >>> from retrieval_eval import evaluate
    >>> qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}}
    >>> one = evaluate(qrels, {"q1": {"a": 1.0}, "q2": {"a": 1.0}}, ["RR"])
    >>> other = evaluate(qrels, {"q1": {"a": 1.0}, "q3": {"b": 2.0, "a": 1.0}}, ["RR"])
    >>> found = compare_slices([one, other], {"q1": "short", "q2": "long"})
    >>> [(label, n, c.differences[0].mean_diff) for label, n, c in found.slices]
    [('short', 1, 0.0), ('long', 1, -1.0), ('(no label)', 1, 0.5)]
    >>> found.family
    '3 comparisons: 3 slices x 1 pair of runs x 1 measure'
    """
    options = options or CompareOptions()
    runs = list(evaluations)
    if not runs:
        raise InputError("there is no evaluation to compare")
    evaluated = dict.fromkeys(query_id for one in runs for query_id in one.query_ids)
    if not any(query_id in labels for query_id in evaluated):
        raise InputError(
            f"no query that was evaluated has a label: evaluated are {_some(evaluated)}; labelled "
            f"are {_some(labels)}"
        )
    present = {labels.get(query_id, NO_LABEL) for query_id in evaluated}
    names = [one for one in dict.fromkeys((*labels.values(), NO_LABEL)) if one in present]
    # Of the draws, there must be enough for the family of all slices.
    size = len(names) * len(runs[0].measures) * (len(runs) ** 2 if pairs == "all" else len(runs))
    raw = replace(options, correction="none", draws=enough_draws(options, size))
    found = []
    for name in names:
        some = [_only(one, name, labels) for one in runs]
        found.append(
            compare(some, pairs=pairs, references=references, options=raw, threads=threads)
        )
    measures = found[0].measures
    adjusted = iter(
        _corrected(
            [d for one in found for d in one.differences], len(names), len(measures), options
        )
    )
    family, size = _family(found, options)
    slices = tuple(
        QuerySlice(
            name,
            one.n_queries,
            SliceComparison(
                **{field.name: getattr(one, field.name) for field in fields(one)}
                | {
                    "differences": tuple(next(adjusted) for _ in one.differences),
                    "options": options,
                    "whole_family": family,
                    "whole_family_size": size,
                }
            ),
        )
        for name, one in zip(names, found, strict=True)
    )
    return Slices(slices, family, options)


def _some(ids: Mapping[str, Any]) -> str:
    shown = [repr(one) for one in list(ids)[:3]]
    return ", ".join(shown) + (", ..." if len(ids) > len(shown) else "") if shown else "none"


def _only(one: Evaluation, name: str, labels: Mapping[str, str]) -> Evaluation:
    """Return the scores on one slice; counts of missing queries are not those of the slice."""
    places = [
        place
        for place, query_id in enumerate(one.query_ids)
        if labels.get(query_id, NO_LABEL) == name
    ]
    ids = tuple(one.query_ids[place] for place in places)
    return replace(one, query_ids=ids, values=one.values[:, places])


def _corrected(
    found: Sequence[Difference], slices: int, measures: int, options: CompareOptions
) -> list[Difference]:
    """Adjust p values, which come as they are, over all slices; `found` goes slice by slice."""
    p = np.array([one.p for one in found], dtype=np.float64)
    if options.test == "tukey":
        several = 1 if options.correction == "none" else slices
        several *= measures if options.correction != "none" and options.family == "all" else 1
        adjusted = np.minimum(p * several, 1.0)
    else:
        adjusted = correct_families(p, families_of(len(p), measures, options), options.correction)
    changed = [
        replace(one, p_adjusted=value, significant=bool(value <= options.alpha))
        for one, value in zip(found, adjusted.tolist(), strict=True)
    ]
    for name in ("noninferior", "equivalent"):  # margins are families of their own
        given = [getattr(one, f"p_{name}") for one in changed]
        p = np.array([np.nan if value is None else value for value in given], dtype=np.float64)
        adjusted = correct_families(p, families_of(len(p), measures, options), options.correction)
        changed = [
            one
            if value is None
            else replace(one, **{f"p_{name}": new, name: bool(new <= options.alpha)})
            for one, value, new in zip(changed, given, adjusted.tolist(), strict=True)
        ]
    return changed


def _family(found: Sequence[Comparison], options: CompareOptions) -> tuple[str, int]:
    """Say what the correction is over, and what it multiplies the smallest p by, at most."""
    measures, total = len(found[0].measures), sum(len(one.differences) for one in found)
    pairs = len(found[0].differences) // max(1, measures)
    shown = f"{_counted(len(found), 'slice')} x {_counted(pairs, 'pair')} of runs"
    size = total
    if options.test == "tukey":
        shown = (
            f"{_counted(len(found), 'slice')} x all pairs of {len(found[0].runs)} runs, the pairs "
            "by the test itself"
        )
        size = len(found) * measures
    if options.family == "measure":
        shown = f"{shown}, for each measure on its own"
        size //= max(1, measures)
    else:
        shown = f"{_counted(total, 'comparison')}: {shown} x {_counted(measures, 'measure')}"
    return shown, 1 if options.correction == "none" else size


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
