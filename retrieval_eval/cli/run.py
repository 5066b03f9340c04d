"""The verb ``run``: a whole sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval_eval.cli.app import app, say
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.store import Store
    from retrieval_eval.sweep import Sweep


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
        Path | None,
        typer.Option(help="Folder of the cache [$RETRIEVAL_EVAL_CACHE, or the user's]."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the rows, and do no work.")] = False,
) -> int:
    """Run a whole sweep, or go on with one that was stopped, and print its leaderboard."""
    from retrieval_eval.store import Store
    from retrieval_eval.sweep.config import Sweep, SweepError, open_sweep

    sweep, document = open_sweep(config, set_ or (), Sweep)
    store = Store(cache) if cache else Store.default()
    try:
        return _run(sweep, store, out, skip_unavailable=skip_unavailable, dry_run=dry_run)
    except SweepError as error:
        raise InputError(f"{document.where(error.location)}: {error}") from error


def _run(
    sweep: Sweep, store: Store, out: Path | None, *, skip_unavailable: bool, dry_run: bool
) -> int:
    from retrieval_eval.sweep import make_plan, run_sweep

    if dry_run:
        from retrieval_eval.report.terminal import print_table

        spaces = sweep.spaces()
        if spaces:
            from retrieval_eval.sweep.search import without_ranges

            for space in spaces.values():
                say(f"to be searched, for each dataset and encoder: {space.entry}")
            sweep = without_ranges(sweep)
            if not sweep.indexes:
                return 0
        plan = make_plan(sweep, store, skip_unavailable=skip_unavailable)
        filtered = any(row.view.where is not None for row in plan.rows)
        names = ["dataset", "encoder", "configuration", *(["filter"] if filtered else []), ""]
        columns = [(name, False) for name in names]
        cells = []
        for row in plan.rows:
            done = "skipped" if row.missing else "run"
            where = [row.view.shown or "none"] if filtered else []
            cells.append([row.dataset.name, row.encoder_label, row.shown, *where, done])
        print_table(columns, cells)
        for note in plan.notes():
            say(f"note: {note}")
        return 0
    results = run_sweep(sweep, out=out, store=store, skip_unavailable=skip_unavailable)
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
    return 3 if results.failed else 0
