"""The page of a finished sweep, from its results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval_eval.errors import InputError
from retrieval_eval.report.answer import answer
from retrieval_eval.report.groups import significance_groups
from retrieval_eval.report.page.answer import answer_section
from retrieval_eval.report.page.changes import changes_section
from retrieval_eval.report.page.document import Section, assemble
from retrieval_eval.report.page.health import health_section
from retrieval_eval.report.page.leaderboard import leaderboard_section
from retrieval_eval.report.page.pairs import LARGEST, SLOWEST, pairs_section
from retrieval_eval.report.page.queries import queries_section
from retrieval_eval.report.page.repeat import repeat_section
from retrieval_eval.report.page.tradeoffs import tradeoffs_section
from retrieval_eval.report.queries.sources import load_sources
from retrieval_eval.sweep.results import PAGE

if TYPE_CHECKING:
    from retrieval_eval.report.changes.rows import Changes
    from retrieval_eval.store import Store
    from retrieval_eval.sweep import Results

__all__ = ["page_html", "write_changes_page", "write_page"]


def page_html(results: Results, *, store: Store | None = None, margin: float | None = None) -> str:
    """Return the page of a finished sweep as HTML.

    Parameters
    ----------
    results : Results
        A finished sweep.
    store : Store, optional
        Where its data sets were kept; by default the user's cache.
    margin : float, optional
        Accepted loss, for the answer; by default the sweep's.
    """
    found = answer(results, margin=margin)
    named = [one.row_id for one in found.claims if one.row_id is not None]
    groups = significance_groups(results, largest=LARGEST, slowest=SLOWEST)
    sections: list[Section | None] = [
        answer_section(found),
        leaderboard_section(results, groups),
        tradeoffs_section(results),
        queries_section(results, load_sources(results, store), rows=named),
        pairs_section(results, groups),
        health_section(results),
        repeat_section(results),
    ]
    manifest = results.manifest
    finished = datetime.fromisoformat(manifest["created"]).astimezone(UTC)
    facts = [f"{count:,} rows {status}" for status, count in manifest["rows"].items() if count]
    facts.append(f"finished {finished:%Y-%m-%d %H:%M} UTC")
    return assemble(
        str(manifest["name"]),
        [one for one in sections if one is not None],
        subtitle="; ".join(facts),
    )


def write_page(
    results: Results,
    path: str | Path | None = None,
    *,
    store: Store | None = None,
    margin: float | None = None,
) -> Path:
    """Write the page of a finished sweep: whole, or not at all.

    Parameters
    ----------
    results : Results
        A finished sweep.
    path : str or Path, optional
        By default ``report.html`` in the folder of the results.
    store, margin
        As of :func:`page_html`.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    target = Path(path) if path is not None else results.folder / PAGE
    return _write(target, page_html(results, store=store, margin=margin))


def write_changes_page(changes: Sequence[Changes], path: str | Path) -> Path:
    """Write the page of sweeps side by side: whole, or not at all.

    Parameters
    ----------
    changes : sequence of Changes
        From :func:`retrieval_eval.report.changes.side_by_side`.
    path : str or Path
        Where to.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    section = changes_section(changes)
    names = dict.fromkeys(side.name for one in changes for side in (one.a, one.b))
    title = f"What changed: {', '.join(names)}"
    return _write(Path(path), assemble(title, [section] if section else [], figures=False))


def _write(path: Path, text: str) -> Path:
    """Write a text file whole, or not at all; one that is there is replaced."""
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; name another file with --page"
        ) from None
    finally:
        scratch.unlink(missing_ok=True)
    return path
