"""Ending within two seconds of Ctrl-C, whatever the process is busy with.

Python raises KeyboardInterrupt in the main thread as soon as that runs Python code again. A
library's call may take minutes until then, and other threads cannot run meanwhile if it keeps the
interpreter's lock. So a small process of its own waits for the signal, which the system hands on
without Python's help, and knocks: at a thread here, which ends the process; or, if that does not
answer, at the system.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["STOPPED", "ends_promptly"]

STOPPED = "stopped: what is finished is kept; run it again to go on"
"""What is said at the end."""

_SAME_S = 0.25  # a signal to the process, and one to its group, may be one wish
_LAST_S = 0.4  # for the last steps, before the process is killed

# Reads signal numbers from its standard input, which ends when the other process does.
_WATCHDOG = """
import os, select, sys, time
grace, same, last = map(float, sys.argv[1:4])
parent, message, signals = int(sys.argv[4]), sys.argv[5], bytes(map(int, sys.argv[6:]))
def signalled(seconds):
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        left = None if end is None else max(0.0, end - time.monotonic())
        if select.select([0], [], [], left)[0]:
            found = os.read(0, 1)
            if not found:
                sys.exit()
            if found in signals:
                return True
    return False
signalled(None)
begun = time.monotonic()
while signalled(begun + grace - time.monotonic()):
    if time.monotonic() - begun > same:
        break
os.write(1, b"!")
end = time.monotonic() + last
while signalled(end - time.monotonic()):
    pass
os.kill(parent, 9)
try:
    os.write(2, message.encode())
except OSError:
    pass
"""


def _nothing() -> None:
    pass


@contextmanager
def ends_promptly(last: Callable[[], object] = _nothing, *, after_s: float = 1.5) -> Iterator[None]:
    """Make SIGINT and SIGTERM end the process soon, within the block.

    The first one raises KeyboardInterrupt, as usual. If the block has not been left `after_s`
    seconds later, or at a second one, `last` is called, and the process ends with code 130 at once:
    nothing is cleaned up, so everything on disk has to bear that. If even that is impossible, since
    a library's call keeps the interpreter's lock, the process is killed 0.4 s later without `last`;
    a shell then sees code 137. In each case :data:`STOPPED` is written to standard error.

    It has no effect in other threads than the main one, and on signals that are ignored. Handlers
    are restored at the end. Two signals within a quarter of a second count as one.

    Parameters
    ----------
    last : callable
        The last steps, such as to kill child processes. It is called at most once, mostly in
        another thread, has 0.4 s, and what it raises is ignored.
    after_s : float
        Seconds from the signal to the end.

    Examples
    --------
    >>> with ends_promptly():
    ...     pass  # long work
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    both = (signal.SIGINT, signal.SIGTERM)
    before = {one: signal.getsignal(one) for one in both}
    handled = [one for one in both if before[one] not in (signal.SIG_IGN, None)]
    if not handled:
        yield
        return
    end = _End(last)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_watched(handled, end, after_s))
        first: list[float] = []

        def interrupted(_number: int, _frame: FrameType | None) -> None:
            first.append(time.monotonic())
            if first[-1] - first[0] > _SAME_S:
                end.now()
            if len(first) == 1:
                raise KeyboardInterrupt

        for one in handled:
            stack.callback(signal.signal, one, before[one])
            signal.signal(one, interrupted)
        within = [True]
        stack.callback(within.clear)

        def in_forked_child() -> None:  # a signal to that is none to this process
            if within:
                signal.set_wakeup_fd(-1)
                for one in handled:
                    signal.signal(one, before[one])

        os.register_at_fork(after_in_child=in_forked_child)
        stack.callback(end.called_off)  # the first thing to happen when the block is left
        try:
            yield
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{STOPPED}\n")
            raise


class _End:
    """Ends the process, once, unless that was called off."""

    def __init__(self, last: Callable[[], object]) -> None:
        self._last = last
        self._lock = threading.Lock()

    def now(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        with contextlib.suppress(BaseException):
            self._last()
        with contextlib.suppress(OSError):
            os.write(2, _message().encode())
        os._exit(130)

    def called_off(self) -> None:
        self._lock.acquire(blocking=False)


def _message() -> str:
    """Return the last line; on a terminal, below what is drawn there, and with the cursor."""
    drawn = "\n\x1b[?25h" if os.isatty(2) else ""
    return f"{drawn}{STOPPED}\n"


@contextmanager
def _watched(signals: list[signal.Signals], end: _End, after_s: float) -> Iterator[None]:
    """Let a process of its own wait for the signals; if none can be started, do without."""
    from_system, to_watchdog = os.pipe()
    os.set_blocking(to_watchdog, False)
    answers, answer = os.pipe()
    told = (after_s, _SAME_S, _LAST_S, os.getpid(), _message(), *map(int, signals))
    watchdog = None
    with contextlib.suppress(OSError):
        watchdog = subprocess.Popen(  # noqa: S603 (this interpreter)
            [sys.executable or "", "-I", "-S", "-c", _WATCHDOG, *map(str, told)],
            stdin=from_system,
            stdout=answer,
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
    os.close(from_system)
    os.close(answer)

    def wait() -> None:
        if os.read(answers, 1):  # else: the watchdog was ended
            end.now()

    thread = threading.Thread(target=wait, name="end", daemon=True)
    thread.start()
    try:
        if watchdog is None:
            yield
            return
        earlier = signal.set_wakeup_fd(to_watchdog, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(earlier)
            watchdog.kill()
            watchdog.wait()
    finally:
        os.close(to_watchdog)
        thread.join()
        os.close(answers)
