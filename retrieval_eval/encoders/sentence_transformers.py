"""Any sentence-transformers model, by hub name or local folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError
from retrieval_eval.store import file_digest, fold_digests

__all__ = ["SentenceTransformersEncoder", "SentenceTransformersParameters"]


@dataclass(frozen=True)
class SentenceTransformersParameters:
    """Parameters of :class:`SentenceTransformersEncoder`.

    Parameters
    ----------
    model : str
        A folder, or a name on the model hub.
    revision : str or None
        Branch, tag or commit of a hub model; give a commit for results that stay.
    normalize : bool
        Scale vectors to unit length.
    query_prompt, document_prompt : str or None
        Text put before each query or document, for instance ``"query: "``. None takes the
        prompt that the model declares for the kind, if any; an empty string takes none.
    truncate_dim : int or None
        Keep the first dimensions only (Matryoshka models).
    max_length : int or None
        Longest input in tokens; None keeps the model's own.
    batch_size : int
        Texts a forward pass.
    device : str or None
        ``"cpu"``, ``"cuda"``, ...; None lets the library choose.
    """

    model: str
    revision: str | None = None
    normalize: bool = True
    query_prompt: str | None = None
    document_prompt: str | None = None
    truncate_dim: Annotated[int, Ge(1)] | None = None
    max_length: Annotated[int, Ge(1)] | None = None
    batch_size: Annotated[int, Ge(1)] = 32
    device: str | None = None


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the library's progress bars out of ours while it loads a model, and bring them back."""
    from transformers.utils import logging

    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()


class SentenceTransformersEncoder(Encoder):
    """Encodes with a sentence-transformers model.

    A local folder is identified by the content of its files, a hub model by name and revision.
    Device and batch size are no part of the identity: they change speed, and the last digits.
    """

    name: ClassVar[str] = "sentence-transformers"
    Parameters: ClassVar[type[Any]] = SentenceTransformersParameters
    requires: ClassVar[dict[str, str]] = {"sentence_transformers": "sentence-transformers"}
    distributions: ClassVar[tuple[str, ...]] = ("sentence-transformers", "transformers", "torch")

    _model: Any = None

    def identity(self) -> dict[str, Any]:
        """Return model content or name and revision, and all that shapes the vectors."""
        fields = {
            key: value
            for key, value in super().identity().items()
            if key not in {"batch_size", "device"}
        }
        folder = Path(self.parameters.model)
        if folder.is_dir():
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            fields["model"] = fold_digests(
                part
                for path in files
                if path.suffix not in {".py", ".pyc"}
                for part in (path.relative_to(folder).as_posix(), file_digest(path))
            )
        return fields

    def _load(self) -> Any:
        if self._model is None:
            self.require()
            from sentence_transformers import SentenceTransformer

            own = self.parameters
            try:
                with _no_bars():
                    model = SentenceTransformer(
                        own.model,
                        revision=own.revision,
                        device=own.device,
                        truncate_dim=own.truncate_dim,
                    )
            except (OSError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                raise InputError(
                    f"encoder 'sentence-transformers': model {own.model!r} cannot be loaded: "
                    f"{reason} Give a folder, or a hub name while the hub can be reached"
                ) from error
            if own.max_length is not None:
                model.max_seq_length = own.max_length
            self._model = model
        return self._model

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Encode texts with the prompt of their kind."""
        model = self._load()
        own = self.parameters
        call = model.encode_query if kind == "query" else model.encode_document
        prompt = own.query_prompt if kind == "query" else own.document_prompt
        vectors = call(
            list(texts),
            batch_size=own.batch_size,
            normalize_embeddings=own.normalize,
            convert_to_numpy=True,
            show_progress_bar=False,
            **({} if prompt is None else {"prompt": prompt}),
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)
