"""Any embeddings endpoint that speaks OpenAI's protocol, hosted or your own."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from retrieval_eval.encoders._http import (
    JsonClient,
    RefusedError,
    check_url,
    read_key,
    retrying,
)
from retrieval_eval.encoders._openai_answer import read_tokens, read_vectors
from retrieval_eval.encoders._requests import Ledger, in_order
from retrieval_eval.encoders.base import Encoder, Kind
from retrieval_eval.errors import InputError, RetrievalEvalError

__all__ = ["OpenAIEncoder", "OpenAIParameters"]

_OPENAI = "https://api.openai.com/v1"
_OPENAI_KEY = "OPENAI_API_KEY"

# No tokeniser in use makes more tokens than bytes, and a few that mark beginning and end.
_EXTRA_TOKENS = 16

# A refusal about the size of a request, in the words of several servers.
_ABOUT_SIZE = re.compile(
    r"token|context|length|too (long|large|many|big)|batch|maximum|exceed", re.I
)

_SET_APART = frozenset({"model", "input", "dimensions", "encoding_format"})

# What decides how vectors are fetched, but not which.
_TRANSPORT = frozenset(
    {
        "key_variable",
        "encoding_format",
        "batch_size",
        "concurrency",
        "timeout_s",
        "retries",
        "max_wait_s",
        "budget_tokens",
        "budget",
        "price_per_million_tokens",
        "allow_plain_http",
    }
)

Plain = str | int | float | bool | None


@dataclass(frozen=True)
class OpenAIParameters:
    """Parameters of :class:`OpenAIEncoder`.

    Parameters
    ----------
    model : str
        The model's name, as the server knows it.
    base_url : str
        What stands before ``/embeddings``. Plain http only to this machine.
    revision : str or None
        A word of yours for what the server has under that name, part of the identity alone: change
        it when the server's model changes.
    key_variable : str or None
        The environment variable that holds the key. None takes OPENAI_API_KEY for OpenAI's own
        server, and sends no key to any other.
    dimensions : int or None
        Ask for vectors shortened to so many dimensions; None takes what the model has.
    normalize : bool
        Scale vectors to unit length.
    query_prefix, document_prefix : str
        Text put before each query or document.
    query_fields, document_fields : mapping of str to plain values
        What else a request says for queries or documents, such as ``{input_type: query}``.
    max_chars : int or None
        Cut longer texts to so many characters, before the prefix; None sends them whole, and a
        server may refuse them.
    encoding_format : {'float', 'base64'} or None
        How vectors travel: base64 takes a quarter of the bytes. None leaves it to the server.
    batch_size : int
        Texts a request. One that a server finds too large is sent in halves.
    concurrency : int
        Requests at a time.
    timeout_s : float
        Longest wait for a whole answer, in seconds.
    retries : int
        How often a request that failed in passing is sent again.
    max_wait_s : float
        Longest wait between two attempts, in seconds; a server that asks for more ends the run.
    budget_tokens : int or None
        Most tokens that may be used; retries and lost answers count.
    price_per_million_tokens : float or None
        What a million tokens cost, in a currency of yours.
    budget : float or None
        Most that may be spent, in that currency.
    allow_plain_http : bool
        Let texts and key travel unencrypted to another machine.
    """

    model: str
    base_url: str = _OPENAI
    revision: str | None = None
    key_variable: str | None = None
    dimensions: Annotated[int, Ge(1)] | None = None
    normalize: bool = True
    query_prefix: str = ""
    document_prefix: str = ""
    query_fields: dict[str, Plain] = field(default_factory=dict)
    document_fields: dict[str, Plain] = field(default_factory=dict)
    max_chars: Annotated[int, Ge(1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    batch_size: Annotated[int, Ge(1), Le(2048)] = 64
    concurrency: Annotated[int, Ge(1), Le(256)] = 4
    timeout_s: Annotated[float, Gt(0), Le(86400)] = 60.0
    retries: Annotated[int, Ge(0), Le(100)] = 6
    max_wait_s: Annotated[float, Gt(0), Le(86400)] = 120.0
    budget_tokens: Annotated[int, Ge(1)] | None = None
    price_per_million_tokens: Annotated[float, Gt(0), Le(1e9)] | None = None
    budget: Annotated[float, Gt(0), Le(1e12)] | None = None
    allow_plain_http: bool = False


@dataclass(frozen=True)
class _Run:
    """What all requests of one stream share; ``stop`` is set when it ends."""

    client: JsonClient
    kind: Kind
    stop: threading.Event


class OpenAIEncoder(Encoder):
    """Fetches vectors from ``POST {base_url}/embeddings``.

    Finished requests are handed on at once and in order, so an interruption costs what was in
    flight. Empty texts are never sent, since servers refuse them: they get the zero vector, and a
    query like that retrieves nothing. The key is read from the environment when the first
    request is sent, and is shown nowhere.

    The identity holds what decides the vectors, as far as it can be known: a server may put
    another model under the same name (see ``revision``).

    Examples
    --------
    >>> encoder = OpenAIEncoder(model="text-embedding-3-small", dimensions=256)
    >>> encoder.dimension(), encoder.usage()["tokens"]
    (256, 0)
    """

    name: ClassVar[str] = "openai"
    Parameters: ClassVar[type[Any]] = OpenAIParameters
    requires: ClassVar[dict[str, str]] = {"urllib3": "openai"}
    zero_means_no_match: ClassVar[bool] = True
    commit_s: ClassVar[float] = 0.0

    _client: JsonClient | None = None

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        own = self.parameters
        what = f"encoder {self.name!r}"
        try:
            self._url = check_url(own.base_url, allow_plain_http=own.allow_plain_http)
        except InputError as error:
            raise InputError(f"{what}: {error}") from None
        for name in ("query_fields", "document_fields"):
            fields: Mapping[str, Plain] = getattr(own, name)
            for key in sorted(_SET_APART & fields.keys()):
                raise InputError(f"{what}: {name} sets {key!r}, which has a parameter of its own")
            for key, value in fields.items():
                if isinstance(value, float) and not math.isfinite(value):
                    raise InputError(f"{what}: {name} sets {key!r} to {value}: JSON has no such")
        self.batch_texts = own.batch_size
        self._ledger = self._open_ledger()
        self._dimension: int | None = own.dimensions

    def _open_ledger(self) -> Ledger:
        own = self.parameters
        caps = []
        if own.budget_tokens is not None:
            caps.append((own.budget_tokens, f"budget_tokens ({own.budget_tokens})"))
        if own.budget is not None:
            price = own.price_per_million_tokens
            if price is None:
                raise InputError(
                    f"encoder {self.name!r}: budget is {own.budget}, but without "
                    "price_per_million_tokens nothing says what a token costs"
                )
            rule = f"budget ({own.budget:g}, at {price:g} a million tokens)"
            caps.append((math.floor(own.budget / price * 1e6), rule))
        cap, rule = min(caps, default=(None, ""))
        return Ledger(cap, own.price_per_million_tokens, rule)

    def usage(self) -> Mapping[str, float]:
        """Return requests, tokens and cost since this encoder was constructed.

        Returns
        -------
        mapping of str to number
            ``requests``, retries among them; ``failed_requests``, those without vectors;
            ``tokens`` as the server reports them, or an upper bound where it reports none or its
            answer was lost; ``estimated_tokens``, the part that is such a bound; and ``cost``, if
            there is a price.
        """
        return self._ledger.usage()

    def identity(self) -> dict[str, Any]:
        """Return model, server and all that shapes texts and vectors."""
        fields = {key: value for key, value in super().identity().items() if key not in _TRANSPORT}
        return {**fields, "base_url": self._url}

    def dimension(self) -> int | None:
        """Return ``dimensions``; without it, what the server has answered with."""
        return self._dimension

    def origin(self, kind: Kind) -> str:
        """Return model and server."""
        return f"encoder {self.name!r}, model {self.parameters.model!r} at {self._url}"

    def _open(self) -> JsonClient:
        if self._client is None:
            self.require()
            own = self.parameters
            variable = own.key_variable
            if variable is None and self._url == _OPENAI:
                variable = _OPENAI_KEY
            try:
                self._client = JsonClient(
                    f"{self._url}/embeddings",
                    key=None if variable is None else read_key(variable),
                    timeout_s=own.timeout_s,
                    connections=own.concurrency,
                )
            except InputError as error:
                raise InputError(f"encoder {self.name!r}: {error}") from None
        return self._client

    def close(self) -> None:
        """Close the connections; the next text opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def encode(self, texts: Sequence[str], kind: Kind) -> NDArray[np.float32]:
        """Encode texts with the prefix and the fields of their kind."""
        blocks = list(self.stream(texts, kind))
        return np.concatenate(blocks) if blocks else np.zeros((0, self._dimension or 0), np.float32)

    def stream(
        self,
        texts: Sequence[str],
        kind: Kind,
        *,
        ids: Sequence[str] | None = None,
        start: int = 0,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the vectors of `batch_size` texts at a time, as soon as they and all before are in.

        Raises
        ------
        InputError
            If the server refuses a request, naming the texts; if the key is missing; if the
            budget leaves no room for the next request.
        RetrievalEvalError
            If a request fails more often than `retries`, or the answer is not what was asked for.
        """
        size = self.parameters.batch_size
        run = _Run(self._open(), kind, threading.Event())
        calls = (
            partial(
                self._batch,
                run,
                list(texts[first : first + size]),
                [repr(one) for one in ids[first : first + size]] if ids else None,
                first,
            )
            for first in range(start, len(texts), size)
        )
        try:
            with closing(in_order(calls, self.parameters.concurrency)) as batches:
                for n, rows, found in batches:
                    yield self._placed(run, n, rows, found)
        finally:
            run.stop.set()

    def _batch(
        self, run: _Run, texts: list[str], ids: list[str] | None, first: int
    ) -> tuple[int, list[int], NDArray[np.float32] | None]:
        """Fetch the vectors of the texts that are not empty, and say which those are."""
        own = self.parameters
        prefix = own.query_prefix if run.kind == "query" else own.document_prefix
        cut = [text[: own.max_chars] for text in texts]
        rows = [row for row, text in enumerate(cut) if text.strip()]
        sent = [prefix + cut[row] for row in rows]
        names = [f"{run.kind} {ids[row] if ids else first + row}" for row in rows]
        return len(texts), rows, self._fetch(run, sent, names, first) if rows else None

    def _placed(
        self, run: _Run, n: int, rows: list[int], found: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Put vectors between the zeros of empty texts."""
        if found is not None:
            d = found.shape[1]
        elif self._dimension is not None:
            d = self._dimension
        else:  # only the server knows
            d = self._fetch(run, ["text"], ["a word that asks for the dimension"], -1).shape[1]
        if self._dimension not in {None, d}:
            why = "as before" if self.parameters.dimensions is None else "as dimensions asks for"
            raise RetrievalEvalError(
                f"{self.origin(run.kind)}: it answered with {d} dimensions, not with "
                f"{self._dimension} {why}"
            )
        self._dimension = d
        vectors = np.zeros((n, d), dtype=np.float32)
        if found is not None:
            vectors[rows] = found
        return vectors

    def _fetch(
        self, run: _Run, texts: list[str], names: list[str], turn: int
    ) -> NDArray[np.float32]:
        """Fetch vectors in one request, or in halves if the server finds that too large."""
        own = self.parameters
        body = {
            **(own.query_fields if run.kind == "query" else own.document_fields),
            "model": own.model,
            "input": texts,
            **({} if own.dimensions is None else {"dimensions": own.dimensions}),
            **({} if own.encoding_format is None else {"encoding_format": own.encoding_format}),
        }
        bound = sum(len(text.encode("utf-8", "replace")) + _EXTRA_TOKENS for text in texts)

        def attempt() -> dict[str, Any]:
            with self._ledger.request(bound, turn, run.stop) as receipt:
                answer = run.client.post(body)
                receipt.tokens = read_tokens(answer)
                return answer

        where = f"{self.origin(run.kind)}: {names[0]}"
        if len(names) > 1:
            where += f" to {names[-1]} ({len(names)} texts)"
        try:
            answer = retrying(
                attempt, retries=own.retries, max_wait_s=own.max_wait_s, stop=run.stop
            )
            return self._checked(read_vectors(answer, len(texts)), names)
        except RefusedError as refusal:
            too_large = refusal.status == 413 or (
                refusal.status in {400, 422} and _ABOUT_SIZE.search(refusal.message) is not None
            )
            if not too_large or len(texts) == 1:
                hint = self._hint(refusal.status, len(texts[0]) if too_large else None)
                raise InputError(f"{where}: {refusal}{hint}") from None
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        except RetrievalEvalError as error:
            raise RetrievalEvalError(f"{where}: {error}") from None
        half = len(texts) // 2
        return np.concatenate(
            [
                self._fetch(run, texts[part], names[part], turn)
                for part in (slice(None, half), slice(half, None))
            ]
        )

    def _hint(self, status: int, n_too_many: int | None) -> str:
        own = self.parameters
        if n_too_many is not None:
            return f". It has {n_too_many} characters: cut such texts with max_chars"
        if status in {401, 403}:
            if own.key_variable is None and self._url != _OPENAI:
                return ". No key was sent: name the environment variable of yours in key_variable"
            return f". Check the key in the environment variable {own.key_variable or _OPENAI_KEY}"
        if status == 404:
            return f". Check base_url and the name of the model, {own.model!r}"
        return ""

    def _checked(self, found: NDArray[np.float64], names: list[str]) -> NDArray[np.float32]:
        """Make vectors float32, scaled if so told; refuse what is zero or not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(found, axis=1, keepdims=True)
            if self.parameters.normalize:
                found = found / np.where(norms == 0, 1, norms)
            vectors = found.astype(np.float32)
        for good, fault in (
            (np.isfinite(norms[:, 0]) & np.isfinite(vectors).all(axis=1), "holds NaN or infinity"),
            (vectors.any(axis=1), "is all zero"),
        ):
            if not good.all():
                name = names[int(np.argmin(good))]
                raise RetrievalEvalError(f"the vector that it answered for {name} {fault}")
        return vectors
