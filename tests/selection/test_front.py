"""Pareto fronts, beside a brute force."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from retrieval_eval.errors import InputError
from retrieval_eval.selection import SweepTables, find_fronts, front, pareto_front

few = st.sampled_from([0.0, 1.0, 2.0, 3.0, float("nan"), float("inf")])
points = st.integers(1, 4).flatmap(
    lambda d: st.tuples(
        arrays.arrays(np.float64, st.tuples(st.integers(0, 25), st.just(d)), elements=few),
        st.lists(st.booleans(), min_size=d, max_size=d),
    )
)


def dominates(one: np.ndarray, other: np.ndarray, higher: list[bool]) -> bool:
    pairs = [(a, b) if up else (b, a) for a, b, up in zip(one, other, higher, strict=True)]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@given(points)
def test_the_front_is_what_a_brute_force_finds(case: tuple[np.ndarray, list[bool]]) -> None:
    values, higher = case
    known = [not np.isnan(one).any() for one in values]
    expected = [
        fine
        and not any(
            dominates(other, one, higher)
            for other, there in zip(values, known, strict=True)
            if there
        )
        for one, fine in zip(values, known, strict=True)
    ]
    assert pareto_front(values, higher).tolist() == expected


@given(points, st.integers(1, 7))
def test_blocks_do_not_change_the_front(case: tuple[np.ndarray, list[bool]], size: int) -> None:
    values, higher = case
    whole = pareto_front(values, higher)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "_PAIRS_AT_ONCE", size * max(1, len(values)))
        assert pareto_front(values, higher).tolist() == whole.tolist()


@given(points)
def test_whoever_is_not_on_the_front_is_dominated_by_one_who_is(
    case: tuple[np.ndarray, list[bool]],
) -> None:
    values, higher = case
    on_front = pareto_front(values, higher)
    for place, winner in enumerate(front._dominators(values, higher)):
        if winner >= 0:
            assert on_front[winner]
            assert dominates(values[winner], values[place], higher)
        else:
            assert on_front[place] or np.isnan(values[place]).any()


def test_equal_points_are_on_the_front_together() -> None:
    assert pareto_front([[1.0, 2.0]] * 3, [True, False]).all()


def test_criteria_and_columns_must_fit() -> None:
    with pytest.raises(InputError, match="one column for each criterion"):
        pareto_front([[1.0, 2.0]], [True])


def test_fronts_of_a_sweep(sweep: Callable[..., SweepTables]) -> None:
    tables = sweep(
        {"a": 0.0, "b": 0.1, "c": 0.2, "d": 0.0},
        {"a": 0.5, "b": 0.1, "c": 0.3, "d": None},
        qps=[10.0, 20.0, 30.0, 5.0, 1.0],
    )
    (found,) = find_fronts(tables, ["nDCG(cutoff=10)", "latency_p95_s"])
    assert found.criteria == (("nDCG@10", True), ("latency_p95_s", False))
    assert {row["configuration"] for row in found.rows} == {"a", "b"}
    assert found.dominated["news-lsa-None-c"] == "news-lsa-None-b"
    assert found.unmeasured == {"news-lsa-None-d": ("latency_p95_s",)}
    (with_qps,) = find_fronts(tables, ["nDCG@10", "latency_p95_s", "qps"])
    assert {row["configuration"] for row in with_qps.rows} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        (["latency_p59_s"], "Did you mean 'latency_p95_s'"),
        (["nDCG@10", "nDCG(cutoff=10)"], "comes twice"),
        (["encoder"], "unknown criterion 'encoder'"),
    ],
)
def test_bad_criteria_are_refused(
    sweep: Callable[..., SweepTables], criteria: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_fronts(sweep({"a": 0.0}, {"a": 0.5}), criteria)


def test_one_dataset_never_dominates_another(
    sweep: Callable[..., SweepTables], together: Callable[..., SweepTables]
) -> None:
    both = together(sweep({"a": 0.0}, {"a": 0.5}), sweep({"a": 0.3}, {"a": 0.5}, dataset="poetry"))
    assert [one.dataset for one in find_fronts(both, ["nDCG@10"])] == ["news", "poetry"]
    (only,) = find_fronts(both, ["nDCG@10"], datasets=["poetry"])
    assert isinstance(both.rows, pl.DataFrame)
    assert only.dataset == "poetry"
