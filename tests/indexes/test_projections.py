"""Projections against known answers: the bound of their loss, and where two methods agree."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.indexes.project import (
    ProjectIndex,
    learn_projections,
    projection_bound,
    projection_loss,
)
from retrieval_eval.neighbours import exact_neighbours

Vectors = NDArray[np.float32]
D, KEPT = 64, 16


def out_of_distribution(seed: int, n: int = 5000) -> tuple[Vectors, Vectors, Vectors]:
    """Draw documents, and queries that vary as much in other directions: to learn from, to ask.

    The i-th direction has the standard deviation ``i ** -0.5``.
    """
    rng = np.random.default_rng(seed)
    spread = np.arange(1, D + 1) ** -0.5
    turn, _ = np.linalg.qr(rng.normal(size=(D, D)))
    documents = rng.normal(size=(n, D)) * spread
    asked = ((rng.normal(size=(1300, D)) * spread) @ turn).astype(np.float32)
    return documents.astype(np.float32), asked[:1000], asked[1000:]


def recall(documents: Vectors, queries: Vectors, maps: tuple[NDArray[np.float64], ...]) -> float:
    """Return the share of the ten nearest neighbours that projected vectors find."""
    to_queries, to_documents = (one.T.astype(np.float32) for one in maps)
    truth = exact_neighbours(documents, queries, 10, "ip")[0]
    found = exact_neighbours(documents @ to_documents, queries @ to_queries, 10, "ip")[0]
    return sum(len(set(a) & set(b)) for a, b in zip(truth, found, strict=True)) / truth.size


def test_the_loss_is_what_its_definition_says() -> None:
    documents, examples, asked = out_of_distribution(0, 300)
    a, b = learn_projections(documents, examples, KEPT, centred=False)
    q, x = asked.astype(np.float64), documents.astype(np.float64)
    lost = q @ (a.T @ b - np.eye(D)) @ x.T
    expected = np.sum(lost**2) / np.sum((q @ x.T) ** 2)
    assert projection_loss(documents, asked, a, b) == pytest.approx(expected, rel=1e-9)


def test_the_mean_losses_over_all_turns_of_the_queries_are_known() -> None:
    rng = np.random.default_rng(8)
    spread = np.diag(np.arange(1, D + 1) ** -0.5).astype(np.float32)  # the covariance, no sample
    losses = []
    for _ in range(60):
        turn = np.linalg.qr(rng.normal(size=(D, D)))[0].astype(np.float32)
        queries = spread @ turn
        losses.append(
            [
                projection_loss(spread, queries, *learn_projections(spread, q, KEPT, centred=False))
                for q in (None, queries)
            ]
        )
    harmonic = np.cumsum(1 / np.arange(1, D + 1))
    pca, closed = np.mean(losses, axis=0)
    # A direction of the documents meets the mean variance of queries: 1 - H(16) / H(64) = .2874.
    assert pca == pytest.approx(1 - harmonic[KEPT - 1] / harmonic[-1], rel=0.03)
    assert closed == pytest.approx(0.1437, rel=0.03)


def test_the_closed_form_finds_more_neighbours_of_queries_it_has_not_seen() -> None:
    documents, examples, asked = out_of_distribution(0)
    pca, lean = (
        recall(documents, asked[:200], learn_projections(documents, one, KEPT, centred=False))
        for one in (None, examples)
    )
    assert pca == pytest.approx(0.319, abs=0.05)
    assert lean == pytest.approx(0.489, abs=0.05)


@pytest.mark.parametrize("d", [1, 5, 16, 40, 63])
def test_the_closed_form_attains_the_bound_and_nothing_goes_below(d: int) -> None:
    documents, examples, _ = out_of_distribution(1)
    bound = projection_bound(documents, examples, d)
    a, b = learn_projections(documents, examples, d, centred=False)
    assert projection_loss(documents, examples, a, b) == pytest.approx(bound, rel=1e-4)
    pca = learn_projections(documents, None, d, centred=False)
    assert projection_loss(documents, examples, *pca) > 1.05 * bound
    rng = np.random.default_rng(2)
    for _ in range(5):
        moved = a + 1e-3 * rng.normal(size=a.shape), b + 1e-3 * rng.normal(size=b.shape)
        assert projection_loss(documents, examples, *moved) > bound


def test_principal_components_are_the_closed_form_where_queries_vary_like_documents() -> None:
    documents, _, _ = out_of_distribution(3, 200)
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(200, 200)))
    queries = (3 * turn @ documents).astype(np.float32)  # Q^T Q = 9 X^T X, by other rows
    lean = learn_projections(documents, queries, KEPT, centred=False)
    pca = learn_projections(documents, None, KEPT, centred=False)
    np.testing.assert_allclose(lean[0].T @ lean[1], pca[0].T @ pca[1], atol=1e-4)
    bound = projection_bound(documents, queries, KEPT)
    for maps in (lean, pca):
        assert projection_loss(documents, queries, *maps) == pytest.approx(bound, rel=1e-4)


def test_a_built_index_tells_its_loss() -> None:
    documents, examples, asked = out_of_distribution(7, 500)
    lengths = np.linspace(0.5, 2, 500, dtype=np.float32)[:, None]
    for metric, unit in (("ip", documents), ("cosine", documents / norms(documents))):
        index = ProjectIndex(metric=metric, index="flat", d=KEPT, method="leanvec")  # type: ignore[arg-type]
        index.build(unit if metric == "ip" else unit * lengths, queries=examples)
        given = examples if metric == "ip" else examples / norms(examples)
        new = asked if metric == "ip" else asked / norms(asked)
        maps = learn_projections(unit, given, KEPT, centred=False)
        expected = projection_loss(unit, new, *maps)
        assert index.loss(unit, 3 * asked) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(InputError, match="build or load it before asking for its loss"):
        ProjectIndex(index="flat", d=2).loss(documents, asked)


def norms(vectors: Vectors) -> Vectors:
    """Return the lengths of rows, as a column."""
    return np.linalg.norm(vectors, axis=1, keepdims=True)


def test_few_queries_are_learnt_by_heart() -> None:
    documents, examples, asked = out_of_distribution(5)
    pca = projection_loss(documents, asked, *learn_projections(documents, None, 16, centred=False))
    held_out = []
    for count in (16, 64, 1000):
        maps = learn_projections(documents, examples[:count], KEPT, centred=False)
        seen = projection_loss(documents, examples[:count], *maps)
        held_out.append(projection_loss(documents, asked, *maps))
        assert seen < held_out[-1]
    assert held_out[0] > pca > held_out[-1]
    assert held_out == sorted(held_out, reverse=True)
    by_heart = learn_projections(documents, examples[:16], KEPT, centred=False)
    assert projection_loss(documents, examples[:16], *by_heart) < 1e-6


def test_nothing_is_lost_with_all_dimensions_and_nothing_known_without_queries() -> None:
    documents, examples, _ = out_of_distribution(6, 500)
    maps = learn_projections(documents, examples, D, centred=False)
    assert projection_loss(documents, examples, *maps) < 1e-9
    assert projection_bound(documents, examples, D) == 0.0
    assert np.isnan(projection_bound(documents, 0 * examples, 3))
    assert np.isnan(projection_loss(documents, 0 * examples, *maps))
