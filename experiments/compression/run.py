"""Quality at equal bytes, and whether a quantised index can be repaired by judged queries.

A vector may take 4 to 256 bytes, kept by product quantisation (alone, or after a learnt rotation),
scalar quantisation, RaBitQ, signs, truncation or principal components; each by itself, and with
candidates ranked again by full vectors. Every row is compared with exact search, query by query.

Then a linear map of queries and the centroids of product quantisation are learnt from training
queries on frozen embeddings (loss and negatives of Zhan et al. 2021), and judged on held-out ones.
The map goes around exact search, too: what it gains there, it does not gain by repairing codes.
"""

import polars as pl

from retrieval_eval import get_index
from retrieval_eval.experimenting import Experiment
from retrieval_eval.indexes.equal_bytes import compressed_indexes
from retrieval_eval.repair import held_out_gains
from retrieval_eval.report.compression import compressed_results, fewest_bytes
from retrieval_eval.report.figures.compression import compression_curves
from retrieval_eval.splits import split_queries
from retrieval_eval.validation.apart import keep_apart

MEASURE, DEPTH, M = "nDCG@10", 100, 16
PARTS, SHARES = ("training", "validation", "held-out"), (0.4, 0.1, 0.5)

with Experiment(__file__, encoders=["lsa", "wordllama"]) as lab:
    data, encoders = lab.dataset(), lab.encoders[:1] if lab.small else lab.encoders
    budgets = [M] if lab.small else [4, 8, 16, 32, 64, 128, 256]
    methods = ["pq"] if lab.small else []  # all
    most = {"opq": M}  # bytes up to which rotations are learnt: that takes long
    frames, found, ways = [], [], []
    for place, encoder in enumerate(encoders):
        d = lab.embed(data, encoder).documents.shape[1]
        listed = compressed_indexes(d, budgets, methods=methods, most=most, depth=DEPTH)
        changes = {"encoders": [encoder], "indexes": ["flat", *(one.entry for one in listed)]}
        results = lab.run(name=f"compression-{place}", **changes)
        found += compressed_results(results, listed, MEASURE)
        frames.append(results.rows)
        ways += listed

    lines, table = {}, {}
    for one in found:  # by itself, then refined
        line = lines.setdefault((one.encoder, one.way.method, one.way.bytes), [])
        line += [] if line else [one.size_bytes / 1e6, one.mean]
        line += [one.neighbour_recall, one.loss, "yes" if one.within else "no"]
    one = ["recall", f"{MEASURE} minus exact", "within"]
    heads = ["encoder", "method", "bytes", "MB", MEASURE, *one, *(f"refined: {it}" for it in one)]
    best = [frame.row(by_predicate=pl.col("is_reference"), named=True) for frame in frames]
    note = ", ".join(f"{one['encoder']} {one[MEASURE]:.4f}" for one in best)
    note = f"Exact search: {note}. Recall is that of neighbours, at 10; refined at depth {DEPTH}."
    lab.table("bytes", heads, [[*key, *line] for key, line in lines.items()], note)
    for (_, encoder, method, _), one in fewest_bytes(found).items():
        table.setdefault((encoder, method), []).append(one and f"{one.way.bytes} B: {one.loss}")
    heads = ["encoder", "method", "alone", "refined"]
    lab.table("fewest", heads, [[*key, *cells] for key, cells in table.items()])
    lab.figure("bytes", compression_curves(pl.concat(frames), ways, MEASURE))

    split = split_queries(data.query_ids, seed=lab.seed, parts=PARTS, shares=SHARES)
    parts = keep_apart(split, dict(zip(data.query_ids, data.queries, strict=True)))
    lines = []
    for frame, encoder in zip(frames, encoders, strict=True):
        vectors = lab.embed(data, encoder)
        exact = get_index("flat", threads=1).build(vectors.documents)
        chosen = compressed_indexes(exact.d, [M], methods=["pq"] if lab.small else ["pq", "opq"])
        built = {one.label: one.make(threads=1).build(vectors.documents) for one in chosen}
        options = {"measure": MEASURE, "seed": lab.seed, "epochs": 1 if lab.small else 30}
        for one in held_out_gains(built, exact, data, vectors.queries, parts, **options):
            known = [it for it in (one.difference, one.beyond_exact) if it is not None]
            kept = "" if one.best is None else f"{one.best} of {one.epochs}"
            line = [frame["encoder"][0], one.name, kept, one.before, one.after]
            shown = [f"{it.mean_diff:+.4f} [{it.ci95[0]:+.4f}, {it.ci95[1]:+.4f}]" for it in known]
            lines.append([*line, shown[0], f"{known[0].p_adjusted:.4f}", *(shown[1:] or [None])])
    heads = ["encoder", "repaired", "epoch kept", "before", "after", "gain", "adjusted p"]
    sizes = ", ".join(f"{len(ids)} {name}" for name, ids in parts.items())
    note = f"{MEASURE} on held-out queries; queries: {sizes}. Randomization test, Holm's correction"
    note += f" over the {len(lines) // len(frames)} gains of an encoder."
    lab.table("repair", [*heads, "beyond exact search"], lines, note)
