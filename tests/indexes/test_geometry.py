"""Local intrinsic dimensionality against known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval_eval.errors import InputError
from retrieval_eval.geometry import local_intrinsic_dimensionality


def in_a_ball(rng: np.random.Generator, n: int, m: int) -> NDArray[np.float64]:
    """Draw points uniformly in the unit ball of m dimensions."""
    points = rng.normal(size=(n, m))
    points /= np.linalg.norm(points, axis=1)[:, None]
    points *= rng.random((n, 1)) ** (1 / m)
    return points


def by_definition(documents: NDArray[np.floating], k: int, row: int) -> float:
    """Compute one estimate from all distances, without a search."""
    wide = documents.astype(np.float64)
    distances = np.sort(np.linalg.norm(np.delete(wide, row, 0) - wide[row], axis=1))[:k]
    return float(-1 / np.mean(np.log(distances / distances[-1])))


@pytest.mark.parametrize(("m", "published"), [(2, 1.95), (4, 4.08), (8, 7.97)])
def test_the_dimension_of_a_ball_is_found_inside_it(m: int, published: float) -> None:
    points = in_a_ball(np.random.default_rng(1), 10_000, m)
    estimates = local_intrinsic_dimensionality(points)
    inside = estimates[np.linalg.norm(points, axis=1) < 0.5]
    assert inside.mean() == pytest.approx(published, rel=0.06)
    assert estimates.mean() < inside.mean()  # half of the ball is missing at its edge


@pytest.mark.parametrize("m", [2, 4, 8])
def test_the_estimate_at_the_centre_of_a_ball_has_its_known_mean(m: int) -> None:
    rng = np.random.default_rng(2)
    k, draws = 100, 60
    found = []
    for _ in range(draws):
        points = np.vstack([np.zeros((1, m)), in_a_ball(rng, 150, m)])
        found.append(local_intrinsic_dimensionality(points, k)[0])
    # The k - 1 logarithms are exponential: the estimate is m k over a gamma variable.
    error = m / np.sqrt(k - 3) / np.sqrt(draws)
    assert np.mean(found) == pytest.approx(m * k / (k - 2), abs=4 * error)


@pytest.mark.parametrize("k", [2, 10, 59])
def test_estimates_follow_their_definition(k: int) -> None:
    documents = np.random.default_rng(3).normal(size=(60, 5)).astype(np.float32)
    expected = [by_definition(documents, k, row) for row in range(60)]
    np.testing.assert_allclose(local_intrinsic_dimensionality(documents, k), expected, rtol=1e-9)


def test_an_embedding_in_more_dimensions_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    flat = rng.normal(size=(500, 3))
    rotation = np.linalg.qr(rng.normal(size=(40, 40)))[0][:, :3]
    np.testing.assert_allclose(
        local_intrinsic_dimensionality(5000 + 7 * flat @ rotation.T, 20),
        local_intrinsic_dimensionality(flat, 20),
        rtol=1e-6,
    )


def test_cosine_takes_the_distances_of_normalised_vectors() -> None:
    rng = np.random.default_rng(5)
    directions = rng.normal(size=(80, 4))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    lengths = rng.uniform(0.1, 10, size=(80, 1))
    np.testing.assert_allclose(
        local_intrinsic_dimensionality(directions * lengths, 10, "cosine"),
        local_intrinsic_dimensionality(directions, 10, "l2"),
        rtol=1e-9,
    )


def test_close_directions_are_told_apart_under_cosine() -> None:
    rng = np.random.default_rng(6)
    documents = np.hstack([np.ones((100, 1)), 1e-6 * rng.normal(size=(100, 3))])
    estimates = local_intrinsic_dimensionality(documents, 10, "cosine")
    flat = local_intrinsic_dimensionality(documents[:, 1:], 10)
    np.testing.assert_allclose(estimates, flat, rtol=1e-7)


def test_a_copy_is_no_neighbour_of_a_document() -> None:
    line = np.array([[0.0], [0.0], [1.0], [3.0], [7.0]])
    estimates = local_intrinsic_dimensionality(line, 3)
    # From 0: a copy, 1 and 3. From 7: 4, 6, and 7 to either copy, of which three are taken.
    np.testing.assert_allclose(estimates[:2], 2 / np.log(3))
    assert estimates[4] == pytest.approx(3 / (np.log(7 / 4) + np.log(7 / 6)))


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_copies_alone_have_no_dimension(metric: str) -> None:
    rng = np.random.default_rng(7)
    crowd = np.repeat(rng.normal(size=(1, 6)), 20, axis=0)
    if metric == "cosine":
        crowd *= rng.uniform(0.1, 10, size=(20, 1))
    documents = np.vstack([crowd, rng.normal(size=(20, 6))])
    estimates = local_intrinsic_dimensionality(documents, 5, metric)  # type: ignore[arg-type]
    assert np.isnan(estimates[:20]).all()
    assert not np.isnan(estimates[20:]).any()
    # With one other document among the k, there is still nothing to compare it with.
    with_one = local_intrinsic_dimensionality(documents, 20, metric)  # type: ignore[arg-type]
    assert np.isnan(with_one[:20]).all()
    with_two = local_intrinsic_dimensionality(documents, 21, metric)  # type: ignore[arg-type]
    assert np.isfinite(with_two[:20]).all()


def test_neighbours_equally_far_have_no_finite_dimension() -> None:
    estimates = local_intrinsic_dimensionality(np.eye(6), 4)
    assert np.isposinf(estimates).all()


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_blocks_change_nothing(metric: str) -> None:
    documents = np.random.default_rng(8).normal(size=(40, 4)).astype(np.float32)
    whole = local_intrinsic_dimensionality(documents, 10, metric)  # type: ignore[arg-type]
    for budget_bytes in (1, 20_000):
        in_blocks = local_intrinsic_dimensionality(
            documents,
            10,
            metric,  # type: ignore[arg-type]
            budget_bytes=budget_bytes,
        )
        np.testing.assert_allclose(in_blocks, whole, rtol=1e-12)


@pytest.mark.parametrize("k", [-1, 0, 1, 6])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"k is {k}: it must be between 2 and 5"):
        local_intrinsic_dimensionality(np.eye(6), k)


@pytest.mark.parametrize("metric", ["ip", "L2"])
def test_what_is_no_distance_is_refused(metric: str) -> None:
    with pytest.raises(InputError, match=f"metric is '{metric}': it must be 'l2' or 'cosine'"):
        local_intrinsic_dimensionality(np.eye(6), 2, metric)  # type: ignore[arg-type]


def test_a_zero_vector_is_refused_under_cosine_alone() -> None:
    documents = np.vstack([np.eye(4), np.zeros((1, 4)), -np.eye(4)])
    with pytest.raises(InputError, match="document 4 is a zero vector"):
        local_intrinsic_dimensionality(documents, 2, "cosine")
    assert len(local_intrinsic_dimensionality(documents, 2, "l2")) == 9


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="budget_bytes is 0"):
        local_intrinsic_dimensionality(np.eye(6), 2, budget_bytes=0)


def test_estimates_of_real_vectors_follow_their_definition(collections: Path) -> None:
    documents = np.load(collections / "vectors" / "digits-64" / "base.npy", mmap_mode="r")
    estimates = local_intrinsic_dimensionality(documents)
    rows = range(0, len(documents), 100)
    expected = [by_definition(np.asarray(documents), 100, row) for row in rows]
    np.testing.assert_allclose(estimates[::100], expected, rtol=1e-9)
