"""A Ray cluster of several nodes, on this machine: what is done where, and what a death costs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from polars.testing import assert_frame_equal

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # read by Ray: it stays on loopback
ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402 (Ray has to be there)

from retrieval_eval import plugins  # noqa: E402 (likewise)
from retrieval_eval.errors import InputError, MissingExtraError  # noqa: E402
from retrieval_eval.executors import Executor, LocalExecutor, News  # noqa: E402
from retrieval_eval.executors._ray_node import libraries, see  # noqa: E402
from retrieval_eval.executors.ray import RayExecutor  # noqa: E402
from retrieval_eval.pipeline.jobs import Bench, Job, Told  # noqa: E402
from retrieval_eval.store import Artefact, Store  # noqa: E402
from retrieval_eval.sweep import Sweep, run_sweep  # noqa: E402

pytestmark = [
    pytest.mark.backends,
    # Ray leaves its log files and sockets to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1"}
_TICK_S = 0.05


def parent(pid: int) -> int:
    """Return the process that started another."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@dataclass(frozen=True, eq=False, kw_only=True)
class Toy(Job):
    """Adds its square to what it needs; notes its child, Ray's process, and the node's."""

    kind: ClassVar[str] = "toy"
    folder: ClassVar[str] = "toys"
    limited: ClassVar[bool] = True

    number: int
    notes: Path
    seconds: float = 0.0
    deed: str = ""
    load: bytes = b""

    def decides(self) -> Mapping[str, Any]:
        return {"number": self.number, "deed": self.deed, "needs": sorted(self.needs)}

    @property
    def units(self) -> int:
        return round(self.seconds / _TICK_S)

    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        begun, process = time.time(), os.getppid()
        at = {"child": os.getpid(), "process": process, "node": parent(process), "begun": begun}
        scratch = self.notes / f"{self.number}.{os.getpid()}.new"
        scratch.write_text(json.dumps(at))
        scratch.rename(self.notes / f"{self.number}.{begun}.json")
        if self.deed == "crash":
            ctypes.string_at(0)
        if self.deed == "raise":
            raise OSError("the library says no")
        if self.deed == "bad":
            raise InputError("bad data")
        if self.deed == "kill":
            os.kill(process, signal.SIGKILL)
            time.sleep(60)
        for _ in range(self.units):
            time.sleep(_TICK_S)
            told(1)
        below = [json.loads((one.folder / "value").read_text()) for one in inputs.values()]
        (folder / "value").write_text(json.dumps(self.number**2 + sum(below)))
        threads = os.environ.get("OMP_NUM_THREADS")
        return {**at, "ended": time.time(), "threads": threads, "cwd": str(Path.cwd())}


def value(news: News) -> int:
    """Return what a toy has computed."""
    assert news.artefact is not None, news
    return int(json.loads((news.artefact.folder / "value").read_text()))


def noted(job: Toy, times: int = 1) -> list[dict[str, Any]]:
    """Return what a toy has noted: once for each time that it was begun."""
    return [json.loads(p.read_text()) for p in sorted(job.notes.glob(f"{job.number}.*.json"))]


def do_all(
    executor: Executor, jobs: Sequence[Toy], meanwhile: Any = lambda: None
) -> dict[int, News]:
    """Do jobs as a sweep does; return what became of each, by its number."""
    todo, under_way, ended = list(jobs), set[Job](), {}
    results: dict[Job, Artefact] = {}
    end = time.monotonic() + 90
    while todo or under_way:
        assert time.monotonic() < end, "jobs are not done"
        for job in tuple(todo):
            ready = all(need in results for need in job.needs.values())
            if ready and executor.has_room(job):
                todo.remove(job)
                under_way.add(job)
                executor.start(job, {name: results[need] for name, need in job.needs.items()})
        for news in executor.news(0.1):
            if news.ended:
                under_way.remove(news.job)
                ended[news.job.number] = news  # type: ignore[attr-defined]
                if news.artefact:
                    results[news.job] = news.artefact
        meanwhile()
    return ended


def gone(pid: int) -> bool:
    """Wait until there is no such process."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z":
                time.sleep(0.05)
                continue
        return True
    return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # no child can import it
    cluster = Cluster(initialize_head=True, head_node_args={**_NODE, "num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(**_NODE)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def connected(cluster: Any) -> Any:
    """Connect once for many tests, since that takes a while."""
    if not ray.is_initialized():
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    return cluster


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def executor(connected: Any, store: Store, said: list[str]) -> Iterator[RayExecutor]:
    with RayExecutor(store, timed=True, say=said.append) as executor:
        yield executor


def test_no_ray_says_how_to_install_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "missing_library", lambda _: ("ray", "ray"))
    with pytest.raises(MissingExtraError, match=r"pip install 'ann-retrieval-eval\[ray\]'"):
        RayExecutor(store)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1: .*ray start --head"),
        ("ray://127.0.0.1:1", "on a machine of the cluster"),
        ("nonsense", "no Ray cluster at 'nonsense'"),
    ],
)
def test_an_address_without_a_cluster_is_refused(store: Store, address: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RayExecutor(store, address=address)


def test_killing_leaves_no_process_and_nothing_changed(
    cluster: Any, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    executor = RayExecutor(store, address=cluster.address)
    assert signal.getsignal(signal.SIGTERM) is before
    jobs = [Toy(label="", number=number, notes=tmp_path, seconds=60) for number in (1, 2)]
    for job in jobs:
        assert executor.has_room(job)
        executor.start(job, {})
    assert not executor.has_room(jobs[0])
    while not all(noted(job) for job in jobs):
        executor.news(0.1)
    executor.close(kill=True)
    assert not ray.is_initialized()
    assert all(gone(noted(job)[0][who]) for job in jobs for who in ("child", "process"))
    assert not list((store.root / "tmp").glob("ray-*"))
    assert capfd.readouterr() == ("", "")


def test_jobs_run_on_all_nodes_and_give_what_the_local_executor_gives(
    executor: RayExecutor, tmp_path: Path
) -> None:
    first = [
        Toy(label=f"job {number}", number=number, notes=tmp_path, seconds=1.0) for number in (1, 2)
    ]
    last = Toy(
        label="last", number=3, notes=tmp_path, needs={str(one.number): one for one in first}
    )
    there = do_all(executor, [*first, last])
    with LocalExecutor(Store(tmp_path / "local"), processes=False) as local:
        here = do_all(local, [*first, last])
    assert {number: value(news) for number, news in there.items()} == {1: 1, 2: 4, 3: 14}
    assert {number: value(news) for number, news in here.items()} == {1: 1, 2: 4, 3: 14}
    metas = [there[number].artefact.meta for number in (1, 2)]  # type: ignore[union-attr]
    assert len({meta["node"] for meta in metas}) == 2
    assert {meta["threads"] for meta in metas} == {"1"}  # its share, and no more
    assert {meta["cwd"] for meta in metas} == {str(Path.cwd())}


def test_a_timed_job_has_its_node_to_itself(executor: RayExecutor, tmp_path: Path) -> None:
    jobs = [
        Toy(label="", number=number, notes=tmp_path, seconds=0.5, timed=number % 3 == 0)
        for number in range(6)
    ]
    metas = {
        number: news.artefact.meta  # type: ignore[union-attr]
        for number, news in do_all(executor, jobs).items()
    }
    for job in jobs:
        if job.timed:
            own = metas[job.number]
            assert own["threads"] is None  # as without Ray
            others = (m for n, m in metas.items() if n != job.number and m["node"] == own["node"])
            assert all(m["ended"] <= own["begun"] or own["ended"] <= m["begun"] for m in others)


def test_two_small_jobs_share_a_node_but_never_with_a_timed_one(
    executor: RayExecutor, tmp_path: Path
) -> None:
    for node in executor._nodes.values():
        node.cpus = 2
    small = Toy(label="", number=0, notes=tmp_path)
    timed = Toy(label="", number=1, notes=tmp_path, timed=True)
    first, second = executor._nodes.values()
    run = type("Run", (), {"job": small, "cpus": 1, "node": first})()
    first.runs.add(run)
    assert executor._choose(small, {}) is second  # the one with less to do
    assert executor._choose(timed, {}) is second
    second.runs.add(type("Run", (), {"job": timed, "cpus": 2, "node": second})())
    assert executor._choose(small, {}) is first
    assert executor._choose(timed, {}) is None
    assert not executor.has_room(timed)
    first.runs.clear()
    second.runs.clear()


def test_timed_jobs_stay_on_machines_of_one_kind(executor: RayExecutor, tmp_path: Path) -> None:
    first, second = executor._nodes.values()
    second.machine = {"processor": "another", "cores": 1000}
    timed = Toy(label="", number=1, notes=tmp_path, timed=True)
    small = Toy(label="", number=2, notes=tmp_path)
    assert executor._choose(timed, {}) is first
    assert executor._choose(small, {}) is second  # which no timed job can use
    executor._here = first.id
    here = type("Here", (Toy,), {"here": True})(label="", number=3, notes=tmp_path)
    assert executor.has_room(here)
    executor.start(timed, {})
    assert not executor.has_room(here)
    assert not executor.has_room(timed)


def test_a_crash_costs_its_job_alone_and_bad_data_is_an_error(
    executor: RayExecutor, tmp_path: Path, said: list[str]
) -> None:
    deeds = ["crash", "raise", "bad", ""]
    jobs = [Toy(label="", number=n, notes=tmp_path, deed=d) for n, d in enumerate(deeds)]
    ended = do_all(executor, jobs)
    assert "SIGSEGV" in str(ended[0].failure)
    assert "OSError: the library says no" in str(ended[1].failure)
    assert isinstance(ended[2].error, InputError)
    assert str(ended[2].error) == "bad data"
    assert value(ended[3]) == 9
    assert [len(noted(job)) for job in jobs] == [1, 1, 1, 1]
    assert said == []


def test_a_limit_of_time_holds_on_the_node(connected: Any, store: Store, tmp_path: Path) -> None:
    with RayExecutor(store, seconds=0.5) as executor:
        ended = do_all(executor, [Toy(label="", number=1, notes=tmp_path, seconds=60)])
    assert "its limit of time" in str(ended[1].failure)


def test_a_killed_process_of_ray_costs_nothing_and_large_jobs_are_sent_once(
    executor: RayExecutor, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    puts: list[object] = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda one: (puts.append(one), put(one))[1])
    job = Toy(label="the job", number=5, notes=tmp_path, seconds=3, load=os.urandom(200_000))
    killed: list[dict[str, Any]] = []

    def kill() -> None:
        if noted(job) and not killed:
            time.sleep(1.5)  # in the middle of it
            killed.append(noted(job)[0])
            os.kill(killed[0]["process"], signal.SIGKILL)
            assert gone(killed[0]["child"])

    assert value(do_all(executor, [job], kill)[5]) == 25
    first, second = noted(job)
    assert first["process"] != second["process"]
    assert first["node"] != second["node"]  # who died there goes elsewhere
    assert len(puts) == 1
    assert len(said) == 1
    assert said[0].startswith("the job: its process or machine died, on ")


def test_units_of_a_second_try_are_not_counted_twice(executor: RayExecutor, tmp_path: Path) -> None:
    job = Toy(label="", number=5, notes=tmp_path, seconds=4)
    executor.start(job, {})
    told, killed = [0], False
    while True:
        news = executor.news(0.2)
        told += [one.units for one in news if one.units]
        if sum(told) > 10 and not killed:
            killed = True
            os.kill(noted(job)[0]["process"], signal.SIGKILL)
        if any(one.ended for one in news):
            break
    assert killed
    assert job.units / 2 < sum(told) <= job.units


def test_a_job_that_kills_its_machine_again_and_again_fails(
    executor: RayExecutor, tmp_path: Path, said: list[str]
) -> None:
    job = Toy(label="", number=1, notes=tmp_path, deed="kill")
    ended = do_all(executor, [job, Toy(label="", number=2, notes=tmp_path)])
    assert "its process or machine died 3 times, on " in str(ended[1].failure)
    assert value(ended[2]) == 4
    assert len(noted(job)) == 3
    assert len(said) == 2


def test_a_node_that_comes_is_used_and_one_that_goes_costs_nothing(
    connected: Any, executor: RayExecutor, tmp_path: Path, said: list[str]
) -> None:
    added = connected.add_node(**_NODE)
    jobs = [Toy(label="", number=n, notes=tmp_path, seconds=6) for n in range(3)]
    removed = []

    def remove() -> None:
        if all(noted(job) for job in jobs) and not removed:
            removed.append(added.node_id)
            connected.remove_node(added)

    ended = do_all(executor, jobs, remove)
    assert removed
    assert {number: value(news) for number, news in ended.items()} == {0: 0, 1: 1, 2: 4}
    assert sorted(len(noted(job)) for job in jobs) == [1, 1, 2]
    assert removed[0] not in executor._nodes
    assert "has joined the cluster" in said[0]
    assert "is started again" in said[1]


def test_a_job_fails_when_no_machine_for_it_is_left(
    connected: Any, store: Store, tmp_path: Path
) -> None:
    with RayExecutor(store, timed=True, patience_s=0.5) as executor:
        executor.machine = {"processor": "abacus", "cores": 10}
        ended = do_all(executor, [Toy(label="", number=1, notes=tmp_path, timed=True)])
    message = "no machine with 10 cores of abacus is left in the cluster since 0.5 s"
    assert ended[1].failure == message


def test_machines_that_do_not_see_the_cache_are_refused(
    connected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = Store(Path("/proc/self/cwd/store"))  # another folder for each process
    with pytest.raises(InputError, match="does not see the cache /proc/self/cwd/store"):
        RayExecutor(elsewhere)


def test_a_machine_with_another_version_is_left_out(
    connected: Any, store: Store, tmp_path: Path, said: list[str]
) -> None:
    other = tmp_path / "other"
    (other / "numpy-0.0.1.dist-info").mkdir(parents=True)
    (other / "numpy-0.0.1.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 0.0.1\n")
    odd = connected.add_node(**_NODE, env_vars={"PYTHONPATH": str(other)})
    try:
        with RayExecutor(store, say=said.append) as executor:
            assert len(executor._nodes) == 2
            assert odd.node_id not in executor._nodes
    finally:
        connected.remove_node(odd)
    assert len(said) == 1
    assert "is left out: it has other versions: numpy 0.0.1 (here " in said[0]


def test_a_machine_looks_at_the_store_by_itself(store: Store) -> None:
    (store.root / "tmp").mkdir(parents=True)
    (store.root / "tmp" / "mark").touch()
    answer = see(pickle.dumps(store), "mark")
    assert answer["fault"] is None
    assert {"processor", "cores"} == answer["machine"].keys()
    assert "numpy" in libraries()
    assert "pytest" not in libraries()


def test_what_cannot_be_sent_fails_alone(executor: RayExecutor, tmp_path: Path) -> None:
    job = Toy(label="", number=1, notes=tmp_path, load=(n for n in ()))  # type: ignore[arg-type]
    ended = do_all(executor, [job, Toy(label="", number=2, notes=tmp_path)])
    assert "cannot be sent to another machine: TypeError" in str(ended[1].failure)
    assert value(ended[2]) == 4


_MEASURED = ("_s", "qps", "peak_rss_bytes", "measured", "load_average", "other_cores", "noise")


class Deadly(RayExecutor):
    """Kills Ray's process once, in the middle of a job."""

    killed = 0

    def news(self, seconds: float) -> Sequence[News]:
        kinds = {run.job.kind for run in self._runs.values()}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            if self.killed or "build" not in kinds:
                break
            with contextlib.suppress(OSError):
                if path.read_bytes().startswith(b"ray::build"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    self.killed += 1
        return super().news(seconds)


@pytest.mark.parametrize("timed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_sweep_gives_what_it_gives_here_though_a_process_dies(
    connected: Any, tmp_path: Path, timed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep(
        name="ray",
        datasets=["stdlib"],
        encoders=["hashing", {"lsa": {"dim": 16}}],
        indexes=["flat", {"faiss-hnsw": {"search": {"ef": [20, 50]}}}],
        timing={"repeats": 1, "latency_queries": 5} if timed else None,
        measures=["nDCG@10", "R@100"],
    )
    here = run_sweep(sweep, out=tmp_path / "here", store=Store(tmp_path / "a"), progress=False)
    opened: list[Deadly] = []

    def on_ray(name: str, store: Store, **_: Any) -> Executor:
        opened.append(Deadly(store, timed=timed, say=lambda _: None))
        return opened[0]

    monkeypatch.setattr("retrieval_eval.sweep.run.open_executor", on_ray)
    there = run_sweep(sweep, out=tmp_path / "there", store=Store(tmp_path / "b"), progress=False)
    assert opened[0].killed == 1
    assert (there.rows["status"] == "ok").all()
    assert there.rows["qps"].is_null().all() == (not timed)
    kept = [name for name in here.rows.columns if not name.endswith(_MEASURED)]
    assert_frame_equal(here.rows.select(kept), there.rows.select(kept))
    assert_frame_equal(here.per_query, there.per_query)
    assert_frame_equal(here.comparisons, there.comparisons)
