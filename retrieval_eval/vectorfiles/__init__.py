"""Vectors in files of every common format, read as they are needed; never unpickled.

====================  ==========================================  =============================
format                what it is                                  how it is read
====================  ==========================================  =============================
``npy``               one NumPy array                             mapped into memory
``npz``               named NumPy arrays                          mapped; unpacked if compressed
``parquet``           a column of lists, or one per dimension     by slices of row groups
``safetensors``       named tensors, bfloat16 among them          mapped into memory
``hdf5``              named datasets (ann-benchmarks)             by slices of chunks
``fvecs``, ``bvecs``  rows of dimension and values (TEXMEX)       mapped into memory
``fbin``, ``u8bin``,  n, d, then all values (big-ann-benchmarks)  mapped into memory
``i8bin``
====================  ==========================================  =============================

``ivecs`` and ``ibin`` hold row numbers of true neighbours: see :func:`read_neighbours`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.store import file_digest, fold_digests
from retrieval_eval.textfiles import PACKED
from retrieval_eval.vectorfiles.base import IdSource, VectorFile, VectorRows
from retrieval_eval.vectorfiles.checks import file_size
from retrieval_eval.vectorfiles.hdf5 import open_hdf5
from retrieval_eval.vectorfiles.npy import open_npy
from retrieval_eval.vectorfiles.npz import open_npz
from retrieval_eval.vectorfiles.parquet import open_parquet
from retrieval_eval.vectorfiles.raw import BIN_TYPES, VECS_TYPES, open_bin, open_vecs
from retrieval_eval.vectorfiles.safetensors import open_safetensors

__all__ = [
    "FORMATS",
    "REQUIRES",
    "VectorFile",
    "VectorRows",
    "file_size",
    "fingerprints",
    "format_of",
    "open_vectors",
    "read_neighbours",
    "read_vectors",
    "split_name",
]

_OPENERS: dict[str, Callable[[Path, str | None], VectorFile]] = {
    "npy": open_npy,
    "npz": open_npz,
    "parquet": open_parquet,
    "safetensors": open_safetensors,
    "hdf5": open_hdf5,
}

FORMATS = (*_OPENERS, *VECS_TYPES, *BIN_TYPES)
"""Names of all formats."""

REQUIRES = {"hdf5": {"h5py": "hdf5"}, "safetensors": {"safetensors": "safetensors"}}
"""The optional library that a format needs, and the extra that installs it."""

_SUFFIXES = {**{f".{name}": name for name in FORMATS}, ".h5": "hdf5", ".pq": "parquet"}
_MAGICS = {
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "npz",
    b"PAR1": "parquet",
    b"\x89HDF\r\n\x1a\n": "hdf5",
}
_CROP = re.compile(r"\.crop_nb_[0-9]+$")  # how big-ann-benchmarks names the head of a file


def split_name(text: str | Path) -> tuple[Path, str | None]:
    """Split ``FILE#NAME`` into the file and the name of an array in it.

    A file whose own name holds ``#`` is found as it is: the longest part that is a file counts.

    Examples
    --------
    >>> split_name("vectors.npz#docs"), split_name("vectors.npy")
    ((PosixPath('vectors.npz'), 'docs'), (PosixPath('vectors.npy'), None))
    """
    text = str(text)
    if "#" not in text or Path(text).exists():
        return Path(text), None
    places = [place for place, sign in enumerate(text) if sign == "#"]
    found = (place for place in reversed(places) if Path(text[:place]).is_file())
    place = next(found, places[-1])
    return Path(text[:place]), text[place + 1 :]


def format_of(path: Path) -> str | None:
    """Tell a file's format from its suffix or its first bytes; None if neither tells."""
    suffix = Path(_CROP.sub("", path.name)).suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    file_size(path)
    with path.open("rb") as stream:
        head = stream.read(8)
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), None)


def _layout(path: Path, given: str | None) -> str:
    if given is not None:
        if given not in FORMATS:
            raise unknown_name("format of vectors", given, FORMATS, str(path))
        return given
    file_size(path)  # a missing file is a missing file, whatever its suffix
    found = format_of(path)
    if found is not None:
        return found
    if path.suffix in PACKED:
        raise InputError(f"{path}: is packed: unpack it first, since vectors are read in place")
    raise InputError(
        f"{path}: not a .npy file, and neither its suffix nor its first bytes tell another "
        f"format: say which it is (format), one of {', '.join(FORMATS)}"
    )


def open_vectors(
    path: Path | str,
    *,
    name: str | None = None,
    format: str | None = None,  # noqa: A002  # what it is
    ids: Path | str | None = None,
) -> VectorFile:
    """Open a file of vectors; nothing is read but what says where they are.

    Parameters
    ----------
    path : Path or str
        The file; or ``FILE#NAME``, as for `name`.
    name : str, optional
        Array, dataset, tensor or column in the file; not needed if only one holds vectors.
    format : str, optional
        One of ``FORMATS``; by default the suffix tells, or the first bytes.
    ids : Path or str, optional
        Ids of the rows: a text file with one on each line, a JSON list (``.json``), either of
        them packed or plain; or ``FILE#NAME``, an array of text or of whole numbers. By default
        those of the file itself, if it has any: an array ``NAME_ids`` or ``ids`` with one entry
        for each row; in Parquet a column ``id``, ``_id``, ``docid`` or the like.

    Returns
    -------
    VectorFile
        With ``n``, ``d``, ``dtype``, ``ids``, ``read(start, stop)``, ``take(rows)`` and
        ``blocks(start, stop)``.

    Raises
    ------
    InputError
        If there is no such file, it is cut off or damaged (with the byte, where the format lets
        one tell), holds no vectors, or holds several and no name says which.
    MissingExtraError
        If the format needs a library that is not installed.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "vectors.npz"
    >>> np.savez(file, docs=np.eye(3), ids=np.array(["a", "b", "c"]))
    >>> vectors = open_vectors(file)
    >>> vectors.n, vectors.d, vectors.dtype, vectors.ids[1]
    (3, 3, 'float64', 'b')
    >>> vectors.take(np.array([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    path, in_path = split_name(path)
    if name is not None and in_path is not None and name != in_path:
        raise InputError(f"{path}: names two arrays: {in_path!r} and {name!r}")
    name = in_path if name is None else name
    layout = _layout(path, format)
    if layout in _OPENERS:
        opened = _OPENERS[layout](path, name)
    else:
        opened = (open_vecs if layout in VECS_TYPES else open_bin)(path, name, layout)
    if ids is None:
        return opened
    from retrieval_eval.vectorfiles.ids import read_ids

    ids_path, ids_name = split_name(ids)
    file_size(ids_path)
    ids_layout = format_of(ids_path)
    source = IdSource(ids_path, ids_name, lambda: read_ids(ids_path, ids_name, ids_layout))
    return replace(opened, id_source=source)


def read_vectors(path: Path | str) -> NDArray[np.float32]:
    """Return all vectors of a file of any format.

    Parameters
    ----------
    path : Path or str
        The file, or ``FILE#NAME``.

    Returns
    -------
    ndarray of float32, shape (n, d)
        A read-only view of the file where it holds just that, else a copy in memory.

    Raises
    ------
    InputError
        See :func:`open_vectors`.
    """
    vectors = open_vectors(path)
    return vectors.read(0, vectors.n)


def read_neighbours(
    path: Path | str,
    *,
    name: str | None = None,
    format: str | None = None,  # noqa: A002  # what it is
) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
    """Read true neighbours of queries, nearest first.

    Parameters
    ----------
    path : Path or str
        ``.ivecs``, ``.ibin``, ``.npy``, ``.hdf5``, or, whatever its suffix, the ids and distances
        of big-ann-benchmarks (q and k as uint32, q * k ids as uint32, q * k distances as float32).
    name : str, optional
        Dataset in an HDF5 file; ``neighbors`` by default. ``distances`` beside it are read, too.
    format : str, optional
        One of ``FORMATS``, if suffix and first bytes do not tell.

    Returns
    -------
    rows : ndarray of int64, shape (q, k)
        Row numbers of the neighbours, counted from 0; -1 where there is none.
    distances : ndarray of float32, shape (q, k), or None
        As the file has them; what they are depends on the benchmark.

    Raises
    ------
    InputError
        If the file cannot be read, or does not end where its header says.
    """
    from retrieval_eval.vectorfiles.neighbours import neighbours_of

    path, in_path = split_name(path)
    file_size(path)
    if format is not None and format not in FORMATS:
        raise unknown_name("format of neighbours", format, FORMATS, str(path))
    return neighbours_of(path, name or in_path, format or format_of(path))


def fingerprints(*chosen: Sequence[Path | str | None]) -> list[str]:
    """Return a 32-digit key of each choice: of the content of its files, wherever they lie.

    A file that several of them name is read once.

    Parameters
    ----------
    *chosen : sequence of Path, str or None
        Files, and what is taken from them, as ``VectorFile.chosen`` has it.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "vectors.npz"
    >>> np.savez(file, docs=np.eye(3), queries=np.ones((2, 3)))
    >>> documents, queries = (open_vectors(file, name=name) for name in ("docs", "queries"))
    >>> len(set(fingerprints(documents.chosen, queries.chosen, documents.chosen)))
    2
    """
    digests: dict[Path, str] = {}

    def content(path: Path) -> str:
        key = path.resolve()
        if key not in digests:
            file_size(path)
            digests[key] = file_digest(path)
        return digests[key]

    keys = []
    for parts in chosen:
        contents = [content(part) if isinstance(part, Path) else part or "" for part in parts]
        keys.append(contents[0] if len(contents) == 1 else fold_digests(contents))
    return keys
