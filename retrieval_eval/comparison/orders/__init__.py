"""Orders of systems: aggregated over datasets, and how far two of them agree."""

from retrieval_eval.comparison.orders.aggregation import (
    AGGREGATIONS,
    RankAggregation,
    aggregate_ranks,
    borda,
    kemeny,
)
from retrieval_eval.comparison.orders.correlation import (
    CORRELATIONS,
    RankCorrelation,
    kendall_tau,
    rank_correlation,
    rbo,
    tau_ap,
)

__all__ = [
    "AGGREGATIONS",
    "CORRELATIONS",
    "RankAggregation",
    "RankCorrelation",
    "aggregate_ranks",
    "borda",
    "kemeny",
    "kendall_tau",
    "rank_correlation",
    "rbo",
    "tau_ap",
]
