"""Parts of a dataset: disjoint, whole, and without judgments of one another."""

from __future__ import annotations

from typing import Any

import pytest

from retrieval_eval.datasets.base import Dataset
from retrieval_eval.datasets.subsets import split_dataset
from retrieval_eval.errors import InputError
from retrieval_eval.qrels import Qrels


def whole(**changes: Any) -> Dataset:
    judged = {
        "q1": {"a": 1, "b": 1},
        "q2": {"b": 1, "c": 1},  # relevant on both sides
        "q3": {"c": 2, "a": 0},  # judged, but not relevant, on the other side
        "q4": {"e": 1},
        "q5": {"a": 0},  # nothing relevant
    }
    fields: dict[str, Any] = {
        "name": "code",
        "document_ids": list("abcde"),
        "documents": [f"text {one}" for one in "abcde"],
        "query_ids": tuple(judged),
        "queries": [f"ask {one}" for one in judged],
        "qrels": Qrels.from_mapping(judged),
        "attributes": {"package": ["net", "net", "xml", "xml", None], "size": [1, 2, 3, 4, 5]},
    }
    return Dataset(**{**fields, **changes})


def test_parts_are_disjoint_and_know_their_own_judgments_alone() -> None:
    net, xml, rest = split_dataset(
        whole(), "package", {"network": ["net", "socket"], "formats": ["xml"]}, rest="others"
    )
    assert [one.name for one in (net, xml, rest)] == [
        "code: network",
        "code: formats",
        "code: others",
    ]
    assert list(net.document_ids) == ["a", "b"]
    assert list(xml.documents) == ["text c", "text d"]
    assert net.query_ids == ("q1",)
    assert xml.query_ids == ("q3",)
    assert list(xml.queries) == ["ask q3"]
    assert xml.qrels.mapping == {"q3": {"c": 2}}
    assert rest.query_ids == ("q4",)
    assert list(xml.attributes["size"]) == [3, 4]
    assert net.facts["queries_between_parts"] == 2
    assert net.corpus_fingerprint != xml.corpus_fingerprint != whole().corpus_fingerprint


def test_without_a_rest_documents_are_left_out() -> None:
    (only,) = split_dataset(whole(), "package", {"network": ["net"], "nothing": ["zip"]})
    assert only.query_ids == ("q1",)
    assert only.facts["queries_between_parts"] == 4


def test_what_cannot_be_cut_is_named() -> None:
    with pytest.raises(InputError, match="Did you mean 'package'"):
        split_dataset(whole(), "pakage", {"network": ["net"]})
    with pytest.raises(InputError, match="'net' is listed for 'one' and for 'two'"):
        split_dataset(whole(), "package", {"one": ["net"], "two": ["xml", "net"]})
    with pytest.raises(InputError, match="no part by package has a query"):
        split_dataset(whole(), "package", {"nothing": ["zip"]})
