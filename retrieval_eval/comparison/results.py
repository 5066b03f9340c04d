"""How runs are compared, and what comes out: differences, and the family that they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.corrections import CORRECTIONS
from retrieval_eval.comparison.intervals import INTERVALS
from retrieval_eval.comparison.margins import MARGIN_TESTS
from retrieval_eval.comparison.resampling import DEFAULT_DRAWS, check_draws
from retrieval_eval.comparison.significance import TESTS
from retrieval_eval.errors import InputError, unknown_name

__all__ = [
    "COMPARE_TESTS",
    "CompareOptions",
    "Comparison",
    "Difference",
    "enough_draws",
    "families_of",
    "multiplier",
]

COMPARE_TESTS: Mapping[str, str] = {
    **{name: spec.describe for name, spec in TESTS.items()},
    "tukey": "randomised Tukey HSD: largest difference of any two runs when each query's scores "
    "are dealt anew; p values hold for all pairs of a measure together",
}


@dataclass(frozen=True)
class CompareOptions:
    """How runs are compared.

    Parameters
    ----------
    test : {'randomization', 't', 'wilcoxon', 'sign', 'bootstrap', 'tukey'}
        Two-sided paired test; tukey looks at all runs at once.
    correction : {'none', 'bonferroni', 'holm', 'bh', 'by'}
        For the number of comparisons.
    family : {'all', 'measure'}
        What is corrected together: all pairs and measures, or all pairs of each measure.
    alpha : float
        Level of all tests, between 0 and 1.
    margins : mapping of str to float
        For some measures, the loss that is accepted, above 0: adds tests of non-inferiority and of
        equivalence, which form a family of their own.
    margin_test : {'hall', 't', 'randomization', 'bootstrap'}
        How margins are tested.
    interval : {'t', 'percentile', 'bca'}
        Of mean differences, always at 95 %.
    draws : int or None
        Of everything that resamples, at least 100. None: 10,000, and more for tests of a family so
        large that no p could come below alpha otherwise.
    seed : int
        Of everything that resamples.

    Raises
    ------
    InputError
        If a value is none of these.
    """

    test: str = "randomization"
    correction: str = "holm"
    family: Literal["all", "measure"] = "all"
    alpha: float = 0.05
    margins: Mapping[str, float] = field(default_factory=dict)
    margin_test: str = "hall"
    interval: str = "t"
    draws: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("test", self.test, COMPARE_TESTS),
            ("correction", self.correction, CORRECTIONS),
            ("family", self.family, ("all", "measure")),
            ("test of a margin", self.margin_test, MARGIN_TESTS),
            ("interval", self.interval, INTERVALS),
        ):
            if name not in known:
                raise unknown_name(kind, name, known)
        if not 0 < self.alpha < 1:
            raise InputError(f"alpha is {self.alpha}: it must lie between 0 and 1")
        check_draws(DEFAULT_DRAWS if self.draws is None else self.draws, self.seed)
        for name, margin in self.margins.items():
            if not 0 < margin < np.inf:
                raise InputError(f"the margin of {name} is {margin}: it must be above 0")

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {
            "margins": dict(self.margins)
        }


@dataclass(frozen=True)
class Difference:
    """One run, `a`, against another, `b`, on one measure; differences are a minus b.

    What cannot be told is NaN, or None for an answer.

    Parameters
    ----------
    a, b : str
        Names of the runs: the candidate, and the reference where there is one.
    measure : str
        The measure.
    n, n_differing : int
        Queries compared, and those whose scores differ. Queries with a score of NaN are left out.
    mean_diff : float
        Mean of a minus b.
    ci95 : (float, float)
        Its 95 % interval; NaN for fewer than two queries.
    wins, ties, losses : int
        Queries on which a scores higher, equal, lower than b.
    sd : float
        Standard deviation of the differences (n - 1); NaN for fewer than two queries.
    effect : float
        Mean over standard deviation of the differences; NaN where all differ by the same.
    common_language : float
        Share of queries on which a is better, ties counted half.
    p, p_adjusted : float
        Two-sided, before and after correction over the family.
    significant : bool
        Whether `p_adjusted` is at most alpha.
    smallest_p : float or None
        The least `p` that so many differing queries and draws can give; None for t, bootstrap and
        tukey, where no such bound is known.
    detectable : float
        True difference that a paired t test at level alpha, uncorrected, finds with power 0.8; NaN
        for fewer than two queries, where there is no spread, and from an alpha of 0.8 on.
    margin : float or None
        What may be lost, if one was asked for.
    p_noninferior, p_equivalent : float or None
        That a is worse by the margin or more; that the two differ by the margin or more. Adjusted
        over the margins of the family. None without a margin, or if not to be told.
    noninferior, equivalent : bool or None
        Whether these are at most alpha.
    """

    a: str
    b: str
    measure: str
    n: int
    n_differing: int
    mean_diff: float
    ci95: tuple[float, float]
    wins: int
    ties: int
    losses: int
    sd: float
    effect: float
    common_language: float
    p: float
    p_adjusted: float
    significant: bool
    smallest_p: float | None
    detectable: float
    margin: float | None = None
    p_noninferior: float | None = None
    p_equivalent: float | None = None
    noninferior: bool | None = None
    equivalent: bool | None = None

    def as_dict(self, test: str) -> dict[str, Any]:
        """Return what JSON shows, with the name of the test; what is not known as None."""

        def plain(value: Any) -> Any:
            if isinstance(value, tuple):
                return [plain(one) for one in value]
            return None if isinstance(value, float) and not np.isfinite(value) else value

        shown = {one.name: plain(getattr(self, one.name)) for one in fields(self)}
        if shown["p_adjusted"] is None:
            shown["significant"] = None
        return shown | {"test": test}


@dataclass(frozen=True)
class Comparison:
    """All differences of one family, and how they were tested.

    Parameters
    ----------
    runs : tuple of str
        Names of the runs, in the order given.
    measures : tuple of str
        The measures.
    differences : tuple of Difference
        Pair by pair, measure by measure.
    options : CompareOptions
        How they were tested.
    n_queries : int
        Queries that the runs were scored on.
    means : tuple of tuples of float
        Mean of each run (outer) by each measure, over the queries where it is defined.
    draws : int
        Draws of the tests.
    """

    runs: tuple[str, ...]
    measures: tuple[str, ...]
    differences: tuple[Difference, ...]
    options: CompareOptions
    n_queries: int
    means: tuple[tuple[float, ...], ...]
    draws: int

    @property
    def family(self) -> str:
        """What the correction is over, in words."""
        pairs = len(self.differences) // max(1, len(self.measures))
        shown = f"{pairs} pair{'' if pairs == 1 else 's'} of runs"
        if self.options.test == "tukey":
            shown = f"all pairs of {len(self.runs)} runs, by the test itself"
        if self.options.family == "measure":
            return f"{shown}, for each measure on its own"
        total = len(self.measures)
        return (
            f"{len(self.differences)} comparison{'' if len(self.differences) == 1 else 's'}: "
            f"{shown} x {total} measure{'' if total == 1 else 's'}"
        )

    @property
    def cautions(self) -> list[str]:
        """What limits all these answers, in sentences; empty if nothing does."""
        options, told = self.options, [one for one in self.differences if one.n]
        notes = []
        if told and options.test in ("randomization", "bootstrap", "tukey"):
            least = self.multiplier_of_all / (1 + self.draws)
            if least > options.alpha:
                notes.append(
                    f"with {self.draws} draws and {self.family}, no Monte Carlo p can come "
                    f"below {least:.3g}: raise draws"
                )
        for measure in self.measures:
            some = [one for one in self.differences if one.measure == measure]
            left_out = max((self.n_queries - one.n for one in some), default=0)
            if left_out:
                notes.append(
                    f"{measure} is not defined on up to {left_out} of {self.n_queries} queries: "
                    "they are left out of its comparisons"
                )
        caution = TESTS[options.test].caution if options.test in TESTS else ""
        if caution:
            notes.append(f"the test {options.test!r} {caution}: docs/validity.md")
        if options.margins and options.margin_test != "hall":
            notes.append(
                f"a loss of exactly the margin is accepted too often by {options.margin_test!r} "
                "where differences are skewed: docs/validity.md"
            )
        return notes

    @property
    def notes(self) -> list[str]:
        """Cautions, and whether some runs differ on too few queries for any answer."""
        notes = self.cautions
        bounds = {
            place: one.smallest_p * self.multiplier_of_one
            for place, one in enumerate(self.differences)
            if one.n_differing and one.smallest_p and one.smallest_p > 1 / (1 + self.draws)
        }
        hopeless = [place for place, smallest in bounds.items() if smallest > self.options.alpha]
        if hopeless:
            first = self.differences[hopeless[0]]
            which = (
                "the only comparison differs"
                if len(self.differences) == 1
                else f"{len(hopeless)} of {len(self.differences)} comparisons differ"
            )
            notes.append(
                f"{which} on so few queries that nothing can be shown: {first.a} and {first.b} on "
                f"{first.n_differing} by {first.measure}, where no p below "
                f"{min(1.0, bounds[hopeless[0]]):.3g} is possible"
            )
        return notes

    @property
    def family_size(self) -> int:
        """How many comparisons are corrected together."""
        if self.options.test == "tukey":
            return 1 if self.options.family == "measure" else max(1, len(self.measures))
        whole = max(1, len(self.differences))
        return whole if self.options.family == "all" else whole // max(1, len(self.measures))

    @property
    def multiplier_of_all(self) -> float:
        """What every p of the family is multiplied by if all are as small as can be."""
        return multiplier(self.options, self.family_size)

    @property
    def multiplier_of_one(self) -> float:
        """What a single p is multiplied by at least, if all others are smaller."""
        stepwise = self.options.correction in ("holm", "bh") and self.options.test != "tukey"
        if self.options.correction == "by" and self.options.test != "tukey":
            return multiplier(self.options, self.family_size)
        return 1.0 if stepwise else multiplier(self.options, self.family_size)


def multiplier(options: CompareOptions, size: int) -> float:
    """Return what p values of a family are multiplied by if all are equal."""
    if options.correction in ("none", "bh") and options.test != "tukey":
        return 1.0
    if options.correction == "none":
        return 1.0
    if options.correction == "by" and options.test != "tukey":
        return float((1 / np.arange(1, size + 1)).sum())
    return float(size)


def enough_draws(options: CompareOptions, size: int) -> int:
    """Return the draws asked for, or ten times what a family of that size needs at the least."""
    if options.draws is not None:
        return options.draws
    wanted = int(np.ceil(_SPARE * multiplier(options, max(1, size)) / options.alpha))
    return min(max(DEFAULT_DRAWS, wanted), _MOST_DRAWS)


_SPARE = 10
_MOST_DRAWS = 1_000_000


def families_of(count: int, measures: int, options: CompareOptions) -> NDArray[np.intp]:
    """Return the family of each of `count` comparisons, which go measure by measure in turn."""
    place = np.arange(count)
    return place % max(1, measures) if options.family == "measure" else np.zeros_like(place)
