"""Where a model of sentence-transformers comes from, what stands for it, and what kind it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from retrieval_eval.errors import InputError

__all__ = ["OWN_CODE", "refuse_other_kinds"]

OWN_CODE = (
    "is never run: encode in a script of yours and use encoder 'precomputed', or write an encoder "
    "class"
)
"""What an error says of a model's own code."""

_SPARSE_PARTS = ("sparse_encoder", "SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding")
_OTHER_KINDS = {
    "SentenceTransformer": "it is a dense model: use encoder 'sentence-transformers'",
    "SparseEncoder": "it is a sparse model: use encoder 'sentence-transformers-sparse'",
    "CrossEncoder": "it is a cross-encoder, which scores pairs of texts and makes no vectors",
    "MultiVectorEncoder": "it makes a vector of each token (late interaction), not one of a text",
    "transformer": (
        "it has neither sparse modules nor the head of a masked language model, and the library "
        "would add a random one"
    ),
}


def _kind_of(settings: Any, modules: Any, config: Any) -> str:
    """Return what a model was saved as, by the three files that say so (None if missing)."""
    if modules is not None:
        declared = (settings or {}).get("model_type")
        if declared is not None:
            return str(declared)
        types = [module["type"] for module in modules]
        sparse = any(part in name for name in types for part in _SPARSE_PARTS)
        return "SparseEncoder" if sparse else "SentenceTransformer"
    heads = (config or {}).get("architectures") or []
    if any(head.endswith("ForSequenceClassification") for head in heads):
        return "CrossEncoder"
    return "masked" if any(head.endswith("ForMaskedLM") for head in heads) else "transformer"


def refuse_other_kinds(
    place: Callable[[str], Path | str | None], kinds: Collection[str], where: str
) -> None:
    """Refuse a model that the library would load all the same, as something it is not.

    Parameters
    ----------
    place : callable
        Gets a file's name, and returns where it is, if it is.
    kinds : collection of str
        The library's names of the kinds that will do; ``"masked"`` and ``"transformer"`` are
        models of transformers alone, with and without the head of a masked language model.
    where : str
        Encoder and model, for the message.

    Raises
    ------
    InputError
        For another kind, a module that is not the library's, or a file that is not JSON.
    """
    content: list[Any] = []
    for name in ("config_sentence_transformers.json", "modules.json", "config.json"):
        path = place(name)
        if path is None or not Path(path).is_file():
            content.append(None)
            continue
        try:
            content.append(json.loads(Path(path).read_text(encoding="utf-8")))
        except ValueError as error:
            raise InputError(f"{path}: not valid JSON ({error})") from None
    if not any(part is not None for part in content):
        return  # nothing is here: loading reports it
    try:
        kind = _kind_of(*content)
        types = [module["type"] for module in content[1] or []]
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{where}: its files are not those of a model ({error!r})") from None
    if kind not in kinds:
        raise InputError(f"{where} cannot be used: {_OTHER_KINDS.get(kind, f'it is a {kind}')}")
    for name in types:
        if not name.startswith("sentence_transformers."):
            raise InputError(f"{where} needs code of its own ({name}), which {OWN_CODE}")
