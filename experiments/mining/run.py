"""Which hard negatives an index yields, and how many of them are no negatives at all.

Of each query's nearest documents the judged relevant ones are removed, and near-duplicates of these
that nobody judged; five of the others are taken, in several ways, and written as
sentence-transformers trains on them. Does an approximate index mine the same? And what do quotas of
clusters change when documents are drawn?
"""

import numpy as np

from retrieval_eval import get_index, mining
from retrieval_eval.comparison.intervals import mean_intervals
from retrieval_eval.experimenting import Experiment
from retrieval_eval.neighbours import neighbour_recall_by_id
from retrieval_eval.report.figures.estimates import estimates

K, N, CLUSTERS, DRAWN, SEEDS, DEPTHS = 100, 5, 50, 500, 20, (1, 5, 10, 20, 100)
WORDS, ALIKE = {"hashing": {"dim": 512, "word_ngrams": 2}}, 0.9
GRAPHS = {f"M={m}": ("faiss-hnsw", {"M": m, "ef_construction": 100}, {"ef": K}) for m in (4, 16)}
LISTS = {f"nprobe={p}": ("ivf-flat", {"nlist": 64}, {"nprobe": p}) for p in (1, 8)}


def shown(values, form="+.3f"):
    """Write a mean with its 95 % interval."""
    low, high = mean_intervals(values[None])[0]
    return f"{values.mean():{form}} [{low:{form}}, {high:{form}}]"


with Experiment(__file__, encoders=["lsa", "wordllama"]) as lab:
    encoders, few = (["hashing"], 1) if lab.small else (lab.encoders, None)
    data, removed, sets, approximate, quotas, drawn = lab.dataset(), [], [], [], [], []
    words = lab.embed(data, WORDS).documents
    alike = {"duplicate_vectors": np.array(words), "duplicate_cosine": ALIKE}
    for encoder in encoders:
        vectors, name = lab.embed(data, encoder), lab.name_of(encoder)
        documents, queries = np.array(vectors.documents), np.array(vectors.queries)
        place = data.query_ids, data.document_ids, data.qrels, queries, documents
        exact = get_index("flat").build(documents).search(queries, K)
        found, own = (mining.label_candidates(exact, *place, **how) for how in (alike, {}))
        for depth in DEPTHS:
            copies = (one.share("near-duplicate", depth) for one in (found, own))
            kinds = "judged relevant", "duplicate by words", "duplicate by own vectors"
            shares = dict(zip(kinds, (found.share("positive", depth), *copies), strict=True))
            removed.append([name, depth, *(shown(100 * x, ".2f") for x in shares.values())])
            for kind, x in shares.items():
                row = {"panel": name, "label": f"first {depth}", "series": kind, "value": x.mean()}
                low, high = mean_intervals(x[None])[0]
                drawn.append({**row, "low": low, "high": high})
        clusters = mining.cluster_documents(documents, CLUSTERS, seed=lab.seed)
        ways = {"nearest": {}, "skip 10": {"skip": 10}, "margin 5 %": {"relative_margin": 0.05}}
        ways |= {"random": {"strategy": "random"}, "one a cluster": {"clusters": clusters}}
        mined = {n: mining.mine_negatives(found, N, seed=lab.seed, **w) for n, w in ways.items()}
        for way, one in mined.items():
            apart = mining.intra_list_distance(documents, one.ids)
            cells = map(shown, (one.hardness, one.above_positive, apart))
            sets.append([name, way, len(one.places), len(one.short), *cells])
        flat, path = mined["nearest"], lab.out / f"negatives-{name}.jsonl"
        texts = mining.training_rows(flat, data.queries, data.documents)
        mining.write_training_rows(path, texts, replace=True)
        for label, (backend, *how) in list((GRAPHS | LISTS).items())[:few]:
            hits = get_index(backend, **how[0]).build(documents).search(queries, K, **how[1])
            other = mining.mine_negatives(mining.label_candidates(hits, *place, **alike), N)
            recall = float(np.nanmean(neighbour_recall_by_id(hits, exact.ids, K)))
            same, harder = shown(other.overlap(flat)), shown(other.harder_than(flat), "+.4f")
            approximate.append([name, f"{backend} {label}", recall, same, harder])
        for power in (1, 0.5, 0):
            how = {"total": min(DRAWN, len(documents) // 2), "power": power}
            rows = [mining.draw_by_quota(clusters, seed=seed, **how) for seed in range(SEEDS)]
            apart = mining.intra_list_distance(documents, np.array(rows))
            largest = f"{np.bincount(clusters[rows[0]]).max() / len(rows[0]):.1%}"
            quotas.append([name, f"size^{power:g}", largest, shown(apart, ".4f")])
    note = f"{data.name}, {len(found.query_ids)} queries; 95 % intervals over queries."
    lab.table("removed", ["encoder", "first", *(f"% {kind}" for kind in shares)], removed, note)
    heads = ["encoder", "negatives", "queries", "too short", "hardness", "above the positive"]
    lab.table("sets", [*heads, "diversity"], sets, f"{N} a query. {note}")
    heads = ["encoder", "index", f"neighbour recall@{K}", "same negatives", "hardness minus flat"]
    lab.table("index", heads, approximate, note)
    note = f"{len(rows[0])} documents of {CLUSTERS} clusters; 95 % intervals over {SEEDS} draws."
    lab.table("quotas", ["encoder", "weight", "largest cluster", "diversity"], quotas, note)
    lab.figure("removed", estimates(drawn, "Candidates that are no negatives", "share", zero=False))
