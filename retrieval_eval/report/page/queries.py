"""Single queries on the page: which of them moved, by which documents, and whose doing that was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retrieval_eval.report.groups import FinishedSweep
from retrieval_eval.report.page.document import Section
from retrieval_eval.report.queries.drilldown import Compared, DrillDown, DrilledCell, drill_down
from retrieval_eval.report.queries.judged import VERDICTS, verdict_words
from retrieval_eval.report.queries.moved import Differences
from retrieval_eval.report.queries.sources import Source

__all__ = ["queries_section"]

_KINDS = ("index", "best", "encoder", "combination")


def queries_section(
    results: FinishedSweep,
    sources: Mapping[str, Source | str] | None = None,
    *,
    rows: Sequence[str] = (),
    rows_at_most: int = 40,
) -> Section | None:
    """Return the section with the differences of single queries.

    Parameters
    ----------
    results : Results
        A finished sweep.
    sources : mapping of str to Source or str, optional
        Its data sets, from :func:`retrieval_eval.report.queries.sources.load_sources`; without,
        there are scores alone.
    rows, rows_at_most
        See :func:`retrieval_eval.report.queries.drilldown.drill_down`.

    Returns
    -------
    Section or None
        None if no row is compared with another.
    """
    found = drill_down(results, sources, rows=rows, rows_at_most=rows_at_most)
    cells = [cell for cell in found.cells if cell.compared]
    if not cells:
        return None
    datasets = list(dict.fromkeys(cell.dataset for cell in cells))
    parts: dict[str, Any] = {"index": _index(found, cells, datasets)}
    for number, cell in enumerate(cells):
        parts[f"summary/{number}"] = _summary(cell)
        parts[f"documents/{number}"] = _documents(cell, list(found.measures))
    for number, dataset in enumerate(datasets):
        parts[f"texts/{number}"] = {
            "queries": found.queries.get(dataset, {}),
            "documents": found.documents.get(dataset, {}),
        }
    return Section("queries", "Queries", {"notes": _notes(found, cells)}, parts)


def _notes(found: DrillDown, cells: Sequence[DrilledCell]) -> list[str]:
    """Say what is shown, and what is not."""
    compared = [one for cell in cells for one in cell.compared]
    looked_up = sum(one.documents is not None for one in compared)
    notes = list(found.notes)
    if 0 < looked_up < len(compared):
        notes.append(
            f"Judged documents were looked up for {looked_up} of {len(compared)} comparisons, "
            "since each takes reading its run: those between references, of rows on the front of "
            "quality and cost, and of the best rows. For others name their row_id: "
            "retrieval_eval.report.queries.drilldown.drill_down(results, sources, rows=[...])."
        )
    condensed = [name for name, (_, _, judged_only) in found.measures.items() if judged_only]
    if condensed and looked_up:
        notes.append(
            f"{', '.join(condensed)}: documents without a judgment do not count, so the depth is "
            "that among judged documents, while ranks are those among all."
        )
    reasons = dict.fromkeys(cell.reason for cell in cells if cell.reason)
    return [*notes, *reasons]


def _index(found: DrillDown, cells: Sequence[DrilledCell], datasets: Sequence[str]) -> Any:
    """Return what there is to choose from."""
    return {
        "measures": [
            {"name": name, "depth": depth, "level": level, "judged_only": judged_only}
            for name, (depth, level, judged_only) in found.measures.items()
        ],
        "cells": [_cell_index(found, cell, datasets) for cell in cells],
        "verdicts": VERDICTS,
        "words": {
            kind: [verdict_words(kind, exact=exact) for exact in (False, True)] for kind in _KINDS
        },
        "explained": {
            kind: [_explained(kind, exact=exact) for exact in (False, True)] for kind in _KINDS
        },
    }


def _cell_index(found: DrillDown, cell: DrilledCell, datasets: Sequence[str]) -> Any:
    ids = list(dict.fromkeys(id_ for one in cell.compared for id_ in _both(one)))
    place = {id_: number for number, id_ in enumerate(ids)}
    reasons = list(dict.fromkeys(one.reason for one in cell.compared))
    return {
        "title": cell.dataset if cell.filter is None else f"{cell.dataset}, {cell.filter}",
        "texts": datasets.index(cell.dataset),
        "steps": list(cell.steps.values()),
        "rows": [[id_, found.names[id_]] for id_ in ids],
        "reasons": reasons,
        "pairs": [
            [
                place[one.candidate],
                place[one.reference],
                one.question,
                int(one.exact),
                reasons.index(one.reason),
            ]
            for one in cell.compared
        ],
    }


def _both(one: Compared) -> tuple[str, str]:
    return one.candidate, one.reference


def _explained(kind: str, *, exact: bool) -> str:
    """Say what verdicts rest on."""
    if kind == "index" and exact:
        return (
            "The reference searches exactly, with the same encoder. Of a relevant document that it "
            "ranks within the depth and this row does not, the index is the cause; of one that "
            "even exact search ranks lower, the encoder is. What the index misses also lifts "
            "documents below it, which can be gained by that."
        )
    if kind == "encoder" and exact:
        return "Both rows search exactly, so that what differs between them is the encoders' doing."
    if kind == "encoder":
        return (
            "One of both rows does not search exactly, so that what differs between them may be "
            "the doing of an encoder or of an index."
        )
    if kind == "combination":
        return "A combination is compared with one of the rows that it is made of."
    if kind == "best":
        return (
            "The sweep has no reference for this encoder, so rows are compared with its best one, "
            "by the mean of the first measure over all queries. Whether index or encoder lost a "
            "document cannot be told by that."
        )
    return (
        "The reference does not search exactly, so that it cannot be told whether index or encoder "
        "lost a document: only what differs from the reference."
    )


def _summary(cell: DrilledCell) -> Any:
    """Return the differences of all pairs of a cell: lists, to be small."""
    queries = _numbered(query for one in cell.compared for query in one.moved)
    return {
        "queries": list(queries),
        "pairs": [
            [_measured(differences, queries) for differences in one.by_measure.values()]
            for one in cell.compared
        ],
        "tallies": {
            str(number): list(one.tally.values())
            for number, one in enumerate(cell.compared)
            if one.tally
        },
    }


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def _measured(found: Differences, queries: Mapping[str, int]) -> Any:
    return [
        [found.wins, found.ties, found.losses, found.undefined],
        None if math.isnan(found.mean) else found.mean,
        list(found.counts),
        [queries[query] for query in found.queries],
        list(found.reference),
        list(found.candidate),
    ]


def _documents(cell: DrilledCell, measures: Sequence[str]) -> Any:
    """Return the judged documents: by pair and query, each with ranks and verdicts."""
    frames = [one.documents for one in cell.compared if one.documents is not None]
    ids = _numbered(id_ for frame in frames for id_ in frame["doc_id"].to_list())
    pairs: dict[str, Any] = {}
    for number, one in enumerate(cell.compared):
        if one.documents is None:
            continue
        mine: dict[str, Any] = {}
        for row in one.documents.iter_rows(named=True):
            own = mine.setdefault(row["query_id"], [row["judged"], []])
            codes = "".join(str(VERDICTS.index(row[name])) for name in measures)
            ranks = row["reference_rank"], row["candidate_rank"]
            own[1].append([ids[row["doc_id"]], row["grade"], *ranks, codes])
        pairs[str(number)] = mine
    return {"documents": list(ids), "pairs": pairs}
