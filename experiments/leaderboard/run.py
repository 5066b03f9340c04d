"""Which encoder is best over several data sets, by three ways to add them up, and how surely.

The mean of the means weighs a data set by how far its scores lie apart; Borda's sum of ranks and
Kemeny's order, with the fewest pairwise disagreements, count each data set alike (Colombo et al.
2022). Intervals of the places come from queries resampled within data sets; what single data sets
decide is seen by leaving each out. One data set with packages is cut into topics first.
"""

from pathlib import Path

import yaml

from retrieval_eval import Evaluator, Run, get_index
from retrieval_eval.comparison.orders import kendall_tau
from retrieval_eval.comparison.orders.aggregation import average_ranks
from retrieval_eval.datasets.subsets import split_dataset
from retrieval_eval.experimenting import Experiment
from retrieval_eval.report.figures.estimates import estimates
from retrieval_eval.report.page.ranks import aggregate_all, changed_pairs, write_ranks_page

MEASURE, TOPICS = "nDCG@10", Path(__file__).with_name("topics.yaml")
ENCODERS = [{name: {"dim": dim}} for name in ("lsa", "wordllama") for dim in (64, 128, 256)]
ENCODERS += ["hashing", "bm25"]

with Experiment(__file__, encoders=ENCODERS) as lab:
    sources, scores = [lab.dataset(name) for name in lab.datasets], {}
    encoders = ["hashing", "bm25"] if lab.small else lab.encoders
    if len(sources) == 1 and "package" in sources[0].attributes:
        topics = yaml.safe_load(TOPICS.read_text(encoding="utf-8"))
        sources = split_dataset(sources[0], "package", topics)
    for data in sources:
        evaluator, runs = Evaluator(data.qrels, [MEASURE]), []
        for encoder in encoders:
            vectors = lab.embed(data, encoder)
            name, metric = ("sparse", "ip") if vectors.sparse else ("flat", "cosine")
            index = get_index(name, metric=metric).build(vectors.documents)
            hits, name = index.search(vectors.queries, 10), lab.name_of(encoder)
            runs.append(Run.from_hits(hits, data.query_ids, data.document_ids, name=name))
        scores[data.name] = [evaluator.evaluate(run) for run in runs]

    orders = aggregate_all(scores, MEASURE, seed=lab.seed)
    systems, methods = orders[0].systems, [one.method for one in orders]
    rows = sorted(range(len(systems)), key=lambda row: orders[0].position[row])
    means = [[run.means[MEASURE] for run in runs] for runs in scores.values()]
    ranks = average_ranks(means)
    cells = {r: [f"{m[r]:.4f} ({k[r]:g})" for m, k in zip(means, ranks, strict=True)] for r in rows}
    heads = [f"{name} ({len(runs[0].query_ids)})" for name, runs in scores.items()]
    note = f"Mean {MEASURE} (and rank); numbers of queries behind the names."
    lab.table("means", ["system", *heads], [[systems[r], *cells[r]] for r in rows], note)
    places, drawn, left_out = [], [], []
    for r in rows:
        places.append([systems[r], float(orders[0].score[r])])
        for one in orders:
            interval = f"{one.position[r]:g} [{one.low[r]:g}, {one.high[r]:g}]"
            places[-1] += [interval, f"{one.first[r]:.0%}"]
            row = {"label": systems[r], "series": one.method, "value": one.position[r]}
            drawn.append({**row, "low": one.low[r], "high": one.high[r]})
    heads = [head for method in methods for head in (f"place by {method}", "first")]
    note = f"{len(sources)} data sets; 95 % intervals: {orders[0].draws} draws of the queries. "
    note += "First: share of draws in which it is first."
    lab.table("places", ["system", "mean", *heads], places, note)
    swaps = changed_pairs(orders)
    lab.table("swaps", ["ahead by mean", "behind", "not by"], swaps, "" if swaps else "None.")
    for name in scores:
        others, cells = {key: runs for key, runs in scores.items() if key != name}, []
        for one, part in zip(orders, aggregate_all(others, MEASURE, draws=100), strict=True):
            best = systems[part.position.index(min(part.position))]
            cells.append(f"{best} ({kendall_tau(one.position, part.position):.2f})")
        left_out.append([name, *cells])
    note = "The first of the others' order, and Kendall's tau of that order and the order of all."
    lab.table("left-out", ["left out", *methods], left_out, note)
    title, page = "Places over all data sets", lab.out / "leaderboard.html"
    notes = {f"Parts of {one.facts['part_of']}." for one in sources if "part_of" in one.facts}
    lab.figure("places", estimates(drawn, title, "place, 1 is best", zero=False))
    write_ranks_page(page, scores, MEASURE, orders, notes=sorted(notes))
    lab.say(f"written: {page}")
