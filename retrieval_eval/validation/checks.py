"""What is wrong with documents, queries and judgments, or makes figures mean less."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.validation.findings import Notes
from retrieval_eval.validation.near_duplicates import NearDuplicates
from retrieval_eval.validation.scan import Judged, Texts, shown

__all__ = [
    "check_documents",
    "check_judgments",
    "check_queries",
    "check_self_retrieval",
    "earlier_twins",
    "judgment_flaws",
    "lengths",
    "repeated_ids",
]

_FENCE = 3.0
_ENOUGH = 20
_QUANTILES = {"shortest": 0.0, "median": 0.5, "p99": 0.99, "longest": 1.0}


def repeated_ids(texts: Texts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows whose id stood before, and for each of them the row where it stood first."""
    table = pl.DataFrame({"id": texts.ids}).with_row_index("row")
    table = table.filter(pl.col("id").is_duplicated())
    table = table.with_columns(first=pl.col("row").min().over("id"))
    table = table.filter(pl.col("row") != pl.col("first"))
    return table["row"].cast(pl.Int64).to_numpy(), table["first"].cast(pl.Int64).to_numpy()


def earlier_twins(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return for each key the first row that has it, or -1 if that is its own, or the key 0."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    twin: NDArray[np.int64] = first[inverse].astype(np.int64)
    twin[(twin == np.arange(len(keys))) | (keys == 0)] = -1
    return twin


def lengths(texts: Texts) -> dict[str, int]:
    """Return quantiles of the lengths in characters."""
    if not len(texts):
        return {}
    found = np.quantile(texts.characters, list(_QUANTILES.values()), method="nearest")
    return dict(zip(_QUANTILES, found.tolist(), strict=True))


def check_documents(
    documents: Texts, notes: Notes, near: NearDuplicates | None = None, *, texts: bool = True
) -> None:
    """Check ids and texts of documents.

    Parameters
    ----------
    documents : Texts
        As scanned.
    notes : Notes
        Receives what is found.
    near : NearDuplicates, optional
        Of the same documents, by row.
    texts : bool
        Whether there are texts to look at.
    """
    if not len(documents):
        notes.add("no-document", documents.path, "no record can be read")
        return
    _note_repeated(documents, notes)
    comments = documents.ids.str.starts_with("#").to_numpy()
    _note(notes, "commented-document-id", documents, comments)
    if not texts:
        return
    _note(notes, "document-without-text", documents, documents.characters == 0)
    wordless = (documents.characters > 0) & (documents.wording == 0)
    _note(notes, "document-without-words", documents, wordless)
    _note_lengths(documents, notes)
    twin = earlier_twins(documents.wording)
    ids = documents.ids
    other = twin >= 0  # the id again with the same text has been noted
    other[other] = (ids.gather(np.flatnonzero(other)) != ids.gather(twin[other])).to_numpy()
    notes.add_rows(
        "duplicate-document",
        np.flatnonzero(other).tolist(),
        lambda row: (documents.place(row), _as(documents, row, int(twin[row]))),
    )
    if near is not None:
        nearly = (near.partner >= 0) & (twin < 0)
        notes.add_rows(
            "near-duplicate-document",
            np.flatnonzero(nearly).tolist(),
            lambda row: (
                documents.place(row),
                f"{_as(documents, row, int(near.partner[row]))}, Jaccard {near.jaccard[row]:.3f}",
            ),
        )


def check_queries(
    queries: Texts, judged: Sequence[Judged], notes: Notes, *, texts: bool = True
) -> None:
    """Check ids and texts of queries; which of them are judged, decides how grave it is."""
    _note_repeated(queries, notes)
    asked = pl.concat([one.table["query"] for one in judged]).unique()
    is_judged = queries.ids.is_in(asked.implode()).to_numpy()
    comments = queries.ids.str.starts_with("#").to_numpy()
    _note(notes, "commented-query-id", queries, comments & is_judged)
    _note(notes, "query-without-judgments", queries, ~is_judged)
    if not texts:
        return
    empty = queries.characters == 0
    _note(notes, "judged-query-without-text", queries, empty & is_judged)
    _note(notes, "query-without-text", queries, empty & ~is_judged)
    _note(notes, "query-without-words", queries, ~empty & (queries.wording == 0))
    _note_lengths(queries, notes)
    for one in judged:
        _note_twins(queries, one, notes)


def judgment_flaws(table: pl.DataFrame) -> pl.DataFrame:
    """Return the judgments of pairs that were judged before, with the first line and grade."""
    pair = ["query", "document"]
    first = table.filter(pl.struct(pair).is_duplicated())
    first = first.with_columns(
        first_line=pl.col("line").first().over(pair), first_grade=pl.col("grade").first().over(pair)
    )
    return first.filter(~pl.struct(pair).is_first_distinct())


def check_judgments(one: Judged, documents: Texts, queries: Texts, notes: Notes) -> None:
    """Check the judgments of a split: what they name, their grades, and pairs judged again."""
    table = one.table
    if table.is_empty():
        notes.add("no-judgment", one.path, f"split {one.split!r}")
        return
    if queries.complete:
        unknown = table.filter(~pl.col("query").is_in(queries.ids.unique().implode()))
        _note_judgments(notes, "unknown-query", one, unknown)
    if documents.complete:
        unknown = table.filter(~pl.col("document").is_in(documents.ids.unique().implode()))
        _note_judgments(notes, "unknown-document", one, unknown)
    again = judgment_flaws(table)
    same = pl.col("grade") == pl.col("first_grade")
    _note_judgments(notes, "repeated-judgment", one, again.filter(same))
    _note_judgments(notes, "conflicting-judgment", one, again.filter(~same))
    _note_judgments(notes, "negative-grade", one, table.filter(pl.col("grade") < 0))
    best = table.group_by("query", maintain_order=True).agg(
        pl.col("grade").max(), pl.col("line").first(), pl.col("document").first()
    )
    for row in best.filter(pl.col("grade") <= 0).iter_rows(named=True):
        place = one.place(row) if one.path else f"query {row['query']!r}"
        notes.add("query-without-relevant", place, f"{row['query']!r}, split {one.split!r}")
    if (table["grade"] > 0).all():
        place = one.path or f"split {one.split!r}"
        notes.add("all-judged-relevant", place, f"{len(table)} judgments")
    _note_unjudged_copies(one, documents, notes)


def check_self_retrieval(
    queries: Texts, documents: Texts, judged: Sequence[Judged], notes: Notes, *, texts: bool = True
) -> None:
    """Look for queries that are documents, too: by id, and by the words of the text."""
    asked = pl.concat([one.table["query"] for one in judged]).unique()
    is_judged = queries.ids.is_in(asked.implode()).to_numpy()
    shared = queries.ids.is_in(documents.ids.unique().implode()).to_numpy() & is_judged
    _note(notes, "query-id-in-corpus", queries, shared)
    if not texts:
        return
    whole = np.isin(queries.wording, documents.wording) & (queries.wording != 0) & is_judged
    bare = np.isin(queries.wording, documents.body) & (queries.wording != 0) & is_judged & ~whole
    for mask, keys in ((whole, documents.wording), (bare, documents.body)):
        rows = np.flatnonzero(mask)
        known, first = np.unique(keys, return_index=True)
        found = first[np.searchsorted(known, queries.wording[rows])]
        notes.add_all(
            "query-in-corpus",
            len(rows),
            (
                (
                    queries.place(row),
                    f"query {queries.ids[row]!r} is document {documents.ids[document]!r}",
                )
                for row, document in zip(rows.tolist(), found.tolist(), strict=True)
            ),
        )


def _note(notes: Notes, rule: str, texts: Texts, mask: NDArray[np.bool_]) -> None:
    notes.add_rows(
        rule,
        np.flatnonzero(mask).tolist(),
        lambda row: (texts.place(row), shown(texts.ids[row])),
    )


def _as(texts: Texts, row: int, earlier: int) -> str:
    line = f" (line {texts.lines[earlier]})" if texts.path else ""
    return f"{texts.ids[row]!r} as {texts.ids[earlier]!r}{line}"


def _note_repeated(texts: Texts, notes: Notes) -> None:
    rows, first = repeated_ids(texts)
    same = texts.exact[rows] == texts.exact[first]
    for word, mask in (("repeated", same), ("conflicting", ~same)):
        pairs = zip(rows[mask].tolist(), first[mask].tolist(), strict=True)
        notes.add_all(
            f"{word}-{texts.which}",
            int(mask.sum()),
            (
                (texts.place(row), f"{texts.ids[row]!r}, first at line {texts.lines[origin]}")
                for row, origin in pairs
            ),
        )


def _note_twins(queries: Texts, one: Judged, notes: Notes) -> None:
    asked = queries.ids.is_in(one.table["query"].unique().implode())
    rows = np.flatnonzero((asked & queries.ids.is_first_distinct()).to_numpy())
    twin = earlier_twins(queries.wording[rows])
    notes.add_rows(
        "duplicate-query",
        np.flatnonzero(twin >= 0).tolist(),
        lambda at: (
            queries.place(int(rows[at])),
            f"{_as(queries, int(rows[at]), int(rows[twin[at]]))}, split {one.split!r}",
        ),
    )


def _note_lengths(texts: Texts, notes: Notes) -> None:
    """Note lengths beyond Tukey's outer fences, on a scale of logarithms."""
    some = np.flatnonzero(texts.characters)
    if len(some) < _ENOUGH:
        return
    logs = np.log2(texts.characters[some])
    low, high = np.quantile(logs, [0.25, 0.75])
    reach = max(_FENCE * (high - low), 1.0)  # twice or half as long as most is not unusual
    for rule, mask in (
        ("unusually-long", logs > high + reach),
        ("unusually-short", logs < low - reach),
    ):
        notes.add_rows(
            rule,
            some[mask].tolist(),
            lambda row: (
                texts.place(row),
                f"{texts.which} {texts.ids[row]!r}, {texts.characters[row]} characters",
            ),
        )


def _note_judgments(notes: Notes, rule: str, one: Judged, rows: pl.DataFrame) -> None:
    def places() -> Iterable[tuple[str, str]]:
        for row in rows.iter_rows(named=True):
            yield one.place(row), _judgment(row)

    notes.add_all(rule, len(rows), places())


def _judgment(row: dict[str, Any]) -> str:
    text = f"query {row['query']!r}, document {row['document']!r}, grade {row['grade']}"
    if "first_grade" in row:
        text += f"; at line {row['first_line']}, grade {row['first_grade']}"
    return text


def _note_unjudged_copies(one: Judged, documents: Texts, notes: Notes) -> None:
    """Note documents with the words of a relevant one that the same query does not judge."""
    keys = pl.Series("key", documents.wording)
    groups = pl.DataFrame({"document": documents.ids, "key": keys})
    groups = groups.filter(pl.col("key").is_duplicated() & (pl.col("key") != 0))
    groups = groups.unique("document", keep="first", maintain_order=True)
    relevant = one.table.filter(pl.col("grade") > 0).join(groups, on="document")
    copies = (
        relevant.select("query", "key", relevant="document")
        .join(groups, on="key", maintain_order="left")
        .join(one.table.select("query", "document"), on=["query", "document"], how="anti")
        .unique(["query", "document"], keep="first", maintain_order=True)
    )
    notes.add_all(
        "unjudged-copy",
        len(copies),
        (
            (
                one.path or f"split {one.split!r}",
                f"{row['document']!r} as {row['relevant']!r}, relevant to query {row['query']!r}",
            )
            for row in copies.iter_rows(named=True)
        ),
    )
