"""How figures look: themes, a palette that colour-blind readers can tell apart, units in words."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.selection import CRITERIA

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "SHAPES",
    "THEMES",
    "Figure",
    "Quantity",
    "Theme",
    "cost_quantity",
    "dark_colours",
    "find_theme",
    "finished",
    "load_altair",
    "numeric_axis",
    "plain_text",
]

Figure = dict[str, Any]
"""A Vega-Lite specification, complete: data, looks, words."""

SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
DASHES = ([1, 0], [6, 2], [2, 2], [8, 2, 2, 2], [4, 4], [1, 3], [10, 4], [6, 2, 1, 2, 1, 2])

# Okabe and Ito 2008, Color Universal Design, ordered so that neighbours differ in lightness, too.
_BLUE, _ORANGE, _GREEN, _RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_PURPLE, _SKY, _YELLOW, _BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_DECADE = 10.0


@dataclass(frozen=True)
class Theme:
    """Colours, sizes and where the legend stands.

    Parameters
    ----------
    name : str
        What it is asked for by.
    background, text, faint, grid : str
        Colours of the page, of words, of lesser words, of grid lines.
    palette : tuple of str
        Colours of categories, in order.
    middle : str
        Colour of no effect, between those of worse and better.
    steps : tuple of str
        Colours of p values, from the largest to the smallest, and one for none.
    font_size : float
        Of labels, in pixels (of 1/72 inch in PDF and SVG).
    width, height : int
        Of a panel, in pixels.
    mark : int
        Area of a mark, in square pixels.
    legend : {'right', 'bottom'}
        Where the legend stands.
    """

    name: str
    background: str
    text: str
    faint: str
    grid: str
    palette: tuple[str, ...]
    middle: str
    steps: tuple[str, ...]
    font_size: float
    width: int
    height: int
    mark: int
    legend: str

    @property
    def better(self) -> str:
        """Colour of better."""
        return _SKY if self.name == "dark" else _BLUE

    @property
    def worse(self) -> str:
        """Colour of worse."""
        return _ORANGE

    def config(self) -> dict[str, Any]:
        """Return the looks as Vega-Lite takes them."""
        words = {"labelColor": self.text, "titleColor": self.text}
        sizes = {
            "labelFontSize": self.font_size,
            "titleFontSize": self.font_size,
            "titleFontWeight": "normal",
        }
        return {
            "background": self.background,
            "font": "Helvetica, Arial, Liberation Sans, sans-serif",
            "axis": {
                **words,
                **sizes,
                "domainColor": self.faint,
                "gridColor": self.grid,
                "tickColor": self.faint,
                "labelOverlap": "greedy",
                "titlePadding": 0.5 * self.font_size,
                "tickSize": 0.4 * self.font_size,
                **{f"{part}Width": self.font_size / 12 for part in ("domain", "grid", "tick")},
            },
            "header": {**words, **sizes, "labelFontWeight": "bold", "labelLimit": self.width},
            "legend": {
                **words,
                **sizes,
                "titleFontWeight": "bold",
                "labelLimit": 0.6 * self.width,
                "orient": self.legend,
                "symbolSize": 1.4 * self.mark,
                "symbolBaseFillColor": self.text,
                "symbolBaseStrokeColor": self.text,
            },
            "title": {
                "anchor": "start",
                "frame": "bounds",
                "color": self.text,
                "fontSize": self.font_size + 2,
                "subtitleColor": self.faint,
                "subtitleFontSize": self.font_size - (0.5 if self.name == "print" else 1),
                "subtitlePadding": 4,
                "offset": 10,
            },
            "view": {"stroke": self.grid, "strokeWidth": self.font_size / 12},
        }


_BRIGHT = Theme(
    name="light",
    background="#ffffff",
    text="#1b1f24",
    faint="#57606a",
    grid="#e4e7eb",
    palette=(_BLUE, _ORANGE, _BLACK, _GREEN, _SKY, _RED, _PURPLE, "#8c8c8c"),
    middle="#f3f3f3",
    steps=("#f3f3f3", "#b9d9ee", "#5aa5d3", "#0a5a8c", "#ffffff"),
    font_size=12,
    width=440,
    height=300,
    mark=70,
    legend="right",
)
_DARK = Theme(
    name="dark",
    background="#15181d",
    text="#e8eaed",
    faint="#a6adb7",
    grid="#333a44",
    palette=(_SKY, _ORANGE, "#ffffff", _GREEN, _YELLOW, _RED, _PURPLE, "#8c8c8c"),
    middle="#2a3038",
    steps=("#2a3038", "#2c5873", "#3f8fc0", "#9ad4f7", "#15181d"),
    font_size=12,
    width=440,
    height=300,
    mark=70,
    legend="right",
)
_PRINT = Theme(
    name="print",
    background="#ffffff",
    text="#000000",
    faint="#333333",
    grid="#e6e6e6",
    palette=(_BLUE, _ORANGE, _BLACK, _SKY, _GREEN, _PURPLE, _RED, "#8c8c8c"),
    middle="#f3f3f3",
    steps=("#ffffff", "#d0d0d0", "#909090", "#404040", "#ffffff"),
    font_size=7,
    width=205,
    height=145,
    mark=26,
    legend="bottom",
)
THEMES: Mapping[str, Theme] = {theme.name: theme for theme in (_BRIGHT, _DARK, _PRINT)}
"""``light`` and ``dark`` for screens; ``print`` for a column of a paper, 3.3 inches wide."""


def dark_colours() -> dict[str, str]:
    """Return, for each colour of a figure in the light theme, that of the dark one.

    With these, one specification serves both.

    Examples
    --------
    >>> dark_colours()["#ffffff"]
    '#15181d'
    """
    names = ("background", "text", "faint", "grid", "middle", "better", "worse")
    pairs = [(getattr(_BRIGHT, name), getattr(_DARK, name)) for name in names]
    pairs += zip(_BRIGHT.palette, _DARK.palette, strict=True)
    pairs += zip(_BRIGHT.steps, _DARK.steps, strict=True)
    return {light.lower(): dark for light, dark in pairs}


def find_theme(name: str) -> Theme:
    """Return a theme by name, or raise :class:`InputError`."""
    if name not in THEMES:
        raise unknown_name("theme", name, THEMES)
    return THEMES[name]


@dataclass(frozen=True)
class Quantity:
    """What an axis shows.

    Parameters
    ----------
    words : str
        What it is.
    unit : str
        The unit on the axis; empty if there is none.
    scale : float
        One unit of the axis in that of the data, which keep theirs.
    higher : bool
        Whether more is better.
    timed : {'', 'searching', 'building'}
        What was timed for it: noise of that may have spoiled it.
    """

    words: str
    unit: str = ""
    scale: float = 1.0
    higher: bool = True
    timed: str = ""

    @property
    def capital(self) -> str:
        """Words, for the beginning of a title; a name such as nDCG@10 stays as it is."""
        return self.words if not self.unit else self.words[0].upper() + self.words[1:]

    @property
    def title(self) -> str:
        """Words and unit."""
        return f"{self.words} ({self.unit})" if self.unit else self.words


_COSTS = {
    "latency_p50_s": ("latency of a single query, median", "ms", 1e-3, "searching"),
    "latency_p95_s": ("latency of a single query, 95th percentile", "ms", 1e-3, "searching"),
    "latency_p99_s": ("latency of a single query, 99th percentile", "ms", 1e-3, "searching"),
    "qps": ("throughput in one batch", "queries/s", 1.0, "searching"),
    "size_bytes": ("size of the index", "MB", 1e6, ""),
    "peak_rss_bytes": ("peak memory while searching", "MB", 1e6, ""),
    "build_s": ("time to build the index", "s", 1.0, "building"),
    "train_s": ("time to train the index", "s", 1.0, "building"),
    "encode_documents_s": ("time to encode the documents", "s", 1.0, ""),
    "encode_queries_s": ("time to encode the queries", "s", 1.0, ""),
    "combine_s": ("time to combine the runs", "s", 1.0, ""),
}


def cost_quantity(name: str) -> Quantity:
    """Return what a column of cost shows.

    Examples
    --------
    >>> cost_quantity("latency_p95_s").title
    'latency of a single query, 95th percentile (ms)'
    """
    words, unit, scale, timed = _COSTS[name]
    return Quantity(words, unit, scale, CRITERIA[name], timed)


def numeric_axis(
    quantity: Quantity, groups: Iterable[NDArray[np.float64]], log: bool | None = None
) -> dict[str, Any]:
    """Return scale and axis of a quantity: by default logarithmic if a group spans a decade.

    Parameters
    ----------
    quantity : Quantity
        What is shown.
    groups : iterable of ndarray of float
        The values, panel by panel.
    log : bool, optional
        Whether the axis is logarithmic.

    Raises
    ------
    InputError
        If it shall be logarithmic and a value is not above 0.
    """
    filled = [values for values in groups if len(values)]
    lowest = min((float(values.min()) for values in filled), default=1.0)
    highest = max((float(values.max()) for values in filled), default=1.0)
    if log and lowest <= 0:
        raise InputError(
            f"{quantity.words}: a logarithmic axis needs values above 0, and one is {lowest:g}"
        )
    if log is None:
        log = lowest > 0 and any(values.max() >= _DECADE * values.min() for values in filled)
    axis: dict[str, Any] = {"title": quantity.title}
    if quantity.scale != 1 or log or highest >= 1e4:
        axis["labelExpr"] = f"format(datum.value / {quantity.scale!r}, ',.6~r')"
    scale: dict[str, Any] = {"nice": False, "padding": 12}
    if not log:
        scale["zero"] = False
    else:
        scale["type"] = "log"
        axis["values"] = _log_ticks(lowest / quantity.scale, highest / quantity.scale)
        axis["values"] = [float(f"{tick * quantity.scale:.12g}") for tick in axis["values"]]
    return {"scale": scale, "axis": axis}


def _log_ticks(lowest: float, highest: float) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2, 5 of each decade, or only powers of ten if many."""
    first, last = math.floor(math.log10(lowest)) - 1, math.ceil(math.log10(highest)) + 1
    digits = (1, 2, 5) if highest / lowest < 10**3.5 else (1,)
    return [digit * 10.0**power for power in range(first, last + 1) for digit in digits]


def plain_text(text: object) -> str:
    """Return a text without control characters, which no SVG may hold.

    Examples
    --------
    >>> plain_text("<b>a" + chr(0))
    '<b>a\ufffd'
    """
    return _CONTROL.sub("\ufffd", str(text))


def load_altair() -> Any:
    """Import altair, which takes a second."""
    import altair

    return altair


def finished(
    chart: alt.TopLevelMixin,
    datasets: Mapping[str, Sequence[Mapping[str, Any]]],
    theme: Theme,
    title: str,
    notes: Sequence[str],
    width: float,
) -> Figure:
    """Return a chart as a specification, with its data, looks and words.

    Parameters
    ----------
    chart : altair chart
        Names its data, holds none.
    datasets : mapping of str to sequence of mapping
        The data, by name.
    theme : Theme
        How it looks.
    title : str
        What is shown.
    notes : sequence of str
        Lines below the title.
    width : float
        Of all panels together, in pixels; words are wrapped to it.
    """
    spec: Figure = chart.to_dict()
    letters = max(30, int(width / (0.52 * theme.font_size)))
    wide = max(25, int(letters * theme.font_size / (theme.font_size + 3)))
    spec["title"] = {
        "text": textwrap.wrap(plain_text(title), wide) or [""],
        "subtitle": [line for note in notes for line in textwrap.wrap(plain_text(note), letters)],
    }
    spec["datasets"] = {name: list(rows) for name, rows in datasets.items()}
    spec["config"] = theme.config()  # in place of that of altair's theme, which is global
    return spec
