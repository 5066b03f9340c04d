"""Weights of runs: as a sweep file or a caller gives them, and as checked numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name

__all__ = ["FixedWeights", "canonical_weights", "check_weights", "read_weights"]

FixedWeights: TypeAlias = str | dict[str | int, float]
"""``"0.3, 0.7"`` in the order of the runs, or a mapping of their names, or numbers from 1."""

_RULE = "weights must be finite, at least 0, and not all 0"


def check_weights(weights: Sequence[float] | NDArray[Any], n_runs: int) -> NDArray[np.float64]:
    """Return weights as an array, one for each run.

    Raises
    ------
    InputError
        If there is another number of them, or they break the rule.

    Examples
    --------
    >>> check_weights([1, 3], 2).tolist()
    [1.0, 3.0]
    """
    checked = np.array(weights, dtype=np.float64)
    if checked.shape != (n_runs,):
        raise InputError(f"{checked.size} weights for {n_runs} runs: give one for each")
    if not (np.isfinite(checked).all() and (checked >= 0).all() and checked.any()):
        raise InputError(f"the weights are {checked.tolist()}: {_RULE}")
    return checked


def canonical_weights(
    given: FixedWeights | None, where: str
) -> list[float] | dict[str, float] | None:
    """Read weights as a file gives them into one form, so that equal ones have one identity.

    Parameters
    ----------
    given : str, mapping or None
        See ``FixedWeights``.
    where : str
        What they belong to, for messages.

    Raises
    ------
    InputError
        If the text holds something else than numbers, or they break the rule.

    Examples
    --------
    >>> canonical_weights("1, 0.50", "combiner 'rrf'"), canonical_weights({1: 2}, "combiner 'rrf'")
    ([1.0, 0.5], {'1': 2.0})
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        weights = {str(key): float(value) for key, value in given.items()}
        if len(weights) < len(given):
            raise InputError(f"{where}: weights name one run twice: {given!r}")
        values = list(weights.values())
    else:
        try:
            values = [float(part) for part in given.split(",")]
        except ValueError:
            raise InputError(
                f"{where}: weights are {given!r}: expected numbers with commas between them, "
                "one for each run"
            ) from None
    if not all(math.isfinite(one) and one >= 0 for one in values) or not any(values):
        raise InputError(f"{where}: weights are {given!r}: {_RULE}")
    return weights if isinstance(given, Mapping) else values


def read_weights(
    weights: list[float] | dict[str, float],
    names: Sequence[str] | None,
    n_runs: int,
    where: str,
) -> NDArray[np.float64]:
    """Give each run its weight.

    Parameters
    ----------
    weights : list or dict
        From :func:`canonical_weights`.
    names : sequence of str, or None
        Names of the runs. A key is a run's name, or else its number, from 1; without names only
        their number is checked.
    n_runs : int
        How many runs there are.
    where : str
        What they belong to, for messages.

    Returns
    -------
    ndarray of float64, shape (n_runs,)

    Raises
    ------
    InputError
        If a run has no weight or two, or a weight no run.

    Examples
    --------
    >>> read_weights({"dense": 0.7, "1": 0.3}, ["bm25", "dense"], 2, "combiner 'rrf'").tolist()
    [0.3, 0.7]
    """
    if len(weights) != n_runs:
        raise InputError(f"{where}: {len(weights)} weights for {n_runs} runs: give one for each")
    if names is None or not isinstance(weights, dict):
        values = list(weights.values()) if isinstance(weights, dict) else weights
        return np.array(values, dtype=np.float64)
    found: dict[int, float] = {}
    for key, value in weights.items():
        if names.count(key) > 1:
            raise InputError(
                f"{where}: {names.count(key)} runs have the name {key!r}: "
                "weigh them by their numbers, from 1"
            )
        if key in names:
            place = names.index(key)
        elif key.isdecimal() and 1 <= int(key) <= n_runs:
            place = int(key) - 1
        else:
            numbers = map(str, range(1, n_runs + 1))
            raise unknown_name("run", key, [*names, *numbers], f"{where}: weights")
        if place in found:
            raise InputError(f"{where}: run {names[place]!r} has two weights")
        found[place] = value
    return np.array([found[place] for place in range(n_runs)])
