"""Every test of this folder needs an extra library, and carries the marker `backends`."""

from __future__ import annotations

from pathlib import Path

import faiss  # noqa: F401 (before usearch: the other order ends the process)
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.backends)
