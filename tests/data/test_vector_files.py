"""Vectors in files: every format is read right, in any slice; what is cut or lies is refused."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, MissingExtraError
from retrieval_eval.vectorfiles import (
    FORMATS,
    fingerprints,
    open_vectors,
    read_neighbours,
    read_vectors,
    split_name,
)

N, D = 6, 3
VALUES = np.random.default_rng(7).normal(size=(N, D)).astype(np.float32)
BYTES = np.random.default_rng(8).integers(-100, 100, size=(N, D)).astype(np.int8)
NAMES = [f"doc{row}" for row in range(N)]

Write = Callable[[Path, NDArray[Any]], None]


def npz(path: Path, vectors: NDArray[Any]) -> None:
    np.savez(path, docs=vectors, ids=np.array([f"doc{row}" for row in range(len(vectors))]))


def compressed(path: Path, vectors: NDArray[Any]) -> None:
    np.savez_compressed(path, docs=vectors)


def vecs(dtype: str) -> Write:
    def write(path: Path, vectors: NDArray[Any]) -> None:
        d = struct.pack("<i", vectors.shape[1])
        path.write_bytes(b"".join(d + row.astype(dtype).tobytes() for row in vectors))

    return write


def bin_file(dtype: str) -> Write:
    def write(path: Path, vectors: NDArray[Any]) -> None:
        path.write_bytes(struct.pack("<II", *vectors.shape) + vectors.astype(dtype).tobytes())

    return write


def parquet(kind: str) -> Write:
    def write(path: Path, vectors: NDArray[Any]) -> None:
        ids = [f"doc{row}" for row in range(len(vectors))]
        if kind == "columns":
            columns = {f"dim{i}": vectors[:, i] for i in range(vectors.shape[1])}
            frame = pl.DataFrame({"id": ids, **columns})
        else:
            array = pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))
            column = array.cast(pl.List(pl.Float32)) if kind == "list" else array
            frame = pl.DataFrame({"id": ids, "vector": column})
        frame.write_parquet(path, row_group_size=4)

    return write


def safetensors(path: Path, vectors: NDArray[Any]) -> None:
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    from safetensors.numpy import save_file

    save_file({"other": np.arange(5), "docs": vectors}, path)


def hdf5(**options: Any) -> Write:
    def write(path: Path, vectors: NDArray[Any]) -> None:
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        with h5py.File(path, "w") as file:
            file.create_dataset("docs", data=vectors, **options)

    return write


# Format: file name, what writes it, and what it holds.
WRITERS: dict[str, tuple[str, Write, NDArray[Any]]] = {
    "npy": ("v.npy", np.save, VALUES),
    "npy of float64, big-endian": ("v.npy", np.save, VALUES.astype(">f8")),
    "npy of float16, by columns": ("v.npy", np.save, np.asfortranarray(VALUES.astype("<f2"))),
    "npy of int8": ("v.npy", np.save, BYTES),
    "npz": ("v.npz", npz, VALUES),
    "npz by columns": ("v.npz", npz, np.asfortranarray(VALUES)),
    "npz, compressed": ("v.npz", compressed, VALUES),
    "npz, compressed, by columns": ("v.npz", compressed, np.asfortranarray(VALUES.astype(">f8"))),
    "parquet of arrays": ("v.parquet", parquet("array"), VALUES),
    "parquet of lists": ("v.parquet", parquet("list"), VALUES),
    "parquet of columns": ("v.parquet", parquet("columns"), VALUES),
    "safetensors": ("v.safetensors", safetensors, VALUES),
    "safetensors of float16": ("v.safetensors", safetensors, VALUES.astype(np.float16)),
    "hdf5": ("v.h5", hdf5(), VALUES),
    "hdf5 in chunks": ("v.hdf5", hdf5(chunks=(4, 2), compression="gzip"), VALUES.astype(">f4")),
    "fvecs": ("v.fvecs", vecs("<f4"), VALUES),
    "bvecs": ("v.bvecs", vecs("u1"), np.abs(BYTES).astype(np.uint8)),
    "fbin": ("v.fbin", bin_file("<f4"), VALUES),
    "u8bin": ("v.u8bin", bin_file("u1"), np.abs(BYTES).astype(np.uint8)),
    "i8bin": ("v.i8bin", bin_file("i1"), BYTES),
}
ALL = pytest.mark.parametrize("case", WRITERS)


def written(folder: Path, case: str) -> tuple[Path, NDArray[np.float32]]:
    name, write, values = WRITERS[case]
    write(folder / name, values)
    return folder / name, values.astype(np.float32)


# -- what is read ------------------------------------------------------------------------------


@ALL
def test_every_format_gives_back_what_was_written(tmp_path: Path, case: str) -> None:
    path, expected = written(tmp_path, case)
    vectors = open_vectors(path)
    assert (vectors.n, vectors.d, len(vectors)) == (N, D, N)
    stored = WRITERS[case][2].dtype.newbyteorder("=").name
    assert vectors.dtype == stored
    for found in (vectors.read(0, N), read_vectors(path), np.concatenate(list(vectors.blocks()))):
        assert found.dtype == np.float32
        assert found.dtype.isnative
        assert found.flags.c_contiguous
        assert found.flags.aligned
        np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, NDArray[np.float32]]]:
    """Return, for each way of writing, an open file of 50 vectors read in blocks of 7 rows."""
    rng = np.random.default_rng(3)
    opened = {}
    for case, (name, write, values) in WRITERS.items():
        shape = (50, 4)
        if values.dtype.kind == "f":
            array = rng.normal(size=shape).astype(values.dtype)
        else:
            array = rng.integers(0, 100, size=shape).astype(values.dtype)
        if values.flags.f_contiguous:
            array = np.asfortranarray(array)
        path = tmp_path_factory.mktemp("many") / name
        write(path, array)
        opened[case] = (open_vectors(path), array.astype(np.float32))
    return opened


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval_eval.vectorfiles.base._BLOCK_BYTES", 7 * 4 * 4)


@pytest.mark.usefixtures("_small_blocks")
@ALL
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_slice_and_any_choice_of_rows_equals_the_whole(
    many: dict[str, tuple[Any, NDArray[np.float32]]], case: str, data: st.DataObject
) -> None:
    vectors, whole = many[case]
    start = data.draw(st.integers(0, 50))
    stop = data.draw(st.integers(start, 50))
    np.testing.assert_array_equal(vectors.read(start, stop), whole[start:stop])
    blocks = list(vectors.blocks(start, stop))
    assert all(len(block) <= 8 for block in blocks)  # one chunk of 4 rows, or two
    assert sum(map(len, blocks)) == stop - start
    rows = np.array(data.draw(st.lists(st.integers(0, 49), max_size=60)), dtype=np.int64)
    taken = vectors.take(rows)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, whole[rows])


@pytest.mark.parametrize("case", ["parquet of lists", "hdf5 in chunks"])
def test_a_file_that_holds_fewer_rows_than_it_states_is_refused(tmp_path: Path, case: str) -> None:
    path, _ = written(tmp_path, case)
    vectors = replace(open_vectors(path), n=N + 1)
    with pytest.raises(InputError, match="should have 7 vectors, but ends after 6"):
        vectors.read(0, N + 1)


@ALL
def test_rows_beyond_the_file_are_refused(tmp_path: Path, case: str) -> None:
    path, _ = written(tmp_path, case)
    vectors = open_vectors(path)
    for start, stop in ((-1, 2), (0, N + 1), (3, 2)):
        with pytest.raises(InputError, match=f"rows {start} to {stop} were asked for; it has {N}"):
            vectors.read(start, stop)
    for row in (-1, N):
        with pytest.raises(InputError, match=f"row {row} was asked for; rows are 0 to {N - 1}"):
            vectors.take(np.array([0, row]))


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    upper = (VALUES.view(np.uint32) >> 16).astype(np.uint16)
    entry = {"dtype": "BF16", "shape": [N, D], "data_offsets": [0, upper.nbytes]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "embeddings": entry}).encode()
    path = tmp_path / "v.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + upper.tobytes())
    vectors = open_vectors(path)
    assert vectors.dtype == "bfloat16"
    expected = (upper.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(vectors.read(0, N), expected)
    np.testing.assert_array_equal(vectors.take(np.array([5, 0])), expected[[5, 0]])
    np.testing.assert_allclose(expected, VALUES, rtol=2**-7)


def test_a_float64_too_large_for_float32_becomes_infinite_without_a_warning(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([[1e300, -1e300, 1.0]]))
    assert open_vectors(tmp_path / "v.npy").read(0, 1).tolist() == [[np.inf, -np.inf, 1.0]]


def test_a_plain_float32_file_is_viewed_not_copied(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "npy")
    found = read_vectors(path)
    assert not found.flags.owndata
    assert not found.flags.writeable


def test_real_files_are_read_as_numpy_reads_them(collections: Path) -> None:
    path = collections / "vectors" / "digits-64" / "base.npy"
    vectors, expected = open_vectors(path), np.load(path)
    np.testing.assert_array_equal(vectors.read(0, vectors.n), expected.astype(np.float32))
    rows, distances = read_neighbours(path.with_name("gt_l2.npy"))
    assert distances is None
    np.testing.assert_array_equal(rows, np.load(path.with_name("gt_l2.npy")))


def test_suffixes_crops_and_first_bytes_tell_the_format(tmp_path: Path) -> None:
    for case, name in (
        ("fbin", "base.1B.fbin.crop_nb_6"),
        ("npy", "extensionless"),
        ("npz", "vectors.bin"),
        ("parquet of lists", "part-0"),
        ("fvecs", "UPPER.FVECS"),
    ):
        path, expected = written(tmp_path, case)
        renamed = path.rename(tmp_path / name)
        np.testing.assert_array_equal(read_vectors(renamed), expected)
    path = written(tmp_path, "fbin")[0].rename(tmp_path / "query.bin")
    with pytest.raises(InputError, match=r"query\.bin: .*say which it is \(format\), one of npy,"):
        open_vectors(path)
    assert open_vectors(path, format="fbin").n == N
    with pytest.raises(InputError, match=r"unknown format of vectors 'fbins'\. Did you mean 'fbin"):
        open_vectors(path, format="fbins")


# -- what is refused: cut files ----------------------------------------------------------------

BY_ROWS = {"fvecs", "bvecs"}  # cut after a whole row, these are sound files with fewer rows


@ALL
def test_a_file_cut_at_any_byte_is_refused(tmp_path: Path, case: str) -> None:
    path, expected = written(tmp_path, case)
    content = path.read_bytes()
    step = 1 if len(content) < 300 else 7
    for length in range(0, len(content), step):
        path.write_bytes(content[:length])
        if case in BY_ROWS and length and length % (len(content) // N) == 0:
            np.testing.assert_array_equal(
                read_vectors(path), expected[: length * N // len(content)]
            )
            continue
        with pytest.raises(InputError) as caught:
            read_vectors(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("case", ["npy", "npz", "fvecs", "bvecs", "fbin", "i8bin"])
def test_a_file_that_lacks_its_last_byte_is_refused_with_the_byte(
    tmp_path: Path, case: str
) -> None:
    path, _ = written(tmp_path, case)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=rf"(byte |\(){len(content) - 1}( bytes)?"):
        read_vectors(path)


@pytest.mark.parametrize("case", ["npy", "fvecs", "bvecs", "fbin", "u8bin", "safetensors"])
def test_a_file_with_something_appended_is_refused(tmp_path: Path, case: str) -> None:
    path, _ = written(tmp_path, case)
    content = path.read_bytes()
    path.write_bytes(content + b"\x03")
    with pytest.raises(InputError, match=rf"v\.\w+: .*({len(content) + 1}|byte {len(content)})"):
        read_vectors(path)


# -- what is refused: files that lie -----------------------------------------------------------


def npy_header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.npy", npy_header("<f4", "(1099511627776, 1099511627776)"), "the file ends at byte 128"),
        ("v.npy", npy_header("<f4", "(4000000000, 96)"), "lie in bytes 128 to 1536000000128, but"),
        ("v.npy", npy_header("<f4", "(-1, 3)") + b"1234" * 3, r"states shape \(-1, 3\)"),
        ("v.npy", npy_header("<f4", "(0, 3)"), "states 0 vectors of dimension 3"),
        ("v.npy", npy_header("<f4", "(3, 0)"), "states 3 vectors of dimension 0"),
        ("v.npy", npy_header("<f4", "(1, 2097152)") + bytes(4 << 21), "dimension from 1 to 1048"),
        ("v.npy", npy_header("<f4", "(" * 3000), "not a readable .npy file"),
        ("v.fbin", struct.pack("<II", 2**32 - 1, 960), "4294967295 x 960 values of float32 should"),
        ("v.fbin", struct.pack("<II", 0, 3), "bytes 0 to 8 state 0 rows of 3 values"),
        ("v.fbin", struct.pack("<II", 3, 0), "bytes 0 to 8 state 3 rows of 0 values"),
        ("v.fvecs", struct.pack("<i", -3) + bytes(12), "row 0 at byte 0 states dimension -3"),
        ("v.fvecs", struct.pack("<i", 0) + bytes(12), "row 0 at byte 0 states dimension 0"),
        ("v.fvecs", struct.pack("<i", 2**31 - 1), "row 0 at byte 0 states dimension 2147483647"),
        ("v.fvecs", struct.pack("<i", 2**20), "row 0 should lie in bytes 0 to 4194308"),
        ("v.fvecs", b"", "the file ends at byte 0: it is empty"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_vectors(path)
    assert str(path) in str(caught.value)


def test_a_row_of_another_dimension_is_named_with_its_byte(tmp_path: Path) -> None:
    content = bytearray()
    for row in range(5):
        content += struct.pack("<i3f", 3 if row != 3 else 2, 1, 2, 3)
    path = tmp_path / "v.fvecs"
    path.write_bytes(content)
    with pytest.raises(InputError, match="row 3 at byte 48 states dimension 2, the rows before it"):
        open_vectors(path)


def test_a_zip_whose_sizes_lie_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy_header("<f4", "(1000000, 1000)") + bytes(100))
    with pytest.raises(InputError, match=r"v\.npz#a: values of float32 \(1000000, 1000\) and th"):
        open_vectors(path)
    # The directory states what the array states, and the data are not there.
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, place + 24, 128 + 4 * 10**9)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"v\.npz#a: .* it is damaged"):
        open_vectors(path)


def test_a_compressed_array_that_ends_early_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy_header("<f4", "(10, 4)") + bytes(100))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 128 + 160)
    path.write_bytes(content)
    vectors = open_vectors(path)
    with pytest.raises(InputError, match=r"v\.npz: not a readable \.npz file"):
        vectors.read(0, 10)


def test_pickles_in_archives_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", a=np.array([[{}]], dtype=object))
    with pytest.raises(InputError, match="holds pickled objects, which can run code"):
        open_vectors(tmp_path / "v.npz")


@pytest.mark.parametrize(
    ("name", "write"),
    [("v.npz", lambda path, array: np.savez(path, a=array)), ("v.npy", np.save)],
)
@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.complex64, "U3"])
def test_arrays_that_are_no_vectors_are_refused(
    tmp_path: Path, name: str, write: Write, dtype: Any
) -> None:
    write(tmp_path / name, np.ones((2, 2), dtype=dtype))
    text = str(tmp_path / name) + ("#a" if name == "v.npz" else "")
    with pytest.raises(InputError, match=r"expected floats of shape \(n, d\), or int8 or uint8"):
        open_vectors(text)


def test_ragged_and_missing_values_of_a_table_are_named_by_row(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    good = [[1.0, 2.0]] * 4
    for bad, message in (
        ([3.0], r"row 4 \(counted from 0\): column 'v' has 1 values, row 0 has 2"),
        (None, r"row 4 \(counted from 0\): column 'v' is null"),
        ([3.0, None], "row 4: value 1 is null"),
    ):
        pl.DataFrame({"v": [*good, bad]}).write_parquet(path)
        vectors = open_vectors(path)
        np.testing.assert_array_equal(vectors.read(0, 4), good)
        with pytest.raises(InputError, match=message):
            vectors.read(2, 5)
    pl.DataFrame({"a": [1.0, 2.0], "b": [1.0, None]}).write_parquet(path)
    with pytest.raises(InputError, match=r"row 1 \(counted from 0\): column 'b' is null"):
        read_vectors(path)
    pl.DataFrame({"a": [1.0], "text": ["x"]}).write_parquet(path)
    with pytest.raises(InputError, match=r"v\.parquet: holds no column of vectors"):
        open_vectors(path)
    with pytest.raises(InputError, match="column 'text' holds String: expected lists or arrays"):
        open_vectors(path, name="text")


def test_hdf5_values_that_are_elsewhere_or_nowhere_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path = tmp_path / "v.h5"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["docs"] = VALUES
    layout = h5py.VirtualLayout(shape=(N, D), dtype="f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "docs", shape=(N, D))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("virtual", layout)
        raw = [(str(tmp_path / "raw"), 0, VALUES.nbytes)]
        file.create_dataset("external", data=VALUES, external=raw)
        file["linked"] = h5py.ExternalLink("other.h5", "docs")
        file.create_dataset("sparse", shape=(10**9, 1000), dtype="f4", chunks=(1000, 1000))
        file.create_dataset("unwritten", shape=(10**9, 1000), dtype="f4")
        file.create_dataset("giant", shape=(10, 1 << 20), dtype="f4", chunks=(10, 1 << 20))
    for name, message in (
        ("virtual", "its values lie in other files"),
        ("external", "its values lie in other files"),
        ("linked", "unknown dataset 'linked'"),
        ("sparse", "0 of 1000000 chunks are in the file"),
        ("unwritten", "but 0 are stored in a file of"),
        ("giant", "0 of 1 chunks are in the file"),
    ):
        with pytest.raises(InputError, match=rf"v\.h5.*{message}"):
            open_vectors(path, name=name)


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "h5", "parquet"])
def test_one_of_several_arrays_is_chosen_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"v.{suffix}"
    arrays = {"train": VALUES, "test": VALUES[::-1].copy(), "neighbors": np.ones((N, 2), np.int32)}
    if suffix == "npz":
        np.savez(path, **arrays)
    elif suffix == "safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
        from safetensors.numpy import save_file

        save_file(arrays, path)
    elif suffix == "h5":
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    else:
        pl.DataFrame({name: array.tolist() for name, array in arrays.items()}).write_parquet(path)
    np.testing.assert_allclose(open_vectors(path, name="test").read(0, N), VALUES[::-1])
    np.testing.assert_allclose(read_vectors(f"{path}#train"), VALUES)
    with pytest.raises(InputError) as caught:
        open_vectors(path)
    message = str(caught.value)
    assert "holds several" in message
    assert "test (" in message
    assert "train (" in message
    assert f"{path}#test" in message
    with pytest.raises(InputError, match=r"unknown \w+ 'trian'\. Did you mean 'train'\?"):
        open_vectors(path, name="trian")
    with pytest.raises(InputError, match=r"expected (floats|lists or arrays)"):
        open_vectors(path, name="neighbors")


def test_hdf5_groups_are_reached_into(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        file["model/docs"] = VALUES
        file["model/docs_ids"] = NAMES
        file["model/queries"] = VALUES[:2]
    vectors = open_vectors(f"{path}#/model/docs")
    assert vectors.name == "model/docs"
    assert vectors.ids == NAMES
    assert open_vectors(path, name="model/queries").ids is None


def test_a_path_that_holds_the_sign_of_names_still_works(tmp_path: Path) -> None:
    path = tmp_path / "c#1.npz"
    np.savez(path, a=VALUES, b=VALUES * 2)
    with (tmp_path / "c#1.npz#b").open("wb") as file:
        np.savez(file, only=VALUES * 3)
    assert split_name(f"{path}#a") == (path, "a")
    np.testing.assert_array_equal(read_vectors(f"{path}#a"), VALUES)
    np.testing.assert_array_equal(read_vectors(f"{path}#b"), VALUES * 3)  # there is such a file
    np.testing.assert_array_equal(open_vectors(path, name="b").read(0, N), VALUES * 2)
    with pytest.raises(InputError, match=r"none\.npz: there is no such file"):
        open_vectors(tmp_path / "none.npz#a")


@pytest.mark.parametrize("case", ["npy", "fvecs", "fbin"])
def test_a_name_for_a_format_without_names_is_refused(tmp_path: Path, case: str) -> None:
    path, _ = written(tmp_path, case)
    with pytest.raises(InputError, match="drop 'docs'"):
        open_vectors(path, name="docs")


def test_folders_packed_files_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        open_vectors(tmp_path)
    (tmp_path / "v.fvecs.gz").write_bytes(gzip.compress(b"1234"))
    with pytest.raises(InputError, match="is packed: unpack it first"):
        open_vectors(tmp_path / "v.fvecs.gz")
    for name in FORMATS:
        with pytest.raises(InputError, match="there is no such file"):
            open_vectors(tmp_path / f"none.{name}")


@pytest.mark.parametrize(
    ("case", "module", "extra"),
    [("hdf5", "h5py", "hdf5"), ("safetensors", "safetensors", "safetensors")],
)
def test_a_missing_library_names_the_command_that_installs_it(
    tmp_path: Path, case: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = written(tmp_path, case)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'ann-retrieval-eval\[{extra}\]'"):
        open_vectors(path)


def test_opening_plain_files_loads_no_library() -> None:
    code = (
        "import sys, retrieval_eval.vectorfiles as v; "
        "print([m for m in ('polars', 'h5py', 'safetensors', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- ids ---------------------------------------------------------------------------------------


def test_ids_come_from_the_file_itself(tmp_path: Path) -> None:
    for case in ("npz", "parquet of arrays", "parquet of columns"):
        path, _ = written(tmp_path, case)
        assert open_vectors(path).ids == NAMES
    assert open_vectors(written(tmp_path, "npz, compressed")[0]).ids is None


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (np.array([b"caf\xc3\xa9", b"b", b"c"]), ["caf\u00e9", "b", "c"]),
        (np.array([7, 12, 3], dtype=">i8"), ["7", "12", "3"]),
        (np.array(["007", "7", "\u00a01"]), ["007", "7", "\u00a01"]),
    ],
)
def test_arrays_of_text_bytes_or_whole_numbers_are_ids(
    tmp_path: Path, ids: NDArray[Any], expected: list[str]
) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, a=VALUES[:3], b=VALUES[:2], a_ids=ids)
    assert open_vectors(path, name="a").ids == expected
    assert open_vectors(path, name="b").ids is None
    np.save(tmp_path / "ids.npy", ids)
    for text in (tmp_path / "ids.npy", f"{path}#a_ids"):
        assert open_vectors(path, name="a", ids=text).ids == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.txt", "doc0\ndoc1\ndoc2\ndoc3\ndoc4\ndoc5\n"),
        ("ids.txt", "doc0\r\ndoc1\r\ndoc2\r\ndoc3\r\ndoc4\r\ndoc5"),
        ("ids.tsv", "\ufeffdoc0\ndoc1\ndoc2\ndoc3\ndoc4\ndoc5"),
        ("ids.json", json.dumps(NAMES)),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_ids_in_a_file_of_their_own(
    tmp_path: Path, name: str, content: str, *, packed: bool
) -> None:
    path, _ = written(tmp_path, "npy")
    data = content.encode()
    ids = tmp_path / (f"{name}.gz" if packed else name)
    ids.write_bytes(gzip.compress(data) if packed else data)
    assert open_vectors(path, ids=ids).ids == NAMES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("i.txt", b"a\nb\n", r"i\.txt: 2 ids for the 6 vectors of .*v\.npy"),
        ("i.txt", b"a\nb\nc\nb\nd\ne\n", r"the id 'b' stands in rows 1 and 3"),
        ("i.txt", b"a\nb\n\nd\ne\nf\n", r"i\.txt:3: expected an id"),
        ("i.txt", b"a\nb\nc\xff\nd\n", r"i\.txt:3: not UTF-8 text"),
        ("i.txt", b"", r"i\.txt:1: expected an id"),
        ("i.json", b'{"a": 1}', r"i\.json: expected a JSON list of ids"),
        ("i.json", b"[1, 2, 3, 4, 5, 6]", r"i\.json: id 1 is int: ids are strings"),
        ("i.json", b"[" * 100_000, r"i\.json: not valid JSON"),
        ("i.fvecs", b"\x03\0\0\0", r"a \.fvecs file holds no ids"),
    ],
)
def test_ids_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path, _ = written(tmp_path, "npy")
    (tmp_path / name).write_bytes(content)
    vectors = open_vectors(path, ids=tmp_path / name)
    with pytest.raises(InputError, match=message):
        _ = vectors.ids


def test_a_missing_file_of_ids_is_refused(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "npy")
    with pytest.raises(InputError, match=r"none\.txt: there is no such file"):
        open_vectors(path, ids=tmp_path / "none.txt")


# -- fingerprints ------------------------------------------------------------------------------


def test_a_fingerprint_is_of_content_and_choice_not_of_place(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", a=VALUES, b=VALUES, ids=np.array(NAMES))
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "w.npz").write_bytes((tmp_path / "v.npz").read_bytes())
    (tmp_path / "ids.txt").write_text("\n".join(NAMES))
    first = open_vectors(tmp_path / "v.npz", name="a").chosen
    moved = open_vectors(tmp_path / "moved" / "w.npz", name="a").chosen
    other = open_vectors(tmp_path / "v.npz", name="b").chosen
    named = open_vectors(tmp_path / "v.npz", name="a", ids=tmp_path / "ids.txt").chosen
    keys = fingerprints(first, moved, other, named)
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_file_is_digested_once_for_all_that_is_taken_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval_eval import vectorfiles

    np.savez(tmp_path / "v.npz", a=VALUES, b=VALUES)
    read: list[Path] = []
    digest = vectorfiles.file_digest

    def counted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(vectorfiles, "file_digest", counted)
    fingerprints(*(open_vectors(tmp_path / "v.npz", name=name).chosen for name in "ab"))
    assert len(read) == 1


# -- true neighbours ---------------------------------------------------------------------------

ROWS = np.array([[3, 1, 0], [2, 5, 4]])
DISTANCES = np.array([[0.0, 1.5, 2.5], [0.25, 0.5, 4.0]], dtype=np.float32)


def big_ann(path: Path, *, distances: bool) -> None:
    content = struct.pack("<II", *ROWS.shape) + ROWS.astype("<u4").tobytes()
    path.write_bytes(content + (DISTANCES.tobytes() if distances else b""))


def test_neighbours_are_read_from_every_format(tmp_path: Path) -> None:
    vecs("<i4")(tmp_path / "n.ivecs", ROWS)
    big_ann(tmp_path / "n.ibin", distances=False)
    big_ann(tmp_path / "groundtruth.public.10K.bin", distances=True)
    np.save(tmp_path / "n.npy", ROWS.astype(np.int32))
    for name in ("n.ivecs", "n.ibin", "groundtruth.public.10K.bin", "n.npy"):
        rows, distances = read_neighbours(tmp_path / name)
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(rows, ROWS)
        if name.startswith("groundtruth"):
            assert distances is not None
            np.testing.assert_array_equal(distances, DISTANCES)
        else:
            assert distances is None


def test_neighbours_of_ann_benchmarks_are_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "n.hdf5", "w") as file:
        file["neighbors"] = ROWS.astype(np.int32)
    rows, distances = read_neighbours(tmp_path / "n.hdf5")
    np.testing.assert_array_equal(rows, ROWS)
    assert distances is None
    with h5py.File(tmp_path / "n.hdf5", "a") as file:
        file["distances"] = DISTANCES
    np.testing.assert_array_equal(read_neighbours(tmp_path / "n.hdf5")[1], DISTANCES)


def test_a_neighbour_that_is_not_there_is_minus_one(tmp_path: Path) -> None:
    (tmp_path / "n.ibin").write_bytes(struct.pack("<IIII", 1, 2, 7, 2**32 - 1))
    assert read_neighbours(tmp_path / "n.ibin")[0].tolist() == [[7, -1]]
    vecs("<i4")(tmp_path / "n.ivecs", np.array([[7, -1]]))
    assert read_neighbours(tmp_path / "n.ivecs")[0].tolist() == [[7, -1]]


@pytest.mark.parametrize("distances", [False, True])
def test_neighbours_cut_at_any_byte_are_refused(tmp_path: Path, *, distances: bool) -> None:
    path = tmp_path / "n.ibin"
    big_ann(path, distances=distances)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        if length == 8 + ROWS.size * 4:  # ids without distances: another sound file
            continue
        with pytest.raises(InputError, match=r"n\.ibin: .*byte"):
            read_neighbours(path)


def test_vectors_are_not_taken_for_neighbours_nor_neighbours_for_vectors(tmp_path: Path) -> None:
    vecs("<i4")(tmp_path / "n.ivecs", ROWS)
    big_ann(tmp_path / "n.ibin", distances=False)
    for name in ("n.ivecs", "n.ibin"):
        with pytest.raises(InputError, match="row numbers of true neighbours"):
            open_vectors(tmp_path / name)
    path, _ = written(tmp_path, "npy")
    with pytest.raises(InputError, match=r"expected row numbers of shape \(q, k\)"):
        read_neighbours(path)
    path, _ = written(tmp_path, "fvecs")
    with pytest.raises(InputError, match=r"a \.fvecs file holds no neighbours"):
        read_neighbours(path)
