"""Ranges of parameters that are searched: ``{int: [8, 64], log: true}``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from retrieval_eval.errors import unknown_name
from retrieval_eval.parameters import Entry, ParameterError, parse_entry

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Range", "Space", "find_ranges"]

_KINDS = ("int", "float", "choice")
_Path = tuple[int | str, ...]


def find_ranges(values: Any, path: _Path = ()) -> dict[_Path, Mapping[str, Any]]:
    """Find the ranges in parameters, at any depth.

    Parameters
    ----------
    values : object
        Parameters as they stand in a sweep.
    path : tuple of str or int
        Where they stand.

    Returns
    -------
    dict
        Keys and positions that lead to a range, to the range as written.

    Examples
    --------
    >>> find_ranges({"M": 16, "search": {"ef": {"int": [10, 100]}}})
    {('search', 'ef'): {'int': [10, 100]}}
    """
    if isinstance(values, list):
        parts: Any = enumerate(values)
    elif not isinstance(values, Mapping):
        return {}
    elif path and any(isinstance(values.get(kind), list) for kind in _KINDS):
        return {path: values}
    else:
        parts = values.items()
    return {
        place: one
        for key, value in parts
        for place, one in find_ranges(value, (*path, key)).items()
    }


@dataclass(frozen=True)
class Range:
    """The values that a parameter may take in a search.

    Parameters
    ----------
    kind : {'int', 'float', 'choice'}
        Whole numbers, numbers, or a list of values.
    low, high : float
        Ends, both included; of a choice, 0 and its last place.
    log : bool
        Whether it is even on a logarithmic scale.
    step : int
        Distance of whole numbers.
    choices : tuple
        The values of a choice.
    """

    kind: Literal["int", "float", "choice"]
    low: float
    high: float
    log: bool = False
    step: int = 1
    choices: tuple[Any, ...] = ()

    @classmethod
    def parse(cls, given: Mapping[str, Any], path: _Path = ()) -> Range:
        """Read a range.

        Parameters
        ----------
        given : mapping
            ``{int: [low, high]}`` with ``step`` or ``log: true``, ``{float: [low, high]}`` with
            ``log: true``, or ``{choice: [...]}``.
        path : tuple of str or int
            Where it stands, for an error.

        Raises
        ------
        ParameterError
            If it is none of these.

        Examples
        --------
        >>> Range.parse({"int": [16, 64], "step": 16}).values()
        [16, 32, 48, 64]
        """
        name = ".".join(map(str, path)) or "range"
        kinds = [kind for kind in _KINDS if kind in given]
        if len(kinds) != 1 or not isinstance(given[kinds[0]], list):
            raise ParameterError(
                f"{name}: a range is one of int, float and choice, with a list", path
            )
        allowed = {"int": ("int", "log", "step"), "float": ("float", "log"), "choice": ("choice",)}
        kind = kinds[0]
        for key in given:
            if key not in allowed[kind]:
                message = str(unknown_name(f"key of a {kind} range", key, allowed[kind], name))
                raise ParameterError(message, (*path, key))
        ends, log, step = given[kind], given.get("log", False), given.get("step", 1)
        reason = _complaint(kind, ends, log, step)
        if reason is not None:
            raise ParameterError(f"{name}: {{{kind}: {ends!r}}}: {reason}", (*path, kind))
        if kind == "choice":
            return cls("choice", 0, len(ends) - 1, choices=tuple(ends))
        if kind == "int":
            return cls("int", ends[0], ends[1], log, step)
        return cls("float", float(ends[0]), float(ends[1]), log)

    @property
    def size(self) -> float:
        """How many values there are; infinite for numbers that are not whole."""
        return math.inf if self.kind == "float" else (self.high - self.low) // self.step + 1

    def values(self) -> Sequence[Any]:
        """List the values of a choice, or of whole numbers."""
        if self.kind == "choice":
            return list(self.choices)
        return list(range(int(self.low), int(self.high) + 1, self.step))

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw a value, evenly on the scale of the range."""
        if self.kind == "float":
            if self.log:
                drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
                return min(max(drawn, self.low), self.high)
            return float(rng.uniform(self.low, self.high))
        if self.log:  # each number is as likely as its half-open neighbourhood is wide
            drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
            return int(min(max(round(drawn), self.low), self.high))
        return self.decode(int(self.low) + self.step * int(rng.integers(int(self.size))))

    def distribution(self) -> Any:
        """Return the range as optuna's distribution; a choice by its places."""
        from optuna import distributions

        if self.kind == "float":
            return distributions.FloatDistribution(self.low, self.high, log=self.log)
        if self.kind == "int":
            low, high = int(self.low), int(self.high)
            return distributions.IntDistribution(low, high, log=self.log, step=self.step)
        return distributions.CategoricalDistribution(range(len(self.choices)))

    def encode(self, value: Any) -> Any:
        """Return what stands for a value in :meth:`distribution`."""
        if self.kind != "choice":
            return value
        same = (place for place, one in enumerate(self.choices) if repr(one) == repr(value))
        return next(same)

    def decode(self, drawn: Any) -> Any:
        """Return the value that something drawn stands for."""
        return self.choices[drawn] if self.kind == "choice" else drawn


def _complaint(kind: str, ends: Any, log: Any, step: Any) -> str | None:
    """Return which rule a range breaks."""
    if kind == "choice":
        if len(ends) < 2 or len({*map(repr, ends)}) < len(ends):
            return "give two or more values, each once"
        return None
    types = (int,) if kind == "int" else (int, float)
    plain = all(isinstance(end, types) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not plain or not all(map(math.isfinite, ends)) or not ends[0] < ends[1]:
        return f"give two {'whole ' if kind == 'int' else ''}numbers, the lower one first"
    rules = {
        f"log is {log!r}: it must be true or false": isinstance(log, bool),
        "with log, both must be above 0": not log or ends[0] > 0,
        f"step is {step!r}: it must be a whole number, 1 or more": type(step) is int and step > 0,
        "log and step cannot be combined": not log or step == 1,
    }
    broken = next((rule for rule, kept in rules.items() if not kept), None)
    if broken is None and kind == "int" and (ends[1] - ends[0]) % step:
        return f"step {step} does not lead from {ends[0]} to {ends[1]}"
    return broken


@dataclass(frozen=True)
class Space:
    """What one entry of a sweep leaves open.

    Parameters
    ----------
    entry : str or mapping
        The entry, with its ranges.
    ranges : mapping of str to Range
        What may be chosen, by the path of keys: ``M``, ``search.ef``.

    Examples
    --------
    >>> search = {"ef": {"choice": [50, 99]}}
    >>> space = Space.of({"hnsw": {"M": {"int": [8, 64]}, "search": search}})
    >>> list(space.ranges), space.size
    (['M', 'search.ef'], 114)
    >>> space.fill({"M": 12, "search.ef": 50})
    {'hnsw': {'M': 12, 'search': {'ef': 50}}}
    """

    entry: Entry
    ranges: Mapping[str, Range]

    @classmethod
    def of(cls, entry: Entry) -> Space:
        """Read the ranges of an entry.

        Raises
        ------
        ParameterError
            If a range is not as it should be, or stands beside a list, ``zip`` or ``when``.
        """
        name, parameters = parse_entry(entry)
        found = find_ranges(parameters)
        _refuse_grids(parameters, (), f"{name!r}: ")
        ranges = {".".join(map(str, path)): Range.parse(one, path) for path, one in found.items()}
        return cls(entry, ranges)

    @property
    def size(self) -> float:
        """How many points there are; infinite if one range is continuous."""
        return math.prod(one.size for one in self.ranges.values())

    def fill(self, values: Mapping[str, Any]) -> Entry:
        """Return the entry with values in place of its ranges."""
        name, parameters = parse_entry(self.entry)
        return {name: _filled(parameters, values, ())}

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a point, evenly (on the logarithm, where a range says so)."""
        return {path: one.draw(rng) for path, one in self.ranges.items()}

    def points(self) -> Iterator[dict[str, Any]]:
        """List all points of a finite space."""
        values = (one.values() for one in self.ranges.values())
        for point in itertools.product(*values):
            yield dict(zip(self.ranges, point, strict=True))


def _refuse_grids(values: Mapping[str, Any], path: tuple[str, ...], where: str) -> None:
    for key, value in values.items():
        if key in ("zip", "when") or isinstance(value, list):
            raise ParameterError(
                f"{where}{'.'.join((*path, key))} is a grid beside a range: what is searched is "
                "not enumerated, so write {choice: [...]}, or make it two entries",
                (*path, key),
            )
        if isinstance(value, Mapping) and not find_ranges({key: value}).get((key,)):
            _refuse_grids(value, (*path, key), where)


def _filled(
    parameters: Mapping[str, Any], values: Mapping[str, Any], path: tuple[str, ...]
) -> dict[str, Any]:
    result = {}
    for key, value in parameters.items():
        name = ".".join((*path, key))
        if name in values:
            result[key] = values[name]
        else:
            inner = isinstance(value, Mapping)
            result[key] = _filled(value, values, (*path, key)) if inner else value
    return result
