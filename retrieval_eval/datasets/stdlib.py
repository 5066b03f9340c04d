"""Known-item code search over the standard library of the running interpreter.

In the manner of CodeSearchNet (Husain et al. 2019): a document is a function's source without its
docstrings, a query is the first sentence of a docstring, and relevant is every function whose
docstring begins with that sentence. As there, docstrings of fewer than three words and special
methods (``__str__`` and the like) are left out.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from retrieval_eval.datasets.base import Dataset, DatasetSource
from retrieval_eval.datasets.beir import BeirFolder
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store, fold_digests

__all__ = ["StdlibCodeSearch"]

_RECIPE = 3
"""Raised whenever the rules below change, so that no cached corpus outlives them."""

# Tests are not library code, and the rest is split off, or moved between versions, by some
# distributions of Python: without them the corpus is the same wherever the version is.
_LEFT_OUT = frozenset(
    {
        *("__pycache__", "site-packages", "dist-packages"),
        *("test", "tests", "idle_test"),
        *("distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"),
    }
)
_MIN_WORDS = 3
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class StdlibCodeSearch(DatasetSource):
    """Functions of the standard library, searched by the first sentence of their docstrings.

    Built when first asked for, in some seconds, and kept in the store. The same interpreter always
    gives the same collection; another version of Python gives another one, so the manifest records
    version and checksum.
    """

    name: ClassVar[str] = "stdlib"

    def load(self, name: str, store: Store) -> Dataset:
        """Build the collection, or read it from the store."""
        sources = _sources(Path(sysconfig.get_path("stdlib")))
        interpreter = f"{platform.python_implementation()} {platform.python_version()}"
        fields = {
            "recipe": _RECIPE,
            "interpreter": interpreter,
            "sources": fold_digests(part for pair in sources.items() for part in pair),
        }
        made = store.get_or_make("datasets", fields, lambda folder: _write(sources, folder))
        found = BeirFolder(path=str(made.folder)).load(name, store)
        return replace(found, facts={"interpreter": interpreter, **made.meta["counts"]})


def _sources(root: Path) -> dict[str, bytes]:
    """Read every module, by its path relative to the library's root, in order of that path."""
    found = {}
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in _LEFT_OUT]  # not walked into at all
        for name in names:
            if name.endswith(".py"):
                path = Path(folder, name)
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    if not found:
        raise InputError(
            f"dataset 'stdlib': {root} holds no Python source; this interpreter ships its "
            "standard library without it: use another interpreter or another dataset"
        )
    return dict(sorted(found.items()))


def _write(sources: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    """Write the collection in BEIR's layout."""
    documents: dict[str, str] = {}
    answers: dict[str, list[str]] = {}
    unreadable = 0
    for path, data in sources.items():
        try:
            functions = list(_functions(path, data))
        except (SyntaxError, ValueError):  # templates and samples for other versions
            unreadable += 1
            continue
        for qualified, source, docstring in functions:
            sentence = _first_sentence(docstring)
            if len(re.findall(r"\w+", sentence)) < _MIN_WORDS:
                continue
            key, copies = qualified, 1
            while key in documents:  # a property's setter, a fallback definition
                copies += 1
                key = f"{qualified}~{copies}"
            documents[key] = source
            answers.setdefault(sentence, []).append(key)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as stream:
        for key, source in documents.items():
            package = {"package": key.partition(".")[0]}
            stream.write(json.dumps({"_id": key, "text": source, "metadata": package}) + "\n")
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as stream:
        for number, sentence in enumerate(answers, start=1):
            stream.write(json.dumps({"_id": f"q{number}", "text": sentence}) + "\n")
    (folder / "qrels").mkdir()
    with (folder / "qrels" / "test.tsv").open("w", encoding="utf-8") as stream:
        stream.write("query-id\tcorpus-id\tscore\n")
        for number, keys in enumerate(answers.values(), start=1):
            stream.writelines(f"q{number}\t{key}\t1\n" for key in keys)
    return {"counts": {"modules": len(sources), "modules_unreadable": unreadable}}


def _functions(path: str, data: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield (qualified name, source without docstrings, docstring) of a module's functions."""
    tree = ast.parse(data)
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    # Columns of syntax trees count UTF-8 bytes; the source may be in another encoding.
    encoding = _encoding(data)
    lines = data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n").encode().split(b"\n")

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, str, str]]:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, _Function | ast.ClassDef):
                inner = f"{prefix}.{child.name}"
            if isinstance(child, _Function):
                docstring = ast.get_docstring(child)
                special = child.name.startswith("__") and child.name.endswith("__")
                if docstring and not special:
                    yield inner, _without_docstrings(child, lines), docstring
            yield from walk(child, inner)

    yield from walk(tree, module)


def _encoding(data: bytes) -> str:
    import io
    import tokenize

    return tokenize.detect_encoding(io.BytesIO(data).readline)[0]


def _without_docstrings(function: _Function, lines: list[bytes]) -> str:
    """Cut the docstrings of a function, and of what is defined inside it, out of its source."""
    start, end = function.lineno - 1, function.end_lineno or function.lineno
    kept: list[bytes | None] = list(lines[start:end])
    indentation = lines[start][: function.col_offset]
    inside_strings: set[int] = set()  # there, white space is content
    for node in ast.walk(function):
        first, last = _rows(node, start)
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            inside_strings.update(range(first + 1, last + 1))
        if not isinstance(node, _Function | ast.ClassDef) or ast.get_docstring(node) is None:
            continue
        literal = node.body[0]
        first, last = _rows(literal, start)
        head = lines[start + first][: literal.col_offset]
        tail = lines[start + last][literal.end_col_offset :].lstrip(b"; ")
        while last + 1 < len(kept) and not lines[start + last + 1].strip():
            last += 1  # a blank line set the docstring off
        kept[first : last + 1] = [None] * (last + 1 - first)
        if (head + tail).strip():
            kept[first] = head + tail
    text = b"\n".join(
        line if row in inside_strings else line.removeprefix(indentation)
        for row, line in enumerate(kept)
        if line is not None
    )
    return text.decode("utf-8", "replace")


def _rows(node: ast.AST, start: int) -> tuple[int, int]:
    """Return first and last line of a node, counted from line `start`."""
    first = getattr(node, "lineno", start + 1) - 1 - start
    return first, (getattr(node, "end_lineno", None) or first + 1 + start) - 1 - start


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    return _SENTENCE_END.split(paragraph, maxsplit=1)[0]
