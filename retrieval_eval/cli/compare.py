"""The verb ``compare``: differences of run files, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
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
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.evaluation import Evaluation, EvaluationOptions
    from retrieval_eval.report.comparisons import ComparisonReport, Section


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


class Pairs(StrEnum):
    """Which runs are compared."""

    reference = "reference"
    all = "all"


class Family(StrEnum):
    """What is corrected together."""

    all = "all"
    measure = "measure"


class Omnibus(StrEnum):
    """Tests of all runs at once."""

    friedman = "friedman"
    anova = "anova"


TestOption = Annotated[str, typer.Option(help="One of `retrieval-eval list tests`.")]
MarginOption = Annotated[
    list[str] | None,
    typer.Option(metavar="[MEASURE=]LOSS", help="Accepted loss, such as nDCG@10=0.01; repeat."),
]
MarginTestOption = Annotated[str, typer.Option(help="hall, t, randomization or bootstrap.")]
AlphaOption = Annotated[float, typer.Option(help="Level of all tests.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="By default one a processor; changes no result.")
]


ExplainOption = Annotated[
    int, typer.Option(min=0, help="Show so many queries that moved most, and their documents.")
]
ExactOption = Annotated[
    Path | None,
    typer.Option(help="Exact search of the candidate's encoder: tell index from encoder."),
]
DEFAULT_EXPLAINED = 10


@app.command()
@with_scoring
def compare(
    scoring: EvaluationOptions,
    qrels: QrelsArgument,
    runs: Annotated[
        list[Path], typer.Argument(help="Two runs at least; the first is the reference.")
    ],
    measure: MeasureOption = None,
    pairs: Annotated[
        Pairs, typer.Option(help="Each run against the reference, or all pairs.")
    ] = Pairs.reference,
    reference: Annotated[
        list[str] | None, typer.Option(help="Name of a reference instead; repeat for several.")
    ] = None,
    test: Annotated[
        str, typer.Option(help="One of `retrieval-eval list tests`.")
    ] = "randomization",
    correction: Annotated[
        str, typer.Option(help="none, bonferroni, holm, bh or by, over all shown.")
    ] = "holm",
    family: Annotated[
        Family, typer.Option(help="Correct over all shown, or over each measure.")
    ] = Family.all,
    margin: MarginOption = None,
    margin_test: MarginTestOption = "hall",
    alpha: AlphaOption = 0.05,
    interval: IntervalOption = Interval.t,
    omnibus: Annotated[
        Omnibus | None, typer.Option(help="Also test all runs at once; three at least.")
    ] = None,
    detect: Annotated[
        float | None, typer.Option(help="How many queries would show a difference of this size?")
    ] = None,
    explain: ExplainOption = 0,
    exact: ExactOption = None,
    draws: DrawsOption = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = None,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
) -> None:
    """Compare run files query by query: differences, intervals, tests, margins."""
    import numpy as np

    from retrieval_eval.comparison import CompareOptions, compare, omnibus_test
    from retrieval_eval.report.comparisons import ComparisonReport
    from retrieval_eval.report.sections import needed_section

    if len(runs) < 2:
        raise InputError("compare needs two runs at least: the reference and a candidate")
    if format_ is Format.csv and (detect is not None or explain or exact or omnibus):
        raise InputError(
            "--format csv holds the comparisons alone: --detect, --explain, --exact and --omnibus "
            "need another form"
        )
    if reference and pairs is Pairs.all:
        raise InputError("--pairs all compares every pair: leave out --reference")
    evaluations = score_files(qrels, runs, measure, scoring)
    options = CompareOptions(
        test=test,
        correction=correction,
        family=family.value,
        alpha=alpha,
        margins=read_margins(margin, evaluations[0]),
        margin_test=margin_test,
        interval=interval.value,
        draws=draws,
        seed=seed,
    )
    comparison = compare(
        evaluations,
        pairs=pairs.value,
        references=reference or (),
        options=options,
        threads=threads,
    )
    sections = [] if detect is None else [needed_section(comparison, detect)]
    if exact is not None and not explain:
        explain = DEFAULT_EXPLAINED
    if explain:
        paths = dict(zip(comparison.runs, runs, strict=True))
        compared = [(one.a, one.b) for one in comparison.differences[:: len(comparison.measures)]]
        for name in comparison.measures:
            sections += explained(qrels, compared, paths, name, scoring, explain, exact)
    stacked = np.stack([one.values for one in evaluations])
    report = ComparisonReport(
        str(qrels),
        tuple(evaluations),
        comparison,
        all_pairs=pairs is Pairs.all,
        omnibus=[
            (name, omnibus_test(stacked[:, place], omnibus.value))
            for place, name in enumerate(comparison.measures)
        ]
        if omnibus
        else (),
        sections=sections,
    )
    print_report(report, format_)


def explained(
    qrels: Path,
    pairs: list[tuple[str, str]],
    paths: Mapping[str, Path],
    measure: str,
    options: EvaluationOptions,
    top: int,
    exact: Path | None = None,
) -> list[Section]:
    """Explain pairs of runs, a and b, by one measure; the files are read once more."""
    from retrieval_eval.comparison import explain
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.report.sections import explanation_section
    from retrieval_eval.runs import Run

    def read(path: Path) -> Run:
        return Run.from_file(path, duplicates=options.duplicates)

    if exact is not None and len({a for a, _ in pairs}) > 1:
        raise InputError("--exact is the exact search of one candidate: compare two runs")
    judgments = Qrels.from_file(qrels, duplicates=options.duplicates)
    searched = None if exact is None else read(exact)
    sections = []
    for names in pairs:
        a, b = (replace(read(paths[name]), name=name) for name in names)
        found = explain(judgments, a, b, measure, exact=searched, top=top, options=options)
        if found.missing_exact == found.n_queries:
            raise InputError(f"{exact}: answers none of the {found.n_queries} queries of {qrels}")
        sections.append(explanation_section(found))
    return sections


def print_report(report: ComparisonReport, format_: Format) -> None:
    """Print in the form asked for; what the table leaves unsaid goes to stderr."""
    if format_ is Format.table:
        report.show()
    else:
        typer.echo(getattr(report, format_.value)())
    if format_ in (Format.table, Format.csv):
        for line in report.legend:
            say(line)
    elif format_ is Format.json:
        for note in report.comparison.notes:
            say(f"note: {note}")


def read_margins(texts: list[str] | None, scored: Evaluation) -> dict[str, float]:
    """Read margins of single measures, or of all; that of a measure counts before that of all."""
    from retrieval_eval.evaluation import Measure
    from retrieval_eval.evaluation.trec_names import parse_measures

    margins: dict[str, float] = {}
    for text in sorted(texts or (), key=lambda one: "=" in one):
        name, equals, loss = text.rpartition("=")
        named = list(scored.measures)
        if equals:
            try:
                named = list(map(str, parse_measures([name], defaults=scored.options.defaults)))
            except InputError as error:
                raise InputError(f"--margin {text!r}: {error}") from None
        try:
            value = float(loss.replace("_", "?"))  # Python would read 0_1 as 1
        except ValueError:
            raise InputError(
                f"--margin {text!r}: expected a loss such as 0.01, or MEASURE=LOSS such as "
                "nDCG@10=0.01"
            ) from None
        for one in named:
            if value >= 1 and Measure.parse(one).spec.range == "0 to 1":
                raise InputError(
                    f"--margin {text!r}: {one} lies between 0 and 1, so that a loss of {value:g} "
                    "is no margin"
                )
        margins.update(dict.fromkeys(named, value))
    return margins
