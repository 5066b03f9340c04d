"""All pairs of rows, what the queries can resolve, and whether encoders keep their order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from retrieval_eval.comparison import Difference
from retrieval_eval.report.agreement import EncoderAgreement, EncoderSwap, encoder_agreement
from retrieval_eval.report.groups import FinishedSweep, SignificanceGroup, significance_groups
from retrieval_eval.report.page.document import Section
from retrieval_eval.report.resolution import Resolution, resolutions
from retrieval_eval.report.terminal import number, shown_p
from retrieval_eval.selection.tables import SweepTables, read_tables

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LARGEST", "SLOWEST", "pairs_section"]

LARGEST = 4_000_000
"""Pairs x measures x queries that are compared of one encoder's rows in a dataset and filter, and
of all encoders' rows in all of these together."""

SLOWEST = 2e10
"""Draws of these at the most, each time: a few seconds."""

_ROWS = 60
"""Rows of a matrix: of more, no reader finds a cell."""

_CELLS = 10_000
"""Pairs x measures of all matrices: about 0.6 MB of the page."""

_SWAPS = 200
_SENTENCES = 6
_QUESTIONS = {
    "index": "index and reference",
    "encoder": "two encoders",
    "combination": "combination and part",
}


def pairs_section(
    results: FinishedSweep, groups: Sequence[SignificanceGroup] | None = None
) -> Section:
    """Return the section of pairs, of what can be resolved, and of the order of encoders.

    Parameters
    ----------
    results : Results
        A finished sweep.
    groups : sequence of SignificanceGroup, optional
        From :func:`retrieval_eval.report.groups.significance_groups`, for each encoder; by default
        they are found here.
    """
    tables = read_tables(results, None)
    if groups is None:
        groups = significance_groups(tables, largest=LARGEST, slowest=SLOWEST)
    matrices, reasons = _chosen([*groups, *_across_encoders(tables)])
    rows = {row["row_id"]: row for row in tables.rows.to_dicts()}
    own = _own(results.comparisons)
    parts: dict[str, Any] = {
        f"matrix-{place}": _matrix(one, rows) for place, one in enumerate(matrices)
    }
    parts |= {f"own-{place}": part for place, part in enumerate(own.values())}
    parts["list"] = {
        "matrices": [
            {"part": f"matrix-{place}", "title": _title(one), "family": _family(one)}
            for place, one in enumerate(matrices)
        ],
        "own": [
            {"part": f"own-{place}", "title": name, "family": part["family"]}
            for place, (name, part) in enumerate(own.items())
        ],
        "measures": tables.measures,
    }
    found = resolutions(results.comparisons, results.manifest)
    return Section(
        "pairs",
        "Pairs",
        {
            "reasons": reasons,
            "reference": results.manifest.get("reference"),
            "compared": bool(own),
            "resolutions": [_resolution(one) for one in found],
            "sentences": _sentences(found),
            "agreements": _agreements(tables),
            "encoders": tables.rows["encoder"].n_unique(),
        },
        parts,
    )


def _across_encoders(tables: SweepTables) -> list[SignificanceGroup]:
    """Compare rows of several encoders, where there are several and it takes no time."""
    import polars as pl

    cells = [
        frame
        for _, frame in tables.cells()
        if frame.filter(frame["status"] == "ok")["encoder"].n_unique() > 1
    ]
    largest = LARGEST // max(1, len(cells))
    small = [one for one in cells if (one["status"] == "ok").sum() <= _ROWS]
    if not small:
        return []
    some = SweepTables(pl.concat(small), tables.per_query, tables.manifest)
    return significance_groups(some, across_encoders=True, largest=largest, slowest=SLOWEST)


def _chosen(groups: Iterable[SignificanceGroup]) -> tuple[list[SignificanceGroup], list[str]]:
    """Return what is shown as matrices, and in sentences why others are not."""
    chosen, reasons, room = [], [], _CELLS
    for one in groups:
        if one.comparison is None:
            if len(one.row_ids) > 1:
                reasons.append(f"{_title(one)}: {one.reason}")
            continue
        if len(one.row_ids) > _ROWS:
            reasons.append(f"{_title(one)}: {len(one.row_ids)} rows, and a matrix holds {_ROWS}")
            continue
        size = len(one.comparison.differences)
        if size > room:
            reasons.append(f"{_title(one)}: the matrices before it fill the page")
            continue
        room -= size
        chosen.append(one)
    return chosen, reasons


def _title(group: SignificanceGroup) -> str:
    return group.title if group.encoder is not None else f"{group.title} | all encoders"


def _family(group: SignificanceGroup) -> str:
    comparison = group.comparison
    if comparison is None:
        return ""
    options = comparison.options
    return (
        f"Two-sided paired {options.test} test, correction {options.correction} over "
        f"{comparison.family}; bold: significant at level {options.alpha:g}"
    )


def _matrix(group: SignificanceGroup, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows, and by measure the pairs as columns of figures."""
    comparison = group.comparison
    if comparison is None:
        raise ValueError("the group was not compared")
    place = {row_id: number for number, row_id in enumerate(group.row_ids)}
    mine = [rows[row_id] for row_id in group.row_ids]
    by_measure: dict[str, list[Difference]] = {name: [] for name in comparison.measures}
    for one in comparison.differences:
        by_measure[one.measure].append(one)
    return {
        "rows": [
            {
                "name": row["configuration"]
                if group.encoder is not None
                else f"{row['encoder']} | {row['configuration']}",
                "reference": bool(row["is_reference"]),
                "means": [_json(row[name]) for name in comparison.measures],
                "shown": [number(_json(row[name]), 4) for name in comparison.measures],
            }
            for row in mine
        ],
        "measures": list(comparison.measures),
        "pairs": [
            {
                "a": [place[one.a] for one in pairs],
                "b": [place[one.b] for one in pairs],
                "better": [one.wins for one in pairs],
                "equal": [one.ties for one in pairs],
                "worse": [one.losses for one in pairs],
                **_figures(
                    (one.mean_diff, *one.ci95, one.effect, one.p, one.p_adjusted, one.significant)
                    for one in pairs
                ),
            }
            for pairs in by_measure.values()
        ],
    }


def _figures(pairs: Iterable[tuple[float | None, ...]]) -> dict[str, list[Any]]:
    """Return columns of figures, and how they are shown: of a minus b, with a sign."""
    records = list(pairs)
    difference, low, high, effect, p, adjusted, significant = (
        zip(*records, strict=True) if records else ((),) * 7
    )
    return {
        "difference": [_json(one) for one in difference],
        "low": [_json(one) for one in low],
        "high": [_json(one) for one in high],
        "effect": [_json(one) for one in effect],
        "p": [_json(one) for one in p],
        "adjusted": [_json(one) for one in adjusted],
        "significant": [int(bool(one)) for one in significant],
        "difference_shown": [_signed(one, 4) for one in difference],
        "low_shown": [_signed(one, 3) for one in low],
        "high_shown": [_signed(one, 3) for one in high],
        "effect_shown": [_signed(one, 2) for one in effect],
        "p_shown": [_shown_p(one) for one in p],
        "adjusted_shown": [_shown_p(one) for one in adjusted],
    }


def _own(comparisons: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return what the sweep itself compared, by dataset and filter."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in comparisons.iter_rows(named=True):
        found.setdefault(one["dataset"], []).append(one)
    return {
        name: {
            "family": records[0].get("family", "").removeprefix(f"dataset {name}: "),
            "measure": [one["measure"] for one in records],
            "question": [_QUESTIONS.get(one["question"], one["question"]) for one in records],
            "candidate": [one["candidate"] for one in records],
            "reference": [one["reference"] for one in records],
            "better": [one["wins"] for one in records],
            "equal": [one["ties"] for one in records],
            "worse": [one["losses"] for one in records],
            **_figures(
                (
                    *(one["difference"], one["difference_lo"], one["difference_hi"]),
                    *(one["effect"], one["p"], one["p_adjusted"], one["significant"]),
                )
                for one in records
            ),
        }
        for name, records in found.items()
    }


def _resolution(one: Resolution) -> dict[str, Any]:
    """Return a line of the table: each figure as it is, and as it is shown."""
    small = one.margin is not None and one.corrected > one.margin
    return {
        "dataset": one.dataset,
        "question": _QUESTIONS.get(one.question, one.question),
        "measure": one.measure,
        "pairs": one.pairs,
        "without_spread": one.without_spread,
        "queries": one.n_queries,
        "figures": [
            (_json(value), "" if _json(value) is None else f"{value:.3g}")
            for value in (one.sd, one.alone, one.corrected, one.unseen)
        ]
        if one.pairs
        else [(None, "none"), *[(None, "")] * 3],
        "margin": "" if one.margin is None else f"{one.margin:g}",
        "beyond": small,
        "queries_for_margin": one.queries_for_margin,
    }


def _sentences(found: Sequence[Resolution]) -> list[str]:
    """Say in words what the first measure of each dataset can show of an index."""
    firsts: dict[str, Resolution] = {}
    for one in found:
        if one.question == "index":
            firsts.setdefault(one.dataset, one)
    return [f"{name}: {one.sentence}." for name, one in [*firsts.items()][:_SENTENCES]]


def _agreements(tables: SweepTables) -> list[dict[str, Any]]:
    """Return, for each dataset and filter, tau by configuration and measure, and swaps."""
    places: dict[tuple[str, str | None], list[EncoderAgreement]] = {}
    for one in encoder_agreement(tables, largest=LARGEST, slowest=SLOWEST):
        places.setdefault((one.dataset, one.filter), []).append(one)
    return [
        _agreement(dataset if filter_ is None else f"{dataset}, {filter_}", mine)
        for (dataset, filter_), mine in places.items()
    ]


def _agreement(title: str, found: Sequence[EncoderAgreement]) -> dict[str, Any]:
    measures = list(dict.fromkeys(one.measure for one in found))
    by_place = {(one.configuration, one.measure): one for one in found}
    configurations = dict.fromkeys(one.configuration for one in found)
    swaps = [(one, swap) for one in found for swap in one.swaps]
    return {
        "title": title,
        "measures": measures,
        "orders": [
            (measure, _order(max(mine, key=lambda one: len(one.encoders))))
            for measure in measures
            if (mine := [one for one in found if one.measure == measure])
        ],
        "rows": [
            (name, [_tau(by_place.get((name, measure))) for measure in measures])
            for name in configurations
        ],
        "swaps": [_swap(one, swap) for one, swap in swaps[:_SWAPS]],
        "more": max(0, len(swaps) - _SWAPS),
        "beyond": sum(bool(swap.beyond_chance) for _, swap in swaps),
        "total": len(swaps),
        "left_out": list(_left_out(found)),
        "family": found[0].family,
        "reason": found[0].reason,
    }


def _order(one: EncoderAgreement) -> str:
    pairs = zip(one.encoders, one.reference_means, strict=True)
    return ", ".join(f"{name} {number(mean, 4)}" for name, mean in pairs)


def _tau(one: EncoderAgreement | None) -> dict[str, Any]:
    if one is None:
        return {"tau": None, "shown": "", "swaps": 0}
    tau = _json(one.tau)
    return {
        "tau": tau,
        "shown": "all tie" if tau is None else f"{tau:.2f}",
        "swaps": len(one.swaps),
    }


def _swap(one: EncoderAgreement, swap: EncoderSwap) -> dict[str, Any]:
    return {
        "configuration": one.configuration,
        "measure": one.measure,
        "ahead": swap.ahead,
        "behind": swap.behind,
        "before": (swap.reference_difference, _signed(swap.reference_difference, 4)),
        "after": (swap.difference, _signed(swap.difference, 4)),
        "p_before": (swap.reference_p, _shown_p(swap.reference_p)),
        "p_after": (swap.p, _shown_p(swap.p)),
        "verdict": _verdict(swap),
        "beyond": swap.beyond_chance,
    }


def _verdict(swap: EncoderSwap) -> str:
    if swap.beyond_chance is None:
        return "not tested"
    if swap.beyond_chance:
        return "beyond chance: both orders are significant"
    if swap.reference_significant:
        return "not shown: only the order under the reference is significant"
    if swap.significant:
        return "not shown: only the order under this configuration is significant"
    return "not shown: neither order is significant"


def _left_out(found: Sequence[EncoderAgreement]) -> Iterator[str]:
    """Say of which encoders nothing is known under a configuration."""
    for one in found:
        for name in one.left_out:
            yield f"{one.configuration}, {one.measure}: {name} has no mean here"


def _json(value: Any) -> float | None:
    """Return a figure as JSON has it, which knows no NaN."""
    return value if value is not None and math.isfinite(value) else None


def _signed(value: float | None, digits: int) -> str:
    return "" if _json(value) is None else f"{value:+.{digits}f}"


def _shown_p(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else shown_p(value)
