"""retrieval_eval: which encoder and which ANN index is good enough, how sure, at what cost.

Every public name below loads on first use; importing the package alone does nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_eval.comparison import (
        CompareOptions,
        Comparison,
        Difference,
        compare,
        paired_test,
    )
    from retrieval_eval.datasets import Dataset, DatasetSource, load_dataset
    from retrieval_eval.encoders import Encoder, get_encoder
    from retrieval_eval.errors import InputError, MissingExtraError, RetrievalEvalError
    from retrieval_eval.evaluation import (
        Evaluation,
        EvaluationOptions,
        Evaluator,
        Measure,
        evaluate,
    )
    from retrieval_eval.filters import Filter
    from retrieval_eval.hits import Hits
    from retrieval_eval.ids import Ids
    from retrieval_eval.indexes import Index, get_index
    from retrieval_eval.neighbours import exact_neighbours, neighbour_recall
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.remote import open_store
    from retrieval_eval.runs import Run
    from retrieval_eval.store import Store
    from retrieval_eval.sweep import Results, Sweep, load_sweep, run_sweep

__version__ = "0.1.0"

_HOME = {
    "CompareOptions": "comparison",
    "Comparison": "comparison",
    "Dataset": "datasets",
    "DatasetSource": "datasets",
    "Difference": "comparison",
    "Encoder": "encoders",
    "Evaluation": "evaluation",
    "EvaluationOptions": "evaluation",
    "Evaluator": "evaluation",
    "Filter": "filters",
    "Hits": "hits",
    "Ids": "ids",
    "Index": "indexes",
    "InputError": "errors",
    "Measure": "evaluation",
    "MissingExtraError": "errors",
    "Qrels": "qrels",
    "Results": "sweep",
    "RetrievalEvalError": "errors",
    "Run": "runs",
    "Store": "store",
    "Sweep": "sweep",
    "compare": "comparison",
    "evaluate": "evaluation",
    "exact_neighbours": "neighbours",
    "get_combiner": "combiners",
    "get_encoder": "encoders",
    "get_index": "indexes",
    "load_dataset": "datasets",
    "load_sweep": "sweep",
    "neighbour_recall": "neighbours",
    "open_store": "remote",
    "paired_test": "comparison",
    "run_sweep": "sweep",
}

__all__ = [
    "CompareOptions",
    "Comparison",
    "Dataset",
    "DatasetSource",
    "Difference",
    "Encoder",
    "Evaluation",
    "EvaluationOptions",
    "Evaluator",
    "Filter",
    "Hits",
    "Ids",
    "Index",
    "InputError",
    "Measure",
    "MissingExtraError",
    "Qrels",
    "Results",
    "RetrievalEvalError",
    "Run",
    "Store",
    "Sweep",
    "compare",
    "evaluate",
    "exact_neighbours",
    "get_combiner",
    "get_encoder",
    "get_index",
    "load_dataset",
    "load_sweep",
    "neighbour_recall",
    "open_store",
    "paired_test",
    "run_sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
