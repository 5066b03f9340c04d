"""``retrieval-eval fuse``: the file it writes, what it prints, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_eval import Qrels, Run
from retrieval_eval.cli import app, fuse  # noqa: F401  # the import registers the verb
from retrieval_eval.combiners import cross_fit, fuse_comb, fuse_reciprocal_rank, fuse_weighted

Cli = Callable[..., tuple[int, str, str]]


def runs_of(*names: str) -> list[Run]:
    return [Run.from_file(name) for name in names]


def test_runs_become_one_file(files: Path, cli: Cli) -> None:
    code, out, err = cli("fuse", "good.trec", "poor.trec.gz", "-o", "fused.run")
    assert (code, out) == (0, "")
    assert err == "fused.run: 6 documents for 3 queries\n"
    expected = fuse_reciprocal_rank(runs_of("good.trec", "poor.trec.gz"))
    assert Run.from_file("fused.run").to_mapping() == expected.to_mapping()
    first = Path("fused.run").read_text().splitlines()[0].split()
    assert (first[0], first[2], first[3], first[5]) == ("q1", "b", "1", "fused")


def test_parameters_and_depth_reach_the_combiner(files: Path, cli: Cli) -> None:
    words = ("good.trec", "poor.trec.gz", "--method", "comb", "--set", "method=max", "-k", "1")
    code, _, _ = cli(
        "fuse", *words, "--set", "normalisation=rank", "-o", "a.trec.gz", "--name", "m"
    )
    assert code == 0
    runs = runs_of("good.trec", "poor.trec.gz")
    found = Run.from_file("a.trec.gz")
    assert found.to_mapping() == fuse_comb(runs, "max", "rank").top(1).to_mapping()


def test_fixed_weights_are_printed_as_they_were_used(files: Path, cli: Cli) -> None:
    weights = "weights={good: 0.75, poor: 0.25}"
    words = ("good.trec", "poor.trec.gz", "--method", "weighted", "--set", weights)
    code, out, _ = cli("fuse", *words, "-o", "fused.parquet")
    assert code == 0
    assert json.loads(out) == {"runs": ["good", "poor"], "weights": [0.75, 0.25]}
    expected = fuse_weighted(runs_of("good.trec", "poor.trec.gz"), [0.75, 0.25])
    assert Run.from_file("fused.parquet").to_mapping() == expected.to_mapping()


def test_weights_are_tuned_on_other_queries(files: Path, cli: Cli) -> None:
    words = ("many.run", "some.run", "--method", "weighted", "--set", "folds=4", "--seed", "7")
    code, out, _ = cli("fuse", *words, "--qrels", "forty.txt", "-o", "fused.run")
    assert code == 0
    fitted = cross_fit(
        runs_of("many.run", "some.run"), Qrels.from_file("forty.txt"), folds=4, seed=7
    )
    assert json.loads(out) == fitted.facts(["many", "some"])
    assert Run.from_file("fused.run").to_mapping() == fitted.run.to_mapping()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["good.trec"], "combiner 'rrf' takes 2 or more runs, got 1"),
        (["good.trec", "other.run", "--method", "rff"], "Did you mean 'rrf'"),
        (["good.trec", "other.run", "--set", "k"], "--set 'k': expected key=value"),
        (["good.trec", "other.run", "--set", "k={"], "the value is not valid YAML"),
        (["good.trec", "other.run", "--set", "kk=3"], "unknown parameter 'kk'. Did you mean 'k'"),
        (["good.trec", "other.run", "--qrels", "qrels.txt"], "uses no judgments: remove it"),
        (["good.trec", "none.trec"], "none.trec: there is no such file"),
        (["good.trec", "other.run", "--method", "weighted"], "no judgments to tune them by"),
        (
            ["good.trec", "--method", "cross-encoder", "--set", "model=m"],
            "reads the texts of queries and documents, which run files do not hold",
        ),
    ],
)
def test_what_cannot_be_fused_is_one_line_and_no_file(
    files: Path, cli: Cli, words: list[str], message: str
) -> None:
    code, out, err = cli("fuse", *words, "-o", "fused.run")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    assert message in err
    assert not Path("fused.run").exists()


@pytest.mark.parametrize("name", ["a.json", "a.jsonl.gz", "a.csv", "a.parquet.zst"])
def test_a_form_that_is_not_written_is_refused(files: Path, cli: Cli, name: str) -> None:
    code, _, err = cli("fuse", "good.trec", "other.run", "-o", name)
    assert code == 2
    assert f"error: --out {name}: runs are written as TREC runs" in err
    assert not Path(name).exists()


def test_a_run_is_never_written_over(files: Path, cli: Cli) -> None:
    before = Path("good.trec").read_text()
    code, _, err = cli("fuse", "good.trec", "other.run", "-o", "./good.trec")
    assert code == 2
    assert "is one of the runs: give another name" in err
    assert Path("good.trec").read_text() == before
