"""What unjudged documents may have to do with a difference between runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from retrieval_eval.comparison.differences import compare
from retrieval_eval.comparison.results import CompareOptions, Difference
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation, EvaluationOptions, Evaluator, Measure
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["UnjudgedEffect", "unjudged"]

_DEPTH = 10  # where a measure has no cut-off
_NAN = float("nan")


@dataclass(frozen=True)
class UnjudgedEffect:
    """One difference, on the lists as they are and on condensed lists.

    Parameters
    ----------
    a, b : str
        Names of the runs; differences are a minus b.
    measure : str
        The measure, on the lists as they are: unjudged documents count as not relevant.
    depth : int
        Its cut-off, or 10 if it has none.
    judged_a, judged_b : float
        Mean share of judged documents among the first `depth` of each run.
    mean_diff, p_adjusted : float
        Mean difference, and its p, on the lists as they are.
    condensed_diff, condensed_p_adjusted : float
        The same with unjudged documents removed from the lists; NaN for a measure that cannot be
        told to remove them, such as Bpref, which passes over them anyway.
    changes : bool
        Whether the difference is significant one way and not the other, or is significant both ways
        with opposite signs.
    """

    a: str
    b: str
    measure: str
    depth: int
    judged_a: float
    judged_b: float
    mean_diff: float
    p_adjusted: float
    condensed_diff: float
    condensed_p_adjusted: float
    changes: bool

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows; what is not known as None."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: None if isinstance(value, float) and np.isnan(value) else value
            for name, value in values.items()
        }


def unjudged(
    qrels: Qrels,
    runs: Sequence[Run],
    measures: Sequence[str],
    *,
    pairs: Literal["reference", "all"] | Sequence[tuple[int, int]] = "reference",
    references: Sequence[str] = (),
    options: CompareOptions | None = None,
    evaluation: EvaluationOptions | None = None,
    threads: int | None = None,
) -> list[UnjudgedEffect]:
    """Compare runs twice: on the lists as they are, and without their unjudged documents.

    A run with fewer judged documents than another may only seem worse, since documents that nobody
    judged count as not relevant. A conclusion that holds both ways does not hang on them. One that
    changes is open: condensed lists lean the other way, towards runs with few judged documents.

    Parameters
    ----------
    qrels : Qrels
        The judgments.
    runs : sequence of Run
        At least two, of different names.
    measures : sequence of str
        Means over queries. Each is taken both ways, whatever its own ``judged_only=`` or that of
        `evaluation` says, and once, if it comes with and without.
    pairs, references, options, threads
        As for :func:`~retrieval_eval.comparison.compare`; margins have no effect here. The lists as
        they are, and condensed lists, are each a family of comparisons of their own, of one size.
    evaluation : EvaluationOptions, optional
        How runs are scored.

    Returns
    -------
    list of UnjudgedEffect
        Pair by pair, measure by measure.

    Raises
    ------
    InputError
        If there are fewer than two runs or two have one name, or a measure, name or value cannot be
        used.

    References
    ----------
    Sakai 2007, Alternatives to Bpref: condensed lists. Sakai 2008, Comparing metrics across TREC
    and NTCIR: the robustness to system bias: they overrate runs that were not pooled, where lists
    as they are underrate them.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1, "b": 0}})
    >>> old = Run.from_mapping({"q1": {"b": 2.0, "a": 1.0}}, name="old")
    >>> new = Run.from_mapping({"q1": {"x": 3.0, "y": 2.0, "a": 1.0}}, name="new")
    >>> [found] = unjudged(qrels, [old, new], ["RR@3"])
    >>> found.a, found.b, found.mean_diff.__round__(3), found.condensed_diff
    ('new', 'old', -0.167, 0.5)
    >>> found.judged_a.__round__(3), found.judged_b
    (0.333, 1.0)
    """
    names = [run.name for run in runs]
    if len(names) < 2:
        raise InputError("differences need at least two runs")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{names.count(repeated)} runs are named {repeated!r}: which is meant?")
    evaluation = evaluation or EvaluationOptions()
    whole = list(dict.fromkeys(_whole(one, evaluation) for one in measures))
    condensed = {one: _condensed(one) for one in whole if "judged_only" in one.spec.parameters}
    shares = {one: Measure("Judged", cutoff=_depth(one)) for one in whole}
    evaluator = Evaluator(qrels, [*whole, *condensed.values(), *shares.values()], evaluation)
    scored = {run.name: evaluator.evaluate(run) for run in runs}
    options = replace(options or CompareOptions(), margins={})

    def compared(chosen: Sequence[Measure]) -> dict[tuple[str, str, str], Difference]:
        some = [_only(one, tuple(map(str, chosen))) for one in scored.values()]
        found = compare(some, pairs=pairs, references=references, options=options, threads=threads)
        return {(one.a, one.b, one.measure): one for one in found.differences}

    # A measure without a condensed form stands for itself, so that both families have one size:
    # what changes then does not change because fewer comparisons were corrected for.
    without = compared([condensed.get(one, one) for one in whole])
    by_name = {str(one): one for one in whole}
    effects = []
    for (a, b, name), full in compared(whole).items():
        measure = by_name[name]
        share = str(shares[measure])
        other = without[a, b, str(condensed[measure])] if measure in condensed else None
        changes = other is not None and (
            full.significant != other.significant
            or (full.significant and np.sign(full.mean_diff) != np.sign(other.mean_diff))
        )
        effects.append(
            UnjudgedEffect(
                a=a,
                b=b,
                measure=name,
                depth=_depth(measure),
                judged_a=scored[a].means[share],
                judged_b=scored[b].means[share],
                mean_diff=full.mean_diff,
                p_adjusted=full.p_adjusted,
                condensed_diff=other.mean_diff if other else _NAN,
                condensed_p_adjusted=other.p_adjusted if other else _NAN,
                changes=bool(changes),
            )
        )
    return effects


def _whole(measure: str, options: EvaluationOptions) -> Measure:
    """Return the measure on the lists as they are."""
    parsed = Measure.parse(measure, defaults=options.defaults)
    given = tuple(one for one in parsed.given if one[0] != "judged_only")
    return replace(parsed, given=given)


def _condensed(measure: Measure) -> Measure:
    return Measure.parse(str(measure), defaults={"judged_only": True})


def _depth(measure: Measure) -> int:
    """Return the cut-off; a recall level is none."""
    return measure.cutoff if isinstance(measure.cutoff, int) else _DEPTH


def _only(one: Evaluation, measures: tuple[str, ...]) -> Evaluation:
    rows = [one.measures.index(name) for name in measures]
    return replace(one, measures=measures, values=one.values[rows])
