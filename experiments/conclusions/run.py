"""Whether conclusions would hold with fewer judgments, with wrong ones, and on other queries.

All pairs of the systems of a sweep are compared. Then judgments are reduced, to a pool or to random
samples, and it is counted which pairs still differ significantly, and in which direction (Otero et
al. 2023); labels are made wrong, and it is counted how often orders survive (Northcutt et al.
2021). Last, queries near to training queries are set against far ones (Zhan et al. 2022).
"""

import numpy as np

from retrieval_eval import CompareOptions, Evaluator, Run, compare, get_index
from retrieval_eval.comparison import robustness
from retrieval_eval.experimenting import Experiment
from retrieval_eval.nearness import near_and_far
from retrieval_eval.report.figures.estimates import estimates
from retrieval_eval.splits import split_queries

MEASURE, POOL, OPTIONS = "nDCG@10", 5, CompareOptions(test="t")
REDUCED = {"depths": (1, 3, 10), "shares": (0.5, 0.2, 0.05)}
WRONG = {"fractions": (0, 0.01, 0.033, 0.1, 0.2, 0.4, 0.6)}
SYSTEMS = ["wordllama", "lsa", {"lsa": {"dim": 64}}, "hashing"]
SHARE, SIGNED = "{:.3f} [{:.3f}, {:.3f}]", "{:+.4f} [{:+.4f}, {:+.4f}]"

with Experiment(__file__, encoders=SYSTEMS) as lab:
    samples, data, seed = 1 if lab.small else 10, lab.dataset(), {"seed": lab.seed}
    lab.encoders = [{"hashing": {"dim": 64}}] if lab.small else lab.encoders
    runs = lab.run(datasets=lab.datasets[:1]).runs()
    scored = [Evaluator(data.qrels, [MEASURE]).evaluate(run) for run in runs]
    pairs = compare(scored, pairs="all", options=OPTIONS).differences
    lines = []
    ways = robustness.reduced_judgments(data.qrels, runs, **REDUCED, samples=samples, **seed)
    for one in robustness.statements_kept(data.qrels, ways, runs, MEASURE, OPTIONS):
        form = "{:.3f}" if one.samples == 1 else SHARE
        three = (one.precision, one.recall, one.kendall_tau)
        shown = ("" if np.isnan(values[0]) else form.format(*values) for values in three)
        lines.append([one.name, f"{one.judgments:.0f}", *map("{:g}".format, one.counts), *shown])
    six = (name.replace("_", " ") for name in robustness.STATEMENTS)
    heads = ["judgments", "left", *six, "precision", "recall", "Kendall's tau"]
    note = (
        f"{data.name}, {len(runs)} systems; t tests at level 0.05, Holm over {len(pairs)} pairs. "
    )
    note += f"Samples: mean of {samples} [least, most]."
    lab.table("judgments", heads, lines, note)
    lines, changes, repeats, sure = [], [], 2 * samples, np.array([d.significant for d in pairs])
    pool = robustness.complete_pool(data.qrels, runs, POOL)
    for name, qrels in ("relevant", data.qrels), (f"a pool of depth {POOL}", pool):
        noise = robustness.label_noise(qrels, runs, MEASURE, replicates=repeats, **WRONG, **seed)
        changes.append(f"{name}: {noise.smallest_change or 'no share here'}")
        for place, share in enumerate(noise.fractions):
            kept = noise.survival[place] == 1
            always = [f"{(kept & one).sum()} of {one.sum()}" for one in (sure, ~sure)]
            winner = SHARE.format(noise.winner[place], *noise.winner_ci95[place])
            lines.append([f"{name}: {len(qrels)}", f"{share:g}", *always, winner])
    heads = ["labels", "share wrong", "significant pairs", "other pairs", "same winner"]
    note = f"Pairs whose order survives in all of {repeats} replicates; shares of these, 95 %. "
    note += "Another system wins in half of them from: " + ", ".join(changes)
    lab.table("noise", heads, lines, note)
    parts = split_queries(data.query_ids, parts=("train", "test"), **seed)
    vectors, row_of = lab.embed(data), {query: row for row, query in enumerate(data.query_ids)}
    train, test = (vectors.queries[[row_of[query] for query in ids]] for ids in parts.values())
    for method in ("pca", "leanvec"):  # the second learns from the training queries
        index = get_index("project", index="flat", d=16, method=method)
        hits = index.build(vectors.documents, queries=train).search(test, 10)
        runs.append(Run.from_hits(hits, parts["test"], data.document_ids, f"{method} d=16"))
    near, qrels = near_and_far(parts["test"], test, train), data.qrels.only_queries(parts["test"])
    scored, last = [Evaluator(qrels, [MEASURE]).evaluate(run) for run in runs], len(runs) - 1
    chosen = [*((row, 0) for row in range(1, last + 1)), (last, last - 1)]
    slices = robustness.compare_slices(scored, near.labels, pairs=chosen, options=OPTIONS)
    lines, points = [], []
    for one in robustness.slice_contrasts(slices, near.names[0]):
        line = [f"{one.a} minus {one.b}"]
        for label, d in ("far", one.other_difference), ("near", one.difference):
            line.append(SIGNED.format(d.mean_diff, *d.ci95) + "*" * d.significant)
            ends = dict(zip(("value", "low", "high"), (d.mean_diff, *d.ci95), strict=True))
            points.append({"label": line[0], "series": label, **ends})
        lines.append([*line, SIGNED.format(one.contrast, *one.ci95) + "*" * one.significant])
    note = f"{len(test)} queries, {' and '.join(near.names)}. t, Welch; *: Holm's p at most 0.05."
    lab.table("near", ["difference", "far", "near", "near minus far"], lines, note)
    title = "Queries near to training queries, and far from them"
    lab.figure("near-and-far", estimates(points, title, f"difference of {MEASURE}"))
