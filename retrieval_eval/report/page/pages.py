"""The page of a finished sweep, from its results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval_eval.errors import InputError
from retrieval_eval.report.groups import significance_groups
from retrieval_eval.report.page.answer import answer_section
from retrieval_eval.report.page.document import Section, assemble
from retrieval_eval.report.page.leaderboard import leaderboard_section
from retrieval_eval.report.page.tradeoffs import tradeoffs_section

from retrieval_eval.sweep.results import PAGE

if TYPE_CHECKING:
    from retrieval_eval.store import Store
    from retrieval_eval.sweep import Results

__all__ = ["page_html", "write_page", "write_whole"]

_PAIRS = 4_000_000
"""Pairs x measures x queries that are compared for a page: a second or two."""


def page_html(
    results: Results, *, store: Store | None = None, margin: float | None = None
) -> str:
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
    groups = significance_groups(results, largest=_PAIRS)
    sections: list[Section | None] = [
        answer_section(results, margin=margin),
        leaderboard_section(results, groups),
        tradeoffs_section(results),
    ]
    manifest = results.manifest
    facts = [f"{len(results.rows):,} rows", f"finished {manifest['created']}"]
    facts += [f"{count} {status}" for status, count in manifest["rows"].items() if count]
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
    return write_whole(target, page_html(results, store=store, margin=margin))


def write_whole(path: Path, text: str) -> Path:
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
