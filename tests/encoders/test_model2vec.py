"""Model2vec: tiny models made here, whose vectors can be worked out by hand."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.encoders.model2vec import Model2VecEncoder
from retrieval_eval.errors import InputError

model2vec = pytest.importorskip(
    "model2vec", reason="it is not installed: it comes with the extra 'model2vec'"
)

WORDS = ["[UNK]", "red", "green", "apple", "plum", "steam", "engine"]
TOKENS = np.random.default_rng(0).normal(size=(len(WORDS), 8)).astype(np.float32)


def save_model(folder: Path, dtype: str = "float32", **parameters: Any) -> Path:
    """Save a model of whole words with known vectors; it has no network to ask."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: row for row, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=WORDS[0]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    vectors = TOKENS.astype(dtype)
    model2vec.StaticModel(vectors, tokenizer, **parameters).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the plain model once."""
    return save_model(tmp_path_factory.mktemp("tiny"))


def mean_of(*words: str) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = TOKENS[[WORDS.index(word) for word in words]].mean(axis=0)
    return vector


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return scaled


@pytest.mark.parametrize("kind", ["query", "document"])
def test_a_vector_is_the_mean_of_its_tokens_of_unit_length(tiny: Path, kind: Any) -> None:
    encoder = Model2VecEncoder(model=str(tiny))
    vectors = encoder.encode(["Red apple", "plum", "a steam engine"], kind)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert encoder.dimension() == 8
    expected = [mean_of("red", "apple"), mean_of("plum"), mean_of("steam", "engine")]
    np.testing.assert_allclose(vectors, [unit(vector) for vector in expected], atol=1e-6)


def test_vectors_keep_their_length_when_told_so(tiny: Path) -> None:
    vectors = Model2VecEncoder(model=str(tiny), normalize=False).encode(["red apple"], "query")
    np.testing.assert_allclose(vectors[0], mean_of("red", "apple"), atol=1e-6)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_what_the_model_declares_does_not_decide_the_length(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, declared: bool, normalize: bool
) -> None:
    folder = save_model(tmp_path / "model", normalize=declared)
    with caplog.at_level(logging.WARNING):
        vectors = Model2VecEncoder(model=str(folder), normalize=normalize).encode(["plum"], "query")
    expected = unit(mean_of("plum")) if normalize else mean_of("plum")
    np.testing.assert_allclose(vectors[0], expected, atol=1e-6)
    assert not caplog.records


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8"])
def test_models_of_other_element_types_give_float32_of_unit_length(
    tmp_path: Path, dtype: str
) -> None:
    folder = save_model(tmp_path / "model", dtype)
    vectors = Model2VecEncoder(model=str(folder)).encode(["red apple", "plum"], "document")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_dim_keeps_the_first_dimensions(tiny: Path, normalize: bool) -> None:
    encoder = Model2VecEncoder(model=str(tiny), dim=3, normalize=normalize)
    assert encoder.dimension() == 3
    vectors = encoder.encode(["red apple", ""], "document")
    assert encoder.dimension() == 3
    cut = mean_of("red", "apple")[:3]
    np.testing.assert_allclose(vectors[0], unit(cut) if normalize else cut, atol=1e-6)
    library = model2vec.StaticModel.from_pretrained(tiny, dimensionality=3)
    expected = library.encode(["red apple", ""], normalize=normalize)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_more_dimensions_than_the_model_has_are_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"dim is 9, but model .* has only 8 dimensions"):
        Model2VecEncoder(model=str(tiny), dim=9).encode(["plum"], "query")


def test_texts_are_cut_at_the_longest_length(tmp_path: Path, tiny: Path) -> None:
    text = "red green apple plum steam engine"
    short = Model2VecEncoder(model=str(tiny), max_length=2).encode([text], "query")
    np.testing.assert_allclose(short[0], unit(mean_of("red", "green")), atol=1e-6)
    whole = Model2VecEncoder(model=str(tiny)).encode([text], "query")
    np.testing.assert_allclose(whole[0], unit(mean_of(*WORDS[1:])), atol=1e-6)
    folder = save_model(tmp_path / "model", max_length=3)
    own = Model2VecEncoder(model=str(folder)).encode([text], "query")
    np.testing.assert_allclose(own[0], unit(mean_of("red", "green", "apple")), atol=1e-6)


@pytest.mark.parametrize("text", ["", "  \n", "xyzzy", "!?"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_text_without_known_tokens_gets_the_zero_vector(
    tiny: Path, text: str, normalize: bool
) -> None:
    encoder = Model2VecEncoder(model=str(tiny), normalize=normalize)
    vectors = encoder.encode(["plum", text], "query")
    assert vectors[0].any()
    assert not vectors[1].any()
    assert encoder.zero_means_no_match


def test_no_texts_give_no_rows(tiny: Path) -> None:
    assert Model2VecEncoder(model=str(tiny)).encode([], "query").shape == (0, 8)
    assert Model2VecEncoder(model=str(tiny), dim=2).encode([], "query").shape == (0, 2)


def test_a_vector_does_not_depend_on_where_a_stream_starts(tiny: Path) -> None:
    encoder = Model2VecEncoder(model=str(tiny))
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(WORDS[1:], size=rng.integers(0, 9))) for _ in range(3000)]
    blocks = list(encoder.stream(texts, "document"))
    assert len(blocks) > 2
    rest = list(encoder.stream(texts, "document", start=len(blocks[0])))
    np.testing.assert_array_equal(np.concatenate(rest), np.concatenate(blocks[1:]))


def test_a_large_call_leaves_the_environment_alone(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    vectors = Model2VecEncoder(model=str(tiny)).encode(["plum"] * 10_001, "document")
    assert len(vectors) == 10_001
    assert "TOKENIZERS_PARALLELISM" not in os.environ


def test_a_closed_encoder_loads_its_model_anew(tiny: Path) -> None:
    encoder = Model2VecEncoder(model=str(tiny))
    first = encoder.encode(["plum"], "query")
    encoder.close()
    assert encoder._model is None
    np.testing.assert_array_equal(encoder.encode(["plum"], "query"), first)


# -- identity ---------------------------------------------------------------------------------


def test_a_folder_is_identified_by_its_content(tiny: Path, tmp_path: Path) -> None:
    before = Model2VecEncoder(model=str(tiny)).identity()
    copy = shutil.copytree(tiny, tmp_path / "copy")
    assert Model2VecEncoder(model=str(copy)).identity() == before
    (copy / ".cache").mkdir()
    (copy / ".cache" / "download.metadata").write_text("1700000000.0")
    assert Model2VecEncoder(model=str(copy)).identity() == before, "when it came does not count"
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert Model2VecEncoder(model=str(copy)).identity() != before


@pytest.mark.parametrize("change", [{"normalize": False}, {"dim": 3}, {"max_length": 5}])
def test_each_parameter_is_part_of_the_identity(tiny: Path, change: dict[str, Any]) -> None:
    plain = Model2VecEncoder(model=str(tiny)).identity()
    assert Model2VecEncoder(model=str(tiny), **change).identity() != plain


@pytest.fixture
def cached(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the model into a cache of the hub, which cannot be reached, and return its commit."""
    from huggingface_hub import constants

    commit = "0123456789" * 4
    repository = tmp_path / "models--someone--something"
    shutil.copytree(tiny, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.delenv("SENTENCE_TRANSFORMERS_HOME", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return commit


def test_a_hub_model_is_identified_by_name_and_commit(cached: str) -> None:
    identities = [
        Model2VecEncoder(model="someone/something", revision=revision).identity()
        for revision in (None, "main", cached)
    ]
    assert identities[0] == identities[1] == identities[2]
    assert identities[0]["model"] == "someone/something"
    assert identities[0]["revision"] == cached
    unknown = Model2VecEncoder(model="someone/something", revision="other").identity()
    assert unknown["revision"] == "other"


def test_a_hub_model_that_is_in_the_cache_needs_no_hub(cached: str) -> None:
    found = Model2VecEncoder(model="someone/something").encode(["plum"], "query")
    np.testing.assert_allclose(found[0], unit(mean_of("plum")), atol=1e-6)


# -- models that cannot be loaded -------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "words"])
def test_a_damaged_model_is_refused(tiny: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = shutil.copytree(tiny, tmp_path / "model")
    path = folder / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:20] if damage == "cut" else b"some words")
    with pytest.raises(InputError, match=r"encoder 'model2vec': model .* cannot be loaded: "):
        Model2VecEncoder(model=str(folder)).encode(["plum"], "query")


@pytest.mark.usefixtures("cached")
def test_a_name_that_is_neither_folder_nor_on_the_hub_is_refused(tmp_path: Path) -> None:
    for name in ("no-such/model", "no such name", str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match=r"cannot be loaded: .* while the hub can be reached"):
            Model2VecEncoder(model=name).encode(["plum"], "query")


def test_a_revision_of_a_folder_is_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder, which has no revisions: leave out .*main"):
        Model2VecEncoder(model=str(tiny), revision="main").identity()
