"""WordLlama: static token embeddings whose weights come inside its wheel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind

__all__ = ["WordLlamaEncoder", "WordLlamaParameters"]


@dataclass(frozen=True)
class WordLlamaParameters:
    """Parameters of :class:`WordLlamaEncoder`.

    Parameters
    ----------
    dim : {64, 128, 256}
        Dimensions kept of the 256 that the wheel carries (Matryoshka truncation).
    """

    dim: Literal[64, 128, 256] = 256


class WordLlamaEncoder(Encoder):
    """Mean of static token embeddings, of unit length; no torch, no hub, no download.

    A text without any token gets the zero vector, and a query like that retrieves nothing.
    """

    name: ClassVar[str] = "wordllama"
    Parameters: ClassVar[type[Any]] = WordLlamaParameters
    requires: ClassVar[dict[str, str]] = {"wordllama": "wordllama"}
    libraries: ClassVar[tuple[str, ...]] = ("wordllama",)
    distributions: ClassVar[tuple[str, ...]] = ("wordllama", "tokenizers")
    zero_means_no_match: ClassVar[bool] = True

    _model: Any = None

    def dimension(self) -> int | None:
        """Return ``dim``."""
        return int(self.parameters.dim)

    def _load(self) -> Any:
        if self._model is None:
            self.require()
            import wordllama

            # The wheel holds weights and tokenizer, but the loader looks for the tokenizer in
            # its cache folder: point it at the wheel, and forbid the download.
            self._model = wordllama.WordLlama.load(
                dim=256,
                trunc_dim=self.parameters.dim if self.parameters.dim < 256 else None,
                cache_dir=Path(wordllama.__file__).parent,
                disable_download=True,
            )
        return self._model

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Encode texts; queries and documents alike."""
        model = self._load()
        vectors = np.zeros((len(texts), self.parameters.dim), dtype=np.float32)
        rows = [row for row, text in enumerate(texts) if text.strip()]  # empty ones give NaN
        if rows:
            vectors[rows] = model.embed([texts[row] for row in rows], norm=True)
        return vectors
