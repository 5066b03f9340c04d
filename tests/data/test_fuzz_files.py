"""Files with random damage: a right result, or one error that names file, line and rule."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval import Evaluator, Qrels, Run
from retrieval_eval.errors import InputError
from retrieval_eval.textfiles import pack_bytes

RUN = b"""# a comment
q1 Q0 d1 1 3.5 tag
q1 Q0 d2 2 3.5 tag
q1 Q0 d3 3 1e-3 tag
q1 Q0 d4 4 -2 tag

q2 Q0 d1 1 0.25 tag
q2 Q0 \xc3\xa9 2 .5 tag
q2 Q0 007 3 +1 tag
q3\tQ0\td1\t1\t9\ttag
q3 Q0  d9 2 8 tag
q3 Q0 d2 3 8 tag\r
"""
QRELS = b"""q1 0 d1 1
q1 0 d3 0
q1 0 d4 2
q2 0 007 1
q2 0 \xc3\xa9 -1
# another comment
q3\t0\td2\t3
q3 0 d5 1\r

q4 0 d1 0
"""
MEASURES = ["nDCG@10", "AP", "RR@10", "R@100", "Bpref", "Judged@10", "P@5", "Rprec", "IPrec@0.5"]

# what is put into, or in place of, a piece of a file
PIECES = [
    *(b"nan", b"inf", b"-inf", b"1e999", b"-0", b"0x1", b"1_0", b"", b" ", b"\t", b"\r\n", b"\n"),
    *(b"\r", b"\0", b"\x1c", b"\xff", b"\xc3", b"\xc2\xa0", b"\xe3\x80\x80", b"\xef\xbb\xbf", b"#"),
    *(b'"', b"'", b",", b"9" * 25, b"1.5", b"2.0", b"1e5", b"q1", b"d1", b"Q0", b"-1", b"- 1"),
    *("\uff11".encode(), b"\x0b", b"\x0c", b"\x85", b"True", b"None", b"q1 Q0 d1 1 3.5 tag\n"),
]


def mutate(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        what = rng.randrange(9)
        place = rng.randrange(len(lines)) if lines else 0
        if not lines or what == 0:
            lines.insert(place, rng.choice(PIECES))
        elif what == 1:
            lines.insert(place, lines[rng.randrange(len(lines))])
        elif what == 2:
            del lines[place]
        elif what == 3:
            other = rng.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        elif what == 4:
            fields = re.split(rb"(\s+)", lines[place])
            fields[rng.randrange(len(fields))] = rng.choice(PIECES)
            lines[place] = b"".join(fields)
        elif what == 5:
            joined = bytearray(b"".join(lines))
            if joined:
                joined[rng.randrange(len(joined))] = rng.randrange(256)
            lines = bytes(joined).splitlines(keepends=True)
        elif what == 6:
            joined = bytearray(b"".join(lines))
            at = rng.randrange(len(joined) + 1)
            joined[at:at] = rng.choice(PIECES)
            lines = bytes(joined).splitlines(keepends=True)
        elif what == 7:
            joined = bytearray(b"".join(lines))
            at = rng.randrange(len(joined) + 1)
            del joined[at : at + rng.randrange(1, 9)]
            lines = bytes(joined).splitlines(keepends=True)
        else:
            whole = b"".join(lines)
            lines = whole[: rng.randrange(len(whole) + 1)].splitlines(keepends=True)
    return b"".join(lines)


NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def plain_reading(data: bytes, columns: int) -> dict[str, dict[str, float]] | int | None:
    """Read line by line, without the package: the content, the number of a bad line, or None.

    None stands for a file without any line; the number is that of the first line that breaks a
    rule of lines, or else of the first that repeats a pair.
    """
    content: dict[str, dict[str, float]] = {}
    again: int | None = None
    data = data.removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(data.split(b"\n"), start=1):
        fields = line.split()
        if not fields or fields[0].startswith(b"#"):
            continue
        try:
            line.decode()
        except UnicodeDecodeError:
            return number
        value = fields[4 if columns == 6 else -1] if len(fields) == columns else b""
        if not NUMBER.fullmatch(value) or not math.isfinite(float(value)):
            return number
        if columns == 4 and (not re.fullmatch(rb"[+-]?[0-9]+(\.0*)?", value)):
            return number
        if columns == 4 and not -(2**63) <= int(value.split(b".")[0]) < 2**63:
            return number
        scored = content.setdefault(fields[0].decode(), {})
        document = fields[2].decode()
        if document in scored and again is None:
            again = number
        scored.setdefault(document, float(value))
    if again is not None:
        return again
    return content or None


Check = Callable[[Path, bytes], None]


def check_run(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    expected = plain_reading(data, 6)
    try:
        run = Run.from_file(path)
    except InputError as error:
        assert_named(error, path, expected, data)
        return
    assert isinstance(expected, dict), data
    assert {query: dict(scored) for query, scored in run.to_mapping().items()} == expected
    for scored in run.to_mapping().values():
        pairs = [(score, document.encode()) for document, score in scored.items()]
        assert pairs == sorted(pairs, reverse=True)
    means = EVALUATOR.evaluate(run).means
    assert all(0 <= mean <= 1 for mean in means.values()), means


def check_qrels(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    expected = plain_reading(data, 4)
    try:
        qrels = Qrels.from_file(path)
    except InputError as error:
        assert_named(error, path, expected, data)
        return
    assert isinstance(expected, dict), data
    assert qrels.mapping == expected
    means = Evaluator(qrels, MEASURES).evaluate(GOOD_RUN).means
    assert all(0 <= mean <= 1 for mean in means.values()), means


def assert_named(
    error: InputError, path: Path, expected: dict[str, dict[str, float]] | int | None, data: bytes
) -> None:
    message = str(error)
    if expected is None:
        assert message.startswith(f"{path}: the "), (message, data)
        return
    assert isinstance(expected, int), (message, data)
    line = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")[expected - 1].removesuffix(b"\r")
    assert message.startswith(f"{path}:{expected}: "), (message, data)
    assert "\n" not in message
    if line.isascii() and b"\0" not in line:
        shown = line.decode()
        shown = shown if len(shown) <= 80 else shown[:80] + "..."
        assert message.endswith(f"; the line is {shown!r}"), (message, data)


EVALUATOR = Evaluator(
    {"q1": {"d1": 1, "d3": 0, "d4": 2}, "q2": {"007": 1}, "q3": {"d2": 3}, "q4": {"d1": 0}},
    MEASURES,
)
GOOD_RUN = Run.from_mapping(
    {"q1": {"d1": 1.0, "d2": 1.0, "d3": 0.5}, "q2": {"007": 2.0, "é": 3.0}, "q3": {"d5": 1.0}}
)


def attack(folder: Path, mutations: int, seed: int) -> None:
    rng = random.Random(seed)
    outcomes = {"read": 0, "refused": 0}
    for number in range(mutations):
        check, data = [(check_run, RUN), (check_qrels, QRELS)][number % 2]
        damaged = mutate(data, rng)
        columns = 6 if check is check_run else 4
        outcomes["read" if isinstance(plain_reading(damaged, columns), dict) else "refused"] += 1
        check(folder / "damaged.txt", damaged)
    assert min(outcomes.values()) > mutations / 10  # both happen, so both are tested


def test_undamaged_files_are_read(tmp_path: Path) -> None:
    check_run(tmp_path / "run.txt", RUN)
    check_qrels(tmp_path / "qrels.txt", QRELS)
    assert isinstance(plain_reading(RUN, 6), dict)
    assert isinstance(plain_reading(QRELS, 4), dict)


def test_1000_damaged_files_are_read_right_or_refused_by_line(tmp_path: Path) -> None:
    attack(tmp_path, 1000, seed=1)


@pytest.mark.parametrize("size", [7, 40, 100])
def test_blocks_make_no_difference_to_damaged_files(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval_eval.formats.trec._BLOCK_BYTES", size)
    attack(tmp_path, 200, seed=size)


@pytest.mark.slow
def test_20000_damaged_files_are_read_right_or_refused_by_line(tmp_path: Path) -> None:
    attack(tmp_path, 20_000, seed=2)


def damaged_text(text: str, rng: random.Random) -> str:
    data = mutate(text.encode(), rng)
    return data.decode("utf-8", "replace")


JSONL = "".join(
    f'{{"query_id": "{q}", "doc_id": "{d}", "score": {s}}}\n'
    for q, d, s in [("q1", "d1", 3.5), ("q1", "d2", 3), ("q2", "007", -1e-3), ("q3", "d1", 0)]
)
CSV = 'query_id,doc_id,score\nq1,d1,3.5\nq1,"d2, x",3\nq2,007,-1e-3\nq3,d1,0\n'
JSON = '{"q1": {"d1": 3.5, "d2": 3},\n "q2": {"007": -1e-3},\n "q3": {"d1": 0}}\n'


Expected = dict[str, dict[str, float]] | set[int]


def whole_lines(data: bytes) -> list[str] | set[int]:
    """Decode the lines of a file, or give the numbers of those that are no UTF-8."""
    lines, bad = [], set()
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            lines.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            bad.add(number)
    return bad or lines


def strict_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def constant(text: str) -> float:
        raise ValueError(text)

    return json.loads(text, object_pairs_hook=unique, parse_constant=constant)


def is_score(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


def gather(rows: list[tuple[int, str, str, float]]) -> Expected:
    """Put rows together; the numbers of those that repeat a pair, if there are any."""
    content: dict[str, dict[str, float]] = {}
    again = set()
    for number, query, document, score in rows:
        scored = content.setdefault(query, {})
        if document in scored:
            again.add(number)
        scored[document] = float(score)
    return {min(again)} if again else content


# damage may make one of these of a column's name; which counts then is not tested here
OTHER_NAMES = {"query", "qid", "q_id", "docid", "did", "sim", "query-id"}


def plain_json_lines(data: bytes) -> Expected | None:
    lines = whole_lines(data)
    if isinstance(lines, set):
        return set(range(1, data.count(b"\n") + 2))
    rows, bad = [], set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = strict_json(line)
            if isinstance(record, dict) and OTHER_NAMES & set(record):
                return None
            query, document, score = (record[key] for key in ("query_id", "doc_id", "score"))
        except (ValueError, KeyError, TypeError):
            bad.add(number)
            continue
        if not (isinstance(query, str) and isinstance(document, str) and is_score(score)):
            bad.add(number)
        rows.append((number, query, document, score))
    return bad or gather(rows)


def plain_json(data: bytes) -> Expected:
    anywhere = set(range(1, data.count(b"\n") + 2))
    lines = whole_lines(data)
    if isinstance(lines, set):
        return lines
    try:
        content = strict_json("\n".join(lines))
    except ValueError:
        return anywhere
    if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
        return anywhere
    values = [value for one in content.values() for value in one.values()]
    if not values or not all(map(is_score, values)):
        return anywhere
    return {
        query: {document: float(score) for document, score in scored.items()}
        for query, scored in content.items()
    }


CSV_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\n]*))(,|\r?\n|\Z)')


def csv_table(text: str) -> list[list[str | None]] | None:
    """Split CSV by its grammar; None where readers differ: blank lines, stray quotes, bare CR."""
    table: list[list[str | None]] = [[]]
    place = 0
    while place < len(text):
        found = CSV_FIELD.match(text, place)
        if not found:
            return None
        quoted, plain, end = found.groups()
        if quoted is None:
            plain = plain if end == "," else plain.removesuffix("\r")
            if "\r" in plain:
                return None
        table[-1].append((plain or None) if quoted is None else quoted.replace('""', '"'))
        place = found.end()
        if end != ",":
            if table[-1] == [None]:
                return None
            table.append([])
        elif place == len(text):
            table[-1].append(None)
    return table


def plain_csv(data: bytes) -> Expected | None:
    anywhere = set(range(1, data.count(b"\n") + 2))
    if isinstance(whole_lines(data), set):
        return anywhere
    table = csv_table(data.removeprefix(b"\xef\xbb\xbf").decode())
    if table is None or OTHER_NAMES & set(table[0]):
        return None
    header, *rows = table
    names = ("query_id", "doc_id", "score")
    if len(set(header)) != len(header) or not set(names) <= set(header):
        return anywhere
    read = []
    for row in filter(None, rows):
        query, document, score = ([*row, *header][header.index(name)] for name in names)
        if len(row) != len(header) or not query or not document or not score:
            return anywhere
        if not NUMBER.fullmatch(score.encode()) or not math.isfinite(float(score)):
            return anywhere
        read.append((0, query, document, float(score)))
    content = gather(read)
    return content if isinstance(content, dict) and content else anywhere


FORMS: dict[str, tuple[str, Callable[[bytes], Expected | None]]] = {
    "jsonl": (JSONL, plain_json_lines),
    "csv": (CSV, plain_csv),
    "json": (JSON, plain_json),
}


def attack_form(path: Path, form: str, mutations: int, raw: bool, seed: int) -> None:
    text, plainly = FORMS[form]
    rng = random.Random(f"{form}{raw}{seed}")
    outcomes = {"read": 0, "refused": 0}
    for _ in range(mutations):
        data = mutate(text.encode(), rng) if raw else damaged_text(text, rng).encode()
        expected = plainly(data)
        path.write_bytes(data)
        try:
            run = Run.from_file(path)
        except InputError as error:
            outcomes["refused"] += 1
            message = str(error)
            assert "\n" not in message
            assert not isinstance(expected, dict) or not expected, (message, data)
            named = re.match(
                rf"{re.escape(str(path))}(?::([0-9]+))?(?:: |, record [0-9]+: )", message
            )
            assert named, (message, data)
            if named[1] and expected is not None:
                assert int(named[1]) in expected, (message, data)
            elif form == "jsonl":
                assert not expected, (message, data)
            continue
        outcomes["read"] += 1
        if isinstance(expected, dict):
            assert run.to_mapping() == expected, data
        else:
            assert expected is None, data
        assert all(0 <= mean <= 1 for mean in EVALUATOR.evaluate(run).means.values())
    assert min(outcomes.values()) > mutations / 20


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_other_damaged_forms_are_read_right_or_refused_by_line(
    tmp_path: Path, form: str, raw: bool
) -> None:
    attack_form(tmp_path / f"damaged.{form}", form, 200, raw, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_many_other_damaged_forms_are_read_right_or_refused_by_line(
    tmp_path: Path, form: str, raw: bool
) -> None:
    attack_form(tmp_path / f"damaged.{form}", form, 4000, raw, seed=2)


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv"])
def test_damage_to_a_packed_file_is_named_or_does_no_harm(
    tmp_path: Path, suffix: str, packing: str
) -> None:
    rng = random.Random(suffix + packing)
    whole = {".txt": RUN, ".jsonl": JSONL.encode(), ".csv": CSV.encode()}[suffix]
    path = tmp_path / f"whole{suffix}"
    path.write_bytes(whole)
    content = Run.from_file(path).to_mapping()
    packed = pack_bytes(whole, packing)
    path = tmp_path / f"damaged{suffix}{packing}"
    refused = 0
    for _ in range(100):
        path.write_bytes(mutate(packed, rng))
        try:
            run = Run.from_file(path)
        except InputError as error:
            refused += 1
            message = str(error)
            assert message.startswith(f"{path}:")
            assert "\n" not in message
        else:
            if packing == ".gz":  # which has a checksum
                assert run.to_mapping() == content
    assert refused > 50
