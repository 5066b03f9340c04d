"""Mined negatives as rows of text that sentence-transformers trains on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from retrieval_eval.errors import InputError, unknown_name
from retrieval_eval.mining.negatives import Negatives

__all__ = ["LAYOUTS", "Layout", "training_rows", "write_training_rows"]

Layout = Literal["n-tuple", "triplet", "labeled-pair", "labeled-list"]
LAYOUTS: tuple[str, ...] = get_args(Layout)


def training_rows(
    negatives: Negatives,
    queries: Sequence[str],
    documents: Sequence[str],
    *,
    layout: Layout = "n-tuple",
    scores: bool = False,
) -> pl.DataFrame:
    """Return texts in one of the layouts of ``mine_hard_negatives`` of sentence-transformers.

    Its losses take columns by their order, and ``label``, ``labels``, ``score`` or ``scores`` as
    what is to be learnt.

    Parameters
    ----------
    negatives : Negatives
        From :func:`retrieval_eval.mining.mine_negatives`.
    queries, documents : sequence of str
        Texts of all queries that were searched, and of the corpus, by row.
    layout : {'n-tuple', 'triplet', 'labeled-pair', 'labeled-list'}
        ``n-tuple``: anchor, positive, negative_1 to negative_n, a row for each positive
        (MultipleNegativesRankingLoss and its kin). ``triplet``: anchor, positive, negative, a row
        for each positive and negative. ``labeled-pair``: anchor, document, label 1 or 0
        (BinaryCrossEntropyLoss). ``labeled-list``: anchor, documents, labels, a row for each
        positive (LambdaLoss).
    scores : bool
        Add similarities, the positive's first (``scores``, for MarginMSELoss); in the labelled
        layouts they stand in place of labels, as ``score`` and ``scores``.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    InputError
        For an unknown layout.

    Examples
    --------
    >>> from retrieval_eval.hits import Hits
    >>> from retrieval_eval.mining import label_candidates, mine_negatives
    >>> from retrieval_eval.qrels import Qrels
    >>> import numpy as np
    >>> x = np.array([[1, 0], [0.9, 0.5], [0, 1]], dtype=np.float32)
    >>> hits = Hits(np.array([[0, 1, 2]]), np.array([[3, 2, 1]], dtype=np.float32))
    >>> qrels = Qrels.from_mapping({"q": {"a": 1}})
    >>> found = mine_negatives(label_candidates(hits, ["q"], list("abc"), qrels, x[:1], x), 2)
    >>> training_rows(found, ["which?"], ["this", "that", "other"]).to_dicts()
    [{'anchor': 'which?', 'positive': 'this', 'negative_1': 'that', 'negative_2': 'other'}]
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    n = negatives.ids.shape[1]
    rows: list[dict[str, Any]] = []
    for one in _cases(negatives, queries, documents):
        anchor, positives, others = one
        if layout == "labeled-pair":
            pairs = [(*pair, 1) for pair in positives] + [(*pair, 0) for pair in others]
            for text, score, label in pairs:
                aim = {"score": score} if scores else {"label": label}
                rows.append({"anchor": anchor, "document": text, **aim})
            continue
        for text, score in positives:
            start = {"anchor": anchor, "positive": text}
            known = [score, *(value for _, value in others)]
            if layout == "triplet":
                for other, value in others:
                    both = {"scores": [score, value]} if scores else {}
                    rows.append({**start, "negative": other, **both})
            elif layout == "n-tuple":
                names = {f"negative_{place + 1}": others[place][0] for place in range(n)}
                rows.append({**start, **names, **({"scores": known} if scores else {})})
            else:
                texts = [text, *(other for other, _ in others)]
                aim = {"scores": known} if scores else {"labels": [1, *[0] * n]}
                rows.append({"anchor": anchor, "documents": texts, **aim})
    return pl.DataFrame(rows, infer_schema_length=1)


def _cases(negatives: Negatives, queries: Sequence[str], documents: Sequence[str]) -> Any:
    """Yield the query's text, and texts and scores of its positives and of its negatives."""
    found = negatives.candidates
    for place, ids, scores in zip(
        negatives.places.tolist(), negatives.ids.tolist(), negatives.scores.tolist(), strict=True
    ):
        mine = slice(int(found.edges[place]), int(found.edges[place + 1]))
        positives = found.positives[mine].tolist(), found.positive_scores[mine].tolist()
        yield (
            queries[int(found.rows[place])],
            [(documents[row], score) for row, score in zip(*positives, strict=True)],
            [(documents[row], score) for row, score in zip(ids, scores, strict=True)],
        )


def write_training_rows(path: str | Path, rows: pl.DataFrame, *, replace: bool = False) -> Path:
    """Write rows as JSON lines or Parquet, which ``datasets.load_dataset`` reads as they are.

    Parameters
    ----------
    path : str or Path
        A file that ends in ``.jsonl`` or ``.parquet``.
    rows : polars.DataFrame
        From :func:`training_rows`.
    replace : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    InputError
        If the name ends otherwise, the file is there already, or it cannot be written.
    """
    target = Path(path)
    if target.suffix not in (".jsonl", ".parquet"):
        raise InputError(f"{target}: must end in .jsonl or .parquet")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb" if replace else "xb") as stream:
            rows.write_ndjson(stream) if target.suffix == ".jsonl" else rows.write_parquet(stream)
    except FileExistsError:
        raise InputError(f"{target}: is there already: replace=True replaces it") from None
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target
