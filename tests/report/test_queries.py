"""Single queries of a sweep: by hand where documents went, and by its tables what scores did."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from retrieval_eval import evaluate
from retrieval_eval.datasets import Dataset
from retrieval_eval.errors import InputError
from retrieval_eval.filters import Filter
from retrieval_eval.qrels import Qrels
from retrieval_eval.report.page.queries import queries_section
from retrieval_eval.report.queries.drilldown import Compared, DrillDown, drill_down
from retrieval_eval.report.queries.judged import is_exact, verdict_words
from retrieval_eval.report.queries.sources import Source, load_sources
from retrieval_eval.runs import Run
from retrieval_eval.store import Store
from retrieval_eval.sweep import Results

Rankings = Mapping[str, Sequence[str]]
"""For each query, ids from the first hit on, as words of one text."""

QRELS = {
    "q1": {"a": 1, "b": 1, "c": 0},
    "q2": {"d": 2, "e": 1},
    "q3": {"f": 1},
}
FLAT = {"q1": "a x b c", "q2": "d x y e", "q3": "x y z f"}
HNSW = {"q1": "x y b c", "q2": "d e x y", "q3": "x y z w"}
OTHER = {"q1": "x y z w", "q2": "x d e y", "q3": "f x y z"}


@dataclass(frozen=True, eq=False)
class Made:
    """Has what a finished sweep has, and its data set."""

    rows: pl.DataFrame
    per_query: pl.DataFrame
    comparisons: pl.DataFrame
    folder: Path
    source: Source
    manifest: dict[str, Any] = field(default_factory=dict)

    def drill(self, **options: Any) -> DrillDown:
        return drill_down(self, {"news": self.source}, **options)


def make(
    folder: Path,
    runs: Mapping[tuple[str, str], Mapping[str, str]],
    *,
    qrels: Mapping[str, Mapping[str, int]] = QRELS,
    measures: Sequence[str] = ("R@2",),
    reference: str | None = "flat",
    corpus: str = "a b c d e f w x y z",
    where: Filter | None = None,
    indexes: Sequence[Any] = ("flat", "hnsw"),
    combined: Mapping[tuple[str, str], Sequence[tuple[str, str]]] | None = None,
) -> Made:
    """Rank as asked, score by the package, and write what a sweep writes."""
    (folder / "runs").mkdir(parents=True)
    documents = corpus.split()
    texts = [f"text of {one}" for one in documents]
    queries = tuple(qrels)
    dataset = Dataset(
        "news",
        documents,
        texts,
        queries,
        [f"what is {one}?" for one in queries],
        Qrels.from_mapping(qrels),
        attributes={"lang": ["de" if one in "ae" else "en" for one in documents]},
    )
    seen = dataset.qrels
    if where is not None:
        seen = seen.only_documents([one for one in documents if one not in "ae"])
    ids, records, frames = {}, [], []
    for number, (key, ranking) in enumerate(runs.items()):
        ids[key] = f"{number:08x}" + "0" * 24
        scored = {
            query: {one: -float(place) for place, one in enumerate(line.split())}
            for query, line in ranking.items()
        }
        run = Run.from_mapping(scored)
        run.to_file(folder / "runs" / f"any_name.{ids[key][:8]}.trec.gz")
        found = evaluate(seen, run, list(measures))
        columns = dict(zip(found.measures, found.values, strict=True))
        frames.append(
            pl.DataFrame({"row_id": ids[key], "query_id": list(found.query_ids), **columns})
        )
        encoder, configuration = key
        records.append(
            {
                "row_id": ids[key],
                "dataset": "news",
                "encoder": encoder,
                "index": configuration.split()[0],
                "configuration": configuration,
                "filter": None if where is None else str(where),
                "status": "ok",
                "message": "",
                "is_reference": configuration == reference,
                "size_bytes": 1000 - number,
                **{name: found.means[name] for name in measures},
            }
        )
    pairs = [
        {"question": "combination", "candidate_row_id": ids[one], "reference_row_id": ids[part]}
        for one, parts in (combined or {}).items()
        for part in parts
    ]
    return Made(
        pl.DataFrame(records, schema_overrides={"filter": pl.String}),
        pl.concat(frames),
        pl.DataFrame(pairs),
        folder,
        Source(dataset, {} if where is None else {str(where): where}),
        {"sweep": {"k": 4, "measures": list(measures), "indexes": list(indexes)}},
    )


TWO = {("lsa", "flat"): FLAT, ("lsa", "hnsw ef=8"): HNSW}


def only(found: DrillDown) -> Compared:
    (cell,) = found.cells
    (one,) = cell.compared
    return one


def verdicts(one: Compared, measure: str = "R@2") -> dict[str, tuple[Any, ...]]:
    """By document: rank in the candidate's run and in the reference's, and the verdict."""
    assert one.documents is not None, one.reason
    columns = ["doc_id", "candidate_rank", "reference_rank", measure]
    return {row[0]: row[1:] for row in one.documents.select(columns).iter_rows()}


# -- documents ----------------------------------------------------------------------------------


def test_each_judged_document_has_its_ranks_and_a_verdict(tmp_path: Path) -> None:
    one = only(make(tmp_path, TWO).drill())
    assert (one.question, one.exact) == ("index", True)
    assert verdicts(one) == {
        "a": (None, 1, "lost"),
        "b": (3, 3, "neither"),
        "c": (4, 4, "irrelevant"),
        "d": (1, 1, "both"),
        "e": (2, 4, "gained"),
    }  # q3 did not move: neither finds it in the first two
    assert one.tally == {"R@2": (1, 1, 1, 2, 0, 0, 0)}  # but its document counts


def test_the_depth_is_the_measures_own_or_k(tmp_path: Path) -> None:
    one = only(make(tmp_path, TWO, measures=["R@2", "R@4", "AP"]).drill())
    assert verdicts(one, "R@4")["b"] == (3, 3, "both")
    assert verdicts(one, "R@2")["f"] == (None, 4, "neither")
    assert verdicts(one, "R@4")["f"] == (None, 4, "lost")
    assert verdicts(one, "AP")["f"] == (None, 4, "lost")


def test_what_even_exact_search_ranks_too_low_the_encoder_lost() -> None:
    words = verdict_words("index", exact=True)
    assert words["lost"] == "lost by the index"
    assert words["gained"] == "gained by the index"
    assert words["neither"] == "lost by the encoder"


@pytest.mark.parametrize("question", ["index", "best", "combination"])
def test_without_exact_search_no_document_is_lost_by_an_encoder(question: str) -> None:
    assert not any("encoder" in text for text in verdict_words(question, exact=False).values())


def test_a_reference_that_is_not_exact_is_said_to_be_none(tmp_path: Path) -> None:
    made = make(tmp_path, {("lsa", "hnsw"): FLAT, ("lsa", "pq"): HNSW}, reference="hnsw")
    assert not only(made.drill()).exact


def test_what_a_label_stands_for_decides_whether_an_index_is_exact() -> None:
    sweep = {
        "indexes": [{"hnsw": {"label": "flat"}}, {"flat": {"label": "all"}}, "qdrant-defaults"]
    }
    found = {name: is_exact({"sweep": sweep}, name) for name in ("flat", "all", "qdrant-defaults")}
    assert found == {"flat": False, "all": True, "qdrant-defaults": False}
    assert is_exact({"sweep": sweep}, "sparse")  # searched where the sweep names none
    assert not is_exact({"sweep": {"indexes": ["gone:Index"]}}, "gone:Index")


def test_encoders_are_compared_by_their_references(tmp_path: Path) -> None:
    made = make(tmp_path, {**TWO, ("hash", "flat"): OTHER, ("hash", "hnsw ef=8"): OTHER})
    (cell,) = made.drill().cells
    found = [one for one in cell.compared if one.question == "encoder"]
    names = made.drill().names
    assert [(names[one.candidate], names[one.reference]) for one in found] == [
        ("hash | flat", "lsa | flat")
    ]
    assert found[0].exact
    assert verdicts(found[0])["a"] == (None, 1, "lost")
    assert verdicts(found[0])["f"] == (1, 4, "gained")
    assert verdict_words("encoder", exact=True)["lost"] == "lost by the encoder"


def test_only_the_best_encoders_are_compared_with_each_other(tmp_path: Path) -> None:
    runs = {(f"e{number}", "flat"): OTHER for number in range(7)}
    runs["e3", "flat"] = dict.fromkeys(QRELS, "w x y z")
    found = make(tmp_path, runs).drill()
    pairs = [(found.names[one.candidate], found.names[one.reference]) for one in only_pairs(found)]
    assert len(pairs) == 15
    assert not any("e3 | flat" in pair for pair in pairs)
    assert any("best 6 encoders" in note for note in found.notes)


def only_pairs(found: DrillDown) -> tuple[Compared, ...]:
    (cell,) = found.cells
    return cell.compared


def test_a_combination_is_compared_with_its_parts(tmp_path: Path) -> None:
    whole, parts = ("lsa + hash", "rrf"), [("lsa", "flat"), ("hash", "flat")]
    runs = {parts[0]: FLAT, parts[1]: OTHER, whole: HNSW}
    found = make(tmp_path, runs, combined={whole: parts}).drill()
    questions = [
        (found.names[one.candidate], found.names[one.reference], one.question, one.exact)
        for one in only_pairs(found)
    ]
    assert questions == [
        ("hash | flat", "lsa | flat", "encoder", True),
        ("lsa + hash | rrf", "lsa | flat", "combination", False),
        ("lsa + hash | rrf", "hash | flat", "combination", False),
    ]


def test_without_a_reference_rows_are_compared_with_the_best_of_their_encoder(
    tmp_path: Path,
) -> None:
    runs = {("lsa", "flat"): FLAT, ("lsa", "hnsw ef=8"): OTHER}
    found = make(tmp_path, runs, reference=None).drill()
    one = only(found)
    assert found.names[one.reference] == "lsa | hnsw ef=8"  # has a higher R@2
    assert one.question == "best"
    assert verdict_words("best", exact=True)["lost"] == "lost against the reference"


def test_rows_that_failed_are_compared_with_nothing(tmp_path: Path) -> None:
    made = make(tmp_path, {**TWO, ("lsa", "hnsw ef=9"): HNSW})
    status = ["ok", "failed", "ok"]
    rows = made.rows.with_columns(status=pl.Series(status))
    failed = Made(rows, made.per_query, made.comparisons, tmp_path, made.source, made.manifest)
    assert failed.drill().names[only(failed.drill()).candidate] == "lsa | hnsw ef=9"


def test_a_filter_leaves_documents_out_and_says_so(tmp_path: Path) -> None:
    where = Filter.parse({"lang": "en"})
    runs = {
        ("lsa", "flat"): {"q1": "b x", "q2": "x d", "q3": "x y"},
        ("lsa", "hnsw ef=8"): {"q1": "x y", "q2": "x y", "q3": "x y"},
    }
    found = verdicts(only(make(tmp_path, runs, where=where).drill()))
    assert found["a"] == (None, None, "filtered")
    assert found["b"] == (None, 1, "lost")


def test_a_judged_document_that_is_not_in_the_corpus_is_nobodys_loss(tmp_path: Path) -> None:
    qrels = {**QRELS, "q1": {**QRELS["q1"], "gone": 1}}
    found = verdicts(only(make(tmp_path, TWO, qrels=qrels).drill()))
    assert found["gone"] == (None, None, "absent")


def test_relevant_documents_come_first_and_those_that_moved_before_others(tmp_path: Path) -> None:
    grades = {f"n{number:02}": 0 for number in range(4)}
    grades |= {f"r{number:02}": 1 for number in range(9)} | {"best": 3, "moved": 1}
    corpus = " ".join(grades)
    ranked = "r00 r01 r02 moved"
    runs = {("lsa", "flat"): {"q": ranked}, ("lsa", "hnsw ef=8"): {"q": "r00 r01 r02 n00"}}
    made = make(tmp_path, runs, qrels={"q": grades}, measures=["R@4"], corpus=corpus)
    documents = only(made.drill()).documents
    assert documents is not None
    assert documents["doc_id"].to_list()[:5] == ["best", "moved", "r00", "r01", "r02"]
    assert len(documents) == 10
    assert documents["judged"].to_list() == [15] * 10


def test_a_measure_with_its_own_level_has_its_own_verdicts(tmp_path: Path) -> None:
    one = only(make(tmp_path, TWO, measures=["R@2", "R(rel=2)@2", "AP(rel=2)@1"]).drill())
    assert verdicts(one, "R@2")["e"][2] == "gained"
    assert verdicts(one, "R(rel=2)@2")["e"][2] == "irrelevant"


def test_a_measure_of_judged_documents_counts_ranks_among_these(tmp_path: Path) -> None:
    runs = {("lsa", "flat"): {"q1": "x y a c"}, ("lsa", "hnsw ef=8"): {"q1": "c x y a"}}
    name = "P(judged_only=True)@1"
    one = only(make(tmp_path, runs, qrels={"q1": QRELS["q1"]}, measures=[name, "P@1"]).drill())
    assert verdicts(one, name)["a"] == (4, 3, "lost")  # second of those judged, and the first
    assert verdicts(one, "P@1")["a"] == (4, 3, "neither")


def test_a_query_without_judgments_has_no_documents(tmp_path: Path) -> None:
    made = make(tmp_path, TWO)
    judged = {query: grades for query, grades in QRELS.items() if query != "q1"}
    less = Dataset(
        "news",
        made.source.dataset.document_ids,
        made.source.dataset.documents,
        ("q2", "q3"),
        ["two", "three"],
        Qrels.from_mapping(judged),
    )
    one = only(drill_down(made, {"news": Source(less)}))
    assert "q1" in one.moved
    assert one.documents is not None
    assert set(one.documents["query_id"]) == {"q2"}


def test_documents_of_a_missing_run_are_not_shown_and_the_reason_is(tmp_path: Path) -> None:
    made = make(tmp_path, {**TWO, ("lsa", "hnsw ef=9"): HNSW})
    lost = made.rows["row_id"][1]
    next((tmp_path / "runs").glob(f"*{lost[:8]}*")).unlink()
    first, second = only_pairs(made.drill())
    assert first.documents is None
    assert "no run file" in first.reason
    assert second.documents is not None


def test_without_the_data_set_there_are_scores_and_a_reason(tmp_path: Path) -> None:
    made = make(tmp_path, TWO)
    found = drill_down(made, {"news": "It was moved."})
    assert found.cells[0].reason == "It was moved."
    assert only(found).documents is None
    assert only(found).reason == "It was moved."
    assert only(found).by_measure["R@2"].losses == 1
    assert "not loaded" in only(drill_down(made)).reason


def test_changed_texts_are_not_shown_but_ranks_are(tmp_path: Path) -> None:
    made = make(tmp_path, TWO)
    found = drill_down(made, {"news": Source(made.source.dataset, {}, "Texts changed.")})
    assert found.queries == {}
    assert found.cells[0].reason == "Texts changed."
    assert verdicts(only(found))["a"] == (None, 1, "lost")


# -- texts --------------------------------------------------------------------------------------


def test_texts_are_kept_as_they_are_and_cut_at_their_ends(tmp_path: Path) -> None:
    odd = "<script>alert(1)</script> & שלום 🚀 \\ \" ' </script>"
    made = make(tmp_path, TWO)
    old = made.source.dataset
    texts = [odd if one == "a" else "y" * 201 for one in old.document_ids]
    queries = ["x" * 301, odd, odd]
    dataset = Dataset("news", old.document_ids, texts, old.query_ids, queries, old.qrels)
    found = drill_down(made, {"news": Source(dataset)})
    assert found.documents["news"]["a"] == (odd, False)
    assert found.documents["news"]["b"] == ("y" * 200, True)
    assert found.queries["news"]["q1"] == ("x" * 300, True)
    assert found.queries["news"]["q2"] == (odd, False)
    assert "f" not in found.documents["news"]  # of a query that did not move


def test_only_texts_that_are_shown_are_read(tmp_path: Path) -> None:
    class Guarded(list[str]):
        def __getitem__(self, key: Any) -> Any:
            assert isinstance(key, int)
            assert key <= 4  # a to e: q3, with f, did not move
            return super().__getitem__(key)

    made = make(tmp_path, TWO)
    guarded = Guarded(made.source.dataset.documents)
    old = made.source.dataset
    dataset = Dataset("news", old.document_ids, guarded, old.query_ids, old.queries, old.qrels)
    assert set(drill_down(made, {"news": Source(dataset)}).documents["news"]) == set("abcde")


# -- scores -------------------------------------------------------------------------------------


def test_queries_that_moved_are_listed_with_both_scores(tmp_path: Path) -> None:
    found = only(make(tmp_path, TWO, measures=["RR@2"]).drill()).by_measure["RR@2"]
    assert (found.wins, found.ties, found.losses, found.undefined) == (0, 2, 1, 0)
    assert (found.queries, found.reference, found.candidate) == (("q1",), (1.0,), (0.0,))
    assert found.mean == -1 / 3


def test_the_worst_come_first_then_the_best(tmp_path: Path) -> None:
    qrels = {f"q{number}": {"a": 1} for number in range(6)}
    ranks = {"q0": 4, "q1": 2, "q2": 3, "q3": 1, "q4": 1, "q5": 2}
    places = {query: " ".join("wxyz"[: rank - 1]) + " a" for query, rank in ranks.items()}
    middle = dict.fromkeys(qrels, "w a")
    runs = {("lsa", "flat"): middle, ("lsa", "hnsw ef=8"): places}
    made = make(tmp_path, runs, qrels=qrels, measures=["RR@4"])
    assert only(made.drill()).by_measure["RR@4"].queries == ("q0", "q2", "q3", "q4")
    few = only(made.drill(worse=1, better=1)).by_measure["RR@4"]
    assert few.queries == ("q0", "q3")
    assert (few.wins, few.ties, few.losses) == (2, 2, 2)


def test_bins_hold_every_query_that_differs_on_its_side(tmp_path: Path) -> None:
    found = make(tmp_path, TWO, measures=["nDCG@4"]).drill()
    one = only(found).by_measure["nDCG@4"]
    half = len(one.counts) // 2
    assert sum(one.counts[:half]) == one.losses == 2
    assert sum(one.counts[half:]) == one.wins == 1
    size = found.cells[0].steps["nDCG@4"]
    difference = one.candidate[0] - one.reference[0]
    assert one.counts[half - int(np.ceil(-difference / size))] == 1


def test_equal_rows_have_no_bins_and_nothing_moved(tmp_path: Path) -> None:
    found = make(tmp_path, {("lsa", "flat"): FLAT, ("lsa", "hnsw ef=8"): FLAT}).drill()
    one = only(found).by_measure["R@2"]
    assert found.cells[0].steps == {"R@2": 0.0}
    assert (one.ties, one.mean, sum(one.counts), one.queries) == (3, 0.0, 0, ())


def test_a_query_without_a_score_is_counted_apart(tmp_path: Path) -> None:
    made = make(tmp_path, TWO)
    gone = pl.when((pl.col("query_id") == "q1") & (pl.col("row_id") == made.rows["row_id"][1]))
    per_query = made.per_query.with_columns(gone.then(float("nan")).otherwise("R@2").alias("R@2"))
    undefined = Made(made.rows, per_query, made.comparisons, tmp_path, made.source, made.manifest)
    found = only(undefined.drill()).by_measure["R@2"]
    assert (found.wins, found.ties, found.losses, found.undefined) == (1, 1, 0, 1)
    assert (found.mean, found.queries) == (0.25, ("q2",))


def test_a_measure_without_any_score_has_no_mean(tmp_path: Path) -> None:
    made = make(tmp_path, TWO)
    per_query = made.per_query.with_columns(pl.lit(float("nan")).alias("R@2"))
    rows = made.rows.with_columns(pl.lit(None, pl.Float64).alias("R@2"))
    undefined = Made(rows, per_query, made.comparisons, tmp_path, made.source, made.manifest)
    found = only(undefined.drill()).by_measure["R@2"]
    assert found.undefined == 3
    assert np.isnan(found.mean)
    section = queries_section(undefined, {"news": made.source})
    assert section is not None
    assert "NaN" not in json.dumps(dict(section.parts))


# -- a sweep that was run -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def drilled(tiny: Results) -> DrillDown:
    return drill_down(tiny, load_sources(tiny, Store(tiny.folder.parent / "cache")))


def test_pairs_and_counts_are_those_of_the_sweep(tiny: Results, drilled: DrillDown) -> None:
    found = {
        (one.candidate, one.reference, one.question, name): (of.wins, of.ties, of.losses, of.mean)
        for cell in drilled.cells
        for one in cell.compared
        for name, of in one.by_measure.items()
    }
    columns = ["candidate_row_id", "reference_row_id", "question", "measure"]
    figures = ["wins", "ties", "losses", "difference"]
    assert found == {
        row[:4]: row[4:] for row in tiny.comparisons.select(columns + figures).iter_rows()
    }


def test_scores_are_those_of_the_sweep(tiny: Results, drilled: DrillDown) -> None:
    scores = {row[:2]: row[2:] for row in tiny.per_query.iter_rows()}
    seen = 0
    for one in drilled.cells[0].compared:
        for place, of in enumerate(one.by_measure.values()):
            for query, mine, theirs in zip(of.queries, of.candidate, of.reference, strict=True):
                assert scores[one.candidate, query][place] == mine
                assert scores[one.reference, query][place] == theirs
                seen += 1
    assert seen > 20


def test_ranks_are_those_of_the_run_files(tiny: Results, drilled: DrillDown) -> None:
    for one in drilled.cells[0].compared:
        assert one.documents is not None
        for row_id, column in (
            (one.candidate, "candidate_rank"),
            (one.reference, "reference_rank"),
        ):
            (path,) = (tiny.folder / "runs").glob(f"*{row_id[:8]}*")
            frame = Run.from_file(path).to_frame()
            ranks = {(q, d): rank for q, d, _, rank in frame.iter_rows()}
            shown = one.documents.select("query_id", "doc_id", column)
            assert all(ranks.get((q, d)) == rank for q, d, rank in shown.iter_rows())


# -- how much there is --------------------------------------------------------------------------


def test_no_more_runs_are_read_than_asked_for(tmp_path: Path) -> None:
    made = make(tmp_path, {**TWO, **{("lsa", f"hnsw ef={n}"): HNSW for n in range(10, 20)}})
    found = made.drill(rows_at_most=4)
    looked_up = [one for one in only_pairs(found) if one.documents is not None]
    assert len(looked_up) == 3
    assert all(
        "whose runs were read" in one.reason for one in only_pairs(found) if one not in looked_up
    )
    wanted = made.rows["row_id"][7]
    found = made.drill(rows=[wanted], rows_at_most=2)
    assert [one.candidate for one in only_pairs(found) if one.documents is not None] == [wanted]
    assert all(one.documents is None for one in only_pairs(made.drill(rows_at_most=0)))


def test_of_many_rows_fewer_queries_are_listed_and_the_page_says_so(tmp_path: Path) -> None:
    made = make(tmp_path, {**TWO, ("lsa", "hnsw ef=9"): HNSW}, measures=["nDCG@4"])
    found = made.drill(moved_at_most=4)
    assert all(len(one.by_measure["nDCG@4"].queries) == 2 for one in only_pairs(found))
    assert any("1 that got worse and 1 that got better" in note for note in found.notes)


def test_a_page_of_500_rows_stays_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = make(tmp_path, TWO)
    ids = [f"{number:032x}" for number in range(500)]
    names = ["nDCG@10", "RR@10", "R@100"]
    scores = rng.random((300 * 500, 3)) * (rng.random((300 * 500, 3)) < 0.5)
    queries = [f"q{number}" for number in range(300)]
    rows = pl.DataFrame(
        {
            "row_id": ids,
            "dataset": "news",
            "encoder": "lsa",
            "index": "hnsw",
            "configuration": [f"hnsw ef={number}" for number in range(500)],
            "is_reference": [number == 0 for number in range(500)],
            **{name: rng.random(500) for name in names},
        }
    )
    columns = {name: scores[:, place] for place, name in enumerate(names)}
    per_query = pl.DataFrame({"row_id": np.repeat(ids, 300), "query_id": queries * 500, **columns})
    big = Made(rows, per_query, pl.DataFrame(), tmp_path, made.source, made.manifest)
    section = queries_section(big)
    assert section is not None
    text = json.dumps(dict(section.parts), allow_nan=False, separators=(",", ":"))
    assert len(gzip.compress(text.encode())) < 400_000


@pytest.mark.parametrize("options", [{"rows": ["nobody"]}, {"measures": ["P@3"]}, {"worse": -1}])
def test_what_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        make(tmp_path, TWO).drill(**options)


# -- the section --------------------------------------------------------------------------------


def test_the_section_holds_what_was_found(tmp_path: Path) -> None:
    made = make(tmp_path, TWO)
    section = queries_section(made, {"news": made.source})
    assert section is not None
    index = section.parts["index"]
    (cell,) = index["cells"]
    assert [name for _, name in cell["rows"]] == ["lsa | hnsw ef=8", "lsa | flat"]
    assert cell["pairs"] == [[0, 1, "index", 1, 0]]
    assert cell["reasons"] == [""]
    ((counts, mean, _, queries, reference, candidate),) = section.parts["summary/0"]["pairs"][0]
    assert counts == [1, 1, 1, 0]
    assert mean == 0.0
    names = section.parts["summary/0"]["queries"]
    assert [names[place] for place in queries] == ["q1", "q2"]
    assert (reference, candidate) == ([0.5, 0.5], [0.0, 1.0])
    documents = section.parts["documents/0"]
    judged, shown = documents["pairs"]["0"]["q1"]
    assert judged == 3
    first = shown[0]
    assert documents["documents"][first[0]] == "a"
    assert first[1:4] == [1, 1, None]
    assert index["verdicts"][int(first[4])] == "lost"
    assert index["words"]["index"][1]["lost"] == "lost by the index"
    assert section.parts["texts/0"]["documents"]["a"] == ("text of a", False)
    assert section.parts["texts/0"]["queries"]["q1"] == ("what is q1?", False)


def test_there_is_no_section_where_nothing_is_compared(tmp_path: Path) -> None:
    assert queries_section(make(tmp_path, {("lsa", "flat"): FLAT})) is None
