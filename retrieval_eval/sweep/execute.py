"""Running a plan: every distinct job once, every row kept, failures where they belong."""

from __future__ import annotations

import contextlib
import itertools
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import Comparison, compare, mean_intervals
from retrieval_eval.comparison.resampling import DEFAULT_DRAWS
from retrieval_eval.errors import RetrievalEvalError
from retrieval_eval.evaluation import Evaluation, Evaluator, value_limits
from retrieval_eval.pipeline import Searched, build, embed, find_truth, score, search
from retrieval_eval.runs import Run
from retrieval_eval.store import Store
from retrieval_eval.sweep.config import located
from retrieval_eval.sweep.plan import Plan, Row
from retrieval_eval.sweep.progress import Bars

__all__ = ["Outcome", "RowPair", "compare_rows", "run_plan"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one row.

    Parameters
    ----------
    row : Row
        The configuration.
    status : {'ok', 'skipped', 'failed'}
        What became of it.
    message : str
        Why it was skipped or how it failed.
    searched, run, evaluation : object or None
        Its results; None unless ok.
    build_s : float or None
        Seconds to build its index.
    size_bytes : int or None
        Size of its index.
    intervals : ndarray of float64, shape (m, 2), or None
        Interval of each mean.
    """

    row: Row
    status: str
    message: str = ""
    searched: Searched | None = None
    run: Run | None = None
    evaluation: Evaluation | None = None
    build_s: float | None = None
    size_bytes: int | None = None
    intervals: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class RowPair:
    """Two outcomes to compare, and why.

    Parameters
    ----------
    reference, candidate : Outcome
        Both ok.
    question : {'index', 'encoder'}
        What differs between them.
    """

    reference: Outcome
    candidate: Outcome
    question: str


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
    with Bars.show(len(plan.rows), wanted=progress) as bars:
        for _, group in itertools.groupby(plan.rows, key=lambda row: id(row.dataset)):
            rows = list(group)
            evaluator = Evaluator(rows[0].dataset.qrels, plan.sweep.measures)
            done: list[Outcome] = []
            for _, part in itertools.groupby(rows, key=lambda row: id(row.encoder)):
                done += _run_encoder(plan, list(part), store, evaluator, bars)
            outcomes += _with_intervals(plan, done)
    return outcomes


def _with_intervals(plan: Plan, outcomes: list[Outcome]) -> list[Outcome]:
    """Add the 95 % intervals of the means."""
    evaluations = [one.evaluation for one in outcomes if one.evaluation is not None]
    if not evaluations:
        return outcomes
    bounds = mean_intervals(
        np.concatenate([evaluation.values for evaluation in evaluations]),
        plan.sweep.compare.interval,
        limits=[value_limits(name) for one in evaluations for name in one.measures],
        draws=plan.sweep.compare.draws or DEFAULT_DRAWS,
        seed=plan.sweep.seed,
    )
    parts = iter(np.split(bounds, len(evaluations)))
    return [
        one if one.evaluation is None else replace(one, intervals=next(parts)) for one in outcomes
    ]


@contextlib.contextmanager
def _failure_costs(rows: list[Row], done: dict[int, Outcome]) -> Iterator[None]:
    """Mark those of the rows as failed that are not done when a library raises an exception."""
    try:
        yield
    except RetrievalEvalError:
        raise
    except Exception as error:  # noqa: BLE001 (a library's failure costs its rows alone)
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})"
        for row in rows:
            done.setdefault(id(row), Outcome(row, "failed", " ".join(message.split())))


def _run_encoder(
    plan: Plan, rows: list[Row], store: Store, evaluator: Evaluator, bars: Bars
) -> list[Outcome]:
    sweep, dataset, choice = plan.sweep, rows[0].dataset, rows[0].encoder
    done = {id(row): Outcome(row, "skipped", row.missing) for row in rows if row.missing}
    usable = [row for row in rows if not row.missing]
    if not usable:
        return list(done.values())
    with _failure_costs(usable, done):
        total = len(dataset.documents) + len(dataset.queries)
        with bars.texts(f"encoding with {choice.label}", total) as advance:
            embeddings = embed(store, dataset, choice.encoder, advance)
        for row in usable:  # the dimension may be known only now
            index = row.index.index
            with located("indexes", row.index.place):
                index.check(*embeddings.documents.shape)
        truth = find_truth(store, embeddings, sweep.metric, sweep.neighbour_recall)
        for _, group in itertools.groupby(usable, key=lambda row: id(row.index)):
            part = list(group)
            with _failure_costs(part, done):
                built = build(store, embeddings, part[0].index.index)
                for row in part:
                    job = bars.job(f"{choice.label}, {row.shown}")
                    with job, _failure_costs([row], done):
                        searched = search(
                            store,
                            embeddings,
                            built,
                            truth,
                            k=sweep.k,
                            settings=row.setting,
                            timing=sweep.timing,
                            neighbours=sweep.neighbour_recall,
                            seed=sweep.seed,
                        )
                        run, evaluation = score(store, dataset, searched, evaluator, row.run_name)
                        done[id(row)] = Outcome(
                            row,
                            "ok",
                            searched=searched,
                            run=run,
                            evaluation=evaluation,
                            build_s=built.build_s,
                            size_bytes=built.size_bytes,
                        )
    return [done[id(row)] for row in rows]


def compare_rows(
    plan: Plan, outcomes: Iterable[Outcome]
) -> list[tuple[str, list[RowPair], Comparison]]:
    """Compare, within each dataset, every index with the reference and the encoders under it.

    Returns
    -------
    list of (str, list of RowPair, Comparison)
        Dataset, pairs, and their differences: pair by pair, measure by measure. All comparisons
        of a dataset are one family.
    """
    options = plan.sweep.compare.options(plan.sweep.seed)
    usable = [outcome for outcome in outcomes if outcome.evaluation is not None]
    results = []
    for dataset, group in itertools.groupby(usable, key=lambda outcome: outcome.row.dataset.name):
        mine = list(group)
        references = [outcome for outcome in mine if outcome.row.shown == plan.reference]
        pairs = [
            RowPair(reference, candidate, "index")
            for reference in references
            for candidate in mine
            if candidate.row.encoder is reference.row.encoder and candidate is not reference
        ]
        pairs += [
            RowPair(one, other, "encoder") for one, other in itertools.combinations(references, 2)
        ]
        place = {id(outcome): number for number, outcome in enumerate(mine)}
        comparison = compare(
            [outcome.evaluation for outcome in mine if outcome.evaluation is not None],
            pairs=[(place[id(pair.candidate)], place[id(pair.reference)]) for pair in pairs],
            options=options,
        )
        results.append((dataset, pairs, comparison))
    return results
