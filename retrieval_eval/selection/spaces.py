"""The search spaces of a finished sweep, and the ways to go through a grid."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.selection.tables import Tables, read_tables

__all__ = ["ScoreTable", "even_grids", "grid_orders", "score_tables"]

_SETTING = re.compile(r" (\w+)=(\S+)")


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """What one search space of a sweep came to, query by query.

    Parameters
    ----------
    name : str
        Dataset (if there are several), encoder and index.
    parameters : tuple of mapping, length m
        What tells the configurations apart: values by name, none that all share.
    scores : ndarray of float64, shape (m, n)
        Finite; queries with a NaN are left out.
    """

    name: str
    parameters: tuple[Mapping[str, Any], ...]
    scores: NDArray[np.float64]


def score_tables(results: Tables, measure: str) -> list[ScoreTable]:
    """Cut a sweep into search spaces: the rows of one dataset, encoder and index.

    Encoders that differ in parameters alone, as a grid of a sweep writes them
    (``bm25 k1=0.9 b=0.4``), are one encoder, and these parameters are searched with the others.

    Parameters
    ----------
    results : Results
        A finished sweep; filtered searches, combined runs and rows that failed are left out.
    measure : str
        Of the scores.

    Returns
    -------
    list of ScoreTable
        In the order of the rows; spaces of two configurations or more.

    Raises
    ------
    InputError
        If the sweep lacks the measure, or has no such space.
    """
    tables = read_tables(results, None)
    if measure not in tables.measures:
        raise unknown_name("measure", measure, tables.measures)
    spaces: dict[tuple[str, ...], list[tuple[str, dict[str, Any]]]] = {}
    for row in tables.rows.iter_rows(named=True):
        if row["status"] != "ok" or row["filter"] is not None or not row["index"]:
            continue
        plain = _SETTING.sub("", row["encoder"])
        own = {name: _number(value) for name, value in _SETTING.findall(row["encoder"])}
        own |= json.loads(row["build_params"] or "{}") | json.loads(row["search_params"] or "{}")
        key = (str(row["dataset"]), plain, str(row["index"]))
        spaces.setdefault(key, []).append((row["row_id"], own))
    several = len({key[0] for key in spaces}) > 1
    found = []
    for place, members in spaces.items():
        if len(members) > 1:
            _, values = tables.scores([row_id for row_id, _ in members], [measure])
            scores = values[0][:, np.isfinite(values[0]).all(axis=0)]
            settings = _that_vary([own for _, own in members])
            found.append(ScoreTable(", ".join(place if several else place[1:]), settings, scores))
    if not found:
        raise InputError("no encoder and index of the sweep has two configurations or more")
    return found


def _that_vary(settings: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    names = dict.fromkeys(name for one in settings for name in one)
    kept = [name for name in names if len({repr(one.get(name)) for one in settings}) > 1]
    return tuple({name: one.get(name) for name in kept} for one in settings)


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def grid_orders(
    parameters: Sequence[Mapping[str, Any]], *, splits: int, seed: int = 0
) -> NDArray[np.int64]:
    """Orders in which a grid is gone through: one value of the outer parameter after the other.

    Which parameter is the outer one, and from which end its values are taken, is a habit of whoever
    writes the loops; it is drawn for each order.

    Parameters
    ----------
    parameters : sequence of mapping
        Of each configuration: its value by the name of each parameter. Numbers are ordered by size,
        other values by their first place.
    splits : int
        How many orders.
    seed : int
        At least 0.

    Returns
    -------
    ndarray of int64, shape (splits, m)

    Raises
    ------
    InputError
        If configurations have other parameters than the first.

    Examples
    --------
    >>> grid = [{"M": m, "ef": ef} for m in (8, 16) for ef in (10, 20)]
    >>> grid_orders(grid, splits=3, seed=1).tolist()
    [[1, 0, 3, 2], [0, 2, 1, 3], [0, 1, 2, 3]]
    """
    if splits < 1 or seed < 0:
        raise InputError(f"{splits} orders, seed {seed}: at least 1, and a seed of at least 0")
    ranks = _ranks(parameters)
    rng = np.random.default_rng([seed, 4])
    orders = np.empty((splits, len(parameters)), dtype=np.int64)
    for row in range(splits):
        turned = ranks * rng.choice([-1, 1], size=(len(ranks), 1))
        orders[row] = np.lexsort(turned[rng.permutation(len(ranks))])
    return orders


def even_grids(parameters: Sequence[Mapping[str, Any]]) -> list[NDArray[np.int64]]:
    """Coarser grids within a grid: of each parameter 1, 2, 3, ... of its values, evenly spread.

    Parameters
    ----------
    parameters : sequence of mapping
        As for :func:`grid_orders`.

    Returns
    -------
    list of ndarray of int64
        The configurations of each grid, from the coarsest to all; none twice.

    Raises
    ------
    InputError
        If configurations have other parameters than the first.

    Examples
    --------
    >>> grid = [{"M": m, "ef": ef} for m in (8, 16, 32) for ef in (10, 20, 40, 80)]
    >>> [one.tolist() for one in even_grids(grid)]
    [[6], [0, 3, 8, 11], [0, 2, 3, 4, 6, 7, 8, 10, 11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]
    """
    ranks = _ranks(parameters)
    counts = ranks.max(axis=1) + 1
    grids: list[NDArray[np.int64]] = []
    for points in range(1, int(counts.max()) + 1):
        inside = np.ones(ranks.shape[1], dtype=bool)
        for line, count in zip(ranks, counts.tolist(), strict=True):
            wanted = min(points, count)
            # Both ends are among the values as soon as there are two.
            spread = np.linspace(0, count - 1, wanted) if wanted > 1 else np.array([count // 2])
            inside &= np.isin(line, np.floor(spread + 0.5).astype(np.int64))
        members = np.flatnonzero(inside)
        if len(members) and not any(np.array_equal(members, one) for one in grids):
            grids.append(members)
    return grids


def _ranks(parameters: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Place of each value among the values of its parameter; shape (parameters, m)."""
    if not parameters or not parameters[0]:
        raise InputError("a grid needs configurations, and a parameter that they differ in")
    names = list(parameters[0])
    if any(set(one) != set(names) for one in parameters):
        raise InputError(
            f"all configurations of a grid must have the parameters {', '.join(names)}"
        )
    ranks = []
    for name in names:
        given = [one[name] for one in parameters]
        numbers = all(isinstance(one, int | float) for one in given)
        values = sorted(set(given)) if numbers else list(dict.fromkeys(map(repr, given)))
        place = {one: number for number, one in enumerate(values)}
        ranks.append([place[one if numbers else repr(one)] for one in given])
    return np.array(ranks, dtype=np.int64)
