"""Keys of plain values and files, and folders sealed by a manifest that shows any damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from retrieval_eval.errors import InputError

__all__ = [
    "MANIFEST",
    "digest",
    "file_digest",
    "fold_digests",
    "read_signed",
    "seal",
    "signed",
    "unseal",
]

MANIFEST = "artefact.json"
"""Name of the file that seals a folder."""


def digest(fields: Mapping[str, Any]) -> str:
    """Return a 32-digit key of plain values, equal for equal values in any order of keys.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(_plain(fields), sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a JSON file gives back: keys are texts, and sequences lists."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(fields), allow_nan=False))
    return plain


def fold_digests(parts: Iterable[str | bytes]) -> str:
    """Return a 32-digit key of a sequence; ``["ab", "c"]`` and ``["a", "bc"]`` differ."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


def file_digest(path: Path) -> str:
    """Return the 32-digit key of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _files(folder: Path) -> list[str]:
    """List the files below a folder, but for its manifest, as relative paths."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted({path.relative_to(folder).as_posix() for path in found} - {MANIFEST})


def seal(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write the manifest of a finished folder: `meta`, and the size and digest of each file."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "blake2b": file_digest(folder / name)}
        for name in _files(folder)
    }
    (folder / MANIFEST).write_text(signed({"meta": dict(meta), "files": files}), encoding="utf-8")


def signed(body: Mapping[str, Any]) -> str:
    """Return plain values as JSON text that carries its own digest; none of its bytes may change.

    Examples
    --------
    >>> read_signed(signed({"a": 1}))
    {'a': 1}
    """
    plain = _plain(body)
    return json.dumps({**plain, "blake2b": digest(plain)}, indent=1) + "\n"


def read_signed(text: str) -> dict[str, Any]:
    """Return what :func:`signed` was given.

    Raises
    ------
    ValueError
        If a byte of the text is another than then: not even white space may differ.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"must hold a mapping, got {type(content).__name__}")
    content.pop("blake2b", None)
    if signed(content) != text:
        raise ValueError("was changed since it was written")
    return content


def unseal(folder: Path, key: str | None = None) -> tuple[dict[str, Any], int]:
    """Check a sealed folder against its manifest.

    Parameters
    ----------
    folder : Path
        The folder.
    key : str, optional
        Key of the artefact that it has to be; a folder that is whole, but another's, is refused.

    Returns
    -------
    meta : dict
        What :func:`seal` was given.
    n_bytes : int
        Total size of the files, without the manifest.

    Raises
    ------
    InputError
        If the manifest is missing or changed, a file is missing, extra or changed, or the folder
        holds another artefact.
    """
    manifest = folder / MANIFEST
    try:
        content = read_signed(manifest.read_bytes().decode())  # as it is: no other line ends
        meta, files = content["meta"], content["files"]
        if key is not None and digest(meta["fields"]) != key:
            raise InputError(f"{folder}: holds another artefact, {digest(meta['fields'])}")
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{manifest}: no readable manifest: {error}") from None
    odd = sorted({*_files(folder)} ^ {*files})
    if odd:
        raise InputError(f"{folder}: files differ from its manifest: {', '.join(odd)}")
    total = 0
    for name, facts in files.items():
        path = folder / name
        try:
            same = path.stat().st_size == facts["bytes"] and file_digest(path) == facts["blake2b"]
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        if not same:
            raise InputError(f"{path}: content differs from the checksum in {MANIFEST}")
        total += int(facts["bytes"])
    return meta, total
