"""Embeddings: written as they are made, resumed to the same bytes, made once, checked."""

from __future__ import annotations

import errno
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array, random_array

from retrieval_eval.datasets import Dataset
from retrieval_eval.datasets.base import DatasetVectors
from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError
from retrieval_eval.pipeline import embed
from retrieval_eval.pipeline.shards import Growing, read_embeddings
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store

SLOW = '''
"""An encoder that takes its time."""

import time

import numpy as np
from scipy.sparse import csr_array

from retrieval_eval.encoders.base import Encoder


class Slow(Encoder):
    name = "slow"
    batch_texts = 7
    commit_s = 0.0

    def encode(self, texts, kind):
        time.sleep(0.002)
        print("a batch", flush=True)
        rows = [np.random.default_rng(abs(int(text))).normal(size=8) for text in texts]
        return np.array(rows, dtype=np.float32)


class SlowSparse(Slow):
    name = "slow-sparse"
    sparse = True

    def encode(self, texts, kind):
        dense = super().encode(texts, kind)
        return csr_array(np.where(dense > 0, dense, 0))
'''

JOB = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import slow
from retrieval_eval.datasets import Dataset
from retrieval_eval.pipeline import embed
from retrieval_eval.qrels import Qrels
from retrieval_eval.store import Store

n = 1500
dataset = Dataset(
    "numbers",
    [f"d{i}" for i in range(n)],
    [str(i) for i in range(n)],
    ["q"],
    ["7"],
    Qrels.from_mapping({"q": {"d7": 1}}),
)
found = embed(Store(Path(sys.argv[2])), dataset, getattr(slow, sys.argv[3])())
print(found.documents_key, flush=True)
"""


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    (tmp_path / "slow.py").write_text(SLOW)

    def start(store: Path, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", JOB, str(tmp_path), str(store), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def bytes_below(folder: Path) -> dict[str, bytes]:
    names = [path for path in folder.rglob("*") if path.is_file() and path.name != "artefact.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.split()[-1]


@pytest.mark.parametrize(("name", "times"), [("Slow", 8), ("SlowSparse", 3)])
def test_an_encode_killed_at_random_moments_ends_in_the_same_bytes(
    tmp_path: Path, job: Callable[..., subprocess.Popen[str]], name: str, times: int
) -> None:
    key = finish(job(tmp_path / "whole", name))
    whole = bytes_below(tmp_path / "whole" / "embeddings" / key)
    draw = random.Random(13)
    kills = 0
    for _ in range(times):
        with job(tmp_path / "killed", name) as process:
            assert process.stdout is not None
            for _ in range(draw.randint(1, 4)):
                assert process.stdout.readline() == "a batch\n"
            time.sleep(draw.random() * 0.004)
            kills += process.poll() is None
            process.kill()
    assert kills == times
    (notes,) = (tmp_path / "killed" / "tmp").glob("*/progress.json")
    assert 5 < json.loads(notes.read_text())["rows"] < 1500
    assert finish(job(tmp_path / "killed", name)) == key
    assert bytes_below(tmp_path / "killed" / "embeddings" / key) == whole
    assert list((tmp_path / "killed" / "tmp").iterdir()) == []


def test_processes_that_ask_for_the_same_embeddings_encode_once(
    tmp_path: Path, job: Callable[..., subprocess.Popen[str]]
) -> None:
    text = SLOW.replace("time.sleep(0.002)", f"open({str(tmp_path / 'log')!r}, 'a').write('x')")
    (tmp_path / "slow.py").write_text(text)
    started = [job(tmp_path / "store", "Slow") for _ in range(3)]
    assert len({finish(process) for process in started}) == 1
    assert len((tmp_path / "log").read_text()) == -(-1500 // 7) + 1


# in this process


class Table(Encoder):
    """Looks vectors up; fails or counts as told."""

    name: ClassVar[str] = "table"
    batch_texts = 10
    commit_s = 0.0

    def __init__(self, fail_at: int | None = None, vectors: Any = None) -> None:
        super().__init__()
        self.fail_at = fail_at
        self.vectors = np.random.default_rng(3).normal(size=(95, 4)) if vectors is None else vectors
        self.asked: list[int] = []
        self.closed = 0

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        rows = [int(text) for text in texts]
        self.asked += rows
        if self.fail_at in rows:
            raise RuntimeError("the power went")
        found: NDArray[np.float32] = self.vectors[rows].astype(np.float32)
        return found

    def usage(self) -> dict[str, float]:
        return {"tokens": 2 * len(self.asked)}

    def close(self) -> None:
        self.closed += 1


def numbers(n: int = 95, **changes: Any) -> Dataset:
    parts: dict[str, Any] = {
        "name": "numbers",
        "document_ids": [f"d{i}" for i in range(n)],
        "documents": [str(i) for i in range(n)],
        "query_ids": ["q1", "q2"],
        "queries": ["1", "2"],
        "qrels": Qrels.from_mapping({"q1": {"d1": 1}, "q2": {"d2": 1}}),
    }
    return Dataset(**parts | changes)


def test_what_was_encoded_before_a_failure_is_not_encoded_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Table(fail_at=57)
    with pytest.raises(RuntimeError, match="the power went"):
        embed(store, numbers(), first)
    second = Table()
    told: list[int] = []
    found = embed(store, numbers(), second, told.append)
    assert second.asked == [*range(50, 95), 1, 2]
    assert sum(told) == 95 + 2
    np.testing.assert_array_equal(found.documents, second.vectors.astype(np.float32))
    # What failed was asked for, and its cost counts: 60 texts, then 45, then 2.
    assert found.facts == {"tokens": 2 * (60 + 45 + 2)}
    assert (first.closed, second.closed) == (1, 1)


def test_embeddings_that_are_there_are_found_without_encoding(tmp_path: Path) -> None:
    embed(Store(tmp_path), numbers(), Table())
    again = Table()
    found = embed(Store(tmp_path), numbers(), again)
    assert (again.asked, again.closed) == ([], 0)
    assert found.documents_s > 0


def test_a_text_that_changed_is_encoded_anew(tmp_path: Path) -> None:
    first = embed(Store(tmp_path), numbers(), Table())
    texts = [str(i) for i in range(95)]
    second = embed(Store(tmp_path), numbers(documents=[*texts[:-1], "1"]), Table())
    assert second.documents_key != first.documents_key
    assert second.queries_key == first.queries_key


def test_float16_halves_the_file_and_rounds_the_documents_alone(tmp_path: Path) -> None:
    table = Table()
    found = embed(Store(tmp_path), numbers(), table, stored="float16")
    assert (found.documents.dtype, found.queries.dtype) == (np.float16, np.float32)
    np.testing.assert_array_equal(found.documents, table.vectors.astype(np.float32).astype("f2"))
    assert found.documents_key != embed(Store(tmp_path), numbers(), Table()).documents_key


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("written", ["half", "whole"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()])
def test_a_write_that_is_cut_short_does_not_shift_what_follows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    written: str,
    sparse: bool,
) -> None:
    class Kept(Table):
        def encode(self, texts: Sequence[str], kind: Kind) -> Any:
            dense = super().encode(texts, kind)
            return csr_array(np.where(dense > 0, dense, 0)) if sparse else dense

    monkeypatch.setattr(Kept, "sparse", sparse)
    whole = embed(Store(tmp_path / "whole"), numbers(), Kept())
    write, count = Growing._write, 0

    def cut_short(self: Growing, name: str, values: NDArray[Any]) -> None:
        nonlocal count
        count += 1
        if count == 5:
            write(self, name, values if written == "whole" else values[: len(values) // 2])
            raise error
        write(self, name, values)

    with monkeypatch.context() as patched:
        patched.setattr(Growing, "_write", cut_short)
        with pytest.raises(type(error)):
            embed(Store(tmp_path / "cut"), numbers(), Kept())
    found = embed(Store(tmp_path / "cut"), numbers(), Kept())
    folders = [
        tmp_path / name / "embeddings" / one.documents_key
        for name, one in (("whole", whole), ("cut", found))
    ]
    assert bytes_below(folders[0]) == bytes_below(folders[1])


def test_a_vector_below_float16_is_refused_rather_than_lost(tmp_path: Path) -> None:
    vectors = np.full((95, 4), 1e-9)
    vectors[:33] = 1
    with pytest.raises(InputError, match=r"row 33: .* below the range of float16"):
        embed(Store(tmp_path), numbers(), Table(vectors=vectors), stored="float16")


def test_a_value_beyond_float16_is_refused_naming_the_row(tmp_path: Path) -> None:
    vectors = np.ones((95, 4))
    vectors[33, 2] = 70_000
    with pytest.raises(InputError, match=r"row 33: .* beyond the range of float16"):
        embed(Store(tmp_path), numbers(), Table(vectors=vectors), stored="float16")


@pytest.mark.parametrize(("value", "rule"), [(np.nan, "NaN or infinity"), (0.0, "all zero")])
def test_a_bad_vector_is_refused_naming_the_document_and_its_row(
    tmp_path: Path, value: float, rule: str
) -> None:
    vectors = np.ones((95, 4))
    vectors[33] = value
    with pytest.raises(InputError, match=rf"'d33' \(row 33\): .*{rule}"):
        embed(Store(tmp_path), numbers(), Table(vectors=vectors))


def test_too_few_vectors_are_refused(tmp_path: Path) -> None:
    class Short(Table):
        def stream(self, *args: Any, **options: Any) -> Iterator[Any]:
            yield from list(super().stream(*args, **options))[:-1]

    with pytest.raises(InputError, match="90 vectors for 95 texts"):
        embed(Store(tmp_path), numbers(), Short())


def test_a_dataset_of_vectors_needs_no_texts_and_refuses_encoders_of_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)

    class Rows:
        def __init__(self, n: int) -> None:
            self.vectors = rng.normal(size=(n, 3)).astype(np.float32)
            self.n, self.d = n, 3

        def read(self, start: int, stop: int) -> NDArray[np.float32]:
            return self.vectors[start:stop]

    vectors = DatasetVectors(Rows(95), Rows(2), "a", "b")
    dataset = numbers(documents=[""] * 95, queries=["", ""], vectors=vectors)
    with pytest.raises(InputError, match=r"has vectors and no texts.*'precomputed'"):
        embed(Store(tmp_path), dataset, Table())
    assert dataset.corpus_fingerprint != numbers(documents=[""] * 95).corpus_fingerprint


# the files


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_files_that_outgrew_the_notes_are_cut_back(tmp_path: Path, cut: int) -> None:
    rows = random_array((60, 50), density=0.1, format="csr", rng=np.random.default_rng(1))
    rows = csr_array(rows.astype(np.float32))
    writer = Growing(tmp_path, 60, "float32", commit_s=1e9)
    writer.append(rows[:cut])
    writer.commit()
    writer.append(rows[cut : cut + 5])
    writer.close()  # written, but never noted
    again = Growing(tmp_path, 60, "float32", commit_s=1e9)
    assert again.done == cut
    again.append(rows[cut:])
    meta = again.finish()
    found = read_embeddings(tmp_path, meta)
    assert (found != rows).nnz == 0
    assert found.shape == (60, 50)


@pytest.mark.parametrize("damage", ["notes", "short", "gone"])
def test_work_that_cannot_be_trusted_is_begun_again(tmp_path: Path, damage: str) -> None:
    writer = Growing(tmp_path, 4, "float32", commit_s=0.0)
    writer.append(np.ones((2, 3), dtype=np.float32))
    writer.close()
    file = tmp_path / "vectors.npy"
    if damage == "notes":
        (tmp_path / "progress.json").write_text('{"rows": 2')
    elif damage == "short":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.unlink()
    assert Growing(tmp_path, 4, "float32", commit_s=0.0).done == 0
    assert list(tmp_path.iterdir()) == []
