"""Pairs, data and embeddings on the page: figures of the tables, and texts that stay text."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval_eval.health import embedding_health
from retrieval_eval.report.groups import significance_groups
from retrieval_eval.report.page import pairs as pairs_module
from retrieval_eval.report.page.document import Section, assemble
from retrieval_eval.report.page.health import health_section
from retrieval_eval.report.page.pairs import pairs_section
from retrieval_eval.report.resolution import resolutions
from retrieval_eval.sweep import Results

Make = Callable[..., Any]
LOSSES = {"hnsw": 0.0, "ivf": 0.1, "pq": 0.102}


def shown(section: Section) -> str:
    return assemble("title", [section], figures=False)


def body(section: Section) -> str:
    """Return the section as HTML, without its data and scripts."""
    return shown(section).partition("<section")[2].partition("</section>")[0]


def part(section: Section, name: str) -> Any:
    """Return a part as a browser unpacks it."""
    found = re.search(f'data-part="pairs/{name}">([^<]*)<', shown(section))
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def test_a_matrix_holds_every_pair_as_it_was_tested(made: Make) -> None:
    sweep = made(LOSSES)
    (group,) = significance_groups(sweep)
    assert group.comparison is not None
    section = pairs_section(sweep)
    assert [one["title"] for one in part(section, "list")["matrices"]] == ["news | lsa"]
    matrix = part(section, "matrix-0")
    assert [one["name"] for one in matrix["rows"]] == ["flat", *LOSSES]
    assert [one["reference"] for one in matrix["rows"]] == [True, False, False, False]
    assert [one["means"] for one in matrix["rows"]] == [[m] for m in sweep.rows["nDCG@10"]]
    pairs = matrix["pairs"][0]
    assert len(pairs["a"]) == 6
    for place, one in enumerate(group.comparison.differences):
        names = [group.row_ids[pairs[side][place]] for side in "ab"]
        assert names == [one.a, one.b]
        assert pairs["difference"][place] == one.mean_diff
        assert (pairs["low"][place], pairs["high"][place]) == one.ci95
        assert pairs["effect"][place] == one.effect
        assert (pairs["p"][place], pairs["adjusted"][place]) == (one.p, one.p_adjusted)
        assert bool(pairs["significant"][place]) is one.significant
        assert float(pairs["difference_shown"][place]) == pytest.approx(one.mean_diff, abs=5e-5)


def test_what_the_sweep_compared_is_as_in_its_table(made: Make) -> None:
    sweep = made(LOSSES)
    section = pairs_section(sweep)
    own = part(section, "own-0")
    table = sweep.comparisons
    for name, column in (
        ("difference", "difference"),
        ("low", "difference_lo"),
        ("high", "difference_hi"),
        ("effect", "effect"),
        ("p", "p"),
        ("adjusted", "p_adjusted"),
        ("candidate", "candidate"),
        ("better", "wins"),
        ("worse", "losses"),
    ):
        assert own[name] == table[column].to_list()
    # The two families are told apart: the larger one corrects for more.
    assert "6 comparisons" in part(section, "list")["matrices"][0]["family"]
    assert max(own["adjusted"][1:]) < max(part(section, "matrix-0")["pairs"][0]["adjusted"][1:3])


def test_rows_of_several_encoders_have_a_matrix_of_their_own(tiny: Results) -> None:
    section = pairs_section(tiny)
    titles = [one["title"] for one in part(section, "list")["matrices"]]
    assert len(titles) == 3  # a combination alone has no pair
    assert titles[-1] == "tiny | all encoders"
    everyone = part(section, "matrix-2")
    ok = tiny.rows.filter(tiny.rows["status"] == "ok")
    assert [one["name"] for one in everyone["rows"]] == [
        f"{one['encoder']} | {one['configuration']}" for one in ok.to_dicts()
    ]
    assert len(everyone["pairs"]) == 2
    assert len(everyone["pairs"][0]["a"]) == len(ok) * (len(ok) - 1) // 2


def test_too_many_rows_have_no_matrix_and_a_reason(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = made(LOSSES)
    monkeypatch.setattr(pairs_module, "_ROWS", 3)
    section = pairs_section(sweep)
    assert part(section, "list")["matrices"] == []
    assert "news | lsa: 4 rows, and a matrix holds 3" in body(section)
    assert part(section, "own-0")["candidate"]
    monkeypatch.setattr(pairs_module, "LARGEST", 100)
    assert "more than the 100 scores" in body(pairs_section(sweep))


def test_matrices_that_would_fill_the_page_are_left_out(
    tiny: Results, specials: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three pairs x two measures of each encoder; 21 pairs of all rows.
    for cells, kept in ((11, 1), (12, 2), (12 + 41, 2), (12 + 42, 3)):
        monkeypatch.setattr(pairs_module, "_CELLS", cells)
        section = pairs_section(tiny)
        titles = ["tiny | lsa dim=8", f"tiny | {specials}", "tiny | all encoders"]
        assert [one["title"] for one in part(section, "list")["matrices"]] == titles[:kept]
        assert body(section).count("the matrices before it fill the page") == 3 - kept


def test_the_table_of_what_can_be_resolved_has_all_digits(made: Make) -> None:
    sweep = made(LOSSES, margin={"nDCG@10": 0.001})
    (one,) = resolutions(sweep.comparisons, sweep.manifest)
    html = body(pairs_section(sweep))
    for value in (one.sd, one.alone, one.corrected, one.unseen):
        assert f'data-value="{value}"' in html
    assert "below what is found" in html
    assert "below what is found" not in body(pairs_section(made(LOSSES, margin={"nDCG@10": 0.5})))


def test_a_sweep_with_one_encoder_says_that_orders_have_nothing_to_compare(made: Make) -> None:
    assert "There is nothing to compare: the sweep has one encoder" in body(
        pairs_section(made(LOSSES))
    )


def test_the_order_of_encoders_is_shown_with_its_swaps(made: Make) -> None:
    one = made({"hnsw": 0.2}, encoder="a", seed=1, spread=0.01)
    other = made({"hnsw": -0.2}, encoder="b", seed=1, spread=0.01)
    both = replace(
        one,
        rows=pl.concat([one.rows, other.rows.with_columns(pl.col("nDCG@10") - 0.1)]),
        per_query=pl.concat([one.per_query, other.per_query.with_columns(pl.col("nDCG@10") - 0.1)]),
    )
    html = body(pairs_section(both))
    assert "Two encoders change places in 1 case" in html
    assert "beyond chance: both orders are significant" in html
    assert 'data-value="-1.0"' in html


def test_names_are_text_and_never_html(made: Make, tiny: Results, specials: str) -> None:
    sweep = made(LOSSES, dataset=specials, encoder=specials)
    for section in (pairs_section(sweep), pairs_section(tiny), health_section(tiny)):
        html = shown(section)
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


# -- data and embeddings ----------------------------------------------------------------------


def test_data_sets_are_shown_as_recorded(tiny: Results) -> None:
    html = body(health_section(tiny))
    facts = tiny.manifest["datasets"]["tiny"]
    for name in ("corpus", "queries_checksum", "qrels"):
        assert facts[name] in html
    assert f'data-value="{facts["judgments"]}"' in html
    assert "not measured: Judged@10 among the measures tells" in html
    assert "<code>health: true</code>" in html
    row = tiny.rows.filter(tiny.rows["encoder"] == "lsa dim=8").to_dicts()[0]
    assert f'data-value="{row["encode_documents_s"]}"' in html


def test_the_judged_share_is_that_of_the_rows(tiny: Results) -> None:
    shares = np.linspace(0.25, 0.75, len(tiny.rows))
    rows = tiny.rows.with_columns(pl.Series("Judged@10", shares), pl.lit(0.9).alias("Judged@10_hi"))
    made = SimpleNamespace(rows=rows, manifest=tiny.manifest, folder=tiny.folder)
    html = body(health_section(made))
    assert ">0.2500</span> to" in html
    assert ">0.7500</span>, by row" in html
    assert "Judged@10_hi" not in html


def test_the_health_of_embeddings_has_figures_meanings_and_notes(
    tiny: Results, tmp_path: Path, specials: str
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    vectors[:10] = vectors[10:20]
    record = {"dataset": specials, "encoder": "lsa", **embedding_health(vectors).as_dict()}
    frame = pl.DataFrame([record], infer_schema_length=None)
    frame.write_parquet(tmp_path / "health.parquet")
    made = SimpleNamespace(rows=tiny.rows, manifest=tiny.manifest, folder=tmp_path, health=frame)
    html = body(health_section(made))
    assert f'data-value="{record["rankme"]}"' in html
    assert "effective rank, in dimensions: RankMe" in html
    assert "33.3 % of the documents have an exact duplicate" in html
    assert "query_hubness_skewness" not in html  # no queries were given
    assert "<script>alert" not in html


def test_what_encoding_cost_is_shown_once(tiny: Results) -> None:
    usage = json.dumps({"tokens": 1200, "cost_usd": 0.024})
    rows = tiny.rows.with_columns(pl.lit(usage).alias("encoder_usage"))
    rows = rows.filter(pl.col("encoder") == "lsa dim=8")
    made = SimpleNamespace(rows=rows, manifest=tiny.manifest, folder=tiny.folder)
    html = body(health_section(made))
    assert html.count("tokens 1200, cost usd 0.024") == 1
