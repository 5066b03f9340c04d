"""Scoring runs against qrels: per query first, means second."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["Evaluation", "Evaluator", "evaluate", "measure_depth", "parse_measure"]


_KNOWN = (
    *("AP", "Bpref", "IPrec", "Judged", "NumRel", "NumRet", "P", "R"),
    *("RR", "Rprec", "SetAP", "SetF", "SetP", "SetR", "Success", "infAP", "nDCG"),
)


def _providers() -> Any:
    """Return what computes measures: libraries only, no scripts in processes of their own."""
    import ir_measures

    return ir_measures.providers.FallbackProvider(
        [ir_measures.pytrec_eval, ir_measures.judged, ir_measures.msmarco]
    )


def parse_measure(text: str, where: str = "") -> str:
    """Check the name of a measure, and return it in its canonical form.

    Parameters
    ----------
    text : str
        A measure in the grammar of ir-measures, for instance ``nDCG@10`` or ``AP(rel=2)@100``.
    where : str, optional
        File or option where it stands, for the message.

    Raises
    ------
    InputError
        If it is no measure, or one that no provider computes.

    Examples
    --------
    >>> parse_measure("AP(rel=2)@100")
    'AP(rel=2)@100'
    >>> parse_measure("ndgc@10")
    Traceback (most recent call last):
    ...
    retrieval_eval.errors.InputError: unknown measure 'ndgc'. Did you mean 'nDCG'? \
Available: AP, Bpref, IPrec, Judged, NumRel, NumRet, P, R, RR, Rprec, SetAP, SetF, SetP, SetR, \
Success, infAP, nDCG
    """
    import ir_measures

    prefix = f"{where}: " if where else ""
    try:
        measure = ir_measures.parse_measure(text)
        measure.validate_params()
    except NameError:
        stem = re.split(r"[(@]", text)[0]
        raise unknown_name("measure", stem, _KNOWN, where) from None
    except Exception as error:  # noqa: BLE001 (the parser raises whatever its grammar hits)
        reason = " ".join(str(error).split())
        raise InputError(f"{prefix}measure {text!r} cannot be read: {reason}") from None
    if measure.params.get("cutoff", 1) == 0 or not _providers().supports(measure):
        raise InputError(f"{prefix}measure {text!r} cannot be computed with these parameters")
    return str(measure)


def measure_depth(measure: str) -> int | None:
    """Return the rank at which a measure cuts the list, or None if it has no cut-off.

    Examples
    --------
    >>> measure_depth("R@100"), measure_depth("AP")
    (100, None)
    """
    import ir_measures

    cutoff = ir_measures.parse_measure(measure).params.get("cutoff")
    return int(cutoff) if isinstance(cutoff, int) else None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of one run.

    Parameters
    ----------
    run_name : str
        Name of the run.
    measures : tuple of str, length m
        The measures, canonical.
    query_ids : tuple of str, length q
        All judged queries, in the order of the qrels.
    values : ndarray of float64, shape (m, q)
        Score of each measure on each query; 0 for a judged query that the run does not answer.
    missing : int
        How many judged queries the run does not answer.
    """

    run_name: str
    measures: tuple[str, ...]
    query_ids: tuple[str, ...]
    values: NDArray[np.float64]
    missing: int

    def per_query(self, measure: str) -> NDArray[np.float64]:
        """Return one measure's scores, in the order of ``query_ids``; shape (q,)."""
        if measure not in self.measures:
            raise unknown_name("measure", measure, self.measures)
        row: NDArray[np.float64] = self.values[self.measures.index(measure)]
        return row

    @cached_property
    def means(self) -> Mapping[str, float]:
        """Mean of each measure over all judged queries."""
        return dict(zip(self.measures, self.values.mean(axis=1).tolist(), strict=True))


class Evaluator:
    """Scores many runs against one qrels.

    Parameters
    ----------
    qrels : Qrels
        The judgments; every judged query counts, answered or not.
    measures : sequence of str
        Measures in the grammar of ir-measures.

    Notes
    -----
    Values come from ir-measures (trec_eval's code where it has the measure). Its providers break
    ties in different ways, so it is given ranks instead of scores: every measure sees the order of
    :class:`~retrieval_eval.runs.Run`, score descending, then document id descending, bytewise.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"b": 1}})
    >>> run = Run.from_mapping({"q1": {"a": 0.5, "c": 0.5}})
    >>> Evaluator(qrels, ["RR@10"]).evaluate(run).means
    {'RR@10': 0.25}
    """

    def __init__(self, qrels: Qrels, measures: Sequence[str]) -> None:
        import ir_measures

        if not measures:
            raise InputError("name at least one measure, for instance nDCG@10")
        self.qrels = qrels
        self.measures = tuple(dict.fromkeys(parse_measure(measure) for measure in measures))
        self._parsed = [ir_measures.parse_measure(measure) for measure in self.measures]
        # All negative grades mean the same, and trec_eval's code writes out of bounds below -1.
        grades = {
            query: {document: max(grade, -1) for document, grade in judged.items()}
            for query, judged in qrels.mapping.items()
        }
        self._bound: Any = _providers().evaluator(self._parsed, grades)

    def evaluate(self, run: Run) -> Evaluation:
        """Score one run; the run is not changed."""
        row_of = {query_id: row for row, query_id in enumerate(self.qrels.query_ids)}
        measure_row = {measure: row for row, measure in enumerate(self._parsed)}
        values = np.zeros((len(self.measures), len(row_of)))
        ranked = _ranks_as_scores(run, row_of)
        for metric in self._bound.iter_calc(ranked) if ranked else ():
            value = float(metric.value)
            values[measure_row[metric.measure], row_of[metric.query_id]] = value
        if not np.isfinite(values).all():
            row, column = (int(axis[0]) for axis in np.nonzero(~np.isfinite(values)))
            raise InputError(
                f"measure {self.measures[row]} is undefined on query "
                f"{self.qrels.query_ids[column]!r} of run {run.name!r}"
            )
        return Evaluation(
            run.name, self.measures, self.qrels.query_ids, values, len(row_of) - len(ranked)
        )


def _ranks_as_scores(run: Run, judged: Mapping[str, int]) -> dict[str, dict[str, float]]:
    edges = np.searchsorted(run.query, np.arange(len(run.query_ids) + 1)).tolist()
    ids = run.document_ids
    ranked = {}
    for row, query_id in enumerate(run.query_ids):
        start, stop = edges[row], edges[row + 1]
        if stop > start and query_id in judged:
            rows = run.document[start:stop].tolist()
            names = [ids[document] for document in rows]
            ranked[query_id] = dict(zip(names, map(float, range(len(names), 0, -1)), strict=True))
    return ranked


def evaluate(qrels: Qrels, run: Run, measures: Sequence[str]) -> Evaluation:
    """Score one run against qrels.

    Parameters
    ----------
    qrels : Qrels
        The judgments.
    run : Run
        The run.
    measures : sequence of str
        For instance ``["nDCG@10", "RR@10", "R@100"]``.

    Returns
    -------
    Evaluation
        Over all judged queries; those that the run does not answer score 0 and are counted.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1}})
    >>> evaluate(qrels, Run.from_mapping({"q1": {"b": 2.0, "a": 1.0}}), ["RR"]).means
    {'RR': 0.5}
    """
    return Evaluator(qrels, measures).evaluate(run)
