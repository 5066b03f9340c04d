"""Verdicts of ``gate`` in all the forms that it prints."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrieval_eval.comparison import MARGIN_TESTS, GateVerdict
from retrieval_eval.report.comparisons import Section
from retrieval_eval.report.forms import Table, latex_table, markdown_table, markdown_text
from retrieval_eval.report.terminal import number, print_table, print_text, shown_p

__all__ = ["GateReport"]

_WORDS = {
    "passed": "passed",
    "worse": "failed: worse",
    "undecided": "undecided",
}


@dataclass(frozen=True, eq=False)
class GateReport:
    """What a gate says, and why.

    Parameters
    ----------
    qrels : str
        Where the judgments came from.
    baseline, candidate : str
        Names of the runs.
    verdicts : tuple of GateVerdict
        One for each measure.
    alpha : float
        Level of the tests.
    undecided_passes : bool
        Whether a measure without a decision lets the candidate through.
    sections : sequence of Section
        Further tables.
    """

    qrels: str
    baseline: str
    candidate: str
    verdicts: tuple[GateVerdict, ...]
    alpha: float
    undecided_passes: bool = False
    sections: Sequence[Section] = ()

    @property
    def passed(self) -> bool:
        """Whether the candidate may replace the baseline."""
        fine = ("passed", "undecided") if self.undecided_passes else ("passed",)
        return all(one.verdict in fine for one in self.verdicts)

    @property
    def legend(self) -> list[str]:
        """The decision, and what it rests on, in sentences."""
        verdict = "may replace" if self.passed else "may not replace"
        lines = [f"{self.candidate} {verdict} {self.baseline}"]
        for one in self.verdicts:
            lost, queries = f"{one.margin:g}", f"{one.n} quer{'y' if one.n == 1 else 'ies'}"
            shown = f"shown at level {self.alpha:g} by {queries}"
            if one.verdict == "passed" and not one.n_differing:
                lines.append(
                    f"{one.measure}: no query differs. That speaks of these {queries}: losses on "
                    f"less than {one.unseen:.2g} of all queries may have been missed"
                )
            elif one.verdict == "passed":
                lines.append(f"{one.measure}: not worse by more than {lost}, {shown}")
            elif one.verdict == "worse":
                lines.append(f"{one.measure}: worse by more than {lost}, {shown}")
            else:
                more = (
                    f": about {one.queries_needed} would show it for a candidate that is as good, "
                    "four times in five"
                    if one.queries_needed is not None and one.queries_needed > one.n
                    else ""
                )
                passes = "passes" if self.undecided_passes else "does not pass"
                lines.append(
                    f"{one.measure}: {queries} do{'es' if one.n == 1 else ''} not show whether "
                    f"more than {lost} is lost, and undecided {passes}{more}"
                )
        return lines

    def _table(self) -> Table:
        columns = [
            ("measure", False),
            ("baseline", True),
            ("candidate", True),
            ("difference", True),
            (f"at least ({100 * (1 - self.alpha):g} %)", True),
            ("accepted", True),
            ("p", True),
            ("verdict", False),
        ]
        cells = [
            [
                one.measure,
                number(_plain(one.baseline), 4),
                number(_plain(one.candidate), 4),
                "" if math.isnan(one.mean_diff) else f"{one.mean_diff:+.4f}",
                "" if one.lower_bound is None else f"{one.lower_bound:+.4f}",
                f"{-one.margin:+g}",
                "" if one.p is None else shown_p(one.p),
                _WORDS[one.verdict],
            ]
            for one in self.verdicts
        ]
        return columns, cells

    def json(self) -> str:
        """One object with everything."""
        content: dict[str, Any] = {
            "passed": self.passed,
            "qrels": self.qrels,
            "baseline": self.baseline,
            "candidate": self.candidate,
            "options": {
                "test": MARGIN_TESTS["hall"],
                "alpha": self.alpha,
                "undecided": "pass" if self.undecided_passes else "fail",
            },
            "verdicts": [
                {
                    name: _plain(value) if isinstance(value, float) else value
                    for name, value in asdict(one).items()
                }
                for one in self.verdicts
            ],
        }
        for section in self.sections:
            content.setdefault(section.key, []).extend(section.content)
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def csv(self) -> str:
        """One row for each measure; what is not known is empty."""
        text = io.StringIO()
        records = [asdict(one) for one in self.verdicts]
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow(
                {
                    name: ""
                    if value is None or (isinstance(value, float) and math.isnan(value))
                    else value
                    for name, value in record.items()
                }
            )
        return text.getvalue().rstrip("\n")

    def show(self) -> None:
        """Print tables."""
        print_table(*self._table())
        for section in self.sections:
            print_text(section.title)
            print_table(*section.table)

    def markdown(self) -> str:
        """Return what goes under a pull request: the decision first."""
        first, *rest = self.legend
        parts = [
            f"### {'✅' if self.passed else '❌'} {markdown_text(first)}",
            markdown_table(self._table()),
            "\n".join(f"- {markdown_text(line)}" for line in rest),
        ]
        for section in self.sections:
            parts += [f"**{markdown_text(section.title)}**", markdown_table(section.table)]
        return "\n\n".join(parts)

    def latex(self) -> str:
        """Tables in LaTeX, for the package booktabs; the decision as comments."""
        tables = [latex_table(self._table())]
        tables += [f"% {one.title}\n{latex_table(one.table)}" for one in self.sections]
        return "\n\n".join([*tables, "\n".join(f"% {line}" for line in self.legend)])


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
