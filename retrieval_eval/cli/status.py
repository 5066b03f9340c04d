"""The verb ``status``: how far a sweep has come."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval_eval.cli.app import app, print_json

if TYPE_CHECKING:
    from retrieval_eval.sweep.status import Status

_EVERY_S = 2.0


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"


@app.command()
def status(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the results are, or will be.")
    ],
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the sweep ends; Ctrl-C ends this alone.")
    ] = False,
) -> None:
    """Show how far a sweep has come that runs, was stopped, or is finished.

    Exits with 0 if it runs, or is finished and no row failed; with 3 if it was stopped before its
    end, or rows failed; with 2 if there is none.
    """
    view = _look(folder)
    if follow:
        view = _follow(view, format_)
    if format_ is Format.json:
        _print_line(view) if follow else print_json(view.as_dict())
    else:
        _print(view)
    raise typer.Exit(view.code)


@dataclass(frozen=True)
class _View:
    """What is there: a status, and whether its process lives; and finished results."""

    folder: Path
    status: Status | None
    alive: bool
    results: dict[str, Any] | None

    @property
    def state(self) -> str:
        if self.status is None:
            return "finished"
        return "running" if self.alive else "stopped"

    @property
    def code(self) -> int:
        if self.status is not None:
            return 0 if self.alive else 3
        failed = bool(self.results and self.results["rows"]["failed"])
        return 3 if failed else 0

    def as_dict(self) -> dict[str, Any]:
        found = None if self.status is None else self.status.as_dict()
        return {
            "folder": str(self.folder),
            "state": self.state,
            "status": found,
            "results": self.results,
        }


def _look(folder: Path) -> _View:
    from retrieval_eval.sweep.results import read_manifest
    from retrieval_eval.sweep.status import is_alive, read_status, status_path

    status = read_status(status_path(folder))
    manifest = read_manifest(folder)
    if status is None:
        manifest = manifest or read_manifest(folder)  # it may have been finished in between
    if status is None and manifest is None:
        raise _nothing_there(folder)
    results = None if manifest is None else _results(folder, manifest)
    alive = False
    if status is not None:
        age = (datetime.now(UTC) - status.updated).total_seconds()
        alive = status.state != "stopped" and is_alive(status.process, age)
        whole = manifest and datetime.fromisoformat(manifest["created"]) >= status.started
        if whole and not alive:  # it was killed between writing the results and taking this away
            status = None
    return _View(folder, status, alive, results)


def _results(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    from retrieval_eval.sweep.results import Results

    failures = []
    if manifest["rows"]["failed"]:
        rows = Results(folder, manifest, fresh=False).rows
        kept = rows.filter(rows["status"] == "failed")
        names = ("row_id", "dataset", "encoder", "configuration", "filter", "message")
        failures = kept.select(names).to_dicts()
    return {
        "name": manifest["name"],
        "created": manifest["created"],
        "seconds": manifest["seconds"],
        "rows": manifest["rows"],
        "failures": failures,
    }


def _nothing_there(folder: Path) -> Exception:
    import difflib

    from retrieval_eval.errors import InputError

    whole = folder.resolve()
    within, beside = _sweeps_in(whole), _sweeps_in(whole.parent)
    if within:
        way_out = f"but of these in it: {', '.join(str(folder / name) for name in within)}"
        return InputError(f"{folder}: no sweep runs or ran there, {way_out}")
    close = difflib.get_close_matches(whole.name, beside, n=1)
    hint = f" Did you mean {str(folder.parent / close[0])!r}?" if close else ""
    there = f" Sweeps beside it: {', '.join(beside)}." if beside else ""
    return InputError(
        f"{folder}: no sweep runs or ran there.{hint}{there} Name the folder of a sweep's results, "
        "results/NAME unless 'run' was told another with --out"
    )


def _sweeps_in(folder: Path) -> list[str]:
    from retrieval_eval.sweep.results import read_manifest
    from retrieval_eval.sweep.status import status_path

    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return []
    start, end = status_path(folder / "*").name.split("*")
    found = {
        name.removeprefix(start).removesuffix(end)
        for name in names
        if name.startswith(start) and name.endswith(end)
    }
    found |= {name for name in names if not name.startswith(".") and read_manifest(folder / name)}
    return sorted(found)


def _follow(view: _View, form: Format) -> _View:
    """Show a sweep every two seconds while it runs; return what is there at its end."""
    from rich.console import Console
    from rich.live import Live

    from retrieval_eval.sweep.glance import Picture, summary

    console = Console(highlight=False)
    shown = ""
    with contextlib.ExitStack() as stack:
        live = None
        if form is Format.table and console.is_terminal and not console.is_dumb_terminal:
            live = stack.enter_context(Live(console=console, auto_refresh=False, transient=True))
        while view.status is not None and view.alive:
            if live is not None:
                live.update(Picture(view.status), refresh=True)
            elif form is Format.json:
                _print_line(view)
            elif (line := summary(view.status)) != shown:
                typer.echo(f"{view.status.updated.astimezone():%H:%M:%S} {line}")
                shown = line
            time.sleep(_EVERY_S)
            view = _look(view.folder)
    return view


def _print_line(view: _View) -> None:
    import json

    typer.echo(json.dumps(view.as_dict(), allow_nan=False))


def _print(view: _View) -> None:
    if view.status is not None:
        _print_status(view.folder, view.status, alive=view.alive)
    if view.results is not None:
        if view.status is not None:
            typer.echo("\nthe results that are there, of an earlier run:")
        _print_results(view.folder, view.results)


def _print_status(folder: Path, status: Status, *, alive: bool) -> None:
    from retrieval_eval.report.terminal import print_table
    from retrieval_eval.sweep.glance import kind_table, lasting
    from retrieval_eval.sweep.status import this_process

    process, here = status.process, this_process()
    who = f"process {process.pid} on {process.host}"
    lives = f"{who} cannot be asked from here, but told this lately"
    if (process.host, process.space) == (here.host, here.space):
        lives = f"process {process.pid} lives"
    age = lasting((datetime.now(UTC) - status.updated).total_seconds())
    since = status.started.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if not alive:
        reason = f": {status.reason}" if status.reason else f": {who} is gone"
        typer.echo(f"{folder}: stopped{reason}")
        typer.echo(f"started {since}; last heard of {age} ago; it had come so far:\n")
    elif status.state == "finished":
        typer.echo(f"{folder}: all jobs are done, the results are being written; {lives}")
        typer.echo(f"started {since}; updated {age} ago\n")
    else:
        typer.echo(f"{folder}: running; {lives}")
        typer.echo(f"started {since}; updated {age} ago\n")
    print_table(*kind_table(status))
    if alive and status.running:
        typer.echo()
        columns = [("running now", False), ("texts", True), ("for", True), ("left", True)]
        rows = []
        for one in status.running:
            texts = "" if one.fraction is None else f"{one.units_done:,}/{one.units:,}"
            left = "?" if one.left_s is None else lasting(one.left_s)
            rows.append([f"{one.kind} {one.label}", texts, lasting(one.elapsed_s), left])
        if not any(texts for _, texts, _, _ in rows):
            columns, rows = (
                [c for c in columns if c[0] != "texts"],
                [[a, c, d] for a, _, c, d in rows],
            )
        print_table(columns, rows)
    if status.failures:
        typer.echo()
    for failure in status.failures:
        typer.echo(f"failed: {failure.kind} {failure.label}: {failure.message}")
    if status.failed > len(status.failures):
        typer.echo(f"and {status.failed - len(status.failures)} more failed")
    if not alive:
        typer.echo("\nwhat is finished is kept: run it again to go on")


def _print_results(folder: Path, results: dict[str, Any]) -> None:
    from retrieval_eval.sweep.glance import lasting
    from retrieval_eval.sweep.status import one_line

    when = datetime.fromisoformat(results["created"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    counts = ", ".join(f"{count} {name}" for name, count in results["rows"].items() if count)
    typer.echo(f"{folder}: finished {when}, in {lasting(results['seconds'])}; rows: {counts}")
    for one in results["failures"]:
        where = f" {one['filter']}" if one["filter"] else ""
        row = f"{one['dataset']}, {one['encoder']} | {one['configuration']}{where}"
        typer.echo(f"failed: {row}: {one_line(one['message'])}")
