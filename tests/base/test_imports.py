"""Importing does nothing: heavy libraries load on first use."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

HEAVY = {"torch", "faiss", "sklearn", "altair", "hnswlib", "wordllama", "sentence_transformers"}
HEAVY_FOR_THE_PACKAGE = {*HEAVY, "polars", "scipy.stats", "pydantic"}


def in_a_fresh_process(code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_importing_the_package_loads_nothing_heavy() -> None:
    modules = in_a_fresh_process(
        "import json, sys, retrieval_eval; print(json.dumps(sorted(sys.modules)))"
    )
    assert "retrieval_eval" in modules
    assert HEAVY_FOR_THE_PACKAGE.isdisjoint(modules)


WALK = """
import importlib, json, pkgutil, sys
import retrieval_eval

heavy = set(json.loads(%r))
imported, blamed = [], {}
for found in pkgutil.walk_packages(retrieval_eval.__path__, "retrieval_eval."):
    if found.name.endswith(".__main__"):
        continue
    before = set(sys.modules)
    importlib.import_module(found.name)
    imported.append(found.name)
    new = heavy & (set(sys.modules) - before)
    if new:
        blamed[found.name] = sorted(new)
print(json.dumps([imported, blamed]))
"""


def test_importing_any_module_of_the_package_loads_nothing_heavy() -> None:
    imported, blamed = in_a_fresh_process(WALK % json.dumps(sorted(HEAVY)))
    assert blamed == {}
    assert {
        "retrieval_eval.datasets.stdlib",
        "retrieval_eval.encoders.wordllama",
        "retrieval_eval.indexes.hnsw",
        "retrieval_eval.runs",
        "retrieval_eval.timing",
    } <= set(imported)


CHANGES = """
import json, logging, os, random, signal, sys, threading, warnings
import numpy as np
import polars  # what libraries do is their affair

def state():
    return {
        "environment": dict(os.environ),
        "handlers": [repr(handler) for handler in logging.getLogger().handlers],
        "level": logging.getLogger().level,
        "warnings": [repr(rule) for rule in warnings.filters],
        "path": list(sys.path),
        "threads": threading.active_count(),
        "hooks": [repr(sys.excepthook), repr(sys.displayhook), len(sys.meta_path)],
        "signal": repr(signal.getsignal(signal.SIGINT)),
        "random": repr(random.getstate()),
        "numpy_random": repr(np.random.get_state()),
        "numpy_errors": np.geterr(),
    }

before = state()
import retrieval_eval
for name in %r:
    __import__("retrieval_eval." + name)
after = state()
print(json.dumps({key: [before[key], after[key]] for key in before if before[key] != after[key]}))
"""


def test_importing_changes_no_global_state() -> None:
    names = ["datasets.beir", "encoders.lsa", "indexes.flat", "qrels", "runs", "store", "timing"]
    assert in_a_fresh_process(CHANGES % names) == {}


def test_an_unknown_attribute_of_the_package_is_an_attribute_error() -> None:
    import retrieval_eval

    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        retrieval_eval.no_such_name  # noqa: B018


def test_public_names_are_listed_before_they_are_loaded() -> None:
    import retrieval_eval

    assert set(retrieval_eval.__all__) <= set(dir(retrieval_eval))
    assert retrieval_eval.__all__ == sorted(retrieval_eval.__all__)
    assert retrieval_eval.Run.__module__ == "retrieval_eval.runs"
