"""Hard negatives: what an index puts near a query and no judgment calls relevant."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.mining.candidates import NEGATIVE, Candidates
from retrieval_eval.neighbours.scores import blocks

__all__ = ["STRATEGIES", "Negatives", "mine_negatives"]

STRATEGIES = ("top", "random")
_CELL_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Negatives:
    """Exactly n negatives for each of r queries.

    Parameters
    ----------
    candidates : Candidates
        What they were chosen from.
    places : ndarray of int64, shape (r,)
        Which of the queries of `candidates` have n of them.
    ids : ndarray of int64, shape (r, n)
        Rows of the corpus, by descending similarity.
    scores : ndarray of float64, shape (r, n)
        Their similarity to the query.
    short : dict of str to int
        The other queries, and how many negatives they have: too few.
    """

    candidates: Candidates
    places: NDArray[np.int64]
    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    short: dict[str, int]

    @property
    def query_ids(self) -> tuple[str, ...]:
        """The r queries."""
        return tuple(self.candidates.query_ids[place] for place in self.places.tolist())

    @property
    def above_positive(self) -> NDArray[np.float64]:
        """Share of each query's negatives that are nearer than its farthest positive, (r,)."""
        lowest = self.candidates.lowest_positive[self.places, None]
        share: NDArray[np.float64] = (self.scores > lowest).mean(axis=1)
        return share

    @property
    def hardness(self) -> NDArray[np.float64]:
        """Mean similarity of each query's negatives minus that of its farthest positive, (r,)."""
        lowest = self.candidates.lowest_positive[self.places]
        difference: NDArray[np.float64] = self.scores.mean(axis=1) - lowest
        return difference

    def overlap(self, other: Negatives) -> NDArray[np.float64]:
        """Return the share of negatives that two sets have in common, for queries in both.

        Parameters
        ----------
        other : Negatives
            With as many negatives a query.

        Returns
        -------
        ndarray of float64
            In the order of this set's queries.
        """
        mine, theirs = self._both(other)
        alike = self.ids[mine, :, None] == other.ids[theirs, None, :]
        share: NDArray[np.float64] = alike.any(axis=2).mean(axis=1)
        return share

    def harder_than(self, other: Negatives) -> NDArray[np.float64]:
        """Return by how much :attr:`hardness` is above that of another set, for queries in both.

        Parameters
        ----------
        other : Negatives
            With the same similarity.

        Returns
        -------
        ndarray of float64
            In the order of this set's queries.
        """
        mine, theirs = self._both(other)
        difference: NDArray[np.float64] = self.hardness[mine] - other.hardness[theirs]
        return difference

    def _both(self, other: Negatives) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the queries that both sets have."""
        theirs = {query: row for row, query in enumerate(other.query_ids)}
        pairs = [(row, theirs[one]) for row, one in enumerate(self.query_ids) if one in theirs]
        rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]


def mine_negatives(
    candidates: Candidates,
    n: int,
    *,
    skip: int = 0,
    deepest: int | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    strategy: Literal["top", "random"] = "top",
    seed: int = 0,
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    most_per_cluster: int = 1,
) -> Negatives:
    """Choose negatives among the candidates of each query.

    Options are those of ``sentence_transformers.util.mine_hard_negatives`` (its ``range_min`` and
    ``range_max`` are `skip` and `deepest`), and mean the same; what is removed beyond them are
    near-duplicates of positives. With several positives the farthest decides margins.

    Parameters
    ----------
    candidates : Candidates
        From :func:`label_candidates`.
    n : int
        Negatives a query, at least 1. A query with fewer is left out and reported.
    skip : int
        How many of the nearest that are left after all removals are passed over, at least 0.
    deepest : int, optional
        Rank, among what is left, beyond which nothing is taken; by default all that was found.
    absolute_margin : float, optional
        Keep what is at least so much less similar than the positive.
    relative_margin : float, optional
        Likewise, as a share of the positive's similarity: 0.05 keeps what reaches at most 95 % of
        it (below 0: of its size).
    max_score, min_score : float, optional
        Bounds of the similarity.
    strategy : {'top', 'random'}
        The nearest, or drawn from all that is left.
    seed : int
        Of the draw, at least 0. What a query draws depends on it and the query's id alone.
    clusters : sequence, length of the corpus, optional
        A label of each document; then no cluster gives a query more than `most_per_cluster`.
    most_per_cluster : int
        At least 1.

    Returns
    -------
    Negatives

    Raises
    ------
    InputError
        If an option is out of range, or unknown.

    References
    ----------
    Moreira et al. 2024, NV-Retriever: improving text embedding models with effective hard-negative
    mining (margins relative to the positive).

    Examples
    --------
    >>> from retrieval_eval.mining import label_candidates
    >>> from retrieval_eval.hits import Hits
    >>> from retrieval_eval.qrels import Qrels
    >>> x = np.array([[1, 0], [0.9, 0.5], [0.7, 0.7], [0, 1]], dtype=np.float32)
    >>> hits = Hits(np.array([[1, 2, 0, 3]]), np.array([[4, 3, 2, 1]], dtype=np.float32))
    >>> qrels = Qrels.from_mapping({"q": {"a": 1}})
    >>> found = label_candidates(hits, ["q"], ["a", "b", "c", "d"], qrels, x[:1], x)
    >>> mine_negatives(found, 2).ids.tolist(), mine_negatives(found, 2, skip=1).ids.tolist()
    ([[1, 2]], [[2, 3]])
    >>> mine_negatives(found, 3, relative_margin=0.2).short
    {'q': 2}
    """
    k = candidates.ids.shape[1]
    deepest = k if deepest is None else deepest
    _check(n, skip, deepest, strategy, seed, most_per_cluster)
    scores, lowest = candidates.scores, candidates.lowest_positive[:, None]
    left = candidates.kinds == NEGATIVE
    if absolute_margin is not None:
        left &= scores + absolute_margin <= lowest
    if relative_margin is not None:
        left &= scores <= lowest - np.abs(lowest) * relative_margin
    if max_score is not None:
        left &= scores <= max_score
    if min_score is not None:
        left &= scores >= min_score
    # Candidates by rank: what is left, best first, equal ones as the index returned them.
    order = np.argsort(np.where(left, -scores, np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(candidates.ids, order, axis=1)
    place = np.arange(k)
    last = np.minimum(np.count_nonzero(left, axis=1), deepest)
    usable = (place >= skip) & (place < last[:, None])
    ranks = np.broadcast_to(place, ranked.shape)
    if strategy == "random":
        drawn = np.stack([_draws(seed, one, k) for one in candidates.query_ids])
        ranks = np.argsort(np.where(usable, drawn, np.inf), axis=1, kind="stable")
        usable = np.take_along_axis(usable, ranks, axis=1)
    if clusters is not None:
        _, codes = np.unique(np.asarray(clusters), return_inverse=True)
        if ranked.max(initial=-1) >= len(codes):
            raise InputError(f"{len(codes)} labels of clusters: each document needs one")
        in_turn = codes[np.take_along_axis(ranked, ranks, axis=1)]
        usable &= _earlier_alike(in_turn, usable) < most_per_cluster
    counts = np.count_nonzero(usable, axis=1)
    enough = np.flatnonzero(counts >= n)
    first = np.argsort(~usable, axis=1, kind="stable")[enough, :n]
    taken = np.sort(np.take_along_axis(ranks[enough], first, axis=1), axis=1)
    chosen = np.take_along_axis(order[enough], taken, axis=1)
    return Negatives(
        candidates,
        enough,
        np.take_along_axis(candidates.ids[enough], chosen, axis=1),
        np.take_along_axis(scores[enough], chosen, axis=1),
        {
            candidates.query_ids[row]: int(counts[row])
            for row in np.flatnonzero(counts < n).tolist()
        },
    )


def _draws(seed: int, query_id: str, k: int) -> NDArray[np.float64]:
    key = hashlib.blake2b(query_id.encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(key)]).random(k)


def _earlier_alike(codes: NDArray[np.intp], usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the usable candidates of the same cluster before each; shape (q, k)."""
    q, k = codes.shape
    counts = np.empty((q, k), dtype=np.int64)
    before = np.tri(k, k, -1, dtype=bool)
    for rows in blocks(q, k * k, _CELL_BYTES):
        alike = codes[rows, :, None] == codes[rows, None, :]
        counts[rows] = np.count_nonzero(alike & before & usable[rows, None, :], axis=2)
    return counts


def _check(
    n: int, skip: int, deepest: int, strategy: str, seed: int, most_per_cluster: int
) -> None:
    for name, value, least in (
        ("n", n, 1),
        ("skip", skip, 0),
        ("deepest", deepest, skip + n),
        ("seed", seed, 0),
        ("most_per_cluster", most_per_cluster, 1),
    ):
        if value < least:
            raise InputError(
                f"{name} is {value}: it must be at least {least}"
                + (", skip and n together, or no query has enough" if name == "deepest" else "")
            )
    if strategy not in STRATEGIES:
        raise unknown_name("strategy", strategy, STRATEGIES)
