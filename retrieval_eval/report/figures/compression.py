"""Quality by the bytes that a vector takes, method by method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from retrieval_eval.errors import InputError
from retrieval_eval.indexes.equal_bytes import Compressed
from retrieval_eval.report.figures.frames import choose_rows, figure_column, finite
from retrieval_eval.report.figures.looks import SHAPES, Figure, Quantity, find_theme, numeric_axis
from retrieval_eval.report.figures.parts import MOST, Parts, counts, need, panelled, record_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["compression_curves"]


def compression_curves(
    rows: pl.DataFrame,
    kinds: Iterable[Compressed],
    measure: str,
    *,
    datasets: Sequence[str] = (),
    theme: str = "light",
    width: int | None = None,
    height: int | None = None,
) -> Figure:
    """Draw quality by the bytes that a vector takes, with exact search as a line.

    A panel for each encoder (and dataset), a second one beside it for refined search; a line for
    each method, over a logarithmic axis of bytes. Bars are 95 % intervals.

    Parameters
    ----------
    rows : polars.DataFrame
        ``results.parquet``, as of :attr:`retrieval_eval.sweep.Results.rows`.
    kinds : iterable of Compressed
        What was run; from :func:`retrieval_eval.indexes.equal_bytes.compressed_indexes`. Rows of
        other indexes are not shown, but for the reference.
    measure : str
        A measure of the sweep.
    datasets : sequence of str
        Only these; by default all.
    theme : {'light', 'dark', 'print'}
        How it looks.
    width, height : int, optional
        Of a panel, in pixels.

    Returns
    -------
    dict
        A Vega-Lite specification.

    Raises
    ------
    InputError
        For an unknown measure, dataset or theme, if nothing was measured, or for more than 2,000
        rows.
    """
    look = find_theme(theme)
    measure = figure_column(rows, measure, "measure")
    by_label = {one.label: one for one in kinds}
    chosen = choose_rows(rows, datasets, ())
    left = chosen.left()
    records: list[dict[str, Any]] = []
    for row in chosen.rows:
        known = by_label.get(row["index"])
        if known is None:
            continue
        if not finite(row[measure]):
            left[f"without {measure}"] += 1
            continue
        drawn = record_of({**row, "panel": _panel(row, known.refined)}, None, measure)
        records.append({**drawn, "encoder": known.method, "x": known.bytes})
    need(records, measure)
    if len(records) > MOST:
        raise InputError(
            f"figure: {len(records):,} rows have {measure}, and {MOST:,} are the most for curves: "
            "choose datasets"
        )
    panels = tuple(dict.fromkeys(one["panel"] for one in records))
    parts = Parts(look, records, measure, Quantity("bytes"), "bytes")
    parts.tips[0] = parts.alt.Tooltip("encoder:N", title="method")
    color = parts.channel("Color", look.palette, parts.encoders, "encoder", "method")
    shape = parts.channel("Shape", SHAPES, parts.encoders, "encoder", "method")
    taken = sorted({one["x"] for one in records})
    axis = numeric_axis(Quantity("bytes of a vector"), parts.values(panels, "x"), log=True)
    axis["axis"]["values"] = [one for one in taken if not one & (one - 1)] or taken
    records += [
        {"panel": panel, "exact": row[measure], "y": row[measure]}
        for row in chosen.rows
        for panel in (_panel(row, refined) for refined in (False, True))
        if row["is_reference"] and finite(row[measure]) and panel in panels
    ]
    y = parts.y_axis(Quantity(measure), panels)
    exact = (
        parts.alt.Chart()
        .transform_filter("isValid(datum.exact)")
        .mark_rule(strokeWidth=look.font_size / 9, strokeDash=[5, 3], color=look.faint)
        .encode(y=y)
    )
    base = (
        parts.alt.Chart()
        .transform_filter("isValid(datum.x)")
        .encode(x=parts.axis("X", axis), y=y, color=color)
    )
    bars = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
    layers = [
        exact,
        bars.mark_rule(strokeWidth=look.font_size / 10, opacity=0.35).encode(
            y="low:Q", y2="high:Q"
        ),
        base.mark_line(strokeWidth=look.font_size / 8, opacity=0.9),
        base.mark_point(filled=True, size=look.mark, opacity=0.9).encode(
            shape=shape, tooltip=parts.tips
        ),
    ]
    shown = sum("x" in one for one in records)
    shared = f"{', '.join(chosen.notes).capitalize()}. " if chosen.notes else ""
    return panelled(
        layers,
        records,
        panels,
        look,
        f"{measure} by the bytes that a vector takes",
        [
            f"{shared}{counts(shown, shown, left)}",
            "Dashed: exact search. Bars: 95 % intervals. Refined: ranked again by full vectors.",
        ],
        (width, height),
        shared_y=len(chosen.panels) == 1,
    )


def _panel(row: dict[str, Any], refined: bool) -> str:
    parts = [row["panel"], str(row["encoder"]), "refined" if refined else "alone"]
    return ", ".join(part for part in parts if part)
