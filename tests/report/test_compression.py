"""Quality at equal bytes: tables and figure show what the sweep measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.indexes.equal_bytes import compressed_indexes
from retrieval_eval.report.compression import compressed_results, fewest_bytes
from retrieval_eval.report.figures import save
from retrieval_eval.report.figures.compression import compression_curves

MEASURE = "nDCG@10"
WAYS = compressed_indexes(64, [8, 16, 32], methods=["pq", "pca-int8"], depth=20)


def make_results(encoders: tuple[str, ...] = ("lsa", "hashing")) -> Any:
    """Make rows whose quality grows with bytes; pca-int8 never comes within the margin alone."""
    rows, comparisons = [], []
    for encoder in encoders:
        for place, label in enumerate(["flat", *(one.label for one in WAYS)]):
            way = None if label == "flat" else WAYS[place - 1]
            lost = 0.0
            if way is not None:
                lost = 0.001 if way.refined else 0.2 / way.bytes + 0.02 * (way.method != "pq")
            quality = 0.5 - lost
            row_id = f"{encoder} {label}"
            row = {
                "row_id": row_id,
                "dataset": "made",
                "encoder": encoder,
                "index": label,
                "configuration": label,
                "filter": None,
                "status": "ok",
                "is_reference": way is None,
                MEASURE: quality,
                f"{MEASURE}_lo": quality - 0.01,
                f"{MEASURE}_hi": quality + 0.01,
                "neighbour_recall@10": 1 - lost,
                "size_bytes": 1000 + place,
            }
            rows.append(row)
            if way is None:
                continue
            one = {
                "measure": MEASURE,
                "question": "index",
                "candidate_row_id": row_id,
                "difference": -lost,
                "difference_lo": -lost - 0.002,
                "difference_hi": -lost + 0.002,
                "noninferior": lost < 0.015,
            }
            # Comparisons of encoders, and by other measures, are not these.
            comparisons += [
                one,
                {**one, "question": "encoder", "difference": 9.0},
                {**one, "measure": "R@100", "difference": 9.0},
            ]
    return SimpleNamespace(rows=pl.DataFrame(rows), comparisons=pl.DataFrame(comparisons))


def test_each_way_has_its_own_row_and_comparison() -> None:
    results = make_results()
    found = compressed_results(results, WAYS, MEASURE)
    assert [(one.encoder, one.way) for one in found] == [
        (encoder, way) for encoder in ("lsa", "hashing") for way in WAYS
    ]
    for one in found:
        row = results.rows.row(
            by_predicate=(pl.col("encoder") == one.encoder) & (pl.col("index") == one.way.label),
            named=True,
        )
        assert (one.score, one.low, one.high) == (
            row[MEASURE],
            row[f"{MEASURE}_lo"],
            row[f"{MEASURE}_hi"],
        )
        assert one.difference == pytest.approx(one.score - 0.5)
        assert one.neighbour_recall == pytest.approx(1 + one.difference)
        assert one.size_bytes == row["size_bytes"]
    assert found[0].mean == "0.4750 [0.4650, 0.4850]"
    assert found[0].loss == "-0.0250 [-0.0270, -0.0230]"
    with pytest.raises(InputError, match="no row was compared with a reference by RR"):
        compressed_results(results, WAYS, "RR")


def test_the_fewest_bytes_are_the_first_that_are_shown_to_be_enough() -> None:
    found = fewest_bytes(compressed_results(make_results(("lsa",)), WAYS, MEASURE))
    assert {key[2:]: one and one.way.bytes for key, one in found.items()} == {
        ("pq", False): 16,
        ("pq", True): 8,
        ("pca-int8", False): None,
        ("pca-int8", True): 8,
    }


def test_every_number_of_the_figure_equals_the_table(tmp_path: Path) -> None:
    rows = make_results().rows
    figure = compression_curves(rows, WAYS, MEASURE)
    drawn = figure["datasets"]["rows"]
    by_label = {one.label: one for one in WAYS}
    points = {one["row_id"]: one for one in drawn if "x" in one}
    assert len(points) == 2 * len(WAYS)
    for row in rows.filter(pl.col("index") != "flat").to_dicts():
        point, way = points[row["row_id"]], by_label[row["index"]]
        assert (point["x"], point["encoder"]) == (way.bytes, way.method)
        assert (point["y"], point["low"], point["high"]) == (
            row[MEASURE],
            row[f"{MEASURE}_lo"],
            row[f"{MEASURE}_hi"],
        )
        assert point["panel"] == f"{row['encoder']}, {'refined' if way.refined else 'alone'}"
    lines = {one["panel"]: one["exact"] for one in drawn if "exact" in one}
    assert lines == dict.fromkeys({one["panel"] for one in points.values()}, 0.5)
    text = save(figure, tmp_path / "figure.svg").read_text(encoding="utf-8")
    for word in ("lsa, alone", "hashing, refined", "pca-int8", "bytes of a vector"):
        assert word in text


def test_a_row_that_failed_is_counted_and_one_that_is_not_listed_is_left_out() -> None:
    rows = make_results(("lsa",)).rows
    failed = pl.when(pl.col("index") == WAYS[0].label)
    rows = rows.with_columns(status=failed.then(pl.lit("failed")).otherwise("status"))
    figure = compression_curves(rows, WAYS[:3], MEASURE)
    assert sum("x" in one for one in figure["datasets"]["rows"]) == 2
    assert "2 rows; not shown: 1 failed." in " ".join(figure["title"]["subtitle"])
    with pytest.raises(InputError, match="nothing was measured"):
        compression_curves(rows, [], MEASURE)
