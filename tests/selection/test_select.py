"""Choosing on some queries, testing on others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from retrieval_eval.comparison import PairedScores, noninferiority_p
from retrieval_eval.errors import InputError
from retrieval_eval.selection import Answer, Goal, Selection, SweepTables, select
from retrieval_eval.selection.certify import measure_part, order_candidates, rare_loss_p
from retrieval_eval.selection.goals import Cost

Make = Callable[..., SweepTables]
LOSSES = {"good": 0.0, "fair": 0.004, "poor": 0.06, "dear": 0.0}
COSTS: dict[str, float | None] = {"good": 0.5, "fair": 0.3, "poor": 0.1, "dear": 2.0}


def outcomes(answer: Answer) -> dict[str, str]:
    return {one.configuration: one.outcome for one in answer.candidates}


def only(selection: Selection) -> Answer:
    (answer,) = selection.answers
    return answer


def test_the_cheapest_that_is_not_inferior_is_chosen(sweep: Make) -> None:
    found = select(sweep(LOSSES, COSTS), margin=0.02)
    answer = only(found)
    assert found.certified
    assert outcomes(answer) == {
        "good": "certified",
        "fair": "chosen",
        "poor": "screened",
        "dear": "not cheaper",
    }
    assert answer.chosen is not None
    assert answer.certificate is not None
    assert answer.chosen.cost == 0.3
    assert answer.certificate.p <= answer.certificate.p_adjusted <= 0.05
    assert answer.certificate.lower_bound[0] > -0.02
    assert answer.reference.configuration == "flat"


def test_figures_are_those_of_the_parts(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS)
    found = select(tables, margin=0.02, tune=0.25, seed=3)
    tuned, held = found.parts["news"]
    assert (len(tuned), len(held)) == (100, 300)
    assert not set(tuned) & set(held)
    answer = only(found)
    chosen, certificate = answer.chosen, answer.certificate
    assert chosen is not None
    assert certificate is not None

    def scores(name: str, part: tuple[str, ...]) -> np.ndarray:
        mine = tables.per_query.filter(
            pl.col("row_id") == f"news-lsa-None-{name}", pl.col("query_id").is_in(part)
        )
        return mine.sort("query_id")["nDCG@10"].to_numpy()

    for part, figures in ((tuned, chosen.tuning[0]), (held, chosen.held_out[0])):
        assert figures.score == pytest.approx(scores("fair", part).mean())
        assert figures.reference == pytest.approx(scores("flat", part).mean())
        assert figures.n == len(part)
    both = np.stack([scores("fair", held), scores("flat", held)])
    p = noninferiority_p(PairedScores(both, np.array([[0, 1]])), np.array([0.02]))
    assert certificate.p == pytest.approx(p[0], rel=1e-9)
    gap = chosen.tuning[0].score - chosen.held_out[0].score
    own = answer.reference.tuning[0].score - answer.reference.held_out[0].score
    assert chosen.optimism[0] == pytest.approx(gap - own)


def test_held_out_scores_decide_neither_order_nor_screening(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS)
    held = select(tables, margin=0.02).parts["news"][1]
    worse = tables.per_query.with_columns(
        pl.when(pl.col("query_id").is_in(held), ~pl.col("row_id").str.ends_with("flat"))
        .then(pl.col("nDCG@10") - 0.2)
        .otherwise(pl.col("nDCG@10"))
    )
    answer = only(select(tables.rows, worse, margin=0.02))
    assert outcomes(answer) == {
        "good": "failed",
        "fair": "not reached",
        "poor": "screened",
        "dear": "not cheaper",
    }
    assert answer.candidates[1].held_out == ()  # nobody looked
    assert answer.chosen is None
    assert answer.nearest is not None
    assert answer.nearest.configuration == "good"
    assert answer.queries_needed is None  # it loses more than the margin
    assert answer.queries_needed_if_equal is not None


def test_the_number_of_queries_that_is_needed_would_do(sweep: Make) -> None:
    answer = only(select(sweep({"a": 0.0}, {"a": 0.5}, n=40), margin=0.01))
    assert answer.chosen is None
    needed = answer.queries_needed_if_equal
    assert needed is not None
    assert needed > 40
    passed = [
        select(sweep({"a": 0.0}, {"a": 0.5}, n=needed, seed=seed), margin=0.01).certified
        for seed in range(60)
    ]
    assert 0.6 < np.mean(passed) <= 1


def test_the_sequence_is_a_front_of_sureness_and_cost() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        p, cost = rng.integers(0, 5, size=(2, 9)).astype(float)
        order = order_candidates(p, cost).tolist()
        assert np.all(np.diff(cost[order]) < 0)
        assert np.all(np.diff(p[order]) >= 0)
        for one in range(9):
            assert any(p[other] <= p[one] and cost[other] <= cost[one] for other in order)


def test_goals_bar_and_their_measures_are_those_of_tuning_queries(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS, size_bytes=[5, 50, 5, 5, 5])
    answer = only(select(tables, margin=0.02, where=["size_bytes <= 10", "nDCG(cutoff=10) > 0.1"]))
    assert answer.chosen is not None
    assert answer.chosen.configuration == "good"
    fair = next(one for one in answer.candidates if one.configuration == "fair")
    assert (fair.outcome, fair.reason) == ("goal", "size_bytes is 50, not <= 10")
    tuned = select(tables, margin=0.02).parts["news"][0]
    high = tables.per_query.with_columns(
        pl.when(pl.col("query_id").is_in(tuned))
        .then(pl.col("nDCG@10"))
        .otherwise(pl.col("nDCG@10") + 0.3)
    )
    found = select(tables.rows, high, margin=0.02, where=["nDCG@10 > 0.6"])
    assert set(outcomes(only(found)).values()) == {"goal"}


def test_a_reference_that_misses_a_goal_may_cost_less(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS, size_bytes=[50, 50, 5, 5, 50])
    answer = only(select(tables, margin=0.02, where=["size_bytes < 10"]))
    assert answer.chosen is not None
    assert answer.chosen.configuration == "dear"


def test_what_was_not_measured_is_no_zero(sweep: Make) -> None:
    answer = only(select(sweep(LOSSES, {**COSTS, "fair": None}), margin=0.02))
    assert outcomes(answer)["fair"] == "unmeasured"
    assert answer.chosen is not None
    assert answer.chosen.configuration == "good"


def test_rows_that_were_not_run_are_passed_over(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS)
    is_fair = pl.col("configuration") == "fair"
    rows = tables.rows.with_columns(
        pl.when(is_fair).then(pl.lit("skipped")).otherwise("status").alias("status"),
        pl.when(is_fair).then(pl.lit("no library")).otherwise("message").alias("message"),
    )
    scores = tables.per_query.filter(~pl.col("row_id").str.ends_with("fair"))
    answer = only(select(rows, scores, margin=0.02))
    fair = next(one for one in answer.candidates if one.configuration == "fair")
    assert (fair.outcome, fair.reason) == ("not run", "skipped: no library")


def test_costs_with_weights_are_relative_to_the_reference(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS, size_bytes=[100, 900, 100, 100, 1000], qps=[4.0] * 5)
    answer = only(select(tables, margin=0.02, cost="0.5*latency_p95_s + 0.5*size_bytes"))
    costs = {one.configuration: one.cost for one in answer.candidates}
    assert costs["good"] == pytest.approx(0.3)
    assert costs["fair"] == pytest.approx(0.6)
    assert answer.reference.cost == pytest.approx(1)
    assert answer.chosen is not None
    assert answer.chosen.configuration == "good"
    assert only(select(tables, margin=0.02, cost="qps")).reference.cost == 0.25


def test_several_datasets_share_alpha_and_have_an_answer_together(
    sweep: Make, together: Make
) -> None:
    both = together(
        sweep(LOSSES, COSTS),
        sweep({**LOSSES, "fair": 0.09, "other": 0.0}, {**COSTS, "other": 0.01}, dataset="poetry"),
    )
    news, poetry, joint = select(both, margin=0.02).answers
    assert (news.level, poetry.level, joint.level) == (0.025, 0.025, 0.05)
    assert [one.chosen.configuration for one in (news, poetry, joint) if one.chosen] == [
        "fair",
        "other",
        "good",
    ]
    assert joint.is_joint
    assert len(joint.chosen.held_out if joint.chosen else ()) == 2
    assert outcomes(joint)["other"] == "not everywhere"
    assert outcomes(joint)["fair"] == "screened"
    assert {one.level for one in select(both, margin=0.02, family="each").answers} == {0.05}
    alone = only(select(both, margin=0.02, datasets=["poetry"]))
    assert alone.level == 0.05


def test_joint_p_is_the_largest(sweep: Make, together: Make) -> None:
    both = together(sweep(LOSSES, COSTS), sweep(LOSSES, COSTS, dataset="poetry"))
    joint = select(both, margin=0.02).answers[-1]
    assert joint.certificate is not None
    assert joint.chosen is not None
    assert joint.certificate.p == max(one.p for one in joint.chosen.held_out)


def test_filters_of_a_dataset_share_the_deal(sweep: Make, together: Make) -> None:
    both = together(sweep(LOSSES, COSTS), sweep(LOSSES, COSTS, where="lang in (en)"))
    found = select(both, margin=0.02)
    assert [str(one.places[0]) for one in found.answers] == ["news", "news, lang in (en)", "news"]
    assert list(found.parts) == ["news"]


def test_references_within_an_encoder_and_across_all(sweep: Make, together: Make) -> None:
    both = together(
        sweep(LOSSES, COSTS), sweep({"good": 0.0}, {"good": 0.05, "flat": 0.2}, encoder="tiny")
    )
    within = select(both, margin=0.02).answers
    assert [one.encoder for one in within] == ["lsa", "tiny"]
    answer = only(select(both, margin=0.02, reference="lsa | flat"))
    assert answer.encoder is None
    assert len(answer.candidates) == 6
    by_id = only(select(both, margin=0.02, reference="news-lsa-None-flat"))
    assert outcomes(by_id) == outcomes(answer)
    named = select(both, margin=0.02, reference="good").answers
    assert {one.reference.configuration for one in named} == {"good"}


def test_combined_rows_without_a_reference_are_left_out(sweep: Make, together: Make) -> None:
    fused = sweep({"rrf": 0.0}, {"rrf": None}, encoder="lsa + bm25")
    no_flat = SweepTables(
        fused.rows.filter(pl.col("configuration") == "rrf"),
        fused.per_query.filter(pl.col("row_id").str.ends_with("rrf")),
    )
    found = select(together(sweep(LOSSES, COSTS), no_flat), margin=0.02)
    assert [one.name for one in found.left_out] == ["lsa + bm25 | rrf"]
    assert "no reference" in found.left_out[0].reason
    assert len(found.answers) == 1


def test_queries_on_which_a_measure_is_undefined_are_left_out(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS)
    holes = tables.per_query.with_columns(
        pl.when(pl.col("row_id").str.ends_with("fair"), pl.col("query_id").str.ends_with("7"))
        .then(float("nan"))
        .otherwise(pl.col("nDCG@10"))
        .alias("nDCG@10")
    )
    answer = only(select(tables.rows, holes, margin=0.02))
    tested = {one.configuration: one for one in answer.candidates if one.held_out}
    counts = {name: one.tuning[0].n + one.held_out[0].n for name, one in tested.items()}
    assert counts == {"good": 400, "fair": 360}


def test_given_tuning_queries_are_never_tested_on(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS)
    given = [f"q{number}" for number in range(150)]
    found = select(tables, margin=0.02, tuning_queries={"news": given})
    assert set(found.parts["news"][0]) == set(given)
    assert found.options.tune is None
    with pytest.raises(InputError, match=r"Did you mean 'news'"):
        select(tables, margin=0.02, tuning_queries={"nws": given})
    with pytest.raises(InputError, match="each part needs two"):
        select(tables, margin=0.02, tuning_queries={"news": ["q1"]})


def test_the_order_of_rows_and_queries_does_not_matter(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS)
    mixed = select(
        tables.rows.sample(fraction=1, shuffle=True, seed=1),
        tables.per_query.sample(fraction=1, shuffle=True, seed=2),
        margin=0.02,
    )
    plain = select(tables, margin=0.02)
    assert outcomes(only(mixed)) == outcomes(only(plain))
    assert only(mixed).certificate == only(plain).certificate


def test_equal_configurations_are_certified_with_a_warning_or_not_at_all(sweep: Make) -> None:
    tables = sweep({"same": 0.0}, {"same": 0.5}, n=100)
    flat = tables.per_query.filter(pl.col("row_id").str.ends_with("flat"))
    twice = pl.concat([flat, flat.with_columns(pl.lit("news-lsa-None-same").alias("row_id"))])
    certificate = only(select(tables.rows, twice, margin=0.02)).certificate
    assert certificate is not None
    assert certificate.unseen[0] == pytest.approx(1 - 0.05 ** (1 / 50))
    guarded = only(select(tables.rows, twice, margin=0.02, rare_loss=1.0))
    assert guarded.chosen is None
    assert guarded.candidates[0].held_out[0].p == pytest.approx(0.98**50)
    assert guarded.queries_needed == 297  # 0.98**148.3 is 0.05, and as many again to choose by


def test_rare_losses_are_counted_by_the_binomial_distribution() -> None:
    from scipy.stats import binom

    for failed in range(6):
        differences = np.zeros((1, 200))
        differences[0, :failed] = -0.5
        expected = binom.cdf(failed, 200, 0.04)
        assert rare_loss_p(differences, 0.02, 0.5)[0] == pytest.approx(expected, rel=1e-9)
    assert rare_loss_p(np.full((1, 5), -2.0), 0.1, 1.0)[0] == 1
    assert rare_loss_p(np.zeros((1, 5)), 0.1, 0.05)[0] == 0


def test_one_query_shows_nothing() -> None:
    found = measure_part(np.array([[0.5], [np.nan]]), np.array([0.5]), 0.01, 1.0)
    assert np.isnan(found.p).all()
    assert found.n.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"measure": "nDCG@01"}, "unknown measure"),
        ({"measure": "nDCG@20"}, r"Did you mean 'nDCG@10'"),
        ({"margin": 0.0}, "must be above 0"),
        ({"margin": 1.5}, "is no margin"),
        ({"alpha": 1.0}, "alpha is 1"),
        ({"tune": 1.0}, "share of tuning queries is 1"),
        ({"tune": 0.001}, "gets none"),
        ({"family": "some"}, "unknown family"),
        ({"rare_loss": 0.001}, "must be above the margin"),
        ({"datasets": ["new"]}, r"unknown dataset 'new'. Did you mean 'news'"),
        ({"cost": "latency_p95"}, r"Did you mean 'latency_p95_s'"),
        ({"cost": "size_bytes"}, "no such column"),
        ({"cost": "latency_p95_s +"}, "expected a column"),
        ({"cost": "0*latency_p95_s"}, "must be above 0"),
        ({"cost": "qps + qps"}, "twice"),
        ({"cost": "x*qps"}, "no finite number"),
        ({"where": ["latency_p95_s = 1"]}, "expected COLUMN"),
        ({"where": ["latency_p95_s <= 1_0"]}, "no finite number"),
        ({"where": ["latency_p95_s <= nan"]}, "no finite number"),
        ({"where": ["latency_p95_s <= 1 2"]}, "expected COLUMN"),
        ({"where": ["encoder <= 1"]}, "unknown column 'encoder'"),
        ({"reference": "flt"}, r"Did you mean 'flat'"),
    ],
)
def test_bad_settings_are_refused(sweep: Make, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        select(sweep(LOSSES, COSTS), **settings)  # type: ignore[arg-type]


def test_bad_tables_are_refused(sweep: Make) -> None:
    tables = sweep(LOSSES, COSTS)
    with pytest.raises(InputError, match="per_query beside the rows"):
        select(tables.rows)
    with pytest.raises(InputError, match="no column configuration"):
        select(tables.rows.drop("configuration"), tables.per_query)
    with pytest.raises(InputError, match="same row_id"):
        select(pl.concat([tables.rows, tables.rows]), tables.per_query)
    with pytest.raises(InputError, match="not scored on the same queries"):
        select(tables.rows, tables.per_query[1:])
    with pytest.raises(InputError, match="no reference: name one"):
        select(tables.rows.with_columns(is_reference=False), tables.per_query)
    with pytest.raises(InputError, match="each part needs two"):
        select(sweep(LOSSES, COSTS, n=3))
    with pytest.raises(InputError, match="rows are the reference of lsa"):
        select(tables.rows.with_columns(is_reference=True), tables.per_query)
    more = sweep({"hnsw ef=1": 0.0, "hnsw ef=2": 0.0}, {"hnsw ef=1": 1, "hnsw ef=2": 1})
    with pytest.raises(InputError, match="is an index with several settings"):
        select(more, reference="hnsw")


@pytest.mark.parametrize("text", ["a <= 1", "nDCG@10 > 0.25", "size_bytes < 1e+09"])
def test_goals_round_trip(text: str) -> None:
    assert str(Goal.parse(text)) == text
    assert Goal.parse(text.replace(" ", "")) == Goal.parse(text)


def test_an_exponent_is_no_sum() -> None:
    assert Cost.parse("1e+2*qps+size_bytes").weights == (("qps", 100.0), ("size_bytes", 1.0))
