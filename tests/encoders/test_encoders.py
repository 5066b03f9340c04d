"""The built-in encoders that need no model hub, and the checks that all encoders share."""

from __future__ import annotations

import importlib.util
import pickle
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.encoders import ENCODERS, get_encoder
from retrieval_eval.encoders.base import check_embeddings
from retrieval_eval.errors import InputError, MissingExtraError

DOCUMENTS = [
    "a red apple fell from the tree",
    "a green apple and a ripe plum",
    "ripe plums and red cherries grow on trees",
    "the steam engine drove the cotton mill",
    "an engine of iron and steam",
    "cotton cloth was woven in the mill by night",
]

# -- latent semantic analysis -----------------------------------------------------------------


def test_lsa_vectors_are_float32_of_unit_length() -> None:
    fitted = get_encoder("lsa", dim=4).fit(DOCUMENTS)
    for kind in ("document", "query"):
        vectors = fitted.encode(DOCUMENTS, kind)
        assert vectors.shape == (len(DOCUMENTS), 4)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_lsa_finds_the_documents_that_share_words() -> None:
    fitted = get_encoder("lsa", dim=3).fit(DOCUMENTS)
    scores = fitted.encode(["steam engine"], "query") @ fitted.encode(DOCUMENTS, "document").T
    assert set(np.argsort(-scores[0])[:2].tolist()) == {3, 4}


def test_lsa_with_one_seed_is_the_same_every_time() -> None:
    first, second = (
        get_encoder("lsa", dim=3, seed=5).fit(DOCUMENTS).encode(DOCUMENTS, "document")
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_lsa_is_fitted_to_documents_alone() -> None:
    fitted = get_encoder("lsa", dim=3).fit(DOCUMENTS)
    before = fitted.encode(DOCUMENTS, "document")
    queries = ["quantum chromodynamics", "apple chromodynamics"]
    asked = fitted.encode(queries, "query")
    assert not asked[0].any(), "a word of the queries alone is unknown"
    np.testing.assert_allclose(asked[1], fitted.encode(["apple"], "query")[0], atol=1e-6)
    np.testing.assert_array_equal(fitted.encode(DOCUMENTS, "document"), before)


def test_lsa_leaves_the_encoder_that_was_asked_to_fit_unfitted() -> None:
    encoder = get_encoder("lsa", dim=2)
    fitted = encoder.fit(DOCUMENTS)
    assert fitted is not encoder
    with pytest.raises(InputError, match="encoder 'lsa' must be fitted first"):
        encoder.encode(["apple"], "query")
    other = encoder.fit(["iron rail", "rail bridge", "bridge river", "river boat"])
    assert not other.encode(["apple"], "query").any()
    assert fitted.encode(["apple"], "query").any()


@pytest.mark.parametrize("text", ["xyzzy", "", "   ", "the of and", "!?"])
def test_lsa_gives_a_text_without_known_words_the_zero_vector(text: str) -> None:
    fitted = get_encoder("lsa", dim=3).fit(DOCUMENTS)
    vectors = fitted.encode([text, "apple"], "query")
    assert not vectors[0].any()
    assert np.linalg.norm(vectors[1]) == pytest.approx(1.0, abs=1e-6)
    assert fitted.zero_means_no_match


def test_lsa_with_too_many_dimensions_is_refused() -> None:
    encoder = get_encoder("lsa", dim=6)
    with pytest.raises(InputError, match="dim is 6, but the corpus has only 6 documents"):
        encoder.check(6, 1)
    encoder.check(7, 1)
    with pytest.raises(InputError, match=r"dim is 6, but the corpus has 6 documents and \d+ terms"):
        encoder.fit(DOCUMENTS)
    with pytest.raises(InputError, match="dim is 2, but the corpus has 6 documents and 2 terms"):
        get_encoder("lsa", dim=2).fit(["apple plum"] * 6)


@pytest.mark.parametrize("documents", [["the of and", "a"], ["", ""], []])
def test_lsa_without_any_vocabulary_is_refused(documents: list[str]) -> None:
    with pytest.raises(InputError, match="encoder 'lsa': the corpus yields no vocabulary"):
        get_encoder("lsa", dim=1).fit(documents)


def test_lsa_can_split_identifiers() -> None:
    sources = ["def read_file(pathName)", "class WebServer2Go", "def writeRow", "x = y"]
    plain = get_encoder("lsa", dim=2).fit(sources)
    split = get_encoder("lsa", dim=3, split_identifiers=True).fit(sources)
    for word in ("file", "path", "web", "write", "row"):
        assert not plain.encode([word], "query").any()
        assert split.encode([word], "query").any()
    np.testing.assert_allclose(
        split.encode(["READ_FILE"], "query"), split.encode(["read file"], "query"), atol=1e-6
    )


@pytest.mark.parametrize(
    "change",
    [{"dim": 9}, {"min_df": 2}, {"seed": 1}, {"stop_words": None}, {"split_identifiers": True}],
)
def test_each_parameter_of_lsa_is_part_of_its_identity(change: dict[str, Any]) -> None:
    assert get_encoder("lsa", **change).identity() != get_encoder("lsa").identity()
    assert get_encoder("lsa", **change).identity() == get_encoder("lsa", **change).identity()


# -- wordllama --------------------------------------------------------------------------------


@pytest.fixture
def _wordllama() -> None:
    pytest.importorskip(
        "wordllama", reason="wordllama is not installed: it comes with the extra 'wordllama'"
    )


@pytest.mark.usefixtures("_wordllama")
def test_wordllama_needs_neither_network_nor_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    vectors = get_encoder("wordllama").encode(["a red apple", "steam"], "document")
    assert vectors.shape == (2, 256)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_wordllama")
def test_wordllama_places_related_texts_closer() -> None:
    apple, plum, engine = get_encoder("wordllama").encode(
        ["a ripe red apple", "plums and other fruit", "the steam engine of a locomotive"], "query"
    )
    assert apple @ plum > apple @ engine + 0.1


@pytest.mark.usefixtures("_wordllama")
@pytest.mark.parametrize("empty", ["", "  ", "\n\t"])
def test_wordllama_gives_an_empty_text_the_zero_vector(empty: str) -> None:
    encoder = get_encoder("wordllama")
    vectors = encoder.encode(["apple", empty, "plum"], "document")
    assert np.isfinite(vectors).all()
    assert not vectors[1].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[[0, 2]], axis=1), 1.0, atol=1e-5)
    assert not encoder.encode([empty], "query").any()
    assert encoder.zero_means_no_match


@pytest.mark.usefixtures("_wordllama")
@pytest.mark.parametrize("dim", [64, 128])
def test_wordllama_dim_is_the_normalised_truncation(dim: int) -> None:
    whole = get_encoder("wordllama").encode(DOCUMENTS, "document")[:, :dim]
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    encoder = get_encoder("wordllama", dim=dim)
    assert encoder.dimension() == dim
    np.testing.assert_allclose(encoder.encode(DOCUMENTS, "document"), expected, atol=1e-5)
    assert encoder.identity() != get_encoder("wordllama").identity()


@pytest.mark.usefixtures("_wordllama")
def test_a_wordllama_vector_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    encoder = get_encoder("wordllama")
    alone = encoder.encode(DOCUMENTS[:1], "document")
    beside = encoder.encode([DOCUMENTS[0], "long " * 500, ""], "document")
    np.testing.assert_allclose(beside[0], alone[0], atol=1e-6)
    np.testing.assert_array_equal(alone, encoder.encode(DOCUMENTS[:1], "query"))


def test_another_dim_of_wordllama_is_refused() -> None:
    with pytest.raises(InputError, match="encoder 'wordllama': parameter 'dim' is 100: "):
        get_encoder("wordllama", dim=100)


# -- precomputed ------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Callable[[Any, Any], dict[str, str]]:
    """Return a function that writes two arrays and returns the parameters that name them."""

    def write(documents: Any, queries: Any) -> dict[str, str]:
        for name, array in (("documents", documents), ("queries", queries)):
            np.save(tmp_path / f"{name}.npy", array)
        return {name: str(tmp_path / f"{name}.npy") for name in ("documents", "queries")}

    return write


def vectors_of(n: int, d: int = 3) -> NDArray[np.float64]:
    return np.random.default_rng(n).normal(size=(n, d))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_precomputed_vectors_become_float32(
    files: Callable[..., dict[str, str]], dtype: str
) -> None:
    documents, queries = vectors_of(5).astype(dtype), vectors_of(2).astype(dtype)
    encoder = get_encoder("precomputed", **files(documents, queries))
    encoder.check(5, 2)
    assert encoder.dimension() == 3
    for kind, expected in (("document", documents), ("query", queries)):
        found = encoder.encode([""] * len(expected), kind)
        assert found.dtype == np.float32
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_precomputed_vectors_stream_in_order(files: Callable[..., dict[str, str]]) -> None:
    documents = vectors_of(20_000, 2).astype(np.float32)
    encoder = get_encoder("precomputed", **files(documents, vectors_of(1, 2)))
    blocks = list(encoder.stream([""] * 20_000, "document"))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.vstack(blocks), documents)


def test_fortran_ordered_files_keep_their_rows(files: Callable[..., dict[str, str]]) -> None:
    documents = np.asfortranarray(vectors_of(5).astype(np.float32))
    encoder = get_encoder("precomputed", **files(documents, vectors_of(1)))
    np.testing.assert_array_equal(encoder.encode([""] * 5, "document"), documents)


def test_files_with_another_number_of_rows_are_refused(
    files: Callable[..., dict[str, str]],
) -> None:
    encoder = get_encoder("precomputed", **files(vectors_of(5), vectors_of(2)))
    with pytest.raises(InputError, match=r"documents.npy: 5 vectors for 6 documents"):
        encoder.check(6, 2)
    with pytest.raises(InputError, match=r"queries.npy: 2 vectors for 3 judged queries"):
        encoder.check(5, 3)
    with pytest.raises(InputError, match=r"documents.npy: 5 vectors for 4 texts"):
        encoder.encode([""] * 4, "document")


def test_files_of_different_dimensions_are_refused(files: Callable[..., dict[str, str]]) -> None:
    encoder = get_encoder("precomputed", **files(vectors_of(5, 3), vectors_of(2, 4)))
    with pytest.raises(InputError, match=r"queries.npy: dimension 4, but .*documents.npy has 3"):
        encoder.check(5, 2)


@pytest.mark.parametrize(
    "array",
    [
        np.ones((5, 3), dtype=np.int32),
        np.ones((5, 3), dtype=bool),
        np.ones((5, 3), dtype=np.complex64),
        np.ones(5),
        np.ones((5, 3, 1)),
        np.full((5, 3), "1.0"),
    ],
    ids=["int", "bool", "complex", "one axis", "three axes", "text"],
)
def test_arrays_that_are_not_rows_of_floats_are_refused(
    files: Callable[..., dict[str, str]], array: NDArray[Any]
) -> None:
    encoder = get_encoder("precomputed", **files(array, vectors_of(2)))
    with pytest.raises(InputError, match=r"documents.npy: expected floats of shape \(n, d\), "):
        encoder.check(5, 2)
    with pytest.raises(InputError, match=r"documents.npy: expected floats"):
        encoder.encode([""] * 5, "document")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["object array", "bare pickle"])
def test_pickles_are_refused_and_never_loaded(tmp_path: Path, form: str) -> None:
    touched, path = tmp_path / "touched", tmp_path / "documents.npy"
    trap = Trap(touched)
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(trap))
    else:
        np.save(path, np.array([[trap]], dtype=object), allow_pickle=True)
    np.save(tmp_path / "queries.npy", vectors_of(1))
    encoder = get_encoder("precomputed", documents=str(path), queries=str(tmp_path / "queries.npy"))
    for action in (
        lambda: encoder.check(1, 1),
        lambda: encoder.encode([""], "document"),
        encoder.dimension,
    ):
        with pytest.raises(InputError, match=r"documents.npy: not a (readable )?\.npy file"):
            action()
    encoder.identity()
    assert not touched.exists()
    np.load(path, allow_pickle=True)  # the trap works: it would have left its trace
    assert touched.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"words", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00\x76\x00{'descr': ("],
    ids=["empty", "text", "damaged archive", "cut header"],
)
def test_files_that_are_no_arrays_are_refused(
    files: Callable[..., dict[str, str]], content: bytes
) -> None:
    parameters = files(vectors_of(5), vectors_of(2))
    Path(parameters["documents"]).write_bytes(content)
    with pytest.raises(InputError, match=r"documents.npy: not a (readable )?\.npy file"):
        get_encoder("precomputed", **parameters).check(5, 2)


@pytest.mark.parametrize(("place", "byte"), [(6, 9), (8, 1), (8, 39), (10, 0xFF), (20, 0)])
def test_a_damaged_header_is_refused(
    files: Callable[..., dict[str, str]], place: int, byte: int
) -> None:
    parameters = files(vectors_of(5), vectors_of(2))
    path = Path(parameters["documents"])
    content = bytearray(path.read_bytes())
    content[place] = byte
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"documents.npy: not a (readable )?\.npy file"):
        get_encoder("precomputed", **parameters).check(5, 2)


def test_a_cut_file_is_refused(files: Callable[..., dict[str, str]]) -> None:
    parameters = files(vectors_of(5), vectors_of(2))
    path = Path(parameters["documents"])
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"documents.npy: not a (readable )?\.npy file"):
        get_encoder("precomputed", **parameters).check(5, 2)


def test_a_missing_file_is_refused(files: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    parameters = {**files(vectors_of(5), vectors_of(2)), "queries": str(tmp_path / "none.npy")}
    encoder = get_encoder("precomputed", **parameters)
    for action in (lambda: encoder.check(5, 2), encoder.identity):
        with pytest.raises(InputError, match=r"none.npy: there is no such file"):
            action()


def test_a_precomputed_encoder_is_identified_by_content_not_by_place(
    files: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    parameters = files(vectors_of(5), vectors_of(2))
    identity = get_encoder("precomputed", **parameters).identity()
    moved = {}
    for name, path in parameters.items():
        moved[name] = str(tmp_path / f"moved-{name}.npy")
        shutil.copy(path, moved[name])
    assert get_encoder("precomputed", **moved).identity() == identity
    swapped = {"documents": moved["queries"], "queries": moved["documents"]}
    assert get_encoder("precomputed", **swapped).identity() != identity
    changed = vectors_of(2)
    changed[1, 2] += 1e-9
    np.save(moved["queries"], changed)
    assert get_encoder("precomputed", **moved).identity() != identity


# -- what all encoders share ------------------------------------------------------------------

IDS = ["d1", "d2", "d3"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_embeddings_with_nan_or_infinity_are_refused_naming_id_and_row(
    value: float, dtype: type[np.floating]
) -> None:
    vectors = np.ones((3, 4), dtype=dtype)
    vectors[1, 2] = value
    pattern = r"encoder 'x', document 'd2' \(row 1\): the vector holds NaN or infinity; 1 of 3 rows"
    for zero_allowed in (True, False):
        with pytest.raises(InputError, match=pattern):
            check_embeddings(vectors, IDS, what="encoder 'x', document", zero_allowed=zero_allowed)


def test_opposite_infinities_do_not_cancel() -> None:
    vectors = np.array([[1, 1], [np.inf, -np.inf]], dtype=np.float32)
    with pytest.raises(InputError, match=r"'d2' \(row 1\)"):
        check_embeddings(vectors, IDS[:2], what="x", zero_allowed=True)


def test_zero_embeddings_are_refused_naming_id_and_row_unless_allowed() -> None:
    vectors = np.ones((3, 4), dtype=np.float32)
    vectors[[0, 2]] = 0
    pattern = r"encoder 'x', query 'd1' \(row 0\): the vector is all zero; 2 of 3 rows are"
    with pytest.raises(InputError, match=pattern):
        check_embeddings(vectors, IDS, what="encoder 'x', query", zero_allowed=False)
    check_embeddings(vectors, IDS, what="encoder 'x', query", zero_allowed=True)


def test_a_row_whose_entries_cancel_is_not_zero() -> None:
    vectors = np.array([[1, -1], [3e38, 3e38]], dtype=np.float32)
    check_embeddings(vectors, IDS[:2], what="x", zero_allowed=False)


@pytest.mark.parametrize("shape", [(2, 4), (4, 4), (3,), (3, 2, 2)])
def test_embeddings_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"x: expected 3 vectors, got an array \("):
        check_embeddings(np.ones(shape, dtype=np.float32), IDS, what="x", zero_allowed=True)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("lsi", "lsa"),
        ("word-llama", "wordllama"),
        ("sentence_transformers", "sentence-transformers"),
    ],
)
def test_an_unknown_encoder_is_refused_with_a_suggestion(wrong: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        get_encoder(wrong)
    message = str(caught.value)
    assert message.startswith(f"unknown encoder '{wrong}'. Did you mean '{meant}'? Available: ")
    assert all(name in message for name in ENCODERS.targets)


def test_an_unknown_encoder_parameter_is_refused_with_a_suggestion() -> None:
    pattern = r"encoder 'lsa': unknown parameter 'dims'\. Did you mean 'dim'\? Available: dim, "
    with pytest.raises(InputError, match=pattern):
        get_encoder("lsa", dims=8)


@pytest.mark.parametrize("parameters", [{"dim": 0}, {"dim": "8"}, {"dim": 8.0}, {"min_df": True}])
def test_an_encoder_parameter_out_of_range_or_of_another_type_is_refused(
    parameters: dict[str, Any],
) -> None:
    with pytest.raises(InputError, match=r"encoder 'lsa': parameter '(dim|min_df)' is "):
        get_encoder("lsa", **parameters)


def test_a_required_encoder_parameter_is_asked_for() -> None:
    with pytest.raises(InputError, match="'precomputed': parameter 'queries' is required"):
        get_encoder("precomputed", documents="d.npy")


@pytest.mark.parametrize(
    ("name", "parameters", "module"),
    [
        ("wordllama", {}, "wordllama"),
        ("sentence-transformers", {"model": "a-model"}, "sentence_transformers"),
    ],
)
def test_a_missing_library_names_the_command_that_installs_it(
    name: str, parameters: dict[str, Any], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec

    def without(asked: str, package: str | None = None) -> Any:
        return None if asked == module else find_spec(asked, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    encoder = get_encoder(name, **parameters)
    for action in (encoder.require, lambda: encoder.encode(["text"], "query")):
        with pytest.raises(MissingExtraError) as caught:
            action()
        assert str(caught.value) == (
            f"encoder '{name}' needs the library '{module}', which is not installed: "
            f"pip install 'ann-retrieval-eval[{name}]'"
        )
        assert isinstance(caught.value, ImportError)
