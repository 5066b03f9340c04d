"""The runs of a finished sweep are those that its figures were computed from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval import Evaluator
from retrieval_eval.datasets import load_dataset
from retrieval_eval.errors import InputError
from retrieval_eval.sweep import Sweep


def test_runs_are_named_and_score_what_their_rows_say(
    tiny: Path, settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    filters = ["none", {"characters": {"min": 45}}]
    changes = {"encoders": [{"lsa": {"dim": 8}}, "hashing"], "filters": filters, "timing": "none"}
    results = Sweep(**settings(tiny, **changes)).run(out=tmp_path / "out", progress=False)
    runs = results.runs()
    assert [run.name for run in runs] == [
        "lsa dim=8 flat",
        "45 <= characters lsa dim=8 flat",
        "hashing flat",
        "45 <= characters hashing flat",
    ]
    rows = results.rows.to_dicts()
    evaluator = Evaluator(load_dataset(str(tiny)).qrels, ["nDCG@10"])
    for place in (0, 2):
        mean = evaluator.evaluate(runs[place]).means["nDCG@10"]
        assert mean == pytest.approx(rows[place]["nDCG@10"], abs=1e-12)
    next((tmp_path / "out" / "runs").glob("*hashing*")).unlink()
    with pytest.raises(InputError, match="has no run of the row"):
        results.runs()
