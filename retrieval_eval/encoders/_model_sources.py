"""Where a model of sentence-transformers comes from, what stands for it, and what kind it is."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from retrieval_eval.errors import InputError
from retrieval_eval.store import file_digest, fold_digests

__all__ = ["OWN_CODE", "find_commit", "folder_digest", "no_bars", "refuse_other_kinds"]

OWN_CODE = (
    "is never run: encode in a script of yours and use encoder 'precomputed', or write an encoder "
    "class"
)
"""What an error says of a model's own code."""

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
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


def folder_digest(folder: Path) -> str:
    """Return a key of all files of a model: their names and content.

    Code is left out because it is never run, and what is hidden because it belongs to tools.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix not in {".py", ".pyc"}
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    return fold_digests(
        part for path in files for part in (path.relative_to(folder).as_posix(), file_digest(path))
    )


def find_commit(names: Collection[str], revision: str | None) -> tuple[str, str] | None:
    """Return the first name that a model is known under, and its commit.

    The local cache of the hub is asked first, so that a model that is here stays the same until
    it is fetched again; only then the hub.

    Parameters
    ----------
    names : collection of str
        Names that it may have on the hub.
    revision : str or None
        Branch, tag or commit; None is the main branch.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    names = [name for name in names if _HUB_NAME.fullmatch(name)]
    folder = os.environ.get("SENTENCE_TRANSFORMERS_HOME")
    for name in names:
        for file in ("modules.json", "config.json"):
            path = try_to_load_from_cache(name, file, cache_dir=folder, revision=revision)
            if isinstance(path, str):
                return name, Path(path).parent.name
    for name in names:
        try:
            commit = HfApi().model_info(name, revision=revision, timeout=10).sha
        except Exception:  # noqa: BLE001, S112  # whatever is wrong, loading the model reports it
            continue
        if commit is not None:
            return name, commit
    return None


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Keep the library's progress bars out of ours while it loads a model, and bring them back."""
    from transformers.utils import logging

    were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            logging.enable_progress_bar()


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
