"""Fetching a file over HTTP: resumed, checked, and there whole or not at all.

The bytes go to ``NAME.part`` beside the target. What is needed to go on after a kill stands in
``NAME.part.json``; the checked file is renamed, and ``NAME.fetched.json`` keeps its checksum, so
that a later change is noticed and a large file is not read again at every use.

The standard library does the requests: proxies by environment, verified TLS, nothing to install.
What a client library would add (pools, sessions) is of no use for a file at a time.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from retrieval_eval.errors import InputError, RetrievalEvalError, unknown_name
from retrieval_eval.fetching._checks import (
    CHECKSUM_DIGITS,
    CHUNK,
    Fetched,
    hashers,
    present,
    record,
)
from retrieval_eval.fetching._http import (
    HTTP_ERRORS,
    Hiccup,
    Refusal,
    make_opener,
    open_url,
    refused,
    text,
    whole,
)
from retrieval_eval.fetching._sidecars import exclusive, read_record, sidecar, write_record

__all__ = ["CHECKSUM_DIGITS", "FetchError", "Fetched", "fetch"]

_SPARE = 64 << 20  # what a download leaves free on the disk
_LONGEST_WAIT = 60.0  # seconds; a server may ask for hours
_AGENT = "retrieval-eval"  # some hosts refuse the one that urllib sends


class FetchError(RetrievalEvalError):
    """A file could not be fetched; the message names it and the way to go on without a network."""


@dataclass
class _Job:
    """One file on its way, across attempts."""

    url: str
    target: Path
    checksums: Mapping[str, str]
    size: int | None
    limit: int
    timeout: float
    advance: Callable[[int], None]
    done: int = 0  # bytes of the part that are digested, and told to `advance`
    spliced: bool = False  # whether the part comes from more than one response

    def __post_init__(self) -> None:
        self.part = sidecar(self.target, ".part")
        self.state = sidecar(self.target, ".part.json")
        self.opener = make_opener(bool(self.checksums))
        self.restart()

    def restart(self) -> None:
        """Digest from the first byte on."""
        if self.done:
            self.advance(-self.done)
        self.done = 0
        self.hashers = hashers(self.checksums)

    def discard(self) -> None:
        """Fetch from the first byte on."""
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)
        self.spliced = False
        self.restart()

    def took(self, chunk: bytes) -> None:
        for hasher in self.hashers.values():
            hasher.update(chunk)
        self.done += len(chunk)
        self.advance(len(chunk))

    def failed(self, reason: str) -> FetchError:
        known = [f"{self.size:,} bytes"] if self.size is not None else []
        known += [f"{name} {value}" for name, value in self.checksums.items()]
        facts = f" ({', '.join(known)})" if known else ""
        return FetchError(
            f"{self.url}: cannot be fetched: {reason}. Get the file by other means{facts}, put it "
            f"at {self.target}, and run the same command again: it goes on from there"
        )


def fetch(
    url: str,
    target: Path,
    *,
    checksums: Mapping[str, str] | None = None,
    size: int | None = None,
    max_bytes: int = 1 << 37,
    timeout: float = 30.0,
    retries: int = 4,
    backoff: float = 1.0,
    advance: Callable[[int], None] | None = None,
) -> Fetched:
    """Make sure that a file is there, fetching it if need be.

    A file that already lies at `target`, however it came there, is checked and used. Of several
    processes that ask for the same file, one fetches it and the others wait.

    Parameters
    ----------
    url : str
        ``https``. Plain ``http`` is refused unless a checksum is given or the host is this
        machine; the same holds for where the server redirects to.
    target : Path
        Where the file belongs. Its folder is made.
    checksums : mapping of str to str, optional
        Expected checksums in hexadecimal by algorithm, see :data:`CHECKSUM_DIGITS`; all given
        ones are checked. Without any, the file's sha256 is recorded beside it, and another one
        later is an error.
    size : int, optional
        Expected size in bytes. A server that announces, or sends, over a tenth more is refused.
    max_bytes : int
        What is refused where `size` is not known; 128 GiB by default.
    timeout : float
        Seconds that the server may stay silent.
    retries : int
        Attempts after the first, each going on where the last one ended, if the server can do
        that. An attempt that brought a mebibyte starts the count again.
    backoff : float
        Seconds before the second attempt, doubled for each further one.
    advance : callable, optional
        Told of every number of bytes gained; negative when the download has to start again.

    Returns
    -------
    Fetched
        Path, size, checksum.

    Raises
    ------
    InputError
        For a URL or a checksum that cannot be used, and for a file at `target` that is not the
        expected one: such a file is left as it is.
    FetchError
        If the file cannot be fetched, or what came is not the expected file (it is deleted). The
        message says where to put a copy obtained by other means.

    Examples
    --------
    >>> import hashlib, tempfile
    >>> target = Path(tempfile.mkdtemp()) / "cran.txt"
    >>> _ = target.write_bytes(b"put here by hand")
    >>> md5 = hashlib.md5(b"put here by hand").hexdigest()
    >>> fetch("https://example.org/cran.txt", target, checksums={"md5": md5}).fresh
    False
    """
    expected = {name: value.lower() for name, value in (checksums or {}).items()}
    for name, value in expected.items():
        if name not in CHECKSUM_DIGITS:
            raise unknown_name("checksum", name, CHECKSUM_DIGITS, url)
        if not re.fullmatch(f"[0-9a-f]{{{CHECKSUM_DIGITS[name]}}}", value):
            raise InputError(
                f"{url}: {name} must be {CHECKSUM_DIGITS[name]} hexadecimal digits, got {value!r}"
            )
    reason = refused(url, bool(expected))
    if reason:
        raise InputError(f"{url}: {reason}")
    with exclusive(target):
        found = present(target, expected, size)
        if found is not None:
            return found
        limit = max_bytes if size is None else math.ceil(size * 1.1)
        tell = advance or (lambda _count: None)
        job = _Job(url, target, expected, size, limit, timeout, tell)
        try:
            return _download(job, retries, backoff)
        except OSError as error:  # of the disk: those of the network are caught where they arise
            raise job.failed(f"the disk refused: {error}") from None


def _download(job: _Job, retries: int, backoff: float) -> Fetched:
    failures = 0
    while True:
        before = job.done
        try:
            _attempt(job)
        except Refusal as problem:
            raise job.failed(str(problem)) from None
        except Hiccup as problem:
            failures = 1 if job.done - before >= CHUNK else failures + 1
            if failures > retries:
                raise job.failed(f"{problem} ({failures} attempts)") from None
            wait = backoff * 2 ** (failures - 1) if problem.wait is None else problem.wait
            time.sleep(min(wait, _LONGEST_WAIT))
            continue
        digests = {name: hasher.hexdigest() for name, hasher in job.hashers.items()}
        wrong = _wrong(job, digests)
        if not wrong:
            return _keep(job, digests)
        once_more = job.spliced  # the file may have changed between its pieces
        job.discard()
        if not once_more:
            raise job.failed(
                f"{wrong}; it was deleted. The file behind the address may have changed since "
                "this was written down"
            )


def _wrong(job: _Job, digests: Mapping[str, str]) -> str:
    for name, value in job.checksums.items():
        if digests[name] != value:
            return f"what came has {name} {digests[name]}, expected is {value}"
    if not job.checksums and job.size not in {None, job.done}:
        return f"what came has {job.done:,} bytes, expected are {job.size:,}"
    return ""


def _keep(job: _Job, digests: Mapping[str, str]) -> Fetched:
    """Give the finished file its name."""
    record_path = sidecar(job.target, ".fetched.json")
    recorded = read_record(record_path).get("checksums", {}).get("sha256")
    if not job.checksums and recorded not in {None, digests["sha256"]}:
        job.discard()
        raise job.failed(
            f"the address gives another file than before: sha256 was {recorded}, now is "
            f"{digests['sha256']}; to accept the new one, delete {record_path}"
        )
    with job.part.open("rb+") as stream:
        os.fsync(stream.fileno())
    job.part.replace(job.target)
    job.state.unlink(missing_ok=True)
    record(job.target, job.url, digests)
    return Fetched(job.target, job.done, digests["sha256"], fresh=True)


def _attempt(job: _Job) -> None:
    """Ask for what is missing, and append it to the part."""
    state = read_record(job.state)
    have = _usable_bytes(job, state)
    request = urllib.request.Request(job.url, headers={"User-Agent": _AGENT})  # noqa: S310  # the opener knows only HTTP
    if have:
        request.add_header("Range", f"bytes={have}-")
        if _validator(state):
            request.add_header("If-Range", _validator(state))
    with open_url(job.opener, request, job.timeout) as response:
        if response.status == 416:
            if not have or response.headers["Content-Range"] != f"bytes */{have}":
                job.discard()
                raise Hiccup("the server's file is shorter than the part that was there")
            _digest_part(job, have)  # nothing was missing but the check
            return
        if not _goes_on(response, have, state):
            have = 0
            if response.status != 200:
                job.discard()
                raise Hiccup(f"the server sent another part than asked for ({response.status})")
        length = whole(response.headers["Content-Length"])
        total = None if length is None else have + length
        _check_room(job, have, total)
        if have:
            _digest_part(job, have)
        else:
            job.discard()
            headers = response.headers
            identity = {"etag": headers["ETag"], "last_modified": headers["Last-Modified"]}
            write_record(job.state, {"url": job.url, **identity})
        with job.part.open("ab") as stream:
            _copy(job, response, stream, total)


def _usable_bytes(job: _Job, state: Mapping[str, Any]) -> int:
    """Return how much of the part another request can go on from."""
    if state.get("url") != job.url or not job.part.is_file():
        return 0
    if not _validator(state) and not job.checksums:
        return 0  # nothing would tell if the file had changed meanwhile
    return job.part.stat().st_size


def _validator(state: Mapping[str, Any]) -> str:
    """Return what ``If-Range`` may carry (RFC 9110, 13.1.5): a strong tag, or a date."""
    tag = str(state.get("etag") or "")
    return tag if tag.startswith('"') else str(state.get("last_modified") or "")


def _goes_on(response: Any, have: int, state: Mapping[str, Any]) -> bool:
    """Whether a response is the rest of the file that the part is the beginning of."""
    start = re.match(r"bytes (\d+)-", response.headers["Content-Range"] or "")
    if not have or response.status != 206 or start is None or int(start[1]) != have:
        return False
    old, new = state.get("etag"), response.headers["ETag"]
    return not (old and new) or old == new


def _check_room(job: _Job, have: int, total: int | None) -> None:
    if total is None:
        return
    if total > job.limit:
        raise Refusal(f"the server announces {total:,} bytes, and {job.limit:,} are the limit")
    free = shutil.disk_usage(job.target.parent).free
    if total - have + _SPARE > free:
        raise Refusal(
            f"{total - have:,} bytes are still to come, and only {free:,} are free on the disk of "
            f"{job.target.parent}"
        )


def _digest_part(job: _Job, have: int) -> None:
    """Digest what an earlier process wrote; what this one wrote it has digested."""
    job.spliced = True
    if job.done == have:
        return
    job.restart()
    with job.part.open("rb") as stream:
        while job.done < have:
            job.took(stream.read(min(CHUNK, have - job.done)))


def _copy(job: _Job, response: Any, stream: IO[bytes], total: int | None) -> None:
    while total is None or job.done < total:
        try:
            chunk = response.read1(CHUNK if total is None else min(CHUNK, total - job.done))
        except HTTP_ERRORS as error:
            raise Hiccup(f"the connection broke after {job.done:,} bytes ({text(error)})") from None
        if not chunk:
            break
        stream.write(chunk)
        job.took(chunk)
        if job.done > job.limit:
            job.discard()
            raise Refusal(f"the server sends more than {job.limit:,} bytes, which are the limit")
    if total is not None and job.done < total:
        raise Hiccup(f"the connection ended after {job.done:,} of {total:,} bytes")
