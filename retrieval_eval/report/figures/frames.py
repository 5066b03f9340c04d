"""Which rows of a sweep a figure shows, and how many it leaves out, and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.report.figures.looks import SHAPES, plain_text
from retrieval_eval.selection.goals import find_column
from retrieval_eval.selection.tables import is_figure, read_tables

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Chosen",
    "Legend",
    "choose_rows",
    "figure_column",
    "finite",
    "legend_of",
    "thin",
]

PANELS = 12


@dataclass(frozen=True, eq=False)
class Chosen:
    """The rows a figure is made of.

    Parameters
    ----------
    rows : tuple of dict
        Rows of the datasets and filters asked for, with status ok, and their panel.
    panels : tuple of str
        Names of the panels: dataset and filter, as far as they differ.
    notes : tuple of str
        What all rows share.
    absent : tuple of dict
        Rows with another status.
    """

    rows: tuple[dict[str, Any], ...]
    panels: tuple[str, ...]
    notes: tuple[str, ...]
    absent: tuple[dict[str, Any], ...]

    def left(self) -> Counter[str]:
        """Return how many rows did not run, by status, to be counted on."""
        return Counter(row["status"] for row in self.absent)


def figure_column(rows: pl.DataFrame, name: str, kind: str) -> str:
    """Return the column of figures that a name means, or raise :class:`InputError`."""
    return find_column(name, [one for one in rows.columns if is_figure(rows, one)], kind, "figure")


def finite(value: object) -> bool:
    """Whether a value was measured."""
    return isinstance(value, int | float) and math.isfinite(value)


def choose_rows(
    rows: pl.DataFrame, datasets: Sequence[str], filters: Sequence[str | None]
) -> Chosen:
    """Take the rows of some datasets and filters that ran, panel by panel.

    Parameters
    ----------
    rows : polars.DataFrame
        ``results.parquet``.
    datasets : sequence of str
        Only these; by default all.
    filters : sequence of str or None
        Only these, None for searching without; by default all.

    Raises
    ------
    InputError
        If a column is missing, or a dataset or filter is unknown.
    """
    tables = read_tables(rows, None, per_query_needed=False)
    if "index" not in rows.columns:
        raise InputError("the table of rows has no column index")
    known = tables.rows["filter"].unique(maintain_order=True).to_list()
    for name in filters:
        if name not in known:
            raise unknown_name("filter", name, [str(one) for one in known])
    cells = [
        (cell, frame) for cell, frame in tables.cells(datasets) if not filters or cell[1] in filters
    ]
    notes = []
    shared_dataset = len({dataset for (dataset, _), _ in cells}) == 1
    shared_filter = len({name for (_, name), _ in cells}) == 1
    if cells and shared_dataset:
        notes.append(f"dataset {cells[0][0][0]}")
    if cells and shared_filter and cells[0][0][1] is not None:
        notes.append(f"filter {cells[0][0][1]}")
    if len(cells) > PANELS:
        notes.append(f"the first {PANELS} of {len(cells)} datasets and filters")
        cells = cells[:PANELS]
    panels: list[str] = []
    found: list[dict[str, Any]] = []
    absent: list[dict[str, Any]] = []
    for (dataset, filter_), frame in cells:
        parts = [] if shared_dataset else [dataset]
        if not shared_filter:
            parts.append("no filter" if filter_ is None else f"filter {filter_}")
        panel = plain_text(", ".join(parts))
        panels.append(panel)
        for row in frame.to_dicts():
            (found if row["status"] == "ok" else absent).append({**row, "panel": panel})
    return Chosen(tuple(found), tuple(panels), tuple(notes), tuple(absent))


def thin(records: list[dict[str, Any]], most: int, log: bool) -> list[dict[str, Any]]:
    """Keep at most some records: of those that lie together in a panel, one; the front's, all.

    The plane is cut into ever fewer cells; of each, the first record of each encoder and index
    stays. Records on the front and references come first.

    Parameters
    ----------
    records : list of dict
        With ``x``, ``y``, ``panel``, ``encoder``, ``index``.
    most : int
        How many may stay.
    log : bool
        Whether x lies on a logarithmic axis.
    """
    if len(records) <= most:
        return records
    first = sorted(
        range(len(records)),
        key=lambda place: not (records[place].get("front") or records[place].get("reference")),
    )
    xs = _unit([record.get("x", math.nan) for record in records], log)
    ys = _unit([record["y"] for record in records], log=False)
    always = {place for place in first if records[place].get("front")}
    cells = 512
    while cells >= 1:
        kept: dict[tuple[Any, ...], int] = {}
        for place in first:
            one = records[place]
            spot = (int(xs[place] * cells), int(ys[place] * cells))
            kept.setdefault((one.get("panel"), one["encoder"], one["index"], *spot), place)
        places = sorted({*kept.values(), *always})
        if len(places) <= most:
            return [records[place] for place in places]
        cells = cells * 4 // 5
    return [records[place] for place in sorted(first[:most])]


def _unit(values: Sequence[float], log: bool) -> NDArray[np.float64]:
    """Values between 0 and 1, NaN as 0."""
    array = np.asarray(values, dtype=np.float64)
    array = np.log(array) if log else array
    lowest, highest = np.nanmin(array), np.nanmax(array)
    spread = highest - lowest
    return np.nan_to_num((array - lowest) / spread) if spread > 0 else np.zeros(len(array))


@dataclass(frozen=True)
class Legend:
    """Which names a legend shows.

    Parameters
    ----------
    shown : mapping of str to str
        Each name, and the entry that stands for it: its own, or one for all that have none.
    entries : tuple of str
        The entries, in order.
    """

    shown: Mapping[str, str]
    entries: tuple[str, ...]


def legend_of(names: Sequence[str], what: str, values: Sequence[float] | None = None) -> Legend:
    """Give each name an entry; beyond what shapes and colours can tell apart, one for the rest.

    Parameters
    ----------
    names : sequence of str
        The name of each record.
    what : str
        What they name, in the plural.
    values : sequence of float, optional
        The quality of each record: names with the best records keep entries of their own. By
        default the first names do.

    Examples
    --------
    >>> legend_of([f"m{number}" for number in range(9)], "encoders").entries[-1]
    '2 other encoders'
    """
    distinct = list(dict.fromkeys(names))
    if len(distinct) <= len(SHAPES):
        return Legend({name: name for name in distinct}, tuple(distinct))
    best = dict.fromkeys(distinct, -math.inf)
    for name, value in zip(names, values or [0.0] * len(names), strict=True):
        best[name] = max(best[name], value)
    kept = set(sorted(distinct, key=lambda name: -best[name])[: len(SHAPES) - 1])
    own = [name for name in distinct if name in kept]
    rest = f"{len(distinct) - len(own)} other {what}"
    return Legend({name: name if name in own else rest for name in distinct}, (*own, rest))
