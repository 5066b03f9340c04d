"""Filters on attributes: what they mean, how they print, and what they refuse."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.filters import Between, Equals, Filter, OneOf, as_attributes

TABLE = as_attributes(
    {
        "year": [1999, 2004, None, 2010],
        "lang": ["en", "de", "en", None],
        "score": [0.5, 1.0, float("nan"), None],
        "free": [True, False, None, True],
    },
    4,
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"year": 2004}, [False, True, False, False]),
        ({"year": {"min": 2004}}, [False, True, False, True]),
        ({"year": {"max": 2004}}, [True, True, False, False]),
        ({"year": {"min": 2000, "max": 2004}}, [False, True, False, False]),
        ({"year": [1999, 2010, 7]}, [True, False, False, True]),
        ({"lang": "en"}, [True, False, True, False]),
        ({"lang": ["en", "de"]}, [True, True, True, False]),
        ({"lang": []}, [False] * 4),
        ({"lang": {"min": "e"}}, [True, False, True, False]),
        ({"free": True}, [True, False, False, True]),
        ({"free": False}, [False, True, False, False]),
        ({"score": 1}, [False, True, False, False]),
        ({"score": {"max": 1}}, [True, True, False, False]),
        ({"score": {"min": 0}}, [True, True, False, False]),  # a NaN is no value
        ({"lang": "en", "free": True}, [True, False, False, False]),
    ],
)
def test_each_kind_of_condition(wanted: dict[str, Any], expected: list[bool]) -> None:
    where = Filter.parse(wanted)
    assert where.mask(TABLE).tolist() == expected
    assert Filter.parse(where.as_mapping()) == where


def test_conditions_are_values_and_print_as_they_are_read() -> None:
    where = Filter.parse({"a": 1, "b": {"min": 2}, "c": {"max": 3}, "d": ["x", "y"]})
    assert where.conditions == (
        Equals("a", 1),
        Between("b", 2, None),
        Between("c", None, 3),
        OneOf("d", ("x", "y")),
    )
    assert str(where) == "a = 1, 2 <= b, c <= 3, d in (x, y)"
    assert hash(where) == hash(Filter.parse(where.as_mapping()))


@pytest.mark.parametrize(
    ("wanted", "rule"),
    [
        ({}, "at least one condition"),
        ({"year": {}}, "needs min, max or both"),
        ({"year": {"mni": 3}}, "Did you mean 'min'"),
        ({"year": {"min": True}}, "cannot end a range"),
        ({"year": None}, "compared with None"),
        ({"year": [1, None]}, "compared with None"),
        ({"year": float("nan")}, "compared with nan"),
        ({"year": {"max": float("inf")}}, "compared with inf"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(wanted: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        Filter.parse(wanted)


@pytest.mark.parametrize(
    ("wanted", "rule"),
    [
        ({"yaer": 3}, "Did you mean 'year'"),
        ({"year": "1999"}, "'1999' is compared with attribute 'year', which holds whole numbers"),
        ({"year": 1999.5}, "whole numbers"),
        ({"year": 10**400}, "whole numbers of 64 bits"),
        ({"lang": 3}, "which holds text"),
        ({"free": 1}, "which holds true or false"),
        ({"score": True}, "which holds numbers"),
    ],
)
def test_a_filter_that_does_not_fit_the_attributes_is_refused(
    wanted: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InputError, match=rule):
        Filter.parse(wanted).mask(TABLE)


def test_attributes_have_one_form() -> None:
    frame = pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int8), "b": [1.0, 2.0]})
    table = as_attributes(frame.with_columns(pl.col("b").cast(pl.Float32)), 2)
    assert table.schema == {"a": pl.Int64, "b": pl.Float64}
    for columns, n, rule in (
        ({"a": [1]}, 2, "1 rows for 2 documents"),
        ({"a b": [1]}, 1, "cannot name one"),
        ({"1a": [1]}, 1, "cannot name one"),
        ({"a": [[1]]}, 1, "filters work on numbers"),
        ({"a": [1, "x"]}, 2, "not columns of one type"),
        ({"a": [2**70]}, 1, "not columns of one type|filters work on numbers"),
    ):
        with pytest.raises(InputError, match=rule):
            as_attributes(columns, n)
