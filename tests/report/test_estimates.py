"""The figure of estimates: it shows what it is given, and renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.report.figures import save
from retrieval_eval.report.figures.estimates import estimates


def rows(panels: tuple[str, ...] = ("M=8", "M=16")) -> list[dict[str, Any]]:
    return [
        {
            "panel": panel,
            "label": label,
            "series": series,
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
        }
        for panel in panels
        for label, value in (("lid-ascending", -0.25), ("category", 0.125))
        for series in ("lsa", "<b>&")
    ]


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_estimates_hold_their_values_and_render(theme: str, tmp_path: Path) -> None:
    figure = estimates(rows(), "Orders", "difference", theme=theme, notes=["On what."])
    embedded = figure["datasets"]["estimates"]
    assert embedded == rows()
    assert figure["title"] == {"text": ["Orders"], "subtitle": ["On what."]}
    svg = save(figure, tmp_path / "figure.svg").read_text(encoding="utf-8")
    for word in ("lid-ascending", "M=16", "difference", "&lt;b&gt;&amp;"):
        assert word in svg
    assert svg.count('aria-roledescription="point"') == len(rows())
    assert "95 % interval from: \u22120.35; to: \u22120.15" in svg


def test_one_panel_and_missing_intervals_render(tmp_path: Path) -> None:
    one = [
        {"label": "a", "series": "s", "value": 1.0},
        {"label": "b", "series": "s", "value": None},
    ]
    figure = estimates(one, "One", "value", zero=False)
    assert figure["datasets"]["estimates"] == [
        {"label": "a", "series": "s", "panel": "", "value": 1.0}
    ]
    assert "facet" not in figure
    save(figure, tmp_path / "figure.svg")


def test_nothing_to_draw_and_too_many_series_are_refused() -> None:
    with pytest.raises(InputError, match="no value to draw"):
        estimates([], "None", "value")
    many = [{"label": "a", "series": str(one), "value": 0.0} for one in range(9)]
    with pytest.raises(InputError, match="9 series are more than the 8"):
        estimates(many, "Many", "value")
