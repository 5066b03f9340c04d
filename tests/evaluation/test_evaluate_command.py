from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from retrieval_eval import EvaluationOptions, Evaluator
from retrieval_eval.cli import app
from retrieval_eval.errors import InputError

QRELS = """q1 0 a 2
q1 0 b 0
q1 0 c 1
q2 0 a 1
q2 0 q2 1
q3 0 d 1
"""
FIRST = """q1 Q0 a 1 1.0 first
q1 Q0 c 2 1.0 first
q1 Q0 x 3 0.5 first
q2 Q0 q2 1 9 first
q2 Q0 b 2 8 first
q2 Q0 a 3 7 first
other Q0 a 1 1 first
"""
SECOND = """q1\tQ0\tb\t1\t3\tsecond
q1\tQ0\ta\t2\t2.5\tsecond
q2\tQ0\ta\t1\t1e0\tsecond
q3\tQ0\td\t1\t0.25\tsecond
"""

Call = Callable[..., tuple[str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    (tmp_path / "qrels.txt").write_text(QRELS)
    (tmp_path / "first.run").write_text(FIRST)
    (tmp_path / "second_a&b.run").write_text(SECOND)
    monkeypatch.chdir(tmp_path)

    def evaluate(*words: str) -> tuple[str, str]:
        result = CliRunner().invoke(app, ["evaluate", *words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr

    return evaluate


def means(call: Call, *words: str, run: str = "first.run") -> dict[str, float]:
    content = json.loads(call("qrels.txt", run, "--format", "json", *words)[0])
    return {name: facts["mean"] for name, facts in content["runs"][0]["measures"].items()}


BOTH = ["qrels.txt", "first.run", "second_a&b.run", "-m", "RR", "-m", "nDCG@10"]


def test_json_holds_options_means_intervals_and_queries(call: Call) -> None:
    content = json.loads(call(*BOTH, "-q", "--format", "json")[0])
    assert content["qrels"] == "qrels.txt"
    assert {name: content["options"][name] for name in EvaluationOptions().as_dict()} == {
        "missing": "zero",
        "duplicates": "error",
        "ties": "trec",
        "relevance_level": 1,
        "gains": None,
        "judged_only": False,
        "drop_self": False,
        "score_precision": "float64",
        "depth": None,
    }
    first, second = content["runs"]
    assert (first["name"], first["n_queries"], first["n_missing"], first["n_unjudged"]) == (
        "first",
        3,
        1,
        1,
    )
    assert first["per_query"]["RR"] == {"q1": 1.0, "q2": 1.0, "q3": 0.0}
    assert second["per_query"]["RR"] == {"q1": 0.5, "q2": 1.0, "q3": 1.0}
    low, high = second["measures"]["RR"]["ci95"]
    assert second["measures"]["RR"]["mean"] == pytest.approx(2.5 / 3)
    assert low < 2.5 / 3 < high


def test_json_lines_hold_a_run_each(call: Call) -> None:
    lines = call(*BOTH, "-q", "--format", "jsonl")[0].splitlines()
    whole = json.loads(call(*BOTH, "-q", "--format", "json")[0])
    assert len(lines) == 2
    for line, run in zip(lines, whole["runs"], strict=True):
        assert json.loads(line) == {"qrels": "qrels.txt", "options": whole["options"], **run}


def test_csv_holds_all_digits_of_means_and_queries(call: Call) -> None:
    rows = list(csv.DictReader(io.StringIO(call(*BOTH, "-q", "--format", "csv")[0])))
    whole = json.loads(call(*BOTH, "-q", "--format", "json")[0])
    for run in whole["runs"]:
        for name, facts in run["measures"].items():
            (row,) = (
                row
                for row in rows
                if (row["run"], row["query_id"], row["measure"]) == (run["name"], "all", name)
            )
            assert float(row["value"]) == facts["mean"]
            assert [float(row["ci95_low"]), float(row["ci95_high"])] == facts["ci95"]
            for query, value in run["per_query"][name].items():
                key = (run["name"], query, name)
                (row,) = (r for r in rows if (r["run"], r["query_id"], r["measure"]) == key)
                assert float(row["value"]) == value


def test_markdown_and_latex_are_escaped_tables(call: Call) -> None:
    markdown = call(*BOTH, "--format", "markdown")[0].splitlines()
    assert markdown[0] == "| run | RR | nDCG@10 | not answered |"
    assert markdown[3].startswith(r"| second\_a&amp;b | 0.8333 [0.116, 1.000]")
    latex = call(*BOTH, "-q", "--format", "latex")[0]
    assert r"second\_a\&b & 0.8333 [" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2


def test_the_table_says_on_stderr_what_the_numbers_are(call: Call) -> None:
    out, err = call(*BOTH, "--only-retrieved", "--ties", "expected")
    assert "1 of 3" in out
    assert "judged queries that each run answers" in err
    assert 'ties "expected"' in err
    assert "first.run: 1 query without judgments" in err


@pytest.mark.parametrize(
    ("words", "measure", "plain", "changed"),
    [
        (["--only-retrieved"], "RR", 2 / 3, 1.0),
        (["--ties", "expected"], "P(rel=2)@1", 0.0, 0.5 / 3),
        (["-l", "2"], "P@1", 2 / 3, 0.0),
        (["--gains", "1=5"], "DCG@1", 2 / 3, 10 / 3),
        (["-J"], "P@2", 0.5, 2 / 3),
        (["--drop-self"], "RR", 2 / 3, 1.5 / 3),
        (["-M", "1"], "R@10", 2 / 3, 1 / 3),
    ],
)
def test_an_option_changes_what_it_says(
    call: Call, words: list[str], measure: str, plain: float, changed: float
) -> None:
    (before,) = means(call, "-m", measure).values()
    (after,) = means(call, "-m", measure, *words).values()
    assert before == pytest.approx(plain)
    assert after == pytest.approx(changed)


def test_duplicates_are_refused_or_chosen_between(call: Call) -> None:
    Path("twice.run").write_text("q1 Q0 b 1 2 t\nq1 Q0 a 2 1 t\nq1 Q0 a 3 5 t\n")
    with pytest.raises(InputError, match=r"twice\.run:3: .*first at twice\.run:2"):
        call("qrels.txt", "twice.run")
    assert means(call, "-m", "RR", "--duplicates", "first", run="twice.run")["RR"] == 0.5 / 3
    assert means(call, "-m", "RR", "--duplicates", "max", run="twice.run")["RR"] == 1 / 3


def test_score_precision_decides_whether_close_scores_tie(call: Call) -> None:
    Path("close.run").write_text("q1 Q0 a 1 1.000000001 t\nq1 Q0 b 2 1 t\n")
    assert means(call, "-m", "RR", run="close.run")["RR"] == 1 / 3
    single = means(call, "-m", "RR", "--score-precision", "float32", run="close.run")
    assert single["RR"] == 0.5 / 3


def test_names_of_trec_eval_are_measures(call: Call) -> None:
    names = ["-m", "ndcg_cut.5,10", "-m", "map", "-m", "P_5", "-m", "iprec_at_recall.0.1"]
    assert list(means(call, *names)) == ["nDCG@5", "nDCG@10", "AP", "P@5", "IPrec@0.1"]


def trec_lines(text: str) -> dict[tuple[str, str], str]:
    rows = [line.split("\t") for line in text.splitlines()]
    return {(name.strip(), query): value for name, query, value in rows}


def test_the_trec_format_prints_counts_added_up_and_answered_queries_only(call: Call) -> None:
    out, _ = call("qrels.txt", "first.run", "-q", "-m", "map", "-m", "num_ret", "--format", "trec")
    assert out.splitlines()[0] == "num_ret               \tq1\t3"
    lines = trec_lines(out)
    assert set(lines) == {(name, q) for name in ("map", "num_ret") for q in ("q1", "q2", "all")}
    assert lines["num_ret", "all"] == "6"
    assert lines["map", "all"] == "0.6111"


def test_the_trec_format_prints_the_official_measures_unasked(call: Call) -> None:
    lines = trec_lines(call("qrels.txt", "first.run", "--format", "trec")[0])
    assert lines["runid", "all"] == "first"
    assert lines["num_q", "all"] == "3"
    assert lines["num_rel_ret", "all"] == "4"
    assert {"gm_map", "bpref", "P_1000", "iprec_at_recall_0.00"} <= {name for name, _ in lines}


def test_a_measure_of_our_own_keeps_its_name_in_the_trec_format(call: Call) -> None:
    out, _ = call("qrels.txt", "first.run", "-m", "RBP(p=0.5)", "-m", "map", "--format", "trec")
    assert list(trec_lines(out)) == [("map", "all"), ("RBP(p=0.5)", "all")]


# trec_eval adds up grades from 1 in the total of num_rel, whatever the level.
_OTHER = {("num_rel", "all"), ("runid", "all")}


@pytest.mark.parametrize("name", ["bm25", "bm25+rm3+t5zs"])
def test_the_trec_format_is_what_trec_eval_printed(
    collections: Path, name: str, call: Call
) -> None:
    folder = collections / "runs" / "dl-hard-passage"
    words = [str(folder / "qrels.txt"), str(folder / f"{name}.run.gz"), "-q", "-l", "2"]
    ours = trec_lines(call(*words, "-m", "all_trec", "--format", "trec")[0])
    theirs = trec_lines(gzip.decompress((folder / f"{name}.trec_eval.gz").read_bytes()).decode())
    known = {key: value for key, value in theirs.items() if key in ours and key not in _OTHER}
    assert {key: ours[key] for key in known} == known
    assert len({measure for measure, _ in known}) > 60
    assert {measure for measure, _ in ours} - {measure for measure, _ in theirs} == set()


def test_several_runs_and_a_pipe_are_read(call: Call, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "retrieval_eval", "evaluate"),
            *("qrels.txt", "/dev/stdin", "-m", "RR", "--format", "json"),
        ],
        input=FIRST.encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    (run,) = json.loads(done.stdout)["runs"]
    assert run["name"] == "stdin"
    assert run["measures"]["RR"]["mean"] == pytest.approx(2 / 3)


def test_a_measure_that_is_no_mean_has_no_interval_and_no_comparison(call: Call) -> None:
    content = json.loads(
        call("qrels.txt", "first.run", "-m", "GAP", "-m", "GMAP", "--format", "json")[0]
    )
    measures: dict[str, Any] = content["runs"][0]["measures"]
    assert measures["GAP"]["ci95"] is None
    low, high = measures["AP(mean='geometric')"]["ci95"]
    assert 0 < low <= measures["AP(mean='geometric')"]["mean"] <= high
    for name in ("GAP", "GMAP"):
        words = ["compare", "qrels.txt", "first.run", "second_a&b.run", "-m", name]
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, InputError)
        assert "no mean over queries" in str(result.exception)


def test_one_evaluator_scores_many_runs_as_each_alone(call: Call) -> None:
    measures = ["nDCG@10", "AP", "infAP", "GAP"]
    bound = Evaluator("qrels.txt", measures)
    for _ in range(2):
        for run in ("first.run", "second_a&b.run"):
            alone = Evaluator("qrels.txt", measures).evaluate(run)
            assert bound.evaluate(run).values.tolist() == alone.values.tolist()
