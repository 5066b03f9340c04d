"""What is timed, how often, and that measuring changes nothing."""

from __future__ import annotations

import gc
import json
import platform
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from retrieval_eval import timing
from retrieval_eval.errors import InputError
from retrieval_eval.parameters import make_parameters
from retrieval_eval.timing import (
    SearchTimes,
    ThreadLimit,
    TimingOptions,
    hardware,
    library_versions,
    time_search,
)

WARM_UP = 20


class Recorder:
    """A search call that keeps what it was given."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float32]] = []
        self.collected: list[bool] = []

    def __call__(self, queries: NDArray[np.float32]) -> None:
        self.seen.append(queries.copy())
        self.collected.append(gc.isenabled())

    def sizes(self) -> list[int]:
        return [len(queries) for queries in self.seen]


def numbered(n: int, d: int = 3) -> NDArray[np.float32]:
    """Make n distinct queries; the first column is the row number."""
    return (np.arange(n, dtype=np.float32)[:, None] + np.zeros(d, dtype=np.float32)).copy()


def measure(call: Any, queries: NDArray[np.float32], **options: int) -> SearchTimes:
    given = {"repeats": 2, "latency_queries": 30, "batch_queries": 50, "seed": 1, **options}
    return time_search(call, queries, **given)


def test_every_repeat_times_each_query_alone_and_then_one_batch() -> None:
    call = Recorder()
    times = measure(call, numbered(100), repeats=3)
    warm_up = [1] * WARM_UP + [50]
    assert call.sizes() == warm_up + ([1] * 30 + [50]) * 3
    assert times.latency_calls == 3 * 30
    assert len(times.batch_s) == 3
    assert times.batch_queries == 50


def test_with_few_queries_all_are_used_and_warm_up_is_no_longer_than_they_are() -> None:
    call = Recorder()
    times = measure(call, numbered(7), repeats=2)
    assert call.sizes() == [1] * 7 + [7] + ([1] * 7 + [7]) * 2
    assert times.latency_calls == 14
    assert times.batch_queries == 7


def test_queries_are_distinct_and_the_same_in_every_repeat() -> None:
    call = Recorder()
    measure(call, numbered(100), repeats=2)
    rows = [queries[:, 0].tolist() for queries in call.seen]
    first, second = rows[WARM_UP + 1 : WARM_UP + 32], rows[WARM_UP + 32 :]
    assert first == second
    singles = [row[0] for row in first[:-1]]
    assert len(set(singles)) == 30
    assert len(set(first[-1])) == 50


def test_the_sample_is_the_seeds_alone() -> None:
    def rows(seed: int) -> list[list[float]]:
        call = Recorder()
        measure(call, numbered(100), seed=seed)
        return [queries[:, 0].tolist() for queries in call.seen]

    state = np.random.get_state()[1].tolist()  # noqa: NPY002 (the global state is the subject)
    assert rows(5) == rows(5)
    assert rows(5) != rows(6)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


class FakeClock:
    """A clock that only the calls move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=fake))
    return fake


def test_percentiles_cover_the_single_calls_of_all_repeats_and_no_warm_up(
    clock: FakeClock,
) -> None:
    singles = iter([1000.0] * 10 + [1.0] * 10 + [2.0] * 10 + [7.0] * 10)
    batches = iter([5000.0, 10.0, 40.0, 20.0])

    def call(queries: NDArray[np.float32]) -> None:
        clock.now += next(singles if len(queries) == 1 else batches)

    times = measure(call, numbered(10), repeats=3, latency_queries=10, batch_queries=10)
    assert times.latency_p50_s == 2.0
    assert times.latency_p95_s == 7.0
    assert times.latency_calls == 30
    assert times.batch_s == (10.0, 40.0, 20.0)
    assert times.qps == 10 / 20.0


def test_percentiles_are_not_means(clock: FakeClock) -> None:
    singles = iter([0.0] * 20 + [1.0] * 99 + [1000.0])

    def call(queries: NDArray[np.float32]) -> None:
        clock.now += next(singles) if len(queries) == 1 else 1.0

    times = measure(call, numbered(120), repeats=1, latency_queries=100, batch_queries=120)
    assert (times.latency_p50_s, times.latency_p95_s) == (1.0, 1.0)


def test_throughput_is_that_of_the_median_repeat() -> None:
    assert SearchTimes(0.1, 0.2, 0.3, 5, (1.0, 4.0, 2.0), 100).qps == 50.0


def test_the_callers_queries_are_not_changed_even_by_a_call_that_writes_into_its_own() -> None:
    queries = numbered(60)
    before = queries.copy()

    def call(given: NDArray[np.float32]) -> None:
        assert not np.shares_memory(given, queries)
        given[:] = -1

    measure(call, queries)
    np.testing.assert_array_equal(queries, before)


def test_each_call_gets_contiguous_float32_of_two_dimensions() -> None:
    def call(given: NDArray[np.float32]) -> None:
        assert given.dtype == np.float32
        assert given.ndim == 2
        assert given.flags.c_contiguous

    measure(call, np.asfortranarray(numbered(60)))
    measure(call, numbered(120)[::2])


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_waits_outside_and_is_then_as_it_was(enabled: bool) -> None:
    was_enabled = gc.isenabled()
    call = Recorder()
    try:
        (gc.enable if enabled else gc.disable)()
        measure(call, numbered(5))
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
    assert call.collected
    assert not any(call.collected)


def test_a_call_that_raises_leaves_garbage_collection_as_it_was() -> None:
    def call(queries: NDArray[np.float32]) -> None:
        raise RuntimeError("broken index")

    assert gc.isenabled()
    with pytest.raises(RuntimeError, match="broken index"):
        measure(call, numbered(5))
    assert gc.isenabled()


# threads


def pools() -> list[tuple[str, int]]:
    return sorted((pool["filepath"], pool["num_threads"]) for pool in threadpool_info())


def test_a_thread_limit_holds_inside_and_is_gone_after() -> None:
    with threadpool_limits(limits=2):
        before = pools()
        assert any(threads == 2 for _, threads in before)
        with ThreadLimit(1):
            assert {threads for _, threads in pools()} == {1}
        assert pools() == before


def test_a_thread_limit_is_gone_after_an_error_too() -> None:
    def fail() -> None:
        with ThreadLimit(1):
            raise RuntimeError("inside")

    with threadpool_limits(limits=2):
        before = pools()
        with pytest.raises(RuntimeError, match="inside"):
            fail()
        assert pools() == before


def test_no_thread_limit_changes_nothing() -> None:
    before = pools()
    with ThreadLimit(None):
        assert pools() == before
    assert pools() == before


@pytest.mark.parametrize("threads", [0, -1])
def test_a_thread_limit_below_one_is_refused(threads: int) -> None:
    with pytest.raises(InputError, match=f"threads is {threads}"), ThreadLimit(threads):
        pass


# options and facts


@pytest.mark.parametrize("name", ["threads", "repeats", "latency_queries", "batch_queries"])
@pytest.mark.parametrize("value", [0, -1, True, "2", 1.0])
def test_timing_options_are_whole_numbers_of_at_least_one(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"timing: parameter '{name}'"):
        make_parameters(TimingOptions, {name: value}, "timing")


def only_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and only_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(only_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def test_the_description_of_the_machine_is_plain_and_complete() -> None:
    facts = hardware()
    assert set(facts) == {"processor", "cores", "memory_bytes", "system", "load_average"}
    assert only_plain(facts)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["processor"]
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] is None or facts["memory_bytes"] > 2**20


def test_library_versions_are_those_installed_and_leave_out_what_is_not() -> None:
    found = library_versions("numpy", "no-such-distribution")
    assert found == {"python": platform.python_version(), "numpy": version("numpy")}
    assert list(library_versions()) == ["python"]
