"""How many wrong labels it takes to change which run wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.orders.correlation import kendall_tau
from retrieval_eval.comparison.orders.scores import without_rounding
from retrieval_eval.comparison.robustness.reductions import content_order, raw_draws
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import EvaluationOptions, Evaluator
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["LabelNoise", "flip_labels", "label_noise"]

_LABELS = 103  # its stream of random numbers
_HALF = 0.5


@dataclass(frozen=True, eq=False)
class LabelNoise:
    """What becomes of the order of runs when labels are wrong.

    Parameters
    ----------
    measure : str
        The measure, canonical.
    runs : tuple of str, length s
        The runs.
    fractions : tuple of float, length f
        Shares of wrong labels.
    replicates, seed : int
        Random sets of wrong labels for each fraction.
    pairs : tuple of (str, str), length p
        All pairs of runs.
    survival : ndarray of float64, shape (f, p)
        Share of the replicates in which the pair has the order that it has without wrong labels; a
        tie survives as a tie.
    winner : ndarray of float64, shape (f,)
        Share of the replicates with the same winner: the run with the best mean, or the same set of
        them if some are tied.
    kendall_tau : ndarray of float64, shape (f,)
        Mean of Kendall's tau-b between the orders without and with wrong labels, over the
        replicates in which it is defined; NaN without any.
    """

    measure: str
    runs: tuple[str, ...]
    fractions: tuple[float, ...]
    replicates: int
    seed: int
    pairs: tuple[tuple[str, str], ...]
    survival: NDArray[np.float64]
    winner: NDArray[np.float64]
    kendall_tau: NDArray[np.float64]

    @property
    def smallest_change(self) -> float | None:
        """Smallest fraction whose winner is another in at least half of the replicates, or None."""
        changed = [
            fraction
            for fraction, share in zip(self.fractions, self.winner.tolist(), strict=True)
            if share <= _HALF
        ]
        return min(changed, default=None)

    @property
    def winner_ci95(self) -> NDArray[np.float64]:
        """95 % interval of each share in `winner` (Clopper & Pearson 1934); shape (f, 2)."""
        from scipy.stats import binomtest

        counts = np.rint(self.winner * self.replicates).astype(int).tolist()
        found = (binomtest(count, self.replicates).proportion_ci() for count in counts)
        return np.array([[one.low, one.high] for one in found]).reshape(-1, 2)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows; what is not known as None."""
        return {
            "measure": self.measure,
            "runs": list(self.runs),
            "replicates": self.replicates,
            "seed": self.seed,
            "smallest_change": self.smallest_change,
            "fractions": [
                {
                    "fraction": fraction,
                    "winner": float(self.winner[row]),
                    "kendall_tau": None
                    if np.isnan(self.kendall_tau[row])
                    else float(self.kendall_tau[row]),
                    "pairs": [
                        {"a": a, "b": b, "survival": float(share)}
                        for (a, b), share in zip(self.pairs, self.survival[row], strict=True)
                    ],
                }
                for row, fraction in enumerate(self.fractions)
            ],
        }


def flip_labels(
    qrels: Qrels, fractions: Sequence[float], *, seed: int, replicate: int = 0
) -> list[Qrels]:
    """Make judgments wrong at random, each independently with the probability `fraction`.

    A wrong judgment takes another of the grades that occur in the qrels, each equally likely: with
    two grades, the other one. Where all documents are relevant, as in many collections for dense
    retrieval, 0 is one of these grades too. Documents without a judgment stay without one.

    Parameters
    ----------
    qrels : Qrels
        The judgments; not changed.
    fractions : sequence of float
        Shares of wrong judgments, 0 to 1. A judgment that is wrong at one is wrong, in the same
        way, at all larger ones.
    seed, replicate : int
        Which random numbers; which judgments are wrong does not depend on the order of lines.

    Returns
    -------
    list of Qrels
        One for each fraction.

    Raises
    ------
    InputError
        If a fraction or the seed cannot be used, or no document is relevant.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1, "b": 0, "c": 0}})
    >>> [one.mapping["q1"] for one in flip_labels(qrels, [0.0, 1.0], seed=0)]
    [{'a': 1, 'b': 0, 'c': 0}, {'a': 0, 'b': 1, 'c': 1}]
    """
    for fraction in fractions:
        if not 0 <= fraction <= 1:
            raise InputError(f"the fraction is {fraction}: it must be between 0 and 1")
    if not (qrels.grade > 0).any():
        raise InputError("no document is relevant: there is no label to be wrong about")
    labels = np.unique(qrels.grade)
    if labels[0] > 0:
        labels = np.append(0, labels)
    n = len(qrels)
    raw = np.empty((2, n), dtype=np.uint64)
    raw[:, content_order(qrels)] = raw_draws(2 * n, seed, _LABELS, replicate).reshape(n, 2).T
    chance = (raw[0] >> np.uint64(11)) * 2.0**-53  # below 1, so that all are wrong at 1
    # The upper 32 bits, scaled to one of the other labels.
    step = (raw[1] >> np.uint64(32)) * np.uint64(len(labels) - 1) >> np.uint64(32)
    own = np.searchsorted(labels, qrels.grade)
    other = labels[(own + 1 + step.astype(np.int64)) % len(labels)]
    return [
        replace(qrels, grade=np.where(chance < fraction, other, qrels.grade))
        for fraction in fractions
    ]


def label_noise(
    qrels: Qrels,
    runs: Sequence[Run],
    measure: str,
    *,
    fractions: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2),
    replicates: int = 20,
    seed: int = 0,
    options: EvaluationOptions | None = None,
) -> LabelNoise:
    """Find how many wrong labels it takes to change the order of runs.

    Labels are made wrong by :func:`flip_labels`: an order that does not survive a share of wrong
    labels which one must reckon with is not to be relied on. With more than two grades, not every
    wrong one crosses the level from which documents are relevant. Within a replicate, what is wrong
    at one fraction is wrong at larger ones, and all runs meet the same wrong labels.

    Parameters
    ----------
    qrels : Qrels
        The judgments; not changed.
    runs : sequence of Run
        At least two, of different names.
    measure : str
        The measure; higher is better.
    fractions : sequence of float
        Shares of wrong labels, 0 to 1.
    replicates : int
        Random sets of wrong labels, at least 1.
    seed : int
        At least 0.
    options : EvaluationOptions, optional
        How runs are scored.

    Returns
    -------
    LabelNoise
        Means that agree but for the rounding of float64 are tied.

    Raises
    ------
    InputError
        If there are fewer than two runs or two have one name, no document is relevant, or a value
        cannot be used.

    References
    ----------
    Northcutt, Athalye & Mueller 2021, Pervasive label errors in test sets destabilize machine
    learning benchmarks: there, the share of wrong labels from which another model wins.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1, "b": 0}, "q2": {"a": 1, "b": 0}})
    >>> good = Run.from_mapping({"q1": {"a": 1.0}, "q2": {"a": 1.0}}, name="good")
    >>> bad = Run.from_mapping({"q1": {"b": 1.0}, "q2": {"b": 1.0}}, name="bad")
    >>> noise = label_noise(qrels, [good, bad], "P@1", fractions=[0, 1], replicates=2)
    >>> noise.survival.tolist(), noise.winner.tolist(), noise.smallest_change
    ([[1.0], [0.0]], [1.0, 0.0], 1.0)
    """
    names = tuple(run.name for run in runs)
    if len(names) < 2:
        raise InputError("label noise changes the order of runs: give at least two")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{names.count(repeated)} runs are named {repeated!r}")
    if not len(fractions) or replicates < 1:
        raise InputError("label noise needs at least one fraction and one replicate")
    options = options or EvaluationOptions()
    truth = Evaluator(qrels, [measure], options)
    canonical = truth.measures[0]

    def means(evaluator: Evaluator) -> NDArray[np.float64]:
        found = np.array([evaluator.evaluate(run).means[canonical] for run in runs])
        return without_rounding(found, found)

    noisy = np.empty((len(fractions), replicates, len(runs)))
    for replicate in range(replicates):
        wrong = flip_labels(qrels, fractions, seed=seed, replicate=replicate)
        for row, labels in enumerate(wrong):
            noisy[row, replicate] = means(Evaluator(labels, [measure], options))
    before = means(truth)
    left, right = np.array(list(combinations(range(len(runs)), 2))).T
    same = np.sign(noisy[..., left] - noisy[..., right]) == np.sign(before[left] - before[right])
    best = before == before.max()
    same_best = ((noisy == noisy.max(axis=-1, keepdims=True)) == best).all(axis=-1)
    tau = kendall_tau(before, noisy)
    defined = ~np.isnan(tau)
    mean_tau = np.full(len(fractions), np.nan)
    counts = defined.sum(axis=1)
    np.divide(np.where(defined, tau, 0.0).sum(axis=1), counts, out=mean_tau, where=counts > 0)
    return LabelNoise(
        measure=canonical,
        runs=names,
        fractions=tuple(float(one) for one in fractions),
        replicates=replicates,
        seed=seed,
        pairs=tuple(combinations(names, 2)),
        survival=same.mean(axis=1),
        winner=same_best.mean(axis=1),
        kendall_tau=mean_tau,
    )
