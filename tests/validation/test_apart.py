"""Parts of queries that share no near duplicate."""

from __future__ import annotations

import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.validation.apart import keep_apart

TEXTS = {
    "a1": "return the path of the current user",
    "a2": "Return the path of the current user.",
    "a3": "return the path of the current user or none",
    "b1": "write a row to the table",
    "b2": "write a row to the  table!",
    "c1": "an altogether different thing",
}


def test_near_duplicates_of_later_parts_are_left_out_and_the_last_part_is_whole() -> None:
    parts = {"training": ["a1", "b1", "c1"], "validation": ["a2", "b2"], "held-out": ["a3"]}
    assert keep_apart(parts, TEXTS) == {
        "training": ("c1",),
        "validation": ("b2",),
        "held-out": ("a3",),
    }


def test_near_duplicates_within_a_part_stay() -> None:
    parts = {"training": ["a1", "a2"], "held-out": ["b1", "b2"]}
    assert keep_apart(parts, TEXTS) == {"training": ("a1", "a2"), "held-out": ("b1", "b2")}


def test_the_threshold_decides() -> None:
    parts = {"training": ["a1", "c1"], "held-out": ["a3"]}
    assert keep_apart(parts, TEXTS, threshold=0.95)["training"] == ("a1", "c1")
    assert keep_apart(parts, TEXTS, threshold=0.6)["training"] == ("c1",)


def test_what_leaves_nothing_or_has_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="every query of part 'training'"):
        keep_apart({"training": ["a1"], "held-out": ["a2"]}, TEXTS)
    with pytest.raises(InputError, match="query 'z' has no text"):
        keep_apart({"training": ["z"], "held-out": ["a2"]}, TEXTS)
