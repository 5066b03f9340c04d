"""No damaged artefact is ever used: each byte of a small one, many bytes of a larger one."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.sealing import read_signed, seal, signed, unseal
from retrieval_eval.store import Artefact, Store, digest

FIELDS = {"question": "life", "n": 1}
MANIFEST = "artefact.json"


class Bench:
    """A store with one artefact, which is damaged again and again."""

    def __init__(self, root: Path, size: int) -> None:
        self.said: list[str] = []
        self.store = Store(root, self.said.append)
        self.size = size
        self.calls = 0
        self.artefact = self.ask()
        self.intact = self.content()

    def make(self, folder: Path) -> Mapping[str, Any]:
        self.calls += 1
        (folder / "answer.txt").write_text("é: forty-two\n", encoding="utf-8")
        (folder / "deep").mkdir()
        (folder / "deep" / "data.bin").write_bytes(random.Random(7).randbytes(self.size))
        (folder / "empty").touch()
        return {"took": 0.30000000000000004, "name": "é", "versions": {"numpy": "1"}, "k": 1e-07}

    def ask(self) -> Artefact:
        return self.store.get_or_make("answers", FIELDS, self.make)

    def content(self) -> dict[str, bytes]:
        folder = self.artefact.folder
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    def noticed(self) -> bool:
        """Ask again; whether it was made again, to the same content, and reported once."""
        self.said.clear()
        calls = self.calls
        found = self.ask()
        return (
            self.calls == calls + 1
            and found.fresh
            and found.meta == self.artefact.meta
            and self.content() == self.intact
            and self.said == [f"{found.folder}: was damaged since it was made, and is made again"]
        )

    def flip(self, name: str, place: int, mask: int) -> None:
        path = self.artefact.folder / name
        data = bytearray(path.read_bytes())
        data[place] ^= mask
        path.write_bytes(data)


def test_every_single_flipped_byte_is_noticed_made_again_and_reported_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, size=64)
    generator = random.Random(1)
    missed, tried = [], 0
    for name, data in bench.intact.items():
        for place in range(len(data)):
            mask = generator.randrange(1, 256)
            bench.flip(name, place, mask)
            tried += 1
            if not bench.noticed():
                missed.append((name, place, mask))
    assert missed == []
    assert tried == sum(map(len, bench.intact.values())) > 500


def test_seeded_flips_all_over_a_larger_artefact_are_noticed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, size=60_000)
    generator = random.Random(2)
    places = [(name, place) for name, data in bench.intact.items() for place in range(len(data))]
    missed = []
    for name, place in generator.sample(places, 300):
        bench.flip(name, place, 1 << generator.randrange(8))
        if not bench.noticed():
            missed.append((name, place))
    assert missed == []


def test_not_even_a_change_of_a_manifest_to_equal_values_is_taken(tmp_path: Path) -> None:
    # A blank for a line end, 1E-07 for 1e-07, \u00E9 for \u00e9, or another last digit of a
    # number that reads as the same: all would leave the figures as they are.
    bench = Bench(tmp_path, size=8)
    path = bench.artefact.folder / MANIFEST
    equal = missed = 0
    for place in range(len(bench.intact[MANIFEST])):
        for mask in (0x01, 0x20, 0x2A):  # 1 and 0, e and E, a blank and a line end
            data = bytearray(bench.intact[MANIFEST])
            data[place] ^= mask
            with contextlib.suppress(ValueError):
                if json.loads(data) == json.loads(bench.intact[MANIFEST]):
                    equal += 1
                    path.write_bytes(data)
                    missed += bench.store.find("answers", FIELDS) is not None
    assert equal > 20  # so strictness is what finds them
    assert missed == 0


def cut(share: float) -> Callable[[Path, Path], None]:
    def damage(folder: Path, _other: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return damage


def cut_one(name: str) -> Callable[[Path, Path], None]:
    def damage(folder: Path, _other: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-1])

    return damage


def remove(name: str) -> Callable[[Path, Path], None]:
    return lambda folder, _other: (folder / name).unlink()


def swap(name: str) -> Callable[[Path, Path], None]:
    return lambda folder, other: shutil.copyfile(other / name, folder / name) and None


def swap_all(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def grow(name: str) -> Callable[[Path, Path], None]:
    def damage(folder: Path, _other: Path) -> None:
        with (folder / name).open("ab") as stream:
            stream.write(b"\n")

    return damage


DAMAGE: dict[str, Callable[[Path, Path], None]] = {
    "all files emptied": cut(0),
    "all files cut": cut(0.5),
    "a data file cut": cut_one("deep/data.bin"),
    "the manifest cut": cut_one(MANIFEST),
    "a data file longer": grow("deep/data.bin"),
    "an empty file longer": grow("empty"),
    "the manifest longer": grow(MANIFEST),
    "an extra file": lambda folder, _: (folder / "deep" / "extra").touch(),
    "an extra link": lambda folder, _: (folder / "extra").symlink_to(folder / "deep"),
    "an empty file missing": remove("empty"),
    "a data file missing": remove("deep/data.bin"),
    "the manifest missing": remove(MANIFEST),
    "another's data file": swap("answer.txt"),
    "another's data file of the same size": swap("deep/data.bin"),
    "another's manifest": swap(MANIFEST),
    "another's whole folder": swap_all,
    "an empty folder": lambda folder, _: shutil.rmtree(folder) or folder.mkdir(),
    "a folder in place of a file": lambda folder, _: (
        (folder / "empty").unlink() or (folder / "empty").mkdir()
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_other_damage_is_noticed_made_again_and_reported_once(
    tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    bench = Bench(tmp_path, size=64)

    def make(folder: Path) -> Mapping[str, Any]:
        bench.make(folder)
        (folder / "deep" / "data.bin").write_bytes(bytes(64))
        (folder / "answer.txt").write_text("another")
        return {"another": True}

    other = bench.store.get_or_make("answers", {**FIELDS, "n": 2}, make)
    damage(bench.artefact.folder, other.folder)
    assert bench.store.find("answers", FIELDS) is None
    assert bench.noticed()
    assert bench.store.find("answers", {**FIELDS, "n": 2}) is not None
    bench.said.clear()
    assert not bench.ask().fresh
    assert bench.said == []


def test_figures_with_numbers_for_keys_are_found_again(tmp_path: Path) -> None:
    # JSON keys are texts, so 2 sorts before 10 when it is made and after it when it is read.
    store, fields = Store(tmp_path), {"ranks": {2: "a", 10: "b"}}
    made = store.get_or_make("answers", fields, lambda _: {"recall": {2: 0.5, 10: (0.75,)}})
    found = store.get_or_make("answers", fields, lambda _: {"recall": "other"})
    assert not found.fresh
    assert made.meta == found.meta == {"recall": {"2": 0.5, "10": [0.75]}, "fields": {
        "ranks": {"2": "a", "10": "b"}}}  # fmt: skip
    assert digest(fields) == digest(found.meta["fields"])


def test_a_signed_text_reads_back_and_refuses_any_other(tmp_path: Path) -> None:
    text = signed({"a": [1, 2.5, None], "b": {"é": "\ud800"}})
    assert read_signed(text) == {"a": [1, 2.5, None], "b": {"é": "\ud800"}}
    for other in (text + " ", text.replace("1", "2", 1), "[]", "{}", "", '{"a": NaN}'):
        with pytest.raises(ValueError, match=r"."):
            read_signed(other)


def test_a_folder_that_is_whole_but_of_another_key_is_refused(tmp_path: Path) -> None:
    seal(tmp_path, {"fields": FIELDS})
    assert unseal(tmp_path, digest(FIELDS)) == unseal(tmp_path)
    with pytest.raises(InputError, match="holds another artefact"):
        unseal(tmp_path, digest({}))
    seal(tmp_path, {})
    with pytest.raises(InputError, match="no readable manifest"):
        unseal(tmp_path, digest({}))
