"""Single queries, pairs, and how to repeat it, in a real browser."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from retrieval_eval import Run
from retrieval_eval.report.serving import open_server
from retrieval_eval.store import Store
from retrieval_eval.sweep import Results, Sweep

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Open = Callable[..., Any]
_NONE = "\N{EN DASH}"


@pytest.fixture(scope="module")
def row(tiny: Results) -> dict[str, Any]:
    """Return a row that differs from its reference on some query."""
    moved = tiny.comparisons.filter(
        (pl.col("question") == "index") & (pl.col("measure") == "nDCG@10") & (pl.col("losses") > 0)
    )
    (found,) = tiny.rows.filter(tiny.rows["row_id"] == moved["candidate_row_id"].item(0)).to_dicts()
    return found


def compared(results: Results, row: dict[str, Any], measure: str) -> dict[str, Any]:
    (found,) = results.comparisons.filter(
        (pl.col("candidate_row_id") == row["row_id"])
        & (pl.col("measure") == measure)
        & (pl.col("question") == "index")
    ).to_dicts()
    return found


@pytest.mark.parametrize("measure", ["nDCG@10", "R@20"])
def test_queries_that_moved_have_the_scores_of_the_parquet(
    opened: Open, tiny: Results, row: dict[str, Any], measure: str
) -> None:
    view = opened()
    view.go(f"#queries?row={row['row_id']}&queries.measure={measure}")
    told = compared(tiny, row, measure)
    words = f"{told['wins']} better, {told['losses']} worse, {told['ties']} equal"
    assert view.texts(".queries-told")[0].startswith(words)
    mean = view.page.locator(".queries-told [data-value]").get_attribute("data-value")
    assert float(mean) == pytest.approx(told["difference"], abs=1e-12)
    scores = {(one["row_id"], one["query_id"]): one[measure] for one in tiny.per_query.to_dicts()}
    lines = view.page.locator(".queries-moved > tbody > tr").all()
    assert len(lines) == told["wins"] + told["losses"]
    for line in lines:
        query = line.locator("button[data-query]").get_attribute("data-query")
        before, after, change = (
            float(cell.get_attribute("data-value")) for cell in line.locator("[data-value]").all()
        )
        assert before == scores[told["reference_row_id"], query]
        assert after == scores[row["row_id"], query]
        assert change == after - before


def test_a_query_opens_into_its_documents_with_their_ranks_in_both_runs(
    opened: Open, tiny: Results, row: dict[str, Any]
) -> None:
    view = opened()
    view.go(f"#queries?queries.row={row['row_id']}")
    button = view.page.locator("button[data-query]").first
    button.focus()
    view.page.keyboard.press("Enter")
    view.page.wait_for_selector("td.judged table")
    assert button.get_attribute("aria-expanded") == "true"
    query = button.get_attribute("data-query")
    runs = {
        side: Run.from_file(next((tiny.folder / "runs").glob(f"*{row_id[:8]}*")))
        for side, row_id in (
            ("reference", compared(tiny, row, "nDCG@10")["reference_row_id"]),
            ("row", row["row_id"]),
        )
    }
    ranks = {
        side: {document: place for place, document in enumerate(ranked(run, query), 1)}
        for side, run in runs.items()
    }
    lines = view.page.locator("td.judged tbody tr").all()
    assert len(lines) >= 1
    for line in lines:
        document = line.locator("th span").first.inner_text()
        grade, before, after, verdict = line.locator("td").all_inner_texts()
        assert grade == "1"
        assert before == str(ranks["reference"].get(document, _NONE))
        assert after == str(ranks["row"].get(document, _NONE))
        top = [one != _NONE and int(one) <= 10 for one in (before, after)]
        assert ("lost by the index" in verdict) == (top == [True, False])
        assert ("lost by the encoder" in verdict) == (top == [False, False])
    address = view.hash()
    assert f"queries.query={query}" in address
    other = opened()
    other.go(address)
    other.page.wait_for_selector("td.judged table")
    assert other.texts("td.judged") == view.texts("td.judged")
    button.press("Enter")
    assert view.page.locator("td.judged").count() == 0


def ranked(run: Run, query: str) -> list[str]:
    scores = run.to_mapping()[query]
    return sorted(scores, key=lambda document: (scores[document], document), reverse=True)


def test_texts_of_queries_are_text(opened: Open, tiny: Results, specials: str) -> None:
    view = opened()
    for one in tiny.rows.filter(~pl.col("is_reference"))["row_id"]:
        view.go(f"#queries?queries.row={one}")
        if "q0" in view.texts("button[data-query]"):
            break
    view.page.locator('button[data-query="q0"]').click()
    view.page.wait_for_selector("td.judged table")
    shown = view.page.locator("#queries").inner_text()
    assert f"<img src=x onerror=alert(2)> {specials}" in shown
    assert view.page.locator("#queries img, #queries script").count() == 0
    assert view.wrong == []


def test_a_row_of_the_leaderboard_leads_to_its_queries(opened: Open, row: dict[str, Any]) -> None:
    view = opened()
    view.page.locator(f'#leaderboard button[data-row="{row["row_id"]}"]').click()
    view.page.get_by_role("link", name="Its queries, beside the reference").click()
    assert row["configuration"] in view.texts("#queries h3")[0]
    assert row["encoder"] in view.texts("#queries h3")[0]


def test_what_the_sweep_compared_is_that_of_the_parquet(opened: Open, tiny: Results) -> None:
    view = opened()
    view.go("#pairs")
    chooser = view.page.locator("#pairs").get_by_label("rows")
    own = [text for text in chooser.locator("option").all_inner_texts() if "compared" in text]
    assert own
    chooser.select_option(label=own[0])
    view.page.locator("#pairs [data-view] table.data:not(.pairs-matrix)").wait_for()
    known = tiny.comparisons.filter(pl.col("measure") == "nDCG@10")
    names = ("difference", "effect", "p", "p_adjusted")
    figures = {value for name in names for value in known[name] if value is not None}
    cells = view.page.locator("#pairs [data-view] tbody [data-value]").all()
    given = {float(cell.get_attribute("data-value")) for cell in cells}
    assert len(cells) >= len(known)
    assert given <= figures
    assert set(known["p_adjusted"]) | set(known["difference"]) <= given


def test_the_configuration_is_copied_and_can_be_run(opened: Open, tiny: Results) -> None:
    view = opened(permissions=["clipboard-read", "clipboard-write"])
    view.go("#repeat")
    view.page.locator("#repeat").get_by_role("button", name="Copy: Configuration").focus()
    view.page.keyboard.press("Enter")
    view.page.get_by_role("button", name="Copy: Configuration").get_by_text("Copied").wait_for()
    assert "copied" in view.texts("#announcements")[0]
    text = view.page.evaluate("() => navigator.clipboard.readText()")
    import yaml

    assert Sweep(**yaml.safe_load(text)) == Sweep(**tiny.manifest["sweep"])


def test_a_page_that_waits_becomes_the_report_and_keeps_its_address(
    browser: Browser, tiny: Results, tmp_path: Path
) -> None:
    wrong: list[str] = []
    asked: set[str] = set()
    store = Store(tiny.folder.parent / "cache")
    with open_server(tmp_path / "out", store=store) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page = browser.new_page()
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.partition("#")[0]))
        page.goto(f"{server.url}#leaderboard?leaderboard.sort=-R@20")
        page.get_by_text("waiting").first.wait_for()
        shutil.copytree(tiny.folder, tmp_path / "whole")
        (tmp_path / "whole").rename(tmp_path / "out")
        header = page.locator("#leaderboard th[aria-sort]")
        header.wait_for(timeout=60_000)
        assert header.inner_text().startswith("R@20")
        page.close()
        server.shutdown()
        thread.join()
    assert wrong == []
    assert {url.partition("?")[0] for url in asked} <= {server.url, f"{server.url}state"}
