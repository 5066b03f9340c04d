"""Letters claim no more than was tested."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from retrieval_eval.comparison import CompareOptions
from retrieval_eval.report.groups import (
    compare_options,
    groups_legend,
    significance_groups,
)

Make = Callable[..., Any]
LOSSES = {"hnsw": 0.0, "ivf": 0.1, "pq": 0.102}


def test_rows_share_a_letter_exactly_if_their_pair_was_tested_and_does_not_differ(
    made: Make,
) -> None:
    (group,) = significance_groups(made(LOSSES))
    assert group.comparison is not None
    tested = {
        frozenset((one.a, one.b)): bool(one.significant) for one in group.comparison.differences
    }
    letters = dict(zip(group.row_ids, group.letters["nDCG@10"], strict=True))
    assert len(tested) == 6
    for one, other in itertools.combinations(group.row_ids, 2):
        shared = bool(set(letters[one]) & set(letters[other]))
        assert shared is not tested[frozenset((one, other))]
    assert [letters[f"news-lsa-{name}"] for name in ("flat", "hnsw", "ivf", "pq")] == [
        *("a", "a"),
        *("b", "b"),
    ]


def test_pairs_with_the_reference_have_the_p_of_the_sweep(made: Make) -> None:
    sweep = made(LOSSES)
    (group,) = significance_groups(sweep)
    assert group.comparison is not None
    own = {one["candidate_row_id"]: one for one in sweep.comparisons.iter_rows(named=True)}
    mine = [one for one in group.comparison.differences if one.a == "news-lsa-flat"]
    assert len(mine) == 3
    for one in mine:  # differences are the other way round
        assert one.p == own[one.b]["p"]
        assert one.mean_diff == pytest.approx(-own[one.b]["difference"])
        # More pairs are corrected for.
        assert one.p_adjusted >= own[one.b]["p_adjusted"]


def test_the_test_is_the_sweeps_own_unless_another_is_asked_for(made: Make) -> None:
    sweep = made(LOSSES)
    sweep.manifest["sweep"]["compare"] |= {"test": "sign", "alpha": 0.2, "draws": 500}
    assert compare_options(sweep.manifest) == CompareOptions(
        test="sign", alpha=0.2, draws=500, seed=3
    )
    (group,) = significance_groups(sweep)
    assert group.comparison is not None
    assert group.comparison.options.test == "sign"
    (other,) = significance_groups(sweep, options=CompareOptions(test="t"))
    assert other.comparison is not None
    assert other.comparison.options.test == "t"


def test_encoders_are_groups_of_their_own_unless_asked_for_together(made: Make) -> None:
    one, other = made(LOSSES), made(LOSSES, encoder="hashing", seed=1)
    both = replace(
        one,
        rows=pl.concat([one.rows, other.rows]),
        per_query=pl.concat([one.per_query, other.per_query]),
    )
    groups = significance_groups(both)
    assert [(group.encoder, len(group.row_ids)) for group in groups] == [("lsa", 4), ("hashing", 4)]
    (together,) = significance_groups(both, across_encoders=True)
    assert together.encoder is None
    assert together.comparison is not None
    assert len(together.comparison.differences) == 28


def test_rows_that_were_not_compared_have_no_letters_but_a_reason(made: Make) -> None:
    (alone,) = significance_groups(made({}))
    assert (alone.letters, alone.comparison) == ({}, None)
    assert "fewer than two rows" in alone.reason
    (many,) = significance_groups(made(LOSSES), largest=239)
    assert many.letters == {}
    assert "6 pairs of rows x 1 measures x 40 queries" in many.reason
    assert significance_groups(made(LOSSES), largest=240)[0].letters
    (slow,) = significance_groups(made(LOSSES), slowest=2e6)
    assert slow.letters == {}
    assert "would need 10000 draws each" in slow.reason
    assert significance_groups(made(LOSSES), slowest=3e6)[0].letters
    assert groups_legend([many]) == [f"no letters for news | lsa: {many.reason}"]


def test_rows_that_were_not_run_are_left_out(made: Make) -> None:
    (group,) = significance_groups(made(LOSSES, failed=("ivf",)))
    assert group.row_ids == ("news-lsa-flat", "news-lsa-hnsw", "news-lsa-pq")
    assert len(group.letters["nDCG@10"]) == 3


def test_a_measure_that_is_defined_on_no_common_query_has_no_letters(made: Make) -> None:
    sweep = made(LOSSES)
    undefined = sweep.per_query.with_columns(
        pl.when(pl.col("row_id") == "news-lsa-pq")
        .then(float("nan"))
        .otherwise(pl.col("nDCG@10"))
        .alias("nDCG@10")
    )
    (group,) = significance_groups(replace(sweep, per_query=undefined))
    assert group.letters == {}
    assert "no query on which both are defined by nDCG@10" in group.reason


def test_the_legend_names_test_level_and_family(made: Make) -> None:
    (line,) = groups_legend(significance_groups(made(LOSSES)))
    assert "rows of one encoder" in line
    assert "randomization test at level 0.05, 10000 draws, correction holm" in line
    assert "news | lsa: 6 comparisons: 6 pairs of runs x 1 measure" in line
    assert "family of their own" in line


def test_a_real_sweep_has_letters_for_each_encoder(tiny: Any) -> None:
    groups = significance_groups(tiny)
    assert [len(one.row_ids) for one in groups] == [3, 3, 1]
    assert list(groups[0].letters) == ["nDCG@10", "R@20"]
    assert groups[2].reason
