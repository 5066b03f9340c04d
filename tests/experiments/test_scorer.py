"""What an experiment scores hits by, against the evaluator and exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval_eval.datasets import Dataset
from retrieval_eval.evaluation import Evaluator
from retrieval_eval.experimenting import Experiment
from retrieval_eval.hits import Hits
from retrieval_eval.indexes import get_index
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run


@pytest.fixture
def lab(tmp_path: Path) -> Experiment:
    return Experiment(str(tmp_path / "name" / "run.py"), argv=[])


def made() -> tuple[Dataset, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    documents, queries = (rng.normal(size=(n, 6)).astype(np.float32) for n in (30, 5))
    names, asked = [f"d{row}" for row in range(30)], tuple(f"q{row}" for row in range(5))
    # The judgments name queries in another order than the data set.
    grades = {query: {names[7 * row]: 1, names[row]: 2} for row, query in enumerate(asked)}
    qrels = Qrels.from_mapping({query: grades[query] for query in reversed(asked)})
    return Dataset("made", names, ["text"] * 30, asked, ["text"] * 5, qrels), documents, queries


def test_hits_are_scored_in_the_order_of_the_queries(lab: Experiment) -> None:
    data, documents, queries = made()
    hits = get_index("flat", threads=1).build(documents).search(queries, 10)
    found = lab.scorer(data, documents, queries)(hits)
    run = Run.from_hits(hits, data.query_ids, data.document_ids)
    expected = Evaluator(data.qrels, ["nDCG@10"]).evaluate(run)
    by_query = dict(zip(expected.query_ids, expected.per_query("nDCG@10"), strict=True))
    np.testing.assert_array_equal(found["nDCG@10"], [by_query[one] for one in data.query_ids])
    np.testing.assert_array_equal(found["neighbour recall@10"], np.ones(5))
    worse = Hits(np.roll(hits.ids, 1, axis=0), hits.scores)
    assert lab.scorer(data, documents, queries)(worse)["neighbour recall@10"].mean() < 1


def test_some_queries_or_none_are_judged(lab: Experiment) -> None:
    data, documents, queries = made()
    hits = get_index("flat", threads=1).build(documents).search(queries, 10)
    every = lab.scorer(data, documents, queries)(hits)["nDCG@10"]
    rows = [3, 1]
    some = lab.scorer(data, documents, queries[rows], query_ids=["q3", "q1"])
    np.testing.assert_array_equal(
        some(Hits(hits.ids[rows], hits.scores[rows]))["nDCG@10"], every[rows]
    )
    assert list(lab.scorer(data, documents, queries, query_ids=[])(hits)) == ["neighbour recall@10"]
