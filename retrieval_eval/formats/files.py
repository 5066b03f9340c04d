"""Which reader a file goes to, by its name."""

from __future__ import annotations

from pathlib import Path

from retrieval_eval.formats.columns import Columns, Kind
from retrieval_eval.formats.json_files import read_json, read_json_lines
from retrieval_eval.formats.tables import read_csv, read_parquet
from retrieval_eval.formats.trec import read_trec
from retrieval_eval.textfiles import unpacked_name

__all__ = ["SUFFIXES", "read_file"]

_READERS = {
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
SUFFIXES = (*_READERS, ".trec", ".run", ".txt", ".tsv", ".qrels")
"""Suffixes that say how a file is written, not what it is called."""


def read_file(path: str | Path, kind: Kind) -> Columns:
    """Read a run or qrels; the suffix names the form, and everything else is TREC's columns.

    Parameters
    ----------
    path : str or Path
        ``.json``, ``.jsonl``, ``.csv``, ``.parquet``, or TREC under any name; all but parquet may
        be packed as ``.gz`` or ``.zst``.
    kind : Kind
        `RUN` or `QRELS`.

    Raises
    ------
    InputError
        Naming file, line number, the line and the rule.
    """
    path = Path(path)
    suffix = Path(unpacked_name(path)).suffix.lower()
    return _READERS.get(suffix, read_trec)(path, kind)
