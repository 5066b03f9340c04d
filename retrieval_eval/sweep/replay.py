"""Doing a row of finished results again, and saying whether its figures still hold."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.executors import open_executor
from retrieval_eval.pipeline import Job
from retrieval_eval.store import Store
from retrieval_eval.sweep.config import Sweep
from retrieval_eval.sweep.execute import Outcome, outcomes_of
from retrieval_eval.sweep.graph import make_graph
from retrieval_eval.sweep.perform import Performance
from retrieval_eval.sweep.plan import Plan, make_plan
from retrieval_eval.sweep.records import row_record
from retrieval_eval.sweep.results import Results
from retrieval_eval.sweep.rows import AnyRow, CombinedRow
from retrieval_eval.timing import library_versions

__all__ = ["Figure", "Replay", "replay"]

_SAME = 1e-9  # of scores between 0 and 1: what adding up in another order may change
_TIMES = 2.0  # a timing holds within this factor
_MEMORY = 1.1
_SHORT_S = 0.1  # a build is timed once, so one that is over sooner says little
_TIMINGS = ("latency_p50_s", "qps", "build_s", "train_s")
_NEVER = ("latency_p95_s", "latency_p99_s", "encode_documents_s", "encode_queries_s", "combine_s")
"""Timings that are not judged: the rare slow calls, and those of which noise is not watched."""
_FROM = {
    "encode": ("encode_documents_s", "encode_queries_s"),
    "build": (
        *("build_s", "train_s", "size_bytes", "peak_rss_bytes"),
        *("build_s_seeds_lowest", "build_s_seeds_highest"),
    ),
}
"""Figures that a job measures: not judged again where its result is taken over."""

_CIRCUMSTANCES = ("measured", "load_average", "other_cores", "timing_spread", "noise")

From = Literal["search", "build", "encode"]
Verdict = Literal["holds", "differs", "not judged"]


@dataclass(frozen=True)
class Figure:
    """One figure, then and now.

    Parameters
    ----------
    name : str
        Its column in ``results.parquet``; ``per_query`` counts queries with other scores.
    then, now : object
        Its values; None for unmeasured.
    verdict : {'holds', 'differs', 'not judged'}
        Scores and counts hold if they are equal to 1e-9; timings within a factor of 2, memory
        within one of 1.1. Timings of a noisy or of another machine are not judged, nor ever those
        of encoding and combining, builds below 0.1 s, and latencies beyond the median.
    """

    name: str
    then: Any
    now: Any
    verdict: Verdict


@dataclass(frozen=True)
class Replay:
    """A row that was done again.

    Parameters
    ----------
    row_id, shown : str
        Which row.
    figures : tuple of Figure
        The figures of the row that were measured again.
    changes : tuple of str
        What is no longer as it was: data, model, libraries, machine.
    """

    row_id: str
    shown: str
    figures: tuple[Figure, ...]
    changes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether no figure differs."""
        return all(one.verdict != "differs" for one in self.figures)


def replay(
    results: Results,
    row: str,
    *,
    store: Store,
    start: From = "build",
    progress: bool = True,
) -> Replay:
    """Do one row again, into a store that is thrown away, and compare.

    Parameters
    ----------
    results : Results
        A finished sweep.
    row : str
        The beginning of a row's id, or ``ENCODER | CONFIGURATION`` as tables show it, with
        ``DATASET, `` before it where there are several.
    store : Store
        Where results of what comes before `start` are taken from, as far as they are there; what
        is missing is done again. Only a dataset may be added to it.
    start : {'search', 'build', 'encode'}
        Where to begin anew. Encoding may take hours, or cost money.
    progress : bool
        Show on stderr how it goes.

    Raises
    ------
    InputError
        For an unknown row, or one that was not done.
    """
    then = _row_of(results.rows, row)
    sweep = Sweep(**results.manifest["sweep"])
    plan = make_plan(sweep, store, skip_unavailable=True)
    found = _same_row(plan, then)
    alone = Plan(plan.sweep, tuple(_with_parts(found)), plan.reference)
    limits = sweep.limits
    memory = None if limits.memory_gb is None else int(limits.memory_gb * 1e9)
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        own = Store(Path(scratch))
        executor = open_executor(
            "local", own, processes=limits.processes, seconds=limits.seconds, memory_bytes=memory
        )
        with executor:
            graph = make_graph(alone, executor.machine)
            kept = ("encode", "build")[: {"search": 2, "build": 1, "encode": 0}[start]]
            _borrow(graph.jobs, store, own, kept)
            graph, done = Performance(own, executor, progress, None).perform(alone)
            outcome = outcomes_of(graph, done)[-1]
    if outcome.status != "ok":
        raise InputError(f"row {then['row_id']}: {outcome.status}: {outcome.message}")
    changes = _changes(results.manifest, found, then["row_id"])
    same_machine = dict(executor.machine) == dict(results.manifest["machine"])
    skipped = {name for kind in kept for name in _FROM[kind]}
    figures = [
        one
        for one in _figures(plan, outcome, then, same_machine=same_machine)
        if one.name not in skipped
    ]
    figures.append(_per_query(results.per_query, then["row_id"], outcome))
    shown = f"{then['dataset']}, {then['encoder']} | {then['configuration']}"
    return Replay(then["row_id"], shown, tuple(figures), tuple(changes))


def _row_of(rows: pl.DataFrame, wanted: str) -> dict[str, Any]:
    """Return the row that a name stands for."""
    names: dict[str, list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        short = f"{row['encoder']} | {row['configuration']}"
        short += f", {row['filter']}" if row["filter"] else ""
        several = rows["dataset"].n_unique() > 1
        names.setdefault(f"{row['dataset']}, {short}" if several else short, []).append(row)
        if row["row_id"].startswith(wanted) and wanted:
            names.setdefault(wanted, []).append(row)
    found = names.get(wanted, [])
    if not found:
        raise unknown_name("row", wanted, sorted(names))
    if len(found) > 1:
        some = ", ".join(row["row_id"][:8] for row in found[:4])
        raise InputError(f"{wanted!r} stands for {len(found)} rows: name one by its id: {some}")
    if found[0]["status"] != "ok":
        raise InputError(
            f"row {wanted!r} was not done: {found[0]['status']}: {found[0]['message']}"
        )
    return found[0]


def _same_row(plan: Plan, then: Mapping[str, Any]) -> AnyRow:
    """Return the row of a plan that was that row of the results."""
    for row in plan.rows:
        names = row.dataset.name, row.encoder_label, row.shown, row.view.shown or None
        if row.row_id == then["row_id"] or names == tuple(
            then[name] for name in ("dataset", "encoder", "configuration", "filter")
        ):
            if row.missing:
                raise InputError(f"row {then['row_id']}: {row.missing}")
            return row
    raise InputError(f"row {then['row_id']} is no longer a row of its sweep")


def _with_parts(row: AnyRow) -> Iterable[AnyRow]:
    """Yield what a row is made of, each once, then the row."""
    found: dict[AnyRow, None] = {}
    if isinstance(row, CombinedRow):
        for part in row.parts:
            found |= dict.fromkeys(_with_parts(part))
    return [*found, row]


def _borrow(jobs: Sequence[Job], store: Store, own: Store, kinds: Sequence[str]) -> None:
    """Let one store have results of another one, without copying where the system can link."""
    for job in jobs:
        if job.kind in kinds:
            artefact = job.find(store)
            if artefact is not None:
                target = own.root / job.folder / job.key
                shutil.copytree(artefact.folder, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _figures(
    plan: Plan, outcome: Outcome, then: Mapping[str, Any], *, same_machine: bool
) -> Iterable[Figure]:
    """Judge every column of results that is a figure."""
    now = row_record(plan, outcome)
    noisy = bool(now.get("noise") or then.get("noise"))
    for name, value in now.items():
        old = then.get(name)
        numeric = isinstance(value, int | float) or isinstance(old, int | float)
        if not numeric or isinstance(value, bool) or name in _CIRCUMSTANCES:
            continue
        timed = name in _TIMINGS or name.startswith("build_s_")
        short = name.startswith(("build_s", "train_s")) and max(old or 0, value or 0) < _SHORT_S
        if name in _NEVER or short or (timed and (noisy or not same_machine)):
            yield Figure(name, old, value, "not judged")
            continue
        factor = _TIMES if timed else _MEMORY if name == "peak_rss_bytes" else 1.0
        yield Figure(name, old, value, "holds" if _alike(old, value, factor) else "differs")


def _alike(one: Any, other: Any, factor: float) -> bool:
    if one is None or other is None:
        return one is other
    if factor == 1.0:
        return bool(abs(one - other) <= _SAME)
    return bool(max(one, other) <= factor * min(one, other))


def _per_query(table: pl.DataFrame, row_id: str, outcome: Outcome) -> Figure:
    """Count the queries whose scores are other ones."""
    evaluation = outcome.evaluation
    if evaluation is None:
        raise InputError(f"row {row_id}: has no scores")
    old = table.filter(table["row_id"] == row_id)
    ids = list(evaluation.query_ids)
    place = {query: number for number, query in enumerate(old["query_id"])}
    rows = [place[query] for query in ids if query in place]
    if len(rows) != len(ids) or len(old) != len(ids):
        return Figure("per_query", len(old), len(ids), "differs")
    before = old.select(evaluation.measures).to_numpy()[rows].T
    differing = int((np.abs(before - evaluation.values) > _SAME).any(axis=0).sum())
    return Figure("per_query", 0, differing, "differs" if differing else "holds")


def _changes(manifest: Mapping[str, Any], row: AnyRow, row_id: str) -> Iterable[str]:
    """Say what is no longer as it was."""
    before = manifest["datasets"].get(row.dataset.name, {})
    for name, value in row.dataset.summary().items():
        if name in before and before[name] != value:
            yield f"dataset {row.dataset.name}: {name} was {before[name]}, is {value}"
    for name, text in library_versions(*manifest["versions"]).items():
        if manifest["versions"].get(name, text) != text:
            yield f"{name} was {manifest['versions'][name]}, is {text}"
    if row.row_id != row_id:
        yield "what decides the row is no longer the same: its data, its model, or our code"
