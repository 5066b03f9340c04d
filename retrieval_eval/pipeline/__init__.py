"""The jobs of a sweep, each with one artefact of the store as its result.

Text to embeddings, embeddings to true neighbours and to an index, index to hits with their cost,
hits to a run, runs to a combined run, a run to scores. A job's key covers all that decides its
result, so equal jobs are done once.
"""

from retrieval_eval.pipeline.building import Attributes, BuildJob, Built
from retrieval_eval.pipeline.combining import CombinedRun, CombineJob
from retrieval_eval.pipeline.embedding import (
    Embeddings,
    EncodeJob,
    check_texts,
    embed,
    encode_jobs,
)
from retrieval_eval.pipeline.health import HealthJob
from retrieval_eval.pipeline.jobs import Bench, Effort, Job, Size
from retrieval_eval.pipeline.runs import run_of
from retrieval_eval.pipeline.scoring import EvaluateJob
from retrieval_eval.pipeline.searching import Searched, SearchJob
from retrieval_eval.pipeline.truth import NeighboursJob, Truth

__all__ = [
    "Attributes",
    "Bench",
    "BuildJob",
    "Built",
    "CombineJob",
    "CombinedRun",
    "Effort",
    "Embeddings",
    "EncodeJob",
    "EvaluateJob",
    "HealthJob",
    "Job",
    "NeighboursJob",
    "SearchJob",
    "Searched",
    "Size",
    "Truth",
    "check_texts",
    "embed",
    "encode_jobs",
    "run_of",
]
