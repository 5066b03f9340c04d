"""A sweep that was run, from its folder and from its results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from retrieval_eval.selection import find_fronts, select
from retrieval_eval.store import Store
from retrieval_eval.sweep import load_sweep, run_sweep

WORDS = [f"{first}{second}" for first in "abcdefgh" for second in ("pple", "oat", "ine", "ark")]
SWEEP = """\
name: small
datasets: [data]
encoders: [{lsa: {dim: 8}}]
indexes: [flat, {ivf-flat: {nlist: 4, search: {nprobe: [1, 4]}}}]
k: 10
measures: [nDCG@10, R@10]
compare: {reference: flat, margin: {R@10: 0.05}}
timing: {repeats: 1, memory: false}
"""


def test_folder_and_results_give_the_same_answer(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(WORDS, size=8)) for _ in range(200)]
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    for name, prefix, some in (("corpus", "d", texts), ("queries", "q", texts[:40])):
        lines = [json.dumps({"_id": f"{prefix}{i}", "text": one}) for i, one in enumerate(some)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    judged = [f"q{i}\td{i}\t1" for i in range(40)]
    (folder / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n"
    )
    (tmp_path / "small.yaml").write_text(SWEEP.replace("[data]", f"[{folder}]"))
    results = run_sweep(
        load_sweep(str(tmp_path / "small.yaml")), out=tmp_path / "out", store=Store(tmp_path / "c")
    )
    answers = []
    for found in (select(results), select(tmp_path / "out")):
        assert (found.options.measure, found.options.margin) == ("R@10", 0.05)
        assert sum(map(len, found.parts["data"])) == 40
        (answer,) = found.answers
        assert answer.reference.configuration == "flat"
        answers.append([(one.name, one.outcome, one.cost, one.tuning) for one in answer.candidates])
    assert len(answers[0]) == 2
    assert answers[0] == answers[1]
    (front,) = find_fronts(results, ["R@10", "size_bytes"])
    assert front.rows[0]["configuration"] == "flat"
