"""The verb ``split``: queries to choose a configuration on, and queries to report on."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval_eval.cli.app import app, print_json, say
from retrieval_eval.errors import InputError

if TYPE_CHECKING:
    from retrieval_eval.nearness import NearFar
    from retrieval_eval.qrels import Qrels


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    json = "json"


class Stratify(StrEnum):
    """What each part is to have in equal proportions."""

    relevant = "relevant"
    near_far = "near-far"


@app.command()
def split(
    dataset: Annotated[
        str, typer.Argument(help="Judgments: a file, a folder in BEIR's layout, or a dataset.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tune.tsv and held-out.tsv go.")],
    of: Annotated[str | None, typer.Option("--split", help="Which judgments; test.")] = None,
    tune: Annotated[float, typer.Option(help="Share of the queries to tune on.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another split.")] = 0,
    stratify: Annotated[
        list[Stratify] | None,
        typer.Option(help="Equal proportions in both parts; repeat to combine."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Equal proportions of this key or column of --queries.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries (.jsonl, .csv, .tsv); by default the folder's own."),
    ] = None,
    vectors: Annotated[
        str | None, typer.Option(help="Row i: query i of --queries, unless the file has ids.")
    ] = None,
    training_vectors: Annotated[
        str | None, typer.Option(help="Embeddings of training queries, of the same encoder.")
    ] = None,
    bins: Annotated[int, typer.Option(min=1, help="Strata of nearness.")] = 2,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Write part and strata of each query, for slices."),
    ] = None,
    format_: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.table,
) -> None:
    """Split the judged queries into those to tune on and those to report on.

    Each part becomes a file of judgments. With --out FOLDER/qrels it is a split of that folder.
    """
    from retrieval_eval.splits import (
        combine_strata,
        split_qrels,
        split_queries,
        strata_by_relevant,
        write_query_labels,
        write_split,
    )

    chosen = dict.fromkeys(stratify or ())
    wants_vectors = Stratify.near_far in chosen
    if wants_vectors != (vectors is not None and training_vectors is not None):
        raise InputError("--stratify near-far needs --vectors and --training-vectors, both")
    if labels is not None and labels.exists():
        raise InputError(f"{labels}: is there already, and is not replaced")
    if not 0 < tune < 1:
        raise InputError(f"--tune is {tune:g}: it must be between 0 and 1")
    qrels, own_queries = _read(dataset, of)
    file = queries or own_queries
    strata = []
    attributes: dict[str, dict[str, object]] = {query: {} for query in qrels.query_ids}
    if Stratify.relevant in chosen:
        strata.append(("relevant", strata_by_relevant(qrels)))
    if vectors is not None and training_vectors is not None:
        found = _near_far(qrels, file, vectors, training_vectors, bins)
        strata.append(("nearness", found.labels))
        for query, values in found.attributes().items():
            attributes[query].update(values)
    if column is not None:
        strata.append((column, _column(qrels, file, column)))
    for name, mapping in strata:
        for query in qrels.query_ids:
            attributes[query][name] = mapping[query]
    parts = split_queries(
        qrels.query_ids,
        seed=seed,
        shares=(tune, 1 - tune),
        strata=combine_strata(*(mapping for _, mapping in strata)) if strata else None,
    )
    made = split_qrels(qrels, parts)
    paths = write_split(out, made)
    for part, members in parts.items():
        for query in members:
            attributes[query]["part"] = part
    if labels is not None:
        write_query_labels(labels, attributes)
    _show(format_, seed, made, paths, strata)


def _read(dataset: str, of: str | None) -> tuple[Qrels, Path | None]:
    """Return the judgments, and the file of the queries if it is known."""
    from retrieval_eval.datasets import load_dataset
    from retrieval_eval.qrels import Qrels
    from retrieval_eval.validation import folder_of
    from retrieval_eval.validation.scan import find_folder

    if Path(dataset).is_file() and not dataset.endswith((".yaml", ".yml")):
        if of is not None:
            raise InputError(f"{dataset}: is one file of judgments: --split says nothing of it")
        return Qrels.from_file(dataset), None
    folder = folder_of(dataset)
    if folder is None:
        loaded = load_dataset(dataset) if of is None else load_dataset(dataset, split=of)
        return loaded.qrels, None
    path, own = folder
    name = of or (own or ["test"])[0]
    files = find_folder(path, [name])
    return Qrels.from_file(files.splits[name]), files.queries


def _near_far(
    qrels: Qrels, queries: Path | None, vectors: str, training: str, bins: int
) -> NearFar:
    import numpy as np

    from retrieval_eval.comparison.robustness import read_query_texts
    from retrieval_eval.nearness import near_and_far
    from retrieval_eval.vectorfiles import open_vectors, read_vectors

    file = open_vectors(vectors)
    if file.ids is not None:
        ids = list(file.ids)
    elif queries is None:
        raise InputError(f"{vectors}: has no ids: name the file of its queries by --queries")
    else:
        ids = list(read_query_texts(queries))
        judged = set(qrels.query_ids)
        if file.n != len(ids):  # embeddings of a dataset are those of its judged queries
            ids = [one for one in ids if one in judged]
        if file.n != len(ids):
            raise InputError(
                f"{vectors}: has {file.n} rows, but {queries} has neither as many queries nor as "
                f"many judged ones ({len(ids)})"
            )
    row_of = {one: row for row, one in enumerate(ids)}
    missing = next((one for one in qrels.query_ids if one not in row_of), None)
    if missing is not None:
        raise InputError(f"{vectors}: has no row for the judged query {missing!r}")
    rows = np.array([row_of[one] for one in qrels.query_ids], dtype=np.int64)
    return near_and_far(qrels.query_ids, file.take(rows), read_vectors(training), bins=bins)


def _column(qrels: Qrels, queries: Path | None, column: str) -> dict[str, str]:
    from retrieval_eval.comparison.robustness import read_query_column

    if queries is None:
        raise InputError("--column speaks of a file of queries: name it by --queries")
    found = read_query_column(queries, column)
    return {query: found.get(query, "no label") for query in qrels.query_ids}


def _show(
    format_: Format,
    seed: int,
    made: dict[str, Qrels],
    paths: dict[str, Path],
    strata: list[tuple[str, dict[str, str]]],
) -> None:
    from collections import Counter

    from retrieval_eval.report.terminal import print_table

    counts = {
        part: {
            name: dict(
                sorted(
                    Counter(mapping[query] for query in one.query_ids).items(),
                    key=lambda item: _natural(item[0]),
                )
            )
            for name, mapping in strata
        }
        for part, one in made.items()
    }
    if format_ is Format.json:
        print_json(
            {
                "seed": seed,
                "parts": {
                    part: {
                        "file": str(paths[part]),
                        "queries": len(one.query_ids),
                        "judgments": len(one),
                        "qrels": one.fingerprint,
                        "strata": counts[part],
                    }
                    for part, one in made.items()
                },
            }
        )
        return
    columns = [("part", False), ("queries", True), ("judgments", True)]
    heads = [
        (name, label)
        for name, mapping in strata
        for label in sorted(set(mapping.values()), key=_natural)
    ]
    columns += [(label, True) for _, label in heads]
    rows = [
        [
            part,
            str(len(one.query_ids)),
            str(len(one)),
            *(str(counts[part][name].get(label, 0)) for name, label in heads),
        ]
        for part, one in made.items()
    ]
    print_table(columns, rows)
    say(f"seed {seed}; {', '.join(str(path) for path in paths.values())}")


def _natural(label: str) -> list[tuple[bool, int, str]]:
    """Order by numbers where there are any: 2, 9-16, 17-32."""
    parts = re.findall(r"[0-9]+|[^0-9]+", label)
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
