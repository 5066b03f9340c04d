"""A sweep's page over HTTP: what is answered, to whom, and how often it is made."""

from __future__ import annotations

import html
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_eval.errors import InputError
from retrieval_eval.store import Store
from retrieval_eval.sweep import Results, Sweep
from retrieval_eval.sweep.results import FORMAT
from retrieval_eval.sweep.status import (
    Status,
    remove,
    rows_path,
    status_path,
    this_process,
    write_status,
)

pytest.importorskip("jinja2")
from retrieval_eval.report import serving
from retrieval_eval.report.serving import Server, open_server, serve

LONG_S = 120.0  # nothing takes so long unless it is broken


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    server: Server,
    path: str = "/",
    method: str = "GET",
    *,
    hosts: tuple[str, ...] | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=LONG_S)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for host in (f"127.0.0.1:{server.server_port}",) if hosts is None else hosts:
            connection.putheader("Host", host)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


@contextmanager
def served(folder: Path, port: int = 0, **more: Any) -> Iterator[Server]:
    with open_server(folder, port, **more) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def until(what: Callable[[], Any], child: subprocess.Popen[bytes]) -> Any:
    """Wait until something is so, and return it."""
    end = time.monotonic() + LONG_S
    while time.monotonic() < end:
        ended = child.poll()
        found = what()
        if found:
            return found
        assert not ended, f"ended with {ended}"
        time.sleep(0.02)
    raise AssertionError("it never came")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results" / "first"


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with served(folder) as one:
        yield one


def put(folder: Path, elapsed_s: float = 1.0) -> None:
    now = datetime.now(UTC)
    status = Status(1, this_process(), now, now, "running", "", elapsed_s, None, 0.0)
    write_status(status_path(folder), status)


def put_rows(folder: Path, *names: str, run: str = "one") -> None:
    plan = {"name": "first", "measures": ["RR"], "neighbour_recall": 10, "datasets": ["a"]}
    head = {"format": 1, "run": run, "plan": {**plan, "filtered": False, "rows": 9}}
    rows = [
        {"row": {"row_id": one, "encoder": "e", "configuration": "c", "status": "ok", "RR": 0.5}}
        for one in names
    ]
    text = "".join(json.dumps(one) + "\n" for one in (head, *rows))
    rows_path(status_path(folder)).write_text(text)


def finish(folder: Path, name: str = "first") -> None:
    folder.mkdir(exist_ok=True)
    manifest = {"format": FORMAT, "name": name, "created": datetime.now(UTC).isoformat()}
    scratch = folder / "scratch"
    scratch.write_text(json.dumps(manifest))
    scratch.replace(folder / "manifest.json")


def name_of(folder: Path) -> str:
    """Stand in for the report, which takes longer."""
    name = json.loads((folder / "manifest.json").read_text())["name"]
    return f"<!doctype html><p>results of {name}"


# -- what is answered -------------------------------------------------------------------------


def test_where_nothing_is_yet_the_page_waits(server: Server, folder: Path) -> None:
    page = ask(server)
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'id="live"' in page.body
    state = ask(server, "/state")
    assert (state.status, state.headers["Content-Type"]) == (200, "application/json")
    assert state.json["state"] == "waiting"
    assert ask(server, "/state?table=x&rows=nonsense&more=%ff").json["rows"] == []


@pytest.mark.parametrize("path", ["/", "/state", "/nowhere"])
def test_every_answer_forbids_what_it_does_not_need(server: Server, path: str) -> None:
    headers = ask(server, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert policy.endswith("frame-ancestors 'none'")


def test_the_pages_own_rules_hold_from_its_header_on(server: Server) -> None:
    page = ask(server)
    policy = re.search(rb'Content-Security-Policy" content="([^"]*)"', page.body)
    assert policy is not None
    own = html.unescape(policy[1].decode())
    assert "connect-src 'self'" in own
    assert page.headers["Content-Security-Policy"] == f"{own}; frame-ancestors 'none'"


def test_head_is_get_without_the_body(server: Server) -> None:
    for path in ("/", "/state", "/nowhere"):
        whole, head = ask(server, path), ask(server, path, "HEAD")
        assert (head.status, head.body) == (whole.status, b"")
        assert head.headers["Content-Length"] == str(len(whole.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "MAKE"])
def test_nothing_but_reading_is_allowed(server: Server, method: str) -> None:
    answer = ask(server, "/state", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/manifest.json",
        "/state/",
        "/state%00",
        "/.first.status.json",
        "http://127.0.0.1/state",
        "*",
    ],
)
def test_there_is_nothing_else(server: Server, folder: Path, path: str) -> None:
    finish(folder)
    answer = ask(server, path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "hosts",
    [
        ("evil.example",),
        ("127.0.0.1.evil.example",),
        ("localhost.evil.example:80",),
        ("evil.example:localhost",),
        ("localhost:",),
        ("",),
        (),
        ("localhost", "evil.example"),
    ],
)
def test_who_asks_under_another_name_is_refused(server: Server, hosts: tuple[str, ...]) -> None:
    for path in ("/", "/state"):
        answer = ask(server, path, hosts=hosts)
        assert answer.status == 421
        assert server.url.encode() in answer.body
        assert b"waiting" not in answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "127.0.0.1:65535"])
def test_this_machine_may_be_asked_through_a_tunnel(server: Server, host: str) -> None:
    assert ask(server, "/state", hosts=(host,)).status == 200


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_what_is_no_request_costs_its_connection_alone(server: Server) -> None:
    for text in (b"nonsense\r\n\r\n", b"GET /\r\n\r\n", b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=LONG_S) as one:
            one.sendall(text)
            one.shutdown(socket.SHUT_WR)
            while one.recv(65536):
                pass
    assert ask(server).status == 200


# -- how often --------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_sent_again(server: Server, folder: Path) -> None:
    put(folder)
    put_rows(folder, "a")
    first = ask(server, "/state")
    tag = {"If-None-Match": first.headers["ETag"]}
    same = ask(server, "/state", headers=tag)
    assert (same.status, same.body) == (304, b"")
    assert same.headers["ETag"] == first.headers["ETag"]
    put(folder, elapsed_s=2.0)
    put_rows(folder, "a", "b")
    query = f"/state?table={first.json['table'].replace('|', '%7C').replace('@', '%40')}&rows=1"
    second = ask(server, query, headers=tag)
    assert second.status == 200
    assert second.headers["ETag"] != first.headers["ETag"]
    assert second.json["known"] == 1
    assert [one["id"] for one in second.json["rows"]] == ["b"]
    with served(folder) as other:
        assert ask(other, "/state", headers={"If-None-Match": second.headers["ETag"]}).status == 200


def test_the_report_is_made_once_for_all_who_ask_and_anew_when_it_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    asked, go = threading.Semaphore(0), threading.Event()
    answer = serving._Handler.do_GET

    def report(of: Path) -> str:
        made.append(of)
        assert go.wait(LONG_S)
        return name_of(of)

    def noted(self: Any) -> None:
        asked.release()
        answer(self)

    monkeypatch.setattr(serving._Handler, "do_GET", noted)
    finish(folder)
    with served(folder, report=report) as server:
        answers: list[Answer] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(server))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert asked.acquire(timeout=LONG_S)
        assert ask(server, "/state").json["state"] == "finished"  # it does not wait for the page
        go.set()
        for thread in threads:
            thread.join()
        assert {one.body for one in answers} == {b"<!doctype html><p>results of first"}
        assert made == [folder]
        finish(folder, "second")
        assert ask(server).body.endswith(b"second")
        assert ask(server).body.endswith(b"second")
        assert made == [folder] * 2


def test_results_that_are_replaced_while_their_page_is_made_are_shown_whole(folder: Path) -> None:
    made: list[str] = []

    def report(of: Path) -> str:
        text = name_of(of)
        if not made:
            finish(of, "second")
        made.append(text)
        return text

    finish(folder)
    with served(folder, report=report) as server:
        assert ask(server).body.endswith(b"second")
        assert len(made) == 2


@pytest.mark.parametrize("error", [InputError("<results> are broken"), ValueError("<results>")])
def test_a_report_that_cannot_be_made_says_why_and_is_not_tried_at_each_request(
    folder: Path, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    tried: list[Path] = []

    def report(of: Path) -> str:
        tried.append(of)
        raise error

    finish(folder)
    with served(folder, report=report) as server:
        for _ in range(2):
            answer = ask(server)
            assert answer.status == 500
            assert b"&lt;results&gt;" in answer.body
    assert len(tried) == 1
    assert ("Traceback" in capfd.readouterr().err) is not isinstance(error, InputError)


def test_a_status_that_is_replaced_all_the_time_is_always_read(
    server: Server, folder: Path
) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0.0
        while not stop.is_set():
            number += 1
            put(folder, number)
            put_rows(folder, *(str(one) for one in range(int(number) % 50)), run=str(number))
            if number % 10 == 0:
                remove(status_path(folder))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        answers = [ask(server, "/state") for _ in range(60)]
    finally:
        stop.set()
        thread.join()
    assert {one.status for one in answers} == {200}
    assert {one.json["state"] for one in answers} <= {"running", "waiting"}
    assert len({one.headers["ETag"] for one in answers}) > 1
    put(folder)
    put_rows(folder, "last")
    assert [one["id"] for one in ask(server, "/state").json["rows"]] == ["last"]


def test_nothing_is_ever_written(folder: Path) -> None:
    def tree() -> dict[str, Any]:
        found = {}
        for path in sorted(folder.parent.rglob("*")):
            kept = path.read_bytes() if path.is_file() else None
            found[str(path)] = (path.stat().st_mtime_ns, path.stat().st_mode, kept)
        return found

    finish(folder)
    put_rows(folder, "a")
    for change in (lambda: None, lambda: put(folder), lambda: remove(status_path(folder))):
        change()
        before = tree()
        with served(folder, report=name_of) as server:
            assert ask(server).status == 200
            assert ask(server, "/state").status == 200
        assert tree() == before


# -- beginning and end ------------------------------------------------------------------------


def test_a_port_that_is_taken_is_named_with_the_way_out(server: Server, folder: Path) -> None:
    with pytest.raises(InputError, match=rf"port {server.server_port} is taken .* --port"):
        open_server(folder, server.server_port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused(folder: Path, port: int) -> None:
    with pytest.raises(InputError, match="1 to 65535"):
        open_server(folder, port)


def test_a_folder_of_something_else_is_refused(folder: Path) -> None:
    finish(folder)
    with pytest.raises(InputError, match=r"holds something else .* in it: first"):
        open_server(folder.parent)
    with pytest.raises(InputError, match="is a file"):
        open_server(folder / "manifest.json")


def test_ctrl_c_ends_it_quietly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    opened: list[str] = []

    def interrupt(self: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupt)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    serve(folder, say=said.append)
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/ shows {folder}; Ctrl-C ends it", said[0])
    assert not opened
    serve(folder, open_browser=True, say=said.append)
    assert opened == [said[1].split()[0]]


# -- real sweeps ------------------------------------------------------------------------------


def test_the_report_of_real_results_is_served(tiny: Results) -> None:
    for name in ("altair", "vl_convert"):
        pytest.importorskip(name)
    with served(tiny.folder, store=Store(tiny.folder.parent / "cache")) as server:
        page = ask(server)
        assert page.status == 200
        assert "connect-src 'none'" in page.headers["Content-Security-Policy"]
        assert b"tiny-report" in page.body
        assert b'id="live"' not in page.body


GATED = """
import time
from pathlib import Path
from retrieval_eval.indexes.flat import FlatIndex

class Gated(FlatIndex):
    name = "gated"

    def _build(self, vectors):
        while not Path("gate").exists():
            time.sleep(0.01)
        super()._build(vectors)
"""


def write_sweep(folder: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in "bcdfg" for b in "aeiou"]
    (folder / "data" / "qrels").mkdir(parents=True)
    for name, many, size in (("corpus", 20, 8), ("queries", 5, 2)):
        kept = [{"_id": f"{i}", "text": " ".join(rng.choice(words, size))} for i in range(many)]
        text = "".join(json.dumps(one) + "\n" for one in kept)
        (folder / "data" / f"{name}.jsonl").write_text(text)
    lines = ["query-id\tcorpus-id\tscore", *(f"{i}\t{i}\t1" for i in range(5))]
    (folder / "data" / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    (folder / "gated_index.py").write_text(GATED)
    sweep = {
        "name": "first",
        "datasets": ["./data"],
        "encoders": [{"hashing": {"dim": 16}}],
        "indexes": ["flat", "gated_index:Gated"],
        "k": 10,
        "measures": ["nDCG@5"],
        "timing": "none",
        "compare": {"draws": 100},
    }
    (folder / "sweep.yaml").write_text(json.dumps(sweep))


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-m", "retrieval_eval", "run", "sweep.yaml", "--cache", "cache"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_sweep_is_watched_from_before_it_begins_over_its_death_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sweep(tmp_path)
    folder = tmp_path / "results" / "first"

    def state() -> Any:
        return ask(server, "/state").json

    def at_the_gate() -> Any:
        found = state()
        busy = [one["label"] for one in found.get("running", [])]
        return found if len(found["rows"]) == 1 and any("Gated" in one for one in busy) else None

    with served(folder, report=name_of) as server:
        port = server.server_port
        assert state()["state"] == "waiting"
        with running(tmp_path) as child:
            found = until(at_the_gate, child)
            assert found["state"] == "running"
            assert 0 < found["settled"] < found["total"]
            assert found["count"] == "1 of 2 rows"
            assert found["rows"][0]["cells"][1] == "flat"
            child.send_signal(signal.SIGKILL)
            child.wait(LONG_S)
            assert state()["state"] == "stopped"
        assert len(state()["rows"]) == 1
        assert b'id="live"' in ask(server).body

    (tmp_path / "gate").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with served(folder, port, report=name_of) as server:  # began anew, as a page must bear
        again = Sweep.from_yaml("sweep.yaml", settings=["limits.processes=false"])
        results = again.run(out=folder, store=Store(tmp_path / "cache"), progress=False)
        assert results.manifest["jobs"]["encode"]["cached"] == 2
        assert state()["state"] == "finished"
        assert ask(server).body.endswith(b"results of first")
    assert [path.name for path in folder.parent.iterdir()] == ["first"]
