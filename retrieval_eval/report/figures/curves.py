"""What a parameter does: lines over ef, nprobe, m and others, index by index."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.report.figures.frames import choose_rows, figure_column, finite
from retrieval_eval.report.figures.looks import (
    SHAPES,
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
from retrieval_eval.report.figures.points import noise_of
from retrieval_eval.selection import CRITERIA

if TYPE_CHECKING:
    import polars as pl

__all__ = ["parameter_curves", "parameters_of", "varying_parameters"]

_TICKS = 8  # values of a parameter that all stand on its axis
_CURVE = ("panel", "encoder", "index")


def varying_parameters(
    rows: pl.DataFrame, *, datasets: Sequence[str] = (), filters: Sequence[str | None] = ()
) -> dict[str, tuple[str, ...]]:
    """Find the parameters with two values or more within an index, encoder, dataset and filter.

    Parameters
    ----------
    rows : polars.DataFrame
        ``results.parquet``.
    datasets, filters : sequence
        Only these; by default all.

    Returns
    -------
    dict of str to tuple of str
        Names of parameters, those of searching first, and the indexes within which they vary. A
        name of both building and searching an index has a prefix: ``search.`` or ``build.``.

    Raises
    ------
    InputError
        For an unknown dataset or filter, or a column that holds no JSON object.

    Examples
    --------
    >>> import polars as pl
    >>> rows = pl.DataFrame({
    ...     "row_id": ["1", "2"], "dataset": "d", "encoder": "e", "index": "hnsw",
    ...     "configuration": ["ef=10", "ef=20"], "build_params": '{"M": 16}',
    ...     "search_params": ['{"ef": 10}', '{"ef": 20}'],
    ... })
    >>> varying_parameters(rows)
    {'ef': ('hnsw',)}
    """
    chosen = choose_rows(rows, datasets, filters)
    return _varying([(row, parameters_of(row)) for row in chosen.rows])


def _varying(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    seen: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for row, parameters in pairs:
        values = seen.setdefault(tuple(row[name] for name in _CURVE), {})
        for name, value in parameters.items():
            values.setdefault(name, set()).add(json.dumps(value, sort_keys=True))
    found: dict[str, dict[str, None]] = {}
    for (_, _, index), values in seen.items():
        for name, distinct in values.items():
            if len(distinct) > 1:
                found.setdefault(name, {})[index] = None
    return {name: tuple(indexes) for name, indexes in found.items()}


def parameters_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by name, those of searching first."""
    both = []
    for column in ("search_params", "build_params"):
        try:
            values = json.loads(row.get(column) or "{}")
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise InputError(
                f"row {row['row_id']}: {column} must hold a JSON object, not {row[column]!r}"
            )
        both.append(values)
    search, build = both
    twice = search.keys() & build.keys()
    return {
        **{f"search.{name}" if name in twice else name: value for name, value in search.items()},
        **{f"build.{name}" if name in twice else name: value for name, value in build.items()},
    }


def parameter_curves(
    rows: pl.DataFrame,
    parameter: str,
    column: str,
    *,
    datasets: Sequence[str] = (),
    filters: Sequence[str | None] = (),
    log: bool | None = None,
    theme: str = "light",
    width: int | None = None,
    height: int | None = None,
    most: int = MOST,
) -> Figure:
    """Draw what a parameter does to quality or cost.

    A panel for each index (and dataset and filter), a line for each encoder and setting of the
    other parameters that vary there; bands are 95 % intervals of measures.

    Parameters
    ----------
    rows : polars.DataFrame
        ``results.parquet``.
    parameter : str
        A name of :func:`varying_parameters` whose values are numbers.
    column : str
        A measure, neighbour recall, or a column of cost.
    datasets, filters, theme, width, height
        As of :func:`retrieval_eval.report.figures.tradeoff`.
    log : bool, optional
        Whether the axis of the parameter is logarithmic; by default if it spans a decade.
    most : int
        Rows to embed at most; a figure that would need more is refused, since no line can be
        drawn from some of its points.

    Returns
    -------
    dict
        A Vega-Lite specification.

    Raises
    ------
    InputError
        For an unknown column, parameter, dataset, filter or theme, a parameter without numbers,
        or if nothing was measured, or more than `most` rows were.
    """
    look = find_theme(theme)
    column = figure_column(rows, column, "measure or cost")
    quantity = cost_quantity(column) if column in CRITERIA else Quantity(column.replace("_", " "))
    chosen = choose_rows(rows, datasets, filters)
    pairs = [(row, parameters_of(row)) for row in chosen.rows]
    varying = _varying(pairs)
    if parameter not in varying:
        raise unknown_name("parameter that varies", parameter, varying, "figure")
    pairs = [(row, values) for row, values in pairs if row["index"] in varying[parameter]]
    if not any(_is_number(values.get(parameter)) for _, values in pairs):
        raise InputError(f"figure: the values of {parameter} are no numbers: curves need some")
    left = Counter(row["status"] for row in chosen.absent if row["index"] in varying[parameter])
    records = _records(pairs, varying, parameter, column, left)
    need(records, parameter, column)
    if len(records) > most:
        raise InputError(
            f"figure: {len(records):,} rows have {parameter} and {column}, and {most:,} are the "
            "most for curves: choose datasets or filters"
        )
    panels = tuple(dict.fromkeys(record["panel"] for record in records))

    parts = Parts(look, records, column, Quantity(parameter), parameter, lines=True)
    settings = parts.legend("others", "settings")
    shape = parts.channel("Shape", SHAPES, settings, "others", "other settings")
    axis = numeric_axis(Quantity(parameter), parts.values(panels, "x"), log)
    settled = sorted({record["x"] for record in records})
    if len(settled) <= _TICKS:
        axis["axis"]["values"] = settled
    base = parts.alt.Chart().encode(
        x=parts.axis("X", axis),
        y=parts.y_axis(quantity, panels, None if column in CRITERIA else False),
        detail=["others:N"],
    )
    lines = base.mark_line(strokeWidth=look.font_size / 7, opacity=0.9).encode(
        color=parts.color, strokeDash=parts.dash
    )
    bands = (
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_area(opacity=0.13)
        .encode(y="low:Q", y2="high:Q", color=parts.color)
    )
    hollow = sum("noise" in record for record in records)
    if hollow:
        parts.tips.append(parts.alt.Tooltip("noise:N", title="noise"))
    banded = any("low" in record for record in records)
    words = "Bands: 95 % intervals." if banded else ""
    if hollow:
        words += f" Hollow: noise may have spoiled the timing ({hollow})."
    shared = [*chosen.notes, *parts.shared]
    if len(settings.entries) == 1 and settings.entries[0]:
        shared.append(settings.entries[0])
    return panelled(
        [*([bands] if banded else []), lines, *parts.dots(base, shape)],
        records,
        panels,
        look,
        f"{quantity.capital} by {parameter}",
        [f"{sentence(shared)} {counts(len(records), len(records), left)}", words.strip()],
        (width, height),
        shared_y=len(chosen.panels) == 1,
    )


def _records(
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    varying: Mapping[str, Sequence[str]],
    parameter: str,
    column: str,
    left: Counter[str],
) -> list[dict[str, Any]]:
    """Return what a figure embeds of rows, and count those that it leaves out."""
    timed = cost_quantity(column).timed if column in CRITERIA else ""
    records = []
    for row, values in pairs:
        x = values.get(parameter)
        lacking = [
            what
            for what, value in ((column, row[column]), (f"a number for {parameter}", x))
            if not _is_number(value)
        ]
        if lacking:
            left[f"without {lacking[0]}"] += 1
            continue
        record = {**record_of(row, None, column), "x": x}
        others = (
            f"{name}={_shown(values[name])}"
            for name, indexes in varying.items()
            if name != parameter and row["index"] in indexes and name in values
        )
        record["others"] = plain_text(" ".join(others))
        noise = noise_of(row.get("noise"), timed)
        if noise:
            record["noise"] = noise
        panel = ", ".join(part for part in (record["panel"], record["index"]) if part)
        records.append({**record, "panel": panel})
    return records


def _is_number(value: object) -> bool:
    return finite(value) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
