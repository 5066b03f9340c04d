"""Who should filter: the index as it searches, an exact scan of what passes, or we afterwards.

Every query has filters of its own, all of which let its judged documents pass: random ones, the
neighbourhood of a judged document, and what is farthest from it, at four selectivities; and
conditions on attributes. An exact scan of what passes is the reference; indexes filter natively,
or after the search. Times are ratios, query by query, to those of the exact scan (Iff et al. 2025).
"""

from itertools import product

import numpy as np

from retrieval_eval import filtered, get_index
from retrieval_eval.experimenting import Experiment
from retrieval_eval.indexes.post_filter import PostFilterIndex
from retrieval_eval.report.figures.estimates import estimates

SHARES, KINDS, GRAPH = (0.5, 0.1, 0.01, 0.001), ("random", "near", "far"), {"ef_construction": 100}
INDEXES = [("faiss-hnsw", {"M": 16, **GRAPH}), ("hnsw", {"M": 16, **GRAPH}), ("ivf-flat", {})]
SEARCH = {"faiss-hnsw": {"ef": 128}, "hnsw": {"ef": 128}, "ivf-flat": {"nprobe": 32}}

with Experiment(__file__, encoders=["wordllama"]) as lab:
    data, found = lab.dataset(), {}
    attributes, place = data.attribute_table(), {d: row for row, d in enumerate(data.document_ids)}
    judged = data.qrels.mapping
    answers = [[place[d] for d, g in judged[q].items() if g > 0] for q in data.query_ids]
    rows = np.array([row for row, answer in enumerate(answers) if answer])
    rows = np.sort(np.random.default_rng(lab.seed).permutation(rows)[: 4 if lab.small else 200])
    names = {"query_ids": [data.query_ids[row] for row in rows], "document_ids": data.document_ids}
    for encoder in lab.encoders:
        vectors, label = lab.embed(data, encoder), lab.name_of(encoder)
        documents, queries = np.array(vectors.documents), np.array(vectors.queries[rows])
        unit = documents / np.maximum(np.linalg.norm(documents, axis=1, keepdims=True), 1e-30)
        ways, search = {"exact": get_index("flat", threads=1).build(documents)}, {}
        for name, build in INDEXES:
            ways[f"{name} native"] = get_index(name, threads=1, **build).build(documents)
            ways[f"{name} post"] = PostFilterIndex(index={name: build}, threads=1).build(documents)
            search |= {f"{name} native": SEARCH[name], f"{name} post": {"index": SEARCH[name]}}
        filters = []
        for row in rows:
            near, answer, seed = unit @ unit[answers[row][0]], answers[row], [lab.seed, int(row)]
            made = filtered.filters_by_similarity(near, SHARES, always=answer, seed=seed)
            own = filtered.filters_of_document(attributes, answer[0], seed=lab.seed)
            filters.append(made | {kind: one.mask(attributes) for kind, one in own.items()})
        for kind in [one for one in filters[0] if all(one in made for made in filters)]:
            masks = [made[kind] for made in filters]
            like = list(map(filtered.filter_correlation, queries @ unit.T, masks))
            case = label, kind, float(np.mean(masks)), f"{np.nanmean(like):+.2f}"
            found[case] = filtered.compare_ways(
                ways, "exact", documents, queries, masks, qrels=data.qrels, search=search, **names
            )

    note = f"{data.name}, {len(rows)} queries, k = 10; 95 % intervals of single cells."
    heads = ["encoder", "filter", "passes", "correlation", *search]
    for what, form in ("recall", ".3f"), ("difference", "+.3f"), ("speed", ".2g"):
        text = f"{{:{form}}} [{{:{form}}}, {{:{form}}}]"
        cells = {case: [text.format(*getattr(one, what)) for one in found[case]] for case in found}
        lab.table(what, heads, [[*case, *line] for case, line in cells.items()], note)
    by_name = {case[:2]: ways for case, ways in found.items()}
    better, points = [], {"recall": [], "speed": []}
    for encoder, kind, (index, _) in product(map(lab.name_of, lab.encoders), KINDS, INDEXES):
        better.append([encoder, kind, index])
        for share in SHARES:
            ways = [w for w in by_name[encoder, f"{kind} {share:g}"] if w.name.startswith(index)]
            best = filtered.fastest_way(ways, recall=0.9)
            better[-1].append(f"{best.name}, {best.speed[0]:.1f}" if best else "exact scan")
            for way in ways:
                row = {"panel": f"{encoder}, {kind}", "label": f"{share:g}", "series": way.name}
                for what, values in ("recall", way.recall), ("speed", np.log2(way.speed)):
                    ends = dict(zip(("value", "low", "high"), values, strict=True))
                    points[what].append(row | ends)
    note = "The fastest of those shown to have a recall above 0.9 and to beat the exact scan."
    heads = ["encoder", "filter", "index", *(f"{share:g} passes" for share in SHARES)]
    lab.table("better", heads, better, note)
    title = "Neighbour recall of filtered search, by the share that passes"
    lab.figure("recall", estimates(points["recall"], title, "neighbour recall@10", zero=False))
    title = "Speed of filtered search against an exact scan, by the share that passes"
    lab.figure("speed", estimates(points["speed"], title, "log2 of the ratio of times"))
