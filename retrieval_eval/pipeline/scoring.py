"""A run to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from retrieval_eval import __version__
from retrieval_eval.evaluation import Evaluation, Evaluator
from retrieval_eval.pipeline.jobs import Bench, Job, Told
from retrieval_eval.pipeline.runs import run_of
from retrieval_eval.store import Artefact
from retrieval_eval.timing import library_versions

__all__ = ["EvaluateJob"]


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluateJob(Job):
    """Scores of a run; it needs the ``run``.

    Parameters
    ----------
    corpus_fingerprint : str
        Of the documents that the run names.
    query_ids, document_ids : sequence of str
        What rows of the hits stand for.
    evaluator : Evaluator
        Judgments and measures.
    """

    kind: ClassVar[str] = "evaluate"
    folder: ClassVar[str] = "evaluations"
    here: ClassVar[bool] = True

    corpus_fingerprint: str
    query_ids: Sequence[str]
    document_ids: Sequence[str]
    evaluator: Evaluator

    def decides(self) -> Mapping[str, Any]:
        """Return all that decides the scores."""
        return {
            "search": self.needs["run"].key,
            "documents": self.corpus_fingerprint,
            "qrels": self.evaluator.qrels.fingerprint,
            "measures": list(self.evaluator.measures),
            "versions": library_versions("ir-measures", "pytrec_eval-terrier"),
            "retrieval_eval": __version__,
        }

    def make(
        self, folder: Path, inputs: Mapping[str, Artefact], bench: Bench, told: Told
    ) -> Mapping[str, Any]:
        """Evaluate."""
        run = run_of(inputs["run"], "run", self.query_ids, self.document_ids)
        made = self.evaluator.evaluate(run)
        np.save(folder / "values.npy", made.values)
        return {"missing": made.missing, "query_ids": list(made.query_ids)}

    def evaluation(self, artefact: Artefact, name: str) -> Evaluation:
        """Read what this job has found, for the run of this name."""
        meta = artefact.meta
        values = np.load(artefact.folder / "values.npy")
        ids = tuple(meta["query_ids"])
        return Evaluation(name, self.evaluator.measures, ids, values, meta["missing"])
