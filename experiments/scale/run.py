"""How build time, latency, size and quality grow with the number of documents.

Made vectors fill a ball of stated dimension m, turned into 32 dimensions; a query is a document
that was moved a little, and should find it. Real ones are passages of a data set, windows of lines
of its documents; those of a relevant document are relevant. Costs are fitted by a power law n ** b
with an interval of b; quality is compared with exact search, query by query.
"""

from operator import itemgetter

import numpy as np

from retrieval_eval import compare
from retrieval_eval.experimenting import Experiment
from retrieval_eval.growth import fit_power_law
from retrieval_eval.passages import split_into_passages
from retrieval_eval.report.figures.growth import growth
from retrieval_eval.scaling import JudgedVectors, measure_at_sizes

COSTS = {"build, s": ("build_s", 1), "p95, ms": ("latency_p95_s", 1e3), "MB": ("size_bytes", 1e-6)}


def passages(lab):
    """Return passages of a real data set, and a thousand of its queries."""
    data = split_into_passages(lab.dataset(), lines=6, step=4 if lab.small else 1)
    found, some = lab.embed(data), slice(0, None, max(1, len(data.query_ids) // 1000))
    queries = found.queries[some], data.query_ids[some]
    return JudgedVectors(found.documents, data.document_ids, *queries, data.qrels.to_frame())


def indexes(n):
    """Yield what is built over n documents: a graph of a million takes too long."""
    lists = int(2 * np.sqrt(n))
    probes = {"nprobe": max(1, lists // 16)}
    yield "flat", {}, {}
    if n <= 300_000:
        yield "faiss-hnsw", {"M": 16, "ef_construction": 64}, {"ef": 64}
    yield "ivf-flat", {"nlist": lists}, probes
    yield "ivf-pq", {"nlist": lists, "m": 16}, probes


with Experiment(__file__, encoders=["wordllama"]) as lab:
    sizes = [10_000, 15_000, 20_000] if lab.small else [10_000, 30_000, 100_000, 300_000, 1_000_000]
    balls = (4,) if lab.small else (4, 16)
    real = passages(lab)
    sets = {f"ball, m={m}": JudgedVectors.in_ball(m, sizes[-1], seed=lab.seed) for m in balls}
    sets |= {f"{lab.datasets[0]} passages": real}
    points, quality = [], []
    for data, judged in sets.items():
        able = sorted({min(n, len(judged.vectors)) for n in sizes})
        rows = list(measure_at_sizes(judged, able, indexes))
        for row in rows:
            lab.say(f"{data}: {row.index} over {row.n:,}; {row.noise or 'quiet'}")
            for cost, (name, factor) in COSTS.items():
                one = {"data": data, "index": row.index, "cost": cost, "n": row.n}
                points.append({**one, "value": getattr(row, name) * factor})
        for n in able:
            exact, *approximate = [row for row in rows if row.n == n]
            several = compare([row.evaluation for row in (exact, *approximate)]).differences
            for row, one in zip(approximate, several, strict=True):
                bounds = f"[{one.ci95[0]:+.4f}, {one.ci95[1]:+.4f}]"
                means = exact.evaluation.means["nDCG@10"], f"{one.mean_diff:+.4f}"
                quality.append([data, n, row.index, row.neighbour_recall, *means, bounds])

    laws, name_of = [], itemgetter("data", "index", "cost")
    for key in dict.fromkeys(map(name_of, points)):
        mine = [one for one in points if name_of(one) == key]
        law = fit_power_law([one["n"] for one in mine], [one["value"] for one in mine])
        law = f"{law.exponent:.2f}", f"[{law.low:.2f}, {law.high:.2f}]"
        laws.append([*key, len(mine), mine[-1]["n"], mine[-1]["value"], *law])
    heads = ["vectors", "index", "cost", "sizes", "at most", "cost there", "b", "95 %"]
    lab.table("growth", heads, laws, "Cost = a * n ** b; b by least squares on logarithms.")
    heads = ["vectors", "documents", "index", "neighbour recall@10", "nDCG@10 of flat"]
    note = "Differences to flat, with paired 95 % intervals (t), of each row alone."
    lab.table("quality", [*heads, "difference", "95 %"], quality, note)
    lab.figure("growth", growth(points, "What grows with the number of documents"))
