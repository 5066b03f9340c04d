"""What repairs gain on queries that they were not learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.comparison import Difference, PairedTest, compare, paired_test
from retrieval_eval.datasets import Dataset
from retrieval_eval.evaluation import Evaluation, Evaluator
from retrieval_eval.indexes import Index
from retrieval_eval.indexes.repaired import RepairedIndex
from retrieval_eval.repair.learning import learn_repair
from retrieval_eval.runs import Run

__all__ = ["HeldOutGain", "held_out_gains"]

Learnt = Literal["map", "centroids", "both"]


@dataclass(frozen=True)
class HeldOutGain:
    """One repair on held-out queries.

    Parameters
    ----------
    name : str
        The index, and what was learnt for it.
    best, epochs : int or None
        The epoch that validation queries chose, and how many there were; 0 is the index as it was.
        None for a map that was learnt for another index.
    before, after : float
        Means of the measure.
    difference : Difference
        After minus before, query by query; its p is corrected over all gains of the study.
    beyond_exact : PairedTest or None
        For a map: its gain minus that of the same map around exact search. What is left is
        repair; what exact search gains as well is a better embedding of queries.
    """

    name: str
    best: int | None
    epochs: int | None
    before: float
    after: float
    difference: Difference
    beyond_exact: PairedTest | None = None


def held_out_gains(
    indexes: Mapping[str, Index],
    exact: Index,
    dataset: Dataset,
    queries: NDArray[np.floating],
    parts: Mapping[str, Sequence[str]],
    *,
    learn: Sequence[Learnt] = ("map", "centroids", "both"),
    measure: str = "nDCG@10",
    depth: int = 100,
    **settings: Any,
) -> list[HeldOutGain]:
    """Learn repairs, and compare each index before and after on held-out queries.

    Parameters
    ----------
    indexes : mapping of str to Index
        Built, as :func:`~retrieval_eval.repair.learn_repair` takes them.
    exact : Index
        Exact search, built from the same documents with the same metric.
    dataset : Dataset
        Documents, queries and judgments.
    queries : ndarray of float, shape (q, d)
        Embeddings of the dataset's queries.
    parts : mapping of str to sequence of str
        ``training``, ``validation`` and ``held-out``: ids of queries. Held-out ones are searched
        and scored, and nothing else; see :func:`retrieval_eval.validation.apart.keep_apart`.
    learn : sequence of {'map', 'centroids', 'both'}
        What is learnt for each index, each time anew. A map goes around exact search, too.
    measure : str
        What is compared, and by which validation queries choose the epoch.
    depth : int
        Hits of each held-out query.
    **settings
        Further options of :class:`~retrieval_eval.repair.RepairOptions`.

    Returns
    -------
    list of HeldOutGain
        Tests and intervals are the defaults of :func:`retrieval_eval.comparison.compare`.
    """
    row_of = {one: row for row, one in enumerate(dataset.query_ids)}
    held = parts["held-out"]
    asked = queries[[row_of[one] for one in held]]
    evaluator = Evaluator(dataset.qrels.only_queries(held), [measure])

    def score(name: str, index: Index) -> Evaluation:
        hits = index.search(asked, depth)
        return evaluator.evaluate(Run.from_hits(hits, held, dataset.document_ids, name))

    plain = score("exact search", exact)
    runs: list[Evaluation] = []
    facts: list[dict[str, Any]] = []
    for name, index in indexes.items():
        before = score(name, index)
        for what in learn:
            found = learn_repair(
                index,
                dataset,
                queries,
                training=parts["training"],
                validation=parts["validation"],
                learn=what,
                measure=measure,
                **settings,
            )
            after = score(f"{name}, {what}", RepairedIndex.around(index, found.repair))
            runs += [before, after]
            facts.append({"best": found.best, "epochs": len(found.epochs) - 1})
            if what != "map":
                continue
            mapped = score(
                f"exact search, map of {name}", RepairedIndex.around(exact, found.repair)
            )
            gain, gain_of_exact = (
                changed.per_query(measure) - first.per_query(measure)
                for changed, first in ((after, before), (mapped, plain))
            )
            facts[-1]["beyond_exact"] = paired_test(gain, gain_of_exact)
            runs += [plain, mapped]
            facts.append({"best": None, "epochs": None})
    pairs = [(place + 1, place) for place in range(0, len(runs), 2)]
    compared = compare(runs, pairs=pairs)
    return [
        HeldOutGain(
            name=one.a,
            before=runs[first].means[measure],
            after=runs[second].means[measure],
            difference=one,
            **known,
        )
        for one, (second, first), known in zip(compared.differences, pairs, facts, strict=True)
    ]
