"""How good a set of embeddings looks without labels: rank, hubs, copies, lengths, cones.

No figure here is a verdict. RankMe went together with downstream quality where it was proposed;
for retrieval only qrels tell. What the figures do well is to show that something is broken.
"""

from retrieval_eval.health.figures import FIGURES, QUERY_FIGURES, EmbeddingHealth
from retrieval_eval.health.hubs import Hubness, hubness
from retrieval_eval.health.measure import SPECTRUM_ROWS, SUBCORPUS_ROWS, embedding_health
from retrieval_eval.health.spectrum import effective_rank

__all__ = [
    "FIGURES",
    "QUERY_FIGURES",
    "SPECTRUM_ROWS",
    "SUBCORPUS_ROWS",
    "EmbeddingHealth",
    "Hubness",
    "effective_rank",
    "embedding_health",
    "hubness",
]
