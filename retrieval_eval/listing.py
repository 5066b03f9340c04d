"""What can be named, with its parameters: the content of ``retrieval-eval list``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retrieval_eval.catalogue import catalogue_file, catalogue_names
from retrieval_eval.comparison import TESTS
from retrieval_eval.datasets import DATASETS, read_card
from retrieval_eval.encoders import ENCODERS
from retrieval_eval.indexes import INDEXES
from retrieval_eval.parameters import describe_parameters
from retrieval_eval.plugins import missing_library

__all__ = ["listing"]

Columns = Sequence[tuple[str, bool]]
Cells = Sequence[Sequence[str]]

_MEASURES = (
    ("nDCG@k", "0 to 1", "discounted gain (gain = grade) of the first k over the ideal order's"),
    ("RR@k", "0 to 1", "1 / rank of the first relevant document; 0 if beyond k. Mean: MRR"),
    ("R@k", "0 to 1", "share of all relevant documents found among the first k"),
    ("P@k", "0 to 1", "relevant documents among the first k, over k"),
    ("AP, AP@k", "0 to 1", "precision at each relevant document found, over all relevant. MAP"),
    ("Success@k", "0 or 1", "whether a relevant document is among the first k"),
    ("Rprec", "0 to 1", "precision at rank R, the number of relevant documents"),
    ("Bpref", "0 to 1", "how rarely judged non-relevant documents stand before relevant ones"),
    ("Judged@k", "0 to 1", "share of the first k that was judged at all"),
)


def listing(what: str) -> tuple[Columns, Cells]:
    """Return columns and rows of a listing.

    Parameters
    ----------
    what : {'datasets', 'encoders', 'indexes', 'measures', 'tests'}
        What to list.
    """
    if what == "measures":
        columns = [("measure", False), ("range", False), ("definition, at each query", False)]
        ties = [("", "", "ties: score, then document id, both descending; source: ir-measures")]
        return columns, [*_MEASURES, *ties]
    if what == "tests":
        texts = {"randomization": "paired sign flips; exact for few queries, else (1+b)/(1+B)"}
        return [("test", False), ("what it does", False)], [(name, texts[name]) for name in TESTS]
    if what == "datasets":
        cards = [(n, "card", _title(n), "") for n in catalogue_names("datasets")]
        sources = [row for name in DATASETS.names() for row in _source(name)]
        return _COLUMNS, [*cards, *sources]
    if what == "encoders":
        return _COLUMNS, [row for name in ENCODERS.names() for row in _encoder(name)]
    return _COLUMNS, [row for name in INDEXES.names() for row in _index(name)]


_COLUMNS = [("name", False), ("parameter", False), ("type", False), ("default", False)]


def _title(name: str) -> str:
    path = catalogue_file("datasets", name)
    return str(read_card(path).get("title", "")) if path else ""


def _rows(name: str, parts: Sequence[tuple[str, type[Any]]], requires: Any) -> list[list[str]]:
    missing = missing_library(requires)
    label = f"{name} (not installed: extra {missing[1]})" if missing else name
    rows = [
        [f"{prefix}{parameter}", kind, default]
        for prefix, cls in parts
        for parameter, kind, default in describe_parameters(cls)
    ] or [["", "", ""]]
    return [[label if place == 0 else "", *row] for place, row in enumerate(rows)]


def _source(name: str) -> list[list[str]]:
    cls = DATASETS.load(name)
    return _rows(name, [("", cls.Parameters)], cls.requires)


def _encoder(name: str) -> list[list[str]]:
    cls = ENCODERS.load(name)
    return _rows(name, [("", cls.Parameters)], cls.requires)


def _index(name: str) -> list[list[str]]:
    cls = INDEXES.load(name)
    return _rows(name, [("", cls.Build), ("search.", cls.Search)], cls.requires)
