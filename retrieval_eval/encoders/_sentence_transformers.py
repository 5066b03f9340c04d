"""What dense and sparse models of sentence-transformers share: loading, prompts, batches, pools."""

from __future__ import annotations

import contextlib
import functools
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.encoders._model_sizes import (
    CPU_WINDOW,
    WINDOW,
    activation_memory,
    dimensions,
    estimate_tokens,
    plan_batches,
    positions,
    token_budget,
)
from retrieval_eval.encoders._model_sources import OWN_CODE, refuse_other_kinds
from retrieval_eval.encoders.base import Encoder, Kind, Vectors
from retrieval_eval.errors import InputError, RetrievalEvalError, unknown_name
from retrieval_eval.models import find_commit, folder_digest, no_bars
from retrieval_eval.plugins import missing_library
from retrieval_eval.timing import library_versions

__all__ = ["ModelEncoder", "ModelParameters"]


@dataclass(frozen=True)
class ModelParameters:
    """Parameters that every model of the library takes.

    Parameters
    ----------
    model : str
        A folder, or a name on the model hub. Code that comes with a model is never run.
    revision : str or None
        Branch, tag or commit of a hub model; None is its main branch. Either stands for the commit
        that the local cache of the hub has for it, or else the hub itself.
    query_prompt, document_prompt : str or None
        Text put before each query or document, for instance ``"query: "``. None takes the
        prompt that the model declares for the kind, if any; an empty string takes none.
    query_prompt_name, document_prompt_name : str or None
        Name of a prompt that the model declares, instead of a text.
    max_length : int or None
        Longest input in tokens; None keeps the model's own.
    dtype : {'float32', 'float16', 'bfloat16'} or None
        Arithmetic of the model; None keeps the type that its weights are stored in. `torch` only.
    backend : {'torch', 'onnx', 'openvino'}
        What runs the model. A model without a file for the other two is exported whenever it is
        loaded, and the file is not kept.
    batch_size : int or None
        Texts a forward pass. None takes as many texts of like length as a budget of tokens allows:
        4,096 on a CPU, 65,536 elsewhere, and fewer if the model's activations would then take more
        than 1 GiB, or a quarter of a GPU's memory. So it depends on model and machine alone, and
        the same texts give the same bits. Where the device runs out of memory all the same, the
        texts at hand are encoded again in halves, whichever way the size was found.
    processes : int
        Processes that encode: on a CPU they share its threads; with CUDA each has a device of its
        own. `torch` only.
    device : str or None
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; None lets the library choose.
    """

    model: str
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    query_prompt_name: str | None = None
    document_prompt_name: str | None = None
    max_length: Annotated[int, Ge(1)] | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    backend: Literal["torch", "onnx", "openvino"] = "torch"
    batch_size: Annotated[int, Ge(1)] | None = None
    processes: Annotated[int, Ge(1)] = 1
    device: str | None = None


_SPEED_ALONE = {"batch_size", "processes", "device"}
_BACKEND_MODULES = {"onnx": ("optimum", "onnxruntime"), "openvino": ("optimum", "openvino")}
_OLDER = {
    "onnx": "sentence-transformers back from 6.2 to 5.7, and transformers from 5 to 4.57",
    "openvino": "transformers back to 5.5",
}
_BACKEND_DISTRIBUTIONS = {
    "onnx": ("optimum", "optimum-onnx", "onnxruntime", "onnxruntime-gpu"),
    "openvino": ("optimum", "optimum-intel", "openvino"),
}


@contextlib.contextmanager
def _threads_of_children(threads: int) -> Iterator[None]:
    """Have processes that start in this block compute with so many threads each."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


class ModelEncoder(Encoder):
    """Encodes with a model of sentence-transformers; subclasses say which kind of vectors.

    A local folder is identified by the content of its files, a hub model by name and commit.
    Device, batch size and processes are no part of the identity: they change speed, and the last
    digits.
    """

    requires: ClassVar[dict[str, str]] = {"sentence_transformers": "sentence-transformers"}
    libraries: ClassVar[tuple[str, ...]] = ("sentence_transformers",)
    distributions: ClassVar[tuple[str, ...]] = ("sentence-transformers", "transformers", "torch")
    batch_texts: int = CPU_WINDOW
    _library_class: ClassVar[str]
    _owner: ClassVar[str]  # whose models the library takes names without an owner for
    _kinds: ClassVar[frozenset[str]]

    _model: Any = None
    _pool: Any = None
    _budget: int = 1

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        own = self.parameters
        for kind in ("query", "document"):
            text, name = getattr(own, f"{kind}_prompt"), getattr(own, f"{kind}_prompt_name")
            if text is not None and name is not None:
                raise InputError(
                    f"encoder {self.name!r}: {kind}_prompt is {text!r} and {kind}_prompt_name is "
                    f"{name!r}: give one of the two"
                )
        for key in ("dtype", "processes"):
            value = getattr(own, key)
            if own.backend != "torch" and value not in {None, 1}:
                raise InputError(
                    f"encoder {self.name!r}: {key} is {value!r}, but backend is {own.backend!r}: "
                    "that goes with backend 'torch' alone"
                )

    @abstractmethod
    def _convert(self, found: Any) -> Any:
        """Turn what the library returns into rows of vectors."""

    @abstractmethod
    def _stack(self, parts: list[Any], order: NDArray[np.int64], width: int) -> Any:
        """Stack rows, and take them in an order; `width` is of none."""

    def _load_options(self) -> dict[str, Any]:
        return {}

    def _encode_options(self) -> dict[str, Any]:
        return {}

    def require(self) -> None:
        """Raise if the library, or what its backend needs, is not installed."""
        super().require()
        backend = self.parameters.backend
        missing = missing_library(dict.fromkeys(_BACKEND_MODULES.get(backend, ()), backend))
        if missing is not None:
            raise InputError(
                f"encoder {self.name!r}: backend {backend!r} needs the library {missing[0]!r}, "
                f"which is not installed: pip install 'sentence-transformers[{backend}]', best in "
                f"an environment of its own, for it takes {_OLDER[backend]}"
            )

    def check(self, n_documents: int, n_queries: int) -> None:
        """Refuse a folder with a model of another kind."""
        folder = Path(self.parameters.model)
        if folder.is_dir():
            refuse_other_kinds(lambda name: folder / name, self._kinds, self._where)

    def identity(self) -> dict[str, Any]:
        """Return model content or name and commit, and all that shapes the vectors."""
        own = self.parameters
        fields = {
            key: value for key, value in super().identity().items() if key not in _SPEED_ALONE
        }
        if self._in_folder:
            fields["model"] = self._folder_digest
        else:
            fields["model"], fields["revision"], _ = self._source
        if own.backend != "torch":
            fields["backend"] = [
                own.backend,
                library_versions(*_BACKEND_DISTRIBUTIONS[own.backend]),
            ]
        return fields

    @property
    def _where(self) -> str:
        return f"encoder {self.name!r}: model {self.parameters.model!r}"

    @property
    def _in_folder(self) -> bool:
        is_folder = Path(self.parameters.model).is_dir()
        if is_folder and self.parameters.revision is not None:
            raise InputError(
                f"{self._where} is a folder, which has no revisions: leave out revision "
                f"{self.parameters.revision!r}"
            )
        return is_folder

    @functools.cached_property
    def _folder_digest(self) -> str:
        return folder_digest(Path(self.parameters.model))

    @functools.cached_property
    def _source(self) -> tuple[str, str | None, bool]:
        """Full name and commit of a hub model, and whether cache or hub knew them."""
        own = self.parameters
        names = [own.model] if "/" in own.model else [f"{self._owner}/{own.model}", own.model]
        found = None if missing_library(self.requires) else find_commit(names, own.revision)
        return (own.model, own.revision, False) if found is None else (*found, True)

    def _load(self) -> Any:
        if self._model is not None:
            return self._model
        self.require()
        import sentence_transformers
        from sentence_transformers.util import load_file_path

        own = self.parameters
        name, revision, known = (own.model, None, True) if self._in_folder else self._source
        # The hub was just asked for what is not known: asking again takes minutes of retries.
        where = {"revision": revision, "local_files_only": not known}
        devices = self._devices()
        try:
            with no_bars():
                place = functools.partial(load_file_path, name, **where)
                refuse_other_kinds(place, self._kinds, self._where)
                model = getattr(sentence_transformers, self._library_class)(
                    name,
                    device=devices[0] if len(devices) == 1 else "cpu",
                    backend=own.backend,
                    trust_remote_code=False,
                    **where,
                    **self._load_options(),
                )
        except InputError:
            raise
        except Exception as error:  # the library raises anything, down to Exception itself
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if "trust_remote_code" in str(error):
                raise InputError(
                    f"{self._where} needs code of its own, which {OWN_CODE}"
                ) from error
            raise InputError(
                f"{self._where} cannot be loaded: {reason} Give a folder, or a hub name while the "
                "hub can be reached"
            ) from error
        self._prepare(model, devices[0])
        self._model = model
        if len(devices) > 1:
            self._start(devices)
        return model

    def _devices(self) -> list[str | None]:
        """Return the device of each process; None lets the library choose."""
        own = self.parameters
        if own.processes == 1:
            return [own.device]
        import torch

        device = own.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device == "cpu":
            return [device] * own.processes
        if device != "cuda":
            raise InputError(
                f"encoder {self.name!r}: processes is {own.processes}, but device is {device!r}: "
                "several processes share 'cpu', or have a device of 'cuda' each"
            )
        if own.processes > torch.cuda.device_count():
            raise InputError(
                f"encoder {self.name!r}: processes is {own.processes}, but CUDA has "
                f"{torch.cuda.device_count()} devices here, and each process needs one"
            )
        return [f"cuda:{number}" for number in range(own.processes)]

    def _prepare(self, model: Any, device: str | None) -> None:
        """Apply what the library takes after loading, and refuse what the model cannot do."""
        import torch

        own = self.parameters
        for kind in ("query", "document"):
            name = getattr(own, f"{kind}_prompt_name")
            if name is not None and name not in model.prompts:
                raise unknown_name(f"{kind}_prompt_name", name, model.prompts, self._where)
        if own.max_length is not None:
            most = positions(model)
            if most is not None and own.max_length > most:
                raise InputError(
                    f"{self._where}: max_length is {own.max_length}, but it has {most} positions"
                )
            try:
                model.max_seq_length = own.max_length
            except AttributeError:
                raise InputError(
                    f"{self._where}: max_length is {own.max_length}, but it reads texts of any "
                    "length: leave max_length out"
                ) from None
        if own.dtype is not None:
            model.to(getattr(torch, own.dtype))
        where = model.device if device is None else torch.device(device)
        if where.type != "cpu":
            self.batch_texts = WINDOW
        config = getattr(getattr(model[0], "auto_model", None), "config", None)
        hidden = getattr(config, "hidden_size", None) or 1024
        outputs = (getattr(config, "vocab_size", None) or 32_768) if self.sparse else 0
        self._budget = token_budget(where.type, activation_memory(where), hidden, outputs)

    def _start(self, devices: list[str | None]) -> None:
        import torch

        threads = max(1, torch.get_num_threads() // len(devices))
        try:
            with _threads_of_children(threads):
                self._pool = self._model.start_multi_process_pool(devices)
        except (OSError, RuntimeError) as error:
            self.close()
            raise RetrievalEvalError(
                f"encoder {self.name!r}: {len(devices)} processes cannot be started: {error}"
            ) from error

    def stream(
        self,
        texts: Sequence[str],
        kind: Kind,
        *,
        ids: Sequence[str] | None = None,
        start: int = 0,
    ) -> Iterator[Vectors]:
        """Yield the vectors of all texts in order, a window at a time, each sorted by length."""
        self._load()  # sets the size of a window, which goes by the device
        yield from super().stream(texts, kind, ids=ids, start=start)

    def encode(self, texts: Sequence[str], kind: Kind) -> Any:
        """Encode texts with the prompt of their kind, those of like length together."""
        model, texts = self._load(), list(texts)
        own = self.parameters
        text, name = getattr(own, f"{kind}_prompt"), getattr(own, f"{kind}_prompt_name")
        options = self._encode_options() | {"show_progress_bar": False}
        if text is not None or name is not None:
            options |= {"prompt": text} if name is None else {"prompt_name": name}
        call = model.encode_query if kind == "query" else model.encode_document
        lengths = estimate_tokens(texts, text or model.prompts.get(name or kind) or "")
        limit = int(min(getattr(model, "max_seq_length", None) or 2**20, 2**20))
        order: list[NDArray[np.int64]] = []
        parts: list[Any] = []
        try:
            for rows, size in plan_batches(lengths, limit, self._budget, own.batch_size):
                parts += self._run(
                    functools.partial(call, **options), [texts[i] for i in rows], size
                )
                order.append(rows)
        except BaseException:
            self.close()
            raise
        back = np.argsort(np.concatenate(order)) if order else np.empty(0, dtype=np.int64)
        return self._stack(parts, back, dimensions(model))

    def _run(self, call: Any, texts: list[str], size: int) -> list[Any]:
        """Encode texts `size` at a time, in halves of that whenever memory runs out."""
        while True:
            try:
                if self._pool is not None:
                    found = [call(texts, batch_size=size, pool=self._pool, chunk_size=size)]
                else:
                    found = [
                        call(texts[first : first + size], batch_size=size)
                        for first in range(0, len(texts), size)
                    ]
                return [self._convert(part) for part in found]
            except RuntimeError as error:
                reason = str(error)
                if "died unexpectedly" in reason:
                    raise RetrievalEvalError(
                        f"encoder {self.name!r}: {reason} A process may have run out of memory: "
                        "choose fewer processes. A script that encodes with several must do so "
                        "below if __name__ == '__main__'"
                    ) from error
                if "out of memory" not in reason or size == 1:
                    raise
            # Not remembered, so that what follows is the same if encoding goes on here later.
            size = max(1, min(size, len(texts)) // 2)

    def _take_over(self, other: ModelEncoder) -> None:
        """Move a loaded model and its processes here from an encoder with equal parameters."""
        self._model, self._pool = other._model, other._pool
        self._budget, self.batch_texts = other._budget, other.batch_texts
        other._model = other._pool = None

    def close(self) -> None:
        """Stop processes and let go of the model; it is loaded again if need be."""
        pool, self._pool = self._pool, None
        model, self._model = self._model, None
        if pool is not None:
            model.stop_multi_process_pool(pool)
