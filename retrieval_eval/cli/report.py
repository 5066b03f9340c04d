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
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Results of a finished sweep; of several, to see what changed since the first.",
        ),
    ],
    form: Annotated[
        Literal["csv", "json", "parquet", "markdown", "latex"] | None,
        typer.Option("--format", help="Write a table, instead of the answer and the page."),
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
        float | None, typer.Option(help="Accepted loss; by default that of the (first) sweep.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="File of the page [report.html, or side-by-side.html, in the last DIR]."),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Where the data sets were kept, for texts on the page [$RETRIEVAL_EVAL_CACHE, or "
            "the user's].",
        ),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Show DIR in a browser of this machine, while its sweep runs, too."
        ),
    ] = False,
    port: Annotated[int | None, typer.Option(help="Of --serve [any that is free].")] = None,
    browser: Annotated[bool, typer.Option("--browser", help="With --serve: open it.")] = False,
) -> None:
    """Say which configuration is good enough and write the page; or tables and figures."""
    from retrieval_eval.remote import open_store
    from retrieval_eval.report.serving import serve as serve_folder

    printing = {"--format": form, "--out": out}
    tables: dict[str, object] = {"--column": column, "--groups": groups, "--intervals": intervals}
    tables |= {"--caption": caption, "--label": label, "--table": table != "leaderboard"}
    drawing: dict[str, object] = {"--as": drawn_as != "svg", "--theme": theme != "light"}
    serving: dict[str, object] = {"--port": port is not None, "--browser": browser}
    shown = {"intervals": intervals, "caption": caption, "label": label}
    given: dict[str, Any] = {name: value for name, value in shown.items() if value is not None}
    if serve:
        answering = {"--margin": margin is not None, "--page": page, "--figures": figures}
        _refuse({**answering, **printing, **tables, **drawing}, "beside --serve")
        _refuse({"a second DIR": len(folders) > 1}, "beside --serve")
        store = open_store(cache)
        serve_folder(folders[0], port or 0, store=store, open_browser=browser, say=say)
        return
    _refuse(serving, "without --serve")
    _refuse({} if form or out else tables, "without --format or --out")
    _refuse({} if figures else drawing, "without --figures")
    if form or out or figures:
        _refuse({"--page": page, "--cache": cache}, "beside other outputs than the page")
    if len(folders) > 1:
        alone = {"--figures": figures, "--column": column, "--groups": groups, "--cache": cache}
        _refuse({**alone, "--table": table != "leaderboard"}, "for several sweeps")
        _side_by_side(folders, form, out, page, margin, given)
        return
    if form or out or figures:
        _refuse({"--margin": margin is not None}, "but on the answer and the page")
    from retrieval_eval.report.answer import answer
    from retrieval_eval.report.terminal import print_text
    from retrieval_eval.sweep.results import open_results

    results = open_results(folders[0])
    if figures is not None:
        _draw(results, figures, drawn_as, theme)
    if form or out:
        given |= {"columns": column} if column else {}
        given |= {"groups": True} if groups else {}
        _export(results, form, table, out, given)
    elif figures is None:
        print_text(answer(results, margin=margin).text)
        say(f"page: {results.write_page(page, store=open_store(cache), margin=margin)}")


def _refuse(options: Mapping[str, object], where: str) -> None:
    """Refuse options that would do nothing."""
    for name, value in options.items():
        if value:
            raise InputError(f"{name} has no effect {where}")


def _export(
    results: Results, form: str | None, table: str, out: Path | None, given: Mapping[str, Any]
) -> None:
    from retrieval_eval.report.exports import export, export_file

    if out is not None:
        export_file(results, out, table, form=form, **given)
        say(f"written: {out}")
    else:
        _print(export(results, form or "markdown", table, **given))


def _print(made: str | bytes) -> None:
    if isinstance(made, bytes):
        sys.stdout.buffer.write(made)
    else:
        typer.echo(made, nl=not made.endswith("\n"))


def _draw(results: Results, folder: Path, drawn_as: str, theme: str) -> None:
    from retrieval_eval.report.figures import save, standard_figures

    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in standard_figures(results, theme=theme):
        say(f"written: {save(figure, folder / f'{name}.{drawn_as}')}")


def _side_by_side(
    folders: list[Path],
    form: str | None,
    out: Path | None,
    page: Path | None,
    margin: float | None,
    given: Mapping[str, Any],
) -> None:
    from retrieval_eval.report.changes import side_by_side
    from retrieval_eval.report.changes.tables import export_changes, export_changes_file
    from retrieval_eval.report.changes.text import print_changes
    from retrieval_eval.report.page import write_changes_page
    from retrieval_eval.sweep.results import open_results

    found = side_by_side([open_results(folder) for folder in folders], margin=margin)
    if out is not None:
        say(f"written: {export_changes_file(found, out, form=form, **given)}")
    elif form is not None:
        _print(export_changes(found, form, **given))
    else:
        for one in found:
            print_changes(one)
        say(f"page: {write_changes_page(found, page or folders[-1] / 'side-by-side.html')}")
