"""Overrides of a sweep file: ``--set encoders.0.lsa.dim=64``."""

from __future__ import annotations

import re
from typing import cast

import yaml

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.sweep.nodes import NULL, TEXT, compose, escaped, mapping, tidy

__all__ = ["override"]

_ENTRY_LISTS = ("datasets", "encoders", "indexes", "combine")


def override(node: yaml.MappingNode, setting: str) -> yaml.MappingNode:
    """Apply an override to the content of a sweep file.

    Parameters
    ----------
    node : yaml.MappingNode
        The content; not changed.
    setting : str
        ``key=value``; the key may be a path of keys and positions of lists, joined by dots.

    Raises
    ------
    InputError
        Naming the override and the rule.
    """
    key, equals, text = setting.partition("=")
    name = f"--set {setting!r}"
    if not equals or not re.fullmatch(r"[^\s.]+(\.[^\s.]+)*", key):
        raise InputError(f"{name}: expected key=value, key.key=value or key.0.key=value")
    if key.partition(".")[0] == "include":
        raise InputError(f"{name}: files are included by the file itself, not by an override")
    try:
        value = compose(text, name) or cast("yaml.Node", compose("null", name))
        tidy(value)
        yaml.SafeLoader("").construct_document(value)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"{name}: the value is not valid YAML") from None
    result = _set(node, key.split("."), _literal(value), name, ())
    return cast("yaml.MappingNode", result)


def _literal(node: yaml.Node) -> yaml.Node:
    """Return a node whose text stands for itself: the shell has replaced its variables."""
    if isinstance(node, yaml.MappingNode):
        return mapping([(key, _literal(one)) for key, one in node.value], node)
    if isinstance(node, yaml.SequenceNode):
        values = [_literal(one) for one in node.value]
        return yaml.SequenceNode(node.tag, values, node.start_mark, node.end_mark)
    text = escaped(node.value) if node.tag == TEXT else node.value
    return yaml.ScalarNode(node.tag, text, node.start_mark, node.end_mark, node.style)


def _set(
    node: yaml.Node | None, keys: list[str], value: yaml.Node, name: str, path: tuple[str, ...]
) -> yaml.Node:
    """Return a node in which what `keys` lead to is `value`."""
    if not keys:
        return value
    shown = ".".join(path)
    if isinstance(node, yaml.SequenceNode):
        place = _position(node, keys[0], name, shown)
        values = list(node.value)
        values[place] = _set(values[place], keys[1:], value, name, (*path, keys[0]))
        return yaml.SequenceNode(node.tag, values, node.start_mark, node.end_mark)
    entry = len(path) == 2 and path[0] in _ENTRY_LISTS
    if entry and isinstance(node, yaml.ScalarNode) and node.tag == TEXT:  # a name alone
        nothing = yaml.ScalarNode(NULL, "null", node.start_mark, node.end_mark)
        node = mapping([(node, nothing)], node)
    if node is None or node.tag == NULL:
        node = mapping([], value)
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{name}: {shown!r} holds no keys of its own")
    names = [str(key.value) for key, _ in node.value]
    # A key may hold dots itself: the longest one that is there counts.
    lengths = range(len(keys), 0, -1)
    length = next((n for n in lengths if ".".join(keys[:n]) in names), 1)
    head, rest = ".".join(keys[:length]), keys[length:]
    if entry and head not in names:
        raise InputError(f"{name}: {unknown_name(f'name of {shown}', head, names)}")
    pairs = {str(key.value): (key, one) for key, one in node.value}
    key, old = pairs.get(head, (None, None))
    if key is None or not rest:
        key = yaml.ScalarNode(TEXT, head, value.start_mark, value.end_mark)
    pairs[head] = (key, _set(old, rest, value, name, (*path, head)))
    return mapping([*pairs.values()], node)


def _position(node: yaml.SequenceNode, key: str, name: str, shown: str) -> int:
    count = len(node.value)
    if key.isdecimal() and key.isascii() and int(key) < count:
        return int(key)
    if not count:
        raise InputError(f"{name}: {shown!r} is an empty list: set the whole list")
    entries = ", ".join(f"{place} ({_called(one)})" for place, one in enumerate(node.value))
    raise InputError(f"{name}: {shown!r} is a list, so name one of its positions: {entries}")


def _called(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode) and node.value:
        return str(node.value[0][0].value)
    return str(node.value) if isinstance(node, yaml.ScalarNode) else "..."
