"""Paid requests: what they use, a cap on it, and several at a time in one order."""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from retrieval_eval.encoders._http import StoppedError, TransientError
from retrieval_eval.errors import InputError

__all__ = ["Ledger", "Receipt", "in_order"]

T = TypeVar("T")


@dataclass
class Receipt:
    """What one request came to; whoever sends it fills this in.

    Parameters
    ----------
    tokens : int or None
        As reported; None if the server did not say.
    """

    tokens: int | None = None


class Ledger:
    """Counts tokens, and holds requests back that could lead past a cap.

    A request's upper bound is reserved before it is sent, and replaced by what it came to. While
    a reservation does not fit, those in flight are waited for.

    Parameters
    ----------
    cap : int or None
        Tokens that may be used; None for any number.
    price : float or None
        Money for a million tokens.
    rule : str
        The parameter that the cap comes from, for the message.
    """

    def __init__(self, cap: int | None, price: float | None, rule: str) -> None:
        self._cap = math.inf if cap is None else cap
        self._price = price
        self._rule = rule
        self._reserved = 0
        self._waiting: set[int] = set()
        self._refusals = 0
        self._changed = threading.Condition()
        self._requests = self._failed = self._tokens = self._estimated = 0

    def usage(self) -> dict[str, float]:
        """Return what was used so far, and its cost if there is a price."""
        with self._changed:
            used: dict[str, float] = {
                "requests": self._requests,
                "failed_requests": self._failed,
                "tokens": self._tokens,
                "estimated_tokens": self._estimated,
            }
        if self._price is not None:
            used["cost"] = used["tokens"] * self._price / 1e6
        return used

    @contextmanager
    def request(self, bound: int, turn: int, stop: threading.Event) -> Iterator[Receipt]:
        """Reserve tokens for a request while it runs.

        Parameters
        ----------
        bound : int
            The most it can use.
        turn : int
            Of several that wait, the lowest goes first, and if it is refused, so are the others:
            what was paid for is then a beginning.
        stop : Event
            Ends the wait.
        """
        self._reserve(bound, turn, stop)
        receipt, used, estimated, failed = Receipt(), 0, 0, 1
        try:
            yield receipt
            failed = 0
            used, estimated = (bound, bound) if receipt.tokens is None else (receipt.tokens, 0)
        except TransientError as error:
            used = estimated = bound if error.lost else 0
            raise
        finally:
            with self._changed:
                self._reserved -= bound
                self._requests += 1
                self._failed += failed
                self._tokens += used
                self._estimated += estimated
                self._changed.notify_all()

    def _reserve(self, bound: int, turn: int, stop: threading.Event) -> None:
        with self._changed:
            self._waiting.add(turn)
            refusals = self._refusals
            try:
                while True:
                    # Whoever waits behind one that was refused would pay for what is not used.
                    if stop.is_set() or refusals != self._refusals:
                        raise StoppedError
                    if turn == min(self._waiting):
                        if self._tokens + self._reserved + bound <= self._cap:
                            break
                        if not self._reserved:
                            self._refusals += 1
                            raise self._exhausted(bound)
                    self._changed.wait()
                self._reserved += bound
            finally:
                self._waiting.discard(turn)
                self._changed.notify_all()

    def _exhausted(self, bound: int) -> InputError:
        return InputError(
            f"the next request could use {bound} tokens, but {self._rule} leaves "
            f"{self._cap - self._tokens:.0f} of {self._cap:.0f}: {self._tokens} were used in "
            f"{self._requests} requests. What is finished is kept: raise it to go on from there"
        )


def in_order(calls: Iterable[Callable[[], T]], threads: int) -> Generator[T, None, None]:
    """Make calls on several threads, and yield what they return in their order.

    Twice as many calls as threads are begun or wait to be yielded at any time. If one raises,
    all before it have been yielded, and none after it begins. The threads are daemons: nothing
    waits for a request that is no longer wanted, at the end of the program least of all.

    Parameters
    ----------
    calls : iterable of callable
        Drawn from by the caller's thread alone.
    threads : int
        How many calls run at a time.
    """
    jobs: queue.SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = queue.SimpleQueue()

    failed = threading.Event()

    def work() -> None:
        while (job := jobs.get()) is not None and not failed.is_set():
            future, call = job
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
                failed.set()
                future.set_exception(error)

    pending: deque[Future[T]] = deque()
    workers: list[threading.Thread] = []
    try:
        for call in calls:
            if len(pending) == 2 * threads:
                yield pending.popleft().result()
            if len(workers) < threads:
                workers.append(threading.Thread(target=work, daemon=True))
                workers[-1].start()
            pending.append(Future())
            jobs.put((pending[-1], call))
        while pending:
            yield pending.popleft().result()
    finally:
        failed.set()
        for _ in workers:
            jobs.put(None)
