"""Runs and judgments from Python objects: mappings of mappings, and iterables of records."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import polars as pl

from retrieval_eval.errors import InputError
from retrieval_eval.formats.columns import Columns, Kind, check_values
from retrieval_eval.ids import Ids

__all__ = ["from_mapping", "from_records", "numbers"]


def numbers(
    values: list[Any], kind: Kind, where: Callable[[int], tuple[str, str | None]]
) -> pl.Series:
    """Return a column of numbers; the error names the first value that is none."""
    whole = (int, np.integer)
    for other in {type(value) for value in values} - {int, float}:
        if other is bool or not issubclass(other, (*whole, float, np.float16, np.float32)):
            row = next(i for i, value in enumerate(values) if type(value) is other)
            raise InputError(f"{where(row)[0]}: the {kind.value} {values[row]!r} is not a number")
    if kind.whole:
        # A float beside integers must not turn those beyond 53 bits into floats.
        grades = [int(v) if isinstance(v, whole) else _as_whole(v) for v in values]
        wrong = (i for i, v in enumerate(grades) if v is None or not -(2**63) <= v < 2**63)
        what, name = "a whole number of 64 bits", "grade"
    else:
        grades = values
        wrong = (i for i, v in enumerate(values) if abs(v) > sys.float_info.max)
        what, name = "a finite number", "score"
    dtype = np.int64 if kind.whole else np.float64
    try:
        return pl.Series(kind.value, np.array(grades, dtype=dtype))
    except (OverflowError, TypeError):
        row = next(wrong)
        raise InputError(
            f"{where(row)[0]}: the {name} {str(values[row])[:80]} is not {what}"
        ) from None


def _as_whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) and value == int(value) else None


def from_mapping(
    mapping: Mapping[str, Mapping[str, Any]], kind: Kind, source: str = "mapping"
) -> Columns:
    """Read ``{query id: {document id: value}}``; a query may map to nothing.

    Raises
    ------
    InputError
        If an id is no string, or a value not what `kind` asks for.
    """
    for query, scored in mapping.items():
        if not isinstance(scored, Mapping):
            raise InputError(
                f"{source}: query {query!r} has {type(scored).__name__}, not a mapping of "
                f"document ids to {kind.value}s"
            )
    query_ids = tuple(Ids.of(list(mapping), f"{source}: query id"))
    counts = [len(scored) for scored in mapping.values()]
    codes = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    listed = list(chain.from_iterable(mapping.values()))

    def where(row: int) -> tuple[str, str | None]:
        place = f"{source}: query {query_ids[codes[row]]!r}, document {listed[row]!r}"
        return place, None

    values = list(chain.from_iterable(scored.values() for scored in mapping.values()))
    document = Ids.of(listed, f"{source}: document id")
    column = numbers(values, kind, where)
    return Columns(
        source, query_ids, codes, document, check_values(kind, column, source, where), where
    )


def from_records(
    records: Iterable[Any],
    kind: Kind,
    source: str = "records",
    places: list[int] | None = None,
) -> Columns:
    """Read records with ``query_id``, ``doc_id`` and a value, or triples of the three.

    Parameters
    ----------
    records : iterable
        Objects as ir-datasets and ir-measures yield them (``relevance`` in qrels, ``score`` in
        runs), mappings with such keys, or tuples (query id, document id, value).
    kind : Kind
        `RUN` or `QRELS`.
    source : str
        For messages.
    places : list of int, optional
        Line number of each record.
    """
    rows = records if isinstance(records, list) else list(records)
    if not rows:
        raise InputError(f"{source}: there is no record")

    def where(row: int) -> tuple[str, str | None]:
        if places is None:
            return f"{source}, record {row}", repr(rows[row])
        return f"{source}:{places[row]}", repr(rows[row])

    getters = _getters(rows[0], kind, where(0)[0])
    if isinstance(rows[0], (tuple, list)) and not hasattr(rows[0], "query_id"):
        for row, one in enumerate(rows):
            if not isinstance(one, (tuple, list)) or len(one) != 3:
                raise InputError(f"{where(row)[0]}: {one!r:.80} is no tuple of three, as the first")
    columns: list[list[Any]] = []
    for getter in getters:
        try:
            columns.append(list(map(getter, rows)))
        except (AttributeError, KeyError, IndexError, TypeError):
            row = next(i for i, one in enumerate(rows) if _fails(getter, one))
            raise InputError(
                f"{where(row)[0]}: {rows[row]!r:.80} has not the fields of the first record"
            ) from None
    queries, documents = (
        _strings(column, what, where)
        for column, what in zip(columns, ("query id", "document id"), strict=False)
    )
    values = numbers(columns[2], kind, where)
    return Columns.from_table(kind, source, queries, documents, values, where)


def _strings(
    values: list[Any], what: str, where: Callable[[int], tuple[str, str | None]]
) -> pl.Series:
    wrong = next((i for i, value in enumerate(values) if not isinstance(value, str)), None)
    place = "" if wrong is None else f"{where(wrong)[0]}: "
    return Ids.of(values, f"{place}{what}").column


def _fails(getter: Callable[[Any], Any], record: Any) -> bool:
    try:
        getter(record)
    except (AttributeError, KeyError, IndexError, TypeError):
        return True
    return False


def _getters(record: Any, kind: Kind, place: str) -> list[Callable[[Any], Any]]:
    if isinstance(record, Mapping):
        names = pick_names(list(record), kind, place)
        return [itemgetter(name) for name in names]
    if hasattr(record, "query_id"):
        fields = [name for name in ("query_id", "doc_id", *kind.aliases) if hasattr(record, name)]
        return [attrgetter(name) for name in pick_names(fields, kind, place)]
    if isinstance(record, (tuple, list)) and len(record) == 3:
        return [itemgetter(place) for place in range(3)]
    raise InputError(
        f"{place}: {record!r:.80} is no record of a {kind.name}: expected the fields query_id, "
        f"doc_id and {kind.aliases[0]}, or a tuple of the three"
    )


QUERY_NAMES = ("query_id", "query-id", "query", "qid", "q_id", "topic")
DOCUMENT_NAMES = (
    *("doc_id", "document_id", "corpus_id", "corpus-id"),
    *("document", "docno", "docid", "did"),
)


def pick_names(names: list[str], kind: Kind, place: str) -> list[str]:
    """Choose the three columns among those of a table or record.

    Raises
    ------
    InputError
        Naming the column that is not there, and what it may be called.
    """
    picked = []
    for what, known in (
        ("query id", QUERY_NAMES),
        ("document id", DOCUMENT_NAMES),
        (kind.value, kind.aliases),
    ):
        name = next((name for name in known if name in names), None)
        if name is None:
            shown = ", ".join(n if str(n).isprintable() else repr(n) for n in map(str, names))
            raise InputError(
                f"{place}: no column for the {what} among {shown or 'none'}; "
                f"call it {' or '.join(known)}"
            )
        picked.append(name)
    return picked
