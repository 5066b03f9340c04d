"""What an embeddings endpoint of OpenAI's protocol answers, read and checked."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import RetrievalEvalError

__all__ = ["read_tokens", "read_vectors"]


def read_tokens(answer: Mapping[str, Any]) -> int | None:
    """Read how many tokens a request has used; None if the server does not say."""
    usage = answer.get("usage")
    for name in ("total_tokens", "prompt_tokens"):
        value = usage.get(name) if isinstance(usage, dict) else None
        if type(value) is int and value >= 0:
            return value
    return None


def read_vectors(answer: Mapping[str, Any], n: int) -> NDArray[np.float64]:
    """Read the vectors of `n` texts out of an answer, in the order of the texts.

    Returns
    -------
    ndarray of float64, shape (n, d)
        As the server gave them: they may be zero or not finite.

    Raises
    ------
    RetrievalEvalError
        Unless there is one vector for each text, all of one dimension.
    """
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != n:
        what = f"{len(data)} vectors" if isinstance(data, list) else "no list 'data'"
        raise RetrievalEvalError(f"its answer has {what} for {n} texts")
    rows: dict[int, NDArray[Any]] = {}
    for item in data:
        index = item.get("index") if isinstance(item, dict) else None
        if type(index) is not int or not 0 <= index < n or index in rows:
            # What is no number is not shown: it may be anything that the server was sent.
            shown = index if type(index) is int else f"of type {type(index).__name__}"
            raise RetrievalEvalError(
                f"its answer has an index {shown} for {n} texts: each from 0 to {n - 1} must be "
                "there once"
            )
        rows[index] = _vector(item.get("embedding"))
    sizes = sorted({len(row) for row in rows.values()})
    if len(sizes) != 1:
        raise RetrievalEvalError(f"its answer has vectors of {sizes[0]} and {sizes[-1]} dimensions")
    return np.stack([rows[index] for index in range(n)]).astype(np.float64)


def _vector(embedding: Any) -> NDArray[Any]:
    """Read one vector: a list of numbers, or base64 of little-endian float32."""
    try:
        if isinstance(embedding, str):
            vector = np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
        else:
            vector = np.asarray(embedding)
    except ValueError as error:
        raise RetrievalEvalError(f"its answer has a vector that cannot be read: {error}") from None
    if vector.ndim != 1 or not len(vector) or vector.dtype.kind not in "fiu":
        raise RetrievalEvalError(
            "its answer has a vector that is neither a list of numbers nor base64 of float32"
        )
    return vector
