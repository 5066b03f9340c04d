"""Code search over the standard library: the documents hold no trace of the queries."""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval_eval.datasets import Dataset, load_dataset
from retrieval_eval.datasets.stdlib import _first_sentence, _functions, _sources, _write
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef


# the whole collection


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def stdlib(store: Store) -> Dataset:
    return load_dataset("stdlib", store=store)


@pytest.fixture(scope="module")
def documented() -> dict[str, list[Function]]:
    """Find all documented functions of the library by qualified name, by another way."""
    found: dict[str, list[Function]] = {}

    class Visitor(ast.NodeVisitor):
        def __init__(self, module: str) -> None:
            self.names = [module]

        def visit_ClassDef(self, node: ast.ClassDef) -> None:
            self.names.append(node.name)
            self.generic_visit(node)
            self.names.pop()

        def visit_FunctionDef(self, node: Function) -> None:
            self.names.append(node.name)
            if ast.get_docstring(node):
                found.setdefault(".".join(self.names), []).append(node)
            self.generic_visit(node)
            self.names.pop()

        visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 (the name that ast looks for)

    for path, data in _sources(Path(sysconfig.get_path("stdlib"))).items():
        names = path.removesuffix(".py").split("/")
        module = ".".join(names[:-1] if names[-1] == "__init__" and len(names) > 1 else names)
        Visitor(module).visit(ast.parse(data))
    return found


def without_copy_number(document_id: str) -> str:
    return document_id.partition("~")[0]


def sentence_of(node: Documented) -> str:
    return _first_sentence(ast.get_docstring(node) or "")


def documented_nodes(tree: ast.AST) -> Iterator[Documented]:
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node) is not None:
            yield node


def test_the_collection_has_about_the_size_that_its_card_gives(stdlib: Dataset) -> None:
    assert len(stdlib.documents) > 2_000
    if sys.version_info[:2] == (3, 11):
        assert 4_000 <= len(stdlib.documents) <= 5_500
    assert 0.8 * len(stdlib.documents) < len(stdlib.queries) < len(stdlib.documents)
    assert len(stdlib.qrels) == len(stdlib.documents)
    assert set(stdlib.qrels.grade.tolist()) == {1}


def test_the_facts_name_the_interpreter_and_what_was_read(stdlib: Dataset) -> None:
    assert stdlib.facts["interpreter"] == (
        f"{platform.python_implementation()} {platform.python_version()}"
    )
    assert stdlib.facts["modules"] > 400
    assert 0 <= stdlib.facts["modules_unreadable"] < 10


def test_ids_are_unique_and_without_white_space(stdlib: Dataset) -> None:
    for ids in (stdlib.document_ids, stdlib.query_ids):
        assert len(set(ids)) == len(ids)
        assert all(len(i.split()) == 1 for i in ids)
        assert not any(i.startswith("#") for i in ids)


def test_there_are_no_special_methods_and_no_tests_of_the_library(stdlib: Dataset) -> None:
    parts = [without_copy_number(i).split(".") for i in stdlib.document_ids]
    assert not [i for i in parts if i[-1].startswith("__") and i[-1].endswith("__")]
    assert not [i for i in parts if i[0] in ("test", "idlelib", "tkinter", "site-packages")]
    assert any(i[:2] == ["json", "dumps"] for i in parts)


def test_every_document_is_a_documented_function_and_none_is_left_out(
    stdlib: Dataset, documented: dict[str, list[Function]]
) -> None:
    expected: Counter[str] = Counter()
    for name, nodes in documented.items():
        for node in nodes:
            special = node.name.startswith("__") and node.name.endswith("__")
            words = re.findall(r"\w+", sentence_of(node))
            if len(words) >= 3 and not special:
                expected[name] += 1
    found = Counter(map(without_copy_number, stdlib.document_ids))
    assert found == expected


def test_relevant_are_exactly_the_functions_whose_docstrings_begin_with_the_query(
    stdlib: Dataset, documented: dict[str, list[Function]]
) -> None:
    sentences = {name: {sentence_of(node) for node in nodes} for name, nodes in documented.items()}
    texts = dict(zip(stdlib.query_ids, stdlib.queries, strict=True))
    assert len(set(texts.values())) == len(texts)
    answered: list[str] = []
    for query_id, judged in stdlib.qrels.mapping.items():
        for document_id in judged:
            assert texts[query_id] in sentences[without_copy_number(document_id)]
            answered.append(document_id)
    # Every document answers one query, and no two queries are the same sentence; so none whose
    # docstring begins with a query's sentence is missing among its answers.
    assert sorted(answered) == sorted(stdlib.document_ids)


def test_no_document_holds_a_docstring(stdlib: Dataset) -> None:
    parsed = 0
    for document_id, text in zip(stdlib.document_ids, stdlib.documents, strict=True):
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        parsed += 1
        assert not list(documented_nodes(tree)), document_id
    assert parsed > 0.95 * len(stdlib.documents)


def test_a_document_that_does_not_parse_is_one_in_which_a_body_held_its_docstring_alone(
    stdlib: Dataset, documented: dict[str, list[Function]]
) -> None:
    odd = []
    for document_id, text in zip(stdlib.document_ids, stdlib.documents, strict=True):
        try:
            ast.parse(text)
        except SyntaxError:
            nodes = documented[without_copy_number(document_id)]
            inside = [inner for node in nodes for inner in documented_nodes(node)]
            if all(len(inner.body) > 1 for inner in inside):
                odd.append(document_id)
            one_line = " ".join(text.split())
            assert not [s for s in map(sentence_of, inside) if " " in s and s in one_line]
    assert odd == []


def test_nothing_but_docstrings_and_decorators_is_cut_from_a_function(
    stdlib: Dataset, documented: dict[str, list[Function]]
) -> None:
    originals: dict[str, set[str]] = {}
    for name, nodes in documented.items():
        for node in nodes:
            tree = ast.parse(ast.unparse(node)).body[0]
            for inner in list(documented_nodes(tree)):
                del inner.body[0]
            tree.decorator_list = []  # type: ignore[attr-defined]
            originals.setdefault(name, set()).add(ast.dump(tree))
    changed = []
    for document_id, text in zip(stdlib.document_ids, stdlib.documents, strict=True):
        try:
            tree = ast.parse(text).body[0]
        except SyntaxError:  # the test before this one is about those
            continue
        if ast.dump(tree) not in originals[without_copy_number(document_id)]:
            changed.append(document_id)
    assert changed == []


BUILD = """
import json, sys
from pathlib import Path
from retrieval_eval.datasets import load_dataset
from retrieval_eval.store import Store
print(json.dumps(load_dataset("stdlib", store=Store(Path(sys.argv[1]))).summary()))
"""


def test_building_again_in_another_process_gives_the_same_collection(
    stdlib: Dataset, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "LC_ALL": "C", "PYTHONUTF8": "0"},
    )
    assert json.loads(done.stdout) == stdlib.summary()


def test_the_second_load_comes_from_the_store(
    stdlib: Dataset, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise AssertionError("it was built again")

    monkeypatch.setattr("retrieval_eval.datasets.stdlib._write", build)
    assert load_dataset("stdlib", store=store).summary() == stdlib.summary()
    assert len(list((store.root / "datasets").iterdir())) == 1


# one function at a time


def documents(source: str | bytes, path: str = "pkg/mod.py") -> list[tuple[str, str, str]]:
    return list(_functions(path, source if isinstance(source, bytes) else source.encode()))


def only(source: str | bytes) -> tuple[str, str]:
    """Give text and docstring of the only function, after checking that the text is Python."""
    ((_, text, docstring),) = documents(source)
    assert not list(documented_nodes(ast.parse(text)))
    return text, docstring


def test_a_docstring_is_cut_and_the_rest_is_kept() -> None:
    source = 'def f(x):\n    """One two three.\n\n    More of it.\n    """\n    return x\n'
    assert only(source) == ("def f(x):\n    return x", "One two three.\n\nMore of it.")


def test_a_function_of_one_line_keeps_what_follows_its_docstring() -> None:
    assert only('def f(): "doc string here"; return 1\n') == (
        "def f(): return 1",
        "doc string here",
    )


def test_windows_line_ends_do_not_shift_anything() -> None:
    source = b'X = 1\r\ndef f():\r\n    """One two\r\n    three."""\r\n    return 1\r\n'
    text, docstring = only(source)
    assert text == "def f():\n    return 1"
    assert docstring == "One two\nthree."


def test_old_mac_line_ends_do_not_stop_the_collection(tmp_path: Path) -> None:
    source = b'def f():\r    """One two three."""\r    return 1\r'
    assert ast.parse(source).body
    counts = _write({"mod.py": source, "other.py": b""}, tmp_path)
    assert counts["counts"]["modules"] == 2


def test_a_source_in_another_encoding_is_cut_in_the_right_place() -> None:
    source = ('# -*- coding: latin-1 -*-\ndef f(x="éàü"): "ßörtß doc string"; return "é"\n').encode(
        "latin-1"
    )
    assert only(source) == ('def f(x="éàü"): return "é"', "ßörtß doc string")


def test_characters_of_several_bytes_before_a_docstring_do_not_shift_the_cut() -> None:
    source = 'def f(x="文書😀"): "doc é string"; return "文"\n'
    assert only(source) == ('def f(x="文書😀"): return "文"', "doc é string")


def test_a_byte_order_mark_does_not_shift_the_cut() -> None:
    source = b'\xef\xbb\xbfdef f(): "doc string here"; return 1\n'
    assert only(source) == ("def f(): return 1", "doc string here")


def test_asynchronous_functions_count() -> None:
    text, _ = only('async def f():\n    """One two three."""\n    await g()\n')
    assert text == "async def f():\n    await g()"


def test_decorators_do_not_shift_the_cut() -> None:
    source = '@first\n@second(\n    1,\n)\ndef f():\n    """One two three."""\n    return 1\n'
    assert only(source)[0].endswith("def f():\n    return 1")


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ("; x = 1; return x", "x = 1; return x"),
        (" ;  x = 1;", "x = 1;"),
        (";\n    return 1", "return 1"),
        ("  # a note\n    return 1", "return 1"),
        (";  # a note\n    return 1", "return 1"),
    ],
)
def test_what_stands_behind_a_docstring_in_its_line_is_kept(after: str, kept: str) -> None:
    text, _ = only(f'def f():\n    """One two\n    three."""{after}\n')
    assert kept in text
    assert "three" not in text


@pytest.mark.parametrize(
    "docstring",
    [
        "'One two three.'",
        'r"""One two three."""',
        'u"One two three."',
        '("One two "\n     "three.")',
        '"One two " \\\n    "three."',
        '"""One two three.\n\n    Say \\"\\"\\"x\\"\\"\\".\n    """',
        '"""One two three.\n\nNot indented.\n"""',
        '"""One two three.\n\n    \x0c\n    """',
    ],
)
def test_every_way_to_write_a_docstring_is_cut(docstring: str) -> None:
    text, found = only(f"def f():\n    {docstring}\n    return 1\n")
    assert text == "def f():\n    return 1"
    assert _first_sentence(found) == "One two three."


def test_strings_that_are_no_docstrings_are_kept() -> None:
    source = 'def f():\n    """One two three."""\n    x = "kept"\n    "kept too"\n    f"{x}"\n'
    ((_, text, _),) = documents(source)
    assert text.count("kept") == 2
    assert documents('def f():\n    f"One {two} three."\n') == []
    assert documents('def f():\n    b"One two three."\n') == []
    assert documents('def f():\n    x = 1\n    """One two three."""\n') == []


def test_a_body_that_was_its_docstring_alone_leaves_the_signature() -> None:
    ((_, text, _),) = documents('def f(a, b=2):\n    """One two three."""\n')
    assert text == "def f(a, b=2):"
    ((_, text, _),) = documents('def f(a): "One two three."\n')
    assert text.strip() == "def f(a):"


NESTED = '''
class Outer:
    """Class docstring of Outer."""

    def method(self):
        """Docstring of the method."""
        class Inner:
            """Docstring of Inner class."""

            def deep(self):
                """Docstring of deep function."""
                return 1

            async def quiet(self):
                return 2

        def helper():
            "Docstring of helper function."; return 3

        return Inner, helper
'''


def test_functions_are_found_at_any_depth_and_named_by_where_they_stand() -> None:
    names = [name for name, _, _ in documents(NESTED)]
    assert names == [
        "pkg.mod.Outer.method",
        "pkg.mod.Outer.method.Inner.deep",
        "pkg.mod.Outer.method.helper",
    ]


def test_the_docstrings_of_what_is_defined_inside_a_function_are_cut_too() -> None:
    for _, text, _ in documents(NESTED):
        assert "ocstring" not in text
        assert not list(documented_nodes(ast.parse(text)))
    outermost = documents(NESTED)[0][1]
    assert outermost.startswith("def method(self):\n    class Inner:\n        def deep(self):")
    assert "def helper():\n        return 3" in outermost


def test_functions_inside_conditions_are_found() -> None:
    source = (
        "try:\n    import x\nexcept ImportError:\n    if y:\n"
        '        def f():\n            """One two three."""\n            return 1\n'
    )
    ((name, text, _),) = documents(source)
    assert (name, text) == ("pkg.mod.f", "def f():\n    return 1")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("mod.py", "mod.f"),
        ("pkg/mod.py", "pkg.mod.f"),
        ("pkg/__init__.py", "pkg.f"),
        ("pkg/__main__.py", "pkg.__main__.f"),
    ],
)
def test_a_function_is_named_after_its_module(path: str, name: str) -> None:
    source = b'def f():\n    """One two three."""\n    return 1\n'
    assert [found for found, _, _ in _functions(path, source)] == [name]


def test_special_methods_and_functions_without_docstrings_are_left_out() -> None:
    source = (
        'class A:\n    def __str__(self):\n        """One two three."""\n        return ""\n'
        "    def plain(self):\n        return 1\n"
        '    def _own(self):\n        """One two three."""\n        return 1\n'
        '    def empty(self):\n        ""\n        return 1\n'
    )
    assert [name for name, _, _ in documents(source)] == ["pkg.mod.A._own"]


def test_a_method_whose_string_reaches_the_margin_is_still_python() -> None:
    source = (
        "class A:\n    def f(self):\n"
        '        """One two three."""\n        return """\nat the margin\n"""\n'
    )
    text, _ = only(source)
    assert "at the margin" in text


def test_blank_lines_inside_a_string_are_kept() -> None:
    text, _ = only('def f():\n    """One two three."""\n    return """x\n\ny"""\n')
    assert '"""x\n\ny"""' in text


# sentences and the folder


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return x. And more.", "Return x."),
        ("Return x! And more.", "Return x!"),
        ("Is it x? And more.", "Is it x?"),
        ("Return x", "Return x"),
        ("Return\n   x and\ty. More.", "Return x and y."),
        ("Return x\n\nMore. And more.", "Return x"),
        ("\n\n  Return x.\n\nMore", "Return x."),
        ("Return os.path of x. More.", "Return os.path of x."),
        ("Return x.\nMore.", "Return x."),
    ],
)
def test_the_first_sentence_ends_at_a_full_stop_or_a_blank_line(
    docstring: str, sentence: str
) -> None:
    assert _first_sentence(docstring) == sentence


def function(name: str, docstring: str) -> str:
    return f'def {name}():\n    """{docstring}"""\n    return "{name}"\n\n'


def built(tmp_path: Path, sources: dict[str, str | bytes]) -> tuple[Dataset, dict[str, int]]:
    """Build a collection of given sources, and load it."""
    data = {name: s if isinstance(s, bytes) else s.encode() for name, s in sources.items()}
    counts = _write(data, tmp_path)["counts"]
    return load_dataset("beir", path=str(tmp_path)), counts


def test_functions_that_share_a_sentence_answer_the_same_query(tmp_path: Path) -> None:
    source = (
        function("a", "Return the thing. Fast.")
        + function("b", "Return the other thing.")
        + function("c", "Return the thing. Slow.")
    )
    dataset, _ = built(tmp_path, {"m.py": source, "n.py": function("d", "Return the\n    thing.")})
    texts = dict(zip(dataset.query_ids, dataset.queries, strict=True))
    answers = {texts[q]: set(judged) for q, judged in dataset.qrels.mapping.items()}
    assert answers == {
        "Return the thing.": {"m.a", "m.c", "n.d"},
        "Return the other thing.": {"m.b"},
    }


def test_docstrings_of_fewer_than_three_words_are_left_out(tmp_path: Path) -> None:
    source = function("a", "Two words. But more later.") + function("b", "Three words now.")
    dataset, _ = built(tmp_path, {"m.py": source + function("c", "-- !!! -- ???")})
    assert dataset.document_ids == ("m.b",)


def test_a_function_defined_again_gets_an_id_of_its_own(tmp_path: Path) -> None:
    source = "".join(function("f", f"Return {word} of them.") for word in ("one", "two", "three"))
    dataset, _ = built(tmp_path, {"m.py": source})
    assert dataset.document_ids == ("m.f", "m.f~2", "m.f~3")
    assert list(dataset.queries) == [f"Return {w} of them." for w in ("one", "two", "three")]


def test_modules_that_no_parser_reads_are_counted_and_passed_over(tmp_path: Path) -> None:
    sources: dict[str, str | bytes] = {
        "good.py": function("f", "Return one of them."),
        "template.py": "def $name: pass\n",
        "null.py": b"x = 1\0\n",
        "bytes.py": b"x = '\xff'\n",
        "cookie.py": b"# coding: no-such-encoding\nx = 1\n",
    }
    dataset, counts = built(tmp_path, sources)
    assert dataset.document_ids == ("good.f",)
    assert counts == {"modules": 5, "modules_unreadable": 4}


def test_text_beyond_ascii_comes_back_from_the_folder(tmp_path: Path) -> None:
    source = function("f", "Return ein Stück 文書.").replace('"f"', '"é"')
    dataset, _ = built(tmp_path, {"m.py": source})
    assert list(dataset.queries) == ["Return ein Stück 文書."]
    assert 'return "é"' in dataset.documents[0]


def test_sources_are_read_in_order_and_without_tests_and_installed_packages(
    tmp_path: Path,
) -> None:
    for name in ("b.py", "a/x.py", "a/test/y.py", "site-packages/z.py", "test/t.py", "a/test.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    (tmp_path / "notes.txt").write_text("no source")
    found = _sources(tmp_path)
    assert list(found) == ["a/test.py", "a/x.py", "b.py"]
    assert found["a/x.py"] == b"# a/x.py\n"


def test_an_interpreter_without_sources_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no Python source") as caught:
        _sources(tmp_path)
    assert str(tmp_path) in str(caught.value)
