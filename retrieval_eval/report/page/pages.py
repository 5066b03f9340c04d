"""The page of a finished sweep, from its results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval_eval.report.groups import FinishedSweep, significance_groups
from retrieval_eval.report.page.answer import answer_section
from retrieval_eval.report.page.document import Section, assemble
from retrieval_eval.report.page.leaderboard import leaderboard_section
from retrieval_eval.report.page.tradeoffs import tradeoffs_section

if TYPE_CHECKING:
    from retrieval_eval.sweep import Results

__all__ = ["page_html", "write_page"]

_PAIRS = 4_000_000
"""Pairs x measures x queries that are compared for a page: a second or two."""


def page_html(results: FinishedSweep, *, margin: float | None = None) -> str:
    """Return the page of a finished sweep."""
    groups = significance_groups(results, largest=_PAIRS)
    sections: list[Section | None] = [
        answer_section(results, margin=margin),
        leaderboard_section(results, groups),
        tradeoffs_section(results),
    ]
    name = str(results.manifest.get("name", "sweep"))
    return assemble(name, [one for one in sections if one is not None])


def write_page(results: Results, path: str | Path | None = None) -> Path:
    """Write the page beside the results."""
    target = Path(path) if path is not None else results.folder / "report.html"
    scratch = target.with_name(f".{target.name}-{os.getpid()}")
    scratch.write_text(page_html(results), encoding="utf-8")
    scratch.replace(target)
    return target
