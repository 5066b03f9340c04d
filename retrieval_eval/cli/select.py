"""The verb ``select``: the cheapest configuration of a sweep that is not inferior."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from retrieval_eval.cli.app import app, say


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


class Family(StrEnum):
    """What alpha holds for."""

    all = "all"
    each = "each"


@app.command()
def select(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The results of a sweep.")],
    measure: Annotated[
        str | None, typer.Option("-m", "--measure", help="By default the one with a margin.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Accepted loss; by default the sweep's, or 0.01.")
    ] = None,
    cost: Annotated[
        str,
        typer.Option(help="A column such as size_bytes, or 0.7*latency_p95_s + 0.3*size_bytes."),
    ] = "latency_p95_s",
    where: Annotated[
        list[str] | None,
        typer.Option(help="A goal, such as 'neighbour_recall@10 >= 0.95'; repeat for several."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="A configuration, or 'ENCODER | CONFIGURATION' for all encoders."),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this one; repeat for several.")
    ] = None,
    tune: Annotated[float, typer.Option(help="Share of the queries to choose by.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of dealing the queries.")] = 0,
    alpha: Annotated[float, typer.Option(help="Accepted chance of a false certificate.")] = 0.05,
    family: Annotated[
        Family, typer.Option(help="Does alpha hold for all answers together, or for each?")
    ] = Family.all,
    rare_loss: Annotated[
        float | None,
        typer.Option(help="Guard against losses of this size that no query may show; 1 mostly."),
    ] = None,
    front: Annotated[
        str | None,
        typer.Option(metavar="COLUMN,...", help="Show the Pareto front by these columns as well."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
) -> None:
    """Choose the cheapest configuration that is shown to lose less than a margin.

    Chosen on some of the queries, tested on the others. Exits with 0 if something could be
    certified, else with 1.
    """
    from retrieval_eval.errors import InputError
    from retrieval_eval.report.selection import SelectionReport
    from retrieval_eval.selection import find_fronts
    from retrieval_eval.selection import select as choose

    if front is not None and format_ is Format.csv:
        raise InputError("--format csv holds the candidates alone: --front needs another form")
    selection = choose(
        folder,
        measure=measure,
        margin=margin,
        cost=cost,
        where=where or (),
        reference=reference,
        datasets=dataset or (),
        tune=tune,
        seed=seed,
        alpha=alpha,
        family=family.value,
        rare_loss=rare_loss,
    )
    criteria = [] if front is None else [name.strip() for name in front.split(",")]
    fronts = find_fronts(folder, criteria, datasets=dataset or ()) if criteria else ()
    report = SelectionReport(str(folder), selection, fronts)
    if format_ is Format.table:
        report.show()
    else:
        typer.echo(getattr(report, format_.value)())
    if format_ is not Format.markdown:
        for line in report.legend:
            say(line)
    raise typer.Exit(0 if selection.certified else 1)
