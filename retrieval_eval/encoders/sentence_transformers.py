"""Any dense sentence-transformers model, by hub name or local folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.encoders._sentence_transformers import ModelEncoder, ModelParameters
from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError

__all__ = ["SentenceTransformersEncoder", "SentenceTransformersParameters"]

_CALIBRATION = 1000  # documents; ranges hardly widen beyond, and each is encoded twice


@dataclass(frozen=True)
class SentenceTransformersParameters(ModelParameters):
    """Parameters of :class:`SentenceTransformersEncoder`, beside those of every model.

    Parameters
    ----------
    normalize : bool
        Scale vectors to unit length, before `precision` rounds them.
    truncate_dim : int or None
        Keep the first dimensions only (Matryoshka models).
    precision : {'float32', 'float16', 'int8', 'binary'}
        What the vectors are rounded to; the array stays float32. ``'float16'`` rounds to half
        precision. ``'int8'`` cuts the range of each dimension into 256 equal steps and returns
        their middles, so that inner products and cosines stay those of the vectors; the ranges
        are those of at most 1,000 documents, evenly spaced, and what lies outside is clipped.
        ``'binary'`` keeps the sign: 1 for positive, else -1. Queries are rounded as documents are.
    """

    normalize: bool = True
    truncate_dim: Annotated[int, Ge(1)] | None = None
    precision: Literal["float32", "float16", "int8", "binary"] = "float32"


class SentenceTransformersEncoder(ModelEncoder):
    """Encodes with a sentence-transformers model.

    A local folder is identified by the content of its files, a hub model by name and commit.
    Device, batch size and processes are no part of the identity: they change speed, and the last
    digits. A model of transformers alone gets mean pooling, as the library does it.

    Raises
    ------
    InputError
        On first use, if the model cannot be loaded, is of another kind (sparse, cross-encoder,
        late interaction), needs code of its own, or lacks what a parameter asks of it.
    """

    name: ClassVar[str] = "sentence-transformers"
    Parameters: ClassVar[type[Any]] = SentenceTransformersParameters
    _library_class: ClassVar[str] = "SentenceTransformer"
    _owner: ClassVar[str] = "sentence-transformers"
    _kinds: ClassVar[frozenset[str]] = frozenset({"SentenceTransformer", "masked", "transformer"})

    _ranges: NDArray[np.float32] | None = None

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.needs_fit = self.parameters.precision == "int8"

    def dimension(self) -> int | None:
        """Return ``truncate_dim``."""
        dim: int | None = self.parameters.truncate_dim
        return dim

    def fit(self, documents: Sequence[str]) -> Encoder:
        """Measure the ranges of dimensions, if `precision` needs them.

        The model and its processes go over to the encoder that is returned.
        """
        if not self.needs_fit:
            return self
        rows = np.linspace(0, len(documents) - 1, min(len(documents), _CALIBRATION)).round()
        sample = self._floats([documents[int(row)] for row in rows], "document")
        fitted = type(self)(**vars(self.parameters))
        fitted._ranges = np.stack((sample.min(axis=0), sample.max(axis=0)))
        fitted._take_over(self)
        return fitted

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Encode texts with the prompt of their kind, and round them to `precision`."""
        precision = self.parameters.precision
        if precision == "int8" and self._ranges is None:
            raise InputError(
                f"encoder {self.name!r} with precision 'int8' must be fitted first: use "
                "encoder.fit(documents)"
            )
        vectors = self._floats(texts, kind)
        if precision == "float16":
            with np.errstate(over="ignore"):  # infinity is reported with the text's id
                return vectors.astype(np.float16).astype(np.float32)
        if precision == "binary":
            return np.where(vectors > 0, np.float32(1), np.float32(-1))
        return vectors if self._ranges is None else _middles(vectors, self._ranges)

    def _floats(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = super().encode(texts, kind)
        dim = self.parameters.truncate_dim
        if dim is not None and vectors.shape[1] < dim:
            raise InputError(
                f"{self._where}: truncate_dim is {dim}, but it has {vectors.shape[1]} dimensions"
            )
        return vectors

    def _load_options(self) -> dict[str, Any]:
        return {"truncate_dim": self.parameters.truncate_dim}

    def _encode_options(self) -> dict[str, Any]:
        return {"normalize_embeddings": self.parameters.normalize, "convert_to_numpy": True}

    def _convert(self, found: Any) -> NDArray[np.float32]:
        return np.asarray(found, dtype=np.float32)

    def _stack(
        self, parts: list[NDArray[np.float32]], order: NDArray[np.int64], width: int
    ) -> NDArray[np.float32]:
        if not parts:
            return np.empty((0, width), dtype=np.float32)
        return np.concatenate(parts)[order]


def _middles(vectors: NDArray[np.float32], ranges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle of the step, of 256 in its dimension's range, that each value lies in."""
    low, high = ranges
    step = (high - low) / np.float32(256)
    code = np.floor((vectors - low) / np.where(step == 0, np.float32(1), step)).clip(0, 255)
    middles: NDArray[np.float32] = low + (code + np.float32(0.5)) * step
    return middles
