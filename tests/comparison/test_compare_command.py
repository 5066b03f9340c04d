"""``retrieval-eval compare``: what it prints, in every form, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., tuple[int, str, str]]

RUNS = ["good.trec", "poor.trec.gz", "other.run"]


def as_json(cli: Cli, *words: str) -> dict[str, Any]:
    code, out, _ = cli("compare", *words, "--format", "json")
    assert code == 0
    content: dict[str, Any] = json.loads(out)
    return content


def assert_refused(answer: tuple[int, str, str], *parts: str) -> None:
    code, out, err = answer
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    for part in parts:
        assert part in err


def test_json_has_the_documented_shape(files: Path, cli: Cli) -> None:
    content = as_json(cli, "qrels.txt", *RUNS, "-m", "RR", "-m", "R@10", "--margin", "RR=0.1")
    assert set(content) == {
        *("qrels", "n_queries", "family", "options", "runs", "comparisons", "notes"),
    }
    assert content["options"]["test"] == "randomization"
    assert content["options"]["correction"] == "holm"
    assert content["options"]["evaluation"]["missing"] == "zero"
    assert content["family"] == "holm over 4 comparisons: 2 pairs of runs x 2 measures"
    assert [run["name"] for run in content["runs"]] == ["good", "poor", "other"]
    assert content["runs"][0]["means"] == {"RR": 1.0, "R@10": 1.0}
    for one in content["comparisons"]:
        assert {
            *("a", "b", "measure", "mean_diff", "ci95", "p", "p_adjusted", "test", "n"),
            *("n_differing", "effect", "noninferior"),
        } <= set(one)
    poor, _, other, _ = content["comparisons"]
    assert (poor["a"], poor["b"], poor["measure"]) == ("poor", "good", "RR")
    assert poor["mean_diff"] == pytest.approx(-2 / 3)
    assert (poor["n"], poor["n_differing"], poor["test"]) == (3, 3, "randomization")
    assert (poor["p"], poor["p_adjusted"]) == (2 / 2**3, 4 * 2 / 2**3)
    assert poor["noninferior"] is False
    assert (other["mean_diff"], other["p"]) == (pytest.approx(-1 / 3), 1.0)
    assert content["comparisons"][1]["noninferior"] is None


@pytest.mark.parametrize("test", ["t", "wilcoxon", "sign", "bootstrap", "tukey"])
def test_every_test_can_be_asked_for(files: Path, cli: Cli, test: str) -> None:
    content = as_json(cli, "forty.txt", "many.run", "some.run", "none.run", "--test", test)
    assert {one["test"] for one in content["comparisons"]} == {test}
    assert content["comparisons"][-1]["significant"] is True


def test_all_pairs_come_with_groups_and_a_matrix(files: Path, cli: Cli) -> None:
    words = ["forty.txt", "many.run", "some.run", "none.run", "--pairs", "all", "-m", "RR"]
    content = as_json(cli, *words)
    assert [(one["a"], one["b"]) for one in content["comparisons"]] == [
        ("many", "some"),
        ("many", "none"),
        ("some", "none"),
    ]
    assert [run["groups"] for run in content["runs"]] == [{"RR": "a"}, {"RR": "a"}, {"RR": "b"}]
    code, out, err = cli("compare", *words)
    assert code == 0
    assert "RR: row minus column" in out
    assert "-1.0000†" in out
    assert "share a letter" in err


def test_a_reference_is_chosen_by_name(files: Path, cli: Cli) -> None:
    content = as_json(cli, "qrels.txt", *RUNS, "-m", "RR", "--reference", "poor")
    assert [(one["a"], one["b"]) for one in content["comparisons"]] == [
        ("good", "poor"),
        ("other", "poor"),
    ]


def test_the_table_says_how_it_was_made(files: Path, cli: Cli) -> None:
    code, out, err = cli("compare", "qrels.txt", "good.trec", "poor.trec.gz", "-m", "RR")
    assert code == 0
    for part in ("poor", "good", "-0.6667", "0/0/3"):
        assert part in out
    for part in ("randomization", "holm over 1 comparison", "Student's t", "no p below 0.25"):
        assert part in err


def test_two_files_of_one_run_do_not_differ(files: Path, cli: Cli) -> None:
    words = ["qrels.txt", "good.trec", "good.trec", "--margin", "RR@10=0.1"]
    for one in as_json(cli, *words)["comparisons"]:
        assert (one["mean_diff"], one["ci95"], one["p"]) == (0.0, [0.0, 0.0], 1.0)
        assert one["significant"] is False
        assert one["noninferior"] is (True if one["measure"] == "RR@10" else None)


def test_a_margin_is_of_one_measure_or_of_all(files: Path, cli: Cli) -> None:
    words = ["forty.txt", "many.run", "some.run", "-m", "RR", "-m", "P@1"]
    margins = [one["margin"] for one in as_json(cli, *words, "--margin", "0.2")["comparisons"]]
    assert margins == [0.2, 0.2]
    words += ["--margin", "0.2", "--margin", "MRR=0.4"]
    content = as_json(cli, *words)
    assert [one["margin"] for one in content["comparisons"]] == [0.4, 0.2], "another spelling"
    code, out, _ = cli("compare", *words)
    assert code == 0
    assert "0.4: yes" in out


def test_csv_has_a_row_for_each_pair_and_measure(files: Path, cli: Cli) -> None:
    code, out, _ = cli("compare", "qrels.txt", *RUNS, "-m", "RR", "--format", "csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["a"], row["n"], row["margin"]) for row in rows] == [
        ("poor", "3", ""),
        ("other", "3", ""),
    ]
    assert float(rows[0]["ci95_low"]) < float(rows[0]["mean_diff"]) < float(rows[0]["ci95_high"])


def test_markdown_and_latex_carry_marks_and_legend(files: Path, cli: Cli) -> None:
    words = ["compare", "forty.txt", "many.run", "none.run", "-m", "RR"]
    code, out, _ = cli(*words, "--format", "markdown")
    assert code == 0
    assert "| none | 0.0000† [0.000, 0.000] |" in out
    assert "† significant at level 0.05" in out
    code, out, _ = cli(*words, "--format", "latex")
    assert code == 0
    assert r"none & 0.0000$^{\dagger}$ [0.000, 0.000] \\" in out
    assert out.count(r"\toprule") == out.count(r"\bottomrule") == 2
    assert "†" not in re.sub(r"(?m)^%.*$", "", out), "no character that LaTeX may not know"


def test_an_omnibus_test_is_of_all_runs(files: Path, cli: Cli) -> None:
    words = ["forty.txt", "many.run", "some.run", "none.run", "-m", "RR"]
    for name, df in (("friedman", [2]), ("anova", [2, 78])):
        (one,) = as_json(cli, *words, "--omnibus", name)["omnibus"]
        assert (one["test"], one["df"], one["n"], one["n_systems"]) == (name, df, 40, 3)
        assert one["p"] < 1e-6
        code, _, err = cli("compare", *words, "--omnibus", name)
        assert code == 0
        assert "all 3 runs on 40 queries" in err
    assert_refused(
        cli("compare", "forty.txt", "many.run", "some.run", "--omnibus", "anova"), "three"
    )


def test_queries_that_a_difference_needs_are_told(files: Path, cli: Cli) -> None:
    words = ["forty.txt", "many.run", "some.run", "-m", "RR", "--detect", "0.01"]
    (one,) = as_json(cli, *words)["queries_needed"]
    assert one["sd"] == pytest.approx((3 / 40 * 37 / 40 * 40 / 39) ** 0.5)
    assert 5000 < one["n"] < 6000
    code, out, _ = cli("compare", *words)
    assert code == 0
    assert str(one["n"]) in out
    assert_refused(cli("compare", *words, "--detect", "0"), "difference is 0")


def test_scoring_options_are_those_of_evaluate(files: Path, cli: Cli) -> None:
    words = ["qrels.txt", "good.trec", "poor.trec.gz", "-m", "nDCG@10"]
    content = as_json(cli, *words, "-l", "2", "-m", "RR", "--ties", "expected")
    assert content["options"]["evaluation"]["relevance_level"] == 2
    assert content["runs"][0]["means"]["RR(rel=2)"] == pytest.approx(1 / 3)


def test_threads_and_repeats_change_nothing(files: Path, cli: Cli) -> None:
    words = ["forty.txt", "many.run", "some.run", "none.run", "--test", "bootstrap"]
    first = as_json(cli, *words, "--threads", "1")
    assert first == as_json(cli, *words, "--threads", "2") == as_json(cli, *words)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--margin", "RR"], ["--margin 'RR'", "MEASURE=LOSS"]),
        (["--margin", "RR=small"], ["--margin 'RR=small'", "MEASURE=LOSS"]),
        (["--margin", "=0.1"], ["--margin"]),
        (["--margin", "rrr=0.1"], ["--margin", "unknown measure 'rrr'"]),
        (["--margin", "AP=0.1"], ["'AP'"]),
        (["--margin", "RR=0"], ["RR", "above 0"]),
        (["--margin", "RR=-0.1"], ["RR", "above 0"]),
        (["--margin", "-0.1"], ["RR", "above 0"]),
        (["--margin", "RR=nan"], ["RR"]),
        (["--margin", "RR=inf"], ["RR"]),
        (["--margin-test", "hal"], ["Did you mean 'hall'?"]),
        (["--alpha", "0"], ["alpha is 0"]),
        (["--alpha", "nan"], ["alpha is nan"]),
        (["--correction", "hulm"], ["unknown correction 'hulm'. Did you mean 'holm'?"]),
        (["--test", "wilcoxson"], ["unknown test 'wilcoxson'. Did you mean 'wilcoxon'?"]),
        (["--reference", "bad"], ["'bad'", "good, poor"]),
        (["--reference", "good", "--pairs", "all"], ["--reference"]),
        (["-m", "nothing@3"], ["unknown measure 'nothing'"]),
        (["-m", "GAP"], ["GAP"]),
    ],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_bad_option_is_one_line(
    files: Path, cli: Cli, words: list[str], parts: list[str], form: str
) -> None:
    measure = [] if "-m" in words else ["-m", "RR"]
    answer = cli(
        "compare", "qrels.txt", "good.trec", "poor.trec.gz", *measure, *words, "--format", form
    )
    assert_refused(answer, *parts)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["qrels.txt", "good.trec"], ["two runs"]),
        (["qrels.txt", "good.trec", "strange.trec"], ["strange.trec", "none of the 3"]),
        (["qrels.txt", "good.trec", "missing.trec"], ["missing.trec", "no such file"]),
    ],
)
def test_bad_files_are_one_line(files: Path, cli: Cli, words: list[str], parts: list[str]) -> None:
    assert_refused(cli("compare", *words), *parts)


@pytest.mark.parametrize(
    "words", [["--draws", "10"], ["--interval", "z"], ["--pairs", "some"], ["--threads", "0"]]
)
def test_wrong_usage_exits_2(files: Path, cli: Cli, words: list[str]) -> None:
    code, out, err = cli("compare", "qrels.txt", "good.trec", "poor.trec.gz", *words)
    assert (code, out) == (2, "")
    assert words[0] in err
    assert "Traceback" not in err


def test_the_margin_of_a_measure_counts_before_that_of_all_wherever_it_stands(
    files: Path, cli: Cli
) -> None:
    words = ["forty.txt", "many.run", "some.run", "-m", "map", "-m", "RR"]
    for order in (["map=0.1", "0.5"], ["0.5", "map=0.1"]):
        margins = [word for one in order for word in ("--margin", one)]
        found = as_json(cli, *words, *margins)["comparisons"]
        assert [(one["measure"], one["margin"]) for one in found] == [("AP", 0.1), ("RR", 0.5)]


@pytest.mark.parametrize("loss", ["1", "RR=5", "0_1"])
def test_a_margin_as_wide_as_the_measure_is_none(files: Path, cli: Cli, loss: str) -> None:
    words = ["compare", "forty.txt", "many.run", "some.run", "-m", "RR", "--margin", loss]
    assert_refused(cli(*words), f"--margin '{loss}'")


def test_exact_search_that_answers_nothing_explains_nothing(files: Path, cli: Cli) -> None:
    words = ["compare", "qrels.txt", "good.trec", "poor.trec.gz", "--exact"]
    assert_refused(cli(*words, "strange.trec"), "strange.trec", "answers none of the 3")
    code, out, _ = cli(*words, "good.trec")
    assert code == 0
    assert "the index's" in out


def test_csv_refuses_what_it_cannot_hold(files: Path, cli: Cli) -> None:
    words = ["compare", "forty.txt", "many.run", "some.run", "--format", "csv"]
    for option in (["--explain", "2"], ["--detect", "0.1"]):
        assert_refused(cli(*words, *option), "--format csv")
    assert_refused(
        cli("gate", "forty.txt", "many.run", "some.run", "--format", "csv", "--explain", "2"),
        "--format csv",
    )


def test_every_measure_is_explained(files: Path, cli: Cli) -> None:
    words = ["forty.txt", "many.run", "some.run", "-m", "RR", "-m", "P@1", "--explain", "1"]
    assert [one["measure"] for one in as_json(cli, *words)["explanations"]] == ["RR", "P@1"]


def test_runs_that_do_not_differ_say_nothing_of_power(files: Path, cli: Cli) -> None:
    content = as_json(cli, "forty.txt", "many.run", "many.run", "-m", "RR", "--detect", "0.01")
    assert content["comparisons"][0]["detectable"] is None
    assert content["queries_needed"][0]["n"] is None
    words = ["forty.txt", "many.run", "some.run", "-m", "RR", "--detect"]
    assert as_json(cli, *words, "1e-9")["queries_needed"][0]["n"] is None
    assert_refused(cli("compare", *words, "-0.1"), "above 0")
    assert_refused(cli("compare", *words, "0.1", "--alpha", "0.9"), "level 0.9")


def test_names_with_marks_of_markup_are_escaped(files: Path, cli: Cli) -> None:
    (files / "[a]*b_c|d.run").write_text(
        (files / "none.run").read_text().replace("none", "[a]*b_c|d")
    )
    words = ["compare", "forty.txt", "many.run", "[a]*b_c|d.run", "-m", "RR", "--format"]
    _, out, _ = cli(*words, "markdown")
    assert r"| [a]\*b\_c\|d | 0.0000† [0.000, 0.000] |" in out
    _, out, _ = cli(*words, "latex")
    assert "\n{}[a]*b\\_c\\textbar{}d & " in out


def test_a_closed_pipe_is_no_verdict(files: Path) -> None:
    script = f'"{sys.executable}" -m retrieval_eval gate forty.txt many.run many.run --format json'
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    done = subprocess.run(
        [bash, "-c", f"{{ sleep 1; {script}; echo $? >code; }} | true"],
        cwd=files,
        check=False,
        timeout=60,
        capture_output=True,
    )
    assert b"Traceback" not in done.stderr
    assert (files / "code").read_text().strip() == "141"
