"""One request: which URLs may be asked, and which failures are worth another attempt."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Any

__all__ = [
    "HTTP_ERRORS",
    "Hiccup",
    "Refusal",
    "make_opener",
    "open_url",
    "refused",
    "text",
    "whole",
]

HTTP_ERRORS = (OSError, http.client.HTTPException)
"""What reading a response may raise."""

_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = 10


class Refusal(Exception):  # noqa: N818  # no error of its own: the caller makes one of it
    """Another attempt would end in the same way; the text says why."""


class Hiccup(Exception):  # noqa: N818  # likewise
    """Worth another attempt; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def refused(url: str, has_checksum: bool) -> str:
    """Say why a URL must not be asked; an empty text if it may."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"it is no URL ({error})"
    if parts.scheme not in {"http", "https"} or not host:
        return "only https:// can be fetched"
    if parts.scheme == "http" and not has_checksum and not _is_this_machine(host):
        return "plain http:// needs a checksum, or anybody on the way could change the file"
    return ""


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_opener(has_checksum: bool) -> urllib.request.OpenerDirector:
    """Build a client that speaks HTTP and nothing else: no file:, no ftp:, no data:."""

    class Redirects(urllib.request.HTTPRedirectHandler):
        max_redirections = _REDIRECTS

        def redirect_request(
            self,
            req: urllib.request.Request,
            fp: IO[bytes],
            code: int,
            msg: str,
            headers: http.client.HTTPMessage,
            newurl: str,
        ) -> urllib.request.Request | None:
            reason = refused(newurl, has_checksum)
            if reason:
                raise Refusal(f"it redirects to {newurl}, and {reason}")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def open_url(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float
) -> Any:
    """Send a request and return the response: of status 2xx, or 416 (range past the end)."""
    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error
        with error:
            answer = f"the server answered {error.code} {' '.join(str(error.reason).split())}"
            if error.code in _TEMPORARY:
                raise Hiccup(answer, whole(error.headers.get("Retry-After"))) from None
            raise Refusal(answer) from None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise Refusal(f"its certificate is not trusted ({reason.verify_message})") from None
        if isinstance(reason, socket.gaierror):
            raise Refusal(f"no network, or no such host ({text(reason)})") from None
        raise Hiccup(f"no connection ({reason})") from None
    except HTTP_ERRORS as error:
        raise Hiccup(f"no answer ({text(error)})") from None


def whole(value: str | None) -> int | None:
    """Read a header that holds a whole number; None for anything else."""
    return int(value) if value and re.fullmatch("[0-9]{1,18}", value.strip()) else None


def text(error: BaseException) -> str:
    """Return what an exception says, or its name if it says nothing."""
    return str(error) or type(error).__name__
