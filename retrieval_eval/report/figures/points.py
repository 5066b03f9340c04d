"""Figures with one mark a row: quality against cost, and neighbour recall against quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_eval.errors import InputError
from retrieval_eval.report.figures.frames import choose_rows, figure_column, finite, thin
from retrieval_eval.report.figures.looks import (
    Figure,
    Quantity,
    cost_quantity,
    find_theme,
    numeric_axis,
    plain_text,
)
from retrieval_eval.report.figures.parts import (
    MOST,
    Parts,
    counts,
    need,
    panelled,
    record_of,
    sentence,
)
from retrieval_eval.selection import CRITERIA, pareto_front
from retrieval_eval.selection.goals import find_column

if TYPE_CHECKING:
    import polars as pl

__all__ = ["noise_of", "recall_against_quality", "tradeoff"]

_NOISE_LETTERS = 160


def tradeoff(
    rows: pl.DataFrame,
    measure: str,
    cost: str,
    *,
    datasets: Sequence[str] = (),
    filters: Sequence[str | None] = (),
    log: bool | None = None,
    theme: str = "light",
    width: int | None = None,
    height: int | None = None,
    most: int = MOST,
) -> Figure:
    """Draw quality against cost, with intervals and the Pareto front.

    One mark a row: colour tells the encoder, shape the index, a hollow mark that noise may have
    spoiled the timing. The front, over all encoders of a panel, is a step line, its members ringed.
    Rows that failed, were skipped, or lack one of both figures are left out and counted.

    Parameters
    ----------
    rows : polars.DataFrame
        ``results.parquet``, as of :attr:`retrieval_eval.sweep.Results.rows`.
    measure : str
        A measure of the sweep, or another column where more is better.
    cost : str
        A column of cost, such as ``latency_p95_s``, ``qps``, ``size_bytes``.
    datasets : sequence of str
        Only these; by default all. Each dataset and filter is a panel with axes of its own.
    filters : sequence of str or None
        Only these, None for searching without; by default all.
    log : bool, optional
        Whether the axis of cost is logarithmic; by default if the rows of a panel span a decade.
    theme : {'light', 'dark', 'print'}
        How it looks.
    width, height : int, optional
        Of a panel, in pixels.
    most : int
        Rows to embed at most. If there are more, one of each encoder and index stands for those
        that lie together; the front stays as far as it fits, and the figure says so.

    Returns
    -------
    dict
        A Vega-Lite specification. Its data hold figures as the table does, in seconds and bytes.

    Raises
    ------
    InputError
        For an unknown measure, cost, dataset, filter or theme, or if nothing was measured.
    """
    look = find_theme(theme)
    measure = figure_column(rows, measure, "measure")
    cost = find_column(cost, [name for name in CRITERIA if name in rows.columns], "cost", "figure")
    quantity = cost_quantity(cost)
    chosen = choose_rows(rows, datasets, filters)
    left = chosen.left()
    records = []
    for row in chosen.rows:
        lacking = [name for name in (measure, cost) if not finite(row[name])]
        if lacking:
            left[f"without {lacking[0]}"] += 1
            continue
        record = record_of(row, cost, measure)
        noise = noise_of(row.get("noise"), quantity.timed)
        if noise:
            record["noise"] = noise
        records.append(record)
    need(records, measure, cost)
    for panel in chosen.panels:
        mine = [record for record in records if record["panel"] == panel]
        points = np.array([[one["y"], one["x"]] for one in mine], dtype=np.float64).reshape(-1, 2)
        best = pareto_front(points, [True, quantity.higher])
        for place in np.flatnonzero(best):
            mine[place]["front"] = True
    there = len(records)
    axis = numeric_axis(quantity, _by_panel(records, chosen.panels), log)
    records = thin(records, most, axis["scale"].get("type") == "log")

    parts = Parts(look, records, measure, quantity, cost)
    hollow = sum("noise" in record for record in records)
    if hollow:
        parts.tips.append(parts.alt.Tooltip("noise:N", title="noise"))
    base = parts.alt.Chart().encode(
        x=parts.axis("X", axis), y=parts.y_axis(Quantity(measure), chosen.panels)
    )
    front = base.transform_filter("datum.front === true")
    steps = front.mark_line(
        interpolate="step-before" if quantity.higher else "step-after",
        color=look.faint,
        strokeWidth=look.font_size / 9,
    )
    marks = "Bars: 95 % intervals. " if any("low" in record for record in records) else ""
    marks += "Rings and steps: Pareto front."
    if hollow:
        marks += f" Hollow: noise may have spoiled the timing ({hollow})."
    return panelled(
        [steps, *parts.marks(base), parts.rings(front)],
        records,
        chosen.panels,
        look,
        f"{measure} against {quantity.words}",
        [
            f"{sentence([*chosen.notes, *parts.shared])} {counts(len(records), there, left)}",
            marks,
        ],
        (width, height),
    )


def _by_panel(records: Sequence[dict[str, Any]], panels: Sequence[str]) -> list[Any]:
    return [np.array([one["x"] for one in records if one["panel"] == panel]) for panel in panels]


def noise_of(noise: str | None, timed: str) -> str:
    """Return what may have spoiled one kind of timing; nothing if nothing is known to have.

    Examples
    --------
    >>> noise_of("searching: others kept 2 cores busy; building: the same", "building")
    'the same'
    """
    for part in (noise or "").split("; "):
        what, _, text = part.partition(": ")
        if timed and what == timed:
            text = plain_text(text)
            return text if len(text) <= _NOISE_LETTERS else f"{text[:_NOISE_LETTERS]}..."
    return ""


def recall_against_quality(
    rows: pl.DataFrame,
    measure: str,
    *,
    recall: str | None = None,
    datasets: Sequence[str] = (),
    filters: Sequence[str | None] = (),
    theme: str = "light",
    width: int | None = None,
    height: int | None = None,
    most: int = MOST,
) -> Figure:
    """Draw a measure against neighbour recall, to see where more of it stops mattering.

    One mark a row: colour tells the encoder, shape the index. Each encoder's reference is ringed,
    and a dashed line shows its quality.

    Parameters
    ----------
    rows : polars.DataFrame
        ``results.parquet``.
    measure : str
        A measure of the sweep.
    recall : str, optional
        The column of neighbour recall; by default the only one there is.
    datasets, filters, theme, width, height, most
        As of :func:`tradeoff`.

    Returns
    -------
    dict
        A Vega-Lite specification.

    Raises
    ------
    InputError
        For an unknown measure, dataset, filter or theme, or if nothing was measured.
    """
    look = find_theme(theme)
    measure = figure_column(rows, measure, "measure")
    recall = _recall_column(rows, recall)
    quantity = Quantity(f"neighbour recall at {recall.rpartition('@')[2]}")
    chosen = choose_rows(rows, datasets, filters)
    left = chosen.left()
    records, there = [], 0
    for row in chosen.rows:
        lacking = [name for name in (measure, recall) if not finite(row[name])]
        if lacking:
            left[f"without {lacking[0]}"] += 1
        there += not lacking
        # A reference whose recall was not measured has a quality all the same.
        if finite(row[measure]) and (not lacking or row["is_reference"]):
            record = record_of(row, recall, measure)
            if row["is_reference"]:
                record["reference"] = True
            records.append(record)
    need(records if there else [], measure, recall)
    records = thin(records, most, log=False)
    shown = sum("x" in record for record in records)

    parts = Parts(look, records, measure, quantity, recall)
    axis = numeric_axis(quantity, _by_panel([r for r in records if "x" in r], chosen.panels), False)
    y = parts.y_axis(Quantity(measure), chosen.panels)
    reference = (
        parts.alt.Chart()
        .transform_filter("datum.reference === true")
        .mark_rule(strokeWidth=look.font_size / 9, strokeDash=[5, 3])
        .encode(y=y, color=parts.color)
    )
    base = (
        parts.alt.Chart().transform_filter("isValid(datum.x)").encode(x=parts.axis("X", axis), y=y)
    )
    rings = parts.rings(base.transform_filter("datum.reference === true"))
    marks = "Bars: 95 % intervals. " if any("low" in record for record in records) else ""
    if any("reference" in record for record in records):
        marks += "Rings and dashed lines: the reference of each encoder."
    return panelled(
        [reference, *parts.marks(base), rings],
        records,
        chosen.panels,
        look,
        f"{measure} against {quantity.words}",
        [
            f"{sentence([*chosen.notes, *parts.shared])} {counts(shown, there, left)}",
            marks,
            "Neighbour recall: the share of the true nearest neighbours that was found.",
        ],
        (width, height),
    )


def _recall_column(rows: pl.DataFrame, recall: str | None) -> str:
    columns = [
        name
        for name in rows.columns
        if name.startswith("neighbour_recall@") and name.rpartition("@")[2].isdigit()
    ]
    if recall is None and len(columns) == 1:
        return columns[0]
    if recall is None:
        raise InputError(
            "figure: which neighbour recall? The rows have "
            + (", ".join(columns) or "no column neighbour_recall@N")
        )
    return find_column(recall, columns, "neighbour recall", "figure")
