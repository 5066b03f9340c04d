"""YAML as nodes that know where they stand: what reading and overriding a sweep share."""

from __future__ import annotations

import io
from typing import cast

import yaml

from retrieval_eval.errors import InputError

__all__ = [
    "NULL",
    "TEXT",
    "compose",
    "escaped",
    "is_setting",
    "mapping",
    "merge",
    "place_of",
    "tidy",
]

TEXT = "tag:yaml.org,2002:str"
NULL = "tag:yaml.org,2002:null"
_MAP = "tag:yaml.org,2002:map"


def compose(text: str, name: str) -> yaml.Node | None:
    """Read YAML; every mark bears the name."""
    stream = io.StringIO(text)
    stream.name = name  # where marks take their name from
    return cast("yaml.Node | None", yaml.compose(stream, Loader=yaml.SafeLoader))


def tidy(node: yaml.Node) -> None:
    """Refuse what no configuration needs, and put in its place what merge keys stand for."""
    _check(node, (), set())
    _flatten(node, set())


def _check(node: yaml.Node, above: tuple[int, ...], done: set[int]) -> None:
    """Refuse keys that occur twice, and values that contain themselves."""
    if id(node) in above:
        raise InputError(f"{place_of(node.start_mark)}: not valid YAML: a value contains itself")
    if id(node) in done:  # an alias
        return
    inside = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                where = place_of(key.start_mark)
                raise InputError(f"{where}: the key {name!r} occurs twice: keep one")
            seen.add(name)
            _check(value, inside, done)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check(value, inside, done)
    done.add(id(node))


def _flatten(node: yaml.Node, done: set[int]) -> None:
    """Put what YAML's merge key ``<<`` stands for in its place; what is written out wins."""
    if id(node) in done:
        return
    done.add(id(node))
    if isinstance(node, yaml.MappingNode):
        try:
            yaml.SafeLoader("").flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            where = place_of(error.problem_mark or node.start_mark)
            raise InputError(f"{where}: not valid YAML: {error.problem}") from None
        node.value = [*{(key.tag, str(key.value)): (key, one) for key, one in node.value}.values()]
        for _, value in node.value:
            _flatten(value, done)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _flatten(value, done)


def mapping(pairs: list[tuple[yaml.Node, yaml.Node]], like: yaml.Node) -> yaml.MappingNode:
    """Make a mapping that stands where another node stands."""
    return yaml.MappingNode(_MAP, pairs, like.start_mark, like.end_mark)


def merge(base: yaml.MappingNode, top: yaml.MappingNode) -> yaml.MappingNode:
    """Return a mapping that holds both; `top` wins, and mappings in both are merged."""
    pairs = {(key.tag, str(key.value)): (key, value) for key, value in base.value}
    for key, value in top.value:
        name = (key.tag, str(key.value))
        old = pairs[name][1] if name in pairs else None
        if isinstance(old, yaml.MappingNode) and isinstance(value, yaml.MappingNode):
            value = merge(old, value)  # noqa: PLW2901 (the merged one takes its place)
        pairs[name] = (key, value)
    return mapping([*pairs.values()], top)


def escaped(text: str) -> str:
    """Return a text that stands for itself in a sweep file.

    Examples
    --------
    >>> escaped("cost: $5, ${HOME}")
    'cost: $$5, $${HOME}'
    """
    return text.replace("$", "$$") if "$$" in text or "${" in text else text


def is_setting(mark: yaml.Mark) -> bool:
    """Whether a mark is in an override, and not in a file."""
    return str(mark.name).startswith("--set ")


def place_of(mark: yaml.Mark) -> str:
    """Print a mark as ``FILE:LINE``, or as the override."""
    return str(mark.name) if is_setting(mark) else f"{mark.name}:{mark.line + 1}"
