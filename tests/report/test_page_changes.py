"""Sweeps side by side on the page: its figures are those of the tables, and names stay text."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from retrieval_eval.report.changes import changes, side_by_side
from retrieval_eval.report.changes.rows import Changes
from retrieval_eval.report.changes.text import changes_summary
from retrieval_eval.report.page.changes import changes_section
from retrieval_eval.report.page.document import assemble

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Make = Callable[..., Any]


def moved(made: Make, **settings: Any) -> SimpleNamespace:
    """Return a sweep that differs: ``ivf`` lost, ``pq`` is gone, ``new`` came."""
    found = made({"hnsw": 0.01, "ivf": 0.1, "new": 0.0}, **settings)
    latency = pl.when(pl.col("configuration") == "hnsw").then(0.1).otherwise("latency_p95_s")
    rows = found.rows.with_columns(latency.alias("latency_p95_s"))
    manifest = {**found.manifest, "versions": {"faiss-cpu": "1.12.0"}}
    return SimpleNamespace(rows=rows, per_query=found.per_query, manifest=manifest)


def before(made: Make, **settings: Any) -> SimpleNamespace:
    found = made({"hnsw": 0.01, "ivf": 0.0, "pq": 0.2}, **settings)
    manifest = {**found.manifest, "versions": {"faiss-cpu": "1.11.0"}}
    return SimpleNamespace(rows=found.rows, per_query=found.per_query, manifest=manifest)


@pytest.fixture
def found(made: Make) -> Changes:
    return changes(before(made), moved(made))


def html(*pairs: Changes) -> str:
    section = changes_section(pairs)
    assert section is not None
    return assemble("title", [section], figures=False)


def part(text: str, name: str) -> Any:
    """Return a part as a browser unpacks it."""
    packed = re.search(f'data-part="changes/{name}">([^<]*)<', text)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_cells_hold_the_figures_with_all_digits_and_as_they_are_shown(found: Changes) -> None:
    table = part(html(found), "0")
    assert table["headers"][:2] == ["nDCG@10, B minus A", "neighbour recall@10, B minus A"]
    rows = {one["name"]: one for one in table["rows"]}
    assert list(rows) == [f"lsa | {name}" for name in ("flat", "hnsw", "ivf", "pq", "new")]
    (lost,) = [row for row in found.rows if row.name.configuration == "ivf"]
    (change,) = lost.quality
    assert change.difference is not None
    assert change.low is not None
    assert change.high is not None
    cell = rows["lsa | ivf"]["cells"][0]
    assert cell["value"] == change.difference
    assert cell["text"] == f"{change.difference:+.4f}"
    assert cell["lines"][0] == f"{change.old:.4f} → {change.new:.4f}"
    assert cell["lines"][1] == f"[{change.low:+.4f}, {change.high:+.4f}]"
    assert cell["lines"][2].startswith("adjusted p ")
    assert cell["tag"] == {"text": "worse", "tone": "bad", "title": ""}
    assert rows["lsa | flat"]["cells"][0]["tag"]["text"] == "identical"
    place = next(i for i, name in enumerate(table["headers"]) if name.startswith("p95"))
    slow = next(one for one in found.rows[1].costs if one.column == "latency_p95_s")
    assert rows["lsa | hnsw"]["cells"][place]["value"] == slow.ratio
    assert rows["lsa | pq"]["tags"][0]["text"] == "only in A"
    assert rows["lsa | new"]["tags"][0]["text"] == "only in B"
    assert [rows[name]["changed"] for name in rows] == [
        *(row.changed for row in found.rows),
        *(True, True),
    ]


def test_the_sentences_and_circumstances_need_no_script(found: Changes) -> None:
    body = html(found).partition("<section")[2].partition("</section>")[0]
    for sentence in changes_summary(found):
        assert sentence.replace(">", "&gt;") in body.replace("&#39;", "'")
    assert "faiss-cpu" in body
    assert "1.11.0" in body


def test_names_stay_text(made: Make, specials: str) -> None:
    a, b = (one(made, encoder=specials) for one in (before, moved))
    text = html(changes(a, b))
    assert specials not in text
    assert "<script>alert" not in text
    assert part(text, "0")["rows"][0]["name"] == f"{specials} | flat"


def test_what_is_undefined_or_unmeasured_is_no_figure(made: Make) -> None:
    a, b = before(made, timed=False), moved(made, timed=False)
    b.per_query = b.per_query.with_columns(pl.lit(float("nan")).alias("nDCG@10"))
    b.rows = b.rows.with_columns(pl.lit(float("nan")).alias("nDCG@10"))
    table = part(html(changes(a, b)), "0")
    assert not any(name.startswith("p50") for name in table["headers"])
    assert table["rows"][0]["cells"][0]["value"] is None
    reason = "it is defined on no query of both"
    tag = {"text": "not compared", "tone": "plain", "title": reason}
    assert table["rows"][0]["cells"][0]["tag"] == tag


def test_there_is_no_section_of_nothing() -> None:
    assert changes_section([]) is None


def test_a_table_of_many_rows_stays_small(made: Make) -> None:
    names = {f"hnsw M={place}": 0.01 for place in range(300)}
    found = changes(made(names), made(names, seed=1))
    assert len(html(found)) < 250_000


def texts(page: Page, selector: str) -> list[str]:
    return [one.strip() for one in page.locator(selector).all_inner_texts()]


def test_a_reader_sorts_cuts_down_and_chooses_sweeps(
    browser: Browser, made: Make, tmp_path: Path
) -> None:
    noise = {"hnsw": "searching: others kept 2.0 cores busy"}
    a = before(made, noise=noise)
    path = tmp_path / "report.html"
    path.write_text(html(*side_by_side([a, moved(made), a])), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    rows = "[data-pair='0'] [data-rows] tbody tr"
    names = f"{rows} th div"
    assert texts(page, names) == [f"lsa | {name}" for name in ("flat", "hnsw", "ivf", "pq", "new")]
    assert page.locator("[data-pair='1']").is_hidden()
    assert "(timed while other work ran)" in texts(page, "[data-pair='0'] .unseen")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("[data-pair='0'] button[data-sort='0']").click()
    shown = [
        float(value)
        for one in page.locator(f"{rows} td:nth-child(2)").all()
        if (value := one.get_attribute("data-value")) is not None
    ]
    assert shown == sorted(shown)
    assert len(shown) == 3
    assert texts(page, names)[0] == "lsa | ivf"
    assert page.locator("[data-pair='0'] th[aria-sort=ascending]").count() == 1
    assert page.evaluate("document.activeElement.dataset.sort") == "0"  # a keyboard stays there
    page.get_by_label("only what changed").first.check()
    assert "lsa | flat" not in texts(page, names)
    assert "changes.only=1" in page.evaluate("decodeURIComponent(location.hash)")
    page.get_by_label("sweeps").select_option("1")
    assert page.locator("[data-pair='0']").is_hidden()
    assert texts(page, "[data-pair='1'] [data-rows] tbody tr") == []  # nothing changed
    page.reload()
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    assert page.locator("[data-pair='0']").is_hidden()
    assert page.get_by_label("only what changed").last.is_checked()
    page.evaluate("location.hash = '#changes?changes.pair=0'")
    page.locator("[data-pair='0']").wait_for()
    assert page.get_by_label("sweeps").input_value() == "0"
    assert len(texts(page, names)) == 5
    assert not wrong
    page.close()
