"""What a conclusion stands on, as tables: judgments, queries, documents without a judgment."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retrieval_eval.comparison.robustness import (
    Discriminativeness,
    LabelNoise,
    Slices,
    UnjudgedEffect,
)
from retrieval_eval.report.comparisons import Section, differences_table
from retrieval_eval.report.forms import latex_table, markdown_table, markdown_text
from retrieval_eval.report.terminal import number, print_table, print_text, shown_p

__all__ = [
    "RobustnessReport",
    "discriminativeness_section",
    "noise_section",
    "slices_section",
    "unjudged_section",
]


@dataclass(frozen=True, eq=False)
class RobustnessReport:
    """Several looks at one comparison.

    Parameters
    ----------
    qrels : str
        Where the judgments came from.
    runs : tuple of str
        Names of the runs.
    sections : sequence of Section
        The looks.
    notes : sequence of str
        What limits them.
    options : mapping
        How runs were scored and compared.
    """

    qrels: str
    runs: tuple[str, ...]
    sections: Sequence[Section]
    notes: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> str:
        """One object, with a list for each look."""
        content: dict[str, Any] = {
            "qrels": self.qrels,
            "runs": list(self.runs),
            "options": dict(self.options),
        }
        for section in self.sections:
            content.setdefault(section.key, []).extend(section.content)
        content["notes"] = list(self.notes)
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def show(self) -> None:
        """Print tables."""
        for section in self.sections:
            print_text(section.title)
            print_table(*section.table)

    def markdown(self) -> str:
        """Tables in Markdown."""
        parts = []
        for section in self.sections:
            parts += [f"**{markdown_text(section.title)}**", markdown_table(section.table)]
        return "\n\n".join([*parts, *(f"note: {note}" for note in self.notes)])

    def latex(self) -> str:
        """Tables in LaTeX, for the package booktabs; titles and notes as comments."""
        parts = [f"% {one.title}\n{latex_table(one.table)}" for one in self.sections]
        return "\n\n".join([*parts, *(f"% note: {note}" for note in self.notes)])


def unjudged_section(effects: Sequence[UnjudgedEffect]) -> Section:
    """Show differences with and without documents that nobody judged."""
    columns = [
        ("a", False),
        ("b", False),
        ("measure", False),
        ("judged in a", True),
        ("in b", True),
        ("a\u00a0-\u00a0b", True),
        ("adjusted p", True),
        ("condensed a\u00a0-\u00a0b", True),
        ("adjusted p", True),
        ("", False),
    ]
    cells = [
        [
            one.a,
            one.b,
            one.measure,
            f"{one.judged_a:.1%} of {one.depth}",
            f"{one.judged_b:.1%} of {one.depth}",
            f"{one.mean_diff:+.4f}",
            _shown(one.p_adjusted),
            "" if math.isnan(one.condensed_diff) else f"{one.condensed_diff:+.4f}",
            _shown(one.condensed_p_adjusted),
            "changes" if one.changes else "",
        ]
        for one in effects
    ]
    title = (
        "Documents without a judgment: as not relevant, and left out of the lists (condensed); "
        "'changes': significant one way only, or both ways in opposite directions"
    )
    return Section("unjudged", title, (columns, cells), [one.as_dict() for one in effects])


def slices_section(slices: Slices, what: str) -> Section:
    """Show differences slice by slice.

    Parameters
    ----------
    slices : Slices
        What was compared.
    what : str
        What the slices are by, in words.
    """
    columns: list[tuple[str, bool]] = []
    cells = []
    for one in slices.slices:
        found, rows = differences_table(one.comparison)
        columns = [("slice", False), ("queries", True), *found]
        cells += [[one.label, str(one.n), *row] for row in rows]
    # Columns of words come first, so that a narrow terminal repeats them all.
    order = [0, 2, 3, 4, 1, *range(5, len(columns))]
    table = [columns[i] for i in order], [[row[i] for i in order] for row in cells]
    title = f"Slices of the queries by {what}; † significant after correction over {slices.family}"
    return Section("slices", title, table, [slices.as_dict() | {"by": what}])


def noise_section(noise: LabelNoise) -> Section:
    """Show what survives of the order of runs when labels are wrong."""
    columns = [
        ("wrong labels", True),
        ("same winner", True),
        ("Kendall's tau", True),
        *((f"{a} : {b}", True) for a, b in noise.pairs),
    ]
    tau = noise.kendall_tau.tolist()
    cells = [
        [
            f"{fraction:.3g}",
            f"{noise.winner[row]:.0%}",
            number(None if math.isnan(tau[row]) else tau[row], 3),
            *(f"{share:.0%}" for share in noise.survival[row]),
        ]
        for row, fraction in enumerate(noise.fractions)
    ]
    change = noise.smallest_change
    known = (
        "no share that was tried changes the winner in half of them"
        if change is None
        else f"from {change:g} on, another run wins in half of them"
    )
    title = (
        f"Wrong labels, {noise.measure}: share of {noise.replicates} replicates in which the order "
        f"of a pair survives; {known}"
    )
    return Section("label_noise", title, (columns, cells), [noise.as_dict()])


def discriminativeness_section(found: Discriminativeness, reduced: str) -> Section:
    """Show what reduced judgments still tell apart.

    Parameters
    ----------
    found : Discriminativeness
        Of one measure.
    reduced : str
        Which reduced judgments, in words.
    """
    columns = [("pairs", False), ("same direction", True), ("opposite directions", True)]
    cells = [
        [
            "significant with both (active)",
            str(found.active_agreement),
            str(found.active_disagreement),
        ],
        ["with one (mixed)", str(found.mixed_agreement), str(found.mixed_disagreement)],
        ["with neither (passive)", str(found.passive_agreement), str(found.passive_disagreement)],
    ]
    facts = [
        ("Kendall's tau", found.kendall_tau),
        ("precision", found.precision),
        ("recall", found.recall),
    ]
    shown = ", ".join(f"{name} {value:.3f}" for name, value in facts if not math.isnan(value))
    title = (
        f"{found.measure} with {reduced}: {found.n_reduced} of {found.n_full} queries"
        f"{f'; {shown}' if shown else ''}"
    )
    content = [found.as_dict() | {"reduced": reduced}]
    return Section("discriminativeness", title, (columns, cells), content)


def _shown(p: float) -> str:
    return "" if math.isnan(p) else shown_p(p)
