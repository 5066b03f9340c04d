"""Sparse sentence-transformers models: a tiny SPLADE made here, without the network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from retrieval_eval.encoders import Encoder
from retrieval_eval.encoders.sentence_transformers_sparse import SentenceTransformersSparseEncoder
from retrieval_eval.errors import InputError

st = pytest.importorskip(
    "sentence_transformers",
    reason="it is not installed: it comes with the extra 'sentence-transformers'",
)
# Warnings that these libraries raise about each other are not this package's.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

TEXTS = ["the red apple", "an old steam engine", "plum", "a red plum and an apple", "", "red"]


def encoder_of(folder: Path, **parameters: Any) -> Encoder:
    parameters = {"device": "cpu", **parameters}
    return SentenceTransformersSparseEncoder(model=str(folder), **parameters)


def dense(vectors: Any) -> np.ndarray:
    assert isinstance(vectors, csr_array)
    assert vectors.dtype == np.float32
    return vectors.toarray()


@pytest.mark.parametrize("kind", ["query", "document"])
def test_vectors_are_those_of_the_library(tiny_sparse: Path, kind: str) -> None:
    model = st.SparseEncoder(str(tiny_sparse), device="cpu")
    expected = model.encode(TEXTS, convert_to_sparse_tensor=False).numpy()
    encoder = encoder_of(tiny_sparse)
    assert encoder.sparse
    vectors = encoder.encode(TEXTS, kind)
    np.testing.assert_allclose(dense(vectors), expected, atol=1e-5)
    assert vectors.shape == (6, model.get_embedding_dimension() or expected.shape[1])
    assert 0 < vectors.nnz < 6 * expected.shape[1]
    assert (vectors.data > 0).all()
    assert vectors.has_sorted_indices


def test_max_active_dims_keeps_the_largest_values(tiny_sparse: Path) -> None:
    whole = dense(encoder_of(tiny_sparse).encode(TEXTS, "document"))
    vectors = encoder_of(tiny_sparse, max_active_dims=5).encode(TEXTS, "document")
    assert np.diff(vectors.indptr).tolist() == [5] * 6
    kept = dense(vectors)
    smallest = np.where(kept > 0, kept, np.inf).min(axis=1)
    np.testing.assert_allclose(kept, np.where(whole >= smallest[:, None] - 1e-6, whole, 0))


def test_a_stream_goes_on_anywhere_bit_for_bit(
    tiny_sparse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SentenceTransformersSparseEncoder, "batch_texts", 4)
    texts = ["red " * n for n in (1, 30, 2, 17, 9, 40, 3, 1, 22, 5)]
    parts = [dense(part) for part in encoder_of(tiny_sparse).stream(texts, "document")]
    assert [len(part) for part in parts] == [4, 4, 2]
    rest = [dense(part) for part in encoder_of(tiny_sparse).stream(texts, "document", start=4)]
    np.testing.assert_array_equal(np.concatenate(rest), np.concatenate(parts)[4:])


def test_order_and_batch_size_change_no_vector(tiny_sparse: Path) -> None:
    texts = [*TEXTS, "a " * 40, "the the"]
    expected = dense(encoder_of(tiny_sparse, batch_size=1).encode(texts, "document"))
    for parameters in ({}, {"batch_size": 3}):
        found = dense(encoder_of(tiny_sparse, **parameters).encode(texts[::-1], "document"))
        np.testing.assert_allclose(found[::-1], expected, atol=1e-5)


def test_prompts_and_length_shape_the_vectors(tiny_sparse: Path) -> None:
    plain = encoder_of(tiny_sparse)
    prompted = encoder_of(tiny_sparse, query_prompt="query: ")
    expected = dense(plain.encode([f"query: {text}" for text in TEXTS], "query"))
    np.testing.assert_allclose(dense(prompted.encode(TEXTS, "query")), expected, atol=1e-5)
    cut = encoder_of(tiny_sparse, max_length=4).encode(["the red the red", "the red"], "document")
    np.testing.assert_allclose(dense(cut)[0], dense(cut)[1], atol=1e-5)


def test_no_text_gives_no_row(tiny_sparse: Path) -> None:
    encoder = encoder_of(tiny_sparse)
    encoder.encode(TEXTS, "query")
    assert dense(encoder.encode([], "query")).shape[0] == 0


def test_half_precision_arithmetic_still_gives_float32(tiny_sparse: Path) -> None:
    expected = dense(encoder_of(tiny_sparse).encode(TEXTS, "document"))
    found = dense(encoder_of(tiny_sparse, dtype="bfloat16").encode(TEXTS, "document"))
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize(
    "change", [{"max_active_dims": 5}, {"query_prompt": "query: "}, {"max_length": 4}], ids=str
)
def test_what_shapes_the_vectors_is_part_of_the_identity(
    tiny_sparse: Path, change: dict[str, Any]
) -> None:
    identity = encoder_of(tiny_sparse).identity()
    assert encoder_of(tiny_sparse, **change).identity() != identity
    assert encoder_of(tiny_sparse, batch_size=2, processes=2).identity() == identity
    assert identity["encoder"] == "sentence-transformers-sparse"
    json.dumps(identity)


def test_a_masked_language_model_gets_the_pooling_of_splade(
    tiny_bert: Path, tiny_sparse: Path
) -> None:
    encoder = encoder_of(tiny_bert)
    encoder.check(9, 9)
    np.testing.assert_allclose(
        dense(encoder.encode(TEXTS, "query")),
        dense(encoder_of(tiny_sparse).encode(TEXTS, "query")),
        atol=1e-6,
    )


def test_a_dense_model_is_refused_naming_its_encoder(tiny_dense: Path) -> None:
    encoder = encoder_of(tiny_dense)
    for action in (lambda: encoder.check(9, 9), lambda: encoder.encode(TEXTS, "query")):
        with pytest.raises(InputError, match=r"dense model: use encoder 'sentence-transformers'$"):
            action()


def test_a_model_whose_sparse_part_would_be_random_is_refused(
    tiny_bert: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["BertModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"neither sparse modules nor the head of a masked"):
        encoder_of(folder).encode(TEXTS, "query")


def test_a_missing_model_is_refused_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("no-such-owner/no-such-model", "none", str(tmp_path / "missing"), str(tmp_path)):
        with pytest.raises(InputError) as caught:
            SentenceTransformersSparseEncoder(model=name).encode(TEXTS, "query")
        start = f"encoder 'sentence-transformers-sparse': model {name!r} cannot be loaded: "
        assert str(caught.value).startswith(start)
