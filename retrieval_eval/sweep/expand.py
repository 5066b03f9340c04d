"""What the entries of a sweep expand to: lists, ``zip``, ``when``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.parameters import Entry, ParameterError, parse_entry
from retrieval_eval.sweep.ranges import find_ranges

__all__ = ["Expanded", "expand_entry", "expand_grid", "expand_searches"]


@dataclass(frozen=True)
class Expanded:
    """What one entry of a sweep stands for.

    Parameters
    ----------
    name : str
        The entry's name.
    label : str or None
        What tables shall call it.
    points : tuple of dict
        One mapping of parameters for each combination.
    varied : frozenset of str
        The parameters that the entry gives as a grid, or that its points differ in.
    """

    name: str
    label: str | None
    points: tuple[dict[str, Any], ...]
    varied: frozenset[str]

    def varying(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return those parameters of a point that tell it from the others."""
        return {key: value for key, value in point.items() if key in self.varied}


def expand_entry(entry: Entry) -> Expanded:
    """Expand an entry into its points; the key ``label`` is none of its parameters.

    Raises
    ------
    InputError
        As :func:`expand_grid`; or for a range, which is searched and not enumerated.

    Examples
    --------
    >>> found = expand_entry({"lsa": {"dim": [8, 16], "min_df": 2, "label": "small"}})
    >>> found.label, [found.varying(point) for point in found.points]
    ('small', [{'dim': 8}, {'dim': 16}])
    """
    name, parameters = parse_entry(entry)
    label = parameters.pop("label", None)
    ranges = find_ranges(parameters)
    if ranges:
        path = next(iter(ranges))
        shown = ".".join(map(str, path))
        raise ParameterError(
            f"{name!r}: {shown} is a range: it is searched, as the section 'tune' says, and cannot "
            "be enumerated: give a value or a list of values",
            path,
        )
    points = tuple(expand_grid(parameters))
    grids = {key for key, value in parameters.items() if isinstance(value, list)} - {"when"}
    keys = {key for point in points for key in point}
    differing = {key for key in keys if any(_differs(point, points[0], key) for point in points)}
    return Expanded(
        name, None if label is None else str(label), points, frozenset(grids | differing)
    )


def _differs(one: Mapping[str, Any], other: Mapping[str, Any], key: str) -> bool:
    if (key in one) != (key in other):
        return True
    return key in one and repr(one[key]) != repr(other[key])


def expand_searches(expanded: Expanded) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Group the points of an index: parameters of building, and the search settings to try.

    Raises
    ------
    InputError
        If ``search`` holds no parameters.

    Examples
    --------
    >>> expand_searches(expand_entry({"hnsw": {"M": [8, 16], "search": {"ef": [10, 20]}}}))
    [({'M': 8}, [{'ef': 10}, {'ef': 20}]), ({'M': 16}, [{'ef': 10}, {'ef': 20}])]
    """
    groups: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    for point in expanded.points:
        search = point.get("search")
        if search is not None and not isinstance(search, dict):
            raise InputError(f"indexes: {expanded.name!r}: search must hold search parameters")
        built = {key: value for key, value in point.items() if key != "search"}
        groups.setdefault(repr(built), (built, []))[1].append(search or {})
    return list(groups.values())


def expand_grid(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Expand lists, ``zip`` and ``when`` into single points, the last key varying fastest.

    Parameters
    ----------
    values : mapping of str to object
        A list stands for "each of these", a mapping for each point of its own grid (inside a list,
        too); anything else for itself. Two keys are no parameters, in a mapping at any depth:

        ``zip``
            Parameters that vary together: a mapping of at least two of them to lists of equal
            length, or a list of such mappings.
        ``when``
            A list of rules ``{if: {...}, then: {...}}``, applied in order. Where every parameter
            below ``if`` has the value there (or one of a list), what stands below ``then`` is
            added; it replaces a parameter of the same name, and is merged into a mapping. Lists
            and ``zip`` below ``then`` are grids of those points alone. What a rule asks for
            varies slowest.

    Yields
    ------
    dict of str to object
        One point.

    Raises
    ------
    ParameterError
        If a list is empty, lists of a ``zip`` differ in length, a parameter is given twice, or a
        rule asks for what is not there, applies to no point, or changes what a rule asked for.

    Examples
    --------
    >>> [point["ef"] for point in expand_grid({"M": 16, "ef": [10, 20]})]
    [10, 20]
    >>> list(expand_grid({"index": {"hnsw": {"M": [8, 16]}}}))
    [{'index': {'hnsw': {'M': 8}}}, {'index': {'hnsw': {'M': 16}}}]
    >>> list(expand_grid({"zip": {"M": [16, 32], "ef_construction": [100, 200]}}))
    [{'M': 16, 'ef_construction': 100}, {'M': 32, 'ef_construction': 200}]
    >>> rule = {"if": {"nlist": 256}, "then": {"nprobe": [4, 16]}}
    >>> list(expand_grid({"nlist": [64, 256], "when": [rule]}))
    [{'nlist': 64}, {'nlist': 256, 'nprobe': 4}, {'nlist': 256, 'nprobe': 16}]
    """
    yield from _expand(values, ())


_Path = tuple[int | str, ...]
_Axes = dict[tuple[str, ...], list[tuple[Any, ...]]]
"""Parameters that vary together, to the rows of values that they take."""


def _expand(values: Mapping[str, Any], path: _Path) -> list[dict[str, Any]]:
    axes = _axes(values, path)
    rules = _rules(values.get("when", []), axes, (*path, "when"))
    used: set[int] = set()
    points = [
        {key: value for part in parts for key, value in part.items()}
        for chosen in _apply(axes, rules, used, path)
        for parts in itertools.product(
            *(
                [point for row in rows for point in _points(keys, row, path)]
                for keys, rows in chosen.items()
            )
        )
    ]
    for place, (asked, _) in enumerate(rules):
        if place not in used:
            wanted = ", ".join(f"{key}: {value}" for key, value in asked.items())
            raise ParameterError(
                f"when: no combination has {wanted}: correct the values, or remove the rule",
                (*path, "when", place),
            )
    return points


def _points(keys: tuple[str, ...], row: tuple[Any, ...], path: _Path) -> list[dict[str, Any]]:
    """Expand the mappings among the values of one row."""
    parts = [
        _expand(value, (*path, key)) if isinstance(value, Mapping) else [value]
        for key, value in zip(keys, row, strict=True)
    ]
    return [dict(zip(keys, point, strict=True)) for point in itertools.product(*parts)]


def _axes(values: Mapping[str, Any], path: _Path) -> _Axes:
    axes: _Axes = {}
    for key, value in values.items():
        if key == "when":
            continue
        if key == "zip":
            for place, group in enumerate(value if isinstance(value, list) else [value]):
                where = (*path, "zip", *([place] if isinstance(value, list) else []))
                rows = _zipped(group, where)
                _refuse_second(axes, tuple(group), where)
                axes[tuple(group)] = rows
            continue
        if isinstance(value, list) and not value:
            message = f"parameter {key!r} is an empty list: give at least one value"
            raise ParameterError(message, (*path, key))
        _refuse_second(axes, (key,), (*path, key))
        axes[key,] = [(one,) for one in value] if isinstance(value, list) else [(value,)]
    return axes


def _refuse_second(axes: _Axes, keys: tuple[str, ...], path: _Path) -> None:
    for key in keys:
        if any(key in others for others in axes):
            raise ParameterError(
                f"parameter {key!r} is given twice, in a zip and elsewhere: keep one", path
            )


def _zipped(group: Any, path: _Path) -> list[tuple[Any, ...]]:
    """Return the rows of values of parameters that vary together."""
    if not isinstance(group, Mapping) or len(group) < 2 or {"zip", "when"} & {*group}:
        raise ParameterError(
            "zip must hold two or more parameters, each with a list of values, or a list of such "
            f"groups; got {group!r}",
            path,
        )
    for key, value in group.items():
        if not isinstance(value, list) or not value:
            raise ParameterError(
                f"zip: parameter {key!r} is {value!r}: give a list of values", (*path, key)
            )
    lengths = {key: len(value) for key, value in group.items()}
    if len({*lengths.values()}) > 1:
        counts = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise ParameterError(f"zip: lists must be equally long, but {counts} values", path)
    return list(zip(*group.values(), strict=True))


_Rule = tuple[Mapping[str, Any], Mapping[str, Any]]


def _rules(given: Any, axes: _Axes, path: _Path) -> list[_Rule]:
    """Read the rules below ``when``, each as what it asks for and what it adds."""
    form = "when must be a list of rules such as {if: {nlist: 64}, then: {m: [8, 16]}}"
    if not isinstance(given, list):
        raise ParameterError(f"{form}; got {given!r}", path)
    known = {key for keys in axes for key in keys}
    rules: list[_Rule] = []
    for place, rule in enumerate(given):
        where = (*path, place)
        if not isinstance(rule, Mapping):
            raise ParameterError(f"{form}; got {rule!r}", where)
        for key in rule:
            if key not in ("if", "then"):
                raise ParameterError(
                    str(unknown_name("key", key, ("if", "then"), "when")), (*where, key)
                )
        asked, added = rule.get("if"), rule.get("then")
        if not (_is_part(asked) and _is_part(added)):
            raise ParameterError(f"{form}; got {rule!r}", where)
        for key, value in asked.items():
            if key not in known:
                raise ParameterError(
                    str(unknown_name("parameter", key, known, "when: if")), (*where, "if", key)
                )
            if isinstance(value, Mapping) or value == []:
                raise ParameterError(
                    f"when: if: {key!r} is {value!r}: give a value, or a list of values",
                    (*where, "if", key),
                )
        known |= {key for keys in _axes(added, (*where, "then")) for key in keys}
        rules.append((asked, added))
    return rules


def _is_part(part: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(part, Mapping) and bool(part) and "when" not in part


def _apply(axes: _Axes, rules: list[_Rule], used: set[int], path: _Path) -> Iterator[_Axes]:
    """Yield the axes that remain after all rules, for each value that a rule asks for."""
    pending: list[tuple[_Axes, frozenset[str]]] = [(axes, frozenset())]
    for place, (asked, added) in enumerate(rules):
        where = (*path, "when", place)
        following = []
        for before, fixed in pending:
            involved = [keys for keys in before if {*keys} & {*asked}]
            for rows in itertools.product(*(before[keys] for keys in involved)):
                chosen = {**before, **{k: [row] for k, row in zip(involved, rows, strict=True)}}
                seen = fixed | {key for keys in involved for key in keys}
                values = {
                    key: value
                    for keys, row in zip(involved, rows, strict=True)
                    for key, value in zip(keys, row, strict=True)
                }
                if all(key in values and _is_one_of(values[key], asked[key]) for key in asked):
                    used.add(place)
                    chosen = _overlay(chosen, added, seen, where)
                following.append((chosen, seen))
        pending = following
    for chosen, _ in pending:
        yield chosen


def _is_one_of(value: Any, wanted: Any) -> bool:
    return any(
        value == one and isinstance(value, bool) == isinstance(one, bool)
        for one in (wanted if isinstance(wanted, list) else [wanted])
    )


def _overlay(axes: _Axes, added: Mapping[str, Any], fixed: frozenset[str], path: _Path) -> _Axes:
    """Return the axes with what a rule adds; a parameter of the same name is replaced."""
    result = dict(axes)
    for keys, rows in _axes(added, (*path, "then")).items():
        for key in keys:
            if key in fixed:
                raise ParameterError(
                    f"when: then changes {key!r}, which a rule asked for: it cannot be both",
                    (*path, "then", key),
                )
            others = next((one for one in result if key in one), None)
            if others is None:
                continue
            if others != keys and (len(others) > 1 or len(keys) > 1):
                raise ParameterError(
                    f"when: then changes {key!r} alone, but it varies together with others in a "
                    "zip",
                    (*path, "then", key),
                )
        ours = result.get(keys, [])
        result[keys] = rows
        if len(ours) == len(rows) == len(keys) == 1:
            (mine,), (new,) = ours[0], rows[0]
            if isinstance(mine, Mapping) and isinstance(new, Mapping):
                result[keys] = [(_merged(mine, new),)]
    return result


def _merged(mine: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(mine)
    for key, value in new.items():
        old = result.get(key)
        if key in ("zip", "when") and old is not None:
            parts = [one if isinstance(one, list) else [one] for one in (old, value)]
            result[key] = parts[0] + parts[1]
        elif isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(old, value)
        else:
            result[key] = value
    return result
