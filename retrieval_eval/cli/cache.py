"""The verb ``cache``: what is kept, whether it is sound, and what can go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval_eval.cli.app import app, say

if TYPE_CHECKING:
    from retrieval_eval.cache import CacheEntry
    from retrieval_eval.store import Store

cache_app = typer.Typer(help="Look after what is kept: list, verify, prune.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

CacheOption = Annotated[
    str | None,
    typer.Option(help="Folder or URL of the cache [$RETRIEVAL_EVAL_CACHE, or the user's]."),
]


@cache_app.command("ls")
def list_entries(
    cache: CacheOption = None,
    all_: Annotated[bool, typer.Option("--all", help="A line for each artefact.")] = False,
) -> None:
    """List what is kept, by kind: here, and at the URL if the cache has one."""
    from retrieval_eval.cache import entries
    from retrieval_eval.remote import open_store
    from retrieval_eval.report.terminal import print_table

    store = open_store(cache)
    found = list(entries(store))
    if all_:
        rows = [
            [_place(one), one.kind, one.name, f"{one.n_bytes / 1e6:.2f}", _days(one.used)]
            for one in sorted(found, key=lambda one: (_place(one), one.kind, -one.used))
        ]
        columns = [("kind", False), ("key", False), ("MB", True), ("days unused", True)]
    else:
        kinds: dict[tuple[str, str], list[float]] = {}
        for one in found:
            count = kinds.setdefault((_place(one), one.kind), [0, 0])
            count[0] += 1
            count[1] += one.n_bytes
        rows = [
            [place, kind, f"{n:.0f}", f"{size / 1e6:.2f}"]
            for (place, kind), (n, size) in kinds.items()
        ]
        columns = [("kind", False), ("artefacts", True), ("MB", True)]
    places = _places(store)
    if len(places) == 1:
        rows = [row[1:] for row in rows]
    else:
        columns = [("where", False), *columns]
    print_table(columns, rows)
    for place, name in places.items():
        size = sum(one.n_bytes for one in found if _place(one) == place)
        say(f"{name}: {size / 1e6:.1f} MB")


@cache_app.command()
def verify(cache: CacheOption = None) -> int:
    """Check every artefact against its checksums; exit code 1 if one is damaged.

    With a URL, the artefacts here and those at the URL: every byte of them is fetched.
    """
    from retrieval_eval.cache import damaged
    from retrieval_eval.remote import open_store

    store = open_store(cache)
    checked = bad = 0
    for entry, reason in damaged(store):
        checked += 1
        if reason is not None:
            bad += 1
            at = f"{store.place}/" if entry.upload else ""
            typer.echo(f"{at}{entry.kind}/{entry.name}: {reason}")
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
    """Remove what is damaged or abandoned, and what the options say.

    With a URL, they are applied to what is there, and to what is kept of it here, each by itself.
    """
    from retrieval_eval.cache import prune
    from retrieval_eval.remote import open_store

    store = open_store(cache)
    gone = prune(
        store,
        kinds=kind or (),
        unused_days=unused_days,
        keep_bytes=None if keep_gb is None else int(keep_gb * 1e9),
        dry_run=dry_run,
    )
    for entry in gone:
        at = f"{store.place}/" if entry.upload else ""
        typer.echo(f"{at}{entry.kind}/{entry.name}")
    for place, name in _places(store).items():
        its = [entry for entry in gone if _place(entry) == place]
        size = sum(entry.n_bytes for entry in its) / 1e6
        say(f"{name}: {len(its)} {'would be ' if dry_run else ''}removed, {size:.1f} MB")


def _places(store: Store) -> dict[str, str]:
    here = {"here": str(store.root)}
    return here if store.place in here.values() else {**here, "URL": store.place}


def _place(entry: CacheEntry) -> str:
    return "URL" if entry.upload else "here"


def _days(used: float) -> str:
    return f"{(time.time() - used) / 86400:.1f}"
