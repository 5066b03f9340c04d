"""Relevant documents whose place differs between two runs, and whose doing that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.evaluation import EvaluationOptions, Measure
from retrieval_eval.evaluation.pairing import Judgments
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["Cause", "Change", "MovedDocument", "Moves"]

Change = Literal["gained", "lost", "rose", "fell"]
Cause = Literal["index", "encoder"]

_CHANGES: tuple[Change, ...] = ("gained", "lost", "rose", "fell")
_STAYED, _GAINED, _LOST, _ROSE, _FELL = range(-1, 4)
_CAUSES: tuple[Cause | None, ...] = (None, "index", "encoder")
_NOWHERE = np.iinfo(np.int64).max  # the rank of a document that a run does not return

_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class MovedDocument:
    """A relevant document whose place in the first k differs between two runs.

    Parameters
    ----------
    document_id : str
        The document.
    grade : int
        As judged.
    rank_a, rank_b : int or None
        From 1, as the measure sees the runs; beyond k too. None where the run does not return it.
    change : {'gained', 'lost', 'rose', 'fell'}
        In the first k of a only, of b only, or of both and nearer the top, or farther, in a.
    cause : {'index', 'encoder'} or None
        What the change is due to, by the rules of :func:`retrieval_eval.comparison.explain`; None
        where it cannot be told.
    rank_exact : int or None
        Its rank in the exact run, likewise.

    Examples
    --------
    >>> MovedDocument("d7", 2, None, 3, "lost", "index", rank_exact=4).cause
    'index'
    """

    document_id: str
    grade: int
    rank_a: int | None
    rank_b: int | None
    change: Change
    cause: Cause | None
    rank_exact: int | None = None


@dataclass(frozen=True, eq=False)
class Moves:
    """What became of each relevant judgment; all arrays are of shape (n,).

    `places` are ranks in a, b and, if there is one, the exact run; `change` and `cause` are
    places in `_CHANGES` and `_CAUSES`.
    """

    qrels: Qrels
    level: int
    rows: _Ints
    places: list[_Ints]
    change: _Ints
    cause: _Ints

    @classmethod
    def of(
        cls, qrels: Qrels, runs: Sequence[Run], measure: Measure, k: int, options: EvaluationOptions
    ) -> Moves:
        """Meet all runs with the judgments."""
        known = measure.spec.parameters
        level = int(("rel" in known and measure["rel"]) or options.relevance_level)
        condensed = bool("judged_only" in known and measure["judged_only"])
        rows = np.flatnonzero(qrels.grade >= level)
        judgments = Judgments(qrels)
        places, returned = [], []
        for run in runs:
            pairing = judgments.meet(options.prepare(run), expected_ties=False)
            returned.append(pairing.returned)
            pairing = pairing.condensed if condensed else pairing
            rank = np.full(len(qrels), _NOWHERE)
            rank[pairing.document] = pairing.rank
            places.append(rank[rows])
        (a, b), exact = places[:2], places[2:]
        change = np.full(len(rows), _STAYED)
        change[(a <= k) & (b > k)] = _GAINED
        change[(a > k) & (b <= k)] = _LOST
        change[(a < b) & (b <= k)] = _ROSE
        change[(b < a) & (a <= k)] = _FELL
        cause = np.zeros(len(rows), dtype=np.int64)
        if exact:
            needed = returned[0] if condensed else np.minimum(returned[0], k)
            told = (returned[2] >= np.maximum(needed, 1))[qrels.query[rows]]
            cause = _causes(change, a, b, exact[0], told | (exact[0] != _NOWHERE), k)
        return cls(qrels, level, rows, places, change, cause)

    def count(self, change: Change, cause: Cause | None = None) -> int:
        """Count the documents of a kind."""
        found = self.change == _CHANGES.index(change)
        if cause is not None:
            found &= self.cause == _CAUSES.index(cause)
        return int(np.count_nonzero(found))

    def documents(self, query: int) -> tuple[MovedDocument, ...]:
        """Return the documents of a judged query that moved."""
        start, stop = np.searchsorted(self.qrels.query[self.rows], [query, query + 1])
        own = start + np.flatnonzero(self.change[start:stop] != _STAYED)
        best = np.minimum(self.places[0], self.places[1])[own].tolist()
        names = self.qrels.document_ids.take(self.qrels.document[self.rows[own]])
        found = []
        for _, name, row in sorted(zip(best, names, own.tolist(), strict=True)):
            mine, theirs, *exactly = (
                None if one[row] == _NOWHERE else int(one[row]) for one in self.places
            )
            grade = int(self.qrels.grade[self.rows[row]])
            change, cause = _CHANGES[self.change[row]], _CAUSES[self.cause[row]]
            found.append(MovedDocument(name, grade, mine, theirs, change, cause, *exactly))
        return tuple(found)


def _causes(
    change: _Ints, a: _Ints, b: _Ints, exact: _Ints, known: NDArray[np.bool_], k: int
) -> _Ints:
    """Apply the rules of `explain` to ranks, where that in the exact run is known."""
    inside = exact <= k
    rules = {
        _GAINED: (~inside, inside),
        _LOST: (inside, ~inside),
        _ROSE: (exact >= b, exact <= a),
        _FELL: (exact <= b, exact >= a),
    }
    cause = np.zeros(len(change), dtype=np.int64)
    for kind, (index, encoder) in rules.items():
        mine = known & (change == kind)
        cause[mine & index] = _CAUSES.index("index")
        cause[mine & encoder] = _CAUSES.index("encoder")
    return cause
