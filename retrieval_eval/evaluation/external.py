"""Measures that ir-measures computes, by libraries only: none of its scripts is started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.evaluation.measures import Measure
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["external_values"]


def external_values(measures: Sequence[Measure], qrels: Qrels, run: Run) -> NDArray[np.float64]:
    """Return values, shape (measures, queries of the qrels); 0 for queries not answered.

    Providers break ties in different ways, so they are given ranks instead of scores: each sees
    the order of :class:`~retrieval_eval.runs.Run`.
    """
    import ir_measures

    provider: Any = ir_measures.providers.FallbackProvider(
        [ir_measures.pytrec_eval, ir_measures.compat]
    )
    row_of = {query_id: row for row, query_id in enumerate(qrels.query_ids)}
    values = np.zeros((len(measures), len(row_of)))
    ranked = {
        query: dict(zip(scored, map(float, range(len(scored), 0, -1)), strict=True))
        for query, scored in run.to_mapping().items()
        if scored and query in row_of
    }
    # All negative grades mean the same, and trec_eval's code writes out of bounds below -1.
    grades = {
        query: {document: max(grade, -1) for document, grade in judged.items()}
        for query, judged in qrels.mapping.items()
        if query in ranked
        and max(judged.values(), default=-1) >= 0  # trec_eval's code may never return
    }
    if not grades:
        return values
    parsed = [ir_measures.parse_measure(str(measure)) for measure in measures]
    measure_row = {measure: row for row, measure in enumerate(parsed)}
    for metric in provider.evaluator(parsed, grades).iter_calc({q: ranked[q] for q in grades}):
        values[measure_row[metric.measure], row_of[metric.query_id]] = float(metric.value)
    return values
