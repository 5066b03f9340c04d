"""Scores of runs against judgments: measures, their kernels, and the evaluator that joins them."""

from retrieval_eval.evaluation.evaluator import (
    Evaluation,
    EvaluationOptions,
    Evaluator,
    aggregate,
    evaluate,
)
from retrieval_eval.evaluation.measures import (
    MEASURES,
    Measure,
    measure_depth,
    parse_measure,
    require_means,
    value_limits,
)

__all__ = [
    "MEASURES",
    "Evaluation",
    "EvaluationOptions",
    "Evaluator",
    "Measure",
    "aggregate",
    "evaluate",
    "measure_depth",
    "parse_measure",
    "require_means",
    "value_limits",
]
