"""Executors by name."""

from __future__ import annotations

from collections.abc import Callable

from retrieval_eval.errors import unknown_name
from retrieval_eval.executors.base import Executor
from retrieval_eval.executors.local import LocalExecutor
from retrieval_eval.store import Store
from retrieval_eval.timing import machine

__all__ = ["executor_kind", "open_executor"]

_MOST_JOBS = 8


def executor_kind(name: str) -> tuple[str, str | None]:
    """Split the name of an executor into its kind and an address.

    Raises
    ------
    InputError
        If there is no such executor.

    Examples
    --------
    >>> executor_kind("ray:10.0.0.1:6379")
    ('ray', '10.0.0.1:6379')
    """
    kind, _, address = name.partition(":")
    if kind not in ("local", "ray") or (kind == "local" and address):
        raise unknown_name("executor", name, ["local", "ray", "ray:HOST:PORT"])
    return kind, address or None


def open_executor(
    name: str,
    store: Store,
    *,
    timed: bool = True,
    jobs: int | None = None,
    processes: bool = True,
    seconds: float | None = None,
    memory_bytes: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Executor:
    """Return an executor, not yet at work.

    Parameters
    ----------
    name : str
        ``local``; ``ray`` for the cluster that is there, or a local one; ``ray:ADDRESS`` for one.
    store : Store
        Where results are kept.
    timed : bool
        Whether any job is timed.
    jobs : int, optional
        How many jobs that are not timed may be under way at once on this machine; by default one
        for each core, and at most 8.
    processes : bool
        Whether jobs are done in child processes, which may die of them.
    seconds, memory_bytes : float or int, optional
        Limits of one job.
    say : callable, optional
        Told in a sentence what a user should know, such as of machines that are left out.

    Raises
    ------
    InputError
        For an unknown name.
    MissingExtraError
        If a library is not installed.
    """
    kind, address = executor_kind(name)
    if kind == "local":
        return LocalExecutor(
            store,
            jobs=jobs or max(1, min(_MOST_JOBS, machine()["cores"] or 1)),
            processes=processes,
            seconds=seconds,
            memory_bytes=memory_bytes,
        )
    from retrieval_eval.executors.ray import RayExecutor

    return RayExecutor(
        store,
        address=address,
        timed=timed,
        seconds=seconds,
        memory_bytes=memory_bytes,
        say=say,
    )
