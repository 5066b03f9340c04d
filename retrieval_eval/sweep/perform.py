"""Doing a plan: its graph of jobs, an executor, and somebody who watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retrieval_eval.executors import Executor
from retrieval_eval.pipeline import Job
from retrieval_eval.store import Store
from retrieval_eval.sweep.graph import Graph, make_graph
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.preview import estimates
from retrieval_eval.sweep.schedule import Done, run_jobs
from retrieval_eval.sweep.watching import Task, Watch

__all__ = ["Performance", "job_counts"]


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
        The file that tells other processes how it goes.
    """

    store: Store
    executor: Executor
    progress: bool
    status: Path | None

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
        with Watch.show(tasks, wanted=self.progress, status=self.status) as watch:
            done = run_jobs(graph.jobs, self.store, self.executor, watch, check=graph.check)
        return graph, done


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
