"""Training data from an index: hard negatives without the documents that are relevant after all."""

from retrieval_eval.mining.candidates import KINDS, Candidates, label_candidates
from retrieval_eval.mining.diversity import (
    cluster_documents,
    draw_by_quota,
    intra_list_distance,
    quotas,
)
from retrieval_eval.mining.negatives import STRATEGIES, Negatives, mine_negatives
from retrieval_eval.mining.training import LAYOUTS, training_rows, write_training_rows

__all__ = [
    "KINDS",
    "LAYOUTS",
    "STRATEGIES",
    "Candidates",
    "Negatives",
    "cluster_documents",
    "draw_by_quota",
    "intra_list_distance",
    "label_candidates",
    "mine_negatives",
    "quotas",
    "training_rows",
    "write_training_rows",
]
