"""What a search or a combination has found, as a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retrieval_eval.hits import Hits
from retrieval_eval.runs import Run
from retrieval_eval.store import Artefact

__all__ = ["RUN_FILE", "run_of"]

RUN_FILE = "run.parquet"
"""What a combination keeps its run in."""


def run_of(
    artefact: Artefact, name: str, query_ids: Sequence[str], document_ids: Sequence[str]
) -> Run:
    """Return the run that a search or a combination has found.

    Parameters
    ----------
    artefact : Artefact
        Of a :class:`SearchJob` or a :class:`CombineJob`.
    name : str
        What the run is called.
    query_ids, document_ids : sequence of str
        What rows of the hits stand for.
    """
    folder = artefact.folder
    if (folder / RUN_FILE).is_file():
        return replace(Run.from_file(folder / RUN_FILE), name=name)
    hits = Hits(np.load(folder / "ids.npy"), np.load(folder / "scores.npy"))
    return Run.from_hits(hits, query_ids, document_ids, name)
