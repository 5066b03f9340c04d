"""Runs rank as trec_eval does, and a file gives back what was written."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits
from retrieval_eval.runs import Run

TREC = "q1 Q0 d1 1 3.5 mine\nq1 Q0 d2 2 2.5 mine\nq2 Q0 d1 1 0.25 mine\n"
MAPPING = {"q1": {"d1": 3.5, "d2": 2.5}, "q2": {"d1": 0.25}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.trec"


def read(path: Path, text: str | bytes) -> Run:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Run.from_file(path)


def refused(path: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(path, text)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def scores(run: Run) -> dict[str, dict[str, float]]:
    """Give a run as a mapping, each query's documents in order of rank."""
    found: dict[str, dict[str, float]] = {}
    for query, document, score in zip(run.query, run.document, run.score, strict=True):
        found.setdefault(run.query_ids[query], {})[run.document_ids[document]] = float(score)
    return found


def ranking(run: Run) -> dict[str, list[str]]:
    return {query: list(documents) for query, documents in scores(run).items()}


# order


def test_scores_go_before_ids() -> None:
    run = Run.from_mapping({"q": {"a": 1.0, "z": 0.5, "m": 2.0}})
    assert ranking(run) == {"q": ["m", "a", "z"]}


def test_ties_are_broken_by_document_id_descending() -> None:
    run = Run.from_mapping({"q": {"b": 1.0, "c": 1.0, "a": 1.0, "d": 0.0}})
    assert ranking(run) == {"q": ["c", "b", "a", "d"]}


def test_ids_compare_as_bytes_not_as_numbers_nor_by_length() -> None:
    ids = ["9", "10", "2", "100", "1"]
    run = Run.from_mapping({"q": dict.fromkeys(ids, 1.0)})
    assert ranking(run) == {"q": ["9", "2", "100", "10", "1"]}


def test_ids_beyond_ascii_compare_by_their_utf8_bytes() -> None:
    # As UTF-16, U+1F600 begins with a surrogate and would come before U+FF5E; by locale or
    # without case, e-acute would come beside e, and Z before a.
    ids = ["a", "Z", "é", "z", "\uff5e", "😀", "文", "e\u0301", "ﬁ", "~"]
    run = Run.from_mapping({"q": dict.fromkeys(ids, 1.0)})
    assert ranking(run) == {"q": sorted(ids, key=str.encode, reverse=True)}
    assert ranking(run)["q"][0] == "😀"


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=4),
        st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-9, -1.0]),
        min_size=1,
        max_size=30,
    )
)
def test_order_is_score_descending_then_utf8_bytes_descending(scored: dict[str, float]) -> None:
    expected = sorted(scored, key=lambda i: (scored[i], i.encode()), reverse=True)
    assert ranking(Run.from_mapping({"q": scored})) == {"q": expected}


def test_order_does_not_depend_on_the_order_of_lines_or_on_other_queries() -> None:
    documents = {"b": 1.0, "c": 1.0, "a": 1.0}
    forth = Run.from_mapping({"q1": {"c": 9.0}, "q2": documents})
    back = Run.from_mapping({"q2": dict(reversed(documents.items())), "q1": {"c": 9.0}})
    assert ranking(forth)["q2"] == ranking(back)["q2"] == ["c", "b", "a"]


def test_scores_compare_as_doubles() -> None:
    run = Run.from_mapping({"q": {"a": 1.0 + 1e-9, "b": 1.0}})
    assert ranking(run) == {"q": ["a", "b"]}
    assert run.score.dtype == np.float64


def test_a_zero_ties_with_a_negative_zero() -> None:
    run = Run.from_mapping({"q": {"a": 0.0, "b": -0.0}})
    assert ranking(run) == {"q": ["b", "a"]}


def test_the_rank_column_is_ignored(path: Path) -> None:
    text = "q Q0 a 1 1.0 t\nq Q0 b 7 3.0 t\nq Q0 c x 2.0 t\nq Q0 d 1 2.0 t\n"
    run = read(path, text)
    assert ranking(run) == {"q": ["b", "d", "c", "a"]}
    assert run.rank.tolist() == [1, 2, 3, 4]


def test_ranks_begin_at_one_in_every_query_also_where_some_have_no_document() -> None:
    run = Run.from_mapping({"a": {}, "b": {"x": 1.0, "y": 2.0}, "c": {}, "d": {"x": 1.0}, "e": {}})
    assert run.query_ids == ("a", "b", "c", "d", "e")
    assert run.query.tolist() == [1, 1, 3]
    assert run.rank.tolist() == [1, 2, 1]
    assert len(run) == 3


def test_a_run_without_documents_has_no_ranks() -> None:
    run = Run.from_mapping({"a": {}})
    assert len(run) == 0
    assert run.rank.tolist() == []


HEAVY_TIES = ["d" + str(number) for number in range(40)] + [
    "ä",
    "文",
    "\uff5e",
    "😀",
    "Z",
    "é",
    "10",
    "9",
]


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
def test_every_rank_under_heavy_ties_is_the_one_that_trec_eval_gives(levels: int) -> None:
    rng = np.random.default_rng(levels)
    drawn = rng.integers(0, levels, len(HEAVY_TIES))
    given_scores = dict(zip(HEAVY_TIES, drawn.astype(float).tolist(), strict=True))
    queries = {f"q{number}": document for number, document in enumerate(HEAVY_TIES)}
    mapping = dict.fromkeys(queries, given_scores)
    run = Run.from_mapping(mapping)
    ranks = {
        (run.query_ids[query], run.document_ids[document]): int(rank)
        for query, document, rank in zip(run.query, run.document, run.rank, strict=True)
    }
    judged = {query: {document: 1} for query, document in queries.items()}
    evaluator = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"})
    theirs = {query: found["recip_rank"] for query, found in evaluator.evaluate(mapping).items()}
    ours = {query: 1 / ranks[query, document] for query, document in queries.items()}
    assert ours == theirs
    assert len(set(ours.values())) == len(HEAVY_TIES)


# from hits


def hits(ids: list[list[int]], values: list[list[float]]) -> Hits:
    return Hits(np.array(ids, dtype=np.int64), np.array(values, dtype=np.float32))


def test_padding_never_reaches_a_run() -> None:
    none = -math.inf
    run = Run.from_hits(
        hits([[2, 0, -1], [-1, -1, -1], [1, -1, -1]], [[2, 1, none], [none] * 3, [0, none, none]]),
        ["q1", "q2", "q3"],
        ["a", "b", "last"],
        name="ann",
    )
    assert run.name == "ann"
    assert run.query_ids == ("q1", "q2", "q3")
    assert scores(run) == {"q1": {"last": 2.0, "a": 1.0}, "q3": {"b": 0.0}}
    assert run.rank.tolist() == [1, 2, 1]


def test_padding_before_a_hit_does_not_reach_a_run_either() -> None:
    run = Run.from_hits(hits([[-1, 1]], [[-math.inf, 0.5]]), ["q"], ["a", "b"])
    assert scores(run) == {"q": {"b": 0.5}}


def test_ties_in_hits_are_broken_by_id_whatever_order_the_index_gave() -> None:
    ids = ["b", "c", "a", "é"]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        run = Run.from_hits(hits([order], [[1.0] * 4]), ["q"], ids)
        assert ranking(run) == {"q": ["é", "c", "b", "a"]}


def test_hits_out_of_order_are_ranked_by_score() -> None:
    run = Run.from_hits(hits([[0, 1, 2]], [[0.1, 0.3, 0.2]]), ["q"], ["a", "b", "c"])
    assert ranking(run) == {"q": ["b", "c", "a"]}


def test_scores_of_hits_keep_their_32_bit_value() -> None:
    run = Run.from_hits(hits([[0, 1]], [[0.1, 1 / 3]]), ["q"], ["a", "b"])
    assert scores(run) == {"q": {"b": float(np.float32(1 / 3)), "a": float(np.float32(0.1))}}


def test_hits_without_a_column_are_an_empty_run() -> None:
    empty = Hits(np.empty((2, 0), dtype=np.int64), np.empty((2, 0), dtype=np.float32))
    run = Run.from_hits(empty, ["q1", "q2"], ["a"])
    assert (len(run), run.query_ids) == (0, ("q1", "q2"))


@pytest.mark.parametrize("row", [3, 2**40])
def test_a_hit_outside_the_corpus_is_refused(row: int) -> None:
    with pytest.raises(InputError, match=f"row {row} of a corpus of 3 documents"):
        Run.from_hits(hits([[0, row]], [[1.0, 0.5]]), ["q"], ["a", "b", "c"])


def test_another_number_of_rows_than_queries_is_refused() -> None:
    with pytest.raises(InputError, match="1 rows of hits for 2 queries"):
        Run.from_hits(hits([[0]], [[1.0]]), ["q1", "q2"], ["a"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_hit_whose_score_is_no_finite_number_never_reaches_a_run(value: float) -> None:
    with pytest.raises(InputError):
        Run.from_hits(hits([[0, 1]], [[value, 0.5]]), ["q"], ["a", "b"])


def test_hits_are_not_changed_by_turning_them_into_a_run() -> None:
    given_hits = hits([[0, 1, -1]], [[1.0, 1.0, -math.inf]])
    before = given_hits.ids.copy(), given_hits.scores.copy()
    Run.from_hits(given_hits, ["q"], ["a", "b"])
    np.testing.assert_array_equal(given_hits.ids, before[0])
    np.testing.assert_array_equal(given_hits.scores, before[1])


@pytest.mark.parametrize(
    ("ids", "values"),
    [
        (np.array([[0, -1]]), np.array([[1, 0]], dtype=np.float32)),
        (np.array([[0, 1]]), np.array([[1, -np.inf]], dtype=np.float32)),
        (np.array([[0]], dtype=np.int32), np.array([[1]], dtype=np.float32)),
        (np.array([[0]]), np.array([[1.0]])),
        (np.array([0]), np.array([1], dtype=np.float32)),
        (np.array([[0, 1]]), np.array([[1]], dtype=np.float32)),
    ],
)
def test_hits_that_break_their_contract_are_refused(ids: object, values: object) -> None:
    with pytest.raises(InputError, match="hits need"):
        Hits(ids, values)  # type: ignore[arg-type]


# from files


def test_a_file_is_read_and_named_after_its_path(path: Path) -> None:
    run = read(path, TREC)
    assert scores(run) == MAPPING
    assert run.name == "some"
    assert Run.from_file(str(path)).name == "some"


@pytest.mark.parametrize(
    "name", ["bm25+x.trec.gz", "bm25+x.run", "bm25+x.txt", "bm25+x", "bm25+x.run.gz", "bm25+x.gz"]
)
def test_a_run_is_named_after_its_file_without_suffixes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(TREC.encode()) if name.endswith(".gz") else TREC.encode())
    run = Run.from_file(path)
    assert run.name == "bm25+x"
    assert scores(run) == MAPPING


def test_a_dot_inside_a_name_is_no_suffix(tmp_path: Path) -> None:
    path = tmp_path / "k1-0.9.trec"
    path.write_text(TREC)
    assert Run.from_file(path).name == "k1-0.9"


def test_ids_that_look_like_numbers_stay_as_they_are_written(path: Path) -> None:
    text = "007 Q0 0010 1 2 t\n7 Q0 10 1 2 t\n7 Q0 1e1 2 1 t\n7 Q0 10.0 2 0 t\n"
    assert scores(read(path, text)) == {
        "007": {"0010": 2.0},
        "7": {"10": 2.0, "1e1": 1.0, "10.0": 0.0},
    }


def test_comments_blank_lines_and_windows_line_ends_are_passed_over(path: Path) -> None:
    text = "# made by hand\n\n" + TREC + "  \n# end"
    assert scores(read(path, text)) == MAPPING
    assert scores(read(path, text.replace("\n", "\r\n"))) == MAPPING


def test_a_byte_order_mark_is_no_part_of_the_first_id(path: Path) -> None:
    assert scores(read(path, "\ufeff" + TREC)) == MAPPING


@pytest.mark.parametrize("separator", ["\t", "   ", " \t "])
def test_columns_stand_apart_by_any_tabs_and_spaces(path: Path, separator: str) -> None:
    assert scores(read(path, TREC.replace(" ", separator))) == MAPPING


def test_queries_whose_lines_are_mixed_are_put_together(path: Path) -> None:
    lines = TREC.splitlines(keepends=True)
    run = read(path, lines[0] + lines[2] + lines[1])
    assert scores(run) == MAPPING
    assert run.query.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("-5", -5.0),
        (".5", 0.5),
        ("+2.", 2.0),
        ("1e-400", 0.0),
        ("17.000000000000004", 17.000000000000004),
    ],
)
def test_scores_are_read_in_every_usual_notation(path: Path, text: str, value: float) -> None:
    assert scores(read(path, f"q Q0 d 1 {text} t\n")) == {"q": {"d": value}}


@pytest.mark.parametrize(
    "score", ["nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e400", "high", "1,5", "0x1", "--1"]
)
def test_a_score_that_is_no_finite_number_names_file_line_text_and_rule(
    path: Path, score: str
) -> None:
    line = f"q3 Q0 d1 1 {score} mine"
    assert refused(path, f"{TREC}{line}\n") == (
        f"{path}:4: the score {score!r} is not a finite number; the line is {line!r}"
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("q3 Q0 d1 1 0.5", 5),
        ("q3 Q0 d1 1 0.5 my tag", 7),
        ("q3 0 d1 1", 4),
        ("q3", 1),
        ("q3,Q0,d1,1,0.5,tag", 1),
    ],
)
def test_another_number_of_columns_names_file_line_text_and_rule(
    path: Path, line: str, found: int
) -> None:
    assert refused(path, f"# c\n\n{TREC}{line}\n") == (
        f"{path}:6: expected 6 columns (query, Q0, document, rank, score, tag), found {found}; "
        f"the line is {line!r}"
    )


@pytest.mark.parametrize("score", ["3.5", "9.0"])
def test_a_document_listed_twice_is_refused_naming_both_lines(path: Path, score: str) -> None:
    message = refused(path, f"# c\n{TREC}q1 Q0 d1 3 {score} mine\n")
    assert message.startswith(f"{path}:5: ")
    assert "'d1'" in message
    assert "'q1'" in message
    assert f"'q1 Q0 d1 3 {score} mine'" in message
    assert f"first at {path}:2" in message


def test_the_same_document_for_two_queries_is_no_duplicate(path: Path) -> None:
    assert len(read(path, "1 Q0 d 1 1 t\n01 Q0 d 1 1 t\n1 Q0 D 1 1 t\n")) == 3


def test_bytes_that_are_not_utf8_name_file_and_line(path: Path) -> None:
    message = refused(path, TREC.encode() + "q3 Q0 dé 1 1 t\n".encode("latin-1"))
    assert message.startswith(f"{path}:4: not UTF-8 text")


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n"])
def test_an_empty_file_is_refused(path: Path, text: str) -> None:
    assert refused(path, text) == f"{path}: the run holds no line"


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file") as caught:
        Run.from_file(path)
    assert str(path) in str(caught.value)


def compressed() -> bytes:
    lines = (f"q{row} Q0 d{row * 7919 % 1009} 1 {row / 7} t\n" for row in range(2000))
    return gzip.compress("".join(lines).encode(), mtime=0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_compressed_file_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    data = compressed()
    assert "cannot be read" in refused(tmp_path / "cut.gz", data[: int(len(data) * share)])


def test_a_compressed_file_with_any_damage_is_refused(tmp_path: Path) -> None:
    data = compressed()
    for place in range(20, len(data), len(data) // 40):
        damaged = data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]
        refused(tmp_path / "damaged.gz", damaged)


# from mappings


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_of_a_mapping_that_is_no_finite_number_is_refused(value: float) -> None:
    with pytest.raises(InputError) as caught:
        Run.from_mapping({"q7": {"d1": 1.0, "d9": value}})
    assert "'q7'" in str(caught.value)
    assert "'d9'" in str(caught.value)


def test_a_mapping_is_not_changed_and_not_kept() -> None:
    mapping = {"q": {"a": 1.0, "b": 2.0}}
    run = Run.from_mapping(mapping, name="mine")
    assert mapping == {"q": {"a": 1.0, "b": 2.0}}
    assert list(mapping["q"]) == ["a", "b"]
    mapping["q"]["c"] = 9.0
    assert ranking(run) == {"q": ["b", "a"]}
    assert run.name == "mine"


# to files


@pytest.mark.parametrize("name", ["again.trec", "again.trec.gz"])
def test_a_run_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    run = Run.from_mapping({"q2": {"é": 0.1, "007": 1e-300, "7": -0.1 - 0.2}, "q1": {"x": 1e300}})
    run.to_file(path)
    again = Run.from_file(path)
    assert scores(again) == scores(run)
    assert ranking(again) == ranking(run)
    assert again.query_ids == run.query_ids


def test_scores_of_an_index_keep_order_and_ties_in_a_file_and_are_written_again_the_same(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.random(40), [0.1, 0.1, 1 / 3, 1 / 3]]).astype(np.float32)
    values = np.concatenate([values, np.nextafter(values, np.float32(2))])
    given_hits = Hits(np.arange(len(values))[None, :], values[None, :])
    ids = [f"d{number}" for number in rng.permutation(len(values))]
    run = Run.from_hits(given_hits, ["q"], ids)
    run.to_file(tmp_path / "one.trec")
    again = Run.from_file(tmp_path / "one.trec")
    assert ranking(again) == ranking(run)
    assert again.score.astype(np.float32).tolist() == run.score.astype(np.float32).tolist()
    again_ids = [run.document_ids[row] for row in run.document]
    Run.from_mapping({"q": dict(zip(again_ids, again.score, strict=True))}, "run").to_file(
        tmp_path / "two.trec"
    )
    assert (tmp_path / "one.trec").read_bytes() == (tmp_path / "two.trec").read_bytes()


@pytest.mark.parametrize("name", ["again.trec", "again.trec.gz"])
def test_a_run_written_twice_is_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = Run.from_mapping(MAPPING)
    run.to_file(tmp_path / name)
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    Run.from_mapping(MAPPING).to_file(tmp_path / "other" / name)
    assert (tmp_path / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_file_holds_the_six_columns_of_trec_in_order_of_rank(path: Path) -> None:
    Run.from_mapping({"q1": {"b": 0.5, "a": 2.0}, "q2": {'d"x': 1e-05}}, "my  run").to_file(path)
    rows = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [[*row[:4], float(row[4]), row[5]] for row in rows] == [
        ["q1", "Q0", "a", "1", 2.0, "my_run"],
        ["q1", "Q0", "b", "2", 0.5, "my_run"],
        ["q2", "Q0", 'd"x', "1", 1e-05, "my_run"],
    ]


def test_ties_of_a_file_are_in_the_order_that_trec_eval_would_give_them(path: Path) -> None:
    Run.from_mapping({"q": {"a": 1.0, "c": 1.0, "b": 1.0}}).to_file(path)
    assert [line.split()[2] for line in path.read_text().splitlines()] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("query_id", "document_id", "name"),
    [
        ("#1", "d", "run"),
        ("q 1", "d", "run"),
        ("q", "d 1", "run"),
        ("q", "d\n", "run"),
        ("q", "d\u00a0x", "run"),
        ("", "d", "run"),
        ("q", "", "run"),
        ("q", "d", ""),
        ("q", "#d", "#run"),
        ("q", "\ud800", "run"),
    ],
)
def test_what_a_file_cannot_carry_is_refused_when_it_is_written_never_lost_when_it_is_read(
    path: Path, query_id: str, document_id: str, name: str
) -> None:
    mapping = {query_id: {document_id: 1.0}, "another": {"d": 1.0}}
    try:
        Run.from_mapping(mapping, name).to_file(path)
    except InputError:
        return
    assert scores(Run.from_file(path)) == mapping


IDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="\ufeff"),
    min_size=1,
    max_size=8,
).filter(lambda text: not text.startswith("#"))
SCORES = st.floats(-1e30, 1e30) | st.floats(-(2.0**99), 2.0**99, width=32)
MAPPINGS = st.dictionaries(
    IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=6), min_size=1, max_size=5
)


@settings(max_examples=60, deadline=None, database=None)
@given(mapping=MAPPINGS, zipped=st.booleans())
def test_any_mapping_comes_back_from_a_file(
    tmp_path_factory: pytest.TempPathFactory, mapping: dict[str, dict[str, float]], zipped: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / ("any.trec.gz" if zipped else "any.trec")
    run = Run.from_mapping(mapping)
    run.to_file(path)
    again = Run.from_file(path)
    assert ranking(again) == ranking(run)
    assert again.rank.tolist() == run.rank.tolist()
    values = [value for scored in mapping.values() for value in scored.values()]
    if any(struct.unpack("f", struct.pack("f", value))[0] != value for value in values):
        assert scores(again) == mapping
    else:  # 32-bit scores, as an index gives them, may come back as their shortest decimals
        assert {q: list(map(np.float32, d.values())) for q, d in scores(again).items()} == {
            q: list(map(np.float32, d.values())) for q, d in scores(run).items()
        }


@pytest.mark.parametrize("name", ["run.json", "run.jsonl.gz", "run.csv"])
def test_a_run_is_not_written_under_a_name_that_would_be_read_as_another_form(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="written as parquet or as TREC runs"):
        Run.from_mapping({"q": {"d": 1.0}}).to_file(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
