"""Differences of runs in all the forms that ``compare`` prints."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from retrieval_eval.comparison import (
    INTERVALS,
    MARGIN_TESTS,
    Comparison,
    Difference,
    OmnibusTest,
    indistinguishable_groups,
    mean_intervals,
)
from retrieval_eval.comparison.resampling import DEFAULT_DRAWS
from retrieval_eval.evaluation import Evaluation, value_limits
from retrieval_eval.report.forms import Table, latex_table, markdown_table, markdown_text
from retrieval_eval.report.terminal import number, print_table, print_text, shown_p

__all__ = ["ComparisonReport", "Section", "differences_table", "margin_answer"]


@dataclass(frozen=True, eq=False)
class Section:
    """A further table of a report.

    Parameters
    ----------
    key : str
        Its name in JSON.
    title : str
        Its title.
    table : tuple of columns and rows
        What people see.
    content : sequence of mappings
        What JSON shows, in one list for all sections of a key.
    """

    key: str
    title: str
    table: Table
    content: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class ComparisonReport:
    """A comparison of runs, with their means and what else was asked for.

    Parameters
    ----------
    qrels : str
        Where the judgments came from.
    evaluations : tuple of Evaluation
        The runs, as they were compared.
    comparison : Comparison
        Their differences.
    all_pairs : bool
        Whether it is of all pairs, so that groups can be told.
    omnibus : sequence of (str, OmnibusTest)
        Measure and test of all runs at once.
    sections : sequence of Section
        Further tables.
    """

    qrels: str
    evaluations: tuple[Evaluation, ...]
    comparison: Comparison
    all_pairs: bool = False
    omnibus: Sequence[tuple[str, OmnibusTest]] = ()
    sections: Sequence[Section] = ()

    @cached_property
    def _groups(self) -> dict[str, tuple[str, ...]]:
        if not self.all_pairs:
            return {}
        return {
            name: indistinguishable_groups(self.comparison, name)
            for name in self.comparison.measures
        }

    @cached_property
    def _intervals(self) -> list[list[tuple[float, float]]]:
        """95 % intervals of the means, for each run and measure."""
        options = self.comparison.options
        found = []
        for one in self.evaluations:
            rows = []
            for name, row in zip(one.measures, one.values, strict=True):
                (bounds,) = mean_intervals(
                    row[None, ~np.isnan(row)],
                    options.interval,
                    limits=[value_limits(name)],
                    draws=options.draws or DEFAULT_DRAWS,
                    seed=options.seed,
                ).tolist()
                rows.append((bounds[0], bounds[1]))
            found.append(rows)
        return found

    @property
    def family(self) -> str:
        """How the correction was done, in words."""
        options = self.comparison.options
        if options.test == "tukey":
            several = options.family == "all" and options.correction != "none"
            times = " (p times the number of measures)" if several else ""
            return f"tukey over {self.comparison.family}{times}"
        return f"{self.comparison.options.correction} over {self.comparison.family}"

    def json(self) -> str:
        """One object with everything."""
        comparison = self.comparison
        runs = [
            {
                "name": name,
                "means": dict(zip(comparison.measures, map(_plain, means), strict=True)),
                "ci95": {
                    measure: [_plain(low), _plain(high)]
                    for measure, (low, high) in zip(comparison.measures, bounds, strict=True)
                },
                **(
                    {"groups": {measure: of[place] for measure, of in self._groups.items()}}
                    if self._groups
                    else {}
                ),
            }
            for place, (name, means, bounds) in enumerate(
                zip(comparison.runs, comparison.means, self._intervals, strict=True)
            )
        ]
        content: dict[str, Any] = {
            "qrels": self.qrels,
            "n_queries": comparison.n_queries,
            "family": self.family,
            "options": {
                **comparison.options.as_dict(),
                "draws": comparison.draws,
                "evaluation": self.evaluations[0].options.as_dict(),
            },
            "runs": runs,
            "comparisons": [one.as_dict(comparison.options.test) for one in comparison.differences],
            "notes": comparison.notes,
        }
        if self.omnibus:
            content["omnibus"] = [
                {
                    "measure": measure,
                    "test": one.test,
                    "statistic": _plain(one.statistic),
                    "df": list(one.df),
                    "p": one.p,
                    "n": one.n,
                    "n_systems": one.n_systems,
                }
                for measure, one in self.omnibus
            ]
        for section in self.sections:
            content.setdefault(section.key, []).extend(section.content)
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def csv(self) -> str:
        """One row for each pair and measure; what is not known is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        records = [one.as_dict(self.comparison.options.test) for one in self.comparison.differences]
        for record in records:
            record["ci95_low"], record["ci95_high"] = record.pop("ci95")
        names = list(records[0]) if records else []
        writer.writerow(names)
        for record in records:
            writer.writerow(["" if record[name] is None else record[name] for name in names])
        return text.getvalue().rstrip("\n")

    def _titled(self) -> Iterator[tuple[str, Table]]:
        yield "", self._means()
        yield "", differences_table(self.comparison)
        if self.all_pairs and len(self.evaluations) > 2:
            for place, measure in enumerate(self.comparison.measures):
                yield f"{measure}: row minus column", self._matrix(place)
        for section in self.sections:
            yield section.title, section.table

    def _means(self) -> Table:
        comparison = self.comparison
        marked = {(one.a, one.measure) for one in comparison.differences if one.significant}
        single = len({one.b for one in comparison.differences}) == 1 and not self.all_pairs
        cells = []
        for place, name in enumerate(comparison.runs):
            line = [name]
            for column, measure in enumerate(comparison.measures):
                low, high = self._intervals[place][column]
                mark = ""
                if single and (name, measure) in marked:
                    mark = "†"
                elif self._groups:
                    mark = f" {self._groups[measure][place]}"
                shown = number(_plain(comparison.means[place][column]), 4)
                bounds = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
                line.append(f"{shown}{mark}{bounds}")
            cells.append(line)
        return [("run", False), *((measure, True) for measure in comparison.measures)], cells

    def _matrix(self, place: int) -> Table:
        runs, measures = self.comparison.runs, self.comparison.measures
        of_measure = iter(self.comparison.differences[place :: len(measures)])
        cells = [["" for _ in runs] for _ in runs]
        for i in range(len(runs)):
            for j in range(i + 1, len(runs)):
                one = next(of_measure)
                mark = "†" if one.significant else ""
                if one.n:
                    cells[i][j] = f"{one.mean_diff:+.4f}{mark}"
                    cells[j][i] = f"{0.0 - one.mean_diff:+.4f}{mark}"
        columns = [("", False), *((name, True) for name in runs)]
        return columns, [[name, *line] for name, line in zip(runs, cells, strict=True)]

    def show(self) -> None:
        """Print tables."""
        for title, table in self._titled():
            if title:
                print_text(title)
            print_table(*table)

    def markdown(self) -> str:
        """Tables in Markdown, and what their marks mean."""
        parts = []
        for title, table in self._titled():
            parts += [*([f"**{markdown_text(title)}**"] if title else []), markdown_table(table)]
        return "\n\n".join([*parts, *map(markdown_text, self.legend)])

    def latex(self) -> str:
        """Tables in LaTeX, for the package booktabs; the legend as comments."""
        parts = []
        for title, table in self._titled():
            parts.append((f"% {title}\n" if title else "") + latex_table(table))
        return "\n\n".join([*parts, "\n".join(f"% {line}" for line in self.legend)])

    @property
    def legend(self) -> list[str]:
        """What was done, and what limits it, in sentences."""
        comparison, options = self.comparison, self.comparison.options
        drawn = options.test in ("randomization", "bootstrap", "tukey")
        done = f"{options.test} test{f', {comparison.draws} draws' if drawn else ''}"
        first = (
            f"{comparison.n_queries} queries; differences are a minus b; two-sided paired {done}; "
            f"† significant at level {options.alpha:g} after correction: {self.family}; "
            f"[low, high]: 95 % interval ({INTERVALS[options.interval]}), uncorrected; detectable: "
            "true difference that an uncorrected t test would find with a chance of 0.8"
        )
        lines = [first]
        if self._groups:
            lines.append("runs that share a letter do not differ significantly")
        if options.margins:
            lines.append(
                f"margins by a {MARGIN_TESTS[options.margin_test]}, corrected over the margins "
                "alike"
            )
        lines += [
            f"{measure}, all {one.n_systems} runs on {one.n} queries: {one.test} "
            f"{'F' if one.test == 'anova' else 'chi square'}({', '.join(map(str, one.df))}) = "
            f"{one.statistic:.4g}, p {shown_p(one.p)}"
            for measure, one in self.omnibus
        ]
        return lines + [f"note: {note}" for note in comparison.notes]


def differences_table(comparison: Comparison, pairs: bool = True) -> Table:
    """Return one row for each pair and measure.

    Parameters
    ----------
    comparison : Comparison
        What was compared.
    pairs : bool
        Whether the names of the runs are shown.
    """
    margins = comparison.options.margins
    columns = [
        *([("a", False), ("b", False)] if pairs else []),
        ("measure", False),
        ("a\u00a0-\u00a0b", True),
        ("win/tie/loss", True),
        ("effect", True),
        ("p", True),
        ("adjusted p", True),
        ("detectable", True),
        *([("not worse by", False), ("equal up to", False)] if margins else []),
    ]
    cells = []
    for one in comparison.differences:
        line = [one.a, one.b] if pairs else []
        line += [
            one.measure,
            shown_difference(one),
            f"{one.wins}/{one.ties}/{one.losses}",
            number(_plain(one.effect), 2),
            "" if math.isnan(one.p) else shown_p(one.p),
            "" if math.isnan(one.p_adjusted) else shown_p(one.p_adjusted),
            number(_plain(one.detectable), 4),
        ]
        if margins:
            line += [margin_answer(one.margin, one.noninferior, one.p_noninferior)]
            line += [margin_answer(one.margin, one.equivalent, one.p_equivalent)]
        cells.append(line)
    return columns, cells


def shown_difference(one: Difference) -> str:
    """Print a mean difference, its mark and its interval; empty if there is none."""
    if not one.n:
        return ""
    low, high = one.ci95
    bounds = "" if math.isnan(low) else f" [{low:+.4f}, {high:+.4f}]"
    return f"{one.mean_diff:+.4f}{'†' if one.significant else ''}{bounds}"


def margin_answer(margin: float | None, held: bool | None, p: float | None) -> str:
    """Print whether a margin holds, with its p; empty if there is none."""
    if margin is None:
        return ""
    if held is None or p is None:
        return f"{margin:g}: not to be told"
    return f"{margin:g}: {'yes' if held else 'not shown'} (p {shown_p(p)})"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
