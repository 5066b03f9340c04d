"""What a sweep would do, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval_eval.report.terminal import print_table, print_text

if TYPE_CHECKING:
    import polars as pl

__all__ = ["print_preview", "shown_bytes", "shown_seconds"]

_MB, _GB = 1e6, 1e9
_MINUTE, _HOUR = 60, 3600


def shown_seconds(seconds: float) -> str:
    """Print a rough duration.

    Examples
    --------
    >>> [shown_seconds(one) for one in (0.2, 42, 600, 9000)]
    ['<1 s', '42 s', '10 min', '2.5 h']
    """
    if seconds < 1:
        return "<1 s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h"


def shown_bytes(size: int) -> str:
    """Print a rough size.

    Examples
    --------
    >>> [shown_bytes(one) for one in (0, 3_000, 25_000_000, 4_200_000_000)]
    ['0 MB', '<1 MB', '25 MB', '4.2 GB']
    """
    if size >= _GB:
        return f"{size / _GB:.1f} GB"
    return f"{size / _MB:.0f} MB" if size >= _MB or not size else "<1 MB"


def print_preview(rows: pl.DataFrame, jobs: pl.DataFrame) -> None:
    """Print the rows of a sweep, and its distinct jobs by kind with what they would take.

    Parameters
    ----------
    rows, jobs : polars.DataFrame
        As in :class:`retrieval_eval.sweep.preview.Preview`.
    """
    filtered = rows["filter"].is_not_null().any()
    names = ["dataset", "encoder", "configuration", *(["filter"] if filtered else []), ""]
    cells = []
    for row in rows.iter_rows(named=True):
        where = [row["filter"] or "none"] if filtered else []
        done = "run" if row["skipped"] is None else "skipped"
        cells.append([row["dataset"], row["encoder"], row["configuration"], *where, done])
    print_table([(name, False) for name in names], cells)
    print_text("")
    kinds = jobs["kind"].unique(maintain_order=True).to_list()
    columns = [
        ("jobs", False),
        ("distinct", True),
        ("in the cache", True),
        ("to do", True),
        ("time", True),
        ("disk", True),
        ("peak memory", True),
    ]
    print_table(columns, [_line(kind, jobs.filter(jobs["kind"] == kind)) for kind in kinds])
    waiting = jobs.filter(~jobs["cached"])
    rough = sorted(set(waiting.filter(~waiting["learnt"])["kind"]))
    total = f"About {shown_seconds(float(waiting['seconds'].sum()))} one after the other"
    total += f" and {shown_bytes(int(waiting['disk_bytes'].sum()))} of disk, at most."
    if not len(waiting):
        total = "Everything is in the cache."
    elif rough:
        total += (
            f" ~: {', '.join(rough)}: nothing like it was done with this cache before, so the time "
            "may be ten times more or less."
        )
    print_text(total)


def _line(kind: str, jobs: pl.DataFrame) -> list[str]:
    waiting = jobs.filter(~jobs["cached"])
    cells = [kind, str(len(jobs)), str(len(jobs) - len(waiting)), str(len(waiting))]
    if not len(waiting):
        return [*cells, "", "", ""]
    mark = "" if waiting["learnt"].all() else "~"
    memory = max(waiting["memory_bytes"].to_list())
    return [
        *cells,
        f"{mark}{shown_seconds(float(waiting['seconds'].sum()))}",
        shown_bytes(int(waiting["disk_bytes"].sum())),
        shown_bytes(memory) if memory else "",
    ]
