"""What becomes of significant differences under many reductions of the judgments at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval_eval.comparison.results import CompareOptions
from retrieval_eval.comparison.robustness.discriminativeness import discriminativeness
from retrieval_eval.comparison.robustness.reductions import pool_depth, sample_judgments
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation, Evaluator
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["STATEMENTS", "StatementsKept", "reduced_judgments", "statements_kept"]

STATEMENTS = (
    "active_agreement",
    "active_disagreement",
    "mixed_agreement",
    "mixed_disagreement",
    "passive_agreement",
    "passive_disagreement",
)
"""The six counts of :class:`~retrieval_eval.comparison.robustness.Discriminativeness`."""


@dataclass(frozen=True)
class StatementsKept:
    """What one way of reducing the judgments leaves of the differences between systems.

    Parameters
    ----------
    name : str
        The way.
    samples : int
        Reduced judgments that were made in this way.
    judgments, queries : float
        How many are left; means over the samples.
    counts : tuple of float, length 6
        Pairs by :data:`STATEMENTS`; means over the samples, with the pairs as their sum.
    precision, recall, kendall_tau : (float, float, float)
        Mean, least and most of the samples in which they are defined; NaN if there is none.
    """

    name: str
    samples: int
    judgments: float
    queries: float
    counts: tuple[float, ...]
    precision: tuple[float, float, float]
    recall: tuple[float, float, float]
    kendall_tau: tuple[float, float, float]


def reduced_judgments(
    qrels: Qrels,
    runs: Sequence[Run],
    *,
    depths: Sequence[int] = (),
    shares: Sequence[float] = (),
    samples: int = 10,
    seed: int = 0,
) -> dict[str, list[Qrels]]:
    """Reduce judgments to pools of the runs, and to random samples.

    Parameters
    ----------
    qrels : Qrels
        The judgments; not changed.
    runs : sequence of Run
        What pools are made of.
    depths : sequence of int
        Of pools; see :func:`~retrieval_eval.comparison.robustness.pool_depth`.
    shares : sequence of float
        Of judgments; see :func:`~retrieval_eval.comparison.robustness.sample_judgments`.
    samples : int
        How many for each share, at least 1, with the seeds from `seed` on.
    seed : int
        At least 0.

    Returns
    -------
    dict of str to list of Qrels
        By a name in words; the first is ``all``, the judgments themselves.

    Raises
    ------
    InputError
        If samples is below 1, or a depth, a share or the seed cannot be used.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1, "b": 1}, "q2": {"c": 1, "d": 1}})
    >>> made = reduced_judgments(qrels, [], shares=[0.5], samples=2)
    >>> {name: [len(one) for one in some] for name, some in made.items()}
    {'all': [4], '50 % of the judgments': [2, 2]}
    """
    if samples < 1:
        raise InputError(f"samples is {samples}: it must be at least 1")
    seeds = range(seed, seed + samples)
    return (
        {"all": [qrels]}
        | {f"a pool of depth {depth}": [pool_depth(qrels, runs, depth)] for depth in depths}
        | {
            f"{100 * share:g} % of the judgments": [
                sample_judgments(qrels, share, one) for one in seeds
            ]
            for share in shares
        }
    )


def statements_kept(
    qrels: Qrels,
    reduced: Mapping[str, Sequence[Qrels]],
    runs: Sequence[Run],
    measure: str,
    options: CompareOptions | None = None,
) -> list[StatementsKept]:
    """Count, for each way of reducing the judgments, what becomes of all pairs of systems.

    Parameters
    ----------
    qrels : Qrels
        The full judgments.
    reduced : mapping of str to sequence of Qrels
        Ways of reducing them, each with at least one result.
    runs : sequence of Run
        The systems, of different names.
    measure : str
        A mean over queries.
    options : CompareOptions, optional
        As of :func:`~retrieval_eval.comparison.robustness.discriminativeness`, which counts.

    Returns
    -------
    list of StatementsKept
        In the order of `reduced`.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({f"q{i}": {"a": 1} for i in range(8)})
    >>> good = Run.from_mapping({f"q{i}": {"a": 1.0} for i in range(8)}, "good")
    >>> bad = Run.from_mapping({f"q{i}": {"b": 1.0} for i in range(8)}, "bad")
    >>> made = reduced_judgments(qrels, [good, bad], shares=[0.25], samples=3)
    >>> for one in statements_kept(qrels, made, [good, bad], "RR"):
    ...     print(one.name, one.counts, one.recall)
    all (1.0, 0.0, 0.0, 0.0, 0.0, 0.0) (1.0, 1.0, 1.0)
    25 % of the judgments (0.0, 0.0, 1.0, 0.0, 0.0, 0.0) (0.0, 0.0, 0.0)
    """

    def scores(judgments: Qrels) -> list[Evaluation]:
        evaluator = Evaluator(judgments, [measure])
        return [evaluator.evaluate(run) for run in runs]

    full = scores(qrels)
    canonical = full[0].measures[0]
    kept = []
    for name, some in reduced.items():
        found = [discriminativeness(full, scores(one), canonical, options) for one in some]
        counts = [[getattr(one, count) for count in STATEMENTS] for one in found]
        kept.append(
            StatementsKept(
                name,
                len(some),
                float(np.mean([len(one) for one in some])),
                float(np.mean([one.n_reduced for one in found])),
                tuple(np.mean(counts, axis=0).tolist()),
                *(
                    _spread([getattr(one, what) for one in found])
                    for what in ("precision", "recall", "kendall_tau")
                ),
            )
        )
    return kept


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return (float("nan"),) * 3
    return float(np.mean(known)), min(known), max(known)
