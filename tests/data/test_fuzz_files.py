"""Files with random damage: a right result, or one error that names file, line and rule."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_eval import Evaluator, Qrels, Run
from retrieval_eval.errors import InputError

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


@pytest.mark.parametrize(
    ("suffix", "text"), [("jsonl", JSONL), ("csv", CSV), ("json", JSON), ("jsonl.gz", JSONL)]
)
@pytest.mark.parametrize("raw", [False, True])
def test_other_damaged_forms_are_read_or_refused_by_name(
    tmp_path: Path, suffix: str, text: str, raw: bool
) -> None:
    import gzip

    rng = random.Random(f"{suffix}{raw}")
    path = tmp_path / f"damaged.{suffix}"
    outcomes = {"read": 0, "refused": 0}
    for _ in range(250):
        if raw and suffix.endswith(".gz"):
            path.write_bytes(mutate(gzip.compress(text.encode()), rng))
        else:
            data = mutate(text.encode(), rng) if raw else damaged_text(text, rng).encode()
            path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
        message = ""
        try:
            means = EVALUATOR.evaluate(Run.from_file(path)).means
        except InputError as error:
            message = str(error)
        outcomes["refused" if message else "read"] += 1
        if message:
            assert message.startswith(f"{path}:")
            assert "\n" not in message
        else:
            assert all(0 <= mean <= 1 for mean in means.values())
    assert outcomes["refused"] > 20
