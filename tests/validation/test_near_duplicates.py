"""Near duplicates: every pair above the threshold, none below, however many copies there are."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.validation import NearDuplicates, near_duplicates, wording


def shingles(text: str, width: int) -> set[tuple[str, ...]]:
    words = wording(text).split()
    if not words:
        return set()
    return {tuple(words[start : start + width]) for start in range(max(1, len(words) - width + 1))}


def jaccard(one: str, other: str, width: int = 3) -> float:
    a, b = shingles(one, width), shingles(other, width)
    return len(a & b) / len(a | b) if a and b else 0.0


def some_texts(n: int, length: int, seed: int) -> list[str]:
    """Return random texts, every other one an earlier one with some words changed."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for number in range(n):
        words = [f"w{rng.integers(500)}" for _ in range(length)]
        if number % 2:
            words = texts[rng.integers(len(texts))].split()
            for place in rng.integers(len(words), size=rng.integers(4)):
                words[place] = "changed"
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize(("threshold", "width"), [(0.9, 3), (0.7, 3), (0.5, 1), (1.0, 2)])
def test_partners_are_those_of_a_search_through_all_pairs(threshold: float, width: int) -> None:
    texts = some_texts(200, 60, seed=5)
    found = near_duplicates(texts, threshold=threshold, width=width)
    for row, text in enumerate(texts):
        shares = [jaccard(text, other, width) for other in texts[:row]]
        assert (found.partner[row] >= 0) == (max(shares, default=0.0) >= threshold)
        if found.partner[row] >= 0:
            assert found.jaccard[row] == shares[found.partner[row]] >= threshold
        else:
            assert found.jaccard[row] == 0
    assert 20 < (found.partner >= 0).sum() < 150


def test_a_shingle_that_comes_twice_counts_once() -> None:
    texts = ["a b c d a b c d a b c d", "a b c d a b"]
    assert near_duplicates(texts, threshold=0.5).jaccard[1] == jaccard(*texts) == 1.0


def test_short_texts_are_one_shingle_and_empty_texts_repeat_nothing() -> None:
    found = near_duplicates(["", "two words", "...", "Two  WORDS!", "two", "words two"])
    assert found.partner.tolist() == [-1, -1, -1, 1, -1, -1]


def test_the_order_of_words_counts_only_in_shingles_of_several() -> None:
    texts = ["the capital of france", "france the capital of"]
    assert near_duplicates(texts, width=1).partner.tolist() == [-1, 0]
    assert near_duplicates(texts, width=2).partner.tolist() == [-1, -1]


def test_words_of_scripts_without_spaces_are_characters() -> None:
    texts = [
        "今日は天気がとてもいいですから公園に行きましょうか",
        "今日は天気がとてもいいですから公園に行きましょう",
    ]
    assert near_duplicates(texts).partner.tolist() == [-1, 0]


def test_many_copies_are_found_without_comparing_all_pairs() -> None:
    rng = np.random.default_rng(0)
    base = [f"w{number}" for number in range(100)]
    texts = []
    for number in range(3000):
        words = list(base)
        words[rng.integers(100)] = f"own{number}"
        texts.append(" ".join(words))
    found = near_duplicates(texts, threshold=0.8)  # any two of them are at 0.88 or above
    assert (found.partner[1:] >= 0).all()
    assert (found.partner < np.arange(3000)).all()


def test_only_texts_of_the_second_part_are_compared_with_the_first() -> None:
    text = " ".join(f"w{number}" for number in range(30))
    changed = text.replace("w15", "x")
    texts = [text, text, "something else", *[changed] * 20, text, "something else", "new"]
    found = near_duplicates(texts, threshold=0.8, first=3)
    assert (found.partner[:3] == -1).all()
    assert set(found.partner[3:23].tolist()) <= {0, 1}
    assert found.partner[23] in (0, 1)
    assert found.partner[24:].tolist() == [2, -1]
    nothing = near_duplicates([text, text], first=0)
    assert nothing.partner.tolist() == [-1, -1]


def test_the_result_does_not_depend_on_how_texts_fall_into_batches() -> None:
    texts = some_texts(60, 40, seed=2)
    plain = near_duplicates(texts)
    long = " ".join(f"long{number}" for number in range(200_000))
    with_long = near_duplicates([*texts[:30], long, *texts[30:]])
    kept = np.delete(with_long.partner, 30)
    assert np.array_equal(np.where(kept > 30, kept - 1, kept), plain.partner)


def test_another_seed_finds_the_same() -> None:
    texts = some_texts(100, 50, seed=3)
    one, other = (near_duplicates(texts, seed=seed) for seed in (0, 1))
    assert np.array_equal(one.partner >= 0, other.partner >= 0)


def test_no_text_at_all_is_no_error() -> None:
    found = near_duplicates([])
    assert isinstance(found, NearDuplicates)
    assert len(found.partner) == len(found.jaccard) == 0


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match=r"the threshold is .*above 0 and at most 1"):
        near_duplicates(["a"], threshold=threshold)


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"the width is 0"):
        near_duplicates(["a"], width=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Straße, CAFE\u0301", "strasse café"),
        ("\ufb01ne \uff11\uff12", "fine 12"),
        ("\u00a0 \t\n", ""),
        ("--- ...", ""),
        ("don't", "don t"),
        ("ภาษา", "ภ า ษ า"),
    ],
)
def test_wording_keeps_words_alone(text: str, expected: str) -> None:
    assert wording(text) == expected
