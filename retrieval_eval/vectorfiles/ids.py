"""Ids of vectors that lie in a file of their own."""

from __future__ import annotations

import json
from pathlib import Path

from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.textfiles import bad_line, open_bytes, unpacked_name
from retrieval_eval.vectorfiles.checks import ids_of_array
from retrieval_eval.vectorfiles.hdf5 import read_hdf5
from retrieval_eval.vectorfiles.npy import read_npy
from retrieval_eval.vectorfiles.npz import read_npz
from retrieval_eval.vectorfiles.parquet import read_parquet_ids
from retrieval_eval.vectorfiles.safetensors import read_safetensors

__all__ = ["read_ids"]

_ARRAYS = {
    "npy": read_npy,
    "npz": read_npz,
    "hdf5": read_hdf5,
    "safetensors": read_safetensors,
}


def read_ids(path: Path, name: str | None, layout: str | None) -> Ids:
    """Read one id for each row.

    Parameters
    ----------
    path : Path
        A text file with one id on each line, or a JSON list of strings (``.json``), packed or
        plain; or a file of arrays.
    name : str or None
        Array or column in it.
    layout : str or None
        Format of a file of arrays; None for text.

    Raises
    ------
    InputError
        If the file cannot be read, or a line is empty, with its number.
    """
    if layout in _ARRAYS:
        where = f"{path}#{name}" if name is not None else str(path)
        return ids_of_array(_ARRAYS[layout](path, name), where)
    if layout == "parquet":
        return read_parquet_ids(path, name or "id")
    if layout is not None:
        raise InputError(f"{path}: a .{layout} file holds no ids: give a text file, one id a line")
    if name is not None:
        raise InputError(f"{path}: a text file has no names in it: drop {name!r}")
    with open_bytes(path) as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        line = data.split(b"\n")[number - 1]
        bad_line(path, number, repr(line), f"not UTF-8 text ({error.reason})")
    return _from_json(path, text) if unpacked_name(path).endswith(".json") else _lines(path, text)


def _from_json(path: Path, text: str) -> Ids:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(listed, list):
        raise InputError(f"{path}: expected a JSON list of ids, one for each row")
    return Ids.of(listed, f"{path}: id")


def _lines(path: Path, text: str) -> Ids:
    import polars as pl

    column = pl.Series([text.removesuffix("\n")]).str.split("\n").explode()
    column = column.str.strip_suffix("\r")
    empty = column == ""
    if empty.any():
        number = int(empty.arg_true()[0]) + 1
        bad_line(path, number, "", "expected an id: one on each line, in the order of the rows")
    return Ids.of(column)
