"""Comparing runs on every measure that they were scored by."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import numpy as np

from retrieval_eval.comparison.corrections import correct_families
from retrieval_eval.comparison.effects import common_language, standardised, wins_ties_losses
from retrieval_eval.comparison.intervals import difference_intervals
from retrieval_eval.comparison.margins import equivalence_p, noninferiority_p
from retrieval_eval.comparison.omnibus import tukey_p
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.power import detectable_difference, smallest_p
from retrieval_eval.comparison.resampling import DEFAULT_DRAWS, Array, Pairs
from retrieval_eval.comparison.results import (
    CompareOptions,
    Comparison,
    Difference,
    enough_draws,
    families_of,
)
from retrieval_eval.comparison.significance import TESTS, Draws
from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import Evaluation, require_means

__all__ = ["compare"]


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
        return Comparison((), (), (), options, 0, (), options.draws or DEFAULT_DRAWS)
    measures = runs[0].measures
    require_means(measures)
    for name in options.margins:
        if name not in measures:
            raise unknown_name("measure (of a margin)", name, measures)
    values = _aligned(runs)
    chosen = _chosen_pairs([one.run_name for one in runs], pairs, references)
    found: list[dict[str, Any]] = [{} for _ in range(len(chosen) * len(measures))]
    if options.test == "tukey":
        size = len(measures) if options.family == "all" else 1
    else:
        size = len(chosen) * (len(measures) if options.family == "all" else 1)
    draws = enough_draws(options, size)
    for places, paired in _comparable(values, chosen):
        for place, facts in zip(places, _facts(paired, options, draws, threads), strict=True):
            found[place] = facts
    if options.test == "tukey":
        _put_tukey(found, values, chosen, options, draws, threads)
    _put_margins(found, values, chosen, measures, options, draws, threads)
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
        draws,
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
    """Scores of shape (runs, measures, queries), queries in the order of their ids."""
    first = runs[0]
    queries = set(first.query_ids)
    order = sorted(queries)  # what is drawn must not depend on the order of lines
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
        column = {query: place for place, query in enumerate(one.query_ids)}
        parts.append(one.values[:, [column[query] for query in order]])
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
    paired: PairedScores, options: CompareOptions, draws: int, threads: int | None
) -> Iterator[dict[str, Any]]:
    count, nan = len(paired.pairs), float("nan")
    if not paired.n:
        empty: dict[str, Any] = {
            "n": 0,
            "n_differing": 0,
            "wins": 0,
            "ties": 0,
            "losses": 0,
            "ci95": (nan, nan),
        }
        unknown = ("mean_diff", "sd", "effect", "common_language", "p", "detectable")
        empty |= {**dict.fromkeys(unknown, nan), "smallest_p": None}
        yield from (dict(empty) for _ in range(count))
        return
    seed = options.seed
    bounds = difference_intervals(
        paired,
        options.interval,
        draws=options.draws or DEFAULT_DRAWS,
        seed=seed,
        threads=threads,
    )
    p = np.full(count, nan)
    if options.test in TESTS:
        p = TESTS[options.test].p(paired, Draws(draws, seed, threads))
    outcomes = wins_ties_losses(paired)
    effects, common = standardised(paired), common_language(paired)
    detectable = np.full(count, nan)
    if options.alpha < _POWER:
        detectable = detectable_difference(
            np.where(paired.spreads > 0, paired.spreads, nan),
            paired.n,
            alpha=options.alpha,
            power=_POWER,
        )
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
    draws: int,
    threads: int | None,
) -> None:
    """Tukey's test looks at all runs, so a query counts only where every run has a score."""
    measures = values.shape[1]
    for measure in range(measures):
        scores = values[:, measure]
        scores = scores[:, ~np.isnan(scores).any(axis=0)]
        if scores.shape[1]:
            p = tukey_p(scores, chosen, draws=draws, seed=options.seed, threads=threads)
            for facts, one in zip(found[measure::measures], p.tolist(), strict=True):
                facts["p"] = one


def _put_margins(
    found: list[dict[str, Any]],
    values: Array,
    chosen: Pairs,
    measures: Sequence[str],
    options: CompareOptions,
    draws: int,
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
                    draws=draws,
                    seed=options.seed,
                    threads=threads,
                )
        adjusted = correct_families(
            p, families_of(len(p), len(measures), options), options.correction
        )
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
        adjusted = correct_families(p, families_of(len(p), measures, options), options.correction)
    for facts, one in zip(found, adjusted.tolist(), strict=True):
        facts["p_adjusted"] = one
        facts["significant"] = bool(one <= options.alpha)
