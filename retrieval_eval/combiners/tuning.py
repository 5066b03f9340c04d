"""Weights chosen on held-out queries: those of a query never see its own judgments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.combiners.normalise import Normalisation
from retrieval_eval.combiners.pool import Evidence, Pool
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluator, parse_measure, require_means
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["CrossFit", "check_measure", "cross_fit", "simplex_points"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CrossFit:
    """A run fused with weights that were chosen on other queries.

    Parameters
    ----------
    run : Run
        The fused run.
    measure : str
        What the weights maximise, canonical.
    fold : ndarray of int64, shape (queries,)
        The fold of each of ``run.query_ids``.
    weights : ndarray of float64, shape (folds, m)
        Weights of the m runs for the queries of each fold; they add up to 1.
    points : ndarray of float64, shape (points, m)
        The weights that were tried.
    value : float
        Mean of the measure over the judged queries that a run answers, of the fused run.
    training : ndarray of float64, shape (folds,)
        Mean of the measure over the queries that each fold's weights were chosen on.
    """

    run: Run
    measure: str
    fold: NDArray[np.int64]
    weights: Floats
    points: Floats
    value: float
    training: Floats

    def facts(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what was chosen as plain JSON values, under the names of the runs."""
        return {
            "runs": list(names),
            "measure": self.measure,
            "held_out": self.value,
            "points": len(self.points),
            "folds": [
                {"queries": int(count), "weights": weights, "training": training}
                for count, weights, training in zip(
                    np.bincount(self.fold, minlength=len(self.weights)),
                    self.weights.tolist(),
                    self.training.tolist(),
                    strict=True,
                )
            ],
        }


def check_measure(measure: str, where: str = "") -> str:
    """Return a measure in canonical form if weights can be chosen by its mean, or raise."""
    canonical = parse_measure(measure, where)
    require_means([canonical], where)
    return canonical


def cross_fit(
    runs: Sequence[Run],
    qrels: Qrels,
    measure: str = "nDCG@10",
    normalisation: Normalisation = "min-max",
    *,
    folds: int = 5,
    steps: int = 10,
    points: int = 100,
    depth: int | None = None,
    seed: int = 0,
    name: str = "weighted",
) -> CrossFit:
    """Fuse runs by a weighted sum of normalised scores, with weights tuned by cross-fitting.

    The queries are dealt into folds. The weights for the queries of a fold are those, of the
    points of :func:`simplex_points`, with the highest mean of the measure over the judged queries
    of the other folds. So no judgment has a part in the fusion of its own query, and the fused
    run can be evaluated and compared like any other. Its queries are not quite independent, since
    they share their training queries; one query's judgments move other queries' weights a little.

    Parameters
    ----------
    runs : sequence of Run, length m
        At least one.
    qrels : Qrels
        The judgments. Queries without any get the weights of their fold.
    measure : str
        A measure with a mean, such as ``nDCG@10``, ``AP(rel=2)@1000``.
    normalisation : {'min-max', 'max', 'sum', 'zmuv', 'rank', 'borda', 'none'}
        See :func:`~retrieval_eval.combiners.normalise`.
    folds : int, at least 2
        Queries are dealt by their ids and the seed alone, whichever are judged.
    steps, points : int
        See :func:`simplex_points`.
    depth : int, optional
        Only the first so many documents of each run count, for the normalisation too.
    seed : int
        Of the dealing, and of random weights.
    name : str
        Of the fused run.

    Returns
    -------
    CrossFit
        The run, and the weights of each fold. Of weights with equal means those nearest to equal
        weights are chosen, and of these the ones with more weight on earlier runs.

    Raises
    ------
    InputError
        If there are fewer queries than folds, or all judged queries are in one fold, or an
        argument is out of range.

    Notes
    -----
    Memory is in proportion to the rows of all runs together, some 100 bytes each. Time goes with
    the points: each is one fusion and one evaluation.

    Examples
    --------
    >>> good = {f"q{n}": {"right": 3.0, "wrong": 2.0, "other": 1.0} for n in range(10)}
    >>> poor = {f"q{n}": {"wrong": 3.0, "other": 2.0, "right": 1.0} for n in range(10)}
    >>> qrels = Qrels.from_mapping({query: {"right": 1} for query in good})
    >>> fitted = cross_fit([Run.from_mapping(good), Run.from_mapping(poor)], qrels, "RR")
    >>> fitted.weights.tolist()[0], fitted.value
    ([0.7, 0.3], 1.0)
    """
    canonical = check_measure(measure)
    if folds < 2:
        raise InputError(f"folds is {folds}: at least 2, so that weights come from other queries")
    pool = Pool.of(runs, depth)
    if len(pool.query_ids) < folds:
        raise InputError(f"folds is {folds}, but the runs have only {len(pool.query_ids)} queries")
    fold = _deal(pool.query_ids, folds, seed)
    judged = set(qrels.query_ids)
    shared = [place for place, query in enumerate(pool.query_ids) if query in judged]
    if len(np.unique(fold[shared])) < 2:
        raise InputError(
            f"{len(shared)} judged queries, and no others to choose their weights on: they must "
            "be in at least two folds; use another seed, more folds, or fixed weights"
        )
    known = qrels.only_queries(pool.query_ids)
    row_of = {query: row for row, query in enumerate(pool.query_ids)}
    fold_of = fold[[row_of[query] for query in known.query_ids]]
    evaluator = Evaluator(known, [canonical])
    evidence = Evidence.of(pool, normalisation)
    tried = simplex_points(len(runs), steps=steps, points=points, seed=seed)
    means = np.empty((folds, len(tried)))
    for column, weights in enumerate(tried):
        values = _values(evidence, weights, evaluator)
        means[:, column] = [values[fold_of != one].mean() for one in range(folds)]
    best = means.argmax(axis=1)  # the first of equal ones, which is the nearest to equal weights
    chosen = tried[best]
    run = pool.run(_total(evidence, chosen[fold]), name)
    value = float(evaluator.evaluate(run).values[0].mean())
    training = means[np.arange(folds), best]
    return CrossFit(run, canonical, fold, chosen, tried, value, training)


def _total(evidence: Evidence, weights: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # refused where the pool is ranked
        return evidence.total(weights)


def _values(evidence: Evidence, weights: Floats, evaluator: Evaluator) -> Floats:
    run = evidence.pool.run(_total(evidence, weights), "tried")
    values: Floats = evaluator.evaluate(run).values[0]
    return values


def _deal(query_ids: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Deal queries by their ids, whatever their order."""
    order = np.argsort(np.array(query_ids, dtype=object), kind="stable")
    shuffled = np.random.default_rng(seed).permutation(order)
    fold = np.empty(len(query_ids), dtype=np.int64)
    fold[shuffled] = np.arange(len(query_ids)) % folds
    return fold


def simplex_points(n_runs: int, *, steps: int = 10, points: int = 100, seed: int = 0) -> Floats:
    """Return weights to try: each at least 0, together 1.

    Equal weights, and a grid with steps of 1/steps if that stays within the number of points, as
    it does for two and three runs by default; else the finest grid that does, and random
    weights, uniform over all that there are, up to that number.

    Parameters
    ----------
    n_runs : int, at least 1
        Number of weights.
    steps : int, at least 1
        Steps of the finest grid.
    points : int
        The most points; at least ``n_runs + 1``, so that each run alone and all together are.
    seed : int
        Of random weights.

    Returns
    -------
    ndarray of float64, shape (p, n_runs)
        Without repeats; nearest to equal weights first, and among equally near ones those with
        more weight on earlier runs first.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> simplex_points(2, steps=4).tolist()
    [[0.5, 0.5], [0.75, 0.25], [0.25, 0.75], [1.0, 0.0], [0.0, 1.0]]
    >>> len(simplex_points(3)), len(simplex_points(6))
    (67, 100)
    """
    if n_runs < 1 or steps < 1:
        raise InputError(f"{n_runs} runs and {steps} steps: both must be at least 1")
    if points <= n_runs:
        raise InputError(f"points is {points}: for {n_runs} runs at least {n_runs + 1}")
    finest = steps
    while math.comb(finest + n_runs - 1, n_runs - 1) >= points:  # room for equal weights
        finest -= 1
    # A point of the grid is a row of n_runs - 1 bars among `finest` stars.
    bars = list(combinations(range(finest + n_runs - 1), n_runs - 1))
    edges = np.array(bars, dtype=np.int64).reshape(len(bars), n_runs - 1)
    edges = np.pad(edges, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, finest + n_runs - 1)))
    found = np.vstack([np.full((1, n_runs), 1 / n_runs), (np.diff(edges, axis=1) - 1) / finest])
    if finest < steps:
        more = points - len(found)
        found = np.vstack([found, np.random.default_rng(seed).dirichlet(np.ones(n_runs), more)])
    distance = np.round(np.linalg.norm(found - 1 / n_runs, axis=1), 9)
    ordered: Floats = found[np.lexsort((*-np.round(found[:, ::-1], 9).T, distance))]
    repeated = (np.diff(np.round(ordered, 9), axis=0, prepend=-1) == 0).all(axis=1)
    distinct: Floats = ordered[~repeated]
    return distinct
