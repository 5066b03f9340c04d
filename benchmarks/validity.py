"""Do the tests and intervals keep what they promise? Simulated with scores of real systems.

Scores per topic of real TREC runs are resampled in ways that make a null hypothesis true, or the
true difference known. The folder is the one that RETRIEVAL_EVAL_COLLECTIONS names; the scores are
those of github.com/julian-urbano/sigir2019-statistical (TREC-8 ad hoc: AP, P@10, RR; Web 2013:
nDCG@20). Prints Markdown: the tables of docs/validity.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import (
    MARGIN_TESTS,
    TESTS,
    PairedScores,
    correct,
    mean_intervals,
    noninferiority_p,
    tukey_p,
)
from retrieval_eval.comparison.resampling import Grid, flip_p
from retrieval_eval.comparison.significance import Draws

Array = NDArray[np.float64]
ALPHA = 0.05
SIZES = (50, 200, 1000)
FILES = {
    "AP": "adhoc8_ap.csv",
    "P@10": "adhoc8_p10.csv",
    "RR": "adhoc8_rr.csv",
    "nDCG@20": "web2013_ndcg20.csv",
}
CHUNK = 2000
FAMILIES_AT_ONCE = 100


def read_scores(folder: Path) -> dict[str, Array]:
    """Read the scores of each measure, shape (topics, systems)."""
    return {
        measure: np.loadtxt(folder / "scores" / "sigir2019" / name, delimiter=",", skiprows=1)
        for measure, name in FILES.items()
    }


def same_distribution(rng: np.random.Generator, scores: Array, pairs: int, n: int) -> Array:
    """Draw differences of two systems, drawn anew for each query from all that answered its topic.

    Both scores of a query have the same distribution: the null hypothesis is true.
    """
    topics, systems = scores.shape
    topic = rng.integers(topics, size=(pairs, n))
    first = rng.integers(systems, size=(pairs, n))
    second = (first + rng.integers(1, systems, size=(pairs, n))) % systems
    return scores[topic, first] - scores[topic, second]


def swapped_pair(rng: np.random.Generator, scores: Array, pairs: int, n: int) -> Array:
    """Draw differences of one real pair of systems, swapped by a coin for each query.

    The null hypothesis is true; pairs that are alike differ on few queries.
    """
    differences, _ = real_pair(rng, scores, pairs, n)
    return differences * rng.choice([-1.0, 1.0], size=(pairs, n))


def shifted_pair(rng: np.random.Generator, scores: Array, pairs: int, n: int) -> Array:
    """Draw differences of one real pair of systems, minus their true mean.

    The means are equal, the distributions are not: differences may be skewed, which tests of
    symmetry (sign, wilcoxon) may rightly find.
    """
    differences, true = real_pair(rng, scores, pairs, n)
    return differences - true[:, None]


def real_pair(
    rng: np.random.Generator, scores: Array, pairs: int, n: int
) -> tuple[Array, NDArray[np.float64]]:
    """Draw differences of real pairs of systems on resampled topics, and their true means."""
    topics, systems = scores.shape
    first = rng.integers(systems, size=pairs)
    second = (first + rng.integers(1, systems, size=pairs)) % systems
    topic = rng.integers(topics, size=(pairs, n))
    between = scores[:, first] - scores[:, second]
    return between[topic, np.arange(pairs)[:, None]], between.mean(axis=0)


NULLS: dict[str, Callable[[np.random.Generator, Array, int, int], Array]] = {
    "same distribution": same_distribution,
    "swapped pair": swapped_pair,
    "shifted pair": shifted_pair,
}


def _chunks(total: int, size: int = CHUNK) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)


def rejection_rates(
    scores: Array, null: str, n: int, *, pairs: int, draws: int, seed: int
) -> dict[str, float]:
    """Share of true null hypotheses that each test rejects at 0.05."""
    rng = np.random.default_rng([seed, n])
    rejected = dict.fromkeys(TESTS, 0)
    for number, size in enumerate(_chunks(pairs)):
        paired = PairedScores.of_rows(NULLS[null](rng, scores, size, n))
        for name, spec in TESTS.items():
            p = spec.p(paired, Draws(draws, seed + number))
            rejected[name] += int(np.count_nonzero(p <= ALPHA))
    return {name: count / pairs for name, count in rejected.items()}


def family_wise_rates(
    scores: Array, n: int, *, families: int, draws: int, seed: int, systems: int = 6
) -> dict[str, float]:
    """Share of families, all null hypotheses true, in which at least one is rejected."""
    rng = np.random.default_rng([seed, n, systems])
    left, right = np.triu_indices(systems, k=1)
    pairs = np.stack([left, right], axis=1)
    methods = ("none", "holm", "bh", "by", "bonferroni")
    wrong = dict.fromkeys((*methods, "tukey"), 0)
    for number, size in enumerate(_chunks(families, FAMILIES_AT_ONCE)):
        topic = rng.integers(len(scores), size=(size, n))
        order = rng.permuted(np.tile(np.arange(scores.shape[1]), (size, n, 1)), axis=2)
        values = scores[topic[:, :, None], order[:, :, :systems]].transpose(0, 2, 1)
        every = pairs + systems * np.arange(size)[:, None, None]
        found = flip_p(
            Grid.of(values.reshape(-1, n)), every.reshape(-1, 2), draws=draws, seed=seed + number
        )
        for one, p in zip(values, found.reshape(size, -1), strict=True):
            for method in methods:
                wrong[method] += bool((correct(p, method) <= ALPHA).any())
            by_tukey = tukey_p(one, pairs, draws=199, seed=seed + number)
            wrong["tukey"] += bool((by_tukey <= ALPHA).any())
    return {name: count / families for name, count in wrong.items()}


def coverage(
    scores: Array, n: int, *, pairs: int, draws: int, seed: int
) -> dict[tuple[str, str], float]:
    """Share of 95 % intervals that hold the true mean, or the true mean difference."""
    rng = np.random.default_rng([seed, n, 7])
    methods = ("t", "percentile", "bca")
    held = {(what, method): 0 for what in ("difference", "mean") for method in methods}
    for number, size in enumerate(_chunks(pairs)):
        differences, true = real_pair(rng, scores, size, n)
        system = rng.integers(scores.shape[1], size=size)
        topic = rng.integers(len(scores), size=(size, n))
        alone = scores[topic, system[:, None]]
        for method in methods:
            for what, values, centre in (
                ("difference", differences, true),
                ("mean", alone, scores.mean(axis=0)[system]),
            ):
                bounds = mean_intervals(values, method, draws=draws, seed=seed + number)
                inside = (bounds[:, 0] - 1e-9 <= centre) & (centre <= bounds[:, 1] + 1e-9)
                held[what, method] += int(np.count_nonzero(inside))
    return {key: count / pairs for key, count in held.items()}


def accepted_at_the_margin(
    scores: Array, n: int, *, pairs: int, draws: int, seed: int
) -> dict[str, float]:
    """Share of candidates accepted that lose exactly the margin: real pairs, worse one second."""
    rng = np.random.default_rng([seed, n, 11])
    accepted, count = dict.fromkeys(MARGIN_TESTS, 0), 0
    for number, size in enumerate(_chunks(pairs)):
        differences, true = real_pair(rng, scores, size, n)
        differences *= -np.sign(true)[:, None]
        keep = np.abs(true) >= 0.001
        paired = PairedScores.of_rows(differences[keep])
        count += int(keep.sum())
        for name in MARGIN_TESTS:
            p = noninferiority_p(paired, np.abs(true[keep]), name, draws=draws, seed=seed + number)
            accepted[name] += int(np.count_nonzero(p <= ALPHA))
    return {name: total / count for name, total in accepted.items()}


def sparse_losses(n: int, share: float, *, pairs: int, seed: int) -> tuple[float, float]:
    """Share of candidates accepted that lose 1.0 on few queries and nothing on all others.

    The margin is the true loss. Returned are the share accepted, and of it that part in which no
    query of the sample differed.
    """
    losses = -(np.random.default_rng([seed, n]).random((pairs, n)) < share).astype(np.float64)
    p = noninferiority_p(PairedScores.of_rows(losses), np.full(pairs, share))
    return float(np.mean(p <= ALPHA)), float(np.mean(~losses.any(axis=1)))


def _table(header: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("| " + " | ".join([":--", *["--:"] * (len(header) - 1)]) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def _print_sparse(pairs: int, seed: int) -> None:
    print("### The same, where few queries lose everything: test hall\n")
    print("The candidate loses 1.0 on the queries that fail, 0 on others; made up.\n")
    rows = []
    for share in (0.002, 0.01, 0.03, 0.1):
        for n in SIZES:
            found, unseen = sparse_losses(n, share, pairs=pairs, seed=seed)
            rows.append(
                [f"{share:.1%} fail, {n} queries", f"{100 * found:.1f}", f"{100 * unseen:.1f}"]
            )
    _table(["% accepted", "hall", "of which no query failed"], rows)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--families", type=int, default=4_000)
    parser.add_argument("--draws", type=int, default=1999)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="null, family, coverage or margin")
    given = parser.parse_args()
    folder = os.environ.get("RETRIEVAL_EVAL_COLLECTIONS")
    if not folder:
        parser.error("RETRIEVAL_EVAL_COLLECTIONS is not set: it names the folder with the scores")
    measures = read_scores(Path(folder))
    error = 3 * np.sqrt(ALPHA * (1 - ALPHA) / given.pairs)
    settings = {"pairs": given.pairs, "draws": given.draws, "seed": given.seed}
    cases = [(name, scores, n) for name, scores in measures.items() for n in SIZES]
    if given.only in ("", "null"):
        for null in NULLS:
            print(f"### Rejected at 0.05, null hypothesis true: {null}\n")
            print(f"{given.pairs} pairs a cell; three standard errors are {100 * error:.2f} %.\n")
            rows = []
            for name, scores, n in cases:
                rates = rejection_rates(scores, null, n, **settings)
                rows.append([f"{name}, {n} queries", *(f"{100 * rates[t]:.2f}" for t in TESTS)])
            _table(["% rejected", *TESTS], rows)
    if given.only in ("", "family"):
        print(
            "### At least one of 15 true null hypotheses rejected at 0.05: 6 systems, all pairs\n"
        )
        print(f"{given.families} families a cell, randomization test.\n")
        rows, names = [], ()
        for name, scores, n in cases:
            found = family_wise_rates(
                scores, n, families=given.families, draws=given.draws, seed=given.seed
            )
            names = tuple(found)
            rows.append([f"{name}, {n} queries", *(f"{100 * found[one]:.1f}" for one in names)])
        _table(["% of families", *names], rows)
    if given.only in ("", "coverage"):
        print("### 95 % intervals that hold the true value\n")
        print(f"{given.pairs} a cell.\n")
        rows, keys = [], ()
        for name, scores, n in cases:
            held = coverage(scores, n, **settings)
            keys = tuple(held)
            rows.append([f"{name}, {n} queries", *(f"{100 * held[key]:.2f}" for key in keys)])
        _table(["% covered", *(f"{what}: {method}" for what, method in keys)], rows)
    if given.only in ("", "margin"):
        print("### Accepted as not inferior at a true loss of exactly the margin\n")
        print(f"{given.pairs} pairs a cell; three standard errors are {100 * error:.2f} %.\n")
        rows = []
        for name, scores, n in cases:
            rates = accepted_at_the_margin(scores, n, **settings)
            rows.append([f"{name}, {n} queries", *(f"{100 * rates[t]:.2f}" for t in MARGIN_TESTS)])
        _table(["% accepted", *MARGIN_TESTS], rows)
        _print_sparse(given.pairs, given.seed)


if __name__ == "__main__":
    main()
