"""A store at a URL: several machines share it, and none ever uses what is not whole."""

from __future__ import annotations

import json
import pickle
import platform
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec")

from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402 (after the skip)

from retrieval_eval import objects, remote  # noqa: E402 (after the skip)
from retrieval_eval.cache import damaged, entries, prune  # noqa: E402 (after the skip)
from retrieval_eval.errors import InputError, RetrievalEvalError  # noqa: E402 (after the skip)
from retrieval_eval.remote import RemoteStore, open_store  # noqa: E402 (after the skip)
from retrieval_eval.store import Artefact, Store, digest, file_digest  # noqa: E402 (after the skip)

FIELDS = {"question": "life", "n": 1}
KEY = digest(FIELDS)
MANIFEST = "artefact.json"
Cli = Callable[..., tuple[int, str, str]]


class Maker:
    """Write files below folders, one of them empty, and count how often that was asked for."""

    def __init__(self, text: str = "forty-two", took: float = 7.0) -> None:
        self.text, self.took, self.calls = text, took, 0

    def __call__(self, folder: Path) -> Mapping[str, Any]:
        self.calls += 1
        (folder / "answer.txt").write_text(self.text, encoding="utf-8")
        (folder / "deep" / "er [1]").mkdir(parents=True)
        (folder / "deep" / "er [1]" / "data*.bin").write_bytes(bytes(range(256)))
        (folder / "nothing" / "here").mkdir(parents=True)
        return {"took": self.took}


def never(_folder: Path) -> Mapping[str, Any]:
    raise AssertionError("was made again")


class Machine:
    """A machine: a folder of its own, and what it reported."""

    def __init__(self, url: str, root: Path) -> None:
        self.said: list[str] = []
        self.store = RemoteStore(url, root, self.said.append)

    def ask(self, make: Callable[[Path], Mapping[str, Any]] = never, **options: Any) -> Artefact:
        return self.store.get_or_make("answers", FIELDS, make, **options)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(remote, "_TORN_S", (0.0,))


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"file://{tmp_path / 'shared'}"


@pytest.fixture
def machines(url: str, tmp_path: Path) -> list[Machine]:
    return [Machine(url, tmp_path / name) for name in ("one", "other")]


def there(store: Store) -> dict[str, bytes]:
    """Return all objects at a store's URL."""
    assert isinstance(store, RemoteStore)
    return {name: store.objects.read(name) for name in sorted(store.objects.sizes())}


def below(folder: Path) -> dict[str, bytes]:
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*")}
    return {name: p.read_bytes() if p.is_file() else b"" for name, p in found.items()}


# what one machine made, the other has


def test_what_a_sweep_finds_on_its_machine_alone_is_uploaded_then(machines: list[Machine]) -> None:
    from retrieval_eval.pipeline import HealthJob

    one, other = machines
    job = HealthJob(label="a job", needs={}, seed=1)
    object.__setattr__(job, "fields", FIELDS)
    Store(one.store.root).get_or_make("health", FIELDS, Maker())
    assert there(one.store) == {}
    assert job.find(one.store) is not None
    assert job.find(other.store) is not None


def test_a_damaged_copy_is_fetched_again_and_that_is_said_once(machines: list[Machine]) -> None:
    one, other = machines
    one.ask(Maker())
    found = other.ask()
    (found.folder / "answer.txt").write_text("forty-tvo", encoding="utf-8")
    for _ in range(2):
        again = other.store.find("answers", FIELDS)
        assert again is not None
        assert (again.folder / "answer.txt").read_text(encoding="utf-8") == "forty-two"
    assert len(other.said) == 1
    assert "fetched again" in other.said[0]


def test_what_one_machine_made_another_finds_with_every_byte(machines: list[Machine]) -> None:
    one, other = machines
    made = one.ask(Maker())
    found = other.ask()
    assert (made.fresh, found.fresh) == (True, False)
    assert found.folder == other.store.root / "answers" / KEY
    assert (found.key, found.meta, found.n_bytes) == (made.key, made.meta, made.n_bytes)
    assert below(found.folder) == below(made.folder)
    assert (found.folder / "nothing" / "here").is_dir()
    assert other.store.find("answers", FIELDS) == found
    assert other.store.find("answers", {"n": 2}) is None
    assert one.said == other.said == []
    for machine in machines:
        assert list((machine.store.root / "tmp").iterdir()) == []


def test_the_layout_is_a_pointer_and_the_files_of_one_upload(machines: list[Machine]) -> None:
    machines[0].ask(Maker())
    names = [*there(machines[0].store)]
    pointer = json.loads(there(machines[0].store)[f"answers/{KEY}.json"])
    upload = f"answers/{KEY}/{pointer['upload']}"
    assert names == sorted(
        [
            f"answers/{KEY}.json",
            *(f"{upload}/{one}" for one in ("answer.txt", MANIFEST, "deep/er [1]/data*.bin")),
        ]
    )
    machines[0].ask()
    machines[1].ask()
    assert [*there(machines[0].store)] == names


def test_find_fetches_and_what_is_here_needs_no_network(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machines
    one.ask(Maker())
    found = other.store.find("answers", FIELDS)
    assert found is not None
    assert not found.fresh

    def lost(*_: object) -> bytes:
        raise AssertionError("the URL was asked")

    monkeypatch.setattr(objects.Objects, "read", lost)
    assert other.store.find("answers", FIELDS) == found


def test_looking_for_what_is_nowhere_writes_nothing(machines: list[Machine]) -> None:
    assert machines[0].store.find("answers", FIELDS) is None
    assert not machines[0].store.root.exists()
    assert there(machines[0].store) == {}


def test_what_is_only_here_is_uploaded_when_it_is_asked_for(machines: list[Machine]) -> None:
    one, other = machines
    Store(one.store.root).get_or_make("answers", FIELDS, Maker())
    assert there(one.store) == {}
    assert not one.ask().fresh
    assert other.ask().meta["took"] == 7.0


def test_what_no_longer_serves_is_made_again_and_replaces_the_pointer(
    machines: list[Machine],
) -> None:
    one, other = machines
    one.ask(Maker("old", took=1))

    def usable(_folder: Path, meta: Mapping[str, Any]) -> bool:
        return bool(meta["took"] > 1)

    assert other.ask(Maker("new", took=2), usable=usable).fresh
    assert one.ask(usable=usable).meta["took"] == 2  # the other's: its own no longer serves
    assert one.said == other.said == []


def test_unfinished_work_is_resumed_here_and_nothing_of_it_is_uploaded(
    machines: list[Machine],
) -> None:
    def half(folder: Path) -> Mapping[str, Any]:
        (folder / "part").write_text("1")
        raise KeyboardInterrupt

    def rest(folder: Path) -> Mapping[str, Any]:
        assert (folder / "part").read_text() == "1"
        return {"took": 1}

    with pytest.raises(KeyboardInterrupt):
        machines[0].ask(half, resumable=True)
    assert there(machines[0].store) == {}
    assert machines[0].ask(rest, resumable=True).fresh
    assert not machines[1].ask().fresh


def test_when_an_artefact_was_used_is_noted_at_the_url_once_a_day(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 10 * 86400)
    machines[0].ask(Maker())
    before = there(machines[0].store)
    machines[0].ask()
    assert there(machines[0].store) == before
    monkeypatch.setattr(time, "time", lambda: now)
    (upload,) = machines[0].store.uploads()
    assert upload.used == now - 10 * 86400
    machines[1].ask()
    (upload,) = machines[0].store.uploads()
    assert upload.used == now
    assert upload.fault is None
    assert not machines[1].ask().fresh


# damage at the URL


def spoil(store: Store, name: str, data: bytes | None) -> None:
    """Write an object, or remove it."""
    assert isinstance(store, RemoteStore)
    store.objects.write(name, data) if data is not None else store.objects.remove(name)


def test_every_flipped_byte_at_the_url_is_noticed_made_again_and_reported_once(
    tmp_path: Path,
) -> None:
    one = Machine(f"memory://{uuid.uuid4().hex}", tmp_path / "one")

    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "answer.txt").write_text("forty-two")
        (folder / "empty").touch()
        return {"took": 7}

    content = below(one.ask(make).folder)
    generator = random.Random(3)
    missed, tried = [], 0
    for name in there(one.store):
        places = range(len(there(one.store)[name]))
        for place in places if len(places) < 20 else generator.sample(places, 40):
            (upload,) = (each for each in one.store.uploads() if each.current)
            old, now = name.split("/"), name
            if len(old) > 2:
                now = "/".join([*old[:2], upload.name, *old[3:]])
            data = bytearray(one.store.objects.read(now))
            data[place] ^= generator.randrange(1, 256)
            spoil(one.store, now, bytes(data))
            other = Machine(one.store.objects.url, tmp_path / f"other-{tried}")
            made = other.ask(make)
            tried += 1
            third = Machine(one.store.objects.url, tmp_path / "third")
            good = (
                made.fresh
                and below(made.folder) == content
                and len(other.said) == 1
                and f"answers/{KEY}: is damaged, and is made again" in other.said[0]
                and other.said[0].startswith(str(one.store.place))
                and below(third.ask().folder) == content
                and third.said == []
            )
            third.store.remove(third.store.root / "answers" / KEY)
            if not good:
                missed.append((name, place, other.said))
    assert missed == []
    assert tried == 40 + 9 + 40


@pytest.mark.parametrize(
    ("what", "data"),
    [
        (".json", b""),
        (".json", b"[]"),
        (".json", b"\xff\xfe"),
        ("/answer.txt", None),
        ("/answer.txt", b"forty-"),
        (f"/{MANIFEST}", None),
        (f"/{MANIFEST}", b"{}"),
        ("*.bin", bytes(range(255))),
    ],
)
def test_what_is_damaged_at_the_url_is_absent_and_is_replaced(
    machines: list[Machine], what: str, data: bytes | None
) -> None:
    one, other = machines
    one.ask(Maker())
    names = [name for name in there(one.store) if name.endswith(what) and "arte" not in name]
    names = names or [name for name in there(one.store) if name.endswith(what)]
    spoil(one.store, names[0], data)
    assert other.store.find("answers", FIELDS) is None
    assert other.said == []  # whoever only looks has nothing to say
    make = Maker("new")
    assert other.ask(make).fresh
    assert len(other.said) == make.calls == 1
    assert not other.ask().fresh
    third = Machine(one.store.objects.url, one.store.root.parent / "third")
    assert (third.ask().folder / "answer.txt").read_text() == "new"
    assert len(other.said) == 1
    assert third.said == []


def test_an_artefact_under_anothers_name_is_not_taken(machines: list[Machine]) -> None:
    one, other = machines
    one.ask(Maker())
    one.store.get_or_make("answers", {**FIELDS, "n": 2}, Maker("another"))
    swapped = {
        name.replace(digest({**FIELDS, "n": 2}), KEY): data
        for name, data in there(one.store).items()
        if digest({**FIELDS, "n": 2}) in name
    }
    for name, data in swapped.items():
        spoil(one.store, name, data)
    assert other.ask(Maker("right")).fresh
    assert len(other.said) == 1


def test_a_manifest_that_names_a_file_outside_of_the_store_writes_nothing_there(
    machines: list[Machine], tmp_path: Path
) -> None:
    from retrieval_eval.sealing import signed

    one, other = machines
    folder = one.ask(Maker()).folder
    content = json.loads((folder / MANIFEST).read_text())
    del content["blake2b"]
    content["files"]["../../../evil"] = content["files"].pop("answer.txt")
    (folder / MANIFEST).write_text(signed(content))
    pointer = json.loads(there(one.store)[f"answers/{KEY}.json"])
    del pointer["blake2b"]
    pointer["manifest"] = file_digest(folder / MANIFEST)
    spoil(one.store, f"answers/{KEY}.json", signed(pointer).encode())
    spoil(
        one.store, f"answers/{KEY}/{pointer['upload']}/{MANIFEST}", (folder / MANIFEST).read_bytes()
    )
    assert other.ask(Maker()).fresh
    assert "outside" in other.said[0]
    assert not list(tmp_path.rglob("evil"))


def test_what_is_damaged_here_is_fetched_again_and_reported_once(machines: list[Machine]) -> None:
    one, other = machines
    intact = below(one.ask(Maker()).folder)
    folder = other.ask().folder
    (folder / "answer.txt").write_text("forty-twx")
    assert below(other.ask().folder) == intact
    assert other.said == [f"{folder}: was damaged since it was made, and is fetched again"]
    assert not other.ask().fresh
    assert len(other.said) == 1


def test_damage_here_never_reaches_the_url(machines: list[Machine]) -> None:
    one, other = machines
    folder = one.ask(Maker()).folder
    before = there(one.store)
    (folder / "answer.txt").write_text("forty-twx")
    one.ask(Maker("again"))
    assert there(one.store) == before
    assert (other.ask().folder / "answer.txt").read_text() == "forty-two"


# two writers, and writers that are killed


@pytest.mark.parametrize("moment", ["while it is made", "while it is uploaded", "at the pointer"])
def test_of_two_machines_the_first_to_finish_is_used_by_both(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    one, other = machines
    rival: list[Callable[[], Artefact]] = [lambda: other.ask(Maker("other's", took=2))]

    def between(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if rival:
                rival.pop()()
            return real(*arguments)

        return call

    make: Callable[[Path], Mapping[str, Any]] = Maker("one's", took=1)
    if moment == "while it is made":
        make = between(make)
    else:
        name = "send" if moment == "while it is uploaded" else "create"
        monkeypatch.setattr(objects.Objects, name, between(getattr(objects.Objects, name)))
    made = one.ask(make)
    assert rival == []
    assert not made.fresh
    assert made.meta["took"] == 2
    assert below(made.folder) == below(other.ask().folder)
    third = Machine(one.store.objects.url, one.store.root.parent / "third")
    assert third.ask().meta == made.meta
    assert len({name.split("/")[2] for name in there(one.store) if name.count("/") > 1}) == 1
    assert one.said == other.said == third.said == []
    assert list((one.store.root / "tmp").iterdir()) == []


def test_of_two_machines_that_replace_a_damaged_one_the_first_to_finish_is_used_by_both(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machines
    one.ask(Maker())
    (name,) = (name for name in there(one.store) if name.endswith("answer.txt"))
    spoil(one.store, name, b"forty-twx")
    third = Machine(one.store.objects.url, one.store.root.parent / "third")
    rival, real = [lambda: third.ask(Maker("third's", took=3))], objects.Objects.send

    def send(self: objects.Objects, *arguments: Any) -> None:
        if rival:
            rival.pop()()
        real(self, *arguments)

    monkeypatch.setattr(objects.Objects, "send", send)
    assert other.ask(Maker("other's", took=2)).meta["took"] == 3
    assert third.ask().meta["took"] == 3
    assert (len(one.said), len(other.said), len(third.said)) == (0, 1, 1)


def test_a_pointer_that_is_seen_half_written_is_looked_at_again(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines[0].ask(Maker())
    real, left = objects.Objects.read, [1]

    def torn(self: objects.Objects, name: str) -> bytes:
        data = real(self, name)
        return data[: len(data) // 2] if left and left.pop() else data

    monkeypatch.setattr(objects.Objects, "read", torn)
    assert not machines[1].ask().fresh
    assert (left, machines[1].said) == ([], [])


def test_a_pointer_that_is_removed_while_its_artefact_is_made_again_is_written_anew(
    machines: list[Machine],
) -> None:
    one, other = machines
    one.ask(Maker())
    spoil(one.store, f"answers/{KEY}.json", b"{}")

    def make(folder: Path) -> Mapping[str, Any]:
        spoil(one.store, f"answers/{KEY}.json", None)
        return Maker("new")(folder)

    assert other.ask(make).fresh
    assert len(other.said) == 1
    third = Machine(one.store.objects.url, one.store.root.parent / "third")
    assert (third.ask().folder / "answer.txt").read_text() == "new"


def test_machines_that_race_leave_one_whole_artefact(url: str, tmp_path: Path) -> None:
    fleet = [Machine(url, tmp_path / str(number)) for number in range(4)]

    def run(number: int) -> list[Artefact]:
        return [
            fleet[number].store.get_or_make("answers", {"n": n}, Maker(f"{number}", took=number))
            for n in range(6)
        ]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(4)))
    last = Machine(url, tmp_path / "last")
    for n in range(6):
        artefact = last.store.get_or_make("answers", {"n": n}, never)
        assert (artefact.folder / "answer.txt").read_text() == f"{artefact.meta['took']}"
        for per_machine in found:
            own = per_machine[n]
            assert (own.folder / "answer.txt").read_text() == f"{own.meta['took']}"
    assert last.said == []
    assert [one.fault for one in last.store.uploads() if one.current] == [None] * 6


SLOW = """
import sys, time
from pathlib import Path
from fsspec.implementations.local import LocalFileSystem
from retrieval_eval.remote import RemoteStore

class Slow(LocalFileSystem):
    pass

def wait():
    Path(sys.argv[3]).touch()
    time.sleep(600)

def slow(real, when):
    done = []
    def call(self, first, second, *rest, **options):
        path = second if isinstance(second, str) else first
        done.append(path)
        if len(done) > when:
            if when >= 0 and isinstance(second, str):
                with open(self._strip_protocol(second), "wb") as stream:
                    stream.write(b"half")
            wait()
        real(self, first, second, *rest, **options)
    return call

where = sys.argv[4]
def cut(self, path, data, **options):
    if where == "half a pointer":
        with open(path, "wb") as stream:
            stream.write(data[:40])
    wait()

if "pointer" in where:
    LocalFileSystem.pipe_file = cut
else:
    LocalFileSystem.put_file = slow(LocalFileSystem.put_file, int(where))

def make(folder):
    for number in range(6):
        (folder / f"{number}.txt").write_text("killed one's" * 1000)
    return {"took": 1}

RemoteStore(sys.argv[1], Path(sys.argv[2])).get_or_make(
    "answers", {"question": "life", "n": 1}, make)
"""


@pytest.mark.parametrize("where", ["0", "3", "6", "the pointer", "half a pointer"])
def test_an_upload_that_is_killed_is_never_accepted_and_goes_on_where_it_was_made(
    tmp_path: Path, where: str
) -> None:
    url, sign = f"file://{tmp_path / 'shared'}", tmp_path / "sign"
    command = [sys.executable, "-c", SLOW, url, str(tmp_path / "one"), str(sign), where]
    with subprocess.Popen(command) as child:
        try:
            deadline = time.monotonic() + 30
            while not sign.exists():
                assert child.poll() is None, "the process ended before it uploaded"
                assert time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            child.kill()
        assert child.wait() == -signal.SIGKILL
    other = Machine(url, tmp_path / "other")
    assert other.store.find("answers", FIELDS) is None
    one = Machine(url, tmp_path / "one")
    went_on = one.ask()  # what the killed process had made is whole, and is not made again
    assert went_on.meta["took"] == 1
    assert below(other.ask().folder) == below(went_on.folder)
    assert len(one.said) == (1 if where == "half a pointer" else 0)
    assert other.said == []
    left = [entry for entry in entries(one.store) if entry.kind == "tmp"]
    assert [entry.name for entry in left] == [f"answers-{KEY}"]
    assert prune(one.store) == []


def test_a_machine_that_finds_a_killed_upload_makes_it_itself(tmp_path: Path) -> None:
    test_url, sign = f"file://{tmp_path / 'shared'}", tmp_path / "sign"
    command = [sys.executable, "-c", SLOW, test_url, str(tmp_path / "one"), str(sign), "3"]
    with subprocess.Popen(command) as child:
        while not sign.exists() and child.poll() is None:
            time.sleep(0.005)
        child.kill()
    other = Machine(test_url, tmp_path / "other")
    assert other.ask(Maker("other's")).fresh
    assert other.said == []
    one = Machine(test_url, tmp_path / "one")
    assert (one.ask().folder / "answer.txt").read_text() == "other's"


def test_what_killed_uploads_left_is_removed_when_it_is_old(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = machines
    one.ask(Maker())
    half = f"answers/{KEY}/20200101T000000Z-0123abcd"
    young = time.strftime(f"answers/{KEY}/%Y%m%dT%H%M%SZ-0123abcd", time.gmtime())
    for name in (f"{half}/answer.txt", f"{young}/answer.txt", "answers/mine.txt", "readme"):
        spoil(one.store, name, b"x")
    assert [one.upload.name for one in prune(one.store, dry_run=True) if one.upload] == [
        half.rpartition("/")[2]
    ]
    assert len(prune(one.store)) == 1
    names = [*there(one.store)]
    assert not any(half in name for name in names)
    assert {f"{young}/answer.txt", "answers/mine.txt", "readme"} < {*names}
    assert one.store.find("answers", FIELDS) is not None


# trouble on the way


class Flaky(MemoryFileSystem):
    """A file system that fails now and then."""

    protocol = "flaky"
    failures = 0

    def fail(self) -> None:
        if type(self).failures:
            type(self).failures -= 1
            raise ConnectionResetError("flaky://user:secret@staying: connection reset by peer")

    def cat_file(self, *arguments: Any, **options: Any) -> Any:
        self.fail()
        return super().cat_file(*arguments, **options)

    def put_file(self, *arguments: Any, **options: Any) -> None:
        self.fail()
        super().put_file(*arguments, **options)

    def get_file(self, *arguments: Any, **options: Any) -> None:
        self.fail()
        super().get_file(*arguments, **options)

    def pipe_file(self, *arguments: Any, **options: Any) -> None:
        self.fail()
        super().pipe_file(*arguments, **options)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> type[Flaky]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(Flaky, "failures", 0)
    return Flaky


def test_a_failure_that_passes_is_not_noticed(flaky: type[Flaky], tmp_path: Path) -> None:
    one, other = (Machine("flaky://passing", tmp_path / name) for name in ("one", "other"))
    flaky.failures = 2
    assert one.ask(Maker()).fresh
    flaky.failures = 2
    assert not other.ask().fresh
    assert flaky.failures == 0


def test_a_failure_that_stays_is_one_clear_error_and_the_work_is_kept(
    flaky: type[Flaky], tmp_path: Path
) -> None:
    one = Machine("flaky://user:secret@staying", tmp_path / "one")

    def make(folder: Path) -> Mapping[str, Any]:
        flaky.failures = 10**6
        return Maker()(folder)

    with pytest.raises(RetrievalEvalError, match="connection reset by peer") as caught:
        one.ask(make)
    assert "flaky://user@staying" in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(RetrievalEvalError, match="cannot be read"):
        one.ask()  # nobody is told "done" while others cannot find it
    flaky.failures = 0
    assert not one.ask().fresh
    assert not Machine("flaky://user:secret@staying", tmp_path / "other").ask().fresh


def test_an_interrupted_upload_keeps_the_work(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(objects.Objects, "send", stop)
        with pytest.raises(KeyboardInterrupt):
            machines[0].ask(Maker())
    assert not machines[0].ask().fresh
    assert not machines[1].ask().fresh


def test_a_file_system_that_knows_no_exclusive_writes_will_do(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = machines[0].store.objects.open()
    real = type(fs).pipe_file

    def old(self: Any, path: str, value: bytes) -> None:
        real(self, path, value)

    monkeypatch.setattr(type(fs), "pipe_file", old)
    assert machines[0].ask(Maker()).fresh
    assert not machines[1].ask().fresh


def test_what_can_only_be_read_is_used(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines[0].ask(Maker())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * 86400)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("read only")

    fs, _ = machines[0].store.objects.open()
    monkeypatch.setattr(type(fs), "pipe_file", refused)
    assert not machines[1].ask().fresh
    with pytest.raises(RetrievalEvalError, match="cannot be written to"):
        machines[1].store.get_or_make("answers", {}, Maker())


# opening


def test_a_path_is_a_store_and_a_url_a_remote_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("RETRIEVAL_EVAL_CACHE", raising=False)
    assert type(open_store(tmp_path)) is type(open_store(str(tmp_path))) is Store
    assert open_store(tmp_path).root == open_store(str(tmp_path)).root == tmp_path
    assert open_store().root == Store.default().root
    shared = open_store("memory://a/b")
    assert isinstance(shared, RemoteStore)
    assert shared.place == "memory://a/b"
    assert shared.root.is_relative_to(tmp_path / "xdg")
    assert shared.root != open_store("memory://a/c").root
    assert open_store("memory://me:pw1@a/b").root == open_store("memory://me:pw2@a/b/").root
    assert open_store("memory://me@a/b").root != open_store("memory://you@a/b/").root
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", "memory://a/b")
    assert open_store().place == "memory://a/b"
    assert open_store().root == shared.root
    assert Store.default().root.is_relative_to(tmp_path / "xdg")
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", str(tmp_path / "mine"))
    assert open_store("memory://a/b").root.is_relative_to(tmp_path / "mine")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s4://bucket", "unknown protocol 's4'.*Available: .*, s3, "),
        ("S3://bucket", "unknown protocol 'S3'.*Did you mean 's3'"),
        ("gs://bucket/prefix", "gs:// is not installed: .*gcsfs"),
        ("simplecache::memory://x", "chained URLs cannot be used"),
        ("memory://", "must name a bucket or a folder"),
        ("file://relative", "must name a bucket or a folder"),
        (Path("s3://bucket/prefix"), "is neither a folder nor a URL"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(place: str | Path, message: str, cli: Cli) -> None:
    if str(place).startswith("gs:") and "gcsfs" in sys.modules:
        pytest.skip("gcsfs is installed")
    with pytest.raises(InputError, match=message):
        open_store(place)
    if isinstance(place, str):
        code, out, err = cli("cache", "ls", "--cache", place)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_without_fsspec_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RetrievalEvalError, match=r"pip install 'ann-retrieval-eval\[remote\]'"):
        open_store("memory://x")


# other processes and machines


def test_a_pickled_store_is_small_and_opens_the_same_folder_on_this_machine(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = machines[0].store
    machines[0].ask(Maker())
    data = pickle.dumps(store)
    assert len(data) < 1000
    again = pickle.loads(data)  # noqa: S301 (written just now)
    assert (again.place, again.root) == (store.place, store.root)
    again.report("goes nowhere")
    assert machines[0].said == []
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", str(tmp_path / "elsewhere"))
    there = pickle.loads(data)  # noqa: S301 (written just now)
    assert there.root.is_relative_to(tmp_path / "elsewhere")
    found = there.find("answers", FIELDS)
    assert found is not None
    assert found.folder.is_relative_to(there.root)


def test_a_store_can_be_given_another_report(machines: list[Machine]) -> None:
    said: list[str] = []
    other = machines[0].store.reporting(said.append)
    assert isinstance(other, RemoteStore)
    other.report("this")
    assert said == ["this"]
    assert machines[0].said == []
    data = pickle.dumps(Store(Path("x"), said.append))
    assert pickle.loads(data).root == Path("x")  # noqa: S301 (written just now)


def test_processes_of_one_machine_fetch_once(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines[0].ask(Maker())
    fetched: list[str] = []
    real = objects.Objects.fetch

    def counted(self: objects.Objects, *arguments: Any) -> None:
        fetched.append("one")
        time.sleep(0.05)
        real(self, *arguments)

    monkeypatch.setattr(objects.Objects, "fetch", counted)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: machines[1].store.find("answers", FIELDS), range(4)))
    assert None not in found
    assert fetched == ["one"]


# looking after it


def test_the_verbs_say_what_is_here_and_what_is_at_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    url = f"file://{tmp_path / 'shared'}"
    monkeypatch.setenv("RETRIEVAL_EVAL_CACHE", str(tmp_path / "one"))
    one = Machine(url, open_store(url).root)
    one.ask(Maker())
    one.store.get_or_make("searches", FIELDS, Maker())
    Store(tmp_path / "one").get_or_make("local", FIELDS, Maker())

    code, out, err = cli("cache", "ls", "--cache", url)
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[2:]] == [
        ["here", "answers", "1"],
        ["here", "searches", "1"],
        ["URL", "answers", "1"],
        ["URL", "searches", "1"],
    ]
    assert err.splitlines()[0].startswith(f"{one.store.root}: ")
    assert err.splitlines()[1].startswith(f"{url}: ")
    assert len(cli("cache", "ls", "--all", "--cache", url)[1].splitlines()) == 6
    out = cli("cache", "ls")[1]  # the folder's own cache, with what it keeps of the URL
    assert [line.split()[:2] for line in out.splitlines()[2:]] == [["local", "1"], ["remote", "1"]]
    assert cli("cache", "prune", "--keep-gb", "0", "--dry-run")[1].split("/")[0] == "local"
    assert cli("cache", "verify")[0] == cli("cache", "verify", "--cache", url)[0] == 0

    (name,) = (name for name in there(one.store) if name.startswith("searches/") and "txt" in name)
    spoil(one.store, name, b"forty-twx")
    assert [reason for _, reason in damaged(one.store)].count(None) == 3
    code, out, err = cli("cache", "verify", "--cache", url)
    assert code == 1
    assert out.startswith(f"{url}/searches/{KEY}: answer.txt: content differs")
    assert "4 artefacts checked, 1 damaged" in err
    spoil(one.store, name, b"short")  # sizes tell that without reading it
    code, out, err = cli("cache", "prune", "--cache", url)
    assert out == f"{url}/searches/{KEY}\n"
    assert "0 removed" in err.splitlines()[0]
    assert "1 removed" in err.splitlines()[1]
    assert not any(name.startswith("searches/") for name in there(one.store))

    out = cli("cache", "prune", "--cache", url, "--kind", "answers", "--keep-gb", "0")[1]
    assert out == f"answers/{KEY}\n{url}/answers/{KEY}\n"
    assert there(one.store) == {}
    assert not any((tmp_path / "shared" / "answers").iterdir())
    assert cli("cache", "ls", "--cache", f"file://{tmp_path / 'nowhere'}")[0] == 0


@pytest.mark.parametrize("data", [b"", None])
def test_a_pointer_that_is_damaged_or_points_at_nothing_goes(
    machines: list[Machine], data: bytes | None
) -> None:
    one = machines[0]
    one.ask(Maker())
    if data is None:
        for name in there(one.store):
            if not name.endswith(f"{KEY}.json"):
                spoil(one.store, name, None)
    else:
        spoil(one.store, f"answers/{KEY}.json", data)
    assert [fault is None for _, fault in damaged(one.store)] == [True, False]
    (gone,) = prune(one.store)
    assert gone.upload is not None
    assert f"answers/{KEY}.json" not in there(one.store)
    one.ask()
    assert not machines[1].ask().fresh


def test_a_pointer_that_was_replaced_meanwhile_is_left(machines: list[Machine]) -> None:
    one, other = machines
    one.ask(Maker())
    (old,) = one.store.uploads()
    spoil(one.store, f"answers/{KEY}.json", None)
    other.ask(Maker("new"))
    one.store.withdraw(old)
    third = Machine(one.store.objects.url, one.store.root.parent / "third")
    assert (third.ask().folder / "answer.txt").read_text() == "new"
