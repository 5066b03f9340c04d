"""Doing a plan: its graph of jobs, an executor, and somebody who watches.

While a plan is done, the rows that are finished lie in a file beside the status file, for whoever
looks on: JSON, one object a line, only ever added to.

==================  ===============================================================================
line                holds
==================  ===============================================================================
first               ``format``, ``run``, and ``plan``: name, measures, datasets, number of rows...
``{"plan": ...}``   another plan of the same run, such as the next trial of a search
``{"row": ...}``    a row as in ``results.parquet``, without intervals
==================  ===============================================================================
"""

from __future__ import annotations

import contextlib
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retrieval_eval.executors import Executor
from retrieval_eval.pipeline import Job
from retrieval_eval.store import Artefact, Store
from retrieval_eval.sweep.execute import outcomes_of
from retrieval_eval.sweep.graph import Graph, make_graph
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.preview import estimates
from retrieval_eval.sweep.records import row_record
from retrieval_eval.sweep.rows import AnyRow, CombinedRow
from retrieval_eval.sweep.schedule import Done, run_jobs
from retrieval_eval.sweep.status import rows_path
from retrieval_eval.sweep.watching import Outcome, Task, Watch

__all__ = ["ROWS_FORMAT", "Performance", "job_counts"]

ROWS_FORMAT = 1
"""Version of the form of the file of finished rows."""


@dataclass(frozen=True, eq=False)
class Performance:
    """All that doing a plan takes.

    Parameters
    ----------
    store : Store
        Where every job's result is kept.
    executor : Executor
        At work.
    progress : bool
        Whether to show on stderr how it goes.
    status : Path
        The file that tells other processes how it goes; that of the finished rows is beside it.
    """

    store: Store
    executor: Executor
    progress: bool
    status: Path | None
    _run: str = field(default_factory=lambda: uuid.uuid4().hex, init=False)

    def perform(self, plan: Plan) -> tuple[Graph, Mapping[Job, Done]]:
        """Do every distinct job of a plan, or find its result.

        Returns
        -------
        graph : Graph
            The jobs.
        done : mapping of Job to Done
            How each ended.
        """
        graph = make_graph(plan, self.executor.machine, shards=self.executor.shards)
        expected = estimates(graph.jobs, self.store)
        tasks = [Task(job.kind, job.label, job.units, expected[job].seconds) for job in graph.jobs]
        rows = _FinishedRows(graph, self.status and rows_path(self.status), self._run)

        def check(job: Job, artefact: Artefact) -> None:
            graph.check(job, artefact)
            rows.settle(job, Done(artefact))

        def settled(number: int, outcome: Outcome, message: str) -> None:
            if outcome in ("failed", "skipped"):
                rows.settle(graph.jobs[number], Done(failure=message, outcome=outcome))

        with Watch.show(tasks, wanted=self.progress, status=self.status, settled=settled) as watch:
            done = run_jobs(graph.jobs, self.store, self.executor, watch, check=check)
        return graph, done


class _FinishedRows:
    """Writes down what became of each row of a plan, as soon as all its jobs are settled.

    A timed job has the machine to itself, and a row's last job, its evaluation, is not timed: so
    nothing is written while something is timed.

    Parameters
    ----------
    graph : Graph
        The rows and their jobs.
    path : Path or None
        The file. If it cannot be written, nobody can look on, and nothing else happens.
    run : str
        Of which the plan is a part: what was written before in the same run is kept.
    """

    def __init__(self, graph: Graph, path: Path | None, run: str) -> None:
        # Intervals are not written, and these take no resampling.
        compare = replace(graph.plan.sweep.compare, interval="t")
        self._sweep = graph.plan.sweep.model_copy(update={"compare": compare})
        self._graph, self._path = graph, path
        self._done: dict[Job, Done] = {}
        self._open: dict[AnyRow, int] = {}
        self._users: dict[Job, list[AnyRow]] = {}
        self._begin(run)
        for row in graph.plan.rows:
            jobs = {job for one in _with_parts(row) for job in graph.rows.get(one, ())}
            self._open[row] = len(jobs)
            for job in jobs:
                self._users.setdefault(job, []).append(row)
            if not jobs:
                self._write_row(row)

    def settle(self, job: Job, done: Done) -> None:
        """Note what became of a job, and write the rows that waited for it alone."""
        self._done[job] = done
        for row in self._users.pop(job, ()):
            self._open[row] -= 1
            if not self._open[row]:
                self._write_row(row)

    def _begin(self, run: str) -> None:
        if self._path is None:
            return
        plan, sweep = self._graph.plan, self._sweep
        facts = {
            "name": sweep.name,
            "measures": sweep.measures,
            "neighbour_recall": sweep.neighbour_recall,
            "datasets": list(dict.fromkeys(row.dataset.name for row in plan.rows)),
            "filtered": any(row.view.where is not None for row in plan.rows),
            "rows": len(plan.rows),
        }
        head: dict[str, Any] = {"format": ROWS_FORMAT, "run": run}
        kept = False
        with contextlib.suppress(OSError, ValueError), self._path.open(encoding="utf-8") as stream:
            kept = json.loads(stream.readline()).get("run") == run
        if not kept:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_bytes(b"")
        self._write({**({} if kept else head), "plan": facts})

    def _write_row(self, row: AnyRow) -> None:
        if self._path is None:
            return
        # Exactly what the results will say of it, and nothing of the others.
        plan = Plan(self._sweep, tuple(dict.fromkeys(_with_parts(row))), self._graph.plan.reference)
        try:
            found = outcomes_of(replace(self._graph, plan=plan), self._done)
        except OSError:  # an artefact went away: a matter of those who need it
            return
        record = row_record(plan, next(one for one in found if one.row is row))
        bounds = {f"{name}{end}" for name in self._sweep.measures for end in ("_lo", "_hi")}
        kept = {name: _plain(value) for name, value in record.items() if name not in bounds}
        self._write({"row": kept})

    def _write(self, content: Mapping[str, Any]) -> None:
        if self._path is None:
            return
        line = json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with self._path.open("ab") as stream:
                stream.write(line.encode())
        except OSError:
            self._path = None


def _with_parts(row: AnyRow) -> Iterator[AnyRow]:
    """Yield the rows that a row is made of, those of these before them, and itself last."""
    if isinstance(row, CombinedRow):
        for part in row.parts:
            yield from _with_parts(part)
    yield row


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: neither NaN nor infinity is one."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def job_counts(graph: Graph, done: Mapping[Job, Done]) -> dict[str, dict[str, int]]:
    """Count the jobs of each kind: how many there were, and how they ended."""
    counts: dict[str, dict[str, int]] = {}
    for job in graph.jobs:
        count = counts.setdefault(
            job.kind, {"jobs": 0, "done": 0, "cached": 0, "failed": 0, "skipped": 0}
        )
        count["jobs"] += 1
        count[done[job].outcome] += 1
    return counts
