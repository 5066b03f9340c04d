"""Repairing a quantised index by judged queries: the documents' codes stay, the rest is learnt.

Product quantisation is trained to reconstruct vectors, not to rank. A linear map of queries and the
centroids can be learnt from judged queries instead, on frozen embeddings, with the loss and the
negatives of Zhan et al. 2021 [1]_, who train the encoder of queries where a map stands here.

References
----------
.. [1] J. Zhan et al., Jointly Optimizing Query Encoder and Product Quantization to Improve
   Retrieval Performance, CIKM 2021.
"""

from retrieval_eval.repair.learning import Epoch, LearntRepair, RepairOptions, learn_repair
from retrieval_eval.repair.loss import candidates_of, pairwise_loss
from retrieval_eval.repair.study import HeldOutGain, held_out_gains

__all__ = [
    "Epoch",
    "HeldOutGain",
    "LearntRepair",
    "RepairOptions",
    "candidates_of",
    "held_out_gains",
    "learn_repair",
    "pairwise_loss",
]
