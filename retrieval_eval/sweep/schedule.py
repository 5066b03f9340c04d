"""Doing the jobs of a graph: each once, its needs first, and none that a failure rules out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from retrieval_eval.executors import Executor, News
from retrieval_eval.executors.local import failure_of
from retrieval_eval.pipeline import Job
from retrieval_eval.store import Artefact, Store
from retrieval_eval.sweep.watching import Outcome, Watch

__all__ = ["Done", "run_jobs"]

_TICK_S = 0.25


@dataclass(frozen=True)
class Done:
    """How a job ended.

    Parameters
    ----------
    artefact : Artefact or None
        Its result; None if it failed.
    failure : str
        How it failed, or what it needed; else empty.
    outcome : {'done', 'cached', 'failed', 'skipped'}
        Done in this run, found in the store, failed, or not tried since what it needed failed.
    """

    artefact: Artefact | None = None
    failure: str = ""
    outcome: Outcome = "done"


def run_jobs(
    jobs: Iterable[Job],
    store: Store,
    executor: Executor,
    watch: Watch,
    *,
    check: Callable[[Job, Artefact], None],
) -> Mapping[Job, Done]:
    """Do all jobs, or find their results in the store.

    What the store holds is found before anything is begun, so that nothing disturbs a timed job. A
    library's failure costs the jobs that need what it was making.

    Parameters
    ----------
    jobs : iterable of Job
        Each after those that it needs.
    store : Store
        Where results are kept.
    executor : Executor
        Does the work.
    watch : Watch
        Told of everything; it knows the jobs by their numbers.
    check : callable
        Called with each result; raises InputError to end the sweep.

    Raises
    ------
    InputError
        For bad data that shows only now, such as NaN in an encoder's vectors. What was finished
        until then stays in the store.
    """
    state = _State(tuple(jobs), store, executor, watch, check)
    for job in state.jobs:
        found = job.find(store)
        if found is not None:
            state.end(job, Done(found, outcome="cached"))
        watch.tick()
    while len(state.done) < len(state.jobs):
        state.start_what_can()
        for one in executor.news(_TICK_S):
            state.hear(one)
        watch.tick()
    return state.done


@dataclass
class _State:
    jobs: tuple[Job, ...]
    store: Store
    executor: Executor
    watch: Watch
    check: Callable[[Job, Artefact], None]
    done: dict[Job, Done] = field(default_factory=dict)
    under_way: set[Job] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.numbers = {job: number for number, job in enumerate(self.jobs)}
        self.users: dict[Job, list[Job]] = {job: [] for job in self.jobs}
        for job in self.jobs:
            for need in job.needs.values():
                self.users[need].append(job)
        self.ready = {job for job in self.jobs if not job.needs}

    def end(self, job: Job, done: Done) -> None:
        """Note how a job ended, and what can be done now, or never."""
        self.done[job] = done
        self.ready.discard(job)
        self.under_way.discard(job)
        self.watch.finished(self.numbers[job], done.outcome, done.failure)
        if done.artefact is not None:
            self.check(job, done.artefact)
        for user in self.users[job]:
            if user in self.done:
                continue
            if done.failure:
                self.end(user, replace(done, outcome="skipped"))
            elif all(need in self.done for need in user.needs.values()):
                self.ready.add(user)

    def start_what_can(self) -> None:
        """Begin every job whose needs are done and for which there is room, in their order."""
        for job in sorted(self.ready - self.under_way, key=lambda one: self.numbers[one]):
            if not self.executor.has_room(job):
                continue
            needs = {name: self.done[need].artefact for name, need in job.needs.items()}
            inputs = {name: one for name, one in needs.items() if one is not None}
            self.under_way.add(job)
            self.watch.started(self.numbers[job])
            if job.here:
                self.do_here(job, inputs)
            else:
                self.executor.start(job, inputs)

    def do_here(self, job: Job, inputs: Mapping[str, Artefact]) -> None:
        """Do a job in this process."""
        try:
            artefact = job.run(self.store, inputs)
        except Exception as error:  # noqa: BLE001 (a library's failure costs its rows alone)
            self.hear(failure_of(job, error))
        else:
            self.hear(News(job, artefact=artefact))

    def hear(self, news: News) -> None:
        """Take note of what an executor says."""
        if news.damage:
            self.store.report(news.damage)
        if news.units is not None:
            self.watch.advanced(self.numbers[news.job], news.units)
        if news.error is not None:
            raise news.error
        if news.artefact is not None:
            self.end(news.job, Done(news.artefact))
        elif news.failure is not None:
            self.end(news.job, Done(failure=news.failure, outcome="failed"))
