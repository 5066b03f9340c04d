"""Pairs of runs, measure by measure: the family of comparisons that a table shows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison.corrections import CORRECTIONS, correct
from retrieval_eval.comparison.effects import common_language, standardised, wins_ties_losses
from retrieval_eval.comparison.intervals import INTERVALS, difference_intervals
from retrieval_eval.comparison.margins import MARGIN_TESTS, equivalence_p, noninferiority_p
from retrieval_eval.comparison.omnibus import tukey_p
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.power import detectable_difference, smallest_p
from retrieval_eval.comparison.resampling import DEFAULT_DRAWS, Array, Pairs
from retrieval_eval.comparison.significance import TESTS, Draws, check_draws
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluation, require_means

__all__ = ["COMPARE_TESTS", "CompareOptions", "Comparison", "Difference", "compare"]

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
    draws, seed : int
        Of everything that resamples, at least 100 draws.

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
    draws: int = DEFAULT_DRAWS
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
        check_draws(self.draws, self.seed)
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
    smallest_p : float
        The least `p` that so many differing queries and draws can give.
    detectable : float
        True difference that a paired t test at level alpha finds with power 0.8.
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
    smallest_p: float
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

        return {one.name: plain(getattr(self, one.name)) for one in fields(self)} | {"test": test}


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
    """

    runs: tuple[str, ...]
    measures: tuple[str, ...]
    differences: tuple[Difference, ...]
    options: CompareOptions
    n_queries: int
    means: tuple[tuple[float, ...], ...]

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
    def notes(self) -> list[str]:
        """What limits these answers, in sentences; empty if nothing does."""
        options, told = self.options, [one for one in self.differences if one.n]
        notes = []
        size = self._family_size
        if told and options.test not in ("t", "sign", "wilcoxon"):
            least = size / (1 + options.draws)
            if least > options.alpha:
                notes.append(
                    f"with {options.draws} draws and {self.family}, no Monte Carlo p can come "
                    f"below {least:.3g}: raise draws"
                )
        hopeless = [one for one in told if one.n_differing and self._least(one) > options.alpha]
        if hopeless:
            first = hopeless[0]
            notes.append(
                f"{len(hopeless)} of {len(self.differences)} comparisons differ on so few queries "
                f"that nothing can be shown: {first.a} and {first.b} on {first.n_differing} by "
                f"{first.measure}, where no p below {min(1.0, self._least(first)):.3g} is possible"
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

    def _least(self, one: Difference) -> float:
        """Smallest adjusted p that its differing queries leave possible, whatever the draws."""
        by_queries = 0.0 if one.smallest_p <= 1 / (1 + self.options.draws) else one.smallest_p
        return by_queries * self._family_size

    @property
    def _family_size(self) -> int:
        if self.options.correction == "none":
            return 1
        if self.options.test == "tukey":
            return 1 if self.options.family == "measure" else len(self.measures)
        whole = max(1, len(self.differences))
        return whole if self.options.family == "all" else whole // max(1, len(self.measures))


def compare(
    *evaluations: Evaluation | Iterable[Evaluation],
    pairs: Literal["reference", "all"] | Sequence[tuple[int, int]] = "reference",
    references: Sequence[str] = (),
    options: CompareOptions | None = None,
    threads: int | None = None,
    **settings: Any,
) -> Comparison:
    """Compare runs on every measure that they were scored by.

    Parameters
    ----------
    *evaluations : Evaluation, or one iterable of them
        Of the same qrels, measures and options. Queries are matched by id.
    pairs : {'reference', 'all'} or sequence of (int, int)
        Every run against the references; all pairs; or places of the evaluations, a and b.
    references : sequence of str
        Names of runs; by default that of the first.
    options : CompareOptions
        How runs are compared.
    threads : int, optional
        By default one for each processor; of no effect on the result.
    **settings
        Single options, such as ``test="t"``, instead of `options`.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If queries, measures or options of the evaluations differ, a measure is no mean over
        queries, or a name or value is not usable.

    Examples
    --------
    >>> from retrieval_eval import evaluate
    >>> qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    >>> one = evaluate(qrels, {"q1": {"a": 1.0}, "q2": {"b": 2.0, "a": 1.0}}, ["RR"])
    >>> other = evaluate(qrels, {"q1": {"a": 1.0}}, ["RR"])
    >>> found = compare(one, other).differences[0]
    >>> found.mean_diff, found.p
    (-0.25, 1.0)
    """
    options = options or CompareOptions(**_known(settings))
    runs = list(_flattened(evaluations))
    if not runs:
        return Comparison((), (), (), options, 0, ())
    measures = runs[0].measures
    require_means(measures)
    for name in options.margins:
        if name not in measures:
            raise unknown_name("measure (of a margin)", name, measures)
    values = _aligned(runs)
    chosen = _chosen_pairs([one.run_name for one in runs], pairs, references)
    found: list[dict[str, Any]] = [{} for _ in range(len(chosen) * len(measures))]
    for places, paired in _comparable(values, chosen):
        for place, facts in zip(places, _facts(paired, options, threads), strict=True):
            found[place] = facts
    if options.test == "tukey":
        _put_tukey(found, values, chosen, options, threads)
    _put_margins(found, values, chosen, measures, options, threads)
    _correct(found, len(measures), options)
    return Comparison(
        tuple(one.run_name for one in runs),
        measures,
        tuple(
            Difference(
                a=runs[chosen[place // len(measures), 0]].run_name,
                b=runs[chosen[place // len(measures), 1]].run_name,
                measure=measures[place % len(measures)],
                **facts,
            )
            for place, facts in enumerate(found)
        ),
        options,
        values.shape[2],
        tuple(
            tuple(
                float(row[~np.isnan(row)].mean()) if not np.isnan(row).all() else float("nan")
                for row in one
            )
            for one in values
        ),
    )


def _known(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [one.name for one in fields(CompareOptions)]
    for name in settings:
        if name not in names:
            raise unknown_name("option", name, names)
    return settings


def _flattened(evaluations: Iterable[Evaluation | Iterable[Evaluation]]) -> Iterator[Evaluation]:
    for one in evaluations:
        if isinstance(one, Evaluation):
            yield one
        else:
            yield from one


def _aligned(runs: Sequence[Evaluation]) -> Array:
    """Scores of shape (runs, measures, queries), queries in the order of the first run."""
    first = runs[0]
    queries = set(first.query_ids)
    parts = []
    for one in runs:
        if np.isinf(one.values).any():
            raise InputError(f"run {one.run_name!r} has a score that is infinite")
        if one.measures != first.measures:
            raise InputError(
                f"run {one.run_name!r} was scored by {', '.join(one.measures)}, "
                f"others by {', '.join(first.measures)}"
            )
        if one.options != first.options:
            raise InputError(
                f"runs {first.run_name!r} and {one.run_name!r} were scored with other options: "
                "score both in the same way"
            )
        if set(one.query_ids) != queries:
            raise InputError(
                f"runs {first.run_name!r} and {one.run_name!r} were scored on different queries: "
                "score both against the same qrels, with judged queries that they do not answer "
                "as 0"
            )
        if one.query_ids == first.query_ids:
            parts.append(one.values)
        else:
            column = {query: place for place, query in enumerate(one.query_ids)}
            parts.append(one.values[:, [column[query] for query in first.query_ids]])
    return np.stack(parts)


def _chosen_pairs(
    names: Sequence[str],
    pairs: Literal["reference", "all"] | Sequence[tuple[int, int]],
    references: Sequence[str],
) -> Pairs:
    if pairs == "all":
        chosen = list(itertools.combinations(range(len(names)), 2))
    elif pairs == "reference":
        for name in references:
            if name not in names:
                raise unknown_name("run (as a reference)", name, names)
            if names.count(name) > 1:
                raise InputError(f"{names.count(name)} runs are named {name!r}: which is meant?")
        places = [names.index(name) for name in dict.fromkeys(references)] or [0]
        chosen = [
            (other, place)
            for rank, place in enumerate(places)
            for other in range(len(names))
            if other != place and other not in places[:rank]
        ]
    elif isinstance(pairs, str):
        raise unknown_name("choice of pairs", pairs, ("reference", "all"))
    else:
        chosen = list(pairs)
    return np.array(chosen, dtype=np.intp).reshape(-1, 2)


def _comparable(values: Array, chosen: Pairs) -> Iterator[tuple[list[int], PairedScores]]:
    """Comparisons that leave out the same queries, and their places in the result.

    Where no score is NaN, these are all.
    """
    runs, measures, n = values.shape
    if not len(chosen):
        return
    undefined = np.isnan(values)
    if not undefined.any():
        masks = {b"": list(range(len(chosen) * measures))}
    else:
        masks = {}
        for place in range(len(chosen) * measures):
            pair, measure = divmod(place, measures)
            mask = undefined[chosen[pair], measure].any(axis=0)
            masks.setdefault(np.packbits(mask).tobytes(), []).append(place)
    rows = values.transpose(1, 0, 2).reshape(measures * runs, n)
    groups = np.repeat(np.arange(measures), runs)
    for mask, places in masks.items():
        left_out = np.unpackbits(np.frombuffer(mask, np.uint8), count=n if mask else 0)
        keep = left_out == 0 if mask else np.ones(n, dtype=bool)
        pair, measure = np.divmod(np.array(places), measures)
        kept = rows[:, keep] if mask else rows
        used = measure[:, None] * runs + chosen[pair]
        needed, position = np.unique(used, return_inverse=True)
        yield (
            places,
            PairedScores(kept[needed], position.reshape(used.shape), groups[needed]),
        )


def _facts(
    paired: PairedScores, options: CompareOptions, threads: int | None
) -> Iterator[dict[str, Any]]:
    count, nan = len(paired.pairs), float("nan")
    if not paired.n:
        empty = {"n": 0, "n_differing": 0, "wins": 0, "ties": 0, "losses": 0, "ci95": (nan, nan)}
        unknown = ("mean_diff", "sd", "effect", "common_language", "p", "smallest_p", "detectable")
        yield from ({**empty, **dict.fromkeys(unknown, nan)} for _ in range(count))
        return
    draws, seed = options.draws, options.seed
    bounds = difference_intervals(paired, options.interval, draws=draws, seed=seed, threads=threads)
    p = np.full(count, nan)
    if options.test in TESTS:
        p = TESTS[options.test].p(paired, Draws(draws, seed, threads))
    outcomes = wins_ties_losses(paired)
    effects, common = standardised(paired), common_language(paired)
    detectable = detectable_difference(paired.spreads, paired.n, alpha=options.alpha, power=_POWER)
    for row in range(count):
        wins, ties, losses = outcomes[row].tolist()
        yield {
            "n": paired.n,
            "n_differing": wins + losses,
            "mean_diff": float(paired.means[row]),
            "ci95": (float(bounds[row, 0]), float(bounds[row, 1])),
            "wins": wins,
            "ties": ties,
            "losses": losses,
            "sd": float(paired.spreads[row]),
            "effect": float(effects[row]),
            "common_language": float(common[row]),
            "p": float(p[row]),
            "smallest_p": smallest_p(options.test, wins + losses, draws),
            "detectable": float(detectable[row]),
        }


_POWER = 0.8


def _put_tukey(
    found: list[dict[str, Any]],
    values: Array,
    chosen: Pairs,
    options: CompareOptions,
    threads: int | None,
) -> None:
    """Tukey's test looks at all runs, so a query counts only where every run has a score."""
    measures = values.shape[1]
    for measure in range(measures):
        scores = values[:, measure]
        scores = scores[:, ~np.isnan(scores).any(axis=0)]
        if scores.shape[1]:
            p = tukey_p(scores, chosen, draws=options.draws, seed=options.seed, threads=threads)
            for facts, one in zip(found[measure::measures], p.tolist(), strict=True):
                facts["p"] = one


def _put_margins(
    found: list[dict[str, Any]],
    values: Array,
    chosen: Pairs,
    measures: Sequence[str],
    options: CompareOptions,
    threads: int | None,
) -> None:
    margins = np.array([options.margins.get(name, np.nan) for name in measures])
    asked = [place for place in range(len(found)) if not np.isnan(margins[place % len(measures)])]
    for name, test in (("noninferior", noninferiority_p), ("equivalent", equivalence_p)):
        p = np.full(len(found), np.nan)
        for places, paired in _comparable(values, chosen) if asked else ():
            wanted = np.isin(places, asked)
            if wanted.any() and paired.n:
                some = PairedScores(paired.values, paired.pairs[wanted], paired.groups)
                where = np.array(places)[wanted]
                p[where] = test(
                    some,
                    margins[where % len(measures)],
                    options.margin_test,
                    draws=options.draws,
                    seed=options.seed,
                    threads=threads,
                )
        adjusted = _adjusted(p, len(measures), options)
        for place in asked:
            found[place]["margin"] = float(margins[place % len(measures)])
            if not np.isnan(p[place]):
                found[place][f"p_{name}"] = float(adjusted[place])
                found[place][name] = bool(adjusted[place] <= options.alpha)


def _correct(found: list[dict[str, Any]], measures: int, options: CompareOptions) -> None:
    p = np.array([facts["p"] for facts in found])
    if options.test == "tukey":  # holds for the pairs of a measure already
        several = options.family == "all" and options.correction != "none"
        adjusted = np.minimum(p * (measures if several else 1), 1.0)
    else:
        adjusted = _adjusted(p, measures, options)
    for facts, one in zip(found, adjusted.tolist(), strict=True):
        facts["p_adjusted"] = one
        facts["significant"] = bool(one <= options.alpha)


def _adjusted(p: Array, measures: int, options: CompareOptions) -> NDArray[np.float64]:
    """Correct p values family by family; NaN stays NaN and counts in no family."""
    adjusted = np.full(len(p), np.nan)
    place = np.arange(len(p))
    for family in range(measures if options.family == "measure" else 1):
        mine = ~np.isnan(p)
        if options.family == "measure":
            mine &= place % measures == family
        adjusted[mine] = correct(p[mine], options.correction)
    return adjusted
