"""How a model's texts are cut into batches, and what its sizes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CPU_WINDOW",
    "WINDOW",
    "activation_memory",
    "dimensions",
    "estimate_tokens",
    "plan_batches",
    "positions",
    "token_budget",
]

CPU_WINDOW, WINDOW = 512, 4096
"""Texts that are sorted by length and encoded at a time: an interruption costs little on a CPU,
where 512 pad 1% more than sorting everything would; a GPU wants more to choose from."""

_CPU_TOKENS, _TOKENS = 4096, 65_536
_CPU_MEMORY = 2**30
_BYTES_A_TOKEN = 3  # of UTF-8; English has four to five, so a budget is rather kept than not


def estimate_tokens(texts: Sequence[str], prompt: str) -> NDArray[np.int64]:
    """Return about how many tokens each text has, without cutting it into any.

    Examples
    --------
    >>> estimate_tokens(["a short text", ""], "query: ")
    array([6, 2])
    """
    return np.fromiter(
        ((len(prompt) + len(text.encode("utf-8", "replace"))) // _BYTES_A_TOKEN for text in texts),
        dtype=np.int64,
        count=len(texts),
    )


def plan_batches(
    lengths: NDArray[np.int64], limit: int, budget: int, batch_size: int | None
) -> list[tuple[NDArray[np.int64], int]]:
    """Sort texts by length, and say how many make a batch.

    Parameters
    ----------
    lengths : ndarray of int64, shape (n,)
        Estimated tokens of each text.
    limit : int
        Tokens that a text is cut to.
    budget : int
        Tokens a batch, padding included.
    batch_size : int or None
        Texts a batch, whatever their length.

    Returns
    -------
    list of (rows, size)
        Rows of texts, longest first, equal ones in their order, to be encoded `size` at a time.

    Examples
    --------
    >>> plan_batches(np.array([9, 300, 20, 700]), 512, 1024, None)
    [(array([3, 1]), 2), (array([2]), 32), (array([0]), 64)]
    """
    rows = np.argsort(-lengths, kind="stable")
    if batch_size is not None:
        return [(rows, batch_size)]
    # Texts of up to twice the length share a batch size; more classes would leave more odd ends.
    longest = np.exp2(np.ceil(np.log2(np.maximum(lengths, 16)))).clip(max=limit).astype(np.int64)
    return [
        (rows[longest[rows] == length], max(1, budget // int(length)))
        for length in np.unique(longest)[::-1]
    ]


def token_budget(device: str, memory: int, hidden: int, outputs: int) -> int:
    """Return how many tokens a forward pass may have.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda"``, ...
    memory : int
        Bytes that activations may take.
    hidden : int
        Width of the model: about 16 floats of it live per token.
    outputs : int
        Floats that the head makes per token, in about four copies; 0 for a dense model.

    Examples
    --------
    >>> token_budget("cpu", 2**30, 384, 0), token_budget("cpu", 2**30, 768, 30522)
    (4096, 1997)
    """
    fitting = memory // (64 * hidden + 16 * outputs)
    return max(1, min(fitting, _CPU_TOKENS if device == "cpu" else _TOKENS))


def activation_memory(device: Any) -> int:
    """Return how many bytes activations may take on a ``torch.device``."""
    import torch

    if device.type != "cuda":
        return _CPU_MEMORY
    return int(torch.cuda.get_device_properties(device).total_memory) // 4


def positions(model: Any) -> int | None:
    """Return how many tokens a model with a table of positions can read; None without one."""
    import torch

    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding):
            # RoBERTa and its like count positions from behind that of the padding.
            padding = getattr(module, "padding_idx", None)
            return int(table.num_embeddings) - (0 if padding is None else padding + 1)
    return None


def dimensions(model: Any) -> int:
    """Return how many dimensions vectors have; the method was renamed in version 5."""
    ask = getattr(model, "get_embedding_dimension", None)
    return int((ask or model.get_sentence_embedding_dimension)() or 0)
