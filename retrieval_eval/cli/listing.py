"""The verb ``list``: what can be named."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from retrieval_eval.cli.app import app


class Listing(StrEnum):
    """What can be listed."""

    datasets = "datasets"
    sources = "sources"
    encoders = "encoders"
    indexes = "indexes"
    combiners = "combiners"
    measures = "measures"
    tests = "tests"


@app.command("list")
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List what can be named in a sweep, with parameters, ranges and defaults."""
    from retrieval_eval.listing import listing
    from retrieval_eval.report.terminal import print_table

    print_table(*listing(what.value))
