"""Fixtures that several folders of tests share."""

from __future__ import annotations

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
