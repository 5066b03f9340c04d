"""Reading a sweep file: includes, environment variables, overrides, and where a value stands."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from retrieval_eval.errors import InputError
from retrieval_eval.sweep.nodes import TEXT, compose, is_setting, mapping, merge, place_of, tidy
from retrieval_eval.sweep.overrides import override

__all__ = ["Document", "read_document"]

_VARIABLE = re.compile(r"\$\$|\$\{(?P<body>[^{}]*)(?P<end>\}?)")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Document:
    """The content of a sweep file, all included files and overrides merged.

    Parameters
    ----------
    path : Path
        The file.
    settings : tuple of str
        The overrides.
    node : yaml.MappingNode
        The merged content; every node knows the file and the line, or the override, it is from.
    """

    path: Path
    settings: tuple[str, ...]
    node: yaml.MappingNode

    def values(self) -> dict[str, Any]:
        """Return the content as plain values.

        Raises
        ------
        InputError
            For a tag that stands for no plain value, or a key that is no text.
        """
        for key, _ in self.node.value:
            if key.tag != TEXT:
                raise InputError(f"{place_of(key.start_mark)}: the key {key.value} must be text")
        try:
            return cast("dict[str, Any]", yaml.SafeLoader("").construct_document(self.node))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = place_of(mark) if mark else str(self.path)
            raise InputError(f"{where}: not valid YAML: {error.problem}") from None
        except ValueError as error:  # a date that is none
            raise InputError(f"{self.path}: not valid YAML: {error}") from None

    def where(self, location: Sequence[int | str]) -> str:
        """Say where a value stands: ``FILE:LINE``, or the override that gives it.

        Parameters
        ----------
        location : sequence of str or int
            Keys and positions that lead to the value. The deepest one that is there counts; the
            last ones may leave out keys between them.
        """
        node: yaml.Node = self.node
        mark = None
        for part in location:
            step = _step(node, part) or _step_below(node, part)
            if step is None:
                break
            mark, node = step
        if mark is None:
            place = f"{self.path}:1"
        elif is_setting(mark):
            return str(mark.name)
        else:
            place = place_of(mark)
        if not self.settings:
            return place
        # Two keys may contradict each other, and only one of them is located.
        return f"{place} (with {', '.join(f'--set {one!r}' for one in self.settings)})"


def read_document(path: Path, settings: Sequence[str] = ()) -> Document:
    """Read a sweep file with the files that it includes, and apply overrides.

    Parameters
    ----------
    path : Path
        A YAML file. Its key ``include`` names others, relative to its own folder: mappings are
        merged, later ones win, and the file itself wins over all. ``${NAME}`` and
        ``${NAME:-default}`` in text are replaced by environment variables; ``$$`` is a dollar
        sign.
    settings : sequence of str
        Overrides, each ``key=value`` or ``key.0.key=value``; values are read as YAML, and no
        variables are replaced in them.

    Raises
    ------
    InputError
        Naming file and line, or the override, and the rule.
    """
    node = _read(path, ())
    for setting in settings:
        node = override(node, setting)
    return Document(path, tuple(settings), cast("yaml.MappingNode", _interpolated(node, {})))


# -- files ------------------------------------------------------------------------------------


def _read(path: Path, readers: tuple[Path, ...]) -> yaml.MappingNode:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    try:
        node = compose(text, str(path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = place_of(mark) if mark else f"{path}:?"
        raise InputError(f"{where}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(f"{path}: not valid YAML: nested too deeply") from None
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}: a sweep file must hold a mapping of keys to values")
    tidy(node)
    return _with_includes(path, node, (*readers, path))


def _with_includes(
    path: Path, node: yaml.MappingNode, readers: tuple[Path, ...]
) -> yaml.MappingNode:
    include = next((pair for pair in node.value if pair[0].value == "include"), None)
    if include is None:
        return node
    own = mapping([pair for pair in node.value if pair is not include], node)
    asked = include[1].value if isinstance(include[1], yaml.SequenceNode) else [include[1]]
    merged: yaml.MappingNode | None = None
    for one in asked:
        where = place_of(one.start_mark)
        if one.tag != TEXT or not one.value:
            raise InputError(f"{where}: include must name a file, or a list of files")
        if "$" in one.value:
            raise InputError(
                f"{where}: include: {one.value}: no variables are replaced here: write the path"
            )
        found = path.parent / one.value
        if not found.is_file():
            raise InputError(f"{where}: include: {one.value}: there is no such file as {found}")
        known = [reader for reader in readers if reader.samefile(found)]
        if known:
            chain = " includes ".join(str(reader) for reader in (*readers, found))
            raise InputError(f"{where}: include: files include each other: {chain}")
        other = _read(found, readers)
        merged = other if merged is None else merge(merged, other)
    return own if merged is None else merge(merged, own)


# -- environment variables --------------------------------------------------------------------


def _interpolated(node: yaml.Node, done: dict[int, yaml.Node]) -> yaml.Node:
    """Return a node with variables replaced in values that are text; an alias stays one."""
    if id(node) in done:
        return done[id(node)]
    result = node
    if isinstance(node, yaml.MappingNode):
        result = mapping([(key, _interpolated(one, done)) for key, one in node.value], node)
    elif isinstance(node, yaml.SequenceNode):
        values = [_interpolated(one, done) for one in node.value]
        result = yaml.SequenceNode(node.tag, values, node.start_mark, node.end_mark)
    elif node.tag == TEXT and "$" in node.value:
        text = _VARIABLE.sub(lambda match: _variable(match, node), node.value)
        result = yaml.ScalarNode(node.tag, text, node.start_mark, node.end_mark, node.style)
    done[id(node)] = result
    return result


def _variable(match: re.Match[str], node: yaml.Node) -> str:
    if match[0] == "$$":
        return "$"
    where = place_of(node.start_mark)
    form = _NAME.fullmatch(match["body"])
    if form is None or not match["end"]:
        raise InputError(
            f"{where}: {node.value!r}: write ${{NAME}} or ${{NAME:-default}} for an environment "
            "variable, and $$ for a dollar sign"
        )
    value = os.environ.get(form["name"])
    default: str | None = form["default"]
    if default is not None:
        return value or default
    if value is None:
        raise InputError(
            f"{where}: the environment variable {form['name']!r} is not set: set it, or write "
            f"${{{form['name']}:-default}}"
        )
    return value


# -- where a value stands ---------------------------------------------------------------------


def _step(node: yaml.Node, part: int | str) -> tuple[yaml.Mark, yaml.Node] | None:
    """Return what a key or a position leads to, and the mark to show for it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark, node.value[part]
    return None


def _step_below(node: yaml.Node, part: int | str) -> tuple[yaml.Mark, yaml.Node] | None:
    """Look for a key at any depth, the nearest one first."""
    level = list(_children(node)) if isinstance(part, str) else []
    while level:
        for one in level:
            found = _step(one, part)
            if found is not None:
                return found
        level = [child for one in level for child in _children(one)]
    return None


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (value for _, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
