"""Whole sweeps over a tiny collection: what they write, keep, resume and refuse."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from retrieval_eval.errors import InputError, MissingExtraError, RetrievalEvalError
from retrieval_eval.evaluation import evaluate
from retrieval_eval.pipeline import SearchJob, searching
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run
from retrieval_eval.store import Store
from retrieval_eval.sweep import Results, Sweep, run_sweep

MakeSettings = Callable[..., dict[str, Any]]
Cli = Callable[..., tuple[int, str, str]]

TIMES = ["latency_p50_s", "latency_p95_s", "latency_p99_s", "qps", "build_s"]
CIRCUMSTANCES = ["measured", "load_average", "other_cores", "timing_spread", "noise"]
COLUMNS = [
    "row_id",
    "dataset",
    "encoder",
    "index",
    "build_params",
    "search_params",
    "status",
    *(f"{measure}{end}" for measure in ("nDCG@10", "RR@10", "R@20") for end in ("", "_lo", "_hi")),
    "neighbour_recall@10",
    *TIMES,
    "size_bytes",
    "peak_rss_bytes",
    "train_s",
    "filter",
    "selectivity",
    "filtering",
    "served_by",
    "stored",
]
MEASURES = ["nDCG@10", "RR@10", "R@20"]
LISTS = {"ivf-flat": {"nlist": 4, "search": {"nprobe": [1, 4]}}}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and time stamp of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: data for name, (data, _) in contents(folder).items()}


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the searches that are really done, one entry each."""
    done: list[int] = []
    original = searching.time_search

    def counted(*args: Any, **options: Any) -> Any:
        done.append(1)
        return original(*args, **options)

    monkeypatch.setattr(searching, "time_search", counted)
    return done


# -- one sweep, looked at from all sides ------------------------------------------------------


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    write_collection: Callable[..., Path],
    settings: MakeSettings,
) -> Results:
    folder = tmp_path_factory.mktemp("finished")
    collection = write_collection(folder / "tiny")
    sweep = Sweep(
        **settings(
            collection,
            encoders=[{"lsa": {"dim": [8, 4], "label": "lsa"}}],
            indexes=["flat", {"ivf-flat": {"nlist": 2, "label": "halves"}}, LISTS],
            compare={"draws": 200, "reference": "flat", "margin": {"nDCG@10": 0.05}},
        )
    )
    return run_sweep(sweep, out=folder / "out", store=Store(folder / "cache"), progress=False)


def test_a_sweep_writes_the_documented_files_and_columns(finished: Results) -> None:
    assert finished.fresh
    names = {path.name for path in finished.folder.iterdir()}
    assert {"manifest.json", "results.parquet", "per_query.parquet", "comparisons.parquet"} < names
    rows = finished.rows
    assert set(COLUMNS) <= set(rows.columns)
    assert rows.height == 2 * 4
    assert rows["status"].to_list() == ["ok"] * 8
    assert rows["row_id"].n_unique() == 8
    assert len(list((finished.folder / "runs").glob("*.trec.gz"))) == 8
    assert {"row_id", "query_id", *MEASURES} <= set(finished.per_query.columns)
    assert finished.per_query.height == 8 * 12
    assert not [path for path in finished.folder.parent.iterdir() if path.name.startswith(".")]


def test_parameters_are_written_as_json_with_every_field(finished: Results) -> None:
    row = finished.rows.filter(pl.col("index") == "ivf-flat").row(0, named=True)
    assert json.loads(row["build_params"]) == {"nlist": 4}
    assert json.loads(row["search_params"]) == {"nprobe": 1}


def test_the_manifest_says_what_was_run_on_what(finished: Results) -> None:
    manifest = json.loads((finished.folder / "manifest.json").read_text(encoding="utf-8"))
    assert Sweep(**manifest["sweep"]).seed == 3
    assert manifest["datasets"]["tiny"]["documents"] == 60
    assert manifest["datasets"]["tiny"]["queries"] == 12
    assert manifest["hardware"]["processor"]
    assert {"python", "numpy", "faiss-cpu", "scikit-learn", "ir-measures"} <= set(
        manifest["versions"]
    )
    assert manifest["rows"] == {"ok": 8, "skipped": 0, "failed": 0}


def test_means_are_the_means_of_the_scores_per_query(finished: Results) -> None:
    means = finished.per_query.group_by("row_id").agg(pl.col(MEASURES).mean())
    both = finished.rows.join(means, on="row_id", suffix="_mean", validate="1:1")
    assert both.height == 8
    for measure in MEASURES:
        difference = (both[measure] - both[f"{measure}_mean"]).abs().max()
        assert difference < 1e-12  # type: ignore[operator]
        assert (both[f"{measure}_lo"] <= both[measure]).all()
        assert (both[measure] <= both[f"{measure}_hi"]).all()
        assert both[measure].max() > 0.1  # type: ignore[operator]


def test_every_run_file_scores_as_the_table_says(finished: Results) -> None:
    tiny = finished.folder.parent / "tiny"
    qrels = Qrels.from_file(tiny / "qrels" / "test.tsv")
    by_start = {row_id[:8]: row_id for row_id in finished.rows["row_id"]}
    for path in (finished.folder / "runs").glob("*.trec.gz"):
        row_id = by_start.pop(path.name.removesuffix(".trec.gz").rpartition(".")[2])
        scored = evaluate(qrels, Run.from_file(path), MEASURES)
        row = finished.rows.row(by_predicate=pl.col("row_id") == row_id, named=True)
        per_query = finished.per_query.filter(pl.col("row_id") == row_id)
        ours = dict(zip(per_query["query_id"], per_query.select(MEASURES).rows(), strict=True))
        for measure in MEASURES:
            assert row[measure] == pytest.approx(scored.means[measure], abs=1e-12)
        for place, query_id in enumerate(scored.query_ids):
            assert ours[query_id] == pytest.approx(tuple(scored.values[:, place]), abs=1e-12)
    assert not by_start, "every row has a run file"


def test_exact_search_compared_with_itself_differs_nowhere(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    values = settings(tiny, indexes=["flat", {"flat": {"label": "again"}}])
    values["compare"] = {"draws": 200, "margin": {"nDCG@10": 0.05}}
    results = run_sweep(Sweep(**values), out=tmp_path / "out")
    same = results.comparisons
    assert same.height == len(MEASURES)
    for column in ("difference", "difference_lo", "difference_hi"):
        assert same[column].to_list() == [0.0] * 3
    assert same["p"].to_list() == same["p_adjusted"].to_list() == [1.0] * 3
    assert not same["significant"].any()
    assert same["noninferior"].to_list() == [True, None, None]


@pytest.mark.parametrize(
    ("option", "value", "moved"),
    [
        ("test", "t", "p"),
        ("test", "bootstrap", "p"),
        ("correction", "bonferroni", "p_adjusted"),
        ("correction", "none", "p_adjusted"),
        ("family", "measure", "p_adjusted"),
        ("interval", "percentile", "difference_lo"),
        ("interval", "bca", "difference_hi"),
        ("margin_test", "bootstrap", "p_noninferior"),
        ("margin_test", "randomization", "p_noninferior"),
        ("alpha", 0.9, "significant"),
    ],
)
def test_every_option_of_compare_changes_what_it_says(
    tiny: Path, tmp_path: Path, settings: MakeSettings, option: str, value: Any, moved: str
) -> None:
    values = settings(tiny, indexes=["flat", {"ivf-flat": {"nlist": 6, "search": {"nprobe": 2}}}])
    values["compare"] = {"draws": 200, "margin": {"nDCG@10": 0.5}}
    plain = run_sweep(Sweep(**values), out=tmp_path / "plain")
    values["compare"][option] = value
    other = run_sweep(Sweep(**values), out=tmp_path / "other")
    assert plain.comparisons[moved].to_list() != other.comparisons[moved].to_list()
    raw = ["difference", "n", "n_differing"]
    assert plain.comparisons[raw].equals(other.comparisons[raw])
    if option != "family":
        assert other.comparisons[option].unique().to_list() == [value]


def test_one_index_under_two_labels_is_two_rows_with_ids_of_their_own(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", {"flat": {"label": "again"}}]))
    results = run_sweep(sweep, out=tmp_path / "out")
    assert results.rows["row_id"].n_unique() == 2
    assert results.per_query.select("row_id", "query_id").is_unique().all()
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


def test_differences_are_those_of_the_scores_per_query(finished: Results) -> None:
    scores = finished.per_query
    comparisons = finished.comparisons
    assert comparisons.height == (2 * 3 + 1) * len(MEASURES)
    assert comparisons["family"].n_unique() == 1
    assert "21 comparisons" in comparisons["family"][0]
    for one in comparisons.iter_rows(named=True):
        reference, candidate = (
            dict(scores.filter(pl.col("row_id") == one[key])["query_id", one["measure"]].rows())
            for key in ("reference_row_id", "candidate_row_id")
        )
        differences = [candidate[query_id] - reference[query_id] for query_id in reference]
        assert one["difference"] == pytest.approx(sum(differences) / 12, abs=1e-12)
        assert one["wins"] == sum(value > 0 for value in differences)
        assert one["ties"] == sum(value == 0 for value in differences)
        assert one["losses"] == sum(value < 0 for value in differences)
        assert one["p"] > 0
        assert one["p_adjusted"] >= one["p"]


def test_encoders_are_compared_under_exact_search(finished: Results) -> None:
    between = finished.comparisons.filter(pl.col("question") == "encoder")
    assert between.height == len(MEASURES)
    assert set(between["reference"]) == {"lsa dim=8 | flat"}
    assert set(between["candidate"]) == {"lsa dim=4 | flat"}


def test_visiting_every_list_is_exact_search(finished: Results) -> None:
    rows = finished.rows
    for encoder in rows["encoder"].unique():
        mine = {
            r["configuration"]: r for r in rows.iter_rows(named=True) if r["encoder"] == encoder
        }
        exact, all_lists = mine["flat"], mine["ivf-flat nlist=4 nprobe=4"]
        one_list = mine["ivf-flat nlist=4 nprobe=1"]
        assert exact["neighbour_recall@10"] == all_lists["neighbour_recall@10"] == 1.0
        assert one_list["neighbour_recall@10"] < 1.0
        for measure in MEASURES:
            assert all_lists[measure] == pytest.approx(exact[measure], abs=1e-12)


def test_cost_is_measured_and_the_unmeasured_is_empty(finished: Results) -> None:
    rows = finished.rows
    for column in (*TIMES, "size_bytes"):
        assert rows[column].null_count() == 0
        assert (rows[column] > 0).all()
    assert rows["peak_rss_bytes"].null_count() == rows.height
    assert (rows["latency_p50_s"] <= rows["latency_p95_s"]).all()
    exact = rows.filter(pl.col("configuration") == "flat")
    sizes = dict(zip(exact["encoder"], exact["size_bytes"], strict=True))
    assert 60 * 8 * 4 < sizes["lsa dim=8"] < 60 * 8 * 4 + 1000
    assert sizes["lsa dim=8"] - sizes["lsa dim=4"] == 60 * 4 * 4


def test_the_leaderboard_names_every_configuration(
    finished: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    finished.show()
    out, err = capsys.readouterr()
    assert err == ""
    for name in ("flat", "halves", "nprobe=1", "nprobe=4", "lsa dim=8", *MEASURES):
        assert name in out
    assert f"{finished.rows['nDCG@10'][0]:.4f}" in out


def test_a_graph_searched_exhaustively_is_exact_search(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    pytest.importorskip("hnswlib", reason="hnswlib is not installed: extra 'hnsw'")
    graphs: list[Any] = [{name: {"M": 16, "search": {"ef": 60}}} for name in ("hnsw", "faiss-hnsw")]
    results = run_sweep(Sweep(**settings(tiny, indexes=["flat", *graphs])), out=tmp_path / "out")
    exact, *others = results.rows.iter_rows(named=True)
    assert len(others) == 2
    for row in others:
        assert row["neighbour_recall@10"] == 1.0
        for measure in MEASURES:
            assert row[measure] == pytest.approx(exact[measure], abs=1e-12)


# -- again, interrupted, changed --------------------------------------------------------------


def test_a_finished_sweep_is_found_and_its_files_stay_untouched(
    tiny: Path, tmp_path: Path, settings: MakeSettings, searches: list[int]
) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", LISTS]))
    first = run_sweep(sweep, out=tmp_path / "out")
    before, stored = contents(tmp_path / "out"), contents(tmp_path / "cache")
    assert (first.fresh, len(searches)) == (True, 3)
    second = run_sweep(sweep, out=tmp_path / "out")
    assert (second.fresh, len(searches)) == (False, 3)
    assert contents(tmp_path / "out") == before
    again = contents(tmp_path / "cache")
    assert {name: data for name, (data, _) in again.items()} == {
        name: data for name, (data, _) in stored.items()
    }
    # The time of a manifest says when its artefact was last used; nothing else was touched.
    touched = {name for name, (_, time) in again.items() if time != stored[name][1]}
    assert {Path(name).name for name in touched} <= {"artefact.json"}
    assert_frame_equal(first.rows, second.rows)
    assert second.manifest["sweep_key"] == first.manifest["sweep_key"]


def test_another_folder_of_results_needs_no_new_search(
    tiny: Path, tmp_path: Path, settings: MakeSettings, searches: list[int]
) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", LISTS]))
    first = run_sweep(sweep, out=tmp_path / "out")
    second = run_sweep(sweep, out=tmp_path / "other")
    assert second.fresh
    assert len(searches) == 3
    assert_frame_equal(first.rows, second.rows)


def test_an_interrupted_sweep_goes_on_where_it_stopped(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    searches: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", LISTS, {"ivf-flat": {"nlist": 2}}]))
    calls: list[int] = []
    original = SearchJob.make

    def third_is_stopped(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SearchJob, "make", third_is_stopped)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(sweep, out=tmp_path / "out")
    assert len(searches) == 2
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache" / "tmp").iterdir())
    results = run_sweep(sweep, out=tmp_path / "out")
    assert len(searches) == 4
    assert results.rows["status"].to_list() == ["ok"] * 4
    straight = run_sweep(sweep, out=tmp_path / "straight", store=Store(tmp_path / "fresh"))
    times = [*TIMES, *CIRCUMSTANCES, "train_s", "encode_documents_s", "encode_queries_s"]
    assert_frame_equal(results.rows.drop(times), straight.rows.drop(times))


def test_results_of_another_configuration_are_moved_aside(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    out = tmp_path / "results" / "mine"
    run_sweep(Sweep(**settings(tiny)), out=out)
    kept = [bytes_of(out)]
    for k in (30, 40):  # the second may fall into the same second
        again = run_sweep(Sweep(**settings(tiny, k=k)), out=out)
        assert again.fresh
        moved = Path(again.manifest["earlier_results"])
        assert moved.parent == out.parent
        assert moved.name.startswith("mine-")
        assert bytes_of(moved) == kept[-1]
        kept.append(bytes_of(out))
        assert again.manifest["sweep"]["k"] == k
    folders = [path for path in out.parent.iterdir() if path.is_dir()]
    assert len(folders) == 3
    assert len({path.name for path in folders}) == 3


def test_changed_documents_are_encoded_and_searched_again(
    tiny: Path, tmp_path: Path, settings: MakeSettings, searches: list[int]
) -> None:
    sweep = Sweep(**settings(tiny))
    first = run_sweep(sweep, out=tmp_path / "out").rows
    corpus = tiny / "corpus.jsonl"
    lines = corpus.read_text().splitlines()
    lines[0] = json.dumps({"_id": "d0", "text": "violin flute drum organ choir"})
    corpus.write_text("\n".join(lines) + "\n")
    second = run_sweep(sweep, out=tmp_path / "out")
    assert second.fresh
    assert len(searches) == 2
    assert first["row_id"].to_list() != second.rows["row_id"].to_list()


def test_changed_judgments_are_scored_again_without_a_new_search(
    tiny: Path, tmp_path: Path, settings: MakeSettings, searches: list[int]
) -> None:
    sweep = Sweep(**settings(tiny))
    first = run_sweep(sweep, out=tmp_path / "out").rows
    qrels = tiny / "qrels" / "test.tsv"
    qrels.write_text(qrels.read_text().replace("\t2\n", "\t0\n"))
    second = run_sweep(sweep, out=tmp_path / "out")
    assert second.fresh
    assert len(searches) == 1
    assert second.rows["nDCG@10"][0] < first["nDCG@10"][0]


@pytest.mark.parametrize("name", ["precious.txt", "manifest.json"])
def test_a_folder_that_holds_something_else_is_refused_untouched(
    tiny: Path, tmp_path: Path, cache: Path, settings: MakeSettings, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"not": "ours"}')
    before = contents(out)
    with pytest.raises(InputError, match="choose another folder"):
        run_sweep(Sweep(**settings(tiny)), out=out)
    assert contents(out) == before
    assert not cache.exists()


def test_a_file_in_place_of_the_folder_is_refused_untouched(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(InputError, match="is a file"):
        run_sweep(Sweep(**settings(tiny)), out=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_an_empty_folder_is_used(tiny: Path, tmp_path: Path, settings: MakeSettings) -> None:
    (tmp_path / "out").mkdir()
    assert run_sweep(Sweep(**settings(tiny)), out=tmp_path / "out").rows.height == 1


def test_results_without_a_table_are_made_again(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    sweep = Sweep(**settings(tiny))
    first = run_sweep(sweep, out=tmp_path / "out").rows
    (tmp_path / "out" / "per_query.parquet").unlink()
    second = run_sweep(sweep, out=tmp_path / "out")
    assert second.fresh
    assert_frame_equal(first, second.rows)
    assert second.per_query.height == 12


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def falsify(path: Path) -> None:
    content = json.loads(path.read_text())
    content["meta"]["build_s"] = content["meta"]["missing"] = 7
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "manifests"),
    [
        (flip, 0),
        (falsify, 1),
        *(
            pytest.param(damage, manifests, marks=pytest.mark.slow)
            for damage, manifests in (
                (flip, 1),
                *itertools.product((truncate, Path.unlink), (0, 1)),
            )
        ),
    ],
)
def test_damaged_artefacts_are_made_again(
    tiny: Path,
    tmp_path: Path,
    cache: Path,
    settings: MakeSettings,
    searches: list[int],
    damage: Callable[[Path], None],
    manifests: int,
) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", LISTS]))
    first = run_sweep(sweep, out=tmp_path / "out")
    files = [path for path in cache.rglob("*") if path.is_file()]
    kinds = {path.relative_to(cache).parts[0] for path in files}
    assert {"embeddings", "neighbours", "indexes", "searches", "evaluations"} <= kinds
    for path in files:
        if (path.name == "artefact.json") == manifests:
            damage(path)
    second = run_sweep(sweep, out=tmp_path / "other")
    assert len(searches) == 6
    times = [*TIMES, *CIRCUMSTANCES, "train_s", "encode_documents_s", "encode_queries_s"]
    assert_frame_equal(first.rows.drop(times), second.rows.drop(times))
    assert_frame_equal(first.per_query, second.per_query)
    run_sweep(sweep, out=tmp_path / "third")
    assert len(searches) == 6, "what was made again is whole"


def test_one_seed_gives_the_same_results_twice_but_for_times(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    indexes = ["flat", LISTS, {"faiss-hnsw": {"M": 4, "search": {"ef": 20}}}]
    sweep = Sweep(**settings(tiny, indexes=indexes))
    first, second = (
        run_sweep(sweep, out=tmp_path / name, store=Store(tmp_path / f"{name}-cache"))
        for name in ("one", "two")
    )
    assert first.rows.height == 4
    times = [*TIMES, *CIRCUMSTANCES, "train_s", "encode_documents_s", "encode_queries_s"]
    assert_frame_equal(first.rows.drop(times), second.rows.drop(times))
    assert_frame_equal(first.per_query, second.per_query)
    assert_frame_equal(first.comparisons, second.comparisons)
    assert bytes_of(first.folder / "runs") == bytes_of(second.folder / "runs")


# -- several datasets, odd queries ------------------------------------------------------------


def test_two_datasets_are_two_families(
    tmp_path: Path, settings: MakeSettings, write_collection: Callable[..., Path]
) -> None:
    one = write_collection(tmp_path / "one", seed=1)
    two = write_collection(tmp_path / "two", seed=2, documents=50)
    values = settings("", datasets=[str(one), {str(two): {"label": "second"}}])
    results = run_sweep(Sweep(**{**values, "indexes": ["flat", LISTS]}), out=tmp_path / "out")
    assert results.rows["dataset"].to_list() == ["one"] * 3 + ["second"] * 3
    assert results.rows["row_id"].n_unique() == 6
    families = results.comparisons.group_by("dataset").agg(pl.col("family").unique())
    assert families.height == 2
    for dataset, (family,) in families.iter_rows():
        assert f"dataset {dataset}: 6 comparisons" in family
    alone = run_sweep(
        Sweep(**settings(two, datasets=[{str(two): {"label": "second"}}], indexes=["flat", LISTS])),
        out=tmp_path / "alone",
    )
    both = results.comparisons.filter(pl.col("dataset") == "second")
    assert_frame_equal(both, alone.comparisons)


def test_two_datasets_of_one_name_need_labels(
    tmp_path: Path, settings: MakeSettings, write_collection: Callable[..., Path]
) -> None:
    paths = [write_collection(tmp_path / parent / "same", seed=1) for parent in "ab"]
    with pytest.raises(InputError, match="dataset 'same' stands in the sweep twice"):
        run_sweep(Sweep(**settings("", datasets=[str(path) for path in paths])))
    assert not (tmp_path / "results").exists()


def test_a_query_of_unknown_words_finds_nothing_and_counts_0(
    tmp_path: Path, settings: MakeSettings, write_collection: Callable[..., Path]
) -> None:
    folder = write_collection(tmp_path / "odd", odd_query="xyzzy plugh")
    results = run_sweep(Sweep(**settings(folder, indexes=["flat", LISTS])), out=tmp_path / "out")
    rows = results.rows
    assert rows["n_queries"].to_list() == [12] * 3
    assert rows["queries_without_hits"][0] == 1
    scores = results.per_query.filter(pl.col("query_id") == "q5").select(MEASURES)
    assert scores.rows() == [(0.0, 0.0, 0.0)] * 3
    mean = results.per_query.filter(pl.col("row_id") == rows["row_id"][0])["nDCG@10"].sum() / 12
    assert rows["nDCG@10"][0] == pytest.approx(mean)
    for path in (results.folder / "runs").iterdir():
        assert "q5" not in Run.from_file(path).query_ids


# -- indexes of the user's own ----------------------------------------------------------------

OWN_INDEX = """
    from pathlib import Path

    import numpy as np
    from retrieval_eval import Index


    class BruteForce(Index):
        name = "brute-force"
        metrics = ("cosine", "ip")
        exact = True

        def _build(self, vectors):
            self._vectors = vectors.copy()

        def _bind(self, k, search):
            def call(queries):
                scores = queries @ self._vectors.T
                ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
                return ids, np.take_along_axis(scores, ids, axis=1)

            return call

        def _similarities(self, raw):
            return raw

        def _save(self, folder):
            np.save(folder / "vectors.npy", self._vectors)

        def _load(self, folder):
            self._vectors = np.load(folder / "vectors.npy")


    class Unlucky(BruteForce):
        name = "unlucky"

        def _build(self, vectors):
            if not Path("repaired").exists():
                raise RuntimeError("out of\\nluck")
            super()._build(vectors)


    class NoIndex:
        pass
"""


@pytest.fixture
def own_module(tmp_path: Path) -> Any:
    """Write a module with indexes into the working folder; yield its name."""
    name = "indexes_of_a_user"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(OWN_INDEX))
    yield name
    sys.modules.pop(name, None)


def test_an_index_class_of_the_users_own_runs_as_a_row(
    tiny: Path, tmp_path: Path, settings: MakeSettings, own_module: str
) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", f"{own_module}:BruteForce"]))
    exact, mine = run_sweep(sweep, out=tmp_path / "out").rows.iter_rows(named=True)
    assert (mine["status"], mine["index"]) == ("ok", f"{own_module}:BruteForce")
    assert mine["neighbour_recall@10"] == 1.0
    for measure in MEASURES:
        assert mine[measure] == pytest.approx(exact[measure], abs=1e-12)
    assert mine["size_bytes"] == 60 * 8 * 4 + 128


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("indexes_of_a_user:Missing", "cannot be imported"),
        ("indexes_of_nobody:Index", "cannot be imported"),
        ("indexes_of_a_user:NoIndex", "must be a subclass of Index"),
    ],
)
def test_a_class_that_cannot_serve_is_refused_by_name(
    tiny: Path,
    tmp_path: Path,
    cache: Path,
    settings: MakeSettings,
    own_module: str,
    target: str,
    message: str,
) -> None:
    with pytest.raises(InputError, match=f"'{target}' {message}"):
        run_sweep(Sweep(**settings(tiny, indexes=[target])), out=tmp_path / "out")
    assert not cache.exists()


def test_a_failing_index_costs_its_own_rows_and_is_tried_again(
    tiny: Path, tmp_path: Path, settings: MakeSettings, own_module: str, cli: Cli
) -> None:
    config = tmp_path / "sweep.yaml"
    indexes = ["flat", f"{own_module}:Unlucky", LISTS]
    config.write_text(json.dumps(settings(tiny, indexes=indexes)))  # JSON is YAML too
    code, out, err = cli("run", "--no-page", config, "--out", "out")
    assert code == 3
    assert "Traceback" not in out + err
    assert "out of luck" in out
    rows = pl.read_parquet(tmp_path / "out" / "results.parquet")
    assert rows["status"].to_list() == ["ok", "failed", "ok", "ok"]
    failed = rows.row(1, named=True)
    assert failed["message"].startswith("RuntimeError: out of luck")
    for column in (*MEASURES, "nDCG@10_lo", "neighbour_recall@10", *TIMES, "size_bytes"):
        assert failed[column] is None
    per_query = pl.read_parquet(tmp_path / "out" / "per_query.parquet")
    assert failed["row_id"] not in per_query["row_id"].to_list()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["rows"] == {
        "ok": 3,
        "skipped": 0,
        "failed": 1,
    }
    compared = pl.read_parquet(tmp_path / "out" / "comparisons.parquet")
    assert compared.height == 2 * len(MEASURES)

    assert cli("run", "--no-page", config, "--out", "out")[0] == 3, (
        "a failed row is never taken for finished"
    )
    (tmp_path / "repaired").touch()
    code, out, err = cli("run", "--no-page", config, "--out", "out")
    assert code == 0, err
    again = pl.read_parquet(tmp_path / "out" / "results.parquet")
    assert again["status"].to_list() == ["ok"] * 4
    assert again["row_id"].to_list() == rows["row_id"].to_list()
    for measure in MEASURES:
        assert again[measure][1] == pytest.approx(again[measure][0], abs=1e-12)


def test_a_sweep_without_any_row_that_works_is_an_error(
    tiny: Path, tmp_path: Path, settings: MakeSettings, own_module: str
) -> None:
    sweep = Sweep(**settings(tiny, indexes=[f"{own_module}:Unlucky"]))
    with pytest.raises(RetrievalEvalError, match=r"no row .* could be run: RuntimeError: out of"):
        run_sweep(sweep, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- libraries that are not installed ---------------------------------------------------------


@pytest.fixture
def no_hnswlib(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name == "hnswlib" else original(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_a_missing_library_is_named_before_any_work(
    tiny: Path, tmp_path: Path, cache: Path, settings: MakeSettings, no_hnswlib: None
) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'ann-retrieval-eval\[hnsw\]'"):
        run_sweep(Sweep(**settings(tiny, indexes=["flat", "hnsw"])), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not cache.exists()


def test_rows_of_a_missing_library_are_skipped_on_request_and_stay_empty(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    no_hnswlib: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    indexes = ["flat", {"hnsw": {"search": {"ef": [20, 40]}}}, LISTS]
    sweep = Sweep(**settings(tiny, indexes=indexes))
    results = run_sweep(sweep, out=tmp_path / "out", skip_unavailable=True)
    assert results.rows["status"].to_list() == ["ok", "skipped", "skipped", "ok", "ok"]
    assert results.failed == 0
    skipped = results.rows.filter(pl.col("status") == "skipped")
    empty = (*MEASURES, "R@20_lo", "R@20_hi", "neighbour_recall@10", *TIMES, "size_bytes")
    for column in (*empty, "n_queries", "queries_without_hits"):
        assert skipped[column].null_count() == 2, column
    assert all("ann-retrieval-eval[hnsw]" in message for message in skipped["message"])
    assert set(skipped["row_id"]).isdisjoint(results.per_query["row_id"])
    results.show()
    out = capsys.readouterr().out
    assert "skipped" in out
    assert "ann-retrieval-eval[hnsw]" in out


def test_an_installed_library_is_no_longer_skipped(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    no_hnswlib: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = Sweep(**settings(tiny, indexes=["flat", "hnsw"]))
    run_sweep(sweep, out=tmp_path / "out", skip_unavailable=True)
    monkeypatch.undo()  # also of the cache, so it is named below
    pytest.importorskip("hnswlib", reason="hnswlib is not installed: extra 'hnsw'")
    again = run_sweep(
        sweep, out=tmp_path / "out", store=Store(tmp_path / "cache"), skip_unavailable=True
    )
    assert again.rows["status"].to_list() == ["ok", "ok"]


def test_a_reference_that_is_skipped_leaves_rows_without_comparison(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    no_hnswlib: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = settings(tiny, indexes=["flat", "hnsw"], compare={"reference": "hnsw", "draws": 200})
    results = run_sweep(Sweep(**values), out=tmp_path / "out", skip_unavailable=True)
    assert results.rows["status"].to_list() == ["ok", "skipped"]
    assert results.comparisons.height == 0
    results.show()
    assert "flat" in capsys.readouterr().out


def test_a_sweep_of_nothing_but_skipped_rows_is_an_error(
    tiny: Path, tmp_path: Path, settings: MakeSettings, no_hnswlib: None
) -> None:
    with pytest.raises(RetrievalEvalError, match=r"no row .* 'hnswlib', which is not installed"):
        run_sweep(
            Sweep(**settings(tiny, indexes=["hnsw"])), out=tmp_path / "out", skip_unavailable=True
        )
    assert not (tmp_path / "out").exists()


def test_without_a_reference_nothing_is_compared_and_the_table_says_so(
    tiny: Path, tmp_path: Path, settings: MakeSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    results = run_sweep(Sweep(**settings(tiny, indexes=[LISTS])), out=tmp_path / "out")
    assert results.comparisons.height == 0
    results.show()
    assert "compare.reference" in capsys.readouterr().out


def test_a_folder_of_results_can_be_moved_and_read(
    tiny: Path, tmp_path: Path, settings: MakeSettings
) -> None:
    first = run_sweep(Sweep(**settings(tiny)), out=tmp_path / "out")
    rows = first.rows
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    assert_frame_equal(Results(tmp_path / "elsewhere", first.manifest, fresh=False).rows, rows)
    with pytest.raises(InputError, match=r"results.parquet: cannot be read"):
        _ = first.rows


def test_an_edited_class_of_ones_own_is_built_and_searched_again(
    tiny: Path, tmp_path: Path, settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "edited_backend.py"
    text = "from retrieval_eval.indexes.flat import FlatIndex\n\nclass Mine(FlatIndex):\n    {}\n"
    monkeypatch.syspath_prepend(str(tmp_path))
    keys = []
    for body in ("name = 'mine'", "name = 'mine'  # edited", "name = 'mine'"):
        module.write_text(text.format(body))
        monkeypatch.delitem(sys.modules, "edited_backend", raising=False)
        importlib.invalidate_caches()
        sweep = Sweep(**settings(tiny, indexes=["flat", "edited_backend:Mine"]))
        results = run_sweep(sweep, out=tmp_path / "out", store=Store(tmp_path / "store"))
        keys.append(results.rows["row_id"].to_list())
    assert keys[0] == keys[2] != keys[1]
    assert keys[0][0] == keys[1][0]  # the other row's index is what it was
