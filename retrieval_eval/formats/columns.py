"""The shape that every form is read into: query, document and value, and where each row stood."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.ids import Ids, repeated_keys

__all__ = [
    "DUPLICATES",
    "QRELS",
    "RUN",
    "Columns",
    "Duplicates",
    "Kind",
    "bad_row",
    "check_values",
    "read_number",
]

_SCORE = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_GRADE = re.compile(rb"[+-]?[0-9]+(\.0*)?")

Duplicates = Literal["error", "first", "max"]
"""What to do with a (query, document) pair that comes twice."""
DUPLICATES: tuple[Duplicates, ...] = ("error", "first", "max")


@dataclass(frozen=True)
class Kind:
    """Runs or qrels: what the columns are called, and what the values must be.

    Parameters
    ----------
    name : str
        For messages.
    value : str
        Name of the value column.
    aliases : tuple of str
        Names of it in tables and records, the first that is there wins.
    whole : bool
        Whether values must be whole numbers.
    columns : tuple of str
        Of the TREC form.
    """

    name: str
    value: str
    aliases: tuple[str, ...]
    whole: bool
    columns: tuple[str, ...]


RUN = Kind(
    "run",
    "score",
    ("score", "similarity", "sim"),
    whole=False,
    columns=("query", "Q0", "document", "rank", "score", "tag"),
)
QRELS = Kind(
    "qrels",
    "grade",
    ("relevance", "grade", "rel", "label", "score"),
    whole=True,
    columns=("query", "iteration", "document", "grade"),
)


@dataclass(frozen=True, eq=False)
class Columns:
    """Rows of a run or of judgments, in their order in the source.

    Parameters
    ----------
    source : str
        The file, or what kind of object it was.
    query_ids : tuple of str
        The queries in order of their first row.
    query : ndarray of int32, shape (n,)
        Row of `query_ids`.
    document : Ids, length n
        Id of the document of each row.
    value : ndarray of float64 or int64, shape (n,)
        Score or grade.
    where : callable
        Takes a row number; returns its place, such as ``run.txt:7``, and its text, or None if the
        source has no text.
    """

    source: str
    query_ids: tuple[str, ...]
    query: NDArray[np.int32]
    document: Ids
    value: NDArray[np.float64] | NDArray[np.int64]
    where: Callable[[int], tuple[str, str | None]]

    def __len__(self) -> int:
        return len(self.value)

    @classmethod
    def from_table(
        cls,
        kind: Kind,
        source: str,
        query: pl.Series,
        document: pl.Series,
        value: pl.Series,
        where: Callable[[int], tuple[str, str | None]],
    ) -> Columns:
        """Make columns of a table's, whose ids must be strings and whose values numbers."""
        queries = Ids.of(query, "query id").column
        names = queries.unique(maintain_order=True)
        codes = queries.cast(pl.Enum(names)).to_physical().cast(pl.Int32).to_numpy()
        values = check_values(kind, value, source, where)
        return cls(source, tuple(names), codes, Ids.of(document, "document id"), values, where)

    def fail(self, row: int, rule: str) -> NoReturn:
        """Raise the error for one row: its place, the rule, and its text."""
        place, text = self.where(row)
        if text is None:
            text = f"{self.query_ids[self.query[row]]} {self.document[row]} {self.value[row]}"
        raise bad_row(place, text, rule)

    def without_repeats(self, duplicates: Duplicates) -> Columns:
        """Return the columns with each (query, document) pair once, its queries side by side.

        Parameters
        ----------
        duplicates : {'error', 'first', 'max'}
            For a pair that comes again: refuse, keep the first row, keep the highest value.

        Raises
        ------
        InputError
            Naming the second row of a pair, where it stands, and the first.
        """
        if duplicates not in DUPLICATES:
            raise unknown_name("way with duplicates", duplicates, DUPLICATES)
        grouped, order = self, None
        if (self.query[1:] < self.query[:-1]).any():
            order = np.argsort(self.query, kind="stable")
            grouped = self._rows(order)
        suspects = repeated_keys(grouped.query, grouped.document.hashes)
        if not len(suspects):
            return grouped
        pairs = pl.DataFrame(
            {
                "query": grouped.query[suspects],
                "document": grouped.document.take(suspects).column,
                "value": grouped.value[suspects],
                "row": suspects,
                "place": suspects if order is None else order[suspects],
            }
        )
        pair = ["query", "document"]
        again = pairs.filter(~pl.struct(pair).is_first_distinct())
        if again.is_empty():
            return grouped
        if duplicates == "error":
            self._fail_repeated(pairs.sort("place"), pair)
        if duplicates == "first":
            lost = again["row"].to_numpy()
        else:
            best = pairs.sort("value", descending=True, maintain_order=True)
            lost = best.filter(~pl.struct(pair).is_first_distinct())["row"].to_numpy()
        keep = np.ones(len(grouped), dtype=bool)
        keep[lost] = False
        return grouped._rows(np.flatnonzero(keep))

    def _rows(self, rows: NDArray[np.int64]) -> Columns:
        where = self.where
        return Columns(
            self.source,
            self.query_ids,
            self.query[rows],
            self.document.take(rows),
            self.value[rows],
            lambda row: where(int(rows[row])),
        )

    def _fail_repeated(self, pairs: pl.DataFrame, pair: list[str]) -> NoReturn:
        # The earliest repetition, in the order of the source.
        again = pairs.filter(~pl.struct(pair).is_first_distinct()).row(0, named=True)
        same = pairs.filter(
            (pl.col("query") == again["query"]) & (pl.col("document") == again["document"])
        )
        query = self.query_ids[again["query"]]
        self.fail(
            again["place"],
            f"query {query!r} has document {again['document']!r} twice, first at "
            f"{self.where(same['place'][0])[0]}: keep one, or ask for duplicates first or max",
        )


def bad_row(place: str, text: str, rule: str) -> InputError:
    """Build the error for one row: its place, the rule, and its text, cut."""
    shown = text if len(text) <= 80 else text[:80] + "..."
    return InputError(f"{place}: {rule}; the line is {shown!r}")


def read_number(text: bytes, kind: Kind) -> float | None:
    """Read a score or grade as C would, or return None; Python's liberties (1_0) are none."""
    if not kind.whole:
        score = float(text) if _SCORE.fullmatch(text) else math.inf
        return score if math.isfinite(score) else None
    if not _GRADE.fullmatch(text):
        return None
    digits = text.partition(b".")[0].lstrip(b"+-").lstrip(b"0") or b"0"
    if len(digits) > 19:
        return None
    grade = -int(digits) if text.startswith(b"-") else int(digits)
    return grade if -(2**63) <= grade < 2**63 else None


def check_values(
    kind: Kind, values: pl.Series, source: str, where: Callable[[int], tuple[str, str | None]]
) -> NDArray[np.float64] | NDArray[np.int64]:
    """Return a column of values as an array; the error names the first row that cannot be one.

    Scores must be finite; grades whole numbers of 64 bits, where ``2.0`` counts as 2.
    """
    if values.dtype == pl.Boolean or not (values.dtype.is_numeric() or values.dtype == pl.Null):
        raise InputError(f"{source}: the column {values.name!r} holds {values.dtype}, not numbers")
    wrong = values.is_null()
    if not values.dtype.is_integer():
        numbers = values.cast(pl.Float64)
        wrong = wrong | ~numbers.is_finite().fill_null(value=False)
        if kind.whole:
            wrong = wrong | (numbers != numbers.round()).fill_null(value=True)
            wrong = wrong | (numbers.abs() >= 2.0**63).fill_null(value=True)
    elif kind.whole:
        wrong = wrong | values.cast(pl.Int64, strict=False).is_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        what = "a whole number of 64 bits" if kind.whole else "a finite number"
        place, text = where(row)
        rule = f"the {kind.value} {values[row]!r} is not {what}"
        raise InputError(f"{place}: {rule}") if text is None else bad_row(place, text, rule)
    result: NDArray[np.float64] | NDArray[np.int64]
    result = values.cast(pl.Int64 if kind.whole else pl.Float64).to_numpy()
    return result
