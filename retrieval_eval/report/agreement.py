"""Whether encoders keep their order when exact search is replaced by an approximate one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from retrieval_eval.comparison import (
    CompareOptions,
    Difference,
    compare,
    kendall_tau,
)
from retrieval_eval.comparison.orders.scores import without_rounding
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluation
from retrieval_eval.report.groups import (
    LARGEST,
    SLOWEST,
    FinishedSweep,
    compare_options,
    too_many,
)
from retrieval_eval.selection.tables import SweepTables, read_tables

if TYPE_CHECKING:
    import polars as pl

__all__ = ["EncoderAgreement", "EncoderSwap", "encoder_agreement"]

Row = Mapping[str, Any]
Rows = dict[str, dict[str, Any]]  # by encoder


@dataclass(frozen=True)
class EncoderSwap:
    """Two encoders that change places.

    Parameters
    ----------
    ahead, behind : str
        Encoders, by their places under the reference.
    reference_difference, difference : float
        Mean of `ahead` minus mean of `behind`: above 0 under the reference, below 0 under the other
        configuration.
    reference_p, p : float or None
        Adjusted p values of these differences; None if they were not tested.
    reference_significant, significant : bool or None
        Whether these are at most the level, and the tested difference has the same sign.
    """

    ahead: str
    behind: str
    reference_difference: float
    difference: float
    reference_p: float | None = None
    p: float | None = None
    reference_significant: bool | None = None
    significant: bool | None = None

    @property
    def beyond_chance(self) -> bool | None:
        """Whether both orders are shown, so that the places did change; None if not tested.

        The level holds for the claim, since it needs both differences to be significant.
        """
        if self.reference_significant is None or self.significant is None:
            return None
        return self.reference_significant and self.significant


@dataclass(frozen=True)
class EncoderAgreement:
    """The order of encoders under the reference, and under one other configuration.

    Parameters
    ----------
    dataset, filter : str, str or None
        Where they were run.
    measure : str
        By whose means they are ordered.
    configuration : str
        Index and settings, the same for all of them.
    encoders : tuple of str
        Best first under the reference, equal means in the order of the rows; at least two.
    reference_means, means : tuple of float
        As in ``results.parquet``, in the order of `encoders`.
    tau : float
        Kendall's tau-b of the two orders; NaN where all means of one side are equal.
    swaps : tuple of EncoderSwap
        Pairs in another order under the configuration. Pairs that tie on either side are none.
    left_out : tuple of str
        Encoders with a row of this configuration, but without a mean on either side.
    family : str
        What the p values were corrected over, in words; empty if nothing was tested.
    reason : str
        Why nothing was tested; empty if it was.
    """

    dataset: str
    filter: str | None
    measure: str
    configuration: str
    encoders: tuple[str, ...]
    reference_means: tuple[float, ...]
    means: tuple[float, ...]
    tau: float
    swaps: tuple[EncoderSwap, ...] = ()
    left_out: tuple[str, ...] = ()
    family: str = ""
    reason: str = ""


def encoder_agreement(
    results: FinishedSweep | SweepTables,
    *,
    datasets: Sequence[str] = (),
    measures: Sequence[str] = (),
    options: CompareOptions | None = None,
    largest: int = LARGEST,
    slowest: float = SLOWEST,
    threads: int | None = None,
) -> list[EncoderAgreement]:
    """Compare the order of encoders under their references with that under other configurations.

    Encoders are ordered by the means of ``results.parquet``; means that agree but for the rounding
    of float64 tie. All pairs of encoders are tested under the reference and under each
    configuration that they share: these are a family of their own, for each dataset and filter.
    A change of places is beyond chance only if both orders are significant.

    Parameters
    ----------
    results : Results or SweepTables
        A finished sweep. The reference of an encoder is its row with ``is_reference``, which is
        exact search unless the sweep names another; configurations are the same if they are
        called the same in ``configuration``.
    datasets, measures : sequence of str
        Only these; by default all of the sweep. Measures make up the family, too.
    options : CompareOptions, optional
        By default the sweep's own test, correction, level, draws and seed.
    largest : int
        Pairs x measures x queries that are tested at the most for a dataset and filter. Beyond,
        orders are compared without a test, and `reason` says so.
    slowest : float
        Draws x pairs x measures x queries that are done at the most, likewise.
    threads : int, optional
        By default one for each processor; of no effect on the result.

    Returns
    -------
    list of EncoderAgreement
        For each dataset, filter, configuration and measure, in the order of the rows; none where
        fewer than two encoders share a configuration beside their references.

    Raises
    ------
    InputError
        For an unknown dataset or measure.

    References
    ----------
    Kendall 1945, The treatment of ties in ranking problems.
    """
    tables = read_tables(results, None)
    options = options or compare_options(tables.manifest)
    known = tuple(tables.measures)
    for name in measures:
        if name not in known:
            raise unknown_name("measure", name, known)
    chosen = tuple(measures) or known
    found: list[EncoderAgreement] = []
    for (dataset, filter_), frame in tables.cells(datasets):
        references, shared = _shared(frame)
        if not shared:
            continue
        shown = [references, *shared.values()]
        tests = _tests(tables, shown, chosen, options, largest, slowest, threads)
        for configuration, rows in shared.items():
            for measure in chosen:
                place = dataset, filter_, measure, configuration
                found += _compared(place, references, rows, tests)
    return found


def _shared(frame: pl.DataFrame) -> tuple[Rows, dict[str, Rows]]:
    """Return the references by encoder, and by configuration what several encoders share."""
    references: Rows = {}
    others: dict[str, Rows] = {}
    for row in frame.iter_rows(named=True):
        if row["is_reference"]:
            references[row["encoder"]] = row
        else:
            others.setdefault(row["configuration"], {})[row["encoder"]] = row
    shared = {
        name: {encoder: row for encoder, row in rows.items() if encoder in references}
        for name, rows in others.items()
    }
    shared = {name: rows for name, rows in shared.items() if len(rows) > 1}
    sharing = {encoder for rows in shared.values() for encoder in rows}
    return {name: row for name, row in references.items() if name in sharing}, shared


@dataclass(frozen=True, eq=False)
class _Tests:
    """Differences between encoders under one configuration, by row ids and measure."""

    found: Mapping[tuple[str, str, str], Difference]
    family: str = ""
    reason: str = ""

    def of(self, ahead: Row, behind: Row, measure: str) -> tuple[float | None, bool | None]:
        """Return the adjusted p value, and whether `ahead` is shown to be ahead."""
        key = ahead["row_id"], behind["row_id"], measure
        one, sign = self.found.get(key), 1
        if one is None:
            one, sign = self.found.get((key[1], key[0], measure)), -1
        if one is None or math.isnan(one.p_adjusted):
            return None, None
        return one.p_adjusted, one.significant and sign * one.mean_diff > 0


def _tests(
    tables: SweepTables,
    configurations: Sequence[Rows],
    measures: tuple[str, ...],
    options: CompareOptions,
    largest: int,
    slowest: float,
    threads: int | None,
) -> _Tests:
    """Test all pairs of encoders under each configuration."""
    run = [
        [row["row_id"] for row in rows.values() if row["status"] == "ok"] for rows in configurations
    ]
    row_ids = [row_id for one in run for row_id in one]
    place = {row_id: number for number, row_id in enumerate(row_ids)}
    pairs = [(place[a], place[b]) for one in run for a, b in itertools.combinations(one, 2)]
    if not pairs:
        return _Tests({}, reason="fewer than two rows were run")
    scored = tables.per_query.filter(tables.per_query["row_id"] == row_ids[0]).height
    reason = too_many(options, "encoders", len(pairs), len(measures), scored, largest, slowest)
    if reason:
        return _Tests({}, reason=reason)
    try:
        queries, values = tables.scores(row_ids, measures)
    except InputError as error:
        return _Tests({}, reason=str(error))
    comparison = compare(
        [
            Evaluation(row_id, measures, tuple(queries), np.ascontiguousarray(scores), 0)
            for row_id, scores in zip(row_ids, values.transpose(1, 0, 2), strict=True)
        ],
        pairs=pairs,
        options=options,
        threads=threads,
    )
    found = {(one.a, one.b, one.measure): one for one in comparison.differences}
    return _Tests(found, comparison.family)


def _compared(
    place: tuple[str, str | None, str, str], references: Rows, rows: Rows, tests: _Tests
) -> list[EncoderAgreement]:
    """Compare two orders of the encoders that have a mean in both, if these are two or more."""
    measure = place[2]
    kept = [
        name for name in rows if _known(references[name], measure) and _known(rows[name], measure)
    ]
    if len(kept) < 2:
        return []
    before, after = (
        np.array([side[name][measure] for name in kept], dtype=np.float64)
        for side in (references, rows)
    )
    before, after = without_rounding(before, before), without_rounding(after, after)
    order = np.argsort(-before, kind="stable").tolist()
    encoders = tuple(kept[one] for one in order)
    return [
        EncoderAgreement(
            *place,
            encoders=encoders,
            reference_means=tuple(references[name][measure] for name in encoders),
            means=tuple(rows[name][measure] for name in encoders),
            tau=float(kendall_tau(before, after)),
            swaps=tuple(
                _swap(references, rows, (kept[first], kept[second]), measure, tests)
                for first, second in itertools.combinations(order, 2)
                if before[first] > before[second] and after[first] < after[second]
            ),
            left_out=tuple(name for name in rows if name not in kept),
            family=tests.family,
            reason=tests.reason,
        )
    ]


def _known(row: Row, measure: str) -> bool:
    value = row[measure]
    return row["status"] == "ok" and value is not None and math.isfinite(value)


def _swap(
    references: Rows, rows: Rows, pair: tuple[str, str], measure: str, tests: _Tests
) -> EncoderSwap:
    ahead, behind = pair
    reference_p, shown = tests.of(references[ahead], references[behind], measure)
    p, shown_after = tests.of(rows[behind], rows[ahead], measure)
    return EncoderSwap(
        ahead,
        behind,
        references[ahead][measure] - references[behind][measure],
        rows[ahead][measure] - rows[behind][measure],
        reference_p,
        p,
        shown,
        shown_after,
    )
