"""Does `select` keep its error rate, and what does it find? Simulated sweeps.

Scores per topic of real TREC runs (as for validity.py) and made-up ones become sweeps in which the
true loss of every configuration is known. Prints Markdown: the tables of docs/selection.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.comparison import PairedScores, correct, noninferiority_p
from retrieval_eval.selection import Selection, SweepTables, select
from retrieval_eval.selection.certify import order_candidates, passed_in_sequence

Array = NDArray[np.float64]
ALPHA = 0.05
MARGIN = 0.02
FILES = {"AP": "adhoc8_ap.csv", "nDCG@20": "web2013_ndcg20.csv"}


def read_scores(folder: Path) -> dict[str, Array]:
    """Read the scores of each measure, shape (topics, systems)."""
    return {
        measure: np.loadtxt(folder / "scores" / "sigir2019" / name, delimiter=",", skiprows=1)
        for measure, name in FILES.items()
    }


def made_up_scores(seed: int = 8) -> Array:
    """Draw scores of 50 topics and 101 systems, skewed, tied and more than a quarter zeros."""
    rng = np.random.default_rng(seed)
    easy = rng.beta(0.5, 1.5, size=(50, 1))
    return np.round(np.clip(easy + rng.normal(0, 0.15, size=(50, 101)), 0, 1), 1)


def shifted(rng: np.random.Generator, scores: Array, n: int, m: int) -> tuple[Array, Array]:
    """Real systems beside a real reference, shifted so that each loses exactly the margin."""
    topics, systems = scores.shape
    order = rng.permutation(systems)
    reference, others = order[0], np.resize(order[1:], m)
    drawn = scores[rng.integers(topics, size=n)]
    means = scores[:, others].mean(axis=0) - scores[:, reference].mean() + MARGIN
    return drawn[:, others].T - means[:, None], drawn[:, reference]


def scaled(rng: np.random.Generator, scores: Array, n: int, m: int) -> tuple[Array, Array]:
    """Systems worse than one of the best, their differences scaled to lose exactly the margin."""
    reference = np.argsort(scores.mean(axis=0))[-1 - rng.integers(3)]
    lost = scores[:, reference].mean() - scores.mean(axis=0)
    others = np.resize(rng.permutation(np.flatnonzero(lost > 0.001)), m)
    drawn = scores[rng.integers(len(scores), size=n)]
    between = drawn[:, others].T - drawn[:, reference]
    return drawn[:, reference] + between * (MARGIN / lost[others])[:, None], drawn[:, reference]


def independent(rng: np.random.Generator, scores: Array, n: int, m: int) -> tuple[Array, Array]:
    """Pure noise: each score is that of any system on the topic, minus the margin."""
    values, reference = pure_noise(rng, scores, n, m)
    return values - MARGIN, reference


def pure_noise(rng: np.random.Generator, scores: Array, n: int, m: int) -> tuple[Array, Array]:
    """Each score, the reference's too, is that of any system on the topic: all are equally good."""
    topics, systems = scores.shape
    topic = rng.integers(topics, size=n)
    return scores[topic, rng.integers(systems, size=(m, n))], scores[
        topic, rng.integers(systems, size=n)
    ]


def rare(rng: np.random.Generator, scores: Array, n: int, m: int) -> tuple[Array, Array]:
    """Each loses the best score on few queries, the margin in the mean, and nothing on others."""
    best = scores.max()
    return best - best * (rng.random((m, n)) < MARGIN / best), np.full(n, best)


NULLS: dict[str, Callable[[np.random.Generator, Array, int, int], tuple[Array, Array]]] = {
    "shifted": shifted,
    "scaled": scaled,
    "independent": independent,
}


def sweep_of(values: Array, reference: Array, cost: Array) -> SweepTables:
    """Put scores of shape (m, n) into the tables of a sweep; the reference costs 1."""
    m, n = values.shape
    ids = [f"r{number}" for number in range(m + 1)]
    rows = pl.DataFrame(
        {
            "row_id": ids,
            "dataset": "made",
            "encoder": "one",
            "configuration": [*(f"index setting={number}" for number in range(m)), "flat"],
            "is_reference": [False] * m + [True],
            "latency_p95_s": [*cost.tolist(), 1.0],
        }
    )
    per_query = pl.DataFrame(
        {
            "row_id": np.repeat(ids, n),
            "query_id": np.tile([f"q{number}" for number in range(n)], m + 1),
            "nDCG@10": np.concatenate([values, reference[None]]).ravel(),
        }
    )
    return SweepTables(rows, per_query)


def chosen_in(
    make: Callable[[np.random.Generator, Array, int, int], tuple[Array, Array]],
    scores: Array,
    n: int,
    m: int,
    *,
    sweeps: int,
    seed: int,
    margin: float = MARGIN,
    rare_loss: float | None = None,
) -> list[Selection]:
    """Select in so many simulated sweeps; costs have nothing to do with scores."""
    rng = np.random.default_rng([seed, n, m])
    found = []
    for number in range(sweeps):
        tables = sweep_of(*make(rng, scores, n, m), rng.random(m))
        found.append(select(tables, margin=margin, alpha=ALPHA, seed=number, rare_loss=rare_loss))
    return found


def certified_share(selections: list[Selection]) -> float:
    """Share of the sweeps in which something was certified."""
    return float(np.mean([one.certified for one in selections]))


def optimism(selections: list[Selection]) -> dict[str, tuple[float, float]]:
    """Mean and standard error of what choosing flatters, and of what is left on held-out queries.

    Of the leader, the best tuning score, over all sweeps; of the chosen one over those that
    certified one.
    """
    answers = [one.answers[0] for one in selections]
    leaders = [one.leader for one in answers if one.leader is not None]
    chosen = [one.chosen for one in answers if one.chosen is not None]
    figures = {
        "leader: tuning gain": [one.tuning[0].difference for one in leaders],
        "leader: held-out gain": [one.held_out[0].difference for one in leaders],
        "leader: optimism": [one.optimism[0] for one in leaders],
        "chosen: held-out gain": [one.held_out[0].difference for one in chosen],
        "chosen: optimism": [one.optimism[0] for one in chosen],
    }
    return {
        name: (float(np.mean(values)), float(np.std(values) / np.sqrt(len(values))))
        if values
        else (float("nan"), float("nan"))
        for name, values in figures.items()
    }


def others_on_noise(
    make: Callable[[np.random.Generator, Array, int, int], tuple[Array, Array]],
    scores: Array,
    n: int,
    m: int,
    *,
    sweeps: int,
    seed: int,
) -> dict[str, float]:
    """Share of sweeps with a false certificate, for other ways to choose."""
    rng = np.random.default_rng([seed, n, m])
    wrong = {"uncorrected": 0, "Holm, held out": 0, "Holm, all queries": 0}
    for _ in range(sweeps):
        values, reference = make(rng, scores, n, m)
        rng.random(m)
        differences = values - reference
        first, second = differences[:, : n // 2], differences[:, n // 2 :]
        screened = first.mean(axis=1) > -MARGIN
        p = _p(second)[screened]
        wrong["uncorrected"] += bool((_p(differences) <= ALPHA).any())
        wrong["Holm, held out"] += bool(len(p) and (correct(p, "holm") <= ALPHA).any())
        wrong["Holm, all queries"] += bool((correct(_p(differences), "holm") <= ALPHA).any())
    return {name: count / sweeps for name, count in wrong.items()}


def _p(differences: Array) -> Array:
    margins = np.full(len(differences), MARGIN)
    return noninferiority_p(PairedScores.of_rows(differences), margins)


def tradeoff(rng: np.random.Generator, scores: Array, n: int, m: int) -> tuple[Array, Array]:
    """Draw differences of configurations that are cheaper the more queries they answer worse.

    Returns differences, shape (m, n), and costs. A share of queries that falls with cost, from 60 %
    down to about 1 %, gets the score of a worse system, up to 0.2 less.
    """
    topics, systems = scores.shape
    cost = np.sort(np.exp(rng.uniform(np.log(0.02), 0, m)))
    falls = rng.uniform(3, 8) * np.log(cost / 0.02) / np.log(50)
    share = np.minimum(1, 0.6 * np.exp(-falls + rng.normal(0, 0.5, m)))
    pair = rng.choice(systems, size=2, replace=False)
    better, worse = pair[np.argsort(-scores[:, pair].mean(axis=0))]
    drawn = scores[rng.integers(topics, size=n)]
    between = np.minimum(drawn[:, worse] - drawn[:, better], 0.2)
    noise = np.sqrt(0.7) * rng.normal(size=n) + np.sqrt(0.3) * rng.normal(size=(m, n))
    hit = noise < np.quantile(rng.normal(size=100_000), share)[:, None]
    return np.where(hit, between, 0.0), cost


def power_of_rules(
    scores: Array, n: int, m: int, *, sweeps: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Mean cost of what is chosen (the reference, 1, if nothing is certified), and how often."""
    rng = np.random.default_rng([seed, n, m])
    found: dict[str, list[float]] = {}

    def note(name: str, cost: float | None) -> None:
        found.setdefault(name, []).append(1.0 if cost is None else cost)

    for _ in range(sweeps):
        differences, cost = tradeoff(rng, scores, n, m)
        for share in (0.3, 0.5, 0.7):
            cut = int(share * n)
            tuned, held = _p(differences[:, :cut]), _p(differences[:, cut:])
            free = np.flatnonzero(differences[:, :cut].mean(axis=1) > -MARGIN)
            sequence = free[order_candidates(tuned[free], cost[free])]
            passed = passed_in_sequence(held[sequence], ALPHA)
            note(f"sequence, {share:g}", cost[sequence[passed - 1]] if passed else None)
            if share != 0.5:
                continue
            sure = np.flatnonzero(tuned <= 0.01)
            one = sure[np.argmin(cost[sure])] if len(sure) else None
            note(
                "one candidate, 0.5",
                cost[one] if one is not None and held[one] <= ALPHA else None,
            )
            for name, places in (("Holm, 0.5", free), ("Holm on sequence, 0.5", sequence)):
                fine = places[correct(held[places], "holm") <= ALPHA] if len(places) else places
                note(name, cost[fine].min() if len(fine) else None)
        fine = np.flatnonzero(correct(_p(differences), "holm") <= ALPHA)
        note("Holm, all queries", cost[fine].min() if len(fine) else None)
    return {
        name: (float(np.mean(costs)), float(np.mean(np.array(costs) < 1)))
        for name, costs in found.items()
    }


def _table(header: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("| " + " | ".join([":--", *["--:"] * (len(header) - 1)]) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def _print_false(measures: dict[str, Array], sweeps: int, seed: int) -> None:
    error = 3 * np.sqrt(ALPHA * (1 - ALPHA) / sweeps)
    print(f"### Sweeps with a false certificate: every candidate loses exactly {MARGIN:g}\n")
    print(
        f"{sweeps} sweeps a cell, half of the queries held out; three standard errors are "
        f"{100 * error:.1f} %.\n"
    )
    rows: list[list[str]] = []
    names: list[str] = []
    cases = [(kind, name) for kind in NULLS for name in measures]
    for kind, name in [*cases, ("rare", "made up")]:
        for n in (100, 400):
            for m in (20, 100):
                make = NULLS.get(kind, rare)
                own = {
                    label: certified_share(
                        chosen_in(
                            make,
                            measures[name],
                            n,
                            m,
                            sweeps=sweeps,
                            seed=seed,
                            rare_loss=loss,
                        )
                    )
                    for label, loss in (("select", None), ("select, rare loss 1", 1.0))
                }
                rest = others_on_noise(make, measures[name], n, m, sweeps=sweeps, seed=seed)
                shown = {**own, **rest}
                names = list(shown)
                rows.append(
                    [
                        f"{kind}, {name}, {n} queries, {m} candidates",
                        *(f"{100 * value:.1f}" for value in shown.values()),
                    ]
                )
    _table(["% of sweeps", *names], rows)


def _print_optimism(measures: dict[str, Array], sweeps: int, seed: int) -> None:
    print("### Pure noise, all as good as the reference: what choosing flatters\n")
    print(f"{sweeps} sweeps a cell, margin 0.05; in brackets the standard error.\n")
    rows: list[list[str]] = []
    names: list[str] = []
    for name, scores in measures.items():
        for n in (100, 400):
            for m in (20, 100):
                selections = chosen_in(
                    pure_noise, scores, n, m, sweeps=sweeps, seed=seed, margin=0.05
                )
                found = optimism(selections)
                names = list(found)
                rows.append(
                    [
                        f"{name}, {n} queries, {m} candidates",
                        *(f"{mean:+.4f} ({error:.4f})" for mean, error in found.values()),
                        f"{100 * certified_share(selections):.0f}",
                    ]
                )
    _table(["mean", *names, "% certified"], rows)


def _print_power(measures: dict[str, Array], sweeps: int, seed: int) -> None:
    print("### What other rules would find: mean cost of the choice, reference 1\n")
    print(
        f"{sweeps} sweeps a cell, 30 candidates, the cheaper the worse; in brackets the % of "
        "sweeps with a certificate. The number is the share of tuning queries.\n"
    )
    rows: list[list[str]] = []
    names: list[str] = []
    for name, scores in measures.items():
        for n in (100, 300, 1000):
            found = power_of_rules(scores, n, 30, sweeps=sweeps, seed=seed)
            names = list(found)
            rows.append(
                [
                    f"{name}, {n} queries",
                    *(f"{cost:.3f} ({100 * share:.0f})" for cost, share in found.values()),
                ]
            )
    _table(["mean cost", *names], rows)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="false, optimism or power")
    given = parser.parse_args()
    measures = {"made up": made_up_scores()}
    folder = os.environ.get("RETRIEVAL_EVAL_COLLECTIONS")
    if folder:
        measures |= read_scores(Path(folder))
    else:
        print("RETRIEVAL_EVAL_COLLECTIONS is not set: made-up scores only.\n")
    tables = {"false": _print_false, "optimism": _print_optimism, "power": _print_power}
    for name, show in tables.items():
        if given.only in ("", name):
            show(measures, given.sweeps, given.seed)


if __name__ == "__main__":
    main()
