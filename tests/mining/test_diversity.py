"""Distances within lists against all pairs by hand; quotas that add up and never overdraw."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_eval.errors import InputError
from retrieval_eval.mining import cluster_documents, draw_by_quota, intra_list_distance, quotas


def test_copies_have_no_diversity_and_opposites_the_most() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 24)).astype(np.float32)
    copies = np.repeat(np.arange(200)[:, None], 7, axis=1)
    assert not intra_list_distance(vectors, copies).any()  # 0 to the last digit
    pair = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(intra_list_distance(pair, np.array([[0, 1], [0, 2]])), [2.0, 1.0])


def test_the_distance_is_the_mean_over_all_pairs() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 7)) * rng.uniform(0.1, 9, size=(50, 1))
    ids = np.stack([rng.permutation(50)[:12] for _ in range(20)])
    ids[3, 5:] = -1
    ids[4, 1:] = -1
    ids[5, 0] = -1  # padding before a document changes nothing
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for k in (2, 5, None):
        found = intra_list_distance(x, ids, k)
        for row, listed in enumerate(ids[:, :k]):
            pairs = itertools.combinations(listed[listed >= 0], 2)
            expected = [1 - unit[a] @ unit[b] for a, b in pairs]
            if expected:
                assert found[row] == pytest.approx(np.mean(expected))
            else:
                assert np.isnan(found[row])


def test_a_vector_of_zeros_is_passed_over() -> None:
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = intra_list_distance(x, np.array([[0, 1, 2], [0, 1, -1]]))
    assert found[0] == pytest.approx(1.0)
    assert np.isnan(found[1])
    with pytest.raises(InputError, match="k is 1"):
        intra_list_distance(x, np.array([[0, 1]]), 1)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=8),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
def test_quotas_add_up_and_no_cluster_gives_more_than_it_has(
    sizes: list[int], part: float, power: float
) -> None:
    named = dict(enumerate(sizes))
    total = int(part * sum(sizes))
    dealt = quotas(named, total, power=power)
    assert sum(dealt.values()) == total
    assert all(0 <= dealt[label] <= size for label, size in named.items())
    if power == 1.0 and total:
        shares = {label: size * total / sum(sizes) for label, size in named.items()}
        assert all(abs(dealt[label] - share) < 1 for label, share in shares.items())
    if power == 0.0:
        level = max(dealt.values())
        assert all(
            got == named[label] or got >= level - 1 for label, got in dealt.items()
        )  # what is not exhausted is all alike


def test_a_mixture_is_kept_and_a_wrong_one_named() -> None:
    sizes = {"net": 100, "text": 100, "other": 100}
    assert quotas(sizes, 40, shares={"net": 3, "text": 1}) == {"net": 30, "text": 10, "other": 0}
    assert quotas(sizes, 150, shares={"net": 3, "text": 1}) == {"net": 100, "text": 50, "other": 0}
    for wrong, message in (
        ({"nett": 1}, "no cluster has the label 'nett'"),
        ({"net": -1.0, "text": 2.0}, "below 0"),
        ({"net": 1}, "150 draws of 100"),
    ):
        with pytest.raises(InputError, match=message):
            quotas(sizes, 150, shares=wrong)


def test_draws_keep_to_quotas_and_to_their_seed() -> None:
    labels = np.repeat(["a", "b", "c"], [80, 15, 5])
    rows = draw_by_quota(labels, 20, power=0, seed=3)
    assert len(set(rows.tolist())) == 20
    assert np.unique(labels[rows], return_counts=True)[1].tolist() == [8, 7, 5]
    np.testing.assert_array_equal(rows, draw_by_quota(labels, 20, power=0, seed=3))
    assert not np.array_equal(rows, draw_by_quota(labels, 20, power=0, seed=4))


def test_clusters_of_directions() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(6)[:3]
    x = np.repeat(centres, 30, axis=0) + 0.05 * rng.normal(size=(90, 6))
    x *= rng.uniform(0.1, 10, size=(90, 1))  # lengths say nothing
    labels = cluster_documents(x, 3, seed=1).reshape(3, 30)
    assert (labels == labels[:, :1]).all()
    assert len(set(labels[:, 0].tolist())) == 3
    with pytest.raises(InputError, match="91 clusters of 90"):
        cluster_documents(x, 91)
