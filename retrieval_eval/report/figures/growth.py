"""Costs against the number of documents, with the power laws that were fitted to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retrieval_eval.growth import fit_power_law
from retrieval_eval.report.figures.looks import Figure, Quantity, find_theme, numeric_axis
from retrieval_eval.report.figures.parts import Parts, need, panelled

__all__ = ["growth"]


def growth(
    rows: Sequence[Mapping[str, Any]],
    title: str,
    *,
    notes: Sequence[str] = (),
    theme: str = "light",
) -> Figure:
    """Draw costs by the number of documents, both logarithmic, a panel for each cost.

    Parameters
    ----------
    rows : sequence of mapping
        Each with ``data`` (told by colour), ``index`` (by shape), ``cost`` (the panel: a name with
        its unit), ``n`` and ``value``, both above 0.
    title : str
        What is shown.
    notes : sequence of str
        Lines below the title.
    theme : {'light', 'dark', 'print'}
        How it looks.

    Returns
    -------
    dict
        A Vega-Lite specification; lines are fitted by
        :func:`retrieval_eval.growth.fit_power_law`.

    Raises
    ------
    InputError
        For an unknown theme, no rows, or a value that is not above 0.
    """
    look = find_theme(theme)
    records: list[dict[str, Any]] = [
        {
            "row_id": str(place),
            "encoder": str(row["data"]),
            "index": str(row["index"]),
            "configuration": f"{row['n']:,} documents",
            "panel": str(row["cost"]),
            "x": float(row["n"]),
            "y": float(row["value"]),
        }
        for place, row in enumerate(rows)
    ]
    need(records, "a cost")
    panels = list(dict.fromkeys(record["panel"] for record in records))
    for series in _series(records).values():
        if len({record["x"] for record in series}) > 1:
            law = fit_power_law([one["x"] for one in series], [one["y"] for one in series])
            for record in series:
                record["fitted"] = law.at(record["x"])[0]
    parts = Parts(look, records, "cost", Quantity("documents"), "documents")
    base = parts.alt.Chart().encode(
        x=parts.axis("X", numeric_axis(Quantity("documents"), parts.values(panels, "x"), True)),
        y=parts.y_axis(Quantity("cost"), panels, True),
    )
    lines = (
        base.transform_filter("isValid(datum.fitted)")
        .mark_line(strokeWidth=look.font_size / 9, opacity=0.6)
        .encode(y="fitted:Q", color=parts.color, detail="index:N")
    )
    return panelled(
        [lines, *parts.dots(base, parts.shape)],
        records,
        panels,
        look,
        title,
        notes,
        (None, None),
    )


def _series(records: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        key = tuple(record[name] for name in ("encoder", "index", "panel"))
        found.setdefault(key, []).append(record)
    return found
