"""The verb ``evaluate``: measures of run files."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval_eval.cli.app import (
    DrawsOption,
    Interval,
    IntervalOption,
    MeasureOption,
    SeedOption,
    app,
    say,
)
from retrieval_eval.cli.scoring import QrelsArgument, score_files, with_scoring

if TYPE_CHECKING:
    from retrieval_eval.evaluation import EvaluationOptions


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"
    trec = "trec"


@app.command()
@with_scoring
def evaluate(
    scoring: EvaluationOptions,
    qrels: QrelsArgument,
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
    interval: IntervalOption = Interval.t,
    draws: DrawsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Score run files against qrels, over all judged queries.

    Measures may also be given by trec_eval's names: -m ndcg_cut.10 -m map -m official.
    """
    from retrieval_eval.report.evaluations import EvaluationReport

    options = replace(scoring, missing="zero" if complete else "skip")
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
    report = EvaluationReport(
        str(qrels), tuple(evaluations), interval=interval.value, draws=draws or 10_000, seed=seed
    )
    if format_ is Format.table:
        report.show(per_query=per_query)
        say(report.legend)
    else:
        typer.echo(getattr(report, format_.value)(per_query=per_query))


def _named(measures: list[str], options: EvaluationOptions) -> list[str]:
    from retrieval_eval.evaluation.trec_names import parse_measures

    return [str(one) for one in parse_measures(measures, defaults=options.defaults)]
