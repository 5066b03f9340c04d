"""The verb ``validate``: what is wrong with a dataset, and a repaired copy."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from retrieval_eval.cli.app import app, say
from retrieval_eval.errors import InputError


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


class Keep(StrEnum):
    """Which of several texts or grades stays."""

    first = "first"


class Drop(StrEnum):
    """What a repair drops only if asked to."""

    bad_lines = "bad-lines"
    empty_documents = "empty-documents"
    empty_queries = "empty-queries"
    queries_without_relevant = "queries-without-relevant"


@app.command()
def validate(
    dataset: Annotated[
        str, typer.Argument(help="A folder in BEIR's layout, a card or another source.")
    ],
    split: Annotated[
        list[str] | None, typer.Option(help="Which judgments; repeat. All by default.")
    ] = None,
    training: Annotated[
        str | None, typer.Option(help="Look for what is also in this dataset: training data.")
    ] = None,
    near_duplicates: Annotated[
        float,
        typer.Option(min=0, max=1, help="Jaccard similarity of near duplicates; 0: do not look."),
    ] = 0.9,
    limit: Annotated[
        int, typer.Option(min=0, help="Places shown of each finding; 0 shows all.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search for them.")] = 0,
    repair: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a repaired copy into a new folder.")
    ] = None,
    keep: Annotated[
        Keep | None, typer.Option(help="Of one id with several texts or grades, which stays.")
    ] = None,
    drop: Annotated[
        list[Drop] | None, typer.Option(help="What the repaired copy is to lack; repeat.")
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
) -> None:
    """Find everything that is wrong with a dataset, with file and line.

    Exit with 0 if it loads, with 1 if there is an error; after --repair, with 0.
    """
    from retrieval_eval.report.validation import ValidationReport
    from retrieval_eval.validation import folder_of
    from retrieval_eval.validation import repair as write_repaired
    from retrieval_eval.validation import validate as look

    if repair is None and (keep or drop):
        raise InputError("--keep and --drop speak of a repaired copy: say where by --repair DIR")
    found = look(
        dataset,
        splits=split or (),
        training=training,
        near_duplicates=near_duplicates or None,
        limit=limit or None,
        seed=seed,
    )
    report = ValidationReport(found)
    if format_ is Format.table:
        report.show()
    else:
        typer.echo(getattr(report, format_.value)())
    if format_ in (Format.table, Format.csv):
        for line in report.legend:
            say(line)
    if repair is None:
        raise typer.Exit(0 if found.passed else 1)
    folder = folder_of(dataset)
    if folder is None:
        raise InputError(f"{dataset}: only a folder in BEIR's layout can be repaired")
    path, own = folder
    done = write_repaired(
        path,
        repair,
        splits=split or own,
        keep="first" if keep else None,
        drop=tuple(one.value for one in drop or ()),
    )
    for (file, reason), count in done.counts().items():
        say(f"{file}: dropped {count} line{'' if count == 1 else 's'}: {reason}")
    if not done.lines:
        say("nothing had to be repaired: the copy has every line")
    say(f"repaired copy: {repair}; what was changed: {repair / 'repairs.json'}")
