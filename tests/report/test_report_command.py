"""The verb ``report``: the answer, tables and figures of a finished sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from retrieval_eval import Results, Sweep
from retrieval_eval.store import Store

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("reported")
    lists = {"ivf-flat": {"nlist": 16, "search": {"nprobe": [1, 4]}}}
    sweep = Sweep(
        name="reported",
        datasets=["stdlib"],
        encoders=[{"hashing": {"dim": 32}}],
        indexes=["flat", lists],
        compare={"draws": 200, "margin": {"nDCG@10": 0.05}},
        timing={"repeats": 1, "latency_queries": 5, "batch_queries": 5, "memory": False},
    )
    return sweep.run(out=folder / "out", store=Store(folder / "store"), progress=False)


def test_the_answer_is_in_words_and_on_a_page(finished: Results, cli: Cli) -> None:
    code, out, err = cli("report", finished.folder)
    assert (code, err) == (0, f"page: {finished.folder / 'report.html'}\n")
    assert (finished.folder / "report.html").read_text().startswith("<!doctype html>")
    assert "stdlib | hashing" in out
    assert "0.05 nDCG@10" in out


@pytest.mark.parametrize("table", ["leaderboard", "per_query", "comparisons"])
def test_a_table_goes_to_standard_output(finished: Results, cli: Cli, table: str) -> None:
    code, out, err = cli("report", finished.folder, "--format", "csv", "--table", table)
    assert (code, err) == (0, "")
    frame = {"leaderboard": finished.rows}.get(table)
    expected = getattr(finished, table) if frame is None else frame
    assert len(pl.read_csv(out.encode(), infer_schema_length=None)) == len(expected)


def test_a_file_gets_the_form_of_its_suffix(finished: Results, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "table.tex"
    assert cli("report", finished.folder, "--out", path, "--groups")[0] == 0
    assert "\\toprule" in path.read_text(encoding="utf-8")


def test_figures_are_drawn_of_what_was_measured(
    finished: Results, cli: Cli, tmp_path: Path
) -> None:
    code, _, err = cli("report", finished.folder, "--figures", tmp_path / "f")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "f").iterdir()} == {
        "tradeoff-latency_p95_s.svg",
        "tradeoff-qps.svg",
        "tradeoff-size_bytes.svg",
        "tradeoff-build_s.svg",
        "recall-against-quality.svg",
        "curve-nprobe-nDCG-at-10.svg",
        "curve-nprobe-latency_p95_s.svg",
        "differences-1.svg",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "latex", "--column", "nDCG@01"], "Did you mean 'nDCG@10'"),
        (["--format", "csv", "--label", "x"], "label: has no effect"),
        (["--out", "table.docx"], "suffix must be one of"),
        (["--intervals", "none"], "--intervals has no effect without --format or --out"),
        (["--theme", "dark"], "--theme has no effect without --figures"),
        (["--format", "csv", "--margin", "0.1"], "--margin has no effect but on the answer"),
    ],
)
def test_what_cannot_be_is_refused(
    finished: Results, cli: Cli, words: list[str], said: str
) -> None:
    code, out, err = cli("report", finished.folder, *words)
    assert (code, out) == (2, "")
    assert said in err


def test_a_folder_without_results_is_refused(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("report", tmp_path)
    assert code == 2
    assert "holds no results" in err
