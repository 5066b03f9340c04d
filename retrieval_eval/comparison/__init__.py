"""Comparing runs query by query: differences, intervals, tests, and the family they form."""

from retrieval_eval.comparison.causes import Explanation, MovedQuery, explain
from retrieval_eval.comparison.corrections import CORRECTIONS, correct
from retrieval_eval.comparison.differences import compare
from retrieval_eval.comparison.gates import GateVerdict, gate
from retrieval_eval.comparison.groups import indistinguishable_groups
from retrieval_eval.comparison.intervals import INTERVALS, difference_intervals, mean_intervals
from retrieval_eval.comparison.margins import MARGIN_TESTS, equivalence_p, noninferiority_p
from retrieval_eval.comparison.moves import MovedDocument
from retrieval_eval.comparison.omnibus import OMNIBUS_TESTS, OmnibusTest, omnibus_test, tukey_p
from retrieval_eval.comparison.orders import (
    AGGREGATIONS,
    CORRELATIONS,
    RankAggregation,
    RankCorrelation,
    aggregate_ranks,
    borda,
    kemeny,
    kendall_tau,
    rank_correlation,
    rbo,
    tau_ap,
)
from retrieval_eval.comparison.paired import PairedScores
from retrieval_eval.comparison.power import detectable_difference, queries_needed, smallest_p
from retrieval_eval.comparison.results import (
    COMPARE_TESTS,
    CompareOptions,
    Comparison,
    Difference,
)
from retrieval_eval.comparison.significance import TESTS, PairedTest, paired_test

__all__ = [
    "AGGREGATIONS",
    "COMPARE_TESTS",
    "CORRECTIONS",
    "CORRELATIONS",
    "INTERVALS",
    "MARGIN_TESTS",
    "OMNIBUS_TESTS",
    "TESTS",
    "CompareOptions",
    "Comparison",
    "Difference",
    "Explanation",
    "GateVerdict",
    "MovedDocument",
    "MovedQuery",
    "OmnibusTest",
    "PairedScores",
    "PairedTest",
    "RankAggregation",
    "RankCorrelation",
    "aggregate_ranks",
    "borda",
    "compare",
    "correct",
    "detectable_difference",
    "difference_intervals",
    "equivalence_p",
    "explain",
    "gate",
    "indistinguishable_groups",
    "kemeny",
    "kendall_tau",
    "mean_intervals",
    "noninferiority_p",
    "omnibus_test",
    "paired_test",
    "queries_needed",
    "rank_correlation",
    "rbo",
    "smallest_p",
    "tau_ap",
    "tukey_p",
]
