"""One content in every form: files, frames, records and mappings give the same run and qrels."""

from __future__ import annotations

import gzip
import json
import os
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
from retrieval_eval.formats.columns import QRELS, RUN
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
