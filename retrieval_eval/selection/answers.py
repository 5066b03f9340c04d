"""From candidates to an answer: screened and ordered on tuning queries, tested on the others."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import PairedScores, difference_intervals, queries_needed
from retrieval_eval.comparison.margins import lower_bounds
from retrieval_eval.errors import InputError
from retrieval_eval.selection.certify import (
    PartFigures,
    measure_part,
    order_candidates,
    passed_in_sequence,
)
from retrieval_eval.selection.groups import Barrier, Group
from retrieval_eval.selection.results import (
    Answer,
    Candidate,
    Certificate,
    PartScores,
    SelectOptions,
)

__all__ = ["Plan", "answer_plan", "joint_plans", "plan_of"]

_POWER = 0.8
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """All that tuning queries decide; nothing in it has seen a held-out score.

    Parameters
    ----------
    groups : tuple of Group
        One for each place.
    rows : ndarray of intp, shape (places, m)
        The row of each candidate in each group; -1 where there is none.
    names : tuple of (str, str)
        Encoder and configuration of the candidates.
    cost : ndarray of float64, shape (m,)
        Of the candidates; relative to the reference where there are several places.
    reference_cost : float
        The reference's.
    p : ndarray of float64, shape (m,)
        On tuning queries, the largest of all places; NaN where unknown.
    barriers : tuple
        What keeps a candidate from being tested, all but the order; None for nothing.
    sequence : ndarray of intp
        The candidates to test, in this order.
    """

    groups: tuple[Group, ...]
    rows: NDArray[np.intp]
    names: tuple[tuple[str, str], ...]
    cost: Array
    reference_cost: float
    p: Array
    barriers: tuple[Barrier | None, ...]
    sequence: NDArray[np.intp]


def joint_plans(groups: Sequence[Group], options: SelectOptions) -> list[Plan]:
    """Plan an answer for all places at once, for each encoder that has a reference in all."""
    places = {group.place for group in groups}
    if len(places) < 2:
        return []
    plans = []
    for encoder in dict.fromkeys(group.encoder for group in groups):
        mine = [group for group in groups if group.encoder == encoder]
        references = {(one.reference["encoder"], one.reference["configuration"]) for one in mine}
        if len(mine) == len(places) and len(references) == 1:
            plans.append(plan_of(mine, options))
    return plans


def plan_of(groups: Sequence[Group], options: SelectOptions) -> Plan:
    """Screen and order the candidates of one question by tuning queries."""
    numbers: list[dict[tuple[str, str], int]] = []
    if len(groups) == 1:
        names = [(row["encoder"], row["configuration"]) for row in groups[0].rows]
        rows = np.arange(len(names), dtype=np.intp)[None]
    else:
        for group in groups:
            found: dict[tuple[str, str], int] = {}
            for place, row in enumerate(group.rows):
                found.setdefault((row["encoder"], row["configuration"]), place)
            numbers.append(found)
        names = list(dict.fromkeys(name for found in numbers for name in found))
        rows = np.array([[found.get(one, -1) for one in names] for found in numbers], dtype=np.intp)
    cost, reference_cost = _joint_cost(groups, rows)
    p = np.full(len(names), -np.inf)
    for group, mine in zip(groups, rows, strict=True):
        p = np.maximum(p, _taken(group.tuning.p, mine))
    fits = all(group.reference_fits for group in groups)
    barriers = [
        _barrier(groups, rows[:, place], cost[place], reference_cost if fits else math.inf, options)
        for place in range(len(names))
    ]
    free = np.flatnonzero([one is None for one in barriers])
    sequence = free[order_candidates(p[free], cost[free])]
    return Plan(
        tuple(groups), rows, tuple(names), cost, reference_cost, p, tuple(barriers), sequence
    )


def _taken(values: Array, rows: NDArray[np.intp]) -> Array:
    padded = np.append(values, np.nan)  # -1, no row, finds the last
    return padded[rows]


def _joint_cost(groups: Sequence[Group], rows: NDArray[np.intp]) -> tuple[Array, float]:
    if len(groups) == 1:
        return groups[0].costs, groups[0].reference_cost
    ratios = []
    for group, mine in zip(groups, rows, strict=True):
        reference = group.reference_cost if group.reference_cost > 0 else math.nan
        ratios.append(_taken(group.costs, mine) / reference)
    return np.prod(ratios, axis=0) ** (1 / len(groups)), 1.0


def _barrier(
    groups: Sequence[Group],
    rows: NDArray[np.intp],
    cost: float,
    reference_cost: float,
    options: SelectOptions,
) -> Barrier | None:
    several = len(groups) > 1
    for group, row in zip(groups, rows, strict=True):
        where = f"{group.place}: " if several else ""
        if row < 0:
            return "not everywhere", f"{where}there is no such row"
        barrier = group.barriers[row]
        if barrier is not None:
            outcome, reason = barrier
            return "not everywhere" if outcome == "not run" and several else outcome, where + reason
    if math.isnan(cost):
        return "unmeasured", f"{options.cost} cannot be told beside the reference's"
    if cost >= reference_cost:
        return "not cheaper", f"{options.cost} is not below that of the reference"
    for group, row in zip(groups, rows, strict=True):
        difference = group.tuning.difference[row]
        if not difference > -options.margin:
            where = f"{group.place}: " if several else ""
            seen = "is undefined" if math.isnan(difference) else f"differs by {difference:+.4f}"
            return "screened", (
                f"{where}{options.measure} {seen} on tuning queries, beyond the margin of "
                f"{options.margin:g}"
            )
    return None


def answer_plan(plan: Plan, options: SelectOptions, level: float) -> Answer:
    """Test what a plan asks for on held-out queries, and put everything into words.

    Parameters
    ----------
    plan : Plan
        From :func:`plan_of`.
    options : SelectOptions
        As for the plan.
    level : float
        Level of the tests.
    """
    held = _held_out(plan, plan.sequence, options)
    p = _largest([one.p for one in held], len(plan.sequence))
    passed = passed_in_sequence(p, level)
    sequence: list[int] = plan.sequence.tolist()
    candidates = {}
    for step, number in enumerate(sequence):
        tested = step <= passed
        candidates[number] = replace(
            _candidate(plan, number, *_told(step, passed, p, plan, level, options)),
            held_out=tuple(_part(one, step) for one in held) if tested else (),
        )
    others = [number for number in range(len(plan.names)) if number not in candidates]
    for number in sorted(others, key=lambda one: (math.isnan(plan.cost[one]), plan.cost[one])):
        candidates[number] = _candidate(
            plan, number, *(plan.barriers[number] or _surer(plan, number))
        )
    chosen = candidates[sequence[passed - 1]] if passed else None
    leader = _leader(plan, candidates, options)
    nearest = None if chosen is not None else _nearest(plan, candidates)
    needed = _needed(plan, held, options, level) if nearest and sequence else (None, None)
    return Answer(
        places=tuple(group.place for group in plan.groups),
        encoder=plan.groups[0].encoder,
        reference=_reference(plan, options),
        level=level,
        candidates=tuple(candidates.values()),
        chosen=chosen,
        certificate=_certificate(plan, held, p, passed, level) if passed else None,
        leader=leader,
        nearest=nearest,
        queries_needed=needed[0],
        queries_needed_if_equal=needed[1],
    )


def _held_out(
    plan: Plan, numbers: NDArray[np.intp], options: SelectOptions
) -> tuple[PartFigures, ...]:
    return tuple(
        measure_part(
            group.held_out[rows[numbers]],
            group.held_out_reference,
            options.margin,
            options.rare_loss,
        )
        for group, rows in zip(plan.groups, plan.rows, strict=True)
    )


def _largest(values: Sequence[Array], count: int) -> Array:
    """Take the largest p of all places: inferior in one of them is what has to be rejected."""
    result: Array = np.max(values, axis=0) if count else np.zeros(0)
    return result


def _part(figures: PartFigures, place: int) -> PartScores:
    return PartScores(
        n=int(figures.n[place]),
        n_differing=int(figures.n_differing[place]),
        score=float(figures.score[place]),
        reference=float(figures.reference[place]),
        difference=float(figures.difference[place]),
        p=float(figures.p[place]),
        spread=float(figures.spread[place]),
    )


def _candidate(plan: Plan, number: int, outcome: str, reason: str) -> Candidate:
    rows = plan.rows[:, number]
    present = [(group, row) for group, row in zip(plan.groups, rows, strict=True) if row >= 0]
    run = len(present) == len(plan.groups) and all(
        group.tuning.n[row] > 0 for group, row in present
    )
    cost = float(plan.cost[number])
    return Candidate(
        row_ids=tuple(group.rows[row]["row_id"] for group, row in present),
        encoder=plan.names[number][0],
        configuration=plan.names[number][1],
        cost=None if math.isnan(cost) else cost,
        outcome=outcome,
        reason=reason,
        tuning=tuple(_part(group.tuning, row) for group, row in present) if run else (),
    )


def _reference(plan: Plan, options: SelectOptions) -> Candidate:
    first = plan.groups[0].reference
    held = [
        measure_part(group.held_out_reference[None], group.held_out_reference, options.margin, None)
        for group in plan.groups
    ]
    return Candidate(
        row_ids=tuple(group.reference["row_id"] for group in plan.groups),
        encoder=first["encoder"],
        configuration=first["configuration"],
        cost=None if math.isnan(plan.reference_cost) else plan.reference_cost,
        outcome="reference",
        reason="what the others are compared with",
        tuning=tuple(_part(group.tuning_self, 0) for group in plan.groups),
        held_out=tuple(_part(one, 0) for one in held),
    )


def _told(
    step: int, passed: int, p: Array, plan: Plan, level: float, options: SelectOptions
) -> Barrier:
    """Tell the outcome of a step of the sequence."""
    if step == passed - 1:
        return "chosen", f"the cheapest that is shown to lose less than {options.margin:g}"
    if step < passed:
        cheapest = plan.names[plan.sequence[passed - 1]][1]
        return "certified", f"not inferior either, but {cheapest} costs less"
    if step == passed:
        return "failed", (
            f"not shown to lose less than {options.margin:g}: p {p[step]:.4f} on held-out queries, "
            f"above {level:.4g}"
        )
    failed = plan.names[plan.sequence[passed]][1]
    return "not reached", f"cheaper, but less sure on tuning queries than {failed}, which failed"


def _surer(plan: Plan, number: int) -> Barrier:
    """Name the candidate that costs no more and is no less sure."""
    rivals = [
        one
        for one in plan.sequence.tolist()
        if plan.cost[one] <= plan.cost[number] and not plan.p[one] > plan.p[number]
    ]
    return "surer", (
        f"{plan.names[rivals[-1]][1]} costs no more and was as sure or surer on tuning queries"
    )


def _leader(
    plan: Plan, candidates: dict[int, Candidate], options: SelectOptions
) -> Candidate | None:
    """Find the best tuning score among those that were run and meet the goals."""
    barred = ("goal", "unmeasured", "not everywhere", "not run")
    able = [
        number
        for number, one in candidates.items()
        if one.outcome not in barred and not math.isnan(plan.p[number])
    ]
    if not able:
        return None
    best = max(able, key=lambda number: sum(one.difference for one in candidates[number].tuning))
    held = _held_out(plan, np.array([best], dtype=np.intp), options)
    return replace(candidates[best], held_out=tuple(_part(one, 0) for one in held))


def _nearest(plan: Plan, candidates: Mapping[int, Candidate]) -> Candidate | None:
    if len(plan.sequence):
        return candidates[int(plan.sequence[0])]
    screened = [
        number
        for number, one in candidates.items()
        if one.outcome == "screened" and not math.isnan(plan.p[number])
    ]
    best = min(screened, key=lambda number: (plan.p[number], plan.cost[number]), default=None)
    return None if best is None else candidates[best]


def _certificate(
    plan: Plan, held: Sequence[PartFigures], p: Array, passed: int, level: float
) -> Certificate:
    step = passed - 1
    number = plan.sequence[step]
    intervals, bounds, unseen = [], [], []
    for group, rows, figures in zip(plan.groups, plan.rows, held, strict=True):
        both = np.stack([group.held_out[rows[number]], group.held_out_reference])
        paired = PairedScores(both[:, ~np.isnan(both).any(axis=0)], np.array([[0, 1]]))
        low, high = difference_intervals(paired)[0].tolist()
        intervals.append((low, high))
        bounds.append(float(lower_bounds(paired, level)[0]))
        unseen.append(None if figures.n_differing[step] else 1 - level ** (1 / paired.n))
    return Certificate(
        level=level,
        p=float(p[step]),
        p_adjusted=float(p[: step + 1].max()),
        tests=passed,
        difference=tuple(float(one.difference[step]) for one in held),
        ci95=tuple(intervals),
        lower_bound=tuple(bounds),
        unseen=tuple(unseen),
    )


def _needed(
    plan: Plan,
    held: Sequence[PartFigures],
    options: SelectOptions,
    level: float,
) -> tuple[int | None, int | None]:
    """Count the queries that would show the first candidate of the sequence, all parts together."""
    if level >= _POWER:
        return None, None
    counts: list[list[float]] = [[], []]
    for group, figures in zip(plan.groups, held, strict=True):
        spread, n = float(figures.spread[0]), int(figures.n[0])
        distances = options.margin + float(figures.difference[0]), options.margin
        for found, distance in zip(counts, distances, strict=True):
            needed = math.nan
            # None where no number would do, or only one that nobody could have.
            if n > 1 and distance > 0 and (spread > 0 or options.rare_loss is not None):
                with contextlib.suppress(InputError):
                    needed = queries_needed(distance, spread, alpha=level, power=_POWER, sides=1)
            if options.rare_loss is not None:
                share = options.margin / options.rare_loss
                needed = max(needed, math.log(level) / math.log1p(-share))
            both = len(group.held_out_reference) + group.tuning_queries
            found.append(needed * both / len(group.held_out_reference))
    one, other = (
        None if any(math.isnan(count) for count in found) else math.ceil(max(found))
        for found in counts
    )
    return one, other
