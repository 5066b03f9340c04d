"""How far conclusions hold: with fewer or wrong judgments, on groups of queries, unjudged aside."""

from retrieval_eval.comparison.robustness.contrasts import SliceContrast, slice_contrasts
from retrieval_eval.comparison.robustness.discriminativeness import (
    Discriminativeness,
    discriminativeness,
)
from retrieval_eval.comparison.robustness.label_noise import LabelNoise, flip_labels, label_noise
from retrieval_eval.comparison.robustness.query_labels import (
    near_far_labels,
    read_query_column,
    read_query_texts,
    slice_labels_by_length,
)
from retrieval_eval.comparison.robustness.reductions import (
    complete_pool,
    pool_depth,
    sample_judgments,
    sample_queries,
)
from retrieval_eval.comparison.robustness.repeated import (
    STATEMENTS,
    StatementsKept,
    reduced_judgments,
    statements_kept,
)
from retrieval_eval.comparison.robustness.slices import (
    NO_LABEL,
    QuerySlice,
    SliceComparison,
    Slices,
    compare_slices,
)
from retrieval_eval.comparison.robustness.unjudged import UnjudgedEffect, unjudged

__all__ = [
    "NO_LABEL",
    "STATEMENTS",
    "Discriminativeness",
    "LabelNoise",
    "QuerySlice",
    "SliceComparison",
    "SliceContrast",
    "Slices",
    "StatementsKept",
    "UnjudgedEffect",
    "compare_slices",
    "complete_pool",
    "discriminativeness",
    "flip_labels",
    "label_noise",
    "near_far_labels",
    "pool_depth",
    "read_query_column",
    "read_query_texts",
    "reduced_judgments",
    "sample_judgments",
    "sample_queries",
    "slice_contrasts",
    "slice_labels_by_length",
    "statements_kept",
    "unjudged",
]
