"""The command line. It builds objects and makes one call of the Python API for each verb.

Machine output goes to stdout, everything else to stderr. Exit codes: 0 done, 2 bad input or
usage, 3 part of a sweep failed.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from retrieval_eval import __version__
from retrieval_eval.errors import InputError, RetrievalEvalError

__all__ = ["app", "main"]

if TYPE_CHECKING:
    from retrieval_eval.store import Store
    from retrieval_eval.sweep import Sweep

app = typer.Typer(
    name="retrieval-eval",
    help="Which encoder and which ANN index is good enough, how sure can you be, at what cost?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DEFAULT_MEASURES = ["nDCG@10", "RR@10", "R@100"]


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"


class Listing(StrEnum):
    """What can be listed."""

    datasets = "datasets"
    encoders = "encoders"
    indexes = "indexes"
    measures = "measures"
    tests = "tests"


MeasureOption = Annotated[
    list[str] | None,
    typer.Option("-m", "--measure", help="A measure such as nDCG@10; repeat for several."),
]
FormatOption = Annotated[Format, typer.Option("--format", help="Form of the output.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of resampling.")]


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except RetrievalEvalError as error:
        _say(f"error: {error}")
        sys.exit(2)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.Abort:
        _say("stopped")
        sys.exit(130)
    except KeyboardInterrupt:
        _say("stopped; what was finished is kept, and the same command goes on from there")
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        show = getattr(error, "show", None)  # a usage error of the option parser
        if show is None:
            raise
        show()
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str) -> None:
    typer.echo(message, err=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A sweep file, or a name from experiments/.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the results [results/NAME].")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as k=50."),
    ] = None,
    skip_unavailable: Annotated[
        bool, typer.Option(help="Skip rows whose library is not installed.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of the cache [$RETRIEVAL_EVAL_CACHE, or the user's]."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the rows, and do no work.")] = False,
) -> int:
    """Run a whole sweep, or go on with one that was stopped, and print its leaderboard."""
    from retrieval_eval.store import Store
    from retrieval_eval.sweep import load_sweep
    from retrieval_eval.sweep.config import SweepError, line_of, sweep_file

    sweep = load_sweep(config, tuple(set_ or ()))
    store = Store(cache) if cache else Store.default()
    try:
        return _run(sweep, store, out, skip_unavailable=skip_unavailable, dry_run=dry_run)
    except SweepError as error:
        path = sweep_file(config)
        raise InputError(f"{path}:{line_of(path, error.location)}: {error}") from error


def _run(
    sweep: Sweep, store: Store, out: Path | None, *, skip_unavailable: bool, dry_run: bool
) -> int:
    from retrieval_eval.sweep import make_plan, run_sweep

    if dry_run:
        from retrieval_eval.report.terminal import print_table

        plan = make_plan(sweep, store, skip_unavailable=skip_unavailable)
        columns = [("dataset", False), ("encoder", False), ("configuration", False), ("", False)]
        cells = [
            (row.dataset.name, row.encoder.label, row.shown, "skipped" if row.missing else "run")
            for row in plan.rows
        ]
        print_table(columns, cells)
        for note in plan.notes():
            _say(f"note: {note}")
        return 0
    results = run_sweep(sweep, out=out, store=store, skip_unavailable=skip_unavailable)
    results.show()
    if results.fresh:
        rows = results.manifest["rows"]
        counts = ", ".join(f"{count} {status}" for status, count in rows.items() if count)
        _say(f"rows: {counts}; took {results.manifest['seconds']:.0f} s")
    else:
        _say(
            f"finished before, on {results.manifest['created']}: no work was done again; "
            "another seed measures afresh"
        )
    if "earlier_results" in results.manifest:
        _say(f"earlier results of another configuration: {results.manifest['earlier_results']}")
    return 3 if results.failed else 0


@app.command()
def evaluate(
    qrels: Annotated[Path, typer.Argument(help="Judgments: TREC qrels, or BEIR's TSV.")],
    runs: Annotated[list[Path], typer.Argument(help="TREC runs, plain or .gz.")],
    measure: MeasureOption = None,
    per_query: Annotated[bool, typer.Option("-q", help="Also print each query's score.")] = False,
    format_: FormatOption = Format.table,
    seed: SeedOption = 0,
) -> None:
    """Score run files against qrels, over all judged queries."""
    from retrieval_eval.comparison import bootstrap_intervals
    from retrieval_eval.report.terminal import number, print_table, with_interval

    evaluations = _score_files(qrels, runs, measure)
    records = []
    for one in evaluations:
        bounds = bootstrap_intervals(one.values, seed=seed)
        record: dict[str, Any] = {
            "name": one.run_name,
            "n_queries": len(one.query_ids),
            "n_missing": one.missing,
            "measures": {
                name: {"mean": one.means[name], "ci95": bounds[row].tolist()}
                for row, name in enumerate(one.measures)
            },
        }
        if per_query:
            record["per_query"] = {
                name: dict(zip(one.query_ids, one.per_query(name).tolist(), strict=True))
                for name in one.measures
            }
        records.append(record)
    if format_ is Format.json:
        options = {"missing_queries": "score 0", "ties": "trec", "seed": seed}
        _print_json({"qrels": str(qrels), "options": options, "runs": records})
        return
    measures = evaluations[0].measures
    columns = [("run", False), *((name, True) for name in measures), ("not answered", True)]
    cells = [
        [
            record["name"],
            *(
                with_interval(facts["mean"], *facts["ci95"])
                for facts in record["measures"].values()
            ),
            f"{record['n_missing']} of {record['n_queries']}",
        ]
        for record in records
    ]
    print_table(columns, cells)
    if per_query:
        columns = [("run", False), ("query", False), *((name, True) for name in measures)]
        cells = [
            [one.run_name, query_id, *(number(float(v), 4) for v in one.values[:, column])]
            for one in evaluations
            for column, query_id in enumerate(one.query_ids)
        ]
        print_table(columns, cells)


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
    format_: FormatOption = Format.table,
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
    evaluations = _score_files(qrels, runs, measure)
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
        _say(f"note: {unreachable}")
    if format_ is Format.json:
        _print_json(
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
    _say(
        f"two-sided paired {result.test} test, {draws} draws; correction {correction} over "
        f"{result.family}; {100 * (1 - alpha):g} % bootstrap intervals"
    )


@app.command("list")
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List what can be named in a sweep, with parameters, ranges and defaults."""
    from retrieval_eval.listing import listing
    from retrieval_eval.report.terminal import print_table

    print_table(*listing(what.value))


def _score_files(qrels: Path, runs: list[Path], measures: list[str] | None) -> list[Any]:
    from dataclasses import replace

    from retrieval_eval.evaluation import Evaluator
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.runs import Run

    evaluator = Evaluator(Qrels.from_file(qrels), measures or _DEFAULT_MEASURES)
    evaluations = []
    for path in runs:
        one = evaluator.evaluate(Run.from_file(path))
        if one.missing == len(one.query_ids):
            raise InputError(f"{path}: answers none of the {one.missing} queries of {qrels}")
        evaluations.append(one)
    names = [one.run_name for one in evaluations]
    return [  # runs of one name from several folders are told apart by their paths
        one if names.count(one.run_name) == 1 else replace(one, run_name=str(path))
        for path, one in zip(runs, evaluations, strict=True)
    ]


def _print_json(content: Any) -> None:
    import json

    typer.echo(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))
