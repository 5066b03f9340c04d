"""Measuring cost so that it survives criticism, and the facts that make a figure comparable.

Times are in seconds, from a monotonic clock. Warm-up comes first; every repeat counts; garbage
collection waits outside; single-query latency and batch throughput are measured apart.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "OtherWork",
    "SearchTimes",
    "ThreadLimit",
    "TimingOptions",
    "hardware",
    "library_versions",
    "machine",
    "noise",
    "time_search",
]

_WARM_UP_QUERIES = 20
_SHORTEST_S = 0.2  # the system counts in hundredths of a second
_NOISY_SHARE = 0.1
_NOISY_SPREAD = 1.5


@dataclass(frozen=True)
class TimingOptions:
    """How cost is measured.

    Parameters
    ----------
    threads : int
        Threads for building and searching.
    repeats : int
        How often each search is timed.
    latency_queries : int
        Distinct queries timed one by one, at most.
    batch_queries : int
        Distinct queries timed as one batch, at most.
    memory : bool
        Whether the peak memory of a fresh process that searches the index is measured.
    """

    threads: Annotated[int, Ge(1)] = 1
    repeats: Annotated[int, Ge(1)] = 5
    latency_queries: Annotated[int, Ge(1)] = 500
    batch_queries: Annotated[int, Ge(1)] = 1000
    memory: bool = True


@dataclass(frozen=True)
class SearchTimes:
    """Measured cost of searching, in seconds.

    Parameters
    ----------
    latency_p50_s, latency_p95_s, latency_p99_s : float
        Percentiles over every single-query call of all repeats.
    latency_calls : int
        How many calls that were.
    batch_s : tuple of float
        Duration of each repeat of the batch.
    batch_queries : int
        Number of queries in the batch.
    """

    latency_p50_s: float
    latency_p95_s: float
    latency_p99_s: float
    latency_calls: int
    batch_s: tuple[float, ...]
    batch_queries: int

    @property
    def qps(self) -> float:
        """Batch throughput in queries per second, from the median repeat."""
        return self.batch_queries / float(np.median(self.batch_s))

    @property
    def spread(self) -> float | None:
        """Slowest repeat of the batch as a multiple of the fastest; None for a single repeat."""
        return max(self.batch_s) / min(self.batch_s) if len(self.batch_s) > 1 else None


class ThreadLimit:
    """Limits every OpenMP and BLAS pool of the process that is loaded by now, and restores it.

    Finding the pools takes milliseconds and happens once, here; entering and leaving take
    microseconds, so that a search of one query can be limited.

    Parameters
    ----------
    threads : int or None
        None leaves everything as it is.

    Raises
    ------
    InputError
        For less than one thread.

    Examples
    --------
    >>> limit = ThreadLimit(1)
    >>> with limit:
    ...     pass  # one thread
    """

    def __init__(self, threads: int | None) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}: it must be at least 1")
        self._threads = threads
        self._pools: list[Any] = []
        self._before: list[list[tuple[Any, int]]] = []  # a stack: limits of one object may nest
        if threads is not None:
            from threadpoolctl import ThreadpoolController

            self._pools = ThreadpoolController().lib_controllers

    def __enter__(self) -> None:
        counts = [(pool, pool.num_threads) for pool in self._pools]
        changed = [(pool, count) for pool, count in counts if count != self._threads]
        self._before.append(changed)  # what has the count already is left alone: setting it costs
        for pool, _ in changed:
            pool.set_num_threads(self._threads)

    def __exit__(self, *_: object) -> None:
        for pool, count in self._before.pop():
            pool.set_num_threads(count)


class OtherWork:
    """Measures how busy others keep the cores that this process may use, in a ``with`` block.

    Attributes
    ----------
    cores : float or None
        After the block: processor time of everybody else (other processes, other guests of the
        same host, the system itself) in seconds per second. None where the system does not tell,
        or the block was too short.

    Examples
    --------
    >>> with OtherWork() as others:
    ...     pass
    >>> others.cores is None  # too short
    True
    """

    def __init__(self) -> None:
        self.cores: float | None = None

    def __enter__(self) -> OtherWork:
        self._before = time.monotonic(), self._busy_s(), self._own_s()
        return self

    def __exit__(self, *_: object) -> None:
        took = time.monotonic() - self._before[0]
        busy, before = self._busy_s(), self._before[1]
        if took >= _SHORTEST_S and busy is not None and before is not None:
            others = busy - before - (self._own_s() - self._before[2])
            self.cores = max(0.0, others / took)

    @staticmethod
    def _own_s() -> float:
        return sum(os.times()[:2])

    @staticmethod
    def _busy_s() -> float | None:
        """Return what the cores of this process have worked since the system was started."""
        try:
            lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
            names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, AttributeError, ValueError):
            return None
        counts = [line.split() for line in lines if line.split(" ", 1)[0] in names]
        # user, nice, system, idle, iowait, irq, softirq, steal
        return sum(int(one[n]) for one in counts for n in (1, 2, 3, 6, 7, 8)) / ticks


def noise(other_cores: float | None, spread: float | None = None) -> str:
    """Say why a timing cannot be trusted; nothing if it can.

    Parameters
    ----------
    other_cores : float or None
        From :class:`OtherWork`; more than a tenth of this machine's cores is noise.
    spread : float or None
        Slowest repeat as a multiple of the fastest; more than 1.5 is noise.

    Examples
    --------
    >>> noise(0.0, 1.1), noise(None, 2.0)
    ('', 'the slowest repeat took 2.0 x the fastest')
    """
    found = []
    if other_cores is not None and other_cores > _NOISY_SHARE * (hardware()["cores"] or 1):
        found.append(f"others kept {other_cores:.1f} cores busy")
    if spread is not None and spread > _NOISY_SPREAD:
        found.append(f"the slowest repeat took {spread:.1f} x the fastest")
    return ", ".join(found)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def time_search(
    call: Callable[[Any], object],
    queries: NDArray[np.float32] | csr_array,
    *,
    repeats: int,
    latency_queries: int,
    batch_queries: int,
    seed: int,
) -> SearchTimes:
    """Time a bound search call, one query at a time and in a batch.

    Parameters
    ----------
    call : callable
        Takes prepared queries of shape (n, d); nothing else is inside the timed section.
    queries : ndarray or csr_array of float32, shape (n, d)
        Prepared queries; a seeded sample is used where there are more than asked for.
    repeats : int
        How often each is measured, after a warm-up that does not count.
    latency_queries, batch_queries : int
        How many distinct queries the two measurements use at most.
    seed : int
        Seed of the sample.

    Returns
    -------
    SearchTimes
        The figures of all repeats.
    """
    order = np.random.default_rng(seed).permutation(queries.shape[0])
    batch = queries[order[:batch_queries]]  # a copy, contiguous
    singles = [queries[row : row + 1].copy() for row in order[:latency_queries]]
    clock = time.perf_counter
    latencies: list[float] = []
    batches: list[float] = []
    with _no_garbage_collection():
        for single in singles[:_WARM_UP_QUERIES]:
            call(single)
        call(batch)
        for _ in range(repeats):
            for single in singles:
                start = clock()
                call(single)
                latencies.append(clock() - start)
            start = clock()
            call(batch)
            batches.append(clock() - start)
    p50, p95, p99 = (float(p) for p in np.percentile(latencies, [50, 95, 99]))
    return SearchTimes(p50, p95, p99, len(latencies), tuple(batches), batch.shape[0])


def hardware() -> dict[str, Any]:
    """Describe the machine: processor, cores this process may use, memory in bytes, system."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        model = next(named, model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": model,
        "cores": cores,
        "memory_bytes": memory,
        "system": platform.platform(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def machine() -> dict[str, Any]:
    """Return what a timing depends on and a cache must not confuse."""
    facts = hardware()
    return {"processor": facts["processor"], "cores": facts["cores"]}


def library_versions(*names: str) -> dict[str, str]:
    """Return the versions of Python and of those of the named distributions that are installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
