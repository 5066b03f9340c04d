"""The peak memory of a fresh process: what it grows with, and what happens if there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval_eval.indexes import Index, get_index
from retrieval_eval.pipeline.memory import peak_memory


def peak(folder: Path, n: int) -> int:
    vectors = np.random.default_rng(0).normal(size=(n, 256)).astype(np.float32)
    index: Index = get_index("flat", threads=1).build(vectors)
    folder.mkdir()
    facts = index.write_files(folder)
    found, reason = peak_memory(type(index), folder, facts, vectors[:3], 1)
    assert reason == ""
    assert found is not None
    return found


def test_it_grows_with_the_index(tmp_path: Path) -> None:
    small, large = peak(tmp_path / "small", 100), peak(tmp_path / "large", 100_000)
    megabytes = (large - small) / 2**20
    assert 90 < megabytes < 250  # 98 MiB of vectors, held once or while they are read twice


def test_a_process_that_fails_leaves_it_unmeasured_with_the_reason(tmp_path: Path) -> None:
    index = get_index("flat", threads=1).build(np.eye(4, dtype=np.float32))
    (tmp_path / "empty").mkdir()
    found, reason = peak_memory(type(index), tmp_path / "empty", index._facts(), np.eye(4), 1)
    assert found is None
    assert reason.startswith("peak memory: a fresh process could not search the index: ")


def test_a_system_that_does_not_tell_leaves_it_unmeasured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    index = get_index("flat", threads=1).build(np.eye(4, dtype=np.float32))
    found, reason = peak_memory(type(index), tmp_path, {}, np.eye(4), 1)
    assert (found, reason) == (None, "this system does not tell a process its peak memory")
