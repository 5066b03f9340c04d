"""Scoring runs against qrels: per query first, aggregates second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.evaluation.external import external_values
from retrieval_eval.evaluation.kernels import compute
from retrieval_eval.evaluation.measures import MEASURES, Measure
from retrieval_eval.evaluation.pairing import Judgments
from retrieval_eval.evaluation.pooled import micro_average_precision, sampled_reciprocal_rank
from retrieval_eval.formats.columns import DUPLICATES, Duplicates
from retrieval_eval.qrels import Qrels
from retrieval_eval.runs import Run

__all__ = ["Evaluation", "EvaluationOptions", "Evaluator", "aggregate", "evaluate"]

_Form = TypeVar("_Form", Run, Qrels)
_POOLED = {"GAP": micro_average_precision, "SampledRR": sampled_reciprocal_rank}
_SMALLEST = 0.00001  # what trec_eval raises values to before it takes their logarithm
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "missing": ("zero", "skip"),
    "ties": ("trec", "expected"),
    "duplicates": DUPLICATES,
    "score_precision": ("float64", "float32"),
}


@dataclass(frozen=True)
class EvaluationOptions:
    """Everything besides qrels, run and measures that decides a result.

    Parameters
    ----------
    missing : {'zero', 'skip'}
        Judged queries that a run does not answer: score 0, or are left out of its means (as
        trec_eval 9 does without -c).
    duplicates : {'error', 'first', 'max'}
        A document listed twice for a query, where a file, frame or records are read.
    ties : {'trec', 'expected'}
        Documents with equal scores: in trec_eval's order, document id descending, or the expected
        value over all their orders.
    relevance_level : int, at least 1
        Grade from which documents are relevant, for measures that do not say ``rel=`` (-l).
    gains : tuple of (grade, gain) pairs, or None
        Gain of each grade, for DCG and nDCG measures without ``gains=``; other grades keep theirs.
    judged_only : bool
        Remove unjudged documents first, for measures that do not say ``judged_only=`` (-J).
    drop_self : bool
        Leave out documents whose id is the query's own, in the run and in the judgments.
    score_precision : {'float64', 'float32'}
        float32 ties scores that differ beyond its digits, as trec_eval 9.0.8 does; 10.0 does not.
    depth : int or None
        Look at the first so many documents of each query only (-M).

    Raises
    ------
    InputError
        If a value is none of these.
    """

    missing: Literal["zero", "skip"] = "zero"
    duplicates: Duplicates = "error"
    ties: Literal["trec", "expected"] = "trec"
    relevance_level: int = 1
    gains: tuple[tuple[int, float], ...] | None = None
    judged_only: bool = False
    drop_self: bool = False
    score_precision: Literal["float64", "float32"] = "float64"
    depth: int | None = None

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise unknown_name(f"value of {name}", getattr(self, name), known)
        if not isinstance(self.relevance_level, int) or self.relevance_level < 1:
            raise InputError(f"the relevance level {self.relevance_level!r} is not a grade from 1")
        if self.depth is not None and self.depth < 1:
            raise InputError(f"the depth {self.depth} leaves no document: it must be at least 1")

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON shows, gains as a mapping."""
        gains = None if self.gains is None else {str(grade): gain for grade, gain in self.gains}
        return {**asdict(self), "gains": gains}

    def prepare(self, run: Run) -> Run:
        """Return a run as it is scored: without self-retrieval, in float32, or cut, if asked."""
        if self.drop_self:
            run = run.without_self()
        if self.score_precision == "float32":
            run = run.single_precision()
        return run if self.depth is None else run.top(self.depth)

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters of measures that do not give them."""
        defaults: dict[str, Any] = {}
        if self.relevance_level != 1:
            defaults["rel"] = self.relevance_level
        if self.gains:
            defaults["gains"] = dict(self.gains)
        if self.judged_only:
            defaults["judged_only"] = True
        return defaults


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
        All judged queries, in the order of the qrels; those that the run answers, if others are
        left out.
    values : ndarray of float64, shape (m, q)
        Score of each measure on each query; 0 for a judged query that the run does not answer.
        NaN only for queries that SampledRR leaves out.
    missing : int
        How many judged queries the run does not answer.
    unjudged : int
        How many queries of the run have no judgment, and count for nothing.
    options : EvaluationOptions
        How they were scored.
    """

    run_name: str
    measures: tuple[str, ...]
    query_ids: tuple[str, ...]
    values: NDArray[np.float64]
    missing: int
    unjudged: int = 0
    options: EvaluationOptions = field(default_factory=EvaluationOptions)

    def per_query(self, measure: str) -> NDArray[np.float64]:
        """Return one measure's scores, in the order of ``query_ids``; shape (q,)."""
        if measure not in self.measures:
            raise unknown_name("measure", measure, self.measures)
        row: NDArray[np.float64] = self.values[self.measures.index(measure)]
        return row

    @cached_property
    def means(self) -> Mapping[str, float]:
        """Aggregate of each measure over ``query_ids``: the mean, unless it says otherwise."""
        return {
            name: float(aggregate(Measure.parse(name), row[None, :])[0])
            for name, row in zip(self.measures, self.values, strict=True)
        }


def aggregate(measure: Measure, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Aggregate rows of per-query values; shape (r, q) becomes (r,).

    The mean; the geometric mean, of values raised to 0.00001, where the measure says so.
    """
    if measure.name == "SampledRR":
        values = values[:, ~np.isnan(values[0])]
    result: NDArray[np.float64]
    if measure.is_geometric:
        result = np.exp(np.log(np.maximum(values, _SMALLEST)).mean(axis=1))
    else:
        result = values.mean(axis=1)
    return result


class Evaluator:
    """Scores many runs against one qrels.

    Parameters
    ----------
    qrels : Qrels, path, mapping or data frame
        The judgments; every judged query counts, answered or not.
    measures : sequence of str or Measure
        Measures in the grammar of ir-measures; ``retrieval-eval list measures`` shows them.
    options : EvaluationOptions
        What else decides results.

    Raises
    ------
    InputError
        If a measure is unknown, or has no expected value over tied orders where that is asked for,
        or a grade is above the scale of ERR.

    Examples
    --------
    >>> qrels = Qrels.from_mapping({"q1": {"a": 1}, "q2": {"b": 1}})
    >>> run = Run.from_mapping({"q1": {"a": 0.5, "c": 0.5}})
    >>> Evaluator(qrels, ["RR@10"]).evaluate(run).means
    {'RR@10': 0.25}
    >>> expected = EvaluationOptions(ties="expected")
    >>> Evaluator(qrels, ["RR@10"], expected).evaluate(run).means
    {'RR@10': 0.375}
    """

    def __init__(
        self,
        qrels: Qrels | str | Path | Mapping[str, Mapping[str, int]] | Any,
        measures: Sequence[str | Measure],
        options: EvaluationOptions = EvaluationOptions(),
    ) -> None:
        if isinstance(measures, str) or not measures:
            raise InputError("name at least one measure in a list, for instance ['nDCG@10']")
        self.options = options
        parsed = [
            Measure.parse(one, defaults=options.defaults) if isinstance(one, str) else one
            for one in measures
        ]
        self._parsed = tuple(dict.fromkeys(parsed))
        self.measures = tuple(map(str, self._parsed))
        read = _read(Qrels, qrels, options)
        self.qrels = read.without_self() if options.drop_self else read
        self._judgments = Judgments(self.qrels)
        _check(self._parsed, self.qrels, options)

    def evaluate(
        self, run: Run | str | Path | Mapping[str, Mapping[str, float]] | Any
    ) -> Evaluation:
        """Score one run; neither it nor anything else is changed.

        Parameters
        ----------
        run : Run, path, mapping or data frame
            The run; anything else than a Run is read as its ``from_...`` methods do.
        """
        options = self.options
        run = options.prepare(_read(Run, run, options))
        judgments = self._judgments
        answered = np.zeros(judgments.n_queries, dtype=bool)
        rows_of = judgments.rows_of(run)
        rows_of = np.where(np.diff(run.edges) > 0, rows_of, -2)  # an empty ranking is no answer
        answered[rows_of[rows_of >= 0]] = True
        missing = int(np.count_nonzero(~answered))
        if options.missing == "skip" and missing:
            if not answered.any():
                raise InputError(f"run {run.name!r} answers none of the judged queries")
            names = self.qrels.query_ids
            judgments = Judgments(
                self.qrels.only_queries(names[row] for row in np.flatnonzero(answered))
            )
        values = np.zeros((len(self._parsed), judgments.n_queries))
        pairing = judgments.meet(run, expected_ties=options.ties == "expected")
        external = [row for row, one in enumerate(self._parsed) if one.spec.external]
        for row, measure in enumerate(self._parsed):
            if measure.name in _POOLED:
                values[row] = _POOLED[measure.name](measure, judgments, pairing, run)
            elif row not in external:
                values[row] = compute(measure, judgments, pairing)
        if external:
            wanted = [self._parsed[row] for row in external]
            values[external] = external_values(wanted, judgments.qrels, run)
        return Evaluation(
            run.name,
            self.measures,
            judgments.qrels.query_ids,
            values,
            missing,
            int(np.count_nonzero(rows_of == -1)),
            options,
        )


def _check(measures: Sequence[Measure], qrels: Qrels, options: EvaluationOptions) -> None:
    for measure in measures:
        if options.ties == "expected" and not measure.spec.expected_ties:
            known = ", ".join(name for name, spec in MEASURES.items() if spec.expected_ties)
            raise InputError(
                f"measure {str(measure)!r}: its expected value over tied orders has no closed form "
                f"here; use ties='trec', or one of {known}"
            )
        if measure.name == "ERR" and len(qrels) and qrels.grade.max() > measure["max_rel"]:
            raise InputError(
                f"measure {str(measure)!r} has a scale up to {measure['max_rel']}, and the qrels "
                f"hold the grade {qrels.grade.max()}: write ERR(max_rel={qrels.grade.max()})"
            )


def _read(form: type[_Form], source: Any, options: EvaluationOptions) -> _Form:
    """Make a run, or qrels, of whatever they can be made of."""
    if isinstance(source, form):
        return source
    if isinstance(source, Mapping):
        return form.from_mapping(source)
    if isinstance(source, (str, Path)):
        return form.from_file(source, duplicates=options.duplicates)
    if hasattr(source, "columns"):
        return form.from_frame(source, duplicates=options.duplicates)
    return form.from_records(source, duplicates=options.duplicates)


def evaluate(
    qrels: Qrels | Any,
    run: Run | Any,
    measures: Sequence[str | Measure],
    options: EvaluationOptions = EvaluationOptions(),
) -> Evaluation:
    """Score one run against qrels.

    Parameters
    ----------
    qrels : Qrels, path, mapping or data frame
        The judgments.
    run : Run, path, mapping or data frame
        The run.
    measures : sequence of str
        For instance ``["nDCG@10", "RR@10", "R@100"]``.
    options : EvaluationOptions
        What else decides the result; by default trec_eval 10's way, with 0 for judged queries that
        the run does not answer.

    Returns
    -------
    Evaluation
        Over all judged queries; those that the run does not answer score 0 and are counted.

    Examples
    --------
    >>> evaluate({"q1": {"a": 1}}, {"q1": {"b": 2.0, "a": 1.0}}, ["RR"]).means
    {'RR': 0.5}
    """
    return Evaluator(qrels, measures, options).evaluate(run)
