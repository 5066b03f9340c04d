"""Evaluations made of bare scores, and run files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from retrieval_eval.evaluation import Evaluation


@pytest.fixture(scope="session")
def evaluation() -> Callable[..., Evaluation]:
    """Return a function that makes an evaluation of a name and scores."""

    def make(
        name: str,
        values: Any,
        measures: tuple[str, ...] = ("nDCG@10",),
        query_ids: Sequence[str] | None = None,
    ) -> Evaluation:
        table = np.array(values, dtype=np.float64)
        ids = query_ids or [f"q{number:04}" for number in range(table.shape[1])]
        return Evaluation(name, measures, tuple(ids), table, 0)

    return make
