"""Whole sweeps over real collections give the figures that are known for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retrieval_eval import Sweep, run_sweep
from retrieval_eval.store import Store

# nDCG@10 and R@100 by exact search, over all judged queries, with trec_eval's semantics.
BM25 = {"cranfield": (0.491, 0.738), "cisi": (0.373, 0.427), "scifact": (0.676, 0.913)}
MINILM = {"cranfield": (0.500, 0.791), "cisi": (0.421, 0.471), "scifact": (0.6451, 0.925)}


def figures(folder: Path, tmp_path: Path, encoder: Any) -> tuple[float, float]:
    sweep = Sweep(
        name="reference",
        datasets=[str(folder)],
        encoders=[encoder],
        indexes=["sparse" if encoder == "bm25" else "flat"],
        measures=["nDCG@10", "R@100"],
        timing={"repeats": 1, "memory": False},
    )
    results = run_sweep(sweep, out=tmp_path / "out", store=Store(tmp_path / "store"))
    assert results.rows["status"].to_list() == ["ok"]
    found: tuple[float, float] = results.rows.select(pl.col("nDCG@10", "R@100")).row(0)
    return found


@pytest.mark.parametrize("name", BM25)
def test_bm25_gives_the_known_figures(collections: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("bm25s")
    pytest.importorskip("Stemmer")
    assert figures(collections / name, tmp_path, "bm25") == pytest.approx(BM25[name], abs=0.002)


@pytest.mark.parametrize("name", ["cranfield", "scifact"])
def test_stored_vectors_of_minilm_give_the_known_figures(
    collections: Path, tmp_path: Path, name: str
) -> None:
    vectors = collections / "embeddings" / f"{name}-minilm"
    encoder = {
        "precomputed": {
            "documents": str(vectors / "docs.npy"),
            "queries": str(vectors / "queries.npy"),
        }
    }
    assert figures(collections / name, tmp_path, encoder) == pytest.approx(MINILM[name], abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", MINILM)
def test_minilm_itself_gives_the_known_figures(
    collections: Path, tmp_path: Path, name: str
) -> None:
    model = os.environ.get("RETRIEVAL_EVAL_TEST_MODEL")
    if not model:
        pytest.skip("RETRIEVAL_EVAL_TEST_MODEL is not set: it names a folder with all-MiniLM-L6-v2")
    pytest.importorskip("sentence_transformers")
    encoder = {"sentence-transformers": {"model": model, "label": "minilm"}}
    assert figures(collections / name, tmp_path, encoder) == pytest.approx(MINILM[name], abs=0.01)
