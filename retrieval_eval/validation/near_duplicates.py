"""Texts that are nearly the same: MinHash proposes pairs, the shingles themselves decide."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.validation.wording import wording

__all__ = ["NearDuplicates", "Shingles", "near_duplicates"]

Keys = NDArray[np.uint64]

_HASHES = 128
_SURE = 0.999  # chance that a pair at the threshold is proposed
_WINDOW = 8
_BATCH_BYTES = 1 << 19  # of texts hashed at a time: what comes of them fits the processor's cache
_COMPARED = 1 << 20  # shingles compared at a time
_LONGEST = 4096  # bytes of a word until its weights begin anew
_PRIME = 0x100000001B3


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """For each text, an earlier one that it nearly repeats.

    Parameters
    ----------
    partner : ndarray of int64, shape (n,)
        Row of the earlier text; -1 where none was found.
    jaccard : ndarray of float64, shape (n,)
        Shingles that both have, of those that either has; 0 where there is no partner.
    """

    partner: NDArray[np.int64]
    jaccard: NDArray[np.float64]


def near_duplicates(
    texts: Iterable[str],
    *,
    threshold: float = 0.9,
    width: int = 3,
    seed: int = 0,
    first: int | None = None,
) -> NearDuplicates:
    """Find texts that nearly repeat an earlier one.

    Parameters
    ----------
    texts : iterable of str
        Read once; see :class:`Shingles` for what is kept of them.
    threshold, width, seed
        See :class:`Shingles`.
    first : int, optional
        Compare only texts from this row on with those before it: queries of one split with those
        of another, say.

    Examples
    --------
    >>> found = near_duplicates(["the wing of a plane", "a sail", "The wing -- of a plane"])
    >>> found.partner.tolist(), found.jaccard.tolist()
    ([-1, -1, 0], [0.0, 0.0, 1.0])
    """
    with Shingles(threshold, width=width, seed=seed) as shingles:
        for text in texts:
            shingles.add(wording(text))
        return shingles.find(first=first)


class Shingles:
    """Word shingles of texts, kept so that those of nearly equal texts can be found.

    A text is the set of its runs of `width` words (a shorter text, of all its words). MinHash with
    128 hash functions, cut into bands [1]_ [2]_, proposes pairs; as many rows go into a band as
    still leave a pair at the threshold a chance of 0.999 to be proposed. The Jaccard similarity of
    proposed pairs is then counted from the shingles themselves, as hashes of 64 bits, so that no
    pair below the threshold is ever reported.

    Memory holds 4 bytes for each band (16 at a threshold of 0.9) and 8 more for each text. The
    shingles go to a temporary file of 8 bytes for each word. The same texts give the same result on
    every machine.

    Parameters
    ----------
    threshold : float
        Jaccard similarity from which texts are near duplicates, above 0 and at most 1.
    width : int
        Words in a shingle, at least 1. With 1, the order of the words does not count.
    seed : int
        Of the hash functions.

    References
    ----------
    .. [1] A. Z. Broder, On the resemblance and containment of documents, Compression and
       Complexity of Sequences, 1997.
    .. [2] J. Leskovec, A. Rajaraman and J. D. Ullman, Mining of Massive Datasets, chapter 3.
    """

    def __init__(self, threshold: float = 0.9, *, width: int = 3, seed: int = 0) -> None:
        if not 0 < threshold <= 1:
            raise InputError(f"the threshold is {threshold}: it must be above 0 and at most 1")
        if width < 1:
            raise InputError(f"the width is {width}: a shingle has at least 1 word")
        self.threshold = threshold
        self.width = width
        self.rows = _rows_of_a_band(threshold)
        rng = np.random.default_rng(seed)
        self._masks, self._factors = (
            rng.integers(0, 2**64, _HASHES, dtype=np.uint64) for _ in range(2)
        )
        self._factors |= np.uint64(1)
        self._bands: list[NDArray[np.uint32]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._waiting: list[bytes] = []
        self._bytes = 0
        # Closed by __exit__: what is added and what is found both need it.
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="retrieval-eval-")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, words: str) -> None:
        """Take a text, as :func:`~retrieval_eval.validation.wording.wording` returns it."""
        data = words.encode("utf-8", "surrogatepass")
        self._waiting.append(data)
        self._bytes += len(data) + 1
        if self._bytes >= _BATCH_BYTES:
            self._hash()

    def _hash(self) -> None:
        if not self._waiting:
            return
        shingles, counts = _shingles(self._waiting, self.width)
        self._waiting, self._bytes = [], 0
        self._file.write(shingles.data)
        self._counts.append(counts)
        self._bands.append(self._band_keys(shingles, counts))

    def _band_keys(self, shingles: Keys, counts: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Return a key for each text and band, shape (n, bands); 0 for a text without words."""
        bands = _HASHES // self.rows
        keys = np.zeros((len(counts), bands), dtype=np.uint64)
        some = np.flatnonzero(counts)
        if not len(some):
            return keys.astype(np.uint32)
        starts = (np.cumsum(counts) - counts)[some]
        buffer = np.empty_like(shingles)
        for number in range(bands * self.rows):
            np.bitwise_xor(shingles, self._masks[number], out=buffer)
            np.multiply(buffer, self._factors[number], out=buffer)
            band = keys[:, number // self.rows]
            band[some] = _mixed(band[some] + np.minimum.reduceat(buffer, starts))
        short: NDArray[np.uint32] = (keys >> np.uint64(32)).astype(np.uint32)
        return short

    def find(self, *, first: int | None = None) -> NearDuplicates:
        """Compare the texts.

        Parameters
        ----------
        first : int, optional
            Compare only texts from this row on with those before it.

        Notes
        -----
        Of the texts that share a band's key, each is compared with the 8 before it; once it has a
        partner it is not compared again. So the work grows with the number of texts, not with its
        square, however many copies there are.
        """
        self._hash()
        self._file.flush()
        counts = np.concatenate([np.empty(0, dtype=np.int64), *self._counts])
        n = len(counts)
        partner, jaccard = np.full(n, -1, dtype=np.int64), np.zeros(n)
        if not counts.sum():
            return NearDuplicates(partner, jaccard)
        ends = np.cumsum(counts)
        shingles = np.memmap(self._file, dtype=np.uint64, mode="r", shape=(int(ends[-1]),))
        for band in range(_HASHES // self.rows):
            keys = np.concatenate([part[:, band] for part in self._bands])
            order = np.argsort(keys, kind="stable")
            order = order[counts[order] > 0]
            ordered = keys[order]
            before = np.arange(-1, len(order) - 1)
            if first is not None:  # the last of the first rows that stands before, if any
                sides = np.where(order < first, np.arange(len(order)), -1)
                before = np.where(order < first, -1, np.maximum.accumulate(sides))
            for step in range(_WINDOW):
                place = before - step
                near = np.flatnonzero((place >= 0) & (ordered[np.maximum(place, 0)] == ordered))
                near = near[partner[order[near]] < 0]
                if len(near):
                    self._compare(shingles, ends, order[place[near]], order[near], partner, jaccard)
        return NearDuplicates(partner, jaccard)

    def _compare(
        self,
        shingles: Keys,
        ends: NDArray[np.int64],
        earlier: NDArray[np.int64],
        later: NDArray[np.int64],
        partner: NDArray[np.int64],
        jaccard: NDArray[np.float64],
    ) -> None:
        """Count what proposed pairs share, and keep those at the threshold or above."""
        starts = np.concatenate([[0], ends[:-1]])
        sizes = (ends - starts)[earlier] + (ends - starts)[later]
        cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // _COMPARED)) + 1
        for rows in np.split(np.arange(len(earlier)), cuts):
            one, other = earlier[rows], later[rows]
            shares = _jaccard(shingles, starts, ends, one, other)
            near = shares >= self.threshold
            partner[other[near]], jaccard[other[near]] = one[near], shares[near]


def _rows_of_a_band(threshold: float) -> int:
    """Return the most rows with which a pair at the threshold is still proposed."""
    fine = (
        rows
        for rows in range(_HASHES, 0, -1)
        if 1 - (1 - threshold**rows) ** (_HASHES // rows) >= _SURE
    )
    return next(fine, 1)


def _shingles(texts: list[bytes], width: int) -> tuple[Keys, NDArray[np.int64]]:
    """Return hashes of the shingles of all texts, side by side, and how many each text has."""
    data = np.frombuffer(b" ".join(texts) + b" ", dtype=np.uint8)
    ends_of_texts = np.cumsum([len(text) + 1 for text in texts])
    blank = data == 32
    starts = np.flatnonzero(~blank & np.concatenate([[True], blank[:-1]]))
    if not len(starts):
        return np.empty(0, dtype=np.uint64), np.zeros(len(texts), dtype=np.int64)
    first = np.searchsorted(starts, np.concatenate([[0], ends_of_texts[:-1]]))
    words = np.diff(np.concatenate([first, [len(starts)]]))
    # A word's hash is a polynomial of its bytes, computed for all of them at once; a blank adds 0.
    lengths = np.diff(np.concatenate([starts, [len(data)]]))
    place = np.arange(starts[0], len(data)) - np.repeat(starts, lengths)
    weighted = np.where(blank, 0, data + np.uint64(1))[starts[0] :] * _WEIGHTS[place % _LONGEST]
    hashes = _mixed(np.add.reduceat(weighted, starts - starts[0]))
    counts = np.where(words > 0, np.maximum(words - width + 1, 1), 0)
    starts_of = np.repeat(first, counts) + _places(counts)
    limits = np.repeat(first + words, counts)
    made = np.zeros(len(starts_of), dtype=np.uint64)
    for step in range(width):
        at = starts_of + step
        inside = at < limits  # a text of fewer words than a shingle ends early
        word = np.where(inside, hashes[np.minimum(at, len(hashes) - 1)], np.uint64(0))
        made = _mixed(made + word)
    return made, counts


def _places(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count from 0 in each of several stretches."""
    places: NDArray[np.int64] = np.arange(counts.sum()) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    return places


def _mixed(values: Keys) -> Keys:
    """Mix the bits of 64-bit numbers (the finaliser of splitmix64)."""
    values = (values + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Keys = values ^ (values >> np.uint64(31))
    return mixed


_WEIGHTS: Keys = np.multiply.accumulate(np.full(_LONGEST, _PRIME, dtype=np.uint64))


def _jaccard(
    shingles: Keys,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return |A and B| / |A or B| of pairs of texts."""
    texts = np.stack([one, other], axis=1).ravel()
    sizes = ends[texts] - starts[texts]
    values = shingles[np.repeat(starts[texts], sizes) + _places(sizes)]
    side = np.repeat(np.arange(len(texts)), sizes)
    order = np.lexsort((side, values, side >> 1))
    values, side = values[order], side[order]
    same = (values[1:] == values[:-1]) & (side[1:] >> 1 == side[:-1] >> 1)
    again = same & (side[1:] == side[:-1])  # a shingle that a text has more than once
    either = np.bincount(side >> 1, minlength=len(one))
    np.subtract.at(either, side[1:][same] >> 1, 1)
    both = np.bincount(side[1:][same & ~again] >> 1, minlength=len(one))
    shares: NDArray[np.float64] = both / either
    return shares
