"""Jobs on the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval_eval.errors import InputError
from retrieval_eval.executors._ray_connection import Connection
from retrieval_eval.executors._ray_node import (
    Limits,
    await_folder,
    do,
    is_shared,
    libraries,
    probe,
)
from retrieval_eval.executors.base import Executor, News
from retrieval_eval.pipeline.jobs import Job
from retrieval_eval.store import Artefact, Store

__all__ = ["RayExecutor"]

_REFRESH_S = 3.0
_FIRST_LOOK_S = 120.0  # for the machines to answer at the start; slower ones are used later
_DEATHS = 3
_SHARDS_A_PLACE = 4  # so that slow machines get fewer, and a death costs little
_INLINE_BYTES = 100_000  # larger things go through Ray's object store, once
_GET_S = 60.0


@dataclass(eq=False)
class _Node:
    """A machine that may do jobs."""

    id: str
    name: str
    cpus: int
    machine: Mapping[str, Any]
    memory_bytes: int
    runs: set[_Run] = field(default_factory=set)

    @property
    def load(self) -> float:
        """The share of its processors that is taken."""
        return sum(run.cpus for run in self.runs) / self.cpus


@dataclass(eq=False)
class _Run:
    """A job that was started and has not ended."""

    job: Job
    inputs: Mapping[str, Artefact]
    sent: Any  # the pickled job, or a reference to it
    cpus: int = 0
    node: _Node | None = None
    stream: Any = None  # of what the machine tells
    units: int = 0  # of this try
    units_said: int = 0
    died_on: list[_Node] = field(default_factory=list)


class RayExecutor(Executor):
    """Does jobs on the machines of a Ray cluster.

    Which machine does what is decided here, not by Ray. A timed job, or an encoding, takes a whole
    machine, on which nothing else of the sweep runs, and as many threads as it would take without
    Ray; another job takes `cpus_per_job` processors. All timed jobs are done on machines of one
    kind: the one that most machines have, or of several such the one with the most cores. Machines
    that join later are used. On each, a job is done in a child process with limits, so that a
    crash, a hang or a flood of memory costs that job alone. A machine or a process of Ray that dies
    costs nothing: the job is started again, up to twice.

    Parameters
    ----------
    store : Store
        Where results are kept: a folder that all machines have under the same path, or a URL.
    address : str or None
        ``HOST:PORT`` of the cluster; ``"auto"`` for the one that this machine belongs to;
        ``"local"`` to start one on this machine. None: what ``RAY_ADDRESS`` says, else as
        ``"auto"`` if there is one, else as ``"local"``. Not used if ``ray.init`` was called before.
    timed : bool
        Whether any job is timed.
    seconds : float or None
        Limit of time for a job that is `limited`.
    memory_bytes : int or None
        Anonymous memory that one child may take. None: nine tenths of its machine's, shared out
        among the jobs that it may do at once.
    cpus_per_job : int
        Processors for a job that takes no whole machine.
    patience_s : float
        How long a job waits when no machine that could do it is left; then it fails.
    say : callable, optional
        Told in a sentence what a user should know: of machines that are left out or die. By
        default, a warning of the logger of this module.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    InputError
        If there is no cluster at the address, or no machine in it that can take jobs.
    """

    def __init__(
        self,
        store: Store,
        *,
        address: str | None = None,
        timed: bool = False,
        seconds: float | None = None,
        memory_bytes: int | None = None,
        cpus_per_job: int = 1,
        patience_s: float = 300.0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._say = say or logging.getLogger(__name__).warning
        self._connection = Connection(address, self._say)
        self._store = copy.copy(store)
        self._store.root = store.root.absolute()  # machines work in other folders
        self._folder = str(Path.cwd())
        self._timed = timed
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._cpus_per_job = cpus_per_job
        self._patience_s = patience_s
        self._nodes: dict[str, _Node] = {}
        self._seen: set[str] = set()  # whoever was asked once, is in, left out, or dead
        self._asked: dict[Any, Mapping[str, Any]] = {}  # answers to come, with Ray's facts
        self._faults: list[str] = []
        self._waiting: list[_Run] = []
        self._runs: dict[Any, _Run] = {}  # by stream
        self._made_on: dict[str, _Node] = {}  # by key of an artefact
        self._said: list[News] = []
        self._looked = -math.inf
        self._able = dict.fromkeys((False, True), time.monotonic())  # by whether a job is timed
        try:
            self._begin()
        except BaseException:
            self.close(kill=True)
            raise

    def _begin(self) -> None:
        import ray

        self._do = ray.remote(max_retries=0)(do)
        self._probe = ray.remote(max_retries=0, num_cpus=0)(probe())
        self._here = ray.get_runtime_context().get_node_id()
        self._marker = self._store.root / "tmp" / f"ray-{uuid.uuid4().hex}"
        try:
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            self._marker.touch()
        except OSError as error:
            raise InputError(f"{self._store.place}: cannot be written to: {error}") from error
        self._question = (
            (ray.cloudpickle.dumps(self._store), self._marker.name),
            libraries(),
        )
        until = time.monotonic() + _FIRST_LOOK_S
        self._look(admit=False)
        found: list[_Node] = []
        while self._asked and time.monotonic() < until:
            found += self._answers(1.0)
        if not found:
            raise InputError(
                "no machine of the Ray cluster can take jobs: "
                + ("; ".join(self._faults) or "none has a CPU to give")
            )
        kinds = Counter(tuple(sorted(node.machine.items())) for node in found)
        kind = min(kinds, key=lambda one: (-kinds[one], -dict(one)["cores"], str(one)))
        self.machine = dict(kind)
        self._nodes = {node.id: node for node in found}
        alike = sum(node.machine == self.machine for node in found)
        if self._timed and alike < len(found):
            self._say(
                f"timed jobs are done on {alike} of {len(found)} machines, those with "
                f"{_kind(self.machine)}: figures of different machines are not mixed"
            )
        places = alike if self._timed else len(found)
        self.shards = _SHARDS_A_PLACE * places if places > 1 else 1

    def _look(self, *, admit: bool = True) -> None:
        """See which machines have come, and which are gone."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

        now = time.monotonic()
        if now - self._looked >= _REFRESH_S:
            self._looked = now
            listed = {one["NodeID"]: one for one in ray.nodes() if one["Alive"]}
            for gone in self._nodes.keys() - listed.keys():
                del self._nodes[gone]  # its jobs are told of by Ray, one by one
            for node_id in listed.keys() - self._seen:
                if listed[node_id]["Resources"].get("CPU", 0) >= 1:
                    place = OnNode(node_id, soft=False)
                    asked = self._probe.options(scheduling_strategy=place).remote(*self._question)
                    self._asked[asked] = listed[node_id]
                    self._seen.add(node_id)
        if admit:
            for node in self._answers(0.0):
                self._nodes[node.id] = node
                self._say(f"the machine {node.name} has joined the cluster, and is used")
        for timed in (False, True):
            if any(self._could(node, timed=timed) for node in self._nodes.values()):
                self._able[timed] = now

    def _answers(self, seconds: float) -> list[_Node]:
        """Return machines that have answered, if they can take jobs."""
        import ray

        found: list[_Node] = []
        if not self._asked:
            return found
        for ref in ray.wait([*self._asked], num_returns=len(self._asked), timeout=seconds)[0]:
            facts = self._asked.pop(ref)
            name = f"{facts['NodeManagerHostname']} ({facts['NodeManagerAddress']})"
            try:
                answer = ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                answer = {"fault": f"cannot be used: {_reason(error.cause or error)}"}
            except ray.exceptions.RayError as error:
                answer = {"fault": f"cannot be used: {_reason(error)}"}
            if answer["fault"]:
                self._faults.append(f"{name} {answer['fault']}")
                self._say(f"the machine {name} is left out: it {answer['fault']}")
                continue
            cpus = int(facts["Resources"]["CPU"])
            memory = answer["memory_bytes"]
            found.append(_Node(facts["NodeID"], name, cpus, answer["machine"], memory))
        return found

    def _could(self, node: _Node, *, timed: bool) -> bool:
        """Whether a machine can do such jobs at all."""
        return node.machine == self.machine if timed else node.cpus >= self._cpus_per_job

    def _free(self, node: _Node, job: Job) -> bool:
        """Whether a machine can do a job now."""
        if _whole(job) or any(_whole(run.job) for run in node.runs):
            return not node.runs
        return sum(run.cpus for run in node.runs) + self._cpus_per_job <= node.cpus

    def _choose(
        self, job: Job, inputs: Mapping[str, Artefact], avoid: Sequence[_Node] = ()
    ) -> _Node | None:
        """Return the machine for a job; None if there is no room."""
        timed = job.timed
        free = [
            node
            for node in self._nodes.values()
            if self._could(node, timed=timed) and self._free(node, job)
        ]

        def worth(node: _Node) -> tuple[Any, ...]:
            near = sum(self._made_on.get(one.key) is node for one in inputs.values())
            spare = self._timed and not timed and node.machine == self.machine
            return node in avoid, spare, node.load, node.id == self._here, -near, node.id

        return min(free, key=worth, default=None)

    def has_room(self, job: Job) -> bool:
        """Whether a machine is free for it.

        Where no machine is left that could ever do it, one job at a time may be started all the
        same; it waits for machines to come, and fails if none does.
        """
        if job.here:
            return not any(
                run.job.timed and run.node is not None and run.node.id == self._here
                for run in self._runs.values()
            )
        if self._waiting:
            return False
        could = any(self._could(node, timed=job.timed) for node in self._nodes.values())
        return not could or self._choose(job, {}) is not None

    def start(self, job: Job, inputs: Mapping[str, Artefact]) -> None:
        """Begin a job on the machine that suits it best."""
        import ray

        sendable = job if is_shared(self._store) else job.portable()
        try:
            sent = ray.cloudpickle.dumps(sendable)
        except Exception as error:  # noqa: BLE001 (whatever pickling a library's object raises)
            message = f"cannot be sent to another machine: {type(error).__name__}: {error}"
            self._said.append(News(job, failure=message))
            return
        large = len(sent) > _INLINE_BYTES
        self._waiting.append(_Run(job, dict(inputs), ray.put(sent) if large else sent))
        self._place()

    def _place(self) -> None:
        """Start the jobs that wait, where there is room."""
        waiting, self._waiting = self._waiting, []
        for run in waiting:
            timed = run.job.timed
            node = self._choose(run.job, run.inputs, run.died_on)
            if node is not None:
                self._send(run, node)
            elif time.monotonic() - self._able[timed] > self._patience_s:
                kind = f" with {_kind(self.machine)}" if timed else ""
                message = f"no machine{kind} is left in the cluster since {self._patience_s:g} s"
                self._said.append(News(run.job, failure=message))
            else:
                self._waiting.append(run)

    def _send(self, run: _Run, node: _Node) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

        whole = _whole(run.job)
        run.cpus = node.cpus if whole else self._cpus_per_job
        shared = max(1, 1 if whole else node.cpus // self._cpus_per_job)
        limits = Limits(
            memory_bytes=self._memory_bytes or node.memory_bytes // shared,
            seconds=self._seconds if run.job.limited else None,
        )
        task = self._do.options(
            num_cpus=run.cpus,
            name=f"{run.job.kind}: {run.job.label}",
            scheduling_strategy=OnNode(node.id, soft=False),
        )
        run.node, run.units = node, 0
        run.stream = task.remote(
            run.sent, run.job.kind, self._store, run.inputs, limits, self._folder, whole
        )
        self._runs[run.stream] = run
        node.runs.add(run)

    def news(self, seconds: float) -> Sequence[News]:
        """Wait for the machines; look after those that come and go."""
        import ray

        until = time.monotonic() + seconds
        while True:
            self._look()
            self._place()
            left = max(0.0, until - time.monotonic())
            if self._said or not (self._runs or self._waiting):
                break
            if self._runs:
                ready, _ = ray.wait([*self._runs], num_returns=1, timeout=min(left, 1.0))
                if ready:  # and who else is: the answer above names one alone
                    ready, _ = ray.wait([*self._runs], num_returns=len(self._runs), timeout=0)
                for stream in ready:
                    self._hear(self._runs[stream])
            else:
                time.sleep(min(left, 0.2))
            if time.monotonic() >= until:
                break
        said, self._said = self._said, []
        return said

    def _hear(self, run: _Run) -> None:
        """Take note of what a machine tells of a job."""
        import ray

        try:
            what, told = ray.get(next(run.stream), timeout=_GET_S)
        except ray.exceptions.RayTaskError as error:
            what, told = "failure", _reason(error.cause or error)
        except (ray.exceptions.RayError, StopIteration) as error:
            self._end(run)
            lost = (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError)
            if isinstance(error, lost) and run.node is not None:
                self._nodes.pop(run.node.id, None)
            self._died(run, _reason(error))
            return
        if what == "units":
            run.units += told
            more = run.units - run.units_said  # a second try tells of the same units again
            if more > 0 or not told:
                run.units_said = max(run.units, run.units_said)
                self._said.append(News(run.job, units=max(0, more)))
            return
        if what == "damage":
            self._said.append(News(run.job, damage=told))
            return
        self._end(run)
        if what == "artefact":
            if run.node is not None:
                self._made_on[told.key] = run.node
            await_folder(told.folder, self._store)
        self._said.append(News(run.job, **{what: told}))

    def _end(self, run: _Run) -> None:
        del self._runs[run.stream]
        if run.node is not None:
            run.node.runs.discard(run)

    def _died(self, run: _Run, reason: str) -> None:
        """Start a job again whose process or machine died."""
        if run.node is None:
            return
        run.died_on.append(run.node)
        tries = len(run.died_on)
        names = ", ".join(dict.fromkeys(node.name for node in run.died_on))
        if tries >= _DEATHS:
            message = f"its process or machine died {tries} times, on {names}; the last: {reason}"
            self._said.append(News(run.job, failure=message))
            return
        self._say(
            f"{run.job.label}: its process or machine died, on {run.node.name}, and it is started "
            f"again ({tries} of {_DEATHS - 1}): {reason}"
        )
        self._looked = -math.inf  # it may be the whole machine
        self._look()
        self._waiting.append(run)

    def close(self, *, kill: bool) -> None:
        """Let go of the cluster; what was started for this sweep ends."""
        import ray

        while self._runs and not kill:
            self.news(1.0)
        with contextlib.suppress(Exception):  # the cluster may be gone; nothing is left to do then
            for ref in itertools.chain(self._runs, self._asked):
                ray.cancel(ref, force=True)
        self._runs.clear()
        self._asked.clear()
        with contextlib.suppress(AttributeError, OSError):
            self._marker.unlink(missing_ok=True)
        self._connection.close(kill=kill)


def _whole(job: Job) -> bool:
    """Whether a job has a machine to itself; a model takes all cores anyhow."""
    return job.timed or job.kind == "encode"


def _kind(machine: Mapping[str, Any]) -> str:
    return f"{machine['cores']} cores of {machine['processor']}"


def _reason(error: BaseException) -> str:
    """Return the first sentence of what Ray says."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")[:300]
