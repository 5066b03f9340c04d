"""Attributes of documents, and filters on them: equality, range, set membership.

A filter is a value: its text form goes into tables and keys, and every backend reads it, as a mask
of rows or as a condition in its own language.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Between",
    "Condition",
    "Equals",
    "Filter",
    "OneOf",
    "as_attributes",
]

Value = bool | int | float | str


@dataclass(frozen=True)
class Equals:
    """The attribute has this value.

    Parameters
    ----------
    column : str
        Name of the attribute.
    value : bool, int, float or str
        What it must equal.
    """

    column: str
    value: Value

    def __str__(self) -> str:
        return f"{self.column} = {self.value}"


@dataclass(frozen=True)
class Between:
    """The attribute lies in a range, both ends included.

    Parameters
    ----------
    column : str
        Name of the attribute.
    low, high : int, float, str or None
        The ends; None leaves one open.
    """

    column: str
    low: int | float | str | None = None
    high: int | float | str | None = None

    def __str__(self) -> str:
        low = "" if self.low is None else f"{self.low} <= "
        high = "" if self.high is None else f" <= {self.high}"
        return f"{low}{self.column}{high}"


@dataclass(frozen=True)
class OneOf:
    """The attribute has one of these values.

    Parameters
    ----------
    column : str
        Name of the attribute.
    values : tuple of bool, int, float or str
        What it may equal; empty lets nothing pass.
    """

    column: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.column} in ({', '.join(map(str, self.values))})"


Condition = Equals | Between | OneOf


@dataclass(frozen=True)
class Filter:
    """Conditions on the attributes of a document; all must hold.

    A document without a value for an attribute passes no condition on it.

    Parameters
    ----------
    conditions : tuple of Equals, Between or OneOf
        At least one.

    Examples
    --------
    >>> wanted = Filter.parse({"year": {"min": 2000, "max": 2009}, "lang": ["en", "de"]})
    >>> print(wanted)
    2000 <= year <= 2009, lang in (en, de)
    >>> table = as_attributes({"year": [1999, 2004, 2005], "lang": ["en", "fr", "de"]}, 3)
    >>> wanted.mask(table).tolist()
    [False, False, True]
    """

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        if not self.conditions:
            raise InputError("a filter needs at least one condition, such as {lang: en}")

    def __str__(self) -> str:
        return ", ".join(map(str, self.conditions))

    @classmethod
    def parse(cls, wanted: Mapping[str, Any], where: str = "filter") -> Filter:
        """Read a filter in the form it has in a sweep file.

        Parameters
        ----------
        wanted : mapping of str to object
            Attribute to what it must be: a value (equality), a list (membership), or a mapping
            with ``min``, ``max`` or both (range, ends included).
        where : str, optional
            What the filter belongs to, for messages.

        Raises
        ------
        InputError
            Naming attribute and rule.
        """
        return cls(tuple(_condition(column, value, where) for column, value in wanted.items()))

    def as_mapping(self) -> dict[str, Any]:
        """Return the form that :meth:`parse` reads."""
        wanted: dict[str, Any] = {}
        for one in self.conditions:
            if isinstance(one, Equals):
                wanted[one.column] = one.value
            elif isinstance(one, OneOf):
                wanted[one.column] = list(one.values)
            else:
                ends = {"min": one.low, "max": one.high}
                wanted[one.column] = {end: v for end, v in ends.items() if v is not None}
        return wanted

    def check(self, attributes: pl.DataFrame) -> None:
        """Refuse attributes that are not there, and values of another type than theirs.

        Raises
        ------
        InputError
            Naming attribute, value and type.
        """
        for one in self.conditions:
            if one.column not in attributes.columns:
                raise unknown_name("attribute", one.column, attributes.columns, f"filter '{self}'")
            kind = attributes.schema[one.column]
            for value in _values(one):
                if not _fits(value, kind):
                    raise InputError(
                        f"filter '{self}': {value!r} is compared with attribute {one.column!r}, "
                        f"which holds {_KINDS[str(kind)]}"
                    )

    def mask(self, attributes: pl.DataFrame) -> NDArray[np.bool_]:
        """Evaluate the filter.

        Parameters
        ----------
        attributes : polars.DataFrame, n rows
            What :func:`as_attributes` returns.

        Returns
        -------
        ndarray of bool, shape (n,)
            Whether each document passes.

        Raises
        ------
        InputError
            For an unknown attribute or a value of another type.
        """
        import polars as pl

        self.check(attributes)
        passes = pl.lit(True)
        for one in self.conditions:
            column = pl.col(one.column)
            if isinstance(one, Equals):
                passes &= column == one.value
            elif isinstance(one, OneOf):
                values = pl.Series(one.values, dtype=attributes.schema[one.column])
                passes &= column.is_in(values.implode())
            else:
                if one.low is not None:
                    passes &= column >= one.low
                if one.high is not None:
                    passes &= column <= one.high
        kept = attributes.select(passes.fill_null(False).alias("kept"))["kept"]
        mask: NDArray[np.bool_] = kept.to_numpy().astype(bool)
        return mask if len(mask) == attributes.height else np.full(attributes.height, mask[0])


_KINDS = {"Boolean": "true or false", "Int64": "whole numbers of 64 bits", "Float64": "numbers"}
_KINDS["String"] = "text"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def as_attributes(columns: Any, n: int) -> pl.DataFrame:
    """Bring attributes of documents into one form.

    Parameters
    ----------
    columns : mapping of str to sequence, or polars.DataFrame
        Attribute name to n values: bool, int, float or str; None or NaN where a document has none.
    n : int
        Number of documents.

    Returns
    -------
    polars.DataFrame, n rows
        Columns of type Boolean, Int64, Float64 or String.

    Raises
    ------
    InputError
        For a wrong number of rows, a name that is no identifier (letters, digits, underscores; 63
        at most), or a type that no filter can use.
    """
    import polars as pl

    try:
        table = pl.DataFrame(columns)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"attributes: not columns of one type each: {error}") from None
    if table.height != n:
        raise InputError(f"attributes: {table.height} rows for {n} documents")
    for name, kind in table.schema.items():
        if not _NAME.fullmatch(name):
            raise InputError(
                f"attributes: {name!r} cannot name one: letters, digits and '_' only, "
                "63 at most, no digit first"
            )
        if kind.is_integer() and kind not in (pl.UInt64, pl.Int128, pl.UInt128):
            table = table.with_columns(pl.col(name).cast(pl.Int64))
        elif kind.is_float():
            table = table.with_columns(pl.col(name).cast(pl.Float64).fill_nan(None))
        elif kind not in (pl.Boolean, pl.String):
            raise InputError(
                f"attributes: {name!r} holds {kind}: filters work on numbers, text, true and false"
            )
    return table


def _condition(column: str, value: Any, where: str) -> Condition:
    if isinstance(value, list | tuple):
        for one in value:
            _refuse_odd(column, one, where)
        return OneOf(column, tuple(value))
    if isinstance(value, Mapping):
        for key in value:
            if key not in ("min", "max"):
                raise unknown_name("end of a range", key, ("min", "max"), f"{where}: {column!r}")
        if not value:
            raise InputError(f"{where}: {column!r}: a range needs min, max or both")
        for end in value.values():
            _refuse_odd(column, end, where)
            if isinstance(end, bool):
                raise InputError(f"{where}: {column!r}: {end!r} cannot end a range")
        return Between(column, value.get("min"), value.get("max"))
    _refuse_odd(column, value, where)
    return Equals(column, value)


def _refuse_odd(column: str, value: Any, where: str) -> None:
    odd = isinstance(value, float) and not math.isfinite(value)
    if odd or not isinstance(value, bool | int | float | str):
        raise InputError(
            f"{where}: {column!r} is compared with {value!r}: use a number, text, true or false"
        )


def _values(condition: Condition) -> list[Value]:
    if isinstance(condition, Equals):
        return [condition.value]
    if isinstance(condition, OneOf):
        return list(condition.values)
    return [end for end in (condition.low, condition.high) if end is not None]


def _fits(value: Value, kind: Any) -> bool:
    if str(kind) == "Boolean":
        return isinstance(value, bool)
    if str(kind) == "String":
        return isinstance(value, str)
    if isinstance(value, bool) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        return False
    return isinstance(value, int if str(kind) == "Int64" else int | float)
