"""Searching the ranges of a sweep: each index with ranges becomes the best that was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval_eval.errors import InputError
from retrieval_eval.parameters import Entry, parse_entry
from retrieval_eval.sweep.config import Sweep, SweepError
from retrieval_eval.sweep.execute import outcomes_of
from retrieval_eval.sweep.perform import Performance
from retrieval_eval.sweep.plan import make_plan
from retrieval_eval.sweep.ranges import Space
from retrieval_eval.sweep.records import row_record

__all__ = ["search_ranges", "without_ranges"]


def without_ranges(sweep: Sweep) -> Sweep:
    """Return the sweep without the entries that are to be searched."""
    searched = sweep.spaces()
    kept = [entry for place, entry in enumerate(sweep.indexes) if place not in searched]
    return sweep.model_copy(update={"indexes": kept, "tune": None})


def search_ranges(sweep: Sweep, work: Performance) -> tuple[Sweep, list[dict[str, Any]]]:
    """Search every index with ranges, for each dataset and encoder.

    What a trial computes is kept in the store, so that a search that was stopped goes on where it
    was.

    Parameters
    ----------
    sweep : Sweep
        The configuration.
    work : Performance
        Does the trials.

    Returns
    -------
    sweep : Sweep
        With the winners in place of the entries that were searched; one for each dataset and
        encoder if they differ, and each is run with all of these.
    records : list of dict
        What was tried, in order, and what was chosen, as plain values.

    Raises
    ------
    InputError
        If no trial of an index keeps the bounds and no other index is left.
    """
    records: list[dict[str, Any]] = []
    entries: list[Entry] = []
    spaces = sweep.spaces()
    for space in spaces.values():
        sweep.search(space).require()
    for place, entry in enumerate(sweep.indexes):
        if place not in spaces:
            entries.append(entry)
            continue
        for dataset in sweep.datasets:
            for encoder in sweep.encoders:
                search = sweep.search(spaces[place])
                trial = _Trial(sweep, work, dataset, encoder, search.space)
                trials = search.run(trial.run)
                best = search.goal.best(trials)
                names = {"dataset": parse_entry(dataset)[0], "encoder": parse_entry(encoder)[0]}
                records.append({**names, **search.record(trials)})
                if best is not None:
                    winner = search.space.fill(best.parameters)
                    if winner not in entries:
                        entries.append(winner)
    if not entries:
        raise SweepError(f"no trial keeps the bounds of the goal: {sweep.goal()}", ("tune",))
    return sweep.model_copy(update={"indexes": entries, "tune": None}), records


class _Trial:
    """One dataset and encoder, on which points are tried."""

    def __init__(
        self,
        sweep: Sweep,
        work: Performance,
        dataset: Entry,
        encoder: Entry,
        space: Space,
    ) -> None:
        self._space = space
        self._sweep = sweep.model_copy(
            update={
                "datasets": [dataset],
                "encoders": [encoder],
                "combine": [],
                "tune": None,
                "build_seeds": 1,
                "health": False,
                "compare": type(sweep.compare)(),
                "filters": sweep.filters[:1],
            }
        )
        self._work = work

    def run(self, point: Mapping[str, Any]) -> Mapping[str, float | None]:
        """Return the figures of one point; none where it cannot be built."""
        sweep = self._sweep.model_copy(update={"indexes": [self._space.fill(point)]})
        try:
            plan = make_plan(sweep, self._work.store, skip_unavailable=False)
        except InputError as error:
            if "indexes" not in getattr(error, "location", ()):
                raise
            return {}  # such as more lists than documents: a point like any other that fails
        if len(plan.rows) != 1:
            raise SweepError(
                f"a search needs one configuration at a time, and this one gives {len(plan.rows)}: "
                "write datasets and encoders without lists",
                ("tune",),
            )
        (outcome,) = outcomes_of(*self._work.perform(plan))
        figures = row_record(plan, outcome)
        return {
            name: float(value)
            for name, value in figures.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
