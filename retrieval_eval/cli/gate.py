"""The verb ``gate``: whether a candidate may replace a baseline, as an exit code."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval_eval.cli.app import MeasureOption, app, say
from retrieval_eval.cli.compare import (
    AlphaOption,
    ExplainOption,
    Format,
    MarginOption,
    explained,
    read_margins,
)
from retrieval_eval.cli.scoring import QrelsArgument, score_files, with_scoring
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.evaluation import EvaluationOptions

DEFAULT_MARGIN = 0.01


class Undecided(StrEnum):
    """Ways with a margin that is neither held nor broken."""

    fail = "fail"
    let = "pass"  # which is a word of Python's own


@app.command()
@with_scoring
def gate(
    scoring: EvaluationOptions,
    qrels: QrelsArgument,
    baseline: Annotated[Path, typer.Argument(help="The run that is good enough today.")],
    candidate: Annotated[Path, typer.Argument(help="The run that may replace it.")],
    measure: MeasureOption = None,
    margin: MarginOption = None,
    alpha: AlphaOption = 0.05,
    undecided: Annotated[
        Undecided, typer.Option(help="Too few queries to tell: does the candidate pass?")
    ] = Undecided.fail,
    explain: ExplainOption = 0,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
) -> None:
    """Exit with 0 if a candidate is shown to lose less than the margin, else with 1.

    Without --margin, 0.01 may be lost; without -m, the measures that have a margin count, or
    nDCG@10.
    """
    from retrieval_eval.comparison import gate as judge
    from retrieval_eval.report.gates import GateReport

    if format_ is Format.csv and explain:
        raise InputError("--format csv holds the verdicts alone: --explain needs another form")
    named = [text.rpartition("=")[0] for text in margin or () if "=" in text]
    wanted = [*(measure or ()), *named] or ["nDCG@10"]
    before, after = score_files(qrels, [baseline, candidate], wanted, scoring)
    margins = {**dict.fromkeys(before.measures, DEFAULT_MARGIN), **read_margins(margin, before)}
    paths = {before.run_name: baseline, after.run_name: candidate}
    pair = [(after.run_name, before.run_name)]
    sections = [
        section
        for name in before.measures
        for section in (explained(qrels, pair, paths, name, scoring, explain) if explain else ())
    ]
    report = GateReport(
        str(qrels),
        before.run_name,
        after.run_name,
        judge(before, after, margins, alpha=alpha),
        alpha,
        undecided_passes=undecided is Undecided.let,
        sections=sections,
    )
    if format_ is Format.table:
        report.show()
    else:
        typer.echo(getattr(report, format_.value)())
    if format_ is not Format.markdown:
        for line in report.legend:
            say(line)
    raise typer.Exit(0 if report.passed else 1)
