"""Running a sweep from its configuration to its folder of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from retrieval_eval import __version__
from retrieval_eval.combiners import Combiner
from retrieval_eval.encoders import Encoder
from retrieval_eval.errors import RetrievalEvalError
from retrieval_eval.executors import open_executor
from retrieval_eval.indexes import Index
from retrieval_eval.remote import open_store
from retrieval_eval.store import Store, digest
from retrieval_eval.sweep import status
from retrieval_eval.sweep.compare import compare_rows
from retrieval_eval.sweep.config import Sweep
from retrieval_eval.sweep.execute import find_all_health, outcomes_of
from retrieval_eval.sweep.graph import make_graph
from retrieval_eval.sweep.perform import Performance, job_counts
from retrieval_eval.sweep.plan import Plan, make_plan
from retrieval_eval.sweep.preview import Preview, preview
from retrieval_eval.sweep.results import (
    FORMAT,
    Results,
    check_target,
    is_finished,
    now,
    read_manifest,
    write_results,
)
from retrieval_eval.sweep.rows import Row
from retrieval_eval.sweep.search import search_ranges, without_ranges
from retrieval_eval.timing import hardware, library_versions, machine

__all__ = ["preview_sweep", "run_sweep"]


def preview_sweep(
    sweep: Sweep, store: Store | None = None, *, skip_unavailable: bool = False
) -> Preview:
    """Find out what there is to do, and do nothing of it; ranges that are searched are left out.

    Parameters
    ----------
    sweep : Sweep
        What would be run.
    store : Store, optional
        The user's own store by default.
    skip_unavailable : bool
        Skip rows whose library is not installed, instead of refusing the sweep.
    """
    store = store or open_store()
    plan = make_plan(without_ranges(sweep), store, skip_unavailable=skip_unavailable)
    return preview(make_graph(plan, machine()), store)


def run_sweep(
    sweep: Sweep,
    *,
    out: str | Path | None = None,
    store: Store | None = None,
    skip_unavailable: bool = False,
    progress: bool = True,
    executor: str = "local",
    jobs: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Results:
    """Run a sweep, or find it finished.

    Every job's result is kept in the store as soon as it is there, so a sweep that was stopped
    goes on where it was.

    Parameters
    ----------
    sweep : Sweep
        What to run.
    out : str or Path, optional
        Folder of the results; ``results/NAME`` by default. Earlier results of another
        configuration are moved aside, never lost.
    store : Store, optional
        The user's own store by default.
    skip_unavailable : bool
        Skip rows whose library is not installed, instead of refusing the sweep.
    progress : bool
        Show on stderr how it goes.
    executor : str
        Where the jobs are done: ``local`` or ``ray`` (see
        :func:`retrieval_eval.executors.open_executor`).
    jobs : int, optional
        How many jobs that are not timed may be under way at once on this machine.
    say : callable, optional
        Told in a sentence what a user should know of machines of a cluster; by default a logger is.

    Returns
    -------
    Results
        The folder, with its tables.

    Raises
    ------
    InputError
        For anything a user can put right; nothing is written then.
    MissingExtraError
        If a library is not installed.
    """
    damage: list[str] = []
    store = (store or open_store()).reporting(damage.append)
    folder = Path(out) if out is not None else Path("results") / sweep.name
    check_target(folder)
    tuning: list[dict[str, Any]] = []
    asked, limits = sweep, sweep.limits
    # What is wrong shows before anything is written, and before hours of trials.
    fixed = without_ranges(sweep)
    plan = make_plan(fixed, store, skip_unavailable=skip_unavailable) if fixed.indexes else None
    at_work = open_executor(
        executor,
        store,
        timed=sweep.timing is not None,
        jobs=jobs,
        processes=limits.processes,
        seconds=limits.seconds,
        memory_bytes=None if limits.memory_gb is None else int(limits.memory_gb * 1e9),
        say=say,
    )
    # Of two runs into one folder the second waits, and finds what the first has done.
    with at_work, store.alone(f"results-{digest({'folder': str(folder.resolve())})}"):
        work = Performance(store, at_work, progress, status.status_path(folder))
        if plan is None or sweep.spaces():
            sweep, tuning = search_ranges(sweep, work)
            plan = make_plan(sweep, store, skip_unavailable=skip_unavailable)
        facts = _facts(plan, at_work.machine)
        if tuning:
            facts = {**facts, "asked": asked.model_dump(mode="json"), "tuning": tuning}
        try:
            results = _run(plan, facts, work, folder, damage)
        except Exception as error:
            status.mark_stopped(status.status_path(folder), str(error))
            raise
        status.remove(status.status_path(folder))
        return results


def _run(
    plan: Plan,
    facts: Mapping[str, Any],
    work: Performance,
    folder: Path,
    damage: list[str],
) -> Results:
    started, began = now(), perf_counter()
    check_target(folder)
    key = digest(facts)
    if is_finished(folder, key):
        return Results(folder, read_manifest(folder) or {}, fresh=False)

    graph, done = work.perform(plan)
    outcomes = outcomes_of(graph, done)
    statuses = [outcome.status for outcome in outcomes]
    if "ok" not in statuses:
        reasons = "; ".join(dict.fromkeys(outcome.message for outcome in outcomes))
        raise RetrievalEvalError(f"no row of the sweep could be run: {reasons}")
    comparisons = compare_rows(plan, outcomes)
    notes = [*plan.notes(), *damage]
    notes += [
        f"{one['dataset']}, {one['encoder']}: no trial of {one['entry']} kept the goal's bounds"
        for one in facts.get("tuning", ())
        if one["best"] is None
    ]
    notes += [note for _, _, one in comparisons for note in one.cautions]
    manifest = {
        "format": FORMAT,
        "sweep_key": key,
        "name": plan.sweep.name,
        "started": started,
        "created": now(),
        "seconds": round(perf_counter() - began, 1),
        **facts,
        "hardware": hardware(),
        "jobs": job_counts(graph, done),
        "reference": plan.reference,
        "families": {dataset: one.family for dataset, _, one in comparisons},
        "rows": {status: statuses.count(status) for status in ("ok", "skipped", "failed")},
        "notes": list(dict.fromkeys(notes)),
    }
    health = find_all_health(graph, done)
    moved = write_results(folder, plan, outcomes, comparisons, manifest, health)
    if moved is not None:
        manifest = {**manifest, "earlier_results": str(moved)}
    return Results(folder, manifest, fresh=True)


def _facts(plan: Plan, timed_on: Mapping[str, Any]) -> Mapping[str, Any]:
    """All that decides a sweep's results, and so whether it is finished already."""
    names = {name for thing in _parts_of(plan) for name in thing.distributions}
    return {
        "retrieval_eval": __version__,
        "sweep": plan.sweep.model_dump(mode="json"),
        "row_ids": [row.row_id for row in plan.rows],
        "skipped": sorted({row.missing for row in plan.rows if row.missing}),
        "datasets": {row.dataset.name: row.dataset.summary() for row in plan.rows},
        "versions": library_versions(
            "numpy", "ir-measures", "pytrec_eval-terrier", "polars", *sorted(names)
        )
        | {
            name: text for row in plan.searched for name, text in row.index.index.versions().items()
        },
        "machine": dict(timed_on),
    }


def _parts_of(plan: Plan) -> list[Encoder | Index | Combiner]:
    """Return what the rows are made with."""
    parts: list[Encoder | Index | Combiner] = []
    for row in plan.rows:
        if isinstance(row, Row):
            parts += [row.encoder.encoder, row.index.index]
        else:
            parts.append(row.choice.combiner)
    return parts
