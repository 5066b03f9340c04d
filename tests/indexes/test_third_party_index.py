"""The worked example of the docs, installed as a distribution, is found and passes the suite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "third-party-index"


def run(*command: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="building the example needs hatchling: extra 'test'")
    folder = tmp_path_factory.mktemp("site")
    done = run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)),
        str(EXAMPLE),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_example_is_short() -> None:
    assert len((EXAMPLE / "int8_index.py").read_text(encoding="utf-8").splitlines()) < 60


def test_an_installed_plug_in_is_listed_with_its_parameters(
    installed: Path, tmp_path: Path
) -> None:
    command = (sys.executable, "-m", "retrieval_eval", "list", "indexes")
    done = run(*command, cwd=tmp_path, path=installed)
    assert done.returncode == 0, done.stderr
    assert "int8" in done.stdout
    assert "levels" in done.stdout
    assert "int8" not in run(*command, cwd=tmp_path).stdout


def test_an_installed_plug_in_passes_the_suite(installed: Path, tmp_path: Path) -> None:
    test = tmp_path / "test_int8_index.py"
    test.write_bytes((EXAMPLE / test.name).read_bytes())
    done = run(
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
        ),
        str(test),
        cwd=tmp_path,
        path=installed,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_the_suite_finds_a_plug_in_that_breaks_the_contract(
    installed: Path, tmp_path: Path
) -> None:
    """A distance returned as a similarity: the mistake that hides best."""
    code = (EXAMPLE / "int8_index.py").read_text(encoding="utf-8")
    assert code.count("np.argsort(-scores") == 1
    (tmp_path / "int8_index.py").write_text(code.replace("np.argsort(-scores", "np.argsort(scores"))
    test = tmp_path / "test_int8_index.py"
    test.write_bytes((EXAMPLE / test.name).read_bytes())
    done = run(
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
        ),
        str(test),
        cwd=tmp_path,
        path=tmp_path,
    )
    assert done.returncode == 1
    for name in ("true_neighbours_are_found", "hits_keep_the_contract", "filter_lets_only"):
        assert name in done.stdout
