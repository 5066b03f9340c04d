"""The contract of an encoder: texts in, float32 vectors out, under an identity of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.parameters import NoParameters, make_parameters
from retrieval_eval.plugins import require

__all__ = ["Encoder", "Kind", "check_embeddings"]

Kind = Literal["query", "document"]


class Encoder(ABC):
    """Turns texts into embeddings.

    A subclass sets the class attributes, and implements :meth:`encode`. Constructing one loads
    nothing heavy: that waits for the first text.

    Parameters
    ----------
    **parameters
        Fields of the class's ``Parameters``; checked strictly.

    Attributes
    ----------
    name : str
        What the encoder is called in a sweep file.
    Parameters : type
        Frozen dataclass of its parameters.
    requires : mapping of str to str
        Import name of each optional library, and the extra that installs it.
    distributions : tuple of str
        Distributions whose versions can change the vectors; part of the cache key.
    needs_fit : bool
        Whether the vectors depend on the corpus, through :meth:`fit`.
    zero_means_no_match : bool
        Whether a zero vector is a statement ("no known term") rather than a defect. A zero query
        then retrieves nothing.
    batch_texts : int
        How many texts are encoded between two updates of the progress bar.
    """

    name: ClassVar[str]
    Parameters: ClassVar[type[Any]] = NoParameters
    requires: ClassVar[Mapping[str, str]] = {}
    distributions: ClassVar[tuple[str, ...]] = ()
    needs_fit: ClassVar[bool] = False
    zero_means_no_match: ClassVar[bool] = False
    batch_texts: ClassVar[int] = 256

    def __init__(self, **parameters: Any) -> None:
        self.parameters: Any = make_parameters(
            self.Parameters, parameters, f"encoder {type(self).name!r}"
        )

    def identity(self) -> dict[str, Any]:
        """Return, as plain values, all that decides the vectors beside the texts."""
        return {"encoder": self.name, **asdict(self.parameters)}

    def dimension(self) -> int | None:
        """Return the number of dimensions if it is known before any text is encoded."""
        return None

    def check(self, n_documents: int, n_queries: int) -> None:
        """Raise :class:`InputError` if this encoder cannot serve such a dataset."""

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if a library it needs is not installed."""
        require(f"encoder {self.name!r}", self.requires)

    def origin(self, kind: Kind) -> str:
        """Return where vectors of a kind come from, for messages."""
        return f"encoder {self.name!r}"

    def fit(self, documents: Sequence[str]) -> Encoder:
        """Return an encoder fitted to the corpus; this one, unless ``needs_fit``."""
        return self

    @abstractmethod
    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str
            What to encode.
        kind : {'query', 'document'}
            Which prompt or projection applies.

        Returns
        -------
        ndarray of float32, shape (len(texts), d)
        """

    def stream(self, texts: Sequence[str], kind: Kind) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of all texts in order, some rows at a time."""
        for start in range(0, len(texts), self.batch_texts):
            yield self.encode(texts[start : start + self.batch_texts], kind)


def check_embeddings(
    vectors: NDArray[Any], ids: Sequence[str], *, what: str, zero_allowed: bool
) -> None:
    """Refuse vectors that no index can serve.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        What an encoder returned.
    ids : sequence of str, length n
        The text each row belongs to.
    what : str
        Whose vectors they are, for instance ``"encoder 'lsa', document"``.
    zero_allowed : bool
        Whether a row may be all zero.

    Raises
    ------
    InputError
        Naming the first row with NaN or infinity, or (unless allowed) with nothing but zeros.
    """
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise InputError(f"{what}: expected {len(ids)} vectors, got an array {vectors.shape}")
    # A row's sum of magnitudes is finite iff every entry is; float64 cannot overflow here.
    size = np.abs(vectors).sum(axis=1, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(size))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{what} {ids[row]!r} (row {row}): the vector holds NaN or infinity; {len(bad)} of "
            f"{len(ids)} rows do. Is its text empty, or the file damaged?"
        )
    zero = np.flatnonzero(size == 0)
    if len(zero) and not zero_allowed:
        row = int(zero[0])
        raise InputError(
            f"{what} {ids[row]!r} (row {row}): the vector is all zero; {len(zero)} of {len(ids)} "
            "rows are. It has no direction, so no cosine: remove or repair the text or vector"
        )
