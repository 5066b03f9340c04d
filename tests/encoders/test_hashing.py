"""Feature hashing: the same everywhere, with nothing to learn."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from retrieval_eval.encoders.hashing import HashingEncoder
from retrieval_eval.errors import InputError

TEXTS = [
    "a red apple fell from the tree",
    "a green apple and a ripe plum",
    "the steam engine drove the cotton mill",
    "an engine of iron and steam",
    "Äpfel, Birnen und Pflaumen",
    "snake_case camelCase 12345",
]


@pytest.mark.parametrize("kind", ["query", "document"])
def test_vectors_are_float32_of_unit_length(kind: Any) -> None:
    encoder = HashingEncoder()
    vectors = encoder.encode(TEXTS, kind)
    assert vectors.shape == (len(TEXTS), 384)
    assert encoder.dimension() == 384
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_texts_that_share_words_are_close() -> None:
    encoder = HashingEncoder()
    scores = encoder.encode(["steam engine"], "query") @ encoder.encode(TEXTS, "document").T
    assert set(np.argsort(-scores[0])[:2].tolist()) == {2, 3}


def test_case_and_punctuation_do_not_count_but_repetition_does() -> None:
    once, again, twice = HashingEncoder().encode(
        ["red apple", "(APPLE) Red!", "red red apple"], "document"
    )
    np.testing.assert_array_equal(once, again)
    assert 0.9 < once @ twice < 0.99  # (1, 1) and (2, 1) have the cosine 3 / sqrt(10)


@pytest.mark.parametrize("text", ["", "   \n", "!? -- ..."])
def test_a_text_without_words_gets_the_zero_vector(text: str) -> None:
    encoder = HashingEncoder(word_ngrams=2, char_ngrams=3)
    vectors = encoder.encode(["apple", text], "query")
    assert vectors[0].any()
    assert not vectors[1].any()
    assert encoder.zero_means_no_match


def test_characters_bring_words_of_one_stem_together() -> None:
    def cosine(**parameters: Any) -> float:
        first, second = HashingEncoder(**parameters).encode(["retrieval", "retrieve"], "query")
        return float(first @ second)

    assert cosine() == 0.0
    assert cosine(char_ngrams=3) > 0.4


def test_runs_of_words_count_when_told_so() -> None:
    for longest, same in ((1, True), (2, False)):
        first, second = HashingEncoder(word_ngrams=longest).encode(
            ["dog bites man", "man bites dog"], "query"
        )
        assert np.array_equal(first, second) == same


def test_a_vector_does_not_depend_on_its_neighbours_or_on_where_a_stream_starts() -> None:
    encoder = HashingEncoder(dim=32, char_ngrams=3)
    texts = TEXTS * 400
    whole = encoder.encode(texts, "document")
    blocks = list(encoder.stream(texts, "document"))
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    rest = list(encoder.stream(texts, "document", start=len(blocks[0])))
    np.testing.assert_array_equal(np.concatenate(rest), whole[len(blocks[0]) :])


def test_vectors_are_the_same_on_every_machine_to_the_last_bit() -> None:
    vectors = HashingEncoder(dim=64, word_ngrams=2, char_ngrams=3).encode(TEXTS, "document")
    found = hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()
    assert found == "9217d0c5a9cf29da8a4733ccbf8a9b9724a00a3081ab6f7956d4afc917de0cae"


def test_murmurhash_decides_the_place_and_the_sign_of_a_word() -> None:
    # By an implementation of MurmurHash3 (x86, 32 bits, seed 0) apart from scikit-learn's.
    hashes = {"apple": 1880549520, "engine": -2088399640}
    vectors = HashingEncoder(dim=1000).encode(list(hashes), "document")
    for row, value in zip(vectors, hashes.values(), strict=True):
        assert row.nonzero()[0].tolist() == [abs(value) % 1000]
        assert row[abs(value) % 1000] == (1.0 if value >= 0 else -1.0)


def test_half_a_character_pair_is_no_obstacle() -> None:
    vectors = HashingEncoder().encode(["red \ud800 apple", "red ? apple"], "document")
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_no_texts_give_no_rows() -> None:
    assert HashingEncoder(dim=7).encode([], "query").shape == (0, 7)
    assert list(HashingEncoder(dim=7).stream([], "query")) == []


@pytest.mark.parametrize("change", [{"dim": 100}, {"word_ngrams": 2}, {"char_ngrams": 3}])
def test_each_parameter_is_part_of_the_identity(change: dict[str, Any]) -> None:
    assert HashingEncoder(**change).identity() != HashingEncoder().identity()


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"dim": 2**21}, {"char_ngrams": 1}, {"dim": "8"}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"encoder 'hashing': parameter '{next(iter(wrong))}'"):
        HashingEncoder(**wrong)
