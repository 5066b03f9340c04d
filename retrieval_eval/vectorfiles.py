"""Reading vectors from NumPy's files."""

from __future__ import annotations

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError

__all__ = ["read_vectors"]

_MAGIC = b"\x93NUMPY"


def read_vectors(path: Path) -> NDArray[Any]:
    """Map a ``.npy`` file of vectors into memory; archives and pickles are refused.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    ndarray of floats, shape (n, d)
        Read-only, and read from the disk as it is used.

    Raises
    ------
    InputError
        If there is no such file, or it holds something else.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if magic != _MAGIC:  # np.load would try archives and pickles, too
        raise InputError(f"{path}: not a .npy file: it starts with {magic!r}, not {_MAGIC!r}")
    try:
        vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise InputError(f"{path}: not a readable .npy file: {error}") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise InputError(
            f"{path}: expected floats of shape (n, d), found {vectors.dtype} {vectors.shape}"
        )
    return vectors
