"""Encoders: one file each; ``module:Class`` of your own works wherever a name does."""

from __future__ import annotations

from typing import Any

from retrieval_eval.encoders.base import Encoder
from retrieval_eval.plugins import PluginTable

__all__ = ["ENCODERS", "Encoder", "get_encoder"]

_HERE = "retrieval_eval.encoders"

ENCODERS: PluginTable[Encoder] = PluginTable(
    kind="encoder",
    group="retrieval_eval.encoders",
    base=Encoder,  # type: ignore[type-abstract]  # a table of its subclasses
    targets={
        "bm25": f"{_HERE}.bm25:Bm25Encoder",
        "hashing": f"{_HERE}.hashing:HashingEncoder",
        "lsa": f"{_HERE}.lsa:LsaEncoder",
        "model2vec": f"{_HERE}.model2vec:Model2VecEncoder",
        "openai": f"{_HERE}.openai:OpenAIEncoder",
        "precomputed": f"{_HERE}.precomputed:PrecomputedEncoder",
        "precomputed-sparse": f"{_HERE}.precomputed_sparse:PrecomputedSparseEncoder",
        "sentence-transformers": f"{_HERE}.sentence_transformers:SentenceTransformersEncoder",
        "sentence-transformers-sparse": (
            f"{_HERE}.sentence_transformers_sparse:SentenceTransformersSparseEncoder"
        ),
        "wordllama": f"{_HERE}.wordllama:WordLlamaEncoder",
    },
)


def get_encoder(name: str, **parameters: Any) -> Encoder:
    """Construct an encoder by name.

    Parameters
    ----------
    name : str
        One of ``ENCODERS.names()``, or "module:Class".
    **parameters
        Its parameters; ``retrieval-eval list encoders`` prints them.

    Raises
    ------
    InputError
        For an unknown name or parameter, or a value out of range.

    Examples
    --------
    >>> get_encoder("lsa", dim=8).identity()["dim"]
    8
    """
    return ENCODERS.load(name)(**parameters)
