"""Fewer dimensions: principal components against a projection that minds the queries (LeanVec).

PCA looks at documents alone; the closed form of LeanVec's loss (Tepper et al. 2023) at examples of
queries, too. Asked are further documents, questions, these turned, and those on other packages.
"""

import numpy as np

from retrieval_eval import get_index
from retrieval_eval.comparison import correct, paired_test
from retrieval_eval.experimenting import Experiment
from retrieval_eval.indexes.project import projection_bound
from retrieval_eval.report.figures.estimates import estimates
from retrieval_eval.splits import split_queries

MEASURE, RECALL = "nDCG@10", "neighbour recall@10"
PARTS, FEW = ("panel", "label", "series", "value", "low", "high"), (32, 128, 512)


def cases(data, vectors, seed):
    """Yield kinds of queries: documents, examples, queries that are asked, and ids of these."""
    ids, documents, queries = np.array(data.query_ids), vectors.documents, vectors.queries
    parts = split_queries(data.document_ids, seed=seed, parts="abc", shares=(0.5, 0.25, 0.25))
    yield "documents", *(documents[np.isin(data.document_ids, one)] for one in parts.values()), []
    asked = np.isin(ids, split_queries(ids, seed=seed)["held-out"])
    yield "questions", documents, queries[~asked], queries[asked], ids[asked]
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(queries.shape[1],) * 2))[0]
    turned = (queries @ turn).astype(np.float32)
    yield "questions, turned", documents, turned[~asked], turned[asked], []
    if "package" in data.attributes:
        package = dict(zip(data.document_ids, data.attributes["package"], strict=True))
        about = [package[next(iter(data.qrels.mapping[query]))] for query in ids]
        asked = np.isin(about, split_queries({*about}, seed=seed)["held-out"])
        yield "questions, other packages", documents, queries[~asked], queries[asked], ids[asked]


def both(base, examples, asked, scored, d):
    """Yield losses, and scores of what is found alone and refined, of PCA and the closed form."""
    for method in ("pca", "leanvec"):
        own = {"project": {"index": "flat", "d": d, "method": method}}
        index = get_index("refine", index=own, threads=1).build(base, queries=examples)
        found = index.inner.search(asked, 10), index.search(asked, 10, depth=100)
        yield index.inner.loss(base, asked), index.inner.loss(base, examples), *map(scored, found)


def compared(pca, lean):
    """Return means, and the test of the difference; queries of zeros have no neighbours."""
    test = paired_test(lean, pca, "t")
    text = f"{test.mean_diff:+.4f} [{test.ci95[0]:+.4f}, {test.ci95[1]:+.4f}]"
    return np.nanmean(pca), np.nanmean(lean), text, test


with Experiment(__file__) as lab:
    data, loss, quality, drawn = lab.dataset(), [], [], []
    plans = [(32, None)] if lab.small else [(d, None) for d in (16, 64, 128)]
    for encoder in lab.encoders[: 1 if lab.small else None]:
        name, vectors = lab.name_of(encoder), lab.embed(data, encoder)
        for kind, base, examples, asked, ids in cases(data, vectors, lab.seed):
            scored = lab.scorer(data, base, asked, query_ids=ids)
            order = np.random.default_rng(lab.seed).permutation(len(examples))
            few = [(64, n) for n in FEW if kind == "questions" and not lab.small]
            for d, some in ((d, examples[order[:count]]) for d, count in [*plans, *few]):
                (worst, _, *pca), (lost, seen, *lean) = both(base, some, asked, scored, d)
                own, near = [name, kind, d, len(some)], compared(pca[0][RECALL], lean[0][RECALL])
                loss.append([*own, projection_bound(base, asked, d), worst, lost, seen, *near[:-1]])
                for where, a, b in zip(("alone", "refined"), pca, lean, strict=True):
                    if len(ids):
                        quality.append([*own, where, *compared(a[MEASURE], b[MEASURE])])
    heads, last = ["encoder", "queries", "d", "examples"], ["PCA", "closed", "closed minus PCA"]
    seen = ["bound", "loss PCA", "loss closed", "on examples", "recall PCA", "recall closed"]
    note = f"{data.name}; intervals: 95 %, Student's t over the queries that are asked"
    lab.table("loss and recall", [*heads, *seen, last[-1]], loss, f"{note}.")
    p = correct(np.array([row[-1].p for row in quality]), "holm")
    lines = [[*row[:-1], f"{one:.4f}"] for row, one in zip(quality, p, strict=True)]
    lab.table(MEASURE, [*heads, "ranked", *last, "Holm's p"], lines, f"{note}; paired t tests.")
    for name, kind, d, count, where, *_, test in quality:
        label = f"d={d}" + f", {count} examples" * (count in FEW)
        values = f"{kind}, {where}", label, name, test.mean_diff, *test.ci95
        drawn.append(dict(zip(PARTS, values, strict=True)))
    lab.figure("closed-against-pca", estimates(drawn, f"{MEASURE}: closed form minus PCA", MEASURE))
