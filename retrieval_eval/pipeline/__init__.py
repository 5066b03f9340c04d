"""The jobs of a sweep, each a function that looks into the store before it works.

Text to embeddings, embeddings to true neighbours and to an index, index to hits with their cost,
hits to scores. A job's key covers all that decides its result, so equal jobs are done once.
"""

from retrieval_eval.pipeline.building import Attributes, Built, build
from retrieval_eval.pipeline.embedding import Embeddings, embed
from retrieval_eval.pipeline.searching import Searched, score, search
from retrieval_eval.pipeline.truth import Truth, find_truth

__all__ = [
    "Attributes",
    "Built",
    "Embeddings",
    "Searched",
    "Truth",
    "build",
    "embed",
    "find_truth",
    "score",
    "search",
]
