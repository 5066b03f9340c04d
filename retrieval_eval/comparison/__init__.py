"""Comparing runs query by query: differences, intervals, tests, and the family they form."""

from retrieval_eval.comparison.aggregation import RankAggregation, aggregate_ranks
from retrieval_eval.comparison.corrections import CORRECTIONS, correct
from retrieval_eval.comparison.differences import (
    COMPARE_TESTS,
    CompareOptions,
    Comparison,
    Difference,
    compare,
)
from retrieval_eval.comparison.gates import GateVerdict, gate
from retrieval_eval.comparison.groups import indistinguishable_groups
from retrieval_eval.comparison.intervals import INTERVALS, difference_intervals, mean_intervals
from retrieval_eval.comparison.margins import MARGIN_TESTS, equivalence_p, noninferiority_p
from retrieval_eval.comparison.omnibus import OMNIBUS_TESTS, OmnibusTest, omnibus_test, tukey_p
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.power import detectable_difference, queries_needed, smallest_p
from retrieval_eval.comparison.rank_correlation import RankCorrelation, rank_correlation
from retrieval_eval.comparison.significance import TESTS, PairedTest, paired_test

__all__ = [
    "COMPARE_TESTS",
    "CORRECTIONS",
    "INTERVALS",
    "MARGIN_TESTS",
    "OMNIBUS_TESTS",
    "TESTS",
    "CompareOptions",
    "Comparison",
    "Difference",
    "GateVerdict",
    "OmnibusTest",
    "PairedScores",
    "PairedTest",
    "RankAggregation",
    "RankCorrelation",
    "aggregate_ranks",
    "compare",
    "correct",
    "detectable_difference",
    "difference_intervals",
    "equivalence_p",
    "gate",
    "indistinguishable_groups",
    "mean_intervals",
    "noninferiority_p",
    "omnibus_test",
    "paired_test",
    "queries_needed",
    "rank_correlation",
    "smallest_p",
    "tukey_p",
]
