"""Fixtures that several folders of tests share."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_VARIABLE = "RETRIEVAL_EVAL_COLLECTIONS"


@pytest.fixture(scope="session")
def collections() -> Path:
    """Return the folder of real collections and vectors, or skip."""
    value = os.environ.get(_VARIABLE)
    if not value:
        pytest.skip(f"{_VARIABLE} is not set: it names a folder of real collections and vectors")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"{_VARIABLE} is {value!r}, which is no folder")
    return folder


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command line here: exit code, stdout, stderr."""
    from retrieval_eval.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["retrieval-eval", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        code = stop.value.code
        assert code is None or isinstance(code, int)
        return code or 0, out, err

    return call


QRELS = """\
q1 0 a 2
q1 0 b 1
q2 0 b 1
q3 0 c 1
q3 0 d 0
"""
GOOD_RUN = """\
q1 Q0 a 1 3.0 good
q1 Q0 b 2 2.0 good
q2 Q0 b 1 1.5 good
q3 Q0 c 1 1.0 good
"""
POOR_RUN = """\
q1 Q0 x 1 3.0 poor
q1 Q0 b 2 2.0 poor
q2 Q0 x 1 1.5 poor
q2 Q0 b 2 1.5 poor
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write qrels and runs into a folder, and work there."""
    (tmp_path / "qrels.txt").write_text(QRELS)
    (tmp_path / "good.trec").write_text(GOOD_RUN)
    (tmp_path / "poor.trec.gz").write_bytes(gzip.compress(POOR_RUN.encode()))
    (tmp_path / "other.run").write_text(GOOD_RUN.replace("q3 Q0 c", "q3 Q0 d"))
    (tmp_path / "strange.trec").write_text("zz Q0 a 1 1.0 strange\n")
    for name, missed in (("many", 0), ("some", 3), ("none", 40)):
        lines = [
            f"q{number} Q0 {'wrong' if number < missed else 'right'} 1 1 {name}\n"
            for number in range(40)
        ]
        (tmp_path / f"{name}.run").write_text("".join(lines))
    qrels = [f"q{number} 0 right 1\n" for number in range(40)]
    (tmp_path / "forty.txt").write_text("".join(qrels))
    monkeypatch.chdir(tmp_path)
    return tmp_path
