"""The verb ``fuse``: one run file of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from retrieval_eval.cli.app import SeedOption, app, print_json, say
from retrieval_eval.cli.scoring import DuplicateRows
from retrieval_eval.errors import InputError


@app.command()
def fuse(
    runs: Annotated[list[Path], typer.Argument(help="Runs: TREC, .json, .jsonl, .csv, .parquet.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The fused run: TREC, .gz, .zst or .parquet.")
    ],
    method: Annotated[
        str, typer.Option(help="A combiner, such as rrf, combsum, combmnz, weighted.")
    ] = "rrf",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A parameter of the method, such as k=60; repeat."
        ),
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option(help="Judgments, for weights=tuned: each query's never tune it.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Documents of each query to write.")] = 1000,
    name: Annotated[
        str | None, typer.Option(help="Tag of the fused run [the name of the file].")
    ] = None,
    duplicates: Annotated[
        DuplicateRows, typer.Option(help="A document listed twice for a query.")
    ] = DuplicateRows.error,
    seed: SeedOption = 0,
) -> None:
    """Fuse run files into one, and print what was chosen on the way, such as tuned weights.

    retrieval-eval fuse bm25.run dense.run -o hybrid.run --method weighted --set weights=tuned
    --qrels qrels.txt
    """
    from retrieval_eval.combiners import CombineContext, get_combiner
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.runs import Run
    from retrieval_eval.textfiles import unpacked_name

    combiner = get_combiner(method, **_parameters(set_ or []))
    if combiner.uses_texts:
        raise InputError(
            f"combiner {method!r} reads the texts of queries and documents, which run files do not "
            "hold: use it in a sweep, or from Python"
        )
    combiner.require()
    combiner.check(len(runs))
    if qrels is not None and not combiner.uses_judgments:
        raise InputError(f"--qrels: combiner {method!r} as set here uses no judgments: remove it")
    if out.exists() and any(one.exists() and out.samefile(one) for one in runs):
        raise InputError(f"--out {out}: is one of the runs: give another name")
    if unpacked_name(out).endswith((".json", ".jsonl", ".csv")) or out.match("*.parquet.*"):
        raise InputError(
            f"--out {out}: runs are written as TREC runs, plain, .gz or .zst, or as .parquet"
        )
    context = CombineContext(
        qrels=None if qrels is None else Qrels.from_file(qrels, duplicates=duplicates.value),
        k=k,
        seed=seed,
        name=name or out.name.partition(".")[0] or method,
    )
    combined = combiner.combine(
        [Run.from_file(one, duplicates=duplicates.value) for one in runs], context
    )
    combined.run.to_file(out)
    if combined.facts:
        print_json(combined.facts)
    answered = len(set(combined.run.query.tolist()))
    say(f"{out}: {len(combined.run)} documents for {answered} queries")


def _parameters(settings: list[str]) -> dict[str, Any]:
    parameters = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--set {setting!r}: expected key=value, such as k=60")
        try:
            parameters[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {setting!r}: the value is not valid YAML") from None
    return parameters
