"""Latent semantic analysis: TF-IDF, then truncated SVD, by scikit-learn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError

__all__ = ["LsaEncoder", "LsaParameters"]


@dataclass(frozen=True)
class LsaParameters:
    """Parameters of :class:`LsaEncoder`.

    Parameters
    ----------
    dim : int
        Dimensions kept; fewer than documents and terms.
    min_df : int
        A term must occur in at least so many documents.
    stop_words : {'english'} or None
        Words left out.
    sublinear_tf : bool
        Use ``1 + ln(tf)`` for ``tf``.
    split_identifiers : bool
        Break ``snake_case`` and ``camelCase`` words into their parts: for source code.
    seed : int
        Seed of the randomised SVD.
    """

    dim: Annotated[int, Ge(1)] = 256
    min_df: Annotated[int, Ge(1)] = 1
    stop_words: Literal["english"] | None = "english"
    sublinear_tf: bool = True
    split_identifiers: bool = False
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0


_JOINTS = re.compile(r"_|(?<=[a-z0-9])(?=[A-Z])")


def _split_identifiers(text: str) -> str:
    return _JOINTS.sub(" ", text).lower()


class LsaEncoder(Encoder):
    """TF-IDF reduced by truncated SVD (Deerwester et al. 1990), of unit length.

    Fitted on the documents alone, never on queries. A text without any known term gets the zero
    vector, and a query like that retrieves nothing.

    Examples
    --------
    >>> fitted = LsaEncoder(dim=1).fit(["red apple", "red plum", "blue plum"])
    >>> fitted.encode(["apple", "xyzzy"], "query").shape
    (2, 1)
    """

    name: ClassVar[str] = "lsa"
    Parameters: ClassVar[type[Any]] = LsaParameters
    libraries: ClassVar[tuple[str, ...]] = (
        "sklearn.decomposition",
        "sklearn.feature_extraction.text",
    )
    distributions: ClassVar[tuple[str, ...]] = ("scikit-learn", "numpy", "scipy")
    needs_fit: bool = True
    zero_means_no_match: ClassVar[bool] = True
    batch_texts: int = 1024

    _pipeline: Any = None

    def dimension(self) -> int | None:
        """Return ``dim``."""
        return int(self.parameters.dim)

    def check(self, n_documents: int, n_queries: int) -> None:
        """Refuse more dimensions than a matrix of so many documents can have."""
        if self.parameters.dim >= n_documents:
            raise InputError(
                f"encoder 'lsa': dim is {self.parameters.dim}, but the corpus has only "
                f"{n_documents} documents: choose dim below that"
            )

    def fit(self, documents: Sequence[str]) -> Encoder:
        """Learn vocabulary, weights and projection from the documents."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        own = self.parameters
        vectorizer = TfidfVectorizer(
            min_df=own.min_df,
            stop_words=own.stop_words,
            sublinear_tf=own.sublinear_tf,
            preprocessor=_split_identifiers if own.split_identifiers else None,
            dtype=np.float32,
        )
        try:
            weights = vectorizer.fit_transform(documents)
        except ValueError as error:  # no term is left
            raise InputError(f"encoder 'lsa': the corpus yields no vocabulary: {error}") from None
        if own.dim >= min(weights.shape):
            raise InputError(
                f"encoder 'lsa': dim is {own.dim}, but the corpus has {weights.shape[0]} documents "
                f"and {weights.shape[1]} terms: choose dim below both"
            )
        svd = TruncatedSVD(n_components=own.dim, random_state=own.seed)
        svd.fit(weights)
        fitted = type(self)(**vars(own))
        fitted._pipeline = (vectorizer, svd)
        return fitted

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Encode texts; queries and documents alike."""
        if self._pipeline is None:
            raise InputError("encoder 'lsa' must be fitted first: use encoder.fit(documents)")
        vectorizer, svd = self._pipeline
        weights = vectorizer.transform(texts)
        vectors = np.asarray(svd.transform(weights), dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        known = np.asarray(weights.getnnz(axis=1) > 0)[:, None] & (norms > 0)
        unit: NDArray[np.float32] = np.zeros_like(vectors)
        np.divide(vectors, norms, out=unit, where=known)
        return unit
