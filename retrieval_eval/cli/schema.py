"""The verb ``schema``: what an editor needs to know of sweep files."""

from __future__ import annotations

from retrieval_eval.cli.app import app, print_json


@app.command()
def schema() -> None:
    """Print a JSON Schema of sweep files, with everything that is installed here."""
    from retrieval_eval.sweep.schema import sweep_schema

    print_json(sweep_schema())
