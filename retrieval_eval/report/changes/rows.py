"""What changed between two sweeps, as data: rows in both, rows in one, circumstances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from retrieval_eval.comparison import CompareOptions

__all__ = [
    "COSTS",
    "Changes",
    "Circumstance",
    "Cost",
    "CostChange",
    "LoneRow",
    "QualityChange",
    "RecallChange",
    "RowChange",
    "RowName",
    "Side",
]

SAME = 1e-9
"""Scores that are no farther apart are equal: what adding up in another order may change."""


@dataclass(frozen=True)
class Cost:
    """A column of cost, and how people see it.

    Parameters
    ----------
    words : str
        In sentences.
    header, ratio : str
        In tables: of values, with their unit; and of ratios.
    factor, digits : float, int
        By which it is multiplied for that unit, and digits behind the point.
    phase : {'searching', 'building', ''}
        What was timed; empty for sizes.
    """

    words: str
    header: str
    ratio: str
    factor: float
    digits: int
    phase: Literal["searching", "building", ""] = ""


COSTS: Mapping[str, Cost] = {
    "latency_p50_s": Cost("median of single queries", "p50 ms", "p50", 1e3, 3, "searching"),
    "latency_p95_s": Cost("p95 of single queries", "p95 ms", "p95", 1e3, 3, "searching"),
    "qps": Cost("queries a second", "queries /s", "queries/s", 1, 0, "searching"),
    "build_s": Cost("build time", "build s", "build", 1, 2, "building"),
    "size_bytes": Cost("index size", "index MB", "index size", 1e-6, 2),
    "peak_rss_bytes": Cost("peak memory", "peak MB", "peak memory", 1e-6, 2),
}
"""Columns of ``results.parquet`` that are compared by their ratio."""


@dataclass(frozen=True)
class Side:
    """One of the sweeps.

    Parameters
    ----------
    letter : str
        What it is called in sentences and tables: the first is A.
    name, created, folder : str
        As its manifest has them, and where it lies; empty if that is unknown.
    rows : int
        How many it has.
    """

    letter: str
    name: str
    created: str
    folder: str
    rows: int

    @property
    def title(self) -> str:
        """Letter, folder or name, and date."""
        day = f", {self.created[:16].replace('T', ' ')}" if self.created else ""
        return f"{self.letter}: {self.folder or self.name}{day}"


@dataclass(frozen=True)
class Circumstance:
    """Something around the rows that is not the same in both.

    Parameters
    ----------
    kind : {'version', 'machine', 'data', 'setting', 'date'}
        What sort of thing.
    what : str
        Such as ``faiss-cpu``, ``processor``, ``news: judgments (checksum)``, ``timing.threads``.
    old, new : str
        In A and in B; ``-`` where it is not recorded.
    """

    kind: Literal["version", "machine", "data", "setting", "date"]
    what: str
    old: str
    new: str

    @property
    def text(self) -> str:
        """Both values in a few words."""
        return f"{self.what} {self.old} -> {self.new}"


@dataclass(frozen=True)
class RowName:
    """What a row is, in all sweeps.

    Parameters
    ----------
    dataset, filter, encoder, index, configuration : str; filter may be None
        As in ``results.parquet``.
    k : int or None
        Hits a query; None if the manifest does not say.
    """

    dataset: str
    filter: str | None
    encoder: str
    index: str
    configuration: str
    k: int | None

    @property
    def title(self) -> str:
        """Dataset, filter, encoder and configuration."""
        where = self.dataset if self.filter is None else f"{self.dataset}, {self.filter}"
        return f"{where} | {self.encoder} | {self.configuration}"

    @property
    def short(self) -> str:
        """Encoder and configuration."""
        return f"{self.encoder} | {self.configuration}"


@dataclass(frozen=True)
class QualityChange:
    """A measure of a row, before and after.

    Parameters
    ----------
    measure : str
        The measure.
    old, new : float or None
        Its means as both tables have them; None for a row without scores.
    verdict : {'identical', 'better', 'worse', 'undecided', 'not compared'}
        Identical: equal to 1e-9 on every query, so that nothing was tested. Better, worse:
        significant after correction. Undecided: different, but not significantly. Not compared:
        `reason` says why.
    n, n_differing : int
        Queries paired, and those whose scores differ.
    difference, low, high : float or None
        Mean of B minus A on the paired queries, and its 95 % interval.
    p, p_adjusted : float or None
        Two-sided, before and after correction; None if nothing was tested.
    margin : float or None
        Accepted loss.
    noninferior : bool or None
        Whether the loss is shown to be smaller than that.
    reason : str
        Why it was not compared, or which queries were.
    """

    measure: str
    old: float | None
    new: float | None
    verdict: Literal["identical", "better", "worse", "undecided", "not compared"]
    n: int = 0
    n_differing: int = 0
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    margin: float | None = None
    noninferior: bool | None = None
    reason: str = ""

    @property
    def changed(self) -> bool:
        """Whether scores are known to differ, significantly or not."""
        if self.verdict == "not compared":
            return self.old is not None and self.new is not None and abs(self.old - self.new) > SAME
        return self.verdict != "identical"


@dataclass(frozen=True)
class RecallChange:
    """Neighbour recall of a row, before and after; there is no test of it.

    Parameters
    ----------
    column : str
        Such as ``neighbour_recall@10``.
    old, new : float or None
        None for unmeasured.
    """

    column: str
    old: float | None
    new: float | None

    @property
    def difference(self) -> float | None:
        """B minus A; None if either is unmeasured."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def changed(self) -> bool:
        """Whether the two differ by more than rounding."""
        return self.difference is not None and abs(self.difference) > SAME


@dataclass(frozen=True)
class CostChange:
    """A cost of a row, before and after.

    Parameters
    ----------
    column : str
        One of :data:`COSTS`.
    old, new : float or None
        In the column's unit; None for unmeasured.
    verdict : str
        ``slower``, ``faster``, ``larger``, ``smaller``; ``alike``, within the threshold;
        ``same measurement``, taken from the cache; ``not judged``, and `reason` says why;
        ``unmeasured``.
    reason : str
        Why it is not judged.
    """

    column: str
    old: float | None
    new: float | None
    verdict: Literal[
        "slower",
        "faster",
        "larger",
        "smaller",
        "alike",
        "same measurement",
        "not judged",
        "unmeasured",
    ]
    reason: str = ""

    @property
    def ratio(self) -> float | None:
        """B over A; None if either is unmeasured, or A is 0."""
        return self.new / self.old if self.old and self.new is not None else None

    @property
    def changed(self) -> bool:
        """Whether it is called a change."""
        return self.verdict in ("slower", "faster", "larger", "smaller")


@dataclass(frozen=True)
class RowChange:
    """A row that both sweeps have.

    Parameters
    ----------
    name : RowName
        What it is; the configuration is called as in B.
    old_id, new_id : str
        Row ids. Equal ones mean equal data, model, parameters and k; libraries may differ.
    old_status, new_status : str
        ``ok``, ``skipped`` or ``failed``.
    message : str
        Why it was not done, where it was not.
    causes : tuple of str
        Of what decides a row, what is known to differ; empty for equal ids, and where nothing of
        it is recorded.
    reused : bool
        Whether B took the very search of A from the cache, so that nothing was found out anew.
    quality : tuple of QualityChange
        Of the measures that both sweeps have; none unless both were done, as for all figures.
    recall : RecallChange or None
        None if the two sweeps measured it at other depths.
    costs : tuple of CostChange
        In the order of :data:`COSTS`.
    """

    name: RowName
    old_id: str
    new_id: str
    old_status: str
    new_status: str
    message: str = ""
    causes: tuple[str, ...] = ()
    reused: bool = False
    quality: tuple[QualityChange, ...] = ()
    recall: RecallChange | None = None
    costs: tuple[CostChange, ...] = ()

    @property
    def same_inputs(self) -> bool:
        """Whether data, model, parameters and k are the very same."""
        return self.old_id == self.new_id

    @property
    def done(self) -> bool:
        """Whether both sweeps did it."""
        return self.old_status == self.new_status == "ok"

    @property
    def verdict(self) -> str:
        """Of its quality: that of its measures, ``mixed`` if some gain and some lose."""
        if not self.done:
            return "not done"
        found = {one.verdict for one in self.quality}
        if {"better", "worse"} <= found:
            return "mixed"
        order = ("worse", "better", "undecided", "not compared", "identical")
        return next((one for one in order if one in found), "not compared")

    @property
    def changed(self) -> bool:
        """Whether anything about it did: status, scores, recall, or a cost beyond its threshold."""
        return (
            self.old_status != self.new_status
            or any(one.changed for one in self.quality)
            or any(one.changed for one in self.costs)
            or (self.recall is not None and self.recall.changed)
        )


@dataclass(frozen=True)
class LoneRow:
    """A row that one of the sweeps has alone.

    Parameters
    ----------
    name : RowName
        What it is.
    row_id, status : str
        As in ``results.parquet``.
    means : mapping of str to float or None
        Of its measures.
    note : str
        What the other sweep has under the same names, and with what other parameters; may be empty.
    """

    name: RowName
    row_id: str
    status: str
    means: Mapping[str, float | None]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Changes:
    """What changed from one sweep, A, to another, B.

    Parameters
    ----------
    a, b : Side
        The earlier and the later sweep. Of several, all are compared with the first.
    rows : tuple of RowChange
        In both, in the order of B.
    only_a, only_b : tuple of LoneRow
        In one alone.
    circumstances : tuple of Circumstance
        What differs around them.
    options : CompareOptions
        How scores were tested; margins are those by which they were.
    draws : int
        Of a test that resamples.
    family : str
        What the correction is over, in words.
    slower : float
        By which factor timings have to differ to be called slower or faster.
    notes : tuple of str
        What else a reader has to know.
    """

    a: Side
    b: Side
    rows: tuple[RowChange, ...]
    only_a: tuple[LoneRow, ...]
    only_b: tuple[LoneRow, ...]
    circumstances: tuple[Circumstance, ...]
    options: CompareOptions
    draws: int
    family: str
    slower: float
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether any row did, or is in one sweep alone."""
        return bool(self.only_a or self.only_b) or any(one.changed for one in self.rows)

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """The measures that rows were compared by, in the order of B."""
        return tuple(dict.fromkeys(one.measure for row in self.rows for one in row.quality))
