"""The verb ``replay``: do a row again, and see whether its figures still hold."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from retrieval_eval.cli.app import app, print_json, say
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.sweep.replay import Replay


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results of a finished sweep.")],
    rows: Annotated[
        list[str],
        typer.Argument(
            metavar="ROW...",
            help="'ENCODER | CONFIGURATION', or the beginning of a row_id.",
        ),
    ],
    start: Annotated[
        Literal["search", "build", "encode"],
        typer.Option("--from", help="Where to begin anew; what comes before may be cached."),
    ] = "build",
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="The cache: a folder, or a URL [$RETRIEVAL_EVAL_CACHE, or the user's].",
        ),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
) -> int:
    """Do rows of a finished sweep again, and say whether their figures still hold.

    Exits with 0 if all hold, with 1 if one differs.
    """
    from retrieval_eval.remote import open_store
    from retrieval_eval.sweep.interrupt import ends_promptly
    from retrieval_eval.sweep.replay import replay as replay_row
    from retrieval_eval.sweep.results import open_results

    results = open_results(folder)
    found = []
    with ends_promptly():
        for row in rows:
            try:
                found.append(replay_row(results, row, store=open_store(cache), start=start))
            except InputError as error:
                raise InputError(f"{folder}: {error}") from error
    if format_ is Format.json:
        print_json([_plain(one) for one in found])
    else:
        for one in found:
            _print(one)
    return 0 if all(one.holds for one in found) else 1


def _plain(found: Replay) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(found), "holds": found.holds}


def _print(found: Replay) -> None:
    from retrieval_eval.report.terminal import print_table, print_text

    columns = [("figure", False), ("then", True), ("now", True), ("", False)]
    cells = [
        [one.name, _shown(one.then), _shown(one.now), one.verdict]
        for one in found.figures
        if one.then is not None or one.now is not None
    ]
    print_text(f"{found.shown} ({found.row_id})")
    print_table(columns, cells)
    for change in found.changes:
        say(f"changed: {change}")
    differing = [one.name for one in found.figures if one.verdict == "differs"]
    unjudged = [one.name for one in found.figures if one.verdict == "not judged"]
    if unjudged:
        say(
            "not judged, since a machine was noisy or is another one, or since they never are: "
            f"{', '.join(unjudged)}"
        )
    say(f"differs: {', '.join(differing)}" if differing else "every figure that was judged holds")


def _shown(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
