"""The encoder behind HTTP, against a server on this machine that fails in every way it can."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import json
import re
import shutil
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.encoders import _http
from retrieval_eval.encoders._http import StoppedError
from retrieval_eval.encoders._requests import Ledger, in_order
from retrieval_eval.encoders.openai import OpenAIEncoder
from retrieval_eval.errors import InputError, RetrievalEvalError

pytest.importorskip("urllib3", reason="it is not installed: it comes with the extra 'openai'")

KEY = "sk-do-not-show-0123456789"
DIM = 6


@dataclass
class Reply:
    """What the server sends; ``cut`` ends the connection after so many bytes of the body.

    With ``drip_s`` every byte is followed by such a pause.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip_s: float = 0.0


def raw_vector(text: str, d: int = DIM) -> list[float]:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return [byte / 16 - 7.9 for byte in digest[:d]]


def expected(texts: list[str], d: int = DIM) -> NDArray[np.float32]:
    rows = np.array([raw_vector(text, d) for text in texts])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def good(body: dict[str, Any]) -> Reply:
    """Answer as the protocol says, in the form that the request asks for."""
    rows: list[Any] = [raw_vector(text, body.get("dimensions", DIM)) for text in body["input"]]
    if body.get("encoding_format") == "base64":
        rows = [base64.b64encode(np.array(row, "<f4").tobytes()).decode() for row in rows]
    data = [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(rows)]
    n_tokens = sum(len(text.split()) for text in body["input"])
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    return Reply({"object": "list", "model": body["model"], "data": data, "usage": usage})


def changed(body: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> Reply:
    reply = good(body)
    change(reply.body)
    return reply


class Server:
    """A server whose answers a test decides: ``answer(body, number)``, numbered from 0."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any], int], Reply] = lambda body, _: good(body)
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.connections = self.active = self.most_active = 0
        self.lock = threading.Lock()
        self.url = ""
        self.listening: ThreadingHTTPServer

    @property
    def texts(self) -> list[str]:
        return [text for body in self.bodies for text in body["input"]]

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.paths.append(handler.path)
            self.times.append(time.monotonic())
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        try:
            reply = self.answer(body, number)
        finally:
            with self.lock:
                self.active -= 1
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        step = 1 if reply.drip_s else len(data)
        for start in range(0, len(data[: reply.cut]), max(1, step)):
            handler.wfile.write(data[: reply.cut][start : start + step])
            time.sleep(reply.drip_s)
        if reply.cut is not None:
            handler.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Start a server on this machine, without waits between retries."""
    monkeypatch.setattr(_http, "FIRST_WAIT_S", 0.001)
    monkeypatch.setenv("TEST_KEY", KEY)
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            with server.lock:
                server.connections += 1
            super().setup()

        def do_POST(self) -> None:
            with contextlib.suppress(ConnectionError):  # the other side gave up
                server.handle(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        listening.handle_error = lambda *_: None  # type: ignore[method-assign]  # a failed handshake
        server.listening = listening
        server.url = f"http://127.0.0.1:{listening.server_address[1]}/v1"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        listening.shutdown()
        thread.join()


def encoder_of(server: Server, **parameters: Any) -> OpenAIEncoder:
    given = {"model": "m", "base_url": server.url, "key_variable": "TEST_KEY", **parameters}
    return OpenAIEncoder(**given)


def collected(
    blocks: Iterable[NDArray[np.float32]],
) -> tuple[list[NDArray[np.float32]], RetrievalEvalError | None]:
    """Return what a stream yields, and how it ends."""
    got: list[NDArray[np.float32]] = []
    try:
        got.extend(blocks)  # keeps what comes before an error
    except RetrievalEvalError as error:
        return got, error
    return got, None


def texts_of(n: int) -> list[str]:
    return [f"text number {row}" for row in range(n)]


# -- what is asked and what comes back --------------------------------------------------------


@pytest.mark.parametrize("encoding_format", [None, "float", "base64"])
def test_vectors_come_back_in_order_and_of_unit_length(
    server: Server, encoding_format: str | None
) -> None:
    texts = texts_of(10)
    encoder = encoder_of(server, batch_size=4, encoding_format=encoding_format)
    vectors = encoder.encode(texts, "document")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(texts), atol=1e-6)
    assert encoder.dimension() == DIM
    assert sorted(len(body["input"]) for body in server.bodies) == [2, 4, 4]
    assert set(server.paths) == {"/v1/embeddings"}
    fields = {"model", "input"} | ({"encoding_format"} if encoding_format else set())
    assert all(set(body) == fields for body in server.bodies)
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}


def test_vectors_keep_their_length_when_told_so(server: Server) -> None:
    vectors = encoder_of(server, normalize=False).encode(["apple"], "query")
    np.testing.assert_allclose(vectors[0], raw_vector("apple"), atol=1e-6)


def test_a_server_may_answer_in_the_other_form_and_in_any_order(server: Server) -> None:
    def shuffled(body: dict[str, Any], _: int) -> Reply:
        return changed(
            {**body, "encoding_format": "float"}, lambda answer: answer["data"].reverse()
        )

    server.answer = shuffled
    vectors = encoder_of(server, encoding_format="base64").encode(texts_of(5), "document")
    np.testing.assert_allclose(vectors, expected(texts_of(5)), atol=1e-6)


def test_prefixes_fields_and_dimensions_are_sent_for_their_kind(server: Server) -> None:
    encoder = encoder_of(
        server,
        dimensions=3,
        query_prefix="query: ",
        document_prefix="passage: ",
        query_fields={"input_type": "query", "truncate": True},
        document_fields={"input_type": "passage"},
        max_chars=5,
    )
    assert encoder.dimension() == 3
    queries = encoder.encode(["red apple"], "query")
    np.testing.assert_allclose(queries, expected(["query: red a"], 3), atol=1e-6)
    encoder.encode(["red apple"], "document")
    common = {"model": "m", "dimensions": 3}
    assert server.bodies == [
        {**common, "input": ["query: red a"], "input_type": "query", "truncate": True},
        {**common, "input": ["passage: red a"], "input_type": "passage"},
    ]


def test_text_beyond_ascii_and_half_a_character_pair_arrive(server: Server) -> None:
    encoder_of(server).encode(["Äpfel 苹果 🍎", "half \ud800"], "document")
    assert server.texts == ["Äpfel 苹果 🍎", "half ?"]


@pytest.mark.parametrize("n_empty_first", [0, 5])
def test_empty_texts_are_never_sent_and_get_zero_vectors(
    server: Server, n_empty_first: int
) -> None:
    texts = [""] * n_empty_first + ["red", "", "  \n", "blue"]
    encoder = encoder_of(server, batch_size=2, query_prefix="query: ")
    vectors = encoder.encode(texts, "query")
    assert encoder.zero_means_no_match
    rows = [n_empty_first, n_empty_first + 3]
    np.testing.assert_allclose(vectors[rows], expected(["query: red", "query: blue"]), atol=1e-6)
    assert not np.delete(vectors, rows, axis=0).any()
    assert all(text.removeprefix("query: ").strip() for text in server.texts)


def test_empty_texts_alone_ask_the_server_for_nothing_but_the_dimension(server: Server) -> None:
    encoder = encoder_of(server)
    assert encoder.encode(["", " "], "document").tolist() == [[0.0] * DIM] * 2
    assert encoder.encode([""], "document").shape == (1, DIM)
    assert len(server.bodies) == 1
    assert encoder_of(server, dimensions=3).encode([""], "query").shape == (1, 3)
    assert len(server.bodies) == 1
    assert encoder.encode([], "query").shape == (0, DIM)


# -- order, concurrency, resumption -----------------------------------------------------------


def test_as_many_requests_as_allowed_run_at_a_time_and_never_more(server: Server) -> None:
    together = threading.Barrier(3)

    def answer(body: dict[str, Any], number: int) -> Reply:
        if number < 3:
            together.wait(timeout=10)  # broken unless three are there at once
        return good(body)

    server.answer = answer
    encoder = encoder_of(server, batch_size=1, concurrency=3, retries=0)
    vectors = encoder.encode(texts_of(30), "document")
    np.testing.assert_allclose(vectors, expected(texts_of(30)), atol=1e-6)
    assert server.most_active == 3
    assert server.connections <= 3, "connections are used again"


@pytest.mark.parametrize("concurrency", [1, 5])
def test_results_do_not_depend_on_concurrency(server: Server, concurrency: int) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        time.sleep(0.01 * (number % 3))  # the first are overtaken
        return good(body)

    server.answer = answer
    texts = ["", *texts_of(23)]
    encoder = encoder_of(server, batch_size=3, concurrency=concurrency)
    blocks = list(encoder.stream(texts, "document"))
    assert [len(block) for block in blocks] == [3] * 8
    np.testing.assert_array_equal(np.concatenate(blocks)[1:], expected(texts[1:]))


def test_a_stream_goes_on_from_any_boundary(server: Server) -> None:
    texts = texts_of(11)
    whole = list(encoder_of(server, batch_size=4).stream(texts, "document"))
    server.bodies.clear()
    rest = list(encoder_of(server, batch_size=4).stream(texts, "document", start=8))
    assert server.texts == texts[8:]
    np.testing.assert_array_equal(np.concatenate(rest), whole[2])
    assert OpenAIEncoder.commit_s == 0
    assert encoder_of(server, batch_size=4).batch_texts == 4


def test_each_batch_is_handed_on_while_later_ones_are_still_away(server: Server) -> None:
    release = threading.Event()

    def answer(body: dict[str, Any], _: int) -> Reply:
        if body["input"][0] != "text number 0":
            release.wait(timeout=10)
        return good(body)

    server.answer = answer
    stream = encoder_of(server, batch_size=1, concurrency=2).stream(texts_of(4), "document")
    first = next(stream)  # never comes if it waits for the others
    assert not release.is_set()
    np.testing.assert_allclose(first, expected(texts_of(1)), atol=1e-6)
    release.set()
    assert len(list(stream)) == 3


def test_batches_before_a_failing_one_are_handed_on_and_few_after_it_are_sent(
    server: Server,
) -> None:
    def answer(body: dict[str, Any], _: int) -> Reply:
        if body["input"][0] == "text number 5":
            return Reply({"error": {"message": "no such thing"}}, 422)
        return good(body)

    server.answer = answer
    encoder = encoder_of(server, batch_size=1, concurrency=2)
    ids = [f"d{row}" for row in range(100)]
    got, error = collected(encoder.stream(texts_of(100), "document", ids=ids))
    assert isinstance(error, InputError)
    assert re.search("document 'd5'.* 422: no such thing", str(error))
    np.testing.assert_allclose(np.concatenate(got), expected(texts_of(5)), atol=1e-6)
    assert len(server.bodies) < 12


def test_an_abandoned_stream_sends_no_more(server: Server) -> None:
    stream = encoder_of(server, batch_size=1, concurrency=2).stream(texts_of(1000), "document")
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    time.sleep(0.05)
    n = len(server.bodies)
    time.sleep(0.05)
    assert len(server.bodies) == n < 12


def test_an_abandoned_stream_does_not_try_again(server: Server) -> None:
    asked = threading.Event()

    def answer(body: dict[str, Any], _: int) -> Reply:
        if body["input"][0] == "text number 0":
            return good(body)
        asked.set()
        return Reply({}, 503, {"Retry-After": "0.2"})

    server.answer = answer
    stream = encoder_of(server, batch_size=1, concurrency=2).stream(texts_of(2), "document")
    next(stream)
    assert asked.wait(timeout=10)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    time.sleep(0.4)
    assert len(server.bodies) == 2


def test_no_call_begins_after_one_that_failed() -> None:
    began: list[int] = []
    failed = threading.Event()

    def call(number: int) -> int:
        began.append(number)
        if number == 1:
            failed.set()
            raise InputError("no")
        return number

    results = in_order((partial(call, number) for number in range(9)), threads=1)
    assert next(results) == 0
    assert failed.wait(timeout=10)
    with pytest.raises(InputError, match="no"):
        next(results)
    time.sleep(0.05)
    assert began == [0, 1]


def test_a_closed_encoder_opens_anew(server: Server) -> None:
    encoder = encoder_of(server)
    first = encoder.encode(["apple"], "query")
    encoder.close()
    encoder.close()
    np.testing.assert_array_equal(encoder.encode(["apple"], "query"), first)
    assert server.connections == 2


# -- failures that pass -----------------------------------------------------------------------


def fails_first(times: int, reply: Callable[[dict[str, Any]], Reply]) -> Any:
    """Fail each text's first requests, then answer."""
    seen: dict[str, int] = {}

    def answer(body: dict[str, Any], _: int) -> Reply:
        text = body["input"][0]
        seen[text] = seen.get(text, 0) + 1
        return reply(body) if seen[text] <= times else good(body)

    return answer


TRANSIENT: dict[str, Callable[[dict[str, Any]], Reply]] = {
    **{
        str(status): lambda _, status=status: Reply({"error": "busy"}, status)
        for status in (408, 409, 429, 500, 502, 503, 504)
    },
    "429 with Retry-After": lambda _: Reply({}, 429, {"Retry-After": "0"}),
    "cut in mid-answer": lambda body: Reply(good(body).body, cut=40),
    "cut before the answer": lambda body: Reply(good(body).body, cut=0),
    "garbled": lambda _: Reply(b'{"data": [{"embedd'),
    "not UTF-8": lambda _: Reply(b"\xff\xfe{}"),
    "no object": lambda _: Reply([1, 2]),
    "an error under 200": lambda _: Reply({"error": {"message": "upstream", "code": 502}}),
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_what_may_pass_is_tried_again(server: Server, fault: str) -> None:
    server.answer = fails_first(2, TRANSIENT[fault])
    encoder = encoder_of(server, batch_size=2, retries=2)
    vectors = encoder.encode(texts_of(6), "document")
    np.testing.assert_allclose(vectors, expected(texts_of(6)), atol=1e-6)
    assert len(server.bodies) == 9
    assert encoder.usage()["requests"] == 9
    assert encoder.usage()["failed_requests"] == 6


@pytest.mark.parametrize("fault", TRANSIENT)
def test_what_does_not_pass_ends_with_the_last_reason(server: Server, fault: str) -> None:
    server.answer = fails_first(10, TRANSIENT[fault])
    with pytest.raises(RetrievalEvalError, match=r"document 0 to document 1 .*\(3 attempts\)$"):
        encoder_of(server, retries=2).encode(texts_of(2), "document")
    assert len(server.bodies) == 3


def test_a_late_answer_is_asked_for_again(server: Server) -> None:
    release = threading.Event()

    def answer(body: dict[str, Any], number: int) -> Reply:
        if number == 0:
            release.wait(timeout=10)
        return good(body)

    server.answer = answer
    encoder = encoder_of(server, timeout_s=0.2)
    np.testing.assert_allclose(encoder.encode(["apple"], "query"), expected(["apple"]), atol=1e-6)
    release.set()
    usage = encoder.usage()
    assert usage["tokens"] == len("apple") + 16 + 1, "the lost answer counts at its upper bound"
    assert usage["estimated_tokens"] == len("apple") + 16


def test_an_answer_that_drips_in_is_late_too(server: Server) -> None:
    server.answer = lambda body, _: Reply(good(body).body, drip_s=0.05)
    with pytest.raises(RetrievalEvalError, match=r"no whole answer within 0\.2 s"):
        encoder_of(server, timeout_s=0.2, retries=0).encode(["apple"], "query")


def test_a_server_that_is_not_there_is_named(server: Server) -> None:
    encoder = encoder_of(server, base_url="http://127.0.0.1:1/v1", retries=1)
    with pytest.raises(RetrievalEvalError, match=r"127.0.0.1:1/v1: query 0: no connection: .*"):
        encoder.encode(["apple"], "query")
    assert encoder.usage()["tokens"] == 0


def test_the_wait_that_the_server_asks_for_is_kept(server: Server) -> None:
    server.answer = fails_first(1, lambda _: Reply({}, 429, {"Retry-After": "0.3"}))
    encoder_of(server).encode(["apple"], "query")
    assert server.times[1] - server.times[0] >= 0.3


def test_a_wait_longer_than_allowed_ends_the_run(server: Server) -> None:
    server.answer = fails_first(1, lambda _: Reply({}, 503, {"Retry-After": "3600"}))
    with pytest.raises(RetrievalEvalError, match="it asks to wait 3600 s, more than max_wait_s"):
        encoder_of(server).encode(["apple"], "query")


def test_retry_after_is_read_in_seconds_and_as_a_date() -> None:
    read = _http._retry_after_s
    assert read("7") == 7.0
    assert read(" 1.5 ") == 1.5
    soon = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < read(soon) <= 100
    for nothing in (None, "", "soon", "-5", "nan", "inf", "Mon, 01 Jan 1990 00:00:00 GMT"):
        assert read(nothing) == 0.0


def test_waits_grow_and_vary_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return False

    def fail() -> None:
        raise _http.TransientError("no")

    with pytest.raises(RetrievalEvalError, match=r"no \(9 attempts\)"):
        _http.retrying(fail, retries=8, max_wait_s=20.0, stop=Stop())
    for wait, longest in zip(waits, [0.5, 1, 2, 4, 8, 16, 20, 20], strict=True):
        assert longest / 2 <= wait < longest


# -- failures that stay -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, {"error": {"message": "bad model"}}, "400: bad model$"),
        (401, {"error": {"message": "who?"}}, "401: who?.*environment variable TEST_KEY"),
        (403, {"detail": "not yours"}, "403: not yours. Check the key"),
        (404, {"message": "nothing here"}, "404: nothing here. Check base_url.*'m'"),
        (422, {"detail": [{"msg": "odd"}]}, r'422: \[{"msg": "odd"}\]'),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "429: pay"),
        (400, b"<html>\n\n <b>no\x1b[31m</b>", r"400: <html> <b>no \[31m</b>"),
        (418, b"", "418: nothing"),
        (400, [{"error": {"message": "in a list"}}], "400: in a list"),
    ],
)
def test_a_refusal_ends_at_once_with_the_servers_words(
    server: Server, status: int, body: Any, message: str
) -> None:
    server.answer = lambda *_: Reply(body, status)
    with pytest.raises(InputError, match=message):
        encoder_of(server).encode(["apple"], "query")
    assert len(server.bodies) == 1


def test_a_missing_key_is_suspected_where_none_was_sent(server: Server) -> None:
    server.answer = lambda *_: Reply({}, 401)
    with pytest.raises(InputError, match="No key was sent: name the environment variable"):
        encoder_of(server, key_variable=None).encode(["apple"], "query")
    assert "authorization" not in server.headers[0]


def test_long_words_of_the_server_are_cut(server: Server) -> None:
    server.answer = lambda *_: Reply({"error": "x" * 100_000}, 400)
    with pytest.raises(InputError) as caught:
        encoder_of(server).encode(["apple"], "query")
    assert len(str(caught.value)) < 1000


def halved(limit: int, status: int, message: str) -> Any:
    def answer(body: dict[str, Any], _: int) -> Reply:
        if sum(len(text) for text in body["input"]) > limit:
            return Reply({"error": {"message": message}}, status)
        return good(body)

    return answer


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (413, "Payload"),
        (400, "Requested 405016 tokens, max 300000 tokens per request"),
        (422, "batch size 64 > maximum allowed batch size 32"),
    ],
)
def test_a_request_that_is_too_large_is_sent_in_halves(
    server: Server, status: int, message: str
) -> None:
    server.answer = halved(50, status, message)
    encoder = encoder_of(server)
    vectors = encoder.encode(texts_of(10), "document")
    np.testing.assert_allclose(vectors, expected(texts_of(10)), atol=1e-6)
    assert encoder.usage()["tokens"] == 30, "what was refused costs nothing"


def test_the_one_text_that_is_too_long_is_named(server: Server) -> None:
    server.answer = halved(100, 400, "maximum context length is 100 tokens")
    texts = texts_of(9)
    texts[6] = "long " * 100
    with pytest.raises(
        InputError, match=r"document 'g': .*maximum context.*500 characters: cut .*max_chars"
    ):
        list(encoder_of(server).stream(texts, "document", ids=list("abcdefghi")))
    assert encoder_of(server, max_chars=90).encode(texts, "document").shape == (9, DIM)


def broken(change: Callable[[dict[str, Any]], None]) -> Any:
    return lambda body, _: changed(body, change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answer: answer["data"].pop(), "2 vectors for 3 texts"),
        (lambda answer: answer["data"].append(answer["data"][0]), "4 vectors for 3 texts"),
        (lambda answer: answer.pop("data"), "no list 'data' for 3 texts"),
        (lambda answer: answer["data"][1].update(index=0), "an index 0 for 3 texts"),
        (lambda answer: answer["data"][1].update(index=3), "an index 3 for 3 texts"),
        (lambda answer: answer["data"][1].update(index=True), "an index of type bool"),
        (lambda answer: answer["data"][1].pop("index"), "an index of type NoneType"),
        (lambda answer: answer["data"][1]["embedding"].pop(), "of 5 and 6 dimensions"),
        (lambda answer: answer["data"][1].update(embedding=[]), "neither a list of numbers"),
        (lambda answer: answer["data"][1].update(embedding=None), "neither a list of numbers"),
        (lambda answer: answer["data"][1].update(embedding=["1"] * 6), "neither a list of numb"),
        (lambda answer: answer["data"][1].update(embedding=[[1], [1, 2]]), "cannot be read"),
        (lambda answer: answer["data"][1].update(embedding="AAA"), "cannot be read"),
        (lambda answer: answer["data"][1].update(embedding="AAAAAAA="), "cannot be read"),
        (lambda answer: answer["data"][1].update(embedding=[float("nan")] * 6), "query 1 holds Na"),
        (lambda answer: answer["data"][1].update(embedding=[1e300] * 6), "query 1 holds NaN or in"),
        (lambda answer: answer["data"][1].update(embedding=[0] * 6), "query 1 is all zero"),
    ],
)
def test_an_answer_that_was_not_asked_for_is_refused(
    server: Server, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    server.answer = broken(change)
    with pytest.raises(RetrievalEvalError, match=message):
        encoder_of(server).encode(texts_of(3), "query")
    assert len(server.bodies) == 1


def test_dimensions_that_the_server_ignores_are_noticed(server: Server) -> None:
    server.answer = lambda body, _: good({**body, "dimensions": DIM})
    with pytest.raises(RetrievalEvalError, match="with 6 dimensions, not with 4 as dimensions ask"):
        encoder_of(server, dimensions=4).encode(["apple"], "query")


def test_a_dimension_that_changes_is_noticed(server: Server) -> None:
    server.answer = lambda body, number: good({**body, "dimensions": 3 + number})
    with pytest.raises(RetrievalEvalError, match="with 4 dimensions, not with 3 as before"):
        encoder_of(server, batch_size=1, concurrency=1).encode(texts_of(2), "query")


# -- what it costs ----------------------------------------------------------------------------


def test_tokens_requests_and_cost_are_counted(server: Server) -> None:
    encoder = encoder_of(server, batch_size=2, price_per_million_tokens=20.0)
    assert encoder.usage() == {
        "requests": 0, "failed_requests": 0, "tokens": 0, "estimated_tokens": 0, "cost": 0.0
    }  # fmt: skip
    encoder.encode(texts_of(5), "document")
    encoder.encode(["one two"], "query")
    usage = encoder.usage()
    assert usage["requests"] == 4
    assert usage["tokens"] == 17
    assert usage["cost"] == pytest.approx(17 * 20e-6)
    assert "cost" not in encoder_of(server).usage()


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": "9"}, {"total_tokens": -1}, [1]])
def test_tokens_that_the_server_does_not_report_count_at_their_upper_bound(
    server: Server, usage: Any
) -> None:
    server.answer = broken(lambda answer: answer.update(usage=usage))
    encoder = encoder_of(server)
    encoder.encode(["äpfel"], "query")
    assert encoder.usage()["tokens"] == encoder.usage()["estimated_tokens"] == 6 + 16


BUDGETS: list[tuple[dict[str, Any], str]] = [
    ({"budget_tokens": 200}, r"budget_tokens \(200\) leaves"),
    ({"budget": 0.002, "price_per_million_tokens": 10.0}, r"budget \(0.002, at 10 a million tok"),
    (
        {"budget_tokens": 200, "budget": 1.0, "price_per_million_tokens": 10.0},
        r"budget_tokens \(200\) leaves",
    ),
]


@pytest.mark.parametrize(("budget", "message"), BUDGETS)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_budget_is_never_passed_and_what_was_paid_is_handed_on(
    server: Server, budget: dict[str, Any], message: str, concurrency: int
) -> None:
    texts = ["w " * 10] * 100  # 10 tokens each; 20 bytes, so 36 at most
    encoder = encoder_of(server, batch_size=1, concurrency=concurrency, **budget)
    got, error = collected(encoder.stream(texts, "document"))
    assert isinstance(error, InputError)
    assert re.search(message + ".*raise it to go on", str(error))
    used = encoder.usage()["tokens"]
    assert used == 10 * len(server.bodies) <= 200
    assert used + 36 > 200, "it stopped before it had to"
    assert len(got) == len(server.bodies)


def test_requests_in_flight_count_against_a_budget(server: Server) -> None:
    def answer(body: dict[str, Any], _: int) -> Reply:
        time.sleep(0.02)  # so that several are in flight
        return changed(body, lambda answer: answer.update(usage={"total_tokens": 36}))

    server.answer = answer
    encoder = encoder_of(server, batch_size=1, concurrency=4, budget_tokens=200)
    got, error = collected(encoder.stream(["w " * 10] * 100, "document"))
    assert isinstance(error, InputError)
    assert server.most_active == 4
    assert encoder.usage()["tokens"] == 180
    assert len(got) == len(server.bodies) == 5


def test_nothing_is_paid_for_behind_a_request_that_does_not_fit() -> None:
    ledger, stop = Ledger(100, None, "the budget"), threading.Event()
    outcomes: dict[int, str] = {}

    def request(bound: int, turn: int) -> None:
        try:
            with ledger.request(bound, turn, stop) as receipt:
                receipt.tokens = bound
                outcomes[turn] = "sent"
        except (InputError, StoppedError) as error:
            outcomes[turn] = type(error).__name__

    threads = [
        threading.Thread(target=request, args=arguments, daemon=True)
        for arguments in ((80, 1), (20, 2))
    ]
    with ledger.request(60, 0, stop) as receipt:
        for turn, thread in enumerate(threads, start=1):
            thread.start()
            while turn not in ledger._waiting:  # the second would fit, but waits its turn
                assert turn not in outcomes
                time.sleep(0.001)
        receipt.tokens = 30
    for thread in threads:
        thread.join(timeout=10)
    assert outcomes == {1: "InputError", 2: "StoppedError"}
    assert ledger.usage()["tokens"] == 30
    request(70, 3)
    assert outcomes[3] == "sent", "what fits later is not held back"


def test_a_budget_holds_for_answers_that_were_lost(server: Server) -> None:
    server.answer = lambda body, _: Reply(good(body).body, cut=20)
    encoder = encoder_of(server, budget_tokens=100, retries=50)
    with pytest.raises(InputError, match="budget_tokens"):
        encoder.encode(["w " * 10], "document")  # 36 at most, each time
    assert len(server.bodies) == 2
    assert encoder.usage()["tokens"] == 72


def test_with_a_larger_budget_a_run_goes_on_from_where_it_stopped(server: Server) -> None:
    texts = texts_of(20)
    got: list[NDArray[np.float32]] = []
    for budget in count(60, 60):
        encoder = encoder_of(server, batch_size=2, concurrency=2, budget_tokens=budget)
        blocks, error = collected(encoder.stream(texts, "document", start=sum(map(len, got))))
        got += blocks
        if error is None:
            break
    np.testing.assert_allclose(np.concatenate(got), expected(texts), atol=1e-6)
    assert sorted(server.texts) == sorted(texts), "no text was paid for twice"


def test_a_budget_in_money_needs_a_price() -> None:
    with pytest.raises(InputError, match=r"budget is 5\.0, but without price_per_million_tokens"):
        OpenAIEncoder(model="m", budget=5.0)


# -- the key and where it goes ----------------------------------------------------------------


ECHOES: dict[str, Callable[[], Reply]] = {
    "401": lambda: Reply({"error": {"message": f"key {KEY} is unknown"}}, 401),
    "500": lambda: Reply(f"header Bearer {KEY} was odd".encode(), 500),
    "redirect": lambda: Reply({}, 302, {"Location": f"http://127.0.0.1:1/?key={KEY}"}),
    "across the cut": lambda: Reply({"error": "x" * 490 + KEY}, 400),
    "garbled": lambda: Reply(f"<html>{KEY}".encode()),
    "count": lambda: Reply({"data": [], "key": KEY}),
    "index": lambda: Reply({"data": [{"index": KEY}]}),
    "under 200": lambda: Reply({"error": KEY}),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_the_key_is_in_no_message_even_if_the_server_echoes_it(server: Server, echo: str) -> None:
    server.answer = lambda *_: ECHOES[echo]()
    encoder = encoder_of(server, retries=0)
    with pytest.raises(RetrievalEvalError) as caught:
        encoder.encode(["apple"], "query")
    told = "".join(traceback.format_exception(caught.value))
    assert KEY[:10] not in told
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_the_key_is_in_neither_identity_nor_repr_nor_parameters(server: Server) -> None:
    encoder = encoder_of(server)
    encoder.encode(["apple"], "query")
    shown = [encoder, encoder.parameters, encoder.identity(), encoder._client, vars(encoder)]
    assert KEY not in repr(shown)
    assert "TEST_KEY" not in repr(encoder.identity())


def test_a_redirect_is_not_followed(server: Server) -> None:
    server.answer = lambda *_: Reply({}, 307, {"Location": server.url + "/elsewhere"})
    with pytest.raises(InputError, match=r"307: it redirects to .*/elsewhere: give that address"):
        encoder_of(server).encode(["apple"], "query")
    assert len(server.bodies) == 1


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_is_not_set_is_missed_before_anything_is_sent(
    server: Server, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TEST_KEY")
    if value is not None:
        monkeypatch.setenv("TEST_KEY", value)
    encoder = encoder_of(server)
    with pytest.raises(InputError, match="encoder 'openai': the environment variable TEST_KEY is"):
        encoder.encode(["apple"], "query")
    assert server.bodies == []


@pytest.mark.parametrize("value", [f"{KEY}\nline", f"a {KEY}", f"{KEY}é"])
def test_a_key_that_is_none_is_refused_without_showing_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TEST_KEY", value)
    with pytest.raises(InputError, match="TEST_KEY holds blanks") as caught:
        encoder_of(server).encode(["apple"], "query")
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_a_line_break_after_the_key_does_no_harm(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY + "\n")
    encoder_of(server).encode(["apple"], "query")
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_openais_key_goes_to_openai_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    encoder_of(server, key_variable=None).encode(["apple"], "query")
    assert KEY not in repr(server.headers)
    monkeypatch.delenv("OPENAI_API_KEY")
    for base_url in ("https://api.openai.com/v1", "https://api.openai.com/v1/"):
        with pytest.raises(InputError, match="environment variable OPENAI_API_KEY is not set"):
            OpenAIEncoder(model="m", base_url=base_url).encode(["apple"], "query")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/v1", "plain http shows texts and key"),
        ("http://127.0.0.1.example.org/v1", "plain http shows"),
        ("ftp://example.org", "must start with https://"),
        ("example.org/v1", "must start with https://"),
        ("https://", "must start with https://"),
        ("https://example.org:port/v1", "no URL"),
        ("https://[::1/v1", "no URL"),
        (f"https://{KEY}@example.org/v1", "neither a user name"),
        (f"https://me:{KEY}@example.org/v1", "neither a user name"),
        (f"https://example.org/v1?key={KEY}", "neither a user name"),
    ],
)
def test_addresses_that_would_show_something_are_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=f"encoder 'openai': base_url.*{message}") as caught:
        OpenAIEncoder(model="m", base_url=url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://example.org", "http://localhost:8000/v1", "http://[::1]:80", "http://127.9.9.9"],
)
def test_addresses_that_show_nothing_are_taken(url: str) -> None:
    assert OpenAIEncoder(model="m", base_url=url).identity()["base_url"] == url
    OpenAIEncoder(model="m", base_url="http://example.org", allow_plain_http=True)


def test_the_proxy_of_the_environment_is_used_but_not_for_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//me:p%40ss@").removesuffix("/v1"))
    far = encoder_of(server, base_url="http://embeddings.invalid/v1", allow_plain_http=True)
    far.encode(["apple"], "query")
    encoder_of(server).encode(["apple"], "query")
    assert server.paths == ["http://embeddings.invalid/v1/embeddings", "/v1/embeddings"]
    login = base64.b64encode(b"me:p@ss").decode()
    assert server.headers[0]["proxy-authorization"] == f"Basic {login}"
    assert "proxy-authorization" not in server.headers[1]
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(InputError, match=r"the proxy socks5://127\.0\.0\.1:1 that the environment"):
        encoder_of(server, base_url="http://a.invalid", allow_plain_http=True).encode(
            ["a"], "query"
        )


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine that nobody trusts, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    subprocess.run(
        [
            openssl,
            *words.split(),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-out",
            paths[0],
            "-keyout",
            paths[1],
        ],
        check=True,
        capture_output=True,
    )
    return paths


def test_only_a_server_with_a_trusted_certificate_gets_the_key(
    server: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.listening.socket = context.wrap_socket(server.listening.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    with pytest.raises(InputError, match=r"certificate is not trusted: .* in SSL_CERT_FILE"):
        encoder_of(server, base_url=url).encode(["apple"], "query")
    assert server.bodies == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    vectors = encoder_of(server, base_url=url).encode(["apple"], "query")
    np.testing.assert_allclose(vectors, expected(["apple"]), atol=1e-6)


# -- parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"base_url": "http://localhost/v2"},
        {"revision": "2"},
        {"dimensions": 3},
        {"normalize": False},
        {"query_prefix": "q"},
        {"document_prefix": "d"},
        {"query_fields": {"a": 1}},
        {"document_fields": {"a": 1}},
        {"max_chars": 9},
    ],
)
def test_what_shapes_the_vectors_is_part_of_the_identity(change: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"model": "m", "base_url": "http://localhost/v1"}
    identity = OpenAIEncoder(**{**plain, **change}).identity()
    assert identity != OpenAIEncoder(**plain).identity()
    assert json.loads(json.dumps(identity)) == identity


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://localhost/v1/"},
        {"key_variable": "X"},
        {"encoding_format": "base64"},
        {"batch_size": 1},
        {"concurrency": 1},
        {"timeout_s": 1},
        {"retries": 1},
        {"max_wait_s": 1.0},
        {"budget_tokens": 1},
        {"price_per_million_tokens": 1.0, "budget": 1.0},
        {"allow_plain_http": True},
    ],
)
def test_what_only_carries_them_is_not(change: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"model": "m", "base_url": "http://localhost/v1"}
    identity = OpenAIEncoder(**{**plain, **change}).identity()
    assert identity == OpenAIEncoder(**plain).identity()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "parameter 'batch_size' is 0"),
        ({"concurrency": 0}, "parameter 'concurrency'"),
        ({"retries": -1}, "parameter 'retries'"),
        ({"timeout_s": 0.0}, "parameter 'timeout_s'"),
        ({"timeout_s": float("inf")}, "parameter 'timeout_s'"),
        ({"price_per_million_tokens": float("nan")}, "parameter 'price_per_million_tokens'"),
        ({"query_fields": {"a": [1]}}, "parameter 'query_fields'"),
        ({"query_fields": {"model": "n"}}, "query_fields sets 'model', which has a parameter"),
        ({"document_fields": {"a": float("nan")}}, "document_fields sets 'a' to nan"),
        ({"encoding_format": "int8"}, "parameter 'encoding_format'"),
        ({"key": KEY}, "unknown parameter 'key'"),
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"encoder 'openai': {message}"):
        OpenAIEncoder(model="m", **wrong)
