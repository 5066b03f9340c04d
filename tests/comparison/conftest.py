"""Evaluations made of bare scores, and run files."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval.evaluation import Evaluation

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
        ids = query_ids or [f"q{number}" for number in range(table.shape[1])]
        return Evaluation(name, measures, tuple(ids), table, 0)

    return make


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
