"""What can be named, with its parameters: the content of ``retrieval-eval list``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from retrieval_eval.combiners import COMBINERS
from retrieval_eval.comparison import (
    COMPARE_TESTS,
    CORRECTIONS,
    INTERVALS,
    MARGIN_TESTS,
    OMNIBUS_TESTS,
)
from retrieval_eval.datasets import DATASETS
from retrieval_eval.datasets.cards import CARD_COLUMNS, card_rows
from retrieval_eval.encoders import ENCODERS
from retrieval_eval.evaluation import MEASURES
from retrieval_eval.evaluation.measures import MeasureSpec
from retrieval_eval.indexes import INDEXES
from retrieval_eval.parameters import describe_parameters
from retrieval_eval.plugins import PluginTable, missing_library

__all__ = ["listing"]

Columns = Sequence[tuple[str, bool]]
Cells = Sequence[Sequence[str]]
Parts = Sequence[tuple[str, type[Any]]]
"""What parameters begin with, and the class that has them."""

_MEASURE_COLUMNS = [
    ("measure", False),
    ("parameters", False),
    ("range", False),
    ("equal scores", False),
    ("definition, at each query", False),
    ("source", False),
]


def listing(what: str) -> tuple[Columns, Cells]:
    """Return columns and rows of a listing.

    Parameters
    ----------
    what : {'datasets', 'sources', 'encoders', 'indexes', 'combiners', 'measures', 'tests'}
        What to list: datasets are cards, sources what loads them.
    """
    if what == "measures":
        return _MEASURE_COLUMNS, [_measure(name, spec) for name, spec in MEASURES.items()]
    if what == "tests":
        parts = {
            "--test": COMPARE_TESTS,
            "--correction": CORRECTIONS,
            "--interval": INTERVALS,
            "--margin-test": MARGIN_TESTS,
            "--omnibus": OMNIBUS_TESTS,
        }
        columns = [("option", False), ("name", False), ("what it does", False)]
        return columns, [
            (option if not place else "", name, text)
            for option, names in parts.items()
            for place, (name, text) in enumerate(names.items())
        ]
    if what == "datasets":
        return CARD_COLUMNS, card_rows()
    tables: dict[str, tuple[PluginTable[Any], Callable[[Any], Parts]]] = {
        "sources": (DATASETS, lambda cls: [("", cls.Parameters)]),
        "encoders": (ENCODERS, lambda cls: [("", cls.Parameters)]),
        "combiners": (COMBINERS, lambda cls: [("", cls.Parameters)]),
        "indexes": (INDEXES, lambda cls: [("", cls.Build), ("search.", cls.Search)]),
    }
    table, parts_of = tables[what]
    classes = [(name, table.load(name)) for name in table.names()]
    return _COLUMNS, [
        row for name, cls in classes for row in _rows(name, parts_of(cls), cls.requires)
    ]


def _measure(name: str, spec: MeasureSpec) -> list[str]:
    cut = {"none": "", "optional": ", @k", "required": "@k", "recall": "@recall"}[spec.cutoff]
    forms = {"optional": f"{name}{cut.replace(', ', f', {name}')}"}
    shown = forms.get(spec.cutoff, f"{name}{cut}")
    parameters = "; ".join(
        key if one.default is None else f"{key}={one.default!r}"
        for key, one in spec.parameters.items()
    )
    if name == "SampledRR":
        ties = "count against it"
    elif name == "GAP":
        ties = "document id, then query id, descending"
    elif not spec.expected_ties:
        ties = "document id descending"
    else:
        ties = "document id descending, or expected value"
    if name in {"NumRel", "NumRet", "SetP", "SetR", "SetF", "SetAP"}:
        ties = "of no effect"
    return [shown, parameters, spec.range, ties, spec.definition, spec.source]


_COLUMNS = [("name", False), ("parameter", False), ("type", False), ("default", False)]


def _rows(name: str, parts: Parts, requires: Any) -> list[list[str]]:
    missing = missing_library(requires)
    label = f"{name} (not installed: extra {missing[1]})" if missing else name
    rows = [
        [f"{prefix}{parameter}", kind, default]
        for prefix, cls in parts
        for parameter, kind, default in describe_parameters(cls)
    ] or [["", "", ""]]
    return [[label if place == 0 else "", *row] for place, row in enumerate(rows)]
