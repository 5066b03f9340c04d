"""Folders in BEIR's layout to spoil."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CORPUS = [
    {"_id": "d1", "title": "Wings", "text": "lift of a swept wing at low speed"},
    {"_id": "d2", "title": "", "text": "drag of a slender body in supersonic flow"},
    {"_id": "d3", "text": "heat transfer to a blunt nose", "metadata": {"year": 1962}},
]
QUERIES = [
    {"_id": "q1", "text": "what lifts a wing"},
    {"_id": "q2", "text": "how hot does the nose become"},
]
HEADER = "query-id\tcorpus-id\tscore"
QRELS = [HEADER, "q1\td1\t2", "q1\td2\t0", "q2\td3\t1"]


def write(path: Path, lines: list[Any]) -> None:
    """Write records as JSON, texts and bytes as they are."""
    data = b""
    for line in lines:
        if isinstance(line, bytes):
            data += line + b"\n"
        else:
            text = line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
            data += text.encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a folder in which all is well, but for what it is given."""

    def make(
        name: str = "tiny",
        *,
        corpus: list[Any] = (),
        queries: list[Any] = (),
        qrels: list[Any] = (),
        splits: dict[str, list[Any]] | None = None,
    ) -> Path:
        folder = tmp_path / name
        write(folder / "corpus.jsonl", [*CORPUS, *corpus])
        write(folder / "queries.jsonl", [*QUERIES, *queries])
        write(folder / "qrels" / "test.tsv", [*QRELS, *qrels])
        for split, lines in (splits or {}).items():
            write(folder / "qrels" / f"{split}.tsv", [HEADER, *lines])
        return folder

    return make
