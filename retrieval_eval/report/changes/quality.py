"""Tests of rows of one sweep against the same rows of another, query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import CompareOptions, Difference, compare, correct
from retrieval_eval.comparison.results import enough_draws
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation
from retrieval_eval.report.changes.rows import SAME, QualityChange

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LARGEST", "Judged", "ScorePair", "judge_pairs", "pair_scores", "scores_of"]

LARGEST = 1e11
"""Draws x comparisons x queries from which on t is used instead: half a minute on two cores."""

_AT_ONCE = 4_000_000  # scores of both sweeps that are compared at once: some hundred MB at the peak

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScorePair:
    """Scores of a row in two sweeps, on the same queries.

    Parameters
    ----------
    measures : tuple of str, length m
        Those that both sweeps have.
    means : sequence of (float or None, float or None), length m
        Old and new, as in the tables.
    queries : tuple of str, length q
        Ids that both have, ascending.
    old, new : ndarray of float64, shape (m, q)
        Their scores; NaN for undefined.
    reason : str
        Why they must not be compared; or, where they can, which queries were left out.
    comparable : bool
        Whether they can be compared.
    """

    measures: tuple[str, ...]
    means: Sequence[tuple[float | None, float | None]]
    queries: tuple[str, ...]
    old: Array
    new: Array
    reason: str
    comparable: bool

    @property
    def identical(self) -> NDArray[np.bool_]:
        """By which measures every query has the same score, shape (m,)."""
        near = np.abs(self.old - self.new) <= SAME
        undefined = np.isnan(self.old) & np.isnan(self.new)
        return np.asarray((near | undefined).all(axis=1))


@dataclass(frozen=True)
class Judged:
    """What became of all pairs.

    Parameters
    ----------
    quality : tuple of tuple of QualityChange
        For each pair, its measures.
    options : CompareOptions
        By which they were tested.
    draws : int
        Of a test that resamples.
    family : str
        What the correction is over.
    notes : tuple of str
        What else a reader has to know.
    """

    quality: tuple[tuple[QualityChange, ...], ...]
    options: CompareOptions
    draws: int
    family: str
    notes: tuple[str, ...]


def scores_of(
    per_query: pl.DataFrame, measures: Sequence[str]
) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Return, for each row id, ids of its queries, ascending, and scores of shape (m, q).

    Raises
    ------
    InputError
        If a query stands twice for a row, or a score is infinite.
    """
    import polars as pl

    known = [name for name in measures if name in per_query.columns]
    chosen = per_query.select(
        "row_id", "query_id", *(pl.col(name).cast(pl.Float64) for name in known)
    )
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}  # most rows have the same queries
    found = {}
    for (row_id,), frame in chosen.partition_by("row_id", as_dict=True).items():
        ordered = frame.sort("query_id")
        queries = tuple(ordered["query_id"].to_list())
        if len(set(queries)) < len(queries):
            raise InputError(f"per_query: row {row_id} has a query twice")
        values = np.full((len(measures), len(queries)), np.nan)
        for place, name in enumerate(measures):
            if name in known:
                values[place] = ordered[name].fill_null(np.nan).to_numpy()
        if np.isinf(values).any():
            raise InputError(f"per_query: row {row_id} has a score that is infinite")
        found[str(row_id)] = kept.setdefault(queries, queries), values
    return found


def pair_scores(
    measures: tuple[str, ...],
    rows: tuple[Mapping[str, Any], Mapping[str, Any]],
    scores: Sequence[tuple[tuple[str, ...], Array] | None],
    judgments: str,
) -> ScorePair:
    """Put the scores of a row in two sweeps side by side.

    Parameters
    ----------
    measures : tuple of str
        Those that both sweeps have.
    rows : (mapping, mapping)
        The row in both tables.
    scores : sequence of two (ids, values), or None
        From :func:`scores_of`; None for a row without.
    judgments : str
        Why the judgments are not, or not known to be, the same; empty if they are.
    """
    means = [(rows[0].get(name), rows[1].get(name)) for name in measures]
    nothing = np.zeros((len(measures), 0))

    def refused(reason: str) -> ScorePair:
        return ScorePair(measures, means, (), nothing, nothing, reason, comparable=False)

    if judgments:
        return refused(judgments)
    if scores[0] is None or scores[1] is None:
        return refused("there are no scores query by query")
    (ids, old), (other_ids, new) = scores[0], scores[1]
    if ids == other_ids:
        return ScorePair(measures, means, ids, old, new, "", comparable=True)
    mine, theirs = ({one: place for place, one in enumerate(names)} for names in (ids, other_ids))
    common = tuple(one for one in ids if one in theirs)
    if not common:
        return refused("the two have no query in common")
    old = old[:, [mine[one] for one in common]]
    new = new[:, [theirs[one] for one in common]]
    reason = (
        f"other queries: paired on the {len(common)} that both have, of {len(ids)} and "
        f"{len(other_ids)}"
    )
    return ScorePair(measures, means, common, old, new, reason, comparable=True)


def judge_pairs(
    pairs: Sequence[ScorePair],
    options: CompareOptions,
    margins: Mapping[str, float],
    *,
    largest: float = LARGEST,
    threads: int | None = None,
) -> Judged:
    """Test all pairs by all their measures, as one family.

    Identical scores are not tested, but count in the family, so that its size does not depend on
    what was found. Where there are none to compare, they do not count.

    Parameters
    ----------
    pairs : sequence of ScorePair
        All that a reader sees together.
    options : CompareOptions
        Test, level, draws, seed and intervals; the correction is Holm's over everything.
    margins : mapping of str to float
        Accepted loss by measure; of others, nothing is said of it.
    largest : float
        See :data:`LARGEST`.
    threads : int, optional
        By default one for each processor; of no effect on the result.
    """
    able = [one for one in pairs if one.comparable]
    size = sum(len(one.measures) for one in able)
    options = replace(options, correction="holm", family="all", margins={})
    draws = enough_draws(options, size)
    notes = []
    work = float(draws) * sum(len(one.measures) * len(one.queries) for one in able)
    if options.test in ("randomization", "bootstrap") and work > largest:
        notes.append(
            f"{size} comparisons would need {draws} draws each: tested by Student's paired t test "
            f"instead of {options.test}"
        )
        options = replace(options, test="t")
    found = _compared(pairs, replace(options, correction="none", draws=draws), margins, threads)
    tests = {place: one for place, one in found.items() if not np.isnan(one.p)}
    untold = len(found) - len(tests)
    same = sum(int(one.identical.sum()) for one in able)
    # What is identical has a p of 1 in any test of zero difference.
    family = np.concatenate([np.array([one.p for one in tests.values()]), np.ones(same)])
    adjusted = dict(zip(tests, correct(family, "holm"), strict=False))
    asked = {
        place: one.p_noninferior for place, one in tests.items() if one.p_noninferior is not None
    }
    held = dict(zip(asked, correct(np.array(list(asked.values()), float), "holm"), strict=True))
    quality = []
    for number, pair in enumerate(pairs):
        identical = pair.identical if pair.comparable else np.zeros(len(pair.measures), bool)
        changes = []
        for place, (name, (old, new)) in enumerate(zip(pair.measures, pair.means, strict=True)):
            key = number, place
            change = QualityChange(name, old, new, "not compared", reason=pair.reason)
            if pair.comparable and identical[place]:
                n = int((~np.isnan(pair.old[place])).sum())
                margin = margins.get(name)
                change = replace(
                    change,
                    verdict="identical",
                    n=n,
                    difference=0.0,
                    margin=margin,
                    noninferior=None if margin is None else True,
                )
            elif key in tests:
                p_held = held.get(key)
                change = _judged(change, tests[key], float(adjusted[key]), p_held, options.alpha)
            elif pair.comparable:
                change = replace(change, reason="it is defined on no query of both")
            changes.append(change)
        quality.append(tuple(changes))
    rows = len(able)
    words = (
        f"{size - untold} comparisons: {rows} row{'' if rows == 1 else 's'} in both, by each of "
        f"their measures; {same} of them identical"
    )
    return Judged(tuple(quality), replace(options, margins=margins), draws, words, tuple(notes))


def _compared(
    pairs: Sequence[ScorePair],
    options: CompareOptions,
    margins: Mapping[str, float],
    threads: int | None,
) -> dict[tuple[int, int], Difference]:
    """Compare what is not identical; by place of the pair, and of the measure."""
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
    for number, pair in enumerate(pairs):
        if pair.comparable and not pair.identical.all():
            alike.setdefault((pair.measures, pair.queries), []).append(number)
    found = {}
    for (measures, queries), numbers in alike.items():
        mine = {name: margins[name] for name in measures if name in margins}
        step = max(1, _AT_ONCE // (2 * len(measures) * len(queries)))
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            comparison = compare(
                [
                    Evaluation(f"{number}", measures, queries, values, 0)
                    for number in some
                    for values in (pairs[number].old, pairs[number].new)
                ],
                pairs=[(2 * place + 1, 2 * place) for place in range(len(some))],
                options=replace(options, margins=mine),
                threads=threads,
            )
            for place, difference in enumerate(comparison.differences):
                row, measure = divmod(place, len(measures))
                if not pairs[some[row]].identical[measure]:
                    found[some[row], measure] = difference
    return found


def _judged(
    change: QualityChange,
    found: Difference,
    p_adjusted: float,
    p_held: float | None,
    alpha: float,
) -> QualityChange:
    verdict: Literal["better", "worse", "undecided"] = "undecided"
    if p_adjusted <= alpha and found.mean_diff:
        verdict = "better" if found.mean_diff > 0 else "worse"
    low, high = found.ci95
    known = not np.isnan(low)
    return replace(
        change,
        verdict=verdict,
        n=found.n,
        n_differing=found.n_differing,
        difference=found.mean_diff,
        low=low if known else None,
        high=high if known else None,
        p=found.p,
        p_adjusted=p_adjusted,
        margin=found.margin,
        noninferior=None if p_held is None else bool(p_held <= alpha),
    )
