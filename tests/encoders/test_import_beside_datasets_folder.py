"""The folders `datasets/` and `indexes/` of the repository are in no library's way."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = sorted({Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")})

pytest.importorskip(
    "sentence_transformers",
    reason="it is not installed: it comes with the extra 'sentence-transformers'",
)


def installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def run(program: str, libraries: Path) -> str:
    """Run a program from the repository's root, with `libraries` as its only site-packages."""
    environment = {**os.environ, "PYTHONPATH": str(libraries), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def without_datasets(tmp_path: Path) -> Path:
    """Return a folder of links to everything that is installed but Hugging Face's datasets."""
    for folder in LIBRARIES:
        for entry in folder.iterdir():
            is_it = entry.name == "datasets" or (
                entry.name.startswith("datasets-") and entry.name.endswith(".dist-info")
            )
            if not is_it and not (tmp_path / entry.name).exists():
                (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


@pytest.fixture
def with_datasets(tmp_path: Path) -> Path:
    """Return a folder of links to everything that is installed."""
    if not installed("datasets"):
        pytest.skip("the library 'datasets' is not installed: it comes with the extra 'test'")
    for folder in LIBRARIES:
        for entry in folder.iterdir():
            if not (tmp_path / entry.name).exists():
                (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


HEAD = f"""
import importlib.metadata, os, sys
assert sys.path[0] == "", sys.path
assert os.path.samefile(os.getcwd(), {str(ROOT)!r})
"""


def test_the_folders_are_there_and_are_no_packages() -> None:
    for name in ("datasets", "indexes"):
        assert (ROOT / name).is_dir()
        assert not list((ROOT / name).rglob("__init__.py"))


def test_sentence_transformers_imports_at_the_root_without_datasets(
    without_datasets: Path,
) -> None:
    program = f"""{HEAD}
try:
    importlib.metadata.version("datasets")
except importlib.metadata.PackageNotFoundError:
    pass
else:
    raise AssertionError("Hugging Face's datasets is there after all")
import sentence_transformers
import datasets
assert getattr(datasets, "__file__", None) is None  # what is found is the folder
print(sentence_transformers.SentenceTransformer.__name__)
"""
    assert run(program, without_datasets).split() == ["SentenceTransformer"]


def test_sentence_transformers_and_datasets_import_at_the_root_together(
    with_datasets: Path,
) -> None:
    program = f"""{HEAD}
import sentence_transformers
import datasets
import retrieval_eval.datasets
print(datasets.Dataset.__name__)
print(datasets.__file__)
print(retrieval_eval.datasets.__file__)
"""
    name, place, own = run(program, with_datasets).splitlines()
    assert name == "Dataset"
    assert Path(place).resolve() in {
        (folder / "datasets" / "__init__.py").resolve() for folder in LIBRARIES
    }
    assert Path(own) == ROOT / "retrieval_eval" / "datasets" / "__init__.py"
