"""Documents cut into passages, whose judgments are those of their documents."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from retrieval_eval.datasets import Dataset
from retrieval_eval.errors import InputError
from retrieval_eval.ids import Ids
from retrieval_eval.qrels import Qrels

__all__ = ["split_into_passages"]


def split_into_passages(data: Dataset, *, lines: int, step: int) -> Dataset:
    r"""Cut every document into windows of lines, each a document of its own.

    Parameters
    ----------
    data : Dataset
        Its attributes and vectors are left out.
    lines : int
        Of a window, at least 1.
    step : int
        Lines from the beginning of a window to that of the next, at least 1.

    Returns
    -------
    Dataset
        Ids are those of the documents with ``:`` and the line at which the window begins, from 1.
        The first window of every document comes first, then the second ones, and so on, so that
        the first n hold something of as many documents as can be. A window has the grade of its
        document. The windows of a document overlap if `step` is less than `lines`.

    Raises
    ------
    InputError
        For numbers below 1.

    Examples
    --------
    >>> from retrieval_eval import Qrels
    >>> qrels = Qrels.from_mapping({"q": {"d": 2}})
    >>> cut = split_into_passages(
    ...     Dataset("made", ["c", "d"], ["one", "a\nb\nc"], ("q",), ["?"], qrels), lines=2, step=1
    ... )
    >>> list(cut.document_ids), cut.documents[2]
    (['c:1', 'd:1', 'd:2'], 'b\nc')
    >>> cut.qrels.to_frame().rows()
    [('q', 'd:1', 2), ('q', 'd:2', 2)]
    """
    if lines < 1 or step < 1:
        raise InputError(f"passages: lines is {lines} and step {step}: both must be at least 1")
    found: list[tuple[int, int, str, str]] = []
    for place, (name, text) in enumerate(zip(data.document_ids, data.documents, strict=True)):
        split = text.splitlines() or [""]
        last = max(1, len(split) - lines + step)  # the last window holds the last line
        for turn, start in enumerate(range(0, last, step)):
            found.append((turn, place, f"{name}:{start + 1}", "\n".join(split[start:][:lines])))
    found.sort(key=lambda one: one[:2])
    parents = pl.DataFrame(
        {
            "passage": [name for _, _, name, _ in found],
            "doc_id": Ids.of(data.document_ids).column.gather([at for _, at, _, _ in found]),
        }
    )
    judged = data.qrels.to_frame().join(parents, on="doc_id", how="inner", maintain_order="left")
    qrels = Qrels.from_frame(
        judged.select("query_id", pl.col("passage").alias("doc_id"), "relevance")
    )
    return replace(
        data,
        name=f"{data.name} by {lines} lines",
        document_ids=parents["passage"].to_list(),
        documents=[text for _, _, _, text in found],
        qrels=qrels,
        attributes={},
        vectors=None,
        corpus_key=None,
    )
