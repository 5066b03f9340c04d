"""The verb ``evaluate``: measures of run files."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval_eval.cli.app import MeasureOption, SeedOption, app, say
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.evaluation import Evaluation, EvaluationOptions

DEFAULT_MEASURES = ["nDCG@10", "RR@10", "R@100"]


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"
    trec = "trec"


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


@app.command()
def evaluate(
    qrels: Annotated[
        Path, typer.Argument(help="Judgments: TREC, BEIR's TSV, .json, .jsonl, .csv, .parquet.")
    ],
    runs: Annotated[list[Path], typer.Argument(help="Runs: TREC, .json, .jsonl, .csv, .parquet.")],
    measure: MeasureOption = None,
    per_query: Annotated[bool, typer.Option("-q", help="Also print each query's score.")] = False,
    format_: Annotated[
        Format, typer.Option("--format", help="Form of the output; trec is trec_eval's own.")
    ] = Format.table,
    complete: Annotated[
        bool,
        typer.Option(
            "--complete/--only-retrieved",
            "-c",
            help="Judged queries that a run does not answer: score 0, or are left out.",
        ),
    ] = True,
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
    draws: Annotated[int, typer.Option(min=100, help="Draws of the bootstrap.")] = 1000,
    seed: SeedOption = 0,
) -> None:
    """Score run files against qrels, over all judged queries.

    Measures may also be given by trec_eval's names: -m ndcg_cut.10 -m map -m official.
    """
    from retrieval_eval.evaluation import EvaluationOptions
    from retrieval_eval.report.evaluations import EvaluationReport

    options = EvaluationOptions(
        missing="zero" if complete else "skip",
        duplicates=duplicates.value,
        ties=ties.value,
        relevance_level=relevance_level,
        gains=_gains(gains),
        judged_only=judged_only,
        drop_self=drop_self,
        score_precision=score_precision.value,
        depth=depth,
    )
    if format_ is Format.trec:
        # What a query's documents count is needed to leave out unanswered ones, as trec_eval does.
        wanted = measure or ["official"]
        evaluations = score_files(qrels, runs, [*wanted, "NumRet"], options)
        report = EvaluationReport(str(qrels), tuple(evaluations))
        runid = "official" in wanted or "all_trec" in wanted or len(runs) > 1
        hidden = "NumRet" not in _named(wanted, options)
        typer.echo(report.trec(per_query=per_query, runid=runid, hide_returned=hidden))
        return
    evaluations = score_files(qrels, runs, measure, options)
    report = EvaluationReport(str(qrels), tuple(evaluations), draws=draws, seed=seed)
    if format_ is Format.table:
        report.show(per_query=per_query)
        say(report.legend)
    else:
        typer.echo(getattr(report, format_.value)(per_query=per_query))


def score_files(
    qrels: Path,
    runs: list[Path],
    measures: list[str] | None,
    options: EvaluationOptions | None = None,
) -> list[Evaluation]:
    """Score run files, telling runs of one name apart by their paths."""
    from retrieval_eval.evaluation import EvaluationOptions, Evaluator
    from retrieval_eval.evaluation.trec_names import parse_measures
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.runs import Run

    options = options or EvaluationOptions()
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


def _named(measures: list[str], options: EvaluationOptions) -> list[str]:
    from retrieval_eval.evaluation.trec_names import parse_measures

    return [str(one) for one in parse_measures(measures, defaults=options.defaults)]


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
