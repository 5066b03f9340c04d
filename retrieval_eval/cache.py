"""Looking after a store: what is in it, whether it is sound, and what can go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.store import MANIFEST, NOT_ARTEFACTS, Store, unseal

__all__ = ["CacheEntry", "damaged", "entries", "prune"]

_ABANDONED_S = 24 * 3600  # what a killed process left is its successor's for so long
_DAY_S = 24 * 3600


@dataclass(frozen=True)
class CacheEntry:
    """An artefact of a store, a fetched folder, or what an interrupted process left.

    Parameters
    ----------
    kind : str
        ``embeddings``, ``indexes`` and so on; ``downloads`` for fetched files, ``tmp`` for
        unfinished work.
    name : str
        Its key, or the name of its folder.
    folder : Path
        Where it is.
    n_bytes : int
        What its files take.
    used : float
        When it was last used, in seconds since 1970.
    """

    kind: str
    name: str
    folder: Path
    n_bytes: int
    used: float


def entries(store: Store) -> Iterator[CacheEntry]:
    """Yield what is in a store, kind by kind, without verifying it.

    Examples
    --------
    >>> import tempfile
    >>> store = Store(Path(tempfile.mkdtemp()))
    >>> _ = store.get_or_make("answers", {}, lambda folder: {})
    >>> [entry.kind for entry in entries(store)]
    ['answers']
    """
    if not store.root.is_dir():
        return
    for kind in sorted(path for path in store.root.iterdir() if path.is_dir()):
        if kind.name == "locks":
            continue
        for folder in sorted(path for path in kind.iterdir() if path.is_dir()):
            files = [path for path in folder.rglob("*") if path.is_file()]
            manifest = folder / MANIFEST
            times = [manifest] if manifest.is_file() else [folder, *files]
            yield CacheEntry(
                kind.name,
                folder.name,
                folder,
                sum(path.stat().st_size for path in files),
                max(path.stat().st_mtime for path in times),
            )


def damaged(store: Store) -> Iterator[tuple[CacheEntry, str | None]]:
    """Check every artefact against its checksums.

    Yields
    ------
    CacheEntry
        One artefact after another; fetched files and unfinished work have no checksums here.
    str or None
        What is wrong with it; None if nothing.
    """
    for entry in entries(store):
        if entry.kind in NOT_ARTEFACTS:
            continue
        try:
            unseal(entry.folder)
        except InputError as error:
            yield entry, str(error)
        else:
            yield entry, None


def prune(
    store: Store,
    *,
    kinds: Collection[str] = (),
    unused_days: float | None = None,
    keep_bytes: int | None = None,
    dry_run: bool = False,
) -> list[CacheEntry]:
    """Remove what is damaged or abandoned, and what the rules say; return what was removed.

    An artefact that somebody is making is left alone. One that is removed is made again when it is
    asked for: nothing that cannot be computed or fetched again is lost.

    Parameters
    ----------
    store : Store
        The store.
    kinds : collection of str
        Only these kinds; by default all but ``downloads``, which has to be named.
    unused_days : float, optional
        Remove what was not used for so long.
    keep_bytes : int, optional
        Remove what was unused longest, until what is left takes no more.
    dry_run : bool
        Only say what would go.

    Raises
    ------
    InputError
        For a kind that the store does not have.
    """
    found = list(entries(store))
    for kind in kinds:
        if kind not in {entry.kind for entry in found}:
            raise unknown_name("kind", kind, {entry.kind for entry in found})
    now = time.time()
    chosen = [one for one in found if (one.kind in kinds if kinds else one.kind != "downloads")]
    going: dict[Path, CacheEntry] = {}
    for entry in chosen:
        age = now - entry.used
        if entry.kind == "tmp":
            stale = age > _ABANDONED_S
        else:
            unsound = entry.kind not in NOT_ARTEFACTS and not _sound(entry)
            stale = unsound or (unused_days is not None and age > unused_days * _DAY_S)
        if stale:
            going[entry.folder] = entry
    if keep_bytes is not None:
        kept = [entry for entry in chosen if entry.folder not in going and entry.kind != "tmp"]
        total = sum(entry.n_bytes for entry in kept)
        for entry in sorted(kept, key=lambda one: one.used):
            if total <= keep_bytes:
                break
            going[entry.folder] = entry
            total -= entry.n_bytes
    if not dry_run:
        for entry in going.values():
            shutil.rmtree(entry.folder, ignore_errors=True)
    return list(going.values())


def _sound(entry: CacheEntry) -> bool:
    try:
        unseal(entry.folder)
    except InputError:
        return False
    return True
