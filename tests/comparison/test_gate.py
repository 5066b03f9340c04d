"""``retrieval-eval gate`` and the decision behind it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from retrieval_eval.comparison import gate
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation

Cli = Callable[..., tuple[int, str, str]]
Make = Callable[..., Evaluation]


def runs(evaluation: Make, shift: float, spread: float, n: int = 60) -> list[Evaluation]:
    rng = np.random.default_rng(4)
    noise = rng.normal(size=n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    base = rng.random(n)
    return [evaluation("base", [base]), evaluation("cand", [base + shift + spread * noise])]


@pytest.mark.parametrize(
    ("shift", "spread", "verdict"),
    [
        (0.0, 0.01, "passed"),
        (0.1, 0.3, "passed"),
        (-0.005, 0.001, "passed"),
        (-0.1, 0.01, "worse"),
        (-0.015, 0.001, "worse"),
        (-0.01, 0.01, "undecided"),
        (0.0, 0.2, "undecided"),
        (-0.05, 0.3, "undecided"),
        (0.0, 0.0, "passed"),
        (-0.5, 0.0, "worse"),
    ],
)
def test_three_answers(evaluation: Make, shift: float, spread: float, verdict: str) -> None:
    (found,) = gate(*runs(evaluation, shift, spread), {"nDCG@10": 0.01})
    assert found.verdict == verdict
    assert found.mean_diff == pytest.approx(shift, abs=1e-12)
    assert found.candidate - found.baseline == pytest.approx(shift, abs=1e-12)
    assert (found.lower_bound > -0.01) == (verdict == "passed")


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_bound_is_that_of_a_t_test_or_below(evaluation: Make, alpha: float) -> None:
    base, candidate = runs(evaluation, -0.02, 0.1)
    (found,) = gate(base, candidate, {"nDCG@10": 0.01}, alpha=alpha)
    differences = candidate.values[0] - base.values[0]
    plain = stats.ttest_1samp(differences, 0, alternative="greater").confidence_interval(1 - alpha)
    assert found.lower_bound <= plain.low + 1e-12
    assert found.lower_bound > plain.low - 0.01


def test_the_queries_that_are_needed_would_do(evaluation: Make) -> None:
    (found,) = gate(*runs(evaluation, 0.0, 0.1), {"nDCG@10": 0.01})
    assert found.verdict == "undecided"
    needed = found.queries_needed
    passed = 0
    rng = np.random.default_rng(9)
    for _ in range(300):
        differences = rng.normal(0, 0.1, size=needed)
        t = (differences.mean() + 0.01) / (differences.std(ddof=1) / np.sqrt(needed))
        passed += t >= stats.t.ppf(0.95, needed - 1)
    assert 0.73 < passed / 300 < 0.87


def test_a_measure_without_a_margin_is_refused(evaluation: Make) -> None:
    with pytest.raises(InputError, match=r"'nDCG@10' has no margin"):
        gate(*runs(evaluation, 0, 0.1), {})


def test_a_single_query_and_no_score_are_undecided(evaluation: Make) -> None:
    one = evaluation("one", [[0.5]])
    (found,) = gate(one, one, {"nDCG@10": 0.01})
    assert (found.verdict, found.lower_bound, found.p) == ("undecided", None, None)
    none = evaluation("none", [[np.nan, np.nan]])
    (found,) = gate(none, none, {"nDCG@10": 0.01})
    assert (found.verdict, found.n) == ("undecided", 0)


def test_a_level_above_the_power_and_a_spread_beyond_all_queries_need_no_number(
    evaluation: Make,
) -> None:
    (found,) = gate(*runs(evaluation, 0.0, 0.1), {"nDCG@10": 0.01}, alpha=0.9)
    assert found.queries_needed is None
    (found,) = gate(*runs(evaluation, 0.0, 0.1), {"nDCG@10": 1e-9})
    assert (found.verdict, found.queries_needed) == ("undecided", None)


# -- the command ----------------------------------------------------------------------------------


def test_a_run_may_replace_itself(files: Path, cli: Cli) -> None:
    code, out, err = cli("gate", "forty.txt", "many.run", "many.run")
    assert code == 0
    assert "passed" in out
    assert "may replace" in err


def test_a_worse_run_is_stopped_with_exit_code_1(files: Path, cli: Cli) -> None:
    code, out, err = cli("gate", "forty.txt", "many.run", "none.run")
    assert code == 1
    assert "failed: worse" in out
    assert "may not replace" in err
    assert "worse by more than 0.01, shown at level 0.05 by 40 queries" in err


def test_a_better_run_passes(files: Path, cli: Cli) -> None:
    assert cli("gate", "forty.txt", "none.run", "some.run")[0] == 0


def test_too_few_queries_do_not_pass_unless_they_may(files: Path, cli: Cli) -> None:
    words = ["gate", "forty.txt", "many.run", "some.run", "--margin", "0.05"]
    code, out, err = cli(*words)
    assert code == 1
    assert "undecided" in out
    assert re.search(r"about \d+ would show it", err)
    assert cli(*words, "--undecided", "pass")[0] == 0
    assert cli("gate", "forty.txt", "many.run", "some.run", "--margin", "0.3")[0] == 0
    assert cli("gate", "forty.txt", "many.run", "none.run", "--undecided", "pass")[0] == 1


def test_measures_are_those_with_a_margin_and_those_named(files: Path, cli: Cli) -> None:
    def margins(*words: str) -> dict[str, float]:
        _, out, _ = cli("gate", "forty.txt", "many.run", "some.run", *words, "--format", "json")
        return {one["measure"]: one["margin"] for one in json.loads(out)["verdicts"]}

    assert margins() == {"nDCG@10": 0.01}
    assert margins("--margin", "0.2") == {"nDCG@10": 0.2}
    assert margins("--margin", "RR=0.2") == {"RR": 0.2}
    assert margins("--margin", "MRR=0.2", "-m", "P@1") == {"P@1": 0.01, "RR": 0.2}
    assert margins("--margin", "RR=0.2", "--margin", "P@1=0.1") == {"RR": 0.2, "P@1": 0.1}


def test_all_measures_must_pass(files: Path, cli: Cli) -> None:
    words = ["gate", "forty.txt", "many.run", "some.run"]
    assert cli(*words, "--margin", "RR=0.3")[0] == 0
    assert cli(*words, "--margin", "RR=0.3", "--margin", "P@1=0.001")[0] == 1


def test_json_csv_markdown_and_latex(files: Path, cli: Cli) -> None:
    words = ["gate", "forty.txt", "many.run", "none.run", "--format"]
    code, out, _ = cli(*words, "json")
    content = json.loads(out)
    assert (code, content["passed"]) == (1, False)
    assert (content["baseline"], content["candidate"]) == ("many", "none")
    assert content["verdicts"][0]["verdict"] == "worse"
    code, out, _ = cli(*words, "csv")
    (row,) = csv.DictReader(io.StringIO(out))
    assert (code, row["verdict"], float(row["mean_diff"])) == (1, "worse", -1.0)
    code, out, err = cli(*words, "markdown")
    assert (code, err) == (1, "")
    assert out.startswith("### ❌ none may not replace many\n\n| measure |")
    assert "- nDCG@10: worse by more than 0.01" in out
    code, out, _ = cli(*words, "latex")
    assert code == 1
    assert r"\bottomrule" in out
    code, out, _ = cli("gate", "forty.txt", "many.run", "many.run", "--format", "markdown")
    assert code == 0
    assert out.startswith("### ✅ ")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["forty.txt", "many.run", "missing.run"], "missing.run"),
        (["forty.txt", "many.run", "some.run", "--margin", "0"], "above 0"),
        (["forty.txt", "many.run", "some.run", "--margin", "rrr=0.1"], "rrr"),
        (["forty.txt", "many.run", "some.run", "--margin", "RR=x"], "--margin 'RR=x'"),
        (["forty.txt", "many.run", "some.run", "--alpha", "1"], "alpha is 1"),
    ],
)
def test_bad_input_exits_2_and_is_no_verdict(
    files: Path, cli: Cli, words: list[str], part: str
) -> None:
    code, out, err = cli("gate", *words)
    assert (code, out) == (2, "")
    assert part in err
    assert re.fullmatch(r"error: [^\n]+\n", err)
