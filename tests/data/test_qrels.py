"""Judgments are read as they stand; what cannot be read is refused, naming its place."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_eval.errors import InputError
from retrieval_eval.formats.columns import Duplicates
from retrieval_eval.qrels import Qrels

TREC = "q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 2\n"
BEIR = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td1\t2\n"
MAPPING = {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": 2}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judged.qrels"


def read(path: Path, text: str | bytes) -> Qrels:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Qrels.from_file(path)


def refused(path: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(path, text)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# what is read


@pytest.mark.parametrize("text", [TREC, BEIR])
def test_both_forms_give_the_same_judgments(path: Path, text: str) -> None:
    qrels = read(path, text)
    assert qrels.mapping == MAPPING
    assert len(qrels) == 3
    assert qrels.query_ids == ("q1", "q2")
    assert qrels.document_ids == ("d1", "d2", "d1")  # a column: an id for each judgment
    assert (qrels.query.dtype, qrels.document.dtype) == (np.int32, np.int32)
    assert qrels.grade.dtype == np.int64
    assert qrels.query.tolist() == [0, 0, 1]
    assert qrels.document.tolist() == [0, 1, 2]
    assert qrels.grade.tolist() == [1, 0, 2]


def test_a_path_may_be_given_as_text(path: Path) -> None:
    path.write_text(TREC)
    assert Qrels.from_file(str(path)).mapping == MAPPING


def test_ids_that_look_like_numbers_stay_as_they_are_written(path: Path) -> None:
    qrels = read(path, "007 0 1e3 1\n7 0 1000 2\n07 0 0x10 1\n7.0 0 NaN 1\n1_0 0 True 1\n")
    assert qrels.mapping == {
        "007": {"1e3": 1},
        "7": {"1000": 2},
        "07": {"0x10": 1},
        "7.0": {"NaN": 1},
        "1_0": {"True": 1},
    }


def test_ids_that_look_like_numbers_stay_as_they_are_written_in_the_form_of_beir(
    path: Path,
) -> None:
    qrels = read(path, "query-id\tcorpus-id\tscore\n007\t0001\t1\n7\t1\t1\n")
    assert qrels.mapping == {"007": {"0001": 1}, "7": {"1": 1}}


def test_comments_and_blank_lines_are_passed_over(path: Path) -> None:
    assert read(path, "# made by hand\n\n  \n" + TREC + "\t\n# end\n").mapping == MAPPING


@pytest.mark.parametrize("text", [TREC, BEIR])
def test_windows_line_ends_are_read(path: Path, text: str) -> None:
    assert read(path, text.replace("\n", "\r\n")).mapping == MAPPING


def test_a_last_line_without_an_end_is_read(path: Path) -> None:
    assert read(path, TREC.rstrip("\n")).mapping == MAPPING


@pytest.mark.parametrize("separator", ["\t", "   ", " \t "])
def test_columns_stand_apart_by_any_tabs_and_spaces(path: Path, separator: str) -> None:
    assert read(path, TREC.replace(" ", separator)).mapping == MAPPING


def test_the_second_column_of_trec_qrels_is_ignored(path: Path) -> None:
    text = TREC.replace("q1 0 ", "q1 Q0 ").replace("q2 0 ", "q2 17 ")
    assert read(path, text).mapping == MAPPING


def test_a_byte_order_mark_before_the_header_is_no_part_of_it(path: Path) -> None:
    assert read(path, "\ufeff" + BEIR).mapping == MAPPING


def test_a_byte_order_mark_is_no_part_of_the_first_id(path: Path) -> None:
    assert read(path, "\ufeff" + TREC).mapping == MAPPING


def test_a_query_that_is_called_as_the_header_is_kept_below_it(path: Path) -> None:
    qrels = read(path, BEIR + "query-id\td1\t1\n")
    assert qrels.mapping == {**MAPPING, "query-id": {"d1": 1}}


def test_negative_grades_are_kept(path: Path) -> None:
    assert read(path, "q1 0 d1 -1\nq1 0 d2 -2\nq1 0 d3 +1\n").grade.tolist() == [-1, -2, 1]


def test_a_query_judged_without_a_relevant_document_is_still_judged(path: Path) -> None:
    assert read(path, TREC + "q3 0 d9 0\n").query_ids == ("q1", "q2", "q3")


def test_ids_beyond_ascii_are_kept(path: Path) -> None:
    assert read(path, "frage-ä 0 文書 1\n").mapping == {"frage-ä": {"文書": 1}}


@pytest.mark.parametrize("text", [TREC, BEIR])
def test_compressed_files_are_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "judged.tsv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert Qrels.from_file(path).mapping == MAPPING


def test_a_compressed_file_of_two_members_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "judged.gz"
    first, second = TREC[:20], TREC[20:]
    path.write_bytes(gzip.compress(first.encode()) + gzip.compress(second.encode()))
    assert Qrels.from_file(path).mapping == MAPPING


# what is refused


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("q3 d1 1", 3),
        ("q3 0 d1", 3),
        ("q3 0 d1 1 extra", 5),
        ("q3", 1),
        ("q3 Q0 d1 1 0.5 tag", 6),
        ("q3,0,d1,1", 1),
    ],
)
def test_another_number_of_columns_names_file_line_text_and_rule(
    path: Path, line: str, found: int
) -> None:
    assert refused(path, TREC + "\n" + line + "\n") == (
        f"{path}:5: expected 4 columns (query, iteration, document, grade), found {found}; "
        f"the line is {line!r}"
    )


def test_a_windows_line_end_is_no_part_of_the_line_that_is_shown(path: Path) -> None:
    message = refused(path, TREC.replace("\n", "\r\n") + "q3 d1 1\r\n")
    assert message.endswith("the line is 'q3 d1 1'")


@pytest.mark.parametrize("line", ["q3\t0\td1\t1", "q3\td1", "q 3\td1\t1"])
def test_the_form_of_beir_has_three_columns(path: Path, line: str) -> None:
    message = refused(path, BEIR + line + "\n")
    assert f"{path}:5: expected 3 columns (query-id, corpus-id, score)" in message
    assert repr(line) in message


@pytest.mark.parametrize("grade", ["1.5", "one", "1e3", "nan", "inf", "0x1", "1,", "--1"])
@pytest.mark.parametrize(("before", "columns"), [(TREC, "q3 0 d1"), (BEIR, "q3\td1")])
def test_a_grade_that_is_no_whole_number_is_refused_naming_its_line(
    path: Path, before: str, columns: str, grade: str
) -> None:
    line = f"{columns}{' ' if before is TREC else chr(9)}{grade}"
    number = before.count("\n") + 1
    message = refused(path, f"{before}{line}\n")
    assert message.startswith(f"{path}:{number}: the grade {grade!r} is not a whole number")
    assert message.endswith(f"; the line is {line!r}")


@pytest.mark.parametrize(("text", "grade"), [("2.0", 2), ("-1.", -1), ("+3", 3), ("0.00", 0)])
def test_a_whole_number_may_be_written_with_a_point_or_a_sign(
    path: Path, text: str, grade: int
) -> None:
    assert read(path, f"{TREC}q3 0 d1 {text}\n").mapping["q3"] == {"d1": grade}


@pytest.mark.parametrize("choice", ["error", "first", "max"])
def test_two_grades_for_one_pair_are_an_error_whatever_is_asked_for(
    path: Path, choice: Duplicates
) -> None:
    path.write_text(f"{TREC}q1 0 d1 2\n")
    with pytest.raises(InputError) as caught:
        Qrels.from_file(path, duplicates=choice)
    assert str(caught.value).startswith(f"{path}:4: ")


@pytest.mark.parametrize("choice", ["first", "max"])
def test_a_judgment_repeated_with_its_grade_may_count_once(path: Path, choice: Duplicates) -> None:
    path.write_text(f"{TREC}q1 0 d1 1\n")
    assert Qrels.from_file(path, duplicates=choice).mapping == MAPPING


@pytest.mark.parametrize("grade", ["9223372036854775808", "-9223372036854775809", "9" * 40])
def test_a_grade_too_large_to_hold_is_refused_naming_its_line(path: Path, grade: str) -> None:
    assert refused(path, f"{TREC}q3 0 d1 {grade}\n").startswith(f"{path}:4: ")


@pytest.mark.parametrize("grade", ["1", "2"])
def test_a_pair_judged_twice_is_refused_naming_both_lines(path: Path, grade: str) -> None:
    message = refused(path, f"# c\n{TREC}q1 0 d1 {grade}\n")
    assert message.startswith(f"{path}:5: query 'q1' has document 'd1' twice")
    assert f"first at {path}:2" in message
    assert f"'q1 0 d1 {grade}'" in message


def test_a_pair_judged_twice_is_refused_in_the_form_of_beir(path: Path) -> None:
    message = refused(path, BEIR + "q2\td1\t2\n")
    assert message.startswith(f"{path}:5: query 'q2' has document 'd1' twice")
    assert f"first at {path}:4" in message


def test_ids_that_differ_only_as_text_are_no_duplicates(path: Path) -> None:
    assert len(read(path, "1 0 7 1\n1 0 07 1\n01 0 7 1\n1 0 7.0 1\n")) == 4


def test_bytes_that_are_not_utf8_name_file_and_line(path: Path) -> None:
    message = refused(path, TREC.encode() + "q3 0 dé 1\n".encode("latin-1"))
    assert message.startswith(f"{path}:4: not UTF-8 text")
    assert "q3 0 d" in message


def test_bytes_that_are_not_utf8_in_the_first_line_name_it(path: Path) -> None:
    assert refused(path, b"\xff\xfe" + TREC.encode()).startswith(f"{path}:1: not UTF-8")


def test_a_long_line_is_cut_in_the_message(path: Path) -> None:
    message = refused(path, "q" * 100_000 + "\n")
    assert len(message) < 400 + len(str(path))
    assert "..." in message


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file") as caught:
        Qrels.from_file(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        Qrels.from_file(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "query-id\tcorpus-id\tscore\n"])
def test_a_file_without_a_judgment_is_refused(path: Path, text: str) -> None:
    assert refused(path, text) == f"{path}: the qrels hold no judgment"


def compressed() -> bytes:
    lines = (f"q{row} 0 d{row * 7919 % 1009} {row % 3}\n" for row in range(2000))
    return gzip.compress("".join(lines).encode(), mtime=0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_compressed_file_that_is_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    data = compressed()
    path = tmp_path / "cut.gz"
    assert "cannot be read" in refused(path, data[: int(len(data) * share)])


def test_a_compressed_file_with_any_damage_is_refused(tmp_path: Path) -> None:
    data = compressed()
    path = tmp_path / "damaged.gz"
    for place in range(20, len(data), len(data) // 40):
        damaged = data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]
        refused(path, damaged)


def test_a_plain_file_that_is_called_gz_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "plain.gz", TREC)


# from triples and mappings


def test_triples_keep_the_order_of_first_judgment() -> None:
    qrels = Qrels.from_records([("q2", "b", 1), ("q1", "a", 0), ("q2", "a", 3)])
    assert qrels.query_ids == ("q2", "q1")
    assert qrels.mapping == {"q2": {"b": 1, "a": 3}, "q1": {"a": 0}}


def test_a_pair_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="query 'q1' has document 'a' twice"):
        Qrels.from_records([("q1", "a", 1), ("q2", "a", 1), ("q1", "a", 1)])


@pytest.mark.parametrize("mapping", [{}, {"q1": {}}])
def test_no_judgment_at_all_is_refused(mapping: dict[str, dict[str, int]]) -> None:
    with pytest.raises(InputError, match="no judgment"):
        Qrels.from_mapping(mapping)


@pytest.mark.parametrize("grade", [0.5, 1.7, float("nan")])
def test_a_grade_of_a_mapping_is_a_whole_number_or_refused(grade: object) -> None:
    with pytest.raises(InputError):
        Qrels.from_mapping({"q1": {"a": grade}})  # type: ignore[dict-item]


def test_numpy_grades_are_whole_numbers_too() -> None:
    assert Qrels.from_mapping({"q": {"a": np.int32(2)}}).mapping == {"q": {"a": 2}}  # type: ignore[dict-item]


# parts and keys


def test_some_queries_can_be_kept() -> None:
    qrels = Qrels.from_mapping({**MAPPING, "q3": {"d7": 1}})
    kept = qrels.only_queries(["q3", "q1", "unknown"])
    assert kept.mapping == {"q1": {"d1": 1, "d2": 0}, "q3": {"d7": 1}}
    assert kept.query_ids == ("q1", "q3")
    assert qrels.query_ids == ("q1", "q2", "q3")


def test_keeping_none_of_the_queries_is_refused() -> None:
    with pytest.raises(InputError, match="no judgment"):
        Qrels.from_mapping(MAPPING).only_queries(["q9"])


def test_the_fingerprint_does_not_depend_on_the_order_or_form_of_lines(path: Path) -> None:
    fingerprint = read(path, TREC).fingerprint
    shuffled = "".join(reversed(TREC.splitlines(keepends=True)))
    assert read(path, shuffled).fingerprint == fingerprint
    assert read(path, BEIR).fingerprint == fingerprint
    assert Qrels.from_mapping(MAPPING).fingerprint == fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 2}},
        {"q1": {"d1": 1}, "q2": {"d1": 2, "d2": 0}},
        {"q1": {"d1": 1, "d2": 0}},
        {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": 2, "d3": 0}},
        {"q1": {"d1": 1, "d2": 0}, "q3": {"d1": 2}},
        {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": -2}},
    ],
)
def test_the_fingerprint_changes_with_every_judgment(other: dict[str, dict[str, int]]) -> None:
    assert Qrels.from_mapping(other).fingerprint != Qrels.from_mapping(MAPPING).fingerprint


IDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="\ufeff"),
    min_size=1,
    max_size=8,
).filter(lambda text: not text.startswith("#"))
JUDGED = st.dictionaries(
    IDS,
    st.dictionaries(IDS, st.integers(1 - 2**63, 2**63 - 1), min_size=1, max_size=5),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None, database=None)
@given(mapping=JUDGED, beir=st.booleans(), zipped=st.booleans())
def test_any_mapping_comes_back_from_a_file(
    tmp_path_factory: pytest.TempPathFactory,
    mapping: dict[str, dict[str, int]],
    beir: bool,
    zipped: bool,
) -> None:
    pairs = [(q, d, grade) for q, judged in mapping.items() for d, grade in judged.items()]
    if beir:
        lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{grade}" for q, d, grade in pairs)]
    else:
        lines = [f"{q} 0 {d} {grade}" for q, d, grade in pairs]
    data = "\n".join(lines).encode()
    path = tmp_path_factory.getbasetemp() / ("any.qrels.gz" if zipped else "any.qrels")
    path.write_bytes(gzip.compress(data) if zipped else data)
    qrels = Qrels.from_file(path)
    assert qrels.mapping == mapping
    assert qrels.query_ids == tuple(mapping)
    assert qrels.fingerprint == Qrels.from_mapping(mapping).fingerprint


# real collections


@pytest.mark.parametrize(
    ("name", "split", "judgments", "grades"),
    [
        ("cranfield", "test", 1837, None),
        ("cranfield", "original", 1837, (-1, 4)),
        ("scifact", "test", 339, (1, 1)),
    ],
)
def test_real_qrels_are_read_whole(
    collections: Path, name: str, split: str, judgments: int, grades: tuple[int, int] | None
) -> None:
    path = collections / name / "qrels" / f"{split}.tsv"
    qrels = Qrels.from_file(path)
    lines = [line for line in path.read_text().splitlines()[1:] if line.strip()]
    assert len(qrels) == len(lines) == judgments
    if grades is not None:
        assert (int(qrels.grade.min()), int(qrels.grade.max())) == grades
