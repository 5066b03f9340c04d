"""The files of indexes/, datasets/ and experiments/, and what is refused in one of a user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval_eval import Store, Sweep
from retrieval_eval.catalogue import catalogue_file, catalogue_names
from retrieval_eval.datasets import dataset_source
from retrieval_eval.errors import InputError
from retrieval_eval.indexes import INDEXES
from retrieval_eval.sweep import load_sweep, make_plan


def plan_for(index: str, folder: Path) -> None:
    sweep = Sweep(name="s", datasets=["stdlib"], encoders=[{"lsa": {"dim": 8}}], indexes=[index])
    make_plan(sweep, Store(folder), skip_unavailable=True)


def test_every_backend_has_a_specification_of_its_name() -> None:
    names = [name for name in catalogue_names("indexes") if not name.endswith("-defaults")]
    assert names == sorted(INDEXES.targets)


@pytest.mark.parametrize("name", catalogue_names("datasets"))
def test_every_card_names_a_source(name: str) -> None:
    assert dataset_source(name).label == name


@pytest.mark.parametrize("name", catalogue_names("experiments"))
def test_every_experiment_is_a_sweep_that_can_be_named(name: str) -> None:
    assert load_sweep(name).name == name
    assert catalogue_file("experiments", name) is not None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("backend: flat\nparamters: {}\n", "unknown key 'paramters'. Did you mean 'parameters'"),
        ("parameters: {}\n", "the key 'backend' must be there"),
        ("backend: 7\n", "the key 'backend' must be there"),
        ("backend: flat\nsearch: [1]\n", "'search' must hold keys of its own"),
        ("- flat\n", "expected a mapping"),
        ("backend: [\n", "not valid YAML"),
    ],
)
def test_a_specification_of_ones_own_is_read_strictly(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        plan_for(str(path), tmp_path / "cache")
    assert str(caught.value).startswith(f"{path}: ")
    assert rule in str(caught.value)
