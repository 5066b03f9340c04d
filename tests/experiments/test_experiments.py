"""Every experiment runs in its small version, and prints the tables that its README shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "experiments").glob("*/run.py"))
PART = re.compile(r"<!-- (table|figure): (.+?) -->\n(.*?)\n?<!-- end -->", re.DOTALL)
LINES = 80

NAMED = pytest.mark.parametrize("script", SCRIPTS, ids=[one.parent.name for one in SCRIPTS])


def parts(text: str) -> dict[tuple[str, str], str]:
    return {(kind, name): content for kind, name, content in PART.findall(text)}


def head(table: str) -> str:
    return table.partition("\n")[0]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.experiments
@NAMED
def test_it_runs_and_prints_what_its_readme_shows(
    script: Path, tmp_path: Path, cache: Path
) -> None:
    command = [
        sys.executable,
        str(script),
        "--small",
        "--out",
        str(tmp_path),
        "--cache",
        str(cache),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    printed = parts((tmp_path / "tables.md").read_text(encoding="utf-8"))
    shown = parts(script.with_name("README.md").read_text(encoding="utf-8"))
    assert printed.keys() == shown.keys()
    for (kind, name), content in shown.items():
        assert content, f"{kind} {name} of the README is empty"
        if kind == "figure":
            assert content == printed[kind, name]
            assert script.with_name(f"{name}.svg").is_file()
        elif name != "made":
            assert head(content) == head(printed[kind, name])


@NAMED
def test_its_script_is_short_and_its_readme_whole(script: Path) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) <= LINES
    readme = script.with_name("README.md").read_text(encoding="utf-8")
    assert f"python experiments/{script.parent.name}/run.py --dataset" in readme
    assert ("table", "made") in parts(readme)
    listed = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    assert f"`{script.parent.name}/`" in listed


@pytest.mark.experiments
@NAMED
def test_a_misspelt_data_set_is_one_line(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "--small", "--dataset", "stdlob", "--out", str(tmp_path)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "stdlib" in done.stderr.splitlines()[-1]
