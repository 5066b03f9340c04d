"""The GitHub Action: its script, run as GitHub runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ACTION = Path(__file__).parents[2] / ".github" / "actions" / "gate" / "action.yml"


@pytest.fixture(scope="session")
def action() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return content


def run_script(
    action: dict[str, Any], folder: Path, **inputs: str
) -> tuple[int, str, dict[str, str]]:
    """Return exit code, step summary and outputs."""
    step = action["runs"]["steps"][-1]
    given = {name: one.get("default", "") for name, one in action["inputs"].items()} | inputs
    summary, outputs = folder / "summary.md", folder / "outputs.txt"
    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    command = binaries / "retrieval-eval"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m retrieval_eval "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        **{
            variable: given[text.strip("${} ").removeprefix("inputs.")]
            for variable, text in step["env"].items()
        },
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_OUTPUT": str(outputs),
        "RUNNER_TEMP": str(folder),
    }
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    done = subprocess.run(
        [bash, "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = outputs.read_text().splitlines() if outputs.exists() else []
    return (
        done.returncode,
        summary.read_text() if summary.exists() else "",
        dict(line.split("=", 1) for line in lines),
    )


def test_a_good_candidate_passes_and_is_reported(action: dict[str, Any], files: Path) -> None:
    code, summary, outputs = run_script(
        action, files, qrels="forty.txt", baseline="many.run", candidate="many.run"
    )
    assert code == 0
    assert summary.startswith("### ✅ many.run may replace many.run")
    assert outputs["passed"] == "true"
    assert Path(outputs["report"]).read_text() == summary


def test_a_worse_candidate_fails_the_job_and_is_reported(
    action: dict[str, Any], files: Path
) -> None:
    code, summary, outputs = run_script(
        action,
        files,
        qrels="forty.txt",
        baseline="many.run",
        candidate="none.run",
        margin="RR=0.1\n  P@1=0.2\n",
        measures="R@5",
    )
    assert code == 1
    assert summary.startswith("### ❌ none may not replace many")
    assert all(f"| {name} |" in summary for name in ("RR", "P@1", "R@5"))
    assert outputs["passed"] == "false"


def test_words_of_a_shell_in_an_input_stay_words(action: dict[str, Any], files: Path) -> None:
    code, _, _ = run_script(
        action, files, qrels="forty.txt", baseline="$(touch pwned)", candidate="; touch pwned"
    )
    assert code == 2
    assert not (files / "pwned").exists()


def test_every_input_is_passed_by_a_variable(action: dict[str, Any]) -> None:
    step = action["runs"]["steps"][-1]
    assert {value.strip("${} ").removeprefix("inputs.") for value in step["env"].values()} == set(
        action["inputs"]
    )
    assert "${{" not in step["run"]
