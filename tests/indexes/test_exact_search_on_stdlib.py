"""Exact search over the embedded dataset, held against float64 NumPy on every query."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval import Dataset, Store, exact_neighbours, get_encoder, get_index, load_dataset
from retrieval_eval.neighbours import true_scores

K = 100


@pytest.fixture(scope="module")
def stdlib(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("stdlib", store=Store(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def vectors(stdlib: Dataset) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    encoder = get_encoder("lsa", dim=128, split_identifiers=True).fit(stdlib.documents)
    return encoder.encode(stdlib.documents, "document"), encoder.encode(stdlib.queries, "query")


@pytest.fixture(scope="module")
def reference(
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Every similarity in float64; a query without a known term has none."""
    documents, queries = (part.astype(np.float64) for part in vectors)
    norms = np.linalg.norm(documents, axis=1)
    lengths = np.linalg.norm(queries, axis=1)
    scores = queries @ documents.T
    scores /= np.where(norms > 0, norms, 1.0)
    return scores / np.where(lengths > 0, lengths, np.nan)[:, None]


def test_the_truth_is_that_of_numpy_in_float64_on_every_query(
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]], reference: NDArray[np.float64]
) -> None:
    ids, scores = exact_neighbours(*vectors, K, "cosine")
    known = ~np.isnan(reference[:, 0])
    assert (ids[~known] == -1).all()
    assert known.sum() > 4000
    best = -np.sort(-reference[known], axis=1)[:, :K]
    np.testing.assert_allclose(scores[known], best, rtol=0, atol=1e-13)
    # Which document stands where may differ between equal scores alone.
    found = np.take_along_axis(reference[known], ids[known], axis=1)
    np.testing.assert_allclose(found, best, rtol=0, atol=1e-13)
    assert all(len(set(row)) == K for row in ids[known].tolist())


def test_flat_returns_the_true_neighbours_of_every_query_up_to_float32(
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]], reference: NDArray[np.float64]
) -> None:
    documents, queries = vectors
    hits = get_index("flat").build(documents).search(queries, K)
    known = ~np.isnan(reference[:, 0])
    assert (hits.found == np.where(known, K, 0)).all()
    truth = true_scores(documents, queries[known], hits.ids[known], "cosine")
    best = -np.sort(-reference[known], axis=1)[:, :K]
    np.testing.assert_allclose(truth, best, rtol=0, atol=2e-6)
    np.testing.assert_allclose(hits.scores[known], truth, rtol=0, atol=2e-6)
