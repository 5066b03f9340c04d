"""The answer in a sentence: claimed only where it was shown, with what it rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.report.answer import answer
from retrieval_eval.report.claims import Claim, Factor
from retrieval_eval.selection import select

Make = Callable[..., Any]
LOSSES = {"hnsw": 0.0, "ivf": 0.0, "pq": 0.2}
COSTS = {"flat": 0.011, "hnsw": 0.002, "ivf": 0.001, "pq": 0.0001}
MARGIN = {"nDCG@10": 0.02}


def only(sweep: Any, **options: Any) -> Claim:
    (claim,) = answer(sweep, **options).claims
    return claim


def test_with_queries_enough_the_claim_is_that_of_select(made: Make) -> None:
    sweep = made(LOSSES, costs=COSTS, n=400, margin=MARGIN)
    claim = only(sweep)
    (selected,) = select(sweep, measure="nDCG@10", margin=0.02, alpha=0.05).answers
    assert selected.chosen is not None
    assert selected.certificate is not None
    assert (claim.configuration, claim.source) == (selected.chosen.configuration, "held-out")
    assert claim.configuration == "ivf"
    assert claim.row_id == "news-lsa-ivf"
    assert claim.difference == selected.certificate.difference[0]
    assert claim.at_least == selected.certificate.lower_bound[0]
    assert claim.p == selected.certificate.p
    assert (claim.n_queries, claim.n_held_out) == (400, selected.chosen.held_out[0].n)
    assert claim.n_held_out < 400


def test_the_sentence_names_margin_factors_and_evidence(made: Make) -> None:
    sweep = made(LOSSES, costs=COSTS, n=400, margin=MARGIN)
    found = answer(sweep)
    assert found.holds
    text = found.text
    assert "news | lsa: ivf is not worse than flat by more than 0.02 nDCG@10" in text
    assert "11x faster (p95 of single queries 1 ms instead of 11 ms)" in text
    rows = {row["configuration"]: row for row in sweep.rows.iter_rows(named=True)}
    for factor in found.claims[0].factors:
        assert factor.value == rows["ivf"][factor.column]
        assert factor.reference == rows["flat"][factor.column]
    assert [one.column for one in found.claims[0].factors] == [
        *("latency_p95_s", "size_bytes", "build_s"),
    ]
    claim = found.claims[0]
    assert f"Tested on {claim.n_held_out} of 400 queries, by which it was not chosen" in text
    assert f"difference {claim.difference:+.4f}, at least {claim.at_least:+.4f}" in text
    assert "k=20, cosine, cheapest by latency_p95_s" in text
    assert "chance that any such claim is false is at most 0.05" in text
    assert "own test" not in text


def test_with_few_queries_it_is_the_sweeps_own_test_and_said_to_be(made: Make) -> None:
    sweep = made(LOSSES, costs=COSTS, n=40, margin=MARGIN, spread=0.01)
    claim = only(sweep)
    assert (claim.configuration, claim.source, claim.n_held_out) == ("ivf", "all queries", 0)
    own = sweep.comparisons.filter(pl.col("candidate_row_id") == "news-lsa-ivf").row(0, named=True)
    assert (claim.difference, claim.p) == (own["difference"], own["p_noninferior"])
    assert "By the sweep's own test on all 40 queries" in claim.text
    assert "Held out" not in answer(sweep).text
    assert "correction holm" in answer(sweep).text
    assert only(sweep, least_queries=40).source == "held-out"


@pytest.mark.parametrize(
    ("made_with", "asked", "why"),
    [
        ({"n": 400}, {}, "no margin was given"),
        ({"n": 400, "margin": MARGIN, "reference": None}, {}, "the sweep has no reference"),
        ({"n": 400, "margin": MARGIN, "failed": ("flat",)}, {}, "flat, was not run"),
        ({"n": 40}, {"margin": 0.01}, "40 queries are too few"),
        ({"n": 40, "margin": MARGIN}, {"margin": 0.03}, "did not test a loss of 0.03 nDCG@10"),
        ({"n": 40, "margin": MARGIN}, {"alpha": 0.01}, "did not test a loss of 0.02"),
        (
            {"n": 40, "margin": {"nDCG@10": 0.001}},
            {},
            "shows of nothing that costs less than flat that it loses less than 0.001",
        ),
        ({"n": 400, "margin": {"nDCG@10": 0.0001}}, {}, "is not shown to lose less than 0.0001"),
        (
            {"n": 400, "margin": MARGIN, "costs": {**COSTS, "hnsw": 1.0, "ivf": 1.0}},
            {},
            "everything that costs less than flat loses 0.02 nDCG@10 or more",
        ),
        (
            {"n": 400, "margin": MARGIN, "costs": dict.fromkeys(COSTS, 1.0)},
            {},
            "no configuration is cheaper than flat by latency_p95_s",
        ),
        (
            {"n": 40, "margin": MARGIN, "costs": dict.fromkeys(COSTS, 1.0)},
            {},
            "no configuration is cheaper than flat by latency_p95_s",
        ),
        (
            {"n": 40, "margin": MARGIN, "timed": False},
            {"cost": "latency_p95_s"},
            "latency_p95_s was not measured",
        ),
        (
            {"n": 400, "margin": MARGIN, "timed": False},
            {"cost": "latency_p95_s"},
            "latency_p95_s was not measured",
        ),
        (
            {"n": 400, "margin": MARGIN, "failed": ("hnsw", "ivf", "pq")},
            {},
            "no other configuration was run",
        ),
        (
            {"n": 40, "margin": MARGIN, "failed": ("hnsw", "ivf", "pq")},
            {},
            "no other configuration was run",
        ),
    ],
)
def test_where_nothing_can_be_claimed_it_says_why(
    made: Make, made_with: dict[str, Any], asked: dict[str, Any], why: str
) -> None:
    sweep = made(LOSSES, **{"costs": COSTS, **made_with})
    if made_with.get("failed") == ("flat",):
        lost = pl.col("configuration") == "flat"
        unknown = pl.when(lost).then(None).otherwise(pl.col("n_queries")).alias("n_queries")
        sweep = replace(sweep, rows=sweep.rows.with_columns(unknown))
    found = answer(sweep, **asked)
    assert not found.holds
    (claim,) = found.claims
    assert (claim.configuration, claim.row_id, claim.factors) == (None, None, ())
    assert "nothing can be claimed, because " in claim.text
    assert why in claim.text


def test_nothing_beside_the_reference_is_said_to_be_so(made: Make) -> None:
    assert "nothing was run beside" in only(made({}, n=400, margin=MARGIN)).text


def test_noisy_timings_are_said_to_be_noisy(made: Make) -> None:
    for who in ("ivf", "flat"):
        noise = {who: "searching: another process kept 2 cores busy"}
        claim = only(made(LOSSES, costs=COSTS, n=400, margin=MARGIN, noise=noise))
        assert [one.column for one in claim.factors if one.noisy] == ["latency_p95_s"]
        assert claim.text.count("timed on a noisy machine") == 1
    quiet = only(made(LOSSES, costs=COSTS, n=400, margin=MARGIN, noise={"pq": "searching: x"}))
    assert "noisy" not in quiet.text
    built = only(made(LOSSES, costs=COSTS, n=400, margin=MARGIN, noise={"ivf": "building: x"}))
    assert [one.column for one in built.factors if one.noisy] == ["build_s"]


def test_tables_from_before_noise_was_recorded_are_read(made: Make) -> None:
    sweep = made(LOSSES, costs=COSTS, n=400, margin=MARGIN)
    assert only(replace(sweep, rows=sweep.rows.drop("noise"))).holds


def test_without_times_it_is_the_smallest_that_is_named(made: Make) -> None:
    found = answer(made(LOSSES, n=400, margin=MARGIN, timed=False))
    assert found.cost == "size_bytes"
    assert "cheapest by size_bytes" in found.text
    assert "timed with" not in found.text


def test_equal_rows_are_claimed_with_what_may_have_been_missed(made: Make) -> None:
    claim = only(made({"hnsw": 0.0}, costs=COSTS, n=400, margin=MARGIN, spread=0.0))
    assert claim.holds
    assert "No query tested on differs: losses on less than" in claim.text


def test_each_dataset_and_encoder_has_its_claim(made: Make) -> None:
    parts = [
        made(LOSSES, costs=COSTS, n=n, margin=MARGIN, encoder=encoder, dataset=dataset, spread=0.01)
        for dataset, encoder, n in (("news", "lsa", 400), ("news", "hash", 400), ("web", "lsa", 40))
    ]
    together = replace(
        parts[0],
        **{
            name: pl.concat([getattr(one, name) for one in parts])
            for name in ("rows", "per_query", "comparisons")
        },
    )
    found = answer(together)
    assert [(one.dataset, one.encoder, one.source) for one in found.claims] == [
        ("news", "lsa", "held-out"),
        ("news", "hash", "held-out"),
        ("web", "lsa", "all queries"),
    ]
    # Two answers share the level.
    assert found.claims[0].level == pytest.approx(0.025)
    assert found.text.count("is not worse than flat") == 3


def test_unknown_names_are_refused(made: Make) -> None:
    sweep = made(LOSSES, n=400)
    with pytest.raises(InputError, match="nDCG@10"):
        answer(sweep, measure="nDCG@1")
    with pytest.raises(InputError, match="latency_p95_s"):
        answer(sweep, cost="latency_p59_s")
    with pytest.raises(InputError, match="above 0"):
        answer(sweep, margin=-1.0)


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (Factor("latency_p95_s", 0.001, 0.0114), "11x faster (p95 of single queries 1 ms"),
        (Factor("latency_p95_s", 0.02, 0.01), "2x slower (p95 of single queries 20 ms"),
        (Factor("latency_p95_s", 0.0102, 0.01), "about as fast (p95 of single queries 10.2 ms"),
        (Factor("size_bytes", 1.02e6, 1e6), "1.02x the index size (1.02 MB instead of 1 MB)"),
        (Factor("size_bytes", 1.4e9, 1e9), "1.4x the index size (1.4 GB instead of 1 GB)"),
        (Factor("build_s", 12.0, 0.002), "build time 12 s instead of 2 ms"),
        (Factor("build_s", 12.0, 1.5, noisy=True), "8x the build time (12 s instead of 1.5 s, t"),
        (Factor("size_bytes", 12.0, 0.0), "index size 1.2e-05 MB instead of 0 MB"),
    ],
)
def test_factors_are_told_with_both_figures(factor: Factor, text: str) -> None:
    assert factor.text.startswith(text)


def test_combinations_are_said_to_be_left_out(tiny: Any, specials: str) -> None:
    found = answer(tiny)
    assert [one.encoder for one in found.claims] == ["lsa dim=8", specials]
    assert {one.source for one in found.claims} == {"all queries"}
    assert f"not spoken of: lsa dim=8 + {specials}." in found.text


def test_where_only_the_sweeps_own_test_shows_it_nothing_is_claimed_but_it_is_told(
    made: Make,
) -> None:
    # Half of the queries are too few for this margin; all of them do.
    found = answer(made({"hnsw": 0.0}, costs=COSTS, n=100, margin={"nDCG@10": 0.0125}))
    (claim,) = found.claims
    assert (claim.configuration, claim.source) == (None, "held-out")
    assert "is not shown to lose less than 0.0125 nDCG@10" in claim.text
    assert "on all queries, does show it of hnsw" in claim.text
