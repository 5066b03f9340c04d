"""Effective rank and hubness against known answers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from retrieval_eval.errors import InputError
from retrieval_eval.health import Hubness, effective_rank, hubness
from retrieval_eval.health import spectrum as spectrum_module
from retrieval_eval.health.spectrum import spectrum


def test_the_identity_has_full_rank() -> None:
    assert effective_rank(np.eye(64)) == pytest.approx(64.0013, abs=5e-5)


def test_a_product_of_two_vectors_has_rank_one_and_what_the_constant_adds() -> None:
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e4):
        vectors = np.outer(rng.normal(size=2000), scale * rng.normal(size=768))
        assert effective_rank(vectors) == pytest.approx(1.0012, abs=5e-5)


def test_unequal_singular_values_follow_the_formula() -> None:
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(1.7548, abs=5e-5)


def test_random_vectors_come_close_to_full_rank() -> None:
    vectors = np.random.default_rng(0).normal(size=(25_600, 100)).astype(np.float32)
    assert effective_rank(vectors) == pytest.approx(99.954, abs=0.005)


@pytest.mark.parametrize(("n", "d"), [(500, 30), (30, 500), (40, 40), (1, 7), (7, 1)])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_singular_values_are_those_of_one_decomposition(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, offset: float
) -> None:
    monkeypatch.setattr(spectrum_module, "_BLOCK_BYTES", 64 * d)  # blocks of 8 rows
    vectors = offset + np.random.default_rng(1).normal(size=(n, d))
    found = spectrum(vectors, np.arange(n))
    longest = np.linalg.norm(vectors)
    whole = np.linalg.svd(vectors, compute_uv=False)
    np.testing.assert_allclose(found.singular_values, whole, atol=1e-13 * longest)
    centred = vectors - vectors.mean(axis=0)
    squares = np.linalg.svd(centred, compute_uv=False) ** 2
    np.testing.assert_allclose(found.components, squares, atol=1e-11 * longest)
    sums = np.square(centred).sum(axis=0)
    np.testing.assert_allclose(found.dimensions, sums, atol=1e-11 * longest)


def test_small_singular_values_are_not_lost() -> None:
    rng = np.random.default_rng(2)
    left = np.linalg.qr(rng.normal(size=(3000, 10)))[0]
    right = np.linalg.qr(rng.normal(size=(40, 10)))[0]
    values = 10.0 ** -np.arange(10)  # a Gram matrix would square them to 1e-18
    found = spectrum((left * values) @ right.T, np.arange(3000)).singular_values
    np.testing.assert_allclose(found[:10], values, rtol=1e-5)
    assert found[10:].max() < 1e-15


def test_rows_that_are_not_drawn_do_not_count() -> None:
    vectors = np.random.default_rng(3).normal(size=(50, 4))
    rows = np.array([3, 8, 9, 20, 41])
    found, own = spectrum(vectors, rows), spectrum(vectors[rows], np.arange(5))
    np.testing.assert_array_equal(found.singular_values, own.singular_values)


@pytest.mark.parametrize(
    ("vectors", "part"),
    [
        (np.zeros((3, 2)), "all vectors are zero"),
        (np.empty((0, 2)), r"shape \(n, d\), got \(0, 2\)"),
        (np.ones(3), r"got \(3,\)"),
        (np.array([[1.0], [np.nan]]), "row 1 is not finite"),
    ],
)
def test_what_has_no_rank_is_refused(vectors: np.ndarray, part: str) -> None:
    with pytest.raises(InputError, match=part):
        effective_rank(vectors)


def test_hubs_by_hand() -> None:
    # Counts 3, 2, 0, 1: mean 1.5, second moment 5/4, third (27 + 1 - 27 - 1) / 8 / 4 = 0.
    ids = np.array([[1, 3], [0, -1], [0, 1], [0, -1]])
    assert hubness(ids, 4) == Hubness(0.0, 0.25, 0.75)
    assert hubness(ids, 4, own_lists=True) == Hubness(0.0, 0.25, 1.0)


def test_skewness_is_that_of_scipy() -> None:
    rng = np.random.default_rng(4)
    ids = rng.zipf(1.5, size=(300, 5)) % 100
    counts = np.bincount(ids.ravel(), minlength=150)
    found = hubness(ids, 150)
    assert found.skewness == pytest.approx(scipy.stats.skew(counts), rel=1e-12)
    assert found.antihub_share == np.mean(counts == 0)


def test_random_lists_have_the_skewness_of_a_binomial() -> None:
    rng = np.random.default_rng(5)
    ids = rng.integers(0, 20_000, size=(20_000, 10))
    assert hubness(ids, 20_000).skewness == pytest.approx(1 / np.sqrt(10), abs=0.1)


def test_equal_counts_have_no_skewness() -> None:
    assert hubness(np.array([[1], [0]]), 2) == Hubness(None, 0.0, 0.5)


@pytest.mark.parametrize(
    ("ids", "n", "own", "part"),
    [
        (np.empty((0, 3), dtype=np.int64), 4, False, "0 lists and 4 documents"),
        (np.array([[-1]]), 1, True, "0 lists and 1 documents"),
        (np.array([[4]]), 4, False, "from 4 to 4: they must be from 0 to 3"),
        (np.array([[-2]]), 4, False, "from -2 to -2"),
    ],
)
def test_lists_that_are_none_are_refused(ids: np.ndarray, n: int, own: bool, part: str) -> None:
    with pytest.raises(InputError, match=part):
        hubness(ids, n, own_lists=own)
