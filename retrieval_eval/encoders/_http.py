"""JSON over HTTP: one address, a key that goes nowhere else, and retries."""

from __future__ import annotations

import json
import math
import os
import random
import ssl
import threading
import urllib.request
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from retrieval_eval.errors import InputError, RetrievalEvalError

__all__ = [
    "JsonClient",
    "RefusedError",
    "StoppedError",
    "TransientError",
    "check_url",
    "read_key",
    "retrying",
]

T = TypeVar("T")

FIRST_WAIT_S = 0.5
"""What the first retry waits at most; each further one waits up to twice as long."""

_CONNECT_S = 10.0
_RETRIED = frozenset({408, 409, 425, 429})
_NO_RETRY_HELPS = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_LONGEST_MESSAGE = 500


class RefusedError(InputError):
    """The server said no in a way that asking again would not change.

    Parameters
    ----------
    status : int
        The HTTP status.
    message : str
        What the server said, without the key.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"it answered {status}: {message}")


class TransientError(RetrievalEvalError):
    """A request failed in a way that may pass.

    Parameters
    ----------
    message : str
        What happened.
    wait_s : float
        How many seconds the server asks to wait, at least.
    lost : bool
        Whether the server may have done the work, and charged it, without an answer arriving.
    """

    def __init__(self, message: str, *, wait_s: float = 0.0, lost: bool = False) -> None:
        self.wait_s = wait_s
        self.lost = lost
        super().__init__(message)


class StoppedError(Exception):
    """The caller no longer wants the answer; never leaves a worker's thread."""


# -- addresses and keys -----------------------------------------------------------------------


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_url(url: str, *, allow_plain_http: bool) -> str:
    """Return a base URL without its last slash, if a request may go there.

    Raises
    ------
    InputError
        Unless it is https, or http to this machine or as allowed; and if it holds a user name,
        a query or a fragment, where keys like to hide.
    """
    try:
        parts: SplitResult = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"base_url is no URL: {error}") from None
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(  # without the URL itself: it may hold a password
            f"base_url to {host} must have neither a user name nor '?' nor '#': it is part "
            "of what identifies the vectors, so a key has no place in it; name the environment "
            "variable that holds the key in key_variable"
        )
    if parts.scheme not in {"http", "https"} or not host:
        raise InputError(f"base_url is {url!r}: it must start with https:// and name a host")
    if parts.scheme == "http" and not (_is_loopback(host) or allow_plain_http):
        raise InputError(
            f"base_url is {url!r}: plain http shows texts and key to the network on the "
            "way; use https, or set allow_plain_http: true where you trust that network"
        )
    return url.rstrip("/")


def read_key(variable: str) -> str:
    """Return the key that an environment variable holds.

    Raises
    ------
    InputError
        If it is not set, or holds what no key holds; the message never shows the value.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(f"the environment variable {variable} is not set: put the key into it")
    if not (key.isascii() and key.isprintable() and " " not in key):
        # http.client would cite such a header in its own message.
        raise InputError(
            f"the environment variable {variable} holds blanks, line breaks or characters "
            "beyond ASCII, which no key has: was the whole file copied into it?"
        )
    return key


# -- one request ------------------------------------------------------------------------------


def _connections(url: str, n: int) -> Any:
    """Open a pool to the server, or to the proxy that the environment names for it."""
    import urllib3

    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_loopback(host) or urllib.request.proxy_bypass(host):
        return urllib3.PoolManager(maxsize=n)
    place = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    headers = None
    if place.username is not None:
        login = f"{unquote(place.username)}:{unquote(place.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login)
    address = f"{place.scheme}://{place.netloc.rpartition('@')[2]}"
    try:
        return urllib3.ProxyManager(address, maxsize=n, proxy_headers=headers)
    except urllib3.exceptions.HTTPError as error:
        raise InputError(f"the proxy {address} that the environment names: {error}") from None


def _retry_after_s(value: str | None) -> float:
    """Read a Retry-After header, in seconds or as a date; 0 if there is none to read."""
    import urllib3

    if value is None:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = urllib3.Retry().parse_retry_after(value)
        except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


class JsonClient:
    """Posts JSON to one address, with the key in a header and never in a message.

    Redirects are not followed and certificates are checked. Threads may share one client.

    Parameters
    ----------
    url : str
        Where to post.
    key : str or None
        Sent as a bearer token; None sends none.
    timeout_s : float
        Longest that a whole request may take, in seconds.
    connections : int
        How many are kept open.
    """

    def __init__(self, url: str, *, key: str | None, timeout_s: float, connections: int) -> None:
        self.url = url
        self._key = key
        self._timeout_s = timeout_s
        self._pool = _connections(url, connections)

    def __repr__(self) -> str:
        return f"JsonClient({self.url!r})"

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._pool.clear()

    def _clean(self, text: str) -> str:
        """Make a server's words fit to show: without the key, on one line, not too long."""
        if self._key is not None:
            text = text.replace(self._key, "***")  # before any cut, which may go through it
        text = "".join(letter if letter.isprintable() else " " for letter in text[:20_000])
        text = " ".join(text.split())
        return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + " ..."

    def post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request and return the object that the server answers.

        Raises
        ------
        TransientError
            For what may pass: no connection, no answer in time, a cut or garbled answer, status
            408, 409, 425, 429 and 5xx.
        RefusedError
            For any other status but 2xx.
        InputError
            If the server's certificate is not trusted.
        """
        status, headers, data = self._exchange(json.dumps(body, ensure_ascii=False))
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        if 200 <= status < 300 and isinstance(answer, dict) and not answer.get("error"):
            return answer
        message, codes = self._message(answer, data)
        if 200 <= status < 300:
            if not isinstance(answer, dict):
                raise TransientError(f"it answered no JSON object: {message}", lost=True)
            # A gateway whose own provider failed after it had said 200.
            raise TransientError(f"it answered {status} with an error: {message}")
        if 300 <= status < 400:
            place = self._clean(headers.get("Location", "nowhere"))
            raise RefusedError(status, f"it redirects to {place}: give that address as base_url")
        if (status in _RETRIED or status >= 500) and not codes & _NO_RETRY_HELPS:
            wait_s = _retry_after_s(headers.get("Retry-After"))
            raise TransientError(f"it answered {status}: {message}", wait_s=wait_s)
        raise RefusedError(status, message)

    def _exchange(self, body: str) -> tuple[int, Mapping[str, str], bytes]:
        import urllib3
        from urllib3 import exceptions

        headers = {"Content-Type": "application/json", "User-Agent": "ann-retrieval-eval"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        late = TransientError(f"no whole answer within {self._timeout_s:g} s", lost=True)
        deadline = monotonic() + self._timeout_s
        try:
            response = self._pool.request(
                "POST",
                self.url,
                body=body.encode("utf-8", "replace"),  # JSON can carry halves of characters
                headers=headers,
                timeout=urllib3.Timeout(min(_CONNECT_S, self._timeout_s), self._timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                parts = []
                # The timeout above is for each piece; a server may trickle.
                while part := response.read1(2**20):
                    parts.append(part)
                    if monotonic() > deadline:
                        raise late
            finally:
                response.close()
        except (
            exceptions.NewConnectionError,
            exceptions.ConnectTimeoutError,
            exceptions.ProxyError,
        ) as error:
            raise TransientError(self._clean(f"no connection: {error}")) from None
        except exceptions.TimeoutError:
            raise late from None
        except exceptions.HTTPError as error:
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
                raise InputError(
                    f"its certificate is not trusted: {self._clean(str(error))}; if a certificate "
                    "authority of your own signed it, name its file in SSL_CERT_FILE"
                ) from None
            raise TransientError(self._clean(f"the connection broke: {error}"), lost=True) from None
        return response.status, response.headers, b"".join(parts)

    def _message(self, answer: Any, data: bytes) -> tuple[str, set[str]]:
        """Find what the server says, and the codes it gives, in the forms that are in use."""
        error = answer[0] if isinstance(answer, list) and answer else answer
        codes = set()
        for _ in range(3):
            if isinstance(error, dict):
                codes |= {str(error[name]) for name in ("code", "type") if error.get(name)}
                names = ("error", "message", "detail", "errors")
                error = next((error[name] for name in names if error.get(name)), error)
        text = error if isinstance(error, str) else json.dumps(error) if error else ""
        text = text or data[:4096].decode("utf-8", "replace")
        return self._clean(text) or "nothing", codes


def retrying(
    attempt: Callable[[], T], *, retries: int, max_wait_s: float, stop: threading.Event
) -> T:
    """Call until it succeeds, with exponential back-off and jitter between attempts.

    Parameters
    ----------
    attempt : callable
        Raises :class:`TransientError` for what may pass.
    retries : int
        How often to try again.
    max_wait_s : float
        Longest wait; a server that asks for more ends it.
    stop : Event
        Ends a wait, and what would follow it.
    """
    failures = 0
    while not stop.is_set():
        try:
            return attempt()
        except TransientError as error:
            if failures == retries:
                raise RetrievalEvalError(f"{error} ({failures + 1} attempts)") from None
            if error.wait_s > max_wait_s:
                raise RetrievalEvalError(
                    f"{error} (it asks to wait {error.wait_s:.0f} s, more than max_wait_s, which "
                    f"is {max_wait_s:g})"
                ) from None
            back_off = min(max_wait_s, FIRST_WAIT_S * 2**failures)
            back_off *= random.uniform(0.5, 1.0)  # noqa: S311  # spreads requests, hides nothing
            failures += 1
            stop.wait(max(error.wait_s, back_off))
    raise StoppedError
