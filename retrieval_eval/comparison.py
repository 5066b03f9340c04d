"""Comparing runs query by query: differences, intervals, tests, and the family they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluation

__all__ = [
    "CORRECTIONS",
    "TESTS",
    "Comparison",
    "Difference",
    "bootstrap_intervals",
    "compare",
    "correct",
    "not_inferior_p",
    "randomization_p",
]

TESTS = ("randomization",)
CORRECTIONS = ("holm", "none")
DEFAULT_DRAWS = 10_000
_BLOCK_BYTES = 64 * 2**20


def _draw_blocks(n: int, draws: int) -> Iterator[int]:
    """Split draws into blocks whose float64 matrix of n columns stays within the budget."""
    step = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, draws, step):
        yield min(step, draws - start)


def bootstrap_intervals(
    values: NDArray[np.float64], *, draws: int = DEFAULT_DRAWS, seed: int, confidence: float = 0.95
) -> NDArray[np.float64]:
    """Bootstrap intervals of means over queries, by the percentile method.

    Parameters
    ----------
    values : ndarray of float64, shape (s, n)
        s series of scores, or of paired differences, over the same n queries.
    draws : int
        Number of resamples.
    seed : int
        Seed of the resamples, which all series share.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    ndarray of float64, shape (s, 2)
        Lower and upper bounds, in the unit of the values. Constant series give their constant.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Examples
    --------
    >>> bootstrap_intervals(np.array([[0.5, 0.5, 0.5]]), seed=0).tolist()
    [[0.5, 0.5]]
    """
    series, n = values.shape
    # Resampling deviations from the mean keeps a constant series free of rounding noise.
    mean = values.mean(axis=1, keepdims=True)
    centred = np.where(np.ptp(values, axis=1, keepdims=True) == 0, 0.0, values - mean)
    mean = np.where(np.ptp(values, axis=1, keepdims=True) == 0, values[:, :1], mean)
    rng = np.random.default_rng(seed)
    parts = []
    for block in _draw_blocks(n, draws):
        picks = rng.integers(0, n, size=(block, n), dtype=np.int32)
        flat = (picks + np.arange(block, dtype=np.int64)[:, None] * n).ravel()
        weights = np.bincount(flat, minlength=block * n).reshape(block, n)
        parts.append(weights.astype(np.float64) @ centred.T / n)
    means = np.concatenate(parts) if parts else np.zeros((1, series))
    tail = (1 - confidence) / 2
    bounds: NDArray[np.float64] = np.quantile(means, [tail, 1 - tail], axis=0).T + mean
    return bounds


def randomization_p(
    differences: NDArray[np.float64], *, draws: int = DEFAULT_DRAWS, seed: int
) -> NDArray[np.float64]:
    """Two-sided paired randomization (sign-flip) test of a mean difference of zero.

    Exact, over all ``2**n`` sign patterns of the n differences that are not zero, where that is at
    most `draws`. Otherwise by Monte Carlo, ``p = (1 + b) / (1 + draws)``, never 0. Sums that agree
    but for the rounding of float64 count as ties, so that p is the same on every machine.

    Parameters
    ----------
    differences : ndarray of float64, shape (s, n)
        Paired differences of s comparisons over the same n queries.
    draws : int
        Number of random sign patterns, which all comparisons share.
    seed : int
        Seed of the patterns.

    Returns
    -------
    ndarray of float64, shape (s,)
        p values; 1 where no query differs.

    References
    ----------
    Smucker, Allan & Carterette 2007, A comparison of statistical significance tests for
    information retrieval evaluation.

    Examples
    --------
    >>> randomization_p(np.array([[1.0, 1.0, 1.0, 0.0]]), seed=0).tolist()
    [0.25]
    """
    n = differences.shape[1]
    observed = np.abs(differences.sum(axis=1))
    threshold = observed - n * 2.0**-50 * np.abs(differences).sum(axis=1)
    result = np.ones(len(differences))
    by_chance = []
    for row, one in enumerate(differences):
        moved = one[one != 0]
        if len(moved) > np.log2(draws):
            by_chance.append(row)
        elif len(moved):
            patterns = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
            sums = (1.0 - 2.0 * patterns) @ moved
            result[row] = np.mean(np.abs(sums) >= threshold[row])
    if by_chance:
        rng = np.random.default_rng(seed)
        chosen = np.ascontiguousarray(differences[by_chance].T)
        reached = np.zeros(len(by_chance), dtype=np.int64)
        width = -(-n // 8)
        for block in _draw_blocks(n, draws):
            raw = np.frombuffer(rng.bytes(block * width), dtype=np.uint8).reshape(block, width)
            signs = 1.0 - 2.0 * np.unpackbits(raw, axis=1, count=n)
            reached += np.count_nonzero(np.abs(signs @ chosen) >= threshold[by_chance], axis=0)
        result[by_chance] = (1 + reached) / (1 + draws)
    return result


def not_inferior_p(differences: NDArray[np.float64], margin: float) -> float:
    """One-sided paired t test of the hypothesis that the mean difference is at most ``-margin``.

    Parameters
    ----------
    differences : ndarray of float64, shape (n,)
        Candidate minus reference, for each query.
    margin : float
        What may be lost, in the unit of the measure; above 0.

    Returns
    -------
    float
        A small p says: not worse than the reference by the margin or more. NaN for one query.

    Examples
    --------
    >>> not_inferior_p(np.zeros(10), 0.01)
    0.0
    """
    from scipy.special import stdtr

    n = len(differences)
    if n < 2:
        return float("nan")
    mean, spread = differences.mean(), differences.std(ddof=1)
    if spread == 0:
        return 0.0 if mean > -margin else 1.0
    return float(stdtr(n - 1, -(mean + margin) / (spread / np.sqrt(n))))


def correct(p: NDArray[np.float64], method: str) -> NDArray[np.float64]:
    """Adjust p values for the number of comparisons in their family.

    Parameters
    ----------
    p : ndarray of float64, shape (f,)
        All p values of the family; NaN is not allowed in.
    method : {'holm', 'none'}
        Holm 1979 holds the family-wise error rate under any dependence.

    Returns
    -------
    ndarray of float64, shape (f,)
        Adjusted p values, at most 1.

    Examples
    --------
    >>> correct(np.array([0.01, 0.04, 0.03]), "holm").round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    if method not in CORRECTIONS:
        raise unknown_name("correction", method, CORRECTIONS)
    if np.isnan(p).any():
        raise InputError("a p value is NaN: a family must hold defined p values only")
    if method == "none":
        return p.copy()
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


@dataclass(frozen=True)
class Difference:
    """One candidate against one reference on one measure.

    Parameters
    ----------
    reference, candidate : str
        Names of the two runs.
    measure : str
        The measure.
    n_queries : int
        Queries compared.
    mean : float
        Mean of candidate minus reference.
    low, high : float
        Bootstrap interval of that mean, at confidence ``1 - alpha``.
    wins, ties, losses : int
        Queries on which the candidate scores higher, equal, lower.
    p, p_adjusted : float
        Of the test, before and after correction over the family.
    significant : bool
        Whether ``p_adjusted`` is at most alpha.
    margin : float or None
        What may be lost, if one was asked for.
    p_margin : float or None
        Of the test that the candidate is worse by the margin or more; None without a margin, or
        with a single query.
    """

    reference: str
    candidate: str
    measure: str
    n_queries: int
    mean: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int
    p: float
    p_adjusted: float
    significant: bool
    margin: float | None
    p_margin: float | None

    def not_inferior(self, alpha: float) -> bool | None:
        """Whether the candidate is shown to lose less than the margin; None without a margin."""
        return None if self.p_margin is None else self.p_margin <= alpha


@dataclass(frozen=True)
class Comparison:
    """All differences of one family, and how they were tested.

    Parameters
    ----------
    differences : tuple of Difference
        Pair by pair, measure by measure.
    test, correction : str
        How they were tested.
    alpha : float
        Level of the tests; intervals have confidence ``1 - alpha``.
    draws, seed : int
        Of bootstrap and randomization.
    """

    differences: tuple[Difference, ...]
    test: str
    correction: str
    alpha: float
    draws: int
    seed: int

    @property
    def family(self) -> str:
        """What the correction is over, in words."""
        measures = {difference.measure for difference in self.differences}
        pairs = len(self.differences) // max(1, len(measures))
        plural = "" if pairs == 1 else "s"
        return (
            f"{len(self.differences)} comparisons: {pairs} pair{plural} of runs x "
            f"{len(measures)} measure{'' if len(measures) == 1 else 's'}"
        )

    def unreachable(self) -> str | None:
        """Say so if the number of draws alone keeps every corrected p above alpha."""
        smallest = 1 / (1 + self.draws)
        if self.correction != "none":
            smallest *= len(self.differences)
        if not self.differences or smallest <= self.alpha:
            return None
        return (
            f"with {self.draws} draws and {self.family}, no Monte Carlo p can come below "
            f"{smallest:.3g}: raise draws"
        )


def compare(
    pairs: Sequence[tuple[Evaluation, Evaluation]],
    *,
    test: str = "randomization",
    correction: str = "holm",
    alpha: float = 0.05,
    margins: Mapping[str, float] | None = None,
    draws: int = DEFAULT_DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare pairs of evaluations on every measure; all of it is one family.

    Parameters
    ----------
    pairs : sequence of (Evaluation, Evaluation)
        Reference and candidate, of the same qrels and measures. Queries are matched by id.
    test : {'randomization'}
        Paired test of a zero mean difference.
    correction : {'holm', 'none'}
        Over all pairs and measures.
    alpha : float
        Level, between 0 and 1.
    margins : mapping of str to float, optional
        For some measures, the loss that is accepted: adds a test of non-inferiority.
    draws : int
        Of bootstrap and Monte Carlo, at least 100.
    seed : int
        Of both.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If a pair's queries or measures differ, or a margin names a measure not compared.

    Examples
    --------
    >>> from retrieval_eval import Qrels, Run, evaluate
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"a": 1}})
    >>> run = evaluate(qrels, Run.from_mapping({"q1": {"a": 1.0}}), ["RR"])
    >>> same = compare([(run, run)]).differences[0]
    >>> same.mean, same.p
    (0.0, 1.0)
    """
    if test not in TESTS:
        raise unknown_name("test", test, TESTS)
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}: it must lie between 0 and 1")
    if draws < 100:
        raise InputError(f"draws is {draws}: it must be at least 100")
    margins = margins or {}
    if not pairs:
        return Comparison((), test, correction, alpha, draws, seed)
    measures = pairs[0][0].measures
    for name, margin in margins.items():
        if name not in measures:
            raise unknown_name("measure (of a margin)", name, measures)
        if margin <= 0:
            raise InputError(f"the margin of {name} is {margin}: it must be above 0")
    rows = [_differences(*pair, measures) for pair in pairs]
    stacked = np.concatenate(rows)
    intervals = bootstrap_intervals(stacked, draws=draws, seed=seed, confidence=1 - alpha)
    p_values = randomization_p(stacked, draws=draws, seed=seed)
    adjusted = correct(p_values, correction)
    differences = []
    keys = ((pair, measure) for pair in pairs for measure in measures)
    for row, ((reference, candidate), measure) in enumerate(keys):
        values = stacked[row]
        accepted = margins.get(measure)
        p_margin = None if accepted is None else not_inferior_p(values, accepted)
        differences.append(
            Difference(
                reference=reference.run_name,
                candidate=candidate.run_name,
                measure=measure,
                n_queries=len(values),
                mean=float(values.mean()),
                low=float(intervals[row, 0]),
                high=float(intervals[row, 1]),
                wins=int(np.count_nonzero(values > 0)),
                ties=int(np.count_nonzero(values == 0)),
                losses=int(np.count_nonzero(values < 0)),
                p=float(p_values[row]),
                p_adjusted=float(adjusted[row]),
                significant=bool(adjusted[row] <= alpha),
                margin=accepted,
                p_margin=None if p_margin is None or np.isnan(p_margin) else p_margin,
            )
        )
    return Comparison(tuple(differences), test, correction, alpha, draws, seed)


def _differences(
    reference: Evaluation, candidate: Evaluation, measures: tuple[str, ...]
) -> NDArray[np.float64]:
    for one in (reference, candidate):
        if one.measures != measures:
            raise InputError(
                f"run {one.run_name!r} was scored by {', '.join(one.measures)}, "
                f"others by {', '.join(measures)}"
            )
    if set(reference.query_ids) != set(candidate.query_ids):
        raise InputError(
            f"runs {reference.run_name!r} and {candidate.run_name!r} were scored on different "
            "queries: evaluate both against the same qrels"
        )
    row_of = {query_id: row for row, query_id in enumerate(candidate.query_ids)}
    order = [row_of[query_id] for query_id in reference.query_ids]
    result: NDArray[np.float64] = candidate.values[:, order] - reference.values
    return result
