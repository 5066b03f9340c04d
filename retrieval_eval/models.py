"""Models in folders or on the model hub: what stands for one, wherever it is used."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from retrieval_eval.store import file_digest, fold_digests

__all__ = ["find_commit", "folder_digest", "no_bars"]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


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
