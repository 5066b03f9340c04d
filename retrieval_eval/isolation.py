"""Work in a child process, so that a crash, a hang or a flood of memory costs that work alone.

The child lives on from one piece of work to the next, since starting one takes longer than much
of the work; after a death there is a new one. What is sent is pickled, between these two processes
only.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from retrieval_eval.errors import RetrievalEvalError

__all__ = ["ChildError", "Worker", "machine_memory"]

_POLL_S = 0.05
_LAST_WORDS = 2000  # bytes of the child's standard error that are looked at


class ChildError(Exception):
    """Work in a child process failed, or ended the process.

    Parameters
    ----------
    message : str
        One line: what happened, with the last words of the process if it died.
    """


class Worker:
    """A child process that does one piece of work after another.

    Parameters
    ----------
    memory_bytes : int or None
        Anonymous memory that the child may take; beyond it, it is killed. None sets no limit.
    seconds : float or None
        How long a piece of work may take; after that, the child is killed. None sets no limit.

    Examples
    --------
    >>> from math import sqrt
    >>> with Worker() as worker:
    ...     worker.run(sqrt, 16.0)
    4.0
    """

    def __init__(self, *, memory_bytes: int | None = None, seconds: float | None = None) -> None:
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: Connection | None = None
        self._answers: Connection | None = None
        self._stderr: IO[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function in the child.

        Parameters
        ----------
        function : callable
            Of a module that the child can import.
        *arguments, **options
            Picklable.

        Returns
        -------
        object
            What the function returned; picklable.

        Raises
        ------
        RetrievalEvalError
            As the function raised it.
        ChildError
            If the function raised anything else, or its process died or had to be killed.
        """
        requests, answers = self._ready()
        begun = time.monotonic()
        try:
            requests.send_bytes(pickle.dumps((function, arguments, options)))
            while not answers.poll(_POLL_S):
                self._watch(begun)
            kind, value = pickle.loads(answers.recv_bytes())  # noqa: S301 (our own child's)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise ChildError(self._obituary()) from None
        except BaseException:
            self._kill()  # half of an answer may be on its way
            raise
        if kind == "value":
            return value
        if kind == "error":
            raise value
        raise ChildError(value)

    def close(self) -> None:
        """End the child."""
        if self._requests is not None:
            self._requests.close()  # the child reads the end of its work
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
        self._kill()

    def _ready(self) -> tuple[Connection, Connection]:
        """Return the connections to a child that lives."""
        if self._process is not None and self._process.poll() is not None:
            self._kill()
        if self._requests is None or self._answers is None:
            for_child, ours, from_child, theirs = *os.pipe(), *os.pipe()
            self._requests = Connection(ours, readable=False)
            self._answers = Connection(from_child, writable=False)
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
            self._process = subprocess.Popen(  # noqa: S603 (this interpreter, and this module)
                [sys.executable, "-m", __name__, str(for_child), str(theirs)],
                pass_fds=(for_child, theirs),
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            )
            os.close(for_child)
            os.close(theirs)
        return self._requests, self._answers

    def _watch(self, begun: float) -> None:
        """Kill the child if it went past a limit."""
        process = self._process
        if process is None or process.poll() is not None:
            return  # reading its pipe will say so
        took = time.monotonic() - begun
        if self._seconds is not None and took > self._seconds:
            self._kill()
            raise ChildError(f"was stopped after {self._seconds:g} s, its limit of time")
        if self._memory_bytes is not None:
            used = _anonymous_bytes(process.pid)
            if used > self._memory_bytes:
                self._kill()
                raise ChildError(
                    f"was stopped with {used / 1e9:.1f} GB of memory: its limit is "
                    f"{self._memory_bytes / 1e9:.1f} GB"
                )

    def _obituary(self) -> str:
        """Say how the child died, with its last words."""
        process, words = self._process, ""
        code = None if process is None else process.wait(timeout=10)
        if self._stderr is not None:
            size = self._stderr.seek(0, os.SEEK_END)
            self._stderr.seek(max(0, size - _LAST_WORDS))
            lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
            fatal = [n for n, line in enumerate(lines) if line.startswith("Fatal Python error")]
            # That report begins with the latest frame; an ordinary traceback ends with the error.
            kept = lines[fatal[-1] :][:4] if fatal else lines[-2:]
            words = "; ".join(line.strip() for line in kept if line.strip())
        self._kill()
        how = f"ended its process with code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += ", as a system does when memory runs out"
        return f"{how}{f'; its last words: {words}' if words else ''}"

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        for stream in (self._requests, self._answers, self._stderr):
            if stream is not None:
                stream.close()
        self._process = self._requests = self._answers = self._stderr = None


def machine_memory() -> int:
    """Return nine tenths of the machine's memory, in bytes: more brings everything to a halt."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10


def _anonymous_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    line = next((one for one in text.splitlines() if one.startswith("RssAnon:")), "")
    return 1024 * int(line.split()[1]) if line else 0


def _serve(requests: Connection, answers: Connection) -> None:
    """Do what comes through the pipe until it is closed."""
    while True:
        try:
            text = requests.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments, options = pickle.loads(text)  # noqa: S301 (our own parent's)
            answer: tuple[str, Any] = ("value", function(*arguments, **options))
        except RetrievalEvalError as error:
            answer = ("error", error)
        except Exception as error:  # noqa: BLE001 (whatever it is, the parent has to know)
            last = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})"
            answer = ("failure", " ".join(message.split()))
        answers.send_bytes(pickle.dumps(answer))


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1]), writable=False), Connection(int(sys.argv[2])))
