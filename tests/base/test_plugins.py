"""Plug-ins are found by name or as "module:Class", and nothing else is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval_eval.datasets import DATASETS
from retrieval_eval.encoders import ENCODERS
from retrieval_eval.errors import InputError, MissingExtraError
from retrieval_eval.indexes import INDEXES
from retrieval_eval.indexes.flat import FlatIndex
from retrieval_eval.plugins import PluginTable, missing_library, require


class Base:
    """What the entries of the table below derive from."""


class Good(Base):
    """A right entry."""


class Wrong:
    """Not an entry."""


TABLE: PluginTable[Base] = PluginTable(
    kind="thing",
    group="retrieval_eval.no_such_group",
    base=Base,
    targets={
        "alpha": "a_module_that_is_not_there:Alpha",
        "beta": "json:no_such_class",
        "decoder": "json:JSONDecoder",
    },
)


def test_a_name_loads_its_class() -> None:
    assert INDEXES.load("flat") is FlatIndex


@pytest.mark.parametrize("table", [DATASETS, ENCODERS, INDEXES])
def test_every_name_of_the_package_loads_a_class_that_carries_it(
    table: PluginTable[object],
) -> None:
    for name in table.targets:
        loaded = table.load(name)
        assert issubclass(loaded, table.base)
        assert loaded.name == name  # type: ignore[attr-defined]


def test_names_are_sorted() -> None:
    assert TABLE.names() == ["alpha", "beta", "decoder"]
    assert INDEXES.names() == sorted(INDEXES.names())


def test_an_unknown_name_suggests_the_nearest_and_lists_the_others() -> None:
    with pytest.raises(InputError) as caught:
        TABLE.load("alpah", where="sweep.yaml: indexes[0]")
    assert str(caught.value) == (
        "sweep.yaml: indexes[0]: unknown thing 'alpah'. Did you mean 'alpha'? "
        "Available: alpha, beta, decoder"
    )


def test_a_name_far_from_all_gets_no_suggestion() -> None:
    with pytest.raises(InputError) as caught:
        TABLE.load("zzz")
    assert str(caught.value) == "unknown thing 'zzz'. Available: alpha, beta, decoder"


def test_a_module_and_class_of_ones_own_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_plugin.py").write_text(
        "from retrieval_eval.indexes.flat import FlatIndex\n"
        "class Mine(FlatIndex):\n    '''Mine.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = INDEXES.load("my_own_plugin:Mine")
    assert loaded.__name__ == "Mine"
    assert issubclass(loaded, FlatIndex)


@pytest.mark.parametrize("name", ["decoder", "json:JSONDecoder", "json:loads", "math:pi"])
def test_what_is_no_subclass_of_the_base_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"thing '{name}' must be a subclass of Base, got "):
        TABLE.load(name)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(InputError) as caught:
        TABLE.load("alpha", where="here")
    message = str(caught.value)
    assert message.startswith("here: thing 'alpha' cannot be imported: ")
    assert "a_module_that_is_not_there" in message
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_class_is_named() -> None:
    with pytest.raises(InputError, match=r"thing 'beta' cannot be imported: .*no_such_class"):
        TABLE.load("beta")


@pytest.mark.parametrize("name", [":Class", "json:", ":", "json:a:b", "./mine.py:Mine", "..a:B"])
def test_a_malformed_target_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match="cannot be imported"):
        TABLE.load(name)


def test_an_entry_point_of_another_distribution_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "other_thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-thing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[retrieval_eval.indexes]\nother = module_of_other_thing:Other\n"
    )
    (tmp_path / "module_of_other_thing.py").write_text(
        "from retrieval_eval.indexes.flat import FlatIndex\n"
        "class Other(FlatIndex):\n    '''Other.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "other" in INDEXES.names()
    assert "module_of_other_thing" not in sys.modules
    assert INDEXES.load("other").__name__ == "Other"


def test_a_name_of_the_package_goes_before_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "taking_over-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: taking-over\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[retrieval_eval.indexes]\nflat = json:JSONDecoder\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert INDEXES.load("flat") is FlatIndex
    assert INDEXES.names().count("flat") == 1


LISTS_NAMES = """
import json, sys
from retrieval_eval.datasets import DATASETS
from retrieval_eval.encoders import ENCODERS
from retrieval_eval.indexes import INDEXES
names = [table.names() for table in (DATASETS, ENCODERS, INDEXES)]
print(json.dumps([names, sorted(sys.modules)]))
"""


def test_listing_names_imports_no_plugin_and_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTS_NAMES], check=True, capture_output=True, text=True
    )
    names, modules = json.loads(done.stdout)
    assert all(names)
    heavy = {"faiss", "hnswlib", "sentence_transformers", "sklearn", "torch", "wordllama"}
    assert heavy.isdisjoint(modules)
    targets = (*DATASETS.targets.values(), *ENCODERS.targets.values(), *INDEXES.targets.values())
    plugins = {target.partition(":")[0] for target in targets}
    assert plugins.isdisjoint(modules)


# optional libraries


def test_a_library_that_is_installed_is_not_missing() -> None:
    assert missing_library({"json": "x", "numpy": "y"}) is None
    assert missing_library({}) is None
    require("index 'toy'", {"json": "x"})


def test_the_first_missing_library_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("index 'toy'", {"json": "a", "no_such_lib": "toys", "nor_this": "c"})
    error = caught.value
    assert (error.what, error.module, error.extra) == ("index 'toy'", "no_such_lib", "toys")
    assert str(error) == (
        "index 'toy' needs the library 'no_such_lib', which is not installed: "
        "pip install 'ann-retrieval-eval[toys]'"
    )


def test_every_extra_that_a_plugin_asks_for_is_one_of_the_distribution() -> None:
    from importlib.metadata import metadata

    extras = set(metadata("ann-retrieval-eval").get_all("Provides-Extra") or ())
    asked = {
        extra
        for table in (DATASETS, ENCODERS, INDEXES)
        for name in table.targets
        for extra in table.load(name).requires.values()
    }
    assert asked
    assert asked <= extras
