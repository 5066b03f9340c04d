"""How far a sweep has come, at a glance: a line, a table, a picture; and where they are shown."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from retrieval_eval.sweep.status import RunningStatus, Status

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

__all__ = [
    "Display",
    "LogDisplay",
    "Picture",
    "PictureDisplay",
    "kind_table",
    "lasting",
    "shown_left",
    "summary",
]

_DRAW_S, _LOG_S, _QUIET_LOG_S = 0.5, 10.0, 300.0
_SHOWN_RUNNING = 4
_WIDE_BAR, _NARROW_BAR = 30, 8


def lasting(seconds: float) -> str:
    """Return a duration as people say it, rounded up; from a second on.

    Examples
    --------
    >>> [lasting(s) for s in (0.2, 45, 130, 3900, 100_000)]
    ['1 s', '45 s', '2 min 10 s', '1 h 05 min', '1 d 4 h']
    """
    whole = max(1, math.ceil(seconds - 1e-9))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = math.ceil(whole / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = math.ceil(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def shown_left(left_s: float | None, at_least_s: float) -> str:
    """Return a time left: '?' if unknown, '> 5 s' if a part is known, empty if nothing is left.

    Examples
    --------
    >>> shown_left(130, 130), shown_left(None, 5), shown_left(None, 0), shown_left(0, 0)
    ('2 min 10 s', '> 5 s', '?', '')
    """
    if left_s is not None:
        return lasting(left_s) if left_s else ""
    return f"> {lasting(at_least_s)}" if at_least_s else "?"


def summary(status: Status) -> str:
    """Return how far a sweep has come on one line: open kinds, time left, what runs now.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from retrieval_eval.sweep.status import KindStatus, Process
    >>> when = datetime(2025, 1, 1, tzinfo=UTC)
    >>> build = KindStatus("build", 18, 2, 1, 0, 0, 9.0, 130.0, 130.0)
    >>> print(summary(Status(
    ...     1, Process(1, "a", "", ""), when, when, "running", "", 9.0, 130.0, 130.0, (build,),
    ...     (RunningStatus("build", "stdlib, lsa | hnsw M=16", 3.0, 1, 0, 8.0),))))
    build 3/18; 2 min 10 s left; now: stdlib, lsa | hnsw M=16
    """
    busy = {one.kind for one in status.running}
    shown = [one for one in status.kinds if one.settled < one.total]
    shown = [one for one in shown if one.settled or one.kind in busy] or list(status.kinds)
    parts = [", ".join(f"{one.kind} {one.settled}/{one.total}" for one in shown)]
    left = shown_left(status.left_s, status.at_least_s)
    if left:
        parts.append(f"{left} left")
    if status.running:
        first = status.running[0]
        texts = f" ({first.units_done:,}/{first.units:,})" if first.fraction is not None else ""
        more = f" and {len(status.running) - 1} more" if len(status.running) > 1 else ""
        parts.append(f"now: {first.label}{texts}{more}")
    return "; ".join(part for part in parts if part)


def kind_table(status: Status) -> tuple[Sequence[tuple[str, bool]], list[list[str]]]:
    """Return columns as (header, whether its cells are numbers), and a row for each kind.

    The last row is all kinds together. Failed and skipped jobs have a column if there are any.
    """
    counts = ["cached", *(n for n in ("failed", "skipped") if _any(status, n))]
    columns = [("", False), *((name, True) for name in ("done", *counts, "elapsed", "left"))]
    rows = []
    for one in status.kinds:
        cells = [str(getattr(one, name) or "") for name in counts]
        took = lasting(one.elapsed_s) if one.elapsed_s else ""
        left = shown_left(one.left_s, one.at_least_s)
        rows.append([one.kind, f"{one.settled}/{one.total}", *cells, took, left])
    cells = [str(sum(getattr(one, name) for one in status.kinds) or "") for name in counts]
    left = shown_left(status.left_s, status.at_least_s)
    whole = ["in all", f"{status.settled}/{status.total}", *cells, lasting(status.elapsed_s), left]
    return columns, [*rows, whole]


def _any(status: Status, name: str) -> bool:
    return any(getattr(one, name) for one in status.kinds)


class Picture:
    """A status for a terminal: a bar for each kind, and what runs now.

    Where the terminal is narrow, the times that have passed go first, then the bars.

    Parameters
    ----------
    status : Status
        What to show.
    """

    def __init__(self, status: Status) -> None:
        self._status = status

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield self._kinds(console, options)
        running = self._status.running
        if running:
            yield Text()
        for one in running[:_SHOWN_RUNNING]:
            yield _job(one, width)
        if len(running) > _SHOWN_RUNNING:
            yield Text(f"and {len(running) - _SHOWN_RUNNING} more", style="dim")

    def _kinds(self, console: Console, options: ConsoleOptions) -> RenderableType:
        """Lay out the kinds with all that there is room for."""
        everything, width = options.update(max_width=10_000), options.max_width
        columns, rows = kind_table(self._status)
        table = _grid(columns, rows, None)
        for left_out, least in (
            ((), _NARROW_BAR),
            (("elapsed",), _NARROW_BAR),
            (("elapsed",), 0),
            (("elapsed", "cached", "skipped"), 0),
        ):
            keep = [place for place, (name, _) in enumerate(columns) if name not in left_out]
            some = [columns[place] for place in keep]
            cells = [[row[place] for place in keep] for row in rows]
            table = _grid(some, cells, None)
            spare = width - console.measure(table, options=everything).maximum - 2
            if least and spare >= least:
                size = min(spare, _WIDE_BAR)
                bars = [_bar(one.settled, one.total, size) for one in self._status.kinds]
                return _grid(some, cells, [*bars, Text()])
            if not least and spare >= -2:
                break
        return table


def _bar(done: int, total: int, width: int) -> ProgressBar:
    return ProgressBar(
        total=max(1, total),
        completed=done,
        width=width,
        style="bright_black",
        complete_style="cyan",
        finished_style="green",
    )


def _grid(
    columns: Sequence[tuple[str, bool]],
    rows: Sequence[Sequence[str]],
    bars: Sequence[RenderableType] | None,
) -> Table:
    """Lay out the kinds, with their bars behind the names if there is room for them."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for place, (name, is_number) in enumerate(columns):
        style = {"cached": "dim", "failed": "red", "elapsed": "dim"}.get(name, "")
        table.add_column(name, justify="right" if is_number else "left", style=style, no_wrap=True)
        if not place and bars is not None:
            table.add_column("", no_wrap=True)
    for number, cells in enumerate(rows):
        texts: list[RenderableType] = [Text(cell) for cell in cells]
        if bars is not None:
            texts.insert(1, bars[number])
        table.add_row(*texts, style="bold" if number == len(rows) - 1 else "")
    return table


def _job(one: RunningStatus, width: int) -> RenderableType:
    """Show a job that runs, with a bar over its texts if it has some."""
    times = [lasting(one.elapsed_s)]
    if one.left_s:
        times.append(f"{lasting(one.left_s)} left")
    fraction = one.fraction
    if fraction is None:
        end = f"  {', '.join(times)}"
        return Text.assemble(_fitted(f"{one.kind}: {one.label}", width - len(end)), (end, "dim"))
    head = Text(_fitted(f"{one.kind}: {one.label}", width))
    counts = f"  {one.units_done:,}/{one.units:,} texts, {', '.join(times)}"
    spare = min(_WIDE_BAR, width - len(counts) - 2)
    if spare < _NARROW_BAR:
        counts = f"  {one.units_done:,}/{one.units:,}, {times[-1]}"
        return Group(head, Text(_fitted(counts, width), style="dim"))
    row = Table.grid()
    row.add_row(Text("  "), _bar(one.units_done, one.units, spare), Text(counts, style="dim"))
    return Group(head, row)


def _fitted(text: str, width: int) -> str:
    """Cut the middle out of a text that is too long: its end tells it from others."""
    if len(text) <= width:
        return text
    kept = max(2, width - 3)
    return f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"


class Display:
    """Where a sweep is shown while it runs: this one shows nothing."""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def due(self, now: float, *, changed: bool) -> bool:
        """Say whether it is time to show a status, which has changed since the last one or not."""
        return False

    def show(self, now: float, status: Status) -> None:
        """Show a status."""

    def say(self, text: str, *, style: str = "") -> None:
        """Show a sentence at once, for good."""

    def end(self, status: Status) -> None:
        """Show the last status of a sweep that went through."""


class PictureDisplay(Display):
    """A picture on a terminal, drawn anew twice a second; what is said stays above it."""

    def __init__(self, console: Console, now: float) -> None:
        self._console = console
        self._shown = now - _DRAW_S
        # Standard output is the results' and may be a file: it is left alone.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> PictureDisplay:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def due(self, now: float, *, changed: bool) -> bool:
        """Say whether it is time to show a status."""
        return now - self._shown >= _DRAW_S

    def show(self, now: float, status: Status) -> None:
        """Show a status."""
        self._shown = now
        with contextlib.suppress(OSError):  # the terminal is gone
            self._live.update(Picture(status), refresh=True)

    def say(self, text: str, *, style: str = "") -> None:
        """Show a sentence at once, for good."""
        with contextlib.suppress(OSError):
            self._console.print(Text(text, style=style), soft_wrap=True)  # can be copied whole


class LogDisplay(Display):
    """Lines with the time of day: every 10 s while something happens, else every 5 min."""

    def __init__(self, stream: IO[str], now: float) -> None:
        self._stream = stream
        self._written = now
        self._any = False

    def due(self, now: float, *, changed: bool) -> bool:
        """Say whether it is time to show a status."""
        return now - self._written >= (_LOG_S if changed else _QUIET_LOG_S)

    def show(self, now: float, status: Status) -> None:
        """Show a status."""
        self._written = now
        self._any = True
        self.say(summary(status))

    def say(self, text: str, *, style: str = "") -> None:
        """Show a sentence at once, for good."""
        stamp = datetime.now().astimezone().strftime("%H:%M:%S")
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            self._stream.write(f"{stamp} {text}\n")
            self._stream.flush()

    def end(self, status: Status) -> None:
        """Write how far it came, if anything was written."""
        if self._any:
            self.say(f"{summary(status)}; took {lasting(status.elapsed_s)}")
