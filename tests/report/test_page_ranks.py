"""The page of ranks: what stands in it, that it needs nothing else, and that text is escaped."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation
from retrieval_eval.report.page.ranks import (
    aggregate_all,
    changed_pairs,
    ranks_section,
    write_ranks_page,
)


def condorcet() -> dict[str, list[Evaluation]]:
    """A beats both others on 3 of 5 sets and is last on the others; by mean, B is far ahead."""
    means = [[3, 2, 1]] * 3 + [[1, 9, 2]] * 2
    rng = np.random.default_rng(0)
    ids = tuple(f"q{n}" for n in range(20))
    data = {}
    for place, row in enumerate(means):
        noise = rng.normal(size=20) * 0.01
        data[f"set {place} <i>"] = [
            Evaluation(name, ("AP",), ids, (mean + noise)[None] / 10, 0)
            for name, mean in zip(("A & co", "B", "C"), row, strict=True)
        ]
    return data


def test_the_condorcet_case_tells_kemeny_from_mean_and_borda() -> None:
    orders = aggregate_all(condorcet(), "AP", draws=100)
    assert [one.method for one in orders] == ["mean", "borda", "kemeny"]
    assert [one.position for one in orders] == [(2, 1, 3), (2, 1, 3), (1, 2, 3)]
    assert changed_pairs(orders) == [("B", "A & co", "kemeny")]
    assert changed_pairs(orders[::-1]) == [("A & co", "B", "borda"), ("A & co", "B", "mean")]


def test_the_section_has_means_ranks_and_places() -> None:
    data = condorcet()
    orders = aggregate_all(data, "AP", draws=100)
    context = ranks_section(data, "AP", orders).context
    assert [one["name"] for one in context["systems"]] == ["B", "A & co", "C"]
    best = context["systems"][0]
    assert best["cells"][0]["value"] == pytest.approx(
        float(data["set 0 <i>"][1].per_query("AP").mean())
    )
    assert [cell["rank"] for cell in best["cells"]] == ["2", "2", "2", "1", "1"]
    assert [cell["best"] for cell in best["cells"]] == [False, False, False, True, True]
    assert [place["shown"] for place in best["places"]] == ["1", "1", "2"]
    assert context["systems"][2]["places"][0]["dot"] == "100.00"
    assert context["swaps"] == ["B is ahead of A & co by mean, not by kemeny"]
    with pytest.raises(InputError, match="at least one aggregation"):
        ranks_section(data, "AP", [])


def test_queries_are_matched_by_id() -> None:
    data = condorcet()
    first, second, third = data["set 0 <i>"]
    first.values[0, 3] = np.nan  # left out for all systems
    turned = Evaluation("B", ("AP",), second.query_ids[::-1], second.values[:, ::-1].copy(), 0)
    orders = aggregate_all(data, "AP", draws=100)
    shuffled = {**data, "set 0 <i>": [third, turned, first]}
    one, other = (ranks_section(each, "AP", orders).context for each in (data, shuffled))
    assert one == other
    kept = np.delete(second.values[0], 3).mean()
    assert one["systems"][0]["cells"][0]["value"] == pytest.approx(float(kept))


def test_many_systems_have_no_kemeny_order() -> None:
    ids = tuple(f"q{n}" for n in range(5))
    runs = [
        Evaluation(f"s{n}", ("AP",), ids, np.full((1, 5), n / 20) + np.arange(5) / 100, 0)
        for n in range(13)
    ]
    assert [one.method for one in aggregate_all({"x": runs}, "AP", draws=100)] == ["mean", "borda"]


def test_the_page_is_one_file_and_text_is_text(tmp_path: Path) -> None:
    data = condorcet()
    orders = aggregate_all(data, "AP", draws=100)
    path = write_ranks_page(tmp_path / "new" / "page.html", data, "AP", orders, notes=["<b>x"])
    text = path.read_text(encoding="utf-8")
    assert "set 0 &lt;i&gt;" in text
    assert "<i>" not in text
    assert "&lt;b&gt;x" in text
    assert "A &amp; co" in text
    assert not re.search(r"(src|href)=\"https?:", text)
    assert "default-src &#39;none&#39;" in text
    assert len(text) < 200_000  # no library for figures
    assert (
        path.read_bytes() == write_ranks_page(path, data, "AP", orders, notes=["<b>x"]).read_bytes()
    )
    with pytest.raises(InputError, match="cannot be written"):
        write_ranks_page(tmp_path, data, "AP", orders)
