"""What was compared with what: adjusted p values, effects and differences as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.report.figures.frames import finite
from retrieval_eval.report.figures.looks import (
    Figure,
    Theme,
    find_theme,
    finished,
    load_altair,
    plain_text,
)
from retrieval_eval.selection.goals import find_column

if TYPE_CHECKING:
    import polars as pl

__all__ = ["p_matrix"]

_SHOWS = {
    "p": ("p_adjusted", "adjusted p values"),
    "effect": ("effect", "effects, in standard deviations of the differences"),
    "difference": ("difference", "mean differences"),
}
_QUESTIONS = {
    "index": "Each index against the reference of its encoder",
    "encoder": "Encoders against each other, each under the reference",
    "combination": "Each combination against its parts",
}
_LEVELS = ("p > 0.05", "p \u2264 0.05", "p \u2264 0.01", "p \u2264 0.001", "no p value")
_BOUNDS = (0.05, 0.01, 0.001)
_SMALL, _TINY = 0.1, 1e-4
_SMALL_FONT = 8
_UPRIGHT = 4
_LABEL = 28  # width of labels, in sizes of the font


def p_matrix(
    comparisons: pl.DataFrame,
    dataset: str,
    measure: str,
    *,
    show: str = "p",
    questions: Sequence[str] = (),
    theme: str = "light",
    width: int | None = None,
    most: int = 100,
) -> Figure:
    """Draw what was compared, a map for each question; cells that were not compared stay empty.

    Triangles tell whether the candidate scored better or worse, bold figures that the difference
    is significant after the correction.

    Parameters
    ----------
    comparisons : polars.DataFrame
        ``comparisons.parquet``.
    dataset : str
        A name in its column ``dataset``: that of a dataset, and of the filter if there is one.
    measure : str
        A measure in its column ``measure``.
    show : {'p', 'effect', 'difference'}
        Adjusted p values in four steps; effects (of the candidate, in standard deviations of the
        differences) or mean differences from worse to better.
    questions : sequence of {'index', 'encoder', 'combination'}
        Only these; by default all that were asked.
    theme : {'light', 'dark', 'print'}
        How it looks.
    width : int, optional
        Of a cell, in pixels.
    most : int
        Candidates of a map at most; if there are more, those with the largest effects are shown,
        and the figure says so.

    Returns
    -------
    dict
        A Vega-Lite specification.

    Raises
    ------
    InputError
        For an unknown dataset, measure, figure, question or theme.
    """
    look = find_theme(theme)
    if show not in _SHOWS:
        raise unknown_name("figure of comparisons", show, _SHOWS)
    for column, value in (("dataset", dataset), ("measure", measure)):
        known = comparisons[column].unique(maintain_order=True).to_list()
        if column == "measure":
            measure = find_column(value, known, "measure", "figure")
        elif value not in known:
            raise unknown_name("dataset of comparisons", value, known)
    mine = comparisons.filter(dataset=dataset, measure=measure).to_dicts()
    asked = list(dict.fromkeys(row["question"] for row in mine))
    for name in questions:
        if name not in asked:
            raise unknown_name("question", name, asked)
    if not mine:
        raise InputError(f"figure: nothing was compared by {measure} on {dataset}")
    column, words = _SHOWS[show]
    datasets, titles = {}, {}
    for question in questions or asked:
        records = [_record(row, column) for row in mine if row["question"] == question]
        kept = _strongest(_shortened(records), most)
        dropped = len({one["candidate"] for one in records} - {one["candidate"] for one in kept})
        datasets[question] = kept
        titles[question] = _QUESTIONS.get(question, question)
        if dropped:
            titles[question] += f" ({dropped} candidates with smaller effects are not shown)"
    color, strong = _colors(look, show, [one for kept in datasets.values() for one in kept])
    longest = max(len(one["row"]) for kept in datasets.values() for one in kept)
    room = look.font_size * min(_LABEL, 0.52 * longest)
    alt = load_altair()
    chart = alt.vconcat(
        *(
            _map(look, name, kept, titles[name], (color, strong), (width, room))
            for name, kept in datasets.items()
        )
    )
    first = mine[0]
    notes = [
        f"Dataset {first['family'].removeprefix('dataset ')}.",
        (
            f"Test: {first['test']}; correction: {first['correction']}; bold: significant at "
            f"{first['alpha']:g}. \u25b2 candidate better, \u25bc worse."
        ),
    ]
    return finished(chart, datasets, look, f"{measure}: {words}", notes, look.width * 1.2)


def _record(row: dict[str, Any], column: str) -> dict[str, Any]:
    """Return what a figure embeds of a comparison: figures as they are."""
    record: dict[str, Any] = {
        name: plain_text(row[name])
        for name in ("reference", "candidate", "reference_row_id", "candidate_row_id")
    }
    figures = ("p", "p_adjusted", "effect", "difference", "difference_lo", "difference_hi")
    record.update({name: row[name] for name in figures if finite(row[name])})
    record["significant"] = bool(row["significant"])
    adjusted = record.get("p_adjusted")
    passed = sum(adjusted <= bound for bound in _BOUNDS) if adjusted is not None else -1
    record["level"] = _LEVELS[passed]
    change = record.get("difference", 0.0)
    sign = "\u25b2" if change > 0 else "\u25bc" if change < 0 else "="
    record["text"] = f"{sign} {_shown(record.get(column), column)}"
    return record


def _shown(value: float | None, column: str) -> str:
    """Print a figure as the cells show it; tooltips have all its digits."""
    if value is None:
        return "\u2013"
    if column != "p_adjusted":
        return f"{abs(value):.3f}" if abs(value) < _SMALL else f"{abs(value):.2f}"
    return "<0.0001" if value < _TINY else f"{value:.2g}"


def _shortened(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop from each candidate what it shares with its reference, if cells stay apart.

    Each index is compared with the reference of its own encoder, so that the encoder in the names
    of columns tells all.
    """
    short = []
    for record in records:
        prefix = record["reference"].partition(" | ")[0] + " | "
        short.append((record["reference"], record["candidate"].removeprefix(prefix)))
    changed = all(
        name != record["candidate"] for (_, name), record in zip(short, records, strict=True)
    )
    if not changed or len(set(short)) < len(records):
        return [{**record, "row": record["candidate"]} for record in records]
    return [{**record, "row": name} for (_, name), record in zip(short, records, strict=True)]


def _strongest(records: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Keep the candidates with the largest effects, in their order."""
    largest: dict[str, float] = {}
    for record in records:
        effect = abs(record.get("effect", 0.0))
        largest[record["row"]] = max(effect, largest.get(record["row"], 0.0))
    kept = set(sorted(largest, key=lambda row: -largest[row])[:most])
    return [record for record in records if record["row"] in kept]


def _colors(look: Theme, show: str, records: Sequence[dict[str, Any]]) -> tuple[Any, str]:
    """Return the colour of cells, and which are so strong that their text must be inverse."""
    alt = load_altair()
    dark = look.name == "dark"
    if show == "p":
        levels = [one for one in _LEVELS if any(record["level"] == one for record in records)]
        scale = alt.Scale(domain=levels, range=[look.steps[_LEVELS.index(one)] for one in levels])
        strong = " || ".join(f"datum.level === '{one}'" for one in _LEVELS[2 if dark else 3 : 4])
        return alt.Color("level:O", scale=scale, title="adjusted"), strong
    bound = max((abs(record.get(show, 0.0)) for record in records), default=0.0) or 1.0
    scale = alt.Scale(
        domain=[-bound, 0, bound], range=[look.worse, look.middle, look.better], interpolate="lab"
    )
    value = f"abs(datum.{show})" if dark else f"datum.{show}"  # black is legible on orange
    return alt.Color(f"{show}:Q", scale=scale, title=show), f"{value} > {0.6 * bound!r}"


def _map(
    look: Theme,
    question: str,
    records: list[dict[str, Any]],
    title: str,
    colors: tuple[Any, str],
    room: tuple[int | None, float],
) -> Any:
    """Draw the map of one question."""
    alt = load_altair()
    size = look.font_size
    width, margin = room
    label = alt.Axis(
        labelLimit=_LABEL * size, minExtent=margin, grid=False, domain=False, ticks=False
    )
    columns = list(dict.fromkeys(record["reference"] for record in records))
    rows = list(dict.fromkeys(record["row"] for record in records))
    top = alt.Axis(
        orient="top",
        labelLimit=16 * size,
        grid=False,
        domain=False,
        ticks=False,
        labelAngle=0 if len(columns) <= _UPRIGHT else -35,
        labelOverlap=False,
    )
    base = alt.Chart(alt.NamedData(question)).encode(
        x=alt.X("reference:N", sort=columns, title="reference", axis=top),
        y=alt.Y("row:N", sort=rows, title="candidate", axis=label),
    )
    color, strong = colors
    cells = base.mark_rect(stroke=look.grid, strokeWidth=1).encode(
        color=color,
        tooltip=[
            alt.Tooltip("candidate:N"),
            alt.Tooltip("reference:N"),
            alt.Tooltip("difference:Q", title="mean difference"),
            alt.Tooltip("difference_lo:Q", title="95 % interval from"),
            alt.Tooltip("difference_hi:Q", title="to"),
            alt.Tooltip("effect:Q"),
            alt.Tooltip("p:Q"),
            alt.Tooltip("p_adjusted:Q", title="adjusted p"),
        ],
    )
    inverse = "#000000" if look.name == "dark" else "#ffffff"
    ink = alt.condition(strong, alt.value(inverse), alt.value(look.text))
    words = [
        base.transform_filter(f"datum.significant === {flag}")
        .mark_text(fontSize=size - (1 if size > _SMALL_FONT else 0), fontWeight=weight)
        .encode(text="text:N", color=ink)
        for flag, weight in (("true", "bold"), ("false", "normal"))
    ]
    return alt.layer(cells, *words).properties(
        width=(width or round(9 * size)) * len(columns),
        height=round(1.9 * size) * len(rows),
        title=alt.TitleParams(title, fontSize=size, fontWeight="normal", frame="bounds"),
    )
