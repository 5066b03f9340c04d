"""Progress bars on stderr, and nothing at all where stderr is no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["Bars"]


class Bars:
    """A bar for the jobs of a sweep, and one for the texts of an encoding under way.

    Parameters
    ----------
    progress : rich.progress.Progress
        Started or not.
    jobs : int
        How many jobs the sweep has.
    """

    def __init__(self, progress: Progress, jobs: int) -> None:
        self._progress = progress
        self._jobs = progress.add_task("starting", total=jobs)

    @classmethod
    @contextlib.contextmanager
    def show(cls, jobs: int, *, wanted: bool) -> Iterator[Bars]:
        """Show bars until the block ends, if wanted and stderr is a terminal."""
        console = Console(stderr=True)
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not (wanted and console.is_terminal),
        )
        with progress:
            yield cls(progress, jobs)

    @contextlib.contextmanager
    def job(self, description: str) -> Iterator[None]:
        """Name the job under way; count it when the block ends."""
        self._progress.update(self._jobs, description=description)
        yield
        self._progress.advance(self._jobs)

    @contextlib.contextmanager
    def texts(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a second bar, over texts; yields the function that advances it."""
        task = self._progress.add_task(description, total=total)
        try:
            yield lambda done: self._progress.advance(task, done)
        finally:
            self._progress.remove_task(task)
