"""One pass over all vectors: what needs no neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.neighbours.scores import Floats, blocks
from retrieval_eval.neighbours.space import TASK_BYTES, in_threads

__all__ = ["Scan", "scan"]

_TASKS = 64  # whose results wait for each other


@dataclass(frozen=True, eq=False)
class Scan:
    """What one pass over all vectors tells.

    Parameters
    ----------
    norms : ndarray of float64, shape (n,)
        Euclidean.
    unit_sum : ndarray of float64, shape (d,)
        Sum of the normalised vectors, those of norm 0 left out.
    ranges : ndarray of float64, shape (d,)
        Largest minus smallest number in each dimension.
    n_repeated : int
        Vectors that equal another one, number by number.
    """

    norms: NDArray[np.float64]
    unit_sum: NDArray[np.float64]
    ranges: NDArray[np.float64]
    n_repeated: int


def scan(vectors: Floats, name: str) -> Scan:
    """Read all vectors once.

    Equal vectors are found by fingerprints of 64 bits of their numbers: that two of n different
    ones agree has a chance of about n**2 / 2**60, one in a million for a million of vectors.

    Parameters
    ----------
    vectors : ndarray of float, shape (n, d)
        May be memory-mapped: blocks are copied, and 24 bytes a vector are kept.
    name : str
        What errors call them.

    Returns
    -------
    Scan
        The same for any number of threads.

    Raises
    ------
    InputError
        If a vector holds NaN or infinity, or is too long for its norm to be a float64.
    """
    n, d = vectors.shape
    norms, prints = np.empty(n), np.empty(n, dtype=np.uint64)
    # Odd multipliers: a difference in a single number is never lost.
    weights = np.random.default_rng(0).integers(0, 2**64, d, dtype=np.uint64) | np.uint64(1)
    low, high, unit_sum = np.full(d, np.inf), np.full(d, -np.inf), np.zeros(d)
    for rows in blocks(n, 16 * d, _TASKS * TASK_BYTES):

        def read(
            run: slice, start: int = rows.start
        ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
            least, most, total = np.full(d, np.inf), np.full(d, -np.inf), np.zeros(d)
            for part in blocks(run.stop - run.start, 16 * d):
                first = start + run.start
                place = slice(first + part.start, first + part.stop)
                chunk = vectors[place].astype(np.float64)
                found = np.sqrt(np.einsum("nd,nd->n", chunk, chunk))
                if not np.isfinite(found).all():
                    raise _refused(chunk, found, place.start, name)
                norms[place] = found
                np.minimum(least, chunk.min(axis=0), out=least)
                np.maximum(most, chunk.max(axis=0), out=most)
                inverse = np.divide(1.0, found, out=np.zeros(len(found)), where=found > 0)
                total += np.einsum("n,nd->d", inverse, chunk)
                chunk += 0.0  # -0 equals 0
                words = chunk.view(np.uint64)
                # Numbers of few digits end in zeros, which a product alone would keep.
                words ^= words >> np.uint64(32)
                words *= np.uint64(0x9E3779B97F4A7C15)
                words ^= words >> np.uint64(29)
                prints[place] = np.einsum("nd,d->n", words, weights)
            return least, most, total

        for least, most, total in in_threads(read, rows.stop - rows.start, 16 * d):
            np.minimum(low, least, out=low)
            np.maximum(high, most, out=high)
            unit_sum += total
    prints.sort()
    same = prints[1:] == prints[:-1]
    repeated = np.zeros(n, dtype=bool)
    repeated[1:] = same
    repeated[:-1] |= same
    return Scan(norms, unit_sum, high - low, int(np.count_nonzero(repeated)))


def _refused(
    chunk: NDArray[np.float64], norms: NDArray[np.float64], start: int, name: str
) -> InputError:
    """Name the first vector that cannot be used."""
    row = int(np.flatnonzero(~np.isfinite(norms))[0])
    wrong = np.flatnonzero(~np.isfinite(chunk[row]))
    if len(wrong):
        return InputError(
            f"{name}: row {start + row} holds {chunk[row, wrong[0]]} in column {wrong[0]} (both "
            "counted from 0): vectors must be finite, so leave it out or encode it anew"
        )
    return InputError(
        f"{name}: row {start + row} is too long for its norm to be a number: scale the vectors down"
    )
