"""Sparse vectors from files: SciPy's archives, and JSON lines as Anserini reads them."""

from __future__ import annotations

import gzip
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from retrieval_eval.encoders.precomputed_sparse import PrecomputedSparseEncoder
from retrieval_eval.errors import InputError

Rows = list[tuple[Any, Any]]


def matrix(n: int, d: int = 7) -> NDArray[np.float64]:
    rng = np.random.default_rng(n)
    return rng.random((n, d)) * (rng.random((n, d)) < 0.4)


def encoder_of(folder: Path, documents: str, queries: str) -> PrecomputedSparseEncoder:
    return PrecomputedSparseEncoder(
        documents=str(folder / documents), queries=str(folder / queries)
    )


@pytest.fixture
def archives(tmp_path: Path) -> Callable[..., PrecomputedSparseEncoder]:
    """Return a function that writes two .npz files and returns the encoder of them."""

    def write(documents: Any, queries: Any) -> PrecomputedSparseEncoder:
        sp.save_npz(tmp_path / "documents.npz", documents)
        sp.save_npz(tmp_path / "queries.npz", queries)
        return encoder_of(tmp_path, "documents.npz", "queries.npz")

    return write


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., PrecomputedSparseEncoder]:
    """Return a function that writes two files of JSON lines and returns the encoder of them."""

    def write(documents: Rows, queries: Rows) -> PrecomputedSparseEncoder:
        for name, rows in (("documents", documents), ("queries", queries)):
            text = "".join(json.dumps({"id": key, "vector": row}) + "\n" for key, row in rows)
            (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
        return encoder_of(tmp_path, "documents.jsonl", "queries.jsonl")

    return write


DOCUMENTS: Rows = [("a", {"red": 1.5, "plum": 2}), ("b", {}), ("c", {"blue": 1, "red": 0.25})]
QUERIES: Rows = [("q1", {"red": 1}), ("q2", {"plum": 2, "xyzzy": 9, "blue": 0.5})]


def of(encoder: PrecomputedSparseEncoder, kind: Any, ids: list[str]) -> list[list[float]]:
    (rows,) = encoder.stream([""] * len(ids), kind, ids=ids)
    assert isinstance(rows, sp.csr_array)
    assert rows.dtype == np.float32
    assert rows.has_canonical_format
    found: list[list[float]] = rows.toarray().tolist()
    return found


# -- archives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i4", "<u2"])
def test_archives_are_read_row_for_row(
    archives: Callable[..., PrecomputedSparseEncoder], form: str, kind: str, dtype: str
) -> None:
    documents, queries = ((matrix(n) * 9).astype(dtype) for n in (6, 3))
    made = getattr(sp, f"{form}_{kind}")
    encoder = archives(made(documents), made(queries))
    encoder.check(6, 3)
    assert encoder.dimension() == 7
    for name, expected in (("document", documents), ("query", queries)):
        found = encoder.encode([""] * len(expected), name)  # type: ignore[arg-type]
        assert isinstance(found, sp.csr_array)
        assert found.dtype == np.float32
        assert found.has_canonical_format
        np.testing.assert_array_equal(found.toarray(), expected.astype(np.float32))


def test_half_precision_is_read(tmp_path: Path) -> None:
    rows = sp.csr_array(np.eye(3, dtype=np.float32))
    np.savez(
        tmp_path / "documents.npz",
        data=rows.data.astype(np.float16),
        indices=rows.indices,
        indptr=rows.indptr,
        shape=rows.shape,
        format=b"csr",
    )
    encoder = encoder_of(tmp_path, "documents.npz", "documents.npz")
    np.testing.assert_array_equal(encoder.encode([""] * 3, "document").toarray(), np.eye(3))


def test_repeated_entries_are_added_up_and_zeros_left_out(
    archives: Callable[..., PrecomputedSparseEncoder],
) -> None:
    twice = sp.coo_array(([1.0, 2.0, 0.0, 4.0], ([0, 0, 1, 1], [2, 2, 0, 1])), shape=(2, 3))
    rows = archives(twice, twice).encode(["", ""], "document")
    assert rows.toarray().tolist() == [[0, 0, 3], [0, 4, 0]]
    assert rows.nnz == 2


def test_archives_stream_in_order_and_can_start_again(
    archives: Callable[..., PrecomputedSparseEncoder],
) -> None:
    documents = sp.random_array(
        (20_000, 50), density=0.05, format="csr", rng=np.random.default_rng(1), dtype=np.float32
    )
    encoder = archives(documents, documents[:1])
    blocks = list(encoder.stream([""] * 20_000, "document"))
    assert len(blocks) > 1
    assert (sp.vstack(blocks) != documents).nnz == 0
    again = list(encoder.stream([""] * 20_000, "document", start=blocks[0].shape[0]))
    assert (sp.vstack(again) != sp.vstack(blocks[1:])).nnz == 0


def test_archives_of_other_sizes_are_refused(
    archives: Callable[..., PrecomputedSparseEncoder],
) -> None:
    encoder = archives(sp.csr_array(matrix(5)), sp.csr_array(matrix(2)))
    with pytest.raises(InputError, match=r"documents.npz: 5 vectors for 6 documents"):
        encoder.check(6, 2)
    with pytest.raises(InputError, match=r"queries.npz: 2 vectors for 3 judged queries"):
        encoder.check(5, 3)
    with pytest.raises(InputError, match=r"documents.npz: 5 vectors for 4 texts"):
        encoder.encode([""] * 4, "document")
    encoder = archives(sp.csr_array(matrix(5, 7)), sp.csr_array(matrix(2, 8)))
    with pytest.raises(InputError, match=r"queries.npz: 8 columns, but .*documents.npz has 7"):
        encoder.check(5, 2)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e39])
def test_an_archive_with_no_number_in_a_row_is_refused(
    archives: Callable[..., PrecomputedSparseEncoder], wrong: float
) -> None:
    values = matrix(5)
    values[3, 1] = wrong
    encoder = archives(sp.csr_array(values), sp.csr_array(matrix(2)))
    with pytest.raises(InputError, match=r"documents.npz: row 3 holds NaN, infinity or a number"):
        encoder.encode([""] * 5, "document")


@pytest.mark.parametrize(
    "rows",
    [
        sp.dia_array(np.eye(3)),
        sp.bsr_array(np.eye(4)),
        sp.csr_array(np.eye(3, dtype=bool)),
        sp.csr_array(np.eye(3, dtype=complex)),
    ],
    ids=["dia", "bsr", "bool", "complex"],
)
def test_other_forms_are_refused(
    archives: Callable[..., PrecomputedSparseEncoder], rows: Any
) -> None:
    encoder = archives(rows, sp.csr_array(matrix(1)))
    with pytest.raises(InputError, match=r"documents.npz: expected numbers of shape \(n, d\) as "):
        encoder.encode([""] * rows.shape[0], "document")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("indices", np.array([0, 99, 1])),
        ("indices", np.array([0, -1, 1])),
        ("indices", np.array([0])),
        ("indptr", np.array([0, 5, 1, 3])),
        ("indptr", np.array([0, 1, 2])),
        ("shape", np.array([3])),
        ("shape", np.array([-3, 3])),
        ("format", np.array("zip")),
        ("data", np.array(["a", "b", "c"])),
    ],
)
def test_an_archive_whose_parts_disagree_is_refused(
    tmp_path: Path, part: str, value: NDArray[Any]
) -> None:
    rows = sp.csr_array(np.eye(3))
    parts = {"data": rows.data, "indices": rows.indices, "indptr": rows.indptr, "shape": rows.shape}
    np.savez(tmp_path / "documents.npz", **{**parts, "format": "csr", part: value})
    sp.save_npz(tmp_path / "queries.npz", rows)
    encoder = encoder_of(tmp_path, "documents.npz", "queries.npz")
    with pytest.raises(InputError, match=r"documents.npz: "):
        encoder.encode([""] * 3, "document")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["object array", "bare pickle"])
def test_pickles_are_refused_and_never_loaded(tmp_path: Path, form: str) -> None:
    touched, path = tmp_path / "touched", tmp_path / "documents.npz"
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(Trap(touched)))
    else:
        rows = sp.csr_array(np.eye(3))
        trap = np.array([Trap(touched)] * 3, dtype=object)
        np.savez(
            path,
            data=trap,
            indices=rows.indices,
            indptr=rows.indptr,
            shape=rows.shape,
            format="csr",
            allow_pickle=True,
        )
    sp.save_npz(tmp_path / "queries.npz", sp.csr_array(np.eye(3)))
    encoder = encoder_of(tmp_path, "documents.npz", "queries.npz")
    with pytest.raises(InputError, match=r"documents.npz: not a readable file of scipy"):
        encoder.encode([""] * 3, "document")
    assert not touched.exists()


@pytest.mark.parametrize("compressed", [True, False])
def test_cut_and_flipped_archives_are_refused_or_read_alike(
    tmp_path: Path, compressed: bool
) -> None:
    rows = sp.csr_array(matrix(40, 30))
    whole = tmp_path / "queries.npz"
    sp.save_npz(whole, rows, compressed=compressed)
    content = whole.read_bytes()
    encoder = encoder_of(tmp_path, "documents.npz", "queries.npz")
    rng = random.Random(7)
    refused = 0
    for _ in range(150):
        changed = bytearray(content)
        place = rng.randrange(len(content))
        if rng.random() < 0.5:
            del changed[place:]
        else:
            changed[place] ^= 1 << rng.randrange(8)
        (tmp_path / "documents.npz").write_bytes(changed)
        try:
            found = encoder.encode([""] * 40, "document")
        except InputError as error:
            refused += 1
            assert "documents.npz: " in str(error)  # noqa: PT017  # most are refused, not all
        else:  # a bit of the archive's own dates and attributes
            np.testing.assert_array_equal(found.toarray(), rows.toarray().astype(np.float32))
    assert refused > 100


@pytest.mark.parametrize("content", [b"", b"words", b"PK\x03\x04 no archive"])
def test_files_that_are_no_archives_are_refused(tmp_path: Path, content: bytes) -> None:
    sp.save_npz(tmp_path / "queries.npz", sp.csr_array(matrix(2)))
    (tmp_path / "documents.npz").write_bytes(content)
    encoder = encoder_of(tmp_path, "documents.npz", "queries.npz")
    for action in (
        encoder.dimension,
        lambda: encoder.check(5, 2),
        lambda: encoder.encode([""] * 5, "document"),
    ):
        with pytest.raises(InputError, match=r"documents.npz: not a readable file of scipy"):
            action()


def test_an_archive_of_dense_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "documents.npz", a=np.eye(3))
    np.save(tmp_path / "plain.npy", np.eye(3))
    (tmp_path / "plain.npy").rename(tmp_path / "queries.npz")
    encoder = encoder_of(tmp_path, "documents.npz", "queries.npz")
    for kind in ("document", "query"):
        with pytest.raises(InputError, match=r"not a readable file of scipy.sparse.save_npz"):
            encoder.encode([""] * 3, kind)  # type: ignore[arg-type]


# -- JSON lines -----------------------------------------------------------------------------------


def test_lines_are_found_by_id_in_any_order(lines: Callable[..., PrecomputedSparseEncoder]) -> None:
    encoder = lines(DOCUMENTS, QUERIES)
    encoder.check(3, 2)
    assert encoder.dimension() is None
    expected = [[1.5, 2, 0], [0, 0, 0], [0.25, 0, 1]]
    assert of(encoder, "document", ["a", "b", "c"]) == expected
    assert of(encoder, "document", ["c", "a", "b"]) == [expected[2], *expected[:2]]
    assert encoder.dimension() == 3
    assert of(encoder, "query", ["q2", "q1"]) == [[0, 2, 0.5], [1, 0, 0]]


def test_query_terms_that_no_document_has_are_dropped_and_counted(
    lines: Callable[..., PrecomputedSparseEncoder],
) -> None:
    encoder = lines(DOCUMENTS, [*QUERIES, ("q3", {"frob": 1, "quux": 1})])
    assert encoder.unknown_terms is None
    assert of(encoder, "query", ["q1", "q2"]) == [[1, 0, 0], [0, 2, 0.5]]
    assert encoder.unknown_terms == 1, "of the queries asked for"
    assert of(encoder, "query", ["q3"]) == [[0, 0, 0]]
    assert encoder.unknown_terms == 2


def test_queries_alone_have_the_vocabulary_of_the_documents(
    lines: Callable[..., PrecomputedSparseEncoder],
) -> None:
    first, second = (lines(DOCUMENTS, QUERIES) for _ in range(2))
    of(first, "document", ["a"])
    assert of(first, "query", ["q1", "q2"]) == of(second, "query", ["q1", "q2"])


def test_the_vocabulary_is_that_of_the_whole_file(
    lines: Callable[..., PrecomputedSparseEncoder],
) -> None:
    assert of(lines(DOCUMENTS, QUERIES), "document", ["a"]) == [[1.5, 2, 0]]


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".json", ".jsonl.zst"])
def test_packed_files_and_folders_are_read(tmp_path: Path, suffix: str) -> None:
    from retrieval_eval.textfiles import pack_bytes

    (tmp_path / "documents").mkdir()
    for part, rows in enumerate((DOCUMENTS[:2], DOCUMENTS[2:])):
        text = "".join(json.dumps({"id": key, "vector": row}) + "\n" for key, row in rows)
        packed = pack_bytes(text.encode(), Path(suffix).suffix)
        (tmp_path / "documents" / f"part{part}{suffix}").write_bytes(packed)
    (tmp_path / "documents" / "README.md").write_text("not read")
    text = "".join(json.dumps({"id": key, "vector": row}) + "\n" for key, row in QUERIES)
    (tmp_path / f"queries{suffix}").write_bytes(pack_bytes(text.encode(), Path(suffix).suffix))
    encoder = encoder_of(tmp_path, "documents", f"queries{suffix}")
    encoder.check(3, 2)
    assert of(encoder, "document", ["c", "a", "b"]) == [[0.25, 0, 1], [1.5, 2, 0], [0, 0, 0]]
    assert of(encoder, "query", ["q1"]) == [[1, 0, 0]]
    with pytest.raises(InputError, match=r"documents: no vector for the document 'd'; 1 of 2 have"):
        of(encoder, "document", ["a", "d"])


def test_an_id_that_stands_twice_is_refused(
    lines: Callable[..., PrecomputedSparseEncoder],
) -> None:
    encoder = lines([*DOCUMENTS, ("a", {"red": 1})], QUERIES)
    with pytest.raises(InputError, match=r"documents.jsonl:4: the id 'a' stands in .*:1 already"):
        of(encoder, "document", ["a", "b", "c"])


def test_weights_of_zero_are_left_out(lines: Callable[..., PrecomputedSparseEncoder]) -> None:
    encoder = lines([("a", {"red": 0, "blue": -1.5})], [("q", {"red": 0.0})])
    (rows,) = encoder.stream([""], "document", ids=["a"])
    assert rows.toarray().tolist() == [[0, -1.5]]
    assert rows.nnz == 1
    (rows,) = encoder.stream([""], "query", ids=["q"])
    assert rows.nnz == 0


def test_ids_are_needed(lines: Callable[..., PrecomputedSparseEncoder]) -> None:
    with pytest.raises(InputError, match=r"documents.jsonl: vectors in JSON lines are found by id"):
        lines(DOCUMENTS, QUERIES).encode(["", "", ""], "document")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "b", "vector": {"red": NaN}}', "2: a weight is NaN, infinite or beyond float32"),
        ('{"id": "b", "vector": {"red": 1e39}}', "2: a weight is NaN, infinite or beyond float32"),
        (
            '{"id": "b", "vector": {"red": 1' + "0" * 400 + "}}",
            "2: a weight is NaN, infinite or beyond",
        ),
        ('{"id": "b", "vector": {"red": "1"}}', "2: the weight of 'red' is '1': it must be a"),
        ('{"id": "b", "vector": {"red": true}}', "2: the weight of 'red' is True: it must be a"),
        ('{"id": "b", "vector": {"red": null}}', "2: the weight of 'red' is None: it must be a"),
        ('{"id": "b", "vector": [0.5, 1.0]}', "2: the key 'vector' must hold an object"),
        ('{"id": "b"}', "2: the key 'vector' must hold an object"),
        ('{"id": 7, "vector": {}}', "2: the key 'id' must hold a string"),
        ('{"id": "b", "vector": {', "2: not valid JSON"),
    ],
)
def test_a_wrong_line_is_named(
    lines: Callable[..., PrecomputedSparseEncoder], tmp_path: Path, line: str, message: str
) -> None:
    encoder = lines(DOCUMENTS[:1], QUERIES)
    with (tmp_path / "documents.jsonl").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=f"documents.jsonl:{message}"):
        of(encoder, "document", ["a"])


def test_a_cut_packed_file_is_refused(tmp_path: Path) -> None:
    text = "".join(json.dumps({"id": f"{i}", "vector": {f"t{i}": i}}) + "\n" for i in range(500))
    packed = gzip.compress(text.encode())
    (tmp_path / "documents.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    encoder = encoder_of(tmp_path, "documents.jsonl.gz", "documents.jsonl.gz")
    with pytest.raises(InputError, match=r"documents.jsonl.gz: cannot be read"):
        of(encoder, "document", ["1"])


def test_vectors_without_any_entry_are_read(
    lines: Callable[..., PrecomputedSparseEncoder],
) -> None:
    encoder = lines([("a", {}), ("b", {})], [("q", {"red": 1})])
    (rows,) = encoder.stream(["", ""], "document", ids=["a", "b"])
    assert rows.shape == (2, 0)
    (rows,) = encoder.stream([""], "query", ids=["q"])
    assert rows.shape == (1, 0)
    assert encoder.unknown_terms == 1


# -- files ----------------------------------------------------------------------------------------


def test_the_identity_is_the_content_of_the_files(
    lines: Callable[..., PrecomputedSparseEncoder], tmp_path: Path
) -> None:
    encoder = lines(DOCUMENTS, QUERIES)
    before = encoder.identity()
    (tmp_path / "documents.jsonl").rename(tmp_path / "moved.jsonl")
    moved = encoder_of(tmp_path, "moved.jsonl", "queries.jsonl")
    assert moved.identity() == before
    with (tmp_path / "moved.jsonl").open("a") as stream:
        stream.write("\n")
    assert moved.identity() != before
    assert encoder.origin("query") == str(tmp_path / "queries.jsonl")
    assert encoder.sparse
    assert encoder.zero_means_no_match


def test_files_of_two_kinds_do_not_fit_together(
    lines: Callable[..., PrecomputedSparseEncoder], tmp_path: Path
) -> None:
    lines(DOCUMENTS, QUERIES)
    sp.save_npz(tmp_path / "queries.npz", sp.csr_array(matrix(2)))
    with pytest.raises(InputError, match=r"queries.npz: not of one kind with .*documents.jsonl"):
        encoder_of(tmp_path, "documents.jsonl", "queries.npz").check(3, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.npz", "gone.npz: there is no such file"),
        ("file.npy", "file.npy: expected .npz, .jsonl, .jsonl.gz or .jsonl.zst"),
        ("empty", "empty: the folder has no .jsonl file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.npy").touch()
    (tmp_path / "empty").mkdir()
    encoder = encoder_of(tmp_path, name, name)
    for action in (encoder.identity, encoder.dimension, lambda: encoder.check(1, 1)):
        with pytest.raises(InputError, match=message):
            action()


def test_the_archives_of_the_tests_are_real(tmp_path: Path) -> None:
    sp.save_npz(tmp_path / "a.npz", sp.csr_array(matrix(2)))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert "indptr.npy" in archive.namelist()
