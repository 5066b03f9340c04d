"""Runs to a combined run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from retrieval_eval import __version__
from retrieval_eval.combiners import CombineContext, Combiner
from retrieval_eval.datasets import Dataset
from retrieval_eval.plugins import own_code
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run
from retrieval_eval.store import Store
from retrieval_eval.timing import library_versions

__all__ = ["CombinedRun", "combine"]


@dataclass(frozen=True, eq=False)
class CombinedRun:
    """A run made of others.

    Parameters
    ----------
    key : str
        Key in the store.
    run : Run
        The run.
    facts : mapping
        What the combiner chose or measured, such as tuned weights.
    seconds : float
        What combining all queries took, when it was done.
    """

    key: str
    run: Run
    facts: Mapping[str, Any]
    seconds: float


def combine(
    store: Store,
    dataset: Dataset,
    combiner: Combiner,
    identity: Mapping[str, Any],
    parts: Sequence[tuple[str, str, Run]],
    *,
    qrels: Qrels,
    k: int,
    seed: int,
    name: str,
) -> CombinedRun:
    """Combine runs, or find the result in the store.

    Parameters
    ----------
    store : Store
        Where results are kept.
    dataset : Dataset
        The texts, for a combiner that reads them.
    combiner : Combiner
        How.
    identity : mapping
        What ``combiner.identity()`` returned: it may take a while.
    parts : sequence of (str, str, Run)
        Names, keys in the store, and runs.
    qrels : Qrels
        The judgments, for a combiner that tunes itself.
    k : int
        Documents a query.
    seed : int
        Of whatever is drawn.
    name : str
        What the run is called.
    """
    fields = {
        "parts": [[label, key] for label, key, _ in parts],
        "combiner": dict(identity),
        "code": own_code(type(combiner)),
        "versions": library_versions(*combiner.distributions),
        # Hits are rows of the corpus: their ids belong to what is kept.
        "documents": dataset.corpus_fingerprint,
        "queries": dataset.queries_fingerprint,
        "qrels": qrels.fingerprint if combiner.uses_judgments else None,
        "seed": seed if combiner.uses_judgments else None,
        "k": k,
        "retrieval_eval": __version__,
    }

    def make(folder: Path) -> Mapping[str, Any]:
        context = CombineContext(
            query_ids=dataset.query_ids,
            queries=dataset.queries,
            document_ids=dataset.document_ids,
            documents=dataset.documents,
            qrels=qrels,
            k=k,
            seed=seed,
            name=name,
        )
        began = perf_counter()
        runs = [replace(run, name=label) for label, _, run in parts]
        combined = combiner.combine(runs, context)
        seconds = perf_counter() - began
        combined.run.to_file(folder / "run.parquet")
        return {"facts": combined.facts, "seconds": seconds}

    found = store.get_or_make("combinations", fields, make)
    run = replace(Run.from_file(found.folder / "run.parquet"), name=name)
    return CombinedRun(found.key, run, found.meta["facts"], found.meta["seconds"])
