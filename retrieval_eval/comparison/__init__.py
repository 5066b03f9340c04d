"""Comparing runs query by query: differences, intervals, tests, and the family they form."""

from retrieval_eval.comparison.corrections import CORRECTIONS, correct
from retrieval_eval.comparison.differences import TESTS, Comparison, Difference, compare
from retrieval_eval.comparison.margins import not_inferior_p
from retrieval_eval.comparison.resampling import bootstrap_intervals, randomization_p

__all__ = [
    "CORRECTIONS",
    "TESTS",
    "Comparison",
    "Difference",
    "bootstrap_intervals",
    "compare",
    "correct",
    "not_inferior_p",
    "randomization_p",
]
