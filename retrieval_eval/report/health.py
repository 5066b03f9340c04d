"""The health of embeddings in all the forms that ``health`` prints."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from retrieval_eval.health import FIGURES, QUERY_FIGURES, EmbeddingHealth
from retrieval_eval.report.forms import Table, latex_table, markdown_table, markdown_text
from retrieval_eval.report.terminal import print_table

__all__ = ["HealthReport"]

_OPTIONS = ("k", "duplicate_cosine", "sample", "seed")


@dataclass(frozen=True, eq=False)
class HealthReport:
    """Figures of several sets of embeddings, side by side.

    Parameters
    ----------
    files : tuple of str
        Where the documents' vectors came from; at least one.
    results : tuple of EmbeddingHealth
        One for each; all with the same options.
    meanings : bool, default False
        Whether tables say what each figure means.
    """

    files: tuple[str, ...]
    results: tuple[EmbeddingHealth, ...]
    meanings: bool = False

    @cached_property
    def _labels(self) -> list[str]:
        """Files without the folders that they share: columns are narrow."""
        if len(self.files) == 1:
            return list(self.files)
        parts = [Path(file).parts for file in self.files]
        levels = zip(*(one[:-1] for one in parts), strict=False)
        shared = len(list(takewhile(lambda level: len(set(level)) == 1, levels)))
        return [str(Path(*one[shared:])) for one in parts]

    @property
    def options(self) -> dict[str, Any]:
        """All that decides the figures besides the files."""
        figures = self.results[0].as_dict()
        return {name: figures[name] for name in _OPTIONS}

    @property
    def notes(self) -> list[str]:
        """What is worth a look, and what was not measured, with the file in front of each."""
        lines = []
        for file, one in zip(self._labels, self.results, strict=True):
            lines += [f"{file}: {note}" for note in one.notes()]
            unmeasured: dict[str, list[str]] = {}
            for name, reason in one.reasons.items():
                if one.n_queries is not None or name not in QUERY_FIGURES:
                    unmeasured.setdefault(reason, []).append(name)
            lines += [
                f"{file}: {', '.join(names)}: not measured: {reason}"
                for reason, names in unmeasured.items()
            ]
        return lines

    @property
    def legend(self) -> str:
        """What the numbers are, in one sentence."""
        own = self.options
        return (
            f"neighbours are exact, by cosine; lists of k={own['k']}; near duplicates from a "
            f"cosine of {own['duplicate_cosine']:g}; n_spectrum, n_searched, n_subcorpus: how many "
            f"were drawn, with seed {own['seed']}, for the figures below each"
        )

    def _table(self) -> Table:
        asked = any(one.n_queries is not None for one in self.results)
        shown = [
            name
            for name in FIGURES
            if name not in _OPTIONS and (asked or name not in QUERY_FIGURES)
        ]
        columns = [("figure", False), *((label, True) for label in self._labels)]
        figures = [one.as_dict() for one in self.results]
        cells = [[name, *(_shown(one[name]) for one in figures)] for name in shown]
        if self.meanings:
            columns.append(("meaning", False))
            cells = [[*line, FIGURES[line[0]]] for line in cells]
        return columns, cells

    def json(self) -> str:
        """One object with everything."""
        content = {
            "options": self.options,
            "files": [
                {
                    "file": file,
                    "figures": {
                        name: value for name, value in one.as_dict().items() if name not in _OPTIONS
                    },
                    "reasons": dict(one.reasons),
                    "notes": one.notes(),
                }
                for file, one in zip(self.files, self.results, strict=True)
            ],
        }
        if self.meanings:
            content["meanings"] = dict(FIGURES)
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def csv(self) -> str:
        """One row for each file, options included; what was not measured is empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ["file", *FIGURES], lineterminator="\n")
        writer.writeheader()
        for file, one in zip(self.files, self.results, strict=True):
            writer.writerow({"file": file, **one.as_dict()})  # None is written as nothing
        return text.getvalue().rstrip("\n")

    def show(self) -> None:
        """Print a table: a row for each figure, a column for each file."""
        print_table(*self._table())

    def markdown(self) -> str:
        """Table in Markdown, and the notes."""
        parts = [markdown_table(self._table()), markdown_text(self.legend)]
        if self.notes:
            parts.append("\n".join(f"- {markdown_text(note)}" for note in self.notes))
        return "\n\n".join(parts)

    def latex(self) -> str:
        """Table in LaTeX, for the package booktabs; the notes as comments."""
        lines = [f"% {line}" for line in (self.legend, *self.notes)]
        return "\n".join([latex_table(self._table()), *lines])


def _shown(value: int | float | None) -> str:
    """Round to five digits; what was not measured is empty."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.5g}"
