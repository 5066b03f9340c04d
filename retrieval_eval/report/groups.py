"""Letters for rows of a sweep that its queries cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from retrieval_eval.comparison import (
    CompareOptions,
    Comparison,
    compare,
    indistinguishable_groups,
)
from retrieval_eval.comparison.results import enough_draws
from retrieval_eval.errors import InputError
from retrieval_eval.evaluation import Evaluation
from retrieval_eval.selection.tables import SweepTables, Tables, read_tables

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "LARGEST",
    "SLOWEST",
    "FinishedSweep",
    "SignificanceGroup",
    "compare_options",
    "groups_legend",
    "significance_groups",
    "too_many",
]

LARGEST = 20_000_000
"""Pairs x measures x queries that are compared at the most: about 1 GB at the peak."""

SLOWEST = 1e11
"""Draws x pairs x measures x queries that are done at the most: up to two minutes on two cores."""


class FinishedSweep(Tables, Protocol):
    """Anything with the tables of a sweep, such as :class:`retrieval_eval.sweep.Results`."""

    @property
    def comparisons(self) -> pl.DataFrame:
        """One row a comparison."""


@dataclass(frozen=True, eq=False)
class SignificanceGroup:
    """Rows that were all compared with each other.

    Parameters
    ----------
    dataset, filter : str, str or None
        Where they were run.
    encoder : str or None
        Theirs; None if they are of several.
    row_ids : tuple of str
        Rows that were run, in the order of the table.
    comparison : Comparison or None
        All their pairs, runs named by row ids, in the same order; None if they were not compared.
    letters : mapping of str to tuple of str
        For each measure, the letters of each row. Two rows share one exactly if they were compared
        and do not differ significantly. A measure by which some pair could not be compared has
        none.
    reason : str
        Why there are no letters at all, or none for some measure; empty if nothing lacks.
    """

    dataset: str
    filter: str | None
    encoder: str | None
    row_ids: tuple[str, ...]
    comparison: Comparison | None
    letters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reason: str = ""

    @property
    def title(self) -> str:
        """Dataset, filter and encoder in words."""
        where = self.dataset if self.filter is None else f"{self.dataset}, {self.filter}"
        return where if self.encoder is None else f"{where} | {self.encoder}"

    def by_row(self) -> Iterator[tuple[str, str, str]]:
        """Yield row id, measure and letters."""
        for measure, letters in self.letters.items():
            for row_id, mine in zip(self.row_ids, letters, strict=True):
                yield row_id, measure, mine


def compare_options(manifest: Mapping[str, Any]) -> CompareOptions:
    """Return the options by which a sweep compared its rows, without its margins.

    Parameters
    ----------
    manifest : mapping
        As in ``manifest.json``; what it does not say has the default of
        :class:`retrieval_eval.comparison.CompareOptions`.
    """
    sweep = manifest.get("sweep", {})
    kept = ("test", "correction", "family", "alpha", "draws", "interval")
    given = {name: value for name, value in sweep.get("compare", {}).items() if name in kept}
    return CompareOptions(**given, seed=sweep.get("seed", 0))


def significance_groups(
    results: FinishedSweep | SweepTables,
    *,
    across_encoders: bool = False,
    measures: Sequence[str] = (),
    options: CompareOptions | None = None,
    largest: int = LARGEST,
    slowest: float = SLOWEST,
    threads: int | None = None,
) -> list[SignificanceGroup]:
    """Compare all pairs of rows of one encoder, in each dataset and under each filter.

    A sweep compares its rows with the reference only, which tells nothing of two others. So all
    pairs are tested here, from the scores query by query. These pairs are a family of their own,
    and a larger one: a row that differs from the reference in the sweep's own comparison may share
    a letter with it.

    Parameters
    ----------
    results : Results or SweepTables
        A finished sweep.
    across_encoders : bool
        Whether all rows of a dataset and filter are compared, of whatever encoder.
    measures : sequence of str
        Only these; by default all of the sweep. They make up the family.
    options : CompareOptions, optional
        By default the sweep's own test, correction, level, draws and seed.
    largest : int
        Pairs x measures x queries that are compared at the most. Rows that are more get no
        letters, and a reason.
    slowest : float
        Draws x pairs x measures x queries that are done at the most, likewise.
    threads : int, optional
        By default one for each processor; of no effect on the result.

    Returns
    -------
    list of SignificanceGroup
        One for each dataset, filter and encoder, in the order of the rows.
    """
    tables = read_tables(results, None)
    options = options or compare_options(tables.manifest)
    chosen = tuple(measures) or tuple(tables.measures)
    found = []
    for (dataset, filter_), frame in tables.cells():
        run = frame.filter(frame["status"] == "ok")
        encoders = run["encoder"].unique(maintain_order=True).to_list()
        for encoder in [None] if across_encoders else encoders:
            mine = run if encoder is None else run.filter(run["encoder"] == encoder)
            facts = dataset, filter_, encoder, tuple(mine["row_id"].to_list())
            found.append(_group(tables, facts, chosen, options, largest, slowest, threads))
    return found


def _group(
    tables: SweepTables,
    facts: tuple[str, str | None, str | None, tuple[str, ...]],
    measures: tuple[str, ...],
    options: CompareOptions,
    largest: int,
    slowest: float,
    threads: int | None,
) -> SignificanceGroup:
    row_ids = facts[3]
    pairs = math.comb(len(row_ids), 2)
    if not pairs:
        return SignificanceGroup(*facts, None, reason="fewer than two rows were run")
    scored = tables.per_query.filter(tables.per_query["row_id"] == row_ids[0]).height
    reason = too_many(options, "rows", pairs, len(measures), scored, largest, slowest)
    if reason:
        return SignificanceGroup(*facts, None, reason=reason)
    try:
        queries, values = tables.scores(row_ids, measures)
    except InputError as error:
        return SignificanceGroup(*facts, None, reason=str(error))
    comparison = compare(
        [
            Evaluation(row_id, measures, tuple(queries), np.ascontiguousarray(scores), 0)
            for row_id, scores in zip(row_ids, values.transpose(1, 0, 2), strict=True)
        ],
        pairs="all",
        options=options,
        threads=threads,
    )
    untold = {one.measure for one in comparison.differences if math.isnan(one.p_adjusted)}
    letters = {
        name: indistinguishable_groups(comparison, name) for name in measures if name not in untold
    }
    reason = (
        f"some pairs have no query on which both are defined by {', '.join(sorted(untold))}"
        if untold
        else ""
    )
    return SignificanceGroup(*facts, comparison, letters, reason)


def too_many(
    options: CompareOptions,
    what: str,
    pairs: int,
    measures: int,
    queries: int,
    largest: int,
    slowest: float,
) -> str:
    """Say why so many comparisons are not done; nothing if they are.

    Parameters
    ----------
    options : CompareOptions
        How they would be tested.
    what : str
        Of what the pairs are.
    pairs, measures, queries : int
        How many.
    largest, slowest : int, float
        As of :func:`significance_groups`.
    """
    told = f"{pairs} pairs of {what} x {measures} measures x {queries} queries"
    size = pairs * measures * queries
    if size > largest:
        return f"{told} are more than the {largest} scores that are compared at the most"
    draws = enough_draws(options, pairs * measures)
    if options.test in ("randomization", "bootstrap", "tukey") and draws * size > slowest:
        return (
            f"{told} would need {draws} draws each, in all more than the {slowest:g} that are "
            "done at the most"
        )
    return ""


def groups_legend(groups: Sequence[SignificanceGroup]) -> list[str]:
    """Say what letters mean, how they were found, and where there are none.

    Parameters
    ----------
    groups : sequence of SignificanceGroup
        From one call of :func:`significance_groups`.
    """
    tested = [(one, one.comparison) for one in groups if one.comparison is not None]
    lines = []
    if tested:
        options = tested[0][1].options
        drawn = options.test in ("randomization", "bootstrap", "tukey")
        many = max(one.draws for _, one in tested)
        families = "; ".join(f"{group.title}: {one.family}" for group, one in tested)
        rows = "rows" if tested[0][0].encoder is None else "rows of one encoder"
        lines.append(
            f"letters: {rows}, within a dataset and filter, that share one do not differ "
            f"significantly by a two-sided paired {options.test} test at level {options.alpha:g}"
            f"{f', {many} draws' if drawn else ''}, correction {options.correction} over "
            f"{families}. All pairs are a family of their own, so that a row may share a letter "
            "with the reference from which its '+' or '-' tells it apart."
        )
    lines += [f"no letters for {one.title}: {one.reason}" for one in groups if one.reason]
    return lines
