"""A class of the user's own has no version: its code is part of the keys."""

from __future__ import annotations

import linecache

from retrieval_eval.indexes.flat import FlatIndex
from retrieval_eval.plugins import own_code


def typed(text: str, name: str | None) -> type:
    """Return the class that a text defines, as a console (no name) or a notebook runs it."""
    source = f"from retrieval_eval.indexes.flat import FlatIndex\n{text}"
    if name is not None:  # what IPython does
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space: dict[str, type] = {"__name__": "a_console"}
    exec(compile(source, name or "<stdin>", "exec"), space)  # noqa: S102 (the text is ours)
    return space["Mine"]


def test_ours_have_no_key() -> None:
    assert own_code(FlatIndex) is None


def test_a_class_typed_into_a_console_is_never_taken_for_another() -> None:
    one, other = (typed("class Mine(FlatIndex):\n    pass", None) for _ in range(2))
    assert own_code(one) == own_code(one)
    assert own_code(one) != own_code(other)
    assert own_code(one, FlatIndex) == own_code(one)
