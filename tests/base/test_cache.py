"""Looking after a store, from Python and by the verb."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval_eval.cache import damaged, entries, prune
from retrieval_eval.errors import InputError
from retrieval_eval.store import Store, digest, locked

Cli = Callable[..., tuple[int, str, str]]


def fill(store: Store, *names: str, size: int = 1000) -> dict[str, Path]:
    folders = {}
    for name in names:
        kind, number = name.split("-")

        def make(folder: Path) -> dict[str, object]:
            (folder / "data.bin").write_bytes(bytes(size))
            return {}

        folders[name] = store.get_or_make(kind, {"n": number}, make).folder
    return folders


def age(folder: Path, days: float) -> None:
    then = time.time() - 86400 * days
    os.utime(folder / "artefact.json", (then, then))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def test_what_is_kept_is_listed_by_kind(store: Store, cli: Cli) -> None:
    fill(store, "searches-1", "indexes-1", "searches-2")
    (store.root / "downloads" / "tiny").mkdir(parents=True)
    found = [(one.kind, one.n_bytes > 1000) for one in entries(store)]
    assert found == [
        ("downloads", False),
        ("indexes", True),
        ("searches", True),
        ("searches", True),
    ]
    code, out, err = cli("cache", "ls", "--cache", store.root)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[2:]] == [
        ["downloads", "1"],
        ["indexes", "1"],
        ["searches", "2"],
    ]
    assert str(store.root) in err
    assert len(cli("cache", "ls", "--all", "--cache", store.root)[1].splitlines()) == 6


def test_an_empty_or_missing_cache_is_no_error(store: Store, cli: Cli) -> None:
    assert list(entries(store)) == []
    for verb in ("ls", "verify", "prune"):
        assert cli("cache", verb, "--cache", store.root)[0] == 0
    assert not store.root.exists()


def test_every_damaged_artefact_is_named_and_gives_exit_code_1(store: Store, cli: Cli) -> None:
    folders = fill(store, "searches-1", "indexes-1", "searches-2")
    assert cli("cache", "verify", "--cache", store.root)[0] == 0
    path = folders["indexes-1"] / "data.bin"
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    assert [reason for _, reason in damaged(store)].count(None) == 2
    code, out, err = cli("cache", "verify", "--cache", store.root)
    assert code == 1
    assert out.startswith(f"indexes/{folders['indexes-1'].name}: ")
    assert "3 artefacts checked, 1 damaged" in err
    assert cli("cache", "prune", "--cache", store.root)[1].startswith("indexes/")
    assert cli("cache", "verify", "--cache", store.root)[0] == 0


def test_what_was_unused_longest_goes_first(store: Store) -> None:
    folders = fill(store, "searches-1", "searches-2", "searches-3")
    for number, days in ((1, 3), (2, 9), (3, 5)):
        age(folders[f"searches-{number}"], days)
    each = next(entries(store)).n_bytes
    assert [one.folder for one in prune(store, keep_bytes=2 * each, dry_run=True)] == [
        folders["searches-2"]
    ]
    assert folders["searches-2"].exists()
    gone = prune(store, unused_days=4)
    assert {one.folder for one in gone} == {folders["searches-2"], folders["searches-3"]}
    assert [one.folder for one in entries(store)] == [folders["searches-1"]]


def test_using_an_artefact_keeps_it(store: Store) -> None:
    folders = fill(store, "searches-1")
    age(folders["searches-1"], 9)
    assert store.find("searches", {"n": "1"}) is not None
    assert prune(store, unused_days=4) == []


def test_fetched_files_go_only_if_they_are_named(store: Store) -> None:
    fill(store, "searches-1")
    fetched = store.root / "downloads" / "tiny"
    fetched.mkdir(parents=True)
    (fetched / "tiny.zip").write_bytes(b"x")
    assert [one.kind for one in prune(store, keep_bytes=0)] == ["searches"]
    assert [one.kind for one in prune(store, keep_bytes=0, kinds=["downloads"])] == ["downloads"]
    with pytest.raises(InputError, match="unknown kind 'serches'"):
        prune(store, kinds=["serches"])


def test_unfinished_work_of_today_is_left_to_who_goes_on_with_it(store: Store) -> None:
    fill(store, "searches-1")
    half = store.root / "tmp" / f"searches-{digest({'n': '2'})}"
    half.mkdir()
    (half / "vectors.npy").write_bytes(b"x")
    assert prune(store, keep_bytes=10**9) == []
    for path in (half / "vectors.npy", half):
        os.utime(path, (0, 0))
    lock = store.root / "locks" / half.name
    lock.touch()
    with locked(lock):  # a build that writes nothing for days
        assert prune(store) == []
    assert [one.folder for one in prune(store)] == [half]
    assert not half.exists()


def test_nothing_that_is_not_the_stores_own_is_listed_or_removed(store: Store, cli: Cli) -> None:
    fill(store, "searches-1")
    for name in ("postgresql/base", "tmp/notes", "searches/by-hand", "documents/letters"):
        (store.root / name).mkdir(parents=True)
        (store.root / name / "precious.txt").write_text("precious")
        os.utime(store.root / name / "precious.txt", (0, 0))
        os.utime(store.root / name, (0, 0))
    assert cli("cache", "verify", "--cache", store.root)[0] == 0
    gone = prune(store, unused_days=0, keep_bytes=0)
    assert [one.kind for one in gone] == ["searches"]
    assert len(list(store.root.rglob("precious.txt"))) == 4


def test_another_artefacts_folder_is_damage_to_verify(store: Store, cli: Cli) -> None:
    folders = fill(store, "searches-1", "searches-2")
    shutil.rmtree(folders["searches-1"])
    shutil.copytree(folders["searches-2"], folders["searches-1"])
    code, out, _ = cli("cache", "verify", "--cache", store.root)
    assert code == 1
    assert out.count("\n") == 1
    assert "holds another artefact" in out


def test_damage_is_reported_once(tmp_path: Path) -> None:
    said: list[str] = []
    store = Store(tmp_path, said.append)
    folder = fill(store, "searches-1")["searches-1"]
    assert said == []
    (folder / "data.bin").write_bytes(b"other")
    fill(store, "searches-1")
    fill(store, "searches-1")
    assert said == [f"{folder}: was damaged since it was made, and is made again"]
