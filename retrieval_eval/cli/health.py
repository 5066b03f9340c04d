"""The verb ``health``: how good embeddings look without labels."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval_eval.cli.app import app, say
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


@app.command()
def health(
    vectors: Annotated[
        list[str], typer.Argument(help="Documents' vectors: .npy or any other form; FILE#NAME.")
    ],
    queries: Annotated[
        list[str] | None,
        typer.Option(help="Vectors of queries; repeat, one for each file of documents."),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Documents, and queries, to search among all documents.")
    ] = 2000,
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours in a list, for hubs.")] = 10,
    duplicate_cosine: Annotated[
        float, typer.Option(help="Cosine from which two documents are near duplicates.")
    ] = 0.999,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")] = 0,
    meanings: Annotated[
        bool, typer.Option("--meanings", help="Also print what each figure means.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
) -> None:
    """Describe embeddings without labels: rank, hubs, duplicates, lengths, cones.

    One column for each file, to compare encoders. No figure is a verdict.
    """
    from retrieval_eval.health import embedding_health
    from retrieval_eval.report.health import HealthReport

    if queries and len(queries) != len(vectors):
        raise InputError(
            f"{len(queries)} files of queries for {len(vectors)} of documents: give --queries once "
            "for each, in the same order, because an encoder's queries go with its documents"
        )
    if meanings and format_ is Format.csv:
        raise InputError("--format csv holds figures alone: --meanings needs another form")
    results = tuple(
        embedding_health(
            _floats(file),
            _floats(asked) if asked else None,
            seed=seed,
            sample=sample,
            k=k,
            duplicate_cosine=duplicate_cosine,
            names=(file, asked or "queries"),
        )
        for file, asked in zip_longest(vectors, queries or ())
    )
    report = HealthReport(tuple(vectors), results, meanings)
    if format_ is Format.table:
        report.show()
    else:
        typer.echo(getattr(report, format_.value)())
    if format_ in (Format.table, Format.csv):
        say(report.legend)
        for note in report.notes:
            say(f"note: {note}")


def _floats(name: str) -> NDArray[Any]:
    """Map a file of floats as it is; what is not stored as floats goes through a temporary file."""
    import numpy as np

    from retrieval_eval.vectorfiles import open_vectors
    from retrieval_eval.vectorfiles.base import MappedVectors

    file = open_vectors(name)
    if isinstance(file, MappedVectors) and file.stored.dtype.kind == "f":
        return file.stored
    with tempfile.TemporaryFile(prefix="retrieval-eval-") as stream:
        for block in file.blocks():
            stream.write(np.ascontiguousarray(block).data)
        stream.flush()
        return np.memmap(stream, dtype=np.float32, mode="r", shape=(file.n, file.d))
