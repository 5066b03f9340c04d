"""Filters, build seeds, combinators and memory, in a whole sweep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval_eval import Filter, Qrels, Results, Run, Sweep, evaluate, load_dataset, run_sweep
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store

MakeSettings = Callable[..., dict[str, Any]]
N = 60
EVEN = {"even": True}
LATE = {"number": {"min": 20}, "kind": ["b", "c"]}
HALF = {"random": {"max": 0.5}}


@pytest.fixture(scope="module")
def described(
    tmp_path_factory: pytest.TempPathFactory, write_collection: Callable[..., Path]
) -> Path:
    """Return a collection whose documents have metadata, one that no filter can use among it."""
    folder = write_collection(tmp_path_factory.mktemp("described") / "described")
    corpus = folder / "corpus.jsonl"
    lines = []
    for number, line in enumerate(corpus.read_text(encoding="utf-8").splitlines()):
        metadata = {
            "number": number,
            "even": number % 2 == 0,
            "kind": "abc"[number % 3],
            "links": ["x"],
        }
        lines.append(json.dumps({**json.loads(line), "metadata": metadata}))
    corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(
    described: Path, settings: MakeSettings, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    folder = tmp_path_factory.mktemp("filtered")
    inner = {"ivf-flat": {"nlist": [2, 4]}}
    sweep = Sweep(
        **settings(
            described,
            indexes=[
                "flat",
                {"ivf-flat": {"nlist": 4, "search": {"nprobe": [1, 4]}}},
                {"pq": {"m": 4, "nbits": 4}},
                {"refine": {"index": inner, "search": {"depth": [20, 60]}}},
            ],
            filters=[None, EVEN, LATE, HALF],
            build_seeds=3,
            timing={"repeats": 1, "latency_queries": 4, "batch_queries": 4},
        )
    )
    return run_sweep(sweep, out=folder / "out", store=Store(folder / "cache"), progress=False)


def test_every_configuration_runs_with_every_filter(finished: Results) -> None:
    rows = finished.rows
    assert rows.height == (1 + 2 + 1 + 4) * 4
    assert rows["status"].to_list() == ["ok"] * rows.height
    assert rows["row_id"].n_unique() == rows.height
    assert len(list((finished.folder / "runs").iterdir())) == rows.height
    shown = [None, "even = True", "20 <= number, kind in (b, c)", "random <= 0.5"]
    assert rows["filter"].unique(maintain_order=True).to_list() == shown


def test_the_row_says_how_much_passes_and_who_filtered(finished: Results) -> None:
    rows = finished.rows
    shares = dict(rows.select("filter", "selectivity").unique().iter_rows())
    assert shares[None] == 1.0
    assert shares["even = True"] == 0.5
    late = [number for number in range(20, N) if "abc"[number % 3] in "bc"]
    assert shares["20 <= number, kind in (b, c)"] == len(late) / N
    assert 0.2 < shares["random <= 0.5"] < 0.8
    plain, filtered = rows.filter(pl.col("filter").is_null()), rows.filter(pl.col("filter") != "")
    assert plain["filtering"].null_count() == plain.height
    found = dict(filtered.select("index", "filtering").unique().iter_rows())
    assert found == {"flat": "pre", "ivf-flat": "native", "pq": "post", "refine": "native"}


def test_hits_pass_and_scores_are_those_of_the_judgments_that_pass(
    finished: Results, described: Path
) -> None:
    data = load_dataset(str(described))
    for row in finished.rows.filter(pl.col("index") == "flat").iter_rows(named=True):
        wanted = {None: None, "even = True": EVEN}.get(row["filter"], LATE)
        wanted = HALF if row["filter"] == "random <= 0.5" else wanted
        if wanted is None:
            continue
        mask = Filter.parse(wanted).mask(data.attribute_table())
        passes = {data.document_ids[place] for place in np.flatnonzero(mask)}
        (path,) = (finished.folder / "runs").glob(f"*.{row['row_id'][:8]}.trec.gz")
        run = Run.from_file(path)
        assert set(run.to_mapping()["q0"]) <= passes
        kept = {
            query: {document: grade for document, grade in judged.items() if document in passes}
            for query, judged in data.qrels.mapping.items()
        }
        qrels = Qrels.from_mapping({query: judged for query, judged in kept.items() if judged})
        expected = evaluate(qrels, run, ["nDCG@10"]).means["nDCG@10"]
        assert row["nDCG@10"] == pytest.approx(expected, abs=1e-12)
        assert row["neighbour_recall@10"] == 1.0


def test_comparisons_stay_within_a_filter(finished: Results) -> None:
    rows = {row["row_id"]: row for row in finished.rows.iter_rows(named=True)}
    comparisons = finished.comparisons
    assert comparisons.height == 7 * 4 * 3
    for one in comparisons.iter_rows(named=True):
        both = rows[one["reference_row_id"]], rows[one["candidate_row_id"]]
        assert both[0]["filter"] == both[1]["filter"]
        assert (both[0]["filter"] or "") in one["family"]


def test_the_spread_over_seeds_holds_the_row_and_is_empty_where_nothing_is_drawn(
    finished: Results,
) -> None:
    rows = finished.rows
    for name in ("nDCG@10", "neighbour_recall@10", "build_s"):
        low, high = f"{name}_seeds_lowest", f"{name}_seeds_highest"
        drawn = rows.filter(pl.col("index") != "flat")
        assert (drawn[low] <= drawn[name]).all()
        assert (drawn[name] <= drawn[high]).all()
        exact = rows.filter(pl.col("index") == "flat")
        assert exact[low].null_count() == exact[high].null_count() == exact.height
    codes = rows.filter(pl.col("index") == "pq")
    assert (codes["nDCG@10_seeds_lowest"] < codes["nDCG@10_seeds_highest"]).any()
    weak = rows.filter(pl.col("configuration") == "ivf-flat nlist=4 nprobe=1")
    recall = "neighbour_recall@10_seeds"
    assert (weak[f"{recall}_lowest"] < weak[f"{recall}_highest"]).any()


def test_memory_of_a_fresh_process_is_measured(finished: Results) -> None:
    peaks = finished.rows["peak_rss_bytes"]
    assert peaks.null_count() == 0
    assert (peaks > 20 * 2**20).all()
    assert (peaks < 2**30).all()


def test_training_is_told_from_building(finished: Results) -> None:
    rows = finished.rows
    exact = rows.filter(pl.col("index") == "flat")
    assert exact["train_s"].null_count() == exact.height
    others = rows.filter(pl.col("index") != "flat")
    assert (others["train_s"] > 0).all()
    assert (others["train_s"] <= others["build_s"]).all()


def test_what_served_and_what_is_stored_stand_in_the_row(finished: Results) -> None:
    found = dict(finished.rows.select("index", "served_by").unique().iter_rows())
    assert found["flat"] == "faiss IndexFlatIP"
    assert found["refine"] == "refine over faiss IndexIVFFlat"
    assert dict(finished.rows.select("index", "stored").unique().iter_rows())["flat"] == "float32"


def test_the_leaderboard_shows_filters(
    finished: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.show()
    out, _ = capsys.readouterr()
    for text in ("even = True", "50 %", "native", "pre", "post"):
        assert text in out


def test_inner_grids_make_rows_of_their_own(finished: Results) -> None:
    shown = finished.rows.filter(pl.col("index") == "refine")["configuration"].unique()
    assert set(shown) == {
        f"refine index=ivf-flat(nlist={nlist}) depth={depth}"
        for nlist in (2, 4)
        for depth in (20, 60)
    }


def test_a_dry_run_lists_filters(
    cli: Callable[..., tuple[int, str, str]], described: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        f"name: dry\ndatasets: ['{described}']\nencoders: [{{lsa: {{dim: 8}}}}]\nk: 20\n"
        "measures: [nDCG@10]\nindexes: [{refine: {index: flat, search: {index: {}}}}]\n"
        "filters: [none, {kind: a}]\n"
    )
    code, out, _ = cli("run", str(sweep), "--dry-run")
    assert code == 0
    assert [line.split()[-2:] for line in out.splitlines() if line.endswith("run")] == [
        ["none", "run"],
        ["a", "run"],
    ]
    assert "kind = a" in out


@pytest.mark.parametrize(
    ("filters", "rule"),
    [
        ([{"knd": "a"}], "unknown attribute 'knd'. Did you mean 'kind'"),
        ([{"number": "a"}], "whole numbers"),
        ([{"kind": "z"}], "0 documents of dataset .* pass, and none of them is judged"),
        ([{"links": "x"}], "unknown attribute 'links'"),
        ([EVEN, EVEN], "stands in the sweep twice"),
        (["kind"], r"filters\[0\] must be none, or attributes"),
        ([], "at least 1"),
    ],
)
def test_a_filter_that_cannot_work_is_refused_before_any_work(
    described: Path, tmp_path: Path, settings: MakeSettings, filters: list[Any], rule: str
) -> None:
    with pytest.raises(InputError, match=rule):
        run_sweep(Sweep(**settings(described, filters=filters)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def rewritten(described: Path, folder: Path, field: str, values: list[Any]) -> None:
    """Copy a collection, with other values of one attribute."""
    shutil.copytree(described, folder, dirs_exist_ok=True)
    corpus = folder / "corpus.jsonl"
    lines = []
    for place, line in enumerate(corpus.read_text(encoding="utf-8").splitlines()):
        record = json.loads(line)
        record["metadata"][field] = values[place % len(values)]
        lines.append(json.dumps(record))
    corpus.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_changed_attributes_are_searched_again(
    described: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    folder = tmp_path / "mine"
    sweep = Sweep(**settings(folder, filters=[{"kind": ["None", "a"]}]))
    shares = []
    for values in (["a", None, None], ["a", "None", None], [None, None, "a"]):
        rewritten(described, folder, "kind", values)
        results = run_sweep(sweep, out=tmp_path / "out", store=Store(tmp_path / "cache"))
        assert results.fresh
        row = results.rows.row(0, named=True)
        shares.append((row["selectivity"], row["neighbour_recall@10"]))
    assert shares == [(20 / N, 1.0), (40 / N, 1.0), (20 / N, 1.0)]


def test_an_index_that_needs_an_attribute_gets_it(
    described: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    ordered = {"insertion-order": {"index": "flat", "order": "category", "category": "kind"}}
    results = run_sweep(Sweep(**settings(described, indexes=[ordered])), out=tmp_path / "out")
    assert results.rows["neighbour_recall@10"].to_list() == [1.0]


@pytest.mark.parametrize(
    ("index", "rule"),
    [
        (
            {"insertion-order": {"index": "flat", "order": "category", "category": "knd"}},
            "unknown attribute 'knd'. Did you mean 'kind'",
        ),
        ({"project": {"index": "flat", "d": 4, "method": "leanvec"}}, "learns from example"),
        ({"faiss": {"factory": "HNSW8", "search": {"nprobe": 3}}}, "nprobe has no meaning"),
        (
            {"refine": {"index": {"faiss": {"factory": "PQ4x4"}}, "search": {"index": {"ef": 3}}}},
            "ef has no meaning",
        ),
    ],
)
def test_what_only_a_build_would_refuse_is_refused_before_any_work(
    described: Path, tmp_path: Path, settings: MakeSettings, index: Any, rule: str
) -> None:
    with pytest.raises(InputError, match=rule):
        run_sweep(Sweep(**settings(described, indexes=["flat", index])), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_long_filter_names_no_file_too_long(
    described: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    kinds = ["a", *(f"kind number {number}" for number in range(60))]
    sweep = Sweep(**settings(described, filters=[{"kind": kinds}]))
    results = run_sweep(sweep, out=tmp_path / "out")
    assert results.failed == 0


def test_one_judged_query_has_no_interval(
    described: Path, tmp_path: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_dataset(str(described))
    judged = {document for judged in data.qrels.mapping.values() for document in judged}
    counts = {
        document: sum(document in one for one in data.qrels.mapping.values()) for document in judged
    }
    alone = next(document for document in sorted(judged) if counts[document] == 1)
    number = data.document_ids.index(alone)
    sweep = Sweep(**settings(described, filters=[{"number": number}], indexes=["flat"]))
    results = run_sweep(sweep, out=tmp_path / "out")
    row = results.rows.row(0, named=True)
    assert row["n_queries"] == 1
    assert row["nDCG@10_lo"] is None
    assert row["nDCG@10_hi"] is None
    results.show()
    assert "nan" not in capsys.readouterr().out.replace("unanswered", "")
