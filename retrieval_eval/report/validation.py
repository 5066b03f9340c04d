"""Findings of ``validate`` in all the forms that it prints."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retrieval_eval.report.forms import Table, latex_table, markdown_table, markdown_text
from retrieval_eval.report.terminal import print_table, print_text
from retrieval_eval.validation import Finding, Validation

__all__ = ["ValidationReport"]


@dataclass(frozen=True, eq=False)
class ValidationReport:
    """What was found, to be printed.

    Parameters
    ----------
    validation : Validation
        What was found.
    """

    validation: Validation

    @property
    def legend(self) -> list[str]:
        """Sizes and the verdict, in sentences."""
        own = self.validation
        sizes = own.sizes
        splits = ", ".join(
            f"{split}: {judgments} judgments of {sizes['judged_queries'][split]} queries"
            for split, judgments in sizes["judgments"].items()
        )
        lines = [f"{sizes['documents']} documents, {sizes['queries']} queries; {splits}"]
        for which in ("document", "query"):
            found: Mapping[str, int] = sizes.get(f"{which}_characters") or {}
            if found:
                shown = ", ".join(f"{name} {value}" for name, value in found.items())
                lines.append(f"characters of a {which}: {shown}")
        counts = {
            severity: sum(one.count for one in own.findings if one.severity == severity)
            for severity in ("error", "warning", "fact")
        }
        verdict = "loads" if own.passed else "does not load"
        words = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()]
        lines.append(f"{own.dataset}: {', '.join(words)}; it {verdict}")
        return lines

    def _table(self) -> Table:
        columns = [("severity", False), ("finding", False), ("count", True), ("meaning", False)]
        return columns, [
            [one.severity, one.rule, str(one.count), one.meaning]
            for one in self.validation.findings
        ]

    def _sections(self) -> list[tuple[str, Table]]:
        columns = [("place", False), ("what", False)]
        return [
            (_title(one), (columns, [list(example) for example in one.examples]))
            for one in self.validation.findings
            if one.examples
        ]

    def json(self) -> str:
        """One object with everything."""
        content: dict[str, Any] = self.validation.as_dict()
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def csv(self) -> str:
        """One row for each place."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["severity", "finding", "place", "what"])
        for one in self.validation.findings:
            writer.writerows([one.severity, one.rule, *example] for example in one.examples)
        return text.getvalue().rstrip("\n")

    def show(self) -> None:
        """Print tables."""
        if self.validation.findings:
            print_table(*self._table())
        for title, table in self._sections():
            print_text(title)
            print_table(*table)

    def markdown(self) -> str:
        """Tables in Markdown, and the verdict."""
        parts = [markdown_table(self._table())] if self.validation.findings else []
        for title, table in self._sections():
            parts += [f"**{markdown_text(title)}**", markdown_table(table)]
        parts.append("\n".join(f"- {markdown_text(line)}" for line in self.legend))
        return "\n\n".join(parts)

    def latex(self) -> str:
        """Table in LaTeX, for the package booktabs; the verdict as comments."""
        lines = [f"% {line}" for line in self.legend]
        return "\n".join([latex_table(self._table()), *lines])


def _title(one: Finding) -> str:
    more = "" if one.count == len(one.examples) else f", {len(one.examples)} of {one.count}"
    return f"{one.severity}: {one.rule}{more}"
