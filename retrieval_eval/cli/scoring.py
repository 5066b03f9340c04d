"""What all verbs that score run files share: their options, and reading the files."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from retrieval_eval.cli.app import say
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.evaluation import Evaluation, EvaluationOptions

DEFAULT_MEASURES = ["nDCG@10", "RR@10", "R@100"]


class Ties(StrEnum):
    """Ways with equal scores."""

    trec = "trec"
    expected = "expected"


class DuplicateRows(StrEnum):
    """Ways with a document listed twice."""

    error = "error"
    first = "first"
    max = "max"


class Precision(StrEnum):
    """What scores are compared as."""

    float64 = "float64"
    float32 = "float32"


QrelsArgument = Annotated[
    Path, typer.Argument(help="Judgments: TREC, BEIR's TSV, .json, .jsonl, .csv, .parquet.")
]


def _scoring(
    *,
    duplicates: Annotated[
        DuplicateRows, typer.Option(help="A document listed twice for a query.")
    ] = DuplicateRows.error,
    ties: Annotated[
        Ties, typer.Option(help="Equal scores: trec_eval's order, or the expected value.")
    ] = Ties.trec,
    relevance_level: Annotated[
        int, typer.Option("-l", "--relevance-level", help="Grade from which it is relevant.")
    ] = 1,
    gains: Annotated[
        str | None, typer.Option(metavar="1=1,2=3", help="Gain of each grade, for (n)DCG.")
    ] = None,
    judged_only: Annotated[
        bool, typer.Option("-J", "--judged-only", help="Remove unjudged documents first.")
    ] = False,
    drop_self: Annotated[
        bool, typer.Option("--drop-self", help="Leave out documents with the query's own id.")
    ] = False,
    score_precision: Annotated[
        Precision, typer.Option(help="float32 ties close scores, as trec_eval 9 does.")
    ] = Precision.float64,
    depth: Annotated[
        int | None, typer.Option("-M", "--depth", help="Look at so many documents a query.")
    ] = None,
) -> EvaluationOptions:
    from retrieval_eval.evaluation import EvaluationOptions

    return EvaluationOptions(
        duplicates=duplicates.value,
        ties=ties.value,
        relevance_level=relevance_level,
        gains=_gains(gains),
        judged_only=judged_only,
        drop_self=drop_self,
        score_precision=score_precision.value,
        depth=depth,
    )


def with_scoring(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb every option that decides how runs are scored.

    Its argument `scoring` becomes these options on the command line, and receives the
    EvaluationOptions that they make.
    """
    own, added = _typed_parameters(verb, "scoring"), _typed_parameters(_scoring)

    @functools.wraps(verb)
    def with_options(**words: Any) -> Any:
        scoring = _scoring(**{one.name: words.pop(one.name) for one in added})
        return verb(scoring=scoring, **words)

    parameters = [one.replace(kind=one.KEYWORD_ONLY) for one in (*own, *added)]
    # Functions have no such attribute to a type checker; typer reads it.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    with_options.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_options


def _typed_parameters(function: Callable[..., Any], *left_out: str) -> list[inspect.Parameter]:
    """Parameters with their annotations evaluated; those left out may be of types not imported."""
    parameters = inspect.signature(function).parameters.values()
    kept = [one for one in parameters if one.name not in left_out]
    bare = SimpleNamespace(__annotations__={one.name: one.annotation for one in kept})
    types = get_type_hints(
        bare, globalns=vars(sys.modules[function.__module__]), include_extras=True
    )
    return [one.replace(annotation=types[one.name]) for one in kept]


def score_files(
    qrels: Path, runs: list[Path], measures: list[str] | None, options: EvaluationOptions
) -> list[Evaluation]:
    """Score run files one by one, telling runs of one name apart by their paths."""
    from retrieval_eval.evaluation import Evaluator
    from retrieval_eval.evaluation.trec_names import parse_measures
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.runs import Run

    parsed = parse_measures(measures or DEFAULT_MEASURES, defaults=options.defaults)
    read = Qrels.from_file(qrels, duplicates=options.duplicates)
    evaluator = Evaluator(read, parsed, options)
    evaluations = []
    for path in runs:
        one = evaluator.evaluate(Run.from_file(path, duplicates=options.duplicates))
        judged = len(evaluator.qrels.query_ids)
        if one.missing == judged:
            raise InputError(f"{path}: answers none of the {judged} queries of {qrels}")
        if one.unjudged:
            say(
                f"note: {path}: {one.unjudged} quer{'y' if one.unjudged == 1 else 'ies'} "
                "without judgments, left out"
            )
        evaluations.append(one)
    names = [one.run_name for one in evaluations]
    return [
        one if names.count(one.run_name) == 1 else replace(one, run_name=str(path))
        for path, one in zip(runs, evaluations, strict=True)
    ]


def _gains(text: str | None) -> tuple[tuple[int, float], ...] | None:
    if text is None:
        return None
    pairs = []
    for part in text.split(","):
        grade, _, gain = part.partition("=")
        try:
            pairs.append((int(grade), float(gain)))
        except ValueError:
            pairs.append((0, -1.0))
        if not 0 <= pairs[-1][1] < float("inf"):
            raise InputError(f"--gains {text!r}: expected GRADE=GAIN,..., such as 1=1,2=3")
    return tuple(sorted(dict(pairs).items()))
