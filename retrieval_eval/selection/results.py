"""What a selection found: answers, candidates, certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from retrieval_eval.selection.goals import Cost, Goal

__all__ = [
    "OUTCOMES",
    "Answer",
    "Candidate",
    "Certificate",
    "PartScores",
    "Place",
    "SelectOptions",
    "Selection",
]

OUTCOMES: Mapping[str, str] = {
    "chosen": "the cheapest one that is certified",
    "certified": "not inferior either, but the chosen one costs less",
    "failed": "tested on held-out queries, and not shown to lose less than the margin",
    "not reached": "cheaper, but comes after the first that failed, so it was not tested",
    "surer": "another one costs no more and was the surer one on tuning queries",
    "screened": "loses the margin or more on tuning queries",
    "not cheaper": "costs no less than the reference",
    "goal": "misses a goal",
    "unmeasured": "its cost, or what a goal asks for, was not measured",
    "not everywhere": "not in every dataset, or not usable in one of them",
    "not run": "skipped or failed in the sweep",
}


@dataclass(frozen=True)
class SelectOptions:
    """How a configuration is chosen.

    Parameters
    ----------
    measure : str
        The measure, canonical.
    margin : float
        How much of it may be lost, in its unit.
    cost : Cost
        What is to be small.
    goals : tuple of Goal
        What else a configuration has to reach.
    reference : str or None
        What candidates are compared with; None: the sweep's reference, of the same encoder.
    tune : float or None
        Share of the queries to choose by; None if the queries were given.
    seed : int
        Of dealing the queries.
    alpha : float
        Chance of a false certificate that is accepted.
    family : {'all', 'each'}
        Whether alpha is shared by the answers, or each has it whole.
    rare_loss : float or None
        Largest loss on a single query that is guarded against although no query may show it.
    """

    measure: str
    margin: float
    cost: Cost
    goals: tuple[Goal, ...]
    reference: str | None
    tune: float | None
    seed: int
    alpha: float
    family: Literal["all", "each"]
    rare_loss: float | None


@dataclass(frozen=True, order=True)
class Place:
    """A dataset, under a filter or none."""

    dataset: str
    filter: str | None = None

    def __str__(self) -> str:
        return self.dataset if self.filter is None else f"{self.dataset}, {self.filter}"


@dataclass(frozen=True)
class PartScores:
    """A candidate beside the reference on one part of the queries.

    Parameters
    ----------
    n, n_differing : int
        Queries on which both are defined, and those on which their scores differ.
    score, reference, difference : float
        Means over them, and candidate minus reference; NaN without a query.
    p : float
        Of the hypothesis that the margin or more is lost; NaN for fewer than two queries.
    spread : float
        Standard deviation of the differences.
    """

    n: int
    n_differing: int
    score: float
    reference: float
    difference: float
    p: float
    spread: float


@dataclass(frozen=True)
class Certificate:
    """What held-out queries show of the chosen configuration.

    Parameters
    ----------
    level : float
        Level of the test.
    p : float
        Of the hypothesis that the margin or more is lost, in one of the places at least.
    p_adjusted : float
        The largest p of the tests up to this one: at most `level`.
    tests : int
        How many candidates were tested up to this one.
    difference : tuple of float
        Candidate minus reference, in each place.
    ci95 : tuple of (float, float)
        Student's t intervals of these differences, each on its own.
    lower_bound : tuple of float
        One-sided lower bounds of them, at confidence ``1 - level``, each on its own.
    unseen : tuple of (float or None)
        Where no held-out query differs: the share of all queries on which the candidate may still
        differ, at that confidence.
    """

    level: float
    p: float
    p_adjusted: float
    tests: int
    difference: tuple[float, ...]
    ci95: tuple[tuple[float, float], ...]
    lower_bound: tuple[float, ...]
    unseen: tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A configuration, and what became of it.

    Parameters
    ----------
    row_ids : tuple of str
        Its row in each place.
    encoder, configuration : str
        As tables show them.
    cost : float or None
        In the unit of the cost; relative to the reference where there are several places. None if
        it was not measured.
    outcome : str
        One of :data:`OUTCOMES`.
    reason : str
        The outcome in a sentence, with its figures.
    tuning : tuple of PartScores
        On tuning queries, in each place; empty if it was not run everywhere.
    held_out : tuple of PartScores
        On held-out queries; empty if it was not tested on them.
    """

    row_ids: tuple[str, ...]
    encoder: str
    configuration: str
    cost: float | None
    outcome: str
    reason: str
    tuning: tuple[PartScores, ...] = ()
    held_out: tuple[PartScores, ...] = ()

    @property
    def name(self) -> str:
        """Encoder and configuration."""
        return f"{self.encoder} | {self.configuration}"

    @property
    def optimism(self) -> tuple[float, ...]:
        """Tuning score minus held-out score, minus the same of the reference, in each place.

        What choosing by the tuning queries flatters: both parts' difficulty cancels.
        """
        return tuple(
            tuned.difference - held.difference
            for tuned, held in zip(self.tuning, self.held_out, strict=False)
        )


@dataclass(frozen=True, eq=False)
class Answer:
    """One question's answer: a dataset and encoder, or several datasets at once.

    Parameters
    ----------
    places : tuple of Place
        Where the configuration has to hold; several: in all of them.
    encoder : str or None
        Whose configurations were looked at; None: those of all encoders.
    reference : Candidate
        What they were compared with; its parts are compared with themselves.
    level : float
        Level of the tests.
    candidates : tuple of Candidate
        All others: first those that were tested, from the surest to the cheapest, then those that
        were not reached, then the rest by cost.
    chosen : Candidate or None
        The cheapest one that is certified.
    certificate : Certificate or None
        What is known of it.
    leader : Candidate or None
        The best one by the mean tuning score of those that were looked at: what a leaderboard would
        crown. It was taken without a look at held-out queries, so that its held-out scores are
        not flattered, whatever was chosen.
    nearest : Candidate or None
        Where nothing could be certified: the one that was surest on tuning queries.
    queries_needed, queries_needed_if_equal : int or None
        How many queries, of both parts together, would show it four times in five, if its true
        difference is the one seen on held-out queries; and if it is as good as the reference. None
        if no number would, or there is nothing to show.
    """

    places: tuple[Place, ...]
    encoder: str | None
    reference: Candidate
    level: float
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    certificate: Certificate | None
    leader: Candidate | None
    nearest: Candidate | None
    queries_needed: int | None
    queries_needed_if_equal: int | None

    @property
    def is_joint(self) -> bool:
        """Whether it speaks of several datasets at once."""
        return len(self.places) > 1

    @property
    def title(self) -> str:
        """Places and encoder in words."""
        where = "; ".join(map(str, self.places))
        return where if self.encoder is None else f"{where} | {self.encoder}"


@dataclass(frozen=True, eq=False)
class Selection:
    """What :func:`retrieval_eval.selection.select` found.

    Parameters
    ----------
    options : SelectOptions
        How it was asked.
    answers : tuple of Answer
        One for each dataset, filter and encoder, then those that hold in all places.
    parts : mapping of str to (tuple of str, tuple of str)
        Tuning and held-out queries of each dataset.
    left_out : tuple of Candidate
        Rows that have no reference to be compared with.
    notes : tuple of str
        What a reader has to know.
    """

    options: SelectOptions
    answers: tuple[Answer, ...]
    parts: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    left_out: tuple[Candidate, ...]
    notes: tuple[str, ...]

    @property
    def certified(self) -> bool:
        """Whether any answer has a certificate."""
        return any(answer.chosen is not None for answer in self.answers)
