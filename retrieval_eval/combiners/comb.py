"""Fox and Shaw's combinations of scores: CombSUM, CombMNZ and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.combiners.base import CombineContext, Combined, Combiner
from retrieval_eval.combiners.normalise import Normalisation
from retrieval_eval.combiners.pool import Evidence, Pool
from retrieval_eval.errors import unknown_name
from retrieval_eval.runs import Run

__all__ = [
    "CombCombiner",
    "CombMnzCombiner",
    "CombParameters",
    "CombSumCombiner",
    "FixedCombParameters",
    "Method",
    "fuse_comb",
]

Method = Literal["sum", "mnz", "anz", "max", "min", "med"]


def fuse_comb(
    runs: Sequence[Run],
    method: Method = "sum",
    normalisation: Normalisation = "min-max",
    *,
    depth: int | None = None,
    name: str | None = None,
) -> Run:
    """Fuse runs by their normalised scores.

    Parameters
    ----------
    runs : sequence of Run
        At least one. A query that some do not answer is fused from the others.
    method : {'sum', 'mnz', 'anz', 'max', 'min', 'med'}
        Of a document's normalised scores: their sum; the sum times the number of runs that
        returned it; the sum divided by that number; the highest, the lowest, the median of them.
    normalisation : {'min-max', 'max', 'sum', 'zmuv', 'rank', 'borda', 'none'}
        See :func:`~retrieval_eval.combiners.normalise`. 'borda' with 'sum' is Borda fusion.
    depth : int, optional
        Only the first so many documents of each run count, for the normalisation too.
    name : str, optional
        Of the result; by default the method's, for instance ``combsum``.

    Returns
    -------
    Run
        Every document that a run returned. Equal scores stand in the order of ids, descending, as
        everywhere; sums that are equal by the formula are equal numbers, in whichever order the
        runs are given.

    Raises
    ------
    InputError
        If there is no run, no such method or normalisation, the depth is below 1, or a fused score
        is out of range.

    Notes
    -----
    The definitions are Fox and Shaw's [1]_, with Lee's normalisation [2]_ by default. A run that
    did not return a document gives it 0, and does not count for the number, the highest, the
    lowest and the median, even where a score that it gave is 0. Under 'borda' it gives its share
    of the points that it has left, instead of 0. Zero is the mean under 'zmuv', and above all
    scores that are negative under 'max' or 'none': there a document gains from being left out,
    and with 'mnz' loses from being found.

    References
    ----------
    .. [1] E. A. Fox and J. A. Shaw, Combination of multiple searches, TREC-2, 1994.
    .. [2] J. H. Lee, Analyses of multiple evidence combination, SIGIR 1997.

    Examples
    --------
    >>> first = Run.from_mapping({"q1": {"a": 9.0, "b": 6.0, "c": 5.0}})
    >>> second = Run.from_mapping({"q1": {"c": 0.9, "b": 0.8, "d": 0.4}})
    >>> fuse_comb([first, second], "sum").to_mapping()
    {'q1': {'b': 1.05, 'c': 1.0, 'a': 1.0, 'd': 0.0}}
    >>> fuse_comb([first, second], "mnz").to_mapping()
    {'q1': {'b': 2.1, 'c': 2.0, 'a': 1.0, 'd': 0.0}}
    """
    if method not in get_args(Method):
        raise unknown_name("method", method, get_args(Method))
    pool = Pool.of(runs, depth)
    evidence = Evidence.of(pool, normalisation)
    with np.errstate(over="ignore"):  # refused where the pool is ranked
        scores = _combine(evidence, method, len(runs))
    return pool.run(scores, name or f"comb{method}")


def _combine(evidence: Evidence, method: Method, n_runs: int) -> NDArray[np.float64]:
    pool = evidence.pool
    if method in {"sum", "mnz", "anz"}:
        total = evidence.total(np.ones(n_runs))
        if method == "sum":
            return total
        return total * pool.count if method == "mnz" else total / pool.count
    if not len(pool):
        return np.empty(0)
    ordered: NDArray[np.float64] = evidence.score[np.lexsort((evidence.score, pool.pair))]
    last = pool.starts + pool.count - 1
    low, high = {
        "min": (pool.starts, pool.starts),
        "max": (last, last),
        "med": ((pool.starts + last) // 2, (pool.starts + last + 1) // 2),
    }[method]
    middle: NDArray[np.float64] = ordered[low] / 2 + ordered[high] / 2
    return middle


@dataclass(frozen=True)
class FixedCombParameters:
    """Parameters of :class:`CombSumCombiner` and :class:`CombMnzCombiner`.

    Parameters
    ----------
    normalisation : {'none', 'min-max', 'max', 'sum', 'zmuv', 'rank', 'borda'}
        How scores of a query are brought to one scale.
    depth : int or None
        Only the first so many documents of each run count.
    """

    normalisation: Normalisation = "min-max"
    depth: Annotated[int, Ge(1)] | None = None


@dataclass(frozen=True)
class CombParameters(FixedCombParameters):
    """Parameters of :class:`CombCombiner`.

    Parameters
    ----------
    normalisation : {'none', 'min-max', 'max', 'sum', 'zmuv', 'rank', 'borda'}
        How scores of a query are brought to one scale.
    depth : int or None
        Only the first so many documents of each run count.
    method : {'sum', 'mnz', 'anz', 'max', 'min', 'med'}
        What is made of a document's scores.
    """

    method: Method = "sum"


class CombCombiner(Combiner):
    """Any of Fox and Shaw's combinations; see :func:`fuse_comb`."""

    name: ClassVar[str] = "comb"
    Parameters: ClassVar[type[Any]] = CombParameters

    @property
    def _method(self) -> Method:
        method: Method = self.parameters.method
        return method

    def combine(self, runs: Sequence[Run], context: CombineContext) -> Combined:
        """Fuse runs by their normalised scores."""
        self.check(len(runs))
        own = self.parameters
        fused = fuse_comb(runs, self._method, own.normalisation, depth=own.depth, name=context.name)
        return Combined(fused.top(context.k))


class CombSumCombiner(CombCombiner):
    """CombSUM: the sum of normalised scores; see :func:`fuse_comb`."""

    name: ClassVar[str] = "combsum"
    Parameters: ClassVar[type[Any]] = FixedCombParameters
    _method: ClassVar[Method] = "sum"


class CombMnzCombiner(CombCombiner):
    """CombMNZ: that sum times the number of runs that returned it; see :func:`fuse_comb`."""

    name: ClassVar[str] = "combmnz"
    Parameters: ClassVar[type[Any]] = FixedCombParameters
    _method: ClassVar[Method] = "mnz"
