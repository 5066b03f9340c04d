"""Claims about configurations in words, with what they cost beside their reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Claim", "Factor"]

_NEAR = 1.05
_SHORT = 0.1  # seconds: the ratio of shorter builds is that of noise


@dataclass(frozen=True)
class Factor:
    """What a configuration costs beside its reference.

    Parameters
    ----------
    column : str
        Of ``results.parquet``, such as ``latency_p95_s``.
    value, reference : float
        In the column's unit.
    noisy : bool
        Whether either was timed on a noisy machine.
    """

    column: str
    value: float
    reference: float
    noisy: bool = False

    @property
    def ratio(self) -> float | None:
        """Value over reference; None for a reference of 0, and for builds of less than 0.1 s."""
        if self.reference <= 0:
            return None
        if self.column == "build_s" and min(self.value, self.reference) < _SHORT:
            return None
        return self.value / self.reference

    @property
    def name(self) -> str:
        """What is meant, in words."""
        return _NAMES.get(self.column, self.column)

    @property
    def figures(self) -> tuple[str, str]:
        """Value and reference, rounded, with their units."""
        return _figure(self.column, self.value), _figure(self.column, self.reference)

    @property
    def brief(self) -> str:
        """The factor in words, without its figures; empty if there is none."""
        if not self.ratio:
            return ""
        if self.column.startswith("latency"):
            ratio, word = (self.ratio, "slower") if self.ratio > 1 else (1 / self.ratio, "faster")
            return "about as fast" if ratio < _NEAR else f"{_times(ratio)} {word}"
        return f"{_times(self.ratio)} the {self.name}"

    @property
    def text(self) -> str:
        """The factor in words, with both figures."""
        figures = " instead of ".join(self.figures)
        noise = ", timed on a noisy machine" if self.noisy else ""
        if not self.brief:
            return f"{self.name} {figures}{noise}"
        if self.column.startswith("latency"):
            return f"{self.brief} ({self.name} {figures}{noise})"
        return f"{self.brief} ({figures}{noise})"


_NAMES = {
    "latency_p50_s": "median of single queries",
    "latency_p95_s": "p95 of single queries",
    "latency_p99_s": "p99 of single queries",
    "qps": "queries a second",
    "size_bytes": "index size",
    "peak_rss_bytes": "peak memory",
    "build_s": "build time",
    "train_s": "training time",
}


def _times(ratio: float) -> str:
    if 1 / _NEAR < ratio < _NEAR:
        return f"{ratio:.2f}x"
    return f"{ratio:.0f}x" if ratio >= 9.95 else f"{ratio:.2g}x"


def _figure(column: str, value: float) -> str:
    if column.endswith("_bytes"):
        return f"{value / 1e6:.3g} MB" if value < 1e9 else f"{value / 1e9:.3g} GB"
    if column == "qps":
        return f"{value:.3g}"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


@dataclass(frozen=True)
class Claim:
    """What is known of one encoder's configurations, on one dataset and under one filter.

    Parameters
    ----------
    dataset, filter, encoder : str; filter may be None
        Of which it speaks.
    reference : str or None
        The configuration that others are compared with; None if there is none.
    reference_id : str or None
        Its row id.
    configuration, row_id : str or None
        The cheapest that is shown to lose less than the margin; None if none is.
    source : {'held-out', 'all queries', 'nothing'}
        What it rests on: queries by which nothing was chosen
        (:func:`retrieval_eval.selection.select`); or the sweep's own test on all queries; or
        nothing was tested.
    measure, margin, level : str, float or None, float
        What may be lost, and the level of the test. The sweep's own test is at its alpha, corrected
        over its family.
    n_queries, n_held_out : int
        Queries in all, and those tested on if `source` is 'held-out', else 0.
    difference, at_least : float or None
        Configuration minus reference on the queries tested on; and the lower bound that goes with
        the level, on held-out queries.
    p : float or None
        Of the hypothesis that the margin or more is lost.
    factors : tuple of Factor
        Costs beside the reference's, of those that were measured for both.
    reason : str
        Why nothing can be claimed; empty if something can.
    note : str
        What else a reader has to know; may be empty.
    """

    dataset: str
    filter: str | None
    encoder: str
    reference: str | None
    reference_id: str | None
    configuration: str | None
    row_id: str | None
    source: Literal["held-out", "all queries", "nothing"]
    measure: str
    margin: float | None
    level: float
    n_queries: int
    n_held_out: int = 0
    difference: float | None = None
    at_least: float | None = None
    p: float | None = None
    factors: tuple[Factor, ...] = ()
    reason: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether anything is claimed."""
        return self.configuration is not None

    @property
    def title(self) -> str:
        """Dataset, filter and encoder."""
        where = self.dataset if self.filter is None else f"{self.dataset}, {self.filter}"
        return f"{where} | {self.encoder}"

    @property
    def headline(self) -> str:
        """The claim in one sentence, without figures; or that there is none."""
        if self.configuration is None or self.margin is None:
            return "Nothing can be claimed."
        costs = "".join(f", {one.brief}" for one in self.factors if one.brief)
        return (
            f"{self.configuration} is not worse than {self.reference} by more than "
            f"{self.margin:g} {self.measure} ({100 * (1 - self.level):.3g} %){costs}."
        )

    @property
    def evidence(self) -> str:
        """On which queries it was shown, and how; or why nothing can be claimed."""
        if not self.holds:
            return f"Because {self.reason}."
        return self._evidence

    @property
    def text(self) -> str:
        """The claim in a sentence or two, or that there is none, and why."""
        note = f" {self.note}" if self.note else ""
        if self.configuration is None or self.margin is None:
            return f"{self.title}: nothing can be claimed, because {self.reason}.{note}"
        costs = "".join(f", {one.text}" for one in self.factors)
        return (
            f"{self.title}: {self.configuration} is not worse than {self.reference} by more than "
            f"{self.margin:g} {self.measure}{costs}. {self._evidence}{note}"
        )

    @property
    def _evidence(self) -> str:
        difference = "" if self.difference is None else f"difference {self.difference:+.4f}"
        if self.source == "held-out":
            least = "" if self.at_least is None else f", at least {self.at_least:+.4f}"
            return (
                f"Tested on {self.n_held_out} of {self.n_queries} queries, by which it was not "
                f"chosen: {difference}{least} at level {self.level:.3g}."
            )
        return (
            f"By the sweep's own test on all {self.n_queries} queries, corrected over its family "
            f"at level {self.level:.3g}: {difference}; there are no queries left by which nothing "
            "was chosen."
        )
