"""Small sweeps, made by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval_eval.selection import SweepTables

MakeSweep = Callable[..., SweepTables]


def _sweep(
    losses: dict[str, float],
    costs: dict[str, float | None],
    *,
    n: int = 400,
    dataset: str = "news",
    encoder: str = "lsa",
    where: str | None = None,
    seed: int = 0,
    **columns: list[Any],
) -> SweepTables:
    """Make a sweep in which a configuration loses so much in the mean, with a spread of 0.05."""
    rng = np.random.default_rng([seed, len(dataset), len(encoder)])
    reference = rng.uniform(0.3, 0.7, size=n)
    names = [*losses, "flat"]
    ids = [f"{dataset}-{encoder}-{where}-{name}" for name in names]
    noise = rng.normal(0, 0.05, size=(len(losses), n))
    noise -= noise.mean(axis=1, keepdims=True)
    values = [
        *(reference - loss + one for loss, one in zip(losses.values(), noise, strict=True)),
        reference,
    ]
    rows = pl.DataFrame(
        {
            "row_id": ids,
            "dataset": dataset,
            "encoder": encoder,
            "index": [name.split()[0] for name in names],
            "configuration": names,
            "filter": pl.Series([where] * len(names), dtype=pl.String),
            "status": "ok",
            "message": "",
            "is_reference": [*[False] * len(losses), True],
            "nDCG@10": [float(one.mean()) for one in values],
            "latency_p95_s": pl.Series(
                [*(costs[name] for name in losses), costs.get("flat", 1.0)], dtype=pl.Float64
            ),
            **columns,
        }
    )
    per_query = pl.DataFrame(
        {
            "row_id": np.repeat(ids, n),
            "query_id": np.tile([f"q{number}" for number in range(n)], len(ids)),
            "nDCG@10": np.concatenate(values),
        }
    )
    return SweepTables(rows, per_query)


@pytest.fixture(scope="session")
def sweep() -> MakeSweep:
    return _sweep


@pytest.fixture(scope="session")
def together() -> MakeSweep:
    def join(*parts: SweepTables) -> SweepTables:
        return SweepTables(
            pl.concat([one.rows for one in parts]), pl.concat([one.per_query for one in parts])
        )

    return join


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a sweep's folder."""

    def write(tables: SweepTables, margin: dict[str, float] | None = None) -> Path:
        tables.rows.write_parquet(tmp_path / "results.parquet")
        tables.per_query.write_parquet(tmp_path / "per_query.parquet")
        manifest = {"format": 1, "sweep": {"compare": {"margin": margin or {}}}}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path

    return write


@pytest.fixture(scope="session")
def simulation() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "selection_validity.py"
    spec = importlib.util.spec_from_file_location("selection_validity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["selection_validity"] = module
    spec.loader.exec_module(module)
    return module
