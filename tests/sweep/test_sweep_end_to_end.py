"""One small sweep through everything, and every bad input through the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval import Run, Store, Sweep, evaluate, load_dataset, run_sweep
from retrieval_eval.cli import main

N, Q = 60, 12
MEASURES = ["nDCG@10", "RR@10", "R@10"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write a small dataset in BEIR's layout."""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{n}", "title": f"word{n}", "text": f"alpha{n % 7} beta{n % 5} gamma{n % 3}"}
        for n in range(N)
    ]
    queries = [{"_id": f"q{n}", "text": f"word{n} beta{n % 5} alpha{n % 4}"} for n in range(Q)]
    for name, records in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(lines)
    rows = "".join(f"q{n}\td{n}\t2\nq{n}\td{n + 7}\t1\n" for n in range(Q))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return folder


def small(data: Path, indexes: list[Any], **changes: Any) -> Sweep:
    values: dict[str, Any] = {
        "name": "small",
        "datasets": [str(data)],
        "encoders": [{"lsa": {"dim": 8}}],
        "indexes": indexes,
        "k": 10,
        "measures": MEASURES,
        "timing": {"repeats": 1, "latency_queries": 3, "batch_queries": 3},
        "compare": {"draws": 200},
        "seed": 3,
    }
    return Sweep(**{**values, **changes})


def test_flat_against_flat_differs_by_nothing(data: Path, tmp_path: Path) -> None:
    sweep = small(data, ["flat", {"flat": {"label": "again"}}])
    results = run_sweep(sweep, out=tmp_path / "out", store=Store(tmp_path / "cache"))
    assert results.comparisons["difference"].to_list() == [0.0] * 3
    assert results.comparisons["difference_lo"].to_list() == [0.0] * 3
    assert results.comparisons["p"].to_list() == [1.0] * 3
    assert not results.comparisons["significant"].any()


def test_hnsw_at_ef_n_and_ivf_at_nprobe_nlist_equal_flat(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("hnswlib", reason="it compiles, so it is an extra")
    indexes = [
        "flat",
        {"hnsw": {"search": {"ef": N}}},
        {"faiss-hnsw": {"search": {"ef": N}}},
        {"ivf-flat": {"nlist": 8, "search": {"nprobe": 8}}},
    ]
    results = run_sweep(small(data, indexes), out=tmp_path / "out", store=Store(tmp_path / "cache"))
    rows = results.rows
    for measure in (*MEASURES, "neighbour_recall@10"):
        assert rows[measure].n_unique() == 1
    assert results.comparisons["p"].to_list() == [1.0] * 9


def test_what_is_on_disk_agrees_with_itself(data: Path, tmp_path: Path) -> None:
    indexes = ["flat", {"ivf-flat": {"nlist": 8, "search": {"nprobe": [1, 8]}}}]
    results = run_sweep(small(data, indexes), out=tmp_path / "out", store=Store(tmp_path / "cache"))
    assert {path.name for path in results.folder.iterdir()} == {
        *("manifest.json", "results.parquet", "per_query.parquet", "comparisons.parquet", "runs")
    }
    qrels = load_dataset(str(data)).qrels
    for row in results.rows.iter_rows(named=True):
        mine = results.per_query.filter(results.per_query["row_id"] == row["row_id"])
        (path,) = (results.folder / "runs").glob(f"*{row['row_id'][:8]}.trec.gz")
        again = evaluate(qrels, Run.from_file(path), MEASURES).means
        assert len(mine) == row["n_queries"] == Q
        for measure in MEASURES:
            assert row[measure] == pytest.approx(mine[measure].mean(), abs=1e-12)
            assert row[measure] == pytest.approx(again[measure], abs=1e-12)
            assert row[f"{measure}_lo"] <= row[measure] <= row[f"{measure}_hi"]
        assert row["peak_rss_bytes"] is None  # unmeasured is empty
        assert min(row["latency_p50_s"], row["qps"], row["build_s"], row["size_bytes"]) > 0
    one, all_lists = results.rows["neighbour_recall@10"].to_list()[1:]
    assert one < all_lists == 1.0


def test_a_finished_sweep_is_not_touched_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, store = small(data, ["flat"]), Store(tmp_path / "cache")
    first = run_sweep(sweep, out=tmp_path / "out", store=store)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    monkeypatch.setattr("retrieval_eval.sweep.run.run_plan", None)  # any work would fail
    second = run_sweep(sweep, out=tmp_path / "out", store=store)
    assert (first.fresh, second.fresh) == (True, False)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


def test_a_stopped_sweep_goes_on_where_it_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval_eval import pipeline

    timed, real = [], pipeline.time_search

    def count(*arguments: Any, **options: Any) -> Any:
        if len(timed) == 2:
            raise KeyboardInterrupt
        timed.append(1)
        return real(*arguments, **options)

    sweep = small(data, ["flat", {"ivf-flat": {"nlist": 4, "search": {"nprobe": [1, 2, 4]}}}])
    store = Store(tmp_path / "cache")
    monkeypatch.setattr(pipeline, "time_search", count)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, out=tmp_path / "out", store=store)
    assert not (tmp_path / "out").exists()
    timed.clear()  # two more are allowed: the third and the fourth row
    results = run_sweep(sweep, out=tmp_path / "out", store=store)
    assert results.rows["status"].to_list() == ["ok"] * 4
    assert len(timed) == 2


def test_results_of_another_configuration_are_moved_aside(data: Path, tmp_path: Path) -> None:
    store, out = Store(tmp_path / "cache"), tmp_path / "out"
    run_sweep(small(data, ["flat"]), out=out, store=store)
    kept = (out / "results.parquet").read_bytes()
    results = run_sweep(small(data, ["flat"], seed=4), out=out, store=store)
    aside = Path(results.manifest["earlier_results"])
    assert aside.parent == out.parent
    assert (aside / "results.parquet").read_bytes() == kept


BROKEN = """
from retrieval_eval.indexes.flat import FlatIndex

class Broken(FlatIndex):
    name = "broken"

    def _build(self, vectors):
        raise RuntimeError("the library gave up")
"""


def test_a_library_that_fails_costs_its_rows_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_backend.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)  # a class beside the sweep is found
    sweep = small(data, ["flat", "broken_backend:Broken"])
    results = run_sweep(sweep, out=tmp_path / "out", store=Store(tmp_path / "cache"))
    rows = results.rows
    assert rows["status"].to_list() == ["ok", "failed"]
    assert "the library gave up" in rows["message"][1]
    assert rows["nDCG@10"].to_list()[1] is None
    assert results.failed == 1


Change = Callable[[dict[str, Any], Path], None]


def damaged(path: str, line: str) -> Change:
    def change(_: dict[str, Any], data: Path) -> None:
        with (data / path).open("a") as stream:
            stream.write(line)

    return change


def with_vectors(*, bad: bool) -> Change:
    def change(sweep: dict[str, Any], data: Path) -> None:
        documents = np.ones((N, 4), dtype=np.float32)
        if bad:
            documents[7, 1] = np.nan
        np.save(data / "d.npy", documents if bad else documents[:-1])
        np.save(data / "q.npy", np.ones((Q, 4), dtype=np.float32))
        files = {"documents": str(data / "d.npy"), "queries": str(data / "q.npy")}
        sweep["encoders"] = [{"precomputed": files}]

    return change


def setting(**values: Any) -> Change:
    return lambda sweep, _: sweep.update(values)


def emptied(sweep: dict[str, Any], data: Path) -> None:
    (data / "corpus.jsonl").write_text("")


BAD: dict[str, tuple[Change, list[str]]] = {
    "unknown key": (setting(mesures=["AP"]), ["s.yaml:", "'mesures'", "Did you mean 'measures'"]),
    "unknown option": (setting(compare={"alfa": 0.1}), ["s.yaml:", "'alfa'", "'alpha'"]),
    "unknown backend": (setting(indexes=["hsnw"]), ["s.yaml:", "'hsnw'", "Did you mean 'hnsw'"]),
    "unknown encoder": (setting(encoders=["las"]), ["s.yaml:", "'las'", "Did you mean 'lsa'"]),
    "unknown dataset": (setting(datasets=["stdlb"]), ["s.yaml:", "'stdlb'", "'stdlib'"]),
    "m does not divide": (
        setting(indexes=[{"ivf-pq": {"nlist": 2, "m": 3, "nbits": 4}}]),
        ["s.yaml:", "m is 3", "dimension 8", "1, 2, 4, 8"],
    ),
    "k too large": (setting(k=100), ["s.yaml:", "k is 100", f"{N} documents"]),
    "measure deeper than k": (setting(measures=["R@50"]), ["s.yaml:", "R@50", "k is 10"]),
    "unknown reference": (setting(compare={"reference": "flt"}), ["s.yaml:", "'flt'", "'flat'"]),
    "unknown document": (
        damaged("qrels/test.tsv", "q1\tnowhere\t1\n"),
        ["test.tsv:26:", "'nowhere'", "unknown_documents: keep"],
    ),
    "empty query": (
        lambda _, data: (data / "queries.jsonl").write_text(
            (data / "queries.jsonl").read_text().replace("word2 beta2 alpha2", " ")
        ),
        ["queries.jsonl:3:", "'q2'", "no text"],
    ),
    "empty corpus": (emptied, ["corpus.jsonl", "empty"]),
    "NaN": (with_vectors(bad=True), ["d.npy", "'d7'", "row 7", "NaN"]),
    "rows missing": (with_vectors(bad=False), ["d.npy", "59 vectors", "60 documents"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    name: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, words = BAD[name]
    sweep = small(data, ["flat"]).model_dump(mode="json")
    change(sweep, data)
    (tmp_path / "s.yaml").write_text(json.dumps(sweep, indent=1))  # JSON is YAML
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", ["retrieval-eval", "run", "s.yaml"])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not (tmp_path / "results").exists()
