"""The command line: results on stdout, one clear line on stderr, exit codes that hold."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval import __version__
from retrieval_eval.evaluation import evaluate
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

Cli = Callable[..., tuple[int, str, str]]
MakeSettings = Callable[..., dict[str, Any]]
Change = Callable[[Path, dict[str, Any]], None]

COMMAND = [sys.executable, "-m", "retrieval_eval"]


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Return a function that writes a sweep file; JSON is YAML too."""

    def write(values: dict[str, Any]) -> Path:
        path = tmp_path / "sweep.yaml"
        path.write_text(json.dumps(values, indent=1), encoding="utf-8")
        return path

    return write


def assert_refused(answer: tuple[int, str, str], *parts: str) -> None:
    code, out, err = answer
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    for part in parts:
        assert part in err


# -- bad sweeps -------------------------------------------------------------------------------


def set_key(**changes: Any) -> Change:
    def change(_: Path, values: dict[str, Any]) -> None:
        values.update(changes)

    return change


def unknown_document(tiny: Path, _: dict[str, Any]) -> None:
    with (tiny / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q3\tnowhere\t1\n")


def empty_corpus(tiny: Path, _: dict[str, Any]) -> None:
    (tiny / "corpus.jsonl").write_text("")


def empty_query(tiny: Path, _: dict[str, Any]) -> None:
    path = tiny / "queries.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = json.dumps({"_id": "q4", "text": "  "})
    path.write_text("\n".join(lines) + "\n")


def broken_json(tiny: Path, _: dict[str, Any]) -> None:
    path = tiny / "corpus.jsonl"
    lines = path.read_text().splitlines()
    lines[6] = lines[6][:-5]
    path.write_text("\n".join(lines) + "\n")


def vectors(
    documents: int = 60, *, nan_row: int | None = None, zero_row: int | None = None
) -> Change:
    def change(tiny: Path, values: dict[str, Any]) -> None:
        rng = np.random.default_rng(1)
        table = rng.normal(size=(documents, 8)).astype(np.float32)
        if nan_row is not None:
            table[nan_row, 3] = np.nan
        if zero_row is not None:
            table[zero_row] = 0
        np.save(tiny / "documents.npy", table)
        np.save(tiny / "queries.npy", rng.normal(size=(12, 8)).astype(np.float32))
        paths = {name: str(tiny / f"{name}.npy") for name in ("documents", "queries")}
        values["encoders"] = [{"precomputed": paths}]

    return change


BAD_SWEEPS: dict[str, tuple[Change, list[str]]] = {
    "unknown key": (
        set_key(mesures=["AP"]),
        ["sweep.yaml:", "unknown key 'mesures'. Did you mean 'measures'?"],
    ),
    "unknown index": (
        set_key(indexes=["falt"]),
        ["unknown index 'falt'. Did you mean 'flat'?", "ivf-pq"],
    ),
    "unknown encoder": (
        set_key(encoders=["lsi"]),
        ["unknown encoder 'lsi'. Did you mean 'lsa'?"],
    ),
    "unknown dataset": (set_key(datasets=["stdlob"]), ["'stdlob'. Did you mean 'stdlib'?"]),
    "unknown measure": (
        set_key(measures=["ndcg@10"]),
        ["unknown measure 'ndcg'. Did you mean 'nDCG'?"],
    ),
    "unknown parameter of an encoder": (
        set_key(encoders=[{"lsa": {"dims": 8}}]),
        ["encoder 'lsa'", "unknown parameter 'dims'. Did you mean 'dim'?"],
    ),
    "unknown build parameter": (
        set_key(indexes=[{"ivf-flat": {"nlists": 4}}]),
        ["index 'ivf-flat'", "unknown parameter 'nlists'. Did you mean 'nlist'?"],
    ),
    "unknown search parameter": (
        set_key(indexes=[{"ivf-flat": {"nlist": 4, "search": {"probe": 1}}}]),
        ["index 'ivf-flat', search", "unknown parameter 'probe'. Did you mean 'nprobe'?"],
    ),
    "empty grid": (set_key(indexes=[{"ivf-flat": {"nlist": []}}]), ["'nlist'", "empty list"]),
    "m not dividing the dimension": (
        set_key(indexes=[{"ivf-pq": {"nlist": 2, "m": 3, "nbits": 4}}]),
        ["m is 3", "dimension 8", "1, 2, 4, 8"],
    ),
    "more lists than documents": (
        set_key(indexes=[{"ivf-flat": {"nlist": 61}}]),
        ["nlist is 61", "60"],
    ),
    "dimension above the corpus": (set_key(encoders=[{"lsa": {"dim": 60}}]), ["dim is 60", "60"]),
    "k above the corpus": (set_key(k=61), ["k is 61", "'tiny'", "60 documents"]),
    "measure deeper than k": (set_key(measures=["R@21"]), ["R@21", "k is 20"]),
    "margin of another measure": (
        set_key(compare={"margin": {"RR@5": 0.1}}),
        ["'RR@5'", "Did you mean 'RR@10'?"],
    ),
    "reference that names nothing": (
        set_key(compare={"reference": "falt"}),
        ["compare.reference", "'falt'. Did you mean 'flat'?"],
    ),
    "reference that names several": (
        set_key(
            indexes=["flat", {"ivf-flat": {"nlist": [2, 4]}}], compare={"reference": "ivf-flat"}
        ),
        ["compare.reference", "names 2 configurations", "'ivf-flat nlist=2'"],
    ),
    "index twice": (set_key(indexes=["flat", "flat"]), ["'flat'", "twice"]),
    "unknown document in the judgments": (
        unknown_document,
        ["test.tsv:", "'nowhere'", "unknown_documents"],
    ),
    "empty corpus": (empty_corpus, ["corpus.jsonl", "empty"]),
    "empty query": (empty_query, ["queries.jsonl:5:", "'q4'", "no text"]),
    "broken line": (broken_json, ["corpus.jsonl:7:", "not valid JSON"]),
    "NaN in a vector": (vectors(nan_row=7), ["'d7'", "row 7", "NaN"]),
    "zero vector": (vectors(zero_row=9), ["'d9'", "row 9", "zero"]),
    "wrong number of vectors": (vectors(documents=59), ["documents.npy", "59 vectors", "60"]),
    "vectors that are not there": (
        set_key(encoders=[{"precomputed": {"documents": "x.npy", "queries": "y.npy"}}]),
        ["x.npy", "no such file"],
    ),
}


@pytest.mark.parametrize("case", BAD_SWEEPS)
def test_bad_input_is_one_line_exit_code_2_and_no_results(
    case: str,
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
    cli: Cli,
) -> None:
    change, parts = BAD_SWEEPS[case]
    values = settings(tiny)
    change(tiny, values)
    assert_refused(cli("run", "--no-page", write_sweep(values)), *parts)
    assert not list(tmp_path.glob("results/[!.]*"))
    assert not list(tmp_path.glob(".tiny-sweep*"))


def test_bad_input_of_a_real_process_is_one_line_without_a_traceback(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
) -> None:
    path = write_sweep(settings(tiny, indexes=["falt"]))
    done = subprocess.run(
        [*COMMAND, "run", "--no-page", path],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert_refused((done.returncode, done.stdout, done.stderr), "unknown index 'falt'")
    assert not list(tmp_path.glob("results/[!.]*"))


def test_a_cache_that_cannot_be_written_is_one_line(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
    cli: Cli,
) -> None:
    (tmp_path / "file").write_text("no folder")
    answer = cli("run", "--no-page", write_sweep(settings(tiny)), "--cache", tmp_path / "file")
    assert_refused(answer, str(tmp_path / "file"), "RETRIEVAL_EVAL_CACHE")


# -- sweeps -----------------------------------------------------------------------------------


def test_a_sweep_prints_its_table_alone_on_stdout_and_no_bar_into_a_pipe(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
) -> None:
    path = write_sweep(settings(tiny, indexes=["flat", {"ivf-flat": {"nlist": 4}}]))
    environment = {**os.environ, "COLUMNS": "40"}
    done = subprocess.run(
        [*COMMAND, "run", "--no-page", path, "--out", "out"],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for name in ("flat", "ivf-flat nlist=4", "nDCG@10", "RR@10", "R@20"):
        assert name in done.stdout, "a pipe's table is never cut"
    assert (tmp_path / "out" / "results.parquet").is_file()
    for text in (done.stdout, done.stderr):
        assert "\x1b" not in text
        assert "\r" not in text
    assert not re.search("[━╸╺█]", done.stderr)
    assert "encoding" not in done.stdout + done.stderr
    assert "2 ok" in done.stderr


def test_a_sweep_writes_below_results_by_default_and_says_so_again(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
    cli: Cli,
) -> None:
    path = write_sweep(settings(tiny))
    code, first, err = cli("run", path)
    assert code == 0
    assert "1 ok" in err
    folder = tmp_path / "results" / "tiny-sweep"
    assert (folder / "manifest.json").is_file()
    assert "page: results/tiny-sweep/report.html" in err
    page = folder / "report.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    code, second, err = cli("run", path)
    assert (code, second) == (0, first)
    assert "no work was done again" in err
    assert "page:" not in err
    page.unlink()
    assert "page:" not in cli("run", path, "--no-page")[2]
    assert not page.exists()


def test_stopped_while_its_page_is_made_it_keeps_its_results_and_makes_it_later(
    tiny: Path,
    tmp_path: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    path = write_sweep(settings(tiny))
    with monkeypatch.context() as patch:
        patch.setattr("retrieval_eval.sweep.Results.write_page", stopped)
        code, _, err = cli("run", path)
    assert code == 130
    assert "run it again to go on" in err
    folder = tmp_path / "results" / "tiny-sweep"
    assert (folder / "results.parquet").is_file()
    code, _, err = cli("run", path)
    assert code == 0
    assert "no work was done again" in err
    assert (folder / "report.html").is_file()


def test_a_finished_sweep_does_not_promise_that_another_folder_measures_afresh(
    tiny: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
    cli: Cli,
) -> None:
    path = write_sweep(settings(tiny))
    cli("run", "--no-page", path)
    _, _, said = cli("run", "--no-page", path)
    _, first, _ = cli("run", "--no-page", path, "--out", "first")
    _, second, _ = cli("run", "--no-page", path, "--out", "second")
    measured_afresh = first.replace("first", "second") != second
    assert ("--out" in said) == measured_afresh


def test_set_cache_and_out_reach_the_sweep(
    tiny: Path,
    tmp_path: Path,
    cache: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
    cli: Cli,
) -> None:
    path = write_sweep(settings(tiny))
    options = ["--set", "k=30", "--set", "measures=[R@30]", "--set", "timing.repeats=2"]
    code, out, err = cli(
        "run", "--no-page", path, *options, "--cache", "own-cache", "--out", "deep/out"
    )
    assert code == 0, err
    assert "R@30" in out
    assert "RR@10" not in out
    manifest = json.loads((tmp_path / "deep" / "out" / "manifest.json").read_text())
    assert (manifest["sweep"]["k"], manifest["sweep"]["timing"]["repeats"]) == (30, 2)
    assert (tmp_path / "own-cache" / "embeddings").is_dir()
    assert not cache.exists()


def test_a_dry_run_prints_the_rows_and_does_no_work(
    tiny: Path,
    tmp_path: Path,
    cache: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
    cli: Cli,
) -> None:
    indexes = ["flat", {"ivf-flat": {"nlist": [2, 4], "search": {"nprobe": [1, 2]}}}]
    code, out, _ = cli(
        "run", "--no-page", write_sweep(settings(tiny, indexes=indexes)), "--dry-run"
    )
    assert code == 0
    for name in ("flat", *(f"nlist={n} nprobe={p}" for n in (2, 4) for p in (1, 2))):
        assert name in out
    assert not list(tmp_path.glob("results/[!.]*"))
    assert not (cache / "embeddings").exists()
    assert not (cache / "indexes").exists()


def test_a_dry_run_of_a_bad_sweep_is_refused_like_the_run(
    tiny: Path,
    settings: MakeSettings,
    write_sweep: Callable[[dict[str, Any]], Path],
    cli: Cli,
) -> None:
    path = write_sweep(settings(tiny, k=61))
    assert_refused(cli("run", "--no-page", path, "--dry-run"), "k is 61")


# -- run files --------------------------------------------------------------------------------


def test_evaluate_as_json_has_the_documented_shape(files: Path, cli: Cli) -> None:
    measures = ["-m", "nDCG@10", "-m", "RR"]
    code, out, err = cli(
        "evaluate", "qrels.txt", "good.trec", "poor.trec.gz", *measures, "--format", "json", "-q"
    )
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert set(content) == {"qrels", "options", "runs"}
    assert content["qrels"] == "qrels.txt"
    assert [run["name"] for run in content["runs"]] == ["good", "poor"]
    qrels = Qrels.from_file("qrels.txt")
    for run, path in zip(content["runs"], ("good.trec", "poor.trec.gz"), strict=True):
        scored = evaluate(qrels, Run.from_file(path), ["nDCG@10", "RR"])
        assert run["n_queries"] == 3
        assert set(run["measures"]) == set(run["per_query"]) == {"nDCG@10", "RR"}
        for name, facts in run["measures"].items():
            assert set(facts) == {"mean", "ci95"}
            assert facts["mean"] == scored.means[name], "nothing is rounded"
            low, high = facts["ci95"]
            assert low <= facts["mean"] <= high
            assert run["per_query"][name] == dict(
                zip(scored.query_ids, scored.per_query(name).tolist(), strict=True)
            )
    good, poor = content["runs"]
    assert good["measures"]["RR"] == {"mean": 1.0, "ci95": [1.0, 1.0]}
    assert poor["per_query"]["RR"] == {"q1": 0.5, "q2": 0.5, "q3": 0.0}


def test_evaluate_without_q_leaves_queries_out(files: Path, cli: Cli) -> None:
    _, out, _ = cli("evaluate", "qrels.txt", "good.trec", "--format", "json")
    (run,) = json.loads(out)["runs"]
    assert "per_query" not in run
    assert list(run["measures"]) == ["nDCG@10", "RR@10", "R@100"]


def test_evaluate_prints_a_table_with_means_and_unanswered_queries(files: Path, cli: Cli) -> None:
    code, out, err = cli("evaluate", "qrels.txt", "good.trec", "poor.trec.gz", "-m", "RR@10", "-q")
    assert code == 0
    assert err.startswith("means over all judged queries, those not answered as 0")
    good = next(line for line in out.splitlines() if line.lstrip().startswith("good"))
    poor = next(line for line in out.splitlines() if line.lstrip().startswith("poor"))
    assert "1.0000" in good
    assert "0.3333" in poor
    assert "1 of 3" in poor
    assert {"q1", "q2", "q3"} <= set(out.split())


def test_one_seed_gives_one_output(files: Path, cli: Cli) -> None:
    words = ["evaluate", "qrels.txt", "poor.trec.gz", "--format", "json", "--seed", "5"]
    assert cli(*words) == cli(*words)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["evaluate", "qrels.txt", "strange.trec"], ["strange.trec", "none of the 3"]),
        (["evaluate", "qrels.txt", "good.trec", "-m", "ndgc@10"], ["'ndgc'", "nDCG"]),
        (["evaluate", "qrels.txt", "good.trec", "-m", "P@ten"], ["'P@ten'", "'ten'"]),
        (["evaluate", "qrels.txt", "missing.trec"], ["missing.trec", "no such file"]),
        (["evaluate", "missing.txt", "good.trec"], ["missing.txt", "no such file"]),
        (["evaluate", "good.trec", "qrels.txt"], ["good.trec:1", "4 columns"]),
        (["evaluate", "qrels.txt", "qrels.txt"], ["qrels.txt:1", "6 columns"]),
        (["evaluate", ".", "good.trec"], ["cannot be read"]),
        (["run", "missing.yaml"], ["missing.yaml", "no such file"]),
        (["run", "quikstart"], ["'quikstart'", "quickstart"]),
        (["run", "quickstart", "--set", "k"], ["--set 'k'"]),
    ],
)
def test_bad_words_are_one_line(files: Path, cli: Cli, words: list[str], parts: list[str]) -> None:
    assert_refused(cli(*words), *parts)


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate"],
        ["evaluate", "qrels.txt"],
        ["list", "everything"],
        ["evaluate", "qrels.txt", "good.trec", "--format", "xml"],
        ["evaluate", "qrels.txt", "good.trec", "--seed", "-1"],
        ["walk"],
        ["run", "quickstart", "--fast"],
    ],
)
def test_wrong_usage_exits_2_and_prints_nothing_on_stdout(
    files: Path, cli: Cli, words: list[str]
) -> None:
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


# -- the rest ---------------------------------------------------------------------------------


def test_runs_of_one_name_from_two_folders_can_be_told_apart(files: Path, cli: Cli) -> None:
    text = (files / "good.trec").read_text()
    for folder in ("one", "two"):
        (files / folder).mkdir()
        (files / folder / "bm25.trec").write_text(text.replace("1.5", "1.25"))
    code, out, err = cli(
        "evaluate", "qrels.txt", "one/bm25.trec", "two/bm25.trec", "-m", "RR", "--format", "json"
    )
    if code == 0:
        names = [run["name"] for run in json.loads(out)["runs"]]
        assert len(set(names)) == 2
    else:
        assert_refused((code, out, err), "bm25")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("datasets", ["stdlib", "beir-scifact", "5,183", "sift-128-euclidean", "PSF-2.0"]),
        ("sources", ["stdlib", "beir", "path", "unknown_documents"]),
        ("encoders", ["lsa", "dim", "precomputed", "sentence-transformers", "wordllama"]),
        ("combiners", ["rrf", "weighted", "cross-encoder", "normalisation"]),
        ("indexes", ["flat", "hnsw", "search.ef", "ivf-pq", "nlist", "nprobe", "ef_construction"]),
        ("measures", ["nDCG@k", "RR@k", "R@k", "P@k", "AP"]),
        ("tests", ["randomization"]),
    ],
)
def test_list_names_what_can_be_named(cli: Cli, what: str, expected: list[str]) -> None:
    code, out, err = cli("list", what)
    assert (code, err) == (0, "")
    for name in expected:
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", out), name


LIST_ALL = """
import contextlib, json, sys
from retrieval_eval.cli import main

for what in ("datasets", "encoders", "indexes", "measures", "tests"):
    sys.argv = ["retrieval-eval", "list", what]
    with contextlib.suppress(SystemExit):
        main()
heavy = {"torch", "faiss", "sklearn", "hnswlib", "wordllama", "sentence_transformers"}
print(json.dumps(sorted(heavy & set(sys.modules))), file=sys.stderr)
"""


def test_listing_loads_no_heavy_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIST_ALL], check=False, capture_output=True, text=True, timeout=120
    )
    assert "ivf-pq" in done.stdout
    assert json.loads(done.stderr) == []


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli("--version") == (0, f"{__version__}\n", "")


def test_no_arguments_print_the_help() -> None:
    done = subprocess.run(COMMAND, check=False, capture_output=True, text=True, timeout=120)
    printed = done.stdout + done.stderr
    for verb in ("run", "evaluate", "compare", "list", "Usage"):
        assert verb in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("verb", ["run", "evaluate", "compare", "list"])
def test_every_verb_explains_itself(cli: Cli, verb: str) -> None:
    code, out, err = cli(verb, "--help")
    assert (code, err) == (0, "")
    assert "Usage" in out
