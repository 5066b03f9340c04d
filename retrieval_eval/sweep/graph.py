"""From the rows of a plan to its distinct jobs: what several rows need is done once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar, cast

from retrieval_eval.evaluation import Evaluator
from retrieval_eval.pipeline import (
    Attributes,
    BuildJob,
    CombineJob,
    EncodeJob,
    EvaluateJob,
    HealthJob,
    Job,
    NeighboursJob,
    SearchJob,
    Size,
    encode_jobs,
)
from retrieval_eval.store import Artefact
from retrieval_eval.sweep.config import located
from retrieval_eval.sweep.plan import Plan
from retrieval_eval.sweep.rows import AnyRow, CombinedRow, Row, View

__all__ = ["CombinedJobs", "Graph", "RowJobs", "make_graph"]

J = TypeVar("J", bound=Job)


@dataclass(frozen=True, eq=False)
class RowJobs:
    """The jobs of a row that is searched.

    Parameters
    ----------
    documents, queries : EncodeJob
        Its vectors.
    builds : tuple of BuildJob
        With the sweep's seed first.
    searches : tuple of SearchJob
        One for each build; the first is timed.
    evaluations : tuple of EvaluateJob
        One for each search.
    """

    documents: EncodeJob
    queries: EncodeJob
    builds: tuple[BuildJob, ...]
    searches: tuple[SearchJob, ...]
    evaluations: tuple[EvaluateJob, ...]

    @property
    def run(self) -> Job:
        """What makes the row's run."""
        return self.searches[0]

    def __iter__(self) -> Iterator[Job]:
        yield from (self.documents, self.queries)
        for three in zip(self.builds, self.searches, self.evaluations, strict=True):
            yield from three


@dataclass(frozen=True, eq=False)
class CombinedJobs:
    """The jobs of a row that is combined of others.

    Parameters
    ----------
    run : CombineJob
        What makes its run.
    evaluation : EvaluateJob
        Its scores.
    """

    run: CombineJob
    evaluation: EvaluateJob

    def __iter__(self) -> Iterator[Job]:
        yield from (self.run, self.evaluation)


@dataclass(frozen=True, eq=False)
class Graph:
    """The distinct jobs of a plan.

    Parameters
    ----------
    plan : Plan
        What asks for them.
    jobs : tuple of Job
        Each once, after those that it needs; in the order of the rows.
    rows : mapping of AnyRow to RowJobs or CombinedJobs
        What each row asks for; a row that is skipped asks for nothing.
    health : mapping of (str, str) to HealthJob
        By dataset and encoder, if the sweep looks at embeddings.
    """

    plan: Plan
    jobs: tuple[Job, ...]
    rows: Mapping[AnyRow, RowJobs | CombinedJobs]
    health: Mapping[tuple[str, str], HealthJob]

    def check(self, job: Job, artefact: Artefact) -> None:
        """Refuse what cannot work with vectors of this size: it may be known only now.

        Raises
        ------
        InputError
            Naming parameter, value and rule.
        """
        for row, jobs in self.rows.items():
            if isinstance(row, Row) and isinstance(jobs, RowJobs) and jobs.documents is job:
                index = row.index.index
                with located("indexes", row.index.place):
                    index.check(*artefact.meta["shape"])
                    index.check_sweep(index.settings(row.setting), *artefact.meta["shape"])


def make_graph(plan: Plan, machine: Mapping[str, Any], *, shards: int = 1) -> Graph:
    """Find the distinct jobs of a plan, without any work.

    Parameters
    ----------
    plan : Plan
        The rows.
    machine : mapping
        That does the timed jobs: its figures are never taken for another's.
    shards : int
        Into how many parts an encoding is cut.
    """
    made = _Jobs(plan, machine, shards)
    for _, group in itertools.groupby(plan.rows, key=lambda row: id(row.dataset)):
        rows = list(group)
        searched = [row for row in rows if isinstance(row, Row) and not row.missing]
        for _, part in itertools.groupby(searched, key=lambda row: id(row.encoder)):
            made.add_encoder(list(part))
        for row in rows:
            if isinstance(row, CombinedRow) and not row.missing:
                made.add_combined(row)
    return Graph(plan, tuple(made.jobs.values()), made.rows, made.health)


@dataclass
class _Jobs:
    """Jobs as they are found; equal ones become one."""

    plan: Plan
    machine: Mapping[str, Any]
    shards: int
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    rows: dict[AnyRow, RowJobs | CombinedJobs] = field(default_factory=dict)
    health: dict[tuple[str, str], HealthJob] = field(default_factory=dict)
    evaluators: dict[View, Evaluator] = field(default_factory=dict)
    size: Size = field(default_factory=Size)

    def one(self, job: J) -> J:
        """Return the first of equal jobs."""
        known: Any = self.jobs.setdefault((job.folder, job.key), job)
        return cast("J", known)

    def encode(self, job: EncodeJob) -> EncodeJob:
        """Add an encoding, and its parts if it has any."""
        cut = job.in_parts(self.shards)
        return self.one(
            replace(cut, needs={name: self.one(part) for name, part in cut.needs.items()})
        )

    def add_encoder(self, rows: Sequence[Row]) -> None:
        """Add what the rows of one dataset and encoder ask for."""
        sweep, dataset, choice = self.plan.sweep, rows[0].dataset, rows[0].encoder
        label = f"{dataset.name}, {choice.label}"
        documents, queries = (
            self.encode(job)
            for job in encode_jobs(
                dataset,
                choice.encoder,
                stored=sweep.embeddings,
                identity=choice.identity,
                label=label,
                timed=True,
            )
        )
        self.size = Size(
            len(dataset.document_ids), len(dataset.query_ids), documents.size.dimension
        )
        vectors: dict[str, Job] = {"documents": documents, "queries": queries}
        if sweep.health and not choice.encoder.sparse:
            self.health[dataset.name, choice.label] = self.one(
                HealthJob(label=label, needs=vectors, size=self.size, seed=sweep.seed)
            )
        truths = {
            view: self.one(
                NeighboursJob(
                    label=f"{label} {view.shown}".strip(),
                    needs=vectors,
                    size=self.size,
                    metric=rows[0].index.index.metric,  # one for all that take such vectors
                    k=sweep.neighbour_recall,
                    allowed=view.mask,
                )
            )
            for view in {row.view: None for row in rows}
        }
        attributes = _attributes(rows)
        for row in rows:
            builds = self.builds(row, vectors, attributes)
            searches = tuple(
                self.search(row, build, {**vectors, "neighbours": truths[row.view]}, timed=not n)
                for n, build in enumerate(builds)
            )
            evaluations = tuple(self.evaluate(row, job) for job in searches)
            self.rows[row] = RowJobs(documents, queries, builds, searches, evaluations)

    def builds(
        self, row: Row, vectors: Mapping[str, Job], attributes: Attributes | None
    ) -> tuple[BuildJob, ...]:
        """Add a row's builds: with the sweep's seed, and with others where builds differ."""
        sweep, index = self.plan.sweep, row.index.index
        seeds = range(index.seed, index.seed + (sweep.build_seeds if index.seeded else 1))
        return tuple(
            self.one(
                BuildJob(
                    label=_labelled(row, row.index.shown, seed if len(seeds) > 1 else None),
                    needs=vectors,
                    size=self.size,
                    timed=sweep.timing is not None,
                    index=type(index)(
                        metric=index.metric,
                        seed=seed,
                        threads=index.threads,
                        **asdict(index.parameters),
                    ),
                    machine=self.machine,
                    attributes=attributes,
                    memory=sweep.timing is not None and sweep.timing.memory and seed == index.seed,
                )
            )
            for seed in seeds
        )

    def search(
        self, row: Row, build: BuildJob, needs: Mapping[str, Job], *, timed: bool
    ) -> SearchJob:
        """Add a search of one build."""
        sweep = self.plan.sweep
        timing = sweep.timing if timed else None
        job = SearchJob(
            label=_labelled(row, f"{row.shown} {row.view.shown}".strip(), None),
            needs={**needs, "index": build},
            size=self.size,
            timed=timing is not None,
            index_class=type(build.index),
            threads=build.index.threads,
            machine=self.machine,
            k=sweep.k,
            settings=row.setting,
            timing=timing,
            neighbours=sweep.neighbour_recall,
            seed=sweep.seed,
            where=row.view.where,
            allowed=row.view.mask,
        )
        return self.one(job)

    def evaluate(self, row: AnyRow, run: Job) -> EvaluateJob:
        """Add the scores of a run."""
        if row.view not in self.evaluators:
            self.evaluators[row.view] = Evaluator(row.view.qrels, self.plan.sweep.measures)
        job = EvaluateJob(
            label=run.label,
            needs={"run": run},
            size=Size(queries=len(row.dataset.query_ids)),
            corpus_fingerprint=row.dataset.corpus_fingerprint,
            query_ids=row.dataset.query_ids,
            document_ids=row.dataset.document_ids,
            evaluator=self.evaluators[row.view],
        )
        return self.one(job)

    def add_combined(self, row: CombinedRow) -> None:
        """Add what a combined row asks for; its parts have been added."""
        job = CombineJob(
            label=f"{row.dataset.name}, {row.encoder_label} | {row.shown}",
            size=Size(queries=len(row.dataset.query_ids)),
            needs={str(number): self.rows[part].run for number, part in enumerate(row.parts)},
            timed=self.plan.sweep.timing is not None,
            dataset=row.dataset,
            combiner=row.choice.combiner,
            identity=row.choice.identity,
            names=row.choice.of,
            qrels=row.view.qrels,
            k=self.plan.sweep.k,
            seed=self.plan.sweep.seed,
        )
        run = self.one(job)
        self.rows[row] = CombinedJobs(run, self.evaluate(row, run))


def _labelled(row: Row, shown: str, seed: int | None) -> str:
    label = f"{row.dataset.name}, {row.encoder.label} | {shown}"
    return label if seed is None else f"{label}, seed {seed}"


def _attributes(rows: Sequence[Row]) -> Attributes | None:
    """Return the attributes that the filters and indexes of one dataset use."""
    filters = [row.view.where for row in rows if row.view.where is not None]
    columns = {one.column for where in filters for one in where.conditions}
    columns |= {column for row in rows for column in row.index.index.attribute_columns()}
    if not columns:
        return None
    return Attributes.of(rows[0].dataset.attribute_table(sorted(columns)))
