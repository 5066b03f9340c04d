"""What an index returned, told apart: positives, near-duplicates of them, possible negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.hits import Hits
from retrieval_eval.ids import Ids
from retrieval_eval.neighbours import Metric, true_scores
from retrieval_eval.neighbours.scores import Floats, blocks
from retrieval_eval.qrels import Qrels

__all__ = ["ABSENT", "KINDS", "NEAR_DUPLICATE", "NEGATIVE", "POSITIVE", "Candidates"]
__all__ += ["label_candidates"]

KINDS = ("negative", "positive", "near-duplicate", "absent")
"""What a hit may be, by its code: no positive, judged relevant, all but equal to a document that
is, or nothing (padding of a list that is too short)."""

NEGATIVE, POSITIVE, NEAR_DUPLICATE, ABSENT = range(len(KINDS))
_PAIR_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Candidates:
    """The hits of q queries with a judged relevant document in the corpus.

    Parameters
    ----------
    query_ids : tuple of str, length q
        In the order of the hits.
    rows : ndarray of int64, shape (q,)
        Row of each query in the hits, and among the texts of queries.
    ids : ndarray of int64, shape (q, k)
        Rows of the corpus, as the index returned them; -1 is padding.
    scores : ndarray of float64, shape (q, k)
        Exact similarity to the query; ``-inf`` for padding.
    kinds : ndarray of int8, shape (q, k)
        Place in :data:`KINDS`.
    positives : ndarray of int64, shape (p,)
        Rows of the corpus that are relevant, query after query, ascending.
    positive_scores : ndarray of float64, shape (p,)
        Exact similarity to their query.
    edges : ndarray of int64, shape (q + 1,)
        First positive of each query, and p.
    left_out : tuple of str
        Queries without a relevant document in the corpus.
    """

    query_ids: tuple[str, ...]
    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    kinds: NDArray[np.int8]
    positives: NDArray[np.int64]
    positive_scores: NDArray[np.float64]
    edges: NDArray[np.int64]
    left_out: tuple[str, ...]

    @property
    def lowest_positive(self) -> NDArray[np.float64]:
        """Similarity of each query's farthest positive, shape (q,)."""
        lowest: NDArray[np.float64] = np.minimum.reduceat(self.positive_scores, self.edges[:-1])
        return lowest

    def share(self, kind: str, depth: int) -> NDArray[np.float64]:
        """Return what share of the first hits of each query is of a kind, shape (q,).

        Parameters
        ----------
        kind : str
            One of :data:`KINDS`.
        depth : int
            How many hits, from 1 to k; of those found.
        """
        kinds = self.kinds[:, :depth]
        found = np.maximum(np.count_nonzero(kinds != ABSENT, axis=1), 1)
        share: NDArray[np.float64] = np.count_nonzero(kinds == KINDS.index(kind), axis=1) / found
        return share


def label_candidates(
    hits: Hits,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    qrels: Qrels,
    queries: Floats,
    documents: Floats,
    *,
    metric: Metric = "cosine",
    duplicate_cosine: float = 0.95,
    duplicate_vectors: Floats | None = None,
    relevance_level: int = 1,
) -> Candidates:
    """Tell positives and their near-duplicates apart from what may serve as a negative.

    A near-duplicate of a positive is as good an answer, judged or not: as a negative it would teach
    a model what is false.

    Parameters
    ----------
    hits : Hits
        What an index returned for the queries.
    query_ids : sequence of str, length q
        Their ids, in the order of the hits.
    document_ids : sequence of str, length n
        Ids of the corpus.
    qrels : Qrels
        The judgments; relevant documents that are not in the corpus count nowhere.
    queries : ndarray of float, shape (q, d)
        Vectors of the queries.
    documents : ndarray of float, shape (n, d)
        Vectors of the documents; may be memory-mapped.
    metric : {'cosine', 'ip', 'l2'}
        Similarity of a query and a document, computed anew in float64: an index may return others.
    duplicate_cosine : float
        Cosine with a positive from which a document is its near-duplicate, up to rounding; above 0,
        at most 1.
    duplicate_vectors : ndarray of float, shape (n, e), optional
        Vectors of the documents that tell near-duplicates; by default `documents`. With vectors of
        another encoder several can be held against one measure.
    relevance_level : int
        Grade from which a document is relevant.

    Returns
    -------
    Candidates

    Raises
    ------
    InputError
        If shapes do not fit, an option is out of range, or no query has a relevant document.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]], dtype=np.float32)
    >>> hits = Hits(np.array([[0, 1, 2]]), np.array([[1.0, 0.9, 0.0]], dtype=np.float32))
    >>> qrels = Qrels.from_mapping({"q": {"a": 1}})
    >>> found = label_candidates(hits, ["q"], ["a", "b", "c"], qrels, x[:1], x)
    >>> [KINDS[code] for code in found.kinds[0]]
    ['positive', 'near-duplicate', 'negative']
    """
    vectors = documents if duplicate_vectors is None else duplicate_vectors
    _check(hits, query_ids, document_ids, queries, documents, vectors)
    if not 0 < duplicate_cosine <= 1:
        raise InputError(
            f"duplicate_cosine is {duplicate_cosine}: it must be above 0 and at most 1"
        )
    judged = _positives(qrels, query_ids, document_ids, relevance_level)
    if judged.is_empty():
        raise InputError(
            f"no query has a document in the corpus with a grade of {relevance_level} or more"
        )
    rows, owner = np.unique(judged["query"].to_numpy(), return_inverse=True)
    positives = judged["document"].to_numpy()
    edges = np.searchsorted(owner, np.arange(len(rows) + 1)).astype(np.int64)
    ids = hits.ids[rows]
    asked = np.asarray(queries[rows])
    n = len(document_ids)
    kinds = np.where(ids < 0, ABSENT, NEGATIVE).astype(np.int8)
    pairs = np.arange(len(rows))[:, None] * n + ids
    is_positive = (ids >= 0) & np.isin(pairs, owner * n + positives)
    threshold = duplicate_cosine - (vectors.shape[1] + 4) * 2.0**-53
    near = np.zeros(ids.shape, dtype=bool)
    for part in blocks(len(positives), 16 * ids.shape[1], _PAIR_BYTES):
        of = owner[part]
        cosines = true_scores(vectors, np.asarray(vectors[positives[part]]), ids[of], "cosine")
        np.logical_or.at(near, of, cosines >= threshold)
    kinds[near & (ids >= 0)] = NEAR_DUPLICATE
    kinds[is_positive] = POSITIVE
    known = set(rows.tolist())
    return Candidates(
        query_ids=tuple(query_ids[row] for row in rows.tolist()),
        rows=rows,
        ids=ids,
        scores=true_scores(documents, asked, ids, metric),
        kinds=kinds,
        positives=positives,
        positive_scores=true_scores(documents, asked[owner], positives[:, None], metric)[:, 0],
        edges=edges,
        left_out=tuple(one for row, one in enumerate(query_ids) if row not in known),
    )


def _positives(
    qrels: Qrels, query_ids: Sequence[str], document_ids: Sequence[str], level: int
) -> pl.DataFrame:
    """Return rows of queries and of their relevant documents, ascending by both."""
    asked = pl.DataFrame({"query_id": Ids.of(query_ids).column}).with_row_index("query")
    corpus = pl.DataFrame({"doc_id": Ids.of(document_ids).column}).with_row_index("document")
    judged = qrels.to_frame().filter(pl.col("relevance") >= level)
    found = judged.join(asked, on="query_id").join(corpus, on="doc_id")
    rows = found.select(pl.col("query", "document").cast(pl.Int64))
    return rows.sort("query", "document")


def _check(
    hits: Hits,
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    queries: Floats,
    documents: Floats,
    vectors: Floats,
) -> None:
    for what, ids, n in (
        ("hits", query_ids, len(hits.ids)),
        ("vectors of queries", query_ids, len(queries)),
        ("vectors of documents", document_ids, len(documents)),
        ("vectors that tell near-duplicates", document_ids, len(vectors)),
    ):
        if len(ids) != n:
            raise InputError(f"{n} {what} for {len(ids)} ids")
    if hits.ids.max(initial=-1) >= len(document_ids):
        raise InputError(
            f"a hit is row {int(hits.ids.max())}, and the corpus has {len(document_ids)}"
        )
