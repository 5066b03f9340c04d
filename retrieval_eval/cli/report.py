"""The verb ``report``: what a finished sweep says, and its tables for others."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from retrieval_eval.cli.app import app, say
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.sweep import Results


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results of a finished sweep.")],
    form: Annotated[
        Literal["csv", "json", "parquet", "markdown", "latex"] | None,
        typer.Option("--format", help="Write a table, instead of the answer in words."),
    ] = None,
    table: Annotated[
        Literal["leaderboard", "per_query", "comparisons"], typer.Option(help="Which table.")
    ] = "leaderboard",
    out: Annotated[
        Path | None, typer.Option(help="File of the table; its suffix may say the form.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column of the leaderboard, as in results.parquet; repeat."),
    ] = None,
    groups: Annotated[
        bool, typer.Option("--groups", help="Letters for rows that cannot be told apart.")
    ] = False,
    intervals: Annotated[
        Literal["brackets", "subscript", "none"] | None,
        typer.Option(help="Where intervals stand in Markdown and LaTeX [brackets]."),
    ] = None,
    caption: Annotated[str | None, typer.Option(help="Of a table in Markdown or LaTeX.")] = None,
    label: Annotated[str | None, typer.Option(help="Of a table in LaTeX.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for figures: quality, costs, parameters, pairs.")
    ] = None,
    drawn_as: Annotated[
        Literal["svg", "png", "pdf", "json"], typer.Option("--as", help="Form of the figures.")
    ] = "svg",
    theme: Annotated[
        Literal["light", "dark", "print"], typer.Option(help="Looks of the figures.")
    ] = "light",
    margin: Annotated[
        float | None, typer.Option(help="Accepted loss, for the answer; by default the sweep's.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="File of the page [report.html in DIR].")
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Where the data sets were kept, for the page [$RETRIEVAL_EVAL_CACHE, or the "
            "user's].",
        ),
    ] = None,
) -> None:
    """Say which configuration is good enough and write the page; or tables and figures."""
    from retrieval_eval.report.answer import answer
    from retrieval_eval.report.exports import export, export_file
    from retrieval_eval.remote import open_store
    from retrieval_eval.report.terminal import print_text
    from retrieval_eval.sweep.results import open_results

    results = open_results(folder)
    tables: dict[str, object] = {"--column": column, "--groups": groups, "--intervals": intervals}
    tables |= {"--caption": caption, "--label": label, "--table": table != "leaderboard"}
    drawing = {"--as": drawn_as != "svg", "--theme": theme != "light"}
    written = form is not None or out is not None
    _refuse({} if written else tables, "--format or --out")
    _refuse({} if figures else drawing, "--figures")
    if written or figures:
        answering = {"--margin": margin is not None, "--page": page, "--cache": cache}
        for name, value in answering.items():
            if value:
                raise InputError(f"{name} is for the answer and the page: leave out other outputs")
    if figures is not None:
        _draw(results, figures, drawn_as, theme)
        if not written:
            return
    if not written:
        print_text(answer(results, margin=margin).text)
        say(f"page: {results.write_page(page, store=open_store(cache), margin=margin)}")
        return
    settings: dict[str, Any] = {"columns": column, "caption": caption, "label": label}
    settings |= {"groups": groups or None, "intervals": intervals}
    given = {name: value for name, value in settings.items() if value is not None}
    if out is not None:
        export_file(results, out, table, form=form, **given)
        say(f"written: {out}")
        return
    made = export(results, form or "markdown", table, **given)
    if isinstance(made, bytes):
        sys.stdout.buffer.write(made)
    else:
        typer.echo(made, nl=not made.endswith("\n"))


def _refuse(options: Mapping[str, object], needed: str) -> None:
    """Refuse options that would do nothing."""
    for name, value in options.items():
        if value:
            raise InputError(f"{name} has no effect without {needed}")


def _draw(results: Results, folder: Path, drawn_as: str, theme: str) -> None:
    from retrieval_eval.report.figures import save, standard_figures

    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in standard_figures(results, theme=theme):
        say(f"written: {save(figure, folder / f'{name}.{drawn_as}')}")
