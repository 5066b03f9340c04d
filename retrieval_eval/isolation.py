"""Work in a child process, so that a crash, a hang or a flood of memory costs that work alone.

The child lives on from one piece of work to the next, since starting one takes longer than much
of the work; after a death there is a new one. What is sent is pickled, between these two processes
only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from retrieval_eval.errors import InputError, RetrievalEvalError

__all__ = ["ChildError", "Returned", "Worker", "machine_memory", "serve", "tell"]

_POLL_S = 0.05
_START_S = 60.0  # for a child to start, and to load the libraries of what it was sent
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_PATH = "RETRIEVAL_EVAL_CHILD_PATH"
_CHILD = f"""
import json, os, sys
sys.path[:] = json.loads(os.environ.pop({_PATH!r}))
from retrieval_eval.isolation import serve
serve(int(sys.argv[1]), int(sys.argv[2]))
"""


def _path() -> list[str]:
    """Return where this process finds modules, then the working folder, as absolute paths."""
    return [*(str(Path(one).absolute()) for one in sys.path), str(Path.cwd())]


_LAST_WORDS = 2000  # bytes of the child's standard error that are looked at


class ChildError(Exception):
    """Work in a child process failed, or ended the process.

    Parameters
    ----------
    message : str
        One line: what happened, with the last words of the process if it died.
    """


@dataclass(frozen=True)
class Returned:
    """What a call in the child has returned.

    Parameters
    ----------
    value : object
        The value.
    """

    value: Any


class Worker:
    """A child process that does one piece of work after another.

    Parameters
    ----------
    memory_bytes : int or None
        Anonymous memory that the child may take; beyond it, it is killed. None sets no limit.
    seconds : float or None
        How long a piece of work may take; after that, the child is killed. None sets no limit.
        Both can be set between two pieces of work.

    Examples
    --------
    >>> from math import sqrt
    >>> with Worker() as worker:
    ...     worker.run(sqrt, 16.0)
    4.0
    """

    def __init__(self, *, memory_bytes: int | None = None, seconds: float | None = None) -> None:
        self.memory_bytes = memory_bytes
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: Connection | None = None
        self._answers: Connection | None = None
        self._stderr: IO[bytes] | None = None
        self._ends = math.inf

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function in the child, and wait for what it returns.

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
        self.start(function, arguments, options)
        while True:
            for told in self.poll(_POLL_S):
                if isinstance(told, Returned):
                    return told.value

    def start(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a call in the child.

        Parameters
        ----------
        function, arguments, options
            As for :meth:`run`.

        Raises
        ------
        ChildError
            If the child does not take it.
        """
        requests, _ = self._ready()
        self._ends = time.monotonic() + (self.seconds or math.inf) + _START_S
        text = pickle.dumps((function, tuple(arguments), dict(options or {})))
        try:
            requests.send_bytes(text)
        except (BrokenPipeError, ConnectionResetError):
            raise ChildError(self._obituary()) from None
        except BaseException:
            self.kill()  # half of a question may be on its way
            raise

    def poll(self, wait_s: float = 0.0) -> list[Any]:
        """Return what the call under way has told since it was last asked.

        Returns
        -------
        list
            What the function gave to :func:`tell`; a :class:`Returned` is the last of a call.

        Raises
        ------
        RetrievalEvalError, ChildError
            As :meth:`run` does.
        """
        found: list[Any] = []
        answers = self._answers
        if answers is None:
            raise ChildError("there is no call under way")
        try:
            while answers.poll(wait_s if not found else 0.0):
                kind, value = pickle.loads(answers.recv_bytes())  # noqa: S301 (our own child's)
                if kind == "begun":
                    self._ends = time.monotonic() + (self.seconds or math.inf)
                    continue
                if kind == "value":
                    return [*found, Returned(value)]
                if kind == "error":
                    raise value
                if kind == "failure":
                    raise ChildError(value)
                found.append(value)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise ChildError(self._obituary()) from None
        except (RetrievalEvalError, ChildError):
            raise
        except BaseException:
            self.kill()  # half of an answer may be on its way
            raise
        self._watch()
        return found

    def used_bytes(self) -> int:
        """Return the anonymous memory of the child; 0 where the system does not tell."""
        return 0 if self._process is None else _anonymous_bytes(self._process.pid)

    @property
    def answers(self) -> Connection | None:
        """What to wait for with :func:`multiprocessing.connection.wait`; None without a child."""
        return self._answers

    def close(self) -> None:
        """End the child."""
        if self._requests is not None:
            self._requests.close()  # the child reads the end of its work
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
        self.kill()

    def _ready(self) -> tuple[Connection, Connection]:
        """Return the connections to a child that lives."""
        if self._process is not None and self._process.poll() is not None:
            self.kill()
        if self._requests is None or self._answers is None:
            for_child, ours, from_child, theirs = *os.pipe(), *os.pipe()
            self._requests = Connection(ours, readable=False)
            self._answers = Connection(from_child, writable=False)
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the child)
            try:
                # It finds what this process finds; -P: the working folder does not come first.
                self._process = subprocess.Popen(  # noqa: S603 (this interpreter)
                    [sys.executable, "-P", "-c", _CHILD, str(for_child), str(theirs)],
                    pass_fds=(for_child, theirs),
                    stdin=subprocess.DEVNULL,
                    stdout=self._stderr,
                    stderr=self._stderr,
                    env={**os.environ, "PYTHONFAULTHANDLER": "1", _PATH: json.dumps(_path())},
                )
            except OSError as error:
                self.kill()
                raise ChildError(f"no child process could be started: {error}") from error
            finally:
                os.close(for_child)
                os.close(theirs)
        return self._requests, self._answers

    def _watch(self) -> None:
        """Kill the child if it went past a limit."""
        process = self._process
        if process is None or process.poll() is not None:
            return  # reading its pipe will say so
        if time.monotonic() > self._ends:
            self.kill()
            raise ChildError(f"was stopped after {self.seconds:g} s, its limit of time")
        if self.memory_bytes is not None:
            used = _anonymous_bytes(process.pid)
            if used > self.memory_bytes:
                self.kill()
                raise ChildError(
                    f"was stopped with {used / 1e9:.3g} GB of memory: its limit is "
                    f"{self.memory_bytes / 1e9:.3g} GB"
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
            kept = lines[-2:]  # of an ordinary traceback, which ends with the error
            if fatal:  # that report has all threads, each with its latest frame first
                report = lines[fatal[-1] :]
                current = [n for n, line in enumerate(report) if line.startswith("Current thread")]
                kept = [report[0], *report[current[0] :][:3]] if current else report[:4]
            words = "; ".join(line.strip() for line in kept if line.strip())
        self.kill()
        how = f"ended its process with code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += ", as a system does when memory runs out"
        return f"{how}{f'; its last words: {words}' if words else ''}"

    def kill(self) -> None:
        """End the child in the middle of its work."""
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


def tell(value: Any) -> None:
    """Let the parent know something in the middle of a call; nothing where this is no child.

    Parameters
    ----------
    value : object
        Picklable; comes out of :meth:`Worker.poll`.
    """
    if _parent:
        _parent[0].send_bytes(pickle.dumps(("told", value)))


_parent: list[Connection] = []  # in the child: where answers go


def serve(reads: int, writes: int) -> None:
    """Do, in a child, what comes through a pipe until it is closed.

    Parameters
    ----------
    reads, writes : int
        File descriptors of this end.
    """
    requests, answers = Connection(reads, writable=False), Connection(writes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    _parent.append(answers)
    _end_with_parent(os.getppid())
    while True:
        try:
            text = requests.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments, options = pickle.loads(text)  # noqa: S301 (our own parent's)
            answers.send_bytes(pickle.dumps(("begun", None)))  # with libraries loaded
            answer: tuple[str, Any] = ("value", function(*arguments, **options))
        except RetrievalEvalError as error:
            plain = type(error) in (InputError, RetrievalEvalError)  # others may not be picklable
            answer = ("error", error if plain else InputError(str(error)))
        except Exception as error:  # noqa: BLE001 (whatever it is, the parent has to know)
            last = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})"
            answer = ("failure", " ".join(message.split()))
        answers.send_bytes(pickle.dumps(answer))


def _end_with_parent(parent: int) -> None:
    """End this process when its parent is killed: nobody waits for what it does."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    with contextlib.suppress(AttributeError, OSError):  # Linux: even in the middle of native code
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
