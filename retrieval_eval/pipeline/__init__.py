"""The jobs of a sweep, each a function that looks into the store before it works.

Text to embeddings, embeddings to true neighbours and to an index, index to hits with their cost,
hits to a run, runs to a combined run, a run to scores. A job's key covers all that decides its
result, so equal jobs are done once.
"""

from retrieval_eval.pipeline.building import Attributes, Built, build
from retrieval_eval.pipeline.combining import CombinedRun, combine
from retrieval_eval.pipeline.embedding import Embeddings, check_texts, embed
from retrieval_eval.pipeline.health import find_health
from retrieval_eval.pipeline.runner import Runner
from retrieval_eval.pipeline.searching import Searched, score, search
from retrieval_eval.pipeline.truth import Truth, find_truth

__all__ = [
    "Attributes",
    "Built",
    "CombinedRun",
    "Embeddings",
    "Runner",
    "Searched",
    "Truth",
    "build",
    "check_texts",
    "combine",
    "embed",
    "find_health",
    "find_truth",
    "score",
    "search",
]
