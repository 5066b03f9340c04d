"""The true nearest neighbours, by float64, and how much of them an index found.

Neighbour recall is measured against *exact search*. It is not recall against qrels.
"""

from retrieval_eval.neighbours.recall import (
    kth_scores,
    neighbour_recall,
    neighbour_recall_by_id,
)
from retrieval_eval.neighbours.scores import METRICS, Metric, true_scores
from retrieval_eval.neighbours.search import BUDGET_BYTES, exact_neighbours
from retrieval_eval.neighbours.sparse import exact_sparse_neighbours

__all__ = [
    "BUDGET_BYTES",
    "METRICS",
    "Metric",
    "exact_neighbours",
    "exact_sparse_neighbours",
    "kth_scores",
    "neighbour_recall",
    "neighbour_recall_by_id",
    "true_scores",
]
