"""One content in every form: files, frames, records and mappings give the same run and qrels."""

from __future__ import annotations

import gzip
import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_eval import Ids, Qrels, Run
from retrieval_eval.errors import InputError
from retrieval_eval.formats import trec
from retrieval_eval.formats.columns import DUPLICATES, QRELS, RUN, Duplicates, Kind
from retrieval_eval.ids import repeated_keys
from retrieval_eval.textfiles import pack_bytes

RUN_ROWS = [
    ("q1", "007", 2.5),
    ("q1", "7", 2.5),
    ("q2", 'a"b,c', 1e-3),
    ("q1", "é\u00a0x", -1.0),
    ("q3", "d", 3.0),
]
QRELS_ROWS = [("q1", "007", 2), ("q1", "7", 0), ("q2", 'a"b,c', 1), ("q4", "d", -1)]


class ScoredDoc(NamedTuple):
    query_id: str
    doc_id: str
    score: float


class Judgment(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int
    iteration: str = "0"


def nested(rows: list[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    mapping: dict[str, dict[str, Any]] = {}
    for query, document, value in rows:
        mapping.setdefault(query, {})[document] = value
    return mapping


def frame(rows: list[tuple[str, str, Any]], value: str) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["query_id", "doc_id", value], orient="row")


def trec_text(rows: list[tuple[str, str, Any]]) -> str:
    if isinstance(rows[0][2], float):
        return "".join(f"{q} Q0 {d} 1 {value} tag\n" for q, d, value in rows)
    return "".join(f"{q} 0 {d} {value}\n" for q, d, value in rows)


def as_json(rows: list[tuple[str, str, Any]]) -> str:
    return json.dumps(nested(rows))


def as_records(rows: list[tuple[str, str, Any]]) -> list[dict[str, Any]]:
    value = "score" if isinstance(rows[0][2], float) else "relevance"
    return [{"query_id": q, "doc_id": d, value: v} for q, d, v in rows]


Write = Callable[[list[tuple[str, str, Any]]], bytes]
FILES: dict[str, Write] = {
    "x.txt": lambda rows: trec_text(rows).encode(),
    "plain": lambda rows: trec_text(rows).encode().rstrip(b"\n"),
    "crlf.trec": lambda rows: trec_text(rows).replace("\n", "\r\n").encode(),
    "tabs.run": lambda rows: trec_text(rows).replace(" ", "\t").encode(),
    "spaces": lambda rows: trec_text(rows).replace(" ", "  \t ").replace("\n", " \n").encode(),
    "comments": lambda rows: ("# c\n\n" + trec_text(rows).replace("\n", "\n\n#\n")).encode(),
    "bom": lambda rows: b"\xef\xbb\xbf" + trec_text(rows).encode(),
    "x.gz": lambda rows: pack_bytes(trec_text(rows).encode(), ".gz"),
    "x.zst": lambda rows: pack_bytes(trec_text(rows).encode(), ".zst"),
    "packed-without-suffix": lambda rows: pack_bytes(trec_text(rows).encode(), ".zst"),
    "x.json": lambda rows: as_json(rows).encode(),
    "list.json": lambda rows: json.dumps(as_records(rows)).encode(),
    "x.json.gz": lambda rows: gzip.compress(as_json(rows).encode()),
    "x.jsonl": lambda rows: "\n\n".join(map(json.dumps, as_records(rows))).encode(),
    "x.csv": lambda rows: pl.DataFrame(as_records(rows)).write_csv().encode(),
    "quoted.csv.zst": lambda rows: pack_bytes(
        pl.DataFrame(as_records(rows)).write_csv(quote_style="always").encode(), ".zst"
    ),
}


def assert_run(run: Run) -> None:
    assert run.to_mapping() == {
        "q1": {"7": 2.5, "007": 2.5, "é\u00a0x": -1.0},
        "q2": {'a"b,c': 0.001},
        "q3": {"d": 3.0},
    }
    assert next(list(scored) for scored in run.to_mapping().values()) == ["7", "007", "é\u00a0x"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("block", [5, 64, 8 << 20])
def test_every_form_of_a_file_gives_the_same(
    tmp_path: Path, name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trec, "_BLOCK_BYTES", block)
    path = tmp_path / name
    path.write_bytes(FILES[name](RUN_ROWS))
    assert_run(Run.from_file(path))
    path.write_bytes(FILES[name](QRELS_ROWS))
    assert Qrels.from_file(path).mapping == nested(QRELS_ROWS)


def test_parquet_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    frame(RUN_ROWS, "score").write_parquet(path)
    assert_run(Run.from_file(path))
    frame(QRELS_ROWS, "relevance").write_parquet(path)
    assert Qrels.from_file(path).mapping == nested(QRELS_ROWS)


def test_frames_records_and_mappings_give_the_same() -> None:
    pandas = pytest.importorskip("pandas")
    scores, grades = frame(RUN_ROWS, "score"), frame(QRELS_ROWS, "relevance")
    assert_run(Run.from_frame(scores))
    assert_run(Run.from_frame(scores.lazy()))
    assert_run(Run.from_frame(scores.with_columns(pl.col("query_id").cast(pl.Categorical))))
    assert_run(Run.from_frame(pandas.DataFrame(scores.to_dict(as_series=False))))
    assert_run(Run.from_records(RUN_ROWS))
    assert_run(Run.from_records(ScoredDoc(*row) for row in RUN_ROWS))
    assert_run(Run.from_records(as_records(RUN_ROWS)))
    assert_run(Run.from_mapping(nested(RUN_ROWS)))
    for qrels in (
        Qrels.from_frame(grades),
        Qrels.from_frame(pandas.DataFrame(grades.to_dict(as_series=False))),
        Qrels.from_frame(grades.with_columns(pl.col("relevance").cast(pl.Float32))),
        Qrels.from_records(Judgment(*row) for row in QRELS_ROWS),
        Qrels.from_mapping(nested(QRELS_ROWS)),
    ):
        assert qrels.mapping == nested(QRELS_ROWS)


def test_a_pipe_is_read_once_and_its_errors_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def feed(data: bytes) -> threading.Thread:
        thread = threading.Thread(target=lambda: path.write_bytes(data), daemon=True)
        thread.start()
        return thread

    thread = feed(trec_text(RUN_ROWS).encode())
    assert_run(Run.from_file(path))
    thread.join(10)
    thread = feed(b"# c\nq Q0 d 1 1 t\nq Q0 d 1 2 t\n")
    with pytest.raises(InputError, match=r"pipe:3: .*the line is 'q d 2.0'"):
        Run.from_file(path)
    thread.join(10)


@pytest.mark.parametrize(
    ("name", "data", "parts"),
    [
        ("x.txt", b"q Q0 d 1 1 t\nq Q0 e 1 1\n", ["x.txt:2: expected 6 columns", "'q Q0 e 1 1'"]),
        ("x.txt", b"#\n\nq Q0 d 1 1_0 t\n", ["x.txt:3: the score '1_0' is not a finite number"]),
        ("x.txt", b"q Q0 d 1 1e999 t\n", ["x.txt:1: the score '1e999' is not a finite number"]),
        ("x.txt", "q Q0 d 1 \uff11 t\n".encode(), ["x.txt:1: the score"]),
        ("x.txt", b"q Q0 d\xff 1 1 t\n", ["x.txt:1: not UTF-8 text"]),
        ("x.gz", b"q Q0 d 1 1 t\n", ["x.gz: cannot be read", "gzip"]),
        ("x.zst", b"q Q0 d 1 1 t\n", ["x.zst: cannot be read"]),
        ("x.zst", pack_bytes(b"q Q0 d 1 1 t\n" * 9, ".zst")[:-3], ["x.zst: cannot be read"]),
        ("x.json", b'{"q": {"d": NaN}}', ["x.json: NaN is not a finite number"]),
        ("x.json", b'{"q": {"d": 1, "d": 2}}', ["x.json: the key 'd' comes twice"]),
        ("x.json", b'{"q": {"d": true}}', ["'q'", "'d'", "True is not a number"]),
        ("x.json", b'{"q": {"d": "1"}}', ["'q'", "'d'", "'1' is not a number"]),
        ("x.json", b'{"q": ["d"]}', ["query 'q' has list"]),
        ("x.json", b'{"q":\n {"d" 1}}', ["x.json:2: not valid JSON"]),
        ("x.json", b"{}", ["x.json: expected an object"]),
        ("x.json", b"[" * 100_000, ["x.json"]),
        ("x.jsonl", b'\n{"query_id": "q", "doc_id": 7, "score": 1}', ["x.jsonl:2: document id 7"]),
        ("x.jsonl", b'{"query_id": "q", "doc_id": "d"}', ["x.jsonl:1: no column for the score"]),
        ("x.jsonl", b'{"query_id": "q"\n', ["x.jsonl:1: not valid JSON"]),
        ("x.csv", b"query_id,doc_id\nq,d\n", ["x.csv:1: no column for the score", "similarity"]),
        ("x.csv", b"query_id,doc_id,score\nq,d,1\nq,e,x\n", ["x.csv:3: the score 'x'", "'q,e,x'"]),
        ("x.csv", b"query_id,doc_id,score\nq,d,1\nq,,1\n", ["x.csv:3: the column 'doc_id'"]),
        ("x.csv", b"query_id,doc_id,score\nq,d,1,2\n", ["x.csv:2: expected 3 columns"]),
        ("x.csv", b"", ["x.csv"]),
        ("x.parquet", b"no parquet", ["x.parquet: not a readable parquet file"]),
    ],
)
def test_a_bad_file_is_one_error_that_names_place_and_rule(
    tmp_path: Path, name: str, data: bytes, parts: list[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        Run.from_file(path)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "part"),
    [
        ({"query_id": [1], "doc_id": ["d"], "score": [1.0]}, "query ids holds Int64"),
        ({"query_id": ["q"], "doc_id": [None], "score": [1.0]}, "document id"),
        ({"query_id": ["q"], "doc_id": ["d"], "score": [None]}, "row 0"),
        ({"query_id": ["q", "q"], "doc_id": ["d", "e"], "score": [1.0, float("nan")]}, "row 1"),
        ({"query_id": ["q"], "doc_id": ["d"], "score": [True]}, "Boolean, not numbers"),
        ({"query_id": ["q"], "doc_id": ["d"], "score": ["1"]}, "String, not numbers"),
        ({"query_id": ["q"], "docs": ["d"], "score": [1.0]}, "no column for the document id"),
        ({"query_id": ["q"] * 2, "doc_id": ["d"] * 2, "score": [1.0, 2.0]}, "twice, first at"),
    ],
)
def test_a_frame_with_other_columns_is_refused(columns: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError) as caught:
        Run.from_frame(pl.DataFrame(columns))
    assert part in str(caught.value)


@pytest.mark.parametrize("mapping", [{1: {"d": 1.0}}, {"q": {7: 1.0}}, {"q": {"\ud800": 1.0}}])
def test_an_id_that_is_no_text_is_refused(mapping: Any) -> None:
    with pytest.raises(InputError, match=r"ids are strings|lone surrogate"):
        Run.from_mapping(mapping)


def test_duplicates_are_refused_or_chosen_between_wherever_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("a Q0 d 1 1 t\nb Q0 d 1 5 t\na Q0 e 1 4 t\na Q0 d 1 3 t\nb Q0 d 1 2 t\n")
    with pytest.raises(InputError, match=r"x\.txt:4: query 'a' has document 'd' twice, first at"):
        Run.from_file(path)
    first = Run.from_file(path, duplicates="first").to_mapping()
    assert first == {"a": {"e": 4.0, "d": 1.0}, "b": {"d": 5.0}}
    best = Run.from_file(path, duplicates="max").to_mapping()
    assert best == {"a": {"e": 4.0, "d": 3.0}, "b": {"d": 5.0}}
    with pytest.raises(InputError, match="Did you mean 'max'"):
        Run.from_file(path, duplicates="mx")  # type: ignore[arg-type]


IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\v\f\r "), min_size=1
).filter(lambda text: not text.startswith(("#", "\ufeff")))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(
    mapping=st.dictionaries(IDS, st.dictionaries(IDS, FLOATS, min_size=1), min_size=1),
    name=st.sampled_from(["x.trec", "x.gz", "x.zst", "x.parquet"]),
)
def test_any_run_comes_back_from_its_file(
    mapping: dict[str, dict[str, float]], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("runs") / name
    mapping["last"] = {"d": 1 + 2**-40}  # scores that fit float32 are written in fewer digits
    Run.from_mapping(mapping).to_file(path)
    assert Run.from_file(path).to_mapping() == mapping


DECIMALS = st.one_of(
    FLOATS.map(repr),
    st.from_regex(
        r"[+-]?([0-9]{1,25}\.?[0-9]{0,25}|\.[0-9]{1,25})([eE][+-]?[0-9]{1,3})?", fullmatch=True
    ),
).filter(lambda text: np.isfinite(float(text)))


@settings(max_examples=200, deadline=None)
@given(scores=st.lists(DECIMALS, min_size=1, max_size=30))
def test_both_ways_of_reading_give_python_s_own_float(
    scores: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("runs") / "x.txt"
    path.write_text("".join(f"q Q0 d{row} 1 {score} t\n" for row, score in enumerate(scores)))
    fast = trec.read_trec(path, RUN)
    slow = pytest.MonkeyPatch()
    slow.setattr(trec, "_regular", lambda *_, **__: None)
    try:
        careful = trec.read_trec(path, RUN)
    finally:
        slow.undo()
    expected = [float(score) for score in scores]
    assert fast.value.tolist() == careful.value.tolist() == expected
    assert fast.document == careful.document


def test_a_regular_file_takes_the_fast_way(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    for text in ("q Q0 d 1 1.5 t\n", "q\tQ0  d 1 1.5 t \r\n", "é Q0 é 1 1 é\n"):
        path.write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trec, "_by_line", None)
            assert len(trec.read_trec(path, RUN)) == 1
    path.write_text("q 0 d 1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trec, "_by_line", None)
        assert len(trec.read_trec(path, QRELS)) == 1


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("pqr"), IDS, st.sampled_from([0.0, -0.0, 1.0, 1.5])),
        unique_by=lambda row: row[:2],
        min_size=1,
    )
)
def test_rank_order_is_score_then_bytes_both_descending(rows: list[tuple[str, str, float]]) -> None:
    run = Run.from_records(rows)
    for query, scored in run.to_mapping().items():
        own = [(score, document.encode()) for name, document, score in rows if name == query]
        expected = [document.decode() for _, document in sorted(own, reverse=True)]
        assert list(scored) == expected
    assert list(run.to_mapping()) == list(dict.fromkeys(query for query, _, _ in rows))


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.lists(st.integers(0, 5), max_size=12), min_size=1, max_size=6),
    gap=st.sampled_from([1, 3, 100_000]),
    block=st.sampled_from([4, 8, 1 << 16]),
)
def test_repeated_keys_are_all_found(groups: list[list[int]], gap: int, block: int) -> None:
    keys = np.array([key for group in groups for key in group], dtype=np.uint64)
    numbers = np.repeat(np.arange(len(groups)) * gap, [len(group) for group in groups])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrieval_eval.ids._BLOCK", block)
        found = repeated_keys(numbers.astype(np.int32), keys << np.uint64(16))
    pairs = list(zip(numbers.tolist(), keys.tolist(), strict=True))
    assert found.tolist() == [row for row, pair in enumerate(pairs) if pairs.count(pair) > 1]


def test_parts_of_a_run_are_new_runs() -> None:
    run = Run.from_mapping({"a": {"a": 1.0, "b": 3.0, "c": 2.0}, "b": {"a": 1.0 + 1e-9, "c": 1.0}})
    before = run.to_mapping()
    assert run.top(1).to_mapping() == {"a": {"b": 3.0}, "b": {"a": 1.0 + 1e-9}}
    assert run.without_self().to_mapping() == {"a": {"b": 3.0, "c": 2.0}, "b": before["b"]}
    single = run.single_precision().to_mapping()
    assert list(single["b"].items()) == [("c", 1.0), ("a", 1.0)]
    assert list(before["b"]) == ["a", "c"]
    assert run.to_mapping() == before
    with pytest.raises(InputError, match="depth 0"):
        run.top(0)


def test_ids_are_a_sequence_of_strings() -> None:
    ids = Ids.of(["b", "a", "c"])
    assert (ids[0], ids[-1], list(ids[1:]), len(ids)) == ("b", "c", ["a", "c"], 3)
    assert ids == ("b", "a", "c")
    assert ids != ["b", "a"]
    assert "a" in ids
    assert 1 not in ids
    assert ids.repeated is None
    assert Ids.of(["x", "y", "x"]).repeated == (0, 2)
    assert repr(ids) == "Ids(['b', 'a', 'c'], n=3)"


# what follows: numbers, blocks, duplicates and parts against slower ways of their own


def both_ways(path: Path, kind: Kind) -> tuple[object, object]:
    """Read by blocks and line by line; an error counts by its message."""

    def read() -> object:
        try:
            columns = trec.read_trec(path, kind)
        except InputError as error:
            return str(error)
        rows = [columns.query_ids[code] for code in columns.query]
        return rows, list(columns.document), [repr(value) for value in columns.value.tolist()]

    fast = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trec, "_regular", lambda *_, **__: None)
        return fast, read()


NUMBER_PARTS = st.lists(
    st.sampled_from(
        [*"0159+-.eE_x, ", "00", "nan", "inf", "NaN", "Infinity", "\uff11", "\u00a0", "9" * 19]
    ),
    min_size=1,
    max_size=6,
).map("".join)


@settings(max_examples=300, deadline=None, database=None)
@given(number=NUMBER_PARTS, kind=st.sampled_from([RUN, QRELS]))
def test_both_ways_of_reading_accept_and_refuse_the_same_numbers(
    number: str, kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "number.txt"
    path.write_text(f"q Q0 d 1 {number} t\n" if kind is RUN else f"q 0 d {number}\n")
    fast, careful = both_ways(path, kind)
    assert fast == careful


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (RUN, "q Q0 d 1 1 t\n \ufeffq Q0 e 1 1 t\n"),
        (RUN, " \ufeffq Q0 d 1 1 t\n"),
        (RUN, "q Q0 d 1 1 t\n\ufeffq Q0 e 1 1 t\n"),
        (RUN, "q Q0 \ufeffd 1 1 t\n"),
        (RUN, 'q Q0 "d 1 1 t\nq Q0 e" 1 1 t\n'),
        (RUN, "q Q0 d 1 1 t\n q Q0 e 1 1 t \n\tq\x0bQ0\x0cf 1 1 t\t\r\n"),
        (RUN, "q Q0 d#e 1 1 #t\n  # comment\nq #Q0 e 1 1 t\n"),
        (RUN, "q Q0 d\u00a0\u3000 1 1 t\nq Q0 d\u2028 1 1 t\n"),
        (RUN, f"q Q0 d 1 {'0' * 500}1 t\n"),
        (RUN, f"q Q0 d 1 1.{'0' * 500}1 t\n"),
        (RUN, "q Q0 null 1 1 t\nNULL Q0 NA 1 1 t\n"),
        (QRELS, "q 0 d 9223372036854775807\nq 0 e -9223372036854775808\nq 0 f +0\n"),
        (QRELS, "q 0 d 9223372036854775808\n"),
        (QRELS, "q 0 d 9007199254740993\nq 0 e 2.0\n"),
        (QRELS, f"q 0 d {'0' * 500}1\n"),
        (QRELS, "query-id\tcorpus-id\tscore\n#q\td\t1\n\nq\td\t2\n"),
        (QRELS, "query-id\tcorpus-id\tscore\n\ufeffq\td\t1\n"),
    ],
)
def test_both_ways_of_reading_give_the_same(tmp_path: Path, kind: Kind, text: str) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(text.encode())
    fast, careful = both_ways(path, kind)
    assert fast == careful


LINES = st.lists(
    st.sampled_from(
        [
            *(f"{q} Q0 {d} 1 {s} t" for q in "pq" for d in ("d", "é", "007") for s in ("1", "5.")),
            *("", "# c", " # c", "p\tQ0  d\t1 1 t \r", "\ufeffq Q0 x 1 1 t", " \ufeffq Q0 y 1 1 t"),
            *("q Q0 z 1 nan t", "q Q0 z 1 1", "q Q0 \x00 1 1 t", "\r", "q Q0 z 1 1 t\x1c"),
        ]
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None, database=None)
@given(lines=LINES, block=st.sampled_from([1, 16, 64]), way=st.sampled_from(DUPLICATES))
def test_the_size_of_blocks_changes_neither_content_nor_message(
    lines: list[str], block: int, way: Duplicates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.txt"
    path.write_bytes("\n".join(lines).encode())

    def outcome() -> object:
        try:
            run = Run.from_file(path, duplicates=way)
        except InputError as error:
            return str(error)
        return [(query, list(scored.items())) for query, scored in run.to_mapping().items()]

    whole = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trec, "_BLOCK_BYTES", block)
        assert outcome() == whole


def kept(rows: list[tuple[str, str, float]], way: str) -> dict[str, dict[str, float]]:
    content: dict[str, dict[str, float]] = {}
    for query, document, score in rows:
        scored = content.setdefault(query, {})
        if document not in scored or (way == "max" and score > scored[document]):
            scored[document] = score
    return content


REPEATING = st.lists(
    st.tuples(
        st.sampled_from("pqr"), st.sampled_from(["a", "b", "é", "007"]), st.sampled_from([1.0, 2.0])
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None, database=None)
@given(rows=REPEATING, block=st.sampled_from([16, 8 << 20]), key_block=st.sampled_from([4, 65536]))
def test_duplicates_are_chosen_between_as_one_would_by_hand(
    rows: list[tuple[str, str, float]],
    block: int,
    key_block: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "repeats.txt"
    path.write_text("# c\n\n" + trec_text(rows))
    pairs = [row[:2] for row in rows]
    again = next((row for row, pair in enumerate(pairs) if pair in pairs[:row]), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trec, "_BLOCK_BYTES", block)
        patch.setattr("retrieval_eval.ids._BLOCK", key_block)
        assert Run.from_file(path, duplicates="first").to_mapping() == kept(rows, "first")
        assert Run.from_file(path, duplicates="max").to_mapping() == kept(rows, "max")
        if again is None:
            assert Run.from_file(path).to_mapping() == kept(rows, "first")
            return
        with pytest.raises(InputError) as caught:
            Run.from_file(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{again + 3}: ")
    assert f"first at {path}:{pairs.index(pairs[again]) + 3}:" in message
    assert message.endswith(f"the line is {trec_text([rows[again]])[:-1]!r}")


def test_among_many_duplicates_the_first_line_that_repeats_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("".join(f"q Q0 d{row} 1 1 t\n" for row in range(1000)) * 2)
    with pytest.raises(InputError) as caught:
        Run.from_file(path)
    assert str(caught.value).startswith(f"{path}:1001: query 'q' has document 'd0' twice")


@settings(max_examples=150, deadline=None, database=None)
@given(
    mapping=st.dictionaries(
        st.sampled_from(["a", "b", "é", "x"]),
        st.dictionaries(
            st.sampled_from(["a", "b", "c", "é", "007"]),
            st.sampled_from([1.0, 1.0 + 1e-9, 2.0, -1e39, -1e38, 0.1, -0.0, 0.0, 1e-60]),
        ),
        min_size=1,
    ),
    depth=st.integers(1, 6),
)
def test_parts_of_a_run_are_those_of_a_naive_version(
    mapping: dict[str, dict[str, float]], depth: int
) -> None:
    run = Run.from_mapping(mapping)
    before = [column.copy() for column in (run.query, run.document, run.score)]

    def ranked(scored: dict[str, float]) -> list[tuple[str, float]]:
        order = sorted(scored, key=lambda one: (scored[one], one.encode()), reverse=True)
        return [(one, scored[one]) for one in order]

    def pairs(part: Run) -> dict[str, list[tuple[str, float]]]:
        return {query: list(scored.items()) for query, scored in part.to_mapping().items()}

    assert pairs(run.top(depth)) == {q: ranked(scored)[:depth] for q, scored in mapping.items()}
    assert pairs(run.without_self()) == {
        q: ranked({d: s for d, s in scored.items() if d != q}) for q, scored in mapping.items()
    }
    with np.errstate(over="ignore"):
        single = {
            q: ranked({d: float(np.float32(s)) for d, s in scored.items()})
            for q, scored in mapping.items()
        }
    assert pairs(run.single_precision()) == single
    for column, old in zip((run.query, run.document, run.score), before, strict=True):
        np.testing.assert_array_equal(column, old)


@settings(max_examples=60, deadline=None, database=None)
@given(
    judged=st.dictionaries(
        st.sampled_from(["a", "b", "é"]),
        st.dictionaries(st.sampled_from(["a", "b", "é", "c"]), st.integers(-2, 3), min_size=1),
        min_size=1,
    )
)
def test_judgments_without_self_are_those_of_a_naive_version(
    judged: dict[str, dict[str, int]],
) -> None:
    qrels = Qrels.from_mapping(judged)
    assert qrels.without_self().mapping == {
        q: {d: grade for d, grade in grades.items() if d != q} for q, grades in judged.items()
    }
    assert qrels.mapping == judged


@settings(max_examples=60, deadline=None, database=None)
@given(
    mapping=st.dictionaries(
        st.sampled_from(["q", "007", "é\u00a0"]),
        st.dictionaries(IDS, FLOATS, min_size=1, max_size=5),
        min_size=1,
    ),
    name=st.sampled_from(["x.trec", "x.run.gz", "x.zst", "x.parquet"]),
)
def test_ids_and_bits_of_scores_come_back_from_a_file(
    mapping: dict[str, dict[str, float]], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    # One score that float32 cannot hold keeps the writer from float32's shorter decimals.
    run = Run.from_mapping({**mapping, "last": {"d": 1 + 2**-40}})
    run.to_file(path)
    again = Run.from_file(path)
    assert again.query_ids == run.query_ids
    assert again.query.tolist() == run.query.tolist()
    documents = [list(one.document_ids.take(one.document)) for one in (run, again)]
    assert documents[0] == documents[1]
    assert again.score.tobytes() == run.score.tobytes()


def test_a_pipe_of_the_shell_is_read(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, trec_text(RUN_ROWS).encode())
    finally:
        os.close(writer)
    try:
        assert_run(Run.from_file(f"/dev/fd/{reader}"))
    finally:
        os.close(reader)


@pytest.mark.parametrize("suffix", [".trec", ".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_packed_file_that_is_cut_off_is_refused_in_every_form(
    tmp_path: Path, suffix: str, packing: str
) -> None:
    rows = [("q", f"d{row * 7919 % 1009}", row / 7) for row in range(500)]
    written = {
        ".trec": trec_text(rows),
        ".jsonl": "\n".join(map(json.dumps, as_records(rows))),
        ".json": as_json(rows),
        ".csv": pl.DataFrame(as_records(rows)).write_csv(),
    }
    packed = pack_bytes(written[suffix].encode(), packing)
    for cut in (len(packed) // 2, len(packed) - 3):
        path = tmp_path / f"x{suffix}{packing}"
        path.write_bytes(packed[:cut])
        with pytest.raises(InputError) as caught:
            Run.from_file(path)
        assert str(caught.value).startswith(f"{path}: cannot be read: ")


CSV_HEADER = "query_id,doc_id,score\n"


@pytest.mark.parametrize(
    ("name", "text", "start", "part"),
    [
        ("x.csv", "query_id,doc_id\r,score\nq,d,1\n", "", ""),
        ("x.csv", CSV_HEADER + "q\r,d,1\nq,e,x\n", "2: ", "not valid CSV"),
        ("x.csv", CSV_HEADER.replace("\n", "\r") + "q,d,1\rq,e,2\r", "", ""),
        ("x.csv", CSV_HEADER + "q," + "d" * 140_000 + ",x\n", "2: ", "not valid CSV"),
        ("x.csv", CSV_HEADER + "q,e,1\nq,f\n", "3: ", "'q,f'"),
        ("x.csv", CSV_HEADER + "q,e,1\n\nq,f,inf\n", "4: ", "'q,f,inf'"),
        ("x.csv", CSV_HEADER + "q,e,1_0\n", "2: ", "'1_0'"),
        ("x.csv", CSV_HEADER + "q,e,\uff11\n", "2: ", "\uff11"),
        ("x.csv", CSV_HEADER.replace("\n", "\r\n") + "q,e,1\r\nq,e,2\r\n", "3: ", "first at"),
        ("x.json", '{"q": {"d": 1' + "0" * 5000 + "}}", "", ""),
        ("x.json", '{"q": {"d": 1' + "0" * 400 + "}}", "", ""),
        ("x.json", '{"q": {"d": 1},\n "q": {"e": 1}}', "", "the key 'q' comes twice"),
        ("x.json", '{"q\u2028": {"d": 1},\n "r": x}', "2: ", """the line is ' "r": x}'"""),
        ("x.json", '{"q": {"d": 1, "e": 1e999}}', "", "'e'"),
        ("x.json", '[{"query_id": "q", "doc_id": "d", "score": 1}, {"query_id": "q"}]', "", "1"),
        ("x.jsonl", '{"query_id": "q", "doc_id": "d", "score": 1' + "0" * 400 + "}", "1: ", ""),
        ("x.jsonl", '\n{"query_id": "q", "doc_id": "d", "score": NaN}', "2: ", "NaN"),
        ("x.jsonl", '\n{"query_id": "q", "doc_id": "d", "score": 1, "score": 1}', "2: ", "twice"),
        ("x.jsonl", '\r\n{"query_id": "q", "doc_id": "d", "score": true}\r\n', "2: ", "True"),
        ("x.jsonl", '{"query_id": "q", "doc_id": "d", "score": 1}\n[1]', "2: ", "'[1]'"),
    ],
    ids=range(20),
)
def test_a_bad_line_of_a_table_or_of_json_is_named(
    tmp_path: Path, name: str, text: str, start: str, part: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    with pytest.raises(InputError) as caught:
        Run.from_file(path)
    assert str(caught.value).startswith(f"{path}:{start}" if start else str(path))
    assert part in str(caught.value)
    assert "the line is 'row" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blank_lines_of_csv_are_passed_over_or_named_themselves(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(CSV_HEADER + "q,d,1\n\nq,e,2\n")
    try:
        content = Run.from_file(path).to_mapping()
    except InputError as error:
        assert str(error).startswith(f"{path}:3: ")  # noqa: PT017 (either outcome will do)
    else:
        assert content == {"q": {"e": 2.0, "d": 1.0}}


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.jsonl", "x.json"])
@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        (["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
        (["9007199254740993", "2.0"], [2**53 + 1, 2]),
        (["1.0", "-2.0"], [1, -2]),
        (["0.5", "1"], None),
        (["9223372036854775808", "1"], None),
        (["1e999", "1"], None),
    ],
)
def test_grades_are_whole_numbers_of_64_bits_in_every_form(
    tmp_path: Path, name: str, grades: list[str], expected: list[int] | None
) -> None:
    rows = list(zip("de", grades, strict=True))
    path = tmp_path / name
    records = [f'{{"query_id": "q", "doc_id": "{d}", "relevance": {g}}}' for d, g in rows]
    path.write_text(
        {
            "x.txt": "".join(f"q 0 {d} {g}\n" for d, g in rows),
            "x.csv": "query_id,doc_id,relevance\n" + "".join(f"q,{d},{g}\n" for d, g in rows),
            "x.jsonl": "\n".join(records),
            "x.json": f"[{', '.join(records)}]",
        }[name]
    )
    if expected is None:
        with pytest.raises(InputError, match=r"not a whole number|not a finite"):
            Qrels.from_file(path)
    else:
        assert Qrels.from_file(path).mapping == {"q": dict(zip("de", expected, strict=True))}


@pytest.mark.parametrize(
    ("column", "values", "rule"),
    [
        ("score", [1.0, None], "score"),
        ("score", ["1", "2"], "not a number"),
        ("score", [True, False], "not numbers"),
        ("query_id", [1, 2], "ids are strings"),
        ("doc_id", ["d", None], "doc_id"),
        ("doc_id", ["d", 7], "ids are strings"),
    ],
)
def test_a_frame_of_pandas_with_other_columns_is_refused(
    column: str, values: list[Any], rule: str
) -> None:
    pandas = pytest.importorskip("pandas")
    columns: dict[str, Any] = {"query_id": ["q", "q"], "doc_id": ["d", "e"], "score": [1.0, 2.0]}
    with pytest.raises(InputError, match=rule):
        Run.from_frame(pandas.DataFrame({**columns, column: values}))


@pytest.mark.parametrize("kind", ["Float64", "Int64", "float32", "float16", "object"])
def test_numbers_of_pandas_are_read_whatever_their_type(kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    columns = {"query_id": ["q", "q"], "doc_id": ["d", "e"]}
    scores = pandas.Series([1.0, 2.0], dtype=kind)
    run = Run.from_frame(pandas.DataFrame({**columns, "score": scores}))
    assert run.to_mapping() == {"q": {"e": 2.0, "d": 1.0}}


@pytest.mark.parametrize(
    "row", [("q", "e", 1.0, 5), ("q", "e"), ("q", "e", np.longdouble("1e4000")), "abc", None, 7]
)
def test_a_record_unlike_the_first_is_refused(row: Any) -> None:
    with pytest.raises(InputError, match="record"):
        Run.from_records([("q", "d", 1.0), row])


def test_a_first_query_that_begins_with_a_byte_order_mark_is_refused_or_comes_back(
    tmp_path: Path,
) -> None:
    mapping = {"\ufeffq": {"d": 1.0}}
    path = tmp_path / "x.trec"
    try:
        Run.from_mapping(mapping).to_file(path)
    except InputError:
        return
    assert Run.from_file(path).to_mapping() == mapping


def test_a_damaged_parquet_file_is_read_or_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    rows = [(f"q{row % 3}", f"d{row}", row / 7) for row in range(40)]
    frame(rows, "score").write_parquet(path)
    whole = path.read_bytes()
    rng = random.Random(5)
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        place = rng.randrange(len(data))
        if rng.random() < 0.5:
            data[place] ^= rng.randrange(1, 256)
        else:
            del data[place : place + rng.randrange(1, 9)]
        path.write_bytes(data)
        try:
            Run.from_file(path)
        except InputError as error:
            refused += 1
            assert str(error).startswith(f"{path}")  # noqa: PT017 (either outcome will do)
            assert "\n" not in str(error)  # noqa: PT017
    assert refused > 50
