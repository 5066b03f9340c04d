"""Unpacking archives: whole, bounded, and never outside the target."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.fetching import archive_stem, unpack, unpacked_from
from retrieval_eval.textfiles import pack_bytes

FILES = {"set/corpus.jsonl": b'{"_id": "1"}\n' * 500, "set/qrels/test.tsv": b"q\td\t1\n", "a": b""}


def tar_bytes(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                made.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            made.addfile(info, io.BytesIO(member[1]))
    return stream.getvalue()


def zip_bytes(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members:
            made.writestr(name, data)
    return stream.getvalue()


def special(kind: bytes, name: str, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pack_bytes(data, ".zst"),
}


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(path: Path, rule: str, **bounds: float) -> None:
    """Assert that an archive is refused by name, and that nothing of it is left."""
    before = {p for p in path.parent.parent.rglob("*") if not p.name.endswith(".lock")}
    with pytest.raises(InputError) as caught:
        unpack(path, path.parent / "out", **bounds)  # type: ignore[arg-type]  # a test's shorthand
    assert str(caught.value).startswith(f"{path}: ")
    assert rule in str(caught.value)
    assert {p for p in path.parent.parent.rglob("*") if not p.name.endswith(".lock")} == before


# -- what is unpacked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x.tar",
        "x.tar.gz",
        "x.tgz",
        "x.TAR.GZ",
        "x.tar.bz2",
        "x.tbz",
        "x.tar.xz",
        "x.txz",
        "x.tar.zst",
    ],
)
def test_a_tar_of_any_packing_is_unpacked(tmp_path: Path, name: str) -> None:
    packing = next(p for p in ("gz", "bz", "xz", "zst", "") if p in name.lower())
    pack = PACK[{"": "", "bz": ".bz2"}.get(packing, f".{packing}")]
    archive = write(tmp_path, name, pack(tar_bytes(*FILES.items())))
    assert unpack(archive, tmp_path / "out") == tmp_path / "out"
    assert content(tmp_path / "out") == FILES


def test_a_zip_is_unpacked_with_its_empty_folders(tmp_path: Path) -> None:
    archive = write(tmp_path, "x.zip", zip_bytes(*FILES.items(), ("set/empty/", b"")))
    unpack(archive, tmp_path / "out")
    assert content(tmp_path / "out") == FILES
    assert (tmp_path / "out" / "set" / "empty").is_dir()


def test_a_zip_with_backslashes_gives_folders(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("set/x.txt")
    info.filename = "set\\x.txt"
    unpack(write(tmp_path, "x.zip", zip_bytes((info, b"1"))), tmp_path / "out")
    assert content(tmp_path / "out") == {"set/x.txt": b"1"}


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_single_packed_file_becomes_a_file(tmp_path: Path, suffix: str) -> None:
    archive = write(tmp_path, f"qrels.tsv{suffix}", PACK[suffix](b"q\td\t1\n" * 1000))
    unpack(archive, tmp_path / "qrels.tsv")
    assert (tmp_path / "qrels.tsv").read_bytes() == b"q\td\t1\n" * 1000


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.b.zip", "a.b"), ("x.tgz", "x"), ("x.tar", "x"), ("X.TAR.BZ2", "X"), ("x.hdf5", "x.hdf5")],
)
def test_the_stem_of_an_archive(name: str, stem: str) -> None:
    assert archive_stem(name) == stem


def test_links_to_their_own_folder_are_kept(tmp_path: Path) -> None:
    members = [
        ("set/v1.txt", b"1"),
        special(tarfile.SYMTYPE, "set/latest.txt", "v1.txt"),
        special(tarfile.LNKTYPE, "set/same.txt", "set/v1.txt"),
    ]
    unpack(write(tmp_path, "x.tar", tar_bytes(*members)), tmp_path / "out")
    assert set(content(tmp_path / "out").values()) == {b"1"}
    assert (tmp_path / "out/set/latest.txt").readlink() == Path("v1.txt")


def test_the_same_archive_is_unpacked_once(tmp_path: Path) -> None:
    archive = write(tmp_path, "x.zip", zip_bytes(("a", b"1")))
    unpack(archive, tmp_path / "out", identity="md5:1")
    (tmp_path / "out" / "mine").write_text("kept")
    assert unpacked_from(tmp_path / "out") == "md5:1"
    unpack(archive, tmp_path / "out", identity="md5:1")
    assert (tmp_path / "out" / "mine").exists()
    archive.write_bytes(zip_bytes(("a", b"2")))
    unpack(archive, tmp_path / "out", identity="md5:2")
    assert content(tmp_path / "out") == {"a": b"2"}
    assert unpacked_from(tmp_path / "out") == "md5:2"


def test_what_is_in_the_way_is_not_touched(tmp_path: Path) -> None:
    archive = write(tmp_path, "x.zip", zip_bytes(("a", b"1")))
    write(tmp_path, "out", b"mine")
    with pytest.raises(InputError, match=r"is in the way, and was not unpacked from x.zip"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"mine"
    assert unpacked_from(tmp_path / "out") is None


KILLED = """
import os, signal, sys
from pathlib import Path
from retrieval_eval.fetching import archives
whole = archives._copy
def copy(stream, path, budget):
    whole(stream, path, budget)
    os.kill(os.getpid(), signal.SIGKILL)
archives._copy = copy
archives.unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_leaves_nothing_under_the_name_and_the_next_call_clears_up(tmp_path: Path) -> None:
    archive = write(tmp_path, "x.zip", zip_bytes(*FILES.items()))
    command = [sys.executable, "-c", KILLED, str(archive), str(tmp_path / "out")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out.unpacking-*"))
    unpack(archive, tmp_path / "out")
    assert content(tmp_path / "out") == FILES
    assert not list(tmp_path.glob(".out.unpacking-*"))


# -- what leads outside -----------------------------------------------------------------------

OUTSIDE = ["../x", "/etc/x", "a/../../x", "C:/x", "C:x", "..\\x", "\\x", "\\\\host\\x", "a/.."]


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    folder = tmp_path / "inner"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_outside_is_refused_in_a_zip(inner: Path, name: str) -> None:
    info = zipfile.ZipInfo("x")
    info.filename = name
    data = zip_bytes(("fine", b"1"), (info, b"2"))
    refused(write(inner, "x.zip", data), "leads outside")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_outside_is_refused_in_a_tar(inner: Path, name: str) -> None:
    refused(write(inner, "x.tar", tar_bytes(("fine", b"1"), (name, b"2"))), "leads outside")


@pytest.mark.parametrize("link", ["../x", "/etc/passwd", "a/../../x"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_outside_is_refused(inner: Path, kind: bytes, link: str) -> None:
    data = tar_bytes(("fine", b"1"), special(kind, "link", link))
    refused(write(inner, "x.tar.gz", gzip.compress(data)), "leads outside")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(inner: Path, kind: bytes) -> None:
    refused(write(inner, "x.tar", tar_bytes(special(kind, "dev"))), "is a device or a pipe")


def test_a_link_in_a_zip_is_refused(inner: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    refused(write(inner, "x.zip", zip_bytes((info, b"/etc/passwd"))), "is a link or a device")


def test_nobody_else_may_write_what_was_unpacked(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.mode = 0o6777
    unpack(write(tmp_path, "x.tar", tar_bytes(info)), tmp_path / "out")
    assert (tmp_path / "out" / "x").stat().st_mode & 0o7022 == 0


# -- what is too much -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.gz"])
@pytest.mark.parametrize("bounds", [{"max_bytes": 99_999}, {"max_ratio": 50.0}])
def test_a_bomb_is_refused(
    inner: Path, name: str, bounds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval_eval.fetching.archives._ALWAYS_ALLOWED", 1000)
    zeros = bytes(100_000)
    data = {
        "x.zip": zip_bytes(("x", zeros)),
        "x.tar.gz": gzip.compress(tar_bytes(("x", zeros))),
        "x.gz": gzip.compress(zeros),
    }[name]
    refused(write(inner, name, data), "unpacks to more than is allowed", **bounds)


def test_a_zip_that_understates_a_size_is_refused(inner: Path) -> None:
    data = bytearray(zip_bytes(("x", bytes(100_000))))
    size = (100_000).to_bytes(4, "little")
    data = data.replace(size, (10).to_bytes(4, "little"))
    refused(write(inner, "x.zip", bytes(data)), "cut off or damaged")


def test_a_small_archive_may_exceed_the_ratio(tmp_path: Path) -> None:
    archive = write(tmp_path, "x.gz", gzip.compress(bytes(1_000_000)))
    assert unpack(archive, tmp_path / "x").stat().st_size == 1_000_000


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_too_many_files_are_refused(inner: Path, name: str) -> None:
    members = [(f"f{number}", b"") for number in range(11)]
    data = zip_bytes(*members) if name == "x.zip" else tar_bytes(*members)
    refused(write(inner, name, data), "max_files 10", max_files=10)


def test_a_sparse_file_is_refused(inner: Path) -> None:
    info = tarfile.TarInfo("holes")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,0",
        "GNU.sparse.size": str(1 << 40),
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        made.addfile(info)
    refused(write(inner, "x.tar", stream.getvalue()), "is a sparse file")


# -- what is damaged --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz", "x.tar.zst"]
)
def test_a_cut_archive_is_refused_wherever_it_is_cut(inner: Path, name: str) -> None:
    noise = random.Random(7).randbytes(2000)
    tar = tar_bytes(("a", noise), ("b", noise))
    data = zip_bytes(("a", noise)) if name == "x.zip" else PACK[name.removeprefix("x.tar")](tar)
    if name == "x.tar":  # its padding is as long as you like
        data = data[: len(data.rstrip(b"\0")) + 48 + 1024]
    for end in {0, 1, 5, 600, 1024, 2048, 2560, len(data) // 2, len(data) - 1025, len(data) - 1}:
        if 0 <= end < len(data) and not (name == "x.tar" and end == len(data) - 1):
            refused(write(inner, name, data[:end]), "")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_cut_packed_file_is_refused(inner: Path, suffix: str) -> None:
    data = PACK[suffix](random.Random(7).randbytes(2000))
    refused(write(inner, f"x{suffix}", data[:-1]), "is cut off or damaged")


def test_a_flipped_byte_is_found(inner: Path) -> None:
    noise = random.Random(7).randbytes(2000)
    for name, data in {
        "x.zip": zip_bytes(("a", noise)),
        "x.tar.gz": gzip.compress(tar_bytes(("a", noise))),
    }.items():
        at = len(data) // 2
        bad = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        refused(write(inner, name, bad), "cut off or damaged")


def test_an_encrypted_zip_is_refused(inner: Path) -> None:
    data = bytearray(zip_bytes(("secret.txt", b"x")))
    data[6] |= 1  # in the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # in the directory
    refused(write(inner, "x.zip", bytes(data)), "'secret.txt' is encrypted")


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.gz", "x.tar.zst", "x.xz"])
def test_an_error_page_under_the_name_of_an_archive_is_called_so(inner: Path, name: str) -> None:
    refused(write(inner, name, b"<html>Not found</html>"), "whatever its name says; an error page")


@pytest.mark.parametrize("name", ["x.rar", "x.7z", "x.Z", "x"])
def test_other_kinds_are_refused_with_those_that_are_known(inner: Path, name: str) -> None:
    refused(write(inner, name, b"Rar!"), "no archive that can be unpacked; known are .zip, .tar")


def test_an_archive_that_is_not_there_is_named(inner: Path) -> None:
    refused(inner / "x.zip", "cannot be read")


def test_an_old_python_is_refused(inner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    refused(write(inner, "x.zip", zip_bytes(("a", b""))), "needs Python 3.11.4 or later")


def test_a_disk_that_cannot_be_written_to_is_named(
    inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("retrieval_eval.fetching.archives._copy", full)
    refused(write(inner, "x.zip", zip_bytes(("a", b""))), "cannot be unpacked: [Errno 28] No space")
