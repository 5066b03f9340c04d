"""Sparse encoders and combined rows, in a whole sweep."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval_eval import Qrels, Results, Run, Sweep, evaluate, run_sweep
from retrieval_eval.combiners import fuse_comb, fuse_reciprocal_rank
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store

pytest.importorskip("bm25s")
pytest.importorskip("Stemmer")

MakeSettings = Callable[..., dict[str, Any]]
ENCODERS: list[Any] = ["bm25", {"lsa": {"dim": 8, "label": "lsa"}}]
COMBINE: list[Any] = [
    {"rrf": {"of": ["bm25", "lsa"], "k": [10, 60]}},
    {"combsum": {"of": ["bm25", "lsa | ivf-flat nlist=4 nprobe=1"], "label": "sum"}},
    {"weighted": {"of": ["bm25", "lsa"], "label": "tuned"}},
    {"combmnz": {"of": ["sum", "lsa"]}},
]


@pytest.fixture(scope="module")
def settings_of(
    tmp_path_factory: pytest.TempPathFactory,
    write_collection: Callable[..., Path],
    settings: MakeSettings,
) -> Callable[..., dict[str, Any]]:
    folder = write_collection(tmp_path_factory.mktemp("combined") / "tiny")

    def make(**changes: Any) -> dict[str, Any]:
        indexes = ["flat", {"ivf-flat": {"nlist": 4, "search": {"nprobe": [1, 4]}}}]
        parts = {"encoders": ENCODERS, "indexes": indexes, "combine": COMBINE, "health": True}
        return settings(folder, **parts | changes)

    return make


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def finished(
    settings_of: MakeSettings, cache: Store, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    out = tmp_path_factory.mktemp("results") / "combined"
    return run_sweep(Sweep(**settings_of()), out=out, store=cache, progress=False)


def run_of(results: Results, configuration: str, encoder: str | None = None) -> Run:
    rows = results.rows.filter(pl.col("configuration") == configuration)
    if encoder is not None:
        rows = rows.filter(pl.col("encoder") == encoder)
    (row_id,) = rows["row_id"]
    (path,) = (results.folder / "runs").glob(f"*.{row_id[:8]}.trec.gz")
    return Run.from_file(path)


def test_each_kind_of_vector_is_searched_by_the_indexes_that_take_it(finished: Results) -> None:
    rows = finished.rows.select("encoder", "configuration", "is_reference").rows()
    assert rows == [
        ("bm25", "sparse", True),
        ("lsa", "flat", True),
        ("lsa", "ivf-flat nlist=4 nprobe=1", False),
        ("lsa", "ivf-flat nlist=4 nprobe=4", False),
        ("bm25 + lsa", "rrf k=10", False),
        ("bm25 + lsa", "rrf k=60", False),
        ("bm25 + lsa | ivf-flat nlist=4 nprobe=1", "sum", False),
        ("bm25 + lsa", "tuned", False),
        ("sum + lsa", "combmnz", False),
    ]
    assert set(finished.rows["status"]) == {"ok"}


def test_a_fused_row_is_the_fusion_of_the_runs_of_its_parts(finished: Results) -> None:
    bm25, lsa = run_of(finished, "sparse"), run_of(finished, "flat")
    probed = run_of(finished, "ivf-flat nlist=4 nprobe=1")
    for found, expected in (
        (run_of(finished, "rrf k=10"), fuse_reciprocal_rank([bm25, lsa], k=10)),
        (run_of(finished, "sum"), fuse_comb([bm25, probed], "sum")),
    ):
        wanted = expected.top(20).to_mapping()
        for query, scores in found.to_mapping().items():
            assert set(scores) == set(wanted[query])
            np.testing.assert_allclose(
                list(scores.values()), [wanted[query][one] for one in scores], rtol=1e-6
            )


def test_a_combined_row_has_quality_and_no_cost_of_an_index(finished: Results) -> None:
    (row,) = finished.rows.filter(pl.col("configuration") == "tuned").to_dicts()
    assert row["nDCG@10"] is not None
    assert row["combine_s"] > 0
    assert {row[name] for name in ("latency_p50_s", "size_bytes", "build_s", "served_by")} == {None}
    assert json.loads(row["build_params"])["of"] == ["bm25", "lsa"]
    assert "weights" in json.dumps(json.loads(row["combine_facts"]))


def test_the_scores_of_a_combined_row_are_those_of_its_run_file(
    finished: Results, settings_of: MakeSettings
) -> None:
    (folder,) = settings_of()["datasets"]
    qrels = Qrels.from_file(Path(folder) / "qrels" / "test.tsv")
    rows = finished.rows.filter(pl.col("configuration") == "combmnz")
    again = evaluate(qrels, run_of(finished, "combmnz"), ["nDCG@10"])
    assert again.means["nDCG@10"] == pytest.approx(rows["nDCG@10"][0], abs=1e-9)


def test_combined_rows_are_compared_with_what_they_are_made_of(finished: Results) -> None:
    pairs = finished.comparisons.filter(pl.col("question") == "combination")
    found = set(pairs.select("candidate", "reference").rows())
    assert ("bm25 + lsa | tuned", "bm25 | sparse") in found
    assert ("bm25 + lsa | tuned", "lsa | flat") in found
    sums = "bm25 + lsa | ivf-flat nlist=4 nprobe=1 | sum"
    assert (sums, "lsa | ivf-flat nlist=4 nprobe=1") in found
    assert ("sum + lsa | combmnz", sums) in found
    encoders = finished.comparisons.filter(pl.col("question") == "encoder")
    assert set(encoders.select("candidate", "reference").rows()) == {
        ("lsa | flat", "bm25 | sparse")
    }


def test_bm25_has_the_whole_of_what_it_should_find(finished: Results) -> None:
    (row,) = finished.rows.filter(pl.col("encoder") == "bm25").to_dicts()
    assert row["neighbour_recall@10"] == 1.0
    assert row["size_bytes"] > 0
    assert row["peak_rss_bytes"] is None or row["peak_rss_bytes"] > 10**7


def test_dense_embeddings_alone_have_health(finished: Results) -> None:
    health = finished.health
    assert health["encoder"].to_list() == ["lsa"]
    assert health["n_documents"][0] == 60


def test_encoding_has_its_cost(finished: Results) -> None:
    dense = finished.rows.filter(pl.col("encoder") == "lsa")
    assert dense["encode_documents_s"].n_unique() == 1
    assert dense["encode_documents_s"][0] > 0


def test_a_second_sweep_finds_every_combination_in_the_store(
    finished: Results, settings_of: MakeSettings, cache: Store, tmp_path: Path
) -> None:
    made = sorted((cache.root / "combinations").iterdir())
    again = run_sweep(
        Sweep(**settings_of(measures=["R@5", "AP@10"])),
        out=tmp_path / "again",
        store=cache,
        progress=False,
    )
    # Tuned weights depend on the judgments and their own measure, never on those of the sweep.
    assert sorted((cache.root / "combinations").iterdir()) == made
    kept = ["encoder", "configuration", "combine_facts", "combine_s"]
    assert again.rows.select(kept).equals(finished.rows.select(kept))


def test_float16_embeddings_are_searched_like_others(
    settings_of: MakeSettings, cache: Store, tmp_path: Path, finished: Results
) -> None:
    half = run_sweep(
        Sweep(**settings_of(embeddings="float16")), out=tmp_path, store=cache, progress=False
    )
    assert set(half.rows["status"]) == {"ok"}
    flat = half.rows.filter(pl.col("configuration") == "flat")
    assert flat["neighbour_recall@10"][0] == 1.0
    whole = finished.rows.filter(pl.col("configuration") == "flat")
    assert flat["row_id"][0] != whole["row_id"][0]


def test_weights_are_given_by_the_names_of_what_is_combined(
    finished: Results, settings_of: MakeSettings, cache: Store, tmp_path: Path
) -> None:
    weights = {"bm25": 1.0, "lsa": 0.0}
    combine = [{"weighted": {"of": ["bm25", "lsa"], "weights": weights}}]
    results = run_sweep(
        Sweep(**settings_of(combine=combine)), out=tmp_path / "out", store=cache, progress=False
    )
    rows = results.rows.filter(pl.col("encoder") == "bm25 + lsa").to_dicts()
    assert json.loads(rows[0]["combine_facts"]) == {"runs": ["bm25", "lsa"], "weights": [1.0, 0.0]}
    alone = finished.rows.filter(pl.col("encoder") == "bm25")
    assert rows[0]["RR@10"] == pytest.approx(alone["RR@10"][0])


def test_one_of_several_sparse_indexes_is_the_reference(
    settings_of: MakeSettings, cache: Store, tmp_path: Path
) -> None:
    indexes = ["flat", "sparse", {"sparse": {"label": "other"}}]
    results = run_sweep(
        Sweep(**settings_of(indexes=indexes, combine=[])),
        out=tmp_path / "out",
        store=cache,
        progress=False,
    )
    found = results.comparisons.select("question", "candidate", "reference").unique().rows()
    assert set(found) == {
        ("index", "bm25 | other", "bm25 | sparse"),
        ("encoder", "lsa | flat", "bm25 | sparse"),
    }


TWICE = """
import sys
from pathlib import Path
from retrieval_eval import Sweep, run_sweep
from retrieval_eval.store import Store

sweep = Sweep(
    name="twice", datasets=[sys.argv[1]], encoders=["hashing"], indexes=["flat"], k=5,
    measures=["RR@5"], neighbour_recall=5, timing={"repeats": 1, "memory": False},
)
results = run_sweep(sweep, out=sys.argv[2], store=Store(Path(sys.argv[3])), progress=False)
assert len(results.rows) == 1
print(results.fresh)
"""


def test_of_two_runs_into_one_folder_the_second_finds_what_the_first_did(
    settings_of: MakeSettings, tmp_path: Path
) -> None:
    (dataset,) = settings_of()["datasets"]
    command = [sys.executable, "-c", TWICE, dataset, str(tmp_path / "out"), str(tmp_path / "store")]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    assert sorted(out for out, _ in said) == ["False\n", "False\n", "True\n"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"combine": [{"rrf": {"of": ["bm25", "lsb"]}}]},
            "unknown row .*'lsb'.*Did you mean 'lsa'",
        ),
        ({"combine": [{"rrf": {"of": ["bm25", "bm25"]}}]}, "combines a row with itself"),
        ({"combine": [{"rrf": {"of": ["bm25"]}}]}, "takes 2 or more runs, got 1"),
        ({"combine": ["rrf"]}, "name what to combine"),
        ({"combine": [{"rff": {"of": ["bm25", "lsa"]}}]}, "unknown combiner 'rff'.*'rrf'"),
        ({"combine": [{"rrf": {"of": ["bm25", "lsa"], "q": 1}}]}, "unknown parameter 'q'"),
        ({"combine": [{"rrf": {"of": ["bm25", "lsa"]}}] * 2}, "stands in the sweep twice"),
        ({"indexes": ["sparse"]}, "'lsa' makes dense vectors, and no index.*'flat'"),
        (
            {"encoders": [{"lsa": {"dim": 8}}], "indexes": ["flat", "sparse"], "combine": []},
            "index 'sparse' takes sparse vectors, and no encoder",
        ),
        (
            {"indexes": [{"ivf-flat": {"nlist": 4, "search": {"nprobe": [1, 4]}}}]},
            "'lsa' stands for 2 rows: name one of 'lsa | ivf-flat nlist=4 nprobe=1'",
        ),
        ({"embeddings": "int8"}, "embeddings is 'int8'"),
        ({"combine": [{"rrf": {"off": ["bm25", "lsa"]}}]}, "'off'. Did you mean 'of'"),
        (
            {"combine": [{"rrf": {"of": ["bm25", "lsa"], "weights": {"bm52": 1.0, "lsa": 2.0}}}]},
            "unknown run 'bm52'. Did you mean 'bm25'",
        ),
        (
            {"combine": [{"weighted": {"of": ["bm25", "lsa"], "folds": 50}}]},
            "folds is 50, but there are 12 judged queries",
        ),
        (
            {"combine": [{"rrf": {"of": ["bm25", "lsa"], "label": "lsa"}}]},
            "has the name of an encoder",
        ),
        (
            {"indexes": ["flat", "sparse"], "compare": {"reference": "sparse"}},
            "unknown index .of compare.reference. 'sparse'",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused_before_any_work(
    settings_of: MakeSettings, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_sweep(
            Sweep(**settings_of(**changes)),
            out=tmp_path / "out",
            store=Store(tmp_path / "store"),
            progress=False,
        )
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "store" / "embeddings").exists()
