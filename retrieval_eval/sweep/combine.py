"""Rows of a sweep that are made of others: fusions, and rows ranked again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from retrieval_eval.combiners import COMBINERS
from retrieval_eval.datasets import Dataset
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.parameters import Entry, parse_entry
from retrieval_eval.plugins import own_code
from retrieval_eval.store import digest
from retrieval_eval.sweep.choices import refuse_repeats, why_missing
from retrieval_eval.sweep.config import Sweep, located
from retrieval_eval.sweep.expand import expand_entry
from retrieval_eval.sweep.rows import (
    AnyRow,
    CombinedRow,
    CombinerChoice,
    Row,
    View,
    shown_parameters,
)

__all__ = ["combined_rows", "combiner_choices"]


def combiner_choices(entry: Entry, place: int) -> list[CombinerChoice]:
    """Return the combiners of an entry; a list in a parameter, but for ``of``, gives several.

    Raises
    ------
    InputError
        For an unknown combiner or parameter, or if ``of`` does not name what it takes.
    """
    name, parameters = parse_entry(entry)
    cls = COMBINERS.load(name)
    of = parameters.pop("of", None)
    wanted = [of] if isinstance(of, str) else of
    known = {
        "of",
        "label",
        "zip",
        "when",
        *(one.name for one in dataclasses.fields(cls.Parameters)),
    }
    for key in parameters:
        if key not in known:
            raise unknown_name("parameter", key, known, f"combiner {name!r}")
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise InputError(
            f"combine: {name!r}: of is {of!r}: name what to combine, such as of: [bm25, minilm]"
        )
    choices = []
    expanded = expand_entry({name: parameters})
    called = expanded.label or name
    for point in expanded.points:
        combiner = cls(**point)
        combiner.check(len(wanted), wanted)
        named = expanded.varying(point) if expanded.label else point
        shown = shown_parameters(called, named)
        missing = why_missing(combiner)
        choices.append(CombinerChoice(called, shown, combiner, tuple(wanted), missing, place))
    return choices


def combined_rows(
    sweep: Sweep,
    dataset: Dataset,
    views: Sequence[View],
    rows: Sequence[Row],
    choices: Sequence[CombinerChoice],
) -> list[CombinedRow]:
    """Make the combined rows of one dataset.

    Raises
    ------
    InputError
        If a choice names what is not there, or what stands for several rows.
    """
    found: list[CombinedRow] = []
    refuse_repeats("combination", [choice.shown for choice in choices])
    labels = {row.encoder.label for row in rows}
    for choice in choices:
        if choice.shown in labels:
            with located("combine", choice.place):
                raise InputError(
                    f"combination {choice.shown!r} has the name of an encoder: label it otherwise"
                )
    for view in views:
        mine: list[AnyRow] = [row for row in rows if row.view is view]
        for choice in choices:
            with located("combine", choice.place):
                if choice.combiner.uses_texts and dataset.vectors is not None:
                    raise InputError(
                        f"combiner {choice.name!r} reads texts, and dataset {dataset.name!r} has "
                        "vectors alone"
                    )
                choice.combiner.check_queries(len(view.qrels.query_ids))
                parts = tuple(_find(name, mine) for name in choice.of)
                if len(set(parts)) != len(parts):
                    raise InputError(f"combiner {choice.name!r} combines a row with itself")
                row = _combined(sweep, dataset, view, choice, parts)
                mine.append(row)
                found.append(row)
    return found


def _find(name: str, rows: Sequence[AnyRow]) -> AnyRow:
    """Return the row that a name stands for: an earlier combination, an encoder, a row."""
    full = {f"{row.encoder_label} | {row.shown}": row for row in rows}
    if name in full:
        return full[name]
    combined = [row for row in rows if isinstance(row, CombinedRow)]
    for wanted in (
        [row for row in combined if row.choice.shown == name],
        [row for row in rows if isinstance(row, Row) and row.encoder.label == name],
        [row for row in combined if row.choice.name == name],
    ):
        best = [row for row in wanted if row.is_reference] or wanted
        if len(best) == 1:
            return best[0]
        if best:
            shown = ", ".join(repr(f"{row.encoder_label} | {row.shown}") for row in best[:4])
            raise InputError(
                f"of: {name!r} stands for {len(best)} rows: name one of {shown}"
                f"{', ...' if len(best) > 4 else ''}"
            )
    labels = {row.encoder.label for row in rows if isinstance(row, Row)}
    known = {*labels, *(row.choice.shown for row in combined), *full}
    raise unknown_name("row (of combine)", name, known)


def _combined(
    sweep: Sweep,
    dataset: Dataset,
    view: View,
    choice: CombinerChoice,
    parts: tuple[AnyRow, ...],
) -> CombinedRow:
    fields = {
        "parts": [part.row_id for part in parts],
        "combiner": choice.identity,
        "code": own_code(type(choice.combiner)),
        "k": sweep.k,
        "seed": sweep.seed if choice.combiner.uses_judgments else None,
        "labels": [choice.name, *choice.of],
    }
    return CombinedRow(digest(fields), dataset, choice, parts, view)
