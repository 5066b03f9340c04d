"""Fetching files over real HTTP on this machine, from servers that misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from retrieval_eval.errors import InputError, RetrievalEvalError
from retrieval_eval.fetching import FetchError, fetch

DATA = bytes(range(256)) * 2000  # 512,000 bytes
SHA = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


@dataclass
class Site:
    """A server on this machine that misbehaves as asked, and what it was asked for."""

    data: bytes = DATA
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes, an entry for each response
    statuses: list[int] = field(default_factory=list)  # answers before the file is sent
    announced: int | None = None
    length_known: bool = True
    redirect: str | None = None
    pause: threading.Event = field(default_factory=threading.Event)
    stalls: int = 0  # responses that stop half-way until `pause` is set
    before_reply: Callable[[], None] = lambda: None
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def asked_from(self) -> list[str | None]:
        return [request.get("Range") for request in self.requests]


def handler_for(site: Site) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
            pass

        def do_GET(self) -> None:
            site.requests.append({**self.headers, "path": self.path})
            site.before_reply()
            if site.statuses:
                self.send_response(site.statuses.pop(0))
                self.send_header("Retry-After", "0")
                self.end_headers()
                return
            if site.redirect is not None and not self.path.startswith("/file"):
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
                return
            self.send_file()

        def send_file(self) -> None:
            start, status = 0, 200
            asked = self.headers.get("Range")
            condition = self.headers.get("If-Range")
            if asked and site.ranges and condition in {None, site.etag, site.modified}:
                start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
                if start >= len(site.data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(site.data)}")
                    self.end_headers()
                    return
            body = site.data[start:]
            self.send_response(status)
            if site.etag and (status == 200 or site.etag.startswith('"')):
                self.send_header("ETag", site.etag)
            if site.modified and status == 200:
                self.send_header("Last-Modified", site.modified)
            if status == 206:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(site.data) - 1}/{len(site.data)}"
                )
            if site.length_known:
                self.send_header("Content-Length", str(site.announced or len(body)))
            self.end_headers()
            sent = site.cut_after.pop(0) if site.cut_after else len(body)
            if site.stalls:
                site.stalls -= 1
                self.wfile.write(body[: sent // 2])
                self.wfile.flush()
                site.pause.wait(20)
                return
            with contextlib.suppress(OSError):  # the client may have gone
                self.wfile.write(body[:sent])

    return Handler


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    made = Site()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_for(made))
    made.url = f"http://127.0.0.1:{server.server_address[1]}/file.bin"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.pause.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.bin"


def quick(url: str, target: Path, **options: Any) -> Any:
    return fetch(url, target, **{"backoff": 0.0, "timeout": 5.0, **options})


def left_beside(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


# -- whole or not at all ----------------------------------------------------------------------


def test_a_file_is_fetched_checked_and_named(site: Site, target: Path) -> None:
    got: list[int] = []
    found = quick(site.url, target, checksums={"sha256": SHA}, size=len(DATA), advance=got.append)
    assert target.read_bytes() == DATA
    assert (found.path, found.n_bytes, found.sha256, found.fresh) == (target, len(DATA), SHA, True)
    assert sum(got) == len(DATA)
    assert left_beside(target) == {"file.bin", "file.bin.lock", "file.bin.fetched.json"}


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512", "blake2b"])
def test_every_kind_of_checksum_is_checked(site: Site, target: Path, name: str) -> None:
    right = hashlib.new(name, DATA, usedforsecurity=False).hexdigest()
    wrong = ("0" if right[0] != "0" else "1") + right[1:]
    with pytest.raises(FetchError, match=wrong):
        quick(site.url, target, checksums={name: wrong})
    assert quick(site.url, target, checksums={name: right.upper()}).fresh


def test_a_second_call_asks_nobody(site: Site, target: Path) -> None:
    quick(site.url, target, checksums={"md5": MD5})
    again = quick(site.url, target, checksums={"md5": MD5})
    assert (again.fresh, again.sha256, len(site.requests)) == (False, SHA, 1)


def test_what_came_with_a_wrong_checksum_is_deleted_and_both_are_named(
    site: Site, target: Path
) -> None:
    expected = "0" * 64
    with pytest.raises(FetchError) as caught:
        quick(site.url, target, checksums={"sha256": expected})
    assert expected in str(caught.value)
    assert SHA in str(caught.value)
    assert left_beside(target) == {"file.bin.lock"}
    assert len(site.requests) == 1


def test_a_file_of_unknown_length_is_fetched(site: Site, target: Path) -> None:
    site.length_known = False
    assert quick(site.url, target, checksums={"md5": MD5}).n_bytes == len(DATA)


def test_an_empty_file_is_a_file(site: Site, target: Path) -> None:
    site.data = b""
    assert quick(site.url, target).n_bytes == 0
    assert target.read_bytes() == b""


# -- going on ---------------------------------------------------------------------------------


def test_a_cut_connection_goes_on_where_it_ended(site: Site, target: Path) -> None:
    site.cut_after = [100_000, 50_000]
    got: list[int] = []
    quick(site.url, target, checksums={"sha256": SHA}, advance=got.append)
    assert target.read_bytes() == DATA
    assert site.asked_from() == [None, "bytes=100000-", "bytes=150000-"]
    assert [request.get("If-Range") for request in site.requests] == [None, '"one"', '"one"']
    assert sum(got) == len(DATA)
    assert min(got) > 0  # nothing was taken back


def cut_once(site: Site, target: Path, at: int = 100_000, **options: Any) -> None:
    site.cut_after = [at]
    with pytest.raises(FetchError, match=f"ended after {at:,} of 512,000"):
        quick(site.url, target, retries=0, **options)
    assert target.with_name("file.bin.part").stat().st_size == at


def test_another_process_goes_on_and_checks_the_first_part_too(site: Site, target: Path) -> None:
    cut_once(site, target)
    got: list[int] = []
    assert quick(site.url, target, checksums={"sha256": SHA}, advance=got.append).sha256 == SHA
    assert site.asked_from() == [None, "bytes=100000-"]
    assert sum(got) == len(DATA)


def test_a_damaged_part_is_found_out_and_all_fetched_again(site: Site, target: Path) -> None:
    cut_once(site, target, checksums={"sha256": SHA})
    target.with_name("file.bin.part").write_bytes(b"x" * 100_000)
    got: list[int] = []
    quick(site.url, target, checksums={"sha256": SHA}, advance=got.append)
    assert target.read_bytes() == DATA
    assert site.asked_from() == [None, "bytes=100000-", None]
    assert sum(got) == len(DATA)


def test_a_server_without_ranges_sends_all_again(site: Site, target: Path) -> None:
    site.ranges = False
    site.cut_after = [100_000]
    got: list[int] = []
    quick(site.url, target, checksums={"sha256": SHA}, advance=got.append)
    assert target.read_bytes() == DATA
    assert -100_000 in got
    assert sum(got) == len(DATA)


@pytest.mark.parametrize("checksums", [{}, {"sha256": hashlib.sha256(DATA[::-1]).hexdigest()}])
def test_a_file_that_changed_meanwhile_is_not_mixed(
    site: Site, target: Path, checksums: dict[str, str]
) -> None:
    cut_once(site, target, checksums=checksums)
    site.data, site.etag = DATA[::-1], '"two"'
    quick(site.url, target, checksums=checksums)
    assert target.read_bytes() == DATA[::-1]
    assert len(site.requests) == 2


def test_a_new_tag_on_a_part_is_believed_although_the_server_ignored_the_condition(
    site: Site, target: Path
) -> None:
    site.etag, site.modified = None, "Thu, 01 Jan 2026 00:00:00 GMT"
    cut_once(site, target)
    state = target.with_name("file.bin.part.json")
    state.write_text(json.dumps({**json.loads(state.read_text()), "etag": '"old"'}))
    site.data, site.etag, site.modified = DATA[::-1], '"new"', '"old"'  # "old" still accepted
    quick(site.url, target)
    assert target.read_bytes() == DATA[::-1]


def test_a_date_serves_where_the_tag_is_weak(site: Site, target: Path) -> None:
    site.etag, site.modified = 'W/"one"', "Thu, 01 Jan 2026 00:00:00 GMT"
    site.cut_after = [100_000, 100_000]
    quick(site.url, target)
    assert target.read_bytes() == DATA
    assert [request.get("If-Range") for request in site.requests] == [None, *[site.modified] * 2]


def test_without_tag_date_and_checksum_nothing_is_pieced_together(site: Site, target: Path) -> None:
    site.etag = None
    site.cut_after = [100_000]
    quick(site.url, target)
    assert site.asked_from() == [None, None]


def test_a_part_that_is_whole_already_is_checked_and_used(site: Site, target: Path) -> None:
    cut_once(site, target)
    target.with_name("file.bin.part").write_bytes(DATA)
    assert quick(site.url, target, checksums={"sha256": SHA}).fresh
    assert site.asked_from() == [None, "bytes=512000-"]


def test_a_part_longer_than_the_file_starts_again(site: Site, target: Path) -> None:
    cut_once(site, target)
    target.with_name("file.bin.part").write_bytes(DATA + b"more")
    assert quick(site.url, target, checksums={"sha256": SHA}).fresh


def test_a_part_of_another_address_is_not_used(site: Site, target: Path) -> None:
    cut_once(site, target)
    quick(site.url.replace("file.bin", "file2.bin"), target, checksums={"sha256": SHA})
    assert site.asked_from() == [None, None]


KILLED = """
import sys
from pathlib import Path
from retrieval_eval.fetching import fetch
def told(count):
    print(count, flush=True)
fetch(sys.argv[1], Path(sys.argv[2]), checksums={"sha256": sys.argv[3]}, advance=told)
"""


def test_a_killed_process_leaves_a_part_that_the_next_one_goes_on_from(
    site: Site, target: Path
) -> None:
    site.stalls = 1
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, site.url, str(target), SHA], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    got = 0
    while got < len(DATA) // 2:
        got += int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not target.exists()
    quick(site.url, target, checksums={"sha256": SHA})
    assert target.read_bytes() == DATA
    start = site.asked_from()[1]
    assert start is not None  # what had reached the disk was not fetched twice


# -- servers that fail ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(site: Site, target: Path, status: int) -> None:
    site.statuses = [status, status]
    assert quick(site.url, target, checksums={"md5": MD5}).fresh
    assert len(site.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_lasting_failure_is_not_tried_again(site: Site, target: Path, status: int) -> None:
    site.statuses = [status]
    with pytest.raises(FetchError, match=f"the server answered {status}"):
        quick(site.url, target)
    assert len(site.requests) == 1


def test_attempts_end(site: Site, target: Path) -> None:
    site.statuses = [503] * 99
    with pytest.raises(FetchError, match=r"503 .*\(3 attempts\)"):
        quick(site.url, target, retries=2)
    assert len(site.requests) == 3


def test_waits_double_and_the_server_may_set_them(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("retrieval_eval.fetching.download.time.sleep", waits.append)
    site.cut_after = [1, 1, 1]
    site.statuses = [503]
    quick(site.url, target, backoff=0.5)
    assert waits == [0.0, 1.0, 2.0, 4.0]  # the first as asked for


def test_a_silent_server_is_given_up_and_asked_again(site: Site, target: Path) -> None:
    site.stalls = 1
    quick(site.url, target, timeout=0.3, checksums={"sha256": SHA})
    assert target.read_bytes() == DATA
    assert site.asked_from() == [None, "bytes=256000-"]


def test_a_server_that_refuses_connections_is_named_with_the_way_out(target: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file.bin"
        with pytest.raises(FetchError) as caught:
            quick(url, target, retries=1, checksums={"md5": MD5}, size=512_000)
    message = str(caught.value)
    for part in (url, "Connection refused", "512,000 bytes", f"md5 {MD5}", f"put it at {target}"):
        assert part in message
    assert "\n" not in message


def test_without_a_network_the_message_says_what_to_put_where(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("all_proxy", raising=False)
    with pytest.raises(FetchError) as caught:
        fetch("https://example.org/file.bin", target, checksums={"md5": MD5})
    assert "no network" in str(caught.value)
    assert f"put it at {target}, and run the same command again" in str(caught.value)
    target.write_bytes(DATA)
    assert not fetch("https://example.org/file.bin", target, checksums={"md5": MD5}).fresh


# -- limits -----------------------------------------------------------------------------------


def test_a_server_that_announces_far_more_is_refused_before_a_byte(
    site: Site, target: Path
) -> None:
    with pytest.raises(FetchError, match=r"announces 512,000 bytes, and 11,000 are the limit"):
        quick(site.url, target, size=10_000, checksums={"md5": MD5})
    assert left_beside(target) == {"file.bin.lock"}


@pytest.mark.parametrize("options", [{"size": 10_000}, {"max_bytes": 10_000}])
def test_a_server_that_sends_far_more_is_cut_off(
    site: Site, target: Path, options: dict[str, int]
) -> None:
    site.length_known = False
    with pytest.raises(FetchError, match="sends more than"):
        quick(site.url, target, **options)
    assert left_beside(target) == {"file.bin.lock"}


def test_another_size_than_the_expected_one_is_refused_without_a_checksum(
    site: Site, target: Path
) -> None:
    with pytest.raises(FetchError, match=r"has 512,000 bytes, expected are 511,999"):
        quick(site.url, target, size=511_999)
    assert not target.exists()


def test_a_full_disk_is_noticed_before(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(target.parent.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(FetchError, match="512,000 bytes are still to come, and only 1,000 are"):
        quick(site.url, target)


def test_a_folder_that_cannot_be_written_to_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RetrievalEvalError, match="RETRIEVAL_EVAL_CACHE"):
        quick(site.url, tmp_path / "taken" / "file.bin")


# -- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("file:///etc/passwd", "only https:// can be fetched"),
        ("ftp://example.org/x", "only https:// can be fetched"),
        ("https:///x", "only https:// can be fetched"),
        ("https://example.org:port/x", "it is no URL"),
        ("http://example.org/x", "plain http:// needs a checksum"),
    ],
)
def test_addresses_that_are_not_asked(target: Path, url: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        fetch(url, target)


@pytest.mark.parametrize(
    ("checksums", "rule"),
    [
        ({"md5": "abc"}, "md5 must be 32 hexadecimal digits, got 'abc'"),
        ({"md5": "g" * 32}, "md5 must be 32 hexadecimal digits"),
        ({"md4": "a" * 32}, "unknown checksum 'md4'. Did you mean 'md5'?"),
    ],
)
def test_checksums_that_are_none(target: Path, checksums: dict[str, str], rule: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch("https://example.org/x", target, checksums=checksums)
    assert rule in str(caught.value)


def test_redirects_are_followed(site: Site, target: Path) -> None:
    site.redirect = "/file.bin"
    assert quick(site.url.replace("file", "elsewhere"), target).sha256 == SHA


@pytest.mark.parametrize(
    "where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://example.org/"]
)
def test_redirects_to_where_nothing_may_come_from_are_refused(
    site: Site, target: Path, where: str
) -> None:
    site.redirect = where
    with pytest.raises(FetchError, match=r"redirect"):
        quick(site.url.replace("file", "elsewhere"), target)
    assert not target.exists()
    assert len(site.requests) == 1


def test_redirects_in_a_circle_end(site: Site, target: Path) -> None:
    site.redirect = "/again"
    with pytest.raises(FetchError, match="302"):
        quick(site.url.replace("file", "again"), target)
    assert len(site.requests) < 20


def test_the_proxy_of_the_environment_is_asked(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", site.url.removesuffix("/file.bin"))
    site.redirect = None
    quick("http://data.example/file.bin", target, checksums={"md5": MD5})
    assert site.requests[0]["path"] == "http://data.example/file.bin"


def test_certificates_are_verified(target: Path) -> None:
    from retrieval_eval.fetching._http import make_opener

    contexts = [
        handler._context  # type: ignore[attr-defined]  # there is no public way to look
        for handler in make_opener(has_checksum=True).handlers
        if isinstance(handler, urllib.request.HTTPSHandler)
    ]
    assert [(c.check_hostname, c.verify_mode.name) for c in contexts] == [(True, "CERT_REQUIRED")]


# -- files that are there already -------------------------------------------------------------


def test_a_file_put_there_by_hand_is_checked_and_used(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(DATA)
    found = fetch("https://example.org/x", target, checksums={"md5": MD5})
    assert (found.fresh, found.sha256) == (False, SHA)


def test_a_wrong_file_put_there_by_hand_is_refused_and_kept(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"wrong")
    with pytest.raises(InputError) as caught:
        fetch("https://example.org/x", target, checksums={"md5": MD5})
    assert f"expected md5 {MD5}, found 2bda2998d9b0ee197da142a0447f6725" in str(caught.value)
    assert target.read_bytes() == b"wrong"


def test_a_file_of_another_size_is_refused_without_a_checksum(target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"wrong")
    with pytest.raises(InputError, match="has 5 bytes, expected are 512,000"):
        fetch("https://example.org/x", target, size=512_000)


def test_a_later_change_is_noticed_without_a_checksum(site: Site, target: Path) -> None:
    quick(site.url, target)
    target.write_bytes(b"changed")
    with pytest.raises(
        InputError, match=f"has changed since it was fetched: expected sha256 {SHA}"
    ):
        quick(site.url, target)
    target.write_bytes(DATA)
    assert not quick(site.url, target).fresh


def test_another_file_at_the_address_is_noticed_without_a_checksum(
    site: Site, target: Path
) -> None:
    quick(site.url, target)
    target.unlink()
    site.data = DATA[::-1]
    with pytest.raises(FetchError, match=f"another file than before: sha256 was {SHA}"):
        quick(site.url, target)
    assert not target.exists()
    target.with_name("file.bin.fetched.json").unlink()
    assert quick(site.url, target).fresh


def test_a_checked_file_is_read_again_only_after_a_change(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(site.url, target, checksums={"md5": MD5})
    made = hashlib.new
    used: list[str] = []
    monkeypatch.setattr(
        hashlib, "new", lambda name, **more: (used.append(name), made(name, **more))[1]
    )
    quick(site.url, target, checksums={"md5": MD5})
    assert used == []
    os.utime(target, ns=(1, 1))
    quick(site.url, target, checksums={"md5": MD5})
    assert set(used) == {"md5", "sha256"}
    with pytest.raises(InputError, match="is not the expected file"):
        quick(site.url, target, checksums={"sha1": "0" * 40})


# -- several at once --------------------------------------------------------------------------


def test_of_two_processes_one_does_the_work(site: Site, target: Path) -> None:
    site.before_reply = lambda: time.sleep(0.3)
    command = [sys.executable, "-c", KILLED, site.url, str(target), SHA]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    told = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(sum(map(int, numbers)) for numbers in told) == [0, len(DATA)]
    assert len(site.requests) == 1


def test_of_two_threads_one_does_the_work(site: Site, target: Path) -> None:
    site.before_reply = lambda: time.sleep(0.1)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(quick(site.url, target).fresh))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, False, True]
    assert len(site.requests) == 1
