"""Differences query by query: how they are spread, which queries moved, and which documents did it.

Scores are those of the sweep. With the judgments (see
:mod:`retrieval_eval.report.queries.sources`), the ranks of judged documents are looked up in the
run files of some rows, and each relevant document has a verdict: found by both rows, lost or gained
by the candidate, or found by neither. Where the reference is exact search with the same encoder,
what the candidate lost its index lost, and what neither finds the encoder lost.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.report.groups import FinishedSweep
from retrieval_eval.report.queries.judged import Judged, is_exact, measure_facts
from retrieval_eval.report.queries.moved import Differences, query_differences
from retrieval_eval.report.queries.sources import Source, Text, first_texts
from retrieval_eval.selection.front import pareto_front
from retrieval_eval.selection.tables import SweepTables, read_tables

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Compared", "Differences", "DrillDown", "DrilledCell", "Question", "drill_down"]

Question = Literal["index", "best", "encoder", "combination"]
"""What differs between two rows; ``best``: as ``index``, but against the best row of the encoder,
for want of a reference."""

MOST_ENCODERS = 6
"""Encoders of a dataset and filter that are compared with each other."""

_COSTS = ("latency_p95_s", "size_bytes", "build_s")
_QUERY_TEXT, _DOCUMENT_TEXT = 300, 200  # characters of one
_QUERY_TEXTS, _DOCUMENT_TEXTS = 400_000, 600_000  # characters of all


@dataclass(frozen=True, eq=False)
class Compared:
    """Two rows.

    Parameters
    ----------
    candidate, reference : str
        Their row ids.
    question : {'index', 'best', 'encoder', 'combination'}
        What differs between them.
    exact : bool
        Whether the index of the reference searches exactly; for encoders, those of both.
    by_measure : mapping of str to Differences
        For each measure.
    documents : polars.DataFrame or None
        Judged documents of the queries that moved by any measure, with ranks and verdicts: see
        :meth:`retrieval_eval.report.queries.judged.Judged.look_up`. None if not looked up.
    tally : mapping of str to tuple of int
        For each measure, relevant documents of all queries by verdict, in the order of
        :data:`retrieval_eval.report.queries.judged.VERDICTS`; empty if they were not looked up.
    reason : str
        Why they were not; empty if they were.
    """

    candidate: str
    reference: str
    question: Question
    exact: bool
    by_measure: Mapping[str, Differences] = field(default_factory=dict)
    documents: pl.DataFrame | None = None
    tally: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    reason: str = "This row is not among those whose runs were read."

    @property
    def moved(self) -> list[str]:
        """The queries that moved most by any measure."""
        return list(dict.fromkeys(one for each in self.by_measure.values() for one in each.queries))


@dataclass(frozen=True, eq=False)
class DrilledCell:
    """A dataset under a filter.

    Parameters
    ----------
    dataset, filter : str, str or None
        Which.
    steps : mapping of str to float
        Width of the bins of each measure, the same for all rows; 0 if no query differs.
    compared : tuple of Compared
        Rows with their references, encoders with each other, combinations with their parts.
    reason : str
        Why no documents are shown; empty if they are.
    """

    dataset: str
    filter: str | None
    steps: Mapping[str, float]
    compared: tuple[Compared, ...]
    reason: str = ""


@dataclass(frozen=True, eq=False)
class DrillDown:
    """Differences query by query of a finished sweep.

    Parameters
    ----------
    measures : mapping of str to (int, int, bool)
        Depth of each, the grade from which documents are relevant to it, and whether it sees
        judged documents only.
    cells : tuple of DrilledCell
        Datasets and filters, in the order of the rows.
    names : mapping of str to str
        Each row as ``ENCODER | CONFIGURATION``.
    queries, documents : mapping of str to mapping of str to (str, bool)
        For each dataset the texts of queries and documents by id, each with whether it was cut.
    notes : tuple of str
        What was left out, in sentences.
    """

    measures: Mapping[str, tuple[int, int, bool]]
    cells: tuple[DrilledCell, ...]
    names: Mapping[str, str]
    queries: Mapping[str, Mapping[str, Text]] = field(default_factory=dict)
    documents: Mapping[str, Mapping[str, Text]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def drill_down(
    results: FinishedSweep,
    sources: Mapping[str, Source | str] | None = None,
    *,
    measures: Sequence[str] = (),
    rows: Sequence[str] = (),
    rows_at_most: int = 40,
    worse: int = 10,
    better: int = 5,
    moved_at_most: int = 20_000,
    folder: Path | None = None,
) -> DrillDown:
    """Look at the differences of a sweep query by query.

    Every row is compared with the reference of its encoder, or, where there is none, with the best
    row of the encoder by the first measure; references of encoders with each other, up to
    :data:`MOST_ENCODERS` of them; and each combination with its parts, as the sweep did.

    Parameters
    ----------
    results : Results
        A finished sweep.
    sources : mapping of str to Source or str, optional
        From :func:`retrieval_eval.report.queries.sources.load_sources`. Without, there are no texts
        and no judged documents.
    measures : sequence of str
        Only these; by default all of the sweep.
    rows : sequence of str
        Ids of rows whose documents are looked up before those of others.
    rows_at_most : int
        How many run files are read, which takes 0.1 s for 4,000 queries with 100 hits: those of
        `rows`, of references, of rows on the front of the first measure and cost, and of the best
        by that measure.
    worse, better : int
        Queries that are listed at the most, for each pair of rows and measure.
    moved_at_most : int
        Listed queries of all pairs and measures; where there are many, fewer are listed for each,
        but one at least of both kinds.
    folder : Path, optional
        Of the results; by default that of `results`.

    Raises
    ------
    InputError
        For an unknown measure or row, or a number below 0.
    """
    tables = read_tables(results, None)
    known = list(tables.measures)
    for name in measures:
        if name not in known:
            raise unknown_name("measure", name, known)
    for what, number in (("rows_at_most", rows_at_most), ("worse", worse), ("better", better)):
        if number < 0:
            raise InputError(f"{what} is {number}: it must be at least 0")
    chosen = list(measures) or known
    facts = measure_facts(chosen, int(tables.manifest.get("sweep", {}).get("k", 100)))
    names = {
        row_id: f"{encoder} | {shown}"
        for row_id, encoder, shown in tables.rows.select(
            "row_id", "encoder", "configuration"
        ).iter_rows()
    }
    for row_id in rows:
        if row_id not in names:
            raise unknown_name("row", row_id, names)
    parts = _parts(results.comparisons)
    paired = [
        (*place, frame, list(_pairs(frame, parts, chosen[0], tables.manifest)))
        for place, frame in tables.cells()
    ]
    pairs = sum(len(some) for *_, some in paired) * len(chosen)
    listed = _listed(worse, better, moved_at_most // max(1, pairs))
    cells = [
        _cell(tables, dataset, filter_, some, chosen, listed)
        for dataset, filter_, _, some in paired
    ]
    notes = []
    encoders = {row["encoder"] for row in tables.rows.to_dicts() if row["row_id"] not in parts}
    if len(encoders) > MOST_ENCODERS:
        notes.append(f"The best {MOST_ENCODERS} encoders are compared with each other.")
    if listed != (worse, better):
        notes.append(
            f"Of each row and measure, the queries that moved most are listed: {listed[0]} that "
            f"got worse and {listed[1]} that got better at the most, since there are many rows."
        )
    picked = _picked(paired, chosen[0], rows, rows_at_most)
    folder = folder or getattr(results, "folder", None)
    cells = [
        _with_documents(cell, (sources or {}).get(cell.dataset), folder, facts, picked)
        for cell in cells
    ]
    made = DrillDown(facts, tuple(cells), names)
    return replace(_with_texts(made, sources or {}, notes), notes=tuple(notes))


def _listed(worse: int, better: int, room: int) -> tuple[int, int]:
    """Shrink both numbers alike to what there is room for."""
    share = min(1.0, room / max(1, worse + better))
    return min(worse, max(1, int(worse * share))), min(better, max(1, int(better * share)))


# -- which rows are compared ------------------------------------------------------------------


def _parts(comparisons: pl.DataFrame) -> dict[str, list[str]]:
    """Return the parts of each combination, as the sweep compared it with them."""
    import polars as pl

    found: dict[str, list[str]] = {}
    if len(comparisons):
        some = comparisons.filter(pl.col("question") == "combination")
        columns = some.select("candidate_row_id", "reference_row_id").unique(maintain_order=True)
        for candidate, part in columns.iter_rows():
            found.setdefault(candidate, []).append(part)
    return found


def _pairs(
    frame: pl.DataFrame,
    parts: Mapping[str, Sequence[str]],
    measure: str,
    manifest: Mapping[str, Any],
) -> Iterator[Compared]:
    """Yield what is compared within a dataset and filter."""
    done = [row for row in frame.iter_rows(named=True) if row["status"] == "ok"]
    by_encoder: dict[str, list[dict[str, Any]]] = {}
    for row in done:
        if row["row_id"] not in parts:
            by_encoder.setdefault(row["encoder"], []).append(row)
    bases = []
    for some in by_encoder.values():
        reference = next((row for row in some if row["is_reference"]), None)
        base = reference or max(some, key=lambda row: _quality(row, measure))
        exact = is_exact(manifest, str(base.get("index")))
        bases.append((base, exact))
        question: Question = "best" if reference is None else "index"
        for row in some:
            if row is not base:
                yield Compared(row["row_id"], base["row_id"], question, exact)
    best = sorted(bases, key=lambda one: -_quality(one[0], measure))[:MOST_ENCODERS]
    kept = [one for one in bases if one in best]
    for (one, exactly), (other, too) in itertools.combinations(kept, 2):
        yield Compared(other["row_id"], one["row_id"], "encoder", exactly and too)
    present = {row["row_id"] for row in done}
    for row in done:
        for part in parts.get(row["row_id"], ()):
            if part in present:
                yield Compared(row["row_id"], part, "combination", exact=False)


def _quality(row: Mapping[str, Any], measure: str) -> float:
    value = row.get(measure)
    return -math.inf if value is None or math.isnan(value) else float(value)


def _picked(
    paired: Sequence[tuple[str, str | None, pl.DataFrame, Sequence[Compared]]],
    measure: str,
    rows: Sequence[str],
    most: int,
) -> set[tuple[str, str]]:
    """Choose the pairs whose documents are looked up: few enough that `most` runs are read."""
    wanted = []
    for number, (_, _, frame, pairs) in enumerate(paired):
        front = _front(frame, measure)
        quality = {
            row["row_id"]: _quality(row, measure)
            for row in frame.select("row_id", measure).iter_rows(named=True)
        }
        by_quality = sorted(pairs, key=lambda one: -quality[one.candidate])
        for place, one in enumerate(by_quality):
            rank = 3
            if one.candidate in rows:
                rank = 0
            elif one.question == "encoder":
                rank = 1
            elif one.question == "combination" or one.candidate in front:
                rank = 2
            wanted.append(((rank, place, number), (one.candidate, one.reference)))
    read: set[str] = set()
    picked = set()
    for _, pair in sorted(wanted):
        if len(read | {*pair}) <= most:
            read |= {*pair}
            picked.add(pair)
    return picked


def _front(frame: pl.DataFrame, measure: str) -> set[str]:
    """Return the rows on the front of quality and the first cost that was measured."""
    known = (name for name in _COSTS if name in frame.columns)
    cost = next((name for name in known if frame[name].is_not_null().any()), None)
    import polars as pl

    if cost is None or measure not in frame.columns:
        return set()
    values = frame.select(measure, cost).cast(pl.Float64).to_numpy()
    on_front = pareto_front(values, [True, False])
    return set(frame["row_id"].filter(on_front).to_list())


# -- scores -----------------------------------------------------------------------------------


def _cell(
    tables: SweepTables,
    dataset: str,
    filter_: str | None,
    pairs: Sequence[Compared],
    measures: Sequence[str],
    listed: tuple[int, int],
) -> DrilledCell:
    """Compare the pairs of one dataset and filter by each measure."""
    row_ids = list(dict.fromkeys(one for each in pairs for one in (each.candidate, each.reference)))
    if not row_ids:
        return DrilledCell(dataset, filter_, dict.fromkeys(measures, 0.0), ())
    queries, values = tables.scores(row_ids, measures)
    place = {row_id: number for number, row_id in enumerate(row_ids)}
    places = np.array([(place[one.candidate], place[one.reference]) for one in pairs], np.intp)
    ids = np.array(queries, dtype=object)
    steps, found = {}, []
    for name, scores in zip(measures, values, strict=True):
        steps[name], differences = query_differences(scores, places, ids, listed)
        found.append(differences)
    compared = (
        replace(one, by_measure=dict(zip(measures, of, strict=True)))
        for one, *of in zip(pairs, *found, strict=True)
    )
    return DrilledCell(dataset, filter_, steps, tuple(compared))


# -- documents and texts ------------------------------------------------------------------------


def _with_documents(
    cell: DrilledCell,
    source: Source | str | None,
    folder: Path | None,
    measures: Mapping[str, tuple[int, int, bool]],
    picked: set[tuple[str, str]],
) -> DrilledCell:
    """Look up the judged documents of the pairs that were picked."""
    reason = ""
    if source is None or isinstance(source, str):
        reason = source or "Texts and judgments were not loaded."
    elif source.changed and cell.filter is not None:
        reason = f"{source.changed} Nor can the filter be applied to them."
    elif folder is None:
        reason = "There are no run files to look up ranks in."
    if not isinstance(source, Source) or folder is None or reason:
        compared = tuple(replace(one, reason=reason) for one in cell.compared)
        return replace(cell, compared=compared, reason=reason)
    wanted = [one for one in cell.compared if (one.candidate, one.reference) in picked]
    if not wanted:
        return replace(cell, reason=source.changed)
    judged = Judged.of(folder, source, cell.filter, measures)
    keep = {one.reference for one in wanted}
    found = []
    for one in sorted(wanted, key=lambda one: one.candidate):  # so that each run is read once
        try:
            listed, tally = judged.look_up(one.candidate, one.reference, one.moved, keep)
            found.append(replace(one, documents=listed, tally=tally, reason=""))
        except InputError as error:
            found.append(replace(one, reason=str(error)))
    made = {(one.candidate, one.reference): one for one in found}
    compared = tuple(made.get((one.candidate, one.reference), one) for one in cell.compared)
    return replace(cell, compared=compared, reason=source.changed)


def _with_texts(
    made: DrillDown, sources: Mapping[str, Source | str], notes: list[str]
) -> DrillDown:
    """Read the texts of all queries and documents that are shown, each once, as far as they fit."""
    loaded = {
        name: one for name, one in sources.items() if isinstance(one, Source) and not one.changed
    }
    queries, documents = {}, {}
    for name, source in loaded.items():
        compared = [one for cell in made.cells if cell.dataset == name for one in cell.compared]
        compared.sort(key=lambda one: one.documents is None)  # those with documents come first
        asked = list(dict.fromkeys(query for one in compared for query in one.moved))
        frames = [one.documents for one in compared if one.documents is not None]
        shown = list(dict.fromkeys(id_ for one in frames for id_ in one["doc_id"].to_list()))
        own = source.query_texts, asked, _QUERY_TEXT, _QUERY_TEXTS // len(loaded)
        queries[name], unread = first_texts(*own)
        theirs = source.document_texts, shown, _DOCUMENT_TEXT, _DOCUMENT_TEXTS // len(loaded)
        documents[name], unopened = first_texts(*theirs)
        for what, count, left in (("queries", asked, unread), ("documents", shown, unopened)):
            if left:
                notes.append(
                    f"{name}: {left} of {len(count)} {what} are shown without their texts, so "
                    "that the page stays small."
                )
    return replace(made, queries=queries, documents=documents)
