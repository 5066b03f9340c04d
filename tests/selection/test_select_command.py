"""``retrieval-eval select``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_eval.cli import select as verb
from retrieval_eval.selection import SweepTables

assert verb  # its import registers the verb

Cli = Callable[..., tuple[int, str, str]]
Make = Callable[..., SweepTables]
LOSSES = {"good": 0.0, "fair": 0.004, "poor": 0.06}
COSTS = {"good": 0.5, "fair": 0.3, "poor": 0.1}


@pytest.fixture
def folder(sweep: Make, written: Callable[..., Path]) -> Path:
    return written(sweep(LOSSES, COSTS), {"nDCG@10": 0.02})


def test_table_exit_code_and_legend(cli: Cli, folder: Path) -> None:
    code, out, err = cli("select", folder)
    assert code == 0
    assert "fair" in out.splitlines()[2]
    assert "news | lsa: fair loses less than 0.02 nDCG@10 against lsa | flat" in err
    assert "at 0.3 x its latency_p95_s" in err
    assert "the margin, 0.02 nDCG@10, is the sweep's" in err


def test_a_no_is_exit_code_1(cli: Cli, folder: Path) -> None:
    code, out, err = cli("select", folder, "--margin", "0.0001")
    assert code == 1
    assert "none" in out
    assert "nothing can be certified" in err
    code, _, err = cli("select", folder, "--where", "latency_p95_s < 0.001")
    assert code == 1
    assert "nothing to certify" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "latncy_p95_s <= 1"], "Did you mean 'latency_p95_s'"),
        (["--dataset", "nws"], "Did you mean 'news'"),
        (["--format", "latex"], "latex"),
        (["--front", "speed"], "unknown criterion 'speed'"),
        (["--front", "qps", "--format", "csv"], "needs another form"),
    ],
)
def test_bad_input_is_exit_code_2(
    cli: Cli, folder: Path, arguments: list[str], message: str
) -> None:
    code, out, err = cli("select", folder, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_folders_without_results_are_refused(cli: Cli, folder: Path) -> None:
    code, _, err = cli("select", folder / "none")
    assert code == 2
    assert "no results of a sweep here" in err
    (folder / "per_query.parquet").write_bytes(b"no")
    assert "per_query.parquet: cannot be read" in cli("select", folder)[2]
    (folder / "manifest.json").write_text("{}")
    assert "no manifest of format 1" in cli("select", folder)[2]
    (folder / "manifest.json").write_text("{")
    assert "manifest.json: cannot be read" in cli("select", folder)[2]


def test_json_holds_everything(cli: Cli, folder: Path) -> None:
    front = ["--front", "nDCG@10,latency_p95_s"]
    code, out, _ = cli("select", folder, "--format", "json", "--seed", 2, *front)
    found = json.loads(out)
    assert code == 0
    assert found["certified"]
    assert found["options"]["margin"] == 0.02
    (answer,) = found["answers"]
    assert answer["chosen"]["configuration"] == "fair"
    assert answer["certificate"]["p_adjusted"] <= 0.05
    assert len(answer["chosen"]["optimism"]) == 1
    assert [one["outcome"] for one in answer["candidates"]] == ["certified", "chosen", "screened"]
    parts = found["queries"]["news"]
    assert len(parts["tuning"]) == len(parts["held_out"]) == 200
    assert len(found["fronts"][0]["rows"]) >= 3


def test_csv_has_a_row_for_each_candidate(cli: Cli, folder: Path) -> None:
    _, out, _ = cli("select", folder, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [one["outcome"] for one in rows] == ["reference", "certified", "chosen", "screened"]
    assert rows[3]["held_out_p"] == ""
    assert float(rows[2]["held_out_p"]) <= 0.05
    assert float(rows[2]["cost"]) == 0.3


def test_markdown_puts_the_decision_first(cli: Cli, folder: Path) -> None:
    _, out, err = cli("select", folder, "--format", "markdown")
    assert out.startswith("### ✅ news \\| lsa: fair loses less than 0.02")
    assert err == ""
    assert cli("select", folder, "--margin", "0.0001", "--format", "markdown")[1].startswith(
        "### ❌"
    )


def test_several_datasets_in_every_form(
    cli: Cli, sweep: Make, together: Make, written: Callable[..., Path]
) -> None:
    both = together(sweep(LOSSES, COSTS), sweep(LOSSES, COSTS, dataset="poetry"))
    where = written(both)
    for form in ("table", "json", "csv", "markdown"):
        code, out, _ = cli("select", where, "--margin", "0.02", "--format", form)
        assert code == 0
        assert "poetry" in out
    _, _, err = cli("select", where, "--margin", "0.02")
    assert "the chance that any certificate is false is at most 0.05" in err
    assert "each test is at level 0.025" in err
