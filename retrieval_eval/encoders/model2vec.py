"""Any model2vec model: static token embeddings, by hub name or local folder."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError
from retrieval_eval.models import find_commit, folder_digest
from retrieval_eval.plugins import missing_library

__all__ = ["Model2VecEncoder", "Model2VecParameters"]

_MODEL_FILES = ("*.json", "*.safetensors", "*.md")


@dataclass(frozen=True)
class Model2VecParameters:
    """Parameters of :class:`Model2VecEncoder`.

    Parameters
    ----------
    model : str
        A folder, or a name on the model hub.
    revision : str or None
        Branch, tag or commit of a hub model; None is its main branch. Either stands for the commit
        that the local cache of the hub has for it, or else the hub itself.
    normalize : bool
        Scale vectors to unit length.
    dim : int or None
        Keep the first dimensions only: they carry the most, since model2vec orders them by PCA.
    max_length : int or None
        Longest input in tokens; None keeps the model's own, which is 512 unless it says otherwise.
    """

    model: str
    revision: str | None = None
    normalize: bool = True
    dim: Annotated[int, Ge(1)] | None = None
    max_length: Annotated[int, Ge(1)] | None = None


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Keep the hub's progress bars out of ours while it downloads, and bring them back."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    were_off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            enable_progress_bars()


class Model2VecEncoder(Encoder):
    """Mean of static token embeddings: no torch, thousands of texts a second on one core.

    Queries and documents are encoded alike. A text without any known token gets the zero vector,
    and a query like that retrieves nothing. A local folder is identified by the content of its
    files, a hub model by name and commit.
    """

    name: ClassVar[str] = "model2vec"
    Parameters: ClassVar[type[Any]] = Model2VecParameters
    requires: ClassVar[dict[str, str]] = {"model2vec": "model2vec"}
    libraries: ClassVar[tuple[str, ...]] = ("model2vec",)
    distributions: ClassVar[tuple[str, ...]] = ("model2vec", "tokenizers", "numpy")
    zero_means_no_match: ClassVar[bool] = True
    batch_texts: int = 1024

    _model: Any = None

    def identity(self) -> dict[str, Any]:
        """Return model content or name and commit, and all that shapes the vectors."""
        fields = super().identity()
        if self._in_folder:
            return {**fields, "model": folder_digest(Path(self.parameters.model))}
        return {**fields, "revision": self._commit}

    @property
    def _in_folder(self) -> bool:
        own = self.parameters
        is_folder = Path(own.model).is_dir()
        if is_folder and own.revision is not None:
            raise InputError(
                f"encoder 'model2vec': model {own.model!r} is a folder, which has no revisions: "
                f"leave out revision {own.revision!r}"
            )
        return is_folder

    @functools.cached_property
    def _commit(self) -> str | None:
        """Commit of a hub model, as far as it is known without loading it."""
        own = self.parameters
        found = None if missing_library(self.requires) else find_commit([own.model], own.revision)
        return own.revision if found is None else found[1]

    def dimension(self) -> int | None:
        """Return ``dim``; without it, the model's own once it is loaded."""
        dim: int | None = self.parameters.dim
        return self._model.dim if dim is None and self._model is not None else dim

    def _folder(self) -> Path:
        own = self.parameters
        if self._in_folder:
            return Path(own.model)
        from huggingface_hub import snapshot_download

        with _no_bars():
            found: str = snapshot_download(
                own.model, revision=self._commit, allow_patterns=list(_MODEL_FILES)
            )
        return Path(found)

    def _load(self) -> Any:
        if self._model is None:
            self.require()
            from model2vec import StaticModel

            own = self.parameters
            try:
                model = StaticModel.from_pretrained(self._folder())
            except InputError:
                raise
            except Exception as error:  # safetensors and tokenizers raise classes of their own
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise InputError(
                    f"encoder 'model2vec': model {own.model!r} cannot be loaded: {reason}. Give "
                    "a folder, or a hub name while the hub can be reached"
                ) from error
            if own.dim is not None and own.dim > model.dim:
                raise InputError(
                    f"encoder 'model2vec': dim is {own.dim}, but model {own.model!r} has only "
                    f"{model.dim} dimensions"
                )
            self._model = model
        return self._model

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Encode texts; queries and documents alike."""
        model = self._load()
        own = self.parameters
        if not len(texts):
            return np.zeros((0, self.dimension() or model.dim), dtype=np.float32)
        found = model.encode(
            list(texts),
            # The library would scale in the model's own type, which may be float16.
            normalize=False,
            # Its threads would set a variable of the whole process; the tokenizer has its own.
            use_multiprocessing=False,
            **({} if own.max_length is None else {"max_length": own.max_length}),
        )
        vectors = np.ascontiguousarray(found[:, : own.dim], dtype=np.float32)
        if own.normalize:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            np.divide(vectors, norms, out=vectors, where=norms > 0)
        return vectors

    def close(self) -> None:
        """Let go of the model."""
        self._model = None
