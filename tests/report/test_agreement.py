"""Orders of encoders agree by Kendall's tau; what queries resolve follows from the spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from retrieval_eval.comparison import CompareOptions, correct
from retrieval_eval.errors import InputError
from retrieval_eval.report.agreement import EncoderAgreement, encoder_agreement
from retrieval_eval.report.resolution import lone_level, resolutions
from retrieval_eval.selection.tables import SweepTables
from retrieval_eval.sweep import Results

Make = Callable[..., Any]
T = CompareOptions(test="t", correction="none")


def sweep_of(
    scores: Mapping[tuple[str, str], Sequence[float]], *, measure: str = "RR"
) -> SweepTables:
    """Make a sweep from the scores of (encoder, configuration); ``flat`` is the reference."""
    rows, lines = [], []
    for (encoder, configuration), values in scores.items():
        row_id = f"{encoder}/{configuration}"
        mean = float(np.mean(values)) if len(values) else None
        rows.append(
            {
                "row_id": row_id,
                "dataset": "news",
                "encoder": encoder,
                "configuration": configuration,
                "status": "ok" if len(values) else "failed",
                "is_reference": configuration == "flat",
                measure: mean,
            }
        )
        lines += [
            {"row_id": row_id, "query_id": f"q{place}", measure: float(value)}
            for place, value in enumerate(values)
        ]
    frame = pl.DataFrame(rows, infer_schema_length=None, schema_overrides={measure: pl.Float64})
    return SweepTables(frame, pl.DataFrame(lines))


def constant(mean: float, n: int = 20, seed: int = 0) -> list[float]:
    """Scores around a mean: exactly it, on the whole."""
    noise = np.random.default_rng(seed).normal(0, 0.01, size=n)
    return (mean + noise - noise.mean()).tolist()


def only(found: list[EncoderAgreement]) -> EncoderAgreement:
    (one,) = found
    return one


def test_one_swap_of_three_encoders_gives_a_third() -> None:
    means = {"a": (0.9, 0.5), "b": (0.8, 0.6), "c": (0.2, 0.1)}
    scores = {}
    for seed, (name, (flat, hnsw)) in enumerate(means.items()):
        scores[name, "flat"] = constant(flat, seed=seed)
        scores[name, "hnsw"] = constant(hnsw, seed=seed + 10)
    found = only(encoder_agreement(sweep_of(scores), options=T))
    assert found.encoders == ("a", "b", "c")
    assert found.reference_means == pytest.approx((0.9, 0.8, 0.2))
    assert found.means == pytest.approx((0.5, 0.6, 0.1))
    assert found.tau == pytest.approx(1 / 3)
    assert found.tau == pytest.approx(stats.kendalltau([0.9, 0.8, 0.2], [0.5, 0.6, 0.1])[0])
    (swap,) = found.swaps
    assert (swap.ahead, swap.behind) == ("a", "b")
    assert swap.reference_difference == pytest.approx(0.1)
    assert swap.difference == pytest.approx(-0.1)
    assert swap.reference_significant is True
    assert swap.significant is True
    assert swap.beyond_chance is True
    # Three pairs under each of two configurations.
    assert found.family == "6 comparisons: 6 pairs of runs x 1 measure"


def test_an_encoder_that_shares_no_configuration_is_in_no_family() -> None:
    scores = {
        ("a", "flat"): constant(0.5, seed=1),
        ("b", "flat"): constant(0.4, seed=2),
        ("sparse", "flat"): constant(0.9, seed=3),
        ("a", "hnsw"): constant(0.2, seed=4),
        ("b", "hnsw"): constant(0.3, seed=5),
        ("a", "ivf"): constant(0.2, seed=6),
    }
    found = only(encoder_agreement(sweep_of(scores), options=T))
    assert found.encoders == ("a", "b")
    assert found.family == "2 comparisons: 2 pairs of runs x 1 measure"


def test_p_values_of_a_swap_are_those_of_the_paired_test() -> None:
    scores = {
        ("a", "flat"): constant(0.5, seed=1),
        ("b", "flat"): constant(0.499, seed=2),
        ("a", "hnsw"): constant(0.4, seed=3),
        ("b", "hnsw"): constant(0.5, seed=4),
    }
    (swap,) = only(encoder_agreement(sweep_of(scores), options=T)).swaps
    assert swap.reference_p == pytest.approx(
        stats.ttest_rel(scores["a", "flat"], scores["b", "flat"]).pvalue
    )
    assert swap.p == pytest.approx(stats.ttest_rel(scores["a", "hnsw"], scores["b", "hnsw"]).pvalue)
    assert swap.reference_significant is False
    assert swap.significant is True
    assert swap.beyond_chance is False  # both orders must be shown


def test_the_family_is_corrected_over() -> None:
    scores = {
        (name, kind): constant(mean, seed=seed)
        for seed, (name, kind, mean) in enumerate(
            [
                ("a", "flat", 0.5),
                ("b", "flat", 0.496),
                ("a", "hnsw", 0.4),
                ("b", "hnsw", 0.404),
                ("a", "ivf", 0.4),
                ("b", "ivf", 0.404),
            ]
        )
    }
    alone = encoder_agreement(sweep_of(scores), options=T)
    together = encoder_agreement(sweep_of(scores), options=replace(T, correction="bonferroni"))
    for one, other in zip(alone, together, strict=True):
        assert one.swaps[0].p is not None
        assert other.swaps[0].p == pytest.approx(min(1.0, 3 * one.swaps[0].p))


def test_ties_follow_tau_b_and_are_no_swaps() -> None:
    values = [0.1, 0.2, 0.3]
    scores = {
        ("a", "flat"): values,
        ("b", "flat"): [*values[1:], values[0]],  # equal but for the order of summing
        ("c", "flat"): [0.05, 0.05, 0.05],
        ("a", "hnsw"): [0.5] * 3,
        ("b", "hnsw"): [0.6] * 3,
        ("c", "hnsw"): [0.1] * 3,
    }
    found = only(encoder_agreement(sweep_of(scores), options=T))
    assert found.tau == pytest.approx(2 / math.sqrt(2 * 3))
    assert found.tau == pytest.approx(stats.kendalltau([0.2, 0.2, 0.05], [0.5, 0.6, 0.1])[0])
    assert not found.swaps


def test_encoders_that_come_to_tie_do_not_change_places() -> None:
    scores = {
        ("a", "flat"): [0.5, 0.5],
        ("b", "flat"): [0.4, 0.4],
        ("c", "flat"): [0.3, 0.3],
        ("a", "hnsw"): [0.2, 0.2],
        ("b", "hnsw"): [0.2, 0.2],
        ("c", "hnsw"): [0.1, 0.1],
    }
    found = only(encoder_agreement(sweep_of(scores), options=T))
    assert found.tau == pytest.approx(2 / math.sqrt(3 * 2))
    assert not found.swaps


def test_tau_of_orders_in_which_all_tie_is_not_defined() -> None:
    scores = {(name, kind): [0.5, 0.5] for name in "ab" for kind in ("flat", "hnsw")}
    found = only(encoder_agreement(sweep_of(scores), options=T))
    assert math.isnan(found.tau)
    assert not found.swaps


def test_two_encoders_agree_wholly_or_not_at_all() -> None:
    scores = {
        ("a", "flat"): constant(0.5, seed=1),
        ("b", "flat"): constant(0.4, seed=2),
        ("a", "hnsw"): constant(0.45, seed=3),
        ("b", "hnsw"): constant(0.3, seed=4),
        ("a", "ivf"): constant(0.2, seed=5),
        ("b", "ivf"): constant(0.3, seed=6),
    }
    found = encoder_agreement(sweep_of(scores), options=T)
    assert [(one.configuration, one.tau) for one in found] == [("hnsw", 1.0), ("ivf", -1.0)]


def test_encoders_without_a_mean_are_left_out_and_named() -> None:
    scores = {
        (name, kind): constant(mean, seed=seed)
        for seed, (name, kind, mean) in enumerate(
            [
                ("a", "flat", 0.5),
                ("b", "flat", 0.4),
                ("c", "flat", 0.3),
                ("a", "hnsw", 0.5),
                ("b", "hnsw", 0.4),
            ]
        )
    }
    found = only(encoder_agreement(sweep_of({**scores, ("c", "hnsw"): []}), options=T))
    assert found.encoders == ("a", "b")
    assert found.left_out == ("c",)
    # Who has no such row is not left out: it was never asked for.
    assert only(encoder_agreement(sweep_of(scores), options=T)).left_out == ()
    # NaN is no mean either.
    undefined = {**scores, ("c", "hnsw"): [math.nan] * 20}
    assert only(encoder_agreement(sweep_of(undefined), options=T)).left_out == ("c",)


def test_a_query_without_a_score_is_left_out_of_the_test() -> None:
    scores = {
        ("a", "flat"): [0.5, 0.6, 0.7, math.nan],
        ("b", "flat"): [0.4, 0.5, 0.5, 0.0],
        ("a", "hnsw"): [0.1, 0.2, 0.1, 0.0],
        ("b", "hnsw"): [0.5, 0.5, 0.6, 0.0],
    }
    made = sweep_of(scores)
    means = made.rows["RR"].to_list()
    means[0] = 0.6  # as an evaluation has it that leaves the query out
    tables = SweepTables(made.rows.with_columns(pl.Series("RR", means)), made.per_query)
    (swap,) = only(encoder_agreement(tables, options=T)).swaps
    assert swap.reference_p == pytest.approx(stats.ttest_rel([0.5, 0.6, 0.7], [0.4, 0.5, 0.5])[1])


def test_fewer_than_two_encoders_have_nothing_to_compare(made: Make) -> None:
    assert encoder_agreement(made({"hnsw": 0.1})) == []


def test_nothing_is_claimed_of_what_is_too_much_to_test() -> None:
    scores = {
        ("a", "flat"): constant(0.5, seed=1),
        ("b", "flat"): constant(0.4, seed=2),
        ("a", "hnsw"): constant(0.2, seed=3),
        ("b", "hnsw"): constant(0.3, seed=4),
    }
    assert only(encoder_agreement(sweep_of(scores), options=T, largest=40)).reason == ""
    found = only(encoder_agreement(sweep_of(scores), options=T, largest=39))
    assert "more than the 39 scores" in found.reason
    assert found.tau == -1
    assert found.swaps[0].beyond_chance is None
    assert found.swaps[0].p is None


def test_rows_on_other_queries_are_ordered_but_not_tested() -> None:
    scores = {
        ("a", "flat"): [0.5, 0.6],
        ("b", "flat"): [0.4],
        ("a", "hnsw"): [0.1, 0.2],
        ("b", "hnsw"): [0.3],
    }
    found = only(encoder_agreement(sweep_of(scores), options=T))
    assert "same queries" in found.reason
    assert found.swaps[0].beyond_chance is None


def test_an_unknown_measure_or_dataset_is_refused() -> None:
    tables = sweep_of({("a", "flat"): [0.5]})
    with pytest.raises(InputError, match="unknown measure 'AP'"):
        encoder_agreement(tables, measures=["AP"])
    with pytest.raises(InputError, match="unknown dataset 'web'"):
        encoder_agreement(tables, datasets=["web"])


def test_a_real_sweep_is_ordered_by_the_means_of_its_table(tiny: Results) -> None:
    found = encoder_agreement(tiny)
    rows = {(one["encoder"], one["configuration"]): one for one in tiny.rows.to_dicts()}
    assert {one.configuration for one in found} == {
        "ivf-flat nlist=8 nprobe=1",
        "ivf-flat nlist=8 nprobe=4",
    }
    assert len(found) == 4  # two measures
    for one in found:
        assert len(one.encoders) == 2  # no combination among them
        for name, before, after in zip(one.encoders, one.reference_means, one.means, strict=True):
            assert before == rows[name, "flat"][one.measure]
            assert after == rows[name, one.configuration][one.measure]
        assert list(one.reference_means) == sorted(one.reference_means, reverse=True)


# -- what can be resolved ---------------------------------------------------------------------


def power(difference: float, sd: float, n: int, level: float) -> float:
    """Power of the paired t test, by scipy."""
    bound = stats.t.ppf(1 - level / 2, n - 1)
    centre = difference / sd * math.sqrt(n)
    return float(stats.nct.sf(bound, n - 1, centre) + stats.nct.cdf(-bound, n - 1, centre))


def test_the_resolvable_difference_has_the_power_it_promises(made: Make) -> None:
    sweep = made({"hnsw": 0.0, "ivf": 0.1, "pq": 0.02}, margin={"nDCG@10": 0.001})
    (one,) = resolutions(sweep.comparisons, sweep.manifest)
    wide = sweep.per_query.pivot("row_id", index="query_id", values="nDCG@10")
    spreads = [
        float(np.std((wide[f"news-lsa-{name}"] - wide["news-lsa-flat"]).to_numpy(), ddof=1))
        for name in ("hnsw", "ivf", "pq")
    ]
    assert one.sd == pytest.approx(np.median(spreads))
    assert (one.dataset, one.question, one.measure) == ("news", "index", "nDCG@10")
    assert (one.n_queries, one.pairs, one.without_spread) == (40, 3, 0)
    assert one.level == pytest.approx(0.05 / 3)
    assert power(one.alone, one.sd, 40, 0.05) == pytest.approx(0.8, abs=1e-6)
    assert power(one.corrected, one.sd, 40, 0.05 / 3) == pytest.approx(0.8, abs=1e-6)
    assert power(one.unseen, one.sd, 40, 0.05 / 3) == pytest.approx(0.5, abs=1e-6)
    assert one.margin == 0.001
    needed = one.queries_for_margin
    assert needed is not None
    assert power(0.001, one.sd, needed, one.level) >= 0.8
    assert power(0.001, one.sd, needed - 1, one.level) < 0.8
    assert f"with 40 queries, differences below {one.unseen:.2g} nDCG@10" in one.sentence


@pytest.mark.parametrize(
    ("correction", "level"),
    [
        ("none", 0.05),
        ("bonferroni", 0.05 / 4),
        ("holm", 0.05 / 4),
        ("bh", 0.05 / 4),
        ("by", 0.05 / (4 * (1 + 1 / 2 + 1 / 3 + 1 / 4))),
    ],
)
def test_a_lone_difference_passes_at_its_level_and_not_above(correction: str, level: float) -> None:
    found = lone_level(0.05, correction, 4)
    assert found == pytest.approx(level)
    for factor, passes in ((0.999, True), (1.001, False)):
        p = np.array([found * factor, 1, 1, 1])
        assert bool(correct(p, correction)[0] <= 0.05) is passes


def test_a_family_is_of_a_dataset_and_if_asked_of_a_measure(made: Make) -> None:
    sweep = made({"hnsw": 0.0, "ivf": 0.1})
    other = sweep.comparisons.with_columns(pl.lit("R@10").alias("measure"))
    both = pl.concat([sweep.comparisons, other])
    assert [one.level for one in resolutions(both, sweep.manifest)] == [0.05 / 4] * 2
    sweep.manifest["sweep"]["compare"]["family"] = "measure"
    assert [one.level for one in resolutions(both, sweep.manifest)] == [0.05 / 2] * 2
    # What could not be told is in no family.
    untold = both.with_columns(
        pl.when(pl.col("candidate") == "lsa | ivf")
        .then(None)
        .otherwise("p_adjusted")
        .alias("p_adjusted")
    )
    assert [one.level for one in resolutions(untold, sweep.manifest)] == [0.05] * 2


def test_rows_that_do_not_differ_have_no_spread(made: Make) -> None:
    sweep = made({"hnsw": 0.0}, spread=0.0)
    (one,) = resolutions(sweep.comparisons, sweep.manifest)
    assert (one.pairs, one.without_spread) == (0, 1)
    assert math.isnan(one.sd)
    assert math.isnan(one.corrected)
    assert "no spread" in one.sentence


def test_a_level_above_the_power_leaves_nothing_to_find(made: Make) -> None:
    sweep = made({"hnsw": 0.01})
    sweep.manifest["sweep"]["compare"] |= {"alpha": 0.9, "correction": "none"}
    (one,) = resolutions(sweep.comparisons, sweep.manifest)
    assert math.isnan(one.corrected)
    assert "nothing to find" in one.sentence


def test_nothing_compared_resolves_nothing(made: Make) -> None:
    sweep = made({"hnsw": 0.01})
    assert resolutions(sweep.comparisons.head(0), sweep.manifest) == []
