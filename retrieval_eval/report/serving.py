"""A sweep's page over HTTP, for a browser on the same machine, while the sweep runs and after.

Two addresses, to be read alone: ``/`` is the page, ``/state`` how far the sweep has come. The
server listens on 127.0.0.1 and answers only those who ask for it by that name or as localhost, so
that no page of another site can have it asked under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import errno
import html
import re
import sys
import threading
import traceback
import uuid
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from retrieval_eval import __version__
from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.report.live import Sight, Watcher

if TYPE_CHECKING:
    from retrieval_eval.store import Store

__all__ = ["Server", "open_server", "serve"]

_HOST = "127.0.0.1"
_NAMED = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')
_NOTHING = "default-src 'none'"
_IDLE_S = 60.0  # a browser keeps its connection between two questions
_TRIES = 3  # a folder of results may be replaced while its page is made


@dataclass(frozen=True)
class _Page:
    """A page, and what its results were told by."""

    status: HTTPStatus
    body: bytes
    policy: str
    made_of: object = None


@dataclass(eq=False)
class _Site:
    """What is shown, made once for each change, however many ask.

    Parameters
    ----------
    folder : Path
        Where the results are, or will be.
    report : callable
        Makes the page of a folder of finished results, as HTML.
    """

    folder: Path
    report: Callable[[Path], str]
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _making: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        from retrieval_eval.report.page.live import LiveState, live_page

        self._watcher = Watcher(self.folder)
        self._sight: Sight | None = None
        self._state = LiveState(b"{")
        # Of this server: a page that has seen another one asks for all.
        self._name, self._changes = uuid.uuid4().hex[:12], 0
        live = live_page(self.folder)
        self._live = _Page(HTTPStatus.OK, live.encode(), _policy_of(live))
        self._report: _Page | None = None

    def state(self, known_tag: str, table: str, known: int) -> tuple[str, bytes | None]:
        """Return a tag of the state, and the state unless it is known by that tag."""
        from retrieval_eval.report.page.live import live_state

        with self._looking:
            sight = self._watcher.look()
            if sight is not self._sight:
                new = live_state(sight, self._state)
                self._changes += (new.head, len(new.rows)) != (
                    self._state.head,
                    len(self._state.rows),
                )
                self._sight, self._state = sight, new
            state, tag = self._state, f'"{self._name}-{self._changes}"'
        return tag, None if tag == known_tag else state.json(table, known)

    def page(self) -> _Page:
        """Return the page of the finished sweep, or of one that runs or will."""
        with self._looking:
            if self._watcher.look().state != "finished":
                return self._live
        with self._making:
            page = self._latest()
            for _ in range(_TRIES - 1):
                if page.made_of == self._watcher.finished():
                    break
                page = self._latest()
            return page

    def _latest(self) -> _Page:
        made_of = self._watcher.finished()
        if self._report is None or self._report.made_of != made_of:
            self._report = _made(self.folder, self.report, made_of)
        return self._report


def _made(folder: Path, report: Callable[[Path], str], made_of: object) -> _Page:
    """Make the page of finished results; if that is impossible, one that says why."""
    try:
        text = report(folder)
    except Exception as error:  # noqa: BLE001 (it costs this page alone, and once, not each time)
        if not isinstance(error, RetrievalEvalError | OSError):
            traceback.print_exc()
        why = html.escape(f"The report of {folder} cannot be made: {error}")
        text = f'<!doctype html><meta charset="utf-8"><title>No report</title><p>{why}'
        return _Page(HTTPStatus.INTERNAL_SERVER_ERROR, text.encode(), _NOTHING, made_of)
    return _Page(HTTPStatus.OK, text.encode(), _policy_of(text), made_of)


def _policy_of(page: str) -> str:
    """Return the rules that a page has for itself, for its header: they hold from the start."""
    found = _POLICY.search(page, 0, 10_000)
    return html.unescape(found[1]) if found else _NOTHING


def _report_page(folder: Path, store: Store | None) -> str:
    from retrieval_eval.report.page import page_html
    from retrieval_eval.sweep.results import open_results

    return page_html(open_results(folder), store=store)


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection; the base class reads the requests."""

    protocol_version = "HTTP/1.1"
    server_version = f"retrieval-eval/{__version__}"
    sys_version = ""
    timeout = _IDLE_S
    server: Server

    def do_GET(self) -> None:
        """Answer with the page, the state, or why not."""
        names = self.headers.get_all("Host", [])
        if len(names) != 1 or not _NAMED.fullmatch(names[0].strip()):
            self.send_error(
                HTTPStatus.MISDIRECTED_REQUEST, explain=f"ask for {self.server.url} by that name"
            )
            return
        path, _, query = self.path.partition("?")
        if path == "/":
            page = self.server.site.page()
            self._send(page.status, page.body, "text/html; charset=utf-8", page.policy)
        elif path == "/state":
            self._send_state(query)
        else:
            self.send_error(HTTPStatus.NOT_FOUND, explain="there is / and /state")

    def do_HEAD(self) -> None:
        """Answer with the headers alone."""
        self.do_GET()

    def _refuse(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, explain="this server is for reading")

    def __getattr__(self, name: str) -> Any:
        # The base class looks for a method of this name, and says 501 if there is none.
        if name.startswith("do_"):
            return self._refuse
        raise AttributeError(name)

    def _send_state(self, query: str) -> None:
        asked = parse_qs(query, max_num_fields=10) if query.count("&") < 10 else {}
        known = asked.get("rows", ["0"])[0]
        tag, body = self.server.site.state(
            self.headers.get("If-None-Match", ""),
            asked.get("table", [""])[0],
            int(known) if known.isascii() and known.isdigit() and len(known) < 10 else 0,
        )
        status = HTTPStatus.OK if body is not None else HTTPStatus.NOT_MODIFIED
        self._send(status, body or b"", "application/json", _NOTHING, {"ETag": tag})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a line of text; the connection ends, whatever else was sent over it."""
        status = HTTPStatus(code)
        text = f"{code} {status.phrase}: {explain or message or status.description}\n"
        more = {"Connection": "close"}
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            more["Allow"] = "GET, HEAD"
        self._send(status, text.encode(), "text/plain; charset=utf-8", _NOTHING, more)

    def _send(
        self,
        status: HTTPStatus,
        body: bytes,
        kind: str,
        policy: str,
        more: dict[str, str] | None = None,
    ) -> None:
        headers = {
            "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
            **(more or {}),
        }
        if status != HTTPStatus.NOT_MODIFIED:
            headers |= {"Content-Type": kind, "Content-Length": str(len(body))}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing: a page asks every two seconds."""


class Server(ThreadingHTTPServer):
    """Serves one folder; made by :func:`open_server`.

    Attributes
    ----------
    url : str
        What a browser is told.
    """

    daemon_threads = True  # a page that is open shall not keep the program
    request_queue_size = 64

    def __init__(self, port: int, site: _Site) -> None:
        self.site = site
        super().__init__((_HOST, port), _Handler)
        self.url = f"http://{_HOST}:{self.server_port}/"

    def server_bind(self) -> None:
        """Bind, without asking the network for this machine's name as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over browsers that went away; anything else is a defect, and shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def open_server(
    folder: str | Path,
    port: int = 0,
    *,
    store: Store | None = None,
    report: Callable[[Path], str] | None = None,
) -> Server:
    """Listen on a port of this machine, for this machine alone.

    Parameters
    ----------
    folder : str or Path
        Results of a finished sweep; or where those of one that runs, or will, are going to be.
        Nothing is ever written there.
    port : int
        From 1 to 65535; 0 for any that is free.
    store : Store, optional
        Where the data sets were kept, for the texts of queries and documents in the report; by
        default the user's cache.
    report : callable, optional
        Makes the page of a folder of finished results; by default
        :func:`retrieval_eval.report.page.page_html`.

    Returns
    -------
    Server
        It answers within ``serve_forever()``; to be closed.

    Raises
    ------
    InputError
        If the folder holds something else, or nobody can listen on the port.

    Examples
    --------
    >>> with open_server("results/of-no-sweep") as server:
    ...     server.url.rpartition(":")[0]
    'http://127.0.0.1'
    """
    folder = Path(folder).resolve()
    _check(folder)
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}: ports are 1 to 65535; 0 takes any that is free")
    try:
        return Server(port, _Site(folder, report or partial(_report_page, store=store)))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        why = "is taken by another program" if error.errno == errno.EADDRINUSE else "is reserved"
        raise InputError(
            f"port {port} {why}: choose another with --port, or leave it out for any that is free"
        ) from None


def _check(folder: Path) -> None:
    """Refuse what can be no folder of results."""
    from retrieval_eval.sweep.results import read_manifest

    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder of results")
    if folder.is_dir() and read_manifest(folder) is None and any(folder.iterdir()):
        within = sorted(one.name for one in folder.iterdir() if read_manifest(one) is not None)
        way_out = f"it has these in it: {', '.join(within)}" if within else "name another"
        raise InputError(f"{folder}: holds something else than results of a sweep; {way_out}")


def serve(
    folder: str | Path,
    port: int = 0,
    *,
    store: Store | None = None,
    open_browser: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Show a sweep in a browser of this machine, until Ctrl-C.

    Parameters
    ----------
    folder, port, store
        As in :func:`open_server`.
    open_browser : bool
        Whether to open the page in the user's browser, too.
    say : callable
        Told in a sentence where the page is.

    Raises
    ------
    InputError
        As from :func:`open_server`.
    """
    with open_server(folder, port, store=store) as server:
        say(f"{server.url} shows {folder}; Ctrl-C ends it")
        try:
            if open_browser:
                webbrowser.open(server.url)
            server.serve_forever()
        except KeyboardInterrupt:
            pass  # the way to end it
