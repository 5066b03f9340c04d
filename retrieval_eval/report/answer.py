"""The answer of a sweep in a sentence: what is cheaper and not worse, or why that is not known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retrieval_eval.comparison import MARGIN_TESTS
from retrieval_eval.errors import unknown_name
from retrieval_eval.report.claims import Claim, Factor
from retrieval_eval.report.groups import FinishedSweep
from retrieval_eval.selection import COSTS, Cost, Selection, SweepTables, select
from retrieval_eval.selection import Answer as Selected

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LEAST_QUERIES", "Answer", "answer"]

LEAST_QUERIES = 100
"""Queries that are split into two parts; docs/selection.md has no error rates for fewer."""

_DEFAULT_MEASURE = "nDCG@10"
_DEFAULT_COSTS = ("latency_p95_s", "size_bytes", "build_s")


@dataclass(frozen=True)
class Answer:
    """What a sweep answers.

    Parameters
    ----------
    measure, margin, alpha : str, float or None, float
        What may be lost, and the accepted chance of a false claim.
    cost : str
        What is to be small.
    claims : tuple of Claim
        One for each dataset, filter and encoder, in the order of the rows.
    conditions : tuple of str
        Under which they hold, in sentences.
    """

    measure: str
    margin: float | None
    alpha: float
    cost: str
    claims: tuple[Claim, ...]
    conditions: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether anything is claimed of any dataset."""
        return any(one.holds for one in self.claims)

    @property
    def text(self) -> str:
        """One line for each claim, then one for each condition."""
        return "\n".join([*(one.text for one in self.claims), *self.conditions])


def answer(
    results: FinishedSweep,
    *,
    measure: str | None = None,
    margin: float | None = None,
    cost: str | None = None,
    alpha: float | None = None,
    tune: float = 0.5,
    seed: int = 0,
    least_queries: int = LEAST_QUERIES,
) -> Answer:
    """Find, for each dataset, filter and encoder, the cheapest configuration that is good enough.

    Good enough is: shown to lose less than the margin against the reference. With `least_queries`
    or more, that is shown on held-out queries, by :func:`retrieval_eval.selection.select`. With
    fewer, it is the sweep's own test on all queries that says so, if the sweep had this margin.
    Which of the two it is depends on the number of queries alone, never on what they find.

    Parameters
    ----------
    results : Results
        A finished sweep.
    measure : str, optional
        By default the first that the sweep sets a margin for, or nDCG@10, or the first.
    margin : float, optional
        How much of it may be lost; by default the sweep's. Without one nothing can be claimed.
    cost : str, optional
        A column of :data:`retrieval_eval.selection.COSTS`; by default ``latency_p95_s``, or, if no
        times were measured, ``size_bytes`` or ``build_s``.
    alpha : float, optional
        By default the sweep's.
    tune, seed : float, int
        Share of the queries to choose by, and the seed by which they are dealt.
    least_queries : int
        From which number on queries are split.

    Raises
    ------
    InputError
        For an unknown measure or cost, or a number out of range.
    """
    tables = SweepTables(results.rows, results.per_query, results.manifest)
    compared = results.manifest["sweep"]["compare"]
    margins: Mapping[str, float] = compared["margin"]
    measures = list(results.manifest["sweep"]["measures"])
    if measure is None:
        measure = next(
            (one for one in (*margins, _DEFAULT_MEASURE) if one in measures), measures[0]
        )
    elif measure not in measures:
        raise unknown_name("measure", measure, measures)
    if cost is not None and cost not in COSTS:
        raise unknown_name("cost", cost, COSTS)
    asked = _Question(
        measure,
        margins.get(measure) if margin is None else margin,
        cost or _default_cost(tables.rows),
        compared["alpha"] if alpha is None else alpha,
        compared,
        least_queries,
    )
    selected = _select(tables, asked, tune, seed)
    claims = tuple(_claims(tables, results.comparisons, selected, asked))
    conditions = tuple(_conditions(tables, claims, selected, asked))
    return Answer(asked.measure, asked.margin, asked.alpha, asked.cost, claims, conditions)


@dataclass(frozen=True)
class _Question:
    measure: str
    margin: float | None
    cost: str
    alpha: float
    compared: Mapping[str, Any]
    least_queries: int


def _default_cost(rows: pl.DataFrame) -> str:
    return next(
        (one for one in _DEFAULT_COSTS if one in rows.columns and rows[one].is_not_null().any()),
        _DEFAULT_COSTS[0],
    )


def _select(tables: SweepTables, asked: _Question, tune: float, seed: int) -> Selection | None:
    """Choose and test in datasets with queries enough; None if there are none."""
    rows = tables.rows
    if asked.margin is None:
        return None
    able = rows.filter(rows["is_reference"] & (rows["status"] == "ok"))
    many = able.filter(able["n_queries"] >= asked.least_queries)
    datasets = many["dataset"].unique(maintain_order=True).to_list()
    if not datasets:
        return None
    return select(
        tables,
        measure=asked.measure,
        margin=asked.margin,
        cost=asked.cost,
        alpha=asked.alpha,
        datasets=datasets,
        tune=tune,
        seed=seed,
    )


def _claims(
    tables: SweepTables,
    comparisons: pl.DataFrame,
    selected: Selection | None,
    asked: _Question,
) -> Iterator[Claim]:
    found = {
        (one.places[0].dataset, one.places[0].filter, one.encoder): one
        for one in (selected.answers if selected else ())
        if not one.is_joint
    }
    held = _own_margins(comparisons, asked)
    for (dataset, filter_), frame in tables.cells():
        for encoder in frame["encoder"].unique(maintain_order=True):
            rows = frame.filter(frame["encoder"] == encoder).to_dicts()
            reference = next((row for row in rows if row["is_reference"]), None)
            if reference is None and tables.rows["is_reference"].any():
                continue  # a combination, which is compared with its parts
            facts = _facts(dataset, filter_, encoder, reference, asked)
            if reference is None:
                why = "the sweep has no reference: set compare.reference"
            elif reference["status"] != "ok":
                why = f"its reference, {reference['configuration']}, was not run"
            elif asked.margin is None:
                why = "no margin was given: set compare.margin in the sweep, or ask with one"
            elif len(rows) == 1:
                why = "nothing was run beside the reference"
            elif reference["n_queries"] >= asked.least_queries:
                yield _from_selection(
                    found[dataset, filter_, encoder], facts, rows, reference, held, asked
                )
                continue
            else:
                yield _from_sweep(facts, rows, reference, held, asked)
                continue
            yield Claim(**facts, configuration=None, row_id=None, source="nothing", reason=why)


def _facts(
    dataset: str,
    filter_: str | None,
    encoder: str,
    reference: Mapping[str, Any] | None,
    asked: _Question,
) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "filter": filter_,
        "encoder": encoder,
        "reference": reference["configuration"] if reference else None,
        "reference_id": reference["row_id"] if reference else None,
        "measure": asked.measure,
        "margin": asked.margin,
        "level": asked.alpha,
        "n_queries": (reference["n_queries"] or 0) if reference else 0,
    }


def _own_margins(
    comparisons: pl.DataFrame, asked: _Question
) -> dict[str, Mapping[str, Any]] | None:
    """Find the sweep's own tests of this margin; None if it made none."""
    if asked.margin is None or asked.compared["margin"].get(asked.measure) != asked.margin:
        return None
    if asked.alpha != asked.compared["alpha"]:
        return None
    return {
        one["candidate_row_id"]: one
        for one in comparisons.iter_rows(named=True)
        if one["question"] == "index" and one["measure"] == asked.measure
    }


def _from_selection(
    found: Selected,
    facts: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    reference: Mapping[str, Any],
    held: Mapping[str, Mapping[str, Any]] | None,
    asked: _Question,
) -> Claim:
    chosen, certificate = found.chosen, found.certificate
    claimed = {**facts, "level": found.level, "source": "held-out"}
    if chosen is None or certificate is None:
        if found.nearest is not None and found.nearest.held_out:
            claimed["n_held_out"] = found.nearest.held_out[0].n
        own = _cheaper(rows, reference, held, asked)
        note = (
            f"The sweep's own test, on all queries, does show it of {own[0]['configuration']}; "
            "these are the queries by which it would have been chosen, too."
            if own
            else ""
        )
        reason = _why_not(found, reference, asked)
        return Claim(**claimed, configuration=None, row_id=None, reason=reason, note=note)
    row = next(row for row in rows if row["row_id"] == chosen.row_ids[0])
    unseen = certificate.unseen[0]
    return Claim(
        **claimed,
        configuration=chosen.configuration,
        row_id=row["row_id"],
        n_held_out=chosen.held_out[0].n,
        difference=certificate.difference[0],
        at_least=certificate.lower_bound[0],
        p=certificate.p,
        factors=_factors(row, reference, asked.cost),
        note=(
            ""
            if unseen is None
            else "No query tested on differs: losses on less than "
            f"{100 * unseen:.2g} % of all queries may have been missed."
        ),
    )


def _why_not(found: Selected, reference: Mapping[str, Any], asked: _Question) -> str:
    near = found.nearest
    margin = f"{asked.margin:g} {asked.measure}"
    if near is None:
        return _nothing_cheaper([one.outcome for one in found.candidates], reference, asked)
    if not near.held_out:
        return (
            f"everything that costs less than {reference['configuration']} loses {margin} or more "
            f"on the queries to choose by; the nearest is {near.configuration}"
        )
    part = near.held_out[0]
    words = (
        f"{near.configuration}, the surest of those that cost less, is not shown to lose less than "
        f"{margin}: difference {part.difference:+.4f} on {part.n} held-out queries, p {part.p:.3f}"
    )
    if found.queries_needed is not None:
        words += (
            f"; about {found.queries_needed} queries would show it four times in five, if the "
            "difference is what it seems"
        )
    elif found.queries_needed_if_equal is not None:
        words += (
            f"; about {found.queries_needed_if_equal} queries would show it four times in five, if "
            "it is as good as the reference"
        )
    return words


def _nothing_cheaper(
    outcomes: Sequence[str], reference: Mapping[str, Any], asked: _Question
) -> str:
    if outcomes and set(outcomes) <= {"not run"}:
        return "no other configuration was run to its end"
    if "unmeasured" in outcomes:
        return f"{asked.cost} was not measured, so that it is unknown which one is cheaper"
    return f"no configuration is cheaper than {reference['configuration']} by {asked.cost}"


def _from_sweep(
    facts: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    reference: Mapping[str, Any],
    held: Mapping[str, Mapping[str, Any]] | None,
    asked: _Question,
) -> Claim:
    margin = f"{asked.margin:g} {asked.measure}"
    few = f"{reference['n_queries']} queries are too few to choose by some and test on others"
    if held is None:
        reason = f"{few}, and the sweep itself did not test a loss of {margin} at this level"
        return Claim(**facts, configuration=None, row_id=None, source="nothing", reason=reason)
    cheaper = _cheaper(rows, reference, held, asked)
    if not cheaper:
        others = [row for row in rows if row is not reference and row["status"] == "ok"]
        costs = [_cost(row, reference, asked.cost) for row in others]
        own = _cost(reference, reference, asked.cost)
        if any(one < own for one in costs):
            reason = (
                f"the sweep's own test on all {reference['n_queries']} queries shows of nothing "
                f"that costs less than {reference['configuration']} that it loses less than "
                f"{margin}"
            )
        else:
            outcomes = ["unmeasured" if math.isnan(one + own) else "" for one in costs]
            reason = _nothing_cheaper(outcomes or ["not run"], reference, asked)
        return Claim(**facts, configuration=None, row_id=None, source="all queries", reason=reason)
    row, test = cheaper[0], held[cheaper[0]["row_id"]]
    return Claim(
        **facts,
        configuration=row["configuration"],
        row_id=row["row_id"],
        source="all queries",
        difference=test["difference"],
        p=test["p_noninferior"],
        factors=_factors(row, reference, asked.cost),
    )


def _cost(row: Mapping[str, Any], reference: Mapping[str, Any], cost: str) -> float:
    return Cost.parse(cost).of(row, reference)


def _cheaper(
    rows: Sequence[Mapping[str, Any]],
    reference: Mapping[str, Any],
    held: Mapping[str, Mapping[str, Any]] | None,
    asked: _Question,
) -> list[Mapping[str, Any]]:
    """Find rows that cost less than the reference and hold the margin by the sweep's own test."""
    own = _cost(reference, reference, asked.cost)
    able = [
        row for row in rows if held and row["row_id"] in held and held[row["row_id"]]["noninferior"]
    ]
    cheaper = [row for row in able if _cost(row, reference, asked.cost) < own]
    return sorted(cheaper, key=lambda row: _cost(row, reference, asked.cost))


def _factors(row: Mapping[str, Any], reference: Mapping[str, Any], cost: str) -> tuple[Factor, ...]:
    both = (row, reference)
    measured = [name for name in COSTS if all(one.get(name) is not None for one in both)]
    latency = cost if cost.startswith("latency") else "latency_p95_s"
    wanted = dict.fromkeys((cost, latency, "size_bytes", "peak_rss_bytes", "build_s"))
    found = []
    for name in wanted:
        if name in measured:
            phase = "building" if name in ("build_s", "train_s") else "searching"
            timed = not name.endswith("_bytes")
            noisy = timed and any(phase in (one.get("noise") or "") for one in both)
            found.append(Factor(name, float(row[name]), float(reference[name]), noisy))
    return tuple(found)


def _conditions(
    tables: SweepTables,
    claims: Sequence[Claim],
    selected: Selection | None,
    asked: _Question,
) -> Iterator[str]:
    sweep = tables.manifest["sweep"]
    timing = sweep["timing"]
    setting = f"k={sweep['k']}, {sweep['metric']}, cheapest by {asked.cost}"
    if timing is not None:
        threads = f"{timing['threads']} thread{'' if timing['threads'] == 1 else 's'}"
        setting += f"; timed with {threads} on {tables.manifest['machine']['processor']}"
    yield f"Conditions: {setting}."
    sources = {one.source for one in claims}
    if selected is not None and "held-out" in sources:
        options = selected.options
        yield (
            f"Held out: chosen on {options.tune:g} of the queries, dealt by seed {options.seed}, "
            f"and tested on the others by a {MARGIN_TESTS['hall']}; the chance that any such claim "
            f"is false is at most {asked.alpha:g}."
        )
    if "all queries" in sources:
        compared = asked.compared
        yield (
            f"The sweep's own test: {MARGIN_TESTS[compared['margin_test']]}, on all queries, "
            f"correction {compared['correction']}."
        )
    told = {(one.dataset, one.filter, one.encoder) for one in claims}
    left = [
        encoder
        for dataset, filter_, encoder in tables.rows.select(
            "dataset", "filter", "encoder"
        ).iter_rows()
        if (dataset, filter_, encoder) not in told
    ]
    if left:
        names = ", ".join(dict.fromkeys(left))
        yield f"Without a reference of their own, and so not spoken of: {names}."
