"""Running a plan: every distinct job once, every row kept, failures where they belong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import mean_intervals
from retrieval_eval.comparison.resampling import DEFAULT_DRAWS
from retrieval_eval.evaluation import Evaluation, value_limits
from retrieval_eval.pipeline import Built, CombinedRun, Embeddings, Job, Searched, run_of
from retrieval_eval.runs import Run
from retrieval_eval.store import Artefact
from retrieval_eval.sweep.graph import CombinedJobs, Graph
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.rows import AnyRow, CombinedRow, View
from retrieval_eval.sweep.schedule import Done

__all__ = ["Outcome", "by_view", "find_all_health", "outcomes_of"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one row.

    Parameters
    ----------
    row : Row or CombinedRow
        The configuration.
    status : {'ok', 'skipped', 'failed'}
        What became of it.
    message : str
        Why it was skipped or how it failed.
    made : Artefact or None
        What holds its run; None unless ok.
    evaluation : Evaluation or None
        Its scores; None unless ok.
    searched : Searched or None
        What searching found and cost; None for a combined row.
    combined : CombinedRun or None
        What a combined row is made of.
    built : Built or None
        Its index, with what building cost.
    embeddings : Embeddings or None
        Its vectors, with what encoding cost.
    spread : mapping of str to (float, float)
        Lowest and highest result over build seeds, by column; empty where nothing is drawn.
    intervals : ndarray of float64, shape (m, 2), or None
        Interval of each mean.
    """

    row: AnyRow
    status: str
    message: str = ""
    made: Artefact | None = None
    evaluation: Evaluation | None = None
    searched: Searched | None = None
    combined: CombinedRun | None = None
    built: Built | None = None
    embeddings: Embeddings | None = None
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    intervals: NDArray[np.float64] | None = None

    def run(self) -> Run:
        """Read its run: all of a sweep may be too large to be held at once."""
        if self.made is None:
            raise ValueError(f"a row that is {self.status} has no run")
        row = self.row
        return run_of(self.made, row.run_name, row.dataset.query_ids, row.dataset.document_ids)


def outcomes_of(graph: Graph, done: Mapping[Job, Done]) -> list[Outcome]:
    """Put together what became of each row.

    Parameters
    ----------
    graph : Graph
        Its rows and jobs.
    done : mapping of Job to Done
        How every job ended.

    Returns
    -------
    list of Outcome
        In the order of the plan's rows.
    """
    outcomes: dict[AnyRow, Outcome] = {}
    for row in graph.plan.rows:
        outcomes[row] = _outcome(graph, row, done, outcomes)
    by_dataset: dict[int, list[Outcome]] = {}
    for outcome in outcomes.values():
        by_dataset.setdefault(id(outcome.row.dataset), []).append(outcome)
    return [one for some in by_dataset.values() for one in _with_intervals(graph.plan, some)]


def _outcome(
    graph: Graph, row: AnyRow, done: Mapping[Job, Done], before: Mapping[AnyRow, Outcome]
) -> Outcome:
    if row.missing:
        return Outcome(row, "skipped", row.missing)
    if isinstance(row, CombinedRow):
        lost = next((before[one] for one in row.parts if before[one].made is None), None)
        if lost is not None:
            message = f"{lost.row.encoder_label} | {lost.row.shown} {lost.status}: {lost.message}"
            return Outcome(row, lost.status, message)
    jobs = graph.rows[row]
    failure = next((done[job].failure for job in jobs if done[job].failure), None)
    if failure is not None:
        return Outcome(row, "failed", failure)

    def result(job: Job) -> Artefact:
        artefact = done[job].artefact
        if artefact is None:
            raise RuntimeError(f"{job.label}: neither failed nor done")
        return artefact

    made, name = result(jobs.run), row.run_name
    if isinstance(jobs, CombinedJobs):
        evaluation = jobs.evaluation.evaluation(result(jobs.evaluation), name)
        return Outcome(row, "ok", made=made, evaluation=evaluation, combined=CombinedRun.of(made))
    evaluations = [job.evaluation(result(job), name) for job in jobs.evaluations]
    searched = [Searched.of(result(job)) for job in jobs.searches]
    built = [Built.of(result(job)) for job in jobs.builds]
    return Outcome(
        row,
        "ok",
        made=made,
        searched=searched[0],
        evaluation=evaluations[0],
        built=built[0],
        embeddings=Embeddings.of(result(jobs.documents), result(jobs.queries)),
        spread=_spread(graph.plan, evaluations, searched, built),
    )


def _spread(
    plan: Plan,
    evaluations: Sequence[Evaluation],
    searched: Sequence[Searched],
    built: Sequence[Built],
) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest result over build seeds, by column."""
    if len(built) == 1:
        return {}
    columns: dict[str, list[float | None]] = {
        name: [each.means[name] for each in evaluations] for name in evaluations[0].measures
    }
    recall = f"neighbour_recall@{plan.sweep.neighbour_recall}"
    columns[recall] = [each.neighbour_recall for each in searched]
    columns["build_s"] = [each.build_s for each in built]
    known = {
        name: [value for value in values if value is not None] for name, values in columns.items()
    }
    return {name: (min(values), max(values)) for name, values in known.items() if values}


def _with_intervals(plan: Plan, outcomes: list[Outcome]) -> list[Outcome]:
    """Add the 95 % intervals of the means; those of one filter share their queries."""
    found: dict[int, NDArray[np.float64]] = {}
    for _, group in by_view(outcomes):
        evaluations = [one.evaluation for one in group if one.evaluation is not None]
        bounds = mean_intervals(
            np.concatenate([evaluation.values for evaluation in evaluations]),
            plan.sweep.compare.interval,
            limits=[value_limits(name) for one in evaluations for name in one.measures],
            draws=plan.sweep.compare.draws or DEFAULT_DRAWS,
            seed=plan.sweep.seed,
        )
        parts = np.split(bounds, len(evaluations))
        found |= {id(outcome): part for outcome, part in zip(group, parts, strict=True)}
    return [replace(one, intervals=found[id(one)]) if id(one) in found else one for one in outcomes]


def by_view(outcomes: Iterable[Outcome]) -> list[tuple[View, list[Outcome]]]:
    """Group outcomes that have scores by the filter, in its order."""
    groups: dict[View, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.evaluation is not None:
            groups.setdefault(outcome.row.view, []).append(outcome)
    return list(groups.items())


def find_all_health(
    graph: Graph, done: Mapping[Job, Done]
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what the dense embeddings of each dataset and encoder look like, where it is known.

    Returns
    -------
    list of (str, str, dict)
        Dataset, encoder and figures.
    """
    found = [(*names, done[job].artefact) for names, job in graph.health.items()]
    return [
        (dataset, encoder, artefact.meta["health"])
        for dataset, encoder, artefact in found
        if artefact is not None
    ]
