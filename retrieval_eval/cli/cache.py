"""The verb ``cache``: what is kept, whether it is sound, and what can go."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from retrieval_eval.cli.app import app, say

cache_app = typer.Typer(help="Look after what is kept: list, verify, prune.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the cache [$RETRIEVAL_EVAL_CACHE, or the user's]."),
]


@cache_app.command("ls")
def list_entries(
    cache: CacheOption = None,
    all_: Annotated[bool, typer.Option("--all", help="A line for each artefact.")] = False,
) -> None:
    """List what is kept, by kind."""
    from retrieval_eval.cache import entries
    from retrieval_eval.report.terminal import print_table
    from retrieval_eval.store import Store

    store = Store(cache) if cache else Store.default()
    found = list(entries(store))
    if all_:
        rows = [
            [one.kind, one.name, f"{one.n_bytes / 1e6:.2f}", _days(one.used)]
            for one in sorted(found, key=lambda one: (one.kind, -one.used))
        ]
        columns = [("kind", False), ("key", False), ("MB", True), ("days unused", True)]
        print_table(columns, rows)
    else:
        kinds: dict[str, list[float]] = {}
        for one in found:
            count = kinds.setdefault(one.kind, [0, 0])
            count[0] += 1
            count[1] += one.n_bytes
        rows = [[kind, f"{n:.0f}", f"{size / 1e6:.2f}"] for kind, (n, size) in kinds.items()]
        print_table([("kind", False), ("artefacts", True), ("MB", True)], rows)
    say(f"{store.root}: {sum(one.n_bytes for one in found) / 1e6:.1f} MB")


@cache_app.command()
def verify(cache: CacheOption = None) -> int:
    """Check every artefact against its checksums; exit code 1 if one is damaged."""
    from retrieval_eval.cache import damaged
    from retrieval_eval.store import Store

    store = Store(cache) if cache else Store.default()
    checked = bad = 0
    for entry, reason in damaged(store):
        checked += 1
        if reason is not None:
            bad += 1
            typer.echo(f"{entry.kind}/{entry.name}: {reason}")
    say(
        f"{checked} artefacts checked, {bad} damaged"
        f"{': they are made again when they are needed' if bad else ''}"
    )
    return 1 if bad else 0


@cache_app.command("prune")
def prune_entries(
    cache: CacheOption = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind; repeat.")] = None,
    unused_days: Annotated[
        float | None, typer.Option(min=0, help="Remove what was not used for so many days.")
    ] = None,
    keep_gb: Annotated[
        float | None, typer.Option(min=0, help="Remove the longest unused until so much is left.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would go, and remove nothing.")] = False,
) -> None:
    """Remove what is damaged or abandoned, and what the options say."""
    from retrieval_eval.cache import prune
    from retrieval_eval.store import Store

    store = Store(cache) if cache else Store.default()
    gone = prune(
        store,
        kinds=kind or (),
        unused_days=unused_days,
        keep_bytes=None if keep_gb is None else int(keep_gb * 1e9),
        dry_run=dry_run,
    )
    for entry in gone:
        typer.echo(f"{entry.kind}/{entry.name}")
    size = sum(entry.n_bytes for entry in gone) / 1e6
    say(f"{len(gone)} {'would be ' if dry_run else ''}removed, {size:.1f} MB")


def _days(used: float) -> str:
    return f"{(time.time() - used) / 86400:.1f}"
