"""Weighted sums of normalised scores, with fixed weights or tuned ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from retrieval_eval.combiners.base import CombineContext, Combined, Combiner
from retrieval_eval.combiners.normalise import Normalisation
from retrieval_eval.combiners.pool import Evidence, Pool
from retrieval_eval.combiners.tuning import check_measure, cross_fit
from retrieval_eval.combiners.weights import (
    FixedWeights,
    canonical_weights,
    check_weights,
    read_weights,
)
from retrieval_eval.errors import InputError
from retrieval_eval.runs import Run

__all__ = ["WeightedCombiner", "WeightedParameters", "fuse_weighted"]

_TUNED = "tuned"


def fuse_weighted(
    runs: Sequence[Run],
    weights: Sequence[float] | NDArray[np.float64],
    normalisation: Normalisation = "min-max",
    *,
    depth: int | None = None,
    name: str = "weighted",
) -> Run:
    """Fuse runs by the weighted sum of their normalised scores.

    Parameters
    ----------
    runs : sequence of Run
        At least one. A query that some do not answer is fused from the others.
    weights : sequence of float
        Weight of each run, finite, at least 0 and not all 0; used as given.
    normalisation : {'min-max', 'max', 'sum', 'zmuv', 'rank', 'borda', 'none'}
        See :func:`~retrieval_eval.combiners.normalise`.
    depth : int, optional
        Only the first so many documents of each run count, for the normalisation too.
    name : str
        Of the result.

    Returns
    -------
    Run
        Every document that a run returned, of weight 0 or not; a run gives 0 to a document that it
        did not return (under 'borda', its share of the points left). Ties as for
        :func:`~retrieval_eval.combiners.fuse_comb`, which is the case of equal weights.

    Raises
    ------
    InputError
        If there is no run, the weights do not fit, there is no such normalisation, the depth is
        below 1, or a fused score is out of range.

    Examples
    --------
    >>> first = Run.from_mapping({"q1": {"a": 9.0, "b": 6.0, "c": 5.0}})
    >>> second = Run.from_mapping({"q1": {"c": 0.9, "b": 0.4, "d": 0.4}})
    >>> fuse_weighted([first, second], [0.25, 0.75]).to_mapping()
    {'q1': {'c': 0.75, 'a': 0.25, 'b': 0.0625, 'd': 0.0}}
    """
    pool = Pool.of(runs, depth)
    checked = check_weights(weights, len(runs))
    evidence = Evidence.of(pool, normalisation)
    with np.errstate(over="ignore", invalid="ignore"):  # refused where the pool is ranked
        scores = evidence.total(checked)
    return pool.run(scores, name)


@dataclass(frozen=True)
class WeightedParameters:
    """Parameters of :class:`WeightedCombiner`.

    Parameters
    ----------
    weights : str or mapping
        ``"tuned"``: chosen on held-out queries. Or weights of the runs: a text such as
        ``"0.3, 0.7"``, in their order, or a mapping of their names, or numbers from 1, to weights.
    normalisation : {'none', 'min-max', 'max', 'sum', 'zmuv', 'rank', 'borda'}
        How scores of a query are brought to one scale.
    depth : int or None
        Only the first so many documents of each run count.
    measure : str
        What tuned weights maximise the mean of.
    folds : int
        Parts that the queries are dealt into; the weights of each come from the others.
    steps : int
        Tuned weights are multiples of 1/steps, or coarser; see ``points``.
    points : int
        How many choices of weights are tried at most.
    """

    weights: FixedWeights = _TUNED
    normalisation: Normalisation = "min-max"
    depth: Annotated[int, Ge(1)] | None = None
    measure: str = "nDCG@10"
    folds: Annotated[int, Ge(2)] = 5
    steps: Annotated[int, Ge(1), Le(1000)] = 10
    points: Annotated[int, Ge(2), Le(100_000)] = 100


_OF_TUNING = ("measure", "folds", "steps", "points")


class WeightedCombiner(Combiner):
    """A weighted sum of normalised scores; see :func:`fuse_weighted` and :func:`cross_fit`.

    Tuned weights of a query never saw its judgments, so the run may be evaluated by them. The
    facts of a tuned run are the weights of each fold, and the mean of the measure.

    Examples
    --------
    >>> combiner = WeightedCombiner(weights={"dense": 0.7, "bm25": 0.3})
    >>> runs = [
    ...     Run.from_mapping({"q1": {"a": 9.0, "b": 6.0}}, name="bm25"),
    ...     Run.from_mapping({"q1": {"b": 0.9, "a": 0.5}}, name="dense"),
    ... ]
    >>> combined = combiner.combine(runs, CombineContext(name="hybrid"))
    >>> combined.run.to_mapping(), combined.facts
    ({'q1': {'b': 0.7, 'a': 0.3}}, {'runs': ['bm25', 'dense'], 'weights': [0.3, 0.7]})
    """

    name: ClassVar[str] = "weighted"
    Parameters: ClassVar[type[Any]] = WeightedParameters

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        own = self.parameters
        self.uses_judgments = own.weights == _TUNED
        self._weights = None
        if self.uses_judgments:
            self._measure = check_measure(own.measure, self._where)
            return
        useless = [key for key in _OF_TUNING if key in parameters]
        if useless:
            raise InputError(
                f"{self._where}: {useless[0]!r} is for weights: {_TUNED}, and these are fixed: "
                "remove it"
            )
        self._weights = canonical_weights(own.weights, self._where)

    def identity(self) -> dict[str, Any]:
        """Return the weights in one form; what belongs to tuning only if there is any."""
        fields = super().identity()
        if self.uses_judgments:
            return {**fields, "measure": self._measure}
        kept = {key: value for key, value in fields.items() if key not in _OF_TUNING}
        return {**kept, "weights": self._weights}

    def check(self, n_inputs: int, names: Sequence[str] | None = None) -> None:
        """Refuse another number of runs than of weights, and fewer points than runs."""
        super().check(n_inputs, names)
        if self._weights is not None:
            read_weights(self._weights, names, n_inputs, self._where)
        elif self.parameters.points <= n_inputs:
            raise InputError(
                f"{self._where}: points is {self.parameters.points}, too few to try each of "
                f"{n_inputs} runs alone and all together: at least {n_inputs + 1}"
            )

    def check_queries(self, n_queries: int) -> None:
        """Refuse more folds than queries, if weights are to be tuned."""
        if self._weights is None and self.parameters.folds > n_queries:
            raise InputError(
                f"{self._where}: folds is {self.parameters.folds}, but there are {n_queries} "
                "judged queries: lower it"
            )

    def combine(self, runs: Sequence[Run], context: CombineContext) -> Combined:
        """Fuse runs by the weighted sum of their scores."""
        self.check(len(runs))
        own = self.parameters
        names = [run.name for run in runs]
        if self._weights is not None:
            weights = read_weights(self._weights, names, len(runs), self._where)
            fused = fuse_weighted(
                runs,
                weights,
                own.normalisation,
                depth=own.depth,
                name=context.name,
            )
            return Combined(fused.top(context.k), {"runs": names, "weights": weights.tolist()})
        if context.qrels is None:
            raise InputError(
                f"{self._where}: weights are to be tuned, and there are no judgments to tune them "
                'by: give qrels, or weights such as "0.5, 0.5"'
            )
        fitted = cross_fit(
            runs,
            context.qrels,
            own.measure,
            own.normalisation,
            folds=own.folds,
            steps=own.steps,
            points=own.points,
            depth=own.depth,
            seed=context.seed,
            name=context.name,
        )
        return Combined(fitted.run.top(context.k), fitted.facts(names))
