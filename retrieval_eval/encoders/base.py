"""The contract of an encoder: texts in, float32 vectors out, under an identity of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.parameters import NoParameters, make_parameters
from retrieval_eval.plugins import require

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Encoder", "Kind", "Vectors", "check_embeddings"]

Kind = Literal["query", "document"]

Vectors: TypeAlias = "NDArray[np.float32] | csr_array"
"""What an encoder returns: dense rows, or sparse ones if it is a sparse encoder."""


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
    libraries : tuple of str
        Import names of libraries that do the work, so that loading them is not timed.
    distributions : tuple of str
        Distributions whose versions can change the vectors; part of the cache key.
    recipe : int
        Raised whenever the encoder's own code changes the vectors; part of the cache key.
    needs_fit : bool
        Whether the vectors depend on the corpus, through :meth:`fit`. May depend on parameters.
    sparse : bool
        Whether vectors are sparse: rows of ``scipy.sparse.csr_array`` over a vocabulary, scored by
        inner product. A sparse vector may be all zero: it matches nothing.
    zero_means_no_match : bool
        Whether a zero vector is a statement ("no known term") rather than a defect. A zero query
        then retrieves nothing.
    batch_texts : int
        How many texts :meth:`stream` encodes at a time. The vectors of a text may depend, in
        their last digits, on the texts beside it, so this is fixed by the parameters.
    reads_vectors : bool
        Whether the vectors come from files, or from the dataset itself, and texts do not matter.
    commit_s : float
        How many seconds of finished vectors an interruption may cost; 0 where each is paid for.
    """

    name: ClassVar[str]
    Parameters: ClassVar[type[Any]] = NoParameters
    requires: ClassVar[Mapping[str, str]] = {}
    libraries: ClassVar[tuple[str, ...]] = ()
    distributions: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[int] = 1
    needs_fit: bool = False
    sparse: ClassVar[bool] = False
    reads_vectors: ClassVar[bool] = False
    zero_means_no_match: ClassVar[bool] = False
    batch_texts: int = 256
    commit_s: ClassVar[float] = 1.0

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
    def encode(self, texts: Sequence[str], kind: Kind) -> Vectors:
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
            Or, if `sparse`, a ``scipy.sparse.csr_array`` of that type and shape.
        """

    def stream(
        self,
        texts: Sequence[str],
        kind: Kind,
        *,
        ids: Sequence[str] | None = None,
        start: int = 0,
    ) -> Iterator[Vectors]:
        """Yield the vectors of all texts in order, some rows at a time.

        Parameters
        ----------
        texts : sequence of str
            All texts; a slice of them is a list.
        kind : {'query', 'document'}
            Which prompt or projection applies.
        ids : sequence of str, optional
            The id of each text, for an encoder that reads vectors stored under ids.
        start : int
            The first row wanted: where an earlier, interrupted call had yielded to. What follows
            is the same, bit for bit, as if the earlier call had gone on.
        """
        for first in range(start, len(texts), self.batch_texts):
            yield self.encode(texts[first : first + self.batch_texts], kind)

    def with_vectors(self, documents: Any, queries: Any) -> Encoder:
        """Return an encoder that reads these vectors, if it `reads_vectors`.

        Parameters
        ----------
        documents, queries : object
            With ``n``, ``d`` and ``read(start, stop)``, as
            :class:`retrieval_eval.vectorfiles.VectorRows` has them.
        """
        raise NotImplementedError(f"encoder {self.name!r} reads no vectors")

    def usage(self) -> Mapping[str, float]:
        """Return what encoding has used so far beside time, such as tokens that are paid for."""
        return {}

    def close(self) -> None:
        """Let go of processes, connections and models; called when all texts are encoded."""


def check_embeddings(
    vectors: Any, ids: Sequence[str], *, what: str, zero_allowed: bool, first_row: int = 0
) -> None:
    """Refuse vectors that no index can serve.

    Parameters
    ----------
    vectors : ndarray or csr_array, shape (n, d)
        What an encoder returned.
    ids : sequence of str, length n
        The text each row belongs to.
    what : str
        Whose vectors they are, for instance ``"encoder 'lsa', document"``.
    zero_allowed : bool
        Whether a row may be all zero.
    first_row : int
        Number of the first row, for messages.

    Raises
    ------
    InputError
        Naming the first row with NaN or infinity, or (unless allowed) with nothing but zeros.
    """
    if len(vectors.shape) != 2 or vectors.shape[0] != len(ids):
        raise InputError(f"{what}: expected {len(ids)} vectors, got an array {vectors.shape}")
    # A row's sum of magnitudes is finite iff every entry is; float64 cannot overflow here.
    size = np.asarray(abs(vectors).sum(axis=1, dtype=np.float64)).ravel()
    bad = np.flatnonzero(~np.isfinite(size))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{what} {ids[row]!r} (row {first_row + row}): the vector holds NaN or infinity; "
            f"{len(bad)} of {len(ids)} rows do. Is its text empty, or the file damaged?"
        )
    zero = np.flatnonzero(size == 0)
    if len(zero) and not zero_allowed:
        row = int(zero[0])
        raise InputError(
            f"{what} {ids[row]!r} (row {first_row + row}): the vector is all zero; {len(zero)} of "
            f"{len(ids)} rows are. It has no direction, so no cosine: remove or repair the text or "
            "vector"
        )
