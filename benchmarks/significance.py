"""How long do resampling tests take? All pairs of systems, against scipy on one pair.

Figures are ratios within one run, and medians of repeats: other work on the machine moves both
sides. Scores are made up: zero-inflated, tied, of 20 systems on 6,980 queries.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import PairedScores, compare, tukey_p
from retrieval_eval.comparison.resampling import Grid, bootstrap_sums, flip_p
from retrieval_eval.evaluation import Evaluation


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Time a call several times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def scipy_seconds(differences: NDArray[np.float64], draws: int, repeats: int) -> float:
    """Time scipy's permutation test of one pair."""
    from scipy.stats import permutation_test

    def call() -> None:
        permutation_test(
            (differences,),
            lambda sample, axis: sample.sum(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=draws,
            batch=200,
            rng=np.random.default_rng(0),
        )

    return median_seconds(call, repeats)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", type=int, default=20)
    parser.add_argument("--queries", type=int, default=6980)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scipy-draws", type=int, default=2000)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = given.systems, given.queries
    scores = np.round(rng.beta(0.5, 1, size=shape), 2) * (rng.random(shape) < 0.6)
    pairs = np.array(list(itertools.combinations(range(given.systems), 2)))

    def flips(which: NDArray[np.intp], threads: int | None = None) -> NDArray[np.float64]:
        return flip_p(Grid.of(scores), which, draws=given.draws, seed=1, threads=threads)

    if not (flips(pairs[:5], 1) == flips(pairs[:5], 2)).all():
        raise SystemExit("one and two threads give other p values")
    whole = median_seconds(lambda: flips(pairs), given.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ids = tuple(map(str, range(given.queries)))
    runs = [Evaluation(str(i), ("nDCG@10",), ids, row[None], 0) for i, row in enumerate(scores)]
    table = median_seconds(lambda: compare(runs, pairs="all", draws=given.draws), given.repeats)
    one = median_seconds(lambda: flips(pairs[:1]), given.repeats)
    few = given.scipy_draws
    theirs = scipy_seconds(scores[0] - scores[1], few, 3) * given.draws / few
    print(
        f"{len(pairs)} pairs x {given.queries} queries x {given.draws} sign flips: {whole:.2f} s, "
        f"peak {peak:.0f} MiB resident"
    )
    print(f"the same by compare(), with intervals, effects and correction: {table:.2f} s")
    print(f"1 pair: {one:.2f} s; scipy, from {few} draws: {theirs:.1f} s, {theirs / one:.0f} times")
    print(f"all pairs by scipy one by one: {theirs * len(pairs) / 3600:.2f} h, "
          f"{theirs * len(pairs) / whole:.0f} times")  # fmt: skip
    paired = PairedScores(scores, pairs)
    boot = median_seconds(
        lambda: bootstrap_sums(paired.grid, pairs, draws=10_000, seed=1), given.repeats
    )
    print(f"{len(pairs)} pairs, 10000 bootstrap resamples: {boot:.2f} s")
    tukey = median_seconds(lambda: tukey_p(scores, pairs, draws=1000, seed=1), 1)
    print(f"randomised Tukey HSD, 1000 draws: {tukey:.2f} s")


if __name__ == "__main__":
    main()
