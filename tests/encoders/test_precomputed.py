"""The encoder `precomputed`: vectors from files of every format, found by row or by id."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from retrieval_eval.encoders import get_encoder
from retrieval_eval.encoders.precomputed import PrecomputedEncoder
from retrieval_eval.errors import InputError, MissingExtraError
from retrieval_eval.vectorfiles import FORMATS, open_vectors

RNG = np.random.default_rng(11)
DOCUMENTS = RNG.normal(size=(40, 5)).astype(np.float32)
QUERIES = RNG.normal(size=(4, 5)).astype(np.float32)
DOCUMENT_IDS = [f"d{row:03}" for row in range(40)]
QUERY_IDS = ["q4", "q1", "q2", "q3"]


def gathered(
    encoder: Any, ids: list[str], kind: Any = "document", start: int = 0
) -> NDArray[np.float32]:
    blocks = list(encoder.stream([""] * len(ids), kind, ids=ids, start=start))
    return np.concatenate(blocks) if blocks else np.empty((0, 5), dtype=np.float32)


@pytest.fixture
def one_file(tmp_path: Path) -> Path:
    """Return an archive with documents and queries, each with its ids."""
    path = tmp_path / "both.npz"
    np.savez(
        path,
        docs=DOCUMENTS,
        docs_ids=np.array(DOCUMENT_IDS),
        queries=QUERIES,
        queries_ids=np.array(QUERY_IDS),
    )
    return path


def of(path: Path, **parameters: Any) -> PrecomputedEncoder:
    encoder = get_encoder(
        "precomputed", documents=f"{path}#docs", queries=f"{path}#queries", **parameters
    )
    assert isinstance(encoder, PrecomputedEncoder)
    return encoder


# -- by id -------------------------------------------------------------------------------------


def test_vectors_are_found_by_id_in_any_order_among_more_than_are_needed(one_file: Path) -> None:
    encoder = of(one_file)
    encoder.check(3, 4)
    rows = [39, 0, 17]
    asked = [DOCUMENT_IDS[row] for row in rows]
    np.testing.assert_array_equal(gathered(encoder, asked), DOCUMENTS[rows])
    np.testing.assert_array_equal(gathered(encoder, QUERY_IDS, "query"), QUERIES)
    np.testing.assert_array_equal(gathered(encoder, DOCUMENT_IDS), DOCUMENTS)


@pytest.mark.parametrize("start", [0, 1, 8, 39, 40])
@pytest.mark.parametrize("match", ["ids", "rows"])
def test_a_stream_goes_on_where_it_was_interrupted(
    one_file: Path, start: int, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval_eval.encoders.precomputed._GATHER_BYTES", 7 * 4 * 5)
    monkeypatch.setattr("retrieval_eval.encoders.precomputed._BLOCK_ROWS", 3)
    encoder = of(one_file, match=match)
    asked = DOCUMENT_IDS[::-1]
    whole = DOCUMENTS[::-1] if match == "ids" else DOCUMENTS
    blocks = list(encoder.stream([""] * 40, "document", ids=asked, start=start))
    assert all(len(block) <= 3 for block in blocks)
    np.testing.assert_array_equal(np.concatenate([whole[:start], *blocks]), whole)


def test_a_text_without_a_vector_is_named_with_the_count(one_file: Path) -> None:
    encoder = of(one_file)
    with pytest.raises(InputError) as caught:
        gathered(encoder, ["d000", "x1", "d001", "x2"])
    message = str(caught.value)
    assert message.startswith(f"{one_file}#docs_ids: has no document 'x1'; 2 of 4 documents have ")
    assert "ids are like 'd000'" in message
    assert "match: rows" in message


def test_an_id_that_stands_twice_is_refused_with_its_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", docs=DOCUMENTS[:3], ids=np.array(["a", "b", "a"]), queries=QUERIES)
    with pytest.raises(InputError, match="the id 'a' stands in rows 0 and 2"):
        gathered(of(tmp_path / "v.npz"), ["a", "b"])


def test_fewer_vectors_than_texts_are_refused_early(one_file: Path) -> None:
    with pytest.raises(InputError, match="#docs: 40 vectors for 41 documents of the dataset"):
        of(one_file).check(41, 4)
    with pytest.raises(InputError, match="#queries: 4 vectors for 5 judged queries"):
        of(one_file).check(40, 5)


def test_ids_may_lie_in_files_of_their_own(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", DOCUMENTS)
    np.save(tmp_path / "q.npy", QUERIES)
    (tmp_path / "d.txt").write_text("\n".join(DOCUMENT_IDS) + "\n")
    (tmp_path / "q.json").write_text(json.dumps(QUERY_IDS))
    parameters = {
        "documents": str(tmp_path / "d.npy"),
        "queries": str(tmp_path / "q.npy"),
        "document_ids": str(tmp_path / "d.txt"),
        "query_ids": str(tmp_path / "q.json"),
    }
    encoder = get_encoder("precomputed", **parameters)
    encoder.check(2, 1)
    np.testing.assert_array_equal(gathered(encoder, ["d007", "d003"]), DOCUMENTS[[7, 3]])
    np.testing.assert_array_equal(gathered(encoder, ["q1"], "query"), QUERIES[[1]])


def test_a_table_with_ids_needs_no_more_than_its_name(tmp_path: Path) -> None:
    for name, ids, vectors in (("d", DOCUMENT_IDS, DOCUMENTS), ("q", QUERY_IDS, QUERIES)):
        column = pl.Series(vectors, dtype=pl.Array(pl.Float32, 5))
        frame = pl.DataFrame({"docid": ids, "vector": column, "score": [0.5] * len(ids)})
        frame.sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / f"{name}.parquet")
    encoder = get_encoder(
        "precomputed", documents=str(tmp_path / "d.parquet"), queries=str(tmp_path / "q.parquet")
    )
    np.testing.assert_array_equal(gathered(encoder, DOCUMENT_IDS), DOCUMENTS)
    np.testing.assert_array_equal(gathered(encoder, QUERY_IDS, "query"), QUERIES)


def test_rows_are_counted_where_that_is_asked_for(one_file: Path) -> None:
    encoder = of(one_file, match="rows")
    encoder.check(40, 4)
    np.testing.assert_array_equal(gathered(encoder, ["other"] * 40), DOCUMENTS)
    np.testing.assert_array_equal(encoder.encode([""] * 40, "document"), DOCUMENTS)
    with pytest.raises(InputError, match="#docs: 40 vectors for 39 documents"):
        encoder.check(39, 4)


def test_ids_that_are_demanded_must_be_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", docs=DOCUMENTS, queries=QUERIES)
    encoder = of(tmp_path / "v.npz", match="ids")
    with pytest.raises(InputError, match="#docs: has no ids, and match is 'ids'"):
        encoder.check(40, 4)


def test_vectors_under_ids_are_never_handed_out_by_row(one_file: Path) -> None:
    encoder = of(one_file)
    for read in (
        lambda: encoder.encode([""] * 40, "document"),
        lambda: list(encoder.stream([""] * 40, "document")),
    ):
        with pytest.raises(InputError, match="give the ids of the texts, or set match: rows"):
            read()


# -- identity ----------------------------------------------------------------------------------


def test_the_identity_is_of_content_names_ids_and_match(tmp_path: Path, one_file: Path) -> None:
    first = of(one_file).identity()
    moved = tmp_path / "moved.npz"
    shutil.copy(one_file, moved)
    assert of(moved).identity() == first
    others = [of(one_file, match="rows").identity()]
    (tmp_path / "ids.txt").write_text("\n".join(DOCUMENT_IDS))
    others.append(of(one_file, document_ids=str(tmp_path / "ids.txt")).identity())
    (tmp_path / "ids.txt").write_text("\n".join(DOCUMENT_IDS[::-1]))
    others.append(of(one_file, document_ids=str(tmp_path / "ids.txt")).identity())
    swapped = {"documents": f"{one_file}#queries", "queries": f"{one_file}#docs"}
    others.append(get_encoder("precomputed", **swapped).identity())
    keys = [json.dumps(identity, sort_keys=True) for identity in [first, *others]]
    assert len(set(keys)) == len(keys)


def test_the_same_bytes_in_another_format_are_other_vectors(tmp_path: Path) -> None:
    content = np.array([4, 5], dtype="<u4").tobytes() + bytes(range(20))
    for name in ("v.u8bin", "v.i8bin", "v"):
        (tmp_path / name).write_bytes(content)

    def identity(name: str, **parameters: Any) -> dict[str, Any]:
        path = str(tmp_path / name)
        return get_encoder("precomputed", documents=path, queries=path, **parameters).identity()

    assert identity("v.u8bin") != identity("v.i8bin")
    assert identity("v", format="i8bin") == identity("v.i8bin")


# -- a dataset's own vectors -------------------------------------------------------------------


class InMemory:
    """Vectors that are in no file."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self.n, self.d = vectors.shape

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        return self.vectors[start:stop]


def test_without_files_the_vectors_of_the_dataset_are_taken(one_file: Path) -> None:
    bare = get_encoder("precomputed")
    for encoder in (
        bare.with_vectors(InMemory(DOCUMENTS), InMemory(QUERIES)),
        bare.with_vectors(
            open_vectors(one_file, name="docs"), open_vectors(one_file, name="queries")
        ),
    ):
        assert encoder.dimension() == 5
        encoder.check(40, 4)
        for start in (0, 3):
            found = gathered(encoder, ["any"] * 40, start=start)
            np.testing.assert_array_equal(found, DOCUMENTS[start:])
        np.testing.assert_array_equal(gathered(encoder, ["any"] * 4, "query"), QUERIES)
        assert encoder.origin("document") == "the dataset's own vectors"
        with pytest.raises(InputError, match="the dataset's own vectors: 40 vectors for 39 docu"):
            encoder.check(39, 4)
        encoder.close()
        np.testing.assert_array_equal(gathered(encoder, ["any"] * 4, "query"), QUERIES)


def test_files_that_are_named_come_before_the_vectors_of_the_dataset(one_file: Path) -> None:
    encoder = of(one_file, match="rows")
    assert encoder.with_vectors(InMemory(DOCUMENTS * 2), InMemory(QUERIES)) is encoder


def test_without_files_and_without_vectors_of_the_dataset_the_way_out_is_named() -> None:
    encoder = get_encoder("precomputed")
    for action in (lambda: encoder.check(1, 1), encoder.dimension):
        with pytest.raises(InputError, match="the dataset has no vectors of its own: name files"):
            action()


def test_half_a_choice_of_files_is_refused() -> None:
    with pytest.raises(InputError, match="'precomputed': parameter 'documents' is required"):
        get_encoder("precomputed", queries="q.npy")
    with pytest.raises(InputError, match="document_ids and query_ids belong to files"):
        get_encoder("precomputed", document_ids="ids.txt")


# -- the rest ----------------------------------------------------------------------------------


def test_every_format_of_vectors_may_be_named(tmp_path: Path) -> None:
    for name in FORMATS:
        if name in ("ivecs", "ibin"):  # row numbers
            with pytest.raises(InputError, match="parameter 'format' is"):
                get_encoder("precomputed", documents="d", queries="q", format=name)
        else:
            get_encoder("precomputed", documents="d", queries="q", format=name)


@pytest.mark.parametrize(
    ("suffix", "module", "extra"),
    [("h5", "h5py", "hdf5"), ("safetensors", "safetensors", "safetensors")],
)
def test_a_format_whose_library_is_missing_is_refused_before_anything_is_read(
    suffix: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec

    def without(asked: str, package: str | None = None) -> Any:
        return None if asked == module else find_spec(asked, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    encoder = get_encoder("precomputed", documents=f"d.{suffix}#a", queries=f"d.{suffix}#b")
    with pytest.raises(MissingExtraError, match=rf"pip install 'ann-retrieval-eval\[{extra}\]'"):
        encoder.require()


def test_files_of_different_dimensions_are_refused_naming_both(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", docs=DOCUMENTS, queries=QUERIES[:, :4])
    with pytest.raises(InputError, match=r"#queries: dimension 4, but .*#docs has 5: both must"):
        of(tmp_path / "v.npz").check(40, 4)
