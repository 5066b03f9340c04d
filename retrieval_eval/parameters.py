"""Parameter dataclasses: built from plain mappings with strict keys, types and ranges.

Every encoder, index and dataset source declares its parameters as a frozen dataclass whose
annotations carry the ranges (``Annotated[int, Ge(1)]``). That one declaration checks input,
makes cache keys, and prints the documentation of ``retrieval-eval list``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from functools import cache
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from retrieval_eval.errors import InputError, unknown_name

__all__ = [
    "Entry",
    "NoParameters",
    "ParameterError",
    "describe_parameters",
    "make_parameters",
    "parse_entry",
]

P = TypeVar("P")

Entry = str | dict[str, dict[str, Any] | None]
"""A name, or a mapping of one name to its parameters."""


class ParameterError(InputError):
    """An error of one parameter.

    Parameters
    ----------
    message : str
        The whole sentence.
    path : tuple of str or int
        Keys and positions that lead to the value, below whatever the parameters belong to.
    """

    def __init__(self, message: str, path: tuple[int | str, ...]) -> None:
        super().__init__(message)
        self.path = path


@dataclasses.dataclass(frozen=True)
class NoParameters:
    """The parameter class of something that has none."""


@cache
def _validators(cls: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    hints = get_type_hints(cls, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in dataclasses.fields(cls)}


def make_parameters(cls: type[P], values: Mapping[str, Any], where: str) -> P:
    """Build a parameter dataclass from plain values.

    Parameters
    ----------
    cls : type
        A frozen dataclass whose annotations name types and ranges.
    values : mapping of str to object
        The values given; what is left out keeps its default.
    where : str
        What the values belong to, put first in an error, for instance ``"index 'hnsw'"``.

    Returns
    -------
    object
        An instance of `cls`.

    Raises
    ------
    ParameterError
        For an unknown key (with a suggestion), a missing one, a wrong type or a value out of
        range; no value is converted silently.

    Examples
    --------
    >>> from retrieval_eval.indexes.hnsw import HnswBuild
    >>> make_parameters(HnswBuild, {"M": 8}, "index 'hnsw'")
    HnswBuild(M=8, ef_construction=200)
    >>> make_parameters(HnswBuild, {"m": 8}, "index 'hnsw'")
    Traceback (most recent call last):
    ...
    retrieval_eval.parameters.ParameterError: index 'hnsw': unknown parameter 'm'. \
Did you mean 'M'? Available: M, ef_construction
    """
    from pydantic import ValidationError

    validators = _validators(cast("Hashable", cls))
    for key in values:
        if key not in validators:
            raise ParameterError(str(unknown_name("parameter", key, validators, where)), (key,))
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # P is a dataclass
        optional = any(
            default is not dataclasses.MISSING for default in (field.default, field.default_factory)
        )
        if field.name not in values and not optional:
            raise ParameterError(f"{where}: parameter {field.name!r} is required", ())
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = validators[name].validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            message = f"{where}: parameter {name!r} is {value!r}: {reason}"
            raise ParameterError(message, (name,)) from None
    return cls(**checked)


def parse_entry(entry: Entry) -> tuple[str, dict[str, Any]]:
    """Split an entry into its name and its parameters.

    Examples
    --------
    >>> parse_entry({"lsa": {"dim": 8}}), parse_entry("flat")
    (('lsa', {'dim': 8}), ('flat', {}))
    """
    if isinstance(entry, str):
        return entry, {}
    if len(entry) != 1:
        raise InputError(
            f"an entry must have one name, got {', '.join(entry) or 'none'}: start each with '- '"
        )
    ((name, parameters),) = entry.items()
    return name, dict(parameters or {})


def describe_parameters(cls: type[Any]) -> list[tuple[str, str, str]]:
    """List a parameter dataclass as (name, type with range, default), all as text.

    Examples
    --------
    >>> from retrieval_eval.indexes.hnsw import HnswSearch
    >>> describe_parameters(HnswSearch)
    [('ef', 'int, >= 1', '128')]
    """
    rows = []
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        text = _type_text(hints[field.name])
        default = str(field.default)
        if field.default_factory is not dataclasses.MISSING:
            default = str(field.default_factory())
        elif field.default is dataclasses.MISSING:
            default = "required"
        rows.append((field.name, text, default))
    return rows


def _type_text(hint: Any) -> str:
    """Print a type with its range: ``int, >= 1``, ``str or none``, ``cosine or ip``."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, *rules = get_args(hint)
        signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
        ranges = [
            f", {sign} {getattr(rule, name)}"
            for rule in rules
            for name, sign in signs.items()
            if getattr(rule, name, None) is not None
        ]
        return _type_text(base) + "".join(ranges)
    if origin is Literal:
        return " or ".join(str(value) for value in get_args(hint))
    if origin in (Union, UnionType):
        return " or ".join(_type_text(part) for part in get_args(hint))
    if hint is type(None):
        return "none"
    return hint.__name__ if isinstance(hint, type) else str(hint)
