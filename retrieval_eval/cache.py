"""Looking after a store: what is in it, whether it is sound, and what can go."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.remote import RemoteStore, Upload
from retrieval_eval.sealing import MANIFEST, unseal
from retrieval_eval.store import NOT_ARTEFACTS, Store, in_use

__all__ = ["CacheEntry", "damaged", "entries", "prune"]

_ABANDONED_S = 24 * 3600  # what a killed process left is its successor's for so long
_DAY_S = 24 * 3600
_ON_REQUEST = frozenset({"downloads", "remote"})  # removed only where the kind is named
_KEY = re.compile(r"[0-9a-f]{32}")
_HALF = re.compile(r"(.+-)?[0-9a-f]{32}")  # the lock of unfinished work is called so


@dataclass(frozen=True)
class CacheEntry:
    """An artefact of a store, a fetched folder, or what an interrupted process left.

    Parameters
    ----------
    kind : str
        ``embeddings``, ``indexes`` and so on; ``downloads`` for fetched files, ``remote`` for what
        is kept here of a URL, ``tmp`` for unfinished work.
    name : str
        Its key, or the name of its folder.
    folder : Path or None
        Where it is; None for what is at a URL.
    n_bytes : int
        What its files take.
    used : float
        When it was last used, in seconds since 1970; at a URL, to within a day.
    upload : Upload or None
        What it is at a URL; None for what is here.
    """

    kind: str
    name: str
    folder: Path | None
    n_bytes: int
    used: float
    upload: Upload | None = None


def entries(store: Store) -> Iterator[CacheEntry]:
    """Yield what is in a store, kind by kind, without verifying it: here, then at its URL if any.

    Folders that are not the store's own are left out, so that nothing here ever removes them.

    Examples
    --------
    >>> import tempfile
    >>> store = Store(Path(tempfile.mkdtemp()))
    >>> _ = store.get_or_make("answers", {}, lambda folder: {})
    >>> [entry.kind for entry in entries(store)]
    ['answers']
    """
    yield from _here(store)
    if isinstance(store, RemoteStore):
        yield from _there(store)


def _there(store: RemoteStore) -> Iterator[CacheEntry]:
    for one in store.uploads():
        kind, name = (one.kind, one.key) if one.current else ("tmp", f"{one.kind}-{one.key}")
        yield CacheEntry(kind, name, None, one.n_bytes, one.used, one)


def _here(store: Store) -> Iterator[CacheEntry]:
    if not store.root.is_dir():
        return
    for kind in sorted(path for path in store.root.iterdir() if path.is_dir()):
        if kind.name == "locks":
            continue
        for folder in sorted(path for path in kind.iterdir() if path.is_dir()):
            ours = _HALF.match if kind.name == "tmp" else _KEY.fullmatch
            if kind.name not in _ON_REQUEST and not ours(folder.name):
                continue
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
        if entry.kind not in NOT_ARTEFACTS:
            yield entry, _fault(store, entry)


def _fault(store: Store, entry: CacheEntry) -> str | None:
    """Read every byte of an artefact; return what is wrong with it."""
    if entry.upload is not None and isinstance(store, RemoteStore):
        return store.fault(entry.upload)
    try:
        unseal(entry.folder or Path(), entry.name)
    except InputError as error:
        return str(error)
    return None


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

    The rules are applied here and at the store's URL, to each by itself. At the URL, what is
    damaged is looked for by names and sizes alone.

    Parameters
    ----------
    store : Store
        The store.
    kinds : collection of str
        Only these kinds; by default all but ``downloads`` and ``remote``, which have to be named.
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
    chosen = [one for one in found if (one.kind in kinds if kinds else one.kind not in _ON_REQUEST)]
    going = []
    for place in (
        [one for one in chosen if one.upload is None],
        [one for one in chosen if one.upload is not None],
    ):
        stale = [_stale(store, entry, unused_days) for entry in place]
        going += [entry for entry, gone in zip(place, stale, strict=True) if gone]
        if keep_bytes is not None:
            kept = [one for one, gone in zip(place, stale, strict=True) if not gone]
            kept = sorted((one for one in kept if one.kind != "tmp"), key=lambda one: one.used)
            total = sum(one.n_bytes for one in kept)
            for entry in kept:
                if total <= keep_bytes:
                    break
                going.append(entry)
                total -= entry.n_bytes
    if not dry_run:
        for entry in going:
            if entry.folder is not None:
                store.remove(entry.folder)
            elif entry.upload is not None and isinstance(store, RemoteStore):
                store.withdraw(entry.upload)
    return going


def _stale(store: Store, entry: CacheEntry, unused_days: float | None) -> bool:
    age = time.time() - entry.used
    if entry.kind == "tmp":
        lock = _HALF.match(entry.name)
        busy = lock is not None and in_use(store.root / "locks" / lock[0])
        return age > _ABANDONED_S and not busy
    if unused_days is not None and age > unused_days * _DAY_S:
        return True
    if entry.upload is not None:
        return entry.upload.fault is not None
    return entry.kind not in NOT_ARTEFACTS and _fault(store, entry) is not None
