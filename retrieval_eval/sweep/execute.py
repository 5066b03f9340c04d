"""Running a plan: every distinct job once, every row kept, failures where they belong."""

from __future__ import annotations

import contextlib
import itertools
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import mean_intervals
from retrieval_eval.comparison.resampling import DEFAULT_DRAWS
from retrieval_eval.errors import RetrievalEvalError
from retrieval_eval.evaluation import Evaluation, Evaluator, value_limits
from retrieval_eval.indexes import Index
from retrieval_eval.isolation import ChildError, Worker, machine_memory
from retrieval_eval.pipeline import (
    Attributes,
    Built,
    CombinedRun,
    Embeddings,
    Runner,
    Searched,
    Truth,
    combine,
    embed,
    find_health,
    find_truth,
    score,
)
from retrieval_eval.runs import Run
from retrieval_eval.store import Store
from retrieval_eval.sweep.config import located
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.progress import Bars
from retrieval_eval.sweep.rows import AnyRow, CombinedRow, Row, View

__all__ = ["Outcome", "by_view", "find_all_health", "run_plan"]


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
    run, evaluation : object or None
        Its results; None unless ok.
    searched : Searched or None
        Its hits, and what they cost; None for a combined row.
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
    run: Run | None = None
    evaluation: Evaluation | None = None
    searched: Searched | None = None
    combined: CombinedRun | None = None
    built: Built | None = None
    embeddings: Embeddings | None = None
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    intervals: NDArray[np.float64] | None = None


def run_plan(plan: Plan, store: Store, *, progress: bool) -> list[Outcome]:
    """Run every row of a plan, or find its parts in the store.

    A library's exception costs the rows that need what it was making; they are marked as failed.

    Parameters
    ----------
    plan : Plan
        What to do.
    store : Store
        Where every job's result is kept.
    progress : bool
        Whether to show progress bars where stderr is a terminal.

    Raises
    ------
    InputError
        For bad data that shows only now, such as NaN in an encoder's vectors. What was finished
        until then stays in the store.
    """
    outcomes: list[Outcome] = []
    limits = plan.sweep.limits
    memory = machine_memory() if limits.memory_gb is None else int(limits.memory_gb * 1e9)
    with contextlib.ExitStack() as stack:
        bars = stack.enter_context(Bars.show(len(plan.rows), wanted=progress))
        worker = Worker(memory_bytes=memory, seconds=limits.seconds)
        runner = Runner(stack.enter_context(worker) if limits.processes else None)
        for _, group in itertools.groupby(plan.rows, key=lambda row: id(row.dataset)):
            rows = list(group)
            evaluators = {row.view: Evaluator(row.view.qrels, plan.sweep.measures) for row in rows}
            done: list[Outcome] = []
            searched = [row for row in rows if isinstance(row, Row)]
            for _, part in itertools.groupby(searched, key=lambda row: id(row.encoder)):
                done += _run_encoder(plan, list(part), store, evaluators, bars, runner)
            done += _run_combined(plan, rows, done, store, evaluators, bars)
            outcomes += _with_intervals(plan, done)
    return outcomes


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


@contextlib.contextmanager
def _failure_costs(rows: Sequence[AnyRow], done: dict[int, Outcome]) -> Iterator[None]:
    """Mark those of the rows as failed that are not done when a library raises an exception."""
    try:
        yield
    except RetrievalEvalError:
        raise
    except ChildError as error:
        for row in rows:
            done.setdefault(id(row), Outcome(row, "failed", str(error)))
    except Exception as error:  # noqa: BLE001 (a library's failure costs its rows alone)
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})"
        for row in rows:
            done.setdefault(id(row), Outcome(row, "failed", " ".join(message.split())))


def _run_encoder(
    plan: Plan,
    rows: list[Row],
    store: Store,
    evaluators: Mapping[View, Evaluator],
    bars: Bars,
    runner: Runner,
) -> list[Outcome]:
    sweep, dataset, choice = plan.sweep, rows[0].dataset, rows[0].encoder
    done = {id(row): Outcome(row, "skipped", row.missing) for row in rows if row.missing}
    usable = [row for row in rows if not row.missing]
    if not usable:
        return list(done.values())
    with _failure_costs(usable, done):
        total = len(dataset.documents) + len(dataset.queries)
        with bars.texts(f"encoding with {choice.label}", total) as advance:
            embeddings = embed(store, dataset, choice.encoder, advance, stored=sweep.embeddings)
        for row in usable:  # the dimension may be known only now
            index = row.index.index
            with located("indexes", row.index.place):
                index.check(*embeddings.documents.shape)
                index.check_sweep(index.settings(row.setting), *embeddings.documents.shape)
        k = sweep.neighbour_recall
        metric = usable[0].index.index.metric  # one for all indexes that take such vectors
        truths = {
            view: find_truth(store, embeddings, metric, k, view.mask)
            for view in {row.view: None for row in usable}
        }
        work = _Work(plan, store, embeddings, truths, evaluators, _attributes(usable), runner)
        for _, group in itertools.groupby(usable, key=lambda row: id(row.index)):
            part = list(group)
            with _failure_costs(part, done), contextlib.ExitStack() as stack:
                built = work.build(part[0].index.index, stack)
                for row in part:
                    job = bars.job(f"{choice.label}, {row.shown} {row.view.shown}".strip())
                    with job, _failure_costs([row], done):
                        done[id(row)] = work.run(row, built)
    return [done[id(row)] for row in rows]


def _run_combined(
    plan: Plan,
    rows: Sequence[AnyRow],
    searched: Sequence[Outcome],
    store: Store,
    evaluators: Mapping[View, Evaluator],
    bars: Bars,
) -> list[Outcome]:
    """Combine what was searched; a row that lacks a part is skipped, and says which."""
    outcomes = {id(outcome.row): outcome for outcome in searched}
    done: dict[int, Outcome] = {}
    for row in rows:
        if not isinstance(row, CombinedRow):
            continue
        if row.missing:
            done[id(row)] = Outcome(row, "skipped", row.missing)
        lost = next((outcomes[id(one)] for one in row.parts if outcomes[id(one)].run is None), None)
        if lost is not None and not row.missing:
            message = f"{lost.row.encoder_label} | {lost.row.shown} {lost.status}: {lost.message}"
            done[id(row)] = Outcome(row, lost.status, message)
        if id(row) not in done:
            with bars.job(f"{row.encoder_label}, {row.shown}"), _failure_costs([row], done):
                done[id(row)] = _combine(plan, row, outcomes, store, evaluators[row.view])
        outcomes[id(row)] = done[id(row)]
    return list(done.values())


def _combine(
    plan: Plan,
    row: CombinedRow,
    outcomes: Mapping[int, Outcome],
    store: Store,
    evaluator: Evaluator,
) -> Outcome:
    parts = []
    for label, part in zip(row.choice.of, row.parts, strict=True):
        outcome = outcomes[id(part)]
        made = outcome.searched or outcome.combined
        if made is not None and outcome.run is not None:
            parts.append((label, made.key, outcome.run))
    combined = combine(
        store,
        row.dataset,
        row.choice.combiner,
        row.choice.identity,
        parts,
        qrels=row.view.qrels,
        k=plan.sweep.k,
        seed=plan.sweep.seed,
        name=row.run_name,
    )
    evaluation = score(store, row.dataset, combined.run, combined.key, evaluator)
    return Outcome(row, "ok", run=combined.run, evaluation=evaluation, combined=combined)


def find_all_health(
    plan: Plan, outcomes: Sequence[Outcome], store: Store
) -> list[tuple[str, str, dict[str, Any]]]:
    """Look at the dense embeddings of each dataset and encoder, if the sweep asks for it.

    Returns
    -------
    list of (str, str, dict)
        Dataset, encoder and figures.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for outcome in outcomes if plan.sweep.health else ():
        key = outcome.row.dataset.name, outcome.row.encoder_label
        embeddings = outcome.embeddings
        if embeddings is not None and not embeddings.sparse and key not in found:
            found[key] = find_health(store, embeddings, plan.sweep.seed)
    return [(*key, figures) for key, figures in found.items()]


def _attributes(rows: Sequence[Row]) -> Attributes | None:
    """Return the attributes that the filters and indexes of one dataset use."""
    filters = [row.view.where for row in rows if row.view.where is not None]
    columns = {one.column for where in filters for one in where.conditions}
    columns |= {column for row in rows for column in row.index.index.attribute_columns()}
    if not columns:
        return None
    table = rows[0].dataset.attribute_table(sorted(columns))
    return Attributes.of(table)


@dataclass(frozen=True, eq=False)
class _Work:
    """What all rows of one dataset and encoder share."""

    plan: Plan
    store: Store
    embeddings: Embeddings
    truths: Mapping[View, Truth]
    evaluators: Mapping[View, Evaluator]
    attributes: Attributes | None
    runner: Runner

    def build(self, index: Index, stack: contextlib.ExitStack) -> list[Built]:
        """Build with the sweep's seed, and with others where builds differ."""
        sweep = self.plan.sweep
        seeds = range(index.seed, index.seed + (sweep.build_seeds if index.seeded else 1))
        made = []
        for seed in seeds:
            one = type(index)(
                metric=index.metric, seed=seed, threads=index.threads, **asdict(index.parameters)
            )
            memory = sweep.timing.memory and seed == index.seed
            built = self.runner.build(
                self.store, self.embeddings, one, self.attributes, memory=memory
            )
            stack.callback(built.close)
            made.append(built)
        return made

    def run(self, row: Row, built: list[Built]) -> Outcome:
        """Search and score one row, with every build; time the first."""
        results = []
        for place, one in enumerate(built):
            found = self._search(row, one, timed=not place)
            run = Run.from_hits(
                found.hits, row.dataset.query_ids, row.dataset.document_ids, row.run_name
            )
            evaluation = score(self.store, row.dataset, run, found.key, self.evaluators[row.view])
            results.append((found, run, evaluation))
        found, run, evaluation = results[0]
        spread: dict[str, tuple[float, float]] = {}
        if len(built) > 1:
            recall = f"neighbour_recall@{self.plan.sweep.neighbour_recall}"
            columns: dict[str, list[float | None]] = {
                name: [each.means[name] for _, _, each in results] for name in evaluation.measures
            }
            columns[recall] = [each.neighbour_recall for each, _, _ in results]
            columns["build_s"] = [one.build_s for one in built]
            for name, values in columns.items():
                known = [value for value in values if value is not None]
                if known:
                    spread[name] = min(known), max(known)
        return Outcome(
            row,
            "ok",
            searched=found,
            run=run,
            evaluation=evaluation,
            built=built[0],
            embeddings=self.embeddings,
            spread=spread,
        )

    def _search(self, row: Row, built: Built, *, timed: bool) -> Searched:
        sweep = self.plan.sweep
        return self.runner.search(
            self.store,
            self.embeddings,
            built,
            self.truths[row.view],
            k=sweep.k,
            settings=row.setting,
            timing=sweep.timing if timed else None,
            neighbours=sweep.neighbour_recall,
            seed=sweep.seed,
            where=row.view.where,
            allowed=row.view.mask,
        )
