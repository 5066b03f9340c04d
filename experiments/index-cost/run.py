"""What approximate search costs in nDCG, and where neighbour recall stops mattering.

Every row of the sweep is compared with exact search by the same encoder, query by query: the paired
difference with its 95 % interval, and a one-sided test of whether the loss is below a margin. ANN
benchmarks stop at neighbour recall; here it is set beside what a reader of results would notice.
Encoders are then ranked under each index that they share, to see whether any changes places.
"""

from retrieval_eval.experimenting import Experiment
from retrieval_eval.report.agreement import encoder_agreement
from retrieval_eval.report.figures import recall_against_quality

MEASURE = "nDCG@10"
QUICK = {"indexes": ["flat", {"ivf-flat": {"nlist": 16, "search": {"nprobe": [1, 8]}}}]}

with Experiment(__file__, encoders=["lsa", "wordllama"]) as lab:
    results = lab.run(**({**QUICK, "encoders": ["hashing", "lsa"]} if lab.small else {}))
    margin = results.manifest["sweep"]["compare"]["margin"][MEASURE]
    rows = {row["row_id"]: row for row in results.rows.to_dicts() if row["status"] == "ok"}
    compared = [
        one
        for one in results.comparisons.to_dicts()
        if one["measure"] == MEASURE and one["question"] == "index"
    ]

    table = []
    for one in compared:
        row = rows[one["candidate_row_id"]]
        recall = row["neighbour_recall@10"]
        interval = f"[{one['difference_lo']:+.4f}, {one['difference_hi']:+.4f}]"
        within = "yes" if one["noninferior"] else "no"
        names = row["dataset"], row["encoder"], row["configuration"]
        table.append([*names, recall, f"{one['difference']:+.4f}", interval, within])
    recall, within = "neighbour recall@10", f"loses less than {margin:g}"
    heads = ["data", "encoder", "index", recall, f"{MEASURE} minus flat", "95 %", within]
    test = results.manifest["sweep"]["compare"]
    note = (
        f"{len(compared)} comparisons with exact search; intervals of each row alone; losses "
        f"tested by {test['margin_test']}, level {test['alpha']}, {test['correction']} over all."
    )
    lab.table("cost", heads, table, note)

    # The lowest neighbour recall from which on every row was shown to lose less than the margin.
    limits = []
    for name in dict.fromkeys(line[1] for line in table):
        mine = sorted((line[3], line[6] == "yes") for line in table if line[1] == name)
        enough = [place for place in range(len(mine)) if all(ok for _, ok in mine[place:])]
        lowest = mine[enough[0]][0] if enough else None
        failing = max((recall for recall, ok in mine if not ok), default=None)
        limits.append([name, len(mine), lowest, failing])
    lab.table("recall", ["encoder", "rows", "enough from", "highest that was not"], limits)

    swaps = []
    for one in encoder_agreement(results, measures=[MEASURE]):
        for swap in one.swaps:
            differences = f"{swap.reference_difference:+.4f}", f"{swap.difference:+.4f}"
            p = [f"{value:.4f}" for value in (swap.reference_p, swap.p) if value is not None]
            pair = f"{swap.ahead}, {swap.behind}"
            beyond = {True: "yes", False: "not shown"}.get(swap.beyond_chance, "")
            swaps.append([one.configuration, pair, *differences, " and ".join(p), beyond])
    heads = ["index", "encoders", "exact search", "this index", "adjusted p", "beyond chance"]
    lab.table("places", heads, swaps, "" if swaps else "No encoder changes places.")
    lab.figure("recall-against-quality", recall_against_quality(results.rows, MEASURE))
