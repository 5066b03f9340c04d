"""Searching a space of parameters within a budget: ranges, a goal, trials in order."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation import parse_measure
from retrieval_eval.plugins import require
from retrieval_eval.sweep.ranges import Space

__all__ = ["Constraint", "Goal", "Search", "Trial", "TuneSection"]

Evaluate = Callable[[dict[str, Any]], Mapping[str, float | None]]
"""From the parameters of a trial to columns of a table of results; None where unmeasured."""

_ENUMERATED = 4096  # points up to which a space is listed to find those that are left


@dataclass(frozen=True)
class TuneSection:
    """How ranges are searched.

    Parameters
    ----------
    goal : str
        Such as ``smallest latency_p95_s with neighbour_recall@10 >= 0.95``: see :class:`Goal`.
    sampler : {'bayesian', 'random'}
        Tree-structured Parzen estimator of optuna (the extra ``optuna``), or drawn evenly.
    trials : int or None
        Points tried for each index, dataset and encoder.
    seconds : float or None
        No trial begins later than this. With it, how many trials there are depends on the machine.
    """

    goal: str
    sampler: Literal["bayesian", "random"] = "bayesian"
    trials: Annotated[int, Ge(1)] | None = None
    seconds: Annotated[float, Gt(0)] | None = None


@dataclass(frozen=True)
class Constraint:
    """A bound that a column must keep.

    Parameters
    ----------
    column : str
        The column.
    at_least : bool
        Whether `bound` is the lowest value allowed, or the highest.
    bound : float
        The bound; itself allowed.
    """

    column: str
    at_least: bool
    bound: float

    def violation(self, value: float) -> float:
        """Return by how much a value breaks the bound; at most 0 if it keeps it."""
        return self.bound - value if self.at_least else value - self.bound

    def __str__(self) -> str:
        short = f"{self.bound:g}"
        bound = short if float(short) == self.bound else repr(self.bound)
        return f"{self.column} {'>=' if self.at_least else '<='} {bound}"


_COLUMN = r"[^\s()]+(?:\([^()]*\)\S*)?"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Goal:
    """What a search is for: a column as small or large as can be, within bounds of others.

    Parameters
    ----------
    column : str
        A column of numbers in ``results.parquet``.
    largest : bool
        Whether the largest value is wanted; else the smallest.
    constraints : tuple of Constraint
        Bounds that a trial must keep to be chosen.

    Examples
    --------
    >>> goal = Goal.parse("smallest latency_p95_s with nDCG@10 >= 0.4 and build_s <= 60")
    >>> goal.column, goal.constraints[1].bound
    ('latency_p95_s', 60.0)
    >>> str(goal)
    'smallest latency_p95_s with nDCG@10 >= 0.4 and build_s <= 60'
    """

    column: str
    largest: bool
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, text: str, columns: Iterable[str] | None = None) -> Goal:
        """Read a goal.

        Parameters
        ----------
        text : str
            ``smallest COLUMN`` or ``largest COLUMN``; then ``with COLUMN >= NUMBER``, or ``<=``,
            and more of these joined by ``and``.
        columns : iterable of str, optional
            The columns there will be; a measure may be written in any of its forms.

        Raises
        ------
        InputError
            If it is not of that form, or names a column that is not there (with a suggestion).
        """
        known = None if columns is None else list(columns)
        form = re.fullmatch(rf"\s*(smallest|largest)\s+({_COLUMN})(?:\s+with\s+(.+?))?\s*", text)
        parts = re.split(r"\s+and\s+", form[3]) if form and form[3] else []
        bounds = [re.fullmatch(rf"({_COLUMN}?)\s*(>=|<=)\s*({_NUMBER})", part) for part in parts]
        if form is None or None in bounds:
            raise InputError(
                f"goal is {text!r}: write 'smallest COLUMN' or 'largest COLUMN', then bounds such "
                "as 'with neighbour_recall@10 >= 0.95 and build_s <= 60'"
            )
        constraints = [
            Constraint(_column(one[1], known), one[2] == ">=", float(one[3]))
            for one in bounds
            if one is not None
        ]
        return cls(_column(form[2], known), form[1] == "largest", tuple(constraints))

    def __str__(self) -> str:
        bounds = " and ".join(map(str, self.constraints))
        what = f"{'largest' if self.largest else 'smallest'} {self.column}"
        return f"{what} with {bounds}" if bounds else what

    def status(self, values: Mapping[str, float | None]) -> Literal["ok", "infeasible", "failed"]:
        """Say whether results can be chosen; those that lack a column have failed."""
        for column in (self.column, *(one.column for one in self.constraints)):
            value = values.get(column)
            if value is None or not math.isfinite(value):
                return "failed"
        broken = any(one.violation(values[one.column] or 0.0) > 0 for one in self.constraints)
        return "infeasible" if broken else "ok"

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the first of the best trials that keep all bounds, or None if none does."""
        good = [trial for trial in trials if trial.status == "ok"]
        sign = -1 if self.largest else 1
        return min(good, key=lambda one: sign * (one.values[self.column] or 0.0), default=None)


def _column(name: str, columns: list[str] | None) -> str:
    if columns is None or name in columns:
        return name
    try:
        measure = parse_measure(name)
    except InputError:
        measure = name
    if measure in columns:
        return measure
    raise unknown_name("column (of the goal)", name, columns)


@dataclass(frozen=True)
class Trial:
    """A point that was tried.

    Parameters
    ----------
    number : int
        Its place in the order of trials, from 0.
    parameters : mapping of str to object
        What was chosen, by the path of keys.
    values : mapping of str to (float or None)
        What came out.
    status : {'ok', 'infeasible', 'failed'}
        Whether it keeps all bounds, breaks one, or lacks a value that the goal looks at.
    """

    number: int
    parameters: Mapping[str, Any]
    values: Mapping[str, float | None]
    status: Literal["ok", "infeasible", "failed"]


@dataclass(frozen=True)
class Search:
    """A search of one space for one goal; the same seed tries the same points in the same order.

    No point is tried twice, and a search ends early once a finite space has no other.

    Parameters
    ----------
    space : Space
        What may be chosen.
    goal : Goal
        What for.
    sampler : {'bayesian', 'random'}
        ``random`` draws evenly. ``bayesian`` is the tree-structured Parzen estimator (Bergstra et
        al. 2011) of optuna, which also learns from bounds that are broken; its first ten points
        are random. It repeats itself exactly for one version of optuna.
    trials : int or None
        Points tried, at most.
    seconds : float or None
        No trial begins later than this after the start.
    seed : int
        Of the sampler.

    Raises
    ------
    InputError
        If neither `trials` nor `seconds` bounds it.

    Examples
    --------
    >>> space = Space.of({"hnsw": {"search": {"ef": {"int": [10, 500], "log": True}}}})
    >>> goal = Goal.parse("smallest cost with recall >= 0.5")
    >>> search = Search(space, goal, sampler="random", trials=20)
    >>> trials = search.run(lambda point: {"cost": point["search.ef"], "recall": 0.6})
    >>> goal.best(trials).parameters == min(trials, key=lambda one: one.values["cost"]).parameters
    True
    """

    space: Space
    goal: Goal
    sampler: Literal["bayesian", "random"] = "bayesian"
    trials: int | None = None
    seconds: float | None = None
    seed: int = 0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        if self.trials is None and self.seconds is None:
            raise InputError("tune: a search needs a budget: give trials, or seconds, or both")

    def require(self) -> None:
        """Raise :class:`MissingExtraError` if the sampler's library is not installed."""
        if self.sampler == "bayesian":
            require("sampler 'bayesian'", {"optuna": "optuna"})

    def run(self, evaluate: Evaluate) -> list[Trial]:
        """Try points until the budget is spent.

        Parameters
        ----------
        evaluate : callable
            Takes the parameters of a trial (see :meth:`Space.fill`), and returns what came out of
            it. A column that the goal looks at and that is missing, None, NaN or infinite makes
            the trial a failed one, which is written down and never chosen. An exception ends the
            search.

        Returns
        -------
        list of Trial
            In order.
        """
        self.require()
        proposer = _Bayesian(self) if self.sampler == "bayesian" else _Random(self)
        found: list[Trial] = []
        end = math.inf if self.seconds is None else self.clock() + self.seconds
        most = min(self.space.size, math.inf if self.trials is None else self.trials)
        tried: set[str] = set()
        while len(found) < most and self.clock() < end:
            point = proposer.propose(tried)
            if point is None:
                break
            tried.add(_key(point))
            values = dict(evaluate(dict(point)))
            trial = Trial(len(found), point, values, self.goal.status(values))
            proposer.learn(trial)
            found.append(trial)
        return found

    def record(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Return all that was chosen, as plain values for a manifest."""
        best = self.goal.best(trials)
        sampler = self.sampler
        if sampler == "bayesian":
            import optuna

            made_by = f"optuna {optuna.__version__}, TPESampler"
        else:
            made_by = f"numpy {np.__version__}, default_rng"
        return {
            "goal": str(self.goal),
            "entry": self.space.entry,
            "sampler": sampler,
            "made_by": made_by,
            "seed": self.seed,
            "budget": {"trials": self.trials, "seconds": self.seconds},
            "trials": [
                {
                    "number": one.number,
                    "parameters": dict(one.parameters),
                    "values": {
                        key: value if value is None or math.isfinite(value) else None
                        for key, value in one.values.items()
                    },
                    "status": one.status,
                }
                for one in trials
            ],
            "best": None if best is None else best.number,
        }


def _key(point: Mapping[str, Any]) -> str:
    return repr([*point.values()])


class _Random:
    """Points drawn evenly, each once."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.rng = np.random.default_rng(search.seed)

    def propose(self, tried: set[str]) -> dict[str, Any] | None:
        """Return a point that was not tried, or None if none can be found."""
        space = self.search.space
        for _ in range(100):
            point = space.draw(self.rng)
            if _key(point) not in tried:
                return point
        if space.size > _ENUMERATED:
            return None
        left = [point for point in space.points() if _key(point) not in tried]
        return left[int(self.rng.integers(len(left)))] if left else None

    def learn(self, trial: Trial) -> None:
        """Learn nothing."""


class _Bayesian:
    """Points proposed by optuna; where it repeats itself, one drawn evenly."""

    def __init__(self, search: Search) -> None:
        import optuna

        self.search = search
        self.spare = _Random(search)
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces each new study
        try:
            self.study = optuna.create_study(
                direction="maximize" if search.goal.largest else "minimize",
                sampler=optuna.samplers.TPESampler(seed=search.seed),
            )
        finally:
            optuna.logging.set_verbosity(level)
        self.states = optuna.trial.TrialState
        self.distributions = {path: one.distribution() for path, one in search.space.ranges.items()}

    def propose(self, tried: set[str]) -> dict[str, Any] | None:
        """Return a point that was not tried, or None if none can be found."""
        point = self._ask()
        if _key(point) not in tried:
            return point
        self.study.tell(self.asked, state=self.states.FAIL)
        other = self.spare.propose(tried)
        if other is None:
            return None
        ranges = self.search.space.ranges
        self.study.enqueue_trial({path: ranges[path].encode(other[path]) for path in other})
        return self._ask()

    def _ask(self) -> dict[str, Any]:
        self.asked = self.study.ask(self.distributions)
        ranges = self.search.space.ranges
        return {path: one.decode(self.asked.params[path]) for path, one in ranges.items()}

    def learn(self, trial: Trial) -> None:
        """Tell optuna what came out."""
        if trial.status == "failed":
            self.study.tell(self.asked, state=self.states.FAIL)
            return
        for bound in self.search.goal.constraints:
            value = trial.values[bound.column]
            self.asked.set_constraint(str(bound), bound.violation(value or 0.0))
        self.study.tell(self.asked, trial.values[self.search.goal.column])
