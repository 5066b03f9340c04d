"""Choosing a configuration: the cheapest one that is shown to lose less than a margin."""

from retrieval_eval.selection.choose import select
from retrieval_eval.selection.front import CRITERIA, Front, find_fronts, pareto_front
from retrieval_eval.selection.goals import COSTS, Cost, Goal
from retrieval_eval.selection.results import (
    OUTCOMES,
    Answer,
    Candidate,
    Certificate,
    PartScores,
    Place,
    Selection,
    SelectOptions,
)
from retrieval_eval.selection.tables import SweepTables

__all__ = [
    "COSTS",
    "CRITERIA",
    "OUTCOMES",
    "Answer",
    "Candidate",
    "Certificate",
    "Cost",
    "Front",
    "Goal",
    "PartScores",
    "Place",
    "SelectOptions",
    "Selection",
    "SweepTables",
    "find_fronts",
    "pareto_front",
    "select",
]
