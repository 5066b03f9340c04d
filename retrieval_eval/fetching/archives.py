"""Unpacking archives that others made: whole or not at all, and never outside the target."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import re
import shutil
import stat
import sys
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn, cast

from retrieval_eval.errors import InputError
from retrieval_eval.fetching._checks import CHUNK
from retrieval_eval.fetching._sidecars import exclusive, read_record, sidecar, write_record

__all__ = ["archive_stem", "unpack", "unpacked_from"]

_PACKING = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}
_TAR = re.compile(r"\.(tar(\.(?P<packing>gz|bz2|xz|zst))?|t(?P<short>gz|bz2|xz|zst|bz|zs))$", re.I)
_SHORT = {"bz": "bz2", "zs": "zst"}
_MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00", "zst": b"\x28\xb5\x2f\xfd"}
_ALWAYS_ALLOWED = 64 << 20  # short texts that repeat themselves pack by more than any ratio
_MARK = ".unpacked.json"


def archive_stem(name: str) -> str:
    """Return a file's name without the suffixes of its packing.

    Examples
    --------
    >>> archive_stem("cran.tar.gz"), archive_stem("scifact.zip"), archive_stem("qrels.tsv.gz")
    ('cran', 'scifact', 'qrels.tsv')
    """
    return re.sub(r"\.(zip|gz|bz2|xz|zst)$", "", _TAR.sub("", name), flags=re.I)


def unpacked_from(target: Path) -> str | None:
    """Return the `identity` that :func:`unpack` was given for what lies at `target`.

    None if nothing lies there, or nothing that :func:`unpack` finished.
    """
    mark = read_record(sidecar(target, _MARK))
    return str(mark["identity"]) if "identity" in mark and target.exists() else None


def unpack(
    archive: Path,
    target: Path,
    *,
    identity: str = "",
    max_bytes: int = 1 << 38,
    max_ratio: float = 100.0,
    max_files: int = 2_000_000,
) -> Path:
    """Unpack an archive into a folder, or a packed file into a file.

    Parameters
    ----------
    archive : Path
        A ``.zip``, a ``.tar`` (plain, or with ``.gz``, ``.bz2``, ``.xz``, ``.zst``; short forms
        such as ``.tgz``), or one file packed with one of these.
    target : Path
        The folder (or file) to make. It appears when all of it is there; a kill leaves nothing
        under that name.
    identity : str
        What the archive is, for instance its checksum. A target that was made of the same
        identity is kept as it is; one of another is replaced.
    max_bytes : int
        Refuse to unpack to more than this; 256 GiB by default.
    max_ratio : float
        Refuse to unpack to more than this many times the size of the archive, but for the first
        64 MiB.
    max_files : int
        Refuse to unpack more files and folders than this.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    InputError
        If the archive is cut off, damaged, encrypted or of another kind; if it holds a path
        outside itself (absolute, with ``..`` or a drive), a link that leaves its own folder, a
        device; if it exceeds a bound; if something that this function did not make is at
        `target`.

    Notes
    -----
    Tar members go through the standard library's filter ``data`` (PEP 706) besides the checks
    here. Links may point to their own folder and below: with ``..`` forbidden in them, a chain of
    links cannot lead outside either.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(folder / "tiny.zip", "w") as made:
    ...     made.writestr("tiny/corpus.jsonl", "{}")
    >>> unpack(folder / "tiny.zip", folder / "tiny").joinpath("tiny", "corpus.jsonl").read_text()
    '{}'
    """
    if not hasattr(tarfile, "data_filter"):
        raise InputError(
            f"{archive}: unpacking safely needs Python 3.11.4 or later, this is "
            f"{sys.version.split()[0]}"
        )
    with exclusive(target):
        for left in target.parent.glob(f".{_glob_safe(target.name)}.unpacking-*"):
            _remove(left)  # by a process that was killed
        if identity and unpacked_from(target) == identity:
            return target
        if unpacked_from(target) is not None:
            _remove(target)
        elif target.exists():
            raise InputError(
                f"{target}: is in the way, and was not unpacked from {archive.name}; move it away"
            )
        scratch = target.with_name(f".{target.name}.unpacking-{uuid.uuid4().hex[:8]}")
        budget = _Budget(archive, max_bytes, max_ratio, max_files)
        try:
            with _refusing_damage(archive):
                _unpacker(archive)(archive, scratch, budget)
            write_record(sidecar(target, _MARK), {"archive": archive.name, "identity": identity})
            scratch.rename(target)
        finally:
            _remove(scratch)
    return target


class _Budget:
    """What may still be unpacked."""

    def __init__(self, archive: Path, max_bytes: int, max_ratio: float, max_files: int) -> None:
        try:
            packed = archive.stat().st_size
        except OSError as error:
            raise InputError(f"{archive}: cannot be read: {error}") from None
        self.archive = archive
        self.left = min(max_bytes, max(int(packed * max_ratio), _ALWAYS_ALLOWED))
        self.bounds = f"max_bytes {max_bytes:,}, max_ratio {max_ratio:g}, max_files {max_files:,}"
        self.files_left = max_files

    def file(self) -> None:
        self.files_left -= 1
        if self.files_left < 0:
            self.exceeded()

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            self.exceeded()

    def exceeded(self) -> NoReturn:
        raise InputError(
            f"{self.archive}: unpacks to more than is allowed ({self.bounds}); if it can be "
            "trusted, unpack it by hand"
        )


@contextlib.contextmanager
def _refusing_damage(archive: Path) -> Iterator[None]:
    """Turn what the libraries raise into one message that names the archive."""
    try:
        yield
    except InputError:
        raise
    except tarfile.FilterError as error:
        raise InputError(f"{archive}: refused: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise InputError(f"{archive}: cannot be unpacked: {error}") from None
        _damaged(archive, error)
    except Exception as error:
        known: list[type[Exception]] = [EOFError, zlib.error, lzma.LZMAError, NotImplementedError]
        known += [tarfile.TarError, zipfile.BadZipFile, UnicodeDecodeError]
        for name in ("backports.zstd", "compression.zstd"):  # if it was needed at all
            if name in sys.modules:
                known.append(sys.modules[name].ZstdError)
        if not isinstance(error, tuple(known)):
            raise
        _damaged(archive, error)


def _damaged(archive: Path, error: BaseException) -> NoReturn:
    raise InputError(f"{archive}: is cut off or damaged, and cannot be unpacked: {error}") from None


def _unpacker(archive: Path) -> Callable[[Path, Path, _Budget], None]:
    if archive.suffix.lower() == ".zip":
        return _unpack_zip
    if _TAR.search(archive.name):
        return _unpack_tar
    if archive.suffix.lower() in _PACKING:
        return _unpack_single
    raise InputError(
        f"{archive}: no archive that can be unpacked; known are .zip, .tar and "
        f"{', '.join(_PACKING)}, alone or after .tar"
    )


def _safe_path(archive: Path, name: str) -> PurePosixPath:
    """Check a member's path; a backslash separates as well, as on the system it came from."""
    path = PurePosixPath(name.replace("\\", "/"))
    drive = re.match("[A-Za-z]:", name)
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name:
        raise InputError(f"{archive}: holds {name!r}, a path that leads outside; nothing was kept")
    return path


# -- the kinds --------------------------------------------------------------------------------


def _unpack_zip(archive: Path, scratch: Path, budget: _Budget) -> None:
    scratch.mkdir()
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            budget.file()
            _safe_path(archive, member.filename)
            if member.flag_bits & 0x1:
                raise InputError(f"{archive}: {member.filename!r} is encrypted; unpack it by hand")
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise InputError(f"{archive}: {member.filename!r} is a link or a device; refused")
        if sum(member.file_size for member in members) > budget.left:
            budget.exceeded()  # before a byte is written
        for member in members:
            path = scratch / _safe_path(archive, member.filename)
            if member.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(member) as stream:
                _copy(stream, path, budget)


def _unpack_tar(archive: Path, scratch: Path, budget: _Budget) -> None:
    found = _TAR.search(archive.name)
    short = found["short"] if found else None
    packing = (_SHORT.get(short.lower(), short) if short else found and found["packing"]) or ""
    if not packing:
        _check_tar_end(archive)
    scratch.mkdir()
    with _open_packed(archive, packing.lower()) as raw:
        counted = _Counted(raw, budget)
        with tarfile.open(fileobj=cast("IO[bytes]", counted), mode="r|") as opened:
            for member in opened:
                budget.file()
                _check_member(archive, member)
                opened.extract(member, scratch, filter="data")
        while counted.read(CHUNK):  # to the end, where the checksum is
            pass


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    _safe_path(archive, member.name)
    if member.issym() or member.islnk():
        _safe_path(archive, member.linkname)
    elif not (member.isreg() or member.isdir()):
        raise InputError(f"{archive}: {member.name!r} is a device or a pipe; refused")
    elif member.issparse():
        raise InputError(f"{archive}: {member.name!r} is a sparse file; unpack it by hand")


def _check_tar_end(archive: Path) -> None:
    """Refuse a plain tar without its last zeros: reading it would just end early."""
    size = archive.stat().st_size
    with archive.open("rb") as stream:
        stream.seek(max(0, size - 512))
        if size < 1024 or stream.read().strip(b"\0"):
            raise InputError(f"{archive}: is cut off, or no tar archive: its end mark is missing")


def _unpack_single(archive: Path, scratch: Path, budget: _Budget) -> None:
    with _open_packed(archive, _PACKING[archive.suffix.lower()]) as stream:
        _copy(stream, scratch, budget)


def _copy(stream: IO[bytes], path: Path, budget: _Budget) -> None:
    with path.open("wb") as out:
        while chunk := stream.read(CHUNK):
            budget.take(len(chunk))
            out.write(chunk)


class _Counted:
    """A stream for reading that takes what it gives from the budget."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self.stream = stream
        self.budget = budget

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.budget.take(len(data))
        return data


@contextlib.contextmanager
def _open_packed(path: Path, packing: str) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        magic = _MAGIC.get(packing, b"")
        if raw.read(len(magic)) != magic:
            raise InputError(
                f"{path}: is no {packing} file, whatever its name says; an error page of a web "
                "server, perhaps"
            )
        raw.seek(0)
        openers: dict[str, Callable[[IO[bytes]], Any]] = {
            "": lambda stream: stream,
            "gz": lambda stream: gzip.GzipFile(fileobj=stream),
            "bz2": bz2.BZ2File,
            "xz": lzma.LZMAFile,
            "zst": _open_zstd,
        }
        with openers[packing](raw) as stream:
            yield stream


def _open_zstd(stream: IO[bytes]) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdFile(stream)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _glob_safe(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
