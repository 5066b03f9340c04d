"""Combiners of runs: one file each; ``module:Class`` of your own works wherever a name does."""

from __future__ import annotations

from typing import Any

from retrieval_eval.combiners.base import CombineContext, Combined, Combiner
from retrieval_eval.combiners.comb import fuse_comb
from retrieval_eval.combiners.normalise import NORMALISATIONS, Normalisation, normalise
from retrieval_eval.combiners.rrf import fuse_reciprocal_rank
from retrieval_eval.combiners.tuning import CrossFit, cross_fit
from retrieval_eval.combiners.weighted import fuse_weighted
from retrieval_eval.plugins import PluginTable

__all__ = [
    "COMBINERS",
    "NORMALISATIONS",
    "CombineContext",
    "Combined",
    "Combiner",
    "CrossFit",
    "Normalisation",
    "cross_fit",
    "fuse_comb",
    "fuse_reciprocal_rank",
    "fuse_weighted",
    "get_combiner",
    "normalise",
]

_HERE = "retrieval_eval.combiners"

COMBINERS: PluginTable[Combiner] = PluginTable(
    kind="combiner",
    group="retrieval_eval.combiners",
    base=Combiner,  # type: ignore[type-abstract]  # a table of its subclasses
    targets={
        "comb": f"{_HERE}.comb:CombCombiner",
        "combmnz": f"{_HERE}.comb:CombMnzCombiner",
        "combsum": f"{_HERE}.comb:CombSumCombiner",
        "cross-encoder": f"{_HERE}.cross_encoder:CrossEncoderCombiner",
        "rrf": f"{_HERE}.rrf:ReciprocalRankCombiner",
        "weighted": f"{_HERE}.weighted:WeightedCombiner",
    },
)


def get_combiner(name: str, **parameters: Any) -> Combiner:
    """Construct a combiner by name.

    Parameters
    ----------
    name : str
        One of ``COMBINERS.names()``, or "module:Class".
    **parameters
        Its parameters; ``retrieval-eval list combiners`` prints them.

    Raises
    ------
    InputError
        For an unknown name or parameter, or a value out of range.

    Examples
    --------
    >>> from retrieval_eval import Run
    >>> dense = Run.from_mapping({"q1": {"a": 2.0, "b": 1.0}})
    >>> sparse = Run.from_mapping({"q1": {"b": 9.0}})
    >>> combined = get_combiner("rrf").combine([dense, sparse], CombineContext(k=1))
    >>> combined.run.to_mapping()  # doctest: +ELLIPSIS
    {'q1': {'b': 0.0325...}}
    """
    return COMBINERS.load(name)(**parameters)
