"""The columns and keys that docs/results.md promises are those that are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from retrieval_eval import Results, Sweep

DOCS = Path(__file__).parents[2] / "docs" / "results.md"
KINDS = {
    "text": {pl.String},
    "number": {pl.Float64},
    "whole number": {pl.Int64},
    "boolean": {pl.Boolean},
}


def documented(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its head."""
    text = DOCS.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def names(cell: str, sweep: Sweep) -> list[str]:
    found = []
    for name in re.findall(r"`([^`]+)`", cell):
        text = name.replace("@N", f"@{sweep.neighbour_recall}")
        measures = sweep.measures if "MEASURE" in text else [""]
        found += [text.replace("MEASURE", measure) for measure in measures]
    return found


@pytest.fixture(params=[{}, {"build_seeds": 2, "timing": "none"}], ids=["plain", "all sorts"])
def finished(
    request: pytest.FixtureRequest,
    tiny: Path,
    settings: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> Results:
    changes: dict[str, Any] = request.param
    if changes:
        changes |= {"combine": [{"rrf": {"of": ["lsa", "hashing"]}}], "health": True}
        changes |= {"encoders": [{"lsa": {"dim": 8, "label": "lsa"}}, "hashing"]}
    return Sweep(**settings(tiny, **changes)).run(out=tmp_path / "out", progress=False)


def test_every_column_is_documented_with_its_type(finished: Results) -> None:
    sweep = Sweep(**finished.manifest["sweep"])
    promised: dict[str, set[Any]] = {}
    for cell, kinds, _ in documented("results.parquet"):
        types = set().union(*(KINDS[kind] for kind in kinds.split(", ")))
        for name in names(cell, sweep):
            if "_seeds_" not in name or sweep.build_seeds > 1:
                promised[name] = types
    seeds = [name for name in finished.rows.columns if "_seeds_" in name]
    assert len(seeds) == (2 * (len(sweep.measures) + 2) if sweep.build_seeds > 1 else 0)
    written = {name: kind for name, kind in finished.rows.schema.items() if name not in seeds}
    assert set(written) == {name for name in promised if name not in seeds}
    assert not {name: kind for name, kind in written.items() if kind not in promised[name]}


def test_every_key_of_the_manifest_is_documented(finished: Results) -> None:
    promised = {
        name for row in documented("manifest.json") for name in re.findall("`(.*?)`", row[0])
    }
    assert set(finished.manifest) - promised - {"retrieval_eval"} == set()
    assert promised - set(finished.manifest) == {"asked", "tuning", "earlier_results"}


def test_without_timing_no_cost_is_written(finished: Results) -> None:
    if finished.manifest["sweep"]["timing"] is not None:
        pytest.skip("this one is timed")
    rows = finished.rows.filter(pl.col("index") == "flat")
    costs = ["latency_p50_s", "qps", "build_s", "peak_rss_bytes", "measured", "noise"]
    assert rows.select(costs).null_count().row(0) == (len(rows),) * len(costs)
    assert rows["nDCG@10"].null_count() == 0
    assert finished.rows["combine_s"].null_count() == finished.rows.height


def test_tables_come_as_pandas_frames_too(finished: Results) -> None:
    pytest.importorskip("pandas")
    frame = finished.to_pandas()
    assert list(frame.columns) == finished.rows.columns
    assert frame["nDCG@10"].tolist() == finished.rows["nDCG@10"].to_list()
    assert len(finished.to_pandas("per_query")) == len(finished.per_query)
