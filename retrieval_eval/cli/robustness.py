"""The verb ``robustness``: what the conclusions of a comparison stand on."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval_eval.cli.app import DrawsOption, MeasureOption, SeedOption, app, say
from retrieval_eval.cli.compare import AlphaOption, Pairs, TestOption
from retrieval_eval.cli.scoring import QrelsArgument, score_files, with_scoring
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.comparison import CompareOptions
    from retrieval_eval.evaluation import Evaluation, EvaluationOptions
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.report.comparisons import Section
    from retrieval_eval.runs import Run


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    markdown = "markdown"
    latex = "latex"


@app.command()
@with_scoring
def robustness(
    scoring: EvaluationOptions,
    qrels: QrelsArgument,
    runs: Annotated[
        list[Path], typer.Argument(help="Two runs at least; the first is the reference.")
    ],
    measure: MeasureOption = None,
    pairs: Annotated[
        Pairs, typer.Option(help="Each run against the reference, or all pairs.")
    ] = Pairs.reference,
    unjudged: Annotated[
        bool, typer.Option("--unjudged", help="With and without unjudged documents.")
    ] = False,
    label_noise: Annotated[
        str | None,
        typer.Option(metavar="0.01,0.05,...", help="Make such shares of the labels wrong."),
    ] = None,
    replicates: Annotated[
        int, typer.Option(min=1, help="Random sets of wrong labels for each share.")
    ] = 20,
    pool_depth: Annotated[
        list[int] | None,
        typer.Option(help="Keep judgments of what a run has so near the top; repeat."),
    ] = None,
    judgments: Annotated[
        list[float] | None, typer.Option(help="Keep such a share of the judgments; repeat.")
    ] = None,
    topics: Annotated[
        list[float] | None, typer.Option(help="Keep such a share of the queries; repeat.")
    ] = None,
    slices: Annotated[
        Path | None,
        typer.Option(help="Queries (.jsonl, .csv, .tsv): slices by their length in words."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Slices by this key or column of that file instead.")
    ] = None,
    vectors: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="QUERIES.npy TRAINING.npy",
            help="Slices by nearness to training queries; row i of the first is query i of the "
            "file of --slices.",
        ),
    ] = None,
    test: TestOption = "randomization",
    correction: Annotated[str, typer.Option(help="As for compare.")] = "holm",
    alpha: AlphaOption = 0.05,
    draws: DrawsOption = None,
    seed: SeedOption = 0,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
) -> None:
    """Ask whether the differences between runs would hold with other judgments or queries.

    Without any question asked: unjudged documents, and wrong labels.
    """
    from retrieval_eval.comparison import TESTS, CompareOptions
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.report.robustness import RobustnessReport, noise_section, unjudged_section
    from retrieval_eval.runs import Run

    if len(runs) < 2:
        raise InputError("robustness needs two runs at least: the reference and a candidate")
    if slices is None and (column is not None or vectors):
        raise InputError("--column and --vectors speak of a file of queries: name it by --slices")
    if column is not None and vectors:
        raise InputError("--column and --vectors are two ways to slice: choose one")
    reductions = (pool_depth, judgments, topics)
    if not (unjudged or label_noise is not None or slices or any(reductions)):
        unjudged, label_noise = True, ",".join(map(str, DEFAULT_NOISE))
    options = CompareOptions(test=test, correction=correction, alpha=alpha, draws=draws, seed=seed)
    evaluations = score_files(qrels, runs, measure, scoring)
    measures = evaluations[0].measures
    truth = Qrels.from_file(qrels, duplicates=scoring.duplicates)
    read = [
        replace(Run.from_file(path, duplicates=scoring.duplicates), name=one.run_name)
        for path, one in zip(runs, evaluations, strict=True)
    ]
    sections: list[Section] = []
    caution = TESTS[test].caution if test in TESTS else ""
    notes = [f"the test {test!r} {caution}: docs/validity.md"] if caution else []
    if unjudged:
        from retrieval_eval.comparison.robustness import unjudged as compare_both_ways

        sections.append(
            unjudged_section(
                compare_both_ways(
                    truth, read, measures, pairs=pairs.value, options=options, evaluation=scoring
                )
            )
        )
    if label_noise is not None:
        from retrieval_eval.comparison.robustness import label_noise as add_noise

        shares = _shares(label_noise)
        sections += [
            noise_section(
                add_noise(
                    truth,
                    read,
                    name,
                    fractions=shares,
                    replicates=replicates,
                    seed=seed,
                    options=scoring,
                )
            )
            for name in measures
        ]
    for words, reduced in _reduced(truth, read, pool_depth, judgments, topics, seed):
        sections += _told_apart(evaluations, read, reduced, words, options, scoring)
    if slices is not None:
        found, limits = _sliced(evaluations, slices, column, vectors, pairs, options)
        sections.append(found)
        notes += limits
    report = RobustnessReport(
        str(qrels),
        tuple(one.run_name for one in evaluations),
        sections,
        list(dict.fromkeys(notes)),
        options.as_dict() | {"evaluation": scoring.as_dict()},
    )
    if format_ is Format.table:
        report.show()
    else:
        typer.echo(getattr(report, format_.value)())
    if format_ in (Format.table, Format.json):
        say(f"{options.test} test at level {options.alpha:g}, correction {options.correction}")
        for note in report.notes:
            say(f"note: {note}")


DEFAULT_NOISE = (0.01, 0.02, 0.05, 0.1, 0.2)


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--label-noise {text!r}: expected shares between 0 and 1, such as 0.01,0.05"
        ) from None


def _reduced(
    qrels: Qrels,
    runs: list[Run],
    depths: list[int] | None,
    judgments: list[float] | None,
    topics: list[float] | None,
    seed: int,
) -> list[tuple[str, Qrels]]:
    from retrieval_eval.comparison.robustness import (
        pool_depth,
        sample_judgments,
        sample_queries,
    )

    return [
        *((f"a pool of depth {one}", pool_depth(qrels, runs, one)) for one in depths or ()),
        *(
            (f"{one:.3g} of the judgments", sample_judgments(qrels, one, seed))
            for one in judgments or ()
        ),
        *((f"{one:.3g} of the queries", sample_queries(qrels, one, seed)) for one in topics or ()),
    ]


def _told_apart(
    full: list[Evaluation],
    runs: list[Run],
    qrels: Qrels,
    words: str,
    options: CompareOptions,
    scoring: EvaluationOptions,
) -> list[Section]:
    from retrieval_eval.comparison.robustness import discriminativeness
    from retrieval_eval.evaluation import Evaluator, Measure
    from retrieval_eval.report.robustness import discriminativeness_section

    evaluator = Evaluator(qrels, [Measure.parse(name) for name in full[0].measures], scoring)
    reduced = [evaluator.evaluate(run) for run in runs]
    return [
        discriminativeness_section(discriminativeness(full, reduced, name, options), words)
        for name in full[0].measures
    ]


def _sliced(
    evaluations: list[Evaluation],
    queries: Path,
    column: str | None,
    vectors: tuple[Path, Path] | None,
    pairs: Pairs,
    options: CompareOptions,
) -> tuple[Section, list[str]]:
    from retrieval_eval.comparison.robustness import (
        compare_slices,
        near_far_labels,
        read_query_column,
        read_query_texts,
        slice_labels_by_length,
    )
    from retrieval_eval.report.robustness import slices_section

    if column is not None:
        labels, what = read_query_column(queries, column), f"{column!r}"
    elif vectors:
        from retrieval_eval.vectorfiles import read_vectors

        ids = list(read_query_texts(queries))
        test, training = (read_vectors(path) for path in vectors)
        if len(test) != len(ids):
            raise InputError(
                f"{vectors[0]}: has {len(test)} rows, and {queries} has {len(ids)} queries: row i "
                "must be the vector of query i"
            )
        labels, what = near_far_labels(ids, test, training), "nearness to training queries"
    else:
        texts = read_query_texts(queries)
        judged = {query: texts[query] for query in evaluations[0].query_ids if query in texts}
        labels, what = slice_labels_by_length(judged or texts), "length"
    found = compare_slices(evaluations, labels, pairs=pairs.value, options=options)
    return slices_section(found, what), found.notes
