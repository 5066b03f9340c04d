"""The store keeps whole artefacts or none, whatever happens while one is made."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.store import Artefact, Store, digest, file_digest, fold_digests, seal, unseal

FIELDS = {"question": "life", "n": 1}
MANIFEST = "artefact.json"


class Maker:
    """Write two files, one of them in a folder, and count how often that was asked for."""

    def __init__(self, text: str = "forty-two") -> None:
        self.text = text
        self.calls = 0

    def __call__(self, folder: Path) -> Mapping[str, Any]:
        self.calls += 1
        assert list(folder.iterdir()) == []
        (folder / "answer.txt").write_text(self.text, encoding="utf-8")
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "data.bin").write_bytes(bytes(range(256)))
        return {"took": 7, "versions": {"numpy": "1"}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


def left_below(folder: Path) -> list[str]:
    """List all files below a folder, and the folders in which nothing is."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() or not any(path.iterdir())
    )


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, "the process ended before it reached the maker"
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


# digests


def test_a_digest_does_not_depend_on_the_order_of_keys_at_any_depth() -> None:
    one = digest({"a": 1, "b": {"x": [1, 2], "y": None}})
    other = digest({"b": {"y": None, "x": [1, 2]}, "a": 1})
    assert one == other
    assert len(one) == 32
    assert set(one) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "other",
    [{"a": 2}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {"b": 1}, {"a": 1, "b": None}, {}],
)
def test_a_digest_changes_with_any_value_or_key(other: dict[str, Any]) -> None:
    assert digest({"a": 1}) != digest(other)


def test_a_digest_depends_on_the_order_of_a_list() -> None:
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})


def test_a_digest_refuses_values_that_no_json_file_can_hold() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest({"a": float("nan")})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["ab"], ["a", "b"]),
        (["a"], ["a", ""]),
        ([""], []),
        (["a", "b"], ["b", "a"]),
        (["a\x00", "b"], ["a", "\x00b"]),
    ],
)
def test_folded_digests_keep_the_boundaries_between_parts(one: list[str], other: list[str]) -> None:
    assert fold_digests(one) != fold_digests(other)


def test_folded_digests_take_text_as_its_utf8_bytes_and_any_iterable() -> None:
    assert fold_digests(["é", "b"]) == fold_digests(part for part in ("é".encode(), b"b"))


def test_folded_digests_take_text_that_has_no_utf8_form() -> None:
    assert fold_digests(["\ud800"]) != fold_digests(["\ud801"])


def test_a_file_digest_is_one_of_its_bytes_alone(tmp_path: Path) -> None:
    for name, data in {"a": b"same", "b": b"same", "c": b"Same"}.items():
        (tmp_path / name).write_bytes(data)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b")
    assert file_digest(tmp_path / "a") != file_digest(tmp_path / "c")


# made once, found again


def test_an_artefact_is_made_once_and_found_with_what_its_maker_recorded(store: Store) -> None:
    make = Maker()
    first = store.get_or_make("answers", FIELDS, make)
    second = Store(store.root).get_or_make("answers", dict(reversed(FIELDS.items())), make)
    found = store.find("answers", FIELDS)
    assert make.calls == 1
    assert (first.fresh, second.fresh) == (True, False)
    assert found == second
    assert (
        first.meta
        == second.meta
        == {
            "took": 7,
            "versions": {"numpy": "1"},
            "fields": FIELDS,
        }
    )
    assert first.key == second.key == digest(FIELDS)
    assert first.folder == second.folder == store.root / "answers" / digest(FIELDS)
    assert first.n_bytes == second.n_bytes == len("forty-two") + 256


def test_nested_files_are_kept_where_the_maker_put_them(store: Store) -> None:
    store.get_or_make("answers", FIELDS, Maker())
    found = store.find("answers", FIELDS)
    assert found is not None
    assert (found.folder / "deep" / "er" / "data.bin").read_bytes() == bytes(range(256))
    assert left_below(found.folder) == ["answer.txt", MANIFEST, "deep/er/data.bin"]


def test_nothing_is_left_in_the_scratch_folder_after_success(store: Store) -> None:
    store.get_or_make("answers", FIELDS, Maker())
    assert list((store.root / "tmp").iterdir()) == []


def test_other_fields_or_another_kind_are_another_artefact(store: Store) -> None:
    store.get_or_make("answers", FIELDS, Maker())
    assert store.find("answers", {**FIELDS, "n": 2}) is None
    assert store.find("questions", FIELDS) is None
    other = store.get_or_make("answers", {**FIELDS, "n": 2}, Maker("other"))
    assert other.fresh
    assert (other.folder / "answer.txt").read_text() == "other"
    still = store.find("answers", FIELDS)
    assert still is not None
    assert (still.folder / "answer.txt").read_text() == "forty-two"


def test_looking_for_an_artefact_writes_nothing(store: Store) -> None:
    assert store.find("answers", FIELDS) is None
    assert not store.root.exists()


def test_an_artefact_without_files_is_still_an_artefact(store: Store) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        return {"nothing": True}

    assert store.get_or_make("answers", FIELDS, make).n_bytes == 0
    assert not store.get_or_make("answers", FIELDS, make).fresh


@pytest.mark.parametrize("kind", [OSError, ValueError, KeyboardInterrupt, InputError])
def test_a_maker_that_raises_leaves_nothing_behind(store: Store, kind: type[BaseException]) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        Maker()(folder)
        raise kind("no more room")

    with pytest.raises(kind, match="no more room"):
        store.get_or_make("answers", FIELDS, make)
    assert set(left_below(store.root)) <= {"tmp", "answers", "locks"}
    assert store.find("answers", FIELDS) is None
    assert store.get_or_make("answers", FIELDS, Maker()).fresh


def test_figures_that_cannot_be_written_down_leave_nothing_behind(store: Store) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        return {**Maker()(folder), "took": float("nan")}

    with pytest.raises(ValueError, match="JSON compliant"):
        store.get_or_make("answers", FIELDS, make)
    assert set(left_below(store.root)) <= {"tmp", "answers", "locks"}


# damage


def flip_a_byte(folder: Path) -> None:
    path = folder / "deep" / "er" / "data.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def cut_a_file(folder: Path) -> None:
    path = folder / "deep" / "er" / "data.bin"
    path.write_bytes(path.read_bytes()[:-1])


def lengthen_a_file(folder: Path) -> None:
    with (folder / "answer.txt").open("ab") as stream:
        stream.write(b"\0")


def remove_a_file(folder: Path) -> None:
    (folder / "answer.txt").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "deep" / "extra.txt").write_text("")


def remove_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def cut_the_manifest(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_bytes(path.read_bytes()[:40])


def swap_two_files(folder: Path) -> None:
    one, other = folder / "answer.txt", folder / "deep" / "er" / "data.bin"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def empty_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]")


DAMAGE = [
    flip_a_byte,
    cut_a_file,
    lengthen_a_file,
    remove_a_file,
    add_a_file,
    swap_two_files,
    remove_the_manifest,
    cut_the_manifest,
    empty_the_manifest,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_artefact_is_not_found_and_made_again(
    store: Store, damage: Callable[[Path], None]
) -> None:
    first = store.get_or_make("answers", FIELDS, Maker())
    damage(first.folder)
    assert store.find("answers", FIELDS) is None
    again = Maker()
    second = store.get_or_make("answers", FIELDS, again)
    assert again.calls == 1
    assert second.fresh
    assert left_below(store.root / "answers") == sorted(
        f"{first.key}/{name}" for name in ("answer.txt", MANIFEST, "deep/er/data.bin")
    )
    assert list((store.root / "tmp").iterdir()) == []
    third = store.find("answers", FIELDS)
    assert third is not None
    assert (third.folder / "answer.txt").read_text() == "forty-two"


@pytest.mark.parametrize("damage", DAMAGE)
def test_unsealing_a_damaged_folder_names_it(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    meta = Maker()(tmp_path)
    seal(tmp_path, meta)
    assert unseal(tmp_path) == (meta, len("forty-two") + 256)
    damage(tmp_path)
    with pytest.raises(InputError) as caught:
        unseal(tmp_path)
    assert str(tmp_path) in str(caught.value)


def flipped_manifests(artefact: Artefact) -> list[bytes]:
    intact = (artefact.folder / MANIFEST).read_bytes()
    return [
        intact[:place] + bytes([intact[place] ^ 1]) + intact[place + 1 :]
        for place in range(len(intact))
    ]


def test_no_flipped_byte_of_a_manifest_stops_the_store(store: Store) -> None:
    artefact = store.get_or_make("answers", FIELDS, Maker())
    stopped: dict[str, str] = {}
    for manifest in flipped_manifests(artefact):
        (artefact.folder / MANIFEST).write_bytes(manifest)
        try:
            store.find("answers", FIELDS)
        except Exception as error:  # noqa: BLE001 (every kind is a failure here)
            stopped[repr(error)] = manifest.decode("latin-1")
    assert stopped == {}


def test_no_flipped_byte_of_a_manifest_changes_the_recorded_figures(store: Store) -> None:
    artefact = store.get_or_make("answers", FIELDS, Maker())
    changed = []
    for manifest in flipped_manifests(artefact):
        (artefact.folder / MANIFEST).write_bytes(manifest)
        try:
            found = store.find("answers", FIELDS)
        except Exception:  # noqa: BLE001, S112 (the test before this one is about those)
            continue
        if found is not None and found.meta != artefact.meta:
            changed.append(found.meta)
    assert changed == []


# other processes

HALF_WAY = """
import sys, time
from pathlib import Path
from retrieval_eval.store import Store

def make(folder):
    (folder / "answer.txt").write_text("forty-")
    Path(sys.argv[2]).touch()
    time.sleep(600)

Store(Path(sys.argv[1])).get_or_make("answers", {"question": "life", "n": 1}, make)
"""


def test_a_process_killed_in_its_maker_leaves_no_artefact_and_the_next_makes_it(
    store: Store, tmp_path: Path
) -> None:
    signal = tmp_path / "half-way"
    with subprocess.Popen([sys.executable, "-c", HALF_WAY, str(store.root), str(signal)]) as child:
        try:
            wait_for(signal, child)
        finally:
            child.kill()
        assert child.wait() == -9
    assert store.find("answers", FIELDS) is None
    assert not (store.root / "answers" / digest(FIELDS)).exists()
    made = store.get_or_make("answers", FIELDS, Maker())
    assert made.fresh
    assert (made.folder / "answer.txt").read_text() == "forty-two"
    assert store.find("answers", FIELDS) is not None


AT_ONCE = """
import errno, fcntl, sys, time
from pathlib import Path
from retrieval_eval.store import Store

def without_locks(stream, operation):
    raise OSError(errno.ENOLCK, "no locks available")

fcntl.flock = without_locks

root, meeting, me, other = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]

def go(number):
    def make(folder):
        (folder / "who.txt").write_text(me * 1000)
        (meeting / f"{me}-{number}").touch()
        deadline = time.monotonic() + 30
        while not (meeting / f"{other}-{number}").exists():
            assert not (meeting / "failed").exists(), "the other process failed"
            assert time.monotonic() < deadline, "the other process never came"
        return {"who": me}

    Store(root).get_or_make("answers", {"number": number}, make)

try:
    for number in range(int(sys.argv[5])):
        go(number)
except BaseException:
    (meeting / "failed").touch()
    raise
"""


def test_on_a_file_system_without_locks_two_processes_succeed_and_one_artefact_remains(
    store: Store, tmp_path: Path
) -> None:
    rounds = 25
    (tmp_path / "meeting").mkdir()
    fixed = [sys.executable, "-c", AT_ONCE, str(store.root), str(tmp_path / "meeting")]
    children = [
        subprocess.Popen([*fixed, *names, str(rounds)], stderr=subprocess.PIPE)
        for names in (("a", "b"), ("b", "a"))
    ]
    complaints = [child.communicate(timeout=60)[1].decode() for child in children]
    assert complaints == ["", ""]
    assert [child.returncode for child in children] == [0, 0]
    for number in range(rounds):
        found = store.find("answers", {"number": number})
        assert found is not None
        assert (found.folder / "who.txt").read_text() == found.meta["who"] * 1000
    assert len(list((store.root / "answers").iterdir())) == rounds
    assert list((store.root / "tmp").iterdir()) == []


def test_whoever_comes_second_uses_the_artefact_of_the_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", without_locks)

    def slow(folder: Path) -> Mapping[str, Any]:
        Store(store.root).get_or_make("answers", FIELDS, Maker("first"))
        return Maker("second")(folder)

    made = store.get_or_make("answers", FIELDS, slow)
    assert (made.folder / "answer.txt").read_text() == "first"
    assert not made.fresh


ONCE = """
import sys, time
from pathlib import Path
from retrieval_eval.store import Store

root, log = Path(sys.argv[1]), Path(sys.argv[2])

def go(number):
    def make(folder):
        with log.open("a") as stream:
            stream.write(f"{number}\\n")
        time.sleep(0.02)
        (folder / "answer.txt").write_text(str(number))
        return {}

    return Store(root).get_or_make("answers", {"number": number}, make)

for number in range(int(sys.argv[3])):
    assert (go(number).folder / "answer.txt").read_text() == str(number)
"""


def test_processes_that_ask_for_the_same_artefacts_at_once_make_each_once(
    store: Store, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", ONCE, str(store.root), str(log), "25"]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    complaints = [child.communicate(timeout=60)[1].decode() for child in children]
    assert complaints == ["", "", ""]
    assert sorted(map(int, log.read_text().split())) == list(range(25))
    assert list((store.root / "locks").iterdir()) == []
    assert list((store.root / "tmp").iterdir()) == []


def test_threads_that_ask_for_the_same_artefact_make_it_once(store: Store) -> None:
    make = Maker()

    def slow(folder: Path) -> Mapping[str, Any]:
        time.sleep(0.05)
        return make(folder)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(store.get_or_make, "answers", FIELDS, slow) for _ in range(8)]
        found = [one.result() for one in asked]
    assert make.calls == 1
    assert sum(one.fresh for one in found) == 1


def test_a_lock_ends_with_the_process_that_held_it(store: Store, tmp_path: Path) -> None:
    signal = tmp_path / "half-way"
    with subprocess.Popen([sys.executable, "-c", HALF_WAY, str(store.root), str(signal)]) as child:
        try:
            wait_for(signal, child)
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(
                    store.get_or_make, "answers", {"question": "life", "n": 1}, Maker()
                )
                time.sleep(0.2)
                assert not asked.done()
                child.kill()
                assert asked.result(timeout=30).fresh
        finally:
            child.kill()


def test_what_a_resumable_maker_wrote_is_there_for_the_next(store: Store) -> None:
    def half(folder: Path) -> Mapping[str, Any]:
        (folder / "answer.txt").write_text("forty-")
        raise KeyboardInterrupt

    def rest(folder: Path) -> Mapping[str, Any]:
        path = folder / "answer.txt"
        path.write_text(path.read_text() + "two")
        return {}

    with pytest.raises(KeyboardInterrupt):
        store.get_or_make("answers", FIELDS, half, resumable=True)
    assert store.find("answers", FIELDS) is None
    made = store.get_or_make("answers", FIELDS, rest, resumable=True)
    assert (made.folder / "answer.txt").read_text() == "forty-two"
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("damaged_before", [False, True])
def test_an_artefact_that_appears_just_before_the_rename_is_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch, damaged_before: bool
) -> None:
    if damaged_before:
        flip_a_byte(store.get_or_make("answers", FIELDS, Maker("old")).folder)

    def without_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", without_locks)
    waiting = [lambda: Store(store.root).get_or_make("answers", FIELDS, Maker("first"))]

    def with_an_interruption(real: Callable[..., None]) -> Callable[..., None]:
        def renamed(*args: Any, **options: Any) -> None:
            if waiting:
                waiting.pop()()
            real(*args, **options)

        return renamed

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, with_an_interruption(getattr(os, name)))
    store.get_or_make("answers", FIELDS, Maker("second"))
    assert waiting == []
    found = store.find("answers", FIELDS)
    assert found is not None
    assert (found.folder / "answer.txt").read_text() in ("first", "second")
    assert len(list((store.root / "answers").iterdir())) == 1
    assert list((store.root / "tmp").iterdir()) == []


# the root


def test_a_root_that_cannot_be_written_to_is_one_clear_error(tmp_path: Path) -> None:
    root = tmp_path / "a-file"
    root.write_text("in the way")
    make = Maker()
    with pytest.raises(RetrievalEvalError) as caught:
        Store(root).get_or_make("answers", FIELDS, make)
    assert str(root) in str(caught.value)
    assert "RETRIEVAL_EVAL_CACHE" in str(caught.value)
    assert make.calls == 0
    assert root.read_text() == "in the way"


def test_the_default_store_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", str(tmp_path / "mine"))
    assert Store.default().root == tmp_path / "mine"
    monkeypatch.delenv("RETRIEVAL_EVAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "retrieval-eval" in Store.default().root.parts
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_is_plain_json_that_names_every_file(store: Store) -> None:
    made = store.get_or_make("answers", FIELDS, Maker())
    manifest = json.loads((made.folder / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["meta"] == made.meta
    assert set(manifest["files"]) == {"answer.txt", "deep/er/data.bin"}
    assert manifest["files"]["deep/er/data.bin"]["bytes"] == 256


def test_an_artefact_that_points_at_something_gone_is_made_again(tmp_path: Path) -> None:
    store, made = Store(tmp_path), []

    def make(folder: Path) -> dict[str, int]:
        made.append(1)
        (folder / "pointer.txt").write_text(str(len(made)), encoding="utf-8")
        return {"number": len(made)}

    def alive(folder: Path, meta: Mapping[str, Any]) -> bool:
        return meta["number"] > 1 and (folder / "pointer.txt").is_file()

    assert store.get_or_make("pointers", {"to": "it"}, make, usable=alive).meta["number"] == 1
    again = store.get_or_make("pointers", {"to": "it"}, make, usable=alive)
    assert (again.meta["number"], again.fresh) == (2, True)
    found = store.get_or_make("pointers", {"to": "it"}, make, usable=alive)
    assert (found.meta["number"], found.fresh, len(made)) == (2, False, 2)
