"""How the scores of single queries differ between two rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.effects import wins_ties_losses
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.report.figures.looks import (
    Figure,
    Theme,
    find_theme,
    finished,
    load_altair,
    plain_text,
)
from retrieval_eval.selection.goals import find_column
from retrieval_eval.selection.tables import SweepTables

if TYPE_CHECKING:
    import polars as pl

__all__ = ["differences"]

_BARS = 200
_FEW = 20  # bars for which there is room even if fewer are drawn
_BINS = 20  # each side of no difference
_ROUNDING = 1e-9


def differences(
    per_query: pl.DataFrame,
    reference_row_id: str,
    candidate_row_id: str,
    measure: str,
    *,
    rows: pl.DataFrame | None = None,
    kind: str = "auto",
    theme: str = "light",
    width: int | None = None,
    height: int | None = None,
) -> Figure:
    """Draw how the scores of single queries differ, candidate minus reference.

    Queries whose scores are equal but for rounding are ties, as in comparisons: they are counted
    in words, not drawn, since most queries are ties where an index is nearly exact.

    Parameters
    ----------
    per_query : polars.DataFrame
        ``per_query.parquet``: ``row_id``, ``query_id`` and measures.
    reference_row_id, candidate_row_id : str
        The rows, both scored on the same queries.
    measure : str
        A column of `per_query`.
    rows : polars.DataFrame, optional
        ``results.parquet``, for the names of both; by default their ids are shown.
    kind : {'auto', 'bars', 'histogram'}
        A bar for each query that differs, sorted, with its id; or counts within up to 40 bins of
        equal width, none of which holds both signs. By default bars for up to 200 queries.
    theme : {'light', 'dark', 'print'}
        How it looks.
    width, height : int, optional
        In pixels.

    Returns
    -------
    dict
        A Vega-Lite specification; the data of a histogram have at most 40 rows.

    Raises
    ------
    InputError
        For an unknown row, measure, kind or theme, or rows scored on different queries.
    """
    look = find_theme(theme)
    if kind not in ("auto", "bars", "histogram"):
        raise unknown_name("kind of figure", kind, ("auto", "bars", "histogram"))
    measures = [name for name in per_query.columns if name not in ("row_id", "query_id")]
    measure = find_column(measure, measures, "measure", "figure")
    present = set(per_query["row_id"].unique())
    for row_id in (reference_row_id, candidate_row_id):
        if row_id not in present:
            raise InputError(f"figure: per_query has no scores of the row {row_id!r}")
    if reference_row_id == candidate_row_id:
        raise InputError(f"figure: {candidate_row_id!r} is compared with itself")
    tables = SweepTables(per_query, per_query)  # scores look at the second alone
    queries, scores = tables.scores([candidate_row_id, reference_row_id], [measure])
    known = ~np.isnan(scores[0]).any(axis=0)
    if not known.any():
        raise InputError(f"figure: no query has a score of {measure} in both rows")
    paired = PairedScores(scores[0][:, known], np.array([[0, 1]]))
    ids = np.array(queries, dtype=object)[known]
    wins, ties, losses = wins_ties_losses(paired)[0].tolist()
    bars = kind == "bars" or (kind == "auto" and wins + losses <= _BARS)
    found = paired.differences[0]
    names = _names(rows, (reference_row_id, candidate_row_id))
    mean = float(paired.means[0])
    notes = [
        f"Candidate: {names[1]}",
        f"Reference: {names[0]}",
        (
            f"{paired.n:,} queries: {wins:,} better, {losses:,} worse, {ties:,} equal (not drawn); "
            f"mean difference {mean:+.4g} (dashed)."
        ),
    ]
    if not known.all():
        notes.append(f"{int((~known).sum()):,} queries without a score in one of both.")
    title = f"{measure} of single queries, candidate minus reference"
    if bars:
        data = _sorted_bars(paired, ids)
        chart = _draw_bars(look, measure, len(data))
    else:
        step, data = _histogram(found)
        notes.append(f"Bins of {step:g}.")
        chart = _draw_histogram(look, measure)
    alt = load_altair()
    layers = [chart, _mean_rule(look, bars)]
    size = {"width": width or look.width, "height": height or look.height}
    together = alt.layer(*layers, data=alt.NamedData("differences")).properties(**size)
    datasets = {"differences": data, "mean": [{"mean": mean}]}
    return finished(together, datasets, look, title, notes, size["width"])


def _names(rows: pl.DataFrame | None, ids: tuple[str, str]) -> tuple[str, str]:
    if rows is None:
        return ids
    known = {
        row["row_id"]: f"{row['encoder']} | {row['configuration']}"
        for row in rows.select("row_id", "encoder", "configuration").iter_rows(named=True)
    }
    return known.get(ids[0], ids[0]), known.get(ids[1], ids[1])


def _sorted_bars(paired: PairedScores, ids: NDArray[np.object_]) -> list[dict[str, Any]]:
    found = paired.differences[0]
    order = np.argsort(found, kind="stable")
    order = order[found[order] != 0]
    return [
        {
            "place": number,
            "query_id": plain_text(ids[place]),
            "difference": float(found[place]),
            "candidate": float(paired.values[0, place]),
            "reference": float(paired.values[1, place]),
            "side": "better" if found[place] > 0 else "worse",
        }
        for number, place in enumerate(order, start=1)
    ]


def _histogram(found: NDArray[np.float64]) -> tuple[float, list[dict[str, Any]]]:
    """Count differences in bins of (k step, (k + 1) step], mirrored below 0; none at 0."""
    largest = float(np.abs(found).max(initial=0.0))
    if largest == 0:
        return 0.0, []
    rough = largest / _BINS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(
        size for digit in (1, 2, 5, 10) if (size := digit * power) >= rough * (1 - _ROUNDING)
    )
    moved = found[found != 0]
    places = np.maximum(1, np.ceil(np.abs(moved) / step - _ROUNDING)).astype(np.int64)
    signed, numbers = np.unique(np.sign(moved).astype(np.int64) * places, return_counts=True)
    data = []
    for place, number in zip(signed.tolist(), numbers.tolist(), strict=True):
        far, near = place * step, (place - (1 if place > 0 else -1)) * step
        low, high = (float(f"{one:.12g}") for one in sorted((far, near)))
        side = "better" if place > 0 else "worse"
        data.append({"low": low, "high": high, "queries": number, "side": side})
    return step, data


def _side(look: Theme) -> Any:
    alt = load_altair()
    scale = alt.Scale(domain=["better", "worse"], range=[look.better, look.worse])
    return alt.Color("side:N", scale=scale, title="candidate")


def _draw_bars(look: Theme, measure: str, count: int) -> Any:
    alt = load_altair()
    return (
        alt.Chart()
        .mark_bar()
        .encode(
            x=alt.X(
                "place:O",
                title="queries that differ, sorted",
                axis=alt.Axis(labels=False, ticks=False, grid=False),
                scale=alt.Scale(domain=list(range(1, max(count, _FEW) + 1)), paddingInner=0.1),
            ),
            y=alt.Y("difference:Q", title=f"difference in {measure}"),
            color=_side(look),
            tooltip=[
                alt.Tooltip("query_id:N", title="query"),
                alt.Tooltip("difference:Q"),
                alt.Tooltip("candidate:Q", title=f"{measure} of the candidate"),
                alt.Tooltip("reference:Q", title=f"{measure} of the reference"),
            ],
        )
    )


def _draw_histogram(look: Theme, measure: str) -> Any:
    alt = load_altair()
    return (
        alt.Chart()
        .mark_rect(stroke=look.background, strokeWidth=0.5)
        .encode(
            x=alt.X(
                "low:Q",
                title=f"difference in {measure}",
                scale=alt.Scale(zero=True),
                axis=alt.Axis(tickCount=9, grid=False),
            ),
            x2="high:Q",
            y=alt.Y("queries:Q", title="queries", axis=alt.Axis(tickMinStep=1)),
            y2=alt.Y2Datum(0),
            color=_side(look),
            tooltip=[
                alt.Tooltip("queries:Q"),
                alt.Tooltip("low:Q", title="difference from"),
                alt.Tooltip("high:Q", title="to"),
            ],
        )
    )


def _mean_rule(look: Theme, horizontal: bool) -> Any:
    alt = load_altair()
    channel = {"y" if horizontal else "x": alt.Y("mean:Q") if horizontal else alt.X("mean:Q")}
    return (
        alt.Chart(alt.NamedData("mean"))
        .mark_rule(color=look.text, strokeDash=[4, 3], strokeWidth=look.font_size / 9)
        .encode(**channel, tooltip=[alt.Tooltip("mean:Q", title="mean difference")])
    )
