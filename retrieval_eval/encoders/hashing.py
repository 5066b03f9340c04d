"""Feature hashing: words into a fixed number of dimensions, with nothing learnt or loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind

__all__ = ["HashingEncoder", "HashingParameters"]


@dataclass(frozen=True)
class HashingParameters:
    """Parameters of :class:`HashingEncoder`.

    Parameters
    ----------
    dim : int
        Dimensions; the fewer, the more words share one.
    word_ngrams : int
        Longest run of words that counts as a feature; 1 takes single words.
    char_ngrams : int or None
        Also take the runs of so many characters inside each word, its edges included as blanks:
        words that share a stem then have something in common.
    """

    dim: Annotated[int, Ge(1), Le(2**20)] = 384
    word_ngrams: Annotated[int, Ge(1), Le(5)] = 1
    char_ngrams: Annotated[int, Ge(2), Le(10)] | None = None


_WORD = r"(?u)\b\w+\b"


def _words_alone(text: str) -> str:
    return " ".join(re.findall(_WORD, text.lower()))


class HashingEncoder(Encoder):
    """Counts of hashed words (Weinberger et al. 2009), of unit length: for tests and smoke runs.

    A word is a run of letters, digits and underscores in lower case. MurmurHash3 of it decides
    its dimension and its sign; vectors are the same on every machine, in every batch. A text
    without words, or whose words cancel one another out, gets the zero vector, and a query like
    that retrieves nothing.

    Examples
    --------
    >>> vectors = HashingEncoder(dim=64).encode(["red apple", "Apple, red!", ""], "document")
    >>> np.array_equal(vectors[0], vectors[1]), vectors[2].any().item()
    (True, False)
    """

    name: ClassVar[str] = "hashing"
    Parameters: ClassVar[type[Any]] = HashingParameters
    libraries: ClassVar[tuple[str, ...]] = ("sklearn.feature_extraction.text",)
    distributions: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    zero_means_no_match: ClassVar[bool] = True
    batch_texts: int = 1024

    _hashers: tuple[Any, ...] = ()

    def dimension(self) -> int | None:
        """Return ``dim``."""
        return int(self.parameters.dim)

    def _load(self) -> tuple[Any, ...]:
        if not self._hashers:
            from sklearn.feature_extraction.text import HashingVectorizer

            own = self.parameters
            common = {"n_features": own.dim, "norm": None, "dtype": np.float64}
            words = HashingVectorizer(
                token_pattern=_WORD, ngram_range=(1, own.word_ngrams), **common
            )
            pieces = HashingVectorizer(
                preprocessor=_words_alone,  # char_wb would take punctuation in
                analyzer="char_wb",
                ngram_range=(own.char_ngrams, own.char_ngrams),
                **common,
            )
            self._hashers = (words,) if own.char_ngrams is None else (words, pieces)
        return self._hashers

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Encode texts; queries and documents alike."""
        if not len(texts):
            return np.zeros((0, self.parameters.dim), dtype=np.float32)
        # A lone surrogate, which JSON can carry, has no UTF-8 to hash.
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        first, *more = (hasher.transform(whole) for hasher in self._load())
        vectors: NDArray[np.float64] = sum(more, first).toarray()
        # Counts are whole numbers, so their squares add up exactly in any order.
        norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
        np.divide(vectors, norms, out=vectors, where=norms > 0)
        return vectors.astype(np.float32)
