"""What the order of insertion does to HNSW: to neighbour recall, nDCG, and the rank of encoders.

Each order (Elliott & Clark 2024) is drawn and built with several seeds, and compared with the mean
of random ones, query by query, with intervals over queries and over builds.
"""

from itertools import product

import numpy as np

from retrieval_eval import get_index
from retrieval_eval.comparison import correct
from retrieval_eval.comparison.replicates import change_and_spread, compare_replicates, rank_swaps
from retrieval_eval.experimenting import Experiment
from retrieval_eval.geometry import local_intrinsic_dimensionality
from retrieval_eval.report.figures.estimates import estimates

MEASURE, RECALL = "nDCG@10", "neighbour recall@10"
PARTS = ("panel", "series", "label", "value", "low", "high")
GRAPHS = [("hnsw", 8, 32), ("hnsw", 16, 128), ("faiss-hnsw", 8, 32)]
ENCODERS = ["lsa", "wordllama", {"wordllama": {"dim": 128}}, "hashing"]

with Experiment(__file__, encoders=ENCODERS) as lab:
    small = GRAPHS[:1], ["lsa", "hashing"], 2
    graphs, encoders, builds = small if lab.small else (GRAPHS, lab.encoders, 8)
    data, names = lab.dataset(), [lab.name_of(one) for one in encoders]
    grouped = {f"by {name}": data.attribute_table([name])[name] for name in [*data.attributes][:1]}
    columns, scores, exact = ["LID ascending", "LID descending", *grouped], {}, {}
    for encoder, name in zip(encoders, names, strict=True):
        vectors = lab.embed(data, encoder)
        documents, queries = np.array(vectors.documents), np.array(vectors.queries)
        documents /= np.maximum(np.linalg.norm(documents, axis=1, keepdims=True), 1e-30)
        lid = np.nan_to_num(10 * np.log(local_intrinsic_dimensionality(documents)))
        keys = {"random": 0 * lid, "LID ascending": lid, "LID descending": -lid}
        keys |= {k: 99 * np.array(v.rank("dense").fill_null(0)) for k, v in grouped.items()}
        scored, flat = lab.scorer(data, documents, queries), get_index("flat").build(documents)
        exact[name] = scored(flat.search(queries, 10))[MEASURE][None]
        for (backend, m, efc), order in product(graphs, keys):
            own = {"index": {backend: {"M": m, "ef_construction": efc}}, "threads": 1}
            own |= {"order": "category", "category": "key"}
            for seed in range(lab.seed, lab.seed + builds):
                key = keys[order] + np.random.default_rng(seed).normal(size=len(documents))
                made = get_index("insertion-order", seed=seed, **own)
                index = made.build(documents, attributes={"key": key})
                for ef in (10, 64):
                    for what, values in scored(index.search(queries, 10, index={"ef": ef})).items():
                        key = what, f"{backend} M={m} efC={efc} ef={ef}", name, order
                        scores.setdefault(key, []).append(values[~np.isnan(values)])
    scores = {key: np.array(values) for key, values in scores.items()}
    settings = list(dict.fromkeys(key[1] for key in scores))
    note = f"{data.name}, {builds} builds; 95 % over queries and builds; *: Holm's p <= 0.05."
    spreads, swaps, drawn = [], [], []
    for what in (RECALL, MEASURE):
        places, rows = list(product([what], settings, names)), []
        keys = [(*place, order) for place, order in product(places, columns)]
        found = {one: compare_replicates(scores[one], scores[*one[:3], "random"]) for one in keys}
        p = correct(np.array([one.p for one in found.values()]), "holm")
        stars = dict(zip(found, np.where(p <= 0.05, "*", ""), strict=True))
        for place in places:
            means = scores[*place, "random"].mean(axis=1)
            cells = [f"{found[*place, one]}{stars[*place, one]}" for one in columns]
            rows.append([*place[1:], float(means.mean()), float(means.std(ddof=1)), *cells])
        lab.table(what, ["graph", "encoder", "random", "sd of builds", *columns], rows, note)
        for setting in settings:
            changed = {n: [scores[what, setting, n, order] for order in columns] for n in names}
            one = change_and_spread(changed, {n: scores[what, setting, n, "random"] for n in names})
            shares = f"{one.beyond} of {one.changes}", f"{one.told_apart} of {one.replicates}"
            spreads.append([what, setting, one.change, one.sd, f"{one.ratio:.1f}", *shares])
    heads = ["of", "graph", "change", "sd", "ratio", "beyond random", "random told apart"]
    lab.table("spread", heads, spreads)
    for setting, order in product(settings, ["random", *columns]):
        for one in rank_swaps(exact, {n: scores[MEASURE, setting, n, order] for n in names}):
            swapped = f"{one.ahead}, {one.behind}", one.before, one.after, f"{one.share:.0%}"
            swaps.append([setting, order, *swapped])
    heads = ["graph", "order", "encoders", "exact search", "this graph", "builds that swap them"]
    lab.table("places", heads, swaps, "" if swaps else "No encoder changes places.")
    for key, one in found.items():
        drawn.append(dict(zip(PARTS, (*key[1:], one.mean_diff, *one.over_both), strict=True)))
    title, axis = "Orders of insertion against random ones", f"difference of {MEASURE}"
    lab.figure("orders", estimates(drawn, title, axis, notes=[note]))
