"""What figures of rows share: records, marks, axes, legends, panels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from retrieval_eval.errors import InputError
from retrieval_eval.report.figures.frames import Legend, finite, legend_of
from retrieval_eval.report.figures.looks import (
    DASHES,
    SHAPES,
    Figure,
    Quantity,
    Theme,
    finished,
    load_altair,
    numeric_axis,
    plain_text,
)

__all__ = [
    "MOST",
    "Parts",
    "counts",
    "need",
    "panelled",
    "record_of",
    "sentence",
]

MOST = 2000
"""Rows that a figure embeds at most."""

Record = dict[str, Any]


def record_of(row: Mapping[str, Any], x: str | None, y: str) -> Record:
    """Return what a figure embeds of a row: figures as they are, nothing for what is missing."""
    names = ("row_id", "encoder", "index", "configuration")
    record: Record = {name: plain_text(row[name]) for name in names}
    record["panel"] = row["panel"]
    columns = {"y": y, "low": f"{y}_lo", "high": f"{y}_hi"}
    if x is not None:
        columns["x"] = x
    record.update(
        {name: row[column] for name, column in columns.items() if finite(row.get(column))}
    )
    return record


def need(records: Sequence[Record], *columns: str) -> None:
    """Raise :class:`InputError` if there is nothing to draw."""
    if not records:
        raise InputError(
            f"figure: no row that ran has {' and '.join(columns)}: nothing was measured that it "
            "could show"
        )


def counts(shown: int, there: int, left: Mapping[str, int]) -> str:
    """Say how many rows are shown, and why others are not.

    Examples
    --------
    >>> counts(10, 10, {"failed": 2})
    '10 rows; not shown: 2 failed.'
    """
    words = f"{shown:,} rows" if shown != 1 else "1 row"
    if shown < there:
        words = (
            f"{shown:,} of {there:,} rows: one of each encoder and index stands for those that "
            "lie together"
        )
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in left.items())
    return words + (f"; not shown: {reasons}." if reasons else ".")


def sentence(parts: Sequence[str]) -> str:
    """Join what all rows of a figure share.

    Examples
    --------
    >>> sentence(["dataset stdlib", "encoder lsa"])
    'Dataset stdlib, encoder lsa.'
    """
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


class Parts:
    """The channels, marks and words of one figure of rows.

    Parameters
    ----------
    look : Theme
        How it looks.
    records : list of dict
        From :func:`record_of`.
    measure : str
        What y is, for tooltips and its axis.
    x : Quantity
        What x is.
    x_column : str
        Its column, which tooltips name since they show it as the table does.
    lines : bool
        Whether an encoder's marks are joined by lines.
    """

    def __init__(
        self,
        look: Theme,
        records: Sequence[Record],
        measure: str,
        x: Quantity,
        x_column: str,
        *,
        lines: bool = False,
    ) -> None:
        self.alt = load_altair()
        self.lines = lines
        self.look = look
        self.records = records
        self.encoders = self.legend("encoder", "encoders")
        self.indexes = self.legend("index", "indexes")
        alt = self.alt
        self.tips = [
            alt.Tooltip("encoder:N", title="encoder"),
            alt.Tooltip("configuration:N", title="configuration"),
            alt.Tooltip("y:Q", title=measure),
        ]
        if any("low" in record for record in records):
            self.tips += [
                alt.Tooltip("low:Q", title="95 % interval from"),
                alt.Tooltip("high:Q", title="to"),
            ]
        self.tips.append(alt.Tooltip("x:Q", title=x_column if x.unit else x.words))

    @property
    def shared(self) -> list[str]:
        """What all rows have in common: a legend of one entry is none."""
        return [
            f"{name} {legend.entries[0]}"
            for name, legend in (("encoder", self.encoders), ("index", self.indexes))
            if len(legend.entries) == 1
        ]

    def legend(self, name: str, plural: str) -> Legend:
        """Return the legend of a field, and give the records its entries if they are others."""
        values = None if self.lines else [record["y"] for record in self.records]
        legend = legend_of([record[name] for record in self.records], plural, values)
        if any(entry != one for one, entry in legend.shown.items()):
            for record in self.records:
                record[f"{name}_shown"] = legend.shown[record[name]]
        return legend

    def channel(
        self, kind: str, values: Sequence[Any], legend: Legend, name: str, title: str
    ) -> Any:
        """Return a channel that tells names apart, with a legend if there are two."""
        entries = legend.entries
        grouped = any(f"{name}_shown" in record for record in self.records)
        options: dict[str, Any] = {"symbolOpacity": 1}
        if self.look.legend == "bottom":
            longest = max(len(entry) for entry in entries)
            room = self.look.font_size * (0.56 * longest + 3)
            options["columns"] = max(1, int(1.15 * self.look.width / room))
            options["orient"] = "top" if name == "encoder" else "bottom"  # beside, too wide
        if self.lines and name == "encoder":
            options.update(
                symbolType="stroke", symbolStrokeWidth=2, symbolSize=3.5 * self.look.mark
            )
        return getattr(self.alt, kind)(
            f"{name}_shown:N" if grouped else f"{name}:N",
            scale=self.alt.Scale(domain=list(entries), range=list(values[: len(entries)])),
            title=title,
            legend=None if len(entries) == 1 else self.alt.Legend(**options),
        )

    @property
    def color(self) -> Any:
        """Colour tells the encoder."""
        return self.channel("Color", self.look.palette, self.encoders, "encoder", "encoder")

    @property
    def dash(self) -> Any:
        """Dashes tell the encoder, too, for print without colour."""
        return self.channel("StrokeDash", DASHES, self.encoders, "encoder", "encoder")

    @property
    def shape(self) -> Any:
        """Shape tells the index."""
        return self.channel("Shape", SHAPES, self.indexes, "index", "index")

    def axis(self, channel: str, options: Mapping[str, Any]) -> Any:
        """Return X or Y from what :func:`numeric_axis` says."""
        alt = self.alt
        return getattr(alt, channel)(
            f"{channel.lower()}:Q",
            scale=alt.Scale(**options["scale"]),
            axis=alt.Axis(**options["axis"]),
        )

    def values(self, panels: Sequence[str], *names: str) -> Iterable[Any]:
        """Yield the values of each panel."""
        for panel in panels:
            mine = [one for one in self.records if one["panel"] == panel]
            yield np.array([one[name] for one in mine for name in names if name in one], float)

    def y_axis(self, quantity: Quantity, panels: Sequence[str], log: bool | None = False) -> Any:
        """Return the axis of what is shown, wide enough for its intervals."""
        return self.axis("Y", numeric_axis(quantity, self.values(panels, "y", "low", "high"), log))

    def marks(self, base: Any) -> list[Any]:
        """Return intervals and dots."""
        intervals = (
            base.transform_filter("isValid(datum.low) && isValid(datum.high)")
            .mark_rule(strokeWidth=self.look.font_size / 10, opacity=0.45)
            .encode(y="low:Q", y2="high:Q", color=self.color)
        )
        bars = [intervals] if any("low" in record for record in self.records) else []
        return [*bars, *self.dots(base, self.shape)]

    def dots(self, base: Any, shape: Any) -> list[Any]:
        """Return a dot for each record, hollow if its timing is noisy."""
        look = self.look
        dots = base.encode(color=self.color, shape=shape, tooltip=self.tips)
        solid = dots.transform_filter("!isValid(datum.noise)").mark_point(
            filled=True, size=look.mark, opacity=0.9
        )
        hollow = dots.transform_filter("isValid(datum.noise)").mark_point(
            filled=False, size=look.mark, strokeWidth=look.font_size / 8, opacity=1
        )
        noisy = ["noise" in record for record in self.records]
        return [*([] if all(noisy) else [solid]), *([hollow] if any(noisy) else [])]

    def rings(self, base: Any) -> Any:
        """Return rings around marks."""
        return base.mark_point(
            shape="circle",
            filled=False,
            size=self.look.mark * 2.8,
            strokeWidth=self.look.font_size / 11,
            color=self.look.text,
            opacity=0.85,
        ).encode(tooltip=self.tips)


def panelled(
    layers: Sequence[Any],
    records: list[Record],
    panels: Sequence[str],
    look: Theme,
    title: str,
    notes: Sequence[str],
    size: tuple[int | None, int | None],
    *,
    shared_y: bool = False,
) -> Figure:
    """Lay marks over each other, once or in a panel for each of several.

    Parameters
    ----------
    layers : sequence of altair charts
        The lowest first.
    records : list of dict
        Their data.
    panels : sequence of str
        Names of the panels, in order; empty ones are left out.
    look : Theme
        How it looks.
    title : str
        What is shown.
    notes : sequence of str
        Lines below the title; empty ones are left out.
    size : (int or None, int or None)
        Width and height of a panel.
    shared_y : bool
        Whether panels have one axis of y.
    """
    alt = load_altair()
    panels = [panel for panel in panels if any(one["panel"] == panel for one in records)]
    several = len(panels) > 1
    columns = 2 if several and look.name != "print" else 1
    shrink = 0.8 if columns > 1 else 1.0
    width = size[0] or int(look.width * shrink)
    height = size[1] or int(look.height * shrink)
    chart = alt.layer(*layers, data=alt.NamedData("rows")).properties(width=width, height=height)
    if several:
        facet = alt.Facet("panel:N", title=None, sort=list(panels))
        chart = chart.facet(facet=facet, columns=columns).resolve_scale(
            x="independent", y="shared" if shared_y else "independent"
        )
    else:
        records = [{name: one[name] for name in one if name != "panel"} for one in records]
    total = width * columns + 60 * (columns - 1) + (0 if look.legend == "bottom" else 60)
    words = [note.strip() for note in notes if note.strip()]
    return finished(chart, {"rows": records}, look, title, words, total)
