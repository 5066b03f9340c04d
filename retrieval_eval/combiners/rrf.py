"""Reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from retrieval_eval.combiners.base import CombineContext, Combined, Combiner
from retrieval_eval.combiners.pool import Pool
from retrieval_eval.combiners.weights import (
    FixedWeights,
    canonical_weights,
    check_weights,
    read_weights,
)
from retrieval_eval.errors import InputError
from retrieval_eval.runs import Run

__all__ = ["ReciprocalRankCombiner", "ReciprocalRankParameters", "fuse_reciprocal_rank"]


def fuse_reciprocal_rank(
    runs: Sequence[Run],
    *,
    k: float = 60,
    weights: Sequence[float] | NDArray[np.float64] | None = None,
    depth: int | None = None,
    name: str = "rrf",
) -> Run:
    """Fuse runs by the sum of ``weight / (k + rank)``; scores do not matter, ranks do.

    Parameters
    ----------
    runs : sequence of Run
        At least one. A query that some do not answer is fused from the others.
    k : float, 0 to 1e9
        The larger, the less the first ranks stand out; 60 in [1]_.
    weights : sequence of float, optional
        Weight of each run, finite, at least 0 and not all 0; 1 for each by default.
    depth : int, optional
        Only the first so many documents of each run count.
    name : str
        Of the result.

    Returns
    -------
    Run
        Every document that a run returned; one that another run did not return gets nothing from
        that one. Equal sums stand in the order of ids, descending, as everywhere; sums that are
        equal by the formula are equal numbers, in whichever order the runs are given.

    Raises
    ------
    InputError
        If there is no run, or an argument is out of range.

    References
    ----------
    .. [1] G. V. Cormack, C. L. A. Clarke and S. Büttcher, Reciprocal rank fusion outperforms
       Condorcet and individual rank learning methods, SIGIR 2009.

    Examples
    --------
    >>> first = Run.from_mapping({"q1": {"a": 0.9, "b": 0.8, "c": 0.1}})
    >>> second = Run.from_mapping({"q1": {"b": 12.0, "d": 7.0}})
    >>> fused = fuse_reciprocal_rank([first, second], k=0)
    >>> fused.to_mapping()  # doctest: +ELLIPSIS
    {'q1': {'b': 1.5, 'a': 1.0, 'd': 0.5, 'c': 0.333...}}
    """
    if not 0 <= k <= 1e9:
        raise InputError(f"k is {k}: it must be from 0 to 1e9")
    pool = Pool.of(runs, depth)
    factors = np.ones(len(runs)) if weights is None else check_weights(weights, len(runs))
    rank = pool.gather([run.rank for run in pool.runs])
    return pool.run(pool.total(factors[pool.source] / (k + rank)), name)


@dataclass(frozen=True)
class ReciprocalRankParameters:
    """Parameters of :class:`ReciprocalRankCombiner`.

    Parameters
    ----------
    k : float
        The larger, the less the first ranks stand out.
    weights : str, mapping or None
        Weight of each run: a text such as ``"0.3, 0.7"``, in their order, or a mapping of their
        names, or numbers from 1, to weights. None weighs all alike.
    depth : int or None
        Only the first so many documents of each run count.
    """

    k: Annotated[float, Ge(0), Le(1e9)] = 60
    weights: FixedWeights | None = None
    depth: Annotated[int, Ge(1)] | None = None


class ReciprocalRankCombiner(Combiner):
    """Reciprocal rank fusion (Cormack et al. 2009); see :func:`fuse_reciprocal_rank`."""

    name: ClassVar[str] = "rrf"
    Parameters: ClassVar[type[Any]] = ReciprocalRankParameters

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self._weights = canonical_weights(self.parameters.weights, self._where)

    def identity(self) -> dict[str, Any]:
        """Return k as a float, and the weights in one form."""
        return {
            **super().identity(),
            "k": float(self.parameters.k),
            "weights": self._weights,
        }

    def check(self, n_inputs: int, names: Sequence[str] | None = None) -> None:
        """Refuse another number of runs than of weights."""
        super().check(n_inputs, names)
        if self._weights is not None:
            read_weights(self._weights, names, n_inputs, self._where)

    def combine(self, runs: Sequence[Run], context: CombineContext) -> Combined:
        """Fuse runs by their ranks."""
        self.check(len(runs))
        own = self.parameters
        weights = None
        if self._weights is not None:
            names = [run.name for run in runs]
            weights = read_weights(self._weights, names, len(runs), self._where)
        fused = fuse_reciprocal_rank(
            runs, k=own.k, weights=weights, depth=own.depth, name=context.name
        )
        return Combined(fused.top(context.k))
