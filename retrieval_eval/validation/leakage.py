"""What test data shares with data that something was trained or tuned on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.validation.findings import Notes
from retrieval_eval.validation.near_duplicates import near_duplicates
from retrieval_eval.validation.scan import Judged, Texts

__all__ = ["Side", "check_splits", "check_training"]

_TRAINING = ("train", "tune", "dev", "val")


class Side(NamedTuple):
    """One of two sets of judgments that should have nothing in common.

    Parameters
    ----------
    documents, queries : Texts
        As scanned.
    judged : sequence of Judged
        Whose queries count.
    """

    documents: Texts
    queries: Texts
    judged: Sequence[Judged]

    @property
    def name(self) -> str:
        """The splits, for messages."""
        return ", ".join(one.split for one in self.judged)

    def asked(self) -> NDArray[np.int64]:
        """Return the rows of the judged queries, each id once."""
        judged = pl.concat([one.table["query"] for one in self.judged]).unique()
        mask = self.queries.ids.is_in(judged.implode()) & self.queries.ids.is_first_distinct()
        return np.flatnonzero(mask.to_numpy())

    def pairs(self) -> pl.DataFrame:
        """Return the judgments with keys of the words of their query and document."""
        table = pl.concat([one.table for one in self.judged])
        for which, texts in (("query", self.queries), ("document", self.documents)):
            keys = pl.DataFrame({which: texts.ids, f"{which}_key": texts.wording})
            keys = keys.filter(pl.col(f"{which}_key") != 0).unique(which, keep="first")
            table = table.join(keys, on=which, how="left", maintain_order="left")
        return table


def check_splits(
    documents: Texts,
    queries: Texts,
    judged: Sequence[Judged],
    notes: Notes,
    *,
    threshold: float | None = 0.9,
    seed: int = 0,
) -> None:
    """Look for what any two splits share.

    Parameters
    ----------
    documents, queries : Texts
        Of all splits.
    judged : sequence of Judged
        The splits. Of two, the one whose name says that something is trained or tuned on it comes
        first, and what the other shares with it is noted of the other.
    notes : Notes
        Receives what is found.
    threshold : float or None
        Jaccard similarity of the words, as sets, from which queries are near duplicates; None does
        not look.
    seed : int
        Of their hash functions.
    """
    ordered = sorted((one for one in judged if len(one.table)), key=_order)
    for one, other in combinations(ordered, 2):
        train, test = Side(documents, queries, [one]), Side(documents, queries, [other])
        if set(one.table["query"]) == set(other.table["query"]):
            place = other.path or f"split {other.split!r}"
            text = f"{other.split!r} and {one.split!r}: the rest is not compared"
            notes.add("splits-of-the-same-queries", place, text)
            continue
        _check_queries(test, train, notes, "in-two-splits", threshold, seed, by_id=True)
        trained, tested = train.pairs(), test.pairs()
        # In one corpus a document is its id; the query may have been given another one.
        for rule, keys in (
            ("judgment-in-two-splits", ["query_key", "document"]),
            ("relevant-in-two-splits", ["document"]),
        ):
            _note_pairs(notes, rule, test, tested, trained, keys, one.split)


def check_training(
    test: Side, train: Side, notes: Notes, *, threshold: float | None = 0.9, seed: int = 0
) -> None:
    """Look for test data that also stands in training data of another corpus.

    Ids mean nothing across corpora: queries and documents are compared by their words.

    Parameters
    ----------
    test, train : Side
        The two.
    notes : Notes
        Receives what is found.
    threshold, seed
        See :func:`check_splits`.
    """
    trained = train.pairs()
    for judged in test.judged:
        if judged.table.is_empty():
            continue
        one = Side(test.documents, test.queries, [judged])
        _check_queries(one, train, notes, "in-training", threshold, seed, by_id=False)
        tested = one.pairs()
        for rule, keys in (
            ("judgment-in-training", ["query_key", "document_key"]),
            ("relevant-in-training", ["document_key"]),
        ):
            _note_pairs(notes, rule, one, tested, trained, keys, train.name)
    own = test.documents
    both = np.flatnonzero(np.isin(own.wording, train.documents.wording) & (own.wording != 0))
    notes.add_rows(
        "document-in-training",
        both.tolist(),
        lambda row: (own.place(row), f"document {own.ids[row]!r}"),
    )


def _order(one: Judged) -> tuple[int, str]:
    found = (place for place, name in enumerate(_TRAINING) if one.split.lower().startswith(name))
    return next(found, len(_TRAINING)), one.split


def _check_queries(
    test: Side,
    train: Side,
    notes: Notes,
    ending: str,
    threshold: float | None,
    seed: int,
    *,
    by_id: bool,
) -> None:
    asked, trained = test.asked(), train.asked()
    own, other = test.queries, train.queries

    def describe(row: int, origin: int, more: str = "") -> tuple[str, str]:
        return own.place(row), (
            f"query {own.ids[row]!r} of {test.name!r} as {other.ids[origin]!r} of "
            f"{train.name!r}{more}"
        )

    same_id = np.zeros(len(asked), dtype=bool)
    if by_id:
        same_id = np.isin(asked, trained)  # rows of one file
        found = asked[same_id].tolist()
        notes.add_rows(f"query-{ending}", found, lambda row: describe(row, row))
    keys, first = np.unique(other.wording[trained], return_index=True)
    place = np.minimum(np.searchsorted(keys, own.wording[asked]), max(len(keys) - 1, 0))
    same = np.zeros(len(asked), dtype=bool)
    if len(keys):
        same = (keys[place] == own.wording[asked]) & (own.wording[asked] != 0) & ~same_id
    notes.add_rows(
        f"{'same-' if by_id else ''}query-{ending}",
        np.flatnonzero(same).tolist(),
        lambda at: describe(int(asked[at]), int(trained[first[place[at]]])),
    )
    rest = asked[~same & ~same_id]
    if threshold is None or own.words is None or other.words is None:
        return
    words = [*other.words.gather(trained), *own.words.gather(rest)]
    near = near_duplicates(words, threshold=threshold, width=1, seed=seed, first=len(trained))
    for at in np.flatnonzero(near.partner >= 0).tolist():
        row, origin = int(rest[at - len(trained)]), int(trained[near.partner[at]])
        more = f", Jaccard {near.jaccard[at]:.3f}"
        notes.add(f"near-query-{ending}", *describe(row, origin, more))


def _note_pairs(
    notes: Notes,
    rule: str,
    test: Side,
    tested: pl.DataFrame,
    trained: pl.DataFrame,
    keys: list[str],
    name: str,
) -> None:
    """Note judgments that both have by their keys; by a key of documents alone, relevant ones."""
    if len(keys) == 1:
        tested, trained = (one.filter(pl.col("grade") > 0) for one in (tested, trained))
        tested = tested.unique(keys, keep="first", maintain_order=True)
    shared = tested.drop_nulls(keys).join(trained, on=keys, how="semi", maintain_order="left")

    def places() -> Iterator[tuple[str, str]]:
        for row in shared.iter_rows(named=True):
            pair = f"query {row['query']!r}, document {row['document']!r}"
            yield test.judged[0].place(row), f"{pair} of {test.name!r}, also in {name!r}"

    notes.add_all(rule, len(shared), places())
