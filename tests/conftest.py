"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
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
