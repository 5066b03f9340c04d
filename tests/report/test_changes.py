"""Sweeps side by side: what changed is said, with the figures that can be worked out by hand."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from retrieval_eval import evaluate
from retrieval_eval.comparison import paired_test
from retrieval_eval.errors import InputError
from retrieval_eval.report.changes import changes, side_by_side
from retrieval_eval.report.changes.rows import Changes, CostChange
from retrieval_eval.report.changes.tables import (
    changes_frame,
    changes_table,
    export_changes,
    export_changes_file,
)
from retrieval_eval.report.changes.text import changes_summary, conditions, print_changes
from retrieval_eval.sweep import Results

QUERIES = tuple(f"q{place}" for place in range(10))
BASE = (1.0, 1.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0, 0.25, 1.0)
MANIFEST = {
    "name": "nightly",
    "created": "2026-01-01T10:00:00+00:00",
    "retrieval_eval": "1.0",
    "versions": {"python": "3.11.7", "faiss-cpu": "1.11.0"},
    "machine": {"processor": "a processor", "cores": 4},
    "hardware": {"processor": "a processor", "cores": 4, "memory_bytes": 8_000_000_000},
    "datasets": {"news": {"corpus": "c" * 32, "queries_checksum": "u" * 32, "qrels": "j" * 32}},
    "sweep": {
        "name": "nightly",
        "encoders": ["lsa"],
        "k": 20,
        "measures": ["RR"],
        "neighbour_recall": 10,
        "metric": "cosine",
        "seed": 3,
        "timing": {"threads": 1, "repeats": 5, "batch_queries": 1000},
        "compare": {"test": "randomization", "alpha": 0.05, "margin": {}, "draws": None},
    },
}


@dataclass
class Row:
    """A row of a sweep as a test thinks of it."""

    configuration: str = "hnsw M=16"
    scores: Sequence[float] = BASE
    queries: Sequence[str] = QUERIES
    facts: dict[str, Any] = field(default_factory=dict)


def sweep(*rows: Row, manifest: Mapping[str, Any] | None = None) -> SimpleNamespace:
    """Return the tables of a sweep with these rows; `manifest` is laid over the usual one."""
    content = copy.deepcopy(MANIFEST)
    for name, value in (manifest or {}).items():
        old = content.get(name)
        content[name] = {**old, **value} if isinstance(old, dict) and value else value
    records, parts = [], []
    for row in rows:
        index, _, rest = row.configuration.partition(" ")
        build = dict(one.split("=") for one in rest.split())
        ok = row.facts.get("status", "ok") == "ok"
        record = {
            "row_id": f"id of {row.configuration}",
            "dataset": "news",
            "encoder": "lsa",
            "index": index,
            "configuration": row.configuration,
            "build_params": json.dumps(build),
            "search_params": "{}",
            "filter": None,
            "selectivity": 1.0,
            "status": "ok",
            "message": "",
            "is_reference": index == "flat",
            "RR": sum(row.scores) / len(row.scores) if ok else None,
            "neighbour_recall@10": 0.9,
            "latency_p50_s": 0.001,
            "latency_p95_s": 0.002,
            "qps": 1000.0,
            "measured": content["created"],
            "noise": "",
            "build_s": 2.0,
            "size_bytes": 1_000_000,
            "peak_rss_bytes": 100_000_000,
            **row.facts,
        }
        records.append(record)
        if ok:
            ids = [record["row_id"]] * len(row.queries)
            parts.append(pl.DataFrame({"row_id": ids, "query_id": row.queries, "RR": row.scores}))
    schema = {"filter": pl.String, "noise": pl.String, "RR": pl.Float64}
    frame = pl.DataFrame(records, infer_schema_length=None, schema_overrides=schema)
    return SimpleNamespace(rows=frame, per_query=pl.concat(parts), manifest=content)


LATER = {"created": "2026-02-01T10:00:00+00:00"}


def later(*rows: Row, **manifest: Any) -> SimpleNamespace:
    return sweep(*rows, manifest={**LATER, **manifest})


def costs(found: Changes) -> dict[str, CostChange]:
    return {one.column: one for one in found.rows[0].costs}


def of_kind(found: Changes, kind: str) -> list[tuple[str, str, str]]:
    return [(one.what, one.old, one.new) for one in found.circumstances if one.kind == kind]


def test_a_sweep_beside_itself_shows_no_change_at_all(tiny: Results) -> None:
    found = changes(tiny, tiny)
    assert not found.changed
    assert not found.circumstances
    assert len(found.rows) == len(tiny.rows) > 0
    assert all(row.same_inputs and row.verdict == "identical" for row in found.rows)
    assert {one.verdict for row in found.rows for one in row.quality} == {"identical"}
    assert all(one.p is None and one.difference == 0 for row in found.rows for one in row.quality)
    verdicts = {one.verdict for row in found.rows for one in row.costs}
    assert verdicts == {"same measurement", "alike", "unmeasured"}
    text = "\n".join(changes_summary(found))
    assert "every score of every query is identical" in text
    assert "Versions: no recorded one changed." in text


def test_a_document_that_fell_by_one_rank_gives_the_difference_worked_out_by_hand() -> None:
    qrels = {query: {"a": 1} for query in QUERIES}
    good = {query: {"a": 2.0, "b": 1.0} for query in QUERIES}
    worse = good | {query: {"a": 1.0, "b": 2.0} for query in QUERIES[:3]}
    before, after = (evaluate(qrels, run, ["RR"]) for run in (good, worse))
    assert before.query_ids == after.query_ids == QUERIES
    found = changes(
        sweep(Row("flat"), Row(scores=before.values[0].tolist())),
        later(Row("flat"), Row(scores=after.values[0].tolist())),
    )
    flat, moved = (row.quality[0] for row in found.rows)
    assert flat.verdict == "identical"
    assert (moved.old, moved.new) == (1.0, 0.85)
    assert (moved.n, moved.n_differing) == (10, 3)
    assert moved.difference == pytest.approx(-0.15)
    # Of d = (-1/2, -1/2, -1/2, 0, ...): sd = sqrt(0.525 / 9), t(9, 0.975) = 2.262157.
    half = 2.262157 * math.sqrt(0.525 / 9) / math.sqrt(10)
    assert (moved.low, moved.high) == pytest.approx((-0.15 - half, -0.15 + half), abs=1e-6)
    assert moved.p == 0.25  # 2 of the 2^3 ways to flip signs are as far from 0
    assert moved.p_adjusted == 0.5  # two comparisons, of which one is identical
    assert moved.verdict == "undecided"
    assert "2 comparisons: 2 rows in both" in found.family
    assert "1 of them identical" in found.family


def test_differences_are_later_minus_earlier_and_significant_ones_have_a_direction() -> None:
    low = [0.0, *[one - 0.2 for one in BASE[1:]]]
    rising = changes(sweep(Row(scores=low)), later(Row())).rows[0].quality[0]
    falling = changes(sweep(Row()), later(Row(scores=low))).rows[0].quality[0]
    assert rising.difference == pytest.approx(0.28)
    assert falling.difference == pytest.approx(-0.28)
    assert rising.p == falling.p == 2 / 2**10
    assert (rising.verdict, falling.verdict) == ("better", "worse")
    own = paired_test(BASE, low)
    assert (rising.low, rising.high) == pytest.approx(own.ci95)


def test_all_rows_and_measures_are_one_family() -> None:
    moved = [one - 0.2 for one in BASE]
    few = [BASE[0] - 0.2, *BASE[1:]]
    a = sweep(Row("flat"), Row("one"), Row("two"), Row("three"))
    b = later(Row("flat"), Row("one", moved), Row("two", moved), Row("three", few))
    found = [row.quality[0] for row in changes(a, b).rows]
    assert [one.p for one in found] == [None, 2 / 2**10, 2 / 2**10, 1.0]
    assert [one.p_adjusted for one in found] == pytest.approx([None, 8 / 2**10, 8 / 2**10, 1.0])
    assert [one.verdict for one in changes(a, b, alpha=0.005).rows] == [
        *("identical", "undecided", "undecided", "undecided")
    ]


def test_scores_that_differ_by_rounding_are_identical_and_by_more_are_not() -> None:
    for step, verdict in ((1e-10, "identical"), (1e-8, "undecided")):
        near = [*BASE[:-1], BASE[-1] + step]
        (row,) = changes(sweep(Row()), later(Row(scores=near))).rows
        assert row.verdict == verdict
        assert row.changed is (verdict == "undecided")


def test_rows_with_other_queries_are_paired_on_those_that_both_have() -> None:
    low = [one - 0.2 for one in BASE]
    there = Row(scores=[*low[2:], 1.0], queries=[*QUERIES[2:], "new"])
    found = changes(sweep(Row()), later(there))
    one = found.rows[0].quality[0]
    assert (one.n, one.n_differing) == (8, 8)
    assert one.difference == pytest.approx(-0.2)
    assert one.p == 2 / 2**8
    # The means are those of the tables, each over its own queries.
    assert (one.old, one.new) == (sum(BASE) / 10, sum(there.scores) / 9)
    assert one.reason == "other queries: paired on the 8 that both have, of 10 and 9"
    assert one.reason in "\n".join(changes_summary(found))


def test_the_order_of_queries_in_a_file_does_not_matter() -> None:
    turned = Row(scores=BASE[::-1], queries=QUERIES[::-1])
    found = changes(sweep(Row()), later(turned))
    assert not found.changed
    assert found.rows[0].quality[0].reason == ""


def test_rows_without_a_common_query_are_not_compared() -> None:
    other = Row(queries=[f"other {one}" for one in QUERIES])
    one = changes(sweep(Row()), later(other)).rows[0].quality[0]
    assert (one.verdict, one.reason) == ("not compared", "the two have no query in common")


OTHER = {"row_id": "another"}


@pytest.mark.parametrize(
    ("checksums", "reason"),
    [
        ({"qrels": "k" * 32}, "the judgments of news are other ones"),
        ({"qrels": None}, "whether the judgments of news are the same is not recorded"),
    ],
)
def test_other_judgments_leave_the_means_without_a_test(
    checksums: dict[str, str | None], reason: str
) -> None:
    facts = {**MANIFEST["datasets"]["news"], **checksums}  # type: ignore[index]
    low = [one - 0.2 for one in BASE]
    b = later(Row(scores=low, facts=OTHER), Row("flat"), datasets={"news": facts})
    found = changes(sweep(Row(), Row("flat")), b)
    one = found.rows[0].quality[0]
    assert (one.verdict, one.reason, one.n) == ("not compared", reason, 0)
    assert one.difference is one.low is one.p is None
    assert (one.old, one.new) == (sum(BASE) / 10, pytest.approx(sum(low) / 10))
    assert found.rows[0].changed
    # Equal row ids prove equal judgments, and only such rows are in the family.
    assert found.rows[1].verdict == "identical"
    assert "1 comparisons: 1 row" in found.family
    assert reason in "\n".join(changes_summary(found))


def test_a_filter_that_lets_other_documents_pass_gives_other_judgments() -> None:
    facts = {"filter": "part=1", "selectivity": 0.5}
    a = sweep(Row(facts=facts))
    for share, verdict in ((0.5, "identical"), (0.25, "not compared")):
        b = later(Row(facts={**facts, **OTHER, "selectivity": share}))
        assert changes(a, b).rows[0].verdict == verdict


def test_equal_names_with_other_row_ids_are_said_to_have_other_inputs_and_why() -> None:
    b = later(Row(facts=OTHER), sweep={"seed": 4, "metric": "ip"})
    found = changes(sweep(Row()), b)
    assert not found.rows[0].same_inputs
    assert found.rows[0].causes == ("metric cosine -> ip", "seed 3 -> 4")
    text = "1 of them has other inputs under the same name (known to differ: metric cosine -> ip"
    assert text in "\n".join(changes_summary(found))
    corpus = {**MANIFEST["datasets"]["news"], "corpus": "d" * 32}  # type: ignore[index]
    again = changes(sweep(Row()), later(Row(facts=OTHER), datasets={"news": corpus}))
    assert again.rows[0].causes == ("documents",)
    labelled = [[{"lsa": {"dim": dim, "label": "lsa"}}] for dim in (8, 16)]
    entries = [{"encoders": one} for one in labelled]
    last = changes(
        sweep(Row(), manifest={"sweep": entries[0]}), later(Row(facts=OTHER), sweep=entries[1])
    )
    assert last.rows[0].causes == (
        "encoder lsa: {dim: 8, label: lsa} -> lsa: {dim: 16, label: lsa}",
    )
    unknown = changes(sweep(Row()), later(Row(facts=OTHER)))
    assert unknown.rows[0].causes == ()
    assert "files of the model" in "\n".join(changes_summary(unknown))


def test_a_renamed_encoder_is_another_row() -> None:
    found = changes(sweep(Row()), later(Row(facts={"encoder": "lsi"})))
    assert not found.rows
    assert [one.name.encoder for one in found.only_a] == ["lsa"]
    assert [one.name.encoder for one in found.only_b] == ["lsi"]
    assert found.only_a[0].means == {"RR": sum(BASE) / 10}
    assert found.only_a[0].note == ""
    assert changes_summary(found)[0] == "0 rows in both, 1 only in A, 1 only in B."


def test_rows_in_one_sweep_alone_are_listed_and_count_in_no_family() -> None:
    found = changes(sweep(Row("flat"), Row("old")), later(Row("new"), Row("flat")))
    assert [row.name.configuration for row in found.rows] == ["flat"]
    assert [one.name.configuration for one in found.only_a] == ["old"]
    assert [one.name.configuration for one in found.only_b] == ["new"]
    assert found.changed
    assert "1 comparisons: 1 row in both" in found.family


def test_other_parameters_under_the_same_name_are_another_row_and_named() -> None:
    params = json.dumps({"M": "16", "ef_construction": 400})
    found = changes(sweep(Row()), later(Row(facts={"build_params": params})))
    assert not found.rows
    note = "B has it with other parameters: ef_construction 400 instead of nothing"
    assert found.only_a[0].note == note
    assert f"Not matched: lsa | hnsw M=16: {note}." in changes_summary(found)
    deeper = changes(sweep(Row()), later(Row(), sweep={"k": 50}))
    assert deeper.only_a[0].note == "B has it with other parameters: k 50 instead of 20"
    assert ("k", "20", "50") in of_kind(deeper, "setting")


def test_parameters_in_another_order_are_the_same() -> None:
    texts = ['{"M": 16, "ef": 5}', '{"ef":5,"M":16}']
    a, b = (Row(facts={"build_params": text}) for text in texts)
    assert len(changes(sweep(a), later(b)).rows) == 1


def test_rows_of_equal_parameters_are_told_apart_by_what_they_are_called() -> None:
    spelt = {"index": "hnsw", "build_params": "{}"}
    rows = [Row("hnsw", facts=spelt), Row("hnsw M=16", facts=spelt)]
    found = changes(sweep(*rows), later(*rows[::-1]))
    assert [(row.old_id, row.new_id) for row in found.rows] == [
        ("id of hnsw M=16", "id of hnsw M=16"),
        ("id of hnsw", "id of hnsw"),
    ]


@pytest.mark.parametrize(
    ("column", "old", "new", "verdict"),
    [
        ("latency_p95_s", 0.004, 0.005, "slower"),
        ("latency_p95_s", 0.004, 0.00499, "alike"),
        ("latency_p50_s", 0.005, 0.004, "faster"),
        ("qps", 1000.0, 800.0, "slower"),
        ("qps", 800.0, 1000.0, "faster"),
        ("qps", 1000.0, 801.0, "alike"),
        ("build_s", 1.0, 3.0, "slower"),
        ("build_s", 0.01, 0.09, "not judged"),
        ("build_s", 0.01, 0.11, "slower"),
        ("size_bytes", 1_000_000, 1_010_000, "larger"),
        ("size_bytes", 1_000_000, 1_009_999, "alike"),
        ("size_bytes", 1_010_000, 1_000_000, "smaller"),
        ("size_bytes", 0, 0, "alike"),
        ("peak_rss_bytes", 100, 109, "alike"),
        ("peak_rss_bytes", 100, 110, "larger"),
        ("qps", None, 800.0, "unmeasured"),
        ("qps", 1000.0, None, "unmeasured"),
    ],
)
def test_costs_are_judged_from_their_thresholds_on(
    column: str, old: float | None, new: float | None, verdict: str
) -> None:
    a, b = (Row(facts={column: value}) for value in (old, new))
    moved = {"measured": "2026-02-01T10:00:00+00:00"}
    one = costs(changes(sweep(a), later(replace(b, facts={**b.facts, **moved}))))[column]
    assert (one.old, one.new, one.verdict) == (old, new, verdict)
    assert one.ratio == (new / old if old and new is not None else None)


def test_the_threshold_of_timings_can_be_chosen() -> None:
    a, b = sweep(Row()), later(Row(facts={"latency_p95_s": 0.0021}))
    assert costs(changes(a, b))["latency_p95_s"].verdict == "alike"
    found = changes(a, b, slower=1.04)
    assert costs(found)["latency_p95_s"].verdict == "slower"
    assert "from a factor of 1.04 on" in conditions(found)[1]


SLOW = {"latency_p50_s": 0.01, "latency_p95_s": 0.02, "qps": 100.0, "build_s": 9.0}


@pytest.mark.parametrize("where", ["a", "b"])
@pytest.mark.parametrize("phase", ["searching", "building"])
def test_a_noisy_row_is_shown_but_not_judged(where: str, phase: str) -> None:
    noise = {"noise": f"{phase}: others kept 2.0 cores busy"}
    a = sweep(Row(facts=noise if where == "a" else {}))
    b = later(Row(facts={**SLOW, **(noise if where == "b" else {})}))
    found = costs(changes(a, b))
    for column, slow in SLOW.items():
        spoiled = (column == "build_s") is (phase == "building")
        assert found[column].verdict == ("not judged" if spoiled else "slower")
        assert found[column].reason == ("timed while other work ran" if spoiled else "")
        assert found[column].ratio == pytest.approx(slow / a.rows[column][0])
    assert found["size_bytes"].verdict == "alike"


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({"machine": {"processor": "another"}}, "other processor"),
        ({"machine": {"processor": "another", "cores": 8}}, "other processor, cores"),
        ({"sweep": {"timing": {"threads": 4, "batch_queries": 1000}}}, "other threads"),
        ({"machine": None, "hardware": None}, "the machine is not recorded"),
    ],
)
def test_timings_of_other_machines_are_shown_but_not_judged(
    manifest: dict[str, Any], reason: str
) -> None:
    b = later(Row(facts={**SLOW, "size_bytes": 2_000_000}), **manifest)
    found = costs(changes(sweep(Row()), b))
    for column in (*SLOW, "peak_rss_bytes"):
        assert (found[column].verdict, found[column].reason) == ("not judged", reason)
    assert found["latency_p95_s"].ratio == 10
    assert found["size_bytes"].verdict == "larger"  # whatever the machine


def test_throughputs_of_batches_of_other_sizes_are_not_judged() -> None:
    b = later(Row(facts=SLOW), sweep={"timing": {"threads": 1, "batch_queries": 10}})
    found = costs(changes(sweep(Row()), b))
    assert found["qps"].reason == "batches of other sizes"
    assert found["latency_p95_s"].verdict == "slower"


def test_a_measurement_from_the_cache_is_no_second_measurement() -> None:
    a = sweep(Row())
    cached = changes(a, later(Row(facts={"measured": MANIFEST["created"]})))
    assert cached.rows[0].reused
    for column in SLOW:
        assert costs(cached)[column].verdict == "same measurement"
    text = "\n".join(changes_summary(cached))
    assert "1 of these was not searched again: B took the very hits of A from the cache." in text
    anew = changes(a, later(Row()))
    assert not anew.rows[0].reused
    assert costs(anew)["latency_p95_s"].verdict == "alike"


def test_a_row_that_failed_in_one_sweep_has_no_comparison_but_its_message() -> None:
    failed = {"status": "failed", "message": "out of memory", "RR": None}
    a, b = sweep(Row("flat"), Row()), later(Row("flat"), Row(facts=failed))
    found = changes(a, b)
    _, row = found.rows
    assert (row.old_status, row.new_status, row.verdict) == ("ok", "failed", "not done")
    assert row.changed
    assert row.message == "B: out of memory"
    assert (row.quality[0].old, row.quality[0].new) == (sum(BASE) / 10, None)
    assert row.quality[0].verdict == "not compared"
    assert not row.costs
    assert "1 comparisons: 1 row in both" in found.family
    assert "1 row done in A, failed in B: lsa | hnsw M=16 (B: out of memory)." in changes_summary(
        found
    )
    back = changes(b, a)
    assert back.rows[1].changed
    assert back.rows[1].message == "A: out of memory"
    both = changes(b, b)
    assert not both.changed
    assert "1 row failed in both" in "\n".join(changes_summary(both))


def test_of_three_sweeps_each_is_compared_with_the_first_in_one_family() -> None:
    low = [one - 0.2 for one in BASE]
    b = later(Row(scores=low))
    c = sweep(Row(scores=low), manifest={"versions": {"faiss-cpu": "1.13.0"}})
    found = side_by_side([sweep(Row()), b, c])
    assert [(one.a.letter, one.b.letter) for one in found] == [("A", "B"), ("A", "C")]
    qualities = [one.rows[0].quality[0] for one in found]
    assert [one.p for one in qualities] == [2 / 2**10] * 2
    assert [one.p_adjusted for one in qualities] == [4 / 2**10] * 2
    assert changes(sweep(Row()), b).rows[0].quality[0].p_adjusted == 2 / 2**10
    assert "of 2 sweeps beside A" in found[1].family
    assert of_kind(found[1], "version") == [("faiss-cpu", "1.11.0", "1.13.0")]
    assert "C over A" in conditions(found[1])[1]


def test_columns_that_an_older_layout_lacks_are_unmeasured_and_its_noise_unknown() -> None:
    a, b = sweep(Row()), later(Row(facts=SLOW))
    lacking = ["measured", "noise", "peak_rss_bytes", "filter", "selectivity", "message"]
    old = SimpleNamespace(
        rows=a.rows.drop(lacking),
        per_query=a.per_query,
        manifest={**a.manifest, "retrieval_eval": None, "hardware": {}},
    )
    for one, other in ((old, b), (b, old)):
        found = costs(changes(one, other))
        assert found["peak_rss_bytes"].verdict == "unmeasured"
        reasons = {found[name].reason for name in ("latency_p50_s", "latency_p95_s", "qps")}
        assert reasons == {"noise was not watched"}
        assert found["size_bytes"].verdict == "alike"
    assert not changes(old, old).changed


def test_only_circumstances_that_differ_are_listed() -> None:
    assert not changes(sweep(Row()), sweep(Row())).circumstances
    news = {**MANIFEST["datasets"]["news"], "queries_checksum": "v" * 32}  # type: ignore[index]
    b = later(
        Row(),
        retrieval_eval="1.1",
        versions={"python": "3.11.7", "faiss-cpu": "1.12.0", "usearch": "2.0"},
        machine={"cores": 8},
        hardware={"memory_bytes": 16_000_000_000, "load_average": [1, 2, 3]},
        datasets={"news": news},
        sweep={
            "seed": 4,
            "encoders": ["lsa", {"hashing": {"dim": 8}}],
            "timing": {"threads": 1, "repeats": 9, "batch_queries": 1000},
            "measures": ["RR"],
            "health": True,  # of which the other sweep knows nothing
        },
    )
    found = changes(sweep(Row()), b)
    assert of_kind(found, "version") == [
        ("retrieval_eval", "1.0", "1.1"),
        ("faiss-cpu", "1.11.0", "1.12.0"),
        ("usearch", "-", "2.0"),
    ]
    assert sorted(of_kind(found, "machine")) == [
        ("cores", "4", "8"),
        ("memory", "8.0 GB", "16.0 GB"),
    ]
    assert of_kind(found, "data") == [("news: queries (checksum)", "u" * 12, "v" * 12)]
    assert sorted(of_kind(found, "setting")) == [
        ("encoders, only there", "-", "hashing: {dim: 8}"),
        ("seed", "3", "4"),
        ("timing.repeats", "5", "9"),
    ]
    assert of_kind(found, "date") == [
        ("created", "2026-01-01 10:00:00 UTC", "2026-02-01 10:00:00 UTC")
    ]
    assert "Versions: retrieval_eval 1.0 -> 1.1; faiss-cpu 1.11.0 -> 1.12.0; usearch - -> 2.0." in (
        changes_summary(found)
    )


def test_a_margin_says_which_losses_are_shown_to_be_small() -> None:
    little = [BASE[0] - 0.01, *BASE[1:]]
    much = [one - 0.2 for one in BASE]
    a = sweep(Row("flat"), Row("one"), Row("two"), manifest={"sweep": MANIFEST["sweep"]})
    b = later(Row("flat"), Row("one", little), Row("two", much))
    asked = changes(a, b, margin=0.05)
    assert [row.quality[0].noninferior for row in asked.rows] == [True, True, False]
    assert "A loss of less than 0.05 RR is shown of 1 of the 2 rows that differ by it; not of" in (
        "\n".join(changes_summary(asked))
    )
    assert [row.quality[0].noninferior for row in changes(a, b).rows] == [None] * 3
    a.manifest["sweep"]["compare"] = {"margin": {"RR": 0.05}}
    own = changes(a, b)
    assert [row.quality[0].noninferior for row in own.rows] == [True, True, False]
    assert changes(a, b, margin={"RR": 0.3}).rows[2].quality[0].noninferior


def test_a_query_on_which_a_score_is_undefined_is_left_out() -> None:
    nan = float("nan")
    both = [nan, *BASE[1:]]
    assert changes(sweep(Row(scores=both)), later(Row(scores=both))).rows[0].verdict == "identical"
    one = changes(sweep(Row()), later(Row(scores=both))).rows[0].quality[0]
    assert (one.verdict, one.n, one.n_differing) == ("undecided", 9, 0)
    never = changes(sweep(Row()), later(Row(scores=[nan] * 10))).rows[0].quality[0]
    assert (never.verdict, never.reason) == ("not compared", "it is defined on no query of both")


def test_too_many_comparisons_for_resampling_are_tested_by_t_and_it_is_said() -> None:
    low = [0.0, *[one - 0.2 for one in BASE[1:]]]
    found = changes(sweep(Row()), later(Row(scores=low)), largest=1000)
    assert found.options.test == "t"
    assert found.rows[0].quality[0].p == pytest.approx(paired_test(BASE, low, "t").p)
    assert "tested by Student's paired t test instead of randomization" in conditions(found)[-1]


def test_the_test_is_that_of_the_first_sweep() -> None:
    low = [one - 0.2 for one in BASE]
    a = sweep(Row(), manifest={"sweep": {"compare": {"test": "sign", "alpha": 0.001}}})
    found = changes(a, later(Row(scores=low)))
    assert (found.options.test, found.options.alpha) == ("sign", 0.001)
    assert found.rows[0].quality[0].verdict == "undecided"
    assert ("compare.test", "sign", "randomization") in of_kind(found, "setting")


def test_what_cannot_be_compared_is_refused() -> None:
    a = sweep(Row())
    with pytest.raises(InputError, match="two or more folders"):
        side_by_side([a])
    with pytest.raises(InputError, match="slower is 1: it must be above 1"):
        changes(a, a, slower=1)
    with pytest.raises(InputError, match=r"margin of 'AP': no measure of both sweeps"):
        changes(a, a, margin={"AP": 0.1})
    with pytest.raises(InputError, match="alpha is 2"):
        changes(a, a, alpha=2)
    twice = SimpleNamespace(
        rows=a.rows, per_query=pl.concat([a.per_query] * 2), manifest=a.manifest
    )
    with pytest.raises(InputError, match="has a query twice"):
        changes(a, twice)


def test_the_summary_reads_as_it_should() -> None:
    low = [one - 0.2 for one in BASE]
    slow = {"latency_p95_s": 0.0028, "neighbour_recall@10": 0.85}
    a = sweep(Row("flat"), Row("hnsw"), Row("old"))
    b = later(
        Row("flat"),
        Row("hnsw", low, facts=slow),
        versions={"faiss-cpu": "1.12.0"},
    )
    assert changes_summary(changes(a, b)) == (
        "2 rows in both, 1 only in A, 0 only in B.",
        "Data, models and parameters of these rows are the very same.",
        (
            "Quality of 2 rows by RR: identical on every query in 1; significantly worse in 1 "
            "(largest: lsa | hnsw, RR -0.2000 [-0.2000, -0.2000])."
        ),
        "Neighbour recall changed in 1 of 2 rows (largest: lsa | hnsw, -0.0500 to 0.8500).",
        "Median of single queries: alike in 2.",
        "P95 of single queries: slower in 1 (lsa | hnsw, 2.000 -> 2.800 ms, 1.40x), alike in 1.",
        "Queries a second: alike in 2.",
        "Build time: the same measurement, from the cache, in 2.",
        "Index size: alike in 2.",
        "Peak memory: alike in 2.",
        "Versions: faiss-cpu 1.11.0 -> 1.12.0.",
    )


def test_the_terminal_shows_what_changed_and_everything_if_asked(
    capsys: pytest.CaptureFixture[str], specials: str
) -> None:
    name = {"encoder": specials}
    low = [one - 0.2 for one in BASE]
    a = sweep(Row("flat", facts=name), Row("hnsw", facts=name))
    found = changes(a, later(Row("flat", facts=name), Row("hnsw", low, facts=name)))
    print_changes(found)
    text = capsys.readouterr().out
    table = text[text.index("Rows that changed") :]
    assert f"{specials}" in table
    assert "-0.2000- [-0.2000, -0.2000]" in table
    assert "1 row without a change not shown." in table
    assert table.count(" both ") == 2  # the row, and the family
    print_changes(found, every=True)
    text = capsys.readouterr().out
    assert text[text.index("\nRows\n") :].count(" both ") == 3  # one row more
    assert "not shown" not in text


def fallen() -> Changes:
    """Return changes of every kind."""
    low = [one - 0.2 for one in BASE]
    failed = {"status": "failed", "message": "no", "RR": None}
    a = sweep(Row("flat"), Row("hnsw"), Row("ivf"), Row("old"))
    b = later(Row("flat"), Row("hnsw", low, facts=SLOW), Row("ivf", facts=failed), Row("new"))
    return changes(a, b)


def test_exports_hold_the_figures_unrounded() -> None:
    found = fallen()
    frame = changes_frame(found)
    assert frame["where"].to_list() == ["both", "both", "both", "A", "B"]
    moved = found.rows[1].quality[0]
    record = frame.row(1, named=True)
    assert record["RR_difference"] == moved.difference
    assert (record["RR_lo"], record["RR_hi"]) == (moved.low, moved.high)
    assert (record["RR_p_adjusted"], record["RR_verdict"]) == (moved.p_adjusted, "worse")
    assert record["latency_p95_s_ratio"] == 10
    assert record["latency_p95_s_verdict"] == "slower"
    assert frame.row(2, named=True)["RR_b"] is None
    assert frame.row(3, named=True)["RR_a"] == sum(BASE) / 10
    content = export_changes(found, "parquet")
    assert isinstance(content, bytes)
    assert pl.read_parquet(io.BytesIO(content)).equals(frame)
    records = list(csv.DictReader(io.StringIO(str(export_changes(found, "csv")))))
    assert float(records[1]["RR_difference"]) == moved.difference
    assert records[2]["RR_b"] == ""
    parsed = json.loads(str(export_changes(found, "json")))
    assert parsed["rows"][1]["RR_p"] == moved.p
    assert parsed["pairs"][0]["summary"] == list(changes_summary(found))
    assert parsed["pairs"][0]["circumstances"][0]["what"] == "created"
    both = changes_frame([found, found])
    assert len(both) == 2 * len(frame)


def test_printed_tables_show_marks_and_escape_names(specials: str) -> None:
    found = fallen()
    lines = [[f"{one.text}{one.mark}" for one in line] for line in changes_table(found).rows]
    assert [line[2] for line in lines] == ["both", "failed in B", "only A", "only B"]
    assert lines[0][3:6] == ["0.7250", "0.5250", "-0.2000-"]
    assert "10x*" in lines[0]
    assert len(changes_table(found, every=True).rows) == 5
    name = {"encoder": specials}
    marked = changes(sweep(Row(facts=name)), later(Row(facts=name)))
    text = str(export_changes(marked, "markdown"))
    assert "<script>" not in text
    assert "| lsa |" not in text
    latex = str(export_changes(marked, "latex", caption="50 %"))
    assert r"a\&b\%c\$d" in latex
    assert r"\caption{50 \%}" in latex


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("csv", {"caption": "one"}),
        ("json", {"intervals": "none"}),
        ("parquet", {"every": False}),
        ("markdown", {"intervals": "subscript"}),
        ("markdown", {"label": "tab:one"}),
        ("markdown", {"long": True}),
    ],
)
def test_an_option_without_effect_is_refused(form: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"has no effect on changes as {form}"):
        export_changes(fallen(), form, **options)


def test_options_of_printed_tables_take_effect() -> None:
    text = str(export_changes(fallen(), "markdown", caption="of a_b"))
    assert "**of a\\_b**" in text
    assert "-0.2000- [-0.2000, -0.2000]" in text
    assert "[-0.2000, -0.2000] |" not in str(export_changes(fallen(), "markdown", intervals="none"))
    assert "_{[-0.2000, -0.2000]}" in str(export_changes(fallen(), "latex", intervals="subscript"))
    assert len(str(export_changes(fallen(), "markdown", every=False))) < len(text)
    with pytest.raises(InputError, match="unknown place of intervals"):
        export_changes(fallen(), "latex", intervals="above")


def test_a_file_has_the_form_of_its_suffix(tmp_path: Path) -> None:
    path = export_changes_file(fallen(), tmp_path / "changes.csv")
    assert path.read_text(encoding="utf-8").startswith("a,b,where,dataset")
    with pytest.raises(InputError, match="the suffix must be one of"):
        export_changes_file(fallen(), tmp_path / "changes.xls")
    with pytest.raises(InputError, match="unknown form"):
        export_changes(fallen(), "excel")
    with pytest.raises(InputError, match="cannot be written"):
        export_changes_file(fallen(), tmp_path / "none" / "changes.csv")
