"""Evaluating runs: time and memory against pytrec_eval, ir_measures and ranx, as ratios in one run.

`make bench-evaluate` sets up an environment with the peers and starts this script. The work is an
MS MARCO dev-sized run: 6,980 queries x 1,000 documents, 7,479 judgments, four measures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

DEPTH = 1000
CORPUS = 8_841_823

COLD = {
    "retrieval_eval": """
import sys
from retrieval_eval import evaluate
run, qrels = sys.argv[1:]
print(evaluate(qrels, run, ["nDCG@10", "R@100", "R@1000", "RR@10"]).means["nDCG@10"])
""",
    "command line": """
import subprocess, sys
run, qrels = sys.argv[1:]
sys.argv = ["retrieval-eval", "evaluate", qrels, run, "--format", "json"]
sys.argv += ["-m", "nDCG@10", "-m", "R@100", "-m", "R@1000", "-m", "RR@10"]
from retrieval_eval.cli import main
main()
""",
    "pytrec_eval": """
import sys
import numpy as np
import pytrec_eval
run, qrels = sys.argv[1:]
with open(run) as stream:
    scored = pytrec_eval.parse_run(stream)
with open(qrels) as stream:
    judged = pytrec_eval.parse_qrel(stream)
names = {"ndcg_cut.10", "recall.100,1000", "recip_rank"}
values = pytrec_eval.RelevanceEvaluator(judged, names).evaluate(scored)
print(np.mean([one["ndcg_cut_10"] for one in values.values()]))
""",
    "ir_measures": """
import sys
import ir_measures
from ir_measures import RR, R, nDCG
run, qrels = sys.argv[1:]
judged = ir_measures.read_trec_qrels(qrels)
scored = ir_measures.read_trec_run(run)
print(ir_measures.calc_aggregate([nDCG@10, R@100, R@1000, RR@10], judged, scored)[nDCG@10])
""",
    "ranx": """
import sys
from ranx import Qrels, Run, evaluate
run, qrels = sys.argv[1:]
scored = Run.from_file(run, kind="trec")
judged = Qrels.from_file(qrels, kind="trec")
names = ["ndcg@10", "recall@100", "recall@1000", "mrr@10"]
print(evaluate(judged, scored, names)["ndcg@10"])
""",
}

WARM = """
import json, statistics, sys, time
import numpy as np
from retrieval_eval import Evaluator, Hits, Ids, Qrels, Run
folder, repeats, ranx_too = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "yes"
table = np.load(folder + "/hits.npz")
hits = Hits(table["ids"], table["scores"])
query_ids = table["query_ids"].tolist()
corpus = Ids.of([str(row) for row in range(int(table["corpus"]))])
qrels = Qrels.from_file(folder + "/qrels.txt")
evaluator = Evaluator(qrels, ["nDCG@10", "R@100", "R@1000", "RR@10"])
ours = []
for _ in range(repeats + 1):
    start = time.perf_counter()
    one = evaluator.evaluate(Run.from_hits(hits, query_ids, corpus))
    ours.append(time.perf_counter() - start)
theirs = []
if ranx_too:
    import ranx
    judged = ranx.Qrels(qrels.mapping)
    scored = ranx.Run({
        query: dict(zip(map(str, rows.tolist()), map(float, scores), strict=True))
        for query, rows, scores in zip(query_ids, hits.ids, hits.scores, strict=True)
    })
    for _ in range(repeats + 1):
        start = time.perf_counter()
        ranx.evaluate(judged, scored, ["ndcg@10", "recall@100", "recall@1000", "mrr@10"])
        theirs.append(time.perf_counter() - start)
ranx_times = {"ranx_first": theirs[:1], "ranx": theirs[1:]}
print(json.dumps({"first": ours[0], "ours": ours[1:], **ranx_times}))
"""

MANY = """
import json, os, sys, time
from pathlib import Path
from retrieval_eval import Evaluator, Run
evaluator = Evaluator(sys.argv[2], ["nDCG@10", "R@100", "R@1000", "RR@10"])
seconds, resident = [], []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    evaluator.evaluate(Run.from_file(sys.argv[1]))
    seconds.append(time.perf_counter() - start)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident.append(pages * os.sysconf("SC_PAGE_SIZE"))
print(json.dumps({"seconds": seconds, "resident": resident}))
"""


def generate(folder: Path, queries: int, *, keep_hits: bool) -> None:
    """Write run.txt, qrels.txt and, if they fit into memory, hits.npz."""
    rng = np.random.default_rng(0)
    names = rng.choice(1_102_400, size=queries, replace=False).astype(str)
    hits: list[Any] = []
    with (folder / "run.txt").open("wb") as run, (folder / "qrels.txt").open("w") as qrels:
        for place, name in enumerate(names):
            ids = np.unique(rng.integers(0, CORPUS, DEPTH + 40))
            ids = rng.permutation(ids)[:DEPTH]
            scores = -np.sort(-rng.gamma(4, 4, DEPTH).astype(np.float32))
            table = pl.DataFrame({"d": ids, "rank": np.arange(1, DEPTH + 1), "s": scores})
            table.select(
                pl.lit(name).alias("q"),
                pl.lit("Q0").alias("q0"),
                "d",
                "rank",
                "s",
                pl.lit("system"),
            ).write_csv(run, include_header=False, separator=" ")
            for judgment in range(2 if place % 14 == 0 else 1):
                found = rng.random() < 0.85
                at = min(DEPTH - 1, int(rng.exponential(30)) + 500 * judgment)
                document = ids[at] if found else rng.integers(0, CORPUS)
                qrels.write(f"{name} 0 {document} 1\n")
            if keep_hits:
                hits.append((ids, scores))
    if keep_hits:
        np.savez(
            folder / "hits.npz",
            ids=np.stack([ids for ids, _ in hits]).astype(np.int64),
            scores=np.stack([scores for _, scores in hits]),
            query_ids=names,
            corpus=CORPUS,
        )


def cold(program: str, arguments: list[str]) -> tuple[float, float, str]:
    """Run a program in a fresh process; return its seconds, peak megabytes and last line."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"failed: {program}")
    return seconds, usage.ru_maxrss / 1000, (output.strip().splitlines() or [""])[-1]


def installed(name: str) -> bool:
    """Whether a peer can be imported."""
    command = [sys.executable, "-c", f"import {name}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def compare_cold(folder: Path, repeats: int) -> None:
    """Print time and memory of cold processes, and the ratios of medians."""
    names = [name for name in COLD if name == "command line" or installed(name)]
    measured: dict[str, list[tuple[float, float, str]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            arguments = [str(folder / "run.txt"), str(folder / "qrels.txt")]
            measured[name].append(cold(COLD[name], arguments))
    own_s = statistics.median(one[0] for one in measured["retrieval_eval"])
    own_mb = statistics.median(one[1] for one in measured["retrieval_eval"])
    print(f"\ncold process, file to four measures; medians of {repeats}")
    print(f"{'':16} {'seconds':>8} {'(min, max)':>16} {'peak MB':>8} {'time of ours':>13} memory")
    for name in names:
        seconds = [one[0] for one in measured[name]]
        middle = statistics.median(seconds)
        memory = statistics.median(one[1] for one in measured[name])
        print(
            f"{name:16} {middle:8.2f} ({min(seconds):6.2f}, {max(seconds):6.2f}) {memory:8.0f} "
            f"{own_s / middle:12.3f}x {own_mb / memory:5.2f}x"
        )


def main() -> None:
    """Generate the work in a temporary folder, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=6980)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=50, help="against one bound Evaluator")
    parser.add_argument("--large", action="store_true", help="also a file ten times as large")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, options.queries, keep_hits=True)
        size = (folder / "run.txt").stat().st_size / 1e6
        print(f"{options.queries} queries x {DEPTH} documents, a file of {size:.0f} MB")
        compare_cold(folder, options.repeats)
        arguments = [str(folder), str(options.repeats), "yes" if installed("ranx") else "no"]
        warm = json.loads(cold(WARM, arguments)[2])
        ours = statistics.median(warm["ours"])
        print(
            f"\nin memory, from Hits to per-query values: {ours:.3f} s (first {warm['first']:.3f})"
        )
        if warm["ranx"]:
            theirs = statistics.median(warm["ranx"])
            print(f"ranx, warm: {theirs:.3f} s (first {warm['ranx_first'][0]:.1f}); ", end="")
            print(f"ours takes {ours / theirs:.3f}x")
        files = [str(folder / "run.txt"), str(folder / "qrels.txt")]
        many = json.loads(cold(MANY, [*files, str(options.runs)])[2])
        seconds, resident = many["seconds"], [one / 1e6 for one in many["resident"]]
        tenth = max(1, options.runs // 10)
        print(f"\n{options.runs} runs against one Evaluator: {sum(seconds):.1f} s; ", end="")
        print(f"median of the first {tenth} {statistics.median(seconds[:tenth]):.2f} s, ", end="")
        print(f"of the last {statistics.median(seconds[-tenth:]):.2f} s; resident after run 2: ")
        print(
            f"{resident[1]:.0f} MB, most after it {max(resident[1:]):.0f}, end {resident[-1]:.0f}"
        )
        if options.large:
            generate(folder, options.queries * 10, keep_hits=False)
            size = (folder / "run.txt").stat().st_size / 1e6
            took, memory, _ = cold(COLD["retrieval_eval"], files)
            print(f"\na file of {size:.0f} MB: {took:.1f} s, peak {memory:.0f} MB")


if __name__ == "__main__":
    main()
