"""Ctrl-C: a process ends soon, whatever it is busy with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval_eval.sweep import interrupt
from retrieval_eval.sweep.interrupt import STOPPED, ends_promptly

Start = Callable[..., subprocess.Popen[str]]

PROGRAM = """
import hashlib, itertools, pathlib, runpy, signal, sys, time
ends_promptly = runpy.run_path({path!r})["ends_promptly"]  # the package takes a second to import

def last():
    pathlib.Path("last").write_text("called")
    {last}

try:
    with ends_promptly(last, after_s={after_s}):
        print("ready", flush=True)
        {work}
except KeyboardInterrupt:
    print("went up", flush=True)
    sys.exit(130)
"""
ORDINARY = "time.sleep(60)"
WITHOUT_LOCK = "hashlib.pbkdf2_hmac('sha256', b'a', b'a', 2_000_000_000)"
WITH_LOCK = "all(itertools.repeat(1))"
FORKS = """
        import os
        child = os.fork()
        if not child:
            time.sleep(60)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        status = os.waitpid(child, 0)[1]
        time.sleep(1)  # longer than this process would have
        print("ended by", os.WTERMSIG(status))
"""
SWALLOWS = "exec('while 1:\\n try: time.sleep(60)\\n except KeyboardInterrupt: pass')"


def be_interrupted() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


@pytest.fixture(autouse=True)
def _attentive() -> Iterator[None]:
    """Take signals as a program started from a shell does; one in its background ignores them."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a program and waits until it is busy."""
    processes = []

    def run(work: str, *, after_s: float = 0.3, last: str = "") -> subprocess.Popen[str]:
        text = PROGRAM.format(work=work, after_s=after_s, last=last, path=interrupt.__file__)
        process = subprocess.Popen(
            [sys.executable, "-c", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)  # into the work, and for the watchdog to be up
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_can_be_interrupted_is_left_as_usual(start: Start, number: int) -> None:
    process = start(ORDINARY, after_s=10)
    process.send_signal(number)
    assert process.communicate(timeout=20) == ("went up\n", f"{STOPPED}\n")
    assert process.returncode == 130
    assert not Path("last").exists()


@pytest.mark.parametrize("work", [WITHOUT_LOCK, SWALLOWS])
def test_what_does_not_return_is_ended_after_the_last_steps(start: Start, work: str) -> None:
    process = start(work)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", f"{STOPPED}\n")
    assert process.returncode == 130
    assert Path("last").read_text() == "called"


def test_what_keeps_the_interpreters_lock_is_killed(start: Start) -> None:
    process = start(WITH_LOCK)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", f"{STOPPED}\n")
    assert process.returncode == -signal.SIGKILL


def test_last_steps_that_fail_or_hang_hold_nothing_up(start: Start) -> None:
    process = start(WITHOUT_LOCK, last="raise SystemExit")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    process = start(WITHOUT_LOCK, last="time.sleep(60)")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL


def test_a_second_signal_ends_at_once_and_an_echo_does_not(start: Start) -> None:
    process = start(WITHOUT_LOCK, after_s=1000)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)  # one wish
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.6)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", f"{STOPPED}\n")
    assert process.returncode == 130


def test_its_watchdog_goes_with_it(start: Start) -> None:
    process = start(ORDINARY, after_s=1000)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not list child processes")
    (child,) = children.read_text().split()
    process.kill()
    end = time.monotonic() + 20
    while Path(f"/proc/{child}/cmdline").exists() and time.monotonic() < end:
        if b"grace" not in Path(f"/proc/{child}/cmdline").read_bytes():
            break  # a zombie that nobody waits for
        time.sleep(0.02)
    assert time.monotonic() < end


def test_a_signal_to_a_forked_child_is_none_to_this_process(start: Start) -> None:
    process = start(FORKS, after_s=0.1)
    assert process.communicate(timeout=20) == ("ended by 15\n", "")
    assert process.returncode == 0


def test_the_block_leaves_everything_as_it_was() -> None:
    threads = threading.active_count()
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with ends_promptly():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    with pytest.raises(KeyError), ends_promptly():
        raise KeyError
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads
    if files:
        assert len(os.listdir("/proc/self/fd")) == files  # noqa: PTH208


def test_an_interruption_that_is_dealt_with_in_time_costs_nothing() -> None:
    with pytest.raises(KeyboardInterrupt), ends_promptly(lambda: os._exit(1), after_s=0.5):
        be_interrupted()
    time.sleep(0.7)  # longer than it had


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    seen = []

    def elsewhere() -> None:
        with ends_promptly():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ends_promptly():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_watchdog_ctrl_c_is_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", None)
    with pytest.raises(KeyboardInterrupt), ends_promptly():
        be_interrupted()
