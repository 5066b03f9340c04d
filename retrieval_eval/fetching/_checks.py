"""What a fetched file is checked against: expected checksums, or what was recorded of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval_eval.errors import InputError
from retrieval_eval.fetching._sidecars import read_record, sidecar, write_record

__all__ = ["CHECKSUM_DIGITS", "CHUNK", "Fetched", "hashers", "present", "record"]

CHECKSUM_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128, "blake2b": 128}
"""The checksums that can be given, and how many hexadecimal digits each has."""

CHUNK = 1 << 20
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class Fetched:
    """A file that is there and has been checked.

    Parameters
    ----------
    path : Path
        Where it is.
    n_bytes : int
        Its size.
    sha256 : str
        Its checksum, whichever one was asked for.
    fresh : bool
        Whether this call downloaded it.
    """

    path: Path
    n_bytes: int
    sha256: str
    fresh: bool


def present(target: Path, expected: Mapping[str, str], size: int | None) -> Fetched | None:
    """Check a file that is at the target; None if there is none."""
    if not target.exists():
        return None
    if not target.is_file():
        raise InputError(f"{target}: is no file; move it away")
    record_path = sidecar(target, ".fetched.json")
    recorded = read_record(record_path)
    status = target.stat()
    known = recorded.get("checksums", {})
    same = (recorded.get("bytes"), recorded.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    if same and "sha256" in known and expected.items() <= known.items():
        return Fetched(target, status.st_size, known["sha256"], fresh=False)
    digesting = hashers(expected)
    try:
        with target.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                for hasher in digesting.values():
                    hasher.update(chunk)
    except OSError as error:
        raise InputError(f"{target}: cannot be read: {error}") from None
    digests = {name: hasher.hexdigest() for name, hasher in digesting.items()}
    way_out = "delete it to fetch it again, or put the right file there"
    _compare(f"{target}: is not the expected file", expected, digests, way_out)
    if not expected:
        if size is not None and status.st_size != size:
            raise InputError(
                f"{target}: has {status.st_size:,} bytes, expected are {size:,}; {way_out}"
            )
        _compare(
            f"{target}: has changed since it was fetched",
            {"sha256": known["sha256"]} if "sha256" in known else {},
            digests,
            f"{way_out}; delete {record_path.name} as well if the change was meant",
        )
    record(target, recorded.get("url", ""), digests)
    return Fetched(target, status.st_size, digests["sha256"], fresh=False)


def hashers(names: Iterable[str]) -> dict[str, Any]:
    """Return a hasher for each name, and one for sha256 in any case."""
    return {name: hashlib.new(name, usedforsecurity=False) for name in {*names, "sha256"}}


def _compare(
    what: str, expected: Mapping[str, str], digests: Mapping[str, str], way_out: str
) -> None:
    for name, value in expected.items():
        if digests[name] != value:
            raise InputError(f"{what}: expected {name} {value}, found {digests[name]}; {way_out}")


def record(target: Path, url: str, digests: Mapping[str, str]) -> None:
    """Write down what a checked file was like."""
    status = target.stat()
    write_record(
        sidecar(target, ".fetched.json"),
        {
            "url": url,
            "bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "checksums": dict(sorted(digests.items())),
        },
    )
