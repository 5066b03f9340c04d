"""The page of a sweep in a real browser: what a reader sees, does, and can rely on."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.report.leaderboard import leaderboard_table
from retrieval_eval.sweep import Results

Open = Callable[..., Any]
SPECIAL = "<script>alert(1)</script>"


def part(file: Path, name: str) -> Any:
    """Unpack a part of the page."""
    text = file.read_text(encoding="utf-8")
    found = re.search(f'data-part="{re.escape(name)}">([^<]*)<', text)
    assert found is not None, name
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def column_of(view: Any, name: str) -> list[str | None]:
    cells = view.page.locator(f'#leaderboard tbody [data-column="{name}"]').all()
    return [cell.get_attribute("data-value") for cell in cells]


def test_it_opens_from_disk_and_asks_for_nothing(opened: Open, file: Path) -> None:
    view = opened()
    for _ in range(20):  # the whole page, down to its end
        view.page.mouse.wheel(0, 1000)
    assert view.wrong == []
    assert {url.split("#")[0] for url in view.requests} == {file.as_uri()}
    titles = view.texts("main h2")
    assert titles[:3] == ["Answer", "Leaderboard", "Trade-offs"]
    assert view.texts("nav a") == titles


def test_every_number_of_the_leaderboard_is_that_of_the_parquet(
    opened: Open, tiny: Results
) -> None:
    board = leaderboard_table(tiny)
    names = [one.name for one in board.columns]
    view = opened()
    view.go("#leaderboard?leaderboard.size=all&leaderboard.columns=" + ",".join(names))
    compared = 0
    for column in board.columns:
        cells = view.page.locator(f'#leaderboard tbody [data-column="{column.name}"]').all()
        rows = tiny.rows[column.name].to_list() if column.name in tiny.rows.columns else None
        if not cells:  # nothing in it
            assert rows is not None
            assert all(one is None for one in rows), column.name
            continue
        assert len(cells) == len(tiny.rows)
        for place, cell in enumerate(cells):
            given = cell.get_attribute("data-value")
            if rows is None:
                continue
            value = rows[place]
            if isinstance(value, float | int) and not isinstance(value, bool):
                assert given is not None, (column.name, value)
                assert float(given) == value
                assert column.shown(value) in cell.inner_text()
                compared += 1
            elif value is None:
                assert given is None
    assert compared > 10 * len(tiny.rows)


def test_intervals_are_those_of_the_parquet(file: Path, tiny: Results) -> None:
    table = part(file, "leaderboard/table")
    assert table["row_id"] == tiny.rows["row_id"].to_list()
    columns = {one["name"]: one for one in table["columns"]}
    for measure in ("nDCG@10", "R@20"):
        for name, end in (("values", ""), ("low", "_lo"), ("high", "_hi")):
            assert columns[measure][name] == tiny.rows[f"{measure}{end}"].to_list()


def test_a_header_sorts_and_the_address_says_so(opened: Open, tiny: Results) -> None:
    view = opened()
    button = view.page.locator('#leaderboard button[data-sort="nDCG@10"]')
    ordered = sorted(tiny.rows["nDCG@10"].to_list())
    for order, values in (("descending", ordered[::-1]), ("ascending", ordered)):
        button.click()
        assert [float(one or "nan") for one in column_of(view, "nDCG@10")] == values
        header = view.page.locator("#leaderboard th[aria-sort]")
        assert header.get_attribute("aria-sort") == order
    assert "leaderboard.sort=nDCG@10" in view.hash()
    button.click()
    assert view.page.locator("#leaderboard th[aria-sort]").count() == 0


def test_unmeasured_stands_last_whichever_way(opened: Open, tiny: Results) -> None:
    assert tiny.rows["build_s"].null_count() > 0, "a combination is not built"
    view = opened()
    for sort in ("build_s", "-build_s"):
        view.go(f"#leaderboard?leaderboard.sort={sort}")
        values = column_of(view, "build_s")
        known = [float(one) for one in values if one is not None]
        assert values[: len(known)].count(None) == 0
        assert known == sorted(known, reverse=sort.startswith("-"))


def test_it_filters_by_encoder_index_parameter_and_words(opened: Open, tiny: Results) -> None:
    view = opened()
    controls = view.page.locator("#leaderboard .controls").first
    controls.get_by_label("encoder").select_option("lsa dim=8")
    assert set(column_of(view, "encoder")) == {"lsa dim=8"}
    controls.get_by_label("kind of index").select_option("ivf-flat")
    assert len(column_of(view, "encoder")) == 2
    view.page.get_by_text("Filter by parameter").click()
    view.page.locator("#leaderboard").get_by_label("nprobe").select_option("4")
    found = [text for text in view.texts("#leaderboard tbody th") if "nprobe=4" in text]
    assert len(found) == len(view.texts("#leaderboard tbody th")) == 1
    assert view.texts("#leaderboard caption")[0].startswith("1 of ")
    view.go()
    controls.get_by_label("words").fill("IVF nprobe=1")
    view.page.wait_for_timeout(100)
    expected = [one for one in tiny.rows["configuration"] if "nprobe=1" in one]
    assert len(column_of(view, "encoder")) == len(expected)


def test_a_deep_link_shows_what_its_writer_saw(opened: Open) -> None:
    first = opened()
    controls = first.page.locator("#leaderboard .controls").first
    controls.get_by_label("encoder").select_option("lsa dim=8")
    first.page.locator('#leaderboard button[data-sort="R@20"]').click()
    first.page.locator("#leaderboard tbody button[data-row]").first.click()
    where = first.page.evaluate("() => location.hash")
    second = opened()
    second.go(where)
    for selector in ("#leaderboard tbody", "#leaderboard .detail"):
        assert second.texts(selector) == first.texts(selector)
        assert second.texts(selector) != [""]
    chosen = second.page.locator("#leaderboard .controls").first.get_by_label("encoder")
    assert chosen.input_value() == "lsa dim=8"
    # An address that is changed by hand while the page is open, or by the button to go back.
    second.page.evaluate("() => { location.hash = '#leaderboard?leaderboard.sort=encoder' }")
    second.page.wait_for_selector("#leaderboard th[aria-sort] [data-sort=encoder]")
    assert chosen.input_value() == ""


def test_a_link_to_a_section_keeps_what_was_chosen(opened: Open) -> None:
    view = opened()
    view.page.locator('#leaderboard button[data-sort="R@20"]').click()
    view.page.locator("nav a", has_text="Trade-offs").click()
    assert view.hash() == "#tradeoffs?leaderboard.sort=-R@20"
    assert view.page.locator("#leaderboard th[aria-sort]").count() == 1


def test_columns_are_chosen_by_the_reader(opened: Open) -> None:
    view = opened()
    view.page.get_by_text("Choose columns").click()
    box = view.page.locator('#leaderboard .columns input[value="n_queries"]')
    box.check()
    assert set(column_of(view, "n_queries")) == {"12"}
    box.uncheck()
    assert column_of(view, "n_queries") == []
    view.page.get_by_role("button", name="Usual columns").click()
    assert "leaderboard.columns" not in view.hash()


def test_it_works_by_keyboard(opened: Open) -> None:
    view = opened()
    keyboard = view.page.keyboard
    keyboard.press("Tab")
    assert view.page.evaluate("() => document.activeElement.textContent").startswith("Skip")
    view.page.locator('#leaderboard button[data-sort="nDCG@10"]').focus()
    keyboard.press("Enter")
    assert view.page.evaluate("() => document.activeElement.dataset.sort") == "nDCG@10"
    assert view.page.locator("#leaderboard th[aria-sort]").count() == 1
    assert "sorted by nDCG@10" in view.texts("#announcements")[0]
    row = view.page.locator("#leaderboard tbody button[data-row]").nth(1)
    row.focus()
    keyboard.press("Enter")
    assert row.get_attribute("aria-expanded") == "true"
    assert view.page.evaluate("() => document.activeElement.tagName") == "H3"
    keyboard.press("Escape")
    assert view.page.locator("#leaderboard .detail table").count() == 0
    assert view.page.evaluate("() => document.activeElement.dataset.row") is not None


def test_it_is_light_or_dark_as_the_system_or_the_reader_has_it(opened: Open) -> None:
    def colours(view: Any) -> tuple[str, set[str]]:
        page = view.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        fills = view.page.locator("#tradeoffs .drawing path[fill]").all()
        return page, {one.get_attribute("fill") or "" for one in fills}

    view = opened(color_scheme="dark")
    page, fills = colours(view)
    assert page == "rgb(21, 24, 29)"
    assert "#56B4E9" in fills
    assert "#0072B2" not in fills
    view.page.get_by_role("button", name="Light").click()
    view.page.wait_for_selector('#tradeoffs .drawing path[fill="#0072B2"]')
    page, fills = colours(view)
    assert page == "rgb(255, 255, 255)"
    assert "#56B4E9" not in fills
    view.go()
    assert colours(view)[0] == "rgb(255, 255, 255)", "the choice is kept"
    assert view.wrong == []


def test_texts_are_shown_as_text_and_never_run(opened: Open, specials: str) -> None:
    view = opened()
    view.go("#leaderboard?leaderboard.size=all")
    assert SPECIAL in specials
    shown = view.page.locator("main").inner_text()
    assert specials in shown
    for forbidden in (
        "main script",
        "main img",
        "main [onerror]",
        "main iframe",
        "main a[href^=j]",
    ):
        assert view.page.locator(f"main {forbidden}").count() == 0, forbidden
    assert view.wrong == []


def test_its_policy_runs_no_other_script_and_fetches_nothing(opened: Open) -> None:
    view = opened()
    refused = view.page.evaluate(
        """async () => {
          const refused = [];
          addEventListener("securitypolicyviolation", (one) => refused.push(one.blockedURI));
          const script = document.createElement("script");
          script.textContent = "window.broken = true";
          const image = document.createElement("img");
          image.src = "http://127.0.0.1:9/x.png";
          document.body.append(script, image);
          await fetch("http://127.0.0.1:9/").catch(() => {});
          for (let tries = 0; refused.length < 3 && tries < 500; tries += 1) {
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
          return refused.sort();
        }"""
    )
    assert refused == ["http://127.0.0.1:9/", "http://127.0.0.1:9/x.png", "inline"]
    assert view.page.evaluate("() => window.broken") is None


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_window(opened: Open, width: int) -> None:
    view = opened(width)
    view.page.wait_for_timeout(200)
    wide = view.page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= width


def test_on_paper_all_rows_are_there_and_no_controls(opened: Open, tmp_path: Path) -> None:
    view = opened()
    view.go("#leaderboard?leaderboard.text=nprobe%3D1")
    view.page.emulate_media(media="print")
    view.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert not view.page.locator("#leaderboard .controls").first.is_visible()
    assert not view.page.locator("header").is_visible()
    view.page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(opened: Open, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # The checks are a script of their own, which the page's policy would not run.
    view = opened(width, color_scheme=scheme, bypass_csp=True)
    view.page.locator("#leaderboard tbody button[data-row]").nth(1).click()
    view.page.evaluate(
        "() => document.querySelectorAll('details').forEach(one => { one.open = 1 })"
    )
    found = axe.Axe().run(view.page).response["violations"]
    serious = [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_unmeasured_is_empty_and_never_0(file: Path, tiny: Results) -> None:
    table = part(file, "leaderboard/table")
    for column in table["columns"]:
        if column["name"] not in tiny.rows.columns:
            continue
        for given, value in zip(column["values"], tiny.rows[column["name"]], strict=True):
            unknown = value is None or (isinstance(value, float) and not math.isfinite(value))
            assert (given is None) == unknown
