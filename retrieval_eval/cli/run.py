"""The verb ``run``: a whole sweep."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval_eval.cli.app import app, say
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.store import Store
    from retrieval_eval.sweep import Results, Sweep


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A sweep file, or a name from experiments/.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results [results/NAME].")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key, such as k=50 or encoders.0.lsa.dim=64.",
        ),
    ] = None,
    skip_unavailable: Annotated[
        bool, typer.Option(help="Skip rows whose library is not installed.")
    ] = False,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="The cache: a folder, or a URL [$RETRIEVAL_EVAL_CACHE, or the user's].",
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Where the jobs are done: local, ray, or ray:ADDRESS.")
    ] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Untimed jobs at once on this machine [its cores, at most 8]."),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write report.html beside the results.")
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(help="Load the datasets, print rows, jobs and what they take; do no more."),
    ] = False,
) -> int:
    """Run a whole sweep, or go on with one that was stopped, and print its leaderboard."""
    from retrieval_eval.executors import executor_kind
    from retrieval_eval.remote import open_store
    from retrieval_eval.sweep.config import Sweep, SweepError, open_sweep
    from retrieval_eval.sweep.interrupt import ends_promptly
    from retrieval_eval.sweep.results import PAGE, check_target
    from retrieval_eval.sweep.status import mark_stopped, status_path

    sweep, document = open_sweep(config, set_ or (), Sweep)
    folder = out or Path("results") / sweep.name
    store = open_store(cache)
    try:
        if dry_run:
            check_target(folder)
            executor_kind(executor)
            return _preview(sweep, store, skip_unavailable=skip_unavailable)
        with ends_promptly(partial(mark_stopped, status_path(folder), "interrupted")):
            results = sweep.run(
                out=folder,
                store=store,
                skip_unavailable=skip_unavailable,
                executor=executor,
                jobs=jobs,
                say=say,
            )
            _tell(results)
            if page and (results.fresh or not (folder / PAGE).exists()):
                say(f"page: {results.write_page(store=store)}")
    except SweepError as error:
        raise InputError(f"{document.where(error.location)}: {error}") from error
    return 3 if results.failed else 0


def _tell(results: Results) -> None:
    """Print the leaderboard, and what was done."""
    results.show()
    if results.fresh:
        rows = results.manifest["rows"]
        counts = ", ".join(f"{count} {status}" for status, count in rows.items() if count)
        say(f"rows: {counts}; took {results.manifest['seconds']:.0f} s")
    else:
        say(
            f"finished before, on {results.manifest['created']}: no work was done again; "
            "another seed measures afresh"
        )
    if "earlier_results" in results.manifest:
        say(f"earlier results of another configuration: {results.manifest['earlier_results']}")


def _preview(sweep: Sweep, store: Store, *, skip_unavailable: bool) -> int:
    """Print what there is to do."""
    from retrieval_eval.report.plan import print_preview

    for space in sweep.spaces().values():
        say(f"to be searched, for each dataset and encoder: {space.entry}")
    if len(sweep.spaces()) == len(sweep.indexes):
        return 0
    found = sweep.plan(store, skip_unavailable=skip_unavailable)
    print_preview(found.rows, found.jobs)
    for note in found.graph.plan.notes():
        say(f"note: {note}")
    return 0
