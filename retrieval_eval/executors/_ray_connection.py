"""The connection of a sweep to a Ray cluster: found, or started, and left as it was."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrieval_eval.errors import InputError
from retrieval_eval.plugins import require

__all__ = ["Connection"]

_CONNECT_S = 5.0
_OBJECTS_BYTES = 500_000_000  # for jobs on their way; what does not fit goes to the disk
_START = (
    "start one with `ray start --head` on one machine and `ray start --address=HOST:PORT` on the "
    "others, or leave the address out to use this machine alone"
)
_AUTHENTICATION = (
    "; it asks for Ray's token: set RAY_AUTH_MODE=token, and see Ray's documentation of token "
    "authentication for how each machine gets it"
)


class Connection:
    """A connection to a Ray cluster, unless this process has one already.

    Parameters
    ----------
    address : str or None
        See :class:`retrieval_eval.executors.ray.RayExecutor`.
    say : callable
        Told if a cluster is started.

    Raises
    ------
    MissingExtraError
        If Ray is not installed.
    InputError
        If there is no such cluster, or it cannot be used from here.
    """

    def __init__(self, address: str | None, say: Callable[[str], None]) -> None:
        require("the executor 'ray'", {"ray": "ray"})
        import ray

        self._undo = contextlib.ExitStack()
        self._started = False
        if ray.is_initialized():
            return
        found = _find(address)
        options: dict[str, Any] = {"address": found}
        if found == "local":
            say("no Ray cluster was found: one is started on this machine, for this sweep")
            options |= {"include_dashboard": False, "object_store_memory": _OBJECTS_BYTES}
        self._keep_signals()
        self._keep_quiet()
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except Exception as error:
            self._undo.close()
            where = "on this machine" if found == "local" else f"at {found}"
            text = " ".join(str(error).split()).rstrip(".")
            hint = _AUTHENTICATION if "AuthenticationError" in str(error.__cause__) else ""
            raise InputError(f"the Ray cluster {where} cannot be used: {text}{hint}") from error
        self._started = found == "local"
        self._undo.callback(ray.shutdown)
        self._restore_signals()

    def _keep_signals(self) -> None:
        """Ray takes SIGTERM; who runs the sweep decides what that means."""
        handlers = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM,)}

        def restore() -> None:
            for number, handler in handlers.items():
                signal.signal(number, handler)

        self._restore_signals = restore
        self._undo.callback(restore)

    def _keep_quiet(self) -> None:
        """Keep Ray's messages off stdout and stderr: what matters of them is said here."""
        from ray._private import worker

        log = logging.getLogger("ray")
        self._undo.callback(log.setLevel, log.level)
        # Printed on stdout whenever a process dies, whatever is asked for.
        show = getattr(worker, "print_to_stdstream", None)
        if show is not None:
            worker.print_to_stdstream = lambda *_, **__: None
            self._undo.callback(setattr, worker, "print_to_stdstream", show)

    def close(self, *, kill: bool) -> None:
        """Let go of the cluster; end it if it was started here, without grace if asked for."""
        from ray._private import worker

        node = getattr(worker, "_global_node", None)
        if kill and self._started and node is not None:
            node.kill_all_processes = lambda **_: _end_at_once(node)
        self._undo.close()


def _end_at_once(node: Any) -> None:
    """End all processes of a node, and theirs: Ray takes more than a second for it."""
    processes = [one.process for several in node.all_processes.values() for one in several]
    below = [pid for one in processes for pid in _children(one.pid)]
    type(node).kill_all_processes(node, check_alive=False, allow_graceful=False)
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Return the processes that one has started; none where the system does not say."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text(encoding="ascii").split())
    return found


def _find(given: str | None) -> str:
    """Return the address of a cluster that answers, or ``local`` to start one.

    One that Ray has found by itself stays ``auto``: for that, Ray takes its token by itself.
    """
    given = given or os.environ.get("RAY_ADDRESS") or None
    if given == "local":
        return "local"
    if given and "://" in given:
        raise InputError(
            f"the Ray address {given!r} is that of a client: run the sweep on a machine of the "
            "cluster, and give HOST:PORT, or nothing"
        )
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(given or "auto")
    except (ConnectionError, ValueError, OSError) as error:
        if given is None:
            return "local"
        text = " ".join(str(error).split())
        raise InputError(f"no Ray cluster at {given!r}: {text}; {_START}") from None
    host, _, port = str(found).rpartition(":")
    try:  # Ray itself tries for minutes
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        if given is None:  # a note that a cluster left behind which was killed
            return "local"
        raise InputError(f"no Ray cluster answers at {found}: {error}; {_START}") from None
    return str(found) if given and given != "auto" else "auto"
