"""Sparse models of sentence-transformers, such as SPLADE, by hub name or local folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.encoders._sentence_transformers import ModelEncoder, ModelParameters

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["SentenceTransformersSparseEncoder", "SentenceTransformersSparseParameters"]


@dataclass(frozen=True)
class SentenceTransformersSparseParameters(ModelParameters):
    """Parameters of :class:`SentenceTransformersSparseEncoder`, beside those of every model.

    Parameters
    ----------
    max_active_dims : int or None
        Keep so many largest values of each vector; None keeps what the model declares, or all.
    """

    max_active_dims: Annotated[int, Ge(1)] | None = None


class SentenceTransformersSparseEncoder(ModelEncoder):
    """Encodes with a sparse model of sentence-transformers (SPLADE: Formal et al. 2021).

    A vector has a dimension per term of the vocabulary, or per unit of a sparse autoencoder, and
    is scored by inner product. A masked language model of transformers alone gets SPLADE's max
    pooling, as the library does it; a dense model is refused, because the library would put
    untrained weights behind it. Identity as for the dense encoder.

    Raises
    ------
    InputError
        On first use, if the model cannot be loaded, is of another kind, needs code of its own, or
        lacks what a parameter asks of it.
    """

    name: ClassVar[str] = "sentence-transformers-sparse"
    Parameters: ClassVar[type[Any]] = SentenceTransformersSparseParameters
    sparse: ClassVar[bool] = True
    _library_class: ClassVar[str] = "SparseEncoder"
    _owner: ClassVar[str] = "sparse-encoder"
    _kinds: ClassVar[frozenset[str]] = frozenset({"SparseEncoder", "masked"})

    def _encode_options(self) -> dict[str, Any]:
        return {
            "convert_to_tensor": True,
            "convert_to_sparse_tensor": True,
            "save_to_cpu": True,
            "max_active_dims": self.parameters.max_active_dims,
        }

    def _convert(self, found: Any) -> csr_array:
        from scipy.sparse import csr_array

        found = found.coalesce()
        rows, columns = found.indices().numpy().astype(np.int32)
        values = found.values().float().numpy()
        return csr_array((values, (rows, columns)), shape=tuple(found.shape), dtype=np.float32)

    def _stack(self, parts: list[csr_array], order: NDArray[np.int64], width: int) -> Any:
        from scipy.sparse import csr_array, vstack

        if not parts:
            return csr_array((0, width), dtype=np.float32)
        return vstack(parts, format="csr")[order]
