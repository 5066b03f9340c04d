"""How far a tuned configuration's score flatters, if it was chosen on the queries it reports.

One sweep gives a table of scores, configurations by queries. From it choices are played through:
queries are dealt at random, the best of the configurations tried is kept on one part, and looked
at on the other (Eimer, Lindauer & Raileanu 2023). Beside it, configurations that differ by chance
alone; and what a budget of tries buys by random search, by a grid cut off, and by a coarser grid.
"""

import numpy as np

from retrieval_eval.comparison.intervals import mean_intervals
from retrieval_eval.experimenting import Experiment
from retrieval_eval.report.figures.estimates import estimates
from retrieval_eval.selection.optimism import noise_choices, optimism, simulate_choices
from retrieval_eval.selection.spaces import even_grids, grid_orders, score_tables

MEASURE, SIZES, TRIED, SHOWN = "nDCG@10", (50, 200, 1000), (1, 5, 20), 200
BM25 = {"bm25": {"k1": [0.3, 0.6, 0.9, 1.2, 1.6, 2.4], "b": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]}}
HNSW = {"faiss-hnsw": {"M": [4, 16], "ef_construction": 40, "search": {"ef": [10, 40]}}}
QUICK = {"encoders": ["hashing", {"bm25": {"k1": [0.9, 2.4]}}], "indexes": [HNSW, "sparse"]}


def interval(estimate):
    """Write a mean and its interval."""
    return "{:+.4f} [{:+.4f}, {:+.4f}]".format(*estimate)


def quartiles(values):
    """Write the median, and the quartiles around it."""
    return "{1:.4f} [{0:.4f}, {2:.4f}]".format(*np.quantile(values, [0.25, 0.5, 0.75]))


with Experiment(__file__, encoders=["lsa", "wordllama", BM25]) as lab:
    splits, draws = (50, 200) if lab.small else (500, 2000)
    found = score_tables(lab.run(**(QUICK if lab.small else {})), MEASURE)
    heads = ["space", "configurations", "queries", "worst", "mean", "best", "best configuration"]
    spaces, rows, budgets, drawn = [], {"gap": [], "gain": []}, [], []
    for one in found:
        means, (m, n) = one.scores.mean(axis=1), one.scores.shape
        best = " ".join(f"{k}={v:g}" for k, v in one.parameters[int(means.argmax())].items())
        low, middle, high = map(float, (means.min(), means.mean(), means.max()))
        spaces.append([one.name, m, n, low, middle, high, best])
        typical = one.scores[int(np.argsort(means)[m // 2])]
        tried = [count for count in TRIED if count < m] + [m]
        sizes = [size for size in SIZES if size <= n // 2] or [n // 2]
        for size in sizes:
            real = optimism(one.scores, size, tried, splits=splits, seed=lab.seed)
            noise = noise_choices(typical, m, size, n - size, draws=draws, seed=lab.seed)
            for what, cells in rows.items():
                values = getattr(noise, what)[:, -1]
                control = interval([values.mean(), *mean_intervals(values[None])[0]])
                shown = [interval(getattr(each, what)) for each in real]
                shown[-1:-1] = [None] * (len(TRIED) + 1 - len(tried))
                cells.append([one.name, size, *shown, control])
            for each in real:
                last = "all" if each.tried == m else f"{each.tried} tried"
                part = {"panel": one.name, "label": f"{size} queries", "series": last}
                drawn.append(part | dict(zip(("value", "low", "high"), each.gap, strict=True)))
        play = {"tuning": min(SHOWN, n // 2), "splits": splits, "seed": lab.seed}
        loops = grid_orders(one.parameters, splits=splits, seed=lab.seed)
        for grid in even_grids(one.parameters):
            first = np.tile(np.append(grid, np.setdiff1d(range(m), grid)), (splits, 1))
            ways = (simulate_choices(one.scores, orders=o, **play) for o in (None, loops, first))
            ends = [quartiles(way.held_out_alike[:, len(grid) - 1]) for way in ways]
            budgets.append([one.name, len(grid), *ends])

    note = f"{', '.join(lab.datasets)}, {MEASURE}, {splits} deals. "
    lab.table("spaces", heads, spaces, note + "Means over all queries.")
    heads = ["space", "tuning queries", *(f"{count} tried" for count in TRIED), "all", "noise, all"]
    note += f"95 % intervals over queries and deals; noise: over {draws} draws."
    for what, cells in rows.items():
        lab.table(what, heads, cells, note)
    heads = ["space", "tried", "random search", "grid, cut off", "coarser grid"]
    note = f"Held-out {MEASURE} of the winner by {play['tuning']} tuning queries: "
    note += f"median and quartiles of {splits} deals."
    lab.table("budget", heads, budgets, note)
    title = "Optimism of the winner: tuning score minus held-out score"
    lab.figure("optimism", estimates(drawn, title, f"gap in {MEASURE}"))
