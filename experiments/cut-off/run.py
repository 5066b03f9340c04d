"""How many documents to return: a fixed number, those above a cosine, or above a learned map of it.

Exact search ranks; a rule cuts each ranking into a set. What a rule has to choose (a number, a
threshold, the map's weights) is chosen on one half of the queries, and all figures are of the other
half. Rules aim at the highest F1, or at a share of the recall with as few documents as they can.
The map sees a document's cosine, and its query's best cosine, lead and dispersion of cosines.
"""

from itertools import product

from retrieval_eval import Evaluator, Run, compare, cutoff, get_index
from retrieval_eval.comparison import mean_intervals
from retrieval_eval.experimenting import Experiment
from retrieval_eval.report.figures.estimates import estimates
from retrieval_eval.splits import split_queries

DEPTH, SHARE, FIXED, COSINE, MAP = 50, 0.9, "fixed number", "cosine threshold", "learned map"
GOALS = {"F1": {"F1": "SetF"}, "documents": {"documents": "NumRet", "recall": "SetR"}}

with Experiment(__file__, encoders=["lsa", "wordllama"]) as lab:
    data = lab.dataset()
    parts = split_queries(data.query_ids, seed=lab.seed, parts=("training", "held out"))
    qrels = [data.qrels.only_queries(ids) for ids in parts.values()]
    tables, points = {goal: [] for goal in GOALS}, []
    weights = []
    for encoder in ["hashing"] if lab.small else lab.encoders:
        vectors, name = lab.embed(data, encoder), lab.name_of(encoder)
        hits = get_index("flat").build(vectors.documents).search(vectors.queries, DEPTH)
        run = Run.from_hits(hits, data.query_ids, data.document_ids)
        training, test = (cutoff.judged_scores(run, one) for one in qrels)
        evaluator = Evaluator(qrels[1], ["SetP", "SetR", "SetF", "NumRet"])
        learned = cutoff.fit_score_map(training)
        weights.append([name, *(f"{w:+.2f}" for w in (*learned.weights, learned.bias))])
        values = {
            COSINE: (training.scores, test.scores),
            MAP: (learned.apply(training.scores), learned.apply(test.scores)),
        }
        for goal, measures in GOALS.items():
            recall = SHARE if goal == "documents" else None
            chosen = {FIXED: cutoff.choose_rank(training, recall=recall)}
            depths = {FIXED: chosen[FIXED]}
            for rule, (seen, unseen) in values.items():
                chosen[rule] = cutoff.choose_threshold(training, seen, recall=recall)
                depths[rule] = cutoff.depths_by_threshold(unseen, chosen[rule])
            if goal == "F1":
                depths["oracle"] = cutoff.oracle_depths(test)
            cuts = [cutoff.cut_run(run, test.query_ids, n, rule) for rule, n in depths.items()]
            scored = [evaluator.evaluate(cut) for cut in cuts]
            found = compare(scored, references=[FIXED, COSINE], family="measure")
            shown = {(d.a, d.b, d.measure): d for d in found.differences}
            for one in scored:
                means, f1 = one.means, one.per_query("SetF")
                line = [name, one.run_name, chosen.get(one.run_name)]
                line += [means["SetP"], means["SetR"], means["SetF"], f"{means['NumRet']:.2f}"]
                for measure, other in product(measures.values(), (FIXED, COSINE)):
                    d = shown.get((one.run_name, other, measure))
                    text = d and f"{d.mean_diff:+.3f} [{d.ci95[0]:+.3f}, {d.ci95[1]:+.3f}]"
                    line.append(text and text + "*" * d.significant)
                tables[goal].append(line)
                if goal == "F1":
                    low, high = mean_intervals(f1[None])[0]
                    row = {"panel": name, "label": one.run_name, "series": "F1"}
                    points.append(row | {"value": f1.mean(), "low": low, "high": high})
    note = (
        f"{data.name}: chosen on {len(training.total)} queries, shown for {len(test.total)} more, "
        f"at most {DEPTH} documents. 95 % intervals of single cells; *: Holm's p over the "
        "differences of an encoder and measure at most 0.05, paired randomisation test."
    )
    heads = ["encoder", "rule", "chosen", "precision", "recall", "F1", "documents"]
    for goal, measures in GOALS.items():
        differences = [
            f"{what} minus {other}" for what, other in product(measures, (FIXED, COSINE))
        ]
        lab.table(goal, [*heads, *differences], tables[goal], note)
    lab.table("map", ["encoder", *cutoff.FEATURES, "bias"], weights)
    title = "F1 of sets, by the rule that cuts the ranking"
    lab.figure("f1", estimates(points, title, "F1, held-out queries", zero=False))
