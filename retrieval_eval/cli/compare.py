"""The verb ``compare``: run files against the first of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from retrieval_eval.cli.app import MeasureOption, SeedOption, app, print_json, say
from retrieval_eval.cli.evaluate import score_files
from retrieval_eval.errors import InputError, RetrievalEvalError


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"


@app.command()
def compare(
    qrels: Annotated[Path, typer.Argument(help="Judgments: TREC qrels, or BEIR's TSV.")],
    runs: Annotated[list[Path], typer.Argument(help="TREC runs; the first is the reference.")],
    measure: MeasureOption = None,
    correction: Annotated[str, typer.Option(help="holm or none, over all shown.")] = "holm",
    margin: Annotated[
        list[str] | None,
        typer.Option(metavar="MEASURE=LOSS", help="Accepted loss, such as nDCG@10=0.01."),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Level of tests and intervals.")] = 0.05,
    draws: Annotated[int, typer.Option(help="Draws of randomization and bootstrap.")] = 10_000,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
    seed: SeedOption = 0,
) -> None:
    """Compare run files with the first of them, by a paired randomization test."""
    from dataclasses import asdict

    from retrieval_eval.comparison import compare as compare_pairs
    from retrieval_eval.evaluation import parse_measure
    from retrieval_eval.report.terminal import print_table, shown_p

    if len(runs) < 2:
        raise InputError("compare needs two runs at least: the reference and a candidate")
    margins = {}
    for text in margin or ():
        name, equals, loss = text.partition("=")
        try:
            margins[parse_measure(name, "--margin")] = float(loss)
        except ValueError as error:
            if isinstance(error, RetrievalEvalError):
                raise
            equals = ""
        if not equals:
            raise InputError(f"--margin {text!r}: expected MEASURE=LOSS, such as nDCG@10=0.01")
    evaluations = score_files(qrels, runs, measure)
    result = compare_pairs(
        [(evaluations[0], other) for other in evaluations[1:]],
        correction=correction,
        alpha=alpha,
        margins=margins,
        draws=draws,
        seed=seed,
    )
    unreachable = result.unreachable()
    if unreachable:
        say(f"note: {unreachable}")
    if format_ is Format.json:
        print_json(
            {
                "qrels": str(qrels),
                "test": result.test,
                "correction": result.correction,
                "family": result.family,
                "alpha": alpha,
                "draws": draws,
                "seed": seed,
                "differences": [asdict(one) for one in result.differences],
            }
        )
        return
    columns = [
        ("candidate", False),
        ("measure", False),
        (f"minus {evaluations[0].run_name}", True),
        ("win/tie/loss", True),
        ("p", True),
        ("adjusted p", True),
        ("", False),
    ]
    if margins:
        columns.append(("not worse by", False))
    cells = []
    for one in result.differences:
        line = [
            one.candidate,
            one.measure,
            f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]",
            f"{one.wins}/{one.ties}/{one.losses}",
            shown_p(one.p),
            shown_p(one.p_adjusted),
            "significant" if one.significant else "",
        ]
        if margins:
            held = {True: "yes", False: "no", None: ""}[one.not_inferior(alpha)]
            line.append(f"{one.margin:g}: {held}" if one.margin is not None else "")
        cells.append(line)
    print_table(columns, cells)
    say(
        f"two-sided paired {result.test} test, {draws} draws; correction {correction} over "
        f"{result.family}; {100 * (1 - alpha):g} % bootstrap intervals"
    )
