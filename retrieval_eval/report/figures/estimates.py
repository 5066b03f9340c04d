"""Estimates with their intervals, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retrieval_eval.errors import InputError
from retrieval_eval.report.figures.frames import finite
from retrieval_eval.report.figures.looks import (
    SHAPES,
    Figure,
    find_theme,
    finished,
    load_altair,
    plain_text,
)

__all__ = ["estimates"]

_STEP = 1.3  # height of an estimate, in sizes of the font
_COLUMNS = 2


def estimates(
    rows: Sequence[Mapping[str, Any]],
    title: str,
    quantity: str,
    *,
    notes: Sequence[str] = (),
    zero: bool = True,
    columns: int = _COLUMNS,
    theme: str = "light",
) -> Figure:
    """Draw estimates as points on their intervals, a line for each label, a panel for each group.

    Parameters
    ----------
    rows : sequence of mapping
        Each with ``label`` (a line), ``series`` (colour and shape), ``value``, and, if there is an
        interval, ``low`` and ``high``; with ``panel``, if there are several. They come in the order
        in which they are first named.
    title : str
        What is shown.
    quantity : str
        What the axis is.
    notes : sequence of str
        Lines below the title.
    zero : bool
        Whether to mark 0, for differences.
    columns : int
        Panels beside each other.
    theme : {'light', 'dark', 'print'}
        How it looks.

    Returns
    -------
    dict
        A Vega-Lite specification.

    Raises
    ------
    InputError
        If there is nothing to draw, more series than shapes, or an unknown theme.

    Examples
    --------
    >>> row = {"label": "ascending", "series": "lsa", "value": -0.1, "low": -0.2, "high": 0.0}
    >>> figure = estimates([row], "Orders of insertion", "difference of nDCG@10")
    >>> figure["title"]["text"]
    ['Orders of insertion']
    """
    look = find_theme(theme)
    records = [_record(row) for row in rows if finite(row["value"])]
    if not records:
        raise InputError(f"figure {title!r}: there is no value to draw")
    labels, series, panels = (
        list(dict.fromkeys(record[name] for record in records))
        for name in ("label", "series", "panel")
    )
    if len(series) > len(SHAPES):
        raise InputError(
            f"figure {title!r}: {len(series)} series are more than the {len(SHAPES)} that can be "
            "told apart"
        )
    alt = load_altair()
    legend = None if len(series) == 1 else alt.Legend(title=None)
    scale = {"domain": series}
    base = alt.Chart().encode(  # data of its own would stand in every panel
        y=alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(grid=False, labelLimit=240)),
        yOffset=alt.YOffset("series:N", sort=series, scale=alt.Scale(**scale, paddingOuter=0.4)),
        color=alt.Color(
            "series:N", scale=alt.Scale(**scale, range=list(look.palette)), legend=legend
        ),
        tooltip=[
            alt.Tooltip("label:N"),
            alt.Tooltip("series:N"),
            alt.Tooltip("value:Q", title=quantity),
            alt.Tooltip("low:Q", title="95 % interval from"),
            alt.Tooltip("high:Q", title="to"),
        ],
    )
    across = {
        "scale": alt.Scale(zero=False, nice=True),
        "axis": alt.Axis(tickCount=6, labelSeparation=8),
    }
    layers = [
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=look.font_size / 6)
        .encode(x=alt.X("low:Q", title=quantity, **across), x2="high:Q"),
        base.mark_point(filled=True, size=look.mark * 0.7, opacity=1).encode(
            x=alt.X("value:Q", title=quantity, **across),
            shape=alt.Shape(
                "series:N", scale=alt.Scale(**scale, range=list(SHAPES)), legend=legend
            ),
        ),
    ]
    if zero:
        rule = alt.Chart().mark_rule(
            color=look.faint, strokeDash=[4, 3], strokeWidth=look.font_size / 12
        )
        layers.insert(0, rule.encode(x=alt.datum(0)))
    columns = 1 if look.name == "print" else min(columns, len(panels))
    width = int(look.width * (0.75 if columns > 1 else 1.0))
    height = round(_STEP * look.font_size * len(labels) * max(len(series), 2) * 0.8)
    chart = alt.layer(*layers, data=alt.NamedData("estimates"))
    chart = chart.properties(width=width, height=height)
    if len(panels) > 1:
        facet = alt.Facet("panel:N", title=None, sort=panels)
        chart = chart.facet(facet=facet, columns=columns).resolve_scale(x="shared")
    return finished(chart, {"estimates": records}, look, title, notes, (width + 80) * columns)


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {
        name: plain_text(row.get(name, "")) for name in ("label", "series", "panel")
    }
    record.update(
        {name: float(row[name]) for name in ("value", "low", "high") if finite(row.get(name))}
    )
    return record
