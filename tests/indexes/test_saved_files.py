"""Files that were cut, exchanged, flipped or never ours are refused before a library sees them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.indexes import INDEXES, get_index
from retrieval_eval.store import file_digest

N, D = 300, 16
BUILDS: dict[str, dict[str, Any]] = {
    "flat": {},
    "faiss-hnsw": {"M": 8},
    "ivf-pq": {"nlist": 4, "m": 4, "nbits": 4},
    "rabitq": {},
    "binary": {},
    "refine": {"index": {"sq8": {}}},
    "project": {"index": "flat", "d": 8},
    "sharded": {"index": "flat", "shards": 2},
    "insertion-order": {"index": {"faiss-hnsw": {"M": 8}}},
    "faiss": {"factory": "PCA8,IVF4,Flat"},
}
PER_BACKEND = 20  # mutations, so 200 in all


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save each backend's index twice, over other vectors, so that files can be exchanged."""
    rng = np.random.default_rng(4)
    folders = {}
    for name, build in BUILDS.items():
        for copy in ("one", "two"):
            folder = tmp_path_factory.mktemp("saved") / name
            vectors = rng.normal(size=(N, D)).astype(np.float32)
            index = get_index(name, threads=1, **build).build(vectors)
            index.save(folder)
            index.close()
            folders[f"{name}/{copy}"] = folder
    return folders


@pytest.mark.parametrize("name", BUILDS)
def test_the_manifest_says_what_the_files_hold(name: str, saved: dict[str, Path]) -> None:
    manifest = json.loads((saved[f"{name}/one"] / "artefact.json").read_text(encoding="utf-8"))
    facts = manifest["meta"]
    assert (facts["backend"], facts["metric"], facts["seed"]) == (name, "cosine", 0)
    assert (facts["n"], facts["d"]) == (N, D)
    assert facts["stored"] == get_index(name, **BUILDS[name]).stored
    assert facts["parameters"].keys() >= BUILDS[name].keys()
    assert {"python", "faiss-cpu"} <= facts["versions"].keys()
    files = {
        path.relative_to(saved[f"{name}/one"]).as_posix() for path in files_of(saved[f"{name}/one"])
    }
    assert manifest["files"].keys() == files - {"artefact.json"}


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def cut(path: Path, draw: random.Random, _: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content) - 1)])  # more than a last line end


def flip(path: Path, draw: random.Random, _: Path) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content) - 1)] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(content))


def exchange(path: Path, draw: random.Random, other: Path) -> None:
    """Take the same file of an index over other vectors."""
    twin = other / path.name
    candidates = [twin] if twin.is_file() else files_of(other)
    shutil.copyfile(draw.choice(candidates), path)


def foreign(path: Path, draw: random.Random, _: Path) -> None:
    path.write_bytes(draw.choice([b"", b"IxFI", b"\x80\x04}.", draw.randbytes(4096)]))


@pytest.mark.parametrize("name", BUILDS)
def test_mutated_files_are_refused(name: str, saved: dict[str, Path], tmp_path: Path) -> None:
    draw = random.Random(f"mutations of {name}")
    kinds: list[Callable[[Path, random.Random, Path], None]] = [cut, flip, exchange, foreign]
    refused = 0
    cls = INDEXES.load(name)
    cls.load(saved[f"{name}/one"])  # as saved, it loads
    for number in range(PER_BACKEND):
        folder = tmp_path / str(number)
        shutil.copytree(saved[f"{name}/one"], folder)
        path = draw.choice(files_of(folder))
        before = file_digest(path)
        kinds[number % 4](path, draw, saved[f"{name}/two"])
        if file_digest(path) == before:  # the exchanged file was the same
            flip(path, draw, folder)
        with pytest.raises(InputError):
            cls.load(folder)
        refused += 1
    assert refused == PER_BACKEND


def test_a_whole_folder_of_another_backend_is_refused(saved: dict[str, Path]) -> None:
    for name in BUILDS:
        for other in BUILDS:
            if other != name:
                with pytest.raises(InputError, match=f"holds a '{other}' index, not '{name}'"):
                    INDEXES.load(name).load(saved[f"{other}/one"])


def test_the_library_never_sees_a_mutated_file(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import faiss

    folder = tmp_path / "index"
    shutil.copytree(saved["flat/one"], folder)
    (path,) = (path for path in files_of(folder) if path.suffix == ".faiss")
    flip(path, random.Random(1), folder)
    seen = []
    monkeypatch.setattr(faiss, "read_index", lambda *arguments: seen.append(arguments))
    with pytest.raises(InputError, match=r"index\.faiss: content differs from the checksum"):
        INDEXES.load("flat").load(folder)
    assert seen == []
